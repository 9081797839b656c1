//! Several controllers of which one writes: none is lost with what it heard, and never do two write.

use std::time::Instant;

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::{Cluster, REPLICAS, replica};
use super::controller::Controller;
use super::cut::Cut;
use super::history::History;
use super::proxy::{Stream, send};
use crate::support::running::free_port;
use crate::support::waiting::eventually;

const LEADER: &str = "lazyload_leader";

/// Controllers with a connection of its own to the API server each.
struct Replicas {
    all: Vec<Controller>,
    cuts: Vec<Cut>,
}

impl Replicas {
    async fn start(cluster: &Cluster, count: usize) -> Self {
        let port = free_port();
        let mut replicas = Self { all: Vec::new(), cuts: Vec::new() };
        cluster.grant_the_rights_of_replicas("mesh-operator").await;
        for number in REPLICAS.into_iter().take(count) {
            cluster.pod_of_replica("mesh-operator", number).await;
            let cut = Cut::before(cluster.port()).await;
            let kubeconfig = cluster.replicas_kubeconfig(number, cut.port);
            let general = json!({"autoFence": true, "wormholePort": ["9080"]});
            replicas.all.push(Controller::start_replica(cluster.folder(), &kubeconfig, number, port, &general));
            replicas.cuts.push(cut);
        }
        for replica in &replicas.all {
            replica.ready().await;
            replica.counts("lazyload_relay_links", (count - 1) as f64).await;
        }
        replicas
    }

    /// Waits until both say the same of who leads, beside their readiness.
    async fn say_that_this_one_leads(&self, leader: usize) {
        for (at, replica) in self.all.iter().enumerate() {
            let expected = if at == leader {
                "leading: this replica writes\n".to_owned()
            } else {
                format!("standing by: lazyload-{} leads\n", REPLICAS[leader])
            };
            eventually(&expected, DEADLINE, || async {
                let said = replica.get("/modules/readyz").await.unwrap();
                if said == (200, expected.clone()) { Ok(()) } else { Err(said) }
            })
            .await;
        }
    }

    /// Which one says that it writes, once one of these does.
    async fn leader_among(&self, which: &[usize]) -> usize {
        eventually("one of them leads", DEADLINE, || async {
            for at in which {
                if self.all[*at].metric(LEADER).await > 0.0 {
                    return Ok(*at);
                }
            }
            Err(which.iter().map(|at| self.all[*at].log()).collect::<Vec<_>>())
        })
        .await
    }
}

/// A fenced caller and what it may call.
async fn mesh(test: &str) -> Option<Cluster> {
    let cluster = Cluster::start(test).await?;
    cluster.objects.service("default", "caller", json!({"slime.io/serviceFenced": "true"})).await;
    cluster.objects.pod("default", "caller", CALLER).await;
    for number in 0..HOSTS {
        cluster.objects.service("default", &format!("host-{number}"), json!({})).await;
    }
    Some(cluster)
}

const CALLER: &str = "10.244.1.1";
const HOSTS: usize = 6;

fn host(number: usize) -> String {
    format!("host-{number}.default.svc.cluster.local")
}

/// Waits until the caller's fence and Sidecar have these hosts and no others, and no switch is under way.
async fn learned(cluster: &Cluster, hosts: std::ops::Range<usize>, log: impl Fn() -> String) {
    let mut expected: Vec<String> = hosts.clone().map(|number| format!("*/{}", host(number))).collect();
    expected.extend(["istio-system/*".to_owned(), "mesh-operator/*".to_owned()]);
    eventually("the hosts are learned", DEADLINE, || async {
        let hosts = cluster.objects.hosts("default", "caller").await;
        let fence = cluster.objects.find("ServiceFence", "default", "caller").await.unwrap_or_default();
        let domains = fence["status"]["domains"].as_object().map_or(0, serde_json::Map::len);
        let complete = hosts.as_deref() == Some(&expected) && domains == expected.len() - 2;
        if complete { Ok(()) } else { Err(format!("{hosts:?} {domains}\n{}", log())) }
    })
    .await;
}

