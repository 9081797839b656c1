//! The seed's story, told while it happens. Each step looks whether it came out; if not, the story ends there with an error.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lazyload_logic::types::{Kind, Object, ObjectRef};
use serde_json::Value;
use tokio::time::timeout_at;

use super::paper::Paper;
use super::parts::Parts;
use super::preview::strip_conditions;
use crate::documents;
use crate::folder::Folder;
use crate::simulate::{Line, call_from};

/// Longest wait for anything that should happen at once.
const DEADLINE: Duration = Duration::from_secs(5);
/// What a Sidecar has before anything was learned.
const NOTHING_LEARNED: [&str; 2] = ["istio-system/*", "mesh-operator/*"];
/// What productpage calls.
const CALLED: [&str; 2] = ["*/details.default.svc.cluster.local", "*/reviews.default.svc.cluster.local"];
const FALLBACK: &str = "outbound|9080||global-sidecar.mesh-operator.svc.cluster.local";
const DIRECT: [&str; 2] =
    ["outbound|9080||details.default.svc.cluster.local", "outbound|9080||reviews.default.svc.cluster.local"];

/// One visit of the page, and the log lines of productpage's proxy about it, in the order in which they were written.
struct Visit {
    took: Duration,
    lines: Vec<Line>,
}

impl Visit {
    /// The calls to other Services.
    fn calls(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.cluster.starts_with("outbound|"))
    }
}

/// Tells the story.
///
/// # Errors
/// What did not come out.
pub async fn tell(paper: &mut Paper, parts: &mut Parts, directory: &Path) -> anyhow::Result<()> {
    introduce(paper, parts, directory)?;
    let productpage = ObjectRef::new("default", "productpage");

    let before = visit(parts).await.context("the visit before anything is fenced")?;
    ensure_clusters(&before, &DIRECT)?;
    let labelled = Instant::now();
    paper.title("1  Fence productpage")?;
    paper.command("kubectl label service productpage -n default slime.io/serviceFenced=true")?;
    let file = directory.join("productpage.yaml");
    add_label(&file)?;
    paper.output(&format!("done by adding the label in {}, as you could", file.display()))?;
    let sidecar = wait_for_hosts(&parts.folder, &productpage, &NOTHING_LEARNED).await?;
    let fenced = labelled.elapsed();
    show(paper, "kubectl get servicefence productpage -n default -oyaml", &fence(parts, &productpage)?)?;
    show(paper, "kubectl get sidecar productpage -n default -oyaml", &sidecar)?;
    paper.check(&format!(
        "fence and Sidecar are there {} after the label; productpage knows no Service of its own",
        ms(fenced)
    ))?;

    paper.title("2  First visit: through the global-sidecar")?;
    let first = visit(parts).await.context("the first visit")?;
    show_visit(paper, &first)?;
    ensure_clusters(&first, &[FALLBACK, FALLBACK])?;
    let began = first.calls().map(|line| line.began).min().context("no fallback request was logged")?;
    let grown: Vec<&str> = CALLED.into_iter().chain(NOTHING_LEARNED).collect();
    let sidecar = wait_for_hosts(&parts.folder, &productpage, &grown).await?;
    let learned = began.elapsed();
    paper.check("200, although productpage knew neither details nor reviews: its requests took the global-sidecar")?;

    paper.title("3  What was learned")?;
    let fence = fence(parts, &productpage)?;
    show(paper, "kubectl get servicefence productpage -n default -oyaml", &fence)?;
    show(paper, "kubectl get sidecar productpage -n default -oyaml", &sidecar)?;
    ensure_learned(&fence)?;
    paper.check(&format!("details and reviews are in the Sidecar {} after the first request for them", ms(learned)))?;

    paper.title("4  Second visit: direct")?;
    let second = visit(parts).await.context("the second visit")?;
    show_visit(paper, &second)?;
    ensure_clusters(&second, &DIRECT)?;
    paper.check("200, and the global-sidecar was not asked")?;
    sum_up(paper, [("first visit", &first), ("second visit", &second)], fenced, learned)
}

fn introduce(paper: &mut Paper, parts: &Parts, directory: &Path) -> anyhow::Result<()> {
    paper.title("Lazyload without a cluster")?;
    paper.say(&format!("A folder of YAML is the cluster:      {}", directory.display()))?;
    let forwarder = parts.forwarder.context("the forwarder does not run")?;
    paper.say(&format!(
        "Real, in this one process:           the controller with its ledger, its access-log server on {},",
        parts.access_log
    ))?;
    paper.say(&format!("                                     the global-sidecar's forwarder on {forwarder}"))?;
    paper.say(
        "Simulated, on loopback addresses:    the apps (Bookinfo), their sidecar proxies, which obey the Sidecars",
    )?;
    paper.say(
        "                                     in the folder, and the addresses of Services. It is no Envoy: times are",
    )?;
    paper.say("                                     those of this program, and say nothing about a mesh.")?;
    for remark in &parts.remarks {
        paper.say(&format!("Note: {remark}"))?;
    }
    Ok(())
}

/// Adds the label as a user would: in the file.
fn add_label(file: &Path) -> anyhow::Result<()> {
    let failed = || format!("failed to edit {}", file.display());
    let text = std::fs::read_to_string(file).with_context(failed)?;
    let labelled = text.replacen("  labels:\n", "  labels:\n    slime.io/serviceFenced: \"true\"\n", 1);
    ensure!(labelled != text, "{} has no labels to add to", file.display());
    std::fs::write(file, labelled).with_context(failed)
}

