//! Access logs as a global-sidecar's Envoy sends them.

mod entries;
mod stream;

pub use entries::{IN_A_MESSAGE, messages};
pub use stream::{connect, send};
