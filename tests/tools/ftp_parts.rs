//! Unfinished downloads: whose they are, when they are continued, and that what is here in the end is what the source holds.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use applayer::ftp::part::{PartTag, part_name, unfinished};

use crate::ftp_get::{serve, set_time, url};
use crate::ftp_peer::{FtpPeer, OPENING, ftp_peer};
use crate::harness::{Done, binary, rounds, server, temp_dir, tool};
use crate::random::{Random, first_seed};

fn get(dir: &Path, args: &[&str]) -> Done {
    tool("ftpget").args(args).dir(dir).run()
}

fn record(done: &Done) -> serde_json::Value {
    done.records_of("transfer").pop().unwrap_or_else(|| panic!("no transfer\n{done}"))
}

fn random_bytes(random: &mut Random, count: usize) -> Vec<u8> {
    (0..count.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).take(count).collect()
}

/// The unfinished files in a directory.
fn parts(dir: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| unfinished(path.file_name().unwrap().as_encoded_bytes()).is_some()).collect()
}

/// Every file below that is not unfinished, and what it holds.
fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = open.pop() {
        for path in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => open.push(path),
                false if unfinished(path.file_name().unwrap().as_encoded_bytes()).is_some() => {}
                false => found.push((path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap())),
            }
        }
    }
    found.sort();
    found
}

/// Random trees of names that have been those of unfinished files, or are; kills at random points; changes in between; one
/// to eight connections: in the end each file is what the source has under its name.
#[test]
fn after_any_crash_each_file_is_its_source() {
    for round in rounds(6, 10) {
        let mut random = Random(first_seed() + round as u64);
        let (root, work) = (temp_dir(), temp_dir());
        let tagged = part_name(b"x", &PartTag::of_run().unwrap());
        let names =
            ["x", ".x.part", ".x.from", ".x.link.part", "y", ".y.part", ".part", "..part", "z.part"].map(PathBuf::from);
        let long = PathBuf::from("n".repeat(240));
        let tagged = PathBuf::from(String::from_utf8(tagged).unwrap());
        let mut version = 1_600_000_000;
        let mut write = |random: &mut Random, path: &Path, size: usize| {
            version += 1;
            std::fs::write(path, random_bytes(random, size)).unwrap();
            set_time(path, version);
        };
        for dir in ["", "d", "d/.x.part.d"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
            std::fs::create_dir_all(work.path().join("t").join(dir)).unwrap();
            for name in names.iter().chain([&long, &tagged]) {
                let size = [0, 1000, 70_000, 300_000, 1_500_000][random.below(5) as usize];
                if random.below(4) > 0 {
                    write(&mut random, &root.path().join(dir).join(name), size);
                }
                // What an earlier run, another tool or somebody else has left.
                if random.below(4) == 0 {
                    let size = random.below(size as u64 + 10) as usize;
                    write(&mut random, &work.path().join("t").join(dir).join(name), size);
                }
            }
        }
        let server = server("ftpserve").arg(root.path()).start();
        let jobs = (1 + random.below(8)).to_string();
        let target = url(&server, "");
        let args = ["-q", "-r", "-j", &jobs, "-o", "t", "--rate", "20M", &target];
        for _ in 0..4 {
            let mut child = Command::new(binary("ftpget"));
            child.args(args).current_dir(work.path()).env("HOME", work.path()).stderr(Stdio::null());
            let mut child = child.spawn().unwrap();
            // The point is where it dies, not when.
            std::thread::sleep(Duration::from_millis(10 + random.below(250)));
            drop(child.kill());
            child.wait().unwrap();
            let changed =
                names.iter().map(|name| root.path().join(name)).find(|path| path.exists() && random.below(3) == 0);
            if let Some(path) = changed {
                let size = path.metadata().unwrap().len() as usize;
                write(&mut random, &path, size);
            }
        }
        let done = get(work.path(), &args);
        assert_eq!(done.status, 0, "round {round}: {done}");
        let (there, here) = (files(root.path()), files(&work.path().join("t")));
        for (name, content) in there {
            let found = here.iter().find(|(path, _)| *path == name);
            assert!(found.is_some_and(|(_, found)| *found == content), "round {round}: {}: {done}", name.display());
        }
    }
}

