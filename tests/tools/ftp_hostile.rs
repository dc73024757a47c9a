//! A scripted server that does what servers must not, against all four FTP clients: a defined status each, nothing outside
//! of the target, no hang.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use crate::ftp_peer::{FtpPeer, FtpSession, OPENING, READY, greeting_peer};
use crate::harness::{Done, peer, temp_dir, tool};

/// What the server does; the rest is as it should be. Every path is a file `x` of two bytes or a directory with `listing`.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    greeting: Option<&'static str>,
    /// `None`: EPSV works. Else the reply to PASV, in which `PORT` stands for the port's two numbers.
    pasv: Option<&'static str>,
    /// The passive port is one where nobody listens.
    closed_port: bool,
    /// The data connection is taken and nothing ever comes or is read.
    mute: bool,
    /// Before the bytes of a transfer.
    pub(crate) opening: Option<&'static str>,
    /// After them; empty: the control connection ends.
    closing: Option<&'static str>,
    /// Neither MLSD nor MLST.
    old: bool,
    pwd: Option<&'static str>,
    stat: Option<&'static str>,
    pub(crate) listing: Option<&'static str>,
    /// As many lines of a listing.
    lines: u32,
    /// DELE and RMD refuse.
    keeps: bool,
    /// What SIZE says of every file.
    size: Option<u64>,
    /// The reply to AUTH TLS.
    auth: Option<&'static str>,
    /// The control connection ends after this many bytes.
    budget: Option<usize>,
}

fn foe(manner: Manner) -> FtpPeer {
    let (greeting, budget) = (manner.greeting.unwrap_or(READY), manner.budget.unwrap_or(usize::MAX));
    greeting_peer(greeting, budget, move |session, verb, path| answer(session, &manner, verb, path))
}

/// A server whose directories hold this.
pub(crate) fn listing(listing: &'static str) -> FtpPeer {
    foe(Manner { listing: Some(listing), ..Manner::default() })
}

pub(crate) fn answer(session: &mut FtpSession, manner: &Manner, verb: &str, path: &str) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let reply = match verb {
        "FEAT" if manner.old => "211-Features:\r\n SIZE\r\n REST STREAM\r\n211 End\r\n",
        "AUTH" => manner.auth?,
        "EPSV" if manner.pasv.is_some() => "500 what?\r\n",
        "EPSV" if manner.closed_port => {
            let reply = format!("229 passive (|||{}|)\r\n", session.listen());
            session.passive = None;
            return Some(reply);
        }
        "PASV" => {
            let port = session.listen();
            let reply = manner.pasv?.replace("PORT", &format!("{},{}", port >> 8, port & 255));
            session.passive = session.passive.take().filter(|_| manner.pasv.is_some_and(|text| text.contains("PORT")));
            return Some(reply);
        }
        "MLSD" if manner.old => "500 what?\r\n",
        "RETR" | "STOR" | "APPE" | "MLSD" | "LIST" => {
            if session.passive.is_none() {
                return Some("425 no data connection\r\n".to_owned());
            }
            let Some(mut data) = session.data(manner.opening.unwrap_or(OPENING)) else { return Some(String::new()) };
            if manner.mute {
                session.conn.until_closed();
                return Some(String::new());
            }
            transfer(&mut data, verb, manner);
            manner.closing.unwrap_or("226 done\r\n")
        }
        "SIZE" if manner.old && name != "x" => "550 not a plain file\r\n",
        "SIZE" => return Some(format!("213 {}\r\n", manner.size.unwrap_or(2))),
        "MLST" if name == "x" => "250-Facts\r\n type=file;size=2; x\r\n250 End\r\n",
        "MLST" if !manner.old => return Some(format!("250-Facts\r\n type=dir; {name}\r\n250 End\r\n")),
        "PWD" => manner.pwd?,
        "STAT" => manner.stat.unwrap_or("502 no\r\n"),
        "DELE" | "RMD" if manner.keeps => "550 no\r\n",
        _ => return None,
    };
    Some(reply.to_owned())
}

