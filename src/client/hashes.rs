//! The piece hashes of a file that is to be received: all of them before it begins, or block by block.
//!
//! What is on the disk already can be looked at only with all of them. A file of which nothing is here begins with few
//! or none: a block is asked for when the first order for one of its pieces comes, at the same time as the pieces
//! themselves, and their bytes are left unread until they can be verified ([`crate::peer::PieceSink::ready`]). So what
//! came first is passed on long before the hashes of the rest are here.
//!
//! Servers that prove nothing, since they are older, are asked for all.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::download::{Job, Stop, Version};
use super::files::{Held, Upset};
use super::session::Link;
use super::{Error, ErrorKind};
use crate::content::{BLOCK, Layout, PieceHashes};
use crate::wire::{Digest, TellInfo, UrlPath, limits};

/// Pieces of one file at most: with their hashes, 128 MiB of memory; at the largest piece size, 16 TiB.
const MAX_PIECES: u32 = 4 * 1024 * 1024;
/// Questions for piece hashes under way for one file.
const HASHES_IN_FLIGHT: usize = 8;
/// Of what is known already, so much is asked for at once: the further a download is, the fewer questions it needs, and
/// the less it matters how long one takes.
const SHARE_OF_KNOWN: u32 = 4;

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
    // Who tells the first and no proof is older, and has no proofs.
    if in_parts && (proof.is_some() || hashes.is_empty()) {
        let growing = PieceHashes::growing(layout, root);
        if let Some(proof) = proof {
            let hashes = digests(&hashes);
            if !growing.learn(0, hashes.len() as u32, &hashes, &digests(&proof)) {
                return Err(lie(path).into());
            }
        }
        return Ok(Arc::new(growing));
    }
    let asking = all(&job.link, path, layout, root, hashes);
    let hashes = match job.shared.unless_cancelled(asking).await? {
        Ok(hashes) => hashes,
        Err(error) if error.kind == ErrorKind::Changed => return Err(Stop::Stale),
        Err(error) => return Err(error.into()),
    };
    PieceHashes::verified(layout, hashes, &root).map(Arc::new).ok_or_else(|| lie(path).into())
}

/// All hashes of a version, not verified yet. `first`: those of the first pieces, if they are known.
async fn all(
    link: &Arc<Link>,
    path: &UrlPath,
    layout: Layout,
    root: Digest,
    first: Vec<u8>,
) -> Result<Vec<Digest>, Error> {
    let count = layout.count();
    let mut firsts = (0..count).step_by(limits::MAX_HASHES as usize);
    let mut asking = JoinSet::new();
    // Grows with what has come, not with what was announced.
    let mut parts: Vec<(u32, Vec<u8>)> = Vec::new();
    if first.len() == limits::MAX_HASHES.min(count) as usize * 32 {
        parts.extend(firsts.next().map(|at| (at, first)));
    }
    loop {
        while asking.len() < HASHES_IN_FLIGHT
            && let Some(first) = firsts.next()
        {
            let some = limits::MAX_HASHES.min(count - first);
            let (link, path) = (Arc::clone(link), path.clone());
            asking.spawn(async move {
                let told = link.ask_hashes(&path, root, first, some, false).await?;
                Ok::<_, Error>((first, some, told))
            });
        }
        let (first, some, told) = match asking.join_next().await {
            None => break,
            Some(Ok(answer)) => answer?,
            Some(Err(_)) => return Err(Error::new(ErrorKind::State, "the client is being shut down")),
        };
        if told.hashes.0.len() != some as usize * 32 {
            return Err(lie(path));
        }
        parts.push((first, told.hashes.0));
    }
    parts.sort_unstable_by_key(|(first, _)| *first);
    Ok(parts.iter().flat_map(|(_, bytes)| digests(bytes)).collect())
}

fn digests(bytes: &[u8]) -> Vec<Digest> {
    bytes.as_chunks::<32>().0.iter().map(|digest| Digest(*digest)).collect()
}

fn lie(path: &UrlPath) -> Error {
    let text = format!("the piece hashes that the server gives for {path} do not belong to its version");
    Error::new(ErrorKind::Hash, text)
}

/// The questions about one file that is being received.
#[derive(Debug)]
pub(super) struct Questions {
    under_way: Mutex<UnderWay>,
    places: Semaphore,
}

#[derive(Debug, Default)]
struct UnderWay {
    /// By number of the [`BLOCK`].
    blocks: BTreeSet<u32>,
    /// The server proves nothing: it was asked for all.
    all: bool,
}

impl Default for Questions {
    fn default() -> Self {
        Self { under_way: Mutex::default(), places: Semaphore::new(HASHES_IN_FLIGHT) }
    }
}

impl Questions {
    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        // Nothing under this lock can panic half-way through a change.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the question about a piece: first piece and size of the block to ask for. `None` if it is under way, or was
    /// answered a moment ago.
    fn note(&self, hashes: &PieceHashes, piece: u32) -> Option<(u32, u32)> {
        let mut under_way = self.under_way();
        if under_way.all || under_way.blocks.contains(&(piece / BLOCK)) {
            return None;
        }
        hashes.first_unknown(piece..piece + 1)?;
        let (most, count) = (limits::MAX_HASHES, hashes.layout().count());
        let share = (hashes.known() / SHARE_OF_KNOWN).clamp(BLOCK, most);
        let mut size = 1 << share.ilog2();
        loop {
            let first = piece / size * size;
            let blocks = first / BLOCK..(first + size).min(count).div_ceil(BLOCK);
            let is_new = |block| {
                let at = block * BLOCK;
                !under_way.blocks.contains(&block) && hashes.first_unknown(at..at + 1).is_some()
            };
            if blocks.clone().all(is_new) {
                under_way.blocks.extend(blocks);
                return Some((first, size));
            }
            // A single one is: the block that the piece is in.
            size /= 2;
        }
    }

