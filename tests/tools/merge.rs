//! smtpsend --template and --merge: one message a row, noted, repeatable, and nothing injected.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use crate::harness::{Conn, Done, Peer, Run, binary, peer, temp_dir, tool};
use crate::mail::{Taken, sink};

const TEMPLATE: &str = "From: Shop <shop@shop.test>\nTo: {{name}} <{{email}}>\nSubject: Order {{ order }}\nX-Order: no {{order}}\n\n\
                        Hello {{name}},\n\nyour order {{order}} is on its way. \\{{literal}}\n";

/// A folder with the template and rows; the merge of both to this server.
fn merge(dir: &Path, rows: &str, server: &Peer) -> Run {
    std::fs::write(dir.join("template"), TEMPLATE).unwrap();
    std::fs::write(dir.join("rows"), rows).unwrap();
    run(dir, server)
}

fn run(dir: &Path, server: &Peer) -> Run {
    let url = format!("smtp://{}", server.addr);
    tool("smtpsend").args(["--server", &url, "--template", "template", "--merge", "rows", "--json"]).dir(dir)
}

fn text(taken: &Taken) -> String {
    String::from_utf8(taken.message.clone()).unwrap().replace("\r\n", "\n")
}

fn outcomes(done: &Done) -> Vec<String> {
    done.records_of("row").iter().map(|row| format!("{}:{}", row["row"], row["outcome"].as_str().unwrap())).collect()
}

#[test]
fn each_row_is_a_message() {
    let dir = temp_dir();
    let (server, taken) = sink(|_| None);
    let rows = "name,email,order\nAnn,ann@a.test,1\n\"Müller, Bob\",bob@b.test,2\n";
    let done = merge(dir.path(), rows, &server).run();
    assert_eq!(outcomes(done.exits(0)), ["1:delivered", "2:delivered"]);
    assert_eq!(done.records_of("recipient")[1]["source"], "rows[2]");
    let taken = taken.lock().unwrap();
    let envelopes: Vec<_> = taken.iter().map(|it| (it.sender.as_str(), it.recipients.join(","))).collect();
    assert_eq!(envelopes, [("shop@shop.test", "ann@a.test".to_owned()), ("shop@shop.test", "bob@b.test".to_owned())]);
    let (first, second) = (text(&taken[0]), text(&taken[1]));
    assert!(
        first.contains("\nTo: Ann <ann@a.test>\nSubject: Order 1\n") && first.contains("\nX-Order: no 1\n"),
        "{first}"
    );
    assert!(first.ends_with("\n\nHello Ann,\n\nyour order 1 is on its way. {{literal}}\n"), "{first}");
    assert!(second.contains("=?UTF-8?") && second.contains("M=C3=BCller"), "{second}");
    let id = |text: &str| text.lines().find(|line| line.starts_with("Message-ID:")).unwrap().to_owned();
    assert_ne!(id(&first), id(&second));
}

#[test]
fn a_template_alone_and_fields_in_flags() {
    let dir = temp_dir();
    let (server, taken) = sink(|_| None);
    let args = ["--set", "name=Ann", "--set", "email=ann@a.test", "--set", "order=7", "--subject", "again: {{order}}"];
    std::fs::write(dir.path().join("template"), TEMPLATE).unwrap();
    let url = format!("smtp://{}", server.addr);
    let send = || tool("smtpsend").args(["--server", &url, "--template", "template"]).dir(dir.path());
    send().args(args).run().exits(0).silent_success();
    assert!(text(&taken.lock().unwrap()[0]).contains("\nSubject: again: 7\n"));
    send().run().exits(65).says("no column is called name");
    // Rows from stdin, everything else in flags; HTML is escaped, the text made from it is not.
    std::fs::write(dir.path().join("page"), "<p>Dear {{who}}</p>").unwrap();
    let flags = ["--from", "a@a.test", "--html", "page", "--merge", "-", "{{to}}"];
    let rows = "{\"to\":\"x@x.test\",\"who\":\"A & B <c>\"}\n";
    tool("smtpsend").args(["--server", &url]).args(flags).dir(dir.path()).stdin(rows).run().exits(0).silent_success();
    let taken = taken.lock().unwrap();
    let last = text(taken.last().unwrap());
    assert_eq!(taken.last().unwrap().recipients, ["x@x.test"]);
    assert!(last.contains("<p>Dear A &amp; B &lt;c&gt;</p>") && last.contains("\nDear A & B <c>\n"), "{last}");
}

