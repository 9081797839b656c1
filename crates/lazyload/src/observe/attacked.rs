//! Attackers of the access-log port: what they cost, and that who tells the truth beside them is heard.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lazyload_logic::observation::Call;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::client::{AccessLogSender, mk_message};
use super::{Counters, Door, METHOD, Refused, serve};

/// Longest that anything may take; only a failure waits for so long.
const DEADLINE: Duration = Duration::from_secs(60);
const CALLER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 11));
/// The attacker's address; who tells the truth is at 127.0.0.1.
const ATTACKER: &str = "127.0.0.2:0";

struct Running {
    address: SocketAddr,
    calls: mpsc::Receiver<Vec<Call>>,
    counters: Arc<Counters>,
}

/// A server whose receiver takes so many batches.
async fn start(capacity: usize) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (calls_tx, calls) = mpsc::channel(capacity);
    let counters = Arc::new(Counters::default());
    tokio::spawn(serve(listener, Door::open(), calls_tx, counters.clone(), None, CancellationToken::new()));
    Running { address, calls, counters }
}

impl Running {
    /// Somebody else tells of a call, and it is heard.
    async fn hears_the_truth(&mut self) {
        let mut sender = AccessLogSender::new(self.address);
        let heard = async {
            loop {
                // As a proxy does with each request: what the receiver had no room for is told again.
                sender.send(CALLER, "details", 9080).await.unwrap();
                while let Ok(calls) = self.calls.try_recv() {
                    if calls.iter().any(|call| call.caller == CALLER && &*call.authority == "details") {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, heard).await.expect("the truth is not heard");
    }

    async fn counts(&self, counter: impl Fn(&Counters) -> u64, expected: u64) {
        let poll = async {
            while counter(&self.counters) != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let counted = timeout(DEADLINE, poll).await;
        counted.unwrap_or_else(|_| panic!("expected {expected}, got {}", counter(&self.counters)));
    }
}

/// A request body that is made while it is taken.
type Body = StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;

async fn connection(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(ATTACKER.parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A connection of the attacker's for streams.
async fn attacker(to: SocketAddr) -> SendRequest<Body> {
    let connection = TokioIo::new(connection(to).await);
    let (sender, driver) = http2::handshake(TokioExecutor::new(), connection).await.unwrap();
    tokio::spawn(driver);
    sender
}

/// The first bytes of a message that says to be so long, then what is given.
fn stream(length: u32, rest: impl Stream<Item = Bytes> + Send + 'static) -> http::Request<Body> {
    let head = Bytes::from([&[0], length.to_be_bytes().as_slice()].concat());
    let frames = futures::stream::iter([head]).chain(rest).map(|bytes| Ok(Frame::data(bytes)));
    http::Request::post(format!("http://attacked{METHOD}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(Box::pin(frames) as Pin<Box<_>>))
        .unwrap()
}

#[tokio::test]
async fn a_message_of_a_hundred_megabytes_is_refused_by_its_first_bytes() {
    const CHUNK: usize = 16 * 1024;
    let mut running = start(8).await;
    let taken = Arc::new(AtomicU64::new(0));
    let counted = taken.clone();
    let endless = futures::stream::repeat(Bytes::from_static(&[0; CHUNK])).inspect(move |_| {
        counted.fetch_add(1, Relaxed);
    });
    let mut attacker = attacker(running.address).await;
    let answer = attacker.send_request(stream(100_000_000, endless));
    let answer = timeout(DEADLINE, answer).await.expect("it is taken").unwrap();
    assert_eq!(answer.headers()["grpc-status"], "11", "out of range");
    let taken = taken.load(Relaxed) * CHUNK as u64;
    assert!(taken <= 4 * 1024 * 1024, "{taken} bytes were taken");
    running.counts(|counters| counters.streams_broken.load(Relaxed), 1).await;
    running.hears_the_truth().await;
}

#[tokio::test]
async fn slow_streams_of_one_address_leave_room_for_the_others() {
    let mut running = start(8).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        let mut attacker = attacker(running.address).await;
        for _ in 0..16 {
            // One byte of a message of a megabyte, and then nothing for ever.
            let slow = futures::stream::iter([Bytes::from_static(&[0])]).chain(futures::stream::pending());
            open.push(tokio::spawn(attacker.send_request(stream(1_000_000, slow))));
        }
    }
    running.counts(|counters| counters.streams_refused.load(Relaxed), 64).await;
    running.counts(|counters| counters.streams_open.load(Relaxed), 256).await;
    running.hears_the_truth().await;
    for stream in open {
        stream.abort();
    }
}

#[tokio::test]
async fn silent_connections_of_one_address_leave_room_for_the_others() {
    let mut running = start(8).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(connection(running.address).await);
    }
    running.counts(|counters| counters.refused(Refused::TooMany), 44).await;
    running.hears_the_truth().await;
}

#[tokio::test]
async fn ten_thousand_made_up_callers_fill_no_more_than_the_queue_and_the_truth_is_heard_beside_them() {
    const CAPACITY: usize = 4;
    let mut running = start(CAPACITY).await;
    let mut liar = AccessLogSender::new(running.address);
    for batch in 0..100_u8 {
        let callers = (0..100_u8).map(|number| IpAddr::from([10, 9, batch, number]));
        let entries: Vec<_> = callers.map(|caller| (caller, "forged", 9080)).collect();
        liar.send_message(mk_message(&entries)).await.unwrap();
    }
    // Nobody takes anything yet.
    running.counts(|counters| counters.passed.load(Relaxed) + counters.overflow.load(Relaxed), 10_000).await;
    assert_eq!(running.calls.len(), CAPACITY);
    running.hears_the_truth().await;
}

#[tokio::test]
async fn a_hail_of_streams_that_are_reset_ends_or_is_forgotten_and_the_truth_is_heard_beside_it() {
    let mut running = start(8).await;
    let (attacker, driver) = h2::client::handshake(connection(running.address).await).await.unwrap();
    let driver = tokio::spawn(driver);
    for _ in 0..5_000 {
        // The server may have had enough, and end the connection.
        let Ok(mut next) = attacker.clone().ready().await else { break };
        let request =
            http::Request::post(format!("http://attacked{METHOD}")).header("content-type", "application/grpc");
        let Ok((_, mut stream)) = next.send_request(request.body(()).unwrap(), false) else { break };
        stream.send_reset(h2::Reason::CANCEL);
    }
    running.hears_the_truth().await;
    drop(attacker);
    drop(timeout(DEADLINE, driver).await.expect("the connection does not end"));
    running.counts(|counters| counters.streams_open.load(Relaxed), 0).await;
}
