use super::*;
use mail_parser::{MessageParser, MimeHeaders as _};

const ORIGINAL: &[u8] = b"From: alice@alice.test\r\nSubject: hello\r\n\r\nbody\r\n--=_u1\r\n";

fn report(action: ReportAction) -> StatusReport {
    StatusReport {
        action,
        mta: "mail.alice.test".to_owned(),
        to: "alice@alice.test".into(),
        envid: "QQ314159".parse().ok(),
        arrived: Time(1_764_000_000_000),
        queue_id: "0000000000001".to_owned(),
        until: None,
        recipients: vec![ReportedRecipient {
            address: "bob@bob.test".into(),
            orcpt: "rfc822;Bob+x@bob.test".parse().ok(),
            enhanced: Enhanced::parse("5.1.1"),
            host: Some("mx.bob.test".to_owned()),
            reply: "550 5.1.1 no such\r\nX-Injected: user".to_owned(),
            by_server: true,
            at: Time(1_764_000_001_000),
        }],
        full: false,
    }
}

fn compose(report: &StatusReport) -> String {
    let (bytes, _) = report.compose(ORIGINAL, ORIGINAL.len() as u64, Time(1_764_000_002_000), "u1").unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_bounce_has_three_parts_and_every_required_field() {
    let text = compose(&report(ReportAction::Failed));
    let message = MessageParser::default().parse(text.as_bytes()).unwrap();
    let kind = message.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    let kinds: Vec<String> = message
        .parts
        .iter()
        .skip(1)
        .map(|part| {
            part.content_type()
                .map_or(String::new(), |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("")))
        })
        .collect();
    assert_eq!(kinds, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
    for field in [
        "To: <alice@alice.test>\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "\r\nReporting-MTA: dns; mail.alice.test\r\nOriginal-Envelope-Id: QQ314159\r\n",
        "\r\nArrival-Date: Mon, 24 Nov 2025 16:00:00 +0000\r\n\r\nOriginal-Recipient: rfc822; Bob+x@bob.test\r\n",
        "Final-Recipient: rfc822; bob@bob.test\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.bob.test\r\n",
        "Diagnostic-Code: smtp; 550 5.1.1 no such X-Injected: user\r\n",
        "Last-Attempt-Date: Mon, 24 Nov 2025 16:00:01 +0000\r\n",
    ] {
        assert!(text.contains(field), "{field:?} in\n{text}");
    }
    assert!(text.contains("Subject: hello") && !text.contains("\r\nbody"), "the header alone comes back");
}

#[test]
fn ret_full_returns_all_of_it_unless_it_is_large() {
    let full = StatusReport { full: true, ..report(ReportAction::Failed) };
    assert!(compose(&full).contains("message/rfc822\r\n\r\nFrom: alice@alice.test"));
    assert!(compose(&full).contains("\r\nbody\r\n"));
    let (large, _) = full.compose(ORIGINAL, MAX_RETURNED + 1, Time(0), "u1").unwrap();
    assert!(String::from_utf8(large).unwrap().contains("text/rfc822-headers"));
    let delayed = StatusReport { full: true, until: Some(Time(1_764_400_000_000)), ..report(ReportAction::Delayed) };
    let text = compose(&delayed);
    assert!(text.contains("text/rfc822-headers") && text.contains("Will-Retry-Until: Sat, 29 Nov 2025 07:06:40 +0000"));
}

#[test]
fn the_types_of_international_mail_only_where_something_needs_them() {
    const PLAIN: &str = "message/delivery-status";
    const GLOBAL: &str = "message/global-delivery-status";
    // Address, ORCPT, a word of the message's header; the type of the report, the line of the recipient.
    for (address, orcpt, subject, kind, line) in [
        ("bob@bob.test", None, "hello", PLAIN, "rfc822; bob@bob.test"),
        ("bob@bob.test", None, "grün", PLAIN, "rfc822; bob@bob.test"),
        ("bob@bücher.test", None, "hello", PLAIN, "rfc822; bob@xn--bcher-kva.test"),
        ("jörg@bob.test", None, "hello", GLOBAL, "utf-8; jörg@bob.test"),
        ("jörg@bücher.test", None, "grün", GLOBAL, "utf-8; jörg@bücher.test"),
        ("bob@bob.test", Some("utf-8;jörg@bob.test"), "hello", GLOBAL, "rfc822; bob@bob.test"),
    ] {
        let mut report = report(ReportAction::Failed);
        report.recipients[0].address = address.into();
        report.recipients[0].orcpt = orcpt.map(|orcpt| orcpt.parse().unwrap());
        let original = format!("Subject: {subject}\r\n\r\nbody\r\n");
        let (bytes, _) = report.compose(original.as_bytes(), 0, Time(0), "u1").unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(&format!("Content-Type: {kind}\r\n")), "{address} {subject}\n{text}");
        assert!(text.contains(&format!("Final-Recipient: {line}\r\n")), "{address} {subject}\n{text}");
        let returned = if kind == GLOBAL { "message/global-headers" } else { "text/rfc822-headers" };
        assert!(text.contains(&format!("Content-Type: {returned}\r\n")), "{address} {subject}\n{text}");
    }
    // Next to a recipient that needs the other type, the others keep theirs.
    let mut report = report(ReportAction::Failed);
    let mut other = report.recipients[0].clone();
    other.address = "jörg@bob.test".into();
    report.recipients.push(other);
    let text = compose(&report);
    assert!(text.contains("rfc822; bob@bob.test\r\n") && text.contains("utf-8; jörg@bob.test\r\n"), "{text}");
}

