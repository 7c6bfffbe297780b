//! TLS towards the backends of a pool: files are read, and each backend gets a policy of its own, with its name and
//! with sessions to resume that nobody else has.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use balance_config::{Backend, Config, Diagnostic, Pool, Severity, Spanned, UpstreamTls};
use balance_core::UpstreamProtocol;
use balance_tls::{ClientPolicy, ClientSettings, PeerName, Trust};

use super::suites;
use crate::certificates::{Files, Judge, Warned};

/// A pool's TLS as it runs.
pub(crate) struct SecuredPool {
    pool: String,
    /// By the name of the backend.
    policies: HashMap<String, Arc<ClientPolicy>>,
    protocol: UpstreamProtocol,
    /// Of all that the policies were made of, the contents of the files included.
    digest: u64,
    pub(crate) files: Files,
    /// Of the certificate that we show, its end.
    pub(crate) not_after: Option<SystemTime>,
    pub(crate) warned: Warned,
}

/// What was read for a pool.
struct Material {
    settings: ClientSettings,
    digest: u64,
    not_after: Option<SystemTime>,
}

/// Reports backends whose address no certificate can be for; written names are judged by [`parse_name`].
pub(super) fn check(config: &Config, pool: &Pool, diagnostics: &mut Vec<Diagnostic>) {
    if let Some(tls) = pool.tls.as_ref().filter(|tls| tls.server_name.is_none()) {
        let names = members(config, pool);
        let names = names.map(|backend| peer_name(tls, backend, diagnostics));
        names.for_each(drop);
    }
}

/// Reads the files and makes the policies. What is the same as in `previous` is carried over, so that a reload closes no
/// connection for nothing.
pub(super) fn acquire(
    config: &Config,
    pool: &Pool,
    previous: Option<&SecuredPool>,
    judge: &mut Judge<'_>,
) -> Option<SecuredPool> {
    let tls = pool.tls.as_ref()?;
    let files = Files::of(paths(tls));
    let names: Vec<Option<PeerName>> = members(config, pool)
        .map(|backend| peer_name(tls, backend, &mut judge.diagnostics))
        .collect();
    let Material {
        settings,
        digest,
        not_after,
    } = read(tls, pool.protocol, judge)?;
    let known = previous.filter(|previous| previous.digest == digest);
    let mut policies = HashMap::with_capacity(names.len());
    for (backend, name) in members(config, pool).zip(names) {
        let name = name?;
        let known = known.and_then(|known| known.policies.get(&backend.name));
        let policy = match known.filter(|known| *known.name() == name) {
            Some(known) => Arc::clone(known),
            None => match ClientPolicy::new(name, settings.clone()) {
                Ok(policy) => Arc::new(policy),
                Err(error) => {
                    let message = format!("`tls` cannot be used: {error}");
                    let diagnostic = Diagnostic::new(Severity::Error, &tls.place, message);
                    judge.diagnostics.push(diagnostic);
                    return None;
                }
            },
        };
        policies.insert(backend.name.clone(), policy);
    }
    Some(SecuredPool {
        pool: pool.name.clone(),
        policies,
        protocol: pool.protocol,
        digest,
        files,
        not_after,
        warned: Warned::default(),
    })
}

impl SecuredPool {
    /// The name of the pool.
    pub(crate) fn pool(&self) -> &str {
        &self.pool
    }

    /// How connections to a backend of the pool are secured.
    pub(crate) fn policy(&self, backend: &str) -> Option<&Arc<ClientPolicy>> {
        self.policies.get(backend)
    }

    /// Reads the files again. Handshakes follow them from the next on, unless one of them cannot be used.
    pub(crate) fn renew(&mut self, tls: &UpstreamTls, judge: &mut Judge<'_>) -> bool {
        let Some(material) = read(tls, self.protocol, judge) else {
            return false;
        };
        for policy in self.policies.values() {
            if let Err(error) = policy.replace(material.settings.clone()) {
                let message = format!("`tls` cannot be used: {error}");
                let diagnostic = Diagnostic::new(Severity::Error, &tls.place, message);
                judge.diagnostics.push(diagnostic);
                return false;
            }
        }
        self.digest = material.digest;
        self.not_after = material.not_after;
        self.warned = Warned::default();
        true
    }
}

