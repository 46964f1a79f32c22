//! Endpoints that fall silent while requests wait for them: asked by PING, and given up.

use h2::{Ping, PingPong};
use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Waker};

/// After so many sweeps of silence (10 to 15 seconds) with open streams a PING is sent.
const SILENT_SWEEPS_PING: u8 = 2;
/// After so many more without any answer (20 seconds) the connection is given up.
const SILENT_SWEEPS_MAX: u8 = SILENT_SWEEPS_PING + 4;
/// The length of the answer to a PING (RFC 9113 section 6.7): if nothing else comes, the next PING
/// waits, because servers count PINGs on connections over which nothing moves as abuse.
const PONG_BYTES: u64 = 17;
/// How many sweeps it waits: a little over the 5 minutes that gRPC servers ask for.
const PING_SWEEPS_MIN: u8 = 61;

/// How long a connection with open streams has been silent.
pub(super) struct Silence {
    /// How much was received so far.
    received: Rc<Cell<u64>>,
    /// How much it was when the last sweep looked.
    seen: u64,
    sweeps: u8,
    ping: Option<PingPong>,
    /// How much was received when the last PING was sent, and how many sweeps ago.
    last_ping: Option<(u64, u8)>,
}

impl Silence {
    /// Listens to what is received, and asks over `ping`.
    pub(super) fn new(received: Rc<Cell<u64>>, ping: Option<PingPong>) -> Self {
        Self { received, seen: 0, sweeps: 0, ping, last_ping: None }
    }

    /// There is no stream whose endpoint could be silent.
    pub(super) fn restart(&mut self) {
        self.sweeps = 0;
    }

    /// Whether the endpoint was heard of lately, or may still answer.
    pub(super) fn outlives_sweep(&mut self) -> bool {
        let received = self.received.get();
        if let Some((_, age)) = &mut self.last_ping {
            *age = age.saturating_add(1);
        }
        if std::mem::replace(&mut self.seen, received) != received {
            self.sweeps = 0;
            return true;
        }
        self.sweeps = self.sweeps.saturating_add(1);
        let awaited = self.last_ping.is_some_and(|(mark, _)| received == mark);
        if awaited {
            return self.sweeps < SILENT_SWEEPS_MAX;
        }
        let moved = self
            .last_ping
            .is_none_or(|(mark, age)| received > mark + PONG_BYTES || age >= PING_SWEEPS_MIN);
        if self.sweeps >= SILENT_SWEEPS_PING && moved {
            self.sweeps = SILENT_SWEEPS_PING;
            self.ping(received);
        }
        true
    }

    fn ping(&mut self, received: u64) {
        let Some(ping) = &mut self.ping else { return };
        // Takes in the answer to the one before, without which there can be no other.
        let _ = ping.poll_pong(&mut Context::from_waker(Waker::noop()));
        if ping.send_ping(Ping::opaque()).is_ok() {
            self.last_ping = Some((received, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PING_SWEEPS_MIN, PONG_BYTES, SILENT_SWEEPS_MAX, Silence};
    use std::cell::Cell;
    use std::rc::Rc;

    fn silence(received: &Rc<Cell<u64>>) -> Silence {
        Silence::new(Rc::clone(received), None)
    }

    #[test]
    fn a_connection_that_answers_no_ping_is_given_up() {
        let received = Rc::new(Cell::new(100));
        let mut silence = silence(&received);
        assert!(silence.outlives_sweep());
        assert!(silence.outlives_sweep());
        silence.last_ping = Some((100, 0));
        let sweeps = (0..100).take_while(|_| silence.outlives_sweep()).count();
        assert_eq!(sweeps, usize::from(SILENT_SWEEPS_MAX) - 2);
    }

    #[test]
    fn one_that_only_answers_pings_is_rarely_asked_again() {
        let received = Rc::new(Cell::new(100));
        let mut silence = silence(&received);
        silence.last_ping = Some((100, 0));
        received.set(100 + PONG_BYTES);
        for _ in 0..PING_SWEEPS_MIN {
            assert!(silence.outlives_sweep());
        }
        assert_eq!(silence.last_ping, Some((100, PING_SWEEPS_MIN)));
    }
}
