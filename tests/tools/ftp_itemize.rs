//! `--itemize` of ftpget and ftpput, and the records of uploads at the server, however a client uploads.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::harness::{LIMIT, Server, server, temp_dir, tool};

fn write(path: &Path, text: &str, age: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 - age)).unwrap();
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What a mirror finds on both sides: (name, at the source, at the target).
const FILES: [(&str, Option<(&str, u64)>, Option<(&str, u64)>); 6] = [
    ("new", Some(("123", 0)), None),
    ("dir/deep/new name", Some(("1", 0)), None),
    ("grown", Some(("12345", 0)), Some(("123", 0))),
    ("younger", Some(("123", 0)), Some(("321", 50))),
    ("same", Some(("123", 0)), Some(("123", 0))),
    ("gone", None, Some(("123", 0))),
];

fn fill(source: &Path, target: &Path) {
    for (name, here, there) in FILES {
        for (dir, file) in [(source, here), (target, there)] {
            if let Some((text, age)) = file {
                write(&dir.join(name), text, age);
            }
        }
    }
    std::os::unix::fs::symlink("same", source.join("link")).unwrap();
}

fn ftp_server(dir: &Path) -> Server {
    fs::create_dir_all(dir.join("served")).unwrap();
    server("ftpserve").args(["--write", "--json", "served"]).dir(dir).start()
}

#[test]
fn a_fetched_tree_is_told_line_by_line() {
    let dir = temp_dir();
    let server = ftp_server(dir.path());
    fill(&dir.path().join("served/s"), &dir.path().join("t"));
    let run = |args: &[&str]| {
        let url = format!("ftp://{}/s/", server.addr);
        tool("ftpget").args(["-r", "--delete", "--itemize", "-o", "t"]).args(args).arg(url).dir(dir.path()).run()
    };
    let link = format!("ftp://{}/s/link", server.addr);
    let expected = [
        "changed\tt/grown\t5\tsize",
        "changed\tt/younger\t3\ttime",
        "deleted\tt/gone",
        "directory\tt/dir",
        "directory\tt/dir/deep",
        "new\tt/dir/deep/new name\t1",
        "new\tt/new\t3",
        &format!("skipped\t{link}\ta symbolic link"),
    ];
    assert_eq!(sorted(run(&["-n"]).exits(0).text()), expected);
    assert!(!dir.path().join("t/new").exists());
    assert_eq!(sorted(run(&[]).exits(0).text()), expected);
    let skipped = format!("skipped\t{link}\ta symbolic link\n");
    assert_eq!(run(&[]).exits(0).text(), skipped, "nothing is left to be done");
    assert_eq!(run(&["--links", "keep"]).exits(0).text(), "link\tt/link\tsame\n");
    let records = run(&["--json", "--delete-first"]);
    let types: Vec<_> =
        records.exits(0).records().iter().map(|record| record["type"].as_str().unwrap().to_owned()).collect();
    assert!(types.iter().filter(|kind| *kind == "transfer").count() == 5, "{types:?}");
    // A rule of the user's and a tree that goes into a place that is not there.
    let run = |args: &[&str]| {
        let url = format!("ftp://{}/s/", server.addr);
        tool("ftpget")
            .args(["-r", "--itemize", "-o", "u/v", "--include", "*name"])
            .args(args)
            .arg(url)
            .dir(dir.path())
            .run()
    };
    let expected = [
        "directory\tu/v",
        "directory\tu/v/dir",
        "directory\tu/v/dir/deep",
        "new\tu/v/dir/deep/new name\t1",
        &format!("skipped\t{link}\ta symbolic link"),
    ];
    assert_eq!(sorted(run(&["-n"]).exits(0).text()), expected);
    let done = run(&["--json"]);
    let made: Vec<_> = done.exits(0).records_of("directory");
    assert!(made.len() == 3 && made.iter().all(|record| record["status"] == "done"), "{done}");
    assert_eq!(done.records_of("transfer")[0]["replaces"], false);
}

