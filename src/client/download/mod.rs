//! The download of one file: what it is, what of it is here already, asking for the rest, the end.
//!
//! The server decides who sends what; the pieces arrive by [`super::exchange`]. A job only says what it wants, says
//! it again on every new connection, and waits. It starts anew, with what is still right, when the file changes.
//!
//! Here is the course of it. What is asked for is in `want`, the waiting in `receive`, what is copied instead in `copies`, and how
//! it ends in `finish`.

mod copies;
mod finish;
mod receive;
mod want;

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::copies::{copy_from, copy_into, copy_pieces};
use self::finish::{abandon, finish, forget};
use self::receive::{receive, receive_stream};
pub(super) use self::want::runs;
use self::want::{STREAM_WINDOW, Want};
use super::ahead::{Ahead, Plan, is_nothing_here};
use super::asks::printable;
use super::event::EventBody;
use super::files::{Held, Owner};
use super::hashes::{self, Told};
use super::inner::Inner;
use super::mirror::{Mirror, Rules};
use super::old;
use super::reader::{self, Terms};
use super::resume::{self, Note, Record};
use super::session::{Link, LinkUser};
use super::store::StoreError;
use super::stream::{self, Streaming};
use super::transfer::{Running, Shared};
use super::verify::{self, Demand};
use super::{
    Error, ErrorKind, Overwrite, PieceStore, Progress, Request, Seeding, Target, TransferState, names, tree,
};
use crate::content::trust::{Status, Verdict};
use crate::content::{Layout, PieceHashes, PieceSize};
use crate::wire::{self, Digest, EntryKind, FileSignature, UrlPath};

/// How often a file that changes during its download is begun anew.
const MAX_RESTARTS: u32 = 5;
/// How long a server that is busy with a file is left alone.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// How often numbers are told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How long those who are writing may take to notice that nothing more is wanted, and how often to look.
const RELEASE_GRACE: Duration = Duration::from_secs(5);
const RELEASE_POLL: Duration = Duration::from_millis(2);

/// What all files of a transfer have in common.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) link: LinkUser,
    pub(super) inner: Arc<Inner>,
    pub(super) shared: Arc<Shared>,
    pub(super) overwrite: Overwrite,
    /// Room on the disk is reserved first.
    pub(super) preallocate: bool,
    /// What is asked of signatures.
    pub(super) demand: Demand,
    /// Whether the transfer is of one file, whose states are the transfer's.
    pub(super) is_single: bool,
    /// What makes it a mirror and not only a download.
    pub(super) mirror: Option<Arc<Rules>>,
}

/// One version of a file, as the server tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    /// `None` where the server, of version 2, has no versions.
    pub(super) root: Option<Digest>,
    pub(super) layout: Layout,
    pub(super) mtime: Option<i64>,
}

impl Version {
    /// From what a listing or an answer says; `None` when that is not all it takes.
    pub(super) fn known(
        size: Option<u64>,
        root: Option<Digest>,
        piece_size: Option<u32>,
        mtime: Option<i64>,
        any_pieces: bool,
    ) -> Option<Self> {
        let piece = if any_pieces { PieceSize::any(piece_size?) } else { PieceSize::new(piece_size?) };
        Some(Self { root: Some(root?), layout: Layout::new(size?, piece?)?, mtime })
    }
}

/// One file to be downloaded.
pub(super) struct File {
    pub(super) path: UrlPath,
    pub(super) place: Place,
    pub(super) expect_root: Option<Digest>,
    /// From an answer, with the signatures that are in it; or from a listing, if that says enough.
    pub(super) version: Option<(Version, Vec<FileSignature>)>,
    /// Piece hashes that were told with the version.
    pub(super) told: Option<Told>,
    /// What was asked for already.
    pub(super) ahead: Option<Ahead>,
    /// Nobody else downloads it meanwhile, if that is settled.
    pub(super) turn: Option<OwnedMutexGuard<()>>,
    /// Its size as far as the numbers know it; `None` if they do not know of the file.
    pub(super) counted: Option<u64>,
    /// Nothing of it is where it goes; as it was a moment ago.
    pub(super) is_new: bool,
}

