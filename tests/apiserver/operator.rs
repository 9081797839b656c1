//! The operator as a process, with the rights that `install-yaml` gives it and no others: the seed's SlimeBoots as printed.

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

#[tokio::test]
async fn what_is_changed_by_hand_is_repaired_also_by_an_operator_that_was_away() {
    let Some(mut operated) = Operated::start("drift").await else { return };
    let boot = printed_boot("the_seeds_cluster_accesslog_example");
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    let wanted = rendered(&boot);
    let repaired = async |operated: &Operated| {
        eventually("everything is repaired", DEADLINE, || async {
            operated.roll_out().await;
            let made = operated.made_for("lazyload").await;
            let lacking: Vec<&String> = wanted
                .iter()
                .filter(|(name, wanted)| made.get(*name).is_none_or(|there| !has(there, wanted)))
                .map(|it| it.0)
                .collect();
            if lacking.is_empty() && made.len() == wanted.len() { Ok(()) } else { Err(format!("{lacking:?}")) }
        })
        .await;
    };
    let damage = async |objects: &Objects| {
        let ports = json!({"spec": {"ports": [{"name": "http-1", "port": 1, "targetPort": 1}]}});
        objects.merge("Service", "mesh-operator", "global-sidecar", ports).await;
        objects.merge("ConfigMap", "mesh-operator", "lazyload", json!({"data": {"cfg": "{}"}})).await;
        objects.label("Deployment", "mesh-operator", "lazyload", LABEL, None).await;
        objects.merge("EnvoyFilter", "istio-system", "to-global-sidecar", json!({"spec": {"configPatches": []}})).await;
        objects.delete("ClusterRole", "", "global-sidecar.mesh-operator").await;
        objects.delete("Sidecar", "mesh-operator", "global-sidecar").await;
    };
    damage(operated.objects()).await;
    repaired(&operated).await;
    operated.operator.take().unwrap().kill().unwrap();
    damage(operated.objects()).await;
    operated.start_operator();
    repaired(&operated).await;
    // Silence costs nothing: no write without a reason.
    operated.ready("lazyload").await;
    let versions = |made: BTreeMap<String, Value>| -> BTreeMap<String, Value> {
        made.into_iter().map(|(name, it)| (name, it["metadata"]["resourceVersion"].clone())).collect()
    };
    let before = versions(operated.made_for("lazyload").await);
    operated.objects().label("SlimeBoot", "mesh-operator", "lazyload", "touched", Some("yes")).await;
    // As Kubernetes counts the rollouts of a Deployment.
    let revision = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}});
    operated.objects().report("Deployment", "mesh-operator", "lazyload", revision).await;
    let reported = operated.objects().find("Deployment", "mesh-operator", "lazyload").await.unwrap();
    let mut before = before;
    before.insert("Deployment mesh-operator/lazyload".to_owned(), reported["metadata"]["resourceVersion"].clone());
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(versions(operated.made_for("lazyload").await), before);
}

#[tokio::test]
async fn a_controller_that_knows_no_lease_is_replaced_before_controllers_are_rolled() {
    let Some(operated) = Operated::start("leader election is switched on").await else { return };
    let mut boot = printed_boot("the_seeds_cluster_accesslog_example");
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    boot["spec"]["module"][0]["global"]["misc"]["enableLeaderElection"] = json!("on");
    boot["spec"]["replicaCount"] = json!(2);
    operated.objects().apply(&boot).await;
    let controller =
        async || operated.objects().find("Deployment", "mesh-operator", "lazyload").await.unwrap()["spec"].clone();
    eventually("the new template is there", DEADLINE, || async {
        let spec = controller().await;
        if spec["replicas"] == 2 { Ok(()) } else { Err(spec) }
    })
    .await;
    operated.reason("lazyload", "Waiting").await;
    let replaced = controller().await;
    assert_eq!(replaced["strategy"]["type"], "Recreate", "the old pod ends first");
    operated.ready("lazyload").await;
    let rolled = controller().await;
    assert_eq!(rolled["strategy"]["type"], "RollingUpdate");
    assert_eq!(rolled["template"], replaced["template"], "no pod is made anew for it");
}

