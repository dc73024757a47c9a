//! The terms of the users of ftpserve: rights in words, roots, quotas, rates, networks, an end; and names that nobody reaches.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ftp_server::{Client, hash};
use crate::harness::{Server, server, temp_dir};

/// A server of `dir/tree` with these users, each with the password `secret`.
pub(crate) fn serve(dir: &TempDir, users: &[(&str, &str, &str)], args: &[&str]) -> Server {
    let hash = hash("secret");
    let lines: String = users.iter().map(|(name, home, flags)| format!("{name}:{hash}:{home}:{flags}\n")).collect();
    let file = dir.path().join("users");
    std::fs::write(&file, lines).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::create_dir_all(dir.path().join("tree")).unwrap();
    let run = server("ftpserve").arg("--json").args(args).arg("--user-file").arg(&file);
    run.arg(dir.path().join("tree")).start()
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Each right by itself: what asks for it is done, all else is refused.
#[test]
fn each_word_is_one_right() {
    let dir = temp_dir();
    let words = ["list", "read", "upload", "overwrite", "append", "delete", "rename", "mkdir"];
    let users: Vec<_> = words.iter().map(|word| (*word, *word, *word)).collect();
    // Two words of one right each: `read` and `upload` alone are presets.
    let users: Vec<_> = users
        .into_iter()
        .map(|(name, home, word)| match word {
            "read" => (name, home, "read,read"),
            "upload" => (name, home, "upload,upload"),
            _ => (name, home, word),
        })
        .collect();
    for word in words {
        write(&dir.path().join("tree").join(word).join("old"), b"old");
        write(&dir.path().join("tree").join(word).join("gone"), b"gone");
    }
    let server = serve(&dir, &users, &[]);
    for word in words {
        let mut client = Client::login(server.addr, word, "secret");
        let may = |right: &str, code: &str, reply: String| {
            assert_eq!(reply.starts_with(code), right == word, "{word} and {right}: {reply}");
        };
        client.send("SIZE old\r\n");
        may("list", "213", client.reply());
        let listed = client.get("NLST").map_or_else(|reply| reply, |_| "226".to_owned());
        may("list", "226", listed);
        let got = client.get("RETR old").map_or_else(|reply| reply, |_| "226".to_owned());
        may("read", "226", got);
        client.send("XMD5 old\r\n");
        may("read", "250", client.reply());
        let stored = client.put("new", b"x");
        may("upload", "226", stored);
        client.send("MFMT 20260101000000 old\r\n");
        may("overwrite", "213", client.reply());
        client.send("SITE CHMOD 600 old\r\n");
        may("overwrite", "200", client.reply());
        client.send("MKD made\r\n");
        may("mkdir", "257", client.reply());
        client.send("RNFR gone\r\n");
        may("rename", "350", client.reply());
        client.send("DELE gone\r\n");
        may("delete", "250", client.reply());
        let mut data = client.data();
        client.send("APPE old\r\n");
        let reply = client.reply();
        // The file is no upload that broke off, so even the right to append does not help; the refusal says why.
        assert_eq!(reply.starts_with("554"), word == "append", "{word}: {reply}");
        let _ = std::io::Write::write_all(&mut data, b"x");
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_right_to_upload_is_none_to_overwrite() {
    let dir = temp_dir();
    write(&dir.path().join("tree/old"), b"old");
    let server = serve(&dir, &[("up", "", "list,upload"), ("over", "", "upload,overwrite")], &[]);
    let mut client = Client::login(server.addr, "up", "secret");
    assert!(client.put("new", b"x").starts_with("226"));
    assert!(client.put("old", b"x").starts_with("550"));
    let mut client = Client::login(server.addr, "over", "secret");
    assert!(client.put("old", b"y").starts_with("226"));
    assert_eq!(std::fs::read(dir.path().join("tree/old")).unwrap(), b"y");
}

#[test]
fn a_root_may_be_anywhere() {
    let (dir, elsewhere) = (temp_dir(), temp_dir());
    write(&elsewhere.path().join("home/file"), b"far");
    symlink(dir.path(), elsewhere.path().join("home/out")).unwrap();
    let flags = format!("write,root={}", elsewhere.path().display());
    let server = serve(&dir, &[("far", "home", &flags), ("near", "", "write"), ("lost", "nowhere", &flags)], &[]);
    let mut client = Client::login(server.addr, "far", "secret");
    assert_eq!(client.get("RETR file").unwrap(), b"far");
    client.ask("CWD out", 550);
    client.ask("CWD ..", 250);
    assert_eq!(client.get("NLST").unwrap(), b"file\r\nout\r\n");
    assert!(client.put("new", b"x").starts_with("226"));
    server.stdout.wait_for("\"type\":\"arrived\"");
    assert!(elsewhere.path().join("home/new").exists());
    assert_eq!(Client::login(server.addr, "near", "secret").get("NLST").unwrap(), b"");
    let mut lost = Client::connect(server.addr);
    lost.ask("USER lost", 331);
    lost.ask("PASS secret", 530);
    server.stdout.wait_for("\"reason\":\"the user's directory cannot be opened\"");
}

/// The sum of all files is kept to, whatever is done: one file, many, over old ones, at their end, by two sessions, after a restart.
#[test]
fn a_quota_holds_in_every_way() {
    let dir = temp_dir();
    let users = [("joe", "", "write,quota=1000")];
    write(&dir.path().join("tree/a/b/old"), &[b'o'; 300]);
    let used = || {
        let sizes = ["a/b/old", "one", "two", "three"]
            .map(|name| std::fs::metadata(dir.path().join("tree").join(name)).map_or(0, |metadata| metadata.len()));
        sizes.iter().sum::<u64>()
    };
    let start = || serve(&dir, &users, &["--append"]);
    let server = start();
    let mut client = Client::login(server.addr, "joe", "secret");
    assert!(client.put("one", &[b'1'; 600]).starts_with("226"));
    assert!(client.put("two", &[b'2'; 101]).starts_with("552"), "1001 bytes");
    assert!(client.put("two", &[b'2'; 100]).starts_with("226"), "what was refused took nothing");
    assert!(client.put("one", &[b'1'; 601]).starts_with("552"), "over an old file: the difference counts");
    assert!(client.put("one", &[b'1'; 600]).starts_with("226"));
    let append = |client: &mut Client, name: &str, bytes: &[u8]| {
        let mut data = client.data();
        client.ask(&format!("APPE {name}"), 150);
        std::io::Write::write_all(&mut data, bytes).unwrap();
        drop(data);
        client.reply()
    };
    assert!(append(&mut client, "one", b"x").starts_with("552"));
    client.ask("DELE two", 250);
    assert!(append(&mut client, "one", &[b'x'; 50]).starts_with("226"));
    assert_eq!(used(), 950);
    // Another session of the same user shares it.
    let mut other = Client::login(server.addr, "joe", "secret");
    assert!(other.put("three", &[b'3'; 51]).starts_with("552"));
    assert!(other.put("three", &[b'3'; 50]).starts_with("226"));
    assert_eq!(used(), 1000);
    // What is renamed over another file takes its place.
    other.ask("RNFR three", 350);
    other.ask("RNTO a/b/old", 250);
    assert!(other.put("three", &[b'3'; 300]).starts_with("226"));
    assert!(other.put("two", b"2").starts_with("552"));
    assert_eq!(used(), 1000);
    server.kill();
    let server = start();
    let mut client = Client::login(server.addr, "joe", "secret");
    assert!(client.put("two", b"2").starts_with("552"), "counted on the disk");
    client.ask("DELE three", 250);
    assert!(client.put("two", b"2").starts_with("226"));
    assert_eq!(server.stop(), 0);
}

#[test]
fn networks_and_an_end_bar_with_a_reason() {
    let dir = temp_dir();
    let users = [
        ("far", "", "read,net=192.0.2.0/24"),
        ("late", "", "read,expires=2020-01-01"),
        ("here", "", "read,net=127.0.0.0/8,net=2001:db8::/32,expires=2099-01-01"),
    ];
    let server = serve(&dir, &users, &[]);
    for (user, reason) in [("far", "the account is not for this network"), ("late", "the account has expired")] {
        let mut client = Client::connect(server.addr);
        client.ask(&format!("USER {user}"), 331);
        client.ask("PASS secret", 530);
        server.stdout.wait_for(&format!("\"reason\":\"{reason}\""));
    }
    Client::login(server.addr, "here", "secret");
}

/// Rates hold for all of a user's transfers together, both ways, and for whoever has none of his own.
#[test]
fn rates_hold() {
    let dir = temp_dir();
    write(&dir.path().join("tree/big"), &[b'x'; 60_000]);
    let users = [("slow", "", "write,up=40k,down=40k"), ("free", "", "write,up=10G,down=10G"), ("other", "", "write")];
    let server = serve(&dir, &users, &["--rate", "40k"]);
    for user in ["slow", "other"] {
        let mut client = Client::login(server.addr, user, "secret");
        let begun = Instant::now();
        assert_eq!(client.get("RETR big").unwrap().len(), 60_000);
        assert!(client.put("new", &[b'y'; 60_000]).starts_with("226"));
        // 60,000 bytes at 40,960 a second, less what moves at once.
        let least = Duration::from_secs_f64(2.0 * (60_000.0 / 40_960.0 - 0.2));
        assert!(begun.elapsed() >= least, "{user}: {:?}", begun.elapsed());
    }
    let mut client = Client::login(server.addr, "free", "secret");
    assert_eq!(client.get("RETR big").unwrap().len(), 60_000);
}

/// What is denied is reached by no command and no link; what is hidden is left out of listings alone.
#[test]
fn denied_names_are_reached_by_no_way() {
    let dir = temp_dir();
    let tree = dir.path().join("tree");
    for name in [".git/config", "keys.pem", "plain", ".hidden", "docs/x"] {
        write(&tree.join(name), b"x");
    }
    symlink(".git", tree.join("repository")).unwrap();
    symlink("keys.pem", tree.join("link")).unwrap();
    symlink("../keys.pem", tree.join("docs/up")).unwrap();
    let run = server("ftpserve").args(["--write", "--hide", ".h*", "--deny", ".git", "--deny", "*.pem"]);
    let server = run.arg(&tree).start();
    let mut client = Client::anonymous(&server);
    let listed = String::from_utf8(client.get("NLST -a").unwrap()).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["docs", "link", "plain", "repository"]);
    for command in [
        "CWD .git",
        "CWD repository",
        "SIZE keys.pem",
        "SIZE link",
        "SIZE docs/up",
        "SIZE .git/config",
        "SIZE repository/config",
        "MLST keys.pem",
        "DELE keys.pem",
        "DELE repository/config",
        "RNFR keys.pem",
        "MKD .git",
        "MKD new.pem",
        "MKD repository/new",
        "RMD .git",
        "SITE CHMOD 777 link",
        "XMD5 link",
        "MFMT 20260101000000 docs/up",
        "STAT .git",
        "AVBL repository",
    ] {
        client.ask(command, 550);
    }
    for command in
        ["RETR keys.pem", "RETR link", "RETR docs/up", "RETR repository/config", "NLST .git", "LIST repository"]
    {
        assert!(client.get(command).unwrap_err().starts_with("550"), "{command}");
    }
    for name in ["keys.pem", "new.pem", "link", "docs/up", "repository/new", ".git/hook"] {
        assert!(client.put(name, b"evil").starts_with("550"), "{name}");
    }
    client.ask("RNFR plain", 350);
    client.ask("RNTO plain.pem", 550);
    client.ask("RNFR plain", 350);
    client.ask("RNTO repository/plain", 550);
    client.ask("SIZE .hidden", 213);
    assert_eq!(std::fs::read(tree.join("keys.pem")).unwrap(), b"x");
    assert!(!tree.join(".git/hook").exists() && tree.join("plain").exists());
}

#[test]
fn a_crowd_of_transfers_waits_outside() {
    let dir = temp_dir();
    write(&dir.path().join("tree/big"), &[b'x'; 10_000_000]);
    let server = server("ftpserve").args(["--max-transfers", "1"]).arg(dir.path().join("tree")).start();
    let (mut first, mut second) = (Client::anonymous(&server), Client::anonymous(&server));
    let held = first.data();
    first.ask("RETR big", 150);
    assert!(second.get("RETR big").unwrap_err().starts_with("450"));
    first.ask("ABOR", 426);
    first.expect(226);
    drop(held);
    assert_eq!(second.get("RETR big").unwrap().len(), 10_000_000);
}

#[test]
fn a_banner_has_lines_and_a_mask_holds() {
    let dir = temp_dir();
    let (tree, banner) = (dir.path().join("tree"), dir.path().join("banner"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(&banner, "Welcome\nto the archive\n").unwrap();
    let run = server("ftpserve").args(["--write", "--umask", "027", "--banner"]).arg(&banner);
    let server = run.arg(&tree).start();
    let mut client = Client::anonymous(&server);
    assert!(client.put("file", b"x").starts_with("226"));
    client.ask("SITE UMASK 002", 200);
    assert!(client.put("shared", b"x").starts_with("226"));
    client.ask("MKD ours", 257);
    let mode = |name: &str| std::fs::metadata(tree.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("file"), mode("shared"), mode("ours")), (0o640, 0o664, 0o775));
    let mut greeting = String::new();
    let stream = std::net::TcpStream::connect(server.addr).unwrap();
    let mut lines = std::io::BufReader::new(stream);
    for _ in 0..2 {
        std::io::BufRead::read_line(&mut lines, &mut greeting).unwrap();
    }
    assert_eq!(greeting, "220-Welcome\r\n220 to the archive\r\n");
}
