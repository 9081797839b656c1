//! The bytes of an HTTP/2 connection, moved in large pieces. Its library reads and writes frame by frame, 16 KiB at most; here what has come is
//! read at once, and what it writes before it lets others work is written at once. Small frames pass as they are.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_util::io::poll_read_buf;

/// Bytes that wait in one direction; one frame more may be added to the last of them.
const MOST: usize = 64 * 1024;
/// What is flushed up to this size is written at once: little can be added to it.
const SMALL: usize = 4096;

/// A connection, with what lasts as long as it does.
#[derive(Debug)]
pub(super) struct Batched<With> {
    read: OwnedReadHalf,
    ahead: Ahead,
    write: Arc<OwnedWriteHalf>,
    out: Arc<Out>,
    writer: Option<AbortHandle>,
    _with: With,
}

/// Bytes that were read and not asked for yet.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Vec<u8>,
    taken: usize,
    /// As much came at last as there was room for.
    is_stream: bool,
}

#[derive(Debug, Default)]
struct Out {
    waiting: Mutex<Waiting>,
    more: Notify,
}

/// Bytes to be written, and who waits for that.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The writer has some more in its hands.
    is_writing: bool,
    failed: Option<io::ErrorKind>,
    task: Option<Waker>,
}

impl<With> Batched<With> {
    pub(super) fn new(tcp: TcpStream, with: With) -> Self {
        let (read, write) = tcp.into_split();
        let (ahead, out) = (Ahead::default(), Arc::default());
        Self { read, ahead, write: Arc::new(write), out, writer: None, _with: with }
    }

    /// The same after bytes that have been read already.
    pub(super) fn after(mut self, first: &[u8]) -> Self {
        self.ahead.bytes = first.to_vec();
        self
    }

    /// Lets the writer work; there is none as long as all that is written is small.
    fn wake_writer(&mut self) {
        if self.writer.is_none() {
            let writing = tokio::spawn(write(Arc::clone(&self.write), Arc::clone(&self.out)));
            self.writer = Some(writing.abort_handle());
        }
        self.out.more.notify_one();
    }

    fn poll_append(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut waiting = self.out.waiting();
        waiting.check()?;
        if waiting.bytes.len() >= MOST {
            waiting.task = Some(context.waker().clone());
            drop(waiting);
            self.wake_writer();
            return Poll::Pending;
        }
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if length > SMALL && waiting.bytes.capacity() < MOST {
            waiting.bytes.reserve(MOST + length);
        }
        for piece in pieces {
            waiting.bytes.extend_from_slice(piece);
        }
        Poll::Ready(Ok(length))
    }
}

impl<With> Drop for Batched<With> {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.abort();
        }
    }
}

impl Out {
    /// What it guards is whole at any moment.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// The next to be written, in exchange for an empty piece. Nothing is kept of what was allocated for more than there is.
    fn next(&mut self, mut empty: Vec<u8>) -> Vec<u8> {
        if self.bytes.is_empty() {
            empty = Vec::new();
        }
        std::mem::swap(&mut self.bytes, &mut empty);
        self.is_writing = !empty.is_empty();
        if let Some(task) = self.task.take() {
            task.wake();
        }
        empty
    }
}

/// Writes what waits, whenever there is more.
async fn write(tcp: Arc<OwnedWriteHalf>, out: Arc<Out>) {
    loop {
        out.more.notified().await;
        let mut piece = out.waiting().next(Vec::new());
        while !piece.is_empty() {
            if let Err(error) = write_all(&tcp, &piece).await {
                let mut waiting = out.waiting();
                waiting.failed = Some(error.kind());
                waiting.next(Vec::new());
                return;
            }
            piece.clear();
            piece = out.waiting().next(piece);
        }
    }
}

