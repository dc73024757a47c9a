//! ftpls and ftpdo by their command lines: against ftpserve, and against servers that print odd listings.

use std::path::Path;

use crate::ftp_get::url;
use crate::ftp_peer::{FtpPeer, ftp_peer};
use crate::harness::{Server, server, temp_dir, tool};

/// A tree to look at, served for reading and writing.
fn site() -> (tempfile::TempDir, Server) {
    let root = temp_dir();
    for (path, size, time) in [
        ("a.txt", 10, 1_000_000_000),
        ("b.csv", 2000, 1_500_000_000),
        (".hidden", 1, 1_400_000_000),
        ("2024/one.csv", 300, 1_700_000_000),
        ("2025/one.csv", 400, 1_750_000_000),
        ("2025/deep/two.csv", 5000, 1_760_000_000),
        ("odd [1]*.txt", 7, 1_200_000_000),
    ] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, vec![b'x'; size]).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(time)).unwrap();
    }
    std::os::unix::fs::symlink("2025", root.path().join("latest")).unwrap();
    let server = server("ftpserve").arg("--write").arg(root.path()).start();
    (root, server)
}

#[test]
fn globs_filters_and_orders() {
    let (_root, server) = site();
    let all = ["a.txt", "b.csv", "odd [1]*.txt"];
    for (path, args, lines) in [
        ("*.txt", &[][..], &["a.txt", "odd [1]*.txt"][..]),
        ("{a,b}.*", &[], &["a.txt", "b.csv"]),
        ("202?/*.csv", &[], &["2024/one.csv", "2025/one.csv"]),
        ("**/*.csv", &[], &["2024/one.csv", "2025/deep/two.csv", "2025/one.csv", "b.csv"]),
        ("2025/*/", &[], &["deep/two.csv"]),
        ("late*/one.csv", &[], &["latest/one.csv"]),
        (".h*", &[], &[".hidden"]),
        ("odd%20%5B1%5D%2A.txt", &[], &["odd [1]*.txt"]),
        ("odd%20[1]*.txt", &["-g"], &["odd [1]*.txt"]),
        ("", &["--type", "f", "--exclude", ".*"], &all),
        ("", &["-R", "--name", "one.*"], &["2024/one.csv", "2025/one.csv"]),
        ("", &["-R", "--name", "2025/*.csv"], &["2025/one.csv"]),
        ("", &["-R", "--type", "f", "--min-size", "400"], &["2025/deep/two.csv", "2025/one.csv", "b.csv"]),
        ("", &["-R", "--type", "f", "--max-size", "8"], &[".hidden", "odd [1]*.txt"]),
        ("", &["-R", "--type", "f", "--newer", "@1750000000"], &["2025/deep/two.csv", "2025/one.csv"]),
        ("", &["-R", "--type", "f", "--older", "2001-12-31"], &["a.txt"]),
        ("", &["--max-depth", "2", "--type", "f", "--name", "*.csv"], &["2024/one.csv", "2025/one.csv", "b.csv"]),
        ("", &["-R", "--exclude", "2025", "--name", "*.csv"], &["2024/one.csv", "b.csv"]),
        ("", &["--type", "l"], &["latest"]),
    ] {
        let done = tool("ftpls").args(args).args(["--sort", "name"]).arg(url(&server, path)).run();
        let found: Vec<String> = done.silent_success().text().lines().map(str::to_owned).collect();
        assert_eq!(found, lines, "{path} {args:?}\n{done}");
    }
    for (args, lines) in [
        (["--sort", "size"], ["b.csv", "a.txt", "odd [1]*.txt"]),
        (["--sort=size", "--reverse"], ["odd [1]*.txt", "a.txt", "b.csv"]),
        (["--sort", "time"], ["b.csv", "odd [1]*.txt", "a.txt"]),
    ] {
        let done = tool("ftpls").args(args).args(["--name", "[!.]*", "--type", "f"]).arg(url(&server, "")).run();
        assert_eq!(done.text().lines().collect::<Vec<_>>(), lines, "{done}");
    }
}

