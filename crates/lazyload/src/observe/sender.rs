//! Whose log a stream is, and which: Envoy names its node and the log in the first message.
//!
//! | message                                         | field              | number |
//! |-------------------------------------------------|--------------------|--------|
//! | `service.accesslog.v3.StreamAccessLogsMessage`  | `identifier`       | 1      |
//! | `…Identifier`                                   | `node`, `log_name` | 1, 2   |
//! | `config.core.v3.Node`                           | `id`               | 1      |

use lazyload_api::names;

use super::fields::{Fields, Value};

/// Whether a message names a proxy of Istio's that is not a global-sidecar's: `sidecar~IP~POD.NAMESPACE~DOMAIN` where the pod is not
/// one of the Deployment `global-sidecar`. A log of such a proxy may be sent here by mistake; its inbound entries are of calls that
/// were direct. Messages that name nobody, or in another way, are not another proxy's.
pub(super) fn is_other_proxy(message: &[u8]) -> bool {
    node_id(message).and_then(pod_of).is_some_and(|pod| {
        let rest = pod.strip_prefix(names::GLOBAL_SIDECAR);
        !rest.is_some_and(|rest| rest.starts_with(['-', '.']))
    })
}

/// Whether a message names the log by which a workload's own proxy tells what it calls.
pub(super) fn is_callers(message: &[u8]) -> bool {
    let Some(identifier) = embedded(message) else { return false };
    let named = |field| matches!(field, Ok((2, Value::Bytes(name))) if name == names::CALLER_LOG_NAME.as_bytes());
    Fields::new(identifier).any(named)
}

/// Every message but the first begins with its entries: it costs one step.
fn node_id(message: &[u8]) -> Option<&str> {
    let id = embedded(embedded(embedded(message)?)?)?;
    std::str::from_utf8(id).ok()
}

/// The value of field 1 if it is the first one: Envoy writes fields in their order.
fn embedded(message: &[u8]) -> Option<&[u8]> {
    match Fields::new(message).next()?.ok()? {
        (1, value) => value.bytes().ok(),
        _ => None,
    }
}

/// `POD.NAMESPACE` of a proxy's node.
fn pod_of(node: &str) -> Option<&str> {
    let mut parts = node.split('~');
    let (_kind, _address, pod, _domain) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && !pod.is_empty()).then_some(pod)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::Node;
    use envoy_types::pb::envoy::service::accesslog::v3::{StreamAccessLogsMessage, stream_access_logs_message};
    use prost::Message;

    use super::*;

    fn is_other(node: Option<&str>) -> bool {
        let identifier = stream_access_logs_message::Identifier {
            node: node.map(|id| Node { id: id.to_owned(), cluster: "c".to_owned(), ..Default::default() }),
            log_name: "http_envoy_accesslog".to_owned(),
        };
        let message = StreamAccessLogsMessage { identifier: Some(identifier), log_entries: None };
        is_other_proxy(&message.encode_to_vec())
    }

    #[test]
    fn a_global_sidecars_stream_is_told_from_another_proxys() {
        let global =
            "sidecar~172.17.0.10~global-sidecar-7dd48b65c8-gc7g4.mesh-operator~mesh-operator.svc.cluster.local";
        assert!(!is_other(Some(global)));
        for node in [
            "sidecar~172.17.0.11~productpage-v1-6b746f74dc-vkfr7.default~default.svc.cluster.local",
            "router~172.17.0.7~istio-ingressgateway-1.istio-system~istio-system.svc.cluster.local",
            "sidecar~172.17.0.11~global-sidecars-1.default~default.svc.cluster.local",
        ] {
            assert!(is_other(Some(node)), "{node}");
        }
    }

    #[test]
    fn the_log_of_a_caller_is_known_by_its_name() {
        for (name, expected) in [("lazyload_caller", true), ("http_envoy_accesslog", false), ("", false)] {
            let node = Node { id: "sidecar~a~b~c".to_owned(), ..Default::default() };
            let identifier = stream_access_logs_message::Identifier { node: Some(node), log_name: name.to_owned() };
            let message = StreamAccessLogsMessage { identifier: Some(identifier), log_entries: None };
            assert_eq!(is_callers(&message.encode_to_vec()), expected, "{name}");
        }
        assert!(!is_callers(b"") && !is_callers(&[0x0a, 0x7f]));
    }

    #[test]
    fn who_does_not_say_who_it_is_is_believed() {
        for node in [None, Some(""), Some("envoy-1"), Some("a~b~c"), Some("a~b~~d"), Some("a~b~c~d~e")] {
            assert!(!is_other(node), "{node:?}");
        }
        assert!(!is_other_proxy(b"") && !is_other_proxy(b"\xff\xff") && !is_other_proxy(&[0x0a, 0x7f]));
    }
}
