//! The operator as a process, with the rights that `install-yaml` gives it and no others: the seed's SlimeBoots as printed.

mod leaving;
mod refusals;
mod repairs;
mod surroundings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::{Cluster, documents};
use super::objects::{Objects, name_of};
use crate::support::running::{Running, free_port};
use crate::support::waiting::eventually;
use crate::support::{binary, process, repository};

const KINDS: &[&str] = &[
    "DestinationRule",
    "EnvoyFilter",
    "Deployment",
    "Sidecar",
    "Service",
    "NetworkPolicy",
    "ConfigMap",
    "RoleBinding",
    "ClusterRoleBinding",
    "Role",
    "ClusterRole",
    "ServiceAccount",
];
const LABEL: &str = "slime.io/slimeboot";

/// A cluster with a running operator.
struct Operated {
    cluster: Cluster,
    operator: Option<Running>,
}

impl Operated {
    async fn start(test: &str) -> Option<Self> {
        let cluster = Cluster::start(test).await?;
        cluster.install_istio_crds(&["DestinationRule", "EnvoyFilter"]).await;
        for namespace in ["mesh-operator", "istio-system"] {
            cluster.objects.namespace(namespace).await;
        }
        cluster.grant_the_operators_rights().await;
        let mut operated = Self { cluster, operator: None };
        operated.start_operator();
        Some(operated)
    }

    fn start_operator(&mut self) {
        let kubeconfig = self.cluster.operators_kubeconfig().display().to_string();
        let arguments = ["boot".to_owned(), "--listen".to_owned(), format!("127.0.0.1:{}", free_port())];
        let log = self.log();
        self.operator =
            Some(Running::start(&binary::lazyload(), &arguments, &[("KUBECONFIG", kubeconfig)], log).unwrap());
    }

    fn log(&self) -> PathBuf {
        self.cluster.folder().join("operator.log")
    }

    fn objects(&self) -> &Objects {
        &self.cluster.objects
    }

    /// What carries the label of this SlimeBoot: `KIND NAMESPACE/NAME`, and the object.
    async fn made_for(&self, boot: &str) -> BTreeMap<String, Value> {
        let mut made = BTreeMap::new();
        for kind in KINDS {
            for object in self.objects().list(kind).await {
                if object["metadata"]["labels"][LABEL] == boot {
                    made.insert(format!("{kind} {}", name_of(&object)), object);
                }
            }
        }
        made
    }

    /// Kubernetes ends the pods of Deployments that are being deleted.
    async fn end_pods(&self) {
        for deployment in self.objects().list("Deployment").await {
            let metadata = &deployment["metadata"];
            if metadata["deletionTimestamp"].is_string() {
                let text = |field: &str| metadata[field].as_str().unwrap().to_owned();
                let none = json!({"metadata": {"finalizers": []}});
                self.objects().merge("Deployment", &text("namespace"), &text("name"), none).await;
            }
        }
    }

    /// Kubernetes brings all pods up to date, and ends those that are to end.
    async fn roll_out(&self) {
        self.end_pods().await;
        for deployment in self.objects().list("Deployment").await {
            let metadata = &deployment["metadata"];
            let replicas = deployment["spec"]["replicas"].clone();
            let status = json!({
                "observedGeneration": metadata["generation"], "replicas": replicas, "updatedReplicas": replicas,
                "readyReplicas": replicas, "availableReplicas": replicas,
            });
            let text = |field: &str| metadata[field].as_str().unwrap().to_owned();
            // The operator may have deleted it since it was listed.
            let status = json!({"status": status});
            self.objects().report_if_there("Deployment", &text("namespace"), &text("name"), status).await;
        }
    }

    async fn condition(&self, boot: &str, kind: &str) -> Value {
        let boot = self.objects().find("SlimeBoot", "mesh-operator", boot).await.unwrap_or_default();
        let generation = boot["metadata"]["generation"].clone();
        let conditions = boot["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == kind);
        found.filter(|condition| condition["observedGeneration"] == generation).unwrap_or_default()
    }

    /// Waits until the SlimeBoot is ready as it was said last, while Kubernetes does its part.
    async fn ready(&self, boot: &str) {
        eventually("the SlimeBoot is ready", DEADLINE, || async {
            self.roll_out().await;
            let ready = self.condition(boot, "Ready").await;
            if ready["status"] == "True" { Ok(()) } else { Err(ready) }
        })
        .await;
    }

    async fn reason(&self, boot: &str, reason: &str) -> Value {
        eventually(reason, DEADLINE, || async {
            let ready = self.condition(boot, "Ready").await;
            if ready["reason"] == reason { Ok(ready) } else { Err(ready) }
        })
        .await
    }

    async fn nothing_is_left(&self, boot: &str) {
        eventually("nothing is left", DEADLINE, || async {
            self.end_pods().await;
            let boots = self.objects().names("SlimeBoot").await;
            let made: Vec<String> = self.made_for(boot).await.into_keys().collect();
            if boots.is_empty() && made.is_empty() { Ok(()) } else { Err((boots, made)) }
        })
        .await;
    }
}

/// A SlimeBoot of the seed as it is printed, its placeholders filled in.
fn printed(case: &str) -> String {
    let path = repository().join("crates/logic/tests/boot/golden").join(case).join("given.yaml");
    std::fs::read_to_string(path).unwrap()
}

fn printed_boot(case: &str) -> Value {
    documents(&printed(case)).remove(0)
}

/// `KIND NAMESPACE/NAME` of what `render` prints, and the objects.
fn rendered(boot: &Value) -> BTreeMap<String, Value> {
    let text = process::run_with_input(binary::lazyload(), &["render", "-f", "-"], &boot.to_string()).unwrap();
    let named = |object: Value| (format!("{} {}", object["kind"].as_str().unwrap(), name_of(&object)), object);
    documents(&text).into_iter().map(named).collect()
}

/// Whether everything that is wanted is there; the API server adds defaults.
fn has(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| there.get(key).is_some_and(|there| has(there, value)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(there, wanted)| has(there, wanted))
        }
        _ => there == wanted,
    }
}

