//! What a host's own programs see: roff readers read the man pages, Python's parser reads our mail, fail2ban reads our logs,
//! and a mount shows how a download behaves where no attributes are kept.

use std::path::Path;

use crate::fail2ban::{SERVERS, filter, log_with_failed_logins};
use crate::harness::{Done, binary, finish, temp_dir, tool};
use crate::peers::{LIMIT, Peer, Trial, Verdict, trial};

/// One row a program × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("groff", "reads every man page without a warning", groff_reads_the_pages),
    trial("mandoc", "reads every man page without a warning", mandoc_reads_the_pages),
    trial("python3", "email.parser reads what smtpsend composes", python_reads_what_was_meant),
    trial("python3", "mailbox.mbox finds what mailread finds and writes", python_reads_mboxes),
    trial("s-nail", "finds what mailread finds in an mbox and writes", s_nail_reads_mboxes),
    trial("fail2ban", "its filters match failed logins in our logs", fail2ban_matches_failed_logins),
    trial("unshare", "a full disk is temporary for the queue", a_full_disk_is_temporary),
    trial("unshare", "every tool with one family of addresses, without /etc, without room", tools_in_namespaces),
    trial("faketime", "every tool in 1965 and 2100", tools_with_odd_clocks),
    trial("setpriv", "users without rights submit to the queue of the machine", users_without_rights_submit),
];

/// Runs `linter` with each page and fails with all that it says.
fn lint(linter: impl Fn(&Path) -> String) -> Verdict {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let pages = std::fs::read_dir(folder).unwrap().map(|page| linter(&page.unwrap().path()));
    let said: Vec<String> = pages.collect();
    assert!(said.len() > 13 && said.concat().is_empty(), "{}", said.concat());
    Verdict::Ok
}

fn groff_reads_the_pages(groff: &Peer) -> Verdict {
    lint(|page| {
        let args = ["-ww", "-t", "-man", "-Tutf8", "-z"].map(AsRef::as_ref).into_iter().chain([page.as_os_str()]);
        groff.run("groff", args).exits(0).stderr.clone()
    })
}

fn mandoc_reads_the_pages(mandoc: &Peer) -> Verdict {
    lint(|page| {
        let args = ["-Tlint", "-Wwarning"].map(AsRef::as_ref).into_iter().chain([page.as_os_str()]);
        let done = mandoc.run("mandoc", args);
        format!("{}{}", done.text(), done.stderr)
    })
}

/// Writes mboxes with separators of the wild, and what `mailread show --raw all` makes of each: `subjects` and mailread
/// find the same messages in all of them.
fn mboxes_are_read_alike(subjects: impl Fn(&Path) -> Vec<String>) -> Verdict {
    let folder = temp_dir();
    let path = folder.path().join("mbox");
    let time = "Mon Nov 23 05:00:00 2026";
    for separator in
        ["-", "MAILER-DAEMON", "root", "1844347792267117879@xxx", "me at x.test  TIME", "\"a b\"@x TIME", "x TIME"]
    {
        let message = |number: usize| {
            let text = "body\nFrom here on prose:\n>From x\n";
            format!("From {separator}\nFrom: a@b\nSubject: s{number}\n\n{text}\n").replace("TIME", time)
        };
        std::fs::write(&path, format!("\nFrom x {time}\nSubject: s0\n\n\n{}{}", message(1), message(2))).unwrap();
        let listed = || tool("mailread").args(["list", "-m"]).arg(&path).run();
        let lines = |done: &Done| -> Vec<String> {
            done.exits(0).text().lines().map(|line| line.rsplit('\t').next().unwrap().to_owned()).collect()
        };
        assert_eq!(lines(&listed()), ["s0", "s1", "s2"], "{separator}");
        // Python takes every line that begins so; what we write has them quoted.
        let written = tool("mailread").args(["show", "--raw", "all", "-m"]).arg(&path).run();
        std::fs::write(&path, &written.exits(0).stdout).unwrap();
        assert_eq!(subjects(&path), lines(&listed()), "{separator}\n{written}");
    }
    Verdict::Ok
}

fn python_reads_mboxes(python: &Peer) -> Verdict {
    let script = "import mailbox, sys\nfor m in mailbox.mbox(sys.argv[1]): print(m['subject'], bool(m.get_from()))";
    mboxes_are_read_alike(|path| {
        let read = python.run("python3", ["-c".as_ref(), script.as_ref(), path.as_os_str()]);
        read.exits(0).text().lines().map(|line| line.trim_end_matches(" True").to_owned()).collect()
    })
}

fn s_nail_reads_mboxes(s_nail: &Peer) -> Verdict {
    mboxes_are_read_alike(|path| {
        let args = ["-:/", "-S", "headline=%s", "-S", "crt=", "-Rf"].map(AsRef::as_ref);
        let read = s_nail.feed("s-nail", args.into_iter().chain([path.as_os_str()]), Some(b"exit\n"));
        let last = |line: &str| line.split_whitespace().last().unwrap_or_default().to_owned();
        read.exits(0).text().lines().map(last).filter(|word| word.starts_with('s') && word.len() == 2).collect()
    })
}

