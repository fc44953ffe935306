//! Package maintainer and user, one after the other: from the tarball of `make dist`, in an empty directory, with the
//! network cut off, to a program that runs - and back, until nothing is left.
//!
//! Takes minutes: only with PDTP_SLOW=1 (`make check-slow`). The library is built as packagers build it, and its size is
//! what they get; the programs are built without optimisation. Of the package's own checks only `make smoke` is run, unless
//! PDTP_PACKAGE_CHECK=1 asks for all of `make check`.

#![cfg(target_os = "linux")]

#[path = "common/c.rs"]
pub mod c;
pub mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::*;

/// For a build of everything, without optimisation, on two busy processors.
const BUILD: Duration = Duration::from_secs(1500);

const PREFIX: &str = "/usr";
const LIBDIR: &str = "/usr/lib/x86_64-linux-gnu";
const MIB: u64 = 1 << 20;

/// What the stripped library may take.
const SIZE: u64 = 4 * MIB;

/// Everything that is installed: whoever adds something says so here.
const INSTALLED: &[&str] = &[
    "usr/bin/pdtp",
    "usr/bin/pdtpd",
    "usr/include/pdtp.h",
    "usr/include/pdtp.hpp",
    "usr/lib/sysusers.d/pdtpd.conf",
    "usr/lib/systemd/system/pdtpd.service",
    "usr/lib/x86_64-linux-gnu/cmake/pdtp/pdtpConfig.cmake",
    "usr/lib/x86_64-linux-gnu/cmake/pdtp/pdtpConfigVersion.cmake",
    "usr/lib/x86_64-linux-gnu/libpdtp.a",
    "usr/lib/x86_64-linux-gnu/libpdtp.so",
    "usr/lib/x86_64-linux-gnu/libpdtp.so.0.1",
    concat!("usr/lib/x86_64-linux-gnu/libpdtp.so.", env!("CARGO_PKG_VERSION")),
    "usr/lib/x86_64-linux-gnu/pkgconfig/pdtp.pc",
    "usr/share/bash-completion/completions/pdtp",
    "usr/share/bash-completion/completions/pdtpd",
    "usr/share/doc/pdtp/LICENSE-APACHE",
    "usr/share/doc/pdtp/LICENSE-MIT",
    "usr/share/doc/pdtp/README.md",
    "usr/share/fish/vendor_completions.d/pdtp.fish",
    "usr/share/fish/vendor_completions.d/pdtpd.fish",
    "usr/share/man/man1/pdtp.1",
    "usr/share/man/man3/libpdtp.3",
    "usr/share/man/man5/pdtpd.toml.5",
    "usr/share/man/man8/pdtpd.8",
    "usr/share/zsh/site-functions/_pdtp",
    "usr/share/zsh/site-functions/_pdtpd",
];

fn skip(why: &str) -> bool {
    eprintln!("SKIPPED: {why}");
    true
}

fn must_skip() -> bool {
    let unshare = Command::new("unshare").args(["-n", "true"]).output();
    match () {
        () if std::env::var_os("PDTP_SLOW").is_none() => skip("PDTP_SLOW is not set"),
        () if !c::source(".git").exists() => skip("`make dist` needs a git checkout"),
        () if !unshare.is_ok_and(|run| run.status.success()) => skip("`unshare -n` is not permitted"),
        () if !c::is_installed("pkg-config") => skip("pkg-config is not installed"),
        () => false,
    }
}

/// A shell, in a directory, with nothing of this build in its environment.
struct Place<'a> {
    dir: &'a Path,
    vars: Vec<(&'static str, String)>,
}

impl Place<'_> {
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-e", "-c", line]).current_dir(self.dir).env_clear();
        for name in ["PATH", "HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.vars.iter().map(|(name, value)| (name, value)));
        command
    }

    fn try_run(&self, line: &str) -> Run {
        Proc::spawn(self.command(line)).finish(BUILD)
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        eprintln!("$ {line}");
        self.try_run(line).expect(0).text()
    }
}

/// Everything in `dir` but directories, by its path from there.
fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

fn installed_server(program: &Path, served: &Path, library: &Path) -> (Proc, String) {
    let mut command = Command::new(program);
    command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--name", "127.0.0.1"]).arg(served);
    command.env("LD_LIBRARY_PATH", library);
    let server = Proc::spawn(command);
    wait_until("the server listens", PATIENCE, || server.stdout().contains('\n'));
    let said: serde_json::Value = serde_json::from_str(server.stdout().lines().next().unwrap()).unwrap();
    let uri = said["uris"][0].as_str().unwrap_or_else(|| panic!("no URI in {said}")).to_owned();
    (server, uri)
}

