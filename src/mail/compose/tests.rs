use std::io::Read;

use mail_parser::{MessageParser, MimeHeaders, PartType};

use super::*;
use crate::smtp::data::Content;

fn draft() -> Draft {
    Draft {
        from: Some(Mailbox::parse("Jörg Öztürk <joerg@alice.example>").unwrap()),
        to: vec![Mailbox::parse("Bob <bob@bob.example>").unwrap()],
        subject: Some("Grüße".into()),
        date: "Mon, 23 Nov 2026 05:00:00 +0000".into(),
        message_id: "<1.abc@alice.example>".into(),
        unique: "0123456789abcdef".into(),
        ..Draft::default()
    }
}

fn written(composed: &Composed) -> Vec<u8> {
    let mut bytes = Vec::new();
    composed.message.open().unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, composed.message.size_bytes());
    let text = String::from_utf8_lossy(&bytes).into_owned();
    for line in text.split("\r\n") {
        assert!(!line.contains(['\r', '\n']), "bare line end: {line:?}");
        assert!(line.len() <= 998, "{line}");
    }
    assert!(text.ends_with("\r\n"));
    bytes
}

fn file(name: &str, bytes: &[u8]) -> Attachment {
    Attachment { blob: Blob::memory(bytes.to_vec()), name: Some(name.into()), content_type: None }
}

