//! The grammar of HTTP/1 as RFC 9112 and RFC 9110 print it: simple, slow, and with no eye on the code under test.
//!
//! It says what a message *is*. Where the RFC leaves the reader a choice, it takes the wider one, except where
//! a comment says otherwise: so everything that the parser accepts must be accepted here, with the same parts.

/// A head, without its framing drawn from it yet.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// The first line, without its CRLF.
    pub(crate) start_line: &'a [u8],
    /// Names as they came, values without the white space around them.
    pub(crate) fields: Vec<(&'a [u8], &'a [u8])>,
    /// Of the whole head, its empty line included.
    pub(crate) len: usize,
}

/// A request head that the RFC allows.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) head: Head<'a>,
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) minor_version: u8,
    pub(crate) body: Body,
}

/// A response head that the RFC allows.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) head: Head<'a>,
    pub(crate) status: u16,
    pub(crate) reason: &'a [u8],
    pub(crate) body: Body,
}

/// How a body is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A chunked body (RFC 9112 §7.1).
#[derive(Debug)]
pub(crate) struct ChunkedBody<'a> {
    pub(crate) payload: Vec<u8>,
    /// The lines of the chunk sizes, with their extensions.
    pub(crate) size_lines: Vec<&'a [u8]>,
    pub(crate) trailers: Vec<(&'a [u8], &'a [u8])>,
    pub(crate) len: usize,
}

/// `request-line CRLF *( field-line CRLF ) CRLF`, after at most one empty line (RFC 9112 §2.1 and §2.2).
pub(crate) fn request(input: &[u8]) -> Option<Request<'_>> {
    let message = input.strip_prefix(b"\r\n").unwrap_or(input);
    let mut head = head(message)?;
    head.len += input.len() - message.len();

    // RFC 9112 §3: request-line = method SP request-target SP HTTP-version
    let parts: Vec<&[u8]> = head.start_line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else {
        return None;
    };
    let minor_version = http1_version(version)?;
    if !is_token(method) || !is_request_target(method, target) {
        return None;
    }
    if !hosts_are_valid(&head, minor_version) {
        return None;
    }
    let body = match declared_body(&head, minor_version)? {
        // RFC 9112 §6.3 item 7.
        Body::UntilClose => Body::Length(0),
        body => body,
    };
    Some(Request {
        method,
        target,
        minor_version,
        body,
        head,
    })
}

/// `status-line CRLF *( field-line CRLF ) CRLF` (RFC 9112 §2.1), the answer to a request that was HEAD or not.
pub(crate) fn response(input: &[u8], answers_head: bool) -> Option<Response<'_>> {
    let head = head(input)?;
    // RFC 9112 §4: status-line = HTTP-version SP status-code SP [ reason-phrase ]
    let (version, rest) = split_at(head.start_line, b' ')?;
    // The space before a reason that is not there is often left out; every client reads that.
    let (code, reason) = split_at(rest, b' ').unwrap_or((rest, b""));
    let minor_version = http1_version(version)?;
    if code.len() != 3 || !code.iter().all(u8::is_ascii_digit) || !is_field_value(reason) {
        return None;
    }
    let status = number(code)? as u16;
    let declared = declared_body(&head, minor_version)?;
    // RFC 9112 §6.3 item 1.
    let body = match status {
        _ if answers_head => Body::None,
        100..=199 | 204 | 304 => Body::None,
        _ => declared,
    };
    Some(Response {
        head,
        status,
        reason,
        body,
    })
}

/// `*chunk last-chunk trailer-section CRLF` (RFC 9112 §7.1) at the start of the input.
pub(crate) fn chunked_body(input: &[u8]) -> Option<ChunkedBody<'_>> {
    let mut body = ChunkedBody {
        payload: Vec::new(),
        size_lines: Vec::new(),
        trailers: Vec::new(),
        len: 0,
    };
    let mut rest = input;
    loop {
        let (size_line, after) = line(rest)?;
        let size = chunk_size(size_line)?;
        body.size_lines.push(size_line);
        rest = after;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        let data = rest.get(..size)?;
        body.payload.extend_from_slice(data);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let (trailer, after) = line(rest)?;
        rest = after;
        if trailer.is_empty() {
            body.len = input.len() - rest.len();
            return Some(body);
        }
        body.trailers.push(field_line(trailer)?);
    }
}

fn head(input: &[u8]) -> Option<Head<'_>> {
    let (start_line, mut rest) = line(input)?;
    let mut fields = Vec::new();
    loop {
        let (text, after) = line(rest)?;
        rest = after;
        if text.is_empty() {
            let len = input.len() - rest.len();
            return Some(Head {
                start_line,
                fields,
                len,
            });
        }
        fields.push(field_line(text)?);
    }
}

