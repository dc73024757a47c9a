//! ftpserve and the clients that people have: every client × every feature.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;

use crate::ftp_server::{FORCE_TLS, Site, pattern, same};
use crate::harness::{Done, memory_dir, temp_dir};
use crate::peers::{Peer, Trial, Verdict};
use crate::terminal::on_terminal;

/// Each of these features with every client.
macro_rules! every_client {
    ($($feature:literal => $check:ident),+) => {
        [
            rows!("curl", Curl, $($feature => $check),+),
            rows!("lftp", Lftp, $($feature => $check),+),
            rows!("wget", Wget, $($feature => $check),+),
            rows!("ncftp", Ncftp, $($feature => $check),+),
            rows!("rclone", Rclone, $($feature => $check),+),
            rows!("python3", Ftplib, $($feature => $check),+),
            rows!("tnftp", Tnftp, $($feature => $check),+),
            rows!("inetutils-ftp", Inetutils, $($feature => $check),+),
        ]
        .concat()
    };
}

macro_rules! rows {
    ($peer:literal, $client:ident, $($feature:literal => $check:ident),+) => {
        [$(Trial {
            peer: $peer,
            feature: concat!("ftpserve: ", $feature),
            run: |peer| $check(&User { peer, client: Client::$client }).map_or_else(Verdict::NotApplicable, |()| Verdict::Ok),
        }),+]
    };
}

