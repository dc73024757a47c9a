//! Accounts of smtpsend: where to, who writes, how to log in, in msmtp's words.

use std::sync::{Arc, Mutex};

use crate::harness::{temp_dir, tool};
use crate::mail::sink;

#[test]
fn an_account_says_where_to_and_who_writes() {
    let (server, taken) = sink(|_| None);
    let folder = temp_dir();
    let file = folder.path().join(".config/applayer/accounts");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = format!(
        "defaults\nhost 127.0.0.1\nport {}\ntls off\naliases ~/aliases\ndsn_notify never\n\naccount work\nfrom me@work.test\n\
         from_full_name Me Myself\n\naccount other\nfrom *@other.test\nport 1\n\naccount default : work\n",
        server.addr.port()
    );
    std::fs::write(&file, &text).unwrap();
    std::fs::write(folder.path().join("aliases"), "boss: b@work.test, c@work.test\n").unwrap();
    let run = |args: &[&str]| tool("smtpsend").args(args).home(folder.path()).stdin("x\n").run();
    run(&["--to", "boss", "-s", "x"]).silent_success();
    let first = taken.lock().unwrap().remove(0);
    assert_eq!((first.sender.as_str(), first.recipients.join(" ")), ("me@work.test", "b@work.test c@work.test".into()));
    assert!(String::from_utf8(first.message).unwrap().contains("From: Me Myself <me@work.test>\r\n"));
    run(&["--from", "x@other.test", "--to", "boss"]).exits(75).says("127.0.0.1:1");
    run(&["--from", "x@other.test", "-A", "work", "--to", "boss"]).silent_success();
    run(&["-A", "none", "--to", "boss"]).exits(78);
    let complete = tool("smtpsend").args(["-t"]).home(folder.path()).stdin("To: boss\n\nx\n").run();
    complete.silent_success();
    assert_eq!(taken.lock().unwrap().pop().unwrap().recipients, ["b@work.test", "c@work.test"]);
    for bad in ["hots x", "host a\0b", "port 0x", "password\rhost evil"] {
        std::fs::write(&file, format!("{text}{bad}\n")).unwrap();
        run(&["--to", "boss"]).exits(78).says("line 17");
    }
    std::fs::write(&file, format!("{text}user u\npassword p\n")).unwrap();
    run(&["--to", "boss"]).exits(0).says("others can read it");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o620)).unwrap();
    run(&["--to", "boss"]).exits(78).says("others may change it");
    tool("smtpsend").args(["-A", "x", "--to", "a@b.test"]).stdin("").run().exits(78);
}

#[test]
fn an_account_logs_in_by_command_and_pins_the_certificate() {
    let folder = temp_dir();
    std::fs::create_dir_all(folder.path().join("mail/bob")).unwrap();
    let hash = tool("smtpserve").arg("--hash-password").stdin("geheim\n").run();
    std::fs::write(folder.path().join("users"), format!("alice:{}\n", hash.silent_success().text().trim())).unwrap();
    let server = crate::harness::server("smtpserve")
        .args(["--domain", "b.test", "--mailboxes", "mail", "--self-signed", "mail.b.test", "--user-file", "users"])
        .args(["--cert-out", "cert.pem", "--queue-dir", "queue"])
        .dir(folder.path())
        .start();
    let pem = std::fs::read_to_string(folder.path().join("cert.pem")).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = applayer::mail::transfer::decode_base64(base64.as_bytes());
    let digest = ring::digest::digest(&ring::digest::SHA256, &der);
    let pin: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let run = |pin: &str, password: &str| {
        let accounts = folder.path().join("accounts");
        let text = format!(
            "account default\nhost 127.0.0.1\nport {}\ntls on\ntls_fingerprint {pin}\nauth plain\nuser alice\n\
             passwordeval echo {password}\nfrom alice@a.test\n",
            server.port()
        );
        std::fs::write(&accounts, text).unwrap();
        tool("smtpsend").arg("--accounts").arg(&accounts).args(["--to", "bob@b.test", "--json"]).stdin("x\n").run()
    };
    let done = run(&pin.join(":"), "geheim");
    done.exits(0);
    assert_eq!(done.records_of("recipient")[0]["tls_verified"], true);
    run(&pin.join(":"), "falsch").exits(77);
    run(&"00".repeat(32), "geheim").exits(77);
}

