//! ftpserve, used by the clients that people have: curl, lftp, wget and Python's ftplib, as their real command lines.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::{Done, Server, server, temp_dir};
use crate::peers::{Peer, Trial, Verdict, trial};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("curl", "ftpserve: passive", |peer| curl(peer, &Site::plain(), &[])),
    trial("curl", "ftpserve: PASV", |peer| curl(peer, &Site::plain(), &["--disable-epsv"])),
    trial("curl", "ftpserve: active", |peer| curl(peer, &Site::plain(), &["--ftp-port", "-"])),
    trial("curl", "ftpserve: active by PORT", |peer| {
        curl(peer, &Site::plain(), &["--ftp-port", "-", "--disable-eprt"])
    }),
    trial("curl", "ftpserve: AUTH TLS", |peer| curl(peer, &Site::starttls(&[]), &["--ssl-reqd"])),
    trial("curl", "ftpserve: AUTH TLS, any session for data", |peer| {
        curl(peer, &Site::starttls(&["--no-require-tls-reuse"]), &["--ssl-reqd"])
    }),
    trial("curl", "ftpserve: AUTH TLS up to 1.2", |peer| {
        curl(peer, &Site::starttls(&[]), &["--ssl-reqd", "--tls-max", "1.2"])
    }),
    trial("curl", "ftpserve: implicit TLS", |peer| curl(peer, &Site::implicit(), &[])),
    trial("curl", "ftpserve: refusals have their status", curl_refused),
    trial("lftp", "ftpserve: passive", |peer| lftp(peer, &Site::plain(), "")),
    trial("lftp", "ftpserve: active", |peer| lftp(peer, &Site::plain(), "set ftp:passive-mode off;")),
    trial("lftp", "ftpserve: commands sent ahead", |peer| lftp(peer, &Site::plain(), "set ftp:sync-mode off;")),
    trial("lftp", "ftpserve: LIST instead of MLSD", |peer| lftp(peer, &Site::plain(), "set ftp:use-mlsd no;")),
    trial("lftp", "ftpserve: AUTH TLS", |peer| lftp(peer, &Site::starttls(&[]), FORCE_TLS)),
    trial("lftp", "ftpserve: AUTH TLS, any session for data", |peer| {
        lftp(peer, &Site::starttls(&["--no-require-tls-reuse"]), FORCE_TLS)
    }),
    trial("lftp", "ftpserve: implicit TLS", |peer| lftp(peer, &Site::implicit(), FORCE_TLS)),
    trial("wget", "ftpserve: one file, a tree, resume", wget),
    trial("python3", "ftpserve: ftplib", |peer| ftplib(peer, &Site::plain(), "FTP()")),
    trial("python3", "ftpserve: ftplib, AUTH TLS", |peer| {
        ftplib(peer, &Site::starttls(&["--no-require-tls-reuse"]), "FTP_TLS(context=context)")
    }),
];

pub(crate) const FORCE_TLS: &str = "set ftp:ssl-allow-anonymous yes; set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ftp:ssl-protect-list yes;";

/// A running ftpserve and the tree it serves.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) root: PathBuf,
    pub(crate) cert: PathBuf,
    /// Serves with TLS of either kind.
    pub(crate) tls: bool,
    scheme: &'static str,
    _dir: TempDir,
}

impl Site {
    fn plain() -> Site {
        Site::start("ftp", &[])
    }

    fn starttls(more: &[&str]) -> Site {
        Site::start("ftp", &[&["--tls", "starttls"], more].concat())
    }

    fn implicit() -> Site {
        Site::start("ftps", &["--tls", "implicit"])
    }

    pub(crate) fn start(scheme: &'static str, args: &[&str]) -> Site {
        Site::strict(scheme, &[&["--append"], args].concat())
    }

    /// Without --append: nothing is continued but what an upload left.
    pub(crate) fn strict(scheme: &'static str, args: &[&str]) -> Site {
        Site::placed(temp_dir(), scheme, args)
    }

    /// The tree lies in this directory.
    pub(crate) fn placed(dir: TempDir, scheme: &'static str, args: &[&str]) -> Site {
        let (root, cert) = (dir.path().join("served"), dir.path().join("cert.pem"));
        std::fs::create_dir_all(root.join("tree/deep")).unwrap();
        std::fs::write(root.join("big"), pattern(3_000_000)).unwrap();
        std::fs::write(root.join("tree/a b.txt"), "spaces\n").unwrap();
        std::fs::write(root.join("tree/gr\u{fc}n"), "utf-8\n").unwrap();
        std::fs::write(root.join("tree/deep/nothing"), "").unwrap();
        for number in 0..50 {
            std::fs::write(root.join(format!("tree/deep/{number}")), format!("file {number}\n")).unwrap();
        }
        let args = [&["--write", "--self-signed", "localhost", "--cert-out", cert.to_str().unwrap()], args].concat();
        let tls = args.contains(&"--tls");
        let server = server("ftpserve").args(args).arg(&root).start();
        Site { server, root, cert, tls, scheme, _dir: dir }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}:{}/{path}", self.scheme, self.host(), self.server.port())
    }

    /// The host in URLs.
    pub(crate) fn host(&self) -> &'static str {
        if self.server.addr.is_ipv6() { "[::1]" } else { "localhost" }
    }

    pub(crate) fn holds(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.server))
    }
}

