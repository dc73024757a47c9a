//! Delivery of one message to one next server over a connection that may carry many: connecting, sending in a form that the server
//! accepts, and one outcome per recipient in every case. [`connection`](crate::relay::connection) walks a route of servers.

use std::borrow::Cow;
use std::io::{BufReader, Read as _};
use std::net::SocketAddr;
use std::time::Duration;

use crate::blob::file::BlobWriter;
use crate::fault::{Enhanced, Fault, Kind};
use crate::mail::downgrade::to_seven_bit;
use crate::mail::maildir::{self, Maildir};
use crate::mail::trace::without_return_path;
use crate::net::BoxFuture;
use crate::net::counters::Counter;
use crate::net::deadline::Limits;
use crate::net::dial::Dialer;
use crate::net::stream::{Stream, TlsInfo};
use crate::net::tls::{ClientTls, TlsMode};
use crate::net::trace::ProtocolTrace;
use crate::relay::route::{Hop, HopEndpoint, Protocol};
use crate::smtp::address::Address;
use crate::smtp::client::{BeforeCommit, OpeningFault, SendOptions, SmtpClient, SmtpClientOptions, Times};
use crate::smtp::data::{Content, MessageBlob};
use crate::smtp::extension::Capabilities;
use crate::smtp::transaction::{Accepted, Envelope, Recipient, RecipientOutcome, RecipientResult, all_failed};

/// The common settings of all connections of a run.
#[derive(Debug, Clone)]
pub struct RelayTransport {
    /// The settings for opening connections.
    pub dialer: Dialer,
    /// TLS that checks certificates.
    pub verified_tls: ClientTls,
    /// TLS with any certificate, for connections that would otherwise be in clear text.
    pub opportunistic_tls: ClientTls,
    /// The host name of this MTA.
    pub helo: String,
    /// The time limits for a server.
    pub limits: Limits,
    /// The trace of the dialogue.
    pub trace: ProtocolTrace,
}

/// Facts about a connection, for records.
#[derive(Debug, Clone, Default)]
pub struct NextHopFacts {
    /// The server's name.
    pub host: Option<String>,
    /// Its endpoint: address, socket or Maildir.
    pub endpoint: Option<String>,
    /// Its address.
    pub ip: Option<SocketAddr>,
    /// The negotiated TLS parameters.
    pub tls: Option<TlsInfo>,
    /// True if the certificate was checked.
    pub verified: bool,
    /// The reason why TLS failed, if the connection continued without it.
    pub tls_failed: Option<String>,
    /// True if the server accepts the sender's request for reports (RFC 3461).
    pub dsn: bool,
    /// True if the message has reached its mailbox.
    pub is_final: bool,
}

/// The proof of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryProof {
    /// A server accepted it.
    Accepted(Accepted),
    /// It is in a Maildir, synced.
    Filed(maildir::Delivered),
}

/// The outcome for one recipient at a next server, or in a Maildir.
pub type HopResult = RecipientResult<DeliveryProof>;

/// The outcome of one message for one recipient, and the server that reported it.
#[derive(Debug, Clone)]
pub struct RecipientDelivery {
    /// The outcome.
    pub result: HopResult,
    /// The reporting server.
    pub peer: NextHopFacts,
}

/// The outcome of one message at one server, or at the last of several.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// One per recipient, in the envelope's order.
    pub recipients: Vec<RecipientDelivery>,
    /// The duration of connecting, if there was a new connection.
    pub connect: Option<Duration>,
    /// The durations of the phases at the last server.
    pub times: Times,
    /// The progress along the route.
    pub progress: RouteProgress,
}

/// The progress of a message along the servers of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteProgress {
    /// No server was reached: every other message for this route would fail in the same way.
    Unreached,
    /// A server was reached, and broke off or fell silent before a reply about any recipient.
    Broken,
    /// A server replied about the message.
    Answered,
}

/// The means of connecting to servers: [`RelayTransport`], or a simulation.
pub trait Connector: Send + Sync {
    /// The fault of a server that the user's settings exclude.
    fn excluded(&self, hop: &Hop) -> Option<Fault>;
    /// Opens a connection to a server, at whichever of its addresses answers first: each hop is one of the addresses.
    fn connect<'a>(&'a self, hops: &'a [Hop]) -> BoxFuture<'a, ReachedServer>;
}

/// The results of the addresses of one server. A missing address was not tried.
#[derive(Default)]
pub struct ReachedServer {
    /// The indexes of the failed hops, with their faults.
    pub failed: Vec<(usize, Fault)>,
    /// The hop that was reached.
    pub connection: Option<(usize, NextHopConnection)>,
}

