//! A directory with more names than the server keeps in memory: listed completely, in bounded memory at both ends. With
//! `PDTP_SLOW=1` only (`make check-slow`); `bench/trees.py --only huge` does the same with five million.

pub mod common;

use std::path::Path;
use std::time::Duration;

use common::*;

/// Names of 100 characters: more than are kept for later pages (24 MiB).
const ENTRIES: usize = 300_000;
/// Most of `pdtp ls`, whatever it lists.
const MOST_CLIENT_MIB: u64 = 48;
/// Most of `pdtpd`: names for later pages, the catalogue's cache, and what a program takes anyway.
const MOST_SERVER_MIB: u64 = 160;
const LONG: Duration = Duration::from_secs(400);

#[test]
fn a_directory_larger_than_memory_is_to_hold_is_listed_whole() {
    if std::env::var_os("PDTP_SLOW").is_none() {
        eprintln!("SKIPPED: a directory of {ENTRIES} files is only tested with PDTP_SLOW=1");
        return;
    }
    // In memory where that can be had: a disk would be most of the time.
    let served = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let state = scratch();
    let name = |number: usize| format!("{:0100}", number.wrapping_mul(7919) % ENTRIES);
    for number in 0..ENTRIES {
        std::fs::File::create(served.path().join(name(number))).unwrap();
    }
    let server = Pdtpd::start(served.path(), &["--state", state.path().to_str().unwrap()]);
    let mut names: Vec<String> = (0..ENTRIES).map(name).collect();
    names.sort_unstable();
    // While it is scanned and hashed; and once more, sorted, which holds all of it.
    let listed = pdtp_start(&["ls", &server.uri("/")]).finish(LONG).expect(0).text();
    assert!(listed.lines().eq(names.iter().map(String::as_str)), "not all, or not in order");
    let client = largest_child_mib();
    let json = pdtp_start(&["ls", "--json", &server.uri("/")]).finish(LONG).expect(0).text();
    assert_eq!(json.lines().count(), ENTRIES);
    let client = client.max(largest_child_mib());
    eprintln!("pdtp: {client} MiB at most; pdtpd: {} MiB", peak_mib(&server));
    assert!(client <= MOST_CLIENT_MIB, "pdtp ls took {client} MiB");
    let reversed = pdtp_start(&["ls", "-r", &server.uri("/")]).finish(LONG).expect(0).text();
    assert!(reversed.lines().eq(names.iter().rev().map(String::as_str)), "not all, or not in reverse");
    let server_mib = peak_mib(&server);
    eprintln!("sorted: pdtp: {} MiB at most; pdtpd: {server_mib} MiB", largest_child_mib());
    assert!(server_mib <= MOST_SERVER_MIB, "pdtpd took {server_mib} MiB");
}

/// The most memory any child took that has ended (each test is a process of its own).
fn largest_child_mib() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: a plain system call, which fills in the struct that is passed to it.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    u64::try_from(usage.ru_maxrss).unwrap() / 1024
}

fn peak_mib(server: &Pdtpd) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(server.pid().to_string()).join("status"));
    let status = status.unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
