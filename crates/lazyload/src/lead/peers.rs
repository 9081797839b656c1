//! The other replicas: running pods of our own namespace that have the controller's label.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

/// Where the replicas are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers {
    /// Our own addresses.
    pub(crate) own: Vec<IpAddr>,
    /// Those of the others, by pod; at least one each.
    pub(crate) others: BTreeMap<String, Vec<IpAddr>>,
}

impl Peers {
    /// Whether somebody at this address is one of us.
    #[must_use]
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.others.values().flatten().any(|known| *known == address.to_canonical())
    }

    fn set(&mut self, own_name: &str, pod: &Pod) {
        let name = pod.name_any();
        let addresses = addresses(pod);
        if name == own_name {
            self.own = addresses;
        } else if addresses.is_empty() {
            self.others.remove(&name);
        } else {
            self.others.insert(name, addresses);
        }
    }
}

/// Watches the pods of a module for as long as somebody wants to know.
pub(crate) async fn watch(client: Client, namespace: String, module: String, own: String, peers: watch::Sender<Peers>) {
    let pods = Api::<Pod>::namespaced(client, &namespace);
    let labelled = watcher::Config::default().labels(&format!("app={module}"));
    let mut news = watcher(pods, labelled).default_backoff().boxed();
    let mut listing = None;
    loop {
        let next = tokio::select! {
            next = news.next() => next,
            () = peers.closed() => return,
        };
        let Some(next) = next else { return };
        let mut known = peers.borrow().clone();
        match next {
            Ok(watcher::Event::Init) => listing = Some(Peers::default()),
            Ok(watcher::Event::InitApply(pod)) => {
                if let Some(listing) = &mut listing {
                    listing.set(&own, &pod);
                }
            }
            Ok(watcher::Event::InitDone) => known = listing.take().unwrap_or_default(),
            Ok(watcher::Event::Apply(pod)) => known.set(&own, &pod),
            Ok(watcher::Event::Delete(pod)) => drop(known.others.remove(&pod.name_any())),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the other replicas cannot be watched");
            }
        }
        peers.send_if_modified(|before| {
            let differs = *before != known;
            if differs {
                let others: Vec<&String> = known.others.keys().collect();
                tracing::info!(?others, "other replicas");
                *before = known;
            }
            differs
        });
    }
}

/// Addresses of a pod that runs; none of another one.
fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Running")) else {
        return Vec::new();
    };
    let all = status.pod_ips.iter().flatten().map(|address| &address.ip).chain(&status.pod_ip);
    let mut addresses: Vec<IpAddr> =
        all.filter_map(|text| text.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical()).collect();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, phase: &str, address: &str) -> Pod {
        let pod = json!({"metadata": {"name": name}, "status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}]}});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn only_other_pods_that_run_are_peers() {
        let mut peers = Peers::default();
        for pod in [pod("a", "Running", "10.0.0.1"), pod("b", "Running", "10.0.0.2"), pod("c", "Pending", "10.0.0.3")] {
            peers.set("a", &pod);
        }
        let has = |peers: &Peers, address: &str| peers.has(address.parse().unwrap());
        assert_eq!(peers.own, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(has(&peers, "10.0.0.2") && has(&peers, "::ffff:10.0.0.2"));
        assert!(!has(&peers, "10.0.0.1") && !has(&peers, "10.0.0.3") && !has(&peers, "10.0.0.4"));
        peers.set("a", &pod("b", "Succeeded", "10.0.0.2"));
        assert!(!has(&peers, "10.0.0.2"), "its address may be another pod's by now");
    }
}
