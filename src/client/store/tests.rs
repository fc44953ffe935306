use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::content::{PieceSize, hash_piece};

const PIECE: u32 = 16 * 1024;

/// Bytes that differ from piece to piece.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i / 7 + i / PIECE as usize * 31) as u8).collect()
}

fn hashes_of(content: &[u8]) -> Arc<PieceHashes> {
    let layout = Layout::new(content.len() as u64, PieceSize::new(PIECE).unwrap()).unwrap();
    let hashes = content.chunks(PIECE as usize).map(hash_piece).collect();
    Arc::new(PieceHashes::new(layout, hashes).unwrap())
}

struct Scratch {
    dir: TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, hashes: &Arc<PieceHashes>, overwrite: Overwrite) -> Result<PieceStore, StoreError> {
        PieceStore::open(
            &self.path("file"),
            "pdtp://host/file",
            Arc::clone(hashes),
            overwrite,
            &mut |_, _| ControlFlow::Continue(()),
        )
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn put(store: &PieceStore, content: &[u8], piece: u32) {
    let bytes = store.layout().bytes_of(piece);
    assert_eq!(store.claim(piece), Claim::Granted);
    let data = &content[bytes.start as usize..bytes.end as usize];
    store.write_at(bytes.start, data).unwrap();
    assert_eq!(PieceSink::finish(store, piece, hash_piece(data)).unwrap(), Finished::Right);
}

fn put_all(store: &PieceStore, content: &[u8]) {
    for piece in 0..store.layout().count() {
        if !store.has(piece) {
            put(store, content, piece);
        }
    }
}

#[test]
fn receives_every_size_and_renames() {
    let piece = PIECE as usize;
    for size in [0, 1, piece - 1, piece, piece + 1, 3 * piece, 3 * piece + 5] {
        let scratch = Scratch::new();
        let content = content(size);
        let hashes = hashes_of(&content);
        let store = scratch.open(&hashes, Overwrite::Resume).unwrap();
        assert_eq!(store.found(), 0);
        put_all(&store, &content);
        assert!(store.is_complete());
        assert_eq!(store.verified_bytes(), size as u64);
        store.finish(Some(1_000_000_000)).unwrap();
        store.finish(None).unwrap();
        assert_eq!(scratch.names(), ["file"], "size {size}");
        assert_eq!(std::fs::read(scratch.path("file")).unwrap(), content);
        let modified = std::fs::metadata(scratch.path("file")).unwrap().modified().unwrap();
        assert_eq!(modified, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    }
}

#[test]
fn a_wrong_piece_does_not_count_and_can_come_again() {
    let scratch = Scratch::new();
    let content = content(2 * PIECE as usize);
    let store = scratch.open(&hashes_of(&content), Overwrite::Resume).unwrap();
    assert_eq!(store.claim(0), Claim::Granted);
    assert_eq!(store.claim(0), Claim::Busy, "one writer at a time");
    store.write_at(0, b"lies").unwrap();
    assert_eq!(PieceSink::finish(&store, 0, hash_piece(b"lies")).unwrap(), Finished::Wrong);
    assert!(!store.has(0));
    assert!(store.span(0..1).is_none());
    assert_eq!(store.read_at(0, &mut [0; 10]).unwrap(), 0);
    put(&store, &content, 0);
    assert_eq!(store.claim(0), Claim::Have, "a verified piece is never written again");
    assert_eq!(store.span(0..1).unwrap().len, u64::from(PIECE));
    assert!(store.span(0..2).is_none());
    let mut buffer = vec![0; 2 * PIECE as usize];
    assert_eq!(
        store.read_at(10, &mut buffer).unwrap(),
        PIECE as usize - 10,
        "up to what is verified in a row"
    );
    assert_eq!(buffer[..100], content[10..110]);
}

#[test]
fn a_released_claim_is_free_again() {
    let scratch = Scratch::new();
    let content = content(PIECE as usize);
    let store = scratch.open(&hashes_of(&content), Overwrite::Resume).unwrap();
    assert_eq!(store.claim(0), Claim::Granted);
    store.release(0);
    put(&store, &content, 0);
    assert!(store.is_complete());
}

#[test]
fn resumes_with_what_is_right_whatever_the_state_file_says() {
    let scratch = Scratch::new();
    let content = content(5 * PIECE as usize + 9);
    let hashes = hashes_of(&content);
    {
        let store = scratch.open(&hashes, Overwrite::Resume).unwrap();
        for piece in [0, 2, 3, 5] {
            put(&store, &content, piece);
        }
        // No save_state: as after kill -9.
    }
    // Somebody scribbles into one of them.
    let part = OpenOptions::new().write(true).open(scratch.path("file.part")).unwrap();
    write_all_at(&part, b"scribble", 2 * u64::from(PIECE) + 77).unwrap();
    std::fs::remove_file(scratch.path("file.part.pdtp")).unwrap();
    let store = scratch.open(&hashes, Overwrite::Resume).unwrap();
    assert_eq!(store.pieces().iter().collect::<Vec<_>>(), [0, 3, 5]);
    assert_eq!(store.found(), 2 * u64::from(PIECE) + 9);
    put_all(&store, &content);
    store.finish(None).unwrap();
    assert_eq!(std::fs::read(scratch.path("file")).unwrap(), content);
}

#[test]
fn a_part_file_of_another_version_gives_what_is_the_same() {
    let scratch = Scratch::new();
    let old = content(6 * PIECE as usize);
    {
        let store = scratch.open(&hashes_of(&old), Overwrite::Resume).unwrap();
        put_all(&store, &old);
    }
    let mut new = old[..4 * PIECE as usize + 100].to_vec();
    new[PIECE as usize] ^= 1;
    let store = scratch.open(&hashes_of(&new), Overwrite::Resume).unwrap();
    assert_eq!(store.pieces().iter().collect::<Vec<_>>(), [0, 2, 3, 4], "also the shorter last piece");
    put_all(&store, &new);
    store.finish(None).unwrap();
    assert_eq!(std::fs::read(scratch.path("file")).unwrap(), new);
}

#[test]
fn a_complete_file_is_left_alone() {
    let scratch = Scratch::new();
    let content = content(3 * PIECE as usize + 1);
    let hashes = hashes_of(&content);
    std::fs::write(scratch.path("file"), &content).unwrap();
    for overwrite in [Overwrite::Never, Overwrite::Resume] {
        let store = scratch.open(&hashes, overwrite).unwrap();
        assert!(store.is_complete());
        assert_eq!(store.found(), content.len() as u64);
        store.finish(Some(5)).unwrap();
        store.discard().unwrap();
        assert!(store.span(0..4).is_some());
        assert_eq!(scratch.names(), ["file"]);
        assert_eq!(std::fs::read(scratch.path("file")).unwrap(), content);
    }
}

#[test]
fn another_file_is_replaced_only_if_allowed_and_only_at_the_end() {
    let scratch = Scratch::new();
    let new = content(3 * PIECE as usize);
    let mut old = new.clone();
    old[PIECE as usize + 3] ^= 0xff;
    old.extend_from_slice(b"more");
    std::fs::write(scratch.path("file"), &old).unwrap();
    let hashes = hashes_of(&new);
    assert!(matches!(scratch.open(&hashes, Overwrite::Never), Err(StoreError::Exists(_))));
    assert_eq!(scratch.names(), ["file"]);

    let store = scratch.open(&hashes, Overwrite::Resume).unwrap();
    assert_eq!(store.pieces().iter().collect::<Vec<_>>(), [0, 2], "what is the same is taken over");
    assert_eq!(std::fs::read(scratch.path("file")).unwrap(), old);
    put(&store, &new, 1);
    assert_eq!(std::fs::read(scratch.path("file")).unwrap(), old);
    store.finish(None).unwrap();
    assert_eq!(std::fs::read(scratch.path("file")).unwrap(), new);
}

#[test]
fn replace_starts_from_nothing() {
    let scratch = Scratch::new();
    let content = content(2 * PIECE as usize);
    let hashes = hashes_of(&content);
    std::fs::write(scratch.path("file"), &content).unwrap();
    std::fs::write(scratch.path("file.part"), &content).unwrap();
    let store = scratch.open(&hashes, Overwrite::Replace).unwrap();
    assert_eq!((store.found(), store.pieces().count()), (0, 0));
}

#[test]
fn two_downloads_to_one_name_do_not_mix() {
    let scratch = Scratch::new();
    let content = content(PIECE as usize);
    let hashes = hashes_of(&content);
    let first = scratch.open(&hashes, Overwrite::Resume).unwrap();
    assert!(matches!(scratch.open(&hashes, Overwrite::Resume), Err(StoreError::Locked(_))));
    put_all(&first, &content);
    first.finish(None).unwrap();
    // The finished file is free for others while the first still serves it.
    assert!(scratch.open(&hashes, Overwrite::Resume).unwrap().is_complete());
}

#[test]
fn a_finished_file_that_somebody_touches_is_not_offered() {
    let scratch = Scratch::new();
    let content = content(2 * PIECE as usize);
    let store = scratch.open(&hashes_of(&content), Overwrite::Resume).unwrap();
    put_all(&store, &content);
    store.finish(Some(1_000_000_000)).unwrap();
    assert!(store.span(0..2).is_some());
    let file = OpenOptions::new().append(true).open(scratch.path("file")).unwrap();
    io::Write::write_all(&mut &file, b"x").unwrap();
    assert!(!store.is_offerable());
    assert!(store.span(0..2).is_none());
}

#[test]
fn discard_leaves_nothing() {
    let scratch = Scratch::new();
    let content = content(2 * PIECE as usize);
    let store = scratch.open(&hashes_of(&content), Overwrite::Resume).unwrap();
    put(&store, &content, 1);
    store.save_state().unwrap();
    assert_eq!(scratch.names(), ["file.part", "file.part.pdtp"]);
    store.discard().unwrap();
    assert_eq!(scratch.names(), [""; 0]);
    assert_eq!(store.claim(0), Claim::Busy, "and nobody writes into it any more");
}

#[test]
fn the_state_file_says_what_it_is() {
    let scratch = Scratch::new();
    let content = content(2 * PIECE as usize + 1);
    let hashes = hashes_of(&content);
    let store = scratch.open(&hashes, Overwrite::Resume).unwrap();
    put(&store, &content, 2);
    store.save_state().unwrap();
    let state: State =
        serde_json::from_slice(&std::fs::read(scratch.path("file.part.pdtp")).unwrap()).unwrap();
    let expected = State {
        format: 1,
        uri: "pdtp://host/file".to_owned(),
        root: Some(hashes.root()),
        size: content.len() as u64,
        piece_size: PIECE,
        done: 1,
    };
    assert_eq!(state, expected);
}

#[test]
fn names_that_are_no_files_are_refused() {
    let scratch = Scratch::new();
    let hashes = hashes_of(b"x");
    std::fs::create_dir(scratch.path("file")).unwrap();
    assert!(matches!(scratch.open(&hashes, Overwrite::Resume), Err(StoreError::NotAFile(_))));
}

#[cfg(unix)]
#[test]
fn a_planted_symlink_is_not_written_through() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("victim"), "precious").unwrap();
    std::os::unix::fs::symlink(scratch.path("victim"), scratch.path("file.part")).unwrap();
    assert!(matches!(scratch.open(&hashes_of(b"x"), Overwrite::Resume), Err(StoreError::Io { .. })));
    assert_eq!(std::fs::read(scratch.path("victim")).unwrap(), b"precious");
}

