use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balance_core::BackendAddress;
use balance_lb::{Backend, BackendIdentity};
use balance_proxy::{Endpoint, UpstreamAddress};

use super::{Lookup, Name, Resolver, Schedule, resolve_first};

/// Answers from a table that a test changes; a name without an entry never answers.
#[derive(Clone, Default)]
struct TableLookup(Arc<Mutex<HashMap<String, Option<Vec<SocketAddr>>>>>);

impl TableLookup {
    fn set(&self, host: &str, addresses: Option<&[&str]>) {
        let addresses = addresses.map(|list| list.iter().map(|a| a.parse().unwrap()).collect());
        self.0.lock().unwrap().insert(host.to_owned(), addresses);
    }
}

impl Lookup for TableLookup {
    async fn lookup(&self, name: Name) -> io::Result<Vec<SocketAddr>> {
        let answer = self.0.lock().unwrap().get(&name.host).cloned();
        match answer {
            Some(Some(addresses)) => Ok(addresses),
            Some(None) => Err(io::Error::other("no such host")),
            None => std::future::pending().await,
        }
    }
}

fn endpoint(address: &str) -> Arc<Endpoint> {
    let identity = BackendIdentity {
        pool: "p".to_owned(),
        name: address.to_owned(),
        address: BackendAddress::parse(address).unwrap(),
    };
    Arc::new(Endpoint::new(Backend::new(identity), Vec::new()))
}

fn addresses(endpoint: &Endpoint) -> Vec<String> {
    let text = |address: &UpstreamAddress| match address {
        UpstreamAddress::Ip(ip) => ip.to_string(),
        UpstreamAddress::Unix(path) => path.clone(),
    };
    endpoint.addresses().iter().map(text).collect()
}

#[test]
fn failures_are_asked_again_soon_and_then_less_often() {
    let mut schedule = Schedule::default();
    // Jitter 10 is exactly 100 %.
    let seen: Vec<u64> = (0..6).map(|_| schedule.on_failure(10).as_secs()).collect();
    assert_eq!(seen, [5, 10, 20, 40, 60, 60]);
    assert_eq!(schedule.on_answer(10), Duration::from_secs(30));
    assert_eq!(schedule.on_failure(10), Duration::from_secs(5));
    assert_eq!(schedule.on_answer(0), Duration::from_secs(27));
    assert_eq!(schedule.on_answer(20), Duration::from_secs(33));
}

#[tokio::test(start_paused = true)]
async fn the_first_round_is_bounded_and_names_what_failed() {
    let lookup = TableLookup::default();
    lookup.set("good", Some(&["10.0.0.1:80", "10.0.0.1:80", "10.0.0.2:80"]));
    lookup.set("gone", None);
    lookup.set("empty", Some(&[]));
    let all = ["good:80", "gone:80", "empty:80", "slow:80", "10.9.9.9:80"].map(endpoint);
    let started = tokio::time::Instant::now();
    let mut unresolved: Vec<(String, String)> = resolve_first(lookup, &all, Duration::from_secs(2))
        .await
        .into_iter()
        .map(|one| (one.endpoint.identity().name.clone(), one.reason))
        .collect();
    assert_eq!(started.elapsed(), Duration::from_secs(2));
    unresolved.sort();
    let expected = [
        ("empty:80", "the name has no address"),
        ("gone:80", "no such host"),
        ("slow:80", "no answer in time"),
    ];
    assert_eq!(
        unresolved,
        expected.map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    assert_eq!(addresses(&all[0]), ["10.0.0.1:80", "10.0.0.2:80"]);
}

#[tokio::test(start_paused = true)]
async fn addresses_follow_the_name_and_survive_its_loss() {
    let lookup = TableLookup::default();
    lookup.set("a", None);
    let target = endpoint("a:80");
    let resolver = Resolver::spawn(lookup.clone(), 1);
    resolver.set_targets(vec![Arc::clone(&target)]);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(addresses(&target).is_empty());

    lookup.set("a", Some(&["10.0.0.1:80"]));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(addresses(&target), ["10.0.0.1:80"]);

    lookup.set("a", None);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(
        addresses(&target),
        ["10.0.0.1:80"],
        "the last good set stays"
    );

    lookup.set("a", Some(&["10.0.0.2:80"]));
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(addresses(&target), ["10.0.0.2:80"]);

    resolver.set_targets(Vec::new());
    lookup.set("a", Some(&["10.0.0.3:80"]));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(
        addresses(&target),
        ["10.0.0.2:80"],
        "a gone backend is left alone"
    );
}
