//! Every example of the README, the man pages and docs/ is run, pasted into a shell. Our own servers stand for the hosts
//! of the examples: only host, port and the root of absolute paths are replaced. `tests/data/examples/PAGE` says what an
//! example finds, ends with and leaves; an example without an entry ends with 0 and says nothing on stderr.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use tempfile::TempDir;

use crate::harness::{Done, LIMIT, Server, binary, finish, server, temp_dir};

/// A test for each page, so that pages run beside each other.
macro_rules! pages {
    ($($test:ident $page:literal)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(#[test] fn $test() { run_page($page); })*
    };
}

pages! {
    readme "README.md"
    applayer "man/applayer.7"
    applayer_queue "man/applayer-queue.5"
    dnsq "man/dnsq.1"
    dnsserve "man/dnsserve.1"
    ftpdo "man/ftpdo.1"
    ftpget "man/ftpget.1"
    ftpls "man/ftpls.1"
    ftpput "man/ftpput.1"
    ftpserve "man/ftpserve.1"
    mailq_edit "man/mailq-edit.1"
    mailq_ls "man/mailq-ls.1"
    mailq_run "man/mailq-run.1"
    mailread "man/mailread.1"
    smtpsend "man/smtpsend.1"
    smtpserve "man/smtpserve.1"
    guides "docs/README.md"
    alert_mail "docs/alert-mail.md"
    backup "docs/backup.md"
    bulk_dns "docs/bulk-dns.md"
    ci_lab "docs/ci-lab.md"
    cron_mail "docs/cron-mail.md"
    domain_check "docs/domain-check.md"
    drop_folder "docs/drop-folder.md"
    from_dns_tools "docs/from-dns-tools.md"
    from_ftp_clients "docs/from-ftp-clients.md"
    from_ftp_servers "docs/from-ftp-servers.md"
    from_mailers "docs/from-mailers.md"
    logs "docs/logs.md"
    mailbox "docs/mailbox.md"
    small_domain "docs/small-domain.md"
    mirror "docs/mirror.md"
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_page_is_tested() {
    let mut found: BTreeSet<String> = BTreeSet::from(["README.md".to_owned()]);
    for folder in ["man", "docs"] {
        let files = std::fs::read_dir(root().join(folder)).into_iter().flatten();
        found.extend(files.map(|file| format!("{folder}/{}", file.unwrap().file_name().to_string_lossy())));
    }
    assert_eq!(found, PAGES.iter().map(|page| (*page).to_owned()).collect());
}

/// The examples of a page: of a man page the unfilled blocks of EXAMPLES, else the fenced blocks of shell and crontab
/// lines, and each command of ours in the last cell of a table's row.
fn examples(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
    if page.starts_with("man/") {
        return man_examples(&text);
    }
    let mut found = Vec::new();
    let mut block: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(language)) => block = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => {
                let (language, text) = block.take().unwrap();
                match language.as_str() {
                    "sh" | "crontab" => found.push(text),
                    "text" => assert!(!text.lines().any(is_ours), "{page}: commands stand in sh blocks:\n{text}"),
                    other => panic!("{page}: a block of {other:?} is neither run nor known as text"),
                }
            }
            (Some((_, text)), None) => text.extend([line, "\n"]),
            (None, None) if line.starts_with('|') => found.extend(row_examples(line)),
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "{page}: a block without end");
    found
}

fn is_ours(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| applayer::tool::ALL.iter().any(|(name, _)| *name == word))
}

/// The commands of ours in the last cell of a row.
fn row_examples(line: &str) -> Vec<String> {
    let row = line.trim_end().trim_end_matches('|').replace("\\|", "\u{1}");
    let cell = row.rsplit('|').next().unwrap_or_default();
    let code = cell.split('`').skip(1).step_by(2).map(|code| code.replace('\u{1}', "|"));
    code.filter(|code| is_ours(code) && code.contains(' ')).collect()
}

fn man_examples(text: &str) -> Vec<String> {
    let Some((_, section)) = text.split_once("\n.SH EXAMPLES\n") else { return Vec::new() };
    let section = section.split("\n.SH ").next().unwrap();
    let blocks = section.split("\n.nf\n").skip(1).map(|rest| rest.split("\n.fi").next().unwrap());
    let plain = |block: &str| {
        let lines = block.lines().filter(|line| !line.starts_with('.')).map(|line| format!("{line}\n"));
        let text: String = lines.collect();
        let text = text.replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", "\"").replace("\\&", "");
        text.replace("\\e", "\\")
    };
    blocks.map(plain).collect()
}