fn small(scratch: &Scratch, content: &[u8]) -> PieceStore {
    PieceStore::small(&scratch.path("file"), "pdtp://host/file", hashes_of(content), Some(1_000_000_000))
        .unwrap()
}

#[test]
fn a_small_file_has_its_name_as_soon_as_its_piece_was_right() {
    let (scratch, content) = (Scratch::new(), content(1000));
    let store = small(&scratch, &content);
    assert_eq!(scratch.names(), [] as [&str; 0], "nothing before the first bytes");
    assert!(!store.is_complete() && !store.has_settled());
    // Wrong bytes never get the name, and are overwritten by the right ones.
    assert_eq!(store.claim(0), Claim::Granted);
    store.write_at(0, &[9; 1000]).unwrap();
    assert_eq!(PieceSink::finish(&store, 0, hash_piece(&[9; 1000])).unwrap(), Finished::Wrong);
    assert_eq!(scratch.names(), ["file.part"]);
    assert!(!store.has_settled() && store.span(0..1).is_none());
    // In portions, given up and begun anew.
    assert_eq!(store.claim(0), Claim::Granted);
    store.write_at(0, &content[..300]).unwrap();
    store.release(0);
    put(&store, &content, 0);
    assert!(store.is_complete() && store.has_settled() && store.is_offerable());
    assert_eq!(scratch.names(), ["file"]);
    assert_eq!(std::fs::read(scratch.path("file")).unwrap(), content);
    let modified = scratch.path("file").metadata().unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 1_000_000_000);
    store.finish(None).unwrap();
    assert_eq!(store.span(0..1).unwrap().len, 1000);
    assert!(
        scratch.open(&hashes_of(&content), Overwrite::Never).unwrap().is_complete(),
        "nobody holds it locked"
    );
}

