//! Commands in both directions, and the text of each refusal.

use super::*;
use crate::smtp::envelope::{MAX_ENVID, Notify};

fn code(line: &str) -> u16 {
    SmtpCommand::parse(line.as_bytes()).map(|command| panic!("{line:?} is {command:?}")).unwrap_or_else(|e| e.code)
}

#[test]
fn compose_and_parse_round_trip() {
    let mail = |sender: &str| MailFrom { sender: sender.into(), ..MailFrom::default() };
    let rcpt = |recipient: &str| Recipient::new(recipient);
    let commands = [
        SmtpCommand::Ehlo("alice.test".into()),
        SmtpCommand::Helo("[127.0.0.1]".into()),
        SmtpCommand::Lhlo("[IPv6:::1]".into()),
        SmtpCommand::Mail(mail("")),
        SmtpCommand::Mail(MailFrom {
            size: Some(u64::MAX),
            body: Some(Body::EightBit),
            smtputf8: true,
            ret: Some(Ret::Headers),
            envid: Some("QQ+31 = 4159".parse().unwrap()),
            auth: Some("e+mc2=x@example.com".into()),
            ..mail("j\u{f6}rg@alice.test")
        }),
        SmtpCommand::Mail(MailFrom {
            body: Some(Body::SevenBit),
            ret: Some(Ret::Full),
            auth: Some(String::new()),
            ..mail("srs0=abc=xx=body=8bitmime@alice.test")
        }),
        SmtpCommand::Rcpt(rcpt("\"a > b\\\" \"@bob.test")),
        SmtpCommand::Rcpt(rcpt("Postmaster")),
        SmtpCommand::Rcpt(Recipient {
            notify: Some(Notify { success: true, failure: true, delay: true }),
            orcpt: Some("rfc822;bob+x=y@bob.test".parse().unwrap()),
            ..rcpt("bob@bob.test")
        }),
        SmtpCommand::Rcpt(Recipient { notify: Some(Notify::NEVER), ..rcpt("bob@[192.0.2.1]") }),
        SmtpCommand::Data,
        SmtpCommand::Bdat { size: 0, last: true },
        SmtpCommand::Bdat { size: 86, last: false },
        SmtpCommand::Rset,
        SmtpCommand::Noop,
        SmtpCommand::Vrfy("bob".into()),
        SmtpCommand::Expn("list".into()),
        SmtpCommand::Help(None),
        SmtpCommand::Help(Some("MAIL".into())),
        SmtpCommand::Quit,
        SmtpCommand::StartTls,
        SmtpCommand::Auth { mechanism: "PLAIN".into(), initial: None },
        SmtpCommand::Auth { mechanism: "SCRAM-SHA-256".into(), initial: Some("=".into()) },
    ];
    for command in commands {
        let mut wire = Vec::new();
        command.wire(&mut wire).expect("clean arguments");
        let line = wire.strip_suffix(b"\r\n").expect("one line");
        assert_eq!(SmtpCommand::parse(line).as_ref(), Ok(&command), "{command}");
        let lower = String::from_utf8_lossy(line).replace("MAIL FROM", "mAiL from").replace("RCPT TO", "rcpt tO");
        assert_eq!(SmtpCommand::parse(lower.as_bytes()), Ok(command));
    }
}

#[test]
fn case_and_space_are_tolerated() {
    let auth = SmtpCommand::parse(b"auth login dGVzdA==").unwrap();
    assert_eq!(auth, SmtpCommand::Auth { mechanism: "LOGIN".into(), initial: Some("dGVzdA==".into()) });
    let mail = SmtpCommand::parse(b"MAIL FROM: <a@b> size=1 Body=8bitmime \t").unwrap();
    let SmtpCommand::Mail(mail) = mail else { panic!("{mail:?}") };
    assert_eq!((mail.sender.as_str(), mail.size, mail.body), ("a@b", Some(1), Some(Body::EightBit)));
    assert_eq!(SmtpCommand::parse(b"quit "), Ok(SmtpCommand::Quit));
    assert_eq!(SmtpCommand::parse(b"bdat 10 last"), Ok(SmtpCommand::Bdat { size: 10, last: true }));
    assert_eq!(SmtpCommand::parse(b"NOOP whatever you say"), Ok(SmtpCommand::Noop));
    let routed = SmtpCommand::parse(b"RCPT TO:<@a.test,@b.test:bob@c.test>").unwrap();
    assert_eq!(routed, SmtpCommand::Rcpt(Recipient::new("bob@c.test")));
}

