//! Responses that Balance makes itself: a route's redirect or direct response, and errors.

/// `redirect:` of a route. Parts that are `None` come from the request.
#[derive(Clone, Debug, Default)]
pub struct Redirect {
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<String>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// `respond:` of a route.
#[derive(Clone, Debug, Default)]
pub struct Respond {
    pub status: u16,
    pub body: Vec<u8>,
    pub content_type: String,
    /// Validated names and values.
    pub headers: Vec<(String, String)>,
}
