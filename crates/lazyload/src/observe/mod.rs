//! Owns what is learned from: the access logs that the mesh's proxies send (the gRPC server, the scan of each message, what is passed on
//! of it), Prometheus, and what proxies say of their Sidecars.
//! Never decides who a caller is or what a call means: `lazyload_logic::observation` says what an entry tells, the state the rest.
//! Next: `door` for who is let in, `server` for the life of a stream, `intake` for the life of a message, `marks` for who is heard, `relay` for what the other replicas are told,
//! `busy` for how often pairs are seen, `on_the_way` for how late they come, `client` for the demo's simulated proxy, `prometheus`, `proxies`.

mod busy;
pub(crate) mod codec;
mod counters;
mod door;
mod fields;
mod intake;
mod marks;
mod on_the_way;
mod places;
pub(crate) mod relay;
mod same;
mod scan;
mod seen;
mod sender;
mod server;
mod wire;

pub(crate) mod client;
pub(crate) mod prometheus;
pub(crate) mod proxies;

#[cfg(test)]
mod attacked;
#[cfg(test)]
mod conversation;
#[cfg(test)]
mod secured;

pub(crate) use counters::Counters;
pub(crate) use door::{Door, Refused};
pub(crate) use server::{ObserveError, serve};

/// Envoy's access-log service.
const SERVICE: &str = "envoy.service.accesslog.v3.AccessLogService";
/// Its only method.
const METHOD: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
