//! One message to the next server over a connection that may carry many: connecting along a route, sending, and one
//! outcome per recipient whatever happens.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::fault::{Enhanced, Fault, Kind};
use crate::mail::downgrade::to_seven_bit;
use crate::mail::maildir::Maildir;
use crate::mail::message::Message;
use crate::net::deadline::Limits;
use crate::net::dial::Dialer;
use crate::net::stream::{Stream, TlsInfo};
use crate::net::tls::{ClientTls, TlsMode};
use crate::net::trace::Trace;
use crate::relay::route::{Hop, Place, Protocol};
use crate::smtp::client::{BeforeCommit, Client, Options, SendOptions, Times};
use crate::smtp::data::Content;
use crate::smtp::extension::Capabilities;
use crate::smtp::transaction::{Envelope, Outcome, RecipientResult, all_failed};

/// A message with more `Received` fields than this goes round in circles (RFC 5321, section 6.3).
pub const MAX_RECEIVED: usize = 100;
/// Servers of one route that are tried for one message before it is deferred.
pub const MAX_SESSIONS: usize = 5;

/// What all connections of a run have in common.
#[derive(Debug, Clone)]
pub struct Transport {
    /// How connections are opened.
    pub dialer: Dialer,
    /// TLS that checks certificates.
    pub tls_checked: ClientTls,
    /// TLS with any certificate, for what would otherwise go in clear text.
    pub tls_any: ClientTls,
    /// Our name.
    pub helo: String,
    /// How long a server may take.
    pub limits: Limits,
    /// Where the dialogue is shown.
    pub trace: Trace,
}

/// Facts about a connection, for records.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The server's name.
    pub host: Option<String>,
    /// Where it is.
    pub place: Option<String>,
    /// Its address.
    pub ip: Option<SocketAddr>,
    /// What TLS settled.
    pub tls: Option<TlsInfo>,
    /// True when the certificate was checked.
    pub verified: bool,
    /// True when the server takes over the sender's wish for reports (RFC 3461).
    pub dsn: bool,
    /// True when the message has come to its mailbox.
    pub is_final: bool,
}

/// What became of one message at one server, or at the last of several.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// One for each recipient, in the envelope's order.
    pub results: Vec<RecipientResult>,
    /// The server that each result is from.
    pub peers: Vec<Peer>,
    /// How long connecting took, if there was a new connection.
    pub connect: Option<Duration>,
    /// How long the phases took at the last server.
    pub times: Times,
    /// True when no server was reached at all: every other message for this route would fare the same.
    pub unreachable: bool,
}

/// An open way to a server.
pub struct Connection {
    way: Way,
    /// Facts for records.
    pub peer: Peer,
    /// Messages sent so far.
    pub sent: u64,
}

enum Way {
    Smtp(Box<Client>),
    Maildir(Maildir),
}

impl Transport {
    /// Opens a connection to one server. TLS that was only wanted if possible, and fails, is done without.
    pub async fn connect(&self, hop: &Hop) -> Result<Connection, Fault> {
        let mut peer = Peer { host: Some(hop.name.clone()), place: Some(hop.place.to_string()), ..Peer::default() };
        if let Place::Maildir(path) = &hop.place {
            peer.is_final = true;
            let maildir = Maildir::open(path).map_err(|fault| Fault { kind: Kind::Locked, ..fault })?;
            return Ok(Connection { way: Way::Maildir(maildir), peer, sent: 0 });
        }
        let client = match self.open(hop, hop.policy.tls).await {
            Err(fault) if may_do_without_tls(hop, &fault) => {
                self.trace.note(&format!("{}: {}; trying without TLS", hop.name, fault.detail));
                self.open(hop, TlsMode::None).await?
            }
            other => other?,
        };
        if hop.by_mx && greeted_by(&client, &self.helo) {
            let detail = format!("{} greets with our own name: mail loops back to this host", hop.name);
            return Err(Fault::new(Kind::Refused, detail).with_enhanced(Some(Enhanced::new(5, 4, 6))));
        }
        peer.ip = client.stream().peer_addr();
        peer.tls = client.stream().tls_info();
        peer.verified = peer.tls.is_some() && hop.policy.verify && self.tls_checked.verifies();
        peer.dsn = client.capabilities().dsn;
        peer.is_final = hop.protocol == Protocol::Lmtp;
        Ok(Connection { way: Way::Smtp(Box::new(client)), peer, sent: 0 })
    }

