//! The lines of a head that hold its fields: read strictly, and passed on as they are where nobody
//! needs a map of them.

use super::fields::{FIELD_BYTES, Invalid, write_field};
use bytes::Bytes;
use memchr::memchr;

/// What is wrong with a field for whoever reads strictly.
const MALFORMED: Invalid = Invalid("a field is malformed");

/// The fields of the connection that they came on, and those of the message's framing, which
/// whoever writes the message writes anew.
pub const OF_CONNECTION: [&[u8]; 9] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"transfer-encoding",
    b"upgrade",
    b"proxy-authenticate",
    b"http2-settings",
    b"content-length",
];
/// The lengths of those names, a bit each: most other names have another length.
#[expect(clippy::indexing_slicing, reason = "checked by the compiler in a constant")]
const LENGTHS_OF_CONNECTION: u32 = {
    let (mut lengths, mut place) = (0, 0);
    while place < OF_CONNECTION.len() {
        lengths |= 1 << OF_CONNECTION[place].len();
        place += 1;
    }
    lengths
};

/// Which bytes a name may have (RFC 9110 section 5.6.2).
#[expect(clippy::indexing_slicing, reason = "checked by the compiler in a constant")]
const TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        token[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    token
};

/// How many runs of lines are written from where they were read.
const RUNS_MAX: usize = 4;

/// The fields of a response that go to the client as they came, but for those of the connection
/// and of the framing.
#[derive(Debug, Default)]
pub struct Lines {
    /// What they were read from.
    read: Bytes,
    /// Where in it lines stand that go on one after the other: begin and end. An empty run is not
    /// used.
    runs: [(usize, usize); RUNS_MAX],
    /// What comes after those runs: lines that are not written as they were read, and all after
    /// them.
    rest: Vec<u8>,
    /// Whether `Date` is among them.
    pub has_date: bool,
}

impl Lines {
    /// Adds a field, if it is one that goes on; `before` is what was read before all fields.
    pub fn add(&mut self, field: &Field<'_>, before: usize) {
        let Field { name, value, line, at } = field;
        if is_of_connection(name) {
            return;
        }
        self.has_date |= name.eq_ignore_ascii_case(b"date");
        let usual = line.len() == name.len() + value.len() + FIELD_BYTES
            && line.get(name.len() + 1) == Some(&b' ');
        if usual {
            let at = before + at;
            if !(self.rest.is_empty() && self.extend_runs(at, at + line.len())) {
                self.rest.extend_from_slice(line);
            }
        } else {
            write_field(&mut self.rest, name, value);
        }
    }

    /// Adds a line to the last run that it goes on, or to a new one; says whether there was one.
    fn extend_runs(&mut self, begin: usize, end: usize) -> bool {
        for run in &mut self.runs {
            if run.1 == begin {
                run.1 = end;
                return true;
            }
            if run.0 == run.1 {
                *run = (begin, end);
                return true;
            }
        }
        false
    }

    /// Keeps what the fields were read from.
    pub fn keep(&mut self, read: Bytes) {
        self.read = read;
    }

    /// Writes them; what they were read from has to be kept by then.
    pub fn write(&self, to: &mut Vec<u8>) {
        debug_assert!(self.runs.iter().all(|(_, end)| *end <= self.read.len()), "not kept");
        for (begin, end) in self.runs {
            to.extend_from_slice(self.read.get(begin..end).unwrap_or_default());
        }
        to.extend_from_slice(&self.rest);
    }
}

/// A field as it was read.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Its name, in whatever case.
    pub name: &'a [u8],
    /// Its value, without the blanks around it.
    pub value: &'a [u8],
    /// Its line, with its end.
    pub line: &'a [u8],
    /// Where the line begins.
    pub at: usize,
}

