//! The client against our own server through a wire that is cut after every byte, and against scripted servers that
//! misbehave: each recipient has a defined outcome, and it is the truth.

use std::sync::Mutex;

use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::*;
use crate::blob::file::BlobWriter;
use crate::net::BoxFuture;
use crate::net::listen::Shutdown;
use crate::net::tls::ClientTlsOptions;
use crate::smtp::address::ReversePath;
use crate::smtp::command::CommandSyntax;
use crate::smtp::data::{BareLf, MessageBlob};
use crate::smtp::server::{self, MessageVerdict, SmtpPeer, SmtpService};
use crate::smtp::session::Config;
use crate::smtp::transaction::{LAST_CHUNK, Recipient};

const DELIVERED: &str = "delivered";
const REFUSED: &str = "refused";
const DEFERRED: &str = "deferred";
const UNKNOWN: &str = "unknown";

fn tls() -> ClientTls {
    ClientTls::new(&ClientTlsOptions::default()).unwrap()
}

fn options() -> SmtpClientOptions {
    let limits = Limits::default().with_idle(Duration::from_secs(20));
    SmtpClientOptions { limits, ..SmtpClientOptions::new("alice.test", tls()) }
}

fn envelope(to: &[&str]) -> Envelope {
    let recipients = to.iter().map(|address| Recipient::new(*address)).collect();
    Envelope { sender: "a@alice.test".into(), recipients, ..Envelope::default() }
}

fn outcomes(results: &[RecipientResult]) -> Vec<&'static str> {
    results.iter().map(|result| result.outcome.as_str()).collect()
}

/// Takes everything but for `refused@…`, and remembers it.
#[derive(Default)]
struct Sink(Mutex<Vec<(Envelope, Vec<u8>)>>);

impl SmtpService for Sink {
    type Transaction = ();

    fn sender<'a>(&'a self, _: &'a SmtpPeer, _: &'a ReversePath) -> BoxFuture<'a, SmtpReply> {
        Box::pin(async { SmtpReply::status(250, 1, 0, "ok") })
    }
    fn recipient<'a>(
        &'a self,
        _: &'a SmtpPeer,
        _: &'a ReversePath,
        recipient: &'a Recipient,
        _: &'a mut (),
    ) -> BoxFuture<'a, SmtpReply> {
        let code = if recipient.address.as_str().starts_with("refused@") { 550 } else { 250 };
        Box::pin(async move { SmtpReply::status(code, 1, 1, "verdict") })
    }
    fn login<'a>(&'a self, _: &'a SmtpPeer, user: &'a str, password: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move { (user, password) == ("tim", "s3cret") })
    }
    fn begin(&self, _: &SmtpPeer, _: &Envelope, _: &mut ()) -> std::io::Result<BlobWriter> {
        Ok(BlobWriter::anonymous(std::env::temp_dir(), 1000))
    }
    fn accept<'a>(
        &'a self,
        _: &'a SmtpPeer,
        envelope: Envelope,
        _: (),
        message: BlobWriter,
    ) -> BoxFuture<'a, MessageVerdict> {
        Box::pin(async move {
            let bytes = message.finish().unwrap().read_all("message", 1 << 30).unwrap();
            self.0.lock().unwrap().push((envelope, bytes));
            MessageVerdict::All(SmtpReply::status(250, 0, 0, "taken"))
        })
    }
}

/// Our server at the other end of a pair of sockets.
fn our_server(lmtp: bool) -> (UnixStream, Arc<Sink>, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let sink = Arc::new(Sink::default());
    let service = sink.clone();
    let server = tokio::spawn(async move {
        let config = Config {
            name: "mx.test".into(),
            max_size: 10_000_000,
            max_recipients: 100,
            lmtp,
            starttls: false,
            auth: true,
            auth_in_clear: true,
            dsn: true,
            syntax: CommandSyntax::Strict,
            bare_lf: BareLf::Reject,
        };
        let options = server::SmtpServerOptions {
            config,
            tls: server::SmtpServerTls::Off,
            limits: Limits::default(),
            trace: ProtocolTrace::default(),
        };
        let _ = server::serve(Stream::Unix(theirs), None, &options, &*service, &Shutdown::manual()).await;
    });
    (ours, sink, server)
}

/// A wire that carries so many bytes up and down, and is then cut.
fn wire(server: UnixStream, up: usize, down: usize) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut client_read, mut client_write) = theirs.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    tokio::spawn(async move {
        let upward = async {
            let mut limited = (&mut client_read).take(up as u64);
            let _ = tokio::io::copy(&mut limited, &mut server_write).await;
        };
        let downward = async {
            let mut limited = (&mut server_read).take(down as u64);
            let _ = tokio::io::copy(&mut limited, &mut client_write).await;
        };
        // Whichever way ends first, the whole wire is gone.
        tokio::select! { () = upward => {}, () = downward => {} }
    });
    ours
}

