//! A controller that is killed (SIGKILL) at any point of the story: the story still ends the same, and no request fails.

use std::time::Duration;

use super::install::{Installation, NAMESPACE};
use super::pods::Pod;
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(30);

/// When the controller dies, in milliseconds after the step.
const MOMENTS: [(Step, u64); 6] = [
    (Step::Enabled, 0),
    (Step::Enabled, 8),
    (Step::FirstVisit, 0),
    (Step::FirstVisit, 10),
    (Step::FirstVisit, 35),
    (Step::FirstVisit, 150),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Enabled,
    FirstVisit,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_at_any_point_changes_nothing_of_the_storys_end() {
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("a_controller_killed_at_any_point_changes_nothing_of_the_storys_end") else {
        return;
    };
    let installation = Installation::new(&testbed).await;
    script(&["bookinfo", "up"]);
    for (step, after) in MOMENTS {
        println!("killed {after} ms after {step:?}");
        story(&testbed, step, after).await;
        forget(&testbed, &installation).await;
    }
}

async fn story(testbed: &Testbed, step: Step, after: u64) {
    let label = |value: &str| {
        let label = format!("slime.io/serviceFenced{value}");
        testbed.kubectl(&["label", "service", "productpage", "-n", "default", "--overwrite", &label]).unwrap();
    };
    label("=true");
    if step == Step::Enabled {
        kill(testbed, after).await;
    }
    let visitor = Pod::find(testbed, "app=ratings");
    eventually("the Sidecar", SOON, || async { testbed.get(&["sidecar", "productpage", "-n", "default"]) }).await;
    let load = visitor.start_load("http://productpage:9080/productpage", 50).await;
    if step == Step::FirstVisit {
        kill(testbed, after).await;
    }
    eventually("both hosts are in the Sidecar", SOON, || async {
        let sidecar = testbed.get(&["sidecar", "productpage", "-n", "default"])?;
        anyhow::ensure!(sidecar["spec"]["egress"].as_array().map(Vec::len) == Some(1), "a switch is under way");
        let hosts = sidecar["spec"]["egress"][0]["hosts"].to_string();
        let learned = ["*/details.default.svc.cluster.local", "*/reviews.default.svc.cluster.local"];
        anyhow::ensure!(learned.iter().all(|host| hosts.contains(host)), "{hosts}");
        anyhow::ensure!(sidecar["spec"]["egress"][0]["hosts"].as_array().map(Vec::len) == Some(4), "{hosts}");
        Ok(())
    })
    .await;
    let caller = Pod::find(testbed, "app=productpage");
    for service in ["details", "reviews"] {
        eventually("calls are direct", SOON, || async {
            let call = caller.ask(&format!("/fetch?url=http://{service}:9080/")).await?;
            anyhow::ensure!(call["direct"] == "direct", "{call:#}");
            Ok(())
        })
        .await;
    }
    let result = visitor.stop_load(&load).await;
    println!("{} requests", result["sent"]);
    assert_eq!(result["failed"], serde_json::json!([]), "no request fails");
    label("-");
}

/// SIGKILL to the controller's process, then a new pod at once: a crashed container would wait ever longer for its next start.
async fn kill(testbed: &Testbed, after: u64) {
    tokio::time::sleep(Duration::from_millis(after)).await;
    script(&["kill-container", NAMESPACE, "lazyload-", "slime"]);
    let delete = ["delete", "pod", "-n", NAMESPACE, "-l", "app=lazyload", "--wait=false", "--grace-period=1"];
    testbed.kubectl(&delete).unwrap();
}

/// Back to the beginning: no fence, no Sidecar, and a controller that has forgotten what it learned.
async fn forget(testbed: &Testbed, installation: &Installation<'_>) {
    for kind in ["servicefence", "sidecar"] {
        eventually("it is gone", SOON, || async {
            let list = testbed.get(&[kind, "-n", "default"])?;
            anyhow::ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list:#}");
            Ok(())
        })
        .await;
    }
    testbed.kubectl(&["-n", NAMESPACE, "rollout", "restart", "deployment", "lazyload"]).unwrap();
    installation.ready().await;
}
