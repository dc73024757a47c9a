//! Rules for directories: no command does in a directory what its rule forbids, by whatever path it gets there.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;

use crate::ftp_accounts::{serve, write};
use crate::ftp_server::{Client, hash};
use crate::harness::{server, temp_dir, tool};

const WORDS: [&str; 8] = ["list", "read", "upload", "overwrite", "append", "delete", "rename", "mkdir"];

/// Each command with the rights that it needs in the directory `@`, and the code of its success. `%` is a new name.
const COMMANDS: &[(&str, &[&str], &str)] = &[
    ("SIZE @/old", &["list"], "213"),
    ("MDTM @/old", &["list"], "213"),
    ("MLST @/old", &["list"], "250"),
    ("MLST @", &["list"], "250"),
    ("STAT @", &["list"], "213"),
    ("STAT @/o*", &["list"], "213"),
    ("AVBL @", &["list"], "213"),
    ("NLST @", &["list"], "226"),
    ("NLST @/o*", &["list"], "226"),
    ("LIST @", &["list"], "226"),
    ("LIST @/old", &["list"], "226"),
    ("MLSD @", &["list"], "226"),
    ("RETR @/old", &["read"], "226"),
    ("HASH @/old", &["read"], "213"),
    ("MD5 @/old", &["read"], "251"),
    ("XMD5 @/old", &["read"], "250"),
    ("XCRC \"@/old\" 0 2", &["read"], "250"),
    ("XSHA256 @/old 0 2", &["read"], "250"),
    ("STOR @/%", &["upload"], "226"),
    ("STOU @/%", &["upload"], "226"),
    ("STOR @/over", &["upload", "overwrite"], "226"),
    ("APPE @/longer", &["append"], "226"),
    ("REST 1\r\nSTOR @/longer", &["append"], "226"),
    ("MFMT 20260101000000 @/old", &["overwrite"], "213"),
    ("MDTM 20260101000000 @/old", &["overwrite"], "213"),
    ("MFF Modify=20260101000000; @/old", &["overwrite"], "213"),
    ("SITE CHMOD 640 @/old", &["overwrite"], "200"),
    ("SITE UTIME 20260101000000 @/old", &["overwrite"], "200"),
    ("MKD @/%", &["mkdir"], "257"),
    ("RMD @/empty", &["delete"], "250"),
    ("DELE @/gone", &["delete"], "250"),
    ("RNFR @/moves\r\nRNTO @/moved", &["rename"], "250"),
    ("RNFR @/over\r\nRNTO @/longer", &["rename", "overwrite"], "250"),
    ("RNFR @/leaves\r\nRNTO /free/%", &["rename", "delete", "read"], "250"),
    ("RNFR /free/comes\r\nRNTO @/%", &["upload"], "250"),
];

/// The words that the user has in each directory: each right alone, and all but one.
fn directories() -> Vec<Vec<&'static str>> {
    let alone = WORDS.iter().map(|word| vec![*word]);
    let but_one = WORDS.iter().map(|word| WORDS.into_iter().filter(|other| other != word).collect());
    alone.chain(but_one).collect()
}

/// The last reply to commands that are sent one after the other, or the first refusal.
fn outcome(client: &mut Client, commands: &str) -> String {
    let mut reply = String::new();
    for command in commands.split("\r\n") {
        reply = match command.split(' ').next().unwrap() {
            "NLST" | "LIST" | "MLSD" | "RETR" => client.get(command).map_or_else(|reply| reply, |_| "226".to_owned()),
            "STOR" | "STOU" | "APPE" => {
                let mut data = client.data();
                client.send(&format!("{command}\r\n"));
                match client.reply() {
                    begun if begun.starts_with("150") => {
                        data.write_all(b"new").unwrap();
                        drop(data);
                        client.reply()
                    }
                    refused => refused,
                }
            }
            _ => {
                client.send(&format!("{command}\r\n"));
                client.reply()
            }
        };
        if reply.starts_with(['4', '5']) {
            break;
        }
    }
    reply
}

