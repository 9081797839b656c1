//! The last word before a write: a client whose writing requests go out only while this process leads. A leader that was cut off, stopped
//! (`SIGSTOP`, a frozen cgroup) or starved may wake up with writes in hand long after another has taken over; it finds the gate closed.

use std::future::poll_fn;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tower_service::Service;

use super::Lead;

/// A write that was held back.
#[derive(Debug, thiserror::Error)]
#[error("this replica does not lead, or cannot be sure that it does")]
struct NotLeading;

/// A client that reads as the given one does, and writes only while `lead` holds.
#[must_use]
pub(crate) fn gated(client: &Client, lead: Lead) -> Client {
    let default_namespace = client.default_namespace().to_owned();
    Client::new(Gate { client: client.clone(), lead }, default_namespace)
}

struct Gate {
    client: Client,
    lead: Lead,
}

impl Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, lead) = (self.client.clone(), self.lead.clone());
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        Box::pin(async move {
            let mut sent = Box::pin(client.send(request));
            // Asked again at each step of the way: a request may wait for its turn, or be tried again by the client.
            poll_fn(|context| {
                if !reads && !lead.holds() {
                    return Poll::Ready(Err(NotLeading.into()));
                }
                sent.poll_unpin(context).map_err(Into::into)
            })
            .await
        })
    }
}
