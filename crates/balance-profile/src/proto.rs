//! The file format: `Profile` of pprof's profile.proto, compressed with gzip.
//!
//! Written by hand: five messages of integers, and a code generator would bring its tree into every build. The numbers
//! are the fields' of <https://github.com/google/pprof/blob/main/proto/profile.proto>.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

/// What a number in a profile is, like `cpu` in `nanoseconds`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueType {
    pub(crate) kind: &'static str,
    pub(crate) unit: &'static str,
}

/// What holds for a profile as a whole.
pub(crate) struct Outline {
    /// One for each value of a sample; the last is what is shown first.
    pub(crate) values: &'static [ValueType],
    /// One sample stands for so many of these.
    pub(crate) period: Option<(ValueType, u64)>,
    pub(crate) started: SystemTime,
    pub(crate) duration: Duration,
    /// A regular expression of functions that are not shown, nor what they call; empty = none.
    pub(crate) dropped_functions: &'static str,
    /// For the reader; empty = none.
    pub(crate) comment: String,
}

/// A function at a place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) function: String,
    /// Empty if not known.
    pub(crate) file: String,
    /// 0 = not known.
    pub(crate) line: u32,
}

/// A part of a file that is mapped as code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) offset: u64,
    pub(crate) file: String,
}

/// The id of a location in a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocationId(u64);

/// A profile that is being written.
pub(crate) struct ProfileWriter {
    /// The message, without its table of strings.
    bytes: Vec<u8>,
    strings: HashMap<String, u64>,
    strings_in_order: Vec<String>,
    functions: HashMap<(u64, u64), u64>,
    locations: u64,
    mappings: Vec<Mapping>,
    dropped_functions: &'static str,
}

impl ProfileWriter {
    pub(crate) fn new(outline: &Outline, mappings: Vec<Mapping>) -> Self {
        let mut writer = Self {
            bytes: Vec::new(),
            strings: HashMap::new(),
            strings_in_order: Vec::new(),
            functions: HashMap::new(),
            locations: 0,
            mappings: Vec::new(),
            dropped_functions: outline.dropped_functions,
        };
        // The format wants this to be the first.
        writer.string("");
        for value in outline.values {
            writer.value_type(field::SAMPLE_TYPE, *value);
        }
        for (index, mapping) in mappings.iter().enumerate() {
            writer.mapping(index as u64 + 1, mapping);
        }
        writer.mappings = mappings;
        let since = outline
            .started
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        writer.bytes.number(field::TIME_NANOS, nanos(since));
        writer
            .bytes
            .number(field::DURATION_NANOS, nanos(outline.duration));
        if let Some((value, period)) = outline.period {
            writer.value_type(field::PERIOD_TYPE, value);
            writer.bytes.number(field::PERIOD, period);
        }
        if !outline.comment.is_empty() {
            let comment = writer.string(&outline.comment);
            writer.bytes.number(field::COMMENT, comment);
        }
        writer
    }

    /// A place in the code. Several frames are one place when calls were inlined, the innermost first; none leave
    /// it to the reader's tools.
    pub(crate) fn location(&mut self, address: u64, frames: &[Frame]) -> LocationId {
        self.locations += 1;
        let id = self.locations;
        let mut location = Vec::new();
        location.number(1, id);
        let holds = |mapping: &Mapping| (mapping.start..mapping.end).contains(&address);
        if let Some(index) = self.mappings.iter().position(holds) {
            location.number(2, index as u64 + 1);
        }
        location.number(3, address);
        for frame in frames {
            let function = self.function(frame);
            let mut line = Vec::new();
            line.number(1, function);
            line.number(2, frame.line.into());
            location.message(4, &line);
        }
        self.bytes.message(field::LOCATION, &location);
        LocationId(id)
    }

    /// A sample: its stack from the innermost frame outwards, its values in the order of the outline, its labels.
    pub(crate) fn sample(&mut self, stack: &[LocationId], values: &[u64], labels: &[(&str, &str)]) {
        let mut sample = Vec::new();
        sample.numbers(1, stack.iter().map(|id| id.0));
        sample.numbers(2, values.iter().copied());
        for (key, value) in labels {
            let mut label = Vec::new();
            label.number(1, self.string(key));
            label.number(2, self.string(value));
            sample.message(3, &label);
        }
        self.bytes.message(field::SAMPLE, &sample);
    }

