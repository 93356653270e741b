//! Durations as people write them: `"24h"`, `"1h30m"`, `"250ms"`, `"7d"`; sent to the server as nanoseconds.

const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// The nanoseconds of a duration; `None` where the text is none, or too long for the server's signed 64 bits.
///
/// What Go's `time.ParseDuration` takes (without a sign), and days and weeks.
///
/// ```
/// assert_eq!(streamproof_model::duration::parse("1h30m"), Some(5_400_000_000_000));
/// assert_eq!(streamproof_model::duration::parse("90"), None);
/// ```
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(0);
    }
    let mut total: u128 = 0;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0)?;
        let (number, after) = rest.split_at(digits);
        let end =
            after.find(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, u128::from(*nanos))?)?;
        rest = after.trim_start();
        parts += 1;
    }
    (parts > 0 && total <= i64::MAX as u128).then(|| u64::try_from(total).ok())?
}

/// A duration in words that [`parse`] reads back.
#[must_use]
pub fn format(nanos: u64) -> String {
    const SHOWN: &[(&str, u64)] = &[
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut rest = nanos;
    let mut text = String::new();
    for (unit, size) in SHOWN {
        if rest >= *size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// A decimal number times a unit; digits beyond a nanosecond are dropped, as Go does.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() > 20 || fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = whole.checked_mul(unit)?;
    let mut unit = unit;
    for digit in fraction.chars() {
        // Each place is worth a tenth of the one before it.
        unit /= 10;
        value = value.checked_add(u128::from(digit.to_digit(10)?) * unit)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let second = 1_000_000_000;
        for (text, nanos) in [
            ("24h", 86_400 * second),
            ("1h30m", 5_400 * second),
            ("1.5h", 5_400 * second),
            ("250ms", second / 4),
            ("7d", 7 * 86_400 * second),
            ("2w", 14 * 86_400 * second),
            ("0", 0),
            ("0s", 0),
            ("2m0s", 120 * second),
            (".5s", second / 2),
            ("1ns", 1),
            ("1h 30m", 5_400 * second),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
        }
        for text in [
            "",
            "24",
            "h",
            "-1s",
            "1x",
            "1.2.3s",
            ".s",
            "1h30",
            "300000000w",
            "99999999999999999999999s",
            "1e3s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for nanos in [0, 1, 999, 1_000, 1_500_000_000, 86_400_000_000_001, i64::MAX as u64] {
            assert_eq!(parse(&format(nanos)), Some(nanos), "{}", format(nanos));
        }
        assert_eq!(format(120_000_000_000), "2m");
    }
}
