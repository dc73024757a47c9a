//! No password leaves by a message, a record or a trace, wherever it stands and however malformed what it stands in is; and who
//! may read or change the files that hold one.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::{Run, server, temp_dir, tool};

/// URLs with a password, most of them malformed; SCHEME is what the place wants.
const URLS: &[&str] = &[
    "SCHEME://u:S3CRET@127.0.0.1:1/",
    "SCHEME://u:S3CRET/x@h/y",
    "SCHEME://u:S3CRET@h:99999/",
    "SCHEME://u:S3CRET@[",
    "SCHEME://u:S3CRET",
    "SCHEME://u:S3CRET%40h/",
    "SCHEME://u:S3CRET@",
    "SCHEME://u:S3CRET x@h",
    "SCHEME://u:S3CRET@h:x/?q#f",
    "SCHEME://:S3CRET@h/;type=q",
    "SCHEME://u:S3CRET:21/",
    "SCHEME://S3CRET@127.0.0.1:99999/",
    "SCHEME//u:S3CRET@h/",
    "SCHEME:/u:S3CRET@h",
    "SCHEME:u:S3CRET@h",
    "//u:S3CRET@h",
    "u:S3CRET@h",
    "gopher://u:S3CRET@h/",
];

/// A tool, its arguments, and the scheme of the URL that stands for `@`.
const PLACES: &[(&str, &str, &str)] = &[
    ("ftpget", "-v --json @", "ftp"),
    ("ftpget", "-r -o t @", "ftpes"),
    ("ftpget", "--base @ ../x", "ftp"),
    ("ftpget", "-i list", "ftp"),
    ("ftpget", "--retry @", "ftp"),
    ("ftpget", "--report @ ftp://127.0.0.1:1/a", "ftp"),
    ("ftpls", "-v --json @", "ftp"),
    ("ftpls", "--proxy @ ftp://h/", "socks5"),
    ("ftpls", "--netrc-file @ ftp://h/", "ftp"),
    ("ftpls", "--user u:S3CRET ftp://h/", "ftp"),
    ("ftpls", "-u u:S3CRET ftp://h/", "ftp"),
    ("ftpls", "--password=S3CRET ftp://h/", "ftp"),
    ("ftpput", "-v --json list @", "ftp"),
    ("ftpdo", "-v --json @ pwd", "ftp"),
    ("ftpdo", "@", "ftp"),
    ("ftpserve", "--listen @ .", "ftp"),
    ("ftpserve", "@", "ftp"),
    ("smtpsend", "-v --json --server @ -f a@b.test c@d.test", "smtp"),
    ("smtpsend", "--probe --server @", "smtps"),
    ("smtpsend", "--protocol smtps --server @ -f a@b.test c@d.test", "smtp"),
    ("smtpsend", "--proxy @ --server smtp://h -f a@b.test c@d.test", "http"),
    ("smtpsend", "--resolver @ --mx -f a@b.test c@d.test", "tls"),
    ("smtpsend", "-v --json --accounts accounts -f a@b.test c@d.test", "smtp"),
    ("mailq-run", "--queue-dir q -v --json --smarthost @", "smtp"),
    ("mailq-run", "--queue-dir q --route *=@", "smtp"),
    ("mailq-run", "--queue-dir q --route @", "smtp"),
    ("mailq-edit", "--queue-dir q reroute x --to @", "smtp"),
    ("smtpserve", "--queue-dir q --listen @", "smtp"),
    ("dnsserve", "--forward @", "tls"),
    ("dnsq", "@@ a.test", "https"),
    ("dnsq", "@tcp://h --proxy @ -v --json a.test", "socks5h"),
    ("dnsq", "@tcp://h --proxy @ -v --json a.test AXFR", "http"),
    ("dnsq", "-f @", "https"),
    ("dnsq", "-y hmac-sha256:k:S3CRET! a.test", ""),
    ("dnsq", "-k key a.test", ""),
];

#[track_caller]
fn keeps_it(run: Run, what: &str) {
    let done = run.run();
    let tried = !done.stderr.contains("unexpected argument")
        || done.stderr.contains("hint: here it is")
        || done.stderr.contains("hint: no option here");
    assert!(tried, "{what}: tries nothing\n{done}");
    assert!(!done.stderr.contains("S3CRET") && !done.text().contains("S3CRET"), "{what}\n{done}");
}

