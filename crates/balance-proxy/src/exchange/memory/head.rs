//! Heads as plain structures.

use balance_core::Method;
use balance_proto::{Field, FieldClass, HeadView, RequestView, ResponseView, Scheme, Version};

type Fields = Vec<(&'static str, &'static str)>;

#[derive(Clone, Debug)]
pub(crate) struct MemoryRequest {
    pub(crate) method: &'static str,
    pub(crate) authority: &'static str,
    pub(crate) target: &'static str,
    pub(crate) fields: Fields,
    pub(crate) version: Version,
}

#[derive(Clone, Debug)]
pub(crate) struct MemoryResponse {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
}

impl MemoryRequest {
    pub(crate) fn new(method: &'static str, target: &'static str) -> Self {
        Self {
            method,
            authority: "example.com",
            target,
            fields: Vec::new(),
            version: Version::Http11,
        }
    }
}

impl HeadView for MemoryRequest {
    fn field_count(&self) -> usize {
        self.fields.len()
    }

    fn field(&self, index: usize) -> Field<'_> {
        field_at(&self.fields, index)
    }
}

impl RequestView for MemoryRequest {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn method_kind(&self) -> Method {
        Method::parse(self.method.as_bytes())
    }

    fn version(&self) -> Version {
        self.version
    }

    fn scheme(&self) -> Scheme {
        Scheme::Http
    }

    fn authority(&self) -> &[u8] {
        self.authority.as_bytes()
    }

    fn path_and_query(&self) -> &[u8] {
        self.target.as_bytes()
    }
}

impl HeadView for MemoryResponse {
    fn field_count(&self) -> usize {
        self.fields.len()
    }

    fn field(&self, index: usize) -> Field<'_> {
        field_at(&self.fields, index)
    }
}

impl ResponseView for MemoryResponse {
    fn status(&self) -> u16 {
        self.status
    }

    fn version(&self) -> Version {
        Version::Http11
    }
}

fn field_at(fields: &Fields, index: usize) -> Field<'_> {
    fields
        .get(index)
        .map_or_else(Field::default, |(name, value)| Field {
            name: name.as_bytes(),
            value: value.as_bytes(),
            class: FieldClass::of(name.as_bytes()),
        })
}
