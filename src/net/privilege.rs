//! Giving up root: a server binds its ports and reads its keys as root, and serves as another user.

use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, initgroups, setgroups, setresgid, setresuid};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
    set_no_new_privs,
};

use crate::fault::{Fault, Kind};

/// A user and group that a process can become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixIdentity {
    /// The user's name in the system's database, if it is there: it determines the supplementary groups.
    name: Option<String>,
    uid: Uid,
    gid: Gid,
}

/// A login account of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixAccount {
    /// The user.
    pub identity: UnixIdentity,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell; empty for the system's default.
    pub shell: PathBuf,
}

/// An entry of the system's database; a missing database has no entries (getpwnam(3)).
fn entry<T>(what: &str, found: nix::Result<Option<T>>) -> Result<Option<T>, Fault> {
    match found {
        Err(nix::Error::ENOENT | nix::Error::ESRCH) => Ok(None),
        found => found.map_err(|errno| Fault::local(what, &errno.into())),
    }
}

impl UnixIdentity {
    /// Parses `USER[:GROUP]`, each a name or a number. Without GROUP it is the user's own group.
    ///
    /// # Errors
    /// [`Kind::Config`] for a user or group that is not in the system's database, and for a number without a group.
    pub fn parse(text: &str) -> Result<UnixIdentity, Fault> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let unknown = |what: &str| Fault::new(Kind::Config, format!("{text}: no such {what}"));
        let found = match user.parse().map(Uid::from_raw) {
            Ok(uid) => entry(text, User::from_uid(uid))?.ok_or(uid),
            Err(_) => Ok(entry(text, User::from_name(user))?.ok_or_else(|| unknown("user"))?),
        };
        let group = match group {
            None => None,
            Some(group) => Some(match group.parse().map(Gid::from_raw) {
                Ok(gid) => gid,
                Err(_) => entry(text, Group::from_name(group))?.ok_or_else(|| unknown("group"))?.gid,
            }),
        };
        match found {
            Ok(user) => Ok(UnixIdentity { name: Some(user.name), uid: user.uid, gid: group.unwrap_or(user.gid) }),
            Err(uid) => {
                let gid = group
                    .ok_or_else(|| unknown("user").with_hint("a number without a user name needs a group: UID:GID"))?;
                Ok(UnixIdentity { name: None, uid, gid })
            }
        }
    }

    /// The owner of a file or directory, with his own group, or the file's group if he is not in the database.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] if the file does not exist.
    pub fn owner_of(path: &Path) -> Result<UnixIdentity, Fault> {
        let at = |error: io::Error| Fault::local(path.display(), &error);
        let found = std::fs::metadata(path).map_err(at)?;
        UnixIdentity::of_file(path, &found)
    }

    /// As [`UnixIdentity::owner_of`], for metadata that was already read.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] if the database cannot be read.
    pub fn of_file(path: &Path, found: &Metadata) -> Result<UnixIdentity, Fault> {
        let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
        Ok(match entry(&path.to_string_lossy(), User::from_uid(uid))? {
            Some(user) => UnixIdentity { name: Some(user.name), uid, gid: user.gid },
            None => UnixIdentity { name: None, uid, gid },
        })
    }

    /// The user of this name in the system's database; a number is taken as a name.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] if the database cannot be read.
    pub fn of_name(name: &str) -> Result<Option<UnixIdentity>, Fault> {
        let found = entry(name, User::from_name(name))?;
        Ok(found.map(|user| UnixIdentity { name: Some(user.name), uid: user.uid, gid: user.gid }))
    }

    /// The login account of this name in the system's database; a number is taken as a name.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] if the database cannot be read.
    pub fn account(name: &str) -> Result<Option<UnixAccount>, Fault> {
        let found = entry(name, User::from_name(name))?;
        Ok(found.map(|User { name, uid, gid, dir, shell, .. }| UnixAccount {
            identity: UnixIdentity { name: Some(name), uid, gid },
            home: dir,
            shell,
        }))
    }

    /// True if the user's number is at least `least`, and not root's.
    pub fn is_at_least(&self, least: u32) -> bool {
        !self.is_root() && self.uid.as_raw() >= least
    }

    /// True for the superuser.
    pub fn is_root(&self) -> bool {
        self.uid.is_root()
    }

    /// True if this process already acts as this user and group.
    pub fn is_current(&self) -> bool {
        self.uid == Uid::effective() && self.gid == Gid::effective()
    }

    /// True if this user owns the file.
    pub fn owns(&self, found: &Metadata) -> bool {
        self.uid.as_raw() == found.uid()
    }

    /// True if this is the user's number.
    pub fn is_user(&self, uid: rustix::process::Uid) -> bool {
        self.uid.as_raw() == uid.as_raw()
    }

    /// Changes the owner of an open file to this user and group.
    ///
    /// # Errors
    /// The system's error.
    pub fn own(&self, file: impl AsFd) -> io::Result<()> {
        std::os::unix::fs::fchown(file, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }

    /// Changes the owner of a name, not of the target of a link: a socket has no descriptor that leads to its file.
    ///
    /// # Errors
    /// The system's error.
    pub fn own_name(&self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }
}

