//! Header compression (RFC 7541): a decoder that tells the class of every name, and an encoder without a
//! dynamic table.
//!
//! It knows strings and tables. Which fields a message may have is decided by who takes the decoded fields.

mod decoder;
mod dynamic_table;
mod encoder;
mod huffman;
mod integer;
mod name;
mod static_table;

pub use decoder::{DecodeError, DecodedField, DecodedList, Decoder, FieldSink};
pub use encoder::Encoder;
pub use name::{NameKind, Pseudo};

#[cfg(test)]
mod tests;
