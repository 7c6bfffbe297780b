//! What the loader has to say: every mistake with its place, its cause and, where there is one, the
//! remedy. It collects; showing is one line each (`Display`), the rest is the caller's.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::check::quoted;
use crate::elsewhere::known_elsewhere;
use crate::sections::root::ROOT;
use crate::suggest::{did_you_mean, nearest, nearness};
use crate::table::Table;

/// A place in a source: lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file as it was named, or `environment variable X`.
    pub file: Arc<str>,
    /// 0 = the source as a whole.
    pub line: u32,
    pub column: u32,
    /// Just behind the last character; equal to the start where nothing can be underlined.
    pub end_line: u32,
    pub end_column: u32,
}

/// A value and where it was written (or what it was derived from).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    pub value: T,
    pub place: Place,
}

/// How bad it is. Only `Error` prevents a configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Error,
    Warning,
    Note,
}

/// One thing to tell the user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    pub severity: Severity,
    pub place: Place,
    /// The cause, in words, without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The other place when two clash, and what it is.
    pub related: Option<(Place, String)>,
}

/// Shown at most; the rest is counted. Errors are kept before warnings, warnings before notes.
pub const DIAGNOSTICS_MAX: usize = 100;

/// Remembered at most while a file is read, so that a hostile file costs no memory.
const COLLECTED_MAX: usize = 10_000;

/// The collector that every part of the loader writes to.
#[derive(Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    seen: HashSet<Diagnostic>,
    errors: usize,
    dropped: usize,
}

impl Place {
    /// The source as a whole.
    pub fn whole(file: &Arc<str>) -> Self {
        Self {
            file: Arc::clone(file),
            line: 0,
            column: 0,
            end_line: 0,
            end_column: 0,
        }
    }

    /// Where some octets of a scalar stand, if it is written on one line just as it reads; else the whole of it.
    pub fn of_part(&self, text: &str, octets: &Range<usize>) -> Self {
        let letters = |text: Option<&str>| u32::try_from(text?.chars().count()).ok();
        let (Some(before), Some(inside), Some(all)) = (
            letters(text.get(..octets.start)),
            letters(text.get(octets.clone())),
            letters(Some(text)),
        ) else {
            return self.clone();
        };
        let written = self.end_column.saturating_sub(self.column);
        let quotes = match written.checked_sub(all) {
            Some(extra @ (0 | 2)) if self.line == self.end_line => extra / 2,
            _ => return self.clone(), // Escapes, folded lines, or another source.
        };
        let column = self.column + quotes + before;
        Self {
            column,
            end_column: column + inside,
            ..self.clone()
        }
    }

    /// A value that an environment variable gave.
    pub fn environment(variable: &str) -> Self {
        Self::whole(&Arc::from(format!("environment variable {variable}")))
    }
}

impl<T> Spanned<T> {
    pub fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

impl Severity {
    /// The word in front of the message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl Diagnostic {
    /// A diagnostic without help.
    pub fn new(severity: Severity, place: &Place, message: impl Into<String>) -> Self {
        Self {
            severity,
            place: place.clone(),
            message: message.into(),
            help: None,
            related: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the other place.
    #[must_use]
    pub fn with_related(mut self, place: &Place, what: impl Into<String>) -> Self {
        self.related = Some((place.clone(), what.into()));
        self
    }
}

impl Diagnostics {
    /// Takes one in. The same sentence about the same place (an anchor that is used twice) counts once.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.list.len() < COLLECTED_MAX && self.seen.contains(&diagnostic) {
            return;
        }
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.list.len() >= COLLECTED_MAX {
            self.dropped += 1;
            return;
        }
        self.seen.insert(diagnostic.clone());
        self.list.push(diagnostic);
    }

