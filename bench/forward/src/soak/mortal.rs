//! A destination that dies without a word, connections and all, and comes back on the same port.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{AbortHandle, JoinSet};

use super::clients::{Chance, DRIPS, LARGE};

type Answer = UnsyncBoxBody<Bytes, hyper::Error>;

/// How long it lives and how long it is dead, in milliseconds.
const LIVES: (u64, u64) = (1500, 6000);
const IS_DEAD: (u64, u64) = (300, 1500);

pub struct Mortal {
    pub address: SocketAddr,
    life: Rc<Life>,
    fate: AbortHandle,
}

#[derive(Default)]
struct Life {
    is_alive: Cell<bool>,
    deaths: Cell<u64>,
}

/// A life, as seen at one moment: nothing if there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(Option<u64>);

impl Mortal {
    pub async fn start(seed: u64) -> anyhow::Result<Self> {
        let mut listener = Some(listen((Ipv4Addr::LOCALHOST, 0).into())?);
        let address = listener.as_ref().map_or_else(|| unreachable!(), TcpListener::local_addr)?;
        let life = Rc::new(Life::default());
        let lived = Rc::clone(&life);
        let fate = tokio::task::spawn_local(async move {
            let mut chance = Chance::new(seed);
            loop {
                if let Some(listener) = listener.take().or_else(|| listen(address).ok()) {
                    lived.is_alive.set(true);
                    let time = Duration::from_millis(chance.between(LIVES));
                    // Dropped with all its connections.
                    let _over = tokio::time::timeout(time, serve(listener)).await;
                    lived.is_alive.set(false);
                    lived.deaths.set(lived.deaths.get() + 1);
                }
                tokio::time::sleep(Duration::from_millis(chance.between(IS_DEAD))).await;
            }
        });
        Ok(Self { address, life, fate: fate.abort_handle() })
    }

    pub fn deaths(&self) -> u64 {
        self.life.deaths.get()
    }

    pub fn seen(&self) -> Seen {
        Seen(self.life.is_alive.get().then(|| self.life.deaths.get()))
    }

    /// Whether it was dead then, now, or in between.
    pub fn was_dead_since(&self, then: Seen) -> bool {
        then.0.is_none() || then != self.seen()
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.fate.abort();
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // How a connection ends is for its clients to judge.
            let _ended = server.serve_connection_with_upgrades(TokioIo::new(stream), service_fn(answer)).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let full = |bytes: Vec<u8>| Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync();
    let answer = match request.uri().path() {
        "/small" => Response::new(full(b"hello".to_vec())),
        "/large" => Response::new(full(vec![b'x'; LARGE])),
        "/echo" => Response::new(request.into_body().boxed_unsync()),
        "/drip" => {
            let (drips_tx, drips_rx) = tokio::sync::mpsc::channel(1);
            tokio::spawn(async move {
                for _ in 0..DRIPS {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if drips_tx.send(Ok(Frame::data(Bytes::from_static(b"drip")))).await.is_err() {
                        return;
                    }
                }
            });
            Response::new(StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(drips_rx)).boxed_unsync())
        }
        "/tunnel" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
                let _ended = tokio::io::copy(&mut read, &mut write).await;
            });
            let mut answer = Response::new(full(Vec::new()));
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
            answer.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("echo"));
            answer
        }
        _ => {
            let mut answer = Response::new(full(Vec::new()));
            *answer.status_mut() = StatusCode::NOT_FOUND;
            answer
        }
    };
    Ok(answer)
}
