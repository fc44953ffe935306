//! The download of a directory with all below it: many files at once, none of which can spoil the others.
//!
//! Listed as it goes: memory does not grow with the size of the tree.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::asks::Reading;
use super::download::{self, File, Job, Place, Version};
use super::event::EventBody;
use super::mirror::{self, Rules};
use super::names::{self, Dirs};
use super::session::LinkUser;
use super::store::is_anything_here;
use super::{Change, Error, ErrorKind, TransferState};
use crate::content::rdl;
use crate::wire::{Entry, EntryKind, UrlPath};

/// Levels listed at once; what is deeper is listed on its own.
const LIST_DEPTH: u32 = 32;
/// Entries listed and not yet begun with.
const ENTRIES_AHEAD: usize = 2048;
/// Files up to this size are small: what they cost is the time that each takes for itself.
const SMALL: u64 = 64 * 1024;
/// So many small files are wanted at once for each file of any size. Peers can only give each other what they
/// want at the same time, and an origin that knows of many can give each peer others.
const SMALL_FOR_ONE: usize = 32;
/// Entries looked for on the disk in one go.
const LOOKED_AT_ONCE: usize = 256;
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

/// An entry, and what there is to do for it.
struct Looked {
    found: Found,
    todo: Result<Todo, Error>,
}

/// What there is to do for an entry.
enum Todo {
    /// A file goes here; the directories above it are there. `is_new`: and nothing of it.
    Fetch { place: PathBuf, is_new: bool },
    /// Nothing: it is a directory and there, or a file that a mirror has already, or this is only a rehearsal.
    Settled { is_here: bool },
}

/// Downloads what is in `path` into `dir`.
pub(super) async fn run(job: &Arc<Job>, path: &UrlPath, dir: PathBuf) -> Result<(), Error> {
    let rules = job.mirror.clone();
    let making = move || rules.map_or_else(|| Dirs::new(dir), |rules| rules.dirs());
    let dirs = Arc::new(download::blocking(making).await??);
    job.shared.enter(TransferState::Active, &job.inner.queue);
    if let Some(rules) = &job.mirror {
        mirror::begin(job, rules, path).await?;
    }
    let (sender, mut entries) = mpsc::channel(ENTRIES_AHEAD);
    let finding = async {
        let looker = Looker { job, dirs, entries: sender };
        match job.mirror.as_ref().and_then(|rules| rules.only()) {
            Some(changes) => find(job, path, changes, looker).await,
            None => walk(job, path.clone(), looker).await,
        }
    };
    let listing = job.shared.unless_cancelled(finding);
    tokio::pin!(listing);
    let mut listed = None;
    let mut under_way = UnderWay::new(job);
    let mut failures = Failures::default();
    // Cannot be begun with yet: there are enough, or another file is using its name for a while.
    let mut held_back: Option<Looked> = None;
    loop {
        if let Some(looked) = held_back.take_if(|looked| under_way.has_room_for(&looked.found)) {
            under_way.begin(job, path, looked, &mut failures);
        }
        let has_room = held_back.is_none() && !failures.is_hopeless();
        tokio::select! {
            result = &mut listing, if listed.is_none() => listed = Some(result),
            Some(looked) = entries.recv(), if has_room => held_back = Some(looked),
            Some(ended) = under_way.files.join_next(), if !under_way.files.is_empty() => match ended {
                Ok(Ended { found, path, result }) => {
                    under_way.forget(&found);
                    failures.note(&path, result);
                }
                Err(_) => failures.note(path, Err(Error::new(ErrorKind::State, "the client is being shut down"))),
            },
            else => break,
        }
        if failures.is_hopeless() && under_way.files.is_empty() {
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
    found: Found,
    path: UrlPath,
    result: Result<(), Error>,
}

/// The files that are being received.
struct UnderWay {
    files: JoinSet<Ended>,
    /// While a file is incomplete it needs a second name, which may be that of another file.
    names: HashSet<Vec<Vec<u8>>>,
    /// What they take of `room`.
    taken: usize,
    room: usize,
}

impl UnderWay {
    fn new(job: &Job) -> Self {
        let room = job.inner.config().parallel_files.max(1) as usize * SMALL_FOR_ONE;
        Self { files: JoinSet::new(), names: HashSet::new(), taken: 0, room }
    }

    /// How much of the room an entry takes.
    fn weight(found: &Found) -> usize {
        if found.entry.size <= SMALL { 1 } else { SMALL_FOR_ONE }
    }

    fn has_room_for(&self, found: &Found) -> bool {
        self.taken + Self::weight(found) <= self.room && !self.collides(&found.components)
    }

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

    fn begin(&mut self, job: &Arc<Job>, base: &UrlPath, looked: Looked, failures: &mut Failures) {
        let Looked { found, todo } = looked;
        let Found { components, entry } = &found;
        let path = components.iter().try_fold(base.clone(), |path, name| path.join(name));
        let path = path.map_err(|error| Error::new(ErrorKind::Protocol, error.to_string()));
        let (path, todo) = match (path, todo) {
            (Ok(path), Ok(todo)) => (path, todo),
            (Ok(path), Err(error)) => return failures.note(&path, Err(error)),
            (Err(error), _) => return failures.note(base, Err(error)),
        };
        match todo {
            Todo::Settled { .. } if entry.kind == EntryKind::Dir => return failures.note(&path, Ok(())),
            Todo::Settled { is_here: true } => {
                job.shared.numbers.file_done();
                job.shared.numbers.found(entry.size);
                return failures.note(&path, Ok(()));
            }
            _ => {}
        }
        self.names.insert(components.clone());
        self.taken += Self::weight(&found);
        let job = Arc::clone(job);
        self.files.spawn(async move {
            let result = match todo {
                Todo::Fetch { place, is_new } => fetch(&job, &path, &found.entry, place, is_new).await,
                Todo::Settled { .. } => {
                    job.shared.numbers.file_done();
                    tell_done(&job, &path, found.entry.size).await
                }
            };
            Ended { found, path, result }
        });
    }

    fn forget(&mut self, found: &Found) {
        self.names.remove(&found.components);
        self.taken -= Self::weight(found);
    }
}

async fn fetch(
    job: &Arc<Job>,
    path: &UrlPath,
    entry: &Entry,
    place: PathBuf,
    is_new: bool,
) -> Result<(), Error> {
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
        told: None,
        ahead: None,
        counted: Some(entry.size),
        is_new,
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
    match job.inner.queue.push_in_full(job.shared.user_data, done) {
        // An error: nobody wants to know.
        Some(taken) => job.shared.unless_cancelled(taken).await.map(drop),
        None => Ok(()),
    }
}

/// Looks on the disk for what is listed.
struct Looker<'a> {
    job: &'a Arc<Job>,
    dirs: Arc<Dirs>,
    entries: mpsc::Sender<Looked>,
}

impl Looker<'_> {
    /// Hands some entries on with what there is to do for them; `false` when nobody wants them any more.
    async fn pass_on(&self, mut found: Vec<Found>) -> Result<bool, Error> {
        while !found.is_empty() {
            let rest = found.split_off(found.len().min(LOOKED_AT_ONCE));
            let (dirs, rules) = (Arc::clone(&self.dirs), self.job.mirror.clone());
            // In one go: on a thread that may wait for the disk.
            let look_at = move |found: Found| Looked {
                todo: look(&dirs, rules.as_deref(), &found.components, &found.entry),
                found,
            };
            let looking = move || found.into_iter().map(look_at).collect::<Vec<_>>();
            for looked in download::blocking(looking).await? {
                if self.entries.send(looked).await.is_err() {
                    return Ok(false);
                }
            }
            found = rest;
        }
        Ok(true)
    }
}

