//! Words that a tool does not know: those of other tools are answered with ours, mistyped ones with the nearest.

use applayer::cli::foreign::{ForeignWords, answer, word_of};
use applayer::tool::{ALL, FOREIGN_WORDS};

use crate::harness::{server, temp_dir, tool};

/// The letters and long names that a tool takes itself.
fn own(name: &str) -> Vec<String> {
    let (_, command) = ALL.iter().find(|(tool, _)| *tool == name).unwrap();
    let mut command = command();
    command.build();
    let of = |argument: &clap::Arg| {
        let long = argument.get_long().into_iter().chain(argument.get_all_aliases().unwrap_or_default());
        let short = argument.get_short().into_iter().chain(argument.get_all_short_aliases().unwrap_or_default());
        long.map(|it| format!("--{it}")).chain(short.map(|it| format!("-{it}"))).collect::<Vec<_>>()
    };
    command.get_arguments().flat_map(of).collect()
}

/// The foreign words of a tool, each with what is to be said; those aside that begin with a letter of ours.
fn rows(name: &str, tables: &'static [ForeignWords]) -> Vec<(&'static str, &'static str)> {
    let own = own(name);
    let is_ours = |word: &str| match word.starts_with("--") {
        true => own.iter().any(|it| it == word),
        false => word.starts_with('-') && own.iter().any(|it| word.get(..2) == Some(it)),
    };
    let words = tables.iter().copied().flatten().flat_map(|(words, _)| words.split(' '));
    words
        .filter(|word| !is_ours(word))
        .map(|word| {
            (
                word,
                word_of(word.trim_end_matches('*'), tables)
                    .unwrap_or_else(|| word_of(&word.replace('*', "x"), tables).unwrap()),
            )
        })
        .collect()
}

#[test]
fn every_word_of_another_tool_is_answered_with_ours() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for (name, tables) in FOREIGN_WORDS {
        for (word, ours) in rows(name, tables) {
            let given = word.replace('*', "x");
            let run = tool(name).env("APPLAYER_CONFIG", "-");
            let run = match (*name, given.starts_with(['-', '+'])) {
                ("ftpdo", false) => run.args(["ftp://127.0.0.1:1/", &given]),
                ("dnsq", _) => run.args(["@127.0.0.1:1", "a.test", &given]),
                _ => run.arg(&given),
            };
            let done = run.run();
            let hinted = done.stderr.lines().any(|line| line.ends_with(&answer(ours)));
            if done.status != 64 || !done.stdout.is_empty() || !hinted {
                wrong.push(format!("{name} {word}: {ours}: {done}"));
            }
            tried += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tried > 500, "only {tried} words were found");
}

#[test]
fn a_mistyped_word_is_answered_with_the_nearest() {
    for (line, nearest) in [
        ("ftpls --tls strttls ftp://h/", "starttls"),
        ("ftpls --sort sice ftp://h/", "size"),
        ("ftpls --way msld ftp://h/", "mlsd"),
        ("ftpls --recusive ftp://h/", "--recursive"),
        ("ftpget --links folow ftp://h/a", "follow"),
        ("ftpput --links skp a ftp://h/", "skip"),
        ("ftpdo ftp://127.0.0.1:1/ mkdr x", "mkdir"),
        ("ftpdo ftp://127.0.0.1:1/ chmd 644 x", "chmod"),
        ("smtpsend --auth plian --server h", "plain"),
        ("smtpsend --notify nevr --server h", "never"),
        ("smtpsend --ret ful --server h", "full"),
        ("smtpsend --protocol smpt --server h", "smtp"),
        ("mailq-ls --state hled", "held"),
        ("mailq-ls --color nevr", "never"),
        ("mailq-edit relase x", "release"),
        ("mailread lst", "list"),
        ("dnsq a.test +shrt", "+short"),
        ("dnsq a.test -t AAA", "AAAA"),
        ("dnsq -f /dev/null --wildcards dorp", "drop"),
        ("ftpserve --syslog=daemn .", "daemon"),
        ("smtpserve --newlines rejekt", "reject"),
    ] {
        let mut words = line.split(' ');
        let done = tool(words.next().unwrap()).args(words).run();
        done.exits(64).says(&format!("did you mean {nearest}?"));
    }
    let mailbox = temp_dir();
    for folder in ["cur", "new", "tmp"] {
        std::fs::create_dir(mailbox.path().join(folder)).unwrap();
    }
    std::fs::write(mailbox.path().join("cur/1:2,"), "Subject: x\n\nx\n").unwrap();
    let done = tool("mailread").args(["flag", "1", "--add", "flaged", "-m"]).arg(mailbox.path()).run();
    done.exits(64).says("did you mean flagged?");
    let done = tool("mailread").args(["list", "--color", "print"]).run();
    assert!(!done.exits(64).stderr.contains("here it is"), "a verb of mail(1) is not a colour\n{done}");
    // What is near to nothing is not guessed.
    let done = tool("ftpls").args(["--tls", "zebra", "ftp://h/"]).run();
    done.exits(64);
    assert!(!done.stderr.contains("did you mean"), "{done}");
}

#[test]
fn letters_of_ls_do_or_say_what_is_expected() {
    let dir = temp_dir();
    for (name, size) in [("b", 1), ("a", 3), ("c", 2)] {
        std::fs::write(dir.path().join(name), "x".repeat(size)).unwrap();
    }
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("d/e"), "x").unwrap();
    let server = server("ftpserve").arg(dir.path()).start();
    let list = |letters: &str| tool("ftpls").args([letters, &server.url]).run();
    let names = |letters: &str| {
        let done = list(letters);
        let last = done.exits(0).text().lines().map(|line| line.rsplit('\t').next().unwrap().to_owned());
        let mut names: Vec<String> = last.collect();
        if !letters.contains('S') {
            names.sort();
        }
        names.join(" ")
    };
    for letters in ["-1", "-a", "-la", "-al", "-t", "-lt", "-l1a"] {
        assert_eq!(names(letters), "a b c d", "{letters}");
    }
    assert!(names("-S").contains("a c b"), "{}", names("-S"));
    assert_eq!(names("-r"), "a b c d d/e");
    assert!(list("-la").exits(0).text().contains("\t3\t"));
    for (letters, said) in [("-lh", "in bytes"), ("-lah", "in bytes"), ("-ltr", "--reverse"), ("-Sr", "--reverse")] {
        list(letters).exits(64).says(said);
    }
}

#[test]
fn a_directory_without_r_is_answered_with_r() {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    let server = server("ftpserve").arg(dir.path()).start();
    for path in ["d", "d/", ""] {
        let done = tool("ftpget").dir(dir.path()).arg(format!("{}/{path}", server.url)).run();
        assert_ne!(done.status, 0, "{path}: {done}");
        done.says("-r");
    }
    tool("ftpput").dir(dir.path()).args(["d", &server.url]).run().says("-r stores");
}
