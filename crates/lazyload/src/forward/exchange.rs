//! The life of one request: read its head, decide its route, send it on, pass the answer back. Bodies stream both ways, with trailers.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use lazyload_logic::route::{self, Dial, Refusal};

use super::Shared;
use super::access_log::Entry;
use super::body::Passing;
use super::downstream::{Exchanges, InFlight};
use super::failure::{Failure, Side};
use super::guard::Ends;
use super::upstream::Answered;
use super::{headers, tunnel};

/// The destination's body, or a text of our own.
pub(super) type Answer = Either<Passing, Full<Bytes>>;

/// The client's connection, as far as its requests need it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Where it connected to.
    port: u16,
    /// Between whom.
    ends: Ends,
    /// What is on its way.
    pub(super) exchanges: Arc<Exchanges>,
}

impl Client {
    pub(super) fn new(port: u16, ends: Ends) -> Self {
        Self { port, ends, exchanges: Arc::default() }
    }
}

/// Where a request goes.
pub(super) struct Routed {
    dial: Dial,
    host: HeaderValue,
    by_host: bool,
}

impl Shared {
    /// Answers one request.
    pub(super) async fn answer(&self, client: &Client, request: Request<Incoming>) -> Response<Answer> {
        let log = self.logs_access.then(|| Entry::of(&request));
        let in_flight = client.exchanges.begin(log.clone());
        let is_http1 = request.version() < Version::HTTP_2;
        let is_grpc = is_grpc(&request);
        let mut close = self.draining.is_cancelled();
        let mut answer = match self.forward(client, in_flight, request).await {
            Ok(answer) => {
                self.metrics.answered(is_http1, None);
                answer
            }
            Err(failure) => {
                self.metrics.answered(is_http1, Some(&failure));
                match &failure {
                    Failure::Refused(refusal) => self.metrics.refused(refusal),
                    Failure::Unreadable(_) => self.metrics.malformed(),
                    _ => {}
                }
                self.failures.tell(&failure, client.port);
                // What such a client sends next may not be what it seems.
                close |= failure.side() == Side::Client;
                let flagged = log.map(|log| (log, failure.flag(), failure.dial().cloned()));
                let answer = failure.into_answer(is_grpc);
                if let Some((log, flag, dial)) = flagged {
                    log.failed(answer.status().as_u16(), flag, dial, answer.body().size_hint().lower());
                }
                answer
            }
        };
        if is_http1 && close && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn forward(
        &self,
        client: &Client,
        in_flight: InFlight,
        mut request: Request<Incoming>,
    ) -> Result<Response<Answer>, Failure> {
        let began = Instant::now();
        let version = if request.version() == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
        let client_side = (version == Version::HTTP_11).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        if version == Version::HTTP_2 && headers::list_bytes(&parts) > self.limits.request_head_bytes {
            return Err(Failure::Unreadable(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        let body = Passing::upload(body, in_flight.clone());
        let Routed { dial, host, by_host } = self.routed(client, &parts).map_err(Failure::Refused)?;

        let upgrade = headers::upgrade(parts.version, &parts.headers);
        let asked = client_side.filter(|_| upgrade.is_some());
        headers::for_upstream(&mut parts.headers, by_host, upgrade);
        parts.version = version;
        parts.extensions.clear();
        let before = began.elapsed();
        let Answered { mut response, held } = self.upstream.send(dial.clone(), &host, parts, body).await?;
        let answered = Instant::now();
        if let Some(log) = &in_flight.log {
            log.answered(response.status().as_u16(), dial.clone(), (answered - began).saturating_sub(before));
        }

        let mut switched_to = None;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            switched_to = headers::upgrade(response.version(), response.headers());
            let (Some(client_side), true) = (asked, switched_to.is_some()) else {
                return Err(Failure::SwitchedUnasked { dial });
            };
            let upstream_side = hyper::upgrade::on(&mut response);
            let (stop, limit) = (self.stop.clone(), self.limits.drain_in_flight);
            let tunnel = tunnel::splice(dial, client_side, upstream_side, stop, limit);
            let in_flight = in_flight.clone();
            self.tasks.spawn(async move {
                tunnel.await;
                drop(in_flight);
            });
        }
        let (mut parts, body) = response.into_parts();
        headers::for_client(&mut parts.headers, switched_to);
        parts.version = version;
        parts.extensions.clear();
        self.metrics.own_latency(before + answered.elapsed());
        Ok(Response::from_parts(parts, Either::Left(Passing::answer(body, in_flight, Some(held)))))
    }

    pub(super) fn routed(&self, client: &Client, parts: &Parts) -> Result<Routed, Refusal> {
        if parts.version < Version::HTTP_2 {
            client.exchanges.take_head(|raw| headers::check_framing(parts, raw))?;
        }
        self.guarded.believe(&parts.headers, client.ends)?;
        let head = headers::read(parts, client.port)?;
        let known = |namespace: &str, name: &str| self.services.contains(namespace, name);
        let route = route::route(&head, self.prefer_listener_port, known)?;
        self.guarded.admit(&route.dial, client.ends, client.port)?;
        let as_it_came = parts.headers.get(header::HOST).filter(|host| host.as_bytes() == route.host.as_bytes());
        let host = match as_it_came {
            Some(host) => host.clone(),
            None => HeaderValue::from_str(&route.host).map_err(|_| Refusal::NotText { header: "Host" })?,
        };
        Ok(Routed { dial: route.dial, host, by_host: route.by_host })
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| route::is_grpc(kind.as_bytes()))
}
