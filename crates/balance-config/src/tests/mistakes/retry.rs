//! `resilience.retry`: what can be no policy.

use super::check;

#[test]
pub(super) fn impossible_policies() {
    check(&[
        (
            "+resilience: { retry: { max_attempts: 0 } }\n",
            &[
                "4:38: error: `max_attempts`: `0` is refused\n  help: 1 is the first attempt alone; `enabled: false` switches retries off",
            ],
        ),
        (
            "+resilience: { retry: { budget: 300% } }\n",
            &[
                "4:32: error: `budget`: 3 is outside 0 to 1\n  help: a share like 30% or 0.3; 100% is the whole",
            ],
        ),
        (
            "+resilience: { retry: { multiplier: 0.5, jitter: -1 } }\n",
            &[
                "4:36: error: `multiplier`: 0.5 is outside 1 to 100",
                "4:49: error: `jitter`: -1 is outside 0 to 1…",
            ],
        ),
        (
            "+resilience: { retry: { max_delay: 50ms } }\n",
            &[
                "4:24: error: `max_delay` (50ms) is shorter than `initial_delay` (100ms)\n  help: delays begin with `initial_delay` and grow up to `max_delay`",
            ],
        ),
        (
            "+resilience: { retry: { initial_delay: 5s, max_delay: 1s } }\n",
            &[
                "4:43: error: `max_delay` (1s) is shorter than `initial_delay` (5s)\n  4:24: `initial_delay` is here\n  help: delays begin with `initial_delay` and grow up to `max_delay`",
            ],
        ),
        (
            "+resilience: { retry: { initial_delay: 20s } }\n",
            &["4:24: error: `max_delay` (10s) is shorter than `initial_delay` (20s)…"],
        ),
        (
            "+resilience: { retry: { on: [connect-failures, 404, 5xx, nonsense, [a]] } }\n",
            &[
                "4:29: error: `on`: nothing is called `connect-failures`\n  help: did you mean `connect-failure`?",
                "4:47: error: `on`: status 404 is no failure that another attempt mends\n  help: 429, and statuses from 500 on",
                "4:57: error: `on`: nothing is called `nonsense`\n  help: connect-failure, reset, timeout, protocol-error, 5xx, 429, a status from 500 on, or a cause like connection_refused",
                "4:67: error: `on` takes a text without control characters, not a list",
            ],
        ),
        (
            "+resilience: { retry: { methods: [\"PO ST\"], per_try: 0 } }\n",
            &[
                "4:34: error: `methods`: `PO ST` is not a name of letters, digits and `-`",
                "4:53: error: `per_try`: `0` is too short\n  help: at least 1ms",
            ],
        ),
        (
            "version: 2\nlisteners: [{ name: a, listen: ':80', mode: http, pool: p }]\npools: { p: { backends: ['1.2.3.4:5'] } }\nresilience: { retry: {} }\n",
            &[
                "4:1: warning: `resilience` has no effect: it belongs to the pool that top-level `backends` make",
            ],
        ),
        ("+resilience: { retry: 5 }\n", &[]),
        ("+resilience: { retry: { on: 429, methods: POST } }\n", &[]),
    ]);
}
