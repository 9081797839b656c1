//! The access-log server over mutual TLS: real handshakes on the loopback interface, with an authority that the test makes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lazyload_logic::observation::Call;
use lazyload_logic::settings::{Context, LogSecurity, resolve};
use lazyload_logic::trust::Believed;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use super::client::{AccessLogSender, mk_message};
use super::codec::RawCodec;
use super::relay::{RELAYED, Relay};
use super::{Counters, Door, METHOD, Refused, serve};
use crate::identify::testing::{Authority, client, mk_certificate};
use crate::identify::{Connector, Identity};
use crate::lead::peers::Peers;

/// Longest that anything may take; only a failure waits for so long.
const DEADLINE: Duration = Duration::from_secs(30);
const CALLER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 11));
const CONTROLLER: &str = "spiffe://cluster.local/ns/mesh-operator/sa/lazyload";
const GLOBAL_SIDECAR: &str = "spiffe://cluster.local/ns/mesh-operator/sa/global-sidecar";
const WORKLOAD: &str = "spiffe://cluster.local/ns/default/sa/default";

struct Running {
    address: SocketAddr,
    calls: mpsc::Receiver<Vec<Call>>,
    counters: Arc<Counters>,
    identity: watch::Sender<Option<Arc<Identity>>>,
    _peers: watch::Sender<Peers>,
}

/// A server whose replicas, if it has any, are all on loopback.
async fn start(security: LogSecurity, identity: Option<Arc<Identity>>) -> Running {
    start_with(security, identity, &json!({})).await
}

/// The same with other settings.
async fn start_with(security: LogSecurity, identity: Option<Arc<Identity>>, settings: &Value) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (calls_tx, calls) = mpsc::channel(8);
    let counters = Arc::new(Counters::default());
    let identity = watch::Sender::new(identity);
    let believed = Believed::of(&resolve(settings, &Context::default()).unwrap().settings);
    let door = Door::new(security, identity.subscribe(), watch::channel(believed).1);
    let others = [("other".to_owned(), vec![address.ip()])].into();
    let peers = watch::Sender::new(Peers { own: vec![], others });
    let relay = Relay::new(peers.subscribe(), counters.clone());
    tokio::spawn(serve(listener, door, calls_tx, counters.clone(), Some(relay), CancellationToken::new()));
    Running { address, calls, counters, identity, _peers: peers }
}

impl Running {
    async fn next(&mut self) -> String {
        let calls = timeout(DEADLINE, self.calls.recv()).await.expect("no call came").expect("the server is gone");
        calls.iter().map(|call| format!("{} {}", call.caller, call.authority)).collect()
    }

    async fn refused(&self, reason: Refused, expected: u64) {
        let poll = async {
            while self.counters.refused(reason) != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, poll).await.unwrap_or_else(|_| panic!("not refused as {}", reason.name()));
        let others = Refused::ALL.into_iter().filter(|other| *other != reason);
        assert_eq!(others.map(|other| self.counters.refused(other)).sum::<u64>(), 0);
    }

    /// Nothing was learned.
    fn silent(&mut self) {
        assert!(self.calls.try_recv().is_err());
        assert_eq!(self.counters.entries.load(Relaxed), 0);
    }
}

/// A stream over TLS, as a proxy opens one.
struct Stream {
    messages: mpsc::Sender<Bytes>,
    answer: tokio::task::JoinHandle<Result<(), Status>>,
}

