//! What an HTTP/2 client may send beside its requests: frames that ask for nothing cost a budget,
//! which grows with the time and with frames that are of use.
//!
//! h2 bounds what CONTINUATION, empty and tiny DATA frames, header blocks and streams that
//! were not accepted yet can do; PING, SETTINGS, PRIORITY, `WINDOW_UPDATE`, frames of unknown types
//! and streams that are begun and reset at once it answers as long as they come.

use super::connections::Connection;
use super::frames::{Frame, Walker};
use super::refusal::Refusal;
use crate::base::clock;
use crate::base::io::{Farewell, Watch};
use std::rc::Rc;
use std::time::Instant;

/// What a client sends before its first frame (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;

/// Frames that ask for nothing that may come at once. Envoy allows 10,000 as well.
const FRAMES_MAX: u32 = 10_000;
/// How many more each second: far more than anybody needs to keep a connection, and far less than
/// is felt.
const FRAMES_PER_SECOND: u32 = 500;
/// How many more for a request: its priority, its windows, settings that it changes.
const FRAMES_PER_REQUEST: u32 = 5;
/// How many more for DATA in either direction: those that give a window back for the stream and
/// for the connection, and a PING that measures the path, as gRPC sends with each.
const FRAMES_PER_DATA: u32 = 4;
/// How much of a burst of resets may come again each second.
const RESETS_PER_SECOND_PART: u32 = 10;

/// A number of frames that may still come.
#[derive(Debug)]
struct Budget {
    left: u32,
    most: u32,
    per_second: u32,
    filled: Option<Instant>,
}

impl Budget {
    fn new(most: u32, per_second: u32) -> Self {
        Self { left: most, most, per_second, filled: None }
    }

    fn grow(&mut self, by: u32) {
        self.left = self.left.saturating_add(by).min(self.most);
    }

    /// Takes one; whether there was one. The clock is read only when there is none.
    fn take(&mut self, now: impl Fn() -> Instant, began: Instant) -> bool {
        if self.left == 0 {
            let now = now();
            let since = now.saturating_duration_since(self.filled.unwrap_or(began));
            let more = since.as_millis().saturating_mul(self.per_second.into()) / 1000;
            self.grow(u32::try_from(more).unwrap_or(u32::MAX));
            self.filled = Some(now);
        }
        let enough = self.left > 0;
        self.left = self.left.saturating_sub(1);
        enough
    }
}

/// Watches the frames of one connection.
#[derive(Debug)]
pub(super) struct Flood {
    received: Walker,
    sent: Walker,
    frames: Budget,
    resets: Budget,
    /// Requests, of which every second one allows one more reset.
    requests: u32,
    began: Instant,
    /// The newest stream of the client.
    stream: u32,
    connection: Rc<Connection>,
}

impl Flood {
    /// A connection that begins now, and is told why it ends.
    pub(super) fn new(stream_resets: u32, connection: Rc<Connection>) -> Self {
        let resets_per_second = stream_resets.div_ceil(RESETS_PER_SECOND_PART);
        Self {
            received: Walker::after(PREFACE_BYTES),
            sent: Walker::default(),
            frames: Budget::new(FRAMES_MAX, FRAMES_PER_SECOND),
            resets: Budget::new(stream_resets, resets_per_second),
            requests: 0,
            began: clock::now(),
            stream: 0,
            connection,
        }
    }

    /// Counts a frame of the client; the refusal if it was one too many.
    fn count(&mut self, frame: Frame, now: impl Fn() -> Instant) -> Result<(), Refusal> {
        match frame.kind {
            Frame::DATA if frame.length > 0 => self.frames.grow(FRAMES_PER_DATA),
            Frame::HEADERS => {
                self.frames.grow(FRAMES_PER_REQUEST);
                self.requests = self.requests.wrapping_add(1);
                self.resets.grow(self.requests % 2);
                self.stream = self.stream.max(frame.stream);
            }
            Frame::RST_STREAM if !self.resets.take(&now, self.began) => {
                return Err(Refusal::StreamResets);
            }
            Frame::RST_STREAM => {}
            _ if !self.frames.take(&now, self.began) => return Err(Refusal::FrameFlood),
            _ => {}
        }
        Ok(())
    }

