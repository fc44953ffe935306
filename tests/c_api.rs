//! The C ABI as C programmers meet it: header, symbols, examples, and the lives of handles and callbacks.
//!
//! The programs in `tests/c` and `examples-c` are compiled with warnings as errors, linked to the `libpdtp.so` that
//! cargo has just built, and run against a real `pdtpd`.

#![cfg(unix)]

#[path = "common/abi.rs"]
pub mod abi;
#[path = "common/c.rs"]
pub mod c;
pub mod common;
#[path = "common/nonsense.rs"]
pub mod nonsense;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use c::{CProgram, compile, compilers, header_prototypes, library};
use common::*;

/// Takes a few seconds at the rate that the slow clients of `life.c` allow themselves.
const FILE_SIZE: usize = 3_000_000;

fn tree() -> tempfile::TempDir {
    make_tree(&[
        ("file.bin", FILE_SIZE),
        ("small", 300),
        ("empty", 0),
        ("sub/x", 900_000),
        ("sub/deep/y", 70_000),
    ])
}

#[test]
fn header_compiles_alone_as_c_and_as_cpp() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/pdtp.h");
    for (compiler, language, standard) in [
        ("cc", "c", "c99"),
        ("cc", "c", "c17"),
        ("c++", "c++", "c++17"),
        ("clang", "c", "c99"),
        ("clang", "c++", "c++17"),
    ] {
        if !c::is_installed(compiler) {
            eprintln!("skipped: {compiler} is not installed");
            continue;
        }
        let mut command = Command::new(compiler);
        command
            .args(["-x", language, &format!("-std={standard}"), "-fsyntax-only"])
            .args(c::WARNINGS)
            .arg(&header);
        Proc::spawn(command).finish(PATIENCE).expect(0);
    }
}

#[test]
fn exported_symbols_are_the_prototypes_of_the_header() {
    let mut command = Command::new("nm");
    command.args(["-D", "--defined-only", "--format=posix"]).arg(library());
    let listed = Proc::spawn(command).finish(PATIENCE).expect(0).text();
    let exported: BTreeSet<String> =
        listed.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    let declared = header_prototypes();
    assert!(declared.len() > 60, "{declared:?}");
    assert_eq!(exported, declared);
}

/// A function without a test of its NULLs is a function that crashes on them one day.
#[test]
fn every_function_is_called_with_nulls() {
    let text = std::fs::read_to_string(c::source("tests/c/nulls.c")).unwrap();
    let forgotten: Vec<_> =
        header_prototypes().into_iter().filter(|name| !text.contains(&format!("{name}("))).collect();
    assert!(forgotten.is_empty(), "not in tests/c/nulls.c: {forgotten:?}");
}

#[test]
fn nulls_and_nonsense_are_answered_with_codes() {
    for compiler in compilers() {
        compile(compiler, "tests/c/nulls.c").run(&[] as &[&str]).expect(0);
    }
}

/// The same by types alone, with every combination, on handles that are alive: whatever is new in the header is in it.
#[test]
fn every_combination_of_nonsense_is_answered() {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let header = std::fs::read_to_string(c::source("include/pdtp.h")).unwrap();
    let dir = scratch();
    let text = dir.path().join("nonsense.c");
    std::fs::write(&text, nonsense::program(&abi::Abi::of_header(&header))).unwrap();
    let include = format!("-I{}", c::source("tests/c").display());
    let program = c::compile_with("cc", &text, &[include]);
    let mut command = Command::new(program.path());
    command.arg(server.uri("/")).current_dir(dir.path());
    let said = Proc::spawn(command).finish(PATIENCE * 2).expect(0).text();
    let calls: usize = said.split(' ').next().unwrap().parse().unwrap();
    assert!(calls > 10 * header_prototypes().len(), "{said}");
}

/// The header without its comments, and each function with its comment: name, comment, arguments.
fn functions_of_the_header() -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(c::source("include/pdtp.h")).unwrap();
    let mut functions = Vec::new();
    for part in text.split("/**").skip(1) {
        let Some((comment, code)) = part.split_once("*/") else { continue };
        let Some((before, rest)) = code.split_once('(') else { continue };
        let name = before.rsplit([' ', '*']).next().unwrap_or_default();
        let is_function =
            name.starts_with("pdtp_") && !before.contains(['{', '}', '#']) && !before.contains("typedef");
        if is_function && let Some((arguments, _)) = rest.split_once(");") {
            functions.push((name.to_owned(), comment.to_owned(), arguments.to_owned()));
        }
    }
    assert_eq!(functions.iter().map(|(name, ..)| name.clone()).collect::<BTreeSet<_>>(), header_prototypes());
    functions
}

