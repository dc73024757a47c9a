//! The architecture as a test: arrows point down only, pure files stay pure, each library has its room. It reads the
//! sources as text (`use` trees and paths, without comments, strings and test modules) and names file and line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// The layers from the ground up. A module may name its own layer and those before it.
const LAYERS: &[&[&str]] = &[
    &["blob", "fault", "fnv", "foreign", "hex", "line", "millis", "retry", "scope", "secret", "serial", "steering"],
    &["net"],
    &["ftp", "smtp", "dns"],
    &["mail"],
    &["relay"],
    &["queue"],
    &["cli"],
    &["tool"],
];

/// Modules of one layer, or of a lower one, that must not know each other: (who, may not name).
const STRANGERS: &[(&str, &[&str])] =
    &[("ftp", &["smtp", "dns"]), ("smtp", &["ftp", "dns"]), ("dns", &["ftp", "smtp"]), ("mail", &["ftp", "dns"])];

/// Rooms in which every file may do I/O.
const IO_ROOMS: &[&str] = &["net", "relay", "queue", "cli", "tool"];

/// The other files that may; a `*` stands for any ending. The rest of their rooms, and the ground, is pure.
const IO_FILES: &[&str] = &[
    "blob/file",
    "ftp/client*",
    "ftp/server*",
    "ftp/store",
    "ftp/transfer",
    "ftp/mirror",
    "smtp/client*",
    "smtp/server*",
    "dns/client*",
    "dns/server*",
    "dns/bulk/driver*",
    "dns/forward",
    "dns/forward/sockets",
    "dns/forward/upstream",
    "dns/resolve",
    "dns/trace/drive",
    "dns/transfer",
    "dns/validate/lookup",
    "mail/gzip",
    "mail/maildir*",
    "mail/mbox",
];

/// What a pure file does not name: sockets, files, clock, randomness, processes, threads, drivers.
const IMPURE: &[&str] = &[
    "tokio",
    "socket2",
    "rustix",
    "getrandom",
    "tempfile",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::os::unix::net",
    "std::os::fd",
    "std::time::Instant",
    "std::time::SystemTime",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "Timestamp::now",
    "Zoned::now",
    "Instant::now",
    "SystemTime::now",
    "crate::net",
];

/// What a pure file may name although [`IMPURE`] holds what lies above it: plain values.
const PURE_AFTER_ALL: &[&str] = &["crate::net::login"];

/// Paths that have a home: (path, rooms or files that may name it).
const HOMES: &[(&str, &[&str])] = &[
    ("rustls", &["net"]),
    ("tokio_rustls", &["net"]),
    ("rustls_native_certs", &["net"]),
    ("webpki", &["net/untrusted"]),
    ("rcgen", &["net"]),
    ("h2", &["net/http"]),
    ("quinn", &["net/quic"]),
    ("rusqlite", &["queue"]),
    ("flate2", &["mail/gzip"]),
    ("clap", &["cli", "tool"]),
    ("anyhow", &["cli", "tool"]),
    ("unicode_width", &["cli"]),
    ("std::process::ExitCode", &["cli", "tool"]),
    ("std::process::exit", &[]),
    ("process::exit", &[]),
    ("tokio::fs", &[]),
    ("println!", &["cli/output"]),
    ("print!", &["cli/output"]),
    ("eprintln!", &["cli/output"]),
    ("eprint!", &["cli/output"]),
    ("dbg!", &[]),
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("unsafe", &["net/sys"]),
    ("libc", &["net/sys"]),
];

/// A longer file tells more than one story.
const MAX_LINES: usize = 700;

/// A binary only hands over.
const MAX_BINARY_LINES: usize = 10;

