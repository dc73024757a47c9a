//! smtpserve: where mail for a recipient goes: aliases, lists, domains, programs, routes, quotas.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use applayer::queue::sqlite::{Process, SqliteStore};
use applayer::queue::store::{Filter, QueueStore};
use rustix::process::Signal;

use crate::confine::{GROUP, USER, is_root};
use crate::harness::{Run, Server, memory_dir, server, temp_dir, tool};
use crate::queue::{Sink, block_on};
use crate::smtp::{Talk, bob, done, files, mailboxes};

/// One message in the queue.
pub(crate) struct Queued {
    pub(crate) sender: String,
    /// Each recipient, with its route.
    pub(crate) to: Vec<String>,
    pub(crate) text: String,
}

pub(crate) fn queued(queue: &Path) -> Vec<Queued> {
    block_on(async {
        let store = SqliteStore::open(queue, Process::OneShot).unwrap();
        let mut found = Vec::new();
        for entry in store.list(Filter::default(), None, 1_000_000).await.unwrap().entries {
            let mut text = String::new();
            let body = store.content(entry.id).await.unwrap().unwrap();
            body.open_at(0).read_to_string(&mut text).unwrap();
            let to = entry.envelope.recipients.iter().map(|recipient| {
                let route = recipient.route.as_ref().map_or(String::new(), |route| format!(" by {}", route.as_str()));
                format!("{}{route}", recipient.to.address)
            });
            found.push(Queued { sender: entry.envelope.sender.as_str().to_owned(), to: to.collect(), text });
        }
        found
    })
}

