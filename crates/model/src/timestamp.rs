//! Points in time as configs write them: RFC 3339, printed as Go's `time.Time` prints itself.
//!
//! There is no clock and no arithmetic here: a config's time is only checked and shown.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, normalized to Go's `RFC3339Nano`: no trailing zeros in the fraction, at most
/// nanoseconds, `Z` for an offset of zero, other offsets kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timestamp(String);

impl Timestamp {
    /// Parses an RFC 3339 time: `2024-02-29T12:00:00.25Z`, `2024-02-29T12:00:00+02:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let seconds = bytes.get(..SECONDS_LENGTH)?;
        let shaped = seconds.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            10 => *byte == b'T',
            13 | 16 => *byte == b':',
            _ => byte.is_ascii_digit(),
        });
        if !shaped || !is_calendar_time(seconds) {
            return None;
        }
        let (fraction, zone) = split_fraction(&text[SECONDS_LENGTH..])?;
        let zone = normal_zone(zone)?;
        let start = &text[..SECONDS_LENGTH];
        Some(Self(if fraction.is_empty() {
            format!("{start}{zone}")
        } else {
            format!("{start}.{fraction}{zone}")
        }))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
            serde::de::Error::custom(format!("`{shown}` is not an RFC 3339 time"))
        })
    }
}

/// The length of `2006-01-02T15:04:05`.
const SECONDS_LENGTH: usize = 19;

/// The digits of a fraction that Go keeps; it drops further ones without rounding.
const NANOSECOND_DIGITS: usize = 9;

fn is_calendar_time(seconds: &[u8]) -> bool {
    let number = |range: std::ops::Range<usize>| {
        seconds[range]
            .iter()
            .fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    };
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day) && number(11..13) < 24 && number(14..16) < 60 && number(17..19) < 60
}

/// Returns the fraction without trailing zeros, and what follows it.
fn split_fraction(rest: &str) -> Option<(&str, &str)> {
    let Some(rest) = rest.strip_prefix('.') else {
        return Some(("", rest));
    };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    if end == 0 {
        return None;
    }
    let (fraction, zone) = rest.split_at(end);
    let fraction = &fraction[..end.min(NANOSECOND_DIGITS)];
    Some((fraction.trim_end_matches('0'), zone))
}

fn normal_zone(zone: &str) -> Option<&str> {
    if zone == "Z" {
        return Some(zone);
    }
    let [sign, h1, h2, b':', m1, m2] = zone.as_bytes() else {
        return None;
    };
    let digits = [h1, h2, m1, m2];
    if !matches!(sign, b'+' | b'-') || !digits.iter().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let two = |tens: &u8, ones: &u8| (tens - b'0') * 10 + (ones - b'0');
    match (two(h1, h2), two(m1, m2)) {
        (0, 0) => Some("Z"),
        (0..24, 0..60) => Some(zone),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_go_prints_them() {
        for (written, normal) in [
            (
                "2015-10-31T22:22:56.015925234Z",
                "2015-10-31T22:22:56.015925234Z",
            ),
            (
                "2015-10-31T22:22:56.015925000Z",
                "2015-10-31T22:22:56.015925Z",
            ),
            ("2015-10-31T22:22:56.000Z", "2015-10-31T22:22:56Z"),
            (
                "2015-10-31T22:22:56.1234567899Z",
                "2015-10-31T22:22:56.123456789Z",
            ),
            ("2015-10-31T22:22:56.0000000009Z", "2015-10-31T22:22:56Z"),
            ("1970-01-01T00:00:00+00:00", "1970-01-01T00:00:00Z"),
            ("1970-01-01T00:00:00-00:00", "1970-01-01T00:00:00Z"),
            (
                "1970-01-01T00:00:00.50+02:00",
                "1970-01-01T00:00:00.5+02:00",
            ),
            ("1970-01-01T00:00:00-00:30", "1970-01-01T00:00:00-00:30"),
            ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp::parse(written).unwrap().as_str(), normal);
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for bad in [
            "",
            "2015-10-31",
            "2015-10-31T22:22:56",
            "2015-10-31t22:22:56Z",
            "2015-10-31T22:22:56z",
            "2015-10-31 22:22:56Z",
            "2015-10-31T22:22:56.Z",
            "2015-10-31T22:22:56,5Z",
            "2015-10-31T22:22:60Z",
            "2015-10-31T24:00:00Z",
            "2015-13-01T00:00:00Z",
            "2015-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2015-10-00T00:00:00Z",
            "2015-10-31T22:22:56+24:00",
            "2015-10-31T22:22:56+02:60",
            "2015-10-31T22:22:56+0200",
            "2015-10-31T22:22:56ZZ",
            "2015-10-31T22:22:56.5",
            "15-10-31T22:22:56Z",
            "２015-10-31T22:22:56Z",
            "2015-10-31T22:22:56.５Z",
        ] {
            assert!(Timestamp::parse(bad).is_none(), "{bad}");
        }
    }
}
