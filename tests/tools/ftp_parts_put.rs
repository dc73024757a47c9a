//! ftpput and what earlier, other and simultaneous runs have at the server: a name holds the whole of one source, always.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use applayer::ftp::listing::format_mdtm;
use applayer::ftp::part::unfinished;

use crate::ftp_crash::{Relay, content, seed, spawn, until_killed};
use crate::ftp_get::{Tree, lines_of, set_time, summary, url};
use crate::ftp_peer::{FtpPeer, OPENING, ftp_peer};
use crate::harness::{Done, LIMIT, Server, rounds, server, temp_dir, tool};
use crate::random::Random;

fn put(dir: &Path, args: &[&str], url: &str) -> Done {
    tool("ftpput").args(args).arg(url).dir(dir).run()
}

fn keeping(root: &Path) -> Server {
    server("ftpserve").args(["--write", "--keep-partial"]).arg(root).start()
}

/// An unfinished file in a directory.
fn part_in(root: &Path) -> Option<PathBuf> {
    let mut files = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| unfinished(path.file_name().unwrap().as_encoded_bytes()).is_some())
}

/// Kills an upload of `x` on its way, when the server has stored a good piece of it; where that piece is.
fn broken(relay: &Relay, dir: &Path, root: &Path, server: &Server) -> PathBuf {
    relay.allow(900_000);
    let run = spawn("ftpput", &["x", &relay.url("x")], dir);
    // What has arrived and was not read yet is lost with the connection, so the kill waits for the server, not for the
    // wire. The file has no name before the end.
    let large = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > 300_000);
    let files = PathBuf::from(format!("/proc/{}/fd", server.pid()));
    until("nothing is stored", || files.read_dir().unwrap().any(|file| large(&file.unwrap().path())));
    assert!(until_killed(relay, run, None).is_none(), "it was not killed");
    relay.allow(i64::MAX);
    until("no part is left", || part_in(root).is_some_and(|part| large(&part)));
    part_in(root).unwrap()
}

