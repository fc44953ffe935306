//! The library itself built with a sanitizer (only a nightly Rust can), and the C programs run against it.
//!
//! `slow_quality.rs` has programs with sanitizers on the library as it is: those see what C does wrong, and what it is
//! handed. Here every access to memory of the library is watched, too: by AddressSanitizer (with leaks) and by
//! ThreadSanitizer. Minutes: only with PDTP_SLOW=1 (`make check-slow`).

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "common/abi.rs"]
pub mod abi;
#[path = "common/c.rs"]
pub mod c;
pub mod common;
#[path = "common/nonsense.rs"]
pub mod nonsense;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::*;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// From cold, on a machine that does other things, too.
const BUILDING: Duration = Duration::from_secs(1500);
/// Sanitizers make a program several times slower.
const RUNNING: Duration = Duration::from_secs(400);

fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A tool of the nightly toolchain, with nothing of the toolchain that runs this test.
fn nightly(tool: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", tool]).current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("RUST") && name != "RUSTUP_HOME" {
            command.env_remove(name);
        }
    }
    command
}

fn says(mut command: Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// The library with a sanitizer in it, and what C programs need to use it.
struct Sanitized {
    name: &'static str,
    /// Where `libpdtp.so` and `libpdtp.a` are.
    dir: PathBuf,
    /// The sanitizer's own functions, of the same LLVM as the library: not those of clang.
    runtime: PathBuf,
    /// Rust's standard library is sanitized, too.
    is_std: bool,
}

impl Sanitized {
    /// `None`, loudly, where it cannot be built.
    fn build(name: &'static str, short: &str) -> Option<Self> {
        if std::env::var_os("PDTP_SLOW").is_none() {
            skip("PDTP_SLOW is not set");
            return None;
        }
        let mut sysroot = nightly("rustc");
        sysroot.args(["--print", "sysroot"]);
        let Some(sysroot) = says(sysroot).map(PathBuf::from) else {
            skip("there is no nightly Rust (rustup toolchain install nightly)");
            return None;
        };
        if !c::is_installed("clang") {
            skip("clang is not installed");
            return None;
        }
        let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
        let runtime = libraries.join(format!("librustc-nightly_rt.{short}.a"));
        assert!(runtime.exists(), "this nightly has no {}", runtime.display());
        let is_std = sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").exists();
        let target = c::source("target").join(format!("sanitized-{short}"));
        let mut command = nightly("cargo");
        command.args(["rustc", "--locked", "--lib", "--no-default-features", "--features", "ffi"]);
        command.args(["--crate-type", "cdylib,staticlib", "--target", TARGET, "--target-dir"]).arg(&target);
        // AddressSanitizer needs only what is watched to be built with it, ThreadSanitizer all that synchronizes.
        if name == "thread" && is_std {
            command.arg("-Zbuild-std=std");
        }
        command.env("RUSTFLAGS", format!("-Zsanitizer={name} -Cforce-frame-pointers=yes"));
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_INCREMENTAL", "0");
        let started = Instant::now();
        Proc::spawn(command).finish(BUILDING).expect(0);
        eprintln!("built in {:?}", started.elapsed());
        let dir = target.join(TARGET).join("debug");
        Some(Self { name, dir, runtime, is_std })
    }

    /// How often the library calls the sanitizer.
    fn calls(&self, function: &str) -> usize {
        let mut command = Command::new("objdump");
        command.args(["-d", "--no-show-raw-insn"]).arg(self.dir.join("libpdtp.so"));
        let listed = Proc::spawn(command).finish(PATIENCE * 4).expect(0);
        listed.text().lines().filter(|line| line.contains("call") && line.contains(function)).count()
    }

    /// Compiles a C program with the sanitizer, and links it with the library and the library's sanitizer.
    fn compile(&self, file: &Path, is_static: bool) -> Program {
        let dir = scratch();
        let program = dir.path().join("program");
        // What ThreadSanitizer has to be told of.
        let more = (self.name == "thread").then(|| c::source("tests/c/duplicate.c"));
        let mut objects = Vec::new();
        for file in std::iter::once(file).chain(more.as_deref()) {
            let object = dir.path().join(file.with_extension("o").file_name().unwrap());
            let mut command = Command::new("clang");
            command.args(["-std=c99", "-g", "-O1", "-pthread", "-fno-omit-frame-pointer", "-c"]);
            command.args(c::WARNINGS).arg(format!("-fsanitize={}", self.name));
            command.arg("-I").arg(c::source("include")).arg("-I").arg(c::source("tests/c"));
            command.arg(file).arg("-o").arg(&object);
            Proc::spawn(command).finish(PATIENCE * 2).expect(0);
            objects.push(object);
        }
        let mut command = Command::new("clang");
        command.args(&objects).arg("-o").arg(&program);
        command.arg("-Wl,--whole-archive").arg(&self.runtime).arg("-Wl,--no-whole-archive");
        command.arg("-Wl,--export-dynamic");
        if is_static {
            command.arg(self.dir.join("libpdtp.a"));
        } else {
            for name in [c::SONAME, "libpdtp.so"] {
                std::os::unix::fs::symlink(self.dir.join("libpdtp.so"), dir.path().join(name)).unwrap();
            }
            command
                .arg("-L")
                .arg(dir.path())
                .arg("-lpdtp")
                .arg(format!("-Wl,-rpath,{}", dir.path().display()));
        }
        command.args(["-lpthread", "-lm", "-ldl", "-lrt", "-lutil", "-lgcc_s"]);
        Proc::spawn(command).finish(PATIENCE * 2).expect(0);
        Program { path: program, _dir: dir }
    }
}

/// How the sanitizers are to behave.
const OPTIONS: [(&str, &str); 2] = [
    ("ASAN_OPTIONS", "detect_leaks=1:halt_on_error=1:exitcode=99:detect_stack_use_after_return=1"),
    ("TSAN_OPTIONS", "halt_on_error=1:exitcode=98:history_size=4"),
];

struct Program {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Program {
    fn run(&self, args: &[&str], dir: &Path) -> Run {
        let mut command = Command::new(&self.path);
        command.args(args).envs(OPTIONS).current_dir(dir);
        Proc::spawn(command).finish(RUNNING)
    }

    /// A sanitizer that says nothing may not be there at all.
    fn reports(&self, bug: &str, says: &[&str]) {
        let mut command = Command::new(&self.path);
        // What was leaked may still be named in what functions that have returned left on the stack.
        command.arg(bug).envs(OPTIONS).env("LSAN_OPTIONS", "use_stacks=0");
        let run = Proc::spawn(command).finish(RUNNING);
        let all = says.iter().all(|what| run.stderr.contains(what));
        assert!(run.code() != 0 && all, "{bug} ended with {}: {}", run.code(), run.stderr);
    }
}

/// Names in the table of tests of a C program.
fn tests_in(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(c::source(file)).unwrap();
    let there = text.lines().filter_map(|line| line.trim().strip_prefix("TEST(")?.strip_suffix("),"));
    let there: Vec<_> = there.map(str::to_owned).collect();
    assert!(!there.is_empty(), "{file}");
    there
}

fn served() -> tempfile::TempDir {
    make_tree(&[
        ("file.bin", 3_000_000),
        ("small", 300),
        ("empty", 0),
        ("sub/x", 900_000),
        ("sub/deep/y", 70_000),
        ("film", 5_000_003),
        ("file", 700_000),
        ("dir/x", 300),
    ])
}

/// One thing to run: a program, and its arguments, in which words in braces stand for `{uri}`, `{dir}` and `{film}`.
struct Job<'a> {
    program: &'a Program,
    args: Vec<String>,
}

fn job<'a>(program: &'a Program, args: &str) -> Job<'a> {
    Job { program, args: args.split(' ').filter(|arg| !arg.is_empty()).map(str::to_owned).collect() }
}

