//! What fails is the fallback.

use super::super::install::NAMESPACE;
use super::super::pods::Pod;
use super::super::testbed::script;
use super::{Faults, SOON};
use crate::support::waiting::eventually;

impl Faults<'_> {
    /// 1 -> 3 -> rolled -> 1.
    pub(super) async fn global_sidecars_come_and_go(&mut self) {
        let loads = self.loads().await;
        self.scale("global-sidecar", 3);
        self.testbed.kubectl(&["-n", NAMESPACE, "rollout", "restart", "deployment/global-sidecar"]).unwrap();
        self.rolled("global-sidecar");
        let host = self.new_host();
        self.call(&host).await;
        self.all_is_learned("global-sidecars were rolled").await;
        self.scale("global-sidecar", 1);
        self.old_ones_are_gone("global-sidecar", 1).await;
        self.direct(&host).await;
        self.ends("global-sidecars come and go: 1, 3, rolled, 1", loads).await;
    }

    /// Without notice: first whole pods, then only the process of one. The other one serves.
    pub(super) async fn one_of_two_global_sidecars_is_killed(&mut self) {
        self.scale("global-sidecar", 2);
        self.old_ones_are_gone("global-sidecar", 2).await;
        let loads = self.loads().await;
        for _ in 0..2 {
            self.one_global_sidecar_is_killed().await;
        }
        let killed = self.a_global_sidecar().name;
        script(&["kill-container", NAMESPACE, &killed, "global-sidecar"]);
        self.rolled("global-sidecar");
        let host = self.new_host();
        self.call(&host).await;
        self.all_is_learned_while_it_is_called("one of two global-sidecars was killed", &host).await;
        self.direct(&host).await;
        self.ends("one of two global-sidecars is killed", loads).await;
        self.scale("global-sidecar", 1);
        self.old_ones_are_gone("global-sidecar", 1).await;
    }

    /// The end of one pod, until there is another.
    pub(super) async fn one_global_sidecar_is_killed(&self) {
        let killed = self.a_global_sidecar().name;
        self.testbed.kubectl(&["delete", "pod", &killed, "-n", NAMESPACE, "--grace-period=0", "--force"]).unwrap();
        self.rolled("global-sidecar");
        self.old_ones_are_gone("global-sidecar", 2).await;
    }

    fn a_global_sidecar(&self) -> Pod {
        Pod::find_in(self.testbed, NAMESPACE, "app=global-sidecar", 18181)
    }

    /// With one replica nobody serves what is unknown until the next one is ready; what is direct is not touched.
    pub(super) async fn the_only_global_sidecar_is_killed(&mut self) {
        let loads = self.loads().await;
        let kill = ["delete", "pod", "-n", NAMESPACE, "-l", "app=global-sidecar", "--grace-period=0", "--force"];
        self.testbed.kubectl(&kill).unwrap();
        self.rolled("global-sidecar");
        let host = self.new_host();
        eventually("the fallback serves again", SOON, || async {
            let answer = self.caller.ask(&format!("/fetch?url=http://{host}:9080/")).await?;
            anyhow::ensure!(answer["status"] == 200, "{answer:#}");
            Ok(())
        })
        .await;
        self.all_is_learned_while_it_is_called("the only global-sidecar was killed", &host).await;
        self.direct(&host).await;
        self.ends_except("the only global-sidecar is killed", loads, "fallback").await;
    }
}