#[test]
fn what_a_small_file_meets_on_the_disk() {
    let (scratch, content) = (Scratch::new(), content(1000));
    // What has come between the look and the first byte: a longer part, which is nobody's.
    std::fs::write(scratch.path("file.part"), vec![1; 5000]).unwrap();
    put(&small(&scratch, &content), &content, 0);
    assert_eq!(std::fs::read(scratch.path("file")).unwrap(), content);
    // Or one that somebody writes to.
    std::fs::remove_file(scratch.path("file")).unwrap();
    let other = scratch.open(&hashes_of(&content), Overwrite::Resume).unwrap();
    let store = small(&scratch, &content);
    assert_eq!(store.claim(0), Claim::Granted);
    let error = store.write_at(0, &content).unwrap_err();
    assert!(error.to_string().contains("another download"), "{error}");
    drop(other);
    // Or a symlink somebody has put there.
    #[cfg(unix)]
    {
        std::fs::remove_file(scratch.path("file.part")).unwrap();
        std::fs::write(scratch.path("victim"), "precious").unwrap();
        std::os::unix::fs::symlink(scratch.path("victim"), scratch.path("file.part")).unwrap();
        assert!(store.write_at(0, &content).is_err());
        assert_eq!(std::fs::read(scratch.path("victim")).unwrap(), b"precious");
    }
    // Called off before anything came: nothing is left.
    let scratch = Scratch::new();
    let store = small(&scratch, &content);
    store.save_state().unwrap();
    store.discard().unwrap();
    assert_eq!(scratch.names(), [] as [&str; 0]);
}

