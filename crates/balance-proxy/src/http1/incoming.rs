//! The body of a message that is being read: where it ends, and what of it is passed on.

use std::ops::Range;

use balance_proto::http1::{ChunkError, ChunkLimits, ChunkedDecoder, Keep};
use balance_proto::{BodyLength, ResponseBody};

use crate::exchange::sides::{Form, Piece};

/// What of a body is still to come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Incoming {
    Done,
    Exact(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

/// What was made of a buffer.
pub(crate) struct Taken {
    pub(crate) piece: Piece,
    /// What of the buffer belongs to the next message.
    pub(crate) excess: Range<usize>,
    pub(crate) payload_bytes: u64,
}

impl Incoming {
    pub(crate) fn of_request(body: BodyLength) -> Self {
        match body {
            BodyLength::Exact(0) => Self::Done,
            BodyLength::Exact(bytes) => Self::Exact(bytes),
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::new(ChunkLimits::default())),
        }
    }

    pub(crate) fn of_response(body: ResponseBody) -> Self {
        match body {
            ResponseBody::None | ResponseBody::Exact(0) => Self::Done,
            ResponseBody::Exact(bytes) => Self::Exact(bytes),
            ResponseBody::Chunked => Self::Chunked(ChunkedDecoder::new(ChunkLimits::default())),
            ResponseBody::UntilClose => Self::UntilClose,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes what belongs to the body from `buffer[range]`, in place.
    pub(crate) fn take(
        &mut self,
        buffer: &mut [u8],
        range: Range<usize>,
        form: Form,
    ) -> Result<Taken, ChunkError> {
        let start = range.start;
        match self {
            Self::Done => Ok(Taken {
                piece: Piece {
                    range: start..start,
                    form: Form::Payload,
                    last: true,
                },
                excess: range,
                payload_bytes: 0,
            }),
            Self::UntilClose => Ok(Taken {
                excess: range.end..range.end,
                payload_bytes: range.len() as u64,
                piece: Piece {
                    range,
                    form: Form::Payload,
                    last: false,
                },
            }),
            Self::Exact(left) => {
                let bytes = range
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                let end = start + bytes;
                *left -= bytes as u64;
                let last = *left == 0;
                if last {
                    *self = Self::Done;
                }
                Ok(Taken {
                    piece: Piece {
                        range: start..end,
                        form: Form::Payload,
                        last,
                    },
                    excess: end..range.end,
                    payload_bytes: bytes as u64,
                })
            }
            Self::Chunked(decoder) => {
                let keep = match form {
                    Form::Payload => Keep::Payload,
                    Form::Chunks => Keep::Framing,
                };
                let end = range.end;
                let filtered = decoder.filter(&mut buffer[range], keep)?;
                if filtered.done {
                    *self = Self::Done;
                }
                Ok(Taken {
                    piece: Piece {
                        range: start..start + filtered.kept,
                        form,
                        last: filtered.done,
                    },
                    excess: start + filtered.consumed..end,
                    payload_bytes: filtered.payload,
                })
            }
        }
    }
}