/// Whether a field belongs to the connection or to the framing.
pub(super) fn is_of_connection(name: &[u8]) -> bool {
    name.len() < 32
        && LENGTHS_OF_CONNECTION & 1 << name.len() != 0
        && OF_CONNECTION.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Shows each field, in order. Each line has to end in CR LF, a name is a token, right before its
/// colon, and a value is free of control characters and of the blanks around it (RFC 9112 section
/// 5).
pub fn each_field<'a>(
    lines: &'a [u8],
    mut show: impl FnMut(&Field<'a>) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    if !is_lines(lines) {
        return Err(MALFORMED);
    }
    let mut rest = lines;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).ok_or(MALFORMED)?;
        let (line, after) = rest.split_at_checked(end + 1).ok_or(MALFORMED)?;
        let content = line.strip_suffix(b"\r\n").ok_or(MALFORMED)?;
        let is_token = |byte: &u8| TOKEN.get(usize::from(*byte)).copied().unwrap_or_default();
        let length = content.iter().position(|byte| !is_token(byte)).ok_or(MALFORMED)?;
        let (name, value) = content.split_at_checked(length).ok_or(MALFORMED)?;
        let value = value.strip_prefix(b":").filter(|_| !name.is_empty()).ok_or(MALFORMED)?;
        let at = lines.len() - rest.len();
        show(&Field { name, value: trimmed(value), line, at })?;
        rest = after;
    }
    Ok(())
}

/// Whether there is nothing but text, as in [`is_text`], and ends of lines, of both their bytes
/// each: one look at all lines costs less than one at each value.
fn is_lines(lines: &[u8]) -> bool {
    let is_known = |byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=126 | 128..);
    let after = lines.get(1..).unwrap_or_default();
    lines.iter().zip(after).fold(true, |text, (byte, next)| {
        let whole = (*byte == b'\r') == (*next == b'\n');
        text & is_known(*byte) & whole
    })
}

/// Whether a value, or a reason, has no control characters but tabs (RFC 9110 section 5.5). Without
/// a way out in between, so that the compiler can look at many bytes at a time.
pub fn is_text(value: &[u8]) -> bool {
    value.iter().fold(true, |text, byte| text & matches!(byte, b'\t' | b' '..=126 | 128..))
}

