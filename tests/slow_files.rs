//! Files beyond 4 GiB. Takes minutes and some disk, so only with `PDTP_SLOW=1` (`make check-slow`).

pub mod common;

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use common::*;

const GIB: u64 = 1 << 30;

#[test]
fn sparse_file_beyond_4_gib_arrives_whole() {
    if std::env::var_os("PDTP_SLOW").is_none() {
        eprintln!("SKIPPED: a file of more than 4 GiB is only tested with PDTP_SLOW=1");
        return;
    }
    let (served, here) = (scratch(), scratch());
    let (source, target) = (served.path().join("sparse"), here.path().join("sparse"));
    let size = 4 * GIB + 123_457;
    let file = std::fs::File::create(&source).unwrap();
    file.set_len(size).unwrap();
    // Something on both sides of 2^32, and at both ends.
    for (seed, at) in [(1, 0), (2, 2 * GIB - 7), (3, 4 * GIB - 5000), (4, size - 10_000)] {
        file.write_all_at(&content(seed, 10_000), at).unwrap();
    }
    let server = Pdtpd::start(served.path(), &[""; 0]);
    let args = ["get", "--json", &server.uri("/sparse"), "-o", target.to_str().unwrap()];
    let run = pdtp_start(&args).finish(Duration::from_secs(500)).expect(0);
    assert_eq!(run.event("done")["size"], size);
    assert_same_file(&source, &target);
    let blocks = |path: &std::path::Path| path.metadata().unwrap().blocks() * 512;
    eprintln!("on disk: source {} bytes, copy {} bytes", blocks(&source), blocks(&target));
}
