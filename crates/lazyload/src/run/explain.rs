//! `lazyload explain`: why a workload sees a host, or does not.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use k8s_openapi::jiff::Timestamp;
use lazyload_logic::state::State;
use lazyload_logic::state::explain::{Cause, Explanation, HostExplained, Since, Way};
use lazyload_logic::state::history::Moment;
use lazyload_logic::types::ObjectRef;

use crate::ask::{World, controllers, coverage_told, one_named, print, table, world};
use crate::cli::ExplainArgs;

/// Prints the explanation.
///
/// # Errors
/// What it needs cannot be fetched, there is no such workload, or its proxy has no route to the host that is asked for.
pub async fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let World { mut state, unix_seconds } = world(&args.from).await?;
    let id = find(&state, &args.workload, args.from.source.namespace.as_deref())?;
    let fence = id
        .as_ref()
        .and_then(|id| state.fence_of_workload(id))
        .filter(|fence| state.index().find_fence(fence).is_some());
    if let Some(fence) = fence.filter(|_| args.from.source.mesh.is_none()) {
        match remembered(&fence, args.controller.as_deref()).await {
            Ok(moments) => state.recall(&fence, moments),
            // All else is known without.
            Err(error) => writeln!(std::io::stderr(), "lazyload: no controller tells since when: {error:#}")?,
        }
    }
    let explained = id.and_then(|id| state.explain(&id, args.host.as_deref(), unix_seconds));
    let Some(explained) = explained else { bail!("no ServiceFence, Service or pod {}", args.workload) };
    print(&explained, args.output, |explained, _| told(explained, args.host.is_some(), unix_seconds))?;
    match explained.hosts.first().filter(|host| args.host.is_some() && host.way != Way::Direct) {
        Some(host) => bail!("{} has no route to {} now", explained.fence, host.host),
        None => Ok(()),
    }
}

/// What each controller that runs remembers of a fence.
async fn remembered(fence: &ObjectRef, address: Option<&str>) -> anyhow::Result<Vec<Moment>> {
    let mut all = Vec::new();
    for controller in controllers(address).await? {
        let text = controller.get(&format!("/timelines/{}/{}", fence.namespace, fence.name)).await?;
        let moments: Vec<Moment> = serde_json::from_str(&text)
            .with_context(|| format!("{controller}: expected a list, is it a controller of this version?"))?;
        all.extend(moments);
    }
    Ok(all)
}

fn find(state: &State, workload: &str, namespace: Option<&str>) -> anyhow::Result<Option<ObjectRef>> {
    let index = state.index();
    let fences = index.fences().map(|fence| &fence.id);
    let services = index.services().map(|service| &service.id);
    one_named(workload, namespace, fences.chain(services).chain(index.pods().map(|pod| &pod.id)))
}

fn told(explained: &Explanation, one: bool, now: i64) -> std::io::Result<String> {
    let fence = if explained.fenced { "ServiceFence" } else { "no ServiceFence" };
    let mut text = format!("{fence} {}: {}\n", explained.fence, explained.why);
    if explained.fenced {
        let labels: Vec<String> = explained.workload.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let labels = if labels.is_empty() { "not known, its Service is missing".to_owned() } else { labels.join(",") };
        let sidecar = explained.sidecar.as_deref().unwrap_or("none");
        text.extend(explained.mode.iter().map(|mode| format!("{mode}\n")));
        text.extend(explained.coverage.iter().map(|coverage| coverage_told(coverage, now) + "\n"));
        text += &format!("pods: {labels} ({} now); Sidecar: {sidecar}\n", explained.pods);
    }
    if one {
        text.extend(explained.hosts.iter().map(host));
        return Ok(text);
    }
    if explained.hosts.is_empty() {
        return Ok(
            text + "nothing of lazyload's hides anything from these pods: they see the whole mesh, or what another Sidecar shows\n"
        );
    }
    let rows: Vec<Vec<String>> = explained.hosts.iter().map(row).collect();
    Ok(text + "\n" + &table(&["HOST", "WAY", "BECAUSE"], &rows)?)
}

