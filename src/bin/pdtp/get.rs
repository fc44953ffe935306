//! `pdtp get`: a download to the disk, from the first look at the URI to the last upload given to others.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pdtp::client::{
    Error, ErrorKind, Event, EventBody, EventMask, Progress, Request, Seeding, Target, Transfer,
};
use pdtp::content::keys::Fingerprint;
use pdtp::wire::{Digest, EntryKind, PdtpUri};

use crate::args::{self, FOREVER, Get};
use crate::ask;
use crate::exit::Failure;
use crate::link::{self, App, Link};
use crate::report::{Outcome, Report};
use crate::term;

/// How long to go on while nothing comes, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long uploads under way may take after the end of a download that is not to be seeded.
const LAST_UPLOADS: Duration = Duration::from_secs(10);

/// How long a cancelled download may take to write down how far it got.
const SAVE: Duration = Duration::from_secs(5);

/// How often `seeding` is told.
const SEEDING: Duration = Duration::from_secs(1);

/// How often uploads are looked at.
const POLL: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &Get) -> Result<(), Failure> {
    let mut report = Report::new(args.quiet, args.verbose, args.json);
    let result = get(args, &mut report);
    if let Err(failure) = &result {
        report.failed(failure);
    }
    result
}

fn get(args: &Get, report: &mut Report) -> Result<(), Failure> {
    let begin = Instant::now();
    let root = pinned(&args.uri, args.root)?;
    let seeding = if args.seed_for.is_zero() { Seeding::Downloading } else { Seeding::Always };
    let mut config = args::config(&args.network, Some(&args.share), seeding)?;
    args.signatures.apply(&mut config, !args.quiet && !args.json && ask::can_ask())?;
    if (args.uri.is_dir || args.uri.path.is_root()) && !args.recursive {
        return Err(is_directory(&args.uri).into());
    }
    let app = App::start(config)?;
    let mut mask = EventMask::default();
    if args.json {
        mask = mask | EventMask::FILE_DONE;
    }
    if args.verbose {
        mask = mask | EventMask::PEER;
    }
    app.client.enable_events(mask);
    let mut link = app.link(&args.uri, args.network.patience(PATIENCE))?;

    // Without -r it can only be a file, which saves a question. With -r the answer decides where it goes.
    let is_dir = args.recursive
        && (args.uri.is_dir || args.uri.path.is_root() || link.stat(&args.uri)?.kind == EntryKind::Dir);
    let local = destination(&args.uri, args.output.as_deref(), is_dir)?;
    if let Some(output) = args.output.as_deref().filter(|output| ends_with_separator(output)) {
        // Whoever writes the slash means a directory, there or not.
        std::fs::create_dir_all(output)
            .map_err(|error| Error::io(format!("cannot make the directory {}", output.display()), &error))?;
    }
    report.start(&args.uri, &local)?;
    let target = if is_dir { Target::Dir(local.clone()) } else { Target::File(local.clone()) };
    let request = Request {
        path: args.uri.path.clone(),
        target,
        overwrite: args.overwrite.into(),
        recursive: is_dir,
        expect_root: root,
        verify: None,
        keys: args.uri.keys.iter().copied().map(Fingerprint).collect(),
        tuning: Default::default(),
    };
    let transfer = link.session.start(request, 0)?;
    let end = match follow(&mut link, &transfer, report) {
        Ok(end) => end,
        Err(failure) => return Err(leave_resumable(&transfer, failure)),
    };
    if let Err(error) = end.result {
        let may_be_directory = !is_dir && error.kind == ErrorKind::Argument;
        if may_be_directory && link.stat(&args.uri)?.kind == EntryKind::Dir {
            return Err(is_directory(&args.uri).into());
        }
        return link::ended(Err(with_what_is_kept(error, &end.progress)));
    }
    let uploaded = app.client.stats().uploaded;
    let outcome = Outcome {
        path: &args.uri.path,
        local: &local,
        root: end.root,
        progress: &end.progress,
        time: begin.elapsed(),
        uploaded,
    };
    report.done(&outcome)?;
    seed(&app, args.seed_for, report)?;
    finish_uploads(&app);
    Ok(())
}

