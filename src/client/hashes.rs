//! The piece hashes of a file that is to be received: all of them before it begins, or block by block.
//!
//! What is on the disk already can be looked at only with all of them. A file of which nothing is here begins with few
//! or none: a block is asked for when the first order for one of its pieces comes, at the same time as the pieces
//! themselves, and their bytes are left unread until they can be verified ([`crate::peer::PieceSink::ready`]). So what
//! came first is passed on long before the hashes of the rest are here.
//!
//! Servers that prove nothing, since they are older, are asked for all.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::OwnedSemaphorePermit;

use super::asks::AskError;
use super::download::{Job, Stop, Version};
use super::files::{Held, Upset};
use super::session::{Conn, Gone, Link, Tries};
use super::{Error, ErrorKind, old};
use crate::content::{BLOCK, Layout, PieceHashes};
use crate::wire::{self, Digest, TellInfo, UrlPath, limits};

/// Pieces of one file at most: with their hashes, 128 MiB of memory; at the largest piece size, 16 TiB.
const MAX_PIECES: u32 = 4 * 1024 * 1024;
/// Questions for piece hashes under way for one file.
const HASHES_IN_FLIGHT: usize = 8;
/// Ranges of pieces that wait for hashes: as many as there may be exchanges. Where a server tells none while somebody
/// jumps about, the oldest are forgotten; should they be ordered, they are needed anew.
const MAX_WANTED: usize = 1024;
/// Of what is known already, so much is asked for at once: the further a download is, the fewer questions it needs, and
/// the less it matters how long one takes.
const SHARE_OF_KNOWN: u32 = 4;
/// And at least so many, or questions and proofs would be too much; but not what is known already, as the first few are.
const LEAST: u32 = 64;
/// Runs of fewer pieces are judged piece by piece: there should be some news of a run before its end.
const FEWEST_BY_ROOTS: u32 = 2 * BLOCK;

/// What the server told together with the version.
pub(super) struct Told {
    hashes: Vec<u8>,
    proof: Option<Vec<u8>>,
}

impl Told {
    pub(super) fn with(info: &mut TellInfo) -> Option<Self> {
        let proof = info.proof.take().map(|proof| proof.0);
        Some(Self { hashes: info.hashes.take()?.0, proof })
    }
}

/// Of fewer pieces all is asked for at once.
pub(super) fn is_worth_parts(layout: &Layout) -> bool {
    layout.count() > limits::MAX_UNPROVED
}

/// What a download is to begin with. With `in_parts` that may be very little.
pub(super) async fn begin(
    job: &Job,
    path: &UrlPath,
    version: &Version,
    told: Option<Told>,
    in_parts: bool,
) -> Result<Arc<PieceHashes>, Stop> {
    let Version { root, layout, .. } = *version;
    let Some(root) = root else { return Ok(Arc::new(PieceHashes::untold(layout))) };
    let count = layout.count();
    if count > MAX_PIECES {
        let text = format!("{path} has {count} pieces; this client takes {MAX_PIECES}");
        return Err(Error::new(ErrorKind::Limit, text).into());
    }
    if let Some(single) = PieceHashes::from_single_root(layout, root) {
        return Ok(Arc::new(single));
    }
    let Told { hashes, proof } = told.unwrap_or(Told { hashes: Vec::new(), proof: None });
    let known = PieceHashes::growing(layout, root);
    // Who tells the first and no proof is older, and has no proofs.
    let is_good = match proof {
        None if in_parts && hashes.is_empty() => true,
        Some(proof) if in_parts => {
            let hashes = digests(&hashes);
            known.learn(0, hashes.len() as u32, &hashes, &digests(&proof))
        }
        _ => {
            let asking = all(&job.link, path, layout, root, hashes);
            match job.shared.unless_cancelled(asking).await? {
                Ok(hashes) => known.learn(0, whole(count), &hashes, &[]),
                Err(error) if error.kind == ErrorKind::Changed => return Err(Stop::Stale),
                Err(error) => return Err(error.into()),
            }
        }
    };
    if is_good { Ok(Arc::new(known)) } else { Err(lie(path).into()) }
}

