//! ftpget, ftpput, ftpls and ftpdo: against ftpserve, and against a server that does what servers should not.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::{Conn, Done, Peer, Server, binary, peer, rounds, server, temp_dir, tool};

/// A server of our own that takes uploads from anybody.
fn serve(root: &Path) -> Server {
    server("ftpserve").arg("--write").arg(root).start()
}

fn url(server: &Server, path: &str) -> String {
    format!("ftp://{}/{path}", server.addr)
}

#[test]
fn there_and_back_with_records() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = serve(root.path());
    std::fs::create_dir_all(work.path().join("tree/a/b")).unwrap();
    std::fs::write(work.path().join("tree/one"), "1\n").unwrap();
    std::fs::write(work.path().join("tree/a/b/two \u{e4}"), vec![7; 400_000]).unwrap();
    let run = |name: &str, args: &[&str]| {
        let done = tool(name).args(args).dir(work.path()).run();
        assert_eq!(done.status, 0, "{done}");
        done
    };
    let put = run("ftpput", &["--json", "-r", "tree", &url(&server, "up/here/")]);
    assert_eq!(put.records_of("transfer").len(), 2, "{put}");
    run("ftpls", &["--json", "-R", &url(&server, "up/")]);
    run("ftpget", &["--json", "-r", "-o", "back", &url(&server, "up/here/")]);
    let two = work.path().join("back/a/b/two \u{e4}");
    assert_eq!(std::fs::read(&two).unwrap(), vec![7; 400_000]);
    run("ftpdo", &["--json", &url(&server, "up"), "mkdir", "-p", "x/y"]);
    run("ftpdo", &[&url(&server, ""), "rm", "-r", "up"]);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn text_is_silent_and_stdout_is_the_file() {
    let root = temp_dir();
    std::fs::write(root.path().join("x"), "payload").unwrap();
    let server = serve(root.path());
    let done = tool("ftpget").args(["-o", "-", &url(&server, "x")]).run();
    assert_eq!((done.stdout.as_slice(), done.stderr.as_str(), done.status), (&b"payload"[..], "", 0), "{done}");
    let done = tool("ftpget").args([&url(&server, "x")]).run();
    assert_eq!((done.stdout.len(), done.stderr.as_str(), done.status), (0, "", 0), "{done}");
    let done = tool("ftpget").args(["--json", "-o", "-", &url(&server, "x")]).run();
    assert_eq!(done.status, 64, "records and a payload cannot share stdout: {done}");
    let done = tool("ftpget").args(["-o", "-", &url(&server, "x")]).closed_stdout().run();
    assert_eq!(done.status, 141, "{done}");
    let done = tool("ftpget").args(["-o", "/dev/null", &url(&server, "x")]).run();
    assert_eq!(done.status, 0, "{done}");
    assert!(!Path::new("/dev/.null.part").exists());
}

#[test]
fn a_changed_remote_file_is_fetched_from_the_beginning() {
    let (root, work) = (temp_dir(), temp_dir());
    let big = vec![1u8; 900_000];
    std::fs::write(root.path().join("x"), &big).unwrap();
    let server = serve(root.path());
    let link = url(&server, "x");
    let done = tool("ftpget").args(["--json", &link]).dir(work.path()).run();
    let modified: jiff::Timestamp = done.records()[0]["modified"].as_str().unwrap().parse().unwrap();
    for (seconds, resumed) in [(modified.as_second(), 500_000u64), (modified.as_second() - 1, 0)] {
        std::fs::remove_file(work.path().join("x")).unwrap();
        let part = work.path().join(".x.part");
        std::fs::write(&part, vec![1u8; 500_000]).unwrap();
        let file = std::fs::File::open(&part).unwrap();
        let memory = format!("900000 {seconds} {link}");
        let kept =
            rustix::fs::fsetxattr(&file, "user.applayer.remote", memory.as_bytes(), rustix::fs::XattrFlags::empty());
        drop(file);
        let done = tool("ftpget").args(["--json", &link]).dir(work.path()).run();
        let expected = if kept.is_ok() { resumed } else { 0 };
        assert_eq!(done.records()[0]["resumed_from_bytes"].as_u64(), Some(expected), "{done}");
        assert_eq!(std::fs::read(work.path().join("x")).unwrap(), big, "{done}");
    }
}