pub(crate) fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| ((at as u32).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Fails unless both trees hold the same names and bytes.
#[track_caller]
pub(crate) fn same(one: &Path, other: &Path, done: &Done) {
    let walk = |root: &Path| {
        let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
        while let Some(folder) = open.pop() {
            for entry in
                std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}\n{done}", folder.display()))
            {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_owned();
                if path.is_dir() {
                    open.push(path);
                    found.push((name, None));
                } else {
                    found.push((name, Some(std::fs::read(path).unwrap())));
                }
            }
        }
        found.sort();
        found
    };
    let (one, other) = (walk(one), walk(other));
    let names = |tree: &[(PathBuf, Option<Vec<u8>>)]| tree.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&one), names(&other), "\n{done}");
    assert!(one == other, "the bytes differ\n{done}");
}

fn curl(peer: &Peer, site: &Site, flags: &[&str]) -> Verdict {
    let home = temp_dir();
    let cert = site.cert.to_str().unwrap();
    let file = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        let done = peer.run("curl", [&["-sS", "--cacert", cert], flags, args].concat());
        done.exits(0);
        done
    };
    let whole = pattern(3_000_000);
    run(&["-o", &file("big"), &site.url("big")]);
    assert!(std::fs::read(file("big")).unwrap() == whole);
    let done = run(&[&site.url("tree/")]);
    done.prints(" a b.txt").prints(" deep");
    assert_eq!(run(&["-l", &site.url("tree/deep/")]).text().lines().count(), 51);
    // Several files over one connection.
    let done = run(&[&site.url("tree/deep/[1-9]")]);
    assert_eq!(done.text().lines().count(), 9);
    assert_eq!(run(&["-r", "10-19", &site.url("big")]).stdout, &whole[10..20]);
    run(&["--ftp-create-dirs", "-T", &file("big"), &site.url("new/dir/")]);
    assert!(site.holds("new/dir/big") == whole);
    // Resume both ways.
    std::fs::write(file("part"), &whole[..1_000_000]).unwrap();
    run(&["-C", "-", "-o", &file("part"), &site.url("big")]);
    assert!(std::fs::read(file("part")).unwrap() == whole);
    std::fs::write(site.root.join("part"), &whole[..1_000_000]).unwrap();
    run(&["-C", "-", "-T", &file("big"), &site.url("part")]);
    assert!(site.holds("part") == whole);
    std::fs::write(file("line"), "line\n").unwrap();
    run(&["-a", "-T", &file("line"), &site.url("log")]);
    run(&["-a", "-T", &file("line"), &site.url("log")]);
    assert_eq!(site.holds("log"), b"line\nline\n");
    run(&["-B", "-T", &file("line"), &site.url("text")]);
    // Times, and commands before and after.
    let done = run(&["-I", &site.url("big")]);
    done.prints("Content-Length: 3000000").prints("Last-Modified: ");
    run(&["-Q", "-RNFR log", "-Q", "-RNTO moved", "-o", &file("x"), &site.url("text")]);
    assert_eq!(site.holds("moved"), b"line\nline\n");
    run(&["-Q", "-DELE moved", "-Q", "-MKD made", "-Q", "-RMD made", "-l", &site.url("")]);
    assert!(!site.root.join("moved").exists() && !site.root.join("made").exists());
    Verdict::Ok
}

fn curl_refused(peer: &Peer) -> Verdict {
    let site = Site::start("ftp", &["--tls", "starttls"]);
    let cert = site.cert.to_str().unwrap();
    let run = |args: &[&str]| peer.run("curl", [&["-sS", "--cacert", cert], args].concat());
    // No TLS: access denied. A file that is not there, with TLS: "file not found".
    run(&[&site.url("big")]).exits(67);
    run(&["--ssl-reqd", &site.url("missing")]).exits(78);
    // The control connection in TLS, data in clear text: refused by the server.
    assert_ne!(run(&["--ftp-ssl-control", &site.url("big")]).status, 0);
    // Somebody else's certificate.
    peer.run("curl", ["-sS", "--ssl-reqd", &site.url("big")]).exits(60);
    Verdict::Ok
}

