//! How ftpget and ftpput transfer: speed limit, ranges, checksums, patience with slow and silent servers, several connections.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::ftp_get::{Tree, lines_of, serve, summary, url};
use crate::ftp_peer::{FtpPeer, OPENING, ftp_peer};
use crate::harness::{Conn, Done, server, temp_dir, tool};

/// `printf '%s' 0123456789 | sha256sum`.
const DIGITS_SHA256: &str = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";

fn run(name: &str, dir: &Path, args: &[&str]) -> Done {
    tool(name).args(args).dir(dir).run()
}

/// The transfer's record.
#[track_caller]
fn transfer(done: &Done) -> serde_json::Value {
    done.records_of("transfer").pop().unwrap_or_else(|| panic!("no transfer\n{done}"))
}

#[test]
fn connections_share_the_speed_limit() {
    let (root, work) = (temp_dir(), temp_dir());
    for name in ["a", "b", "c", "d"] {
        std::fs::write(root.path().join(name), vec![b'x'; 20_000]).unwrap();
    }
    let server = serve(root.path());
    let done = run("ftpget", work.path(), &["--json", "-r", "-j4", "--rate", "100K", "-o", "t", &url(&server, "")]);
    assert_eq!((done.status, summary(&done, "transferred_bytes")), (0, 80_000), "{done}");
    // The last bytes are paid for after they came: what came before them took 600 ms at least.
    assert!(summary(&done, "elapsed_ms") >= 500, "{done}");
    let done = run("ftpput", work.path(), &["--json", "-r", "-j4", "--limit-rate", "100K", "t", &url(&server, "up/")]);
    assert_eq!((done.status, summary(&done, "transferred_bytes")), (0, 80_000), "{done}");
    assert!(summary(&done, "elapsed_ms") >= 500, "{done}");
    assert_eq!(std::fs::read(root.path().join("up/d")).unwrap(), vec![b'x'; 20_000]);
    run("ftpget", work.path(), &["--rate", "0", &url(&server, "a")]).exits(64);
}

#[test]
fn ranges() {
    let (root, work) = (temp_dir(), temp_dir());
    let long: String = (0..400_000).map(|number| format!("{number:06}\n")).collect();
    Tree::new(root.path()).file("x", "0123456789").file("long", &long);
    let server = serve(root.path());
    for (range, piece) in [("2-4", "234"), ("7-", "789"), ("-3", "789"), ("0-99", "0123456789"), ("9-9", "9")] {
        let done = run("ftpget", work.path(), &["--range", range, "-o", "-", &url(&server, "x")]);
        assert_eq!((done.status, done.text()), (0, piece), "{range}: {done}");
    }
    let done = run("ftpget", work.path(), &["--json", "--range", "-7", "-o", "end", &url(&server, "long")]);
    assert_eq!(std::fs::read(work.path().join("end")).unwrap(), b"399999\n", "{done}");
    // From the middle of a large file to its middle: the server is told to stop.
    let done =
        run("ftpget", work.path(), &["--json", "--range", "700000-2099999", "-o", "middle", &url(&server, "long")]);
    assert!(std::fs::read(work.path().join("middle")).unwrap() == long.as_bytes()[700_000..2_100_000], "{done}");
    let record = transfer(&done);
    assert_eq!((&record["size_bytes"], &record["verified_by"]), (&1_400_000.into(), &"size".into()), "{done}");
    run("ftpget", work.path(), &["--range", "10-", &url(&server, "x")]).exits(66).says("10 bytes");
    run("ftpget", work.path(), &["--range", "0-3", &url(&server, "nothing")]).exits(66);
    for args in [["--range", "3-2"], ["--range", "x"], ["--range", "0-1"]] {
        let globbed = url(&server, "x*");
        run("ftpget", work.path(), &[args[0], args[1], &globbed]).exits(64);
    }
    assert_eq!(lines_of(work.path()), ["end", "middle"]);
}

#[test]
fn a_known_checksum_is_demanded() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("x", "0123456789").file("y", "other");
    let server = serve(root.path());
    let fetch = |extra: &[&str], path: &str| {
        let target = url(&server, path);
        let args = [&["--sha256", DIGITS_SHA256], extra, &[target.as_str()]].concat();
        run("ftpget", work.path(), &args)
    };
    let done = fetch(&["--json"], "x");
    let record = transfer(&done);
    assert_eq!((&record["verified_by"], &record["hash"]), (&"sha256".into(), &DIGITS_SHA256.into()), "{done}");
    fetch(&[], "y").exits(65).says("SHA-256");
    let done = fetch(&["-o", "-"], "x");
    assert_eq!((done.status, done.text()), (0, "0123456789"), "{done}");
    fetch(&["-o", "-"], "y").exits(65);
    fetch(&["-r"], "").exits(64);
    assert_eq!(lines_of(work.path()), ["x"], "nothing of y, not even a part");
    run("ftpget", work.path(), &["--sha256", "abc", &url(&server, "x")]).exits(64);
}

