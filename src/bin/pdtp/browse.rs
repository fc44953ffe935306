//! `pdtp ls` and `pdtp stat`.

use std::cmp::Reverse;
use std::io::{BufWriter, IsTerminal as _, StdoutLock, Write};
use std::time::Duration;

use pdtp::client::{Error, ErrorKind, Seeding};
use pdtp::content::rdl;
use pdtp::content::trust::{Status, Verdict};
use pdtp::wire::{Attribute, Attributes, Entry, EntryKind, PdtpUri, SignedBy, UrlPath};
use serde_json::json;

use crate::args::{self, Ls, Stat};
use crate::exit::Failure;
use crate::filter::Condition;
use crate::link::{App, Link};
use crate::term;
use crate::verify::{json_of, sentence};

/// How long to go on while nothing comes, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Entries kept in memory to be sorted.
const MAX_SORTED: usize = 4 * 1024 * 1024;

/// Levels of `ls -R`: all.
pub(crate) const ALL_LEVELS: u32 = u32::MAX;

pub(crate) fn ls(args: &Ls) -> Result<(), Failure> {
    let app = App::start(args::config(&args.network, None, Seeding::Off)?)?;
    let mut link = app.link(&args.uri, args.network.patience(PATIENCE))?;
    let mut out = Out::new();
    let depth = if args.recursive { ALL_LEVELS } else { 1 };
    let is_rich = args.rdl || args.conditions.iter().any(Condition::is_rich);
    let op = match is_rich {
        true => link.session.list_rich_start(&args.uri.path, depth, 0)?,
        false => link.session.list_start(&args.uri.path, depth, 0)?,
    };
    let is_sorted = args.by_time || args.by_size || args.reverse;
    let mut kept = Vec::new();
    let dir = &args.uri.path;
    let mut is_begun = false;
    let mut pending = 0u64;
    let listed = link.pages(op, |mut listing| {
        let is_pending = |entry: &Entry| entry.about.as_ref().is_some_and(|about| about.is_pending);
        pending += listing.entries.iter().filter(|entry| is_pending(entry)).count() as u64;
        listing.entries.retain(|entry| args.conditions.iter().all(|condition| condition.holds(entry)));
        if args.rdl && !std::mem::replace(&mut is_begun, true) {
            out.text(&rdl::begin(dir))?;
        }
        if is_sorted {
            kept.extend(listing.entries);
            if kept.len() > MAX_SORTED {
                let text = "too many entries to be sorted; list them without -t, -S and -r";
                return Err(Error::new(ErrorKind::Limit, text).into());
            }
            return Ok(());
        }
        listing.entries.iter().try_for_each(|entry| out.ls_line(args, dir, entry))?;
        // A long listing is to be seen while it grows.
        out.flush()
    });
    let listed = listed.and_then(|()| {
        sort(&mut kept, args);
        kept.iter().try_for_each(|entry| out.ls_line(args, dir, entry))?;
        if args.rdl {
            out.text(rdl::end())?;
        }
        out.flush()?;
        if is_rich && pending > 0 {
            eprintln!(
                "pdtp: the server has not looked at {pending} of the files yet; ask again for what they are"
            );
        }
        Ok(())
    });
    match listed {
        Err(Failure::Error(error)) if error.kind == ErrorKind::Argument && !args.uri.is_dir => {
            ls_file(args, &mut link, &mut out, error)
        }
        other => other,
    }
}

/// They come by name, and equals stay in that order, as those of `ls` do.
fn sort(entries: &mut [Entry], args: &Ls) {
    if args.by_time {
        entries.sort_by_key(|entry| Reverse(entry.mtime));
    } else if args.by_size {
        entries.sort_by_key(|entry| Reverse(entry.size));
    }
    if args.reverse {
        entries.reverse();
    }
}