#[test]
fn every_word_of_an_msmtprc_is_known() {
    let (server, taken) = sink(|line| line.contains("NOTIFY").then_some("555 5.5.4 what is that"));
    let dir = temp_dir();
    let accounts = format!(
        "# as msmtp's manual lists them\ndefaults\nport {port}\ntls off\nauth off\nlogfile ~/.msmtp.log\nsyslog LOG_MAIL\n\
         logfile_time_format %F\nset_from_header auto\nset_date_header auto\nset_msgid_header auto\nremove_bcc_headers on\n\
         undisclosed_recipients off\nallow_from_override on\nadd_missing_from_header on\nadd_missing_date_header on\n\
         add_missing_message_id_header on\nauto_from off\nmaildomain x.test\ntls_priorities NORMAL\ntls_min_dh_prime_bits 1024\n\
         keepbcc off\n\naccount first\neval echo host 127.0.0.1\nprotocol smtp\ndomain me.test\nfrom first@a.test\n\
         from_full_name \"First Author\"\ntimeout 5\nsource_ip 127.0.0.1\ndsn_notify off\ndsn_return off\ntls_certcheck on\n\
         tls_starttls on\ntls_trust_file system\ntls_fingerprint\nproxy_host\nproxy_port\n\naccount second : first\nfrom s*@b.test\n\
         dsn_notify failure,delay\ndsn_return headers\n\naccount default : first\n",
        port = server.addr.port()
    );
    let accounts = accounts.replace("proxy_host\nproxy_port\n", "proxy_host \"\"\nproxy_port \"\"\n");
    std::fs::write(dir.path().join("accounts"), &accounts).unwrap();
    let run = |args: &[&str]| {
        let args = ["--accounts", "accounts", "--to", "b@b.test", "--body", "/dev/null"].iter().chain(args);
        tool("smtpsend").args(args).dir(dir.path()).run()
    };
    run(&[]).silent_success();
    run(&["--from", "seven@b.test"]).silent_success();
    run(&["-A", "second", "--from", "x@y.test"]).silent_success();
    let senders: Vec<String> = taken.lock().unwrap().iter().map(|it| it.sender.clone()).collect();
    assert_eq!(senders, ["first@a.test", "seven@b.test", "x@y.test"]);
    let first = String::from_utf8(taken.lock().unwrap()[0].message.clone()).unwrap();
    assert!(first.contains("From: First Author <first@a.test>\r\n"), "{first}");
    for (setting, status, says) in [
        ("tls_crl_file x", 78, "is not supported"),
        ("ntlmdomain x", 78, "is not supported"),
        ("eval false", 78, "eval"),
        ("eval echo eval echo x", 78, "one setting"),
        ("eval printf 'host\\000x'", 78, "line"),
        ("no_such_word x", 78, "is not known"),
        ("auth magic", 78, "no such mechanism"),
        ("tls maybe", 78, "on or off"),
    ] {
        std::fs::write(dir.path().join("accounts"), format!("{accounts}{setting}\n")).unwrap();
        run(&[]).exits(status).says(says);
    }
}

