//! Pods as the API server admits them where the Pod Security Standard `restricted` is enforced. What istiod injects is not in them.

use serde_json::{Value, json};

use super::cluster::{Cluster, documents};
use crate::support::{binary, process, repository};

/// The case whose SlimeBoot has security contexts of its own, which allow what the standard does not.
const USERS_OWN: &str = "names-and-namespaces-are-the-users";

/// The pod that a workload makes, by itself.
fn pod_of(workload: &Value, namespace: &str) -> Option<Value> {
    let template = workload.pointer("/spec/template").filter(|_| workload["kind"] != "DaemonSet")?;
    let name = format!("{}-{}", workload["kind"].as_str()?.to_lowercase(), workload["metadata"]["name"].as_str()?);
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["namespace"] = namespace.into();
    Some(pod)
}

#[tokio::test]
async fn every_pod_is_admitted_where_the_standard_restricted_is_enforced() {
    let Some(cluster) = Cluster::start_without_crds("pod security").await else { return };
    let enforced = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        }})
    };
    // The test can fail: this pod is refused.
    cluster.objects.apply(&enforced("careless")).await;
    let careless = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "careless", "name": "careless"},
        "spec": {"containers": [{"name": "app", "image": "app"}]}});
    let refusal = cluster.objects.create(&careless).await.unwrap_err().to_string();
    assert!(refusal.contains("violates PodSecurity \"restricted"), "{refusal}");

    let mut texts = vec![("operator".to_owned(), process::run(binary::lazyload(), &["install-yaml"]).unwrap())];
    let golden = repository().join("crates/logic/tests/boot/golden");
    let mut cases: Vec<_> = std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    for case in cases {
        let given = case.join("given.yaml").display().to_string();
        let name = case.file_name().unwrap().to_string_lossy().replace('_', "-");
        texts.push((name, process::run(binary::lazyload(), &["render", "-f", &given]).unwrap()));
    }
    if let Some(helm) = crate::packaging::program::helm("pod security") {
        let chart = repository().join("charts/lazyload").display().to_string();
        texts.push(("chart".to_owned(), process::run(helm, &["template", "lazyload", &chart]).unwrap()));
    }
    let mut admitted = Vec::new();
    for (number, (source, text)) in texts.iter().enumerate() {
        for (which, workload) in documents(text).iter().enumerate() {
            let namespace = format!("restricted-{number}-{which}");
            let Some(pod) = pod_of(workload, &namespace) else { continue };
            cluster.objects.apply(&enforced(&namespace)).await;
            let result = cluster.objects.create(&pod).await;
            if source == USERS_OWN && workload["metadata"]["name"] != "global-sidecar" {
                // The SlimeBoot's own words count.
                assert!(result.unwrap_err().to_string().contains("allowPrivilegeEscalation"));
                continue;
            }
            assert!(result.is_ok(), "{source}: {}: {result:?}", pod["metadata"]["name"]);
            admitted.push(pod["metadata"]["name"].as_str().unwrap().to_owned());
        }
    }
    for pod in ["deployment-slime-boot", "deployment-lazyload", "deployment-global-sidecar"] {
        assert!(admitted.iter().any(|name| name == pod), "{pod} of {admitted:?}");
    }
    if texts.iter().any(|(source, _)| source == "chart") {
        for job in ["job-lazyload-crds", "job-lazyload-uninstall"] {
            assert!(admitted.iter().any(|name| name == job), "{job} of {admitted:?}");
        }
    }
}