#[test]
fn a_stored_tree_is_told_line_by_line() {
    let dir = temp_dir();
    let server = ftp_server(dir.path());
    fill(&dir.path().join("s"), &dir.path().join("served/t"));
    let base = format!("ftp://{}/t", server.addr);
    let run = |args: &[&str]| {
        tool("ftpput")
            .args(["-r", "--delete", "--itemize", "s"])
            .args(args)
            .arg(format!("{base}/"))
            .dir(dir.path())
            .run()
    };
    let expected: Vec<String> = [
        "changed\tB/grown\t5\tsize",
        "changed\tB/younger\t3\ttime",
        "deleted\tB/gone",
        "directory\tB/dir/",
        "directory\tB/dir/deep/",
        "new\tB/dir/deep/new%20name\t1",
        "new\tB/new\t3",
        "skipped\ts/link\ta symbolic link",
    ]
    .iter()
    .map(|line| line.replace("B/", &format!("{base}/")))
    .collect();
    assert_eq!(sorted(run(&["-n"]).exits(0).text()), expected);
    assert!(!dir.path().join("served/t/new").exists());
    assert_eq!(sorted(run(&[]).exits(0).text()), expected);
    assert_eq!(run(&[]).exits(0).text(), "skipped\ts/link\ta symbolic link\n", "nothing is left to be done");
}

#[test]
fn single_files_are_told_too() {
    let dir = temp_dir();
    let server = ftp_server(dir.path());
    let url = |name: &str| format!("ftp://{}/{name}", server.addr);
    write(&dir.path().join("a"), "1234", 0);
    let put = |args: &[&str], name: &str| {
        let run = tool("ftpput").args(["--itemize"]).args(args).arg(url(name)).dir(dir.path());
        run.stdin("12").run().exits(0).text().to_owned()
    };
    let line = |word: &str, name: &str, rest: &str| format!("{word}\t{}\t{rest}\n", url(name));
    assert_eq!(put(&["-n", "a"], "a"), line("new", "a", "4"));
    assert_eq!(put(&["a"], "a"), line("new", "a", "4"));
    write(&dir.path().join("a"), "123", 0);
    assert_eq!(put(&["a"], "a"), line("changed", "a", "3\tsize"));
    assert_eq!(put(&["-"], "b"), line("new", "b", "2"));
    assert_eq!(put(&["-", "-n"], "b"), line("changed", "b", "-\tsize"));
    let get = |args: &[&str]| tool("ftpget").args(["--itemize"]).args(args).arg(url("a")).dir(dir.path()).run();
    assert_eq!(get(&["-o", "c"]).exits(0).text(), "new\t./c\t3\n");
    assert_eq!(get(&["-o", "c"]).exits(0).text(), "changed\t./c\t3\t-\n", "fetched again: nothing is different");
    write(&dir.path().join("c"), "1", 5);
    assert_eq!(get(&["-o", "c", "-n"]).exits(0).text(), "changed\t./c\t3\tsize,time\n");
    get(&["-o", "-"]).exits(64).says("--itemize");
    let listed = tool("ftpget").args(["--itemize", "-i", "-", "--base", &url("")]).stdin("a\n").dir(dir.path()).run();
    assert!(listed.exits(0).text().starts_with("changed\t./a\t3\t"), "{listed}");
}

/// Every way in which clients upload: the commands, with a transfer each `*`, and the path of the only `arrived`.
const WAYS: [(&str, &[&str], Option<&str>); 12] = [
    ("directly", &["*STOR one"], Some("/one")),
    ("ftpput", &["*STOR .two.abcdefghijklmnop.part", "RNFR .two.abcdefghijklmnop.part", "RNTO two"], Some("/two")),
    ("WinSCP", &["*STOR three.filepart", "RNFR three.filepart", "RNTO three"], Some("/three")),
    ("lftp", &["*STOR .in.four", "RNFR .in.four", "RNTO four"], Some("/four")),
    ("browsers", &["*STOR five.part", "RNFR five.part", "RNTO five"], Some("/five")),
    ("rclone", &["*STOR six.partial", "RNFR six.partial", "RNTO six"], Some("/six")),
    ("a script", &["*STOR seven.tmp", "RNFR seven.tmp", "RNTO dir/seven"], Some("/dir/seven")),
    ("FileZilla", &["*STOR eight", "MFMT 20200101000000 eight"], Some("/eight")),
    ("appended", &["*APPE nine"], Some("/nine")),
    ("a unique name", &["*STOU"], None),
    (
        "a part in two attempts",
        &["*STOR ten.filepart", "*STOR ten.filepart", "RNFR ten.filepart", "RNTO ten"],
        Some("/ten"),
    ),
    ("renamed afterwards", &["*STOR eleven", "RNFR eleven", "RNTO twelve"], Some("/eleven")),
];

