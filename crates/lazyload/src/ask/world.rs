//! All that the controller knows, fetched once: the same state, without anybody who writes.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use lazyload_api::names;
use lazyload_logic::settings::{Context, Settings, resolve};
use lazyload_logic::state::{Event, State};
use lazyload_logic::types::{Kind, Now, Object};

use super::{choose, list};
use crate::cli::WorldSource;
use crate::folder::{Folder, Keeping};
use crate::process::api_server;
use crate::process::clock::Clock;
use crate::process::exit::BadInput;
use crate::watch::settings::SettingsFile;

/// The state at a moment.
pub struct World {
    /// As the controller's is when it has listed everything.
    pub state: State,
    /// When it was fetched.
    pub unix_seconds: i64,
}

/// Fetches it from a folder, or from the cluster if there is none; with the settings of a file, or of the controller that is there. What its
/// reader should know about it goes to standard error.
///
/// # Errors
/// The folder or the file has a problem; the API server cannot be reached, or refuses.
pub async fn world(from: &WorldSource) -> anyhow::Result<World> {
    let given = from.config.as_deref().map(read_settings).transpose()?;
    let mut objects = Vec::new();
    let (settings, mut remarks) = match &from.source.mesh {
        Some(directory) => {
            let folder = Folder::open(directory, Keeping::Memory)?;
            Kind::ALL.into_iter().for_each(|kind| objects.extend(folder.objects(kind)));
            match given {
                Some(given) => given,
                None => choose(&folder).map(|chosen| (chosen.settings, chosen.remarks))?,
            }
        }
        None => {
            let client = api_server::client().await?;
            for kind in Kind::ALL {
                list(&client, kind, None, |object| objects.push(object)).await?;
            }
            match given {
                Some(given) => given,
                None => settings_of_the_cluster(&client).await?,
            }
        }
    };
    let now = Clock::start().now();
    let (state, problems) = state(settings, objects, now);
    remarks.extend(problems);
    for remark in remarks {
        writeln!(std::io::stderr(), "lazyload: {remark}")?;
    }
    Ok(World { state, unix_seconds: now.unix_seconds })
}

fn read_settings(path: &Path) -> anyhow::Result<(Settings, Vec<String>)> {
    let read = SettingsFile::new(path, Context::default()).read().context("a file that was never read is news")?;
    let resolved = read.map_err(|error| BadInput(error.to_string()))?;
    Ok((resolved.settings, resolved.warnings))
}

fn state(settings: Settings, objects: Vec<Object>, now: Now) -> (State, Vec<String>) {
    let (mut state, problems) = State::new(settings);
    for object in objects {
        state.on(Event::Applied(Box::new(object)), now);
    }
    for kind in Kind::ALL {
        state.on(Event::Listed(kind), now);
    }
    (state, problems)
}

/// Those of the one controller that a SlimeBoot stands for.
async fn settings_of_the_cluster(client: &Client) -> anyhow::Result<(Settings, Vec<String>)> {
    let params = ListParams::default().labels(names::SLIME_BOOT_LABEL);
    let maps = Api::<ConfigMap>::all(client.clone()).list(&params).await;
    let maps = match maps {
        Err(kube::Error::Api(status)) if status.code == 403 => return defaults("you may not list ConfigMaps"),
        maps => maps.context("failed to list ConfigMaps, to find the controller's settings")?,
    };
    let of_controllers: Vec<&ConfigMap> = maps
        .items
        .iter()
        .filter(|map| ![names::GLOBAL_SIDECAR, names::ACCESS_LOG_SOURCE].contains(&map.name_any().as_str()))
        .collect();
    match &of_controllers[..] {
        [map] => {
            let name = format!("{}/{}", map.namespace().unwrap_or_default(), map.name_any());
            let text = map.data.as_ref().and_then(|data| data.get("cfg")).map_or("", String::as_str);
            let entry = serde_json::from_str(text)
                .with_context(|| format!("ConfigMap {name}: expected the settings of a controller in data.cfg"))?;
            let context = Context { namespace: map.namespace(), ..Context::default() };
            let resolved = resolve(&entry, &context).with_context(|| format!("ConfigMap {name}"))?;
            Ok((resolved.settings, resolved.warnings))
        }
        [] => defaults("no SlimeBoot's controller was found"),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|map| format!("{}/{}", map.namespace().unwrap_or_default(), map.name_any()))
                .collect();
            Err(BadInput(format!(
                "several controllers: give the settings of one by --config FILE ({})",
                names.join(", ")
            ))
            .into())
        }
    }
}

fn defaults(why: &str) -> anyhow::Result<(Settings, Vec<String>)> {
    let resolved = resolve(&serde_json::Value::Null, &Context::default())?;
    let remark = format!("{why}: taking the controller's default settings (--config FILE gives others)");
    Ok((resolved.settings, vec![remark]))
}