#[test]
fn arrows_point_down_and_pure_files_are_pure() {
    let complaints: Vec<String> = sources("src").iter().flat_map(|(path, text)| complaints(path, text)).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files: BTreeMap<String, String> =
        sources("src").into_iter().filter_map(|(path, text)| Some((place(&path)?, text))).collect();
    let arrows = files.iter().map(|(place, text)| (place.clone(), imports(place, text, &files))).collect();
    let circles = circles(&arrows);
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn a_circle_is_found() {
    let texts = [
        ("cli/a", "use super::b::B;"),
        ("cli/b", "fn f() { crate::cli::c::g() }"),
        ("cli/c", "use super::{a, d};"),
        ("cli/d", "// use super::a;"),
    ];
    let files: BTreeMap<String, String> = texts.map(|(place, text)| (place.to_owned(), text.to_owned())).into();
    let arrows = files.iter().map(|(place, text)| (place.clone(), imports(place, text, &files))).collect();
    assert_eq!(circles(&arrows), ["cli/a -> cli/b -> cli/c -> cli/a"]);
}

/// The files that the file at `own` names. A folder's `mod.rs` and the files below are one: what a parent shares with its
/// children is theirs in common.
fn imports(own: &str, text: &str, files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let code = without_tests(&without_words(text));
    let named = names(&code, own).into_iter().filter_map(|(_, name)| {
        let mut path = name.strip_prefix("crate::")?.replace("::", "/");
        while !files.contains_key(&path) {
            path.truncate(path.rfind('/')?);
        }
        Some(path)
    });
    named.filter(|other| !covers(other, own) && !covers(own, other)).collect()
}

/// The shortest circle through each file that lies on one, each circle once.
fn circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = BTreeMap::new();
    for start in arrows.keys() {
        let mut ways: VecDeque<Vec<&String>> = VecDeque::from([vec![start]]);
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop_front() {
            let last = way[way.len() - 1];
            if way.len() > 1 && last == start {
                let rooms: BTreeSet<&String> = way.iter().copied().collect();
                found
                    .entry(rooms)
                    .or_insert_with(|| way.iter().map(|file| file.as_str()).collect::<Vec<_>>().join(" -> "));
                break;
            }
            let next = arrows[last].iter().filter(|next| seen.insert(*next));
            ways.extend(next.map(|next| way.iter().copied().chain([next]).collect::<Vec<_>>()));
        }
    }
    found.into_values().collect()
}

#[test]
fn each_type_has_one_meaning() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources("src").iter().filter(|(path, _)| place(path).is_some_and(|place| !is_test_help(&place)))
    {
        for (line, name) in types(&without_tests(&without_words(text))) {
            homes.entry(name).or_default().push(format!("{path}:{line}"));
        }
    }
    // Every tool has its arguments.
    homes.remove("Args");
    assert!(homes.contains_key("Fault"), "no type was found");
    let several: Vec<String> =
        homes.iter().filter(|(_, at)| at.len() > 1).map(|(name, at)| format!("{name}: {}", at.join(", "))).collect();
    assert!(several.is_empty(), "a name for each, that says which:\n{}", several.join("\n"));
    let glossary = glossary();
    assert!((10..=30).contains(&glossary.len()), "a glossary of at most 30 terms: {glossary:?}");
    let unknown: Vec<&String> = glossary.iter().filter(|term| !homes.contains_key(*term)).collect();
    assert!(unknown.is_empty(), "in the glossary of ARCHITECTURE.md and no type: {unknown:?}");
}

/// Simulations stand in files of their own and are compiled for tests alone.
fn is_test_help(place: &str) -> bool {
    place.split('/').any(|part| matches!(part, "simulation" | "simulate" | "transcripts"))
}

/// The types that a text defines, with their lines; associated types, which are indented, are none.
fn types(code: &str) -> Vec<(usize, String)> {
    let defined = code.lines().enumerate().filter_map(|(at, line)| {
        let line = line.strip_prefix("pub").map_or(line, |rest| match rest.strip_prefix('(') {
            Some(rest) => rest.split_once(')').map_or(rest, |(_, rest)| rest),
            None => rest,
        });
        let words = ["struct ", "enum ", "trait ", "union ", "type "];
        let rest = words.iter().find_map(|word| line.trim_start().strip_prefix(word))?;
        let end = rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
        let indented = code.lines().nth(at)?.starts_with(' ');
        (!indented && end > 0).then(|| (at + 1, rest[..end].to_owned()))
    });
    defined.collect()
}