impl ReachedServer {
    /// The result of the hop at this index.
    pub fn add(&mut self, place: usize, opened: Result<NextHopConnection, Fault>) {
        match opened {
            Ok(connection) => self.connection = Some((place, connection)),
            Err(fault) => self.failed.push((place, fault)),
        }
    }
}

/// The dialogue on an open connection.
pub trait NextHopSession: Send {
    /// True if another message can be sent.
    fn is_open(&self) -> bool;
    /// Sends one message: one result for each recipient, in the envelope's order.
    fn send<'a>(
        &'a mut self,
        envelope: &'a Envelope,
        content: &'a dyn Content,
        options: &'a SendOptions<'_>,
    ) -> BoxFuture<'a, Vec<HopResult>>;
    /// The durations of the phases: of connecting, and of the last message.
    fn times(&self) -> Times;
    /// Ends the session with QUIT.
    fn quit(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// An open connection to a server.
pub struct NextHopConnection {
    /// The session in the server's protocol.
    pub session: Box<dyn NextHopSession>,
    /// Facts for records.
    pub peer: NextHopFacts,
}

impl Connector for RelayTransport {
    fn excluded(&self, hop: &Hop) -> Option<Fault> {
        match &hop.endpoint {
            HopEndpoint::Address(address) if !self.dialer.allows(*address) => Some(self.dialer.excluded()),
            _ => None,
        }
    }

    fn connect<'a>(&'a self, hops: &'a [Hop]) -> BoxFuture<'a, ReachedServer> {
        Box::pin(self.reach(hops))
    }
}

impl RelayTransport {
    async fn reach(&self, hops: &[Hop]) -> ReachedServer {
        let mut reached = ReachedServer::default();
        let addresses: Vec<_> = hops.iter().filter_map(Hop::address).collect();
        let [first, ..] = hops else { return reached };
        if addresses.is_empty() {
            reached.add(0, self.dial(first, None).await);
            return reached;
        }
        let place = |address| hops.iter().position(|hop| hop.address() == Some(address)).unwrap_or(0);
        let race = self.dialer.connect_any(addresses).await;
        for (address, fault) in race.failed {
            self.trace.note(&format!("{}: {}", first.name, fault.detail));
            reached.failed.push((place(address), fault));
        }
        if let Some((address, stream)) = race.won {
            let place = place(address);
            let hop = hops.get(place).unwrap_or(first);
            reached.add(place, self.dial(hop, Some(Stream::Plain(stream))).await);
        }
        reached
    }

    /// Opens a connection to one server, over this stream. If opportunistic TLS fails, the connection continues without it.
    async fn dial(&self, hop: &Hop, stream: Option<Stream>) -> Result<NextHopConnection, Fault> {
        let mut peer = NextHopFacts {
            host: Some(hop.name.clone()),
            endpoint: Some(hop.endpoint.to_string()),
            ..NextHopFacts::default()
        };
        if let HopEndpoint::Maildir(path) = &hop.endpoint {
            peer.is_final = true;
            return Ok(NextHopConnection { session: Box::new(Maildir::open(path)?), peer });
        }
        let client = match self.open(hop, stream, hop.policy.tls).await {
            Err(OpeningFault { fault, in_tls: true }) if hop.policy.may_do_without() => {
                self.trace.note(&format!("{}: {}; trying without TLS", hop.name, fault.detail));
                let afresh = self.open(hop, None, TlsMode::None).await;
                let context = |second: Fault| second.context(format!("without TLS, which failed ({})", fault.detail));
                let client = afresh.map_err(|failed| context(failed.fault))?;
                peer.tls_failed = Some(fault.detail);
                client
            }
            other => other.map_err(|failed| failed.fault)?,
        };
        if hop.by_mx && greeted_by(&client, &self.helo) {
            let detail = format!("{} greets with our own name: mail loops back to this host", hop.name);
            return Err(Fault::new(Kind::Refused, detail).with_enhanced(Some(Enhanced::new(5, 4, 6))));
        }
        peer.ip = client.stream().peer_addr();
        peer.tls = client.stream().tls_info();
        peer.verified = peer.tls.is_some() && hop.policy.verify && self.verified_tls.verifies();
        peer.tls_failed =
            peer.tls_failed.or_else(|| client.tls_refusal().map(|reply| format!("STARTTLS: {}", reply.text())));
        peer.dsn = client.capabilities().dsn;
        peer.is_final = hop.protocol == Protocol::Lmtp;
        Ok(NextHopConnection { session: Box::new(client), peer })
    }

    async fn open(&self, hop: &Hop, stream: Option<Stream>, tls: TlsMode) -> Result<SmtpClient, OpeningFault> {
        let stream = match (stream, &hop.endpoint) {
            (Some(stream), _) => stream,
            (None, HopEndpoint::Address(address)) => self.dialer.connect_addr(*address).await?,
            (None, HopEndpoint::Unix(path) | HopEndpoint::Maildir(path)) => {
                let limits = self.limits.with_idle(self.dialer.connect_timeout);
                Stream::Unix(limits.io(&hop.endpoint.to_string(), tokio::net::UnixStream::connect(path)).await?)
            }
        };
        let mut options = SmtpClientOptions::new(
            self.helo.clone(),
            if hop.policy.verify { self.verified_tls.clone() } else { self.opportunistic_tls.clone() },
        );
        options.tls = tls;
        options.login.clone_from(&hop.login);
        options.mechanism = hop.mechanism;
        options.lmtp = hop.protocol == Protocol::Lmtp;
        options.limits = self.limits;
        options.trace = self.trace.clone();
        SmtpClient::establish(stream, hop.name.trim_end_matches('.'), &options).await
    }
}

/// True if the server's greeting begins with this name.
fn greeted_by(client: &SmtpClient, name: &str) -> bool {
    let first = client.greeting().lines.first().and_then(|line| line.split_whitespace().next());
    name.contains('.') && first.is_some_and(|greeted| greeted.eq_ignore_ascii_case(name))
}

impl NextHopSession for SmtpClient {
    fn is_open(&self) -> bool {
        SmtpClient::is_open(self)
    }

    fn send<'a>(
        &'a mut self,
        envelope: &'a Envelope,
        content: &'a dyn Content,
        options: &'a SendOptions<'_>,
    ) -> BoxFuture<'a, Vec<HopResult>> {
        Box::pin(send_fitted(self, envelope, content, options))
    }

    fn times(&self) -> Times {
        SmtpClient::times(self)
    }

    fn quit(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(SmtpClient::quit(*self))
    }
}

