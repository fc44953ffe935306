//! The download of one file: what it is, what of it is here already, asking for the rest, the end.
//!
//! The server decides who sends what; the pieces arrive by [`super::exchange`]. A job only says what it wants, says
//! it again on every new connection, and waits. It starts anew, with what is still right, when the file changes.

use std::convert::Infallible;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedMutexGuard, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, interval_at, sleep, timeout};

use super::ahead::{Ahead, Already, Plan, is_nothing_here};
use super::asks::printable;
use super::event::EventBody;
use super::files::{Held, Owner, Upset};
use super::hashes::{self, Told};
use super::inner::Inner;
use super::mirror::{Mirror, Rules};
use super::old;
use super::priority::{Place as InLine, Priority};
use super::progress::Source;
use super::reader::{self, Asking, Terms};
use super::resume::{self, Note, Record};
use super::session::{Conn, Gone, Link, LinkUser};
use super::store::StoreError;
use super::stream::{self, Finished, Position, Streaming};
use super::transfer::{Shared, Wish};
use super::verify::{self, Demand};
use super::{
    Error, ErrorKind, Overwrite, PieceStore, Progress, Request, Seeding, Target, TransferState, names, tree,
};
use crate::content::trust::{Status, Verdict};
use crate::content::{Layout, PieceHashes, PieceSize, hash_piece};
use crate::peer::{Claim, PieceSink};
use crate::wire::{self, ByteRange, Digest, EntryKind, FileSignature, Order, UrlPath, limits};