/// The terms of the glossary in ARCHITECTURE.md: its table's first column.
fn glossary() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let table = text.split("## Glossary").nth(1).unwrap_or_default().split("\n## ").next().unwrap_or_default();
    table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned)).collect()
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for (path, text) in ["src", "tests", "fuzz/entries"].iter().flat_map(|folder| sources(folder)) {
        let (lines, most) =
            (text.lines().count(), if path.starts_with("src/bin/") { MAX_BINARY_LINES } else { MAX_LINES });
        if lines > most {
            long.push(format!("{path}: {lines} lines, at most {most}"));
        }
    }
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn every_listed_file_exists() {
    // A renamed file would silently lose its place in the list.
    let files: Vec<String> = sources("src").iter().filter_map(|(path, _)| place(path)).collect();
    for rule in IO_FILES {
        let room = rule.split('/').next().unwrap();
        let room_is_built = files.iter().filter(|file| file.starts_with(room)).count() > 1;
        assert!(!room_is_built || files.iter().any(|file| covers(rule, file)), "{rule} is listed and not there");
    }
}

/// Every `.rs` file below a folder of the package, with its path inside the package.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut open) = (Vec::new(), vec![root.join(folder)]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// `src/ftp/client/login.rs` is `ftp/client/login`; the crate's root, the binaries and test files have no place.
fn place(path: &str) -> Option<String> {
    let place = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let place = place.strip_suffix("/mod").unwrap_or(place);
    (place != "lib" && !place.starts_with("bin/") && !place.split('/').any(|part| part == "tests"))
        .then(|| place.to_owned())
}

/// True when a rule (`ftp`, `ftp/store`, `ftp/client*`) covers a place or a folder that it lies in.
fn covers(rule: &str, place: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(start) => place.starts_with(start),
        None => place == rule || place.strip_prefix(rule).is_some_and(|rest| rest.starts_with('/')),
    }
}

/// Everything that one file names and should not.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let Some(place) = place(path) else {
        return if path.starts_with("src/bin/") { binary_complaints(path, text) } else { Vec::new() };
    };
    let code = without_tests(&without_words(text));
    let mut found: Vec<String> = names(&code, &place)
        .into_iter()
        .filter_map(|(line, name)| Some(format!("{path}:{line}: {}", complaint(&place, &name)?)))
        .collect();
    found.extend(
        worded(&code).map(|line| format!("{path}:{line}: decided by words: a kind, a code or a type does that")),
    );
    found.dedup();
    found
}

fn binary_complaints(path: &str, text: &str) -> Vec<String> {
    let tool = format!(
        "applayer::tool::{}::main",
        path.trim_start_matches("src/bin/").trim_end_matches(".rs").replace('-', "_")
    );
    let hands_over = names(&without_words(text), "bin").iter().any(|(_, name)| *name == tool);
    if hands_over { Vec::new() } else { vec![format!("{path}:1: does not hand over to {tool}")] }
}

/// The lines that look into an error's words, or into those of anything that is printed.
fn worded(code: &str) -> impl Iterator<Item = usize> {
    const WORDS: [&str; 2] = ["detail", "why"];
    const LOOKS: [&str; 6] = ["contains", "starts_with", "ends_with", "find", "strip_prefix", "strip_suffix"];
    let found = tokens(code);
    let text = |at: usize| found.get(at).map_or("", |(_, token)| *token);
    let lines: Vec<usize> = (0..found.len())
        .filter(|at| text(*at) == "." && LOOKS.contains(&text(at + 1)) && text(at + 2) == "(")
        .filter(|at| {
            let printed = *at > 3 && (text(at - 3), text(at - 2), text(at - 1)) == ("to_string", "(", ")");
            printed || (*at > 1 && text(at - 2) == "." && WORDS.contains(&text(at - 1)))
        })
        .map(|at| found[at + 1].0)
        .collect();
    lines.into_iter()
}

