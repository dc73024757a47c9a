//! Servers that work, but not in the way that is tried first: the clients find the other one, once, and lose nothing.

use std::io::BufRead as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::ftp_hostile::{JOBS, Manner, answer, run};
use crate::ftp_peer::{FtpSession, ftp_peer};
use crate::harness::{peer, temp_dir, tool};

/// What a server does its own way, and with what flag a client is asked to know it beforehand.
type Way = fn(&mut FtpSession, &str, &str) -> Option<String>;

fn is_transfer(verb: &str) -> bool {
    matches!(verb, "RETR" | "STOR" | "APPE" | "MLSD" | "LIST")
}

/// Forgets what came in the same packet; true if anything did.
fn forget_rest(session: &mut FtpSession) -> bool {
    let reader = session.conn.stream();
    let count = reader.buffer().len();
    reader.consume(count);
    count > 0
}

fn silent(session: &mut FtpSession) -> Option<String> {
    session.conn.until_closed();
    Some(String::new())
}

fn pasv(session: &mut FtpSession) -> Option<String> {
    let port = session.listen();
    Some(format!("227 here (127,0,0,1,{},{})\r\n", port >> 8, port & 255))
}

/// PASV works, EPSV gets this reply, and a transfer without a data connection is waited for for ever, or not at all.
fn no_epsv(session: &mut FtpSession, verb: &str, reply: &str, patient: bool) -> Option<String> {
    match verb {
        "EPSV" => Some(format!("{reply}\r\n")),
        "PASV" => pasv(session),
        _ if is_transfer(verb) && session.passive.is_none() && patient => silent(session),
        _ => None,
    }
}

fn dead_port() -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("229 ok (|||{port}|)")
}

fn opens(opening: &'static str) -> Manner {
    let mut manner = Manner::default();
    manner.opening = Some(opening);
    manner
}

fn lists(listing: &'static str) -> Manner {
    let mut manner = Manner::default();
    manner.listing = Some(listing);
    manner
}

const WAYS: [(&str, Way); 17] = [
    ("one command a packet, the others lost", |session, _, _| {
        forget_rest(session);
        None
    }),
    ("one command a packet, the others part of it", |session, _, _| {
        forget_rest(session).then(|| "500 what is that?\r\n".to_owned())
    }),
    ("one command a packet, else it hangs up", |session, _, _| forget_rest(session).then(String::new)),
    ("USER is not known in a packet of others", |session, verb, _| {
        (forget_rest(session) && verb == "USER").then(|| "503 one by one\r\n".to_owned())
    }),
    ("FEAT is not answered", |session, verb, _| if verb == "FEAT" { silent(session) } else { None }),
    ("FEAT ends the connection", |_, verb, _| (verb == "FEAT").then(String::new)),
    ("FEAT ends the connection with a word", |_, verb, _| (verb == "FEAT").then(|| "421 enough\r\n".to_owned())),
    ("EPSV 500", |session, verb, _| no_epsv(session, verb, "500 what?", false)),
    ("EPSV 500 and silence", |session, verb, _| no_epsv(session, verb, "500 what?", true)),
    ("EPSV 425", |session, verb, _| no_epsv(session, verb, "425 no", false)),
    ("EPSV 450 and silence", |session, verb, _| no_epsv(session, verb, "450 no", true)),
    ("EPSV 200", |session, verb, _| no_epsv(session, verb, "200 yes", true)),
    ("EPSV 314", |session, verb, _| no_epsv(session, verb, "314 maybe", false)),
    ("EPSV names no port", |session, verb, _| no_epsv(session, verb, "229 ok (|||70000|)", true)),
    ("EPSV names a dead port", |session, verb, _| no_epsv(session, verb, &dead_port(), false)),
    ("EPSV names a dead port and waits there", |session, verb, _| no_epsv(session, verb, &dead_port(), true)),
    ("a go-ahead of two codes", |session, verb, path| {
        let mut reply = answer(session, &opens(TWO_CODES), verb, path)?;
        if is_transfer(verb) {
            reply.insert_str(0, "226-so\r\n");
        }
        Some(reply)
    }),
];
/// glftpd's.
const TWO_CODES: &str = "553-this is said\r\n553-before each\r\n150 transfer\r\n";

