//! mailq-run, mailq-ls and mailq-edit.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use applayer::blob::Blob;
use applayer::mail::maildir::Maildir;
use applayer::queue::entry::{NewMessage, QueueId, Transition};
use applayer::queue::sqlite::{Process, SqliteStore};
use applayer::queue::store::{Filter, LeaseOutcome, QueueStore};
use applayer::relay::deliver::DeliveryProof;
use applayer::smtp::address::{Address, ReversePath};
use applayer::smtp::envelope::{Envelope, Recipient};

use crate::harness::{Conn, Done, Peer, memory_dir, peer, refusing, temp_dir, tool};

/// A message that a sink took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) data: String,
}

/// A mail server that takes everything, but for what a script answers otherwise.
pub(crate) struct Sink {
    pub(crate) peer: Peer,
    pub(crate) taken: Arc<Mutex<Vec<Taken>>>,
    pub(crate) connections: Arc<Mutex<usize>>,
}

impl Sink {
    /// `answer` gets each command line (`.` for the end of a message, `greeting` before the first) and may give the reply;
    /// an empty reply closes the connection.
    pub(crate) fn new(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Sink {
        let taken: Arc<Mutex<Vec<Taken>>> = Arc::default();
        let connections: Arc<Mutex<usize>> = Arc::default();
        let (kept, counted) = (Arc::clone(&taken), Arc::clone(&connections));
        let peer = peer(move |conn| {
            *counted.lock().unwrap() += 1;
            dialogue(conn, &answer, &kept);
        });
        Sink { peer, taken, connections }
    }

    pub(crate) fn taking_all() -> Sink {
        Sink::new(|_| None)
    }

    pub(crate) fn route(&self) -> String {
        format!("*=smtp://{}", self.peer.addr)
    }

    pub(crate) fn mails(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }
}

fn dialogue(mut conn: Conn, answer: &dyn Fn(&str) -> Option<String>, taken: &Mutex<Vec<Taken>>) {
    let say = |conn: &mut Conn, line: &str, usual: &str| -> Option<bool> {
        let reply = answer(line).unwrap_or_else(|| usual.to_owned());
        if reply.is_empty() || !conn.send(format!("{reply}\r\n")) {
            return None;
        }
        Some(reply.starts_with(['2', '3']))
    };
    let mut mail = Taken { from: String::new(), to: Vec::new(), data: String::new() };
    let mut run = || -> Option<()> {
        say(&mut conn, "greeting", "220 sink.test ESMTP")?;
        loop {
            let line = conn.line()?;
            let verb = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    let offer = "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 99999999";
                    let _ = say(&mut conn, &line, offer)?;
                }
                "MAIL" => {
                    mail = Taken { from: address(&line), to: Vec::new(), data: String::new() };
                    say(&mut conn, &line, "250 2.1.0 ok")?;
                }
                "RCPT" => {
                    if say(&mut conn, &line, "250 2.1.5 ok")? {
                        mail.to.push(address(&line));
                    }
                }
                "DATA" if mail.to.is_empty() => {
                    let _ = say(&mut conn, &line, "554 5.5.1 no recipients")?;
                }
                "DATA" => {
                    if !say(&mut conn, &line, "354 go on")? {
                        continue;
                    }
                    loop {
                        let line = conn.line()?;
                        if line == "." {
                            break;
                        }
                        mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                        mail.data.push_str("\r\n");
                    }
                    // Taken before the reply: who does not hear it may send again.
                    let reply = answer(".").unwrap_or_else(|| "250 2.0.0 taken".to_owned());
                    if reply.is_empty() || reply.starts_with('2') {
                        taken.lock().unwrap().push(mail.clone());
                    }
                    if reply.is_empty() || !conn.send(format!("{reply}\r\n")) {
                        return None;
                    }
                }
                "QUIT" => {
                    conn.send("221 2.0.0 bye\r\n");
                    return None;
                }
                _ => {
                    let _ = say(&mut conn, &line, "250 2.0.0 ok")?;
                }
            }
        }
    };
    let _ = run();
}

fn address(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}

