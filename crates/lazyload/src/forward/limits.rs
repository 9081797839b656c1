//! How long and how much: each limit with its reason.

use std::time::Duration;

/// Limits of a forwarder. There is none on the time that an upstream takes to answer, nor on the length of an answer: the mesh's own
/// routes decide that, and the fallback route has no timeout (long polls must live).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Resolving a name and connecting; then 504.
    pub connect: Duration,
    /// Connections of clients; more wait to be accepted.
    pub client_connections: usize,
    /// Connections to all destinations; a request that finds no room within the connect limit gets 503.
    pub upstream_connections: usize,
    /// Connections to one destination: a slow one does not use up the others' room.
    pub upstream_connections_per_destination: usize,
    /// An upstream connection unused for so long is closed. Below the five seconds of some servers nothing would be pooled; above, the
    /// occasional stale connection is met by a retry.
    pub pool_idle: Duration,
    /// Unused connections kept to one destination; more than so many busy clients of one would make connections all the time.
    pub pool_per_destination: usize,
    /// Streams on one upstream connection before another is opened; fewer if the destination says so. What Envoy allows by default.
    pub streams_per_upstream_connection: usize,
    /// Streams that a client may have open on one connection.
    pub streams_per_client_connection: u32,
    /// Bytes of one stream that may be on their way without being read by the other side.
    pub stream_window: u32,
    /// Same, for all streams of a connection: so many slow streams do not stop the others.
    pub connection_window: u32,
    /// Bytes of one stream that wait here to be written.
    pub send_buffer: usize,
    /// Bytes that one direction of an HTTP/1.1 connection may hold here, and the longest head of an answer.
    pub buffer: usize,
    /// A silent HTTP/2 connection with open streams is asked so often whether it is there.
    pub ping_every: Duration,
    /// How long it may take to answer that.
    pub ping_timeout: Duration,
    /// A client connection without a request for so long is closed, or somewhat later. Longer than the hour after which Envoy itself closes, so that it never
    /// sends a request into a connection that is just being closed here.
    pub client_idle: Duration,
    /// A request head whose first byte has come must be complete after so long: slow clients.
    pub request_head: Duration,
    /// Bytes of a request head, then 431. Envoy, in front of us, stops at 60 KiB.
    pub request_head_bytes: usize,
    /// A client that was answered before it had sent everything may go on sending for so long before its connection is closed: a close
    /// with unread bytes would reset the connection, and take the answer with it.
    pub linger: Duration,
    /// While draining, how long connections are still accepted: the time in which the mesh learns that the endpoint is gone.
    pub drain_grace: Duration,
    /// How long requests in flight may take after that; with the grace 25 s, within the 30 s that Kubernetes gives a pod.
    pub drain_in_flight: Duration,
    /// First pause before a port that could not be opened is tried again; doubles up to [`Limits::bind_retry_max`].
    pub bind_retry: Duration,
    /// Longest such pause.
    pub bind_retry_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            client_connections: 16_384,
            upstream_connections: 16_384,
            upstream_connections_per_destination: 4096,
            pool_idle: Duration::from_secs(60),
            pool_per_destination: 1024,
            streams_per_upstream_connection: 100,
            streams_per_client_connection: 1024,
            stream_window: 256 * 1024,
            connection_window: 16 * 1024 * 1024,
            send_buffer: 256 * 1024,
            buffer: 64 * 1024,
            ping_every: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            client_idle: Duration::from_secs(65 * 60),
            request_head: Duration::from_secs(60),
            request_head_bytes: 64 * 1024,
            linger: Duration::from_secs(5),
            drain_grace: Duration::from_secs(5),
            drain_in_flight: Duration::from_secs(20),
            bind_retry: Duration::from_millis(500),
            bind_retry_max: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// What HTTP/2 may carry as one head. The library answers what is longer without a word; we do what is longer than
    /// [`Limits::request_head_bytes`] with one, and a client that is told this limit does not send more.
    pub(super) fn head_list_bytes(&self) -> u32 {
        u32::try_from(2 * self.request_head_bytes).unwrap_or(u32::MAX)
    }
}
