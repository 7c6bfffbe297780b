//! Explaining: what would become of a request or a session, by a configuration or by what runs.
//!
//! The data path explains itself ([`balance_proxy::explain`]); this finds the listener that is meant, and says names and
//! places for positions. It changes nothing and takes no connection.

mod describe;
mod explanation;
mod question;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use balance_config::{Config, Diagnostic, ListenerTls, Sources, load};
use balance_proxy::Snapshot;
use balance_proxy::explain::Explainer;
use balance_tls::Certificates;

use crate::compile;

pub use explanation::{
    Answer, Asked, Backend, Certificate, Explanation, Field, Filter, Listener, Outcome, Pick, Pool,
    Request, Routes, Sent, Source, State, Timeout, Tls, Verdict,
};
pub(crate) use question::head;
pub use question::{Choice, Question, QuestionError};

use question::Asked as Resolved;

/// Why a file cannot answer a question.
#[derive(Debug)]
pub enum FileError {
    /// What is wrong with the configuration, warnings included.
    Config(Vec<Diagnostic>),
    Question(QuestionError),
}

/// Explains by the file at `path` and the certificates that it names, without binding or resolving anything. It knows no
/// state of a backend: it is explained as it would be right after a start.
///
/// # Errors
/// The configuration cannot be used, or the question has no answer.
pub fn explain(
    sources: &dyn Sources,
    path: &str,
    question: &Question,
) -> Result<Explanation, FileError> {
    let loaded = load(sources, path);
    let Some(config) = loaded.config else {
        return Err(FileError::Config(loaded.diagnostics));
    };
    let snapshot = compile::unbound(&config).map_err(FileError::Config)?;
    let subject = Subject {
        config: &config,
        path,
        snapshot: &snapshot,
        via_name: config.via_name.as_deref().unwrap_or(VIA_NAME),
        now_ms: 0,
        seed: 0,
        running: Running::No(sources),
    };
    subject.explain(question).map_err(FileError::Question)
}

/// What a question is put to.
pub(crate) struct Subject<'a> {
    /// What the snapshot was compiled from.
    pub(crate) config: &'a Config,
    pub(crate) path: &'a str,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) via_name: &'a str,
    /// The data path's clock.
    pub(crate) now_ms: u64,
    /// Of the numbers that balancing draws.
    pub(crate) seed: u64,
    pub(crate) running: Running<'a>,
}

/// Whether backends have a state and certificates are in use.
#[derive(Clone, Copy)]
pub(crate) enum Running<'a> {
    Yes,
    /// Certificates are read from here.
    No(&'a dyn Sources),
}

impl Subject<'_> {
    pub(crate) fn explain(&self, question: &Question) -> Result<Explanation, QuestionError> {
        let (listener, asked) = question.resolve(&self.snapshot.listeners)?;
        let peer = question.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let certificates = self.certificates(listener);
        let (Resolved::Request { server_name, .. } | Resolved::Session(server_name)) = &asked;
        let explainer = Explainer {
            snapshot: self.snapshot,
            listener,
            peer,
            server_name: server_name.as_deref(),
            certificates: certificates.as_deref(),
            via_name: self.via_name,
            now_ms: self.now_ms,
            seed: self.seed,
            is_tracing: true,
        };
        match &asked {
            Resolved::Request { head, .. } => {
                Ok(self.request(&explainer, &explainer.request(head)?))
            }
            Resolved::Session(server_name) => {
                let explained = explainer.session(server_name.as_deref());
                Ok(self.session(&explainer, &explained))
            }
        }
    }

    /// What a listener shows its clients: as it is in use, or as it would be read now. `None`: it does not end TLS, or
    /// they cannot be used.
    fn certificates(&self, listener: usize) -> Option<Arc<Certificates>> {
        let rules = &self.snapshot.listeners[listener];
        match self.running {
            Running::Yes => rules.tls.as_ref().map(|tls| Arc::clone(tls.certificates())),
            Running::No(sources) => compile::certificates(self.tls(&rules.name)?, sources),
        }
    }

    /// What the configuration says about TLS of a listener.
    fn tls(&self, listener: &str) -> Option<&ListenerTls> {
        let mut listeners = self.config.listeners.iter();
        listeners.find(|one| one.name == listener)?.tls.as_ref()
    }

    fn is_running(&self) -> bool {
        matches!(self.running, Running::Yes)
    }
}

/// Stands for a name that is drawn at each start.
const VIA_NAME: &str = "balance-xxxxxxxx";
