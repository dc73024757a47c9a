//! Servers whose output goes nowhere, whose log is the journal's or a syslog daemon's, whose disk fills or whose UDP socket fails.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::activation::{SERVERS, ZONE, answers};
use crate::harness::{Captured, LIMIT, binary, signal, temp_dir, wait};
use crate::operate::until;

/// The server with what it serves in `dir`; it says where in a file.
fn command(name: &str, dir: &Path) -> Command {
    prepared(Command::new(binary(name)), name, dir, "127.0.0.1:0")
}

/// The same in a mount namespace of its own, where root's shell has done something first.
pub(crate) fn unshared(script: &str, name: &str, dir: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{script} && exec \"$0\" \"$@\"")]).arg(binary(name));
    prepared(command, name, dir, "127.0.0.1:0")
}

fn prepared(mut command: Command, name: &str, dir: &Path, listen: &str) -> Command {
    std::fs::create_dir_all(dir.join("mail/bob/new")).unwrap();
    std::fs::write(dir.join("zone"), ZONE).unwrap();
    command.current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", dir);
    crate::harness::stay_root(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.args(["--listen", listen, "--address-file", "url"]);
    match name {
        "ftpserve" => command.arg("mail"),
        "smtpserve" => command.args(["--domain", "a.test", "--mailboxes", "mail"]),
        _ => command.args(["--zone", "a.test=zone"]),
    };
    command
}

/// Where it listens, once it says so.
pub(crate) fn address(dir: &Path) -> SocketAddr {
    let url = || std::fs::read_to_string(dir.join("url")).unwrap_or_default();
    until(|| url().ends_with('\n'), "the address file");
    crate::harness::address_in(url().trim_end()).unwrap()
}

fn stop(child: Child) -> Option<i32> {
    signal(child.id(), rustix::process::Signal::TERM);
    wait(child, LIMIT).0.code()
}

/// A server serves, not its output: who listens to it may go, and the disk may be full.
#[test]
fn a_server_whose_stdout_takes_nothing_keeps_serving_and_says_so_once() {
    for name in SERVERS {
        for full in [false, true] {
            let dir = temp_dir();
            let mut command = command(name, dir.path());
            command.arg("--json").stdout(Stdio::piped());
            if full {
                command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
            }
            let mut child = command.spawn().unwrap();
            let stderr = Captured::of(child.stderr.take().unwrap());
            if let Some(stdout) = child.stdout.take() {
                // The first line is heard, and then nobody listens.
                BufReader::with_capacity(1, stdout).read_line(&mut String::new()).unwrap();
            }
            let to = address(dir.path());
            (0..3).for_each(|_| answers(name, to));
            stderr.wait_for("serving goes on without records");
            answers(name, to);
            assert_eq!(stderr.text().lines().count(), 1, "{name} {stderr}");
            assert_eq!(stop(child), Some(0), "{name} {stderr}");
        }
    }
}

/// The journal keeps the time by itself and takes a severity (sd-daemon(3)), but only of the stream that it reads.
#[test]
fn lines_for_the_journal_begin_with_a_severity() {
    for name in SERVERS {
        for journal in [true, false] {
            let dir = temp_dir();
            let path = dir.path().join("stderr");
            let file = std::fs::File::create(&path).unwrap();
            let found = file.metadata().unwrap();
            let mut command = command(name, dir.path());
            let inode = if journal { found.ino() } else { found.ino() + 1 };
            command.env("JOURNAL_STREAM", format!("{}:{inode}", found.dev())).stderr(file);
            let child = command.args(["-v", "--log", "lines"]).spawn().unwrap();
            answers(name, address(dir.path()));
            // That a log leads elsewhere now is worth a warning.
            std::fs::remove_file(dir.path().join("lines")).unwrap();
            std::os::unix::fs::symlink("elsewhere", dir.path().join("lines")).unwrap();
            let said = || std::fs::read_to_string(&path).unwrap();
            until(
                || {
                    signal(child.id(), rustix::process::Signal::HUP);
                    said().contains("cannot be reopened")
                },
                "the warning",
            );
            assert_eq!(stop(child), Some(0), "{name}");
            for line in said().lines().filter(|line| !line.starts_with("* ")) {
                let severity = if line.contains("warning: ") { "<4>" } else { "<" };
                let time = line.split(' ').next().unwrap().parse::<jiff::Timestamp>();
                assert!(line.starts_with(severity) == journal && time.is_ok() != journal, "{name}: {line:?}");
            }
        }
    }
}

/// What rsyslog, syslog-ng and the journal read from /dev/log: `<PRIORITY>Mmm dd hh:mm:ss NAME[PID]: TEXT` (RFC 3164, as
/// syslog(3) writes it). A header of RFC 5424 is text to all three until rsyslog and syslog-ng are configured for it.
#[test]
fn a_syslog_daemon_hears_what_syslog_3_would_say() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: not root");
    }
    // Of the devices only those that a server needs are there, and a daemon's socket.
    let devices = "mkdir old && mount --rbind /dev old && mount -t tmpfs none /dev && for device in null urandom; do \
         touch /dev/$device && mount --bind old/$device /dev/$device; done && ln -s \"$PWD/log\" /dev/log";
    for name in SERVERS {
        let dir = temp_dir();
        let daemon = UnixDatagram::bind(dir.path().join("log")).unwrap();
        daemon.set_read_timeout(Some(LIMIT)).unwrap();
        let mut child = unshared(devices, name, dir.path()).arg("--syslog=mail").spawn().unwrap();
        let stderr = Captured::of(child.stderr.take().unwrap());
        let mut bytes = [0; 8192];
        let Ok(length) = daemon.recv(&mut bytes) else { panic!("{name}: nothing came: {stderr}") };
        let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let url = std::fs::read_to_string(dir.path().join("url")).unwrap();
        // mail is 2, and to listen is information: 2 * 8 + 6.
        let (head, text) = message.strip_prefix("<22>").unwrap().split_at(15);
        let at = jiff::fmt::strtime::parse("%b %e %H:%M:%S", head);
        assert!(at.is_ok(), "{message:?}");
        assert_eq!(text, format!(" {name}[{}]: listening {}", child.id(), url.trim_end()));
        answers(name, address(dir.path()));
        assert_eq!(stop(child), Some(0), "{name} {stderr}");
    }
}

