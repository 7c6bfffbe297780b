//! `balance bench targets`: the project's targets, each measured and judged.
//!
//! It starts the proxy, the origin and the load itself: the proxy on a core of its own, everything else on the others.

mod proxy;
mod verdict;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;

use crate::amount::Amount;
use crate::connections::{self, Idle};
use crate::http::{self, Plan, Url};
use crate::overhead::{self, Side};
use crate::progress::Progress;
use crate::summary::{in_micros, write_json};
use crate::target::Usage;
use crate::threads;
use crate::{Backend, BackendOptions};
use proxy::Proxy;
use verdict::{Judged, Verdict};

/// Measure the project's targets: requests per second, added latency, connections, and their memory.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetsArgs {
    /// The binary to measure [default: this one]
    #[arg(long, value_name = "FILE")]
    pub balance: Option<PathBuf>,

    /// How long the throughput is measured; a round of latencies takes a fifth of it
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::duration::parse_positive)]
    pub duration: Duration,

    /// Rounds of the latencies, through the proxy and directly in turns
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,

    /// Connections of the throughput and the latencies
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,

    /// Idle connections
    #[arg(long, value_name = "N", default_value_t = IDLE_CONNECTIONS, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub idle: u32,

    /// Write the result as JSON too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

const REQUESTS_PER_SECOND: f64 = 100_000.0;
const ADDED_P99: Duration = Duration::from_millis(1);
/// A machine on which the direct way has a higher p99 cannot show what a proxy adds to it.
const DIRECT_P99_MAX: Duration = Duration::from_micros(500);
const IDLE_CONNECTIONS: u32 = 50_000;
const IDLE_BYTES: f64 = 100e6;
/// A proxy that uses this share of its core is what limits.
const SATURATED: f64 = 0.95;

/// Measures and reports.
///
/// # Errors
/// There is one core only, or something could not be started.
pub(crate) fn run(args: &TargetsArgs) -> anyhow::Result<ExitCode> {
    let stop = crate::interrupt::flag();
    let judged = measure(args, &stop)?;
    let text: String = judged.iter().map(Judged::to_line).collect();
    std::io::stdout().write_all(text.as_bytes())?;
    let rows: Vec<_> = judged.iter().map(Judged::to_json).collect();
    write_json(args.json.as_deref(), &json!({ "targets": rows }))?;
    Ok(verdict::exit_code(&judged))
}

/// The targets that were reached before `stop` became true.
fn measure(args: &TargetsArgs, stop: &AtomicBool) -> anyhow::Result<Vec<Judged>> {
    let (own, load) = split_cores()?;
    let descriptors = crate::descriptors::raise_limit();
    // Everything that is started from here on stays off the proxy's core.
    sched_setaffinity(None, &load).context("cannot choose cores")?;
    let origin = Backend::start(&BackendOptions::default())?;
    let binary = match &args.balance {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("cannot find this program")?,
    };
    let proxy = Proxy::start(&binary, origin.local_addr(), &own, &load)?;
    let mut progress = Progress::on_stderr(None);
    let mut judged = Vec::new();

    progress.show_text("requests per second");
    let saturation = throughput(args, proxy.addr(), stop, proxy.pid(), &mut judged)?;
    if !stop.load(Ordering::Relaxed) {
        progress.show_text("added latency");
        let rate = (saturation / 2.0).max(1.0);
        let sides = [proxy.addr(), origin.local_addr()];
        judged.push(added_latency(args, sides, rate, stop)?);
    }
    if !stop.load(Ordering::Relaxed) {
        progress.show_text("idle connections");
        let idle =
            connections::measure_idle(proxy.addr(), args.idle, proxy.pid(), descriptors, stop);
        judged.extend(judge_idle(&idle));
    }
    progress.clear();
    Ok(judged)
}

/// The first core for the proxy, all others for the rest.
fn split_cores() -> anyhow::Result<(CpuSet, CpuSet)> {
    let allowed = sched_getaffinity(None).context("cannot see which cores there are")?;
    let (mut own, mut others) = (CpuSet::new(), CpuSet::new());
    for core in (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)) {
        if own.count() == 0 {
            own.set(core);
        } else {
            others.set(core);
        }
    }
    anyhow::ensure!(
        others.count() > 0,
        "two cores are needed: one for the proxy, one for load and origin"
    );
    Ok((own, others))
}

