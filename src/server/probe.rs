//! Can this client be dialled, and is it the one that answers?

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::core::Hello;
use crate::wire::token::same;

/// For the whole probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, bytes.
const MAX_ANSWER: u64 = 4096;
/// Fields of an answer that are looked at.
const MAX_FIELDS: usize = 32;

/// Dials `address`. A version 3 client has to prove itself; of version 2 it is enough to accept the connection.
pub(super) async fn probe(address: SocketAddr, hello: Option<&Hello>) -> bool {
    let attempt = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        match hello {
            Some(hello) => greet(&mut stream, address, hello).await,
            None => Some(true),
        }
    };
    matches!(timeout(PROBE_TIMEOUT, attempt).await, Ok(Some(true)))
}

/// `None`: no answer, or none that makes sense.
async fn greet(stream: &mut TcpStream, address: SocketAddr, hello: &Hello) -> Option<bool> {
    let id = percent_encoding::utf8_percent_encode(&hello.client_id, percent_encoding::NON_ALPHANUMERIC);
    let request = format!(
        "GET /.pdtp/hello?n={}&id={id} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
        hello.nonce
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let mut limited = stream.take(MAX_ANSWER);
    loop {
        if let Some(verdict) = judge(&answer, &hello.answer) {
            return Some(verdict);
        }
        if limited.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Whether what has come is the right answer; `None` while it is not whole.
fn judge(received: &[u8], expected: &str) -> Option<bool> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let body = match head.parse(received) {
        Ok(httparse::Status::Complete(length)) => &received[length..],
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return Some(false),
    };
    if head.code != Some(200) {
        return Some(false);
    }
    let length = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length: Option<usize> =
        length.and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok());
    let Some(length) = length else { return Some(false) };
    let body = body.get(..length)?;
    Some(same(body.trim_ascii_end(), expected.as_bytes()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn hello() -> Hello {
        Hello { client_id: "a b&c".to_owned(), nonce: "n1".to_owned(), answer: "secret".to_owned() }
    }

    /// Accepts one connection, answers its request with `answer`, and gives the request.
    async fn play(answer: &'static str) -> (bool, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            // One byte at a time, as far as the kernel lets us.
            for byte in answer.as_bytes() {
                if stream.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            String::from_utf8(request).unwrap()
        });
        let ok = probe(address, Some(&hello())).await;
        (ok, server.await.unwrap())
    }

    #[tokio::test]
    async fn the_right_answer_is_believed() {
        let (ok, request) = play("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").await;
        assert!(ok);
        assert!(request.starts_with("GET /.pdtp/hello?n=n1&id=a%20b%26c HTTP/1.1\r\n"), "{request}");
    }

    #[tokio::test]
    async fn others_are_not() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSecret",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nsecret",
            "HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\nsecret",
            "HTTP/1.1 200 OK\r\n\r\nsecret",
            "SSH-2.0-x\r\n\r\n",
            "",
        ] {
            assert!(!play(answer).await.0, "{answer}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_not_reachable() {
        let address = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        assert!(!probe(address, Some(&hello())).await);
        assert!(!probe(address, None).await);
    }

    #[tokio::test]
    async fn version_2_only_has_to_accept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(probe(listener.local_addr().unwrap(), None).await);
    }
}