async fn counted(
    lmtp: bool,
    send: &SendOptions<'_>,
    pipelining: bool,
    cut: Option<(bool, usize)>,
) -> (Vec<&'static str>, usize) {
    let (server, sink, task) = our_server(lmtp);
    let (up, down) = match cut {
        Some((true, at)) => (at, usize::MAX),
        Some((false, at)) => (usize::MAX, at),
        None => (usize::MAX, usize::MAX),
    };
    let stream = Stream::Unix(wire(server, up, down));
    let envelope = envelope(&["b@x", "refused@x", "c@x"]);
    let content = MessageBlob::from(b"Subject: x\r\n\r\n.body\r\n".to_vec());
    let outcomes = match SmtpClient::open(stream, "x", &SmtpClientOptions { lmtp, ..options() }).await {
        Err(fault) => outcomes(&all_failed(&envelope, &fault)),
        Ok(mut client) => {
            client.offer.pipelining &= pipelining;
            let results = client.send(&envelope, &content, send).await;
            if cut.is_none() {
                client.quit().await;
            }
            outcomes(&results)
        }
    };
    task.await.unwrap();
    let taken = sink.0.lock().unwrap().len();
    (outcomes, taken)
}

#[tokio::test]
async fn a_wire_cut_after_every_byte_never_lies() {
    for (lmtp, chunking, pipelining) in
        [(false, false, false), (false, false, true), (false, true, true), (true, false, true), (true, true, true)]
    {
        let send = SendOptions { partial: true, no_chunking: !chunking, ..SendOptions::default() };
        let (whole, taken) = counted(lmtp, &send, pipelining, None).await;
        assert_eq!((whole.as_slice(), taken), (&[DELIVERED, REFUSED, DELIVERED][..], 1));
        let (mut unknown, mut delivered) = (0, 0);
        for upward in [true, false] {
            for at in 0..700 {
                let (found, taken) = counted(lmtp, &send, pipelining, Some((upward, at))).await;
                for outcome in found.iter().copied() {
                    match outcome {
                        DELIVERED => assert_eq!(taken, 1, "delivered, and it is there: {upward} {at}"),
                        DEFERRED => assert_eq!(taken, 0, "deferred, and nothing was taken: {upward} {at}"),
                        UNKNOWN => unknown += 1,
                        _ => {}
                    }
                }
                delivered += usize::from(found == whole);
            }
        }
        assert!(unknown > 0 && delivered > 100, "the cuts went through the whole dialogue: {unknown}, {delivered}");
    }
}

#[tokio::test]
async fn what_is_sent_arrives_whole_by_data_and_by_bdat() {
    let dots = |lines: usize| [".\r\n", "..a\r\n", "\r\n", "x.\r\n"].iter().cycle().take(lines).copied().collect();
    let line = |size: u64| format!("{}\r\n", "x".repeat(size as usize - 2));
    let messages: [String; 6] =
        [String::new(), dots(1), dots(30), line(LAST_CHUNK), line(LAST_CHUNK + 1), dots(200_000)];
    for message in messages.map(String::into_bytes) {
        let size = message.len();
        for no_chunking in [true, false] {
            let (server, sink, task) = our_server(false);
            let mut client = SmtpClient::open(Stream::Unix(server), "x", &options()).await.unwrap();
            let read = Arc::new(Mutex::new(0));
            let counter = read.clone();
            let progress: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(move |count| *counter.lock().unwrap() += count);
            let send = SendOptions { no_chunking, progress: Some(progress), ..SendOptions::default() };
            let content = MessageBlob::from(message.clone());
            for _ in 0..2 {
                let results = client.send(&envelope(&["b@x"]), &content, &send).await;
                assert_eq!(outcomes(&results), [DELIVERED], "{size} {no_chunking} {results:?}");
            }
            client.quit().await;
            task.await.unwrap();
            let taken = sink.0.lock().unwrap();
            assert_eq!(taken.len(), 2);
            assert!(taken.iter().all(|(_, bytes)| *bytes == message), "{size} {no_chunking}");
            assert_eq!(*read.lock().unwrap(), 2 * message.len() as u64);
        }
    }
}

#[tokio::test]
async fn the_next_message_goes_out_behind_the_end_of_this_one() {
    for no_chunking in [true, false] {
        let (server, sink, task) = our_server(false);
        let mut client = SmtpClient::open(Stream::Unix(server), "x", &options()).await.unwrap();
        let messages: Vec<MessageBlob> =
            (0..5).map(|n| MessageBlob::from(format!("Subject: {n}\r\n\r\nx\r\n").into_bytes())).collect();
        let envelopes: Vec<Envelope> = (0..5).map(|n| envelope(&[if n == 2 { "refused@x" } else { "b@x" }])).collect();
        for n in 0..5 {
            let next = envelopes.get(n + 1).zip(messages.get(n + 1)).map(|(e, m)| (e, m as &dyn Content));
            let send = SendOptions { no_chunking, next, ..SendOptions::default() };
            let results = client.send(&envelopes[n], &messages[n], &send).await;
            assert_eq!(outcomes(&results), [if n == 2 { REFUSED } else { DELIVERED }], "{n} {results:?}");
        }
        client.quit().await;
        task.await.unwrap();
        assert_eq!(sink.0.lock().unwrap().len(), 4);
    }
}