/// Blocks.
fn look(dirs: &Dirs, rules: Option<&Rules>, names: &[Vec<u8>], entry: &Entry) -> Result<Todo, Error> {
    let is_dir = entry.kind == EntryKind::Dir;
    if let Some(rules) = rules {
        let place = dirs.path(names)?;
        let is_here = if is_dir { rules.is_dir_here(&place) } else { rules.is_here(&place, entry)? };
        if is_here || rules.is_dry() {
            return Ok(Todo::Settled { is_here });
        }
    }
    let make = || match is_dir {
        true => dirs.create(names).map(|_| Todo::Settled { is_here: true }),
        false => dirs.place(names).map(|place| Todo::Fetch { is_new: !is_anything_here(&place), place }),
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
    looker: Looker<'_>,
) -> Result<(), Error> {
    let mut found = Vec::new();
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
        found.push(Found { components, entry });
    }
    looker.pass_on(found).await.map(drop)
}

/// Lists a directory and all below it.
async fn walk(job: &Job, path: UrlPath, looker: Looker<'_>) -> Result<(), Error> {
    // Names from `path` to directories that are still to be listed.
    let mut deep: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
    while let Some(above) = deep.pop() {
        let dir = above.iter().try_fold(path.clone(), |path, name| path.join(name));
        let dir = dir.map_err(|error| Error::new(ErrorKind::Protocol, error.to_string()))?;
        let mut pages = Pages::new(&job.link, dir, LIST_DEPTH);
        let shared = Arc::clone(&job.shared);
        pages.tell_reading(move |entries| shared.numbers.reading(Some(entries)));
        while let Some(page) = pages.next().await? {
            job.shared.numbers.reading(None);
            let mut found = Vec::with_capacity(page.len());
            for entry in page {
                let below = match names::components(&entry) {
                    Ok(below) => below,
                    Err(error) => {
                        // One does not spoil another.
                        looker.pass_on(found).await?;
                        return Err(error);
                    }
                };
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
                found.push(Found { components, entry });
            }
            if !looker.pass_on(found).await? {
                return Ok(());
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
    reading: Option<Reading>,
}

impl Pages {
    pub(super) fn new(link: &LinkUser, path: UrlPath, depth: u32) -> Self {
        let (link, depth) = (link.clone(), depth.max(1));
        Self { link, path, depth, cursor: None, is_over: false, is_rich: false, reading: None }
    }

    /// Has it told how many entries the server has gone through for a page, while it does.
    pub(super) fn tell_reading(&mut self, told: impl Fn(u64) + Send + Sync + 'static) {
        self.reading = Some(Arc::new(told));
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
        let ask = |is_rich| {
            self.link.ask_list(&self.path, self.depth, self.cursor.clone(), is_rich, self.reading.clone())
        };
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
        let mut in_flight = UnderWay { files: JoinSet::new(), names: HashSet::new(), taken: 0, room: 1 };
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
