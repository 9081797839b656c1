//! The ways in and out on a real mesh: the scripts of the documentation, and Helm. What is left is looked for by label, kind and name.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::install::{NAMESPACE, remove};
use super::pods::{Pod, clusters};
use super::testbed::{Testbed, script};
use super::turn;
use super::tutorial::run_chapter;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(30);
const PAGE: &str = "http://productpage:9080/productpage";
const CRDS: [&str; 2] = ["servicefences.microservice.slime.io", "slimeboots.config.netease.com"];
const SCRIPTS: &str = "install/samples/lazyload";
const IMAGE: &str = "docker.io/testbed/lazyload";

/// Values of the chart: cluster mode with this image, small, for a small node.
fn values(ports: &[&str]) -> String {
    json!({
        "image": {"repository": IMAGE, "tag": "1", "pullPolicy": "IfNotPresent"},
        "slimeBoot": {"enabled": true, "spec": {
            "module": [{
                "name": "lazyload", "kind": "lazyload", "enable": true,
                "general": {"autoFence": true, "wormholePort": ports},
            }],
            "component": {"globalSidecar": {
                "enable": true,
                "resources": {"requests": {"cpu": "10m", "memory": "20Mi"}},
                "sidecarInject": {"enable": true, "mode": "pod", "labels": {"sidecar.istio.io/inject": "true"}},
            }},
        }},
    })
    .to_string()
}

/// Leaves the mesh without the product, however the test ends.
struct Afterwards<'a>(&'a Testbed);

