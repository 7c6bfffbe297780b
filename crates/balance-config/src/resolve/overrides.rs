//! The environment variables that stand over the file: `BALANCE_LISTEN`, `BALANCE_MODE`,
//! `BALANCE_LOG_LEVEL`.

use balance_core::ListenAddress;

use crate::check::quoted;
use crate::config::{LogLevel, Mode};
use crate::diagnostics::{Diagnostics, Place, Spanned};
use crate::sections::listener::{self, ListenerDraft, MAIN};
use crate::sections::telemetry;
use crate::sources::Sources;
use crate::value::Block;

/// What the environment says.
pub(super) struct Overrides {
    pub(super) listen: Option<Spanned<ListenAddress>>,
    pub(super) mode: Option<Mode>,
    pub(super) level: Option<LogLevel>,
}

const LISTEN: &str = "BALANCE_LISTEN";
const MODE: &str = "BALANCE_MODE";
const LEVEL: &str = "BALANCE_LOG_LEVEL";

/// Reads the variables; an empty one is as good as none.
pub(super) fn read(sources: &dyn Sources, diagnostics: &mut Diagnostics) -> Overrides {
    let variable = |name: &str| sources.env(name).filter(|value| !value.is_empty());
    let listen = variable(LISTEN).and_then(|text| match ListenAddress::parse(&text) {
        Ok(address) => Some(Spanned::new(address, Place::environment(LISTEN))),
        Err(error) => {
            diagnostics.error(&Place::environment(LISTEN), error.to_string());
            None
        }
    });
    let mode = variable(MODE).and_then(|text| match text.as_str() {
        "tcp" => Some(Mode::Tcp),
        "http" => Some(Mode::Http),
        _ => unknown(MODE, &["tcp", "http"], diagnostics),
    });
    let level = variable(LEVEL).and_then(|text| {
        telemetry::level_named(&text).or_else(|| {
            unknown(
                LEVEL,
                &["trace", "debug", "info", "warn", "error"],
                diagnostics,
            )
        })
    });
    Overrides {
        listen,
        mode,
        level,
    }
}

impl Overrides {
    /// They replace what `main` says, or the only listener; an address without any listener makes `main`.
    pub(super) fn apply(
        &self,
        root: &Block,
        drafts: &mut Vec<ListenerDraft>,
        diagnostics: &mut Diagnostics,
    ) {
        if let (Some(listen), true) = (&self.listen, drafts.is_empty()) {
            drafts.push(listener::main_at(root, &listen.place, diagnostics));
        }
        let only = drafts.len() == 1;
        let target = drafts
            .iter_mut()
            .find(|draft| only || draft.name.value == MAIN);
        if let Some(draft) = target {
            if let Some(listen) = &self.listen {
                draft.listen = vec![listen.clone()];
            }
            draft.mode = self.mode.or(draft.mode);
        } else if let Some(listen) = &self.listen {
            let message = "it has no effect: the file has several listeners and none is `main`";
            diagnostics.warning(&listen.place, message);
        }
    }
}

fn unknown<T>(variable: &str, known: &[&str], diagnostics: &mut Diagnostics) -> Option<T> {
    let help = format!("it is one of {}", quoted(known.iter().copied()));
    diagnostics.error_help(
        &Place::environment(variable),
        "the value is not known",
        help,
    );
    None
}
