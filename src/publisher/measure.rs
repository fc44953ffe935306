use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use sha2::{Digest as _, Sha256};

use super::PublishError;
use crate::content::{Layout, PieceHasher, PieceSize, hash_piece, merkle_root};
use crate::wire::Digest;

/// Bytes read at a time.
const CHUNK: usize = 1024 * 1024;
/// Chunks on their way from the thread that reads to the one that hashes pieces.
const AHEAD: usize = 4;

/// What a manifest says of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Size and piece size.
    pub layout: Layout,
    /// Root of the hash tree.
    pub root: Digest,
    /// SHA-256 of all of it.
    pub sha256: Digest,
}

/// Reads a file from beginning to end, once, in pieces of the size that fits it. Blocks.
///
/// # Errors
/// Where it cannot be read, or changes its size meanwhile.
pub fn measure(file: &Path) -> Result<Measure, PublishError> {
    let open = File::open(file).map_err(PublishError::io("cannot open", file))?;
    let size = open.metadata().map_err(PublishError::io("cannot look at", file))?.len();
    measure_open(open, file, size, PieceSize::for_file(size))
}

/// The same of an open file, with a size and piece size that are known. `name` is for messages.
///
/// # Errors
/// As [`measure`].
pub fn measure_open(
    mut from: impl Read,
    name: &Path,
    size: u64,
    piece: PieceSize,
) -> Result<Measure, PublishError> {
    let unstable = || PublishError::Unstable(name.to_owned());
    let layout = Layout::new(size, piece).ok_or_else(unstable)?;
    let read = PublishError::io("cannot read", name);
    let (digest, pieces) = if layout.count() <= 1 {
        let mut bytes = Vec::new();
        from.take(size + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 != size {
            return Err(unstable());
        }
        let digest = hash_piece(&bytes);
        (digest, if size == 0 { Vec::new() } else { vec![digest] })
    } else {
        let whole = std::thread::scope(|scope| {
            // Both hashes take about as long as reading from memory: on two processors neither waits for the other.
            let (to, chunks) = sync_channel::<Arc<[u8]>>(AHEAD);
            let pieces = scope.spawn(move || {
                let mut hasher = PieceHasher::new(&layout);
                let mut pieces = Vec::new();
                while let Ok(chunk) = chunks.recv() {
                    hasher.update(&chunk, |piece| pieces.push(piece));
                }
                pieces.extend(hasher.finish());
                pieces
            });
            let (mut whole, mut total) = (Sha256::new(), 0);
            let mut buffer = vec![0; CHUNK];
            let result = loop {
                let length = match from.read(&mut buffer) {
                    Ok(0) => break Ok(()),
                    Ok(length) => length,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => break Err(error),
                };
                total += length as u64;
                if total > size {
                    break Ok(());
                }
                let chunk: Arc<[u8]> = buffer[..length].into();
                // Only a panic over there ends it early, and that is found below.
                let _ = to.send(Arc::clone(&chunk));
                whole.update(&chunk);
            };
            drop(to);
            let pieces = pieces.join().unwrap_or_default();
            result.map(|()| (total, Digest(whole.finalize().into()), pieces))
        });
        let (total, digest, pieces) = whole.map_err(read)?;
        if total != size || pieces.len() != layout.count() as usize {
            return Err(unstable());
        }
        (digest, pieces)
    };
    Ok(Measure { layout, root: merkle_root(&pieces), sha256: digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::PieceHashes;

    #[test]
    fn files_of_all_sizes_are_what_their_pieces_say() {
        let piece = PieceSize::new(16 * 1024).unwrap();
        for size in [0, 1, 16_383, 16_384, 16_385, 3 * 1024 * 1024 + 5] {
            let bytes: Vec<u8> = (0..size).map(|n| (n * 7 + n / 251) as u8).collect();
            let layout = Layout::new(size as u64, piece).unwrap();
            let hashes = bytes.chunks(16 * 1024).map(hash_piece).collect();
            let right = PieceHashes::new(layout, hashes).unwrap().root();
            let measure = measure_open(&bytes[..], Path::new("x"), size as u64, piece).unwrap();
            assert_eq!((measure.root, measure.sha256), (right, hash_piece(&bytes)), "{size}");
        }
    }

    #[test]
    fn a_file_that_grows_or_shrinks_is_not_measured() {
        let piece = PieceSize::new(16 * 1024).unwrap();
        for (there, told) in [(10, 11), (10, 9), (40_000, 40_001), (40_000, 39_999)] {
            let bytes = vec![0; there];
            let result = measure_open(&bytes[..], Path::new("x"), told, piece);
            assert!(matches!(result, Err(PublishError::Unstable(_))), "{there} {told}");
        }
    }
}
