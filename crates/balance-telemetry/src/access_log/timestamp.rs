//! Wall-clock time as text, made once a second.

/// The two spellings of the current second. A worker keeps one: most lines fall into the same second as
/// the line before.
#[derive(Debug)]
pub struct TimestampCache {
    unix_seconds: u64,
    /// `2026-11-24T04:54:29.`, to which milliseconds and `Z` are added (RFC 3339 §5.6).
    rfc3339: [u8; 20],
    /// `24/Nov/2026:04:54:29 +0000`, as the combined log format has it.
    combined: [u8; 26],
}

impl TimestampCache {
    /// Appends `2026-11-24T04:54:29.123Z`.
    pub(super) fn push_rfc3339(&mut self, unix_ms: u64, out: &mut Vec<u8>) {
        self.advance(unix_ms / 1_000);
        out.extend_from_slice(&self.rfc3339);
        let mut millis = [0; 3];
        put(&mut millis, unix_ms % 1_000);
        out.extend_from_slice(&millis);
        out.push(b'Z');
    }

    /// Appends `24/Nov/2026:04:54:29 +0000`.
    pub(super) fn push_combined(&mut self, unix_ms: u64, out: &mut Vec<u8>) {
        self.advance(unix_ms / 1_000);
        out.extend_from_slice(&self.combined);
    }

    fn advance(&mut self, unix_seconds: u64) {
        if unix_seconds == self.unix_seconds {
            return;
        }
        self.unix_seconds = unix_seconds;
        let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);

        put(&mut self.rfc3339[0..4], year);
        put(&mut self.rfc3339[5..7], month);
        put(&mut self.rfc3339[8..10], day);
        put(&mut self.rfc3339[11..13], hour);
        put(&mut self.rfc3339[14..16], minute);
        put(&mut self.rfc3339[17..19], second);

        put(&mut self.combined[0..2], day);
        let name = MONTHS[usize::try_from(month - 1).expect("a month is small")];
        self.combined[3..6].copy_from_slice(name);
        put(&mut self.combined[7..11], year);
        put(&mut self.combined[12..14], hour);
        put(&mut self.combined[15..17], minute);
        put(&mut self.combined[18..20], second);
    }
}

impl Default for TimestampCache {
    fn default() -> Self {
        Self {
            unix_seconds: 0,
            rfc3339: *b"1970-01-01T00:00:00.",
            combined: *b"01/Jan/1970:00:00:00 +0000",
        }
    }
}

/// Right-aligned decimal digits with leading zeros.
fn put(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).expect("a digit");
        value /= 10;
    }
}

/// Year, month and day of the proleptic Gregorian calendar. Years are counted from March, so that the leap
/// day is the last of its year, in eras of 400 years, which are all of the same length.
fn civil_from_days(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + DAYS_TO_1970_FROM_MARCH_0;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let leap_corrected =
        day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096;
    let year_of_era = leap_corrected / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, months alternate in a pattern of 153 days per five months.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970_FROM_MARCH_0: u64 = 719_468;
const DAYS_PER_ERA: u64 = 146_097;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

#[cfg(test)]
mod tests {
    use super::{TimestampCache, civil_from_days};

    fn check(unix_ms: u64, rfc3339: &str, combined: &str) {
        let mut cache = TimestampCache::default();
        for _ in 0..2 {
            let mut out = Vec::new();
            cache.push_rfc3339(unix_ms, &mut out);
            out.push(b' ');
            cache.push_combined(unix_ms, &mut out);
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!("{rfc3339} {combined}")
            );
        }
    }

    #[test]
    fn known_moments() {
        check(0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000");
        check(
            951_782_400_005,
            "2000-02-29T00:00:00.005Z",
            "29/Feb/2000:00:00:00 +0000",
        );
        check(
            1_795_496_069_123,
            "2026-11-24T04:54:29.123Z",
            "24/Nov/2026:04:54:29 +0000",
        );
        check(
            4_107_542_399_999,
            "2100-02-28T23:59:59.999Z",
            "28/Feb/2100:23:59:59 +0000",
        );
        check(
            4_107_542_400_000,
            "2100-03-01T00:00:00.000Z",
            "01/Mar/2100:00:00:00 +0000",
        );
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = civil_from_days(0);
        for days in 1..200_000 {
            let (year, month, day) = civil_from_days(days);
            let next_day = (year, month, day) == (before.0, before.1, before.2 + 1);
            let next_month = (year, month, day) == (before.0, before.1 + 1, 1) && before.2 >= 28;
            let next_year =
                (year, month, day) == (before.0 + 1, 1, 1) && before == (before.0, 12, 31);
            assert!(
                next_day || next_month || next_year,
                "{before:?} then {year}-{month}-{day}"
            );
            before = (year, month, day);
        }
    }
}
