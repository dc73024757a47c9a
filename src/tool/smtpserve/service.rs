//! Who may send what to whom, and where it goes.

use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::output::Output;
use crate::cli::users::Users;
use crate::fault::{Fault, Kind};
use crate::mail::maildir::Maildir;
use crate::net::cidr::Network;
use crate::queue::spool::MAX_INLINE;
use crate::queue::store::QueueStore;
use crate::queue::submit;
use crate::smtp::address::{Address, unquote};
use crate::smtp::data::Content;
use crate::smtp::reply::SmtpReply;
use crate::smtp::server::{Answer, Later, Peer, Service};
use crate::smtp::transaction::{Envelope, Recipient};

use super::mailbox::Mailboxes;
use super::record::{Client, Message, Refused};

/// Passwords checked at once: each costs memory and some 20 ms of a processor.
pub(super) const MAX_CONCURRENT_LOGINS: usize = 2;

/// How much of a message is searched for Received fields.
const MAX_HEADER: usize = 1024 * 1024;

/// A message up to this size is queued without a thread that may wait for the disk.
const MAX_AT_ONCE: u64 = MAX_INLINE as u64 / 2;

/// What the command line decided.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) hostname: String,
    pub(super) domains: Vec<String>,
    pub(super) relay_from: Vec<Network>,
    pub(super) max_hops: usize,
}

/// The server's mailboxes, queue and users.
pub(super) struct Store {
    pub(super) policy: Policy,
    pub(super) mailboxes: Option<Arc<Mailboxes>>,
    pub(super) queue: Option<Arc<dyn QueueStore>>,
    pub(super) users: Option<Arc<Users>>,
    pub(super) logins: tokio::sync::Semaphore,
    pub(super) out: Output,
}

/// Where one recipient's mail goes.
enum Goal {
    /// Into the mailbox of this local part and domain.
    Mailbox { local: String, domain: String },
    /// Elsewhere, through the queue.
    Relay,
}

impl Service for Store {
    fn sender<'a>(&'a self, _: &'a Peer, _: &'a str) -> Later<'a, SmtpReply> {
        Box::pin(async { SmtpReply::status(250, 1, 0, "sender ok") })
    }

    fn recipient<'a>(&'a self, peer: &'a Peer, sender: &'a str, recipient: &'a Recipient) -> Later<'a, SmtpReply> {
        Box::pin(async move {
            let reply = self.judge(peer, &recipient.address);
            if !reply.accepts() {
                self.refused("recipient", peer, Some(sender), Some(&recipient.address), &reply);
            }
            reply
        })
    }

    fn login<'a>(&'a self, peer: &'a Peer, user: &'a str, password: &'a str) -> Later<'a, bool> {
        Box::pin(async move {
            let (Some(users), Ok(_permit)) = (self.users.clone(), self.logins.acquire().await) else { return false };
            let (name, password) = (user.to_owned(), password.to_owned());
            let check = tokio::task::spawn_blocking(move || users.verify(&name, &password).is_some());
            let right = check.await.unwrap_or(false);
            if !right {
                let client = Client { user: Some(user), ..client(peer) };
                self.emit_refused(&Refused {
                    what: "login",
                    client,
                    sender: None,
                    recipient: None,
                    code: 535,
                    enhanced: Some("5.7.8".to_owned()),
                    reply: "535 5.7.8 user name or password is wrong".to_owned(),
                });
            }
            right
        })
    }

    fn accept<'a>(&'a self, peer: &'a Peer, envelope: Envelope, content: Box<dyn Content>) -> Later<'a, Answer> {
        Box::pin(async move {
            let content: Arc<dyn Content> = content.into();
            if !peer.lmtp {
                return Answer::All(self.store(peer, envelope, content).await);
            }
            // Each recipient's mailbox has its own word (RFC 2033, section 4.2).
            let mut replies = Vec::with_capacity(envelope.recipients.len());
            for recipient in &envelope.recipients {
                let alone = Envelope { recipients: vec![recipient.clone()], ..envelope.clone() };
                replies.push(self.store(peer, alone, Arc::clone(&content)).await);
            }
            Answer::Each(replies)
        })
    }
}

/// Why a complete message was not taken.
enum Refusal {
    /// So many Received fields.
    Loop(usize),
    /// It could not be stored.
    Fault(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal::Fault(fault)
    }
}

impl Store {
    /// Stores a message and says what became of it, the same for all of its recipients.
    async fn store(&self, peer: &Peer, envelope: Envelope, content: Arc<dyn Content>) -> SmtpReply {
        let sender = envelope.sender.clone();
        let reply = match self.take(peer, envelope, content).await {
            Ok(id) => SmtpReply::status(250, 0, 0, format!("taken as {id}")),
            Err(Refusal::Loop(hops)) => {
                SmtpReply::status(554, 4, 6, format!("{hops} servers had this message: it goes round in circles"))
            }
            Err(Refusal::Fault(fault)) => {
                self.out.error("message", &fault);
                SmtpReply::status(451, 3, 0, "cannot be stored now")
            }
        };
        if !reply.accepts() {
            self.refused("message", peer, Some(&sender), None, &reply);
        }
        reply
    }