/// Waits for a condition.
fn until(why: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{why}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A part is continued by its own source, if its end is right: not by another file of that name, size and time, not after
/// a change that hides, not when somebody wrote into it; and what others have planted is nobody's beginning.
#[test]
fn a_part_belongs_to_one_source() {
    let whole = content(1, 2 << 20);
    let other = content(2, 2 << 20);
    type Change = fn(&Path, &Path, &Path);
    let rewrite: Change = |x, _, other| {
        let time = std::fs::metadata(x).unwrap().modified().unwrap();
        std::fs::write(x, std::fs::read(other).unwrap()).unwrap();
        std::fs::File::options().write(true).open(x).unwrap().set_modified(time).unwrap();
    };
    let replace: Change = |x, _, other| std::fs::rename(other, x).unwrap();
    let spoil: Change = |_, part, _| {
        let size = std::fs::metadata(part).unwrap().len();
        let file = std::fs::File::options().write(true).open(part).unwrap();
        std::os::unix::fs::FileExt::write_at(&file, &[7, 7, 7], size - 1000).unwrap();
    };
    let lengthen: Change = |_, part, _| {
        std::fs::File::options().append(true).open(part).unwrap().write_all(&vec![0; 3 << 20]).unwrap();
    };
    for (what, change, continued, keeps) in [
        ("nothing", (|_, _, _| ()) as Change, true, false),
        ("rewritten", rewrite, false, true),
        ("replaced", replace, false, true),
        ("spoilt", spoil, false, false),
        ("too long", lengthen, false, false),
    ] {
        let (root, work) = (temp_dir(), temp_dir());
        let relay = Relay::start();
        let server = relay.serve(root.path());
        let (x, y) = (work.path().join("x"), work.path().join("y"));
        std::fs::write(&x, &whole).unwrap();
        std::fs::write(&y, &other).unwrap();
        std::fs::write(root.path().join(".x.part"), &whole[..900_000]).unwrap();
        let part = broken(&relay, work.path(), root.path(), &server);
        change(&x, &part, &y);
        let now = std::fs::read(&x).unwrap();
        let done = put(work.path(), &["--json", "x"], &relay.url("x"));
        assert_eq!(done.status, 0, "{what}: {done}");
        assert_eq!(done.records()[0]["resumed_from_bytes"].as_u64().unwrap() > 0, continued, "{what}: {done}");
        assert!(std::fs::read(root.path().join("x")).unwrap() == now, "{what}: {done}");
        assert_eq!(part.exists(), keeps, "{what}: {:?}", lines_of(root.path()));
        assert!(std::fs::read(root.path().join(".x.part")).unwrap() == whole[..900_000], "data like any other");
    }
}

/// Two sources or two runs to one name at once, one of them killed: whole files only, at every moment.
#[test]
fn uploads_of_one_name_never_mix() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = keeping(root.path());
    let wholes = [content(11, 1_500_000), content(12, 1_500_000)];
    std::fs::write(work.path().join("x"), &wholes[0]).unwrap();
    std::fs::write(work.path().join("y"), &wholes[1]).unwrap();
    let to = url(&server, "x");
    let mut random = Random(seed());
    for _ in rounds(4, 3) {
        let mut runs: Vec<Child> = [("x", "--rate=4M"), ("y", "--rate=3M"), ("x", "--rate=2M"), ("y", "--no-resume")]
            .map(|(source, flag)| spawn("ftpput", &[flag, source, &to], work.path()))
            .into();
        std::thread::sleep(Duration::from_millis(random.below(500)));
        runs.remove(random.below(4) as usize).kill().unwrap();
        while runs.iter_mut().any(|run| run.try_wait().unwrap().is_none()) {
            let there = std::fs::read(root.path().join("x"));
            assert!(there.is_err() || wholes.contains(&there.unwrap()), "seed {}: half a file", seed());
            std::thread::sleep(Duration::from_millis(3));
        }
        for mut run in runs {
            let status = run.wait().unwrap().code();
            assert!(matches!(status, Some(0 | 75)), "seed {}: {status:?}", seed());
        }
        assert!(wholes.contains(&std::fs::read(root.path().join("x")).unwrap()));
    }
}