/// Where the bytes go.
pub(super) enum Place {
    File(PathBuf),
    Stream(Streaming),
    /// To those who read as they like.
    Readers(Arc<reader::Source>),
}

/// Why receiving ended before the end.
pub(super) enum Stop {
    /// The server has another version.
    Stale,
    /// It was for readers, and somebody else downloads all of it.
    Yielded,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a transfer is to do.
#[derive(Debug)]
pub(super) enum Task {
    Get(Request),
    Mirror(Mirror),
}

/// Does all there is to do for a transfer, and tells its end.
pub(super) async fn run(link: LinkUser, running: Running, task: Task, record: Option<Record>) {
    let Running { inner, shared } = &running;
    tracing::info!(transfer = shared.id, path = %shared.path, "transfer begins");
    let note = match &task {
        Task::Get(request) if record.is_none() => Note::of(&link, request),
        _ => Ok(None),
    };
    let (record, noted) = match note {
        Ok(None) => (record, Ok(())),
        Ok(Some(note)) => match note.write().await {
            Ok(record) => (Some(record), Ok(())),
            Err(error) => (None, Err(error)),
        },
        Err(error) => (None, Err(error)),
    };
    let working = async {
        noted?;
        match task {
            Task::Get(request) => download(link, shared, request).await,
            Task::Mirror(mirror) => mirror_tree(link, shared, mirror).await.map(|()| None),
        }
    };
    let result = tokio::select! {
        result = working => result,
        never = tell_progress(inner, shared) => match never {},
        never = cancel_when_closing(inner, shared) => match never {},
    };
    match &result {
        Ok(_) => tracing::info!(transfer = shared.id, path = %shared.path, "transfer is complete"),
        Err(error) => tracing::warn!(transfer = shared.id, path = %shared.path, %error, "transfer has ended"),
    }
    let ended = result.as_ref().map(drop).map_err(|error| error.kind);
    resume::settle(record, ended, shared.is_discarded()).await;
    shared.end_with(result, &inner.queue);
    inner.transfer_ended().await;
}

async fn tell_progress(inner: &Inner, shared: &Shared) -> Infallible {
    let mut ticks = interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Progress::default();
    loop {
        ticks.tick().await;
        let now = shared.numbers.snapshot(Instant::now());
        if now != told {
            let progress = Box::new(now.clone());
            inner.queue.push(shared.user_data, EventBody::Progress { transfer: shared.id, progress });
            told = now;
        }
    }
}

async fn cancel_when_closing(inner: &Inner, shared: &Shared) -> Infallible {
    inner.closing().await;
    shared.cancel(true);
    std::future::pending().await
}

async fn mirror_tree(link: LinkUser, shared: &Arc<Shared>, mirror: Mirror) -> Result<(), Error> {
    let inner = Arc::clone(&link.inner);
    let (path, dir) = (mirror.path.clone(), mirror.dir.clone());
    // What is given to others has to be verified, however sure one is of its content.
    let mirror = Mirror { checksum: mirror.checksum || inner.seeding() == Seeding::Always, ..mirror };
    let job = Job {
        demand: Demand::new(inner.config().verify, Vec::new(), &path, true),
        link,
        inner,
        shared: Arc::clone(shared),
        overwrite: Overwrite::Resume,
        preallocate: false,
        is_single: false,
        mirror: Some(Arc::new(Rules::new(mirror))),
    };
    tree::run(&Arc::new(job), &path, dir).await
}

async fn download(link: LinkUser, shared: &Arc<Shared>, request: Request) -> Result<Option<Digest>, Error> {
    let mut ahead = match Plan::of(&request) {
        Some(plan) => Ahead::start(&link, plan, STREAM_WINDOW).await,
        None => None,
    };
    let Request { path, target, overwrite, recursive, expect_root, verify, keys, tuning } = request;
    let inner = Arc::clone(&link.inner);
    let policy = verify.unwrap_or_else(|| inner.config().verify);
    let job = |is_single: bool| {
        Arc::new(Job {
            demand: Demand::new(policy, keys.clone(), &path, !is_single),
            link: link.clone(),
            inner: Arc::clone(&inner),
            shared: Arc::clone(shared),
            overwrite,
            preallocate: tuning.preallocate,
            is_single,
            mirror: None,
        })
    };
    let asking = async {
        let numbers = Arc::clone(&shared.numbers);
        let info = match &mut ahead {
            _ if path.is_root() => return Ok(None),
            Some(ahead) => ahead.ask(numbers).await?,
            None => link.ask_info(&path, Some(numbers)).await?,
        };
        Ok::<_, Error>(Some(info).filter(|info| info.kind != Some(EntryKind::Dir)))
    };
    let refuse_dir = || {
        let text = format!("{path} is a directory; it can only be downloaded recursively, into a directory");
        Error::new(ErrorKind::Argument, text)
    };
    let info = shared.unless_cancelled(asking).await??;
    let version = info.as_ref().map(|info| version_of(&link, &path, info)).transpose()?;
    let place = match (target, &info) {
        (Target::Dir(dir), None) if recursive => {
            if expect_root.is_some() {
                let text = format!("{path} is a directory, and a directory has no version");
                return Err(Error::new(ErrorKind::Argument, text));
            }
            return tree::run(&job(false), &path, dir).await.map(|()| None);
        }
        (_, None) => return Err(refuse_dir()),
        (Target::File(name), Some(_)) => Place::File(name),
        (Target::Dir(dir), Some(_)) => {
            let name = names::local_name(&path.file_name())?;
            let dirs = blocking(move || names::Dirs::new(dir.clone()).map(|_| dir)).await??;
            Place::File(dirs.join(name))
        }
        (Target::Stream(function), Some(_)) => {
            Place::Stream(Streaming { function, range: tuning.range, pace: tuning.pace })
        }
    };
    let told = info.and_then(|mut info| Told::with(&mut info));
    let (job, turn) = (job(true), None);
    file(&job, File { path, place, expect_root, version, told, ahead, turn, counted: None, is_new: false })
        .await
        .map(|got| Some(got.root))
}

/// Runs on a thread where waiting for the disk hurts nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        if error.is_cancelled() {
            Error::new(ErrorKind::State, "the client is being shut down")
        } else {
            Error::new(ErrorKind::Internal, "a disk operation failed badly; this is a bug in libpdtp")
        }
    })
}

