//! Compiles C programs against the `libpdtp.so` that cargo has just built, and runs them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::common::{PATIENCE, Proc, Run, scratch};

/// As users are told to compile.
pub const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// What the dynamic linker asks for.
pub const SONAME: &str = "libpdtp.so.0.1";

/// A file of this package.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The shared library of this build: beside the binaries when it was asked for, else among their dependencies.
pub fn library() -> PathBuf {
    let dir = Path::new(env!("CARGO_BIN_EXE_pdtp")).parent().unwrap();
    let places = [dir.join("deps/libpdtp.so"), dir.join("libpdtp.so")];
    let age = |path: &PathBuf| path.metadata().and_then(|m| m.modified()).ok();
    places.into_iter().filter(|path| path.exists()).max_by_key(age).expect("libpdtp.so was built")
}

/// Whether there is such a program.
pub fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// C compilers that are there.
pub fn compilers() -> impl Iterator<Item = &'static str> {
    ["cc", "clang"].into_iter().filter(|compiler| is_installed(compiler))
}

/// Names of the functions that the header declares.
pub fn header_prototypes() -> BTreeSet<String> {
    let text = std::fs::read_to_string(source("include/pdtp.h")).unwrap();
    let mut names = BTreeSet::new();
    let mut in_comment = false;
    for line in text.lines() {
        in_comment |= line.trim_start().starts_with("/*");
        let is_code = !in_comment && line.starts_with(|first: char| first.is_ascii_alphabetic());
        in_comment &= !line.contains("*/");
        let Some((before, _)) = line.split_once('(') else { continue };
        let name = before.rsplit([' ', '*']).next().unwrap_or_default();
        if is_code && !line.starts_with("typedef") && name.starts_with("pdtp_") {
            names.insert(name.to_owned());
        }
    }
    names
}

/// A compiled program and the directory it lives in.
pub struct CProgram {
    path: PathBuf,
    _dir: TempDir,
}

impl CProgram {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Run {
        let mut command = Command::new(&self.path);
        command.args(args);
        Proc::spawn(command).finish(PATIENCE * 2)
    }
}

/// Compiles a C program of this package.
pub fn compile(compiler: &str, file: &str) -> CProgram {
    let dir = scratch();
    for name in [SONAME, "libpdtp.so"] {
        std::os::unix::fs::symlink(library(), dir.path().join(name)).unwrap();
    }
    let path = dir.path().join("program");
    let mut command = Command::new(compiler);
    command.args(["-std=c99", "-g", "-O1", "-pthread"]).args(WARNINGS);
    command.arg("-I").arg(source("include")).arg(source(file)).arg("-o").arg(&path);
    command.arg("-L").arg(dir.path()).arg(format!("-Wl,-rpath,{}", dir.path().display())).arg("-lpdtp");
    Proc::spawn(command).finish(PATIENCE).expect(0);
    CProgram { path, _dir: dir }
}
