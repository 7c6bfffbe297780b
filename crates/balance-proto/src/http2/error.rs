//! Error codes, and the rules that a peer can break: one variant each, with its code.

use super::hpack::DecodeError;

/// An error code as it is sent (RFC 9113 §7). Unknown ones keep their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// A rule was broken that has no code of its own.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Something unexpected on our side.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More was sent than the window allowed.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame on a stream that was half-closed or closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of a size that it cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The stream was not processed at all: it may be tried again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is not needed any more.
    pub const CANCEL: Self = Self(0x8);
    /// The compression state is lost.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The connection of a CONNECT request failed.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// Too much of what makes no progress.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// The transport is not safe enough.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// The request has to be made over HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// The name of the registry, for logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NO_ERROR => "NO_ERROR",
            Self::PROTOCOL_ERROR => "PROTOCOL_ERROR",
            Self::INTERNAL_ERROR => "INTERNAL_ERROR",
            Self::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
            Self::SETTINGS_TIMEOUT => "SETTINGS_TIMEOUT",
            Self::STREAM_CLOSED => "STREAM_CLOSED",
            Self::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR",
            Self::REFUSED_STREAM => "REFUSED_STREAM",
            Self::CANCEL => "CANCEL",
            Self::COMPRESSION_ERROR => "COMPRESSION_ERROR",
            Self::CONNECT_ERROR => "CONNECT_ERROR",
            Self::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM",
            Self::INADEQUATE_SECURITY => "INADEQUATE_SECURITY",
            Self::HTTP_1_1_REQUIRED => "HTTP_1_1_REQUIRED",
            _ => "unknown",
        }
    }
}

/// What a peer did wrong. Whether it costs the stream or the connection is said by where it is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// RFC 9113 §3.4.
    #[error("the connection does not begin with the HTTP/2 preface")]
    PrefaceInvalid,
    /// RFC 9113 §3.4.
    #[error("the first frame is not SETTINGS")]
    SettingsMissing,
    /// RFC 9113 §4.2.
    #[error("a frame is larger than SETTINGS_MAX_FRAME_SIZE")]
    FrameTooLarge,
    /// RFC 9113 §4.2 and §6.
    #[error("a frame has a length that its type cannot have")]
    FrameSizeInvalid,
    /// RFC 9113 §6: stream 0 where a stream must be, or the reverse.
    #[error("a frame belongs to a stream that its type cannot have")]
    StreamMisplaced,
    /// RFC 9113 §6.1 and §6.2.
    #[error("a frame is padded with its whole length or more")]
    PaddingTooLong,
    /// RFC 9113 §6.10 and §4.3.
    #[error("a field block is interrupted by another frame")]
    BlockInterrupted,
    /// RFC 9113 §6.10.
    #[error("CONTINUATION without a field block that is open")]
    ContinuationUnexpected,
    /// RFC 9113 §5.1: only HEADERS and PRIORITY may come first.
    #[error("a frame on a stream that was never opened")]
    StreamIdle,
    /// RFC 9113 §5.1.1.
    #[error("a stream is opened with an id of the wrong side, or not above all before it")]
    StreamIdInvalid,
    /// RFC 9113 §5.1.
    #[error("a frame on a stream that has ended")]
    StreamClosed,
    /// RFC 9113 §5.1.2.
    #[error("more streams than SETTINGS_MAX_CONCURRENT_STREAMS")]
    TooManyStreams,
    /// RFC 7540 §5.3.1; RFC 9113 left priorities to others, but no sane client says this.
    #[error("a stream depends on itself")]
    DependsOnItself,
    /// RFC 9113 §6.6 and §8.4: we switch push off, and no client may push.
    #[error("a push was promised")]
    PushPromised,
    /// RFC 9113 §6.5.2.
    #[error("a setting has a value that it cannot have")]
    SettingInvalid,
    /// RFC 9113 §6.5.2.
    #[error("the initial window is larger than 2^31-1")]
    InitialWindowTooLarge,
    /// RFC 9113 §6.9.
    #[error("a window is increased by nothing")]
    WindowIncrementZero,
    /// RFC 9113 §6.9.1 and §6.9.2.
    #[error("a window becomes larger than 2^31-1")]
    WindowOverflow,
    /// RFC 9113 §6.9.
    #[error("more data than the window allows")]
    WindowExceeded,
    /// RFC 9113 §4.3.
    #[error("{0}")]
    Compression(#[from] DecodeError),
    /// RFC 9113 §8.1.1.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// RFC 9113 §10.5.
    #[error("{0}")]
    Flood(#[from] Flood),
}

impl Violation {
    /// What is told to the peer.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::FrameTooLarge | Self::FrameSizeInvalid => ErrorCode::FRAME_SIZE_ERROR,
            Self::StreamClosed => ErrorCode::STREAM_CLOSED,
            Self::TooManyStreams => ErrorCode::REFUSED_STREAM,
            Self::InitialWindowTooLarge | Self::WindowOverflow | Self::WindowExceeded => {
                ErrorCode::FLOW_CONTROL_ERROR
            }
            Self::Compression(_) => ErrorCode::COMPRESSION_ERROR,
            Self::Flood(_) => ErrorCode::ENHANCE_YOUR_CALM,
            _ => ErrorCode::PROTOCOL_ERROR,
        }
    }
}

