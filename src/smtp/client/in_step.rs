//! The client against a server that sends one reply too many, one too few, or a wrong code, at every position of the
//! dialogue: no recipient counts as delivered unless the server accepted the message at its end.

use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::*;
use crate::net::tls::ClientTlsOptions;
use crate::smtp::data::MessageBlob;
use crate::smtp::transaction::{LAST_CHUNK, Recipient};

/// The server's misbehaviour at one of its replies.
#[derive(Debug, Clone, Copy)]
enum Odd {
    Nothing,
    /// Sends this code before the reply.
    Before(u16),
    /// Sends this code after the reply.
    Behind(u16),
    Omits,
    Says(u16),
    /// Sends nothing more, but keeps the connection open.
    Stalls,
    HangsUp,
}

/// One run: the protocol, the server's reply to the end of each message, and the position of the misbehaviour.
#[derive(Debug, Clone, Copy)]
struct Case {
    lmtp: bool,
    pipelining: bool,
    chunking: bool,
    ahead: bool,
    login: bool,
    verdict: u16,
    odd: Odd,
    at: usize,
}

/// A server that replies to every command, and records each accepted message with its recipients.
struct OddServer {
    case: Case,
    stream: BufReader<UnixStream>,
    out: Vec<u8>,
    replies: usize,
    recipients: Vec<String>,
    accepted: Arc<Mutex<Vec<(String, String)>>>,
}

impl OddServer {
    /// Sends the next reply, unless the server misbehaves here. Returns the code that was sent, if any.
    async fn say(&mut self, code: u16) -> std::io::Result<Option<u16>> {
        let odd = if self.replies == self.case.at { self.case.odd } else { Odd::Nothing };
        self.replies += 1;
        let (codes, said) = match odd {
            Odd::Nothing => (vec![code], Some(code)),
            Odd::Before(other) => (vec![other, code], Some(code)),
            Odd::Behind(other) => (vec![code, other], Some(code)),
            Odd::Omits => (vec![], None),
            Odd::Stalls => {
                // Longer than the client waits for anything but the answer to a message.
                let mut bytes = [0; 4096];
                let until_closed = async { while self.stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {} };
                let _ = tokio::time::timeout(Duration::from_millis(700), until_closed).await;
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            Odd::HangsUp => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Odd::Says(other) => (vec![other], Some(other)),
        };
        self.out.extend(codes.iter().flat_map(|code| format!("{code} eA==\r\n").into_bytes()));
        // What answers one group goes out in one piece.
        if self.stream.buffer().is_empty() {
            self.stream.write_all(&std::mem::take(&mut self.out)).await?;
        }
        Ok(said)
    }

    async fn end_of_message(&mut self, content: &[u8]) -> std::io::Result<()> {
        let subject = String::from_utf8_lossy(content).lines().next().unwrap_or_default().to_owned();
        let recipients = std::mem::take(&mut self.recipients);
        let count = if self.case.lmtp { recipients.len() } else { 1 };
        let mut said = Vec::new();
        for _ in 0..count {
            said.push(self.say(self.case.verdict).await?);
        }
        for (at, recipient) in recipients.into_iter().enumerate() {
            let reply = said.get(if self.case.lmtp { at } else { 0 }).copied().flatten();
            if reply.is_some_and(|code| code / 100 == 2 && !matches!(code, 220 | 221)) {
                self.accepted.lock().unwrap().push((subject.clone(), recipient));
            }
        }
        Ok(())
    }

    async fn serve(mut self) -> std::io::Result<()> {
        let mut content = Vec::new();
        self.say(220).await?;
        while let Some(line) = self.line().await? {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.first().copied().unwrap_or_default() {
                "EHLO" | "LHLO" => {
                    let offers = [(self.case.pipelining, "PIPELINING"), (self.case.chunking, "CHUNKING")];
                    for (_, word) in offers.iter().filter(|(offered, _)| *offered) {
                        self.out.extend(format!("250-{word}\r\n").into_bytes());
                    }
                    if self.case.login {
                        self.out.extend(b"250-AUTH LOGIN\r\n");
                    }
                    self.say(250).await?;
                }
                "AUTH" if self.say(334).await? == Some(334) => {
                    for code in [334, 235] {
                        if self.line().await?.is_none() {
                            return Ok(());
                        }
                        self.say(code).await?;
                    }
                }
                "AUTH" => {}
                "MAIL" => {
                    self.recipients.clear();
                    content.clear();
                    self.say(250).await?;
                }
                "RCPT" => {
                    if self.say(250).await?.is_none_or(|code| code / 100 == 2) {
                        self.recipients.push(line[9..line.len() - 3].to_owned());
                    }
                }
                "DATA" if self.say(354).await? == Some(354) => {
                    content.clear();
                    while !content.ends_with(b"\r\n.\r\n") && content != b".\r\n" {
                        if self.stream.read_until(b'\n', &mut content).await? == 0 {
                            return Ok(());
                        }
                    }
                    self.end_of_message(&std::mem::take(&mut content)).await?;
                }
                "DATA" => {}
                "BDAT" => {
                    let mut chunk = vec![0; words[1].parse().unwrap()];
                    self.stream.read_exact(&mut chunk).await?;
                    content.extend(chunk);
                    match words.get(2) {
                        None => drop(self.say(250).await?),
                        Some(_) => self.end_of_message(&std::mem::take(&mut content)).await?,
                    }
                }
                _ => drop(self.say(250).await?),
            }
        }
        Ok(())
    }

    /// Reads the next line; a missing one must end the run soon.
    async fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_millis(150), self.stream.read_line(&mut line)).await;
        Ok(if read.map_or(Ok(0), |read| read)? == 0 { None } else { Some(line) })
    }
}

