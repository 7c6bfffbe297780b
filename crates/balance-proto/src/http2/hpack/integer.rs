//! Integers with a prefix (RFC 7541 §5.1).

/// Why an integer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntegerError {
    /// The input ends within it.
    Truncated,
    /// More continuation octets than any number needs that could be meant.
    TooLarge,
}

/// Takes an integer off the front of `input`; `prefix_bits` of the first octet belong to it.
pub(super) fn decode(input: &mut &[u8], prefix_bits: u8) -> Result<usize, IntegerError> {
    let (first, mut rest) = input.split_first().ok_or(IntegerError::Truncated)?;
    let prefix_max = prefix_max(prefix_bits);
    let prefix = first & prefix_max;
    let mut value = usize::from(prefix);
    if prefix == prefix_max {
        let mut shift = 0_u32;
        loop {
            let (octet, tail) = rest.split_first().ok_or(IntegerError::Truncated)?;
            rest = tail;
            if shift >= SHIFT_MAX {
                return Err(IntegerError::TooLarge);
            }
            let bits = usize::from(octet & 0x7f).wrapping_shl(shift);
            value = value.saturating_add(bits);
            shift = shift.saturating_add(7);
            if octet & 0x80 == 0 {
                break;
            }
        }
    }
    *input = rest;
    Ok(value)
}

/// Appends an integer whose first octet also has the bits of `pattern`.
pub(super) fn encode(out: &mut Vec<u8>, pattern: u8, prefix_bits: u8, value: usize) {
    let prefix_max = prefix_max(prefix_bits);
    let Some(mut rest) = value.checked_sub(usize::from(prefix_max)) else {
        out.push(pattern | value as u8);
        return;
    };
    out.push(pattern | prefix_max);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

const fn prefix_max(prefix_bits: u8) -> u8 {
    1_u8.wrapping_shl(prefix_bits as u32).wrapping_sub(1)
}

/// Four continuation octets: below 2^28 + 2^8, more than any block or table here. It also ends numbers that are
/// padded with zeros.
const SHIFT_MAX: u32 = 28;
