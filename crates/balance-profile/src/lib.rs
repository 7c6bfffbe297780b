//! Profiles of the running process: what its threads do, and who holds its memory. Also a form for counts of
//! anything else that has a path of names.
//!
//! Everything is returned as a file of pprof (`go tool pprof FILE` opens it), with the names of functions in it, so
//! that it can be read on another machine. Nothing here is on the data path, and nothing runs unless it was asked for.
//!
//! | module    | what                                                       |
//! |-----------|------------------------------------------------------------|
//! | `cpu`     | samples of call stacks by CPU time, counted                |
//! | `heap`    | jemalloc's samples of allocations that are still in use    |
//! | `counts`  | numbers under paths of names                               |
//! | `threads` | the threads by what they do, as such numbers               |
//! | `symbols` | from addresses to functions                                |
//! | `proto`   | the file format                                            |

mod counts;
mod cpu;
mod heap;
mod proto;
mod symbols;
mod threads;

pub use counts::{Count, counts};
pub use cpu::{CpuError, CpuRecording};
pub use heap::{HeapError, heap_profile, set_heap_profiling};
pub use threads::threads;