/// What is wrong with the file at `place` naming `name`.
fn complaint(place: &str, name: &str) -> Option<String> {
    let room = place.split('/').next().unwrap();
    let layer_of = |room: &str| LAYERS.iter().position(|layer| layer.contains(&room));
    let own = layer_of(room).unwrap_or_else(|| panic!("{room} has no layer: add it to LAYERS"));
    if let Some(other) = name.strip_prefix("crate::").and_then(|rest| rest.split("::").next()) {
        if layer_of(other).is_some_and(|layer| layer > own) {
            return Some(format!("`{name}`: {room} lies below {other}"));
        }
        if STRANGERS.iter().any(|(who, strangers)| *who == room && strangers.contains(&other)) {
            return Some(format!("`{name}`: {room} does not know {other}"));
        }
    }
    let within = |path: &str| name == path || name.strip_prefix(path).is_some_and(|rest| rest.starts_with("::"));
    if let Some((path, homes)) =
        HOMES.iter().find(|(path, homes)| within(path) && !homes.iter().any(|home| covers(home, place)))
    {
        let homes = if homes.is_empty() { "nowhere".to_owned() } else { format!("only in {}", homes.join(", ")) };
        return Some(format!("`{path}` is at home {homes}"));
    }
    let io_file = |place: &str| IO_FILES.iter().any(|rule| covers(rule, place));
    let does_io = IO_ROOMS.contains(&room) || io_file(place);
    if !does_io && IMPURE.iter().any(|path| within(path)) && !PURE_AFTER_ALL.iter().any(|path| within(path)) {
        return Some(format!("`{name}` in a pure file"));
    }
    if !does_io && name.strip_prefix("crate::").is_some_and(|path| io_file(&path.replace("::", "/"))) {
        return Some(format!("`{name}` in a pure file: that file does I/O"));
    }
    None
}

/// Every path that the code names, with its line: `use` trees taken apart, `self` and `super` resolved, macros with
/// their `!`, the keyword `unsafe`.
fn names(code: &str, place: &str) -> Vec<(usize, String)> {
    let tokens = tokens(code);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at].1 == "use" {
            let end = tokens[at..].iter().position(|token| token.1 == ";").map_or(tokens.len(), |len| at + len);
            let mut prefix = Vec::new();
            use_tree(&tokens[at + 1..end], &mut 0, &mut prefix, &mut found);
            at = end;
        } else if is_word(tokens[at].1) && (at == 0 || tokens[at - 1].1 != "::") {
            let line = tokens[at].0;
            let mut path = vec![tokens[at].1];
            while at + 2 < tokens.len() && tokens[at + 1].1 == "::" && is_word(tokens[at + 2].1) {
                path.push(tokens[at + 2].1);
                at += 2;
            }
            let mut name = path.join("::");
            if tokens.get(at + 1).is_some_and(|token| token.1 == "!") {
                name.push('!');
            }
            if path.len() > 1 || name.ends_with('!') || name == "unsafe" {
                found.push((line, name));
            }
        }
        at += 1;
    }
    found.into_iter().map(|(line, name)| (line, absolute(&name, place))).collect()
}

