//! ftpput through its command line: trees that are sent again only where they differ, deleting at the server, modes, links,
//! and servers that refuse.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::ftp_get::{Tree, lines_of, serve, set_time, summary, url};
use crate::ftp_peer::{FtpPeer, OPENING, ftp_peer};
use crate::harness::{Done, temp_dir, tool};

fn put(dir: &Path, args: &[&str], url: &str) -> Done {
    tool("ftpput").args(args).arg(url).dir(dir).run()
}

#[test]
fn only_what_changed_is_sent() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = serve(root.path());
    Tree::new(work.path()).file("t/a", "one").file("t/sub/b", "two").file("t/sub/c", "three");
    let to = url(&server, "in/");
    let counts = |done: &Done| (summary(done, "files"), summary(done, "same"));
    assert_eq!(counts(&put(work.path(), &["--json", "-r", "t"], &to)), (3, 0));
    assert_eq!(counts(&put(work.path(), &["--json", "-r", "t"], &to)), (0, 3));
    // Another size, another time, a new file, a new directory.
    Tree::new(work.path()).file("t/a", "longer").file("t/sub/d", "four").file("t/new/e", "five");
    set_time(&work.path().join("t/sub/b"), 1_500_000_000);
    assert_eq!(counts(&put(work.path(), &["--json", "-r", "t"], &to)), (4, 1));
    assert_eq!(std::fs::read(root.path().join("in/a")).unwrap(), b"longer");
    // An older file here: not newer than there; the same size: nothing to do; and all of it again.
    set_time(&work.path().join("t/sub/b"), 1_400_000_000);
    assert_eq!(counts(&put(work.path(), &["--json", "-r", "--newer", "t"], &to)), (0, 5));
    assert_eq!(counts(&put(work.path(), &["--json", "-r", "--size-only", "t"], &to)), (0, 5));
    assert_eq!(counts(&put(work.path(), &["--json", "-r", "-n", "t"], &to)), (1, 4));
    assert_eq!(counts(&put(work.path(), &["--json", "-r", "--always", "t"], &to)), (5, 0));
    // Single files are sent unless a flag says otherwise.
    assert_eq!(counts(&put(work.path(), &["--json", "t/a"], &to)), (1, 0));
    assert_eq!(counts(&put(work.path(), &["--json", "--newer", "t/a"], &to)), (0, 1));
    Tree::new(work.path()).file("t/a", "other!");
    assert_eq!(counts(&put(work.path(), &["--json", "-r", "--no-clobber", "t"], &to)), (0, 0));
    assert_eq!(put(work.path(), &["--no-clobber", "t/a"], &to).status, 73);
    assert_eq!(std::fs::read(root.path().join("in/a")).unwrap(), b"longer");
}

#[test]
fn rules_choose_and_protect() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = serve(root.path());
    Tree::new(work.path()).file("t/a.txt", "a").file("t/b.o", "b").file("t/sub/c.txt", "c").file("t/bin/d", "d");
    Tree::new(root.path()).file("in/old.txt", "x").file("in/keep.o", "x").file("in/gone/e.txt", "x");
    Tree::new(root.path()).file("in/mixed/f.txt", "x").file("in/mixed/g.o", "x");
    let to = url(&server, "in/");
    let args = ["--json", "-r", "--exclude", "*.o", "--exclude", "bin/", "--delete", "t"];
    let plan = put(work.path(), &[&["-n"], &args[..]].concat(), &to);
    assert_eq!((plan.status, summary(&plan, "files"), summary(&plan, "deleted")), (0, 2, 4), "{plan}");
    assert!(root.path().join("in/old.txt").exists() && !root.path().join("in/a.txt").exists());
    let done = put(work.path(), &args, &to);
    assert_eq!((done.status, summary(&done, "files"), summary(&done, "deleted")), (0, 2, 4), "{done}");
    assert_eq!(
        lines_of(root.path()),
        ["in/", "in/a.txt", "in/keep.o", "in/mixed/", "in/mixed/g.o", "in/sub/", "in/sub/c.txt"]
    );
    // Without files in them directories are not made when only some files are wanted.
    let done = put(work.path(), &["--json", "-r", "--include", "*.txt", "t"], &url(&server, "some/"));
    assert_eq!(done.status, 0, "{done}");
    assert_eq!(lines_of(&root.path().join("some")), ["a.txt", "sub/", "sub/c.txt"]);
    let done = put(work.path(), &["--json", "-r", "--include", "*.pdf", "t"], &url(&server, "some/"));
    assert_eq!(done.status, 1, "nothing matches\n{done}");
}

