//! The `process_*` metrics that dashboards expect from every exporter, read from /proc at a scrape.
//!
//! A value that cannot be read is left out.

use std::fs;

use crate::family::{Kind, Samples, Value};

/// Adds what /proc tells about this process.
pub(crate) fn collect(samples: &mut Samples) {
    if let Some(stat) = read("/proc/self/stat").as_deref().and_then(Stat::parse) {
        samples.add(
            Kind::Counter,
            "process_cpu_seconds",
            "CPU time in user and kernel mode.",
            &[],
            Value::Float(stat.cpu_ticks as f64 / TICKS_PER_SECOND),
        );
        if let Some(boot) = read("/proc/stat").as_deref().and_then(boot_time) {
            let start = boot as f64 + stat.start_ticks as f64 / TICKS_PER_SECOND;
            gauge(
                samples,
                "process_start_time_seconds",
                "Start of the process, in Unix time.",
                start,
            );
        }
        gauge(
            samples,
            "process_threads",
            "Threads of the process.",
            stat.threads as f64,
        );
    }
    if let Some(status) = read("/proc/self/status") {
        let bytes = |key| kilobytes(&status, key).map(|kilobytes| kilobytes as f64 * 1024.0);
        if let Some(size) = bytes("VmSize:") {
            gauge(
                samples,
                "process_virtual_memory_bytes",
                "Address space in use.",
                size,
            );
        }
        if let Some(resident) = bytes("VmRSS:") {
            gauge(
                samples,
                "process_resident_memory_bytes",
                "Physical memory in use.",
                resident,
            );
        }
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // The directory being read is one of them.
        let open = entries.count().saturating_sub(1);
        gauge(
            samples,
            "process_open_fds",
            "Open file descriptors.",
            open as f64,
        );
    }
    if let Some(limit) = read("/proc/self/limits")
        .as_deref()
        .and_then(open_files_max)
    {
        gauge(
            samples,
            "process_max_fds",
            "File descriptors the process may open.",
            limit,
        );
    }
}

/// The fields of proc_pid_stat(5) that are wanted.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold spaces and parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Field numbers of the manual page; `fields` begins with number 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
        })
    }
}

fn boot_time(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn open_files_max(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        soft => soft.parse::<u64>().ok().map(|soft| soft as f64),
    }
}

fn gauge(samples: &mut Samples, name: &'static str, help: &'static str, value: f64) {
    samples.gauge(name, help, &[], value);
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// USER_HZ, which the kernel fixes at 100 for every architecture that Balance runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::{Stat, boot_time, collect, kilobytes, open_files_max};
    use crate::family::Samples;

    #[test]
    fn program_names_with_parentheses() {
        let line = "7 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20";
        let stat = Stat {
            cpu_ticks: 11 + 12,
            threads: 17,
            start_ticks: 19,
        };
        assert_eq!(Stat::parse(line), Some(stat));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn lines_of_proc() {
        assert_eq!(
            boot_time("cpu 1 2\nbtime 1700000000\n"),
            Some(1_700_000_000)
        );
        assert_eq!(
            kilobytes("Name:\tx\nVmRSS:\t  123 kB\n", "VmRSS:"),
            Some(123)
        );
        let limits = "Max open files            20000                524288               files\n";
        assert_eq!(open_files_max(limits), Some(20_000.0));
    }

    #[test]
    fn this_process_has_them_all() {
        let mut samples = Samples::default();
        collect(&mut samples);
        let names: Vec<&str> = samples
            .into_families()
            .iter()
            .map(|family| family.name)
            .collect();
        for name in [
            "process_cpu_seconds",
            "process_start_time_seconds",
            "process_threads",
            "process_virtual_memory_bytes",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
        ] {
            assert!(names.contains(&name), "{name} is missing in {names:?}");
        }
    }
}