    /// The answer to RCPT.
    fn judge(&self, peer: &Peer, address: &str) -> SmtpReply {
        match self.goal(address) {
            Goal::Relay if self.may_relay(peer) => SmtpReply::status(250, 1, 5, "recipient ok, will be relayed"),
            Goal::Relay => {
                SmtpReply::status(550, 7, 1, "relaying denied: not a domain of ours, and you are not logged in")
            }
            Goal::Mailbox { local, domain } => match &self.mailboxes {
                None => SmtpReply::status(550, 1, 1, "no such mailbox"),
                Some(mailboxes) => match mailboxes.find(&local, &domain) {
                    Ok(Some(_)) => SmtpReply::status(250, 1, 5, "recipient ok"),
                    Ok(None) => SmtpReply::status(550, 1, 1, "no such mailbox"),
                    Err(fault) => {
                        self.out.error(address, &fault);
                        SmtpReply::status(451, 2, 0, "mailbox cannot be looked up now")
                    }
                },
            },
        }
    }

    fn goal(&self, address: &str) -> Goal {
        let first = || self.policy.domains.first().cloned().unwrap_or_default();
        match Address::parse(address, true) {
            // Only `postmaster` comes without a domain.
            Err(_) => Goal::Mailbox { local: unquote(address).into_owned(), domain: first() },
            Ok(address) => {
                let domain = idna::domain_to_ascii(address.domain()).unwrap_or_else(|_| address.domain().to_owned());
                match self.policy.domains.contains(&domain) {
                    true => Goal::Mailbox { local: address.local().into_owned(), domain },
                    false => Goal::Relay,
                }
            }
        }
    }

    fn may_relay(&self, peer: &Peer) -> bool {
        let from = peer.address.map(|address| address.ip().to_canonical());
        let trusted = from.is_some_and(|ip| self.policy.relay_from.iter().any(|network| network.contains(ip)));
        self.queue.is_some() && (peer.user.is_some() || trusted)
    }

    /// Puts the message where it belongs. When this returns Ok it is on disk everywhere: the mailboxes are staged before
    /// the queue commits, and renamed after it, so that a full disk leaves nothing anywhere.
    async fn take(&self, peer: &Peer, envelope: Envelope, content: Arc<dyn Content>) -> Result<String, Refusal> {
        let size_bytes = content.size_bytes();
        let id = new_id();
        let received = self.received(peer, &envelope, &id);
        let (mut local, mut remote) = (Vec::new(), Vec::new());
        for recipient in &envelope.recipients {
            match self.goal(&recipient.address) {
                Goal::Mailbox { local: name, domain } => local.push((recipient.address.clone(), name, domain)),
                Goal::Relay => remote.push(recipient.clone()),
            }
        }
        let return_path = format!("Return-Path: <{}>\r\n", envelope.sender);
        let head = format!("{return_path}{received}").into_bytes();
        let queue = self.queue.clone().filter(|_| !remote.is_empty());
        let outgoing = Envelope { recipients: remote, ..envelope.clone() };
        let max_hops = self.policy.max_hops;
        let (files, queue_id) = match queue {
            // All of it is in memory, and the queue has a thread of its own for its disk.
            Some(queue) if local.is_empty() && content.in_memory().is_some() && size_bytes <= MAX_AT_ONCE => {
                check_hops(&*content, max_hops)?;
                let message = submit::message(&*queue, &outgoing, received.as_bytes(), &*content)?;
                let ids = queue.enqueue(vec![message]).await?;
                (Vec::new(), ids.first().map(ToString::to_string))
            }
            queue => {
                let (mailboxes, handle) = (self.mailboxes.clone(), tokio::runtime::Handle::current());
                let work = move || -> Result<(Vec<PathBuf>, Option<String>), Refusal> {
                    check_hops(&*content, max_hops)?;
                    let mut goals = Vec::new();
                    for (address, name, domain) in &local {
                        let gone = || Fault::new(Kind::Io, format!("{address}: the mailbox is gone"));
                        let mailboxes = mailboxes.as_ref().ok_or_else(gone)?;
                        let path = mailboxes.find(name, domain)?.ok_or_else(gone)?;
                        // bob and bob+shop are one mailbox: one copy.
                        if !goals.iter().any(|goal: &Maildir| goal.path() == path) {
                            goals.push(mailboxes.maildir(&path)?);
                        }
                    }
                    let mut staged = Vec::new();
                    for maildir in &goals {
                        let mut reader = content.open().map_err(|error| Fault::local("message", &error))?;
                        staged.push(maildir.stage(&head, &mut reader)?);
                    }
                    let mut queue_id = None;
                    if let Some(queue) = queue {
                        let message = submit::message(&*queue, &outgoing, received.as_bytes(), &*content)?;
                        let ids = handle.block_on(queue.enqueue(vec![message]))?;
                        queue_id = ids.first().map(ToString::to_string);
                    }
                    let mut files = Vec::new();
                    for message in staged {
                        files.push(message.commit()?.path);
                    }
                    Ok((files, queue_id))
                };
                let internal = |_| Fault::new(Kind::Internal, "storing a message failed");
                tokio::task::spawn_blocking(work).await.map_err(internal)??
            }
        };
        let shown = queue_id.clone().unwrap_or_else(|| id.clone());
        let record = Message {
            id: &id,
            queue_id,
            client: client(peer),
            sender: &envelope.sender,
            recipients: envelope.recipients.iter().map(|recipient| recipient.address.as_str()).collect(),
            files: files.iter().map(|file| file.to_string_lossy().into_owned()).collect(),
            size_bytes,
        };
        let who = record.recipients.join(", ");
        self.out.note(&format!("{shown}: {size_bytes} bytes from <{}> for {who}", record.sender));
        // A server whose reader went away keeps serving.
        let _ = self.out.emit(&record);
        Ok(shown)
    }

