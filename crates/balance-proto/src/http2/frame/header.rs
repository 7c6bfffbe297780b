//! The nine octets before every frame (RFC 9113 §4.1), and the rules that can be checked with them alone.

use super::{FrameError, flags};
use crate::http2::error::Violation;

/// A stream's number, below 2^31. 0 is the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

impl StreamId {
    /// The connection itself.
    pub const CONNECTION: Self = Self(0);
    /// The last one there can be.
    pub const MAX: Self = Self(0x7fff_ffff);

    /// The reserved bit is ignored (RFC 9113 §4.1).
    pub const fn new(number: u32) -> Self {
        Self(number & Self::MAX.0)
    }

    /// As a number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether clients open streams with this id (RFC 9113 §5.1.1).
    pub const fn is_of_client(self) -> bool {
        self.0 & 1 == 1
    }

    /// The next one of the same side. `None` when there is none left.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(2) {
            Some(next) if next <= Self::MAX.0 => Some(Self(next)),
            _ => None,
        }
    }
}

/// The types of RFC 9113 §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// §6.1
    Data,
    /// §6.2
    Headers,
    /// §6.3
    Priority,
    /// §6.4
    Reset,
    /// §6.5
    Settings,
    /// §6.6
    PushPromise,
    /// §6.7
    Ping,
    /// §6.8
    GoAway,
    /// §6.9
    WindowUpdate,
    /// §6.10
    Continuation,
    /// Any other: ignored (RFC 9113 §4.1).
    Unknown(u8),
}

impl FrameKind {
    /// From the octet of a header.
    pub const fn of(octet: u8) -> Self {
        match octet {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::Reset,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            other => Self::Unknown(other),
        }
    }

    /// The octet of a header.
    pub const fn octet(self) -> u8 {
        match self {
            Self::Data => 0x0,
            Self::Headers => 0x1,
            Self::Priority => 0x2,
            Self::Reset => 0x3,
            Self::Settings => 0x4,
            Self::PushPromise => 0x5,
            Self::Ping => 0x6,
            Self::GoAway => 0x7,
            Self::WindowUpdate => 0x8,
            Self::Continuation => 0x9,
            Self::Unknown(octet) => octet,
        }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Of the payload; below 2^24.
    pub length: u32,
    /// The type.
    pub kind: FrameKind,
    /// See [`flags`]; unknown ones are ignored.
    pub flags: u8,
    /// The stream it belongs to.
    pub stream: StreamId,
}

impl FrameHeader {
    /// How long it is.
    pub const BYTES: usize = 9;

    /// Reads a header. Every nine octets are one.
    pub const fn parse(bytes: &[u8; Self::BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: FrameKind::of(kind),
            flags,
            stream: StreamId::new(u32::from_be_bytes([s0, s1, s2, s3])),
        }
    }

    /// Writes a header.
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.get().to_be_bytes();
        [l0, l1, l2, self.kind.octet(), self.flags, s0, s1, s2, s3]
    }

    /// Whether a flag is set.
    pub const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it ends its stream.
    pub const fn ends_stream(self) -> bool {
        matches!(self.kind, FrameKind::Data | FrameKind::Headers) && self.has(flags::END_STREAM)
    }

    /// Checks what can be checked before the payload is there, so that no wrong one is waited for.
    ///
    /// # Errors
    /// A length or a stream that this type cannot have.
    pub fn check(self, frame_bytes_max: u32) -> Result<(), FrameError> {
        // RFC 9113 §4.2 asks for the connection only where its state could change. We never skip what is too large.
        if self.length > frame_bytes_max {
            return Err(FrameError::connection(Violation::FrameTooLarge));
        }
        self.check_stream()?;
        self.check_length()
    }

    fn check_stream(self) -> Result<(), FrameError> {
        let is_on_connection = self.stream == StreamId::CONNECTION;
        let fits = match self.kind {
            FrameKind::Settings | FrameKind::Ping | FrameKind::GoAway => is_on_connection,
            FrameKind::WindowUpdate | FrameKind::Unknown(_) => true,
            _ => !is_on_connection,
        };
        match fits {
            true => Ok(()),
            false => Err(FrameError::connection(Violation::StreamMisplaced)),
        }
    }

    fn check_length(self) -> Result<(), FrameError> {
        let padding = u32::from(self.has(flags::PADDED));
        let priority = if self.has(flags::PRIORITY) { 5 } else { 0 };
        let fits = match self.kind {
            FrameKind::Data => self.length >= padding,
            FrameKind::Headers => self.length >= padding.saturating_add(priority),
            FrameKind::Priority => self.length == 5,
            FrameKind::Reset | FrameKind::WindowUpdate => self.length == 4,
            FrameKind::Settings if self.has(flags::ACK) => self.length == 0,
            FrameKind::Settings => self.length.is_multiple_of(6),
            FrameKind::Ping => self.length == 8,
            FrameKind::GoAway => self.length >= 8,
            FrameKind::PushPromise | FrameKind::Continuation | FrameKind::Unknown(_) => true,
        };
        match (fits, self.kind) {
            (true, _) => Ok(()),
            // RFC 9113 §6.3
            (false, FrameKind::Priority) => Err(FrameError::stream(Violation::FrameSizeInvalid)),
            (false, _) => Err(FrameError::connection(Violation::FrameSizeInvalid)),
        }
    }
}