/// All hashes of a version, not verified yet. `first`: those of the first pieces, if they are known.
async fn all(
    link: &Link,
    path: &UrlPath,
    layout: Layout,
    root: Digest,
    first: Vec<u8>,
) -> Result<Vec<Digest>, Error> {
    let count = layout.count();
    let mut tries = Tries::of(path);
    // Grows with what has come, not with what was announced.
    let mut hashes = Vec::new();
    if first.len() == limits::MAX_HASHES.min(count) as usize * 32 {
        hashes = digests(&first);
    }
    loop {
        let conn = link.conn().await?;
        if conn.old().is_some() {
            // It was of another kind a moment ago.
            return Err(old::no_versions(&link.host));
        }
        let mut next = hashes.len() as u32;
        // Answers are taken in the order of the questions.
        let mut under_way = Vec::new();
        let error = 'asking: loop {
            while under_way.len() < HASHES_IN_FLIGHT && next < count {
                let some = limits::MAX_HASHES.min(count - next);
                let first = next.into();
                let ask = wire::AskHashes {
                    url: link.url(path),
                    root,
                    first,
                    count: some,
                    proof: false,
                    roots: false,
                };
                let mut asked = match conn.asks.hashes(ask).await {
                    Ok(asked) => asked,
                    Err(error) => break 'asking error,
                };
                if let Some(message) = asked.to_send.take()
                    && conn.send(message).await == Err(Gone)
                {
                    break 'asking AskError::Gone;
                }
                under_way.push((some, asked));
                next += some;
            }
            if under_way.is_empty() {
                return Ok(hashes);
            }
            let (some, asked) = under_way.remove(0);
            match asked.answer().await {
                Ok(told) if told.hashes.0.len() != some as usize * 32 => return Err(lie(path)),
                Ok(told) => hashes.extend(digests(&told.hashes.0)),
                Err(error) => break error,
            }
        };
        tries.after(&conn, error).await?;
    }
}

fn digests(bytes: &[u8]) -> Vec<Digest> {
    bytes.as_chunks::<32>().0.iter().map(|digest| Digest(*digest)).collect()
}

fn lie(path: &UrlPath) -> Error {
    let text = format!("the piece hashes that the server gives for {path} do not belong to its version");
    Error::new(ErrorKind::Hash, text)
}

/// The questions for blocks of one file that is being received. They are answered in [`on_told`], and
/// asked again by [`go_on`], which the job calls, when they were lost with their connection.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Pieces of which something was not known.
    wanted: Vec<Wanted>,
    /// What is under way, on this connection.
    asked: Vec<Question>,
    conn: Weak<Conn>,
    /// The server is an older one: it is to be asked for all.
    proves_nothing: bool,
    /// Something was wrong: every piece is to be judged by itself, to find out which.
    no_roots: bool,
}

/// Pieces that are about to come.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    pieces: Range<u32>,
    /// Whether roots will do for what is among them as a whole.
    by_roots: bool,
}

impl Wanted {
    /// The first piece, from this one on, for which something is to be asked.
    fn first_unknown(&self, hashes: &PieceHashes, from: u32) -> Option<u32> {
        match self.by_roots {
            true => hashes.first_unverifiable(self.pieces.clone(), from),
            false => hashes.first_unknown(from.max(self.pieces.start)..self.pieces.end),
        }
    }

    /// Whether the root of its block will do for a piece.
    fn takes_root_for(&self, hashes: &PieceHashes, piece: u32) -> bool {
        let block = hashes.pieces_of(piece / BLOCK);
        self.by_roots && self.pieces.start <= block.start && block.end <= self.pieces.end
    }
}

#[derive(Debug)]
struct Question {
    first: u32,
    size: u32,
    roots: bool,
    _permit: OwnedSemaphorePermit,
}

impl State {
    /// Whether the hash of a piece is asked for, or with `or_root`, at least the root of its block.
    fn is_asked(&self, piece: u32, or_root: bool) -> bool {
        let covers = |question: &Question| (question.first..question.first + question.size).contains(&piece);
        self.asked.iter().any(|question| covers(question) && (or_root || !question.roots))
    }

