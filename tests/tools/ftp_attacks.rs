//! Attacks on FTP clients and servers that have names, each as it is known from other programs; those of names, links, floods and
//! broken replies are in the neighbouring files.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use applayer::net::tls::{ClientTls, ClientTlsOptions};

use crate::ftp_hostile::{Manner, answer, listing};
use crate::ftp_peer::{FtpPeer, ftp_peer};
use crate::ftp_server::{Client, hash};
use crate::harness::{server, temp_dir, tool};

/// A name is never a command (CVE-2014-8517: tnftp ran what followed `|`), an option or a home directory.
#[test]
fn names_have_no_meaning() {
    let foe = listing(
        "type=file;size=2; |touch evil\r\ntype=file;size=2; $(touch evil)\r\ntype=file;size=2; `touch evil`\r\n\
         type=file;size=2; -rf\r\ntype=file;size=2; x;touch evil\r\ntype=file;size=2; C:\\evil\r\ntype=file;size=2; >evil\r\n",
    );
    let work = temp_dir();
    tool("ftpget").args(["-r", "-o", "tree", &foe.url("")]).dir(work.path()).run().exits(0);
    tool("ftpget").args(["-q", &foe.url("%7Ctouch%20evil"), &foe.url("-")]).dir(work.path()).run();
    let names = |dir: &str| {
        let entries = std::fs::read_dir(work.path().join(dir)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    // `-` at the beginning is escaped, for the commands that people run on the tree.
    let tree = ["$(touch evil)", "%2Drf", ">evil", "C:\\evil", "`touch evil`", "x;touch evil", "|touch evil"];
    assert_eq!(names("tree"), tree);
    let here = names("");
    assert!(here.contains(&"|touch evil".to_owned()) && !here.contains(&"evil".to_owned()), "{here:?}");
}

/// Escapes in replies reach no terminal, with the dialogue on stderr as well (CVE-2004-1488).
#[test]
fn replies_move_no_cursor() {
    for verb in ["USER", "PASS", "MLSD", "RETR", "STOR", "DELE"] {
        let foe = ftp_peer(move |_, heard, _| {
            (heard == verb).then(|| "550 \x1b]0;owned\x07\x1b[2J no\x08\x7f\r\n".to_owned())
        });
        for (name, args) in
            [("ftpget", &["-o", "got"][..]), ("ftpls", &["-v"]), ("ftpdo", &["-v"]), ("ftpput", &["-v", "given"])]
        {
            let work = temp_dir();
            std::fs::write(work.path().join("given"), "x").unwrap();
            let url = foe.url(if name == "ftpls" || name == "ftpdo" { "" } else { "x" });
            let more: &[&str] = if name == "ftpdo" { &["rm", "x"] } else { &[] };
            let done = tool(name).args(args).arg(&url).args(more).dir(work.path()).run();
            let bad = |text: &str| text.contains(|letter: char| letter.is_control() && !"\n\t".contains(letter));
            assert!(!bad(&done.stderr) && !bad(done.text()), "{verb}: {done}");
        }
    }
}

/// A password is for the server of its URL and for no other one (CVE-2022-27774, CVE-2023-27535).
#[test]
fn passwords_stay_with_their_server() {
    let plain = || ftp_peer(|session, verb, path| answer(session, &Manner::default(), verb, path));
    let (ours, other) = (plain(), plain());
    let with = |foe: &FtpPeer, login: &str| foe.url("x").replace("ftp://", &format!("ftp://{login}"));
    let run = |urls: &[&str]| tool("ftpget").args(["-q", "-o", "-"]).args(urls).run();
    run(&[&with(&ours, "bob:sesame@"), &other.url("x"), &with(&other, "eve:hers@"), &ours.url("x")]);
    let heard = other.heard();
    assert!(
        ["USER anonymous", "USER eve", "PASS hers"].iter().all(|line| heard.iter().any(|it| it == line)),
        "{heard:?}"
    );
    assert!(!heard.iter().any(|line| line.contains("sesame") || line.contains("bob")), "{heard:?}");
    let heard = ours.heard();
    assert!(
        ["USER anonymous", "USER bob", "PASS sesame"].iter().all(|line| heard.iter().any(|it| it == line)),
        "{heard:?}"
    );
    // Two users of one server have two connections.
    let both = plain();
    run(&[&with(&both, "bob:sesame@"), &with(&both, "eve:hers@")]);
    let users: Vec<_> = both.heard().into_iter().filter(|line| line.starts_with("USER")).collect();
    assert_eq!(users.len(), 2, "{users:?}");
}

/// Active mode: who connects first from elsewhere gives or gets nothing.
#[test]
fn an_active_data_connection_is_the_servers() {
    let foe = ftp_peer(|session, verb, argument| {
        if let "EPRT" | "PORT" = verb {
            let numbers: Vec<u64> = argument.split(['|', ',']).filter_map(|number| number.parse().ok()).collect();
            let port = if verb == "EPRT" { numbers[numbers.len() - 1] } else { numbers[4] * 256 + numbers[5] };
            session.memory = port;
            return Some("200 taken\r\n".to_owned());
        }
        if !matches!(verb, "RETR" | "STOR") {
            return answer(session, &Manner::default(), verb, argument);
        }
        let to = SocketAddr::from(([127, 0, 0, 1], u16::try_from(session.memory).unwrap()));
        // A stranger is there first, with bytes of its own.
        let stranger = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        stranger.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
        stranger.connect(&to.into()).unwrap();
        let mut stranger = TcpStream::from(stranger);
        let _ = stranger.write_all(b"evil");
        session.say("150 here it comes\r\n");
        let mut data = TcpStream::connect(to).unwrap();
        let mut stolen = Vec::new();
        if verb == "RETR" {
            data.write_all(b"hi").unwrap();
        } else {
            let mut given = Vec::new();
            data.read_to_end(&mut given).unwrap();
            assert_eq!(given, b"me");
        }
        drop(data);
        let _ = stranger.read_to_end(&mut stolen);
        Some(if stolen.is_empty() { "226 done\r\n" } else { "451 stolen\r\n" }.to_owned())
    });
    let work = temp_dir();
    std::fs::write(work.path().join("mine"), "me").unwrap();
    let done = tool("ftpget").args(["--active", "-o", "got", &foe.url("x")]).dir(work.path()).run();
    assert_eq!(std::fs::read(work.path().join("got")).unwrap_or_default(), b"hi", "{done}");
    tool("ftpput").args(["--active", "mine", &foe.url("x")]).dir(work.path()).run().exits(0);
}

/// ALPACA (CVE-2021-3618): TLS that was meant for a web or mail server ends in the handshake.
#[test]
fn tls_for_another_protocol_is_refused() {
    let dir = temp_dir();
    let server = server("ftpserve").args(["--self-signed", "a.test", "--tls", "implicit"]).arg(dir.path()).start();
    for (protocols, taken) in [
        (&[][..], true),
        (&["ftp"], true),
        (&["h2", "ftp"], true),
        (&["http/1.1"], false),
        (&["h2", "http/1.1"], false),
        (&["smtp"], false),
    ] {
        let client = ClientTls::new(&ClientTlsOptions { insecure: true, ..ClientTlsOptions::default() }).unwrap();
        let shaken = client.with_alpn(protocols).connect_blocking(TcpStream::connect(server.addr).unwrap(), "a.test");
        // With TLS 1.3 the client is done before the server has looked at what it offers.
        let greeted = shaken.is_ok_and(|mut tls| tls.read(&mut [0; 4]).is_ok_and(|read| read == 4));
        assert_eq!(greeted, taken, "{protocols:?}");
    }
}

/// The replies to a wrong password and to a name that does not exist are the same.
#[test]
fn nobody_learns_who_has_an_account() {
    let dir = temp_dir();
    let users = dir.path().join("users");
    std::fs::write(&users, format!("joe:{0}\nlost:{0}:nowhere\nold:{0}::read,expires=2020-01-01\n", hash("x")))
        .unwrap();
    let server = server("ftpserve").arg("--user-file").arg(&users).arg(dir.path()).start();
    let said = |user: &str| {
        let mut client = Client::connect(server.addr);
        client.send(&format!("USER {user}\r\n"));
        let named = client.reply();
        client.send("PASS wrong\r\n");
        (named, client.reply())
    };
    let joe = said("joe");
    assert!(joe.1.starts_with("530 "), "{joe:?}");
    // One is the name of a known backdoor (CVE-2011-2523).
    for user in ["nobody", "lost", "old", "anonymous", "joe:)", "JOE"] {
        assert_eq!(said(user), joe, "{user:?}");
    }
}

/// Passive ports do not follow each other, or a stranger knows the next one.
#[test]
fn passive_ports_cannot_be_foretold() {
    let dir = temp_dir();
    for range in [&[][..], &["--pasv-ports", "20000-29999"]] {
        let server = server("ftpserve").args(range).arg(dir.path()).start();
        let mut client = Client::anonymous(&server);
        let ports: Vec<i32> =
            (0..12).map(|_| client.ask("EPSV", 229).split('|').nth(3).unwrap().parse().unwrap()).collect();
        let steps: std::collections::BTreeSet<i32> = ports.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.len() > 5, "{ports:?}");
    }
}

/// Offsets and sizes at the ends of their range are refused, or have no effect beyond their transfer.
#[test]
fn numbers_at_the_end_of_their_range() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("file"), "0123456789").unwrap();
    let server = server("ftpserve").args(["--write", "--append"]).arg(dir.path()).start();
    let mut client = Client::anonymous(&server);
    for offset in [11, i64::MAX as u64 - 1, i64::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX] {
        for command in ["RETR file", "STOR file", "STOR new"] {
            client.ask(&format!("REST {offset}"), 350);
            let mut data = client.data();
            client.send(&format!("{command}\r\n"));
            let mut reply = client.reply();
            if reply.starts_with("150") {
                let _ = data.write_all(b"evil");
                drop(data);
                reply = client.reply();
            }
            assert!(reply.starts_with("55") || reply.starts_with("45"), "{command} from {offset}: {reply}");
        }
        client.send(&format!("ALLO {offset}\r\n"));
        assert!(["202", "452", "552"].contains(&&client.reply()[..3]), "ALLO {offset}");
        client.ask(&format!("RANG {offset} {offset}"), if offset == u64::MAX { 501 } else { 350 });
        client.send("HASH file\r\n");
        let reply = client.reply();
        assert!(reply.starts_with("21") || reply.starts_with("55"), "HASH from {offset}: {reply}");
        client.ask("RANG 1 0", 350);
    }
    assert_eq!(client.get("RETR file").unwrap(), b"0123456789", "REST is forgotten");
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"0123456789");
    assert!(!dir.path().join("new").exists());
}