impl Stream {
    async fn open(to: SocketAddr, config: Arc<ClientConfig>, relayed: bool) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("https://{to}")).unwrap();
        let channel = endpoint.connect_with_connector(Connector::new(config)).await?;
        let (messages, messages_rx) = mpsc::channel(8);
        let answer = tokio::spawn(async move {
            let mut client = Grpc::new(channel);
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let mut request = Request::new(ReceiverStream::new(messages_rx));
            if relayed {
                request.metadata_mut().insert(RELAYED, MetadataValue::from_static("true"));
            }
            let path = PathAndQuery::from_static(METHOD);
            client.client_streaming::<_, Bytes, Bytes, _>(request, path, RawCodec).await.map(drop)
        });
        Ok(Self { messages, answer })
    }

    async fn tell(&self, host: &str) {
        self.messages.send(mk_message(&[(CALLER, host, 9080)])).await.unwrap();
    }

    /// How it ended. A server that has not let us in just closes the connection.
    async fn end(self) -> Result<(), Code> {
        timeout(DEADLINE, self.answer).await.expect("it does not end").unwrap().map_err(|status| status.code())
    }
}

/// What somebody shows who has a certificate of this authority for this URI.
fn shows(authority: &Authority, uri: &str) -> Arc<ClientConfig> {
    client(Some(mk_certificate(authority, &[uri])), authority.roots(), CONTROLLER)
}

/// A stream that is not let in, at the handshake or right after it.
async fn is_shut_out(running: &Running, config: Arc<ClientConfig>) {
    if let Ok(stream) = Stream::open(running.address, config, false).await {
        drop(stream.messages.send(mk_message(&[(CALLER, "forged", 9080)])).await);
        assert!(stream.end().await.is_err());
    }
}

#[tokio::test]
async fn the_global_sidecars_proxy_is_believed_over_mutual_tls() {
    let authority = Authority::new();
    for security in [LogSecurity::Permissive, LogSecurity::Strict] {
        let mut running = start(security, Some(authority.identity(CONTROLLER))).await;
        let stream = Stream::open(running.address, shows(&authority, GLOBAL_SIDECAR), false).await.unwrap();
        stream.tell("details").await;
        assert_eq!(running.next().await, "172.17.0.11 details");
        assert_eq!(running.counters.streams_secured.load(Relaxed), 1);
    }
}

#[tokio::test]
async fn in_namespace_mode_what_a_global_sidecar_tells_is_of_its_own_namespace() {
    let authority = Authority::new();
    let settings = json!({"general": {"globalSidecarMode": "namespace", "namespace": ["shop", "bank"]}});
    let mut running = start_with(LogSecurity::Strict, Some(authority.identity(CONTROLLER)), &settings).await;
    for namespace in ["shop", "bank"] {
        let uri = format!("spiffe://cluster.local/ns/{namespace}/sa/global-sidecar");
        let stream = Stream::open(running.address, shows(&authority, &uri), false).await.unwrap();
        stream.tell("details").await;
        let told = timeout(DEADLINE, running.calls.recv()).await.expect("no call came").expect("the server is gone");
        let of = told.iter().map(|call| call.peer.as_ref().is_some_and(|peer| peer.is(namespace, "")));
        assert_eq!(of.collect::<Vec<_>>(), [true], "{told:?}");
    }
    is_shut_out(&running, shows(&authority, GLOBAL_SIDECAR)).await;
    running.refused(Refused::Peer, 1).await;
}

