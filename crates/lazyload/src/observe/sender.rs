//! Whose log a stream is: Envoy names its node in the first message.
//!
//! | message                                         | field        | number |
//! |-------------------------------------------------|--------------|--------|
//! | `service.accesslog.v3.StreamAccessLogsMessage`  | `identifier` | 1      |
//! | `…Identifier`                                   | `node`       | 1      |
//! | `config.core.v3.Node`                           | `id`         | 1      |

use lazyload_api::names;

use super::fields::Fields;

/// Whether a message names a proxy of Istio's that is not a global-sidecar's: `sidecar~IP~POD.NAMESPACE~DOMAIN` where the pod is not
/// one of the Deployment `global-sidecar`. A log of such a proxy may be sent here by mistake; its inbound entries are of calls that
/// were direct. Messages that name nobody, or in another way, are not another proxy's.
pub(super) fn is_other_proxy(message: &[u8]) -> bool {
    node_id(message).and_then(pod_of).is_some_and(|pod| {
        let rest = pod.strip_prefix(names::GLOBAL_SIDECAR);
        !rest.is_some_and(|rest| rest.starts_with(['-', '.']))
    })
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
    fn who_does_not_say_who_it_is_is_believed() {
        for node in [None, Some(""), Some("envoy-1"), Some("a~b~c"), Some("a~b~~d"), Some("a~b~c~d~e")] {
            assert!(!is_other(node), "{node:?}");
        }
        assert!(!is_other_proxy(b"") && !is_other_proxy(b"\xff\xff") && !is_other_proxy(&[0x0a, 0x7f]));
    }
}
