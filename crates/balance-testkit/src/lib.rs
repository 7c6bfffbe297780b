//! What the tests stand on: a strict recording HTTP/1 backend, a raw client, TCP peers, the proxy as a
//! child process, and real origins. For tests only: it blocks, and waits with deadlines, not sleeps.
//!
//! It shares no code with the proxy on purpose. Its parser is a second opinion: what this one refuses
//! must not have been forwarded.

mod accepting;
mod careless_proxy;
mod client;
mod client_hello;
mod configured;
mod fault_proxy;
mod held_port;
pub mod http2;
mod origin;
mod pace;
mod pause;
mod peer;
mod process;
mod real_origin;
mod seeded;
mod silent;
pub mod sm_data;
mod strict;
mod temp_dir;
mod tls_front;

pub use careless_proxy::{CarelessProxy, Carelessness};
pub use client::{RawClient, Response, at_every_split};
pub use client_hello::client_hello;
pub use configured::ConfiguredProgram;
pub use fault_proxy::{Carried, Fault, FaultAction, FaultProxy, Place};
pub use held_port::HeldPort;
pub use origin::{OnConnect, Origin, OriginOptions, Recorded, Script};
pub use pace::{Pace, at_some_pace};
pub use pause::pause;
pub use peer::{DeadBackend, EchoServer, End, PeerMode, Session};
pub use process::{Process, ProcessOptions, Signal};
pub use real_origin::{Program, RealOrigin, Sight};
pub use seeded::SeededNumbers;
pub use silent::SilentAddress;
pub use strict::{Field, Framing, StrictError};
pub use temp_dir::TempDir;
pub use tls_front::{Secured, TlsFront, TlsFrontOptions};

/// How long anything here waits before it is a failure. Long, because loaded machines are slow; no test
/// that passes ever waits for it.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
