//! Decoding of field blocks (RFC 7541 §3 and §6).

use super::dynamic_table::{DynamicTable, Found, NewName, entry_size};
use super::huffman::{self, HuffmanError};
use super::integer::{self, IntegerError};
use super::name::NameKind;
use super::static_table;
use crate::grammar::{is_value, trim_ows};
use std::ops::Range;

/// A field as it stands in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodedField<'a> {
    /// As it was sent.
    pub name: &'a [u8],
    /// As it was sent.
    pub value: &'a [u8],
    /// What the name is.
    pub kind: NameKind,
    /// Whether the value has no control characters and no white space at its ends (RFC 9113 §8.2.1).
    pub is_value_valid: bool,
}

/// Takes the fields of a block, one after the other.
///
/// It cannot stop the decoder: a message may be refused, but the table has to follow all of its block, or no
/// later one could be read.
pub trait FieldSink {
    /// Takes a field.
    fn on_field(&mut self, field: DecodedField<'_>);
}

/// Whether all fields of a block were given to the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodedList {
    /// All of them.
    Whole,
    /// The list is larger than allowed: the sink got only its beginning.
    TooLarge,
}

/// Why a block cannot be decoded. The connection is lost (`COMPRESSION_ERROR`, RFC 9113 §4.3): nothing after it
/// could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// RFC 7541 §2.3.3.
    #[error("an index that no table has")]
    IndexInvalid,
    /// RFC 7541 §5.1: larger than what we take.
    #[error("an integer is too large")]
    IntegerTooLarge,
    /// The block ends within a field.
    #[error("the block ends within a field")]
    Truncated,
    /// RFC 7541 §5.2.
    #[error("a string contains the end-of-string symbol")]
    EndOfString,
    /// RFC 7541 §5.2.
    #[error("a string is padded with other bits than ones, or more than seven")]
    PaddingInvalid,
    /// RFC 7541 §4.2: only at the beginning of a block, two at most.
    #[error("a change of the table's size where none may be")]
    SizeUpdateMisplaced,
    /// RFC 7541 §6.3.
    #[error("the table would become larger than we allow")]
    SizeUpdateTooLarge,
}

/// Decodes the blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    table_size_max: usize,
    /// The decoded strings of one field.
    scratch: Vec<u8>,
}

impl Decoder {
    /// `table_size_max` is what our SETTINGS_HEADER_TABLE_SIZE says. Below [`Decoder::TABLE_SIZE_DEFAULT`] the peer
    /// must have known it from the first block on: nothing here waits for an acknowledgement (RFC 7541 §4.2).
    pub fn new(table_size_max: usize) -> Self {
        Self {
            table: DynamicTable::new(Self::TABLE_SIZE_DEFAULT.min(table_size_max)),
            table_size_max,
            scratch: Vec::new(),
        }
    }

    /// The size of both tables before any SETTINGS (RFC 9113 §6.5.2).
    pub const TABLE_SIZE_DEFAULT: usize = 4096;