#[tokio::test]
async fn before_commit_can_stop_the_end() {
    for no_chunking in [true, false] {
        let (server, sink, task) = our_server(false);
        let mut client = SmtpClient::open(Stream::Unix(server), "x", &options()).await.unwrap();
        let stop: BeforeCommit = Arc::new(|| Box::pin(async { false }));
        let send = SendOptions { no_chunking, before_commit: Some(stop), ..SendOptions::default() };
        let results = client.send(&envelope(&["b@x"]), &MessageBlob::from(b"x\r\n".to_vec()), &send).await;
        assert_eq!(outcomes(&results), [DEFERRED]);
        assert_eq!(results[0].fault.as_ref().map(|fault| fault.kind), Some(Kind::Cancelled));
        assert!(!client.is_open());
        drop(client);
        task.await.unwrap();
        assert!(sink.0.lock().unwrap().is_empty(), "stopped before the dot, and before the last BDAT");
    }
}

#[tokio::test]
async fn the_answer_to_a_message_may_take_ten_minutes() {
    assert!(FINAL_WAIT >= Duration::from_secs(600), "RFC 5321, section 4.5.3.2.6");
    let wait = "S: 354 go\nC*\nX 25\nW 400\nX 0 taken\\r\\n";
    let (stream, server) = scripted(&format!("{HELLO}{GROUP}S: 250 a\nS: 250 b\n{wait}"));
    // Elsewhere the server may not be silent so long, nor so slow.
    let idle = Limits::default().with_idle(Duration::from_millis(100));
    let limits = Limits { min_rate: std::num::NonZeroU64::new(1000), ..idle };
    let mut client = SmtpClient::open(stream, "x", &SmtpClientOptions { limits, ..options() }).await.unwrap();
    let content = MessageBlob::from(b"x\r\n".to_vec());
    let results = client.send(&envelope(&["b@x"]), &content, &SendOptions::default()).await;
    assert_eq!(outcomes(&results), [DELIVERED], "{results:?}");
    server.await.unwrap();
    let (found, fault, _) = send_to(format!("{HELLO}{GROUP}S: 250 a\nX 25\nW 400\nX 0 b\\r\\n\nS: 354 go")).await;
    assert_eq!((found, fault.unwrap().kind), (vec![DEFERRED], Kind::TimedOut), "the same before the message");
}

#[tokio::test]
async fn logins_in_clear_text_are_asked_for() {
    let open = async |password: &str, mechanism| {
        let (server, _, _) = our_server(false);
        let login = Some(Login::new("tim", password));
        SmtpClient::open(Stream::Unix(server), "x", &SmtpClientOptions { login, mechanism, ..options() })
            .await
            .map(|_| ())
    };
    assert_eq!(open("s3cret", None).await, Ok(()));
    assert_eq!(open("s3cret", Some(Mechanism::Login)).await, Ok(()));
    assert_eq!(open("wrong", None).await.unwrap_err().kind, Kind::AuthFailed);
    let (server, _, _) = our_server(false);
    let login = Some(Login::new("tim", "s3cret"));
    let options = SmtpClientOptions { login, tls: TlsMode::Try, ..options() };
    let fault = SmtpClient::open(Stream::Unix(server), "x", &options).await.map(|_| ()).unwrap_err();
    assert_eq!(fault.kind, Kind::TlsUntrusted, "a password does not go out because TLS was stripped");
}

/// A server that plays a script: `S:` lines it says, `C:` lines it must hear, `C*` hears up to the lone dot, `B n` hears
/// so many bytes, `W n` waits so many milliseconds, `X` says the rest of the line without a line end. At the end it closes.
fn scripted(script: &str) -> (Stream, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let script = script.to_owned();
    let server = tokio::spawn(async move {
        let mut stream = tokio::io::BufStream::new(theirs);
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            use tokio::io::AsyncBufReadExt;
            if let Some(words) = line.strip_prefix("S: ") {
                if stream.write_all(format!("{words}\r\n").as_bytes()).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            } else if let Some(words) = line.strip_prefix("X ") {
                let _ = stream.write_all(words.replace("\\r\\n", "\r\n").as_bytes()).await;
                let _ = stream.flush().await;
            } else if let Some(wait) = line.strip_prefix("W ") {
                tokio::time::sleep(Duration::from_millis(wait.parse().unwrap())).await;
            } else if let Some(count) = line.strip_prefix("B ") {
                let mut bytes = vec![0; count.parse().unwrap()];
                stream.read_exact(&mut bytes).await.unwrap();
            } else if line == "C*" {
                let mut heard = String::new();
                while heard != ".\r\n" {
                    heard.clear();
                    if stream.read_line(&mut heard).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
            } else {
                let mut heard = String::new();
                stream.read_line(&mut heard).await.unwrap();
                assert_eq!(heard.trim_end(), line.strip_prefix("C:").unwrap().trim_start());
            }
        }
    });
    (Stream::Unix(ours), server)
}

