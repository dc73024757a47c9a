//! ftpserve, killed: before each write and sync of an upload, and while several clients upload.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::thread;

use crate::ftp_crash::content;
use crate::ftp_server::Client;
use crate::harness::{Server, memory_dir, rounds, server, temp_dir};
use crate::powercut::recorder;
use crate::random::{Random, first_seed};

/// The writes and syncs of an upload, in order: the bytes; their sync, before the name; the name; the sync of the directory, before
/// 226. The server is killed before each of them.
#[test]
fn bytes_are_synced_before_the_name_and_the_name_before_226() {
    for (flag, steps) in [("--fsync=none", 1), ("--fsync=data", 2), ("-q", 2), ("--fsync=full", 3), ("--fsync", 3)] {
        for old in [None, Some("old")] {
            for step in 0..=steps {
                let (dir, work) = (memory_dir(), temp_dir());
                let file = dir.path().join("x");
                old.into_iter().for_each(|old| std::fs::write(&file, old).unwrap());
                let server = server("ftpserve")
                    .args(["--write", flag])
                    .arg(dir.path())
                    .env("LD_PRELOAD", recorder())
                    .env("IOLOG_DIR", dir.path())
                    .env("IOLOG_FILE", work.path().join("log"))
                    .env("IOLOG_KILL", step.to_string())
                    .start();
                let reply = Client::anonymous(&server).put("x", b"new");
                let found = std::fs::read_to_string(&file).ok();
                let expected = if step >= 2.min(steps) { Some("new") } else { old };
                assert_eq!(found.as_deref(), expected, "{flag}, killed before step {step}");
                assert_eq!(reply.starts_with("226"), step == steps, "{flag}, killed before step {step}: {reply}");
            }
        }
    }
}

/// A sync that fails is no 226, and the file has no name.
#[test]
fn what_cannot_be_synced_is_not_stored() {
    for (verb, before) in [("STOR", None), ("STOR", Some("old")), ("APPE", Some("old"))] {
        let dir = memory_dir();
        before.into_iter().for_each(|old| std::fs::write(dir.path().join("x"), old).unwrap());
        let server = server("ftpserve")
            .args(["--write", "--append"])
            .arg(dir.path())
            .env("LD_PRELOAD", recorder())
            .env("IOLOG_DIR", dir.path())
            .env("IOLOG_FAIL_SYNC", "1")
            .start();
        let mut client = Client::anonymous(&server);
        let mut data = client.data();
        client.ask(&format!("{verb} x"), 150);
        data.write_all(b"new").unwrap();
        drop(data);
        client.expect(451);
        assert_eq!(std::fs::read_to_string(dir.path().join("x")).ok().as_deref(), before, "{verb}");
    }
}

/// A file that tells its version, and whether it is whole.
fn version(number: u64, size: usize) -> Vec<u8> {
    [number.to_le_bytes().to_vec(), (size as u64).to_le_bytes().to_vec(), content(number, size)].concat()
}

/// The version of a whole file.
fn version_of(file: &Path) -> u64 {
    let bytes = std::fs::read(file).unwrap();
    let number = |from: usize| Some(u64::from_le_bytes(bytes.get(from..from + 8)?.try_into().unwrap()));
    let (Some(number), Some(size)) = (number(0), number(8)) else {
        panic!("{}: {} bytes", file.display(), bytes.len())
    };
    assert!(bytes == version(number, size as usize), "{}: half of version {number}", file.display());
    number
}

/// Stores a file, and tells of each piece that was written; an error if the server goes.
fn store(at: SocketAddr, name: &str, bytes: &[u8], told: &mpsc::Sender<()>) -> io::Result<()> {
    let mut control = BufReader::new(TcpStream::connect(at)?);
    let mut port = 0;
    for (line, code) in [
        ("", "220"),
        ("USER anonymous\r\n", "331"),
        ("PASS me@\r\n", "230"),
        ("TYPE I\r\n", "200"),
        ("EPSV\r\n", "229"),
        (&format!("STOR {name}\r\n"), "150"),
        ("", "226"),
    ] {
        control.get_mut().write_all(line.as_bytes())?;
        if code == "226" {
            let mut data = TcpStream::connect((at.ip(), port))?;
            for piece in bytes.chunks(20_000) {
                data.write_all(piece)?;
                let _ = told.send(());
            }
        }
        let mut reply = String::new();
        control.read_line(&mut reply)?;
        if !reply.starts_with(code) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        port = reply.split('|').nth(3).and_then(|port| port.parse().ok()).unwrap_or(port);
    }
    Ok(())
}

/// A server of `root`. Without /proc it has hidden names for uploads that run, as on file systems without unnamed files.
fn serving(root: &Path, without_proc: bool) -> Server {
    let run = server("ftpserve").arg("--write").arg(root);
    let covered = "exec unshare --mount sh -c 'mount -t tmpfs none /proc && exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    if without_proc { run.shell(covered).start() } else { run.start() }
}

