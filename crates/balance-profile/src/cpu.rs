//! CPU profiles: call stacks counted by the CPU time that was spent in them.
//!
//! Several recordings may run at a time (one of the whole run, one that somebody asked for); they share the one
//! sampler of the process, and a thread that moves its samples to where they are counted.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use balance_net::Sampler;

use crate::proto::{Outline, ProfileWriter, ValueType};
use crate::symbols::{CodeMap, Locations};

/// A profile that is being recorded. Dropping it throws it away.
#[derive(Debug)]
pub struct CpuRecording {
    id: u64,
}

/// Why there is no CPU profile.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    #[error("{RECORDINGS_MAX} CPU profiles are being recorded already")]
    TooMany,
    #[error("cannot sample the threads: {0}")]
    Sampler(#[source] io::Error),
    #[error("cannot start the thread that counts: {0}")]
    Thread(#[source] io::Error),
    #[error("cannot read what is mapped as code: {0}")]
    CodeMap(#[source] io::Error),
}

impl CpuRecording {
    /// Begins to record all threads of the process.
    ///
    /// # Errors
    /// There are too many already, or the kernel gives no timers.
    pub fn start() -> Result<Self, CpuError> {
        let mut recorder = recorder();
        if recorder.open.len() >= RECORDINGS_MAX {
            return Err(CpuError::TooMany);
        }
        if recorder.sampler.is_none() {
            recorder.sampler = Some(Sampler::start(INTERVAL).map_err(CpuError::Sampler)?);
        }
        if !recorder.has_thread {
            let spawned = thread::Builder::new()
                .name("cpu-profile".to_owned())
                .spawn(count);
            if let Err(error) = spawned {
                recorder.stop_if_unused();
                return Err(CpuError::Thread(error));
            }
            recorder.has_thread = true;
        }
        // What was there before is not part of it.
        recorder.count();
        recorder.last_id += 1;
        let id = recorder.last_id;
        recorder.open.insert(id, Counts::new());
        Ok(Self { id })
    }

    /// Ends it and returns the file. Finding the names takes a while, and is not for a thread that others wait for.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn finish(self) -> Result<Vec<u8>, CpuError> {
        let mut recorder = recorder();
        recorder.count();
        let counts = recorder.close(self.id);
        drop(recorder);
        counts.map_or(Ok(Vec::new()), |counts| {
            counts.encode().map_err(CpuError::CodeMap)
        })
    }
}

impl Drop for CpuRecording {
    fn drop(&mut self) {
        // Finished ones are gone already.
        recorder().close(self.id);
    }
}

/// What all recordings share.
struct Recorder {
    sampler: Option<Sampler>,
    has_thread: bool,
    open: BTreeMap<u64, Counts>,
    last_id: u64,
}

impl Recorder {
    const fn new() -> Self {
        Self {
            sampler: None,
            has_thread: false,
            open: BTreeMap::new(),
            last_id: 0,
        }
    }

    /// Moves what was sampled to those who record.
    fn count(&mut self) {
        let Some(sampler) = &mut self.sampler else {
            return;
        };
        if let Err(error) = sampler.follow_threads() {
            tracing::debug!(%error, "new threads are not in the CPU profile");
        }
        let open = &mut self.open;
        let dropped = sampler.drain(|sample| {
            for counts in open.values_mut() {
                counts.add(sample.thread, sample.stack);
            }
        });
        for counts in open.values_mut() {
            counts.lost += dropped;
        }
    }

    fn close(&mut self, id: u64) -> Option<Counts> {
        let counts = self.open.remove(&id);
        self.stop_if_unused();
        counts
    }

    fn stop_if_unused(&mut self) {
        if self.open.is_empty() {
            self.sampler = None;
            CHANGED.notify_all();
        }
    }
}

/// The thread that counts, for as long as somebody records.
fn count() {
    let mut recorder = recorder();
    while recorder.sampler.is_some() {
        recorder.count();
        let waited = CHANGED.wait_timeout(recorder, COUNT_EVERY);
        recorder = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    recorder.has_thread = false;
}

/// How often each stack was seen.
#[derive(Debug)]
struct Counts {
    started: SystemTime,
    began: Instant,
    /// Names of threads when they were first seen: at the end they may be gone.
    threads: HashMap<u32, String>,
    stacks: HashMap<u32, HashMap<Box<[u64]>, u64>>,
    distinct: usize,
    /// Samples for which there was no room.
    lost: u64,
}

impl Counts {
    fn new() -> Self {
        Self {
            started: SystemTime::now(),
            began: Instant::now(),
            threads: HashMap::new(),
            stacks: HashMap::new(),
            distinct: 0,
            lost: 0,
        }
    }

    fn add(&mut self, thread: u32, stack: &[u64]) {
        self.threads
            .entry(thread)
            .or_insert_with(|| name_of(thread));
        let stacks = self.stacks.entry(thread).or_default();
        if let Some(count) = stacks.get_mut(stack) {
            *count += 1;
        } else if self.distinct < STACKS_MAX {
            self.distinct += 1;
            stacks.insert(stack.into(), 1);
        } else {
            self.lost += 1;
        }
    }

    fn encode(self) -> io::Result<Vec<u8>> {
        let interval = u64::try_from(INTERVAL.as_nanos()).expect("it is 10 ms");
        let comment = match self.lost {
            0 => String::new(),
            lost => format!("{lost} samples are missing: there was no room for them"),
        };
        let outline = Outline {
            values: &[
                ValueType {
                    kind: "samples",
                    unit: "count",
                },
                ValueType {
                    kind: "cpu",
                    unit: "nanoseconds",
                },
            ],
            period: Some((
                ValueType {
                    kind: "cpu",
                    unit: "nanoseconds",
                },
                interval,
            )),
            started: self.started,
            duration: self.began.elapsed(),
            dropped_functions: "",
            comment,
        };
        let code = CodeMap::of_this_process()?;
        let mut profile = ProfileWriter::new(&outline, code.mappings().to_vec());
        let mut locations = Locations::default();
        for (thread, stacks) in &self.stacks {
            let name = self.threads.get(thread).map_or("", String::as_str);
            for (stack, count) in stacks {
                let stack = locations.of(code_only(stack, &code), &mut profile);
                profile.sample(&stack, &[*count, count * interval], &[("thread", name)]);
            }
        }
        Ok(profile.finish())
    }
}

/// The stack up to the first return address that is none: there the chain went astray.
fn code_only<'a>(stack: &'a [u64], code: &CodeMap) -> &'a [u64] {
    let astray = stack
        .iter()
        .skip(1)
        .position(|address| !code.holds(*address));
    astray.map_or(stack, |callers| &stack[..=callers])
}

