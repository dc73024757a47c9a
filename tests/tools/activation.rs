//! Socket activation (sd_listen_fds(3)): a shell takes the place of the service manager. It gets the sockets as its stdin
//! and stderr, moves them to the descriptors 3 and 4, and becomes the server.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Done, LIMIT, binary, finish, temp_dir, tool, wait};

pub(crate) const SERVERS: [&str; 3] = ["ftpserve", "smtpserve", "dnsserve"];

/// The program with these descriptors from 3 on; its stderr goes to `dir/stderr`.
fn passing(dir: &Path, program: &Path, variables: &str, passed: Vec<OwnedFd>) -> Command {
    let script = format!(
        "exec {} 0</dev/null 2>stderr; export {variables}; exec \"$0\" \"$@\"",
        ["", "3<&0", "3<&0 4<&2"][passed.len()]
    );
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(program).current_dir(dir).stdout(Stdio::piped());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", dir).stdin(Stdio::null());
    let mut passed = passed.into_iter();
    if let Some(fd) = passed.next() {
        command.stdin(fd);
    }
    if let Some(fd) = passed.next() {
        command.stderr(fd);
    }
    command
}

pub(crate) const ZONE: &str = "@ 60 SOA ns hostmaster 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n";

/// The server with these descriptors.
fn command(dir: &Path, name: &str, variables: &str, passed: Vec<OwnedFd>) -> Command {
    let mut command = passing(dir, &binary(name), variables, passed);
    std::fs::create_dir_all(dir.join("mail/bob/new")).unwrap();
    std::fs::write(dir.join("zone"), ZONE).unwrap();
    crate::harness::stay_root(&mut command);
    match name {
        "ftpserve" => command.arg("mail"),
        "smtpserve" => command.args(["--domain", "a.test", "--mailboxes", "mail"]),
        _ => command.args(["--zone", "a.test=zone"]),
    };
    command
}

struct Activated {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Activated {
    fn start(dir: &Path, name: &str, variables: &str, passed: Vec<OwnedFd>) -> Activated {
        let mut child = command(dir, name, variables, passed).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Activated { child, lines }
    }

