//! Moments as RFC 3339 writes them, read and written without a clock.

/// Nanoseconds since 1970; `None` where the text is no moment of RFC 3339 as Go reads it.
#[must_use]
pub fn nanoseconds(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits
            .iter()
            .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"T") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in(year, month)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let mut at = 19;
    let mut nanos: i128 = 0;
    if is(at, b".") {
        at += 1;
        let first = at;
        let mut unit = 100_000_000;
        while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
            nanos += i128::from(digit - b'0') * unit;
            unit /= 10;
            at += 1;
        }
        if at == first {
            return None;
        }
    }
    let offset = if is(at, b"Z") {
        at += 1;
        0
    } else if is(at, b"+-") && is(at + 3, b":") {
        let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
        let sign = if is(at, b"-") { -1 } else { 1 };
        at += 6;
        if hours > 23 || minutes > 59 {
            return None;
        }
        sign * (hours * 3600 + minutes * 60)
    } else {
        return None;
    };
    if at != bytes.len() {
        return None;
    }
    let seconds = days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(i128::from(seconds) * 1_000_000_000 + nanos)
}

/// The one spelling of a moment that the server itself uses: UTC, no trailing zeros in the fraction.
#[must_use]
pub fn write(nanoseconds: i128) -> String {
    let seconds = i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or_default();
    let nanos = nanoseconds.rem_euclid(1_000_000_000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let mut text =
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if nanos != 0 {
        text.push_str(format!(".{nanos:09}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Whether the first moment is before the second. Where one cannot be read, it is not.
#[must_use]
pub fn earlier(a: &str, b: &str) -> bool {
    matches!((nanoseconds(a), nanoseconds(b)), (Some(a), Some(b)) if a < b)
}

/// The moment so many nanoseconds before another, as RFC 3339.
#[must_use]
pub fn before(moment: &str, age_ns: u64) -> Option<String> {
    Some(write(nanoseconds(moment)? - i128::from(age_ns)))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days_before`], from the same source.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days - era * 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        for (text, settled) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("2026-11-24T10:03:33.120Z", "2026-11-24T10:03:33.12Z"),
            ("2024-02-29T23:30:00-01:00", "2024-03-01T00:30:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("2026-11-24T10:03:33.123456789+02:00", "2026-11-24T08:03:33.123456789Z"),
        ] {
            assert_eq!(nanoseconds(text).map(write).as_deref(), Some(settled), "{text}");
        }
        assert_eq!(nanoseconds("2001-09-09T01:46:40Z"), Some(1_000_000_000_000_000_000));
        for text in [
            "",
            "2026-11-24",
            "2026-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2026-11-24T10:03:33",
            "2026-11-24T10:03:33.Z",
            "2026-11-24T10:03:33Zx",
            "äöü6-11-24T10:03:33Z",
        ] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
