//! FTP clients: which files of trees travel, what is deleted, moved, linked and continued, against each server.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::ftp_clients::{Server, same_tree};
use crate::ftp_matrix::every_server;
use crate::ftp_servers::Kind;
use crate::harness::{Done, temp_dir, tool};
use crate::peers::{Trial, Verdict};

/// One row a peer × feature.
pub(crate) fn trials() -> Vec<Trial> {
    every_server!(
        "rules, sizes and ages, here" => rules_here,
        "rules, sizes and ages, there" => rules_there,
        "--newer, --size-only, --no-clobber, here" => differences_here,
        "--newer, --size-only, --no-clobber, there" => differences_there,
        "limits of --delete, here" => limits_here,
        "limits of --delete, there" => limits_there,
        "sources of a tree" => sources,
        "links: skip, follow, keep" => links,
        "lists: -i, --base, -0" => lists,
        "text: -B" => text,
        "killed at a byte, continued" => killed,
        "an upload continued" => upload_continued,
        "one tree by two runs at once" => two_at_once,
        "--append, stdin" => append,
        "-n changes nothing" => dry_run,
        "--before, --after" => around
    )
}

/// Every path below `top`, sorted, joined by spaces; directories end in a slash, links in `@`.
fn tree_of(top: &Path) -> String {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            let end = if kind.is_dir() { "/" } else { "" };
            let end = if kind.is_symlink() { "@" } else { end };
            found.push(format!("{}{end}", entry.path().strip_prefix(top).unwrap().display()));
            if kind.is_dir() {
                open.push(entry.path());
            }
        }
    }
    found.sort();
    found.join(" ")
}

/// Writes files `(path, bytes, age in seconds)`.
fn write(top: &Path, files: &[(&str, &str, u64)]) {
    for (name, bytes, age) in files {
        let path = top.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        set_age(&path, *age);
    }
}

fn set_age(path: &Path, age: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
}

/// Files on the server's side, owned by its user.
fn serve(server: &Server, files: &[(&str, &str, u64)]) {
    write(&server.root, files);
    server.own();
}

fn count(done: &Done, member: &str) -> u64 {
    let summary = done.records().pop().unwrap_or_else(|| panic!("{done}"));
    summary[member].as_u64().unwrap_or_else(|| panic!("{member}: {done}"))
}

