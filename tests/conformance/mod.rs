//! Owns the conformance suite: what HTTP asks of a proxy, row by row, asked of our binary and of Envoy's original-destination proxy side by side.
//! Never looks inside either: both are processes, spoken to over sockets on loopback.
//! Next: `proxy` starts both, `table` compares; each other file is one table.

mod browser;
mod conn;
mod curl;
mod destination;
mod drain;
mod envoy;
mod failures;
mod grpc;
mod h2spec;
mod http1;
mod programs;
mod proxy;
mod streams;
mod table;
mod websocket;