fn transfer(data: &mut TcpStream, verb: &str, manner: &Manner) {
    match verb {
        "RETR" => drop(data.write_all(b"hi")),
        "MLSD" | "LIST" => {
            let text = manner.listing.unwrap_or(if verb == "LIST" {
                "-rw-r--r-- 1 u g 2 Nov 23  2020 x\r\n"
            } else {
                "type=file;size=2; x\r\n"
            });
            for _ in 0..manner.lines.max(1) {
                if data.write_all(text.as_bytes()).is_err() {
                    return;
                }
            }
        }
        _ => drop(data.read_to_end(&mut Vec::new())),
    }
}

/// The plain job of each client against the server: fetch `x`, fetch a tree, store `x`, list, look.
pub(crate) const JOBS: [(&str, &[&str]); 5] = [
    ("ftpget", &["-o", "got", "URL/x"]),
    ("ftpget", &["-j1", "-r", "-o", "tree", "URL/"]),
    ("ftpput", &["given", "URL/x"]),
    ("ftpls", &["URL/"]),
    ("ftpdo", &["URL/", "du"]),
];

pub(crate) fn run(foe: &FtpPeer, dir: &Path, name: &str, args: &[&str]) -> Done {
    std::fs::write(dir.join("given"), "hi").unwrap();
    let args = args.iter().map(|arg| arg.replace("URL/", &foe.url("")));
    tool(name).args(["--timeout", "1", "--connect-timeout", "2"]).args(args).dir(dir).run()
}

/// Runs all jobs; their statuses must be these.
#[track_caller]
fn all(what: &str, manner: Manner, statuses: [i32; 5]) {
    let foe = foe(manner);
    for ((name, args), status) in JOBS.into_iter().zip(statuses) {
        let work = temp_dir();
        let done = run(&foe, work.path(), name, args);
        assert_eq!(done.status, status, "{what}: {done}\nheard: {:?}", foe.heard());
        assert!(!done.stderr.contains('\x1b'), "{what}: {done}");
        if status != 0 {
            assert!(!work.path().join("got").exists() && !work.path().join("tree/x").exists(), "{what}: {done}");
            assert!(!done.stderr.is_empty(), "{what}: a failure without a word: {done}");
        }
        if name == "ftpget" && args.contains(&"got") && status == 0 {
            assert_eq!(std::fs::read(work.path().join("got")).unwrap(), b"hi", "{what}");
        }
    }
}

#[test]
fn as_it_should_be() {
    all("well-behaved", Manner::default(), [0; 5]);
    all("old", Manner { old: true, ..Manner::default() }, [0; 5]);
}

#[test]
fn addresses_in_pasv_replies() {
    for pasv in [
        "227 Entering Passive Mode (192,0,2,1,PORT)\r\n",
        "227 Passive 0,0,0,0,PORT\r\n",
        "227 =10,1,2,3,PORT.\r\n",
        "227 take port 7 (255,255,255,255,PORT) or leave it\r\n",
    ] {
        all(pasv, Manner { pasv: Some(pasv), ..Manner::default() }, [0; 5]);
    }
    for pasv in ["227 none\r\n", "227 (127,0,0,1,0,0)\r\n", "227 (127,0,0,1,256,1)\r\n", "227 (1,2,3)\r\n"] {
        all(pasv, Manner { pasv: Some(pasv), ..Manner::default() }, [76; 5]);
    }
}

#[test]
fn odd_replies_of_many_lines() {
    for greeting in [
        "220-one\r\n220-two\r\n220 three\r\n",
        "220-one\r\n221 not the end\r\n 220 nor this\r\n220x\r\n\r\n220 end\r\n",
        "220-\n220 \n",
        "220\r\n",
        "120 in a minute\r\n220 now\r\n",
    ] {
        all(greeting, Manner { greeting: Some(greeting), ..Manner::default() }, [0; 5]);
    }
    // One reply too many: each is taken for the next command's, until one makes no sense or none comes.
    let foe = foe(Manner { greeting: Some("230 you are in\r\n220 ready\r\n"), ..Manner::default() });
    for (name, args) in JOBS {
        let done = run(&foe, temp_dir().path(), name, args);
        assert!([69, 75, 76].contains(&done.status), "{done}");
    }
    for (greeting, status) in [("hello\r\n", 76), ("421 full\r\n", 75), ("530 no\r\n", 77)] {
        all(greeting, Manner { greeting: Some(greeting), ..Manner::default() }, [status; 5]);
    }
}

