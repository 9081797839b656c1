//! Clients of several kinds. Each asks over a connection some times, then takes a new one.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::mortal::Mortal;
use super::tally::Tally;

pub const LARGE: usize = 200_000;
pub const DRIPS: usize = 10;
/// Longer than any answer takes.
const GIVE_UP: Duration = Duration::from_secs(20);

type Body = Full<Bytes>;

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Small,
    Large,
    Echo,
    Drip,
    Tunnel,
    Http2Small,
    Http2Large,
    Http2Echo,
    Http2Drip,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Small,
        Self::Large,
        Self::Echo,
        Self::Drip,
        Self::Tunnel,
        Self::Http2Small,
        Self::Http2Large,
        Self::Http2Echo,
        Self::Http2Drip,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Small => "HTTP/1.1 small",
            Self::Large => "HTTP/1.1 large",
            Self::Echo => "HTTP/1.1 upload and echo",
            Self::Drip => "HTTP/1.1 stream",
            Self::Tunnel => "upgrade",
            Self::Http2Small => "h2c small",
            Self::Http2Large => "h2c large",
            Self::Http2Echo => "h2c upload and echo",
            Self::Http2Drip => "h2c stream",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Small | Self::Http2Small => "/small",
            Self::Large | Self::Http2Large => "/large",
            Self::Echo | Self::Http2Echo => "/echo",
            Self::Drip | Self::Http2Drip => "/drip",
            Self::Tunnel => "/tunnel",
        }
    }

    fn is_http2(self) -> bool {
        matches!(self, Self::Http2Small | Self::Http2Large | Self::Http2Echo | Self::Http2Drip)
    }

    fn upload(self) -> Vec<u8> {
        if matches!(self, Self::Echo | Self::Http2Echo) { vec![b'u'; LARGE] } else { Vec::new() }
    }

    fn expected(self) -> Vec<u8> {
        match self.path() {
            "/small" => b"hello".to_vec(),
            "/large" => vec![b'x'; LARGE],
            "/drip" => b"drip".repeat(DRIPS),
            _ => self.upload(),
        }
    }
}

/// Numbers that look like chance and come back with the same seed.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    pub fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.below(high - low)
    }
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Sender {
    /// To the forwarder, which is never dead: a failure to connect is a loss.
    async fn connect(kind: Kind, forwarder: SocketAddr) -> anyhow::Result<Self> {
        let stream = TokioIo::new(TcpStream::connect(forwarder).await.context("no connection to the forwarder")?);
        if kind.is_http2() {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            Ok(Self::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(stream).await?;
            tokio::spawn(connection.with_upgrades());
            Ok(Self::Http1(sender))
        }
    }

    async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

pub async fn run(
    kind: Kind,
    forwarder: SocketAddr,
    destinations: Vec<Rc<Mortal>>,
    tally: Rc<RefCell<Tally>>,
    seed: u64,
) {
    let mut chance = Chance::new(seed);
    loop {
        let mut sender = match Sender::connect(kind, forwarder).await {
            Ok(sender) => sender,
            Err(error) => {
                tally.borrow_mut().failed(kind.name(), &error, false);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        for _ in 0..1 + chance.below(30) {
            let destination = &destinations[chance.below(destinations.len() as u64) as usize];
            let then = destination.seen();
            let asked = tokio::time::timeout(GIVE_UP, ask(kind, &mut sender, destination.address)).await;
            match asked.context("no answer for long").and_then(|asked| asked) {
                Ok(()) => tally.borrow_mut().answered(kind.name()),
                Err(error) => {
                    tally.borrow_mut().failed(kind.name(), &error, destination.was_dead_since(then));
                    // What a broken answer leaves behind is of no use to the next.
                    break;
                }
            }
            if matches!(kind, Kind::Tunnel) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(chance.below(20))).await;
        }
    }
}

async fn ask(kind: Kind, sender: &mut Sender, destination: SocketAddr) -> anyhow::Result<()> {
    let method = if kind.upload().is_empty() { "GET" } else { "POST" };
    let target = if kind.is_http2() { format!("http://soak.test{}", kind.path()) } else { kind.path().to_owned() };
    let mut request = Request::builder().method(method).uri(target).header("slime-orig-dest", destination.to_string());
    if !kind.is_http2() {
        request = request.header("host", "soak.test");
    }
    if matches!(kind, Kind::Tunnel) {
        request = request.header("connection", "upgrade").header("upgrade", "echo");
    }
    let mut answer = sender.send(request.body(Full::new(kind.upload().into()))?).await?;
    if matches!(kind, Kind::Tunnel) && answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return talk(hyper::upgrade::on(&mut answer).await?).await;
    }
    if answer.status() != StatusCode::OK {
        bail!("{} {:?}", answer.status(), answer.headers().get("x-lazyload-failure"));
    }
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(body == kind.expected(), "{} bytes that were not expected", body.len());
    Ok(())
}

/// Through a tunnel that gives back what it gets.
async fn talk(tunnel: hyper::upgrade::Upgraded) -> anyhow::Result<()> {
    let mut tunnel = TokioIo::new(tunnel);
    for word in ["one", "two", "three"] {
        tunnel.write_all(word.as_bytes()).await?;
        let mut back = vec![0; word.len()];
        tunnel.read_exact(&mut back).await?;
        ensure!(back == word.as_bytes(), "the tunnel gave back {back:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