    /// An error without help.
    pub fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Diagnostic::new(Severity::Error, place, message));
    }

    /// An error with a remedy.
    pub fn error_help(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Diagnostic::new(Severity::Error, place, message).with_help(help));
    }

    /// A warning without help.
    pub fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Diagnostic::new(Severity::Warning, place, message));
    }

    /// A note.
    pub fn note(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Diagnostic::new(Severity::Note, place, message));
    }

    /// The known name nearest to an unknown one. Nobody reads the help of the thousandth mistake, so that
    /// comparing names costs a bounded time whatever the file.
    pub(crate) fn did_you_mean<'n>(
        &self,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> Option<String> {
        self.nearest(name, known).map(did_you_mean)
    }

    /// The known name that is meant, where it will be told.
    pub(crate) fn nearest<'n>(
        &self,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> Option<&'n str> {
        if self.list.len() >= DIAGNOSTICS_MAX {
            return None;
        }
        nearest(name, known)
    }

    /// The path of a key of another section that is nearer to an unknown one of `table` than `near`, which is the nearest
    /// there. One that is a single edit away is meant, whatever there is elsewhere.
    pub(crate) fn elsewhere(
        &self,
        name: &str,
        near: Option<&str>,
        table: &'static Table,
    ) -> Option<String> {
        if self.list.len() >= DIAGNOSTICS_MAX {
            return None;
        }
        let edits = near.and_then(|near| nearness(name, near));
        if edits.is_some_and(|edits| edits <= 1) {
            return None;
        }
        known_elsewhere(name, edits, table, &ROOT)
    }

    /// The same as [`Diagnostics::did_you_mean`] for what the file itself defines; without a near name, all of them when they are few.
    pub(crate) fn suggest<'n, I: Iterator<Item = &'n str>>(
        &self,
        what: &str,
        name: &str,
        known: impl Fn() -> I,
    ) -> Option<String> {
        const NAMES_MAX: usize = 10;
        self.did_you_mean(name, known()).or_else(|| {
            let mut names: Vec<&str> = known().take(NAMES_MAX + 1).collect();
            names.sort_unstable();
            let fits = !names.is_empty() && names.len() <= NAMES_MAX;
            fits.then(|| format!("the {what} are {}", quoted(names)))
        })
    }

    /// Whether anything prevents the configuration from being used.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// All of them in the order of their places, at most [`DIAGNOSTICS_MAX`] and one that counts the rest.
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        let Self {
            mut list, dropped, ..
        } = self;
        let hidden = list.len().saturating_sub(DIAGNOSTICS_MAX) + dropped;
        if hidden > 0 {
            list.sort_by(|a, b| (a.severity, &a.place).cmp(&(b.severity, &b.place)));
            list.truncate(DIAGNOSTICS_MAX);
        }
        // Stable: at one place the order in which they were found is the order of explanation.
        list.sort_by(|a, b| a.place.cmp(&b.place));
        if hidden > 0
            && let Some(last) = list.last()
        {
            let place = last.place.clone();
            list.push(Diagnostic::new(
                Severity::Note,
                &place,
                format!("and {hidden} more"),
            ));
        }
        list
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.file)
        } else {
            write!(f, "{}:{}:{}", self.file, self.line, self.column)
        }
    }
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: error: message`, then a line for the other place and one for the help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}",
            self.place,
            self.severity.name(),
            self.message
        )?;
        if let Some((place, what)) = &self.related {
            write!(f, "\n  {place}: {what}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics, Place, Severity};
    use std::sync::Arc;

    fn place(line: u32) -> Place {
        Place {
            line,
            column: 1,
            ..Place::whole(&Arc::from("a.yaml"))
        }
    }

    #[test]
    fn a_diagnostic_is_one_line_and_its_help() {
        let diagnostic = Diagnostic::new(Severity::Error, &place(3), "no such pool `x`")
            .with_related(&place(9), "the pools are here")
            .with_help("did you mean `y`?");
        assert_eq!(
            diagnostic.to_string(),
            "a.yaml:3:1: error: no such pool `x`\n  a.yaml:9:1: the pools are here\n  help: did you mean `y`?"
        );
    }

    #[test]
    fn errors_survive_a_flood_of_warnings() {
        let mut diagnostics = Diagnostics::default();
        for line in 1..=500 {
            diagnostics.warning(&place(line), "w");
            diagnostics.warning(&place(line), "w");
        }
        diagnostics.error(&place(501), "e");
        assert!(diagnostics.has_errors());
        let list = diagnostics.into_sorted();
        assert_eq!(list.len(), DIAGNOSTICS_MAX + 1);
        assert!(list.iter().any(|diagnostic| diagnostic.message == "e"));
        assert_eq!(list[DIAGNOSTICS_MAX].message, "and 401 more");
    }
}
