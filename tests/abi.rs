//! The promises to compiled programs: what was exported, and where fields lie, is compared with what is checked in.
//!
//! `make header` (PDTP_UPDATE_HEADER=1) makes `src/ffi/pdtp.map` and `tests/abi.txt` anew, together with the header.

#![cfg(unix)]

#[path = "common/abi.rs"]
pub mod abi;
#[path = "common/c.rs"]
pub mod c;
pub mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use abi::Abi;
use c::{library, source};
use common::*;

fn header() -> Abi {
    Abi::of_header(&std::fs::read_to_string(source("include/pdtp.h")).unwrap())
}

/// Compares what a file should be with what it is; writes it when that is wanted.
fn is_current(file: &str, made: &str) {
    let path = source(file);
    if std::env::var_os("PDTP_UPDATE_HEADER").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let (made_lines, kept_lines): (BTreeSet<_>, BTreeSet<_>) =
        (made.lines().collect(), kept.lines().collect());
    let new: Vec<_> = made_lines.difference(&kept_lines).collect();
    let gone: Vec<_> = kept_lines.difference(&made_lines).collect();
    assert!(made == kept, "{file} is stale: run `make header`\nnew: {new:#?}\ngone: {gone:#?}");
}

#[test]
fn the_header_is_understood() {
    let abi = header();
    assert_eq!(
        abi.functions["pdtp_client_set"],
        "int pdtp_client_set(pdtp_client *client, const char *name, const char *value)"
    );
    assert_eq!(abi.since["pdtp_uri_part"], "0.1.0");
    assert_eq!(abi.structs["pdtp_option"], ["size", "name", "help", "preset", "kind", "runtime"]);
    assert!(abi.constants.contains("PDTP_E_NULL") && abi.constants.contains("PDTP_DEPTH_ALL"));
    assert!(abi.callbacks["pdtp_data_callback"].contains("uint64_t offset"));
    assert_eq!(abi.functions.keys().cloned().collect::<BTreeSet<_>>(), c::header_prototypes());
}

#[test]
fn every_function_says_since_when() {
    let header = header();
    let version: Vec<u32> = env!("CARGO_PKG_VERSION").split('.').map(|n| n.parse().unwrap()).collect();
    for (name, since) in &header.since {
        let since: Vec<u32> = since.split('.').filter_map(|n| n.parse().ok()).collect();
        assert!(since.len() == 3 && since <= version, "the comment of {name} must end with \"Since X.Y.Z.\"");
    }
}

#[test]
fn the_list_of_symbols_is_current() {
    is_current("src/ffi/pdtp.map", &header().map());
}

#[test]
fn the_list_of_the_abi_is_current() {
    if cfg!(not(all(target_os = "linux", target_pointer_width = "64"))) {
        eprintln!("SKIPPED: tests/abi.txt is of 64-bit Linux");
        return;
    }
    is_current("tests/abi.txt", &header().list());
}

fn symbols(library: &Path) -> BTreeMap<String, String> {
    let mut command = Command::new("nm");
    command.args(["-D", "--defined-only", "--with-symbol-versions", "--format=posix"]).arg(library);
    let listed = Proc::spawn(command).finish(PATIENCE).expect(0).text();
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    let split = |name: &str| match name.split_once("@@") {
        Some((name, version)) => (name.to_owned(), version.to_owned()),
        None => (name.to_owned(), String::new()),
    };
    names.map(split).filter(|(name, _)| !name.starts_with("PDTP_")).collect()
}

/// As `make lib` links it, out of the static library of this build.
#[cfg(target_os = "linux")]
#[test]
fn symbols_have_versions_and_nothing_else_is_exported() {
    let dir = scratch();
    let linked = dir.path().join("libpdtp.so");
    let archive = library().with_extension("a");
    let header = header();
    let map = dir.path().join("pdtp.map");
    std::fs::write(&map, header.map()).unwrap();
    let mut command = Command::new("cc");
    command.arg("-shared").args(header.functions.keys().map(|name| format!("-Wl,-u,{name}")));
    command.arg("-o").arg(&linked).arg(&archive).arg(format!("-Wl,--version-script={}", map.display()));
    command.args(["-Wl,--gc-sections", "-Wl,-z,defs", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]);
    Proc::spawn(command).finish(PATIENCE * 2).expect(0);
    let wanted = header.since.iter().map(|(name, since)| (name.clone(), format!("PDTP_{since}"))).collect();
    assert_eq!(symbols(&linked), wanted);
}

/// What the last release promised is still there. A struct may have grown at its end.
#[test]
fn nothing_of_the_last_release_is_gone() {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(args);
        let output = command.output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    };
    let version = env!("CARGO_PKG_VERSION");
    let soname = version.rsplit_once('.').unwrap().0;
    let Some(tag) = git(&["describe", "--tags", "--abbrev=0", "--match", &format!("v{soname}.*"), "HEAD"])
    else {
        eprintln!("SKIPPED: no release v{soname}.* to compare with");
        return;
    };
    let Some(before) = git(&["show", &format!("{tag}:tests/abi.txt")]) else {
        eprintln!("SKIPPED: {tag} has no tests/abi.txt");
        return;
    };
    let now = std::fs::read_to_string(source("tests/abi.txt")).unwrap();
    assert_eq!(broken(&before, &now), [""; 0], "gone since {tag}");
}

/// Lines of `before` that `now` does not keep, comments and version numbers aside.
fn broken<'a>(before: &'a str, now: &str) -> Vec<&'a str> {
    let now: BTreeSet<_> = now.lines().collect();
    let is_kept = |line: &str| {
        let grown = line.split_once(" size ").is_some_and(|(name, size)| {
            let size: u64 = size.parse().unwrap_or(u64::MAX);
            now.iter().any(|l| {
                l.strip_prefix(name).and_then(|l| l.strip_prefix(" size ")?.parse().ok()) >= Some(size)
            })
        });
        grown || line.starts_with('#') || line.starts_with("constant PDTP_VERSION_") || now.contains(line)
    };
    before.lines().filter(|line| !is_kept(line)).collect()
}

#[test]
fn what_breaks_the_abi_is_noticed() {
    let before = "function a PDTP_0.1.0: int a(int b)\nstruct s size 16\nstruct s x at 0, 8 bytes\n\
                  constant PDTP_E_NULL = -1001\nconstant PDTP_VERSION_PATCH = 0";
    let after = "function a PDTP_0.1.0: int a(int b)\nfunction n PDTP_0.1.1: int n(void)\nstruct s size 24\n\
                 struct s x at 0, 8 bytes\nconstant PDTP_E_NULL = -1001\nconstant PDTP_VERSION_PATCH = 1";
    assert_eq!(broken(before, after), [""; 0]);
    for (good, bad) in [
        ("a(int b)", "a(long b)"),
        ("function a", "function c"),
        ("a PDTP_0.1.0", "a PDTP_0.1.1"),
        ("size 24", "size 8"),
        ("x at 0", "x at 8"),
        ("-1001", "-1002"),
    ] {
        assert_eq!(broken(before, &after.replace(good, bad)).len(), 1, "{good} became {bad}");
    }
}