    /// What to ask for because of a piece of which nothing is asked: the first piece, how many, and whether roots.
    fn question_for(&self, wanted: &Wanted, hashes: &PieceHashes, piece: u32) -> (u32, u32, bool) {
        if wanted.takes_root_for(hashes, piece) {
            // Those of an answer as large as it may be, though some may be known: fewer need more words, and more proofs.
            let size = limits::MAX_HASHES;
            return (piece / size * size, size, true);
        }
        // Of a block that begins or ends within a run that roots are good for, no more is needed.
        let most = match wanted.by_roots {
            true => BLOCK,
            false => (hashes.known() / SHARE_OF_KNOWN).clamp(LEAST, limits::MAX_HASHES),
        };
        let is_new = |at: u32| !self.is_asked(at, false) && hashes.first_unknown(at..at + 1).is_some();
        let (first, size) = block_around(hashes, piece, most, &is_new);
        (first, size, false)
    }
}

impl Questions {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server does not tell of a block; it does not say of which. Whether it was asked for any.
    pub(super) fn are_refused(&self) -> bool {
        !std::mem::take(&mut self.state().asked).is_empty()
    }

    /// Something that came was wrong. Were it judged with others again, it could not be told from them.
    pub(super) fn take_no_roots(&self) {
        self.state().no_roots = true;
    }

    /// Whether there is nothing for it but [`complete`], and nothing in the way of it.
    pub(super) fn are_in_vain(&self, hashes: &PieceHashes) -> bool {
        let state = self.state();
        state.proves_nothing && state.asked.is_empty() && hashes.first_unknown(0..u32::MAX).is_some()
    }
}

/// The largest block of no more than `most` pieces that are all new, around a piece that is: its first piece and its size.
fn block_around(hashes: &PieceHashes, piece: u32, most: u32, is_new: &dyn Fn(u32) -> bool) -> (u32, u32) {
    let mut size = 1 << most.ilog2();
    loop {
        let first = piece / size * size;
        let end = (first + size).min(hashes.layout().count());
        if size == BLOCK || (first..end).step_by(BLOCK as usize).all(is_new) {
            return (first, size);
        }
        size /= 2;
    }
}

/// These pieces are about to come: asks for what is not known of their hashes. Should it fail, the file does. With `by_roots`
/// nobody waits for single ones: then it is enough to be able to judge them by blocks, which takes a sixteenth of what
/// their hashes are.
pub(super) fn need(link: &Link, held: &Held, pieces: Range<u32>, by_roots: bool) {
    let mut state = held.questions.state();
    let by_roots = by_roots && !state.no_roots && pieces.len() as u32 >= FEWEST_BY_ROOTS;
    let wanted = Wanted { pieces, by_roots };
    if wanted.first_unknown(held.hashes(), 0).is_some() {
        if !state.wanted.contains(&wanted) {
            if state.wanted.len() >= MAX_WANTED {
                state.wanted.remove(0);
            }
            state.wanted.push(wanted);
        }
        drop(state);
        go_on(link, held);
    }
}

/// Asks for what is wanted and not under way, as far as there is room for questions.
pub(super) fn go_on(link: &Link, held: &Held) {
    let mut state = held.questions.state();
    if state.wanted.is_empty() {
        return;
    }
    let Some(conn) = link.conn_now() else { return };
    if !std::ptr::eq(state.conn.as_ptr(), Arc::as_ptr(&conn)) {
        state.asked.clear();
        state.conn = Arc::downgrade(&conn);
    }
    if state.proves_nothing {
        return;
    }
    if conn.old().is_some() {
        // It was of another kind a moment ago.
        return held.upset(Upset::Failed(old::no_versions(&link.host)));
    }
    let hashes = held.hashes();
    let wanted = std::mem::take(&mut state.wanted);
    for wanted in wanted {
        let mut from = 0;
        while let Some(piece) = wanted.first_unknown(hashes, from) {
            from = (piece / BLOCK + 1) * BLOCK;
            if state.is_asked(piece, wanted.takes_root_for(hashes, piece)) {
                continue;
            }
            let permit = conn.asks.permit_now().filter(|_| state.asked.len() < HASHES_IN_FLIGHT);
            let Some(permit) = permit else { break };
            let (first, size, roots) = state.question_for(&wanted, hashes, piece);
            let ask = wire::AskHashes {
                url: held.url.clone(),
                root: held.root,
                first: first.into(),
                count: size,
                proof: true,
                roots,
            };
            conn.send_at_once(&link.inner.handle, ask.into());
            state.asked.push(Question { first, size, roots, _permit: permit });
        }
        if wanted.first_unknown(hashes, 0).is_some() {
            state.wanted.push(wanted);
        }
    }
}