/// Python's own parser, as strict as it gets, reads what was meant.
fn python_reads_what_was_meant(python: &Peer) -> Verdict {
    let script = r#"
import sys, json, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.strict.clone(utf8=True))
parts = [(p.get_content_type(), p.get_filename(), p.get_payload(decode=True).hex()) for p in m.walk() if not p.is_multipart()]
defects = [str(d) for p in m.walk() for d in p.defects] + [str(d) for v in m.values() for d in v.defects]
print(json.dumps({"subject": m["subject"], "from": str(m["from"]), "to": str(m["to"]), "x": m["x-long"],
    "parts": parts, "defects": defects, "types": [p.get_content_type() for p in m.walk()]}))
"#;
    let folder = temp_dir();
    let data: Vec<u8> = (0..100_000u32).map(|index| (index.wrapping_mul(index) >> 5) as u8).collect();
    std::fs::write(folder.path().join("Überblick \"1\".bin"), &data).unwrap();
    std::fs::write(folder.path().join("löwe.png"), b"\x89PNG\r\n").unwrap();
    std::fs::write(folder.path().join("page.html"), "<p>Grüße <img src=\"cid:löwe.png\"></p>\n").unwrap();
    let subject = "Grüße aus Köln — und ein sehr langer Betreff, der gefaltet werden muss: 数据 ☀ =?x?= Ende";
    let long = "word ".repeat(300);
    let sent = tool("smtpsend")
        .args(["-n", "--from", "\"Öztürk, Jörg\" <j@a.test>", "--to", "Bob <b@b.test>, 数据 <d@b.test>", "-s", subject])
        .args(["--html", "page.html", "--inline", "löwe.png", "--attach", "Überblick \"1\".bin", "--header"])
        .arg(format!("X-Long: {}", long.trim_end()))
        .dir(folder.path())
        .run();
    sent.silent_success();
    let read = python.feed("python3", ["-c", script], Some(&sent.stdout));
    let found: serde_json::Value = serde_json::from_str(read.exits(0).text()).unwrap();
    assert_eq!(found["defects"], serde_json::json!([]), "{sent}");
    assert_eq!(found["subject"], subject);
    assert_eq!(found["from"], "\"Öztürk, Jörg\" <j@a.test>");
    assert_eq!(found["to"], "Bob <b@b.test>, 数据 <d@b.test>");
    assert_eq!(found["x"], long.trim_end());
    let types =
        ["multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"];
    assert_eq!(found["types"], serde_json::json!([&types[..], &["application/octet-stream"]].concat()));
    let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found["parts"][3], serde_json::json!(["application/octet-stream", "Überblick \"1\".bin", hex]));
    assert_eq!(found["parts"][2][2], "89504e470d0a");
    assert!(found["parts"][0][2].as_str().unwrap().starts_with("4772c3bcc39f65"), "the text made from the HTML");
    Verdict::Ok
}

/// The filters of dist/fail2ban find the two failed logins, in a log whose times are UTC, wherever the host is.
fn fail2ban_matches_failed_logins(fail2ban: &Peer) -> Verdict {
    for name in SERVERS {
        let folder = temp_dir();
        let log = log_with_failed_logins(name, folder.path());
        let mut command = fail2ban.command("fail2ban-regex", folder.path());
        command.env("PYTHONPATH", fail2ban.root().join("usr/lib/python3/dist-packages")).env("TZ", "America/New_York");
        command.arg("-c").arg(fail2ban.root().join("etc/fail2ban")).arg("-v").arg(log).arg(filter(name));
        let done = finish(command, format!("fail2ban-regex {name}"), None, LIMIT);
        done.exits(0).prints("Failregex: 2 total").prints("|      127.0.0.1  ");
    }
    Verdict::Ok
}

/// A disk without room: nothing is promised, nothing half written is taken up, and trying again is right.
fn a_full_disk_is_temporary(unshare: &Peer) -> Verdict {
    let work = temp_dir();
    let script = "mount -t tmpfs -o size=200k none . && cd . || exit 99\n\
                  head -c 400000 /dev/zero | tr '\\0' x | fold > m\n\
                  mkdir drop-drop && APPLAYER_QUEUE=drop \"$0\" --sendmail c@d.test < m; echo $?\n\
                  \"$0\" --queue --queue-dir queue -f a@b.test c@d.test < m; echo $?\n\
                  find drop-drop queue -type f -name '[0-9]*'";
    let mut command = unshare.command("unshare", work.path());
    command.args(["-rm", "sh", "-c", script]).arg(binary("smtpsend"));
    let done = finish(command, "unshare".into(), None, LIMIT);
    if done.status == 99 || done.status == 1 {
        return Verdict::Skipped(format!("no mounts here: {}", done.stderr));
    }
    assert_eq!(done.text(), "75\n75\n", "{}", done.stderr);
    Verdict::Ok
}

