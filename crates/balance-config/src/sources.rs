//! Everything the loader needs from outside, as arguments: files and environment variables. The loader
//! itself opens nothing.

use std::collections::BTreeMap;
use std::io;

/// Where a configuration comes from.
pub trait Sources {
    /// The bytes of a file, at most `bytes_max + 1` of them: one more than allowed tells the loader that
    /// there is too much.
    ///
    /// # Errors
    /// What the operating system says; the loader adds the path.
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Vec<u8>>;

    /// An environment variable; `None` when it is not set (or not UTF-8).
    fn env(&self, name: &str) -> Option<String>;

    /// The paths that match `pattern` (`conf.d/*.yaml`), sorted.
    ///
    /// # Errors
    /// What the operating system says about the folder.
    fn list(&self, pattern: &str) -> io::Result<Vec<String>>;
}

/// Sources held in memory: embedded configurations and tests.
#[derive(Clone, Debug, Default)]
pub struct MemorySources {
    files: BTreeMap<String, Vec<u8>>,
    env: BTreeMap<String, String>,
}

impl MemorySources {
    /// One file and nothing else.
    pub fn file(path: &str, text: impl Into<Vec<u8>>) -> Self {
        Self::default().with_file(path, text)
    }

    /// Adds a file.
    #[must_use]
    pub fn with_file(mut self, path: &str, text: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), text.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl Sources for MemorySources {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        let bytes = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(bytes[..bytes.len().min(bytes_max.saturating_add(1))].to_vec())
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    /// Knows one `*`, which stands for any characters but `/`.
    fn list(&self, pattern: &str) -> io::Result<Vec<String>> {
        let Some((before, after)) = pattern.split_once('*') else {
            return Ok(self
                .files
                .keys()
                .filter(|path| *path == pattern)
                .cloned()
                .collect());
        };
        let matches = |path: &&String| {
            path.strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|middle| !middle.contains('/'))
        };
        Ok(self.files.keys().filter(matches).cloned().collect())
    }
}