#[test]
fn only_a_file_of_one_piece_is_small() {
    let target = Scratch::new().path("file");
    for (size, is_small) in [(0, false), (1, true), (PIECE as usize, true), (PIECE as usize + 1, false)] {
        let store = PieceStore::small(&target, "", hashes_of(&content(size)), None);
        assert_eq!(store.is_some(), is_small, "{size}");
    }
}

#[test]
fn holes_of_a_sparse_file_count_when_zeros_are_right() {
    let scratch = Scratch::new();
    let mut content = vec![0; 64 * PIECE as usize + 5];
    content[10 * PIECE as usize] = 1;
    let hashes = hashes_of(&content);
    {
        let store = scratch.open(&hashes, Overwrite::Resume).unwrap();
        assert_eq!(store.found(), 0);
        put(&store, &content, 10);
    }
    assert!(scratch.open(&hashes, Overwrite::Resume).unwrap().is_complete());
    let other = vec![7; content.len()];
    assert_eq!(scratch.open(&hashes_of(&other), Overwrite::Resume).unwrap().found(), 0);
}

#[test]
fn an_anonymous_store_has_no_name() {
    let scratch = Scratch::new();
    let content = content(PIECE as usize + 1);
    let store = PieceStore::anonymous(scratch.dir.path(), hashes_of(&content)).unwrap();
    assert_eq!(scratch.names(), [""; 0]);
    put_all(&store, &content);
    store.save_state().unwrap();
    store.finish(None).unwrap();
    let mut read = vec![0; content.len()];
    assert_eq!(store.read_at(0, &mut read).unwrap(), content.len());
    assert_eq!(read, content);
}

