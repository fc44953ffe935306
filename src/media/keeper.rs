//! The keeper's end: starts a helper when there is something to ask, hands it bytes, and kills it when it takes too
//! long, wants too much, or says what makes no sense. The next question gets a new one.

use std::ffi::OsString;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::pipe::{Answer, Question, write_bytes};
use super::{HEAD, row};
use crate::wire::Attributes;

/// How long a helper has for one file.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes of one file that it gets.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// A helper is replaced after so many files, in case it leaks.
const MAX_FILES: u32 = 10_000;
/// After a helper could not be started, none is tried for so long.
const PAUSE: Duration = Duration::from_secs(60);

/// The program that is a helper: it calls [`super::helper::run`] with its standard input and output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Which.
    pub program: PathBuf,
    /// With what.
    pub arguments: Vec<OsString>,
}

/// Has files described. At most one helper at a time.
#[derive(Debug)]
pub struct Keeper {
    command: Command,
    deadline: Duration,
    running: Option<Running>,
    /// The child of `running`, for whoever has to kill it.
    leash: Arc<Leash>,
    guard: Option<JoinHandle<()>>,
    try_again_at: Option<Instant>,
}

/// Why nothing was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A helper came to a bad end over this file.
    File,
    /// There is no helper, which has nothing to do with the file.
    Helper,
}

#[derive(Debug)]
struct Running {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    files: u32,
}

/// What makes an end of a helper, from another thread than the one that waits for it.
#[derive(Debug, Default)]
struct Leash {
    state: Mutex<Held>,
    change: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    child: Option<Child>,
    /// When the child is killed, if it is at work.
    until: Option<Instant>,
    stop: bool,
}

/// Ends the work of a [`Keeper`] from any thread.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<Leash>);

impl Stopper {
    /// Kills the helper, and lets no other be started.
    pub fn stop(&self) {
        let mut held = self.0.lock();
        held.stop = true;
        held.kill();
        drop(held);
        self.0.change.notify_all();
    }
}

impl Keeper {
    /// Starts nothing yet.
    pub fn new(command: Command) -> Self {
        Self {
            command,
            deadline: DEADLINE,
            running: None,
            leash: Arc::default(),
            guard: None,
            try_again_at: None,
        }
    }

    /// For tests that shall not wait long.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What ends this from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.leash.clone())
    }

    /// What can be found out of a file of `size` bytes that begins with `head`; `read` fills a buffer from an offset, as
    /// far as the file goes, and says how far that was. Blocks for as long as the helper may take, and a little longer.
    pub fn describe(
        &mut self,
        read: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>,
        size: u64,
        head: &[u8],
        extension: &str,
    ) -> Result<Attributes, Trouble> {
        if self.running.is_none() && !self.start() {
            return Err(Trouble::Helper);
        }
        let running = self.running.as_mut().ok_or(Trouble::Helper)?;
        self.leash.hold_until(Some(Instant::now() + self.deadline));
        let result = running.ask(read, size, head, extension);
        self.leash.hold_until(None);
        let is_worn = running.files >= MAX_FILES;
        match result {
            Ok(all) => {
                if is_worn {
                    self.end();
                }
                Ok(all)
            }
            Err(error) => {
                tracing::debug!(%error, "a helper for metadata came to a bad end");
                self.end();
                // Killed because everything ends: that says nothing of the file.
                Err(if self.leash.lock().stop { Trouble::Helper } else { Trouble::File })
            }
        }
    }

    /// Whether there is a helper, or could be.
    fn start(&mut self) -> bool {
        let now = Instant::now();
        if self.try_again_at.is_some_and(|at| now < at) {
            return false;
        }
        match self.try_start() {
            Ok(is_started) => is_started,
            Err(error) => {
                let program = self.command.program.display();
                tracing::warn!(%program, %error, "no helper can be started: files are listed without their tags");
                self.try_again_at = Some(now + PAUSE);
                false
            }
        }
    }

    fn try_start(&mut self) -> io::Result<bool> {
        if self.guard.is_none() {
            let leash = self.leash.clone();
            let guard = std::thread::Builder::new().name("pdtp-helper".to_owned());
            self.guard = Some(guard.spawn(move || leash.watch())?);
        }
        let mut command = std::process::Command::new(&self.command.program);
        command.args(&self.command.arguments).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // It shall look like what it is in a list of processes, whatever way leads to the program.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::arg0(&mut command, "pdtpd");
        let mut held = self.leash.lock();
        if held.stop {
            return Ok(false);
        }
        let mut child = command.spawn()?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        held.child = Some(child);
        let (Some(to), Some(from)) = (to, from) else {
            held.kill();
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        self.running = Some(Running { to, from: BufReader::new(from), files: 0 });
        Ok(true)
    }

    /// Ends the helper that is there.
    fn end(&mut self) {
        self.running = None;
        self.leash.lock().kill();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stopper().stop();
        if let Some(guard) = self.guard.take() {
            // It has nothing left to do, however it ended.
            let _ = guard.join();
        }
    }
}