const HELLO: &str = "S: 220 mx\nC: EHLO alice.test\nS: 250-mx\nS: 250 PIPELINING\n";
const GROUP: &str = "C: MAIL FROM:<a@alice.test>\nC: RCPT TO:<b@x>\nC: DATA\n";

/// Sends one message to a scripted server: the outcomes, and the fault of the first.
async fn send_to(script: String) -> (Vec<&'static str>, Option<Fault>, bool) {
    let (stream, server) = scripted(&script);
    let short = Limits::default().with_idle(Duration::from_millis(200));
    let mut client = SmtpClient::open(stream, "x", &SmtpClientOptions { limits: short, ..options() }).await.unwrap();
    let results =
        client.send(&envelope(&["b@x"]), &MessageBlob::from(b"x\r\n".to_vec()), &SendOptions::default()).await;
    let open = client.is_open();
    drop(client);
    server.await.unwrap();
    (outcomes(&results), results.into_iter().next().unwrap().fault, open)
}

#[tokio::test]
async fn servers_that_misbehave() {
    let endless = format!("X {}", "250-more\\r\\n".repeat(1000));
    let long = format!("X 250 {}", "x".repeat(10_000));
    let table: [(&str, String, &str, Kind); 13] = [
        ("says 421", "S: 421 busy".into(), DEFERRED, Kind::PeerTemporary),
        ("talks nonsense", "S: hello".into(), DEFERRED, Kind::Protocol),
        ("mixes codes", "S: 250-a\nS: 251 b".into(), DEFERRED, Kind::Protocol),
        ("never ends a reply", endless, DEFERRED, Kind::Protocol),
        ("never ends a line", long, DEFERRED, Kind::Protocol),
        ("closes", String::new(), DEFERRED, Kind::Disconnected),
        (
            "refuses and goes on",
            "S: 250 a\nS: 550 5.1.1 no\nS: 354 go\nC: .\nS: 250 taken\nC: RSET\nS: 250 ok".into(),
            REFUSED,
            Kind::NoUser,
        ),
        ("refuses all", "S: 250 a\nS: 550 5.1.1 no\nS: 503 no\nC: RSET\nS: 250 ok".into(), REFUSED, Kind::NoUser),
        ("says too few", "S: 250 a\nS: 250 b".into(), DEFERRED, Kind::Disconnected),
        ("closes behind the dot", "S: 250 a\nS: 250 b\nS: 354 go\nC*".into(), UNKNOWN, Kind::Unknown),
        ("nonsense behind the dot", "S: 250 a\nS: 250 b\nS: 354 go\nC*\nS: what".into(), UNKNOWN, Kind::Unknown),
        ("goes on behind the dot", "S: 250 a\nS: 250 b\nS: 354 go\nC*\nS: 354 go".into(), UNKNOWN, Kind::Unknown),
        ("refuses the message", "S: 250 a\nS: 250 b\nS: 354 go\nC*\nS: 554 5.6.0 no".into(), REFUSED, Kind::Refused),
    ];
    for (what, script, outcome, kind) in table {
        let (found, fault, _) = send_to(format!("{HELLO}{GROUP}{script}")).await;
        assert_eq!((found, fault.map(|fault| fault.kind)), (vec![outcome], Some(kind)), "a server that {what}");
    }
}

#[tokio::test]
async fn a_reply_too_many_makes_the_connection_unusable() {
    let script = format!("{HELLO}{GROUP}S: 250 a\nS: 250 b\nS: 354 go\nC*\nX 250 taken\\r\\n250 again\\r\\n\nC: QUIT");
    let (stream, server) = scripted(&script);
    let mut client = SmtpClient::open(stream, "x", &options()).await.unwrap();
    let content = MessageBlob::from(b"x\r\n".to_vec());
    let first = client.send(&envelope(&["b@x"]), &content, &SendOptions::default()).await;
    assert_eq!(outcomes(&first), [DELIVERED]);
    let second = client.send(&envelope(&["b@x"]), &content, &SendOptions::default()).await;
    assert_eq!(outcomes(&second), [DEFERRED], "the reply left over is not taken for one of ours");
    assert!(!client.is_open());
    server.abort();
}

