//! Landlock: from here on the process opens what was named and nothing else, whatever its user may do (landlock(7)).

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    path_beneath_rules,
};

use crate::fault::{Fault, Kind};
use crate::net::privilege;

/// The rights that are taken away where nothing grants them: those of Linux 6.10. Older kernels know fewer.
const HANDLED: ABI = ABI::V5;

/// What every server may need beside what is its own, to read.
const COMMON_READ: &[&str] = &[
    "/dev/null",
    "/dev/urandom",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    // How many processors there are to be used.
    "/proc/self/cgroup",
    "/proc/self/mountinfo",
    "/sys/fs/cgroup",
];

/// What the system's resolver reads, and where it keeps the certificates that it trusts.
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

/// Which files stay in reach, each with all that is below it. What is not there when the sandbox closes stays out.
#[derive(Debug, Default)]
pub struct Sandbox {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    add: Vec<PathBuf>,
}

/// What became of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxState {
    /// It is closed.
    Closed,
    /// This kernel has none that would do.
    Missing,
}

impl Sandbox {
    /// A file or a tree to be read.
    pub fn read(&mut self, path: impl Into<PathBuf>) {
        self.read.push(path.into());
    }

    /// A file that is read again when it is replaced: its directory, and that of the file that it links to.
    pub fn read_again(&mut self, file: &Path) {
        self.read.push(directory_of(file));
        if let Ok(target) = file.canonicalize() {
            self.read.push(directory_of(&target));
        }
    }

    /// A tree in which everything may be done.
    pub fn write(&mut self, path: impl Into<PathBuf>) {
        self.write.push(path.into());
    }

    /// A file that is written and may be made again: its directory, where nothing can be read or removed.
    pub fn add(&mut self, file: &Path) {
        self.add.push(directory_of(file));
    }

    /// What the system's resolver and the check of certificates read.
    pub fn use_network(&mut self) {
        self.read.extend(NETWORK_READ.iter().map(PathBuf::from));
        let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os);
        self.read.extend(named.map(PathBuf::from));
    }

    /// Closes the sandbox for this thread and all that it starts. A kernel that cannot tell moving a file from making one
    /// (before 5.19) would forbid every move from one directory to another: it counts as one without Landlock.
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
            .and_then(|rules| rules.restrict_self());
        closed.map(|_| SandboxState::Closed).map_err(|error| {
            Fault::new(Kind::Config, format!("Landlock: {error}")).with_hint("--no-sandbox does without")
        })
    }
}

/// All but running programs and making devices.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_all(HANDLED) & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
}

fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