#[tokio::test]
async fn a_workload_of_the_mesh_is_refused_and_counted_whatever_it_tells() {
    let authority = Authority::new();
    for security in [LogSecurity::Permissive, LogSecurity::Strict] {
        let mut running = start(security, Some(authority.identity(CONTROLLER))).await;
        is_shut_out(&running, shows(&authority, WORKLOAD)).await;
        running.refused(Refused::Peer, 1).await;
        running.silent();
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_and_so_is_none() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut running = start(LogSecurity::Strict, Some(authority.identity(CONTROLLER))).await;
    let forged = mk_certificate(&other, &[GLOBAL_SIDECAR]);
    is_shut_out(&running, client(Some(forged), authority.roots(), CONTROLLER)).await;
    running.refused(Refused::Handshake, 1).await;
    is_shut_out(&running, client(None, authority.roots(), CONTROLLER)).await;
    running.refused(Refused::Handshake, 2).await;
    running.silent();
}

#[tokio::test]
async fn plaintext_is_refused_and_counted_when_it_is_strict_and_taken_when_it_is_permissive() {
    let authority = Authority::new();
    let mut strict = start(LogSecurity::Strict, Some(authority.identity(CONTROLLER))).await;
    // The connection may be closed before, while or after the entry is sent.
    drop(AccessLogSender::new(strict.address).send(CALLER, "forged", 9080).await);
    strict.refused(Refused::Plaintext, 1).await;
    strict.silent();
    let mut permissive = start(LogSecurity::Permissive, Some(authority.identity(CONTROLLER))).await;
    AccessLogSender::new(permissive.address).send(CALLER, "details", 9080).await.unwrap();
    assert_eq!(permissive.next().await, "172.17.0.11 details");
    assert_eq!(permissive.counters.streams_secured.load(Relaxed), 0);
}

#[tokio::test]
async fn without_a_certificate_of_ours_tls_is_refused_and_the_rest_is_as_it_was() {
    let authority = Authority::new();
    let mut running = start(LogSecurity::Permissive, None).await;
    is_shut_out(&running, shows(&authority, GLOBAL_SIDECAR)).await;
    running.refused(Refused::NoIdentity, 1).await;
    AccessLogSender::new(running.address).send(CALLER, "details", 9080).await.unwrap();
    assert_eq!(running.next().await, "172.17.0.11 details");

    // It comes later: who came before it waits for a moment.
    let stream = tokio::spawn(Stream::open(running.address, shows(&authority, GLOBAL_SIDECAR), false));
    running.identity.send_replace(Some(authority.identity(CONTROLLER)));
    let stream = stream.await.unwrap().unwrap();
    stream.tell("reviews").await;
    assert_eq!(running.next().await, "172.17.0.11 reviews");
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_open_streams_go_on() {
    let (before, after) = (Authority::new(), Authority::new());
    let mut running = start(LogSecurity::Strict, Some(before.identity(CONTROLLER))).await;
    let old = Stream::open(running.address, shows(&before, GLOBAL_SIDECAR), false).await.unwrap();
    old.tell("details").await;
    assert_eq!(running.next().await, "172.17.0.11 details");

    running.identity.send_replace(Some(after.identity(CONTROLLER)));
    let new = Stream::open(running.address, shows(&after, GLOBAL_SIDECAR), false).await.unwrap();
    new.tell("reviews").await;
    assert_eq!(running.next().await, "172.17.0.11 reviews");
    old.tell("ratings").await;
    assert_eq!(running.next().await, "172.17.0.11 ratings");
    assert!(Stream::open(running.address, shows(&before, GLOBAL_SIDECAR), false).await.is_err());
    running.refused(Refused::Handshake, 1).await;
}

#[tokio::test]
async fn a_proxy_talks_to_the_controllers_identity_alone() {
    let authority = Authority::new();
    let mut running = start(LogSecurity::Strict, Some(authority.identity(WORKLOAD))).await;
    assert!(Stream::open(running.address, shows(&authority, GLOBAL_SIDECAR), false).await.is_err());
    running.refused(Refused::Handshake, 1).await;
    running.silent();
}

#[tokio::test]
async fn another_replica_tells_as_a_replica_and_nobody_else_does() {
    let authority = Authority::new();
    let mut running = start(LogSecurity::Strict, Some(authority.identity(CONTROLLER))).await;
    let replica = Stream::open(running.address, shows(&authority, CONTROLLER), true).await.unwrap();
    replica.tell("details").await;
    assert_eq!(running.next().await, "172.17.0.11 details");
    assert_eq!(running.counters.relay_heard.load(Relaxed), 1);
    assert_eq!(running.counters.streams_open.load(Relaxed), 0, "a replica's stream is no proxy's");

    for (uri, relayed) in [(GLOBAL_SIDECAR, true), (CONTROLLER, false)] {
        let stream = Stream::open(running.address, shows(&authority, uri), relayed).await.unwrap();
        assert_eq!(stream.end().await, Err(Code::PermissionDenied), "{uri}");
    }
    assert_eq!(running.counters.relay_refused.load(Relaxed), 2);
    running.silent();
}

/// A replica that tells the one that runs, as its settings say, until the guard is dropped.
fn replica(running: &Running, security: LogSecurity, identity: Option<Arc<Identity>>) -> (Relay, DropGuard) {
    let (_, identity) = watch::channel(identity);
    let others = [("other".to_owned(), vec![running.address.ip()])].into();
    let (peers_tx, peers) = watch::channel(Peers { own: vec![running.address.ip()], others });
    let relay = Relay::new(peers, Arc::default()).secured(security, identity);
    let shutdown = CancellationToken::new();
    let (telling, port, ended) = (relay.clone(), running.address.port(), shutdown.clone());
    tokio::spawn(async move {
        telling.run(port, ended).await;
        drop(peers_tx);
    });
    (relay, shutdown.drop_guard())
}

fn call(host: &str) -> Call {
    Call { caller: CALLER, peer: None, authority: host.into(), count: 1 }
}

#[tokio::test]
async fn replicas_tell_each_other_over_mutual_tls_and_permissive_ones_also_those_of_an_older_version() {
    use LogSecurity::{Off, Permissive, Strict};
    let authority = Authority::new();
    for (told, telling) in
        [(Strict, Strict), (Strict, Permissive), (Permissive, Strict), (Permissive, Permissive), (Off, Permissive)]
    {
        let identity = Some(authority.identity(CONTROLLER));
        let mut running = start(told, identity.clone().filter(|_| told != Off)).await;
        let (relay, _ended) = replica(&running, telling, identity);
        relay.tell(&[call("details")], Instant::now());
        assert_eq!(running.next().await, "172.17.0.11 details", "{telling:?} tells {told:?}");
        assert_eq!(running.counters.relay_heard.load(Relaxed), 1);
        assert_eq!(running.counters.refused(Refused::Plaintext), 0, "{telling:?} tells {told:?}");
    }
    // Until it has a certificate a permissive one tells in plaintext.
    let mut running = start(Permissive, None).await;
    let (relay, _ended) = replica(&running, Permissive, None);
    relay.tell(&[call("details")], Instant::now());
    assert_eq!(running.next().await, "172.17.0.11 details");
}

#[tokio::test]
async fn who_says_nothing_at_the_door_keeps_nobody_out() {
    let authority = Authority::new();
    let mut running = start(LogSecurity::Strict, Some(authority.identity(CONTROLLER))).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    // So many of an address may be there at once; the others are closed without having been asked.
    running.refused(Refused::TooMany, 44).await;
    let mut closed = silent.pop().unwrap();
    assert_eq!(closed.read(&mut [0]).await.unwrap_or_default(), 0);
    // Those who go make room.
    silent.clear();
    let stream = timeout(DEADLINE, async {
        loop {
            match Stream::open(running.address, shows(&authority, GLOBAL_SIDECAR), false).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    stream.await.unwrap().tell("details").await;
    assert_eq!(running.next().await, "172.17.0.11 details");
}

#[tokio::test]
async fn garbage_at_the_door_is_refused() {
    let mut running = start(LogSecurity::Strict, Some(Authority::new().identity(CONTROLLER))).await;
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"\0\0\0\0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut connection = TcpStream::connect(running.address).await.unwrap();
        connection.write_all(garbage).await.unwrap();
        assert_eq!(timeout(DEADLINE, connection.read(&mut [0])).await.unwrap().unwrap_or_default(), 0);
    }
    running.refused(Refused::Plaintext, 3).await;
    running.silent();
    let mut connection = TcpStream::connect(running.address).await.unwrap();
    connection.write_all(b"\x16 is the first byte of a handshake, and this is none").await.unwrap();
    assert!(timeout(DEADLINE, connection.read_to_end(&mut Vec::new())).await.is_ok());
    assert_eq!(running.counters.refused(Refused::Handshake), 1);
}