    async fn open(&self, hop: &Hop, tls: TlsMode) -> Result<Client, Fault> {
        let stream = match &hop.place {
            Place::Address(address) if !self.dialer.family.allows(address.ip()) => {
                return Err(Fault::new(Kind::Unreachable, "its address family is not to be used"));
            }
            Place::Address(address) => self.dialer.connect_addr(*address).await?,
            Place::Unix(path) | Place::Maildir(path) => {
                let limits = self.limits.with_idle(self.dialer.connect_timeout);
                Stream::Unix(limits.io(&hop.place.to_string(), tokio::net::UnixStream::connect(path)).await?)
            }
        };
        let mut options = Options::new(
            self.helo.clone(),
            if hop.policy.verify { self.tls_checked.clone() } else { self.tls_any.clone() },
        );
        options.tls = tls;
        options.login.clone_from(&hop.login);
        options.lmtp = hop.protocol == Protocol::Lmtp;
        options.limits = self.limits;
        options.trace = self.trace.clone();
        Client::open(stream, hop.name.trim_end_matches('.'), &options).await
    }
}

/// Opportunistic TLS that does not come about is no reason to keep the message (RFC 7435).
fn may_do_without_tls(hop: &Hop, fault: &Fault) -> bool {
    hop.policy.tls == TlsMode::Try
        && !hop.policy.verify
        && hop.login.is_none()
        && fault.code.is_none()
        && matches!(fault.kind, Kind::TlsUntrusted | Kind::Protocol)
}

/// True when the server greets with this name.
fn greeted_by(client: &Client, name: &str) -> bool {
    let first = client.greeting().lines.first().and_then(|line| line.split_whitespace().next());
    name.contains('.') && first.is_some_and(|greeted| greeted.eq_ignore_ascii_case(name))
}

impl Connection {
    /// True if another message can be sent.
    pub fn is_open(&self) -> bool {
        match &self.way {
            Way::Smtp(client) => client.is_open(),
            Way::Maildir(_) => true,
        }
    }

    /// Sends one message.
    pub async fn send(
        &mut self,
        envelope: &Envelope,
        content: &dyn Content,
        options: &SendOptions<'_>,
    ) -> Vec<RecipientResult> {
        self.sent += 1;
        match &mut self.way {
            Way::Smtp(client) => send_fitted(client, envelope, content, options).await,
            Way::Maildir(maildir) => into_maildir(maildir, envelope, content, options.before_commit.as_ref()).await,
        }
    }

    /// How long the phases of the last message took.
    pub fn times(&self) -> Times {
        match &self.way {
            Way::Smtp(client) => client.times(),
            Way::Maildir(_) => Times::default(),
        }
    }

    /// Says goodbye.
    pub async fn quit(self) {
        if let Way::Smtp(client) = self.way {
            client.quit().await;
        }
    }
}

/// Sends one message the way this server can take it.
pub async fn send_fitted(
    client: &mut Client,
    envelope: &Envelope,
    content: &dyn Content,
    options: &SendOptions<'_>,
) -> Vec<RecipientResult> {
    match fit(client.capabilities(), envelope, content) {
        Ok((envelope, Some(message))) => client.send(&envelope, &message, options).await,
        Ok((envelope, None)) => client.send(&envelope, content, options).await,
        Err(fault) => all_failed(envelope, &fault),
    }
}

/// The message for a server with these capabilities, if it must be another: in 7 bits without 8BITMIME; its header in
/// encoded-words without SMTPUTF8, as long as the addresses themselves are ASCII. Signed mail is never changed: 5.6.3.
fn fit<'a>(
    offer: &Capabilities,
    envelope: &'a Envelope,
    content: &dyn Content,
) -> Result<(Cow<'a, Envelope>, Option<Message>), Fault> {
    let mut addresses = std::iter::once(&envelope.sender).chain(envelope.recipients.iter().map(|to| &to.address));
    let letters = envelope.smtputf8 && !offer.smtputf8 && addresses.all(|address| address.is_ascii());
    let narrow = content.has_8bit() && (letters || (!offer.eight_bit && !envelope.smtputf8));
    let message = if narrow { Some(to_seven_bit(content)?) } else { None };
    let envelope = match letters {
        true => Cow::Owned(Envelope { smtputf8: false, ..envelope.clone() }),
        false => Cow::Borrowed(envelope),
    };
    Ok((envelope, message))
}

