//! The nine standard methods, and everything else.

/// A request method as labels and tables see it (RFC 9110 §9, RFC 5789). The bytes of an unknown
/// method stay in the request head; no label is built from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other,
}

impl Method {
    /// How many values there are, for tables.
    pub const COUNT: usize = 10;

    /// Methods are case-sensitive (RFC 9110 §9.1).
    pub fn parse(bytes: &[u8]) -> Self {
        match bytes {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// The label value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other => "other",
        }
    }

    /// Whether repeating it has the intended effect of sending it once (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Method;

    #[test]
    fn post_and_unknown_methods_are_not_idempotent() {
        assert!(Method::parse(b"PUT").is_idempotent());
        for name in [&b"POST"[..], b"PATCH", b"CONNECT", b"get", b"PURGE"] {
            assert!(!Method::parse(name).is_idempotent());
        }
    }
}