#[test]
fn deleting_has_its_limits() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = serve(root.path());
    Tree::new(work.path()).file("t/a", "a");
    Tree::new(root.path()).file("in/x/1", "").file("in/x/2", "").file("in/y", "");
    let to = url(&server, "in/");
    let done = put(work.path(), &["--json", "-r", "--delete", "--max-delete", "3", "t"], &to);
    assert_eq!((done.status, summary(&done, "deleted")), (1, 0), "{done}");
    done.says("more than 3 deletions");
    assert!(root.path().join("in/y").exists() && root.path().join("in/a").exists());
    // An empty source: perhaps something is not mounted.
    std::fs::create_dir(work.path().join("empty")).unwrap();
    let done = put(work.path(), &["--json", "-r", "--delete", "empty"], &to);
    assert_eq!((done.status, summary(&done, "deleted"), done.records_of("skipped").len()), (0, 0, 1), "{done}");
    let done = put(work.path(), &["--json", "-r", "--delete", "--max-delete", "4", "t"], &to);
    assert_eq!((done.status, summary(&done, "deleted")), (0, 4), "{done}");
    assert_eq!(lines_of(root.path()), ["in/", "in/a"]);
    let done = put(work.path(), &["-r", "--delete", "--allow-empty", "empty"], &to);
    assert_eq!(done.status, 0, "{done}");
    assert_eq!(lines_of(root.path()), ["in/"]);
    assert_eq!(put(work.path(), &["-r", "--delete", "t", "empty"], &to).status, 64);
    assert_eq!(put(work.path(), &["--delete", "t/a"], &to).status, 64);
}

#[test]
fn links_are_skipped_or_followed_but_never_out() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = serve(root.path());
    Tree::new(work.path()).file("outside", "secret").file("t/d/a", "a");
    symlink("d/a", work.path().join("t/file")).unwrap();
    symlink("d", work.path().join("t/dir")).unwrap();
    symlink("../outside", work.path().join("t/out")).unwrap();
    symlink("..", work.path().join("t/d/up")).unwrap();
    symlink("nowhere", work.path().join("t/dangling")).unwrap();
    let done = put(work.path(), &["--json", "-r", "t"], &url(&server, "skip/"));
    assert_eq!((done.status, summary(&done, "files"), summary(&done, "skipped")), (0, 1, 5), "{done}");
    let done = put(work.path(), &["--json", "-r", "--links=follow", "t"], &url(&server, "follow/"));
    assert_eq!(done.status, 66, "the first failure: a link that leads nowhere\n{done}");
    assert_eq!(lines_of(&root.path().join("follow")), ["d/", "d/a", "dir/", "dir/a", "file"]);
    let errors: Vec<_> = done.records_of("error").iter().map(|error| error["target"].to_string()).collect();
    assert!(errors.iter().any(|target| target.contains("t/out")), "{done}");
    assert_eq!(put(work.path(), &["--links=keep", "-r", "t"], &url(&server, "")).status, 64);
}

