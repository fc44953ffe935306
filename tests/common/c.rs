//! Compiles C programs against the `libpdtp.so` that cargo has just built, and runs them.

use std::collections::{BTreeMap, BTreeSet};
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
    prototypes(&std::fs::read_to_string(source("include/pdtp.h")).unwrap())
}

/// The same of the text of a header.
pub fn prototypes(text: &str) -> BTreeSet<String> {
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
    compile_with(compiler, &source(file), &[] as &[&str])
}

/// Compiles a program in C, or in C++ by its name, with more `options`.
pub fn compile_with<S: AsRef<OsStr>>(compiler: &str, file: &Path, options: &[S]) -> CProgram {
    let dir = scratch();
    for name in [SONAME, "libpdtp.so"] {
        std::os::unix::fs::symlink(library(), dir.path().join(name)).unwrap();
    }
    let path = dir.path().join("program");
    let is_cpp = file.extension().is_some_and(|extension| extension == "cpp");
    let mut command = Command::new(compiler);
    command.arg(if is_cpp { "-std=c++17" } else { "-std=c99" });
    command.args(["-g", "-O1", "-pthread"]).args(WARNINGS).args(options);
    command.arg("-I").arg(source("include")).arg(file).arg("-o").arg(&path);
    command.arg("-L").arg(dir.path()).arg(format!("-Wl,-rpath,{}", dir.path().display())).arg("-lpdtp");
    // Libraries of others come after what needs them.
    command.args(options.iter().filter(|option| option.as_ref().to_string_lossy().starts_with("-l")));
    Proc::spawn(command).finish(PATIENCE).expect(0);
    CProgram { path, _dir: dir }
}

/// What pkg-config says of a package of somebody else; `None` (loudly) where it is not installed.
pub fn package(name: &str) -> Option<Vec<String>> {
    let output = Command::new("pkg-config").args(["--cflags", "--libs", name]).output().ok();
    match output.filter(|output| output.status.success()) {
        Some(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Some(text.split_whitespace().map(str::to_owned).collect())
        }
        None => {
            eprintln!("SKIPPED: pkg-config does not know {name}");
            None
        }
    }
}

/// The programs on the pages of docs/guide, by name: blocks of code that begin with a comment that names them.
pub fn guide() -> BTreeMap<String, String> {
    let mut programs = BTreeMap::new();
    for entry in std::fs::read_dir(source("docs/guide")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for block in
            text.split("\n```").filter(|block| block.starts_with("c\n") || block.starts_with("cpp\n"))
        {
            let code = block.split_once('\n').unwrap().1;
            let name = code.trim_start_matches(['/', '*', ' ']).split([' ', '\n']).next().unwrap();
            assert!(name.ends_with(".c") || name.ends_with(".cpp"), "a program without a name: {code}");
            let twice = programs.insert(name.to_owned(), format!("{code}\n"));
            assert!(twice.is_none(), "{name} is there twice");
        }
    }
    programs
}
