//! What others may ask of control: the admin API holds a [`ControlHandle`].

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use balance_config::{Diagnostic, Severity};
use balance_core::WorkerId;
use balance_proxy::Shared;
use balance_telemetry::Registry;
use tokio::sync::{mpsc, oneshot};

use crate::explain::{Explanation, Question, QuestionError, Running, Subject};
use crate::operate::WeightRequest;
use crate::view::{BackendView, MemberView, PoolView, View};

/// A way to the control thread, for as many holders as want one.
#[derive(Clone)]
pub struct ControlHandle {
    inner: Arc<Inner>,
}

/// A handle that keeps nothing alive.
pub(crate) struct WeakControlHandle(Weak<Inner>);

struct Inner {
    requests: mpsc::Sender<ControlRequest>,
    view: ArcSwap<View>,
    phase: AtomicU8,
    registry: Arc<Registry>,
    shared: Arc<Shared>,
    identity: ProcessIdentity,
    started: Instant,
}

/// Which Balance this is.
#[derive(Clone, Debug)]
pub struct ProcessIdentity {
    pub version: &'static str,
    /// The path of its configuration.
    pub config: String,
    pub workers: usize,
}

/// Where in its life the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Starting,
    Ready,
    /// New traffic should go elsewhere.
    Draining,
}

/// Something that only the control thread does. Whoever asks waits for the reply.
pub(crate) enum ControlRequest {
    Reload(oneshot::Sender<ReloadOutcome>),
    SetWeight(WeightRequest),
    /// To have the workers follow what was changed of a backend.
    Refresh(oneshot::Sender<()>),
}

/// How a reload ended.
#[derive(Clone, Debug)]
pub enum ReloadOutcome {
    Applied(ReloadSummary),
    /// Nothing has changed; these are the errors, with the warnings beside them.
    Refused(Vec<Problem>),
    /// The process is ending, or too many wait already.
    Unavailable,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadSummary {
    pub generation: u64,
    pub took: Duration,
    pub listeners: Changes,
    pub pools: Changes,
    /// As `pool/backend`.
    pub backends: Changes,
    pub routes: usize,
    pub warnings: Vec<Problem>,
}

/// Names that came and went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// Those that stayed as they were known.
    pub kept: usize,
}

/// A diagnostic, for those who do not know the loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `error`, `warning` or `note`.
    pub severity: &'static str,
    pub file: String,
    /// 0 = the file as a whole.
    pub line: u32,
    pub column: u32,
    pub message: String,
    pub help: Option<String>,
    /// All of it, as the command line shows it.
    pub text: String,
}

impl ControlHandle {
    pub(crate) fn new(
        requests: mpsc::Sender<ControlRequest>,
        view: View,
        registry: Arc<Registry>,
        shared: Arc<Shared>,
        identity: ProcessIdentity,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                requests,
                view: ArcSwap::from_pointee(view),
                phase: AtomicU8::new(Phase::Starting as u8),
                registry,
                shared,
                identity,
                started: Instant::now(),
            }),
        }
    }

    /// Reloads the configuration and waits for the result. One at a time; a few may wait.
    pub async fn reload(&self) -> ReloadOutcome {
        let (reply, outcome) = oneshot::channel();
        if self
            .inner
            .requests
            .try_send(ControlRequest::Reload(reply))
            .is_err()
        {
            return ReloadOutcome::Unavailable;
        }
        outcome.await.unwrap_or(ReloadOutcome::Unavailable)
    }

    pub fn phase(&self) -> Phase {
        match self.inner.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Whether new traffic should be sent here.
    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Ready
    }

    /// What runs now.
    pub fn view(&self) -> Arc<View> {
        self.inner.view.load_full()
    }

    /// The backends of a pool as they are at this moment.
    pub fn backends(&self, pool: &PoolView) -> Vec<BackendView> {
        pool.members
            .iter()
            .map(|member| self.backend(member))
            .collect()
    }

    /// Asks the control thread. `None`: it is ending.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> ControlRequest,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.inner.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }

    /// A backend of a pool as it is at this moment.
    pub(crate) fn backend(&self, member: &MemberView) -> BackendView {
        member.backend(self.now_ms())
    }

    /// The data path's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.inner.shared.clock().now_ms()
    }

    /// What would become of a request or session that comes now.
    ///
    /// # Errors
    /// The question has no answer.
    pub fn explain(&self, question: &Question) -> Result<Explanation, QuestionError> {
        let view = self.view();
        let snapshot = view.running.snapshot.upgrade();
        let snapshot = snapshot.ok_or(QuestionError::Ending)?;
        let shared = &self.inner.shared;
        let now_us = shared.clock().now_us();
        let subject = Subject {
            config: &view.running.config,
            path: &self.inner.identity.config,
            snapshot: &snapshot,
            via_name: shared.via_name(),
            now_ms: now_us / 1000,
            seed: now_us,
            running: Running::Yes,
        };
        subject.explain(question)
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.inner.shared.connections()
    }

    /// Tasks that are alive, for each worker.
    pub fn tasks(&self) -> Vec<(WorkerId, usize)> {
        self.inner.shared.tasks()
    }

    pub fn registry(&self) -> &Arc<Registry> {
        &self.inner.registry
    }

    pub fn identity(&self) -> &ProcessIdentity {
        &self.inner.identity
    }

    /// Since the process took up its work.
    pub fn uptime(&self) -> Duration {
        self.inner.started.elapsed()
    }

    pub(crate) fn downgrade(&self) -> WeakControlHandle {
        WeakControlHandle(Arc::downgrade(&self.inner))
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.inner.phase.store(phase as u8, Ordering::Release);
    }

    pub(crate) fn set_view(&self, view: View) {
        self.inner.view.store(Arc::new(view));
    }
}

impl WeakControlHandle {
    pub(crate) fn upgrade(&self) -> Option<ControlHandle> {
        self.0.upgrade().map(|inner| ControlHandle { inner })
    }
}

impl Phase {
    /// The name in the admin API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

impl Changes {
    /// What differs between two sets of names.
    pub(crate) fn between(before: &[String], after: &[String]) -> Self {
        let missing = |from: &[String], other: &[String]| {
            let other: HashSet<&String> = other.iter().collect();
            from.iter()
                .filter(|name| !other.contains(name))
                .cloned()
                .collect::<Vec<_>>()
        };
        let added = missing(after, before);
        Self {
            kept: after.len() - added.len(),
            removed: missing(before, after),
            added,
        }
    }
}

impl From<&Diagnostic> for Problem {
    fn from(diagnostic: &Diagnostic) -> Self {
        Self {
            severity: diagnostic.severity.name(),
            file: diagnostic.place.file.to_string(),
            line: diagnostic.place.line,
            column: diagnostic.place.column,
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
            text: diagnostic.to_string(),
        }
    }
}

/// Whether any of them prevents the configuration from being used.
pub(crate) fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::Changes;

    #[test]
    fn changes_are_what_came_and_went() {
        let names = |list: &[&str]| {
            list.iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let changes = Changes::between(&names(&["a", "b"]), &names(&["b", "c", "d"]));
        assert_eq!(changes.added, names(&["c", "d"]));
        assert_eq!(changes.removed, names(&["a"]));
        assert_eq!(changes.kept, 1);
    }
}
