//! A server that cannot be trusted: stands between a client and a real server, and changes what the server says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// Changes the members of a message of the server, given its type.
type Change = Box<dyn Fn(&str, &mut Value) + Send>;

/// Listens on a port of its own until the test ends.
pub struct Evil {
    pub port: u16,
    change: Arc<Mutex<Change>>,
    corrupts: Arc<AtomicBool>,
}

impl Evil {
    /// In front of the server at `port` of this machine.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let evil = Self {
            port: listener.local_addr().unwrap().port(),
            change: Arc::new(Mutex::new(Box::new(|_, _| {}))),
            corrupts: Arc::default(),
        };
        let (change, corrupts) = (Arc::clone(&evil.change), Arc::clone(&evil.corrupts));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (change, corrupts) = (Arc::clone(&change), Arc::clone(&corrupts));
                std::thread::spawn(move || carry(client, server, &change, &corrupts));
            }
        });
        evil
    }

    pub fn uri(&self, path: &str) -> String {
        format!("pdtp://127.0.0.1:{}{path}", self.port)
    }

    /// From now on messages of the server are changed like this.
    pub fn says(&self, change: impl Fn(&str, &mut Value) + Send + 'static) {
        *self.change.lock().unwrap() = Box::new(change);
    }

    /// Whether the bytes of files are changed on the way.
    pub fn corrupts(&self, corrupts: bool) {
        self.corrupts.store(corrupts, Ordering::SeqCst);
    }
}

fn carry(mut client: TcpStream, mut server: TcpStream, change: &Mutex<Change>, corrupts: &AtomicBool) {
    let mut first = [0; 3];
    if client.read_exact(&mut first).is_err() || server.write_all(&first).is_err() {
        return;
    }
    let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let upwards = std::thread::spawn(move || {
        let _ = io::copy(&mut up, &mut down);
        let _ = down.shutdown(Shutdown::Write);
    });
    let result = if first.iter().all(u8::is_ascii_uppercase) {
        pass_http(&mut server, &mut client, corrupts)
    } else {
        pass_frames(&mut server, &mut client, change)
    };
    let _ = (result, client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    upwards.join().unwrap();
}

fn pass_frames(from: &mut TcpStream, to: &mut TcpStream, change: &Mutex<Change>) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        from.read_exact(&mut length)?;
        let mut body = vec![0; usize::from(u16::from_be_bytes(length))];
        from.read_exact(&mut body)?;
        let mut message: Value = serde_json::from_slice(&body)?;
        let kind = message[0].as_str().unwrap().to_owned();
        change.lock().unwrap()(&kind, &mut message[1]);
        let body = message.to_string();
        to.write_all(&u16::try_from(body.len()).unwrap().to_be_bytes())?;
        to.write_all(body.as_bytes())?;
    }
}

/// Answers of which heads end with an empty line; the last byte of what comes after it is changed.
fn pass_http(from: &mut TcpStream, to: &mut TcpStream, corrupts: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = match from.read(&mut buffer)? {
            0 => return Ok(()),
            length => length,
        };
        let bytes = &mut buffer[..length];
        if corrupts.load(Ordering::SeqCst) {
            let is_head = bytes.starts_with(b"HTTP/");
            let body = if is_head {
                bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
            } else {
                Some(0)
            };
            if let Some(last) = body.and_then(|at| bytes[at..].last_mut()) {
                *last ^= 1;
            }
        }
        to.write_all(bytes)?;
    }
}
