//! FTP clients: the same round of work against every server that people run.

use std::path::{Path, PathBuf};

use crate::ftp_servers::{Kind, own, start};
use crate::harness::{Done, Run, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict, trial};
use crate::servers::{How, Served};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("vsftpd", "clients, plain", |peer| plain_job(peer, Kind::Vsftpd, How::Plain, PASSIVE)),
    trial("vsftpd", "clients, active", |peer| plain_job(peer, Kind::Vsftpd, How::Plain, ACTIVE)),
    trial("vsftpd", "clients, IPv6", |peer| plain_job(peer, Kind::Vsftpd, How::Ipv6, PASSIVE)),
    trial("vsftpd", "clients, IPv6, active", |peer| plain_job(peer, Kind::Vsftpd, How::Ipv6, ACTIVE)),
    trial("vsftpd", "clients, TLS with session reuse", |peer| plain_job(peer, Kind::Vsftpd, How::Tls, PASSIVE)),
    trial("vsftpd", "clients, TLS, active", |peer| plain_job(peer, Kind::Vsftpd, How::Tls, ACTIVE)),
    trial("vsftpd", "clients, implicit TLS", |peer| plain_job(peer, Kind::Vsftpd, How::Implicit, PASSIVE)),
    trial("pure-ftpd", "clients, plain", |peer| plain_job(peer, Kind::Pure, How::Plain, PASSIVE)),
    trial("pure-ftpd", "clients, active", |peer| plain_job(peer, Kind::Pure, How::Plain, ACTIVE)),
    trial("pure-ftpd", "clients, IPv6", |peer| plain_job(peer, Kind::Pure, How::Ipv6, PASSIVE)),
    trial("pure-ftpd", "clients, IPv6, active", |peer| plain_job(peer, Kind::Pure, How::Ipv6, ACTIVE)),
    trial("pure-ftpd", "clients, TLS", |peer| plain_job(peer, Kind::Pure, How::Tls, PASSIVE)),
    trial("pure-ftpd", "clients, implicit TLS", |peer| plain_job(peer, Kind::Pure, How::Implicit, PASSIVE)),
    trial("proftpd", "clients, plain", |peer| plain_job(peer, Kind::Pro, How::Plain, PASSIVE)),
    trial("proftpd", "clients, active", |peer| plain_job(peer, Kind::Pro, How::Plain, ACTIVE)),
    trial("proftpd", "clients, IPv6", |peer| plain_job(peer, Kind::Pro, How::Ipv6, PASSIVE)),
    trial("proftpd", "clients, IPv6, active", |peer| plain_job(peer, Kind::Pro, How::Ipv6, ACTIVE)),
    trial("proftpd", "clients, TLS with session reuse", |peer| plain_job(peer, Kind::Pro, How::Tls, PASSIVE)),
    trial("proftpd", "clients, implicit TLS", |peer| plain_job(peer, Kind::Pro, How::Implicit, PASSIVE)),
    trial("pure-ftpd", "clients, TLS, data in clear text", |peer| plain_job(peer, Kind::Pure, How::Tls, DATA_CLEAR)),
    trial("vsftpd", "clients, TLS, --ccc", |peer| ccc(peer, Kind::Vsftpd)),
    trial("pure-ftpd", "clients, TLS, --ccc", |peer| ccc(peer, Kind::Pure)),
    trial("proftpd", "clients, TLS, --ccc", |peer| ccc(peer, Kind::Pro)),
    trial("pyftpdlib", "clients, plain", |peer| plain_job(peer, Kind::Python, How::Plain, PASSIVE)),
    trial("pyftpdlib", "clients, active", |peer| plain_job(peer, Kind::Python, How::Plain, ACTIVE)),
    trial("pyftpdlib", "clients, IPv6", |peer| plain_job(peer, Kind::Python, How::Ipv6, PASSIVE)),
    trial("pyftpdlib", "clients, TLS", |peer| plain_job(peer, Kind::Python, How::Tls, PASSIVE)),
    trial("inetutils-ftpd", "clients, plain", |peer| plain_job(peer, Kind::Inetutils, How::Plain, PASSIVE)),
    trial("inetutils-ftpd", "clients, active", |peer| plain_job(peer, Kind::Inetutils, How::Plain, ACTIVE)),
    trial("inetutils-ftpd", "clients, IPv6", |peer| plain_job(peer, Kind::Inetutils, How::Ipv6, PASSIVE)),
];

const PASSIVE: &[&str] = &[];
const DATA_CLEAR: &[&str] = &["--data-clear"];
const ACTIVE: &[&str] = &["--active"];

