//! What a route may ask about a request.

/// The request as matchers see it. The implementor reads them from its head; nothing is copied.
pub trait Facts {
    /// As received: methods are case-sensitive (RFC 9110 §9.1).
    fn method(&self) -> &[u8];

    /// The host of the authority, in any case, without port and without a trailing dot. Empty where the request
    /// names none (HTTP/1.0).
    fn host(&self) -> &[u8];

    /// The path as received, without the query; `*` for `OPTIONS *`.
    fn path(&self) -> &[u8];

    /// The query as received, without the `?`; empty where there is none.
    fn query(&self) -> &[u8];

    /// The values of the field lines with this lower-case name, in order, without surrounding whitespace.
    fn header_values(&self, name_lower: &[u8]) -> impl Iterator<Item = &[u8]>;
}
