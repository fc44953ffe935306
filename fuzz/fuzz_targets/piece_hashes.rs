//! What a server says of a file: its size and cut, and `tell_hashes`, until they are verified against the root.
//!
//! Input: size of the file (8 bytes), piece size (4 bytes), then the base64 text of the hashes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pdtp::content::{Layout, PieceHashes, PieceSet, PieceSize, merkle_root};
use pdtp::wire::{Digest, Message, limits};

fuzz_target!(|data: &[u8]| {
    let Some((size, rest)) = data.split_first_chunk::<8>() else { return };
    let Some((piece, text)) = rest.split_first_chunk::<4>() else { return };
    let Some(text) = std::str::from_utf8(text).ok() else { return };
    let members = serde_json::json!({
        "url": "http://h/a", "root": Digest::default(), "first": 0, "hashes": text,
    });
    let json = serde_json::json!(["tell_hashes", members]).to_string();
    let Ok(Message::TellHashes(told)) = Message::parse(json.as_bytes()) else { return };
    assert!(told.hashes.0.len() <= 32 * limits::MAX_HASHES as usize);
    let hashes: Vec<_> = told.hashes.0.chunks(32).map(|h| Digest(h.try_into().unwrap())).collect();

    let Some(piece) = PieceSize::new(u32::from_be_bytes(*piece)) else { return };
    let Some(layout) = Layout::new(u64::from_be_bytes(*size), piece) else { return };
    assert!(layout.count() <= limits::MAX_PIECES);
    assert_eq!(layout.touched(0..u64::MAX), 0..layout.count());
    assert_eq!(layout.bytes_of_run(0..layout.count()), 0..layout.size());

    let root = merkle_root(&hashes);
    let verified = PieceHashes::verified(layout, hashes.clone(), &root);
    assert_eq!(verified.is_some(), hashes.len() == layout.count() as usize);
    assert_eq!(PieceHashes::verified(layout, hashes.clone(), &told.root), None);
    // In parts: what is learned is right, and what belongs there is learned.
    let growing = PieceHashes::growing(layout, root);
    let (block, proof) = hashes.split_at(hashes.len().min(64));
    if growing.learn(0, 64, block, proof) {
        assert!((0..).zip(block).all(|(piece, hash)| growing.is_right(piece, hash)));
    }
    if let Some(verified) = verified {
        for (first, block) in (0..).step_by(64).zip(hashes.chunks(64)) {
            assert!(growing.learn(first, 64, block, &verified.prove(first, 64).unwrap()));
        }
        assert_eq!(growing.first_unknown(0..layout.count()), None);
        let mut set = PieceSet::new(layout.count());
        for (piece, hash) in (0..).zip(&hashes) {
            assert!(verified.is_right(piece, hash) && set.insert(piece));
        }
        assert!(set.is_full());
    }
});
