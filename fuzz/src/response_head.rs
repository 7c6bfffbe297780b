//! A backend's response head: what is accepted, what becomes of it, and what a client would read in that.

use balance_core::Method;
use balance_proto::http1::{
    ConnectionLine, HeadSettings, Progress, ResponseContext, ResponseHead, encode_response,
};
use balance_proto::hygiene::edit_response;
use balance_proto::{FramingLine, HeadEdits, ResponseBody, ResponseView, Version};
use balance_testkit::Response;

use crate::corpus::{response_inputs, with_choice};
use crate::plain_view::Plain;
use crate::sender::VIA_NAME;

/// The first byte chooses what was asked and by whom, the rest is what a backend sends.
pub fn check(input: &[u8]) {
    let Some((choice, message)) = input.split_first() else {
        return;
    };
    let exchange = Exchange {
        context: ResponseContext {
            request_method: match choice & 1 {
                0 => Method::Get,
                _ => Method::Head,
            },
            upgrade_offered: choice & 2 != 0,
        },
        to: match choice & 4 {
            0 => Version::Http11,
            _ => Version::Http10,
        },
        via_name: (choice & 8 != 0).then_some(VIA_NAME),
    };
    let settings = HeadSettings::default();
    let mut head = ResponseHead::default();
    match head.parse(message, exchange.context, &settings) {
        Ok(Progress::Partial) => {}
        Err(_) => exchange.refused_stays_refused(message, &settings),
        Ok(Progress::Complete { consumed }) => {
            exchange.verdict_is_stable(&head, message, consumed, &settings);
            exchange.forwarded_is_read_as_meant(&head);
        }
    }
}

/// The tables of responses, to every kind of request.
pub fn seeds() -> Vec<Vec<u8>> {
    [0, 1, 2, 4]
        .into_iter()
        .flat_map(|choice| with_choice(choice, response_inputs()))
        .collect()
}

struct Exchange {
    context: ResponseContext,
    to: Version,
    via_name: Option<&'static str>,
}

impl Exchange {
    /// More bytes never make an error good.
    fn refused_stays_refused(&self, message: &[u8], settings: &HeadSettings) {
        for more in [&b"\r\n\r\n"[..], b"a", b"\n"] {
            let longer = [message, more].concat();
            let result = ResponseHead::default().parse(&longer, self.context, settings);
            assert!(result.is_err(), "refused, then accepted with {more:?}");
        }
    }

    /// What follows a head does not change it, and no shorter input was a head.
    fn verdict_is_stable(
        &self,
        head: &ResponseHead,
        message: &[u8],
        consumed: usize,
        settings: &HeadSettings,
    ) {
        let mut again = ResponseHead::default();
        let mut parse = |end| {
            let result = again.parse(&message[..end], self.context, settings);
            result.map(|progress| (progress, again.bytes().to_vec()))
        };
        let whole = (Progress::Complete { consumed }, head.bytes().to_vec());
        assert_eq!(parse(consumed), Ok(whole));
        for end in [consumed - 1, consumed / 2, consumed / 3] {
            let partial = (Progress::Partial, Vec::new());
            assert_eq!(parse(end), Ok(partial), "cut at {end}");
        }
    }

    fn forwarded_is_read_as_meant(&self, head: &ResponseHead) {
        self.check_claims(head);
        let method = self.context.request_method;
        let framing = match head.is_interim() {
            true => FramingLine::None,
            false => FramingLine::for_response(method, head.status(), head.body(), self.to),
        };
        let forwarded = self.encode(head, head, framing);
        assert_eq!(self.encode(&Plain(head), head, framing), forwarded);

        let Some(body) = body_of(head.body(), framing) else {
            return;
        };
        let message = [forwarded.as_slice(), &body].concat();
        let seen = Response::parse_all(&message, method == Method::Head)
            .expect("a strict client reads it");
        assert_eq!(seen.len(), 1, "one response is one response");
        let seen = &seen[0];
        assert_eq!(seen.status, head.status());
        for name in ["keep-alive", "proxy-connection", "te", "trailer"] {
            assert_eq!(seen.header(name), None, "{name}");
        }
        let may_be_chunked = framing == FramingLine::Chunked && self.to == Version::Http11;
        assert!(seen.header("transfer-encoding").is_none() || may_be_chunked);
        // RFC 9110 §8.6.
        let has_no_length = matches!(head.status(), 100..=199 | 204);
        assert!(seen.header("content-length").is_none() || !has_no_length);
        assert_eq!(seen.body, payload_of(head.body()));
    }

    /// What the parser itself says about a head that it accepted.
    fn check_claims(&self, head: &ResponseHead) {
        let status = head.status();
        assert!((100..=999).contains(&status));
        let is_bodiless =
            self.context.request_method == Method::Head || matches!(status, 100..=199 | 204 | 304);
        assert_eq!(head.body() == ResponseBody::None, is_bodiless);
        assert!(!head.is_switching() || self.context.upgrade_offered);
        assert!(!head.keep_alive() || head.body() != ResponseBody::UntilClose);
    }

    fn encode<V: ResponseView>(
        &self,
        view: &V,
        head: &ResponseHead,
        framing: FramingLine,
    ) -> Vec<u8> {
        let mut edits = HeadEdits::default();
        edit_response(view, &mut edits, self.via_name);
        let connection = match head.upgrade() {
            Some(protocol) => ConnectionLine::Upgrade(protocol),
            None => ConnectionLine::None,
        };
        let mut out = Vec::new();
        encode_response(&mut out, view, &edits, self.to, framing, connection);
        out
    }
}

/// What goes out behind the head, unless it is too long to make it.
fn body_of(body: ResponseBody, framing: FramingLine) -> Option<Vec<u8>> {
    let payload = payload_of(body);
    match (body, framing) {
        (ResponseBody::Exact(bytes), _) if bytes > PAYLOAD_BYTES_MAX => None,
        (_, FramingLine::Chunked) => Some([b"5\r\n", &payload[..], b"\r\n0\r\n\r\n"].concat()),
        _ => Some(payload),
    }
}

fn payload_of(body: ResponseBody) -> Vec<u8> {
    match body {
        ResponseBody::None => Vec::new(),
        ResponseBody::Exact(bytes) => vec![b'H'; bytes.min(PAYLOAD_BYTES_MAX) as usize],
        ResponseBody::Chunked | ResponseBody::UntilClose => b"HTTP/".to_vec(),
    }
}

const PAYLOAD_BYTES_MAX: u64 = 64 * 1024;
