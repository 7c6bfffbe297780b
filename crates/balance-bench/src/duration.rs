//! Durations on the command line: `30s`, `1.5m`, `250ms`, or a bare number of seconds.

use std::time::Duration;

/// Nothing is measured for longer.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Parses a duration of at most a day.
///
/// # Errors
/// What is wrong with the text, for clap to show.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits_end = text
        .find(|sign: char| !sign.is_ascii_digit() && sign != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let seconds_of_unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("no unit `{unit}`: ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "a number with a unit, such as 30s or 250ms".to_owned())?;
    let duration = Duration::try_from_secs_f64(number * seconds_of_unit);
    duration
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "at most a day".to_owned())
}

/// As [`parse`], for what would measure nothing if it were zero.
///
/// # Errors
/// The same, and zero.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    let duration = parse(text)?;
    if duration.is_zero() {
        return Err("must be more than 0".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse, parse_positive};

    #[test]
    fn numbers_with_and_without_units() {
        for (text, millis) in [
            ("30", 30_000),
            ("0.2", 200),
            ("1.5m", 90_000),
            ("250ms", 250),
            ("24h", 86_400_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "1d", "25h", "1e3s", "NaN", "1.2.3s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_positive("0ms").is_err());
    }
}
