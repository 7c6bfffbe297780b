//! `${VAR}` and `${VAR:-default}` inside scalars. It runs after YAML, so that no value can add keys; a
//! plain scalar is typed afterwards by what it then says.

use std::rc::Rc;

use crate::diagnostics::{Diagnostics, Place};
use crate::scalar::is_token;
use crate::sources::Sources;

/// What all expansions of a load may add up to.
const EXPANDED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The variables, and how much has been expanded so far.
pub(crate) struct Environment<'s> {
    sources: &'s dyn Sources,
    expanded_bytes: usize,
}

impl<'s> Environment<'s> {
    pub(crate) fn new(sources: &'s dyn Sources) -> Self {
        Self {
            sources,
            expanded_bytes: 0,
        }
    }

    /// The text with its variables replaced. What is wrong is reported and left as it stands.
    pub(crate) fn expand(
        &mut self,
        text: &str,
        place: &Place,
        diagnostics: &mut Diagnostics,
    ) -> Rc<str> {
        if !text.contains("${") {
            return Rc::from(text);
        }
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from_dollar) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = &from_dollar[2..];
                continue;
            }
            expanded.push_str(before);
            let Some(end) = from_dollar.find('}') else {
                diagnostics.error_help(
                    place,
                    "`${` without a closing `}`",
                    "write `$${` for the two characters themselves",
                );
                rest = "";
                continue;
            };
            match self.lookup(&from_dollar[2..end]) {
                Ok(value) => expanded.push_str(&value),
                Err((message, help)) => diagnostics.error_help(place, message, help),
            }
            rest = &from_dollar[end + 1..];
            if self.expanded_bytes + expanded.len() > EXPANDED_BYTES_MAX {
                diagnostics.error(place, "the variables expand to more than 4 MiB");
                break;
            }
        }
        expanded.push_str(rest);
        self.expanded_bytes += expanded.len();
        Rc::from(expanded)
    }

    /// `NAME` or `NAME:-default`; as in a shell, the default also stands in for an empty value.
    fn lookup(&self, reference: &str) -> Result<String, (String, String)> {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_variable_name(name) {
            return Err((
                format!("`{name}` is not the name of a variable"),
                "write `$${` for the two characters themselves".to_owned(),
            ));
        }
        let value = self.sources.env(name);
        match (
            value.filter(|value| default.is_none() || !value.is_empty()),
            default,
        ) {
            (Some(value), _) => Ok(value),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err((
                format!("the environment variable {name} is not set"),
                format!("set it, or give a default: `${{{name}:-value}}`"),
            )),
        }
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|letter: char| letter.is_ascii_digit())
        && is_token(name)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::Environment;
    use crate::diagnostics::{Diagnostics, Place};
    use crate::sources::MemorySources;

    fn check(text: &str, expected: &str, errors: bool) {
        let sources = MemorySources::default()
            .with_env("PORT", "8080")
            .with_env("EMPTY", "");
        let mut diagnostics = Diagnostics::default();
        let place = Place::environment("test");
        let seen = Environment::new(&sources).expand(text, &place, &mut diagnostics);
        assert_eq!(&*seen, expected, "{text}");
        assert_eq!(diagnostics.has_errors(), errors, "{text}");
    }

    #[test]
    fn variables_defaults_and_escapes() {
        check("none", "none", false);
        check(":${PORT}", ":8080", false);
        check("${PORT}${PORT}", "80808080", false);
        check("${NO:-9}", "9", false);
        check("${NO:-}", "", false);
        check("${EMPTY:-x}", "x", false);
        check("${EMPTY}", "", false);
        check("$${PORT}", "${PORT}", false);
        check("a$b", "a$b", false);
        check("${NO}", "", true);
        check("${PORT", "", true);
        check("${9}", "", true);
        check("${}", "", true);
    }
}
