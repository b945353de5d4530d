//! A server that answers each request with the next of its scripts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is done with a connection once its request was read.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Send this.
    Send(Vec<u8>),
    /// Send this again and again until nobody reads any more.
    Flood(Vec<u8>),
    /// Send this every few milliseconds until nobody reads any more.
    Drip(Vec<u8>),
    /// Send nothing more, and keep the connection.
    Stall,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: String,
}

/// The server; it ends with its owner.
pub(crate) struct Server {
    pub(crate) base_url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(scripts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let scripts = Arc::new(Mutex::new(VecDeque::from(scripts)));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&scripts)));
            }
        });
        Self { base_url, asked, task }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Vec<Asked>>>, scripts: Arc<Mutex<VecDeque<Vec<Act>>>>) {
    stream.set_nodelay(true).unwrap();
    let Some(request) = read(&mut stream).await else { return };
    asked.lock().unwrap().push(request);
    // A request too many finds no script.
    let acts = scripts.lock().unwrap().pop_front().unwrap();
    for act in acts {
        let sent = match act {
            Act::Send(bytes) => stream.write_all(&bytes).await,
            Act::Flood(bytes) => loop {
                if let Err(error) = stream.write_all(&bytes).await {
                    break Err(error);
                }
            },
            Act::Drip(bytes) => loop {
                if let Err(error) = stream.write_all(&bytes).await {
                    break Err(error);
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            },
            Act::Stall => {
                let _ = stream.read(&mut [0; 1]).await;
                Ok(())
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.ok()?;
        if count == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(Asked { head: head.to_owned(), body: body.to_owned() });
        }
    }
}

/// An answer in one piece, whose end is the end of the connection.
pub(crate) fn answer(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nconnection: close\r\n").into_bytes();
    headers.iter().for_each(|header| bytes.extend_from_slice(format!("{header}\r\n").as_bytes()));
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.as_ref());
    bytes
}

pub(crate) const STREAM: &str = "content-type: text/event-stream";

/// An event stream in one piece.
pub(crate) fn stream(body: impl AsRef<[u8]>) -> Vec<Act> {
    vec![Act::Send(answer("200 OK", &[STREAM], body))]
}

/// An event stream in chunks of the protocol, each of so many bytes.
pub(crate) fn chunked(body: impl AsRef<[u8]>, size: usize) -> Vec<Act> {
    let mut bytes = answer("200 OK", &[STREAM, "transfer-encoding: chunked"], "");
    for chunk in body.as_ref().chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    vec![Act::Send(bytes)]
}