#[tokio::test]
async fn a_drip_is_no_progress() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let server = tokio::spawn(async move {
        for byte in b"220 a very slow greeting indeed, byte by byte".iter().cycle() {
            if theirs.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let limits = Limits::default().with_idle(Duration::from_millis(100));
    let opened = SmtpClient::open(Stream::Unix(ours), "x", &SmtpClientOptions { limits, ..options() }).await;
    assert_eq!(opened.map(|_| ()).unwrap_err().kind, Kind::TimedOut);
    server.await.unwrap();
}

#[tokio::test]
async fn openings_that_fail() {
    let starttls = "S: 220 mx\nC: EHLO alice.test\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\n";
    let table: [(&str, TlsMode, Kind); 9] = [
        ("S: 554 5.7.1 go away", TlsMode::None, Kind::Refused),
        ("S: 421 busy", TlsMode::None, Kind::PeerTemporary),
        ("S: 250 wrong", TlsMode::None, Kind::Protocol),
        ("", TlsMode::None, Kind::Disconnected),
        ("S: 220 mx\nC: EHLO alice.test\nS: 450 later", TlsMode::None, Kind::PeerTemporary),
        ("S: 220 mx\nC: EHLO alice.test\nS: 502 no\nC: HELO alice.test\nS: 550 no", TlsMode::None, Kind::Refused),
        ("S: 220 mx\nC: EHLO alice.test\nS: 250 mx", TlsMode::Starttls, Kind::TlsUntrusted),
        (&format!("{starttls}S: 454 later"), TlsMode::Starttls, Kind::PeerTemporary),
        (&format!("{starttls}X 220 go\\r\\n250 injected\\r\\n"), TlsMode::Starttls, Kind::Protocol),
    ];
    for (script, tls, kind) in table {
        let (stream, server) = scripted(script);
        let opened = SmtpClient::open(stream, "x", &SmtpClientOptions { tls, ..options() }).await;
        assert_eq!(opened.map(|_| ()).unwrap_err().kind, kind, "{script}");
        server.await.unwrap();
    }
    let (stream, server) = scripted("S: 220 mx\nC: EHLO alice.test\nS: 500 what\nC: HELO alice.test\nS: 250 mx hello");
    let client = SmtpClient::open(stream, "x", &options()).await.unwrap();
    assert_eq!(*client.capabilities(), Capabilities { name: "mx".into(), ..Capabilities::default() });
    server.await.unwrap();
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_known_as_such() {
    for goodbye in ["", "S: 421 4.4.2 idle too long"] {
        let script = format!("{HELLO}{GROUP}S: 250 a\nS: 250 b\nS: 354 go\nC*\nS: 250 taken\n{goodbye}");
        let (stream, server) = scripted(&script);
        let mut client = SmtpClient::open(stream, "x", &options()).await.unwrap();
        let content = MessageBlob::from(b"x\r\n".to_vec());
        let first = client.send(&envelope(&["b@x"]), &content, &SendOptions::default()).await;
        assert_eq!(outcomes(&first), [DELIVERED]);
        server.await.unwrap();
        let second = client.send(&envelope(&["b@x"]), &content, &SendOptions::default()).await;
        assert_eq!(outcomes(&second), [DEFERRED]);
        assert!(client.was_stale() && !client.is_open(), "{goodbye}");
    }
}

#[tokio::test]
async fn a_server_that_ends_the_session_after_a_message_costs_nothing() {
    let behind = format!("{HELLO}{GROUP}S: 250 a\nS: 250 b\nS: 354 go\nC*\n{GROUP}");
    for script in [format!("{behind}S: 250 taken"), format!("{behind}S: 250 taken\nS: 421 enough")] {
        let (stream, server) = scripted(&script);
        let mut client = SmtpClient::open(stream, "x", &options()).await.unwrap();
        let (envelope, content) = (envelope(&["b@x"]), MessageBlob::from(b"x\r\n".to_vec()));
        let next = SendOptions { next: Some((&envelope, &content)), ..SendOptions::default() };
        let first = client.send(&envelope, &content, &next).await;
        assert_eq!(outcomes(&first), [DELIVERED], "{script}");
        server.await.unwrap();
        let second = client.send(&envelope, &content, &SendOptions::default()).await;
        assert_eq!(outcomes(&second), [DEFERRED], "{script}");
        assert!(client.was_stale() && !client.is_open(), "{script}");
    }
}

#[tokio::test]
async fn long_tokens_go_in_a_line_of_their_own_and_scram_wants_proof() {
    let open = async |script: String, mechanism, password: String| {
        let (stream, server) = scripted(&script);
        let login = Some(Login::new("u", password));
        let opened =
            SmtpClient::open(stream, "x", &SmtpClientOptions { login, mechanism: Some(mechanism), ..options() }).await;
        let result = opened.map(|_| ()).map_err(|fault| fault.kind);
        server.abort();
        result
    };
    let offer = "S: 220 mx\nC: EHLO alice.test\nS: 250-mx\nS: 250 AUTH XOAUTH2 SCRAM-SHA-256\n";
    let token = "t".repeat(3000);
    let long = format!("{offer}C: AUTH XOAUTH2\nS: 334 \nB 4030\nS: 235 in");
    assert_eq!(open(long, Mechanism::Xoauth2, token).await, Ok(()));
    let refused = format!(
        "{offer}C: AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==\nS: 334 eyJzdGF0dXMiOiI0MDAifQ==\nC: \nS: 535 5.7.8 no"
    );
    assert_eq!(open(refused, Mechanism::Xoauth2, "t".into()).await, Err(Kind::AuthFailed));
    let unproved = format!("{offer}B 65\nS: 235 in");
    assert_eq!(open(unproved, Mechanism::ScramSha256, "p".into()).await, Err(Kind::AuthFailed));
}

#[tokio::test]
async fn a_message_that_changes_or_breaks_lines_is_not_finished() {
    struct Odd(u64, &'static [u8]);
    impl Content for Odd {
        fn size_bytes(&self) -> u64 {
            self.0
        }
        fn has_8bit(&self) -> bool {
            false
        }
        fn open(&self) -> std::io::Result<Box<dyn std::io::Read + Send>> {
            Ok(Box::new(self.1))
        }
    }
    for no_chunking in [true, false] {
        let table = [
            (Odd(3, b"a\r\nlonger\r\n"), Kind::Io),
            (Odd(9, b"a\r\n"), Kind::Io),
            (Odd(4, b"a\nb\n"), Kind::BadData),
            (Odd(4, b"a\r\n\r"), Kind::BadData),
        ];
        for (content, kind) in table {
            let (server, sink, task) = our_server(false);
            let mut client = SmtpClient::open(Stream::Unix(server), "x", &options()).await.unwrap();
            let send = SendOptions { no_chunking, ..SendOptions::default() };
            let results = client.send(&envelope(&["b@x"]), &content, &send).await;
            assert_eq!(results[0].fault.as_ref().map(|fault| fault.kind), Some(kind), "{no_chunking}");
            assert!(!client.is_open());
            drop(client);
            task.await.unwrap();
            assert!(sink.0.lock().unwrap().is_empty());
        }
    }
}

/// A server that takes so many recipients in one transaction, says the rest `more`, and refuses `refused@…`; what it took.
fn taking(most: usize, more: &'static str) -> (Stream, JoinHandle<Vec<Vec<String>>>) {
    use tokio::io::AsyncBufReadExt;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = tokio::spawn(async move {
        let mut stream = tokio::io::BufReader::new(theirs);
        let (mut taken, mut now, mut data) = (Vec::new(), Vec::new(), false);
        let mut reply = "220 mx".to_owned();
        loop {
            if stream.write_all(format!("{reply}\r\n").as_bytes()).await.is_err() {
                return taken;
            }
            let mut line = String::new();
            while data && line != ".\r\n" {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
            }
            if data {
                (data, reply) = (false, "250 taken".to_owned());
                taken.push(std::mem::take(&mut now));
                continue;
            }
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return taken;
            }
            let path = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            reply = match line.split(' ').next().unwrap_or_default().trim_end() {
                "EHLO" => "250-mx\r\n250 PIPELINING".to_owned(),
                "RCPT" if path.starts_with("refused@") => "550 5.1.1 no".to_owned(),
                "RCPT" if now.len() >= most => more.to_owned(),
                "RCPT" => {
                    now.push(path);
                    "250 ok".to_owned()
                }
                "DATA" if now.is_empty() => "503 nobody".to_owned(),
                "DATA" => {
                    data = true;
                    "354 go".to_owned()
                }
                "MAIL" | "RSET" => {
                    now.clear();
                    "250 ok".to_owned()
                }
                _ => "250 ok".to_owned(),
            };
        }
    });
    (Stream::Unix(ours), server)
}

#[tokio::test]
async fn who_is_too_many_comes_in_further_transactions() {
    let content = MessageBlob::from(b"x\r\n".to_vec());
    for more in [
        "452 4.5.3 too many",
        "452 too many",
        "552 too many",
        "552 5.5.3 too many",
        "450 4.5.3 enough",
        "550 5.5.3 enough",
    ] {
        for (partial, pipelining) in [(true, true), (true, false), (false, true), (false, false)] {
            let (stream, server) = taking(3, more);
            let mut client = SmtpClient::open(stream, "x", &options()).await.unwrap();
            client.offer.pipelining &= pipelining;
            let to: Vec<String> = (0..10).map(|n| format!("r{n}@x")).collect();
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            let send = SendOptions { partial, ..SendOptions::default() };
            let results = client.send(&envelope(&to), &content, &send).await;
            assert_eq!(outcomes(&results), [DELIVERED; 10], "{more} {partial} {pipelining} {results:?}");
            let addresses: Vec<&str> = results.iter().map(|result| result.address.as_str()).collect();
            assert_eq!(addresses, to, "in the envelope's order");
            client.quit().await;
            let taken = server.await.unwrap();
            assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
            assert_eq!(taken.concat(), to, "each of them once");
        }
    }
}

#[tokio::test]
async fn a_limit_on_recipients_is_told_from_a_refusal() {
    let content = MessageBlob::from(b"x\r\n".to_vec());
    let run = async |most, more, to: &[&str], partial| {
        let (stream, server) = taking(most, more);
        let mut client = SmtpClient::open(stream, "x", &options()).await.unwrap();
        let send = SendOptions { partial, ..SendOptions::default() };
        let results = client.send(&envelope(to), &content, &send).await;
        client.quit().await;
        (outcomes(&results), server.await.unwrap().len())
    };
    let many = ["a@x", "b@x", "c@x", "d@x"];
    // A full mailbox, a full disk and whatever else a server says of one recipient.
    for more in ["552 5.2.2 full", "550 5.1.1 no", "552 5.3.4 too big"] {
        assert_eq!(run(3, more, &many, true).await, (vec![DELIVERED, DELIVERED, DELIVERED, REFUSED], 1), "{more}");
        assert_eq!(run(3, more, &many, false).await.1, 0, "all or nothing: {more}");
    }
    for more in ["452 4.2.2 full", "452 4.3.1 disk", "450 4.7.1 greylisted", "451 later"] {
        assert_eq!(run(3, more, &many, true).await, (vec![DELIVERED, DELIVERED, DELIVERED, DEFERRED], 1), "{more}");
        assert_eq!(run(3, more, &many, false).await.1, 0, "all or nothing: {more}");
    }
    // Nobody before it: 552 is what it says.
    assert_eq!(run(0, "552 too many", &["a@x", "b@x"], true).await, (vec![REFUSED; 2], 0));
    assert_eq!(run(0, "452 4.5.3 too many", &["a@x", "b@x"], true).await, (vec![DEFERRED; 2], 0));
    // Refusals beside it: without `partial` nothing is sent as long as nothing has been.
    let mixed = ["a@x", "refused@x", "b@x", "c@x", "d@x", "e@x"];
    let expected = [DELIVERED, REFUSED, DELIVERED, DELIVERED, DELIVERED, DELIVERED];
    assert_eq!(run(2, "452 4.5.3 too many", &mixed, true).await, (expected.to_vec(), 3));
    let (found, transactions) = run(3, "452 4.5.3 too many", &mixed, false).await;
    assert_eq!((found.iter().filter(|it| **it == DEFERRED).count(), transactions), (5, 0), "{found:?}");
    // A known limit, and then only refusals at the front.
    let front = ["a@x", "b@x", "refused@x", "refused@y", "c@x"];
    let expected = [DELIVERED, DELIVERED, REFUSED, REFUSED, DELIVERED];
    assert_eq!(run(1, "452 4.5.3 too many", &front, true).await, (expected.to_vec(), 3));
}

#[tokio::test]
async fn a_limit_once_known_is_kept_and_the_next_message_does_not_hinder() {
    let content = MessageBlob::from(b"x\r\n".to_vec());
    let (stream, server) = taking(2, "452 4.5.3 too many");
    let mut client = SmtpClient::open(stream, "x", &options()).await.unwrap();
    let (three, two) = (envelope(&["a@x", "b@x", "c@x"]), envelope(&["d@x", "e@x"]));
    let send = SendOptions { partial: true, ..SendOptions::default() };
    assert_eq!(outcomes(&client.send(&three, &content, &send).await), [DELIVERED; 3]);
    let next = SendOptions { next: Some((&two, &content)), ..send.clone() };
    assert_eq!(outcomes(&client.send(&three, &content, &next).await), [DELIVERED; 3]);
    assert!(client.ahead.is_none(), "more than it takes at a time: nothing goes out behind it");
    let next = SendOptions { next: Some((&three, &content)), ..send.clone() };
    assert_eq!(outcomes(&client.send(&two, &content, &next).await), [DELIVERED; 2]);
    assert_eq!(outcomes(&client.send(&three, &content, &send).await), [DELIVERED; 3]);
    client.quit().await;
    assert_eq!(server.await.unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 2, 1, 2, 2, 1]);
}

/// A server inside TLS that plays a script (see [`scripted`]), and who trusts it.
async fn scripted_in_tls(script: &str) -> (Stream, ClientTls, JoinHandle<()>) {
    use crate::net::tls::{ServerTls, ServerTlsOptions};
    let names = vec!["x".to_owned()];
    let server = ServerTls::new(&ServerTlsOptions { self_signed: names, ..Default::default() }).unwrap();
    let trust = ClientTls::new(&ClientTlsOptions { insecure: true, ..Default::default() }).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let (inner, played) = scripted(script);
    let task = tokio::spawn(async move {
        let mut outer = server.accept(Stream::Plain(far)).await.unwrap();
        let mut inner = inner;
        let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
        // Whatever the script did not expect to hear fails here.
        played.await.unwrap();
    });
    (Stream::Plain(near), trust, task)
}

#[tokio::test]
async fn a_broken_mechanism_is_followed_by_another_inside_tls_only() {
    const PLAIN: &str = "C: AUTH PLAIN AHUAcA==\n";
    const LOGIN: &str = "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\n";
    const CRAM: &str = "C: AUTH CRAM-MD5\n";
    let offer = |list: &str| format!("S: 220 mx\nC: EHLO alice.test\nS: 250-mx\nS: 250 AUTH {list}\n");
    let scram = |size: usize, says: &str| format!("B {size}\n{says}\n");
    // AUTH SCRAM-SHA-256 and AUTH SCRAM-SHA-1 with the initial response to a nonce of 24 letters.
    let (big, small) = ("AUTH SCRAM-SHA-256 ".len() + 44 + 2, "AUTH SCRAM-SHA-1 ".len() + 44 + 2);
    let malformed = "S: 334 AAAA\nC: *\nS: 501 off";
    let denied = "S: 334 ZT1vdGhlci1lcnJvcg==\nC: *\nS: 501 off";
    let goes_on = format!("{PLAIN}S: 235 in\nC: QUIT");
    let mut table: Vec<(String, Result<(), Kind>, &str)> = Vec::new();
    for first in [
        "S: 535 5.7.8 no",
        "S: 504 5.5.4 no",
        "S: 534 5.7.9 weak",
        "S: 554 no",
        "S: 454 4.7.0 broken",
        malformed,
        denied,
        "S: 334 !!\nC: *\nS: 501 off",
    ] {
        table.push((offer("SCRAM-SHA-256 PLAIN LOGIN") + &scram(big, first) + &goes_on, Ok(()), ""));
    }
    let (both, all) = (
        "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5",
        "AUTH SCRAM-SHA-256: 535 5.7.8 no; AUTH PLAIN: 535 5.7.8 no",
    );
    let wrong = offer(both) + &scram(big, "S: 535 5.7.8 no") + PLAIN + "S: 535 5.7.8 no";
    table.push((wrong, Err(Kind::AuthFailed), all));
    let unknown = offer(both)
        + &scram(big, "S: 504 no")
        + &scram(small, "S: 504 no")
        + PLAIN
        + "S: 504 no\n"
        + LOGIN
        + "S: 235 in\nC: QUIT";
    table.push((unknown, Ok(()), ""));
    table.push((offer("PLAIN LOGIN CRAM-MD5") + PLAIN + "S: 535 no", Err(Kind::AuthFailed), "AUTH PLAIN: 535 no"));
    table.push((
        offer("PLAIN CRAM-MD5") + PLAIN + "S: 501 what\n" + CRAM + "S: 535 no",
        Err(Kind::AuthFailed),
        "AUTH PLAIN: 501 what; AUTH CRAM-MD5: 535 no",
    ));
    table.push((
        offer("SCRAM-SHA-256 PLAIN") + &scram(big, "S: 421 bye"),
        Err(Kind::PeerTemporary),
        "AUTH SCRAM-SHA-256: 421 bye",
    ));
    table.push((
        offer("SCRAM-SHA-256 PLAIN") + &scram(big, "S: 235 in"),
        Err(Kind::AuthFailed),
        "AUTH SCRAM-SHA-256: the server took the login without proof that it knows the password",
    ));
    table.push((
        offer("SCRAM-SHA-256 PLAIN") + &scram(big, "S: 334 AAAA\nC: *\nS: 250 ok"),
        Err(Kind::Protocol),
        "AUTH SCRAM-SHA-256: malformed challenge",
    ));
    table.push((
        offer("SCRAM-SHA-256 PLAIN") + &scram(big, "S: 535 no") + PLAIN + "S: 454 later",
        Err(Kind::PeerTemporary),
        "AUTH SCRAM-SHA-256: 535 no; AUTH PLAIN: 454 later",
    ));
    table.push((offer("PLAIN") + PLAIN + "S: 334 \nC: AHUAcA==\nS: 235 in\nC: QUIT", Ok(()), ""));
    for (script, expected, detail) in table {
        let (stream, tls_client, server) = scripted_in_tls(&script).await;
        let login = Some(Login::new("u", "p"));
        let options = SmtpClientOptions { login, tls_client, tls: TlsMode::Implicit, ..options() };
        match (SmtpClient::open(stream, "x", &options).await, expected) {
            (Ok(client), Ok(())) => client.quit().await,
            (Err(fault), Err(kind)) => {
                assert_eq!((fault.kind, fault.detail.as_str()), (kind, detail), "{script}");
                assert_eq!(
                    fault.hint.is_some_and(|hint| hint.contains("--auth")),
                    !script.contains("AUTH PLAIN\n"),
                    "{script}"
                );
            }
            (found, _) => panic!("{script}: {:?}", found.map(|_| ())),
        }
        server.await.unwrap();
    }
    // Outside TLS, and where the user named the mechanism, there is one attempt.
    let script = offer("SCRAM-SHA-256 PLAIN LOGIN") + &scram(big, "S: 504 5.5.4 no");
    for mechanism in [None, Some(Mechanism::ScramSha256)] {
        let (stream, server) = scripted(&script);
        let login = Some(Login::new("u", "p"));
        let opened = SmtpClient::open(stream, "x", &SmtpClientOptions { login, mechanism, ..options() }).await;
        let fault = opened.map(|_| ()).unwrap_err();
        assert_eq!(fault.detail, "AUTH SCRAM-SHA-256: 504 5.5.4 no");
        assert_eq!(fault.hint.is_some(), mechanism.is_none());
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_reply_too_many_during_the_login_is_not_taken_for_the_next() {
    for behind in ["X 334 VXNlcm5hbWU6\\r\\n235 in\\r\\n", "X 334 VXNlcm5hbWU6\\r\\n334 UGFz\\r\\n"] {
        let script = format!("S: 220 mx\nC: EHLO alice.test\nS: 250-mx\nS: 250 AUTH LOGIN\nC: AUTH LOGIN\n{behind}");
        let (stream, server) = scripted(&script);
        let login = Some(Login::new("u", "p"));
        let opened = SmtpClient::open(stream, "x", &SmtpClientOptions { login, ..options() }).await;
        assert_eq!(opened.map(|_| ()).unwrap_err().kind, Kind::Protocol, "{behind}");
        server.await.unwrap();
    }
}