/// A part is continued by the same command as long as the source is the same, and goes when another one has come.
#[test]
fn a_part_belongs_to_one_source() {
    let (root, work) = (temp_dir(), temp_dir());
    let whole = random_bytes(&mut Random(1), 900_000);
    std::fs::write(root.path().join("x"), &whole).unwrap();
    set_time(&root.path().join("x"), 1_600_000_000);
    let server = serve(root.path());
    let link = url(&server, "x");
    let rows: [(&str, &[&str], u64); 5] = [
        ("same", &[], 512_000),
        ("time", &[], 0),
        ("size", &[], 0),
        ("same", &["--no-resume"], 0),
        ("same", &["-r"], 512_000),
    ];
    for (change, args, resumed) in rows {
        let done = tool("ftpget").args([&link]).largest_file(1000).dir(work.path()).run();
        assert_ne!(done.status, 0, "{done}");
        assert_eq!(parts(work.path()).len(), 1, "{change}");
        let mut content = whole.clone();
        match change {
            "time" => content.reverse(),
            "size" => content.push(1),
            _ => {}
        }
        std::fs::write(root.path().join("x"), &content).unwrap();
        set_time(&root.path().join("x"), 1_600_000_000 + u64::from(change == "time"));
        let target = if args == ["-r"] { url(&server, "") } else { link.clone() };
        let done =
            get(work.path(), &[args, &["--json", "-o", if args == ["-r"] { "." } else { "x" }, &target]].concat());
        assert_eq!((done.status, &record(&done)["resumed_from_bytes"]), (0, &resumed.into()), "{change} {done}");
        assert!(std::fs::read(work.path().join("x")).unwrap() == content, "{change}");
        assert_eq!(parts(work.path()).len(), 0, "{change}");
        std::fs::remove_file(work.path().join("x")).unwrap();
    }
}

#[test]
fn a_second_run_finds_the_part_locked() {
    let (root, work) = (temp_dir(), temp_dir());
    std::fs::write(root.path().join("x"), vec![1; 900_000]).unwrap();
    let server = serve(root.path());
    tool("ftpget").args([&url(&server, "x")]).largest_file(1000).dir(work.path()).run();
    let part = std::fs::File::open(&parts(work.path())[0]).unwrap();
    rustix::fs::flock(&part, rustix::fs::FlockOperation::LockExclusive).unwrap();
    get(work.path(), &[&url(&server, "x")]).exits(75).says("another transfer holds it");
    assert!(!work.path().join("x").exists());
}

/// What `-c` makes of a file that is here: whether its bytes stay, by what the server tells.
#[test]
fn a_shorter_file_is_continued_where_it_stands() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // (features, REST taken, here, age here, arguments, status, resumed, what is here then)
    let rows: [(&str, &str, &str, u64, &[&str], i32, u64, &str); 9] = [
        (" SIZE\r\n MDTM\r\n", "350 on\r\n", "0123", 0, &[], 0, 4, "0123456789"),
        // Without MDTM the size is all that there is, as for curl and wget.
        (" SIZE\r\n", "350 on\r\n", "0123", now, &[], 0, 4, "0123456789"),
        (" SIZE\r\n", "350 on\r\n", "0123456789", now, &[], 0, 10, "0123456789"),
        // The remote file is younger than what is here, shorter, or the server cannot go on.
        (" SIZE\r\n MDTM\r\n", "350 on\r\n", "abcd", now, &[], 0, 0, "0123456789"),
        (" SIZE\r\n", "350 on\r\n", "0123456789abc", 0, &[], 0, 0, "0123456789"),
        (" SIZE\r\n", "502 no\r\n", "0123", 0, &[], 0, 0, "0123456789"),
        ("", "350 on\r\n", "0123", 0, &[], 0, 0, "0123456789"),
        // What is no beginning of it is left as it was.
        (" SIZE\r\n", "350 on\r\n", "abcd", 0, &["--sha256", ZEROS], 65, 0, "abcd"),
        (" SIZE\r\n", "350 on\r\n", "0123", 0, &["-B"], 0, 0, "0123456789"),
    ];
    for (features, rest, here, age, args, status, resumed, then) in rows {
        let (server, work) = (digits(features, rest), temp_dir());
        let path = work.path().join("x");
        std::fs::write(&path, here).unwrap();
        set_time(&path, now - age.min(now));
        let before = path.metadata().unwrap().ino();
        let done = get(work.path(), &[&["--json", "-c"], args, &[&server.url("x")]].concat());
        assert_eq!(done.status, status, "{features:?} {rest} {here}: {done}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), then, "{done}");
        if status == 0 {
            assert_eq!(record(&done)["resumed_from_bytes"], resumed, "{features:?} {rest} {here}: {done}");
        }
        assert_eq!(path.metadata().unwrap().ino() == before, resumed > 0 || status != 0, "copied nothing: {done}");
        assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 1, "{done}");
    }
}

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A server with a file of ten digits.
fn digits(features: &'static str, rest: &'static str) -> FtpPeer {
    ftp_peer(move |session, verb, argument| {
        let reply = match verb {
            "FEAT" => return Some(format!("211-Features:\r\n{features}211 End\r\n")),
            "SIZE" if features.contains("SIZE") => "213 10\r\n",
            "MDTM" if features.contains("MDTM") => "213 20200229120000\r\n",
            "REST" => {
                session.memory = if rest.starts_with('3') { argument.parse().unwrap() } else { 0 };
                rest
            }
            "RETR" => {
                let from = std::mem::take(&mut session.memory) as usize;
                drop(session.data(OPENING)?.write_all(&b"0123456789"[from..]));
                "226 done\r\n"
            }
            _ => return None,
        };
        Some(reply.to_owned())
    })
}