    /// The file.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if !self.dropped_functions.is_empty() {
            let dropped = self.string(self.dropped_functions);
            self.bytes.number(field::DROP_FRAMES, dropped);
        }
        for string in &self.strings_in_order {
            self.bytes.message(field::STRING_TABLE, string.as_bytes());
        }
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&self.bytes)
            .and_then(|()| gzip.finish())
            .expect("a vector takes everything")
    }

    fn value_type(&mut self, number: u32, value: ValueType) {
        let mut message = Vec::new();
        message.number(1, self.string(value.kind));
        message.number(2, self.string(value.unit));
        self.bytes.message(number, &message);
    }

    fn mapping(&mut self, id: u64, mapping: &Mapping) {
        let mut message = Vec::new();
        message.number(1, id);
        message.number(2, mapping.start);
        message.number(3, mapping.end);
        message.number(4, mapping.offset);
        message.number(5, self.string(&mapping.file));
        // Functions are named, so that pprof does not go looking for the binary.
        message.number(7, 1);
        self.bytes.message(field::MAPPING, &message);
    }

    fn function(&mut self, frame: &Frame) -> u64 {
        let key = (self.string(&frame.function), self.string(&frame.file));
        if let Some(id) = self.functions.get(&key) {
            return *id;
        }
        let id = self.functions.len() as u64 + 1;
        self.functions.insert(key, id);
        let mut message = Vec::new();
        message.number(1, id);
        message.number(2, key.0);
        message.number(4, key.1);
        self.bytes.message(field::FUNCTION, &message);
        id
    }

    fn string(&mut self, text: &str) -> u64 {
        if let Some(index) = self.strings.get(text) {
            return *index;
        }
        let index = self.strings_in_order.len() as u64;
        self.strings.insert(text.to_owned(), index);
        self.strings_in_order.push(text.to_owned());
        index
    }
}

/// Protocol buffers on the wire: a field is its number and type in one varint, then its value.
trait Wire {
    fn varint(&mut self, value: u64);
    /// A field of type `int64`, `uint64` or `bool`.
    fn number(&mut self, field: u32, value: u64);
    /// A repeated field of numbers, packed.
    fn numbers(&mut self, field: u32, values: impl Iterator<Item = u64>);
    /// A field with a length: a message or a string.
    fn message(&mut self, field: u32, content: &[u8]);
}

impl Wire for Vec<u8> {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(value);
    }

    fn numbers(&mut self, field: u32, values: impl Iterator<Item = u64>) {
        let mut packed = Self::new();
        values.for_each(|value| packed.varint(value));
        self.message(field, &packed);
    }

    fn message(&mut self, field: u32, content: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(content.len() as u64);
        self.extend_from_slice(content);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The fields of `Profile`.
mod field {
    pub(super) const SAMPLE_TYPE: u32 = 1;
    pub(super) const SAMPLE: u32 = 2;
    pub(super) const MAPPING: u32 = 3;
    pub(super) const LOCATION: u32 = 4;
    pub(super) const FUNCTION: u32 = 5;
    pub(super) const STRING_TABLE: u32 = 6;
    pub(super) const DROP_FRAMES: u32 = 7;
    pub(super) const TIME_NANOS: u32 = 9;
    pub(super) const DURATION_NANOS: u32 = 10;
    pub(super) const PERIOD_TYPE: u32 = 11;
    pub(super) const PERIOD: u32 = 12;
    pub(super) const COMMENT: u32 = 13;
}

#[cfg(test)]
mod tests {
    use super::Wire;

    /// The examples of <https://protobuf.dev/programming-guides/encoding/>.
    #[test]
    fn fields_are_encoded_as_the_format_says() {
        let encoded = |write: fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            write(&mut bytes);
            bytes
        };
        assert_eq!(encoded(|to| to.number(1, 150)), [0x08, 0x96, 0x01]);
        assert_eq!(
            encoded(|to| to.message(2, b"testing")),
            [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]
        );
        assert_eq!(
            encoded(|to| to.numbers(6, [3, 270, 86_942].into_iter())),
            [0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05]
        );
        assert_eq!(encoded(|to| to.varint(u64::MAX)).len(), 10);
    }
}