/// Up to the first CRLF, and what follows it. RFC 9112 §2.2: a CR without LF is never part of a line, and a
/// bare LF as a line end, which a recipient may accept, is one that two recipients read in two ways: not here.
fn line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    let text = &input[..end];
    if text.contains(&b'\r') || text.contains(&b'\n') {
        return None;
    }
    Some((text, &input[end + 2..]))
}

/// RFC 9112 §5: field-line = field-name ":" OWS field-value OWS. Folding (§5.2) is not generated, and refused.
fn field_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = split_at(text, b':')?;
    let value = trim_white_space(value);
    (is_token(name) && is_field_value(value)).then_some((name, value))
}

/// RFC 9110 §5.5: field-vchar = VCHAR / obs-text, with SP and HTAB between.
fn is_field_value(value: &[u8]) -> bool {
    let is_allowed = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..=0xff);
    value.iter().all(is_allowed)
}

/// RFC 9110 §5.6.2: token = 1*tchar
pub(crate) fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_tchar)
}

/// RFC 9112 §2.3: HTTP-version = %s"HTTP" "/" DIGIT "." DIGIT; here only major version 1, and of its minor
/// versions those that exist.
fn http1_version(text: &[u8]) -> Option<u8> {
    match text {
        b"HTTP/1.0" => Some(0),
        b"HTTP/1.1" => Some(1),
        _ => None,
    }
}

/// RFC 9112 §3.2: request-target = origin-form / absolute-form / authority-form / asterisk-form
fn is_request_target(method: &[u8], target: &[u8]) -> bool {
    match method {
        b"CONNECT" => authority_form(target),
        b"OPTIONS" if target == b"*" => true,
        _ => is_path_and_query(target) || absolute_form(target).is_some(),
    }
}

/// RFC 9112 §3.2.1: absolute-path [ "?" query ], with one extension: the characters that browsers send although
/// RFC 3986 §2 has no place for them. Neither `#` nor `\` is among them.
fn is_path_and_query(target: &[u8]) -> bool {
    target.first() == Some(&b'/') && target.iter().all(|byte| is_target_byte(*byte))
}

fn is_target_byte(byte: u8) -> bool {
    let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_sub_delim = b"!$&'()*+,;=".contains(&byte);
    let is_of_browsers = b"\"<>^`{|}[]".contains(&byte);
    is_unreserved || is_sub_delim || b":@/?%".contains(&byte) || is_of_browsers
}

/// RFC 9112 §3.2.2: `http` or `https`, "://", authority, then a path that is empty or begins with "/". Returns
/// authority and rest.
pub(crate) fn absolute_form(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = target.iter().position(|byte| *byte == b':')?;
    let scheme = target[..colon].to_ascii_lowercase();
    let rest = target[colon..].strip_prefix(b"://")?;
    let end = rest.iter().position(|byte| b"/?".contains(byte));
    let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
    let is_valid = matches!(&scheme[..], b"http" | b"https")
        && is_host_and_port(authority)
        && path.iter().all(|byte| is_target_byte(*byte));
    is_valid.then_some((authority, path))
}

/// RFC 9112 §3.2.3: uri-host ":" port
fn authority_form(target: &[u8]) -> bool {
    is_host_and_port(target) && target.contains(&b':')
}

/// RFC 9110 §7.2: Host = uri-host [ ":" port ]. An empty host is no http authority (§4.2.1), userinfo is none
/// either (§4.2.4).
fn is_host_and_port(text: &[u8]) -> bool {
    let end = match text {
        [b'[', ..] => text.iter().position(|byte| *byte == b']').map(|at| at + 1),
        _ => text.iter().position(|byte| *byte == b':'),
    };
    let (host, port) = text.split_at(end.unwrap_or(text.len()));
    let port_is_valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port_is_valid && (is_ip_literal(host) || is_reg_name(host))
}

/// RFC 3986 §3.2.2, of which only IPv6 addresses exist.
fn is_ip_literal(host: &[u8]) -> bool {
    let inner = host
        .strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"));
    let text = inner.and_then(|inner| std::str::from_utf8(inner).ok());
    text.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// RFC 3986 §3.2.2: reg-name = *( unreserved / pct-encoded / sub-delims )
fn is_reg_name(host: &[u8]) -> bool {
    let mut rest = host;
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'%', [high, low, tail @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                tail
            }
            (byte, tail) if byte.is_ascii_alphanumeric() => tail,
            (byte, tail) if b"-._~!$&'()*+,;=".contains(byte) => tail,
            _ => return false,
        };
    }
    !host.is_empty()
}

