//! `lazyload reset`: makes the controller forget what a fence has learned.

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use lazyload_api::names;
use lazyload_api::service_fence::ServiceFence;
use lazyload_logic::report::{Dependency, Reason, reports};
use lazyload_logic::state::forget::ALL;
use lazyload_logic::types::{Fence, ObjectRef};
use serde_json::{Value, json};

use crate::ask::{fetch, table};
use crate::cli::ResetArgs;
use crate::process::api_server;
use crate::process::clock::Clock;
use crate::process::exit::BadInput;

/// How often the fence is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// Tells what would be forgotten, asks, and waits until it is.
///
/// # Errors
/// There is no such fence or host, the answer is no, or no controller heeds it.
pub async fn run(args: ResetArgs) -> anyhow::Result<()> {
    let mut asked = fetch(None, args.namespace.as_deref()).await?;
    asked.only(&args.workload)?;
    let Some(fence) = asked.fences.first() else { bail!("no ServiceFence {}", args.workload) };
    let report = reports(&asked.fences, &asked.sidecars).into_iter().next();
    let learned = report.into_iter().flat_map(|report| report.dependencies);
    let learned: Vec<Dependency> = learned.filter(|dependency| dependency.evidence.is_some()).collect();
    let chosen = choose(learned, &args.hosts, &fence.id)?;
    let mut out = std::io::stdout();
    if chosen.is_empty() {
        writeln!(out, "ServiceFence {} has learned nothing: nothing is to be forgotten.", fence.id)?;
        return Ok(());
    }
    write!(out, "{}", told(&chosen)?)?;
    if args.dry_run {
        return Ok(());
    }
    if !args.yes && !confirmed(&fence.id, chosen.len())? {
        bail!("nothing was forgotten");
    }
    forget(fence, &chosen, args.hosts.is_empty(), Duration::from_secs(args.timeout)).await?;
    writeln!(
        out,
        "Forgotten. What leaves does so within about half a minute; the next call goes through the global-sidecar and teaches it again."
    )?;
    Ok(())
}

/// All that was learned if no host is given.
fn choose(learned: Vec<Dependency>, hosts: &[String], id: &ObjectRef) -> anyhow::Result<Vec<Dependency>> {
    let is = |dependency: &Dependency, host: &String| {
        let short = [format!("{host}.{}.svc.cluster.local", id.namespace), format!("{host}.svc.cluster.local")];
        dependency.host == *host || short.contains(&dependency.host)
    };
    if let Some(unknown) = hosts.iter().find(|host| !learned.iter().any(|dependency| is(dependency, host))) {
        bail!("ServiceFence {id} has not learned {unknown}: `lazyload status {id}` lists what it has");
    }
    let wanted = |dependency: &Dependency| hosts.is_empty() || hosts.iter().any(|host| is(dependency, host));
    Ok(learned.into_iter().filter(wanted).collect())
}

fn told(chosen: &[Dependency]) -> std::io::Result<String> {
    let rows: Vec<Vec<String>> = chosen
        .iter()
        .map(|dependency| {
            let afterwards = match dependency.reason {
                Reason::Learned if dependency.external => "goes on through the global-sidecar",
                Reason::Learned => "leaves the Sidecar",
                Reason::Static => "stays, spec.host names it",
                Reason::Policy | Reason::Derived => "stays, something else brings it in",
            };
            vec![dependency.host.clone(), dependency.evidence.clone().unwrap_or_default(), afterwards.to_owned()]
        })
        .collect();
    table(&["HOST", "CALLS", "AFTERWARDS"], &rows)
}

fn confirmed(id: &ObjectRef, count: usize) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(BadInput(
            "there is nobody to ask: give --yes, or --dry-run to see what would be forgotten".to_owned(),
        )
        .into());
    }
    write!(std::io::stderr(), "Forget {count} learned by {id}? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Asks by the annotation, waits until the status does not have them any more, and takes the annotation away in any case: a controller that
/// starts later must not forget what was learned meanwhile.
async fn forget(fence: &Fence, chosen: &[Dependency], all: bool, within: Duration) -> anyhow::Result<()> {
    let client = api_server::client().await?;
    let hosts: Vec<&str> = if all { vec![ALL] } else { chosen.iter().map(|one| one.host.as_str()).collect() };
    let mark = Clock::start().now().unix_seconds;
    annotate(&client, &fence.id, json!(format!("{mark} {}", hosts.join(" ")))).await?;
    let done = tokio::time::timeout(within, forgotten(&client, &fence.id, chosen)).await;
    annotate(&client, &fence.id, Value::Null).await?;
    let waited = within.as_secs();
    done.with_context(|| {
        format!("no controller has heeded it within {waited} s, and nothing was forgotten: does one run and lead?")
    })?
}

async fn annotate(client: &Client, id: &ObjectRef, value: Value) -> anyhow::Result<()> {
    let patch = json!({"metadata": {"annotations": {names::FORGET_ANNOTATION: value}}});
    let api = Api::<ServiceFence>::namespaced(client.clone(), &id.namespace);
    let patched = api.patch(&id.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.with_context(|| format!("failed to annotate ServiceFence {id}"))?;
    Ok(())
}

async fn forgotten(client: &Client, id: &ObjectRef, chosen: &[Dependency]) -> anyhow::Result<()> {
    let api = Api::<ServiceFence>::namespaced(client.clone(), &id.namespace);
    loop {
        tokio::time::sleep(LOOK).await;
        let object = api.get(&id.name).await.with_context(|| format!("failed to get ServiceFence {id}"))?;
        let Some(fence) = lazyload_logic::convert::fence(object) else { bail!("ServiceFence {id} has no name") };
        let report = reports(&[fence], &[]).into_iter().next();
        let dependencies = report.map(|report| report.dependencies).unwrap_or_default();
        let is_learned = |one: &Dependency| {
            dependencies.iter().any(|dependency| dependency.host == one.host && dependency.evidence.is_some())
        };
        if !chosen.iter().any(is_learned) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use lazyload_api::service_fence::DomainStatus;

    use super::*;

    fn learned(host: &str, reason: Reason) -> Dependency {
        let (evidence, status) = (Some("3".to_owned()), DomainStatus::Active);
        Dependency {
            host: host.to_owned(),
            reason,
            evidence,
            external: host == "x.example",
            status,
            brings: Vec::new(),
            unused: None,
        }
    }

    #[test]
    fn all_that_was_learned_is_chosen_or_hosts_as_a_user_writes_them_and_no_others() {
        let all =
            || vec![learned("b.default.svc.cluster.local", Reason::Learned), learned("x.example", Reason::Learned)];
        let id = ObjectRef::new("default", "a");
        let chosen = |hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            choose(all(), &hosts, &id).map(|chosen| chosen.len())
        };
        assert_eq!(chosen(&[]).unwrap(), 2);
        for host in ["b", "b.default", "b.default.svc.cluster.local", "x.example"] {
            assert_eq!(chosen(&[host]).unwrap(), 1, "{host}");
        }
        assert!(chosen(&["b", "c"]).unwrap_err().to_string().contains("has not learned c"));
    }

    #[test]
    fn it_is_told_what_becomes_of_each_host() {
        let chosen =
            [learned("b", Reason::Learned), learned("c", Reason::Static), learned("x.example", Reason::Learned)];
        assert_eq!(
            told(&chosen).unwrap(),
            "HOST        CALLS   AFTERWARDS\n\
             b           3       leaves the Sidecar\n\
             c           3       stays, spec.host names it\n\
             x.example   3       goes on through the global-sidecar\n"
        );
    }
}
