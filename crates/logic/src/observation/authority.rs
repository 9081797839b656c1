//! Reads the host that a client wrote.

/// Why an authority names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Unreadable {
    /// For metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        "authority"
    }
}

/// The host without its port.
///
/// # Errors
/// There is none.
pub fn parse(authority: &str) -> Result<String, Unreadable> {
    let host = authority.split(':').next().unwrap_or_default();
    if host.is_empty() { Err(Unreadable) } else { Ok(host.to_owned()) }
}
