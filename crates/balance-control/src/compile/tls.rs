//! TLS of listeners, and towards backends: files are read, policies made, and what must outlive a reload is carried over.

mod upstream;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use balance_config::{
    ClientAuth as ClientAuthConfig, Config, Diagnostic, Listener, ListenerTls, Mode, Pool,
    PoolKind, Severity, Sources, Spanned, TlsCertificate, TlsMaterial,
};
use balance_core::BackendId;
use balance_tls::{
    CertificateStore, Certificates, CipherSuite, ClientAuth, ClientPolicy, Entry, ServerPolicy,
    ServerSettings, TicketKeys,
};

use super::Compiled;
use crate::certificates::{Files, Judge, Pair, Warned};

pub(crate) use upstream::{SecuredPool, paths as upstream_paths};

/// TLS of a configuration.
#[derive(Default)]
pub(crate) struct Tls {
    /// By listener.
    pub(crate) listeners: Vec<Option<SecuredListener>>,
    tickets: HashMap<TicketScope, TicketKeys>,
    /// By pool; of a view it is that of its definition.
    pub(crate) pools: Vec<Option<SecuredPool>>,
}

/// A listener's TLS as it runs.
pub(crate) struct SecuredListener {
    pub(crate) policy: Arc<ServerPolicy>,
    pub(crate) certificates: Arc<Certificates>,
    /// In the order of the configuration.
    pub(crate) pairs: Vec<Pair>,
    /// For each pair.
    pub(crate) warned: Vec<Warned>,
    pub(crate) files: Files,
}

/// Whose sessions may be resumed by each other: a ticket carries the client's identity, so listeners that let in
/// others must not take it. Keys are known under this over reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TicketScope {
    client_auth: ClientAuthConfig,
    /// Of the authorities' file.
    authorities: u64,
}

/// Judges the names that are written, without a configuration: it may have any other mistake.
pub(crate) fn check_names(material: &TlsMaterial) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    suites(&material.cipher_suites, &mut diagnostics);
    for name in &material.peer_names {
        upstream::parse_name(name, &mut diagnostics);
    }
    diagnostics
}

/// What can be said beyond that about a configuration without reading its files.
pub(super) fn check(config: &Config) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for pool in definitions(config).flatten() {
        upstream::check(config, pool, &mut diagnostics);
    }
    diagnostics
}

/// Reads the files and makes the policies. Errors go to `diagnostics`, all of them; the result is of use only
/// without.
pub(super) fn acquire(
    config: &Config,
    sources: &dyn Sources,
    previous: Option<&Compiled>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Tls {
    let mut acquiring = Acquiring {
        judge: Judge::new(sources, SystemTime::now()),
        known: previous.map(|previous| &previous.tls.tickets),
        tickets: HashMap::new(),
        enable_http2: config.protocol.enable_http2,
    };
    let listeners = config.listeners.iter();
    let listeners = listeners.map(|listener| acquiring.listener(listener));
    let listeners = listeners.collect();
    let known: HashMap<&str, &SecuredPool> = previous
        .into_iter()
        .flat_map(|previous| previous.tls.pools.iter().flatten())
        .map(|known| (known.pool(), known))
        .collect();
    let judge = &mut acquiring.judge;
    let pools = definitions(config)
        .map(|pool| {
            let known = known.get(pool?.name.as_str()).copied();
            upstream::acquire(config, pool?, known, judge)
        })
        .collect();
    diagnostics.append(&mut acquiring.judge.diagnostics);
    Tls {
        listeners,
        tickets: acquiring.tickets,
        pools,
    }
}

/// The pools by position, without the views of routes.
fn definitions(config: &Config) -> impl Iterator<Item = Option<&Pool>> {
    let pools = config.pools.iter();
    pools.map(|pool| Some(pool).filter(|pool| pool.kind == PoolKind::Definition))
}

impl Tls {
    /// How connections of the listener at this position are secured.
    pub(super) fn policy(&self, listener: usize) -> Option<Arc<ServerPolicy>> {
        let secured = self.listeners.get(listener)?.as_ref()?;
        Some(Arc::clone(&secured.policy))
    }

    /// How connections to each member of the pool at this position, or of a view, are secured.
    pub(super) fn members(&self, config: &Config, pool: usize) -> Option<Vec<Arc<ClientPolicy>>> {
        let members = config.pools[pool].members.iter();
        let definition = match config.pools[pool].kind {
            PoolKind::Definition => pool,
            PoolKind::View { of, .. } => of.index(),
        };
        let secured = self.pools[definition].as_ref()?;
        let policy = |id: &BackendId| secured.policy(&config.backends[id.index()].name).cloned();
        members.map(policy).collect()
    }
}

/// The files whose changes are followed.
pub(crate) fn listener_paths(tls: &ListenerTls) -> impl Iterator<Item = &str> {
    let pairs = tls.certificates.iter().map(|one| &one.files);
    let files = pairs.flat_map(|files| [&files.certificate, &files.key]);
    files.map(|file| file.value.as_str())
}

/// The certificates that handshakes choose from.
pub(crate) fn store<'p>(
    certificates: &[TlsCertificate],
    pairs: impl Iterator<Item = &'p Pair>,
) -> Option<CertificateStore> {
    let entry = |(written, pair): (&TlsCertificate, &Pair)| Entry {
        certificate: pair.certificate.clone(),
        domains: written
            .files
            .domains
            .iter()
            .map(|domain| domain.value.clone())
            .collect(),
        is_default: written.is_default,
    };
    let entries: Vec<Entry> = certificates.iter().zip(pairs).map(entry).collect();
    CertificateStore::new(&entries)
}

