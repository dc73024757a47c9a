//! ftpget through its command line: globs, lists, rules, links, deleting here and at the source, dry runs.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use applayer::ftp::part::{PartTag, part_name};

use crate::harness::{Done, Server, server, temp_dir, tool};

/// A server of ours that takes uploads from anybody.
pub(crate) fn serve(root: &Path) -> Server {
    server("ftpserve").arg("--write").arg(root).start()
}

pub(crate) fn url(server: &Server, path: &str) -> String {
    format!("ftp://{}/{path}", server.addr)
}

/// Files below a directory.
pub(crate) struct Tree(PathBuf);

impl Tree {
    pub(crate) fn new(root: &Path) -> Tree {
        Tree(root.to_owned())
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Tree {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }
}

pub(crate) fn set_time(path: &Path, seconds: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

/// Every path below, sorted; directories end in a slash, links in `@`.
pub(crate) fn lines_of(root: &Path) -> Vec<String> {
    fn walk(top: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            let end = if kind.is_dir() {
                "/"
            } else if kind.is_symlink() {
                "@"
            } else {
                ""
            };
            found.push(format!("{}{end}", entry.path().strip_prefix(top).unwrap().display()));
            if kind.is_dir() {
                walk(top, &entry.path(), found);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

/// A number of the summary.
#[track_caller]
pub(crate) fn summary(done: &Done, member: &str) -> u64 {
    let record = done.records().pop().unwrap_or_else(|| panic!("no records\n{done}"));
    assert_eq!(record["type"], "summary", "{done}");
    record[member].as_f64().map(|number| number as u64).unwrap_or_else(|| panic!("no {member}\n{done}"))
}

fn get(dir: &Path, args: &[&str]) -> Done {
    tool("ftpget").args(args).dir(dir).run()
}

#[test]
fn globs() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("a.gz", "A").file("b.gz", "B").file(".hidden.gz", "H").file("c.txt", "C");
    Tree::new(root.path()).file("one/x.gz", "1").file("two/x.gz", "2").file("two/deep/y", "y").file("st*r", "star");
    let server = serve(root.path());
    let fetched = |args: &[&str], path: &str| {
        let target = temp_dir();
        let done = get(target.path(), &[args, &["--json", &url(&server, path)]].concat());
        (done.status, lines_of(target.path()).join(" "))
    };
    assert_eq!(fetched(&[], "*.gz"), (0, "a.gz b.gz".to_owned()));
    assert_eq!(fetched(&[], "{a,c}.*"), (0, "a.gz c.txt".to_owned()));
    assert_eq!(fetched(&[], "[!a-b]*.txt"), (0, "c.txt".to_owned()));
    assert_eq!(fetched(&[], ".h*"), (0, ".hidden.gz".to_owned()));
    assert_eq!(fetched(&[], "*/x.gz"), (0, "one/ one/x.gz two/ two/x.gz".to_owned()));
    assert_eq!(fetched(&[], "two/*.gz"), (0, "x.gz".to_owned()));
    assert_eq!(fetched(&[], "t?o/deep/?"), (0, "two/ two/deep/ two/deep/y".to_owned()));
    assert_eq!(fetched(&[], "**/*.gz"), (0, "a.gz b.gz one/ one/x.gz two/ two/x.gz".to_owned()));
    assert_eq!(fetched(&[], "st%2Ar"), (0, "st*r".to_owned()));
    assert_eq!(fetched(&["-g"], "st*r"), (0, "st*r".to_owned()));
    assert_eq!(fetched(&["-r"], "tw?"), (0, "two/ two/deep/ two/deep/y two/x.gz".to_owned()));
    assert_eq!(fetched(&[], "tw?"), (0, String::new()), "a directory is told, not fetched");
    assert_eq!(fetched(&[], "*.pdf"), (1, String::new()));
    assert_eq!(fetched(&[], "*/*.pdf"), (1, String::new()));
    assert_eq!(fetched(&[], "nowhere/*"), (66, String::new()));
    assert_eq!(fetched(&[], "[a").0, 64);
    assert_eq!(fetched(&["--exclude", "a*"], "*.gz"), (0, "b.gz".to_owned()));
    // In order, into a pipe; and what of it does not match.
    let done = get(work.path(), &["-o", "-", &url(&server, "{b,a}.gz"), &url(&server, "two/*.gz")]);
    assert_eq!((done.status, done.text()), (0, "AB2"), "{done}");
    let done = get(work.path(), &["-o", "-", &url(&server, "*.pdf"), &url(&server, "a.gz")]);
    assert_eq!((done.status, done.text()), (1, "A"), "{done}");
    done.says("nothing matches");
}

#[test]
fn lists_of_urls_and_paths() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("a", "A").file("sub/b c", "BC").file("sub/st*r", "star").file("new\u{e4}", "N");
    let server = serve(root.path());
    let run = |args: &[&str], input: &[u8]| {
        let target = temp_dir();
        let done = tool("ftpget").args(args).dir(target.path()).stdin(input).run();
        (done.status, lines_of(target.path()).join(" "))
    };
    let list = format!("{}\n\n{}\r\n", url(&server, "a"), url(&server, "sub/b%20c"));
    assert_eq!(run(&["-i", "-"], list.as_bytes()), (0, "a b c".to_owned()));
    std::fs::write(work.path().join("list"), &list).unwrap();
    let path = work.path().join("list");
    assert_eq!(run(&["-i", path.to_str().unwrap(), &url(&server, "sub/s*"), "-o", "d"], b"").1, "d/ d/a d/b c d/st*r");
    // Paths are taken as they are, with their directories.
    let base = url(&server, "");
    let names = "a\nsub/b c\nsub/st*r\nnew\u{e4}\n";
    let all = "a new\u{e4} sub/ sub/b c sub/st*r";
    assert_eq!(run(&["-i", "-", "--base", &base], names.as_bytes()), (0, all.to_owned()));
    assert_eq!(run(&["-0", "-i", "-", "--base", &base], names.replace('\n', "\0").as_bytes()), (0, all.to_owned()));
    for bad in ["../a", "/etc/passwd", "a\rb", "x//y"] {
        assert_eq!(run(&["-i", "-", "--base", &base], bad.as_bytes()), (64, String::new()), "{bad:?}");
    }
    assert_eq!(run(&["-i", "-", "--password-file", "-"], b"x").0, 64);
    assert_eq!(run(&["-i", "nowhere"], b"").0, 66);
    assert_eq!(run(&["--base", &base, &base], b"").0, 64);
    assert_eq!(run(&["-i", "-"], b"").0, 0, "an empty list is done at once");
    // Two of one name, and the first failure for good in the order of the list.
    let twice = format!("{}\n{}\n", url(&server, "a"), url(&server, "a"));
    assert_eq!(run(&["-i", "-"], twice.as_bytes()).0, 64);
    let mixed = format!("{}\n{}\nftp://127.0.0.1:1/x\n", url(&server, "nope"), url(&server, "a"));
    assert_eq!(run(&["-i", "-"], mixed.as_bytes()), (66, "a".to_owned()));
    // -0 is about the list; records stay JSON.
    let done =
        tool("ftpget").args(["--json", "-0", "-i", "-", "--base", &base]).dir(work.path()).stdin("a\0sub/b c\0").run();
    assert_eq!((done.status, summary(&done, "files")), (0, 2), "{done}");
    // What ftpls prints is what ftpget takes.
    let names = tool("ftpls").args(["-0", "-R", &base]).run();
    let files: Vec<&[u8]> =
        names.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty() && *name != b"sub").collect();
    assert_eq!(run(&["-0", "-i", "-", "--base", &base], &files.join(&0)), (0, all.to_owned()));
}

#[test]
fn words_of_other_tools() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("a", "12345");
    let server = serve(root.path());
    std::fs::write(work.path().join("a"), "123").unwrap();
    let link = url(&server, "a");
    let done = get(work.path(), &["--json", "-C", "-", "-O", &link]);
    assert_eq!((done.status, &done.records()[0]["resumed_from_bytes"]), (0, &3.into()), "{done}");
    for args in [&["-N"][..], &["--only-newer"], &["--timestamping"], &["--ignore-time"]] {
        let done = get(work.path(), &[args, &["--json", &link]].concat());
        assert_eq!((done.status, summary(&done, "same")), (0, 1), "{done}");
    }
    let done = get(work.path(), &["-W", "NOOP", "-Y", "DELE a", &link]);
    assert!(done.status == 0 && !root.path().join("a").exists(), "{done}");
    for args in [&["-C", "3"][..], &["-T", "x"], &["-P", "x"], &["-f", "x"], &["-s"], &["-m"]] {
        assert_eq!(get(work.path(), &[args, &[&link]].concat()).status, 64, "{args:?}");
    }
}

#[test]
fn retries_are_told() {
    let work = temp_dir();
    let server = crate::ftp_peer::ftp_peer(|_, verb, _| (verb == "RETR").then(|| "450 busy\r\n".to_owned()));
    let link = server.url("x");
    let done = get(work.path(), &["--retry=2", "--retry-delay=0.01", &link]);
    assert_eq!((done.status, done.stderr.matches("trying again").count()), (75, 2), "{done}");
    let done = get(work.path(), &["-q", "--retry=2", "--retry-delay=0.01", &link]);
    assert_eq!((done.status, done.stderr.lines().count()), (75, 1), "{done}");
}

#[test]
fn many_urls_travel_together() {
    let (root, work) = (temp_dir(), temp_dir());
    let mut list = String::new();
    for number in 0..300 {
        std::fs::write(root.path().join(number.to_string()), number.to_string()).unwrap();
        list.push_str(&format!("{number}\n"));
    }
    let server = serve(root.path());
    let done = tool("ftpget")
        .args(["--json", "-i", "-", "-o", "d", "--base", &url(&server, "")])
        .dir(work.path())
        .stdin(list)
        .run();
    assert_eq!((done.status, summary(&done, "files")), (0, 300), "{done}");
    for number in 0..300 {
        assert_eq!(std::fs::read_to_string(work.path().join(format!("d/{number}"))).unwrap(), number.to_string());
    }
}

#[test]
fn a_tree_of_many_directories_takes_few_descriptors() {
    let (root, work) = (temp_dir(), temp_dir());
    for number in 0..300 {
        Tree::new(root.path()).file(&format!("in/{number}/a"), &number.to_string());
    }
    let server = serve(root.path());
    let run = |name: &str, args: &[&str]| {
        let done = tool(name).args(args).dir(work.path()).shell("ulimit -n 128").run();
        assert_eq!(done.status, 0, "{done}");
        summary(&done, "files")
    };
    assert_eq!(run("ftpget", &["--json", "-r", "-o", "t", &url(&server, "in/")]), 300);
    assert_eq!(run("ftpput", &["--json", "-r", "t", &url(&server, "copy/")]), 300);
    for number in 0..200 {
        Tree::new(&work.path().join("t")).file(&format!("gone/{number}/a"), "");
    }
    let done = ["--json", "-r", "--delete", "-o", "t", &url(&server, "in/")];
    assert_eq!(run("ftpget", &done), 0);
    assert!(!work.path().join("t/gone").exists());
}

#[test]
fn rules_sizes_and_ages() {
    let (root, _work) = (temp_dir(), temp_dir());
    Tree::new(root.path())
        .file("a.txt", "12345")
        .file("b.o", "1")
        .file("sub/c.txt", "123456789")
        .file("tmp/d.txt", "1");
    Tree::new(root.path()).file("empty/e.o", "");
    let server = serve(root.path());
    for (name, age) in [("a.txt", 10), ("b.o", 5000), ("sub/c.txt", 100_000), ("tmp/d.txt", 5000), ("empty/e.o", 5000)]
    {
        let then = SystemTime::now() - Duration::from_secs(age);
        set_time(&root.path().join(name), then.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
    }
    let fetched = |args: &[&str]| {
        let target = temp_dir();
        let done = get(target.path(), &[&["--json", "-r", "-o", "t"], args, &[&url(&server, "")]].concat());
        let there = if target.path().join("t").exists() { lines_of(&target.path().join("t")) } else { Vec::new() };
        (done.status, there.join(" "))
    };
    assert_eq!(fetched(&["--include", "*.txt"]), (0, "a.txt sub/ sub/c.txt tmp/ tmp/d.txt".to_owned()));
    assert_eq!(fetched(&["--exclude", "tmp/", "--include", "*.txt"]), (0, "a.txt sub/ sub/c.txt".to_owned()));
    assert_eq!(fetched(&["--include", "*.txt", "--exclude", "a*"]).1, "a.txt sub/ sub/c.txt tmp/ tmp/d.txt");
    assert_eq!(fetched(&["--include", "*.pdf"]), (1, String::new()));
    assert_eq!(fetched(&["--exclude", "*.o"]).1, "a.txt empty/ sub/ sub/c.txt tmp/ tmp/d.txt");
    assert_eq!(fetched(&["--max-size", "5"]).1, "a.txt b.o empty/ empty/e.o sub/ tmp/ tmp/d.txt");
    assert_eq!(fetched(&["--min-size", "2"]).1, "a.txt empty/ sub/ sub/c.txt tmp/");
    assert_eq!(fetched(&["--min-age", "1h"]).1, "b.o empty/ empty/e.o sub/ sub/c.txt tmp/ tmp/d.txt");
    assert_eq!(fetched(&["--max-age", "1d", "--exclude", "b.o"]).1, "a.txt empty/ empty/e.o sub/ tmp/ tmp/d.txt");
    assert_eq!(fetched(&["--include", "["]).0, 64);
}

#[test]
fn only_what_differs_travels() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("same", "1234").file("older", "1234").file("newer", "1234").file("size", "12345");
    let server = serve(root.path());
    let args = |more: &[&'static str]| [&["--json", "-r", "-o", "t"], more].concat();
    let link = url(&server, "");
    let run = |more: &[&'static str]| {
        let mut args = args(more);
        args.push(&link);
        let done = get(work.path(), &args);
        assert_eq!(done.status, 0, "{done}");
        let mut files: Vec<String> = Vec::new();
        for record in done.records_of("transfer").iter().filter(|record| record["status"] != "same") {
            files.push(record["local"].as_str().unwrap().rsplit('/').next().unwrap().to_owned());
        }
        files.sort();
        files.join(" ")
    };
    assert_eq!(run(&[]), "newer older same size");
    assert_eq!(run(&[]), "");
    let here = |name: &str| work.path().join("t").join(name);
    set_time(&here("older"), 1_000_000_000);
    set_time(&here("newer"), 4_000_000_000);
    std::fs::write(here("size"), "123").unwrap();
    set_time(&here("size"), 4_000_000_000);
    assert_eq!(run(&["-n"]), "newer older size");
    assert_eq!(run(&["--size-only", "-n"]), "size");
    assert_eq!(run(&["--newer", "-n"]), "older");
    assert_eq!(run(&["--always", "-n"]), "newer older same size");
    assert_eq!(run(&["--no-clobber"]), "");
    assert_eq!(run(&[]), "newer older size");
    // Single files.
    let file = url(&server, "same");
    let single = |more: &[&str]| summary(&get(&work.path().join("t"), &[more, &["--json", &file]].concat()), "files");
    assert_eq!((single(&[]), single(&["--newer"]), single(&["--size-only"])), (1, 0, 0));
    set_time(&here("same"), 1_000_000_000);
    assert_eq!((single(&["-N", "-n"]), single(&["-N"]), single(&["-N"])), (1, 1, 0));
}

#[test]
fn links_are_skipped_followed_or_kept_but_never_lead_out() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("outside", "secret").file("pub/d/a", "a").file("pub/d/b", "b");
    let link = |to: &str, name: &str| symlink(to, root.path().join("pub").join(name)).unwrap();
    link("d/a", "file");
    link("d", "dir");
    link("../outside", "out");
    link("../d/../../outside", "d/winding");
    link("..", "d/up");
    link("nowhere", "dangling");
    let server = serve(root.path());
    let run = |how: &str| {
        let target = work.path().join(how);
        let done =
            get(work.path(), &["--json", "-r", "--links", how, "-o", target.to_str().unwrap(), &url(&server, "pub/")]);
        let errors = done.records_of("error").into_iter().map(|error| error["target"].as_str().unwrap().to_owned());
        let mut errors: Vec<String> = errors.map(|target| target.rsplit('/').next().unwrap().to_owned()).collect();
        errors.sort();
        (done.status, lines_of(&target).join(" "), errors.join(" "))
    };
    assert_eq!(run("skip"), (0, "d/ d/a d/b".to_owned(), String::new()));
    let kept = "d/ d/a d/b d/up@ dangling@ dir@ file@".to_owned();
    assert_eq!(run("keep"), (65, kept.clone(), "out winding".to_owned()));
    assert_eq!(std::fs::read_link(work.path().join("keep/dir")).unwrap(), Path::new("d"));
    // Again: the links are there; a changed one is made anew; nothing is ever written through one.
    std::fs::remove_file(root.path().join("pub/file")).unwrap();
    link("d/b", "file");
    assert_eq!(run("keep"), (65, kept, "out winding".to_owned()));
    assert_eq!(std::fs::read_link(work.path().join("keep/file")).unwrap(), Path::new("d/b"));
    let (status, there, errors) = run("follow");
    assert_eq!((status, there.as_str()), (65, "d/ d/a d/b dir/ dir/a dir/b file"), "{errors}");
    assert!(errors.contains("out") && errors.contains("winding"), "{errors}");
    assert_eq!(std::fs::read(work.path().join("follow/file")).unwrap(), b"b");
    // A glob that names a link to a file means the file.
    let done = get(work.path(), &["-o", "g", &url(&server, "pub/fi*")]);
    assert_eq!((done.status, lines_of(&work.path().join("g")).join(" ")), (0, "file".to_owned()), "{done}");
}

#[test]
fn what_the_server_does_not_have_goes() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("a", "a").file("sub/b", "b").file("sub/keep.me", "k").file("hollow/x", "x");
    let server = serve(root.path());
    let here = work.path().join("t");
    let link = url(&server, "");
    let run = |more: &[&str]| get(work.path(), &[&["--json", "-r", "-o", "t", "--delete"], more, &[&link]].concat());
    assert_eq!(run(&[]).status, 0);
    // What an interrupted run left of `a` belongs to it; any other name is a name.
    let begun = String::from_utf8(part_name(b"a", &PartTag::of_source(&[b"a"]))).unwrap();
    Tree::new(&here).file("old", "").file("gone/1", "").file("gone/2", "").file("sub/keep.too", "");
    Tree::new(&here).file(&begun, "p").file("sub/.z.part", "p");
    symlink("/etc", here.join("gone/etc")).unwrap();
    std::fs::remove_file(root.path().join("sub/keep.me")).unwrap();
    let protect = ["--exclude", "keep.*"];
    let plan = run(&[&["-n"], &protect[..]].concat());
    assert_eq!((plan.status, summary(&plan, "deleted")), (0, 6), "{plan}");
    assert!(here.join("gone/1").exists());
    let done = run(&[&["--max-delete", "5"], &protect[..]].concat());
    assert_eq!((done.status, summary(&done, "deleted")), (1, 0), "{done}");
    done.says("more than 5 deletions");
    let done = run(&[&["--max-delete", "6"], &protect[..]].concat());
    assert_eq!((done.status, summary(&done, "deleted")), (0, 6), "{done}");
    let left = "a hollow/ hollow/x sub/ sub/b sub/keep.me sub/keep.too";
    assert_eq!(lines_of(&here).iter().filter(|name| **name != begun).cloned().collect::<Vec<_>>().join(" "), left);
    assert!(Path::new("/etc/passwd").exists(), "a link is deleted, not what it leads to");
    // A directory that is empty at the server.
    std::fs::remove_file(root.path().join("hollow/x")).unwrap();
    let done = run(&[]);
    assert_eq!((done.status, here.join("hollow/x").exists(), done.records_of("skipped").len()), (0, true, 1), "{done}");
    done.says("--allow-empty");
    let done = run(&["--allow-empty"]);
    assert_eq!((done.status, here.join("hollow/x").exists()), (0, false), "{done}");
    assert_eq!(get(work.path(), &["--delete", &url(&server, "a")]).status, 64);
    assert_eq!(run(&["--delete-source"]).status, 64);
}