/// A recipient without options.
pub(crate) fn to(address: impl AsRef<str>) -> Recipient {
    Recipient::new(Address::parse_lenient(address.as_ref()).unwrap())
}

/// An envelope without options.
pub(crate) fn envelope(sender: &str, recipients: &[&str]) -> Envelope {
    Envelope::new(ReversePath::parse_lenient(sender).unwrap(), recipients.iter().map(to).collect())
}

/// A queue with these messages: sender, recipients, body.
pub(crate) fn enqueue(queue: &Path, messages: &[(&str, &[&str], &str)]) -> Vec<QueueId> {
    let messages = messages
        .iter()
        .map(|(sender, to, body)| NewMessage::new(envelope(sender, to), Blob::memory(body.as_bytes().to_vec())));
    enqueue_all(queue, messages.collect())
}

/// A delivery, and its proof: a message in a Maildir.
pub(crate) fn delivered() -> LeaseOutcome {
    static PROOF: OnceLock<DeliveryProof> = OnceLock::new();
    let file = || {
        let folder = memory_dir();
        let maildir = Maildir::open(folder.path()).unwrap();
        DeliveryProof::Filed(maildir.deliver(b"", &mut &b"\r\n"[..]).unwrap())
    };
    LeaseOutcome::Delivered(PROOF.get_or_init(file).clone())
}