impl NextHopSession for Maildir {
    fn is_open(&self) -> bool {
        true
    }

    fn send<'a>(
        &'a mut self,
        envelope: &'a Envelope,
        content: &'a dyn Content,
        options: &'a SendOptions<'_>,
    ) -> BoxFuture<'a, Vec<HopResult>> {
        Box::pin(into_maildir(self, envelope, content, options.before_commit.as_ref()))
    }

    fn times(&self) -> Times {
        Times::default()
    }

    fn quit(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Sends one message in a form that this server accepts.
pub async fn send_fitted(
    client: &mut SmtpClient,
    envelope: &Envelope,
    content: &dyn Content,
    options: &SendOptions<'_>,
) -> Vec<HopResult> {
    let results = match fit(client.capabilities(), envelope, content) {
        Ok((envelope, Some(message))) => client.send(&envelope, &message, options).await,
        Ok((envelope, None)) => client.send(&envelope, content, options).await,
        Err(fault) => return all_failed(envelope, &fault),
    };
    if results.iter().any(|result| result.fault.is_none()) {
        Counter::BytesSent.add(content.size_bytes());
    }
    results.into_iter().map(|result| result.map_proof(DeliveryProof::Accepted)).collect()
}

/// The changed message for a server with these capabilities, if a change is needed: 7 bits without 8BITMIME; a header in
/// encoded-words without SMTPUTF8, if the addresses themselves are ASCII. Signed mail is never changed: 5.6.3.
fn fit<'a>(
    offer: &Capabilities,
    envelope: &'a Envelope,
    content: &dyn Content,
) -> Result<(Cow<'a, Envelope>, Option<MessageBlob>), Fault> {
    let utf8 = offer.smtputf8 && envelope.smtputf8;
    let mut envelope = if utf8 { Cow::Borrowed(envelope) } else { with_ascii_domains(envelope) };
    let letters = envelope.smtputf8 && !offer.smtputf8 && envelope.is_ascii();
    let narrow = content.has_8bit() && (letters || (!offer.eight_bit && !envelope.smtputf8));
    let mut message = None;
    if narrow {
        let mut seven_bit = BlobWriter::temporary();
        to_seven_bit(content, &mut seven_bit)?;
        let blob = seven_bit.finish().map_err(|error| Fault::local("temporary file", &error))?;
        message = Some(MessageBlob { blob, has_8bit: false });
    }
    if letters {
        envelope.to_mut().smtputf8 = false;
    }
    Ok((envelope, message))
}

/// Converts international domains to the form that every server understands (RFC 5890, section 2.3.2.1), if the local part
/// is ASCII.
fn with_ascii_domains(envelope: &Envelope) -> Cow<'_, Envelope> {
    if envelope.is_ascii() {
        return Cow::Borrowed(envelope);
    }
    let mut envelope = envelope.clone();
    if let Some(sender) = envelope.sender.address().and_then(Address::with_ascii_domain) {
        envelope.sender = sender.into();
    }
    for recipient in &mut envelope.recipients {
        if let Some(address) = recipient.address.with_ascii_domain() {
            recipient.address = address;
        }
    }
    Cow::Owned(envelope)
}