/// A file of another length than the server announced: taken if the server, asked again, says that this is all of it.
#[test]
fn a_file_that_changes_while_it_is_fetched() {
    // (sizes it tells, bytes it sends, status, words)
    for (sizes, sent, status, said) in [
        (["213 10\r\n", "213 30\r\n"], 30, 0, ""),
        (["213 10\r\n", "213 99\r\n"], 30, 0, ""),
        (["213 0\r\n", "213 30\r\n"], 30, 0, ""),
        (["213 400000\r\n", "213 700000\r\n"], 700_000, 0, ""),
        (["213 30\r\n", "213 10\r\n"], 10, 0, ""),
        (["213 10\r\n", "213 20\r\n"], 30, 65, "changed while it was fetched"),
        (["213 0\r\n", "213 0\r\n"], 30, 65, "changed while it was fetched"),
        (["213 10\r\n", "550 gone\r\n"], 30, 65, "changed while it was fetched"),
        (["213 30\r\n", "213 20\r\n"], 10, 65, "changed while it was fetched"),
        (["213 30\r\n", "213 30\r\n"], 10, 75, "the same command continues it"),
    ] {
        for args in [&["x"][..], &["x", "-o", "-"], &["", "-r", "-o", "."]] {
            let server = changing(sizes, sent);
            let work = temp_dir();
            let link = server.url(args[0]);
            let done = get(work.path(), &[&args[1..], &["--report", "r", &link]].concat());
            let to_stdout = args.last() == Some(&"-");
            assert_eq!(done.status, status, "{sizes:?} {args:?} {done}");
            if status == 0 {
                let found = if to_stdout { done.stdout.clone() } else { std::fs::read(work.path().join("x")).unwrap() };
                assert_eq!(found.len(), sent, "{done}");
                let report = std::fs::read_to_string(work.path().join("r")).unwrap();
                assert!(report.contains("\"changed\":true") && report.contains("\"verified_by\":\"size\""), "{report}");
            } else {
                assert!(!work.path().join("x").exists(), "{done}");
                // A hint promises what is so.
                let kept = status == 75 && !to_stdout;
                assert_eq!(parts(work.path()).len(), usize::from(kept), "{sizes:?} {done}");
                assert_eq!(done.stderr.contains("continues it"), kept, "{sizes:?} {done}");
                assert!(to_stdout || done.stderr.contains(said), "{sizes:?} {done}");
            }
        }
    }
}

