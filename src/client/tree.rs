//! The download of a directory with all below it: many files at once, none of which can spoil the others.
//!
//! Listed as it goes: memory does not grow with the size of the tree.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::download::{self, File, Job, Place, Version};
use super::event::EventBody;
use super::mirror::{self, Rules};
use super::names::{self, Dirs};
use super::session::LinkUser;
use super::{Change, Error, ErrorKind, TransferState};
use crate::content::rdl;
use crate::wire::{Entry, EntryKind, UrlPath};

/// Levels listed at once; what is deeper is listed on its own.
const LIST_DEPTH: u32 = 32;
/// Entries listed and not yet begun with.
const ENTRIES_AHEAD: usize = 2048;
/// Directories found at the lowest level of a listing and not yet listed themselves.
const MAX_DEEP: usize = 64 * 1024;
/// Errors told in full at the end.
const TOLD_ERRORS: usize = 3;
/// What the piece store adds to the names of files that are incomplete.
const PART_SUFFIXES: [&str; 2] = [".part", ".part.pdtp"];

/// One entry, with the names on the way to it from the directory that is downloaded.
struct Found {
    components: Vec<Vec<u8>>,
    entry: Entry,
}

/// Downloads what is in `path` into `dir`.
pub(super) async fn run(job: &Arc<Job>, path: &UrlPath, dir: PathBuf) -> Result<(), Error> {
    let parallel = job.inner.config().parallel_files.max(1) as usize;
    let rules = job.mirror.clone();
    let making = move || rules.map_or_else(|| Dirs::new(dir), |rules| rules.dirs());
    let dirs = Arc::new(download::blocking(making).await??);
    job.shared.enter(TransferState::Active, &job.inner.queue);
    if let Some(rules) = &job.mirror {
        mirror::begin(job, rules, path).await?;
    }
    let (sender, mut entries) = mpsc::channel(ENTRIES_AHEAD);
    let finding = async {
        match job.mirror.as_ref().and_then(|rules| rules.only()) {
            Some(changes) => find(job, path, changes, sender).await,
            None => walk(job, path.clone(), sender).await,
        }
    };
    let listing = job.shared.unless_cancelled(finding);
    tokio::pin!(listing);
    let mut listed = None;
    let mut files = JoinSet::new();
    let mut in_flight = InFlight::default();
    let mut failures = Failures::default();
    // Cannot be begun with yet: another file is using its name for a while.
    let mut held_back: Option<Found> = None;
    loop {
        if let Some(found) = held_back.take_if(|found| !in_flight.collides(&found.components)) {
            begin(job, &dirs, path, found, &mut files, &mut in_flight);
        }
        let has_room = files.len() < parallel && held_back.is_none() && !failures.is_hopeless();
        tokio::select! {
            result = &mut listing, if listed.is_none() => listed = Some(result),
            Some(found) = entries.recv(), if has_room => match in_flight.collides(&found.components) {
                true => held_back = Some(found),
                false => begin(job, &dirs, path, found, &mut files, &mut in_flight),
            },
            Some(ended) = files.join_next(), if !files.is_empty() => match ended {
                Ok(Ended { components, path, result }) => {
                    in_flight.names.remove(&components);
                    failures.note(&path, result);
                }
                Err(_) => failures.note(path, Err(Error::new(ErrorKind::State, "the client is being shut down"))),
            },
            else => break,
        }
        if failures.is_hopeless() && files.is_empty() {
            break;
        }
    }
    match listed {
        Some(Err(error)) | Some(Ok(Err(error))) => failures.note(path, Err(error)),
        _ => {}
    }
    failures.result()?;
    // Of a whole tree nothing is deleted unless all that is on the server is known, and here.
    match &job.mirror {
        Some(rules) => mirror::finish(job, rules, path).await,
        None => Ok(()),
    }
}

/// How one entry ended.
struct Ended {
    components: Vec<Vec<u8>>,
    path: UrlPath,
    result: Result<(), Error>,
}