#[test]
fn sources_go_when_their_copy_is_safe() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = serve(root.path());
    let fill = || Tree::new(root.path()).file("in/a", "a").file("in/sub/b", "b").file("in/sub/skip.me", "s");
    fill();
    let tree = url(&server, "in/");
    let args = ["--json", "-r", "-o", "t", "--exclude", "skip.*"];
    let run = |more: &[&str]| get(work.path(), &[&args, more, &[&tree]].concat());
    let plan = run(&["-n", "--delete-source"]);
    assert_eq!((plan.status, summary(&plan, "files"), lines_of(root.path()).len()), (0, 2, 5), "{plan}");
    assert_eq!(run(&[]).status, 0);
    // What an earlier run brought is the same, so its source goes too.
    let done = run(&["--delete-source"]);
    assert_eq!((done.status, summary(&done, "deleted"), summary(&done, "same")), (0, 2, 2), "{done}");
    assert_eq!(lines_of(root.path()), ["in/", "in/sub/", "in/sub/skip.me"]);
    assert_eq!(lines_of(&work.path().join("t")), ["a", "sub/", "sub/b"]);
    fill();
    let done = run(&["--move-source", "done/today"]);
    assert_eq!((done.status, summary(&done, "moved")), (0, 2), "{done}");
    assert_eq!(std::fs::read(root.path().join("done/today/sub/b")).unwrap(), b"b");
    // A file of that name is there already: it stays, and so does the source.
    Tree::new(root.path()).file("in/a", "another a");
    let done = run(&["--move-source", "done/today"]);
    assert_eq!((done.status, summary(&done, "moved"), summary(&done, "files")), (69, 0, 1), "{done}");
    assert_eq!(std::fs::read(root.path().join("done/today/a")).unwrap(), b"a");
    assert_eq!(std::fs::read(work.path().join("t/a")).unwrap(), b"another a");
    // Single files and globs.
    let done = get(work.path(), &["--json", "--delete-source", &url(&server, "in/a")]);
    assert_eq!((done.status, summary(&done, "deleted"), root.path().join("in/a").exists()), (0, 1, false), "{done}");
    let done = get(work.path(), &["--json", "--move-source=/done", &url(&server, "in/sub/skip*")]);
    assert_eq!((done.status, root.path().join("done/skip.me").exists()), (0, true), "{done}");
    assert_eq!(get(work.path(), &["-o", "-", "--delete-source", &url(&server, "done/skip.me")]).status, 64);
}

