//! `pdtp mirror`: a local directory like one on the server, once or for as long as it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pdtp::client::{
    Change, Error, ErrorKind, EventBody, EventMask, Mirror as Task, Pick, Progress, Seeding, Transfer,
};
use pdtp::globs::Globs;
use pdtp::wire::{EntryKind, UrlPath};
use serde_json::json;

use crate::args::{self, FOREVER, Mirror};
use crate::exit::Failure;
use crate::get::{finish_uploads, leave_resumable, seed};
use crate::link::{self, App, Link};
use crate::report::Report;
use crate::{term, watch};

/// How long to go on while nothing comes, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(300);

/// Changes are gathered until nothing has changed for this long,
const QUIET: Duration = Duration::from_millis(200);
/// or for so long.
const LONGEST_GATHERING: Duration = Duration::from_secs(2);
/// How long to wait before the whole is looked at again after something failed.
const RETRY: Duration = Duration::from_secs(10);
/// How long events are left to gather while files are fetched.
const NAP: Duration = Duration::from_millis(3);
/// More changes than this, and the whole is looked at.
const MAX_CHANGES: usize = 20_000;

pub(crate) fn run(args: &Mirror) -> Result<(), Failure> {
    let mut report = Report::new(args.quiet, false, args.json);
    let result = mirror(args, &mut report);
    if let Err(failure) = &result {
        report.failed(failure);
    }
    result
}

fn mirror(args: &Mirror, report: &mut Report) -> Result<(), Failure> {
    let globs =
        Globs::new(&args.include, &args.exclude).map_err(|why| Error::new(ErrorKind::Argument, why))?;
    let seeding = if args.seed_for.is_zero() { Seeding::Downloading } else { Seeding::Always };
    let app = App::start(args::config(&args.network, Some(&args.share), seeding)?)?;
    app.client.enable_events(EventMask::default() | EventMask::FILE_DONE);
    let patience = if args.watch { FOREVER } else { PATIENCE };
    let mut link = app.link(&args.uri, args.network.patience(patience))?;
    report.start(&args.uri, &args.dir)?;
    let mut changes = Changes::default();
    if args.watch {
        // Before the first look, so that nothing falls between the two.
        changes.op = watch::begin(&mut link, &args.uri)?;
    }
    let pick: Option<Pick> = (!globs.choose_all())
        .then(|| Arc::new(move |path: &[u8], kind| globs.choose(path, kind == EntryKind::Dir)) as Pick);
    let task = |only| Task {
        path: args.uri.path.clone(),
        dir: args.dir.clone(),
        pick: pick.clone(),
        delete: args.delete,
        dry_run: args.dry_run,
        checksum: args.checksum,
        only,
    };
    let mut run = Run { args, report, app: &app };
    let first = run.once(&mut link, task(None), &mut changes);
    if !args.watch {
        first?;
        if !args.dry_run {
            seed(&app, args.seed_for, run.report)?;
            finish_uploads(&app);
        }
        return Ok(());
    }
    let mut result = first;
    loop {
        let retry_at = match result {
            Ok(()) => None,
            // Of what changes all the time, some fails now and then.
            Err(Failure::Error(error)) if may_pass(error.kind) => {
                run.report.line(|| format!("{}; trying again", term::safe(error.message.as_bytes())));
                run.report.json(|| json!({"event": "notice", "message": error.message}))?;
                Some(Instant::now() + RETRY)
            }
            Err(failure) => return Err(failure),
        };
        changes.gather(&mut link, run.report, retry_at)?;
        result = run.once(&mut link, task(changes.take()), &mut changes);
    }
}

/// Whether a mirror that is kept up goes on after such a failure.
fn may_pass(kind: ErrorKind) -> bool {
    use ErrorKind as K;
    matches!(
        kind,
        K::NotFound | K::Changed | K::Busy | K::Limit | K::Timeout | K::Lost | K::Denied | K::Locked
    )
}