/// A value without the blanks around it: spaces and tabs (RFC 9110 section 5.6.3).
fn trimmed(value: &[u8]) -> &[u8] {
    let mut value = value;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::{Field, LENGTHS_OF_CONNECTION, Lines, OF_CONNECTION, each_field};
    use proptest::prelude::*;

    type Fields = Vec<(Vec<u8>, Vec<u8>)>;

    fn fields(lines: &[u8]) -> Option<Fields> {
        let mut fields = Vec::new();
        let each = each_field(lines, |Field { name, value, line, at }| {
            assert!(line.starts_with(name) && line.ends_with(b"\r\n"));
            assert!(lines[*at..].starts_with(line));
            fields.push((name.to_vec(), value.to_vec()));
            Ok(())
        });
        each.ok().map(|()| fields)
    }

    /// The same by httparse, which takes a line feed alone for the end of a line.
    fn by_httparse(lines: &[u8]) -> Option<Fields> {
        let mut head = lines.to_vec();
        head.extend_from_slice(b"\r\n");
        let mut parsed = [httparse::EMPTY_HEADER; 64];
        match httparse::parse_headers(&head, &mut parsed) {
            Ok(httparse::Status::Complete((length, fields))) if length == head.len() => {
                Some(fields.iter().map(|field| (field.name.into(), field.value.to_vec())).collect())
            }
            _ => None,
        }
    }

    /// The lines that are passed on of these, and whether `Date` is among them.
    fn passed(text: &[u8]) -> (Vec<u8>, bool) {
        const STATUS: &[u8] = b"HTTP/1.1 200 OK\r\n";
        let mut lines = Lines::default();
        each_field(text, |field| {
            lines.add(field, STATUS.len());
            Ok(())
        })
        .unwrap();
        lines.keep([STATUS, text].concat().into());
        let mut written = Vec::new();
        lines.write(&mut written);
        (written, lines.has_date)
    }

    #[test]
    fn the_fields_of_the_connection_are_not_passed_on() {
        assert!(OF_CONNECTION.iter().all(|name| LENGTHS_OF_CONNECTION >> name.len() & 1 == 1));
        for name in OF_CONNECTION {
            assert_eq!(passed(&[name, b": x\r\n"].concat()).0, b"");
            assert_eq!(passed(&[&*name.to_ascii_uppercase(), b": x\r\n"].concat()).0, b"");
        }
        let (others, has_date) = passed(b"X-Same-Len: 1\r\nDATE: now\r\n");
        assert_eq!(others, b"X-Same-Len: 1\r\nDATE: now\r\n");
        assert!(has_date);
    }

    #[test]
    fn a_field_is_passed_on_with_one_space_before_its_value_and_nothing_after_it() {
        for line in ["a: b c\r\n", "a:b c\r\n", "a:  b c\r\n", "a:\tb c\r\n", "a:b c \r\n"] {
            assert_eq!(passed(line.as_bytes()).0, b"a: b c\r\n", "{line:?}");
        }
        assert_eq!(passed(b"a:\r\nb: \r\nc:  \r\n").0, b"a: \r\nb: \r\nc: \r\n");
    }

    proptest! {
        #[test]
        fn lines_go_on_in_their_order_whatever_is_left_out_between_them(
            picks in proptest::collection::vec(0..4_usize, 0..20),
        ) {
            let mut text = Vec::new();
            let mut expected = Vec::new();
            for (number, pick) in picks.into_iter().enumerate() {
                let line = match pick {
                    0 => format!("te: {number}\r\n"),
                    1 => format!("a:{number}\r\n"),
                    _ => format!("a: {number}\r\n"),
                };
                text.extend_from_slice(line.as_bytes());
                if pick > 0 {
                    expected.extend_from_slice(format!("a: {number}\r\n").as_bytes());
                }
            }
            prop_assert_eq!(passed(&text).0, expected);
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for wrong in [
            "a: b\n",
            "a: b\r",
            "a: b",
            "a b: c\r\n",
            "a : b\r\n",
            " a: b\r\n",
            ": b\r\n",
            "a\r\n",
            "a: b\r\n c\r\n",
            "a: b\rc\r\n",
            "a: b\0\r\n",
            "a: \x7f\r\n",
            "\r\n",
            "a\u{e9}: b\r\n",
        ] {
            assert_eq!(fields(wrong.as_bytes()), None, "{wrong:?}");
        }
        let blank = fields(b"a:\t b \t\r\nb:\r\nc: \r\n").unwrap();
        assert_eq!(
            blank,
            [(b"a".to_vec(), b"b".to_vec()), (b"b".to_vec(), vec![]), (b"c".to_vec(), vec![])]
        );
    }

    proptest! {
        #[test]
        fn fields_are_read_as_httparse_reads_them(
            lines in proptest::collection::vec(
                ("[a-zA-Z-]{1,12}|[ -~]{0,6}", ": ?|:\t| :", "[ -~\t]{0,20}|[\\x01-\\xff]{0,6}"),
                0..6,
            ),
        ) {
            let text: Vec<u8> = lines
                .iter()
                .flat_map(|(name, colon, value)| format!("{name}{colon}{value}\r\n").into_bytes())
                .collect();
            let ours = fields(&text);
            // What ends the head early is no field, and a bare line feed no end of a line.
            let empty = text.windows(4).any(|end| end == b"\r\n\r\n");
            let whole = !empty && !text.starts_with(b"\r\n");
            let bare = text.iter().enumerate().any(|(at, byte)| {
                *byte == b'\n' && (at == 0 || text.get(at - 1) != Some(&b'\r'))
            });
            if whole && !bare {
                prop_assert_eq!(ours, by_httparse(&text));
            } else {
                prop_assert_eq!(ours, None);
            }
        }
    }
}
