//! From outside: the seed's "Open the application to outside traffic", and an ingress gateway beside the global-sidecar (contract S57, S64).

use std::time::Duration;

use serde_json::Value;

use super::install::Installation;
use super::operated::rejects;
use super::pods::{Pod, clusters};
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "gateways";

/// As Istio's documentation installs a gateway without its chart: the injector makes it of the container named istio-proxy.
const FIXTURE: &str = "apiVersion: v1
kind: Namespace
metadata: {name: gateways}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingressgateway, namespace: gateways}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  template:
    metadata:
      annotations: {inject.istio.io/templates: gateway}
      labels: {istio: ingressgateway, sidecar.istio.io/inject: 'true'}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: istio-proxy, image: auto, imagePullPolicy: IfNotPresent}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bookinfo, namespace: gateways}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 9080, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bookinfo, namespace: gateways}
spec:
  hosts: ['*']
  gateways: [bookinfo]
  http:
    - match: [{uri: {exact: /productpage}}]
      route: [{destination: {host: productpage.default.svc.cluster.local, port: {number: 9080}}}]
";

#[tokio::test(flavor = "multi_thread")]
async fn the_application_is_open_to_outside_traffic_beside_an_ingress_gateway() {
    let _turn = turn().await;
    let test = "the_application_is_open_to_outside_traffic_beside_an_ingress_gateway";
    let Some(testbed) = Testbed::up(test) else { return };
    script(&["bookinfo", "up"]);
    let refused = rejects(&testbed);
    let gateway = Gateway::open(&testbed);
    let _installation = Installation::new(&testbed).await;
    let label = ["label", "service", "productpage", "-n", "default", "slime.io/serviceFenced=true", "--overwrite"];
    testbed.kubectl(&label).unwrap();

    eventually("productpage's proxy does not know details", SOON, || async {
        let known = clusters(&testbed, "productpage-v1")?;
        anyhow::ensure!(!known.contains("outbound|9080||details.default"), "details is still known");
        Ok(())
    })
    .await;

    let outside = gateway.pod();
    let page = eventually("the gateway has its routes", SOON, || outside.ask("/productpage")).await;
    assert_eq!(ways(&page), ["fallback", "fallback"], "{page:#}");
    eventually("a page from outside is made by direct calls", SOON, || async {
        let page = outside.ask("/productpage").await?;
        assert!(page["failed"].is_null(), "{page:#}");
        anyhow::ensure!(ways(&page) == ["direct", "direct"], "{page:#}");
        Ok(())
    })
    .await;
    // Nobody refused a listener: the two do not fight for a port.
    assert!((rejects(&testbed) - refused).abs() < 0.5, "proxies refused some configuration");
    gateway.is_ready();
}

/// By which way productpage made its calls for a page.
fn ways(page: &Value) -> Vec<&str> {
    page["calls"].as_array().into_iter().flatten().map(|call| call["direct"].as_str().unwrap_or("?")).collect()
}

/// Removed when it is dropped.
struct Gateway<'a>(&'a Testbed);

impl<'a> Gateway<'a> {
    fn open(testbed: &'a Testbed) -> Self {
        testbed.apply(FIXTURE);
        let gateway = Self(testbed);
        gateway.is_ready();
        gateway
    }

    fn is_ready(&self) {
        let rollout = ["rollout", "status", "deployment/ingressgateway", "-n", NAMESPACE, "--timeout=90s"];
        self.0.kubectl(&rollout).expect("the gateway runs");
    }

    fn pod(&self) -> Pod {
        Pod::find_in(self.0, NAMESPACE, "istio=ingressgateway", 9080)
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        for failed in [
            self.0.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=60s"]),
            self.0.kubectl(&["label", "service", "productpage", "-n", "default", "slime.io/serviceFenced-"]),
        ]
        .into_iter()
        .filter_map(Result::err)
        {
            eprintln!("removing the gateway: {failed}");
        }
    }
}
