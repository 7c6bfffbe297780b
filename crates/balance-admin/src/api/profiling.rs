//! `/debug/pprof/`: the paths and parameters that Go programs have, so that `go tool pprof` and whoever knows them
//! need nothing new.

use std::fmt::Write;
use std::time::Duration;

use balance_control::ControlHandle;
use balance_profile::{Count, CpuRecording, counts, heap_profile, threads};
use balance_telemetry::{Family, Value};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{respond, show};
use crate::json;

/// What is below `/debug/pprof/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Index,
    Cpu,
    Heap,
    Tasks,
}

impl Page {
    pub(super) fn find(path: &str) -> Option<Self> {
        Some(match path.strip_prefix("/debug/pprof")? {
            "" | "/" => Self::Index,
            "/profile" => Self::Cpu,
            "/heap" => Self::Heap,
            // What Go calls it.
            "/tasks" | "/goroutine" => Self::Tasks,
            _ => return None,
        })
    }
}

/// Answers for a page. A caller who goes away ends the recording.
pub(super) async fn answer(
    page: Page,
    query: &str,
    control: &ControlHandle,
) -> Response<Full<Bytes>> {
    match page {
        Page::Index => text(INDEX.to_owned()),
        Page::Cpu => cpu(query).await,
        Page::Heap => match spawn_blocking(heap_profile).await {
            Ok(Ok(file)) => download(file, "attachment; filename=\"heap.pb.gz\""),
            Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), None),
            Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), None),
        },
        Page::Tasks => {
            let all = tasks(control);
            if parameter(query, "debug").is_some_and(|level| level != "0") {
                text(table(&all))
            } else {
                download(counts(&all), "attachment; filename=\"tasks.pb.gz\"")
            }
        }
    }
}

async fn cpu(query: &str) -> Response<Full<Bytes>> {
    let seconds = match seconds(query) {
        Ok(seconds) => seconds,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, &message, None),
    };
    let Ok(_only) = ONE_AT_A_TIME.try_acquire() else {
        let help = "wait until it is done; there is one at a time";
        let message = "a CPU profile is being recorded already";
        return refuse(StatusCode::CONFLICT, message, Some(help));
    };
    let recording = match CpuRecording::start() {
        Ok(recording) => recording,
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), None),
    };
    sleep(Duration::from_secs(seconds)).await;
    // Finding the names takes longer than control may be away.
    match spawn_blocking(|| recording.finish()).await {
        Ok(Ok(file)) => download(file, "attachment; filename=\"cpu.pb.gz\""),
        Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), None),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), None),
    }
}

/// `seconds=N`, or what Go takes without it.
fn seconds(query: &str) -> Result<u64, String> {
    let Some(text) = parameter(query, "seconds") else {
        return Ok(SECONDS_DEFAULT);
    };
    match text.parse() {
        Ok(seconds) if (1..=SECONDS_MAX).contains(&seconds) => Ok(seconds),
        _ => Err(format!(
            "`seconds` is a whole number from 1 to {SECONDS_MAX}"
        )),
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

/// What there is at this moment: threads by what they do, tasks of each worker, connections on both sides.
fn tasks(control: &ControlHandle) -> Vec<Count> {
    let mut all = threads().unwrap_or_else(|error| {
        tracing::debug!(%error, "the threads cannot be listed");
        Vec::new()
    });
    let path = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (worker, tasks) in control.tasks() {
        all.push(Count {
            path: path(&["tasks", &format!("worker-{}", worker.0)]),
            count: tasks as u64,
        });
    }
    let families = control.registry().families();
    let of = |family| gauges(&families, family);
    for ((names, open), (_, busy)) in of("balance_active_connections").zip(of(BUSY)) {
        // Read one after the other: for a moment more may be busy than are open.
        for (state, count) in [("busy", busy), ("idle", open.saturating_sub(busy))] {
            let path = path(&[&["connections", "from clients", state], &names[..]].concat());
            all.push(Count { path, count });
        }
    }
    for (names, count) in of("balance_backend_in_flight") {
        let path = path(&[&["connections", "in use to backends"], &names[..]].concat());
        all.push(Count { path, count });
    }
    all
}

/// The samples of a family of gauges: the names in its labels, and how many there are.
fn gauges<'a>(
    families: &'a [Family],
    name: &'static str,
) -> impl Iterator<Item = (Vec<&'a str>, u64)> {
    let samples = families.iter().filter(move |one| one.name == name);
    samples
        .flat_map(|family| &family.samples)
        .filter_map(|sample| {
            let names = sample.labels.iter().map(|(_, value)| value.as_str());
            let count = match sample.value {
                Value::Integer(count) => count,
                Value::Float(count) => count as u64,
                Value::Histogram(_) => return None,
            };
            Some((names.collect(), count))
        })
}

/// The same for people.
fn table(all: &[Count]) -> String {
    let mut text = String::new();
    for Count { path, count } in all {
        writeln!(text, "{count:>8} {}", path.join(" / ")).expect("a string takes everything");
    }
    text
}

fn text(body: String) -> Response<Full<Bytes>> {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    respond(StatusCode::OK, kind, body.into_bytes())
}

fn download(file: Vec<u8>, disposition: &'static str) -> Response<Full<Bytes>> {
    let kind = HeaderValue::from_static("application/octet-stream");
    let mut response = respond(StatusCode::OK, kind, file);
    let disposition = HeaderValue::from_static(disposition);
    response
        .headers_mut()
        .insert(CONTENT_DISPOSITION, disposition);
    response
}

fn refuse(status: StatusCode, message: &str, help: Option<&str>) -> Response<Full<Bytes>> {
    show(status, &json::error(message, help))
}

const INDEX: &str = "\
/debug/pprof/

profile    a CPU profile of ?seconds=N, 30 without it
heap       who allocated what is in use, since profiling was switched on
tasks      threads, tasks and connections at this moment; goroutine is the same; ?debug=1 as text

go tool pprof http://THIS-ADDRESS/debug/pprof/profile?seconds=10
";

const BUSY: &str = "balance_busy_connections";

static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

const SECONDS_DEFAULT: u64 = 30;
/// An admin connection lives five minutes at most, the finding of names included.
const SECONDS_MAX: u64 = 240;

#[cfg(test)]
mod tests {
    use super::{Page, seconds};

    #[test]
    fn seconds_are_bounded() {
        for (query, expected) in [
            ("", Some(30)),
            ("debug=1", Some(30)),
            ("seconds=1", Some(1)),
            ("debug=1&seconds=240", Some(240)),
            ("seconds=0", None),
            ("seconds=241", None),
            ("seconds=-1", None),
            ("seconds=1.5", None),
            ("seconds=", None),
            ("seconds=99999999999999999999", None),
        ] {
            assert_eq!(seconds(query).ok(), expected, "{query}");
        }
    }

    #[test]
    fn pages_are_where_go_has_them() {
        for (path, expected) in [
            ("/debug/pprof", Some(Page::Index)),
            ("/debug/pprof/", Some(Page::Index)),
            ("/debug/pprof/profile", Some(Page::Cpu)),
            ("/debug/pprof/heap", Some(Page::Heap)),
            ("/debug/pprof/tasks", Some(Page::Tasks)),
            ("/debug/pprof/goroutine", Some(Page::Tasks)),
            ("/debug/pprof/cmdline", None),
            ("/debug/pprofile", None),
            ("/debug", None),
        ] {
            assert_eq!(Page::find(path), expected, "{path}");
        }
    }
}
