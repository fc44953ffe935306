//! A directory with more names than the server keeps in memory: listed completely, in bounded memory at both ends. With
//! `PDTP_SLOW=1` only (`make check-slow`); `bench/trees.py --only huge` does the same with five million.

pub mod common;

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::Command;
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
    let out = scratch();
    let list = |options: &[&str], to: &str| -> PathBuf {
        let file = out.path().join(to);
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" ls \"$@\" >\"$LISTED\"", env!("CARGO_BIN_EXE_pdtp")]);
        command.args(options).arg(server.uri("/")).env("LISTED", &file).env("XDG_CONFIG_HOME", out.path());
        Proc::spawn(command).finish(LONG).expect(0);
        file
    };
    // Nothing large is kept here before: to the system, a program has taken what the one took that started it.
    // While it is scanned and hashed; and once more, sorted, which holds all of it.
    let plain = list(&[], "plain");
    let json = list(&["--json"], "json");
    let client = largest_child_mib();
    eprintln!("pdtp: {client} MiB at most; pdtpd: {} MiB", peak_mib(&server));
    assert!(client <= MOST_CLIENT_MIB, "pdtp ls took {client} MiB");
    let reversed = list(&["-r"], "reversed");
    // All numbers are there, and names are in their order.
    let sorted = (0..ENTRIES).map(|number| format!("{number:0100}"));
    assert!(lines(&plain).eq(sorted.clone()), "not all, or not in order");
    assert!(lines(&reversed).eq(sorted.rev()), "not all, or not in reverse");
    assert_eq!(lines(&json).count(), ENTRIES);
    let server_mib = peak_mib(&server);
    eprintln!("sorted: pdtp: {} MiB at most; pdtpd: {server_mib} MiB", largest_child_mib());
    assert!(server_mib <= MOST_SERVER_MIB, "pdtpd took {server_mib} MiB");
}

fn lines(file: &Path) -> impl Iterator<Item = String> {
    std::io::BufReader::new(std::fs::File::open(file).unwrap()).lines().map(Result::unwrap)
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
