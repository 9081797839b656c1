//! What requests meet that no route of a fenced caller matches: found ports, gRPC, dispatches, both outbound modes, a user's mesh-wide
//! Sidecar, controllers that change places.

use std::time::Duration;

use serde_json::{Value, json};

use super::install::NAMESPACE;
use super::operated::{FENCE, Operated, RATE, by_fallback, printed, rejects};
use super::pods::{Pod, access_log};
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);
const GENERAL: &str = "/spec/module/0/general";

/// A gRPC Service on a port that no SlimeBoot lists, targets of dispatches, and the mesh-wide Sidecar that Istio's documentation advises.
const FIXTURE: &str = "apiVersion: v1
kind: Namespace
metadata: {name: testns}
---
apiVersion: v1
kind: Service
metadata: {name: talker, namespace: default, labels: {test: fallback}}
spec: {ports: [{name: grpc, port: 50051}], selector: {app: talker}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: talker, namespace: default, labels: {test: fallback}}
spec:
  selector: {matchLabels: {app: talker}}
  template:
    metadata: {labels: {app: talker}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: talker, image: docker.io/testbed/app:1, imagePullPolicy: Never, env: [{name: NAME, value: talker}, {name: PORTS, value: '50051'}]}]
---
apiVersion: v1
kind: Service
metadata: {name: egress1, namespace: testns}
spec: {ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: egress2, namespace: mesh-operator}
spec: {ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: istio-system}
spec: {egress: [{hosts: [./*, istio-system/*]}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn unmatched_requests_go_where_the_slime_boot_says_in_both_outbound_modes_and_none_fails() {
    let _turn = turn().await;
    let test = "unmatched_requests_go_where_the_slime_boot_says_in_both_outbound_modes_and_none_fails";
    let Some(testbed) = Testbed::up(test) else { return };
    script(&["bookinfo", "up"]);
    let operated = Operated::install(&testbed);
    let fixture = Fixture::new(&testbed);
    let refused = rejects(&testbed);
    let mut boot = printed("cluster_accesslog");
    let general = &mut boot["spec"]["module"][0]["general"];
    (general["autoPort"], general["supportH2"]) = (json!(true), json!(true));
    testbed.apply(&boot.to_string());
    operated.ready().await;
    testbed.apply(FENCE);
    operated.sidecar_has(&[]).await;

    let story = Story::new(&operated);
    let before = by_fallback(&testbed, &story.caller);
    story.goes("unknown.example", "||global-sidecar.").await;
    let load = story.caller.start_load(&story.url("unknown.example"), RATE).await;
    story.grpc_on_a_found_port_is_learned().await;
    story.dispatches_are_followed(&mut boot).await;
    eventually("enough requests go by the fallback to tell", SOON, || async {
        let seen = by_fallback(&testbed, &story.caller) - before;
        anyhow::ensure!(seen > RATE as usize * 2, "{seen}");
        Ok(())
    })
    .await;
    let result = story.caller.stop_load(&load).await;
    println!("{} requests", result["sent"]);
    assert_eq!(result["failed"], json!([]), "no request fails");

    let load = story.caller.start_load("http://talker:50051/&h2=1", RATE).await;
    story.where_only_the_registry_may_be_called_the_fallback_serves(&fixture).await;
    story.a_second_controller_takes_over(&mut boot).await;

    testbed.kubectl(&["delete", "slimeboot", "lazyload", "-n", NAMESPACE, "--timeout=120s"]).unwrap();
    assert_eq!(operated.left(), Vec::<String>::new());
    let result = story.caller.stop_load(&load).await;
    assert_eq!(result["failed"], json!([]), "no request fails");
    assert!((rejects(&testbed) - refused).abs() < 0.5, "proxies refused some configuration");
    fixture.users_sidecar_is_as_it_was();
}

struct Story<'a> {
    operated: &'a Operated<'a>,
    caller: Pod,
    stranger: Pod,
    details: String,
}

impl<'a> Story<'a> {
    fn new(operated: &'a Operated<'a>) -> Self {
        let details = operated.testbed.get(&["service", "details", "-n", "default"]).unwrap();
        Self {
            operated,
            caller: Pod::find(operated.testbed, "app=productpage"),
            stranger: Pod::find(operated.testbed, "app=ratings"),
            details: details["spec"]["clusterIP"].as_str().unwrap().to_owned(),
        }
    }

    /// A host that is asked for at a known address.
    fn url(&self, host: &str) -> String {
        format!("http://{}:9080/&header=Host:{host}", self.details)
    }

    /// The newest line of the caller's access log with a text.
    fn last_of_the_callers_log(&self, containing: &str) -> String {
        access_log(self.operated.testbed, &self.caller.name, containing).pop().unwrap_or_default()
    }

    /// Waits until requests for a host are answered by way of a cluster.
    async fn goes(&self, host: &str, cluster: &str) {
        eventually(&format!("{host} goes to {cluster}"), SOON, || async {
            let seen = self.caller.ask(&format!("/fetch?url={}", self.url(host))).await?;
            let last = self.last_of_the_callers_log(&format!("\"{host}\""));
            anyhow::ensure!(seen["status"] == 200 && last.contains(cluster), "{seen:#} {last}");
            Ok(())
        })
        .await;
    }

    async fn grpc_on_a_found_port_is_learned(&self) {
        let ask = async || {
            let seen = self.caller.ask("/grpc?url=http://talker:50051&messages=3").await?;
            anyhow::ensure!(seen["grpc_status"] == "0" && seen["messages"] == 3, "{seen:#}");
            Ok(seen["direct"].clone())
        };
        eventually("gRPC goes by the fallback on a port that was found", SOON, || async {
            let direct = ask().await?;
            anyhow::ensure!(direct == "fallback", "{direct} {}", self.last_of_the_callers_log("talker:50051"));
            Ok(())
        })
        .await;
        self.operated.sidecar_has(&["talker"]).await;
        eventually("gRPC is direct", SOON, || async {
            let direct = ask().await?;
            anyhow::ensure!(direct == "direct", "{direct} {}", self.last_of_the_callers_log("talker:50051"));
            Ok(())
        })
        .await;
        let boot = self.operated.testbed.get(&["slimeboot", "lazyload", "-n", NAMESPACE]).unwrap();
        let found = boot["status"]["autoPort"]["ports"].to_string();
        assert!(found.contains("50051: default/talker"), "{found}");
    }

    /// The seed's snippet; its template is completed to a name that Istio has.
    async fn dispatches_are_followed(&self, boot: &mut Value) {
        boot["spec"]["foo"] = json!("outbound|80||egress2");
        let dispatches = json!([
            {"name": 163, "domains": ["www.163.com"], "cluster": "outbound|80||egress1.testns.svc.cluster.local"},
            {"name": "baidu", "domains": ["*.baidu.com", "baidu.*"], "cluster": "{{ (print .Values.foo \".\" .Values.namespace) }}.svc.cluster.local"},
            {"name": "sohu", "domains": ["*.sohu.com", "sodu.*"], "cluster": "_GLOBAL_SIDECAR"},
            {"name": "default", "domains": ["*"], "cluster": "PassthroughCluster"},
        ]);
        self.operated.change(boot, "dispatches", GENERAL, "dispatches", dispatches).await;
        for (host, cluster) in [
            ("www.163.com", "outbound|80||egress1.testns.svc.cluster.local"),
            ("tieba.baidu.com", "outbound|80||egress2.mesh-operator.svc.cluster.local"),
            ("baidu.cn", "outbound|80||egress2.mesh-operator.svc.cluster.local"),
            ("www.sohu.com", "||global-sidecar."),
            ("unknown.example", "PassthroughCluster"),
        ] {
            self.goes(host, cluster).await;
        }
        self.operated.change(boot, "no dispatches", GENERAL, "dispatches", json!([])).await;
        self.goes("unknown.example", "||global-sidecar.").await;
    }

    async fn where_only_the_registry_may_be_called_the_fallback_serves(&self, fixture: &Fixture<'_>) {
        fixture.outbound("REGISTRY_ONLY");
        for (who, pod) in [("a caller that is not fenced", &self.stranger), ("a fenced one", &self.caller)] {
            eventually(&format!("{who} is as blocked as without lazyload"), SOON, || async {
                let seen = pod.ask(&format!("/fetch?url={}", self.url("unknown.example"))).await?;
                if seen["status"] == 502 { Ok(()) } else { Err(anyhow::anyhow!("{seen:#}")) }
            })
            .await;
        }
        let first = self.caller.ask("/fetch?url=http://details:9080/").await.unwrap();
        assert_eq!((&first["status"], &first["direct"]), (&200.into(), &"fallback".into()), "{first:#}");
        self.operated.sidecar_has(&["details", "talker"]).await;
    }

    async fn a_second_controller_takes_over(&self, boot: &mut Value) {
        let testbed = self.operated.testbed;
        boot["spec"]["replicaCount"] = json!(2);
        let misc = "/spec/module/0/global/misc";
        self.operated.change(boot, "two controllers", misc, "enableLeaderElection", json!("on")).await;
        let leader = eventually("one of them leads", SOON, || async {
            let pods = testbed.get(&["pods", "-n", NAMESPACE, "-l", "slime.io/leader=true"])?;
            let pods = pods["items"].as_array().cloned().unwrap_or_default();
            anyhow::ensure!(pods.len() == 1, "{} leaders", pods.len());
            Ok(pods[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        })
        .await;
        let kill = ["delete", "pod", &leader, "-n", NAMESPACE, "--grace-period=0", "--force", "--wait=false"];
        testbed.kubectl(&kill).unwrap();
        // What is on its way to the killed one may die with it; an application calls again.
        eventually("a call after its end is learned", SOON, || async {
            let visit = self.caller.ask("/fetch?url=http://reviews:9080/").await?;
            assert_eq!(visit["status"], 200, "{visit:#}");
            let sidecar = testbed.get(&["sidecar", "productpage", "-n", "default"])?;
            anyhow::ensure!(sidecar.to_string().contains("*/reviews.default.svc"), "{sidecar:#}");
            Ok(())
        })
        .await;
        self.operated.sidecar_has(&["details", "reviews", "talker"]).await;
        let sidecar = testbed.get(&["sidecar", "productpage", "-n", "default"]).unwrap();
        println!("the Sidecar has generation {}", sidecar["metadata"]["generation"]);
    }
}

/// Removed when it is dropped, and the outbound mode is as it was.
struct Fixture<'a> {
    testbed: &'a Testbed,
    users_sidecar: Value,
}

