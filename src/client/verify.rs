//! Whose a file is: the verdict before its first byte is taken, the application's word on it, and what is
//! remembered of that.
//!
//! Not responsible for coming to verdicts, which [`crate::content::trust`] does, nor for asking people: an event
//! goes to the application, and [`super::Client::decide`] brings its answer. Who is not answered in time is refused.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::download::{Job, Version, blocking};
use super::event::EventBody;
use super::session::LinkUser;
use super::{Config, Error, ErrorKind, PieceStore, TransferState};
use crate::content::keys::Fingerprint;
use crate::content::trust::{
    Judge, Place, Policy, Question, Seen, SeenEntry, Status, Trust, TrustEntry, Verdict,
};
use crate::content::{Date, SIDECAR_SUFFIX};
use crate::wire::{Digest, FileSignature, TellInfo, UrlPath, limits};

/// Added to the name of the trust file for that of what was seen.
const SEEN_SUFFIX: &str = ".seen";
/// Largest file of those two that is read.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// The application's word on a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Take the file. A key that was not known before is remembered for this place, where there is a trust file.
    Accept,
    /// Refuse it.
    Reject,
    /// Whatever the policy says.
    Default,
}

/// What a transfer asks of signatures, and what was said about them already.
#[derive(Debug)]
pub(super) struct Demand {
    policy: Policy,
    /// Keys of the URI.
    pinned: Vec<Fingerprint>,
    /// The directory for which an accepted key is remembered.
    top: UrlPath,
    /// So that a tree with one unknown signer is one question.
    said: Mutex<HashMap<(Status, Option<Fingerprint>), Answer>>,
}

impl Demand {
    pub(super) fn new(policy: Policy, pinned: Vec<Fingerprint>, path: &UrlPath, is_tree: bool) -> Self {
        let top = if is_tree { path.clone() } else { path.parent().unwrap_or_else(UrlPath::root) };
        Self { policy, pinned, top, said: Mutex::default() }
    }

    /// Whether signatures matter at all.
    pub(super) fn is_interested(&self) -> bool {
        self.policy != Policy::Off
    }
}

/// All of a client that has to do with trust.
#[derive(Debug)]
pub(super) struct Verifier {
    state: Mutex<State>,
    store: Option<PathBuf>,
    /// Somebody answers decisions.
    has_judge: bool,
    patience: Duration,
    /// One question at a time, since the answer to one is often that to the next.
    asking: tokio::sync::Mutex<()>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

#[derive(Debug, Default)]
struct State {
    judge: Judge,
    trust: Trust,
    seen: Seen,
}

impl Verifier {
    /// Reads what is trusted.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        let mut state = State { trust: config.trust.clone(), ..State::default() };
        if let Some(path) = &config.trust_store {
            let text = read_if_there(path)?;
            let file = Trust::parse(&text).map_err(|error| {
                Error::new(ErrorKind::Argument, format!("trust file {}: {error}", path.display()))
            })?;
            file.entries().iter().cloned().for_each(|entry| state.trust.add(entry));
            state.trust.keep();
            let beside = beside(path);
            state.seen = Seen::parse(&read_if_there(&beside)?);
            if state.seen.is_wasteful() {
                // Only to save space: what cannot be written stays as it is.
                let _ = replace(&beside, &state.seen.to_text());
            }
        }
        Ok(Self {
            state: Mutex::new(state),
            store: config.trust_store.clone(),
            has_judge: config.decisions,
            patience: config.decision_timeout,
            asking: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
        })
    }

    /// See [`super::Client::decide`].
    pub(super) fn decide(&self, id: u64, answer: Answer) -> Result<(), Error> {
        let waiting = self.waiting().remove(&id);
        let heard = waiting.is_some_and(|waiting| waiting.send(answer).is_ok());
        if heard {
            return Ok(());
        }
        Err(Error::new(ErrorKind::State, format!("nothing waits for decision {id}, or not any more")))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, question: &Question<'_>) -> Verdict {
        let State { judge, trust, seen } = &mut *self.state();
        judge.judge(question, trust, seen)
    }