fn begin(
    job: &Arc<Job>,
    dirs: &Arc<Dirs>,
    base: &UrlPath,
    found: Found,
    files: &mut JoinSet<Ended>,
    in_flight: &mut InFlight,
) {
    let (job, dirs) = (Arc::clone(job), Arc::clone(dirs));
    let Found { components, entry } = found;
    in_flight.names.insert(components.clone());
    let path = components.iter().try_fold(base.clone(), |path, name| path.join(name));
    let base = base.clone();
    files.spawn(async move {
        let (path, result) = match path {
            Ok(path) => {
                let result = one(&job, dirs, &path, &components, &entry).await;
                (path, result)
            }
            Err(error) => (base, Err(Error::new(ErrorKind::Protocol, error.to_string()))),
        };
        Ended { components, path, result }
    });
}

async fn one(
    job: &Arc<Job>,
    dirs: Arc<Dirs>,
    path: &UrlPath,
    components: &[Vec<u8>],
    entry: &Entry,
) -> Result<(), Error> {
    let (names, rules, looked_for) = (components.to_vec(), job.mirror.clone(), entry.clone());
    // In one go: on a thread that may wait for the disk.
    let looked = download::blocking(move || look(&dirs, rules.as_deref(), &names, &looked_for)).await??;
    let place = match looked {
        Looked::Place(place) => place,
        Looked::Settled { .. } if entry.kind == EntryKind::Dir => return Ok(()),
        Looked::Settled { is_here } => {
            job.shared.numbers.file_done();
            if is_here {
                job.shared.numbers.found(entry.size);
                return Ok(());
            }
            return tell_done(job, path, entry.size).await;
        }
    };
    // A listing says that there are signatures, not which.
    let is_known = !entry.signed || !job.demand.is_interested();
    let any_pieces = job.link.takes_any_pieces();
    let version = Version::known(Some(entry.size), entry.root, entry.chunk_size, entry.mtime, any_pieces);
    let file = File {
        path: path.clone(),
        place: Place::File(place),
        turn: None,
        expect_root: None,
        version: version.filter(|_| is_known).map(|version| (version, Vec::new())),
        hashes: None,
        ahead: None,
        counted: Some(entry.size),
    };
    let got = download::file(job, file).await?;
    if job.mirror.is_some() && got.was_here {
        return Ok(());
    }
    tell_done(job, path, entry.size).await
}

async fn tell_done(job: &Job, path: &UrlPath, size: u64) -> Result<(), Error> {
    let done = EventBody::FileDone { transfer: job.shared.id, path: path.clone(), size };
    if job.mirror.is_none() {
        job.inner.queue.push(job.shared.user_data, done);
        return Ok(());
    }
    // What a mirror does is told in full.
    let taken = job.inner.queue.push_and_wait(job.shared.user_data, done);
    // An error: nobody wants to know.
    job.shared.unless_cancelled(taken).await.map(drop)
}

/// What there is to do for an entry.
enum Looked {
    /// A file goes here; the directories above it are there.
    Place(PathBuf),
    /// Nothing: it is a directory and there, or a file that a mirror has already, or this is only a rehearsal.
    Settled { is_here: bool },
}

/// Blocks.
fn look(dirs: &Dirs, rules: Option<&Rules>, names: &[Vec<u8>], entry: &Entry) -> Result<Looked, Error> {
    let is_dir = entry.kind == EntryKind::Dir;
    if let Some(rules) = rules {
        let place = dirs.path(names)?;
        let is_here = if is_dir { rules.is_dir_here(&place) } else { rules.is_here(&place, entry)? };
        if is_here || rules.is_dry() {
            return Ok(Looked::Settled { is_here });
        }
    }
    let make = || match is_dir {
        true => dirs.create(names).map(|_| Looked::Settled { is_here: true }),
        false => dirs.place(names).map(Looked::Place),
    };
    let on_the_way = if is_dir { names } else { &names[..names.len().saturating_sub(1)] };
    match (make(), rules) {
        (Err(error), Some(rules)) if error.kind == ErrorKind::Exists && rules.make_way(on_the_way)? => make(),
        (made, _) => made,
    }
}