#[test]
fn a_package_is_built_used_and_removed() {
    if must_skip() {
        return;
    }
    let work = scratch();
    let source = unpack(work.path());
    let stage = work.path().join("stage");
    let cargo_home = work.path().join("cargo");
    let vars =
        vec![("CARGO_HOME", cargo_home.to_str().unwrap().to_owned()), ("CARGO_NET_OFFLINE", "true".into())];
    let build = Place { dir: &source, vars };
    let fast = ["LTO=off", "CODEGEN_UNITS=16", "OPT_LEVEL=1", "DEBUG=false"]
        .map(|setting| format!("CARGO_PROFILE_RELEASE_{setting}"))
        .join(" ");

    // The maintainer.
    build.run("unshare -n make lib");
    build.run(&format!("unshare -n env {fast} make --assume-old=lib"));
    build.run("unshare -n sh -c 'ip link set lo up && make smoke'");
    if std::env::var_os("PDTP_PACKAGE_CHECK").is_some() {
        build.run("unshare -n sh -c 'ip link set lo up && make check'");
    } else {
        skip(
            "PDTP_PACKAGE_CHECK is not set: `make smoke` only, and not `make check`, which takes a quarter of an hour",
        );
    }
    let to = format!("PREFIX={PREFIX} LIBDIR={LIBDIR} DESTDIR={}", stage.display());
    build.run(&format!("unshare -n make install {to}"));
    is_complete(&stage);
    library_is_right(&source, &stage);
    extras_are_right(&stage);

    // The user.
    let served = make_tree(&[("file.bin", 300_000), ("sub/x", 1000)]);
    let libdir = stage.join(&LIBDIR[1..]);
    let (server, uri) = installed_server(&stage.join("usr/bin/pdtpd"), served.path(), &libdir);
    uses_pkg_config(work.path(), &stage, &uri, served.path());
    uses_cmake(work.path(), &stage, &uri, served.path());

    // Moved as a whole, without being told where.
    let moved = work.path().join("moved");
    build.run(&format!("make install PREFIX=/opt/pdtp DESTDIR={}", work.path().join("opt").display()));
    std::fs::rename(work.path().join("opt/opt/pdtp"), &moved).unwrap();
    uses_moved(work.path(), &moved, &uri, served.path());
    drop(server);

    // Away with it: what others have installed beside it stays.
    let others = libdir.join("libother.so");
    std::fs::write(&others, "").unwrap();
    build.run(&format!("make uninstall {to}"));
    assert_eq!(files(&stage), [others.strip_prefix(&stage).unwrap().to_str().unwrap().to_owned()].into());
    std::fs::remove_file(&others).unwrap();
    build.run(&format!("make install {to} && make uninstall {to}"));
    assert_eq!(std::fs::read_dir(&stage).unwrap().count(), 0, "directories are left in {}", stage.display());
}

/// Makes the tarball of the last commit, or takes the one that PDTP_TARBALL names, and unpacks it.
fn unpack(work: &Path) -> PathBuf {
    let name = concat!("pdtp-", env!("CARGO_PKG_VERSION"));
    let tarball = std::env::var_os("PDTP_TARBALL").map(PathBuf::from).unwrap_or_else(|| {
        let here = Place { dir: &c::source(""), vars: Vec::new() };
        eprintln!("{}", here.run("make dist"));
        c::source("dist").join(format!("{name}.tar.xz"))
    });
    Place { dir: work, vars: Vec::new() }.run(&format!("tar -xf {}", tarball.display()));
    work.join(name)
}

fn is_complete(stage: &Path) {
    let there: BTreeSet<_> =
        files(stage).into_iter().filter(|path| !path.starts_with("usr/share/doc/pdtp/examples/")).collect();
    let wanted: BTreeSet<_> = INSTALLED.iter().map(|&path| path.to_owned()).collect();
    assert_eq!(there, wanted);
    let libdir = stage.join(&LIBDIR[1..]);
    for (link, to) in
        [("libpdtp.so", "libpdtp.so.0.1"), ("libpdtp.so.0.1", INSTALLED[11].rsplit('/').next().unwrap())]
    {
        assert_eq!(std::fs::read_link(libdir.join(link)).unwrap(), Path::new(to));
    }
}