fn row(host: &HostExplained) -> Vec<String> {
    let causes: Vec<String> = host.causes.iter().map(cause).collect();
    let because = if causes.is_empty() { "-".to_owned() } else { causes.join("; ") };
    vec![host.host.clone(), way(host.way).to_owned(), because]
}

fn host(host: &HostExplained) -> String {
    let mut text = format!("{}: {}\n", host.host, sentence(host.way));
    for entry in &host.entries {
        text += &format!("  Sidecar entry: {entry}\n");
    }
    if let Some(at) = host.routed_since {
        text += &format!("  in the Sidecar since {}\n", moment(at));
    }
    for one in &host.causes {
        text += &format!("  because: {}\n", cause(one));
        text.extend(one.since.iter().map(|since| format!("    {}{}\n", since_when(since), since.what)));
    }
    for advice in &host.advice {
        text += &format!("  note: {advice}\n");
    }
    text
}

fn cause(cause: &Cause) -> String {
    let by = cause.by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default();
    format!("{}: {}{by}", cause.kind, cause.what)
}

fn since_when(since: &Since) -> String {
    since.at.map(|at| format!("{}: ", moment(at))).unwrap_or_default()
}

fn moment(unix_seconds: i64) -> String {
    Timestamp::from_second(unix_seconds).map_or_else(|_| unix_seconds.to_string(), |at| at.to_string())
}

fn way(way: Way) -> &'static str {
    match way {
        Way::Direct => "direct",
        Way::Coming => "coming",
        Way::External => "external",
        Way::Fallback => "fallback",
    }
}

fn sentence(way: Way) -> &'static str {
    match way {
        Way::Direct => "direct, the workload's proxy has the route",
        Way::Coming => "through the global-sidecar for now, the route is coming",
        Way::External => "through the global-sidecar, the mesh does not know it",
        Way::Fallback => "through the global-sidecar, it is not in the Sidecar",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(way: Way) -> Explanation {
        Explanation {
            fence: "default/productpage".into(),
            fenced: true,
            why: "made by a user".into(),
            mode: Some("mode enforce (general.fenceMode, and no label says otherwise): it has a Sidecar".into()),
            coverage: None,
            workload: [("app".to_owned(), "productpage".to_owned())].into(),
            pods: 1,
            sidecar: Some("default/productpage".into()),
            hosts: vec![HostExplained {
                host: "details.default.svc.cluster.local".into(),
                way,
                entries: vec!["*/details.default.svc.cluster.local".into()],
                routed_since: Some(86_460),
                causes: vec![Cause {
                    kind: "learned",
                    what: "called as details".into(),
                    by: Some("routes of x".into()),
                    since: Some(Since {
                        at: Some(86_400),
                        what: "shop/a-1 called it as details, by its address".into(),
                    }),
                }],
                advice: vec!["look".into()],
            }],
        }
    }

    #[test]
    fn one_host_is_told_with_its_entry_and_its_cause() {
        assert_eq!(
            told(&explained(Way::Direct), true, 0).unwrap(),
            "ServiceFence default/productpage: made by a user\n\
             mode enforce (general.fenceMode, and no label says otherwise): it has a Sidecar\n\
             pods: app=productpage (1 now); Sidecar: default/productpage\n\
             details.default.svc.cluster.local: direct, the workload's proxy has the route\n  \
             Sidecar entry: */details.default.svc.cluster.local\n  \
             in the Sidecar since 1970-01-02T00:01:00Z\n  \
             because: learned: called as details, by routes of x\n    \
             1970-01-02T00:00:00Z: shop/a-1 called it as details, by its address\n  \
             note: look\n"
        );
    }

    #[test]
    fn all_hosts_are_told_in_columns() {
        let text = told(&explained(Way::Fallback), false, 0).unwrap();
        assert!(
            text.ends_with(
                "details.default.svc.cluster.local   fallback   learned: called as details, by routes of x\n"
            ),
            "{text}"
        );
    }
}
