//! Listeners, sockets, splice and the byte relay: everything that speaks to the kernel.
//!
//! It knows no protocol above TCP and makes no policy: deadlines, limits and causes belong to its callers.
//! The only crate that may use unsafe code, and only in `sys`.
//!
//! | module    | what                                                                   |
//! |-----------|------------------------------------------------------------------------|
//! | `bind`    | one socket per worker on an address that nobody else owns              |
//! | `accept`  | accepting, and which errors mean "wait"                                |
//! | `stream`  | a connection, TCP or unix, as the data path polls it                   |
//! | `connect` | opening one                                                            |
//! | `socket`  | options, and looking at a socket without reading it                    |
//! | `splice`  | pipes and zero-copy moves between sockets                              |
//! | `relay`   | copying between two connections, both ways, with half-close            |
//! | `limits`  | descriptors and processors                                             |
//! | `sampler` | call stacks of all threads, by the CPU time they use                   |

mod accept;
mod bind;
mod connect;
mod limits;
mod relay;
mod sampler;
mod socket;
mod splice;
mod stream;
mod sys;

pub use accept::{ACCEPTS_PER_WAKE_MAX, AcceptError, Accepted, Acceptor, Peer};
pub use bind::{BindError, BoundListener, ListenOptions, ListenSocket, LocalAddress, bind};
pub use connect::{ConnectOptions, ConnectTarget, connect, is_out_of_resources};
pub use limits::{DescriptorLimit, cpu_count, descriptor_limit, raise_descriptor_limit};
pub use relay::{
    BufferSource, DirectionBytes, Operation, Relay, RelayEnd, RelayError, RelayIo, RelayOptions,
    Side,
};
pub use sampler::{Sample, Sampler, threads};
pub use socket::{
    Keepalive, PeerState, ends, first_read, peek, peer_state, set_keepalive, set_linger_zero,
    set_nodelay, set_user_timeout, shutdown_write, take_error, unmap, unmap_socket,
};
pub use splice::{Pipe, PipeCache, PipePool};
pub use stream::Stream;