pub(crate) fn enqueue_all(queue: &Path, messages: Vec<NewMessage>) -> Vec<QueueId> {
    block_on(async {
        let store = SqliteStore::open(queue, Process::OneShot).unwrap();
        store.enqueue(messages).await.unwrap()
    })
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Every address in the queue with its state.
fn waiting(queue: &Path) -> Vec<String> {
    block_on(async {
        let store = SqliteStore::open(queue, Process::OneShot).unwrap();
        let page = store.list(Filter::default(), None, 1000).await.unwrap();
        let recipients = page.entries.iter().flat_map(|entry| &entry.envelope.recipients);
        recipients.map(|recipient| format!("{} {}", recipient.to.address, recipient.state)).collect()
    })
}

pub(crate) fn run(queue: &Path, args: &[&str]) -> Done {
    tool("mailq-run").args(["--queue-dir"]).arg(queue).args(["--helo", "client.test"]).args(args).run()
}

const HELLO: &str = "Subject: hello\r\n\r\nhello\r\n.dot\r\n";

#[test]
fn a_pass_delivers_what_is_due_and_says_nothing() {
    let queue = temp_dir();
    let sink = Sink::taking_all();
    enqueue(queue.path(), &[("a@a.test", &["b@b.test", "c@b.test"], HELLO), ("", &["d@d.test"], "\r\nbounce\r\n")]);
    let done = run(queue.path(), &["--route", &sink.route()]);
    done.silent_success();
    assert_eq!(done.text(), "");
    let mut mails = sink.mails();
    mails.sort_by(|one, other| one.from.cmp(&other.from));
    assert_eq!(mails[0], Taken { from: String::new(), to: vec!["d@d.test".into()], data: "\r\nbounce\r\n".into() });
    assert_eq!(
        (mails[1].to.as_slice(), mails[1].data.as_str()),
        (["b@b.test".into(), "c@b.test".into()].as_slice(), HELLO)
    );
    assert!(waiting(queue.path()).is_empty());
    run(queue.path(), &["--route", &sink.route()]).silent_success();
    assert_eq!(sink.mails().len(), 2, "an empty queue sends nothing");
}

#[test]
fn each_attempt_is_a_record() {
    let queue = temp_dir();
    let sink = Sink::new(|line| match line {
        _ if line.contains("later@") => Some("451 4.2.0 mailbox busy".to_owned()),
        _ if line.contains("never@") => Some("550 5.1.1 no such user".to_owned()),
        _ => None,
    });
    let to: &[&str] = &["good@b.test", "later@b.test", "never@b.test"];
    let id = enqueue(queue.path(), &[("a@a.test", to, HELLO)])[0].to_string();
    let done = run(queue.path(), &["--route", &sink.route(), "--json"]);
    done.exits(3);
    done.says("never@b.test: returned to its sender: 550 5.1.1 no such user");
    let records = done.records();
    let attempts: Vec<_> = records.iter().filter(|record| record["type"] == "attempt").collect();
    assert!(attempts.iter().all(|attempt| attempt["queue_id"] == id.as_str() && attempt["attempts"] == 1));
    let outcomes: Vec<_> =
        attempts.iter().map(|it| (it["address"].as_str().unwrap(), it["outcome"].as_str().unwrap())).collect();
    assert_eq!(outcomes, [("good@b.test", "delivered"), ("later@b.test", "deferred"), ("never@b.test", "failed")]);
    assert_eq!((&attempts[1]["code"], &attempts[1]["enhanced"]), (&451.into(), &"4.2.0".into()));
    assert!(attempts[1]["next_try_at"].is_string() && attempts[0]["port"] == sink.peer.addr.port());
    let summary = records.last().unwrap();
    assert_eq!((&summary["delivered"], &summary["deferred"], &summary["failed"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(
        waiting(queue.path()),
        ["good@b.test delivered", "later@b.test queued", "never@b.test failed", "a@a.test queued"],
        "what is final stays as long as the message, and its sender is told"
    );
    // The report is delivered by the next pass; the deferred one is not due.
    let done = run(queue.path(), &["--route", &sink.route()]);
    done.silent_success();
    let report = sink.mails().pop().unwrap();
    assert_eq!((report.from.as_str(), report.to.as_slice()), ("", ["a@a.test".to_owned()].as_slice()));
    for part in ["Final-Recipient: rfc822; never@b.test", "Status: 5.1.1", "Subject: hello"] {
        assert!(report.data.contains(part), "{part} in {}", report.data);
    }
    assert!(!report.data.contains("good@b.test"));
}

#[test]
fn a_deferral_is_no_failure_unless_strict() {
    let queue = temp_dir();
    let dead = refusing();
    let route = format!("*=smtp://{}", dead.addr);
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO)]);
    run(queue.path(), &["--route", &route]).silent_success();
    run(queue.path(), &["--route", &route, "--flush", "--strict"]).exits(75);
    assert_eq!(waiting(queue.path()), ["b@b.test queued"]);
    let listed = tool("mailq-ls").env("APPLAYER_QUEUE", queue.path()).args(["--reason", "refused"]).run();
    listed.silent_success().prints("b@b.test");
}

#[test]
fn what_expires_comes_back_and_what_has_no_sender_is_held() {
    let queue = temp_dir();
    let dead = refusing();
    let route = format!("*=smtp://{}", dead.addr);
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO), ("", &["c@c.test"], HELLO)]);
    for _ in 0..2 {
        run(queue.path(), &["--route", &route, "--flush", "--expire", "0"]).exits(0);
    }
    let done = run(queue.path(), &["--route", &route, "--flush", "--expire", "0"]);
    done.exits(69).says("b@b.test: given up after too long").says("c@c.test: held: no address for a report");
    assert_eq!(waiting(queue.path()), ["c@c.test held", "a@a.test queued"]);
    let sink = Sink::taking_all();
    run(queue.path(), &["--route", &sink.route()]).silent_success();
    assert!(sink.mails()[0].data.contains("Action: failed"));
}

#[test]
fn hosts_are_found_by_mx_and_the_next_one_is_tried() {
    let queue = temp_dir();
    enqueue(queue.path(), &[("a@a.test", &["b@[127.0.0.1]"], HELLO), ("a@a.test", &["c@[IPv6:::ffff]"], HELLO)]);
    let sink = Sink::taking_all();
    let port = sink.peer.addr.port().to_string();
    let done = run(queue.path(), &["--mx-port", &port, "-4", "--json"]);
    done.exits(0);
    assert_eq!(sink.mails().len(), 1);
    assert!(done.text().contains("no IPv4 address"), "{done}");
}