#[tokio::test]
async fn the_redirection_goes_first_and_nothing_else_before_it_is_gone() {
    let Some(operated) = Operated::start("removal").await else { return };
    operated.objects().apply(&printed_boot("the_seeds_cluster_accesslog_example")).await;
    operated.ready("lazyload").await;
    let hold = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    operated.objects().merge("EnvoyFilter", "istio-system", "to-global-sidecar", hold(json!(["test/hold"]))).await;
    operated.objects().delete("SlimeBoot", "mesh-operator", "lazyload").await;
    eventually("the controller has ended, and the redirection is to go", DEADLINE, || async {
        operated.end_pods().await;
        let removing = operated.condition("lazyload", "Ready").await;
        let awaited = "EnvoyFilter istio-system/to-global-sidecar is being deleted";
        if removing["reason"] == "Removing" && removing["message"] == awaited { Ok(()) } else { Err(removing) }
    })
    .await;
    let mut before = rendered(&printed_boot("the_seeds_cluster_accesslog_example"));
    before.remove("Deployment mesh-operator/lazyload").unwrap();
    let before: Vec<String> = before.into_keys().collect();
    assert_eq!(operated.made_for("lazyload").await.into_keys().collect::<Vec<_>>(), before);
    operated.objects().merge("EnvoyFilter", "istio-system", "to-global-sidecar", hold(json!([]))).await;
    eventually("the redirection is gone, the rest waits for the proxies", DEADLINE, || async {
        let made: BTreeSet<String> = operated.made_for("lazyload").await.into_keys().collect();
        if made.len() == before.len() - 1 && !made.contains("EnvoyFilter istio-system/to-global-sidecar") {
            Ok(())
        } else {
            Err(made)
        }
    })
    .await;
    operated.nothing_is_left("lazyload").await;
}

#[tokio::test]
async fn a_slime_boot_that_is_deleted_while_there_are_fences_leaves_none_of_them_without_a_fallback() {
    let Some(operated) = Operated::start("fences that remain").await else { return };
    let objects = operated.objects();
    objects.apply(&printed_boot("the_seeds_cluster_accesslog_example")).await;
    operated.ready("lazyload").await;
    let fence = objects.fence("default", "productpage", json!({"enable": true})).await;
    let owner = json!({
        "apiVersion": fence["apiVersion"], "kind": "ServiceFence", "name": "productpage", "controller": true,
        "uid": fence["metadata"]["uid"],
    });
    let sidecar = |name: &str, owners: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "Sidecar",
            "metadata": {"namespace": "default", "name": name, "ownerReferences": owners},
            "spec": {"workloadSelector": {"labels": {"app": name}}, "egress": [{"hosts": ["istio-system/*"]}]},
        })
    };
    let ours = objects.apply(&sidecar("productpage", json!([owner]))).await;
    let users = objects.apply(&sidecar("users", json!([]))).await;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();

    objects.delete("SlimeBoot", "mesh-operator", "lazyload").await;
    eventually("the controller is to end", DEADLINE, || async {
        let controller = objects.find("Deployment", "mesh-operator", "lazyload").await.unwrap();
        let told = operated.condition("lazyload", "Ready").await["message"].clone();
        let metadata = &controller["metadata"];
        let ending = metadata["finalizers"] == json!(["foregroundDeletion"]);
        if ending && told == "Deployment mesh-operator/lazyload is being deleted" {
            Ok(())
        } else {
            Err((controller, told))
        }
    })
    .await;
    // Its pods may still write, so nobody else does.
    assert_eq!(version(&objects.find("Sidecar", "default", "productpage").await.unwrap()), version(&ours));
    operated.end_pods().await;
    let wide = eventually("the Sidecar imports everything", DEADLINE, || async {
        let found = objects.find("Sidecar", "default", "productpage").await.ok_or("it is gone")?;
        if found["spec"]["egress"][0]["hosts"] == json!(["*/*"]) { Ok(found) } else { Err("it does not") }
    })
    .await;
    assert_eq!(wide["spec"]["egress"][1]["hosts"], json!(["istio-system/*"]), "the same routes");
    assert_eq!(wide["spec"]["workloadSelector"], ours["spec"]["workloadSelector"]);
    eventually("the Sidecar is gone", DEADLINE, || async {
        if objects.find("Sidecar", "default", "productpage").await.is_none() { Ok(()) } else { Err("it is there") }
    })
    .await;
    assert!(
        objects.find("EnvoyFilter", "istio-system", "to-global-sidecar").await.is_some(),
        "proxies may still use it"
    );
    operated.nothing_is_left("lazyload").await;
    assert_eq!(objects.names("ServiceFence").await, ["default/productpage"]);
    assert_eq!(version(&objects.find("Sidecar", "default", "users").await.unwrap()), version(&users));
    let writes = operated.cluster.audited_writes().into_iter().filter(|(_, what)| !what.ends_with("global-sidecar"));
    let writes: Vec<String> = writes.filter(|(user, _)| user == "slime-boot").map(|(_, what)| what).collect();
    assert_eq!(writes, ["patch sidecars productpage", "delete sidecars productpage"]);
}

