//! Conditional requests, RFC 9110 section 13: what to do with a file, given its validators and the request's fields.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::peer::head::Fields;

/// What names the state of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validators {
    /// Without quotes and `W/`.
    pub(super) tag: String,
    /// Another content of the same file may have the same tag.
    pub(super) is_weak: bool,
    /// Unix seconds; `None` where it is nothing to go by: before 1970 or in the future.
    pub(super) mtime: Option<u64>,
}

/// What the conditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer; a `Range` counts or does not.
    Proceed { with_range: bool },
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl Validators {
    pub(super) fn etag(&self) -> String {
        format!("{}\"{}\"", if self.is_weak { "W/" } else { "" }, self.tag)
    }

    pub(super) fn last_modified(&self) -> Option<String> {
        let time = UNIX_EPOCH.checked_add(Duration::from_secs(self.mtime?))?;
        // The last second that the format can say.
        (self.mtime? < 253_402_300_800).then(|| httpdate::fmt_http_date(time))
    }

    /// In the order of section 13.2.2.
    pub(super) fn judge(&self, fields: &Fields, is_get: bool) -> Verdict {
        if let Some(list) = Tags::of(fields, "if-match") {
            if !list.has(|tag, is_weak| !is_weak && !self.is_weak && tag == self.tag) {
                return Verdict::Failed;
            }
        } else if let (Some(limit), Some(mtime)) = (date_of(fields, "if-unmodified-since"), self.mtime)
            && mtime > limit
        {
            return Verdict::Failed;
        }
        if let Some(list) = Tags::of(fields, "if-none-match") {
            if list.has(|tag, _| tag == self.tag) {
                return Verdict::NotModified;
            }
        } else if let (Some(since), Some(mtime)) = (date_of(fields, "if-modified-since"), self.mtime)
            && mtime <= since
        {
            return Verdict::NotModified;
        }
        Verdict::Proceed { with_range: is_get && self.is_range_meant(fields) }
    }

    /// `If-Range`: the rest of the file is of use only to who has the start of this very one.
    fn is_range_meant(&self, fields: &Fields) -> bool {
        let Some(field) = fields.get("if-range") else { return true };
        let field = field.trim();
        if field.starts_with('"') || field.starts_with("W/") {
            return parse_tag(field)
                .is_some_and(|(tag, is_weak, _)| !is_weak && !self.is_weak && tag == self.tag);
        }
        // A date that is exactly ours, and not so young that the file may have changed twice in that second.
        let is_settled = |mtime: u64| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .is_ok_and(|now| now.as_secs() > mtime.saturating_add(1))
        };
        self.mtime.is_some_and(|mtime| parse_date(field) == Some(mtime) && is_settled(mtime))
    }
}

/// The entity tags of a field.
enum Tags<'a> {
    Any,
    Listed(Vec<(&'a str, bool)>),
}

impl<'a> Tags<'a> {
    /// `None` = no such field. What cannot be read in it matches nothing.
    fn of(fields: &'a Fields, name: &str) -> Option<Self> {
        let mut listed = None;
        for (_, value) in fields.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)) {
            if value.trim() == "*" {
                return Some(Self::Any);
            }
            let listed: &mut Vec<_> = listed.get_or_insert_default();
            let mut rest = value.as_str();
            while let Some((tag, is_weak, after)) = parse_tag(rest.trim_start_matches([' ', '\t', ','])) {
                listed.push((tag, is_weak));
                rest = after;
            }
        }
        listed.map(Self::Listed)
    }

    fn has(&self, is_it: impl Fn(&str, bool) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|(tag, is_weak)| is_it(tag, *is_weak)),
        }
    }
}

/// The tag at the start of `text`, whether it is weak, and what follows it.
fn parse_tag(text: &str) -> Option<(&str, bool, &str)> {
    let (text, is_weak) = text.strip_prefix("W/").map_or((text, false), |text| (text, true));
    let (tag, after) = text.strip_prefix('"')?.split_once('"')?;
    Some((tag, is_weak, after))
}

fn date_of(fields: &Fields, name: &str) -> Option<u64> {
    parse_date(fields.get(name)?.trim())
}