pub(super) fn version_of(
    link: &Link,
    path: &UrlPath,
    info: &wire::TellInfo,
) -> Result<(Version, Vec<FileSignature>), Error> {
    if info.root.is_none() && link.is_old() {
        return Ok((old::version_of(path, info)?, Vec::new()));
    }
    let version = Version::known(info.size, info.root, info.chunk_size, info.mtime, link.takes_any_pieces());
    version.map(|version| (version, info.signatures.clone())).ok_or_else(|| {
        let text = format!("the server describes {} in a way that makes no sense", printable(&info.url));
        Error::new(ErrorKind::Protocol, text)
    })
}

/// A file that was downloaded.
pub(super) struct Got {
    pub(super) root: Digest,
    /// All of it was on the disk already.
    pub(super) was_here: bool,
}

/// Downloads one file to its end.
pub(super) async fn file(job: &Arc<Job>, file: File) -> Result<Got, Error> {
    let File {
        path,
        mut place,
        expect_root,
        mut version,
        mut told,
        mut ahead,
        turn,
        mut counted,
        mut is_new,
    } = file;
    let _turn = match turn.or_else(|| ahead.as_mut().and_then(|ahead| ahead.turn.take())) {
        Some(turn) => turn,
        None => job.shared.unless_cancelled(job.link.files.turn(&path)).await?,
    };
    let mut overwrite = job.overwrite;
    for _ in 0..=MAX_RESTARTS {
        let (version, signatures) = match version.take() {
            Some(version) => version,
            None => {
                let asking = job.link.ask_info(&path, Some(Arc::clone(&job.shared.numbers)));
                match job.shared.unless_cancelled(asking).await? {
                    // It changes faster than the server can look at it.
                    Err(error) if error.kind == ErrorKind::Busy => {
                        job.shared.unless_cancelled(sleep(BUSY_PAUSE)).await?;
                        continue;
                    }
                    info => version_of(&job.link, &path, &info?)?,
                }
            }
        };
        job.shared.numbers.hashing(None);
        match (expect_root, version.root) {
            (Some(_), None) => return Err(old::no_versions(&job.link.host)),
            (Some(wanted), Some(root)) if root != wanted => {
                let text = format!("{path}: the server has version {root}, not {wanted}");
                return Err(Error::new(ErrorKind::Changed, text));
            }
            _ => {}
        }
        // Before anything is asked for: what comes is verified against this root, so what is handed on of it is signed
        // from the first piece.
        let verdict = verify::admit(job, &path, &version, signatures, expect_root.is_some()).await?;
        let size = match &place {
            Place::Stream(streaming) => {
                stream::bytes_of(streaming.range, version.layout.size())?;
                let bytes = version.layout.bytes_of_run(streaming.pieces(&version.layout));
                bytes.end - bytes.start
            }
            Place::File(_) | Place::Readers(_) => version.layout.size(),
        };
        match counted.replace(size) {
            None => job.shared.numbers.add_file(size),
            Some(before) => job.shared.numbers.resize(before, size),
        }
        let in_parts = hashes::is_worth_parts(&version.layout)
            && match &place {
                // Otherwise there is something to look at, for which all are needed.
                Place::File(target) => {
                    let (is_certain, target) = (is_new || ahead.is_some(), target.clone());
                    is_certain || overwrite == Overwrite::Replace || is_nothing_here(target).await
                }
                // A root alone does not say how long a file is, and so not where a byte is, until all are known.
                Place::Stream(_) | Place::Readers(_) => {
                    expect_root.is_none() || verdict.as_ref().is_some_and(has_layout)
                }
            };
        let known = known_here(job, &path, &version, &place);
        let hashes = match known {
            Some(known) if in_parts || known.first_unknown(0..u32::MAX).is_none() => Ok(known),
            _ => hashes::begin(job, &path, &version, told.take(), in_parts).await,
        };
        let hashes = match hashes {
            Ok(hashes) => hashes,
            Err(Stop::Stale) => {
                ahead = None;
                continue;
            }
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Yielded) => return Err(yielded(&path)),
        };
        let start =
            Start { hashes, overwrite, verdict, ahead: ahead.take(), is_new: std::mem::take(&mut is_new) };
        match attempt(job, &path, place, &version, start).await {
            Attempt::Done { root, was_here } => {
                job.shared.numbers.file_done();
                return Ok(Got { root, was_here });
            }
            Attempt::Failed(error) => return Err(error),
            Attempt::Again(same_place) => place = same_place,
        }
        // What was received of the old version serves the new one where it is the same.
        if overwrite == Overwrite::Replace {
            overwrite = Overwrite::Resume;
        }
    }
    Err(Error::new(ErrorKind::Changed, format!("{path} keeps changing on the server; try again later")))
}