    /// GOAWAY with `ENHANCE_YOUR_CALM` (RFC 9113 sections 6.8 and 7), unless it would come inside
    /// another frame.
    fn farewell(&self) -> Farewell {
        const PAYLOAD_BYTES: u8 = 8;
        const ENHANCE_YOUR_CALM: u32 = 11;
        let mut frame = Vec::new();
        if self.sent.is_between_frames() {
            frame.extend([0, 0, PAYLOAD_BYTES, Frame::GOAWAY, 0, 0, 0, 0, 0]);
            frame.extend(self.stream.to_be_bytes());
            frame.extend(ENHANCE_YOUR_CALM.to_be_bytes());
        }
        Farewell(frame)
    }
}

impl Watch for Flood {
    fn received(&mut self, bytes: &[u8]) -> Result<(), Farewell> {
        self.connection.hear();
        let mut walker = std::mem::take(&mut self.received);
        let mut counted = Ok(());
        walker.walk(bytes, |frame| {
            if counted.is_ok() {
                counted = self.count(frame, clock::now);
            }
        });
        self.received = walker;
        counted.map_err(|refusal| {
            self.connection.refuse(refusal);
            self.farewell()
        })
    }

    fn sent(&mut self, bytes: &[u8]) {
        let frames = &mut self.frames;
        self.sent.walk(bytes, |frame| {
            if frame.kind == Frame::DATA && frame.length > 0 {
                frames.grow(FRAMES_PER_DATA);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{FRAMES_MAX, FRAMES_PER_SECOND, Flood, Frame};
    use crate::listener::connections::Connection;
    use crate::listener::refusal::Refusal;
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    const PING: u8 = 6;
    const RESETS: u32 = 100;

    fn flood() -> Flood {
        Flood::new(RESETS, Rc::new(Connection::default()))
    }

    /// How many frames are let pass of so many, at a point in time.
    fn passed(flood: &mut Flood, kinds: &[u8], rounds: u32, at: Instant) -> u32 {
        (0..rounds)
            .take_while(|round| {
                kinds.iter().all(|&kind| {
                    let frame = Frame { length: 5, kind, stream: 2 * round + 1 };
                    flood.count(frame, || at).is_ok()
                })
            })
            .count()
            .try_into()
            .unwrap()
    }

    #[test]
    fn frames_that_ask_for_nothing_use_up_a_budget_that_grows_with_time() {
        let mut flood = flood();
        let began = flood.began;
        assert_eq!(passed(&mut flood, &[PING], FRAMES_MAX + 1, began), FRAMES_MAX);
        let later = began + Duration::from_secs(2);
        assert_eq!(passed(&mut flood, &[PING], FRAMES_MAX, later), 2 * FRAMES_PER_SECOND);
        let at_last = began + Duration::from_hours(9);
        assert_eq!(passed(&mut flood, &[PING], FRAMES_MAX + 1, at_last), FRAMES_MAX);
    }

    #[test]
    fn a_download_with_windows_for_each_frame_never_uses_it_up() {
        use crate::base::io::Watch;
        let mut flood = flood();
        let began = flood.began;
        let (window_update, data) = (8, [&[0, 0, 1, 0, 0, 0, 0, 0, 1][..], b"x"].concat());
        for _ in 0..3 * FRAMES_MAX {
            flood.sent(&data);
            assert_eq!(passed(&mut flood, &[window_update, window_update, PING], 1, began), 1);
        }
        assert_eq!(
            passed(&mut flood, &[Frame::DATA, PING, PING], 3 * FRAMES_MAX, began),
            3 * FRAMES_MAX
        );
    }

    #[test]
    fn resetting_every_request_ends_the_connection_and_every_second_one_does_not() {
        let began = Instant::now();
        let every = [Frame::HEADERS, Frame::RST_STREAM];
        let passed_of_all = passed(&mut flood(), &every, 10 * RESETS, began);
        assert!((RESETS..=2 * RESETS).contains(&passed_of_all), "{passed_of_all}");
        let second = [Frame::HEADERS, Frame::RST_STREAM, Frame::HEADERS];
        assert_eq!(passed(&mut flood(), &second, 10 * RESETS, began), 10 * RESETS);
        let mut flood = flood();
        let frame = Frame { length: 4, kind: Frame::RST_STREAM, stream: 1 };
        let last = (0..=RESETS).map(|_| flood.count(frame, || began)).last();
        assert_eq!(last, Some(Err(Refusal::StreamResets)));
    }
}