#[test]
fn a_dry_run_says_and_changes_nothing() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("a", "aa").file("sub/b", "b");
    let server = serve(root.path());
    let done = get(work.path(), &["-n", "-r", "-o", "t", &url(&server, "")]);
    let mut lines: Vec<&str> = done.text().lines().collect();
    lines.sort_unstable();
    let wanted = [format!("get\t{}\tt/a", url(&server, "a")), format!("get\t{}\tt/sub/b", url(&server, "sub/b"))];
    assert_eq!((done.status, lines), (0, wanted.iter().map(String::as_str).collect()), "{done}");
    let done = get(work.path(), &["-n", "--json", "-o", "new/", &url(&server, "a")]);
    assert_eq!((done.status, done.records()[0]["size_bytes"].as_u64()), (0, Some(2)), "{done}");
    assert_eq!(get(work.path(), &["-n", &url(&server, "nope")]).status, 66);
    assert_eq!(lines_of(work.path()), Vec::<String>::new());
}

#[test]
fn commands_before_and_after() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("a", "a").file("b", "b");
    let server = serve(root.path());
    let done =
        get(work.path(), &["--before", "*MKD made", "--after", "RMD made", "-Q", "*DELE nope", &url(&server, "a")]);
    assert_eq!((done.status, root.path().join("made").exists()), (0, false), "{done}");
    let done = get(work.path(), &["-Q", "-DELE a", &url(&server, "a"), &url(&server, "nope")]);
    assert_eq!((done.status, root.path().join("a").exists()), (66, true), "not after a failure\n{done}");
    let done = get(work.path(), &["--after", "DELE nope", &url(&server, "a")]);
    assert_eq!(done.status, 69, "{done}");
    let done = get(work.path(), &["-Q", "-DELE a", &url(&server, "a")]);
    assert_eq!((done.status, root.path().join("a").exists()), (0, false), "{done}");
}