#[test]
fn the_servers_checksum_is_compared() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("x", "0123456789").file("d/y", "yy");
    let server = serve(root.path());
    let done = run("ftpget", work.path(), &["--json", "--verify", "-r", "-o", "tree", &url(&server, "")]);
    for record in done.records_of("transfer") {
        assert_eq!((&record["verified_by"], &record["algorithm"]), (&"hash".into(), &"SHA-512".into()), "{done}");
    }
    assert_eq!((done.status, summary(&done, "files")), (0, 2), "{done}");
    let report = ["--verify", "-o", "-", "--json", "--report", "report", &url(&server, "x")];
    let done = tool("ftpget").args(report).dir(work.path()).run();
    assert_eq!((done.status, done.text()), (0, "0123456789"), "{done}");
    assert!(std::fs::read_to_string(work.path().join("report")).unwrap().contains("\"verified_by\":\"hash\""));
    let done = run("ftpput", work.path(), &["--json", "--verify", "-r", "tree", &url(&server, "up/")]);
    assert_eq!((done.status, summary(&done, "files")), (0, 2), "{done}");
    for record in done.records_of("transfer") {
        assert_eq!(record["verified_by"], "hash", "{done}");
    }
    let done = tool("ftpput").args(["--json", "--verify", "-", &url(&server, "in")]).stdin("from a pipe").run();
    assert_eq!(transfer(&done)["verified_by"], "hash", "{done}");
    assert_eq!(std::fs::read(root.path().join("in")).unwrap(), b"from a pipe");
    assert_eq!(lines_of(&root.path().join("up")), ["d/", "d/y", "x"]);
}

#[test]
fn the_servers_checksum_says_nothing_of_converted_text() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("text", "a\r\nb\r\n");
    let server = serve(root.path());
    let target = format!("{};type=a", url(&server, "text"));
    let done = run("ftpget", work.path(), &["--json", "--verify", &target]);
    assert_eq!((done.status, &transfer(&done)["hash"]), (0, &serde_json::Value::Null), "{done}");
}