/// Runs one case. Returns the number of replies and the number of recipients that counted as delivered.
async fn run(case: Case) -> (usize, usize) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let stream = BufReader::with_capacity(256 * 1024, theirs);
    let peer =
        OddServer { case, stream, out: Vec::new(), replies: 0, recipients: Vec::new(), accepted: accepted.clone() };
    let server = tokio::spawn(peer.serve());
    let tls = ClientTls::new(&ClientTlsOptions::default()).unwrap();
    let login = case.login.then(|| Login::new("u", "p"));
    let idle = if matches!(case.odd, Odd::Stalls) { Duration::from_millis(300) } else { Duration::from_secs(60) };
    let limits = Limits::default().with_idle(idle);
    let options = SmtpClientOptions { lmtp: case.lmtp, login, limits, ..SmtpClientOptions::new("alice.test", tls) };
    let Ok(mut client) = SmtpClient::open(Stream::Unix(ours), "x", &options).await else { return (0, 0) };
    let recipients = [1, 2].map(|n| Recipient::new(format!("r{n}@x"))).to_vec();
    let envelope = Envelope { sender: "a@alice.test".into(), recipients, ..Envelope::default() };
    let size = if case.chunking { LAST_CHUNK as usize + 1 } else { 1 };
    let messages =
        [1, 2].map(|n| MessageBlob::from(format!("Subject: {n}\r\n\r\n{}\r\n", "x".repeat(size)).into_bytes()));
    let mut delivered = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let next = messages.get(at + 1).filter(|_| case.ahead).map(|next| (&envelope, next as &dyn Content));
        let send = SendOptions { partial: true, next, ..SendOptions::default() };
        let results = client.send(&envelope, message, &send).await;
        for result in results {
            let kind = result.fault.as_ref().map(|fault| fault.kind);
            let out_of_step = matches!(kind, Some(Kind::Protocol | Kind::Unknown));
            assert!(!out_of_step || !client.is_open(), "out of step and still open: {case:?}");
            if result.outcome.is_delivered() {
                delivered.push((format!("Subject: {}", at + 1), result.address.to_string()));
            }
        }
    }
    client.quit().await;
    drop(server.await.unwrap());
    let accepted = accepted.lock().unwrap();
    for claim in &delivered {
        assert!(accepted.contains(claim), "{claim:?} was not accepted: {case:?}");
    }
    (accepted.len(), delivered.len())
}

#[tokio::test]
async fn whatever_one_reply_is_nobody_counts_as_delivered_who_is_not() {
    const CODES: [u16; 10] = [220, 221, 235, 250, 334, 354, 421, 450, 503, 550];
    let mut runs = JoinSet::new();
    let (mut claimed, mut count) = (0, 0);
    for mode in 0..36usize {
        let [lmtp, pipelining, chunking, ahead, good] = [0, 1, 2, 3, 4].map(|bit| mode & (1 << bit) != 0);
        // A login does not depend on how the messages go.
        let login = mode >= 32;
        let (pipelining, good) = (pipelining || login, good || login);
        let verdict = if good { 250 } else { 554 };
        let plain = Case { lmtp, pipelining, chunking, ahead, login, verdict, odd: Odd::Nothing, at: 0 };
        let (accepted, delivered) = run(plain).await;
        assert_eq!((accepted, delivered), if good { (4, 4) } else { (0, 0) }, "nothing odd: {plain:?}");
        let odds = CODES.into_iter().flat_map(|code| [Odd::Before(code), Odd::Behind(code), Odd::Says(code)]);
        for odd in odds.chain([Odd::Omits, Odd::Stalls, Odd::HangsUp]) {
            // Greeting, EHLO, three of AUTH, two messages of MAIL, two RCPT, DATA or two BDAT, at most two answers; QUIT.
            for at in 0..if login { 18 } else { 15 } {
                count += 1;
                runs.spawn(run(Case { odd, at, ..plain }));
                if runs.len() > 200 {
                    claimed += runs.join_next().await.unwrap().unwrap().1;
                }
            }
        }
    }
    while let Some(ended) = runs.join_next().await {
        claimed += ended.unwrap().1;
    }
    assert!(claimed > count / 2, "many odd servers accept all the same: {claimed} in {count} runs");
}