    /// Decodes a whole block. Fields go to `sink` until they make up more than `list_bytes_max`, counted as in
    /// RFC 9113 §6.5.2 (32 for each besides its bytes). From there on they only change the table, which costs
    /// no more than reading them: a block of indexes of one large field stays cheap.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn decode(
        &mut self,
        block: &[u8],
        list_bytes_max: usize,
        sink: &mut impl FieldSink,
    ) -> Result<DecodedList, DecodeError> {
        let mut rest = self.decode_size_updates(block)?;
        let mut list = List {
            bytes_left: Some(list_bytes_max),
            sink,
        };
        while let Some(first) = rest.first() {
            match first {
                0x80.. => self.decode_indexed(&mut rest, &mut list)?,
                0x40..=0x7f => self.decode_literal(&mut rest, 6, true, &mut list)?,
                0x20..=0x3f => return Err(DecodeError::SizeUpdateMisplaced),
                // Never indexed, or merely not indexed: the same to us, who never index.
                0x00..=0x1f => self.decode_literal(&mut rest, 4, false, &mut list)?,
            }
        }
        Ok(match list.bytes_left {
            Some(_) => DecodedList::Whole,
            None => DecodedList::TooLarge,
        })
    }

    /// Gives memory back that is not needed: for connections that go idle. What is in the table stays, as it must.
    pub fn release_memory(&mut self) {
        self.table.shrink();
        self.scratch = Vec::new();
    }

    /// RFC 7541 §4.2: at the beginning of a block, the smallest size in between and the last one.
    fn decode_size_updates<'b>(&mut self, block: &'b [u8]) -> Result<&'b [u8], DecodeError> {
        let mut rest = block;
        for _ in 0..SIZE_UPDATES_MAX {
            if !matches!(rest.first(), Some(0x20..=0x3f)) {
                break;
            }
            let size_max = integer::decode(&mut rest, 5)?;
            if size_max > self.table_size_max {
                return Err(DecodeError::SizeUpdateTooLarge);
            }
            self.table.resize(size_max);
        }
        Ok(rest)
    }

    /// RFC 7541 §6.1.
    fn decode_indexed<S: FieldSink>(
        &mut self,
        rest: &mut &[u8],
        list: &mut List<'_, S>,
    ) -> Result<(), DecodeError> {
        let index = integer::decode(rest, 7)?;
        let found = self.find(index)?;
        list.push(DecodedField {
            name: found.name,
            value: found.value,
            kind: found.kind,
            is_value_valid: found.is_value_valid,
        });
        Ok(())
    }

    /// RFC 7541 §6.2.
    fn decode_literal<S: FieldSink>(
        &mut self,
        rest: &mut &[u8],
        prefix_bits: u8,
        is_inserted: bool,
        list: &mut List<'_, S>,
    ) -> Result<(), DecodeError> {
        self.scratch.clear();
        let index = integer::decode(rest, prefix_bits)?;
        let literal_name = match index {
            0 => Some(read_string(rest, &mut self.scratch)?),
            _ => None,
        };
        let value = read_string(rest, &mut self.scratch)?;
        let value = value.get(&self.scratch);
        let (name, kind) = match &literal_name {
            Some(name) => {
                let name = name.get(&self.scratch);
                (name, NameKind::of(name))
            }
            None => {
                let found = self.find(index)?;
                (found.name, found.kind)
            }
        };
        let is_value_valid = is_value(value) && trim_ows(value).len() == value.len();
        list.push(DecodedField {
            name,
            value,
            kind,
            is_value_valid,
        });
        if is_inserted {
            let name = match index.checked_sub(static_table::LENGTH.saturating_add(1)) {
                Some(position) => NewName::OfEntry(position),
                None => NewName::Bytes(match static_table::entry_at(index) {
                    Some(entry) => entry.name.as_bytes(),
                    None => literal_name.map_or(&[], |name| name.get(&self.scratch)),
                }),
            };
            self.table.insert(name, value, kind, is_value_valid);
        }
        Ok(())
    }

    fn find(&self, index: usize) -> Result<Found<'_>, DecodeError> {
        if let Some(entry) = static_table::entry_at(index) {
            return Ok(Found {
                name: entry.name.as_bytes(),
                value: entry.value.as_bytes(),
                kind: entry.kind,
                is_value_valid: true,
            });
        }
        index
            .checked_sub(static_table::LENGTH.saturating_add(1))
            .and_then(|position| self.table.get(position))
            .ok_or(DecodeError::IndexInvalid)
    }
}

/// The list of fields so far.
struct List<'s, S> {
    /// `None` once it is too large.
    bytes_left: Option<usize>,
    sink: &'s mut S,
}

impl<S: FieldSink> List<'_, S> {
    fn push(&mut self, field: DecodedField<'_>) {
        let size = entry_size(field.name.len(), field.value.len());
        self.bytes_left = self.bytes_left.and_then(|left| left.checked_sub(size));
        if self.bytes_left.is_some() {
            self.sink.on_field(field);
        }
    }
}

/// A string of a block.
#[derive(Clone)]
enum Text<'b> {
    Plain(&'b [u8]),
    /// Where in the scratch it was decoded to.
    Decoded(Range<usize>),
}

impl<'b> Text<'b> {
    fn get<'s>(&self, scratch: &'s [u8]) -> &'s [u8]
    where
        'b: 's,
    {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Decoded(range) => scratch.get(range.clone()).unwrap_or_default(),
        }
    }
}

/// RFC 7541 §5.2.
fn read_string<'b>(rest: &mut &'b [u8], scratch: &mut Vec<u8>) -> Result<Text<'b>, DecodeError> {
    let is_coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer::decode(rest, 7)?;
    let (bytes, tail) = rest
        .split_at_checked(length)
        .ok_or(DecodeError::Truncated)?;
    *rest = tail;
    if !is_coded {
        return Ok(Text::Plain(bytes));
    }
    let start = scratch.len();
    huffman::decode(bytes, scratch)?;
    Ok(Text::Decoded(start..scratch.len()))
}

impl From<IntegerError> for DecodeError {
    fn from(error: IntegerError) -> Self {
        match error {
            IntegerError::Truncated => Self::Truncated,
            IntegerError::TooLarge => Self::IntegerTooLarge,
        }
    }
}

impl From<HuffmanError> for DecodeError {
    fn from(error: HuffmanError) -> Self {
        match error {
            HuffmanError::EndOfString => Self::EndOfString,
            HuffmanError::Padding => Self::PaddingInvalid,
        }
    }
}

/// RFC 7541 §4.2.
const SIZE_UPDATES_MAX: usize = 2;