    /// Remembers what was taken. Blocks on the disk.
    fn remember(&self, verdict: &Verdict, top: &UrlPath, was_accepted: bool) -> Result<(), Error> {
        let Some(key) = verdict.key else { return Ok(()) };
        let is_new = matches!(verdict.status, Status::UnknownKey | Status::KeyChanged);
        if is_new
            && was_accepted
            && let Some(store) = &self.store
        {
            let (host, port) = &verdict.server;
            let entry = TrustEntry::Key {
                place: Place::at(host, *port, top),
                kind: verdict.algorithm.map(|algorithm| algorithm.name()).unwrap_or("key").to_owned(),
                fingerprint: key,
                since: now(),
                comment: verdict.signer.clone().unwrap_or_default(),
            };
            append(store, &entry.to_string(), TRUST_HEAD)?;
            self.state().trust.add(entry);
        }
        let is_sound = matches!(verdict.status, Status::Good) || (is_new && was_accepted);
        if let (true, Some(date)) = (is_sound, verdict.date) {
            let entry = SeenEntry { path: verdict.path.clone(), key, date };
            let is_news = self.state().seen.note(entry.clone());
            if let (true, Some(store)) = (is_news, &self.store) {
                append(&beside(store), &entry.to_string(), "")?;
            }
        }
        Ok(())
    }
}

const TRUST_HEAD: &str = "# Who may sign what: host[:port][/path] or *, kind of key, fingerprint, since, whose.\n\
                          # To stop trusting a key, delete its line, or write: @revoked * key FINGERPRINT\n";

/// Whether a version may be downloaded, by its signatures and whoever is to be asked; the verdict, where there is one.
///
/// # Errors
/// Why it may not.
pub(super) async fn admit(
    job: &Arc<Job>,
    path: &UrlPath,
    version: &Version,
    signatures: Vec<FileSignature>,
    is_pinned: bool,
) -> Result<Option<Verdict>, Error> {
    let (verifier, demand) = (&job.inner.verifier, &job.demand);
    let signatures = Arc::new(signatures);
    if !demand.is_interested() || (signatures.is_empty() && is_sidecar(path, version)) {
        return Ok(None);
    }
    let now = now().ok_or_else(|| {
        Error::new(ErrorKind::Internal, "the clock of this machine makes no sense; signatures need one")
    })?;
    let judge = || {
        let (job, path, version) = (Arc::clone(job), path.clone(), *version);
        let signatures = Arc::clone(&signatures);
        let is_quick = signatures.is_empty();
        let judge = move || {
            job.inner.verifier.judge(&Question {
                host: &job.link.host,
                port: job.link.port,
                path: &path,
                layout: version.layout,
                // A server of version 2 tells no root, and no signatures either.
                root: version.root.unwrap_or_default(),
                signatures: &signatures,
                pinned: &job.demand.pinned,
                now,
            })
        };
        async move {
            // To check a key that is seen for the first time takes some milliseconds. Without one there is nothing to
            // calculate, and of thousands of small files the way to another thread and back would be felt.
            if is_quick { Ok(judge()) } else { blocking(judge).await }
        }
    };
    let mut verdict = judge().await?;
    let policy = demand.policy;
    let is_fine = |verdict: &Verdict| {
        // Who pins the root needs nobody else's word for the content.
        let is_told = matches!(verdict.status, Status::Unsigned | Status::UnknownKey);
        verdict.is_fine(policy) || (policy == Policy::Ask && is_pinned && is_told && demand.pinned.is_empty())
    };
    let is_asked = verifier.has_judge && matches!(policy, Policy::Ask | Policy::Require);
    let (mut accepts, mut was_accepted) = (is_fine(&verdict), false);
    if is_asked {
        // Held while asked, so that what is said of one file is known when the next comes to its turn.
        let _turn = job.shared.unless_cancelled(verifier.asking.lock()).await?;
        verdict = judge().await?;
        match ask(job, &verdict).await? {
            Answer::Accept => (accepts, was_accepted) = (true, true),
            Answer::Reject => accepts = false,
            Answer::Default => accepts = is_fine(&verdict),
        }
        if accepts {
            remember(job, &verdict, was_accepted).await?;
        }
    } else if accepts {
        remember(job, &verdict, false).await?;
    }
    let is_plain = verdict.status == Status::Unsigned && accepts && policy == Policy::Ask;
    if !is_plain {
        let (transfer, verdict) = (job.shared.id, Box::new(verdict.clone()));
        let event = EventBody::Verdict { transfer, verdict, accepted: accepts };
        job.inner.queue.push(job.shared.user_data, event);
    }
    if accepts { Ok(Some(verdict)) } else { Err(refusal(&verdict)) }
}

/// Whether it is nothing but signatures, which need not be signed themselves.
fn is_sidecar(path: &UrlPath, version: &Version) -> bool {
    path.file_name().ends_with(SIDECAR_SUFFIX.as_bytes())
        && version.layout.size() <= limits::MAX_SIGNATURES_TEXT as u64
}

