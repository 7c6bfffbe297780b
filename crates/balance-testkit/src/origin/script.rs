//! What an origin does with one request: how it answers, when, and how it misbehaves.

use std::time::Duration;

use crate::strict::Field;

/// The answer to one request. The plain one is 200 with an empty body; every method changes one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    pub(super) answer: Answer,
    /// Sent before the final response, each as it is.
    pub(super) interim: Vec<Vec<u8>>,
    pub(super) delay: Duration,
    /// Whether the answer goes out before the body is read.
    pub(super) is_early: bool,
    /// After an early answer: whether the rest of the request is never read.
    pub(super) leaves_unread: bool,
    /// Whether `Expect: 100-continue` gets its 100.
    pub(super) withholds_continue: bool,
    /// Sends only so many bytes of the response, then does this.
    pub(super) cut: Option<(usize, After)>,
    /// Stops at this offset for this long.
    pub(super) pause: Option<(usize, Duration)>,
    /// At most so many bytes in one write, each its own segment.
    pub(super) bytes_per_write: Option<usize>,
    pub(super) after: After,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Response {
        status: u16,
        fields: Vec<Field>,
        body: ScriptBody,
    },
    Raw(Vec<u8>),
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ScriptBody {
    /// With Content-Length.
    Exact(Vec<u8>),
    /// Each part is one chunk.
    Chunked(Vec<Vec<u8>>, Vec<Field>),
    /// Without framing, ended by FIN.
    UntilClose(Vec<u8>),
    /// The body of the request, with Content-Length.
    Echo,
    /// No body and no framing fields but those that the script sets.
    Absent,
}

/// What follows when the answer, or the part of it that is sent, is out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum After {
    #[default]
    NextRequest,
    Close,
    Reset,
    /// Does nothing until the peer closes.
    Hang,
    /// Sends every further byte back, as after a 101.
    Tunnel,
}

impl Default for Answer {
    fn default() -> Self {
        Self::Response {
            status: 200,
            fields: Vec::new(),
            body: ScriptBody::Exact(Vec::new()),
        }
    }
}

impl Script {
    /// A response with this status and an empty body (none and no length with 1xx, 204 and 304).
    pub fn status(status: u16) -> Self {
        let has_body = status >= 200 && status != 204 && status != 304;
        let body = if has_body {
            ScriptBody::Exact(Vec::new())
        } else {
            ScriptBody::Absent
        };
        let answer = Answer::Response {
            status,
            fields: Vec::new(),
            body,
        };
        Self {
            answer,
            ..Self::default()
        }
    }