fn name_of(thread: u32) -> String {
    std::fs::read_to_string(format!("/proc/self/task/{thread}/comm"))
        .map_or_else(|_| thread.to_string(), |name| name.trim_end().to_owned())
}

fn recorder() -> MutexGuard<'static, Recorder> {
    // Each change of it is whole, so a panic elsewhere has broken nothing.
    RECORDER.lock().unwrap_or_else(PoisonError::into_inner)
}

static RECORDER: Mutex<Recorder> = Mutex::new(Recorder::new());
static CHANGED: Condvar = Condvar::new();

/// 100 samples for each second of CPU time, as Go takes: enough for one percent after a few seconds.
const INTERVAL: Duration = Duration::from_millis(10);
/// A sampler's buffer holds the samples of more than a hundred busy threads for so long.
const COUNT_EVERY: Duration = Duration::from_millis(200);
/// One for the whole run, one live, and one to spare for a benchmark's own.
const RECORDINGS_MAX: usize = 3;
/// Distinct stacks of one recording, at most 800 bytes each: 26 MB at the worst. A loaded proxy has about a thousand.
const STACKS_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use super::{CpuError, CpuRecording, RECORDINGS_MAX, recorder};

    /// The recorder is the process's.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    #[inline(never)]
    fn work() {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(100) {
            black_box((0..1000_u64).fold(0, |sum, n| black_box(sum ^ n)));
        }
    }

    #[test]
    fn what_works_is_in_the_profile() {
        let _one = ONE_AT_A_TIME.lock().unwrap();
        let recording = CpuRecording::start().unwrap();
        let mut samples = 0;
        while samples == 0 {
            work();
            let mut recorder = recorder();
            recorder.count();
            samples = recorder.open.values().map(|counts| counts.distinct).sum();
        }
        let file = recording.finish().unwrap();
        let text = crate::counts::tests::unpacked(&file);
        for part in ["samples", "nanoseconds", "thread", "work"] {
            assert!(text.contains(part), "`{part}` is missing");
        }
        assert!(
            recorder().sampler.is_none(),
            "the last one ends the sampling"
        );
    }

    #[test]
    fn their_number_is_bounded() {
        let _one = ONE_AT_A_TIME.lock().unwrap();
        let open: Vec<_> = (0..RECORDINGS_MAX)
            .map(|_| CpuRecording::start().unwrap())
            .collect();
        assert!(matches!(CpuRecording::start(), Err(CpuError::TooMany)));
        drop(open);
        assert!(recorder().open.is_empty());
        CpuRecording::start().unwrap();
    }
}