async fn into_maildir(
    maildir: &Maildir,
    envelope: &Envelope,
    content: &dyn Content,
    commit: Option<&BeforeCommit>,
) -> Vec<HopResult> {
    let go = match commit {
        Some(asked) => asked().await,
        None => true,
    };
    if !go {
        return all_failed(envelope, &Fault::new(Kind::Cancelled, "stopped before delivery"));
    }
    let mut head = format!("Return-Path: <{}>\r\n", envelope.sender);
    for recipient in &envelope.recipients {
        head.push_str(&format!("X-Original-To: {}\r\n", recipient.address));
    }
    let opened = content.open().and_then(|reader| {
        let mut reader = BufReader::new(reader);
        Ok((without_return_path(&mut reader)?.0, reader))
    });
    let filed = opened
        .map_err(|error| Fault::local("the queued message", &error))
        .and_then(|(header, reader)| maildir.deliver(head.as_bytes(), &mut header.as_slice().chain(reader)));
    let result = |address: &Address| match &filed {
        Ok(delivered) => RecipientResult {
            address: address.clone(),
            outcome: RecipientOutcome::Delivered(DeliveryProof::Filed(delivered.clone())),
            code: None,
            enhanced: Some(Enhanced::new(2, 0, 0)),
            reply: format!("delivered to {}", maildir.path().display()),
            fault: None,
        },
        Err(fault) => failed(address, fault),
    };
    envelope.recipients.iter().map(|recipient| result(&recipient.address)).collect()
}

/// The result for a recipient that no server was asked about.
pub(super) fn failed(address: &Address, fault: &Fault) -> HopResult {
    RecipientResult {
        address: address.clone(),
        outcome: if fault.temporary() || !for_good(fault) {
            RecipientOutcome::Deferred
        } else {
            RecipientOutcome::Refused
        },
        code: fault.reply_code(),
        enhanced: fault.enhanced,
        reply: fault.detail.clone(),
        fault: Some(fault.clone()),
    }
}

/// True if a failure to reach a server is permanent for the recipient: a domain that does not exist, a loop. A broken
/// server, a certificate or a password can be repaired: the message waits.
pub(super) fn for_good(fault: &Fault) -> bool {
    let permanent = fault.enhanced.is_some_and(|code| code.class == 5);
    permanent && fault.reply_code().is_none() && matches!(fault.kind, Kind::NoHost | Kind::Refused)
}

/// The outcomes of a message that cannot reach any server.
pub fn undelivered(envelope: &Envelope, fault: &Fault) -> Delivery {
    let result = |recipient: &Recipient| RecipientDelivery {
        result: failed(&recipient.address, fault),
        peer: NextHopFacts::default(),
    };
    Delivery {
        recipients: envelope.recipients.iter().map(result).collect(),
        connect: None,
        times: Times::default(),
        progress: RouteProgress::Unreached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_changed_only_where_the_server_makes_it_necessary() {
        let plain = "Subject: x\r\n\r\ntext\r\n";
        let body = "Subject: x\r\n\r\nü\r\n";
        let header = "Subject: ü\r\n\r\nü\r\n";
        let signed = "DKIM-Signature: v=1\r\nSubject: ü\r\n\r\nü\r\n";
        // The server's capabilities, the envelope's requests, the message; changed or not, SMTPUTF8 requested or not, or the refusal.
        for (eight, utf8, asked, to, text, expected) in [
            (true, true, true, "b@b.test", header, "as it is, SMTPUTF8"),
            (true, false, true, "b@b.test", header, "in 7 bits"),
            (false, false, true, "b@b.test", header, "in 7 bits"),
            (true, false, true, "b@b.test", plain, "as it is"),
            (true, false, true, "b@bücher.test", header, "in 7 bits"),
            (true, false, false, "b@bücher.test", plain, "as it is"),
            (true, true, true, "b@bücher.test", header, "as it is, SMTPUTF8"),
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
            let found = match fit(&offer, &envelope, &MessageBlob::from(text.as_bytes().to_vec())) {
                Ok((envelope, message)) => {
                    assert!(message.as_ref().is_none_or(|message| !message.has_8bit()));
                    assert!(envelope.smtputf8 || envelope.recipients[0].address.is_ascii());
                    let utf8 = if envelope.smtputf8 { ", SMTPUTF8" } else { "" };
                    format!("{}{utf8}", if message.is_some() { "in 7 bits" } else { "as it is" })
                }
                Err(fault) => fault.enhanced.map(|code| code.to_string()).unwrap_or_default(),
            };
            assert_eq!(found, expected, "8BITMIME {eight}, SMTPUTF8 {utf8}, asked {asked}, {to}, {text}");
        }
    }
}