#[test]
fn refusals_have_the_right_code() {
    let table: [(&str, u16); 42] = [
        ("", 500),
        ("FOO", 500),
        ("EHLO\u{7f}", 500),
        ("MAIL\0FROM:<a@b>", 500),
        ("EHLO", 501),
        ("EHLO a<b", 501),
        ("DATA now", 501),
        ("RSET x", 501),
        ("QUIT x", 501),
        ("STARTTLS now", 501),
        ("VRFY", 501),
        ("EXPN ", 501),
        ("AUTH", 501),
        ("AUTH PLAIN a b", 501),
        ("AUTH PL!AIN", 501),
        ("BDAT", 501),
        ("BDAT x", 501),
        ("BDAT -1", 501),
        ("BDAT 1 LATS", 501),
        ("BDAT 1 LAST x", 501),
        ("BDAT 123456789012345678901", 501),
        ("MAIL", 501),
        ("MAIL FROM", 501),
        ("MAIL FROM:a@b", 501),
        ("MAIL FROM:<a@b", 501),
        ("MAIL FROM:<a@b>SIZE=1", 501),
        ("MAIL FROM:<\"a>@b", 501),
        ("MAIL TO:<a@b>", 501),
        ("MAIL FROM:<a>", 553),
        ("MAIL FROM:<a@b@c>", 553),
        ("MAIL FROM:<j\u{f6}rg@b>", 553),
        ("MAIL FROM:<a@b> SIZE=x", 501),
        ("MAIL FROM:<a@b> SIZE", 501),
        ("MAIL FROM:<a@b> SIZE=1 SIZE=1", 501),
        ("MAIL FROM:<a@b> BODY=BINARYMIME", 501),
        ("MAIL FROM:<a@b> SMTPUTF8=1", 501),
        ("MAIL FROM:<a@b> ENVID=+0A", 501),
        ("MAIL FROM:<a@b> HOLDFOR=1", 555),
        ("RCPT TO:<>", 553),
        ("RCPT TO:<b@c> NOTIFY=NEVER,SUCCESS", 501),
        ("RCPT TO:<b@c> ORCPT=bob", 501),
        ("RCPT TO:<b@c> SIZE=1", 555),
    ];
    for (line, expected) in table {
        assert_eq!(code(line), expected, "{line:?}");
    }
    assert_eq!(code(&format!("MAIL FROM:<a@b>{}", " X=1".repeat(MAX_PARAMETERS + 1))), 501);
    assert_eq!(code(&format!("MAIL FROM:<a@b> ENVID={}", "x".repeat(MAX_ENVID + 1))), 501);
    assert!(SmtpCommand::parse(b"EHLO \xff").is_err());
}

#[test]
fn nothing_smuggles_a_command() {
    for value in ["x\r\nRSET", "x\nRSET", "x\rRSET", "x\0"] {
        // Addresses, ENVID and ORCPT cannot hold it (see their types); what is text is refused here.
        assert!(value.parse::<Envid>().is_err() && format!("rfc822;{value}").parse::<Orcpt>().is_err());
        assert!(Address::parse_lenient(&format!("{value}@x")).is_err());
        let auth = SmtpCommand::Auth { mechanism: value.to_owned(), initial: None };
        for command in [SmtpCommand::Ehlo(value.to_owned()), SmtpCommand::Vrfy(value.to_owned()), auth] {
            let mut out = Vec::new();
            assert_eq!(command.wire(&mut out).map_err(|fault| fault.kind), Err(Kind::BadData), "{command:?}");
            assert!(out.is_empty());
        }
    }
}