fn tools_in_namespaces(_: &Peer) -> Verdict {
    on_each(crate::hosts::namespaces())
}

fn tools_with_odd_clocks(faketime: &Peer) -> Verdict {
    let library = format!("usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    on_each(crate::hosts::clocks(&faketime.root().join(library)))
}

fn on_each(states: Vec<crate::hosts::HostState>) -> Verdict {
    let skipped = states.iter().filter_map(|state| crate::hosts::check(state).err()).next();
    skipped.map_or(Verdict::Ok, Verdict::Skipped)
}

/// As nobody, without HOME, as a web server's user and a service's.
fn users_without_rights_submit(setpriv: &Peer) -> Verdict {
    if !rustix::process::geteuid().is_root() {
        return Verdict::Skipped("only root becomes another user".to_owned());
    }
    for (runner, mode) in [(0, 0o1733), (4000, 0o3733)] {
        users_submit_to(runner, mode, setpriv);
    }
    Verdict::Ok
}

/// The queue belongs to this user, who runs mailq-run.
fn users_submit_to(runner: u32, drop_mode: u32, setpriv: &Peer) {
    use std::os::unix::fs::PermissionsExt as _;
    let host = temp_dir();
    let path = |name: &str, mode: u32| {
        let path = host.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(runner), Some(runner)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let queue = path("queue", 0o700);
    // Programs may lie where nobody can go.
    for (name, copy) in [("smtpsend", "sendmail"), ("mailq-ls", "mailq-ls"), ("mailq-run", "mailq-run")] {
        std::fs::copy(binary(name), host.path().join(copy)).unwrap();
    }
    path("", 0o711);
    let run = || {
        let mut command = setpriv.command("setpriv", host.path());
        let id = runner.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(host.path().join("mailq-run"));
        command.args(["--smarthost", "smtp://127.0.0.1:1", "--queue-dir"]).arg(&queue);
        let run = finish(command, format!("as {runner}: mailq-run"), None, LIMIT);
        assert!(run.status == 0 && run.stderr.is_empty(), "{run}");
    };
    let as_user = |user: u32, args: &[&str], input: &str| {
        let mut command = setpriv.command("setpriv", host.path());
        let id = user.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "env", "-i"]);
        command.arg(format!("APPLAYER_QUEUE={}", queue.display())).arg(host.path().join("sendmail")).args(args);
        command.stdin(std::process::Stdio::piped());
        finish(command, format!("as {user}: sendmail {args:?}"), Some(input.into()), LIMIT)
    };
    // Before the administrator has set it up: loud, and nothing is made.
    as_user(65534, &["-i", "root"], "x\n").exits(78).says("install-sendmail");
    let drop = path("queue-drop", drop_mode);
    as_user(65534, &["-t"], "To: root\nSubject: nobody's\n\nx\n").silent_success();
    as_user(33, &["-i", "ops@b.test"], "Subject: another's\n\nx\n").silent_success();
    // Each sees his own; neither lists the directory.
    let listed = as_user(65534, &["-bp"], "");
    assert!(listed.exits(0).text().contains(" root@") && !listed.text().contains("ops@"), "{listed}");
    assert!(as_user(33, &["-bp"], "").exits(0).text().contains("ops@b.test"));
    let mut peek = setpriv.command("setpriv", host.path());
    peek.args([
        "--reuid",
        "33",
        "--regid",
        "33",
        "--clear-groups",
        "sh",
        "-c",
        "ls \"$0\" \"$0\"/65534; cat \"$0\"/65534/*",
    ])
    .arg(&drop);
    let peeked = finish(peek, "ls".into(), None, LIMIT);
    assert!(peeked.stdout.is_empty() && peeked.status != 0, "{peeked}");
    // Somebody took the name of another's folder.
    std::fs::create_dir(drop.join("4242")).unwrap();
    as_user(4242, &["-i", "late@b.test"], "Subject: late\n\nx\n").silent_success();
    run();
    let queued = tool("mailq-ls").arg("--queue-dir").arg(&queue).run();
    for address in [" root@", "ops@b.test", "late@b.test"] {
        assert!(queued.exits(0).text().replace('\t', " ").contains(address), "{address}: {queued}");
    }
    // The queue is not theirs, and each still sees his own.
    assert!(as_user(33, &["-bp"], "").exits(0).text().contains("ops@b.test"));
    assert!(!as_user(65534, &["-bp"], "").exits(0).text().contains("ops@b.test"));
    let mine = tool("mailq-edit").args(["show", "--message", "--domain", "b.test", "--recipient", "ops@b.test"]);
    mine.arg("--queue-dir").arg(&queue).run().exits(0).prints("from userid 33);");
    let gone = tool("mailq-edit").args(["rm", "--domain", "b.test", "--queue-dir"]).arg(&queue).run();
    gone.exits(0);
    run();
    as_user(33, &["-bp"], "").exits(0).prints("Mail queue is empty");
}