/// The version asked for, by URI or by option.
fn pinned(uri: &PdtpUri, option: Option<Digest>) -> Result<Option<Digest>, Error> {
    match (uri.root, option) {
        (Some(a), Some(b)) if a != b => {
            Err(Error::new(ErrorKind::Argument, "--root and #root= of the URI name different versions"))
        }
        (a, b) => Ok(b.or(a)),
    }
}

fn is_directory(uri: &PdtpUri) -> Error {
    let what = term::safe(uri.to_string().as_bytes());
    Error::new(
        ErrorKind::Argument,
        format!("{what} is a directory; add -r to download it with all that is below it"),
    )
}

/// Where the copy goes. A file: as cp and curl do. A directory: `-o` names the copy itself whether it exists or not,
/// so that running the same command again goes on with it instead of making a copy inside the copy.
fn destination(uri: &PdtpUri, output: Option<&Path>, is_dir: bool) -> Result<PathBuf, Error> {
    let name = local_name(uri)?;
    let Some(output) = output else {
        return Ok(match name {
            Some(name) => name,
            None => PathBuf::from(&uri.host),
        });
    };
    if output == Path::new("-") {
        return Err(Error::new(
            ErrorKind::Argument,
            "-o -: to write to standard output use `pdtp cat` (a file of that name is ./-)",
        ));
    }
    let inside = ends_with_separator(output) || (!is_dir && output.is_dir());
    Ok(match name {
        Some(name) if inside => output.join(name),
        _ => output.to_owned(),
    })
}

/// The last name of the URI; `None` for the root of a server, which has none.
fn local_name(uri: &PdtpUri) -> Result<Option<PathBuf>, Error> {
    let name = uri.path.file_name();
    if name.is_empty() {
        return Ok(None);
    }
    file_name(name).map(Some)
}

#[cfg(unix)]
fn file_name(name: Vec<u8>) -> Result<PathBuf, Error> {
    use std::os::unix::ffi::OsStringExt as _;
    Ok(std::ffi::OsString::from_vec(name).into())
}

#[cfg(not(unix))]
fn file_name(name: Vec<u8>) -> Result<PathBuf, Error> {
    let hostile = |c: char| c.is_control() || r#"\/:*?"<>|"#.contains(c);
    String::from_utf8(name).ok().filter(|name| !name.contains(hostile)).map(PathBuf::from).ok_or_else(|| {
        Error::new(ErrorKind::Argument, "no file here can have the name in the URI; choose one with -o")
    })
}

fn ends_with_separator(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().last().is_some_and(|byte| std::path::is_separator(char::from(*byte)))
}

/// How a download ended.
struct End {
    result: Result<(), Error>,
    root: Option<Digest>,
    progress: Box<Progress>,
}

/// Reports what happens until the download has ended.
fn follow(link: &mut Link<'_>, transfer: &Transfer, report: &mut Report) -> Result<End, Failure> {
    loop {
        let Some(Event { body, .. }) = link.next()? else { continue };
        match body {
            EventBody::Done { transfer: of, root, result, progress, .. } if of == transfer.id() => {
                return Ok(End { result, root, progress });
            }
            EventBody::Decision { id, verdict, .. } => {
                report.suspended(|| ask::decide(link.client(), id, &verdict));
                link.moved();
            }
            body => report.event(&body)?,
        }
    }
}

/// Ends a download that is not to go on now, such that it can later.
pub(crate) fn leave_resumable(transfer: &Transfer, failure: Failure) -> Failure {
    transfer.cancel(true);
    // How it ends does not matter; that it had the time to write down how far it got does.
    let _ = transfer.wait(Some(SAVE));
    match failure {
        Failure::Stopped(exit, _) => {
            let progress = transfer.progress();
            let kept = kept(&progress).unwrap_or_else(|| "nothing was complete yet".to_owned());
            Failure::Stopped(exit, Some(format!("stopped: {kept}")))
        }
        Failure::Error(error) => Failure::Error(with_what_is_kept(error, &transfer.progress())),
        Failure::BrokenPipe => Failure::BrokenPipe,
    }
}