/// The files whose changes are followed.
pub(crate) fn paths(tls: &UpstreamTls) -> impl Iterator<Item = &str> {
    let pair = tls.certificate.iter();
    let pair = pair.flat_map(|pair| [&pair.certificate, &pair.key]);
    pair.chain(&tls.ca_file).map(|file| file.value.as_str())
}

/// `None`: an error is among the diagnostics.
fn read(tls: &UpstreamTls, protocol: UpstreamProtocol, judge: &mut Judge<'_>) -> Option<Material> {
    let cipher_suites = suites(&tls.handshake.cipher_suites, &mut judge.diagnostics);
    let pair = tls.certificate.as_ref().map(|files| judge.pair(files));
    let trust = match (&tls.ca_file, tls.verifies) {
        (_, false) => Some(Trust::Anybody),
        (Some(file), true) => judge.authorities(file).map(Trust::Authorities),
        (None, true) => judge.system_authorities(&tls.place).map(Trust::Authorities),
    };
    let pair = match pair {
        Some(read) => Some(read?),
        None => None,
    };
    let alpn_protocols = alpn_protocols(tls, protocol);
    let handshake = &tls.handshake;
    Some(Material {
        digest: digest(tls, &alpn_protocols, judge)?,
        not_after: pair.as_ref().map(|pair| pair.not_after),
        settings: ClientSettings {
            trust: trust?,
            certificate: pair.map(|pair| pair.certificate),
            min_version: handshake.min_version,
            max_version: handshake.max_version,
            cipher_suites: cipher_suites?,
            alpn_protocols,
            resumes_sessions: handshake.resumes_sessions,
        },
    })
}

/// As written, or what the protocol of the pool needs.
fn alpn_protocols(tls: &UpstreamTls, protocol: UpstreamProtocol) -> Vec<Vec<u8>> {
    let written = tls.alpn_protocols.iter();
    let written: Vec<_> = written
        .map(|protocol| protocol.value.clone().into_bytes())
        .collect();
    let needed: &[&str] = match protocol {
        _ if !written.is_empty() => return written,
        UpstreamProtocol::Http1 => &[],
        UpstreamProtocol::Http2 => &["h2"],
        UpstreamProtocol::Auto => &["h2", "http/1.1"],
    };
    needed.iter().map(|name| name.as_bytes().to_vec()).collect()
}

fn digest(tls: &UpstreamTls, alpn_protocols: &[Vec<u8>], judge: &mut Judge<'_>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    alpn_protocols.hash(&mut hasher);
    let handshake = &tls.handshake;
    (tls.verifies, handshake.resumes_sessions).hash(&mut hasher);
    (handshake.min_version, handshake.max_version).hash(&mut hasher);
    let suites = handshake.cipher_suites.iter().map(|item| &item.value);
    suites.collect::<Vec<_>>().hash(&mut hasher);
    let pair = tls.certificate.as_ref();
    let pair = pair.map(|pair| [&pair.certificate, &pair.key]);
    let files = pair.into_iter().flatten().chain(&tls.ca_file);
    for file in files {
        judge.read(file)?.hash(&mut hasher);
    }
    tls.ca_file.is_some().hash(&mut hasher);
    Some(hasher.finish())
}

/// The name that a backend's certificate must have. `None`: an error is among the diagnostics, or was.
fn peer_name(
    tls: &UpstreamTls,
    backend: &Backend,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<PeerName> {
    let host = tls.name_for(&backend.address.value)?;
    let place = match &tls.server_name {
        Some(written) => &written.place,
        None => &backend.address.place,
    };
    parse_name(&Spanned::new(host, place.clone()), diagnostics)
}

/// The name as certificates can have it. `None`: an error is among the diagnostics.
pub(super) fn parse_name(
    written: &Spanned<String>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<PeerName> {
    let name = PeerName::parse(&written.value);
    if name.is_none() {
        let message = format!("no certificate can be for `{}`", written.value);
        let diagnostic = Diagnostic::new(Severity::Error, &written.place, message)
            .with_help("`server_name` is a host name or an address");
        // One `server_name` is for all backends of the pool.
        if !diagnostics.contains(&diagnostic) {
            diagnostics.push(diagnostic);
        }
    }
    name
}

fn members<'c>(config: &'c Config, pool: &'c Pool) -> impl Iterator<Item = &'c Backend> {
    pool.members.iter().map(|id| &config.backends[id.index()])
}
