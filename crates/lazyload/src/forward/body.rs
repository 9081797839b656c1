//! Bodies on their way through: bytes as they are, trailers without what ends here.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::downstream::InFlight;
use super::headers;
use super::upstream::Held;

/// A body that is passed on, and what lasts as long as it does.
#[derive(Debug)]
pub(super) struct Passing {
    body: Incoming,
    is_upload: bool,
    in_flight: InFlight,
    _held: Option<Held>,
}

impl Passing {
    /// The body of a request.
    pub(super) fn upload(body: Incoming, in_flight: InFlight) -> Self {
        Self { body, is_upload: true, in_flight, _held: None }
    }

    /// The body of an answer.
    pub(super) fn answer(body: Incoming, in_flight: InFlight, held: Option<Held>) -> Self {
        Self { body, is_upload: false, in_flight, _held: held }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if self.is_upload && !self.body.is_end_stream() {
            self.in_flight.leave_unread();
        }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut frame = ready!(Pin::new(&mut self.get_mut().body).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            headers::for_trailers(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