/// Random trees with names that look like parts, sent by two runs at once, or killed and sent again.
#[test]
fn trees_with_odd_names_arrive_whole() {
    let mut random = Random(seed().wrapping_add(31));
    for round in rounds(4, 5) {
        let (root, work) = (temp_dir(), temp_dir());
        let server = keeping(root.path());
        let mut files = HashMap::new();
        for number in 0..30 {
            let stem = ["a", "b", ".a.part", "..a.part.part", ".part", "c.part", ".b.from"][random.below(7) as usize];
            let folder = ["", "d/", "d/.e.part/"][random.below(3) as usize];
            let size = if random.below(4) == 0 { 300_000 + random.below(900_000) } else { random.below(5000) };
            files.insert(format!("t/{folder}{stem}"), content(number, size as usize));
        }
        for (name, bytes) in &files {
            let path = work.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let jobs = format!("-j{}", 1 + random.below(8));
        let args = ["-r", &jobs, "t"];
        let to = url(&server, "in/");
        if round % 2 == 0 {
            let mut runs = [(); 2].map(|()| spawn("ftpput", &["-r", &jobs, "t", &to], work.path()));
            let statuses = [0, 1].map(|run| runs[run].wait().unwrap().code().unwrap());
            assert!(statuses.iter().all(|status| matches!(status, 0 | 75)), "seed {}: {statuses:?}", seed());
        }
        for _ in 0..random.below(5) {
            let mut run = spawn("ftpput", &["--always", "--rate=8M", "-r", &jobs, "t", &to], work.path());
            std::thread::sleep(Duration::from_millis(random.below(400)));
            drop(run.kill());
            run.wait().unwrap();
        }
        let done = put(work.path(), &args, &to);
        assert_eq!(done.status, 0, "seed {}: {done}", seed());
        for (name, bytes) in &files {
            let there = root.path().join("in").join(name.strip_prefix("t/").unwrap());
            assert!(std::fs::read(there).unwrap() == *bytes, "seed {}: {name}", seed());
        }
    }
}

/// What our names of unfinished files say is set apart, here and there: not sent, not deleted, and said.
#[test]
fn unfinished_files_are_no_data() {
    let (root, work) = (temp_dir(), temp_dir());
    let relay = Relay::start();
    let server = relay.serve(root.path());
    std::fs::write(work.path().join("x"), content(3, 2 << 20)).unwrap();
    let part = broken(&relay, work.path(), root.path(), &server);
    let name = part.file_name().unwrap().to_str().unwrap();
    Tree::new(work.path()).file("t/x", "x").file(&format!("t/{name}"), "half").file("t/.x.part", "data");
    std::fs::rename(root.path().join(name), work.path().join("p")).unwrap();
    Tree::new(root.path()).file(&format!("in/{name}"), "half").file("in/.y.part", "data");
    let to = relay.url("in/");
    for (files, skipped, deleted) in [(2, 1, 1), (0, 2, 0)] {
        let done = put(work.path(), &["--json", "-r", "--delete", "t"], &to);
        assert_eq!(done.status, 0, "{done}");
        let counts = (summary(&done, "files"), done.records_of("skipped").len(), summary(&done, "deleted"));
        assert_eq!(counts, (files, skipped, deleted), "{done}");
        let mut there = [name, ".x.part", "x"];
        there.sort_unstable();
        assert_eq!(lines_of(&root.path().join("in")), there);
    }
    let done = put(work.path(), &["--json", "-r", "--no-clobber", "t"], &relay.url("new/"));
    assert_eq!((done.status, summary(&done, "files")), (0, 2), "{done}");
}

/// A name that cannot be sent is one error; everything else arrives, whatever goes along with it.
#[test]
fn bad_names_spoil_no_others() {
    for args in [&["-j1"][..], &["-j8"], &["--in-place", "-j1"], &["--replace"], &["--always"]] {
        let (root, work) = (temp_dir(), temp_dir());
        let server = keeping(root.path());
        let mut tree = Tree::new(work.path()).file("t/new\nline", "x").file("t/d\rir/in", "x").file("t/d\rir/in2", "x");
        for number in 0..40 {
            tree = tree.file(&format!("t/f{number}"), "x").file(&format!("t/d{}/f", number % 7), "x");
        }
        let done = put(work.path(), &[args, &["--json", "-r", "t"]].concat(), &url(&server, "in/"));
        assert_eq!((done.status, done.records_of("error").len(), summary(&done, "files")), (65, 2, 47), "{done}");
        assert_eq!(lines_of(&root.path().join("in")).len(), 54, "{done}");
        let named = [args, &["--json", "t/f1", "t/new\nline", "t/f2"]].concat();
        let done = put(work.path(), &named, &url(&server, "two/"));
        assert_eq!((done.status, done.records_of("error").len(), summary(&done, "files")), (65, 1, 2), "{done}");
    }
}

/// A server of flat names with a clock that is off, which takes no times; a reply for some commands comes first.
fn shifted(by: i64, own: fn(&str, &str) -> Option<&'static str>) -> FtpPeer {
    let files: Arc<Mutex<HashMap<String, (u64, i64)>>> = Arc::default();
    let from: Mutex<String> = Mutex::default();
    ftp_peer(move |session, verb, name| {
        if let Some(reply) = own(verb, name) {
            return Some(format!("{reply}\r\n"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let found = files.lock().unwrap().get(name).copied();
        Some(match verb {
            "FEAT" => "211-Features:\r\n SIZE\r\n MDTM\r\n211 End\r\n".to_owned(),
            "STOR" => {
                let size = session.data(OPENING)?.read_to_end(&mut Vec::new()).unwrap() as u64;
                files.lock().unwrap().insert(name.to_owned(), (size, now + by));
                "226 got it\r\n".to_owned()
            }
            "LIST" => {
                let mut data = session.data(OPENING)?;
                for (name, (size, _)) in &*files.lock().unwrap() {
                    write!(data, "-rw-r--r-- 1 u g {size} Jan 1 2020 {}\r\n", name.trim_start_matches('/')).unwrap();
                }
                "226 that is all\r\n".to_owned()
            }
            "RNFR" => {
                name.clone_into(&mut from.lock().unwrap());
                "350 go on\r\n".to_owned()
            }
            "RNTO" => {
                let mut files = files.lock().unwrap();
                let file = files.remove(&*from.lock().unwrap()).unwrap();
                files.insert(name.to_owned(), file);
                "250 done\r\n".to_owned()
            }
            "DELE" => {
                files.lock().unwrap().remove(name);
                "250 done\r\n".to_owned()
            }
            "SIZE" => found.map_or("550 no\r\n".to_owned(), |(size, _)| format!("213 {size}\r\n")),
            "MDTM" => found.map_or("550 no\r\n".to_owned(), |(_, time)| format!("213 {}\r\n", format_mdtm(time))),
            _ => return None,
        })
    })
}

/// Servers that show when a file came, by whatever clock: an edit that leaves the size is sent, and nothing else is.
#[test]
fn an_edit_is_seen_by_any_clock() {
    for by in [0, 9 * 3600, -5 * 3600, 1200, -1200, 400 * 86_400] {
        let server = shifted(by, |_, _| None);
        let work = temp_dir();
        Tree::new(work.path()).file("t/a", "one").file("t/b", "two").file("t/c", "three");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        for name in ["a", "b", "c"] {
            set_time(&work.path().join("t").join(name), now - 60);
        }
        let run = |files, same| {
            let done = put(work.path(), &["--json", "-r", "t"], &server.url("%2F"));
            let counts = (done.status, summary(&done, "files"), summary(&done, "same"));
            assert_eq!(counts, (0, files, same), "{by}: {done}");
        };
        run(3, 0);
        run(0, 3);
        // In the second in which it was stored: that is seen too.
        Tree::new(work.path()).file("t/b", "TWO");
        run(1, 2);
        Tree::new(work.path()).file("t/b", "two");
        set_time(&work.path().join("t/b"), now + 60);
        run(1, 2);
        // By its name alone.
        let named = |files| {
            let done = put(work.path(), &["--json", "--newer", "t/a"], &server.url("%2Fa"));
            assert_eq!((done.status, summary(&done, "files")), (0, files), "{by}: {done}");
        };
        named(0);
        set_time(&work.path().join("t/a"), now + 60);
        named(1);
    }
}

/// What a refusal means: for a temporary name the hint is the way round; no room for this file lets the others arrive, no
/// room at all ends the run; a directory that cannot be made is not "not there"; one path's time is no news of others.
#[test]
fn refusals_mean_what_they_say() {
    type Own = fn(&str, &str) -> Option<&'static str>;
    for (own, status, hint, stored) in [
        ((|verb, name| (verb == "STOR" && name.contains("part")).then_some("500 what?")) as Own, 69, true, 0),
        (|verb, name| (verb == "STOR" && name.contains("part")).then_some("501 no such name"), 69, true, 0),
        (|verb, name| (verb == "STOR" && name.contains("part")).then_some("553 no dots"), 69, true, 0),
        (|verb, name| (verb == "STOR" && name.contains(".f1.")).then_some("552 too much"), 69, false, 4),
        (|verb, name| (verb == "STOR" && name.contains(".f1.")).then_some("452 disk full"), 75, false, 1),
    ] {
        let server = shifted(0, own);
        let work = temp_dir();
        let tree = Tree::new(work.path()).file("t/f0", "x").file("t/f1", "x").file("t/f2", "x");
        tree.file("t/f3", "x").file("t/f4", "x");
        let done = put(work.path(), &["--json", "-j1", "-r", "t"], &server.url("%2F"));
        assert_eq!((done.status, summary(&done, "files")), (status, stored), "{done}");
        assert_eq!(done.to_string().contains("--in-place"), hint, "{done}");
        assert_eq!(done.to_string().contains("more not tried"), status == 75, "{done}");
    }
    let work = temp_dir();
    Tree::new(work.path()).file("t/f", "x").file("t/a*b/f", "x").file("t/g", "x");
    let server = shifted(0, |verb, name| match (verb, name.contains('*')) {
        ("MKD", true) => Some("550 a*b: Invalid directory name"),
        ("LIST" | "CWD", true) => Some("550 a*b: No such file or directory"),
        ("MDTM", _) if name.contains("g") => Some("550 not this one"),
        _ => None,
    });
    let done = put(work.path(), &["--json", "-r", "t"], &server.url("%2F"));
    assert_eq!((done.status, summary(&done, "files")), (69, 2), "{done}");
    done.says("MKD: 550 a*b: Invalid directory name");
    // A part that cannot be read back, nor deleted: another name.
    std::fs::write(work.path().join("big"), content(5, 300_000)).unwrap();
    let server = shifted(0, |verb, _| {
        static ASKED: AtomicBool = AtomicBool::new(false);
        match verb {
            "SIZE" if !ASKED.swap(true, Ordering::Relaxed) => Some("213 1000"),
            "RETR" | "DELE" => Some("550 not for you"),
            _ => None,
        }
    });
    let done = put(work.path(), &["--json", "--always", "big"], &server.url("big"));
    assert_eq!((done.status, summary(&done, "files")), (0, 1), "{done}");
    let heard = server.heard();
    let after = |verb: &str| heard.iter().find_map(|line| line.strip_prefix(verb)).unwrap();
    assert!(after("DELE") == after("SIZE") && after("STOR") != after("SIZE"), "{heard:?}");
    let server = shifted(0, |_, _| None);
    // z/OS: no neighbour of a data set has a name that could be guessed.
    let done = put(work.path(), &["--json", "t/f"], &server.url("'HLQ.X(+1)'"));
    assert_eq!(done.status, 0, "{done}");
    assert!(server.heard().iter().any(|line| line == "STOR 'HLQ.X(+1)'"), "{:?}", server.heard());
}

/// Where another run was first, what is there decides: that is 75, and the same command again ends well.
#[test]
fn the_loser_of_a_race_may_try_again() {
    let work = temp_dir();
    Tree::new(work.path()).file("x", "hello");
    for (own, status) in [
        // The part is there still: that is for good. Then it is not, and then another one has its name already.
        (
            (|verb, name| match verb {
                "RNFR" => Some("550 gone"),
                "RNTO" => Some("503 what?"),
                "SIZE" if name == "x" => Some("550 no"),
                _ => None,
            }) as fn(&str, &str) -> Option<&'static str>,
            69,
        ),
        (
            |verb, name| match verb {
                "RNTO" => Some("550 exists"),
                "SIZE" if name == "x" => Some("213 5"),
                "MDTM" => Some("213 20200913122640"),
                _ => None,
            },
            75,
        ),
        (
            |verb, name| {
                static GONE: AtomicBool = AtomicBool::new(false);
                match verb {
                    "RNFR" => {
                        GONE.store(true, Ordering::Relaxed);
                        Some("550 gone")
                    }
                    "RNTO" => Some("503 what?"),
                    "SIZE" if name == "x" || GONE.load(Ordering::Relaxed) => Some("550 no"),
                    _ => None,
                }
            },
            75,
        ),
    ] {
        set_time(&work.path().join("x"), 1_600_000_000);
        let done = put(work.path(), &["--json", "x"], &shifted(0, own).url("x"));
        assert_eq!(done.status, status, "{done}");
    }
}
