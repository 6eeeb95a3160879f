//! A registry as it is on a bad day: a relay in front of a real one that answers a share of the
//! requests with 429, 500 or 502, resets or stalls connections, and changes bytes on their way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// A relay that misbehaves, for as long as the process runs.
#[derive(Debug)]
pub struct Unruly {
    /// `127.0.0.1:PORT`.
    pub address: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: String,
    /// Of a thousand requests, how many are answered badly.
    per_mille: u64,
    random: AtomicU64,
    bad: AtomicU64,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    Refused(&'static str),
    Reset,
    Stalls,
    Corrupted,
}

/// How long a stalled connection is silent.
const STALL: Duration = Duration::from_millis(1500);

impl Unruly {
    /// Starts a relay to `target` (`127.0.0.1:PORT`, plain HTTP) that answers `per_mille` of a thousand
    /// requests badly, in an order that follows from `seed`.
    ///
    /// # Panics
    /// When nothing can listen on this machine.
    pub fn start(target: &str, per_mille: u64, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a test can listen");
        let address = listener.local_addr().expect("it listens").to_string();
        let state = Arc::new(State {
            target: target.to_owned(),
            per_mille,
            random: AtomicU64::new(seed),
            bad: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // A connection that breaks is what this is about.
                thread::spawn(move || drop(state.serve(near)));
            }
        });
        Self { address, state }
    }

    /// Returns how many requests were answered badly.
    pub fn bad(&self) -> u64 {
        self.state.bad.load(Ordering::SeqCst)
    }
}

impl State {
    /// Serves one request of a connection.
    fn serve(&self, mut near: TcpStream) -> std::io::Result<()> {
        let (head, rest) = read_head(&mut near)?;
        let fate = self.fate(&head);
        match fate {
            Fate::Refused(status) => {
                let wait = if status.starts_with("429") {
                    "Retry-After: 0\r\n"
                } else {
                    ""
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\n{wait}Content-Length: 0\r\nConnection: close\r\n\r\n"
                );
                near.write_all(answer.as_bytes())?;
                near.shutdown(Shutdown::Write)?;
                // What is still sent is read, so that the answer is not lost to a reset.
                near.set_read_timeout(Some(Duration::from_millis(500)))?;
                std::io::copy(&mut near, &mut std::io::sink())?;
                Ok(())
            }
            Fate::Reset => Ok(()),
            Fate::Stalls => {
                thread::sleep(STALL);
                Ok(())
            }
            Fate::Passes | Fate::Corrupted => self.relay(near, &head, &rest, fate),
        }
    }

    fn relay(
        &self,
        mut near: TcpStream,
        head: &str,
        rest: &[u8],
        fate: Fate,
    ) -> std::io::Result<()> {
        let mut far = TcpStream::connect(&self.target)?;
        let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        far.write_all(head.as_bytes())?;
        far.write_all(rest)?;
        let (mut from, mut to) = (near.try_clone()?, far.try_clone()?);
        let sending = thread::spawn(move || {
            drop(std::io::copy(&mut from, &mut to));
        });
        let mut buffer = vec![0; 64 * 1024];
        let mut bytes = 0;
        loop {
            let count = far.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            // The head stays as it is, and the first piece of the body changes.
            if fate == Fate::Corrupted && (bytes > 0 || ends_head(&buffer[..count])) {
                buffer[count - 1] ^= 0x20;
            }
            bytes += count;
            near.write_all(&buffer[..count])?;
        }
        near.shutdown(Shutdown::Both)?;
        drop(sending.join());
        Ok(())
    }

    fn fate(&self, head: &str) -> Fate {
        if self.next() % 1000 >= self.per_mille {
            return Fate::Passes;
        }
        self.bad.fetch_add(1, Ordering::SeqCst);
        let content = head.starts_with("GET ")
            && (head.contains("/blobs/sha256:") || head.contains("/manifests/"));
        match self.next() % 6 {
            0 => Fate::Refused("429 Too Many Requests"),
            1 => Fate::Refused("500 Internal Server Error"),
            2 => Fate::Refused("502 Bad Gateway"),
            3 => Fate::Stalls,
            4 if content => Fate::Corrupted,
            _ => Fate::Reset,
        }
    }

    /// Returns the next of a row of numbers (SplitMix64).
    fn next(&self) -> u64 {
        let mut z = self
            .random
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Returns whether this piece, the first of an answer, has more than its head.
fn ends_head(piece: &[u8]) -> bool {
    let end = piece.windows(4).position(|four| four == b"\r\n\r\n");
    end.is_some_and(|end| end + 4 < piece.len())
}

/// Reads the head of a request, and what came with it.
fn read_head(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read).into_owned(), rest));
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 || read.len() > 64 * 1024 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&buffer[..count]);
    }
}
