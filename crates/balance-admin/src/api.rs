//! A request to the admin API and its answer: where, by which method, and whether the caller may.

mod backends;
mod profiling;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use balance_control::{Access, AdminRules, ControlHandle, Question, ReloadOutcome};
use balance_telemetry::{Format, encode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN,
    WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::json;
use backends::Operation;
use profiling::Page;

/// Who asks, and by which rules.
pub(crate) struct Caller {
    /// `None`: over a unix socket.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) rules: Arc<AdminRules>,
}

/// Answers one request. Only a question to explain and a weight have a body that is read.
pub(crate) async fn answer<B>(
    request: Request<B>,
    caller: &Caller,
    control: &ControlHandle,
) -> Response<Full<Bytes>>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
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
        Resource::Operate(operation) => {
            backends::answer(operation, request.into_body(), control).await
        }
        Resource::Reload => reload(control).await,
        Resource::Explain => explain(request.into_body(), control).await,
        Resource::Profiling(page) => {
            let query = request.uri().query().unwrap_or_default();
            profiling::answer(page, query, control).await
        }
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
        return Err(Box::new(method_not_allowed(&resource)));
    }
    if !resource.is_open()
        && let Some(refusal) = refusal(headers, caller)
    {
        return Err(Box::new(refusal));
    }
    if method == Method::POST && comes_from_a_page(headers, caller) {
        return Err(Box::new(show(
            StatusCode::FORBIDDEN,
            &json::error(
                "a web page must not ask for this",
                Some("configure admin.token_file"),
            ),
        )));
    }
    Ok(resource)
}

/// Everything that has a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    Health,
    Ready,
    Version,
    Metrics,
    Status,
    Config,
    Pools,
    Routes,
    Operate(Operation),
    Reload,
    Explain,
    Profiling(Page),
}

impl Resource {
    /// What is at `path`, as far as it is served by these rules.
    fn find(path: &str, rules: &AdminRules) -> Option<Self> {
        if rules.metrics_path.as_deref() == Some(path) {
            return Some(Self::Metrics);
        }
        if let Some(page) = Page::find(path).filter(|_| rules.profiling) {
            return Some(Self::Profiling(page));
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
            "/explain" => Self::Explain,
            _ => Self::Operate(Operation::find(path)?),
        };
        (rules.api || resource.is_open()).then_some(resource)
    }

    /// Whether everybody may have it: probes and scrapers carry no token, and it names no backend's address.
    fn is_open(&self) -> bool {
        matches!(
            self,
            Self::Health | Self::Ready | Self::Version | Self::Metrics
        )
    }

    fn allows(&self, method: &Method) -> bool {
        match self {
            // Explain changes nothing; what is asked may be long and secret, and a URL ends up in logs.
            Self::Operate(_) | Self::Reload | Self::Explain => method == Method::POST,
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

async fn explain<B>(body: B, control: &ControlHandle) -> Response<Full<Bytes>>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let question: Question = match serde_json::from_slice(&body) {
        Ok(question) => question,
        Err(error) => {
            let message = format!("this is no question: {error}");
            let help = "as in { \"method\": \"GET\", \"url\": \"http://host/path\", \"headers\": [\"Name: value\"], \"from\": \"192.0.2.1\" }";
            return show(StatusCode::BAD_REQUEST, &json::error(&message, Some(help)));
        }
    };
    match control.explain(&question) {
        Ok(explanation) => show(StatusCode::OK, &serde_json::json!(explanation)),
        Err(error) => show(
            StatusCode::UNPROCESSABLE_ENTITY,
            &json::error(&error.to_string(), None),
        ),
    }
}

/// The whole body of a request.
async fn read<B>(body: B) -> Result<Bytes, Box<Response<Full<Bytes>>>>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match timeout(BODY_LIMIT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        _ => Err(Box::new(show(
            StatusCode::BAD_REQUEST,
            &json::error("the body did not arrive, or is too long", None),
        ))),
    }
}

fn not_found(rules: &AdminRules) -> Response<Full<Bytes>> {
    let help = if rules.profiling && !rules.api {
        "profiles are below /debug/pprof/"
    } else if rules.api {
        "GET /health /ready /version /metrics /status /config /pools /routes, POST /reload /explain /pools/{pool}/backends/{backend}/drain|enable|weight"
    } else {
        "this listener has /health, /ready, /version and the metrics; `admin:` configures the rest"
    };
    show(
        StatusCode::NOT_FOUND,
        &json::error("there is nothing at this path", Some(help)),
    )
}

fn method_not_allowed(resource: &Resource) -> Response<Full<Bytes>> {
    let body = json::error("this method is not allowed here", None);
    let mut response = show(StatusCode::METHOD_NOT_ALLOWED, &body);
    let allow = if resource.allows(&Method::POST) {
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

/// A head of the largest size that can be allowed, escaped.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// A question is one write of a program.
const BODY_LIMIT: Duration = Duration::from_secs(15);
