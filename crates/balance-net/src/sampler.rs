//! Samples of the call stacks of all threads, each time a thread has used so much CPU time.
//!
//! ```text
//!   timer of a thread ─► SIGPROF ─► handler ─► one of two buffers          drain: change the buffers, wait for
//!                                   (`sys`)    (reserve, write)            handlers that are in the old one, read it
//! ```
//!
//! A timer for each thread, as the Go runtime has, rather than one for the process (`ITIMER_PROF`): the kernel gives
//! out one signal a tick for that, however many cores are busy. What the addresses are called is not its business.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::sys::{ThreadTimer, install_handler};

/// The sampling of this process; there is one at a time. Dropping it ends it.
pub struct Sampler {
    interval: Duration,
    timers: HashMap<u32, ThreadTimer>,
}

/// What a thread was at.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The kernel's id of the thread.
    pub thread: u32,
    /// The interrupted instruction, then the return addresses outwards.
    pub stack: &'a [u64],
}

impl Sampler {
    /// Samples each thread after every `interval` of its CPU time. Threads that begin later are seen by
    /// [`Sampler::follow_threads`].
    ///
    /// # Errors
    /// `ResourceBusy` while there is another one; else what the kernel says.
    pub fn start(interval: Duration) -> io::Result<Self> {
        if IS_SAMPLING.swap(true, Ordering::Acquire) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        // From here on dropping it undoes what was done.
        let mut sampler = Self {
            interval,
            timers: HashMap::new(),
        };
        install_handler(main_stack_top()?)?;
        for buffer in &BUFFERS {
            buffer
                .words
                .get_or_init(|| (0..BUFFER_WORDS).map(|_| AtomicU64::new(0)).collect());
            buffer.used.store(0, Ordering::Relaxed);
        }
        ACTIVE.store(FIRST, Ordering::SeqCst);
        sampler.follow_threads()?;
        Ok(sampler)
    }

