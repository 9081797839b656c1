//! Envoy's access-log message as prost structs of the fields that `scan` reads: the encoder of the demo's simulated proxy,
//! and the oracle that the scan is tested against. Numbers as in `scan`. Texts are bytes, so that one entry's bad UTF-8 does
//! not refuse the whole message.

use prost::{Message, Oneof};

/// `envoy.service.accesslog.v3.StreamAccessLogsMessage`
#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamAccessLogsMessage {
    #[prost(message, optional, tag = "1")]
    pub(super) identifier: Option<Identifier>,
    #[prost(message, optional, tag = "2")]
    pub(super) http_logs: Option<HttpLogs>,
    #[prost(message, optional, tag = "3")]
    pub(super) tcp_logs: Option<TcpLogs>,
}

/// `StreamAccessLogsMessage.Identifier`; Envoy sends it once in a stream.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Identifier {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) log_name: Vec<u8>,
}

/// `envoy.config.core.v3.Node`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
}

/// `StreamAccessLogsMessage.HTTPAccessLogEntries`
#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpLogs {
    #[prost(message, repeated, tag = "1")]
    pub(super) log_entry: Vec<HttpEntry>,
}

/// `StreamAccessLogsMessage.TCPAccessLogEntries`; what is in an entry is nobody's concern.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TcpLogs {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) log_entry: Vec<Vec<u8>>,
}

/// `envoy.data.accesslog.v3.HTTPAccessLogEntry`
#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpEntry {
    #[prost(message, optional, tag = "1")]
    pub(super) common_properties: Option<Common>,
    #[prost(message, optional, tag = "3")]
    pub(super) request: Option<Request>,
    #[prost(message, optional, tag = "4")]
    pub(super) response: Option<Response>,
}

/// `AccessLogCommon`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Common {
    #[prost(message, optional, tag = "4")]
    pub(super) tls_properties: Option<Tls>,
    #[prost(bytes = "vec", tag = "15")]
    pub(super) upstream_cluster: Vec<u8>,
    #[prost(message, optional, tag = "20")]
    pub(super) downstream_direct_remote_address: Option<Address>,
}

/// `envoy.config.core.v3.Address`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Address {
    #[prost(oneof = "AddressKind", tags = "1, 2, 3")]
    pub(super) address: Option<AddressKind>,
}

/// The kinds of an address.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum AddressKind {
    #[prost(message, tag = "1")]
    SocketAddress(SocketAddress),
    #[prost(message, tag = "2")]
    Pipe(()),
    #[prost(message, tag = "3")]
    EnvoyInternalAddress(()),
}

/// `SocketAddress`
#[derive(Clone, PartialEq, Message)]
pub(super) struct SocketAddress {
    #[prost(bytes = "vec", tag = "2")]
    pub(super) address: Vec<u8>,
}

/// `TLSProperties`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Tls {
    #[prost(message, optional, tag = "5")]
    pub(super) peer_certificate_properties: Option<Certificate>,
}

/// `TLSProperties.CertificateProperties`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Certificate {
    #[prost(message, repeated, tag = "1")]
    pub(super) subject_alt_name: Vec<SubjectAltName>,
}

/// `CertificateProperties.SubjectAltName`
#[derive(Clone, PartialEq, Message)]
pub(super) struct SubjectAltName {
    #[prost(oneof = "San", tags = "1, 2")]
    pub(super) san: Option<San>,
}

/// The kinds of a subject alternative name.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum San {
    #[prost(bytes, tag = "1")]
    Uri(Vec<u8>),
    #[prost(bytes, tag = "2")]
    Dns(Vec<u8>),
}

/// `HTTPRequestProperties`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(bytes = "vec", tag = "3")]
    pub(super) authority: Vec<u8>,
}

/// `HTTPResponseProperties`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    pub(super) response_code: Option<u32>,
}
