//! Several controllers in one cluster, each with namespaces, a lease and access logs of its own: how a mesh is divided that is too large for one.

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::{Cluster, REPLICAS, replica};
use super::controller::Controller;
use super::proxy::send;
use crate::support::running::free_port;
use crate::support::waiting::eventually;

/// A controller, and the names of what it looks after: all end with its number.
struct Shard {
    number: u8,
    controller: Controller,
}

impl Shard {
    /// What its SlimeBoot in namespace mode would be: a global-sidecar in the namespace that it serves, and a controller elsewhere.
    async fn start(cluster: &Cluster, number: u8) -> Self {
        let (home, team) = (format!("shard-{number}"), team(number));
        cluster.grant_the_rights_of_replicas(&home).await;
        let objects = &cluster.objects;
        cluster.pod_of_replica(&home, number).await;
        objects.namespace(&team).await;
        objects.service(&team, "global-sidecar", json!({})).await;
        objects.service(&team, &caller(number), json!({"slime.io/serviceFenced": "true"})).await;
        objects.pod(&team, &caller(number), &address(number)).await;
        let workload = json!({"labels": {"app": "by-hand"}});
        objects.fence(&team, &format!("by-hand-{number}"), json!({"enable": true, "workloadSelector": workload})).await;
        let general = json!({
            "autoFence": true, "wormholePort": ["9080"], "globalSidecarMode": "namespace", "namespace": [team],
        });
        let kubeconfig = cluster.replicas_kubeconfig(number, cluster.port());
        let controller =
            Controller::start_replica_in(&home, cluster.folder(), &kubeconfig, number, free_port(), &general);
        controller.ready().await;
        Self { number, controller }
    }

    /// Its caller calls a host, its own global-sidecar tells of it, and the host comes into the Sidecar.
    async fn learns(&self, cluster: &Cluster, host: &str) {
        let _stream = send(&self.controller, &[(&address(self.number), &format!("{host}.shared:9080"))]).await;
        let expected = format!("*/{host}.shared.svc.cluster.local");
        eventually(&format!("shard {} learns {host}", self.number), DEADLINE, || async {
            let hosts = cluster.objects.hosts(&team(self.number), &caller(self.number)).await.unwrap_or_default();
            if hosts.contains(&expected) { Ok(()) } else { Err((hosts, self.controller.log())) }
        })
        .await;
    }

    /// The fence that it made, the one that a user made, and no other.
    async fn counts_its_own_fences(&self) {
        eventually("it counts two fences", DEADLINE, || async {
            let fences = self.controller.metric("lazyload_fences").await;
            if fences == 2.0 { Ok(()) } else { Err(fences) }
        })
        .await;
    }
}

fn team(number: u8) -> String {
    format!("team-{number}")
}

fn caller(number: u8) -> String {
    format!("caller-{number}")
}

fn address(number: u8) -> String {
    format!("10.244.{number}.1")
}

/// Fences and Sidecars of a shard, as they are stored.
async fn stored(cluster: &Cluster, number: u8) -> Vec<(String, String)> {
    let mut all = cluster.objects.versions("ServiceFence").await;
    all.extend(cluster.objects.versions("Sidecar").await);
    all.retain(|(name, _)| name.starts_with(&format!("{}/", team(number))));
    all
}

async fn holder(cluster: &Cluster, number: u8) -> Value {
    let lease = cluster.objects.find("Lease", &format!("shard-{number}"), "lazyload").await.unwrap();
    lease["spec"]["holderIdentity"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_with_namespaces_of_their_own_divide_a_mesh_and_the_end_of_one_is_nothing_to_the_others() {
    let Some(cluster) = Cluster::start("shards").await else { return };
    cluster.objects.namespace("shared").await;
    for host in ["details", "reviews", "ratings"] {
        cluster.objects.service("shared", host, json!({})).await;
    }
    let [one, other] = [REPLICAS[0], REPLICAS[1]];
    let (mut first, mut second) = (Shard::start(&cluster, one).await, Shard::start(&cluster, other).await);
    // Each writes: a lease of one is none of the other's.
    for shard in [&first, &second] {
        shard.learns(&cluster, "details").await;
        shard.counts_its_own_fences().await;
        let holder = holder(&cluster, shard.number).await;
        assert!(holder.as_str().unwrap().starts_with(&format!("lazyload-{}_", shard.number)), "{holder}");
    }

    // A call that only the first one hears of, and then it is gone.
    first.learns(&cluster, "reviews").await;
    first.controller.kill();
    let left = stored(&cluster, one).await;
    second.learns(&cluster, "reviews").await;
    // A controller that begins looks at everything that there is.
    assert_eq!(second.controller.terminate().await, Some(0));
    second.controller.start_again();
    second.controller.ready().await;
    second.learns(&cluster, "ratings").await;
    second.counts_its_own_fences().await;
    assert_eq!(stored(&cluster, one).await, left, "what nobody looks after now stays as it is");
    first.controller.start_again();
    first.controller.ready().await;
    first.learns(&cluster, "ratings").await;

    let writes = cluster.audited_writes();
    for number in [one, other] {
        let user = replica(number);
        let made: Vec<&str> = writes.iter().filter(|(who, _)| *who == user).map(|(_, what)| what.as_str()).collect();
        let own = |what: &&str| what.ends_with(&format!("-{number}"));
        assert!(made.iter().all(own), "{user} wrote what another looks after: {made:?}");
        let fences = writes.iter().filter(|(_, what)| *what == format!("create servicefences {}", caller(number)));
        assert_eq!(fences.count(), 1, "{writes:?}");
    }
}
