//! One control connection: bytes to messages for the dispatcher, messages from it to bytes.
//!
//! Thousands of these sit idle, so an idle one holds no buffer: memory for reading is taken when bytes are there and
//! given back as soon as no part of a message is held.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::core::{ConnId, Input};
use super::dispatcher::Event;
use super::outbox::Outbox;
use crate::peer::{acknowledge_together, while_sending};
use crate::wire::{Dialect, FrameReader, Message, WireError, limits};

/// Read at once, bytes.
const READ_SIZE: usize = 4096;
/// Messages of one client that may wait for the dispatcher. With [`super::outbox::READ_PAUSE`] this bounds what a client
/// can make us queue by asking: 8 answers of at most a frame, one that took time, and 256 KiB.
const CREDITS: usize = 8;
/// A message must be whole this long after its first byte.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that accepts no byte for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The same, once the connection is being closed.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves a control connection until either side ends it. `first` are bytes already read.
pub(super) async fn serve(
    stream: TcpStream,
    first: Bytes,
    dialect: Dialect,
    conn: ConnId,
    dispatcher: mpsc::Sender<Event>,
) {
    let (Ok(remote), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let outbox = Arc::new(Outbox::new(dialect));
    let opened = Event::Opened { conn, remote, local, outbox: outbox.clone() };
    if dispatcher.send(opened).await.is_err() {
        return;
    }
    let end = tokio::select! {
        end = read(&stream, first, dialect, conn, &dispatcher, &outbox) => end,
        end = write(&stream, &outbox) => end,
    };
    if let Err(error) = end {
        tracing::debug!(?conn, %error, "control connection ended");
    }
    // The dispatcher outlives all connections, or else nobody needs to know.
    let _ = dispatcher.send(Event::Input(Input::Closed { conn })).await;
}

async fn read(
    stream: &TcpStream,
    first: Bytes,
    dialect: Dialect,
    conn: ConnId,
    dispatcher: &mpsc::Sender<Event>,
    outbox: &Outbox,
) -> io::Result<()> {
    let credits = Arc::new(Semaphore::new(CREDITS));
    let mut frames = FrameReader::new(dialect);
    frames.feed(&first);
    drop(first);
    let mut frame_deadline = None;
    loop {
        loop {
            has_room(conn, dispatcher, outbox).await;
            let message = match frames.next_body() {
                Ok(Some(body)) => Message::parse_as(dialect, &body),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            let is_fatal = message.as_ref().is_err_and(WireError::is_fatal);
            // The semaphore is never closed.
            let credit = credits.clone().acquire_owned().await.ok();
            let input = Input::Message { conn, message, credit };
            if dispatcher.send(Event::Input(input)).await.is_err() {
                return Ok(());
            }
            frame_deadline = None;
            if is_fatal {
                // Nothing that follows can be trusted. The dispatcher says why, and the writer ends the connection.
                return std::future::pending().await;
            }
        }
        if frames.is_between_frames() {
            *frames.buffer_mut() = BytesMut::new();
            stream.readable().await?;
        } else {
            let deadline = *frame_deadline.get_or_insert_with(|| Instant::now() + FRAME_TIMEOUT);
            timeout_at(deadline, stream.readable()).await??;
        }
        let buffer = frames.buffer_mut();
        buffer.reserve(READ_SIZE);
        acknowledge_together(stream);
        match stream.try_read_buf(buffer) {
            Ok(0) if frames.is_between_frames() => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until more may be asked. A client that goes on taking what is said to it, however slowly, is not to be taken for
/// dead because what it says, pongs too, is not read meanwhile.
async fn has_room(conn: ConnId, dispatcher: &mpsc::Sender<Event>, outbox: &Outbox) {
    let mut written = outbox.written();
    while timeout(limits::MIN_BODY_WINDOW, outbox.has_room()).await.is_err() {
        let before = std::mem::replace(&mut written, outbox.written());
        if written - before >= limits::MIN_BODY_BYTES {
            // Without a dispatcher this connection has ended.
            let _ = dispatcher.send(Event::Input(Input::HeldUp { conn })).await;
        }
    }
}

async fn write(stream: &TcpStream, outbox: &Outbox) -> io::Result<()> {
    while let Some(mut bytes) = while_sending(stream, outbox.take()).await {
        while bytes.has_remaining() {
            let patience = if outbox.is_closed() { LAST_WORDS_TIMEOUT } else { WRITE_TIMEOUT };
            timeout(patience, stream.writable()).await??;
            match stream.try_write(&bytes) {
                Ok(n) => {
                    bytes.advance(n);
                    outbox.wrote(n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
    farewell(stream).await;
    Ok(())
}

/// Ends the connection in such a way that the other side can read our last words: with bytes of its own still
/// unread here, closing at once would make the kernel reset the connection, and what we said last would be lost.
pub(super) async fn farewell(stream: &TcpStream) {
    // An error means that it is closed already.
    let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
    let mut rest = [0; 512];
    let read_away = async {
        // Until the other side closes too, or anything fails.
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut rest) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    };
    // Late is as good as never: it had its chance.
    let _ = timeout(LAST_WORDS_TIMEOUT, read_away).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::super::outbox::READ_PAUSE;
    use super::*;
    use crate::wire::{Notice, encode_frame};

    /// A connection as it is served, the other end of it, and what the dispatcher is told.
    async fn served() -> (tokio::task::JoinHandle<()>, TcpStream, mpsc::Receiver<Event>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        socket2::SockRef::from(&stream).set_send_buffer_size(16 * 1024).unwrap();
        let (dispatcher, events) = mpsc::channel(16);
        let serving = tokio::spawn(serve(stream, Bytes::new(), Dialect::Framed, ConnId(1), dispatcher));
        (serving, client, events)
    }

    /// Where the clock stands still until everybody waits for it, it tells how long they would have waited.
    async fn ends_after(serving: tokio::task::JoinHandle<()>) -> Duration {
        let started = Instant::now();
        serving.await.unwrap();
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_end_ends_the_connection() {
        let (serving, mut client, _events) = served().await;
        let mut frame = BytesMut::new();
        encode_frame(Dialect::Framed, b"[\"ping\",{}]", &mut frame).unwrap();
        // A byte now and then is not enough.
        let dawdling = tokio::spawn(async move {
            for byte in &frame[..frame.len() - 1] {
                if client.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(7)).await;
            }
            client
        });
        let lasted = ends_after(serving).await;
        assert!(lasted >= FRAME_TIMEOUT && lasted < FRAME_TIMEOUT + Duration::from_secs(1), "{lasted:?}");
        dawdling.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (serving, client, mut events) = served().await;
        let Some(Event::Opened { outbox, .. }) = events.recv().await else { panic!("not opened") };
        let notice = Message::from(Notice { message: "x".repeat(60_000) });
        for _ in 0..15 {
            assert!(outbox.push(&notice).unwrap().is_ok(), "more than the system's buffers hold");
        }
        socket2::SockRef::from(&client).set_recv_buffer_size(16 * 1024).unwrap();
        outbox.flush();
        let lasted = ends_after(serving).await;
        assert!(lasted >= WRITE_TIMEOUT && lasted < WRITE_TIMEOUT + Duration::from_secs(1), "{lasted:?}");
    }

    /// What a client says is not read before it has taken what was said to it; that it takes it counts instead.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_is_not_taken_for_dead() {
        for (taken, is_there) in [(limits::MIN_BODY_BYTES as usize, true), (100, false)] {
            let outbox = Arc::new(Outbox::new(Dialect::Framed));
            while outbox.backlog() < 3 * READ_PAUSE {
                assert!(outbox.push(&Notice { message: "x".repeat(60_000) }.into()).unwrap().is_ok());
            }
            assert!(outbox.take().await.is_some());
            let (dispatcher, mut events) = mpsc::channel(16);
            let waiting = tokio::spawn({
                let outbox = outbox.clone();
                async move { has_room(ConnId(1), &dispatcher, &outbox).await }
            });
            for _ in 0..10 {
                tokio::time::sleep(limits::MIN_BODY_WINDOW - Duration::from_millis(1)).await;
                outbox.wrote(taken);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            outbox.close();
            waiting.await.unwrap();
            let mut said = 0;
            while let Some(event) = events.recv().await {
                assert!(matches!(event, Event::Input(Input::HeldUp { conn: ConnId(1) })), "{event:?}");
                said += 1;
            }
            assert_eq!(said >= 9, is_there, "{said}");
            assert!(is_there || said == 0, "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_stays() {
        let (serving, client, _events) = served().await;
        tokio::time::sleep(10 * WRITE_TIMEOUT).await;
        assert!(!serving.is_finished());
        drop(client);
        ends_after(serving).await;
    }
}
