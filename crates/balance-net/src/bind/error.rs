//! Why an address cannot be had, with what to do about it: one line that an operator can act on.

use std::io;
use std::path::PathBuf;

use balance_core::ListenAddress;
use rustix::io::Errno;

/// Why an address cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "{address} is in use by another process: stop it (`ss -ltnp 'sport = :{port}'` names it) or choose another port"
    )]
    PortInUse { address: ListenAddress, port: u16 },
    #[error(
        "no right to bind {address}: allow it with `setcap cap_net_bind_service=+ep` on the binary, \
         let systemd pass the socket (AmbientCapabilities or a .socket unit), or choose a port from 1024 up"
    )]
    PortPrivileged { address: ListenAddress, port: u16 },
    #[error(
        "{address} is not an address of this machine: `ip address` lists them; `:port` listens on all"
    )]
    AddressNotLocal { address: ListenAddress },
    #[error("this machine has no IPv6, so {address} cannot be bound: use an IPv4 address")]
    FamilyMissing { address: ListenAddress },
    #[error(
        "too few file descriptors to bind {address}: raise LimitNOFILE= or `ulimit -n` (now {limit})"
    )]
    DescriptorsExhausted { address: ListenAddress, limit: u64 },
    #[error(
        "{} is in use: a process accepts on it; stop it or choose another path",
        path.display()
    )]
    PathInUse { path: PathBuf },
    #[error(
        "{} exists and is not a socket: remove it or choose another path",
        path.display()
    )]
    PathOccupied { path: PathBuf },
    #[error(
        "{} cannot be a socket's path: it has {length} bytes and the kernel takes at most 107",
        path.display()
    )]
    PathTooLong { path: PathBuf, length: usize },
    #[error(
        "the directory of {} does not exist: create it (systemd: RuntimeDirectory=)",
        path.display()
    )]
    DirectoryMissing { path: PathBuf },
    #[error(
        "no right to create {}: its directory must be writable for the user Balance runs as",
        path.display()
    )]
    PathForbidden { path: PathBuf },
    #[error("cannot listen on {address}: {source}")]
    Other {
        address: ListenAddress,
        source: io::Error,
    },
}

impl BindError {
    /// Whether somebody else owns the address.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::PortInUse { .. } | Self::PathInUse { .. })
    }

    /// Translates what the kernel said about a TCP address.
    pub(super) fn new(address: &ListenAddress, source: io::Error) -> Self {
        let address = address.clone();
        let port = address.port().unwrap_or(0);
        match Errno::from_io_error(&source) {
            Some(Errno::ADDRINUSE) => Self::PortInUse { address, port },
            Some(Errno::ACCESS | Errno::PERM) => Self::PortPrivileged { address, port },
            Some(Errno::ADDRNOTAVAIL) => Self::AddressNotLocal { address },
            Some(Errno::AFNOSUPPORT) => Self::FamilyMissing { address },
            Some(Errno::MFILE | Errno::NFILE) => Self::DescriptorsExhausted {
                address,
                limit: crate::limits::descriptor_limit().soft,
            },
            _ => Self::Other { address, source },
        }
    }
}
