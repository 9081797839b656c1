//! What fails is the controller.

use futures::{StreamExt, TryStreamExt};
use kube::api::{DynamicObject, PostParams};
use serde_json::json;

use super::super::install::NAMESPACE;
use super::super::testbed::script;
use super::{Faults, HANGS, SOON};
use crate::support::waiting::eventually;

/// What a controller of this mesh can live with, in a development build.
const MEMORY: &str = "--limits=memory=64Mi";
/// Fences that are more than that together, and the bytes that each of them has.
const FAT: (usize, usize) = (140, 250_000);

impl Faults<'_> {
    /// Long enough to be missed, too short for its liveness probe to end it.
    pub(super) async fn the_controller_hangs(&mut self) {
        let loads = self.loads().await;
        script(&["kill-container", NAMESPACE, "lazyload-", "slime", "SIGSTOP"]);
        let host = self.new_host();
        self.call(&host).await;
        tokio::time::sleep(HANGS).await;
        script(&["kill-container", NAMESPACE, "lazyload-", "slime", "SIGCONT"]);
        // What the proxy could not send is gone; an application calls again. On a busy machine its liveness probe may have ended it, too.
        self.all_is_learned_while_it_is_called("the controller hung", &host).await;
        self.direct(&host).await;
        self.ends("the controller hangs", loads).await;
    }

    pub(super) async fn no_controller_runs(&mut self) {
        let loads = self.loads().await;
        self.scale("lazyload", 0);
        let host = self.new_host();
        self.call(&host).await;
        tokio::time::sleep(self.lasts).await;
        self.call(&host).await;
        self.scale("lazyload", 1);
        // The global-sidecar's proxy connects again, after a pause that grew while nobody was there.
        self.all_is_learned_while_it_is_called("no controller ran", &host).await;
        self.direct(&host).await;
        self.ends("no controller runs", loads).await;
    }

    /// More fences than there is memory for: the kernel ends the controller that lists them, and each one after it, until there are fewer.
    pub(super) async fn the_controller_runs_out_of_memory(&mut self) {
        let loads = self.loads().await;
        self.fat_fences_are_made().await;
        self.controllers(&["set", "resources", "deployment/lazyload", "-c=slime", MEMORY]);
        eventually("the kernel has ended the controller", SOON, || async {
            let pods = self.testbed.get(&["pods", "-n", NAMESPACE, "-l", "app=lazyload"])?.to_string();
            anyhow::ensure!(pods.contains("\"reason\":\"OOMKilled\""), "{pods}");
            Ok(())
        })
        .await;
        let host = self.new_host();
        self.call(&host).await;
        self.testbed.kubectl(&["delete", "servicefence", "-n", "default", "-l", "size=fat"]).unwrap();
        self.controllers(&["rollout", "undo", "deployment/lazyload"]);
        self.rolled("lazyload");
        self.all_is_learned_while_it_is_called("the controller had no memory left", &host).await;
        self.direct(&host).await;
        self.ends("the controller runs out of memory", loads).await;
    }

    async fn fat_fences_are_made(&self) {
        let (fences, bytes) = FAT;
        let padding = "x".repeat(bytes);
        let made = (0..fences).map(|number| {
            let fence = json!({
                "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
                "metadata": {
                    "name": format!("fat-{number}"), "labels": {"trial": "faults", "size": "fat"},
                    "annotations": {"padding": padding},
                },
                "spec": {"enable": false},
            });
            let fence: DynamicObject = serde_json::from_value(fence).expect("a fence");
            async move { self.fences.create(&PostParams::default(), &fence).await }
        });
        let made: Result<Vec<_>, _> = futures::stream::iter(made).buffer_unordered(4).try_collect().await;
        made.expect("fences are made");
    }

    fn controllers(&self, arguments: &[&str]) {
        self.testbed.kubectl(&[&["-n", NAMESPACE][..], arguments].concat()).unwrap();
    }
}
