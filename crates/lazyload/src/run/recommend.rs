//! `lazyload recommend`: the Sidecars that fences would have.

use std::io::Write as _;

use anyhow::bail;
use lazyload_logic::types::{Fence, ObjectRef};

use crate::ask::{World, coverage_told, one_named, world};
use crate::cli::RecommendArgs;
use crate::documents;

/// Prints them as YAML; how well each fence is known, and why one is left out, goes to standard error.
///
/// # Errors
/// What it needs cannot be fetched, or there is no such fence, or nothing to print.
pub async fn run(args: RecommendArgs) -> anyhow::Result<()> {
    let World { state, unix_seconds } = world(&args.from).await?;
    let namespace = args.from.source.namespace.as_deref();
    let index = state.index();
    let ids: Vec<ObjectRef> = match &args.workload {
        Some(workload) => {
            let found = one_named(workload, namespace, index.fences().map(|fence| &fence.id))?;
            let Some(id) = found else { bail!("no ServiceFence {workload}: `lazyload status` lists them") };
            vec![id]
        }
        None => {
            let of_namespace = |id: &ObjectRef| namespace.is_none_or(|namespace| *id.namespace == *namespace);
            // What the controller has told counts too, whose settings may not be known here.
            let is_held = |fence: &&Fence| fence.status.coverage.is_some() || state.mode(fence).shown().is_some();
            let held = index.fences().filter(is_held).filter(|fence| of_namespace(&fence.id));
            held.map(|fence| fence.id.clone()).collect()
        }
    };
    let mut objects = Vec::new();
    for fence in ids.iter().filter_map(|id| index.find_fence(id)) {
        match state.recommended(fence) {
            Ok(sidecar) => {
                objects.push(sidecar);
                if let Some(coverage) = &fence.status.coverage {
                    let told = coverage_told(coverage, unix_seconds);
                    writeln!(std::io::stderr(), "lazyload: ServiceFence {}: {told}", fence.id)?;
                }
            }
            Err(why) => writeln!(std::io::stderr(), "lazyload: ServiceFence {}: {why}", fence.id)?,
        }
    }
    if objects.is_empty() {
        bail!(
            "nothing to recommend: no fence is in mode observe or recommend, or waits, or what they lack is said above"
        );
    }
    std::io::stdout().lock().write_all(documents::write(&objects)?.as_bytes())?;
    Ok(())
}
