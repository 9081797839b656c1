//! What a rule is limited to: hosts and ports. Methods and paths are not read, because they say nothing of a Service.

use lazyload_api::security::PolicyOperation;

use crate::fence::completion::service_host;
use crate::types::Service;

/// One alternative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// Lower case; none means all.
    hosts: Vec<String>,
    /// None means all.
    ports: Vec<u16>,
    /// A port that is none fits no call.
    only_bad_ports: bool,
}

impl Operation {
    pub(super) fn read(operation: &PolicyOperation) -> Self {
        let ports: Vec<u16> = operation.ports.iter().filter_map(|port| port.parse().ok()).collect();
        Self {
            hosts: operation.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            only_bad_ports: ports.is_empty() && !operation.ports.is_empty(),
            ports,
        }
    }

    pub(super) fn is_everything(&self) -> bool {
        self.hosts.is_empty() && self.ports.is_empty() && !self.only_bad_ports
    }

    /// Whether a call of a Service by one of its own names may be of this kind.
    pub(super) fn may_be(&self, service: &Service) -> bool {
        let is_port = |port: &u16| service.target_ports.as_ref().is_none_or(|ports| ports.contains(port));
        let ports = (self.ports.is_empty() && !self.only_bad_ports) || self.ports.iter().any(is_port);
        ports && (self.hosts.is_empty() || self.hosts.iter().any(|host| may_be_host(host, service)))
    }
}

/// Whether a pattern (`*` at one end) may stand for a name of a Service; a port behind the name may be any.
fn may_be_host(pattern: &str, service: &Service) -> bool {
    let full = service_host(&service.id).to_ascii_lowercase();
    // NAME, NAME.NAMESPACE, NAME.NAMESPACE.svc, the full name.
    let dots: Vec<usize> = full.match_indices('.').map(|(at, _)| at).take(3).collect();
    let mut names = dots.iter().filter_map(|at| full.get(..*at)).chain([full.as_str()]);
    if let Some(suffix) = pattern.strip_prefix('*') {
        let is_port = suffix.bytes().all(|byte| byte.is_ascii_digit());
        let name = without_port(suffix);
        return is_port || names.any(|known| known.ends_with(name));
    }
    if let Some(prefix) = pattern.strip_suffix('*') {
        return match prefix.split_once(':') {
            Some((name, _)) => names.any(|known| known == name),
            None => names.any(|known| known.starts_with(prefix)),
        };
    }
    let name = without_port(pattern);
    names.any(|known| known == name)
}

fn without_port(host: &str) -> &str {
    host.split_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::types::ObjectRef;

    fn may_be(operation: Value, ports: Option<&[u16]>) -> bool {
        let target_ports = ports.map(|ports| ports.iter().copied().collect());
        let id = ObjectRef::new("default", "details");
        let service = Service { id, target_ports, ..Service::default() };
        Operation::read(&serde_json::from_value(operation).unwrap()).may_be(&service)
    }

    #[test]
    fn hosts_that_are_no_name_of_the_service_do_not_fit() {
        for (host, expected) in [
            ("details", true),
            ("Details.default", true),
            ("details.default.svc:9080", true),
            ("details.default.svc.cluster.local", true),
            ("*", true),
            ("*.default.svc.cluster.local", true),
            ("*.example:*", false),
            ("*:9080", true),
            ("*80", true),
            ("det*", true),
            ("details:*", true),
            ("details.default.svc.clu*", true),
            ("reviews", false),
            ("*.example.com", false),
            ("rev*", false),
            ("reviews:*", false),
            ("details.test", false),
            ("details.default.svc.cluster", false),
        ] {
            assert_eq!(may_be(json!({"hosts": [host]}), None), expected, "{host}");
        }
    }

    #[test]
    fn ports_are_those_of_the_pods_and_one_known_by_name_may_be_any() {
        assert!(may_be(json!({"ports": ["80", "9080"]}), Some(&[9080])));
        assert!(!may_be(json!({"ports": ["80"]}), Some(&[9080])));
        assert!(may_be(json!({"ports": ["80"]}), None));
        assert!(!may_be(json!({"ports": ["http"]}), None));
        assert!(!may_be(json!({"ports": ["9080"], "hosts": ["reviews"]}), Some(&[9080])));
        assert!(may_be(json!({"methods": ["GET"]}), Some(&[9080])));
        assert!(Operation::read(&PolicyOperation::default()).is_everything());
    }
}
