//! A descriptor that can be made readable and not readable again: what applications poll.
//!
//! Knows nothing of events. Raising it twice is the same as raising it once; [`WakeFd::raise`] is
//! async-signal-safe, because it is one system call on a descriptor that never blocks.

use std::io;

pub(super) use imp::WakeFd;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::fs::File;
    use std::io::{self, Read as _, Write as _};
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

    /// An eventfd.
    #[derive(Debug)]
    pub(crate) struct WakeFd(File);

    impl WakeFd {
        pub(crate) fn new() -> io::Result<Self> {
            open_eventfd().map(|fd| Self(File::from(fd)))
        }

        /// Makes it readable.
        pub(crate) fn raise(&self) {
            // Fails only when the counter is full: it is readable then.
            let _ = (&self.0).write(&1u64.to_ne_bytes());
        }

        /// Makes it not readable.
        pub(crate) fn lower(&self) {
            // Fails only when it is not readable already.
            let _ = (&self.0).read(&mut [0; 8]);
        }

        pub(crate) fn raw(&self) -> isize {
            self.0.as_raw_fd() as isize
        }
    }

    #[allow(unsafe_code, reason = "std has no eventfd, and a pipe costs twice the descriptors")]
    fn open_eventfd() -> io::Result<OwnedFd> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened, so it is valid and nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
mod imp {
    use std::io::{self, Read as _, Write as _};
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    /// A socket pair: one end is written to, the other polled.
    #[derive(Debug)]
    pub(crate) struct WakeFd {
        polled: UnixStream,
        written: UnixStream,
    }

    impl WakeFd {
        pub(crate) fn new() -> io::Result<Self> {
            let (polled, written) = UnixStream::pair()?;
            polled.set_nonblocking(true)?;
            written.set_nonblocking(true)?;
            Ok(Self { polled, written })
        }

        /// Makes it readable.
        pub(crate) fn raise(&self) {
            // Fails only when the buffer is full: it is readable then.
            let _ = (&self.written).write(&[1]);
        }

        /// Makes it not readable.
        pub(crate) fn lower(&self) {
            let mut sink = [0; 256];
            while matches!((&self.polled).read(&mut sink), Ok(1..)) {}
        }

        pub(crate) fn raw(&self) -> isize {
            self.polled.as_raw_fd() as isize
        }
    }
}

#[cfg(windows)]
mod imp {
    use std::io;
    use std::net::{Ipv4Addr, UdpSocket};
    use std::os::windows::io::AsRawSocket as _;

    /// A socket connected to itself on the loopback interface: Windows polls sockets only.
    #[derive(Debug)]
    pub(crate) struct WakeFd(UdpSocket);

    impl WakeFd {
        pub(crate) fn new() -> io::Result<Self> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(socket.local_addr()?)?;
            socket.set_nonblocking(true)?;
            Ok(Self(socket))
        }

        /// Makes it readable.
        pub(crate) fn raise(&self) {
            // Fails only when the buffer is full: it is readable then.
            let _ = self.0.send(&[1]);
        }

        /// Makes it not readable.
        pub(crate) fn lower(&self) {
            while self.0.recv(&mut [0; 1]).is_ok() {}
        }

        pub(crate) fn raw(&self) -> isize {
            self.0.as_raw_socket() as isize
        }
    }
}

/// The two ends of an interruption: a signal handler writes, a task of the runtime reads.
#[derive(Debug)]
pub(super) struct InterruptSender(Sender);

#[cfg(unix)]
type Sender = std::os::unix::net::UnixStream;
#[cfg(unix)]
type Receiver = tokio::net::UnixStream;
#[cfg(windows)]
type Sender = std::net::UdpSocket;
#[cfg(windows)]
type Receiver = tokio::net::UdpSocket;

/// See [`InterruptSender`].
#[derive(Debug)]
pub(super) struct InterruptReceiver(Receiver);

/// A pair of ends. Inside a runtime.
#[cfg(unix)]
pub(super) fn interrupt_pair() -> io::Result<(InterruptSender, InterruptReceiver)> {
    let (sender, receiver) = Sender::pair()?;
    sender.set_nonblocking(true)?;
    receiver.set_nonblocking(true)?;
    Ok((InterruptSender(sender), InterruptReceiver(Receiver::from_std(receiver)?)))
}

/// A pair of ends. Inside a runtime.
#[cfg(windows)]
pub(super) fn interrupt_pair() -> io::Result<(InterruptSender, InterruptReceiver)> {
    let receiver = Sender::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let sender = Sender::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    sender.connect(receiver.local_addr()?)?;
    receiver.connect(sender.local_addr()?)?;
    sender.set_nonblocking(true)?;
    receiver.set_nonblocking(true)?;
    Ok((InterruptSender(sender), InterruptReceiver(Receiver::from_std(receiver)?)))
}

impl InterruptSender {
    /// Async-signal-safe.
    pub(super) fn send(&self) {
        // Fails only when so much is unread that the reader wakes anyway.
        #[cfg(unix)]
        let _ = io::Write::write(&mut &self.0, &[1]);
        #[cfg(windows)]
        let _ = self.0.send(&[1]);
    }
}

impl InterruptReceiver {
    /// Completes after a [`InterruptSender::send`]; several in a row may count as one. `None` when the sender has
    /// gone.
    pub(super) async fn recv(&self) -> Option<()> {
        let mut sink = [0; 64];
        loop {
            self.0.readable().await.ok()?;
            #[cfg(unix)]
            let read = self.0.try_read(&mut sink);
            #[cfg(windows)]
            let read = self.0.try_recv(&mut sink);
            match read {
                Ok(0) => return None,
                Ok(_) => return Some(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn is_readable(fd: &WakeFd) -> bool {
        let mut poll = libc::pollfd { fd: fd.raw() as i32, events: libc::POLLIN, revents: 0 };
        #[allow(unsafe_code, reason = "poll is what applications do with the descriptor")]
        // SAFETY: one valid structure, and its count.
        let ready = unsafe { libc::poll(&mut poll, 1, 0) };
        ready == 1
    }

    #[cfg(unix)]
    #[test]
    fn readable_from_raise_to_lower() {
        let fd = WakeFd::new().unwrap();
        assert!(!is_readable(&fd));
        fd.lower();
        fd.raise();
        fd.raise();
        assert!(is_readable(&fd));
        fd.lower();
        assert!(!is_readable(&fd));
    }

    #[test]
    fn an_interruption_arrives() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (sender, receiver) = interrupt_pair().unwrap();
            sender.send();
            assert_eq!(receiver.recv().await, Some(()));
        });
    }
}
