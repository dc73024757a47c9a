//! A listening socket in the file system (unix(7)).

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::umask;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::fault::{Fault, Kind, plain};
use crate::net::privilege::{self, UnixIdentity};

/// The longest backlog of connections in the kernel.
const BACKLOG: i32 = 1024;

/// A listening UNIX socket.
#[derive(Debug)]
pub struct UnixSocket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// The name of a listening socket. A drop removes it, unless another file has taken the name.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_some_and(|found| found == self.identity) {
            // A directory in which this user may not remove anything keeps it: the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()))
}

impl UnixSocket {
    /// Listens on `path`, in place of a socket that nobody listens on any more. The file has this mode, and this owner if one is
    /// given, before the first client can connect. Before the first thread: the umask belongs to the process.
    ///
    /// # Errors
    /// [`Kind::CannotCreate`] if the path names anything but a dead socket, the kinds of [`Fault::creating`] else.
    pub fn bind(path: &Path, mode: u32, owner: Option<&UnixIdentity>) -> Result<UnixSocket, Fault> {
        privilege::alone()?;
        let failed = |error: std::io::Error| Fault::creating(path.display(), &error).context("listen");
        match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(found) if !found.file_type().is_socket() => {
                let why = format!("listen on {}: the file is no socket, and stays", path.display());
                return Err(Fault::new(Kind::CannotCreate, why));
            }
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
                Ok(_) => {
                    let why = format!("listen on {}: another process listens there", path.display());
                    return Err(Fault::new(Kind::CannotCreate, why));
                }
            },
        }
        let address = SockAddr::unix(path)
            .map_err(|error| Fault::new(Kind::Usage, format!("{}: {}", path.display(), plain(&error))))?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(failed)?;
        let before = umask(Mode::from_raw_mode(0o777 & !mode));
        let bound = socket.bind(&address);
        umask(before);
        bound.map_err(failed)?;
        let file = SocketFile { path: path.to_owned(), identity: identity(path).unwrap_or_default() };
        if let Some(owner) = owner {
            owner.own_name(path).map_err(failed)?;
        }
        socket.listen(BACKLOG).map_err(failed)?;
        Ok(UnixSocket { listener: socket.into(), file })
    }

    /// The path of its file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sys::in_child;

    #[test]
    fn a_dead_socket_is_replaced_and_nothing_else() {
        let said = in_child(|| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("lmtp");
            let bind = |path: &Path| UnixSocket::bind(path, 0o620, None);
            let first = bind(&path).unwrap();
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o620);
            assert!(bind(&path).unwrap_err().detail.contains("another process"));
            // As after kill -9: the name stays.
            std::mem::forget(first.file);
            drop(first.listener);
            let second = bind(&path).unwrap();
            // A successor took the name: it is not ours to remove.
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "mine").unwrap();
            drop(second);
            let fault = bind(&path).unwrap_err();
            assert_eq!(fault.kind, Kind::CannotCreate);
            assert_eq!(std::fs::read(&path).unwrap(), b"mine");
            let link = directory.path().join("link");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            assert!(bind(&link).is_err());
            let third = directory.path().join("third");
            drop(bind(&third).unwrap());
            assert!(!third.exists(), "removed at the end");
            assert_eq!(bind(&directory.path().join("x".repeat(200))).unwrap_err().kind, Kind::Usage);
            String::new()
        });
        assert_eq!(said, "");
    }
}
