//! The life of one request: read its head, decide its route, send it on, pass the answer back. Bodies stream both ways, with trailers.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use lazyload_logic::route::{self, Refusal};

use super::Shared;
use super::failure::Failure;
use super::{headers, tunnel};

/// The destination's body, or a text of our own.
pub(super) type Answer = Either<Incoming, Full<Bytes>>;

impl Shared {
    /// Answers one request that came on `listener_port`.
    pub(super) async fn answer(&self, listener_port: u16, request: Request<Incoming>) -> Response<Answer> {
        let mut answer = match self.forward(listener_port, request).await {
            Ok(answer) => answer,
            Err(failure) => {
                let (side, status) = (failure.side().as_str(), failure.status().as_u16());
                tracing::warn!(side, status, reason = failure.reason(), "request failed");
                failure.into_answer()
            }
        };
        if self.draining.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn forward(&self, listener_port: u16, mut request: Request<Incoming>) -> Result<Response<Answer>, Failure> {
        let client_side = hyper::upgrade::on(&mut request);
        let (mut parts, body) = request.into_parts();
        let head = headers::read(&parts, listener_port).map_err(Failure::Refused)?;
        let route =
            route::route(&head, self.prefer_listener_port, |namespace, name| self.services.contains(namespace, name))
                .map_err(Failure::Refused)?;
        let host = HeaderValue::from_str(&route.host);
        let host = host.map_err(|_| Failure::Refused(Refusal::NotText { header: "Host" }))?;
        let (dial, by_host) = (route.dial, route.by_host);

        let upgrade = headers::upgrade(parts.version, &parts.headers);
        let asked = upgrade.is_some();
        headers::for_upstream(&mut parts.headers, host, by_host, upgrade);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let mut response = self.upstream.send(dial.clone(), parts, body).await?;

        let mut switched_to = None;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            switched_to = headers::upgrade(response.version(), response.headers());
            if !asked || switched_to.is_none() {
                return Err(Failure::SwitchedUnasked { dial });
            }
            let upstream_side = hyper::upgrade::on(&mut response);
            let (stop, limit) = (self.stop.clone(), self.limits.drain_in_flight);
            self.tasks.spawn(tunnel::splice(dial, client_side, upstream_side, stop, limit));
        }
        let (mut parts, body) = response.into_parts();
        headers::for_client(&mut parts.headers, switched_to);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        Ok(Response::from_parts(parts, Either::Left(body)))
    }
}
