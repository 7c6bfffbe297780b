//! The certificates of a listener: which one a client is shown.
//!
//! ```text
//!   server name ──► exact ──► under (longest first) ──► default      each: those whose key the client can check,
//!        none ─────────────────────────────────────────────┘          ECDSA before Ed25519 before RSA
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use crate::chain::Chain;
use crate::key::PrivateKey;

/// A certificate chain with the key that belongs to it.
#[derive(Clone, Debug)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
}

/// A certificate, and for whom.
#[derive(Clone, Debug)]
pub struct Entry {
    pub certificate: Certificate,
    /// Host names, or `*.x` for all names under `x`. Empty: those that are in the certificate.
    pub domains: Vec<String>,
    /// Whether it is for clients that name no server, or an unknown one.
    pub is_default: bool,
}

/// Certificates by name. Several for one name stand side by side: one for each kind of key.
#[derive(Clone, Debug)]
pub struct CertificateStore {
    exact: HashMap<String, Candidates>,
    /// `*.example.com` as `example.com`.
    under: HashMap<String, Candidates>,
    default: Candidates,
}

/// What handshakes look at: a store that can be replaced while they run.
#[derive(Debug)]
pub struct Certificates {
    store: ArcSwap<CertificateStore>,
}

/// In the order they are preferred.
type Candidates = Vec<Candidate>;

#[derive(Clone, Debug)]
struct Candidate {
    certified: Arc<CertifiedKey>,
    /// The position among the entries that the store was made of.
    entry: usize,
}

impl Certificate {
    /// `None` when the key is not that of the first certificate.
    pub fn new(chain: &Chain, key: &PrivateKey) -> Option<Self> {
        key.belongs_to(chain).then(|| Self {
            certified: Arc::new(key.certified(chain)),
            names: chain.names().to_vec(),
        })
    }

    pub(crate) fn certified(self) -> Arc<CertifiedKey> {
        self.certified
    }
}

impl CertificateStore {
    /// `None` without an entry. Without one that is marked as default, the first is, together with those that
    /// are for the same names (its siblings with another kind of key).
    pub fn new(entries: &[Entry]) -> Option<Self> {
        let first = entries.first()?;
        let has_default = entries.iter().any(|entry| entry.is_default);
        let mut store = Self {
            exact: HashMap::new(),
            under: HashMap::new(),
            default: Candidates::new(),
        };
        for (index, entry) in entries.iter().enumerate() {
            let candidate = Candidate {
                certified: Arc::clone(&entry.certificate.certified),
                entry: index,
            };
            for name in entry.names() {
                let name = name.to_ascii_lowercase();
                let candidates = match name.strip_prefix("*.") {
                    Some(parent) => store.under.entry(parent.to_owned()),
                    None => store.exact.entry(name),
                };
                add(candidates.or_default(), &candidate);
            }
            let is_default = match has_default {
                true => entry.is_default,
                false => entry.names() == first.names(),
            };
            if is_default {
                add(&mut store.default, &candidate);
            }
        }
        Some(store)
    }

    /// The certificate for a client that asks for `server_name` and can check signatures of these kinds.
    fn find(&self, server_name: Option<&str>, schemes: &[SignatureScheme]) -> &Arc<CertifiedKey> {
        let candidates = self.candidates(server_name);
        let found = candidates
            .iter()
            .find(|one| one.certified.key.choose_scheme(schemes).is_some())
            // The handshake fails then, and rustls knows to say why.
            .unwrap_or(&candidates[0]);
        &found.certified
    }

    /// The positions of the entries that a client may be shown, the preferred one first: one for each kind of key.
    pub fn shown_to(&self, server_name: Option<&str>) -> impl Iterator<Item = usize> {
        self.candidates(server_name).iter().map(|one| one.entry)
    }

    fn candidates(&self, server_name: Option<&str>) -> &Candidates {
        let name = server_name.map(str::to_ascii_lowercase);
        let named = name.as_deref().and_then(|name| self.named(name));
        named.unwrap_or(&self.default)
    }

    fn named(&self, name: &str) -> Option<&Candidates> {
        self.exact.get(name).or_else(|| {
            let mut rest = name;
            while let Some((_, parent)) = rest.split_once('.') {
                if let Some(candidates) = self.under.get(parent) {
                    return Some(candidates);
                }
                rest = parent;
            }
            None
        })
    }
}

impl Entry {
    fn names(&self) -> &[String] {
        if self.domains.is_empty() {
            &self.certificate.names
        } else {
            &self.domains
        }
    }
}

impl Certificates {
    pub fn new(store: CertificateStore) -> Arc<Self> {
        Arc::new(Self {
            store: ArcSwap::from_pointee(store),
        })
    }

    /// Handshakes that begin from now on see these; those that run keep what they have.
    pub fn replace(&self, store: CertificateStore) {
        self.store.store(Arc::new(store));
    }

    /// See [`CertificateStore::shown_to`].
    pub fn shown_to(&self, server_name: Option<&str>) -> Vec<usize> {
        self.store.load().shown_to(server_name).collect()
    }

    /// Whether a connection whose client asked for `server_name` is good for requests to `host`: a client that asks
    /// for `host` is shown the same certificates.
    pub fn cover(&self, server_name: &str, host: &str) -> bool {
        if server_name.eq_ignore_ascii_case(host) {
            return true;
        }
        let store = self.store.load();
        store
            .shown_to(Some(server_name))
            .eq(store.shown_to(Some(host)))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let store = self.store.load();
        let found = store.find(hello.server_name(), hello.signature_schemes());
        Some(Arc::clone(found))
    }
}

/// Of two with one kind of key for one name, the first stays: the order of the file decides.
fn add(candidates: &mut Candidates, candidate: &Candidate) {
    let kind = |one: &Candidate| one.certified.key.algorithm();
    if candidates
        .iter()
        .all(|known| kind(known) != kind(candidate))
    {
        candidates.push(candidate.clone());
        candidates.sort_by_key(|known| preference(kind(known)));
    }
}

/// By what a signature costs the server: of P-256 a tenth of one of RSA 2048.
fn preference(kind: SignatureAlgorithm) -> u8 {
    match kind {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::ED25519 => 1,
        _ => 2,
    }
}
