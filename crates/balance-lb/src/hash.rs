//! Hashes that place keys on a ring: the same on every worker, every machine and in every version.

use std::net::IpAddr;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The hash of a balancing key, for example a header's value. XXH3 is specified byte for byte, so a fleet of
/// proxies, and the next release, send a key to the same backend.
pub fn hash_key(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// The hash of a client's address. An IPv4 client is the same one when a dual-stack socket maps it into IPv6.
pub fn hash_ip(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => hash_key(&ip.octets()),
        IpAddr::V6(ip) => hash_key(&ip.octets()),
    }
}

/// The `n`th point of a member on the ring.
pub(crate) fn hash_point(member_key: u64, n: u64) -> u64 {
    xxh3_64_with_seed(&member_key.to_le_bytes(), n)
}

#[cfg(test)]
mod tests {
    use super::{hash_ip, hash_key, hash_point};

    #[test]
    fn hashes_are_stable() {
        // XXH3_64bits("") of the reference implementation. tests/distribution.rs pins whole rings.
        assert_eq!(hash_key(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(hash_point(1, 0), hash_point(1, 0));
        assert_ne!(hash_point(1, 0), hash_point(1, 1));
    }

    #[test]
    fn a_mapped_address_is_the_same_client() {
        let plain = hash_ip("192.0.2.1".parse().unwrap());
        assert_eq!(plain, hash_ip("::ffff:192.0.2.1".parse().unwrap()));
        assert_ne!(plain, hash_ip("2001:db8::1".parse().unwrap()));
    }
}
