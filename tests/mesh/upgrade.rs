//! An older version in use, this one in its place, and the older one again. Run by `tests/upgrade.sh`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::install::Installation;
use super::pods::Pod;
use super::testbed::{Testbed, lazyload_binary, script};
use super::turn;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(120);
const RATE: u32 = 50;
const FENCES: &str = "apiVersion: microservice.slime.io/v1alpha1
kind: ServiceFence
metadata: {name: productpage, namespace: default}
spec: {enable: true}
---
apiVersion: microservice.slime.io/v1alpha1
kind: ServiceFence
metadata: {name: reviews, namespace: default}
spec: {enable: true, host: {details.default.svc.cluster.local: {stable: {}}}}
";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binary of an older version: tests/upgrade.sh"]
async fn an_older_version_is_replaced_and_comes_back_and_no_request_fails() {
    let older = PathBuf::from(std::env::var_os("UPGRADE_FROM").expect("UPGRADE_FROM: see tests/upgrade.sh"));
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("an_older_version_is_replaced_and_comes_back_and_no_request_fails") else { return };
    script(&["bookinfo", "up"]);
    let installation = Installation::by(&testbed, &older).await;
    testbed.apply(FENCES);
    let caller = Pod::find(&testbed, "app=productpage");
    let mut learned = vec!["details"];
    is_learned(&testbed, &caller, &learned).await;
    let before = untouched(&testbed).await;
    let address = testbed.get(&["service", "details", "-n", "default"]).unwrap()["spec"]["clusterIP"].clone();
    let unknown = format!("http://{}:9080/&header=Host:unknown.example", address.as_str().unwrap());

    let today: &Path = &lazyload_binary();
    for (step, program, host) in [("upgrade", today, "reviews"), ("downgrade", &*older, "ratings")] {
        let loads = [
            ("direct", caller.start_load("http://details:9080/", RATE).await),
            ("fallback", caller.start_load(&unknown, RATE).await),
        ];
        installation.becomes(program).await;
        learned.push(host);
        is_learned(&testbed, &caller, &learned).await;
        for (way, load) in loads {
            let result = caller.stop_load(&load).await;
            println!(
                "{step}, {way}: {} requests, {} failed, slowest {} ms",
                result["sent"], result["failed_count"], result["max_ms"]
            );
            assert_eq!(result["failed"], json!([]), "{step}, {way}");
        }
        assert_eq!(untouched(&testbed).await, before, "{step}: nothing is new of this one");
    }
}

/// The generation of a Sidecar whose workload calls nothing, once no switch is under way.
async fn untouched(testbed: &Testbed) -> Value {
    eventually("the Sidecar of who calls nothing", SOON, || async {
        let sidecar = testbed.get(&["sidecar", "reviews", "-n", "default"])?;
        anyhow::ensure!(sidecar["spec"]["egress"].as_array().map(Vec::len) == Some(1), "{sidecar:#}");
        Ok(sidecar["metadata"]["generation"].clone())
    })
    .await
}

/// Every host is in the Sidecar, each time that one looks; the last one is called until it is.
async fn is_learned(testbed: &Testbed, caller: &Pod, hosts: &[&str]) {
    let (last, known) = hosts.split_last().expect("a host");
    eventually(&format!("{last} is in the Sidecar"), SOON, || async {
        let answer = caller.ask(&format!("/fetch?url=http://{last}:9080/")).await?;
        anyhow::ensure!(answer["status"] == 200, "{answer:#}");
        let sidecar = testbed.get(&["sidecar", "productpage", "-n", "default"])?;
        let egress = sidecar["spec"]["egress"].as_array().cloned().unwrap_or_default();
        let routed = egress.last().map(|listener| listener["hosts"].to_string()).unwrap_or_default();
        let has = |host: &str| routed.contains(&format!("*/{host}.default.svc"));
        assert!(known.iter().all(|host| has(host)), "a host left: {sidecar:#}");
        anyhow::ensure!(egress.len() == 1 && has(last), "{sidecar:#}");
        Ok(())
    })
    .await;
}
