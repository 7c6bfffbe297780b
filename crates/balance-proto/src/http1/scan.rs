//! Ordinary heads in one pass: what nearly every client and backend sends is accepted here, without another parser.
//!
//! A head is ordinary when its first line is `METHOD /target HTTP/1.x` with a standard method, or `HTTP/1.x NNN reason`,
//! every field is exactly `Name: value` with a value, no name contains `_`, and nothing is wrong with any of it.
//! Everything else is `None`, which judges nothing: httparse and the rules around it then look at the input from the
//! start, and say what is wrong, incomplete or merely unusual. So this pass may refuse whatever it likes, but must
//! not accept anything that the other way would not, nor read it differently (`tests` hold the two together).
//!
//! Eight bytes are looked at in one step. That halves the instructions of httparse on such heads, and what it finds
//! goes into [`HeadLines`] at once instead of a list in between.

use super::facts::HeadFacts;
use super::lines::{HeadLines, Span, has_underscore};
use crate::field::FieldClass;
use crate::grammar::is_token;
use crate::head::Version;
use balance_core::Method;

/// `METHOD SP target SP version CRLF`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    pub(super) method: Span,
    pub(super) method_kind: Method,
    pub(super) target: Span,
    pub(super) version: Version,
}

/// `version SP status SP reason CRLF`; the reason is read from the line when it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatusLine {
    pub(super) version: Version,
    pub(super) status: u16,
}

/// What a head may have at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) head_bytes_max: usize,
    pub(super) fields_max: usize,
    /// Of a request.
    pub(super) target_bytes_max: usize,
}

/// An ordinary request head at the start of `input`, its fields in `lines`; and its length.
pub(super) fn request(
    input: &[u8],
    bounds: Bounds,
    lines: &mut HeadLines,
    facts: &mut HeadFacts,
) -> Option<(RequestLine, usize)> {
    let method_end = find(input, 0, Stops::TARGET)?;
    let method_kind = match Method::parse(input.get(..method_end)?) {
        Method::Other => return None,
        method => method,
    };
    let target_start = method_end.wrapping_add(1);
    let target_end = find(input, target_start, Stops::TARGET)?;
    if input.get(method_end) != Some(&b' ') || input.get(target_start) != Some(&b'/') {
        return None;
    }
    let target = Span::new(target_start, target_end);
    if target.len() > bounds.target_bytes_max {
        return None;
    }
    let version = match input.get(target_end..)?.first_chunk()? {
        b" HTTP/1.1\r\n" => Version::Http11,
        b" HTTP/1.0\r\n" => Version::Http10,
        _ => return None,
    };
    let line = RequestLine {
        method: Span::new(0, method_end),
        method_kind,
        target,
        version,
    };
    let fields_start = target_end.wrapping_add(b" HTTP/1.1\r\n".len());
    let length = fields(input, fields_start, bounds, lines, facts)?;
    Some((line, length))
}

/// An ordinary response head at the start of `input`, its fields in `lines`; and its length.
pub(super) fn response(
    input: &[u8],
    bounds: Bounds,
    lines: &mut HeadLines,
    facts: &mut HeadFacts,
) -> Option<(StatusLine, usize)> {
    let (start, rest) = input.split_first_chunk::<13>()?;
    let (version, status) = match start {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            minor @ (b'0' | b'1'),
            b' ',
            status @ ..,
            b' ',
        ] => {
            let version = if *minor == b'0' {
                Version::Http10
            } else {
                Version::Http11
            };
            (version, status_code(status)?)
        }
        _ => return None,
    };
    let reason_len = find(rest, 0, Stops::VALUE)?;
    let reason_end = start.len().wrapping_add(reason_len);
    let fields_start = line_end(input, reason_end)?;
    let length = fields(input, fields_start, bounds, lines, facts)?;
    Some((StatusLine { version, status }, length))
}

fn status_code(digits: &[u8]) -> Option<u16> {
    let code = digits.iter().try_fold(0_u16, |code, digit| {
        let digit = digit.is_ascii_digit().then(|| digit.wrapping_sub(b'0'))?;
        Some(code.wrapping_mul(10).wrapping_add(u16::from(digit)))
    });
    code.filter(|code| *code >= STATUS_MIN)
}