#[test]
fn each_upload_arrives_once_whichever_way_it_comes() {
    for (client, commands, path) in WAYS {
        let dir = temp_dir();
        let server = ftp_server(dir.path());
        fs::create_dir(dir.path().join("served/dir")).unwrap();
        let replies = upload(server.addr, commands);
        let begun = Instant::now();
        while !server.stdout.text().contains("\"type\":\"session\"") {
            assert!(begun.elapsed() < LIMIT, "{client}: {server}");
            std::thread::yield_now();
        }
        let records: Vec<serde_json::Value> =
            server.stdout.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let arrived: Vec<_> = records.iter().filter(|record| record["type"] == "arrived").collect();
        assert_eq!(arrived.len(), 1, "{client}: {server}");
        let name = arrived[0]["path"].as_str().unwrap();
        match path {
            Some(path) => assert_eq!(name, path, "{client}"),
            None => assert!(replies.contains(&name[1..]), "{client}: {name} is not in {replies}"),
        }
        let file = dir.path().canonicalize().unwrap().join("served").join(&name[1..]);
        assert_eq!(arrived[0]["file"].as_str(), file.to_str(), "{client}");
        assert_eq!(arrived[0]["size_bytes"], 5, "{client}");
        // Before it came the record of the last transfer, and every rename has both names.
        let last = records.iter().rposition(|record| record["type"] == "transfer").unwrap();
        let place = records.iter().position(|record| record["type"] == "arrived").unwrap();
        assert!(place > last, "{client}");
        for change in records.iter().filter(|record| record["verb"] == "RNTO") {
            assert!(change["path"].is_string() && change["to"].is_string(), "{change}");
        }
    }
}

/// Does these commands; those with a star send five bytes over a data connection.
fn upload(to: SocketAddr, commands: &[&str]) -> String {
    let mut control = TcpStream::connect(to).unwrap();
    let mut heard = String::new();
    let reply = |control: &mut TcpStream, heard: &mut String| {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\n") {
            assert_eq!(control.read(&mut byte).unwrap(), 1, "{heard}");
            line.push(byte[0]);
        }
        let line = String::from_utf8(line).unwrap();
        heard.push_str(&line);
        line
    };
    reply(&mut control, &mut heard);
    let begin = ["USER anonymous", "PASS x", "TYPE I"];
    for command in begin.iter().chain(commands).chain(&["QUIT"]) {
        let Some(transfer) = command.strip_prefix('*') else {
            control.write_all(format!("{command}\r\n").as_bytes()).unwrap();
            let line = reply(&mut control, &mut heard);
            assert!(line.starts_with('2') || line.starts_with('3'), "{command}: {heard}");
            continue;
        };
        control.write_all(b"EPSV\r\n").unwrap();
        let line = reply(&mut control, &mut heard);
        let port = line.split('|').nth(3).unwrap().parse().unwrap();
        let mut data = TcpStream::connect((to.ip(), port)).unwrap();
        control.write_all(format!("{transfer}\r\n").as_bytes()).unwrap();
        assert!(reply(&mut control, &mut heard).starts_with('1'), "{heard}");
        data.write_all(b"12345").unwrap();
        drop(data);
        assert!(reply(&mut control, &mut heard).starts_with('2'), "{heard}");
    }
    heard
}
