//! Plays the transcripts of `tests/data/smtp` against the server's state machine, whole and in every split.

use super::*;
use crate::net::login::LoginVerdict;
use crate::secret::Secret;
use crate::smtp::address::Address;
use crate::smtp::auth::server::LoginProof;
use crate::smtp::envelope::Envid;
use crate::smtp::reply::SmtpReplyReader;

/// A server's decisions, as given by the `#` lines of a transcript.
struct Policy {
    lmtp: bool,
    no_dsn: bool,
    syntax: CommandSyntax,
    bare_lf: BareLf,
    max_size: u64,
    refuse: Vec<(String, u16)>,
    message: Vec<(String, u16)>,
    user: Option<(String, String)>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            lmtp: false,
            no_dsn: false,
            syntax: CommandSyntax::Liberal { origin: "mx.test".into() },
            bare_lf: BareLf::Reject,
            max_size: 0,
            refuse: Vec::new(),
            message: Vec::new(),
            user: None,
        }
    }
}

/// One turn: the bytes that the client sends, and the reply codes that it gets.
type Turn = (Vec<u8>, Vec<u16>);

fn transcript(text: &str) -> (Policy, Vec<Turn>) {
    let mut policy = Policy { max_size: 1_000_000, ..Policy::default() };
    let mut turns: Vec<Turn> = vec![(Vec::new(), Vec::new())];
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("C:") {
            if !turns.last().unwrap().1.is_empty() {
                turns.push((Vec::new(), Vec::new()));
            }
            let sent = rest.strip_prefix(' ').unwrap_or(rest);
            let sent = sent.replace("\\n", "\n").replace("\\r", "\r").replace("\\0", "\0").replace("\\u{f6}", "\u{f6}");
            turns.last_mut().unwrap().0.extend_from_slice(format!("{sent}\r\n").as_bytes());
        } else if let Some(reply) = line.strip_prefix("S: ") {
            if reply.as_bytes()[3] == b' ' {
                turns.last_mut().unwrap().1.push(reply[..3].parse().unwrap());
            }
        } else {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["#", "lmtp"] => policy.lmtp = true,
                ["#", "no", "dsn"] => policy.no_dsn = true,
                ["#", "strict"] => policy.syntax = CommandSyntax::Strict,
                ["#", "normalize"] => policy.bare_lf = BareLf::Normalize,
                ["#", "size", limit] => policy.max_size = limit.parse().unwrap(),
                ["#", "refuse", who, code] => policy.refuse.push((who.to_owned(), code.parse().unwrap())),
                ["#", "message", who, code] => policy.message.push((who.to_owned(), code.parse().unwrap())),
                ["#", "user", name, password] => policy.user = Some((name.to_owned(), password.to_owned())),
                ["#", ..] => {}
                _ => panic!("not a transcript line: {line}"),
            }
        }
    }
    (policy, turns)
}

struct Player {
    session: SmtpSession,
    policy: Policy,
    input: Vec<u8>,
    message: Vec<u8>,
    messages: Vec<(Envelope, Vec<u8>)>,
    closed: bool,
}

