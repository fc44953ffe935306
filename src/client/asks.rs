//! Questions to the server that wait for their answers: which answer belongs to which question.
//!
//! Belongs to one connection: when that ends, so do all questions, with [`AskError::Gone`]; who asked asks again on
//! the next one. Questions the server has not answered count against its limit even if nobody waits any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::progress::Numbers;
use super::{Error, ErrorKind};
use crate::wire::{self, ByteRange, Digest, ErrorCode, Listing, TellHashes, TellInfo, TellVerify};

/// Questions under way at once, unless the server allows fewer; half of what the protocol does, so that questions of
/// one sort never keep the others waiting for long.
const ASKS_IN_FLIGHT: u32 = 32;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// The connection has ended.
    Gone,
    /// The server says no.
    Refused(Refusal),
}

/// What the server said instead of an answer.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Refusal {
    /// For the application, about `what`.
    pub(super) fn to_error(&self, what: &str) -> Error {
        let (kind, text) = match self.code {
            ErrorCode::NotFound => (ErrorKind::NotFound, "there is no such file or directory on the server"),
            ErrorCode::Denied => {
                (ErrorKind::Denied, "the server may not read it, or does not serve it to your address")
            }
            ErrorCode::IsDirectory => (ErrorKind::Argument, "it is a directory, not a file"),
            ErrorCode::NotDirectory => (ErrorKind::Argument, "it is a file, not a directory"),
            ErrorCode::Changed => (ErrorKind::Changed, "the server no longer has this version of it"),
            ErrorCode::Limit => (ErrorKind::Limit, "a limit of the server was passed"),
            ErrorCode::Busy => (ErrorKind::Busy, "the server is busy; try again later"),
            ErrorCode::Protocol | ErrorCode::Unknown => {
                (ErrorKind::Protocol, "the server did not understand the question")
            }
            ErrorCode::IdInUse | ErrorCode::SlowConsumer | ErrorCode::Internal => {
                (ErrorKind::Busy, "the server failed; try again later")
            }
        };
        let message = printable(&self.message);
        let told = if message.is_empty() { String::new() } else { format!(" (it says: {message})") };
        Error::new(kind, format!("{what}: {text}{told}"))
    }
}

/// Text from the server, fit for a terminal: bounded, without control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect::<String>().trim().to_owned()
}

type Answer<T> = oneshot::Sender<Result<T, Refusal>>;
type HashesWaiter = (Answer<TellHashes>, OwnedSemaphorePermit);

/// The unanswered questions of a connection.
#[derive(Debug)]
pub(super) struct Asks {
    waiting: Mutex<Waiting>,
    in_flight: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Waiting {
    closed: bool,
    next_list: u64,
    infos: HashMap<String, Vec<InfoWaiter>>,
    /// By URL, version and first piece; in the order in which they were asked.
    hashes: HashMap<(String, Digest, u64), Vec<HashesWaiter>>,
    lists: HashMap<u64, ListWaiter>,
    verifies: HashMap<VerifyKey, Vec<(oneshot::Sender<bool>, OwnedSemaphorePermit)>>,
}

#[derive(Debug)]
struct InfoWaiter {
    answer: Answer<TellInfo>,
    /// Is told how far the hashing is.
    numbers: Option<Arc<Numbers>>,
    /// `None` for those that wait for an answer already asked for.
    _permit: Option<OwnedSemaphorePermit>,
}

/// Is told how many entries the server has gone through, as long as it is reading.
pub(super) type Reading = Arc<dyn Fn(u64) + Send + Sync>;

struct ListWaiter {
    answer: Answer<Listing>,
    reading: Option<Reading>,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for ListWaiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListWaiter").finish_non_exhaustive()
    }
}

/// What an `ask_verify` and its answer have in common.
type VerifyKey = (String, String, ByteRange, String);

/// A question that is noted, and whether it must still be sent.
pub(super) struct Asked<T> {
    answer: oneshot::Receiver<Result<T, Refusal>>,
    pub(super) to_send: Option<wire::Message>,
}

