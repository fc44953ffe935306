//! The C programs under everything that finds bugs: two compilers, shared and static, sanitizers, unloading.
//!
//! Takes minutes: only with PDTP_SLOW=1 (`make check-slow`). memcheck is in `slow_valgrind.rs`.

#![cfg(target_os = "linux")]

#[path = "common/c.rs"]
pub mod c;
pub mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::*;

/// Sanitizers make a program several times slower.
const SANITIZED: Duration = Duration::from_secs(300);

/// What every way to build is tried with: program, and its first arguments. URI and directory follow.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("tests/c/nulls.c", &[]),
    ("tests/c/life.c", &["free_in_event_callback"]),
    ("tests/c/life.c", &["free_in_data_callback"]),
    ("tests/c/life.c", &["free_in_any_order"]),
    ("tests/c/life.c", &["cancel_twice"]),
    ("tests/c/life.c", &["stream"]),
    ("tests/c/life.c", &["destroy_once"]),
    ("tests/c/life.c", &["threads"]),
    ("tests/c/life.c", &["listings"]),
    ("tests/c/fuzz.c", &["5000", "150", "300"]),
    ("tests/c/hammer.c", &["50", "12"]),
];

fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

fn is_slow() -> bool {
    let slow = std::env::var_os("PDTP_SLOW").is_some();
    if !slow {
        skip("PDTP_SLOW is not set");
    }
    slow
}

fn with_server(run: impl FnOnce(&Pdtpd)) {
    let tree = make_tree(&[
        ("file.bin", 3_000_000),
        ("small", 300),
        ("empty", 0),
        ("sub/x", 900_000),
        ("sub/deep/y", 70_000),
    ]);
    run(&Pdtpd::start(tree.path(), &[] as &[&str]));
}

/// A program, the directory it is in, and how it is run.
struct Built {
    _dir: tempfile::TempDir,
    program: PathBuf,
    vars: Vec<(&'static str, String)>,
}

impl Built {
    fn try_run(&self, args: &[&str]) -> Run {
        let mut command = Command::new(&self.program);
        command.args(args).envs(self.vars.iter().map(|(name, value)| (name, value)));
        Proc::spawn(command).finish(SANITIZED)
    }
}

/// How a program is built.
#[derive(Clone, Copy)]
struct Linked<'a> {
    compiler: &'a str,
    options: &'a [&'a str],
    /// The static library; the shared one of this build if there is none.
    library: Option<&'a Path>,
}

fn build(with: &Linked, file: &str) -> Built {
    let dir = scratch();
    let program = dir.path().join("program");
    let mut command = Command::new(with.compiler);
    command.args(["-std=c99", "-g", "-O1", "-pthread"]).args(c::WARNINGS).args(with.options);
    command.arg("-I").arg(c::source("include")).arg(c::source(file)).arg("-o").arg(&program);
    if let Some(library) = with.library {
        command.arg(library).args(["-lutil", "-lrt", "-lpthread", "-lm", "-ldl"]);
    } else {
        for name in [c::SONAME, "libpdtp.so"] {
            std::os::unix::fs::symlink(c::library(), dir.path().join(name)).unwrap();
        }
        command.arg("-L").arg(dir.path()).arg(format!("-Wl,-rpath,{}", dir.path().display())).arg("-lpdtp");
    }
    Proc::spawn(command).finish(PATIENCE * 2).expect(0);
    let vars = vec![
        ("ASAN_OPTIONS", "detect_leaks=1:halt_on_error=1:exitcode=99".to_owned()),
        ("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1:exitcode=99".to_owned()),
    ];
    Built { _dir: dir, program, vars }
}

fn run_all(with: &Linked, programs: &[(&str, &[&str])]) {
    if !c::is_installed(with.compiler) {
        skip(&format!("{} is not installed", with.compiler));
        return;
    }
    with_server(|server| {
        let mut built: Vec<(&str, Built)> = Vec::new();
        for (file, first) in programs {
            if !built.iter().any(|(known, _)| known == file) {
                built.push((file, build(with, file)));
            }
            let (_, program) = built.iter().find(|(known, _)| known == file).unwrap();
            let (uri, dir) = (server.uri("/file.bin"), scratch());
            let mut args = first.to_vec();
            if !first.is_empty() {
                args.extend([uri.as_str(), dir.path().to_str().unwrap()]);
            }
            program.try_run(&args).expect(0);
        }
    });
}

