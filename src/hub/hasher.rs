//! Hashing: a small pool of threads, and what they do first.
//!
//! The unit of work is a slice of a file, a few megabytes of whole pieces. That makes one large file everybody's
//! work, and lets files take turns: what somebody waits for goes before the background, a small file waits for at
//! most one slice of each large one, and a thread in the middle of a background slice leaves it lying when somebody
//! asks for something.
//!
//! Not responsible for deciding which files to hash: [`super::scan`] and callers of [`super::Hub::version`] do.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use super::news::Change;
use super::stamp::{Stamp, read_full_at};
use super::touches::Touch;
use super::version::FileVersion;
use super::{HubError, MAX_ATTEMPTS, Shared, sys};
use crate::content::{Layout, PieceHasher, PieceHashes};
use crate::wire::{Digest, UrlPath};

/// Bytes a thread hashes before it looks what else there is to do; at least one piece.
const SLICE: u64 = 4 * 1024 * 1024;
/// Bytes read at a time: small enough for the processor's cache.
const CHUNK: usize = 256 * 1024;
/// Files the scan may queue ahead.
const MAX_QUEUED: usize = 256;
/// Files that somebody waits for under way at a time; each is open. The others wait in line.
const MAX_BEGUN: usize = 64;
/// Background files under way at a time, over one per thread.
const EXTRA_ACTIVE: usize = 1;
/// Pause before a file that changed again and again while it was read is read again; doubled each time.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

/// How far the hashing of a file is.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Bytes hashed, of how many (0 = not yet known).
    Running(u64, u64),
    /// Over.
    Done(Result<Arc<FileVersion>, HubError>),
}

/// The hashing of one file. There is at most one per path; all who want the file watch it.
struct Job {
    path: UrlPath,
    /// Whoever waits holds a receiver: a job without any is background work.
    watch: watch::Sender<State>,
    work: Mutex<Work>,
    /// The scan that counted this file as not hashed; see [`super::census`].
    counted_by: AtomicU64,
    /// Whoever listens for changes is to hear of it.
    is_news: AtomicBool,
    attempts: AtomicU32,
}

enum Work {
    New,
    /// A thread is opening it, or bringing it to an end.
    Taken,
    /// Until the pool's clock says otherwise.
    Paused,
    Hashing(Run),
    Over,
}

/// One attempt to hash a file.
struct Run {
    input: Input,
    /// First piece nobody has taken.
    next: u32,
    /// Slices being hashed.
    outstanding: u32,
    hashes: Vec<Digest>,
    done: u64,
    trouble: Option<Trouble>,
}

#[derive(Clone)]
struct Input {
    file: Arc<File>,
    stamp: Stamp,
    layout: Layout,
}

enum Trouble {
    Changed,
    Failed(HubError),
}

enum Task {
    Prepare,
    Hash(Input, Range<u32>),
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.watch.receiver_count() > 0
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something to do, if there is, and whether there is more.
    fn take(&self) -> Option<(Task, bool)> {
        let mut work = self.work();
        match &mut *work {
            Work::New => {
                *work = Work::Taken;
                Some((Task::Prepare, false))
            }
            Work::Hashing(run) if run.trouble.is_none() => {
                let count = run.input.layout.count();
                let size = u64::from(run.input.layout.piece_size().bytes());
                let first = run.next;
                run.next = first.saturating_add((SLICE / size).max(1) as u32).min(count);
                if first == run.next {
                    return None;
                }
                run.outstanding += 1;
                Some((Task::Hash(run.input.clone(), first..run.next), run.next < count))
            }
            _ => None,
        }
    }
}

/// The threads' common knowledge.
#[derive(Default)]
pub(super) struct Pool {
    queues: Mutex<Queues>,
    /// Work has come.
    work: Condvar,
    /// The scan may queue more.
    room: Condvar,
    /// Length of `Queues::asked` and `Queues::wanted`, to be looked at without a lock.
    wanted: AtomicUsize,
    threads: usize,
    /// The first scan is over: what is hashed from here on is news.
    tells: AtomicBool,
}

