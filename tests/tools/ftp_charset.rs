//! `--charset`: names at the server in another charset, here in UTF-8; and `--delete-first`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::ftp_get::{Tree, lines_of, serve, url};
use crate::ftp_peer::ftp_peer;
use crate::ftp_server::Client;
use crate::harness::{server, temp_dir, tool};

fn raw(root: &Path, name: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(name))
}

/// Папка/Ъ.txt and файл.txt in KOI8-R: byte 255 among them, which TELNET doubles.
const FOLDER: &[u8] = b"\xf0\xc1\xd0\xcb\xc1";
const INSIDE: &[u8] = b"\xf0\xc1\xd0\xcb\xc1/\xff.txt";
const FILE: &[u8] = b"\xc6\xc1\xca\xcc.txt";

fn koi8(root: &Path) {
    std::fs::create_dir(raw(root, FOLDER)).unwrap();
    std::fs::write(raw(root, INSIDE), "inside").unwrap();
    std::fs::write(raw(root, FILE), "file").unwrap();
}

#[test]
fn names_come_and_go_in_the_servers_charset() {
    let (root, work) = (temp_dir(), temp_dir());
    koi8(root.path());
    let server = serve(root.path());
    let run = |name: &str, args: &[&str]| tool(name).args(["--charset", "koi8-r"]).args(args).dir(work.path()).run();
    let done = run("ftpls", &["--json", "-R", &url(&server, "")]);
    let mut names: Vec<_> = done.records_of("entry").iter().map(|entry| entry["path"].to_string()).collect();
    names.sort();
    assert_eq!(names, ["\"Папка\"", "\"Папка/Ъ.txt\"", "\"файл.txt\""], "{done}");
    assert!(!done.text().contains("base64"), "{done}");

    let mirror = ["-r", "--json", "--delete", "-o", "t", &url(&server, "")];
    run("ftpget", &mirror).exits(0);
    assert_eq!(lines_of(&work.path().join("t")), ["Папка/", "Папка/Ъ.txt", "файл.txt"]);
    let again = run("ftpget", &mirror);
    assert!(again.records_of("transfer").iter().all(|record| record["status"] == "same"), "{again}");
    run("ftpget", &["-o", "one", &url(&server, "Папка/Ъ.txt")]).exits(0);
    run("ftpget", &["-o", "globbed/", &url(&server, "Пап*/*.txt")]).exits(0);
    assert_eq!(std::fs::read_to_string(work.path().join("globbed/Папка/Ъ.txt")).unwrap(), "inside");

    run("ftpput", &["-r", "--delete", "t", &url(&server, "up/")]).exits(0);
    assert_eq!(std::fs::read_to_string(raw(&root.path().join("up"), INSIDE)).unwrap(), "inside");
    let again = run("ftpput", &["-r", "--json", "--delete", "t", &url(&server, "up/")]);
    assert!(again.records_of("transfer").iter().all(|record| record["status"] == "same"), "{again}");

    let done = run("ftpdo", &["--json", &url(&server, "Папка"), "stat", "Ъ.txt"]);
    done.exits(0).prints("\"name\":\"Ъ.txt\"");
    run("ftpdo", &[&url(&server, ""), "mv", "файл.txt", "ещё.txt"]).exits(0);
    assert!(raw(root.path(), b"\xc5\xdd\xa3.txt").exists());
    run("ftpdo", &[&url(&server, ""), "rm", "ещ*"]).exits(0);
    assert!(!raw(root.path(), b"\xc5\xdd\xa3.txt").exists());
}

