//! What `tls` sections name and only others can judge: files, cipher suites, names of servers. It is known, and the
//! mistakes in it can be told, even when the configuration as a whole cannot be used.

use std::collections::HashSet;

use crate::config::HostPattern;
use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity, Spanned};
use crate::sections::route::texts;
use crate::value::Block;

/// Of all sections that are in force.
#[derive(Clone, Debug, Default)]
pub struct TlsMaterial {
    pub certificates: Vec<CertificateFiles>,
    /// Certificates of authorities, to check others with.
    pub authorities: Vec<Spanned<String>>,
    /// The first section that relies on the authorities which the system knows.
    pub system_authorities: Option<Place>,
    pub cipher_suites: Vec<Spanned<String>>,
    /// The names that certificates of backends must have, where they are written.
    pub peer_names: Vec<Spanned<String>>,
}

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: Spanned<String>,
    pub key: Spanned<String>,
    /// The names that the configuration says it is for, perhaps as `*.x`.
    pub domains: Vec<Spanned<String>>,
}

impl CertificateFiles {
    /// Those that a block names under these keys.
    pub(crate) fn read(block: &Block, certificate: &str, key: &str) -> Option<Self> {
        let pair = block.spanned_text(certificate).zip(block.spanned_text(key));
        pair.map(|(certificate, key)| Self {
            certificate,
            key,
            domains: domains(block),
        })
    }
}

/// Collects them. A certificate without a key, or a key without a certificate, is an error.
pub(crate) fn collect(root: &Block, diagnostics: &mut Diagnostics) -> TlsMaterial {
    let mut collector = Collector {
        material: TlsMaterial::default(),
        seen: HashSet::new(),
        diagnostics,
    };
    collector.downstream(root);
    for item in root.list("listeners") {
        item.block()
            .into_iter()
            .for_each(|listener| collector.downstream(listener));
    }
    for (_, item) in root.map("pools") {
        let tls = item.block().and_then(|pool| pool.enabled_block("tls"));
        let tls = tls.zip(item.block());
        tls.into_iter()
            .for_each(|(tls, pool)| collector.upstream(tls, pool.key_place("tls")));
    }
    collector.material
}

struct Collector<'a> {
    material: TlsMaterial,
    /// An anchor may bring one section to several listeners.
    seen: HashSet<Place>,
    diagnostics: &'a mut Diagnostics,
}

impl Collector<'_> {
    /// `tls` of a listener.
    fn downstream(&mut self, listener: &Block) {
        let Some(tls) = listener.enabled_block("tls") else {
            return;
        };
        self.pair(tls, "cert_file", "key_file");
        for certificate in tls
            .list("certificates")
            .iter()
            .filter_map(|item| item.block())
        {
            self.pair(certificate, "cert_file", "key_file");
        }
        self.authority(tls, "client_ca_file");
        self.suites(tls);
        let backend = tls.enabled_block("backend");
        backend
            .into_iter()
            .for_each(|backend| self.upstream(backend, tls.key_place("backend")));
    }

    fn upstream(&mut self, tls: &Block, place: &Place) {
        self.pair(tls, "client_cert_file", "client_key_file");
        self.authority(tls, "ca_file");
        self.suites(tls);
        let name = tls.spanned_text("server_name");
        let name = name.filter(|name| self.seen.insert(name.place.clone()));
        self.material.peer_names.extend(name);
        let verifies = tls.bool("insecure_skip_verify") != Some(&true);
        if verifies && !tls.has("ca_file") {
            let place = || place.clone();
            self.material.system_authorities.get_or_insert_with(place);
        }
    }

    fn pair(&mut self, block: &Block, certificate: &str, key: &str) {
        let (has, lacks) = match (block.has(certificate), block.has(key)) {
            (true, true) => {
                if let Some(files) = CertificateFiles::read(block, certificate, key)
                    && self.seen.insert(files.certificate.place.clone())
                {
                    self.material.certificates.push(files);
                }
                return;
            }
            (true, false) => (certificate, key),
            (false, true) => (key, certificate),
            (false, false) => return,
        };
        // The table of `certificates` demands both by itself.
        if block.table.key(lacks).is_some_and(|key| !key.required) {
            let message = format!("`{has}` needs `{lacks}` beside it");
            let place = block.key_place(has);
            self.diagnostics
                .push(Diagnostic::new(Severity::Error, place, message));
        }
    }

    fn suites(&mut self, block: &Block) {
        let names = texts(block, "cipher_suites").into_iter();
        let names = names.filter(|name| self.seen.insert(name.place.clone()));
        self.material.cipher_suites.extend(names);
    }

    fn authority(&mut self, block: &Block, key: &str) {
        let file = block.spanned_text(key);
        self.material
            .authorities
            .extend(file.filter(|file| self.seen.insert(file.place.clone())));
    }
}

/// Of an entry of `certificates`; the other sections have none.
fn domains(block: &Block) -> Vec<Spanned<String>> {
    if block.table.key("domains").is_none() {
        return Vec::new();
    }
    let items = block.list("domains").iter();
    items
        .filter_map(|item| {
            let name = match item.host()? {
                HostPattern::Any => return None,
                HostPattern::Exact(name) => name.clone(),
                HostPattern::Under(parent) => format!("*.{parent}"),
            };
            Some(Spanned::new(name, item.place.clone()))
        })
        .collect()
}