/// A tree goes there as well as a file.
const PUT_TREE: (&str, &[&str]) = ("ftpput", &["-j1", "-r", ".", "URL/up/"]);

#[test]
fn the_other_way_is_found_once() {
    std::thread::scope(|scope| {
        for (what, way) in WAYS {
            scope.spawn(move || {
                JOBS.iter().chain([&PUT_TREE]).for_each(|(name, args)| finds_it_once(what, way, name, args))
            });
        }
    });
}

fn finds_it_once(what: &str, way: Way, name: &str, args: &[&str]) {
    let foe = ftp_peer(move |session, verb, path| {
        way(session, verb, path).or_else(|| answer(session, &Manner::default(), verb, path))
    });
    let work = temp_dir();
    let done = run(&foe, work.path(), name, &[&["--max-time", "40"], args].concat());
    assert_eq!(done.status, 0, "{what}: {done}\nheard: {:?}", foe.heard());
    if args.contains(&"got") {
        assert_eq!(std::fs::read(work.path().join("got")).unwrap(), b"hi", "{what}");
    }
    let tried = |verb: &str| foe.heard().iter().filter(|line| line.split(' ').next() == Some(verb)).count();
    assert!(!what.contains("EPSV") || tried("EPSV") == 1, "{what}: remembered: {:?}", foe.heard());
    assert!(tried("USER") <= 3, "{what}: remembered: {:?}", foe.heard());
}

#[test]
fn what_flags_say_is_not_tried() {
    let heard = |flags: &[&str], way: Way| {
        let foe = ftp_peer(move |session, verb, path| {
            way(session, verb, path).or_else(|| answer(session, &Manner::default(), verb, path))
        });
        let done = run(&foe, temp_dir().path(), "ftpget", &[flags, &["-o", "got", "URL/x"]].concat());
        assert_eq!(done.status, 0, "{done}");
        foe.heard()
    };
    let lines = heard(&["--disable-epsv"], |session, verb, _| no_epsv(session, verb, "500 no", false));
    assert!(!lines.iter().any(|line| line == "EPSV"), "{lines:?}");
    let lines = heard(&["--lock-step"], |session, _, _| {
        assert!(!forget_rest(session));
        None
    });
    assert_eq!(lines.iter().filter(|line| line.starts_with("USER")).count(), 1, "{lines:?}");
    let account: Way = |_, verb, account| match verb {
        "PASS" => Some("332 and the account?\r\n".to_owned()),
        "ACCT" => Some(if account == "dept" { "230 in\r\n" } else { "530 no\r\n" }.to_owned()),
        _ => None,
    };
    heard(&["--account", "dept"], account);
    let foe = ftp_peer(account);
    let done = run(&foe, temp_dir().path(), "ftpget", &["URL/x"]);
    assert!(done.status == 77 && done.stderr.contains("--account"), "{done}");
}

/// EPRT and then PORT, whatever EPRT says; and a refusal is heard while a connection is awaited.
#[test]
fn active_mode_has_an_older_way_too() {
    for reply in ["500 what?", "425 no", "314 maybe", "522 (1)"] {
        let foe = ftp_peer(move |session, verb, argument| match verb {
            "EPRT" => Some(format!("{reply}\r\n")),
            "PORT" => {
                let numbers: Vec<u64> = argument.split(',').map(|number| number.parse().unwrap()).collect();
                session.memory = numbers[4] * 256 + numbers[5];
                Some("200 ok\r\n".to_owned())
            }
            "RETR" => {
                session.say("150 go\r\n");
                let port = u16::try_from(session.memory).unwrap();
                let mut data = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
                std::io::Write::write_all(&mut data, b"hi").unwrap();
                Some("226 done\r\n".to_owned())
            }
            _ => answer(session, &Manner::default(), verb, argument),
        });
        let done = run(&foe, temp_dir().path(), "ftpget", &["-A", "-o", "got", "URL/x"]);
        assert_eq!(done.status, 0, "{reply}: {done}\n{:?}", foe.heard());
    }
    let foe = ftp_peer(|_, verb, _| match verb {
        "EPRT" | "PORT" => Some("200 ok\r\n".to_owned()),
        "RETR" => Some("150 go\r\n551 the tape broke\r\n".to_owned()),
        _ => None,
    });
    let done = run(&foe, temp_dir().path(), "ftpget", &["-A", "-o", "got", "URL/x"]);
    assert!(done.status == 69 && done.stderr.contains("the tape broke"), "{done}");
}

