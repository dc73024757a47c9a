//! The pages held against the code: OPTIONS sections and completions are generated from clap, the tables of applayer(7)
//! from the fault vocabulary, and no example names a flag that its tool does not have. `UPDATE_DOCS=1` rewrites what
//! is generated.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use applayer::fault::Kind;
use applayer::tool::ALL;

/// Every man page of a tool has these sections, in this order.
const SECTIONS: [&str; 13] = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "OUTPUT",
    "JSON",
    "EXIT STATUS",
    "ENVIRONMENT",
    "FILES",
    "EXAMPLES",
    "SECURITY",
    "STANDARDS",
    "SEE ALSO",
];

/// The exit table: one row a status, as README.md and applayer(7) print it.
const EXITS: [(u8, &str); 17] = [
    (0, "everything is done"),
    (1, "success, and the answer is no"),
    (3, "partly done: a repetition would redo what succeeded; the records say which"),
    (64, "usage: the command line is not valid"),
    (65, "bad input data"),
    (66, "input does not exist"),
    (67, "no such user (permanent)"),
    (68, "no such host (permanent)"),
    (69, "permanent refusal by the peer, or a feature that it lacks"),
    (70, "a bug in applayer"),
    (73, "output cannot be created"),
    (74, "local read, write or flush failed"),
    (75, "temporary: running it again may succeed and redoes nothing"),
    (76, "the peer broke the protocol"),
    (77, "not allowed: login failed, certificate not trusted, DNSSEC bogus"),
    (78, "configuration error"),
    (141, "the reader of stdout has gone (130 and 143: INT and TERM)"),
];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails unless the committed file is this text; with `UPDATE_DOCS` set it is written first.
#[track_caller]
pub(crate) fn committed(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    if let Some((line, (is, should))) =
        found.lines().chain([""]).zip(text.lines().chain([""])).enumerate().find(|(_, (is, should))| is != should)
    {
        panic!(
            "{}:{}: is not what the code says; run UPDATE_DOCS=1 cargo test --test tools\n is:     {is}\n should: {should}",
            path.display(),
            line + 1
        );
    }
    assert_eq!(found.lines().count(), text.lines().count(), "{}", path.display());
}

/// Puts generated lines between `.\" begin WHAT (generated)` and `.\" end WHAT` of a page.
fn with_generated(page: &str, what: &str, generated: &str) -> Option<String> {
    let (begin, end) = (format!(".\\\" begin {what} (generated)\n"), format!(".\\\" end {what}\n"));
    let start = page.find(&begin)? + begin.len();
    let stop = start + page[start..].find(&end)?;
    Some(format!("{}{generated}{}", &page[..start], &page[stop..]))
}

fn page(name: &str) -> (PathBuf, String) {
    let path = root().join("man").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path, text)
}

/// The options of a tool, and of each of its verbs, in roff.
fn options(command: &clap::Command) -> String {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let mut roff = Vec::new();
    clap_mangen::Man::new(command.clone()).render_options_section(&mut roff).expect("roff");
    let mut text = body(&roff);
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let mut roff = Vec::new();
        clap_mangen::Man::new(verb.clone()).render_options_section(&mut roff).expect("roff");
        text.push_str(&format!(".SS {}\n{}", verb.get_name(), body(&roff)));
    }
    text
}

/// The section without its heading, which the page has by hand, and without the definition of the string `Aq`, which
/// belongs at a page's head: the character's own escape needs none. Characters beyond ASCII become escapes, which every
/// roff reads, and a `.br` beside a `.sp` says nothing.
fn body(roff: &[u8]) -> String {
    let text = String::from_utf8(roff.to_vec()).expect("UTF-8").replace("\\*(Aq", "\\(aq").replace('…', "...");
    let text = text.replace(".br\n\n.br\n", "\n").replace(".br\n.sp", ".sp").replace(".sp\n.br\n", ".sp\n");
    let lines = text.lines().filter(|line| ![".SH ", ".ie ", ".el "].iter().any(|macros| line.starts_with(macros)));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Does it for every tool, and fails at the end with all that failed: one missing page must not hide the others.
pub(crate) fn each_tool(check: impl Fn(&'static str, fn() -> clap::Command)) {
    let failed: Vec<&str> = ALL
        .iter()
        .filter(|(name, command)| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(name, *command))).is_err()
        })
        .map(|(name, _)| *name)
        .collect();
    assert!(failed.is_empty(), "see above: {failed:?}");
}

#[test]
fn every_binary_is_listed() {
    let listed: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let binaries = manifest.split("[[bin]]").skip(1).filter_map(|entry| entry.split('"').nth(1));
    let mut binaries: Vec<&str> = binaries.collect();
    binaries.sort_unstable();
    assert_eq!(listed, binaries);
}

