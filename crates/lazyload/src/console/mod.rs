//! Owns the console: a page for people who look at a running controller, and the answers that it asks for. Read-only, and off the network unless
//! somebody puts it there.
//! Never decides, counts or stores anything: what it shows is `lazyload_logic::report`, asked of the engine in small pages, and only while somebody looks.
//! Next: `server` for the paths, `door` for who is let in, `window` for how the engine is asked, `stream` for what is told live, `page` for what a
//! browser gets.

mod answers;
mod door;
mod files;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod window;

pub use server::{Console, serve, timelines};
pub(crate) use window::Asked;
pub use window::{Viewed, window};
