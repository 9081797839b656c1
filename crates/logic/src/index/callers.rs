//! Who has an address: a pod, or, where no pod has it, the Services whose endpoints list it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::types::{EndpointSlice, ObjectRef, Pod};

/// Who made a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Caller<'a> {
    /// A pod.
    Pod(&'a Pod),
    /// No pod, but endpoints of these Services (for example a virtual machine).
    Services(BTreeSet<&'a ObjectRef>),
}

#[derive(Debug, Default)]
pub(super) struct Callers {
    pods: BTreeMap<ObjectRef, Pod>,
    /// Every pod that claims an address, with when it was created: the last one has it.
    pods_by_address: BTreeMap<IpAddr, BTreeSet<(i64, ObjectRef)>>,
    slices: BTreeMap<ObjectRef, EndpointSlice>,
    slices_by_address: BTreeMap<IpAddr, BTreeSet<ObjectRef>>,
}

impl Callers {
    pub(super) fn apply_pod(&mut self, pod: Pod) {
        self.delete_pod(&pod.id);
        for address in &pod.addresses {
            self.pods_by_address.entry(*address).or_default().insert((pod.created, pod.id.clone()));
        }
        self.pods.insert(pod.id.clone(), pod);
    }

    pub(super) fn delete_pod(&mut self, id: &ObjectRef) {
        let Some(pod) = self.pods.remove(id) else { return };
        for address in &pod.addresses {
            if let Some(pods) = self.pods_by_address.get_mut(address) {
                pods.remove(&(pod.created, pod.id.clone()));
                if pods.is_empty() {
                    self.pods_by_address.remove(address);
                }
            }
        }
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    pub(super) fn apply_slice(&mut self, slice: EndpointSlice) {
        self.delete_slice(&slice.id);
        for address in &slice.addresses {
            self.slices_by_address.entry(*address).or_default().insert(slice.id.clone());
        }
        self.slices.insert(slice.id.clone(), slice);
    }

    pub(super) fn delete_slice(&mut self, id: &ObjectRef) {
        let Some(slice) = self.slices.remove(id) else { return };
        for address in &slice.addresses {
            if let Some(slices) = self.slices_by_address.get_mut(address) {
                slices.remove(id);
                if slices.is_empty() {
                    self.slices_by_address.remove(address);
                }
            }
        }
    }

    pub(super) fn find(&self, address: IpAddr) -> Option<Caller<'_>> {
        let newest = self.pods_by_address.get(&address).and_then(BTreeSet::last);
        if let Some(pod) = newest.and_then(|(_, id)| self.pods.get(id)) {
            return Some(Caller::Pod(pod));
        }
        let slices = self.slices_by_address.get(&address)?;
        let services = slices.iter().filter_map(|id| self.slices.get(id)).map(|slice| &slice.service);
        Some(Caller::Services(services.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, address: &str, created: i64) -> Pod {
        let addresses = vec![address.parse().unwrap()];
        Pod { id: ObjectRef::new("default", name), labels: BTreeMap::new(), addresses, created }
    }

    #[test]
    fn an_address_that_a_new_pod_took_over_stays_with_it_when_the_old_pod_goes() {
        let mut callers = Callers::default();
        callers.apply_pod(pod("new", "10.0.0.1", 2));
        callers.apply_pod(pod("old", "10.0.0.1", 1));
        callers.delete_pod(&ObjectRef::new("default", "old"));
        let found = callers.find("10.0.0.1".parse().unwrap());
        assert_eq!(found, Some(Caller::Pod(&pod("new", "10.0.0.1", 2))));
    }

    #[test]
    fn an_address_without_a_pod_belongs_to_the_services_that_list_it() {
        let mut callers = Callers::default();
        let service = ObjectRef::new("default", "vm");
        let slice = EndpointSlice {
            id: ObjectRef::new("default", "vm-1"),
            service: service.clone(),
            addresses: vec!["10.0.0.9".parse().unwrap()],
        };
        callers.apply_slice(slice);
        let address = "10.0.0.9".parse().unwrap();
        assert_eq!(callers.find(address), Some(Caller::Services(BTreeSet::from([&service]))));
        callers.delete_slice(&ObjectRef::new("default", "vm-1"));
        assert_eq!(callers.find(address), None);
    }
}
