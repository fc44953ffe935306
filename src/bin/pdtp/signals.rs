//! Ctrl-C and its kin: the first asks the command to end well, the second ends the process.
//!
//! SIGHUP is left as it is, so that `nohup` works; the `.part` file survives even a SIGKILL.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use pdtp::client::{Client, Error, ErrorKind};

use crate::exit::Exit;

/// Whether the user or the system asked this process to end.
#[derive(Clone, Default)]
pub(crate) struct Signals {
    /// Exit code to end with; 0 = nobody asked.
    asked: Arc<AtomicU8>,
}

impl Signals {
    /// Begins to watch. When a signal comes, whoever waits on `client` is woken.
    pub(crate) fn watch(client: &Client) -> Result<Self, Error> {
        let cannot =
            |e: std::io::Error| Error::new(ErrorKind::Internal, format!("cannot watch signals: {e}"));
        let signals = Self::default();
        let (asked, client) = (Arc::clone(&signals.asked), client.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(cannot)?;
        // Inside the runtime, and before the thread starts: from here on no signal is missed.
        let mut source = {
            let _inside = runtime.enter();
            Source::new().map_err(cannot)?
        };
        let watch = async move {
            let exit = source.next().await;
            asked.store(exit as u8, Ordering::SeqCst);
            client.interrupt();
            let again = source.next().await;
            std::process::exit(i32::from(again as u8));
        };
        // Not joined: it waits for signals until the process ends.
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(watch))
            .map_err(cannot)?;
        Ok(signals)
    }

    /// What to end with, if somebody asked.
    pub(crate) fn asked(&self) -> Option<Exit> {
        match self.asked.load(Ordering::SeqCst) {
            0 => None,
            code if code == Exit::Terminated as u8 => Some(Exit::Terminated),
            _ => Some(Exit::Interrupted),
        }
    }
}

#[cfg(unix)]
struct Source {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

#[cfg(windows)]
struct Source {
    interrupt: tokio::signal::windows::CtrlC,
    close: tokio::signal::windows::CtrlClose,
}

#[cfg(windows)]
impl Source {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: tokio::signal::windows::ctrl_c()?,
            close: tokio::signal::windows::ctrl_close()?,
        })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.close.recv() => Exit::Terminated,
        }
    }
}