#[test]
fn a_lookup_that_fails_defers_and_is_named() {
    let queue = temp_dir();
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO)]);
    let servfail = crate::harness::udp_peer(|query| {
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        answer[3] = (answer[3] & 0xf0) | 2;
        vec![answer]
    });
    let done = run(queue.path(), &["--resolver", &servfail.to_string(), "--json"]);
    done.exits(0);
    let attempt = &done.records()[0];
    assert_eq!((attempt["outcome"].as_str(), attempt["kind"].as_str()), (Some("deferred"), Some("lookup_failed")));
    let reply = attempt["reply"].as_str().unwrap();
    assert!(reply.contains("MX of b.test") && reply.contains("SERVFAIL"), "{reply}");
}

#[test]
fn one_connection_carries_many_messages_and_a_closed_one_is_replaced() {
    let queue = temp_dir();
    let messages: Vec<(&str, &[&str], &str)> = (0..30).map(|_| ("a@a.test", &["b@b.test"][..], HELLO)).collect();
    enqueue(queue.path(), &messages);
    let sink = Sink::taking_all();
    run(queue.path(), &["--route", &sink.route(), "--per-destination", "1"]).silent_success();
    assert_eq!((sink.mails().len(), *sink.connections.lock().unwrap()), (30, 1));

    enqueue(queue.path(), &messages);
    let count = Mutex::new(0);
    let closing = Sink::new(move |line| {
        if line != "." {
            return None;
        }
        let mut count = count.lock().unwrap();
        *count += 1;
        (*count % 7 == 0).then(|| "421 4.3.2 enough for this connection".to_owned())
    });
    let done = run(queue.path(), &["--route", &closing.route(), "--per-destination", "1", "--json"]);
    done.exits(0);
    assert!(*closing.connections.lock().unwrap() > 1);
    let left = waiting(queue.path()).len();
    assert_eq!(closing.mails().len() + left, 30, "{done}");
}

#[test]
fn an_operator_holds_releases_redirects_and_removes() {
    let queue = temp_dir();
    let edit = |args: &[&str]| tool("mailq-edit").env("APPLAYER_QUEUE", queue.path()).args(args).run();
    let ids: Vec<String> = enqueue(
        queue.path(),
        &[("a@a.test", &["b@b.test"], HELLO), ("a@a.test", &["c@c.test"], HELLO), ("x@x.test", &["d@d.test"], HELLO)],
    )
    .iter()
    .map(QueueId::to_string)
    .collect();
    edit(&["hold", &ids[0]]).silent_success();
    let sink = Sink::taking_all();
    edit(&["rm", "--sender", "x@x.test"]).silent_success();
    edit(&["readdress", &ids[1], "--to", "z@z.test"]).silent_success();
    run(queue.path(), &["--route", &sink.route()]).silent_success();
    assert_eq!(sink.mails().iter().map(|mail| mail.to[0].as_str()).collect::<Vec<_>>(), ["z@z.test"]);
    assert_eq!(waiting(queue.path()), ["b@b.test held"]);
    edit(&["retry", "--domain", "nowhere.test"]).exits(1);
    edit(&["release", &ids[1]]).exits(1).says("not in the queue");
    let other = Sink::taking_all();
    edit(&["reroute", &ids[0], "--to", &format!("smtp://{}", other.peer.addr)]).silent_success();
    run(queue.path(), &["--route", &sink.route()]).silent_success();
    assert_eq!((sink.mails().len(), other.mails().len()), (1, 1));
    assert!(waiting(queue.path()).is_empty());
}

#[test]
fn ids_come_through_a_pipe() {
    let queue = temp_dir();
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO), ("a@a.test", &["c@c.test"], HELLO)]);
    let listed = tool("mailq-ls").env("APPLAYER_QUEUE", queue.path()).args(["--domain", "c.test"]).run();
    let edit =
        |input: &[u8]| tool("mailq-edit").env("APPLAYER_QUEUE", queue.path()).args(["hold", "-"]).stdin(input).run();
    edit(&listed.stdout).silent_success();
    assert_eq!(waiting(queue.path()), ["b@b.test queued", "c@c.test held"]);
    edit(b"").exits(1);
    edit(b"no id\n").exits(65);
    assert_eq!(
        waiting(queue.path()),
        ["b@b.test queued", "c@c.test held"],
        "an empty list means nothing, not everything"
    );
}

