//! Addresses: which are known and stay as they are, which are new and bound here, which are gone.

use std::sync::Arc;

use balance_config::{Config, Diagnostic, Listener, Mode as ModeConfig, Severity, Spanned};
use balance_core::ListenAddress;
use balance_net::{BindError, BoundListener, ListenOptions, ListenSocket, LocalAddress};
use balance_proto::Scheme;
use balance_proxy::{ListenerKey, ListenerRules, ListenerSocket, Mode};

use super::Compiled;
use super::routes::Tables;

/// One address of one listener, bound.
///
/// Control keeps a descriptor of every socket beside the workers' ones: so an address can change hands
/// (another mode, later another process) without ever being unbound. A socket closes when both are dropped.
pub(crate) struct BoundAddress {
    /// As the configuration has it; port 0 is still 0.
    written: ListenAddress,
    /// The position of this one among equal addresses: only port 0 can be written twice.
    occurrence: usize,
    /// What workers know it by: with the real port.
    pub(crate) key: ListenerKey,
    pub(crate) local: LocalAddress,
    /// The listener's position in the configuration.
    listener: usize,
    sockets: Arc<Vec<ListenSocket>>,
}

/// The addresses of a configuration.
pub(super) struct Acquired {
    pub(super) addresses: Vec<Arc<BoundAddress>>,
    pub(super) added: Vec<Vec<ListenerSocket>>,
    pub(super) removed: Vec<ListenerKey>,
}

/// Binds what is new. Errors go to `diagnostics`, all of them; the result is of use only without.
pub(super) fn acquire(
    config: &Config,
    previous: Option<&Compiled>,
    worker_count: usize,
    diagnostics: &mut Vec<Diagnostic>,
) -> Acquired {
    let before: &[Arc<BoundAddress>] = previous.map_or(&[], |previous| &previous.listeners);
    let mut addresses: Vec<Arc<BoundAddress>> = Vec::new();
    let mut added = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        for written in &listener.listen {
            let occurrence = addresses
                .iter()
                .filter(|address| address.written == written.value)
                .count();
            let known = before.iter().find(|address| {
                address.written == written.value && address.occurrence == occurrence
            });
            let bound = match known {
                Some(known) => Ok(known.reused(index, listener.mode)),
                None => BoundAddress::bind(written, occurrence, index, listener, worker_count)
                    .map_err(|error| explain(&error, written, before)),
            };
            let bound = match bound {
                Ok(bound) => Arc::new(bound),
                Err(diagnostic) => {
                    diagnostics.push(diagnostic);
                    continue;
                }
            };
            let is_running = before.iter().any(|address| address.key == bound.key);
            if !is_running {
                match bound.worker_sockets() {
                    Ok(sockets) => added.push(sockets),
                    Err(diagnostic_text) => diagnostics.push(Diagnostic::new(
                        Severity::Error,
                        &written.place,
                        format!(
                            "cannot hand {} to the workers: {diagnostic_text}",
                            written.value
                        ),
                    )),
                }
            }
            addresses.push(bound);
        }
    }
    let is_gone =
        |address: &&Arc<BoundAddress>| addresses.iter().all(|other| other.key != address.key);
    let removed = before
        .iter()
        .filter(is_gone)
        .map(|address| address.key.clone())
        .collect();
    Acquired {
        addresses,
        added,
        removed,
    }
}

/// What the workers serve an address of the listener at `index` by; the policy of its TLS is for the caller to add.
pub(super) fn rules(
    config: &Config,
    index: usize,
    key: &ListenerKey,
    tables: &[Tables],
) -> ListenerRules {
    let listener = &config.listeners[index];
    ListenerRules {
        key: key.clone(),
        name: listener.name.clone(),
        mode: key.mode,
        table: Arc::clone(&tables[index].routes),
        server_names: tables[index].server_names.clone(),
        pool: listener.pool,
        proxy_sources: listener.proxy_sources.clone(),
        scheme: match listener.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        },
        tls: None,
        trusted_proxies: listener.trusted_proxies.clone(),
        protocol: config.protocol.clone(),
        limits: config.limits.clone(),
        timeouts: config.timeouts.clone(),
    }
}