async fn write_all(tcp: &OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        tcp.writable().await?;
        match tcp.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Ahead {
    fn poll_fill(&mut self, context: &mut Context<'_>, tcp: &mut OwnedReadHalf) -> Poll<io::Result<()>> {
        self.taken = 0;
        self.bytes.clear();
        self.bytes.reserve(MOST);
        let read = poll_read_buf(Pin::new(tcp), context, &mut self.bytes);
        if let Poll::Ready(Ok(length)) = read {
            self.is_stream = length > MOST / 8;
        }
        if self.bytes.is_empty() {
            // Who waits needs no room.
            self.bytes = Vec::new();
        }
        read.map_ok(drop)
    }

    fn take_into(&mut self, buf: &mut ReadBuf<'_>) {
        let unread = self.bytes.get(self.taken..).unwrap_or_default();
        let length = unread.len().min(buf.remaining());
        buf.put_slice(unread.get(..length).unwrap_or_default());
        self.taken += length;
        if self.is_empty() && !self.is_stream {
            self.bytes = Vec::new();
        }
    }

    fn is_empty(&self) -> bool {
        self.taken >= self.bytes.len()
    }
}

impl<With: Unpin> AsyncRead for Batched<With> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            if !this.ahead.is_stream {
                let read = Pin::new(&mut this.read).poll_read(context, buf);
                this.ahead.is_stream = buf.remaining() == 0;
                return read;
            }
            ready!(this.ahead.poll_fill(context, &mut this.read))?;
        }
        this.ahead.take_into(buf);
        Poll::Ready(Ok(()))
    }
}

impl<With: Unpin> AsyncWrite for Batched<With> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_append(context, &[IoSlice::new(buf)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_append(context, pieces)
    }

    /// The writer does the rest: before the library is asked again it may have flushed some frames more.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut waiting = this.out.waiting();
        waiting.check()?;
        if waiting.bytes.len() <= SMALL && !waiting.is_writing {
            while !waiting.bytes.is_empty() {
                match this.write.try_write(&waiting.bytes) {
                    Ok(written) => drop(waiting.bytes.drain(..written)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
        let is_left = !waiting.bytes.is_empty();
        drop(waiting);
        if is_left {
            this.wake_writer();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut waiting = this.out.waiting();
        waiting.check()?;
        if waiting.bytes.is_empty() && !waiting.is_writing {
            return Poll::Ready(
                SockRef::from(AsRef::<TcpStream>::as_ref(&*this.write)).shutdown(std::net::Shutdown::Write),
            );
        }
        waiting.task = Some(context.waker().clone());
        drop(waiting);
        this.wake_writer();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (Batched<()>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Batched::new(listener.accept().await.unwrap().0, ()), far)
    }

    /// More than is held anywhere, no piece like the other.
    fn text() -> Vec<u8> {
        (0..300_000u32).flat_map(u32::to_be_bytes).collect()
    }

    #[tokio::test]
    async fn what_is_written_in_frames_arrives_in_order_and_whole() {
        let (mut near, mut far) = pair().await;
        let writing = async {
            for frame in text().chunks(16 * 1024) {
                near.write_all(frame).await.unwrap();
                near.flush().await.unwrap();
            }
            near.shutdown().await.unwrap();
        };
        let mut read = Vec::new();
        let reading = async { far.read_to_end(&mut read).await.unwrap() };
        tokio::join!(writing, reading);
        assert_eq!(read, text());
        let waiting = near.out.waiting();
        assert_eq!((waiting.bytes.capacity(), waiting.is_writing), (0, false));
    }

    #[tokio::test]
    async fn what_is_read_comes_in_order_and_whole_after_what_was_there_before() {
        let (near, mut far) = pair().await;
        let mut near = near.after(b"first");
        let writing = async {
            far.write_all(&text()).await.unwrap();
            far.shutdown().await.unwrap();
        };
        let mut read = Vec::new();
        let reading = async { near.read_to_end(&mut read).await.unwrap() };
        tokio::join!(writing, reading);
        assert_eq!(read, [b"first".to_vec(), text()].concat());
        assert_eq!(near.ahead.bytes.capacity(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_fails_the_next_write() {
        let (mut near, far) = pair().await;
        drop(far);
        let piece = vec![0; MOST];
        let failed = async {
            while near.write_all(&piece).await.is_ok() {
                near.flush().await.ok();
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), failed).await.unwrap();
    }
}