#[test]
fn checking_reports_progress_to_the_end() {
    let scratch = Scratch::new();
    let content = content(400 * PIECE as usize);
    let hashes = hashes_of(&content);
    std::fs::write(scratch.path("file"), &content).unwrap();
    let mut last = (0, 0);
    let store = PieceStore::open(&scratch.path("file"), "", hashes, Overwrite::Resume, &mut |done, total| {
        assert!(done <= total);
        last = (last.0.max(done), total);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(store.is_complete());
    assert_eq!(last.1, content.len() as u64);
    assert!(last.0 > 0);
}

#[test]
fn where_hashes_are_not_told_nothing_counts_before_somebody_says_so() {
    let content = content(3 * PIECE as usize + 5);
    let known = hashes_of(&content);
    let untold = Arc::new(PieceHashes::untold(known.layout()));
    let scratch = Scratch::new();
    // Neither a copy nor a part is believed.
    std::fs::write(scratch.path("file"), &content).unwrap();
    std::fs::write(scratch.path("file.part"), &content).unwrap();
    let store = scratch.open(&untold, Overwrite::Resume).unwrap();
    assert_eq!((store.found(), store.root()), (0, None));
    assert!(std::fs::read(scratch.path("file.part")).unwrap().iter().all(|&byte| byte == 0), "begun anew");
    let bytes = |piece: u32| {
        let bytes = known.layout().bytes_of(piece);
        (bytes.start, &content[bytes.start as usize..bytes.end as usize])
    };
    for piece in 0..4 {
        let (start, data) = bytes(piece);
        assert_eq!(store.claim(piece), Claim::Granted);
        store.write_at(start, data).unwrap();
        let finished = PieceSink::finish(&store, piece, hash_piece(data)).unwrap();
        assert_eq!(finished, Finished::Wrong, "nobody has said that it is right");
        assert_eq!(store.claim(piece), Claim::Granted);
        assert_eq!(store.read_at(start, &mut [0; 8]).unwrap(), 0);
        assert!(store.span(piece..piece + 1).is_none());
        store.approve(piece, hash_piece(data));
        assert_eq!(store.digest_of(piece), Some(hash_piece(data)));
        assert!(store.span(piece..piece + 1).is_some());
    }
    assert_eq!((store.is_complete(), store.root()), (true, Some(known.root())));
    store.finish(None).unwrap();
    assert_eq!(std::fs::read(scratch.path("file")).unwrap(), content);

    // Where they are known, nobody's word counts.
    let other = Scratch::new();
    let store = other.open(&known, Overwrite::Resume).unwrap();
    assert_eq!(store.claim(0), Claim::Granted);
    store.approve(0, hash_piece(b"lies"));
    assert!(!store.has(0));
}

#[test]
fn checking_can_be_called_off_and_loses_nothing() {
    let scratch = Scratch::new();
    let content = content(400 * PIECE as usize);
    let hashes = hashes_of(&content);
    std::fs::write(scratch.path("file.part"), &content).unwrap();
    let mut calls = 0;
    let mut stop = |_, _| {
        calls += 1;
        ControlFlow::Break(())
    };
    let target = scratch.path("file");
    let result = PieceStore::open(&target, "", Arc::clone(&hashes), Overwrite::Resume, &mut stop);
    assert!(matches!(result, Err(StoreError::CalledOff)), "{result:?}");
    assert_eq!(calls, 1);
    let store = scratch.open(&hashes, Overwrite::Resume).unwrap();
    assert!(store.is_complete());
    assert!(matches!(PieceStore::discard_part(&target), Err(StoreError::Locked(_))));
    drop(store);
    PieceStore::discard_part(&target).unwrap();
    assert_eq!(scratch.names(), [""; 0]);
    PieceStore::discard_part(&target).unwrap();
}

/// A store of 40 pieces: nothing is known but the roots of its three blocks.
fn known_by_roots(content: &[u8]) -> (Scratch, PieceStore, Arc<PieceHashes>) {
    let (scratch, known) = (Scratch::new(), hashes_of(content));
    let growing = Arc::new(PieceHashes::growing(known.layout(), known.root()));
    let store = scratch.open(&growing, Overwrite::Resume).unwrap();
    assert!(store.learn_roots(0, 64, &known.roots(0, 64).unwrap(), &[]));
    (scratch, store, known)
}

fn come(store: &PieceStore, content: &[u8], piece: u32) -> Finished {
    let bytes = store.layout().bytes_of(piece);
    let data = &content[bytes.start as usize..bytes.end as usize];
    assert_eq!(store.claim(piece), Claim::Granted);
    store.write_at(bytes.start, data).unwrap();
    PieceSink::finish(store, piece, hash_piece(data)).unwrap()
}

#[test]
fn pieces_of_which_only_the_root_is_known_count_when_their_block_is_whole() {
    let content = content(40 * PIECE as usize - 7);
    let (scratch, store, known) = known_by_roots(&content);
    // In any order, and the blocks mixed.
    for piece in (1..16).rev().chain(32..39) {
        assert_eq!(come(&store, &content, piece), Finished::Open);
        assert_eq!((store.has(piece), store.claim(piece)), (false, Claim::Busy));
        assert_eq!(store.read_at(u64::from(piece * PIECE), &mut [0; 8]).unwrap(), 0);
    }
    assert_eq!(store.verified_bytes(), 0);
    assert_eq!(come(&store, &content, 0), Finished::Together((0..16).collect()));
    assert_eq!(come(&store, &content, 39), Finished::Together((32..40).collect()));
    assert_eq!(store.pieces().count(), 24);
    assert!((0..16).all(|piece| store.digest_of(piece) == known.get(piece)));
    (16..31).for_each(|piece| assert_eq!(come(&store, &content, piece), Finished::Open));
    assert_eq!(come(&store, &content, 31), Finished::Together((16..32).collect()));
    assert!(store.is_complete());
    store.finish(None).unwrap();
    assert_eq!(std::fs::read(scratch.path("file")).unwrap(), content);
}

#[test]
fn a_block_with_a_wrong_piece_counts_for_nothing_and_can_come_again() {
    let content = content(40 * PIECE as usize);
    let (_scratch, store, known) = known_by_roots(&content);
    let mut spoilt = content.clone();
    spoilt[5 * PIECE as usize] ^= 1;
    (0..15).for_each(|piece| assert_eq!(come(&store, &spoilt, piece), Finished::Open));
    assert_eq!(come(&store, &spoilt, 15), Finished::Wrong);
    assert_eq!((store.verified_bytes(), store.hashes().get(0)), (0, None));
    // By their hashes it is found out which is wrong, and the others stay.
    (0..8).for_each(|piece| assert_eq!(come(&store, &spoilt, piece), Finished::Open));
    let all: Vec<_> = (0..16).map(|piece| known.get(piece).unwrap()).collect();
    assert!(store.learn(0, 16, &all, &known.prove(0, 16).unwrap()));
    assert_eq!(come(&store, &spoilt, 8), Finished::Together(vec![0, 1, 2, 3, 4, 6, 7, 8]));
    assert_eq!(come(&store, &spoilt, 5), Finished::Wrong);
    assert_eq!(come(&store, &content, 5), Finished::Right);
    assert_eq!(store.pieces().count(), 9);
}

#[test]
fn whoever_gives_up_on_open_pieces_leaves_them_to_others() {
    let content = content(40 * PIECE as usize);
    let (_scratch, store, known) = known_by_roots(&content);
    (16..20).for_each(|piece| assert_eq!(come(&store, &content, piece), Finished::Open));
    (16..18).for_each(|piece| store.release(piece));
    // Nobody could say that they are right.
    assert_eq!((store.verified_bytes(), store.claim(18)), (0, Claim::Busy));
    assert_eq!(come(&store, &content, 16), Finished::Open);
    let all: Vec<_> = (16..32).map(|piece| known.get(piece).unwrap()).collect();
    assert!(store.learn(16, 16, &all, &known.prove(16, 16).unwrap()));
    store.release(18);
    store.release(16);
    assert_eq!(store.pieces().iter().collect::<Vec<_>>(), [16, 18]);
    assert_eq!(come(&store, &content, 17), Finished::Together(vec![19, 17]));
}