/// What the comment of a function has to answer.
#[test]
fn every_function_says_whether_it_blocks_what_null_does_and_since_when() {
    for (name, comment, arguments) in functions_of_the_header() {
        let lower = comment.to_lowercase();
        assert!(lower.contains("block"), "{name} does not say whether it blocks");
        assert!(comment.contains("Since 0."), "{name} does not say since when it is there");
        let says = comment.contains("NULL") || !arguments.contains('*');
        assert!(says, "{name} does not say what NULL does");
    }
}

/// A function without such a test is one that touches its parent's sockets one day.
#[test]
fn every_function_of_a_live_handle_is_called_after_fork() {
    let text = std::fs::read_to_string(c::source("tests/c/forked.c")).unwrap();
    let live = ["pdtp_client *", "pdtp_session *", "pdtp_request *", "pdtp_transfer *", "pdtp_share *"];
    let is_live = |arguments: &str| {
        arguments.split(',').any(|one| live.iter().any(|kind| one.contains(kind) && !one.contains("**")))
    };
    let forgotten: Vec<_> = functions_of_the_header()
        .into_iter()
        // Readers have tests of their own.
        .filter(|(name, ..)| !name.ends_with("_free") && !name.starts_with("pdtp_reader_"))
        .filter(|(name, _, arguments)| is_live(arguments) && !text.contains(&format!("{name}(")))
        .map(|(name, ..)| name)
        .collect();
    assert!(forgotten.is_empty(), "not in tests/c/forked.c: {forgotten:?}");
}

#[test]
fn after_fork_all_handles_say_so() {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let dir = scratch();
    compile("cc", "tests/c/forked.c")
        .run(&[&server.uri("/file.bin"), dir.path().to_str().unwrap()])
        .expect(0);
}

/// Who calls one of these in a callback would wait for himself.
#[test]
fn every_function_that_is_refused_in_callbacks_is_tried_there() {
    let text = std::fs::read_to_string(c::source("tests/c/life.c")).unwrap();
    let (_, rest) = text.split_once("static void on_event_reenter(").unwrap();
    let (body, _) = rest.split_once("\n}").unwrap();
    let forgotten: Vec<_> = functions_of_the_header()
        .into_iter()
        .filter(|(name, comment, _)| {
            comment.contains("PDTP_E_REENTRANT") && !name.starts_with("pdtp_reader_")
        })
        .filter(|(name, ..)| !body.contains(&format!("{name}(")))
        .map(|(name, ..)| name)
        .collect();
    assert!(forgotten.is_empty(), "not in on_event_reenter of tests/c/life.c: {forgotten:?}");
}

/// What the driver does not know of, no random sequence has.
#[test]
fn every_function_is_called_at_random() {
    let text = std::fs::read_to_string(c::source("tests/c/fuzz.c")).unwrap();
    let forgotten: Vec<_> =
        header_prototypes().into_iter().filter(|name| !text.contains(&format!("{name}("))).collect();
    assert!(forgotten.is_empty(), "not in tests/c/fuzz.c: {forgotten:?}");
}

/// `tests/slow_c_api.rs` has more of it.
#[test]
fn random_sequences_of_calls_break_nothing() {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let program = compile("cc", "tests/c/fuzz.c");
    for seed in ["1", "2"] {
        let dir = scratch();
        program.run(&[seed, "300", "1", &server.uri("/"), dir.path().to_str().unwrap()]).expect(0);
    }
}

/// `tests/slow_sanitized.rs` has more of it, with ThreadSanitizer.
#[test]
fn many_threads_share_a_client_until_it_is_freed() {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let dir = scratch();
    compile("cc", "tests/c/hammer.c")
        .run(&["1", "12", &server.uri("/"), dir.path().to_str().unwrap()])
        .expect(0);
}

#[test]
fn soname_carries_the_abi() {
    let mut command = Command::new("readelf");
    command.arg("-d").arg(library());
    let text = Proc::spawn(command).finish(PATIENCE).expect(0).text();
    assert!(text.contains(&format!("[{}]", c::SONAME)), "{text}");
}