fn plan(
    args: &TargetsArgs,
    target: SocketAddr,
    amount: Amount,
    rate: Option<f64>,
) -> anyhow::Result<Plan> {
    let url = Url::parse(&format!("http://{target}/")).map_err(anyhow::Error::msg)?;
    Ok(Plan {
        target,
        request: http::plain_get(&url),
        connections: args.connections as usize,
        streams: 1,
        threads: threads::count(None, args.connections),
        amount,
        rate,
        new_connections: false,
        timeout: Duration::from_secs(10),
        tls: None,
    })
}

/// Adds its verdict and returns the rate that was reached.
fn throughput(
    args: &TargetsArgs,
    proxy: SocketAddr,
    stop: &AtomicBool,
    pid: u32,
    judged: &mut Vec<Judged>,
) -> anyhow::Result<f64> {
    let measure = |duration| -> anyhow::Result<_> {
        let plan = plan(args, proxy, Amount::Time(duration), None)?;
        let before = Usage::of(&[pid]);
        let outcome = http::run_load(&plan, stop, |_, _| {})?;
        let cpu = Usage::of(&[pid]).cpu_us.saturating_sub(before.cpu_us);
        Ok((outcome, cpu as f64 / 1e6))
    };
    measure((args.duration / 10).max(Duration::from_millis(100)))?; // connections to the origin, memory, caches
    let (outcome, cpu_seconds) = measure(args.duration)?;
    let rate = outcome.requests_per_second();
    let busy = http::per(cpu_seconds, outcome.elapsed.as_secs_f64());
    judged.push(judge_throughput(rate, busy, outcome.failures.total()));
    Ok(rate)
}

fn judge_throughput(rate: f64, busy: f64, errors: u64) -> Judged {
    let of_a_full_core = http::per(rate, busy);
    let percent = busy * 100.0;
    let (verdict, note) = if errors > 0 {
        (Verdict::Fail, format!("{errors} errors"))
    } else if rate >= REQUESTS_PER_SECOND {
        (Verdict::Pass, format!("proxy {percent:.0} % of one core"))
    } else if busy >= SATURATED || of_a_full_core < REQUESTS_PER_SECOND {
        let note =
            format!("proxy {percent:.0} % of one core; {of_a_full_core:.0}/s at 100 %, computed");
        (Verdict::Fail, note)
    } else {
        let note = format!(
            "load and origin were full first, proxy {percent:.0} % of one core: at least this"
        );
        (Verdict::Limited, note)
    };
    Judged {
        name: "requests/second",
        measured: rate,
        unit: "/s",
        target: format!("{REQUESTS_PER_SECOND:.0} or more"),
        verdict,
        note,
    }
}

fn added_latency(
    args: &TargetsArgs,
    [proxy, origin]: [SocketAddr; 2],
    rate: f64,
    stop: &AtomicBool,
) -> anyhow::Result<Judged> {
    let side = |target| -> anyhow::Result<Side> {
        let amount = Amount::Time(args.duration / 5);
        Ok(Side::Http(plan(args, target, amount, Some(rate))?))
    };
    let (through, direct) = (side(proxy)?, side(origin)?);
    let overhead = overhead::measure(&through, Some(&direct), args.rounds, stop, |_| {})?;
    let errors = overhead::merged(&overhead.through).failures.total();
    let at = |share| overhead.added(share).context("no round was complete");
    let (p50, p99) = (at(0.5)?, at(0.99)?);
    let direct_p99 = overhead.direct_quantile(0.99).unwrap_or_default();
    let (rounds, direct_us) = (overhead.through.len(), in_micros(direct_p99));
    let spread = format!(
        "{:.0} to {:.0} us in {rounds} rounds",
        p99.min_us, p99.max_us
    );
    let (verdict, note) = if errors > 0 {
        (Verdict::Fail, format!("{errors} errors"))
    } else if direct_p99 > DIRECT_P99_MAX {
        let p50 = p50.median_us;
        let note =
            format!("directly it is {direct_us:.0} us already: added p50 {p50:.0} us; {spread}");
        (Verdict::Limited, note)
    } else if p99.median_us < in_micros(ADDED_P99) {
        (Verdict::Pass, spread)
    } else {
        (Verdict::Fail, spread)
    };
    Ok(Judged {
        name: "added p99 latency",
        measured: p99.median_us,
        unit: " us",
        target: format!("below {:.0} us at {rate:.0}/s", in_micros(ADDED_P99)),
        verdict,
        note,
    })
}

