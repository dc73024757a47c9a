//! mailread as a script meets it: mailboxes of every make, what is shown of them, and what is left alone.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::harness::{Done, temp_dir, tool};

fn read(args: &[&str], mailbox: &Path) -> Done {
    tool("mailread").args(args).arg("-m").arg(mailbox).run()
}

/// A message of one text, as a stranger would send it.
fn message(number: usize) -> String {
    format!(
        "From: a{number}@x.test\nTo: b@b.test\nSubject: s{number}\nMessage-ID: <{number}@x.test>\n\nbody {number}\n"
    )
}

/// Everything below a directory: names, kinds, lengths, times of change.
fn snapshot(path: &Path) -> Vec<(PathBuf, u32, u64, i64)> {
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        found.push((path.clone(), metadata.mode(), metadata.len(), metadata.mtime_nsec() + metadata.ctime_nsec()));
        if metadata.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found.sort();
    found
}

#[test]
fn flags_and_lists_leave_alone_what_is_no_message() {
    let folder = temp_dir();
    let (path, outside) = (folder.path().join("box"), folder.path().join("outside"));
    for name in ["cur/archive", "cur/1.archive:2,", "new/sub", "tmp"] {
        std::fs::create_dir_all(path.join(name)).unwrap();
    }
    std::fs::write(path.join("cur/archive/kept"), "x").unwrap();
    std::fs::write(&outside, message(9)).unwrap();
    for (name, number) in [("new/1700000001.a", 1), ("cur/1700000002.b:2,F", 2), ("cur/.hidden", 3), ("new/.nfs01", 4)]
    {
        std::fs::write(path.join(name), message(number)).unwrap();
    }
    let fifo = std::process::Command::new("mkfifo").arg(path.join("cur/1700000003.fifo")).status().unwrap();
    assert!(fifo.success());
    for (name, target) in [
        ("cur/1700000004.link:2,", outside.as_path()),
        ("cur/1700000005.nowhere", Path::new("nowhere")),
        ("cur/1700000006.folder", folder.path()),
    ] {
        symlink(target, path.join(name)).unwrap();
    }
    let listed = read(&["list"], &path);
    listed.silent_success();
    let lines: Vec<&str> = listed.text().lines().map(|line| line.rsplit('\t').next().unwrap()).collect();
    assert_eq!(lines, ["s1", "s2", "s9"], "a link to a message is one");
    let before = snapshot(&path);
    read(&["show", "all"], &path).silent_success().prints("body 9\n");
    read(&["flag", "--add", "seen", "all", "-n"], &path).exits(0);
    assert_eq!(snapshot(&path), before);
    let flagged = read(&["flag", "--add", "seen", "all", "--json"], &path);
    flagged.exits(0).says("message 3: ").says("a link keeps its name");
    let changed: Vec<bool> = flagged.records().iter().map(|it| it["changed"].as_bool().unwrap()).collect();
    assert_eq!(changed, [true, true, false]);
    let mut expected: Vec<PathBuf> = before.into_iter().map(|entry| entry.0).collect();
    for entry in &mut expected {
        if entry.ends_with("new/1700000001.a") {
            *entry = path.join("cur/1700000001.a:2,S");
        } else if entry.ends_with("cur/1700000002.b:2,F") {
            *entry = path.join("cur/1700000002.b:2,FS");
        }
    }
    expected.sort();
    assert_eq!(snapshot(&path).into_iter().map(|entry| entry.0).collect::<Vec<_>>(), expected);
}