#[test]
fn a_second_run_finds_the_part_locked() {
    let (root, work) = (temp_dir(), temp_dir());
    std::fs::write(root.path().join("x"), "x").unwrap();
    let server = serve(root.path());
    let part = std::fs::File::create(work.path().join(".x.part")).unwrap();
    rustix::fs::flock(&part, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let done = tool("ftpget").args([&url(&server, "x")]).dir(work.path()).run();
    assert_eq!(done.status, 75, "{done}");
    assert!(!work.path().join("x").exists());
}

/// `kill -9` somewhere in the middle, again and again: the same command brings the file home, and it never appears half.
#[test]
fn a_crash_of_ftpget_is_resumed() {
    let (root, work) = (temp_dir(), temp_dir());
    let whole: Vec<u8> = (0..24_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(root.path().join("x"), &whole).unwrap();
    let server = serve(root.path());
    for round in rounds(6, 10) {
        let mut command = std::process::Command::new(binary("ftpget"));
        command.arg(url(&server, "x")).current_dir(work.path()).env("HOME", work.path());
        let mut child = command.spawn().unwrap();
        // A different moment each time: the point is where it dies, not when.
        thread::sleep(std::time::Duration::from_millis(1 + 7 * (round as u64 % 13)));
        drop(child.kill());
        drop(child.wait());
        if let Ok(found) = std::fs::read(work.path().join("x")) {
            assert!(found == whole, "a file of {} bytes appeared", found.len());
        }
    }
    let done = tool("ftpget").args(["--json", &url(&server, "x")]).dir(work.path()).run();
    assert_eq!(done.status, 0, "{done}");
    assert!(std::fs::read(work.path().join("x")).unwrap() == whole, "{done}");
}

/// What the scripted server does; the rest is as it should be.
#[derive(Clone, Default)]
struct Habits {
    /// The MLSD listing.
    listing: String,
    /// The one file that every RETR gives.
    file: &'static str,
    /// What SIZE says instead of the file's size.
    size: Option<u64>,
    /// The reply after a transfer; empty closes the connection instead.
    done: Option<&'static str>,
    /// No 150 before a transfer.
    no_opening: bool,
    /// EPSV is unknown, and PASV names this address.
    pasv_host: Option<&'static str>,
    /// The reply to AUTH TLS.
    auth: Option<&'static str>,
    /// The control connection ends after this many bytes.
    budget: Option<usize>,
}

/// A server with these habits. Every path exists.
fn misbehaving(habits: Habits) -> Peer {
    peer(move |mut conn| session(&mut conn, &habits))
}

/// Sends within the budget; false when it is used up.
fn say(conn: &mut Conn, left: &mut usize, text: &str) -> bool {
    let count = text.len().min(*left);
    *left -= count;
    conn.send(&text.as_bytes()[..count]) && *left > 0
}

fn session(conn: &mut Conn, habits: &Habits) {
    let mut left = habits.budget.unwrap_or(usize::MAX);
    if !say(conn, &mut left, "220 ready\r\n") {
        return;
    }
    let mut passive: Option<TcpListener> = None;
    while let Some(line) = conn.line() {
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let reply = match verb {
            "USER" => "331 password\r\n".to_owned(),
            "PASS" => "230 in\r\n".to_owned(),
            "FEAT" => "211-Features:\r\n MLST type*;size*;\r\n SIZE\r\n REST STREAM\r\n211 End\r\n".to_owned(),
            "AUTH" => habits.auth.unwrap_or("500 no\r\n").to_owned(),
            "SIZE" => format!("213 {}\r\n", habits.size.unwrap_or(habits.file.len() as u64)),
            "MDTM" => "213 20200229120000\r\n".to_owned(),
            "EPSV" if habits.pasv_host.is_none() => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = listener.local_addr().unwrap().port();
                passive = Some(listener);
                format!("229 passive (|||{port}|)\r\n")
            }
            "PASV" => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = listener.local_addr().unwrap().port();
                passive = Some(listener);
                format!("227 passive ({},{},{})\r\n", habits.pasv_host.unwrap_or("127,0,0,1"), port >> 8, port & 255)
            }
            "RETR" | "MLSD" => {
                let Some(listener) = passive.take() else {
                    if !say(conn, &mut left, "425 no data connection\r\n") {
                        return;
                    }
                    continue;
                };
                if !habits.no_opening && !say(conn, &mut left, "150 here it comes\r\n") {
                    return;
                }
                let (mut data, _) = listener.accept().unwrap();
                let bytes = if verb == "RETR" { habits.file } else { habits.listing.as_str() };
                drop(std::io::Write::write_all(&mut data, bytes.as_bytes()));
                drop(data);
                match habits.done {
                    Some("") => return,
                    Some(reply) => reply.to_owned(),
                    None => "226 done\r\n".to_owned(),
                }
            }
            "TYPE" | "OPTS" | "PBSZ" | "PROT" | "CWD" => "200 ok\r\n".to_owned(),
            "REST" => format!("350 at {argument}\r\n"),
            "QUIT" => {
                conn.send("221 bye\r\n");
                return;
            }
            _ => "500 what?\r\n".to_owned(),
        };
        if !say(conn, &mut left, &reply) {
            return;
        }
    }
}

