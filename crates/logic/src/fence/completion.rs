//! From the host that a client wrote to the host that the mesh knows. Source: contract 3.2 (completion table), 2.6.3 [rec].

use lazyload_api::names;

use crate::index::Index;
use crate::types::ObjectRef;

/// Completes a host seen in a call from `namespace`. A single label is always relative to the caller, as in DNS;
/// `a.b` and `a.b.svc` are completed if such a Service exists, and are external names otherwise.
#[must_use]
pub fn complete_called(host: &str, namespace: &str, index: &Index) -> String {
    if host.contains('.') {
        return complete_known(host, namespace, index);
    }
    format!("{host}.{namespace}{}", names::SERVICE_DOMAIN_SUFFIX)
}

/// Completes a host that a user wrote into a fence of `namespace`, if such a Service exists; verbatim otherwise.
#[must_use]
pub fn complete_known(host: &str, namespace: &str, index: &Index) -> String {
    let known = possible_service(host, namespace).filter(|id| index.find_service(id).is_some());
    known.map_or_else(|| host.to_owned(), |id| service_host(&id))
}

/// The Service that a short host (`a`, `a.b`, `a.b.svc`) means in `namespace`, if there is one.
#[must_use]
pub fn possible_service(host: &str, namespace: &str) -> Option<ObjectRef> {
    let mut labels = host.split('.');
    let (service, in_namespace, rest) = (labels.next()?, labels.next(), labels.next());
    match (in_namespace, rest, labels.next()) {
        (None, None, None) => Some(ObjectRef::new(namespace, service)),
        (Some(in_namespace), None | Some("svc"), None) => Some(ObjectRef::new(in_namespace, service)),
        _ => None,
    }
}

/// The host of a Service.
#[must_use]
pub fn service_host(id: &ObjectRef) -> String {
    format!("{}.{}{}", id.name, id.namespace, names::SERVICE_DOMAIN_SUFFIX)
}

/// The Service that a host is of; `None` for other hosts.
#[must_use]
pub fn service_of_host(host: &str) -> Option<ObjectRef> {
    let (name, namespace) = host.strip_suffix(names::SERVICE_DOMAIN_SUFFIX)?.split_once('.')?;
    let is_one = !name.is_empty() && !namespace.is_empty() && !namespace.contains('.');
    is_one.then(|| ObjectRef::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Object, Service};

    fn index() -> Index {
        let mut index = Index::default();
        let id = ObjectRef::new("default", "details");
        index.apply(Object::Service(Service { id, ..Service::default() }));
        index
    }

    #[test]
    fn the_completion_table_holds() {
        let index = index();
        for (called, expected) in [
            ("details", "details.testns.svc.cluster.local"),
            ("details.default", "details.default.svc.cluster.local"),
            ("baidu.com", "baidu.com"),
            ("details.default.svc", "details.default.svc.cluster.local"),
            ("other.default.svc", "other.default.svc"),
            ("details.default.svc.cluster.local", "details.default.svc.cluster.local"),
            ("www.163.com", "www.163.com"),
        ] {
            assert_eq!(complete_called(called, "testns", &index), expected, "{called}");
        }
    }

    #[test]
    fn a_service_and_its_host_are_inverse() {
        let id = ObjectRef::new("default", "details");
        assert_eq!(service_of_host(&service_host(&id)), Some(id));
        for host in
            ["details", "details.svc.cluster.local", "a.b.c.svc.cluster.local", "www.163.com", "details.default.svc"]
        {
            assert_eq!(service_of_host(host), None, "{host}");
        }
    }

    #[test]
    fn a_users_short_name_is_completed_only_if_the_service_exists() {
        let index = index();
        assert_eq!(complete_known("details", "default", &index), "details.default.svc.cluster.local");
        assert_eq!(complete_known("details", "testns", &index), "details");
    }
}