/// The texts below `MAILBOX/new`.
fn texts(directory: &Path, mailbox: &str) -> Vec<String> {
    let new = files(directory, &format!("{mailbox}/new"));
    new.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn greeted(server: &Server) -> Talk {
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO alice.test", "250");
    talk
}

/// Sends one message, and returns the reply to it.
fn send(talk: &mut Talk, to: &[&str], body: &str) -> String {
    talk.says("MAIL FROM:<alice@alice.test>", "250");
    to.iter().for_each(|to| talk.says(&format!("RCPT TO:<{to}>"), "250"));
    talk.says("DATA", "354");
    talk.send(body);
    talk.say(".")
}

#[track_caller]
fn taken(talk: &mut Talk, to: &[&str], body: &str) {
    let reply = send(talk, to, body);
    assert!(reply.starts_with("250"), "{to:?}: {reply}");
}

/// A server of `bob.test` with these aliases.
fn with_aliases(directory: &Path, aliases: &str, more: &[&str]) -> Server {
    std::fs::write(directory.join("aliases"), aliases).unwrap();
    let file = directory.join("aliases").to_string_lossy().into_owned();
    bob(directory, &[&["--aliases", &file], more].concat())
}

/// An executable script; returns its path.
fn script(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.to_string_lossy().into_owned()
}

const BODY: &str = "Subject: x\r\n\r\nbody\r\n";

#[test]
fn aliases_lead_to_mailboxes_and_to_others() {
    let directory = mailboxes(&["bob", "eve", "joe", "other.test/ann"]);
    let aliases = "root: bob\n\
                   team: bob, eve, root, joe+team, alice@example.org\n\
                   fwd: Carol@Example.NET\n\
                   bob@other.test ann, bob@bob.test\n\
                   @other.test: ann\n\
                   bob: bob, archive@example.org\n";
    let server = with_aliases(directory.path(), aliases, &["--domain", "other.test"]);
    let mut talk = greeted(&server);
    let count = |mailbox: &str| texts(directory.path(), mailbox).len();
    // A list, one of its members, and another alias of that: each mailbox gets it once, and each of the others, too.
    taken(&mut talk, &["Team+x@bob.test", "bob@bob.test", "root@bob.test"], BODY);
    assert_eq!(["bob", "eve", "joe"].map(count), [1, 1, 1]);
    let text = &texts(directory.path(), "bob")[0];
    let head = "Return-Path: <alice@alice.test>\nX-Original-To: Team+x@bob.test\nX-Original-To: bob@bob.test\n\
                X-Original-To: root@bob.test\nDelivered-To: bob@bob.test\nReceived: ";
    assert!(text.starts_with(head) && text.ends_with("Subject: x\n\nbody\n"), "{text}");
    let text = &texts(directory.path(), "joe")[0];
    assert!(text.contains("\nX-Original-To: Team+x@bob.test\nDelivered-To: joe+team@bob.test\n"), "{text}");
    let found = queued(&directory.path().join("queue"));
    let [list] = &found[..] else { panic!("{} messages", found.len()) };
    assert_eq!(
        (&*list.sender, &list.to[..]),
        ("alice@alice.test", &["archive@example.org", "alice@example.org"].map(String::from)[..])
    );
    assert!(list.text.starts_with("Delivered-To: team@bob.test\r\nReceived: from alice.test"), "{}", list.text);
    assert!(list.text.ends_with("\r\nSubject: x\r\n\r\nbody\r\n"), "{}", list.text);
    let record = &done(&server, "\"type\":\"message\"").records_of("message")[0];
    let deliveries: Vec<String> = record["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {} {} {}", it["recipient"], it["how"], it["to"], it["detail"]).replace('"', ""))
        .collect();
    assert!(deliveries.contains(&"Team+x@bob.test mailbox joe+team@bob.test team".to_owned()), "{deliveries:?}");
    assert!(deliveries.contains(&"bob@bob.test queue archive@example.org null".to_owned()), "{deliveries:?}");
    assert_eq!(record["files"].as_array().unwrap().len(), 3);
    // Catch-all: for what is no mailbox and no alias; a virtual line for one domain.
    taken(&mut talk, &["nobody@other.test", "bob@other.test"], BODY);
    assert_eq!((count("other.test/ann"), count("bob")), (1, 2));
    talk.says("MAIL FROM:<alice@alice.test>", "250");
    talk.says("RCPT TO:<nobody@bob.test>", "550 5.1.1");
    talk.says("RCPT TO:<x@elsewhere.test>", "550 5.7.1");
    talk.says("RSET", "250");
    // A forwarded message that comes back is a loop; one that never was here is none.
    let back = format!("Delivered-To: fwd@bob.test\r\n{BODY}");
    let reply = send(&mut talk, &["fwd@bob.test"], &back);
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
    taken(&mut talk, &["fwd@bob.test"], &back.replace("fwd@", "bob@"));
    let last = queued(&directory.path().join("queue")).pop().unwrap();
    assert_eq!(last.to, ["Carol@Example.NET"]);
    assert_eq!(server.stop(), 0);
}

#[test]
fn lmtp_expands_aliases_for_each_recipient() {
    let directory = mailboxes(&["bob", "eve"]);
    let server = with_aliases(directory.path(), "team: bob, eve\n", &["--lmtp"]);
    let mut talk = Talk::to(server.addr);
    talk.says("LHLO a", "250");
    taken(&mut talk, &["team@bob.test", "bob@bob.test"], BODY);
    assert!(talk.reply().starts_with("250"));
    assert_eq!(["bob", "eve"].map(|mailbox| texts(directory.path(), mailbox).len()), [2, 1]);
}

