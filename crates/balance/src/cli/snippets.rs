//! Diagnostics as a compiler shows them: the line of the file with the place underlined, the cause, the
//! remedy, and the second place when two clash.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use balance_config::{Diagnostic, Place, Severity, Sources};

use super::files::SystemSources;

/// The files of this machine, and the text of each that was read: what is shown is what was judged, also
/// when the configuration came through a pipe that cannot be read again.
#[derive(Debug, Default)]
pub(crate) struct ShownSources {
    texts: RefCell<HashMap<String, String>>,
}

impl Sources for ShownSources {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        let bytes = SystemSources.read(path, bytes_max)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.texts.borrow_mut().insert(path.to_owned(), text);
        Ok(bytes)
    }

    fn env(&self, name: &str) -> Option<String> {
        SystemSources.env(name)
    }

    fn list(&self, pattern: &str) -> io::Result<Vec<String>> {
        SystemSources.list(pattern)
    }
}

impl ShownSources {
    /// The diagnostic with its snippets, without a line break at the end.
    pub(crate) fn show(&self, diagnostic: &Diagnostic, colours: bool) -> String {
        let renderer = if colours {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        render(&self.texts.borrow(), diagnostic, &renderer)
    }
}

fn render(texts: &HashMap<String, String>, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(diagnostic.message.as_str());
    let mut group = with_place(Group::with_title(title), texts, &diagnostic.place);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let mut report = vec![group];
    if let Some((place, what)) = &diagnostic.related {
        let title = Level::NOTE.secondary_title(what.as_str());
        report.push(with_place(Group::with_title(title), texts, place));
    }
    renderer.render(&report)
}

/// Adds the line, else the name of the place: a file as a whole, or an environment variable.
fn with_place<'a>(
    group: Group<'a>,
    texts: &'a HashMap<String, String>,
    place: &'a Place,
) -> Group<'a> {
    let line = texts
        .get(&*place.file)
        .and_then(|text| line_of(text, place));
    match line {
        Some((line, span)) => group.element(
            Snippet::source(line)
                .line_start(place.line as usize)
                .path(&*place.file)
                .annotation(AnnotationKind::Primary.span(span)),
        ),
        None if place.line == 0 => group.element(Origin::path(&*place.file)),
        None => group.element(
            Origin::path(&*place.file)
                .line(place.line as usize)
                .char_column(place.column as usize),
        ),
    }
}

/// The first line of a place and what to underline in it. A section of many lines is known by its first.
fn line_of<'t>(text: &'t str, place: &Place) -> Option<(&'t str, Range<usize>)> {
    let line = text.lines().nth((place.line as usize).checked_sub(1)?)?;
    let at = |column: u32| {
        let mut letters = line.char_indices();
        let letter = letters.nth((column as usize).saturating_sub(1));
        letter.map_or(line.len(), |(offset, _)| offset)
    };
    let start = at(place.column);
    let end = if place.end_line > place.line {
        line.trim_end().len()
    } else {
        at(place.end_column)
    };
    Some((line, start..end.max(start)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use annotate_snippets::Renderer;
    use balance_config::{Diagnostic, Place, Severity};

    use super::render;

    fn place(line: u32, column: u32, end_line: u32, end_column: u32) -> Place {
        Place {
            line,
            column,
            end_line,
            end_column,
            ..Place::whole(&Arc::from("a.yaml"))
        }
    }

    fn check(diagnostic: &Diagnostic, expected: &str) {
        let text = "mode: htpp\nname: \"ä\" # and\npools:\n  a: 1\n  b: 2\n".to_owned();
        let texts = HashMap::from([("a.yaml".to_owned(), text)]);
        let seen = render(&texts, diagnostic, &Renderer::plain());
        assert_eq!(seen, expected.trim_matches('\n'), "\n{seen}\n");
    }

    #[test]
    fn the_place_is_underlined_and_the_second_one_noted() {
        let error = |place: &Place| Diagnostic::new(Severity::Error, place, "no");
        check(
            &error(&place(1, 7, 1, 11))
                .with_help("did you mean `http`?")
                .with_related(&place(4, 3, 4, 4), "it is set here first"),
            "
error: no
 --> a.yaml:1:7
  |
1 | mode: htpp
  |       ^^^^
  |
  = help: did you mean `http`?
note: it is set here first
 --> a.yaml:4:3
  |
4 |   a: 1
  |   ^
",
        );
        check(
            &error(&place(2, 7, 2, 10)),
            "
error: no
 --> a.yaml:2:7
  |
2 | name: \"ä\" # and
  |       ^^^
",
        );
        check(
            &error(&place(4, 3, 5, 7)),
            "
error: no
 --> a.yaml:4:3
  |
4 |   a: 1
  |   ^^^^
",
        );
    }

    #[test]
    fn a_place_without_a_line_has_its_name() {
        let warning = |place: &Place| Diagnostic::new(Severity::Warning, place, "no");
        check(&warning(&place(0, 0, 0, 0)), "\nwarning: no\n--> a.yaml\n");
        check(
            &warning(&place(99, 1, 99, 1)),
            "\nwarning: no\n--> a.yaml:99:1\n",
        );
        check(
            &warning(&Place::environment("X")),
            "\nwarning: no\n--> environment variable X\n",
        );
    }
}
