//! Responses that Balance makes itself: a route's redirect or direct response, and errors.

use balance_core::Cause;
use balance_proto::authority::{host_of, port_of};
use balance_proto::http1::RequestError;
use balance_proto::hygiene::HygieneError;
use balance_proto::{FieldName, FieldValue, RequestView};

/// `redirect:` of a route. Parts that are `None` come from the request.
#[derive(Clone, Debug, Default)]
pub struct Redirect {
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<String>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// `respond:` of a route.
#[derive(Clone, Debug, Default)]
pub struct Respond {
    pub status: u16,
    pub body: Vec<u8>,
    pub content_type: String,
    /// Names and values; control checks them with [`Respond::check_header`].
    pub headers: Vec<(String, String)>,
}

impl Redirect {
    /// RFC 9110 §10.2.2: where to go instead. What was not configured is taken from the request.
    pub(crate) fn response_to<V: RequestView>(&self, request: &V) -> OwnResponse {
        let authority = request.authority();
        // `*` (of OPTIONS) is no path to send anybody to.
        let requested = match request.path_and_query() {
            b"*" => b"/",
            path => path,
        };
        let path = self.path.as_ref().map_or(requested, String::as_bytes);
        let host = self
            .host
            .as_ref()
            .map_or_else(|| host_of(authority), String::as_bytes);
        if host.is_empty() {
            // HTTP/1.0 without Host: only the path is known. `//evil.example` would be read as a host.
            if path.starts_with(b"//") {
                return OwnResponse::bad_request("the request names no host");
            }
            return OwnResponse::redirect(self.status, path.to_vec());
        }
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme().name());
        let mut location = Vec::with_capacity(scheme.len() + host.len() + path.len() + 9);
        location.extend_from_slice(scheme.as_bytes());
        location.extend_from_slice(b"://");
        location.extend_from_slice(host);
        // Another scheme or host has its own port; the request's says nothing about it.
        let keeps_port = self.scheme.is_none() && self.host.is_none();
        if let Some(port) = self
            .port
            .or_else(|| port_of(authority).filter(|_| keeps_port))
        {
            location.push(b':');
            location.extend(port.to_string().bytes());
        }
        location.extend_from_slice(path);
        OwnResponse::redirect(self.status, location)
    }
}

impl Respond {
    /// Whether a header can be sent as it is.
    pub fn check_header(name: &str, value: &str) -> bool {
        FieldName::new(name.as_bytes()).is_ok() && FieldValue::new(value.as_bytes()).is_ok()
    }
}

/// A complete response of our own.
#[derive(Clone, Debug)]
pub(crate) struct OwnResponse {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    /// Valid names and values: encoders drop what is not.
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) extra: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What the exchange is settled with.
    pub(crate) cause: Cause,
}

impl OwnResponse {
    /// An error, in the words of its cause (RFC 9209 Proxy-Status).
    pub(crate) fn error(cause: Cause, status: u16, reason: &str) -> Self {
        let mut headers = vec![("Proxy-Status", proxy_status(cause))];
        // RFC 9110 §10.2.3: when to come back; the rest of a backend is a matter of seconds.
        if status == 503 || status == 429 {
            headers.push(("Retry-After", b"1".to_vec()));
        }
        let body = format!("{status} {}: {reason}\n", cause.name()).into_bytes();
        Self {
            status,
            content_type: "text/plain; charset=utf-8".to_owned(),
            headers,
            extra: Vec::new(),
            body,
            cause,
        }
    }

    /// The answer to a request head that could not be read.
    pub(crate) fn unreadable(error: RequestError) -> Self {
        Self::error(error.cause(), error.status(), &error.to_string())
    }

    /// The answer to a request that must not be passed on.
    pub(crate) fn refused(error: HygieneError) -> Self {
        Self::error(error.cause(), error.status(), &error.to_string())
    }

    /// A 400 for a request that cannot be forwarded.
    pub(crate) fn bad_request(reason: &str) -> Self {
        Self::error(Cause::HttpRequestError, 400, reason)
    }

    /// The error response of a cause that has one.
    pub(crate) fn of_cause(cause: Cause) -> Self {
        Self::error(cause, cause.status(), explanation(cause))
    }