/// What has changed, as far as it is to be mirrored, instead of all there is.
async fn find(
    job: &Job,
    base: &UrlPath,
    changes: &[(UrlPath, Change)],
    entries: mpsc::Sender<Found>,
) -> Result<(), Error> {
    for (path, change) in changes {
        let entry = match change {
            Change::File { size, mtime, .. } => {
                Entry { kind: EntryKind::File, size: *size, mtime: *mtime, ..Entry::default() }
            }
            Change::Dir => Entry { kind: EntryKind::Dir, ..Entry::default() },
            _ => continue,
        };
        let Some(components) = mirror::below(base, path).filter(|components| !components.is_empty()) else {
            continue;
        };
        if !job.mirror.as_ref().is_none_or(|rules| rules.picks(&components, entry.kind)) {
            continue;
        }
        if entry.kind == EntryKind::File {
            job.shared.numbers.add_file(entry.size);
        }
        if entries.send(Found { components, entry }).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Lists a directory and all below it.
async fn walk(job: &Job, path: UrlPath, entries: mpsc::Sender<Found>) -> Result<(), Error> {
    // Names from `path` to directories that are still to be listed.
    let mut deep: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
    while let Some(above) = deep.pop() {
        let dir = above.iter().try_fold(path.clone(), |path, name| path.join(name));
        let dir = dir.map_err(|error| Error::new(ErrorKind::Protocol, error.to_string()))?;
        let mut pages = Pages::new(&job.link, dir, LIST_DEPTH);
        while let Some(page) = pages.next().await? {
            for entry in page {
                let below = names::components(&entry)?;
                let is_lowest = below.len() as u32 >= LIST_DEPTH;
                let components: Vec<_> = above.iter().cloned().chain(below).collect();
                if let Some(rules) = &job.mirror {
                    if !rules.picks(&components, entry.kind) {
                        continue;
                    }
                    rules.note(&components, &entry);
                }
                match entry.kind {
                    EntryKind::File => job.shared.numbers.add_file(entry.size),
                    EntryKind::Dir if is_lowest => {
                        if deep.len() >= MAX_DEEP {
                            let text = format!("{path} has too many directories below directories");
                            return Err(Error::new(ErrorKind::Limit, text));
                        }
                        deep.push(components.clone());
                    }
                    EntryKind::Dir => {}
                }
                if entries.send(Found { components, entry }).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What is in a page of the directory `path` that is RDL.
pub(super) fn entries_of(text: &str, path: &UrlPath) -> Result<Vec<Entry>, Error> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Protocol, format!("the server's RDL for {path} cannot be used: {why}"))
    };
    let document = rdl::parse(text).map_err(|error| wrong(&error))?;
    if document.path != *path {
        return Err(wrong(&format_args!("it is of {}", document.path)));
    }
    Ok(document.entries)
}

/// The pages of a listing, one after the other.
pub(super) struct Pages {
    link: LinkUser,
    path: UrlPath,
    depth: u32,
    cursor: Option<String>,
    is_over: bool,
    is_rich: bool,
}

impl Pages {
    pub(super) fn new(link: &LinkUser, path: UrlPath, depth: u32) -> Self {
        Self { link: link.clone(), path, depth: depth.max(1), cursor: None, is_over: false, is_rich: false }
    }

    /// With what is told of files besides their bytes. A server that has no RDL tells the rest.
    pub(super) fn rich(link: &LinkUser, path: UrlPath, depth: u32) -> Self {
        Self { is_rich: true, ..Self::new(link, path, depth) }
    }

    /// The next page; `None` after the last. A directory that changes meanwhile may be listed with some of both.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        if self.is_over {
            return Ok(None);
        }
        let ask = |is_rich| self.link.ask_list(&self.path, self.depth, self.cursor.clone(), is_rich);
        let mut listing = match ask(self.is_rich).await {
            // What earlier servers say of a format that they do not know.
            Err(error) if self.is_rich && error.kind == ErrorKind::Protocol => {
                self.is_rich = false;
                ask(false).await?
            }
            other => other?,
        };
        if let Some(rdl) = listing.rdl.take() {
            listing.entries = entries_of(&rdl, &self.path)?;
        }
        if listing.next.is_some() && listing.next == self.cursor {
            let text = format!("the server lists {} in circles", self.path);
            return Err(Error::new(ErrorKind::Protocol, text));
        }
        self.is_over = listing.next.is_none();
        self.cursor = listing.next;
        Ok(Some(listing.entries))
    }

    pub(super) fn is_rich(&self) -> bool {
        self.is_rich
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}

/// The files under way. While a file is incomplete it needs a second name, which may be that of another file.
#[derive(Default)]
struct InFlight {
    names: HashSet<Vec<Vec<u8>>>,
}

impl InFlight {
    fn collides(&self, components: &[Vec<u8>]) -> bool {
        let Some((name, dirs)) = components.split_last() else { return false };
        let has = |name: &[u8]| {
            let other: Vec<_> = dirs.iter().cloned().chain([name.to_vec()]).collect();
            self.names.contains(&other)
        };
        PART_SUFFIXES.iter().any(|suffix| {
            name.strip_suffix(suffix.as_bytes()).is_some_and(has) || has(&[name, suffix.as_bytes()].concat())
        })
    }
}

/// What went wrong so far.
#[derive(Default)]
struct Failures {
    files: u64,
    failed: u64,
    first: Vec<(UrlPath, Error)>,
}

impl Failures {
    fn note(&mut self, path: &UrlPath, result: Result<(), Error>) {
        self.files += 1;
        let Err(error) = result else { return };
        self.failed += 1;
        // What concerns all files is told before what concerns one.
        let at = if is_general(error.kind) { 0 } else { self.first.len() };
        self.first.insert(at, (path.clone(), error));
        self.first.truncate(TOLD_ERRORS);
    }

    /// Whether there is no point in beginning with another file.
    fn is_hopeless(&self) -> bool {
        self.first.first().is_some_and(|(_, error)| is_general(error.kind))
    }

    fn result(self) -> Result<(), Error> {
        let Some((_, first)) = self.first.first() else { return Ok(()) };
        if matches!(first.kind, ErrorKind::Cancelled | ErrorKind::State) {
            return Err(first.clone());
        }
        let told: Vec<_> = self
            .first
            .iter()
            .map(|(path, error)| match error.message.contains(path.as_str()) {
                true => error.message.clone(),
                false => format!("{path}: {}", error.message),
            })
            .collect();
        let more = if self.failed > told.len() as u64 { "; …" } else { "" };
        let text = format!("{} of {} failed: {}{more}", self.failed, self.files, told.join("; "));
        Err(Error::new(first.kind, text))
    }
}

/// Failures that the next file would meet, too.
fn is_general(kind: ErrorKind) -> bool {
    use ErrorKind as Kind;
    matches!(kind, Kind::Cancelled | Kind::State | Kind::NoSpace | Kind::Unsupported | Kind::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Vec<Vec<u8>> {
        path.split('/').map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn part_names_are_not_mistaken_for_files() {
        let mut in_flight = InFlight::default();
        in_flight.names.insert(names("d/x"));
        in_flight.names.insert(names("d/y.part"));
        for collides in ["d/x.part", "d/x.part.pdtp", "d/y"] {
            assert!(in_flight.collides(&names(collides)), "{collides}");
        }
        for free in ["d/x2", "x.part", "d/y.part.part.part", "d/z.part", "d"] {
            assert!(!in_flight.collides(&names(free)), "{free}");
        }
    }

    #[test]
    fn failures_are_counted_and_the_first_told() {
        let path = |name: &str| UrlPath::root().join(name.as_bytes()).unwrap();
        let mut failures = Failures::default();
        failures.note(&path("good"), Ok(()));
        for n in 0..5 {
            let error = Error::new(ErrorKind::NotFound, format!("/{n}: gone"));
            failures.note(&path(&n.to_string()), Err(error));
        }
        assert!(!failures.is_hopeless());
        failures.note(&path("last"), Err(Error::new(ErrorKind::NoSpace, "disk full")));
        assert!(failures.is_hopeless());
        let error = failures.result().unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoSpace);
        assert_eq!(error.message, "6 of 7 failed: /last: disk full; /0: gone; /1: gone; …");
    }
}
