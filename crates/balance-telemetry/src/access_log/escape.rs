//! Client-made bytes in a log line: whatever they are, they cannot end the line, the field or the quoting,
//! nor move a terminal's cursor, nor fill the disk.

/// Appends `field` for between quotes of a text line: quote and backslash get a backslash, everything but
/// printable ASCII becomes `\xHH`. This is how Apache writes the combined format, and what its readers undo.
pub(super) fn push_text(field: &[u8], out: &mut Vec<u8>) {
    let (field, cut) = cap(field);
    push_runs(
        field,
        out,
        |byte| !matches!(byte, b' '..=b'~') || is_quoting(byte),
        |byte, out| {
            if is_quoting(byte) {
                out.extend_from_slice(&[b'\\', byte]);
            } else {
                push_hex(b"\\x", byte, out);
            }
        },
    );
    push_cut(cut, out);
}

/// As [`push_text`] for a value without quotes around it: a space would end it too.
pub(super) fn push_bare(field: &[u8], out: &mut Vec<u8>) {
    let (field, cut) = cap(field);
    if field.is_empty() {
        out.push(b'-');
    }
    push_runs(
        field,
        out,
        |byte| !matches!(byte, b'!'..=b'~') || is_quoting(byte),
        |byte, out| {
            push_hex(b"\\x", byte, out);
        },
    );
    push_cut(cut, out);
}

/// Appends `field` for between the quotes of a JSON string (RFC 8259 §7). Valid UTF-8 stays readable,
/// except the C1 controls, which some terminals obey. A byte that is not UTF-8 becomes the four characters
/// `\xHH`, so that the line stays valid and the byte is not lost.
pub(super) fn push_json(field: &[u8], out: &mut Vec<u8>) {
    let (field, cut) = cap(field);
    for chunk in field.utf8_chunks() {
        push_json_text(chunk.valid(), out);
        for byte in chunk.invalid() {
            push_hex(b"\\\\x", *byte, out);
        }
    }
    push_cut(cut, out);
}

fn push_json_text(text: &str, out: &mut Vec<u8>) {
    // A C1 control is C2 80..9F in UTF-8: it shows by its lead byte, which also leads harmless characters.
    let is_special = |byte: u8| byte < b' ' || byte == 0x7f || byte == C1_LEAD || is_quoting(byte);
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
        out.extend_from_slice(&rest[..at]);
        let mut used = 1;
        match (rest[at], rest.get(at + 1)) {
            (quoting @ (b'"' | b'\\'), _) => out.extend_from_slice(&[b'\\', quoting]),
            (C1_LEAD, Some(second @ 0x80..=0x9f)) => {
                push_hex(b"\\u00", *second, out);
                used = 2;
            }
            (C1_LEAD, _) => out.push(C1_LEAD),
            (control, _) => push_hex(b"\\u00", control, out),
        }
        rest = &rest[at + used..];
    }
    out.extend_from_slice(rest);
}

/// Copies runs of plain bytes whole; `push_special` writes the others.
fn push_runs(
    mut rest: &[u8],
    out: &mut Vec<u8>,
    is_special: impl Fn(u8) -> bool,
    push_special: impl Fn(u8, &mut Vec<u8>),
) {
    while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
        out.extend_from_slice(&rest[..at]);
        push_special(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn cap(field: &[u8]) -> (&[u8], bool) {
    let cut = field.len() > FIELD_BYTES_MAX;
    (&field[..field.len().min(FIELD_BYTES_MAX)], cut)
}

fn push_cut(cut: bool, out: &mut Vec<u8>) {
    if cut {
        out.extend_from_slice(b"...");
    }
}

fn push_hex(prefix: &[u8], byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(prefix);
    out.push(HEX[usize::from(byte >> 4)]);
    out.push(HEX[usize::from(byte & 0xf)]);
}

fn is_quoting(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\')
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const C1_LEAD: u8 = 0xc2;

/// Of the original bytes. A request target may have 16 KiB; its first KiB tells what it was.
pub(super) const FIELD_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::{FIELD_BYTES_MAX, push_bare, push_json, push_text};

    fn check(field: &[u8], text: &str, bare: &str, json: &str) {
        let pushed = |push: fn(&[u8], &mut Vec<u8>)| {
            let mut out = Vec::new();
            push(field, &mut out);
            String::from_utf8(out).expect("always UTF-8")
        };
        assert_eq!(pushed(push_text), text);
        assert_eq!(pushed(push_bare), bare);
        assert_eq!(pushed(push_json), json);
    }

    #[test]
    fn table() {
        check(b"", "", "-", "");
        check(b"/plain?a=b", "/plain?a=b", "/plain?a=b", "/plain?a=b");
        check(b"a b", "a b", "a\\x20b", "a b");
        check(b"\"q\"", "\\\"q\\\"", "\\x22q\\x22", "\\\"q\\\"");
        check(b"a\\x41", "a\\\\x41", "a\\x5cx41", "a\\\\x41");
        check(
            b"1\r\n2",
            "1\\x0d\\x0a2",
            "1\\x0d\\x0a2",
            "1\\u000d\\u000a2",
        );
        check(b"\x1b[31m", "\\x1b[31m", "\\x1b[31m", "\\u001b[31m");
        check(b"\x7f\0", "\\x7f\\x00", "\\x7f\\x00", "\\u007f\\u0000");
        check("é".as_bytes(), "\\xc3\\xa9", "\\xc3\\xa9", "é");
        check(
            "\u{9b}31m".as_bytes(),
            "\\xc2\\x9b31m",
            "\\xc2\\x9b31m",
            "\\u009b31m",
        );
        check("\u{a9}".as_bytes(), "\\xc2\\xa9", "\\xc2\\xa9", "\u{a9}");
        check(
            b"a\xff\xc2",
            "a\\xff\\xc2",
            "a\\xff\\xc2",
            "a\\\\xff\\\\xc2",
        );
    }

    #[test]
    fn long_fields_are_cut_and_say_so() {
        let full = "x".repeat(FIELD_BYTES_MAX);
        check(full.as_bytes(), &full, &full, &full);
        let cut = format!("{full}...");
        check(format!("{full}y").as_bytes(), &cut, &cut, &cut);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_make_one_valid_json_string(field: Vec<u8>) {
            let mut out = vec![b'"'];
            push_json(&field, &mut out);
            out.push(b'"');
            let parsed: String = serde_json::from_slice(&out).expect("valid JSON");
            if let Ok(text) = std::str::from_utf8(&field) {
                assert_eq!(parsed, text);
            }
        }

        #[test]
        fn any_bytes_stay_inside_a_text_field(field: Vec<u8>) {
            let mut out = Vec::new();
            push_text(&field, &mut out);
            assert!(out.iter().all(|byte| (b' '..=b'~').contains(byte)));
            let unescaped = String::from_utf8(out).unwrap().replace("\\\\", "").replace("\\\"", "");
            assert!(!unescaped.contains('"'));
        }
    }
}