#[test]
fn what_cannot_be_is_said_before_anything_is_sent() {
    let dir = temp_dir();
    let (server, taken) = sink(|_| None);
    merge(dir.path(), "name,email\nAnn,ann@a.test\n", &server).run().exits(65).says("no column is called order");
    std::fs::write(dir.path().join("template"), "To: {{name\n\nx\n").unwrap();
    run(dir.path(), &server).run().exits(65).says("no }}");
    let base = ["--server", "smtp://127.0.0.1:1", "--merge"];
    let usage = |more: &[&str]| tool("smtpsend").args(base).args(more).dir(dir.path()).run();
    usage(&["rows", "--each", "x"]).exits(64);
    usage(&["-", "--template", "-"]).exits(64).says("only one reader of stdin");
    usage(&["rows", "--set", "x"]).exits(64).says("no =");
    usage(&["nowhere", "--to", "x@x.test", "--body", "rows"]).exits(66);
    tool("smtpsend").args(["--results", "x", "--to", "x@x.test"]).run().exits(64);
    assert!(taken.lock().unwrap().is_empty());
}

#[test]
fn nothing_is_injected_by_a_row() {
    let nasty = [
        "x\r\nBcc: eve@evil.test",
        "x\r\nRCPT TO:<eve@evil.test>\r\nDATA",
        "x\n.\r\nMAIL FROM:<eve@evil.test>",
        "x\0",
        "eve@evil.test, x",
        "x>,<eve@evil.test",
        "x> NOTIFY=NEVER",
        "eve@evil.test; x:",
        "\"Eve\" <eve@evil.test>",
        "(eve@evil.test)",
        "{{name}}",
        "=?utf-8?q?eve=40evil.test?=",
        "é\u{2028}Bcc: eve@evil.test",
        "\u{202e}x",
    ];
    let dir = temp_dir();
    let commands = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&commands);
    let (server, taken) = sink(move |line| {
        heard.lock().unwrap().push(line.to_owned());
        None
    });
    let good = ("Ann", "ann@a.test", "1");
    let mut rows = String::new();
    for value in nasty {
        for (name, email, order) in [(value, good.1, good.2), (good.0, value, good.2), (good.0, good.1, value)] {
            let row = serde_json::json!({ "name": name, "email": email, "order": order });
            rows.push_str(&format!("{row}\n"));
        }
    }
    let done = merge(dir.path(), &rows, &server).args(["--results", "results"]).run();
    assert_eq!(done.exits(65).records_of("row").len() + done.records_of("error").len(), nasty.len() * 3, "\n{done}");
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), done.records_of("row").len());
    for message in taken.iter() {
        assert_eq!((message.sender.as_str(), message.recipients.len()), ("shop@shop.test", 1), "{message:?}");
        // The one address of the row, whatever it is: never one that stands beside something else.
        assert!(!message.recipients[0].contains("evil.test"), "{message:?}");
        let text = text(message);
        let header = text.split("\n\n").next().unwrap();
        let names: Vec<&str> = header
            .lines()
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split(':').next().unwrap())
            .collect();
        let expected = ["Date", "From", "To", "Subject", "Message-ID", "X-Order", "MIME-Version", "Content-Type"];
        assert_eq!(names[..8], expected, "{header}");
        assert_eq!(names.len(), 9, "{header}");
    }
    for command in commands.lock().unwrap().iter() {
        let known = ["EHLO ", "MAIL FROM:<shop@shop.test>", "RCPT TO:<", "DATA", "QUIT", "RSET"];
        assert!(known.iter().any(|known| command.starts_with(known)), "{command}");
        assert!(!command.contains("evil") && !command.contains("NOTIFY"), "{command}");
    }
}