#[test]
fn what_is_listed_fits_its_schema() {
    let queue = temp_dir();
    let listed = |args: &[&str]| tool("mailq-ls").env("APPLAYER_QUEUE", queue.path()).args(args).run();
    listed(&[]).silent_success();
    listed(&["--json"]).silent_success();
    listed(&["--domain", "b.test"]).exits(1);
    assert!(!queue.path().join("queue.db").exists(), "looking creates nothing");
    let sink = Sink::new(|line| line.starts_with("RCPT").then(|| "450 4.2.1 later".to_owned()));
    let id = enqueue(queue.path(), &[("a@a.test", &["b@b.test", "c@c.test"], HELLO)])[0].to_string();
    run(queue.path(), &["--route", &sink.route()]).silent_success();
    for args in [&["--json"][..], &["--json", "--count"]] {
        listed(args).silent_success().prints("\"type\":");
    }
    let text = listed(&[]);
    text.silent_success().prints("450 4.2.1 later");
    let first = text.text().lines().next().unwrap().to_owned();
    let fields: Vec<&str> = first.split('\t').collect();
    assert_eq!(
        (fields.len(), fields[0], fields[1], fields[4], fields[5]),
        (8, id.as_str(), "queued", "a@a.test", "b@b.test")
    );
    listed(&["--count"]).prints("1 messages\t2 queued\t0 active\t0 held");
    let show =
        |args: &[&str]| tool("mailq-edit").env("APPLAYER_QUEUE", queue.path()).args(["show", &id]).args(args).run();
    let done = show(&["--json"]);
    done.silent_success();
    assert_eq!(done.records().iter().filter(|record| record["type"] == "attempt").count(), 2);
    assert_eq!(show(&["--message"]).silent_success().stdout, HELLO.as_bytes());
    assert_eq!(show(&["--header"]).silent_success().stdout, b"Subject: hello\r\n");
    let held = tool("mailq-edit").env("APPLAYER_QUEUE", queue.path()).args(["hold", &id, "--json"]).run();
    held.silent_success();
}

#[test]
fn a_dry_run_shows_the_way() {
    let queue = temp_dir();
    enqueue(queue.path(), &[("a@a.test", &["b@[127.0.0.9]", "c@c.test"], HELLO)]);
    let done = run(queue.path(), &["-n", "--route", "c.test=lmtp:/run/lmtp", "--mx-port", "2525"]);
    done.silent_success().prints("[127.0.0.9]\t127.0.0.9:2525\tsmtp\ttry").prints("c.test");
    run(queue.path(), &["-n", "--json", "--mx-port", "2525", "--route", "c.test=lmtp:/x"]).prints("\"type\":\"route\"");
    assert_eq!(waiting(queue.path()).len(), 2);
}

#[test]
fn mail_goes_into_a_maildir_and_over_a_socket() {
    let (queue, box_) = (temp_dir(), temp_dir());
    let maildir = box_.path().join("Maildir");
    for folder in ["tmp", "new", "cur"] {
        std::fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    let forged = format!("Return-Path: <forged@a.test>\r\n{HELLO}");
    enqueue(queue.path(), &[("a@a.test", &["b@b.test", "c@b.test"], &forged)]);
    run(queue.path(), &["--route", &format!("b.test=maildir:{}", maildir.display())]).silent_success();
    let files: Vec<_> = std::fs::read_dir(maildir.join("new")).unwrap().collect();
    assert_eq!(files.len(), 1);
    let filed = std::fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
    let head = "Return-Path: <a@a.test>\nX-Original-To: b@b.test\nX-Original-To: c@b.test\n";
    assert_eq!(filed, format!("{head}{}", HELLO.replace("\r\n", "\n")));
    assert!(waiting(queue.path()).is_empty());
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO)]);
    run(queue.path(), &["--route", "b.test=maildir:/nonexistent/box", "--strict"]).exits(66).says("No such file");
    assert_eq!(waiting(queue.path()), ["b@b.test queued"], "a missing folder is no reason to bounce");
}

