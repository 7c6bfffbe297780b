//! The character classes of HTTP as one table of 256 flags, and the list syntax.
//!
//! It knows bytes, not messages.

/// Whether `byte` may stand in a token: a method, a field name (RFC 9110 §5.6.2).
pub(crate) const fn is_tchar(byte: u8) -> bool {
    flags(byte) & TCHAR != 0
}

/// Whether `byte` may stand in a field value (RFC 9110 §5.5): HTAB, SP, VCHAR and obs-text. Never
/// CR, LF, NUL, another control or DEL (robustness SM-16).
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    flags(byte) & VALUE != 0
}

/// Whether `byte` may stand in a label of a host name: letters, digits, `-`, `_` and `~`. RFC 3986
/// §3.2.2 also allows sub-delims and percent-encoding; no client needs them, and `,` would make a
/// list (robustness SM-20).
pub(crate) const fn is_label_byte(byte: u8) -> bool {
    flags(byte) & LABEL != 0
}

/// Whether all bytes may stand in a field value. It looks at 16 bytes at a time, of which the
/// compiler makes a few vector instructions; the last 16 may overlap those before. Of fewer, the
/// first and the last 8 or 4 are looked at.
pub(crate) const fn is_value(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<16>() else {
        return is_short_value(bytes);
    };
    let mut rest = bytes;
    while let Some((chunk, tail)) = rest.split_first_chunk::<16>() {
        if !is_value_chunk(chunk) {
            return false;
        }
        rest = tail;
    }
    rest.is_empty() || is_value_chunk(last)
}

/// No early exit and no table: both would keep the compiler from vector instructions.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the index is below the length, and constants cannot iterate"
)]
const fn is_value_chunk<const N: usize>(chunk: &[u8; N]) -> bool {
    let mut is_bad = false;
    let mut index = 0;
    while index < chunk.len() {
        let byte = chunk[index];
        is_bad |= (byte < b' ' && byte != b'\t') | (byte == 0x7f);
        index += 1;
    }
    !is_bad
}

const fn is_short_value(bytes: &[u8]) -> bool {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return is_value_chunk(first) && is_value_chunk(last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return is_value_chunk(first) && is_value_chunk(last);
    }
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        if !is_value_byte(*byte) {
            return false;
        }
        rest = tail;
    }
    true
}

/// The elements of a `#rule` list (RFC 9110 §5.6.1), OWS trimmed, empty ones skipped as recipients
/// must.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim_ows)
        .filter(|element| !element.is_empty())
}

/// `value` without the optional white space around it (RFC 9110 §5.6.3).
pub(crate) const fn trim_ows(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether `bytes` is a token (RFC 9110 §5.6.2).
pub(crate) const fn is_token(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        if !is_tchar(*byte) {
            return false;
        }
        rest = tail;
    }
    !bytes.is_empty()
}

#[expect(
    clippy::indexing_slicing,
    reason = "a byte cannot leave a table of 256"
)]
const fn flags(byte: u8) -> u8 {
    FLAGS[byte as usize]
}

const TCHAR: u8 = 1;
const VALUE: u8 = 2;
const LABEL: u8 = 4;

static FLAGS: [u8; 256] = table();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which would say so"
)]
const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let mut flags = 0;
        if byte.is_ascii_alphanumeric()
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
            )
        {
            flags |= TCHAR;
        }
        if matches!(byte, b'\t' | b' '..=b'~' | 0x80..) {
            flags |= VALUE;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            flags |= LABEL;
        }
        table[index] = flags;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{elements, is_tchar, is_value, is_value_byte, trim_ows};

    #[test]
    fn classes_match_the_grammar() {
        for byte in 0..=255_u8 {
            assert_eq!(
                is_tchar(byte),
                byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte),
                "{byte:#x}"
            );
            assert_eq!(
                is_value_byte(byte),
                byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
            );
            for length in 1..36 {
                for at in 0..length {
                    let mut value = vec![b'\xff'; length];
                    value[at] = byte;
                    assert_eq!(is_value(&value), is_value_byte(byte), "{byte:#x} {at}");
                }
            }
        }
    }

    #[test]
    fn lists_skip_empty_elements() {
        let seen: Vec<_> = elements(b" a,, b\t,").collect();
        assert_eq!(seen, [b"a", b"b"]);
        assert_eq!(trim_ows(b" \t "), b"");
    }
}