    /// The trace field (RFC 5321, section 4.4; the protocol's name by RFC 3848 and 6531).
    fn received(&self, peer: &Peer, envelope: &Envelope, id: &str) -> String {
        let base = match (peer.lmtp, envelope.smtputf8, peer.extended) {
            (true, true, _) => "UTF8LMTP",
            (true, false, _) => "LMTP",
            (false, true, _) => "UTF8SMTP",
            (false, false, true) => "ESMTP",
            (false, false, false) => "SMTP",
        };
        let secure = if peer.tls.is_some() { "S" } else { "" };
        let login = if peer.user.is_some() { "A" } else { "" };
        let from = match peer.address.map(|address| address.ip().to_canonical()) {
            Some(IpAddr::V4(ip)) => format!(" ([{ip}])"),
            Some(IpAddr::V6(ip)) => format!(" ([IPv6:{ip}])"),
            None => String::new(),
        };
        // One recipient may be named; of several, each would learn of the others.
        let to = match envelope.recipients.as_slice() {
            [one] => format!("\r\n\tfor <{}>", one.address),
            _ => String::new(),
        };
        let date = jiff::fmt::rfc2822::to_string(&crate::cli::clock::now()).unwrap_or_default();
        let host = &self.policy.hostname;
        format!(
            "Received: from {}{from}\r\n\tby {host} with {base}{secure}{login} id {id}{to};\r\n\t{date}\r\n",
            peer.helo
        )
    }

    fn refused(
        &self,
        what: &'static str,
        peer: &Peer,
        sender: Option<&str>,
        recipient: Option<&str>,
        reply: &SmtpReply,
    ) {
        self.emit_refused(&Refused {
            what,
            client: client(peer),
            sender,
            recipient,
            code: reply.code,
            enhanced: reply.enhanced.map(|enhanced| enhanced.to_string()),
            reply: reply.text(),
        });
    }

    fn emit_refused(&self, record: &Refused<'_>) {
        let whom = record.recipient.or(record.sender).or(record.client.user).unwrap_or_default();
        let from = record.client.ip.as_deref().unwrap_or("a local client");
        self.out.note(&format!("{from}: refused {} {whom}: {}", record.what, record.reply));
        let _ = self.out.emit(record);
    }
}

fn client(peer: &Peer) -> Client<'_> {
    Client {
        ip: peer.address.map(|address| address.ip().to_canonical().to_string()),
        helo: &peer.helo,
        tls: peer.tls.as_deref(),
        user: peer.user.as_deref(),
    }
}

/// A name for the message in our Received field and answer.
fn new_id() -> String {
    let mut random = [0; 4];
    // Without randomness the time alone has to do: the id is for people and logs.
    let _ = getrandom::fill(&mut random);
    let now = crate::net::clock::unix_micros();
    format!("{now:x}.{:08x}", u32::from_ne_bytes(random))
}

fn check_hops(content: &dyn Content, max_hops: usize) -> Result<(), Refusal> {
    let hops = count_received(content)?;
    if hops < max_hops { Ok(()) } else { Err(Refusal::Loop(hops)) }
}

/// How many servers had the message: the Received fields in its header.
fn count_received(content: &dyn Content) -> Result<usize, Fault> {
    let failed = |error: std::io::Error| Fault::local("message", &error);
    let start;
    let header = match content.in_memory() {
        Some(bytes) => bytes,
        None => {
            let mut bytes = Vec::new();
            content.open().map_err(failed)?.take(MAX_HEADER as u64).read_to_end(&mut bytes).map_err(failed)?;
            start = bytes;
            &start
        }
    };
    let end = memchr::memmem::find(header, b"\r\n\r\n").unwrap_or(header.len()).min(MAX_HEADER);
    let lines = header.get(..end).unwrap_or_default().split(|byte| *byte == b'\n');
    let is_received = |line: &&[u8]| line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"received:"));
    Ok(lines.filter(is_received).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::data::Bytes;

    #[test]
    fn received_fields_are_counted_in_the_header_only() {
        let message = b"Received: a\r\n\tby b\r\nreceived: b\r\nX-Received: c\r\n\r\nReceived: body\r\n";
        assert_eq!(count_received(&Bytes(message.to_vec())).unwrap(), 2);
        assert_eq!(count_received(&Bytes(Vec::new())).unwrap(), 0);
    }
}
