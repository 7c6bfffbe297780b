//! The path policy: what it lets pass means the same to a backend that decodes, cuts parameters and
//! resolves dots, and it refuses nothing else.

use balance_core::PathPolicy;
use balance_proto::path::{PathAndQuery, check as check_path};

use crate::corpus::request_inputs;

/// The input is a request target.
pub fn check(target: &[u8]) {
    let passes = |policy| check_path(target, policy).is_ok();
    let off = passes(PathPolicy::Off);
    let safe = passes(PathPolicy::Safe);
    let reject = passes(PathPolicy::Reject);
    assert!(
        (!reject || safe) && (!safe || off),
        "a stricter policy passes less"
    );

    let path_len = target
        .iter()
        .position(|byte| *byte == b'?')
        .unwrap_or(target.len());
    let path = &target[..path_len];
    assert_eq!(off, is_target(target), "characters");
    assert_eq!(
        safe,
        off && has_one_meaning(path),
        "{}",
        target.escape_ascii()
    );
    let is_plain = !path.windows(2).any(|pair| pair == b"//") && !path.contains(&b';');
    assert_eq!(reject, safe && is_plain, "{}", target.escape_ascii());

    for (policy, passes) in [
        (PathPolicy::Off, off),
        (PathPolicy::Safe, safe),
        (PathPolicy::Reject, reject),
    ] {
        let checked = PathAndQuery::new(target, policy);
        assert_eq!(
            checked.map(PathAndQuery::as_bytes).ok(),
            passes.then_some(target)
        );
    }
}

/// The targets of the request lines in the tables.
pub fn seeds() -> Vec<Vec<u8>> {
    request_inputs()
        .iter()
        .filter_map(|request| {
            request
                .split(|byte| *byte == b' ')
                .nth(1)
                .map(<[u8]>::to_vec)
        })
        .collect()
}

/// RFC 9112 §3.2.1 with what browsers send: visible ASCII, but no fragment and no backslash.
fn is_target(target: &[u8]) -> bool {
    let is_character = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\');
    target.starts_with(b"/") && target.iter().all(is_character)
}

/// Whether decoding, splitting and resolving in any order finds the segments that are written there.
fn has_one_meaning(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').all(|segment| {
        let Some(decoded) = decode(segment) else {
            return false;
        };
        let has_separator = decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0));
        // Tomcat and others cut parameters before they resolve dots.
        let name = decoded
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        !has_separator && name != b"." && name != b".."
    })
}

/// RFC 3986 §2.1. `None` for a `%` without two hex digits.
fn decode(segment: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut rest = segment;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        // It would take a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    Some(decoded)
}
