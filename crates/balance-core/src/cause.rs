//! How an exchange or a session ended: exactly one [`Cause`] each, with one name in the access log,
//! the metric, the trace and (where RFC 9209 knows it) Proxy-Status.

/// Who is to blame. A backend's health only learns from `Upstream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody: it completed, or an operator's rule decided.
    None,
    Downstream,
    Upstream,
    Us,
}

macro_rules! causes {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $fault:ident, $registered:literal; )*) => {
        /// How an exchange ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Cause { $( $(#[$doc])* $variant, )* }

        impl Cause {
            /// All of them, in the order of their discriminants.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The one name of this cause, in `snake_case`.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// The status of our own error response, when one can still be sent; 0 where none is sent.
            pub fn status(self) -> u16 {
                match self { $( Self::$variant => $status, )* }
            }

            /// Who is to blame.
            pub fn fault(self) -> Fault {
                match self { $( Self::$variant => Fault::$fault, )* }
            }

            /// Whether RFC 9209 §2.3 registers the name as a proxy error type. The others go into `details`.
            pub fn is_registered(self) -> bool {
                match self { $( Self::$variant => $registered, )* }
            }
        }
    };
}

causes! {
    /// The whole response reached the client.
    Completed = "completed", 0, None, false;
    DnsError = "dns_error", 502, Upstream, true;
    DnsTimeout = "dns_timeout", 504, Upstream, true;
    /// No backend of the pool may be picked.
    DestinationUnavailable = "destination_unavailable", 503, Upstream, true;
    ConnectionRefused = "connection_refused", 502, Upstream, true;
    /// The backend closed before it answered.
    ConnectionTerminated = "connection_terminated", 502, Upstream, true;
    ConnectionTimeout = "connection_timeout", 504, Upstream, true;
    /// The backend went silent in the middle of its response.
    ConnectionReadTimeout = "connection_read_timeout", 504, Upstream, true;
    /// The backend does not take the request.
    ConnectionWriteTimeout = "connection_write_timeout", 504, Upstream, true;
    ConnectionLimitReached = "connection_limit_reached", 503, Us, true;
    TlsProtocolError = "tls_protocol_error", 502, Upstream, true;
    TlsCertificateError = "tls_certificate_error", 502, Upstream, true;
    /// The request is malformed or could be read two ways.
    HttpRequestError = "http_request_error", 400, Downstream, true;
    HttpRequestDenied = "http_request_denied", 403, None, true;
    /// The backend's response broke off.
    HttpResponseIncomplete = "http_response_incomplete", 502, Upstream, true;
    /// No response head within `first_byte`, or the whole exchange took longer than `request`.
    HttpResponseTimeout = "http_response_timeout", 504, Upstream, true;
    HttpProtocolError = "http_protocol_error", 502, Upstream, true;
    HttpUpgradeFailed = "http_upgrade_failed", 502, Upstream, true;
    ProxyInternalError = "proxy_internal_error", 500, Us, true;
    ProxyLoopDetected = "proxy_loop_detected", 508, Us, true;

    /// No route matched and the listener has no pool.
    NoRoute = "no_route", 404, None, false;
    RequestTooLarge = "request_too_large", 413, Downstream, false;
    /// The client closed or reset before its response was complete.
    ClientClosed = "client_closed", 0, Downstream, false;
    /// The client was too slow: its head, its body, or in taking the response.
    ClientTimeout = "client_timeout", 408, Downstream, false;
    RateLimited = "rate_limited", 429, None, false;
    Blocked = "blocked", 403, None, false;
    Draining = "draining", 503, Us, false;
    QueueTimeout = "queue_timeout", 503, Us, false;
    QueueFull = "queue_full", 503, Us, false;
    CircuitOpen = "circuit_open", 503, Upstream, false;
    Overloaded = "overloaded", 503, Us, false;
    /// The backend reset a running response or session.
    AbortedByUpstream = "aborted_by_upstream", 502, Upstream, false;
    TlsHandshakeFailed = "tls_handshake_failed", 0, Downstream, false;
    /// The connection should have begun with a PROXY header, and did not.
    ProxyHeaderInvalid = "proxy_header_invalid", 0, Downstream, false;
    /// The request is for another host than the connection's certificate.
    Misdirected = "misdirected_request", 421, Downstream, false;
}

impl Cause {
    /// How many there are, for tables.
    pub const COUNT: usize = Self::ALL.len();

    /// The position in [`Cause::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Cause;

    #[test]
    fn names_are_unique_and_positions_match() {
        for (index, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(cause.index(), index);
            assert!(
                Cause::ALL
                    .iter()
                    .filter(|other| other.name() == cause.name())
                    .count()
                    == 1
            );
        }
    }
}
