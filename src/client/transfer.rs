//! What a download shows to the application and takes from it: state, numbers, end; pause and cancel.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::event::EventBody;
use super::inner::Inner;
use super::priority::Priority;
use super::progress::Numbers;
use super::queue::Queue;
use super::{Error, ErrorKind, Progress, TransferState};
use crate::peer::RateLimiter;
use crate::wire::{Digest, UrlPath};

/// What the application wants of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Run,
    Pause,
    /// For good. `keep`: leave on disk what can be resumed.
    Cancel {
        keep: bool,
    },
}

/// One download, as seen from outside. Held by the application's handle and by the job.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: u64,
    pub(super) user_data: usize,
    pub(super) path: UrlPath,
    pub(super) numbers: Arc<Numbers>,
    /// What it receives counts against this.
    pub(super) down: RateLimiter,
    priority: watch::Sender<Priority>,
    wish: watch::Sender<Wish>,
    state: watch::Sender<TransferState>,
    end: Mutex<End>,
}

/// A transfer whose job is at work. A client that ends may drop the job before its end: it is cancelled then, as every
/// other transfer of that client.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) inner: Arc<Inner>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.end_with(Err(self.shared.cancellation()), &self.inner.queue);
    }
}

#[derive(Debug, Default)]
struct End {
    state: Option<TransferState>,
    root: Option<Digest>,
    error: Option<Error>,
    /// What [`Progress`] was then: an ended transfer has no rate.
    progress: Option<Progress>,
}

impl Shared {
    pub(super) fn new(
        id: u64,
        user_data: usize,
        path: UrlPath,
        down: RateLimiter,
        priority: Priority,
    ) -> Self {
        Self {
            id,
            user_data,
            path,
            numbers: Arc::default(),
            down,
            priority: watch::Sender::new(priority),
            wish: watch::Sender::new(Wish::Run),
            state: watch::Sender::new(TransferState::Queued),
            end: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> TransferState {
        // The end is recorded before its event is sent, so whoever has the event sees it here.
        match &*self.end() {
            End { state: Some(state), .. } => *state,
            _ => *self.state.borrow(),
        }
    }

    pub(super) fn error(&self) -> Option<Error> {
        self.end().error.clone()
    }

    pub(super) fn progress(&self) -> Progress {
        self.end().progress.clone().unwrap_or_else(|| self.numbers.snapshot(Instant::now()))
    }

    /// Completes at the end of the transfer.
    pub(super) async fn ended(&self) -> Result<(), Error> {
        // The sender lives as long as `self`.
        let _ = self.state.subscribe().wait_for(|state| state.is_end()).await;
        self.error().map_or(Ok(()), Err)
    }

    /// Pauses or resumes; without effect once cancelled.
    pub(super) fn set_paused(&self, paused: bool) {
        self.wish.send_if_modified(|wish| {
            let new = if paused { Wish::Pause } else { Wish::Run };
            let changes = *wish != new && !matches!(wish, Wish::Cancel { .. });
            if changes {
                *wish = new;
            }
            changes
        });
    }

    pub(super) fn set_priority(&self, priority: Priority) {
        self.priority.send_replace(priority);
    }

    pub(super) fn priority(&self) -> watch::Receiver<Priority> {
        self.priority.subscribe()
    }

    /// The first cancel counts.
    pub(super) fn cancel(&self, keep: bool) {
        self.wish.send_if_modified(|wish| {
            let changes = !matches!(wish, Wish::Cancel { .. });
            if changes {
                *wish = Wish::Cancel { keep };
            }
            changes
        });
    }

    pub(super) fn is_cancelled(&self) -> bool {
        matches!(*self.wish.borrow(), Wish::Cancel { .. })
    }

    /// Whether nothing of it is to be left on the disk.
    pub(super) fn is_discarded(&self) -> bool {
        *self.wish.borrow() == Wish::Cancel { keep: false }
    }

    pub(super) fn wish(&self) -> watch::Receiver<Wish> {
        self.wish.subscribe()
    }

    /// Completes when the application has cancelled.
    pub(super) async fn cancelled(&self) -> Error {
        let _ = self.wish.subscribe().wait_for(|wish| matches!(wish, Wish::Cancel { .. })).await;
        self.cancellation()
    }

    fn cancellation(&self) -> Error {
        Error::new(ErrorKind::Cancelled, format!("the download of {} was cancelled", self.path))
    }

    /// `future`, unless the application cancels first.
    pub(super) async fn unless_cancelled<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            error = self.cancelled() => Err(error),
            done = future => Ok(done),
        }
    }

    /// Moves to another state that is no end, and tells the application.
    pub(super) fn enter(&self, state: TransferState, queue: &Queue) {
        let changed = self.state.send_if_modified(|now| {
            let changes = *now != state && !now.is_end();
            if changes {
                *now = state;
            }
            changes
        });
        if changed {
            queue.push(self.user_data, EventBody::State { transfer: self.id, state });
        }
    }

    /// Ends it. Only the first end counts.
    pub(super) fn end_with(&self, result: Result<Option<Digest>, Error>, queue: &Queue) {
        let state = match &result {
            Ok(_) => TransferState::Done,
            Err(error) if error.kind == ErrorKind::Cancelled => TransferState::Cancelled,
            Err(_) => TransferState::Failed,
        };
        let mut progress = self.numbers.snapshot(Instant::now());
        (progress.givers, progress.waiting) = (0, None);
        (progress.hashing, progress.checking) = (None, None);
        {
            let mut end = self.end();
            if end.progress.is_some() {
                return;
            }
            end.state = Some(state);
            end.progress = Some(Progress { rate: 0, eta: None, ..progress.clone() });
            match &result {
                Ok(root) => end.root = *root,
                Err(error) => end.error = Some(error.clone()),
            }
        }
        queue.forget_progress(self.id);
        let root = self.end().root;
        // The event before the state: who was told the end by `wait` finds the event in the queue.
        queue.push(
            self.user_data,
            EventBody::Done {
                transfer: self.id,
                path: self.path.clone(),
                root,
                result: result.map(drop),
                progress: Box::new(progress),
            },
        );
        self.state.send_replace(state);
    }

    fn end(&self) -> MutexGuard<'_, End> {
        // Nothing under this lock can panic half-way through a change.
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shared() -> Shared {
        Shared::new(1, 9, UrlPath::root(), RateLimiter::new(0), Priority::Normal)
    }

    #[test]
    fn the_first_cancel_counts_and_nothing_revives_it() {
        let shared = shared();
        shared.set_paused(true);
        assert_eq!(*shared.wish().borrow(), Wish::Pause);
        shared.cancel(true);
        shared.cancel(false);
        shared.set_paused(false);
        assert_eq!(*shared.wish().borrow(), Wish::Cancel { keep: true });
    }

    #[test]
    fn there_is_one_end() {
        let (shared, queue) = (shared(), Queue::new(16).unwrap());
        shared.enter(TransferState::Active, &queue);
        shared.end_with(Err(Error::new(ErrorKind::Hash, "bad")), &queue);
        shared.end_with(Ok(None), &queue);
        shared.enter(TransferState::Active, &queue);
        assert_eq!(shared.state(), TransferState::Failed);
        let events: Vec<_> = std::iter::from_fn(|| queue.next(Some(Duration::ZERO))).collect();
        assert_eq!(events.len(), 2, "{events:?}");
        assert!(events.iter().all(|e| e.user_data == 9));
        assert!(matches!(&events[1].body, EventBody::Done { result: Err(e), .. } if e.message == "bad"));
    }
}