fn compiled(compiler: &str, is_static: bool) {
    if is_slow() {
        let library = c::library().with_extension("a");
        run_all(
            &Linked { compiler, options: &[], library: is_static.then_some(library.as_path()) },
            PROGRAMS,
        );
    }
}

#[test]
fn gcc_shared() {
    compiled("gcc", false);
}

#[test]
fn gcc_static() {
    compiled("gcc", true);
}

#[test]
fn clang_shared() {
    compiled("clang", false);
}

#[test]
fn clang_static() {
    compiled("clang", true);
}

/// Whether a compiler has the runtime of its sanitizers, which is a package of its own.
fn has_sanitizers(compiler: &str) -> bool {
    let line =
        format!("echo 'int main(void) {{ return 0; }}' | {compiler} -fsanitize=address -x c - -o /dev/null");
    let there = Command::new("sh").args(["-c", &line]).output().is_ok_and(|run| run.status.success());
    if !there {
        skip(&format!("{compiler} has no sanitizers (libclang-rt-dev)"));
    }
    there
}

/// A sanitizer that says nothing may not be there at all.
fn reports(with: &Linked, bugs: &[(&str, &str)]) {
    let mut broken = build(with, "tests/c/broken.c");
    // What was leaked may still be named in what functions that have returned left on the stack.
    broken.vars.push(("LSAN_OPTIONS", "use_stacks=0".to_owned()));
    for (bug, says) in bugs {
        let run = broken.try_run(&[bug]);
        assert!(run.code() != 0 && run.stderr.contains(says), "{bug}: {} {}", run.code(), run.stderr);
    }
}

const ADDRESS: &[&str] =
    &["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"];
const ADDRESS_BUGS: &[(&str, &str)] = &[
    ("memory", "heap-use-after-free"),
    ("undefined", "signed integer overflow"),
    ("leak", "LeakSanitizer: detected memory leaks"),
];

fn address_sanitizer(compiler: &str) {
    if is_slow() && has_sanitizers(compiler) {
        let with = Linked { compiler, options: ADDRESS, library: None };
        reports(&with, ADDRESS_BUGS);
        run_all(&with, PROGRAMS);
    }
}

#[test]
fn address_sanitizer_of_gcc() {
    address_sanitizer("gcc");
}

#[test]
fn address_sanitizer_of_clang() {
    address_sanitizer("clang");
}

/// Loaded, used and unloaded, again and again.
#[test]
fn unloading_leaves_nothing_behind() {
    if !is_slow() {
        return;
    }
    with_server(|server| {
        let dir = scratch();
        let program = dir.path().join("reload");
        let mut command = Command::new("cc");
        command.args(["-std=c99", "-g", "-O1", "-pthread"]).args(c::WARNINGS);
        command
            .arg("-I")
            .arg(c::source("include"))
            .arg(c::source("tests/c/reload.c"))
            .arg("-o")
            .arg(&program);
        command.arg("-ldl");
        Proc::spawn(command).finish(PATIENCE).expect(0);
        let mut command = Command::new(&program);
        command.arg(c::library()).arg(server.uri("/"));
        let run = Proc::spawn(command).finish(SANITIZED).expect(0);
        eprintln!("{}", run.text());
    });
}

/// Links the static library like `make lib`, with these functions exported.
fn link_shared(archive: &Path, functions: &[String], to: &Path) {
    let map = to.with_extension("map");
    let global: String = functions.iter().map(|name| format!("{name};")).collect();
    std::fs::write(&map, format!("PDTP_0.1.0 {{ global: {global} local: *; }};")).unwrap();
    let mut command = Command::new("cc");
    command.arg("-shared").args(functions.iter().map(|name| format!("-Wl,-u,{name}")));
    command.arg("-o").arg(to).arg(archive).arg(format!("-Wl,--version-script={}", map.display()));
    command.args(["-Wl,--gc-sections", "-Wl,-soname,libpdtp.so.0.1", "-lpthread", "-lm", "-ldl", "-lc"]);
    Proc::spawn(command).finish(PATIENCE * 2).expect(0);
}

fn abidiff(before: &Path, now: &Path) -> Run {
    let mut command = Command::new("abidiff");
    command.arg("--no-added-syms").arg(before).arg(now);
    Proc::spawn(command).finish(SANITIZED)
}