#[test]
fn no_password_in_any_message() {
    let dir = temp_dir();
    let write = |name: &str, text: &str| private(&dir.path().join(name), text, 0o600);
    write("key", "key k { algorithm hmac-sha256; S3CRET; };");
    for form in URLS {
        write("list", &form.replace("SCHEME", "ftp"));
        write(
            "accounts",
            &format!("account default\nhost {}\nport 1\nproxy_host {form}\n", form.replace("SCHEME", "smtp")),
        );
        for (name, line, scheme) in PLACES {
            let url = form.replace("SCHEME", scheme);
            let words = line.split(' ').map(|word| match word.strip_suffix('@').filter(|_| !word.contains("b.test")) {
                Some(before) => format!("{before}{url}"),
                None => word.to_owned(),
            });
            keeps_it(tool(name).dir(dir.path()).args(words), &format!("{name} {line}: {form}"));
        }
        for (variable, name, line) in [
            ("ftp_proxy", "ftpls", "-v --json ftp://h/"),
            ("FTP_PROXY", "ftpget", "--json ftp://h/a"),
            ("all_proxy", "ftpput", "list ftp://h/"),
            ("smtp_proxy", "smtpsend", "--server smtp://h -f a@b.test c@d.test"),
            ("ALL_PROXY", "dnsq", "@tcp://h -v --json a.test"),
        ] {
            let run = tool(name).dir(dir.path()).args(line.split(' ')).env(variable, form.replace("SCHEME", "http"));
            keeps_it(run, &format!("{variable} {name}: {form}"));
        }
    }
}

/// Files that hold a password in a wrong place.
#[test]
fn no_password_of_a_file_that_is_wrong() {
    let dir = temp_dir();
    for entry in [
        "password S3CRET S3CRET",
        "password \"S3CRET",
        "passwordS3CRET",
        "S3CRET",
        "account S3CRET port S3CRET password x",
    ] {
        private(&dir.path().join("netrc"), &format!("machine 127.0.0.1 login u {entry}\n"), 0o600);
        let run = tool("ftpls").dir(dir.path()).args(["-v", "--json", "--netrc-file", "netrc", "ftp://127.0.0.1:1/"]);
        keeps_it(run, entry);
    }
    for setting in [
        "S3CRET",
        "password=S3CRET",
        "password:S3CRET",
        "auth S3CRET",
        "tls S3CRET",
        "port S3CRET",
        "timeout S3CRET",
        "protocol S3CRET",
        "dsn_notify S3CRET",
        "source_ip S3CRET",
        "eval echo S3CRET",
        "eval echo password=S3CRET",
        "eval exit 3 # S3CRET",
        "account other : S3CRET",
        "passwordeval exit 3 # S3CRET",
    ] {
        private(
            &dir.path().join("acc"),
            &format!("account default\nhost 127.0.0.1\nport 1\nuser u\n{setting}\n"),
            0o600,
        );
        let run = tool("smtpsend").dir(dir.path());
        keeps_it(run.args(["-v", "--json", "--accounts", "acc", "-f", "a@b.test", "c@d.test"]), setting);
    }
    for line in ["bob:S3CRET", "S3CRET", ":S3CRET", "bob:{PLAIN}S3CRET:x"] {
        private(&dir.path().join("users"), line, 0o600);
        let run = tool("ftpserve").dir(dir.path());
        keeps_it(run.args(["--listen", "127.0.0.1:0", "--user-file", "users", "."]), line);
    }
}

/// What the trace shows of commands that the user wrote himself.
#[test]
fn no_password_in_the_trace() {
    let dir = temp_dir();
    let site = server("ftpserve").args(["--listen", "127.0.0.1:0"]).arg(dir.path()).start();
    for command in ["*PASS S3CRET", "*acct S3CRET", "*SITE PSWD S3CRET S3CRET", "*USER u S3CRET", "*user  S3CRET x"] {
        keeps_it(tool("ftpls").args(["-v", "--json", "--before", command, &site.url]), command);
    }
}

