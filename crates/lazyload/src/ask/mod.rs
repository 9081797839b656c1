//! Owns the questions that a user asks from a terminal: fetches fences and Sidecars, or all that the controller knows, from the cluster or a folder.
//! Never changes anything, and decides nothing: what is told is `lazyload_logic::report` and `lazyload_logic::state::explain`.
//! Next: `printed` for how it is told, `coverage` for how well fences are known, `world` for all that the controller knows, `pods` for those who are asked themselves, `peers` for who takes mutual TLS alone, `installation` for all of them, `dns` for whether they are found, `run::status` for the first of those who ask.

mod coverage;
mod dns;
mod installation;
mod peers;
mod pods;
mod printed;
mod settings;
mod world;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};
use lazyload_logic::convert;
use lazyload_logic::types::{Fence, Kind, Object, ObjectRef, Sidecar};

use crate::folder::{Folder, Keeping};
use crate::process::api_server;
use crate::process::exit::BadInput;
use crate::watch::kube::resource;
pub use coverage::{coverage_cells, coverage_told};
pub use installation::installation;
pub use peers::peer_authentications;
pub use pods::{controller_namespaces, controllers};
pub use printed::{age, print, table};
pub use settings::choose;
pub use world::{World, world};

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// Fences and their Sidecars.
#[derive(Debug, Default)]
pub struct Asked {
    /// The fences.
    pub fences: Vec<Fence>,
    /// All Sidecars of their namespaces.
    pub sidecars: Vec<Sidecar>,
}

/// Fetches them from a folder, or from the cluster if there is none; of one namespace or of all.
///
/// # Errors
/// The folder has a problem; the API server cannot be reached, or refuses.
pub async fn fetch(folder: Option<&Path>, namespace: Option<&str>) -> anyhow::Result<Asked> {
    let mut asked = match folder {
        Some(folder) => read(folder)?,
        None => ask_the_cluster(namespace).await?,
    };
    if let Some(namespace) = namespace {
        asked.fences.retain(|fence| &*fence.id.namespace == namespace);
        asked.sidecars.retain(|sidecar| &*sidecar.id.namespace == namespace);
    }
    Ok(asked)
}

impl Asked {
    fn add(&mut self, object: Object) {
        match object {
            Object::Fence(fence) => self.fences.push(fence),
            Object::Sidecar(sidecar) => self.sidecars.push(sidecar),
            _ => {}
        }
    }

    /// Keeps one fence: `NAMESPACE/NAME`, or a name that only one has.
    ///
    /// # Errors
    /// None has that name, or several.
    pub fn only(&mut self, workload: &str) -> anyhow::Result<()> {
        let Some(id) = one_named(workload, None, self.fences.iter().map(|fence| &fence.id))? else {
            bail!("no ServiceFence {workload}: `lazyload status` lists them");
        };
        self.fences.retain(|fence| fence.id == id);
        Ok(())
    }
}

/// Of these names the one that is `NAMESPACE/NAME`, or a name that is there in one namespace only; nothing if there is none.
///
/// # Errors
/// Several have this name.
pub fn one_named<'a>(
    workload: &str,
    namespace: Option<&str>,
    names: impl Iterator<Item = &'a ObjectRef>,
) -> anyhow::Result<Option<ObjectRef>> {
    let (namespace, name) = workload.split_once('/').map_or((namespace, workload), |(of, name)| (Some(of), name));
    let of_namespace = |id: &ObjectRef| namespace.is_none_or(|namespace| &*id.namespace == namespace);
    let found: BTreeSet<&ObjectRef> = names.filter(|id| &*id.name == name && of_namespace(id)).collect();
    if found.len() > 1 {
        let names: Vec<String> = found.iter().map(ToString::to_string).collect();
        let problem = format!("{workload}: expected NAMESPACE/NAME, several have this name: {}", names.join(", "));
        return Err(BadInput(problem).into());
    }
    Ok(found.into_iter().next().cloned())
}

fn read(directory: &Path) -> anyhow::Result<Asked> {
    let folder = Folder::open(directory, Keeping::Memory)?;
    let mut asked = Asked::default();
    for kind in [Kind::Fence, Kind::Sidecar] {
        folder.objects(kind).into_iter().for_each(|object| asked.add(object));
    }
    Ok(asked)
}

async fn ask_the_cluster(namespace: Option<&str>) -> anyhow::Result<Asked> {
    let client = api_server::client().await?;
    let mut asked = Asked::default();
    for kind in [Kind::Fence, Kind::Sidecar] {
        list(&client, kind, namespace, |object| asked.add(object)).await?;
    }
    Ok(asked)
}

/// Of all namespaces if none is given.
///
/// # Errors
/// The API server refuses; an object cannot be read.
async fn list(client: &Client, kind: Kind, namespace: Option<&str>, each: impl FnMut(Object)) -> anyhow::Result<()> {
    let resource = resource(kind);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    match pages(&api, &resource, each).await {
        Err(error) if kind.is_optional() && is_missing(&error) => Ok(()),
        listed => listed
            .with_context(|| format!("failed to list {}: is its CRD installed, and may you list it?", resource.plural)),
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 404)
}

/// In pages, so that neither side holds all of a large list at once.
async fn pages(api: &Api<DynamicObject>, resource: &ApiResource, mut each: impl FnMut(Object)) -> anyhow::Result<()> {
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        for mut object in page.items {
            object.types.get_or_insert_with(|| kube::api::TypeMeta {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
            });
            if let Some(object) = convert::object(&serde_json::to_value(&object)?)? {
                each(object);
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}