/// A connection that ends between two files is replaced, without --retry.
#[test]
fn the_server_hangs_up_between_files() {
    let listing: String = (0..6).map(|at| format!("type=file;size=2; f{at}\r\n")).collect();
    let listing: &'static str = listing.leak();
    for goodbye in ["", "421 that was enough\r\n"] {
        let foe = ftp_peer(move |session, verb, path| {
            if session.memory == 1 {
                return Some(String::new());
            }
            let manner = lists(listing);
            let reply = answer(session, &manner, verb, path)?;
            session.memory = u64::from(verb == "RETR");
            Some(if verb == "RETR" { reply + goodbye } else { reply })
        });
        let work = temp_dir();
        let done = run(&foe, work.path(), "ftpget", &["-r", "-j1", "-o", "tree", "URL/"]);
        assert_eq!(done.status, 0, "{goodbye:?}: {done}\n{:?}", foe.heard());
        assert_eq!(std::fs::read_dir(work.path().join("tree")).unwrap().count(), 6, "{done}");
    }
}

/// The same of uploads and listings. Commands are not begun again by themselves: what they have done is no secret.
#[test]
fn the_server_hangs_up_between_others() {
    let ends = |end: &'static str, goodbye: &'static str| {
        ftp_peer(move |session, verb, path| {
            if session.memory == 1 {
                return Some(String::new());
            }
            if path.contains("not-there") {
                return Some("550 no such directory\r\n".to_owned());
            }
            let reply = match answer(session, &lists("type=dir; d\r\ntype=file;size=3; f\r\n"), verb, path) {
                None if verb == end => Some("250 ok\r\n".to_owned()),
                reply => reply,
            };
            session.memory = u64::from(verb == end);
            if verb == end { Some(reply? + goodbye) } else { reply }
        })
    };
    for goodbye in ["", "421 that was enough\r\n"] {
        for (end, name, args, status) in [
            ("RNTO", "ftpput", &["-r", "-j1", "many", "URL/"][..], 0),
            ("MKD", "ftpdo", &["URL/", "mkdir", "a", "b"], 3),
            ("MLSD", "ftpls", &["-R", "--max-depth", "3", "URL/"], 0),
        ] {
            let (foe, work) = (ends(end, goodbye), temp_dir());
            std::fs::create_dir(work.path().join("many")).unwrap();
            (0..6).for_each(|at| std::fs::write(work.path().join(format!("many/f{at}")), "hi").unwrap());
            let done = run(&foe, work.path(), name, &[&["--json"], args].concat());
            assert_eq!(done.status, status, "{goodbye:?}: {done}\n{:?}", foe.heard());
            if name == "ftpput" {
                assert_eq!(done.records_of("transfer").len(), 6, "{done}");
            }
            if name == "ftpls" {
                assert_eq!(done.records_of("entry").len(), 6, "{done}");
            }
        }
    }
}

/// A server that has too many others is asked again as often as the user allows, and is no failure for good.
#[test]
fn a_crowded_server_is_for_later() {
    for words in [
        "530 Sorry, the maximum number of clients (2) from your host are already connected.\r\n",
        "530-Sorry.\r\n530 Too many connections for this user\r\n",
        "421 no more than 3 sessions\r\n",
    ] {
        for (name, args) in JOBS.iter().chain([&PUT_TREE]) {
            for (retry, status) in [("0", 75), ("1", 0)] {
                let logins = AtomicUsize::new(0);
                let foe = ftp_peer(move |session, verb, path| match verb {
                    "PASS" if logins.fetch_add(1, Ordering::SeqCst) == 0 => Some(words.to_owned()),
                    _ => answer(session, &Manner::default(), verb, path),
                });
                let work = temp_dir();
                let done =
                    run(&foe, work.path(), name, &[&["--retry", retry, "--retry-delay", "10ms"], *args].concat());
                assert_eq!(done.status, status, "{words}: {done}\n{:?}", foe.heard());
            }
        }
    }
}