#[tokio::test]
async fn somebody_elses_object_stays_as_it_is_and_the_condition_says_so() {
    let Some(operated) = Operated::start("a foreign object").await else { return };
    let theirs = operated
        .objects()
        .apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "mesh-operator", "name": "global-sidecar"}, "data": {"mine": "yes"},
        }))
        .await;
    operated.objects().apply(&printed_boot("the_seeds_cluster_accesslog_example")).await;
    let occupied = operated.reason("lazyload", "Occupied").await;
    let message = occupied["message"].as_str().unwrap();
    assert!(message.starts_with("ConfigMap mesh-operator/global-sidecar is there already and not ours"), "{message}");
    operated.roll_out().await;
    assert_eq!(operated.objects().find("ConfigMap", "mesh-operator", "global-sidecar").await.unwrap(), theirs);
    assert!(!operated.made_for("lazyload").await.contains_key("EnvoyFilter istio-system/to-global-sidecar"));
    // Handed over by its labels.
    operated.objects().label("ConfigMap", "mesh-operator", "global-sidecar", LABEL, Some("lazyload")).await;
    operated
        .objects()
        .label("ConfigMap", "mesh-operator", "global-sidecar", "slime.io/slimeboot-namespace", Some("mesh-operator"))
        .await;
    operated.ready("lazyload").await;
    operated.objects().delete("SlimeBoot", "mesh-operator", "lazyload").await;
    operated.nothing_is_left("lazyload").await;
}

#[tokio::test]
async fn of_two_slime_boots_that_would_fight_the_second_waits() {
    let Some(operated) = Operated::start("two SlimeBoots").await else { return };
    let first = printed_boot("the_seeds_cluster_accesslog_example");
    operated.objects().apply(&first).await;
    operated.ready("lazyload").await;
    let before = operated.made_for("lazyload").await;
    let mut second = printed_boot("the_seeds_namespace_accesslog_example");
    second["metadata"]["name"] = json!("second");
    second["spec"]["module"][0]["name"] = json!("second");
    operated.objects().apply(&second).await;
    let conflict = operated.reason("second", "Conflict").await;
    assert!(conflict["message"].as_str().unwrap().contains("mesh-operator/lazyload"), "{conflict}");
    assert!(operated.made_for("second").await.is_empty());
    assert_eq!(operated.made_for("lazyload").await, before);
    operated.objects().delete("SlimeBoot", "mesh-operator", "lazyload").await;
    operated.ready("second").await;
}

