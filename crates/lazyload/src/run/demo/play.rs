//! `--keep`: everything goes on running, tells what happens, and ends with Ctrl-C.

use std::collections::BTreeMap;
use std::path::Path;

use lazyload_logic::types::{Kind, Object, ObjectRef};
use tokio_util::sync::CancellationToken;

use super::paper::Paper;
use super::parts::{self, Parts};
use crate::folder::Folder;
use crate::process::exit::BadInput;

/// The example, with what could be tried.
///
/// # Errors
/// Standard output is gone.
pub async fn example(
    paper: &mut Paper,
    parts: &mut Parts,
    directory: &Path,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let folder = directory.display();
    let services = parts.mesh.services();
    let address = |name: &str| {
        let service = services.iter().find(|service| *service.id.name == *name);
        service.map_or_else(String::new, |service| format!("http://{}:9080", service.address))
    };
    paper.title("Yours to play with")?;
    paper.say(&format!("The folder {folder} is followed; what lazyload writes is in {folder}/generated."))?;
    tell_of_the_console(paper, parts)?;
    paper.say("What the pods call is shown below, as their proxies log it. Try, in another terminal:")?;
    paper.command(&format!("curl {}/productpage", address("productpage")))?;
    paper.say("  visits the page again.")?;
    paper.command(&format!("curl {}/call/ratings:9080/ratings/0", address("productpage")))?;
    paper.say(
        "  makes productpage call ratings, which it does not know yet: the first time through the global-sidecar.",
    )?;
    paper.command(&format!(
        "sed -i '0,/  labels:/s//&\\n    slime.io\\/serviceFenced: \"true\"/' {folder}/reviews.yaml"
    ))?;
    paper.say(&format!(
        "  fences reviews too; then let it call ratings (two of its three versions do): curl {}/reviews/0",
        address("reviews")
    ))?;
    paper.command(&format!("cat > {folder}/fence-ratings.yaml <<'EOF'"))?;
    paper.say(
        "apiVersion: microservice.slime.io/v1alpha1\nkind: ServiceFence\nmetadata:\n  name: ratings\n  namespace: default\nspec:\n  \
         enable: true\n  host:\n    details.default.svc.cluster.local: {}\nEOF",
    )?;
    paper.say("  is a fence by hand, with a host that need not be learned; its status goes to a file beside, yours stays as it is.")?;
    paper.say("\nCtrl-C ends it; the folder stays.\n")?;
    while parts.lines.try_recv().is_ok() {}
    follow(paper, parts, shutdown).await
}

/// The user's own folder.
///
/// # Errors
/// The folder cannot be used.
pub async fn mesh(paper: &mut Paper, directory: &Path, shutdown: CancellationToken) -> anyhow::Result<()> {
    if !directory.is_dir() {
        return Err(BadInput(format!("{}: expected a folder of YAML", directory.display())).into());
    }
    let mut parts = parts::start_controller(directory, &shutdown.child_token())?;
    paper.title("The controller on your folder")?;
    paper.say(&format!("Follows {0}; writes only to {0}/generated.", directory.display()))?;
    paper.say(&format!("Takes access logs of a proxy (Envoy's gRPC access-log service) on {}.", parts.access_log))?;
    tell_of_the_console(paper, &parts)?;
    for remark in &parts.remarks {
        paper.say(&format!("Note: {remark}"))?;
    }
    paper.say("Ctrl-C ends it.\n")?;
    let followed = follow(paper, &mut parts, shutdown).await;
    parts.end().await?;
    followed
}

fn tell_of_the_console(paper: &mut Paper, parts: &Parts) -> anyhow::Result<()> {
    paper.say(&format!("The console, a page for your browser, shows it live: http://{}/", parts.console))?;
    Ok(())
}

async fn follow(paper: &mut Paper, parts: &mut Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut changes = parts.folder.changes();
    let mut known = BTreeMap::new();
    let mut is_first = true;
    loop {
        for (name, hosts) in sidecars(&parts.folder) {
            if known.get(&name) != Some(&hosts) {
                // What the story has shown is not told again.
                if !is_first || parts.forwarder.is_none() {
                    paper.say(&format!("Sidecar {name}: {}", hosts.join(", ")))?;
                }
                known.insert(name, hosts);
            }
        }
        is_first = false;
        let gone: Vec<ObjectRef> =
            known.keys().filter(|name| !sidecars(&parts.folder).contains_key(*name)).cloned().collect();
        for name in gone {
            known.remove(&name);
            paper.say(&format!("Sidecar {name}: removed"))?;
        }
        tokio::select! {
            Some(line) = parts.lines.recv() => {
                // A request is told once, by the caller's proxy.
                if line.cluster.starts_with("inbound|") {
                    continue;
                }
                let is_fallback = line.cluster.contains("||global-sidecar.");
                paper.say(&format!("{}'s proxy:", line.pod))?;
                paper.log_line(&line.text, &line.cluster, is_fallback)?;
            }
            Some(problems) = parts.problems.recv() => {
                for problem in problems {
                    paper.say(&format!("Not used, the last good form stays: {problem}"))?;
                }
            }
            changed = changes.changed() => changed?,
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// The hosts of each Sidecar.
fn sidecars(folder: &Folder) -> BTreeMap<ObjectRef, Vec<String>> {
    let sidecars = folder.objects(Kind::Sidecar).into_iter().filter_map(|object| match object {
        Object::Sidecar(sidecar) => {
            let hosts = sidecar.spec.egress.into_iter().flat_map(|listener| listener.hosts);
            Some((sidecar.id, hosts.collect()))
        }
        _ => None,
    });
    sidecars.collect()
}
