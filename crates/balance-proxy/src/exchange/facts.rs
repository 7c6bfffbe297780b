//! A request head as the router asks about it.

use balance_proto::{HeadView, RequestView};
use balance_route::Facts;

pub(super) struct RequestFacts<'a, V>(pub(super) &'a V);

impl<V: RequestView> Facts for RequestFacts<'_, V> {
    fn method(&self) -> &[u8] {
        self.0.method()
    }

    fn host(&self) -> &[u8] {
        self.0.host()
    }

    fn path(&self) -> &[u8] {
        self.0.path()
    }

    fn query(&self) -> &[u8] {
        self.0.query()
    }

    fn header_values(&self, name_lower: &[u8]) -> impl Iterator<Item = &[u8]> {
        values(self.0, name_lower)
    }
}

fn values<'v, V: HeadView>(view: &'v V, name_lower: &[u8]) -> impl Iterator<Item = &'v [u8]> {
    (0..view.field_count())
        .map(|index| view.field(index))
        .filter(move |field| field.name.eq_ignore_ascii_case(name_lower))
        .map(|field| field.value)
}