/// Unix seconds; `None` for what is no date: such a field is ignored.
fn parse_date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "Sun, 09 Sep 2001 01:46:39 GMT";
    const EXACT: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const AFTER: &str = "Sun, 09 Sep 2001 01:46:41 GMT";
    const ALL: Verdict = Verdict::Proceed { with_range: true };
    const WHOLE: Verdict = Verdict::Proceed { with_range: false };

    fn validators(is_weak: bool) -> Validators {
        Validators { tag: "abc".into(), is_weak, mtime: Some(1_000_000_000) }
    }

    fn judge(is_weak: bool, fields: &[(&str, &str)]) -> Verdict {
        let fields = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        validators(is_weak).judge(&Fields(fields), true)
    }

    #[test]
    fn each_condition_alone() {
        use Verdict::{Failed, NotModified};
        // Field, value, verdict on a file with a strong tag, and with a weak one.
        for (name, value, strong, weak) in [
            ("If-Match", "\"abc\"", ALL, Failed),
            ("If-Match", "W/\"abc\"", Failed, Failed),
            ("If-Match", "\"x\", \"abc\"", ALL, Failed),
            ("If-Match", "\"x,\", W/\"y\"", Failed, Failed),
            ("If-Match", "*", ALL, ALL),
            ("If-Match", "abc", Failed, Failed),
            ("If-Match", "", Failed, Failed),
            ("If-None-Match", "\"abc\"", NotModified, NotModified),
            ("If-None-Match", "W/\"abc\"", NotModified, NotModified),
            ("If-None-Match", "\"x\",,\t\"abc\"", NotModified, NotModified),
            ("If-None-Match", "\"x\"", ALL, ALL),
            ("If-None-Match", "*", NotModified, NotModified),
            ("If-Modified-Since", BEFORE, ALL, ALL),
            ("If-Modified-Since", EXACT, NotModified, NotModified),
            ("If-Modified-Since", AFTER, NotModified, NotModified),
            ("If-Modified-Since", "yesterday", ALL, ALL),
            ("If-Unmodified-Since", BEFORE, Failed, Failed),
            ("If-Unmodified-Since", EXACT, ALL, ALL),
            ("If-Unmodified-Since", "yesterday", ALL, ALL),
            ("If-Range", "\"abc\"", ALL, WHOLE),
            ("If-Range", "W/\"abc\"", WHOLE, WHOLE),
            ("If-Range", "\"x\"", WHOLE, WHOLE),
            ("If-Range", BEFORE, WHOLE, WHOLE),
            ("If-Range", EXACT, ALL, ALL),
            ("If-Range", AFTER, WHOLE, WHOLE),
            ("If-Range", "rubbish", WHOLE, WHOLE),
        ] {
            assert_eq!(judge(false, &[(name, value)]), strong, "{name}: {value}");
            assert_eq!(judge(true, &[(name, value)]), weak, "{name}: {value}, weak");
        }
    }

    #[test]
    fn tags_go_before_dates() {
        assert_eq!(judge(false, &[("If-None-Match", "\"x\""), ("If-Modified-Since", AFTER)]), ALL);
        assert_eq!(judge(false, &[("If-Match", "\"abc\""), ("If-Unmodified-Since", BEFORE)]), ALL);
        assert_eq!(judge(false, &[("If-Match", "\"x\""), ("If-None-Match", "\"abc\"")]), Verdict::Failed);
        let both = [("If-Match", "\"abc\""), ("If-None-Match", "\"abc\"")];
        assert_eq!(judge(false, &both), Verdict::NotModified);
    }

    #[test]
    fn a_field_may_come_in_several_lines() {
        let lines = [("If-None-Match", "\"x\""), ("if-none-match", "\"abc\"")];
        assert_eq!(judge(false, &lines), Verdict::NotModified);
    }

    #[test]
    fn ranges_are_for_get() {
        assert_eq!(validators(false).judge(&Fields::default(), false), WHOLE);
    }

    #[test]
    fn a_young_date_is_not_believed() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let young = Validators { mtime: Some(now), ..validators(false) };
        let fields = Fields(vec![("If-Range".into(), young.last_modified().unwrap())]);
        assert_eq!(young.judge(&fields, true), WHOLE);
    }

    #[test]
    fn times_that_no_date_can_say() {
        let at = |mtime| Validators { mtime, ..validators(false) }.last_modified();
        assert_eq!(at(Some(1_000_000_000)).as_deref(), Some(EXACT));
        assert_eq!(at(None), None);
        assert_eq!(at(Some(u64::MAX)), None);
        assert_eq!(at(Some(253_402_300_800)), None);
    }
}
