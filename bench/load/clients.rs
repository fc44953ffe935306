//! Thousands of light clients in one process, each with a control connection of its own and an address of
//! 127.0.0.0/8: they register, download a file, check it, and hold on.
//!
//! They speak version 3 as it is on the wire, but keep nothing, and give nothing to others. Used by `pdtp-load` and by
//! the slow tests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use pdtp::content::{hash_piece, merkle_root};
use pdtp::wire::{self, Dialect, Digest, FrameReader, Message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Nothing takes longer than this.
const PATIENCE: Duration = Duration::from_secs(120);
/// Clients that share an address.
const PER_ADDRESS: usize = 100;

/// What all of them did.
#[derive(Debug, Default)]
pub struct Totals {
    /// Have the file, and are still connected.
    pub holding: AtomicUsize,
    pub payload_bytes: AtomicU64,
    /// On control connections, both ways.
    pub control_bytes: AtomicU64,
    pub transfers: AtomicU64,
    /// Why clients failed; the first few.
    pub errors: std::sync::Mutex<Vec<String>>,
    pub failed: AtomicUsize,
}

/// Which crowd.
#[derive(Debug, Clone)]
pub struct Crowd {
    pub server: SocketAddr,
    /// Path with a slash in front.
    pub path: String,
    pub clients: usize,
    /// Downloads at once.
    pub at_once: usize,
}

/// Starts them; they stay until `stay` says otherwise. The number of the first one sets their ids and addresses.
pub fn start(crowd: &Crowd, first: usize, totals: &Arc<Totals>, stay: &watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(crowd.at_once));
    for number in first..first + crowd.clients {
        let (crowd, totals, places, stay) =
            (crowd.clone(), Arc::clone(totals), Arc::clone(&places), stay.clone());
        tokio::spawn(async move {
            if let Err(error) = client(&crowd, number, &totals, &places, stay).await {
                totals.failed.fetch_add(1, Relaxed);
                let mut errors = totals.errors.lock().unwrap();
                if errors.len() < 10 {
                    errors.push(format!("client {number}: {error}"));
                }
            }
        });
    }
}

fn address_of(number: usize) -> Ipv4Addr {
    let host = number / PER_ADDRESS;
    Ipv4Addr::new(127, 1, u8::try_from(host / 250).unwrap_or(255), u8::try_from(host % 250 + 1).unwrap_or(1))
}

