//! Entry points of `smtp` that read a stranger's bytes: one line each, `(name, function)`.

use std::time::Duration;

use applayer::net::login::LoginVerdict;
use applayer::smtp::address::{Address, ReversePath};
use applayer::smtp::auth::scram::ScramVerifier;
use applayer::smtp::auth::server::{AuthStep, LoginProof, OfferedLogins};
use applayer::smtp::auth::{ClientLogin, Credentials, Mechanism};
use applayer::smtp::command::{CommandSyntax, SmtpCommand};
use applayer::smtp::data::{BareLf, DotStuffer, DotUnstuffer, Piece};
use applayer::smtp::extension::Capabilities;
use applayer::smtp::reply::{SmtpReply, SmtpReplyReader};
use applayer::smtp::server::{MishapEnd, SmtpPeer};
use applayer::smtp::session::{Config, SmtpEvent, SmtpSession};
use applayer::smtp::transaction::{Envelope, Recipient, Transaction, TransactionOptions, TransactionStep};
use applayer::tool::smtpserve::fail::{FailRule, FailRules};

/// Every entry: used by the fuzz targets and by the replay of the committed corpus.
pub const ENTRIES: &[(&str, fn(&[u8]))] = &[
    ("smtp_address", address),
    ("smtp_auth", auth),
    ("smtp_command", command),
    ("smtp_data", data),
    ("smtp_ehlo", ehlo),
    ("smtp_fail_rule", fail_rule),
    ("smtp_reply", reply),
    ("smtp_session", session),
    ("smtp_transaction", transaction),
];

/// What passes as an address says the same again, and holds nothing that could end a command.
fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let strict = Address::parse(&text, true).ok();
    let Ok(address) = Address::parse_lenient(&text) else { return assert_eq!(strict, None) };
    assert_eq!(address.as_str(), text);
    assert!(!text.chars().any(char::is_control));
    let at = if address.domain().is_some() { "@" } else { "" };
    assert_eq!(format!("{}{at}{}", address.local_wire(), address.domain().unwrap_or_default()), text);
    let _ = (address.local(), address.to_ascii_domain());
    assert!(strict.is_none_or(|strict| strict == address && strict.domain().is_some()));
}

/// Challenges of a server, responses of a client: nothing panics.
fn auth(data: &[u8]) {
    let credentials = Credentials { user: "u", password: "p", host: "h", port: 25, nonce: "n", binding: b"b" };
    for mechanism in Mechanism::ALL {
        if let Ok(mut login) = ClientLogin::new(mechanism, credentials) {
            let _ = (login.initial(), login.respond(data), login.respond(data), login.server_proved());
        }
    }
    let offered = OfferedLogins { scram: true, binding: Some(b"binding".to_vec()) };
    for name in offered.names() {
        let mut login = offered.start(&name).expect("offered");
        // The lines of an exchange; a proof that fits no verifier is never right.
        let mut lines = data.split(|byte| *byte == b'\n');
        let mut step = login.start(lines.next());
        for line in lines {
            step = match step {
                AuthStep::Challenge(_) => login.response(line),
                AuthStep::Verifier(_) => login.verifier(ScramVerifier::of("pencil", b"salt", 1), "n"),
                AuthStep::Credentials { proof: LoginProof::Scram(proof), .. } => {
                    assert!(!proof.fits(&ScramVerifier::of("another", b"salt", 1)));
                    login.proved().expect("the proof of the server")
                }
                _ => break,
            };
        }
    }
    if let Some(verifier) = str::from_utf8(data).ok().and_then(|text| ScramVerifier::parse(text).ok()) {
        assert_eq!(ScramVerifier::parse(&verifier.to_string()), Ok(verifier));
    }
}

/// A command that parses is written in one line and parses to itself.
fn command(data: &[u8]) {
    if let Ok(command) = SmtpCommand::parse(data) {
        let mut wire = Vec::new();
        if command.wire(&mut wire).is_ok() {
            let line = wire.strip_suffix(b"\r\n").expect("a line");
            assert!(!line.contains(&b'\r') && !line.contains(&b'\n'));
            assert_eq!(SmtpCommand::parse(line), Ok(command));
        }
    }
    let liberal = CommandSyntax::Liberal { origin: "mx.test".to_owned() };
    match SmtpCommand::parse_as(data, &liberal) {
        Ok(SmtpCommand::Ehlo(name) | SmtpCommand::Helo(name) | SmtpCommand::Lhlo(name)) => {
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>()\"\\;".contains(&byte)));
        }
        // Whatever form an address came in, it leaves in the strict one.
        Ok(command) => {
            let mut wire = Vec::new();
            if command.wire(&mut wire).is_ok() {
                assert_eq!(SmtpCommand::parse(wire.strip_suffix(b"\r\n").expect("a line")), Ok(command));
            }
        }
        Err(_) => {}
    }
}

