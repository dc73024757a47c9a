//! ftpget, ftpput, ftpls and ftpdo: against ftpserve, and against a server that does what servers should not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::ftp_get::url;
use crate::harness::{Server, binary, peer, rounds, server, temp_dir, tool};

/// A server of our own that takes uploads from anybody.
fn serve(root: &Path) -> Server {
    server("ftpserve").arg("--write").arg(root).start()
}

#[test]
fn there_and_back_with_records() {
    let (root, work) = (temp_dir(), temp_dir());
    let server = serve(root.path());
    std::fs::create_dir_all(work.path().join("tree/a/b")).unwrap();
    std::fs::write(work.path().join("tree/one"), "1\n").unwrap();
    std::fs::write(work.path().join("tree/a/b/two \u{e4}"), vec![7; 400_000]).unwrap();
    let run = |name: &str, args: &[&str]| {
        let done = tool(name).args(args).dir(work.path()).run();
        assert_eq!(done.status, 0, "{done}");
        done
    };
    let put = run("ftpput", &["--json", "-r", "tree", &url(&server, "up/here/")]);
    assert_eq!(put.records_of("transfer").len(), 2, "{put}");
    run("ftpls", &["--json", "-R", &url(&server, "up/")]);
    run("ftpget", &["--json", "-r", "-o", "back", &url(&server, "up/here/")]);
    let two = work.path().join("back/a/b/two \u{e4}");
    assert_eq!(std::fs::read(&two).unwrap(), vec![7; 400_000]);
    run("ftpdo", &["--json", &url(&server, "up"), "mkdir", "-p", "x/y"]);
    run("ftpdo", &[&url(&server, ""), "rm", "-r", "up"]);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn text_is_silent_and_stdout_is_the_file() {
    let root = temp_dir();
    std::fs::write(root.path().join("x"), "payload").unwrap();
    let server = serve(root.path());
    let done = tool("ftpget").args(["-o", "-", &url(&server, "x")]).run();
    assert_eq!((done.stdout.as_slice(), done.stderr.as_str(), done.status), (&b"payload"[..], "", 0), "{done}");
    let done = tool("ftpget").args([&url(&server, "x")]).run();
    assert_eq!((done.stdout.len(), done.stderr.as_str(), done.status), (0, "", 0), "{done}");
    let done = tool("ftpget").args(["--json", "-o", "-", &url(&server, "x")]).run();
    assert_eq!(done.status, 64, "records and a payload cannot share stdout: {done}");
    let done = tool("ftpget").args(["-o", "-", &url(&server, "x")]).closed_stdout().run();
    assert_eq!(done.status, 141, "{done}");
    let done = tool("ftpget").args(["-o", "/dev/null", &url(&server, "x")]).run();
    assert_eq!(done.status, 0, "{done}");
    assert!(
        !std::fs::read_dir("/dev").unwrap().any(|name| name
            .unwrap()
            .file_name()
            .as_encoded_bytes()
            .ends_with(b".part"))
    );
}

/// `kill -9` somewhere in the middle, again and again: the same command brings the file home, and it never appears half.
#[test]
fn a_crash_of_ftpget_is_resumed() {
    let (root, work) = (temp_dir(), temp_dir());
    let whole: Vec<u8> = (0..24_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(root.path().join("x"), &whole).unwrap();
    let server = serve(root.path());
    for round in rounds(6, 10) {
        let mut command = std::process::Command::new(binary("ftpget"));
        command.arg(url(&server, "x")).current_dir(work.path()).env("HOME", work.path());
        let mut child = command.spawn().unwrap();
        // A different moment each time: the point is where it dies, not when.
        thread::sleep(std::time::Duration::from_millis(1 + 7 * (round as u64 % 13)));
        drop(child.kill());
        drop(child.wait());
        if let Ok(found) = std::fs::read(work.path().join("x")) {
            assert!(found == whole, "a file of {} bytes appeared", found.len());
        }
    }
    let done = tool("ftpget").args(["--json", &url(&server, "x")]).dir(work.path()).run();
    assert_eq!(done.status, 0, "{done}");
    assert!(std::fs::read(work.path().join("x")).unwrap() == whole, "{done}");
}

#[test]
fn a_command_cannot_be_smuggled_in() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    let server = peer(move |mut conn| {
        count.fetch_add(1, Ordering::SeqCst);
        conn.until_closed();
    });
    for (name, args) in [("ftpget", vec![]), ("ftpls", vec![]), ("ftpdo", vec!["rm"])] {
        let done = tool(name).arg(format!("ftp://{}/a%0d%0aDELE%20b", server.addr)).args(args).run();
        assert_eq!(done.status, 64, "{done}");
    }
    assert_eq!(heard.load(Ordering::SeqCst), 0, "refused before anything was sent");
}
