//! ftpserve, killed: before each write and sync of an upload, and while several clients upload.

use std::io::Write;

use crate::ftp_server::Client;
use crate::harness::{memory_dir, server, temp_dir};
use crate::powercut::recorder;

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
