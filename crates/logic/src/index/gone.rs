//! Pods that had an address a moment ago: what they called while they shut down is told after they are gone.
//!
//! Two generations, as at the log's edge: a pod enters the current one, which becomes the previous one after a period and is
//! forgotten after another. So a pod is kept for one to two periods.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::types::Pod;

/// How long a pod is kept, at least; at most twice as long.
const PERIOD: Duration = Duration::from_secs(60);
/// Addresses in a generation, and pods of each; the oldest go early where there are more.
const MAX: (usize, usize) = (4096, 4);

type Generation = BTreeMap<IpAddr, Vec<Arc<Pod>>>;

/// The pods that are gone, by the addresses that they had.
#[derive(Debug, Default)]
pub(super) struct Gone {
    turned: Duration,
    current: Generation,
    previous: Generation,
}

impl Gone {
    /// Forgets what is old.
    pub(super) fn turn(&mut self, now: Duration) {
        let age = now.saturating_sub(self.turned);
        if age >= PERIOD {
            self.previous = std::mem::take(&mut self.current);
            self.turned = now;
        }
        if age >= PERIOD * 2 {
            self.previous.clear();
        }
    }

    /// Keeps a pod that has lost these addresses.
    pub(super) fn add(&mut self, pod: Pod, lost: &[IpAddr]) {
        let pod = Arc::new(pod);
        for address in lost {
            if self.current.len() >= MAX.0 && !self.current.contains_key(address) {
                self.previous = std::mem::take(&mut self.current);
            }
            let pods = self.current.entry(*address).or_default();
            if pods.len() >= MAX.1 {
                pods.remove(0);
            }
            pods.push(pod.clone());
        }
    }

    /// Pods that had this address, the last one first.
    pub(super) fn find(&self, address: IpAddr) -> impl Iterator<Item = &Pod> {
        let generations = [&self.current, &self.previous].into_iter();
        let pods = generations.filter_map(move |generation| generation.get(&address));
        pods.flat_map(|pods| pods.iter().rev().map(AsRef::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Labels, ObjectRef};

    fn pod(name: &str) -> Pod {
        Pod {
            id: ObjectRef::new("default", name),
            labels: Labels::new(),
            account: "default".into(),
            addresses: Vec::new(),
            created: 0,
        }
    }

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    fn names(gone: &Gone, number: u32) -> Vec<String> {
        gone.find(address(number)).map(|pod| pod.id.name.to_string()).collect()
    }

    #[test]
    fn a_pod_is_kept_for_one_to_two_periods() {
        let mut gone = Gone::default();
        gone.turn(Duration::from_secs(100));
        gone.add(pod("a"), &[address(1)]);
        gone.turn(Duration::from_secs(159));
        gone.add(pod("b"), &[address(1)]);
        gone.turn(Duration::from_secs(160));
        assert_eq!(names(&gone, 1), ["b", "a"]);
        gone.turn(Duration::from_secs(220));
        assert!(names(&gone, 1).is_empty());

        gone.add(pod("a"), &[address(1)]);
        gone.turn(Duration::from_secs(1000));
        assert!(names(&gone, 1).is_empty(), "after a long silence nothing is kept");
    }

    #[test]
    fn many_pods_make_the_oldest_go_early() {
        let mut gone = Gone::default();
        for number in 0..6 {
            gone.add(pod(&number.to_string()), &[address(0)]);
        }
        assert_eq!(names(&gone, 0), ["5", "4", "3", "2"]);
        for number in 1..20_000 {
            gone.add(pod("x"), &[address(number)]);
            assert!(gone.current.len() <= MAX.0 && gone.previous.len() <= MAX.0);
        }
        assert!(names(&gone, 0).is_empty());
        assert_eq!(names(&gone, 19_999), ["x"]);
    }
}
