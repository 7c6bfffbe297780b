//! `tls` of a listener: what can be said without its files.

use crate::check::shown;
use crate::config::{ClientAuth, ListenerTls, Mode};
use crate::diagnostics::Diagnostics;

/// Reports what contradicts itself.
pub(super) fn check(tls: &ListenerTls, mode: Mode, diagnostics: &mut Diagnostics) {
    if tls.certificates.is_empty() {
        diagnostics.error_help(
            &tls.place,
            "`tls` has no certificate to show",
            "add `cert_file` and `key_file`; `balance cert self-signed` makes a pair for tests",
        );
    }
    if tls.min_version > tls.max_version {
        let message = format!(
            "`min_version` {} is above `max_version` {}",
            tls.min_version.name(),
            tls.max_version.name()
        );
        diagnostics.error_help(&tls.place, message, "leave one of them out");
    }
    check_client_auth(tls, diagnostics);
    check_alpn(tls, mode, diagnostics);
}

fn check_client_auth(tls: &ListenerTls, diagnostics: &mut Diagnostics) {
    match (&tls.client_ca_file, tls.client_auth) {
        (None, auth) if auth.verifies() => diagnostics.error_help(
            &tls.place,
            "`client_auth` verifies certificates, and nobody is named who may sign them",
            "add `client_ca_file`",
        ),
        (Some(file), ClientAuth::None) => diagnostics.warning(
            &file.place,
            "`client_ca_file` has no effect: `client_auth` asks for no certificates",
        ),
        (Some(file), ClientAuth::Request | ClientAuth::Require) => diagnostics.warning(
            &file.place,
            "`client_ca_file` has no effect: `client_auth` asks for certificates without verifying them",
        ),
        _ => {}
    }
}

fn check_alpn(tls: &ListenerTls, mode: Mode, diagnostics: &mut Diagnostics) {
    let Some(protocols) = &tls.alpn_protocols else {
        return;
    };
    for protocol in protocols {
        // RFC 7301 §3.1: between 1 and 255 bytes.
        if protocol.value.is_empty() || protocol.value.len() > 255 {
            let message = format!("`{}` is no protocol name", shown(&protocol.value));
            diagnostics.error(&protocol.place, message);
        } else if mode == Mode::Http && !KNOWN_IN_HTTP.contains(&protocol.value.as_str()) {
            let message = format!(
                "`{}` is nothing that mode http speaks",
                shown(&protocol.value)
            );
            diagnostics.error_help(&protocol.place, message, "it knows `h2` and `http/1.1`");
        }
    }
    let has_http1 = || protocols.iter().any(|one| one.value == "http/1.1");
    if mode == Mode::Http && !protocols.is_empty() && !has_http1() {
        diagnostics.error_help(
            &protocols[0].place,
            "not supported yet: HTTP/2 alone",
            "add `http/1.1`",
        );
    }
}

const KNOWN_IN_HTTP: [&str; 2] = ["h2", "http/1.1"];
