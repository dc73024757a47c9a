//! The documented exit statuses are true: each case ends with a status that stands in EXIT STATUS of its tool's page.

use std::os::unix::fs::PermissionsExt as _;

use crate::docs::documented_statuses;
use crate::harness::{Done, server, temp_dir, tool};

/// Fails unless the run ended so and the page knows it.
#[track_caller]
fn documented(name: &str, done: &Done, status: i32) {
    done.exits(status);
    assert!(documented_statuses(name).contains(&status), "man {name} does not list {status}\n{done}");
}

#[test]
fn an_address_in_use_is_73_in_every_server() {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("mail")).unwrap();
    let zone = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dns/example.test.zone");
    let taken = server("ftpserve").arg(dir.path()).start();
    let address = taken.addr.to_string();
    for (name, args) in
        [("ftpserve", &["."][..]), ("smtpserve", &["--domain", "a.test", "--mailboxes", "mail"]), ("dnsserve", &[zone])]
    {
        let done = tool(name).args(args).args(["--listen", &address]).dir(dir.path()).run();
        documented(name, &done, 73);
        done.says("in use");
    }
}

#[test]
fn a_queue_that_was_named_and_is_not_there_is_66() {
    let dir = temp_dir();
    let typo = dir.path().join("typo");
    for (name, args) in [
        ("mailq-run", &[][..]),
        ("mailq-run", &["-n"]),
        ("mailq-ls", &[]),
        ("mailq-ls", &["--summary"]),
        ("mailq-edit", &["hold", "--sender", "a@a.test"]),
        ("mailq-edit", &["show", "0000000000000"]),
    ] {
        let done = tool(name).args(args).arg("--queue-dir").arg(&typo).run();
        documented(name, &done, 66);
        assert!(!typo.exists(), "{name} made it");
    }
}

/// Passwords, keys and logins in files that others can read: said, by every kind of file that holds them.
#[test]
fn secrets_that_others_can_read_are_warned_of() {
    let dir = temp_dir();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path.display().to_string()
    };
    let password = write("password", "sesame\n");
    let netrc = write("netrc", "machine 127.0.0.1 login me password sesame\n");
    let users = write("users", "me:$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAA\n");
    let tsig = write("tsig.key", "key \"k\" { algorithm hmac-sha256; secret \"AAAA\"; };\n");
    let own = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let (cert, key) = (write("cert.pem", &own.cert.pem()), write("key.pem", &own.signing_key.serialize_pem()));
    let dead = crate::harness::refusing();
    let (ftp, smtp, dns) =
        (format!("ftp://{}/x", dead.addr), format!("smtp://{}", dead.addr), format!("@{}", dead.addr));
    let mail = ["--server", &smtp, "--from", "a@a.test", "--to", "b@b.test", "--text", "x"];
    for (name, args) in [
        ("ftpls", vec![ftp.as_str(), "--user", "me", "--password-file", &password]),
        ("ftpget", vec![&ftp, "--netrc-file", &netrc]),
        ("ftpput", vec!["password", &ftp, "--user", "me", "--password-file", &password]),
        ("ftpdo", vec![&ftp, "rm", "--user", "me", "--password-file", &password]),
        ("ftpls", vec![&ftp, "--tls", "starttls", "--cert", &cert, "--key", &key]),
        ("smtpsend", [&mail[..], &["--user", "me", "--password-file", &password]].concat()),
        ("smtpsend", [&mail[..], &["--cert", &cert, "--key", &key]].concat()),
        ("dnsq", vec![&dns, "a.test", "-k", &tsig, "--tries", "1", "--timeout", "0.3"]),
        ("ftpserve", vec!["--listen", "127.0.0.1:0", "--check-config", "--user-file", &users, "."]),
        (
            "dnsserve",
            vec!["--listen", "127.0.0.1:0", "--check-config", "--key-file", &tsig, "--forward", "127.0.0.1:1"],
        ),
    ] {
        let done = tool(name).args(args).dir(dir.path()).run();
        done.says("others can read it");
    }
}
