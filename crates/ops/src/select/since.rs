//! The moment from which on images are meant: a date, or some time ago.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::SelectError;

/// A moment, as it is written: it may depend on when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// This one.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

impl Since {
    /// Parses a time (RFC 3339), a date (its beginning, UTC), or a duration: `72h`, `1h30m`, `7d`, `2w`.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let date = |date: Date| date.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
        // What has a zone is a time; a date alone is one, too, for who reads dates.
        let at = match text.parse::<Timestamp>() {
            Ok(at) => Some(at),
            Err(_) if text.len() == DATE_LENGTH => text.parse().ok().and_then(date),
            Err(_) => None,
        };
        let ago = || duration(text).map(Self::Ago);
        at.map(Self::At).or_else(ago).ok_or_else(|| {
            SelectError::new(format!("`{text}` is neither a date nor a duration")).with_hint(
                "write `2026-01-31`, `2026-01-31T12:00:00Z`, or how long ago: `72h`, `30d`",
            )
        })
    }

    /// Returns the moment, seen from `now`.
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => {
                let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
                now.checked_sub(ago).unwrap_or(Timestamp::MIN)
            }
        }
    }
}

/// `2026-01-31`.
const DATE_LENGTH: usize = 10;

fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    loop {
        let (end, unit) = rest.char_indices().find(|(_, c)| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            'w' => 7 * 24 * 3600,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(number.checked_mul(seconds)?))?;
        rest = &rest[end + unit.len_utf8()..];
        if rest.is_empty() {
            return Some(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_times_and_durations_are_moments() {
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
            ("72h", "2026-03-07T12:00:00Z"),
            ("1h30m", "2026-03-10T10:30:00Z"),
            ("1w2d", "2026-03-01T12:00:00Z"),
        ] {
            let moment = Since::parse(text).unwrap().moment(now);
            assert_eq!(moment, expected.parse().unwrap(), "{text}");
        }
        let ages = Since::Ago(Duration::MAX).moment(now);
        assert_eq!(ages, Timestamp::MIN);
        for bad in [
            "",
            "h",
            "72",
            "-1h",
            "1.5h",
            "1é",
            "yesterday",
            "2026-13-01",
            "2026-1-1",
            "99999999999999999999h",
        ] {
            assert!(Since::parse(bad).is_err(), "{bad}");
        }
    }
}