/// How often a file that changes during its download is begun anew.
const MAX_RESTARTS: u32 = 5;
/// How long a server that is busy with a file is left alone.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// Ranges asked for at once; more are asked for when those are here. Half of what the protocol allows.
const MAX_RANGES: usize = limits::MAX_RANGES_PER_FILE / 2;
/// What a stream has fetched ahead of what was taken.
const STREAM_WINDOW: u64 = 64 * 1024 * 1024;
/// How often numbers are told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// How often the state file is written, and the store looked at for pieces that came in without a word.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Asking again is harmless; a server that has lost our request in some way is worth it.
const STALLED: Duration = Duration::from_secs(20);
/// After so long without a byte, transfers of lower priority need not wait any longer.
const GIVES_WAY: Duration = Duration::from_secs(5);
/// How long exchanges may take to end once their file is given up.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long pieces may take from the store into the numbers.
const CREDIT_GRACE: Duration = Duration::from_millis(250);

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
pub(super) async fn run(link: LinkUser, shared: Arc<Shared>, task: Task, record: Option<Record>) {
    let inner = Arc::clone(&link.inner);
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
            Task::Get(request) => download(link, &shared, request).await,
            Task::Mirror(mirror) => mirror_tree(link, &shared, mirror).await.map(|()| None),
        }
    };
    let result = tokio::select! {
        result = working => result,
        never = tell_progress(&inner, &shared) => match never {},
        never = cancel_when_closing(&inner, &shared) => match never {},
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

/// Takes from another download of the same version what it has of these pieces.
async fn copy_from(link: &LinkUser, before: &Arc<Held>, held: &Arc<Held>, pieces: Range<u32>) {
    let (link, before) = (Arc::clone(link), Arc::clone(before));
    let copy = move |store: &PieceStore| match link.files.open_store(&before) {
        Some(from) => copy_pieces(&from, store, pieces),
        None => Ok(()),
    };
    held.credit_copied(copy_into(held, copy).await);
}

/// Bytes that `copy` has brought.
async fn copy_into(
    held: &Arc<Held>,
    copy: impl FnOnce(&PieceStore) -> std::io::Result<()> + Send + 'static,
) -> u64 {
    let to = Arc::clone(held);
    let copied = blocking(move || {
        let Some(store) = to.store() else { return 0 };
        // Nobody else can have brought anything yet.
        let before = store.verified_bytes();
        if let Err(error) = copy(&store) {
            to.upset(Upset::Failed(Error::io(format!("cannot store {}", to.path), &error)));
        }
        store.verified_bytes() - before
    });
    copied.await.unwrap_or(0)
}

/// What cannot be read or is wrong is left out, for others to send.
fn copy_pieces(from: &PieceStore, to: &PieceStore, mut pieces: Range<u32>) -> std::io::Result<()> {
    let layout = from.layout();
    let mut buffer = vec![0; layout.piece_size().bytes() as usize];
    let is_known = |piece: u32| to.hashes().first_unknown(piece..piece + 1).is_none();
    while let Some(piece) = pieces.find(|&piece| from.has(piece) && is_known(piece)) {
        let bytes = layout.bytes_of(piece);
        let buffer = &mut buffer[..(bytes.end - bytes.start) as usize];
        let is_whole = from.read_at(bytes.start, buffer).is_ok_and(|length| length == buffer.len());
        if !is_whole || to.claim(piece) != Claim::Granted {
            continue;
        }
        if let Err(error) = to.write_at(bytes.start, buffer) {
            to.release(piece);
            return Err(error);
        }
        PieceSink::finish(to, piece, hash_piece(buffer))?;
    }
    Ok(())
}

/// All there: under its name, and given to others if that is wanted.
async fn finish(
    job: &Job,
    held: &Arc<Held>,
    store: &Arc<PieceStore>,
    target: Option<&PathBuf>,
    version: &Version,
    verdict: Option<Verdict>,
) -> Result<(), Error> {
    job.enter(TransferState::Verifying);
    if let Some(error) = check_digest(store, verdict).await? {
        forget(job, held).await;
        return Err(error);
    }
    let (finishing, mtime, is_mirror) = (Arc::clone(store), version.mtime, job.mirror.is_some());
    let finish = move || {
        PieceStore::finish(&finishing, mtime)?;
        if is_mirror {
            finishing.set_time(mtime);
        }
        Ok(())
    };
    // A small file got its name when its piece came.
    let finished = if store.has_settled() { Ok(()) } else { blocking(finish).await? };
    if let Err(error) = finished {
        forget(job, held).await;
        return Err(store_error(&error));
    }
    match (job.inner.seeding(), target) {
        (Seeding::Off, _) => forget(job, held).await,
        // Streams: of no use here but to be given, and to be read again.
        (_, None) if job.inner.config().cache_bytes == 0 || !held.is_told() => forget(job, held).await,
        (seeding, None) => {
            if seeding == Seeding::Always {
                job.inner.keep(&job.link);
            }
            job.link.files.share_unnamed(held);
            provide_whole(job, held, store).await;
            job.inner.cache_add(&job.link, held, true).await;
        }
        (seeding, Some(target)) => {
            if seeding == Seeding::Always {
                job.inner.keep(&job.link);
            }
            for given_up in job.link.files.share(held, target.clone()) {
                job.link.unprovide(&given_up).await;
            }
            provide_whole(job, held, store).await;
            job.inner.cache_add(&job.link, held, false).await;
        }
    }
    Ok(())
}

/// Tells the server of a file that is complete, if it does not know: what was received, it does.
async fn provide_whole(job: &Job, held: &Held, store: &PieceStore) {
    if held.is_untold(store)
        && let Some(conn) = job.link.conn_now()
    {
        let provide = wire::Provide { url: held.url.clone(), range: None, root: Some(held.root) };
        // It is said again on the next connection.
        let _ = conn.send(provide).await;
    }
}

/// That the whole file has the digest that was signed. Its pieces are verified already; this is for whoever believes
/// the digest in the manifest by itself.
async fn check_digest(store: &Arc<PieceStore>, verdict: Option<Verdict>) -> Result<Option<Error>, Error> {
    let verdict = verdict.filter(|verdict| verdict.status != Status::Bad);
    let Some((wanted, path)) = verdict.and_then(|verdict| Some((verdict.sha256?, verdict.path))) else {
        return Ok(None);
    };
    let reading = Arc::clone(store);
    match blocking(move || verify::has_digest(&reading, wanted)).await? {
        Ok(true) => Ok(None),
        Ok(false) => {
            let text = format!("{path} does not have the SHA-256 that was signed, {wanted}");
            Ok(Some(Error::new(ErrorKind::Signature, text)))
        }
        Err(error) => Ok(Some(Error::io(format!("cannot read {path} once more"), &error))),
    }
}

/// Neither wanted nor given any more.
async fn forget(job: &Job, held: &Arc<Held>) {
    job.link.files.remove(held);
    // What is still under way has its last words first. Otherwise the server would go on believing in pieces that are
    // not here, and never send them again.
    let _ = timeout(LAST_WORDS, held.seats_empty()).await;
    job.link.unprovide(held).await;
}

/// Not all there, and no more is to come: asks for nothing more, and leaves or removes what is on the disk.
async fn abandon(job: &Job, held: &Arc<Held>, store: &Arc<PieceStore>, stop: &Stop) {
    if let Some(conn) = job.link.conn_now() {
        let unrequest = wire::Unrequest { url: held.url.clone(), range: None, root: Some(held.root) };
        // A lost connection has made the server forget it already.
        let _ = conn.send(unrequest).await;
    }
    forget(job, held).await;
    let discard = matches!(stop, Stop::Failed(_)) && job.shared.is_discarded();
    let store = Arc::clone(store);
    let left = blocking(move || if discard { store.discard() } else { store.save_state() }).await;
    if let Ok(Err(error)) = left {
        tracing::warn!(%error, "after a download that ended early");
    }
}

/// How much of a file is wanted now.
enum Want {
    All,
    /// As much as the stream needs soon.
    Stream {
        position: Arc<Position>,
        /// Bytes a second it will be read with, 0 = not known.
        pace: u64,
        finished: oneshot::Receiver<Finished>,
        /// Once it has ended.
        end: Option<Finished>,
    },
    /// As much as readers need soon; for as long as there are any.
    Readers(Arc<reader::Source>),
}

/// Ends the thread of a stream together with the job that feeds it: also when the runtime goes, and the job with it.
struct Leash(Arc<Position>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// `None` instead of the stream when its function has been given bytes already.
async fn receive_stream(
    job: &Job,
    held: &Arc<Held>,
    store: &Arc<PieceStore>,
    Streaming { function, range, pace }: Streaming,
    already: Option<Already>,
) -> (Result<(), Stop>, Option<Streaming>) {
    let bytes = match stream::bytes_of(range, held.layout.size()) {
        Ok(bytes) => bytes,
        Err(error) => return (Err(error.into()), None),
    };
    let position = Arc::new(Position::new(bytes));
    let started =
        stream::start(&job.inner, Arc::clone(held), Arc::clone(store), Arc::clone(&position), function);
    let finished = match started {
        Ok(finished) => finished,
        Err(error) => return (Err(error.into()), None),
    };
    let _leash = Leash(Arc::clone(&position));
    let mut want = Want::Stream { position: Arc::clone(&position), pace, finished, end: None };
    let mut result = receive(job, held, store, &mut want, already).await;
    let Want::Stream { finished, end, .. } = want else { return (result, None) };
    match result {
        Ok(()) => position.wake(),
        Err(_) => position.end(),
    }
    // All is received, but not yet taken; or the function is still at work. It may take as long as it likes, but a
    // transfer that is cancelled does not wait for it.
    let end = match end {
        Some(end) => Some(end),
        None => job.shared.unless_cancelled(finished).await.ok().and_then(Result::ok),
    };
    match end {
        Some(Finished { result: read, function }) => {
            if result.is_ok() {
                result = read.map_err(Stop::Failed);
            }
            let again = Streaming { function, range, pace };
            (result, Some(again).filter(|_| position.is_untouched()))
        }
        None if result.is_ok() => (Err(Stop::Failed(job.shared.cancelled().await)), None),
        None => (result, None),
    }
}

/// What of a file was asked for on one connection.
#[derive(Default)]
struct Asked {
    /// All missing pieces before this one.
    until: u32,
    /// There was more than can be asked for at once.
    is_partial: bool,
    /// Bytes that are verified when all that was asked for is here.
    goal: u64,
    /// On behalf of readers.
    readers: Asking,
}

/// Up to which piece a file is wanted now, and what the server should know about it.
#[derive(Debug, Clone, Copy)]
struct Scope {
    /// The first that is wanted at all.
    from: u32,
    to: u32,
    /// Where a reader is.
    position: Option<u64>,
    /// How fast it will be, bytes a second.
    pace: Option<u64>,
}

impl Want {
    /// `until` is what was asked for before.
    fn scope(&self, layout: &Layout, until: u32) -> Scope {
        match self {
            Self::All | Self::Readers(_) => Scope { from: 0, to: layout.count(), position: None, pace: None },
            Self::Stream { position, pace, .. } => {
                let (at, bytes) = (position.at(), position.bytes());
                let end = at.saturating_add(STREAM_WINDOW).min(bytes.end);
                // In steps: a message for every piece taken would be many.
                let is_step =
                    end == bytes.end || end.saturating_sub(layout.start(until)) >= STREAM_WINDOW / 8;
                let to = if is_step { layout.touched(at..end).end } else { until };
                let from = layout.touched(bytes).start;
                Scope { from, to, position: Some(at), pace: Some(*pace).filter(|pace| *pace > 0) }
            }
        }
    }

    /// Where somebody reads.
    fn positions(&self, held: &Held) -> Vec<u64> {
        match self {
            Self::Stream { position, .. } => vec![position.at()],
            Self::Readers(source) => source.positions(),
            Self::All => held.source().map(|source| source.positions()).unwrap_or_default(),
        }
    }

    /// Whether all that will ever be wanted is here.
    fn is_here(&self, store: &PieceStore) -> bool {
        match self {
            Self::All | Self::Readers(_) => store.is_complete(),
            Self::Stream { position, .. } => {
                store.is_complete() || {
                    let have = store.pieces();
                    store.layout().touched(position.bytes()).all(|piece| have.contains(piece))
                }
            }
        }
    }
}

impl Asked {
    /// All bytes before that one.
    fn already(bytes: u64, held: &Held, want: &Want) -> Self {
        let bytes = bytes.min(held.layout.size());
        let readers = match want {
            Want::Readers(source) => Asking::already(bytes, held, source.first_window),
            _ => Asking::default(),
        };
        Self { until: held.layout.touched(0..bytes).end, is_partial: false, goal: bytes, readers }
    }

    /// Asks for what is wanted now.
    async fn go_on(
        &mut self,
        conn: &Conn,
        held: &Held,
        store: &PieceStore,
        want: &mut Want,
    ) -> Result<(), Gone> {
        if let Want::Readers(source) = want {
            return self.readers.follow(conn, held, store, source).await;
        }
        self.more(conn, held, store, want.scope(&held.layout, self.until)).await?;
        self.readers.point(conn, held, store, held.source().as_deref()).await
    }

    /// Asks for more, if there is more to be asked for now.
    async fn more(&mut self, conn: &Conn, held: &Held, store: &PieceStore, scope: Scope) -> Result<(), Gone> {
        let layout = &held.layout;
        let Scope { from, to, position, pace } = scope;
        self.until = self.until.max(from);
        let is_busy = self.is_partial && store.verified_bytes() < self.goal;
        if self.until >= to || is_busy {
            return Ok(());
        }
        let pieces = store.pieces();
        let missing = runs((self.until..to).filter(|&piece| !pieces.contains(piece)));
        let mut asked = 0;
        self.is_partial = false;
        self.goal = store.verified_bytes();
        self.until = to;
        for run in missing {
            let bytes = layout.bytes_of_run(run.clone());
            self.goal += bytes.end - bytes.start;
            let request = wire::Request {
                url: held.url.clone(),
                range: Some(ByteRange::new(bytes.start, bytes.end - 1)),
                root: Some(held.root),
                order: position.map(|_| Order::Sequential),
                position,
                window: position.map(|_| STREAM_WINDOW),
                pace,
                early: None,
            };
            conn.send(request).await?;
            asked += 1;
            if asked == MAX_RANGES {
                self.until = run.end;
                self.is_partial = true;
                break;
            }
        }
        Ok(())
    }
}

/// Ascending pieces as runs.
pub(super) fn runs(pieces: impl Iterator<Item = u32>) -> impl Iterator<Item = std::ops::Range<u32>> {
    let mut pieces = pieces.peekable();
    std::iter::from_fn(move || {
        let start = pieces.next()?;
        let mut end = start + 1;
        while pieces.next_if_eq(&end).is_some() {
            end += 1;
        }
        Some(start..end)
    })
}

/// Waits until all is here, asking for it on as many connections as it takes.
async fn receive(
    job: &Job,
    held: &Arc<Held>,
    store: &Arc<PieceStore>,
    want: &mut Want,
    mut already: Option<Already>,
) -> Result<(), Stop> {
    let mut save = interval_at(tokio::time::Instant::now() + SAVE_INTERVAL, SAVE_INTERVAL);
    save.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ears = Ears {
        wish: job.shared.wish(),
        priority: job.shared.priority(),
        precedence: job.inner.precedence.subscribe(),
        save,
    };
    let mut lost: Option<Arc<Conn>> = None;
    loop {
        if let Some(conn) = &lost {
            // What is under way between peers goes on meanwhile, and may be all that is missing.
            tokio::select! {
                () = conn.closed() => {}
                () = held.news.notified() => {}
            }
        }
        let conn = loop {
            if is_over(job, held, store, want).await? {
                return Ok(());
            }
            tokio::select! {
                conn = job.link.conn() => break conn?,
                () = held.news.notified() => {}
                _ = ears.wish.changed() => {}
                _ = ears.save.tick() => save_state(store).await,
            }
        };
        // Nobody would say so.
        let is_unsure = lost.is_some() && !held.is_told();
        if is_unsure && !job.shared.unless_cancelled(old::is_unchanged(&job.link, held)).await?? {
            return Err(Stop::Stale);
        }
        let asked = already.take().filter(|already| Arc::ptr_eq(&already.conn, &conn));
        let asked = asked.map(|already| Asked::already(already.bytes, held, want)).unwrap_or_default();
        match converse(job, held, store, want, &conn, asked, &mut ears).await? {
            Ok(()) => return Ok(()),
            Err(Gone) => lost = Some(conn),
        }
    }
}

/// What else a job listens to while it receives.
struct Ears {
    wish: watch::Receiver<Wish>,
    priority: watch::Receiver<Priority>,
    precedence: watch::Receiver<[usize; 3]>,
    save: tokio::time::Interval,
}

/// One connection's part in it. `Ok(Ok(()))` when all is here.
async fn converse(
    job: &Job,
    held: &Arc<Held>,
    store: &Arc<PieceStore>,
    want: &mut Want,
    conn: &Arc<Conn>,
    mut asked: Asked,
    Ears { wish, priority, precedence, save }: &mut Ears,
) -> Result<Result<(), Gone>, Stop> {
    if job.is_single && !store.is_complete() && conn.old().is_none() {
        job.inner.pool.warm(conn.server);
    }
    if provide(job, conn, held, store).await == Err(Gone) {
        return Ok(Err(Gone));
    }
    let mut halt = None;
    let mut in_line: Option<InLine> = None;
    // What was here when that last changed.
    let mut progress = (0, Instant::now());
    loop {
        if is_over(job, held, store, want).await? {
            return Ok(Ok(()));
        }
        for position in want.positions(held) {
            // Together with the request: the first byte is to take one round trip, not two.
            let piece = held.layout.piece_at(position);
            hashes::need(&job.link, held, piece..piece + 1, false);
        }
        hashes::go_on(&job.link, held);
        if held.questions.are_in_vain(held.hashes()) {
            match job.shared.unless_cancelled(hashes::complete(&job.link, held)).await? {
                Err(error) if error.kind == ErrorKind::Changed => return Err(Stop::Stale),
                completed => completed?,
            }
        }
        precedence.mark_unchanged();
        let wanted = *priority.borrow_and_update();
        // Who reads or watches does not stand in line.
        let reads = matches!(want, Want::Readers(_));
        let must_halt = if *wish.borrow_and_update() == Wish::Pause {
            Some(TransferState::Paused)
        } else if !reads && job.inner.precedence.is_held_back(wanted) {
            Some(TransferState::Queued)
        } else {
            None
        };
        // What does not receive holds nobody back: whether it is not to, or nothing comes.
        if reads || must_halt.is_some() || progress.1.elapsed() >= GIVES_WAY {
            in_line = None;
        } else if in_line.as_ref().is_none_or(|place| place.priority != wanted) {
            in_line = Some(job.inner.precedence.enter(wanted));
        }
        let sent = if let Some(state) = must_halt {
            if halt != must_halt {
                job.shared.enter(state, &job.inner.queue);
            }
            let readers = held.source();
            if halt.is_none() || (readers.is_none() && asked.readers.is_asking()) {
                asked = Asked::default();
                let url = held.url.clone();
                conn.send(wire::Unrequest { url, range: None, root: Some(held.root) }).await
            } else if let Some(source) = readers {
                // Somebody reads it all the same.
                asked.readers.follow(conn, held, store, &source).await
            } else {
                Ok(())
            }
        } else {
            if halt.is_some() {
                // Others were received meanwhile.
                progress.1 = Instant::now();
                job.shared.enter(TransferState::Active, &job.inner.queue);
            }
            asked.go_on(conn, held, store, want).await
        };
        halt = must_halt;
        if sent == Err(Gone) {
            return Ok(Err(Gone));
        }
        tokio::select! {
            () = conn.closed() => return Ok(Err(Gone)),
            () = held.news.notified() => {}
            // The sender lives as long as the transfer.
            _ = wish.changed() => {}
            _ = priority.changed() => {}
            _ = precedence.changed() => {}
            _ = save.tick() => {
                save_state(store).await;
                let here = store.verified_bytes();
                let nothing_to_come = reads && asked.readers.has_all(store);
                if here != progress.0 || nothing_to_come {
                    progress = (here, Instant::now());
                } else if progress.1.elapsed() >= STALLED {
                    progress.1 = Instant::now();
                    asked = Asked::default();
                    // What the server believes to be here may be wrong, and then it would not send it.
                    let unprovide = wire::Unprovide { url: held.url.clone(), range: None, root: Some(held.root) };
                    if conn.send(unprovide).await == Err(Gone) || provide(job, conn, held, store).await == Err(Gone) {
                        return Ok(Err(Gone));
                    }
                }
            }
        }
    }
}

/// Whether all that is wanted is here; an error when it never will be.
async fn is_over(job: &Job, held: &Held, store: &PieceStore, want: &mut Want) -> Result<bool, Stop> {
    if job.shared.is_cancelled() {
        return Err(Stop::Failed(job.shared.cancelled().await));
    }
    if let Want::Stream { position, finished, end, .. } = want {
        position.wake();
        if end.is_none()
            && let Ok(finished) = finished.try_recv()
        {
            *end = Some(finished);
        }
        if let Some(Finished { result: Err(error), .. }) = end {
            return Err(Stop::Failed(error.clone()));
        }
    }
    held.wake_readers();
    if matches!(want, Want::Readers(_)) {
        if job.link.files.is_waited_for(&held.path) {
            return Err(Stop::Yielded);
        }
    } else if want.is_here(store) {
        settle(held, store).await;
        return Ok(true);
    }
    match held.take_upset() {
        None => Ok(false),
        Some(Upset::Changed) => Err(Stop::Stale),
        Some(Upset::Failed(error)) => Err(error.into()),
        Some(Upset::Removed) => {
            let text = format!("{} was removed from the server during the download", held.path);
            Err(Error::new(ErrorKind::NotFound, text).into())
        }
    }
}

/// The last pieces may be in the store, but not yet in the numbers.
async fn settle(held: &Held, store: &PieceStore) {
    let all = store.verified_bytes();
    let settled = async {
        while held.credited() < all {
            held.news.notified().await;
        }
    };
    if timeout(CREDIT_GRACE, settled).await.is_err() {
        held.credit_rest(all.saturating_sub(held.credited()), Source::Peer);
    }
}

/// Tells a server what is here already.
async fn provide(job: &Job, conn: &Conn, held: &Held, store: &PieceStore) -> Result<(), Gone> {
    if !job.link.gives() || store.verified_bytes() == 0 {
        return Ok(());
    }
    for run in store.pieces().runs().into_iter().take(limits::MAX_RANGES_PER_FILE) {
        let bytes = held.layout.bytes_of_run(run);
        let range = Some(ByteRange::new(bytes.start, bytes.end - 1));
        conn.send(wire::Provide { url: held.url.clone(), range, root: Some(held.root) }).await?;
    }
    Ok(())
}

async fn save_state(store: &Arc<PieceStore>) {
    let store = Arc::clone(store);
    // Only for people to read: a failure shows when it matters.
    let _ = blocking(move || store.save_state()).await;
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
    fn pieces_become_runs() {
        let of = |pieces: &[u32]| runs(pieces.iter().copied()).collect::<Vec<_>>();
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[3, 7]), [3..4, 7..8]);
        assert_eq!(of(&[0, 1, 2, 5, 7, 8]), [0..3, 5..6, 7..9]);
    }

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