fn judge_idle(idle: &Idle) -> [Judged; 2] {
    let (verdict, note) = match &idle.limited_by {
        _ if idle.lost > 0 => (Verdict::Fail, format!("{} lost", idle.lost)),
        _ if idle.opened == idle.wanted => (Verdict::Pass, String::new()),
        Some(limit) => (Verdict::Limited, format!("by {limit}: at least this")),
        None => (Verdict::Fail, "the proxy refused the rest".to_owned()),
    };
    let connections = Judged {
        name: "idle connections",
        measured: idle.opened as f64,
        unit: "",
        target: format!("{}", idle.wanted),
        verdict,
        note,
    };
    let total = idle.base_bytes + idle.bytes_per_connection * idle.wanted as f64;
    let is_computed = idle.opened < idle.wanted;
    let (base, each) = (idle.base_bytes / 1e6, idle.bytes_per_connection);
    let how = if is_computed { "computed: " } else { "" };
    let memory = Judged {
        name: "their memory",
        measured: total / 1e6,
        unit: " MB",
        target: format!("below {:.0} MB", IDLE_BYTES / 1e6),
        verdict: if idle.opened > 0 && total < IDLE_BYTES {
            Verdict::Pass
        } else {
            Verdict::Fail
        },
        note: format!("{how}{base:.1} MB and {each:.0} bytes a connection"),
    };
    [connections, memory]
}

#[cfg(test)]
mod tests {
    use super::{Idle, Verdict, judge_idle, judge_throughput};

    #[test]
    fn throughput_is_limited_only_while_the_proxy_has_room() {
        for (rate, busy, errors, expected) in [
            (120_000.0, 0.99, 0, Verdict::Pass),
            (60_000.0, 0.97, 0, Verdict::Fail),
            (60_000.0, 0.50, 0, Verdict::Limited),
            // Its core was not full, but full it would not do either.
            (60_000.0, 0.80, 0, Verdict::Fail),
            (120_000.0, 0.50, 1, Verdict::Fail),
            (0.0, 0.0, 0, Verdict::Fail),
        ] {
            let judged = judge_throughput(rate, busy, errors);
            assert_eq!(judged.verdict, expected, "{rate} {busy} {errors}");
        }
    }

    #[test]
    fn idle_connections_are_limited_by_limits_and_failed_by_the_proxy() {
        let idle = |opened, lost, limited_by: Option<&'static str>| Idle {
            wanted: 50_000,
            opened,
            lost,
            limited_by,
            base_bytes: 7e6,
            bytes_per_connection: 1_000.0,
        };
        for (idle, connections, memory) in [
            (idle(50_000, 0, None), Verdict::Pass, Verdict::Pass),
            (
                idle(18_000, 0, Some("descriptors")),
                Verdict::Limited,
                Verdict::Pass,
            ),
            (idle(18_000, 0, None), Verdict::Fail, Verdict::Pass),
            (idle(50_000, 1, None), Verdict::Fail, Verdict::Pass),
            (idle(0, 0, None), Verdict::Fail, Verdict::Fail),
        ] {
            let judged = judge_idle(&idle);
            let verdicts = [judged[0].verdict, judged[1].verdict];
            assert_eq!(verdicts, [connections, memory], "{idle:?}");
        }
        let judged = judge_idle(&idle(18_000, 0, Some("descriptors")));
        assert!(judged[1].note.starts_with("computed") && judged[1].measured == 57.0);
    }
}