/// Runs them against a server, as many at a time as there are processors; each in a directory of its own.
fn run_all(jobs: Vec<Job>) {
    let (count, started) = (jobs.len(), Instant::now());
    let jobs = Mutex::new(jobs.into_iter());
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = jobs.lock().unwrap().next();
                    let Some(Job { program, args }) = next else { return };
                    let (dir, tree) = (scratch(), served());
                    let server = Pdtpd::start(tree.path(), &[] as &[&str]);
                    let fill = |arg: &String| {
                        arg.replace("{uri}", server.uri("").trim_end_matches('/'))
                            .replace("{dir}", dir.path().to_str().unwrap())
                            .replace("{film}", tree.path().join("film").to_str().unwrap())
                    };
                    let filled: Vec<_> = args.iter().map(fill).collect();
                    let run = program.run(&filled.iter().map(String::as_str).collect::<Vec<_>>(), dir.path());
                    if run.code() != 0 {
                        let text =
                            format!("{args:?} ended with {}\n{}\n{}", run.code(), run.text(), run.stderr);
                        failed.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    eprintln!("{count} runs in {:?}", started.elapsed());
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n\n"));
}

/// The program that calls everything with everything wrong.
fn nonsense() -> (tempfile::TempDir, PathBuf) {
    let dir = scratch();
    let file = dir.path().join("nonsense.c");
    let header = std::fs::read_to_string(c::source("include/pdtp.h")).unwrap();
    std::fs::write(&file, nonsense::program(&abi::Abi::of_header(&header))).unwrap();
    (dir, file)
}

#[test]
fn no_byte_is_touched_that_must_not_be_and_none_is_lost() {
    let Some(library) = Sanitized::build("address", "asan") else { return };
    assert!(library.calls("__asan_report_store") > 10_000, "the library is not sanitized");
    let broken = library.compile(&c::source("tests/c/broken.c"), false);
    broken.reports("memory", &["heap-use-after-free", "broken.c"]);
    broken.reports("library", &["heap-use-after-free", "WRITE of size 8", "pdtp_client_new"]);
    broken.reports("leak", &["LeakSanitizer: detected memory leaks", "pdtp_config_new"]);

    let compile = |file: &str| library.compile(&c::source(file), false);
    let (_dir, text) = nonsense();
    let nonsense = library.compile(&text, false);
    let (nulls, life, work) =
        (compile("tests/c/nulls.c"), compile("tests/c/life.c"), compile("tests/c/use.c"));
    let (forked, fuzz, hammer) =
        (compile("tests/c/forked.c"), compile("tests/c/fuzz.c"), compile("tests/c/hammer.c"));
    let (reader, data) = (compile("tests/c/reader.c"), compile("tests/c/data.c"));
    let (get, ls, stream) =
        (compile("examples-c/get.c"), compile("examples-c/ls.c"), compile("examples-c/stream.c"));
    let (swarm, poll) = (compile("examples-c/swarm.c"), compile("examples-c/poll_loop.c"));
    let linked = library.compile(&c::source("tests/c/fuzz.c"), true);
    let mut jobs = vec![
        job(&nulls, ""),
        job(&nonsense, "{uri}/"),
        job(&forked, "{uri}/file.bin {dir}"),
        job(&hammer, "1 20 {uri}/ {dir}"),
        job(&get, "{uri}/ {dir}/out"),
        job(&ls, "-R {uri}/"),
        job(&stream, "-s 1000000 {uri}/file.bin"),
        job(&swarm, "-n 3 {uri}/ {dir}/out"),
        job(&poll, "{uri}/file.bin {dir}/out"),
        job(&linked, "7 1000 1 {uri}/ {dir}"),
    ];
    for (program, file, last) in [
        (&life, "tests/c/life.c", "{uri}/file.bin {dir}"),
        (&work, "tests/c/use.c", "{uri}/file.bin {dir}"),
        (&reader, "tests/c/reader.c", "{uri}/film {film}"),
        (&data, "tests/c/data.c", "{uri}/film {film}"),
    ] {
        jobs.extend(tests_in(file).iter().map(|test| job(program, &format!("{test} {last}"))));
    }
    jobs.extend((200..210).map(|seed| job(&fuzz, &format!("{seed}000 150 100 {{uri}}/ {{dir}}"))));
    run_all(jobs);
}

#[test]
fn no_two_threads_touch_the_same_byte_unordered() {
    let Some(library) = Sanitized::build("thread", "tsan") else { return };
    if !library.is_std {
        // Locks of the standard library that ThreadSanitizer does not see would be reported as races.
        return skip("there is no source of Rust's standard library (rustup component add rust-src)");
    }
    assert!(library.calls("__tsan_write") > 10_000, "the library is not sanitized");
    let broken = library.compile(&c::source("tests/c/broken.c"), false);
    broken.reports("race", &["ThreadSanitizer: data race", "write_number"]);
    broken.reports("library_race", &["ThreadSanitizer: data race", "pdtp_client_stats", "write_stats"]);

    let compile = |file: &str| library.compile(&c::source(file), false);
    let (hammer, fuzz, life) =
        (compile("tests/c/hammer.c"), compile("tests/c/fuzz.c"), compile("tests/c/life.c"));
    let reader = compile("tests/c/reader.c");
    let mut jobs = Vec::new();
    jobs.extend((0..6).map(|n| job(&hammer, &format!("{} 12 {{uri}}/ {{dir}}", 100 * n))));
    jobs.extend((300..306).map(|seed| job(&fuzz, &format!("{seed}000 200 30 {{uri}}/ {{dir}}"))));
    for test in ["threads", "one_drains", "thread_mode", "free_at_random", "wakeup", "interrupt", "stream"] {
        jobs.push(job(&life, &format!("{test} {{uri}}/file.bin {{dir}}")));
    }
    for test in ["threads", "cancel", "free_client_first", "interrupt"] {
        jobs.push(job(&reader, &format!("{test} {{uri}}/film {{film}}")));
    }
    run_all(jobs);
}