#[test]
fn a_plain_message_is_plain() {
    let plain = Draft { text: Some(b"Hello\n".to_vec()), subject: Some("Hi".into()), ..draft() };
    let plain = Draft { from: Some(Mailbox::parse("a@b.example").unwrap()), ..plain };
    let bytes = written(&plain.compose().unwrap());
    let expected = "Date: Mon, 23 Nov 2026 05:00:00 +0000\r\nFrom: a@b.example\r\nTo: Bob <bob@bob.example>\r\n\
        Subject: Hi\r\nMessage-ID: <1.abc@alice.example>\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\nHello\r\n";
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn what_is_read_is_what_was_meant() {
    let data: Vec<u8> = (0..=255).cycle().take(70_001).collect();
    let composed = Draft {
        cc: vec![Mailbox::parse("\"Doe, Jane\" <jane@x.example>").unwrap()],
        bcc: vec![Mailbox::parse("secret@hidden.example").unwrap()],
        text: Some("Schöne Grüße\nund tschüß\n".into()),
        html: Some("<p>Schöne <b>Grüße</b> <img src=\"cid:löwe.png\"></p>".into()),
        attachments: vec![file("Übersicht 2026.bin", &data), file("empty", b"")],
        inline: vec![file("löwe.png", b"\x89PNG")],
        in_reply_to: vec!["<0@x.example>".into()],
        headers: vec![("X-Job".into(), "nächtlich".into())],
        ..draft()
    }
    .compose()
    .unwrap();
    assert_eq!(composed.recipients, ["bob@bob.example", "jane@x.example", "secret@hidden.example"]);
    assert!(!composed.message.has_8bit() && !composed.smtputf8);
    let bytes = written(&composed);
    assert!(!String::from_utf8_lossy(&bytes).contains("hidden.example"), "Bcc never leaves");
    let parsed = MessageParser::default().parse(&bytes).unwrap();
    assert_eq!(parsed.subject(), Some("Grüße"));
    assert_eq!(parsed.from().unwrap().first().unwrap().name(), Some("Jörg Öztürk"));
    assert_eq!(parsed.cc().unwrap().first().unwrap().name(), Some("Doe, Jane"));
    assert_eq!(parsed.in_reply_to().as_text(), Some("0@x.example"));
    assert_eq!(parsed.references().as_text(), Some("0@x.example"));
    assert_eq!(parsed.header("X-Job").unwrap().as_text(), Some("=?UTF-8?Q?n=C3=A4chtlich?="));
    assert_eq!(parsed.body_text(0).unwrap(), "Schöne Grüße\r\nund tschüß\r\n");
    let html = parsed.body_html(0).unwrap();
    let picture = parsed.parts.iter().find(|part| part.attachment_name() == Some("löwe.png")).unwrap();
    let id = picture.content_id().unwrap();
    assert!(html.contains(&format!("src=\"cid:{id}\"")), "{html} {id}");
    let find = |name: &str| parsed.parts.iter().find(|part| part.attachment_name() == Some(name)).unwrap();
    assert!(find("Übersicht 2026.bin").contents() == data);
    assert_eq!(find("empty").contents(), b"");
    let kinds: Vec<String> = parsed
        .parts
        .iter()
        .filter(|part| matches!(part.body, PartType::Multipart(_)))
        .map(|part| part.content_type().unwrap().subtype().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["mixed", "alternative", "related"]);
}

#[test]
fn html_alone_gets_a_text() {
    let composed =
        Draft { html: Some(b"<h1>Report</h1><p>All fine &amp; done".to_vec()), ..draft() }.compose().unwrap();
    let bytes = written(&composed);
    let parsed = MessageParser::default().parse(&bytes).unwrap();
    assert_eq!(parsed.body_text(0).unwrap(), "Report\r\n\r\nAll fine & done\r\n");
}

#[test]
fn addresses_are_international_only_where_they_must_be() {
    let to = |text: &str| Draft { to: vec![Mailbox::parse(text).unwrap()], ..draft() }.compose().unwrap();
    let domain = to("bob@bücher.example");
    assert_eq!(domain.recipients, ["bob@xn--bcher-kva.example"]);
    assert!(!domain.smtputf8 && !domain.message.has_8bit());
    let local = to("grün@bücher.example");
    assert_eq!(local.recipients, ["grün@xn--bcher-kva.example"]);
    assert!(local.smtputf8 && local.message.has_8bit());
}

#[test]
fn a_text_of_no_known_charset_is_labelled_so() {
    let composed = Draft { text: Some(b"caf\xe9\n".to_vec()), ..draft() }.compose().unwrap();
    assert!(composed.unknown_charset);
    let text = String::from_utf8(written(&composed)).unwrap();
    assert!(text.contains("charset=unknown-8bit") && text.ends_with("caf=E9\r\n"), "{text}");
}

#[test]
fn injection_is_refused_in_every_value() {
    let evil = "x\r\nBcc: evil@x.example\r\n\r\nbody";
    let named = |name: &str| Mailbox { name: Some(name.into()), address: "a@b.example".into() };
    let odd = |kind: Option<&str>, name: &str| Attachment {
        blob: Blob::memory(b"x".to_vec()),
        name: Some(name.into()),
        content_type: kind.map(str::to_owned),
    };
    let drafts = [
        Draft { from: Some(named(evil)), ..draft() },
        Draft { sender: Some(named(evil)), ..draft() },
        Draft { to: vec![named(evil)], ..draft() },
        Draft { reply_to: vec![named(evil)], ..draft() },
        Draft { subject: Some(evil.into()), ..draft() },
        Draft { headers: vec![("X".into(), evil.into())], ..draft() },
        Draft { headers: vec![(evil.into(), "x".into())], ..draft() },
        Draft { headers: vec![("Bcc".into(), "x@y".into())], ..draft() },
        Draft { headers: vec![("Content-Type".into(), "x/y".into())], ..draft() },
        Draft { attachments: vec![odd(None, evil)], ..draft() },
        Draft { attachments: vec![odd(Some(evil), "x")], ..draft() },
        Draft { attachments: vec![odd(Some("text/plain; x=y\r\nBcc: a@b"), "x")], ..draft() },
        Draft { attachments: vec![odd(Some("multipart/mixed"), "x")], ..draft() },
        Draft { inline: vec![odd(None, evil)], html: Some(b"x".to_vec()), ..draft() },
        Draft { in_reply_to: vec![format!("<{evil}@x>")], ..draft() },
        Draft { references: vec![format!("<{evil}@x>")], ..draft() },
        Draft { message_id: format!("<{evil}@x>"), ..draft() },
        Draft { date: evil.into(), ..draft() },
        Draft { from: None, ..draft() },
    ];
    for (index, draft) in drafts.into_iter().enumerate() {
        assert_eq!(draft.compose().unwrap_err().kind, Kind::Usage, "draft {index}");
    }
}

#[test]
fn types_follow_the_ending() {
    for (name, kind) in [
        ("a.PDF", "application/pdf"),
        ("x.tar.gz", "application/gzip"),
        ("7z.7z", "application/x-7z-compressed"),
        ("zst.zst", "application/zstd"),
        ("noending", "application/octet-stream"),
        ("mail.eml", "application/octet-stream"),
        ("", "application/octet-stream"),
    ] {
        assert_eq!(type_of(name), kind, "{name}");
    }
}

proptest::proptest! {
    /// A message composed from any name, subject, text and file reads back the same with this crate's reader.
    #[test]
    fn what_is_composed_reads_back(
        name in "([a-zäß€😀\"\\\\(),.:;<>@=?_ \\t]|\\PC){1,60}",
        subject in "([a-zäß€😀=?_ \\t]|\\PC){1,120}",
        text in "([a-zäß€😀=.\r\n -]|From |\\PC){0,200}",
        file_name in "([a-zäß€😀\"\\\\;=?%'*._ \\t]|\\PC){1,120}",
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
    ) {
        // A name of blanks is none.
        proptest::prop_assume!(!file_name.trim().is_empty());
        let composed = Draft {
            from: Some(Mailbox { name: Some(name.clone()), address: "a@b.example".into() }),
            subject: Some(subject.clone()),
            text: Some(text.clone().into_bytes()),
            attachments: vec![file(&file_name, &bytes)],
            ..draft()
        };
        let reading = crate::mail::read::Reading::parse(written(&composed.compose().unwrap())).unwrap();
        proptest::prop_assert_eq!(reading.header("subject"), Some(subject.as_str()));
        let head = crate::mail::scan::header_of(reading.raw()).unwrap();
        let from = crate::mail::scan::addresses(head, "from").mailboxes;
        proptest::prop_assert_eq!(from.first().and_then(|from| from.name.clone()), Some(name));
        let [body, attached] = reading.parts.as_slice() else { panic!("{:?}", reading.parts) };
        proptest::prop_assert_eq!(reading.content(body).bytes, canonical_text(text.as_bytes()));
        proptest::prop_assert_eq!(attached.name.as_deref(), Some(file_name.as_str()));
        proptest::prop_assert_eq!(reading.content(attached).bytes, bytes);
    }
}