/// RFC 9112 §3.2: one Host in HTTP/1.1, no second one in any version, and a valid one.
fn hosts_are_valid(head: &Head<'_>, minor_version: u8) -> bool {
    match values(head, "host")[..] {
        [] => minor_version == 0,
        [host] => is_host_and_port(host),
        _ => false,
    }
}

/// RFC 9112 §6.3, without its first two items; [`Body::UntilClose`] when nothing is declared.
fn declared_body(head: &Head<'_>, minor_version: u8) -> Option<Body> {
    let lengths = values(head, "content-length");
    let codings = values(head, "transfer-encoding");
    if codings.is_empty() {
        // Item 5: equal values may be taken as one, differing ones may not.
        let all = lengths
            .iter()
            .flat_map(|value| value.split(|byte| *byte == b','));
        let all: Option<Vec<u64>> = all
            .map(|value| content_length(trim_white_space(value)))
            .collect();
        return match all?[..] {
            [] => Some(Body::UntilClose),
            [first, ref more @ ..] => more
                .iter()
                .all(|length| *length == first)
                .then_some(Body::Length(first)),
        };
    }
    // Item 3 lets Transfer-Encoding win over Content-Length, but says that it "ought to be handled as an error";
    // §6.1: what HTTP/1.0 sends with it has a faulty framing.
    if !lengths.is_empty() || minor_version == 0 {
        return None;
    }
    // Item 4: chunked is the final coding, and §6.1: it is applied once.
    let list = codings.join(&b","[..]).to_ascii_lowercase();
    let codings: Vec<&[u8]> = list
        .split(|byte| *byte == b',')
        .map(trim_white_space)
        .collect();
    let chunked_count = codings
        .iter()
        .filter(|coding| **coding == b"chunked")
        .count();
    (codings.last() == Some(&&b"chunked"[..]) && chunked_count == 1).then_some(Body::Chunked)
}

/// RFC 9110 §8.6: Content-Length = 1*DIGIT
fn content_length(text: &[u8]) -> Option<u64> {
    let is_decimal = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_decimal.then(|| number(text)).flatten()
}

/// RFC 9112 §7.1: chunk-size = 1*HEXDIG, then chunk-ext
fn chunk_size(size_line: &[u8]) -> Option<u64> {
    let digits = size_line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (size, extensions) = size_line.split_at(digits.count());
    let size = u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
    are_chunk_extensions(extensions).then_some(size)
}

/// RFC 9112 §7.1.1: chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
fn are_chunk_extensions(text: &[u8]) -> bool {
    let Some(mut rest) = trim_start(text).strip_prefix(b";") else {
        return text.is_empty();
    };
    loop {
        let (name, after_name) = take_token(trim_start(rest));
        if name.is_empty() {
            return false;
        }
        rest = after_name;
        if let Some(value) = trim_start(rest).strip_prefix(b"=") {
            let Some(after_value) = after_token_or_quoted_string(trim_start(value)) else {
                return false;
            };
            rest = after_value;
        }
        match trim_start(rest).strip_prefix(b";") {
            Some(next) => rest = next,
            None => return rest.is_empty(),
        }
    }
}

/// RFC 9110 §5.6.4: quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE
fn after_token_or_quoted_string(text: &[u8]) -> Option<&[u8]> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let (value, rest) = take_token(text);
        return (!value.is_empty()).then_some(rest);
    };
    loop {
        rest = match rest {
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', escaped, tail @ ..] if is_field_value(&[*escaped]) => tail,
            [b'\\', ..] => return None,
            [byte, tail @ ..] if is_field_value(&[*byte]) => tail,
            _ => return None,
        };
    }
}

fn take_token(text: &[u8]) -> (&[u8], &[u8]) {
    let length = text.iter().take_while(|byte| is_token(&[**byte])).count();
    text.split_at(length)
}

/// The values of all fields of this name, in order.
pub(crate) fn values<'a>(head: &Head<'a>, name: &str) -> Vec<&'a [u8]> {
    let fields = head.fields.iter();
    fields
        .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| *value)
        .collect()
}

fn split_at(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == at)?;
    Some((&text[..position], &text[position + 1..]))
}

/// RFC 9110 §5.6.3: OWS and BWS are *( SP / HTAB )
fn trim_white_space(text: &[u8]) -> &[u8] {
    let mut text = trim_start(text);
    while let [start @ .., b' ' | b'\t'] = text {
        text = start;
    }
    text
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', tail @ ..] = text {
        text = tail;
    }
    text
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
