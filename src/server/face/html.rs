//! The page for a directory. Names are whatever a file system takes, so everything that comes from outside goes
//! through [`Text`].

use std::fmt::{self, Write as _};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::order::{Column, Order};
use crate::content::hash_piece;
use crate::wire::{Entry, EntryKind, PdtpUri, SignedBy, UrlPath};

const STYLE: &str = "\
:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
h1{font-size:1.25rem;font-weight:600;overflow-wrap:anywhere}
a{text-decoration:none}a:hover,a:focus{text-decoration:underline}
table{border-collapse:collapse;width:100%}
th,td{padding:.2rem .5rem;text-align:left;border-bottom:1px solid color-mix(in srgb,currentcolor 15%,transparent)}
th{font-size:.85rem;font-weight:600}
td:first-child{overflow-wrap:anywhere}
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
th a{color:inherit}
.m,.s{color:inherit;opacity:.6;font-size:.85rem}
code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}
footer{font-size:.85rem;margin-top:1.5rem}
@media(max-width:40rem){body{margin:1rem auto}.t,.m{display:none}}
";

/// `Content-Security-Policy` of the page: this style sheet and nothing else, whatever gets into the page.
pub(super) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        format!(
            "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            STANDARD.encode(hash_piece(STYLE.as_bytes()).0)
        )
    });
    &POLICY
}

/// How a directory is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// What the entries are sorted by.
    pub(super) order: Order,
    /// All of them are here, so they can be sorted otherwise.
    pub(super) is_sortable: bool,
    /// Another order was asked for.
    pub(super) is_unsorted: bool,
    /// There are pages before.
    pub(super) is_later_page: bool,
    /// The link to the next page.
    pub(super) next: Option<&'a str>,
}

/// The page for the directory at `uri`.
pub(super) fn page(uri: &PdtpUri, entries: &[Entry], view: View<'_>) -> String {
    let mut out = String::with_capacity(2048 + entries.len() * 384);
    // Writing to a string does not fail.
    let _ = write_page(&mut out, uri, entries, view);
    out
}

fn write_page(out: &mut String, uri: &PdtpUri, entries: &[Entry], view: View<'_>) -> fmt::Result {
    let title =
        String::from_utf8_lossy(&percent_decode_str(uri.path.as_str()).collect::<Vec<_>>()).into_owned();
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} on {}</title>\n<style>{STYLE}</style>\n",
        Text(&title),
        Text(&uri.host)
    )?;
    write_trail(out, uri)?;
    if view.is_unsorted {
        out.write_str("<p>Too many entries to be sorted: by name.</p>\n")?;
    }
    write_head(out, view)?;
    if !uri.path.is_root() {
        out.write_str("<tr><td><a href=\"../\">../</a><td><td class=\"t\">\n")?;
    }
    if view.is_later_page {
        out.write_str("<tr><td><a href=\"./\">first page</a><td><td class=\"t\">\n")?;
    }
    for entry in entries {
        write_entry(out, uri, entry)?;
    }
    out.write_str("</tbody>\n</table>\n")?;
    if entries.is_empty() {
        out.write_str("<p>Nothing here.</p>\n")?;
    }
    if let Some(next) = view.next {
        writeln!(out, "<p><a href=\"{}\" rel=\"next\">next page</a></p>", Text(next))?;
    }
    let uri = uri.to_string();
    writeln!(
        out,
        "<footer><p>All of it, with the help of those who fetch it too: <code>pdtp get -r <a href=\"{0}\">{0}</a></code>\
         </p></footer>",
        Text(&uri)
    )
}

/// The head of the table, with links that sort it: they work without scripts.
fn write_head(out: &mut String, view: View<'_>) -> fmt::Result {
    out.write_str("<table>\n<thead><tr>")?;
    for (column, title, class) in
        [(Column::Name, "Name", ""), (Column::Size, "Size", "n"), (Column::Time, "Modified (UTC)", "n t")]
    {
        out.write_str("<th")?;
        if !class.is_empty() {
            write!(out, " class=\"{class}\"")?;
        }
        let is_sorted = view.order.column == column;
        let (way, arrow) = match (is_sorted, view.order.is_descending) {
            (false, _) => ("", ""),
            (true, false) => (" aria-sort=\"ascending\"", " \u{25b2}"),
            (true, true) => (" aria-sort=\"descending\"", " \u{25bc}"),
        };
        match view.is_sortable {
            true => write!(out, "{way}><a href=\"{}\">{title}</a>{arrow}", Text(&view.order.link(column)))?,
            false => write!(out, "{way}>{title}")?,
        }
    }
    out.write_str("</thead>\n<tbody>\n")
}

