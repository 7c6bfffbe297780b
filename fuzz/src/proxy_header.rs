//! PROXY headers: a verdict that stands, one meaning, and a checksum that catches what was changed.

use std::net::{IpAddr, SocketAddr};

use balance_core::ProxyVersion;
use balance_proto::proxy_protocol::{
    ConnectionEnds, HEADER_BYTES_MAX, Origin, Progress, encode, parse,
};
use balance_testkit::sm_data::proxy_header_rows;

use crate::input::Input;

/// What a connection begins with; the same bytes also choose the parts of a header that is well-formed.
pub fn check(input: &[u8]) {
    verdict_stands(input);
    built_headers_are_read(input);
}

/// The table of balance-proto.
pub fn seeds() -> Vec<Vec<u8>> {
    let rows = proxy_header_rows().into_iter().map(|row| row.input);
    rows.filter(|input| input.len() <= 2048).collect()
}

/// More bytes complete a header or show what is wrong with it; they never change what was said.
fn verdict_stands(input: &[u8]) {
    let whole = parse(input);
    let lengths = 0..=input.len().min(HEADER_BYTES_MAX + 1);
    let step = if input.len() > 300 { 7 } else { 1 };
    for length in lengths.step_by(step) {
        match parse(&input[..length]) {
            Ok(Progress::Partial) => {
                assert!(length < HEADER_BYTES_MAX, "waits for more than it reads");
            }
            verdict => assert_eq!(verdict, whole, "after {length} bytes"),
        }
    }
    let Ok(Progress::Complete { origin, consumed }) = whole else {
        return;
    };
    assert!(consumed <= input.len().min(HEADER_BYTES_MAX));
    assert_eq!(
        parse(&input[..consumed]),
        whole,
        "what follows means nothing"
    );
    let is_line = input.starts_with(b"PROXY ");
    if is_line {
        let line = &input[..consumed];
        assert!(line.ends_with(b"\r\n") && line.len() <= 107);
        let is_text = |byte: &u8| (b' '..=b'~').contains(byte);
        assert!(line[..line.len() - 2].iter().all(is_text));
    }
    match origin {
        Origin::Client(ends) => is_read_as(&ends),
        Origin::Local => assert!(!is_line, "a line is never local"),
        Origin::Unknown => {}
    }
}

/// What we write for a connection is read as that connection, in both forms.
fn is_read_as(ends: &ConnectionEnds) {
    let is_mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
        IpAddr::V4(_) => false,
    };
    assert!(!is_mapped(ends.source()) && !is_mapped(ends.destination()));
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut header = Vec::new();
        encode(version, Some(ends), &mut header);
        let complete = Progress::Complete {
            origin: Origin::Client(*ends),
            consumed: header.len(),
        };
        assert_eq!(parse(&header), Ok(complete), "{version:?}");
    }
}

/// A binary header with TLVs and a checksum, made by the rules: read; with any bit changed: not as something else.
fn built_headers_are_read(input: &[u8]) {
    let mut input = Input::new(input);
    let address = |input: &mut Input<'_>| {
        let octets = [(); 4].map(|()| input.byte());
        let port = u16::from_be_bytes([input.byte(), input.byte()]);
        SocketAddr::from((octets, port))
    };
    let ends = ConnectionEnds::new(address(&mut input), address(&mut input));
    let (flip_at, flip_bit) = (input.byte(), input.below(8));
    let mut header = Vec::new();
    encode(ProxyVersion::V2, Some(&ends), &mut header);
    for _ in 0..input.below(4) {
        // Kind 3 is the checksum, of which there is one.
        let kind = 4 + input.byte() % 250;
        let text = input.text();
        let value = &text[..text.len().min(300)];
        add_tlv(&mut header, kind, value);
    }
    let sum_at = header.len() + 3;
    add_tlv(&mut header, 3, &[0; 4]);
    let sum = reference_crc32c(&header).to_be_bytes();
    header[sum_at..sum_at + 4].copy_from_slice(&sum);
    let complete = Progress::Complete {
        origin: Origin::Client(ends),
        consumed: header.len(),
    };
    assert_eq!(parse(&header), Ok(complete));
    let at = usize::from(flip_at) % header.len();
    header[at] ^= 1 << flip_bit;
    match parse(&header) {
        Err(_) | Ok(Progress::Partial) => {}
        // The command may become LOCAL, the family UNSPEC: then no byte behind them is looked at. And a changed length or
        // kind of a TLV may hide the checksum: it protects from accidents, not from a sender.
        Ok(Progress::Complete { origin, .. }) => {
            let is_address = (16..28).contains(&at);
            assert!(!is_address, "{origin:?} instead of {ends:?}, byte {at}");
        }
    }
}

fn add_tlv(header: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    header.push(kind);
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(value);
    let whole = u16::try_from(header.len() - 16).unwrap_or(u16::MAX);
    header[14..16].copy_from_slice(&whole.to_be_bytes());
}

/// CRC-32C once more, by division of polynomials: the bits as they are sent, the lowest of a byte first.
fn reference_crc32c(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
    for bit in bits {
        let is_set = (remainder >> 31) as u8 ^ bit == 1;
        remainder <<= 1;
        if is_set {
            remainder ^= 0x1edc_6f41;
        }
    }
    !remainder.reverse_bits()
}