#[test]
fn replies_to_transfers_out_of_order() {
    let opening = |opening| Manner { opening: Some(opening), ..Manner::default() };
    all("150 twice", opening("150 a\r\n150 b\r\n"), [0; 5]);
    all("125", opening("125-a\r\n125 b\r\n"), [0; 5]);
    all("226 instead of 150", Manner { closing: Some("226 again\r\n"), ..opening("226 done\r\n") }, [76; 5]);
    all("350 instead of 150", opening("350 more\r\n"), [76; 5]);
    let early = Manner { closing: Some("200 what else\r\n"), ..opening("150 a\r\n226 early\r\n") };
    // Everything came and the transfer was confirmed: that the confirmation was early harms nobody, what follows does.
    let foe = foe(early);
    for (name, args) in JOBS {
        let work = temp_dir();
        let done = run(&foe, work.path(), name, args);
        assert!([0, 75, 76].contains(&done.status), "{done}");
    }
}

#[test]
fn transfers_that_are_not_confirmed() {
    let closing = |closing| Manner { closing: Some(closing), ..Manner::default() };
    all("the control connection ends", closing(""), [75; 5]);
    all("451", closing("451 disk trouble\r\n"), [75; 5]);
    all("551", closing("551 page type unknown\r\n"), [69; 5]);
    let foe = foe(closing("150 still\r\n"));
    let done = run(&foe, temp_dir().path(), "ftpget", &["--max-time", "3", "-o", "-", "URL/x"]);
    assert_eq!(done.status, 75, "150 and no more: {done}");
}

#[test]
fn no_data_connection() {
    let closed = Manner { closed_port: true, ..Manner::default() };
    all("a closed port", closed.clone(), [75; 5]);
    let stat = "213-Status:\r\n-rw-r--r-- 1 u g 2 Nov 23  2020 x\r\n213 End\r\n";
    // Listings come by STAT then, transfers cannot.
    all("a closed port, and STAT", Manner { stat: Some(stat), ..closed }, [75, 75, 75, 0, 0]);
    let foe = foe(Manner { mute: true, ..Manner::default() });
    for (name, args) in JOBS {
        let work = temp_dir();
        // What was sent whole is waited for until the end of the run, the rest until it is silent.
        let limit: &[&str] = if name == "ftpput" { &["--max-time", "3"] } else { &[] };
        let done = run(&foe, work.path(), name, &[limit, args].concat());
        assert_eq!(done.status, 75, "a data connection without a word: {done}");
    }
}

#[test]
fn the_login_directory_in_odd_quotes() {
    // LIST of a directory with a space goes through PWD and CWD.
    for (pwd, status) in [
        ("257 \"/a \"\"b\"\"\"\r\n", 0),
        ("257 \"/\"\r\n", 0),
        // A fresh connection is where the login lands, whatever PWD says.
        ("257 no quotes\r\n", 0),
        ("257 \"open\r\n", 0),
        ("257 \"\" is it\r\n", 0),
        ("550 no\r\n", 0),
        ("502 no\r\n", 0),
    ] {
        let foe = foe(Manner { old: true, pwd: Some(pwd), ..Manner::default() });
        let work = temp_dir();
        for (name, args) in [
            ("ftpget", &["-j1", "-r", "-o", "tree", "URL/a%20b/"][..]),
            ("ftpput", &["-j1", "-r", ".", "URL/a%20b/"]),
            ("ftpdo", &["URL/a%20b/", "du"]),
            ("ftpls", &["URL/a%20b/"]),
        ] {
            let done = run(&foe, work.path(), name, args);
            assert_eq!(done.status, status, "{pwd:?}: {done}");
        }
        if pwd.contains("\"\"b") {
            let back = foe.heard().iter().any(|line| line == "CWD /a \"b\"");
            assert!(back, "{:?}", foe.heard());
        }
    }
}

