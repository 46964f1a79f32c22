//! The grammar of HTTP/1.1 read a second time, as plainly as possible, to hold parsers to.

/// Whether it is a token (RFC 9110 section 5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || special.contains(byte))
}

/// Whether it may be a field's value: no control character but the tab (RFC 9110 section 5.5).
pub fn is_value(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

/// The lines of a text that ends with an empty one, each ended by CR LF and nothing else.
pub fn lines(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let line = &rest[..end];
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return None;
        }
        lines.push(line);
        rest = &rest[end + 2..];
    }
    let last = lines.pop()?;
    (rest.is_empty() && last.is_empty()).then_some(lines)
}

/// A field's name in lower case and its value, without the space around it.
pub fn field(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    (is_token(name) && is_value(value)).then(|| (name.to_ascii_lowercase(), trim(value).to_vec()))
}

/// The text without blanks and tabs at its ends.
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Where a text begins that ends a head: the first empty line's end.
pub fn end_of_head(text: &[u8]) -> Option<usize> {
    text.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// Cuts the bytes at places that a seed says, so that a reader gets them in pieces.
pub fn pieces(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    match seed {
        0 => vec![bytes],
        1 => bytes.chunks(1).collect(),
        _ => {
            let (one, two) = bytes.split_at((seed as usize).min(bytes.len()));
            std::iter::once(one).chain(two.chunks(seed as usize / 3 + 1)).collect()
        }
    }
}