fn private(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_that_others_can_read_warn_and_those_they_can_change_are_refused() {
    let dir = temp_dir();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", "pem", "-out", "pem"])
        .current_dir(dir.path())
        .output();
    let pem = made.is_ok_and(|made| made.status.success());
    let account = "account default\nhost 127.0.0.1\nport 1\ntls_cert_file pem\ntls_key_file pem\n";
    private(&dir.path().join("with-key"), account, 0o600);
    let own = rustix::process::geteuid().is_root();
    for (name, text, line) in [
        ("netrc", "machine 127.0.0.1 login u password p\n", "ftpls --netrc-file netrc ftp://127.0.0.1:1/"),
        ("pw", "p\n", "ftpls --user u --password-file pw ftp://127.0.0.1:1/"),
        (
            "accounts",
            "account default\nhost 127.0.0.1\nport 1\nuser u\npassword p\n",
            "smtpsend --accounts accounts -f a@b.test c@d.test",
        ),
        ("users", "x\n", "ftpserve --listen 127.0.0.1:0 --user-file users ."),
        (
            "key",
            "key k { algorithm hmac-sha256; secret c2VjcmV0; };\n",
            "dnsq -k key --timeout 0.1 @127.0.0.1 -p 1 a.test",
        ),
        ("pem", "", "ftpls --cert pem ftps://127.0.0.1:1/"),
        ("pem", "", "smtpsend --cert pem --server smtps://127.0.0.1:1 -f a@b.test c@d.test"),
        ("pem", "", "smtpsend --cert pem --mx -f a@b.test c@[127.0.0.1]"),
        ("pem", "", "smtpsend --accounts with-key -f a@b.test c@d.test"),
        ("pem", "", "mailq-run --queue-dir q --accounts with-key --account default"),
        ("pem", "", "mailq-run --queue-dir q --cert pem --smarthost smtps://127.0.0.1:1"),
        ("pem", "", "dnsq --cert pem --timeout 0.1 @tls://127.0.0.1:1 a.test"),
        // No certificate: the servers do not start.
        ("bad", "x\n", "ftpserve --listen 127.0.0.1:0 --cert bad ."),
        ("bad", "x\n", "smtpserve --listen 127.0.0.1:0 --cert bad --queue-dir q"),
        ("users", "x\n", "smtpserve --listen 127.0.0.1:0 --user-file users --queue-dir q"),
    ] {
        let path = dir.path().join(name);
        match name {
            "pem" if !pem => continue,
            "pem" => {}
            _ => private(&path, text, 0o600),
        }
        let run = |mode: u32| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let mut words = line.split(' ');
            tool(words.next().unwrap()).dir(dir.path()).args(words).stdin("x").run()
        };
        let warning = |done: &crate::harness::Done| done.stderr.contains(&format!("{name}: others can read it"));
        assert!(!warning(&run(0o600)), "{line}");
        assert!(warning(&run(0o644)), "{line}: {}", run(0o644));
        assert_eq!(warning(&run(0o640)), !own, "{line}: what root lets a group read");
        for mode in [0o660, 0o602, 0o666] {
            run(mode).exits(78).says(&format!("{name}: others may change it"));
        }
    }
}

#[test]
fn a_report_is_appended_to_is_its_owners_and_is_no_link() {
    let dir = temp_dir();
    let run = |target: &str| tool("ftpls").dir(dir.path()).args(["--report", target, "ftp://127.0.0.1:1/"]).run();
    run("r").exits(75);
    run("r").exits(75);
    let path = dir.path().join("r");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::os::unix::fs::symlink("r", dir.path().join("link")).unwrap();
    run("link").exits(73).says("a symbolic link");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    run("/dev/stderr").exits(75).says("\"type\":\"error\"");
}

#[test]
fn words_of_other_tools_answer_with_ours() {
    for (line, ours) in [
        ("ftpget -s ftp://h/a", "-q"),
        ("ftpget -k ftp://h/a", "--insecure"),
        ("ftpget --ssl-reqd ftp://h/a", "ftpes://"),
        ("ftpget -u a:b ftp://h/a", "--password-file"),
        ("ftpget -T x ftp://h/a", "--timeout"),
        ("ftpget --ftp-method nocwd ftp://h/a", "--before"),
        ("ftpget --ftp-ssl-ccc-mode active ftp://h/a", "--ccc"),
        ("ftpget -w x ftp://h/a", "--json"),
        ("ftpget -A *.csv ftp://h/", "--include"),
        ("ftpget -nc ftp://h/a", "--no-clobber"),
        ("ftpput -m a ftp://h/", "done anyway"),
        ("ftpput --mkdirs a ftp://h/", "done anyway"),
        ("ftpput -T a ftp://h/", "the file before the URL"),
        ("ftpput -s a ftp://h/", "-q"),
        ("ftpls -s ftp://h/", "-q"),
        ("ftpdo -s ftp://h/", "-q"),
        ("ftpdo -Q x ftp://h/", "raw"),
    ] {
        let mut words = line.split(' ');
        let done = tool(words.next().unwrap()).args(words).run();
        done.exits(64).says(ours);
        assert!(!done.stderr.contains("as a value"), "{line}\n{done}");
    }
}