/// The host that all examples speak of, the files that they find, and the directory where they run.
struct World {
    dir: TempDir,
    ftp: Server,
    smtp: Server,
    dns: Server,
}

impl World {
    fn new() -> World {
        let dir = temp_dir();
        let at = |name: &str| dir.path().join(name);
        set_up(dir.path(), &[]);
        let ftp =
            server("ftpserve").args(["--write", "--anonymous", "--self-signed", "ftp.example.org", "--user-file"]);
        let ftp = ftp.arg(at("users")).arg("--cert-out").arg(at("ftp.pem")).arg(at("ftp")).start();
        let mut smtp = server("smtpserve").args(["--create", "--self-signed", "mail.example.org"]);
        for domain in ["example.org", "example.net", "example.com", "alice.test", "bob.test"] {
            smtp = smtp.args(["--domain", domain]);
        }
        let smtp = smtp.arg("--user-file").arg(at("mail-users")).arg("--cert-out").arg(at("mail.pem"));
        let smtp = smtp.arg("--mailboxes").arg(at("mail")).start();
        let mut zones: Vec<PathBuf> =
            std::fs::read_dir(at("zones")).unwrap().map(|file| file.unwrap().path()).collect();
        zones.sort();
        let dns = server("dnsserve").arg("--allow-transfer").arg("127.0.0.1").args(zones).start();
        let world = World { dir, ftp, smtp, dns };
        world.write_config();
        world
    }

    /// The options that a host of ours needs and the examples do not name.
    fn write_config(&self) {
        let (root, dns, smtp) = (self.dir.path().display(), self.dns.port(), self.smtp.port());
        let mut text = format!(
            "[ftpget ftpput ftpls ftpdo]\nca-cert {root}/ftp.pem\ntls-name ftp.example.org\n\
             [smtpsend mailq-run]\nca-cert {root}/mail.pem\ntls-name mail.example.org\nresolver 127.0.0.1:{dns}\n\
             mx-port {smtp}\npassword-file {root}/password\n[dnsq]\nresolv-conf {root}/resolv.conf\nport {dns}\n"
        );
        for name in ["ftpserve", "smtpserve", "dnsserve"] {
            text.push_str(&format!("[{name}]\nlisten 127.0.0.1:0\naddress-file {root}/{name}.address\ndrain 2\n"));
            if rustix::process::geteuid().is_root() {
                text.push_str("run-as 0:0\ni-know\n");
            }
        }
        std::fs::write(self.dir.path().join("config"), text).unwrap();
    }