/// One row a peer × feature.
pub(crate) fn trials() -> Vec<Trial> {
    every_client!(
        "list, get, put" => plain,
        "resume both ways" => resume,
        "rename, delete" => rename,
        "mirror both ways" => mirror,
        "abort, then go on" => abort,
        "list, get, put in TLS" => tls,
        "list, get, put, active" => active,
        "list, get, put over IPv6" => ipv6,
        "4 GiB + 1" => huge
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Curl,
    Lftp,
    Wget,
    Ncftp,
    Rclone,
    Ftplib,
    Tnftp,
    Inetutils,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Passive,
    Active,
    Tls,
}

/// What a client is to do: remote names are absolute, local ones are below its directory.
#[derive(Debug, Clone, Copy)]
enum Task<'a> {
    List,
    Get(&'a str),
    Put(&'a str),
    ResumeGet(&'a str),
    /// A file whose beginning of so many bytes is there.
    ResumePut(&'a str, u64),
    /// From, to.
    Rename(&'a str, &'a str),
    Delete(&'a str),
    /// A remote tree, into a local directory of the same name.
    MirrorHere(&'a str),
    /// A local tree, into a remote directory of the same name.
    MirrorThere(&'a str),
    /// The beginning of this file, and then a listing over the same connection.
    Abort(&'a str),
}

/// The reason why a client cannot do something.
type Unable = &'static str;

const NO_TREES: Unable = "transfers no trees";
const NO_UPLOADS: Unable = "uploads nothing";
const NO_TLS: Unable = "has no TLS for FTP";
const CLOSES: Unable = "closes its connection instead";

struct User<'a> {
    peer: &'a Peer,
    client: Client,
}

impl User<'_> {
    /// Performs a task in `dir`.
    fn does(&self, site: &Site, dir: &Path, way: Way, task: Task<'_>) -> Result<Done, Unable> {
        let (program, args, input) = match self.client {
            Client::Curl => ("curl", curl(site, way, task)?, None),
            Client::Lftp => ("lftp", lftp(site, way, task), None),
            Client::Wget => ("wget", wget(site, way, task)?, None),
            Client::Ncftp => {
                let (program, args) = ncftp(site, way, task)?;
                (program, args, None)
            }
            Client::Rclone => ("rclone", self.rclone(site, way, task)?, None),
            Client::Ftplib => ("python3", vec!["-c".to_owned(), ftplib(site, way, task)?], None),
            Client::Tnftp => ("tnftp", interactive(site, if way == Way::Active { "-A" } else { "-p" }), Some(task)),
            Client::Inetutils => {
                ("inetutils-ftp", interactive(site, if way == Way::Active { "-v" } else { "-p" }), Some(task))
            }
        };
        let input = input.map(|task| typed(way, task)).transpose()?;
        let mut command = self.peer.command(program, dir);
        command.args(&args);
        if input.is_some() {
            command.stdin(std::process::Stdio::piped());
        }
        let line = format!("{program} {args:?} < {input:?}");
        let done = crate::harness::finish(command, line, input.map(String::into_bytes), crate::peers::LIMIT);
        // Interactive clients end with 0 whatever happened.
        assert_eq!(done.status, 0, "{done}\n{}", site.server);
        Ok(done)
    }

    fn rclone(&self, site: &Site, way: Way, task: Task<'_>) -> Result<Vec<String>, Unable> {
        let obscured = self.peer.run("rclone", ["--config", "/dev/null", "obscure", "me@"]);
        let mut args =
            words(&["--config", "/dev/null", "--ftp-user", "anonymous", "--ftp-pass", obscured.text().trim()]);
        // It puts the port behind the host as it is, and asks no --ca-cert about certificates of FTP servers.
        args.extend(["--ftp-host", site.host(), "--ftp-port", &site.server.port().to_string()].map(str::to_owned));
        match way {
            Way::Passive => {}
            Way::Active => return Err("has no active mode"),
            Way::Tls => args.extend(words(&["--ftp-explicit-tls", "--ftp-no-check-certificate"])),
        }
        args.extend(match task {
            Task::List => words(&["lsf", ":ftp:/"]),
            Task::Get(name) => words(&["copyto", &format!(":ftp:/{name}"), name]),
            Task::Put(name) => words(&["copyto", name, &format!(":ftp:/{name}")]),
            Task::ResumeGet(_) | Task::ResumePut(..) => return Err("continues nothing"),
            Task::Rename(from, to) => words(&["moveto", &format!(":ftp:/{from}"), &format!(":ftp:/{to}")]),
            Task::Delete(name) => words(&["deletefile", &format!(":ftp:/{name}")]),
            Task::MirrorHere(name) => words(&["sync", &format!(":ftp:/{name}"), name]),
            Task::MirrorThere(name) => words(&["sync", name, &format!(":ftp:/{name}")]),
            Task::Abort(_) => return Err(CLOSES),
        });
        Ok(args)
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn curl(site: &Site, way: Way, task: Task<'_>) -> Result<Vec<String>, Unable> {
    let mut args = words(&["-sS", "--cacert", site.cert.to_str().unwrap()]);
    args.extend(match way {
        Way::Passive => vec![],
        Way::Active => words(&["--ftp-port", "-"]),
        Way::Tls => words(&["--ssl-reqd"]),
    });
    args.extend(match task {
        Task::List => words(&["-l", &site.url("")]),
        Task::Get(name) => words(&["-o", name, &site.url(name)]),
        Task::Put(name) => words(&["-T", name, &site.url(name)]),
        Task::ResumeGet(name) => words(&["-C", "-", "-o", name, &site.url(name)]),
        Task::ResumePut(name, _) => words(&["-C", "-", "-T", name, &site.url(name)]),
        Task::Rename(from, to) => {
            words(&["-Q", &format!("RNFR /{from}"), "-Q", &format!("RNTO /{to}"), "-l", &site.url("")])
        }
        Task::Delete(name) => words(&["-Q", &format!("DELE /{name}"), "-l", &site.url("")]),
        Task::MirrorHere(_) | Task::MirrorThere(_) => return Err(NO_TREES),
        Task::Abort(_) => return Err(CLOSES),
    });
    Ok(args)
}

fn lftp(site: &Site, way: Way, task: Task<'_>) -> Vec<String> {
    let settings = match way {
        Way::Passive => "set ftp:ssl-allow no;",
        Way::Active => "set ftp:passive-mode off;",
        Way::Tls => FORCE_TLS,
    };
    let task = match task {
        Task::List => "cls /".to_owned(),
        Task::Get(name) => format!("get /{name} -o {name}"),
        Task::Put(name) => format!("put {name} -o /{name}"),
        Task::ResumeGet(name) => format!("get -c /{name} -o {name}"),
        Task::ResumePut(name, _) => format!("put -c {name} -o /{name}"),
        Task::Rename(from, to) => format!("mv /{from} /{to}"),
        Task::Delete(name) => format!("rm /{name}"),
        Task::MirrorHere(name) => format!("mirror /{name} {name}"),
        Task::MirrorThere(name) => format!("mirror -R {name} /{name}"),
        Task::Abort(name) => format!("cat /{name} | head -c 10 > /dev/null; cls /"),
    };
    let start =
        "set cmd:fail-exit no; set xfer:clobber yes; set net:max-retries 1; set net:timeout 20; set ssl:ca-file";
    words(&["--norc", "-c", &format!("{start} {}; {settings} open {}; {task}", site.cert.display(), site.url(""))])
}

fn wget(site: &Site, way: Way, task: Task<'_>) -> Result<Vec<String>, Unable> {
    let mut args = words(&["-nv", "--tries=1", "--ca-certificate", site.cert.to_str().unwrap()]);
    let url = |name: &str| if way == Way::Tls { site.url(name).replace("ftp:", "ftps:") } else { site.url(name) };
    if way == Way::Active {
        args.push("--no-passive-ftp".to_owned());
    }
    args.extend(match task {
        Task::List => words(&["-O", "-", &url("")]),
        Task::Get(name) => words(&["-O", name, &url(name)]),
        Task::ResumeGet(name) => words(&["-c", &url(name)]),
        Task::MirrorHere(name) => words(&["-r", "-nH", &url(&format!("{name}/"))]),
        Task::Put(_) | Task::ResumePut(..) | Task::MirrorThere(_) => return Err(NO_UPLOADS),
        Task::Rename(..) | Task::Delete(_) => return Err("changes nothing on the server"),
        Task::Abort(_) => return Err(CLOSES),
    });
    Ok(args)
}

fn ncftp(site: &Site, way: Way, task: Task<'_>) -> Result<(&'static str, Vec<String>), Unable> {
    let (port, host) = (site.server.port().to_string(), site.host());
    let way = match way {
        _ if host.starts_with('[') => return Err("knows no IPv6"),
        Way::Passive => "-F",
        Way::Active => "-E",
        Way::Tls => return Err(NO_TLS),
    };
    let before = |program: &'static str, more: &[&str]| {
        let quiet: &[&str] = if program == "ncftpls" { &[] } else { &["-V", "-t", "20", "-r", "1"] };
        (program, words(&[quiet, &[way, "-P", &port], more].concat()))
    };
    let url = format!("ftp://{host}/");
    Ok(match task {
        Task::List => before("ncftpls", &[&url]),
        Task::Get(name) => before("ncftpget", &["-Z", host, ".", &format!("/{name}")]),
        Task::Put(name) => before("ncftpput", &["-Z", host, "/", name]),
        Task::ResumeGet(name) => before("ncftpget", &["-z", host, ".", &format!("/{name}")]),
        Task::ResumePut(..) => return Err("sends the whole file behind the part, to any server"),
        Task::Rename(from, to) => {
            before("ncftpls", &["-W", &format!("RNFR /{from}"), "-W", &format!("RNTO /{to}"), &url])
        }
        Task::Delete(name) => before("ncftpls", &["-W", &format!("DELE /{name}"), &url]),
        Task::MirrorHere(name) => before("ncftpget", &["-R", "-T", host, ".", &format!("/{name}")]),
        Task::MirrorThere(name) => before("ncftpput", &["-R", host, "/", name]),
        Task::Abort(_) => return Err(CLOSES),
    })
}

fn ftplib(site: &Site, way: Way, task: Task<'_>) -> Result<String, Unable> {
    let task = match task {
        Task::List => "print(*ftp.nlst(), sep='\\n')".to_owned(),
        Task::Get(name) => format!("ftp.retrbinary('RETR /{name}', open('{name}', 'wb').write)"),
        Task::Put(name) => format!("ftp.storbinary('STOR /{name}', open('{name}', 'rb'))"),
        Task::ResumeGet(name) => format!(
            "file = open('{name}', 'ab')\nftp.retrbinary('RETR /{name}', file.write, rest=os.path.getsize('{name}'))"
        ),
        Task::ResumePut(name, _) => format!(
            "ftp.voidcmd('TYPE I')\nat = ftp.size('/{name}')\nfile = open('{name}', 'rb')\nfile.seek(at)\n\
             ftp.storbinary('STOR /{name}', file, rest=at)"
        ),
        Task::Rename(from, to) => format!("ftp.rename('/{from}', '/{to}')"),
        Task::Delete(name) => format!("ftp.delete('/{name}')"),
        Task::MirrorHere(_) | Task::MirrorThere(_) => return Err(NO_TREES),
        Task::Abort(name) => format!(
            "ftp.voidcmd('TYPE I')\ndata = ftp.transfercmd('RETR /{name}')\ndata.recv(10)\nprint(ftp.abort())\n\
             data.close()\nprint(ftp.voidresp())\nprint(ftp.nlst())"
        ),
    };
    let (class, more) = match way {
        Way::Passive => ("FTP()", ""),
        Way::Active => ("FTP()", "ftp.set_pasv(False)"),
        Way::Tls => ("FTP_TLS(context=context)", "ftp.prot_p()"),
    };
    Ok(format!(
        "import ftplib, os, ssl\ncontext = ssl.create_default_context(cafile={:?})\nftp = ftplib.{class}\n\
         ftp.connect('{}', {})\nftp.login()\n{more}\n{task}\nftp.quit()\n",
        site.cert.to_str().unwrap(),
        site.host().trim_matches(['[', ']']),
        site.server.port()
    ))
}

/// The command line of tnftp and inetutils-ftp.
fn interactive(site: &Site, way: &str) -> Vec<String> {
    let host = site.host().trim_matches(['[', ']']);
    words(&["-n", "-v", way, host, &site.server.port().to_string()])
}

/// What a person types.
fn typed(way: Way, task: Task<'_>) -> Result<String, Unable> {
    if way == Way::Tls {
        return Err(NO_TLS);
    }
    let task = match task {
        Task::List => "ls /".to_owned(),
        Task::Get(name) => format!("get /{name} {name}"),
        Task::Put(name) => format!("put {name} /{name}"),
        Task::ResumeGet(name) => format!("reget /{name} {name}"),
        // `restart` takes the offset from a person, who has looked at the listing.
        Task::ResumePut(name, at) => format!("restart {at}\nput {name} /{name}"),
        Task::Rename(from, to) => format!("rename /{from} /{to}"),
        Task::Delete(name) => format!("delete /{name}"),
        Task::MirrorHere(_) | Task::MirrorThere(_) => return Err(NO_TREES),
        Task::Abort(_) => unreachable!("on a terminal"),
    };
    Ok(format!("user anonymous me@\nbinary\n{task}\nquit\n"))
}

/// The bytes of the big file that are already there.
const PART: usize = 1_000_000;

fn jobs(user: &User<'_>, site: &Site, way: Way) -> Result<(), Unable> {
    let home = temp_dir();
    let dir = home.path();
    let done = user.does(site, dir, way, Task::List)?;
    assert!(done.text().contains("big") && done.text().contains("tree"), "{done}");
    user.does(site, dir, way, Task::Get("big"))?;
    assert!(std::fs::read(dir.join("big")).unwrap() == pattern(3_000_000), "{}", site.server);
    std::fs::write(dir.join("up"), pattern(500_000)).unwrap();
    match user.does(site, dir, way, Task::Put("up")) {
        Ok(done) => assert!(site.holds("up") == pattern(500_000), "{done}"),
        Err(NO_UPLOADS) => {}
        Err(why) => return Err(why),
    }
    // What the server says of the ways: a client that quietly took another one shows nothing.
    site.server.stdout.wait_for("download\t/big\t3000000\t");
    Ok(())
}

fn plain(user: &User<'_>) -> Result<(), Unable> {
    jobs(user, &Site::start("ftp", &[]), Way::Passive)
}

fn active(user: &User<'_>) -> Result<(), Unable> {
    // Nothing can be passive: one port, and it is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    jobs(user, &Site::start("ftp", &["--pasv-ports", &format!("{port}-{port}")]), Way::Active)
}

fn ipv6(user: &User<'_>) -> Result<(), Unable> {
    jobs(user, &Site::start("ftp", &["--listen", "[::1]:0"]), Way::Passive)
}

fn tls(user: &User<'_>) -> Result<(), Unable> {
    let any: &[&str] = match user.client {
        // They do not resume the session of the control connection.
        Client::Rclone | Client::Ftplib => &["--no-require-tls-reuse"],
        _ => &[],
    };
    jobs(user, &Site::start("ftp", &[&["--tls", "starttls"], any].concat()), Way::Tls)
}

fn resume(user: &User<'_>) -> Result<(), Unable> {
    let (site, home) = (Site::start("ftp", &[]), temp_dir());
    let whole = pattern(3_000_000);
    std::fs::write(home.path().join("big"), &whole[..PART]).unwrap();
    user.does(&site, home.path(), Way::Passive, Task::ResumeGet("big"))?;
    assert!(std::fs::read(home.path().join("big")).unwrap() == whole, "{}", site.server);
    site.server.stdout.wait_for("download\t/big\t2000000\t");
    std::fs::write(home.path().join("up"), &whole).unwrap();
    std::fs::write(site.root.join("up"), &whole[..PART]).unwrap();
    user.does(&site, home.path(), Way::Passive, Task::ResumePut("up", PART as u64))?;
    assert!(site.holds("up") == whole, "{}", site.server);
    site.server.stdout.wait_for("upload\t/up\t2000000\t");
    Ok(())
}

fn rename(user: &User<'_>) -> Result<(), Unable> {
    let (site, home) = (Site::start("ftp", &[]), temp_dir());
    user.does(&site, home.path(), Way::Passive, Task::Rename("big", "moved"))?;
    assert!(!site.root.join("big").exists() && site.holds("moved") == pattern(3_000_000), "{}", site.server);
    user.does(&site, home.path(), Way::Passive, Task::Delete("moved"))?;
    assert!(!site.root.join("moved").exists(), "{}", site.server);
    Ok(())
}

fn mirror(user: &User<'_>) -> Result<(), Unable> {
    let (site, home) = (Site::start("ftp", &[]), temp_dir());
    let done = user.does(&site, home.path(), Way::Passive, Task::MirrorHere("tree"))?;
    same(&site.root.join("tree"), &home.path().join("tree"), &done);
    std::fs::rename(home.path().join("tree"), home.path().join("copy")).unwrap();
    let done = user.does(&site, home.path(), Way::Passive, Task::MirrorThere("copy"))?;
    same(&home.path().join("copy"), &site.root.join("copy"), &done);
    Ok(())
}

/// Breaks a download off that has no end, and goes on over the same connection.
fn abort(user: &User<'_>) -> Result<(), Unable> {
    let (site, home) = (Site::start("ftp", &[]), temp_dir());
    File::create(site.root.join("endless")).unwrap().set_len(1 << 40).unwrap();
    if matches!(user.client, Client::Tnftp | Client::Inetutils) {
        // Ctrl-C: Telnet IP, then Synch as urgent data with ABOR behind it.
        let program = if user.client == Client::Tnftp { "tnftp" } else { "inetutils-ftp" };
        let mut command = user.peer.command(program, home.path());
        // Without editing, the terminal keeps what is typed before they ask.
        command.arg("-e").args(interactive(&site, "-p"));
        let mut terminal = on_terminal(command, home, 80);
        for (keys, answer) in [
            ("user anonymous me@\n", "230 "),
            ("binary\n", "200 Type is binary"),
            ("get endless /dev/null\n", "150 "),
            ("\x03", "426 "),
            ("mkdir made\n", "257 \"/made\""),
            ("quit\n", "221 "),
        ] {
            terminal.press(keys);
            terminal.shown.wait_for(answer);
        }
        let (_, shown) = terminal.whole();
        assert_eq!(shown.matches("220 ").count(), 1, "one connection: {shown}");
    } else {
        let done = user.does(&site, home.path(), Way::Passive, Task::Abort("endless"))?;
        assert!(done.text().contains("tree"), "{done}");
    }
    site.server.stdout.wait_for("\t426\t");
    let logins = site.server.stdout.text().lines().filter(|line| line.contains("\tlogin\t")).count();
    assert_eq!(logins, 1, "one connection: {}", site.server);
    Ok(())
}

/// Offsets and sizes beyond 32 bits: the last byte of a file of 4 GiB + 1 both ways, and by two clients the whole file.
fn huge(user: &User<'_>) -> Result<(), Unable> {
    const SIZE: u64 = (1 << 32) + 1;
    let (site, home) = (Site::start("ftp", &[]), temp_dir());
    let sparse = |path: &Path, size: u64| {
        let file = File::create(path).unwrap();
        file.set_len(size).unwrap();
        if size == SIZE {
            file.write_all_at(b"x", SIZE - 1).unwrap();
        }
    };
    let is_whole = |path: &Path| {
        let file = File::open(path).unwrap();
        let mut last = [0];
        file.read_exact_at(&mut last, SIZE - 1).unwrap();
        assert_eq!((file.metadata().unwrap().len(), &last), (SIZE, b"x"), "{}", site.server);
    };
    let local = home.path().join("huge");
    sparse(&site.root.join("huge"), SIZE);
    if user.client == Client::Rclone {
        // It continues nothing, but can begin anywhere.
        let mut args = user.rclone(&site, Way::Passive, Task::List)?;
        args.truncate(args.len() - 2);
        args.extend(words(&["cat", "--offset", "4294967296", ":ftp:/huge"]));
        let done = user.peer.run("rclone", args);
        assert_eq!(done.exits(0).stdout, b"x", "{done}");
        return Ok(());
    }
    sparse(&local, SIZE - 1);
    user.does(&site, home.path(), Way::Passive, Task::ResumeGet("huge"))?;
    is_whole(&local);
    site.server.stdout.wait_for("download\t/huge\t1\t");
    sparse(&site.root.join("huge"), SIZE - 1);
    if !matches!(user.client, Client::Wget | Client::Ncftp) {
        user.does(&site, home.path(), Way::Passive, Task::ResumePut("huge", SIZE - 1))?;
        is_whole(&site.root.join("huge"));
        site.server.stdout.wait_for("upload\t/huge\t1\t");
    }
    if matches!(user.client, Client::Curl | Client::Lftp) {
        whole_huge(user, SIZE);
    }
    Ok(())
}

/// The whole file, in memory, down and up.
fn whole_huge(user: &User<'_>, size: u64) {
    // One at a time: each holds a copy of the file.
    static IN_MEMORY: Mutex<()> = Mutex::new(());
    let _one = IN_MEMORY.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (memory, home) = (memory_dir(), temp_dir());
    let room = rustix::fs::statvfs(memory.path()).unwrap();
    if room.f_bavail * room.f_frsize < 6 << 30 {
        return eprintln!("no memory for a file of 4 GiB: only its last byte was transferred");
    }
    let served = Site::placed(memory, "ftp", &[]);
    let local = home.path().join("huge");
    File::create(&local).unwrap().set_len(size).unwrap();
    user.does(&served, home.path(), Way::Passive, Task::Put("huge")).unwrap();
    assert_eq!(std::fs::metadata(served.root.join("huge")).unwrap().len(), size, "{}", served.server);
    std::fs::remove_file(&local).unwrap();
    std::os::unix::fs::symlink("/dev/null", &local).unwrap();
    user.does(&served, home.path(), Way::Passive, Task::Get("huge")).unwrap();
    served.server.stdout.wait_for(&format!("download\t/huge\t{size}\t"));
}
