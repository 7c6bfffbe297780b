//! The text of a scalar as a value: booleans, numbers, durations, sizes, percentages, header names.
//! Pure functions from text; the caller adds the place.

use std::time::Duration;

/// Why a text is not such a value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScalarError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// A boolean, and whether it was one of the words that only YAML 1.1 took for one.
pub(crate) fn parse_bool(text: &str) -> Option<(bool, bool)> {
    match text {
        "true" | "True" | "TRUE" => Some((true, false)),
        "false" | "False" | "FALSE" => Some((false, false)),
        _ => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" => Some((true, true)),
            "no" | "off" => Some((false, true)),
            _ => None,
        },
    }
}

/// A whole number: decimal, `0x…` or `0o…` (YAML 1.2 core schema §10.3.2).
pub(crate) fn parse_integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return plain_digits(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return plain_digits(digits, 8);
    }
    text.parse().ok()
}

/// A number with an optional fraction and exponent. Neither infinity nor NaN.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let fits = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    if !text.bytes().all(fits) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// `30%` as 0.3, or a plain number from 0 to 1.
pub(crate) fn parse_share(text: &str) -> Option<f64> {
    match text.strip_suffix('%') {
        Some(percent) => parse_number(percent.trim_end()).map(|number| number / 100.0),
        None => parse_number(text),
    }
}

/// A duration in Go's grammar: `1h30m`, `100ms`, `1.5s`, `0`. Units: ns, us, µs, ms, s, m, h.
///
/// # Errors
/// A bare number gets the hint which unit was probably meant.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, ScalarError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if parse_number(text).is_some() {
        return Err(ScalarError {
            message: format!("`{text}` has no unit"),
            help: Some(format!(
                "write `{text}s` for seconds or `{text}ms` for milliseconds"
            )),
        });
    }
    let invalid = || ScalarError {
        message: format!("`{text}` is not a duration"),
        help: Some("write it like `30s`, `100ms` or `1h30m`".to_owned()),
    };
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanos: u128 = 0;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(digits);
        let (unit, tail) = split_unit(tail).ok_or_else(invalid)?;
        nanos = decimal_times(number, unit)
            .and_then(|part| nanos.checked_add(part))
            .ok_or_else(invalid)?;
        rest = tail;
    }
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| ScalarError {
            message: format!("`{text}` is too long a time"),
            help: None,
        })
}

/// Bytes: a number, or one with a unit: `10MB` (10⁶) or `64KiB` (2¹⁰).
///
/// # Errors
/// What can be written instead.
pub(crate) fn parse_size(text: &str) -> Result<u64, ScalarError> {
    let invalid = || ScalarError {
        message: format!("`{text}` is not a size"),
        help: Some("write bytes as a number, or with a unit: `10MB`, `64KiB`".to_owned()),
    };
    let split = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u128 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        _ => return Err(invalid()),
    };
    let bytes = decimal_times(number, factor).ok_or_else(invalid)?;
    u64::try_from(bytes).map_err(|_| invalid())
}

/// Whether it is a token: a field name, a method, a pseudonym (RFC 9110 §5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether it can stand in a header field: no control characters but tab (RFC 9110 §5.5), so that no
/// configured value can end a line.
pub(crate) fn is_field_value(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

fn plain_digits(digits: &str, radix: u32) -> Option<i64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain {
        i64::from_str_radix(digits, radix).ok()
    } else {
        None
    }
}

fn split_unit(text: &str) -> Option<(u128, &str)> {
    // Longer names first: `ms` is not `m` and an `s`.
    const UNITS: &[(&str, u128)] = &[
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000), // U+00B5
        ("μs", 1_000), // U+03BC
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS
        .iter()
        .find_map(|(name, nanos)| text.strip_prefix(name).map(|tail| (*nanos, tail)))
}

/// A decimal with an optional fraction, times `unit`, rounded down. Exact, as no float is.
fn decimal_times(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits_only = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits_only(whole) || !digits_only(fraction) {
        return None;
    }
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut total = whole.checked_mul(unit)?;
    // Beyond 18 digits a fraction is below a nanosecond.
    let fraction = &fraction[..fraction.len().min(18)];
    if !fraction.is_empty() {
        let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
        total = total.checked_add(fraction.parse::<u128>().ok()?.checked_mul(unit)? / scale)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::{parse_bool, parse_duration, parse_integer, parse_number, parse_share, parse_size};

    fn check_duration(text: &str, expected: Option<u64>) {
        let millis = parse_duration(text)
            .ok()
            .map(|duration| u64::try_from(duration.as_micros()).unwrap());
        assert_eq!(millis, expected, "{text}");
    }

    #[test]
    fn durations_follow_the_grammar_of_go() {
        check_duration("0", Some(0));
        check_duration("0s", Some(0));
        check_duration("100ms", Some(100_000));
        check_duration("1h30m", Some(5_400_000_000));
        check_duration("1.5s", Some(1_500_000));
        check_duration(".5s", Some(500_000));
        check_duration("+1s", Some(1_000_000));
        check_duration("250us", Some(250));
        check_duration("250µs", Some(250));
        check_duration("1m0.25s", Some(60_250_000));
        for text in [
            "",
            "s",
            ".s",
            "1",
            "5x",
            "-1s",
            "1s ",
            "1 s",
            "1d",
            "9999999999h",
            "1..5s",
        ] {
            check_duration(text, None);
        }
    }

    #[test]
    fn sizes_know_both_families_of_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10485760", Some(10_485_760)),
            ("10MB", Some(10_000_000)),
            ("64KiB", Some(65_536)),
            ("1.5 GiB", Some(1_610_612_736)),
            ("1k", Some(1_000)),
            ("", None),
            ("MB", None),
            ("-1", None),
            ("1XB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn booleans_and_numbers() {
        assert_eq!(parse_bool("true"), Some((true, false)));
        assert_eq!(parse_bool("Off"), Some((false, true)));
        assert_eq!(parse_bool("1"), None);
        assert_eq!(parse_integer("0x1F"), Some(31));
        assert_eq!(parse_integer("0o17"), Some(15));
        assert_eq!(parse_integer("0x-1"), None);
        assert_eq!(parse_integer("010"), Some(10));
        assert_eq!(parse_integer("1.0"), None);
        assert_eq!(parse_number("1e3"), Some(1000.0));
        assert_eq!(parse_number("inf"), None);
        assert_eq!(parse_number(".nan"), None);
        assert_eq!(parse_share("30%"), Some(0.3));
        assert_eq!(parse_share("0.3"), Some(0.3));
    }
}