/// A client of SMTP: says lines, and hears one reply to each.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn to(address: SocketAddr) -> Talk {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut talk = Talk(BufReader::new(stream));
        assert!(talk.reply().starts_with("220 "));
        assert!(talk.ask("EHLO c.test").starts_with("250 "));
        talk
    }

    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 || line.as_bytes().get(3) == Some(&b' ') {
                return line;
            }
        }
    }

    fn ask(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }
}

/// The floor of free space, below mailboxes and queue: at MAIL, by what a client declares, and while a message comes.
#[test]
fn a_disk_that_fills_has_room_left_for_others() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: not root");
    }
    for (flags, recipient) in [
        (&[][..], "bob@a.test"),
        (&["--relay-from", "127.0.0.1", "--queue-dir", "mail/queue"][..], "bob@elsewhere.test"),
    ] {
        let dir = temp_dir();
        let disk = "mount -t tmpfs -o size=40m none mail && for user in bob one two three four; do mkdir -p mail/$user/new; done";
        let mut command = unshared(disk, "smtpserve", dir.path());
        let mut child = command.args(flags).args(["--min-free", "16M"]).spawn().unwrap();
        let stderr = Captured::of(child.stderr.take().unwrap());
        let to = address(dir.path());
        let mut talk = Talk::to(to);
        let mut says = |line: &str, code: &str| {
            let said = talk.ask(line);
            assert!(said.starts_with(code), "{line}: {said} {stderr}");
        };
        says("MAIL FROM:<> SIZE=30000000", "452 4.3.1 ");
        says("MAIL FROM:<> SIZE=1000", "250 ");
        says(&format!("RCPT TO:<{recipient}>"), "250 ");
        says("DATA", "354 ");
        says("Subject: small\r\n\r\nsmall\r\n.", "250 ");
        // What is small enough once is not for each of five.
        let line = format!("{}\r\n", "x".repeat(998));
        for (users, code) in [(&["bob"][..], "250 "), (&["bob", "one", "two", "three", "four"], "452 4.3.1 no room")] {
            says("MAIL FROM:<>", "250 ");
            users.iter().for_each(|user| says(&format!("RCPT TO:<{user}@a.test>"), "250 "));
            says("DATA", "354 ");
            says(&format!("{}.", line.repeat(6000)), code);
        }
        // One that declares nothing is broken off, and leaves nothing.
        says("MAIL FROM:<>", "250 ");
        says(&format!("RCPT TO:<{recipient}>"), "250 ");
        says("DATA", "354 ");
        let mut writer = talk.0.get_ref().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let line = [&[b'x'; 998][..], b"\r\n"].concat();
            while writer.write_all(&line).is_ok() {}
        });
        let said = talk.reply();
        assert!(said.starts_with("421 4.3.1 no room"), "{recipient}: {said} {stderr}");
        drop(talk);
        sending.join().unwrap();
        // Somebody else fills the disk, and empties it.
        let others = format!("/proc/{}/root{}/mail/others", child.id(), dir.path().display());
        std::fs::write(&others, vec![0; 30_000_000]).unwrap();
        let asked = || Talk::to(to).ask("MAIL FROM:<>");
        until(|| asked().starts_with("452 4.3.1 no room"), "a refusal");
        std::fs::remove_file(&others).unwrap();
        until(|| asked().starts_with("250 "), "room");
        assert_eq!(stop(child), Some(0), "{stderr}");
    }
}

/// Stands between the program and the system, which has no error of a UDP socket that would stay.
const FAILING_RECEIPT: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static int broken(void) { return access("broken", F_OK) == 0; }
ssize_t recvfrom(int fd, void *to, size_t size, int flags, struct sockaddr *from, socklen_t *length) {
    return broken() ? (errno = EBADF, -1) : syscall(SYS_recvfrom, fd, to, size, flags, from, length);
}
ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    return broken() ? (errno = EBADF, -1) : syscall(SYS_recvmsg, fd, message, flags);
}
"#;

#[test]
fn a_udp_socket_that_fails_for_good_ends_the_server() {
    for listen in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let dir = temp_dir();
        std::fs::write(dir.path().join("shim.c"), FAILING_RECEIPT).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o", "shim.so", "shim.c"]).current_dir(dir.path());
        assert!(compiler.status().unwrap().success(), "rustc links by cc");
        let mut server = prepared(Command::new(binary("dnsserve")), "dnsserve", dir.path(), listen);
        let mut child = server.env("LD_PRELOAD", dir.path().join("shim.so")).spawn().unwrap();
        let stderr = Captured::of(child.stderr.take().unwrap());
        let to = SocketAddr::from(([127, 0, 0, 1], address(dir.path()).port()));
        answers("dnsserve", to);
        std::fs::write(dir.path().join("broken"), "").unwrap();
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", to).unwrap();
        let (status, hung) = wait(child, LIMIT);
        assert!(!hung && status.code() == Some(74), "{listen}: {status} {stderr}");
        stderr.wait_for("dnsserve: UDP: ");
    }
}