    /// An example as it runs here: hosts are our servers, absolute paths lie in our directory, crontab lines lose their
    /// times.
    fn localized(&self, text: &str) -> String {
        let (root, ftp) = (self.dir.path().display().to_string(), self.ftp.port());
        let (smtp, dns) = (self.smtp.port(), self.dns.port());
        let rules = [
            (r"(?m)^[ \t]*(?:(?:[-*/0-9,]+[ \t]+){5}|@reboot[ \t]+)", String::new()),
            (r"\b(ftp|ftpes)://(\w[\w.%:]*@)[a-z]+\.example\.(?:org|net|com)\b", format!("$1://${{2}}localhost:{ftp}")),
            (r"\b(ftp|ftpes)://[a-z]+\.example\.(?:org|net|com)\b", format!("$1://127.0.0.1:{ftp}")),
            (
                r"\b(smtp|submission)://(\w[\w.%:]*@)?(?:[a-z]+\.example(?:\.\w+)?|localhost)(?::\d+)?\b",
                format!("$1://${{2}}127.0.0.1:{smtp}"),
            ),
            (r"\bmachine ftp\.example\.org\b", "machine localhost".to_owned()),
            (r"(?m)^(\s*)host [a-z]+\.example\.org$", "${1}host 127.0.0.1".to_owned()),
            (r"(?m)^(\s*)port 587$", format!("${{1}}port {smtp}")),
            (r"@(?:[a-z]+\d?\.example\.\w+|\d+\.\d+\.\d+\.\d+)([\s)])", format!("@127.0.0.1:{dns}$1")),
            (r"\b03vhn8q2k1d40\b", "$$id".to_owned()),
            (r"--listen (?:[\d.]*|\[::\]):\d\d+\b", "--listen 127.0.0.1:0".to_owned()),
            (r#"(^|[\s"'=>:<(])/(srv|var|etc|tmp)/"#, format!("${{1}}{root}/$2/")),
        ];
        let mut text = text.to_owned();
        for (pattern, by) in rules {
            text = Regex::new(pattern).unwrap().replace_all(&text, by).into_owned();
        }
        text
    }

    fn shell(&self, script: &str) -> Done {
        let tools = binary("ftpls").parent().unwrap().to_owned();
        let root = self.dir.path();
        let path = format!("{}:{}:{}", root.join("bin").display(), tools.display(), std::env::var("PATH").unwrap());
        // What hangs is killed with everything that it started.
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "50", "bash", "-e", "-c", script]).current_dir(root.join("home")).env_clear();
        command.env("PATH", path).env("HOME", root.join("home")).env("W", root).env("TMPDIR", root.join("tmp"));
        command.env("APPLAYER_QUEUE", root.join("queue")).env("APPLAYER_CONFIG", root.join("config"));
        command.env("FTP", self.ftp.port().to_string()).env("SMTP", self.smtp.port().to_string());
        command.env("DNS", self.dns.port().to_string()).env("LC_ALL", "C.UTF-8").env("USER", "me");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command, script.to_owned(), None, LIMIT)
    }

    /// Runs an example as its entry says; why it is not what the page promises.
    fn run(&self, text: &str, entry: &Entry) -> Result<(), String> {
        set_up(self.dir.path(), &[("DNS", self.dns.port()), ("SMTP", self.smtp.port())]);
        let text = self.localized(text);
        let word = |name: &str| entry.get(name).map_or("", String::as_str);
        let begin = format!(". {}\n{}", root_file("begin.sh").display(), word("given"));
        // A server is visited and ended; its status is the one that counts.
        let script = match word("visit") {
            "" => format!("{begin}\n{text}"),
            visit => {
                format!("{begin}\n(\n{text}\n) &\nvisited=$!\nvisit_when_ready\n{visit}\nend_servers\nwait $visited")
            }
        };
        let done = self.shell(&script);
        let status: i32 = entry.get("status").map_or(0, |status| status.parse().expect("a status"));
        let says = word("says");
        if done.status != status || done.stderr.is_empty() != says.is_empty() || !done.stderr.contains(says) {
            return Err(format!("wanted: status {status}, stderr {says:?}\n{done}"));
        }
        for (name, bytes) in [("out", done.stdout.as_slice()), ("err", done.stderr.as_bytes())] {
            std::fs::write(self.dir.path().join(name), bytes).unwrap();
        }
        let Some(then) = entry.get("then") else { return Ok(()) };
        let after = self.shell(then);
        if after.status == 0 { Ok(()) } else { Err(format!("{done}\nand then:\n{after}")) }
    }
}

/// Makes the files of the examples, those that an earlier one has taken away too.
fn set_up(root: &Path, ports: &[(&str, u16)]) {
    let mut command = Command::new("sh");
    command.arg(root_file("world.sh")).current_dir(root).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(ports.iter().map(|(name, port)| (name, port.to_string())));
    finish(command, "world.sh".to_owned(), None, LIMIT).silent_success();
}

fn root_file(name: &str) -> PathBuf {
    root().join("tests/data/examples").join(name)
}

/// What is known of an example, by word: see [`entries`].
type Entry = BTreeMap<String, String>;

/// The entries of a page. A line `= TEXT` begins one for the one example that holds TEXT; lines behind it begin with a
/// word, and lines that are indented continue the one above:
/// `given` (shell, before it), `status`, `says` (on stderr), `then` (shell, after it; its output is `$W/out`), `visit`
/// (shell, while the server that the example starts is serving at `$url`), `unrun` (why it is not run).
fn entries(name: &str) -> Vec<(String, Entry)> {
    let text = std::fs::read_to_string(root_file(name)).unwrap_or_default();
    let mut entries: Vec<(String, Entry)> = Vec::new();
    let mut word = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(part) = line.strip_prefix("= ") {
            entries.push((part.to_owned(), Entry::new()));
            continue;
        }
        let entry = &mut entries.last_mut().unwrap_or_else(|| panic!("{name}: no example before {line:?}")).1;
        if let Some(more) = line.strip_prefix("  ") {
            let text = entry.get_mut(&word).unwrap_or_else(|| panic!("{name}: nothing to continue: {line:?}"));
            text.extend(["\n", more]);
            continue;
        }
        let (key, value) = line.split_once(' ').unwrap_or_else(|| panic!("{name}: {line:?}"));
        assert!(["given", "status", "says", "then", "visit", "unrun"].contains(&key), "{name}: {line:?}");
        word = key.to_owned();
        assert!(entry.insert(word.clone(), value.to_owned()).is_none(), "{name}: twice: {line:?}");
    }
    entries
}

