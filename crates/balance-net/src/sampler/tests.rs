use std::collections::HashSet;
use std::hint::black_box;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Buffer, Sampler, threads};

/// There is one sampler in a process, and tests run side by side.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const INTERVAL: Duration = Duration::from_millis(1);
/// As long as a busy machine may keep a thread from its CPU time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Works in a function that is not inlined, at a known depth below another.
#[inline(never)]
fn busy(is_done: &AtomicBool) -> u64 {
    let mut sum = 0_u64;
    while !is_done.load(Ordering::Relaxed) {
        sum = black_box(sum.wrapping_mul(31) + 1);
    }
    sum
}

#[test]
fn it_sees_the_stacks_of_every_thread_that_works() {
    let _one = ONE_AT_A_TIME.lock().unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut sampler = Sampler::start(INTERVAL).unwrap();
        // One after the start: it has to be found.
        let threads = 2;
        for _ in 0..threads {
            scope.spawn(|| black_box(busy(&is_done)));
        }
        let begin = Instant::now();
        let mut seen = HashSet::new();
        let mut deepest = 0;
        while seen.len() < threads || deepest < 4 {
            assert!(
                begin.elapsed() < PATIENCE,
                "{} threads, {deepest} deep",
                seen.len()
            );
            sampler.follow_threads().unwrap();
            sampler.drain(|sample| {
                deepest = deepest.max(sample.stack.len());
                seen.insert(sample.thread);
            });
            std::thread::yield_now();
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn there_is_one_at_a_time() {
    let _one = ONE_AT_A_TIME.lock().unwrap();
    let first = Sampler::start(INTERVAL).unwrap();
    let second = Sampler::start(INTERVAL).err().unwrap();
    assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
    drop(first);
    Sampler::start(INTERVAL).unwrap();
}

#[test]
fn what_does_not_fit_is_left_out_and_the_rest_is_whole() {
    let buffer = Buffer::new();
    buffer
        .words
        .get_or_init(|| (0..10).map(|_| 7.into()).collect());
    buffer.write(1, &[10, 11]);
    buffer.write(2, &[20, 21, 22]);
    buffer.write(3, &[30, 31, 32, 33]);
    buffer.write(4, &[40]);
    let mut seen = Vec::new();
    buffer.read(&mut |sample| seen.push((sample.thread, sample.stack.to_vec())));
    assert_eq!(seen, [(1, vec![10, 11]), (2, vec![20, 21, 22])]);
}

/// The kernel's list lacks a thread in about one of 500 of these readings.
#[test]
fn a_thread_is_listed_while_older_ones_end() {
    for turn in 0_u64..3_000 {
        let others: Vec<_> = (0..6)
            .map(|older| {
                let life = Duration::from_micros(turn % 97 + older * 7);
                std::thread::spawn(move || {
                    let begin = Instant::now();
                    while begin.elapsed() < life {}
                })
            })
            .collect();
        let this = std::thread::spawn(|| {
            let id = own_id();
            (0..4).all(|_| threads().unwrap().contains(&id))
        });
        assert!(this.join().unwrap(), "turn {turn}");
        for other in others {
            other.join().unwrap();
        }
    }
}

fn own_id() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    let id = link.file_name().and_then(|id| id.to_str());
    id.and_then(|id| id.parse().ok()).unwrap()
}