/// Wherever the bytes are cut, the same message comes off the wire; what is put on the wire comes back.
fn data(data: &[u8]) {
    let take_as = |bare_lf: BareLf, pieces: &[&[u8]]| {
        let mut unstuffer = DotUnstuffer::new(bare_lf);
        let (mut message, mut bare, mut end) = (Vec::new(), false, false);
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() && !end {
                let (used, found) = unstuffer.next(rest);
                rest = &rest[used..];
                match found {
                    Piece::Data(data) => message.extend_from_slice(data),
                    Piece::LineEnd => message.extend_from_slice(b"\r\n"),
                    Piece::End => end = true,
                    Piece::Bare => bare = true,
                }
            }
        }
        (message, bare, end)
    };
    let (first, second) = data.split_at(data.len() / 2);
    for bare_lf in [BareLf::Reject, BareLf::Normalize] {
        // A spoiled message is thrown away: only that it is spoiled must not depend on the cut.
        let (whole, cut) = (take_as(bare_lf, &[data]), take_as(bare_lf, &[first, second]));
        assert_eq!((whole.1, whole.2), (cut.1, cut.2));
        if !whole.1 {
            assert_eq!(whole.0, cut.0);
            // What is taken can be sent on.
            assert!(DotStuffer::default().stuff(&whole.0, &mut Vec::new()).is_ok());
        }
    }
    let take = |pieces: &[&[u8]]| take_as(BareLf::Reject, pieces);
    let mut stuffer = DotStuffer::default();
    let mut wire = Vec::new();
    if stuffer.stuff(first, &mut wire).is_ok()
        && stuffer.stuff(second, &mut wire).is_ok()
        && stuffer.finish(&mut wire).is_ok()
    {
        let (message, bare, end) = take(&[&wire]);
        assert!(end && !bare && message.starts_with(data) && message.len() <= data.len() + 2);
    }
}

/// What a server offers can be offered again.
fn ehlo(data: &[u8]) {
    let lines = String::from_utf8_lossy(data).split("\r\n").map(str::to_owned).collect();
    let offer = Capabilities::from_reply(&SmtpReply { code: 250, enhanced: None, lines });
    assert_eq!(Capabilities::from_reply(&offer.reply()).auth, offer.auth);
}

/// However the bytes arrive, the replies are the same.
fn reply(data: &[u8]) {
    let read = |pieces: &[&[u8]]| {
        let mut reader = SmtpReplyReader::default();
        let mut replies = Vec::new();
        for piece in pieces {
            reader.push(piece);
            loop {
                match reader.next_reply() {
                    Ok(Some(reply)) => {
                        let _ = (reply.text(), reply.fault("x"));
                        replies.push(reply);
                    }
                    Ok(None) => break,
                    Err(_) => return replies,
                }
            }
        }
        replies
    };
    let (first, second) = data.split_at(data.len() / 2);
    assert_eq!(read(&[data]), read(&[first, second]));
}

