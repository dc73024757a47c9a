//! smtpserve relays for nobody but permitted networks and users: every role, with every option that has a say in it, for every
//! kind of client.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::dialogue::{Dialogue, user_file};
use crate::harness::{Server, server, temp_dir, tool};

/// The network of `--relay-from`, and one outside it.
const NETWORKS: [(Ipv4Addr, bool); 2] = [(Ipv4Addr::new(127, 0, 0, 2), true), (Ipv4Addr::new(127, 0, 0, 3), false)];

/// Servers at the same time.
const WORKERS: usize = 12;

/// One command line.
#[derive(Debug, Clone, Copy)]
struct Flags {
    cert: bool,
    tls: &'static str,
    users: bool,
    relay_from: bool,
    auth_in_clear: bool,
    any_sender: bool,
}

/// Where a listener is, as the server says.
#[derive(Debug, Clone)]
enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Every command line that is none of the contradictions.
fn all_flags() -> Vec<Flags> {
    let mut all = Vec::new();
    for bits in 0..32u8 {
        let [cert, users, relay_from, auth_in_clear, any_sender] = [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
        let modes: &[&str] = if cert { &["starttls", "required", "implicit"] } else { &["starttls"] };
        all.extend(modes.iter().map(|tls| Flags { cert, tls, users, relay_from, auth_in_clear, any_sender }));
    }
    all.retain(|flags| {
        let usable = flags.users || flags.relay_from;
        usable && (!flags.any_sender || flags.users) && (!flags.users || flags.cert || flags.auth_in_clear)
    });
    all
}

/// The roles that this command line can have.
fn roles(flags: Flags) -> Vec<&'static str> {
    let mut roles = vec!["smtp", "mx", "lmtp"];
    if flags.users && flags.cert {
        roles.extend(["submission", "submissions"]);
    }
    if flags.tls == "starttls" {
        roles.push("unix");
    }
    roles
}