/// Three clients store, each under a name of its own and all under one; the server is killed somewhere. Every name shows a whole
/// file, none that is older than what had been confirmed, and what died without a name goes when the directory is listed.
#[test]
fn a_killed_server_leaves_whole_files_and_nothing_else() {
    let covers = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    let (dir, mut left, mut found) = (memory_dir(), 0, 0);
    let mut random = Random(first_seed());
    let confirmed = Mutex::new(BTreeMap::<String, u64>::new());
    for round in rounds(12, 10) {
        let server = serving(dir.path(), covers && round % 2 == 1);
        let (told, pieces) = mpsc::channel();
        let (at, confirmed) = (server.addr, &confirmed);
        thread::scope(|scope| {
            for who in 0..3u64 {
                let (told, mut random) = (told.clone(), Random(random.next()));
                scope.spawn(move || {
                    for count in 0.. {
                        let number = (round as u64) << 32 | count << 8 | who;
                        let name = if random.below(3) == 0 { "all".to_owned() } else { format!("own{who}") };
                        let bytes = version(number, random.below(300_000) as usize);
                        if store(at, &name, &bytes, &told).is_err() {
                            return;
                        }
                        confirmed.lock().unwrap().insert(name, number);
                    }
                });
            }
            let wanted = random.below(120);
            (0..wanted).for_each(|_| pieces.recv().unwrap());
            server.kill();
        });
        left += std::fs::read_dir(dir.path()).unwrap().filter(|entry| is_hidden(entry.as_ref().unwrap())).count();
        let server = serving(dir.path(), false);
        let listed = Client::anonymous(&server).get("NLST").unwrap();
        let mut names: Vec<_> = String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect();
        let mut there: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        there.sort();
        assert_eq!(there, names, "what died is gone");
        for name in names {
            let number = version_of(&dir.path().join(&name));
            let least = confirmed.lock().unwrap().get(&name).copied().unwrap_or(0);
            assert!(number >= least || name == "all", "{name}: {number:x} is older than {least:x}");
            found += 1;
        }
    }
    assert!(found > 0 && (left > 0 || !covers), "{found} files, {left} hidden ones were left");
}

fn is_hidden(entry: &std::fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(".ftpserve-upload.")
}

/// A tree with a second file system in it: a file that is renamed to there is copied whole, with what belongs to it, and
/// nothing of it stays behind.
#[test]
fn renames_cross_file_systems() {
    if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        return;
    }
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("m")).unwrap();
    let mounted =
        "exec unshare --mount sh -c 'mount -t tmpfs -o size=200k none \"$ROOT/m\" && exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    let run = server("ftpserve").args(["--write", "--append", "--keep-partial"]);
    let server = run.arg(dir.path()).env("ROOT", dir.path()).shell(mounted).start();
    let mut client = Client::anonymous(&server);
    let there = |name: &str| dir.path().join(name).exists();
    for bytes in [&b"first"[..], b"second, over the first"] {
        assert!(client.put("x", bytes).starts_with("226"));
        client.ask("SITE CHMOD 640 x", 200);
        client.ask("MFMT 20200102030405 x", 213);
        client.ask("RNFR x", 350);
        client.ask("RNTO m/x", 250);
        assert!(!there("x"));
        assert_eq!(client.get("RETR m/x").unwrap(), bytes);
        assert!(client.ask("MDTM m/x", 213).ends_with("20200102030405"));
        let listed = String::from_utf8(client.get("LIST m").unwrap()).unwrap();
        assert!(listed.starts_with("-rw-r-----") && listed.lines().count() == 1, "{listed}");
    }
    client.ask("RNFR m/x", 350);
    client.ask("RNTO back", 250);
    assert_eq!(std::fs::read(dir.path().join("back")).unwrap(), b"second, over the first");
    // There is no room: nothing changes on either side.
    assert!(client.put("large", &vec![b'x'; 300_000]).starts_with("226"));
    client.ask("RNFR large", 350);
    client.ask("RNTO m/large", 452);
    assert!(there("large") && client.get("NLST m").unwrap().is_empty());
    // Nor does an upload leave anything there for which there is no room, or grow a file by a part.
    assert!(client.put("m/log", &[b'x'; 100_000]).starts_with("226"));
    for command in ["STOR m/new", "STOR m/log", "APPE m/log"] {
        let mut data = client.data();
        client.ask(command, 150);
        let _ = data.write_all(&[b'y'; 300_000]);
        drop(data);
        client.expect(452);
        assert_eq!(client.get("NLST m").unwrap(), b"m/log\r\n", "{command}");
        assert!(client.ask("SIZE m/log", 213).ends_with(" 100000"), "{command}");
    }
    // A directory or a link is no file that could appear whole.
    std::os::unix::fs::symlink("back", dir.path().join("link")).unwrap();
    client.ask("MKD d", 257);
    for name in ["d", "link"] {
        client.ask(&format!("RNFR {name}"), 350);
        client.ask(&format!("RNTO m/{name}"), 553);
        assert!(dir.path().join(name).symlink_metadata().is_ok());
    }
}
