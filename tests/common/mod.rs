//! Harness of the end-to-end tests: real binaries, own ports, own directories, nothing left running.
//!
//! Declare it as `pub mod common;`, so that a test binary which uses only a part of it compiles without warnings.
//! Every wait here has a deadline; what a process printed is part of the message when one passes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// How long anything that should simply work may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often [`wait_until`] looks.
const POLL: Duration = Duration::from_millis(10);

// ---------------------------------------------------------------------------------------------------- waiting

/// Looks again and again until `condition` holds; panics with `what` when `patience` is over.
pub fn wait_until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        std::thread::park_timeout(POLL);
    }
}

// -------------------------------------------------------------------------------------------------- processes

/// What has come out of one pipe of a process so far.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Pipe {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn fill(&self, mut from: impl Read + Send + 'static) -> JoinHandle<()> {
        let to = self.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                to.0.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        })
    }
}

/// A process under test. Killed when dropped; its output is kept in memory.
pub struct Proc {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    out: Pipe,
    err: Pipe,
    readers: Vec<JoinHandle<()>>,
}

impl Proc {
    /// Starts `command` with nothing on standard input and both outputs collected.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = format!("{command:?}");
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let (out, err) = (Pipe::default(), Pipe::default());
        let readers = vec![out.fill(child.stdout.take().unwrap()), err.fill(child.stderr.take().unwrap())];
        Self { name, child, ended: None, out, err, readers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.out.text()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.err.text()
    }

    /// Sends a signal (`libc::SIGINT`, …).
    pub fn signal(&self, signal: i32) {
        assert!(self.ended.is_none(), "{} has ended already", self.name);
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: plain system call; the process is not waited for yet, so the pid is still ours.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "{}", io::Error::last_os_error());
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.ended.is_none() && {
            self.ended = self.child.try_wait().unwrap();
            self.ended.is_none()
        }
    }

    /// Waits for its end and gives all it said. Panics (after killing it) when `patience` is over.
    pub fn finish(mut self, patience: Duration) -> Run {
        let status = self.wait(patience);
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Run { command: self.name.clone(), status, stdout: self.out.bytes(), stderr: self.err.text() }
    }

    /// Waits for its end. Panics (after killing it) when `patience` is over.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        while self.is_running() {
            if Instant::now() >= deadline {
                self.kill9();
                panic!(
                    "{} still ran after {patience:?}\n--- stdout\n{}\n--- stderr\n{}",
                    self.name,
                    self.stdout(),
                    self.stderr()
                );
            }
            std::thread::park_timeout(POLL);
        }
        self.ended.unwrap()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill9(&mut self) {
        if self.is_running() {
            self.child.kill().unwrap();
            self.ended = Some(self.child.wait().unwrap());
        }
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Run {
    pub command: String,
    pub status: ExitStatus,
    /// Raw, because `pdtp cat` writes files here.
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Run {
    /// Exit code; a signal counts 128 + its number, as in a shell.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output of `--json`: one event a line, each an object with `"event"`.
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(parse_event).collect()
    }

    /// The last event of that name; panics without one.
    pub fn event(&self, name: &str) -> serde_json::Value {
        let all = self.json();
        let found = all.into_iter().rfind(|e| e["event"] == name);
        found.unwrap_or_else(|| panic!("no event {name:?} from {}", self.told()))
    }

    /// Panics unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{}", self.told());
        self
    }

    fn told(&self) -> String {
        format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.command, self.text(), self.stderr)
    }
}

fn parse_event(line: &str) -> serde_json::Value {
    let value: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
    assert!(value["event"].is_string(), "no event name in {line}");
    value
}

// ------------------------------------------------------------------------------------------------------- pdtp

fn pdtp_command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pdtp"));
    // Whom the user of this machine trusts is nothing that a test should depend on.
    command.env(
        "XDG_CONFIG_HOME",
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{}", std::process::id())),
    );
    command.args(args).env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
    command
}

/// Runs the command line client to its end.
pub fn pdtp<S: AsRef<OsStr>>(args: &[S]) -> Run {
    pdtp_start(args).finish(PATIENCE)
}

/// The same in another working directory.
pub fn pdtp_in<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> Run {
    let mut command = pdtp_command(args);
    command.current_dir(dir);
    Proc::spawn(command).finish(PATIENCE)
}

/// Starts the command line client.
pub fn pdtp_start<S: AsRef<OsStr>>(args: &[S]) -> Proc {
    Proc::spawn(pdtp_command(args))
}

// ------------------------------------------------------------------------------------------------------ pdtpd

/// A server under test: `pdtpd serve DIR --listen 127.0.0.1:0 --state SCRATCH …`. Killed when dropped.
pub struct Pdtpd {
    proc: Proc,
    dir: PathBuf,
    args: Vec<OsString>,
    port: u16,
    state: TempDir,
}

