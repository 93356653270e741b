//! A TCP proxy between client and server: it cuts the connection, stands still, and counts what is in flight on the wire.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

/// While it stands still: how often it looks whether it may go on.
const STILL: Duration = Duration::from_millis(5);

pub(crate) struct Proxy {
    url: String,
    cut: broadcast::Sender<()>,
    wire: Arc<Wire>,
    accepting: tokio::task::JoinHandle<()>,
}

/// What is seen on the wire.
#[derive(Default)]
struct Wire {
    /// The subject of the publishes that are counted, as it stands on the wire.
    subject: Mutex<Option<String>>,
    most_in_flight: AtomicI64,
    /// Nothing is read from the server.
    deaf: AtomicBool,
    /// Nobody is let in.
    shut: AtomicBool,
}

impl Proxy {
    pub(crate) async fn to(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let (cut, _) = broadcast::channel(1);
        let (wire, cuts) = (Arc::new(Wire::default()), cut.clone());
        let seen = wire.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cut = cuts.subscribe();
                // Shut after this look, it is cut.
                if !seen.shut.load(Ordering::Relaxed) {
                    tokio::spawn(carry(client, server.clone(), cut, seen.clone()));
                }
            }
        });
        Proxy { url, cut, wire, accepting }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts every connection that there is, wherever it is in its bytes.
    pub(crate) fn cut(&self) {
        _ = self.cut.send(());
    }

    /// Cuts every connection, and lets nobody in until it is opened again. A server that is told to stand still may take a moment.
    pub(crate) fn shut(&self, shut: bool) {
        self.wire.shut.store(shut, Ordering::Relaxed);
        if shut {
            self.cut();
        }
    }

    /// Whether it reads nothing of what the server sends: the client is a slow consumer then.
    pub(crate) fn deaf(&self, deaf: bool) {
        self.wire.deaf.store(deaf, Ordering::Relaxed);
    }

    /// Counts the publishes on this subject that the server has not answered, on each connection.
    pub(crate) fn watch(&self, subject: &str) {
        *self.wire.subject.lock().unwrap() = Some(subject.to_owned());
    }

    /// The most of them that there were at once.
    pub(crate) fn most_in_flight(&self) -> i64 {
        self.wire.most_in_flight.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(client: TcpStream, server: String, mut cut: broadcast::Receiver<()>, wire: Arc<Wire>) {
    // While the server is away the client is let in nowhere.
    let Ok(server) = TcpStream::connect(&server).await else { return };
    _ = client.set_nodelay(true);
    _ = server.set_nodelay(true);
    let in_flight = Arc::new(AtomicI64::new(0));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let up = pump(from_client, to_server, Side::Client, wire.clone(), in_flight.clone());
    let down = pump(from_server, to_client, Side::Server, wire, in_flight);
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = cut.recv() => {}
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Client,
    Server,
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    side: Side,
    wire: Arc<Wire>,
    in_flight: Arc<AtomicI64>,
) {
    let mut buffer = vec![0; 1 << 16];
    let mut protocol = Protocol::default();
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else { return };
        // What is read is held, too: a reader that waits as it goes deaf would let one more piece through.
        while side == Side::Server && wire.deaf.load(Ordering::Relaxed) {
            tokio::time::sleep(STILL).await;
        }
        let subject = wire.subject.lock().unwrap().clone();
        if let Some(subject) = subject {
            let count = protocol.count(&buffer[..n], side, &subject);
            match side {
                Side::Client => {
                    let now = in_flight.fetch_add(count, Ordering::Relaxed) + count;
                    wire.most_in_flight.fetch_max(now, Ordering::Relaxed);
                }
                Side::Server => _ = in_flight.fetch_sub(count, Ordering::Relaxed),
            }
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// Follows the protocol far enough to tell control lines from bodies.
#[derive(Default)]
struct Protocol {
    line: Vec<u8>,
    body_left: usize,
}

impl Protocol {
    /// From the client: publishes on `subject`. From the server: messages to an inbox, but for those that the client sent
    /// itself, which are not counted as publishes either.
    fn count(&mut self, mut bytes: &[u8], side: Side, subject: &str) -> i64 {
        let mut count = 0;
        while !bytes.is_empty() {
            let skipped = self.body_left.min(bytes.len());
            self.body_left -= skipped;
            bytes = &bytes[skipped..];
            let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
                self.line.extend_from_slice(bytes);
                break;
            };
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(&verb) = words.first() else { continue };
            if ["PUB", "HPUB", "MSG", "HMSG"].contains(&verb) {
                self.body_left = words.last().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) + 2;
                count += i64::from(match side {
                    Side::Client => words[1] == subject,
                    Side::Server => words[1].starts_with("_INBOX.") && !words[1].contains(".fence-"),
                });
            }
        }
        count
    }
}
