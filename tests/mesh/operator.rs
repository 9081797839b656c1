//! The seed's four SlimeBoots as printed, by the operator: installed, used, changed and removed, while requests go through the
//! global-sidecar all the time.

use std::time::Duration;

use serde_json::json;

use super::install::NAMESPACE;
use super::operated::{FENCE, Operated, RATE, by_fallback, printed, rejects};
use super::pods::Pod;
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_seeds_slime_boots_is_installed_changed_and_removed_and_no_request_fails() {
    let _turn = turn().await;
    let test = "each_of_the_seeds_slime_boots_is_installed_changed_and_removed_and_no_request_fails";
    let Some(testbed) = Testbed::up(test) else { return };
    script(&["bookinfo", "up"]);
    script(&["prometheus", "up"]);
    let operated = Operated::install(&testbed);
    let refused = rejects(&testbed);
    for case in ["cluster_accesslog", "cluster_prometheus", "namespace_accesslog", "namespace_prometheus"] {
        println!("--- {case}");
        operated.live_and_leave(case).await;
    }
    assert!((rejects(&testbed) - refused).abs() < 0.5, "proxies refused some configuration");
}

impl Operated<'_> {
    async fn live_and_leave(&self, case: &str) {
        let testbed = self.testbed;
        let mut boot = printed(case);
        let namespaced = case.starts_with("namespace");
        testbed.apply(&boot.to_string());
        self.ready().await;
        self.pods_are_those_of_the_seed(if namespaced { "default" } else { NAMESPACE });

        testbed.apply(FENCE);
        self.sidecar_has(&[]).await;
        let productpage = Pod::find(testbed, "app=productpage");
        // A host that the mesh does not know never becomes direct.
        let details = testbed.get(&["service", "details", "-n", "default"]).unwrap()["spec"]["clusterIP"].clone();
        let url = format!("http://{}:9080/&header=Host:unknown.example", details.as_str().unwrap());
        let before = by_fallback(testbed, &productpage);
        eventually("what is unknown goes by the fallback", SOON, || async {
            let seen = productpage.ask(&format!("/fetch?url={url}")).await?;
            anyhow::ensure!(seen["status"] == 200 && by_fallback(testbed, &productpage) > before, "{seen:#}");
            Ok(())
        })
        .await;
        let load = productpage.start_load(&url, RATE).await;

        // The seed's story: the first visit is learned.
        let visit = productpage.ask("/fetch?url=http://productpage:9080/productpage").await.unwrap();
        assert_eq!(visit["status"], 200, "{visit:#}");
        self.sidecar_has(&["details", "reviews"]).await;
        eventually("the next call is direct", SOON, || async {
            let seen = productpage.ask("/fetch?url=http://details:9080/").await?;
            anyhow::ensure!(seen["direct"] == "direct", "{seen:#}");
            Ok(())
        })
        .await;

        let general = "/spec/module/0/general";
        for (what, pointer, key, value) in [
            ("a second port", general, "wormholePort", json!(["9080", "9090"])),
            (
                "a dispatch",
                general,
                "dispatches",
                json!([{"name": "out", "domains": ["*.example.org"], "cluster": "PassthroughCluster"}]),
            ),
            ("the log level", "/spec/module/0/global", "log", json!({"logLevel": "debug"})),
            ("resources", "/spec/component/globalSidecar/resources/requests", "cpu", json!("11m")),
            ("the controller's image", "/spec/image", "tag", json!("2")),
            ("the global-sidecar's image", "/spec/component/globalSidecar/image", "tag", json!("2")),
            ("one port again", general, "wormholePort", json!(["9080"])),
        ] {
            self.change(&mut boot, what, pointer, key, value).await;
        }
        if namespaced {
            testbed.apply(
                "apiVersion: v1\nkind: Namespace\nmetadata: {name: annex, labels: {istio-injection: enabled}}\n",
            );
            self.change(&mut boot, "a second namespace", general, "namespace", json!(["default", "annex"])).await;
            testbed.apply(&FENCE.replace("namespace: default", "namespace: annex"));
            self.annex_is_fenced(true).await;
            self.change(&mut boot, "one namespace again", general, "namespace", json!(["default"])).await;
            self.annex_is_fenced(false).await;
            testbed.kubectl(&["delete", "namespace", "annex", "--wait=false"]).unwrap();
        }
        testbed.kubectl(&["delete", "slimeboot", "lazyload", "-n", NAMESPACE, "--timeout=120s"]).unwrap();
        assert_eq!(self.left(), Vec::<String>::new());
        let result = productpage.stop_load(&load).await;
        let by_fallback = by_fallback(testbed, &productpage) - before;
        println!("{case}: {} requests, {by_fallback} by the fallback", result["sent"]);
        assert_eq!(result["failed"], json!([]), "{case}: no request fails");
        assert!(by_fallback > RATE as usize * 5, "{by_fallback} requests by the fallback are too few to tell");

        testbed.kubectl(&["delete", "servicefences", "--all", "-n", "default"]).unwrap();
        eventually("the fence's Sidecar is gone", SOON, || async {
            let list = testbed.get(&["sidecars", "-n", "default"])?;
            anyhow::ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list:#}");
            Ok(())
        })
        .await;
    }

    /// Whether a fence of the second namespace hides hosts, and what it says if nobody would serve them.
    async fn annex_is_fenced(&self, wanted: bool) {
        eventually("the fence of a namespace follows its fallback", SOON, || async {
            let sidecars =
                self.testbed.get(&["sidecars", "-n", "annex", "--field-selector=metadata.name=productpage"])?;
            let fence = self.testbed.get(&["servicefence", "productpage", "-n", "annex"])?;
            let conditions = fence["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let applied = conditions.iter().find(|condition| condition["type"] == "SidecarApplied");
            let reason = applied.map(|applied| applied["reason"].clone()).unwrap_or_default();
            let seen = (sidecars["items"].as_array().map(Vec::len), reason);
            anyhow::ensure!(
                seen == (Some(usize::from(wanted)), json!(if wanted { "Applied" } else { "WithoutFallback" })),
                "{seen:?}"
            );
            Ok(())
        })
        .await;
    }

    /// E5: names and counts.
    fn pods_are_those_of_the_seed(&self, global_sidecar: &str) {
        let mut seen = Vec::new();
        for namespace in [NAMESPACE, "default"] {
            let list = self.testbed.kubectl(&["get", "pods", "-n", namespace, "--no-headers"]).unwrap();
            for line in list.lines() {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let name = fields[0].rsplitn(3, '-').last().unwrap_or_default();
                if ["slime-boot", "lazyload", "global-sidecar"].contains(&name) {
                    seen.push(format!("{namespace}/{name} {} {}", fields[1], fields[2]));
                }
            }
        }
        seen.sort();
        let mut wanted = vec![
            format!("{global_sidecar}/global-sidecar 2/2 Running"),
            format!("{NAMESPACE}/lazyload 1/1 Running"),
            format!("{NAMESPACE}/slime-boot 1/1 Running"),
        ];
        wanted.sort();
        assert_eq!(seen, wanted);
    }
}