fn fill(directory: &Path) {
    for name in ["old", "over", "longer", "gone", "moves", "leaves"] {
        write(&directory.join(name), b"text");
    }
    let _ = std::fs::remove_file(directory.join("moved"));
    std::fs::create_dir_all(directory.join("empty")).unwrap();
}

/// The whole table: in each directory, by an absolute path, from inside, and through a link from where everything is allowed.
#[test]
fn no_command_does_what_the_rule_of_its_directory_forbids() {
    let dir = temp_dir();
    let tree = dir.path().join("tree");
    let directories = directories();
    let rights = |words: &[&str]| if words.len() == 1 { format!("{0}+{0}", words[0]) } else { words.join("+") };
    let mut flags = "write".to_owned();
    for (number, words) in directories.iter().enumerate() {
        flags += &format!(",dir=/rule{number}:{}", rights(words));
        std::fs::create_dir_all(tree.join(format!("rule{number}"))).unwrap();
        symlink(format!("rule{number}"), tree.join(format!("link{number}"))).unwrap();
    }
    let server = serve(&dir, &[("joe", "", &flags)], &["--append"]);
    let mut client = Client::login(server.addr, "joe", "secret");
    let mut fresh = 0;
    for (number, words) in directories.iter().enumerate() {
        for (cwd, way) in
            [("/", format!("/rule{number}")), (&*format!("/rule{number}"), ".".into()), ("/", format!("link{number}"))]
        {
            fill(&tree.join(format!("rule{number}")));
            write(&tree.join("free/comes"), b"text");
            client.ask(&format!("CWD {cwd}"), 250);
            for (commands, needed, code) in COMMANDS {
                fresh += 1;
                let commands = commands.replace('@', &way).replace('%', &format!("new{fresh}"));
                let allowed = needed.iter().all(|word| words.contains(word));
                let reply = outcome(&mut client, &commands);
                let expected = if allowed { code } else { "550" };
                assert!(reply.starts_with(expected), "{words:?}: {commands:?}: {reply} instead of {expected}");
                assert!(tree.join("free/comes").exists() || commands.contains("comes") || words.contains(&"upload"));
            }
        }
    }
    assert_eq!(server.stop(), 0);
}

/// What MLSD says about permissions is what the rule says, and directories of rules stay where they are.
#[test]
fn facts_tell_the_rules_and_ruled_directories_stay() {
    let dir = temp_dir();
    let tree = dir.path().join("tree");
    for name in ["in/file", "in/deep/file", "out/x", "plain/x"] {
        write(&tree.join(name), b"x");
    }
    symlink("../in", tree.join("out/link")).unwrap();
    let flags = "write,dir=/in:list+upload,dir=/in/deep:list+read+delete";
    let server = serve(&dir, &[("joe", "", flags)], &[]);
    let mut client = Client::login(server.addr, "joe", "secret");
    let perm = |client: &mut Client, directory: &str| {
        let listed = String::from_utf8(client.get(&format!("MLSD {directory}")).unwrap()).unwrap();
        let fact = |line: &str| {
            let (facts, name) = line.split_once(' ').unwrap();
            let perm = facts.split(';').find_map(|fact| fact.strip_prefix("perm=")).unwrap().to_owned();
            format!("{name} {perm}")
        };
        listed.lines().map(fact).collect::<Vec<_>>()
    };
    assert_eq!(perm(&mut client, "/"), ["in cel", "out cdeflmp", "plain cdeflmp"]);
    assert_eq!(perm(&mut client, "/in"), ["deep el", "file "]);
    assert_eq!(perm(&mut client, "/out/link"), ["deep el", "file "]);
    assert_eq!(perm(&mut client, "/out/link/deep"), ["file dr"]);
    for refused in ["RNFR /in", "RNFR /in/deep", "RMD /in/deep", "DELE /in", "RNFR /out/link/deep", "RMD out/link/deep"]
    {
        client.ask(refused, 550);
    }
    // A directory does not become one with a rule, and what is unreadable does not become readable.
    for (from, to) in [("/plain", "/in"), ("/plain", "/in/deep"), ("/in/file", "/out/file")] {
        std::fs::create_dir_all(tree.join("plain")).unwrap();
        client.send(&format!("RNFR {from}\r\nRNTO {to}\r\n"));
        client.reply();
        assert!(client.reply().starts_with('5'), "{from} {to}");
    }
    client.ask("RNFR /out", 350);
    client.ask("RNTO /elsewhere", 250);
    // A link's own name is that of its directory.
    client.ask("DELE /elsewhere/link", 250);
    assert!(tree.join("in/deep/file").exists());
}

