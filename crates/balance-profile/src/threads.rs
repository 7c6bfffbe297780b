//! The threads of the process by what they do, as counts.

use std::io;

use crate::counts::Count;

/// A count for each thread: its state, then its name.
///
/// # Errors
/// /proc cannot be read.
pub fn threads() -> io::Result<Vec<Count>> {
    let mut all: Vec<Count> = Vec::new();
    for thread in balance_net::threads()? {
        // One that has just ended is none.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")) else {
            continue;
        };
        let Some((name, state)) = parse(&stat) else {
            continue;
        };
        let path = vec!["threads".to_owned(), state.to_owned(), name.to_owned()];
        match all.iter_mut().find(|known| known.path == path) {
            Some(known) => known.count += 1,
            None => all.push(Count { path, count: 1 }),
        }
    }
    Ok(all)
}

/// Name and state of a line of /proc/PID/task/TID/stat (proc_pid_stat(5)). The name may have anything in it.
fn parse(stat: &str) -> Option<(&str, &'static str)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once('(')?;
    let state = match after.chars().next()? {
        'R' => "running",
        'S' => "waiting",
        'D' => "waiting for a device",
        'T' | 't' => "stopped",
        _ => "in another state",
    };
    Some((name, state))
}

#[cfg(test)]
mod tests {
    use super::{parse, threads};

    #[test]
    fn a_thread_has_a_name_and_a_state() {
        assert_eq!(parse("7 (worker-0) R 1 7"), Some(("worker-0", "running")));
        assert_eq!(parse("7 (a) b) S 1 7"), Some(("a) b", "waiting")));
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_thread_is_there() {
        assert!(
            threads()
                .unwrap()
                .iter()
                .any(|count| count.path[1] == "running")
        );
    }
}
