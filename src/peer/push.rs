//! Sees to it that what was written leaves.
//!
//! What finds the queue before this machine's own line full is dropped there. Linux tells TCP so, which counts it as not sent and
//! tries again with the next acknowledgement. If nothing of the connection is on the way, there will be none, and it tries again
//! when a timer has run out that is made for receivers with a closed window: after 200 ms and more (`tcp_check_probe_timer`).
//! Where the line is shaped on this machine, and several connections share it, that happens to one of some thousand messages: to
//! the end of a run of pieces, a request, a word to the server.
//!
//! To set TCP_NODELAY, even once more, has everything sent that is waiting (tcp(7)). So that is done where bytes wait and none are on
//! the way. Which of the two it is only the system knows: see [`super::sys::backlog`].

use std::pin::pin;
use std::time::Duration;

use tokio::net::TcpStream;

use super::sys::{Backlog, backlog};

/// From finding that nothing is on the way to trying again: a queue has sent some packets by then. It doubles each time in vain.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause: it may be that the other side has closed its window, or that the line is down.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// As long as others of its bytes are on the way, acknowledgements come. This is when to look whether they still do.
pub(super) const LOOK: Duration = Duration::from_millis(25);

/// Waits for what follows something that was written, and has that sent meanwhile if the system does not.
pub(crate) async fn while_sending<T>(stream: &TcpStream, waiting: impl Future<Output = T>) -> T {
    let mut waiting = pin!(waiting);
    tokio::select! {
        biased;
        done = &mut waiting => done,
        () = push_out(stream) => waiting.await,
    }
}

/// Completes when all that was written has been sent, for the first time at least.
async fn push_out(stream: &TcpStream) {
    let mut pause = FIRST_PAUSE;
    loop {
        match backlog(stream) {
            Backlog::Nothing => return,
            Backlog::Moving => {
                pause = FIRST_PAUSE;
                tokio::time::sleep(LOOK).await;
            }
            Backlog::Stuck => {
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
                if backlog(stream) == Backlog::Stuck {
                    // If that fails the connection is broken, which the next read or write will tell.
                    let _ = stream.set_nodelay(true);
                }
            }
        }
    }
}