#[test]
fn nothing_that_matches_is_an_answer() {
    let (_root, server) = site();
    for args in [vec![url(&server, "*.zip")], vec!["--name".into(), "x".into(), url(&server, "")]] {
        let done = tool("ftpls").arg("--json").args(args).run();
        assert_eq!(done.status, 1, "{done}");
    }
    tool("ftpls").arg(url(&server, "none/*.zip")).run().exits(66);
    tool("ftpls").arg(url(&server, "[")).run().exits(64);
    let done = tool("ftpls").arg(format!("ftp://u:secret@{}/[", server.addr)).run();
    assert!(done.status == 64 && !done.stderr.contains("secret"), "{done}");
}

#[test]
fn sums() {
    let (_root, server) = site();
    let done = tool("ftpls").args(["--du", &url(&server, "")]).run();
    assert_eq!(done.silent_success().text(), "300\t2024\n5000\t2025/deep\n5400\t2025\n7718\t.\n", "{done}");
    let done = tool("ftpls").args(["--du", "--json", "--max-depth", "1", "--name", "*.csv", &url(&server, "")]).run();
    let last = done.records().pop().unwrap();
    assert_eq!((&last["size_bytes"], &last["files"]), (&7700.into(), &4.into()), "{done}");
    let done = tool("ftpdo").args(["--json", &url(&server, ""), "du", "2025", "a.txt"]).run();
    let sizes: Vec<u64> = done.records().iter().map(|record| record["size_bytes"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [5400, 10], "{done}");
}

#[test]
fn records_say_all() {
    let (_root, server) = site();
    let done = tool("ftpls").args(["--json", "-R", &url(&server, "")]).run();
    let records = done.records();
    let entry =
        |name: &str| records.iter().find(|record| record["path"] == name).unwrap_or_else(|| panic!("{name}\n{done}"));
    let file = entry("2025/one.csv");
    assert_eq!(file["url"], url(&server, "2025/one.csv"));
    assert_eq!((&file["modified"], &file["modified_zone"]), (&"2025-06-15T15:06:40Z".into(), &"utc".into()));
    assert!(file["raw"].as_str().unwrap().contains("one.csv"), "{file}");
    assert_eq!(entry("odd [1]*.txt")["url"], url(&server, "odd%20%5B1%5D%2A.txt"));
    for way in ["mlsd", "list", "stat"] {
        let args = ["--way", way, "--type", "f", "--sort", "name", "--exclude", ".*", &url(&server, "")];
        let done = tool("ftpls").args(args).run();
        assert_eq!(done.silent_success().text(), "a.txt\nb.csv\nodd [1]*.txt\n", "{way}");
    }
    let done = tool("ftpls").args(["--stat", &url(&server, "2025/")]).run();
    assert_eq!(done.silent_success().text().lines().count(), 2, "{done}");
    let done = tool("ftpls").args(["-0", "--sort", "name", "--type", "f", &url(&server, "")]).run();
    assert!(done.stdout.ends_with(b"odd [1]*.txt\0"), "{done}");
}

#[test]
fn saved_listings() {
    let dir = temp_dir();
    let unix = "./pub:\ntotal 8\n-rw-r--r-- 1 u g 7 Nov 23 05:52 a b\ndrwxr-xr-x 2 u g 4096 Feb 29 12:00 sub\n\n./pub/sub:\n\
                -rw-r--r-- 1 u g 9 Dec  3 05:52 x\n";
    std::fs::write(dir.path().join("ls-lR"), unix).unwrap();
    let run = |args: &[&str]| tool("ftpls").args(args).dir(dir.path()).run();
    let done = run(&["-l", "--parse", "ls-lR", "--now", "2026-11-24T00:00:00Z"]);
    let lines = "-\t0644\tu\tg\t7\t2026-11-23T05:52\tpub/a b\nd\t0755\tu\tg\t-\t2024-02-29T12:00\tpub/sub\n\
                 -\t0644\tu\tg\t9\t2025-12-03T05:52\tpub/sub/x\n";
    assert_eq!(done.silent_success().text(), lines, "{done}");
    let done = run(&["--parse", "ls-lR", "--name", "x"]);
    assert_eq!(done.silent_success().text(), "pub/sub/x\n");
    run(&["--parse", "ls-lR", "--name", "y"]).exits(1);
    run(&["--parse", "nowhere"]).exits(66);
    run(&["--parse", "ls-lR", "ftp://h/"]).exits(64);
    run(&["--now", "2d", "ftp://h/"]).exits(64);
    // As ls(1) is asked.
    for (flags, names) in [
        (&["-la1"][..], "a b sub x"),
        (&["-t"], "a b x sub"),
        (&["-lS"], "x a b sub"),
        (&["-t", "--reverse"], "sub x a b"),
    ] {
        let done = run(&[flags, &["--parse", "ls-lR", "--now", "2026-11-24T00:00:00Z"]].concat());
        let found: Vec<&str> = done.text().lines().filter_map(|line| line.rsplit('/').next()).collect();
        assert_eq!((done.status, found.join(" ")), (0, names.to_owned()), "{flags:?}: {done}");
    }
    for flags in [&["-tS"][..], &["-t", "--sort", "name"], &["-ltr"], &["-lh"]] {
        assert_eq!(run(&[flags, &["--parse", "ls-lR"]].concat()).status, 64, "{flags:?}");
    }
    // The whole name, whatever it begins with.
    let lines = " lead\n type=file;size=1; x\n";
    let done = tool("ftpls").args(["--parse", "-"]).stdin(lines).run();
    assert_eq!(done.silent_success().text(), "lead\ntype=file;size=1; x\n");
    let done = tool("ftpls").args(["--parse", "-", "--json"]).stdin("type=file;size=1; x\nnonsense\n").run();
    assert_eq!(done.status, 65, "{done}");
    assert!(done.stderr.contains("stdin:2"), "{done}");
    // Each table of dialects, as somebody would have saved it; what makes no sense is told and does not stop the rest.
    for (dialect, name) in
        [("dos", "pub"), ("eplf", "514.html"), ("vms", "CII-MANUAL.TEX"), ("as400", "QOpenSys"), ("os2", "csort.exe")]
    {
        let table = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/ftp/listing/{dialect}.txt"));
        let text = std::fs::read_to_string(table).unwrap();
        let lines: Vec<&str> = text.lines().filter_map(|row| row.strip_prefix('|')).collect();
        let done = tool("ftpls").args(["--parse", "-", "--json"]).stdin(lines.join("\r\n")).run();
        assert_eq!(done.status, 65, "{dialect}: {done}");
        assert!(done.records_of("entry").iter().any(|entry| entry["name"] == name), "{dialect}: {done}");
    }
}

#[test]
fn verbs() {
    let (root, server) = site();
    let at = |path: &str| root.path().join(path);
    let run = |args: &[&str]| tool("ftpdo").args(["--json", &url(&server, "")]).args(args).run();
    run(&["chmod", "600", "a.txt"]).exits(0);
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&at("a.txt").metadata().unwrap().permissions()) & 0o777, 0o600);
    run(&["touch", "-d", "2020-02-29T12:00:00Z", "a.txt", "new"]).exits(0);
    for name in ["a.txt", "new"] {
        let modified = at(name).metadata().unwrap().modified().unwrap();
        assert_eq!(modified, std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_582_977_600), "{name}");
    }
    assert_eq!(at("a.txt").metadata().unwrap().len(), 10, "touch empties nothing");
    let done = run(&["touch", "-c", "nothing"]);
    assert_eq!((done.status, &done.records()[0]["changed"]), (0, &false.into()), "{done}");
    assert!(!at("nothing").exists());
    let done = run(&["hash", "-a", "sha256", "a.txt"]);
    assert_eq!(done.exits(0).records()[0]["algorithm"], "SHA-256", "{done}");
    let text = tool("ftpdo").args([&url(&server, ""), "hash", "-a", "sha256", "a.txt", "b.csv"]).run();
    let text = text.silent_success().text().to_owned();
    let mut check = std::process::Command::new("sha256sum");
    check.arg("-c").current_dir(root.path());
    assert_eq!(feed(check, &text), 0, "{text}");
    run(&["rmdir", "2025"]).exits(69);
    run(&["mkdir", "dir"]).exits(0);
    run(&["rmdir", "dir"]).exits(0);
    let done = run(&["-n", "rm", "-r", "2025", "a.txt"]);
    assert_eq!(done.status, 0, "{done}");
    assert!(at("2025/deep/two.csv").exists() && at("a.txt").exists());
    let done = run(&["rm", "-r", "2025"]);
    let record = &done.records()[0];
    assert_eq!((&record["removed_files"], &record["removed_directories"]), (&2.into(), &2.into()), "{done}");
    assert!(!at("2025").exists());
    let done = run(&["mkdir", "first", "a.txt"]);
    assert_eq!(done.status, 3, "one was made, and would not be made again: {done}");
    run(&["hash", "nothing"]).exits(66);
    run(&["chmod", "999", "a.txt"]).exits(64);
    run(&["rm", "-d", "2d", "a.txt"]).exits(64);
}