    /// The next address it says it serves.
    fn address(&mut self) -> SocketAddr {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        crate::harness::address_in(line.trim_end()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    fn stop(self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(wait(self.child, LIMIT).0.success());
    }
}

fn fails(name: &str, variables: &str, passed: Vec<OwnedFd>, why: &str) {
    let dir = temp_dir();
    let done: Done = finish(command(dir.path(), name, variables, passed), format!("{name} {variables}"), None, LIMIT);
    done.exits(78);
    let stderr = std::fs::read_to_string(dir.path().join("stderr")).unwrap();
    assert!(stderr.contains(&format!("LISTEN_FDS: {why}")), "{name} {variables}: {stderr}");
}

/// The server behind the address answers.
pub(crate) fn answers(name: &str, address: SocketAddr) {
    if name == "dnsserve" {
        let server = format!("@{address}");
        for args in
            [&[server.as_str(), "--short", "ns.a.test", "A", "--tcp"][..], &[&server, "--short", "ns.a.test", "A"]]
        {
            tool("dnsq").args(args).run().exits(0).prints("192.0.2.1");
        }
        return;
    }
    let mut greeting = [0; 3];
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220", "{name}");
    drop(stream.write_all(b"QUIT\r\n"));
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A TCP and a UDP socket on one port.
fn pair() -> (TcpListener, UdpSocket) {
    std::iter::repeat_with(listener)
        .take(50)
        .find_map(|tcp| UdpSocket::bind(tcp.local_addr().unwrap()).ok().map(|udp| (tcp, udp)))
        .expect("a port that is free for both")
}

#[test]
fn one_tcp_socket() {
    for name in SERVERS {
        let dir = temp_dir();
        let (tcp, udp) = pair();
        drop(udp);
        let address = tcp.local_addr().unwrap();
        let mut server = Activated::start(dir.path(), name, "LISTEN_PID=$$ LISTEN_FDS=1", vec![tcp.into()]);
        assert_eq!(server.address(), address, "{name}");
        answers(name, address);
        let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/3", server.child.id())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let wanted = (rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK).bits();
        assert_eq!(u32::from_str_radix(flags, 8).unwrap() & wanted, wanted, "{name}: {flags}");
        server.stop();
    }
}

#[test]
fn the_name_of_a_socket_is_its_role() {
    let dir = temp_dir();
    crate::dialogue::user_file(&dir.path().join("users"), &[("alice", "")], true);
    let start = |variables: &str, more: &[&str]| {
        let passed = vec![listener().into(), listener().into()];
        let mut command = passing(dir.path(), &binary("smtpserve"), variables, passed);
        crate::harness::stay_root(&mut command);
        command.args(["--user-file", "users", "--self-signed", "a.test", "--queue-dir", "queue"]).args(more);
        command
    };
    let names = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=smtpserve-submission.socket:submissions";
    let mut child = start(names, &["--submission"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for (scheme, implicit) in [("submission", false), ("submissions", true)] {
        let url = lines.next().unwrap().unwrap();
        assert!(url.starts_with(&format!("{scheme}://")), "{url}");
        let mut client = crate::dialogue::Dialogue::to(crate::harness::address_in(&url).unwrap(), implicit);
        client.says("EHLO c.test", "250");
        client.says("MAIL FROM:<a@b.test>", "530");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // A role that the options did not ask for.
    let done = finish(start(names, &[]), names.to_owned(), None, LIMIT);
    done.exits(78);
    assert!(std::fs::read_to_string(dir.path().join("stderr")).unwrap().contains("a socket of the role submissions"));
}

#[test]
fn a_name_server_takes_a_tcp_and_a_udp_socket_in_either_order() {
    for order in [0, 1] {
        let dir = temp_dir();
        let (tcp, udp) = pair();
        let address = tcp.local_addr().unwrap();
        let mut passed: Vec<OwnedFd> = vec![tcp.into(), udp.into()];
        passed.rotate_left(order);
        let variables = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=dns:dns";
        let mut server = Activated::start(dir.path(), "dnsserve", variables, passed);
        assert_eq!(server.address(), address);
        answers("dnsserve", address);
        server.stop();
    }
}

#[test]
fn a_name_server_with_a_udp_socket_binds_tcp_beside_it() {
    let dir = temp_dir();
    let (tcp, udp) = pair();
    drop(tcp);
    let address = udp.local_addr().unwrap();
    let mut server = Activated::start(dir.path(), "dnsserve", "LISTEN_PID=$$ LISTEN_FDS=1", vec![udp.into()]);
    assert_eq!(server.address(), address);
    answers("dnsserve", address);
    server.stop();
}

#[test]
fn two_tcp_sockets() {
    for name in SERVERS {
        let dir = temp_dir();
        let ((first, one), (second, two)) = (pair(), pair());
        drop((one, two));
        let addresses = [first.local_addr().unwrap(), second.local_addr().unwrap()];
        let passed = vec![first.into(), second.into()];
        let mut server = Activated::start(dir.path(), name, "LISTEN_PID=$$ LISTEN_FDS=2", passed);
        assert_eq!([server.address(), server.address()], addresses, "{name}");
        addresses.into_iter().for_each(|address| answers(name, address));
        server.stop();
    }
}

#[test]
fn what_is_no_socket_to_serve_is_refused() {
    let one = "LISTEN_PID=$$ LISTEN_FDS=1";
    let udp = || UdpSocket::bind("127.0.0.1:0").unwrap();
    fails("ftpserve", one, vec![udp().into()], "descriptor 3: a UDP socket, and this server speaks TCP");
    fails("smtpserve", one, vec![udp().into()], "descriptor 3: a UDP socket, and this server speaks TCP");
    for name in SERVERS {
        let tcp = listener();
        let connected = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        fails(name, one, vec![connected.into()], "descriptor 3: a TCP socket that does not listen");
        let dir = temp_dir();
        let unix = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        fails(name, one, vec![unix.into()], "descriptor 3: a Unix socket");
        let file = std::fs::File::open("/dev/null").unwrap();
        fails(name, one, vec![file.into()], "descriptor 3: no socket");
        fails(name, "LISTEN_PID=$$ LISTEN_FDS=2", vec![tcp.into()], "descriptor 4: not open");
        fails(name, "LISTEN_PID=$$ LISTEN_FDS=some", Vec::new(), "\"some\" is not a number");
        let connected = udp();
        connected.connect("127.0.0.1:9").unwrap();
        fails(name, one, vec![connected.into()], "descriptor 3: a UDP socket that is connected");
    }
}

/// Shut down behind the server's back: no socket gets well again from that, and a loop over its error would be hot.
#[test]
fn a_socket_that_fails_for_good_ends_the_server() {
    for name in SERVERS {
        let dir = temp_dir();
        let tcp = listener();
        let passed = vec![tcp.try_clone().unwrap().into()];
        let mut server = Activated::start(dir.path(), name, "LISTEN_PID=$$ LISTEN_FDS=1", passed);
        answers(name, server.address());
        rustix::net::shutdown(&tcp, rustix::net::Shutdown::Both).unwrap();
        let (status, hung) = wait(server.child, LIMIT);
        let stderr = std::fs::read_to_string(dir.path().join("stderr")).unwrap();
        assert!(!hung && status.code() == Some(74), "{name}: {status}: {stderr}");
        assert!(stderr.contains(&format!("{name}: accept: ")), "{stderr}");
    }
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    for name in SERVERS {
        let dir = temp_dir();
        let tcp = listener();
        let address = tcp.local_addr().unwrap();
        let mut start = command(dir.path(), name, "LISTEN_PID=1 LISTEN_FDS=1", vec![tcp.into()]);
        let mut child = start.args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
        drop(start);
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut server = Activated { child, lines };
        let own = server.address();
        assert_ne!(own, address, "{name}");
        answers(name, own);
        server.stop();
    }
}

/// The values of a key in a unit file.
fn values(unit: &str, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(dist().join("systemd").join(unit)).unwrap();
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect()
}

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist")
}

/// What the examples of `dist/conf` name, below `dir`.
fn lay_out(dir: &Path) {
    for folder in ["etc/applayer/zones", "var/lib/applayer/mail", "var/lib/ftpserve", "queue"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
    let etc = dir.join("etc/applayer");
    let made = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).unwrap();
    let pem = made.cert.pem() + &made.signing_key.serialize_pem();
    let hash = tool("smtpserve").arg("--hash-password").stdin("secret\n").run();
    let users = format!("joe:{}", hash.text());
    let zone = format!("$ORIGIN example.org.\n{ZONE}");
    for (name, text) in [
        ("ftp.pem", &pem),
        ("mail.pem", &pem),
        ("ftp-users", &users),
        ("mail-users", &users),
        ("zones/example.org", &zone),
    ] {
        std::fs::write(etc.join(name), text).unwrap();
        std::fs::set_permissions(etc.join(name), Permissions::from_mode(0o600)).unwrap();
    }
}

/// Gives everything below `dir` to a user.
fn give(dir: &Path, user: u32) {
    std::os::unix::fs::chown(dir, Some(user), Some(user)).unwrap();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        give(&entry.unwrap().path(), user);
    }
}

/// One service: its ExecStart line, with the options that its file in `dist/conf` shows, the sockets of its socket unit, and a
/// service manager that listens.
fn runs_as_its_unit_says(service: &str, user: Option<u32>) {
    let dir = temp_dir();
    lay_out(dir.path());
    let exec = values(&format!("{service}.service"), "ExecStart").remove(0);
    let mut words = exec.split(' ');
    let name = words.next().unwrap().strip_prefix("/usr/bin/").unwrap();
    let program = dir.path().join(name);
    // Another process copies: a descriptor of ours, which some other test's child has for a moment, would keep it from running.
    assert!(Command::new("cp").arg(binary(name)).arg(&program).status().unwrap().success());
    // The examples of its options file, which are comments without a blank, and all files below `dir`.
    let below = |text: &str| format!("{}{text}", dir.path().display());
    let args: Vec<String> =
        words.map(|word| if word.starts_with('/') { below(word) } else { word.to_owned() }).collect();
    let file = args.iter().find(|word| word.ends_with(".conf")).unwrap();
    let example = std::fs::read_to_string(dist().join("conf").join(Path::new(file).file_name().unwrap())).unwrap();
    assert!(example.lines().all(|line| line.starts_with('#')), "{service}: what is installed changes nothing");
    let options = example.lines().filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')));
    let mut options: String = options.map(|line| format!("{line}\n")).collect();
    if user.is_none() && rustix::process::geteuid().is_root() && name.ends_with("serve") {
        options.push_str("run-as 0:0\ni-know\n");
    }
    let options =
        [" /", "=/"].iter().fold(options, |text, mark| text.replace(mark, &format!("{}{}/", &mark[..1], below(""))));
    std::fs::write(file, options).unwrap();
    let (mut sockets, mut addresses): (Vec<OwnedFd>, Vec<SocketAddr>) = Default::default();
    if dist().join(format!("systemd/{service}.socket")).exists() {
        let (tcp, udp) = pair();
        let address = tcp.local_addr().unwrap();
        let socket = format!("{service}.socket");
        addresses.extend(values(&socket, "ListenStream").iter().map(|_| address));
        if !values(&socket, "ListenDatagram").is_empty() {
            sockets.push(udp.into());
        }
        sockets.push(tcp.into());
    }
    let notified = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    notified.set_read_timeout(Some(LIMIT)).unwrap();
    if let Some(user) = user {
        give(dir.path(), user);
    }
    let variables = format!("LISTEN_PID=$$ WATCHDOG_PID=$$ LISTEN_FDS={}", sockets.len());
    let mut command = passing(dir.path(), &program, &variables, sockets);
    command.args(&args).env("NOTIFY_SOCKET", dir.path().join("notify")).env("WATCHDOG_USEC", "100000");
    command.env("APPLAYER_QUEUE", dir.path().join("queue"));
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let child = command.spawn().unwrap();
    if exec.contains("mailq-run") && !exec.contains("--watch") {
        assert!(wait(child, LIMIT).0.success(), "{service}");
        return;
    }
    let heard = || {
        let mut bytes = [0; 100];
        let length = notified.recv(&mut bytes).unwrap_or_else(|error| {
            let said = std::fs::read_to_string(dir.path().join("stderr")).unwrap_or_default();
            panic!("{service} {args:?}: {error}: {said}")
        });
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let wait_for = |wanted: &str| while !heard().starts_with(wanted) {};
    let signal = |kind| crate::harness::signal(child.id(), kind);
    wait_for("READY=1");
    wait_for("WATCHDOG=1");
    wait_for("WATCHDOG=1");
    for address in addresses {
        match name {
            "dnsserve" => {
                let asked = tool("dnsq").args([&format!("@{address}"), "--short", "ns.example.org", "A"]).run();
                asked.exits(0).prints("192.0.2.1");
            }
            _ => answers(name, address),
        }
    }
    if name == "dnsserve" {
        signal(rustix::process::Signal::HUP);
        wait_for("RELOADING=1\nMONOTONIC_USEC=");
        wait_for("READY=1");
    }
    signal(rustix::process::Signal::TERM);
    wait_for("STOPPING=1");
    assert!(wait(child, LIMIT).0.success(), "{service}");
}

#[test]
fn every_service_runs_as_its_unit_says_as_root_and_as_another_user() {
    let units = std::fs::read_dir(dist().join("systemd")).unwrap();
    let services =
        units.filter_map(|unit| unit.unwrap().file_name().to_str()?.strip_suffix(".service").map(str::to_owned));
    let services: Vec<String> = services.collect();
    assert_eq!(services.len(), 6);
    let users = if rustix::process::geteuid().is_root() { &[None, Some(4000)][..] } else { &[None] };
    std::thread::scope(|scope| {
        for service in &services {
            scope.spawn(|| users.iter().for_each(|user| runs_as_its_unit_says(service, *user)));
        }
    });
}