#[test]
fn a_wrong_alias_file_is_told_at_the_start() {
    let directory = mailboxes(&["bob"]);
    let file = directory.path().join("aliases");
    let run = |more: &[&str]| {
        let run = tool("smtpserve").args(["--domain", "bob.test", "--listen", "127.0.0.1:0", "--mailboxes"]);
        let run = run.arg(directory.path()).arg("--aliases").arg(&file).args(more.iter().copied()).arg("--queue-dir");
        run.arg(directory.path().join("queue")).run()
    };
    for (text, words) in [
        ("a: bob\na: bob\n", "line 2: a is already defined"),
        ("# x\na: b\nb: a\n", "line 2: aliases form a loop: a -> b -> a"),
        ("a: bob,\n  nobody\n", "line 1: nobody@bob.test: no such mailbox or alias"),
        ("a@elsewhere.test: bob\n", "line 1: a@elsewhere.test: elsewhere.test is not a domain of this server"),
        ("a: |/bin/true\n", "line 1: |/bin/true: commands and files are not permitted"),
        ("a: :include:/nowhere/list\n", "/nowhere/list"),
        ("a bob\n", "line 1: a: no colon after the name"),
    ] {
        std::fs::write(&file, text).unwrap();
        run(&[]).exits(78).says(words);
        run(&["--check-config"]).exits(78).says(words);
    }
    std::fs::write(&file, "a: bob, x@elsewhere.test\npostmaster: a\n").unwrap();
    run(&["--check-config"]).exits(0);
    std::fs::write(&file, "a: nobody\n").unwrap();
    run(&["--check-config", "--create"]).exits(0);
    let domains = directory.path().join("domains");
    for (text, words) in [
        ("# x\nx.test\nnot a domain\n", "line 3: not a domain"),
        ("x.test\nBOB.test", "line 2: BOB.test: the domain was named before"),
    ] {
        std::fs::write(&domains, text).unwrap();
        run(&["--create", "--domains", &domains.to_string_lossy()]).exits(78).says(words);
    }
    for (more, words) in [
        (&["--route", "*=lmtp:/socket"][..], "would accept mail for anybody"),
        (&["--route", "x.test=smtp://a:b@host"], "the queue keeps no passwords"),
        (&["--route", "x.test=a", "--route", "X.test=b"], "one domain has one route"),
        (&["--quota", "bob=5M"], "neither name@domain nor @domain"),
        (&["--exec", "/bin/true"], "cannot be used with"),
    ] {
        run(more).exits(64).says(words);
    }
    tool("smtpserve").args(["--domain", "a.test"]).run().exits(64).says("no destination");
    tool("smtpserve").args(["--domain", "a.test", "--exec", "true"]).run().exits(64).says("absolute path");
}

#[test]
fn aliases_and_domains_are_read_again() {
    let directory = mailboxes(&["bob", "eve"]);
    let file = directory.path().join("domains");
    std::fs::write(&file, "# one\nx.test\n").unwrap();
    let domains = file.to_string_lossy().into_owned();
    let server = with_aliases(directory.path(), "a: bob\n", &["--domains", &domains, "--reload-every", "1s"]);
    let mut talk = greeted(&server);
    let mut says = |to: &str| {
        talk.says("MAIL FROM:<alice@alice.test>", "250");
        let reply = talk.say(&format!("RCPT TO:<{to}>"));
        talk.says("RSET", "250");
        reply[..3].to_owned()
    };
    assert_eq!(["a@x.test", "b@x.test", "a@y.test"].map(&mut says), ["250", "550", "550"]);
    std::fs::write(directory.path().join("aliases"), "b: bob\n").unwrap();
    std::fs::write(&file, "y.test\n").unwrap();
    server.signal(Signal::HUP);
    server.stdout.wait_for("\"type\":\"reload\"");
    assert_eq!(["a@x.test", "b@y.test", "a@y.test"].map(&mut says), ["550", "250", "550"]);
    // One of the files is broken: everything stays.
    std::fs::write(&file, "x.test\n").unwrap();
    std::fs::write(directory.path().join("aliases"), "a: bob\nb: nobody\n").unwrap();
    server.signal(Signal::HUP);
    server.stderr.wait_for("line 2: nobody@bob.test: no such mailbox or alias; everything stays as it was");
    server.stdout.wait_for("\"ok\":false");
    assert_eq!(["a@x.test", "b@y.test", "a@y.test"].map(&mut says), ["550", "250", "550"]);
    // A change is noticed without a signal.
    std::fs::write(directory.path().join("aliases"), "a: bob\nb: eve\n").unwrap();
    server.stdout.wait_for("\"why\":\"changed\",\"parts\":[\"recipients\"]}");
    assert_eq!(["a@x.test", "b@y.test"].map(&mut says), ["250", "550"]);
    assert_eq!(server.stop(), 0);
}

