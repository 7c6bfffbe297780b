//! What is to change in a head when it is written: dropped, set and appended fields, another path,
//! authority or status.
//!
//! One `HeadEdits` serves many exchanges: [`HeadEdits::clear`] keeps its memory. It holds only
//! validated names and values, so no client can put a line break into what we write (robustness
//! SM-26).

use crate::authority::Authority;
use crate::decimal::AddressText;
use crate::field::{FieldName, FieldValue, LineStart};
use crate::head::{HeadView, field_bit};
use crate::path::PathAndQuery;

/// Changes to one head.
///
/// Invariant: `arena` is exactly the appended lines one after the other, each as `Name: value\r\n`,
/// and `lines` says where they are.
#[derive(Clone, Debug, Default)]
pub struct HeadEdits {
    dropped: u128,
    arena: Vec<u8>,
    lines: Vec<AppendedLine>,
    path: Replacement,
    authority: Replacement,
    status: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct AppendedLine {
    start: usize,
    name_end: usize,
    end: usize,
}

/// Bytes that replace others; its memory outlives a `clear`.
#[derive(Clone, Debug, Default)]
struct Replacement {
    bytes: Vec<u8>,
    is_set: bool,
}

impl HeadEdits {
    /// Forgets all changes, keeps the memory.
    pub fn clear(&mut self) {
        self.dropped = 0;
        self.arena.clear();
        self.lines.clear();
        self.path.is_set = false;
        self.authority.is_set = false;
        self.status = None;
    }

    /// Gives memory above `bytes_max` back, together with all changes if there is any to give.
    pub fn shrink(&mut self, bytes_max: usize) {
        let held = [&self.arena, &self.path.bytes, &self.authority.bytes];
        if held.iter().any(|bytes| bytes.capacity() > bytes_max) {
            *self = Self::default();
        }
    }

    /// Leaves the field at `index` out.
    pub fn drop_field(&mut self, index: usize) {
        self.dropped |= field_bit(index);
    }

    /// Whether the field at `index` is left out.
    pub fn is_dropped(&self, index: usize) -> bool {
        self.dropped & field_bit(index) != 0
    }

    /// The dropped fields as a mask: bit n is the field at index n.
    pub fn dropped(&self) -> u128 {
        self.dropped
    }

    /// Adds a field after those of the head.
    pub fn append(&mut self, name: FieldName<'_>, value: FieldValue<'_>) {
        self.append_joined(name, [value]);
    }

    /// Adds a field whose value is all `parts`, one directly after the other.
    pub fn append_joined<'p>(
        &mut self,
        name: FieldName<'_>,
        parts: impl IntoIterator<Item = FieldValue<'p>>,
    ) {
        let start = self.arena.len();
        self.arena.extend_from_slice(name.as_bytes());
        let name_end = self.arena.len();
        self.arena.extend_from_slice(COLON_SPACE);
        for part in parts {
            self.arena.extend_from_slice(part.as_bytes());
        }
        self.finish(OpenLine { start, name_end });
    }

    /// Drops every field of that name, those appended before included, and adds one.
    pub fn set<V: HeadView>(&mut self, view: &V, name: FieldName<'_>, value: FieldValue<'_>) {
        self.remove(view, name);
        self.append(name, value);
    }

    /// Drops every field of that name, those appended before included.
    pub fn remove<V: HeadView>(&mut self, view: &V, name: FieldName<'_>) {
        self.drop_named(view, name.as_bytes());
        if !self.lines.is_empty() {
            self.remove_appended(name);
        }
    }

    /// Sends another path and query.
    pub fn replace_path(&mut self, path: PathAndQuery<'_>) {
        self.path.set(path.as_bytes());
    }

    /// Sends another Host (or `:authority`).
    pub fn replace_authority(&mut self, authority: Authority<'_>) {
        self.authority.set(authority.as_bytes());
    }

    /// Sends another status.
    pub fn replace_status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// The path that replaces the received one.
    pub fn path(&self) -> Option<&[u8]> {
        self.path.as_bytes()
    }

    /// The authority that replaces the received one.
    pub fn authority(&self) -> Option<&[u8]> {
        self.authority.as_bytes()
    }

    /// The status that replaces the received one.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The appended fields as HTTP/1 lines, each with its CRLF.
    pub fn appended_lines(&self) -> &[u8] {
        &self.arena
    }

