//! Bytes and times as people write them.

use std::time::Duration;

/// A number, optionally with K, M or G (powers of 1024), and optionally a B after that.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let bare = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B')).unwrap_or(&upper);
    let (digits, factor) = match bare.char_indices().next_back() {
        Some((at, 'K')) => (&bare[..at], 1 << 10),
        Some((at, 'M')) => (&bare[..at], 1 << 20),
        Some((at, 'G')) => (&bare[..at], 1 << 30),
        _ => (bare, 1u64),
    };
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "a number of bytes, such as 65536, 512K, 10M or 2G".to_owned())
}

/// How many of something there are to be, at least one.
pub(crate) fn parse_count(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "a number, 1 or more".to_owned())
}

/// Seconds, or a number with ms, s, m or h.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let milliseconds: Option<u64> = match unit.trim() {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60 * 1000),
        "h" => Some(60 * 60 * 1000),
        _ => None,
    };
    digits
        .parse::<u64>()
        .ok()
        .zip(milliseconds)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .map(Duration::from_millis)
        .ok_or_else(|| "a time, such as 500ms, 10s or 5m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("1k", 1024),
            ("10M", 10 << 20),
            ("2GiB", 2 << 30),
            ("5 ".trim(), 5),
            ("3MB", 3 << 20),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "-1", "1.5M", "99999999999G", "1T", "ü"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in
            [("0", 0), ("10", 10_000), ("10s", 10_000), ("250ms", 250), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1", "1d", "1.5s", "ü", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