/// Retention: what is surely old enough goes, and only that; a dry run says so first.
#[test]
fn old_backups_go() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = server("ftpserve").arg("--write").arg(root.path()).start();
    let at = |name: &str| root.path().join(name);
    for (name, age) in [("backup-1.tar", 40), ("backup-2.tar", 2), ("other.tar", 40), (".backup-0.tar", 40)] {
        std::fs::write(at(name), name).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(age * 86_400);
        std::fs::File::options().write(true).open(at(name)).unwrap().set_modified(then).unwrap();
    }
    std::fs::create_dir(at("backup-d.tar")).unwrap();
    let run = |args: &[&str]| tool("ftpdo").arg(url(&server, "")).args(args).dir(work.path()).run();
    let old = ["rm", "--older-than", "30d", "backup-*.tar"];
    let said = run(&[&["-n"], &old[..]].concat());
    assert_eq!((said.status, said.text()), (0, "would rm backup-1.tar\n"), "{said}");
    assert!(at("backup-1.tar").exists());
    run(&old).silent_success();
    run(&old).silent_success();
    let left = [".backup-0.tar", "backup-2.tar", "backup-d.tar", "other.tar"];
    assert_eq!(crate::ftp_get::lines_of(root.path()), [".backup-0.tar", "backup-2.tar", "backup-d.tar/", "other.tar"]);
    run(&["rm", "--larger", "100", "*.tar"]).silent_success();
    assert!(left.iter().all(|name| at(name).exists()));
    run(&["rm", "nothing-*"]).exits(1);
    run(&["rm", "-f", "nothing-*"]).silent_success();
    run(&["stat", "--older-than", "30d", "other.tar"]).exits(64);
    // A name that is there as it is written is meant itself.
    for name in ["f[1]", "file1.txt", "file2.txt"] {
        std::fs::write(at(name), "").unwrap();
    }
    run(&["mv", "file?.txt", "one"]).exits(64);
    run(&["mv", "f[1]", "file[1].txt"]).silent_success();
    run(&["rm", "file[1].txt"]).silent_success();
    assert!(at("file1.txt").exists() && !at("file[1].txt").exists());
}

