//! The user file of ftpserve and smtpserve, and what wrong passwords cost.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::{LIMIT, Server, server, temp_dir, tool};

/// Passwords that are tried at once.
const TRIES: usize = 200;
/// The most memory that a server may have taken, in KiB: two checks of 19 MiB, and all the rest of a debug build.
const MAX_RESIDENT_KIB: u64 = 160 * 1024;

fn hash() -> String {
    tool("ftpserve").arg("--hash-password").stdin("secret\n").run().silent_success().text().trim().to_owned()
}

fn say(stream: &mut BufReader<TcpStream>, line: &str) {
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
}

/// Reads on to the last line of a reply.
fn reply(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the server closed");
        if line.as_bytes().get(3) == Some(&b' ') {
            return line;
        }
    }
}

/// All clients say the last line before any answer is read.
fn try_passwords(address: SocketAddr, before: &str, line: &str, refusal: &str) {
    let mut clients: Vec<_> = (0..TRIES)
        .map(|_| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let mut client = BufReader::new(stream);
            reply(&mut client);
            say(&mut client, before);
            reply(&mut client);
            client
        })
        .collect();
    clients.iter_mut().for_each(|client| say(client, line));
    for client in &mut clients {
        let reply = reply(client);
        assert!(reply.starts_with(refusal), "{reply}");
    }
}

fn took_little_memory(server: &Server) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MAX_RESIDENT_KIB, "{peak} KiB at the peak");
}

#[test]
fn wrong_passwords_cost_ftpserve_no_memory() {
    let dir = temp_dir();
    let users = dir.path().join("users");
    std::fs::write(&users, format!("joe:{}\n", hash())).unwrap();
    let server =
        server("ftpserve").args(["--max-per-address", "300", "--user-file"]).arg(&users).arg(dir.path()).start();
    try_passwords(server.addr, "USER joe", "PASS wrong", "530");
    took_little_memory(&server);
}

#[test]
fn wrong_passwords_cost_smtpserve_no_memory() {
    let dir = temp_dir();
    let users = dir.path().join("users");
    std::fs::write(&users, format!("joe:{}\n", hash())).unwrap();
    std::fs::create_dir(dir.path().join("mail")).unwrap();
    let server = server("smtpserve")
        .dir(dir.path())
        .args(["--domain", "a.test", "--mailboxes", "mail", "--auth-in-clear", "--user-file", "users"])
        .args(["--max-per-address", "300"])
        .start();
    try_passwords(server.addr, "EHLO c.test", "AUTH PLAIN AGpvZQB3cm9uZw==", "535");
    took_little_memory(&server);
}

#[test]
fn a_line_that_is_not_understood_is_refused_with_its_number() {
    let dir = temp_dir();
    let hash = hash();
    let dear = hash.replace("m=19456", "m=4000000");
    assert_ne!(dear, hash);
    for (text, why) in [
        (format!("# all\njoe:{hash}::readonly\n"), "line 2: \"readonly\" is no flag"),
        (format!("joe:{hash}:home:read,\twrite\n"), "line 1: a control character"),
        (format!("joe:{hash}::READ\n"), "line 1: \"READ\" is no flag"),
        (format!("joe:{hash}::read:write\n"), "line 1: more than four fields"),
        (format!("joe:{hash}\nann:{dear}\n"), "line 2: the hash costs too much: m=4000000"),
        ("joe:secret\n".to_owned(), "line 1: no Argon2 hash"),
        (format!("joe:{hash}\njoe:{hash}::read\n"), "line 2: this user stands twice"),
    ] {
        std::fs::write(dir.path().join("users"), text).unwrap();
        let run = |tool_name: &str, args: &[&str]| {
            let common = ["--listen", "127.0.0.1:0", "--user-file", "users"];
            tool(tool_name).dir(dir.path()).args(common).args(args).run().exits(78).says(why);
        };
        run("ftpserve", &["."]);
        run("smtpserve", &["--domain", "a.test", "--mailboxes", ".", "--auth-in-clear"]);
    }
}