#[test]
fn an_operator_stops_a_message_before_its_final_dot() {
    let queue = temp_dir();
    let id = enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO)])[0].to_string();
    let place = queue.path().to_owned();
    let hold = move || {
        tool("mailq-edit").args(["hold", &id, "--queue-dir"]).arg(&place).run().silent_success();
    };
    let sink = Sink::new(move |line| {
        if line == "DATA" {
            // The runner is waiting for 354: it must ask for its lease before it ends the message.
            hold();
        }
        None
    });
    let done = run(queue.path(), &["--route", &sink.route(), "--json"]);
    done.exits(0);
    assert_eq!(sink.mails(), [], "nothing was completed");
    assert_eq!(done.records_of("attempt")[0]["outcome"], "lost");
    assert_eq!(waiting(queue.path()), ["b@b.test held"]);
}

#[test]
fn a_second_runner_leaves_what_the_first_waits_for() {
    let queue = temp_dir();
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO)]);
    let place = queue.path().to_owned();
    let other = Arc::new(Sink::taking_all());
    let second = Arc::clone(&other);
    let sink = Sink::new(move |line| {
        if line == "." {
            // The answer to the message is late; meanwhile another runner makes its pass, eager and recovering.
            run(&place, &["--route", &second.route(), "--flush"]).silent_success();
        }
        None
    });
    run(queue.path(), &["--route", &sink.route()]).silent_success();
    assert_eq!((sink.mails().len(), other.mails().len()), (1, 0), "one copy");
    assert!(waiting(queue.path()).is_empty());
}

#[test]
fn an_operator_returns_mail_and_sees_what_waits() {
    let queue = temp_dir();
    let ids = enqueue(queue.path(), &[("a@a.test", &["b@b.test", "c@c.test"], HELLO), ("", &["d@c.test"], HELLO)]);
    let summary =
        |args: &[&str]| tool("mailq-ls").env("APPLAYER_QUEUE", queue.path()).arg("--summary").args(args).run();
    summary(&[]).silent_success().prints("c.test\t2\t2\t0");
    summary(&["--json"]).prints("\"type\":");
    summary(&["--domain", "x.test"]).exits(1);
    let bounce = |id: &QueueId| {
        tool("mailq-edit").env("APPLAYER_QUEUE", queue.path()).args(["bounce", &id.to_string(), "--json"]).run()
    };
    let done = bounce(&ids[0]);
    done.silent_success();
    assert_eq!(
        waiting(queue.path()),
        ["d@c.test queued", "a@a.test queued", "a@a.test queued"],
        "one report a destination"
    );
    bounce(&ids[1]).silent_success();
    let sink = Sink::taking_all();
    run(queue.path(), &["--route", &sink.route()]).silent_success();
    assert!(sink.mails().iter().all(|mail| mail.from.is_empty() && mail.data.contains("returned by the operator")));
    assert_eq!(sink.mails().len(), 2, "nobody is told about a report that was returned");
}

#[test]
fn a_rate_is_kept() {
    let queue = temp_dir();
    let messages: Vec<(&str, &[&str], &str)> = (0..4).map(|_| ("a@a.test", &["b@b.test"][..], HELLO)).collect();
    enqueue(queue.path(), &messages);
    let sink = Sink::taking_all();
    let begun = std::time::Instant::now();
    run(queue.path(), &["--route", &sink.route(), "--rate", "10/s"]).silent_success();
    assert!(begun.elapsed() >= std::time::Duration::from_millis(300), "three waits of 100 ms");
    assert_eq!(sink.mails().len(), 4);
    run(queue.path(), &["--rate", "fast"]).exits(64);
}

#[test]
fn the_table_of_the_manual_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/applayer-queue.5");
    let text = std::fs::read_to_string(&path).unwrap();
    for transition in Transition::ALL {
        let (name, from, to) = transition.row();
        let from: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
        // What the operator asked for is on the disk before the answer.
        let row = format!("\n{name}|{}|{to}|yes|T{{\n", from.join(", "));
        assert!(text.contains(&row), "{row}");
    }
}
