//! smtpserve as the delivery agent of another mailer: LMTP on a UNIX socket.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use crate::dialogue::Dialogue;
use crate::harness::{Server, server, temp_dir, tool};
use crate::smtp::{files, mailboxes};

/// smtpserve on a TCP port and on the socket `dir/lmtp`.
fn start(dir: &Path, more: &[&str]) -> Server {
    server("smtpserve")
        .dir(dir)
        .args(["--listen", "127.0.0.1:0=mx", "--listen", &dir.join("lmtp").to_string_lossy()])
        .args(["--domain", "bob.test", "--mailboxes", ".", "--json", "--address-file", "urls"])
        .args(more)
        .start()
}

#[test]
fn each_recipient_has_an_answer_of_its_own() {
    let dir = mailboxes(&["bob", "eve"]);
    let server = start(dir.path(), &[]);
    let socket = dir.path().join("lmtp");
    let urls = std::fs::read_to_string(dir.path().join("urls")).unwrap();
    assert_eq!(urls, format!("smtp://{}\nlmtp+unix:{}\n", server.addr, socket.display()));
    server.stdout.wait_for(&format!("\"path\":\"{}\"", socket.display()));
    let mut client = Dialogue::unix(&socket);
    client.says("EHLO c.test", "500 5.5.1");
    client.says("HELO c.test", "500 5.5.1");
    let offer = client.says("LHLO c.test", "250");
    assert!(offer.contains("CHUNKING") && !offer.contains("STARTTLS") && !offer.contains("AUTH"), "{offer}");
    client.says("STARTTLS", "502");
    for chunked in [false, true] {
        client.says("MAIL FROM:<a@far.test>", "250");
        client.says("RCPT TO:<bob@bob.test>", "250");
        client.says("RCPT TO:<nobody@bob.test>", "550 5.1.1");
        client.says("RCPT TO:<eve@bob.test>", "250");
        client.says("RCPT TO:<x@far.test>", "550 5.7.1");
        match chunked {
            false => {
                client.says("DATA", "354");
                client.send("Subject: x\r\n\r\nx\r\n.\r\n");
            }
            true => {
                client.send("BDAT 14\r\nSubject: x\r\n\r\n");
                client.hears("250");
                client.send("BDAT 3 LAST\r\nx\r\n");
            }
        }
        client.hears("250");
        client.hears("250");
        client.says("NOOP", "250");
    }
    for mailbox in ["bob", "eve"] {
        let found = files(dir.path(), &format!("{mailbox}/new"));
        assert_eq!(found.len(), 2);
        let text = std::fs::read_to_string(&found[0]).unwrap();
        assert!(text.contains("Received: from c.test\n\tby bob.test with LMTP id "), "{text}");
    }
    // Without a recipient there is no message to answer for.
    client.says("MAIL FROM:<a@far.test>", "250");
    client.says("DATA", "554");
    client.says("QUIT", "221");
    server.stdout.wait_for("\"why\":\"quit\"");
    // Our own client reaches it by the URL of the address file.
    let url = urls.lines().nth(1).unwrap();
    let sent = tool("smtpsend")
        .args(["--server", url, "--from", "a@b.test", "--to", "bob@bob.test", "--body", "-"])
        .stdin("x\n")
        .run();
    sent.exits(0);
    assert_eq!(files(dir.path(), "bob/new").len(), 3);
    assert_eq!(server.stop(), 0);
    assert!(!socket.exists(), "removed at the end");
}

#[test]
fn the_file_is_as_asked_and_nothing_else_is_replaced() {
    let dir = mailboxes(&["bob"]);
    let socket = dir.path().join("lmtp");
    let first = start(dir.path(), &["--socket-mode", "0620"]);
    let found = std::fs::metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o7777, 0o620);
    let again = [
        "--listen",
        "127.0.0.1:0=mx",
        "--listen",
        &socket.to_string_lossy(),
        "--domain",
        "bob.test",
        "--mailboxes",
        ".",
    ];
    let second = || tool("smtpserve").dir(dir.path()).args(again).run();
    second().exits(73).says("another process listens there");
    // What a killed server leaves is replaced.
    first.kill();
    assert!(socket.exists());
    let third = start(dir.path(), &[]);
    assert_eq!(std::fs::metadata(&socket).unwrap().mode() & 0o7777, 0o660);
    Dialogue::unix(&socket).says("LHLO c.test", "250");
    assert_eq!(third.stop(), 0);
    std::fs::write(&socket, "precious").unwrap();
    second().exits(73).says("the file is no socket");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}

#[test]
fn root_gives_the_socket_to_an_owner_and_removes_it_in_its_directory() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = temp_dir();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mail = dir.path().join("mail/bob");
    std::fs::create_dir_all(&mail).unwrap();
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(54_321), Some(54_322)).unwrap();
    [dir.path(), &dir.path().join("mail"), &mail].into_iter().for_each(own);
    let socket = dir.path().join("lmtp");
    let server = server("smtpserve")
        .dir(dir.path())
        .args(["--listen", "127.0.0.1:0=mx", "--listen", &socket.to_string_lossy(), "--socket-owner", "54321:54323"])
        .args(["--run-as", "54321:54322", "--domain", "bob.test", "--mailboxes", "mail"])
        .gives_up_root()
        .start();
    let found = std::fs::metadata(&socket).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (54_321, 54_323, 0o660));
    let mut client = Dialogue::unix(&socket);
    client.says("LHLO c.test", "250");
    assert!(client.sends("a@b.test", "bob@bob.test", "x\r\n").starts_with("250"));
    assert_eq!(server.stop(), 0);
    assert!(!socket.exists(), "removed, though the server is neither root nor outside its sandbox");
}