fn with_exec(directory: &Path, command: &str, more: &[&str]) -> Server {
    let run = server("smtpserve").args(["--domain", "bob.test", "--json", "--exec", command, "--queue-dir"]);
    run.arg(directory.join("queue")).args(more.iter().copied()).start()
}

#[test]
fn a_program_gets_the_message_and_its_envelope() {
    let directory = temp_dir();
    let out = directory.path().join("out");
    let text = format!("(env; cat; echo \"$# $1\") > {}", out.display());
    let command = format!("{} 'one word' \"two\"", script(directory.path(), "take", &text));
    let server = with_exec(directory.path(), &command, &[]);
    let mut talk = greeted(&server);
    taken(&mut talk, &["Any+Tag@bob.test", "other@bob.test"], "Return-Path: <x@y>\r\nSubject: x\r\n\r\n..dot\r\n");
    let found = std::fs::read_to_string(&out).unwrap();
    for part in [
        "CLIENT_ADDRESS=127.0.0.1\n",
        "CLIENT_HELO=alice.test\n",
        "DOMAIN=bob.test\n",
        "EXTENSION=Tag\n",
        "LOCAL=Any\n",
        "MESSAGE_ID=",
        "PATH=/usr/local/sbin:",
        "RECIPIENT=Any+Tag@bob.test\n",
        "RECIPIENTS=Any+Tag@bob.test\nother@bob.test\n",
        "SENDER=alice@alice.test\n",
        "Return-Path: <alice@alice.test>\nX-Original-To: Any+Tag@bob.test\nX-Original-To: other@bob.test\nReceived: from",
        "\nSubject: x\n\n.dot\n2 one word\n",
    ] {
        assert!(found.contains(part), "{part:?} in {found}");
    }
    assert!(!found.contains("HOME=") && !found.contains("x@y"), "{found}");
    let record = &done(&server, "\"type\":\"message\"").records_of("message")[0];
    assert_eq!(
        (&record["deliveries"][0]["how"], &record["deliveries"][0]["detail"]),
        (&"command".into(), &"Tag".into())
    );
    // Its environment has room for so many recipients.
    talk.says("MAIL FROM:<alice@alice.test>", "250");
    (0..100).for_each(|n| talk.says(&format!("RCPT TO:<a{n}@bob.test>"), "250"));
    talk.says("RCPT TO:<a100@bob.test>", "452 4.5.3");
    drop(talk);
    assert_eq!(server.stop(), 0);
}

#[test]
fn the_exit_status_of_a_program_is_the_answer() {
    let directory = temp_dir();
    let text = "case $LOCAL in hang) sleep 1000 ;; crash) kill -9 $$ ;; esac; echo \"no: $LOCAL\" >&2; exit $LOCAL";
    let command = script(directory.path(), "answer", text);
    let server = with_exec(directory.path(), &command, &["--exec-timeout", "2s"]);
    let mut talk = greeted(&server);
    for (local, expected) in [
        ("0", "250 2.0.0"),
        ("67", "550 5.1.1 no: 67"),
        ("75", "451 4.3.0 no: 75"),
        ("1", "550 5.3.0 no: 1"),
        ("crash", "451 4.3.0 signal 9"),
        ("hang", "451 4.3.0 the program took more than 2 s"),
    ] {
        let reply = send(&mut talk, &[&format!("{local}@bob.test")], BODY);
        assert!(reply.starts_with(expected), "{local}: {reply}");
    }
    assert!(queued(&directory.path().join("queue")).is_empty(), "what was refused is not reported");
    std::fs::remove_file(command).unwrap();
    let reply = send(&mut talk, &["0@bob.test"], BODY);
    assert!(reply.starts_with("451 4.3.0 the program cannot be run"), "{reply}");
    // Only so many at once, and all of them get their turn.
    let at = directory.path().join("at");
    std::fs::create_dir(&at).unwrap();
    let text = format!("mkdir {0}/one 2>/dev/null || exit 67; sleep 0.05; rmdir {0}/one", at.display());
    script(directory.path(), "answer", &text);
    let server = with_exec(directory.path(), &directory.path().join("answer").to_string_lossy(), &["--exec-jobs", "1"]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| taken(&mut greeted(&server), &["a@bob.test"], BODY));
        }
    });
}

