//! What is handed out: the Debian packages, in a Debian of their own that debootstrap makes once, and the source archive.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::harness::{Done, binary, finish, memory_dir, temp_dir};
use crate::peers::{Peer, Trial, Verdict, peers_folder, trial};

/// One row a program × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("debootstrap", "the packages: built twice alike, and no error of lintian's", packages_are_sound),
    trial("debootstrap", "the packages: installed, upgraded over mail, run by systemd, purged", packages_live),
    trial("unshare", "the source archive: made twice alike, and every crate is in it", sources_are_complete),
];

/// Making a system takes its time, packing binaries with all their symbols too.
const LONG: Duration = Duration::from_secs(600);

fn root_of_crate() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(mut command: Command, line: &str) -> Done {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command, line.to_owned(), None, LONG)
}

/// A system of the release that runs here, with systemd and lintian in it.
fn system(debootstrap: &Peer) -> Result<PathBuf, String> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let root = peers_folder().join("system");
    if root.join("complete").exists() {
        return Ok(root);
    }
    if std::env::var_os("APPLAYER_FETCH_PEERS").is_none() {
        return Err("make interop makes the system".to_owned());
    }
    drop(std::fs::remove_dir_all(&root));
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).ok_or("no release")?;
    let mut command = debootstrap.command("debootstrap", &std::env::temp_dir());
    command.args(["--variant=minbase", "--include=systemd,dbus", release]).arg(&root);
    // From where this system has its packages.
    let sources = Command::new("apt-get").args(["indextargets", "--format", "$(SUITE) $(REPO_URI)"]).output();
    let sources = String::from_utf8(sources.map_err(|error| error.to_string())?.stdout).unwrap();
    command.args(sources.lines().find_map(|line| line.strip_prefix(&format!("{release} "))));
    for (name, value) in std::env::vars().filter(|(name, _)| name.to_lowercase().ends_with("_proxy")) {
        command.env(name, value);
    }
    let made = run(command, "debootstrap");
    if made.status != 0 {
        return Err(format!("{}{}", made.text(), made.stderr));
    }
    // What debootstrap itself makes of lintian's dependencies does not hold together.
    let copied = std::fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf"));
    copied.map_err(|error| format!("/etc/resolv.conf: {error}"))?;
    let mut command = Command::new("chroot");
    command.arg(&root).args(["sh", "-c", "apt-get -q update && apt-get -q install -y --no-install-recommends lintian"]);
    let made = run(command, "apt-get install lintian");
    if made.status != 0 {
        return Err(format!("{}{}", made.text(), made.stderr));
    }
    std::fs::write(root.join("complete"), "").unwrap();
    Ok(root)
}

/// Builds the packages in a folder from the binaries under test.
fn build(revision: &str, folder: &Path) {
    let mut command = Command::new("sh");
    command.arg(root_of_crate().join("dist/deb/build.sh")).arg(binary("ftpget").parent().unwrap()).arg(folder);
    // What is built without optimisation packs for minutes otherwise.
    command.env("REVISION", revision).env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    run(command, "build.sh").exits(0);
}

/// The same files with the same bytes are in both folders.
fn are_alike(one: &Path, other: &Path) {
    let names = |folder: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(one), names(other));
    for name in names(one) {
        assert!(
            std::fs::read(one.join(&name)).unwrap() == std::fs::read(other.join(&name)).unwrap(),
            "{name:?} differs"
        );
    }
}

fn packages_are_sound(debootstrap: &Peer) -> Verdict {
    if !rustix::process::geteuid().is_root() {
        return Verdict::Skipped("only root changes its root".to_owned());
    }
    let root = match system(debootstrap) {
        Ok(root) => root,
        Err(why) => return Verdict::Skipped(why),
    };
    let (one, other) = (temp_dir(), temp_dir());
    build("1", one.path());
    build("1", other.path());
    are_alike(one.path(), other.path());
    let seen = tempfile::tempdir_in(&root).unwrap();
    let mut names = Vec::new();
    for package in std::fs::read_dir(one.path()).unwrap() {
        let name = package.unwrap().file_name();
        std::fs::copy(one.path().join(&name), seen.path().join(&name)).unwrap();
        names.push(Path::new("/").join(seen.path().file_name().unwrap()).join(&name));
    }
    let mut command = Command::new("chroot");
    command.arg(&root).args(["lintian", "--allow-root", "--fail-on", "error"]).args(names);
    run(command, "lintian").exits(0);
    Verdict::Ok
}

fn packages_live(debootstrap: &Peer) -> Verdict {
    if !rustix::process::geteuid().is_root() {
        return Verdict::Skipped("only root changes its root".to_owned());
    }
    let root = match system(debootstrap) {
        Ok(root) => root,
        Err(why) => return Verdict::Skipped(why),
    };
    let systemd = match Peer::find("systemd") {
        Ok(systemd) => systemd,
        Err(why) => return Verdict::Skipped(why),
    };
    let (old, new, dir) = (temp_dir(), temp_dir(), memory_dir());
    build("1", old.path());
    build("2", new.path());
    let mut command = systemd.command("sh", dir.path());
    command.arg(root_of_crate().join("tests/interop/package.sh")).arg(root).arg(dir.path());
    command.args([old.path(), new.path()]).arg(systemd.program("systemd-nspawn"));
    let done = run(command, "package.sh");
    match done.status {
        42 => Verdict::NotApplicable("no container with systemd can be started here; the rest is as it should be"),
        _ => {
            done.exits(0);
            Verdict::Ok
        }
    }
}

fn sources_are_complete(_: &Peer) -> Verdict {
    let (one, other, home) = (temp_dir(), temp_dir(), temp_dir());
    for folder in [&one, &other] {
        let mut command = Command::new("sh");
        command.arg(root_of_crate().join("dist/source.sh")).arg(folder.path()).env("CARGO", env!("CARGO"));
        run(command, "source.sh").exits(0);
    }
    are_alike(one.path(), other.path());
    let archive = std::fs::read_dir(one.path()).unwrap().next().unwrap().unwrap().path();
    let mut tar = Command::new("tar");
    tar.args(["-x", "--strip-components=1", "-C"]).arg(home.path()).arg("-f").arg(archive);
    run(tar, "tar").exits(0);
    // Nothing outside the archive: no cache, no network.
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--frozen", "--format-version", "1"]).current_dir(home.path());
    command.env("CARGO_HOME", home.path().join("none"));
    run(command, "cargo metadata").exits(0).prints("rustls");
    Verdict::Ok
}
