//! `--cert-login`: a verified certificate takes the place of a password, for the user whom it names.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};

use crate::ftp_server::hash;
use crate::harness::{Done, Server, server, temp_dir, tool};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(dir: &Path, name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let made = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join(format!("{name}.pem")), made.pem()).unwrap();
    made
}

/// A certificate and its key in the file `name`.pem.
fn issue(dir: &Path, authority: &Authority, name: &str, change: impl FnOnce(&mut CertificateParams)) {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let made = params.signed_by(&key, authority).unwrap();
    let file = dir.join(format!("{name}.pem"));
    std::fs::write(&file, made.pem() + &key.serialize_pem()).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn named(name: &'static str) -> impl Fn(&mut CertificateParams) {
    move |params| params.distinguished_name.push(DnType::CommonName, name)
}

/// The run of a client with this certificate, as this user, with the password `secret`.
fn client(tool_name: &str, dir: &Path, certificate: &str, user: &str, args: &[&str]) -> Done {
    let run = tool(tool_name).dir(dir).args(["-v", "--ca-cert", "server.pem", "--tls-name", "a.test"]);
    let run = run.args(["--cert", &format!("{certificate}.pem"), "--user", user, "--password-file", "password"]);
    run.args(args).run()
}

fn ground(dir: &Path) -> Authority {
    let own = authority(dir, "ca");
    issue(dir, &own, "server", |params| {
        params.subject_alt_names = vec![SanType::DnsName("a.test".try_into().unwrap())];
    });
    // Clients trust the authority of the server's certificate.
    let (server, ca) = (dir.join("server.pem"), std::fs::read_to_string(dir.join("ca.pem")).unwrap());
    std::fs::rename(&server, dir.join("served.pem")).unwrap();
    std::fs::write(&server, ca).unwrap();
    for name in ["alice", "bob", "free"] {
        std::fs::create_dir_all(dir.join("tree").join(name)).unwrap();
        std::fs::write(dir.join("tree").join(name).join("file"), name).unwrap();
    }
    std::fs::write(dir.join("password"), "secret\n").unwrap();
    std::fs::set_permissions(dir.join("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let users = dir.join("users");
    let lines = [
        "alice:*:alice:write".to_owned(),
        "bob@a.test:*:bob:read".to_owned(),
        format!("free:{}:free:read", hash("secret")),
        format!("host.a.test:{}:free:read", hash("other")),
        "late:*:alice:write,expires=2020-01-01".to_owned(),
        "far:*:alice:write,net=192.0.2.0/24".to_owned(),
    ];
    std::fs::write(&users, lines.join("\n")).unwrap();
    std::fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    own
}

fn serve(dir: &Path, args: &[&str]) -> Server {
    let run = server("ftpserve").dir(dir).args(["--json", "--cert", "served.pem", "--client-ca", "ca.pem"]);
    run.args(["--user-file", "users"]).args(args).arg("tree").start()
}

#[test]
fn a_certificate_logs_its_user_in_and_nobody_else() {
    let home = temp_dir();
    let dir = home.path();
    let own = ground(dir);
    let stranger = authority(dir, "stranger");
    issue(dir, &own, "alice", named("alice"));
    issue(dir, &own, "bob", |params| {
        params.distinguished_name.push(DnType::CommonName, "Robert");
        params.subject_alt_names = vec![
            SanType::Rfc822Name("bob@a.test".try_into().unwrap()),
            SanType::DnsName("host.a.test".try_into().unwrap()),
        ];
    });
    issue(dir, &own, "unknown", named("mallory"));
    issue(dir, &own, "late", named("late"));
    issue(dir, &own, "far", named("far"));
    issue(dir, &own, "expired", |params| {
        named("alice")(params);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    issue(dir, &own, "only-servers", |params| {
        named("alice")(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    issue(dir, &stranger, "forged", named("alice"));
    for (tls, scheme) in [("starttls", "ftpes"), ("implicit", "ftps")] {
        let server = serve(dir, &["--cert-login", "--tls", tls]);
        assert!(server.url.starts_with(scheme), "{}", server.url);
        let file = format!("{}/file", server.url);
        // Who is logged in how: 232 by the certificate, 230 by the password after 331, 530 not at all.
        let cases = [
            ("alice", "alice", "232", Some("alice")),
            ("bob", "bob@a.test", "232", Some("bob")),
            ("bob", "host.a.test", "232", Some("free")),
            ("alice", "free", "230", Some("free")),
            ("unknown", "free", "230", Some("free")),
            ("alice", "bob@a.test", "530", None),
            ("bob", "alice", "530", None),
            ("bob", "Robert", "530", None),
            ("unknown", "mallory", "530", None),
            ("unknown", "alice", "530", None),
            ("alice", "host.a.test", "530", None),
            ("late", "late", "530", None),
            ("far", "far", "530", None),
        ];
        for (number, (certificate, user, code, content)) in cases.into_iter().enumerate() {
            // Each from an address of its own: guesses have to wait.
            let from = format!("127.0.0.{}", number + 2);
            let done = client("ftpget", dir, certificate, user, &["--bind", &from, "-o", "-", &file]);
            let what = format!("{tls} {certificate} as {user}\n{done}{server}");
            assert!(done.stderr.contains(&format!("< {code} ")), "{what}");
            assert_eq!(done.status, if content.is_some() { 0 } else { 77 }, "{what}");
            assert_eq!(content.unwrap_or_default(), done.text(), "{what}");
            assert_eq!(done.stderr.contains("< 331"), code != "232" && !matches!(user, "late" | "far"), "{what}");
        }
        // No handshake, so no word.
        for certificate in ["expired", "forged", "only-servers"] {
            let done = client("ftpget", dir, certificate, "alice", &["-o", "-", &file]);
            assert!(done.status != 0 && done.text().is_empty(), "{certificate}\n{done}");
            assert!(
                !["< 230", "< 232", "< 331"].iter().any(|code| done.stderr.contains(code)),
                "{certificate}\n{done}"
            );
        }
        // Root and rights are those of the user.
        client("ftpput", dir, "alice", "alice", &["password", &format!("{}/new", server.url)]).exits(0);
        assert!(dir.join("tree/alice/new").exists());
        client("ftpput", dir, "bob", "bob@a.test", &["password", &format!("{}/new", server.url)]).exits(69);
        assert!(!dir.join("tree/bob/new").exists());
        for record in [
            "\"user\":\"alice\",\"tls\":true,\"accepted\":true,\"method\":\"certificate\"",
            "\"user\":\"free\",\"tls\":true,\"accepted\":true}",
            "\"accepted\":false,\"reason\":\"the account has expired\",\"method\":\"certificate\"",
            "\"accepted\":false,\"reason\":\"the account is not for this network\",\"method\":\"certificate\"",
        ] {
            server.stdout.wait_for(record);
        }
        assert_eq!(server.stop(), 0);
    }
}

/// Without the option a certificate opens the connection and nothing more.
#[test]
fn without_the_option_the_password_decides() {
    let home = temp_dir();
    let own = ground(home.path());
    issue(home.path(), &own, "alice", named("alice"));
    let server = serve(home.path(), &[]);
    let done = client("ftpget", home.path(), "alice", "alice", &["-o", "-", &format!("{}/file", server.url)]);
    done.exits(77);
    assert!(!done.stderr.contains("< 232"), "{done}");
    drop(server);
    for missing in [&["--cert-login"][..], &["--cert-login", "--user-file", "users"]] {
        tool("ftpserve").dir(home.path()).args(missing).arg("tree").run().exits(64);
    }
}