impl Player {
    fn new(policy: Policy) -> Player {
        let config = Config {
            name: "mx.test".into(),
            max_size: policy.max_size,
            max_recipients: 100,
            lmtp: policy.lmtp,
            starttls: false,
            tls_required: false,
            auth: policy.user.is_some(),
            auth_in_clear: true,
            scram: false,
            auth_required: false,
            dsn: !policy.no_dsn,
            syntax: policy.syntax.clone(),
            bare_lf: policy.bare_lf,
        };
        let session = SmtpSession::new(config, false);
        Player { session, policy, input: Vec::new(), message: Vec::new(), messages: Vec::new(), closed: false }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            let input = self.input.clone();
            let (used, event) = self.session.next(&input);
            self.input.drain(..used);
            match event {
                SmtpEvent::Input => return,
                SmtpEvent::Sender(question) => {
                    self.session.sender_verdict(question, &SmtpReply::status(250, 1, 0, "ok"));
                }
                SmtpEvent::Recipient(question) => {
                    let address = question.recipient().address.clone();
                    let code = self
                        .policy
                        .refuse
                        .iter()
                        .find(|(who, _)| address == who.as_str())
                        .map_or(250, |(_, code)| *code);
                    self.session.recipient_verdict(question, &SmtpReply::status(code, 1, 1, "verdict"));
                }
                SmtpEvent::Verifier(question) => self.session.verifier_found(question, None, ""),
                SmtpEvent::Login(question) => {
                    let right = self.policy.user.as_ref().is_some_and(|(user, password)| {
                        let password = LoginProof::Password(Secret::new(password.clone()));
                        (question.user(), question.proof()) == (user.as_str(), &password)
                    });
                    let verdict = if right { LoginVerdict::Right(()) } else { LoginVerdict::Wrong };
                    self.session.login_verdict(question, verdict);
                }
                SmtpEvent::Begin => self.message.clear(),
                SmtpEvent::Content(range) => self.message.extend_from_slice(&input[range]),
                SmtpEvent::LineEnd => self.message.extend_from_slice(b"\r\n"),
                SmtpEvent::Message(envelope, question) => {
                    let code = |address: &Address| {
                        self.policy
                            .message
                            .iter()
                            .find(|(who, _)| *address == who.as_str())
                            .map_or(250, |(_, code)| *code)
                    };
                    let replies: Vec<SmtpReply> =
                        envelope.recipients.iter().map(|to| SmtpReply::status(code(&to.address), 0, 0, "")).collect();
                    self.session.message_verdict(question, &replies);
                    self.messages.push((envelope, std::mem::take(&mut self.message)));
                }
                SmtpEvent::Step(..) => self.session.step_verdict(None),
                SmtpEvent::StartTls => panic!("no TLS in transcripts"),
                SmtpEvent::Close => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    fn replies(&mut self) -> Vec<SmtpReply> {
        let mut reader = SmtpReplyReader::default();
        reader.push(&std::mem::take(self.session.output()));
        let mut replies = Vec::new();
        while let Some(reply) = reader.next_reply().unwrap() {
            replies.push(reply);
        }
        assert!(!reader.has_pending());
        replies
    }

    fn codes(&mut self) -> Vec<u16> {
        self.replies().into_iter().map(|reply| reply.code).collect()
    }
}

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/smtp")
}

#[test]
fn every_transcript_turn_by_turn_and_in_every_split() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        count += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let (policy, turns) = transcript(&text);
        let mut lockstep = Player::new(policy);
        for (sent, expected) in &turns {
            lockstep.feed(sent);
            assert_eq!(lockstep.codes(), *expected, "{name}: {}", String::from_utf8_lossy(sent));
        }
        assert!(lockstep.closed, "{name}: the last reply closes");
        let whole: Vec<u8> = turns.iter().flat_map(|(sent, _)| sent.clone()).collect();
        let codes: Vec<u16> = turns.iter().flat_map(|(_, codes)| codes.clone()).collect();
        let play = |pieces: &[&[u8]], announces: bool| {
            let mut player = Player::new(transcript(&text).0);
            if announces {
                player.session.announce_steps();
            }
            pieces.iter().for_each(|piece| player.feed(piece));
            (player.codes(), player.messages)
        };
        for cut in 0..=whole.len() {
            let (found, messages) = play(&[&whole[..cut], &whole[cut..]], cut % 2 == 1);
            assert_eq!(found, codes, "{name} cut at {cut}");
            assert_eq!(messages, lockstep.messages, "{name} cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(play(&bytes, true), (codes, lockstep.messages), "{name} byte by byte");
    }
    assert!(count >= 16, "{count} transcripts");
}

#[test]
fn a_driver_refuses_steps() {
    let mut player = session(|_| {});
    player.session.announce_steps();
    let refusal = SmtpReply::status(451, 0, 0, "no");
    let (used, event) = player.session.next(b"EHLO a\r\nQUIT\r\n");
    assert_eq!((used, event), (0, SmtpEvent::Step(DialoguePhase::Helo, "a".into())));
    player.session.step_verdict(Some(refusal));
    let (used, event) = player.session.next(b"EHLO a\r\nQUIT\r\n");
    assert_eq!((used, event), (8, SmtpEvent::Step(DialoguePhase::Quit, String::new())));
    assert_eq!((player.codes(), player.session.helo()), (vec![451], ""));
    // Without a verdict nothing is obeyed.
    assert_eq!(player.session.next(b"QUIT\r\n").1, SmtpEvent::Close);
    assert_eq!(player.codes(), [421]);
}

fn session(changes: impl FnOnce(&mut Policy)) -> Player {
    let mut policy = Policy { max_size: 1000, ..Policy::default() };
    changes(&mut policy);
    let mut player = Player::new(policy);
    assert_eq!(player.codes(), [220]);
    player
}

#[test]
fn what_arrives_is_what_was_sent() {
    let mut player = session(|_| {});
    player.feed(b"EHLO a\r\nMAIL FROM:<> RET=FULL ENVID=x+2By\r\nRCPT TO:<b@x> NOTIFY=NEVER\r\nDATA\r\n..a\r\n\xc3\xa4\r\n.\r\n");
    player.feed(b"MAIL FROM:<c@x>\r\nRCPT TO:<b@x>\r\nBDAT 4\r\n.\r\na");
    player.feed(b"BDAT 2 LAST\r\n\r\n");
    assert_eq!(player.codes(), [250, 250, 250, 354, 250, 250, 250, 250, 250]);
    let [(first, one), (second, two)] = &player.messages[..] else { panic!() };
    assert_eq!(
        (first.sender.as_str(), first.envid.as_ref().map(Envid::as_str), first.eight_bit),
        ("", Some("x+y"), true)
    );
    assert_eq!(first.recipients[0].notify, Some(crate::smtp::envelope::Notify::NEVER));
    assert_eq!((one.as_slice(), two.as_slice()), (&b".a\r\n\xc3\xa4\r\n"[..], &b".\r\na\r\n"[..]));
    assert!(!second.eight_bit);
}

#[test]
fn what_was_normalized_arrives_with_crlf() {
    let mut player = session(|policy| policy.bare_lf = BareLf::Normalize);
    player.feed(b"EHLO a\nMAIL FROM:<>\nRCPT TO:<b@x>\nDATA\nSubject: x\n\n..a\n.\n.\r\nb\r\n\r\n.\r\n");
    player.feed(b"MAIL FROM:<c@x>\r\nRCPT TO:<b@x>\r\nBDAT 4\r\na\n.\nBDAT 3 LAST\r\n\r\nb");
    assert_eq!(player.codes(), [250, 250, 250, 354, 250, 250, 250, 250, 250]);
    let messages: Vec<&[u8]> = player.messages.iter().map(|(_, message)| message.as_slice()).collect();
    assert_eq!(messages, [&b"Subject: x\r\n\r\n.a\r\n\r\n\r\nb\r\n\r\n"[..], b"a\r\n.\r\n\r\nb"]);
    // What LF adds counts for the limit.
    player.feed(&[b"MAIL FROM:<>\nRCPT TO:<b@x>\nDATA\n".as_slice(), &b"\n".repeat(501), b"\r\n.\r\n"].concat());
    assert_eq!(player.codes(), [250, 250, 354, 552]);
}

#[test]
fn the_cure_for_a_bare_lf_is_named() {
    let mut player = session(|_| {});
    player.feed(b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@x>\r\nDATA\r\na\n.\r\n\r\n.\r\n");
    let replies = player.replies();
    assert!(replies.last().unwrap().text().contains("--crlf"), "{replies:?}");
    let mut player = session(|_| {});
    player.feed(b"EHLO a\n");
    assert!(player.replies().last().unwrap().text().contains("--crlf"));
}

#[test]
fn a_foreign_dialogue_ends_before_its_words_count() {
    for first in
        ["POST / HTTP/1.1", "GET /", "CONNECT a:25 HTTP/1.1", "<x>", "\u{16}\u{3}", "USER bob", "-", "SSH-2.0-a"]
    {
        for before in ["", "EHLO a\r\n", "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@x>\r\n"] {
            let mut player = session(|_| {});
            let rest = "EHLO b\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nx\r\n.\r\n";
            player.feed(format!("{before}{first}\r\n{rest}").as_bytes());
            let codes = player.codes();
            assert_eq!((codes.last(), codes.len()), (Some(&421), before.matches('\n').count() + 1), "{first}");
            assert!(player.closed && player.messages.is_empty());
        }
    }
}

#[test]
fn starttls_forgets_everything_and_drops_what_came_before() {
    let config = |starttls| Config {
        name: "x".into(),
        max_size: 0,
        max_recipients: 1,
        lmtp: false,
        starttls,
        tls_required: false,
        auth: true,
        auth_in_clear: false,
        scram: false,
        auth_required: false,
        dsn: true,
        syntax: CommandSyntax::Strict,
        bare_lf: BareLf::Reject,
    };
    let mut session = SmtpSession::new(config(true), false);
    let input = b"EHLO a\r\nAUTH PLAIN AGEAYg==\r\nSTARTTLS now\r\nSTARTTLS\r\nMAIL FROM:<evil@x>\r\nRCPT";
    let (used, event) = session.next(input);
    assert_eq!((used, event), (input.len(), SmtpEvent::StartTls), "the rest is void");
    let output = String::from_utf8(std::mem::take(session.output())).unwrap();
    let codes: Vec<&str> = output.lines().filter(|line| line.as_bytes()[3] == b' ').map(|line| &line[..3]).collect();
    assert_eq!(codes, ["220", "250", "538", "501", "220"]);
    assert!(output.contains("STARTTLS") && !output.contains("AUTH"));
    session.tls_started();
    assert_eq!(session.helo(), "");
    let (_, event) = session.next(b"MAIL FROM:<a@x>\r\nSTARTTLS\r\nEHLO a\r\n");
    assert_eq!(event, SmtpEvent::Input);
    let output = String::from_utf8(std::mem::take(session.output())).unwrap();
    assert!(output.starts_with("503") && output.contains("\r\n503 "), "{output}");
    assert!(!output.contains("250-STARTTLS") && output.contains("AUTH PLAIN LOGIN"), "{output}");
}

#[test]
fn limits_end_a_connection() {
    let mut errors = session(|_| {});
    errors.feed(&b"FOO\r\n".repeat(MAX_ERRORS + 5));
    let codes = errors.codes();
    assert_eq!((codes.len(), codes.last(), errors.closed), (MAX_ERRORS + 1, Some(&421), true));

    let mut idle = session(|_| {});
    idle.feed(&b"NOOP\r\n".repeat(MAX_IDLE_COMMANDS + 5));
    assert_eq!((idle.codes().last(), idle.closed), (Some(&421), true));

    let mut logins = session(|policy| policy.user = Some(("a".into(), "b".into())));
    logins.feed(b"EHLO a\r\n");
    logins.feed(&b"AUTH PLAIN AGEAYw==\r\n".repeat(MAX_FAILED_LOGINS));
    assert_eq!(logins.codes(), [250, 535, 535, 421]);

    let mut many = session(|_| {});
    many.feed(b"EHLO a\r\nMAIL FROM:<>\r\n");
    many.feed(&b"RCPT TO:<b@x>\r\n".repeat(101));
    let codes = many.codes();
    assert_eq!((codes.len(), codes[101], codes[102]), (103, 250, 452));
}

/// Any command repeated without limit ends the session, unless mail is accepted. The verbs are those of the parser.
#[test]
fn every_command_repeated_comes_to_an_end() {
    let source = include_str!("../command.rs");
    let words = source.split('"').skip(1).step_by(2);
    let mut verbs: Vec<&str> =
        words.filter(|word| word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_uppercase())).collect();
    assert!(["EHLO", "BDAT", "RCPT", "NOOP", "VRFY", "STARTTLS"].iter().all(|verb| verbs.contains(verb)), "{verbs:?}");
    verbs.push("UNKNOWN");
    let mut arguments =
        ["", " x", " FROM:<a@b.test>", " TO:<c@d.test>", " TO:<no@d.test>", " TO:<later@d.test>", " 0", " 0 LAST"]
            .map(str::to_owned)
            .to_vec();
    arguments.extend(
        [" PLAIN", " PLAIN AGEAYw==", " PLAIN AGEAYg==", " LOGIN\r\n*", "\r\n.", "\r\nRSET"].map(str::to_owned),
    );
    arguments.extend([2, 63, 64, 500].map(|size| format!(" {size}\r\n{}", "x".repeat(size - 2))));
    let from = "MAIL FROM:<a@b.test>\r\n";
    let to = format!("{from}RCPT TO:<c@d.test>\r\n");
    let before = ["", "EHLO c\r\n", from, &to, &format!("{to}BDAT 7\r\nhello\r\n")];
    let lines = verbs.iter().flat_map(|verb| arguments.iter().map(move |argument| format!("{verb}{argument}\r\n")));
    // And the ways round a message that is never sent.
    let lines: Vec<String> = lines.chain([format!("{to}RSET\r\n"), format!("{from}RSET\r\n")]).collect();
    for before in before {
        for line in &lines {
            let mut player = session(|policy| {
                policy.max_size = 1_000_000;
                policy.user = Some(("a".into(), "b".into()));
                policy.refuse = vec![("no@d.test".into(), 550), ("later@d.test".into(), 451)];
                policy.message = vec![("c@d.test".into(), 554)];
            });
            player.feed(before.as_bytes());
            let mut sent = 0;
            while !player.closed {
                // What is a message by now would be longer than any may be.
                let inside = matches!(player.session.mode, SessionMode::Data(_));
                assert!(sent < 20_000 || inside, "{before:?} and then {line:?} for ever");
                if inside && sent > 20_000 {
                    break;
                }
                player.feed(line.repeat(50).as_bytes());
                sent += 50;
                assert!(player.session.output.len() < 1 << 20);
                player.session.output().clear();
            }
        }
    }
}

#[test]
fn useful_sessions_go_on() {
    let mut player = session(|policy| {
        policy.max_size = 1_000_000;
        policy.refuse = vec![("no@d.test".into(), 550), ("later@d.test".into(), 451)];
    });
    player.feed(b"EHLO c\r\n");
    let all = "RCPT TO:<c@d.test>\r\n".repeat(100);
    for transaction in 0..10_000 {
        let to = match transaction % 100 {
            0 => all.clone() + &"RCPT TO:<over@d.test>\r\n".repeat(900),
            _ => "RCPT TO:<no@d.test>\r\nRCPT TO:<later@d.test>\r\nRCPT TO:<c@d.test>\r\n".to_owned(),
        };
        let content = match transaction % 3 {
            0 => "DATA\r\nhello\r\n.\r\n".to_owned(),
            1 => "BDAT 7 LAST\r\nhello\r\n".to_owned(),
            _ => format!("{}BDAT 0 LAST\r\n", format!("BDAT 64\r\n{}\r\n", "x".repeat(62)).repeat(20)),
        };
        player.feed(format!("NOOP\r\nMAIL FROM:<a@b.test>\r\n{to}{content}").as_bytes());
        let codes = player.codes();
        assert!(!player.closed && player.messages.drain(..).count() == 1, "{transaction}: {codes:?}");
    }
}

#[test]
fn lines_are_bounded() {
    let mut player = session(|_| {});
    let noop = [b"NOOP ".as_slice(), &vec![b'x'; MAX_COMMAND_LINE - 5], b"\r\n"].concat();
    player.feed(&noop);
    assert_eq!(player.codes(), [250]);
    let long = [b"NOOP ".as_slice(), &vec![b'x'; MAX_COMMAND_LINE - 4], b"\r\nNOOP\r\n"].concat();
    player.feed(&long);
    assert_eq!(player.codes(), [500, 250]);
    for _ in 0..20 {
        player.feed(&vec![b'y'; 10_000]);
        assert!(player.input.len() <= MAX_COMMAND_LINE + 1, "an endless line is not kept");
    }
    player.feed(b"QUIT\r\nNOOP\r\n");
    assert_eq!(player.codes(), [500, 250], "the tail of a long line is no command");
}

#[test]
fn endless_data_ends_the_connection() {
    let mut player = session(|policy| policy.max_size = 10);
    player.feed(b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@x>\r\nDATA\r\n");
    let block = vec![b'x'; 1024 * 1024];
    let mut fed = 0;
    while !player.closed {
        player.feed(&block);
        fed += block.len() as u64;
        assert!(fed <= MAX_EXCESS + 2 * 1024 * 1024);
    }
    assert_eq!(player.codes().last(), Some(&552));
    assert!(player.messages.is_empty());
}