async fn into_maildir(
    maildir: &Maildir,
    envelope: &Envelope,
    content: &dyn Content,
    commit: Option<&BeforeCommit>,
) -> Vec<RecipientResult> {
    let go = match commit {
        Some(asked) => asked().await,
        None => true,
    };
    let fault = if !go {
        Some(Fault::new(Kind::Cancelled, "stopped before delivery"))
    } else {
        let head = format!("Return-Path: <{}>\r\n", envelope.sender);
        let delivered = content
            .open()
            .map_err(|error| Fault::local("the queued message", &error))
            .and_then(|mut reader| maildir.deliver(head.as_bytes(), &mut *reader));
        // A full disk or a missing right today is no reason to return the mail.
        delivered.err().map(|fault| Fault { kind: Kind::Locked, ..fault })
    };
    let result = |address: &String| match &fault {
        None => RecipientResult {
            address: address.clone(),
            outcome: Outcome::Delivered,
            code: None,
            enhanced: Some(Enhanced::new(2, 0, 0)),
            reply: format!("delivered to {}", maildir.path().display()),
            fault: None,
        },
        Some(fault) => failed(address, fault),
    };
    envelope.recipients.iter().map(|recipient| result(&recipient.address)).collect()
}

/// The result for a recipient whom no server was asked about.
fn failed(address: &str, fault: &Fault) -> RecipientResult {
    RecipientResult {
        address: address.to_owned(),
        outcome: if fault.temporary() || !for_good(fault) { Outcome::Deferred } else { Outcome::Refused },
        // A code of the DNS is no reply.
        code: fault.code.filter(|code| *code >= 200),
        enhanced: fault.enhanced,
        reply: fault.detail.clone(),
        fault: Some(fault.clone()),
    }
}

/// Which failures to reach a server say something about the recipient: a domain that does not exist, a loop. A broken
/// server, a certificate or a password are somebody's to repair: the message waits.
fn for_good(fault: &Fault) -> bool {
    let permanent = fault.enhanced.is_some_and(|code| code.class == 5);
    permanent && fault.code.is_none_or(|code| code < 200) && matches!(fault.kind, Kind::NoHost | Kind::Refused)
}

/// What a message fares that cannot be brought to any server.
pub fn undelivered(envelope: &Envelope, fault: &Fault) -> Delivery {
    let results: Vec<_> = envelope.recipients.iter().map(|recipient| failed(&recipient.address, fault)).collect();
    let peers = vec![Peer::default(); results.len()];
    Delivery { results, peers, connect: None, times: Times::default(), unreachable: true }
}

/// True when the header shows that the message has gone through too many servers.
pub fn goes_in_circles(content: &dyn Content) -> bool {
    use std::io::{BufRead as _, BufReader, Read as _};
    const MAX_HEADER: u64 = 256 * 1024;
    let mut count = 0;
    if let Some(bytes) = content.in_memory() {
        let header = memchr::memmem::find(bytes, b"\r\n\r\n").and_then(|end| bytes.get(..end + 2)).unwrap_or(bytes);
        let first = header.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"Received:"));
        count = usize::from(first);
        for end in memchr::memchr_iter(b'\n', header) {
            let name = header.get(end + 1..end + 10);
            count += usize::from(name.is_some_and(|name| name.eq_ignore_ascii_case(b"Received:")));
        }
        return count > MAX_RECEIVED;
    }
    let Ok(reader) = content.open() else { return false };
    for line in BufReader::new(reader.take(MAX_HEADER)).split(b'\n') {
        match line {
            Ok(line) if line.len() <= 1 => break,
            Ok(line) => count += usize::from(line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"Received:"))),
            Err(_) => break,
        }
    }
    count > MAX_RECEIVED
}

/// Which servers of a route are worth trying now, across all routes of a run.
pub trait Health: Send + Sync {
    /// The reason why this server is not to be tried now.
    fn down(&self, place: &Place) -> Option<Fault>;
    /// A connection failed or came about.
    fn note(&self, place: &Place, failed: Option<&Fault>);
}