/// One branch of a `use` tree after another: `a::{b, c::d as e}` gives `a::b` and `a::c::d`.
fn use_tree<'a>(
    tokens: &[(usize, &'a str)],
    at: &mut usize,
    prefix: &mut Vec<&'a str>,
    found: &mut Vec<(usize, String)>,
) {
    let depth = prefix.len();
    let mut line = 0;
    let mut open_branch = false;
    while let Some(&(token_line, token)) = tokens.get(*at) {
        *at += 1;
        match token {
            "{" => {
                use_tree(tokens, at, prefix, found);
                open_branch = false;
            }
            "}" | "," => {
                if open_branch {
                    found.push((line, prefix.join("::")));
                }
                prefix.truncate(depth);
                open_branch = false;
                if token == "}" {
                    return;
                }
            }
            "as" => *at += 1,
            "::" | "*" => {}
            word => {
                // `{self, …}` names the path in front of it.
                if word != "self" || prefix.is_empty() {
                    prefix.push(word);
                }
                line = token_line;
                open_branch = true;
            }
        }
    }
    if open_branch {
        found.push((line, prefix.join("::")));
    }
    prefix.truncate(depth);
}

/// `super::x` and `self::x` seen from `place` as `crate::…`.
fn absolute(name: &str, place: &str) -> String {
    let mut module: Vec<&str> = place.split('/').collect();
    let mut rest: Vec<&str> = name.split("::").collect();
    if !matches!(rest[0], "self" | "super") {
        return name.to_owned();
    }
    while let Some(first @ ("self" | "super")) = rest.first().copied() {
        rest.remove(0);
        if first == "super" {
            module.pop();
        }
    }
    ["crate"].into_iter().chain(module).chain(rest).collect::<Vec<_>>().join("::")
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Words, `::` and single other characters, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let (mut found, mut line, mut rest) = (Vec::new(), 1, code);
    while let Some(first) = rest.chars().next() {
        let len = if first.is_alphanumeric() || first == '_' {
            rest.find(|next: char| !(next.is_alphanumeric() || next == '_')).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if first == '\n' {
            line += 1;
        } else if !first.is_whitespace() {
            found.push((line, &rest[..len]));
        }
        rest = &rest[len..];
    }
    found
}

/// The code with comments and literals blanked out, line for line.
fn without_words(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    let blank = |out: &mut String, part: &str| out.extend(part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    while at < bytes.len() {
        let rest = &text[at..];
        let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let raw = rest
            .trim_start_matches(['b', 'c'])
            .strip_prefix('r')
            .map(|tail| tail.len() - tail.trim_start_matches('#').len());
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let (false, Some(hashes), Some(start)) = (after_word, raw, rest.find('"').filter(|start| *start < 40))
            && rest[..start].trim_start_matches(['b', 'c']) == format!("r{}", "#".repeat(hashes))
        {
            let end = format!("\"{}", "#".repeat(hashes));
            rest[start + 1..].find(&end).map_or(rest.len(), |len| start + 1 + len + end.len())
        } else if rest.starts_with('"') {
            quoted(rest, '"')
        } else if rest.starts_with('\'') && is_char_literal(rest) {
            quoted(rest, '\'')
        } else {
            let first = rest.chars().next().unwrap();
            out.push(first);
            at += first.len_utf8();
            continue;
        };
        blank(&mut out, &rest[..len]);
        at += len;
    }
    out
}

/// `'a'` and `'\n'`, not the lifetime `'a`.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

/// The length of a literal that starts and ends with `quote`.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, next) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if next == '\\' {
            escaped = true;
        } else if next == quote {
            return at + next.len_utf8();
        }
    }
    rest.len()
}