#[test]
fn what_does_not_fit_fails_alone() {
    let (root, work) = (temp_dir(), temp_dir());
    koi8(root.path());
    let server = serve(root.path());
    let run = |charset: &str, name: &str, args: &[&str]| {
        tool(name).args(["--charset", charset]).args(args).dir(work.path()).run()
    };
    // There: what is no UTF-8. Nothing is deleted because of it, before or after.
    Tree::new(root.path()).file("plain", "p").file("été", "e");
    Tree::new(work.path()).file("t/extra", "x");
    for more in [&["--delete"][..], &["--delete", "--delete-first"]] {
        let done = run("utf-8", "ftpget", &[more, &["-r", "-o", "t", &url(&server, "")]].concat());
        done.exits(65).says("the name is not UTF-8 (--charset)").says("nothing is deleted");
        assert_eq!(done.stderr.matches("the name is not").count(), 2, "each is told once: {done}");
        assert_eq!(lines_of(&work.path().join("t")), ["extra", "plain", "été"], "{done}");
    }
    let done = run("utf-8", "ftpls", &["--sort", "name", &url(&server, "")]);
    done.exits(65).says("the name is not UTF-8");
    assert_eq!(done.text(), "plain\nété\n");
    std::fs::create_dir(work.path().join("got")).unwrap();
    let done = run("utf-8", "ftpdo", &["-k", &url(&server, ""), "get", "-o", "got/", "p*"]);
    done.exits(65).says("the name is not UTF-8");
    assert!(work.path().join("got/plain").exists(), "{done}");
    run("utf-8", "ftpdo", &[&url(&server, ""), "rm", "-r", "."]).exits(65);
    assert!(raw(root.path(), FILE).exists() && root.path().join("plain").exists());

    // Here: what cannot be written in KOI8-R.
    Tree::new(work.path()).file("up/a", "a").file("up/日本/x", "x").file("up/\u{e9}", "e").file("up/ж", "z");
    Tree::new(root.path()).file("in/gone", "g");
    let done = run("koi8-r", "ftpput", &["-r", "--delete", "up", &url(&server, "in/")]);
    done.exits(65).says("cannot be written in KOI8-R");
    assert_eq!(std::fs::read_to_string(raw(&root.path().join("in"), b"\xd6")).unwrap(), "z", "{done}");
    assert_eq!(std::fs::read_dir(root.path().join("in")).unwrap().count(), 2, "{done}");
    let urls = [url(&server, "日本"), url(&server, "plain"), url(&server, "ä*")];
    let done = run("koi8-r", "ftpget", &[&["-o", "got/"], &urls.each_ref().map(String::as_str)[..2]].concat());
    done.exits(65).says("cannot be written in KOI8-R");
    assert_eq!(lines_of(&work.path().join("got")), ["plain"], "{done}");
    run("koi8-r", "ftpget", &["-r", "-o", "t", &url(&server, "ä/")]).exits(65).says("cannot be written in KOI8-R");
    run("koi8-r", "ftpget", &["-o", "t/", &urls[2]]).exits(1).says("nothing matches");
    for (name, args) in [("ftpls", &["ß/"][..]), ("ftpdo", &["", "rm", "ß"]), ("ftpput", &["ß", "up/a"])] {
        let (path, rest) = args.split_first().unwrap();
        let at = url(&server, path);
        let args = if name == "ftpput" { vec![rest[0], &at] } else { [&[at.as_str()], rest].concat() };
        run("koi8-r", name, &args).exits(65).says("cannot be written in KOI8-R");
    }
    run("utf-16", "ftpls", &[&url(&server, "")]).exits(64).says("UTF-16");
}

/// A charset other than UTF-8 is what the server has for clients that know no UTF-8.
#[test]
fn the_server_is_told() {
    for (flags, told) in [(&[][..], "ON"), (&["--charset", "koi8-r"], "OFF"), (&["--charset", "utf8"], "ON")] {
        let peer = ftp_peer(|_, verb, _| match verb {
            "FEAT" => Some("211-Features:\r\n UTF8\r\n211 End\r\n".to_owned()),
            "MLST" => Some("550 no\r\n".to_owned()),
            _ => None,
        });
        tool("ftpdo").args(flags).args([&peer.url(""), "rm", "ж"]).run().exits(0);
        let heard = peer.heard();
        assert!(heard.contains(&format!("OPTS UTF8 {told}")), "{heard:?}");
    }
}

#[test]
fn a_saved_listing_has_a_charset_too() {
    let work = temp_dir();
    let line = b"-rw-r--r-- 1 u g 2 Nov 23 2020 \x95\x5c.txt\r\n-rw-r--r-- 1 u g 2 Nov 23 2020 \xfa\x54\r\n";
    std::fs::write(work.path().join("saved"), line).unwrap();
    let done = tool("ftpls").args(["--charset", "shift_jis", "--parse", "saved"]).dir(work.path()).run();
    done.exits(65).says("saved:2").says("the name is not Shift_JIS");
    assert_eq!(done.text(), "表.txt\n");
}