#[test]
fn modes_and_times_go_along() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = serve(root.path());
    Tree::new(work.path()).file("a", "a");
    std::fs::set_permissions(work.path().join("a"), PermissionsExt::from_mode(0o640)).unwrap();
    set_time(&work.path().join("a"), 1_500_000_000);
    let mode = |name: &str| std::fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o7777;
    let done = put(work.path(), &["--json", "--keep-mode", "a"], &url(&server, "kept"));
    assert_eq!((done.status, mode("kept"), done.records()[0]["mode"].as_str()), (0, 0o640, Some("0640")), "{done}");
    assert_eq!(done.records()[0]["modified"], "2017-07-14T02:40:00Z");
    let done = put(work.path(), &["--mode=600", "a"], &url(&server, "set"));
    assert_eq!((done.status, mode("set")), (0, 0o600), "{done}");
    let done = tool("ftpput").args(["--mode=604", "-", &url(&server, "piped")]).stdin("x").run();
    assert_eq!((done.status, mode("piped")), (0, 0o604), "{done}");
    for bad in ["8", "rw", "17777", ""] {
        assert_eq!(put(work.path(), &[&format!("--mode={bad}"), "a"], &url(&server, "bad")).status, 64, "{bad}");
    }
    let done = put(
        work.path(),
        &["-Q", "SITE CHMOD 755 sent", "--after", "RNFR sent", "--after", "RNTO moved", "a"],
        &url(&server, "sent"),
    );
    assert_eq!(done.status, 69, "the file is not there yet when -Q is sent\n{done}");
    let args = ["-Q", "*SITE CHMOD 755 sent", "-Q", "-RNFR sent", "-Q", "-RNTO moved", "a"];
    let done = put(work.path(), &args, &url(&server, "sent"));
    assert_eq!(done.status, 0, "{done}");
    assert!(root.path().join("moved").exists() && !root.path().join("sent").exists());
}

/// What a server for uploads refuses.
#[derive(Default)]
struct Refusals {
    rename: Option<&'static str>,
    chmod: Option<&'static str>,
    size: Option<u64>,
}

fn refusing_server(refusals: Refusals) -> FtpPeer {
    ftp_peer(move |session, verb, _| {
        let reply = match verb {
            "STOR" => {
                session.memory = std::io::copy(&mut session.data(OPENING)?, &mut std::io::sink()).unwrap();
                "226 got it\r\n"
            }
            "MLSD" => "550 not there\r\n",
            "SIZE" if session.memory == 0 => "550 nothing\r\n",
            "SIZE" => return Some(format!("213 {}\r\n", refusals.size.unwrap_or(session.memory))),
            "RNTO" => refusals.rename?,
            "SITE" => refusals.chmod?,
            _ => return None,
        };
        Some(reply.to_owned())
    })
}