impl<'a> Fixture<'a> {
    fn new(testbed: &'a Testbed) -> Self {
        testbed.apply(FIXTURE);
        testbed
            .kubectl(&["rollout", "status", "deployment/talker", "-n", "default", "--timeout=60s"])
            .expect("talker runs");
        let ratings = Pod::find(testbed, "app=ratings").ip();
        for (namespace, service) in [("testns", "egress1"), (NAMESPACE, "egress2")] {
            testbed.apply(&format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {{name: {service}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}\n\
                 addressType: IPv4\nports: [{{name: http, port: 9080}}]\nendpoints: [{{addresses: [{ratings}], conditions: {{ready: true}}}}]\n"
            ));
        }
        let users_sidecar = testbed.get(&["sidecar", "default", "-n", "istio-system"]).unwrap();
        Self { testbed, users_sidecar }
    }

    fn outbound(&self, mode: &str) {
        let line = format!(
            "kubectl -n istio-system get configmap istio -o yaml | sed -E 's/mode: (ALLOW_ANY|REGISTRY_ONLY)/mode: {mode}/' | kubectl replace -f -"
        );
        self.testbed.shell(&line).unwrap();
    }

    fn users_sidecar_is_as_it_was(&self) {
        let now = self.testbed.get(&["sidecar", "default", "-n", "istio-system"]).unwrap();
        assert_eq!(now, self.users_sidecar);
    }
}

impl Drop for Fixture<'_> {
    fn drop(&mut self) {
        self.outbound("ALLOW_ANY");
        let removed = [
            self.testbed.kubectl(&["delete", "sidecar", "default", "-n", "istio-system", "--ignore-not-found"]),
            self.testbed.kubectl(&["delete", "servicefences", "--all", "-n", "default", "--timeout=30s"]),
            self.testbed.kubectl(&["delete", "deployments,services", "-n", "default", "-l", "test=fallback"]),
            self.testbed.kubectl(&["delete", "namespace", "testns", "--wait=false"]),
        ];
        for failed in removed.into_iter().filter_map(Result::err) {
            eprintln!("removing the fixture: {failed}");
        }
    }
}
