//! `make install`, `install-sendmail` and `uninstall`, from binaries that are there: nothing is built.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::harness::{Done, LIMIT, finish, temp_dir};

const TOOLS: [&str; 13] = [
    "ftpget",
    "ftpput",
    "ftpls",
    "ftpdo",
    "ftpserve",
    "smtpsend",
    "smtpserve",
    "mailread",
    "mailq-run",
    "mailq-ls",
    "mailq-edit",
    "dnsq",
    "dnsserve",
];

/// make with the PATH that sudo gives: no cargo is in it.
fn make(target: &str, binaries: &Path, root: &Path) -> Done {
    let mut command = Command::new("make");
    command.args(["-s", "-C", env!("CARGO_MANIFEST_DIR"), target, "PREFIX=/usr/local"]);
    command.arg(format!("RELEASE={}", binaries.display())).arg(format!("DESTDIR={}", root.display()));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    finish(command, format!("make {target}"), None, LIMIT)
}

/// Files and links below a folder, and folders that are ours, by name.
fn found(root: &Path, folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if !path.is_dir() || name.contains("applayer") {
            into.insert(name);
        }
        if path.is_dir() && !path.is_symlink() {
            found(root, &path, into);
        }
    }
}

#[test]
fn what_is_installed_is_all_there_and_all_goes() {
    let (binaries, root) = (temp_dir(), temp_dir());
    let all = || {
        let mut all = BTreeSet::new();
        found(root.path(), root.path(), &mut all);
        all
    };
    make("install", binaries.path(), root.path()).exits(2).says("ftpget is not there: run make first");
    assert_eq!(all(), BTreeSet::new());
    for name in TOOLS {
        let path = binaries.path().join(name);
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for target in ["install", "install-sendmail"] {
        make(target, binaries.path(), root.path()).exits(0);
    }
    let installed = all();
    for tool in TOOLS {
        for file in [
            format!("bin/{tool}"),
            format!("share/man/man1/{tool}.1"),
            format!("share/applayer/schemas/{tool}.json"),
            format!("share/bash-completion/completions/{tool}"),
        ] {
            assert!(installed.contains(&format!("usr/local/{file}")), "{file}");
        }
    }
    for file in [
        "usr/local/share/doc/applayer/LICENSE-MIT",
        "usr/local/share/doc/applayer/README.md",
        "usr/local/share/doc/applayer/docs/mirror.md",
        "usr/local/share/doc/applayer/examples/nightly-report.sh",
        "usr/local/share/doc/applayer/fail2ban/smtpserve.conf",
        "usr/local/share/doc/applayer/logrotate/applayer",
        "usr/local/lib/systemd/system/dnsserve.socket",
        "usr/local/lib/systemd/system/smtpserve-submissions.socket",
        "usr/local/lib/sysusers.d/applayer.conf",
        "etc/applayer/smtpserve-submission.conf",
        "usr/local/sbin/sendmail",
        "usr/local/bin/mailq",
        "var/spool/applayer-drop",
    ] {
        assert!(installed.contains(file), "{file} is not in {installed:#?}");
    }
    let docs = root.path().join("usr/local/share/doc/applayer");
    for page in std::iter::once("README.md".to_owned()).chain(names_in(&docs.join("docs"), "docs/")) {
        assert_links_lead_somewhere(&docs, &page);
    }
    let unit = std::fs::read_to_string(root.path().join("usr/local/lib/systemd/system/ftpserve.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/ftpserve "), "{unit}");
    // What an administrator wrote outlives another installation, and the end of all.
    let edited = root.path().join("etc/applayer/mailq-run.conf");
    std::fs::write(&edited, "flush\n").unwrap();
    make("install", binaries.path(), root.path()).exits(0);
    assert_eq!(std::fs::read_to_string(&edited).unwrap(), "flush\n");
    let mails = root.path().join("var/spool/applayer/queue.db");
    std::fs::write(&mails, "").unwrap();
    make("uninstall", binaries.path(), root.path()).exits(0);
    assert!(mails.exists() && edited.exists(), "mail that waits stays, and what was written by hand");
    std::fs::remove_file(mails).unwrap();
    std::fs::remove_file(edited).unwrap();
    make("uninstall", binaries.path(), root.path()).exits(0);
    assert_eq!(all(), BTreeSet::new());
}

/// The names in a folder, behind a prefix.
fn names_in(folder: &Path, prefix: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
    files.map(|name| format!("{prefix}{}", name.to_string_lossy())).collect()
}

/// A relative link of a Markdown page names a file that is there.
fn assert_links_lead_somewhere(root: &Path, page: &str) {
    let text = std::fs::read_to_string(root.join(page)).unwrap();
    for link in text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
        let target = root.join(page).parent().unwrap().join(link);
        assert!(link.contains("://") || target.exists(), "{page}: {link} leads nowhere");
    }
}

/// What cargo packs is what the tests need: the fuzz entries and their seeds, the data, the documents.
#[test]
fn the_crate_holds_what_its_tests_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if root.join(".cargo_vcs_info.json").exists() {
        // These are the contents of a crate.
        return;
    }
    let mut command = Command::new(env!("CARGO"));
    command.args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(root);
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let listed = finish(command, "cargo package --list".into(), None, LIMIT);
    assert!(listed.exits(0).stderr.is_empty(), "{listed}");
    let packed: BTreeSet<&str> = listed.text().lines().collect();
    let mut wanted = BTreeSet::new();
    let folders =
        ["src", "tests", "fuzz/entries", "fuzz/corpus", "man", "docs", "schemas", "completions", "examples", "dist"];
    for folder in folders {
        found(root, &root.join(folder), &mut wanted);
    }
    wanted.extend(["bench/RESULTS.md", "ARCHITECTURE.md"].map(str::to_owned));
    wanted.retain(|name| !root.join(name).is_dir());
    let missing: Vec<&String> = wanted.iter().filter(|name| !packed.contains(name.as_str())).collect();
    assert!(wanted.len() > 500 && missing.is_empty(), "{missing:#?}");
}
