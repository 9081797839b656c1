//! The scan against prost and against Envoy's full messages.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::data::accesslog::v3 as full;
use envoy_types::pb::envoy::service::accesslog::v3 as service;
use proptest::prelude::*;
use prost::Message;

use super::super::wire;
use super::*;

/// Comparable without lifetimes: caller (`None` not a socket, `Some(None)` absent), cluster, authority, peer, code.
type Plain = (Option<Option<String>>, String, String, Option<String>, u32);

fn plain(scanned: &Scanned<'_>) -> Result<Plain, Bad> {
    let entry = scanned.said.entry().map_err(|Malformed| Bad::Entry)?;
    let caller = match entry.caller {
        Caller::Absent => Some(None),
        Caller::NotSocket => None,
        Caller::Address(address) => Some(Some(address.to_owned())),
    };
    let peer = entry.peer.map(str::to_owned);
    Ok((caller, entry.upstream_cluster.to_owned(), entry.authority.to_owned(), peer, scanned.response_code))
}

fn scanned(frame: &[u8]) -> Vec<Result<Plain, Bad>> {
    scan(frame).map(|entry| plain(&entry?)).collect()
}

/// The same with what is no HTTP entry at the end: prost keeps the two kinds apart.
fn scanned_by_kind(frame: &[u8]) -> Vec<Result<Plain, Bad>> {
    let (tcp, mut all): (Vec<_>, Vec<_>) = scanned(frame).into_iter().partition(|entry| *entry == Err(Bad::Tcp));
    all.extend(tcp);
    all
}

/// What prost makes of a frame, or nothing if it refuses it.
fn oracle(frame: &[u8]) -> Option<Vec<Result<Plain, Bad>>> {
    let message = wire::StreamAccessLogsMessage::decode(frame).ok()?;
    let entries = message.http_logs.map(|logs| logs.log_entry).unwrap_or_default();
    let tcp = message.tcp_logs.map_or(0, |logs| logs.log_entry.len());
    let entries = entries.into_iter().map(|entry| expected(entry).ok_or(Bad::Entry));
    Some(entries.chain(std::iter::repeat_n(Err(Bad::Tcp), tcp)).collect())
}

fn expected(entry: wire::HttpEntry) -> Option<Plain> {
    let common = entry.common_properties.unwrap_or_default();
    let caller = match common.downstream_direct_remote_address.and_then(|address| address.address) {
        None => Some(None),
        Some(wire::AddressKind::SocketAddress(socket)) => Some(Some(String::from_utf8(socket.address).ok()?)),
        Some(_) => None,
    };
    let names = common.tls_properties.and_then(|tls| tls.peer_certificate_properties).unwrap_or_default();
    let spiffe: Vec<Vec<u8>> = names
        .subject_alt_name
        .into_iter()
        .filter_map(|name| match name.san {
            Some(wire::San::Uri(uri)) if uri.starts_with(b"spiffe://") => Some(uri),
            _ => None,
        })
        .collect();
    let of_istio = |uri: &&Vec<u8>| std::str::from_utf8(uri).is_ok_and(|uri| identity::parse(uri).is_some());
    let peer = spiffe.iter().find(of_istio).or(spiffe.first());
    Some((
        caller,
        String::from_utf8(common.upstream_cluster).ok()?,
        String::from_utf8(entry.request.unwrap_or_default().authority).ok()?,
        peer.map(|uri| String::from_utf8(uri.clone())).transpose().ok()?,
        entry.response.unwrap_or_default().response_code.unwrap_or_default(),
    ))
}

fn mk_entry(authority: &str) -> wire::HttpEntry {
    let address = wire::AddressKind::SocketAddress(wire::SocketAddress { address: b"172.17.0.11".to_vec() });
    wire::HttpEntry {
        common_properties: Some(wire::Common {
            tls_properties: None,
            upstream_cluster: b"inbound|9080||".to_vec(),
            downstream_direct_remote_address: Some(wire::Address { address: Some(address) }),
        }),
        request: Some(wire::Request { authority: authority.into() }),
        response: Some(wire::Response { response_code: Some(200) }),
    }
}

/// A length-delimited field.
fn wrap(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}

/// A message of entries given as bytes.
fn frame(entries: &[Vec<u8>]) -> Vec<u8> {
    wrap(2, &entries.iter().flat_map(|entry| wrap(1, entry)).collect::<Vec<u8>>())
}

