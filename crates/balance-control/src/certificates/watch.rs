//! Certificates that are renewed while they are in use: files that change are read again.
//!
//! They are looked at by name once a second, so that it does not matter how they are replaced: written over, renamed
//! (editors, certbot) or behind a symbolic link (Kubernetes). A pair is read when neither of its files changes any
//! more, since the two cannot be replaced in one step. One that cannot be used leaves the old one in use.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use balance_config::{Config, ListenerTls, Sources};

use super::expiry::{Expiring, Owner, Warned};
use super::{Judge, Pair};
use crate::compile::{SecuredListener, Tls, listener_paths, store, upstream_paths};
use crate::reload::log_diagnostics;

/// What tells that a file is another one, or says something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// The files of a listener or pool, as they were seen last.
#[derive(Debug)]
pub(crate) struct Files {
    /// `None`: not there, or not to be seen.
    seen: Vec<Option<Fingerprint>>,
    is_changing: bool,
}

impl Files {
    /// As they are now. To be called before they are read: what changes in between is then read again.
    pub(crate) fn of<'p>(paths: impl Iterator<Item = &'p str>) -> Self {
        Self {
            seen: paths.map(Fingerprint::of).collect(),
            is_changing: false,
        }
    }

    /// Whether they have changed, and have stopped changing.
    fn have_changed<'p>(&mut self, paths: impl Iterator<Item = &'p str>) -> bool {
        let seen: Vec<_> = paths.map(Fingerprint::of).collect();
        if seen != self.seen {
            self.seen = seen;
            self.is_changing = true;
            return false;
        }
        std::mem::take(&mut self.is_changing)
    }
}

/// Looks at all files, and at the calendar. Returns the positions of pools whose connections are secured otherwise from
/// now on.
pub(crate) fn look(
    config: &Config,
    tls: &mut Tls,
    sources: &dyn Sources,
    now: SystemTime,
) -> Vec<usize> {
    look_at_listeners(config, tls, sources, now);
    look_at_pools(config, tls, sources, now)
}

fn look_at_listeners(config: &Config, tls: &mut Tls, sources: &dyn Sources, now: SystemTime) {
    for (listener, secured) in config.listeners.iter().zip(&mut tls.listeners) {
        let (Some(written), Some(secured)) = (&listener.tls, secured) else {
            continue;
        };
        if secured.files.have_changed(listener_paths(written)) {
            renew(secured, written, &listener.name, sources, now);
        }
        let pairs = written.certificates.iter().zip(&secured.pairs);
        for ((certificate, pair), warned) in pairs.zip(&mut secured.warned) {
            let file = &certificate.files.certificate.value;
            warned.warn(pair.not_after, now, file);
        }
    }
}

fn look_at_pools(
    config: &Config,
    tls: &mut Tls,
    sources: &dyn Sources,
    now: SystemTime,
) -> Vec<usize> {
    let mut renewed = Vec::new();
    for ((index, pool), secured) in config.pools.iter().enumerate().zip(&mut tls.pools) {
        let (Some(written), Some(secured)) = (&pool.tls, secured) else {
            continue;
        };
        if secured.files.have_changed(upstream_paths(written)) {
            let mut judge = Judge::new(sources, now);
            let is_renewed = secured.renew(written, &mut judge);
            log_diagnostics(&judge.diagnostics);
            let pool = &pool.name;
            if is_renewed {
                tracing::info!(pool, "the certificates were read again");
                renewed.push(index);
            } else {
                tracing::error!(
                    pool,
                    "certificates were not read again: the old ones stay in use"
                );
            }
        }
        if let (Some(not_after), Some(shown)) = (secured.not_after, &written.certificate) {
            let file = &shown.certificate.value;
            secured.warned.warn(not_after, now, file);
        }
    }
    renewed
}

/// When each certificate in use ends.
pub(crate) fn expiring(config: &Config, tls: &Tls) -> Vec<Expiring> {
    let listeners = config.listeners.iter().zip(&tls.listeners);
    let shown_to_clients = listeners
        .filter_map(|(listener, secured)| {
            Some((listener, listener.tls.as_ref()?, secured.as_ref()?))
        })
        .flat_map(|(listener, written, secured)| {
            let pairs = written.certificates.iter().zip(&secured.pairs);
            pairs.map(|(certificate, pair)| Expiring {
                owner: Owner::Listener(listener.name.clone()),
                certificate: certificate.files.certificate.value.clone(),
                not_after: pair.not_after,
            })
        });
    let pools = config.pools.iter().zip(&tls.pools);
    let shown_to_backends = pools.filter_map(|(pool, secured)| {
        let shown = pool.tls.as_ref()?.certificate.as_ref()?;
        Some(Expiring {
            owner: Owner::Pool(pool.name.clone()),
            certificate: shown.certificate.value.clone(),
            not_after: secured.as_ref()?.not_after?,
        })
    });
    shown_to_clients.chain(shown_to_backends).collect()
}

/// Reads the certificates of a listener again. Handshakes see the new ones from the next on.
fn renew(
    secured: &mut SecuredListener,
    written: &ListenerTls,
    listener: &str,
    sources: &dyn Sources,
    now: SystemTime,
) {
    let mut judge = Judge::new(sources, now);
    let mut kept: Vec<&str> = Vec::new();
    let certificates = written.certificates.iter().zip(&mut secured.pairs);
    for ((certificate, pair), warned) in certificates.zip(&mut secured.warned) {
        match judge.pair(&certificate.files) {
            Some(renewed) => {
                *pair = renewed;
                *warned = Warned::default();
            }
            None => kept.push(&certificate.files.certificate.value),
        }
    }
    log_diagnostics(&judge.diagnostics);
    let pairs: Vec<Pair> = secured.pairs.clone();
    if let Some(store) = store(&written.certificates, pairs.iter()) {
        secured.certificates.replace(store);
    }
    if kept.is_empty() {
        tracing::info!(listener, "the certificates were read again");
    } else {
        let kept = kept.join(", ");
        tracing::error!(
            listener,
            kept,
            "certificates were not read again: the old ones stay in use"
        );
    }
}

impl Fingerprint {
    fn of(path: &str) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}