/// What users get wrong: where, what they write, and how the condition begins.
fn mistakes() -> Vec<(&'static str, Value, &'static str)> {
    let dispatch = |dispatch: Value| json!([dispatch]);
    vec![
        ("/image", json!(null), "spec.image.repository"),
        ("/image/pullPolicy", json!("Sometimes"), "spec.image.pullPolicy"),
        ("/namespace", json!("Mesh"), "spec.namespace"),
        ("/istioNamespace", json!("istio_system"), "spec.istioNamespace"),
        ("/replicaCount", json!(3), "spec.replicaCount"),
        ("/args", json!(["--enable-leader-election"]), "spec.args"),
        ("/env", json!([{"name": ["x"]}]), "spec.env"),
        ("/volumes", json!([{"hostPath": "/x"}]), "spec.volumes"),
        ("/containers", json!({"slime": {"volumeMounts": [{"name": ["x"]}]}}), "spec.containers.slime.volumeMounts"),
        ("/resources", json!({"limits": "much"}), "spec.resources"),
        ("/module/0/name", json!("Lazy Load"), "spec.module[0].name"),
        ("/module/0/name", json!("global-sidecar"), "spec.module[0].name"),
        ("/module/0/kind", json!("limiter"), "spec.module[0].kind"),
        ("/module/0/enable", json!("perhaps"), "spec.module[0].enable"),
        ("/module/0/general/wormholePort", json!(["http"]), "spec.module[0].general.wormholePort[0]"),
        ("/module/0/general/wormholePort", json!([70000]), "spec.module[0].general.wormholePort[0]"),
        ("/module/0/general/wormholePort", json!([15001]), "spec.component.globalSidecar"),
        ("/module/0/general/autoFence", json!("sure"), "spec.module[0].general.autoFence"),
        ("/module/0/general/globalSidecarMode", json!("namespace"), "spec.module[0].global.misc.globalSidecarMode"),
        ("/module/0/general/metricSourceType", json!("guess"), "spec.module[0].general.metricSourceType"),
        ("/module/0/general/proxyVersion", json!("1.("), "spec.module[0].general.proxyVersion"),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domains": ["x.com"]})),
            "spec.module[0].general.dispatches[0].cluster",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domains": ["x.com"], "cluster": "{{ .Values.foo }}"})),
            "spec.module[0].general.dispatches[0].cluster: dispatch \"a\": .Values.foo",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domains": ["x.com"], "cluster": "outbound|x||y"})),
            "spec.module[0].general.dispatches[0].cluster",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domains": ["*x*"], "cluster": "c"})),
            "spec.module[0].general.dispatches[0].domains[0]",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domains": ["x.com", "X.com"], "cluster": "c"})),
            "spec.module[0].general.dispatches[0].domains",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "to b", "domains": ["x.com"], "cluster": "c"})),
            "spec.module[0].general.dispatches[0].name",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domainRegex": "(", "cluster": "c"})),
            "spec.module[0].general.dispatches[0].domainRegex",
        ),
        ("/component/globalSidecar/type", json!("many"), "spec.component.globalSidecar.type"),
        (
            "/component/globalSidecar/sidecarInject/enable",
            json!(false),
            "spec.component.globalSidecar.sidecarInject.enable",
        ),
        (
            "/component/globalSidecar/sidecarInject/mode",
            json!("namespace"),
            "spec.component.globalSidecar.sidecarInject.mode",
        ),
        ("/component/globalSidecar/probePort", json!(9080), "spec.component.globalSidecar.probePort"),
        ("/istioVersion", json!("1.12"), "spec.istioVersion: expected Istio 1.13 or later"),
        ("/istioVersion", json!(1.20), "spec.istioVersion: expected text"),
        ("/component/globalSidecar/replicas", json!(0), "spec.component.globalSidecar.replicas"),
    ]
}

#[tokio::test]
async fn each_of_thirty_mistakes_gives_a_condition_and_changes_nothing_that_works() {
    let Some(operated) = Operated::start("mistakes").await else { return };
    let right = printed_boot("the_seeds_cluster_accesslog_example");
    operated.objects().apply(&right).await;
    operated.ready("lazyload").await;
    let before = operated.made_for("lazyload").await;
    let mistakes = mistakes();
    assert!(mistakes.len() >= 30);
    for (pointer, value, begins) in mistakes {
        let mut wrong = right.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        wrong["spec"].pointer_mut(parent).unwrap()[key] = value;
        operated.objects().apply(&wrong).await;
        let invalid = operated.reason("lazyload", "Invalid").await;
        let message = invalid["message"].as_str().unwrap();
        assert!(message.starts_with(begins), "{pointer}: {message}");
        let degraded = operated.condition("lazyload", "Degraded").await;
        assert_eq!(degraded["status"], "True");
    }
    assert_eq!(operated.made_for("lazyload").await, before);
    operated.objects().apply(&right).await;
    operated.ready("lazyload").await;
}