/// A way to one destination: a route, and the connection to the server that answered last.
pub struct Lane {
    hops: Vec<Hop>,
    open: Option<(usize, Connection)>,
}

impl Lane {
    /// A lane along this route, without a connection yet.
    pub fn new(hops: Vec<Hop>) -> Lane {
        Lane { hops, open: None }
    }

    /// True when a connection is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Brings one message to the first server of the route that takes it: over the open connection if there is one, else
    /// by order. A server that cannot be reached or says "later" is followed by the next one; recipients that one server
    /// settled are not offered to another. `options.next` is used only where the whole message goes to one server.
    pub async fn deliver(
        &mut self,
        transport: &Transport,
        health: &dyn Health,
        envelope: &Envelope,
        content: &dyn Content,
        options: &SendOptions<'_>,
    ) -> Delivery {
        if goes_in_circles(content) {
            let detail = format!("more than {MAX_RECEIVED} Received fields: mail loop");
            let fault = Fault::new(Kind::Refused, detail).with_enhanced(Some(Enhanced::new(5, 4, 6)));
            return Delivery { unreachable: false, ..undelivered(envelope, &fault) };
        }
        let mut attempt = Attempt::new(envelope);
        let mut tried_afresh = false;
        let mut index = self.open.as_ref().map_or(0, |(index, _)| *index);
        let mut sessions = 0;
        while let Some(hop) = self.hops.get(index).filter(|_| sessions < MAX_SESSIONS) {
            let began = Instant::now();
            let reused = self.open.is_some();
            let mut connection = match self.open.take() {
                Some((_, connection)) => connection,
                None => match self.connect(transport, health, hop).await {
                    Ok(connection) => {
                        attempt.delivery.connect = Some(began.elapsed());
                        connection
                    }
                    Err(fault) => {
                        attempt.unreached(hop, &fault);
                        // A loop or a missing domain is not cured by the next server.
                        if for_good(&fault) {
                            break;
                        }
                        index += 1;
                        continue;
                    }
                },
            };
            let rest = attempt.rest();
            let whole = rest.recipients.len() == envelope.recipients.len();
            let options = SendOptions { next: options.next.filter(|_| whole), ..options.clone() };
            sessions += 1;
            let results = connection.send(&rest, content, &options).await;
            attempt.delivery.times = connection.times();
            let broken = results.iter().any(|result| lost(result) && result.outcome == Outcome::Deferred);
            attempt.reached(results, &connection.peer);
            if connection.is_open() {
                self.open = Some((index, connection));
            } else if broken && reused && !tried_afresh {
                // The server had closed the idle connection: the same server gets the message over a fresh one.
                tried_afresh = true;
                continue;
            }
            if attempt.is_settled() || !options_allow_another(&attempt) {
                break;
            }
            if let Some((_, connection)) = self.open.take() {
                connection.quit().await;
            }
            index += 1;
        }
        attempt.delivery
    }

    async fn connect(&self, transport: &Transport, health: &dyn Health, hop: &Hop) -> Result<Connection, Fault> {
        if let Some(fault) = health.down(&hop.place) {
            return Err(fault);
        }
        let connected = transport.connect(hop).await;
        health.note(&hop.place, connected.as_ref().err());
        connected
    }

    /// Says goodbye.
    pub async fn quit(self) {
        if let Some((_, connection)) = self.open {
            connection.quit().await;
        }
    }
}

/// True when the result is about the connection, not about the recipient.
fn lost(result: &RecipientResult) -> bool {
    result.code == Some(421)
        || (result.code.is_none()
            && result.fault.as_ref().is_some_and(|fault| fault.kind != Kind::Cancelled && fault.temporary()))
}

/// No other server is asked after a stop by the lease's owner.
fn options_allow_another(attempt: &Attempt<'_>) -> bool {
    !attempt
        .delivery
        .results
        .iter()
        .any(|result| result.fault.as_ref().is_some_and(|fault| fault.kind == Kind::Cancelled))
}

/// One message on its way along a route.
struct Attempt<'a> {
    envelope: &'a Envelope,
    delivery: Delivery,
    /// Recipients without a final word, by their place in the envelope.
    open: Vec<usize>,
}