/// The last parts of the names of what travelled.
fn travelled(done: &Done) -> String {
    let records = done.records_of("transfer");
    let moved = records.iter().filter(|record| record["status"] == "done" || record["status"] == "planned");
    let mut names: Vec<_> =
        moved.map(|record| record["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect();
    names.sort();
    names.join(" ")
}

const TREE: &[(&str, &str, u64)] = &[
    ("t/a.txt", "12345", 10),
    ("t/b.o", "1", 5000),
    ("t/sub/c.txt", "123456789", 200_000),
    ("t/sub/d o/e.o", "1234", 5000),
    ("t/tmp/f.txt", "1", 5000),
];

/// Flags, and what of `TREE` they leave.
const CHOICES: &[(&[&str], &str)] = &[
    (&["--include", "*.txt"], "a.txt sub/ sub/c.txt tmp/ tmp/f.txt"),
    (&["--exclude", "tmp/", "--include", "*.txt"], "a.txt sub/ sub/c.txt"),
    (&["--include", "a*", "--exclude", "*.txt", "--include", "*"], "a.txt b.o sub/ sub/d o/ sub/d o/e.o"),
    (&["--exclude", "sub/d o"], "a.txt b.o sub/ sub/c.txt tmp/ tmp/f.txt"),
    (&["--max-size", "4", "--include", "*.o"], "b.o sub/ sub/d o/ sub/d o/e.o"),
    (&["--min-size", "5", "--include", "*"], "a.txt sub/ sub/c.txt"),
    (&["--min-age", "1h", "--include", "*.txt"], "sub/ sub/c.txt tmp/ tmp/f.txt"),
    (&["--max-age", "1d", "--include", "*"], "a.txt b.o sub/ sub/d o/ sub/d o/e.o tmp/ tmp/f.txt"),
];

fn rules_here(server: &Server, dir: &Path) -> Verdict {
    serve(server, TREE);
    for (number, (flags, wanted)) in CHOICES.iter().enumerate() {
        let target = number.to_string();
        let url = server.url("t/");
        let done = server.run("ftpget", dir, &[&["-r", "-o", &target], *flags, &[&url]].concat(), 0);
        assert_eq!(tree_of(&dir.join(&target)), *wanted, "{done}");
    }
    server.run("ftpget", dir, &["-r", "--include", "*.pdf", "-o", "none", &server.url("t/")], 1);
    assert!(!dir.join("none").exists());
    Verdict::Ok
}

fn rules_there(server: &Server, dir: &Path) -> Verdict {
    write(dir, TREE);
    for (number, (flags, wanted)) in CHOICES.iter().enumerate() {
        let url = server.url(&format!("{number}/"));
        let done = server.run("ftpput", dir, &[&["-r"], *flags, &["t", &url]].concat(), 0);
        assert_eq!(tree_of(&server.root.join(number.to_string())), *wanted, "{flags:?} {done}");
    }
    server.run("ftpput", dir, &["-r", "--include", "*.pdf", "t", &server.url("none/")], 1);
    Verdict::Ok
}

fn differences_here(server: &Server, dir: &Path) -> Verdict {
    serve(server, &[("t/same", "1234", 900), ("t/older", "1234", 900), ("t/newer", "1234", 900), ("t/size", "1", 900)]);
    let url = server.url("t/");
    let run = |flags: &[&str]| {
        let done = server.run("ftpget", dir, &[&["--json", "-r", "-o", "t"], flags, &[&url]].concat(), 0);
        travelled(&done)
    };
    assert_eq!(run(&[]), "newer older same size");
    assert_eq!(run(&[]), "");
    write(dir, &[("t/older", "1234", 90_000), ("t/newer", "1234", 10), ("t/size", "12", 10)]);
    assert_eq!(run(&["-n", "--size-only"]), "size");
    assert_eq!(run(&["-n", "--newer"]), "older");
    assert_eq!(run(&["-n", "--always"]), "newer older same size");
    assert_eq!(run(&["--no-clobber"]), "");
    assert_eq!(run(&[]), "newer older size");
    assert_eq!(run(&[]), "");
    // Single files, and globs.
    let file = server.url("t/same");
    let single = |flags: &[&str]| {
        count(&server.run("ftpget", dir, &[&["--json", "-o", "t/same"], flags, &[&file]].concat(), 0), "files")
    };
    assert_eq!((single(&[]), single(&["-N"]), single(&["--size-only"])), (1, 0, 0));
    server.run("ftpget", dir, &["--no-clobber", "-o", "t/same", &file], 73);
    let done = server.run("ftpget", dir, &["--json", "--no-clobber", "-o", "t", &server.url("t/*e*")], 0);
    assert_eq!(count(&done, "files"), 0, "{done}");
    Verdict::Ok
}

fn differences_there(server: &Server, dir: &Path) -> Verdict {
    write(dir, &[("t/a", "1234", 900), ("t/sub/b", "1234", 900)]);
    let url = server.url("in/");
    let run =
        |flags: &[&str]| travelled(&server.run("ftpput", dir, &[&["--json", "-r"], flags, &["t", &url]].concat(), 0));
    assert_eq!(run(&[]), "a b");
    assert_eq!(run(&["--size-only"]), "");
    write(dir, &[("t/a", "12345", 900), ("t/sub/c", "", 900)]);
    assert_eq!(run(&["-n", "--size-only"]), "a c");
    assert_eq!(run(&["--no-clobber"]), "c");
    assert_eq!(run(&[]), "a");
    assert_eq!(std::fs::read(server.root.join("in/a")).unwrap(), b"12345");
    // The server's clock shows the upload or the time that was set: either is older than tomorrow.
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    std::fs::File::options().write(true).open(dir.join("t/a")).unwrap().set_modified(tomorrow).unwrap();
    assert_eq!(run(&["-n", "--newer"]), "a");
    assert_eq!(run(&["-n", "--always"]), "a b c");
    server.run("ftpput", dir, &["--no-clobber", "t/a", &url], 73);
    Verdict::Ok
}

fn limits_here(server: &Server, dir: &Path) -> Verdict {
    serve(server, &[("t/a", "a", 9), ("t/hollow/x", "x", 9)]);
    let url = server.url("t/");
    let run = |flags: &[&str], status: i32| {
        server.run("ftpget", dir, &[&["--json", "-r", "--delete", "-o", "t"], flags, &[&url]].concat(), status)
    };
    run(&[], 0);
    write(dir, &[("t/old", "", 9), ("t/gone/1", "", 9), ("t/keep.me", "", 9)]);
    let done = run(&["--max-delete=2", "--exclude=keep.*"], 1);
    assert_eq!((count(&done, "deleted"), dir.join("t/old").exists()), (0, true), "{done}");
    assert_eq!(count(&run(&["-n", "--exclude=keep.*"], 0), "deleted"), 3);
    assert_eq!(count(&run(&["--max-delete=3", "--exclude=keep.*"], 0), "deleted"), 3);
    assert_eq!(tree_of(&dir.join("t")), "a hollow/ hollow/x keep.me");
    std::fs::remove_file(server.root.join("t/hollow/x")).unwrap();
    let done = run(&["--exclude=keep.*"], 0);
    assert!(dir.join("t/hollow/x").exists(), "an empty listing deletes nothing: {done}");
    run(&["--allow-empty"], 0);
    assert_eq!(tree_of(&dir.join("t")), "a hollow/");
    Verdict::Ok
}

fn limits_there(server: &Server, dir: &Path) -> Verdict {
    serve(server, &[("in/x/1", "", 9), ("in/x/2", "", 9), ("in/y", "", 9), ("in/keep.me", "", 9), ("in/.part", "", 9)]);
    write(dir, &[("t/a", "a", 9)]);
    std::fs::create_dir(dir.join("empty")).unwrap();
    let url = server.url("in/");
    let run = |flags: &[&str], source: &str, status: i32| {
        server.run("ftpput", dir, &[&["--json", "-r", "--delete"], flags, &[source, &url]].concat(), status)
    };
    let rules = ["--exclude=keep.*", "--exclude=.*"];
    let done = run(&[&rules[..], &["--max-delete=3"]].concat(), "t", 1);
    assert!(server.root.join("in/y").exists() && server.root.join("in/a").exists(), "{done}");
    let done = run(&rules, "empty", 0);
    assert_eq!(count(&done, "deleted"), 0, "an empty source deletes nothing: {done}");
    assert_eq!(count(&run(&[&rules[..], &["-n"]].concat(), "t", 0), "deleted"), 4);
    assert_eq!(count(&run(&[&rules[..], &["--max-delete=4"]].concat(), "t", 0), "deleted"), 4);
    assert_eq!(tree_of(&server.root.join("in")), ".part a keep.me");
    run(&[&rules[..], &["--allow-empty"]].concat(), "empty", 0);
    assert_eq!(tree_of(&server.root.join("in")), ".part keep.me");
    Verdict::Ok
}

fn sources(server: &Server, dir: &Path) -> Verdict {
    let files = [("in/a", "a", 900), ("in/sub/b c", "b", 900), ("in/sub/skip.me", "s", 900)];
    serve(server, &files);
    let url = server.url("in/");
    let run = |flags: &[&str], status: i32| {
        let args = [&["--json", "-r", "--exclude=skip.*", "-o", "t"], flags, &[&url]].concat();
        server.run("ftpget", dir, &args, status)
    };
    assert_eq!(count(&run(&["-n", "--delete-source"], 0), "deleted"), 2);
    assert_eq!(count(&run(&[], 0), "files"), 2);
    // What an earlier run brought is the same, so its source goes.
    let done = run(&["--delete-source"], 0);
    assert_eq!((count(&done, "same"), count(&done, "deleted")), (2, 2), "{done}");
    assert_eq!(tree_of(&server.root.join("in")), "sub/ sub/skip.me");
    assert_eq!(tree_of(&dir.join("t")), "a sub/ sub/b c");
    serve(server, &files);
    let done = run(&["--move-source", "done/today"], 0);
    assert_eq!(count(&done, "moved"), 2, "{done}");
    assert_eq!(tree_of(&server.root.join("done")), "today/ today/a today/sub/ today/sub/b c");
    // One of that name is there already: nothing is replaced.
    serve(server, &[("in/a", "another", 10)]);
    let done = run(&["--move-source", "done/today"], 69);
    assert_eq!(std::fs::read(server.root.join("done/today/a")).unwrap(), b"a", "{done}");
    assert_eq!(std::fs::read(dir.join("t/a")).unwrap(), b"another", "{done}");
    Verdict::Ok
}

fn links(server: &Server, dir: &Path) -> Verdict {
    serve(server, &[("pub/d/a", "a", 900), ("pub/d/b", "b", 900), ("secret", "secret", 900)]);
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, server.root.join("pub").join(name)).unwrap();
    link("d/a", "file");
    link("d", "dir");
    link("../secret", "out");
    link("..", "d/up");
    let shown = server.run("ftpls", dir, &["--json", &server.url("pub/")], 0);
    let shows = |name: &str| {
        let entries = shown.records_of("entry");
        let entry = entries.iter().find(|entry| entry["name"] == name);
        entry.is_some_and(|entry| entry["entry_type"] == "symlink")
    };
    let run = |how: &str| {
        let done = server.any("ftpget", dir, &["--json", "-r", "--links", how, "-o", how, &server.url("pub/")]);
        (done.status, tree_of(&dir.join(how)), done)
    };
    if !shows("file") || !shows("dir") {
        // A server that hides links lists a tree that has itself inside: that ends where it is noticed.
        let (status, there, done) = run("skip");
        assert_eq!(status, 0, "{done}");
        assert!(there.starts_with("d/ d/a d/b d/up/"), "{done}");
        assert!(!there.contains("up/d/up") && !there.contains("dir/up/dir"), "{done}");
        done.says("directory loop");
        let done = server.run("ftpls", dir, &["-R", &server.url("pub/")], 0);
        assert!(done.text().lines().count() < 30, "{done}");
        server.run("ftpdo", dir, &[&server.url(""), "du", "pub"], 0);
        server.run("ftpdo", dir, &["-n", &server.url(""), "rm", "-r", "pub"], 0);
        return Verdict::NotApplicable("it does not say that a link is one");
    }
    let (status, there, done) = run("skip");
    assert_eq!((status, there.as_str()), (0, "d/ d/a d/b"), "{done}");
    let (status, there, done) = run("keep");
    // proftpd does not list where a link to `..` leads.
    let up = if server.kind == Kind::Pro { "" } else { " d/up@" };
    assert_eq!((status, there), (65, format!("d/ d/a d/b{up} dir@ file@")), "{done}");
    assert_eq!(std::fs::read_link(dir.join("keep/dir")).unwrap(), Path::new("d"));
    let (status, there, done) = run("follow");
    assert_eq!((status, there.as_str()), (65, "d/ d/a d/b dir/ dir/a dir/b file"), "{done}");
    Verdict::Ok
}

fn lists(server: &Server, dir: &Path) -> Verdict {
    serve(server, &[("in/a", "a", 9), ("in/sub/b c", "b", 9), ("in/sub/[x]*", "x", 9), ("in/\u{e4}\u{20ac}", "e", 9)]);
    let base = server.url("in/");
    let wanted = "a sub/ sub/[x]* sub/b c \u{e4}\u{20ac}";
    let run = |args: &[&str], input: &[u8], status: i32| {
        let target = temp_dir();
        let done = server.tool("ftpget").args(args).args(["-o", "t"]).dir(target.path()).stdin(input).run();
        assert_eq!(done.status, status, "{done}");
        tree_of(&target.path().join("t"))
    };
    let names = "a\nsub/b c\nsub/[x]*\n\u{e4}\u{20ac}\n";
    assert_eq!(run(&["-i", "-", "--base", &base], names.as_bytes(), 0), wanted);
    assert_eq!(run(&["-0", "-i", "-", "--base", &base], names.replace('\n', "\0").as_bytes(), 0), wanted);
    let urls = format!("{}\n\n{}\r\n", server.url("in/a"), server.url("in/sub/b%20c"));
    assert_eq!(run(&["-i", "-"], urls.as_bytes(), 0), "a b c");
    // What ftpls says is there is what ftpget takes.
    let listed = server.run("ftpls", dir, &["-0", "-R", "--type=f", &base], 0);
    assert_eq!(run(&["-0", "-i", "-", "--base", &base], &listed.stdout, 0), wanted);
    assert_eq!(run(&["-i", "-", "--base", &base], b"a\nnope\n", 66), "a", "the others arrive");
    // Names that servers or shells would expand, by paths that begin with them.
    write(dir, &[("up/~", "h", 90), ("up/~root", "r", 90), ("up/~d/-x", "x", 90)]);
    let tilde = server.url("~t/");
    server.run("ftpput", dir, &["-r", "up", &tilde], 0);
    server.run("ftpput", dir, &["-r", "--delete", "up", &tilde], 0);
    assert_eq!(tree_of(&server.root.join("~t")), "~ ~d/ ~d/-x ~root");
    server.run("ftpget", dir, &["-r", "-o", "home", &tilde], 0);
    assert_eq!(tree_of(&dir.join("home")), "~ ~d/ ~d/%2Dx ~root");
    server.run("ftpdo", dir, &[&tilde, "rm", "~ro*", "~d/*"], 0);
    server.run("ftpdo", dir, &[&tilde, "mv", "~", "~d/"], 0);
    assert_eq!(tree_of(&server.root.join("~t")), "~d/ ~d/~");
    Verdict::Ok
}

fn text(server: &Server, dir: &Path) -> Verdict {
    write(dir, &[("x", "one\ntwo\n", 900)]);
    server.run("ftpput", dir, &["-B", "x", &server.url("text")], 0);
    let there = std::fs::read_to_string(server.root.join("text")).unwrap();
    // Every server that converts stores its own line ends: LF.
    assert!(["one\ntwo\n", "one\r\ntwo\r\n"].contains(&there.as_str()), "{there:?}");
    server.run("ftpget", dir, &["-o", "back", &format!("{};type=a", server.url("text"))], 0);
    assert_eq!(std::fs::read_to_string(dir.join("back")).unwrap(), "one\ntwo\n");
    Verdict::Ok
}

/// The only unfinished file of this name.
fn part_of(dir: &Path, name: &str) -> PathBuf {
    let all = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let found = all.filter(|path| {
        let part = path.file_name().unwrap().as_encoded_bytes();
        applayer::ftp::part::unfinished(part).is_some_and(|(whole, _)| whole == name.as_bytes())
    });
    let found: Vec<PathBuf> = found.collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// ftpget dies at a byte of its file (SIGXFSZ), again and again; each run continues.
fn killed(server: &Server, dir: &Path) -> Verdict {
    let whole = std::fs::read(server.root.join("big.bin")).unwrap();
    let url = server.url("big.bin");
    let mut last = 0;
    for blocks in [1000, 1001, 2500, 5000] {
        let done = server.tool("ftpget").args(["--json", "-o", "x", &url]).largest_file(blocks).dir(dir).run();
        assert!(done.status != 0, "{done}");
        assert!(!dir.join("x").exists(), "{done}");
        let part = std::fs::metadata(part_of(dir, "x")).unwrap().len();
        assert_eq!(part, blocks * 512, "{done}");
        assert!(part > last);
        last = part;
    }
    let done = server.run("ftpget", dir, &["--json", "-o", "x", &url], 0);
    assert_eq!(done.records()[0]["resumed_from_bytes"], last, "{done}");
    assert!(std::fs::read(dir.join("x")).unwrap() == whole, "{done}");
    // Another file has taken its place: nothing of the old one stays.
    server.tool("ftpget").args(["-o", "y", &url]).largest_file(3000).dir(dir).run();
    part_of(dir, "y");
    let other: Vec<u8> = whole.iter().map(|byte| !byte).collect();
    std::fs::write(server.root.join("big.bin"), &other).unwrap();
    set_age(&server.root.join("big.bin"), 40);
    let done = server.run("ftpget", dir, &["--json", "-o", "y", &url], 0);
    assert_eq!(done.records()[0]["resumed_from_bytes"], 0, "{done}");
    assert!(std::fs::read(dir.join("y")).unwrap() == other, "{done}");
    Verdict::Ok
}

/// An upload is killed; the same command goes on where the server stopped, unless the file has changed since.
fn upload_continued(server: &Server, dir: &Path) -> Verdict {
    let whole = std::fs::read(server.root.join("big.bin")).unwrap();
    let other: Vec<u8> = whole.iter().map(|byte| !byte).collect();
    std::fs::write(dir.join("big"), &whole).unwrap();
    let there = server.root.join("in");
    std::fs::create_dir(&there).unwrap();
    // Planted by somebody, under the names of old.
    std::fs::write(there.join(".big.part"), &other[..900_000]).unwrap();
    server.own();
    let parts = || tree_of(&there).split(' ').filter(|name| name.len() > 20).count();
    let stored = || {
        let names = tree_of(&there);
        let parts = names.split(' ').filter(|name| name.len() > 20);
        parts.map(|name| there.join(name).metadata().unwrap().len()).sum::<u64>()
    };
    for changed in [false, true] {
        // On a busy machine the time may be over before the server has stored a byte: then again, for longer.
        for seconds in [1.5, 3.0, 6.0, 12.0] {
            let limit = format!("--max-time={seconds}");
            // The whole takes 15 s at this rate.
            let limits = server.tool("ftpput").args(["--json", "--rate=200K", &limit, "big", &server.url("in/")]);
            let done = limits.dir(dir).run();
            assert!(done.status == 75 && parts() <= 1, "{done}");
            if stored() > 0 {
                break;
            }
        }
        assert!(parts() == 1 && stored() > 0);
        if changed {
            std::fs::write(dir.join("big"), &other).unwrap();
        }
        let done = server.run("ftpput", dir, &["--json", "big", &server.url("in/")], 0);
        assert_eq!(done.records()[0]["resumed_from_bytes"] == 0, changed, "{done}");
        let wanted = if changed { &other } else { &whole };
        assert!(std::fs::read(there.join("big")).unwrap() == *wanted, "{done}");
        assert_eq!(parts(), usize::from(changed));
    }
    assert!(std::fs::read(there.join(".big.part")).unwrap() == other[..900_000]);
    Verdict::Ok
}

/// The loser of each race ends well, or for now; what is there is whole.
fn two_at_once(server: &Server, dir: &Path) -> Verdict {
    for number in 0..60u32 {
        let content = number.to_string().repeat(if number % 20 == 0 { 200_000 } else { 40 });
        write(dir, &[(&format!("t/d{}/{number}", number % 4), &content, 900)]);
    }
    for flags in [&["-j4", "--always"][..], &["-j2", "--replace", "--always"]] {
        let to = server.url("in/");
        let args = [flags, &["-r", "t", &to]].concat();
        let done = std::thread::scope(|scope| {
            [(); 2].map(|()| scope.spawn(|| server.any("ftpput", dir, &args))).map(|run| run.join().unwrap())
        });
        assert!(done.iter().all(|done| matches!(done.status, 0 | 75)), "{}{}", done[0], done[1]);
        let there = server.root.join("in");
        for name in tree_of(&dir.join("t")).split(' ').filter(|name| !name.ends_with('/')) {
            let same = std::fs::read(dir.join("t").join(name)).unwrap() == std::fs::read(there.join(name)).unwrap();
            assert!(same, "{name}\n{}{}", done[0], done[1]);
        }
        // pure-ftpd leaves files of its own (`.pureftpd-rename.…`).
        assert!(!tree_of(&there).contains(".part"), "{}", tree_of(&there));
    }
    Verdict::Ok
}

fn append(server: &Server, dir: &Path) -> Verdict {
    write(dir, &[("x", "one\n", 9)]);
    for _ in 0..2 {
        server.run("ftpput", dir, &["--append", "x", &server.url("log")], 0);
    }
    let done = server.tool("ftpput").args(["--append", "-", &server.url("log")]).stdin("two\n").run();
    assert_eq!(done.status, 0, "{done}");
    assert_eq!(std::fs::read_to_string(server.root.join("log")).unwrap(), "one\none\ntwo\n");
    let many = "0123456789\n".repeat(200_000);
    let done = server.tool("ftpput").args(["--json", "-", &server.url("many")]).stdin(many.as_str()).run();
    assert_eq!((done.status, &done.records()[0]["size_bytes"]), (0, &(many.len() as u64).into()), "{done}");
    assert!(std::fs::read(server.root.join("many")).unwrap() == many.as_bytes());
    Verdict::Ok
}

fn dry_run(server: &Server, dir: &Path) -> Verdict {
    write(dir, &[("t/a", "a", 9), ("t/sub/b", "b", 9)]);
    let before = (tree_of(&server.root), tree_of(dir));
    server.run("ftpget", dir, &["-n", "-r", "--delete", "-o", "t", &server.url("sub/")], 0);
    server.run("ftpget", dir, &["-n", "-r", "--delete-source", "-o", "u", &server.url("sub/")], 0);
    server.run("ftpget", dir, &["-n", "-o", "new/", &server.url("hello.txt")], 0);
    server.run("ftpget", dir, &["-n", &server.url("nope")], 66);
    server.run("ftpput", dir, &["-n", "-r", "--delete", "t", &server.url("sub/")], 0);
    server.run("ftpput", dir, &["-n", "-r", "t", &server.url("new/er/")], 0);
    assert_eq!((tree_of(&server.root), tree_of(dir)), before);
    Verdict::Ok
}

fn around(server: &Server, dir: &Path) -> Verdict {
    write(dir, &[("x", "x", 9)]);
    let name = server.url("sent");
    let args = ["--before", "NOOP", "--before", "*XYZZY", "--after", "RNFR sent", "--after", "RNTO moved", "x", &name];
    server.run("ftpput", dir, &args, 0);
    assert!(server.root.join("moved").exists() && !server.root.join("sent").exists());
    server.run("ftpget", dir, &["--before", "XYZZY", "-o", "y", &server.url("moved")], 69);
    assert!(!dir.join("y").exists());
    server.run("ftpget", dir, &["-Q", "-DELE moved", "-o", "y", &server.url("moved")], 0);
    assert!(dir.join("y").exists() && !server.root.join("moved").exists());
    let copy = dir.join("copy");
    server.run("ftpget", dir, &["-r", "-o", "copy", &server.url("sub/")], 0);
    same_tree(&server.root.join("sub"), &copy, &tool("ftpget").args(["-V"]).run());
    assert!(server.kind != Kind::Vsftpd || copy.exists());
    Verdict::Ok
}
