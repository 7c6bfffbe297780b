//! What the host gives this process: descriptors and processors.

use std::num::NonZeroUsize;
use std::{io, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors the process may have open. `u64::MAX` means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// What holds now.
    pub soft: u64,
    /// Up to where an unprivileged process may raise it.
    pub hard: u64,
}

/// The limit on descriptors as it is now.
pub fn descriptor_limit() -> DescriptorLimit {
    from_rlimit(getrlimit(Resource::Nofile))
}

/// Raises the soft limit to the hard one: each proxied connection needs two descriptors, and the usual
/// soft limit of 1,024 exists only for programs that still use select(2).
///
/// # Errors
/// What setrlimit(2) says. The old limit holds then, and the process can go on.
pub fn raise_descriptor_limit() -> io::Result<DescriptorLimit> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        )?;
    }
    Ok(descriptor_limit())
}

/// How many workers are worth having: the processors this process may run on, reduced by the affinity
/// mask and the cgroup's CPU quota (v1 and v2), never below 1.
pub fn cpu_count() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn from_rlimit(limit: Rlimit) -> DescriptorLimit {
    DescriptorLimit {
        soft: limit.current.unwrap_or(u64::MAX),
        hard: limit.maximum.unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::{cpu_count, descriptor_limit, raise_descriptor_limit};

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        let before = descriptor_limit();
        let after = raise_descriptor_limit().expect("raising to the hard limit needs no right");
        assert_eq!(after.soft, before.hard);
        assert!(cpu_count() >= 1);
    }
}
