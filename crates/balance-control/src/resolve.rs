//! Names of backends, resolved again and again on control's thread.
//!
//! A name that does not resolve is never a refusal: the backend keeps its last good addresses (or none, and
//! then attempts fail with `dns_error`) and is asked for again soon. The system's resolver is used, so that
//! /etc/hosts, search domains and container networks mean what they mean elsewhere on the host.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use balance_core::BackendAddress;
use balance_lb::Rng;
use balance_proxy::{Endpoint, UpstreamAddress};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// A name and the port that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Where answers come from.
pub(crate) trait Lookup: Clone + Send + 'static {
    fn lookup(&self, name: Name) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// getaddrinfo(3) on the runtime's own threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemLookup;

/// Keeps the addresses of named backends fresh for as long as it lives.
pub(crate) struct Resolver {
    targets: watch::Sender<Vec<Arc<Endpoint>>>,
    /// Ends the task when it is dropped.
    _task: JoinSet<()>,
}

/// A backend whose name gave no address, and why.
pub(crate) struct Unresolved {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) reason: String,
}

impl Resolver {
    /// Starts with nothing to resolve. Must be called inside the control runtime.
    pub(crate) fn spawn(lookup: impl Lookup, seed: u64) -> Self {
        let (targets, receiver) = watch::channel(Vec::new());
        let mut task = JoinSet::new();
        task.spawn(refresh(lookup, receiver, Rng::new(seed)));
        Self {
            targets,
            _task: task,
        }
    }

    /// From now on these are kept fresh, and no others.
    pub(crate) fn set_targets(&self, endpoints: Vec<Arc<Endpoint>>) {
        self.targets.send_replace(endpoints);
    }
}

/// Resolves the names among `endpoints` that have no address yet, within `limit` in total.
pub(crate) async fn resolve_first(
    lookup: impl Lookup,
    endpoints: &[Arc<Endpoint>],
    limit: Duration,
) -> Vec<Unresolved> {
    let deadline = Instant::now() + limit;
    let mut waiting = group(
        endpoints
            .iter()
            .filter(|endpoint| endpoint.addresses().is_empty()),
    );
    let mut queue: Vec<Name> = waiting.keys().cloned().collect();
    queue.sort_unstable();
    let mut lookups = JoinSet::new();
    let mut unresolved = Vec::new();
    loop {
        while lookups.len() < LOOKUPS_MAX
            && let Some(name) = queue.pop()
        {
            let lookup = lookup.clone();
            lookups.spawn(async move { (name.clone(), ask(lookup, name).await) });
        }
        let Ok(Some(Ok((name, answer)))) = timeout_at(deadline, lookups.join_next()).await else {
            break;
        };
        let endpoints = waiting.remove(&name).unwrap_or_default();
        match answer {
            Ok(addresses) => store(&endpoints, &addresses),
            Err(error) => {
                let reason = error.to_string();
                unresolved.extend(endpoints.into_iter().map(|endpoint| Unresolved {
                    endpoint,
                    reason: reason.clone(),
                }));
            }
        }
    }
    let late = waiting.into_values().flatten();
    unresolved.extend(late.map(|endpoint| Unresolved {
        endpoint,
        reason: "no answer in time".to_owned(),
    }));
    unresolved
}

/// What is remembered about a name between two lookups.
struct Entry {
    endpoints: Vec<Arc<Endpoint>>,
    schedule: Schedule,
    due: Instant,
    asking: bool,
}

/// When to ask again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Schedule {
    /// Failed lookups in a row.
    failures: u32,
}

impl Schedule {
    /// After an answer: in 30 s.
    fn on_answer(&mut self, jitter: u64) -> Duration {
        self.failures = 0;
        spread(REFRESH_INTERVAL, jitter)
    }

    /// After a failure: in 5 s, doubling up to 60 s.
    fn on_failure(&mut self, jitter: u64) -> Duration {
        let delay = RETRY_FIRST
            .saturating_mul(1 << self.failures.min(8))
            .min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        spread(delay, jitter)
    }
}

async fn refresh(
    lookup: impl Lookup,
    mut targets: watch::Receiver<Vec<Arc<Endpoint>>>,
    mut rng: Rng,
) {
    let mut names: HashMap<Name, Entry> = HashMap::new();
    let mut lookups = JoinSet::new();
    loop {
        let due = names
            .values()
            .filter(|entry| !entry.asking)
            .map(|entry| entry.due)
            .min();
        let wait = sleep_until(due.unwrap_or_else(|| Instant::now() + RETRY_MAX));
        tokio::select! {
            changed = targets.changed() => {
                if changed.is_err() {
                    return;
                }
                let endpoints = targets.borrow_and_update().clone();
                retarget(&mut names, &endpoints, &mut rng);
            }
            Some(done) = lookups.join_next(), if !lookups.is_empty() => {
                // A lookup that panicked stays `asking`: it is asked again after the next reload.
                if let Ok((name, answer)) = done {
                    settle(&mut names, &name, answer, rng.next_u64());
                }
            }
            () = wait, if lookups.len() < LOOKUPS_MAX => {
                let now = Instant::now();
                let ready = names.iter_mut().filter(|(_, entry)| !entry.asking && entry.due <= now);
                for (name, entry) in ready.take(LOOKUPS_MAX - lookups.len()) {
                    entry.asking = true;
                    let (name, lookup) = (name.clone(), lookup.clone());
                    lookups.spawn(async move { (name.clone(), ask(lookup, name).await) });
                }
            }
        }
    }
}