/// Without a charset names are bytes: records have those of a name, and of a path, that is no UTF-8.
#[test]
fn bytes_are_told_exactly() {
    let root = temp_dir();
    std::fs::create_dir(raw(root.path(), FOLDER)).unwrap();
    std::fs::write(raw(root.path(), FOLDER).join("plain"), "p").unwrap();
    let server = serve(root.path());
    let done = tool("ftpls").args(["--json", "-R", &url(&server, "")]).run();
    let entries = done.exits(0).records_of("entry");
    let of = |name: &str| entries.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("{done}"));
    let plain = of("plain");
    assert_eq!(plain["path_base64"], "8MHQy8EvcGxhaW4=", "{done}");
    assert!(plain.get("name_base64").is_none(), "{done}");
    let folder = of(&String::from_utf8_lossy(FOLDER));
    assert_eq!((&folder["path_base64"], &folder["name_base64"]), (&"8MHQy8E=".into(), &"8MHQy8E=".into()), "{done}");
}

/// What is deleted first makes room, and nothing goes that `--delete` would keep.
#[test]
fn deletions_come_first() {
    let (root, work) = (temp_dir(), temp_dir());
    Tree::new(root.path()).file("in/new", "n").file("in/d/kept", "k");
    let server = serve(root.path());
    let order = |done: &crate::harness::Done| -> Vec<String> {
        let kinds = done.records().into_iter().map(|record| record["type"].as_str().unwrap().to_owned());
        kinds.filter(|kind| ["transfer", "deleted"].contains(&kind.as_str())).collect()
    };
    let fill = || Tree::new(work.path()).file("t/old", "o").file("t/gone/x", "x").file("t/d/kept", "k");
    fill();
    let get = |more: &[&str]| {
        let args = [&["--json", "-r", "--delete", "-o", "t"], more].concat();
        tool("ftpget").args(args).arg(url(&server, "in/")).dir(work.path()).run()
    };
    let plan = get(&["--delete-first", "-n"]);
    assert_eq!(order(plan.exits(0)), ["deleted", "deleted", "deleted", "transfer", "transfer"], "{plan}");
    let done = get(&["--delete-first"]);
    assert_eq!(order(done.exits(0)), ["deleted", "deleted", "deleted", "transfer", "transfer"], "{done}");
    assert_eq!(lines_of(&work.path().join("t")), ["d/", "d/kept", "new"]);
    fill();
    let done = get(&[]);
    assert_eq!(order(&done).last().map(String::as_str), Some("deleted"), "{done}");
    fill();
    get(&["--delete-first", "--max-delete", "2"]).exits(1).says("more than 2 deletions");
    assert!(work.path().join("t/old").exists());
    get(&["--delete-first", "--exclude", "old"]).exits(0);
    assert_eq!(lines_of(&work.path().join("t")), ["d/", "d/kept", "new", "old"], "rules protect");

    let put = |more: &[&str]| {
        let args = [&["--json", "-r", "--delete"], more, &["t"]].concat();
        tool("ftpput").args(args).arg(url(&server, "up/")).dir(work.path()).run()
    };
    put(&["--delete-first"]).exits(0);
    Tree::new(work.path()).file("t/later", "l");
    Tree::new(root.path()).file("up/old2", "o").file("up/gone/x", "x");
    let done = put(&["--delete-first"]);
    let order = order(done.exits(0));
    assert_eq!(order[..3], ["deleted", "deleted", "deleted"], "{done}");
    assert_eq!(lines_of(&root.path().join("up")), ["d/", "d/kept", "later", "new", "old"]);
    tool("ftpget").args(["-r", "--delete-first", &url(&server, "in/")]).run().exits(64);
}

/// A listing that is not complete deletes nothing beforehand; if it is complete later, what `--delete` says is done then.
#[test]
fn an_incomplete_listing_deletes_nothing_first() {
    for (cut, left) in [(u64::MAX, true), (1, false)] {
        let work = temp_dir();
        Tree::new(work.path()).file("t/old", "o").file("t/x", "hi");
        let times = std::sync::atomic::AtomicU64::new(0);
        let peer = ftp_peer(move |session, verb, _| match verb {
            "MLSD" => {
                let mut data = session.data("150 here\r\n")?;
                std::io::Write::write_all(&mut data, b"type=file;size=2; x\r\n").unwrap();
                let cut = times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < cut;
                Some(if cut { "226 Output truncated to 1 matches\r\n" } else { "226 done\r\n" }.to_owned())
            }
            _ => None,
        });
        let args = ["-r", "--size-only", "--delete", "--delete-first", "-o", "t", &peer.url("")];
        let done = tool("ftpget").args(args).dir(work.path()).run();
        assert_eq!(work.path().join("t/old").exists(), left, "{done}\n{:?}", peer.heard());
        assert_eq!(done.status, if left { 65 } else { 0 }, "{done}");
        assert!(done.stderr.matches("listing is incomplete").count() <= 1, "told once: {done}");
    }
}

