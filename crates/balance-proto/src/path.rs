//! The path policy (robustness SM-28) and the characters of a target (SM-17), in one pass.
//!
//! Nothing is decoded or normalised: routes match the bytes that are forwarded, so a path that a
//! backend could resolve to another one is refused instead. The same check runs after a path was
//! rewritten.

use balance_core::PathPolicy;

/// A checked path and query in origin form, as it may be written into a request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathAndQuery<'a>(&'a [u8]);

impl<'a> PathAndQuery<'a> {
    /// Checks `/path?query`.
    ///
    /// # Errors
    /// Not beginning with `/`, a byte that cannot stand in a target, or a path that the policy
    /// refuses.
    pub fn new(bytes: &'a [u8], policy: PathPolicy) -> Result<Self, PathError> {
        check(bytes, policy)?;
        Ok(Self(bytes))
    }

    /// The bytes, as they were given.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// RFC 9112 §3.2.1.
    #[error("the path does not begin with /")]
    NotAbsolute,
    /// RFC 9112 §3.2: space, control, `#`, `\` or a byte above 0x7e.
    #[error("the target contains a character that must be percent-encoded")]
    InvalidByte,
    /// `.` or `..`, plain or encoded.
    #[error("the path contains a dot segment")]
    DotSegment,
    /// `%2f`, `%5c` or `%00`.
    #[error("the path contains an encoded slash, backslash or NUL")]
    EncodedSeparator,
    /// `%` without two hex digits, among them `%u002e`.
    #[error("the path contains an invalid percent-encoding")]
    InvalidEscape,
    /// `//`, under [`PathPolicy::Reject`].
    #[error("the path contains an empty segment")]
    EmptySegment,
    /// `;`, under [`PathPolicy::Reject`].
    #[error("the path contains a path parameter")]
    PathParameter,
}

/// Checks a target in origin form.
///
/// Characters that RFC 3986 §2 does not allow but browsers send (`"<>^{|}` and the back tick) pass:
/// no parser splits a request line at them.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(target: &[u8], policy: PathPolicy) -> Result<(), PathError> {
    path_len(target, policy).map(|_| ())
}

/// As [`check`]; says how long the path is without its query.
pub(crate) fn path_len(target: &[u8], policy: PathPolicy) -> Result<usize, PathError> {
    let mut rest = match target {
        [b'/', rest @ ..] => rest,
        _ => return Err(PathError::NotAbsolute),
    };
    check_segment_start(rest, policy)?;
    // From one byte of interest to the next: nearly all others are plain.
    while let Some((byte, tail)) = next_special(rest) {
        rest = tail;
        match kind(byte) {
            Kind::Plain => {}
            Kind::Invalid => return Err(PathError::InvalidByte),
            Kind::Slash => check_segment_start(tail, policy)?,
            Kind::Percent => check_escape(tail, policy)?,
            Kind::Semicolon if policy == PathPolicy::Reject => {
                return Err(PathError::PathParameter);
            }
            Kind::Semicolon => {}
            Kind::Question => {
                check_query(tail)?;
                let query_len = tail.len().saturating_add(b"?".len());
                return Ok(target.len().saturating_sub(query_len));
            }
        }
    }
    Ok(target.len())
}

/// The first byte that is not plain, and what follows it.
fn next_special(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let at = bytes.iter().position(|byte| kind(*byte) != Kind::Plain)?;
    let (byte, tail) = bytes.get(at..)?.split_first()?;
    Some((*byte, tail))
}

fn check_query(query: &[u8]) -> Result<(), PathError> {
    if query.iter().any(|byte| kind(*byte) == Kind::Invalid) {
        return Err(PathError::InvalidByte);
    }
    Ok(())
}

/// Looks at a segment right after its slash.
fn check_segment_start(rest: &[u8], policy: PathPolicy) -> Result<(), PathError> {
    match (rest, policy) {
        (_, PathPolicy::Off) => Ok(()),
        ([b'/', ..], PathPolicy::Reject) => Err(PathError::EmptySegment),
        ([b'.' | b'%', ..], _) if is_dot_segment(rest) => Err(PathError::DotSegment),
        _ => Ok(()),
    }
}

/// Whether the segment at the start of `rest` is one or two dots (RFC 3986 §5.2.4), each plain or
/// encoded. A `;` ends it too: Java servers cut path parameters before they resolve dots, so
/// `/a/..;/b` walks up there.
fn is_dot_segment(mut rest: &[u8]) -> bool {
    let mut dots = 0_u8;
    loop {
        rest = match rest {
            [b'.', tail @ ..] | [b'%', b'2', b'e' | b'E', tail @ ..] => tail,
            [] | [b'/' | b'?' | b';', ..] => return dots > 0,
            [b'%', b'3', b'b' | b'B', ..] => return dots > 0,
            _ => return false,
        };
        if dots == 2 {
            return false;
        }
        dots = dots.saturating_add(1);
    }
}