#[tokio::test]
async fn ports_that_services_and_service_entries_declare_are_found_and_go_only_if_that_is_wanted() {
    let Some(operated) = Operated::start("found ports").await else { return };
    operated.objects().namespace("shop").await;
    let service = |ports: &Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "web"}, "spec": {"ports": ports}});
    let both = json!([{"name": "http", "port": 7000}, {"name": "mysql", "port": 3306}]);
    operated.objects().apply(&service(&both)).await;
    let mut boot = printed_boot("the_seeds_cluster_accesslog_example");
    let general = &mut boot["spec"]["module"][0]["general"];
    (general["autoPort"], general["cleanupWormholePort"]) = (json!(true), json!(true));
    operated.objects().apply(&boot).await;
    // The ServiceEntry's CRD is not there: that is no reason to wait.
    operated.ready("lazyload").await;
    let has = async |wanted: &[u16]| {
        let wanted: BTreeSet<u64> = wanted.iter().copied().map(u64::from).collect();
        eventually("the ports are those that are declared", DEADLINE, || async {
            operated.roll_out().await;
            let service = operated.objects().find("Service", "mesh-operator", "global-sidecar").await.unwrap();
            let ports = service["spec"]["ports"].as_array().unwrap();
            let ports: BTreeSet<u64> = ports.iter().map(|port| port["port"].as_u64().unwrap()).collect();
            if ports == wanted { Ok(()) } else { Err(ports) }
        })
        .await;
    };
    has(&[80, 9080, 7000]).await;
    let of_pod = operated.objects().find("Deployment", "mesh-operator", "global-sidecar").await.unwrap();
    operated.objects().apply(&service(&json!([{"name": "http", "port": 7001}]))).await;
    has(&[80, 9080, 7001]).await;
    let now = operated.objects().find("Deployment", "mesh-operator", "global-sidecar").await.unwrap();
    assert_eq!(of_pod["metadata"]["generation"], now["metadata"]["generation"], "no new pod for a port");
    eventually("the status says which and why", DEADLINE, || async {
        let boot = operated.objects().find("SlimeBoot", "mesh-operator", "lazyload").await.unwrap_or_default();
        let told = boot["status"]["autoPort"].clone();
        if told == json!({"ports": ["7001: shop/web"], "leftOut": []}) { Ok(()) } else { Err(told) }
    })
    .await;

    boot["spec"]["module"][0]["general"]["cleanupWormholePort"] = json!(false);
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    operated.objects().delete("Service", "shop", "web").await;
    eventually("it is kept", DEADLINE, || async {
        let boot = operated.objects().find("SlimeBoot", "mesh-operator", "lazyload").await.unwrap_or_default();
        let told = boot["status"]["autoPort"]["ports"].clone();
        if told == json!(["7001: declared no more"]) { Ok(()) } else { Err(told) }
    })
    .await;
    has(&[80, 9080, 7001]).await;
    operated.cluster.install_istio_crds(&["ServiceEntry"]).await;
    let entry = json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "ServiceEntry", "metadata": {"namespace": "shop", "name": "outside"},
        "spec": {"hosts": ["outside.example"], "ports": [{"number": 7002, "name": "web", "protocol": "HTTP"}]},
    });
    operated.objects().apply(&entry).await;
    has(&[80, 9080, 7001, 7002]).await;
    boot["spec"]["module"][0]["general"]["autoPort"] = json!(false);
    operated.objects().apply(&boot).await;
    has(&[80, 9080]).await;
    operated.ready("lazyload").await;
    let boot = operated.objects().find("SlimeBoot", "mesh-operator", "lazyload").await.unwrap();
    assert_eq!(boot["status"].get("autoPort"), None, "{boot}");
}

