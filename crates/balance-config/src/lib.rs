//! The YAML loader: sources to a tree with spans to [`Config`], all mistakes at once.
//!
//! `parse` makes a tree of the file, `check` holds it against one [`Table`] a section, `sections` read the
//! checked blocks, `resolve` looks at them together: names, inheritance, modes. It opens no file and no
//! socket ([`Sources`] is an argument), resolves no name and compiles nothing: that is control's.

mod check;
mod config;
mod diagnostics;
mod environment;
mod parse;
mod resolve;
mod scalar;
mod sections;
mod sources;
mod suggest;
mod table;
mod tree;
mod value;

use std::sync::Arc;

pub use config::{
    AccessLog, Action, Admin, Backend, Config, HeaderEdit, HostPattern, Listener, LogFormat,
    LogLevel, Logging, Metrics, Mode, PathMatch, Pool, PoolKind, Redirect, Respond, Route,
    RouteMatch, RouteScope, RouteTest, Shutdown, Transform, Version,
};
pub use diagnostics::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics, Place, Severity, Spanned};
pub use sources::{MemorySources, Sources};
pub use table::{Key, Kind, Table};

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// `None` when there is any error.
    pub config: Option<Config>,
    /// In the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads the configuration at `path`. Nothing is remembered and nothing is applied.
pub fn load(sources: &dyn Sources, path: &str) -> Loaded {
    let mut diagnostics = Diagnostics::default();
    let config = load_into(sources, path, &mut diagnostics);
    Loaded {
        config: config.filter(|_| !diagnostics.has_errors()),
        diagnostics: diagnostics.into_sorted(),
    }
}

/// The table of the file itself; all others hang from it.
pub fn root_table() -> &'static Table {
    &sections::root::ROOT
}

fn load_into(sources: &dyn Sources, path: &str, diagnostics: &mut Diagnostics) -> Option<Config> {
    let file: Arc<str> = Arc::from(path);
    let bytes = match sources.read(path, parse::FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => {
            diagnostics.error_help(
                &Place::whole(&file),
                format!("cannot read the file: {error}"),
                "name another one with `-c FILE`",
            );
            return None;
        }
    };
    let mut environment = environment::Environment::new(sources);
    let tree = parse::parse(&file, &bytes, &mut environment, diagnostics)?;
    let is_strict = tree.child("version").is_some_and(|node| node.is_text("2"));
    let mut checker = check::Checker {
        diagnostics,
        is_strict,
        is_later: false,
    };
    let root = checker.block(&tree, root_table())?;
    Some(resolve::resolve(&root, sources, &file, diagnostics))
}

#[cfg(test)]
mod tests;