fn get(server: &Peer, dir: &Path, args: &[&str]) -> Done {
    let link = format!("ftp://{}/x", server.addr);
    tool("ftpget").args(args).arg(link).dir(dir).run()
}

#[test]
fn names_from_a_listing_never_lead_outside() {
    let work = temp_dir();
    let target = work.path().join("in/target");
    std::fs::create_dir_all(&target).unwrap();
    std::os::unix::fs::symlink(work.path(), target.join("out")).unwrap();
    let names = ["../up", "/abs", "..", "a/b", "~tilde", "esc\x1b[2J", "nul\0x", "good", "out"];
    let mut listing: String = names.iter().map(|name| format!("type=file;size=2; {name}\r\n")).collect();
    listing.push_str("type=dir; ../dir\r\ntype=dir; out\r\n");
    let server = misbehaving(Habits { listing, file: "hi", ..Habits::default() });
    let done = tool("ftpget")
        .args(["--json", "-j1", "-r", "-o"])
        .arg(&target)
        .arg(format!("ftp://{}/", server.addr))
        .dir(work.path())
        .run();
    assert_eq!(done.status, 65, "{done}");
    let mut found: Vec<_> = std::fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    assert_eq!(found, ["good", "out"], "{done}");
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 1, "only `in` is there\n{done}");
    assert!(!done.stderr.contains('\x1b'), "{done}");
    assert_eq!(done.records_of("transfer").len(), 2, "good, and the file called out\n{done}");
}

#[test]
fn the_address_in_a_pasv_reply_is_not_believed() {
    let work = temp_dir();
    let server = misbehaving(Habits { file: "hi", pasv_host: Some("192,0,2,1"), ..Habits::default() });
    let done = get(&server, work.path(), &[]);
    assert_eq!(done.status, 0, "{done}");
    assert_eq!(std::fs::read(work.path().join("x")).unwrap(), b"hi");
}