/// Like `ls` of a file: the file itself.
fn ls_file(args: &Ls, link: &mut Link<'_>, out: &mut Out, error: Error) -> Result<(), Failure> {
    let entry = link.stat(&args.uri)?;
    match (entry.kind, args.uri.path.parent()) {
        (EntryKind::File, Some(dir)) => {
            if args.rdl {
                out.text(&rdl::begin(&dir))?;
            }
            if args.conditions.iter().all(|condition| condition.holds(&entry)) {
                out.ls_line(args, &dir, &entry)?;
            }
            if args.rdl {
                out.text(rdl::end())?;
            }
            out.flush()
        }
        _ => Err(error.into()),
    }
}

pub(crate) fn stat(args: &Stat) -> Result<(), Failure> {
    let mut config = args::config(&args.network, None, Seeding::Off)?;
    args.signatures.apply(&mut config, false)?;
    let app = App::start(config)?;
    let mut out = Out::new();
    for (index, uri) in args.uri.iter().enumerate() {
        let mut link = app.link(uri, args.network.patience(PATIENCE))?;
        let (entry, verdict) = link.judged(uri)?;
        let verdict = verdict.as_deref();
        let dir = uri.path.parent().unwrap_or_else(UrlPath::root);
        if args.json {
            out.json(uri, &dir, &entry, verdict)?;
        } else {
            if index > 0 {
                out.line(b"")?;
            }
            out.stat_lines(uri, &entry, verdict)?;
        }
        out.flush()?;
    }
    Ok(())
}

