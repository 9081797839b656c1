//! h2spec: every case of its three parts, against the proxy's own port.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::programs::{Serving, run};
use super::proxy::{Proxy, program};
use super::table::publish;

/// Cases that ours is known to fail, each with its reason.
const KNOWN: [(&str, &str); 1] = [(
    "http2/3.5/2",
    "the port serves HTTP/1.1 too: what does not begin like HTTP/2 is a malformed request there, answered with 400 and a close",
)];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Verdict {
    case: String,
    title: String,
    failure: String,
    skipped: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn h2spec_passes() {
    let Some((ours, envoy)) = Proxy::both("h2spec").await else { return };
    let destination = Serving::destination().await;
    let (ours, envoy) = tokio::join!(verdicts(&ours, &destination), verdicts(&envoy, &destination));
    let mut rows = Vec::new();
    for part in ["generic", "http2", "hpack"] {
        rows.push((format!("{part}: cases passed"), vec![passed(part, &ours), passed(part, &envoy)]));
    }
    let cell = |verdict: &Verdict| match (verdict.skipped, verdict.failure.is_empty()) {
        (true, _) => "skipped".to_owned(),
        (_, true) => "yes".to_owned(),
        _ => verdict.failure.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    for (case, verdict) in &ours {
        let known = KNOWN.iter().find(|(known, _)| known == case);
        let own = known.map_or_else(|| cell(verdict), |(_, reason)| format!("no: {reason}"));
        let cells = vec![own, envoy.get(case).map_or_else(|| "not run".to_owned(), cell)];
        if cells.iter().any(|cell| cell != "yes") {
            rows.push((format!("{case}: {}", verdict.title), cells));
        }
    }
    publish("h2spec", &rows);
    let failed = ours.values().filter(|verdict| !verdict.failure.is_empty() || verdict.skipped);
    let failed: BTreeSet<_> = failed.map(|verdict| verdict.case.clone()).collect();
    let known: BTreeSet<_> = KNOWN.iter().map(|(case, _)| (*case).to_owned()).collect();
    assert!(ours.len() > 140, "only {} cases ran", ours.len());
    assert_eq!(failed, known, "cases that fail, and those known to");
}

async fn verdicts(proxy: &Proxy, destination: &Serving) -> BTreeMap<String, Verdict> {
    let arguments = ["h2spec".to_owned(), proxy.address.to_string(), destination.address.to_string()];
    let ended = run(&program("conformance"), &arguments, Duration::from_secs(400)).await.unwrap();
    assert!(ended.success, "{}", ended.stderr);
    let verdicts = ended.stdout.lines().map(|line| serde_json::from_str::<Verdict>(line).expect("a verdict"));
    verdicts.map(|verdict| (verdict.case.clone(), verdict)).collect()
}

fn passed(part: &str, verdicts: &BTreeMap<String, Verdict>) -> String {
    let of_part = verdicts.values().filter(|verdict| verdict.case.starts_with(&format!("{part}/")));
    let (count, passed) = of_part.fold((0, 0), |(count, passed), verdict| {
        (count + 1, passed + usize::from(verdict.failure.is_empty() && !verdict.skipped))
    });
    format!("{passed} of {count}")
}
