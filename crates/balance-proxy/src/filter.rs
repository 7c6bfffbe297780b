//! Filters: what a route does to a request and its response beyond forwarding them.

/// What a header rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderAction {
    /// Appends a field, whatever is there.
    Add,
    /// Replaces all fields of that name.
    Set,
    Remove,
}

/// One line of `transform.request_headers` or `transform.response_headers`. Name and value are valid:
/// control checks them when it compiles.
#[derive(Clone, Debug)]
pub struct HeaderRule {
    pub action: HeaderAction,
    pub name: String,
    /// May contain `{client_ip}` and `{scheme}`.
    pub value: String,
}

/// `transform.strip_prefix` and `transform.add_prefix`, in this order.
#[derive(Clone, Debug, Default)]
pub struct PathRewrite {
    pub strip_prefix: Option<String>,
    pub add_prefix: Option<String>,
}

/// One compiled filter.
pub enum Filter {
    RequestHeaders(Vec<HeaderRule>),
    ResponseHeaders(Vec<HeaderRule>),
    Path(PathRewrite),
}
