//! `timeouts`, here and wherever it may be inherited: defaults, top level, pool, route.

use std::time::Duration;

use balance_core::Timeouts;

use crate::diagnostics::Diagnostics;
use crate::table::{DURATION, Key, Kind, POSITIVE_DURATION, Table};
use crate::value::Block;

pub(crate) static TIMEOUTS: Table = Table {
    name: "timeouts",
    doc: "Deadlines. 0 switches one off, except `head` and `drain`.",
    main: None,
    keys: &[
        Key::new(
            "connect",
            DURATION,
            "5s",
            "Until a connection to a backend stands, all its addresses together.",
        ),
        Key::new(
            "read",
            DURATION,
            "30s",
            "Between two reads of a body, from either side; also `first_byte` where that is not given.",
        ),
        Key::new(
            "write",
            DURATION,
            "30s",
            "The original name of `write_progress`. A long download that makes progress is not cut.",
        ),
        Key::new(
            "idle",
            DURATION,
            "60s",
            "A keep-alive connection without a request, and a TCP session without traffic.",
        ),
        Key::new(
            "head",
            POSITIVE_DURATION,
            "10s",
            "A whole request head, from its first byte to its last.",
        ),
        Key::new(
            "first_byte",
            DURATION,
            "30s",
            "From the end of the request to the first byte of the response.",
        ),
        Key::new("per_try", DURATION, "0", "One attempt at one backend.")
            .later("a deadline per attempt (`per_try`)"),
        Key::new("request", DURATION, "0", "A whole exchange."),
        Key::new(
            "write_progress",
            DURATION,
            "30s",
            "Between two writes that make progress, towards either side.",
        ),
        Key::new(
            "tunnel",
            DURATION,
            "",
            "An upgraded connection (WebSocket) without traffic; by default the longer of `read` and `idle`.",
        ).example("1h"),
        Key::new(
            "drain",
            Kind::Duration { min_ms: 0 },
            "30s",
            "How long a drain waits for what is in flight.",
        ),
    ],
};

/// What one `timeouts` block says; the rest is inherited.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeoutsLayer {
    connect: Option<Duration>,
    head: Option<Duration>,
    first_byte: Option<Duration>,
    read: Option<Duration>,
    write_progress: Option<Duration>,
    request: Option<Duration>,
    idle: Option<Duration>,
    tunnel: Option<Duration>,
    drain: Option<Duration>,
}

impl TimeoutsLayer {
    /// Reads a block; an absent one says nothing.
    pub(crate) fn read(block: Option<&Block>, diagnostics: &mut Diagnostics) -> Self {
        let Some(block) = block else {
            return Self::default();
        };
        if block.has("write") && block.has("write_progress") {
            let message = "`write` is the original name of `write_progress`, which wins";
            diagnostics.warning(block.key_place("write"), message);
        }
        let duration = |key: &str| block.duration(key).copied();
        Self {
            connect: duration("connect"),
            head: duration("head"),
            first_byte: duration("first_byte").or_else(|| duration("read")),
            read: duration("read"),
            write_progress: duration("write_progress").or_else(|| duration("write")),
            request: duration("request"),
            idle: duration("idle"),
            tunnel: duration("tunnel"),
            drain: duration("drain"),
        }
    }

    /// Another name for the head deadline (`security.connection_protection.read_timeout`).
    pub(crate) fn set_head(&mut self, head: Duration) {
        self.head = Some(head);
    }

    /// The head deadline, when it is written.
    pub(crate) fn head(&self) -> Option<Duration> {
        self.head
    }
}

/// The layers from the outermost to the innermost over the defaults: the nearest one that says something
/// wins, key by key.
pub(crate) fn resolve(layers: &[&TimeoutsLayer]) -> Timeouts {
    let nearest = |field: fn(&TimeoutsLayer) -> Option<Duration>| {
        layers.iter().rev().find_map(|layer| field(layer))
    };
    let defaults = Timeouts::default();
    let read = nearest(|layer| layer.read).unwrap_or(defaults.read);
    let idle = nearest(|layer| layer.idle).unwrap_or(defaults.idle);
    Timeouts {
        connect: nearest(|layer| layer.connect).unwrap_or(defaults.connect),
        head: nearest(|layer| layer.head).unwrap_or(defaults.head),
        first_byte: nearest(|layer| layer.first_byte).unwrap_or(defaults.first_byte),
        read,
        write_progress: nearest(|layer| layer.write_progress).unwrap_or(defaults.write_progress),
        request: nearest(|layer| layer.request).unwrap_or(defaults.request),
        idle,
        tunnel: nearest(|layer| layer.tunnel).unwrap_or_else(|| longer(read, idle)),
        drain: nearest(|layer| layer.drain).unwrap_or(defaults.drain),
    }
}

/// 0 means "never", which is the longest.
fn longer(a: Duration, b: Duration) -> Duration {
    if a.is_zero() || b.is_zero() {
        Duration::ZERO
    } else {
        a.max(b)
    }
}

#[cfg(test)]
mod tests {
    use super::{TIMEOUTS, TimeoutsLayer, resolve};
    use crate::scalar::parse_duration;
    use balance_core::Timeouts;
    use std::time::Duration;

    #[test]
    fn the_table_shows_the_real_defaults() {
        let defaults = Timeouts::default();
        for (key, value) in [
            ("connect", defaults.connect),
            ("read", defaults.read),
            ("write", defaults.write_progress),
            ("idle", defaults.idle),
            ("head", defaults.head),
            ("first_byte", defaults.first_byte),
            ("request", defaults.request),
            ("write_progress", defaults.write_progress),
            ("drain", defaults.drain),
        ] {
            let shown = TIMEOUTS.key(key).unwrap().default;
            assert_eq!(parse_duration(shown).unwrap(), value, "{key}");
        }
        assert_eq!(resolve(&[]), defaults);
    }

    #[test]
    fn the_nearest_layer_wins_and_a_tunnel_takes_the_longer_one() {
        let second = |seconds| Some(Duration::from_secs(seconds));
        let outer = TimeoutsLayer {
            read: second(5),
            first_byte: second(5),
            ..Default::default()
        };
        let inner = TimeoutsLayer {
            idle: second(7),
            first_byte: second(1),
            ..Default::default()
        };
        let timeouts = resolve(&[&outer, &inner]);
        assert_eq!(timeouts.read, Duration::from_secs(5));
        assert_eq!(timeouts.first_byte, Duration::from_secs(1));
        assert_eq!(timeouts.tunnel, Duration::from_secs(7));
        let off = TimeoutsLayer {
            read: second(0),
            ..Default::default()
        };
        assert_eq!(resolve(&[&off]).tunnel, Duration::ZERO);
    }
}