impl Pdtpd {
    /// Starts it and waits until it listens. `--listen` and `--state` are only added where `args` has none.
    pub fn start<S: AsRef<OsStr>>(dir: impl AsRef<Path>, args: &[S]) -> Self {
        let dir = dir.as_ref().to_owned();
        let args: Vec<OsString> = args.iter().map(|a| a.as_ref().to_owned()).collect();
        let state = scratch();
        let mut proc = Self::spawn(&dir, &args, None, state.path());
        let port = Self::read_port(&mut proc);
        Self { proc, dir, args, port, state }
    }

    /// The same, where it may have so many descriptors and no more.
    pub fn start_with_descriptors(dir: impl AsRef<Path>, descriptors: u64) -> Self {
        let (dir, state) = (dir.as_ref().to_owned(), scratch());
        let mut command = Self::command(&dir, &[], None, state.path());
        let limit = libc::rlimit { rlim_cur: descriptors, rlim_max: descriptors };
        let lower = move || {
            // SAFETY: plain system call; the structure is ours and only read.
            let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: between fork and exec it does nothing but one system call.
        unsafe { command.pre_exec(lower) };
        let mut proc = Proc::spawn(command);
        let port = Self::read_port(&mut proc);
        Self { proc, dir, args: Vec::new(), port, state }
    }

    /// Runs `pdtpd` with exactly these arguments to its end, for those that do not get as far as serving.
    pub fn run<S: AsRef<OsStr>>(args: &[S]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pdtpd"));
        command.args(args).env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
        Proc::spawn(command).finish(PATIENCE)
    }

    fn spawn(dir: &Path, args: &[OsString], port: Option<u16>, state: &Path) -> Proc {
        Proc::spawn(Self::command(dir, args, port, state))
    }

    fn command(dir: &Path, args: &[OsString], port: Option<u16>, state: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pdtpd"));
        command.arg("serve").arg(dir).env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
        let has = |name: &str| {
            args.iter().any(|a| a == name || a.as_bytes().starts_with(format!("{name}=").as_bytes()))
        };
        if !has("--listen") {
            command.arg("--listen").arg(format!("127.0.0.1:{}", port.unwrap_or(0)));
        }
        if !has("--state") {
            command.arg("--state").arg(state);
        }
        command.args(args);
        command
    }

    /// The port of the first `pdtp://HOST[:PORT]/` it prints.
    pub fn read_port(proc: &mut Proc) -> u16 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = proc.stdout() + &proc.stderr();
            // Only whole lines: the pipe may be read in the middle of one.
            let whole = &said[..said.rfind('\n').map_or(0, |at| at + 1)];
            let uri = whole.split_whitespace().find(|word| word.starts_with("pdtp://"));
            if let Some(uri) = uri {
                return uri.parse::<pdtp::wire::PdtpUri>().expect(uri).port;
            }
            assert!(proc.is_running(), "pdtpd ended with {:?}:\n{said}", proc.ended);
            assert!(Instant::now() < deadline, "pdtpd printed no URI:\n{said}");
            std::thread::park_timeout(POLL);
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.proc.pid()
    }

    /// The directory it serves.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// URI of a file or directory; `path` starts with `/` and is percent-encoded where it must be.
    pub fn uri(&self, path: &str) -> String {
        format!("pdtp://127.0.0.1:{}{path}", self.port)
    }

