//! Bodies on their way through: bytes as they are, trailers without what ends here.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::access_log::Entry;
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
        let is_over = self.body.is_end_stream();
        if self.is_upload && !is_over {
            self.in_flight.leave_unread();
        }
        if let Some(log) = &self.in_flight.log
            && is_over
            && !self.is_upload
        {
            log.whole();
        }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let mut frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            headers::for_trailers(trailers);
        }
        if let Some(log) = &this.in_flight.log {
            note(log, this.is_upload, frame.as_ref());
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

/// Tells the access log what has passed.
fn note(log: &Entry, is_upload: bool, frame: Option<&Result<Frame<Bytes>, hyper::Error>>) {
    let bytes = match frame {
        Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
        Some(Err(_)) if !is_upload => return log.cut(),
        None if !is_upload => return log.whole(),
        Some(Err(_)) | None => return,
    };
    if is_upload { log.received(bytes) } else { log.sent(bytes) }
}
