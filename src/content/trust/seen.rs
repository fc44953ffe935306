//! What was seen: the newest date of each path and key, so that nobody can serve an old version as if it were new.

use std::collections::HashMap;
use std::fmt;

use crate::content::Date;
use crate::content::keys::Fingerprint;
use crate::wire::UrlPath;

/// Dates by path and key. Not by server: what is old is old on every mirror.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    newest: HashMap<(UrlPath, Fingerprint), Date>,
    lines: usize,
}

/// One line of the file that keeps them: `PATH FINGERPRINT DATE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenEntry {
    /// The file.
    pub path: UrlPath,
    /// Who signed it.
    pub key: Fingerprint,
    /// What the manifest says.
    pub date: Date,
}

impl Seen {
    /// Reads the file. A line that makes no sense is skipped: the last one may have been cut by a crash.
    pub fn parse(text: &str) -> Self {
        let mut seen = Self::default();
        for line in text.lines() {
            seen.lines += 1;
            let mut words = line.split(' ');
            let entry = (words.next(), words.next(), words.next(), words.next());
            if let (Some(path), Some(key), Some(date), None) = entry
                && let (Ok(path), Ok(key), Ok(date)) = (UrlPath::parse(path), key.parse(), date.parse())
            {
                seen.note(SeenEntry { path, key, date });
            }
        }
        seen
    }

    /// Remembers; answers whether that was news.
    pub fn note(&mut self, entry: SeenEntry) -> bool {
        let SeenEntry { path, key, date } = entry;
        let before = self.newest(&path, &key);
        let is_news = before.is_none_or(|before| before < date);
        if is_news {
            self.newest.insert((path, key), date);
        }
        is_news
    }

    /// The file anew: one line for each path and key.
    pub fn to_text(&self) -> String {
        let entries = self.newest.iter();
        entries.map(|((path, key), date)| format!("{path} {key} {date}\n")).collect()
    }

    /// Whether most lines of the file that was read say what later ones say better.
    pub fn is_wasteful(&self) -> bool {
        self.lines > 1000 && self.lines / 2 > self.newest.len()
    }

    /// The newest date of a path by a key.
    pub fn newest(&self, path: &UrlPath, key: &Fingerprint) -> Option<Date> {
        self.newest.get(&(path.clone(), *key)).copied()
    }
}

impl fmt::Display for SeenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.path, self.key, self.date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_date_counts() {
        let hex = "ab".repeat(32);
        let text =
            format!("/a {hex} 2026-01-02T00:00:00Z\n/a {hex} 2026-01-01T00:00:00Z\n/b {hex}\n/c {hex} 20");
        let mut seen = Seen::parse(&text);
        let (path, key) = (UrlPath::parse("/a").unwrap(), hex.parse().unwrap());
        let date = |text: &str| text.parse::<Date>().unwrap();
        assert_eq!(seen.newest(&path, &key), Some(date("2026-01-02T00:00:00Z")));
        assert_eq!(seen.to_text(), format!("/a {hex} 2026-01-02T00:00:00Z\n"));
        let entry = |text| SeenEntry { path: path.clone(), key, date: date(text) };
        assert!(!seen.note(entry("2026-01-02T00:00:00Z")));
        assert!(seen.note(entry("2026-01-03T00:00:00Z")));
        assert_eq!(seen.newest(&path, &key), Some(date("2026-01-03T00:00:00Z")));
        assert_eq!(seen.newest(&UrlPath::parse("/b").unwrap(), &key), None);
    }
}
