//! The admin, metrics and profiling addresses: one listener for each distinct address, bound when it is new.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use balance_config::{Admin, Config, Diagnostic, Severity, Spanned};
use balance_core::ListenAddress;
use balance_net::{ListenOptions, LocalAddress};

use super::Compiled;
use crate::admin::{AdminListener, AdminRules, AdminSocketKind, Token};

/// An address that the admin API is served on.
#[derive(Clone, Debug)]
pub(crate) struct AdminAddress {
    pub(crate) written: ListenAddress,
    pub(crate) local: LocalAddress,
    /// `admin`, `metrics` or `profiling`.
    pub(crate) role: &'static str,
}

/// The admin side of a configuration.
pub(super) struct Acquired {
    pub(super) addresses: Vec<AdminAddress>,
    pub(super) listeners: Vec<AdminListener>,
}

/// Reads the token and binds what is new. Errors go to `diagnostics`.
pub(super) fn acquire(
    config: &Config,
    previous: Option<&Compiled>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Acquired {
    let before: &[AdminAddress] = previous.map_or(&[], |previous| &previous.admin);
    let mut acquired = Acquired {
        addresses: Vec::new(),
        listeners: Vec::new(),
    };
    for (written, role, rules) in wanted(config, diagnostics) {
        let known = before
            .iter()
            .find(|address| address.written == written.value);
        let bound = match known {
            Some(known) => Ok((known.local.clone(), None)),
            None => bind(&written.value).map(|(local, socket)| (local, Some(socket))),
        };
        match bound {
            Ok((local, socket)) => {
                let address = written.value.to_string();
                acquired.listeners.push(AdminListener {
                    address,
                    rules,
                    socket,
                });
                acquired.addresses.push(AdminAddress {
                    written: written.value,
                    local,
                    role,
                });
            }
            Err(message) => {
                let message = format!("{role}: {message}");
                diagnostics.push(Diagnostic::new(Severity::Error, &written.place, message));
            }
        }
    }
    acquired
}

/// What can be said without binding.
pub(super) fn check(config: &Config) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    if let Some(admin) = &config.admin {
        token(admin, &mut diagnostics);
    }
    diagnostics
}

/// Where the metrics are on a listener that has the whole API.
pub(crate) fn metrics_path(config: &Config) -> String {
    config
        .metrics
        .as_ref()
        .map_or_else(|| "/metrics".to_owned(), |metrics| metrics.path.clone())
}

/// One entry for each address; what shares an address shares its entry, under the name of the first.
fn wanted(
    config: &Config,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<(Spanned<ListenAddress>, &'static str, AdminRules)> {
    let token = config
        .admin
        .as_ref()
        .and_then(|admin| token(admin, diagnostics));
    let rules = AdminRules {
        api: false,
        profiling: false,
        metrics_path: None,
        token,
    };
    let mut wanted: Vec<(Spanned<ListenAddress>, &'static str, AdminRules)> = Vec::new();
    if let Some(admin) = &config.admin {
        let rules = AdminRules {
            api: true,
            metrics_path: Some(metrics_path(config)),
            ..rules.clone()
        };
        wanted.push((admin.listen.clone(), "admin", rules));
    }
    if let Some(metrics) = &config.metrics {
        let rules = rules_at(&metrics.listen, "metrics", &rules, &mut wanted);
        rules.metrics_path = Some(metrics.path.clone());
    }
    if let Some(profiling) = &config.profiling {
        rules_at(&profiling.listen, "profiling", &rules, &mut wanted).profiling = true;
    }
    wanted
}

/// The rules of an address, which begins with `fresh` ones when it is new.
fn rules_at<'a>(
    listen: &Spanned<ListenAddress>,
    role: &'static str,
    fresh: &AdminRules,
    wanted: &'a mut Vec<(Spanned<ListenAddress>, &'static str, AdminRules)>,
) -> &'a mut AdminRules {
    let known = wanted
        .iter()
        .position(|(known, ..)| known.value == listen.value);
    let index = known.unwrap_or_else(|| {
        wanted.push((listen.clone(), role, fresh.clone()));
        wanted.len() - 1
    });
    &mut wanted[index].2
}

/// The token, if one is configured. A file that cannot be used is an error: going on without it would open
/// what the operator wanted closed, or close it with a surprise.
fn token(admin: &Admin, diagnostics: &mut Vec<Diagnostic>) -> Option<Token> {
    let file = admin.token_file.as_ref()?;
    let mut bytes = Vec::new();
    let read = File::open(&file.value)
        .and_then(|opened| opened.take(TOKEN_BYTES_MAX + 1).read_to_end(&mut bytes));
    let mut refuse = |message: String, help: &str| {
        let diagnostic = Diagnostic::new(Severity::Error, &file.place, message).with_help(help);
        diagnostics.push(diagnostic);
        None
    };
    match (read, Token::from_file(&bytes)) {
        (Err(error), _) => refuse(
            format!("admin.token_file {} cannot be read: {error}", file.value),
            "create it, readable for the user Balance runs as",
        ),
        (Ok(_), _) if bytes.len() as u64 > TOKEN_BYTES_MAX => refuse(
            format!(
                "admin.token_file {} has more than {TOKEN_BYTES_MAX} bytes",
                file.value
            ),
            "it should hold one token, for example the output of `openssl rand -hex 32`",
        ),
        (Ok(_), None) => refuse(
            format!("admin.token_file {} is empty", file.value),
            "write a token into it, for example the output of `openssl rand -hex 32`",
        ),
        (Ok(_), Some(token)) => Some(token),
    }
}

fn bind(address: &ListenAddress) -> Result<(LocalAddress, AdminSocketKind), String> {
    let options = ListenOptions {
        unix_mode: Some(0o600),
        ..ListenOptions::default()
    };
    let bound = balance_net::bind(address, 1, &options).map_err(|error| error.to_string())?;
    let local = bound.local_address().clone();
    let socket = bound.sockets().first().expect("one socket was asked for");
    let descriptor = socket
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| error.to_string())?;
    let kind = if socket.is_unix() {
        AdminSocketKind::Unix(UnixListener::from(descriptor))
    } else {
        AdminSocketKind::Tcp(TcpListener::from(descriptor))
    };
    Ok((local, kind))
}

const TOKEN_BYTES_MAX: u64 = 4096;
