//! Who has an address: a pod, or, where no pod has it, the Services whose endpoints list it. A caller with a certificate must be
//! whom the certificate names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::gone::Gone;
use crate::observation::Identity;
use crate::types::{EndpointSlice, ObjectRef, Pod};

/// Who made a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Caller<'a> {
    /// A pod.
    Pod(&'a Pod),
    /// No pod, but endpoints of these Services (for example a virtual machine).
    Services(BTreeSet<&'a ObjectRef>),
}

/// Why nobody is known to have made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCaller {
    /// Nobody has the address.
    Unknown,
    /// Whoever has the address is not whom the certificate names.
    Disagrees,
}

#[derive(Debug, Default)]
pub(super) struct Callers {
    pods: BTreeMap<ObjectRef, Pod>,
    /// Every pod that claims an address, with when it was created: the last one has it.
    pods_by_address: BTreeMap<IpAddr, BTreeSet<(i64, ObjectRef)>>,
    pub(super) gone: Gone,
    slices: BTreeMap<ObjectRef, EndpointSlice>,
    slices_by_address: BTreeMap<IpAddr, BTreeSet<ObjectRef>>,
}

impl Callers {
    pub(super) fn apply_pod(&mut self, pod: Pod) {
        if let Some(old) = self.take_pod(&pod.id) {
            // A pod that has ended has no address any more.
            let lost: Vec<IpAddr> =
                old.addresses.iter().filter(|address| !pod.addresses.contains(address)).copied().collect();
            self.gone.add(old, &lost);
        }
        for address in &pod.addresses {
            self.pods_by_address.entry(*address).or_default().insert((pod.created, pod.id.clone()));
        }
        self.pods.insert(pod.id.clone(), pod);
    }

    pub(super) fn delete_pod(&mut self, id: &ObjectRef) {
        let Some(pod) = self.take_pod(id) else { return };
        let lost = pod.addresses.clone();
        self.gone.add(pod, &lost);
    }

    fn take_pod(&mut self, id: &ObjectRef) -> Option<Pod> {
        let pod = self.pods.remove(id)?;
        for address in &pod.addresses {
            if let Some(pods) = self.pods_by_address.get_mut(address) {
                pods.remove(&(pod.created, pod.id.clone()));
                if pods.is_empty() {
                    self.pods_by_address.remove(address);
                }
            }
        }
        Some(pod)
    }

    pub(super) fn find_pod(&self, id: &ObjectRef) -> Option<&Pod> {
        self.pods.get(id)
    }