/// ftpserve with names in KOI8-R on the wire: files have their names in UTF-8, and a client may have it too.
#[test]
fn a_server_speaks_the_charset_of_its_clients() {
    let (root, work) = (temp_dir(), temp_dir());
    std::fs::create_dir(root.path().join("Папка")).unwrap();
    for name in ["Папка/Ъ.txt", "файл.txt", "日本.txt"] {
        std::fs::write(root.path().join(name), name).unwrap();
    }
    std::fs::write(raw(root.path(), b"\xc6.raw"), "x").unwrap();
    let server = server("ftpserve").args(["--json", "--write", "--charset", "koi8-r"]).arg(root.path()).start();
    let run = |name: &str, args: &[&str]| tool(name).args(["--charset", "koi8-r"]).args(args).dir(work.path()).run();
    let url = |path: &str| format!("{}/{path}", server.url);
    let done = run("ftpls", &["--json", "-R", &url("")]);
    let mut names: Vec<_> = done.records_of("entry").iter().map(|entry| entry["path"].to_string()).collect();
    names.sort();
    assert_eq!(names, ["\"Папка\"", "\"Папка/Ъ.txt\"", "\"файл.txt\""], "{done}");
    // What cannot be written is left out, and said.
    server.stdout.wait_for("/: 2 names cannot be written in KOI8-R, and are not listed");
    run("ftpget", &["-o", "got", &url("Папка/Ъ.txt")]).exits(0);
    run("ftpput", &["got", &url("Папка/ещё.txt")]).exits(0);
    run("ftpdo", &[&url(""), "mv", "файл.txt", "Ъ"]).exits(0);
    assert_eq!(std::fs::read_to_string(root.path().join("Папка/ещё.txt")).unwrap(), "Папка/Ъ.txt");
    assert_eq!(std::fs::read_to_string(root.path().join("Ъ")).unwrap(), "файл.txt");
    server.stdout.wait_for("\"to\":\"/Ъ\"");

    let mut client = Client::anonymous(&server);
    let ask = |client: &mut Client, line: &[u8], code: u16| {
        client.send_bytes(&[line, b"\r\n"].concat());
        client.expect(code)
    };
    assert_eq!(client.get("NLST").unwrap(), b"\xf0\xc1\xd0\xcb\xc1\r\n\xff\r\n");
    assert_eq!(client.get("LIST").unwrap().split(|byte| *byte == b'\n').count(), 3);
    // Byte 255 is sent twice.
    ask(&mut client, b"SIZE \xff\xff", 213);
    ask(&mut client, b"CWD \xf0\xc1\xd0\xcb\xc1", 250);
    ask(&mut client, "SIZE Ъ.txt".as_bytes(), 550);
    client.ask("OPTS UTF8 ON", 200);
    assert_eq!(ask(&mut client, b"PWD", 257), "257 \"/Папка\" is the current directory.");
    ask(&mut client, "SIZE Ъ.txt".as_bytes(), 213);
    assert!(String::from_utf8_lossy(&client.get("NLST /").unwrap()).contains("日本.txt\r\n"));
    client.ask("OPTS UTF8 OFF", 200);
    ask(&mut client, b"SIZE \xff\xff.txt", 213);
    assert_eq!(client.get("NLST /Ъ").unwrap_err().get(..3), Some("550"));

    // A line that is nothing in the charset of the server.
    let strict = crate::harness::server("ftpserve").args(["--charset", "shift_jis"]).arg(root.path()).start();
    let mut client = Client::anonymous(&strict);
    ask(&mut client, b"SIZE \x95", 501);
    ask(&mut client, b"SIZE \x93\xfa\x96\x7b.txt", 213);
    tool("ftpserve").args(["--charset", "utf-16", "."]).run().exits(64).says("ASCII looks otherwise");
}