#[test]
fn our_own_words_are_no_servers_reply() {
    let mut report = report(ReportAction::Failed);
    report.recipients[0].by_server = false;
    report.recipients[0].reply = "MX of bob.test: SERVFAIL ".repeat(60);
    let text = compose(&report);
    assert!(!text.contains("Remote-MTA") && text.contains("Diagnostic-Code: X-Applayer; MX of bob.test"));
    assert!(text.split("\r\n").all(|line| line.len() <= 998), "RFC 5322 section 2.1.1");
}

#[test]
fn headers_end_where_they_end() {
    for (message, expected) in [
        (&b"A: b\r\n\r\nbody\r\n"[..], &b"A: b\r\n"[..]),
        (b"\r\nbody\r\n", b""),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"A: b\r\n \r\n c\r\nD: e\r\n\r\nbody\r\n", b"A: b\r\n \r\n c\r\nD: e\r\n"),
        (b"A: b\r\nbody at once\r\n\r\nD: e\r\n", b"A: b\r\n"),
        (b"", b""),
        (b"no line end", b""),
    ] {
        assert_eq!(header(message).unwrap(), expected);
    }
    let endless = b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(5000);
    let cut = header(&endless[..]).unwrap();
    assert!(cut.len() as u64 <= MAX_RETURNED && cut.ends_with(b"\r\n"));
}

#[test]
fn words_are_wrapped_and_cut() {
    assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
    assert_eq!(wrap("aaaaaaaa", 3), ["aaa", "aaa", "aa"]);
    assert_eq!(wrap("", 3), [""]);
    assert_eq!(wrap("ééé", 3).concat(), "ééé");
}

/// One group of fields: names in lower case, values.
type Group = Vec<(String, String)>;

/// The groups of the status part, unfolded.
fn status(text: &str) -> Vec<Group> {
    let part = text.split("Content-Type: message/delivery-status\r\n").nth(1).unwrap();
    let part = part.split_once("\r\n").unwrap().1.split("\r\n--=_").next().unwrap();
    let part = part.replace("\r\n ", " ");
    let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let groups = part.split("\r\n\r\n").map(|group| group.split("\r\n").filter_map(field).collect::<Group>());
    groups.filter(|group| !group.is_empty()).collect()
}