    /// The same for browsers.
    pub fn http(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Both outputs so far.
    pub fn said(&self) -> String {
        self.proc.stdout() + &self.proc.stderr()
    }

    pub fn is_running(&mut self) -> bool {
        self.proc.is_running()
    }

    /// `GET /.pdtp/status`.
    pub fn status(&self) -> serde_json::Value {
        let answer = http(self.port, "GET", "/.pdtp/status", &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).expect("status is JSON")
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.proc.signal(libc::SIGTERM);
        self.proc.wait(PATIENCE)
    }

    /// SIGKILL, and waits for its end.
    pub fn kill9(&mut self) {
        self.proc.kill9();
    }

    /// Starts it again after it has ended: same directory, arguments, state and port.
    pub fn restart(&mut self) {
        assert!(!self.proc.is_running(), "end it first");
        self.proc = Self::spawn(&self.dir, &self.args, Some(self.port), self.state.path());
        let port = Self::read_port(&mut self.proc);
        assert_eq!(port, self.port, "a restart keeps the port");
    }
}

/// A port of 127.0.0.1 on which nobody listens.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// From now on, and as long as the answer is kept, each time a process reads on in a directory takes so long. `None` where
/// that cannot be had, which is said.
pub fn slow_directories(pid: u32, delay: Duration) -> Option<Proc> {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: strace is not installed");
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=getdents64", "-e"]);
    command.arg(format!("inject=getdents64:delay_exit={}", delay.as_micros()));
    command.args(["-o", "/dev/null", "-p", &pid.to_string()]);
    let mut strace = Proc::spawn(command);
    wait_until("strace is attached, or may not be", PATIENCE, || {
        strace.stderr().contains(" attached") || !strace.is_running()
    });
    if strace.stderr().contains("not permitted") {
        eprintln!("SKIPPED: strace may not look at other processes here");
        return None;
    }
    assert!(strace.is_running(), "{}", strace.stderr());
    Some(strace)
}

// ------------------------------------------------------------------------------------------------------- HTTP

/// Answer to [`http`].
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// One HTTP/1.1 request on a connection of its own. Understands bodies with `Content-Length`, chunked ones, and
/// those that end with the connection.
pub fn http(port: u16, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    http_on(stream, port, method, target, headers)
}

/// The same on a connection that was made before.
pub fn http_on(
    mut stream: TcpStream,
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Answer {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes()).expect("send request");
    let mut from = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        from.read_line(&mut line).expect("read head");
        line.trim_end().to_owned()
    };
    let status = line().split(' ').nth(1).and_then(|s| s.parse().ok()).expect("status line");
    let mut fields = BTreeMap::new();
    while let Some((name, value)) = line().split_once(':') {
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if method != "HEAD" {
        from.read_to_end(&mut body).expect("read body");
    }
    if fields.get("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        body = dechunk(&body);
    } else if let (Some(length), true) = (fields.get("content-length"), method != "HEAD") {
        assert_eq!(body.len().to_string(), *length, "body as long as announced");
    }
    Answer { status, headers: fields, body }
}

fn dechunk(mut from: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = from.windows(2).position(|w| w == b"\r\n").expect("chunk size line");
        let size = std::str::from_utf8(&from[..end]).unwrap();
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).expect("chunk size");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&from[end + 2..end + 2 + size]);
        from = &from[end + 2 + size + 2..];
    }
}

// ------------------------------------------------------------------------------------------ files and trees

/// A directory of its own, gone when dropped.
pub fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("pdtp-test-").tempdir().unwrap()
}

/// `size` bytes that look random and are the same for the same `seed`.
pub fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Writes a file of [`content`] whose seed is made of its name and size; makes the directories above it.
pub fn make_file(dir: &Path, name: impl AsRef<OsStr>, size: usize) -> PathBuf {
    let name = name.as_ref();
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let seed =
        name.as_bytes().iter().fold(size as u64, |s, b| s.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*b));
    std::fs::write(&path, content(seed, size)).unwrap();
    path
}

/// A scratch directory with these files in it.
pub fn make_tree<N: AsRef<OsStr>>(files: &[(N, usize)]) -> TempDir {
    let dir = scratch();
    for (name, size) in files {
        make_file(dir.path(), name, *size);
    }
    dir
}

/// SHA-256 of a file, read in blocks.
pub fn sha256(path: &Path) -> [u8; 32] {
    let mut file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hasher.finalize().into(),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Every file below `dir`: relative path to size and SHA-256. Directories are in it with a `None`.
pub fn tree_sums(dir: &Path) -> BTreeMap<PathBuf, Option<(u64, [u8; 32])>> {
    let mut sums = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let relative = path.strip_prefix(dir).unwrap().to_owned();
            if meta.is_dir() {
                sums.insert(relative, None);
                todo.push(path);
            } else {
                sums.insert(relative, Some((meta.len(), sha256(&path))));
            }
        }
    }
    sums
}

/// Panics unless both directories hold the same names with the same content, and nothing else.
#[track_caller]
pub fn assert_same_tree(a: &Path, b: &Path) {
    let (left, right) = (tree_sums(a), tree_sums(b));
    let only = |x: &BTreeMap<PathBuf, _>, y: &BTreeMap<PathBuf, _>| -> Vec<PathBuf> {
        x.keys().filter(|k| !y.contains_key(*k)).cloned().collect()
    };
    let differ: Vec<_> =
        left.iter().filter(|(k, v)| right.get(*k).is_some_and(|w| w != *v)).map(|(k, _)| k).collect();
    assert!(
        left == right,
        "{} and {} differ\n  only left: {:?}\n  only right: {:?}\n  other content: {differ:?}",
        a.display(),
        b.display(),
        only(&left, &right),
        only(&right, &left)
    );
}

/// Panics unless both files have the same content.
#[track_caller]
pub fn assert_same_file(a: &Path, b: &Path) {
    let size = |p: &Path| std::fs::metadata(p).unwrap_or_else(|e| panic!("{}: {e}", p.display())).len();
    assert_eq!(size(a), size(b), "sizes of {} and {}", a.display(), b.display());
    assert!(sha256(a) == sha256(b), "{} and {} differ", a.display(), b.display());
}