    /// 200 with this body and its Content-Length.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).body(body)
    }

    /// 200 with the request's body.
    pub fn echo() -> Self {
        Self::status(200).with_body(ScriptBody::Echo)
    }

    /// Exactly these bytes, whatever they are.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            answer: Answer::Raw(bytes.into()),
            ..Self::default()
        }
    }

    /// Reads the request and never answers.
    pub fn never() -> Self {
        Self {
            answer: Answer::Nothing,
            after: After::Hang,
            ..Self::default()
        }
    }

    /// Reads the request and closes without an answer.
    pub fn close() -> Self {
        Self {
            answer: Answer::Nothing,
            after: After::Close,
            ..Self::default()
        }
    }

    /// Reads the request and resets the connection.
    pub fn reset() -> Self {
        Self {
            answer: Answer::Nothing,
            after: After::Reset,
            ..Self::default()
        }
    }

    /// Accepts an upgrade to `protocol` and sends every byte back from then on.
    pub fn upgrade(protocol: &str) -> Self {
        let script = Self::status(101)
            .header("Connection", "Upgrade")
            .header("Upgrade", protocol);
        Self {
            after: After::Tunnel,
            ..script
        }
    }

    /// Adds a field to the response.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Answer::Response { fields, .. } = &mut self.answer {
            fields.push(Field {
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
        self
    }

    /// A body with Content-Length.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        self.with_body(ScriptBody::Exact(body.into()))
    }

    /// A chunked body, one chunk per part.
    #[must_use]
    pub fn chunked(self, parts: &[&[u8]]) -> Self {
        self.chunked_with_trailers(parts, &[])
    }

    /// A chunked body with trailer fields.
    #[must_use]
    pub fn chunked_with_trailers(self, parts: &[&[u8]], trailers: &[(&str, &str)]) -> Self {
        let parts = parts.iter().map(|part| part.to_vec()).collect();
        let field = |(name, value): &(&str, &str)| Field {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        self.with_body(ScriptBody::Chunked(
            parts,
            trailers.iter().map(field).collect(),
        ))
    }

    /// A body without framing that ends with the connection.
    #[must_use]
    pub fn until_close(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            after: After::Close,
            ..self.with_body(ScriptBody::UntilClose(body.into()))
        }
    }

    /// No body, and no Content-Length but one set with [`Script::header`].
    #[must_use]
    pub fn without_body(self) -> Self {
        self.with_body(ScriptBody::Absent)
    }

    /// An interim response before the final one.
    #[must_use]
    pub fn interim(mut self, status: u16, fields: &[(&str, &str)]) -> Self {
        let mut head = format!("HTTP/1.1 {status} \r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.interim.push(head.into_bytes());
        self
    }

    /// Waits before the first byte of the answer.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Stops for `duration` after `offset` bytes of the answer.
    #[must_use]
    pub fn pause_at(self, offset: usize, duration: Duration) -> Self {
        Self {
            pause: Some((offset, duration)),
            ..self
        }
    }

    /// Writes at most `bytes` at a time, so that the proxy reads them in pieces.
    #[must_use]
    pub fn in_pieces_of(self, bytes: usize) -> Self {
        Self {
            bytes_per_write: Some(bytes.max(1)),
            ..self
        }
    }

    /// Answers as soon as the head is there, and reads the body afterwards.
    #[must_use]
    pub fn early(self) -> Self {
        Self {
            is_early: true,
            ..self
        }
    }

    /// Answers as soon as the head is there, and never reads the body.
    #[must_use]
    pub fn early_and_unread(self) -> Self {
        Self {
            is_early: true,
            leaves_unread: true,
            ..self
        }
    }

    /// Sends no 100 to a request that expects one.
    #[must_use]
    pub fn without_continue(self) -> Self {
        Self {
            withholds_continue: true,
            ..self
        }
    }

    /// Closes when the answer is out, without having said so.
    #[must_use]
    pub fn then_close(self) -> Self {
        Self {
            after: After::Close,
            ..self
        }
    }

    /// Resets when the answer is out.
    #[must_use]
    pub fn then_reset(self) -> Self {
        Self {
            after: After::Reset,
            ..self
        }
    }

    /// Does nothing more when the answer is out, and keeps the connection open.
    #[must_use]
    pub fn then_hang(self) -> Self {
        Self {
            after: After::Hang,
            ..self
        }
    }

    /// Sends back every byte that follows the request.
    #[must_use]
    pub fn then_tunnel(self) -> Self {
        Self {
            after: After::Tunnel,
            ..self
        }
    }

    /// Closes after so many bytes of the answer.
    #[must_use]
    pub fn close_after_bytes(self, bytes: usize) -> Self {
        Self {
            cut: Some((bytes, After::Close)),
            ..self
        }
    }

    /// Resets after so many bytes of the answer.
    #[must_use]
    pub fn reset_after_bytes(self, bytes: usize) -> Self {
        Self {
            cut: Some((bytes, After::Reset)),
            ..self
        }
    }

    /// Falls silent after so many bytes of the answer.
    #[must_use]
    pub fn hang_after_bytes(self, bytes: usize) -> Self {
        Self {
            cut: Some((bytes, After::Hang)),
            ..self
        }
    }

    fn with_body(mut self, new: ScriptBody) -> Self {
        if let Answer::Response { body, .. } = &mut self.answer {
            *body = new;
        }
        self
    }

    /// The bytes of the final answer to a request with this method and body.
    pub(super) fn encode(&self, method: &str, request_body: &[u8]) -> Vec<u8> {
        match &self.answer {
            Answer::Nothing => Vec::new(),
            Answer::Raw(bytes) => bytes.clone(),
            Answer::Response {
                status,
                fields,
                body,
            } => {
                let mut bytes = format!("HTTP/1.1 {status} Scripted\r\n").into_bytes();
                for field in fields {
                    push_field(&mut bytes, &field.name, &field.value);
                }
                let encoded = body.encode(request_body, &mut bytes);
                bytes.extend_from_slice(b"\r\n");
                if method != "HEAD" {
                    bytes.extend_from_slice(&encoded); // RFC 9110 §9.3.2
                }
                bytes
            }
        }
    }
}

impl ScriptBody {
    /// Appends the framing field to the head and returns the framed body.
    fn encode(&self, request_body: &[u8], head: &mut Vec<u8>) -> Vec<u8> {
        match self {
            Self::Absent => Vec::new(),
            Self::UntilClose(body) => body.clone(),
            Self::Exact(body) => {
                push_field(head, "Content-Length", &body.len().to_string());
                body.clone()
            }
            Self::Echo => {
                push_field(head, "Content-Length", &request_body.len().to_string());
                request_body.to_vec()
            }
            Self::Chunked(parts, trailers) => {
                push_field(head, "Transfer-Encoding", "chunked");
                let mut body = Vec::new();
                for part in parts.iter().filter(|part| !part.is_empty()) {
                    body.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                    body.extend_from_slice(part);
                    body.extend_from_slice(b"\r\n");
                }
                body.extend_from_slice(b"0\r\n");
                for field in trailers {
                    push_field(&mut body, &field.name, &field.value);
                }
                body.extend_from_slice(b"\r\n");
                body
            }
        }
    }
}

fn push_field(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
}
