use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use der::DateTime;

/// A second in UTC, from 1970 to 9999, written as in RFC 3339: `2026-11-22T10:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(DateTime);

/// The text is not a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a date is written like 2026-11-22T10:00:00Z, from 1970 to 9999")]
pub struct DateError;

impl Date {
    /// From Unix seconds; `None` outside of the years that can be written.
    pub fn from_unix(seconds: u64) -> Option<Self> {
        DateTime::from_unix_duration(Duration::from_secs(seconds)).ok().map(Self)
    }

    /// Unix seconds.
    pub fn unix(self) -> u64 {
        self.0.unix_duration().as_secs()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = &self.0;
        write!(f, "{:04}-{:02}-{:02}T", d.year(), d.month(), d.day())?;
        write!(f, "{:02}:{:02}:{:02}Z", d.hour(), d.minutes(), d.seconds())
    }
}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let date = text.parse().map(Self).map_err(|_| DateError)?;
        // One spelling only.
        if date.to_string() == text { Ok(date) } else { Err(DateError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_one_spelling() {
        let date = Date::from_unix(1_795_428_000).unwrap();
        assert_eq!(date.to_string(), "2026-11-23T10:00:00Z");
        assert_eq!("2026-11-23T10:00:00Z".parse(), Ok(date));
        assert_eq!((date.unix(), Date::from_unix(u64::MAX)), (1_795_428_000, None));
        for wrong in [
            "",
            "2026-11-23",
            "2026-11-23 10:00:00Z",
            "2026-11-23T10:00:00+00:00",
            "2026-11-23T10:00:00z",
            "2026-11-23T10:00:60Z",
            "2026-02-30T10:00:00Z",
            "2026-11-23T10:00:00.0Z",
            "1969-12-31T23:59:59Z",
            "12026-11-23T10:00:00Z",
        ] {
            assert_eq!(wrong.parse::<Date>(), Err(DateError), "{wrong}");
        }
    }
}
