//! A request as plain data, for tests and fuzz targets. They take this file in by its path, and [`Facts`] from where it
//! is for them.

use super::Facts;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// The names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Facts for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn query(&self) -> &[u8] {
        self.query.as_bytes()
    }

    fn header_values(&self, name_lower: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(name, _)| name.as_bytes() == name_lower)
            .map(|(_, value)| value.as_bytes())
    }
}
