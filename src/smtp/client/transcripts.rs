//! Plays transcripts of `tests/data/smtp` against the client: it must send the commands of the RFC's client, one by
//! one, and draw the conclusion that the RFC's server meant.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::UnixStream;

use super::*;
use crate::net::tls::ClientTlsOptions;
use crate::smtp::data::MessageBlob;

/// The lines of client and server, in turn.
enum Line {
    Client(String),
    Server(String),
}

/// The dialogue without QUIT, whose position in a pipelined group is the client's choice.
fn dialogue(text: &str) -> Vec<Line> {
    let lines = text.lines().filter_map(|line| {
        let sent = line.strip_prefix("C:").map(|rest| Line::Client(rest.strip_prefix(' ').unwrap_or(rest).to_owned()));
        sent.or_else(|| line.strip_prefix("S: ").map(|rest| Line::Server(rest.to_owned())))
    });
    let goodbye = |line: &Line| match line {
        Line::Client(line) => line == "QUIT",
        Line::Server(line) => line.starts_with("221"),
    };
    lines.filter(|line| !goodbye(line)).collect()
}

/// The envelope and message that the RFC's client sends, and the recipients that the server accepts.
fn task(lines: &[Line]) -> (String, Envelope, Vec<u8>, Vec<&'static str>) {
    let (mut name, mut envelope, mut message) = (String::new(), Envelope::default(), String::new());
    let mut replies: Vec<u16> = Vec::new();
    let mut in_message = false;
    for line in lines {
        match line {
            Line::Server(line) if line.as_bytes()[3] == b' ' => replies.push(line[..3].parse().unwrap()),
            Line::Server(_) => {}
            Line::Client(line) if in_message && line == "." => in_message = false,
            // The transcripts show the wire: a leading dot was doubled.
            Line::Client(line) if in_message => {
                message.push_str(&format!("{}\r\n", line.strip_prefix('.').unwrap_or(line)));
            }
            Line::Client(line) => match SmtpCommand::parse(line.as_bytes()).unwrap() {
                SmtpCommand::Ehlo(ours) | SmtpCommand::Lhlo(ours) => name = ours,
                SmtpCommand::Mail(mail) => {
                    (envelope.sender, envelope.ret, envelope.envid) = (mail.sender, mail.ret, mail.envid);
                }
                SmtpCommand::Rcpt(recipient) => envelope.recipients.push(recipient),
                SmtpCommand::Data | SmtpCommand::Bdat { .. } => in_message = true,
                SmtpCommand::Rset => {}
                other => panic!("{other}: not what our client says"),
            },
        }
    }
    // Greeting, EHLO, MAIL; then one reply a recipient; what follows the message is left.
    let count = envelope.recipients.len();
    let mut last = replies.iter().skip(3 + count).filter(|code| **code != 354);
    let aborted = lines.iter().any(|line| matches!(line, Line::Client(line) if line == "RSET"));
    let lmtp = lines.iter().any(|line| matches!(line, Line::Client(line) if line.starts_with("LHLO")));
    let mut answer = if lmtp { None } else { last.next() };
    let outcomes = replies[3..3 + count].iter().map(|code| match code {
        500.. => "refused",
        _ if aborted => "deferred",
        _ => match if lmtp { last.next() } else { answer.as_mut().copied() } {
            Some(400..=499) => "deferred",
            Some(500..) => "refused",
            _ => "delivered",
        },
    });
    (name, envelope, message.into_bytes(), outcomes.collect())
}

/// The RFC's server: expects each client line of the transcript, sends each server line, and accepts all data after it.
async fn serve(stream: UnixStream, lines: Vec<Line>) {
    let mut stream = BufStream::new(stream);
    for line in lines {
        match line {
            Line::Server(line) => {
                stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
            Line::Client(expected) => {
                let mut heard = String::new();
                stream.read_line(&mut heard).await.unwrap();
                // The size is our own addition, wherever it is offered.
                let words = heard.trim_end_matches("\r\n").split(' ').filter(|word| !word.starts_with("SIZE="));
                assert_eq!(words.collect::<Vec<_>>().join(" "), expected);
            }
        }
    }
    let mut rest = String::new();
    while stream.read_line(&mut rest).await.unwrap_or(0) > 0 {
        if stream.write_all(b"250 ok\r\n").await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn the_examples_of_the_rfcs() {
    let table = [
        ("rfc5321-d1", true),
        ("rfc5321-d2", false),
        ("rfc2033", true),
        ("rfc2920-accepted", true),
        ("rfc2920-refused", true),
        ("rfc3461", false),
    ];
    for (name, partial) in table {
        let path = format!("{}/tests/data/smtp/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        let (helo, envelope, message, expected) = task(&dialogue(&text));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = tokio::spawn(serve(theirs, dialogue(&text)));
        let lmtp = text.contains("LHLO");
        let options = SmtpClientOptions {
            lmtp,
            limits: Limits::default().with_idle(Duration::from_secs(10)),
            ..SmtpClientOptions::new(helo, ClientTls::new(&ClientTlsOptions::default()).unwrap())
        };
        let mut client = SmtpClient::open(Stream::Unix(ours), "x", &options).await.unwrap();
        let send = SendOptions { partial, ..SendOptions::default() };
        let results = client.send(&envelope, &MessageBlob::from(message), &send).await;
        let found: Vec<&'static str> = results.iter().map(|result| result.outcome.as_str()).collect();
        assert_eq!(found, expected, "{name}: {results:?}");
        client.quit().await;
        server.await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