/// What an address is known by before it is bound.
pub(super) fn key(written: &ListenAddress, mode_config: ModeConfig) -> ListenerKey {
    ListenerKey {
        address: written.clone(),
        mode: mode(mode_config),
    }
}

impl BoundAddress {
    /// The same address, without control's descriptors of its sockets.
    pub(crate) fn without_sockets(&self) -> Self {
        Self {
            written: self.written.clone(),
            occurrence: self.occurrence,
            key: self.key.clone(),
            local: self.local.clone(),
            listener: self.listener,
            sockets: Arc::new(Vec::new()),
        }
    }

    /// The name of the listener in its configuration.
    pub(crate) fn name<'a>(&self, config: &'a Config) -> &'a str {
        &config.listeners[self.listener].name
    }

    /// `http` or `tcp`.
    pub(crate) fn mode_name(&self) -> &'static str {
        self.key.mode.name()
    }

    pub(super) fn listener(&self) -> usize {
        self.listener
    }

    /// Removes the file of a unix socket that nobody will use again.
    pub(crate) fn remove_file(&self) {
        if let Err(error) = self.local.remove_file() {
            tracing::warn!(address = %self.local, %error, "cannot remove the socket's file");
        }
    }

    fn bind(
        written: &Spanned<ListenAddress>,
        occurrence: usize,
        index: usize,
        listener: &Listener,
        worker_count: usize,
    ) -> Result<Self, BindError> {
        let mode = mode(listener.mode);
        let options = ListenOptions {
            // In http mode the client speaks first; a relay may carry protocols in which it does not.
            defer_accept: mode == Mode::Http,
            ..ListenOptions::default()
        };
        let bound = balance_net::bind(&written.value, worker_count, &options)?;
        let local = bound.local_address().clone();
        let address = real_address(&written.value, &bound);
        Ok(Self {
            written: written.value.clone(),
            occurrence,
            key: ListenerKey { address, mode },
            local,
            listener: index,
            sockets: Arc::new(bound.into_sockets()),
        })
    }

    /// The same sockets under a new configuration; another mode is another key.
    fn reused(&self, listener: usize, mode_config: ModeConfig) -> Self {
        Self {
            written: self.written.clone(),
            occurrence: self.occurrence,
            key: ListenerKey {
                address: self.key.address.clone(),
                mode: mode(mode_config),
            },
            local: self.local.clone(),
            listener,
            sockets: Arc::clone(&self.sockets),
        }
    }

    /// A descriptor of each socket for its worker.
    fn worker_sockets(&self) -> std::io::Result<Vec<ListenerSocket>> {
        let duplicate = |socket: &ListenSocket| {
            Ok(ListenerSocket {
                key: self.key.clone(),
                socket: socket.try_clone()?,
            })
        };
        self.sockets.iter().map(duplicate).collect()
    }
}

/// With the port that the kernel chose, so that two addresses with port 0 have different keys.
fn real_address(written: &ListenAddress, bound: &BoundListener) -> ListenAddress {
    match (written, bound.local_addr()) {
        (ListenAddress::Wildcard { .. }, Some(local)) => {
            ListenAddress::Wildcard { port: local.port() }
        }
        (ListenAddress::Ip(_), Some(local)) => ListenAddress::Ip(local),
        _ => written.clone(),
    }
}

/// A bind error at its place. One that we cause ourselves is told apart from a stranger's.
fn explain(
    error: &BindError,
    written: &Spanned<ListenAddress>,
    before: &[Arc<BoundAddress>],
) -> Diagnostic {
    let same_port = |address: &&Arc<BoundAddress>| {
        written.value.port().is_some() && address.key.address.port() == written.value.port()
    };
    match before.iter().find(same_port) {
        Some(own) if error.is_in_use() => Diagnostic::new(
            Severity::Error,
            &written.place,
            format!(
                "{} overlaps with {}, on which this Balance still accepts",
                written.value, own.written
            ),
        )
        .with_help(
            "a reload cannot widen or narrow an address on the same port: restart, or move to another \
             port in between",
        ),
        _ => Diagnostic::new(Severity::Error, &written.place, error.to_string()),
    }
}

fn mode(mode: ModeConfig) -> Mode {
    match mode {
        ModeConfig::Http => Mode::Http,
        ModeConfig::Tcp => Mode::Tcp,
    }
}