/// What git says, where all is well.
fn git(repo: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(repo).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The tag of the last release with this soname.
fn last_release(repo: &Path) -> Option<String> {
    let soname = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap().0;
    git(repo, &["describe", "--tags", "--abbrev=0", "--match", &format!("v{soname}.*"), "HEAD"])
}

/// The shared library of a release as it was, built like this one.
fn library_of(repo: &Path, tag: &str, dir: &Path) -> PathBuf {
    let old = dir.join("old");
    std::fs::create_dir(&old).unwrap();
    let line = format!("git -C {} archive {tag} | tar -x -C {}", repo.display(), old.display());
    let mut command = Command::new("sh");
    command.args(["-c", &line]);
    Proc::spawn(command).finish(PATIENCE).expect(0);
    // What it needs of others is compiled once.
    let target = c::source("target").join("released");
    let mut command = Command::new("cargo");
    command.args(["rustc", "--locked", "--lib", "--no-default-features", "--features", "ffi"]);
    command.args(["--crate-type", "staticlib"]).current_dir(&old).env("CARGO_TARGET_DIR", &target);
    Proc::spawn(command).finish(Duration::from_secs(900)).expect(0);
    let header = std::fs::read_to_string(old.join("include/pdtp.h")).unwrap();
    let names = c::prototypes(&header).into_iter().collect::<Vec<_>>();
    let before = dir.join("before.so");
    link_shared(&target.join("debug/libpdtp.a"), &names, &before);
    before
}

/// By the tool of the distributions. That it sees what goes is shown first: of two libraries, and of a release that is
/// made up in a copy of this repository.
#[test]
fn abidiff_finds_nothing_gone_since_the_last_release() {
    if !is_slow() {
        return;
    }
    if !c::is_installed("abidiff") {
        return skip("abidiff is not installed");
    }
    let dir = scratch();
    let (whole, less) = (dir.path().join("whole.so"), dir.path().join("less.so"));
    let archive = c::library().with_extension("a");
    let mut functions: Vec<String> = c::header_prototypes().into_iter().collect();
    link_shared(&archive, &functions, &whole);
    abidiff(&whole, &whole).expect(0);
    functions.retain(|name| name != "pdtp_list");
    link_shared(&archive, &functions, &less);
    let misses_one = |before: &Path| {
        let run = abidiff(before, &less);
        assert!(run.code() != 0 && run.text().contains("pdtp_list"), "a function is gone: {}", run.text());
    };
    misses_one(&whole);
    abidiff(&less, &whole).expect(0);

    let here = c::source("");
    if git(&here, &["rev-parse", "HEAD"]).is_none() {
        return skip("not a git checkout: there are no releases to compare with");
    }
    let copy = dir.path().join("copy");
    let from = here.to_str().unwrap();
    git(dir.path(), &["clone", "--quiet", "--shared", from, "copy"]).expect("git clone");
    for tag in git(&copy, &["tag"]).unwrap().lines() {
        git(&copy, &["tag", "-d", tag]).unwrap();
    }
    assert_eq!(last_release(&copy), None, "none is no failure");
    let tag = concat!("v", env!("CARGO_PKG_VERSION"));
    git(&copy, &["tag", tag]).unwrap();
    assert_eq!(last_release(&copy).as_deref(), Some(tag));
    let before = library_of(&copy, tag, dir.path());
    abidiff(&before, &whole).expect(0);
    misses_one(&before);

    let Some(tag) = last_release(&here) else { return skip("there is no release to compare with yet") };
    std::fs::remove_dir_all(dir.path().join("old")).unwrap();
    abidiff(&library_of(&here, &tag, dir.path()), &whole).expect(0);
}

/// The header as a manual: doxygen finds nothing to complain about.
#[test]
fn doxygen_has_no_warnings() {
    if !is_slow() {
        return;
    }
    if !c::is_installed("doxygen") {
        return skip("doxygen is not installed");
    }
    let out = scratch();
    let settings = std::fs::read_to_string(c::source("docs/Doxyfile")).unwrap();
    let settings = format!("{settings}\nOUTPUT_DIRECTORY = {}\nQUIET = YES\n", out.path().display());
    let file = out.path().join("Doxyfile");
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new("doxygen");
    command.arg(&file).current_dir(env!("CARGO_MANIFEST_DIR"));
    let run = Proc::spawn(command).finish(PATIENCE * 2).expect(0);
    assert_eq!(run.stderr, "", "{}", run.stderr);
    let pages = |dir: &Path| std::fs::read_dir(dir.join("html")).unwrap().count();
    assert!(pages(out.path()) > 10);
}
