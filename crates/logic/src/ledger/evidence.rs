//! Evidence as `status.metricStatus` keeps it. Source: contract 1.11, 2.6.6 and B21.

/// The key of a learned host.
#[must_use]
pub fn evidence_key(host: &str) -> String {
    format!("{{destination_service=\"{host}\"}}")
}

/// The host of a key with exactly one label, which must be `destination_service` or `request_host`; a port is cut off.
/// Other keys (more labels, other names) are kept by the ledger but name no host.
#[must_use]
pub fn host_of_evidence(key: &str) -> Option<&str> {
    let pair = key.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (name, value) = pair.split_once('=')?;
    if !matches!(name.trim(), "destination_service" | "request_host") {
        return None;
    }
    let host = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let readable = !host.is_empty() && host != "unknown" && !host.contains(['"', '/', ' ']);
    readable.then_some(host)
}

/// Bytes of an entry in JSON: the quotes in its key are escaped.
#[must_use]
pub fn evidence_size(key: &str, count: &str) -> usize {
    key.len() + count.len() + 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_host_are_inverse() {
        let host = "details.default.svc.cluster.local";
        assert_eq!(evidence_key(host), r#"{destination_service="details.default.svc.cluster.local"}"#);
        assert_eq!(host_of_evidence(&evidence_key(host)), Some(host));
    }

    #[test]
    fn only_the_two_exact_labels_name_a_host() {
        assert_eq!(host_of_evidence(r#"{request_host="a.b:80"}"#), Some("a.b"));
        for key in [
            r#"{destination_service_name="zz"}"#,
            r#"{destination_service="a",source="b"}"#,
            r#"{destination_service="unknown"}"#,
            r#"{destination_service=""}"#,
            "destination_service",
            "",
        ] {
            assert_eq!(host_of_evidence(key), None, "{key}");
        }
    }
}