#[test]
fn aliases_may_lead_to_programs_and_files() {
    let directory = mailboxes(&["bob", "box/new", "box/cur", "box/tmp"]);
    let at = |name: &str| directory.path().join(name).display().to_string();
    let yes = script(directory.path(), "yes", &format!("echo \"$1 $RECIPIENT\" >> {}; cat > /dev/null", at("ran")));
    let no = script(directory.path(), "no", "echo 'never here'; exit 67");
    let later = script(directory.path(), "later", "exit 75");
    let aliases = format!(
        "one: \"|{yes} one\"\nmbox: {}\nfolder: {}\nno: |{no}\nlater: |{later}\nall: bob, no, one, x@elsewhere.test\n\
         both: one, later\nwait: bob, later\nnull: /dev/null\nbad: {}\n",
        at("mbox"),
        at("box/"),
        at("")
    );
    let server = with_aliases(directory.path(), &aliases, &["--alias-commands"]);
    let mut talk = greeted(&server);
    let ran = || std::fs::read_to_string(directory.path().join("ran")).unwrap_or_default();
    let queue = directory.path().join("queue");
    taken(&mut talk, &["one+x@bob.test"], BODY);
    assert_eq!(ran(), "one one+x@bob.test\n");
    taken(&mut talk, &["mbox@bob.test", "folder@bob.test", "null@bob.test"], "Subject: x\r\n\r\nFrom me\r\n");
    let mbox = std::fs::read_to_string(directory.path().join("mbox")).unwrap();
    assert!(mbox.starts_with("From alice@alice.test ") && mbox.ends_with("\nSubject: x\n\n>From me\n\n"), "{mbox}");
    assert!(mbox.contains("\nX-Original-To: mbox@bob.test\n"), "{mbox}");
    assert_eq!(texts(directory.path(), "box").len(), 1);
    // Alone its answer is that of the server. While nothing is final, a temporary one is that of all.
    for (to, expected) in [("no", "550 5.1.1 never here"), ("later", "451 4.3.0"), ("wait", "451 4.3.0")] {
        let reply = send(&mut talk, &[&format!("{to}@bob.test")], BODY);
        assert!(reply.starts_with(expected), "{to}: {reply}");
    }
    assert!(
        queued(&queue).is_empty()
            && texts(directory.path(), "bob").is_empty()
            && files(directory.path(), "bob/tmp").is_empty()
    );
    // Beside others it is reported, and the others get the message once.
    taken(&mut talk, &["all@bob.test"], BODY);
    assert_eq!((ran(), texts(directory.path(), "bob").len()), ("one one+x@bob.test\none all@bob.test\n".to_owned(), 1));
    let found = queued(&queue);
    let [forward, report] = &found[..] else { panic!("{} messages", found.len()) };
    assert_eq!(
        (&forward.to[..], &report.to[..]),
        (&["x@elsewhere.test".to_owned()][..], &["alice@alice.test".to_owned()][..])
    );
    assert_eq!(report.sender, "");
    for part in ["Final-Recipient: rfc822; all@bob.test", "Action: failed", "Status: 5.1.1", "never here"] {
        assert!(report.text.contains(part), "{part} in {}", report.text);
    }
    // A temporary failure after something is final is reported too: a second try would be a second copy for the others.
    taken(&mut talk, &["both@bob.test"], BODY);
    let report = queued(&queue).pop().unwrap();
    assert!(report.text.contains("Status: 5.3.0") && report.text.contains("temporary failure"), "{}", report.text);
    done(&server, "\"what\":\"recipient\",\"ip\"");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_full_mailbox_is_refused_and_holds_no_list_up() {
    let directory = mailboxes(&["bob", "eve", "joe"]);
    let quota = ["--quota", "2K,3", "--quota", "eve@bob.test=1M", "--quota", "@bob.test=4K"];
    let server = with_aliases(directory.path(), "team: bob, eve\n", &quota);
    let mut talk = greeted(&server);
    let large = format!("Subject: x\r\n\r\n{}", "0123456789abcde\r\n".repeat(200));
    let size =
        |mailbox: &str| std::fs::read_to_string(directory.path().join(mailbox).join("maildirsize")).unwrap_or_default();
    taken(&mut talk, &["bob@bob.test"], &large);
    let bytes = texts(directory.path(), "bob")[0].len();
    assert_eq!(size("bob"), format!("4096S\n0 0\n{bytes} 1\n"));
    // It does not fit: alone the answer is that of the server, in a list it is a report.
    let reply = send(&mut talk, &["bob@bob.test"], &large);
    assert!(reply.starts_with("452 4.2.2 mailbox is full"), "{reply}");
    assert!(queued(&directory.path().join("queue")).is_empty());
    taken(&mut talk, &["team@bob.test"], &large);
    assert_eq!(["bob", "eve"].map(|mailbox| texts(directory.path(), mailbox).len()), [1, 1]);
    assert!(size("eve").starts_with("1048576S\n"), "{}", size("eve"));
    let found = queued(&directory.path().join("queue"));
    let [report] = &found[..] else { panic!("{} messages", found.len()) };
    assert!(
        report.text.contains("Final-Recipient: rfc822; bob@bob.test") && report.text.contains("Status: 5.2.2"),
        "{}",
        report.text
    );
    // What is full already is refused at RCPT.
    let left = 4096 - bytes;
    std::fs::write(directory.path().join("bob/new/1.a.b"), vec![b'x'; left]).unwrap();
    std::fs::remove_file(directory.path().join("bob/maildirsize")).unwrap();
    talk.says("MAIL FROM:<alice@alice.test>", "250");
    talk.says("RCPT TO:<bob@bob.test>", "452 4.2.2");
    talk.says("RSET", "250");
    // Room is seen although nobody told of it.
    std::fs::remove_file(directory.path().join("bob/new/1.a.b")).unwrap();
    std::fs::remove_file(directory.path().join("bob/maildirsize")).unwrap();
    taken(&mut talk, &["bob@bob.test"], BODY);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_domain_goes_to_its_server_through_the_queue() {
    let directory = mailboxes(&["bob"]);
    let sink = Sink::taking_all();
    let route = sink.route();
    let hop = route.split_once('=').unwrap().1;
    let (one, below) = (format!("x.test={hop}"), format!(".sub.test={hop}"));
    let aliases = "bob@x.test: bob@bob.test, kept@x.test\nteam: bob, ann@x.test, zoe@elsewhere.test\n";
    let server = with_aliases(directory.path(), aliases, &["--route", &one, "--route", &below]);
    let mut talk = greeted(&server);
    taken(&mut talk, &["any+tag@X.test", "a@b.sub.test", "bob@x.test", "team@bob.test"], BODY);
    talk.says("MAIL FROM:<alice@alice.test>", "250");
    talk.says("RCPT TO:<a@sub.test>", "550 5.7.1");
    let mut found: Vec<String> =
        queued(&directory.path().join("queue")).into_iter().map(|it| it.to.join(", ")).collect();
    found.sort();
    assert_eq!(
        found,
        [
            format!("ann@x.test by {hop}"),
            format!("any+tag@X.test by {hop}, a@b.sub.test by {hop}"),
            format!("kept@x.test by {hop}"),
            "zoe@elsewhere.test".to_owned(),
        ]
    );
    let run = tool("mailq-run").args([
        "--flush",
        "--json",
        "--route",
        "elsewhere.test=maildir:/nowhere/at/all",
        "--queue-dir",
    ]);
    let done = run.arg(directory.path().join("queue")).run();
    let delivered = done.records_of("attempt").into_iter().filter(|record| record["outcome"] == "delivered").count();
    assert_eq!(delivered, 4, "{done}");
    assert_eq!(texts(directory.path(), "bob").len(), 1);
}

#[test]
fn a_sender_hears_what_became_of_an_alias() {
    let directory = mailboxes(&["bob", "eve"]);
    let server =
        with_aliases(directory.path(), "two: bob, eve\nmixed: bob, x@elsewhere.test\none: y@elsewhere.test\n", &[]);
    let mut talk = greeted(&server);
    talk.says("MAIL FROM:<alice@alice.test>", "250");
    for to in ["two", "mixed", "one"] {
        talk.says(&format!("RCPT TO:<{to}@bob.test> NOTIFY=SUCCESS,FAILURE"), "250");
    }
    talk.says("DATA", "354");
    talk.send(BODY);
    talk.says(".", "250");
    let found = queued(&directory.path().join("queue"));
    let reports: Vec<&str> = found.iter().filter(|it| it.sender.is_empty()).map(|it| it.text.as_str()).collect();
    assert_eq!(reports.len(), 2);
    let of = |action: &str| reports.iter().find(|text| text.contains(&format!("Action: {action}\r\n"))).unwrap();
    assert!(of("delivered").contains("Final-Recipient: rfc822; two@bob.test"));
    assert!(of("expanded").contains("Final-Recipient: rfc822; mixed@bob.test"));
    let wishes = block_on(async {
        let store = SqliteStore::open(&directory.path().join("queue"), Process::OneShot).unwrap();
        let entries = store.list(Filter::default(), None, 100).await.unwrap().entries;
        let recipients = entries.into_iter().flat_map(|entry| entry.envelope.recipients);
        let wished =
            recipients.filter_map(|it| Some(format!("{} {} {}", it.to.address, it.to.notify?, it.to.orcpt?.as_str())));
        wished.collect::<Vec<_>>()
    });
    let expected =
        ["x@elsewhere.test FAILURE rfc822;mixed@bob.test", "y@elsewhere.test SUCCESS,FAILURE rfc822;one@bob.test"];
    assert_eq!(wishes, expected);
}

/// As root: mailboxes of several owners, and programs without root's rights and outside the sandbox.
#[test]
fn aliases_work_for_several_owners() {
    if !is_root() {
        return;
    }
    let directory = memory_dir();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let make = |name: &str, owner: u32| {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
    };
    make("mail", 0);
    make("mail/bob", 54331);
    make("mail/eve", 54332);
    make("out", USER);
    make("queue", USER);
    let out = directory.path().join("out/ran");
    let id = script(directory.path(), "id", &format!("(id -u; id -g; grep Cap /proc/self/status) > {}", out.display()));
    std::fs::write(directory.path().join("aliases"), format!("team: bob, eve\nrun: |{id}\n")).unwrap();
    std::fs::write(directory.path().join("domains"), "other.test\n").unwrap();
    let start = |more: &[&str]| -> Run {
        let run =
            server("smtpserve").gives_up_root().args(["--domain", "a.test", "--alias-commands", "-v", "--aliases"]);
        let run =
            run.arg(directory.path().join("aliases")).args(["--run-as", &format!("{USER}:{GROUP}"), "--queue-dir"]);
        run.arg(directory.path().join("queue"))
            .arg("--mailboxes")
            .arg(directory.path().join("mail"))
            .arg("--domains")
            .arg(directory.path().join("domains"))
            .args(more.iter().copied())
    };
    let serving = start(&["--quota", "1K"]).start();
    let mut talk = greeted(&serving);
    taken(&mut talk, &["team@a.test", "run@a.test"], BODY);
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.starts_with(&format!("{USER}\n{GROUP}\n")) && text.contains("CapPrm:\t0000000000000000"), "{text}");
    for (name, owner) in [("bob", 54331), ("eve", 54332)] {
        let sum = directory.path().join("mail").join(name).join("maildirsize");
        let text = std::fs::read_to_string(&sum).unwrap();
        assert!(text.starts_with("1024S\n0 0\n") && text.ends_with(" 1\n"), "{text}");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&sum.metadata().unwrap()), owner);
        assert_eq!(files(directory.path(), &format!("mail/{name}/new")).len(), 1);
    }
    let reply = send(&mut talk, &["bob@a.test"], &"0123456789abcde\r\n".repeat(60));
    assert!(reply.starts_with("452 4.2.2"), "{reply}");
    // A command that a reload brings is run, too; one that no file names is not.
    std::fs::remove_file(&out).unwrap();
    std::fs::write(directory.path().join("aliases"), format!("team: bob, eve\nrun: \"|{id} again\"\n")).unwrap();
    serving.signal(Signal::HUP);
    serving.stdout.wait_for("reload");
    taken(&mut talk, &["run@a.test"], BODY);
    assert!(out.exists());
    // The helper was started without the directory of another domain: a reload says so, and nothing is replaced.
    make("mail/new.test", 0);
    std::fs::write(directory.path().join("domains"), "new.test\n").unwrap();
    serving.signal(Signal::HUP);
    serving.stderr.wait_for("new.test: the directory of a new domain, with mailboxes of several owners");
    serving.stderr.wait_for("a restart serves it");
    talk.says("MAIL FROM:<alice@alice.test>", "250");
    talk.says("RCPT TO:<bob@new.test>", "550");
    drop(talk);
    assert_eq!(serving.stop(), 0);
}

