//! A client's connection: which protocol it speaks, how long it may take over a request head, and how long it may rest between requests.
//! hyper's own timer for heads knows one time for both, and costs an allocation and two locks with each request.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::access_log::Entry;
use super::gather;
use super::limits::Limits;
use super::unread;

/// What a client of HTTP/2 with prior knowledge sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for the first bytes: most request heads fit.
const FIRST_BYTES: usize = 4096;
/// A buffer for heads is kept between requests up to this size.
const HEAD_KEPT: usize = 4096;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Reads until the protocol is certain. Nothing if the client leaves, or is too slow, before that.
pub(super) async fn detect(tcp: &mut TcpStream, limits: &Limits) -> io::Result<Option<(Protocol, Bytes)>> {
    let mut first = BytesMut::with_capacity(FIRST_BYTES);
    loop {
        let limit = if first.is_empty() { limits.client_idle } else { limits.request_head };
        let read = tokio::time::timeout(limit, tcp.read_buf(&mut first)).await;
        let Ok(read) = read else { return Ok(None) };
        let begins_like = first.iter().zip(PREFACE).all(|(byte, expected)| byte == expected);
        match read? {
            0 if first.is_empty() => return Ok(None),
            0 => return Ok(Some((Protocol::Http1, first.freeze()))),
            _ if !begins_like => return Ok(Some((Protocol::Http1, first.freeze()))),
            _ if first.len() >= PREFACE.len() => return Ok(Some((Protocol::Http2, first.freeze()))),
            _ => {}
        }
    }
}

/// What one connection's exchanges and its bytes tell each other.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    in_flight: AtomicUsize,
    /// How many have begun.
    begun: AtomicUsize,
    /// A request was answered before all of its body had come.
    left_unread: AtomicBool,
    /// The bytes that came while nothing was in flight: the request head that is being read. Kept for HTTP/1 only.
    head: Mutex<Vec<u8>>,
}

impl Exchanges {
    /// Something of a request is on its way, until the guard is dropped; `log` is told of it.
    pub(super) fn begin(self: &Arc<Self>, log: Option<Arc<Entry>>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::Relaxed);
        InFlight { exchanges: Arc::clone(self), log }
    }

    fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) == 0
    }

    /// Some of a request's body is not read, and may still be coming.
    pub(super) fn leave_unread(&self) {
        self.left_unread.store(true, Ordering::Relaxed);
    }

    /// A head has begun that nobody has looked at: it is incomplete, or none.
    fn has_unread_head(&self) -> bool {
        self.is_idle() && !self.head.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Looks at the raw bytes of the head just read, and forgets them. They may be more than the head; they are less if its start came
    /// before the previous exchange had ended (pipelining).
    pub(super) fn take_head<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = look(&head);
        head.clear();
        head.shrink_to(HEAD_KEPT);
        seen
    }
}

/// A part of an exchange that is not over.
#[derive(Debug)]
pub(super) struct InFlight {
    exchanges: Arc<Exchanges>,
    /// The request's line in the access log, if there is one.
    pub(super) log: Option<Arc<Entry>>,
}

impl InFlight {
    /// See [`Exchanges::leave_unread`].
    pub(super) fn leave_unread(&self) {
        self.exchanges.leave_unread();
    }
}

