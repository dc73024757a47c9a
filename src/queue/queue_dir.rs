//! The location of the queue.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::drop_dir;
use crate::fault::{Fault, Kind};

/// The queue of the machine, for users with write access.
pub const SYSTEM_DIR: &str = "/var/spool/applayer";

/// The calling user's access to the queue of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueAccess {
    /// The user may open it.
    Direct(PathBuf),
    /// The user submits to its drop directory.
    Drop(PathBuf),
}

/// The queue of the machine, for the calling user: `explicit` (from `--queue-dir` or `$APPLAYER_QUEUE`), else [`SYSTEM_DIR`].
/// Never a private queue without a runner.
///
/// # Errors
/// [`Kind::Config`] if the user may neither open it nor submit to it.
pub fn of_system(explicit: Option<&Path>) -> Result<QueueAccess, Fault> {
    let named = explicit.map(Path::to_owned).or_else(|| set("APPLAYER_QUEUE"));
    let dir = named.clone().unwrap_or_else(|| PathBuf::from(SYSTEM_DIR));
    let drop = drop_dir::beside(&dir);
    let has_drop = std::fs::symlink_metadata(&drop).is_ok_and(|found| found.is_dir());
    let own = std::fs::metadata(&dir).map(|found| found.uid() == rustix::process::geteuid().as_raw());
    let is_new = named.is_some() && own.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if writable(&dir) && (own.unwrap_or_default() || !has_drop) || is_new && !has_drop {
        check_local(&dir)?;
        return Ok(QueueAccess::Direct(dir));
    }
    if has_drop {
        return Ok(QueueAccess::Drop(drop));
    }
    let detail = match dir.exists() {
        true => format!("{}: not writable for this user, and {} does not exist", dir.display(), drop.display()),
        false => format!("no system queue: neither {} nor {} exists", dir.display(), drop.display()),
    };
    Err(Fault::new(Kind::Config, detail)
        .with_hint("`make install-sendmail` sets both up; or name a queue: --queue-dir, APPLAYER_QUEUE"))
}

/// Denies other users access to a queue's directory and to the files in it. If others could only read, the modes are
/// corrected, and the returned text says so; if others could write, nothing in it can be trusted.
///
/// # Errors
/// [`Kind::Config`] for a directory that others may write to, that holds links, or that is not a queue's own.
pub(super) fn protect(dir: &Path) -> Result<Option<String>, Fault> {
    let at = |error: std::io::Error| Fault::local(dir.display(), &error);
    let found = match std::fs::metadata(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(at)?,
    };
    let wrong = |why: &str| {
        Fault::new(Kind::Config, format!("{}: {why}", dir.display()))
            .with_hint("a queue needs a directory of its own that only its owner can enter: chmod 700")
    };
    let is_open = found.mode() & 0o077 != 0;
    if is_open {
        let names: Vec<_> = std::fs::read_dir(dir).map_err(at)?.map(|entry| entry.map(|it| it.file_name())).collect();
        if found.mode() & 0o022 != 0 && !names.is_empty() {
            return Err(wrong("others may write in it, and may have put into it what they like"));
        }
        let is_ours =
            |name: &OsString| name.to_str().is_some_and(|name| name.starts_with("queue.db") || NAMES.contains(&name));
        if found.mode() & 0o1000 != 0 || !names.iter().flatten().all(is_ours) {
            return Err(wrong("others can enter it, and it holds more than a queue"));
        }
        std::fs::set_permissions(dir, Permissions::from_mode(0o700))
            .map_err(|error| wrong(&format!("others can enter it: {error}")))?;
    }
    for name in ["queue.db", "queue.db-wal", "queue.db-shm"].iter().chain(NAMES) {
        let path = dir.join(name);
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        if found.is_symlink() {
            return Err(wrong(&format!("{name} is a symbolic link")));
        }
        if found.mode() & 0o077 != 0 {
            let mode = if found.is_dir() { 0o700 } else { 0o600 };
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(at)?;
        }
    }
    Ok(is_open.then(|| format!("{}: others could enter it; its mode is 700 now", dir.display())))
}

/// Creates a queue's directory if it is missing, for its owner only. Its name is on disk when this returns.
///
/// # Errors
/// The kinds of [`Fault::local`].
pub fn make(dir: &Path) -> Result<(), Fault> {
    if dir.exists() {
        return Ok(());
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Fault::local(dir.display(), &error))?;
    sync_names(dir)
}

