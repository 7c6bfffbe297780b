//! Settings that both a configuration and a compiled snapshot embed, with their defaults in one place.

use std::time::Duration;

/// Deadlines of one exchange or session. `Duration::ZERO` switches one off, except `head` and `drain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection to a backend is established, all its addresses together.
    pub connect: Duration,
    /// The whole request head, counted from its first byte (or from accept): not per byte.
    pub head: Duration,
    /// From the last byte of the request sent to the first byte of the response head.
    pub first_byte: Duration,
    /// Between two reads of a body that is being streamed, from either side.
    pub read: Duration,
    /// Between two writes that make progress, towards either side.
    pub write_progress: Duration,
    /// The whole exchange; off by default.
    pub request: Duration,
    /// A keep-alive connection without a request, and a TCP session without traffic.
    pub idle: Duration,
    /// An upgraded connection without traffic.
    pub tunnel: Duration,
    /// How long a drain waits for what is in flight.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            head: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            read: Duration::from_secs(30),
            write_progress: Duration::from_secs(30),
            request: Duration::ZERO,
            idle: Duration::from_secs(60),
            tunnel: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

/// What is spoken to the backends of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: agreed on by ALPN, or known beforehand where there is no TLS (RFC 9113 §3.3).
    Http2,
    /// What the backend chooses by ALPN; HTTP/1.1 where there is no TLS.
    Auto,
}

impl UpstreamProtocol {
    /// As in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "h1",
            Self::Http2 => "h2",
            Self::Auto => "auto",
        }
    }
}

/// Bounds on what a client may ask for. Every one has a key under `limits:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A request or response head, first line included. Above: 431.
    pub head_bytes_max: usize,
    /// Header fields of one head. Above: 431. At most [`Limits::FIELDS_CEILING`].
    pub fields_max: usize,
    /// The request target. Above: 414.
    pub target_bytes_max: usize,
    /// A request body. Above: 413. 0 = unlimited.
    pub body_bytes_max: u64,
    /// Client connections of the process. Above: accepting stops until one closes. 0 = unlimited.
    pub connections_max: usize,
    /// Client connections from one address. Above: closed at once. 0 = unlimited.
    pub connections_per_ip_max: usize,
    /// What is read and thrown away of a request body after an early response, before closing. Without it the
    /// client would lose the response to a reset; it is bounded in time (5 s without a byte, 30 s in total)
    /// anyway. 0 = unlimited.
    pub lingering_bytes_max: u64,
    /// Interim (1xx) responses that one exchange may carry (robustness BE-07).
    pub interim_responses_max: u32,
    /// TLS handshakes in progress in the process: each may hold what a client sends for a certificate, some tens of
    /// KiB. Above: closed at once.
    pub handshakes_max: usize,
    /// From the accepted connection to the end of its handshake (robustness §3).
    pub handshake_timeout: Duration,
    /// Of one connection of HTTP/2 with a client.
    pub http2: Http2Limits,
}

impl Limits {
    /// Dropped fields are a bit mask of 128 bits, so no head may have more fields.
    pub const FIELDS_CEILING: usize = 128;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 64 * 1024,
            fields_max: 100,
            target_bytes_max: 16 * 1024,
            body_bytes_max: 0,
            connections_max: 0,
            connections_per_ip_max: 0,
            lingering_bytes_max: 0,
            interim_responses_max: 8,
            handshakes_max: 8_192,
            handshake_timeout: Duration::from_secs(5),
            http2: Http2Limits::default(),
        }
    }
}

/// What one connection of HTTP/2 with a client is held to. Every one has a key under `limits.http2:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Streams that it may have open (SETTINGS_MAX_CONCURRENT_STREAMS). Above: refused.
    pub max_concurrent_streams: u32,
    /// Octets of one request that may be under way to a slower backend (SETTINGS_INITIAL_WINDOW_SIZE).
    pub stream_window: u32,
    /// Octets of all its requests that may be.
    pub connection_window: u32,
    /// Streams that the client resets, or makes us reset, within a `budget_window`. Above: the connection ends
    /// (robustness §2).
    pub resets_max: u32,
    /// Frames that make no progress, within a `budget_window`. Above: the connection ends.
    pub idle_frames_max: u32,
    /// How long is counted for the two above, from the first one on.
    pub budget_window: Duration,
    /// CONTINUATION frames of one field block. Above: the connection ends.
    pub continuations_max: u32,
    /// Requests after which it takes no more (GOAWAY in two steps; what is on its way is served). 0 = unlimited.
    pub requests_max: u32,
}