impl Clone for InFlight {
    fn clone(&self) -> Self {
        self.exchanges.begin(self.log.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.exchanges.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The bytes of a client's connection that speaks HTTP/1, the first of which have been read already.
pub(super) struct Downstream {
    tcp: TcpStream,
    first: Bytes,
    /// An answer of ours in place of the library's, as far as it is not written yet.
    unsent: Bytes,
    heads: Heads,
    rest: Rest,
}

struct Heads {
    exchanges: Arc<Exchanges>,
    limit: Duration,
    bytes: usize,
    /// Runs while a head has begun and is not complete.
    timer: Option<Pin<Box<Sleep>>>,
    linger: Duration,
    /// Runs while what the client still sends is thrown away.
    lingering: Option<Pin<Box<Sleep>>>,
}

/// How long nothing has been asked. Looked at from time to time: a connection rests for the limit at least, for twice as long at most.
struct Rest {
    limit: Duration,
    look: Pin<Box<Sleep>>,
    /// How many exchanges had begun at the last look, if none was in flight.
    begun: Option<usize>,
}

impl Downstream {
    pub(super) fn new(tcp: TcpStream, first: Bytes, exchanges: Arc<Exchanges>, limits: &Limits) -> Self {
        let heads = Heads {
            exchanges,
            limit: limits.request_head,
            bytes: limits.request_head_bytes,
            timer: None,
            linger: limits.linger,
            lingering: None,
        };
        let look = Box::pin(tokio::time::sleep(limits.client_idle));
        let rest = Rest { limit: limits.client_idle, look, begun: None };
        Self { tcp, first, unsent: Bytes::new(), heads, rest }
    }

    /// Takes an answer of the library's out of its hands, to say why. True if these bytes were one.
    fn takes_over(&mut self, written: &[u8]) -> bool {
        if !self.heads.exchanges.has_unread_head() {
            return false;
        }
        let Some(answer) = unread::in_words(written) else { return false };
        self.heads.exchanges.leave_unread();
        self.unsent = answer;
        true
    }

    fn poll_unsent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.tcp).poll_write(context, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unsent.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Throws away what still comes: a connection that is closed with unread bytes is reset, and the answer may be lost with it.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let heads = &mut self.heads;
        if !heads.exchanges.left_unread.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        let linger = heads.linger;
        let timer = heads.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(linger)));
        let mut thrown_away = [0; 8 * 1024];
        loop {
            if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut buf = ReadBuf::new(&mut thrown_away);
            let read = ready!(Pin::new(&mut self.tcp).poll_read(context, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl Rest {
    /// Nothing came. Ready if nothing was in flight since the last look.
    fn poll_over(&mut self, context: &mut Context<'_>, exchanges: &Exchanges) -> Poll<()> {
        while self.look.as_mut().poll(context).is_ready() {
            let begun = exchanges.is_idle().then(|| exchanges.begun.load(Ordering::Relaxed));
            if begun.is_some() && begun == self.begun {
                return Poll::Ready(());
            }
            self.begun = begun;
            self.look.as_mut().reset(Instant::now() + self.limit);
        }
        Poll::Pending
    }
}

impl Heads {
    fn came(&mut self, bytes: &[u8]) {
        if !self.exchanges.is_idle() {
            return;
        }
        let mut head = self.exchanges.head.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.bytes.saturating_sub(head.len());
        head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Nothing came. Ready if a head is incomplete for too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let is_idle = self.exchanges.is_idle();
        let begun = is_idle && !self.exchanges.head.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if !begun {
            self.timer = None;
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        timer.as_mut().poll(context)
    }
}

impl AsyncRead for Downstream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = if this.first.is_empty() {
            Pin::new(&mut this.tcp).poll_read(context, buf)
        } else {
            let part = this.first.split_to(this.first.len().min(buf.remaining()));
            buf.put_slice(part.chunk());
            Poll::Ready(Ok(()))
        };
        let late = |what: &'static str| Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)));
        match read {
            Poll::Ready(Ok(())) => {
                this.heads.came(buf.filled().get(before..).unwrap_or_default());
                read
            }
            Poll::Pending if this.heads.poll_late(context).is_ready() => {
                late("the request head is not complete in time")
            }
            Poll::Pending if this.rest.poll_over(context, &this.heads.exchanges).is_ready() => {
                late("no request for long")
            }
            _ => read,
        }
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(context))?;
        if this.takes_over(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut this.tcp).poll_write(context, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(context))?;
        Pin::new(&mut this.tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(context))?;
        ready!(Pin::new(&mut this.tcp).poll_shutdown(context))?;
        this.poll_linger(context).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(context))?;
        if let [only] = bufs
            && this.takes_over(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        gather::poll_write(&mut this.tcp, context, bufs)
    }
}