impl Running {
    fn ask(
        &mut self,
        read: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>,
        size: u64,
        head: &[u8],
        extension: &str,
    ) -> io::Result<Attributes> {
        self.files += 1;
        let head = head[..head.len().min(HEAD)].to_vec();
        Question { size, extension: extension.to_owned(), head }.write(&mut self.to)?;
        let mut left = MAX_BYTES;
        loop {
            match Answer::read(&mut self.from)? {
                Answer::Read { offset, length } => {
                    let mut bytes = vec![0; length.min(usize::try_from(left).unwrap_or(length))];
                    let length = read(&mut bytes, offset)?;
                    bytes.truncate(length);
                    left -= bytes.len() as u64;
                    write_bytes(&mut self.to, &bytes)?;
                }
                Answer::Done(row) => return row::decode(&row).ok_or(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}

impl Leash {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold_until(&self, until: Option<Instant>) {
        self.lock().until = until;
        self.change.notify_all();
    }

    /// The thread that looks at the clock, while another waits for the helper's answer.
    fn watch(&self) {
        let mut held = self.lock();
        while !held.stop {
            let now = Instant::now();
            held = match held.until {
                Some(until) if until <= now => {
                    held.kill();
                    held.until = None;
                    held
                }
                Some(until) => {
                    self.change.wait_timeout(held, until - now).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.change.wait(held).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Held {
    /// Kills the child, and takes note of its end so that nothing is left of it.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::wire::Attribute;

    const PATIENCE: Duration = Duration::from_millis(500);
    /// A limit that only what hangs reaches.
    const FAR: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        Command { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] }
    }

    fn nothing(_: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn ask(script: &str) -> Result<Attributes, Trouble> {
        let begin = Instant::now();
        let mut keeper = Keeper::new(shell(script)).with_deadline(PATIENCE);
        let found = keeper.describe(&mut nothing, 5, b"head", "x");
        // It is there for the next one, too.
        assert_eq!(keeper.describe(&mut nothing, 5, b"head", "x"), found);
        assert!(begin.elapsed() < FAR, "{script}");
        found
    }

    #[test]
    fn helpers_that_misbehave_end_and_cost_their_answer() {
        for script in [
            "exit 0",
            "kill -SEGV $$",
            "while :; do :; done",
            // Hears nothing and says nothing.
            "exec sleep 1000",
            // Says what makes no sense.
            "exec yes",
            // An answer without end.
            "printf '\\002\\377\\377\\377\\377'; exec yes",
            // Half an answer.
            "printf '\\002\\005\\000\\000\\000x'; exec sleep 1000",
            // Attributes that are none.
            "printf '\\002\\004\\000\\000\\000\\377\\001\\000x'; exec sleep 1000",
            // Wants bytes and does not take them.
            "while :; do printf '\\001\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\001\\000'; done",
        ] {
            assert_eq!(ask(script), Err(Trouble::File), "{script}");
        }
    }

    #[test]
    fn an_answer_is_taken() {
        let done = "printf '\\002\\004\\000\\000\\000\\000\\001\\000T'";
        let found = ask(&format!("{done}; {done}; exec sleep 1000")).unwrap();
        assert_eq!(found.get(Attribute::Title), Some("T"));
    }

    #[test]
    fn more_bytes_than_a_file_may_have_are_not_handed_out() {
        // Asks on and on, and throws away what it gets.
        let script = "cat >/dev/null & \
                      while :; do printf '\\001\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\002\\000'; done";
        let mut keeper = Keeper::new(shell(script)).with_deadline(Duration::from_secs(2));
        let mut handed = 0;
        let mut read = |buffer: &mut [u8], _| {
            handed += buffer.len() as u64;
            Ok(buffer.len())
        };
        assert_eq!(keeper.describe(&mut read, u64::MAX, b"", ""), Err(Trouble::File));
        assert!(handed <= MAX_BYTES, "{handed}");
    }

    #[test]
    fn where_no_helper_can_be_had_nothing_is_found() {
        let command = Command { program: "/nonexistent/helper".into(), arguments: Vec::new() };
        let mut keeper = Keeper::new(command);
        assert_eq!(keeper.describe(&mut nothing, 5, b"", ""), Err(Trouble::Helper));
        assert!(keeper.try_again_at.is_some());
    }

    #[test]
    fn the_end_does_not_wait_for_a_helper() {
        let mut keeper = Keeper::new(shell("exec sleep 1000")).with_deadline(FAR);
        let stopper = keeper.stopper();
        let begin = Instant::now();
        let waiter = std::thread::spawn(move || keeper.describe(&mut nothing, 5, b"", ""));
        while stopper.0.lock().until.is_none() {
            assert!(begin.elapsed() < FAR);
            std::thread::yield_now();
        }
        stopper.stop();
        assert_eq!(waiter.join().unwrap(), Err(Trouble::Helper));
        assert!(begin.elapsed() < FAR);
    }
}