/// What a here-document of ftp(1) or lftp does, over one login.
#[test]
fn a_script_moves_files_both_ways() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = server("ftpserve").arg("--write").arg(root.path()).start();
    for name in ["a.csv", "b.csv", "x y"] {
        std::fs::write(work.path().join(name), name).unwrap();
    }
    let script = "mkdir in done\nput *.csv -o in/\nput 'x y' -o in/z\nls in\nmv in/*.csv done/\nget done/*.csv -o back/\n\
                  get -o back/q in/z\ncat in/z\npwd\nmput a.csv\nrm in/*\nls -l done\n";
    std::fs::create_dir(work.path().join("back")).unwrap();
    let run = |args: &[&str], script: &str| {
        tool("ftpdo").args(args).arg(url(&server, "")).dir(work.path()).stdin(script).run()
    };
    let done = run(&[], script);
    assert_eq!(done.status, 0, "{done}");
    let lines: Vec<&str> = done.text().lines().collect();
    assert_eq!(lines[..3], ["a.csv", "b.csv", "z"], "{done}");
    assert!(done.text().contains("x y/\n") && lines.len() == 6, "cat, then pwd, then ls -l: {done}");
    assert_eq!(crate::ftp_get::lines_of(root.path()), ["a.csv", "done/", "done/a.csv", "done/b.csv", "in/"]);
    assert_eq!(std::fs::read(work.path().join("back/q")).unwrap(), b"x y");
    assert_eq!(std::fs::read(work.path().join("back/b.csv")).unwrap(), b"b.csv");
    let done = run(&["--json", "-k"], "get nope\nput nope\nput done\nget *.none\nget done/a.csv\nls done\n");
    assert_eq!(done.status, 66, "{done}");
    assert_eq!((done.records_of("error").len(), done.records_of("command").len()), (4, 1), "{done}");
    run(&["--json"], "cat done/a.csv\n").exits(64);
}