/// Syncs a directory and its parents, as far as they may be opened.
pub(super) fn sync_names(dir: &Path) -> Result<(), Fault> {
    let at = |error: std::io::Error| Fault::local(dir.display(), &error);
    for folder in std::path::absolute(dir).map_err(at)?.ancestors() {
        match File::open(folder) {
            Ok(folder) => folder.sync_all().map_err(at)?,
            // A directory that may not be read existed before.
            Err(error) if folder == dir => return Err(at(error)),
            Err(_) => {}
        }
    }
    Ok(())
}

/// The entries of a queue's directory other than the database.
const NAMES: &[&str] = &["body", "owners", "apart", "wake", "setup"];

/// Opens or creates a file for writing that only its owner may access. A link is not followed.
pub(super) fn open_private(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

/// The queue's directory: `explicit` (from `--queue-dir` or `$APPLAYER_QUEUE`), else /var/spool/applayer if the caller may write
/// there, else `$XDG_STATE_HOME/applayer/queue`. It need not exist; only local file systems are accepted (78 otherwise).
///
/// # Errors
/// [`Kind::Config`] if there is no directory, or if it is on a network file system.
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

/// True if the directory exists and the caller may create files in it.
fn writable(dir: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    dir.is_dir() && accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// File systems whose locks and syncs are insufficient for the queue: magic numbers of statfs(2).
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

/// Refuses network file systems: the nearest existing directory decides.
pub(super) fn check_local(dir: &Path) -> Result<(), Fault> {
    let absolute = std::path::absolute(dir).map_err(|error| Fault::local(dir.display(), &error))?;
    if let Some(file) = absolute.ancestors().find(|folder| folder.exists()).filter(|found| !found.is_dir()) {
        return Err(Fault::new(
            Kind::Config,
            format!("{}: the queue must be a directory, {} is not", dir.display(), file.display()),
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
    fn others_are_kept_out_or_the_directory_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str, mode: u32, inside: &[&str]| {
            let dir = folder.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            for file in inside {
                std::fs::write(dir.join(file), "x").unwrap();
                std::fs::set_permissions(dir.join(file), Permissions::from_mode(0o666)).unwrap();
            }
            std::fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
            dir
        };
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
        for (name, mode_before, inside, is_said) in [
            ("private", 0o700, &["queue.db"][..], false),
            ("entered", 0o755, &["queue.db", "wake"], true),
            ("new", 0o777, &[], true),
            ("old", 0o750, &["queue.db-wal", "queue.db-shm", "setup"], true),
        ] {
            let dir = made(name, mode_before, inside);
            assert_eq!(protect(&dir).unwrap().is_some(), is_said, "{name}");
            assert_eq!(mode(&dir), 0o700, "{name}");
            assert!(inside.iter().all(|file| mode(&dir.join(file)) == 0o600), "{name}");
            assert_eq!(protect(&dir).unwrap(), None, "{name}: once");
        }
        for (name, mode_before, inside) in
            [("shared", 0o770, &["queue.db"][..]), ("tmp", 0o1777, &[]), ("home", 0o755, &["letter", "queue.db"])]
        {
            let dir = made(name, mode_before, inside);
            assert_eq!(protect(&dir).unwrap_err().kind, Kind::Config, "{name}");
            assert_eq!(mode(&dir), mode_before, "{name}: left as it is");
        }
        for link in ["queue.db", "queue.db-wal", "wake", "setup", "body", "owners"] {
            let dir = made(&format!("link-{link}"), 0o700, &[]);
            let target = folder.path().join(format!("target-{link}"));
            std::os::unix::fs::symlink(&target, dir.join(link)).unwrap();
            assert_eq!(protect(&dir).unwrap_err().kind, Kind::Config, "{link}");
            assert!(open_private(&dir.join(link)).is_err() && !target.exists(), "{link}");
        }
    }

    #[test]
    fn the_system_has_one_queue_and_nobody_another() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("queue");
        assert_eq!(of_system(Some(&dir)).unwrap(), QueueAccess::Direct(dir.clone()), "named and new: made");
        let drop = folder.path().join("queue-drop");
        std::fs::create_dir(&drop).unwrap();
        assert_eq!(of_system(Some(&dir)).unwrap(), QueueAccess::Drop(drop));
        std::fs::create_dir(&dir).unwrap();
        assert_eq!(of_system(Some(&dir)).unwrap(), QueueAccess::Direct(dir), "its owner");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(of_system(Some(&file)).unwrap_err().kind, Kind::Config);
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
