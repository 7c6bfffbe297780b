//! A request to the admin API and its answer: where, by which method, and whether the caller may.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use balance_control::{Access, AdminRules, ControlHandle, ReloadOutcome};
use balance_telemetry::{Format, encode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN,
    WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;

use crate::json;

/// Who asks, and by which rules.
pub(crate) struct Caller {
    /// `None`: over a unix socket.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) rules: Arc<AdminRules>,
}

/// Answers one request. The body is never read: no request needs one.
pub(crate) async fn answer<B>(
    request: Request<B>,
    caller: &Caller,
    control: &ControlHandle,
) -> Response<Full<Bytes>> {
    let resource = match admit(
        request.method(),
        request.uri().path(),
        request.headers(),
        caller,
    ) {
        Ok(resource) => resource,
        Err(refusal) => return *refusal,
    };
    match resource {
        Resource::Health => show(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
        Resource::Ready => ready(control),
        Resource::Version => show(StatusCode::OK, &json::version(control)),
        Resource::Metrics => metrics(request.headers(), control),
        Resource::Status => show(StatusCode::OK, &json::status(control)),
        Resource::Config => show(StatusCode::OK, &json::config(control)),
        Resource::Pools => show(StatusCode::OK, &json::pools(control)),
        Resource::Routes => show(StatusCode::OK, &json::routes(control)),
        Resource::Reload => reload(control).await,
    }
}

/// What is asked for, if it is here and the caller may have it.
fn admit(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    caller: &Caller,
) -> Result<Resource, Box<Response<Full<Bytes>>>> {
    let Some(resource) = Resource::find(path, &caller.rules) else {
        return Err(Box::new(not_found(&caller.rules)));
    };
    if !resource.allows(method) {
        return Err(Box::new(method_not_allowed(resource)));
    }
    if !resource.is_open()
        && let Some(refusal) = refusal(headers, caller)
    {
        return Err(Box::new(refusal));
    }
    if resource == Resource::Reload && comes_from_a_page(headers, caller) {
        return Err(Box::new(show(
            StatusCode::FORBIDDEN,
            &json::error(
                "a web page must not reload Balance",
                Some("configure admin.token_file"),
            ),
        )));
    }
    Ok(resource)
}

/// Everything that has a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Health,
    Ready,
    Version,
    Metrics,
    Status,
    Config,
    Pools,
    Routes,
    Reload,
}

impl Resource {
    /// What is at `path`, as far as it is served by these rules.
    fn find(path: &str, rules: &AdminRules) -> Option<Self> {
        if rules.metrics_path.as_deref() == Some(path) {
            return Some(Self::Metrics);
        }
        let resource = match path {
            "/health" | "/healthz" => Self::Health,
            "/ready" | "/readyz" => Self::Ready,
            "/version" => Self::Version,
            "/status" => Self::Status,
            "/config" => Self::Config,
            "/pools" => Self::Pools,
            "/routes" => Self::Routes,
            "/reload" => Self::Reload,
            _ => return None,
        };
        (rules.api || resource.is_open()).then_some(resource)
    }

    /// Whether everybody may have it: probes and scrapers carry no token, and it names no backend's address.
    fn is_open(self) -> bool {
        matches!(
            self,
            Self::Health | Self::Ready | Self::Version | Self::Metrics
        )
    }

    fn allows(self, method: &Method) -> bool {
        match self {
            Self::Reload => method == Method::POST,
            _ => method == Method::GET || method == Method::HEAD,
        }
    }
}

/// Why the caller may not, if so.
fn refusal(headers: &HeaderMap, caller: &Caller) -> Option<Response<Full<Bytes>>> {
    match caller.rules.access(caller.peer, bearer(headers)) {
        Access::Granted => None,
        Access::TokenWrong => {
            let body = json::error(
                "a token is required",
                Some("send the contents of admin.token_file as `Authorization: Bearer …`"),
            );
            let mut response = show(StatusCode::UNAUTHORIZED, &body);
            let challenge = HeaderValue::from_static("Bearer realm=\"balance\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            Some(response)
        }
        Access::TokenMissing => Some(show(
            StatusCode::FORBIDDEN,
            &json::error(
                "without a token this is only served on loopback",
                Some("set admin.token_file, or ask from the host itself"),
            ),
        )),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    // RFC 9110 §11.1: the scheme is case-insensitive.
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

/// Whether a browser sends it on behalf of a page: without a token, being on this machine is all that is
/// asked, and a page in the operator's browser is that too.
fn comes_from_a_page(headers: &HeaderMap, caller: &Caller) -> bool {
    caller.peer.is_some() && caller.rules.token.is_none() && headers.contains_key(ORIGIN)
}

fn ready(control: &ControlHandle) -> Response<Full<Bytes>> {
    let status = if control.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    show(
        status,
        &serde_json::json!({ "status": control.phase().name() }),
    )
}

fn metrics(headers: &HeaderMap, control: &ControlHandle) -> Response<Full<Bytes>> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::negotiate(accept);
    let body = encode(&control.registry().families(), format);
    respond(
        StatusCode::OK,
        HeaderValue::from_static(format.content_type()),
        body.into_bytes(),
    )
}

async fn reload(control: &ControlHandle) -> Response<Full<Bytes>> {
    match control.reload().await {
        ReloadOutcome::Applied(summary) => show(StatusCode::OK, &json::reloaded(&summary)),
        ReloadOutcome::Refused(problems) => {
            show(StatusCode::UNPROCESSABLE_ENTITY, &json::refused(&problems))
        }
        ReloadOutcome::Unavailable => show(
            StatusCode::SERVICE_UNAVAILABLE,
            &json::error("Balance is ending, or too many reloads wait already", None),
        ),
    }
}

fn not_found(rules: &AdminRules) -> Response<Full<Bytes>> {
    let help = if rules.api {
        "GET /health /ready /version /metrics /status /config /pools /routes, POST /reload"
    } else {
        "this listener has /health, /ready, /version and the metrics; `admin:` configures the rest"
    };
    show(
        StatusCode::NOT_FOUND,
        &json::error("there is nothing at this path", Some(help)),
    )
}

fn method_not_allowed(resource: Resource) -> Response<Full<Bytes>> {
    let body = json::error("this method is not allowed here", None);
    let mut response = show(StatusCode::METHOD_NOT_ALLOWED, &body);
    let allow = if resource == Resource::Reload {
        "POST"
    } else {
        "GET, HEAD"
    };
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn show(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut body = format!("{value:#}");
    body.push('\n');
    respond(
        status,
        HeaderValue::from_static("application/json"),
        body.into(),
    )
}

fn respond(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
