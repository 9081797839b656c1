//! What is measured: one row for each shape of load.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Http1,
    Http2,
}

/// One shape of load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Row {
    pub protocol: Protocol,
    /// Bytes of an answer.
    pub bytes: usize,
    pub connections: usize,
    /// Requests in flight on each connection.
    pub streams: usize,
    /// A new connection for each request.
    pub churn: bool,
}

pub const SIZES: [usize; 2] = [100, 64 * 1024];

impl Row {
    pub fn all() -> Vec<Self> {
        let mut rows = Vec::new();
        for protocol in [Protocol::Http1, Protocol::Http2] {
            for bytes in SIZES {
                let row = Self { protocol, bytes, connections: 1, streams: 1, churn: false };
                rows.extend([1, 64, 1000].map(|connections| Self { connections, ..row }));
                if protocol == Protocol::Http2 {
                    rows.push(Self { streams: 64, ..row });
                }
            }
            rows.push(Self { protocol, bytes: SIZES[0], connections: 64, streams: 1, churn: true });
        }
        rows
    }

    pub fn name(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "h2c",
        };
        let size = if self.bytes < 1024 { format!("{} B", self.bytes) } else { format!("{} KiB", self.bytes / 1024) };
        let shape = match (self.churn, self.streams) {
            (true, _) => format!("{} at a time, a connection each", self.connections),
            (false, 1) if self.connections == 1 => "1 connection".to_owned(),
            (false, 1) => format!("{} connections", self.connections),
            (false, streams) => format!("{} connection, {streams} streams", self.connections),
        };
        format!("{protocol}, {size}, {shape}")
    }
}
