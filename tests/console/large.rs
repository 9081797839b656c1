//! A mesh of two thousand Services, in a folder: the controller is the real one, and needs no API server for it.

use std::fmt::Write as _;
use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;

use super::DEADLINE;
use super::browser::Browser;
use super::page::{Page, report};
use crate::support::binary;
use crate::support::running::Running;
use crate::support::waiting::eventually;

const NAMESPACES: usize = 40;
const SERVICES: usize = 50;
/// Calls of each Service, which all have a fence; none is enabled, as writing two thousand Sidecars into a folder takes a minute.
const CALLS: usize = 5;

fn name(number: usize) -> (String, String) {
    let number = number % (NAMESPACES * SERVICES);
    (format!("team-{:02}", number / SERVICES), format!("service-{:02}", number % SERVICES))
}

/// Each calls some of its own namespace and some far away.
fn mesh() -> String {
    let mut yaml = String::new();
    for number in 0..NAMESPACES * SERVICES {
        let (namespace, service) = name(number);
        let mut evidence = String::new();
        for call in 1..=CALLS {
            let (namespace, service) = name(number + if call <= 3 { call } else { call * 397 });
            writeln!(evidence, "    '{{destination_service=\"{service}.{namespace}.svc.cluster.local\"}}': \"1\"")
                .unwrap();
        }
        write!(
            yaml,
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {service}, namespace: {namespace}}}\nspec:\n  selector: {{app: {service}}}\n  ports: [{{name: http, port: 9080}}]\n---\n\
             apiVersion: microservice.slime.io/v1alpha1\nkind: ServiceFence\nmetadata: {{name: {service}, namespace: {namespace}}}\nspec: {{enable: false}}\nstatus:\n  metricStatus:\n{evidence}---\n"
        )
        .unwrap();
    }
    yaml
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_services_are_drawn_moved_and_searched() {
    let Some(browser) = Browser::start("large") else { return };
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("mesh.yaml"), mesh()).unwrap();
    let directory = folder.path().display().to_string();
    let arguments = ["demo", "--keep", "--mesh", &directory].map(str::to_owned);
    let log = folder.path().with_extension("log");
    let controller = Running::start(&binary::lazyload(), &arguments, &[], log.clone()).unwrap();
    let console = eventually("the console's address", DEADLINE, || async {
        let log = controller.log();
        let address = log.split_whitespace().find(|word| word.starts_with("http://127.0.0.1:")).map(str::to_owned);
        address.ok_or(log)
    })
    .await;
    let all = (NAMESPACES * SERVICES, NAMESPACES * SERVICES * CALLS);
    let drawn = format!(
        "(({{drawing}}) => drawing && drawing.nodes(':childless').not('.title').length === {} && drawing.edges().length === {})(document.querySelector('.canvas') ?? {{}})",
        all.0, all.1
    );
    // The first page is open while the controller writes what it has found; what is measured is the second one.
    Page::open(&browser, &console, (1280, 800)).await.holds(&drawn).await;
    let begun = Instant::now();
    let page = Page::open(&browser, &console, (1280, 800)).await;
    page.holds(&drawn).await;
    let shown = begun.elapsed();
    page.keep("large").await;
    // Each picture of a drawing that is moved takes so long.
    let moved = page
        .read(
            "new Promise((done) => { const { drawing } = document.querySelector('.canvas'); const times = []; let last = performance.now(); \
             const move = () => { const now = performance.now(); times.push(now - last); last = now; drawing.panBy({ x: 5, y: 3 }); \
             if (times.length < 40) requestAnimationFrame(move); else done(times.sort((a, b) => a - b)[20]); }; requestAnimationFrame(move); })",
        )
        .await;
    let begun = Instant::now();
    page.press("/").await;
    page.write("team-07/service-33").await;
    page.holds("document.querySelector('.count').innerText.startsWith('11 nodes')").await;
    let found = begun.elapsed();
    page.keep("large-found").await;
    page.click("input[value=table]").await;
    page.holds("document.querySelectorAll('tbody tr').length === 10").await;
    let told = json!({
        "services": all.0, "dependencies": all.1, "secondsUntilDrawn": shown.as_secs_f64(),
        "millisecondsOfAPictureWhileMoved": moved, "secondsUntilFound": found.as_secs_f64(),
    });
    println!("{told}");
    std::fs::write(report().join("large.json"), told.to_string()).unwrap();
    assert_eq!(page.complaints(), Vec::<serde_json::Value>::new());
    drop(controller);
    std::fs::remove_file(log).unwrap();
}