/// The documentation's client: in the pod of ratings.
async fn visit(parts: &mut Parts) -> anyhow::Result<Visit> {
    let client = parts.mesh.pods().into_iter().find(|pod| *pod.id.name == *"ratings-v1");
    let client = client.context("the example has no Pod ratings-v1")?;
    while parts.lines.try_recv().is_ok() {}
    let since = Instant::now();
    let answer = call_from(&client, "productpage:9080", "/productpage").await.map_err(anyhow::Error::msg)?;
    let took = since.elapsed();
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.status == http::StatusCode::OK, "productpage answered {}: {}", answer.status, body.trim());
    ensure!(body.contains("pages") && body.contains("reviews"), "the page is not complete: {body}");
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut lines = Vec::new();
    while lines.len() < 3 {
        match timeout_at(deadline, parts.lines.recv()).await {
            Ok(Some(line)) if line.pod.name.starts_with("productpage") => lines.push(line),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => bail!("productpage's proxy logged {} lines, expected 3", lines.len()),
        }
    }
    Ok(Visit { took, lines })
}

fn ensure_clusters(visit: &Visit, expected: &[&str]) -> anyhow::Result<()> {
    let clusters: Vec<&str> = visit.calls().map(|line| line.cluster.as_str()).collect();
    ensure!(clusters == expected, "expected the calls to be answered by {expected:?}, got {clusters:?}");
    let failed = visit.lines.iter().find(|line| line.status != 200);
    ensure!(failed.is_none(), "expected status 200 everywhere: {}", failed.map_or("", |line| &line.text));
    Ok(())
}

fn ensure_learned(fence: &Value) -> anyhow::Result<()> {
    let keys = |pointer: &str| fence.pointer(pointer).and_then(Value::as_object).into_iter().flat_map(|map| map.keys());
    let domains: Vec<&str> = keys("/status/domains").map(String::as_str).collect();
    let hosts: Vec<&str> = CALLED.iter().map(|host| host.trim_start_matches("*/")).collect();
    ensure!(domains == hosts, "expected exactly {hosts:?} in the fence's status, got {domains:?}");
    Ok(())
}

/// Waits until the Sidecar has exactly these hosts, and no switch is under way.
async fn wait_for_hosts(folder: &Folder, id: &ObjectRef, hosts: &[&str]) -> anyhow::Result<Value> {
    let mut changes = folder.changes();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let sidecars = folder.objects(Kind::Sidecar).into_iter().filter_map(|object| match object {
            Object::Sidecar(sidecar) if sidecar.id == *id => Some(sidecar),
            _ => None,
        });
        let found: Vec<Vec<String>> =
            sidecars.flat_map(|sidecar| sidecar.spec.egress).map(|listener| listener.hosts).collect();
        if found == [hosts] {
            return folder.manifest(Kind::Sidecar, id).context("the Sidecar is gone again");
        }
        if timeout_at(deadline, changes.changed()).await.is_err() {
            bail!("expected Sidecar {id} with hosts {hosts:?} within {} s, got {found:?}", DEADLINE.as_secs());
        }
    }
}

fn fence(parts: &Parts, id: &ObjectRef) -> anyhow::Result<Value> {
    let mut fence = parts.folder.manifest(Kind::Fence, id).with_context(|| format!("there is no fence {id}"))?;
    strip_conditions(&mut fence);
    Ok(fence)
}

fn show(paper: &mut Paper, command: &str, object: &Value) -> anyhow::Result<()> {
    paper.command(command)?;
    Ok(paper.output(&documents::write_like_kubectl(std::slice::from_ref(object))?)?)
}

fn show_visit(paper: &mut Paper, visit: &Visit) -> anyhow::Result<()> {
    paper.command("kubectl exec ratings-v1 -n default -- curl -s productpage:9080/productpage")?;
    paper.command("kubectl logs productpage-v1 -c istio-proxy -n default")?;
    for line in &visit.lines {
        paper.log_line(&line.text, &line.cluster, line.cluster == FALLBACK)?;
    }
    Ok(())
}

fn sum_up(paper: &mut Paper, visits: [(&str, &Visit); 2], fenced: Duration, learned: Duration) -> anyhow::Result<()> {
    paper.title("In short")?;
    paper.say(&format!("  {:<14}{:<30}{:<30}{}", "", "/details/0", "/reviews/0", "page"))?;
    for (name, visit) in visits {
        let mut calls = visit.calls().map(|line| {
            let way = if line.cluster == FALLBACK { "through global-sidecar" } else { "direct" };
            format!("{} {way}", line.status)
        });
        let (details, reviews) = (calls.next().unwrap_or_default(), calls.next().unwrap_or_default());
        paper.say(&format!("  {name:<14}{details:<30}{reviews:<30}{}", ms(visit.took)))?;
    }
    paper.say("")?;
    paper.say(&format!("  label to Sidecar              {:>9}", ms(fenced)))?;
    paper.say(&format!("  first request to Sidecar      {:>9}   from then on every request is direct", ms(learned)))?;
    paper.say("  (the controller waits 25 ms for a host's siblings, so that one page costs istiod one push;")?;
    paper.say("  then it announces the host, so that proxies warm its cluster, and 150 ms later gives it a route: no request is")?;
    paper.say("  lost; and what is fenced keeps every cluster for a second)")?;
    paper.say("")?;
    paper.say("  ratings is not in the Sidecar: it is reviews that calls it, and reviews is not fenced.")?;
    Ok(())
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