/// Rules of the command line are for everybody, a user's own come first, and HUP brings new ones to the next login.
#[test]
fn rules_for_everybody_and_for_one() {
    let dir = temp_dir();
    let tree = dir.path().join("tree");
    for name in ["joe/in", "joe/secret", "in"] {
        std::fs::create_dir_all(tree.join(name)).unwrap();
    }
    let args = ["--rule", "/in=list,upload", "--rule", "/secret=none", "--rule", "/gone*=none", "--anonymous"];
    let server = serve(&dir, &[("joe", "joe", "read"), ("ann", "", "read,dir=/in:none")], &args);
    let mut joe = Client::login(server.addr, "joe", "secret");
    assert!(joe.put("in/x", b"x").starts_with("226"));
    assert!(joe.put("x", b"x").starts_with("550"));
    assert!(joe.get("NLST secret").unwrap_err().starts_with("550"));
    let mut ann = Client::login(server.addr, "ann", "secret");
    assert!(ann.put("in/x", b"x").starts_with("550"), "her own rule");
    assert!(ann.get("NLST in").unwrap_err().starts_with("550"));
    let mut anonymous = Client::anonymous(&server);
    assert!(anonymous.put("in/x", b"x").starts_with("550"), "beside users, anonymous never writes");
    assert_eq!(anonymous.get("NLST in").unwrap(), b"");
    let users = dir.path().join("users");
    let lines = std::fs::read_to_string(&users).unwrap().replace("dir=/in:none", "dir=/in:upload+list");
    std::fs::write(&users, lines).unwrap();
    server.signal(Signal::HUP);
    server.stdout.wait_for("\"type\":\"reload\"");
    assert!(ann.put("in/x", b"x").starts_with("550"), "a session keeps the rights that it began with");
    assert!(Client::login(server.addr, "ann", "secret").put("in/x", b"x").starts_with("226"));
    assert_eq!(server.stop(), 0);
}

/// Without users, a rule opens a directory of a tree that is served to read.
#[test]
fn anonymous_stores_where_a_rule_says_so() {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("incoming")).unwrap();
    let run = server("ftpserve").args(["--rule", "/incoming=drop", "--rule", "/nowhere=none"]).arg(dir.path());
    let server = run.start();
    server.stderr.wait_for("--rule /nowhere: no such directory");
    let mut client = Client::anonymous(&server);
    assert!(client.put("incoming/letter", b"x").starts_with("226"));
    client.ask("RNFR incoming/letter", 350);
    client.ask("RNTO incoming/renamed", 250);
    assert!(client.put("letter", b"x").starts_with("550"));
    assert_eq!(client.get("NLST").unwrap(), b"incoming\r\n");
    assert!(client.get("NLST incoming").unwrap_err().starts_with("550"));
}

#[test]
fn what_is_wrong_with_a_rule_is_said_at_the_start() {
    let dir = temp_dir();
    for (rule, why) in
        [("/in", "PATH=RIGHTS"), ("in=read", "absolute"), ("/in=readonly", "not a right"), ("/in=", "not a right")]
    {
        let run = tool("ftpserve").args(["--listen", "127.0.0.1:0", "--rule", rule]).arg(dir.path());
        run.run().exits(64).says(why);
    }
    let run = tool("ftpserve").args(["--check-config", "--rule", "/in=drop"]).arg(dir.path());
    run.run().exits(0).says("--rule /in: no such directory");
    let users = dir.path().join("users");
    std::fs::write(&users, format!("joe:{}::dir=/in:all\n", hash("secret"))).unwrap();
    std::fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let run = tool("ftpserve").arg("--check-config").arg("--user-file").arg(&users).arg(dir.path());
    run.run().exits(78).says("line 1: \"dir=/in:all\": \"all\" is not a right");
}
