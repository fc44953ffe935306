//! What another file on this machine has of the one that is wanted.

use std::ops::Range;
use std::sync::Arc;

use super::blocking;
use crate::client::files::{Held, Upset};
use crate::client::session::LinkUser;
use crate::client::{Error, PieceStore};
use crate::content::hash_piece;
use crate::peer::{Claim, PieceSink};

/// Takes from another download of the same version what it has of these pieces.
pub(super) async fn copy_from(link: &LinkUser, before: &Arc<Held>, held: &Arc<Held>, pieces: Range<u32>) {
    let (link, before) = (Arc::clone(link), Arc::clone(before));
    let copy = move |store: &PieceStore| match link.files.open_store(&before) {
        Some(from) => copy_pieces(&from, store, pieces),
        None => Ok(()),
    };
    held.credit_copied(copy_into(held, copy).await);
}

/// Bytes that `copy` has brought.
pub(super) async fn copy_into(
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
pub(super) fn copy_pieces(from: &PieceStore, to: &PieceStore, mut pieces: Range<u32>) -> std::io::Result<()> {
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
