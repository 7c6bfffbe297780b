//! Source addresses for connections to loopback.
//!
//! The ports of one address (28,232) are used up in seconds by new connections, stay in TIME_WAIT for a minute, and
//! finding one of the last free ones costs more than all the rest.

use std::net::{IpAddr, Ipv4Addr};

/// 127.0.1.1 to 127.0.8.250 in turn: addresses that nothing else on the machine uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    used: u32,
}

impl Sources {
    /// Threads begin at different places, so that they do not meet at one address.
    pub(crate) fn from(place: u32) -> Self {
        Self { used: place }
    }

    /// The source for the next connection to `target`. None leaves it to the system: the target is not on loopback.
    pub(crate) fn next(&mut self, target: IpAddr) -> Option<IpAddr> {
        let is_loopback = matches!(target, IpAddr::V4(ip) if ip.is_loopback());
        if !is_loopback {
            return None;
        }
        let number = self.used;
        self.used = number.wrapping_add(1);
        let (third, fourth) = (1 + number / 250 % 8, 1 + number % 250);
        Some(IpAddr::V4(Ipv4Addr::new(127, 0, third as u8, fourth as u8)))
    }
}
