//! Where a running Balance and its own command line meet: one unix socket per configuration.
//!
//! The folder is `$RUNTIME_DIRECTORY` (systemd), else `$XDG_RUNTIME_DIR/balance`, else /run/balance, else a
//! private one under the temporary folder. The name is a hash of the configuration's path, so that several
//! instances run side by side and `balance reload -c FILE` finds the right one. The server takes the first
//! folder that it can use; the client, whose environment may differ, looks through all of them.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The admin socket of a running process. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct AdminSocket {
    path: PathBuf,
    inode: u64,
}

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum AdminSocketError {
    #[error("another Balance already runs with this configuration and answers at {}", path.display())]
    InUse { path: PathBuf },
    #[error("no folder for the admin socket can be used; the last one failed: {}: {source}", path.display())]
    NoFolder { path: PathBuf, source: io::Error },
    #[error("cannot make the admin socket {}: {source}", path.display())]
    Bind { path: PathBuf, source: io::Error },
}

/// Environment variables as the caller sees them: a seam for tests.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl AdminSocket {
    /// Makes the socket of the configuration at `config`, mode 0600.
    ///
    /// # Errors
    /// See [`AdminSocketError`]; the process can go on without.
    pub fn bind(config: &Path) -> Result<(Self, UnixListener), AdminSocketError> {
        Self::bind_in(&folders(&|name| std::env::var_os(name)), config)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn bind_in(
        folders: &[Folder],
        config: &Path,
    ) -> Result<(Self, UnixListener), AdminSocketError> {
        let mut last = None;
        for folder in folders {
            match folder.prepare() {
                Ok(()) => return Self::bind_at(folder.path.join(file_name(config))),
                Err(source) => last = Some((folder.path.clone(), source)),
            }
        }
        let (path, source) = last.expect("the temporary folder is always a candidate");
        Err(AdminSocketError::NoFolder { path, source })
    }

    fn bind_at(path: PathBuf) -> Result<(Self, UnixListener), AdminSocketError> {
        if UnixStream::connect(&path).is_ok() {
            return Err(AdminSocketError::InUse { path });
        }
        // Made under another name and moved: between bind and chmod the file would have the umask's
        // rights, and a stale file of a killed process is replaced by the same move.
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let bind = || {
            let listener = UnixListener::bind(&draft)?;
            fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
            let inode = fs::symlink_metadata(&draft)?.ino();
            fs::rename(&draft, &path)?;
            listener.set_nonblocking(true)?;
            Ok((listener, inode))
        };
        match bind() {
            Ok((listener, inode)) => Ok((Self { path, inode }, listener)),
            Err(source) => {
                // Best effort: there may be nothing to remove.
                let _ = fs::remove_file(&draft);
                Err(AdminSocketError::Bind { path, source })
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // A successor may have moved its own socket here.
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The admin socket of the process that runs with the configuration at `config`, if one is there. A socket
/// that belongs neither to this user nor to root is not looked at.
pub fn find_admin_socket(config: &Path) -> Option<PathBuf> {
    find_in(&folders(&|name| std::env::var_os(name)), config)
}

fn find_in(folders: &[Folder], config: &Path) -> Option<PathBuf> {
    let name = file_name(config);
    folders
        .iter()
        .map(|folder| folder.path.join(&name))
        .find(|path| {
            fs::symlink_metadata(path).is_ok_and(|file| {
                file.file_type().is_socket() && (file.uid() == effective_uid() || file.uid() == 0)
            })
        })
}

/// A folder that may hold admin sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Folder {
    path: PathBuf,
    /// Whether others may create files beside it, so that it must be ours and closed.
    is_shared_parent: bool,
}

impl Folder {
    /// Makes it if it is missing and checks that it can be used.
    fn prepare(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if self.is_shared_parent {
            let meta = fs::symlink_metadata(&self.path)?;
            if !meta.is_dir() || meta.uid() != effective_uid() || meta.mode() & 0o077 != 0 {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "it belongs to somebody else or is open to others",
                ));
            }
        }
        // access(2) would answer for the real user, not the effective one; trying is exact.
        let probe = self.path.join(format!(".probe.{}", std::process::id()));
        fs::File::create(&probe)?;
        fs::remove_file(&probe)
    }
}

fn folders(env: Env<'_>) -> Vec<Folder> {
    let own = |path: PathBuf| Folder {
        path,
        is_shared_parent: false,
    };
    let mut list = Vec::new();
    if let Some(folders) = env("RUNTIME_DIRECTORY").filter(|value| !value.is_empty()) {
        // systemd joins several with a colon.
        let first = folders
            .as_bytes()
            .split(|byte| *byte == b':')
            .next()
            .unwrap_or_default();
        list.push(own(PathBuf::from(std::ffi::OsStr::from_bytes(first))));
    }
    if let Some(base) = env("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        list.push(own(PathBuf::from(base).join("balance")));
    }
    list.push(own(PathBuf::from("/run/balance")));
    list.push(Folder {
        path: std::env::temp_dir().join(format!("balance-{}", effective_uid())),
        is_shared_parent: true,
    });
    list
}

fn file_name(config: &Path) -> String {
    let canonical = fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
    let hash = balance_lb::hash_key(canonical.as_os_str().as_bytes());
    format!("{hash:016x}.sock")
}

fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};

    use super::{AdminSocket, AdminSocketError, Folder, find_in, folders};

    fn temporary(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("balance-test-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder {
            path,
            is_shared_parent: false,
        }
    }

    #[test]
    fn the_environment_decides_the_order_of_the_folders() {
        let check = |set: &[(&str, &str)], expected: &[&str]| {
            let env = |name: &str| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| OsString::from(value))
            };
            let seen: Vec<PathBuf> = folders(&env)
                .into_iter()
                .map(|folder| folder.path)
                .collect();
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(seen[..seen.len() - 1], expected);
        };
        check(&[], &["/run/balance"]);
        check(&[("RUNTIME_DIRECTORY", "")], &["/run/balance"]);
        check(
            &[
                ("RUNTIME_DIRECTORY", "/run/a:/run/b"),
                ("XDG_RUNTIME_DIR", "/run/user/1"),
            ],
            &["/run/a", "/run/user/1/balance", "/run/balance"],
        );
    }

    #[test]
    fn a_socket_is_private_found_again_and_removed() {
        let folder = [temporary("socket")];
        let config = Path::new("one.yaml");
        let (socket, _listener) = AdminSocket::bind_in(&folder, config).unwrap();
        let path = socket.path().to_owned();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(find_in(&folder, config), Some(path.clone()));
        assert_eq!(find_in(&folder, Path::new("two.yaml")), None);

        let second = AdminSocket::bind_in(&folder, config);
        assert!(
            matches!(second, Err(AdminSocketError::InUse { .. })),
            "{second:?}"
        );
        drop(socket);
        assert!(!path.exists());
        fs::remove_dir_all(&folder[0].path).unwrap();
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_successor_is_left_alone() {
        let folder = [temporary("stale")];
        let config = Path::new("one.yaml");
        let (old, listener) = AdminSocket::bind_in(&folder, config).unwrap();
        drop(listener);
        let (new, _listener) = AdminSocket::bind_in(&folder, config).unwrap();
        drop(old);
        assert!(new.path().exists());
        drop(new);
        fs::remove_dir_all(&folder[0].path).unwrap();
    }

    #[test]
    fn an_open_folder_in_a_shared_place_is_refused() {
        let mut folder = temporary("open");
        fs::create_dir(&folder.path).unwrap();
        fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o777)).unwrap();
        folder.is_shared_parent = true;
        let path = folder.path.clone();
        let bound = AdminSocket::bind_in(&[folder], Path::new("one.yaml"));
        assert!(
            matches!(bound, Err(AdminSocketError::NoFolder { .. })),
            "{bound:?}"
        );
        fs::remove_dir_all(path).unwrap();
    }
}
