//! `--color` means something in every tool, changes nothing but the colour, and holds for help.

use crate::harness::{Run, server, temp_dir, tool};
use crate::queue::{Sink, enqueue};

const TOOLS: [&str; 13] = [
    "dnsq",
    "dnsserve",
    "ftpdo",
    "ftpget",
    "ftpls",
    "ftpput",
    "ftpserve",
    "mailq-edit",
    "mailq-ls",
    "mailq-run",
    "mailread",
    "smtpsend",
    "smtpserve",
];

const MESSAGE: &str = "From: \u{1b}[31mbob@b.test\nTo: a@a.test\nSubject: hello\n\n> quoted \u{1b}[1m\nanswered\n";

/// The text without colours.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (colour, rest) = part.split_once('m').expect("a colour ends with m");
        assert!(colour.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'), "{part:?}");
        out.push_str(rest);
    }
    out
}

#[test]
fn pipes_have_no_colours_unless_they_are_asked_for() {
    let dir = temp_dir();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir_all(dir.path().join("served/folder")).unwrap();
    write("z", "$ORIGIN z.test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\n@ TXT \";; x SECTION:\" \"\\027[31m\"\n");
    write("served/one\u{1b}[31m", "1");
    write("mail", MESSAGE);
    let dns = server("dnsserve").arg("z").dir(dir.path()).start();
    let ftp = server("ftpserve").args(["--write", "--color", "always", "served"]).dir(dir.path()).start();
    let (queue, sink) = (temp_dir(), Sink::taking_all());
    let held = enqueue(queue.path(), &[("a@a.test", &["b@b.test"], "Subject: hello\r\n\r\nhello\r\n")])[0].to_string();
    let edit = tool("mailq-edit").args(["hold", &held, "--queue-dir"]).arg(queue.path()).run();
    edit.exits(0);
    let url = format!("ftp://{}/", ftp.addr);
    let in_queue = |name: &str| tool(name).arg("--queue-dir").arg(queue.path());
    let table: [(&str, &dyn Fn() -> Run, &str); 10] = [
        (
            "dnsq",
            &|| tool("dnsq").arg(format!("@{}", dns.addr)).args(["z.test", "TXT", "+nostats", "+qid=7", "+nocookie"]),
            "\x1b[1m;; ANSWER SECTION:\x1b[0m",
        ),
        ("ftpls", &|| tool("ftpls").args(["-l", &url]), "\x1b[01;34mfolder\x1b[0m"),
        ("ftpls of LS_COLORS", &|| tool("ftpls").arg(&url).env("LS_COLORS", "di=7"), "\x1b[7mfolder\x1b[0m"),
        ("ftpget", &|| tool("ftpget").args(["-r", "-n", "--itemize", &url]), "\x1b[32mnew\x1b[0m\t"),
        ("ftpput", &|| tool("ftpput").args(["-n", "--itemize", "mail", &url]).dir(dir.path()), "\x1b[32mnew\x1b[0m\t"),
        (
            "mailread show",
            &|| tool("mailread").args(["-m", "-", "show"]).stdin(MESSAGE),
            "\x1b[36mSubject:\x1b[0m hello",
        ),
        (
            "mailread quotes",
            &|| tool("mailread").args(["-m", "-", "show"]).stdin(MESSAGE),
            "\x1b[33m> quoted \u{241b}[1m\x1b[0m",
        ),
        ("mailread list", &|| tool("mailread").args(["-m", "-", "list"]).stdin(MESSAGE), "\x1b[1mN\x1b[0m"),
        ("mailq-ls", &|| in_queue("mailq-ls"), "\x1b[31mheld\x1b[0m"),
        ("mailq-run", &|| in_queue("mailq-run").args(["-v", "--route", &sink.route()]), "\x1b[1msummary\x1b[0m"),
    ];
    for (name, run, part) in table {
        let texts: Vec<String> = [&[][..], &["--color", "auto"], &["--color", "never"], &["--color", "always"]]
            .iter()
            .map(|args| run().args(*args).run().exits(0).text().to_owned())
            .collect();
        assert!(!texts[..3].concat().contains('\x1b'), "{name}: {texts:?}");
        assert!(texts[3].contains(part), "{name}: {:?}", texts[3]);
        // (What runs for long has the time before each line.)
        let timeless = |text: &str| {
            text.lines()
                .map(|line| line.trim_start_matches(|c| "0123456789-:.TZ".contains(c)).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(timeless(&plain(&texts[3])), timeless(&texts[2]), "{name}");
        let json = run().args(["--json", "--color", "always"]).run();
        assert!(!json.exits(0).text().contains('\x1b'), "{name}");
    }
    tool("ftpput").arg("mail").arg(&url).dir(dir.path()).run().exits(0);
    ftp.stdout.wait_for("\x1b[32marrived\x1b[0m\t");
}

#[test]
fn help_has_the_colours_that_are_asked_for() {
    for name in TOOLS {
        let help = |args: &[&str]| tool(name).args(args).run();
        for args in [&["--help"][..], &["--color", "never", "--help"]] {
            assert!(!help(args).exits(0).text().contains('\x1b'), "{name} {args:?}");
        }
        let coloured = help(&["--help", "--color", "always"]);
        assert!(coloured.exits(0).text().contains("\x1b["), "{name}");
        assert_eq!(plain(coloured.text()), help(&["--help"]).text(), "{name}");
    }
    for (args, env, colours) in [
        (&["--help"][..], ("X", "x"), true),
        (&["--help"], ("NO_COLOR", "1"), false),
        (&["--help"], ("TERM", "dumb"), false),
        (&["--color", "never", "--help"], ("X", "x"), false),
        (&["--color", "always", "--help"], ("NO_COLOR", "1"), true),
    ] {
        let terminal = tool("ftpls").args(args).env(env.0, env.1).on_terminal(80);
        assert_eq!(terminal.whole().1.contains('\x1b'), colours, "{args:?} {env:?}");
    }
}
