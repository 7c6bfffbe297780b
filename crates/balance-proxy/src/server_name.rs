//! The name that a TLS client asks for, as the router asks about it.

use balance_route::Facts;

/// It has a host, and nothing else.
pub(crate) struct ServerNameFacts<'a>(pub(crate) &'a str);

impl Facts for ServerNameFacts<'_> {
    fn method(&self) -> &[u8] {
        b""
    }

    fn host(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn path(&self) -> &[u8] {
        b"/"
    }

    fn query(&self) -> &[u8] {
        b""
    }

    fn header_values(&self, _: &[u8]) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
}
