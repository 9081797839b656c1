//! A mesh that takes mutual TLS only and denies by default: who is allowed by name makes its first calls with its own identity. Where a
//! policy is for the whole mesh, nothing is imported, the first call is denied at the destination, and the next one is direct.

use std::time::Duration;

use serde_json::Value;

use super::install::{Installation, NAMESPACE};
use super::pods::{Pod, clusters};
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);

/// The test itself calls productpage from outside of the mesh; nobody else may do without a certificate.
const RULES: &str = r#"
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: asked-by-the-test, namespace: default}
spec: {selector: {matchLabels: {app: productpage}}, mtls: {mode: PERMISSIVE}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nothing, namespace: default}
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: asked-by-the-test, namespace: default}
spec: {selector: {matchLabels: {app: productpage}}, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: details, namespace: default}
spec:
  selector: {matchLabels: {app: details}}
  action: ALLOW
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/bookinfo-productpage]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  rules: [{from: [{source: {namespaces: [default]}}], to: [{operation: {methods: [GET]}}]}]
"#;

/// For the whole mesh, so that it brings nothing: ratings is allowed by this one alone.
const MESH_WIDE: &str = r#"
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-productpage, namespace: istio-system}
spec: {rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/bookinfo-productpage]}}]}]}
"#;

const FENCE: &str = "{apiVersion: microservice.slime.io/v1alpha1, kind: ServiceFence, \
    metadata: {name: productpage, namespace: default}, spec: {enable: true}}";

#[tokio::test(flavor = "multi_thread")]
async fn where_only_named_callers_are_allowed_the_first_calls_succeed_with_the_callers_own_identity() {
    let _turn = turn().await;
    let test = "where_only_named_callers_are_allowed_the_first_calls_succeed_with_the_callers_own_identity";
    let Some(testbed) = Testbed::up(test) else { return };
    let _installation = Installation::new(&testbed).await;
    script(&["bookinfo", "up"]);
    let _rules = Rules::new(&testbed);
    testbed.apply(RULES);
    testbed.apply(FENCE);
    eventually("the policies' hosts are in the Sidecar, and no others", SOON, || async {
        let domains = domains(&testbed)?;
        let named: Vec<&str> = domains.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        anyhow::ensure!(named == ["details", "reviews"].map(fqdn), "{domains}");
        Ok(())
    })
    .await;
    let metric_status = || fence(&testbed).map(|fence| fence["status"]["metricStatus"].clone());
    assert_eq!(metric_status().expect("the fence"), Value::Null, "nothing was called yet");
    eventually("the Sidecar is in force", SOON, || async {
        let clusters = clusters(&testbed, "productpage-v1")?;
        let knows = |name: &str| clusters.contains(&format!("outbound|9080||{}", fqdn(name)));
        anyhow::ensure!(knows("details") && knows("reviews") && !knows("ratings"), "details and reviews alone");
        Ok(())
    })
    .await;

    // `direct` is what the certificates say that the callee has seen.
    let caller = Pod::find(&testbed, "app=productpage");
    for host in ["details", "reviews"] {
        let first = caller.ask(&format!("/fetch?url=http://{host}:9080/first")).await.expect("the first call");
        assert_eq!((&first["status"], &first["direct"]), (&200.into(), &"direct".into()), "{first:#}");
        assert!(first.to_string().contains("ns/default/sa/bookinfo-productpage"), "{first:#}");
        assert!(!first.to_string().contains("sa/global-sidecar"), "{first:#}");
    }
    assert_eq!(metric_status().expect("the fence"), Value::Null, "no call took the way through the global-sidecar");

    testbed.apply(MESH_WIDE);
    eventually("the fence says what it does not import", SOON, || async {
        let told = denied(&testbed)?;
        anyhow::ensure!(told.contains("istio-system/of-productpage names this workload for the whole mesh"), "{told}");
        Ok(())
    })
    .await;
    let first = caller.ask("/fetch?url=http://ratings:9080/first").await.expect("the first call of ratings");
    assert_eq!(first["status"], 403, "it carries the global-sidecar's identity: {first:#}");
    eventually("the denied call was learned, and the next one is direct", SOON, || async {
        let next = caller.ask("/fetch?url=http://ratings:9080/next").await?;
        anyhow::ensure!(next["status"] == 200 && next["direct"] == "direct", "{next:#}");
        Ok(())
    })
    .await;
    eventually("the fence says whose first call was denied", SOON, || async {
        let told = denied(&testbed)?;
        anyhow::ensure!(told.contains(&format!("{} (AuthorizationPolicy istio-system", fqdn("ratings"))), "{told}");
        Ok(())
    })
    .await;
}

fn fqdn(name: &str) -> String {
    format!("{name}.default.svc.cluster.local")
}

fn fence(testbed: &Testbed) -> anyhow::Result<Value> {
    testbed.get(&["servicefence", "productpage", "-n", "default"])
}

fn domains(testbed: &Testbed) -> anyhow::Result<Value> {
    Ok(fence(testbed)?["status"]["domains"].clone())
}

/// Message of the condition that tells of denied calls.
fn denied(testbed: &Testbed) -> anyhow::Result<String> {
    let fence = fence(testbed)?;
    let conditions = fence["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == "FirstCallsDenied");
    let message = found.and_then(|condition| condition["message"].as_str());
    message.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("no such condition: {conditions:?}"))
}

/// Policies and the fence; removed when it is dropped.
struct Rules<'a>(&'a Testbed);

impl<'a> Rules<'a> {
    fn new(testbed: &'a Testbed) -> Self {
        Self(testbed)
    }
}

impl Drop for Rules<'_> {
    fn drop(&mut self) {
        let removed = ["default", "istio-system", NAMESPACE].map(|namespace| {
            self.0.kubectl(&["delete", "authorizationpolicies,peerauthentications", "--all", "-n", namespace])
        });
        let fence = self.0.kubectl(&["delete", "servicefence", "productpage", "-n", "default", "--ignore-not-found"]);
        for failed in removed.into_iter().chain([fence]).filter_map(Result::err) {
            eprintln!("removing the policies: {failed}");
        }
    }
}
