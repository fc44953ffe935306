//! Between asking and the end: on one connection after the other, until all that is wanted is here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::want::{Asked, Want};
use super::{Job, Stop, blocking};
use crate::client::ahead::Already;
use crate::client::files::{Held, Upset};
use crate::client::priority::{Place as InLine, Priority};
use crate::client::progress::Source;
use crate::client::session::{Conn, Gone};
use crate::client::stream::{self, Finished, Position, Streaming};
use crate::client::transfer::Wish;
use crate::client::{Error, ErrorKind, PieceStore, TransferState, hashes, old};
use crate::wire::{self, ByteRange, limits};

/// How often the state file is written, and the store looked at for pieces that came in without a word.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Asking again is harmless; a server that has lost our request in some way is worth it.
const STALLED: Duration = Duration::from_secs(20);
/// After so long without a byte, transfers of lower priority need not wait any longer.
const GIVES_WAY: Duration = Duration::from_secs(5);
/// How long pieces may take from the store into the numbers.
const CREDIT_GRACE: Duration = Duration::from_millis(250);

/// Waits until all is here, asking for it on as many connections as it takes.
pub(super) async fn receive(
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

/// Ends the thread of a stream together with the job that feeds it: also when the runtime goes, and the job with it.
struct Leash(Arc<Position>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// `None` instead of the stream when its function has been given bytes already.
pub(super) async fn receive_stream(
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
