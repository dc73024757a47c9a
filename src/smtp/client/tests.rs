//! The client against this crate's server over a wire that is cut after every byte, and against scripted servers that
//! misbehave: each recipient has a defined and true outcome.

use std::sync::Mutex;

use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::*;
use crate::blob::file::BlobWriter;
use crate::net::BoxFuture;
use crate::net::admission::ClientPlace;
use crate::net::listen::Shutdown;
use crate::net::login::LoginVerdict;
use crate::net::tls::ClientTlsOptions;
use crate::secret::Secret;
use crate::smtp::address::ReversePath;
use crate::smtp::auth::server::LoginProof;
use crate::smtp::command::CommandSyntax;
use crate::smtp::data::{BareLf, MessageBlob};
use crate::smtp::role::ServerRole;
use crate::smtp::server::{self, MessageVerdict, SmtpPeer, SmtpService};
use crate::smtp::session::Config;
use crate::smtp::transaction::{LAST_CHUNK, Recipient};

pub(super) const DELIVERED: &str = "delivered";
pub(super) const REFUSED: &str = "refused";
pub(super) const DEFERRED: &str = "deferred";
const UNKNOWN: &str = "unknown";

fn tls() -> ClientTls {
    ClientTls::new(&ClientTlsOptions::default()).unwrap()
}

pub(super) fn options() -> SmtpClientOptions {
    let limits = Limits::default().with_idle(Duration::from_secs(20));
    SmtpClientOptions { limits, ..SmtpClientOptions::new("alice.test", tls()) }
}

pub(super) fn envelope(to: &[&str]) -> Envelope {
    let recipients = to.iter().map(|address| Recipient::new(*address)).collect();
    Envelope { sender: "a@alice.test".into(), recipients, ..Envelope::default() }
}

pub(super) fn outcomes(results: &[RecipientResult]) -> Vec<&'static str> {
    results.iter().map(|result| result.outcome.as_str()).collect()
}

/// Accepts every recipient except `refused@…`, and stores the messages.
#[derive(Default)]
struct Sink(Mutex<Vec<(Envelope, Vec<u8>)>>);

impl SmtpService for Sink {
    type Transaction = ();

    fn sender<'a>(&'a self, _: &'a SmtpPeer, _: &'a ReversePath, _: u64) -> BoxFuture<'a, SmtpReply> {
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
    fn login<'a>(&'a self, _: &'a SmtpPeer, user: &'a str, proof: &'a LoginProof) -> BoxFuture<'a, LoginVerdict<()>> {
        let right = (user, proof) == ("tim", &LoginProof::Password(Secret::new("s3cret".to_owned())));
        Box::pin(async move { if right { LoginVerdict::Right(()) } else { LoginVerdict::Wrong } })
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

/// This crate's server at the other end of a socket pair.
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
            tls_required: false,
            auth: true,
            auth_in_clear: true,
            scram: false,
            auth_required: false,
            dsn: true,
            syntax: CommandSyntax::Strict,
            bare_lf: BareLf::Reject,
        };
        let options = server::SmtpServerOptions {
            config,
            role: ServerRole::default(),
            tls: server::SmtpServerTls::Off,
            limits: Limits::default(),
            trace: ProtocolTrace::default(),
        };
        let (place, shutdown) = (ClientPlace::unlimited(), Shutdown::manual());
        let totals = &mut Default::default();
        let _ = server::serve(Stream::Unix(theirs), None, &options, &*service, &place, &shutdown, totals).await;
    });
    (ours, sink, server)
}

/// A wire that carries `up` bytes up and `down` bytes down, and is then cut.
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

/// A server that plays a script: `S:` sends the line, `C:` expects the line, `C*` reads up to the lone dot, `B n` reads
/// n bytes, `W n` waits n milliseconds, `X` sends the rest of the line without a line end. At the end it closes.
pub(super) fn scripted(script: &str) -> (Stream, JoinHandle<()>) {
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

/// Sends one message to a scripted server. Returns the outcomes and the fault of the first.
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
