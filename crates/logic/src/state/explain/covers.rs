//! What an entry of a Sidecar's `egress[].hosts` stands for. Source: Istio, reference of Sidecar.

use crate::fence::completion::service_of_host;

/// Whether an entry lets a host in. Of a host that is no Service's it is not known in which namespace it is declared.
pub(in crate::state) fn covers(entry: &str, host: &str, own_namespace: &str) -> bool {
    let Some((of, name)) = entry.split_once('/') else { return false };
    if let Some(namespace) = host.strip_suffix("/*") {
        return name == "*" && matches(of, Some(namespace), own_namespace);
    }
    let service = service_of_host(host);
    names(name, host) && matches(of, service.as_ref().map(|service| &*service.namespace), own_namespace)
}

/// Whether the part of an entry behind its namespace stands for a host.
pub(in crate::state) fn names(name: &str, host: &str) -> bool {
    name == "*" || name == host || name.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix))
}

fn matches(of: &str, namespace: Option<&str>, own_namespace: &str) -> bool {
    match of {
        "*" => true,
        "." => namespace == Some(own_namespace),
        "~" => false,
        of => namespace == Some(of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_for_what_istio_says() {
        let service = "a.shop.svc.cluster.local";
        for (entry, host, expected) in [
            ("*/a.shop.svc.cluster.local", service, true),
            ("shop/*", service, true),
            ("bank/*", service, false),
            ("./*", service, false),
            ("./*", "b.default.svc.cluster.local", true),
            ("~/*", service, false),
            ("*/*", service, true),
            ("*/*.example.com", "x.example.com", true),
            ("*/*.example.com", "example.com", false),
            ("istio-system/*", "x.example.com", false),
            ("shop/*", "shop/*", true),
            ("*/a.shop.svc.cluster.local", "shop/*", false),
        ] {
            assert_eq!(covers(entry, host, "default"), expected, "{entry} {host}");
        }
    }
}