/// The way from the root to here.
fn write_trail(out: &mut String, uri: &PdtpUri) -> fmt::Result {
    write!(out, "<h1><a href=\"/\">{}</a>", Text(&uri.host))?;
    let mut path = UrlPath::root();
    for name in uri.path.components() {
        path = path.join(&name).map_err(|_| fmt::Error)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        write!(out, " / <a href=\"{}/\"><bdi>{}</bdi></a>", Text(path.as_str()), Text(&name))?;
    }
    out.write_str("</h1>\n")
}

fn write_entry(out: &mut String, dir: &PdtpUri, entry: &Entry) -> fmt::Result {
    // A path that starts with `./` is a path, even if it goes on like `javascript:`.
    let slash = if entry.kind == EntryKind::Dir { "/" } else { "" };
    let encoded = match &entry.path {
        Some(path) => path.clone(),
        None => match UrlPath::root().join(entry.name.as_bytes()) {
            Ok(path) => path.as_str().trim_start_matches('/').to_owned(),
            Err(_) => return Ok(()),
        },
    };
    write!(
        out,
        "<tr><td><a href=\"./{}{slash}\"><bdi>{}</bdi>{slash}</a>",
        Text(&encoded),
        Text(&entry.name)
    )?;
    if let (EntryKind::File, Ok(path)) = (entry.kind, UrlPath::parse(&format!("{}/{encoded}", dir.path))) {
        let uri = PdtpUri { path, is_dir: false, root: entry.root, ..dir.clone() }.to_string();
        write!(out, " <a class=\"m\" href=\"{}\">pdtp</a>", Text(&uri))?;
    }
    match entry.signed_by {
        Some(SignedBy::Server) => out.write_str(" <span class=\"s\">signed by the server</span>")?,
        _ if entry.signed => out.write_str(" <span class=\"s\">signed</span>")?,
        _ => {}
    }
    match entry.kind {
        EntryKind::Dir => out.write_str("<td>")?,
        EntryKind::File => {
            let unit = if entry.size == 1 { "byte" } else { "bytes" };
            write!(out, "<td class=\"n\" title=\"{} {unit}\">{}", entry.size, Size(entry.size))?;
        }
    }
    match entry.mtime.and_then(UtcTime::of) {
        Some(time) => writeln!(out, "<td class=\"n t\">{time}"),
        None => writeln!(out, "<td class=\"t\">"),
    }
}

/// Text from outside, made harmless in content and in quoted attributes.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // HTML has no way to write these.
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Bytes for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let (mut value, mut unit) = (self.0 as f64 / 1024.0, 0);
        // What would be rounded to 1024 is one of the next unit.
        while value >= 1023.5 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(value < 9.95);
        write!(f, "{value:.digits$} {}", UNITS[unit])
    }
}

/// A time of day in UTC, to the minute.
struct UtcTime {
    year: i64,
    month: i64,
    day: i64,
    minute_of_day: i64,
}

impl UtcTime {
    /// `None` where the year has not four digits.
    fn of(unix_seconds: i64) -> Option<Self> {
        let (days, seconds) = (unix_seconds.div_euclid(86_400), unix_seconds.rem_euclid(86_400));
        // Days since 1 March of year 0, so that a leap day is the last of its year, in cycles of 400 years.
        let days = days.checked_add(719_468)?;
        let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // Months from March on have 31, 30, 31, 30, 31, 31, 30, … days: 153 in five.
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = cycle * 400 + year + carry;
        (0..=9999).contains(&year).then_some(Self { year, month, day, minute_of_day: seconds / 60 })
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, minute_of_day } = self;
        let (hour, minute) = (minute_of_day / 60, minute_of_day % 60);
        write!(
            f,
            "<time datetime=\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}Z\">\
             {year:04}-{month:02}-{day:02} {hour:02}:{minute:02}</time>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10_188, "9.9 KiB"),
            (10_200, "10 KiB"),
            (1_048_575, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn times_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00"),
            (-1, "1969-12-31 23:59"),
            (951_782_400, "2000-02-29 00:00"),
            (1_709_251_199, "2024-02-29 23:59"),
            (4_107_542_400, "2100-03-01 00:00"),
            (253_402_300_799, "9999-12-31 23:59"),
        ] {
            let shown = UtcTime::of(seconds).unwrap().to_string();
            assert!(shown.contains(&format!(">{text}<")), "{shown} for {text}");
        }
        assert!(UtcTime::of(i64::MAX).is_none());
        assert!(UtcTime::of(253_402_300_800).is_none());
    }

    /// Every day of eight centuries, against the library that writes dates in HTTP.
    #[test]
    fn days_agree_with_httpdate() {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        for day in 0..290_000u64 {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(day * 86_400);
            let ours = UtcTime::of((day * 86_400) as i64).unwrap();
            let text = format!("{:02} {} {:04}", ours.day, MONTHS[ours.month as usize - 1], ours.year);
            assert!(httpdate::fmt_http_date(time).contains(&text), "{text}");
        }
    }
}