/// The server tells of a block.
pub(super) fn on_told(link: &Link, held: &Held, told: &wire::TellHashes) {
    // Who does not know of roots answers with hashes.
    let is_answer = |question: &&Question| {
        u64::from(question.first) == told.first && (question.roots || !told.roots) && told.root == held.root
    };
    let (first, size) = {
        let state = held.questions.state();
        let Some(question) = state.asked.iter().find(is_answer) else { return };
        (question.first, question.size)
    };
    let learned = told.proof.as_ref().map(|proof| {
        let (hashes, proof) = (digests(&told.hashes.0), digests(&proof.0));
        if told.roots {
            learn_roots(held, first, size, &hashes, &proof)
        } else {
            learn(held, first, size, &hashes, &proof)
        }
    });
    // Not before it is known: until then others would ask for it again.
    let mut state = held.questions.state();
    if let Some(at) = state.asked.iter().position(|question| is_answer(&question)) {
        state.asked.remove(at);
    }
    state.proves_nothing |= learned.is_none();
    drop(state);
    match learned {
        Some(Ok(())) => go_on(link, held),
        Some(Err(error)) => held.upset(Upset::Failed(error)),
        None => held.news.notify_one(),
    }
}

/// Sees to it that all hashes of a file are known.
pub(super) async fn complete(link: &Link, held: &Held) -> Result<(), Error> {
    let count = held.layout.count();
    if held.hashes().first_unknown(0..count).is_none() {
        return Ok(());
    }
    let hashes = all(link, &held.path, held.layout, held.root, Vec::new()).await?;
    learn(held, 0, whole(count), &hashes, &[])
}

/// The size of the block that is the whole file, and so needs no proof.
fn whole(count: u32) -> u32 {
    count.next_power_of_two().max(BLOCK)
}

fn learn(held: &Held, first: u32, size: u32, hashes: &[Digest], proof: &[Digest]) -> Result<(), Error> {
    let learned = match held.store() {
        Some(store) => store.learn(first, size, hashes, proof),
        // Only what is complete is ever closed.
        None => held.hashes().learn(first, size, hashes, proof),
    };
    if learned { Ok(()) } else { Err(lie(&held.path)) }
}