#[tokio::test]
async fn a_namespace_that_is_not_injected_is_warned_of_until_its_label_is_there() {
    let Some(operated) = Operated::start("a namespace without its label").await else { return };
    operated.objects().namespace("default").await;
    let mut boot = printed_boot("the_seeds_namespace_accesslog_example");
    boot["spec"]["component"]["globalSidecar"]["sidecarInject"]["mode"] = json!("namespace");
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    let warned = async |wanted: &str| {
        eventually("the warning comes and goes", DEADLINE, || async {
            let boot = operated.objects().find("SlimeBoot", "mesh-operator", "lazyload").await.unwrap_or_default();
            let warnings = boot["status"]["warnings"].clone();
            let told = warnings.to_string().contains(wanted);
            let fits = if wanted.is_empty() { warnings == json!([]) } else { told };
            if fits { Ok(()) } else { Err(warnings) }
        })
        .await;
    };
    warned("kubectl label namespace default istio-injection=enabled (or istio.io/rev=REVISION)").await;
    operated.objects().label("Namespace", "", "default", "istio-injection", Some("enabled")).await;
    warned("").await;
    operated.objects().label("Namespace", "", "default", "istio-injection", Some("disabled")).await;
    warned("namespace default has the label istio-injection=disabled").await;
}

#[tokio::test]
async fn filters_follow_the_version_of_istiod_and_one_that_is_too_old_is_refused() {
    let Some(operated) = Operated::start("old Istio").await else { return };
    let istiod = async |tag: &str| {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"namespace": "istio-system", "name": "istiod", "labels": {"app": "istiod"}},
            "spec": {
                "selector": {"matchLabels": {"app": "istiod"}},
                "template": {
                    "metadata": {"labels": {"app": "istiod"}},
                    "spec": {"containers": [{"name": "discovery", "image": format!("istio/pilot:{tag}")}]},
                },
            },
        });
        operated.objects().apply(&deployment).await;
    };
    istiod("1.12.9-distroless").await;
    operated.objects().apply(&printed_boot("the_seeds_cluster_accesslog_example")).await;
    let refused = operated.reason("lazyload", "UnsupportedIstio").await;
    assert!(refused["message"].as_str().unwrap().contains("expected Istio 1.13 or later"), "{refused}");
    assert!(operated.made_for("lazyload").await.is_empty());
    for (tag, there, not_there) in
        [("1.15.1", "\"append\":false", "append_action"), ("1.31.0", "append_action", "\"append\":false")]
    {
        istiod(tag).await;
        operated.ready("lazyload").await;
        eventually("the filter fits", DEADLINE, || async {
            let filter = operated.objects().find("EnvoyFilter", "istio-system", "to-global-sidecar").await;
            let text = filter.unwrap_or_default().to_string();
            if text.contains(there) && !text.contains(not_there) { Ok(()) } else { Err(text) }
        })
        .await;
    }
}

#[tokio::test]
async fn network_policies_come_when_they_are_asked_for_and_go_when_they_are_not() {
    let Some(operated) = Operated::start("network policies").await else { return };
    operated.objects().namespace("default").await;
    let mut boot = printed_boot("the_seeds_namespace_accesslog_example");
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    assert!(operated.objects().names("NetworkPolicy").await.is_empty());
    boot["spec"]["networkPolicy"] = json!(true);
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    let (made, wanted) = (operated.made_for("lazyload").await, rendered(&boot));
    let mut policies = 0;
    for (name, wanted) in wanted.iter().filter(|(name, _)| name.starts_with("NetworkPolicy ")) {
        assert!(has(&made[name], wanted), "{name}: {} lacks something of {wanted}", made[name]);
        policies += 1;
    }
    assert!(policies >= 2);
    boot["spec"]["networkPolicy"] = json!(false);
    operated.objects().apply(&boot).await;
    eventually("the policies are gone", DEADLINE, || async {
        let left = operated.objects().names("NetworkPolicy").await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}
