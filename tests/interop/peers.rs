//! Fetches, unpacks, starts and ends the peers, and prints the matrix.
//!
//! A peer that is installed is used as it is. Otherwise, with `APPLAYER_FETCH_PEERS=1` (`make interop` sets it), its Debian
//! package and those of its libraries that are missing here are downloaded and unpacked below `target/peers/<peer>`:
//! nothing is installed, no maintainer script runs, no system daemon is started.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion};

use crate::harness::{Captured, Done, finish, temp_dir, wait};

/// Each command of a peer, and each start of one, ends within this: a few seconds, but for a machine that is busy.
pub(crate) const LIMIT: Duration = crate::harness::LIMIT;

/// Peer, the program that shows it is there, and the Debian packages that bring it.
const PEERS: &[(&str, &str, &[&str])] = &[
    ("curl", "curl", &["curl"]),
    ("lftp", "lftp", &["lftp"]),
    ("ncftp", "ncftpget", &["ncftp"]),
    ("wget", "wget", &["wget"]),
    ("rclone", "rclone", &["rclone"]),
    ("tnftp", "tnftp", &["tnftp"]),
    ("inetutils-ftp", "inetutils-ftp", &["inetutils-ftp"]),
    ("wput", "wput", &["wput"]),
    ("vsftpd", "vsftpd", &["vsftpd"]),
    ("proftpd", "proftpd", &["proftpd-core", "proftpd-mod-crypto"]),
    ("pure-ftpd", "pure-ftpd", &["pure-ftpd", "pure-ftpd-common"]),
    ("inetutils-ftpd", "ftpd", &["inetutils-ftpd"]),
    // A library that brings no program.
    (
        "pyftpdlib",
        "../lib/python3/dist-packages/pyftpdlib/__main__.py",
        &["python3-pyftpdlib", "python3-openssl", "python3-cryptography"],
    ),
    (
        "swaks",
        "swaks",
        &["swaks", "libnet-ssleay-perl", "libauthen-sasl-perl", "libnet-dns-perl", "libdigest-hmac-perl"],
    ),
    ("postfix", "smtp-sink", &["postfix"]),
    ("msmtp", "msmtp", &["msmtp"]),
    ("gsasl", "gsasl", &["gsasl"]),
    ("opensmtpd", "smtpd", &["opensmtpd"]),
    ("exim4", "exim4", &["exim4-daemon-light", "exim4-base"]),
    ("dovecot", "dovecot", &["dovecot-core", "dovecot-lmtpd"]),
    ("aiosmtpd", "aiosmtpd", &["python3-aiosmtpd"]),
    ("dig", "dig", &["bind9-dnsutils"]),
    ("delv", "delv", &["bind9-dnsutils", "bind9-utils"]),
    ("unbound-host", "unbound-host", &["unbound-host"]),
    ("kdig", "kdig", &["knot-dnsutils"]),
    ("nsd", "nsd", &["nsd"]),
    ("knot", "knotd", &["knot"]),
    ("kzonecheck", "kzonecheck", &["knot-dnssecutils"]),
    ("unbound", "unbound", &["unbound", "unbound-anchor"]),
    ("bind9", "named", &["bind9", "bind9-utils"]),
    ("dnsmasq", "dnsmasq", &["dnsmasq-base"]),
    ("dnsdist", "dnsdist", &["dnsdist"]),
    // From PyPI: Debian has none.
    ("aioquic", "../lib/python3/dist-packages/aioquic/__init__.py", &["pypi:aioquic"]),
    ("python3", "python3", &["python3"]),
    ("s-nail", "s-nail", &["s-nail"]),
    ("groff", "groff", &["groff-base"]),
    ("mandoc", "mandoc", &["mandoc"]),
    ("rsyslog", "rsyslogd", &["rsyslog"]),
    ("syslog-ng", "syslog-ng", &["syslog-ng-core"]),
    ("journald", "../lib/systemd/systemd-journald", &["systemd"]),
    ("fail2ban", "fail2ban-regex", &["fail2ban"]),
    ("jq", "jq", &["jq"]),
    ("openssl", "openssl", &["openssl"]),
    ("debootstrap", "debootstrap", &["debootstrap", "wget"]),
    ("systemd", "systemd-nspawn", &["systemd-container"]),
    ("unshare", "unshare", &["util-linux"]),
    ("strace", "strace", &["strace"]),
    ("faketime", "faketime", &["faketime", "libfaketime"]),
    ("setpriv", "setpriv", &["util-linux"]),
];

/// One cell of the matrix: a feature, shown with one peer.
#[derive(Clone, Copy)]
pub(crate) struct Trial {
    /// A name of [`PEERS`].
    pub(crate) peer: &'static str,
    /// What is shown, in a few words.
    pub(crate) feature: &'static str,
    /// Shows it; fails by panic.
    pub(crate) run: fn(&Peer) -> Verdict,
}

