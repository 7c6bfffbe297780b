//! Encoding of field blocks: names of the static table, literal values as they are, nothing inserted.
//!
//! Measured on small responses, a dynamic table and Huffman coding would save 60 of 210 bytes and cost more CPU
//! than all the rest of an encoder. The peer's table is told to be empty, so it need not keep one for us.

use super::integer;
use super::static_table;
use crate::decimal::{push_decimal, three_digits};
use crate::field::FieldClass;

/// Encodes the blocks of one direction of a connection.
#[derive(Debug, Default)]
pub struct Encoder {
    has_told_size: bool,
}

impl Encoder {
    /// Begins a block: the first one tells that our table is empty (RFC 7541 §4.2), whatever size the peer would
    /// allow. So no later change of its SETTINGS has to be confirmed.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.has_told_size {
            self.has_told_size = true;
            out.push(SIZE_UPDATE_0);
        }
    }

    /// `:status` (RFC 9113 §8.3.2).
    pub fn push_status(&self, out: &mut Vec<u8>, status: u16) {
        match status {
            200 => out.push(INDEXED | 8),
            204 => out.push(INDEXED | 9),
            206 => out.push(INDEXED | 10),
            304 => out.push(INDEXED | 11),
            400 => out.push(INDEXED | 12),
            404 => out.push(INDEXED | 13),
            500 => out.push(INDEXED | 14),
            _ => {
                integer::encode(out, LITERAL, 4, STATUS);
                // Views have three digits; an edit may have fewer.
                match three_digits(status) {
                    Some(digits) => push_string(out, &digits),
                    None => push_number(out, u64::from(status)),
                }
            }
        }
    }

    /// `:method` (RFC 9113 §8.3.1).
    pub fn push_method(&self, out: &mut Vec<u8>, method: &[u8]) {
        match method {
            b"GET" => out.push(INDEXED | 2),
            b"POST" => out.push(INDEXED | 3),
            _ => push_literal(out, METHOD, method),
        }
    }

    /// `:scheme` (RFC 9113 §8.3.1).
    pub fn push_scheme(&self, out: &mut Vec<u8>, scheme: &[u8]) {
        match scheme {
            b"http" => out.push(INDEXED | 6),
            b"https" => out.push(INDEXED | 7),
            _ => push_literal(out, SCHEME, scheme),
        }
    }

    /// `:authority` (RFC 9113 §8.3.1).
    pub fn push_authority(&self, out: &mut Vec<u8>, authority: &[u8]) {
        push_literal(out, AUTHORITY, authority);
    }

    /// `:path` (RFC 9113 §8.3.1).
    pub fn push_path(&self, out: &mut Vec<u8>, path: &[u8]) {
        match path {
            b"/" => out.push(INDEXED | 4),
            _ => push_literal(out, PATH, path),
        }
    }

    /// A field; its name is written in lower case (RFC 9113 §8.2). Secrets are marked, so that nobody further on
    /// puts them into a table, whose compression could be probed (RFC 7541 §7.1.3).
    pub fn push_field(&self, out: &mut Vec<u8>, name: &[u8], value: &[u8], class: FieldClass) {
        push_name(out, name, class);
        push_string(out, value);
    }

    /// A field whose value is a number.
    pub fn push_number_field(
        &self,
        out: &mut Vec<u8>,
        name: &[u8],
        number: u64,
        class: FieldClass,
    ) {
        push_name(out, name, class);
        push_number(out, number);
    }
}

fn push_name(out: &mut Vec<u8>, name: &[u8], class: FieldClass) {
    let pattern = match class {
        FieldClass::Authorization | FieldClass::Cookie | FieldClass::SetCookie => NEVER_INDEXED,
        _ => LITERAL,
    };
    match static_table::index_of_name(name, class) {
        Some(index) => integer::encode(out, pattern, 4, usize::from(index)),
        None => {
            out.push(pattern);
            integer::encode(out, 0, 7, name.len());
            let start = out.len();
            out.extend_from_slice(name);
            out.get_mut(start..)
                .unwrap_or_default()
                .make_ascii_lowercase();
        }
    }
}

fn push_literal(out: &mut Vec<u8>, name_index: usize, value: &[u8]) {
    integer::encode(out, LITERAL, 4, name_index);
    push_string(out, value);
}

fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    integer::encode(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// The digits are written first and their number afterwards: at most 20, so it is one octet.
fn push_number(out: &mut Vec<u8>, number: u64) {
    let length_at = out.len();
    out.push(0);
    push_decimal(out, number);
    let length = out.len().saturating_sub(length_at).saturating_sub(1);
    if let Some(place) = out.get_mut(length_at) {
        *place = length as u8;
    }
}

// First octets (RFC 7541 §6).
const INDEXED: u8 = 0x80;
const LITERAL: u8 = 0x00;
const NEVER_INDEXED: u8 = 0x10;
const SIZE_UPDATE_0: u8 = 0x20;

// Names of the static table (RFC 7541 Appendix A).
const AUTHORITY: usize = 1;
const METHOD: usize = 2;
const PATH: usize = 4;
const SCHEME: usize = 6;
const STATUS: usize = 8;