/// The plain job of all four clients.
fn plain_job(peer: &Peer, kind: Kind, how: How, flags: &[&str]) -> Verdict {
    with_server(peer, kind, how, flags, |server| {
        let work = temp_dir();
        let dir = work.path();
        listing(server, dir);
        download(server, dir);
        upload(server, dir);
        commands(server, dir);
        Verdict::Ok
    })
}

/// The plain job, the control connection outside TLS after the login, where the server lets it.
fn ccc(peer: &Peer, kind: Kind) -> Verdict {
    let refused = with_server(peer, kind, How::Tls, &["--ccc"], |server| {
        let done = server.any("ftpls", temp_dir().path(), &[&server.url("")]);
        match done.stderr.contains("CCC: 5") {
            true => Verdict::NotApplicable("refuses CCC"),
            false => Verdict::Ok,
        }
    });
    match refused {
        Verdict::Ok => plain_job(peer, kind, How::Tls, &["--ccc"]),
        other => other,
    }
}

/// Starts a server over a filled folder and runs a check against it.
pub(crate) fn with_server(
    peer: &Peer,
    kind: Kind,
    how: How,
    flags: &[&str],
    check: impl FnOnce(&Server) -> Verdict,
) -> Verdict {
    let root = temp_dir();
    fill(root.path());
    let served = match start(peer, kind, root.path(), how) {
        Ok(served) => served,
        Err(why) => return Verdict::NotApplicable(why),
    };
    let mut server = Server::new(&served, root.path(), kind, how, flags);
    // pyftpdlib's one loop loses active data connections when several sessions open theirs at once (421 after 30 s).
    server.one_connection = kind == Kind::Python && flags == ACTIVE;
    check(&server)
}

/// What is served: files of awkward names and sizes, three levels deep.
fn fill(root: &Path) {
    std::fs::create_dir_all(root.join("sub/deeper")).unwrap();
    std::fs::create_dir(root.join("with space")).unwrap();
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::write(root.join("hello.txt"), "hello\n").unwrap();
    std::fs::write(root.join("nothing"), "").unwrap();
    std::fs::write(root.join("sub/a b.txt"), "spaces\n").unwrap();
    std::fs::write(root.join("sub/gr\u{fc}n"), "utf-8\n").unwrap();
    std::fs::write(root.join("sub/deeper/da-sh"), "dash\n").unwrap();
    std::fs::write(root.join("with space/x"), "x\n").unwrap();
    std::fs::write(root.join(".hidden"), "hidden\n").unwrap();
    let big: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(root.join("big.bin"), big).unwrap();
    for number in 0..60 {
        std::fs::write(root.join(format!("sub/deeper/{number}")), format!("file {number}\n")).unwrap();
    }
    let file = std::fs::File::options().write(true).open(root.join("hello.txt")).unwrap();
    let leap_day = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_582_977_600);
    file.set_modified(leap_day).unwrap();
}

/// A server under test, and how our tools are to speak to it.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    url: String,
    pub(crate) root: PathBuf,
    extra: Vec<String>,
    /// Trees go over one connection.
    one_connection: bool,
}

impl Server {
    fn new(served: &Served, root: &Path, kind: Kind, how: How, flags: &[&str]) -> Server {
        let dir = served.dir.path();
        std::fs::write(dir.join("password"), "secret\n").unwrap();
        let mut extra: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        // vsftpd's users are those of the system: it serves anybody.
        let user = if kind == Kind::Vsftpd { "" } else { "bench@" };
        if !user.is_empty() {
            extra.push(format!("--password-file={}/password", dir.display()));
        }
        if how.tls() {
            extra.push(format!("--ca-cert={}/cert.pem", dir.display()));
            extra.push("--tls-name=localhost".to_owned());
        }
        let url = format!("{}://{user}{}", how.scheme(), served.addr());
        Server { kind, url, root: root.to_owned(), extra, one_connection: false }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// Runs a tool that must end with `status`.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, dir: &Path, args: &[&str], status: i32) -> Done {
        let done = self.any(name, dir, args);
        assert_eq!(done.status, status, "{done}");
        done
    }

    /// Runs a script of ftpdo.
    pub(crate) fn script(&self, dir: &Path, args: &[&str], script: &str) -> Done {
        self.tool("ftpdo").args(args).arg(self.url("")).stdin(script).dir(dir).run()
    }

    /// A tool that knows how to log in.
    pub(crate) fn tool(&self, name: &str) -> Run {
        tool(name).args(&self.extra)
    }

    /// Gives what was added to the served folder to the user that the server runs as.
    pub(crate) fn own(&self) {
        if matches!(self.kind, Kind::Pure | Kind::Inetutils) {
            own(&self.root, 1000);
        }
    }

