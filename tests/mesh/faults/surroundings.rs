//! What fails is not ours: istiod and the API server.

use std::time::Duration;

use super::super::testbed::script;
use super::{Faults, RESTARTS};
use crate::support::process::run;

/// The API server's process, stopped; it goes on when this is dropped.
pub(super) struct Stopped {
    pid: String,
}

impl Stopped {
    pub(super) fn apiserver() -> Self {
        let status = script(&["status"]);
        let line = status.lines().find_map(|line| line.strip_prefix("kube-apiserver")).expect("the API server's line");
        let pid = line.trim().strip_prefix("pid ").expect("its process").to_owned();
        run("kill", &["-STOP", &pid]).expect("it stops");
        Self { pid }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = run("kill", &["-CONT", &self.pid]) {
            eprintln!("the API server is still stopped: {error}");
        }
    }
}

impl Faults<'_> {
    /// istiod's end takes the pushes along that were on their way, and its connections.
    pub(super) async fn istiod_is_killed_while_a_host_is_learned(&mut self) {
        let loads = self.loads().await;
        let host = self.new_host();
        self.call(&host).await;
        script(&["kill-container", "istio-system", "istiod-", "discovery"]);
        let other = self.new_host();
        self.call(&other).await;
        self.all_is_learned("istiod was killed").await;
        self.testbed
            .kubectl(&["-n", "istio-system", "rollout", "status", "deployment/istiod", "--timeout=120s"])
            .unwrap();
        for host in [host, other] {
            self.direct(&host).await;
        }
        self.ends("istiod is killed while a host is learned", loads).await;
    }

    /// Nothing can be written and no watch says anything; traffic goes on, and what is called is learned.
    pub(super) async fn the_api_server_hangs(&mut self) {
        let loads = self.loads().await;
        let stopped = Stopped::apiserver();
        let host = self.new_host();
        self.call(&host).await;
        tokio::time::sleep(self.lasts.min(Duration::from_secs(12))).await;
        drop(stopped);
        self.all_is_learned("the API server hung").await;
        self.direct(&host).await;
        self.ends("the API server hangs", loads).await;
    }

    /// It dies, with every watch and every write on its way, and what it comes back with has forgotten the versions that watches would go on from.
    pub(super) async fn the_api_server_restarts_with_a_compacted_etcd(&mut self) {
        let loads = self.loads().await;
        let host = self.new_host();
        self.api_server_restarts(|| self.call(&host), RESTARTS).await;
        self.all_is_learned_while_it_is_called("the API server was away", &host).await;
        self.direct(&host).await;
        self.ends("the API server is restarted, etcd compacted", loads).await;
    }

    /// The restart alone: what happens meanwhile happens once it is gone, and it stays away for so long after that.
    pub(super) async fn api_server_restarts<F: Future<Output = ()>>(
        &self,
        meanwhile: impl FnOnce() -> F,
        away: Duration,
    ) {
        script(&["apiserver", "stop"]);
        meanwhile().await;
        tokio::time::sleep(away).await;
        script(&["apiserver", "compact"]);
        script(&["apiserver", "start"]);
    }
}
