//! FTP peers: the clients against vsftpd; curl and lftp against ftpserve.

use std::net::SocketAddr;
use std::path::Path;

use crate::ftp_clients::{same_tree, with_server};
use crate::ftp_servers::{Kind, pure_ftpd};
use crate::harness::{Done, Run, Server, server, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict, trial};
use crate::servers::{self, How, Served};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("vsftpd", "get, put, list, change: passive", |peer| round(&plain(peer), &[])),
    trial("vsftpd", "get, put, list, change: active", |peer| round(&plain(peer), &["--active"])),
    trial("vsftpd", "get, put, list, change: TLS, data connections resume the session", |peer| round(&tls(peer), &[])),
    trial("vsftpd", "TLS 1.2: every data connection resumes", |peer| {
        resumed(peer, Kind::Vsftpd, How::Tls12, "TLSv1.2")
    }),
    trial("vsftpd", "TLS 1.3: every data connection resumes", |peer| resumed(peer, Kind::Vsftpd, How::Tls, "TLSv1.3")),
    trial("proftpd", "TLS 1.2: every data connection resumes", |peer| resumed(peer, Kind::Pro, How::Tls12, "TLSv1.2")),
    trial("proftpd", "TLS 1.3: every data connection resumes", |peer| resumed(peer, Kind::Pro, How::Tls, "TLSv1.3")),
    trial("vsftpd", "get, put, list, change: TLS, active", |peer| round(&tls(peer), &["--active"])),
    trial("vsftpd", "a tree there and back", |peer| tree(&plain(peer))),
    trial("vsftpd", "a tree there and back: TLS", |peer| tree(&tls(peer))),
    trial("vsftpd", "an untrusted certificate is refused (77)", untrusted),
    trial("vsftpd", "a missing file is 66, a missing directory too", missing),
    trial("pure-ftpd", "a listing that it cuts", cut),
    trial("curl", "ftpserve: get, put, list, resume, delete; passive and active", curl_plain),
    trial("curl", "ftpserve: the same over TLS, certificate checked", curl_tls),
    trial("curl", "ftpserve: anonymous may read and not write", curl_anonymous),
    trial("lftp", "ftpserve: mirror there and back", lftp_plain),
    trial("lftp", "ftpserve: mirror there and back, TLS", lftp_tls),
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
    Site { served: servers::vsftpd(peer, root.path(), How::Plain), root, scheme: "ftp", flags: Vec::new() }
}

