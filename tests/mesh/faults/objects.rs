//! What comes and goes is ours in the API server: fences, and their CRD.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::json;

use super::super::testbed::lazyload_binary;
use super::{CHURN, Faults, SOON};
use crate::support::process::run;
use crate::support::waiting::eventually;

impl Faults<'_> {
    /// Those are of no workload: each makes a Sidecar that nobody has, and goes with it.
    pub(super) async fn fences_are_made_and_deleted_all_the_time(&mut self) {
        let loads = self.loads().await;
        let host = self.new_host();
        let fences = &self.fences;
        let began = Instant::now();
        let mut made = 0;
        while began.elapsed() < self.lasts / 2 {
            let second = Instant::now();
            let names = (made..made + CHURN).map(|number| format!("churn-{number}"));
            futures::future::join_all(names.map(|name| async move {
                let fence = json!({
                    "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
                    "metadata": {"name": name, "labels": {"trial": "faults"}}, "spec": {"enable": true},
                });
                let fence: DynamicObject = serde_json::from_value(fence).expect("a fence");
                fences.create(&PostParams::default(), &fence).await.expect("made");
                fences.delete(&name, &DeleteParams::default()).await.expect("deleted");
            }))
            .await;
            made += CHURN;
            if made == 2 * CHURN {
                self.call(&host).await;
            }
            tokio::time::sleep(Duration::from_secs(1).saturating_sub(second.elapsed())).await;
        }
        println!("{made} fences in {:.1} s", began.elapsed().as_secs_f64());
        self.all_is_learned("fences came and went").await;
        eventually("their Sidecars are gone", SOON, || async {
            let left = self.testbed.get(&["sidecars", "-n", "default"])?;
            let left = left["items"].as_array().map(Vec::len);
            anyhow::ensure!(left == Some(1), "{left:?}");
            Ok(())
        })
        .await;
        assert_eq!(self.fences.list(&ListParams::default()).await.unwrap().items.len(), 1);
        self.direct(&host).await;
        self.ends("fences are made and deleted all the time", loads).await;
    }

    /// Every fence goes with its CRD, as Kubernetes has it, and what was learned with the fence. No request does.
    pub(super) async fn the_crd_of_fences_is_removed_and_restored(&mut self) {
        let loads = self.loads().await;
        let crd = "servicefences.microservice.slime.io";
        self.testbed.kubectl(&["delete", "crd", crd, "--timeout=60s"]).unwrap();
        eventually("no Sidecar is left", SOON, || async {
            let left = self.testbed.get(&["sidecars", "-n", "default"])?;
            anyhow::ensure!(left["items"].as_array().is_some_and(Vec::is_empty), "{left:#}");
            Ok(())
        })
        .await;
        self.testbed.apply(&run(lazyload_binary(), &["crds"]).expect("lazyload crds"));
        self.testbed.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", crd]).unwrap();
        self.learned.clear();
        self.testbed.apply(
            "apiVersion: microservice.slime.io/v1alpha1\nkind: ServiceFence\n\
             metadata: {name: productpage, namespace: default}\nspec: {enable: true}\n",
        );
        let host = self.new_host();
        self.all_is_learned_while_it_is_called("the CRD was away", &host).await;
        self.direct(&host).await;
        self.ends("the CRD of fences is removed and restored", loads).await;
    }
}
