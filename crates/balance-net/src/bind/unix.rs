//! Listening on a unix path: telling a living socket file from one that a killed process left behind.
//!
//! Two processes that start on one stale path in the same instant can both see it as stale; the later one
//! wins the path. The kernel offers no exclusive claim here, and service managers start one at a time.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use balance_core::ListenAddress;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{BindError, BoundListener, ListenOptions, ListenSocket, LocalAddress};

pub(super) fn bind(
    path: &Path,
    sockets: usize,
    options: &ListenOptions,
) -> Result<BoundListener, BindError> {
    let length = path.as_os_str().len();
    if length > PATH_BYTES_MAX {
        let path = path.to_owned();
        return Err(BindError::PathTooLong { path, length });
    }
    clear_stale(path)?;
    let socket = listen(path, options).map_err(|error| explain(path, error))?;
    let bound = share(socket, sockets).map_err(|error| explain(path, error))?;
    Ok(BoundListener {
        local: LocalAddress::Unix(path.to_owned()),
        sockets: bound,
    })
}

/// Removes the socket file of a process that is gone. Never anything else.
fn clear_stale(path: &Path) -> Result<(), BindError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(explain(path, error)),
    };
    if !metadata.file_type().is_socket() {
        let path = path.to_owned();
        return Err(BindError::PathOccupied { path });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| explain(path, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(explain(path, error)),
        // Connected, or its queue is full: somebody lives there.
        _ => Err(BindError::PathInUse {
            path: path.to_owned(),
        }),
    }
}

fn listen(path: &Path, options: &ListenOptions) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before listen, so that nobody connects under wider permissions than asked for.
    if let Some(mode) = options.unix_mode {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o777))?;
    }
    socket.listen(options.backlog)?;
    Ok(socket)
}

fn share(socket: Socket, sockets: usize) -> io::Result<Vec<ListenSocket>> {
    let first = ListenSocket {
        fd: OwnedFd::from(socket),
        is_unix: true,
    };
    let mut bound = vec![first];
    while bound.len() < sockets {
        let duplicate = bound[0].try_clone()?;
        bound.push(duplicate);
    }
    Ok(bound)
}

fn explain(path: &Path, error: io::Error) -> BindError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::AddrInUse => BindError::PathInUse { path },
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            BindError::DirectoryMissing { path }
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            BindError::PathForbidden { path }
        }
        _ => BindError::new(
            &ListenAddress::Unix(path.to_string_lossy().into_owned()),
            error,
        ),
    }
}

/// `sun_path` has 108 bytes including the terminating zero (unix(7)).
const PATH_BYTES_MAX: usize = 107;