#[test]
fn a_directory_in_itself_ends_for_every_tool() {
    let manner = Manner { listing: Some("type=dir; again\r\n"), keeps: true, ..Manner::default() };
    let foe = foe(manner);
    for (name, args) in [
        ("ftpget", &["-r", "-o", "t", "URL/"][..]),
        ("ftpls", &["-R", "-q", "URL/"]),
        ("ftpls", &["--du", "-q", "URL/"]),
        ("ftpls", &["-q", "URL/**/x"]),
        ("ftpdo", &["URL/", "du"]),
        ("ftpdo", &["URL/", "rm", "-r", "d"]),
        ("ftpdo", &["-n", "URL/", "rm", "-r", "d"]),
    ] {
        let work = temp_dir();
        let done = run(&foe, work.path(), name, args);
        assert_eq!(done.status, 76, "{done}");
    }
}

#[test]
fn a_listing_of_a_million_lines() {
    let manner = Manner { lines: 1_000_000, ..Manner::default() };
    let foe = foe(manner);
    let work = temp_dir();
    let done = run(&foe, work.path(), "ftpls", &["--name", "nothing", "URL/"]);
    assert_eq!(done.status, 1, "{done}");
    let done = run(&foe, work.path(), "ftpdo", &["--json", "URL/", "du"]);
    assert_eq!(done.records()[0]["files"], 1_000_000, "{done}");
}

#[test]
fn names_that_would_be_more() {
    let listing = "type=dir; ../up\r\ntype=dir; a\rDELE x\r\ntype=dir; ~root\r\ntype=file;size=2; \x1b[2Jx\r\n\
                   type=file;size=2; ../x\r\ntype=file;size=2; /etc/x\r\ntype=file;size=2; good\r\n";
    let foe = foe(Manner { listing: Some(listing), keeps: true, ..Manner::default() });
    let work = temp_dir();
    let done = run(&foe, work.path(), "ftpls", &["-R", "URL/"]);
    assert_eq!(done.status, 65, "{done}");
    assert!(!done.stdout.contains(&b'\r') && !done.stderr.contains('\x1b'), "{done}");
    for args in [&["URL/", "rm", "-r", "d"][..], &["URL/", "du"]] {
        let done = run(&foe, work.path(), "ftpdo", args);
        assert_eq!(done.status, 65, "{done}");
    }
    let done = run(&foe, work.path(), "ftpls", &["URL/*/*"]);
    assert_eq!(done.status, 65, "{done}");
    let done = run(&foe, work.path(), "ftpget", &["-j1", "-r", "-o", "in/tree", "URL/"]);
    assert_eq!(done.status, 65, "{done}");
    let heard = foe.heard();
    let bad =
        |line: &&String| line.contains("..") || line.contains("etc") || line.contains(" ~") || line.contains("DELE x");
    assert_eq!(heard.iter().find(bad), None, "{heard:?}");
    let mut found: Vec<_> = std::fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    assert_eq!(found, ["given", "in"]);
}

#[test]
fn replies_without_end() {
    for flood in ["220-again and again\r\n", "220 x", "150 soon\r\n"] {
        let server = peer(move |mut conn| while conn.send(flood.repeat(4096)) {});
        for (name, args) in JOBS {
            let work = temp_dir();
            std::fs::write(work.path().join("given"), "hi").unwrap();
            let link = format!("ftp://{}", server.addr);
            let done = tool(name).args(args.iter().map(|arg| arg.replace("URL", &link))).dir(work.path()).run();
            assert_eq!(done.status, 76, "{flood:?}: {done}");
        }
    }
}

