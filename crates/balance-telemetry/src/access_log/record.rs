//! What one line says, and its two encodings. Neither allocates beyond what the buffer needs to grow.

use std::io::Write;
use std::net::IpAddr;

use balance_core::Cause;

use super::escape::{push_bare, push_json, push_text};
use super::timestamp::TimestampCache;

/// One finished exchange, borrowed from wherever its parts are. Strings that do not apply are empty.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// Wall-clock time of the request's arrival, Unix milliseconds.
    pub ts_ms: u64,
    pub request_id: &'a [u8],
    pub trace_id: &'a [u8],
    /// The client address (after PROXY header and trusted proxies). `None` on a unix socket.
    pub client: Option<IpAddr>,
    pub listener: &'a str,
    pub route: &'a str,
    pub pool: &'a str,
    pub backend: &'a str,
    /// As received, not only the known ones.
    pub method: &'a [u8],
    pub host: &'a [u8],
    /// The request target as received, with its query.
    pub path: &'a [u8],
    /// `HTTP/1.1`, `HTTP/2.0` …
    pub protocol: &'a str,
    /// What the client was sent; 0 if nothing.
    pub status: u16,
    pub cause: Cause,
    /// From the client, head included.
    pub bytes_in: u64,
    /// To the client, head included.
    pub bytes_out: u64,
    /// From the first byte of the request to the last byte of the response, microseconds.
    pub duration_us: u64,
    pub phases: PhaseTimes,
    /// Tries at backends: 0 if none was picked.
    pub attempts: u32,
    /// For the text format only, as the combined format has them.
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
}

/// Where the time went, in microseconds. `None`: the exchange did not go through that phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimes {
    /// In the queue of a full pool.
    pub wait_us: Option<u64>,
    /// Opening a connection to the backend, without the handshake of TLS; `None` on a reused one.
    pub connect_us: Option<u64>,
    /// The TLS handshake with the backend; one that fails is a part of `connect_us`.
    pub tls_us: Option<u64>,
    /// From the request sent to the first byte of the response.
    pub first_byte_us: Option<u64>,
    /// From the first pick of a backend to the last byte from one.
    pub total_us: Option<u64>,
}

impl AccessRecord<'_> {
    /// Appends a line in the combined format and, behind it, what a proxy adds. Times are seconds.
    pub fn encode_text(&self, timestamps: &mut TimestampCache, out: &mut Vec<u8>) {
        self.push_client(out);
        out.extend_from_slice(b" - - [");
        timestamps.push_combined(self.ts_ms, out);
        out.extend_from_slice(b"] \"");
        push_text(self.method, out);
        out.push(b' ');
        push_text(self.path, out);
        out.push(b' ');
        push_text(self.protocol.as_bytes(), out);
        out.extend_from_slice(b"\" ");
        push_integer(u64::from(self.status), out);
        out.push(b' ');
        push_integer(self.bytes_out, out);
        for field in [self.referer, self.user_agent] {
            out.extend_from_slice(b" \"");
            push_text(if field.is_empty() { b"-" } else { field }, out);
            out.push(b'"');
        }
        for (name, field) in [
            (" host=", self.host),
            (" listener=", self.listener.as_bytes()),
            (" route=", self.route.as_bytes()),
            (" pool=", self.pool.as_bytes()),
            (" backend=", self.backend.as_bytes()),
            (" cause=", self.cause.name().as_bytes()),
            (" request_id=", self.request_id),
            (" trace_id=", self.trace_id),
        ] {
            out.extend_from_slice(name.as_bytes());
            push_bare(field, out);
        }
        out.extend_from_slice(b" bytes_in=");
        push_integer(self.bytes_in, out);
        out.extend_from_slice(b" attempts=");
        push_integer(u64::from(self.attempts), out);
        out.extend_from_slice(b" duration=");
        push_seconds(self.duration_us, out);
        for (name, time) in self.phases.named() {
            out.push(b' ');
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            match time {
                Some(micros) => push_seconds(micros, out),
                None => out.push(b'-'),
            }
        }
        out.push(b'\n');
    }

    /// Appends a line with one JSON object. The names are stable and all are always there; times are
    /// seconds, `null` for a phase that was not gone through.
    pub fn encode_json(&self, timestamps: &mut TimestampCache, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ts\":\"");
        timestamps.push_rfc3339(self.ts_ms, out);
        out.push(b'"');
        push_member("request_id", self.request_id, out);
        push_member("trace_id", self.trace_id, out);
        push_name("client", out);
        out.push(b'"');
        self.push_client(out);
        out.push(b'"');
        for (name, field) in [
            ("listener", self.listener.as_bytes()),
            ("route", self.route.as_bytes()),
            ("pool", self.pool.as_bytes()),
            ("backend", self.backend.as_bytes()),
            ("method", self.method),
            ("host", self.host),
            ("path", self.path),
            ("protocol", self.protocol.as_bytes()),
        ] {
            push_member(name, field, out);
        }
        push_name("status", out);
        push_integer(u64::from(self.status), out);
        push_member("cause", self.cause.name().as_bytes(), out);
        push_name("bytes_in", out);
        push_integer(self.bytes_in, out);
        push_name("bytes_out", out);
        push_integer(self.bytes_out, out);
        push_name("duration", out);
        push_seconds(self.duration_us, out);
        for (name, time) in self.phases.named() {
            push_name(name, out);
            match time {
                Some(micros) => push_seconds(micros, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        push_name("attempts", out);
        push_integer(u64::from(self.attempts), out);
        out.extend_from_slice(b"}\n");
    }

    fn push_client(&self, out: &mut Vec<u8>) {
        match self.client {
            Some(ip) => write!(out, "{ip}").expect("writing to a Vec cannot fail"),
            None => out.extend_from_slice(b"unix:"),
        }
    }
}

impl PhaseTimes {
    /// Opening connections took `opening_us` (0: none was opened), of which `tls_us` were handshakes that succeeded.
    pub fn of_opening(opening_us: u64, tls_us: Option<u64>) -> Self {
        let connect_us = opening_us.saturating_sub(tls_us.unwrap_or(0));
        Self {
            connect_us: (opening_us != 0).then_some(connect_us),
            tls_us,
            ..Self::default()
        }
    }

    fn named(&self) -> [(&'static str, Option<u64>); 5] {
        [
            ("wait", self.wait_us),
            ("connect", self.connect_us),
            ("tls", self.tls_us),
            ("first_byte", self.first_byte_us),
            ("total", self.total_us),
        ]
    }
}

fn push_member(name: &str, field: &[u8], out: &mut Vec<u8>) {
    push_name(name, out);
    out.push(b'"');
    push_json(field, out);
    out.push(b'"');
}

fn push_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn push_integer(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Microseconds as seconds with six decimals.
fn push_seconds(micros: u64, out: &mut Vec<u8>) {
    push_integer(micros / 1_000_000, out);
    out.push(b'.');
    let mut decimals = *b"000000";
    let mut rest = micros % 1_000_000;
    for digit in decimals.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    out.extend_from_slice(&decimals);
}