#[test]
fn reading_changes_nothing_and_takes_whatever_is_there() {
    for present in [&["new"][..], &["cur"], &["new", "cur"], &["tmp", "cur"], &["tmp"]] {
        let folder = temp_dir();
        let path = folder.path().join("box");
        for name in present {
            std::fs::create_dir_all(path.join(name)).unwrap();
            if *name != "tmp" {
                std::fs::write(path.join(name).join("1700000001.a"), message(1)).unwrap();
            }
            std::fs::set_permissions(path.join(name), std::fs::Permissions::from_mode(0o555)).unwrap();
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).unwrap();
        let before = snapshot(&path);
        let count = present.iter().filter(|name| **name != "tmp").count();
        let listed = read(&["list"], &path);
        assert_eq!(listed.silent_success().text().lines().count(), count, "{present:?}");
        for args in [&["show", "all"][..], &["show", "--raw", "all"], &["show", "--json", "all"], &["reply", "all"]] {
            read(args, &path).silent_success();
        }
        read(&["extract", "all"], &path).exits(i32::from(count > 0));
        let queued =
            tool("smtpsend").args(["--queue", "--queue-dir"]).arg(folder.path().join("queue")).arg("--each").arg(&path);
        assert_eq!(queued.arg("--json").run().records_of("recipient").len(), count, "{present:?}");
        assert_eq!(snapshot(&path), before, "{present:?}");
        for name in present {
            std::fs::set_permissions(path.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let folder = temp_dir();
    read(&["list"], folder.path()).exits(66).says("not a Maildir");
    std::fs::create_dir_all(folder.path().join("new")).unwrap();
    std::fs::write(folder.path().join("new/1700000001.a"), message(1)).unwrap();
    read(&["flag", "--add", "F", "1"], folder.path()).silent_success();
    assert!(folder.path().join("cur/1700000001.a:2,F").is_file(), "flag makes the folder that it needs");
}

/// Python's mailbox, mutt and s-nail find these messages.
#[test]
fn an_mbox_is_read_as_others_read_it() {
    let time = "Mon Nov 23 05:00:00 2026";
    for (text, expected) in [
        (format!("\n\nFrom a@b {time}\n{}\nFrom c@d {time}\n{}\n", message(1), message(2)), &["s1", "s2"][..]),
        (
            format!("From MAILER-DAEMON\n{}\nFrom - \n{}\nFrom -\n{}", message(1), message(2), message(3)),
            &["s1", "s2", "s3"],
        ),
        (format!("From 18443@xxx\n{}From 18444@xxx\n{}", message(1), message(2)), &["s1", "s2"]),
        (
            format!(
                "From a@b {time}\r\n{}",
                format!("{}\nFrom c@d {time}\n{}", message(1), message(2)).replace('\n', "\r\n")
            ),
            &["s1", "s2"],
        ),
        (
            format!(
                "From a@b {time}\n{}\nFrom here on: prose\nFrom me\nto you\n\nFrom 9:00 to 10:30 we met\nTopic: x\n",
                message(1)
            ),
            &["s1"],
        ),
        (format!("From here on it is prose\n\n{}", message(1)), &[""]),
    ] {
        let subjects = |done: &Done| -> Vec<String> {
            done.silent_success().text().lines().map(|line| line.rsplit('\t').next().unwrap().to_owned()).collect()
        };
        assert_eq!(
            subjects(&tool("mailread").args(["list", "-m", "-"]).stdin(text.as_str()).run()),
            expected,
            "{text}"
        );
        let folder = temp_dir();
        let plain = folder.path().join("mbox");
        std::fs::write(&plain, &text).unwrap();
        let packed = std::process::Command::new("gzip").arg("-k").arg(&plain).status().unwrap();
        assert!(packed.success());
        let packed = folder.path().join("mbox.gz");
        assert_eq!(subjects(&read(&["list"], &packed)), expected, "{text}");
        for (args, status) in
            [(&["show", "all"][..], 0), (&["show", "--raw", "last"], 0), (&["show", "--json", "all"], 0)]
        {
            assert_eq!(read(args, &plain).exits(status).stdout, read(args, &packed).exits(status).stdout);
        }
        let before = snapshot(folder.path());
        read(&["flag", "--add", "seen", "all"], &packed).exits(69);
        assert_eq!(snapshot(folder.path()), before);
        let bytes = std::fs::read(&packed).unwrap();
        std::fs::write(&packed, &bytes[..bytes.len() - 3]).unwrap();
        read(&["list"], &packed).exits(65).says("cut off");
    }
}

#[test]
fn what_is_shown_of_several_can_be_told_apart() {
    let folder = temp_dir();
    let path = folder.path().join("box");
    for name in ["cur", "new"] {
        std::fs::create_dir_all(path.join(name)).unwrap();
    }
    let stored = [
        "Return-Path: <r@x.test>\nFrom: a@x.test\nSubject: s1\n\nFrom here on\n>From there\n\nFrom y Mon Nov 23 05:00:00 2026\n",
        "From: J\u{f6}rg <j\u{f6}rg@x.test>\nSubject: s2\nDate: Mon, 23 Nov 2026 05:00:00 +0100\n\nno end",
        "Subject: s3\n\n\n\n",
        "From: a@x.test\nSubject: s4\n",
    ];
    for (index, text) in stored.iter().enumerate() {
        std::fs::write(path.join("new").join(format!("{}.x", 1_700_000_001 + index)), text).unwrap();
    }
    let shown = read(&["show", "1", "2"], &path);
    let text = shown.silent_success().text();
    assert!(
        text.starts_with("==> message 1 <==\nFrom: a@x.test\n") && text.contains("\n\n==> message 2 <==\n"),
        "{text}"
    );
    assert!(read(&["show", "-u", "--subject", "s3"], &path).text().starts_with("==> message 3 <==\n"));
    assert!(!read(&["show", "2"], &path).text().contains("==>"));
    for (selection, text) in [("1", stored[0]), ("last", stored[3])] {
        assert_eq!(read(&["show", "--raw", selection], &path).silent_success().text(), text);
    }
    let mbox = read(&["show", "--raw", "all"], &path);
    assert!(mbox.silent_success().text().starts_with("From r@x.test Tue Nov 14 22:13:21 2023\n"), "{mbox}");
    assert!(
        mbox.text().lines().filter(|line| line.starts_with("From ")).count() == 4
            && mbox.text().contains("\nFrom j-rg@")
    );
    let copy = folder.path().join("copy");
    std::fs::write(&copy, &mbox.stdout).unwrap();
    for (index, text) in stored.iter().enumerate() {
        let again = read(&["show", "--raw", &(index + 1).to_string()], &copy);
        assert_eq!(again.silent_success().text().trim_end_matches('\n'), text.trim_end_matches('\n'));
        assert!(index == 1 || again.text() == *text, "only the last line end is added");
    }
    assert_eq!(read(&["show", "--raw", "all"], &copy).text().matches("Subject").count(), 4);
    read(&["show", "--raw", "--json", "all"], &path).exits(64);
}

#[test]
fn flowed_text_and_further_parts_read_as_they_were_written() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mail");
    let flowed = data.join("forms/flowed.eml");
    let joined = "All work and no play makes Jack a dull boy.\nFrom here on it is stuffed.\n> quoted text that flows on\n-- \nsig\n";
    read(&["show"], &flowed).silent_success().prints(joined);
    let text = read(&["show", "--json"], &flowed).records()[0]["text"].as_str().unwrap().to_owned();
    assert!(text.ends_with(joined), "{text}");
    read(&["reply"], &flowed)
        .silent_success()
        .prints("makes Jack a dull boy.\n> From here")
        .prints("\n>> quoted text that flows on\n> -- \n");
    read(&["show", "--no-reflow"], &flowed)
        .silent_success()
        .prints("makes \nJack")
        .prints("\n From here")
        .prints("that \n> flows");
    read(&["reply", "--no-reflow"], &flowed).silent_success().prints("> Jack a dull");
    read(&["list", "--no-reflow"], &flowed).exits(64);
    for action in ["show", "reply"] {
        let done = read(&[action], &data.join("footer.eml"));
        assert!(done.silent_success().text().lines().any(|line| line.trim_start_matches("> ") == "Bob"), "{done}");
    }
}

#[test]
fn nothing_that_was_sent_steers_a_terminal_behind_a_pipe() {
    let nasty = "\u{1b}]0;x\u{7}\u{1b}[2J\u{9b}31m\u{202e}gnp.exe\u{7f}\u{8}";
    let packed = format!("=?utf-8?q?{}?=", nasty.bytes().map(|byte| format!("={byte:02X}")).collect::<String>());
    let text = format!(
        "From: {packed} <a@b.test>\nSubject: {packed} {nasty}\nX-{nasty}: {nasty}\nTo: \"{nasty}\" <x@y.test>\nMessage-ID: <{nasty}@x>\n\
         Content-Type: multipart/mixed; boundary=q\n\n--q\n\n{nasty}\n--q\nContent-Type: app{nasty}/x\n\
         Content-Disposition: attachment; filename=\"{nasty}\"\n\nx\n--q--\n"
    );
    let folder = temp_dir();
    let path = folder.path().join("one.eml");
    std::fs::write(&path, text).unwrap();
    for args in [
        &["list"][..],
        &["list", "--json"],
        &["show", "-H"],
        &["show", "--json"],
        &["reply"],
        &["reply", "-a"],
        &["extract", "-n"],
        &["extract", "-n", "--json"],
    ] {
        let done = read(args, &path);
        assert!(!args.contains(&"list") || done.status == 0, "{done}");
        cannot_steer(&done);
    }
    assert!(read(&["list", "-0"], &path).stdout.contains(&0x1b), "-0 gives exact bytes");
    let json = read(&["list", "--json"], &path);
    assert!(json.records()[0]["subject"].as_str().unwrap().contains('\u{9b}'), "JSON reads back the same");
}

#[test]
fn a_message_without_an_empty_line_shows_what_is_there() {
    for (text, shown) in [
        (
            "From: a@b.test\nSubject: nob\nhello body line\nsecond: line\n",
            "Subject: nob\n\nhello body line\nsecond: line\n",
        ),
        ("From: a@b.test\nSubject: s\n \n\t\nbody\n", "Subject: s\n\nbody\n"),
        ("no header at all\nline two\n", "\nno header at all\nline two\n"),
        ("Subject: only a header", "Subject: only a header\n\n\n"),
    ] {
        let run = |args: &[&str]| tool("mailread").args(args).args(["-m", "-"]).stdin(text).run();
        run(&["show"]).silent_success();
        assert!(run(&["show"]).text().ends_with(shown), "{}", run(&["show"]));
        assert_eq!(run(&["list"]).silent_success().text().lines().count(), 1);
        assert_eq!(run(&["show", "--raw"]).silent_success().text(), text);
        let json = run(&["show", "--json"]);
        assert_eq!(
            json.records()[0]["text"].as_str().unwrap().trim(),
            shown.split_once("\n\n").unwrap_or(("", shown)).1.trim()
        );
    }
}

fn cannot_steer(done: &Done) {
    for text in [done.text(), &done.stderr] {
        let found = text.chars().find(|letter| {
            letter.is_control() && !matches!(letter, '\n' | '\t')
                || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        });
        assert!(found.is_none(), "{found:?} in\n{done}");
    }
}

/// Every odd message that the tests have, in every way that it can be read.
#[test]
fn every_odd_message_is_read_within_the_rules() {
    let mut waiting = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mail")];
    let mut count = 0;
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.extension().is_some_and(|ending| ending == "md" || ending == "json") {
            continue;
        }
        count += 1;
        for args in [
            &["list"][..],
            &["list", "--json"],
            &["show", "-H"],
            &["show", "--json"],
            &["extract", "-n", "all"],
            &["extract", "-n", "--json", "all"],
            &["reply", "-a"],
            &["reply", "--no-reflow"],
        ] {
            let done = read(args, &path);
            let defined: &[i32] = match args[0] {
                "list" => &[0],
                "show" => &[0, 65],
                "extract" => &[0, 1, 65],
                _ => &[0, 65],
            };
            assert!(defined.contains(&done.status), "{}\n{done}", path.display());
            cannot_steer(&done);
            if args.contains(&"--json") && !done.stdout.is_empty() {}
        }
    }
    assert!(count > 50, "{count} messages");
}
