//! The user file of ftpserve and smtpserve, and what wrong passwords cost.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Server, server, temp_dir, tool};
use crate::limits::connect;

/// Passwords that are tried at once.
const TRIES: u8 = 200;
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

/// What a server is told: the line before the password, the line with it, the refusals of a wrong one, and of one too many.
struct Dialect {
    name: &'static str,
    before: fn(&str) -> String,
    password: fn(&str, &str) -> String,
    wrong: &'static str,
}

const DIALECTS: [Dialect; 2] = [
    Dialect {
        name: "ftpserve",
        before: |user| format!("USER {user}"),
        password: |_, password| format!("PASS {password}"),
        wrong: "530",
    },
    Dialect {
        name: "smtpserve",
        before: |_| "EHLO c.test".to_owned(),
        password: |user, password| format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}"))),
        wrong: "535",
    },
];

impl Dialect {
    /// A server with one user, `joe`, whose password is `secret`.
    fn start(&self, dir: &Path) -> Server {
        std::fs::write(dir.join("users"), format!("joe:{}\n", hash())).unwrap();
        std::fs::set_permissions(dir.join("users"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::create_dir(dir.join("mail")).unwrap();
        let server = server(self.name).dir(dir).args(["--json", "--user-file", "users"]);
        match self.name {
            "ftpserve" => server.arg("mail"),
            _ => server.args(["--domain", "a.test", "--mailboxes", "mail", "--auth-in-clear"]),
        }
        .start()
    }

    fn ready(&self, from: [u8; 4], to: SocketAddr, user: &str) -> BufReader<TcpStream> {
        let mut client = connect(from, to);
        reply(&mut client);
        say(&mut client, &(self.before)(user));
        reply(&mut client);
        client
    }

    /// All clients say their password before any answer is read.
    fn tries(&self, to: SocketAddr, clients: impl Iterator<Item = ([u8; 4], String)>) -> Vec<String> {
        let mut clients: Vec<_> = clients.map(|(from, user)| (self.ready(from, to, &user), user)).collect();
        for (client, user) in &mut clients {
            say(client, &(self.password)(user, "wrong"));
        }
        clients.iter_mut().map(|(client, _)| reply(client)).collect()
    }
}

fn took_little_memory(server: &Server) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MAX_RESIDENT_KIB, "{peak} KiB at the peak");
}

#[test]
fn wrong_passwords_cost_no_memory() {
    for dialect in &DIALECTS {
        let dir = temp_dir();
        let server = dialect.start(dir.path());
        let clients = (0..TRIES).map(|client| ([127, 0, 7, client], format!("joe{client}")));
        for refusal in dialect.tries(server.addr, clients) {
            assert!(refusal.starts_with(dialect.wrong), "{refusal}");
        }
        took_little_memory(&server);
    }
}

/// However many connections an address has, it tries ten passwords a minute, and nobody else waits for that.
#[test]
fn guessing_is_slow_for_who_guesses() {
    const CONNECTIONS: usize = 14;
    std::thread::scope(|scope| {
        for dialect in &DIALECTS {
            scope.spawn(move || {
                let dir = temp_dir();
                let server = dialect.start(dir.path());
                let to = server.addr;
                let guessed = scope
                    .spawn(move || dialect.tries(to, (0..CONNECTIONS).map(|_| ([127, 0, 7, 1], "joe".to_owned()))));
                server.stdout.wait_for("\"accepted\":false");
                let begun = Instant::now();
                let mut honest = dialect.ready([127, 0, 7, 2], to, "joe");
                say(&mut honest, &(dialect.password)("joe", "secret"));
                let welcome = reply(&mut honest);
                assert!(welcome.starts_with('2') && begun.elapsed() < Duration::from_secs(10), "{welcome}");
                let replies = guessed.join().unwrap();
                let looked_at = replies.iter().filter(|reply| reply.starts_with(dialect.wrong)).count();
                assert!((5..=7).contains(&looked_at), "five at once, then one each 12 seconds: {replies:?}");
                assert_eq!(replies.iter().filter(|reply| reply.starts_with("421 ")).count(), CONNECTIONS - looked_at);
                server.stdout.wait_for("\"reason\":\"too many failed logins\"");
            });
        }
    });
}

#[test]
fn a_line_that_is_not_understood_is_refused_with_its_number() {
    let dir = temp_dir();
    let hash = hash();
    let dear = hash.replace("m=19456", "m=4000000");
    assert_ne!(dear, hash);
    for (text, why) in [
        (format!("# all\njoe:{hash}::readonly\n"), "line 2: \"readonly\" is not a right"),
        (format!("joe:{hash}:home:read,\twrite\n"), "line 1: a control character"),
        (format!("joe:{hash}::READ\n"), "line 1: \"READ\" is not a right"),
        (format!("joe:{hash}::read:write\n"), "line 1: \"read:write\" is not a right"),
        (format!("joe:{hash}\nann:{dear}\n"), "line 2: the hash costs too much: m=4000000"),
        ("joe:secret\n".to_owned(), "line 1: no hash of a password"),
        (format!("joe:{hash}\njoe:{hash}::read\n"), "line 2: duplicate user"),
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
