//! Where the queue lies.

use std::path::{Path, PathBuf};

use crate::fault::{Fault, Kind};

/// The queue of the machine, for those who may write there.
pub const SYSTEM_DIR: &str = "/var/spool/applayer";

/// The queue's directory: `explicit` (from `--queue-dir` or `$APPLAYER_QUEUE`), else /var/spool/applayer where the caller may
/// write, else `$XDG_STATE_HOME/applayer/queue`. It need not exist; only local file systems are taken (78 otherwise).
///
/// # Errors
/// [`Kind::Config`] when no directory is named or it lies on a network file system.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, Fault> {
    let dir = match explicit.map(Path::to_owned).or_else(|| set("APPLAYER_QUEUE")) {
        Some(dir) => dir,
        None if writable(Path::new(SYSTEM_DIR)) => PathBuf::from(SYSTEM_DIR),
        None => match (set("XDG_STATE_HOME"), set("HOME")) {
            (Some(state), _) => state.join("applayer/queue"),
            (None, Some(home)) => home.join(".local/state/applayer/queue"),
            (None, None) => {
                return Err(Fault::new(Kind::Config, "no place for the queue: neither XDG_STATE_HOME nor HOME is set")
                    .with_hint("name one with --queue-dir or APPLAYER_QUEUE"));
            }
        },
    };
    check_local(&dir)?;
    Ok(dir)
}

/// The variable as a path, unless it is unset or empty.
fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// True when the directory exists and the caller may create files in it.
fn writable(dir: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    dir.is_dir() && accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// File systems on which locks and syncs do not mean what the queue needs: magic numbers of statfs(2).
const NETWORK: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0000_564c, "NCP"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "kAFS"),
    (0x7375_7245, "Coda"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
];

/// Refuses network file systems: the nearest directory that exists decides.
pub(super) fn check_local(dir: &Path) -> Result<(), Fault> {
    let absolute = std::path::absolute(dir).map_err(|error| Fault::local(dir.display(), &error))?;
    if let Some(file) = absolute.ancestors().find(|folder| folder.exists()).filter(|found| !found.is_dir()) {
        return Err(Fault::new(
            Kind::Config,
            format!("{}: the queue is a directory, {} is none", dir.display(), file.display()),
        ));
    }
    for folder in absolute.ancestors() {
        let Ok(state) = rustix::fs::statfs(folder) else { continue };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "magic numbers have 32 bits")]
        return match network(state.f_type as u32) {
            None => Ok(()),
            Some(name) => Err(Fault::new(Kind::Config, format!("{}: the queue cannot lie on {name}", dir.display()))
                .with_hint("locks and syncs need a local file system: choose another --queue-dir")),
        };
    }
    Ok(())
}

/// The network file system with this magic number.
fn network(magic: u32) -> Option<&'static str> {
    NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_place_wins_and_need_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("not/yet/there");
        assert_eq!(find(Some(&dir)).unwrap(), dir);
        assert!(!dir.exists());
    }

    #[test]
    fn a_file_is_no_queue() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(find(Some(file.path())).unwrap_err().kind, Kind::Config);
        assert_eq!(find(Some(&file.path().join("below"))).unwrap_err().kind, Kind::Config);
    }

    #[test]
    fn network_file_systems_are_known_and_local_ones_pass() {
        assert_eq!(network(0x6969), Some("NFS"));
        assert_eq!(network(0xff53_4d42), Some("CIFS"));
        for local in [0xef53, 0x9123_683e, 0x5846_5342, 0x0102_1994, 0x794c_7630] {
            assert_eq!(network(local), None, "{local:#x}");
        }
    }

    #[test]
    fn a_folder_without_the_right_to_write_is_passed_over() {
        assert!(writable(&std::env::temp_dir()));
        assert!(!writable(Path::new("/nonexistent/spool")));
    }
}