fn changing(sizes: [&'static str; 2], sent: usize) -> FtpPeer {
    let asked = Arc::new(AtomicUsize::new(0));
    ftp_peer(move |session, verb, _| {
        let size = |reply: &str| reply[4..].trim().to_owned();
        let reply = match verb {
            "FEAT" => "211-Features:\r\n MLST type*;size*;modify*;\r\n SIZE\r\n MDTM\r\n REST STREAM\r\n211 End\r\n",
            "SIZE" => sizes[asked.fetch_add(1, Ordering::Relaxed).min(1)],
            "MDTM" => "213 20200229120000\r\n",
            "MLSD" => {
                asked.store(1, Ordering::Relaxed);
                let line = format!("type=file;size={};modify=20200229120000; x\r\n", size(sizes[0]));
                drop(session.data(OPENING)?.write_all(line.as_bytes()));
                "226 done\r\n"
            }
            "RETR" => {
                drop(session.data(OPENING)?.write_all(&vec![7; sent]));
                "226 done\r\n"
            }
            _ => return None,
        };
        Some(reply.to_owned())
    })
}

/// The rest of a file that was replaced between two attempts is not put behind its beginning.
#[test]
fn a_rest_of_another_file_is_not_appended() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let seen = attempts.clone();
    let server = ftp_peer(move |session, verb, argument| {
        let replaced = seen.load(Ordering::Relaxed) > 1;
        let reply = match verb {
            "FEAT" => "211-Features:\r\n MLST type*;size*;modify*;\r\n SIZE\r\n MDTM\r\n REST STREAM\r\n211 End\r\n",
            "SIZE" => "213 400000\r\n",
            "MDTM" if replaced => "213 20200301000000\r\n",
            "MDTM" => "213 20200229120000\r\n",
            "MLSD" => {
                drop(session.data(OPENING)?.write_all(b"type=file;size=400000;modify=20200229120000; x\r\n"));
                "226 done\r\n"
            }
            "REST" => {
                session.memory = argument.parse().unwrap();
                return None;
            }
            "RETR" => {
                let attempt = seen.fetch_add(1, Ordering::Relaxed);
                let from = std::mem::take(&mut session.memory) as usize;
                let until = if attempt == 0 { 300_000 } else { 400_000 };
                drop(session.data(OPENING)?.write_all(&vec![attempt as u8; until - from]));
                if attempt == 0 { "426 lost\r\n" } else { "226 done\r\n" }
            }
            _ => return None,
        };
        Some(reply.to_owned())
    });
    let work = temp_dir();
    let done = get(work.path(), &["-r", "--retry", "3", "--retry-delay", "0.01", "-o", ".", &server.url("")]);
    assert_eq!(done.status, 0, "{done}");
    assert_eq!(attempts.load(Ordering::Relaxed), 3, "{done}");
    assert!(std::fs::read(work.path().join("x")).unwrap() == [2; 400_000], "{done}");
}

#[test]
fn a_directory_that_was_asked_for_as_a_file_has_a_hint() {
    let (root, work) = (temp_dir(), temp_dir());
    std::fs::create_dir(root.path().join("d")).unwrap();
    let server = serve(root.path());
    for args in [&[][..], &["-o", "-"], &["--range", "0-1"], &["-c"]] {
        let done = get(work.path(), &[args, &[&url(&server, "d")]].concat());
        assert!(done.exits(66).stderr.contains("-r fetches it"), "{args:?} {done}");
        assert!(!get(work.path(), &[args, &[&url(&server, "no")]].concat()).exits(66).stderr.contains("-r"));
    }
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 0);
}

#[test]
fn permissions_are_kept_when_asked_for() {
    let (root, work) = (temp_dir(), temp_dir());
    for (name, mode) in [("a", 0o640), ("b", 0o755), ("c", 0o4511)] {
        std::fs::write(root.path().join(name), name).unwrap();
        std::fs::set_permissions(root.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    let server = serve(root.path());
    let mode = |path: &str| work.path().join(path).metadata().unwrap().mode() & 0o7777;
    get(work.path(), &["-r", "--keep-mode", "-o", "t", &url(&server, "")]).exits(0);
    assert_eq!((mode("t/a"), mode("t/b"), mode("t/c")), (0o640, 0o755, 0o511));
    let done = get(work.path(), &["--json", "--keep-mode", &url(&server, "b")]);
    assert_eq!((done.status, mode("b"), &record(&done)["mode"]), (0, 0o755, &"0755".into()), "{done}");
    get(work.path(), &["-o", "plain", &url(&server, "b")]).exits(0);
    assert_eq!(mode("plain") & 0o111, 0);
}