fn lftp(peer: &Peer, site: &Site, settings: &str) -> Verdict {
    let home = temp_dir();
    let run = |commands: &str| {
        let script = format!(
            "set cmd:fail-exit yes; set net:max-retries 1; set net:timeout 20; set ssl:ca-file {}; {settings} open {}; \
             {commands}",
            site.cert.display(),
            site.url(""),
        );
        let done = peer.run("lftp", ["--norc", "-c", &script]);
        done.exits(0);
        done
    };
    let whole = pattern(3_000_000);
    let local = |name: &str| home.path().join(name);
    let done = run(&format!("mirror /tree {}", local("tree").display()));
    same(&site.root.join("tree"), &local("tree"), &done);
    let done = run(&format!("mirror -R --parallel=4 {} /copy", local("tree").display()));
    same(&local("tree"), &site.root.join("copy"), &done);
    // Nothing is left to do: times and sizes agree.
    let done = run(&format!("mirror -R -v {} /copy", local("tree").display()));
    assert!(!done.text().contains("Transferring"), "\n{done}");
    run("cls -l /tree").prints("a b.txt").prints("gr\u{fc}n");
    run(&format!("get /big -o {}", local("big").display()));
    assert!(std::fs::read(local("big")).unwrap() == whole);
    std::fs::write(local("part"), &whole[..1_000_000]).unwrap();
    run(&format!("get -c /big -o {}", local("part").display()));
    assert!(std::fs::read(local("part")).unwrap() == whole);
    std::fs::write(site.root.join("part"), &whole[..1_000_000]).unwrap();
    run(&format!("put -c {} -o /part", local("big").display()));
    assert!(site.holds("part") == whole);
    run(&format!("pget -n 3 /big -o {}", local("segments").display()));
    assert!(std::fs::read(local("segments")).unwrap() == whole);
    run("mkdir -p /x/y/z; mv /part /x/y/moved; chmod 600 /x/y/moved; rm -r /copy; rm /x/y/moved; rmdir /x/y/z");
    assert!(!site.root.join("copy").exists() && site.root.join("x/y").exists());
    Verdict::Ok
}

fn wget(peer: &Peer) -> Verdict {
    let (site, home) = (Site::plain(), temp_dir());
    let dir = home.path().to_str().unwrap();
    let run = |args: &[&str]| {
        let done = peer.run("wget", [&["-nv", "-P", dir], args].concat());
        done.exits(0);
        done
    };
    run(&[&site.url("big")]);
    assert!(std::fs::read(home.path().join("big")).unwrap() == pattern(3_000_000));
    std::fs::File::options().write(true).open(home.path().join("big")).unwrap().set_len(1_000_000).unwrap();
    run(&["-c", &site.url("big")]);
    assert!(std::fs::read(home.path().join("big")).unwrap() == pattern(3_000_000));
    let done = run(&["-r", "-nH", &site.url("tree/")]);
    same(&site.root.join("tree"), &home.path().join("tree"), &done);
    Verdict::Ok
}

fn ftplib(peer: &Peer, site: &Site, class: &str) -> Verdict {
    let script = format!(
        r#"
import ftplib, io, ssl
context = ssl.create_default_context(cafile={cert:?})
ftp = ftplib.{class}
ftp.encoding = "utf-8"
ftp.connect("localhost", {port})
ftp.login()
if isinstance(ftp, ftplib.FTP_TLS): ftp.prot_p()
print(ftp.getwelcome())
assert sorted(name for name, facts in ftp.mlsd("tree")) == ["a b.txt", "deep", "grün"], list(ftp.mlsd("tree"))
assert dict(ftp.mlsd())["big"]["size"] == "3000000"
assert sorted(ftp.nlst()) == ["big", "tree"]
chunks = []
ftp.retrbinary("RETR big", chunks.append, rest=5)
assert len(b"".join(chunks)) == 2999995
ftp.storbinary("STOR up", io.BytesIO(b"x" * 1000000))
assert ftp.size("up") == 1000000
ftp.storlines("STOR lines", io.BytesIO(b"one\ntwo\n"))
lines = []
ftp.retrlines("RETR lines", lines.append)
assert lines == ["one", "two"]
assert ftp.mkd('quo"te') == '/quo"te'
ftp.cwd('quo"te')
assert ftp.pwd() == '/quo"te'
ftp.cwd("..")
ftp.rename("up", 'quo"te/moved')
ftp.delete('quo"te/moved')
ftp.rmd('quo"te')
with ftp.transfercmd("RETR big") as data: data.recv(10)
ftp.abort() if not isinstance(ftp, ftplib.FTP_TLS) else None
try: ftp.retrbinary("RETR ../../etc/passwd", print); raise SystemExit("escaped")
except (ftplib.error_perm, ftplib.error_temp, ftplib.error_reply): pass
"#,
        cert = site.cert.to_str().unwrap(),
        port = site.server.port(),
    );
    peer.run("python3", ["-c", &script]).exits(0).prints("220 ");
    assert_eq!(site.holds("lines"), b"one\ntwo\n");
    Verdict::Ok
}
