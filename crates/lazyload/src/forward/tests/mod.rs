//! Owns the conversations: the whole forwarder in process, real sockets on loopback, byte for byte.
//! Never asserts a time: waiting is `eventually` or a read with a generous limit.
//! Next: the file named after what interests you.

mod access_log;
mod bounded;
mod closed;
mod drain;
mod failures;
mod grpc;
mod http2;
mod limited;
mod pooling;
mod ports;
mod routing;
mod smuggling;
mod smuggling_http2;
mod streaming;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::guard::Guard;
use super::limits::Limits;
use super::services::{Names, ServiceNames};
use crate::run::global_sidecar::{GlobalSidecar, GlobalSidecarConfig, Listen, Services, start};

const GIVE_UP: Duration = Duration::from_secs(20);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

async fn eventually(what: &str, mut predicate: impl FnMut() -> bool) {
    let waiting = async {
        while !predicate() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, waiting).await;
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(GIVE_UP, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A global-sidecar that knows the Service `default/reviews`.
struct Rig {
    address: SocketAddr,
    readiness: crate::process::readiness::Readiness,
    shutdown: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Rig {
    async fn start() -> Self {
        Self::with(limits(), None).await
    }

    async fn with(limits: Limits, probe_port: Option<u16>) -> Self {
        Self::guarded(Guard::Off, limits, probe_port).await
    }

    async fn guarded(guard: Guard, limits: Limits, probe_port: Option<u16>) -> Self {
        Self::of(Self::config(guard, limits, probe_port)).await
    }

    /// With so many event loops.
    async fn on_cores(cores: usize, limits: Limits) -> Self {
        Self::of(GlobalSidecarConfig { cores, ..Self::config(Guard::Off, limits, None) }).await
    }

    fn config(guard: Guard, limits: Limits, probe_port: Option<u16>) -> GlobalSidecarConfig {
        let (_names_tx, names_rx) = watch::channel(Names::from([("default".into(), ["reviews".into()].into())]));
        GlobalSidecarConfig {
            listen: Listen::Addresses(vec![([127, 0, 0, 1], 0).into()]),
            services: Services::Given(ServiceNames::Known(names_rx)),
            probe_port,
            prefer_listener_port: false,
            clean_up_ports: false,
            access_log: false,
            guard,
            limits,
            cores: 1,
        }
    }

    async fn of(config: GlobalSidecarConfig) -> Self {
        let sidecar: GlobalSidecar = start(config).await.unwrap();
        let (address, readiness) = (sidecar.addresses[0], sidecar.readiness.clone());
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(sidecar.serve_until(shutdown.clone()));
        Self { address, readiness, shutdown, ended }
    }

    async fn connect(&self) -> Conn {
        Conn::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends one request to `destination` and returns the whole answer.
    async fn ask(&self, request_line: &str, destination: SocketAddr, more: &str) -> String {
        let mut client = self.connect().await;
        client.send(&request(request_line, destination, &format!("connection: close\r\n{more}"))).await;
        client.rest().await
    }
}

fn limits() -> Limits {
    Limits {
        drain_grace: Duration::from_millis(20),
        bind_retry: Duration::from_millis(5),
        connect: Duration::from_secs(10),
        ..Limits::default()
    }
}

fn request(request_line: &str, destination: SocketAddr, more: &str) -> String {
    format!("{request_line} HTTP/1.1\r\nhost: reviews:9080\r\nslime-orig-dest: {destination}\r\n{more}\r\n")
}

/// One end of a connection, spoken to in bytes.
struct Conn {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Conn {
    fn new(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    async fn send(&mut self, text: &str) {
        within("write", self.stream.write_all(text.as_bytes())).await.unwrap();
    }

    /// Everything up to and with `end`; nothing if the other side closed before.
    async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end.as_bytes()) {
                let read = self.unread.drain(..at + end.len()).collect();
                return Some(String::from_utf8(read).unwrap());
            }
            let read = within(&format!("read up to {end:?}"), self.stream.read_buf(&mut self.unread)).await;
            if !read.is_ok_and(|read| read > 0) {
                return None;
            }
        }
    }

    async fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n").await
    }

    /// Everything up to the end of the connection.
    async fn rest(&mut self) -> String {
        let _reset_or_end = within("read to the end", self.stream.read_to_end(&mut self.unread)).await;
        String::from_utf8(std::mem::take(&mut self.unread)).unwrap()
    }
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// A destination that plays a script on each connection.
struct Upstream {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: watch::Receiver<usize>,
}

impl Upstream {
    /// `script(connection, number)`, counted from 1.
    async fn playing<F, Played>(script: F) -> Self
    where
        F: Fn(Conn, usize) -> Played + Send + 'static,
        Played: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count_tx, connections) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count_tx.send_modify(|count| *count += 1);
                let number = *count_tx.borrow();
                tokio::spawn(script(Conn::new(stream), number));
            }
        });
        Self { address, heads: Arc::default(), connections }
    }

    /// Answers each request with the same bytes and remembers the request heads.
    async fn answering(answer: &'static str) -> Self {
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        let upstream = Self::playing(move |mut conn, _| {
            let seen = Arc::clone(&seen);
            async move {
                while let Some(head) = conn.head().await {
                    seen.lock().unwrap().push(head);
                    conn.send(answer).await;
                }
            }
        });
        Self { heads, ..upstream.await }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        *self.connections.borrow()
    }
}

/// The header lines of a head, sorted.
fn lines(head: &str) -> Vec<&str> {
    let mut lines: Vec<_> = head.lines().skip(1).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}