impl<T> Asked<T> {
    pub(super) async fn answer(self) -> Result<T, AskError> {
        match self.answer.await {
            Ok(answer) => answer.map_err(AskError::Refused),
            Err(_) => Err(AskError::Gone),
        }
    }
}

impl Asks {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::default(), in_flight: Arc::new(Semaphore::new(ASKS_IN_FLIGHT as usize)) }
    }

    /// The server has said how many questions it takes at once.
    pub(super) fn limit(&self, outstanding: u32) {
        if (1..ASKS_IN_FLIGHT).contains(&outstanding) {
            self.in_flight.forget_permits((ASKS_IN_FLIGHT - outstanding) as usize);
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, AskError> {
        Arc::clone(&self.in_flight).acquire_owned().await.map_err(|_| AskError::Gone)
    }

    /// Room for one more question, if there is any.
    pub(super) fn permit_now(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.in_flight).try_acquire_owned().ok()
    }

    /// With piece hashes, if `ask` says so, unless the question is under way without.
    pub(super) async fn info(
        &self,
        ask: wire::AskInfo,
        numbers: Option<Arc<Numbers>>,
    ) -> Result<Asked<TellInfo>, AskError> {
        let permit = self.permit().await?;
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.open()?;
        let waiters = waiting.infos.entry(ask.url.clone()).or_default();
        let first = waiters.is_empty();
        waiters.push(InfoWaiter { answer: sender, numbers, _permit: first.then_some(permit) });
        let to_send = first.then(|| ask.into());
        Ok(Asked { answer, to_send })
    }

    pub(super) async fn hashes(&self, ask: wire::AskHashes) -> Result<Asked<TellHashes>, AskError> {
        let permit = self.permit().await?;
        let (sender, answer) = oneshot::channel();
        let key = (ask.url.clone(), ask.root, ask.first);
        self.open()?.hashes.entry(key).or_default().push((sender, permit));
        Ok(Asked { answer, to_send: Some(ask.into()) })
    }

    pub(super) async fn list(
        &self,
        mut list: wire::List,
        reading: Option<Reading>,
    ) -> Result<Asked<Listing>, AskError> {
        let permit = self.permit().await?;
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.open()?;
        let id = waiting.next_list;
        waiting.next_list += 1;
        waiting.lists.insert(id, ListWaiter { answer: sender, reading, _permit: permit });
        list.id = Some(id);
        Ok(Asked { answer, to_send: Some(list.into()) })
    }

    pub(super) async fn verify(
        &self,
        ask: wire::AskVerify,
    ) -> Result<(oneshot::Receiver<bool>, wire::Message), AskError> {
        let permit = self.permit().await?;
        let (sender, answer) = oneshot::channel();
        let key = (ask.peer.clone(), ask.url.clone(), ask.range, ask.peer_id.clone());
        self.open()?.verifies.entry(key).or_default().push((sender, permit));
        Ok((answer, ask.into()))
    }

    pub(super) fn on_info(&self, info: &TellInfo) {
        let waiters = self.waiting().infos.remove(&info.url).unwrap_or_default();
        for waiter in waiters {
            // Here and below: the one who asked may have gone.
            let _ = waiter.answer.send(Ok(info.clone()));
        }
    }

    pub(super) fn on_hashing(&self, hashing: &wire::Hashing) {
        for waiter in self.waiting().infos.get(&hashing.url).into_iter().flatten() {
            if let Some(numbers) = &waiter.numbers {
                numbers.hashing(Some((hashing.done.min(hashing.total), hashing.total)));
            }
        }
    }

    /// Gives hashes back that nobody here waits for.
    pub(super) fn on_hashes(&self, hashes: TellHashes) -> Option<TellHashes> {
        if hashes.proof.is_some() {
            return Some(hashes);
        }
        let key = (hashes.url.clone(), hashes.root, hashes.first);
        let mut waiting = self.waiting();
        let Some(waiters) = waiting.hashes.get_mut(&key) else { return Some(hashes) };
        // Those of a version are all in the server's memory: they come as they were asked for.
        let (answer, _permit) = waiters.remove(0);
        if waiters.is_empty() {
            waiting.hashes.remove(&key);
        }
        let _ = answer.send(Ok(hashes));
        None
    }

    pub(super) fn on_reading(&self, reading: &wire::Reading) {
        let waiting = self.waiting();
        let waiter = reading.id.and_then(|id| waiting.lists.get(&id));
        let told = waiter.and_then(|waiter| waiter.reading.clone());
        drop(waiting);
        if let Some(told) = told {
            told(reading.entries);
        }
    }

    pub(super) fn on_listing(&self, listing: Listing) {
        let waiter = listing.id.and_then(|id| self.waiting().lists.remove(&id));
        if let Some(waiter) = waiter {
            let _ = waiter.answer.send(Ok(listing));
        }
    }

    pub(super) fn on_verify(&self, tell: TellVerify) {
        let key = (tell.peer, tell.url, tell.range, tell.peer_id);
        for (answer, _permit) in self.waiting().verifies.remove(&key).unwrap_or_default() {
            let _ = answer.send(tell.is_authorized);
        }
    }

    /// Gives an error to those it answers. Whether there were any.
    pub(super) fn on_error(&self, error: &wire::Error) -> bool {
        let refusal = Refusal { code: error.code, message: error.message.clone() };
        let re = error.re.as_deref();
        let mut waiting = self.waiting();
        if let Some(id) = error.id
            && let Some(waiter) = waiting.lists.remove(&id)
        {
            return waiter.answer.send(Err(refusal)).is_ok();
        }
        let Some(url) = &error.url else { return false };
        let mut found = false;
        if re.is_none_or(|re| re == "ask_info") {
            for waiter in waiting.infos.remove(url).unwrap_or_default() {
                found = true;
                let _ = waiter.answer.send(Err(refusal.clone()));
            }
        }
        if re.is_none_or(|re| re == "ask_hashes") {
            let about_it = waiting.hashes.extract_if(|(asked, ..), _| asked == url);
            for (answer, _permit) in about_it.flat_map(|(_, waiters)| waiters) {
                found = true;
                let _ = answer.send(Err(refusal.clone()));
            }
        }
        found
    }

    /// Whether somebody waits to hear about a URL.
    pub(super) fn awaits_info(&self, url: &str) -> bool {
        self.waiting().infos.contains_key(url)
    }

    /// The server turned out to be of version 2: what it does not know, it will not answer.
    pub(super) fn end_unheard_of(&self) {
        let refusal = Refusal { code: ErrorCode::Protocol, message: String::new() };
        let mut waiting = self.waiting();
        for (_, waiter) in waiting.lists.drain() {
            let _ = waiter.answer.send(Err(refusal.clone()));
        }
        for (answer, _permit) in waiting.hashes.drain().flat_map(|(_, waiters)| waiters) {
            let _ = answer.send(Err(refusal.clone()));
        }
    }

    /// The connection has ended: all questions end, and no new ones are taken.
    pub(super) fn close(&self) {
        self.in_flight.close();
        *self.waiting() = Waiting { closed: true, ..Waiting::default() };
    }

    fn open(&self) -> Result<MutexGuard<'_, Waiting>, AskError> {
        let waiting = self.waiting();
        if waiting.closed { Err(AskError::Gone) } else { Ok(waiting) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under this lock can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about_a() -> wire::AskInfo {
        wire::AskInfo { url: "http://h/a".into(), ..wire::AskInfo::default() }
    }

    #[tokio::test]
    async fn equal_questions_share_an_answer() {
        let asks = Asks::new();
        let first = asks.info(about_a(), None).await.unwrap();
        let second = asks.info(about_a(), None).await.unwrap();
        assert!(first.to_send.is_some() && second.to_send.is_none());
        asks.on_info(&TellInfo { url: "http://h/other".into(), ..TellInfo::default() });
        asks.on_info(&TellInfo { url: "http://h/a".into(), size: Some(5), ..TellInfo::default() });
        assert_eq!(first.answer().await.unwrap().size, Some(5));
        assert_eq!(second.answer().await.unwrap().size, Some(5));
        assert!(asks.info(about_a(), None).await.unwrap().to_send.is_some(), "asked anew after the answer");
    }

    #[tokio::test]
    async fn hashes_are_those_of_the_version_that_was_asked_for() {
        let asks = Asks::new();
        let ask = |root: u8, count| wire::AskHashes {
            url: "http://h/a".into(),
            root: Digest([root; 32]),
            count,
            ..wire::AskHashes::default()
        };
        let tell = |root: u8, bytes: usize| TellHashes {
            url: "http://h/a".into(),
            root: Digest([root; 32]),
            hashes: wire::Base64(vec![0; bytes]),
            ..TellHashes::default()
        };
        let old = asks.hashes(ask(1, 64)).await.unwrap();
        let new = asks.hashes(ask(2, 64)).await.unwrap();
        let more = asks.hashes(ask(2, 128)).await.unwrap();
        let left = [tell(3, 0), tell(2, 64 * 32), tell(2, 128 * 32), tell(1, 32), tell(1, 64)]
            .map(|told| asks.on_hashes(told).is_some());
        assert_eq!(left, [true, false, false, false, true]);
        assert_eq!(old.answer().await.unwrap().hashes.0.len(), 32);
        assert_eq!(new.answer().await.unwrap().hashes.0.len(), 64 * 32);
        assert_eq!(more.answer().await.unwrap().hashes.0.len(), 128 * 32);
    }

    #[tokio::test]
    async fn an_error_answers_what_it_is_about() {
        let asks = Asks::new();
        let info = asks.info(about_a(), None).await.unwrap();
        let list =
            asks.list(wire::List { url: "http://h/a".into(), ..wire::List::default() }, None).await.unwrap();
        let Some(wire::Message::List(sent)) = &list.to_send else { panic!("no list") };
        let mut error = wire::Error {
            code: ErrorCode::NotDirectory,
            message: "tut\x1b[1m tut".into(),
            url: Some("http://h/a".into()),
            re: Some("list".into()),
            id: sent.id,
        };
        assert!(asks.on_error(&error));
        let Err(AskError::Refused(refusal)) = list.answer().await else { panic!("answered") };
        let told = refusal.to_error("/a");
        assert_eq!(told.kind, ErrorKind::Argument);
        assert!(told.message.contains("tut [1m tut"), "{told}");
        error = wire::Error { code: ErrorCode::NotFound, re: Some("ask_info".into()), id: None, ..error };
        assert!(asks.on_error(&error));
        assert!(matches!(info.answer().await, Err(AskError::Refused(r)) if r.code == ErrorCode::NotFound));
        assert!(!asks.on_error(&error), "nobody waits any more");
    }

    #[tokio::test]
    async fn no_more_questions_than_the_server_takes() {
        let asks = Asks::new();
        asks.limit(2);
        let list = || asks.list(wire::List::default(), None);
        let first = list().await.unwrap();
        let _second = list().await.unwrap();
        drop(first);
        let third = tokio::time::timeout(std::time::Duration::from_millis(20), list()).await;
        assert!(third.is_err(), "a question nobody waits for is still to be answered");
        asks.on_listing(Listing { id: Some(0), ..Listing::default() });
        list().await.unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_connection_ends_all_questions() {
        let asks = Asks::new();
        let asked = asks.info(about_a(), None).await.unwrap();
        asks.close();
        assert!(matches!(asked.answer().await, Err(AskError::Gone)));
        assert!(matches!(asks.info(about_a(), None).await, Err(AskError::Gone)));
    }
}