impl std::fmt::Display for UnixIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({}:{})", self.uid, self.gid),
            None => write!(f, "{}:{}", self.uid, self.gid),
        }
    }
}

/// True while this process has the rights of root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Becomes `identity` permanently: all forms of user and group, only the supplementary groups of this user in the database
/// (as nsd(8) and named(8) do: a group-readable key stays readable for a reload), no capability, no core dump with data read
/// as root. No way back is left. An identity of root keeps root's capabilities.
///
/// # Errors
/// [`Kind::AuthFailed`] if the system refuses; [`Kind::Internal`] if there are threads already, or root can be regained.
pub fn become_user(identity: &UnixIdentity) -> Result<(), Fault> {
    become_with(identity, (!identity.is_root()).then(CapabilitySet::empty))
}

/// As [`become_user`], but with exactly these capabilities, even for root.
///
/// # Errors
/// Those of [`become_user`].
pub fn become_keeping(identity: &UnixIdentity, kept: CapabilitySet) -> Result<(), Fault> {
    become_with(identity, Some(kept))
}

fn become_with(identity: &UnixIdentity, kept: Option<CapabilitySet>) -> Result<(), Fault> {
    alone()?;
    let refused = |what: &str, error: io::Error| {
        Fault::new(Kind::AuthFailed, format!("cannot become {identity}: {what}: {error}"))
    };
    let keeps = kept.is_some_and(|kept| !kept.is_empty());
    set_keep_capabilities(keeps).map_err(|errno| refused("capabilities", errno.into()))?;
    let groups = match identity.name.as_ref().map(|name| std::ffi::CString::new(name.as_str())) {
        Some(Ok(name)) => initgroups(&name, identity.gid),
        _ => setgroups(&[identity.gid]),
    };
    groups.map_err(|errno| refused("groups", errno.into()))?;
    if !identity.is_root() {
        // Then not even a program with file capabilities can gain one. A kernel may know fewer, and a container may refuse.
        for capability in CapabilitySet::all().iter() {
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    setresgid(identity.gid, identity.gid, identity.gid).map_err(|errno| refused("group", errno.into()))?;
    setresuid(identity.uid, identity.uid, identity.uid).map_err(|errno| refused("user", errno.into()))?;
    if let Some(kept) = kept {
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).map_err(|errno| refused("capabilities", errno.into()))?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|errno| refused("core dumps", errno.into()))?;
    }
    if !identity.is_root() && kept.is_none_or(|kept| !kept.contains(CapabilitySet::SETUID)) {
        let back = setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0));
        if back.is_ok() || is_root() {
            return Err(Fault::new(Kind::Internal, format!("{identity} could become root again")));
        }
    }
    Ok(())
}

/// From here on no executed program gains rights from its file (PR_SET_NO_NEW_PRIVS).
///
/// # Errors
/// [`Kind::AuthFailed`] if the system refuses; [`Kind::Internal`] if there are threads already.
pub fn gain_nothing() -> Result<(), Fault> {
    alone()?;
    set_no_new_privs(true).map_err(|errno| Fault::new(Kind::AuthFailed, format!("no_new_privs: {errno}")))
}

/// Checks that there is one thread: rights, capabilities and sandboxes apply per thread and are inherited by its children.
///
/// # Errors
/// [`Kind::Internal`] if there are other threads.
pub(super) fn alone() -> Result<(), Fault> {
    match std::fs::read_dir("/proc/self/task").map(Iterator::count) {
        Ok(count @ 2..) => Err(Fault::new(Kind::Internal, format!("{count} threads run before rights are given up"))),
        // Without /proc the number is unknown.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_names_or_numbers() {
        let shown = |text: &str| UnixIdentity::parse(text).map(|it| it.to_string()).map_err(|fault| fault.kind);
        for (text, expected) in [
            ("root", Ok("root (0:0)")),
            ("0", Ok("root (0:0)")),
            ("root:12345", Ok("root (0:12345)")),
            ("54321:12345", Ok("54321:12345")),
            ("54321:root", Ok("54321:0")),
            ("54321", Err(Kind::Config)),
            ("54321:", Err(Kind::Config)),
            ("no-such-user", Err(Kind::Config)),
            ("root:no-such-group", Err(Kind::Config)),
            ("", Err(Kind::Config)),
            ("-1:0", Err(Kind::Config)),
        ] {
            assert_eq!(shown(text), expected.map(str::to_owned), "{text}");
        }
        assert!(UnixIdentity::owner_of("/".as_ref()).unwrap().is_root());
        assert_eq!(UnixIdentity::owner_of("/nowhere".as_ref()).unwrap_err().kind, Kind::NoInput);
    }

    #[test]
    fn with_threads_it_is_too_late() {
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(gain_nothing().unwrap_err().kind, Kind::Internal));
        });
    }
}
