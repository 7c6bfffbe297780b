//! `balance check`: everything that can be said about a file without running it.

mod certificates;

use std::time::SystemTime;

use balance_config::{Diagnostic, Sources, load};

use crate::compile;
use crate::handle::has_errors;

/// What there is to say about a configuration.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Whether Balance would run with it, as far as can be told beforehand.
    pub is_valid: bool,
    /// In the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads and compiles the file at `path` without binding or resolving anything and without changing a file,
/// so that it can be asked while another process runs with it.
pub fn check(sources: &dyn Sources, path: &str) -> Checked {
    let loaded = load(sources, path);
    let mut diagnostics = loaded.diagnostics;
    let now = SystemTime::now();
    diagnostics.extend(certificates::check(sources, &loaded.tls_files, now));
    if let Some(config) = &loaded.config {
        diagnostics.extend(compile::check(config));
    }
    diagnostics.sort_by(|a, b| a.place.cmp(&b.place));
    let is_valid = loaded.config.is_some() && !has_errors(&diagnostics);
    Checked {
        is_valid,
        diagnostics,
    }
}
