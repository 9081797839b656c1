//! Owns what every long-running command needs of its process: exit codes, logging, signals, readiness, listening addresses.
//! Never knows what the process is for.
//! Next: `run`, which composes the commands.

pub mod api_server;
pub mod clock;
pub mod exit;
pub mod listen;
pub mod log_file;
pub mod logging;
pub mod readiness;
pub mod signals;
