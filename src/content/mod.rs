//! What is distributed: files cut into pieces, and the hash tree that names a version of a file.
//!
//! No network and no files here: bytes and hashes only. Everything is plain data and computation.

mod layout;
mod piece_set;
mod tree;

pub use layout::{Layout, PieceSize};
pub use piece_set::PieceSet;
pub use tree::{PieceHasher, PieceHashes, hash_piece, merkle_root, root_of_single};
