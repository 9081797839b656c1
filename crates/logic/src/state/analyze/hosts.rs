//! Hosts of a fence that are nobody's.

use lazyload_api::service_fence::DomainStatus;

use super::{Code, Finding, finding, some_of};
use crate::fence::completion::{complete_known, service_of_host};
use crate::state::State;
use crate::types::Fence;

impl State {
    /// Names of Services that are not there, as they were written or learned. Other hosts that the mesh does not know are `External`.
    pub(super) fn of_hosts(&self, fence: &Fence, findings: &mut Vec<Finding>) {
        let namespace = &*fence.id.namespace;
        let is_missing = |host: &String| {
            service_of_host(host).is_some() && !host.contains('*') && !self.index.knows(host, namespace)
        };
        let declared = fence.spec.host.keys().map(|host| complete_known(host, namespace, &self.index));
        let declared: Vec<String> = declared.filter(is_missing).collect();
        let mut found = |code, hosts: &[String], what: &str, remedy: String| {
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            if !hosts.is_empty() {
                findings.push(finding(
                    code,
                    format!("ServiceFence {}", fence.id),
                    format!("{what} {}", some_of(&hosts)),
                    remedy,
                ));
            }
        };
        found(
            Code::UnknownHost,
            &declared,
            "spec.host names Services that are not there:",
            "correct the names; nothing, if the Services are still to come".to_owned(),
        );
        let active = fence.status.domains.iter().filter(|(_, domain)| domain.status == DomainStatus::Active);
        let gone: Vec<String> =
            active.map(|(host, _)| host.clone()).filter(|host| is_missing(host) && !declared.contains(host)).collect();
        let first = gone.first().map(String::as_str).unwrap_or_default();
        found(
            Code::GoneHost,
            &gone,
            "it depends on Services that are not there any more:",
            format!("nothing, or lazyload reset -n {namespace} {} {first}", fence.id.name),
        );
    }
}