#[test]
fn a_row_chooses_among_files_and_nothing_else() {
    let dir = temp_dir();
    let (server, taken) = sink(|_| None);
    std::fs::create_dir(dir.path().join("bills")).unwrap();
    std::fs::write(dir.path().join("bills/7.pdf"), "seven").unwrap();
    std::fs::write(dir.path().join("secret.pdf"), "secret").unwrap();
    let rows: String = ["7", "../secret", "..", "", "7.pdf;name=x", "/etc/passwd", "8"]
        .map(|order| format!("{}\n", serde_json::json!({"name": "A", "email": "a@a.test", "order": order})))
        .concat();
    let done =
        merge(dir.path(), &rows, &server).args(["--attach", "bills/{{order}}.pdf;name=bill {{order}}.pdf"]).run();
    let kinds: Vec<_> =
        done.exits(3).records_of("error").iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["bad_data", "bad_data", "bad_data", "bad_data", "bad_data", "no_input"], "\n{done}");
    let taken = taken.lock().unwrap();
    assert!(taken.len() == 1 && text(&taken[0]).contains("filename=\"bill 7.pdf\""), "{taken:?}");
}

#[test]
fn what_was_settled_is_not_sent_again() {
    let dir = temp_dir();
    let rows = "name,email,order\nA,a@a.test,1\nB,later@b.test,2\nC,never@c.test,3\nD,\"\",4\n";
    let (server, taken) = sink(|line| match line {
        line if line.contains("<later@") => Some("451 4.2.1 later"),
        line if line.contains("<never@") => Some("550 5.1.1 nobody"),
        _ => None,
    });
    let noted = ["--results", "results"];
    let done = merge(dir.path(), rows, &server).args(noted).run();
    assert_eq!(
        outcomes(done.exits(65)),
        ["1:delivered", "2:deferred", "3:refused"],
        "the fourth has no recipient\n{done}"
    );
    assert_eq!(taken.lock().unwrap().len(), 1);
    let (server, taken) = sink(|_| None);
    let more = "name,email,order\nA,a@a.test,1\nB,later@b.test,2\nC,never@c.test,3\nD,d@d.test,4\nE,e@e.test,5\n";
    let done = merge(dir.path(), more, &server).args(noted).run();
    assert_eq!(outcomes(done.exits(0)), ["2:delivered", "4:delivered", "5:delivered"], "\n{done}");
    assert_eq!(done.records_of("summary")[0]["skipped"], 2);
    let to: Vec<String> = taken.lock().unwrap().iter().map(|it| it.recipients.concat()).collect();
    assert_eq!(to, ["later@b.test", "d@d.test", "e@e.test"]);
    // A row that is another one than before is found out.
    let moved = more.replace("A,a@a.test,1\n", "X,x@x.test,0\n");
    merge(dir.path(), &moved, &server).args(noted).run().exits(65).says("not the row that results knows");
    // Of several recipients those wait who were not settled.
    let (server, _taken) = sink(|line| line.contains("<later@").then_some("451 4.2.1 later"));
    let both = |server: &Peer| {
        let args = ["--cc", "later@b.test", "--partial", "--results", "both"];
        merge(dir.path(), "name,email,order\nA,a@a.test,1\n", server).args(args).run()
    };
    assert_eq!(outcomes(both(&server).exits(75)), ["1:mixed"]);
    let (server, taken) = sink(|_| None);
    assert_eq!(outcomes(both(&server).exits(0)), ["1:delivered"]);
    assert_eq!(taken.lock().unwrap()[0].recipients, ["later@b.test"]);
}