/// A program of others that an example uses and that is not here: a machine that builds applayer may lack it.
fn missing(example: &str, entry: &Entry) -> Option<&'static str> {
    let uses = |program: &str| {
        let mut texts = std::iter::once(example).chain(entry.values().map(String::as_str));
        texts.any(|text| text.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == program))
    };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let is_here = |program: &str| std::env::split_paths(&folders).any(|folder| folder.join(program).exists());
    ["jq", "openssl"].into_iter().find(|program| uses(program) && !is_here(program))
}

/// Runs all examples of a page, and fails with all that are not what the page says.
#[track_caller]
fn run_page(page: &str) {
    let (examples, entries) = (examples(page), entries(page));
    let mut wrong = Vec::new();
    for (part, _) in &entries {
        let count = examples.iter().filter(|example| example.contains(part.as_str())).count();
        if count != 1 {
            wrong.push(format!("{count} examples hold {part:?}"));
        }
    }
    let world = (!examples.is_empty()).then(World::new);
    let nothing = Entry::new();
    let only = std::env::var("APPLAYER_EXAMPLE").unwrap_or_default();
    for example in examples.iter().filter(|example| example.contains(&only)) {
        let mut known = entries.iter().filter(|(part, _)| example.contains(part.as_str())).map(|(_, entry)| entry);
        let entry = known.next().unwrap_or(&nothing);
        if known.next().is_some() {
            wrong.push(format!("two entries for:\n{example}"));
        }
        if entry.contains_key("unrun") {
            continue;
        }
        if let Some(program) = missing(example, entry) {
            assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
            eprintln!("{page}: not run without {program}:\n{example}");
            continue;
        }
        if let Err(why) = world.as_ref().unwrap().run(example, entry) {
            wrong.push(format!("{example}\n{why}"));
        }
    }
    assert!(wrong.is_empty(), "{page}: {} wrong:\n\n{}", wrong.len(), wrong.join("\n=========\n"));
}

/// Examples that are not run, and why: few, and each of them here too, so that none goes unnoticed.
const UNRUN: &[(&str, &str)] = &[
    ("README.md", "make demo"),
    ("README.md", "sudo make install"),
    ("man/smtpserve.1", "alice /srv/mail/alice"),
    ("man/smtpserve.1", "lmtp+unix"),
    ("docs/from-ftp-servers.md", "ftpserve --system-users"),
    ("docs/small-domain.md", "lmtp+unix"),
];

#[test]
fn few_examples_are_not_run() {
    let unrun = |page: &&str| -> Vec<(String, String)> {
        let unrun = entries(page).into_iter().filter(|(_, entry)| entry.contains_key("unrun"));
        unrun.map(|(part, _)| ((*page).to_owned(), part)).collect()
    };
    let found: Vec<(String, String)> = PAGES.iter().flat_map(unrun).collect();
    let known: Vec<(String, String)> = UNRUN.iter().map(|(page, part)| ((*page).into(), (*part).into())).collect();
    assert_eq!(found, known);
}

#[test]
fn a_wrong_example_is_noticed() {
    let world = World::new();
    let entry = |pairs: &[(&str, &str)]| -> Entry {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    world.run("ftpls ftp://ftp.example.org/pub/", &entry(&[("then", "grep -q README $W/out")])).unwrap();
    for (text, given) in [
        ("ftpls ftp://ftp.example.org/nowhere/", entry(&[])),
        ("ftpls ftp://ftp.example.org/pub/ > all; ftpls ftp://ftp.example.org/nowhere/ | cat", entry(&[])),
        ("ftpls ftp://ftp.example.org/pub/", entry(&[("status", "75")])),
        ("ftpls ftp://ftp.example.org/pub/", entry(&[("says", "warning")])),
        ("ftpls ftp://ftp.example.org/pub/", entry(&[("then", "grep -q NOTHERE $W/out")])),
    ] {
        assert!(world.run(text, &given).is_err(), "{text} {given:?}");
    }
}