#[test]
fn changes_are_told() {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let program = compile("cc", "tests/c/watch.c");
    let file = served.path().join("fresh");
    program.run(&[server.uri("/"), file.to_str().unwrap().to_owned()]).expect(0);
}

/// Runs one test of `tests/c/life.c`.
fn life(test: &str) -> tempfile::TempDir {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let dir = scratch();
    let program = compile("cc", "tests/c/life.c");
    let uri = server.uri("/file.bin");
    program.run(&[test, &uri, dir.path().to_str().unwrap()]).expect(0);
    for name in ["queue", "thread"] {
        if test == "stream" {
            assert_same_file(&served.path().join("file.bin"), &dir.path().join(name));
        }
    }
    dir
}

fn assert_same_file(one: &Path, other: &Path) {
    assert!(std::fs::read(one).unwrap() == std::fs::read(other).unwrap(), "{one:?} and {other:?} differ");
}

/// Runs one test of `tests/c/use.c`.
fn r#use(test: &str) {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let dir = scratch();
    let program = compile("cc", "tests/c/use.c");
    program.run(&[test, &server.uri("/file.bin"), dir.path().to_str().unwrap()]).expect(0);
}

macro_rules! tests_of {
    ($module:ident $file:literal $run:ident: $($name:ident)*) => {
        mod $module {
            $(#[test]
            fn $name() {
                super::$run(stringify!($name));
            })*

            /// A test that nobody runs is none.
            #[test]
            fn all_of_them_are_run() {
                let text = std::fs::read_to_string(super::c::source($file)).unwrap();
                let there = text.lines().filter_map(|line| line.trim().strip_prefix("TEST(")?.strip_suffix("),"));
                assert_eq!(there.collect::<Vec<_>>(), [$(stringify!($name)),*]);
            }
        }
    };
}

tests_of! { life "tests/c/life.c" life:
    free_in_event_callback
    free_in_event_callback_of_thread
    free_in_data_callback
    free_while_downloading
    free_in_any_order
    free_at_random
    new_and_free_often
    cancel_twice
    pause_and_resume
    stream
    stream_abort
    callback_that_blocks
    reentrant
    wakeup
    thread_mode
    destroy_once
    interrupt
    interrupt_in_callback
    threads
    one_drains
    fork
    listings
}

tests_of! { at_work "tests/c/use.c" r#use:
    rates
    priorities
    prealloc
    session_info
    options
    metrics
    log
    overflow
    share
    share_and_download
    no_grace
    cache
    streams_are_cached
    resume
}

fn example(name: &str) -> CProgram {
    compile("cc", &format!("examples-c/{name}.c"))
}

#[test]
fn example_get_downloads_files_and_trees() {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let dir = scratch();
    let get = example("get");
    let file = dir.path().join("copy");
    get.run(&[server.uri("/file.bin").as_str(), file.to_str().unwrap()]).expect(0);
    assert_same_file(&served.path().join("file.bin"), &file);
    let copy = dir.path().join("tree");
    let run = get.run(&[server.uri("/").as_str(), copy.to_str().unwrap()]).expect(0);
    assert!(run.stderr.contains("MiB"), "{}", run.stderr);
    assert_same_tree(served.path(), &copy);
    let run = get.run(&[server.uri("/missing").as_str(), file.to_str().unwrap()]).expect(1);
    assert!(run.stderr.contains("PDTP_E_NOT_FOUND"), "{}", run.stderr);
    get.run(&["http://elsewhere/"]).expect(1);
    get.run(&[] as &[&str]).expect(2);
}

#[test]
fn example_ls_lists() {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let ls = example("ls");
    let text = ls.run(&[&server.uri("/")]).expect(0).text();
    assert!(text.contains("file.bin") && text.contains("sub/") && !text.contains("deep"), "{text}");
    let text = ls.run(&["-R", &server.uri("/")]).expect(0).text();
    assert!(text.contains("sub/deep/y"), "{text}");
    let text = ls.run(&[&server.uri("/small")]).expect(0).text();
    assert!(text.trim_start().starts_with("300"), "{text}");
    ls.run(&[&server.uri("/missing")]).expect(1);
    ls.run(&[&server.uri("/missing/")]).expect(1);
}