struct Run<'a> {
    args: &'a Mirror,
    report: &'a mut Report,
    app: &'a App,
}

/// What one run did.
#[derive(Default)]
struct Tally {
    fetched: u64,
    removed: u64,
}

impl Run<'_> {
    /// One run, told in full.
    fn once(&mut self, link: &mut Link<'_>, task: Task, changes: &mut Changes) -> Result<(), Failure> {
        let begin = Instant::now();
        let transfer = link.session.mirror(task, 0)?;
        let mut tally = Tally::default();
        let progress = match self.follow(link, &transfer, changes, &mut tally) {
            Ok(progress) => progress,
            Err(failure) => return Err(leave_resumable(&transfer, failure)),
        };
        self.done(&tally, &progress, begin.elapsed())
    }

    fn follow(
        &mut self,
        link: &mut Link<'_>,
        transfer: &Transfer,
        changes: &mut Changes,
        tally: &mut Tally,
    ) -> Result<Box<Progress>, Failure> {
        loop {
            if link.is_idle() {
                // Small files come by the thousand, and to be woken for each would cost as much as to receive it.
                std::thread::sleep(NAP);
            }
            let Some(event) = link.next()? else { continue };
            match event.body {
                EventBody::Done { transfer: of, result, progress, .. } if of == transfer.id() => {
                    link::ended(result)?;
                    return Ok(progress);
                }
                EventBody::FileDone { ref path, .. } => {
                    tally.fetched += 1;
                    self.name(if self.args.dry_run { "would fetch" } else { "fetched" }, path);
                    self.report.event(&event.body)?;
                }
                EventBody::FileRemoved { path, .. } => {
                    tally.removed += 1;
                    self.name(if self.args.dry_run { "would remove" } else { "removed" }, &path);
                    self.report.json(|| json!({"event": "removed", "path": path.as_str()}))?;
                }
                body => {
                    changes.note(&body)?;
                    self.report.event(&body)?;
                }
            }
        }
    }

    fn name(&self, what: &str, path: &UrlPath) {
        if self.args.verbose || self.args.dry_run {
            let name: Vec<u8> = path.components().flat_map(|name| [b"/".to_vec(), name].concat()).collect();
            self.report.line(|| format!("{what} {}", term::safe(&name)));
        }
    }

    fn done(&self, tally: &Tally, progress: &Progress, time: Duration) -> Result<(), Failure> {
        let received = progress.from_origin + progress.from_peers;
        let up_to_date = progress.files_total.saturating_sub(tally.fetched);
        let rate = term::rate_over(received, time);
        self.report.line(|| {
            let would = if self.args.dry_run { "would be " } else { "" };
            let dir = term::safe(self.args.dir.as_os_str().as_encoded_bytes());
            let mut text = format!("{dir}: {} files {would}fetched", tally.fetched);
            if received > 0 {
                text += &format!(
                    " ({} in {}, {}; {}% from peers)",
                    term::size(received),
                    term::duration(time),
                    term::rate(rate),
                    term::percent(progress.from_peers, received)
                );
            }
            text + &format!(", {} {would}removed, {up_to_date} up to date", tally.removed)
        });
        self.report.json(|| {
            json!({
                "event": "done",
                "fetched": tally.fetched,
                "removed": tally.removed,
                "up_to_date": up_to_date,
                "seconds": time.as_secs_f64(),
                "rate": rate,
                "from_origin": progress.from_origin,
                "from_peers": progress.from_peers,
                "from_disk": progress.from_disk,
                "uploaded": self.app.client.stats().uploaded,
                "dry_run": self.args.dry_run,
            })
        })
    }
}