    /// The appended fields as names and values.
    pub fn appended(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| {
            let value_start = line.name_end.saturating_add(COLON_SPACE.len());
            let value_end = line.end.saturating_sub(CRLF.len());
            (
                self.arena
                    .get(line.start..line.name_end)
                    .unwrap_or_default(),
                self.arena.get(value_start..value_end).unwrap_or_default(),
            )
        })
    }

    /// Drops the view's fields of that name, whatever it is. Only for the hygiene: a name that
    /// Connection gives.
    pub(crate) fn drop_named<V: HeadView>(&mut self, view: &V, name: &[u8]) {
        for index in 0..view.field_count() {
            if view.field(index).name.eq_ignore_ascii_case(name) {
                self.drop_field(index);
            }
        }
    }

    /// Begins a line whose value is pushed piece by piece; [`HeadEdits::finish`] ends it. Inlined,
    /// so that a constant start is a few stores and no call.
    #[inline]
    pub(crate) fn begin(&mut self, line: LineStart) -> OpenLine {
        let start = self.arena.len();
        self.arena.extend_from_slice(line.as_bytes());
        OpenLine {
            start,
            name_end: start.saturating_add(line.name_len()),
        }
    }

    /// Adds a piece to the line begun last.
    #[inline]
    pub(crate) fn push(&mut self, piece: FieldValue<'_>) {
        self.arena.extend_from_slice(piece.as_bytes());
    }

    /// Adds the separator of a list to the line begun last.
    pub(crate) fn push_comma(&mut self) {
        self.arena.extend_from_slice(b", ");
    }

    /// Adds an address to the line begun last.
    #[inline]
    pub(crate) fn push_address(&mut self, address: &AddressText) {
        self.arena.extend_from_slice(address.as_bytes());
    }

    /// Ends a line.
    #[inline]
    pub(crate) fn finish(&mut self, line: OpenLine) {
        self.arena.extend_from_slice(CRLF);
        self.lines.push(AppendedLine {
            start: line.start,
            name_end: line.name_end,
            end: self.arena.len(),
        });
    }

    /// Rare (two edits of one name), so it simply closes the gap in the arena.
    fn remove_appended(&mut self, name: FieldName<'_>) {
        let Self { arena, lines, .. } = self;
        let mut removed = 0_usize;
        lines.retain_mut(|line| {
            line.start = line.start.saturating_sub(removed);
            line.name_end = line.name_end.saturating_sub(removed);
            line.end = line.end.saturating_sub(removed);
            let line_name = arena.get(line.start..line.name_end).unwrap_or_default();
            if !line_name.eq_ignore_ascii_case(name.as_bytes()) {
                return true;
            }
            arena.drain(line.start..line.end);
            removed = removed.saturating_add(line.end.saturating_sub(line.start));
            false
        });
    }
}

/// A line whose value is still being written.
#[must_use]
pub(crate) struct OpenLine {
    start: usize,
    name_end: usize,
}

impl Replacement {
    fn set(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.is_set = true;
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        self.is_set.then_some(&self.bytes)
    }
}

const COLON_SPACE: &[u8] = b": ";
const CRLF: &[u8] = b"\r\n";

#[cfg(test)]
mod tests {
    use super::HeadEdits;
    use crate::field::{FieldName, FieldValue, LineStart};
    use crate::head::{Field, HeadView};

    struct NoFields;

    impl HeadView for NoFields {
        fn field_count(&self) -> usize {
            0
        }

        fn field(&self, _: usize) -> Field<'_> {
            Field::default()
        }
    }

    const A: FieldName<'static> = FieldName::from_static("A");
    const B: FieldName<'static> = FieldName::from_static("B");

    fn value(text: &str) -> FieldValue<'_> {
        FieldValue::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn set_replaces_what_was_appended() {
        let mut edits = HeadEdits::default();
        edits.append(A, value("1"));
        edits.append(B, value("2"));
        edits.append(FieldName::new(b"a").unwrap(), value("3"));
        edits.set(&NoFields, A, value("4"));
        assert_eq!(edits.appended_lines(), b"B: 2\r\nA: 4\r\n");
        let seen: Vec<_> = edits.appended().collect();
        assert_eq!(seen, [(&b"B"[..], &b"2"[..]), (b"A", b"4")]);
        edits.remove(&NoFields, B);
        assert_eq!(edits.appended_lines(), b"A: 4\r\n");
        edits.clear();
        assert_eq!(edits.appended().count(), 0);
    }

    #[test]
    fn lines_begun_with_a_constant_have_names_and_values() {
        let mut edits = HeadEdits::default();
        for text in ["A: ", "B: 1.1 "] {
            let line = edits.begin(LineStart::from_static(text));
            edits.push(value("x"));
            edits.finish(line);
        }
        assert_eq!(edits.appended_lines(), b"A: x\r\nB: 1.1 x\r\n");
        let seen: Vec<_> = edits.appended().collect();
        assert_eq!(seen, [(&b"A"[..], &b"x"[..]), (b"B", b"1.1 x")]);
    }

    #[test]
    fn dropped_fields_are_a_mask_of_128() {
        let mut edits = HeadEdits::default();
        edits.drop_field(0);
        edits.drop_field(127);
        edits.drop_field(128);
        assert!(edits.is_dropped(0) && edits.is_dropped(127) && !edits.is_dropped(1));
        assert!(!edits.is_dropped(128));
    }
}
