//! `backends` and `load_balancer`, the same at the top level and in `pools`.

use std::time::Duration;

use balance_core::{Algorithm, BackendAddress, HashKey, Weight};

use crate::config::Version;
use crate::diagnostics::{Place, Spanned};
use crate::table::{COUNT, DURATION, Key, Kind, Table};
use crate::value::{Block, Item};

pub(crate) static BACKEND: Table = Table {
    name: "backend",
    doc: "One address that requests or sessions are sent to. An address alone is enough.",
    main: Some("address"),
    keys: &[
        Key::new(
            "name",
            Kind::Text,
            "the address",
            "Its name in routes, logs and metrics; unique in its pool.",
        )
        .example("api-1"),
        Key::required(
            "address",
            Kind::BackendAddress,
            "where it is: `host:port` or `unix:/path`",
        ),
        Key::new(
            "weight",
            Kind::Integer {
                min: 0,
                max: Weight::MAX.0 as i64,
            },
            "1",
            "Its share under the weighted and hash algorithms. 0: like 1 without `version`, no new traffic with it.",
        ),
        Key::new(
            "max_connections",
            COUNT,
            "0",
            "Connections in use over the whole process. 0 = unlimited.",
        ),
        Key::new(
            "tier",
            Kind::Choice(&["primary"], &["backup"]),
            "primary",
            "Whether it only stands in.",
        ),
        Key::new(
            "zone",
            Kind::Text,
            "",
            "Where it is, to prefer what is near.",
        )
        .example("a")
        .later("zones"),
    ],
};

pub(crate) static LOAD_BALANCER: Table = Table {
    name: "load_balancer",
    doc: "How a backend is picked.",
    main: Some("algorithm"),
    keys: &[
        Key::new(
            "algorithm",
            Kind::Choice(
                &[
                    "round-robin",
                    "weighted-round-robin",
                    "least-connections",
                    "weighted-least-connections",
                    "consistent-hash",
                    "bounded-consistent-hash",
                    "bounded-load",
                    "random",
                    "power-of-two-choices",
                ],
                &["peak-ewma", "maglev", "ring-hash", "rendezvous"],
            ),
            "round-robin",
            "`round-robin`, `least-connections` and `random` ignore weights.",
        ),
        Key::new(
            "hash_key",
            Kind::HashKey,
            "source-ip",
            "What the hash algorithms hash; a missing header falls back to the client's address.",
        ),
        Key::new(
            "slow_start",
            DURATION,
            "0",
            "How long a backend that recovers, is enabled or is new takes to its full share, from a tenth of it on. 0 = no time.",
        )
        .example("30s"),
    ],
};

/// A backend as written.
#[derive(Clone, Debug)]
pub(crate) struct BackendDraft {
    pub(crate) name: Spanned<String>,
    /// `None`: invalid, and reported.
    pub(crate) address: Option<Spanned<BackendAddress>>,
    pub(crate) weight: Weight,
    pub(crate) max_connections: u32,
    pub(crate) place: Place,
}

/// A `load_balancer` block as written.
#[derive(Clone, Debug)]
pub(crate) struct BalancerDraft {
    pub(crate) algorithm: Algorithm,
    pub(crate) hash_key: HashKey,
    pub(crate) slow_start: Duration,
    /// Where the algorithm is chosen, if it is.
    pub(crate) place: Option<Place>,
}

/// Reads the items of `backends`.
pub(crate) fn read_all(items: &[Item], version: Version) -> Vec<BackendDraft> {
    items
        .iter()
        .filter_map(|item| read_one(item.block()?, version))
        .collect()
}

fn read_one(block: &Block, version: Version) -> Option<BackendDraft> {
    let address = block.backend("address").map(|address| {
        Spanned::new(
            address.clone(),
            block
                .item("address")
                .map_or(&block.place, |item| &item.place)
                .clone(),
        )
    });
    let name = match (block.spanned_text("name"), &address) {
        (Some(name), _) => name,
        (None, Some(address)) => Spanned::new(address.value.to_string(), address.place.clone()),
        // Neither: it is reported, and nothing can refer to it.
        (None, None) => return None,
    };
    let weight = match block.integer("weight").map(|weight| u32::try_from(*weight)) {
        // The original format knows no "off" and documents weights from 1.
        Some(Ok(0)) if version == Version::V1 => Weight::ONE,
        Some(Ok(weight)) => Weight(weight),
        _ => Weight::ONE,
    };
    Some(BackendDraft {
        name,
        address,
        weight,
        max_connections: count(block, "max_connections").unwrap_or(0),
        place: block.place.clone(),
    })
}

/// Reads a `load_balancer` block.
pub(crate) fn read_balancer(block: Option<&Block>) -> BalancerDraft {
    let algorithm = block.and_then(|block| block.text("algorithm"));
    let place = block
        .and_then(|block| block.item("algorithm"))
        .map(|item| item.place.clone());
    BalancerDraft {
        algorithm: algorithm.map_or(Algorithm::RoundRobin, algorithm_named),
        hash_key: block
            .and_then(|block| block.hash_key("hash_key"))
            .cloned()
            .unwrap_or_default(),
        slow_start: block
            .and_then(|block| block.duration("slow_start"))
            .copied()
            .unwrap_or_default(),
        place,
    }
}

/// A count of the kind [`COUNT`].
pub(crate) fn count(block: &Block, key: &str) -> Option<u32> {
    block
        .integer(key)
        .and_then(|number| u32::try_from(*number).ok())
}

fn algorithm_named(name: &str) -> Algorithm {
    let name = if name == "bounded-load" {
        "bounded-consistent-hash"
    } else {
        name
    };
    Algorithm::ALL
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(Algorithm::RoundRobin, |(_, algorithm)| *algorithm)
}

#[cfg(test)]
mod tests {
    use super::{LOAD_BALANCER, algorithm_named};
    use crate::table::Kind;
    use balance_core::Algorithm;

    #[test]
    fn the_table_names_every_algorithm_and_no_other() {
        let Kind::Choice(names, _) = LOAD_BALANCER.key("algorithm").unwrap().kind else {
            panic!("a choice");
        };
        for (name, algorithm) in Algorithm::ALL {
            assert!(names.contains(name));
            assert_eq!(algorithm_named(name), *algorithm);
        }
        assert_eq!(names.len(), Algorithm::ALL.len() + 1);
        assert_eq!(
            algorithm_named("bounded-load"),
            Algorithm::BoundedConsistentHash
        );
    }
}
