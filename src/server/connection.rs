//! One TCP connection: finds out what it speaks, and hands it to whoever speaks that.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::admission::Ticket;
use super::control;
use super::core::ConnId;
use super::dispatcher::Event;
use super::service::Site;
use super::status::Counters;
use crate::peer::serve::serve_connection;
use crate::wire::{Sniff, limits, sniff};

/// What all connections share.
pub(super) struct Shared {
    pub(super) site: Arc<Site>,
    pub(super) counters: Arc<Counters>,
    pub(super) dispatcher: mpsc::Sender<Event>,
    /// Turns true when HTTP connections are to finish what they are at.
    pub(super) closing: watch::Receiver<bool>,
}

/// Serves a connection to its end. `busy` is dropped when it no longer moves anything worth waiting for.
pub(super) async fn serve(
    stream: TcpStream,
    conn: ConnId,
    mut ticket: Ticket,
    shared: Arc<Shared>,
    busy: mpsc::Sender<()>,
) {
    let first = tokio::select! {
        first = recognise(&stream) => first,
        _ = &mut ticket.evicted => return,
    };
    let Some((language, first)) = first else {
        return Counters::add(&shared.counters.unrecognised, 1);
    };
    let Some(_admitted) = ticket.speaks() else { return };
    match language {
        Sniff::Pdtp(dialect) => {
            drop(busy);
            keep_alive(&stream);
            control::serve(stream, first, dialect, conn, shared.dispatcher.clone()).await;
        }
        Sniff::Http => {
            let mut closing = shared.closing.clone();
            let closed = async move {
                // An error means that the server is gone, which is reason enough.
                let _ = closing.wait_for(|&closing| closing).await;
            };
            // Boxed: its state is several times that of an idle control connection, which would pay for it, too.
            Box::pin(serve_connection(stream, first, shared.site.clone(), closed)).await;
            drop(busy);
        }
        // TLS is not spoken yet; a client that tries it sees a closed connection.
        _ => Counters::add(&shared.counters.unrecognised, 1),
    }
}

/// Reads until it is clear what is spoken. `None`: nothing that is known, or not in time.
pub(super) async fn recognise(stream: &TcpStream) -> Option<(Sniff, Bytes)> {
    let listen = async {
        let mut first = BytesMut::new();
        loop {
            stream.readable().await?;
            // No memory before there are bytes, and no more of them than it takes to tell.
            let mut chunk = [0; limits::SNIFF_BYTES];
            match stream.try_read(&mut chunk[first.len()..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    let at = first.len();
                    first.extend_from_slice(&chunk[at..at + n]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            match sniff(&first) {
                Sniff::NeedMore if first.len() < limits::SNIFF_BYTES => {}
                Sniff::NeedMore | Sniff::Unknown => return Err(io::ErrorKind::InvalidData.into()),
                known => return io::Result::Ok((known, first.freeze())),
            }
        }
    };
    timeout(limits::REGISTER_TIMEOUT, listen).await.ok()?.ok()
}

/// Has the kernel find out whether the other side is still there, for version 2 clients, which have no ping.
fn keep_alive(stream: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new().with_time(2 * limits::KEEPALIVE);
    // Without it the connection is only noticed later.
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