    pub(crate) fn direct(respond: &Respond) -> Self {
        Self {
            status: respond.status,
            content_type: respond.content_type.clone(),
            headers: Vec::new(),
            extra: respond.headers.clone(),
            body: respond.body.clone(),
            cause: Cause::Completed,
        }
    }

    pub(crate) fn redirect(status: u16, location: Vec<u8>) -> Self {
        Self {
            status,
            content_type: String::new(),
            headers: vec![("Location", location)],
            extra: Vec::new(),
            body: Vec::new(),
            cause: Cause::Completed,
        }
    }

    /// All extra fields that may be sent; what is not valid is left out (nothing a client sends can
    /// put a line end into a response, robustness SM-26).
    pub(crate) fn fields(&self) -> impl Iterator<Item = (FieldName<'_>, FieldValue<'_>)> {
        let own = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let extra = self
            .extra
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        own.chain(extra).filter_map(|(name, value)| {
            Some((FieldName::new(name).ok()?, FieldValue::new(value).ok()?))
        })
    }
}

/// RFC 9209 §2: only registered names may stand in `error`; ours go into `details`.
fn proxy_status(cause: Cause) -> Vec<u8> {
    let key = if cause.is_registered() {
        "error"
    } else {
        "details"
    };
    let value = if cause.is_registered() {
        cause.name().to_owned()
    } else {
        format!("\"{}\"", cause.name())
    };
    format!("balance; {key}={value}").into_bytes()
}

/// One sentence for whoever sees the error: never a backend's address.
fn explanation(cause: Cause) -> &'static str {
    match cause {
        Cause::DnsError | Cause::DnsTimeout => "the name of the backend does not resolve",
        Cause::DestinationUnavailable => "no backend can be used at the moment",
        Cause::ConnectionRefused => "the backend refuses connections",
        Cause::ConnectionTerminated => "the backend closed the connection without an answer",
        Cause::ConnectionTimeout => "the backend cannot be reached in time",
        Cause::ConnectionReadTimeout => "the backend went silent",
        Cause::ConnectionWriteTimeout => "the backend does not take the request",
        Cause::ConnectionLimitReached => "every backend is at its connection limit",
        Cause::HttpResponseIncomplete => "the response of the backend broke off",
        Cause::HttpResponseTimeout => "the backend did not answer in time",
        Cause::HttpProtocolError => "the backend sent something that is not HTTP",
        Cause::HttpUpgradeFailed => "the upgrade failed",
        Cause::ProxyLoopDetected => "the request has been here before",
        Cause::NoRoute => "no route matches",
        Cause::Misdirected => {
            "this host has another certificate than the one of this connection: open a new one"
        }
        Cause::RequestTooLarge => "the request is larger than allowed",
        Cause::ClientTimeout => "the request did not arrive in time",
        Cause::Draining => "shutting down",
        Cause::QueueFull | Cause::QueueTimeout => "too many requests are waiting",
        Cause::Overloaded => "out of resources",
        Cause::HttpRequestError => "the request is malformed",
        _ => "the request cannot be served",
    }
}

#[cfg(test)]
mod tests {
    use balance_core::Cause;

    use super::OwnResponse;

    fn proxy_status_of(cause: Cause) -> String {
        let response = OwnResponse::of_cause(cause);
        let value = &response
            .headers
            .iter()
            .find(|(name, _)| *name == "Proxy-Status")
            .unwrap()
            .1;
        String::from_utf8(value.clone()).unwrap()
    }

    #[test]
    fn only_registered_names_are_errors() {
        assert_eq!(
            proxy_status_of(Cause::ConnectionRefused),
            "balance; error=connection_refused"
        );
        assert_eq!(
            proxy_status_of(Cause::NoRoute),
            "balance; details=\"no_route\""
        );
    }

    #[test]
    fn unavailable_says_when_to_come_back() {
        let response = OwnResponse::of_cause(Cause::DestinationUnavailable);
        assert!(
            response
                .headers
                .iter()
                .any(|(name, _)| *name == "Retry-After")
        );
    }

    #[test]
    fn invalid_fields_are_left_out() {
        let response = OwnResponse::redirect(302, b"/a\r\nSet-Cookie: x".to_vec());
        assert_eq!(response.fields().count(), 0);
    }
}
