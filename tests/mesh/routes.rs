//! Destinations behind destinations: a host that is routed elsewhere brings its real destination into the caller's Sidecar, and the call
//! after the first goes there without the global-sidecar.

use std::time::Duration;

use super::install::Installation;
use super::pods::{Pod, access_log, clusters};
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(20);

/// How calls of `routed-HOW` get to `behind-HOW`.
const WAYS: [(&str, &str); 2] = [
    (
        "vs",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: closure, namespace: default}\n\
         spec: {hosts: [routed-vs], http: [{route: [{destination: {host: behind-vs}}]}]}\n",
    ),
    (
        "route",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: closure, namespace: default}\n\
         spec:\n  parentRefs: [{group: \"\", kind: Service, name: routed-route}]\n  rules: [{backendRefs: [{name: behind-route, port: 9080}]}]\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn destinations_behind_a_virtual_service_and_an_http_route_are_called_directly() {
    let _turn = turn().await;
    let name = "destinations_behind_a_virtual_service_and_an_http_route_are_called_directly";
    let Some(testbed) = Testbed::up(name) else { return };
    let crd = testbed.kubectl(&["get", "crd", "httproutes.gateway.networking.k8s.io"]);
    crd.expect("a cluster that was started with Gateway API's CRDs: testbed/cluster.sh down, then up");
    let _installation = Installation::new(&testbed).await;
    script(&["bookinfo", "up"]);
    let _fixture = Fixture::new(&testbed);
    eventually("the Sidecar is in force", SOON, || async {
        let clusters = clusters(&testbed, "productpage-v1")?;
        anyhow::ensure!(!clusters.contains("||behind-"), "the Services of this test are known");
        Ok(())
    })
    .await;
    let caller = Pod::find(&testbed, "app=productpage");
    let mut expected = vec!["istio-system/*".to_owned(), "mesh-operator/*".to_owned()];
    for (how, _) in WAYS {
        let path = format!("/fetch?url=http://routed-{how}:9080/closure-{how}");
        let first = caller.ask(&path).await.expect("the first call");
        assert_eq!((&first["status"], &first["direct"]), (&200.into(), &"fallback".into()), "{first:#}");
        assert!(first.to_string().contains("ratings-v1"), "it is routed as if there were no fence: {first:#}");

        expected.extend(["behind", "routed"].map(|what| format!("*/{what}-{how}.default.svc.cluster.local")));
        expected.sort();
        eventually("both hosts are in the Sidecar", SOON, || async {
            let sidecar = testbed.get(&["sidecar", "productpage", "-n", "default"])?;
            let hosts: Vec<String> = serde_json::from_value(sidecar["spec"]["egress"][0]["hosts"].clone())?;
            anyhow::ensure!(hosts == expected, "{hosts:?}");
            Ok(())
        })
        .await;
        let second = eventually("calls are direct", SOON, || async {
            let call = caller.ask(&path).await?;
            anyhow::ensure!(call["direct"] == "direct", "{call:#}");
            Ok(call)
        })
        .await;
        assert!(second.to_string().contains("ratings-v1"), "{second:#}");
        let cluster = format!("outbound|9080||behind-{how}.default.svc.cluster.local");
        eventually("the caller's proxy itself sends to the destination behind", SOON, || async {
            let lines = access_log(&testbed, &caller.name, &format!("/closure-{how} "));
            let last = lines.last().cloned().unwrap_or_default();
            if last.contains(&cluster) && last.contains("\" 200 ") { Ok(()) } else { Err(last) }
        })
        .await;
    }
}

/// Services that are routed, those behind them, the routes, and a fence for the caller; removed when it is dropped.
struct Fixture<'a> {
    testbed: &'a Testbed,
}

impl<'a> Fixture<'a> {
    fn new(testbed: &'a Testbed) -> Self {
        let mut yaml = "apiVersion: microservice.slime.io/v1alpha1\nkind: ServiceFence\n\
                        metadata: {name: productpage, namespace: default}\nspec: {enable: true}\n"
            .to_owned();
        for (how, route) in WAYS {
            for (what, app) in [("routed", "details"), ("behind", "ratings")] {
                yaml += &format!(
                    "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {what}-{how}, namespace: default, labels: {{test: closure}}}}\n\
                     spec: {{ports: [{{name: http, port: 9080}}], selector: {{app: {app}}}}}\n"
                );
            }
            yaml = yaml + "---\n" + route;
        }
        testbed.apply(&yaml);
        Self { testbed }
    }
}

impl Drop for Fixture<'_> {
    fn drop(&mut self) {
        let removed = [
            self.testbed.kubectl(&["delete", "servicefence", "productpage", "-n", "default", "--ignore-not-found"]),
            self.testbed.kubectl(&["delete", "virtualservice", "closure", "-n", "default", "--ignore-not-found"]),
            self.testbed.kubectl(&["delete", "httproute", "closure", "-n", "default", "--ignore-not-found"]),
            self.testbed.kubectl(&["delete", "service", "-n", "default", "-l", "test=closure"]),
        ];
        for failed in removed.into_iter().filter_map(Result::err) {
            eprintln!("removing the routes: {failed}");
        }
    }
}