/// A sender who cannot be told of a failure hears of it at once, even if others get a second copy.
#[test]
fn what_nobody_is_told_is_refused() {
    let directory = mailboxes(&["bob"]);
    let yes = script(directory.path(), "yes", "cat > /dev/null");
    let later = script(directory.path(), "later", "exit 75");
    let no = script(directory.path(), "no", "exit 67");
    let aliases = format!("both: bob, |{yes}, |{later}\nsome: bob, |{yes}, |{no}\nfull: bob, |{yes}\n");
    let server = with_aliases(directory.path(), &aliases, &["--alias-commands", "--quota", "bob@bob.test=2K"]);
    let mut talk = greeted(&server);
    let large = "0123456789abcde\r\n".repeat(200);
    for (mail, to, body, expected) in [
        ("<a@a.test>", "<both@bob.test>", BODY, "250"),
        ("<>", "<both@bob.test>", BODY, "451 4.3.0"),
        ("<a@a.test>", "<both@bob.test> NOTIFY=NEVER", BODY, "451 4.3.0"),
        ("<>", "<some@bob.test>", BODY, "250"),
        ("<a@a.test>", "<full@bob.test>", &large, "250"),
        ("<>", "<full@bob.test>", &large, "452 4.2.2"),
    ] {
        talk.says(&format!("MAIL FROM:{mail}"), "250");
        talk.says(&format!("RCPT TO:{to}"), "250");
        talk.says("DATA", "354");
        talk.send(body);
        talk.says(".", expected);
    }
    assert_eq!(texts(directory.path(), "bob").len(), 2);
    assert_eq!(queued(&directory.path().join("queue")).len(), 2, "the reports to those who can be told");
}