impl Drop for Afterwards<'_> {
    fn drop(&mut self) {
        for failed in [
            self.0.shell(&format!("{SCRIPTS}/easy_uninstall_lazyload.sh")),
            self.0.kubectl(&["label", "services", "--all", "-n", "default", "slime.io/serviceFenced-"]),
            self.0.shell("helm uninstall --no-hooks --ignore-not-found lazyload -n mesh-operator"),
        ]
        .into_iter()
        .filter_map(Result::err)
        {
            eprintln!("removing the installation: {failed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentations_scripts_install_a_working_product_and_leave_nothing_behind() {
    let _turn = turn().await;
    let test = "the_documentations_scripts_install_a_working_product_and_leave_nothing_behind";
    let Some(testbed) = Testbed::up(test) else { return };
    remove(&testbed);
    let _afterwards = Afterwards(&testbed);
    script(&["bookinfo", "up"]);
    let before = everything(&testbed);

    run_chapter(&testbed, "2. Install");
    assert_eq!(running(&testbed), ["global-sidecar 2/2", "lazyload 1/1", "slime-boot 1/1"]);
    // Both ways to make a fence, of which only the label comes back by itself.
    testbed.shell(&format!("kubectl apply -f {SCRIPTS}/servicefence_productpage.yaml")).unwrap();
    testbed.kubectl(&["label", "service", "reviews", "-n", "default", "slime.io/serviceFenced=true"]).unwrap();
    learned(&testbed).await;
    // Once more over what is there: an upgrade.
    testbed.shell(&format!("LAZYLOAD_IMAGE={IMAGE}:1 {SCRIPTS}/easy_install_lazyload.sh")).unwrap();

    let visitor = Pod::find(&testbed, "app=ratings");
    let load = visitor.start_load(PAGE, 20).await;
    run_chapter(&testbed, "6. Uninstall");
    mesh_works(&testbed, &visitor, &load).await;
    nothing_is_left(&testbed, &before);
    for gone in CRDS.map(|crd| ["crd", crd]).iter().chain(&[["namespace", NAMESPACE]]) {
        let error = testbed.get(gone).unwrap_err().to_string();
        assert!(error.contains("NotFound"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_changes_and_removes_it_and_what_was_learned_is_there_again_afterwards() {
    let _turn = turn().await;
    let test = "helm_installs_changes_and_removes_it_and_what_was_learned_is_there_again_afterwards";
    let Some(testbed) = Testbed::up(test) else { return };
    remove(&testbed);
    let _afterwards = Afterwards(&testbed);
    script(&["bookinfo", "up"]);
    let before = everything(&testbed);
    let helm = |command: &str, ports: &[&str]| {
        let values = values(ports);
        testbed
            .shell(&format!("helm {command} lazyload charts/lazyload -n {NAMESPACE} -f - <<'V'\n{values}\nV"))
            .unwrap();
    };

    helm("install --create-namespace", &["9080"]);
    ready(&testbed).await;
    assert_eq!(running(&testbed), ["global-sidecar 2/2", "lazyload 1/1", "slime-boot 1/1"]);
    testbed.kubectl(&["label", "service", "productpage", "-n", "default", "slime.io/serviceFenced=true"]).unwrap();
    let hosts = learned(&testbed).await;

    helm("upgrade", &["9080", "7070"]);
    eventually("the new port is served", Duration::from_secs(120), || async {
        let service = testbed.get(&["service", "global-sidecar", "-n", NAMESPACE])?.to_string();
        let filter = testbed.get(&["envoyfilter", "to-global-sidecar", "-n", "istio-system"])?.to_string();
        anyhow::ensure!(service.contains("7070") && filter.contains("7070"), "{service} {filter}");
        Ok(())
    })
    .await;
    ready(&testbed).await;

    let visitor = Pod::find(&testbed, "app=ratings");
    let load = visitor.start_load(PAGE, 20).await;
    testbed.shell(&format!("helm uninstall lazyload -n {NAMESPACE}")).unwrap();
    mesh_works(&testbed, &visitor, &load).await;
    // CRDs, fences and the namespace are the user's.
    nothing_is_left(&testbed, &before);
    eventually("the namespace is empty: the global-sidecar drains for a while", Duration::from_secs(90), || async {
        let left = testbed.kubectl(&["get", "all,serviceaccounts,configmaps", "-n", NAMESPACE, "-o", "name"])?;
        let left: Vec<&str> = left.lines().filter(|name| !of_every_namespace(name)).collect();
        anyhow::ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await;
    let fence = testbed.get(&["servicefence", "productpage", "-n", "default"]).unwrap();
    assert!(fence["status"]["domains"].as_object().is_some_and(|domains| domains.len() == 2), "{fence:#}");

    helm("install", &["9080"]);
    ready(&testbed).await;
    eventually("what was learned is in force again", SOON, || async { expected(&testbed, &hosts) }).await;
}

/// Names of the running pods without what makes them unique, and their ready containers.
fn running(testbed: &Testbed) -> Vec<String> {
    let pods = testbed.kubectl(&["get", "pods", "-n", NAMESPACE, "--no-headers"]).unwrap();
    let mut pods: Vec<String> = pods
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            format!("{} {}", words[0].rsplitn(3, '-').last().unwrap_or_default(), words[1])
        })
        .collect();
    pods.sort();
    pods
}

async fn ready(testbed: &Testbed) {
    let wait = ["wait", "slimeboot/lazyload", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=180s"];
    testbed.kubectl(&wait).unwrap_or_else(|error| {
        panic!("{error}\n{}", testbed.kubectl(&["get", "slimeboot,pods", "-n", NAMESPACE, "-o", "yaml"]).unwrap())
    });
    // Those of before an upgrade end a while later.
    eventually("old pods are gone", Duration::from_secs(90), || async {
        let pods = running(testbed);
        if pods.len() == 3 { Ok(()) } else { Err(pods) }
    })
    .await;
}

/// Visits until productpage's Sidecar has what it calls; returns its hosts.
async fn learned(testbed: &Testbed) -> Vec<String> {
    eventually("the Sidecar is in force", SOON, || async {
        let clusters = clusters(testbed, "productpage-v1")?;
        anyhow::ensure!(!clusters.contains("outbound|9080||ratings.default"), "ratings is still known");
        Ok(())
    })
    .await;
    let hosts = ["*/details.default.svc.cluster.local", "*/reviews.default.svc.cluster.local"];
    let hosts: Vec<String> =
        hosts.iter().chain(&["istio-system/*", "mesh-operator/*"]).map(ToString::to_string).collect();
    eventually("the Sidecar has learned", SOON, || async {
        let status = visit(testbed)?;
        anyhow::ensure!(status == "200", "the page: {status}");
        expected(testbed, &hosts)
    })
    .await;
    hosts
}

fn expected(testbed: &Testbed, hosts: &[String]) -> anyhow::Result<()> {
    let sidecar = testbed.get(&["sidecar", "productpage", "-n", "default"])?;
    let found = &sidecar["spec"]["egress"][0]["hosts"];
    anyhow::ensure!(*found == json!(hosts), "{found}");
    Ok(())
}

fn visit(testbed: &Testbed) -> anyhow::Result<String> {
    let curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "productpage:9080/productpage"];
    testbed.kubectl(&[&["exec", "-n", "default", "deploy/ratings-v1", "--"], &curl[..]].concat())
}

/// Nothing hides a service any more, and no request of the load failed.
async fn mesh_works(testbed: &Testbed, visitor: &Pod, load: &str) {
    eventually("every service is known again", SOON, || async {
        let clusters = clusters(testbed, "productpage-v1")?;
        anyhow::ensure!(clusters.contains("outbound|9080||ratings.default"), "ratings is not known");
        anyhow::ensure!(!clusters.contains("global-sidecar"), "the global-sidecar is still known");
        Ok(())
    })
    .await;
    let result = visitor.stop_load(load).await;
    println!("load while it was removed: {} requests, p99 {} ms", result["sent"], result["p99_ms"]);
    assert!(result["sent"].as_u64().is_some_and(|sent| sent > 100), "{result}");
    assert_eq!(result["failed"], json!([]), "no request fails");
    assert_eq!(visit(testbed).unwrap(), "200");
}

/// Every object that could be of an installation: by the labels of the product, or of a kind and name that it makes.
fn everything(testbed: &Testbed) -> BTreeSet<String> {
    let kinds = "envoyfilters,sidecars,deployments,services,serviceaccounts,configmaps,roles,rolebindings,clusterroles,\
                 clusterrolebindings,jobs,mutatingwebhookconfigurations,validatingwebhookconfigurations";
    let list = testbed.get(&[kinds, "-A"]).unwrap();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
    };
    let of_the_namespace = |name: &String| name.contains(" mesh-operator/") && of_every_namespace(name);
    items.iter().map(name).filter(|name| !of_the_namespace(name)).collect()
}

/// Whether Kubernetes or Istio puts it into each namespace: it comes and goes with it.
fn of_every_namespace(name: &str) -> bool {
    ["/default", "/kube-root-ca.crt", "/istio-ca-root-cert", "/istio-ca-crl"].iter().any(|end| name.ends_with(end))
}

fn nothing_is_left(testbed: &Testbed, before: &BTreeSet<String>) {
    let now = everything(testbed);
    assert_eq!(now.difference(before).collect::<Vec<_>>(), Vec::<&String>::new(), "left behind");
    assert_eq!(before.difference(&now).collect::<Vec<_>>(), Vec::<&String>::new(), "taken away");
}