struct Started {
    server: Server,
    dir: tempfile::TempDir,
    listeners: Vec<(&'static str, At)>,
}

fn start(flags: Flags, roles: &[&'static str]) -> Started {
    let dir = temp_dir();
    std::fs::create_dir_all(dir.path().join("mail/bob")).unwrap();
    let socket = dir.path().join("socket");
    let mut line = server("smtpserve").dir(dir.path()).args(["--domain", "bob.test", "--mailboxes", "mail", "--json"]);
    line = line.args(["--queue-dir", "queue", "--address-file", "urls", "--tls", flags.tls]);
    for role in roles {
        line = match *role {
            "unix" => line.args(["--listen", &format!("{}=lmtp", socket.display())]),
            role => line.args(["--listen", &format!("127.0.0.1:0={role}")]),
        };
    }
    if flags.users {
        user_file(&dir.path().join("users"), &[("alice", "address=*@alice.test")], false);
        line = line.args(["--user-file", "users"]);
    }
    for (given, words) in [
        (flags.cert, &["--self-signed", "mail.test"][..]),
        (flags.relay_from, &["--relay-from", "127.0.0.2"]),
        (flags.auth_in_clear, &["--auth-in-clear"]),
        (flags.any_sender, &["--any-sender"]),
    ] {
        line = if given { line.args(words) } else { line };
    }
    let server = line.start();
    let tcp = roles.iter().filter(|role| **role != "unix");
    let urls = std::fs::read_to_string(dir.path().join("urls")).unwrap();
    let addresses = urls.lines().filter_map(crate::harness::address_in);
    let mut listeners: Vec<_> = tcp.copied().zip(addresses.map(At::Tcp)).collect();
    if roles.contains(&"unix") {
        listeners.push(("unix", At::Unix(socket)));
    }
    Started { server, dir, listeners }
}

/// How a client comes.
#[derive(Debug, Clone, Copy)]
struct Comes {
    from: Ipv4Addr,
    tls: bool,
    login: Option<&'static str>,
}

/// Tries to relay one message. True if it was taken.
fn relays(at: &At, role: &str, flags: Flags, comes: Comes, to: &str) -> bool {
    let hello = if matches!(role, "lmtp" | "unix") { "LHLO c.test" } else { "EHLO c.test" };
    let implicit = role == "submissions" || (flags.tls == "implicit" && role != "submission");
    let mut client = match at {
        At::Tcp(address) => Dialogue::from(comes.from, *address, implicit),
        At::Unix(path) => Dialogue::unix(path),
    };
    client.says(hello, "250");
    if comes.tls && !implicit && flags.cert && role != "unix" {
        client.start_tls(hello);
    }
    if let Some(password) = comes.login {
        let reply = client.log_in("alice", password);
        assert!(password == "secret" || !reply.starts_with('2'), "{reply}");
    }
    client.sends("alice@alice.test", to, "From: alice@alice.test\r\n\r\nx\r\n").starts_with("250")
}

/// What must happen, written down once more: who is neither of the network nor logged in is a stranger, wherever he comes in.
fn may_relay(role: &str, flags: Flags, comes: Comes, trusted: bool) -> bool {
    let submission = matches!(role, "submission" | "submissions");
    let in_tls =
        role != "unix" && flags.cert && (comes.tls || role == "submissions" || flags.tls == "implicit" && !submission);
    let tls_enough = in_tls || (!submission && flags.tls == "starttls");
    let can_log_in =
        flags.users && role != "mx" && (in_tls || (flags.auth_in_clear && !submission && flags.tls == "starttls"));
    let logged_in = can_log_in && comes.login == Some("secret");
    let of_network = flags.relay_from && trusted && matches!(role, "smtp" | "lmtp");
    tls_enough && (logged_in || of_network)
}

/// Tries every client at every listener of one server: the number of tries, and of messages taken.
fn try_all(flags: Flags, number: usize) -> (usize, usize) {
    let started = start(flags, &roles(flags));
    // A wrong password is answered after a second: by one listener of a server.
    let guesses = number % started.listeners.len();
    let (mut tried, mut expected) = (0, Vec::new());
    for (index, (role, at)) in started.listeners.iter().enumerate() {
        for (from, trusted) in NETWORKS {
            for tls in [false, true] {
                let wrong = (index == guesses && !trusted).then_some("wrong");
                for login in [None, Some("secret")].into_iter().chain(wrong.map(Some)) {
                    let comes = Comes { from, tls, login };
                    let allowed = may_relay(role, flags, comes, trusted);
                    let to = format!("to{tried}@far.test");
                    let done = relays(at, role, flags, comes, &to);
                    assert_eq!(done, allowed, "{role} {flags:?} {comes:?}\n{}", started.server.stdout.text());
                    tried += 1;
                    expected.extend(allowed.then_some(to));
                }
            }
        }
    }
    let queued = tool("mailq-ls").args(["--json", "--queue-dir"]).arg(started.dir.path().join("queue")).run();
    let queued = queued.exits(0).records_of("recipient");
    let mut queued: Vec<&str> = queued.iter().filter_map(|it| it["address"].as_str()).collect();
    queued.sort_unstable();
    expected.sort_unstable();
    assert_eq!(queued, expected, "{flags:?}");
    assert_eq!(started.server.stop(), 0);
    (tried, expected.len())
}

#[test]
fn no_combination_relays_for_strangers() {
    let all = all_flags();
    let next = std::sync::atomic::AtomicUsize::new(0);
    // The servers wait most of the time.
    let work = || {
        let mut sum = (0, 0);
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(flags) = all.get(number) else { return sum };
            let (tried, taken) = try_all(*flags, number);
            sum = (sum.0 + tried, sum.1 + taken);
        }
    };
    let (tried, taken) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        let sums =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        sums.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    });
    // All of it was tried, and neither everything nor nothing is allowed.
    assert!(all.len() > 30 && tried > 700 && taken > 100 && taken < tried / 2, "{} {tried} {taken}", all.len());
}