fn library_is_right(source: &Path, stage: &Path) {
    let library = stage.join(INSTALLED[11]);
    let place = Place { dir: stage, vars: Vec::new() };
    let library_name = library.display();
    assert!(place.run(&format!("readelf -d {library_name}")).contains("[libpdtp.so.0.1]"));
    let listed = place.run(&format!("nm -D --defined-only --with-symbol-versions {library_name}"));
    let exported: BTreeSet<_> = listed
        .lines()
        .filter_map(|line| line.rsplit(' ').next())
        .filter(|name| !name.starts_with("PDTP_"))
        .collect();
    let declared = c::header_prototypes();
    assert_eq!(exported.len(), declared.len());
    assert!(
        exported.iter().all(|name| name.starts_with("pdtp_") && name.contains("@@PDTP_0.")),
        "{exported:?}"
    );
    // The places of panics tell which modules are in it.
    let text = place.run(&format!("strings -n 8 {library_name}"));
    assert!(text.contains("src/client/"), "its own modules are seen");
    for foreign in ["src/server/", "src/hub/", "src/swarm/", "src/publisher/", "redb-", "clap_builder-"] {
        assert!(!text.contains(foreign), "{foreign} is in the library");
    }
    let stripped = stage.join("../stripped.so");
    place.run(&format!("strip -o {} {library_name}", stripped.display()));
    let size = stripped.metadata().unwrap().len();
    eprintln!("libpdtp.so: {size} bytes stripped");
    assert!(size <= SIZE, "{size} bytes are more than {SIZE}");
    let build_log = std::fs::read_to_string(source.join("build/libs.private")).unwrap();
    assert!(build_log.contains("-lpthread") || build_log.contains("-lc"), "{build_log}");
}

fn extras_are_right(stage: &Path) {
    let place = Place { dir: stage, vars: Vec::new() };
    if c::is_installed("systemd-analyze") {
        // It wants to find the program that the unit names.
        let line = "mkdir ../unit && sed s,ExecStart=,\\&$PWD, usr/lib/systemd/system/pdtpd.service >../unit/pdtpd.service \
                    && systemd-analyze verify --man=no ../unit/pdtpd.service 2>&1";
        let told = place.run(line);
        assert!(!told.contains("pdtpd"), "{told}");
        let line =
            "systemd-analyze security --offline=true --threshold=20 usr/lib/systemd/system/pdtpd.service";
        let told = place.run(line);
        eprintln!("{}", told.lines().last().unwrap_or_default());
    } else {
        skip("systemd-analyze is not installed");
    }
    for (checker, line) in [
        (
            "bash",
            "bash -n usr/share/bash-completion/completions/pdtp usr/share/bash-completion/completions/pdtpd",
        ),
        ("zsh", "zsh -n usr/share/zsh/site-functions/_pdtp && zsh -n usr/share/zsh/site-functions/_pdtpd"),
        (
            "fish",
            "fish -n usr/share/fish/vendor_completions.d/pdtp.fish usr/share/fish/vendor_completions.d/pdtpd.fish",
        ),
        ("mandoc", "mandoc -T lint -W error usr/share/man/man*/*"),
    ] {
        if c::is_installed(checker) || checker == "mandoc" && Path::new("/usr/bin/mandoc").exists() {
            place.run(line);
        } else {
            skip(&format!("{checker} is not installed"));
        }
    }
    let page = |path: &str| std::fs::read_to_string(stage.join("usr/share/man").join(path)).unwrap();
    assert!(page("man1/pdtp.1").contains("\\-\\-seed\\-for") && page("man8/pdtpd.8").contains("\\-\\-state"));
    assert!(page("man5/pdtpd.toml.5").contains("limit\\-up"));
    let libpdtp = page("man3/libpdtp.3");
    for name in c::header_prototypes() {
        assert!(libpdtp.contains(&format!("\\fB{name}\\fR()")), "{name} is not in libpdtp.3");
    }
}

/// Writes the program of the tutorial.
fn tutorial(dir: &Path) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let file = dir.join("fetch.c");
    std::fs::write(&file, &c::guide()["fetch.c"]).unwrap();
    file
}

fn downloads(program: &Path, libdir: &Path, uri: &str, served: &Path) {
    let dir = scratch();
    let copy = dir.path().join("copy");
    let mut command = Command::new(program);
    command.arg(format!("{uri}file.bin")).arg(&copy).env("LD_LIBRARY_PATH", libdir);
    Proc::spawn(command).finish(PATIENCE).expect(0);
    assert!(std::fs::read(&copy).unwrap() == std::fs::read(served.join("file.bin")).unwrap());
}

/// Whether the dynamic linker looks for the library.
fn needs_library(program: &Path) -> bool {
    let mut command = Command::new("readelf");
    command.arg("-d").arg(program);
    Proc::spawn(command).finish(PATIENCE).expect(0).text().contains("[libpdtp.so.0.1]")
}

