//! What has to be known of gRPC: which requests are calls, and how long their callers wait
//! (gRPC over HTTP/2, "Requests").

use balance_core::Method;
use balance_proto::RequestView;

/// How long the caller waits, in milliseconds; `None`: it is no call, or does not say.
pub(super) fn call_timeout_ms<V: RequestView>(request: &V) -> Option<u64> {
    let is_call = request.method_kind() == Method::Post
        && is_grpc(request.get(b"content-type").unwrap_or_default());
    if !is_call {
        return None;
    }
    timeout_ms(request.get(b"grpc-timeout")?)
}

/// `application/grpc`, alone or with `+proto`, `;…`; not `application/grpc-web`.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    let (begin, rest) = content_type
        .split_at_checked(CONTENT_TYPE.len())
        .unwrap_or_default();
    begin.eq_ignore_ascii_case(CONTENT_TYPE) && matches!(rest, [] | [b'+' | b';', ..])
}

/// At most eight digits and a unit, rounded up to milliseconds. What is not so written is for the backend to judge.
fn timeout_ms(text: &[u8]) -> Option<u64> {
    let (unit, digits) = text.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => count * 3_600_000,
        b'M' => count * 60_000,
        b'S' => count * 1_000,
        b'm' => count,
        b'u' => count.div_ceil(1_000),
        b'n' => count.div_ceil(1_000_000),
        _ => return None,
    })
}

pub(super) const CONTENT_TYPE: &[u8] = b"application/grpc";

#[cfg(test)]
mod tests {
    use super::{is_grpc, timeout_ms};

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC;v=1", true),
            ("application/grpc-web", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(content_type.as_bytes()), expected, "{content_type}");
        }
    }

    #[test]
    fn timeouts_have_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3_000)),
            ("250m", Some(250)),
            ("1u", Some(1)),
            ("1001u", Some(2)),
            ("99999999n", Some(100)),
            ("0m", Some(0)),
            ("99999999H", Some(359_999_996_400_000)),
            ("100000000m", None),
            ("10", None),
            ("m", None),
            ("", None),
            ("-1m", None),
            ("+1m", None),
            ("1.5S", None),
            ("1s", None),
        ] {
            assert_eq!(timeout_ms(text.as_bytes()), expected, "{text}");
        }
    }
}