#[test]
fn option_sections_are_those_of_clap() {
    each_tool(|name, command| {
        let (path, text) = page(&format!("{name}.1"));
        let wanted = with_generated(&text, "options", &options(&command()))
            .unwrap_or_else(|| panic!("{}: no begin/end options", path.display()));
        committed(&path, &wanted);
    });
}

#[test]
fn tables_of_foreign_words_are_those_of_the_code() {
    for (name, tables) in applayer::tool::FOREIGN_WORDS {
        let (path, text) = page(&format!("{name}.1"));
        let escaped = |words: &str| words.replace('-', "\\-").replace('\'', "\\(aq");
        let command = ALL.iter().find(|(tool, _)| tool == name).expect("a tool").1();
        // A word that the tool has itself is not foreign there.
        let is_ours = |word: &&str| match word.strip_prefix("--") {
            Some(long) => {
                command.get_arguments().any(|it| it.get_long_and_visible_aliases().unwrap_or_default().contains(&long))
            }
            None => command.get_arguments().any(|it| {
                let short = it.get_short().into_iter().chain(it.get_all_short_aliases().unwrap_or_default());
                short.map(|letter| format!("-{letter}")).any(|ours| ours == *word)
            }),
        };
        let row = |(words, ours): &(&str, &str)| {
            let words: Vec<&str> = words.split(' ').filter(|word| !is_ours(word)).collect();
            let row = || format!("T{{\n{}\nT}}|T{{\n{}\nT}}\n", escaped(&words.join(" ")), escaped(ours));
            if words.is_empty() { String::new() } else { row() }
        };
        let rows: String = tables.iter().copied().flatten().map(row).collect();
        let table = format!(".na\n.TS\nnokeep tab(|);\nlw(28n) lw(36n).\nword|here it is\n_\n{rows}.TE\n.ad\n");
        let wanted = with_generated(&text, "words", &table);
        committed(&path, &wanted.unwrap_or_else(|| panic!("{}: no begin/end words", path.display())));
    }
}

#[test]
fn every_page_has_every_section() {
    each_tool(|name, _| {
        let (path, text) = page(&format!("{name}.1"));
        let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        let found: Vec<&str> = found.iter().map(|title| title.trim_matches('"')).collect();
        let required: Vec<&str> = found.iter().copied().filter(|title| SECTIONS.contains(title)).collect();
        assert_eq!(required, SECTIONS, "{}", path.display());
        assert!(text.is_ascii(), "{}: roff reads ASCII; other characters are escapes", path.display());
        let examples = section(&text, "EXAMPLES");
        assert!(examples.contains(" |"), "{}: no example with a pipe", path.display());
        assert!(examples.contains("cron"), "{}: no example for cron", path.display());
        assert!(commands(examples).count() >= 3, "{}: fewer than three examples", path.display());
        for (status, line) in statuses(section(&text, "EXIT STATUS")) {
            assert!(known_status(status), "{}: status {status} is in no table: {line}", path.display());
        }
    });
}

