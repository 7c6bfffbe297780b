//! Per-worker metrics, their exposition, and the access log.
//!
//! It measures and writes; it decides nothing and serves nothing. The data path records into cells that
//! only it writes, control scrapes them, and admin sends what `exposition` encodes.
//!
//! | module       | what                                                                     |
//! |--------------|--------------------------------------------------------------------------|
//! | `cell`       | a counter with one writing thread                                        |
//! | `histogram`  | durations in fixed buckets                                               |
//! | `series`     | the cells behind one set of labels                                       |
//! | `worker`     | what one worker writes                                                   |
//! | `registry`   | all workers, merged on a scrape                                          |
//! | `totals`     | the merged numbers, and those of what is gone                            |
//! | `family`     | metrics as a scrape sees them, from cells or from a `Collect`            |
//! | `process`    | the `process_*` metrics from /proc                                       |
//! | `exposition` | Prometheus text and OpenMetrics                                          |
//! | `access_log` | one line per exchange, written by a thread of its own                    |

mod access_log;
mod cell;
mod exposition;
mod family;
mod histogram;
mod process;
mod registry;
mod series;
mod totals;
mod worker;

pub use access_log::{
    AccessLog, AccessLogOptions, AccessRecord, LogFormat, LogTarget, PhaseTimes, TimestampCache,
    WorkerLog, open_file,
};
pub use cell::Counter;
pub use exposition::{Format, encode};
pub use family::{Collect, Family, Kind, Sample, Samples, Value};
pub use histogram::{BUCKETS, HistogramTotals};
pub use registry::{BuildInfo, Registry};
pub use series::{
    BackendSeries, ListenerSeries, MirrorOutcome, MirrorSeries, RequestSeries, RetrySeries,
};
pub use worker::{BufferedBytes, WorkerMetrics};