/// The tree changes while it is sent: what is gone or grows is told and does not appear, all else arrives.
#[test]
fn a_tree_that_changes_meanwhile() {
    const SIZE: usize = 3 << 20;
    let work = temp_dir();
    let at = |name: &str| work.path().join("t").join(name);
    let mut tree = Tree::new(work.path()).file("t/a", "a").file("t/z", "z");
    for gone in ["gone", "link", "dir", "sub/x"] {
        tree = tree.file(&format!("t/{gone}"), "x");
    }
    drop(tree);
    std::fs::write(at("grows"), vec![b'0'; SIZE]).unwrap();
    let (changed, root) = (AtomicBool::new(false), work.path().join("t"));
    let stored: Arc<Mutex<HashMap<String, Vec<u8>>>> = Arc::default();
    let there = stored.clone();
    let server = ftp_peer(move |session, verb, path| {
        let stored = || there.lock().unwrap();
        let reply = match verb {
            "MLSD" => "550 not there\r\n".to_owned(),
            "STOR" => {
                let (mut data, mut bytes) = (session.data(OPENING)?, vec![0]);
                let first = data.read(&mut bytes).unwrap();
                bytes.truncate(first);
                if !changed.swap(true, Ordering::SeqCst) {
                    std::fs::remove_file(root.join("gone")).unwrap();
                    std::fs::remove_file(root.join("link")).unwrap();
                    symlink("a", root.join("link")).unwrap();
                    std::fs::remove_file(root.join("dir")).unwrap();
                    std::fs::create_dir(root.join("dir")).unwrap();
                    std::fs::remove_dir_all(root.join("sub")).unwrap();
                }
                if path.contains("grows") {
                    let mut file = std::fs::File::options().append(true).open(root.join("grows")).unwrap();
                    file.write_all(b"1").unwrap();
                }
                data.read_to_end(&mut bytes).ok()?;
                stored().insert(path.to_owned(), bytes);
                "226 got it\r\n".to_owned()
            }
            "SIZE" => match stored().get(path) {
                Some(bytes) => format!("213 {}\r\n", bytes.len()),
                None => "550 nothing\r\n".to_owned(),
            },
            "RNFR" => {
                let bytes = stored().remove(path).unwrap_or_default();
                stored().insert(String::new(), bytes);
                "350 and now\r\n".to_owned()
            }
            "RNTO" => {
                let bytes = stored().remove("").unwrap();
                stored().insert(path.to_owned(), bytes);
                "250 moved\r\n".to_owned()
            }
            _ => return None,
        };
        Some(reply)
    });
    let done = put(work.path(), &["--json", "-r", "-j1", "t"], &server.url("in/"));
    assert_eq!(done.status, 66, "{done}");
    let stored = stored.lock().unwrap();
    let mut names: Vec<&String> = stored.keys().filter(|name| !name.contains(".part")).collect();
    names.sort();
    assert_eq!(names, ["in/a", "in/z"], "{done}");
    let told: Vec<String> = done.records_of("error").iter().map(|error| error["target"].to_string()).collect();
    for gone in ["gone", "grows", "link", "dir", "sub/x"] {
        assert!(told.iter().any(|target| target.contains(gone)), "{gone}: {done}");
    }
}

#[test]
fn refusals_are_explained() {
    let work = temp_dir();
    Tree::new(work.path()).file("a", "hello");
    let run = |refusals: Refusals, args: &[&str]| {
        let server = refusing_server(refusals);
        let done = put(work.path(), &[args, &["a"]].concat(), &server.url("x"));
        (done, server.heard())
    };
    // The new name is refused: the hint names the ways round, and the temporary file is taken away.
    let (done, heard) = run(Refusals { rename: Some("553 exists\r\n"), ..Refusals::default() }, &["--json"]);
    assert_eq!(done.status, 69, "{done}");
    done.says("--in-place");
    assert!(heard.iter().any(|line| line.starts_with("DELE .x.")), "{heard:?}");
    let (done, heard) = run(Refusals { rename: Some("553 exists\r\n"), ..Refusals::default() }, &["--in-place"]);
    assert_eq!(done.status, 0, "{done}");
    assert!(
        heard.iter().any(|line| line == "STOR x") && !heard.iter().any(|line| line.starts_with("RNFR")),
        "{heard:?}"
    );
    let (done, heard) = run(Refusals::default(), &["--replace"]);
    assert_eq!(done.status, 0, "{done}");
    let at = |wanted: &str| {
        heard.iter().position(|line| line.starts_with(wanted)).unwrap_or_else(|| panic!("{wanted}: {heard:?}"))
    };
    assert!(at("DELE x") < at("RNTO x") && at("STOR .x.") < at("DELE x"), "{heard:?}");
    // 226 alone is not enough where the size says otherwise.
    let (done, heard) = run(Refusals { size: Some(3), ..Refusals::default() }, &["--json"]);
    assert_eq!(done.status, 75, "{done}");
    assert!(!heard.iter().any(|line| line.starts_with("RNTO")), "{heard:?}");
    // Stored, but not as asked.
    let (done, _) = run(Refusals { chmod: Some("502 what?\r\n"), ..Refusals::default() }, &["--json", "--mode=644"]);
    assert_eq!(done.status, 69, "{done}");
    done.says("mode");
}
