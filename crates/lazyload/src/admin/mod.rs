//! Owns what a controller tells about itself: health, metrics, log level.
//! Never decides and never changes what is known about the cluster.
//! Next: `server` for the endpoints, `metrics` for what they count.

pub mod metrics;
mod prometheus;
pub mod server;
