//! The head that a backend would get, and who wrote, changed or dropped what of it.

use balance_proto::{HeadEdits, HeadView, RequestView};

use super::text;

/// Who changes a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// It leaves out fields whose names some read as others (`underscores_in_headers`).
    Parser,
    /// What a proxy has to do: hop-by-hop fields, forwarding fields, Via, X-Request-ID.
    Hygiene,
    /// The filter at this position.
    Filter(usize),
    /// What belongs to the connection: Host, Connection, framing.
    Encoder,
}

/// A request head as it would be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentHead {
    pub method: String,
    pub path_and_query: String,
    /// Who replaced the path.
    pub path_author: Option<Author>,
    /// In the order of the wire.
    pub fields: Vec<SentField>,
    /// What the client sent and the backend does not see.
    pub lost: Vec<LostField>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentField {
    pub name: String,
    pub value: String,
    /// `None`: as the client sent it.
    pub author: Option<Author>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostField {
    pub name: String,
    pub value: String,
    pub author: Author,
}

/// Follows a head through its edits.
pub(super) struct Recorder {
    dropped: u128,
    /// The lines that were appended, and by whom.
    appended: Vec<(Line, Author)>,
    path: Option<Vec<u8>>,
    path_author: Option<Author>,
    lost: Vec<LostField>,
}

/// A field line: name and value.
type Line = (Vec<u8>, Vec<u8>);

impl Recorder {
    /// Begins with a head as it was received, and what the parser left of it.
    pub(super) fn new<V: RequestView>(head: &V, received: &[u8]) -> Self {
        let mut kept: Vec<Line> = (0..head.field_count())
            .map(|index| line(head, index))
            .collect();
        let lost = lines(received)
            .filter(|sent| take(&mut kept, sent).is_none())
            .map(|sent| LostField::new(&sent, Author::Parser))
            .collect();
        Self {
            dropped: 0,
            appended: Vec::new(),
            path: None,
            path_author: None,
            lost,
        }
    }

    /// Takes down what `author` has changed since the last time.
    pub(super) fn note<V: RequestView>(&mut self, author: Author, head: &V, edits: &HeadEdits) {
        let fresh = edits.dropped() & !self.dropped;
        self.dropped = edits.dropped();
        for index in (0..head.field_count()).filter(|index| fresh >> index & 1 == 1) {
            self.lost.push(LostField::new(&line(head, index), author));
        }
        let mut before = std::mem::take(&mut self.appended);
        for (name, value) in edits.appended() {
            let line = (name.to_vec(), value.to_vec());
            let known = before.iter().position(|(known, _)| *known == line);
            let whose = known.map_or(author, |position| before.remove(position).1);
            self.appended.push((line, whose));
        }
        if edits.path() != self.path.as_deref() {
            self.path = edits.path().map(<[u8]>::to_vec);
            self.path_author = Some(author);
        }
    }

    /// Whether the encoder wrote what hygiene left to it as the client had it (Content-Length): then it is not lost.
    fn regained(&mut self, (name, value): &Line) -> bool {
        let same = |field: &LostField| {
            field.name.as_bytes().eq_ignore_ascii_case(name) && field.value.as_bytes() == value
        };
        let position = self.lost.iter().position(same);
        position
            .map(|position| self.lost.remove(position))
            .is_some()
    }

    /// Tells the authors of the lines of `encoded`, which is `head` with `edits`.
    pub(super) fn finish<V: RequestView>(
        mut self,
        head: &V,
        edits: &HeadEdits,
        encoded: &[u8],
    ) -> SentHead {
        let mut unchanged: Vec<Line> = (0..head.field_count())
            .filter(|index| !edits.is_dropped(*index))
            .map(|index| line(head, index))
            .collect();
        let mut fields = Vec::new();
        for sent in lines(encoded) {
            let appended = self.appended.iter().position(|(line, _)| *line == sent);
            let author = match (take(&mut unchanged, &sent), appended) {
                (Some(_), _) => None,
                (None, Some(position)) => Some(self.appended.remove(position).1),
                (None, None) if self.regained(&sent) => None,
                (None, None) => Some(Author::Encoder),
            };
            fields.push(SentField {
                name: text(&sent.0),
                value: text(&sent.1),
                author,
            });
        }
        let encoder_lost = unchanged
            .iter()
            .map(|line| LostField::new(line, Author::Encoder));
        self.lost.extend(encoder_lost);
        SentHead {
            method: text(head.method()),
            path_and_query: text(edits.path().unwrap_or_else(|| head.path_and_query())),
            path_author: self.path_author,
            fields,
            lost: self.lost,
        }
    }
}

impl LostField {
    fn new((name, value): &Line, author: Author) -> Self {
        Self {
            name: text(name),
            value: text(value),
            author,
        }
    }
}

fn line<V: HeadView>(head: &V, index: usize) -> Line {
    let field = head.field(index);
    (field.name.to_vec(), field.value.to_vec())
}

/// The field lines of a head that was accepted or encoded.
fn lines(head: &[u8]) -> impl Iterator<Item = Line> {
    head.split(|byte| *byte == b'\n')
        .skip(1)
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at(colon);
            Some((name.to_vec(), value[1..].trim_ascii().to_vec()))
        })
}

/// Takes one such line out of `lines`.
fn take(lines: &mut Vec<Line>, wanted: &Line) -> Option<Line> {
    let position = lines.iter().position(|line| line == wanted)?;
    Some(lines.remove(position))
}
