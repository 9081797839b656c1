//! `lazyload break-glass`: takes every Sidecar of fences away for now, without losing a request, and brings them back.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use lazyload_api::names;
use lazyload_logic::fence::mode::BREAK_GLASS;
use lazyload_logic::types::{Fence, Sidecar};
use serde_json::json;

use crate::ask::{controller_namespaces, fetch};
use crate::cli::{BreakGlassArgs, Glass};
use crate::process::api_server;
use crate::process::exit::BadInput;

/// How often fences are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// Sets or takes the label, and waits until fences stand as it says.
///
/// # Errors
/// The Namespace cannot be labelled, or no controller heeds it in time.
pub async fn run(args: BreakGlassArgs) -> anyhow::Result<()> {
    let client = api_server::client().await?;
    let places = match (&args.namespace, &args.controller) {
        (Some(namespace), _) | (None, Some(namespace)) => BTreeSet::from([namespace.clone()]),
        (None, None) => controllers(&client).await?,
    };
    for place in &places {
        label(&client, place, args.what).await?;
    }
    let mut out = std::io::stdout();
    let value = if args.what == Glass::On { "is on" } else { "is gone" };
    writeln!(out, "The label {} of Namespace {} {value}.", names::BREAK_GLASS_LABEL, listed(&places))?;
    let scope = args.namespace.as_deref();
    let of = scope.map_or("of the mesh".to_owned(), |namespace| format!("in namespace {namespace}"));
    if args.timeout == 0 {
        return Ok(());
    }
    let waited = tokio::time::timeout(Duration::from_secs(args.timeout), settle(scope, args.what)).await;
    let Ok(settled) = waited else {
        let left = remaining(scope, args.what).await?;
        bail!(
            "{left} fences {of} do not stand so after {} s: does a controller run, and lead? The label stays, and one that starts heeds it",
            args.timeout
        );
    };
    let count = settled?;
    match args.what {
        Glass::On => writeln!(out, "No fence {of} has a Sidecar now ({count} in all): their pods see the whole mesh.")?,
        Glass::Off => writeln!(out, "No fence {of} is held open any more ({count} in all): Sidecars come back.")?,
    }
    Ok(())
}

async fn controllers(client: &Client) -> anyhow::Result<BTreeSet<String>> {
    let found = controller_namespaces(client).await?;
    if found.is_empty() {
        let what = "no Deployment of a SlimeBoot's controller was found: say where it is to run (--controller NAMESPACE), or which fences are meant (--namespace NAMESPACE)";
        return Err(BadInput(what.to_owned()).into());
    }
    Ok(found)
}

async fn label(client: &Client, namespace: &str, what: Glass) -> anyhow::Result<()> {
    let value = if what == Glass::On { json!("on") } else { json!(null) };
    let patch = json!({"metadata": {"labels": {names::BREAK_GLASS_LABEL: value}}});
    let api = Api::<Namespace>::all(client.clone());
    let patched = api.patch(namespace, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.with_context(|| format!("failed to label Namespace {namespace}"))?;
    Ok(())
}

/// Waits until every fence stands as is asked, and tells how far it is. Returns how many fences there are.
async fn settle(namespace: Option<&str>, what: Glass) -> anyhow::Result<usize> {
    let mut told = None;
    loop {
        let asked = fetch(None, namespace).await?;
        let left = open(&asked.fences, &asked.sidecars, what);
        let total = asked.fences.len();
        if left == 0 {
            return Ok(total);
        }
        if told != Some(left) {
            writeln!(std::io::stderr(), "{} of {total} fences", total - left.min(total))?;
            told = Some(left);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn remaining(namespace: Option<&str>, what: Glass) -> anyhow::Result<usize> {
    let asked = fetch(None, namespace).await?;
    Ok(open(&asked.fences, &asked.sidecars, what))
}

/// Fences that do not stand as is asked yet.
fn open(fences: &[Fence], sidecars: &[Sidecar], what: Glass) -> usize {
    let is_broken = |fence: &Fence| fence.status.mode.as_deref() == Some(BREAK_GLASS);
    let has_sidecar =
        |fence: &Fence| sidecars.iter().any(|sidecar| sidecar.id == fence.id && sidecar.owner_uid.is_some());
    let enabled = fences.iter().filter(|fence| fence.spec.enable);
    let left = enabled.filter(|fence| match what {
        Glass::On => has_sidecar(fence) || !is_broken(fence),
        Glass::Off => is_broken(fence),
    });
    left.count()
}

fn listed(places: &BTreeSet<String>) -> String {
    places.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use lazyload_logic::convert;
    use lazyload_logic::types::Object;

    fn fence(enable: bool, mode: Option<&str>) -> Fence {
        let object = json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"name": "a", "uid": "u"}, "spec": {"enable": enable}, "status": {"mode": mode}});
        match convert::object(&object).unwrap() {
            Some(Object::Fence(fence)) => fence,
            other => panic!("{other:?}"),
        }
    }

    fn sidecar(owners: &Value) -> Sidecar {
        let object = json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "Sidecar",
            "metadata": {"name": "a", "ownerReferences": owners}, "spec": {}});
        match convert::object(&object).unwrap() {
            Some(Object::Sidecar(sidecar)) => sidecar,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_fence_is_wide_once_it_says_so_and_its_sidecar_is_gone() {
        let own = sidecar(&json!([{"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "name": "a", "uid": "u", "controller": true}]));
        let users = sidecar(&json!([]));
        let broken = [fence(true, Some("break-glass"))];
        assert_eq!(open(&broken, std::slice::from_ref(&own), Glass::On), 1);
        assert_eq!(open(&broken, &[users], Glass::On), 0);
        assert_eq!(open(&[fence(true, Some("observe"))], &[], Glass::On), 1);
        assert_eq!(open(&[fence(false, None)], &[], Glass::On), 0, "it hides nothing anyway");
        assert_eq!(open(&broken, &[], Glass::Off), 1);
        assert_eq!(open(&[fence(true, None)], &[own], Glass::Off), 0);
    }
}