#[test]
fn nothing_is_injected_through_an_account() {
    let dir = temp_dir();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heard);
    let (server, taken) = sink(move |line| {
        kept.lock().unwrap().push(line.to_owned());
        None
    });
    let nasty = "x\\r\\nRCPT TO:<eve@evil.test>";
    // A line of the file cannot hold a line end; what a command prints might.
    for key in [
        "from",
        "domain",
        "from_full_name",
        "user",
        "password",
        "dsn_notify",
        "dsn_return",
        "aliases",
        "tls_host_override",
    ] {
        for value in [
            format!("printf '{key} {nasty}'"),
            format!("printf '{key} x\\0y'"),
            format!("printf '{key} a@a.test>\\rx'"),
        ] {
            let accounts =
                format!("account default\nhost 127.0.0.1\nport {}\nfrom a@a.test\neval {value}\n", server.addr.port());
            let path = dir.path().join("accounts");
            std::fs::write(&path, accounts).unwrap();
            let args = ["--accounts", "accounts", "--to", "b@b.test", "--body", "/dev/null", "--timeout", "5"];
            tool("smtpsend").args(args).dir(dir.path()).run();
        }
    }
    for (key, value) in [("from", "a@a.test>"), ("from", "a@a.test> SIZE=1"), ("domain", "x y"), ("from", "a b@c.test")]
    {
        let accounts =
            format!("account default\nhost 127.0.0.1\nport {}\nfrom a@a.test\n{key} {value}\n", server.addr.port());
        std::fs::write(dir.path().join("accounts"), accounts).unwrap();
        let args = ["--accounts", "accounts", "--to", "b@b.test", "--body", "/dev/null"];
        assert_ne!(tool("smtpsend").args(args).dir(dir.path()).run().status, 0, "{key} {value}");
    }
    assert!(!heard.lock().unwrap().iter().any(|line| line.contains("evil") || line.contains("SIZE=1 ")), "{heard:?}");
    assert!(taken.lock().unwrap().iter().all(|it| it.recipients == ["b@b.test"]), "{taken:?}");
}

/// `/etc/applayer/accounts`, in a mount namespace in which `/etc` holds nothing else.
#[test]
fn a_host_has_accounts_for_whoever_has_none() {
    let unshared = || std::process::Command::new("unshare").args(["--mount", "true"]).status();
    if !rustix::process::geteuid().is_root() || !unshared().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: no mount namespace");
    }
    let (server, taken) = sink(|_| None);
    let (home, etc) = (temp_dir(), temp_dir());
    let accounts = etc.path().join("applayer/accounts");
    std::fs::create_dir(accounts.parent().unwrap()).unwrap();
    let of = |from: &str| format!("host 127.0.0.1\nport {}\ntls off\nfrom {from}\n", server.addr.port());
    let text = format!("account default\n{}account other\n{}", of("root@host.test"), of("other@host.test"));
    std::fs::write(&accounts, text).unwrap();
    let mount = format!("mount --bind {} /etc && exec \"$0\" \"$@\"", etc.path().display());
    let unshare = format!("exec unshare --mount --propagation private sh -c '{mount}' \"$0\" \"$@\"");
    let run = |name: &str, args: &[&str]| {
        let queue = home.path().join("queue");
        let run = tool(name).env("APPLAYER_QUEUE", queue).args(args).home(home.path()).shell(&unshare);
        run.stdin(if name == "smtpsend" { "x\n" } else { "" }).run()
    };
    let came_from = |sender: &str| {
        let senders: Vec<String> = taken.lock().unwrap().drain(..).map(|message| message.sender).collect();
        assert_eq!(senders, [sender]);
    };
    let to = ["--to", "b@b.test", "-s", "x"];
    run("smtpsend", &to).silent_success();
    came_from("root@host.test");
    run("smtpsend", &[&["-A", "other"], &to[..]].concat()).silent_success();
    came_from("other@host.test");
    // What is queued for an account is delivered by it.
    run("smtpsend", &[&["-A", "other", "--queue"], &to[..]].concat()).exits(0);
    run("mailq-run", &[]).exits(0);
    came_from("other@host.test");
    // A file of the user's own takes its place, whole.
    let own = home.path().join(".config/applayer/accounts");
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    std::fs::write(&own, format!("account default\n{}", of("me@home.test"))).unwrap();
    run("smtpsend", &to).silent_success();
    came_from("me@home.test");
    run("smtpsend", &[&["-A", "other"], &to[..]].concat()).exits(78).says("other");
    std::fs::remove_file(&own).unwrap();
    std::fs::set_permissions(&accounts, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    run("smtpsend", &to).exits(78).says("/etc/applayer/accounts").says("others may change it");
    std::fs::remove_file(&accounts).unwrap();
    run("smtpsend", &[&["-A", "other"], &to[..]].concat()).exits(78).says("/etc/applayer/accounts");
    assert!(taken.lock().unwrap().is_empty());
}