/// The certificates of a listener as they would be read now. `None`: one of them cannot be used.
pub(crate) fn certificates(tls: &ListenerTls, sources: &dyn Sources) -> Option<Arc<Certificates>> {
    let mut judge = Judge::new(sources, SystemTime::now());
    let pairs = tls.certificates.iter();
    let pairs: Option<Vec<Pair>> = pairs.map(|one| judge.pair(&one.files)).collect();
    Some(Certificates::new(store(&tls.certificates, pairs?.iter())?))
}

struct Acquiring<'a> {
    judge: Judge<'a>,
    known: Option<&'a HashMap<TicketScope, TicketKeys>>,
    tickets: HashMap<TicketScope, TicketKeys>,
    enable_http2: bool,
}

impl Acquiring<'_> {
    fn listener(&mut self, listener: &Listener) -> Option<SecuredListener> {
        let tls = listener.tls.as_ref()?;
        let files = Files::of(listener_paths(tls));
        let read: Vec<Option<Pair>> = tls
            .certificates
            .iter()
            .map(|certificate| self.judge.pair(&certificate.files))
            .collect();
        let cipher_suites = suites(&tls.handshake.cipher_suites, &mut self.judge.diagnostics);
        let client_auth = self.client_auth(tls);
        let pairs: Vec<Pair> = read.into_iter().collect::<Option<_>>()?;
        let certificates = Certificates::new(store(&tls.certificates, pairs.iter())?);
        let (client_auth, scope) = client_auth?;
        let tickets = match tls.handshake.resumes_sessions {
            true => Some(self.tickets(scope, tls)?),
            false => None,
        };
        let settings = ServerSettings {
            certificates: Arc::clone(&certificates),
            min_version: tls.handshake.min_version,
            max_version: tls.handshake.max_version,
            cipher_suites: cipher_suites?,
            prefers_server_order: tls.prefers_server_order,
            alpn_protocols: alpn_protocols(tls, listener.mode, self.enable_http2),
            tickets,
            client_auth,
        };
        match ServerPolicy::new(settings) {
            Ok(policy) => Some(SecuredListener {
                policy: Arc::new(policy),
                certificates,
                warned: vec![Warned::default(); pairs.len()],
                pairs,
                files,
            }),
            Err(error) => {
                self.refuse(tls, format!("`tls` cannot be used: {error}"));
                None
            }
        }
    }

    fn client_auth(&mut self, tls: &ListenerTls) -> Option<(ClientAuth, TicketScope)> {
        let unverified = |client_auth| TicketScope {
            client_auth,
            authorities: 0,
        };
        let mode = tls.client_auth;
        let client_auth = match mode {
            ClientAuthConfig::None => return Some((ClientAuth::None, unverified(mode))),
            ClientAuthConfig::Request => return Some((ClientAuth::Request, unverified(mode))),
            ClientAuthConfig::Require => return Some((ClientAuth::Require, unverified(mode))),
            ClientAuthConfig::Verify => ClientAuth::Verify,
            ClientAuthConfig::RequireAndVerify => ClientAuth::RequireAndVerify,
        };
        let file = tls.client_ca_file.as_ref()?;
        let authorities = self.judge.authorities(file)?;
        let mut hasher = DefaultHasher::new();
        self.judge.read(file)?.hash(&mut hasher);
        let scope = TicketScope {
            client_auth: mode,
            authorities: hasher.finish(),
        };
        Some((client_auth(authorities), scope))
    }

    fn tickets(&mut self, scope: TicketScope, tls: &ListenerTls) -> Option<TicketKeys> {
        let known = self.known.and_then(|known| known.get(&scope));
        if let Some(keys) = self.tickets.get(&scope).or(known) {
            let keys = keys.clone();
            self.tickets.insert(scope, keys.clone());
            return Some(keys);
        }
        match TicketKeys::new() {
            Ok(keys) => {
                self.tickets.insert(scope, keys.clone());
                Some(keys)
            }
            Err(error) => {
                self.refuse(tls, format!("no keys for session tickets: {error}"));
                None
            }
        }
    }

    fn refuse(&mut self, tls: &ListenerTls, message: String) {
        let diagnostic = Diagnostic::new(Severity::Error, &tls.place, message);
        self.judge.diagnostics.push(diagnostic);
    }
}

/// The suites that are written, or `None` with an error for each that is unknown.
fn suites(
    names: &[Spanned<String>],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<CipherSuite>> {
    let find = |name: &Spanned<String>| {
        let found = CipherSuite::named(&name.value);
        if found.is_none() {
            let known: Vec<_> = CipherSuite::names().collect();
            let message = format!("there is no cipher suite `{}`", name.value);
            diagnostics.push(
                Diagnostic::new(Severity::Error, &name.place, message)
                    .with_help(format!("those that are safe are {}", known.join(", "))),
            );
        }
        found
    };
    let found: Vec<_> = names.iter().map(find).collect();
    found.into_iter().collect()
}

/// In mode http, what is written and spoken: what is negotiated must be.
fn alpn_protocols(tls: &ListenerTls, mode: Mode, enable_http2: bool) -> Vec<Vec<u8>> {
    let is_spoken = |protocol: &str| protocol == "http/1.1" || enable_http2;
    match (&tls.alpn_protocols, mode) {
        (None, Mode::Tcp) => Vec::new(),
        (None, Mode::Http) => ["h2", "http/1.1"]
            .into_iter()
            .filter(|protocol| is_spoken(protocol))
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect(),
        (Some(written), mode) => written
            .iter()
            .filter(|protocol| mode == Mode::Tcp || is_spoken(&protocol.value))
            .map(|protocol| protocol.value.clone().into_bytes())
            .collect(),
    }
}
