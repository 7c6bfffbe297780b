//! The request of a measurement: encoded once, sent many times.

use std::fmt;

use anyhow::Context;
use balance_proto::http1::{HeadSettings, RequestHead};
use balance_proto::{BodyLength, Scheme};

use super::url::Url;

/// A field to send, checked: no line can be smuggled in by it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Field {
    name: String,
    value: String,
}

impl Field {
    /// Parses `Name: value` for clap.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once(':')
            .ok_or("a field such as 'Accept: text/html'")?;
        if !is_token(name) {
            return Err(format!("`{name}` is no name of a field"));
        }
        let value = value.trim();
        if value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
            return Err("a value has no control characters".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl fmt::Debug for Field {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Field").field(&self.name).finish()
    }
}

/// Parses a method for clap. CONNECT has no response that ends.
///
/// # Errors
/// It is no token (RFC 9110 §9.1), or CONNECT.
pub(crate) fn parse_method(text: &str) -> Result<String, String> {
    if !is_token(text) || text == "CONNECT" {
        return Err("a method such as GET".to_owned());
    }
    Ok(text.to_owned())
}

/// What is sent, and what must be known of it to read the response.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    /// Where in `bytes` the body begins.
    body_at: usize,
    pub(crate) is_head: bool,
    /// For HTTP/2: the head that each stream begins with.
    pub(crate) http2: Option<Box<RequestHead>>,
}

/// What a request is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a Url,
    pub(crate) fields: &'a [Field],
    pub(crate) body: &'a [u8],
    /// Asks the server to close behind the response.
    pub(crate) close: bool,
}

impl Request {
    pub(crate) fn encode(parts: &Parts<'_>) -> Self {
        let mut head = format!("{} {} HTTP/1.1\r\n", parts.method, parts.url.path);
        let has = |name| parts.fields.iter().any(|field| field.is(name));
        let mut push = |name: &str, value: &str| {
            head.push_str(&format!("{name}: {value}\r\n"));
        };
        if !has("host") {
            push("Host", &parts.url.authority);
        }
        for field in parts.fields {
            push(&field.name, &field.value);
        }
        if !has("user-agent") {
            push("User-Agent", "balance-bench");
        }
        if parts.close && !has("connection") {
            push("Connection", "close");
        }
        let frames_itself = has("content-length") || has("transfer-encoding");
        if !parts.body.is_empty() && !frames_itself {
            push("Content-Length", &parts.body.len().to_string());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        let body_at = bytes.len();
        bytes.extend_from_slice(parts.body);
        Self {
            bytes,
            body_at,
            is_head: parts.method == "HEAD",
            http2: None,
        }
    }

    /// The same, to be sent over HTTP/2.
    ///
    /// # Errors
    /// What HTTP/2 does not have.
    pub(crate) fn over_http2(mut self, is_tls: bool) -> anyhow::Result<Self> {
        let mut settings = HeadSettings::default();
        if is_tls {
            settings.scheme = Scheme::Https;
        }
        let mut head = RequestHead::default();
        head.parse(&self.bytes[..self.body_at], &settings)
            .context("HTTP/2 has no such request")?;
        let is_chunked = head.body() == BodyLength::Chunked;
        anyhow::ensure!(!is_chunked, "HTTP/2 has no Transfer-Encoding");
        self.http2 = Some(Box::new(head));
        Ok(self)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_sign)
}

#[cfg(test)]
mod tests {
    use super::{Field, Parts, Request, Url, parse_method};

    fn encode(method: &str, fields: &[&str], body: &str, close: bool) -> String {
        let fields: Vec<Field> = fields.iter().map(|f| Field::parse(f).unwrap()).collect();
        let url = Url::parse("http://a:81/x").unwrap();
        let request = Request::encode(&Parts {
            method,
            url: &url,
            fields: &fields,
            body: body.as_bytes(),
            close,
        });
        assert_eq!(request.is_head, method == "HEAD");
        String::from_utf8(request.bytes).unwrap()
    }

    #[test]
    fn fields_of_ours_give_way_to_those_that_were_given() {
        assert_eq!(
            encode("GET", &[], "", false),
            "GET /x HTTP/1.1\r\nHost: a:81\r\nUser-Agent: balance-bench\r\n\r\n"
        );
        assert_eq!(
            encode(
                "HEAD",
                &["host: b", "User-Agent: u", "Connection: x"],
                "",
                true
            ),
            "HEAD /x HTTP/1.1\r\nhost: b\r\nUser-Agent: u\r\nConnection: x\r\n\r\n"
        );
        assert_eq!(
            encode("POST", &["User-Agent: u"], "abc", true),
            "POST /x HTTP/1.1\r\nHost: a:81\r\nUser-Agent: u\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
        );
        let chunked = encode("PUT", &["Transfer-Encoding: chunked"], "0\r\n\r\n", false);
        assert!(!chunked.contains("Content-Length"), "{chunked}");
    }

    #[test]
    fn no_line_can_be_smuggled_in() {
        for text in ["no colon", "a b: c", ": c", "a: b\r\nc: d", "a: b\0"] {
            assert!(Field::parse(text).is_err(), "{text:?}");
        }
        for text in ["", "GE T", "CONNECT", "GET / HTTP/1.1\r\n"] {
            assert!(parse_method(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let field = Field::parse("Authorization: Bearer secret").unwrap();
        assert!(!format!("{field:?}").contains("secret"));
    }
}