#[test]
fn example_swarm_shares() {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let dir = scratch();
    let out = dir.path().join("out");
    let text = example("swarm").run(&["-n", "3", &server.uri("/"), out.to_str().unwrap()]).expect(0).text();
    assert!(text.contains("3 clients") && text.contains("origin bytes / file bytes"), "{text}");
    assert!(text.contains("MiB because nobody else has it yet"), "{text}");
    for member in ["1", "2", "3"] {
        assert_same_tree(served.path(), &out.join(member));
    }
}

#[test]
fn events_say_in_words_why_something_comes_and_why_nothing_does() {
    let served = make_tree(&[("file.bin", FILE_SIZE), ("few/a", FILE_SIZE)]);
    let dir = scratch();
    let config = dir.path().join("pdtpd.toml");
    std::fs::write(&config, "[directory.\"/few\"]\nmax-peers = 1\n").unwrap();
    let server = Pdtpd::start(served.path(), &["--limit-up", "2M", "--config", config.to_str().unwrap()]);
    let [uri, full] = ["/file.bin", "/few/a"].map(|path| server.uri(path));
    let out = dir.path().to_str().unwrap();
    let said = compile("cc", "tests/c/why.c").run(&[uri.as_str(), &full, out]).expect(0).text();
    for line in [
        "came origin because nobody else has it yet",
        "came rarest because few have it",
        "waits 6 because as many are downloading as the server allows at once; it is your turn when one is done",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    for name in ["one", "other", "full one", "full other"] {
        let of = if name.starts_with("full") { "few/a" } else { "file.bin" };
        assert_same_file(&served.path().join(of), &dir.path().join(name));
    }
}

#[test]
fn example_poll_loop_downloads() {
    let served = tree();
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let dir = scratch();
    let file = dir.path().join("copy");
    let text = example("poll_loop")
        .run(&[server.uri("/file.bin").as_str(), file.to_str().unwrap()])
        .expect(0)
        .text();
    assert!(text.contains("100% done"), "{text}");
    assert_same_file(&served.path().join("file.bin"), &file);
}

#[test]
fn example_verify_asks() {
    let (served, keys, dir) = (tree(), scratch(), scratch());
    let sign = |who: &str| {
        let key = keys.path().join(who);
        let file = served.path().join("file.bin");
        pdtp(&["keygen", "--no-passphrase", key.to_str().unwrap()]).expect(0);
        pdtp(&["sign", "--force", "--key", key.to_str().unwrap(), file.to_str().unwrap()]).expect(0);
    };
    sign("alice");
    let server = Pdtpd::start(served.path(), &[] as &[&str]);
    let program = example("verify");
    let (copy, trust) = (dir.path().join("copy"), dir.path().join("trust"));
    let verify = |options: &str, typed: &str| {
        let (program, uri, copy) = (program.path().display(), server.uri("/file.bin"), copy.display());
        let line = format!("printf '{typed}' | {program} {options} {uri} {copy}");
        let mut command = Command::new("sh");
        command.args(["-c", &line]);
        Proc::spawn(command).finish(PATIENCE)
    };
    let remembering = format!("-t {}", trust.display());
    // Nobody answers, or somebody says no.
    for typed in ["", "n\\n", "x"] {
        let run = verify(&remembering, typed).expect(1);
        assert!(run.text().contains("UNKNOWN KEY: 127.0.0.1"), "{}", run.text());
        assert!(run.stderr.contains("PDTP_E_UNKNOWN_KEY"), "{}", run.stderr);
        assert!(!copy.exists() && !trust.exists());
    }
    verify(&remembering, "y\\n").expect(0);
    assert_same_file(&served.path().join("file.bin"), &copy);
    // Accepted once, known from then on.
    let run = verify(&remembering, "").expect(0);
    assert!(run.text().starts_with("GOOD: ") && !run.text().contains("[y/N]"), "{}", run.text());
    let run = verify(&format!("-a {remembering}"), "n\\n").expect(1);
    assert!(run.stderr.contains("PDTP_E_REJECTED"), "{}", run.stderr);
    let key = keys.path().join("alice.pub");
    let run = verify(&format!("-k {}", key.display()), "").expect(0);
    assert!(run.text().starts_with("GOOD: ") && run.text().contains("alice.pub"), "{}", run.text());
    sign("mallory");
    let run = verify(&remembering, "").expect(1);
    assert!(run.text().contains("KEY HAS CHANGED"), "{}", run.text());
    assert!(run.stderr.contains("PDTP_E_KEY_CHANGED"), "{}", run.stderr);
}
