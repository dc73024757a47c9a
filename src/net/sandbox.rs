//! Landlock: from here on the process opens only the named files, whatever the rights of its user (landlock(7)).

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    path_beneath_rules,
};

use crate::fault::{Fault, Kind};
use crate::net::privilege;

/// The rights that are removed unless a rule grants them: those of Linux 6.10. Older kernels know fewer.
const HANDLED: ABI = ABI::V5;

/// Files that every server may need to read, in addition to its own.
const COMMON_READ: &[&str] = &[
    "/dev/null",
    "/dev/urandom",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    // The queue detects a power cut by it.
    "/proc/sys/kernel/random/boot_id",
    // The number of usable processors.
    "/proc/self/cgroup",
    "/proc/self/mountinfo",
    "/sys/fs/cgroup",
];

/// The files of the system's resolver, and the system's stores of trusted certificates.
const NETWORK_READ: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
];

/// The files that stay accessible, each with everything below it. A file that does not exist when the sandbox closes stays inaccessible.
#[derive(Debug, Default)]
pub struct Sandbox {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    add: Vec<PathBuf>,
    remove: Vec<PathBuf>,
}

/// The result of closing a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxState {
    /// The sandbox is closed.
    Closed,
    /// The kernel has no sufficient Landlock.
    Missing,
}

impl Sandbox {
    /// Allows reading a file or a tree.
    pub fn read(&mut self, path: impl Into<PathBuf>) {
        self.read.push(path.into());
    }

    /// Allows reading a file again after its replacement: its directory, and that of its link target.
    pub fn read_again(&mut self, file: &Path) {
        self.read.push(directory_of(file));
        if let Ok(target) = file.canonicalize() {
            self.read.push(directory_of(&target));
        }
    }

    /// Allows everything in a tree, except running programs and making devices.
    pub fn write(&mut self, path: impl Into<PathBuf>) {
        self.write.push(path.into());
    }

    /// Allows writing and re-creating a file: in its directory nothing can be read or removed.
    pub fn add(&mut self, file: &Path) {
        self.add.push(directory_of(file));
    }

    /// Allows removing files from the directory of a file.
    pub fn remove(&mut self, file: &Path) {
        self.remove.push(directory_of(file));
    }

    /// Allows the files that the system's resolver and the check of certificates read.
    pub fn use_network(&mut self) {
        self.read.extend(NETWORK_READ.iter().map(PathBuf::from));
        let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os);
        self.read.extend(named.map(PathBuf::from));
    }

    /// Closes the sandbox for this thread and everything it starts. A kernel that cannot tell moving a file from making one
    /// (before 5.19) would forbid every move between directories: it counts as one without Landlock.
    ///
    /// # Errors
    /// [`Kind::Internal`] if there are threads already; [`Kind::Config`] if the system refuses.
    pub fn close(self) -> Result<SandboxState, Fault> {
        privilege::alone()?;
        let moving = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::Refer);
        let Ok(moving) = moving else { return Ok(SandboxState::Missing) };
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        let closed = moving
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(HANDLED))
            .and_then(Ruleset::create)
            .and_then(|rules| rules.add_rules(path_beneath_rules(COMMON_READ, reading)))
            .and_then(|rules| rules.add_rules(path_beneath_rules(self.read, reading)))
            .and_then(|rules| rules.add_rules(path_beneath_rules(self.write, writing())))
            .and_then(|rules| rules.add_rules(path_beneath_rules(self.add, AccessFs::WriteFile | AccessFs::MakeReg)))
            .and_then(|rules| rules.add_rules(path_beneath_rules(self.remove, AccessFs::RemoveFile)))
            .and_then(|rules| rules.restrict_self());
        closed.map(|_| SandboxState::Closed).map_err(|error| {
            Fault::new(Kind::Config, format!("Landlock: {error}")).with_hint("--no-sandbox starts without it")
        })
    }
}

/// All rights except running programs and making devices.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_all(HANDLED) & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
}

fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::privilege::{UnixIdentity, become_user, gain_nothing};
    use crate::net::sys::in_child;
    use nix::unistd::{Gid, Uid};
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;

    /// The attempts of a compromised process, in one that gave up its rights as servers do.
    #[test]
    fn what_was_not_named_stays_shut_and_root_stays_away() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for name in ["read", "write", "write/below", "other"] {
            fs::create_dir(at(name)).unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(0o777)).unwrap();
        }
        for name in ["read/file", "write/file", "other/file"] {
            fs::write(at(name), "x").unwrap();
            fs::set_permissions(at(name), Permissions::from_mode(0o666)).unwrap();
        }
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(at("other"), at("write/door")).unwrap();
        let user = privilege::is_root().then(|| UnixIdentity::parse("54321:54322").unwrap());
        let open_before = File::open(at("other/file")).unwrap();
        type Attempt<'a> = (&'static str, bool, Box<dyn Fn() -> bool + 'a>);
        let attempts: Vec<Attempt> = vec![
            ("read what is to be read", true, Box::new(|| fs::read(at("read/file")).is_ok())),
            ("list it", true, Box::new(|| fs::read_dir(at("read")).is_ok())),
            ("write what is to be read", false, Box::new(|| fs::write(at("read/file"), "y").is_ok())),
            ("make a file beside it", false, Box::new(|| File::create(at("read/new")).is_ok())),
            ("write", true, Box::new(|| fs::write(at("write/file"), "y").is_ok())),
            ("make a directory", true, Box::new(|| fs::create_dir(at("write/new")).is_ok())),
            ("move", true, Box::new(|| fs::rename(at("write/file"), at("write/below/file")).is_ok())),
            ("move out", false, Box::new(|| fs::rename(at("write/below/file"), at("other/moved")).is_ok())),
            ("link in", false, Box::new(|| fs::hard_link(at("other/file"), at("write/linked")).is_ok())),
            ("read through a link", false, Box::new(|| fs::read(at("write/door/file")).is_ok())),
            ("read another file", false, Box::new(|| fs::read(at("other/file")).is_ok())),
            ("list another directory", false, Box::new(|| fs::read_dir(at("other")).is_ok())),
            ("write another file", false, Box::new(|| fs::write(at("other/file"), "y").is_ok())),
            ("remove another file", false, Box::new(|| fs::remove_file(at("other/file")).is_ok())),
            ("read the users of the system", false, Box::new(|| fs::read("/etc/passwd").is_ok())),
            ("know which boot this is", true, Box::new(|| fs::read("/proc/sys/kernel/random/boot_id").is_ok())),
            ("read what was open before", true, Box::new(|| std::io::read_to_string(&open_before).is_ok())),
            ("run a program", false, Box::new(|| std::process::Command::new("/bin/true").status().is_ok())),
            ("become root", false, Box::new(|| nix::unistd::seteuid(Uid::from_raw(0)).is_ok())),
            ("become root for good", false, Box::new(|| nix::unistd::setuid(Uid::from_raw(0)).is_ok())),
            ("take root's group", false, Box::new(|| nix::unistd::setgid(Gid::from_raw(0)).is_ok())),
            ("join groups", false, Box::new(|| nix::unistd::setgroups(&[Gid::from_raw(0)]).is_ok())),
        ];
        let said = in_child(|| {
            let mut sandbox = Sandbox::default();
            sandbox.read(at("read"));
            sandbox.write(at("write"));
            if let Some(user) = &user {
                become_user(user).unwrap();
            }
            gain_nothing().unwrap();
            if sandbox.close().unwrap() == SandboxState::Missing {
                return "missing".to_owned();
            }
            let wrong = attempts.iter().filter(|(_, expected, attempt)| attempt() != *expected);
            wrong.map(|(name, ..)| format!("{name}; ")).collect()
        });
        match said.as_str() {
            "missing" => eprintln!("skipped: this kernel has no Landlock that would do"),
            said => assert_eq!(said, ""),
        }
    }
}