/// Whether somebody who is believed has signed how long the file is.
fn has_layout(verdict: &Verdict) -> bool {
    verdict.status == Status::Good
}

/// What is known of the hashes of a version that is being received, or given, or was read. What is here of it can be
/// taken over then.
fn known_here(job: &Job, path: &UrlPath, version: &Version, place: &Place) -> Option<Arc<PieceHashes>> {
    let held = job.link.files.get(path).map(|held| Arc::clone(held.hashes()));
    let rest = match place {
        Place::Readers(source) => source.hashes(),
        _ => None,
    };
    let is_of_it = |known: &Arc<PieceHashes>| {
        known.is_told() && version.root == Some(known.root()) && known.layout() == version.layout
    };
    held.filter(is_of_it).or(rest.filter(is_of_it))
}

/// How one attempt at a version ended.
enum Attempt {
    /// All of this version is here.
    Done {
        root: Digest,
        was_here: bool,
    },
    Failed(Error),
    /// There is another version.
    Again(Place),
}

/// What an attempt begins with.
struct Start {
    hashes: Arc<PieceHashes>,
    overwrite: Overwrite,
    /// Whose the file is, where that matters.
    verdict: Option<Verdict>,
    /// What was asked for already.
    ahead: Option<Ahead>,
    /// Nothing of it is on the disk.
    is_new: bool,
}