/// A trial, as it stands in the tables.
pub(crate) const fn trial(peer: &'static str, feature: &'static str, run: fn(&Peer) -> Verdict) -> Trial {
    Trial { peer, feature, run }
}

/// What a trial found.
pub(crate) enum Verdict {
    /// It works together.
    Ok,
    /// The peer cannot do this, for this reason.
    NotApplicable(&'static str),
    /// This machine cannot show it, for this reason; with `CI` set that is a failure.
    Skipped(String),
}

/// Runs the trials that the command line selects and prints the matrix. A peer that is missing is skipped by name; with
/// `CI` set it is a failure.
pub(crate) fn run(trials: &[Trial]) -> ExitCode {
    let arguments = Arguments::from_args();
    let listing = arguments.list;
    let cells: Arc<Mutex<Vec<(String, String, String)>>> = Arc::default();
    let tests = trials.iter().map(|trial| {
        let (trial, cells) = (*trial, Arc::clone(&cells));
        let name = format!("{}: {}", trial.peer, trial.feature);
        libtest_mimic::Trial::ignorable_test(name, move || {
            let note = |verdict: &str| {
                let row = (trial.peer.to_owned(), trial.feature.to_owned(), verdict.to_owned());
                let mut cells = cells.lock().unwrap();
                cells.retain(|(peer, feature, _)| (peer.as_str(), feature.as_str()) != (trial.peer, trial.feature));
                cells.push(row);
            };
            let peer = match Peer::find(trial.peer) {
                Ok(peer) => peer,
                Err(why) if std::env::var_os("CI").is_some() => {
                    note("FAILED: not installed");
                    return Err(format!("{} is needed in CI: {why}", trial.peer).into());
                }
                Err(why) => {
                    note("skipped: not installed");
                    return Ok(Completion::ignored_with(why));
                }
            };
            note("FAILED");
            match (trial.run)(&peer) {
                Verdict::Ok => note("ok"),
                Verdict::NotApplicable(why) => note(&format!("n/a: {why}")),
                Verdict::Skipped(why) if std::env::var_os("CI").is_some() => {
                    return Err(format!("not shown in CI: {why}").into());
                }
                Verdict::Skipped(why) => {
                    note(&format!("skipped: {why}"));
                    return Ok(Completion::ignored_with(why));
                }
            }
            Ok(Completion::Completed)
        })
    });
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    if !listing {
        print!("{}", matrix(&cells.lock().unwrap()));
    }
    conclusion.exit_code()
}

/// The matrix as text, one line a cell, grouped by peer.
fn matrix(cells: &[(String, String, String)]) -> String {
    let mut cells = cells.to_vec();
    cells.sort();
    let width =
        |pick: fn(&(String, String, String)) -> &str| cells.iter().map(|row| pick(row).len()).max().unwrap_or(0);
    let (peers, features) = (width(|row| &row.0), width(|row| &row.1));
    let mut text = String::from("peer × feature\n");
    for (peer, feature, verdict) in &cells {
        writeln!(text, "  {peer:peers$}  {feature:features$}  {verdict}").unwrap();
    }
    text
}

/// A peer that is there.
pub(crate) struct Peer {
    name: &'static str,
    /// Where its packages are unpacked; `None` for an installed one.
    root: Option<PathBuf>,
}

impl Peer {
    /// The peer called so (see [`PEERS`]): installed, unpacked already, or fetched now if that is allowed.
    pub(crate) fn find(name: &str) -> Result<Peer, String> {
        // One at a time: two trials of one peer run in two threads.
        static FETCHING: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);
        let _guard = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (name, program, packages) =
            PEERS.iter().find(|peer| peer.0 == name).unwrap_or_else(|| panic!("{name} is not in PEERS"));
        if search(&system_folders(), program).is_some() {
            return Ok(Peer { name, root: None });
        }
        let root = peers_folder().join(name);
        if !root.join(".complete").exists() {
            if std::env::var_os("APPLAYER_FETCH_PEERS").is_none() {
                return Err(format!("{program} is not installed; make interop fetches it"));
            }
            fetch(packages, &root)?;
        }
        let peer = Peer { name, root: Some(root) };
        search(&peer.folders(), program).ok_or_else(|| format!("no {program} in its packages"))?;
        Ok(peer)
    }