/// What the signatures in an answer are worth, without consequences; `None` of a directory.
pub(super) async fn judge(
    link: &LinkUser,
    path: &UrlPath,
    info: &TellInfo,
) -> Result<Option<Verdict>, Error> {
    let any_pieces = link.takes_any_pieces();
    let version = Version::known(info.size, info.root, info.chunk_size, info.mtime, any_pieces);
    let Some((version, now)) = version.zip(now()) else { return Ok(None) };
    let (link, path, signatures) = (link.clone(), path.clone(), info.signatures.clone());
    // To check a key that is seen for the first time takes some milliseconds.
    let judge = move || {
        link.inner.verifier.judge(&Question {
            host: &link.host,
            port: link.port,
            path: &path,
            layout: version.layout,
            root: version.root.unwrap_or_default(),
            signatures: &signatures,
            pinned: &[],
            now,
        })
    };
    blocking(judge).await.map(Some)
}

async fn remember(job: &Job, verdict: &Verdict, was_accepted: bool) -> Result<(), Error> {
    if verdict.key.is_none() {
        return Ok(());
    }
    let (inner, verdict, top) = (Arc::clone(&job.inner), verdict.clone(), job.demand.top.clone());
    blocking(move || inner.verifier.remember(&verdict, &top, was_accepted)).await?
}

/// Asks the application, unless it has said already what it thinks of such cases.
async fn ask(job: &Job, verdict: &Verdict) -> Result<Answer, Error> {
    let (verifier, case) = (&job.inner.verifier, (verdict.status, verdict.key));
    let said = || job.demand.said.lock().unwrap_or_else(PoisonError::into_inner);
    // What is wrong with one file says nothing about the next.
    let is_general = !matches!(verdict.status, Status::Bad | Status::Rollback | Status::Good);
    if let Some(answer) = said().get(&case).filter(|_| is_general) {
        return Ok(*answer);
    }
    let id = job.inner.next_id();
    let (sender, receiver) = oneshot::channel();
    verifier.waiting().insert(id, sender);
    let (transfer, verdict) = (job.shared.id, Box::new(verdict.clone()));
    job.enter(TransferState::Deciding);
    job.inner.queue.push(job.shared.user_data, EventBody::Decision { transfer, id, verdict });
    let answer = job.shared.unless_cancelled(timeout(verifier.patience, receiver)).await;
    verifier.waiting().remove(&id);
    // Silence is no consent.
    let answer = answer?.ok().and_then(Result::ok).unwrap_or(Answer::Reject);
    if is_general {
        said().insert(case, answer);
    }
    Ok(answer)
}

fn refusal(verdict: &Verdict) -> Error {
    let kind = match verdict.status {
        Status::Unsigned => ErrorKind::Unsigned,
        Status::UnknownKey => ErrorKind::UnknownKey,
        Status::KeyChanged => ErrorKind::KeyChanged,
        // Refused by the application against the odds.
        Status::Good => ErrorKind::Rejected,
        Status::Bad | Status::Expired | Status::Rollback => ErrorKind::Signature,
    };
    let key = verdict.key.map(|key| format!(" (key {key})")).unwrap_or_default();
    Error::new(kind, format!("{} {}{key}", verdict.path, verdict.reason))
}

/// Whether a complete file has the digest that was signed with it. Blocks: reads all of it.
pub(super) fn has_digest(store: &PieceStore, wanted: Digest) -> std::io::Result<bool> {
    let (mut hasher, mut buffer, mut at) = (Sha256::new(), vec![0; CHUNK], 0);
    loop {
        match store.read_at(at, &mut buffer)? {
            0 => break,
            length => {
                hasher.update(&buffer[..length]);
                at += length as u64;
            }
        }
    }
    Ok(hasher.finalize()[..] == wanted.0)
}

fn now() -> Option<Date> {
    Date::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn beside(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(SEEN_SUFFIX);
    name.into()
}

fn read_if_there(path: &Path) -> Result<String, Error> {
    let trouble = |error| Error::io(format!("cannot read {}", path.display()), &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(trouble(error)),
    };
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(trouble)?;
    Ok(text)
}

/// Adds a line, on a line of its own whatever an editor or a crash has left; `head` begins a new file. Several
/// processes may do so at a time.
fn append(path: &Path, line: &str, head: &str) -> Result<(), Error> {
    let write = || {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        file.lock()?;
        let length = file.seek(SeekFrom::End(0))?;
        let mut text = if length == 0 { head.to_owned() } else { String::new() };
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                text.push('\n');
            }
        }
        text.push_str(line);
        text.push('\n');
        file.write_all(text.as_bytes())
    };
    write().map_err(|error| Error::io(format!("cannot write {}", path.display()), &error))
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    std::fs::write(&name, text)?;
    std::fs::rename(&name, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_after_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/trust");
        append(&path, "one", "# head\n").unwrap();
        append(&path, "two", "# head\n").unwrap();
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap().trim_end()).unwrap();
        append(&path, "three", "# head\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# head\none\ntwo\nthree\n");
    }
}