#[tokio::test]
async fn each_of_the_seeds_slime_boots_becomes_exactly_what_is_rendered_and_leaves_nothing_behind() {
    let Some(operated) = Operated::start("the seed's SlimeBoots").await else { return };
    for case in [
        "the_seeds_cluster_accesslog_example",
        "the_seeds_cluster_prometheus_example",
        "the_seeds_namespace_accesslog_example",
        "the_seeds_namespace_prometheus_example",
    ] {
        let boot = printed_boot(case);
        operated.objects().apply(&boot).await;
        let waiting = operated.reason("lazyload", "Waiting").await;
        assert!(waiting["message"].as_str().unwrap().contains("global-sidecar"), "{waiting}");
        let made: BTreeSet<String> = operated.made_for("lazyload").await.into_keys().collect();
        assert!(made.iter().all(|name| !name.ends_with("/to-global-sidecar")), "{made:?}");
        operated.ready("lazyload").await;
        let made = operated.made_for("lazyload").await;
        let wanted = rendered(&boot);
        assert_eq!(made.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{case}");
        for (name, wanted) in &wanted {
            assert!(has(&made[name], wanted), "{case}: {name}: {} lacks something of {wanted}", made[name]);
        }
        operated.objects().delete("SlimeBoot", "mesh-operator", "lazyload").await;
        operated.nothing_is_left("lazyload").await;
    }
    let events = operated.objects().list("Event").await;
    let of =
        |reason: &str| events.iter().any(|event| event["reason"] == reason && event["regarding"]["name"] == "lazyload");
    assert!(of("Waiting") && of("Installed") && of("Removing"), "{events:?}");
}

#[tokio::test]
async fn a_change_is_followed_with_new_before_old_and_what_is_not_wanted_any_more_goes() {
    let Some(operated) = Operated::start("a changed SlimeBoot").await else { return };
    operated.objects().namespace("shop").await;
    let mut boot = printed_boot("the_seeds_namespace_accesslog_example");
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;

    boot["spec"]["module"][0]["general"]["namespace"] = json!(["shop"]);
    boot["spec"]["module"][0]["general"]["wormholePort"] = json!(["7000"]);
    boot["spec"]["module"][0]["general"]["dispatches"] = json!([{"name": "x", "domains": ["*.x.com"], "cluster": "{{ print \"outbound|80||egress.\" .Values.namespace }}"}]);
    operated.objects().apply(&boot).await;
    operated.reason("lazyload", "Waiting").await;
    // It may wait for another Deployment before this one is made.
    let made = eventually("the new one is made", DEADLINE, || async {
        let made: BTreeSet<String> = operated.made_for("lazyload").await.into_keys().collect();
        if made.contains("Deployment shop/global-sidecar") { Ok(made) } else { Err(made) }
    })
    .await;
    // It is not ready: the old one still serves.
    assert!(
        made.contains("EnvoyFilter default/to-global-sidecar") && made.contains("Deployment default/global-sidecar"),
        "{made:?}"
    );
    assert!(!made.contains("EnvoyFilter shop/to-global-sidecar"), "{made:?}");
    operated.ready("lazyload").await;
    eventually("the old ones are gone", DEADLINE, || async {
        operated.roll_out().await;
        let made = operated.made_for("lazyload").await;
        let wanted = rendered(&boot);
        if made.keys().eq(wanted.keys()) { Ok(()) } else { Err(made.into_keys().collect::<Vec<_>>()) }
    })
    .await;
    let made = operated.made_for("lazyload").await;
    assert!(made["EnvoyFilter shop/to-global-sidecar"].to_string().contains("outbound|80||egress.mesh-operator"));

    // From one for each namespace to one for all, and back to nothing.
    let boot = printed_boot("the_seeds_cluster_prometheus_example");
    operated.objects().delete("SlimeBoot", "mesh-operator", "lazyload").await;
    operated.nothing_is_left("lazyload").await;
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    operated
        .objects()
        .merge(
            "SlimeBoot",
            "mesh-operator",
            "lazyload",
            json!({"spec": {"module": [{"name": "lazyload", "enable": false}]}}),
        )
        .await;
    eventually("nothing is installed", DEADLINE, || async {
        operated.end_pods().await;
        let made = operated.made_for("lazyload").await;
        if made.is_empty() { Ok(()) } else { Err(made.into_keys().collect::<Vec<_>>()) }
    })
    .await;
    operated.reason("lazyload", "NothingToInstall").await;
}
