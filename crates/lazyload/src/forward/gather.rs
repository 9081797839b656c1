//! Small writes in one piece.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// A head and a short body fit.
const SMALL: usize = 1024;

/// Writes what may be in several pieces. To copy a few bytes is cheaper than to have the system read a list of pieces.
pub(super) fn poll_write(
    tcp: &mut TcpStream,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut flat = [0; SMALL];
    let mut length = 0;
    for piece in pieces {
        let Some(room) = flat.get_mut(length..length + piece.len()) else {
            return Pin::new(tcp).poll_write_vectored(context, pieces);
        };
        room.copy_from_slice(piece);
        length += piece.len();
    }
    Pin::new(tcp).poll_write(context, flat.get(..length).unwrap_or_default())
}