/// Standard output, with the difference between a terminal and a file.
struct Out {
    to: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Out {
    fn new() -> Self {
        let to = std::io::stdout().lock();
        Self { is_terminal: to.is_terminal(), to: BufWriter::new(to) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(Failure::stdout)
    }

    fn line(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.to.write_all(text).and_then(|()| self.to.write_all(b"\n")).map_err(Failure::stdout)
    }

    fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.to.write_all(text.as_bytes()).map_err(Failure::stdout)
    }

    fn ls_line(&mut self, args: &Ls, dir: &UrlPath, entry: &Entry) -> Result<(), Failure> {
        if args.rdl {
            let path = path_of(dir, entry)?;
            let above = if dir.is_root() { "" } else { dir.as_str() };
            let relative = path.as_str().strip_prefix(above).map_or("", |rest| rest.trim_start_matches('/'));
            return self.text(&rdl::entry(relative, entry));
        }
        if args.json {
            return self.json(&args.uri, dir, entry, None);
        }
        let mut line = if args.long { long(entry, args.human).into_bytes() } else { Vec::new() };
        let name = raw_name(entry);
        if self.is_terminal {
            line.extend_from_slice(term::safe(&name).as_bytes());
        } else {
            line.extend_from_slice(&name);
        }
        if entry.kind == EntryKind::Dir {
            line.push(b'/');
        }
        self.line(&line)
    }

    fn json(
        &mut self,
        server: &PdtpUri,
        dir: &UrlPath,
        entry: &Entry,
        verdict: Option<&Verdict>,
    ) -> Result<(), Failure> {
        let uri = uri_of(server, path_of(dir, entry)?, entry);
        let mut value = json!({
            "name": entry.name,
            "path": uri.path.as_str(),
            "type": entry.kind,
            "size": entry.size,
            "mtime": entry.mtime,
            "root": entry.root,
            "mime": entry.mime,
            "signed": entry.signed,
            "uri": uri.to_string(),
        });
        if let Some(by) = entry.signed_by {
            value["signed_by"] = json!(by);
        }
        if let Some(about) = &entry.about {
            value["metadata"] = metadata(&about.attributes);
        }
        if let Some(verdict) = verdict {
            value["verdict"] = json_of(verdict);
        }
        self.line(value.to_string().as_bytes())
    }

    fn stat_lines(
        &mut self,
        server: &PdtpUri,
        entry: &Entry,
        verdict: Option<&Verdict>,
    ) -> Result<(), Failure> {
        let uri = uri_of(server, server.path.clone(), entry);
        let is_file = entry.kind == EntryKind::File;
        let kind = match (entry.kind, &entry.mime) {
            (EntryKind::Dir, _) => "directory".to_owned(),
            (EntryKind::File, None) => "file".to_owned(),
            (EntryKind::File, Some(mime)) => format!("file, {}", term::safe(mime.as_bytes())),
        };
        let mut rows = vec![
            ("Name", Some(term::safe(&server.path.file_name()))),
            ("Type", Some(kind)),
            ("Size", is_file.then(|| format!("{} ({} bytes)", term::size(entry.size), entry.size))),
            ("Date", entry.mtime.map(|mtime| format!("{} UTC", term::date(mtime)))),
            ("Root", entry.root.map(|root| root.to_string())),
            ("Signed", verdict.map(signed)),
            ("URI", Some(uri.to_string())),
        ];
        if let Some(about) = entry.about.as_ref().filter(|_| is_file) {
            rows.extend(words(&about.attributes).into_iter().map(|(label, value)| (label, Some(value))));
            if about.is_pending {
                rows.push(("More", Some("the server has not looked at it yet".to_owned())));
            }
        }
        let width = rows.iter().map(|(label, _)| label.len() + 1).max().unwrap_or(0).max(7);
        for (label, value) in rows {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                self.line(format!("{:<width$} {value}", format!("{label}:")).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// What the signatures of a file are worth.
fn signed(verdict: &Verdict) -> String {
    match verdict.status {
        Status::Unsigned if verdict.expected => "no, but it should be".to_owned(),
        Status::Unsigned => "no".to_owned(),
        status => format!("{}: {}", status.word(), sentence(verdict)),
    }
}

/// All values by their names.
fn metadata(attributes: &Attributes) -> serde_json::Value {
    let mut all = serde_json::Map::new();
    for (attribute, value) in attributes.iter() {
        let values = all.entry(attribute.name()).or_insert_with(|| json!([]));
        if let Some(values) = values.as_array_mut() {
            values.push(json!(value));
        }
    }
    all.into()
}

/// Metadata for people: a line for each of Dublin Core, and one for what can be seen and heard.
fn words(attributes: &Attributes) -> Vec<(&'static str, String)> {
    let label = |attribute| match attribute {
        Attribute::Title => "Title",
        Attribute::Creator => "Creator",
        Attribute::Subject => "Subject",
        Attribute::Description => "Description",
        Attribute::Publisher => "Publisher",
        Attribute::Contributor => "Contributor",
        Attribute::Date => "Dated",
        Attribute::Type => "Kind",
        Attribute::Identifier => "Identifier",
        Attribute::Source => "Source",
        Attribute::Language => "Language",
        Attribute::Relation => "Relation",
        Attribute::Coverage => "Coverage",
        Attribute::Rights => "Rights",
        _ => "",
    };
    let mut rows: Vec<_> = attributes
        .iter()
        .map(|(attribute, value)| (label(attribute), term::safe(value.as_bytes())))
        .filter(|(label, _)| !label.is_empty())
        .collect();
    let number = |attribute| attributes.get(attribute).and_then(|value| value.parse::<f64>().ok());
    let mut media: Vec<String> =
        attributes.values(Attribute::Codec).map(|codec| term::safe(codec.as_bytes())).collect();
    if let Some((width, height)) = attributes.get(Attribute::Width).zip(attributes.get(Attribute::Height)) {
        media.push(format!("{width} x {height}"));
    }
    media.extend(attributes.get(Attribute::SampleRate).map(|rate| format!("{rate} Hz")));
    media.extend(attributes.get(Attribute::Channels).map(|count| match count {
        "1" => "mono".to_owned(),
        "2" => "stereo".to_owned(),
        more => format!("{more} channels"),
    }));
    let duration = number(Attribute::Duration).and_then(|time| Duration::try_from_secs_f64(time).ok());
    media.extend(duration.map(term::duration));
    media.extend(number(Attribute::Bitrate).map(|rate| format!("{:.0} kbit/s", rate / 1000.0)));
    if !media.is_empty() {
        rows.push(("Media", media.join(", ")));
    }
    rows
}

/// What comes before the name, in columns.
fn long(entry: &Entry, human: bool) -> String {
    let size = match entry.kind {
        EntryKind::Dir => "-".to_owned(),
        EntryKind::File if human => term::size(entry.size),
        EntryKind::File => entry.size.to_string(),
    };
    let date = entry.mtime.map_or_else(|| "-".to_owned(), term::date);
    let signed = match entry.signed_by {
        Some(SignedBy::Server) => "server",
        Some(SignedBy::Publisher) => "signed",
        // A server that does not say by whom.
        _ if entry.signed => "signed",
        _ => "-",
    };
    let width = if human { 10 } else { 14 };
    format!("{size:>width$}  {date:<19}  {signed:<6}  ")
}

/// The bytes of the name, relative to what was listed.
fn raw_name(entry: &Entry) -> Vec<u8> {
    match &entry.path {
        // A `/` in front makes it a path that can be taken apart.
        Some(path) => match UrlPath::parse(&format!("/{path}")) {
            Ok(path) => path.components().collect::<Vec<_>>().join(&b'/'),
            Err(_) => entry.name.clone().into_bytes(),
        },
        None => entry.name.clone().into_bytes(),
    }
}

pub(crate) fn path_of(dir: &UrlPath, entry: &Entry) -> Result<UrlPath, Error> {
    raw_name(entry).split(|byte| *byte == b'/').try_fold(dir.clone(), |path, name| path.join(name)).map_err(
        |error| {
            let name = term::safe(entry.name.as_bytes());
            Error::new(ErrorKind::Protocol, format!("the server lists the impossible name {name}: {error}"))
        },
    )
}

/// The URI of this very version, where it is known.
fn uri_of(server: &PdtpUri, path: UrlPath, entry: &Entry) -> PdtpUri {
    PdtpUri {
        host: server.host.clone(),
        port: server.port,
        path,
        is_dir: entry.kind == EntryKind::Dir,
        root: entry.root,
        keys: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, path: Option<&str>) -> Entry {
        Entry { name: name.to_owned(), path: path.map(str::to_owned), ..Entry::default() }
    }

    #[test]
    fn names_are_the_bytes_on_the_server() {
        assert_eq!(raw_name(&entry("a b", None)), b"a b");
        assert_eq!(raw_name(&entry("a/\u{fffd}", Some("a/%FF"))), b"a/\xff");
        assert_eq!(
            path_of(&UrlPath::parse("/d").unwrap(), &entry("a b/c", None)).unwrap().as_str(),
            "/d/a%20b/c"
        );
    }

    #[test]
    fn a_server_cannot_list_its_way_out() {
        let dir = UrlPath::parse("/d").unwrap();
        assert!(path_of(&dir, &entry("../x", None)).is_err());
        assert!(path_of(&dir, &entry("x", Some("..%2Fx"))).is_ok_and(|path| path.as_str() == "/d/x"));
    }

    #[test]
    fn sorted_as_ls_does() {
        use clap::Parser as _;
        let sorted = |flags: &str| {
            let line = ["pdtp", "ls", "pdtp://h/"].into_iter().chain(flags.split_whitespace());
            let args::Command::Ls(args) = args::Cli::parse_from(line).command else { unreachable!() };
            let mut all = [("a", 5, 3), ("b", 9, 1), ("c", 5, 2)].map(|(name, size, mtime)| Entry {
                size,
                mtime: Some(mtime),
                ..entry(name, None)
            });
            sort(&mut all, &args);
            all.map(|entry| entry.name).concat()
        };
        for (flags, order) in [("", "abc"), ("-t", "acb"), ("-S", "bac"), ("-r", "cba"), ("-tr", "bca")] {
            assert_eq!(sorted(flags), order, "{flags}");
        }
    }

    #[test]
    fn columns() {
        let mut entry = entry("x", None);
        (entry.size, entry.mtime) = (1536, Some(0));
        assert_eq!(long(&entry, true), "   1.5 KiB  1970-01-01 00:00:00  -       ");
        assert_eq!(long(&entry, false), "          1536  1970-01-01 00:00:00  -       ");
        (entry.signed, entry.signed_by) = (true, Some(SignedBy::Server));
        assert_eq!(long(&entry, true), "   1.5 KiB  1970-01-01 00:00:00  server  ");
    }
}