#[test]
fn a_killed_merge_repeats_what_was_in_flight_and_says_so() {
    for connections in [1, 4] {
        let dir = temp_dir();
        let names: Vec<String> = (0..60).map(|number| format!("user{number}@a.test")).collect();
        let rows: String = names.iter().map(|name| format!("N,{name},1\n")).collect();
        let rows = format!("name,email,order\n{rows}");
        let taken: Arc<Mutex<Vec<Taken>>> = Arc::default();
        let (told, hears) = mpsc::channel();
        let kept = Arc::clone(&taken);
        let server = peer(move |mut conn: Conn| {
            conn.send("220 x\r\n");
            let (mut current, mut in_data, mut count) = (Taken::default(), false, 0);
            while let Some(line) = conn.line() {
                let reply = match line.as_str() {
                    "." if in_data => {
                        (in_data, count) = (false, count + 1);
                        kept.lock().unwrap().push(std::mem::take(&mut current));
                        if count == 10 {
                            // The tenth message is taken, and nobody hears of it.
                            let _ = told.send(());
                            conn.until_closed();
                            return;
                        }
                        "250 taken"
                    }
                    _ if in_data => continue,
                    "DATA" => {
                        in_data = true;
                        "354 go on"
                    }
                    line if line.starts_with("EHLO") => "250-x\r\n250 PIPELINING",
                    line => {
                        let address = line.strip_prefix("RCPT TO:<").and_then(|rest| rest.strip_suffix('>'));
                        current.recipients.extend(address.map(str::to_owned));
                        "250 ok"
                    }
                };
                conn.send(format!("{reply}\r\n"));
            }
        });
        std::fs::write(dir.path().join("template"), TEMPLATE).unwrap();
        std::fs::write(dir.path().join("rows"), &rows).unwrap();
        let mut child = std::process::Command::new(binary("smtpsend"));
        child.args(["--server", &format!("smtp://{}", server.addr), "--template", "template", "--merge", "rows"]);
        child.args(["--results", "results", "--concurrency", &connections.to_string()]).current_dir(dir.path());
        let mut child = child.env_clear().spawn().unwrap();
        (0..connections).for_each(|_| hears.recv_timeout(std::time::Duration::from_secs(20)).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        let before = taken.lock().unwrap().len();
        assert!(before < names.len(), "it was killed half-way");
        let (second, again) = sink(|_| None);
        let done = run(dir.path(), &second).args(["--results", "results"]).run();
        let warned = done.exits(0).stderr.matches("it may arrive twice").count();
        assert_eq!(warned, connections, "one a connection\n{done}");
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for it in taken.lock().unwrap().iter().chain(again.lock().unwrap().iter()) {
            *count.entry(it.recipients.concat()).or_default() += 1;
        }
        assert_eq!(count.len(), names.len(), "everybody has it");
        let twice = count.values().filter(|count| **count > 1).count();
        assert!(twice == warned && count.values().all(|count| *count <= 2), "{twice} twice, {warned} warned of");
        let skipped = done.records_of("summary")[0]["skipped"].as_u64().unwrap() as usize;
        assert_eq!(skipped + done.records_of("row").len(), names.len());
    }
}

#[test]
fn a_dry_run_is_an_mbox_and_a_rate_is_kept() {
    let dir = temp_dir();
    let (server, taken) = sink(|_| None);
    let rows: String = (0..4).map(|number| format!("N,n{number}@a.test,{number}\n")).collect();
    let rows = format!("name,email,order\n{rows}");
    std::fs::write(dir.path().join("rows"), &rows).unwrap();
    std::fs::write(dir.path().join("template"), TEMPLATE).unwrap();
    let dry = tool("smtpsend")
        .args(["-n", "--template", "template", "--merge", "rows", "--results", "r"])
        .dir(dir.path())
        .run();
    std::fs::write(dir.path().join("box"), &dry.exits(0).stdout).unwrap();
    let listed = tool("mailread").args(["list", "-m", "box"]).dir(dir.path()).run();
    assert_eq!(listed.exits(0).text().lines().count(), 4, "{listed}");
    assert!(!dir.path().join("r").exists() && taken.lock().unwrap().is_empty());
    let began = std::time::Instant::now();
    merge(dir.path(), &rows, &server).args(["--rate", "20/s", "--concurrency", "3"]).run().exits(0);
    assert!(began.elapsed() >= std::time::Duration::from_millis(150));
    assert_eq!(taken.lock().unwrap().len(), 4);
}

#[test]
fn rows_go_into_the_queue() {
    let dir = temp_dir();
    let (server, _) = sink(|_| None);
    let rows: String = (0..150).map(|number| format!("N,n{number}@a.test,{number}\n")).collect();
    merge(dir.path(), &format!("name,email,order\n{rows}"), &server);
    let queue = || {
        let args =
            ["--queue", "--queue-dir", "q", "--template", "template", "--merge", "rows", "--results", "r", "--json"];
        tool("smtpsend").args(args).dir(dir.path()).run()
    };
    assert_eq!(queue().exits(0).records_of("row").len(), 150);
    assert_eq!(queue().exits(0).records_of("summary")[0]["skipped"], 150);
    let listed = tool("mailq-ls").args(["--queue-dir", "q"]).dir(dir.path()).run();
    assert_eq!(listed.exits(0).text().lines().count(), 150);
}
