//! FTP peers: the clients against vsftpd.

use std::net::SocketAddr;
use std::path::Path;

use crate::harness::{Done, Run, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict};
use crate::servers::{self, Served};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    Trial { peer: "vsftpd", feature: "get, put, list, change: passive", run: |peer| round(&plain(peer), &[]) },
    Trial { peer: "vsftpd", feature: "get, put, list, change: active", run: |peer| round(&plain(peer), &["--active"]) },
    Trial {
        peer: "vsftpd",
        feature: "get, put, list, change: TLS, data connections resume the session",
        run: |peer| round(&tls(peer), &[]),
    },
    Trial {
        peer: "vsftpd",
        feature: "get, put, list, change: TLS, active",
        run: |peer| round(&tls(peer), &["--active"]),
    },
    Trial { peer: "vsftpd", feature: "a tree there and back", run: |peer| tree(&plain(peer)) },
    Trial { peer: "vsftpd", feature: "a tree there and back: TLS", run: |peer| tree(&tls(peer)) },
    Trial { peer: "vsftpd", feature: "an untrusted certificate is refused (77)", run: untrusted },
    Trial { peer: "vsftpd", feature: "a missing file is 66, a missing directory too", run: missing },
];

/// A server that serves `root`, and how to reach it.
struct Site {
    served: Served,
    root: tempfile::TempDir,
    scheme: &'static str,
    flags: Vec<String>,
}

impl Site {
    fn addr(&self) -> SocketAddr {
        self.served.addr()
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}/{path}", self.scheme, self.addr())
    }

    fn tool(&self, name: &str, more: &[&str]) -> Run {
        tool(name).args(&self.flags).args(more)
    }
}

fn plain(peer: &Peer) -> Site {
    let root = temp_dir();
    Site { served: servers::vsftpd(peer, root.path(), false), root, scheme: "ftp", flags: Vec::new() }
}

fn tls(peer: &Peer) -> Site {
    let root = temp_dir();
    let served = servers::vsftpd(peer, root.path(), true);
    let cert = served.dir.path().join("cert.pem").display().to_string();
    let flags = ["--ca-cert", &cert, "--tls-name", "localhost"].map(str::to_owned).to_vec();
    Site { served, root, scheme: "ftpes", flags }
}

/// Bytes that no text mode leaves alone, and more than one buffer of them.
fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(|number| [(number % 251) as u8, b'\r', b'\n', 0xff]).collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every plain job of the four clients once.
fn round(site: &Site, more: &[&str]) -> Verdict {
    let here = temp_dir();
    let local = here.path().join("file");
    std::fs::write(&local, content()).unwrap();
    let run = |name: &str, args: &[&str]| -> Done { site.tool(name, more).args(args).dir(here.path()).run() };

    run("ftpput", &["file", &site.url("new/deep/")]).silent_success();
    assert!(read(&site.root.path().join("new/deep/file")) == content(), "the upload differs");
    run("ftpget", &["-o", "back", &site.url("new/deep/file")]).silent_success();
    assert!(read(&here.path().join("back")) == content(), "the download differs");
    let streamed = run("ftpget", &["-o", "-", &site.url("new/deep/file")]);
    assert!(streamed.silent_success().stdout == content(), "the stream differs");
    let piped = site.tool("ftpput", more).args(["-", &site.url("piped")]).stdin("from a pipe").run();
    piped.silent_success();
    assert_eq!(read(&site.root.path().join("piped")), b"from a pipe");

    let listed = run("ftpls", &[&site.url("")]);
    assert_eq!(listed.silent_success().text(), "new\npiped\n");
    let json = run("ftpls", &["--json", "-R", &site.url("")]);
    let file = json.silent_success().records_of("entry").into_iter().find(|entry| entry["name"] == "file");
    assert_eq!(file.expect("the file")["size_bytes"], content().len(), "\n{json}");

    run("ftpdo", &[&site.url(""), "mv", "piped", "renamed"]).silent_success();
    run("ftpdo", &[&site.url(""), "mkdir", "empty"]).silent_success();
    assert!(site.root.path().join("renamed").is_file() && site.root.path().join("empty").is_dir());
    run("ftpdo", &[&site.url(""), "rm", "renamed"]).silent_success();
    run("ftpdo", &["-r", &site.url(""), "rm", "new", "empty"]).silent_success();
    assert_eq!(std::fs::read_dir(site.root.path()).unwrap().count(), 0, "something was left");
    Verdict::Ok
}

/// A tree with names that need care.
fn tree(site: &Site) -> Verdict {
    let here = temp_dir();
    let names = ["a", "b c/ d", "ü/ñ/file.txt", "e/%41;type=a", "e/-dash", "e/f/g/h/i/j", "quote\"s"];
    for name in names {
        let path = here.path().join("out").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, name).unwrap();
    }
    site.tool("ftpput", &["-r", "out", &site.url("deep/tree/")]).dir(here.path()).run().silent_success();
    site.tool("ftpget", &["-r", "-o", "back", &site.url("deep/tree/")]).dir(here.path()).run().silent_success();
    for name in names {
        let served = site.root.path().join("deep/tree").join(name);
        assert_eq!(read(&served), name.as_bytes(), "{name} arrived");
        assert_eq!(read(&here.path().join("back").join(name)), name.as_bytes(), "{name} came back");
    }
    Verdict::Ok
}

fn untrusted(peer: &Peer) -> Verdict {
    let mut site = tls(peer);
    std::fs::write(site.root.path().join("file"), "x").unwrap();
    site.flags.clear();
    site.tool("ftpget", &["-o", "-", &site.url("file")]).run().exits(77).says("certificate");
    site.tool("ftpget", &["--insecure", "-o", "-", &site.url("file")]).run().exits(0).says("insecure");
    Verdict::Ok
}

fn missing(peer: &Peer) -> Verdict {
    let site = plain(peer);
    site.tool("ftpget", &[&site.url("nothing")]).run().exits(66);
    site.tool("ftpls", &[&site.url("nowhere/")]).run().exits(66);
    Verdict::Ok
}
