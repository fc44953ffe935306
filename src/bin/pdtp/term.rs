//! Text for people: sizes, times, dates, and names that cannot harm a terminal.

use std::fmt::Write as _;
use std::time::Duration;

/// `1.5 MiB`: three significant digits, powers of 1024.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be rounded to "1024.0".
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1.5 MiB/s`.
pub(crate) fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", size(bytes_per_second))
}

/// Bytes a second over a time; a time too short to measure counts as a millisecond.
pub(crate) fn rate_over(bytes: u64, time: Duration) -> u64 {
    (bytes as f64 / time.as_secs_f64().max(0.001)) as u64
}

/// `850 ms`, `12.3 s`, `4 min 05 s`, `3 h 20 min`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64().min(59.9)),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A time to go: an estimate, so without fractions.
pub(crate) fn time_left(time: Duration) -> String {
    match time.as_secs() {
        0 => "<1 s".to_owned(),
        seconds @ 1..60 => format!("{seconds} s"),
        _ => duration(time),
    }
}

/// Part of a whole in percent, rounded down, so that 100 means all. An empty whole is all there.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    match whole {
        0 => 100,
        _ => (u128::from(part.min(whole)) * 100 / u128::from(whole)) as u64,
    }
}

/// What the server does before it answers with a page of a directory.
pub(crate) fn reading(entries: u64) -> String {
    match entries {
        0 => "the server is reading other directories first".to_owned(),
        1 => "the server is reading the directory: 1 entry so far".to_owned(),
        more => format!("the server is reading the directory: {more} entries so far"),
    }
}

/// `2026-11-23 10:05:00` UTC, of Unix seconds.
pub(crate) fn date(unix: i64) -> String {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    // Days since 0000-03-01, in cycles of 400 years: a year that begins in March has its odd day at the end.
    let day = days + 719_468;
    let (cycle, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let day = day - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year + cycle * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second % 3600 / 60, second % 60)
}

/// A name as it may be shown on a terminal: control characters, bytes that are not UTF-8, and characters that
/// change the direction of the text around them are written as escapes. What it returns is one line.
pub(crate) fn safe(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_hostile(c) {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The name of a plain enum value as one word for machines: `OriginBusy` is `origin_busy`.
pub(crate) fn word(value: impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        // Line and paragraph separators; marks, embeddings, overrides and isolates of direction.
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (12_340, "12.3 s"),
            (59_990, "59.9 s"),
            (245_000, "4 min 05 s"),
            (12_000_000, "3 h 20 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn times_left_have_no_fractions() {
        assert_eq!(time_left(Duration::from_millis(300)), "<1 s");
        assert_eq!(time_left(Duration::from_millis(12_900)), "12 s");
        assert_eq!(time_left(Duration::from_secs(245)), "4 min 05 s");
    }

    #[test]
    fn percents_round_down() {
        assert_eq!(percent(999, 1000), 99);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(2, 1), 100);
    }

    #[test]
    fn dates() {
        // From `date -u -d @N '+%F %T'`.
        for (unix, text) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_795_428_000, "2026-11-23 10:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (-62_135_596_800, "0001-01-01 00:00:00"),
        ] {
            assert_eq!(date(unix), text);
        }
    }

    #[test]
    fn dates_of_any_number_do_not_panic() {
        for unix in [i64::MIN, i64::MAX] {
            assert!(!date(unix).is_empty());
        }
    }

    #[test]
    fn names_for_machines() {
        use pdtp::client::ErrorKind;
        assert_eq!(word(ErrorKind::NotFound), "not_found");
        assert_eq!(word(ErrorKind::Io), "io");
    }

    #[test]
    fn hostile_names() {
        assert_eq!(safe("straße 中".as_bytes()), "straße 中");
        assert_eq!(safe(b"a\x1b]0;x\x07\nb\t\x7f"), "a\\u{1b}]0;x\\u{7}\\nb\\t\\u{7f}");
        assert_eq!(safe(b"\xff\xfeok"), "\\xff\\xfeok");
        assert_eq!(safe("\u{9b}31m\u{202e}gpj.exe".as_bytes()), "\\u{9b}31m\\u{202e}gpj.exe");
    }
}