    /// Where its packages are unpacked (`/` for an installed peer): configuration and modules are below.
    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| PathBuf::from("/"))
    }

    /// The full path of one of its programs.
    pub(crate) fn program(&self, program: &str) -> PathBuf {
        search(&self.folders(), program).unwrap_or_else(|| panic!("{}: no program {program}", self.name))
    }

    /// A command of this peer: clean environment, its own libraries and Perl modules, HOME and directory as given.
    pub(crate) fn command(&self, program: &str, home: &Path) -> Command {
        let mut command = Command::new(self.program(program));
        let folders = self.folders();
        let path = std::env::join_paths(&folders).expect("PATH");
        command.env_clear().env("PATH", path).env("HOME", home).env("LC_ALL", "C.UTF-8").current_dir(home);
        if let Some(root) = &self.root {
            let libraries = folders_holding(root, |name| name.contains(".so"));
            command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).expect("LD_LIBRARY_PATH"));
            let perl = folders_holding(root, |name| name.ends_with(".pm"));
            // A module Net::DNS::RR lies two folders deep: Perl wants the folder above Net.
            let perl = perl.into_iter().flat_map(|folder| folder.ancestors().map(Path::to_owned).collect::<Vec<_>>());
            let mut perl: Vec<_> = perl.filter(|folder| is_perl_top(folder)).collect();
            perl.sort();
            perl.dedup();
            command.env("PERL5LIB", std::env::join_paths(perl).expect("PERL5LIB"));
            let groff = root.join("usr/share/groff/current");
            command.env("DEBOOTSTRAP_DIR", root.join("usr/share/debootstrap"));
            command.env("GROFF_FONT_PATH", groff.join("font")).env("GROFF_TMAC_PATH", groff.join("tmac"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs one of its programs to the end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = A>) -> Done {
        self.feed(program, args, None)
    }

    /// The same with bytes on stdin.
    pub(crate) fn feed<A: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
        input: Option<&[u8]>,
    ) -> Done {
        let home = temp_dir();
        let mut command = self.command(program, home.path());
        command.args(args);
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let line = line_of(&command);
        finish(command, line, input.map(<[u8]>::to_vec), LIMIT)
    }

    /// Starts a prepared server command that stays in the foreground, and waits until `addr` takes connections.
    pub(crate) fn start(&self, mut command: Command, addr: SocketAddr) -> Daemon {
        let line = line_of(&command);
        // A group of its own: the end reaches the children it forks, and nobody else.
        let mut child = command.process_group(0).spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let stdout = Captured::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Captured::of(child.stderr.take().expect("stderr is piped"));
        let daemon = Daemon { line, addr, child: Some(child), stdout, stderr };
        let deadline = Instant::now() + LIMIT;
        // A foreign server does not say when it is ready: ask until it answers.
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < deadline, "not reachable at {addr}:\n{daemon}");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        if let Some(root) = &self.root {
            folders.extend(["usr/bin", "usr/sbin", "bin", "sbin"].map(|folder| root.join(folder)));
        }
        folders.extend(system_folders());
        folders
    }
}

/// Program and arguments, without the long environment.
fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        write!(line, " {arg:?}").expect("a line");
    }
    line
}

/// A running peer; dropping it ends it.
pub(crate) struct Daemon {
    line: String,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    child: Option<Child>,
    /// What it printed.
    pub(crate) stdout: Captured,
    /// What it complained about.
    pub(crate) stderr: Captured,
}

impl std::fmt::Display for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "peer $ {}\n--- stdout\n{}\n--- stderr\n{}\n---", self.line, self.stdout, self.stderr)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
            wait(child, Duration::from_secs(5));
        }
        if std::thread::panicking() {
            eprintln!("{self}");
        }
    }
}

/// A loopback address that nobody listens on, for peers that cannot choose a port themselves. Its port is none of those that
/// the kernel hands out by itself, and is given out once: a peer that is slow to start finds it still free.
pub(crate) fn free_address() -> SocketAddr {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Another run at the same time begins somewhere else.
    let start = std::process::id().wrapping_mul(613);
    (0..COUNT)
        .map(|_| FIRST + start.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("a port"))))
        .find(|address| TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok())
        .expect("a loopback port")
}

/// `target/peers`, or what `APPLAYER_PEERS` names.
pub(crate) fn peers_folder() -> PathBuf {
    let default = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers");
    std::env::var_os("APPLAYER_PEERS").map_or_else(default, PathBuf::from)
}

fn system_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
    folders
}

fn search(folders: &[PathBuf], program: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Every folder below `root` that holds a file whose name is wanted.
fn folders_holding(root: &Path, wanted: fn(&str) -> bool) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        let mut holds = false;
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let kind = entry.file_type().expect("a file type");
            if kind.is_dir() {
                open.push(entry.path());
            } else {
                holds |= wanted(&entry.file_name().to_string_lossy());
            }
        }
        if holds {
            found.push(folder);
        }
    }
    found.sort();
    found
}

/// True for `…/share/perl5`, `…/perl5/5.36` and `…/perl/5.36.0`: where Perl looks for modules.
fn is_perl_top(folder: &Path) -> bool {
    let name = |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let version = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    match (name(folder.parent()), name(Some(folder))) {
        (Some(parent), Some(own)) => {
            (parent == "share" && own == "perl5") || (parent.starts_with("perl") && version(&own))
        }
        _ => false,
    }
}

/// Downloads and unpacks `packages` below `root`.
fn fetch(packages: &[&str], root: &Path) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/fetch.sh");
    let output = Command::new("sh").arg(script).arg(root).args(packages).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("fetch.sh: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("fetch.sh {packages:?}: {}", said.trim())) }
}
