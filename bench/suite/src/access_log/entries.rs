//! Access-log messages as a global-sidecar's Envoy sends them.

use std::net::Ipv4Addr;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{Address, Node, SocketAddress, address, socket_address};
use envoy_types::pb::envoy::data::accesslog::v3::tls_properties::CertificateProperties;
use envoy_types::pb::envoy::data::accesslog::v3::tls_properties::certificate_properties::SubjectAltName;
use envoy_types::pb::envoy::data::accesslog::v3::tls_properties::certificate_properties::subject_alt_name::San;
use envoy_types::pb::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties, TlsProperties,
};
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries,
};
use envoy_types::pb::google::protobuf::{Duration, Timestamp, UInt32Value};
use prost::Message;

use crate::world::{self, Pod};

/// Entries in one message.
pub const IN_A_MESSAGE: usize = 100;

/// Messages with an entry for each call, a hundred in each.
pub fn messages(calls: impl IntoIterator<Item = (Pod, usize)>) -> Vec<Bytes> {
    let entries: Vec<_> = calls.into_iter().map(|(caller, host)| entry(caller, host)).collect();
    entries.chunks(IN_A_MESSAGE).map(|entries| message(entries.to_vec())).collect()
}

fn message(log_entry: Vec<HttpAccessLogEntry>) -> Bytes {
    let node = Node { id: "sidecar~127.0.0.9~global-sidecar-5f~mesh-operator".into(), ..Node::default() };
    let message = StreamAccessLogsMessage {
        identifier: Some(Identifier { node: Some(node), log_name: "http_envoy_accesslog".into() }),
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry })),
    };
    message.encode_to_vec().into()
}

/// An entry of a call that a caller made to a Service, with the fields that Envoy 1.40 fills.
fn entry(caller: Pod, service: usize) -> HttpAccessLogEntry {
    let duration = |nanos| Some(Duration { seconds: 0, nanos });
    let at = caller.address();
    let uri =
        format!("spiffe://cluster.local/ns/{}/sa/{}", world::namespace(caller.service), world::name(caller.service));
    let certificate = |uri: String, subject: &str| CertificateProperties {
        subject_alt_name: vec![SubjectAltName { san: Some(San::Uri(uri)) }],
        subject: subject.into(),
        ..CertificateProperties::default()
    };
    let tls = TlsProperties {
        tls_version: 4,
        tls_cipher_suite: Some(UInt32Value { value: 0x1301 }),
        tls_sni_hostname: "outbound_.9080_._.global-sidecar.mesh-operator.svc.cluster.local".into(),
        local_certificate_properties: Some(certificate(
            "spiffe://cluster.local/ns/mesh-operator/sa/global-sidecar".into(),
            "",
        )),
        peer_certificate_properties: Some(certificate(uri, "")),
        ..TlsProperties::default()
    };
    HttpAccessLogEntry {
        common_properties: Some(AccessLogCommon {
            downstream_remote_address: Some(socket(at, 43_210)),
            downstream_direct_remote_address: Some(socket(at, 43_210)),
            downstream_local_address: Some(socket(Ipv4Addr::new(127, 0, 0, 9), world::PORT)),
            upstream_remote_address: Some(socket(Ipv4Addr::new(127, 0, 0, 9), world::PORT)),
            upstream_local_address: Some(socket(Ipv4Addr::new(127, 0, 0, 6), 51_112)),
            upstream_cluster: "inbound|9080||".into(),
            route_name: "default".into(),
            tls_properties: Some(tls),
            start_time: Some(Timestamp { seconds: 1_790_000_000, nanos: 123_456_789 }),
            time_to_last_rx_byte: duration(101_000),
            time_to_first_upstream_tx_byte: duration(412_000),
            time_to_last_upstream_tx_byte: duration(430_000),
            time_to_first_upstream_rx_byte: duration(2_412_000),
            time_to_last_upstream_rx_byte: duration(2_500_000),
            time_to_first_downstream_tx_byte: duration(2_450_000),
            time_to_last_downstream_tx_byte: duration(2_520_000),
            ..AccessLogCommon::default()
        }),
        protocol_version: 2,
        request: Some(HttpRequestProperties {
            request_method: 1,
            scheme: "http".into(),
            authority: format!("{}:{}", world::host(service), world::PORT),
            path: "/api/v1/items/4711?full=true".into(),
            user_agent: "Go-http-client/1.1".into(),
            request_id: "0f3c9a52-5f5b-9b5e-8a55-6a1a58f8c6a1".into(),
            request_headers_bytes: 612,
            ..HttpRequestProperties::default()
        }),
        response: Some(HttpResponseProperties {
            response_code: Some(UInt32Value { value: 200 }),
            response_headers_bytes: 180,
            response_body_bytes: 1_024,
            response_code_details: "via_upstream".into(),
            ..HttpResponseProperties::default()
        }),
    }
}

fn socket(at: Ipv4Addr, port: u16) -> Address {
    let socket = SocketAddress {
        address: at.to_string(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}
