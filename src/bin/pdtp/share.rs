//! `pdtp share`: local files offered to others as what a server has.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use pdtp::client::{Error, ErrorKind, EventBody, Seeding, Share, ShareState};
use pdtp::wire::UrlPath;
use serde_json::json;

use crate::args::{self, FOREVER, ShareFiles};
use crate::exit::Failure;
use crate::get;
use crate::link::App;
use crate::report::Report;
use crate::term;

/// How often what was given is told.
const TOLD: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &ShareFiles) -> Result<(), Failure> {
    let mut report = Report::new(args.quiet, false, args.json);
    let result = share(args, &mut report);
    if let Err(failure) = &result {
        report.failed(failure);
    }
    result
}

fn share(args: &ShareFiles, report: &mut Report) -> Result<(), Failure> {
    let into_dir = args.uri.is_dir || args.uri.path.is_root();
    if args.files.len() > 1 && !into_dir {
        let text = "several files are shared as files of a directory: end the URI with /";
        return Err(Error::new(ErrorKind::Argument, text).into());
    }
    let app = App::start(args::config(&args.network, Some(&args.share), Seeding::Always)?)?;
    let mut link = app.link(&args.uri, args.network.patience(FOREVER))?;
    let mut shares: HashMap<u64, (Share, &Path)> = HashMap::new();
    for file in &args.files {
        let path = if into_dir { below(&args.uri.path, file)? } else { args.uri.path.clone() };
        let share = link.session.share(&path, args.uri.root, file.clone(), 0)?;
        shares.insert(share.id(), (share, file));
    }
    let begin = Instant::now();
    let mut told = begin;
    let mut first_failure: Option<Error> = None;
    let mut offered = 0usize;
    while begin.elapsed() < args.duration && app.signals.asked().is_none() {
        let event = match link.next() {
            Ok(event) => event,
            // How this is meant to end.
            Err(Failure::Stopped(..)) if offered > 0 => break,
            Err(failure) => return Err(failure),
        };
        if told.elapsed() >= TOLD && offered > 0 {
            told = Instant::now();
            let stats = app.client.stats();
            let left = args.duration.saturating_sub(begin.elapsed());
            report.seeding(stats.uploaded, stats.up_rate, (args.duration != FOREVER).then_some(left))?;
        }
        let Some(event) = event else { continue };
        let EventBody::Share { share, state } = event.body else {
            report.event(&event.body)?;
            continue;
        };
        let Some((_, file)) = shares.get(&share) else { continue };
        let name = term::safe(file.as_os_str().as_encoded_bytes());
        let (word, error) = match &state {
            ShareState::Checking => ("checking", None),
            ShareState::Offered => ("offered", None),
            ShareState::Failed(error) => ("failed", Some(error)),
            ShareState::Ended => ("ended", None),
        };
        let message = error.map(|error| error.message.as_str());
        report.json(|| json!({"event": "share", "local": file, "state": word, "message": message}))?;
        match state {
            ShareState::Offered => {
                offered += 1;
                report.line(|| format!("{name} is given to others; Ctrl-C ends it"));
            }
            ShareState::Failed(error) => {
                shares.remove(&share);
                if shares.is_empty() {
                    return Err(first_failure.unwrap_or(error).into());
                }
                report.line(|| format!("{name} is not given: {}", term::safe(error.message.as_bytes())));
                first_failure.get_or_insert(error);
            }
            ShareState::Checking | ShareState::Ended => {}
        }
    }
    report.clear();
    get::finish_uploads(&app);
    first_failure.map_or(Ok(()), |error| Err(error.into()))
}

/// The file of that name in a directory of the server.
fn below(dir: &UrlPath, file: &Path) -> Result<UrlPath, Error> {
    let name = file.file_name().map(|name| name.as_encoded_bytes());
    name.and_then(|name| dir.join(name).ok()).ok_or_else(|| {
        let file = term::safe(file.as_os_str().as_encoded_bytes());
        Error::new(ErrorKind::Argument, format!("{file} is no name of a file"))
    })
}