/// What has changed on the server and is not mirrored yet.
#[derive(Default)]
struct Changes {
    /// The watch; 0 = none.
    op: u64,
    /// Each path once, with its place in the order.
    all: BTreeMap<UrlPath, (u64, Change)>,
    count: u64,
    /// More than is told one by one.
    is_much: bool,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && !self.is_much
    }

    fn note(&mut self, body: &EventBody) -> Result<(), Failure> {
        match body {
            EventBody::Changed { op, path, change } if *op == self.op => match change {
                Change::Refused(error) => return Err(error.clone().into()),
                Change::Rescan => self.is_much = true,
                change => {
                    if *change == Change::Removed {
                        // What was in it is gone with it.
                        let alike = self.all.range(path..).map(|(known, _)| known);
                        let alike = alike.take_while(|known| known.as_str().starts_with(path.as_str()));
                        let below: Vec<_> = alike.filter(|known| known.is_under(path)).cloned().collect();
                        below.iter().for_each(|known| drop(self.all.remove(known)));
                    }
                    self.count += 1;
                    self.all.insert(path.clone(), (self.count, change.clone()));
                }
            },
            EventBody::Overflow { types, .. } if types.contains(EventMask::CHANGED) => self.is_much = true,
            _ => {}
        }
        if self.all.len() > MAX_CHANGES {
            self.is_much = true;
        }
        if self.is_much {
            self.all.clear();
        }
        Ok(())
    }

    /// Waits until something has changed and the rest of it has come, or until `retry_at`.
    fn gather(
        &mut self,
        link: &mut Link<'_>,
        report: &mut Report,
        retry_at: Option<Instant>,
    ) -> Result<(), Failure> {
        let mut first = (!self.is_empty()).then(Instant::now);
        let mut last = first;
        loop {
            if let Some(event) = link.next()? {
                let before = (self.count, self.is_much);
                self.note(&event.body)?;
                report.event(&event.body)?;
                if before != (self.count, self.is_much) {
                    first.get_or_insert_with(Instant::now);
                    last = Some(Instant::now());
                }
            }
            if retry_at.is_some_and(|at| Instant::now() >= at) {
                self.is_much = true;
                return Ok(());
            }
            let is_quiet = last.is_some_and(|last| last.elapsed() >= QUIET);
            let is_long = first.is_some_and(|first| first.elapsed() >= LONGEST_GATHERING);
            if retry_at.is_none() && (is_quiet || is_long) {
                return Ok(());
            }
        }
    }

    /// What is to be mirrored now; `None` = all of it.
    fn take(&mut self) -> Option<Vec<(UrlPath, Change)>> {
        let mut all: Vec<_> = std::mem::take(&mut self.all).into_iter().collect();
        all.sort_by_key(|(_, (count, _))| *count);
        let all = all.into_iter().map(|(path, (_, change))| (path, change)).collect();
        (!std::mem::take(&mut self.is_much)).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(path: &str, change: Change) -> EventBody {
        EventBody::Changed { op: 7, path: UrlPath::parse(path).unwrap(), change }
    }

    #[test]
    fn each_path_is_mirrored_once_and_not_what_is_gone() {
        let mut changes = Changes { op: 7, ..Changes::default() };
        for body in [
            changed("/d/a", Change::Dir),
            changed("/e", Change::Dir),
            changed("/d/a", Change::Dir),
            changed("/d", Change::Removed),
            changed("/d/b", Change::Dir),
        ] {
            changes.note(&body).unwrap();
        }
        let all: Vec<_> = changes.take().unwrap().into_iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(all, ["/e", "/d", "/d/b"]);
        assert!(changes.is_empty());
    }

    #[test]
    fn too_much_is_all() {
        let mut changes = Changes { op: 7, ..Changes::default() };
        changes.note(&changed("/a", Change::Dir)).unwrap();
        changes.note(&EventBody::Overflow { count: 1, types: EventMask::CHANGED }).unwrap();
        assert_eq!(changes.take(), None);
        changes.note(&changed("/", Change::Rescan)).unwrap();
        assert_eq!(changes.take(), None);
        assert_eq!(changes.take(), Some(Vec::new()));
    }
}
