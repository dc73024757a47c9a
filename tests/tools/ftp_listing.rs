//! Listings that are not what they seem: cut short, of another directory, inside themselves, endless. A scripted server
//! shows a small tree truly or not, and every FTP tool draws its conclusions.

use std::io::Write as _;
use std::path::Path;

use crate::ftp_peer::{FtpPeer, FtpSession, OPENING, ftp_peer};
use crate::harness::{Done, temp_dir, tool};

/// A tree: directories and what is in them, directories with a slash. All files hold `hi`.
type Tree = &'static [(&'static str, &'static [&'static str])];

const TREE: Tree = &[("", &["top", "sub/"]), ("sub", &["a", "b", "-l/"]), ("sub/-l", &["c d"])];

/// What the server does its own way.
#[derive(Clone, Copy)]
struct Ways {
    tree: Tree,
    /// No MLSD, no MLST.
    old: bool,
    /// Ends each listing.
    closing: &'static str,
    /// Lists the current directory, whatever it is told.
    deaf: bool,
    /// Lists the top for this directory, and knows what is not there.
    astray: Option<&'static str>,
    pwd: &'static str,
    /// Its data connections cannot be reached.
    no_data: bool,
}

const HONEST: Ways = Ways {
    tree: TREE,
    old: false,
    closing: "226 done\r\n",
    deaf: false,
    astray: None,
    pwd: "257 \"/\" is it\r\n",
    no_data: false,
};

fn serve(ways: Ways) -> FtpPeer {
    ftp_peer(move |session, verb, argument| answer(session, ways, verb, argument))
}

/// The place of a directory in the tree.
fn place(tree: Tree, path: &str) -> Option<usize> {
    let path = path.trim_matches('/').trim_end_matches('.');
    // What is called like a link leads to the top: a tree without end.
    let path = path.rsplit_once("link").map_or(path, |(_, rest)| rest.get(1..).unwrap_or_default().trim_matches('/'));
    tree.iter().position(|(directory, _)| *directory == path)
}

fn listing(ways: Ways, at: usize, verb: &str) -> String {
    let line = |name: &&str| match (verb, name.strip_suffix('/')) {
        ("MLSD", Some(name)) => format!("type=dir; {name}\r\n"),
        ("MLSD", None) => format!("type=file;size=2; {name}\r\n"),
        (_, Some(name)) => format!("drwxr-xr-x 2 u g 4096 Nov 23  2020 {name}\r\n"),
        (_, None) => format!("-rw-r--r-- 1 u g 2 Nov 23  2020 {name}\r\n"),
    };
    ways.tree[at].1.iter().map(line).collect()
}