/// Looks at what follows a `%`.
fn check_escape(rest: &[u8], policy: PathPolicy) -> Result<(), PathError> {
    if policy == PathPolicy::Off {
        return Ok(());
    }
    match rest {
        [b'2', b'f' | b'F', ..] | [b'5', b'c' | b'C', ..] | [b'0', b'0', ..] => {
            Err(PathError::EncodedSeparator)
        }
        [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => Ok(()),
        _ => Err(PathError::InvalidEscape),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Invalid,
    Slash,
    Percent,
    Semicolon,
    Question,
}

#[expect(
    clippy::indexing_slicing,
    reason = "a byte cannot leave a table of 256"
)]
fn kind(byte: u8) -> Kind {
    KINDS[usize::from(byte)]
}

static KINDS: [Kind; 256] = table();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which would say so"
)]
const fn table() -> [Kind; 256] {
    let mut table = [Kind::Plain; 256];
    let mut index = 0;
    while index < 256 {
        table[index] = match index as u8 {
            b'/' => Kind::Slash,
            b'%' => Kind::Percent,
            b';' => Kind::Semicolon,
            b'?' => Kind::Question,
            // A fragment never reaches a server (RFC 9110 §7.1); a backslash is a slash to some.
            b'#' | b'\\' => Kind::Invalid,
            b'!'..=b'~' => Kind::Plain,
            _ => Kind::Invalid,
        };
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{PathError, check, path_len};
    use balance_core::PathPolicy;

    fn verdict(path: &str, policy: PathPolicy) -> Result<(), PathError> {
        check(path.as_bytes(), policy)
    }

    #[test]
    fn safe_policy() {
        for good in [
            "/",
            "/a/b",
            "//a",
            "/a;b=c",
            "/.well-known/x",
            "/..a",
            "/a..",
            "/...",
            "/a%20b",
            "/a.b/",
            "/?/../",
            "/a?x=%2f%zz",
            "/%252e",
            "/a|b",
            "/%2e%2ea",
        ] {
            assert_eq!(verdict(good, PathPolicy::Safe), Ok(()), "{good}");
        }
        for (bad, error) in [
            ("/..", PathError::DotSegment),
            ("/.", PathError::DotSegment),
            ("/a/../b", PathError::DotSegment),
            ("/a/./b", PathError::DotSegment),
            ("/a/%2e%2E/b", PathError::DotSegment),
            ("/a/.%2e?x", PathError::DotSegment),
            ("/a/..;x/b", PathError::DotSegment),
            ("/a/..%3b/b", PathError::DotSegment),
            ("/a/%2e", PathError::DotSegment),
            ("/a%2fb", PathError::EncodedSeparator),
            ("/a%2Fb", PathError::EncodedSeparator),
            ("/a%5cb", PathError::EncodedSeparator),
            ("/a%00", PathError::EncodedSeparator),
            ("/a%", PathError::InvalidEscape),
            ("/a%u002e", PathError::InvalidEscape),
            ("/a#b", PathError::InvalidByte),
            ("/a\\b", PathError::InvalidByte),
            ("/a?b#c", PathError::InvalidByte),
            ("/a b", PathError::InvalidByte),
            ("/ä", PathError::InvalidByte),
            ("a", PathError::NotAbsolute),
            ("", PathError::NotAbsolute),
        ] {
            assert_eq!(verdict(bad, PathPolicy::Safe), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_path_ends_at_its_query() {
        for (target, length) in [("/", 1), ("/a/", 3), ("/a?", 2), ("/a?b?c", 2), ("/?", 1)] {
            let seen = path_len(target.as_bytes(), PathPolicy::Safe);
            assert_eq!(seen, Ok(length), "{target}");
        }
    }

    #[test]
    fn reject_and_off() {
        assert_eq!(
            verdict("//a", PathPolicy::Reject),
            Err(PathError::EmptySegment)
        );
        assert_eq!(
            verdict("/a//b", PathPolicy::Reject),
            Err(PathError::EmptySegment)
        );
        assert_eq!(
            verdict("/a;b", PathPolicy::Reject),
            Err(PathError::PathParameter)
        );
        for any in ["/../a", "/%2f", "/%zz", "//", "/a;b"] {
            assert_eq!(verdict(any, PathPolicy::Off), Ok(()), "{any}");
        }
        assert_eq!(verdict("/#", PathPolicy::Off), Err(PathError::InvalidByte));
    }
}
