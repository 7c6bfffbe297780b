//! The address of the client behind trusted proxies.

use crate::field::FieldClass;
use crate::grammar::trim_ows;
use crate::head::HeadView;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Walks X-Forwarded-For from right to left, starting at the peer: every trusted address may name
/// the one before it. The first that is not trusted is the client. An element that is no address
/// stops the walk: whoever wrote it, the address to its right is the last one that is vouched for.
/// Empty elements are none (RFC 9110 §5.6.1.2), and what is written for the next proxy leaves empty lines
/// out: it must find the same client. IPv4 in IPv6 becomes IPv4.
pub fn client_address<V: HeadView>(
    view: &V,
    peer: IpAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer.to_canonical();
    if view.find(FieldClass::XForwardedFor).is_none() || !is_trusted(client) {
        return client;
    }
    for index in (0..view.field_count()).rev() {
        let field = view.field(index);
        if field.class != FieldClass::XForwardedFor {
            continue;
        }
        let elements = field.value.rsplit(|byte| *byte == b',').map(trim_ows);
        for element in elements.filter(|element| !element.is_empty()) {
            let Some(address) = parse_address(element) else {
                return client;
            };
            client = address;
            if !is_trusted(client) {
                return client;
            }
        }
    }
    client
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]` or `[::1]:5`: some proxies write ports.
fn parse_address(element: &[u8]) -> Option<IpAddr> {
    // The longest: 45 bytes of IPv6, brackets, colon, port.
    if element.len() > 53 {
        return None;
    }
    let text = std::str::from_utf8(element).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        let address: Ipv6Addr = inner.parse().ok()?;
        return port_fits.then(|| IpAddr::V6(address).to_canonical());
    }
    let (host, port) = text.split_once(':')?;
    let address: Ipv4Addr = host.parse().ok()?;
    is_port(port).then_some(IpAddr::V4(address))
}

fn is_port(text: &str) -> bool {
    let is_number = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number && text.parse::<u16>().is_ok()
}
