//! What only the operating system can tell, and only by calls without a safe wrapper among our dependencies.

use std::fs::File;

use tokio::net::TcpStream;

/// Bytes handed to the system that the other side has not acknowledged. What the system takes in one go can be
/// megabytes, so the pace of a slow reader shows only here.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn unacknowledged(stream: &TcpStream) -> u64 {
    ask_queue(stream, libc::TIOCOUTQ)
}

/// What of a socket's queue for sending `request` asks for, bytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn ask_queue(stream: &TcpStream, request: libc::Ioctl) -> u64 {
    use std::os::fd::AsRawFd as _;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `stream` is borrowed, and the requests that are asked here write one int.
    #[allow(unsafe_code, reason = "no safe wrapper of this ioctl")]
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), request, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Not known on this system: what was handed over counts as arrived.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn unacknowledged(_stream: &TcpStream) -> u64 {
    0
}

/// How far what was handed to the system has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
pub(super) enum Backlog {
    /// All of it was sent once at least.
    Nothing,
    /// Some of it waits for acknowledgements of what is on the way.
    Moving,
    /// Some of it waits, and nothing is on the way.
    Stuck,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn backlog(stream: &TcpStream) -> Backlog {
    /// Bytes that were not sent yet (Linux, `include/uapi/linux/sockios.h`; since 2.6.34).
    const SIOCOUTQNSD: libc::Ioctl = 0x894b;
    match ask_queue(stream, SIOCOUTQNSD) {
        0 => Backlog::Nothing,
        unsent if unsent == unacknowledged(stream) => Backlog::Stuck,
        _ => Backlog::Moving,
    }
}

/// Not known on this system.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn backlog(_stream: &TcpStream) -> Backlog {
    Backlog::Nothing
}

/// What comes next is acknowledged together with what is said in answer, or with the next word that comes, and after 40 ms in any case
/// (Linux, `TCP_ATO_MIN`), rather than at once: a segment for each word that is heard costs those who share the line. Call it before
/// each read, as what is lost on the way makes the system forget it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn acknowledge_together(stream: &TcpStream) {
    // Without it there are some segments more.
    let _ = socket2::SockRef::from(stream).set_tcp_quickack(false);
}

/// Left to this system.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn acknowledge_together(_stream: &TcpStream) {}

/// Segments that came out of order so far: what lay between was lost, or overtaken.
#[cfg(all(target_os = "linux", any(target_env = "gnu", target_env = "musl")))]
pub(super) fn out_of_order(stream: &TcpStream) -> u32 {
    about(stream).map_or(0, |about| about.tcpi_rcv_ooopack)
}

#[cfg(all(target_os = "linux", any(target_env = "gnu", target_env = "musl")))]
fn about(stream: &TcpStream) -> Option<libc::tcp_info> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: whole numbers, of which none is invalid. Older kernels (before Linux 5.4) do not tell the last, and leave it 0.
    #[allow(unsafe_code, reason = "plain data")]
    let mut about: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&about) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `stream` is borrowed, and the kernel writes at most `length` bytes.
    #[allow(unsafe_code, reason = "no safe wrapper of this call")]
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut about).cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(about)
}

/// Not known on this system.
#[cfg(not(all(target_os = "linux", any(target_env = "gnu", target_env = "musl"))))]
pub(super) fn out_of_order(_stream: &TcpStream) -> u32 {
    0
}

/// Tells whether bytes of a file are in memory, so that nobody waits for a disk who sends them.
#[derive(Debug)]
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), allow(dead_code))]
pub(super) struct Residency<'a> {
    file: &'a File,
    /// The file system cannot be asked about single bytes, and this is what it says about all of them.
    always: Option<bool>,
}

impl<'a> Residency<'a> {
    pub(super) fn of(file: &'a File) -> Self {
        Self { file, always: None }
    }

    /// Whether bytes from `offset` on, `len` of them, are in memory, as far as samples can tell: files come into
    /// memory, and leave it, in stretches.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    pub(super) fn is_in_memory(&mut self, offset: u64, len: usize) -> bool {
        /// The kernel reads ahead this much by default.
        const SAMPLE: usize = 128 * 1024;
        let last = len.saturating_sub(1);
        let mut samples = (0..len).step_by(SAMPLE).chain([last]);
        samples.all(|at| self.always.unwrap_or_else(|| self.probe(offset + at as u64)))
    }

    /// Not known on this system.
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    pub(super) fn is_in_memory(&mut self, _offset: u64, _len: usize) -> bool {
        false
    }

    /// Tries to read the byte at `offset` without waiting.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn probe(&mut self, offset: u64) -> bool {
        use std::os::fd::AsRawFd as _;
        let Ok(offset) = libc::off_t::try_from(offset) else { return false };
        let mut byte = 0u8;
        let into = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: the descriptor is open as long as `file` is borrowed; one buffer of one byte is named, and is there
        // until the call returns.
        #[allow(unsafe_code, reason = "no safe wrapper of this call")]
        let read =
            unsafe { libc::preadv2(self.file.as_raw_fd(), &raw const into, 1, offset, libc::RWF_NOWAIT) };
        if read >= 0 {
            // Also at the end of the file: finding that takes no disk.
            return true;
        }
        if std::io::Error::last_os_error().raw_os_error() == Some(libc::EOPNOTSUPP) {
            let answer = is_memory_only(self.file);
            self.always = Some(answer);
            return answer;
        }
        false
    }
}

