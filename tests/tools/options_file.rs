//! Options files: which are read, what wins, what is refused, what `--show-config` says.

use std::os::unix::fs::PermissionsExt;

use crate::ftp_get::Tree;
use crate::harness::{temp_dir, tool};
use crate::queue::Sink;

/// All tools, and whether they have default files.
const TOOLS: [(&str, bool); 13] = [
    ("smtpsend", true),
    ("mailq-run", true),
    ("mailq-ls", true),
    ("mailq-edit", true),
    ("smtpserve", true),
    ("ftpserve", true),
    ("dnsserve", true),
    ("dnsq", false),
    ("ftpget", false),
    ("ftpput", false),
    ("ftpls", false),
    ("ftpdo", false),
    ("mailread", false),
];

#[test]
fn only_tools_of_a_host_have_default_files() {
    for (name, has) in TOOLS {
        let home = temp_dir();
        Tree::new(home.path()).file(&format!(".config/applayer/{name}.conf"), "json\n");
        let shown = |args: &[&str]| {
            let run = tool(name).home(home.path()).env("APPLAYER_CONFIG", "").args(args);
            run.arg("--show-config").run().text().to_owned()
        };
        let file = home.path().join(format!(".config/applayer/{name}.conf"));
        let line = format!("# {}:1\njson\n", file.display());
        assert_eq!(shown(&[]).contains(&line), has, "{name}: {}", shown(&[]));
        assert!(!shown(&["--config", "-"]).contains("json"), "{name}");
        let named = shown(&["--config", file.to_str().unwrap()]);
        assert!(named.contains(&line), "{name}: {named}");
        let twice = tool(name).home(home.path()).env("APPLAYER_CONFIG", &file).arg("--show-config").run();
        twice.exits(0).prints(&line);
        // What is shown is a file again, and says the same.
        let again = home.path().join("again");
        std::fs::write(&again, &named).unwrap();
        let plain =
            |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(plain(&shown(&["--config", again.to_str().unwrap()])), plain(&named), "{name}");
    }
}

#[test]
fn the_command_line_wins_and_then_the_environment() {
    let work = temp_dir();
    let conf = "retry 3\n[smtpsend]\nserver = \"smtp://relay.test:587\"\nhelo here.test\n\
                header \"X-A: 1\"\nheader X-B: 2 <a@b.test>\nqueue-dir /from/file\n[ftpls]\nnonsense\n";
    Tree::new(work.path()).file("conf", conf);
    let shown = |args: &[&str], variable: Option<&str>| {
        let mut run = tool("smtpsend").dir(work.path()).args(["--config", "conf", "--show-config"]).args(args);
        if let Some(value) = variable {
            run = run.env("APPLAYER_QUEUE", value);
        }
        run.run().exits(0).text().to_owned()
    };
    let all = shown(&[], None);
    for line in [
        "# conf:1\nretry 3\n",
        "# conf:3\nserver smtp://relay.test:587\n",
        "# conf:5, conf:6\nheader \"X-A: 1\"\n# conf:5, conf:6\nheader \"X-B: 2 <a@b.test>\"\n",
        "# conf:7\nqueue-dir /from/file\n",
        "# default\ncolor auto\n",
    ] {
        assert!(all.contains(line), "{line}\n{all}");
    }
    for (args, there, gone) in [
        (&["--retry", "1"][..], "# command line\nretry 1\n", "retry 3"),
        (&["--header", "X-C: 3"], "# command line\nheader \"X-C: 3\"\n", "X-A"),
        (&["--mx"], "# command line\nmx\n", "relay.test"),
        (&["--queue-dir", "/q"], "# command line\nqueue-dir /q\n", "/from/file"),
    ] {
        let text = shown(args, None);
        assert!(text.contains(there) && !text.contains(gone), "{args:?}\n{text}");
    }
    let text = shown(&[], Some("/from/environment"));
    assert!(
        text.contains("# $APPLAYER_QUEUE\nqueue-dir /from/environment\n") && !text.contains("/from/file"),
        "{text}"
    );
}

#[test]
fn a_line_that_means_nothing_is_named() {
    let work = temp_dir();
    for (text, status, says) in [
        ("server smtp://a.test\nno-such-option x\n", 78, "conf:2: smtpsend has no option \"no-such-option\""),
        ("\n\ntimeout never\n", 78, "conf:3: "),
        ("tls maybe\n", 78, "conf:1: "),
        ("server\n", 78, "conf:1: --server needs a value"),
        ("queue perhaps\n", 78, "conf:1: --queue takes only the values yes and no"),
        ("helo a\nhelo b\n", 78, "conf:2: \"helo\" is set twice: conf:1 has it too"),
        ("config other\n", 78, "conf:1: smtpsend has no option \"config\""),
        ("[ftpget]\nnonsense\n[smtpd]\n", 78, "conf:3: \"smtpd\" is not a tool"),
        ("header \"a\n", 78, "conf:1: the quotation mark is not closed"),
        ("server smtp://u:S3CRET@a.test\n", 78, "conf:1: --server: a password does not belong here"),
    ] {
        Tree::new(work.path()).file("conf", text);
        let done = tool("smtpsend").dir(work.path()).args(["--config", "conf", "--to", "a@b.test", "-n"]).run();
        done.exits(status).says(says);
        assert!(!done.to_string().contains("S3CRET"), "{done}");
    }
    tool("smtpsend").dir(work.path()).args(["--config", "missing", "-n"]).run().exits(66);
    Tree::new(work.path()).file("conf", "retry 1\n");
    std::fs::set_permissions(work.path().join("conf"), PermissionsExt::from_mode(0o666)).unwrap();
    tool("smtpsend").dir(work.path()).args(["--config", "conf", "-n"]).run().exits(78).says("others may change it");
    // Help is there whatever a file says.
    tool("smtpsend").dir(work.path()).args(["--config", "conf", "--help"]).run().exits(0);
}

/// The lines of a crontab are the same on every host: where mail goes stands in the host's files.
#[test]
fn a_host_behind_a_relay_needs_no_other_crontab() {
    for (queues, runs) in [
        (&["smtpsend", "-t"][..], &["mailq-run"][..]),
        (&["smtpsend", "--sendmail", "-t"], &["smtpsend", "--sendmail", "-q"]),
    ] {
        let (home, relay) = (temp_dir(), Sink::taking_all());
        let queue = format!("queue-dir {}\n", home.path().join("queue").display());
        let relayed = format!("{queue}smarthost smtp://{}\ntls none\n", relay.peer.addr);
        Tree::new(home.path())
            .file(".config/applayer/mailq-run.conf", &relayed)
            .file(".config/applayer/smtpsend.conf", &(queue + "queue\n"));
        let run = |words: &[&str]| tool(words[0]).home(home.path()).args(&words[1..]);
        let mail = "From: a@here.test\nTo: b@there.test\nSubject: s\n\nhello\n";
        run(queues).stdin(mail).run().silent_success();
        assert!(relay.mails().is_empty(), "it is queued");
        run(runs).run().exits(0);
        assert_eq!(relay.mails().len(), 1, "{runs:?}");
        assert_eq!(relay.mails()[0].to, ["b@there.test"]);
    }
}