/// A whole dialogue: the server accepts everything, uses every byte, and its output is replies.
fn session(data: &[u8]) {
    let config = Config {
        name: "mx.test".to_owned(),
        max_size: 1000,
        max_recipients: 10,
        lmtp: data.first() == Some(&b'L'),
        starttls: true,
        tls_required: false,
        auth: true,
        auth_in_clear: true,
        scram: true,
        auth_required: false,
        dsn: true,
        syntax: CommandSyntax::Liberal { origin: "mx.test".to_owned() },
        bare_lf: if data.len().is_multiple_of(2) { BareLf::Reject } else { BareLf::Normalize },
    };
    let mut session = SmtpSession::new(config, false);
    if data.len().is_multiple_of(3) {
        session.announce_steps();
    }
    let refusal = |left: usize| left.is_multiple_of(5).then(|| SmtpReply::status(451, 0, 0, "no"));
    let ok = SmtpReply::status(250, 0, 0, "ok");
    let mut rest = data;
    loop {
        let (used, event) = session.next(rest);
        rest = &rest[used..];
        match event {
            SmtpEvent::Input | SmtpEvent::Close => break,
            SmtpEvent::Step(..) => session.step_verdict(refusal(rest.len())),
            SmtpEvent::Sender(question) => session.sender_verdict(question, &ok),
            SmtpEvent::Recipient(question) => session.recipient_verdict(question, &ok),
            SmtpEvent::Verifier(question) => {
                let verifier = ScramVerifier::of("pencil", b"salt", 1);
                session.verifier_found(question, Some(verifier).filter(|_| rest.len().is_multiple_of(2)), "nonce");
            }
            SmtpEvent::Login(question) => session.login_verdict(
                question,
                match rest.len() % 3 {
                    0 => LoginVerdict::Right(()),
                    1 => LoginVerdict::Wrong,
                    _ => LoginVerdict::TooMany,
                },
            ),
            SmtpEvent::Begin | SmtpEvent::Content(_) | SmtpEvent::LineEnd => {}
            SmtpEvent::Message(_, question) => session.message_verdict(question, std::slice::from_ref(&ok)),
            SmtpEvent::StartTls => session.tls_started(),
        }
    }
    let mut reader = SmtpReplyReader::default();
    reader.push(session.output());
    while reader.next_reply().expect("our own replies").is_some() {}
    assert!(!reader.has_pending());
}

/// A rule of `smtpserve --fail` that parses has an effect, and its reply is one line.
fn fail_rule(data: &[u8]) {
    let Ok(rule) = String::from_utf8_lossy(data).parse::<FailRule>() else { return };
    let phase = rule.phase();
    let rules = FailRules::new(vec![rule], 1);
    let envelope = Envelope::new(ReversePath::Null, vec![Recipient::new(Address::parse_lenient("a@x").unwrap())]);
    for _ in 0..3 {
        let Some((_, mishap)) = rules.mishap(&SmtpPeer::default(), Some(&envelope), phase, "a@x") else { continue };
        assert!(mishap.reply.is_some() || mishap.delay > Duration::ZERO || mishap.end != MishapEnd::GoesOn);
        let mut wire = Vec::new();
        mishap.reply.iter().for_each(|reply| reply.wire(&mut wire));
        assert!(wire.len() <= 512 && wire.iter().filter(|byte| **byte == b'\n').count() <= 1);
    }
}

/// Whatever a server answers, every recipient gets exactly one outcome.
fn transaction(data: &[u8]) {
    let to = |text: &str| Recipient::new(Address::parse_lenient(text).unwrap());
    let recipients = vec![to("a@x"), to("b@x"), to("c@x")];
    let envelope = Envelope { sender: to("s@x").address.into(), recipients, ..Envelope::default() };
    let flags = data.first().copied().unwrap_or_default();
    let offer = Capabilities { pipelining: flags & 1 != 0, chunking: flags & 2 != 0, ..Capabilities::default() };
    let rules = TransactionOptions {
        partial: flags & 4 != 0,
        lmtp: flags & 8 != 0,
        no_chunking: false,
        hold: flags & 16 != 0,
        most_recipients: (flags & 64 != 0).then_some(2),
    };
    let mut reader = SmtpReplyReader::default();
    reader.push(data.get(1..).unwrap_or_default());
    let mut transaction = Transaction::new(envelope, &offer, 10, false, rules).expect("a plain envelope");
    let mut out = Vec::new();
    loop {
        match transaction.next(&mut out).expect("clean arguments") {
            TransactionStep::Done => break,
            TransactionStep::Content(_) => {
                transaction.commit();
                transaction.sent(true);
            }
            TransactionStep::Ask => transaction.released(flags & 32 == 0),
            TransactionStep::Reply => match reader.next_reply() {
                Ok(Some(reply)) => transaction.reply(&reply),
                Ok(None) => {
                    transaction.lost(&applayer::fault::Fault::new(applayer::fault::Kind::Disconnected, "gone"));
                }
                Err(fault) => transaction.lost(&fault),
            },
        }
    }
    assert_eq!(transaction.into_results().len(), 3);
}
