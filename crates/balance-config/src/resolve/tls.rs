//! `tls` of listeners and pools: what can be said without their files.

use balance_core::UpstreamProtocol;

use crate::check::shown;
use crate::config::{ClientAuth, HandshakeSettings, ListenerTls, Mode, UpstreamTls};
use crate::diagnostics::{Diagnostics, Place};
use crate::sections::pool::PoolDraft;

/// Reports what contradicts itself.
pub(super) fn check(tls: &ListenerTls, mode: Mode, diagnostics: &mut Diagnostics) {
    if tls.certificates.is_empty() {
        diagnostics.error_help(
            &tls.place,
            "`tls` has no certificate to show",
            "add `cert_file` and `key_file`; `balance cert self-signed` makes a pair for tests",
        );
    }
    check_versions(&tls.handshake, &tls.place, diagnostics);
    check_client_auth(tls, diagnostics);
    check_alpn(tls, mode, diagnostics);
}

/// The same for TLS towards the backends of `pool`.
pub(super) fn check_upstream(tls: &UpstreamTls, pool: &PoolDraft, diagnostics: &mut Diagnostics) {
    check_versions(&tls.handshake, &tls.place, diagnostics);
    if let (Some(file), false) = (&tls.ca_file, tls.verifies) {
        diagnostics.warning(
            &file.place,
            "`ca_file` has no effect: `insecure_skip_verify` accepts any certificate",
        );
    }
    for protocol in &tls.alpn_protocols {
        if !is_protocol(&protocol.value) {
            let message = format!("`{}` is no protocol name", shown(&protocol.value));
            diagnostics.error(&protocol.place, message);
        }
    }
    check_alpn_of_pool(tls, pool.protocol.value, diagnostics);
    let addresses = pool.backends.iter();
    let addresses = addresses.filter_map(|backend| backend.address.as_ref());
    for address in addresses.filter(|address| tls.name_for(&address.value).is_none()) {
        let message = format!(
            "`tls` has no name to ask `{}` for: it is a unix socket",
            shown(&address.value.to_string())
        );
        diagnostics.error_help(&address.place, message, "add `server_name` to `tls`");
    }
}

/// What is asked for must be what is spoken.
fn check_alpn_of_pool(
    tls: &UpstreamTls,
    protocol: UpstreamProtocol,
    diagnostics: &mut Diagnostics,
) {
    let Some(first) = tls.alpn_protocols.first() else {
        return;
    };
    let h2 = tls.alpn_protocols.iter().find(|name| name.value == "h2");
    match (protocol, h2) {
        (UpstreamProtocol::Http1, Some(h2)) => diagnostics.error_help(
            &h2.place,
            "`h2` is asked for, and HTTP/1.1 would be spoken",
            "write `protocol: h2` or `protocol: auto` in the pool, and leave `alpn_protocols` out",
        ),
        (UpstreamProtocol::Http2, None) => diagnostics.error_help(
            &first.place,
            "`protocol: h2` needs `h2` among these",
            "leave `alpn_protocols` out: the pool's `protocol` says it",
        ),
        _ => {}
    }
}

fn check_versions(handshake: &HandshakeSettings, place: &Place, diagnostics: &mut Diagnostics) {
    let (min, max) = (handshake.min_version, handshake.max_version);
    if min > max {
        let message = format!(
            "`min_version` {} is above `max_version` {}",
            min.name(),
            max.name()
        );
        diagnostics.error_help(place, message, "leave one of them out");
    }
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
        if !is_protocol(&protocol.value) {
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
}

/// RFC 7301 §3.1: between 1 and 255 bytes.
fn is_protocol(name: &str) -> bool {
    (1..=255).contains(&name.len())
}

const KNOWN_IN_HTTP: [&str; 2] = ["h2", "http/1.1"];
