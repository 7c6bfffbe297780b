//! Numbers and addresses as text, written by hand: for one number the formatting machinery of the
//! standard library takes as many instructions as the encoder does for a whole head.
//!
//! It knows bytes, not messages.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};

/// Appends a number in decimal.
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    let mut rest = number;
    // From the last digit to the first.
    for place in digits.iter_mut().rev() {
        *place = digit(rest % 10);
        start = start.saturating_sub(1);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// The three digits of a number from 100 to 999; `None` for others.
pub(crate) const fn three_digits(number: u16) -> Option<[u8; 3]> {
    match number {
        100..=999 => Some([
            digit((number / 100) as u64),
            digit((number / 10 % 10) as u64),
            digit((number % 10) as u64),
        ]),
        _ => None,
    }
}

/// An address as text, on the stack: two fields of a request often tell the same one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressText {
    bytes: [u8; ADDRESS_BYTES_MAX],
    length: usize,
}

impl AddressText {
    pub(crate) fn new(address: IpAddr) -> Self {
        let mut bytes = [0; ADDRESS_BYTES_MAX];
        let length = match address {
            IpAddr::V4(v4) => write_v4(&mut bytes, v4.octets()),
            IpAddr::V6(v6) => write_v6(&mut bytes, v6),
        };
        Self { bytes, length }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Returns the length. Every octet is stored as four bytes, however long it is; the next one
/// overwrites what was too much.
fn write_v4(out: &mut [u8; ADDRESS_BYTES_MAX], octets: [u8; 4]) -> usize {
    let mut end = 0_usize;
    for octet in octets {
        let (text, length) = octet_text(octet);
        if let Some(place) = out.get_mut(end..).and_then(<[u8]>::first_chunk_mut) {
            *place = text;
        }
        end = end.saturating_add(length);
    }
    end.saturating_sub(1) // the last dot
}

/// Returns the length.
fn write_v6(out: &mut [u8; ADDRESS_BYTES_MAX], address: Ipv6Addr) -> usize {
    let mut free = out.as_mut_slice();
    write!(free, "{address}").expect("the longest IPv6 address has 39 characters");
    let unused = free.len();
    ADDRESS_BYTES_MAX.saturating_sub(unused)
}

/// An octet in decimal with a dot behind it, and the length of both.
#[expect(
    clippy::indexing_slicing,
    reason = "a byte cannot leave a table of 256"
)]
fn octet_text(octet: u8) -> ([u8; 4], usize) {
    let (text, length) = OCTETS[usize::from(octet)];
    (text, usize::from(length))
}

/// `number` is below 10.
const fn digit(number: u64) -> u8 {
    b'0'.wrapping_add(number as u8)
}

/// Of `u64::MAX`.
const DIGITS_MAX: usize = 20;
/// Of the longest IPv6 address, rounded up to whole words.
const ADDRESS_BYTES_MAX: usize = 40;

static OCTETS: [([u8; 4], u8); 256] = table();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which would say so"
)]
const fn table() -> [([u8; 4], u8); 256] {
    let mut table = [([0; 4], 0); 256];
    let mut index = 0;
    while index < 256 {
        let (hundreds, tens, ones) = (
            digit(index as u64 / 100),
            digit(index as u64 / 10 % 10),
            digit(index as u64 % 10),
        );
        table[index] = match index {
            0..=9 => ([ones, b'.', 0, 0], 2),
            10..=99 => ([tens, ones, b'.', 0], 3),
            _ => ([hundreds, tens, ones, b'.'], 4),
        };
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{AddressText, push_decimal, three_digits};
    use std::net::IpAddr;

    #[test]
    fn numbers_are_written_as_the_library_does() {
        for number in [0, 7, 10, 99, 100, 128, 65_536, 1_000_000_007, u64::MAX] {
            let mut out = b"x".to_vec();
            push_decimal(&mut out, number);
            assert_eq!(out, format!("x{number}").as_bytes());
        }
        for number in 0..=1_100 {
            let expected = (100..=999).contains(&number).then(|| number.to_string());
            let seen = three_digits(number).map(|digits| String::from_utf8(digits.into()).unwrap());
            assert_eq!(seen, expected);
        }
    }

    fn check(address: IpAddr) {
        let text = AddressText::new(address);
        assert_eq!(text.as_bytes(), address.to_string().as_bytes());
    }

    #[test]
    fn addresses_are_written_as_the_library_does() {
        for octet in 0..=255 {
            check([octet, 0, 255, octet].into());
            check([9, octet, octet, 10].into());
        }
        for address in [
            "::",
            "::1",
            "2001:db8::7",
            "::ffff:255.255.255.255",
            "ffff:eeee:dddd:cccc:bbbb:aaaa:9999:8888",
        ] {
            check(address.parse().unwrap());
        }
    }
}