/// Takes over a new set of backends; names that stay keep their schedule.
fn retarget(names: &mut HashMap<Name, Entry>, endpoints: &[Arc<Endpoint>], rng: &mut Rng) {
    let mut wanted = group(endpoints);
    names.retain(|name, entry| match wanted.remove(name) {
        Some(endpoints) => {
            entry.endpoints = endpoints;
            true
        }
        None => false,
    });
    for (name, endpoints) in wanted {
        // Control has asked once already, for all but a name it had no answer for.
        let mut schedule = Schedule::default();
        let delay = if endpoints
            .iter()
            .all(|endpoint| endpoint.addresses().is_empty())
        {
            schedule.on_failure(rng.next_u64())
        } else {
            schedule.on_answer(rng.next_u64())
        };
        let due = Instant::now() + delay;
        names.insert(
            name,
            Entry {
                endpoints,
                schedule,
                due,
                asking: false,
            },
        );
    }
}

fn settle(
    names: &mut HashMap<Name, Entry>,
    name: &Name,
    answer: io::Result<Vec<SocketAddr>>,
    jitter: u64,
) {
    // A reload may have removed the name meanwhile.
    let Some(entry) = names.get_mut(name) else {
        return;
    };
    entry.asking = false;
    let delay = match answer {
        Ok(addresses) => {
            if entry.schedule.failures > 0 {
                tracing::info!(host = name.host, ?addresses, "the name resolves again");
            }
            store(&entry.endpoints, &addresses);
            entry.schedule.on_answer(jitter)
        }
        Err(error) => {
            if entry.schedule.failures == 0 {
                tracing::warn!(
                    host = name.host, %error,
                    "the name does not resolve; the last good addresses stay in use"
                );
            }
            entry.schedule.on_failure(jitter)
        }
    };
    entry.due = Instant::now() + delay;
}

/// One lookup, bounded, with an answer that has at least one address.
async fn ask(lookup: impl Lookup, name: Name) -> io::Result<Vec<SocketAddr>> {
    let Ok(answer) = timeout(LOOKUP_LIMIT, lookup.lookup(name)).await else {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
    };
    let mut addresses = answer?;
    let mut seen = Vec::new();
    addresses.retain(|address| {
        let is_new = !seen.contains(address);
        seen.push(*address);
        is_new && seen.len() <= ADDRESSES_MAX
    });
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(addresses)
}

/// Gives the addresses to every backend of that name; an unchanged set keeps the "last good" position.
fn store(endpoints: &[Arc<Endpoint>], addresses: &[SocketAddr]) {
    let fresh: Vec<UpstreamAddress> = addresses.iter().copied().map(UpstreamAddress::Ip).collect();
    for endpoint in endpoints {
        let known = endpoint.addresses();
        // Resolvers rotate their answers: another order is not a change.
        let is_same =
            known.len() == fresh.len() && fresh.iter().all(|address| known.contains(address));
        if !is_same {
            tracing::debug!(
                pool = endpoint.identity().pool,
                backend = endpoint.identity().name,
                ?addresses,
                "resolved"
            );
            endpoint.set_addresses(fresh.clone());
        }
    }
}

/// The endpoints that have a name, by that name.
fn group<'a>(
    endpoints: impl IntoIterator<Item = &'a Arc<Endpoint>>,
) -> HashMap<Name, Vec<Arc<Endpoint>>> {
    let mut names: HashMap<Name, Vec<Arc<Endpoint>>> = HashMap::new();
    for endpoint in endpoints {
        if let BackendAddress::Name { host, port } = &endpoint.identity().address {
            let name = Name {
                host: host.clone(),
                port: *port,
            };
            names.entry(name).or_default().push(Arc::clone(endpoint));
        }
    }
    names
}

/// 90 % to 110 % of `delay`, so that a fleet that starts together does not ask together.
fn spread(delay: Duration, jitter: u64) -> Duration {
    let percent = 90 + u32::try_from(jitter % 21).unwrap_or(0);
    delay * percent / 100
}

impl Lookup for SystemLookup {
    async fn lookup(&self, name: Name) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name.host, name.port))
            .await?
            .collect())
    }
}

/// Lookups under way at once; each takes a thread.
pub(crate) const LOOKUPS_MAX: usize = 16;
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Of one name: an attempt tries them one after the other, so more would not help.
const ADDRESSES_MAX: usize = 32;