/// A failure, and what there is of the download nevertheless.
fn with_what_is_kept(error: Error, progress: &Progress) -> Error {
    match kept(progress) {
        Some(kept) if error.kind != ErrorKind::Cancelled => {
            Error::new(error.kind, format!("{}; {kept}", error.message))
        }
        _ => error,
    }
}

fn kept(progress: &Progress) -> Option<String> {
    let (done, total) = (term::size(progress.done), term::size(progress.total));
    (progress.done > 0).then(|| {
        format!("{done} of {total} are verified and kept; run the same command again to go on with it")
    })
}

/// Goes on giving to others. Ctrl-C ends this, and is no failure: the download is complete.
pub(crate) fn seed(app: &App, time: Duration, report: &Report) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut told: Option<Instant> = None;
    while app.signals.asked().is_none() {
        let left = time.saturating_sub(begin.elapsed());
        if left.is_zero() {
            break;
        }
        if told.is_none_or(|told| told.elapsed() >= SEEDING) {
            told = Some(Instant::now());
            let stats = app.client.stats();
            report.seeding(stats.uploaded, stats.up_rate, (time != FOREVER).then_some(left))?;
        }
        // Its events are of no more interest, but the queue wants to be emptied.
        let _ = app.client.next_event(Some(left.min(SEEDING)));
    }
    report.clear();
    Ok(())
}

/// Lets what others are just receiving from here reach them, for a while.
pub(crate) fn finish_uploads(app: &App) {
    let begin = Instant::now();
    while app.client.is_uploading() && begin.elapsed() < LAST_UPLOADS && app.signals.asked().is_none() {
        let _ = app.client.next_event(Some(POLL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(uri: &str, output: Option<&str>, is_dir: bool) -> String {
        let uri = uri.parse().unwrap();
        let path = destination(&uri, output.map(Path::new), is_dir).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn files_go_where_cp_would_put_them() {
        let dir = tempfile::tempdir().unwrap();
        let existing = dir.path().to_str().unwrap();
        assert_eq!(to("pdtp://h/a/b%20c", None, false), "b c");
        assert_eq!(to("pdtp://h/a/b", Some("x"), false), "x");
        assert_eq!(to("pdtp://h/a/b", Some("x/"), false), "x/b");
        assert_eq!(to("pdtp://h/a/b", Some(existing), false), format!("{existing}/b"));
    }

    #[test]
    fn a_directory_goes_to_the_same_place_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let existing = dir.path().to_str().unwrap();
        assert_eq!(to("pdtp://h/a/b/", None, true), "b");
        assert_eq!(to("pdtp://h/a/b/", Some("x"), true), "x");
        assert_eq!(to("pdtp://h/a/b/", Some(existing), true), existing);
        assert_eq!(to("pdtp://h/a/b", Some("x/"), true), "x/b");
    }

    #[test]
    fn the_root_has_the_name_of_its_host() {
        assert_eq!(to("pdtp://mirror.example.org/", None, true), "mirror.example.org");
        assert_eq!(to("pdtp://mirror.example.org/", Some("x/"), true), "x/");
    }

    #[test]
    fn standard_output_is_refused_with_advice() {
        let uri = "pdtp://h/a".parse().unwrap();
        let error = destination(&uri, Some(Path::new("-")), false).unwrap_err();
        assert!(error.message.contains("pdtp cat"), "{error}");
    }

    #[test]
    fn two_different_pins_are_an_error() {
        let (a, b) = (Digest([1; 32]), Digest([2; 32]));
        let uri: PdtpUri = format!("pdtp://h/a#root={a}").parse().unwrap();
        assert_eq!(pinned(&uri, None).unwrap(), Some(a));
        assert_eq!(pinned(&uri, Some(a)).unwrap(), Some(a));
        assert!(pinned(&uri, Some(b)).is_err());
    }
}
