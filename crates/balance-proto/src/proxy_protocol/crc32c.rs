//! CRC-32C (RFC 3309 appendix B), for the checksum of a PROXY header.

/// Bit by bit: a table would be larger than any header, and few senders add the checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crc32c(u32);

impl Crc32c {
    pub(super) fn new() -> Self {
        Self(u32::MAX)
    }

    pub(super) fn update(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..u8::BITS {
                let carry = if self.0 & 1 == 1 { POLYNOMIAL } else { 0 };
                self.0 = (self.0 >> 1) ^ carry;
            }
        }
        self
    }

    pub(super) fn finish(self) -> u32 {
        !self.0
    }
}

/// Castagnoli's, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

#[cfg(test)]
mod tests {
    use super::Crc32c;

    /// The vectors of RFC 3720 appendix B.4.
    #[test]
    fn agrees_with_known_checksums() {
        let rising: Vec<u8> = (0..32).collect();
        let rows: [(&[u8], u32); 5] = [
            (b"", 0),
            (b"123456789", 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
        ];
        for (bytes, expected) in rows {
            assert_eq!(Crc32c::new().update(bytes).finish(), expected, "{bytes:?}");
            let (front, back) = bytes.split_at(bytes.len() / 2);
            let in_parts = Crc32c::new().update(front).update(back);
            assert_eq!(in_parts.finish(), expected, "{bytes:?} in two parts");
        }
    }
}