#[test]
fn text_is_converted_and_never_continued() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("a.txt", "one\ntwo\n").file("b.txt", "x\n");
    let server = serve(root.path());
    Tree::new(work.path()).file(".a.txt.part", "left over");
    let done = get(work.path(), &["--json", "-B", &url(&server, "*.txt")]);
    assert_eq!((done.status, summary(&done, "files")), (0, 2), "{done}");
    assert_eq!(std::fs::read(work.path().join("a.txt")).unwrap(), b"one\ntwo\n");
    let done = tool("ftpput").args(["-B", "a.txt", &url(&server, "up.txt")]).dir(work.path()).run();
    assert_eq!(done.status, 0, "{done}");
    // Times decide: sizes may differ in text.
    let done = get(work.path(), &["--json", "-B", &url(&server, "*.txt"), "--newer"]);
    assert_eq!((done.status, summary(&done, "files"), summary(&done, "same")), (0, 1, 2), "{done}");
}

#[test]
fn our_own_deadline_is_not_the_peers_fault() {
    let (root, work) = (temp_dir(), temp_dir());
    for path in [root.path().join("big"), work.path().join("large")] {
        std::fs::File::create(path).unwrap().set_len(64 << 20).unwrap();
    }
    let server = serve(root.path());
    for (name, ends) in [("ftpget", [url(&server, "big"), "x".into()]), ("ftpput", ["large".into(), url(&server, "y")])]
    {
        let ends = if name == "ftpget" { [&ends[0], "-o", &ends[1]].to_vec() } else { [&*ends[0], &ends[1]].to_vec() };
        let done = tool(name).args(["--max-time", "1", "--rate", "1M", "--json"]).args(ends).dir(work.path()).run();
        assert_eq!(done.exits(75).records_of("error")[0]["kind"], "timed_out", "{done}");
    }
}
