//! Parts and texts of received mail from mailread's command line: charsets, boundaries, transfer encodings, numbers.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Done, temp_dir, tool};

/// Runs mailread over one message.
fn read(args: &[&str], message: &[u8]) -> Done {
    tool("mailread").args(args).args(["-m", "-"]).stdin(message).run()
}

/// The record of `show --json`.
fn shown(message: &[u8]) -> Value {
    let done = read(&["show", "--json"], message);
    done.exits(0);
    done.records()[0].clone()
}

/// The files that `extract` writes, by name.
fn extracted(message: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let folder = temp_dir();
    read(&["extract", "--json", "-o", folder.path().to_str().unwrap()], message);
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())).collect()
}

/// Every form of `tests/data/mail/forms` has the text and the files that several other readers find in it.
#[test]
fn forms_of_the_wild_read_as_others_read_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mail/forms");
    let table: BTreeMap<String, Value> =
        serde_json::from_slice(&std::fs::read(folder.join("expect.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for (form, expected) in &table {
        let message = std::fs::read(folder.join(format!("{form}.eml"))).unwrap();
        let record = shown(&message);
        let text = record["text"].as_str().unwrap().replace("\r\n", "\n");
        if let Some(expected) = expected["text"].as_str()
            && text.trim() != expected.trim()
        {
            wrong.push(format!("{form}: text {text:?}, not {expected:?}"));
        }
        if let Some(expected) = expected["text_has"].as_str()
            && !text.contains(expected)
        {
            wrong.push(format!("{form}: text {text:?} without {expected:?}"));
        }
        let Some(names) = expected["files"].as_array() else { continue };
        let files = extracted(&message);
        for name in names.iter().map(|name| name.as_str().unwrap()) {
            let found = files.iter().find(|(found, _)| match name.strip_prefix('*') {
                Some(ending) => found.ends_with(ending),
                None => *found == name,
            });
            match (found, expected["bytes_of"][name].as_str()) {
                (None, _) => wrong.push(format!("{form}: no {name} among {:?}", files.keys())),
                (Some((_, bytes)), Some(content)) if bytes != content.as_bytes() => {
                    wrong.push(format!("{form}: {name} is {:?}", String::from_utf8_lossy(bytes)));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Messages, the lines below their text, and the files that come out.
#[test]
fn everything_but_the_text_is_listed_and_saved() {
    let mixed =
        |parts: &str| format!("Subject: s\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhi\n{parts}--b--\n");
    let table: &[(&str, String, &[&str], &[(&str, &str)])] = &[
        ("a picture", "Content-Type: image/png\nContent-Transfer-Encoding: base64\n\naGk=\n".to_owned(), &["[1 - image/png, 2 bytes]"], &[(
            "message1-part1.png",
            "hi",
        )]),
        (
            "a named text and nothing else",
            "Content-Type: text/plain; name=a.txt\n\nhi\n".to_owned(),
            &["[1 a.txt text/plain, 3 bytes]"],
            &[("a.txt", "hi\n")],
        ),
        (
            "pictures beside a page",
            "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>hi</p>\n--b\nContent-Type: image/gif\n\
             Content-ID: <x>\n\nG\n--b--\n"
                .to_owned(),
            &["[2 - image/gif, 1 bytes]"],
            &[("message1-part2.gif", "G")],
        ),
        (
            "a calendar among alternatives",
            "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nhi\n--b\nContent-Type: text/html\n\n<p>hi</p>\n--b\n\
             Content-Type: text/calendar\n\nBEGIN\n--b--\n"
                .to_owned(),
            &["[3 - text/calendar, 5 bytes]"],
            &[("message1-part3.ics", "BEGIN")],
        ),
        (
            "an attached message and what is in it",
            mixed(
                "--b\nContent-Type: message/rfc822\n\nSubject: t\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\ninner\n--c\n\
                 Content-Type: a/b; name=deep.bin\n\nD\n--c--\n",
            ),
            &["[2 - message/rfc822, ", "[2.1 - text/plain, 5 bytes]", "[2.2 deep.bin a/b, 1 bytes]"],
            &[
                (
                    "message1-part2.eml",
                    "Subject: t\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\ninner\n--c\nContent-Type: a/b; name=deep.bin\n\nD\n--c--\n",
                ),
                ("deep.bin", "D"),
            ],
        ),
        (
            "a file in a text",
            "Subject: s\n\nhi\nbegin 644 cat.txt\n#0V%T\n`\nend\n".to_owned(),
            &["[1.1 cat.txt application/octet-stream, 3 bytes]"],
            &[("cat.txt", "Cat")],
        ),
        (
            "a part in uuencode",
            mixed("--b\nContent-Type: a/b\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 cat\n#0V%T\n`\nend\n"),
            &["[2 cat a/b, 3 bytes]"],
            &[("cat", "Cat")],
        ),
        (
            "a part cut off",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhi\n--b\nContent-Type: a/b; name=x\nContent-Transfer-Encoding: base64\n\naGkh\n"
                .to_owned(),
            &["[2 x a/b, 3 bytes, damaged]"],
            &[("x", "hi!")],
        ),
    ];
    for (what, message, lines, files) in table {
        let text = read(&["show"], message.as_bytes());
        let below: Vec<&str> = text.exits(0).text().lines().filter(|line| line.starts_with('[')).collect();
        assert_eq!(below.len(), lines.len(), "{what}: {below:?}");
        for (line, expected) in below.iter().zip(*lines) {
            assert!(line.starts_with(expected), "{what}: {line}, not {expected}");
        }
        if !what.contains("picture") || what.contains("page") {
            assert!(text.text().contains("\nhi\n") || text.text().ends_with("\nhi"), "{what}: {}", text.text());
        }
        let found = extracted(message.as_bytes());
        let expected: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())).collect();
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn damage_is_told_and_does_not_stop() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mail");
    let message = |name: &str| std::fs::read(data.join(name)).unwrap();
    let cut = message("noend.eml");
    let record = shown(&cut);
    assert_eq!(record["parts"][1]["damaged"], true);
    assert_eq!(record["parts"][0].get("damaged"), None);
    let done = read(&["extract", "-o", "-", "--part", "2"], &cut);
    done.exits(0).says("warning: message 1: part 2 is damaged");
    assert!(done.stdout.starts_with(b"%PDF-1.4\n"), "{done}");
    read(&["show", "-q"], &cut).silent_success();
    let footer = read(&["show"], &message("listfooter.eml"));
    footer.exits(0).says("part 1 is damaged").prints("Grüße aus Berlin\n");
    assert!(!footer.text().contains("R3LD"));
    let inner = extracted(&message("innernoend.eml"));
    assert_eq!(inner.iter().collect::<Vec<_>>(), [(&"r.pdf".to_owned(), &b"%PDF-1.4\n".to_vec())]);
    read(&["extract", "-o", "-", "--part", "2"], &message("midline.eml"))
        .silent_success()
        .prints("ls --color\ngrep --color=always\nlast line");
    let text = shown(&message("midline.eml"))["text"].as_str().unwrap().to_owned();
    assert_eq!(text, "Use ls --color=auto for colours.\nSecond line.");
}

/// East Asian text in the subject, the text, and the name of a file, whatever charset they came in.
#[test]
fn charsets_reach_all_that_is_shown() {
    let word = |charset: &str, bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("={byte:02X}")).collect();
        format!("=?{charset}?Q?{hex}?=")
    };
    for (charset, bytes, text) in [
        ("iso-2022-jp", &b"\x1b$BF|K\\8l\x1b(B"[..], "日本語"),
        ("shift_jis", b"\x93\xfa\x96{\x8c\xea", "日本語"),
        ("ks_c_5601-1987", b"\xc7\xd1\xb1\xdb", "한글"),
        ("gb2312", b"\xbb\xe3\xc2\xca", "汇率"),
        ("hz-gb-2312", b"~{;cBJ~}", "汇率"),
        ("big5", b"\xb9q\xa4l", "電子"),
        ("cp437", b"Gr\x81\xe1e", "Grüße"),
        ("x-unknown", b"Gr\xfc\xdfe", "Grüße"),
        ("us-ascii", "Grüße".as_bytes(), "Grüße"),
    ] {
        let percent: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
        let mut message = format!(
            "Subject: {}\nContent-Type: text/plain; charset=\"{charset}\"; name*={charset}''{percent}.txt\n\n",
            word(charset, bytes)
        )
        .into_bytes();
        message.extend_from_slice(bytes);
        message.push(b'\n');
        let record = shown(&message);
        assert_eq!(record["subject"], text, "{charset}");
        assert_eq!(record["text"].as_str().unwrap().trim(), text, "{charset}");
        assert_eq!(record["parts"][0]["name"], format!("{text}.txt"), "{charset}");
        assert!(read(&["list"], &message).silent_success().text().contains(text), "{charset}");
    }
}
