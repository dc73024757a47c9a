//! Standard streams that are closed, or open the wrong way, when a tool begins: what would read or print ends before it does
//! anything, the rest works, and no message gets into a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use applayer::tool::ALL;

use crate::harness::{peer, server, temp_dir, tool};

/// What a run does with its streams, if all is well.
struct Row {
    tool: &'static str,
    args: &'static str,
    /// What stdin holds, for a run that reads it.
    input: Option<&'static str>,
    prints: bool,
}

const fn row(tool: &'static str, args: &'static str, input: Option<&'static str>, prints: bool) -> Row {
    Row { tool, args, input, prints }
}

/// `{ftp}`, `{smtp}` and `{dns}` are addresses, `{id}` is a message in the queue `q`.
const ROWS: &[Row] = &[
    row("ftpget", "ftp://{ftp}/f -o -", None, true),
    row("ftpget", "ftp://{ftp}/f -v", None, false),
    row("ftpget", "-i -", Some("ftp://{ftp}/f\n"), false),
    row("ftpget", "-n ftp://{ftp}/f", None, true),
    row("ftpput", "- ftp://{ftp}/new", Some("precious"), false),
    row("ftpput", "--json - ftp://{ftp}/new", Some("precious"), true),
    row("ftpput", "-n input ftp://{ftp}/new", None, true),
    row("ftpls", "ftp://{ftp}/", None, true),
    row("ftpls", "--parse -", Some("-rw-r--r-- 1 a b 3 Jan 1 2020 f\n"), true),
    row("ftpdo", "ftp://{ftp}/", Some("mkdir -p made\n"), false),
    row("ftpdo", "ftp://{ftp}/ -", Some("mkdir -p made\npwd\n"), true),
    row("ftpdo", "ftp://{ftp}/ cat f", None, true),
    row("ftpdo", "ftp://{ftp}/ mkdir -p made", None, false),
    row("ftpdo", "-n ftp://{ftp}/ rm f", None, true),
    row("ftpdo", "--user anonymous --password-file - ftp://{ftp}/ mkdir -p made", Some("x\n"), false),
    row("ftpserve", "--listen 127.0.0.1:0 .", None, true),
    row("ftpserve", "--hash-password", Some("pw\n"), true),
    row("smtpsend", "--server {smtp} --from a@a.test --to u@a.test --subject s --body -", Some("x\n"), false),
    row("smtpsend", "--server {smtp} --from a@a.test --to u@a.test --subject s --attach -", Some("x\n"), false),
    row("smtpsend", "--server {smtp} -f a@a.test u@a.test", Some("Subject: s\n\nx\n"), false),
    row("smtpsend", "--server {smtp} -f a@a.test -t --each -", Some("From: a@a.test\nTo: u@a.test\n\nx\n"), false),
    row("smtpsend", "--json --server {smtp} -f a@a.test -t", Some("To: u@a.test\n\nx\n"), true),
    row("smtpsend", "--server {smtp} --from a@a.test --to u@a.test --template input --merge -", Some("a\nx\n"), false),
    row("smtpsend", "--sendmail -bs", Some("QUIT\r\n"), true),
    row("smtpsend", "--sendmail -bp", None, true),
    row("smtpsend", "--sendmail -i root", Some("x\n"), false),
    row("smtpsend", "--server {smtp} --probe --from a@a.test --to u@a.test", None, true),
    row("smtpsend", "-n -t", Some("From: a@a.test\nTo: u@a.test\n\nx\n"), true),
    row("smtpserve", "--listen 127.0.0.1:0 --domain a.test --mailboxes .", None, true),
    row("smtpserve", "--hash-password", Some("pw\n"), true),
    row("mailread", "list -m -", Some("From: a@a.test\nSubject: s\n\nx\n"), true),
    row("mailread", "show -m -", Some("From: a@a.test\nSubject: s\n\nx\n"), true),
    row("mailread", "reply -m -", Some("From: a@a.test\nTo: u@a.test\n\nx\n"), true),
    row("mailq-ls", "--queue-dir {q} -", Some("{id}\n"), true),
    row("mailq-ls", "--queue-dir {q}", None, true),
    row("mailq-edit", "--queue-dir {q} retry -", Some("{id}\n"), false),
    row("mailq-edit", "--queue-dir {q} show -", Some("{id}\n"), true),
    row("mailq-run", "--queue-dir {q} -n --smarthost smtp://{smtp}", None, true),
    row("mailq-run", "--queue-dir {q} --smarthost smtp://u@{smtp} --tls none --password-file -", Some("x\n"), false),
    row("dnsq", "@{dns} www.example.test", None, true),
    row("dnsq", "@{dns} -f -", Some("www.example.test\n"), true),
    row("dnsq", "@{dns} -f - -o names", Some("www.example.test\n"), false),
    row("dnsserve", "--check -", Some("a.test. 60 SOA b. c. 1 2 3 4 5\na.test. 60 NS a.b.\n"), true),
    row("dnsserve", "--listen 127.0.0.1:0 input", None, true),
];

const FILE: &str = "what the server has\n";

