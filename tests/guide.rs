//! What programmers are told works: the programs of docs/guide, just as they stand there, the C++ header, and the
//! examples for the event loops of others.

#![cfg(unix)]

#[path = "common/c.rs"]
pub mod c;
pub mod common;

use std::collections::BTreeSet;
use std::path::Path;

use c::{CProgram, compile_with, guide, is_installed, package, source};
use common::*;

fn served() -> (tempfile::TempDir, Pdtpd) {
    let tree = make_tree(&[("file.bin", 900_000), ("small", 300), ("empty", 0), ("sub/x", 70_000)]);
    let server = Pdtpd::start(tree.path(), &[] as &[&str]);
    (tree, server)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn assert_same(one: &Path, other: &Path) {
    assert!(std::fs::read(one).unwrap() == std::fs::read(other).unwrap(), "{one:?} and {other:?} differ");
}

/// A program of the guide, compiled.
fn program(name: &str) -> CProgram {
    let dir = scratch();
    let file = dir.path().join(name);
    std::fs::write(&file, &guide()[name]).unwrap();
    compile_with(if name.ends_with(".cpp") { "c++" } else { "cc" }, &file, &[] as &[&str])
}

/// Here, or by another file of tests.
#[test]
fn every_program_of_the_guide_is_run() {
    let files = std::fs::read_dir(source("tests")).unwrap().map(|entry| entry.unwrap().path());
    let tests: String = files.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    for name in guide().keys() {
        assert!(tests.contains(&format!("program(\"{name}\")")), "{name} is run by no test");
    }
}

#[test]
fn tutorial() {
    let (tree, server) = served();
    let dir = scratch();
    let list = program("look.c").run(&[server.uri("/")]).expect(0).text();
    assert!(list.contains("900000 file.bin\n") && list.contains(" sub/\n"), "{list}");
    program("look.c").run(&[server.uri("/missing/")]).expect(1);
    let copy = dir.path().join("copy");
    let fetch = program("fetch.c");
    let run = fetch.run(&[server.uri("/file.bin"), text(&copy)]).expect(0);
    assert!(run.stderr.contains("complete and verified"), "{}", run.stderr);
    assert_same(&tree.path().join("file.bin"), &copy);
    fetch.run(&[server.uri("/missing"), text(&copy)]).expect(1);
    let options = program("quiet.c").run(&[] as &[&str]).expect(0).text();
    assert!(options.contains("limit_down"), "{options}");
}

#[test]
fn threads() {
    let (tree, server) = served();
    let dir = scratch();
    program("many.c").run(&[server.uri("/file.bin"), text(&dir.path().join("copy"))]).expect(0);
    for thread in 0..4 {
        assert_same(&tree.path().join("file.bin"), &dir.path().join(format!("copy.{thread}")));
    }
}

#[test]
fn event_loops() {
    let (tree, server) = served();
    let dir = scratch();
    let copy = dir.path().join("copy");
    let run = program("loop.c");
    run.run(&[server.uri("/file.bin"), text(&copy)]).expect(0);
    assert_same(&tree.path().join("file.bin"), &copy);
    run.run(&[server.uri("/missing"), text(&copy)]).expect(1);
}

#[test]
fn verification() {
    let (tree, keys, dir) = (make_tree(&[("signed", 70_000), ("not", 300)]), scratch(), scratch());
    let key = |who: &str| text(&keys.path().join(who));
    for who in ["alice", "mallory"] {
        pdtp(&["keygen", "--no-passphrase", &key(who)]).expect(0);
    }
    pdtp(&["sign", "--key", &key("alice"), &text(&tree.path().join("signed"))]).expect(0);
    let server = Pdtpd::start(tree.path(), &[] as &[&str]);
    let (only, copy) = (program("only.c"), dir.path().join("copy"));
    let run = |path: &str, who: &str| only.run(&[server.uri(path), text(&copy), key(who) + ".pub"]);
    let refused = run("/not", "alice").expect(1);
    assert!(refused.stderr.contains("PDTP_E_UNSIGNED"), "{}", refused.stderr);
    let refused = run("/signed", "mallory").expect(1);
    assert!(refused.stderr.contains("PDTP_E_UNKNOWN_KEY"), "{}", refused.stderr);
    assert!(!copy.exists());
    run("/signed", "alice").expect(0);
    assert_same(&tree.path().join("signed"), &copy);
}

#[test]
fn cpp() {
    let (tree, server) = served();
    let dir = scratch();
    let copy = dir.path().join("copy");
    let fetch = program("fetch.cpp");
    let list = fetch.run(&[server.uri("/file.bin"), text(&copy)]).expect(0).text();
    assert!(list.contains("small\n") && list.contains("sub/\n"), "{list}");
    assert_same(&tree.path().join("file.bin"), &copy);
    let run = fetch.run(&[server.uri("/missing"), text(&copy)]).expect(1);
    assert!(run.stderr.contains("PDTP_E_NOT_FOUND"), "{}", run.stderr);
}

/// With and without exceptions, of two compilers and two standards.
#[test]
fn the_cpp_header_keeps_its_word() {
    let (_tree, server) = served();
    let dir = scratch();
    for (compiler, options) in [
        ("g++", &["-Wshadow", "-Wconversion"] as &[&str]),
        ("g++", &["-fno-exceptions", "-fno-rtti"]),
        ("clang++", &["-Wshadow", "-Wconversion", "-std=c++20"]),
        ("clang++", &["-fno-exceptions", "-fno-rtti"]),
    ] {
        if !is_installed(compiler) {
            eprintln!("SKIPPED: {compiler} is not installed");
            continue;
        }
        let program = compile_with(compiler, &source("tests/c/header.cpp"), options);
        program.run(&[server.uri("/"), text(dir.path())]).expect(0);
    }
}

#[test]
fn example_get_in_cpp() {
    let (tree, server) = served();
    let dir = scratch();
    let get = compile_with("c++", &source("examples-c/get.cpp"), &[] as &[&str]);
    let copy = dir.path().join("tree");
    let run = get.run(&[server.uri("/"), text(&copy)]).expect(0);
    assert!(run.stderr.contains("MiB"), "{}", run.stderr);
    assert_same_tree(tree.path(), &copy);
    let run = get.run(&[server.uri("/missing"), text(&copy)]).expect(1);
    assert!(run.stderr.contains("PDTP_E_NOT_FOUND"), "{}", run.stderr);
    get.run(&[] as &[&str]).expect(2);
}

/// Downloads inside the loop of somebody else, and fails there.
fn in_loop(name: &str, file: &str, compiler: &str, options: Vec<String>) {
    let (tree, server) = served();
    let dir = scratch();
    let copy = dir.path().join("copy");
    let program = compile_with(compiler, &source(file), &options);
    let run = program.run(&[server.uri("/file.bin"), text(&copy)]).expect(0);
    assert!(run.text().contains("100% done"), "{name}: {}", run.text());
    assert_same(&tree.path().join("file.bin"), &copy);
    let run = program.run(&[server.uri("/missing"), text(&copy)]).expect(1);
    assert!(run.text().contains("PDTP_E_NOT_FOUND"), "{name}: {}", run.text());
    program.run(&[] as &[&str]).expect(2);
}

#[test]
fn example_glib_loop() {
    if let Some(options) = package("glib-2.0") {
        in_loop("glib_loop", "examples-c/glib_loop.c", "cc", options);
    }
}

#[test]
fn example_qt_loop() {
    if let Some(mut options) = package("Qt6Core") {
        options.push("-fPIC".to_owned());
        in_loop("qt_loop", "examples-c/qt_loop.cpp", "c++", options);
    }
}

/// The promise of the examples: everything happens in the loop.
#[test]
fn loops_need_no_lock_and_no_thread() {
    let all: BTreeSet<_> = ["poll_loop.c", "glib_loop.c", "qt_loop.cpp"].into();
    for name in all {
        let text = std::fs::read_to_string(source("examples-c").join(name)).unwrap();
        for word in [
            "mutex",
            "pthread",
            "std::thread",
            "GThread",
            "g_thread",
            "QThread",
            "QMutex",
            "atomic",
            "wakeup",
        ] {
            assert!(!text.to_lowercase().contains(&word.to_lowercase()), "{name} has {word}");
        }
    }
}