#[test]
fn what_is_not_complete_is_no_success() {
    let cases: [(Habits, i32); 6] = [
        (Habits { file: "hi", done: Some(""), ..Habits::default() }, 75),
        (Habits { file: "hi", size: Some(5), ..Habits::default() }, 75),
        (Habits { file: "hi", size: Some(1), ..Habits::default() }, 75),
        (Habits { file: "hi", done: Some("451 disk trouble\r\n"), ..Habits::default() }, 75),
        (Habits { file: "hi", done: Some("551 page type\r\n"), ..Habits::default() }, 69),
        (Habits { file: "hi", no_opening: true, ..Habits::default() }, 76),
    ];
    for (number, (habits, status)) in cases.into_iter().enumerate() {
        let work = temp_dir();
        let server = misbehaving(habits);
        let done = get(&server, work.path(), &[]);
        assert_eq!(done.status, status, "case {number}: {done}");
        assert!(!work.path().join("x").exists(), "case {number}: {done}");
        let target = work.path().join("stdout");
        let done = get(&server, work.path(), &["-o", "-"]);
        assert_ne!(done.status, 0, "case {number}, to stdout: {done}");
        assert!(!target.exists());
    }
}

#[test]
fn the_control_connection_ends_after_every_byte() {
    // The whole dialogue is some 400 bytes.
    for budget in (1..420).step_by(7) {
        let work = temp_dir();
        let server = misbehaving(Habits { file: "hi", budget: Some(budget), ..Habits::default() });
        let done = get(&server, work.path(), &[]);
        match done.status {
            0 => assert_eq!(std::fs::read(work.path().join("x")).unwrap(), b"hi", "after {budget} bytes: {done}"),
            75 => assert!(!work.path().join("x").exists(), "after {budget} bytes: {done}"),
            _ => panic!("after {budget} bytes: {done}"),
        }
    }
}

#[test]
fn replies_without_end_are_cut_off() {
    for flood in ["220-again and again\r\n", "220 x", "150 soon\r\n"] {
        let server = peer(move |mut conn| while conn.send(flood.repeat(4096)) {});
        let done = tool("ftpls").arg(format!("ftp://{}/", server.addr)).run();
        assert_eq!(done.status, 76, "{flood:?}: {done}");
    }
}

#[test]
fn a_directory_that_holds_itself_ends() {
    let work = temp_dir();
    let listing = "type=dir; again\r\n".to_owned();
    let server = misbehaving(Habits { listing, ..Habits::default() });
    for (name, args) in [("ftpget", ["-r", "-o", "t"]), ("ftpls", ["-R", "-l", "-q"])] {
        let done = tool(name).args(args).arg(format!("ftp://{}/", server.addr)).dir(work.path()).run();
        assert_eq!(done.status, 76, "{done}");
    }
}

#[test]
fn tls_that_was_asked_for_is_not_given_up() {
    for (auth, status) in
        [("500 no\r\n", 77), ("421 later\r\n", 75), ("234 go\r\n230 you are in\r\n", 76), ("200 what\r\n", 77)]
    {
        let server = misbehaving(Habits { auth: Some(auth), file: "hi", ..Habits::default() });
        let done = tool("ftpget").args(["-o", "-", &format!("ftpes://{}/x", server.addr)]).run();
        assert_eq!((done.status, done.stdout.len()), (status, 0), "{auth:?}: {done}");
    }
}

#[test]
fn a_command_cannot_be_smuggled_in() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    let server = peer(move |mut conn| {
        count.fetch_add(1, Ordering::SeqCst);
        conn.until_closed();
    });
    for (name, args) in [("ftpget", vec![]), ("ftpls", vec![]), ("ftpdo", vec!["rm"])] {
        let done = tool(name).arg(format!("ftp://{}/a%0d%0aDELE%20b", server.addr)).args(args).run();
        assert_eq!(done.status, 64, "{done}");
    }
    assert_eq!(heard.load(Ordering::SeqCst), 0, "refused before anything was sent");
}

#[test]
fn a_listing_line_that_makes_no_sense_is_said() {
    let listing = "type=file;size=2; good\r\nwhat is this\r\n".to_owned();
    let server = misbehaving(Habits { listing, ..Habits::default() });
    let done = tool("ftpls").args(["--json", &format!("ftp://{}/", server.addr)]).run();
    assert_eq!(done.status, 65, "{done}");
    assert_eq!(done.records_of("entry").len(), 1, "{done}");
}
