//! Counts what goes over control connections of real clients: they connect to a relay, which passes all on to the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Relays until the runtime ends. Where it listens, and the bytes of control connections so far, both ways.
pub async fn start(server: SocketAddr) -> io::Result<(SocketAddr, Arc<AtomicU64>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, bytes) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&bytes);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let bytes = Arc::clone(&counter);
            // One that breaks is the business of its two ends.
            tokio::spawn(async move { relay(client, server, &bytes).await });
        }
    });
    Ok((address, bytes))
}

async fn relay(client: TcpStream, server: SocketAddr, bytes: &AtomicU64) -> io::Result<()> {
    let mut first = [0];
    if client.peek(&mut first).await? == 0 {
        return Ok(());
    }
    // The first frame is short, so that its length, two bytes, begins with a zero; a request of HTTP begins with a letter.
    let is_control = !first[0].is_ascii_alphabetic();
    let server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let up = pass(from_client, to_server, is_control.then_some(bytes));
    let down = pass(from_server, to_client, is_control.then_some(bytes));
    tokio::try_join!(up, down).map(|_| ())
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    counter: Option<&AtomicU64>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        if let Some(counter) = counter {
            counter.fetch_add(count as u64, Relaxed);
        }
        to.write_all(&buffer[..count]).await?;
    }
}