/// Who wrote, in order, each once for each time that it began to.
fn writers(cluster: &Cluster) -> Vec<String> {
    let mut writers: Vec<String> = cluster.audited_writes().into_iter().map(|(who, _)| who).collect();
    writers.retain(|who| who.starts_with("replica-"));
    writers.dedup();
    writers
}

fn user(at: usize) -> String {
    replica(REPLICAS[at])
}

async fn lease(cluster: &Cluster) -> Value {
    cluster.objects.find("Lease", "mesh-operator", "lazyload").await.unwrap()["spec"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_leader_stops_before_another_starts_and_what_it_alone_heard_is_not_lost() {
    let Some(cluster) = mesh("leaders: cut").await else { return };
    let mut replicas = Replicas::start(&cluster, 2).await;
    let first = replicas.leader_among(&[0, 1]).await;
    replicas.say_that_this_one_leads(first).await;
    let second = 1 - first;
    let mut to_first = send(&replicas.all[first], &[(CALLER, "host-0:9080")]).await;
    let mut to_second = send(&replicas.all[second], &[(CALLER, "host-1:9080")]).await;
    learned(&cluster, 0..2, || replicas.all[first].log()).await;
    assert_eq!(writers(&cluster), [user(first)]);

    // Once each, to a leader that can write nothing any more, and to a replica that may not yet.
    replicas.cuts[first].cut();
    let cut = Instant::now();
    assert!(to_first.send(&[(CALLER, "host-2:9080")]).await);
    assert!(to_second.send(&[(CALLER, "host-3:9080")]).await);
    replicas.leader_among(&[second]).await;
    eprintln!("another leads {:.1} s after the cut", cut.elapsed().as_secs_f64());
    // It need not be waited for: it has ended before.
    assert_eq!(replicas.all[first].ended(), Some(1), "{}", replicas.all[first].log());
    assert!(replicas.all[first].log().contains("failed to renew the lease mesh-operator/lazyload within 10 s"));
    learned(&cluster, 0..4, || replicas.all[second].log()).await;
    assert_eq!(writers(&cluster), [user(first), user(second)]);
    assert_eq!(lease(&cluster).await["leaseTransitions"], 1);
    assert!(
        lease(&cluster).await["holderIdentity"]
            .as_str()
            .unwrap()
            .starts_with(&format!("lazyload-{}_", REPLICAS[second]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_stopped_and_wakes_up_long_after_writes_nothing_of_what_it_had_in_hand() {
    let Some(cluster) = mesh("leaders: stopped").await else { return };
    let mut replicas = Replicas::start(&cluster, 2).await;
    let first = replicas.leader_among(&[0, 1]).await;
    let second = 1 - first;
    let mut to_first = send(&replicas.all[first], &[(CALLER, "host-0:9080")]).await;
    learned(&cluster, 0..1, || replicas.all[first].log()).await;

    replicas.all[first].signal("STOP");
    // It is read when the process wakes up; until then nobody knows of it.
    assert!(to_first.send(&[(CALLER, "host-1:9080")]).await);
    replicas.leader_among(&[second]).await;
    let _stream = send(&replicas.all[second], &[(CALLER, "host-2:9080")]).await;
    eventually("the new leader writes", DEADLINE, || async {
        let hosts = cluster.objects.hosts("default", "caller").await.unwrap_or_default();
        if hosts.contains(&format!("*/{}", host(2))) { Ok(()) } else { Err(hosts) }
    })
    .await;
    replicas.all[first].signal("CONT");
    assert_eq!(replicas.all[first].end().await, Some(1));
    assert_eq!(writers(&cluster), [user(first), user(second)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_while_calls_are_heard_by_any_replica_lose_none_of_them() {
    let Some(cluster) = mesh("leaders: kills").await else { return };
    let mut replicas = Replicas::start(&cluster, 3).await;
    let history = History::record(&cluster);
    let mut streams: Vec<Stream> = Vec::new();
    for replica in &replicas.all {
        streams.push(Stream::open(replica.log_source()).await.unwrap());
    }
    let mut order = Vec::new();
    let mut alive = vec![0, 1, 2];
    for round in 0..2 {
        let leader = replicas.leader_among(&alive).await;
        order.push(leader);
        learned(&cluster, 0..3 * round, || replicas.all[leader].log()).await;
        // Each call once, to one of them; the last one to the leader.
        let to = [alive[0], alive[1], leader];
        for (number, at) in to.into_iter().enumerate() {
            let host = format!("host-{}:9080", 3 * round + number);
            let told: f64 = replicas.all[at].metric("lazyload_relay_told").await;
            assert!(streams[at].send(&[(CALLER, &host)]).await);
            replicas.all[at].counts("lazyload_relay_told", told + 1.0).await;
        }
        // What a process has heard and not told yet dies with it, of several as of one.
        let heard = 3.0 * (round as f64 + 1.0);
        for at in &alive {
            let all = async || replicas.all[*at].metric("lazyload_learned_hosts").await;
            eventually("everybody knows", DEADLINE, || async {
                if all().await >= heard { Ok(()) } else { Err(all().await) }
            })
            .await;
        }
        replicas.all[leader].kill();
        alive.retain(|at| *at != leader);
        let killed = Instant::now();
        replicas.leader_among(&alive).await;
        eprintln!("another leads {:.1} s after SIGKILL", killed.elapsed().as_secs_f64());
        learned(&cluster, 0..3 * (round + 1), || replicas.all[alive[0]].log()).await;
    }
    order.push(alive[0]);
    let order: Vec<String> = order.into_iter().map(user).collect();
    assert_eq!(writers(&cluster), order);
    history.assert_only_grown(&cluster).await;
    assert_eq!(lease(&cluster).await["leaseTransitions"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_asked_to_end_hands_over_at_once_and_its_pods_label_goes_with_it() {
    let Some(cluster) = mesh("leaders: handed over").await else { return };
    let mut replicas = Replicas::start(&cluster, 2).await;
    let first = replicas.leader_among(&[0, 1]).await;
    let second = 1 - first;
    let labelled = async |at: usize| {
        let pod = format!("lazyload-{}", REPLICAS[at]);
        cluster.objects.find("Pod", "mesh-operator", &pod).await.unwrap()["metadata"]["labels"]["slime.io/leader"]
            == "true"
    };
    eventually("the leader's pod is labelled", DEADLINE, || async {
        if labelled(first).await { Ok(()) } else { Err(()) }
    })
    .await;
    assert!(!labelled(second).await);
    let mut stream = send(&replicas.all[second], &[(CALLER, "host-0:9080")]).await;
    learned(&cluster, 0..1, || replicas.all[first].log()).await;

    let asked = Instant::now();
    replicas.all[first].signal("TERM");
    replicas.leader_among(&[second]).await;
    eprintln!("another leads {} ms after SIGTERM", asked.elapsed().as_millis());
    assert!(stream.send(&[(CALLER, "host-1:9080")]).await);
    learned(&cluster, 0..2, || replicas.all[second].log()).await;
    eprintln!("it has written what it heard then {} ms after SIGTERM", asked.elapsed().as_millis());
    assert_eq!(replicas.all[first].end().await, Some(0));
    eventually("the label has moved", DEADLINE, || async {
        if labelled(second).await && !labelled(first).await { Ok(()) } else { Err(()) }
    })
    .await;
    assert_eq!(writers(&cluster), [user(first), user(second)]);
}

#[tokio::test]
async fn only_an_address_of_a_replica_may_tell_what_is_not_told_on() {
    let Some(cluster) = mesh("leaders: forged").await else { return };
    let replicas = Replicas::start(&cluster, 2).await;
    // From 127.0.0.1, which is no replica's.
    let status = super::proxy::relay(replicas.all[0].log_source()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status}");
    assert!(replicas.all[0].metric("lazyload_relay_refused").await >= 1.0);
}