fn authorities(frame: &[u8]) -> Vec<Result<String, Bad>> {
    scanned(frame).into_iter().map(|entry| entry.map(|entry| entry.2)).collect()
}

#[test]
fn a_full_entry_of_envoy_is_read() {
    let socket = |address: &str| {
        let socket = core::SocketAddress {
            protocol: 0,
            address: address.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(40210)),
            resolver_name: "resolver".to_owned(),
            ipv4_compat: true,
            ..Default::default()
        };
        Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) })
    };
    let san = |san| full::tls_properties::certificate_properties::SubjectAltName { san: Some(san) };
    use full::tls_properties::certificate_properties::subject_alt_name::San;
    let names = vec![
        san(San::Dns("productpage.default.svc".to_owned())),
        san(San::Uri("https://not.spiffe".to_owned())),
        san(San::Uri("spiffe://cluster.local/workload/of-another-form".to_owned())),
        san(San::Uri("spiffe://cluster.local/ns/default/sa/bookinfo-productpage".to_owned())),
        san(San::Uri("spiffe://cluster.local/ns/default/sa/second".to_owned())),
    ];
    let headers = HashMap::from([("x-request-id".to_owned(), "7ec25152".to_owned())]);
    let entry = full::HttpAccessLogEntry {
        common_properties: Some(full::AccessLogCommon {
            sample_rate: 1.0,
            downstream_remote_address: socket("203.0.113.9"),
            downstream_local_address: socket("10.102.66.227"),
            tls_properties: Some(full::TlsProperties {
                tls_sni_hostname: "outbound_.9080_._.details.default.svc.cluster.local".to_owned(),
                peer_certificate_properties: Some(full::tls_properties::CertificateProperties {
                    subject_alt_name: names,
                    subject: "CN=productpage".to_owned(),
                    issuer: "CN=istio".to_owned(),
                }),
                ..Default::default()
            }),
            upstream_remote_address: socket("172.17.0.10"),
            upstream_local_address: socket("127.0.0.6"),
            upstream_cluster: "inbound|9080||".to_owned(),
            route_name: "default".to_owned(),
            downstream_direct_remote_address: socket("172.17.0.11"),
            custom_tags: headers.clone(),
            upstream_request_attempt_count: 1,
            stream_id: "stream".to_owned(),
            downstream_wire_bytes_sent: 178,
            access_log_type: 7,
            ..Default::default()
        }),
        protocol_version: 2,
        request: Some(full::HttpRequestProperties {
            request_method: 1,
            scheme: "http".to_owned(),
            authority: "details:9080".to_owned(),
            path: "/details/0".to_owned(),
            user_agent: "curl/7.52.1".to_owned(),
            request_headers: headers.clone(),
            request_headers_bytes: 500,
            ..Default::default()
        }),
        response: Some(full::HttpResponseProperties {
            response_code: Some(envoy_types::pb::google::protobuf::UInt32Value { value: 503 }),
            response_body_bytes: 178,
            response_headers: headers,
            response_code_details: "via_upstream".to_owned(),
            ..Default::default()
        }),
    };
    let logs = service::stream_access_logs_message::HttpAccessLogEntries { log_entry: vec![entry; 27] };
    let message = service::StreamAccessLogsMessage {
        identifier: Some(service::stream_access_logs_message::Identifier {
            node: Some(core::Node { id: "sidecar~172.17.0.10~global-sidecar".to_owned(), ..Default::default() }),
            log_name: "http_envoy_accesslog".to_owned(),
        }),
        log_entries: Some(service::stream_access_logs_message::LogEntries::HttpLogs(logs)),
    };
    let expected = (
        Some(Some("172.17.0.11".to_owned())),
        "inbound|9080||".to_owned(),
        "details:9080".to_owned(),
        Some("spiffe://cluster.local/ns/default/sa/bookinfo-productpage".to_owned()),
        503,
    );
    assert_eq!(scanned(&message.encode_to_vec()), vec![Ok(expected); 27]);
}