    fn answered(&self, first: u32, size: u32) {
        let blocks = first / BLOCK..(first + size) / BLOCK;
        self.under_way().blocks.retain(|block| !blocks.contains(block));
    }
}

/// Asks for what is not known of the hashes of some pieces, unless that is under way. Should it fail, the file does.
pub(super) fn need(link: &Arc<Link>, held: &Arc<Held>, pieces: Range<u32>) {
    let mut from = pieces.start;
    while let Some(piece) = held.hashes().first_unknown(from..pieces.end) {
        if let Some((first, size)) = held.questions.note(held.hashes(), piece) {
            let (link, held) = (Arc::clone(link), Arc::clone(held));
            tokio::spawn(async move {
                let asked = tokio::select! {
                    asked = fetch(&link, &held, first, size) => asked,
                    () = held.stopped() => return,
                };
                match asked {
                    Ok(()) => {}
                    Err(error) if error.kind == ErrorKind::Changed => held.upset(Upset::Changed),
                    Err(error) => held.upset(Upset::Failed(error)),
                }
            });
        }
        from = (piece / BLOCK + 1) * BLOCK;
    }
}

async fn fetch(link: &Arc<Link>, held: &Held, first: u32, size: u32) -> Result<(), Error> {
    // Never closed; if it were, the question would just not wait for its turn.
    let _place = held.questions.places.acquire().await;
    let told = link.ask_hashes(&held.path, held.root, first, size, true).await?;
    let Some(proof) = told.proof else {
        if std::mem::replace(&mut held.questions.under_way().all, true) {
            return Ok(());
        }
        return complete(link, held).await;
    };
    learn(held, first, size, &digests(&told.hashes.0), &digests(&proof.0))?;
    held.questions.answered(first, size);
    Ok(())
}

/// Sees to it that all hashes of a file are known.
pub(super) async fn complete(link: &Arc<Link>, held: &Held) -> Result<(), Error> {
    let count = held.layout.count();
    if held.hashes().first_unknown(0..count).is_none() {
        return Ok(());
    }
    let hashes = all(link, &held.path, held.layout, held.root, Vec::new()).await?;
    // They are a block that needs no proof.
    learn(held, 0, count.next_power_of_two(), &hashes, &[])
}

fn learn(held: &Held, first: u32, size: u32, hashes: &[Digest], proof: &[Digest]) -> Result<(), Error> {
    let learned = match held.store() {
        Some(store) => store.learn(first, size, hashes, proof),
        // Only what is complete is ever closed.
        None => held.hashes().learn(first, size, hashes, proof),
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

    #[test]
    fn a_block_is_asked_for_once_at_a_time() {
        let (whole, growing) = hashes(200);
        let questions = Questions::default();
        assert_eq!(questions.note(&growing, 70), Some((64, 64)));
        assert_eq!((questions.note(&growing, 64), questions.note(&growing, 127)), (None, None));
        assert_eq!(questions.note(&growing, 128), Some((128, 64)));
        assert_eq!(questions.note(&growing, 199), Some((192, 64)));
        questions.answered(64, 64);
        assert_eq!(questions.note(&growing, 100), Some((64, 64)));
        learn(&whole, &growing, (64, 64));
        questions.answered(64, 64);
        assert_eq!(questions.note(&growing, 100), None, "answered while somebody was about to ask");
        questions.under_way().all = true;
        assert_eq!(questions.note(&growing, 0), None);
    }

    #[test]
    fn blocks_grow_with_what_is_known_and_never_cover_it() {
        let (whole, growing) = hashes(20_000);
        let questions = Questions::default();
        let mut sizes = Vec::new();
        while let Some(piece) = growing.first_unknown(0..20_000) {
            let block = questions.note(&growing, piece).unwrap();
            assert_eq!((block.0 % block.1, block.0 <= piece), (0, true));
            assert!(growing.first_unknown(block.0..block.0 + 1).is_some());
            let before = growing.known();
            learn(&whole, &growing, block);
            questions.answered(block.0, block.1);
            assert_eq!(growing.known(), before + block.1.min(20_000u32.next_multiple_of(BLOCK) - block.0));
            sizes.push(block.1);
        }
        assert_eq!(sizes[..4], [64, 64, 64, 64]);
        assert!(sizes.contains(&1024) && sizes.len() < 60, "{sizes:?}");

        // In the midst of what is known or under way there is less.
        let (whole, growing) = hashes(20_000);
        let questions = Questions::default();
        learn(&whole, &growing, (0, 8192));
        assert_eq!(questions.note(&growing, 9000), Some((8192, 1024)));
        learn(&whole, &growing, (10_240, 64));
        assert_eq!(questions.note(&growing, 10_500), Some((10_496, 256)));
        assert_eq!(questions.note(&growing, 10_310), Some((10_304, 64)));
        assert_eq!(questions.note(&growing, 10_400), Some((10_368, 128)));
        assert_eq!(questions.note(&growing, 10_900), Some((10_752, 512)));
    }
}
