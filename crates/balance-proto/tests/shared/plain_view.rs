//! A view without runs, find or masks of its own: what an HTTP/2 head looks like to the encoder. It must write the same
//! bytes as the fast way. The property tests and the fuzz targets take this file in by its path.

use balance_core::Method;
use balance_proto::{Field, HeadView, RequestView, ResponseView, Scheme, Version};

pub(crate) struct Plain<'a, V>(pub(crate) &'a V);

impl<V: HeadView> HeadView for Plain<'_, V> {
    fn field_count(&self) -> usize {
        self.0.field_count()
    }

    fn field(&self, index: usize) -> Field<'_> {
        self.0.field(index)
    }

    // All that may be there: then nobody takes the short way.
    fn classes(&self) -> u64 {
        u64::MAX
    }
}

impl<V: RequestView> RequestView for Plain<'_, V> {
    fn method(&self) -> &[u8] {
        self.0.method()
    }

    fn method_kind(&self) -> Method {
        self.0.method_kind()
    }

    fn version(&self) -> Version {
        self.0.version()
    }

    fn scheme(&self) -> Scheme {
        self.0.scheme()
    }

    fn authority(&self) -> &[u8] {
        self.0.authority()
    }

    fn path_and_query(&self) -> &[u8] {
        self.0.path_and_query()
    }
}

impl<V: ResponseView> ResponseView for Plain<'_, V> {
    fn status(&self) -> u16 {
        self.0.status()
    }

    fn version(&self) -> Version {
        self.0.version()
    }

    fn reason(&self) -> &[u8] {
        self.0.reason()
    }
}