    /// Begins with threads that are new and forgets those that are gone.
    ///
    /// # Errors
    /// Not one thread can be sampled.
    pub fn follow_threads(&mut self) -> io::Result<()> {
        let threads = threads()?;
        self.timers.retain(|thread, _| threads.contains(thread));
        let mut failure = None;
        for thread in threads {
            if self.timers.contains_key(&thread) {
                continue;
            }
            match ThreadTimer::start(thread, self.interval) {
                Ok(timer) => drop(self.timers.insert(thread, timer)),
                // It may just have ended.
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if self.timers.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives `take` everything since the last time, and returns how many samples there was no room for. To be
    /// called several times a second: a buffer holds about 3,000 stacks of 40 frames.
    pub fn drain(&mut self, mut take: impl FnMut(Sample<'_>)) -> u64 {
        let old = ACTIVE.load(Ordering::SeqCst);
        let new = if old == FIRST { SECOND } else { FIRST };
        BUFFERS[new - 1].used.store(0, Ordering::SeqCst);
        ACTIVE.store(new, Ordering::SeqCst);
        wait_for_handlers();
        BUFFERS[old - 1].read(&mut take);
        DROPPED.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        ACTIVE.store(OFF, Ordering::SeqCst);
        self.timers.clear();
        wait_for_handlers();
        IS_SAMPLING.store(false, Ordering::Release);
    }
}

/// The threads of this process.
///
/// The kernel's list can lack threads while another one ends (its walk along the threads ends at one that is just
/// gone), so this reads until two readings agree. Where threads come and go without a pause, the last reading counts.
///
/// # Errors
/// What the kernel says.
pub fn threads() -> io::Result<Vec<u32>> {
    let mut threads = list_threads()?;
    for _ in 0..MAX_READINGS {
        let again = list_threads()?;
        if again == threads {
            break;
        }
        threads = again;
    }
    Ok(threads)
}

/// Readings of the list of threads that differ before the last one has to do.
const MAX_READINGS: usize = 16;

fn list_threads() -> io::Result<Vec<u32>> {
    let entries = std::fs::read_dir("/proc/self/task")?;
    entries
        .map(|entry| {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            id.ok_or_else(|| io::Error::other("/proc/self/task has an entry that is no thread"))
        })
        .collect()
}

/// Called from a signal handler: no lock, no allocation, no system call.
pub(crate) fn on_sample(thread: u32, stack: &[u64]) {
    // The order of these two is what `drain` relies on: who is not counted yet reads the new buffer.
    HANDLERS.fetch_add(1, Ordering::SeqCst);
    match ACTIVE.load(Ordering::SeqCst) {
        OFF => {}
        active => BUFFERS[active - 1].write(thread, stack),
    }
    HANDLERS.fetch_sub(1, Ordering::SeqCst);
}

/// Samples one after the other: a word with the thread and the number of frames, then the frames.
struct Buffer {
    words: OnceLock<Box<[AtomicU64]>>,
    /// Words that were asked for; beyond the length nothing more fits.
    used: AtomicUsize,
}

impl Buffer {
    const fn new() -> Self {
        Self {
            words: OnceLock::new(),
            used: AtomicUsize::new(0),
        }
    }

    fn write(&self, thread: u32, stack: &[u64]) {
        let Some(words) = self.words.get() else {
            return;
        };
        let length = stack.len() + 1;
        let begin = self.used.fetch_add(length, Ordering::SeqCst);
        let Some(place) = words.get(begin..begin.saturating_add(length)) else {
            // The first that does not fit ends the buffer for the reader.
            if let Some(end) = words.get(begin) {
                end.store(0, Ordering::Relaxed);
            }
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        };
        place[0].store(
            u64::from(thread) << 32 | stack.len() as u64,
            Ordering::Relaxed,
        );
        for (word, address) in place[1..].iter().zip(stack) {
            word.store(*address, Ordering::Relaxed);
        }
    }

    /// Only while no handler writes.
    fn read(&self, take: &mut impl FnMut(Sample<'_>)) {
        let Some(words) = self.words.get() else {
            return;
        };
        let used = self.used.load(Ordering::SeqCst).min(words.len());
        let mut rest = &words[..used];
        let mut stack = Vec::new();
        while let Some((head, after)) = rest.split_first() {
            let head = head.load(Ordering::Relaxed);
            let Some((frames, next)) = after.split_at_checked(head as u32 as usize) else {
                break;
            };
            if frames.is_empty() {
                break;
            }
            stack.clear();
            stack.extend(frames.iter().map(|word| word.load(Ordering::Relaxed)));
            take(Sample {
                thread: (head >> 32) as u32,
                stack: &stack,
            });
            rest = next;
        }
    }
}

/// A handler takes a microsecond; one whose thread was descheduled in the middle is waited for.
fn wait_for_handlers() {
    while HANDLERS.load(Ordering::SeqCst) != 0 {
        std::thread::yield_now();
    }
}

/// Where the stack of the first thread ends: the kernel marks it.
fn main_stack_top() -> io::Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let top = maps.lines().find_map(|line| {
        let range = line.strip_suffix("[stack]")?.split_whitespace().next()?;
        let (_, end) = range.split_once('-')?;
        usize::from_str_radix(end, 16).ok()
    });
    // Without it only that thread's outer frames are missing.
    Ok(top.unwrap_or(0))
}

static IS_SAMPLING: AtomicBool = AtomicBool::new(false);
static BUFFERS: [Buffer; 2] = [Buffer::new(), Buffer::new()];
/// The buffer that handlers write to, counted from 1.
static ACTIVE: AtomicUsize = AtomicUsize::new(OFF);
/// Handlers that run at this moment.
static HANDLERS: AtomicUsize = AtomicUsize::new(0);
/// Samples without room.
static DROPPED: AtomicU64 = AtomicU64::new(0);

const OFF: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;
/// 1 MiB for each buffer, from the first profile on.
const BUFFER_WORDS: usize = 128 << 10;
