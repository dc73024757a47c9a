use super::*;

thread_local! {
    /// The number of examined bytes.
    pub(super) static TOUCHED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The parts of a message except multiparts: number, type, content; `!` after a damaged one.
fn outline(message: &str) -> Vec<String> {
    let structure = Structure::parse(message.as_bytes().to_vec()).unwrap();
    let mut waiting = vec![0];
    let mut lines = Vec::new();
    while let Some(place) = waiting.pop() {
        let part = &structure.parts[place];
        waiting.extend(part.children.iter().rev());
        let content = structure.content(part);
        let text = String::from_utf8_lossy(&content.bytes).replace("\r\n", "\n");
        let text = if part.role == PartRole::Message { "..." } else { &text };
        if part.role != PartRole::Multipart {
            lines.push(format!(
                "{} {} {text:?}{}",
                part.path,
                part.content_type,
                if content.damaged { "!" } else { "" }
            ));
        }
    }
    lines
}

#[test]
fn structures_of_the_wild() {
    let table: &[(&str, &str, &[&str])] = &[
        ("a lone text", "A: b\n\nhello\n", &[r#"1 text/plain "hello\n""#]),
        ("nothing", "", &[r#"1 text/plain """#]),
        ("a type that is none", "Content-Type: text\n\nx", &[r#"1 text/plain "x""#]),
        (
            "boundaries begin a line and end it",
            "Content-Type: multipart/mixed; boundary=b\n\npreamble --b\n--b\n\nls --b\n --b\n--bb\n--b--x\n--b \t\nC: d\n\nx\n--b--  \n\
             epilogue\n--c\n",
            &[r#"1 text/plain "ls --b\n --b\n--bb\n--b--x""#, r#"2 text/plain "x""#],
        ),
        (
            "a boundary that begins as the other",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b2\n\n--b2\n\nx\n--b2--\n\
             --b\n\ny\n--b--\n",
            &[r#"1.1 text/plain "x""#, r#"2 text/plain "y""#],
        ),
        (
            "an inner multipart without an end",
            "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\nx\n--i\n\
             Content-Type: text/html\n\ny\n\n--o\nContent-Type: a/b\n\nz\n--o--\n",
            &[r#"1.1 text/plain "x""#, r#"1.2 text/html "y\n""#, r#"2 a/b "z""#],
        ),
        (
            "no end at all",
            "Content-Type: multipart/mixed; boundary=o\n\n--o\n\nx\n--o\nContent-Type: a/b\nContent-Transfer-Encoding: base64\n\naGk=\n",
            &[r#"1 text/plain "x""#, r#"2 a/b "hi"!"#],
        ),
        (
            "the same boundary twice",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n--b--\n",
            &[r#"1.1 text/plain "x""#, r#"2 text/plain "y""#],
        ),
        (
            "two fields Content-Type",
            "Content-Type: multipart/mixed; boundary=no\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n",
            &[r#"1 text/plain "x""#],
        ),
        (
            "no boundary in the field, none in the body",
            "Content-Type: multipart/mixed\n\n--b\n\nx\n",
            &[r#"1 text/plain "--b\n\nx\n""#],
        ),
        (
            "a boundary that never comes",
            "Content-Type: multipart/mixed; boundary=c\n\n--b\n\nx\n",
            &[r#"1 text/plain "--b\n\nx\n""#],
        ),
        (
            "headers without their empty line",
            "Content-Type: multipart/mixed; boundary=b\n--b\nContent-Type: a/b\n--b\nA: c\ntext\n--b\ntext only\n--b--\n",
            &[r#"1 a/b """#, r#"2 text/plain "text""#, r#"3 text/plain "text only""#],
        ),
        (
            "parts of an attached message",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b\nContent-Type: message/rfc822\n\nSubject: s\n\
             Content-Type: multipart/mixed; boundary=c\n\n--c\n\ny\n--c\nContent-Type: a/b\n\nz\n--b\nContent-Type: message/rfc822\n\n\
             Subject: t\n\nw\n--b--\n",
            &[
                r#"1 text/plain "x""#,
                r#"2 message/rfc822 "...""#,
                r#"2.1 text/plain "y""#,
                r#"2.2 a/b "z""#,
                r#"3 message/rfc822 "...""#,
                r#"3.1 text/plain "w""#,
            ],
        ),
        (
            "an attached message in base64",
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQ29udGVudC1UeXBlOiBhL2IKCnoK\n",
            &[r#"1 message/rfc822 "...""#, r#"1.1 a/b "z\n""#],
        ),
        (
            "a digest",
            "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: a\n\nx\n--b\nContent-Type: text/plain\n\ny\n--b--\n",
            &[r#"1 message/rfc822 "...""#, r#"1.1 text/plain "x""#, r#"2 text/plain "y""#],
        ),
        (
            "encodings as they are spelled",
            "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\nContent-Transfer-Encoding: BASE64 \n\naGk=\n\
             --b\nContent-Transfer-Encoding: quoted-printable;\n\n=61\n--b\nContent-Transfer-Encoding: base64 (by x)\n\naGk\n--b\n\
             Content-Transfer-Encoding: unheard-of\n\n=61\n--b\nContent-Type: a/b\nContent-Transfer-Encoding: x-uuencode\n\n\
             begin 644 c\n#0V%T\n`\nend\n--b--\n",
            &[
                r#"1 text/plain "hi""#,
                r#"2 text/plain "a""#,
                r#"3 text/plain "hi""#,
                r#"4 text/plain "=61""#,
                r#"5 a/b "Cat""#,
            ],
        ),
        (
            "files in a text",
            "A: b\n\nsee\nbegin 644 c\n#0V%T\n`\nend\nbye\nbegin 644 d\n#0V%T\n",
            &[
                r##"1 text/plain "see\nbegin 644 c\n#0V%T\n`\nend\nbye\nbegin 644 d\n#0V%T\n""##,
                r#"1.1 application/octet-stream "Cat""#,
                r#"1.2 application/octet-stream "Cat"!"#,
            ],
        ),
    ];
    for (what, message, expected) in table {
        assert_eq!(outline(message), *expected, "{what}");
        assert_eq!(outline(&message.replace('\n', "\r\n")), *expected, "{what}, CRLF");
    }
}

/// Formerly the time grew with the number of parts or boundaries; now it is linear in the bytes.
#[test]
fn the_time_is_linear_in_the_bytes() {
    const BYTES: usize = 2_000_000;
    let nested = |index: usize| format!("--b\nContent-Type: multipart/mixed; boundary=zz{index}\n\n");
    let inner = |index: usize| format!("Content-Type: multipart/mixed; boundary=b{index}\n\n--b{index}\n");
    let top = "Content-Type: multipart/mixed; boundary=b\n\n";
    let deep: String = (0..MAX_DEPTH).map(inner).collect();
    let wide: String = (0..MAX_PARTS - 1).map(nested).collect();
    for (what, start, filling) in [
        ("unfinished multiparts", format!("{top}{wide}"), "text\n"),
        ("beginnings of boundaries", format!("{top}{wide}"), "--"),
        ("lines that look like boundaries", deep.clone(), "--b9x\n"),
        ("empty boundaries", deep.clone(), "--\n"),
        ("lines of one dash", deep.clone(), "-\n"),
        ("one long line", deep.clone(), "--b"),
        ("headers", format!("{top}--b\n"), "A: b\n"),
        ("text without header", top.to_owned(), "--c\ntext\n"),
        ("begin lines", "\n".to_owned(), "begin 644 x\n"),
        ("data without end", "\n".to_owned(), "begin 644 x\n#0V%T\n"),
        ("begin in a line", "\n".to_owned(), "begin 644 x "),
        (
            "messages in base64",
            format!("{top}--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"),
            "aGVs\n",
        ),
    ] {
        let message = format!("{start}{}", filling.repeat(BYTES / filling.len()));
        let length = message.len();
        TOUCHED.set(0);
        let _ = Structure::parse(message.into_bytes());
        assert!(TOUCHED.get() <= 4 * length, "{what}: {} of {length}", TOUCHED.get());
    }
}

#[test]
fn limits_stop_before_the_work() {
    let many = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\n".repeat(1_000_000));
    TOUCHED.set(0);
    assert_eq!(Structure::parse(many.into_bytes()).unwrap_err().kind, Kind::BadData);
    assert!(TOUCHED.get() < 20 * MAX_PARTS, "{}", TOUCHED.get());
    let deep = "Content-Type: message/rfc822\n\n".repeat(1_000_000);
    TOUCHED.set(0);
    assert_eq!(Structure::parse(deep.into_bytes()).unwrap_err().kind, Kind::BadData);
    assert!(TOUCHED.get() < 200 * MAX_DEPTH, "{}", TOUCHED.get());
}

#[test]
fn raw_names_are_in_the_charset_of_the_text() {
    let names = |message: &[u8]| -> Vec<Option<String>> {
        Structure::parse(message.to_vec()).unwrap().parts.into_iter().map(|part| part.name).collect()
    };
    let one =
        b"Content-Type: text/plain; charset=koi8-r\nContent-Disposition: attachment; filename=\"\xcd\xc9\xd2\"\n\nx";
    assert_eq!(names(one), [Some("мир".to_owned())]);
    let part = |header: &[u8]| [b"\n--b\n", header, b"\n\nx"].concat();
    let several = [
        b"Content-Type: multipart/mixed; boundary=b\n".to_vec(),
        part(b"Content-Type: text/plain; charset=koi8-r"),
        part(b"Content-Type: a/b; name=\"\xcd\xc9\xd2\""),
        part(b"Content-Disposition: attachment; filename=\xcd\xc9\xd2"),
        part("Content-Disposition: attachment; filename=мир".as_bytes()),
        part(b"Content-Type: text/html; charset=windows-1251; name=\xec\xe8\xf0"),
    ]
    .concat();
    let expected = [None, None, Some("мир"), Some("мир"), Some("мир"), Some("мир")];
    assert_eq!(names(&several), expected.map(|name| name.map(str::to_owned)));
}