#[test]
fn names_from_a_listing_never_lead_outside() {
    let work = temp_dir();
    let target = work.path().join("in/target");
    std::fs::create_dir_all(&target).unwrap();
    std::os::unix::fs::symlink(work.path(), target.join("out")).unwrap();
    let listing = "type=file;size=2; ../up\r\ntype=file;size=2; /abs\r\ntype=file;size=2; ..\r\ntype=file;size=2; a/b\r\n\
                   type=file;size=2; ~tilde\r\ntype=file;size=2; esc\x1b[2J\r\ntype=file;size=2; nul\0x\r\n\
                   type=file;size=2; good\r\ntype=file;size=2; out\r\ntype=dir; ../dir\r\ntype=dir; out\r\n";
    let foe = foe(Manner { listing: Some(listing), ..Manner::default() });
    let done = run(&foe, work.path(), "ftpget", &["--json", "-j1", "-r", "-o", target.to_str().unwrap(), "URL/"]);
    assert_eq!(done.status, 65, "{done}");
    let mut found: Vec<_> = std::fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    assert_eq!(found, ["esc%1B[2J", "good", "out", "~tilde"], "{done}");
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 2, "only `in` and `given` are there\n{done}");
    assert!(!done.stderr.contains('\x1b'), "{done}");
    assert_eq!(done.records_of("transfer").len(), 4, "and the file called out\n{done}");
}

#[test]
fn what_is_not_complete_is_no_success() {
    let closing = |closing| Manner { closing: Some(closing), ..Manner::default() };
    let cases = [
        (closing(""), 75),
        (Manner { size: Some(5), ..Manner::default() }, 75),
        // More than it says, also when it is asked again.
        (Manner { size: Some(1), ..Manner::default() }, 65),
        (
            closing(
                "451 disk trouble
",
            ),
            75,
        ),
        (
            closing(
                "551 page type
",
            ),
            69,
        ),
        (Manner { opening: Some(""), ..Manner::default() }, 76),
    ];
    for (number, (manner, status)) in cases.into_iter().enumerate() {
        let work = temp_dir();
        let foe = foe(manner);
        let done = run(&foe, work.path(), "ftpget", &["URL/x"]);
        assert_eq!(done.status, status, "case {number}: {done}");
        assert!(!work.path().join("x").exists(), "case {number}: {done}");
        let done = run(&foe, work.path(), "ftpget", &["-o", "-", "URL/x"]);
        assert_ne!(done.status, 0, "case {number}, to stdout: {done}");
    }
}

#[test]
fn the_control_connection_ends_after_every_byte() {
    // The whole dialogue is some 400 bytes.
    for budget in (1..420).step_by(7) {
        let work = temp_dir();
        let foe = foe(Manner { budget: Some(budget), ..Manner::default() });
        let done = run(&foe, work.path(), "ftpget", &["URL/x"]);
        match done.status {
            0 => assert_eq!(std::fs::read(work.path().join("x")).unwrap(), b"hi", "after {budget} bytes: {done}"),
            75 => assert!(!work.path().join("x").exists(), "after {budget} bytes: {done}"),
            _ => panic!("after {budget} bytes: {done}"),
        }
    }
}

#[test]
fn tls_that_was_asked_for_is_not_given_up() {
    for (auth, status) in
        [("500 no\r\n", 77), ("421 later\r\n", 75), ("234 go\r\n230 you are in\r\n", 76), ("200 what\r\n", 77)]
    {
        let foe = foe(Manner { auth: Some(auth), ..Manner::default() });
        let done = tool("ftpget").args(["-o", "-", &foe.url("x").replace("ftp:", "ftpes:")]).run();
        assert_eq!((done.status, done.stdout.len()), (status, 0), "{auth:?}: {done}");
    }
}

#[test]
fn a_listing_line_that_makes_no_sense_is_said() {
    let foe = foe(Manner { listing: Some("type=file;size=2; good\r\nwhat is this\r\n"), ..Manner::default() });
    let done = tool("ftpls").args(["--json", &foe.url("")]).run();
    assert_eq!(done.status, 65, "{done}");
    assert_eq!(done.records_of("entry").len(), 1, "{done}");
}