fn tls(peer: &Peer) -> Site {
    let root = temp_dir();
    let served = servers::vsftpd(peer, root.path(), How::Tls);
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

/// Servers that refuse a data connection without the session of its control connection: all of a tree, there and back, with
/// no more logins than jobs ask for.
fn resumed(peer: &Peer, kind: Kind, how: How, version: &str) -> Verdict {
    with_server(peer, kind, how, &[], |server| {
        let here = temp_dir();
        let traced = ["-v", "-r", "-j", "3", "--exclude=.*"];
        let (up, down) = (server.url("up/"), server.url(""));
        let got = server.run("ftpget", here.path(), &[&traced[..], &["-o", "tree", &down]].concat(), 0);
        let put = server.run("ftpput", here.path(), &[&traced[..], &["tree", &up]].concat(), 0);
        same_tree(&here.path().join("tree"), &server.root.join("up"), &put);
        for done in [got, put] {
            let connections: Vec<&str> = done.stderr.lines().filter(|line| line.contains("data connection:")).collect();
            let right = |line: &&str| line.contains(version) && line.ends_with("resumed");
            assert!(connections.len() > 60, "{done}");
            assert!(connections.iter().all(right), "{done}");
            assert!(!done.stderr.contains("no TLS session tickets are left"), "{done}");
        }
        Verdict::Ok
    })
}

/// A tree with names that need care.
fn tree(site: &Site) -> Verdict {
    let here = temp_dir();
    let names = ["a", "b c/ d", "ü/ñ/file.txt", "e/%41;type=a", "e/-dash", "e/f/g/h/i/j", "quote\"s", "~$x", "~d/~"];
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
        let name_here = name.replace("/-", "/%2D");
        assert_eq!(read(&here.path().join("back").join(name_here)), name.as_bytes(), "{name} came back");
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

/// More files than the server lists: nothing is concluded from what it leaves out.
fn cut(peer: &Peer) -> Verdict {
    let (root, here) = (temp_dir(), temp_dir());
    let local = here.path().join("D");
    std::fs::create_dir(&local).unwrap();
    for number in 0..250 {
        std::fs::write(root.path().join(number.to_string()), "there").unwrap();
        std::fs::write(local.join(number.to_string()), "here").unwrap();
    }
    let served = pure_ftpd(peer, root.path(), How::Plain);
    let url = format!("ftp://bench:secret@{}/", served.addr());
    for (name, args) in [
        ("ftpls", &[&url, "--name", "249"][..]),
        ("ftpls", &[&url, "--way", "list", "--name", "missing"]),
        ("ftpput", &["-r", "--no-clobber", "D/", &url]),
        ("ftpput", &["-r", "--newer", "D/", &url]),
        ("ftpget", &["-r", "--delete", "-o", "D", &url]),
    ] {
        tool(name).args(args).dir(here.path()).run().exits(65).says("listing is incomplete");
        let there = |number: i32| read(&root.path().join(number.to_string())) == b"there";
        assert!((0..250).all(there), "{name} {args:?}");
    }
    assert_eq!(std::fs::read_dir(local).unwrap().count(), 250);
    Verdict::Ok
}

/// ftpserve for `bob`, who may write; and its folder.
fn ftpserve(dir: &Path) -> Server {
    let hash = tool("ftpserve").arg("--hash-password").stdin("secret\n").run();
    std::fs::write(dir.join("users"), format!("bob:{}\n", hash.exits(0).text().trim())).unwrap();
    std::fs::create_dir_all(dir.join("pub")).unwrap();
    server("ftpserve")
        .args(["--write", "--append", "--self-signed", "localhost", "--user-file"])
        .arg(dir.join("users"))
        .arg("--cert-out")
        .arg(dir.join("cert.pem"))
        .arg(dir.join("pub"))
        .start()
}

fn curl_plain(peer: &Peer) -> Verdict {
    curl_round(peer, |_| Vec::new())
}

fn curl_tls(peer: &Peer) -> Verdict {
    curl_round(peer, |dir| {
        let cert = dir.join("cert.pem").display().to_string();
        ["--ssl-reqd", "--cacert", &cert].map(str::to_owned).to_vec()
    })
}

fn curl_round(peer: &Peer, flags: fn(&Path) -> Vec<String>) -> Verdict {
    let dir = temp_dir();
    let server = ftpserve(dir.path());
    let url = |path: &str| format!("ftp://localhost:{}/{path}", server.port());
    let common = [vec!["-4sS".to_owned(), "--user".to_owned(), "bob:secret".to_owned()], flags(dir.path())].concat();
    let curl = |args: &[&str], input: Option<&[u8]>| {
        peer.feed("curl", common.iter().map(String::as_str).chain(args.iter().copied()).collect::<Vec<_>>(), input)
    };
    let (stored, content) = (dir.path().join("pub/new/file"), content());
    let passive = [&["--ftp-pasv"][..], &["--ftp-pasv", "--disable-epsv"]];
    // curl 7.88 itself fails with TLS in active mode (errno 97 where it names the socket).
    let active: &[&[&str]] = if common.len() > 3 { &[] } else { &[&["-P", "127.0.0.1"]] };
    for mode in passive.iter().chain(active) {
        let with = |args: &[&str], input| curl(&[*mode, args].concat(), input);
        with(&["--ftp-create-dirs", "-T", "-", &url("new/file")], Some(&content)).exits(0);
        assert!(read(&stored) == content, "the upload differs: {mode:?}");
        assert!(with(&[&url("new/file")], None).exits(0).stdout == content, "the download differs: {mode:?}");
        let tail = with(&["-r", "1000-", &url("new/file")], None);
        assert!(tail.exits(0).stdout == content[1000..], "the tail differs: {mode:?}");
        with(&["--append", "-T", "-", &url("new/file")], Some(b"more")).exits(0);
        assert!(read(&stored).ends_with(b"more"), "nothing was appended: {mode:?}");
        assert_eq!(with(&["-l", &url("new/")], None).exits(0).text(), "file\n");
        with(&[&url("new/")], None).exits(0).prints("file");
        with(&["-I", &url("new/file")], None).exits(0).prints("Last-Modified");
        with(&["-Q", "DELE new/file", "-Q", "RMD new", &url("")], None).exits(0);
        assert!(!dir.path().join("pub/new").exists(), "not deleted: {mode:?}");
    }
    // 67: login denied; 78: no such file.
    let wrong = [&common[..1], &["--user".into(), "bob:wrong".into()], &common[3..]].concat();
    peer.run("curl", wrong.iter().map(String::as_str).chain([url("").as_str()])).exits(67);
    curl(&[&url("nothing")], None).exits(78);
    Verdict::Ok
}

fn curl_anonymous(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    std::fs::write(dir.path().join("file"), "public").unwrap();
    let server = server("ftpserve").arg(dir.path()).start();
    assert_eq!(
        peer.run("curl", ["-sS", &format!("{}/file", server.url.trim_end_matches('/'))]).exits(0).text(),
        "public"
    );
    // 25: the upload was refused.
    peer.feed("curl", ["-sS", "-T", "-", &format!("ftp://{}/new", server.addr)], Some(b"x")).exits(25);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    Verdict::Ok
}

fn lftp_plain(peer: &Peer) -> Verdict {
    lftp_mirror(peer, |_| "set ftp:ssl-allow no".to_owned())
}

fn lftp_tls(peer: &Peer) -> Verdict {
    lftp_mirror(peer, |dir| {
        let cert = dir.join("cert.pem");
        format!("set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ssl:ca-file {}", cert.display())
    })
}

fn lftp_mirror(peer: &Peer, settings: fn(&Path) -> String) -> Verdict {
    let dir = temp_dir();
    let server = ftpserve(dir.path());
    let out = dir.path().join("out");
    std::fs::create_dir_all(out.join("sub/deep")).unwrap();
    for number in 0..40 {
        std::fs::write(out.join(format!("sub/file {number}")), format!("{number}").repeat(1000)).unwrap();
    }
    std::fs::write(out.join("sub/deep/ü"), content()).unwrap();
    let script = format!(
        "{}; set net:max-retries 1; set net:timeout 30; open -u bob,secret localhost:{}; mirror -R --parallel=4 {} up; \
         cls -1 up/sub/deep; mirror --parallel=4 up {}; mv up moved; rm -r moved; cls",
        settings(dir.path()),
        server.port(),
        out.display(),
        dir.path().join("back").display()
    );
    let done = peer.run("lftp", ["-c", &script]);
    done.exits(0).prints("up/sub/deep/ü");
    assert!(read(&dir.path().join("back/sub/deep/ü")) == content(), "\n{done}");
    for number in 0..40 {
        let name = format!("back/sub/file {number}");
        assert_eq!(read(&dir.path().join(&name)), format!("{number}").repeat(1000).as_bytes(), "{name}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("pub")).unwrap().count(), 0, "\n{done}");
    Verdict::Ok
}