/// Whether the file is on a file system that has no disk.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn is_memory_only(file: &File) -> bool {
    use std::os::fd::AsRawFd as _;
    let mut about = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open as long as `file` is borrowed, and there is room for the answer.
    #[allow(unsafe_code, reason = "no safe wrapper of this call")]
    let result = unsafe { libc::fstatfs(file.as_raw_fd(), about.as_mut_ptr()) };
    if result != 0 {
        return false;
    }
    // SAFETY: fstatfs succeeded, so it has filled in the whole of it.
    #[allow(unsafe_code, reason = "see above")]
    let about = unsafe { about.assume_init() };
    about.f_type == libc::TMPFS_MAGIC
}

/// For threads that send, at their start: the other side hanging up is an error of the call there, and no signal, which
/// would end a program that has not made arrangements. (`sendfile` knows no MSG_NOSIGNAL, and which signals a program
/// handles is not for a library to say; a thread of its own may block them.)
#[cfg(unix)]
pub(crate) fn block_pipe_signals() {
    let mut signals = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is ours, made empty before it is used; the mask is that of this thread only.
    #[allow(unsafe_code, reason = "no safe wrapper of these calls")]
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigaddset(signals.as_mut_ptr(), libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut());
    }
}

/// There are no such signals on this system.
#[cfg(not(unix))]
pub(crate) fn block_pipe_signals() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_was_just_written_is_in_memory() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 300_000]).unwrap();
        assert!(Residency::of(&file).is_in_memory(0, 300_000));
        assert!(Residency::of(&file).is_in_memory(299_999, 1));
    }

    /// Sends through loopback to a socket whose filter drops some of what comes, or nothing. By chance that may be nothing, too.
    async fn send_and_lose(some: bool) -> u32 {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        const BYTES: usize = 1 << 18;
        /// Loads a random number (Linux, `filter.txt`: SKF_AD_OFF + SKF_AD_RANDOM).
        const RANDOM: u32 = -0x1000_i32 as u32 + 56;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut receiver, _) = listener.accept().await.unwrap();
        if some {
            let step = |code: u32, jt, jf, k| socket2::SockFilter::new(code as u16, jt, jf, k);
            let filter = [
                step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, RANDOM),
                step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, u32::MAX / 10 * 9),
                step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
                step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
            ];
            socket2::SockRef::from(&receiver).attach_filter(&filter).unwrap();
        }
        let sending = tokio::spawn(async move {
            let mut sender = sender;
            sender.write_all(&vec![7; BYTES]).await.unwrap();
            sender
        });
        let mut buffer = vec![0; BYTES];
        receiver.read_exact(&mut buffer).await.unwrap();
        let _sender = sending.await.unwrap();
        out_of_order(&receiver)
    }

    #[tokio::test]
    async fn what_was_lost_on_the_way_is_known() {
        // Nor is it for sure that nothing is overtaken, where a thread moves to another processor.
        for some in [true, false] {
            let mut times = 0;
            while (send_and_lose(some).await > 0) != some {
                times += 1;
                assert!(times < 50, "{some}");
            }
        }
    }

    /// Words that one side says one after the other, and the other side hears: how many acknowledgements come, and how long it takes.
    async fn segments_back(together: bool) -> (u32, std::time::Duration) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut speaker = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut listener, _) = listener.accept().await.unwrap();
        speaker.set_nodelay(true).unwrap();
        let (begun, before) = (std::time::Instant::now(), about(&speaker).unwrap().tcpi_segs_in);
        for _ in 0..50 {
            speaker.write_all(b"a word").await.unwrap();
            if together {
                acknowledge_together(&listener);
            }
            listener.read_exact(&mut [0; 6]).await.unwrap();
        }
        (about(&speaker).unwrap().tcpi_segs_in - before, begun.elapsed())
    }

    #[tokio::test]
    async fn what_is_heard_together_is_acknowledged_together() {
        let (each, _) = segments_back(false).await;
        let (together, time) = segments_back(true).await;
        // Every other one at least is acknowledged at once.
        let most = 25 + time.as_millis() / 40 + 5;
        assert!(each >= 45 && u128::from(together) <= most, "{each}; together {together} in {time:?}");
    }

    #[test]
    fn files_of_tmpfs_are_in_memory() {
        let Ok(file) = tempfile::tempfile_in("/dev/shm") else { return };
        file.set_len(1 << 20).unwrap();
        assert!(is_memory_only(&file));
        assert!(Residency::of(&file).is_in_memory(0, 1 << 20));
    }

    #[test]
    fn what_left_memory_is_not_in_it() {
        use std::os::fd::AsRawFd as _;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 1 << 20]).unwrap();
        if is_memory_only(&file) {
            return;
        }
        file.sync_all().unwrap();
        // SAFETY: an open descriptor, and no pointers.
        #[allow(unsafe_code, reason = "no safe wrapper of this call")]
        let advised = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        assert_eq!(advised, 0);
        assert!(!Residency::of(&file).is_in_memory(0, 1 << 20));
    }

    #[cfg(unix)]
    #[test]
    fn pipe_signals_are_blocked_on_the_thread_that_asks_for_it() {
        let is_blocked = || {
            let mut mask = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            // SAFETY: only asks; the mask is written before it is read.
            #[allow(unsafe_code, reason = "no safe wrapper of these calls")]
            unsafe {
                libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), mask.as_mut_ptr());
                libc::sigismember(mask.as_ptr(), libc::SIGPIPE) == 1
            }
        };
        let thread = std::thread::spawn(move || {
            assert!(!is_blocked());
            super::block_pipe_signals();
            is_blocked()
        });
        assert!(thread.join().unwrap());
        assert!(!is_blocked(), "no other thread is touched");
    }
}