/// The fields from `start` to the empty line; the length of the head.
fn fields(
    input: &[u8],
    start: usize,
    bounds: Bounds,
    lines: &mut HeadLines,
    facts: &mut HeadFacts,
) -> Option<usize> {
    let mut at = start;
    while input.get(at) != Some(&b'\r') {
        let name_end = find(input, at, Stops::NAME)?;
        let value_start = name_end.wrapping_add(2);
        let value_end = find(input, value_start, Stops::VALUE)?;
        let (name, value) = (input.get(at..name_end)?, input.get(value_start..value_end)?);
        let class = FieldClass::of(name);
        let is_good_name = match class {
            FieldClass::Other | FieldClass::XForwardedOther => {
                is_token(name) && !has_underscore(name)
            }
            _ => true, // it equals one that is
        };
        let is_exact = input.get(name_end..value_start) == Some(b": ")
            && !matches!(value, [] | [b' ', ..] | [.., b' ']);
        if !is_good_name || !is_exact || lines.field_count() >= bounds.fields_max {
            return None;
        }
        if HeadFacts::is_about(class) {
            facts.on_field(class, lines.field_count(), value).ok()?;
        }
        lines.push(
            Span::new(at, name_end),
            Span::new(value_start, value_end),
            class,
        );
        at = line_end(input, value_end)?;
    }
    let length = line_end(input, at)?;
    if length > bounds.head_bytes_max {
        return None;
    }
    lines.keep(input.get(..at)?);
    Some(length)
}

/// Where the next line begins, when this one ends with CRLF at `at`.
fn line_end(input: &[u8], at: usize) -> Option<usize> {
    let next = at.wrapping_add(2);
    (input.get(at..next)? == b"\r\n").then_some(next)
}

/// The first byte from `start` on that `stops` has. `None` where the input ends before one.
#[inline(always)]
fn find(input: &[u8], start: usize, stops: Stops) -> Option<usize> {
    let mut at = start;
    loop {
        let rest = input.get(at..)?;
        let Some(word) = rest.first_chunk::<8>() else {
            let mut padded = [b'0'; 8];
            padded.get_mut(..rest.len())?.copy_from_slice(rest);
            let offset = stops.first_in(padded)?;
            return Some(at.wrapping_add(offset));
        };
        if let Some(offset) = stops.first_in(*word) {
            return Some(at.wrapping_add(offset));
        }
        at = at.wrapping_add(8);
    }
}

/// A set of bytes that end a part of a head: with `controls_below`, the ASCII ones below it and DEL; and what else is
/// said.
#[derive(Clone, Copy)]
struct Stops {
    controls_below: u8,
    others: &'static [u8],
    above_ascii: bool,
}

impl Stops {
    /// What cannot stand in a field value, and HTAB (RFC 9110 §5.5).
    const VALUE: Self = Self {
        controls_below: b' ',
        others: b"",
        above_ascii: false,
    };
    /// What is not a visible ASCII character, so cannot stand in a target (RFC 9112 §3.2).
    const TARGET: Self = Self {
        controls_below: b'!',
        others: b"",
        above_ascii: true,
    };
    /// What ends a field name. Not all that cannot stand in one: a name that is known by heart needs no other check.
    /// CR is here because [`FieldClass::of`] takes it for `-`.
    const NAME: Self = Self {
        controls_below: 0,
        others: b":\r",
        above_ascii: false,
    };

    /// Where in `bytes` the first of the set stands.
    ///
    /// The classic search for a zero byte: a borrow can raise a false flag, but only above a true one, and the lowest
    /// flag is what counts.
    #[inline(always)]
    fn first_in(self, bytes: [u8; 8]) -> Option<usize> {
        let word = u64::from_le_bytes(bytes);
        let mut flags = 0;
        if self.controls_below > 0 {
            flags = below(word, self.controls_below) | equal_to(word, 0x7f);
        }
        for other in self.others {
            flags |= equal_to(word, *other);
        }
        if self.above_ascii {
            flags |= word;
        }
        flags &= HIGH_BITS;
        // Eight flag bits a byte, so the division is a shift.
        (flags != 0).then(|| (flags.trailing_zeros() / 8) as usize)
    }
}

/// Flags the bytes that are below `limit`, at most 0x80.
#[inline(always)]
const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(repeat(limit)) & !word
}

#[inline(always)]
const fn equal_to(word: u64, byte: u8) -> u64 {
    below(word ^ repeat(byte), 1)
}

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// RFC 9110 §15: the first digit is a class from 1 on.
pub(super) const STATUS_MIN: u16 = 100;

const HIGH_BITS: u64 = repeat(0x80);

#[cfg(test)]
mod tests;