    /// Every EndpointSlice.
    pub(super) fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.values()
    }

    pub(super) fn pods_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Pod> {
        let from = ObjectRef::new(namespace, "");
        self.pods.range(from..).map(|(_, pod)| pod).take_while(move |pod| &*pod.id.namespace == namespace)
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

    /// Whether a Service has endpoints that are no pods.
    pub(super) fn has_other_endpoints(&self, service: &ObjectRef) -> bool {
        let from = ObjectRef::new(service.namespace.clone(), "");
        let slices = self.slices.range(from..).map(|(_, slice)| slice);
        let mut slices = slices.take_while(|slice| slice.id.namespace == service.namespace);
        slices.any(|slice| slice.service == *service && !slice.addresses.is_empty())
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

    /// Who called. Of several pods that agree with the certificate (all do with none) the newest one, of those that are there; where
    /// none is, the last one that is gone.
    pub(super) fn find(&self, address: IpAddr, peer: Option<&Identity<Box<str>>>) -> Result<Caller<'_>, NoCaller> {
        let agrees = |pod: &&Pod| peer.is_none_or(|peer| peer.agrees(&pod.id.namespace, &pod.account));
        if let Some(pod) = self.pods_at(address).find(agrees) {
            return Ok(Caller::Pod(pod));
        }
        let slices = self.slices_by_address.get(&address).into_iter().flatten().filter_map(|id| self.slices.get(id));
        let services = slices.map(|slice| &slice.service);
        // An endpoint that is no pod may run under any account of its namespace.
        let of_namespace = |service: &&ObjectRef| peer.is_none_or(|peer| *peer.namespace == *service.namespace);
        let agreeing: BTreeSet<&ObjectRef> = services.clone().filter(of_namespace).collect();
        if !agreeing.is_empty() {
            return Ok(Caller::Services(agreeing));
        }
        let nobody = self.pods_at(address).next().is_none() && services.count() == 0;
        Err(if nobody { NoCaller::Unknown } else { NoCaller::Disagrees })
    }

    /// Pods that claim an address: those that are there, the newest one first, then those that are gone, the last one first.
    pub(super) fn pods_at(&self, address: IpAddr) -> impl Iterator<Item = &Pod> {
        let present = self.pods_by_address.get(&address).into_iter().flatten().rev();
        present.filter_map(|(_, id)| self.pods.get(id)).chain(self.gone.find(address))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    /// A pod of `default` whose account is the first part of its name.
    fn pod(name: &str, created: i64) -> Pod {
        let account = name.split('-').next().unwrap().into();
        Pod { id: ObjectRef::new("default", name), labels: BTreeMap::new(), account, addresses: vec![ADDRESS], created }
    }

    fn identity(namespace: &str, account: &str) -> Identity<Box<str>> {
        Identity { namespace, account }.to_owned()
    }

    /// The pod found, or why none; `account` is of namespace `default`.
    fn found(callers: &Callers, account: Option<&str>) -> Result<String, NoCaller> {
        let peer = account.map(|account| identity("default", account));
        callers.find(ADDRESS, peer.as_ref()).map(|caller| match caller {
            Caller::Pod(pod) => pod.id.name.to_string(),
            Caller::Services(services) => format!("{services:?}"),
        })
    }

    #[test]
    fn an_address_that_a_new_pod_took_over_stays_with_it_when_the_old_pod_goes() {
        let mut callers = Callers::default();
        callers.apply_pod(pod("new", 2));
        callers.apply_pod(pod("old", 1));
        callers.delete_pod(&ObjectRef::new("default", "old"));
        assert_eq!(found(&callers, None), Ok("new".into()));
    }

    #[test]
    fn of_several_pods_it_is_the_one_that_the_certificate_names() {
        let mut callers = Callers::default();
        callers.apply_pod(pod("a-1", 1));
        callers.apply_pod(pod("b-1", 2));
        callers.apply_pod(pod("b-0", 1));
        assert_eq!(found(&callers, None), Ok("b-1".into()));
        assert_eq!(found(&callers, Some("a")), Ok("a-1".into()));
        assert_eq!(found(&callers, Some("b")), Ok("b-1".into()));
        assert_eq!(found(&callers, Some("c")), Err(NoCaller::Disagrees));
        let other = identity("test", "a");
        assert_eq!(callers.find(ADDRESS, Some(&other)), Err(NoCaller::Disagrees), "the namespace counts");
        // Of some it is only known of which namespace they must be.
        assert_eq!(found(&callers, Some("")), Ok("b-1".into()));
        assert_eq!(callers.find(ADDRESS, Some(&identity("test", ""))), Err(NoCaller::Disagrees));
    }

    #[test]
    fn a_pod_that_is_gone_keeps_its_address_until_another_claims_it() {
        let mut callers = Callers::default();
        callers.apply_pod(pod("a-1", 5));
        callers.delete_pod(&ObjectRef::new("default", "a-1"));
        assert_eq!(found(&callers, None), Ok("a-1".into()));
        assert_eq!(found(&callers, Some("a")), Ok("a-1".into()));
        // Made earlier, but scheduled later.
        callers.apply_pod(pod("b-1", 4));
        assert_eq!(found(&callers, None), Ok("b-1".into()));
        assert_eq!(found(&callers, Some("a")), Ok("a-1".into()), "its last calls are still told");
        callers.gone.turn(std::time::Duration::from_secs(200));
        assert_eq!(found(&callers, Some("a")), Err(NoCaller::Disagrees));
    }

    #[test]
    fn a_pod_that_has_ended_is_as_one_that_is_gone() {
        let mut callers = Callers::default();
        callers.apply_pod(pod("job-1", 1));
        callers.apply_pod(Pod { addresses: Vec::new(), ..pod("job-1", 1) });
        assert_eq!(found(&callers, None), Ok("job-1".into()));
        callers.apply_pod(pod("a-1", 0));
        assert_eq!(found(&callers, None), Ok("a-1".into()));
        callers.gone.turn(std::time::Duration::from_secs(200));
        callers.delete_pod(&ObjectRef::new("default", "job-1"));
        assert_eq!(found(&callers, Some("job")), Err(NoCaller::Disagrees), "deleting it later brings nothing back");
    }

    #[test]
    fn an_address_without_a_pod_belongs_to_the_services_that_list_it_in_the_certificates_namespace() {
        let mut callers = Callers::default();
        let (service, other) = (ObjectRef::new("default", "vm"), ObjectRef::new("test", "vm"));
        for service in [&service, &other] {
            let id = ObjectRef::new(service.namespace.clone(), "vm-1");
            callers.apply_slice(EndpointSlice { id, service: service.clone(), addresses: vec![ADDRESS] });
        }
        assert_eq!(callers.find(ADDRESS, None), Ok(Caller::Services(BTreeSet::from([&service, &other]))));
        let peer = identity("test", "whoever");
        assert_eq!(callers.find(ADDRESS, Some(&peer)), Ok(Caller::Services(BTreeSet::from([&other]))));
        let peer = identity("third", "whoever");
        assert_eq!(callers.find(ADDRESS, Some(&peer)), Err(NoCaller::Disagrees));
        for namespace in ["default", "test"] {
            callers.delete_slice(&ObjectRef::new(namespace, "vm-1"));
        }
        assert_eq!(callers.find(ADDRESS, None), Err(NoCaller::Unknown));
    }
}