#[test]
fn tcp_entries_are_no_requests_and_the_others_of_the_message_are_read() {
    let tcp = service::StreamAccessLogsMessage {
        identifier: None,
        log_entries: Some(service::stream_access_logs_message::LogEntries::TcpLogs(
            service::stream_access_logs_message::TcpAccessLogEntries { log_entry: vec![Default::default(); 2] },
        )),
    };
    let http = frame(&[mk_entry("details").encode_to_vec()]);
    let message = [http.clone(), tcp.encode_to_vec(), http].concat();
    let details = || Ok("details".to_owned());
    assert_eq!(authorities(&message), [details(), Err(Bad::Tcp), Err(Bad::Tcp), details()]);
}

#[test]
fn an_identity_that_is_no_text_costs_its_entry() {
    let entry = |uri: &[u8]| {
        let mut entry = mk_entry("details");
        let name = wire::SubjectAltName { san: Some(wire::San::Uri(uri.to_vec())) };
        let certificate = wire::Certificate { subject_alt_name: vec![name] };
        entry.common_properties.as_mut().unwrap().tls_properties =
            Some(wire::Tls { peer_certificate_properties: Some(certificate) });
        entry.encode_to_vec()
    };
    let message = frame(&[entry(b"spiffe://a/ns/\xff/sa/b"), entry(b"spiffe://a/ns/b/sa/c"), entry(b"\xff")]);
    let details = || Ok("details".to_owned());
    assert_eq!(authorities(&message), [Err(Bad::Entry), details(), details()]);
}

#[test]
fn a_malformed_entry_costs_that_entry_alone() {
    let good = mk_entry("details").encode_to_vec();
    let bad_utf8 = wrap(3, &wrap(3, b"\xff"));
    let wrong_type = vec![0x08, 0x01];
    let half = good[..good.len() - 1].to_vec();
    let message = frame(&[good.clone(), bad_utf8, good.clone(), wrong_type, half, b"\xff\xff".to_vec(), good]);
    let details = || Ok("details".to_owned());
    let bad = || Err(Bad::Entry);
    assert_eq!(authorities(&message), [details(), bad(), details(), bad(), bad(), bad(), details()]);
}

#[test]
fn of_a_cut_message_the_whole_entries_are_read() {
    let good = mk_entry("details").encode_to_vec();
    let entries = [wrap(1, &good), wrap(1, &good)].concat();
    let cut = wrap(2, &entries[..entries.len() - 1]);
    assert_eq!(authorities(&cut), [Ok("details".to_owned()), Err(Bad::Message)]);
    // The whole message is shorter than it says: nothing of it can be trusted to be an entry.
    let whole = frame(&[good.clone(), good]);
    assert_eq!(authorities(&whole[..whole.len() - 1]), [Err(Bad::Message)]);
}

#[test]
fn repeated_sub_messages_merge_and_the_last_value_counts() {
    let cluster =
        wrap(1, &wire::Common { upstream_cluster: b"inbound|1||".to_vec(), ..Default::default() }.encode_to_vec());
    let whole = mk_entry("first").encode_to_vec();
    let request = wrap(3, &[wrap(3, b"\xff"), wrap(3, b"last")].concat());
    let message = frame(&[[whole, cluster, request].concat()]);
    let expected = (Some(Some("172.17.0.11".to_owned())), "inbound|1||".to_owned(), "last".to_owned(), None, 200);
    assert_eq!(scanned(&message), [Ok(expected)]);
    assert_eq!(Some(scanned(&message)), oracle(&message));
}

#[test]
fn of_two_kinds_of_address_the_last_counts() {
    let socket = wrap(1, &wrap(2, b"172.17.0.11"));
    let (pipe, empty_socket) = (wrap(2, b""), wrap(1, b""));
    for parts in
        [vec![&socket, &pipe], vec![&pipe, &socket], vec![&socket, &empty_socket], vec![&socket, &pipe, &empty_socket]]
    {
        let address: Vec<u8> = parts.into_iter().flatten().copied().collect();
        let mut common = vec![0xa2, 0x01]; // field 20, length-delimited
        common.push(u8::try_from(address.len()).unwrap());
        common.extend(address);
        let message = frame(&[wrap(1, &common)]);
        assert_eq!(Some(scanned(&message)), oracle(&message), "{message:?}");
    }
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z0-9.:|/]{0,20}".prop_map(String::into_bytes),
        1 => "spiffe://[a-z/]{0,10}".prop_map(String::into_bytes),
        1 => "spiffe://[a-z]{0,3}/ns/[a-z]{1,3}/sa/[a-z]{1,3}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..3).prop_map(|bytes| [b"spiffe://".to_vec(), bytes].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