fn answer(session: &mut FtpSession, ways: Ways, verb: &str, argument: &str) -> Option<String> {
    let (directory, name) = argument.rsplit_once('/').unwrap_or(("", argument));
    let file = place(ways.tree, directory).is_some_and(|at| ways.tree[at].1.contains(&name));
    let text = match verb {
        "FEAT" if ways.old => "211-Features:\r\n SIZE\r\n211 End\r\n",
        "MLSD" if ways.old => "500 what?\r\n",
        "PWD" => ways.pwd,
        "CWD" => match place(ways.tree, argument) {
            Some(at) => {
                session.memory = at as u64;
                "250 in\r\n"
            }
            None => "550 no such directory\r\n",
        },
        "MLSD" | "LIST" if ways.no_data => "425 no data connection\r\n",
        "MKD" => "550 exists\r\n",
        "MLSD" | "LIST" | "STAT" => {
            let argument = argument.strip_prefix("-a").unwrap_or(argument).trim_start();
            let asked = match argument {
                "" | "." => Some(session.memory as usize),
                // What ls makes of odd arguments.
                odd if verb != "MLSD" && odd.contains(['-', ' ']) => Some(0),
                _ if ways.deaf => Some(session.memory as usize),
                path if ways.astray == Some(path) => Some(0),
                path => place(ways.tree, path),
            };
            let Some(at) = asked else { return Some("550 no such directory\r\n".to_owned()) };
            let text = listing(ways, at, verb);
            if verb == "STAT" {
                return Some(format!("213-Status:\r\n{text}213 End\r\n"));
            }
            let Some(mut data) = session.data(OPENING) else { return Some("425 no data connection\r\n".to_owned()) };
            data.write_all(text.as_bytes()).unwrap();
            ways.closing
        }
        "RETR" if file => {
            session.data(OPENING)?.write_all(b"hi").unwrap();
            "226 done\r\n"
        }
        "STOR" => {
            drop(std::io::copy(&mut session.data(OPENING)?, &mut std::io::sink()));
            "226 done\r\n"
        }
        "SIZE" if file => "213 2\r\n",
        "MLST" if ways.old => "500 what?\r\n",
        "MLST" if file => "250-Facts\r\n type=file;size=2; x\r\n250 End\r\n",
        "MLST" if place(ways.tree, argument).is_some() => "250-Facts\r\n type=dir; x\r\n250 End\r\n",
        "DELE" if !file => "550 no such file\r\n",
        "RMD" => "550 not empty\r\n",
        "RETR" | "SIZE" | "MLST" => "550 no such file\r\n",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Runs a tool in a directory where `D` is a local tree.
fn run(server: &FtpPeer, dir: &Path, name: &str, args: &[&str]) -> Done {
    let args = args.iter().map(|arg| arg.replace("URL/", &server.url("")));
    tool(name).args(["--timeout", "2", "--connect-timeout", "2"]).args(args).dir(dir).run()
}

/// A local tree `D` with files of these names.
fn local(names: &[&str]) -> tempfile::TempDir {
    let work = temp_dir();
    for name in names {
        let path = work.path().join("D").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "old").unwrap();
    }
    work
}

/// However a listing says or shows that it is not all: nothing is deleted, nothing spared is replaced, never 0.
#[test]
fn a_cut_listing_is_never_the_whole() {
    for (closing, status) in [
        ("226-Options: -a -l \r\n226 Output truncated to 2 matches\r\n", 65),
        ("226 Listing limited to 2 entries\r\n", 65),
        ("250 Anzeige auf 2 Eintraege beschraenkt.\r\n", 65),
        ("426 cut off\r\n", 75),
        ("451 read error\r\n", 75),
        ("551 no more\r\n", 69),
        ("", 75),
    ] {
        for old in [false, true] {
            let server = serve(Ways { old, closing, ..HONEST });
            for (name, args) in [
                ("ftpls", &["URL/"][..]),
                ("ftpls", &["URL/", "--name", "missing"]),
                ("ftpls", &["URL/*.txt"]),
                ("ftpls", &["--du", "URL/"]),
                ("ftpget", &["-r", "-j1", "--delete", "-o", "D", "URL/"]),
                ("ftpput", &["-r", "--no-clobber", "D/", "URL/"]),
                ("ftpput", &["-r", "--newer", "D/", "URL/"]),
                ("ftpput", &["-r", "--delete", "D/", "URL/"]),
                ("ftpdo", &["URL/", "du", "sub"]),
                ("ftpdo", &["URL/", "rm", "-r", "sub"]),
            ] {
                let (work, before) = (local(&["mine", "sub/mine"]), server.heard().len());
                let done = run(&server, work.path(), name, args);
                let what = format!("{closing:?} {old} {name} {args:?}: {done}");
                assert_eq!(done.status, status, "{what}");
                assert!(work.path().join("D/mine").exists() && work.path().join("D/sub/mine").exists(), "{what}");
                let heard = server.heard().split_off(before);
                let deleted = heard.iter().any(|line| line.starts_with("DELE ") && line != "DELE sub");
                let stored = heard.iter().any(|line| line.starts_with("STOR "));
                assert!(!deleted && (!stored || args.contains(&"--delete")), "{what}\n{heard:?}");
            }
        }
    }
}

/// A number of entries at which servers stop is worth a word, and no more.
#[test]
fn round_numbers_are_told() {
    for (count, told) in [(999, false), (1000, true), (1001, false), (10_000, true)] {
        let server = ftp_peer(move |session, verb, _| {
            let mut data = (verb == "MLSD").then(|| session.data(OPENING))??;
            let lines: String = (0..count).map(|n| format!("type=file;size=2; f{n}\r\n")).collect();
            data.write_all(lines.as_bytes()).unwrap();
            Some("226 done\r\n".to_owned())
        });
        for (name, args) in [("ftpls", &["URL/"][..]), ("ftpget", &["-r", "-n", "-o", "D", "URL/"])] {
            let done = run(&server, temp_dir().path(), name, args);
            assert_eq!((done.status, done.stderr.contains("round number")), (0, told), "{count} {done}");
        }
    }
}

/// A listing by STAT is cut without a word: a round number is no whole listing.
#[test]
fn a_listing_by_stat_ends_at_no_round_number() {
    for (count, status) in [(99, 0), (100, 65), (101, 0), (2000, 65)] {
        let server = ftp_peer(move |_, verb, _| {
            let lines: String = (0..count).map(|n| format!("-rw-r--r-- 1 u g 2 Nov 23  2020 f{n}\r\n")).collect();
            (verb == "STAT").then(|| format!("213-STAT\r\n{lines}213 End.\r\n"))
        });
        let done = run(&server, temp_dir().path(), "ftpls", &["--way", "stat", "URL/"]);
        assert_eq!((done.status, done.text().lines().count()), (status, count), "{done}");
    }
}

/// A refusal that may mean "nothing there", and an option that may be a name for the server: what else it does decides.
#[test]
fn an_empty_directory_is_told_from_one_that_is_not_there() {
    const FILE: &str = "-rw-r--r-- 1 u g 2 Nov 23  2020 a\r\n";
    const GONE: &str = "550 No such file or directory";
    // What `LIST -a` and `LIST` say, whether the directory can be entered; the status, what is listed, and a warning.
    for (with_option, plain, there, status, text, warns) in [
        ("", FILE, true, 0, "a\n", false),
        (GONE, FILE, true, 0, "a\n", false),
        ("451 file system error", FILE, true, 0, "a\n", false),
        ("", "", true, 0, "", false),
        ("total 0\r\n", FILE, true, 0, "", false),
        ("550 No files found.", "550 No files found.", true, 0, "", true),
        ("450 No files", "450 No files", true, 0, "", true),
        ("", GONE, true, 0, "", true),
        ("", GONE, false, 66, "", false),
        (GONE, GONE, false, 66, "", false),
        ("450 sub: No such file", "450 sub: No such file", false, 66, "", false),
        ("550 Permission denied", "550 Permission denied", true, 66, "", false),
    ] {
        for way in ["auto", "list"] {
            let server = ftp_peer(move |session, verb, argument| {
                let said = match verb {
                    "FEAT" => "211-Features:\r\n SIZE\r\n211 End",
                    "PWD" => "257 \"/\" is it",
                    "CWD" if there || argument == "/" => "250 in",
                    "CWD" => "550 no such directory",
                    "MLSD" => "500 what?",
                    "LIST" if argument.contains(".applayer") => GONE,
                    "LIST" if argument.starts_with("-a") => with_option,
                    "LIST" => plain,
                    _ => return None,
                };
                if verb == "LIST" && !said.starts_with(['4', '5']) {
                    session.data(OPENING)?.write_all(said.as_bytes()).unwrap();
                    return Some("226 done\r\n".to_owned());
                }
                Some(format!("{said}\r\n"))
            });
            let done = run(&server, temp_dir().path(), "ftpls", &["--way", way, "URL/sub/"]);
            let what = format!("{with_option:?} {plain:?} {there} {way}: {done}\n{:?}", server.heard());
            assert_eq!((done.status, done.text()), (status, text), "{what}");
            assert_eq!(done.stderr.contains("taken for empty"), warns, "{what}");
            let work = local(&["mine"]);
            let done = run(&server, work.path(), "ftpget", &["-r", "--delete", "-o", "D", "URL/sub/"]);
            // What is only said to be empty is no reason to delete.
            let keeps = warns || status != 0;
            assert!(!keeps || work.path().join("D/mine").exists(), "{what}\n{done}");
        }
    }
}

/// Of what a server names and tells no more nothing follows.
#[test]
fn an_entry_that_the_server_will_not_tell_about() {
    const LISTING: &str = "Directory DISK:[X]\r\n\r\nA.TXT;1  1/3  15-MAR-2023 08:00 [A] (R)\r\n\
                           PICS.DIR;1  No privilege for attempted operation\r\n\r\nTotal of 2 Files, 2 Blocks.\r\n";
    let server = ftp_peer(|session, verb, argument| {
        let text = match verb {
            "MLSD" => "500 what?\r\n",
            "LIST" | "CWD" if argument.contains("PICS") => "550 no privilege\r\n",
            "LIST" | "RETR" => {
                let bytes = if verb == "RETR" { "hi" } else { LISTING };
                session.data(OPENING)?.write_all(bytes.as_bytes()).unwrap();
                "226 done\r\n"
            }
            _ => return None,
        };
        Some(text.to_owned())
    });
    let done = run(&server, temp_dir().path(), "ftpls", &["URL/"]);
    assert_eq!((done.status, done.text()), (0, "A.TXT\nPICS\n"), "{done}");
    let work = local(&["mine", "PICS/mine"]);
    let done = run(&server, work.path(), "ftpget", &["-r", "--delete", "-o", "D", "URL/"]);
    assert!(done.status != 0 && done.stderr.contains("PICS/: skipped: the server tells no more"), "{done}");
    let there = |name: &str| work.path().join("D").join(name).exists();
    assert!(there("A.TXT") && there("mine") && there("PICS/mine"), "{done}");
}

/// Every way to list, and every server that lists something else than it is told: the right entries, or a failure.
#[test]
fn the_directory_that_was_asked_for() {
    let ways = [
        HONEST,
        Ways { deaf: true, ..HONEST },
        Ways { old: true, ..HONEST },
        Ways { deaf: true, old: true, ..HONEST },
        Ways { pwd: "502 what?\r\n", old: true, ..HONEST },
        Ways { pwd: "502 what?\r\n", deaf: true, ..HONEST },
        Ways { no_data: true, ..HONEST },
        Ways { no_data: true, deaf: true, ..HONEST },
    ];
    for (number, ways) in ways.into_iter().enumerate() {
        let server = serve(ways);
        for way in ["auto", "mlsd", "list", "stat"] {
            if (ways.no_data && matches!(way, "mlsd" | "list")) || (ways.old && way == "mlsd") {
                continue;
            }
            for (path, names) in [("", "sub\ntop\n"), ("sub/", "-l\na\nb\n"), ("sub/-l/", "c d\n")] {
                let url = format!("URL/{path}");
                let done = run(&server, temp_dir().path(), "ftpls", &["--way", way, "--sort", "name", &url]);
                assert_eq!(
                    (done.status, done.text()),
                    (0, names),
                    "{number} {way} {path}: {done}\n{:?}",
                    server.heard()
                );
            }
            let done = run(&server, temp_dir().path(), "ftpls", &["-R", "--way", way, "--type", "f", "URL/sub/"]);
            assert_eq!((done.status, done.text().lines().count()), (0, 3), "{number} {way} -R: {done}");
            let done = run(&server, temp_dir().path(), "ftpls", &["--way", way, "URL/none/"]);
            assert_eq!(done.status, 66, "{number} {way}: {done}");
        }
        if ways.no_data {
            continue;
        }
        let work = local(&["a", "mine", "%2Dl/c d"]);
        let done = run(&server, work.path(), "ftpget", &["-r", "--delete", "-o", "D", "URL/sub/"]);
        assert_eq!(done.status, 0, "{number}: {done}\n{:?}", server.heard());
        let there = |name: &str| work.path().join("D").join(name).exists();
        assert!(there("a") && there("b") && there("%2Dl/c d") && !there("mine") && !there("top"), "{number}: {done}");
    }
    // The honest one is asked for what is not there once a run, whatever the number of directories.
    let server = serve(HONEST);
    run(&server, temp_dir().path(), "ftpls", &["-R", "URL/sub/"]).exits(0);
    let heard = server.heard();
    assert_eq!(heard.iter().filter(|line| line.starts_with("MLSD")).count(), 3, "{heard:?}");
    assert!(!heard.iter().any(|line| line.starts_with("CWD")), "{heard:?}");
}

/// A listing whose files are not there was not the right one, whatever else spoke for it.
#[test]
fn a_listing_that_lied_deletes_nothing() {
    const FLAT: Tree = &[("", &["top", "x"]), ("sub", &["a", "b"])];
    let server = serve(Ways { astray: Some("sub"), tree: FLAT, ..HONEST });
    let work = local(&["a", "b"]);
    let done = run(&server, work.path(), "ftpget", &["-r", "--delete", "-o", "D", "URL/sub/"]);
    assert_eq!(done.status, 66, "{done}");
    assert!(work.path().join("D/a").exists() && work.path().join("D/b").exists(), "{done}");
    let work = local(&["a", "b"]);
    let done = run(&server, work.path(), "ftpput", &["-r", "--delete", "D/", "URL/sub/"]);
    assert_ne!(done.status, 0, "{done}");
    assert!(done.stderr.contains("a listed entry does not exist"), "{done}");
}

/// Links that a server shows as directories: two of them double the tree at each level.
#[test]
fn trees_without_end_have_one() {
    const ROUND: Tree = &[("", &["f", "link1/", "link2/", "sub/"]), ("sub", &["g", "link3/"])];
    for old in [false, true] {
        for (name, args, status) in [
            ("ftpls", &["-R", "URL/"][..], 76),
            ("ftpls", &["-R", "--way", "stat", "URL/"], 76),
            ("ftpls", &["--du", "URL/"], 76),
            ("ftpls", &["URL/**/nothing"], 76),
            ("ftpget", &["-r", "-n", "-o", "D", "URL/"], 76),
            ("ftpdo", &["URL/", "du"], 76),
            ("ftpdo", &["-n", "URL/", "rm", "-r", "sub"], 76),
            ("ftpput", &["-r", "-n", "--delete", "D/", "URL/"], 76),
        ] {
            let server = serve(Ways { tree: ROUND, old, ..HONEST });
            let done = run(&server, local(&["mine"]).path(), name, args);
            let heard = server.heard();
            let lists = |line: &&String| ["MLSD", "LIST", "STAT"].iter().any(|verb| line.starts_with(verb));
            let lists = heard.iter().filter(lists).count();
            // Connections that list side by side go on for a while, on a busy machine longer; without an end there would be 2^40.
            assert!(done.status == status && lists < 1500, "{old} {args:?}: {lists} listings, {done}");
        }
    }
    // Equal directories inside each other are a tree like any other.
    const COPIES: Tree = &[
        ("", &["a/", "b/", "f"]),
        ("a", &["a/", "b/", "f"]),
        ("b", &["a/", "b/", "f"]),
        ("a/a", &["a/", "b/", "f"]),
        ("a/b", &[]),
        ("b/a", &[]),
        ("b/b", &[]),
        ("a/a/a", &[]),
        ("a/a/b", &[]),
    ];
    let server = serve(Ways { tree: COPIES, old: true, ..HONEST });
    let done = run(&server, temp_dir().path(), "ftpls", &["-R", "--type", "f", "URL/"]);
    assert_eq!((done.status, done.text().lines().count()), (0, 4), "{done}");
}
