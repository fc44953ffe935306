use std::ops::Range;

use crate::wire::limits::{MAX_PIECE_SIZE, MAX_PIECES, MIN_ANY_PIECE_SIZE, MIN_PIECE_SIZE};

/// Bytes in a piece: a power of two from 16 KiB to 4 MiB, unless it is [`PieceSize::any`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PieceSize(u32);

impl PieceSize {
    /// Checks that `bytes` is a piece size.
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (MIN_PIECE_SIZE..=MAX_PIECE_SIZE).contains(&bytes)).then_some(Self(bytes))
    }

    /// The same for those who cut as they like: servers of version 2, and operators who have to match them. From 1 KiB
    /// to 4 MiB.
    pub fn any(bytes: u32) -> Option<Self> {
        (MIN_ANY_PIECE_SIZE..=MAX_PIECE_SIZE).contains(&bytes).then_some(Self(bytes))
    }

    /// Whether [`PieceSize::new`] would take it.
    pub fn is_usual(self) -> bool {
        Self::new(self.0).is_some()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1024;
    const GIB: u64 = 1024 * 1024 * 1024;

    fn layout(size: u64, piece: u32) -> Layout {
        Layout::new(size, PieceSize::new(piece).unwrap()).unwrap()
    }

    #[test]
    fn piece_sizes_are_powers_of_two_in_bounds() {
        for good in [16 * 1024, 32 * 1024, 64 * 1024, 4 * 1024 * 1024] {
            assert_eq!(PieceSize::new(good).unwrap().bytes(), good);
        }
        for bad in [0, 1, 8 * 1024, 16 * 1024 - 1, 16 * 1024 + 1, 100_000, 8 * 1024 * 1024, u32::MAX] {
            assert_eq!(PieceSize::new(bad), None, "{bad}");
        }
        for odd in [1024, 5000, 100_000, 250_000, 4 * 1024 * 1024] {
            assert_eq!(PieceSize::any(odd).unwrap().bytes(), odd);
            assert_eq!(PieceSize::any(odd).unwrap().is_usual(), odd.is_power_of_two() && odd >= 16 * 1024);
        }
        for bad in [0, 1023, 4 * 1024 * 1024 + 1, u32::MAX] {
            assert_eq!(PieceSize::any(bad), None, "{bad}");
        }
    }

    #[test]
    fn piece_sizes_grow_with_the_file() {
        for (size, piece) in [
            (0, 64 * KIB),
            (1, 64 * KIB),
            (32 * 1024 * KIB, 64 * KIB),
            (32 * 1024 * KIB + 511, 64 * KIB),
            (32 * 1024 * KIB + 512, 128 * KIB),
            (GIB, 2048 * KIB),
            (2 * GIB, 4096 * KIB),
            (8 * GIB, 4096 * KIB),
            (u64::MAX, 4096 * KIB),
        ] {
            assert_eq!(u64::from(PieceSize::for_file(size).bytes()), piece, "{size}");
        }
    }

    #[test]
    fn edges_of_small_files() {
        let piece = 16 * 1024;
        let empty = layout(0, piece);
        assert_eq!(
            (empty.count(), empty.bytes_of(0), empty.touched(0..0), empty.inside(0..0)),
            (0, 0..0, 0..0, 0..0)
        );
        assert_eq!(empty.inside(0..u64::MAX), 0..0);

        let one = layout(1, piece);
        assert_eq!((one.count(), one.bytes_of(0), one.bytes_of(1)), (1, 0..1, 1..1));
        assert_eq!((one.touched(0..u64::MAX), one.inside(0..1), one.inside(0..0)), (0..1, 0..1, 0..0));

        let exact = layout(2 * 16 * KIB, piece);
        assert_eq!((exact.count(), exact.bytes_of(1)), (2, 16 * KIB..32 * KIB));
        assert_eq!(exact.inside(0..32 * KIB - 1), 0..1);

        let more = layout(2 * 16 * KIB + 1, piece);
        assert_eq!((more.count(), more.bytes_of(2)), (3, 32 * KIB..32 * KIB + 1));
        assert_eq!(more.bytes_of_run(1..3), 16 * KIB..32 * KIB + 1);
        assert_eq!(more.inside(1..32 * KIB + 1), 1..3);
        assert_eq!(more.inside(1..32 * KIB), 1..2);
        assert_eq!(more.touched(16 * KIB - 1..16 * KIB + 1), 0..2);
        assert_eq!(more.touched(5..5), 0..0);
        assert_eq!(more.touched(32 * KIB + 1..u64::MAX), 0..0);
    }

    #[test]
    fn files_beyond_four_gibibytes() {
        let big = layout(5 * GIB + 1, 16 * 1024);
        assert_eq!(big.count(), 5 * 65536 + 1);
        assert_eq!(big.bytes_of(big.count() - 1), 5 * GIB..5 * GIB + 1);
        assert_eq!(big.piece_at(5 * GIB), 5 * 65536);
        assert_eq!(big.touched(4 * GIB - 1..4 * GIB + 1), 4 * 65536 - 1..4 * 65536 + 1);
    }

    #[test]
    fn the_number_of_pieces_is_bounded() {
        let most = u64::from(MAX_PIECES);
        for piece in [MIN_PIECE_SIZE, MAX_PIECE_SIZE] {
            let size = PieceSize::new(piece).unwrap();
            let largest = most * u64::from(piece);
            assert_eq!(Layout::new(largest, size).unwrap().count(), MAX_PIECES);
            assert_eq!(Layout::new(largest + 1, size), None);
            assert_eq!(Layout::new((1 << 32) * u64::from(piece), size), None);
            assert_eq!(Layout::new(u64::MAX, size), None);
        }
    }

    #[test]
    fn pieces_that_do_not_exist_have_no_bytes() {
        let file = layout(100 * KIB, 16 * 1024);
        for piece in [file.count(), file.count() + 1, 1 << 31, u32::MAX] {
            assert!(file.bytes_of(piece).is_empty(), "{piece}");
        }
        for offset in [100 * KIB, 100 * KIB + 1, 1 << 46, u64::MAX] {
            assert_eq!(file.piece_at(offset), file.count());
        }
    }

    proptest! {
        #[test]
        fn pieces_cover_the_file_once(size in 0u64..3_000_000, piece in 4096u32..260_000) {
            let file = Layout::new(size, PieceSize::any(piece).unwrap()).unwrap();
            let mut at = 0;
            for piece in 0..file.count() {
                let bytes = file.bytes_of(piece);
                prop_assert_eq!(bytes.start, at);
                prop_assert!(!bytes.is_empty());
                prop_assert_eq!(file.piece_at(bytes.start), piece);
                prop_assert_eq!(file.piece_at(bytes.end - 1), piece);
                at = bytes.end;
            }
            prop_assert_eq!(at, size);
        }

        #[test]
        fn touched_and_inside_are_what_they_say(
            size in 0u64..400_000,
            start in 0u64..450_000,
            length in prop_oneof![0u64..450_000, Just(u64::MAX / 2)],
        ) {
            let file = layout(size, 16 * 1024);
            let range = start..start + length;
            let all = || (0..file.count()).map(|piece| (piece, file.bytes_of(piece)));
            let touched: Vec<_> = all()
                .filter(|(_, b)| b.start.max(range.start) < b.end.min(range.end))
                .map(|(piece, _)| piece)
                .collect();
            prop_assert_eq!(file.touched(range.clone()).collect::<Vec<_>>(), touched);
            let inside: Vec<_> =
                all().filter(|(_, b)| range.start <= b.start && b.end <= range.end).map(|(piece, _)| piece).collect();
            prop_assert_eq!(file.inside(range).collect::<Vec<_>>(), inside);
        }
    }
}