/// The length of a block comment, which may hold others.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The code up to its test module: tests stand last and may do what they like.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            match lines.peek() {
                Some(next) if next.trim_start().starts_with("mod ") && next.trim_end().ends_with('{') => break,
                // A test file of its own, or one helper: the one line behind the attribute.
                _ => {
                    lines.next();
                    kept.push('\n');
                }
            }
            kept.push('\n');
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[test]
fn each_rule_can_fail() {
    let cases: &[(&str, &str, &str)] = &[
        ("src/fault.rs", "use crate::net::dial::Dialer;", "fault lies below net"),
        ("src/net/dial.rs", "use crate::cli::Output;", "net lies below cli"),
        ("src/ftp/client.rs", "use crate::dns::record;", "ftp does not know dns"),
        ("src/smtp/reply.rs", "fn f() { crate::ftp::reply::parse(b\"\") }", "smtp does not know ftp"),
        ("src/mail/scan.rs", "use crate::dns::query::Name;", "mail does not know dns"),
        ("src/relay/route.rs", "use super::super::queue::entry;", "relay lies below queue"),
        ("src/ftp/reply.rs", "use tokio::io::AsyncRead;", "in a pure file"),
        ("src/ftp/reply.rs", "use std::{fmt, fs::{self, File}};", "`std::fs` in a pure file"),
        ("src/dns/zone.rs", "fn f() { let t = std::time::SystemTime::now(); }", "in a pure file"),
        ("src/dns/zone.rs", "use std::net::{IpAddr, UdpSocket as Socket};", "`std::net::UdpSocket` in a pure file"),
        ("src/smtp/session.rs", "use crate::net::stream::Stream;", "in a pure file"),
        ("src/mail/compose.rs", "use getrandom::fill;", "in a pure file"),
        ("src/dns/json.rs", "use super::client::Client;", "that file does I/O"),
        ("src/mail/compose.rs", "use crate::mail::maildir::Maildir;", "that file does I/O"),
        ("src/line.rs", "use std::time::Instant;", "in a pure file"),
        ("src/ftp/server.rs", "use rustls::ServerConfig;", "only in net"),
        ("src/queue/store.rs", "use clap::Parser;", "only in cli, tool"),
        ("src/relay/deliver.rs", "use anyhow::Context;", "only in cli, tool"),
        ("src/tool/ftpget.rs", "use unicode_width::UnicodeWidthStr;", "only in cli"),
        ("src/tool/ftpget.rs", "fn f() { println!(\"x\") }", "only in cli/output"),
        ("src/cli/exit.rs", "fn f() { std::process::exit(1) }", "nowhere"),
        ("src/cli/exit.rs", "use std::process; fn f() { process::exit(1) }", "nowhere"),
        ("src/net/dial.rs", "fn f() { unsafe { g() } }", "only in net/sys"),
        ("src/ftp/store.rs", "use tokio::fs::File;", "nowhere"),
        ("src/dns/server.rs", "fn f() { todo!() }", "nowhere"),
        ("src/bin/ftpls.rs", "fn main() { applayer::tool::ftpget::main() }", "does not hand over"),
        ("src/ftp/client.rs", "fn f() { fault.detail.starts_with(\"data connection\") }", "decided by words"),
        ("src/tool/dnsserve.rs", "fn f() { error.why.contains(\"an origin\") }", "decided by words"),
        ("src/net/dial.rs", "fn f() { error.to_string().contains(\"not known\") }", "decided by words"),
    ];
    for (path, code, reason) in cases {
        let found = complaints(path, code);
        assert!(found.iter().any(|line| line.contains(reason)), "{path}: {code}: {found:?} lacks {reason}");
        assert!(found[0].starts_with(&format!("{path}:1: ")), "{found:?}");
    }
}

#[test]
fn what_is_allowed_passes() {
    let cases: &[(&str, &str)] = &[
        ("src/tool/ftpget.rs", "use crate::{cli::Tool, ftp::client::Client}; use clap::Parser; use anyhow::Context;"),
        ("src/queue/sqlite.rs", "use rusqlite::Connection; use crate::relay::deliver; use crate::{dns, smtp};"),
        ("src/ftp/reply.rs", "// use tokio::net\nconst A: &str = \"std::fs::read\"; /* unsafe /* todo!() */ */"),
        ("src/ftp/reply.rs", "const A: &str = r#\"\"println!(\"#; fn f<'a>(x: &'a str) -> char { '\"' }"),
        ("src/ftp/reply.rs", "use std::net::IpAddr;\n#[cfg(test)]\nmod tests {\n use std::fs;\n}"),
        ("src/ftp/reply.rs", "use std::time::Duration; use crate::fault::{Fault, Kind}; use super::command::Verb;"),
        ("src/ftp/client/login.rs", "use tokio::io::AsyncRead; use crate::net::stream::Stream;"),
        ("src/net/sys.rs", "fn f() { unsafe { g() } }"),
        ("src/smtp/auth.rs", "use crate::net::login::Login;"),
        ("src/cli/output/text.rs", "fn f() { eprintln!() }"),
        ("src/bin/mailq-ls.rs", "fn main() -> std::process::ExitCode { applayer::tool::mailq_ls::main() }"),
    ];
    for (path, code) in cases {
        assert_eq!(complaints(path, code), Vec::<String>::new(), "{path}: {code}");
    }
    let line_three = complaints("src/ftp/reply.rs", "/* a\n b */\nuse std::{\n    fmt,\n    fs,\n};");
    assert_eq!(line_three, ["src/ftp/reply.rs:5: `std::fs` in a pure file"]);
}