/// Whatever name can be stored can be listed and fetched again, and what its local name is says nothing to a terminal.
#[test]
fn odd_names_there_and_back() {
    use std::os::unix::ffi::OsStrExt;
    let (root, work) = (temp_dir(), temp_dir());
    let server = server("ftpserve").arg("--write").arg(root.path()).start();
    // (the name, what it is called after the way back)
    let table: &[(&[u8], &[u8])] = &[
        (b"~", b"~"),
        (b"~$report.docx", b"~$report.docx"),
        (b"~root", b"~root"),
        (b"-rf", b"%2Drf"),
        (b"%2Drf", b"%252Drf"),
        ("a\u{9b}31m".as_bytes(), b"a%C2%9B31m"),
        ("gpj.\u{202e}exe".as_bytes(), b"gpj.%E2%80%AEexe"),
        (b"50%25", b"50%25"),
        (b" a ", b" a "),
        (b"a\\b*[c]{d}?;#", b"a\\b*[c]{d}?;#"),
        (b"\xfe\xff\xff", b"\xfe\xff\xff"),
        (&[b'x'; 200], &[b'x'; 200]),
    ];
    let os = |name: &[u8]| std::ffi::OsStr::from_bytes(name).to_owned();
    for folder in ["up", "up/~d", "up/-d"] {
        std::fs::create_dir_all(work.path().join(folder)).unwrap();
        for (name, _) in table {
            std::fs::write(work.path().join(folder).join(os(name)), name).unwrap();
        }
    }
    let run = |name: &str, args: &[&str]| tool(name).args(args).dir(work.path()).run();
    run("ftpput", &["-r", "up", &url(&server, "~t/")]).exits(0);
    let again = run("ftpput", &["--json", "-r", "--delete", "up", &url(&server, "~t/")]);
    assert_eq!(
        again.exits(0).records_of("transfer").iter().filter(|one| one["status"] != "same").count(),
        0,
        "{again}"
    );
    let listed = run("ftpls", &["-0", "-R", &url(&server, "~t/")]);
    assert_eq!(listed.exits(0).stdout.split(|byte| *byte == 0).count() - 1, 3 * table.len() + 2, "{listed}");
    run("ftpget", &["-r", "-o", "back", &url(&server, "~t/")]).exits(0);
    run("ftpget", &["-r", "--delete", "-o", "back", &url(&server, "~t/")]).exits(0);
    for folder in ["back", "back/~d", "back/%2Dd"] {
        for (name, here) in table {
            let found = std::fs::read(work.path().join(folder).join(os(here)));
            assert_eq!(found.ok().as_deref(), Some(*name), "{folder}: {}", String::from_utf8_lossy(name));
        }
    }
    run("ftpget", &["-o", "one", &url(&server, "~t/~d/~$report.docx")]).silent_success();
    run("ftpdo", &[&url(&server, "~t"), "rm", "~d/~*"]).silent_success();
    run("ftpdo", &[&url(&server, ""), "rm", "-r", "~t"]).silent_success();
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

/// Runs a program with this input; its status.
fn feed(mut command: std::process::Command, input: &str) -> i32 {
    use std::io::Write as _;
    let mut child = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait().unwrap().code().unwrap()
}

#[test]
fn links_are_removed_and_not_followed() {
    let (root, server) = site();
    tool("ftpdo").args([&url(&server, ""), "rm", "-r", "latest"]).run().silent_success();
    assert!(!root.path().join("latest").is_symlink() && root.path().join("2025/deep/two.csv").exists());
    std::os::unix::fs::symlink("../2025", root.path().join("2024/inner")).unwrap();
    tool("ftpdo").args([&url(&server, ""), "rm", "-r", "2024"]).run().silent_success();
    assert!(!root.path().join("2024").exists() && root.path().join("2025/deep/two.csv").exists());
}

#[test]
fn scripts() {
    let (root, server) = site();
    let run =
        |args: &[&str], script: &str| tool("ftpdo").arg("--json").args(args).arg(url(&server, "")).stdin(script).run();
    let done = run(&[], "# a comment\nmkdir -p 'in box/x'\nmv a.txt \"in box/a \\x41.txt\"\n\nstat b.csv\nraw NOOP\n");
    assert_eq!(done.status, 0, "{done}");
    assert!(root.path().join("in box/a A.txt").exists(), "{done}");
    assert_eq!(
        done.records().iter().filter_map(|record| record["line"].as_u64()).collect::<Vec<_>>(),
        [2, 3, 6],
        "{done}"
    );
    // Nothing is done unless all of it is understood.
    let done = run(&[], "rm b.csv\nexplode\n");
    assert_eq!(done.status, 64, "{done}");
    assert!(root.path().join("b.csv").exists() && done.stderr.contains("line 2"), "{done}");
    // The first failure ends it, unless it is to go on.
    let done = run(&[], "rm nothing\nrm b.csv\n");
    assert_eq!(done.status, 66, "{done}");
    assert!(root.path().join("b.csv").exists() && done.stderr.contains("line 1"), "{done}");
    let done = run(&["-k"], "rm nothing\nrm b.csv\n");
    assert_eq!(done.status, 3, "{done}");
    assert!(!root.path().join("b.csv").exists(), "{done}");
    let done = run(&[], "");
    assert_eq!((done.status, done.stdout.len()), (0, 0), "{done}");
    tool("ftpdo").args(["--password-file", "-", "--user", "u", &url(&server, "")]).stdin("x\n").run().exits(64);
    let done = run(&[], "rm \"a\\x0d\\x0aDELE 2024/one.csv\"\n");
    assert_eq!(done.status, 64, "{done}");
    assert!(root.path().join("2024/one.csv").exists());
}

/// A server that knows neither MLSD nor data connections: LIST is refused as `data` says, STAT lists.
fn without_data(passive: bool, stat: &'static str) -> FtpPeer {
    ftp_peer(move |session, verb, _| {
        let reply = match verb {
            "FEAT" => "211-Features:\r\n SIZE\r\n211 End\r\n",
            "EPSV" if passive => {
                let reply = format!("229 passive (|||{}|)\r\n", session.listen());
                // Nobody listens there any more.
                session.passive = None;
                return Some(reply);
            }
            "EPSV" => "425 no ports left\r\n",
            "LIST" => "425 no data connection\r\n",
            "STAT" => stat,
            _ => return None,
        };
        Some(reply.to_owned())
    })
}

#[test]
fn without_data_connections_stat_lists() {
    let stat = "213-Status follows:\r\ntotal 8\r\n-rw-r--r--    1 0        0            4096 Nov 23  2020 a.txt\r\n \
                drwxr-xr-x    2 0        0            4096 Nov 23  2020 b\r\n213 End\r\n";
    for passive in [true, false] {
        let server = without_data(passive, stat);
        let done = tool("ftpls").arg(server.url("")).run();
        assert_eq!(done.silent_success().text(), "a.txt\nb\n", "{done}");
        let done = tool("ftpls").args(["--way", "list", &server.url("")]).run();
        assert_eq!(done.status, 75, "{done}");
    }
    // What STAT cannot do either: the first failure is the news.
    let server = without_data(true, "502 no\r\n");
    let done = tool("ftpls").arg(server.url("")).run();
    assert!(done.status == 75 && done.stderr.contains("data connection"), "{done}");
}
