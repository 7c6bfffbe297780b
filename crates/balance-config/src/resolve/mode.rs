//! Which mode a listener has that does not say (config.md §3).

use crate::config::Mode;
use crate::diagnostics::{Diagnostics, Place};
use crate::sections::health;
use crate::sections::listener;
use crate::value::{Block, Item};

/// What holds for listeners without a mode of their own.
pub(super) enum Default {
    /// The top-level key, or the environment.
    Written(Mode),
    /// By a key that only HTTP has a use for.
    Inferred { because: String, place: Place },
    /// Nothing in the file is about HTTP.
    Nothing,
}

impl Default {
    pub(super) fn of(root: &Block, from_environment: Option<Mode>) -> Self {
        if let Some(mode) = from_environment.or_else(|| listener::mode(root)) {
            return Self::Written(mode);
        }
        for key in ["http", "transform", "routes"] {
            if root.has(key) && !(key == "routes" && has_only_session_routes(root)) {
                return Self::inferred(format!("`{key}`"), root.key_place(key));
            }
        }
        for block in [Some(root), root.block("defaults")].into_iter().flatten() {
            if block.block("health_check").is_some_and(health::speaks_http) {
                let place = block.key_place("health_check");
                return Self::inferred("the path of `health_check`".to_owned(), place);
            }
        }
        Self::Nothing
    }

    fn inferred(because: String, place: &Place) -> Self {
        Self::Inferred {
            because,
            place: place.clone(),
        }
    }

    /// The mode of a listener that has none, said aloud when it is a conclusion.
    pub(super) fn mode_of(
        &self,
        listener: &str,
        place: &Place,
        diagnostics: &mut Diagnostics,
    ) -> Mode {
        match self {
            Self::Written(mode) => *mode,
            Self::Inferred { because, place } => {
                let message =
                    format!("listener `{listener}` has mode http, because {because} is there");
                diagnostics.note(place, message);
                Mode::Http
            }
            Self::Nothing => {
                let message = format!(
                    "listener `{listener}` has mode tcp, because nothing in the file is about HTTP; `mode: http` would change that"
                );
                diagnostics.note(place, message);
                Mode::Tcp
            }
        }
    }
}

/// Routes by `sni` are not about HTTP.
fn has_only_session_routes(root: &Block) -> bool {
    let routes = root.list("routes");
    let is_of_sessions = |item: &Item| {
        let conditions = item.block().and_then(|route| route.block("match"));
        conditions.is_some_and(|conditions| conditions.has("sni"))
    };
    !routes.is_empty() && routes.iter().all(is_of_sessions)
}

/// In a file of tcp listeners these keys do nothing.
pub(super) fn warn_without_effect(
    root: &Block,
    has_session_routes: bool,
    diagnostics: &mut Diagnostics,
) {
    for key in ["transform", "routes"] {
        if root.has(key) && !(key == "routes" && has_session_routes) {
            let message = format!("`{key}` has no effect: no listener has mode http");
            diagnostics.warning(root.key_place(key), message);
        }
    }
    if let Some(http) = root.block("http")
        && http.has("routes")
    {
        let message = "`http.routes` has no effect: no listener has mode http";
        diagnostics.warning(http.key_place("routes"), message);
    }
}