impl<'a> Attempt<'a> {
    fn new(envelope: &'a Envelope) -> Attempt<'a> {
        let fault = Fault::new(Kind::Unreachable, "no server to try").with_enhanced(Some(Enhanced::new(4, 4, 1)));
        Attempt { envelope, delivery: undelivered(envelope, &fault), open: (0..envelope.recipients.len()).collect() }
    }

    fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// The envelope with the recipients that are still open.
    fn rest(&self) -> Envelope {
        let recipients = self.open.iter().filter_map(|at| self.envelope.recipients.get(*at)).cloned().collect();
        Envelope { recipients, ..self.envelope.clone() }
    }

    fn unreached(&mut self, hop: &Hop, fault: &Fault) {
        let fault = if fault.enhanced.is_some() {
            fault.clone()
        } else {
            fault.clone().with_enhanced(Some(Enhanced::new(4, 4, 1)))
        };
        let fault = fault.context(format!("{} ({})", hop.name, hop.place));
        let peer = Peer { host: Some(hop.name.clone()), place: Some(hop.place.to_string()), ..Peer::default() };
        for at in self.open.clone() {
            // What a server said about a recipient stays, unless nothing was said yet.
            let silent = self.delivery.results.get(at).is_none_or(|result| result.code.is_none());
            let address = self.envelope.recipients.get(at).map_or("", |recipient| recipient.address.as_str());
            if let (true, Some(result), Some(known)) =
                (silent, self.delivery.results.get_mut(at), self.delivery.peers.get_mut(at))
            {
                *result = failed(address, &fault);
                *known = peer.clone();
            }
        }
    }

    fn reached(&mut self, results: Vec<RecipientResult>, peer: &Peer) {
        self.delivery.unreachable = false;
        let open = std::mem::take(&mut self.open);
        for (at, result) in open.into_iter().zip(results) {
            if result.outcome == Outcome::Deferred {
                self.open.push(at);
            }
            if let (Some(slot), Some(known)) = (self.delivery.results.get_mut(at), self.delivery.peers.get_mut(at)) {
                *slot = result;
                *known = peer.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::data::Bytes;
    use crate::smtp::transaction::Recipient;

    #[test]
    fn a_message_is_changed_only_where_the_server_makes_it_necessary() {
        let plain = "Subject: x\r\n\r\ntext\r\n";
        let body = "Subject: x\r\n\r\nü\r\n";
        let header = "Subject: ü\r\n\r\nü\r\n";
        let signed = "DKIM-Signature: v=1\r\nSubject: ü\r\n\r\nü\r\n";
        // What the server offers, what the envelope asks, the message; changed, SMTPUTF8 asked, or the refusal.
        for (eight, utf8, asked, to, text, expected) in [
            (true, true, true, "b@b.test", header, "as it is, SMTPUTF8"),
            (true, false, true, "b@b.test", header, "in 7 bits"),
            (false, false, true, "b@b.test", header, "in 7 bits"),
            (true, false, true, "b@b.test", plain, "as it is"),
            (true, false, true, "ü@b.test", header, "as it is, SMTPUTF8"),
            (true, false, false, "b@b.test", body, "as it is"),
            (false, false, false, "b@b.test", body, "in 7 bits"),
            (false, false, false, "b@b.test", plain, "as it is"),
            (true, false, true, "b@b.test", signed, "5.6.3"),
            (false, true, false, "b@b.test", signed, "5.6.3"),
            (true, true, true, "b@b.test", signed, "as it is, SMTPUTF8"),
        ] {
            let offer = Capabilities { eight_bit: eight, smtputf8: utf8, ..Capabilities::default() };
            let recipients = vec![Recipient::new(to)];
            let envelope = Envelope { sender: "a@a.test".into(), recipients, smtputf8: asked, ..Envelope::default() };
            let found = match fit(&offer, &envelope, &Bytes(text.as_bytes().to_vec())) {
                Ok((envelope, message)) => {
                    assert!(message.as_ref().is_none_or(|message| !message.has_8bit()));
                    let utf8 = if envelope.smtputf8 { ", SMTPUTF8" } else { "" };
                    format!("{}{utf8}", if message.is_some() { "in 7 bits" } else { "as it is" })
                }
                Err(fault) => fault.enhanced.map(|code| code.to_string()).unwrap_or_default(),
            };
            assert_eq!(found, expected, "8BITMIME {eight}, SMTPUTF8 {utf8}, asked {asked}, {to}, {text}");
        }
    }
}