/// Why a message is malformed (RFC 9113 §8.1.1). It costs the stream, and nothing of it is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// RFC 9113 §8.2.1: empty, upper case, or not a token.
    #[error("a field name is not a token in lower case")]
    NameInvalid,
    /// RFC 9113 §8.2.1.
    #[error("a field value has a control character or white space at its ends")]
    ValueInvalid,
    /// RFC 9113 §8.3.
    #[error("an unknown pseudo-header field, or one of the other kind of message")]
    PseudoUnknown,
    /// RFC 9113 §8.3.1.
    #[error("a pseudo-header field is given more than once")]
    PseudoDuplicate,
    /// RFC 9113 §8.3.
    #[error("a pseudo-header field behind a regular one, or in trailers")]
    PseudoMisplaced,
    /// RFC 9113 §8.3.1 and §8.3.2.
    #[error("a pseudo-header field is missing")]
    PseudoMissing,
    /// RFC 9113 §8.3.1 and §8.3.2.
    #[error("a pseudo-header field has a value that it cannot have")]
    PseudoInvalid,
    /// RFC 9113 §8.2.2.
    #[error("a field that belongs to one connection")]
    ConnectionSpecific,
    /// RFC 9113 §8.3.1.
    #[error("Host names another authority than :authority")]
    AuthorityMismatch,
    /// RFC 9113 §8.1.1.
    #[error("the content is not as long as Content-Length says")]
    LengthMismatch,
    /// RFC 9113 §8.1: trailers end a message.
    #[error("a second head that does not end the stream")]
    TrailersUnended,
    /// RFC 9113 §8.1.
    #[error("an interim response that ends the stream")]
    InterimEnds,
    /// RFC 9113 §8.1.
    #[error("data before the head of a response")]
    DataBeforeHead,
    /// RFC 9113 §8.6.
    #[error("101 does not exist in HTTP/2")]
    SwitchingProtocols,
    /// A response or trailers above the limit; a request gets 431.
    #[error("the head or the trailers are too large")]
    TooLarge,
    /// RFC 9110 §8.6: what a response says about its length.
    #[error("Content-Length is not one number")]
    LengthInvalid,
}

/// What there was too much of (RFC 9113 §10.5). Each of them is cheap to send and makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flood {
    /// Streams that the peer reset, or made us reset.
    #[error("too many streams were reset")]
    Resets,
    /// PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, frames on closed streams, unknown frames.
    #[error("too many frames that make no progress")]
    IdleFrames,
    /// Frames of one field block.
    #[error("too many CONTINUATION frames in a row")]
    Continuations,
    /// Bytes of one field block.
    #[error("a field block is too large")]
    BlockBytes,
}
