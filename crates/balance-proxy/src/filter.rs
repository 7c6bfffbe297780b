//! Filters: what a route does to a request and its response beyond forwarding them.
//!
//! A route's filters are compiled to an enum and run in order. `on_request` may let the exchange go
//! on, answer it, or ask to wait for a future (boxed only then). What a list of filters needs at all
//! is computed once ([`Needs`]): a route without filters pays one branch.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use balance_core::MirrorId;
use balance_proto::{FieldName, FieldValue, HeadEdits, RequestView, ResponseView, Scheme};

use crate::own_response::OwnResponse;

mod headers;
mod path;

pub use headers::{HeaderAction, HeaderRule, HeaderRuleError};
pub use path::{PathRewrite, PathRewriteError};

/// One compiled filter.
pub enum Filter {
    RequestHeaders(Vec<HeaderRule>),
    ResponseHeaders(Vec<HeaderRule>),
    Path(PathRewrite),
    #[cfg(test)]
    #[expect(private_interfaces, reason = "only this crate's tests make one")]
    Scripted(scripted::Scripted),
}

/// What a filter decided about a request.
pub(crate) enum Verdict {
    Continue,
    /// Answer with this; no backend sees the request.
    Respond(OwnResponse),
    /// Ask again when the future is done: its verdict counts, and the filters after this one follow. It is waited
    /// for no longer than for a backend (`first_byte`), then the exchange ends.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "rate limits and external authorization are the first that wait"
        )
    )]
    Wait(Pin<Box<dyn Future<Output = Self>>>),
}

/// What filters may know of an exchange besides its heads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterContext {
    pub(crate) client: IpAddr,
    pub(crate) scheme: Scheme,
    /// Whether paths that could walk round a prefix route are refused (they are checked again after
    /// a rewrite).
    pub(crate) paths: balance_core::PathPolicy,
}

/// What a route does beyond forwarding: which of its filters have to be run at all, and whether it mirrors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) request: bool,
    pub(crate) response: bool,
    pub(crate) mirror: Option<MirrorId>,
}

impl Needs {
    pub(crate) fn of(filters: &[Filter]) -> Self {
        let mut needs = Self::default();
        for filter in filters {
            match filter {
                Filter::RequestHeaders(_) | Filter::Path(_) => needs.request = true,
                Filter::ResponseHeaders(_) => needs.response = true,
                #[cfg(test)]
                Filter::Scripted(_) => needs.request = true,
            }
        }
        needs
    }
}

impl Filter {
    /// Whether it is for requests; else for responses.
    pub fn is_for_requests(&self) -> bool {
        Needs::of(std::slice::from_ref(self)).request
    }

    pub(crate) fn on_request<V: RequestView>(
        &self,
        request: &V,
        edits: &mut HeadEdits,
        context: &FilterContext,
    ) -> Verdict {
        match self {
            Self::RequestHeaders(rules) => {
                headers::apply(rules, request, edits, context);
                Verdict::Continue
            }
            Self::Path(rewrite) => rewrite.apply(request, edits, context),
            Self::ResponseHeaders(_) => Verdict::Continue,
            #[cfg(test)]
            Self::Scripted(scripted) => scripted.on_request(),
        }
    }

    pub(crate) fn on_response<V: ResponseView>(
        &self,
        response: &V,
        edits: &mut HeadEdits,
        context: &FilterContext,
    ) {
        if let Self::ResponseHeaders(rules) = self {
            headers::apply(rules, response, edits, context);
        }
    }
}

/// What it does, for people.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestHeaders(rules) => {
                f.write_str("request headers: ")?;
                headers::show(rules, f)
            }
            Self::ResponseHeaders(rules) => {
                f.write_str("response headers: ")?;
                headers::show(rules, f)
            }
            Self::Path(rewrite) => rewrite.fmt(f),
            #[cfg(test)]
            Self::Scripted(_) => f.write_str("scripted"),
        }
    }
}

/// Runs the filters of a request in order, waiting where one asks to.
pub(crate) async fn run_request<V: RequestView>(
    filters: &[Filter],
    request: &V,
    edits: &mut HeadEdits,
    context: &FilterContext,
) -> Result<(), OwnResponse> {
    for filter in filters {
        let mut verdict = filter.on_request(request, edits, context);
        loop {
            match verdict {
                Verdict::Continue => break,
                Verdict::Respond(response) => return Err(response),
                Verdict::Wait(future) => verdict = future.await,
            }
        }
    }
    Ok(())
}

/// A name and value that were checked when the configuration was compiled.
fn checked<'a>(name: &'a [u8], value: &'a [u8]) -> Option<(FieldName<'a>, FieldValue<'a>)> {
    Some((FieldName::new(name).ok()?, FieldValue::new(value).ok()?))
}

#[cfg(test)]
pub(crate) mod scripted {
    //! A filter of the tests: gives a scripted verdict.

    use super::Verdict;

    pub(crate) struct Scripted(pub(crate) Box<dyn Fn() -> Verdict + Send + Sync>);

    impl Scripted {
        pub(super) fn on_request(&self) -> Verdict {
            (self.0)()
        }
    }
}