#[test]
fn a_server_that_has_died_is_found_out_once() {
    let listing: String = (0..9).map(|at| format!("type=file;size=2; f{at}\r\n")).collect();
    let listing: &'static str = listing.leak();
    let dead = AtomicBool::new(false);
    let foe = ftp_peer(move |session, verb, path| {
        if dead.load(Ordering::SeqCst) {
            return silent(session);
        }
        dead.store(verb == "RETR", Ordering::SeqCst);
        answer(session, &lists(listing), verb, path)
    });
    let done = run(&foe, temp_dir().path(), "ftpget", &["-r", "-j1", "-o", "tree", "URL/"]);
    assert_eq!(done.status, 75, "{done}");
    let logins = foe.heard().iter().filter(|line| line.starts_with("USER")).count();
    assert_eq!(logins, 2, "{done}\n{:?}", foe.heard());
}

/// Byte 255 goes out twice where the server reads TELNET, once where it reads lines (RFC 959, section 3.1).
#[test]
fn byte_255_in_a_name() {
    // The harness hears that byte as U+FFFD.
    for (said, wanted) in [("200 ok\r\n", "\u{fffd}\u{fffd}x"), ("500 what?\r\n", "\u{fffd}x"), ("", "\u{fffd}x")] {
        let foe = ftp_peer(move |session, verb, path| match verb.strip_prefix("\u{fffd}\u{fffd}\u{6}") {
            // pure-ftpd says nothing at all, and answers the next one.
            Some(_) if said.is_empty() => session.conn.line().map(|_| "257 \"/\" is it\r\n".to_owned()),
            Some(_) => Some(said.to_owned()),
            None => answer(session, &Manner::default(), verb, path.trim_start_matches('\u{fffd}')),
        });
        for (name, args) in
            [("ftpget", &["-o", "got", "URL/%FFx"][..]), ("ftpput", &["--in-place", "given", "URL/%FFx"])]
        {
            let done = run(&foe, temp_dir().path(), name, args);
            assert_eq!(done.status, 0, "{done}\n{:?}", foe.heard());
        }
        let heard = foe.heard();
        for verb in ["RETR", "STOR"] {
            let sent = heard.iter().find(|line| line.starts_with(verb)).unwrap();
            assert!(sent.ends_with(&format!(" {wanted}")) || sent.ends_with(&format!("/{wanted}")), "{sent:?}");
        }
    }
}

/// A reply whose lines never end is given up, although something comes all the time.
#[test]
fn a_reply_that_drips() {
    let lines = AtomicUsize::new(0);
    let server = peer(move |mut conn| {
        while conn.send("220-and\r\n") {
            lines.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let done = tool("ftpls").args(["--timeout", "1", &format!("ftp://{}/", server.addr)]).run();
    assert!(done.status == 75 && done.stderr.contains("without end"), "{done}");
}

/// An upload that is given up ends in a reset, also when nobody is there any more to say so: no server takes it for whole.
#[test]
fn an_upload_that_is_given_up_is_reset() {
    let reset = std::sync::Arc::new(AtomicBool::new(false));
    let seen = reset.clone();
    let foe = ftp_peer(move |session, verb, path| {
        if verb != "STOR" {
            return answer(session, &Manner::default(), verb, path);
        }
        let mut data = session.data(crate::ftp_peer::OPENING)?;
        session.conn.until_closed();
        let end = std::io::copy(&mut data, &mut std::io::sink());
        let end = end.map_err(|error| error.kind());
        seen.store(end == Err(std::io::ErrorKind::ConnectionReset), Ordering::SeqCst);
        Some(String::new())
    });
    let work = temp_dir();
    std::fs::File::create(work.path().join("big")).unwrap().set_len(64 << 20).unwrap();
    let mut command = std::process::Command::new(crate::harness::binary("ftpput"));
    let mut child = command.arg("big").arg(foe.url("x")).current_dir(work.path()).spawn().unwrap();
    while !foe.heard().iter().any(|line| line.starts_with("STOR")) {
        std::thread::yield_now();
    }
    // Give it the time to be in the middle; earlier it is no less true.
    std::thread::sleep(Duration::from_millis(200));
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..200 {
        if reset.load(Ordering::SeqCst) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no reset came");
}
