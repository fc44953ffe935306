use std::ops::Range;

use crate::wire::limits::{MAX_PIECE_SIZE, MAX_PIECES, MIN_PIECE_SIZE};

/// Bytes in a piece: a power of two from 16 KiB to 4 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PieceSize(u32);

impl PieceSize {
    /// Checks that `bytes` is a piece size.
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (MIN_PIECE_SIZE..=MAX_PIECE_SIZE).contains(&bytes)).then_some(Self(bytes))
    }

    /// The size for a file of `size` bytes where the operator fixed none: about 512 pieces a file, which is enough
    /// for a swarm to share well, but no piece below 64 KiB, where the cost per transfer would show.
    pub fn for_file(size: u64) -> Self {
        let bytes = (size / 512).next_power_of_two().clamp(64 * 1024, u64::from(MAX_PIECE_SIZE));
        Self(bytes as u32)
    }

    /// In bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

/// How a file of a certain size is cut into pieces. Pieces are numbered from 0; all but the last are whole; an
/// empty file has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    size: u64,
    piece: PieceSize,
}

impl Layout {
    /// `None` where there would be more than [`MAX_PIECES`]: what a stranger says of a file must not decide how much
    /// memory it takes here.
    pub fn new(size: u64, piece: PieceSize) -> Option<Self> {
        (size.div_ceil(u64::from(piece.0)) <= u64::from(MAX_PIECES)).then_some(Self { size, piece })
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Size of all pieces but the last.
    pub fn piece_size(&self) -> PieceSize {
        self.piece
    }

    /// Number of pieces.
    pub fn count(&self) -> u32 {
        // Checked in `new`.
        self.size.div_ceil(u64::from(self.piece.0)) as u32
    }

    /// Offset of a piece's first byte.
    pub fn start(&self, piece: u32) -> u64 {
        u64::from(piece) * u64::from(self.piece.0)
    }

    /// The bytes of one piece.
    pub fn bytes_of(&self, piece: u32) -> Range<u64> {
        self.bytes_of_run(piece..piece.saturating_add(1))
    }

    /// The bytes of a run of pieces.
    pub fn bytes_of_run(&self, run: Range<u32>) -> Range<u64> {
        self.start(run.start).min(self.size)..self.start(run.end).min(self.size)
    }

    /// The piece that holds the byte at `offset`; one that does not exist where `offset` is past the end.
    pub fn piece_at(&self, offset: u64) -> u32 {
        if offset < self.size { (offset / u64::from(self.piece.0)) as u32 } else { self.count() }
    }

    /// All pieces that `bytes` touches.
    pub fn touched(&self, bytes: Range<u64>) -> Range<u32> {
        let end = bytes.end.min(self.size);
        if bytes.start >= end {
            return 0..0;
        }
        self.piece_at(bytes.start)..self.piece_at(end - 1) + 1
    }

    /// All pieces that lie wholly in `bytes`; the last piece does if its last byte does.
    pub fn inside(&self, bytes: Range<u64>) -> Range<u32> {
        let piece = u64::from(self.piece.0);
        let first = bytes.start.div_ceil(piece);
        let end = if bytes.end >= self.size { u64::from(self.count()) } else { bytes.end / piece };
        if first >= end { 0..0 } else { first as u32..end as u32 }
    }
}