fn any_address() -> impl Strategy<Value = wire::Address> {
    let kind = prop_oneof![
        4 => any_text().prop_map(|address| wire::AddressKind::SocketAddress(wire::SocketAddress { address })),
        1 => Just(wire::AddressKind::Pipe(())),
        1 => Just(wire::AddressKind::EnvoyInternalAddress(())),
    ];
    prop::option::of(kind).prop_map(|address| wire::Address { address })
}

fn any_entry() -> impl Strategy<Value = wire::HttpEntry> {
    let name = prop::option::of(prop_oneof![any_text().prop_map(wire::San::Uri), any_text().prop_map(wire::San::Dns)])
        .prop_map(|san| wire::SubjectAltName { san });
    let tls = prop::option::of(prop::collection::vec(name, 0..4)).prop_map(|names| wire::Tls {
        peer_certificate_properties: names.map(|subject_alt_name| wire::Certificate { subject_alt_name }),
    });
    let common = (prop::option::of(tls), any_text(), prop::option::of(any_address())).prop_map(
        |(tls_properties, upstream_cluster, downstream_direct_remote_address)| wire::Common {
            tls_properties,
            upstream_cluster,
            downstream_direct_remote_address,
        },
    );
    let request = any_text().prop_map(|authority| wire::Request { authority });
    let response = prop::option::of(any::<u32>()).prop_map(|response_code| wire::Response { response_code });
    (prop::option::of(common), prop::option::of(request), prop::option::of(response))
        .prop_map(|(common_properties, request, response)| wire::HttpEntry { common_properties, request, response })
}

/// Entries glued together (which merges them), with fields between them that nobody knows.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let unknown = prop_oneof![
        8 => Just(vec![]),
        1 => Just(vec![0x78, 0x96, 0x01]),
        1 => Just(vec![0xc1, 0x02, 1, 2, 3, 4, 5, 6, 7, 8]),
        1 => Just(vec![0xc5, 0x02, 1, 2, 3, 4]),
        1 => Just(vec![0xc3, 0x02, 0x08, 0x01, 0xc4, 0x02]),
    ];
    let entry = prop::collection::vec((any_entry(), unknown.clone()), 1..4).prop_map(|parts| {
        parts.into_iter().flat_map(|(entry, unknown)| [entry.encode_to_vec(), unknown].concat()).collect::<Vec<u8>>()
    });
    let logs = prop::collection::vec(entry, 0..5).prop_map(|entries| frame(&entries));
    let tcp = prop::collection::vec(any_text(), 0..3)
        .prop_map(|entries| wrap(3, &entries.iter().flat_map(|entry| wrap(1, entry)).collect::<Vec<u8>>()));
    prop::collection::vec((prop_oneof![4 => logs, 1 => tcp], unknown), 0..3)
        .prop_map(|parts| parts.into_iter().flat_map(|(logs, unknown)| [logs, unknown].concat()).collect())
}

/// Cuts, flips and inserts bytes.
fn damage(mut frame: Vec<u8>, damages: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (place, kind, byte) in damages {
        let place = place.index(frame.len() + 1);
        match kind % 4 {
            0 => frame.truncate(place),
            1 => frame.insert(place, *byte),
            _ => frame.get_mut(place).into_iter().for_each(|old| *old = *byte),
        }
    }
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_scan_reads_what_prost_reads(frame in any_frame()) {
        let expected = oracle(&frame);
        prop_assert!(expected.is_some());
        prop_assert_eq!(Some(scanned_by_kind(&frame)), expected);
    }

    #[test]
    fn damaged_messages_never_panic_and_agree_where_prost_accepts(
        frame in any_frame(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<u8>()), 1..4),
    ) {
        let frame = damage(frame, &damages);
        let scanned = scanned_by_kind(&frame);
        if let Some(expected) = oracle(&frame) {
            prop_assert_eq!(scanned, expected);
        }
    }

    #[test]
    fn garbage_never_panics_and_agrees_where_prost_accepts(frame in prop::collection::vec(any::<u8>(), 0..60)) {
        let scanned = scanned_by_kind(&frame);
        if let Some(expected) = oracle(&frame) {
            prop_assert_eq!(scanned, expected);
        }
    }
}