/// The statuses that a tool's page lists; several may share a line.
pub(crate) fn documented_statuses(name: &str) -> Vec<i32> {
    let (_, text) = page(&format!("{name}.1"));
    let section = section(&text, "EXIT STATUS").replace(|letter: char| !letter.is_ascii_digit(), " ");
    section.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// The heading of every page has the version of the manifest and the date that the changelog gives it.
#[test]
fn headings_have_the_date_and_the_version() {
    let changelog = std::fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    let version = env!("CARGO_PKG_VERSION");
    let heading =
        changelog.lines().find_map(|line| line.strip_prefix(&format!("## {version} ("))).expect("the version");
    let date = heading.trim_end_matches(')').rsplit(' ').next().expect("a date");
    assert!(date.len() == 10 && date.parse::<jiff::civil::Date>().is_ok(), "no date in CHANGELOG.md: {heading}");
    for file in std::fs::read_dir(root().join("man")).expect("man") {
        let path = file.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a page");
        let old = text.lines().find(|line| line.starts_with(".TH ")).expect("a .TH line");
        let words: Vec<&str> = old.split(' ').take(3).collect();
        let title = old.rsplit_once(" \"").expect("a title").1;
        let new = format!("{} {date} \"applayer {version}\" \"{title}", words.join(" "));
        committed(&path, &text.replacen(old, &new, 1));
        for wanted in ["NAME", "DESCRIPTION", "SECURITY", "STANDARDS", "SEE ALSO"] {
            section(&text, wanted);
        }
    }
}

/// Faults of roff that its readers only warn of, or do not see: strings that nobody defines, a dot or quote that begins a
/// line of an example, lines of examples beyond a terminal of 80 columns and long lines of other programs.
#[test]
fn pages_have_no_known_faults_of_roff() {
    const MACROS: &[&str] = &[
        ".TH", ".SH", ".SS", ".TP", ".PP", ".IP", ".B", ".I", ".BR", ".RB", ".IR", ".RI", ".BI", ".IB", ".br", ".sp",
        ".nf", ".fi", ".RS", ".RE", ".TS", ".TE", ".T&", ".na", ".ad", ".\\\"", ".",
    ];
    let mut wrong = Vec::new();
    for file in std::fs::read_dir(root().join("man")).expect("man") {
        let path = file.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a page");
        let mut unfilled = false;
        for (number, line) in text.lines().enumerate() {
            unfilled = unfilled && line != ".fi" || line == ".nf";
            let first = line.split(' ').next().unwrap_or_default();
            let fault = if line.contains("\\*(") {
                "a string"
            } else if line.starts_with('.') && !MACROS.contains(&first) || line.starts_with('\'') && line != "'\\\" t" {
                "a line that begins with a dot or quote"
            } else if unfilled && shown_columns(line) > 72 {
                "a line of an example that is too long for a page"
            } else if line.ends_with(' ') {
                "blanks at the end"
            } else {
                continue;
            };
            wrong.push(format!("{}:{}: {fault}: {line}", path.display(), number + 1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How many columns a line of an example takes: escapes are one character, fonts none.
fn shown_columns(line: &str) -> usize {
    let line =
        line.replace("\\fI", "").replace("\\fB", "").replace("\\fR", "").replace("\\(aq", "'").replace("\\&", "");
    line.replace("\\-", "-").replace("\\e", "e").chars().count()
}

#[test]
fn the_tables_of_the_common_page_are_those_of_the_code() {
    let (path, text) = page("applayer.7");
    let mut kinds = String::from("tab(|);\nlb lb lb lb\nl l l lx.\nkind|exit|temporary|meaning\n_\n");
    for kind in Kind::ALL {
        let temporary = if kind.temporary() { "yes" } else { "no" };
        kinds.push_str(&format!("{}|{}|{temporary}|{}\n", kind.as_str(), kind.exit(), roff_text(kind.meaning())));
        assert!(known_status(kind.exit().into()), "{kind} ends with a status that no table has");
    }
    let mut exits = String::from("tab(|);\nlb lb\nl lx.\nstatus|meaning\n_\n");
    for (status, meaning) in EXITS {
        exits.push_str(&format!("{status}|T{{\n{}\nT}}\n", roff_text(meaning)));
    }
    let table = |rows: String| format!(".TS\n{rows}.TE\n");
    let wanted = with_generated(&text, "kinds", &table(kinds)).expect("begin/end kinds");
    committed(&path, &with_generated(&wanted, "exit status", &table(exits)).expect("begin/end exit status"));
}

#[test]
fn the_readme_has_the_exit_table() {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    for (status, meaning) in EXITS {
        let row = format!("| {status} | {meaning} |");
        assert!(text.contains(&row), "README.md lacks the row {row}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let reasons = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let listed: BTreeSet<&str> = reasons
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .map(|name| name.trim())
        .collect();
    let mut in_dependencies = false;
    let mut wanted = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (in_dependencies, line.split_once(" = ")) {
            wanted.insert(name.trim());
        }
    }
    assert!(wanted.contains("tokio") && wanted.contains("proptest"), "Cargo.toml was not understood: {wanted:?}");
    let missing: Vec<_> = wanted.difference(&listed).collect();
    assert!(missing.is_empty(), "no line in ARCHITECTURE.md: what for, why this one: {missing:?}");
}

/// A word of prose in a man page: hyphens that are hyphens, nothing at the start of a line that roff would obey.
fn roff_text(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn known_status(status: u16) -> bool {
    matches!(status, 130 | 143) || EXITS.iter().any(|(known, _)| u16::from(*known) == status)
}

/// The text of one section.
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let start = page.find(&format!(".SH {title}\n")).or_else(|| page.find(&format!(".SH \"{title}\"\n")));
    let start = start.unwrap_or_else(|| panic!("no section {title}")) + 1;
    &page[start..start + page[start..].find("\n.SH ").unwrap_or(page.len() - start)]
}

/// Lines that start with a status number, roff markup aside.
fn statuses(section: &str) -> impl Iterator<Item = (u16, &str)> {
    section.lines().filter_map(|line| {
        let bare = line.trim_start_matches(['.', 'B', 'I', 'R', ' ']).trim_start_matches("\\fB");
        let digits: String = bare.chars().take_while(char::is_ascii_digit).collect();
        Some((digits.parse().ok()?, line))
    })
}

/// Every command of ours in a text: the tool, and the words behind it up to the next `|`, `;`, `&&`, `)` or line end
/// (a `\` continues the line).
pub(crate) fn commands(text: &str) -> impl Iterator<Item = (&'static str, Vec<String>)> {
    let text = text
        .replace("\\-", "-")
        .replace("\\e\n", " ")
        .replace("\\\n", " ")
        .replace("\\(aq", "'")
        .replace("\\[aq]", "'");
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', '.'])) {
        let mut current: Option<(&'static str, Vec<String>)> = None;
        let mut quote = None;
        for word in line.split_whitespace() {
            let bare = word.trim_start_matches(['$', '(', '"', '`', '!']).trim_end_matches([';', ')', '`']);
            let quoted = quote.is_some();
            for mark in word.chars().filter(|mark| matches!(mark, '"' | '\'')) {
                match quote {
                    None => quote = Some(mark),
                    Some(open) if open == mark => quote = None,
                    Some(_) => {}
                }
            }
            if quoted {
                continue;
            }
            if let Some((name, _)) = ALL.iter().find(|(name, _)| *name == bare) {
                found.extend(current.take());
                current = Some((name, Vec::new()));
            } else if matches!(word, "|" | "||" | "&&" | ";" | "&") {
                found.extend(current.take());
            } else if let Some((_, words)) = &mut current {
                words.push(bare.to_owned());
                if word.ends_with(';') {
                    found.extend(current.take());
                }
            }
        }
        found.extend(current.take());
    }
    found.into_iter()
}

/// Every long flag of a tool and of its verbs.
pub(crate) fn long_flags(command: &clap::Command) -> BTreeSet<String> {
    let mut command = command.clone();
    command.build();
    let mut flags = BTreeSet::new();
    let mut open = vec![&command];
    while let Some(command) = open.pop() {
        for argument in command.get_arguments() {
            flags.extend(argument.get_long_and_visible_aliases().into_iter().flatten().map(str::to_owned));
            flags.extend(argument.get_all_aliases().into_iter().flatten().map(str::to_owned));
        }
        open.extend(command.get_subcommands());
    }
    flags
}

#[test]
fn no_example_names_a_flag_that_its_tool_lacks() {
    let mut texts = vec![root().join("README.md")];
    for folder in ["man", "docs", "examples"] {
        texts.extend(std::fs::read_dir(root().join(folder)).into_iter().flatten().map(|file| file.unwrap().path()));
    }
    let mut wrong = Vec::new();
    for path in texts {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for (tool, words) in commands(&text) {
            let (_, command) = ALL.iter().find(|(name, _)| *name == tool).expect("one of ours");
            let known = long_flags(&command());
            for word in words.iter().take_while(|word| *word != "--") {
                let Some(flag) = word.strip_prefix("--") else { continue };
                let flag = flag.split('=').next().unwrap_or(flag);
                if !flag.is_empty()
                    && flag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                    && !known.contains(flag)
                {
                    wrong.push(format!("{}: {tool} has no --{flag}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The trials of the examples put an address of their own behind `--listen`, so they do not see one that is refused.
#[test]
fn no_page_listens_on_a_port_without_an_address() {
    let folders = ["man", "docs", "examples", "dist/conf", "dist/systemd", "src/tool"];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    for path in files.chain([root().join("README.md")]) {
        let text = std::fs::read_to_string(&path).unwrap_or_default().replace('\\', "");
        let refused = text
            .match_indices("--listen :")
            .find(|(at, words)| text[at + words.len()..].starts_with(|letter: char| letter.is_ascii_digit()));
        assert_eq!(refused, None, "{}", path.display());
    }
}

#[test]
fn a_stale_page_is_noticed() {
    let text = "a\n.\\\" begin options (generated)\nold\n.\\\" end options\nb\n";
    let new = with_generated(text, "options", "new\n").unwrap();
    assert_eq!(new, text.replace("old", "new"));
    assert_eq!(with_generated("nothing\n", "options", "new\n"), None);
    let folder = crate::harness::temp_dir();
    let file = folder.path().join("page");
    std::fs::write(&file, "old\n").unwrap();
    let stale = std::panic::catch_unwind(|| committed(&file, "new\n"));
    assert_eq!(stale.is_ok(), std::env::var_os("UPDATE_DOCS").is_some());
}