/// What a scripted server does with its one file `x`, which holds `0123456789`.
#[derive(Clone, Copy, Default)]
struct Habits {
    /// Lines of FEAT.
    features: &'static str,
    /// The reply to HASH.
    hash: &'static str,
    /// The replies to MDTM: at first and after the transfer.
    times: [&'static str; 2],
    /// How long the final reply takes.
    late: Duration,
}

/// Serves uploads and downloads of `x` like that.
fn habitual(habits: Habits) -> FtpPeer {
    ftp_peer(move |session, verb, _| {
        let reply = match verb {
            "FEAT" => return Some(format!("211-Features:\r\n{}211 End\r\n", habits.features)),
            "SIZE" => "213 10\r\n",
            "MDTM" => habits.times[session.memory as usize],
            "HASH" => habits.hash,
            "RETR" | "STOR" => {
                let mut data = session.data(OPENING)?;
                match verb {
                    "RETR" => drop(data.write_all(b"0123456789")),
                    _ => drop(data.read_to_end(&mut Vec::new())),
                }
                drop(data);
                session.memory = 1;
                std::thread::sleep(habits.late);
                "226 done\r\n"
            }
            _ => return None,
        };
        Some(reply.to_owned())
    })
}

#[test]
fn what_the_servers_answers_prove() {
    const HASHES: &str = " HASH SHA-256*;\r\n SIZE\r\n MDTM\r\n MFMT\r\n";
    const TIMES: &str = " SIZE\r\n MDTM\r\n MFMT\r\n";
    let (old, new) = ("213 20200229120000\r\n", "213 20200301000000\r\n");
    let right = "213 SHA-256 0-9 84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882 x\r\n";
    let wrong = "213 SHA-256 0-9 00d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882 x\r\n";
    for (features, hash, times, get, put) in [
        (HASHES, right, [old, old], Ok("hash"), Ok("hash")),
        (HASHES, wrong, [old, old], Err("the copies differ"), Err("the copies differ")),
        (HASHES, "550 too large\r\n", [old, old], Ok("size_and_time"), Ok("size_and_time")),
        (TIMES, "", [old, old], Ok("size_and_time"), Ok("size_and_time")),
        (TIMES, "", [old, new], Err("changed while"), Ok("size")),
        (" SIZE\r\n", "", ["500 no\r\n"; 2], Ok("size"), Ok("size")),
    ] {
        let (server, work) = (habitual(Habits { features, hash, times, ..Habits::default() }), temp_dir());
        std::fs::write(work.path().join("given"), "0123456789").unwrap();
        crate::ftp_get::set_time(&work.path().join("given"), 1_582_977_600);
        let target = server.url("x");
        for (done, wanted) in [
            (run("ftpget", work.path(), &["--json", "--verify", &target]), get),
            (run("ftpput", work.path(), &["--json", "--verify", "given", &target]), put),
        ] {
            match wanted {
                Ok(by) => assert_eq!(transfer(&done)["verified_by"], by, "{done}"),
                Err(said) => drop(done.exits(75).says(said)),
            }
        }
        assert_eq!(work.path().join("x").exists(), get.is_ok());
        assert!(lines_of(work.path()).iter().all(|name| name == "x" || name == "given"));
    }
}

#[test]
fn the_final_reply_may_be_late() {
    let times = ["500 no\r\n"; 2];
    let server = habitual(Habits { times, late: Duration::from_millis(1500), ..Habits::default() });
    let work = temp_dir();
    let target = server.url("x");
    run("ftpget", work.path(), &["--timeout", "0.5", &target]).silent_success();
    assert_eq!(std::fs::read(work.path().join("x")).unwrap(), b"0123456789");
    run("ftpput", work.path(), &["--timeout", "0.5", "x", &target]).silent_success();
}

/// Bytes of the file that stalls, and how many of them come the first time.
const STALLS: (usize, usize) = (400_000, 300_000);

/// A server whose first download stands still half-way; `continued` gets what the later one begins at.
fn stalling(downloads: Arc<AtomicUsize>, continued: Arc<AtomicUsize>) -> FtpPeer {
    let file: Vec<u8> = (0..STALLS.0).map(|at| (at % 251) as u8).collect();
    ftp_peer(move |session, verb, argument| {
        let reply = match verb {
            "FEAT" => "211-Features:\r\n SIZE\r\n MDTM\r\n REST STREAM\r\n211 End\r\n",
            "SIZE" => return Some(format!("213 {}\r\n", STALLS.0)),
            "MDTM" => "213 20200229120000\r\n",
            "REST" => {
                session.memory = argument.parse().unwrap();
                return None;
            }
            "RETR" => {
                assert!(has_keepalive(&mut session.conn), "a long transfer keeps the control connection alive");
                let mut data = session.data(OPENING)?;
                if downloads.fetch_add(1, Ordering::SeqCst) == 0 {
                    data.write_all(&file[..STALLS.1]).unwrap();
                    session.conn.until_closed();
                    return Some(String::new());
                }
                let offset = session.memory as usize;
                continued.store(offset, Ordering::SeqCst);
                data.write_all(&file[offset..]).unwrap();
                "226 done\r\n"
            }
            _ => return None,
        };
        Some(reply.to_owned())
    })
}

/// True when a timer that asks for signs of life runs on the client's end of the connection (proc_net_tcp, `tr` 2).
fn has_keepalive(conn: &mut Conn) -> bool {
    let (ours, theirs) =
        (conn.stream().get_ref().local_addr().unwrap().port(), conn.stream().get_ref().peer_addr().unwrap().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).any(|fields| {
        let ends = |at: usize, port: u16| fields.get(at).is_some_and(|field| field.ends_with(&format!(":{port:04X}")));
        ends(1, theirs) && ends(2, ours) && fields.get(5).is_some_and(|timer| timer.starts_with("02:"))
    })
}

#[test]
fn a_stalled_download_goes_on_over_a_fresh_connection() {
    let (downloads, continued) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = stalling(downloads.clone(), continued.clone());
    let work = temp_dir();
    let done = run("ftpget", work.path(), &["--json", "--timeout", "0.5", &server.url("x")]);
    assert_eq!(done.status, 0, "{done}");
    let bytes = std::fs::read(work.path().join("x")).unwrap();
    assert!(bytes.len() == STALLS.0 && bytes.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    assert_eq!((downloads.load(Ordering::SeqCst), continued.load(Ordering::SeqCst)), (2, STALLS.1), "{done}");
    let record = transfer(&done);
    assert_eq!((&record["resumed_from_bytes"], &record["retries"]), (&STALLS.1.into(), &1.into()), "{done}");
}

#[test]
fn a_server_with_few_connections_is_served_with_few() {
    let (root, work) = (temp_dir(), temp_dir());
    for number in 0..200 {
        std::fs::write(root.path().join(format!("{number}")), format!("file {number}")).unwrap();
    }
    let server = server("ftpserve").args(["--write", "--max-clients", "2"]).arg(root.path()).start();
    let done = run("ftpget", work.path(), &["--json", "-r", "-j16", "-o", "t", &url(&server, "")]);
    assert_eq!((done.status, summary(&done, "files"), summary(&done, "failed")), (0, 200, 0), "{done}");
    let done = run("ftpput", work.path(), &["--json", "-r", "-j16", "t", &url(&server, "up/")]);
    assert_eq!((done.status, summary(&done, "files"), summary(&done, "failed")), (0, 200, 0), "{done}");
    assert_eq!(lines_of(&root.path().join("up")).len(), 200);
}
