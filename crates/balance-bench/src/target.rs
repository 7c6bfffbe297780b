//! The target of a measurement: its address, and what its processes use.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::Context;

/// Resolves `host:port`.
///
/// # Errors
/// The text is no such thing, or the name does not resolve.
pub(crate) fn resolve(target: &str) -> anyhow::Result<SocketAddr> {
    let addresses: Vec<SocketAddr> = target
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve target `{target}`"))?
        .collect();
    // IPv4 first: the source addresses of loopback tests are IPv4.
    let first = addresses
        .iter()
        .find(|each| each.is_ipv4())
        .or(addresses.first());
    first
        .copied()
        .with_context(|| format!("`{target}` has no address"))
}

/// What processes use, all added up. Processes that are gone count nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) rss_bytes: u64,
    /// Resident memory with shared pages divided by their users: the fair figure for several processes.
    pub(crate) pss_bytes: u64,
    /// User and system time of all threads, in microseconds.
    pub(crate) cpu_us: u64,
}

impl Usage {
    pub(crate) fn of(pids: &[u32]) -> Self {
        pids.iter().fold(Self::default(), |sum, pid| {
            let one = Self::of_one(*pid);
            Self {
                rss_bytes: sum.rss_bytes + one.rss_bytes,
                pss_bytes: sum.pss_bytes + one.pss_bytes,
                cpu_us: sum.cpu_us + one.cpu_us,
            }
        })
    }

    fn of_one(pid: u32) -> Self {
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        Self {
            rss_bytes: kib_line(&read("status"), "VmRSS:") * 1024,
            pss_bytes: kib_line(&read("smaps_rollup"), "Pss:") * 1024,
            cpu_us: cpu_ticks(&read("stat")) * (1_000_000 / TICKS_PER_SECOND),
        }
    }
}

/// USER_HZ: 100 on x86-64 and aarch64, whatever the kernel's own tick is (proc_pid_stat(5)).
const TICKS_PER_SECOND: u64 = 100;

fn kib_line(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// utime + stime, the 14th and 15th field. The second one is a name that may hold spaces.
fn cpu_ticks(stat: &str) -> u64 {
    let Some((_, behind_name)) = stat.rsplit_once(')') else {
        return 0;
    };
    let fields = behind_name.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::{Usage, cpu_ticks, resolve};

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 1 0 5 0 0";
        assert_eq!(cpu_ticks(stat), 46);
    }

    #[test]
    fn this_process_uses_memory_and_a_missing_one_does_not() {
        let own = Usage::of(&[std::process::id()]);
        assert!(own.rss_bytes > 100_000 && own.pss_bytes > 100_000);
        assert_eq!(Usage::of(&[u32::MAX]), Usage::default());
    }

    #[test]
    fn names_that_do_not_resolve_are_named() {
        let error = resolve("no-such-host.invalid").unwrap_err();
        assert!(error.to_string().contains("no-such-host.invalid"));
        assert_eq!(resolve("127.0.0.1:80").unwrap().to_string(), "127.0.0.1:80");
    }
}
