//! X-Forwarded-For: who the client is, by whose word, and what the next proxy makes of what we write.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use balance_proto::http1::{HeadSettings, Progress, RequestHead};
use balance_proto::hygiene::client_address;
use balance_proto::{FieldClass, HeadView};

use crate::corpus::with_choice;
use crate::sender::{PEER, Sender};

/// The first byte chooses who is trusted, the rest is one X-Forwarded-For a line.
pub fn check(input: &[u8]) {
    let Some((choice, lines)) = input.split_first() else {
        return;
    };
    let is_trusted = |address| trust(*choice, address);
    let mut message = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    for line in lines.split(|byte| *byte == b'\n') {
        message.extend_from_slice(b"X-Forwarded-For: ");
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"\r\n");
    let mut head = RequestHead::default();
    let settings = HeadSettings::default();
    if !matches!(
        head.parse(&message, &settings),
        Ok(Progress::Complete { .. })
    ) {
        return;
    }
    let client = client_address(&head, PEER, is_trusted);
    assert_eq!(client, client.to_canonical());
    assert_eq!(client, walk(&chain(&head), is_trusted));

    // The next proxy, which trusts us and whom we trust, finds the same client.
    let sender = Sender {
        client,
        is_trusted: is_trusted(PEER),
        ..Sender::UNTRUSTED
    };
    let forwarded = sender.forward(&head, &head).expect("nothing to refuse");
    let mut next = RequestHead::default();
    next.parse(&forwarded, &settings)
        .expect("we accept what we write");
    let next_trusts = |address| address == OWN || is_trusted(address);
    if !is_trusted(OWN) && !chain(&head).contains(&Some(OWN)) {
        assert_eq!(
            client_address(&next, OWN, next_trusts),
            client,
            "one hop on"
        );
    }
}

/// Chains as proxies write them, and what clients put before them.
pub fn seeds() -> Vec<Vec<u8>> {
    let lines: [&[u8]; 12] = [
        b"198.51.100.7",
        b"198.51.100.7, 10.0.0.1",
        b"1.1.1.1, 198.51.100.7, 10.0.0.1, 10.0.0.2",
        b"10.0.0.1:80, [2001:db8::1]:443, [2001:db8::2], 2001:db8::3",
        b"::ffff:10.0.0.1, ::ffff:198.51.100.7",
        b"unknown, 10.0.0.1",
        b"_hidden, \"[::1]\", 10.0.0.1",
        b"",
        b"198.51.100.7\n10.0.0.1\n10.0.0.2",
        b"198.51.100.7\n\n10.0.0.2",
        b",, 198.51.100.7 ,,",
        b"10.0.0.1:99999, 10.0.0.1:, 300.1.1.1, 01.1.1.1",
    ];
    (0..4)
        .flat_map(|choice| with_choice(choice, lines.map(<[u8]>::to_vec).to_vec()))
        .collect()
}

fn trust(choice: u8, address: IpAddr) -> bool {
    match choice & 3 {
        0 => false,
        1 => address == PEER,
        2 => address == PEER || matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10),
        _ => true,
    }
}

/// The list that all lines are together (RFC 9110 §5.6.1: empty elements mean nothing). `None` is an
/// element that is no address.
fn chain(head: &RequestHead) -> Vec<Option<IpAddr>> {
    let mut elements = Vec::new();
    for index in 0..head.field_count() {
        let field = head.field(index);
        if field.class != FieldClass::XForwardedFor {
            continue;
        }
        for element in field.value.split(|byte| *byte == b',') {
            let element = String::from_utf8_lossy(element);
            let element = element.trim_matches([' ', '\t']);
            if !element.is_empty() {
                elements.push(address(element));
            }
        }
    }
    elements
}

/// The client is the first from the right who is not trusted, or the last whom somebody vouches for.
fn walk(chain: &[Option<IpAddr>], is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = PEER;
    for element in chain.iter().rev() {
        match element {
            Some(address) if is_trusted(client) => client = *address,
            _ => break,
        }
    }
    client
}

/// An address with or without a port, by the standard library's reading of sockets where it can.
fn address(element: &str) -> Option<IpAddr> {
    let unbracketed = element
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let bare = match unbracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => element.parse().ok(),
    };
    let with_port = || {
        let (_, port) = element.rsplit_once(':')?;
        // The standard library takes any number of zeros, and scopes.
        let is_plain = port.len() <= 5 && !element.contains('%');
        element
            .parse()
            .ok()
            .filter(|_| is_plain)
            .map(|address: SocketAddr| address.ip())
    };
    Some(bare.or_else(with_port)?.to_canonical())
}

/// The address from which the next proxy sees us.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