/// A name, the action, the reporting MTA, the reported recipients, and the fields of each.
type Example = (&'static str, ReportAction, &'static str, Vec<ReportedRecipient>, Vec<Vec<&'static str>>);

/// The examples of RFC 3464, appendix D, in which this MTA can be the reporter: each as this MTA reports it.
#[test]
fn the_examples_of_rfc_3464() {
    let one = |address: &str, enhanced: &str, host: Option<&str>, reply: &str| ReportedRecipient {
        address: address.into(),
        orcpt: format!("rfc822;{address}").parse().ok(),
        enhanced: Enhanced::parse(enhanced),
        host: host.map(str::to_owned),
        reply: reply.to_owned(),
        by_server: host.is_some(),
        // Thu, 7 Jul 1994 17:15:49 -0400
        at: Time(773_615_749_000),
    };
    let vnet = "550 'arathib@vnet.IBM.COM' is not a registered gateway user";
    let table: [Example; 4] = [
        (
            "simple: a connection that timed out for too long",
            ReportAction::Failed,
            "cs.utk.edu",
            vec![one("louisl@larry.slip.umd.edu", "4.4.1", None, "connection timed out")],
            vec![vec![
                "original-recipient: rfc822; louisl@larry.slip.umd.edu",
                "final-recipient: rfc822; louisl@larry.slip.umd.edu",
                "action: failed",
                "status: 4.4.1",
                "diagnostic-code: X-Applayer; connection timed out",
                "last-attempt-date: Thu, 07 Jul 1994 21:15:49 +0000",
            ]],
        ),
        (
            "several recipients, refused",
            ReportAction::Failed,
            "cs.utk.edu",
            vec![
                one("arathib@vnet.ibm.com", "", Some("vnet.ibm.com"), vnet),
                one("wsnell@sdcc13.ucsd.edu", "", Some("sdcc13.ucsd.edu"), "550 user unknown"),
            ],
            vec![
                vec![
                    "original-recipient: rfc822; arathib@vnet.ibm.com",
                    "final-recipient: rfc822; arathib@vnet.ibm.com",
                    "action: failed",
                    "status: 5.0.0",
                    "remote-mta: dns; vnet.ibm.com",
                    "diagnostic-code: smtp; 550 'arathib@vnet.IBM.COM' is not a registered gateway user",
                    "last-attempt-date: Thu, 07 Jul 1994 21:15:49 +0000",
                ],
                vec![
                    "original-recipient: rfc822; wsnell@sdcc13.ucsd.edu",
                    "final-recipient: rfc822; wsnell@sdcc13.ucsd.edu",
                    "action: failed",
                    "status: 5.0.0",
                    "remote-mta: dns; sdcc13.ucsd.edu",
                    "diagnostic-code: smtp; 550 user unknown",
                    "last-attempt-date: Thu, 07 Jul 1994 21:15:49 +0000",
                ],
            ],
        ),
        (
            "the third of them, delayed",
            ReportAction::Delayed,
            "cs.utk.edu",
            vec![one("johnh@hpnjld.njd.hp.com", "", None, "host name lookup failure")],
            vec![vec![
                "original-recipient: rfc822; johnh@hpnjld.njd.hp.com",
                "final-recipient: rfc822; johnh@hpnjld.njd.hp.com",
                "action: delayed",
                "status: 4.0.0",
                "diagnostic-code: X-Applayer; host name lookup failure",
                "last-attempt-date: Thu, 07 Jul 1994 21:15:49 +0000",
                "will-retry-until: Tue, 12 Jul 1994 21:15:49 +0000",
            ]],
        ),
        (
            "relayed to where no reports are made",
            ReportAction::Relayed,
            "sun2.nsfnet-relay.ac.uk",
            vec![one("thomas@de-montfort.ac.uk", "2.1.5", Some("de-montfort.ac.uk"), "250 2.1.5 ok")],
            vec![vec![
                "original-recipient: rfc822; thomas@de-montfort.ac.uk",
                "final-recipient: rfc822; thomas@de-montfort.ac.uk",
                "action: relayed",
                "status: 2.1.5",
                "remote-mta: dns; de-montfort.ac.uk",
                "diagnostic-code: smtp; 250 2.1.5 ok",
                "last-attempt-date: Thu, 07 Jul 1994 21:15:49 +0000",
            ]],
        ),
    ];
    for (name, action, mta, recipients, expected) in table {
        let report = StatusReport {
            action,
            mta: mta.to_owned(),
            recipients,
            until: (action == ReportAction::Delayed).then_some(Time(774_047_749_000)),
            ..report(action)
        };
        let found = status(&compose(&report));
        let lines = |group: &Group| group.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>();
        let about = lines(&found[0]);
        assert_eq!(
            about[..2],
            [format!("reporting-mta: dns; {mta}"), "original-envelope-id: QQ314159".to_owned()],
            "{name}"
        );
        assert_eq!(found[1..].iter().map(lines).collect::<Vec<_>>(), expected, "{name}");
    }
}

#[test]
fn letters_outside_ascii_are_declared_and_kept_from_programs_that_know_none() {
    let mut report = report(ReportAction::Failed);
    let (bytes, eight_bit) = report.compose(ORIGINAL, ORIGINAL.len() as u64, Time(0), "u1").unwrap();
    assert!(!eight_bit && !String::from_utf8(bytes).unwrap().contains("8bit"));
    report.recipients[0].reply = "550 5.1.1 gibt es nicht: Löwe".to_owned();
    let text = compose(&report);
    let (header, parts) = text.split_once("\r\n\r\n").unwrap();
    assert!(header.contains("Content-Transfer-Encoding: 8bit"), "the whole as its parts (RFC 2045, section 6.4)");
    assert!(parts.contains("    mx.bob.test said: 550 5.1.1 gibt es nicht: Löwe"));
    assert!(parts.contains("Diagnostic-Code: smtp; 550 5.1.1 gibt es nicht: L?we"), "7 bits (RFC 3464, section 2.1)");
    let original = "Subject: Löwe\r\n\r\nx\r\n".as_bytes();
    report.recipients[0].reply.clear();
    let (bytes, eight_bit) = report.compose(original, original.len() as u64, Time(0), "u1").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        eight_bit && text.contains("text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: Löwe\r\n")
    );
}