#[test]
fn closed_streams_are_no_end_and_no_success() {
    let place = temp_dir();
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir_all(at("mail/u")).unwrap();
    std::fs::create_dir(at("tree")).unwrap();
    std::fs::write(at("tree/f"), FILE).unwrap();
    let ftp = server("ftpserve").arg("--write").arg(at("tree")).start();
    let hash = tool("smtpserve").arg("--hash-password").stdin("x\n").run();
    std::fs::write(at("users"), format!("u:{}\n", hash.text().trim())).unwrap();
    let smtp = server("smtpserve").args(["--domain", "a.test", "--auth-in-clear", "--mailboxes"]).arg(at("mail"));
    let smtp = smtp.arg("--user-file").arg(at("users")).start();
    let dns = crate::dns::example();
    let queued = tool("smtpsend").args(["--queue", "--queue-dir"]).arg(at("q")).args(["-f", "a@a.test", "u@a.test"]);
    queued.stdin("Subject: s\n\nx\n").run().silent_success();
    let queued = tool("mailq-ls").args(["--json", "--queue-dir"]).arg(at("q")).run();
    let id = queued.records()[0]["queue_id"].as_str().unwrap().to_owned();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let trap = peer(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let mut complaints = Vec::new();
    let received = || std::fs::read_dir(at("mail/u/new")).map_or(0, Iterator::count);

    for row in ROWS {
        for redirections in
            ["", "<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-", "0>/dev/null", "1</dev/null"]
        {
            let lost = |stream: [&str; 2]| redirections.split(' ').any(|word| stream.contains(&word));
            let no_output = row.prints && lost([">&-", "1</dev/null"]);
            let no_input = row.input.is_some() && lost(["<&-", "0>/dev/null"]);
            if row.args.contains("--listen") && !no_output {
                continue;
            }
            let wanted = match (no_output, no_input) {
                // Only the script says that it prints.
                (true, true) if row.tool == "ftpdo" => 66,
                (true, _) => 74,
                (_, true) => 66,
                _ => 0,
            };
            let fill = |text: &str| {
                let text = text.replace("{id}", &id).replace("{q}", &at("q").to_string_lossy());
                [("{ftp}", ftp.addr), ("{smtp}", smtp.addr), ("{dns}", dns.addr)].iter().fold(
                    text,
                    |text, (name, addr)| {
                        let addr = if wanted == 0 { *addr } else { trap.addr };
                        text.replace(name, &addr.to_string())
                    },
                )
            };
            let dir = temp_dir();
            std::fs::write(dir.path().join("input"), "a.test. 60 SOA b. c. 1 2 3 4 5\na.test. 60 NS a.b.\n").unwrap();
            let mut run = tool(row.tool).args(fill(row.args).split(' ')).dir(dir.path());
            run = run.env("APPLAYER_QUEUE", dir.path().join("queue")).streams(redirections);
            if let Some(input) = row.input {
                run = run.stdin(fill(input));
            }
            let before = received();
            let _ = std::fs::remove_file(at("tree/new"));
            let done = run.run();
            let stored = std::fs::read(at("tree/new")).ok();
            let told = usize::from(wanted != 0 && !lost(["2>&-", ""]));
            // Nothing but the file itself is in what was opened while a stream was missing.
            let fetched = std::fs::read_to_string(dir.path().join("f")).unwrap_or(FILE.to_owned());
            let sends = row.args.contains("--server {smtp}") && !row.args.contains("--probe") && wanted == 0;
            for (holds, what) in [
                (done.status == wanted, "the status"),
                (wanted == 0 || done.stderr.lines().count() == told, "one line a failure"),
                (received() == before + usize::from(sends) || row.tool == "mailq-run", "what was sent"),
                (stored.is_none() || (wanted == 0 && stored.as_deref() == Some(b"precious")), "what was stored"),
                (fetched == FILE, "what was fetched"),
                (
                    done.stdout.is_empty()
                        == (!row.prints || no_output || (wanted != 0 && !row.args.contains("--json"))),
                    "what was printed",
                ),
            ] {
                if !holds {
                    complaints.push(format!("{what} (not {wanted}): {redirections}\n{done}"));
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert_eq!(calls.load(Ordering::SeqCst), 0, "a server was called although nothing can come of it");
}

#[test]
fn help_needs_stdout_and_no_name_reopens_a_closed_stream() {
    for (name, _) in ALL {
        for flag in ["-h", "--help", "-V"] {
            tool(name).arg(flag).streams(">&-").run().exits(74).says("stdout: closed");
            tool(name).arg(flag).streams("1</dev/null").run().exits(74).says("stdout: closed");
            tool(name).arg(flag).streams("<&- 2>&-").run().silent_success();
        }
        let done = tool(name).arg("--no-such-flag").streams("<&- >&- 2>&-").run();
        assert_eq!((done.status, done.stderr.as_str()), (64, ""), "{done}");
    }
    let tree = temp_dir();
    let ftp = server("ftpserve").arg("--write").arg(tree.path()).start();
    for name in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let done = tool("ftpput").args([name, &format!("ftp://{}/x", ftp.addr)]).streams("<&-").run();
        done.exits(66).says("No such device");
        tool("mailread").args(["list", "-m", name]).streams("<&-").run().exits(66);
        tool("ftpls")
            .args(["--report", &name.replace("in", "out").replace('0', "1"), &ftp.url])
            .streams(">&-")
            .run()
            .exits(73);
    }
    assert_eq!(std::fs::read_dir(tree.path()).unwrap().count(), 0);
    // Records that have another place need no stdout.
    let dir = temp_dir();
    let args = ["list", "--report", "report", "-m", "-"];
    tool("mailread").args(args).stdin("Subject: s\n\nx\n").dir(dir.path()).streams(">&-").run().silent_success();
    assert!(std::fs::read_to_string(dir.path().join("report")).unwrap().contains("\"message\""));
}
