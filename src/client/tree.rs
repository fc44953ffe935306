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
use super::names::{self, Dirs};
use super::session::LinkUser;
use super::{Error, ErrorKind, TransferState};
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
    let dirs = Arc::new(download::blocking(move || Dirs::new(dir)).await??);
    job.shared.enter(TransferState::Active, &job.inner.queue);
    let (sender, mut entries) = mpsc::channel(ENTRIES_AHEAD);
    let listing = job.shared.unless_cancelled(walk(job, path.clone(), sender));
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
    failures.result()
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
    let names = components.to_vec();
    if entry.kind == EntryKind::Dir {
        return download::blocking(move || dirs.create(&names)).await?.map(drop);
    }
    let place = download::blocking(move || dirs.place(&names)).await??;
    let any_pieces = job.link.takes_any_pieces();
    let file = File {
        path: path.clone(),
        place: Place::File(place),
        expect_root: None,
        version: Version::known(Some(entry.size), entry.root, entry.chunk_size, entry.mtime, any_pieces),
        hashes: None,
        ahead: None,
        counted: Some(entry.size),
    };
    download::file(job, file).await?;
    let (transfer, path) = (job.shared.id, path.clone());
    job.inner.queue.push(job.shared.user_data, EventBody::FileDone { transfer, path, size: entry.size });
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

/// The pages of a listing, one after the other.
pub(super) struct Pages {
    link: LinkUser,
    path: UrlPath,
    depth: u32,
    cursor: Option<String>,
    is_over: bool,
}

impl Pages {
    pub(super) fn new(link: &LinkUser, path: UrlPath, depth: u32) -> Self {
        Self { link: link.clone(), path, depth: depth.max(1), cursor: None, is_over: false }
    }

    /// The next page; `None` after the last. A directory that changes meanwhile may be listed with some of both.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        if self.is_over {
            return Ok(None);
        }
        let listing = self.link.ask_list(&self.path, self.depth, self.cursor.clone()).await?;
        if listing.next.is_some() && listing.next == self.cursor {
            let text = format!("the server lists {} in circles", self.path);
            return Err(Error::new(ErrorKind::Protocol, text));
        }
        self.is_over = listing.next.is_none();
        self.cursor = listing.next;
        Ok(Some(listing.entries))
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
