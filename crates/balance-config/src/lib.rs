//! The YAML loader: sources to a tree with spans to [`Config`], all mistakes at once.
//!
//! `include` makes a tree of the files, each parsed by `parse`, `check` holds it against one [`Table`] a section, `sections` read the
//! checked blocks, `resolve` looks at them together: names, inheritance, modes. It opens no file and no
//! socket ([`Sources`] is an argument), resolves no name and compiles nothing: that is control's.

mod alias;
mod check;
mod config;
mod diagnostics;
mod elsewhere;
mod environment;
mod include;
mod layers;
mod parse;
mod patterns;
mod reference;
mod resolve;
mod scalar;
mod schema;
mod sections;
mod sources;
mod suggest;
mod table;
mod tls_material;
mod tree;
mod value;

use std::sync::Arc;

pub use alias::{Alias, Target, aliases_of};
pub use config::{
    AccessLog, Action, Admin, Backend, ClientAuth, Config, HandshakeSettings, HeaderEdit,
    HostPattern, Listener, ListenerTls, LogFormat, LogLevel, Logging, Metrics, Mirror, Mode,
    NamedMatch, PathMatch, Pool, PoolHealth, PoolKind, PoolLimits, Profiling, Redirect, Respond,
    Route, RouteMatch, RouteScope, RouteTest, Share, Shutdown, TlsCertificate, Transform,
    UpstreamTls, ValueMatch, Version,
};
pub use diagnostics::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics, Place, Severity, Spanned};
pub use reference::reference;
pub use schema::schema;
pub use sources::{MemorySources, Sources};
pub use table::{Key, Kind, Table};
pub use tls_material::{CertificateFiles, TlsMaterial};

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// `None` when there is any error.
    pub config: Option<Config>,
    /// Whatever else is wrong.
    pub tls_material: TlsMaterial,
    /// Every regular expression in it, whatever else is wrong.
    pub patterns: Vec<Spanned<String>>,
    /// In the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads the configuration at `path`. Nothing is remembered and nothing is applied.
pub fn load(sources: &dyn Sources, path: &str) -> Loaded {
    let mut diagnostics = Diagnostics::default();
    let mut loaded = Loaded {
        config: None,
        tls_material: TlsMaterial::default(),
        patterns: Vec::new(),
        diagnostics: Vec::new(),
    };
    let config = load_into(sources, path, &mut loaded, &mut diagnostics);
    loaded.config = config.filter(|_| !diagnostics.has_errors());
    loaded.diagnostics = diagnostics.into_sorted();
    loaded
}

/// The table of the file itself; all others hang from it.
pub fn root_table() -> &'static Table {
    &sections::root::ROOT
}

fn load_into(
    sources: &dyn Sources,
    path: &str,
    loaded: &mut Loaded,
    diagnostics: &mut Diagnostics,
) -> Option<Config> {
    let read = include::read(sources, path, root_table(), diagnostics)?;
    let root = check_tree(&read.tree, diagnostics)?;
    loaded.tls_material = tls_material::collect(&root, diagnostics);
    loaded.patterns = patterns::collect(&root);
    if read.is_partial {
        return None; // What is missing in the tree is not missing in the files.
    }
    let file: Arc<str> = Arc::from(path);
    Some(resolve::resolve(&root, sources, &file, diagnostics))
}

/// Holds a whole tree against the tables.
fn check_tree(tree: &tree::Node, diagnostics: &mut Diagnostics) -> Option<value::Block> {
    let is_strict = tree.child("version").is_some_and(|node| node.is_text("2"));
    let mut checker = check::Checker {
        diagnostics,
        is_strict,
        is_later: false,
    };
    checker.block(tree, root_table())
}

#[cfg(test)]
mod tests;
