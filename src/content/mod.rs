//! What is distributed: files cut into pieces, the hash tree that names a version of a file, and the signatures that
//! say whose it is.
//!
//! No network and no files here: bytes, hashes and keys only. Everything is plain data and computation; time and
//! randomness are arguments.

mod date;
pub mod keys;
mod layout;
mod manifest;
mod pem;
mod piece_set;
mod proof;
pub mod rdl;
mod sidecar;
mod tree;
pub mod trust;
pub mod x509;

pub use date::{Date, DateError};
pub use layout::{Layout, PieceSize};
pub use manifest::{Manifest, ManifestError};
pub use piece_set::PieceSet;
pub use proof::BLOCK;
pub use sidecar::{SIDECAR_SUFFIX, Sidecar, SidecarError};
pub use tree::{PieceHasher, PieceHashes, hash_piece, merkle_root, root_of_single};