fn learn_roots(held: &Held, first: u32, size: u32, roots: &[Digest], proof: &[Digest]) -> Result<(), Error> {
    let learned = match held.store() {
        Some(store) => store.learn_roots(first, size, roots, proof),
        None => held.hashes().learn_roots(first, size, roots, proof),
    };
    if learned { Ok(()) } else { Err(lie(&held.path)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{PieceSize, hash_piece};

    fn hashes(count: u32) -> (PieceHashes, PieceHashes) {
        let layout = Layout::new(u64::from(count) * 1024, PieceSize::any(1024).unwrap()).unwrap();
        let all = (0..count).map(|piece| hash_piece(&piece.to_be_bytes())).collect();
        let whole = PieceHashes::new(layout, all).unwrap();
        let growing = PieceHashes::growing(layout, whole.root());
        (whole, growing)
    }

    fn learn(whole: &PieceHashes, growing: &PieceHashes, (first, size): (u32, u32)) {
        let end = whole.all().len().min((first + size) as usize);
        let proof = whole.prove(first, size).unwrap();
        assert!(growing.learn(first, size, &whole.all()[first as usize..end], &proof));
    }

    fn questions(asked: &[(u32, u32, bool)]) -> State {
        let permits = Arc::new(tokio::sync::Semaphore::new(asked.len()));
        let permit = || permits.clone().try_acquire_owned().unwrap();
        let question = |&(first, size, roots): &_| Question { first, size, roots, _permit: permit() };
        State { asked: asked.iter().map(question).collect(), ..State::default() }
    }

    /// What is asked because of a piece that is needed by itself, when something is asked already.
    fn ask_about(hashes: &PieceHashes, piece: u32, asked: &[(u32, u32, bool)]) -> (u32, u32) {
        let wanted = Wanted { pieces: piece..piece + 1, by_roots: false };
        let (first, size, roots) = questions(asked).question_for(&wanted, hashes, piece);
        assert!(!roots);
        (first, size)
    }

    #[test]
    fn a_long_run_is_judged_by_the_roots_of_its_blocks() {
        let (whole, growing) = hashes(20_000);
        learn(&whole, &growing, (0, 16));
        let wanted = Wanted { pieces: 10..100, by_roots: true };
        let ask = |asked: &[_], from| {
            let state = questions(asked);
            let mut from = from;
            loop {
                let piece = wanted.first_unknown(&growing, from)?;
                if !state.is_asked(piece, wanted.takes_root_for(&growing, piece)) {
                    return Some(state.question_for(&wanted, &growing, piece));
                }
                from = (piece / BLOCK + 1) * BLOCK;
            }
        };
        // As many at once as one answer may have, so that the next runs need no question.
        assert_eq!(ask(&[], 0), Some((0, 1024, true)));
        // What is in its last block by itself, whose root is asked for with the others.
        assert_eq!(ask(&[(0, 1024, true)], 0), Some((96, 16, false)));
        assert_eq!(ask(&[(0, 1024, true), (96, 16, false)], 0), None);
        let far = Wanted { pieces: 4096..4160, by_roots: true };
        assert_eq!(questions(&[]).question_for(&far, &growing, 4096), (4096, 1024, true));

        let roots = whole.roots(0, 1024).unwrap();
        assert!(growing.learn_roots(0, 1024, &roots, &whole.prove(0, 1024).unwrap()));
        assert_eq!(ask(&[], 0), Some((96, 16, false)));
        assert_eq!(growing.known(), 16, "no hash of a piece is known by that");
    }

    #[test]
    fn blocks_grow_with_what_is_known_and_never_cover_it() {
        let (whole, growing) = hashes(20_000);
        let mut sizes = Vec::new();
        while let Some(piece) = growing.first_unknown(0..20_000) {
            let block = ask_about(&growing, piece, &[]);
            assert_eq!((block.0 % block.1, block.0 <= piece), (0, true));
            assert!(growing.first_unknown(block.0..block.0 + 1).is_some());
            let before = growing.known();
            learn(&whole, &growing, block);
            assert_eq!(growing.known(), before + block.1.min(20_000u32.next_multiple_of(BLOCK) - block.0));
            sizes.push(block.1);
        }
        assert_eq!(sizes[..4], [64, 64, 64, 64]);
        assert!(sizes.contains(&1024) && sizes.len() < 60, "{sizes:?}");

        // In the midst of what is known or asked for there is less.
        let (whole, growing) = hashes(20_000);
        learn(&whole, &growing, (0, 8192));
        assert_eq!(ask_about(&growing, 9000, &[]), (8192, 1024));
        assert_eq!(ask_about(&growing, 9000, &[(9088, 128, false)]), (8960, 128));
        learn(&whole, &growing, (10_240, 64));
        for (piece, block) in [
            (10_500, (10_496, 256)),
            (10_310, (10_304, 64)),
            (10_400, (10_368, 128)),
            (10_900, (10_752, 512)),
        ] {
            assert_eq!(ask_about(&growing, piece, &[]), block);
        }
        // Answered while somebody was about to ask.
        assert_eq!(ask_about(&growing, 100, &[]), (96, BLOCK));

        // The first few were told with the version.
        let (whole, growing) = hashes(20_000);
        learn(&whole, &growing, (0, limits::FIRST_HASHES));
        for (piece, block) in [(20, (16, 16)), (40, (32, 32)), (64, (64, 64))] {
            assert_eq!(ask_about(&growing, piece, &[]), block);
        }
    }
}
