//! The frames of an HTTP/2 connection as they pass by, of which only the heads are looked at.

/// The head of a frame (RFC 9113 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// The payload's length in bytes.
    pub(super) length: u32,
    /// The type, known or not.
    pub(super) kind: u8,
    /// The stream; 0 for the connection.
    pub(super) stream: u32,
}

impl Frame {
    /// A part of a message's content.
    pub(super) const DATA: u8 = 0;
    /// The beginning of a request or response, or trailers.
    pub(super) const HEADERS: u8 = 1;
    /// The end of a stream that is not complete.
    pub(super) const RST_STREAM: u8 = 3;
    /// The end of a connection.
    pub(super) const GOAWAY: u8 = 7;
}

/// How long a frame's head is.
const HEAD_BYTES: usize = 9;

/// Where in a sequence of frames the bytes that have passed end.
#[derive(Debug, Default)]
pub(super) struct Walker {
    /// What is still to come of a payload, or of what is before the first frame.
    rest: usize,
    head: [u8; HEAD_BYTES],
    /// How much of a head has come.
    filled: usize,
}

impl Walker {
    /// Begins after so many bytes.
    pub(super) fn after(bytes: usize) -> Self {
        Self { rest: bytes, ..Self::default() }
    }

    /// Whether the bytes so far end with a frame.
    pub(super) fn is_between_frames(&self) -> bool {
        self.rest == 0 && self.filled == 0
    }

    /// Walks over the bytes that come next, and tells of each frame that begins.
    pub(super) fn walk(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        loop {
            let skipped = self.rest.min(bytes.len());
            bytes = bytes.get(skipped..).unwrap_or_default();
            self.rest -= skipped;
            if bytes.is_empty() {
                return;
            }
            let space = self.head.get_mut(self.filled..).unwrap_or_default();
            let taken = space.len().min(bytes.len());
            for (to, from) in space.iter_mut().zip(bytes) {
                *to = *from;
            }
            bytes = bytes.get(taken..).unwrap_or_default();
            self.filled += taken;
            if self.filled < HEAD_BYTES {
                return;
            }
            let [length @ .., kind, _flags, _, _, _, _] = self.head;
            let [.., first, second, third, fourth] = self.head;
            let length = length.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            // The first bit is reserved.
            let stream = u32::from_be_bytes([first & 0x7f, second, third, fourth]);
            self.filled = 0;
            self.rest = usize::try_from(length).unwrap_or(usize::MAX);
            each(Frame { length, kind, stream });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Walker};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_same_frames_are_seen_however_they_come(
            frames in proptest::collection::vec((any::<u8>(), 0..300_u32, 0..1_u32 << 31), 0..20),
            cuts in proptest::collection::vec(1..100_usize, 1..40),
        ) {
            let mut bytes = b"preface".to_vec();
            for (kind, length, stream) in &frames {
                bytes.extend(&length.to_be_bytes()[1..]);
                bytes.extend([*kind, 0xff]);
                bytes.extend((stream | 1 << 31).to_be_bytes());
                bytes.extend(std::iter::repeat_n(0xaa, usize::try_from(*length).unwrap()));
            }
            let mut walker = Walker::after(b"preface".len());
            let mut seen = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (part, after) = rest.split_at(rest.len().min(*cut));
                walker.walk(part, |frame| seen.push(frame));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(walker.is_between_frames());
            let of = |&(kind, length, stream): &_| Frame { length, kind, stream };
            prop_assert!(seen.into_iter().eq(frames.iter().map(of)));
        }
    }
}
