//! `transform.strip_prefix` and `transform.add_prefix`.

use std::fmt;

use balance_core::PathPolicy;
use balance_proto::path::PathAndQuery;
use balance_proto::{HeadEdits, RequestView};

use super::{FilterContext, Verdict};
use crate::own_response::OwnResponse;

/// What is done to a path, in this order: strip, then add.
#[derive(Clone, Debug, Default)]
pub struct PathRewrite {
    strip_prefix: Box<[u8]>,
    add_prefix: Box<[u8]>,
}

/// Why a path rewrite cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRewriteError {
    #[error("`{0}` does not start with `/`")]
    SlashMissing(String),
    #[error("`{0}` contains a character that a path cannot have")]
    CharacterInvalid(String),
}

impl PathRewrite {
    /// Checks and compiles a rewrite.
    ///
    /// # Errors
    /// What is wrong with it, for the user.
    pub fn new(
        strip_prefix: Option<&str>,
        add_prefix: Option<&str>,
    ) -> Result<Self, PathRewriteError> {
        Ok(Self {
            strip_prefix: checked_prefix(strip_prefix)?,
            add_prefix: checked_prefix(add_prefix)?,
        })
    }

    /// The path and query that a request for `target` goes on with; `None` when it is refused, as serving
    /// would refuse it.
    pub fn rewrite(&self, target: &[u8], policy: PathPolicy) -> Option<Vec<u8>> {
        let path = self.rewritten(target);
        PathAndQuery::new(&path, policy).is_ok().then_some(path)
    }

    pub(super) fn apply<V: RequestView>(
        &self,
        request: &V,
        edits: &mut HeadEdits,
        context: &FilterContext,
    ) -> Verdict {
        let current = edits.path().unwrap_or_else(|| request.path_and_query());
        if !current.starts_with(b"/") {
            return Verdict::Continue; // `*` of OPTIONS has no path to rewrite
        }
        let path = self.rewritten(current);
        // A rewrite must not make a path that routing would have refused (robustness SM-28).
        match PathAndQuery::new(&path, context.paths) {
            Ok(path) => {
                edits.replace_path(path);
                Verdict::Continue
            }
            Err(_) => Verdict::Respond(OwnResponse::bad_request(
                "the rewritten path is not allowed",
            )),
        }
    }

    fn rewritten(&self, current: &[u8]) -> Vec<u8> {
        let rest = current.strip_prefix(&*self.strip_prefix).unwrap_or(current);
        let mut path = Vec::with_capacity(self.add_prefix.len() + 1 + rest.len());
        path.extend_from_slice(&self.add_prefix);
        match rest.first() {
            // Stripping `/v1` from `/v1/users` leaves a slash, stripping `/v1/` does not.
            Some(b'/') => {
                if path.last() == Some(&b'/') {
                    path.pop();
                }
            }
            _ => {
                if path.last() != Some(&b'/') {
                    path.push(b'/');
                }
            }
        }
        path.extend_from_slice(rest);
        path
    }
}

/// What it does, for people.
impl fmt::Display for PathRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("strip", &self.strip_prefix), ("add", &self.add_prefix)];
        let parts = parts.iter().filter(|(_, prefix)| !prefix.is_empty());
        for (index, (verb, prefix)) in parts.enumerate() {
            let separator = if index == 0 { "path: " } else { ", " };
            write!(
                f,
                "{separator}{verb} prefix {}",
                String::from_utf8_lossy(prefix)
            )?;
        }
        Ok(())
    }
}

fn checked_prefix(prefix: Option<&str>) -> Result<Box<[u8]>, PathRewriteError> {
    let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else {
        return Ok(Box::default());
    };
    if !prefix.starts_with('/') {
        return Err(PathRewriteError::SlashMissing(prefix.to_owned()));
    }
    let has_query = prefix.contains('?');
    if has_query || PathAndQuery::new(prefix.as_bytes(), PathPolicy::Off).is_err() {
        return Err(PathRewriteError::CharacterInvalid(prefix.to_owned()));
    }
    Ok(prefix.as_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::{PathRewrite, PathRewriteError};

    #[test]
    fn bad_prefixes_are_refused() {
        let slash = PathRewriteError::SlashMissing("v1".into());
        assert_eq!(PathRewrite::new(Some("v1"), None).unwrap_err(), slash);
        let query = PathRewriteError::CharacterInvalid("/a?b".into());
        assert_eq!(PathRewrite::new(None, Some("/a?b")).unwrap_err(), query);
        let space = PathRewriteError::CharacterInvalid("/a b".into());
        assert_eq!(PathRewrite::new(None, Some("/a b")).unwrap_err(), space);
    }
}
