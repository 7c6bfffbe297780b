//! Control: it compiles a configuration, publishes it to the workers, reloads, resolves names, owns the
//! listeners, and ends the process in good order. All of it happens on one thread of its own; the data path
//! never waits for it.
//!
//! | module        | what                                                              |
//! |---------------|-------------------------------------------------------------------|
//! | `run`         | the life of the process                                           |
//! | `reload`      | from the file on disk to what runs                                |
//! | `compile`     | everything about a configuration that can fail                    |
//! | `check`       | the part of it that touches nothing outside                       |
//! | `explain`     | what would become of a request, by a file or by what runs         |
//! | `identity`    | what outlives a reload                                            |
//! | `health`      | probes of backends, on a thread of their own                      |
//! | `resolve`     | names of backends, asked again and again                          |
//! | `profiling`   | profiles of the whole run                                         |
//! | `signals`     | what an operator asks for by signal                               |
//! | `admin`       | the seam to balance-admin                                         |
//! | `handle`      | what others may ask of control                                    |
//! | `view`        | what runs, in words that can be shown                             |
//! | `metrics`     | the gauges that control owns                                      |
//! | `operate`     | draining, enabling and weighing backends while they run           |
//! | `socket_path` | where the command line finds a running process                    |
//! | `authority`   | hosts and ports as people write them                              |

mod admin;
mod authority;
mod certificates;
mod check;
mod compile;
mod explain;
mod handle;
mod health;
mod identity;
mod metrics;
mod operate;
mod profiling;
mod reload;
mod resolve;
mod run;
mod signals;
mod socket_path;
mod view;

pub use admin::{Access, AdminListener, AdminRules, AdminServer, AdminSocketKind, Token};
pub use balance_core::Weight;
pub use balance_lb::{AdminState, RampState};
pub use check::{Checked, check};
pub use explain::{
    Answer, Asked, Backend, Certificate, Choice, Explanation, Field, FileError, Filter, Listener,
    Outcome, Pick, Pool, Question, QuestionError, Request, Routes, Sent, Source, State, Timeout,
    Tls, Verdict, explain,
};
pub use handle::{
    Changes, ControlHandle, Phase, Problem, ProcessIdentity, ReloadOutcome, ReloadSummary,
};
pub use operate::WeightError;
pub use profiling::ProfileFiles;
pub use run::{Listening, Observer, RunError, RunOptions, run};
pub use socket_path::{AdminSocket, AdminSocketError, find_admin_socket};
pub use view::{
    BackendView, BreakerView, ConditionView, EjectionView, HealthView, ListenerView, MemberView,
    PoolLimitsView, PoolView, RouteView, Setting, SettingsView, View,
};
