use balance_core::ProxyVersion;

use super::{ConnectionEnds, Origin, Progress, encode, parse};

fn ends(source: &str, destination: &str) -> ConnectionEnds {
    ConnectionEnds::new(source.parse().unwrap(), destination.parse().unwrap())
}

fn encoded(version: ProxyVersion, ends: Option<&ConnectionEnds>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(version, ends, &mut out);
    out
}

#[test]
fn what_is_written_is_read_again() {
    let v4 = ("192.0.2.1:56324", "198.51.100.2:443");
    let v6 = ("[2001:db8::1]:1", "[2001:db8::2]:65535");
    let mapped = ("[::ffff:192.0.2.1]:56324", "[::ffff:198.51.100.2]:443");
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        for (source, destination) in [v4, v6, mapped, (v4.0, v6.1), (v6.0, v4.1)] {
            let ends = ends(source, destination);
            let header = encoded(version, Some(&ends));
            let complete = Progress::Complete {
                origin: Origin::Client(ends),
                consumed: header.len(),
            };
            assert_eq!(parse(&header), Ok(complete), "{version:?} {ends:?}");
        }
        let header = encoded(version, None);
        let complete = Progress::Complete {
            origin: Origin::Unknown,
            consumed: header.len(),
        };
        assert_eq!(parse(&header), Ok(complete), "{version:?}");
    }
}

#[test]
fn headers_are_those_of_the_specification() {
    let v4 = ends("192.0.2.1:56324", "198.51.100.2:443");
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
    assert_eq!(encoded(ProxyVersion::V1, Some(&v4)), line);
    assert_eq!(encoded(ProxyVersion::V1, None), b"PROXY UNKNOWN\r\n");
    let mixed = ends("192.0.2.1:1", "[2001:db8::2]:2");
    let line = b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n";
    assert_eq!(encoded(ProxyVersion::V1, Some(&mixed)), line);
    let binary =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb";
    assert_eq!(encoded(ProxyVersion::V2, Some(&v4)), binary);
    let nobody = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0";
    assert_eq!(encoded(ProxyVersion::V2, None), nobody);
}

#[test]
fn two_ways_to_write_a_connection_are_equal() {
    assert_eq!(
        ends("[::ffff:192.0.2.1]:1", "[::ffff:198.51.100.2]:2"),
        ends("192.0.2.1:1", "198.51.100.2:2"),
    );
    let with_flow = std::net::SocketAddrV6::new("2001:db8::1".parse().unwrap(), 1, 7, 9).into();
    let plain = "[2001:db8::1]:1".parse().unwrap();
    assert_eq!(
        ConnectionEnds::new(with_flow, with_flow),
        ConnectionEnds::new(plain, plain)
    );
}
