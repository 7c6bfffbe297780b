//! Heap profiles: who allocated what is still in use, by jemalloc's samples.
//!
//! jemalloc takes one allocation in about 512 KiB, and only while profiling is on; what was allocated before is not
//! seen. It is compiled in and off (`.cargo/config.toml`).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{MemfdFlags, memfd_create};
use tikv_jemalloc_ctl::{Access, AsName};

use crate::proto::{Outline, ProfileWriter, ValueType};
use crate::symbols::{CodeMap, Locations};

/// Why there is no heap profile.
#[derive(Debug, thiserror::Error)]
pub enum HeapError {
    #[error(
        "the allocator was started without heap profiling (`prof:true` in _RJEM_MALLOC_CONF, which is the default)"
    )]
    Unavailable,
    #[error("the allocator refuses: {0}")]
    Allocator(tikv_jemalloc_ctl::Error),
    #[error("cannot take the allocator's profile: {0}")]
    Dump(#[source] io::Error),
    #[error("the allocator's profile has an unknown form: {0}")]
    Format(&'static str),
}

/// Whether allocations are sampled from now on.
///
/// # Errors
/// The allocator cannot do it.
pub fn set_heap_profiling(is_on: bool) -> Result<(), HeapError> {
    if !is_available()? {
        return Err(HeapError::Unavailable);
    }
    b"prof.active\0"
        .as_slice()
        .name()
        .write(is_on)
        .map_err(HeapError::Allocator)
}

/// The profile of this moment, as a file of pprof.
///
/// # Errors
/// The allocator cannot do it, or its answer makes no sense.
pub fn heap_profile() -> Result<Vec<u8>, HeapError> {
    if !is_available()? {
        return Err(HeapError::Unavailable);
    }
    encode(&parse(&dump()?)?)
}

fn is_available() -> Result<bool, HeapError> {
    b"opt.prof\0"
        .as_slice()
        .name()
        .read()
        .map_err(HeapError::Allocator)
}

/// jemalloc's own text. It writes files only: to one in memory, because the file system may be read-only.
fn dump() -> Result<String, HeapError> {
    let mut target = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
    if target.is_none() {
        *target = Some(Target::create().map_err(HeapError::Dump)?);
    }
    let Some(Target { file, path }) = &mut *target else {
        return Err(HeapError::Format("there is no file"));
    };
    b"prof.dump\0"
        .as_slice()
        .name()
        .write(*path)
        .map_err(HeapError::Allocator)?;
    let mut text = String::new();
    file.rewind()
        .and_then(|()| file.read_to_string(&mut text))
        .and_then(|_| file.set_len(0))
        .map_err(HeapError::Dump)?;
    Ok(text)
}

/// Where dumps go.
struct Target {
    file: File,
    path: &'static [u8],
}

impl Target {
    fn create() -> io::Result<Self> {
        let file = File::from(memfd_create("heap-profile", MemfdFlags::CLOEXEC)?);
        let path = format!("/proc/self/fd/{}\0", file.as_raw_fd());
        // jemalloc's binding wants a path for ever. There is one in a process.
        let path = Box::leak(path.into_bytes().into_boxed_slice());
        Ok(Self { file, path })
    }
}

/// What a dump says.
#[derive(Debug, PartialEq)]
struct HeapDump {
    /// One sample for so many bytes on average.
    interval: u64,
    stacks: Vec<HeapStack>,
}

/// What one call stack holds, as it was sampled.
#[derive(Debug, PartialEq)]
struct HeapStack {
    addresses: Vec<u64>,
    objects: u64,
    bytes: u64,
}

/// Reads
///
/// ```text
/// heap_v2/524288
///   t*: 3: 1234 [0: 0]          all stacks together; then each thread
/// @ 0x1 0x2
///   t*: 2: 1000 [0: 0]          objects and bytes in use [ever allocated]
/// MAPPED_LIBRARIES:
/// ```
fn parse(text: &str) -> Result<HeapDump, HeapError> {
    let mut lines = text.lines();
    let interval = lines
        .next()
        .and_then(|line| line.strip_prefix("heap_v2/"))
        .and_then(|interval| interval.parse().ok())
        .ok_or(HeapError::Format("its first line"))?;
    let mut stacks = Vec::new();
    let mut addresses = None;
    for line in lines {
        if line.starts_with("MAPPED_LIBRARIES:") {
            break;
        } else if let Some(stack) = line.strip_prefix('@') {
            let stack = stack.split_ascii_whitespace().map(parse_address);
            let stack: Option<Vec<u64>> = stack.collect();
            addresses = Some(stack.ok_or(HeapError::Format("a stack"))?);
        } else if let Some(numbers) = line.trim_start().strip_prefix("t*:")
            && let Some(addresses) = addresses.take()
        {
            let (objects, bytes) = parse_in_use(numbers).ok_or(HeapError::Format("a count"))?;
            stacks.push(HeapStack {
                addresses,
                objects,
                bytes,
            });
        }
    }
    Ok(HeapDump { interval, stacks })
}

fn parse_address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// ` 2: 1000 [0: 0]`
fn parse_in_use(text: &str) -> Option<(u64, u64)> {
    let (in_use, _) = text.split_once('[')?;
    let (objects, bytes) = in_use.split_once(':')?;
    Some((objects.trim().parse().ok()?, bytes.trim().parse().ok()?))
}

impl HeapStack {
    /// What stands behind the sample: an allocation of `size` bytes is taken with probability
    /// `1 - exp(-size / interval)`, as jeprof reckons too.
    fn estimate(&self, interval: u64) -> [u64; 2] {
        if self.objects == 0 {
            return [0, 0];
        }
        let size = self.bytes as f64 / self.objects as f64;
        let scale = 1.0 / (1.0 - (-size / interval.max(1) as f64).exp());
        [self.objects, self.bytes].map(|value| (value as f64 * scale).round() as u64)
    }
}

fn encode(dump: &HeapDump) -> Result<Vec<u8>, HeapError> {
    let outline = Outline {
        values: &[
            ValueType {
                kind: "inuse_objects",
                unit: "count",
            },
            ValueType {
                kind: "inuse_space",
                unit: "bytes",
            },
        ],
        period: Some((
            ValueType {
                kind: "space",
                unit: "bytes",
            },
            dump.interval,
        )),
        started: SystemTime::now(),
        duration: Duration::ZERO,
        dropped_functions: ALLOCATOR_FUNCTIONS,
        comment: String::new(),
    };
    let code = CodeMap::of_this_process().map_err(HeapError::Dump)?;
    let mut profile = ProfileWriter::new(&outline, code.mappings().to_vec());
    let mut locations = Locations::default();
    // The same stack has an entry for each size class.
    let mut all: HashMap<&[u64], [u64; 2]> = HashMap::new();
    for stack in &dump.stacks {
        let [objects, bytes] = stack.estimate(dump.interval);
        let sum = all.entry(&stack.addresses).or_default();
        *sum = [sum[0] + objects, sum[1] + bytes];
    }
    for (addresses, values) in all {
        let stack = locations.of(addresses, &mut profile);
        profile.sample(&stack, &values, &[]);
    }
    Ok(profile.finish())
}

static TARGET: Mutex<Option<Target>> = Mutex::new(None);

/// The way from an allocation into jemalloc's profiler, which is the same for all.
const ALLOCATOR_FUNCTIONS: &str = "_rjem_.*|prof_.*|imalloc.*|je_.*|__rust_alloc.*|__rust_realloc|__rustc::__rust_.*|__rdl_.*|__rg_.*|.*GlobalAlloc.*|alloc::alloc::.*";

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::{HeapDump, HeapStack, heap_profile, parse, set_heap_profiling};

    #[global_allocator]
    static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

    const DUMP: &str = "heap_v2/524288\n  t*: 3: 2000 [0: 0]\n  t0: 3: 2000 [0: 0]\n\
        @ 0x10 0x20\n  t*: 1: 1000000 [0: 0]\n  t0: 1: 1000000 [0: 0]\n\
        @ 0x30\n  t*: 2: 1000 [7: 9]\nMAPPED_LIBRARIES:\n00-01 r-xp @ x\n";

    #[test]
    fn a_dump_of_the_allocator_is_read() {
        let stack = |addresses: &[u64], objects, bytes| HeapStack {
            addresses: addresses.to_vec(),
            objects,
            bytes,
        };
        let dump = parse(DUMP).unwrap();
        let expected = HeapDump {
            interval: 524_288,
            stacks: vec![stack(&[0x10, 0x20], 1, 1_000_000), stack(&[0x30], 2, 1000)],
        };
        assert_eq!(dump, expected);
        // Nearly every large one is seen; of those of 500 bytes one in 1049.
        assert_eq!(dump.stacks[0].estimate(dump.interval), [1, 1_174_362]);
        assert_eq!(dump.stacks[1].estimate(dump.interval)[0], 2098);
        for broken in [
            "",
            "heap_v2/x\n",
            "heap_v2/1\n@ zero\n",
            "heap_v2/1\n@ 0x1\n t*: 1\n",
        ] {
            assert!(parse(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn who_holds_memory_is_in_the_profile() {
        #[inline(never)]
        fn hold() -> Vec<u8> {
            black_box(vec![1; 64 << 20])
        }
        set_heap_profiling(true).unwrap();
        let held = hold();
        let file = heap_profile().unwrap();
        set_heap_profiling(false).unwrap();
        drop(held);
        let text = crate::counts::tests::unpacked(&file);
        for part in [
            "inuse_space",
            "heap::tests::who_holds_memory_is_in_the_profile::hold",
        ] {
            assert!(text.contains(part), "`{part}` is missing");
        }
    }
}