async fn attempt(job: &Arc<Job>, path: &UrlPath, place: Place, version: &Version, start: Start) -> Attempt {
    let Start { hashes, overwrite, verdict, ahead, is_new } = start;
    job.enter(TransferState::Checking);
    let (target, streaming, readers) = match place {
        Place::File(target) => (Some(target), None, None),
        Place::Stream(streaming) => (None, Some(streaming), None),
        Place::Readers(source) => (None, None, Some(source)),
    };
    // What was signed is compared with all of it before it has its name.
    let is_signed = verdict.as_ref().is_some_and(|verdict| verdict.sha256.is_some());
    let small = target.as_ref().filter(|_| is_new && !is_signed).and_then(|target| {
        PieceStore::small(target, &job.link.uri(path), Arc::clone(&hashes), version.mtime)
    });
    let store = match small {
        Some(store) => Arc::new(store),
        None => match open_store(job, path, target.clone(), hashes, overwrite).await {
            Ok(store) => store,
            Err(error) => return Attempt::Failed(error),
        },
    };
    job.shared.numbers.found(store.found());
    let was_here = store.is_finished();
    let held = Arc::new(Held::new(
        path.clone(),
        job.link.url(path),
        Arc::clone(&store),
        Owner { transfer: job.shared.id, user_data: job.shared.user_data },
        Arc::clone(&job.shared.numbers),
        job.shared.down.clone(),
    ));
    if let Some(before) = readers.as_ref().and_then(|readers| readers.take_rest(held.root)) {
        let all = 0..version.layout.count();
        held.credit_copied(copy_into(&held, move |store| copy_pieces(&before, store, all)).await);
    }
    if let Some(before) = job.link.files.get(path) {
        if version.root == Some(before.root) && !store.is_complete() {
            before.touch();
            let wanted = match &streaming {
                Some(streaming) => streaming.pieces(&version.layout),
                None => 0..version.layout.count(),
            };
            copy_from(&job.link, &before, &held, wanted).await;
        }
        // What the server believes to be here, it would not send again; what is here is said anew.
        job.link.unprovide(&before).await;
    }
    job.link.files.insert(Arc::clone(&held));
    if let Some(readers) = &readers
        && let Err(error) = readers.attach_own(&held, &store)
    {
        forget(job, &held).await;
        return Attempt::Failed(error);
    }
    job.enter(TransferState::Active);
    let already = ahead.and_then(|ahead| ahead.hand_over(&held));

    let (result, streaming) = match streaming {
        None => {
            let mut want = readers.clone().map_or(Want::All, Want::Readers);
            (receive(job, &held, &store, &mut want, already).await, None)
        }
        Some(streaming) => {
            let (result, streaming) = receive_stream(job, &held, &store, streaming, already).await;
            (result, Some(streaming))
        }
    };
    let result = match result {
        Ok(()) if !store.is_complete() => {
            // A part of the file, which is of no use to others.
            forget(job, &held).await;
            Ok(())
        }
        Ok(()) => finish(job, &held, &store, target.as_ref(), version, verdict).await.map_err(Stop::Failed),
        // What is here is for whoever comes next.
        Err(Stop::Yielded) => Err(Stop::Yielded),
        Err(stop) => {
            abandon(job, &held, &store, &stop).await;
            Err(stop)
        }
    };
    let stop = match result {
        Ok(()) => return Attempt::Done { root: store.root().unwrap_or_default(), was_here },
        Err(stop) => stop,
    };
    let credited = held.credited();
    if readers.is_none() {
        released(held, store).await;
    }
    match stop {
        Stop::Failed(error) => Attempt::Failed(error),
        Stop::Yielded => Attempt::Failed(yielded(path)),
        Stop::Stale if readers.is_some() => Attempt::Failed(reader::changed(path)),
        Stop::Stale => {
            job.shared.numbers.retract(credited);
            match (target, streaming) {
                (Some(target), _) => Attempt::Again(Place::File(target)),
                (None, Some(Some(streaming))) => Attempt::Again(Place::Stream(streaming)),
                // Some of it was handed over already: a mix of versions is not what was asked for.
                _ => Attempt::Failed(Error::new(
                    ErrorKind::Changed,
                    format!("{path} was changed on the server while it was being read"),
                )),
            }
        }
    }
}