async fn connect(number: usize, server: SocketAddr) -> Result<TcpStream, String> {
    let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
    let own = SocketAddr::new(IpAddr::V4(address_of(number)), 0);
    socket.bind(own).map_err(|error| format!("bind {own}: {error}"))?;
    let stream = timeout(PATIENCE, socket.connect(server)).await.map_err(|_| "connect: timeout")?;
    let stream = stream.map_err(|error| format!("connect: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// A control connection.
struct Control<'a> {
    stream: TcpStream,
    frames: FrameReader,
    totals: &'a Totals,
}

impl Control<'_> {
    async fn send(&mut self, message: impl Into<Message>) -> Result<(), String> {
        let mut bytes = BytesMut::new();
        message.into().encode(Dialect::Framed, &mut bytes).map_err(|error| error.to_string())?;
        self.totals.control_bytes.fetch_add(bytes.len() as u64, Relaxed);
        self.stream.write_all(&bytes).await.map_err(|error| format!("send: {error}"))
    }

    /// The next message that is no greeting, ping or the like; those are answered.
    async fn next(&mut self) -> Result<Message, String> {
        loop {
            while let Some(body) = self.frames.next_body().map_err(|error| error.to_string())? {
                match Message::parse(&body).map_err(|error| error.to_string())? {
                    Message::Ping(_) => self.send(wire::Pong {}).await?,
                    // Of one that is over: it has come while a body was read, or crossed the word of its end.
                    Message::Cancel(_) => {}
                    Message::Notice(_)
                    | Message::Reachable(_)
                    | Message::Waiting(_)
                    | Message::Hashing(_) => {}
                    Message::Error(error) => return Err(format!("{:?}: {}", error.code, error.message)),
                    other => return Ok(other),
                }
            }
            // On the stack only while something comes: thousands of these wait at once.
            self.stream.readable().await.map_err(|error| error.to_string())?;
            let mut buffer = [0; 4096];
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err("the server has closed".to_owned()),
                Ok(n) => {
                    self.totals.control_bytes.fetch_add(n as u64, Relaxed);
                    self.frames.feed(&buffer[..n]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("receive: {error}")),
            }
        }
    }

    async fn expect(&mut self, kind: &str) -> Result<Message, String> {
        match timeout(PATIENCE, self.next()).await {
            Ok(Ok(message)) if message.kind() == kind => Ok(message),
            Ok(Ok(message)) => Err(format!("{} instead of {kind}", message.kind())),
            Ok(Err(error)) => Err(format!("waiting for {kind}: {error}")),
            Err(_) => Err(format!("no {kind} in {PATIENCE:?}")),
        }
    }
}

async fn client(
    crowd: &Crowd,
    number: usize,
    totals: &Totals,
    places: &Semaphore,
    mut stay: watch::Receiver<bool>,
) -> Result<(), String> {
    let place = places.acquire().await.map_err(|error| error.to_string())?;
    let stream = connect(number, crowd.server).await?;
    let mut control = Control { stream, frames: FrameReader::new(Dialect::Framed), totals };
    let id = format!("load-{number}");
    let features = vec![wire::FEATURE_RUNS.to_owned()];
    control
        .send(wire::Register { client_id: id.clone(), version: Some(3), features, ..Default::default() })
        .await?;
    control.expect("registered").await?;
    let url = format!("http://{}{}", crowd.server.ip(), crowd.path);
    control.send(wire::AskInfo { url: url.clone(), ..Default::default() }).await?;
    let Message::TellInfo(info) = control.expect("tell_info").await? else { unreachable!() };
    let (Some(size), Some(root), Some(piece_size)) = (info.size, info.root, info.chunk_size) else {
        return Err(format!("no such file: {:?}", info.error));
    };
    let pieces = size.div_ceil(u64::from(piece_size)) as usize;
    let mut hashes: Vec<Option<Digest>> = vec![None; pieces];
    control.send(wire::Request { url, root: Some(root), ..Default::default() }).await?;
    let mut http = None;
    while hashes.iter().any(Option::is_none) {
        let Message::Transfer(transfer) = control.expect("transfer").await? else { unreachable!() };
        let body = fetch(&mut http, number, crowd.server, &transfer, &id).await?;
        totals.transfers.fetch_add(1, Relaxed);
        totals.payload_bytes.fetch_add(body.len() as u64, Relaxed);
        let first = (transfer.range.min / u64::from(piece_size)) as usize;
        for (index, piece) in body.chunks(piece_size as usize).enumerate() {
            hashes[first + index] = Some(hash_piece(piece));
            // As a client does that has a run: each piece is told, but the last one, which ends it.
            if (index + 1) * (piece_size as usize) < body.len() {
                let pieces = vec![(first + index) as u64];
                control.send(wire::Progress { id: transfer.id.unwrap_or_default(), pieces }).await?;
            }
        }
        control
            .send(wire::Completed {
                id: transfer.id,
                url: transfer.url,
                range: transfer.range,
                peer_id: transfer.peer_id,
                bytes: Some(body.len() as u64),
                ms: Some(1),
                ..Default::default()
            })
            .await?;
    }
    drop((http, place));
    let hashes: Vec<_> = hashes.into_iter().flatten().collect();
    if merkle_root(&hashes) != root {
        return Err("the file is not what its root says".to_owned());
    }
    totals.holding.fetch_add(1, Relaxed);
    let result = tokio::select! {
        message = control.next() => match message {
            Ok(message) => Err(format!("{} after the end", message.kind())),
            Err(error) => Err(error),
        },
        _ = stay.wait_for(|stay| !stay) => Ok(()),
    };
    totals.holding.fetch_sub(1, Relaxed);
    result
}

/// Does what a transfer says, on a connection that is kept for the next.
async fn fetch(
    http: &mut Option<TcpStream>,
    number: usize,
    server: SocketAddr,
    transfer: &wire::Transfer,
    id: &str,
) -> Result<Vec<u8>, String> {
    let path = wire::path_of_url(&transfer.url).map_err(|error| error.to_string())?;
    let max = transfer.range.max.ok_or("a transfer without an end")?;
    let (token, root) = (transfer.token.as_deref(), transfer.root);
    let (Some(token), Some(root), Some(transfer_id)) = (token, root, transfer.id) else {
        return Err("a transfer without token, root or id".to_owned());
    };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nX-PDTP-Peer-Id: {id}\r\nX-PDTP-Token: {token}\r\nX-PDTP-Transfer: {transfer_id}\r\n\
         If-Match: \"{root}\"\r\nRange: bytes={}-{max}\r\n\r\n",
        path.as_str(),
        server.ip(),
        transfer.range.min
    );
    let mut stream = match http.take() {
        Some(stream) => stream,
        None => connect(number, server).await?,
    };
    let exchange = async {
        stream.write_all(request.as_bytes()).await.map_err(|error| format!("GET: {error}"))?;
        let mut answer = Vec::new();
        let head = loop {
            if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut answer).await.map_err(|error| format!("GET: {error}"))? == 0 {
                return Err("GET: no answer".to_owned());
            }
        };
        let status = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
        if !status.ends_with("200") && !status.ends_with("206") {
            return Err(format!("GET: {}", String::from_utf8_lossy(&answer)));
        }
        let size = (max - transfer.range.min + 1) as usize;
        let mut body = answer.split_off(head);
        let had = body.len();
        body.resize(size, 0);
        stream.read_exact(&mut body[had..]).await.map_err(|error| format!("GET: {error}"))?;
        Ok(body)
    };
    let body = timeout(PATIENCE, exchange).await.map_err(|_| "GET: timeout")??;
    *http = Some(stream);
    Ok(body)
}