    /// Runs a tool, however it ends.
    pub(crate) fn any(&self, name: &str, dir: &Path, args: &[&str]) -> Done {
        let tree = self.one_connection && matches!(name, "ftpget" | "ftpput") && args.contains(&"-r");
        let jobs: &[&str] = if tree { &["-j1"] } else { &[] };
        tool(name).args(&self.extra).args(jobs).args(args).dir(dir).run()
    }
}

fn listing(server: &Server, dir: &Path) {
    let done = server.run("ftpls", dir, &[&server.url("sub/")], 0);
    let mut names: Vec<_> = done.text().lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["a b.txt", "deeper", "gr\u{fc}n"], "{done}");
    let done = server.run("ftpls", dir, &["--json", "-R", &server.url("")], 0);
    let records = done.records();
    let find = |path: &str| {
        let found = records.iter().find(|record| record["path"] == path);
        found.unwrap_or_else(|| panic!("no {path}\n{done}"))
    };
    assert_eq!(find("big.bin")["size_bytes"], 3_000_000);
    assert_eq!(find("sub/deeper")["entry_type"], "directory");
    assert_eq!(find("with space/x")["entry_type"], "file");
    let modified = find("hello.txt")["modified"].as_str().unwrap();
    assert!(modified.starts_with("2020-02-29"), "{modified}");
    for missing in ["nope", "nope/", "sub/nope/"] {
        server.run("ftpls", dir, &[&server.url(missing)], 66);
    }
    let done = server.run("ftpls", dir, &[&server.url("empty/")], 0);
    assert!(done.stdout.is_empty(), "{done}");
    let done = server.run("ftpls", dir, &["-l", &server.url("hello.txt")], 0);
    assert!(done.text().contains("\t6\t"), "{done}");
    server.run("ftpls", dir, &["--way=list", &server.url("with%20space/")], 0);
    let done = server.run("ftpls", dir, &["--way=stat", &server.url("sub/")], 0);
    assert!(done.text().contains("deeper"), "{done}");
}

fn download(server: &Server, dir: &Path) {
    server.run("ftpget", dir, &[&server.url("hello.txt")], 0);
    let meta = std::fs::metadata(dir.join("hello.txt")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mtime(&meta), 1_582_977_600, "the time is kept");
    server.run("ftpget", dir, &["-o", "big", &server.url("big.bin")], 0);
    assert_eq!(std::fs::read(dir.join("big")).unwrap(), std::fs::read(server.root.join("big.bin")).unwrap());
    let done = server.run("ftpget", dir, &["-o", "-", &server.url("sub/a%20b.txt"), &server.url("nothing")], 0);
    assert_eq!(done.stdout, b"spaces\n");
    server.run("ftpget", dir, &["-o", "several/", &server.url("hello.txt"), &server.url("sub/gr%C3%BCn")], 0);
    assert_eq!(std::fs::read(dir.join("several/gr\u{fc}n")).unwrap(), b"utf-8\n");
    server.run("ftpget", dir, &[&server.url("nope")], 66);
    assert!(!dir.join("nope").exists());
    server.tool("ftpget").args([&server.url("sub")]).dir(dir).run().says("-r fetches it");
    // A tree, twice: the second time everything is the same already.
    let done = server.run("ftpget", dir, &["-r", "-o", "tree", "--json", &server.url("")], 0);
    same_tree(&server.root, &dir.join("tree"), &done);
    let done = server.run("ftpget", dir, &["-r", "-o", "tree", "--json", &server.url("")], 0);
    let summary = done.records().pop().unwrap();
    assert_eq!((summary["files"].as_u64(), summary["failed"].as_u64()), (Some(0), Some(0)), "{done}");
    server.run("ftpget", dir, &["-r", &server.url("sub")], 0);
    same_tree(&server.root.join("sub"), &dir.join("sub"), &done);
    resume(server, dir);
}

/// A part that an earlier run left is continued, if the remote file is still the same.
fn resume(server: &Server, dir: &Path) {
    server.run("ftpget", dir, &["--no-clobber", "-o", "big", &server.url("big.bin")], 73);
    let whole = std::fs::read(server.root.join("big.bin")).unwrap();
    // The process dies when its file has so many bytes.
    let url = server.url("big.bin");
    let done = server.tool("ftpget").args(["-o", "r", &url]).largest_file(2000).dir(dir).run();
    assert!(done.status != 0 && !dir.join("r").exists(), "{done}");
    let done = server.run("ftpget", dir, &["-o", "r", "--json", &url], 0);
    assert_eq!(done.records()[0]["resumed_from_bytes"], 1_024_000, "{done}");
    assert_eq!(std::fs::read(dir.join("r")).unwrap(), whole);
}