#[derive(Default)]
struct Queues {
    jobs: HashMap<UrlPath, Arc<Job>>,
    /// Somebody waits for these, and they are not begun.
    asked: VecDeque<Arc<Job>>,
    /// Somebody waits for these, and they are under way. They take turns.
    wanted: VecDeque<Arc<Job>>,
    /// Background work under way. Takes turns as well.
    active: VecDeque<Arc<Job>>,
    /// What has just changed, not begun.
    news: VecDeque<Arc<Job>>,
    /// Other background work not begun.
    queued: VecDeque<Arc<Job>>,
    paused: Vec<(Instant, Arc<Job>)>,
    stop: bool,
}

impl Pool {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, ..Self::default() }
    }

    /// Has `path` hashed before everything that nobody waits for.
    pub(super) fn want(&self, path: &UrlPath) -> Result<watch::Receiver<State>, HubError> {
        let mut queues = self.lock();
        if queues.stop {
            return Err(closed());
        }
        let job = queues.job(path, self.tells()).0;
        let receiver = job.watch.subscribe();
        // It may be in the background's queues. Taking it out is only for tidiness: a job that is in two queues is
        // still done once.
        queues.queued.retain(|queued| !Arc::ptr_eq(queued, &job));
        queues.news.retain(|queued| !Arc::ptr_eq(queued, &job));
        queues.active.retain(|active| !Arc::ptr_eq(active, &job));
        queues.requeue(job);
        self.note(&queues);
        self.work.notify_all();
        Ok(receiver)
    }

    /// Has `path` hashed in the background. Waits while too many are queued; `false` when the hub closes.
    pub(super) fn queue(&self, path: &UrlPath, census: u64) -> bool {
        let mut queues = self.lock();
        while queues.queued.len() >= MAX_QUEUED && !queues.stop {
            queues = self.room.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
        if queues.stop {
            return false;
        }
        let (job, is_new) = queues.job(path, self.tells());
        job.counted_by.store(census, Ordering::Relaxed);
        if is_new {
            queues.queued.push_back(job);
            self.work.notify_one();
        }
        true
    }

    /// Has `path`, which has just changed, hashed before other background work, and told to who listens.
    pub(super) fn queue_news(&self, path: &UrlPath) {
        let mut queues = self.lock();
        while queues.news.len() >= MAX_QUEUED && !queues.stop {
            queues = self.room.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
        let (job, is_new) = queues.job(path, true);
        job.is_news.store(true, Ordering::Relaxed);
        let was_queued = queues.queued.iter().position(|queued| Arc::ptr_eq(queued, &job));
        if let Some(at) = was_queued {
            queues.queued.remove(at);
        }
        if is_new || was_queued.is_some() {
            queues.news.push_back(job);
            self.work.notify_one();
        }
    }

    /// From now on what is hashed is news.
    pub(super) fn begin_to_tell(&self) {
        self.tells.store(true, Ordering::Relaxed);
    }

    /// Whether what is hashed is news.
    pub(super) fn tells(&self) -> bool {
        self.tells.load(Ordering::Relaxed)
    }

    /// Ends the threads' work as soon as they have finished the slice in hand.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// After the threads have ended: tells all who still wait.
    pub(super) fn abandon(&self) {
        let jobs = std::mem::take(&mut self.lock().jobs);
        for job in jobs.into_values() {
            job.watch.send_replace(State::Done(Err(closed())));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, queues: &Queues) {
        self.wanted.store(queues.asked.len() + queues.wanted.len(), Ordering::Relaxed);
    }

    /// Waits for something to do; `None` = the hub closes.
    fn next(&self) -> Option<(Arc<Job>, Task)> {
        let mut queues = self.lock();
        loop {
            if queues.stop {
                return None;
            }
            let wake_at = queues.end_pauses(Instant::now());
            let found = queues.take_wanted().or_else(|| queues.take_background(self.threads + EXTRA_ACTIVE));
            self.note(&queues);
            if queues.queued.len() < MAX_QUEUED || queues.news.len() < MAX_QUEUED {
                // One waits with what the scan found, another with what has just changed.
                self.room.notify_all();
            }
            if found.is_some() {
                return found;
            }
            queues = match wake_at {
                Some(at) => {
                    let wait = at.saturating_duration_since(Instant::now());
                    self.work.wait_timeout(queues, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(queues).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Something that somebody waits for, without waiting.
    fn next_wanted(&self) -> Option<(Arc<Job>, Task)> {
        if self.wanted.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut queues = self.lock();
        let found = queues.take_wanted();
        self.note(&queues);
        found
    }

    /// Puts a job where its next slices are found.
    fn requeue(&self, job: Arc<Job>) {
        let mut queues = self.lock();
        queues.requeue(job);
        self.note(&queues);
        self.work.notify_all();
    }

    fn pause(&self, job: Arc<Job>, time: Duration) {
        *job.work() = Work::Paused;
        self.lock().paused.push((Instant::now() + time, job));
        // The others may have no date to wake up at, or a later one.
        self.work.notify_all();
    }
}

impl Queues {
    fn job(&mut self, path: &UrlPath, is_news: bool) -> (Arc<Job>, bool) {
        if let Some(job) = self.jobs.get(path) {
            return (job.clone(), false);
        }
        let job = Arc::new(Job {
            path: path.clone(),
            watch: watch::Sender::new(State::Running(0, 0)),
            work: Mutex::new(Work::New),
            counted_by: AtomicU64::new(0),
            is_news: AtomicBool::new(is_news),
            attempts: AtomicU32::new(0),
        });
        self.jobs.insert(path.clone(), job.clone());
        (job, true)
    }

    fn requeue(&mut self, job: Arc<Job>) {
        let is_new = matches!(*job.work(), Work::New);
        match (job.is_wanted(), is_new) {
            (true, true) => self.asked.push_back(job),
            (true, false) => self.wanted.push_back(job),
            (false, true) if job.is_news.load(Ordering::Relaxed) => self.news.push_back(job),
            (false, true) => self.queued.push_back(job),
            (false, false) => self.active.push_back(job),
        }
    }

    fn take_wanted(&mut self) -> Option<(Arc<Job>, Task)> {
        loop {
            let new = if self.wanted.len() < MAX_BEGUN { self.asked.pop_front() } else { None };
            let job = new.or_else(|| self.wanted.pop_front())?;
            if !job.is_wanted() {
                // All who waited have left.
                self.requeue(job);
                continue;
            }
            if let Some((task, has_more)) = job.take() {
                if has_more {
                    self.wanted.push_back(job.clone());
                }
                return Some((job, task));
            }
        }
    }

    fn take_background(&mut self, width: usize) -> Option<(Arc<Job>, Task)> {
        loop {
            while self.active.len() < width
                && let Some(job) = self.news.pop_front().or_else(|| self.queued.pop_front())
            {
                self.active.push_back(job);
            }
            let job = self.active.pop_front()?;
            if let Some((task, has_more)) = job.take() {
                if has_more {
                    self.active.push_back(job.clone());
                }
                return Some((job, task));
            }
        }
    }

    /// Brings back the jobs whose pause is over; when the next one is.
    fn end_pauses(&mut self, now: Instant) -> Option<Instant> {
        let over: Vec<_> = self.paused.extract_if(.., |(until, _)| *until <= now).collect();
        for (_, job) in over {
            *job.work() = Work::New;
            self.requeue(job);
        }
        self.paused.iter().map(|(until, _)| *until).min()
    }
}

fn closed() -> HubError {
    HubError::Io("the repository is closed".to_owned())
}

/// A hashing thread.
pub(super) fn run(shared: &Shared) {
    let mut buffer = vec![0; CHUNK];
    while let Some((job, task)) = shared.pool.next() {
        perform(shared, job, task, &mut buffer, true);
    }
}

/// Does one task. If it `may_nest` and is background work, it is left lying while there is something that somebody
/// waits for.
fn perform(shared: &Shared, job: Arc<Job>, task: Task, buffer: &mut [u8], may_nest: bool) {
    match task {
        Task::Prepare => prepare(shared, job),
        Task::Hash(input, pieces) => {
            let may_nest = may_nest && !job.is_wanted();
            let result = hash_slice(&input, pieces.clone(), buffer, |bytes| {
                let wait = shared.throttle.take(bytes, Instant::now());
                if !wait.is_zero() {
                    shared.stop.sleep(wait);
                }
                if !may_nest {
                    return;
                }
                let mut buffer = Vec::new();
                while let Some((job, task)) = shared.pool.next_wanted() {
                    buffer.resize(CHUNK, 0);
                    perform(shared, job, task, &mut buffer, false);
                }
            });
            end_slice(shared, job, pieces, result);
        }
    }
}

/// Opens a file, and sees whether its hashes are known after all.
fn prepare(shared: &Shared, job: Arc<Job>) {
    let (file, stamp) = match shared.source.tree.open_file(&job.path) {
        Ok((file, stamp)) => (Arc::new(file), stamp),
        Err(error) => return finish(shared, &job, Err(error)),
    };
    let beside = shared.beside(&job.path);
    let piece = shared.piece_size_for(&job.path, stamp.size, &beside);
    if let Some(hashes) = shared.catalogue.find(&job.path, &stamp, piece) {
        let kept = job.is_wanted().then(|| file.clone());
        let version = shared.adopt(&job.path, kept, stamp, hashes, &beside);
        let is_signed_now = sign(shared, &version, &file);
        // What was moved is known by another path.
        let is_new_here = shared.catalogue.root_at(&job.path, &stamp, piece).is_none();
        if is_signed_now || is_new_here {
            shared.catalogue.put(&version);
        }
        if !is_new_here {
            job.is_news.store(false, Ordering::Relaxed);
        }
        return finish(shared, &job, Ok(version));
    }
    if let Some(wait) = stamp.settles_in(SystemTime::now()) {
        return try_again(shared, job, wait);
    }
    let Some(layout) = Layout::new(stamp.size, piece) else {
        return finish(shared, &job, Err(HubError::Io("the file has too many pieces".to_owned())));
    };
    sys::will_read_all(&file);
    let run = Run {
        input: Input { file, stamp, layout },
        next: 0,
        outstanding: 0,
        hashes: vec![Digest::default(); layout.count() as usize],
        done: 0,
        trouble: None,
    };
    if layout.count() == 0 {
        return end_run(shared, job, run);
    }
    job.watch.send_replace(State::Running(0, stamp.size));
    *job.work() = Work::Hashing(run);
    shared.pool.requeue(job);
}

fn hash_slice(
    input: &Input,
    pieces: Range<u32>,
    buffer: &mut [u8],
    mut between: impl FnMut(u64),
) -> Result<Vec<Digest>, Trouble> {
    let bytes = input.layout.bytes_of_run(pieces.clone());
    let mut hasher = PieceHasher::new(&input.layout);
    let mut hashes = Vec::with_capacity(pieces.len());
    let mut at = bytes.start;
    while at < bytes.end {
        let chunk = buffer.len().min(usize::try_from(bytes.end - at).unwrap_or(usize::MAX));
        let chunk = &mut buffer[..chunk];
        let n =
            read_full_at(&input.file, chunk, at).map_err(|e| Trouble::Failed(HubError::Io(e.to_string())))?;
        if n < chunk.len() {
            return Err(Trouble::Changed);
        }
        hasher.update(chunk, |hash| hashes.push(hash));
        at += n as u64;
        between(n as u64);
    }
    hashes.extend(hasher.finish());
    // After the last read: whatever was read up to here was there when the stamp was taken.
    if input.stamp.holds_for(&input.file) { Ok(hashes) } else { Err(Trouble::Changed) }
}

fn end_slice(shared: &Shared, job: Arc<Job>, pieces: Range<u32>, result: Result<Vec<Digest>, Trouble>) {
    let mut work = job.work();
    let Work::Hashing(run) = &mut *work else { return };
    run.outstanding -= 1;
    match result {
        Ok(hashes) => {
            run.hashes[pieces.start as usize..pieces.end as usize].copy_from_slice(&hashes);
            let bytes = run.input.layout.bytes_of_run(pieces);
            run.done += bytes.end - bytes.start;
            job.watch.send_replace(State::Running(run.done, run.input.layout.size()));
        }
        Err(trouble) => run.trouble = run.trouble.take().or(Some(trouble)),
    }
    let is_last = run.next == run.input.layout.count() || run.trouble.is_some();
    if !is_last || run.outstanding > 0 {
        return;
    }
    let Work::Hashing(run) = std::mem::replace(&mut *work, Work::Taken) else { return };
    drop(work);
    end_run(shared, job, run);
}

fn end_run(shared: &Shared, job: Arc<Job>, run: Run) {
    let Run { input, hashes, trouble, .. } = run;
    match trouble {
        None => {
            let Some(hashes) = PieceHashes::new(input.layout, hashes) else {
                return finish(shared, &job, Err(HubError::Unstable));
            };
            let file = job.is_wanted().then(|| input.file.clone());
            let version = shared.adopt(&job.path, file, input.stamp, hashes, &shared.beside(&job.path));
            sign(shared, &version, &input.file);
            shared.catalogue.put(&version);
            finish(shared, &job, Ok(version));
        }
        Some(Trouble::Failed(error)) => finish(shared, &job, Err(error)),
        Some(Trouble::Changed) => try_again(shared, job, Duration::ZERO),
    }
}

/// Signs a version, if it is for the hub to do; whether it did.
fn sign(shared: &Shared, version: &FileVersion, file: &File) -> bool {
    let signed = shared.lacks_signature(version).then(|| shared.signatures.sign(version, file)).flatten();
    let is_new = signed.is_some();
    if let Some(signed) = signed {
        version.set_own(signed);
    }
    is_new
}

/// A file that is being written is hashed from the start, a little later, but not for ever.
fn try_again(shared: &Shared, job: Arc<Job>, wait: Duration) {
    let attempt = job.attempts.fetch_add(1, Ordering::Relaxed) + 1;
    // One that nobody waits for gets time to settle; then it is left for the next scan.
    let limit = if job.is_wanted() { MAX_ATTEMPTS } else { 2 };
    if attempt >= limit {
        return finish(shared, &job, Err(HubError::Unstable));
    }
    let pause = if attempt == 1 { wait } else { wait.max(RETRY_PAUSE * (1 << attempt.min(8))) };
    shared.pool.pause(job, pause);
}

fn finish(shared: &Shared, job: &Arc<Job>, result: Result<Arc<FileVersion>, HubError>) {
    *job.work() = Work::Over;
    let is_wanted = {
        let mut queues = shared.pool.lock();
        if queues.jobs.get(&job.path).is_some_and(|known| Arc::ptr_eq(known, job)) {
            queues.jobs.remove(&job.path);
        }
        job.is_wanted()
    };
    match &result {
        Ok(version) => {
            if is_wanted {
                shared.live.remember(version);
            }
            shared.describer.note(&job.path);
            shared.census.count_hashed(job.counted_by.load(Ordering::Relaxed), version.stamp.size);
            if job.is_news.load(Ordering::Relaxed) {
                shared.news.tell(Change::File {
                    path: job.path.clone(),
                    root: version.root(),
                    size: version.stamp.size,
                    mtime: version.mtime,
                });
            }
        }
        Err(HubError::NotFound) => shared.touches.note(job.path.clone(), Touch::Went, Instant::now()),
        // Once more when it has come to rest.
        Err(HubError::Unstable) => shared.touches.note(job.path.clone(), Touch::Seen, Instant::now()),
        Err(error) if !is_wanted => tracing::debug!(path = %job.path, %error, "not hashed"),
        Err(_) => {}
    }
    job.watch.send_replace(State::Done(result));
}