/// Waits until those who were still writing have let go of the part file, so that it can be opened again.
async fn released(held: Arc<Held>, store: Arc<PieceStore>) {
    let users = Arc::downgrade(&store);
    drop((held, store));
    let gone = async {
        while users.strong_count() > 0 {
            sleep(RELEASE_POLL).await;
        }
    };
    // Whoever opens it sooner is told that it is locked.
    let _ = timeout(RELEASE_GRACE, gone).await;
}

async fn open_store(
    job: &Job,
    path: &UrlPath,
    target: Option<PathBuf>,
    hashes: Arc<PieceHashes>,
    overwrite: Overwrite,
) -> Result<Arc<PieceStore>, Error> {
    let uri = job.link.uri(path);
    let temporary = job.inner.config().cache_dir.unwrap_or_else(std::env::temp_dir);
    let shared = Arc::clone(&job.shared);
    let mut progress = move |done, total| {
        shared.numbers.checking(Some((done, total)));
        if shared.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let (named, preallocate) = (target.clone(), job.preallocate);
    let opened = blocking(move || match named {
        Some(target) => {
            let store = PieceStore::open(&target, &uri, hashes, overwrite, &mut progress)?;
            if preallocate && let Err(error) = store.reserve() {
                if store.verified_bytes() == 0 {
                    // Nothing is there that anybody would go on with.
                    let _ = store.discard();
                }
                return Err(error);
            }
            Ok(store)
        }
        None => PieceStore::anonymous(&temporary, hashes),
    })
    .await?;
    job.shared.numbers.checking(None);
    match (opened, target) {
        (Ok(store), _) => Ok(Arc::new(store)),
        (Err(StoreError::CalledOff), Some(target)) => {
            if job.shared.is_discarded()
                && let Err(error) = blocking(move || PieceStore::discard_part(&target)).await?
            {
                tracing::warn!(%error, "after a download that ended early");
            }
            Err(job.shared.cancelled().await)
        }
        (Err(error), _) => Err(store_error(&error)),
    }
}

pub(super) fn store_error(error: &StoreError) -> Error {
    match error {
        StoreError::Io { what, source } => Error::io(what, source),
        StoreError::Locked(_) => Error::new(ErrorKind::Locked, error.to_string()),
        StoreError::CalledOff => Error::new(ErrorKind::Cancelled, error.to_string()),
        StoreError::Differs(_) => Error::new(ErrorKind::Hash, error.to_string()),
        StoreError::Exists(_) | StoreError::NotAFile(_) => Error::new(ErrorKind::Exists, error.to_string()),
    }
}

/// Fetches what readers need, until they are no more. `Ok` when somebody else downloads the file from now on.
pub(super) async fn for_readers(
    job: &Arc<Job>,
    source: &Arc<reader::Source>,
    mut ahead: Option<Ahead>,
    turn: Option<OwnedMutexGuard<()>>,
) -> Result<(), Error> {
    let path = source.path.clone();
    let numbers = Arc::clone(&job.shared.numbers);
    let asking = async {
        match &mut ahead {
            Some(ahead) => ahead.ask(numbers).await,
            None => job.link.ask_info(&path, Some(numbers)).await,
        }
    };
    let mut info = job.shared.unless_cancelled(asking).await??;
    let version = Some(version_to_read(job, source, &info)?);
    let told = Told::with(&mut info);
    let (place, expect_root) = (Place::Readers(Arc::clone(source)), source.expect_root());
    let read = File { path, place, expect_root, version, told, ahead, turn, counted: None, is_new: false };
    match file(job, read).await {
        Err(error) if error.kind == ErrorKind::Again => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(Error::new(ErrorKind::Internal, "reading ended by itself")),
    }
}

/// What is asked for before it is known what it is, if that makes sense.
pub(super) async fn ahead_of(link: &LinkUser, source: &reader::Source, terms: &Terms) -> Option<Ahead> {
    if source.is_begun() {
        return None;
    }
    Ahead::start(link, Plan::of_readers(source, terms.expect_root)?, source.first_window).await
}

/// Whether what somebody else has of a file is what the server has now, and may be read.
pub(super) async fn admits(
    job: &Arc<Job>,
    source: &reader::Source,
    held: &Held,
    is_pinned: bool,
) -> Result<bool, Error> {
    let info = job.link.ask_info(&held.path, Some(Arc::clone(&job.shared.numbers))).await?;
    let (version, signatures) = version_to_read(job, source, &info)?;
    if version.layout != held.layout || version.root.is_some_and(|root| root != held.root) {
        return Ok(false);
    }
    let verdict = verify::admit(job, &held.path, &version, signatures, is_pinned).await?;
    if is_pinned && !verdict.as_ref().is_some_and(has_layout) {
        // As for a file that is received for them alone: where a byte is must not depend on what the server says.
        match hashes::complete(&job.link, held).await {
            Err(error) if error.kind == ErrorKind::Changed => return Ok(false),
            completed => completed?,
        }
    }
    Ok(true)
}

fn version_to_read(
    job: &Job,
    source: &reader::Source,
    info: &wire::TellInfo,
) -> Result<(Version, Vec<FileSignature>), Error> {
    let path = &source.path;
    source.describe(info.mime.clone(), info.mtime);
    if info.kind == Some(EntryKind::Dir) {
        return Err(Error::new(
            ErrorKind::Argument,
            format!("{path} is a directory; only files can be read"),
        ));
    }
    version_of(&job.link, path, info)
}

/// Only the source of the readers gets to see it.
fn yielded(path: &UrlPath) -> Error {
    Error::new(ErrorKind::Again, format!("somebody else downloads {path}"))
}

impl Job {
    /// What asks in the name of something that is no download.
    pub(super) fn quiet(link: &LinkUser, shared: &Arc<Shared>, demand: Demand, overwrite: Overwrite) -> Self {
        Self {
            link: link.clone(),
            inner: Arc::clone(&link.inner),
            shared: Arc::clone(shared),
            overwrite,
            preallocate: false,
            demand,
            is_single: false,
            mirror: None,
        }
    }

    /// Enters a state, where the file is all of the transfer.
    pub(super) fn enter(&self, state: TransferState) {
        if self.is_single {
            self.shared.enter(state, &self.inner.queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_needs_all_its_parts() {
        let root = Some(Digest::default());
        assert!(Version::known(Some(5), root, Some(65536), None, false).is_some());
        assert!(Version::known(None, root, Some(65536), None, false).is_none());
        assert!(Version::known(Some(5), None, Some(65536), None, false).is_none());
        assert!(Version::known(Some(5), root, None, None, false).is_none());
        assert!(Version::known(Some(5), root, Some(5000), None, false).is_none(), "not a piece size");
        assert!(Version::known(Some(5), root, Some(5000), None, true).is_some(), "it is one here");
        assert!(Version::known(Some(5), root, Some(1000), None, true).is_none(), "nowhere");
        assert!(Version::known(Some(u64::MAX), root, Some(16384), None, false).is_none(), "too many pieces");
    }
}