fn upload(server: &Server, dir: &Path) {
    server.run("ftpput", dir, &["big", &server.url("new/in/here/")], 0);
    let there = server.root.join("new/in/here");
    assert_eq!(std::fs::read(there.join("big")).unwrap(), std::fs::read(dir.join("big")).unwrap());
    assert_eq!(std::fs::read_dir(&there).unwrap().count(), 1, "no temporary file is left");
    let done = tool("ftpput").args(&server.extra).args(["-", &server.url("new/stdin")]).stdin("from a pipe\n").run();
    assert_eq!(done.status, 0, "{done}");
    assert_eq!(std::fs::read(server.root.join("new/stdin")).unwrap(), b"from a pipe\n");
    // Over a file that is there; empty; appended; in place.
    std::fs::write(dir.join("small"), "second\n").unwrap();
    std::fs::write(dir.join("none"), "").unwrap();
    server.run("ftpput", dir, &["small", &server.url("new/stdin")], 0);
    assert_eq!(std::fs::read(server.root.join("new/stdin")).unwrap(), b"second\n");
    server.run("ftpput", dir, &["none", &server.url("new/")], 0);
    assert_eq!(std::fs::read(server.root.join("new/none")).unwrap(), b"");
    server.run("ftpput", dir, &["--append", "small", &server.url("new/stdin")], 0);
    assert_eq!(std::fs::read(server.root.join("new/stdin")).unwrap(), b"second\nsecond\n");
    server.run("ftpput", dir, &["--in-place", "small", &server.url("new/stdin")], 0);
    assert_eq!(std::fs::read(server.root.join("new/stdin")).unwrap(), b"second\n");
    server.run("ftpput", dir, &["--replace", "none", &server.url("new/stdin")], 0);
    assert_eq!(std::fs::read(server.root.join("new/stdin")).unwrap(), b"");
    let done = server.run("ftpput", dir, &["-r", "tree", &server.url("copy/of/tree/"), "--json"], 0);
    same_tree(&dir.join("tree"), &server.root.join("copy/of/tree"), &done);
}

fn commands(server: &Server, dir: &Path) {
    server.run("ftpdo", dir, &[&server.url("new"), "mkdir", "-p", "a/b/c", "d"], 0);
    assert!(server.root.join("new/a/b/c").is_dir() && server.root.join("new/d").is_dir());
    server.run("ftpdo", dir, &[&server.url("new"), "mkdir", "-p", "a/b"], 0);
    server.run("ftpdo", dir, &[&server.url("new"), "mkdir", "d"], 69);
    server.run("ftpdo", dir, &[&server.url("new"), "mv", "stdin", "a/moved"], 0);
    assert!(server.root.join("new/a/moved").exists());
    let done = server.run("ftpdo", dir, &["--json", &server.url(""), "stat", "hello.txt", "sub"], 0);
    let records = done.records();
    assert_eq!((&records[0]["size_bytes"], &records[1]["entry_type"]), (&6.into(), &"directory".into()), "{done}");
    server.run("ftpdo", dir, &[&server.url(""), "stat", "nope"], 66);
    server.run("ftpdo", dir, &[&server.url(""), "rm", "nope"], 66);
    server.run("ftpdo", dir, &[&server.url(""), "rm", "-f", "nope"], 0);
    server.run("ftpdo", dir, &[&server.url(""), "rm", "new"], 69);
    server.run("ftpdo", dir, &[&server.url(""), "rm", "-r", "new"], 0);
    assert!(!server.root.join("new").exists());
    let done = server.run("ftpdo", dir, &[&server.url(""), "raw", "SYST"], 0);
    assert!(done.text().starts_with("215 "), "{done}");
    server.run("ftpdo", dir, &[&server.url(""), "raw", "XYZZY"], 69);
}

#[track_caller]
pub(crate) fn same_tree(one: &Path, other: &Path, story: &Done) {
    let (one, other) = (paths(one, one), paths(other, other));
    assert_eq!(
        one.iter().map(|entry| &entry.0).collect::<Vec<_>>(),
        other.iter().map(|e| &e.0).collect::<Vec<_>>(),
        "{story}"
    );
    assert!(one == other, "contents differ\n{story}");
}

/// Every path below `top` with its bytes, sorted.
fn paths(top: &Path, folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let relative = path.strip_prefix(top).unwrap().to_owned();
        if entry.file_type().unwrap().is_dir() {
            found.push((relative, None));
            found.extend(paths(top, &path));
        } else {
            found.push((relative, Some(std::fs::read(&path).unwrap())));
        }
    }
    found.sort();
    found
}