fn uses_pkg_config(work: &Path, stage: &Path, uri: &str, served: &Path) {
    let dir = work.join("with-pkg-config");
    tutorial(&dir);
    let libdir = stage.join(&LIBDIR[1..]);
    let vars = vec![
        ("PKG_CONFIG_SYSROOT_DIR", stage.display().to_string()),
        ("PKG_CONFIG_LIBDIR", libdir.join("pkgconfig").display().to_string()),
    ];
    let place = Place { dir: &dir, vars };
    let flags = place.run("pkg-config --cflags --libs pdtp");
    assert!(flags.contains(&format!("-L{} ", libdir.display())) && !flags.contains(" -L/usr/lib"), "{flags}");
    assert_eq!(place.run("pkg-config --modversion pdtp").trim(), env!("CARGO_PKG_VERSION"));
    place.run("cc -Wall -Wextra -Wpedantic -Werror -o shared fetch.c $(pkg-config --cflags --libs pdtp)");
    place.run("cc -o bundled fetch.c $(pkg-config --cflags pdtp) -Wl,-Bstatic $(pkg-config --libs pdtp) -Wl,-Bdynamic \
               $(pkg-config --static --libs-only-l pdtp | sed s/-lpdtp//)");
    // The resolver of glibc warns: it loads its parts at run time even so.
    place.run("cc -static -o static fetch.c $(pkg-config --cflags --static --libs pdtp)");
    for (program, is_shared) in [("shared", true), ("bundled", false), ("static", false)] {
        assert_eq!(needs_library(&dir.join(program)), is_shared, "{program}");
        downloads(&dir.join(program), &libdir, uri, served);
    }
}

const CMAKE_LISTS: &str = "cmake_minimum_required(VERSION 3.16)\nproject(fetch C)\nfind_package(pdtp @wanted@ REQUIRED)\n\
    add_executable(shared fetch.c)\ntarget_link_libraries(shared PRIVATE pdtp::pdtp)\n\
    add_executable(static fetch.c)\ntarget_link_libraries(static PRIVATE pdtp::pdtp_static)\n";

fn uses_cmake(work: &Path, stage: &Path, uri: &str, served: &Path) {
    if !c::is_installed("cmake") {
        skip("cmake is not installed");
        return;
    }
    let dir = work.join("with-cmake");
    tutorial(&dir);
    let place = Place { dir: &dir, vars: Vec::new() };
    let configure = |wanted: &str| {
        std::fs::write(dir.join("CMakeLists.txt"), CMAKE_LISTS.replace("@wanted@", wanted)).unwrap();
        let _ = std::fs::remove_dir_all(dir.join("build"));
        place.try_run(&format!("cmake -B build -DCMAKE_PREFIX_PATH={}/usr 2>&1", stage.display()))
    };
    for (wanted, is_there) in
        [("", true), ("0.1", true), ("0.1.0 EXACT", true), ("0.2", false), ("1", false), ("0.1.99", false)]
    {
        let run = configure(wanted);
        assert_eq!(run.code() == 0, is_there, "find_package(pdtp {wanted}): {}", run.text());
        assert!(
            is_there || run.text().contains(env!("CARGO_PKG_VERSION")),
            "says what there is: {}",
            run.text()
        );
    }
    configure("0.1").expect(0);
    place.run("cmake --build build");
    for (program, is_shared) in [("shared", true), ("static", false)] {
        assert_eq!(needs_library(&dir.join("build").join(program)), is_shared, "{program}");
        downloads(&dir.join("build").join(program), &stage.join(&LIBDIR[1..]), uri, served);
    }
}

fn uses_moved(work: &Path, moved: &Path, uri: &str, served: &Path) {
    let dir = work.join("with-moved");
    tutorial(&dir);
    let vars = vec![("PKG_CONFIG_PATH", moved.join("lib/pkgconfig").display().to_string())];
    let place = Place { dir: &dir, vars };
    let said = place.run("pkg-config --define-prefix --variable=libdir pdtp");
    assert_eq!(said.trim(), moved.join("lib").to_str().unwrap());
    place.run("cc -o shared fetch.c $(pkg-config --define-prefix --cflags --libs pdtp)");
    downloads(&dir.join("shared"), &moved.join("lib"), uri, served);
    place.run("cc -static -o static fetch.c $(pkg-config --define-prefix --cflags --static --libs pdtp)");
    assert!(!needs_library(&dir.join("static")));
    downloads(&dir.join("static"), &moved.join("lib"), uri, served);
    if c::is_installed("cmake") {
        std::fs::write(dir.join("CMakeLists.txt"), CMAKE_LISTS.replace("@wanted@", "0.1")).unwrap();
        place.run(&format!("cmake -B build -DCMAKE_PREFIX_PATH={} && cmake --build build", moved.display()));
        downloads(&dir.join("build/shared"), &moved.join("lib"), uri, served);
    }
}
