use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::content::Layout;
use crate::wire::Digest;

/// Bytes of an open file that are to be sent.
#[derive(Debug, Clone)]
pub struct FileSpan {
    /// Open for reading; its cursor is not used.
    pub file: Arc<std::fs::File>,
    /// First byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// May this piece be written now?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Yes; end with [`PieceSink::finish`] or [`PieceSink::release`].
    Granted,
    /// It is already there and verified.
    Have,
    /// Somebody else is writing it.
    Busy,
}

/// What [`PieceSink::finish`] has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// The piece is right, and there.
    Right,
    /// With it, all of these could be judged, and are there: it, and those that were [open](Finished::Open).
    Together(Vec<u32>),
    /// That cannot be said before others are whole, with which it is judged. It stays claimed: [`PieceSink::release`] ends that
    /// if they do not come.
    Open,
    /// It is wrong, or one of those with which it was judged is. It is not there.
    Wrong,
}

/// See [`PieceSink::ready`].
pub type Ready<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Where received pieces go. Called from blocking threads. Bytes go to their place at once, so that memory does not
/// grow with piece size, but a piece counts only after `finish` said that it is right.
pub trait PieceSink: Send + Sync + 'static {
    /// How the file is cut.
    fn layout(&self) -> Layout;
    /// What to wait for before bytes of these pieces are read: until then nobody could say whether they are right. `false`
    /// if that was not to be known in time.
    fn ready(&self, _pieces: Range<u32>, _patience: Duration) -> Option<Ready<'_>> {
        None
    }
    /// Reserves a piece for one writer.
    fn claim(&self, piece: u32) -> Claim;
    /// Writes bytes of claimed pieces.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Ends a claim: compares the hash of all bytes written, and marks the piece as there if it is right.
    fn finish(&self, piece: u32, digest: Digest) -> io::Result<Finished>;
    /// Ends a claim without a whole piece, or one that is still [open](Finished::Open).
    fn release(&self, piece: u32);
}

/// What became of a body that was received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Payload bytes that came.
    pub bytes: u64,
    /// From the first byte of the request to the last of the body.
    pub elapsed: std::time::Duration,
    /// Pieces verified and stored by this transfer.
    pub pieces: Vec<u32>,
}

/// Why a transfer failed. Pieces verified before are kept; [`ReceiveError::received`] names them.
#[derive(Debug, thiserror::Error)]
#[error("{kind:?}: {message}")]
pub struct ReceiveError {
    /// For `completed.error`.
    pub kind: crate::wire::FailureKind,
    /// For people: what was attempted, on what.
    pub message: String,
    /// What came all the same.
    pub received: Received,
    /// The local failure behind [`crate::wire::FailureKind::Disk`].
    #[source]
    pub disk: Option<io::Error>,
}

impl ReceiveError {
    /// Nothing came, and it is not our disk's fault.
    pub(super) fn new(kind: crate::wire::FailureKind, message: String) -> Self {
        Self { kind, message, received: Received::default(), disk: None }
    }
}