#[test]
fn the_forms_for_one_role_are_as_closed() {
    let dir = temp_dir();
    user_file(&dir.path().join("users"), &[("alice", "")], false);
    for (form, implicit, stranger, network) in [
        (&["--submission"][..], false, "530", "530"),
        (&["--submission", "--tls", "implicit"], true, "530", "530"),
        (&["--lmtp"], false, "550 5.7.1", "250"),
        (&[], false, "550 5.7.1", "250"),
        (&["--tls", "required"], false, "550 5.7.1", "250"),
    ] {
        let relay: &[&str] = if network == "250" { &["--relay-from", "127.0.0.2"] } else { &[] };
        let server = server("smtpserve")
            .dir(dir.path())
            .args(["--user-file", "users", "--self-signed", "mail.test", "--queue-dir", "queue"])
            .args(form)
            .args(relay)
            .start();
        for (from, trusted) in NETWORKS {
            let hello = if form.contains(&"--lmtp") { "LHLO c.test" } else { "EHLO c.test" };
            let mut client = Dialogue::from(from, server.addr, implicit);
            client.says(hello, "250");
            if !implicit {
                client.start_tls(hello);
            }
            let reply = client.sends("a@b.test", "x@far.test", "x\r\n");
            assert!(reply.starts_with(if trusted { network } else { stranger }), "{form:?} {from}: {reply}");
        }
    }
}

#[test]
fn contradictions_are_said_at_the_start() {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("mail")).unwrap();
    user_file(&dir.path().join("users"), &[("alice", "")], false);
    let users = &["--user-file", "users"][..];
    let cert = &["--self-signed", "mail.test"][..];
    let domain = &["--domain", "a.test", "--mailboxes", "mail"][..];
    for (line, why) in [
        ([&["--submission"][..], cert].concat(), "--user-file"),
        ([&["--listen", "0=submission"][..], cert, domain].concat(), "need --user-file"),
        ([&["--submission"][..], users].concat(), "need --cert"),
        ([&["--submission", "--auth-in-clear"][..], users, cert].concat(), "--auth-in-clear"),
        ([&["--submission", "--lmtp"][..], users, cert].concat(), "--lmtp"),
        ([&["--submission", "--relay-from", "127.0.0.1"][..], users, cert].concat(), "no effect"),
        ([&["--listen", "0=mx"][..], users, cert, domain].concat(), "nobody logs in"),
        ([&["--listen", "0=mx", "--relay-from", "127.0.0.1"][..], domain].concat(), "no effect"),
        (vec!["--listen", "0=mx"], "--domain"),
        ([&["--listen", "0=pop3"][..], domain].concat(), "smtp, mx, submission, submissions, lmtp"),
        ([&["--listen", "/run/x=mx"][..], domain].concat(), "lmtp"),
        ([&["--listen", "unix:run/x"][..], domain].concat(), "absolute"),
        ([&["--listen", "/run/x", "--tls", "required"][..], cert, domain].concat(), "no TLS"),
        ([&["--any-sender"][..], domain].concat(), "--user-file"),
        ([&["--socket-mode", "rw"][..], domain].concat(), "octal"),
    ] {
        tool("smtpserve").dir(dir.path()).args(&line).run().exits(64).says(why);
    }
}

#[test]
fn a_user_without_an_address_is_noticed() {
    let dir = temp_dir();
    user_file(&dir.path().join("users"), &[("alice", "address=a@b.test"), ("joe", "")], false);
    let line = ["--submission", "--user-file", "users", "--self-signed", "mail.test", "--queue-dir", "queue"];
    let run = |more: &[&str]| tool("smtpserve").dir(dir.path()).args(line).arg("--check-config").args(more).run();
    run(&[]).exits(0).says("user joe has no sender address");
    assert!(!run(&["--any-sender"]).exits(0).stderr.contains("sender address"));
}
