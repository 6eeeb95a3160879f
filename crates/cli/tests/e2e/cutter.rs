//! A relay between dhow and a registry that counts what passes, cuts connections, or stops.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the relay does to a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    /// Cuts it so many times in all, whenever a number of bytes has passed: between none and twice
    /// this many.
    Cut { times: u64, about_every: u64 },
    /// Lets this many bytes pass in all, and no more.
    Stop { after: u64 },
    /// Only counts.
    Count,
    /// Hides from the registry that only parts are asked for.
    Whole,
    /// Changes a byte of each part of a blob that begins before this position (bytes), and no other
    /// answers.
    Lie { before: u64 },
}

/// A relay, for as long as the test runs.
pub(crate) struct Cutter {
    pub(crate) address: String,
    state: Arc<State>,
}

struct State {
    plan: Mutex<Plan>,
    target: String,
    passed: AtomicU64,
    cuts: AtomicU64,
    /// At how many bytes the next cut is.
    next_cut: AtomicU64,
    /// Connections that were stopped are closed.
    ended: AtomicBool,
}

impl Cutter {
    pub(crate) fn start(target: &str, plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            plan: Mutex::new(plan),
            target: target.to_owned(),
            passed: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            next_cut: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        state.choose_next_cut();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                thread::spawn(move || relay(&state, &near));
            }
        });
        Self { address, state }
    }

    /// How many bytes came out of it, in both directions.
    pub(crate) fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::SeqCst)
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::SeqCst)
    }

    /// Does something else from now on, and counts anew.
    pub(crate) fn change(&self, plan: Plan) {
        *self.state.plan.lock().unwrap() = plan;
        self.state.passed.store(0, Ordering::SeqCst);
    }

    /// Lets new connections through from now on, and counts anew.
    pub(crate) fn release(&self) {
        self.let_others_through();
        self.state.ended.store(true, Ordering::SeqCst);
    }

    /// Does the same, and keeps those that were stopped as they are.
    pub(crate) fn let_others_through(&self) {
        *self.state.plan.lock().unwrap() = Plan::Count;
        self.state.passed.store(0, Ordering::SeqCst);
    }

    /// Waits until it lets nothing more through.
    pub(crate) fn wait_until_stopped(&self) {
        let Plan::Stop { after } = self.state.plan() else {
            panic!("it never stops");
        };
        for _ in 0..600 {
            if self.passed() >= after {
                // What has passed is still on its way into files.
                thread::sleep(Duration::from_millis(500));
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("only {} of {after} bytes came", self.passed());
    }
}

impl State {
    fn plan(&self) -> Plan {
        *self.plan.lock().unwrap()
    }

    /// The same places in every run, and different from each other.
    fn choose_next_cut(&self) {
        let Plan::Cut { times, about_every } = self.plan() else {
            self.next_cut.store(u64::MAX, Ordering::SeqCst);
            return;
        };
        let cuts = self.cuts.load(Ordering::SeqCst);
        let mixed = (cuts + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let step = mixed % (2 * about_every);
        let next = if cuts < times {
            self.passed.load(Ordering::SeqCst) + step
        } else {
            u64::MAX
        };
        self.next_cut.store(next, Ordering::SeqCst);
    }

    /// Changes a piece that passes, where the plan says so.
    fn tamper(&self, piece: &mut [u8], up: bool, lies: &mut bool) {
        let text = String::from_utf8_lossy(piece).to_lowercase();
        match self.plan() {
            Plan::Whole if up => {
                const RANGE: &[u8] = b"\r\nrange:";
                let at = |place: &usize| piece[*place..].to_ascii_lowercase().starts_with(RANGE);
                if let Some(place) = (0..piece.len()).find(at) {
                    piece[place + 2] = b'x';
                }
            }
            Plan::Lie { before } if !up => {
                if text.starts_with("http/1.1 ") {
                    let range = text.split("content-range: bytes ").nth(1);
                    let start = range.and_then(|range| range.split('-').next());
                    let start: Option<u64> = start.and_then(|start| start.parse().ok());
                    *lies = start.is_some_and(|start| start < before);
                }
                if let Some(last) = piece
                    .last_mut()
                    .filter(|_| *lies && !text.ends_with("\r\n\r\n"))
                {
                    *last ^= 1;
                }
            }
            _ => {}
        }
    }

    /// Takes notice of bytes that came; returns how many of them pass, and whether it ends there.
    fn pass(&self, count: u64, mut from: &TcpStream, up: bool) -> (u64, bool) {
        let before = self.passed.load(Ordering::SeqCst);
        if let Plan::Stop { after } = self.plan()
            && before + count > after
        {
            self.passed.store(after, Ordering::SeqCst);
            // When one side is gone, the other learns it.
            let mut lost = [0; 16 * 1024];
            while up && matches!(from.read(&mut lost), Ok(1..)) {}
            while !up && !self.ended.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(20));
            }
            return (0, true);
        }
        let next = self.next_cut.load(Ordering::SeqCst);
        if before + count <= next {
            self.passed.fetch_add(count, Ordering::SeqCst);
            return (count, false);
        }
        let passes = next.saturating_sub(before);
        self.passed.fetch_add(passes, Ordering::SeqCst);
        self.cuts.fetch_add(1, Ordering::SeqCst);
        self.choose_next_cut();
        (passes, true)
    }
}

fn relay(state: &Arc<State>, near: &TcpStream) {
    let Ok(far) = TcpStream::connect(&state.target) else {
        return;
    };
    let back = {
        let (state, far, near) = (
            Arc::clone(state),
            far.try_clone().unwrap(),
            near.try_clone().unwrap(),
        );
        thread::spawn(move || pump(&state, &far, &near, false))
    };
    pump(state, near, &far, true);
    drop(back.join());
}

/// Copies until one side ends, or the connection is cut.
fn pump(state: &State, mut from: &TcpStream, mut to: &TcpStream, up: bool) {
    let mut piece = [0; 16 * 1024];
    let mut lies = false;
    while let Ok(count @ 1..) = from.read(&mut piece) {
        state.tamper(&mut piece[..count], up, &mut lies);
        let (passes, cut) = state.pass(count as u64, from, up);
        let sent = to.write_all(&piece[..usize::try_from(passes).unwrap()]);
        if cut || sent.is_err() {
            break;
        }
    }
    for side in [from, to] {
        drop(side.shutdown(Shutdown::Both));
    }
}