impl Http2Limits {
    /// The window that every peer uses until it knows ours (RFC 9113 §6.9.2).
    pub const WINDOW_MIN: u32 = 65_535;
    /// RFC 9113 §6.9.1.
    pub const WINDOW_MAX: u32 = (1 << 31) - 1;
}

impl Default for Http2Limits {
    /// The windows: 1 MiB a connection, of which four uploads at full speed take a quarter each.
    fn default() -> Self {
        Self {
            max_concurrent_streams: 128,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            resets_max: 200,
            idle_frames_max: 1_000,
            budget_window: Duration::from_secs(10),
            continuations_max: 32,
            requests_max: 0,
        }
    }
}

/// Idle upstream connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleSettings {
    /// Kept per backend and process, divided over the workers (at least 1 each). 0 = no reuse.
    pub max_idle_conns_per_host: usize,
    /// Closed after this long without use.
    pub idle_conn_timeout: Duration,
}

impl Default for IdleSettings {
    fn default() -> Self {
        Self {
            max_idle_conns_per_host: 100,
            idle_conn_timeout: Duration::from_secs(90),
        }
    }
}

/// How HTTP is read and forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolSettings {
    pub paths: PathPolicy,
    pub underscores_in_headers: UnderscorePolicy,
    /// Whether HTTP/2 is spoken with clients: by ALPN under TLS, by prior knowledge in the clear.
    pub enable_http2: bool,
    /// Whether an upgrade (WebSocket) may pass.
    pub enable_websocket: bool,
    /// Whether a client's FIN while its response is awaited ends the exchange.
    pub abort_on_close: bool,
}

impl Default for ProtocolSettings {
    fn default() -> Self {
        Self {
            paths: PathPolicy::Safe,
            underscores_in_headers: UnderscorePolicy::Drop,
            enable_http2: true,
            enable_websocket: true,
            abort_on_close: false,
        }
    }
}

/// What to do with paths that could walk round a prefix route (robustness SM-28): dot segments,
/// plain or encoded, `%2f`, `%5c` and `%00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPolicy {
    /// 400 for all of them.
    Safe,
    /// As `Safe`, and 400 for `//` and `;` too.
    Reject,
    /// Everything passes as it came.
    Off,
}

/// What to do with field names that contain `_` (robustness SM-24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderscorePolicy {
    Drop,
    Pass,
    /// 400.
    Reject,
}

/// A balancing algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    RoundRobin,
    WeightedRoundRobin,
    LeastConnections,
    WeightedLeastConnections,
    ConsistentHash,
    BoundedConsistentHash,
    Random,
    PowerOfTwoChoices,
}

impl Algorithm {
    /// All of them, with their names in the configuration.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("round-robin", Self::RoundRobin),
        ("weighted-round-robin", Self::WeightedRoundRobin),
        ("least-connections", Self::LeastConnections),
        ("weighted-least-connections", Self::WeightedLeastConnections),
        ("consistent-hash", Self::ConsistentHash),
        ("bounded-consistent-hash", Self::BoundedConsistentHash),
        ("random", Self::Random),
        ("power-of-two-choices", Self::PowerOfTwoChoices),
    ];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, algorithm)| *algorithm == self)
            .map_or("?", |(name, _)| name)
    }

    /// Whether a backend's weight decides how much it gets. Others send to any weight alike.
    pub fn uses_weights(self) -> bool {
        match self {
            Self::WeightedRoundRobin
            | Self::WeightedLeastConnections
            | Self::ConsistentHash
            | Self::BoundedConsistentHash => true,
            Self::RoundRobin | Self::LeastConnections | Self::Random | Self::PowerOfTwoChoices => {
                false
            }
        }
    }

    /// Whether a pick needs the hash of a key.
    pub fn needs_hash(self) -> bool {
        matches!(self, Self::ConsistentHash | Self::BoundedConsistentHash)
    }
}

/// What a hash algorithm hashes. A missing header falls back to the client's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum HashKey {
    #[default]
    SourceIp,
    /// The lower-case name of a request header.
    Header(String),
}

/// Which form of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyVersion {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}
