//! The rules for senders and recipients, and the delivery of accepted mail.

use std::io::{BufReader, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::blob::Blob;
use crate::blob::file::BlobWriter;
use crate::cli::login_gate::LoginGate;
use crate::cli::output::Output;
use crate::cli::users::Users;
use crate::fault::{Fault, Kind};
use crate::mail::trace::count_received;
use crate::net::BoxFuture;
use crate::net::cidr::Network;
use crate::net::counters::Counter;
use crate::net::login::LoginVerdict;
use crate::net::reload::Reloaded;
use crate::queue::store::{MAX_INLINE, QueueStore};
use crate::queue::submit;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::data::MessageBlob;
use crate::smtp::reply::SmtpReply;
use crate::smtp::server::{MessageVerdict, SmtpPeer, SmtpService};
use crate::smtp::transaction::{Envelope, Recipient};

use super::copies::{self, LocalRecipient};
use super::mailbox::Mailboxes;
use super::notice;
use super::record::{ClientRecord, LoginTried, MessageTaken, Refused};
use super::room::DiskRoom;
use super::strangers::StrangerArgs;

/// The most bytes of a message for mailboxes that are kept in memory while it arrives.
const MAX_MEMORY: usize = 256 * 1024;

/// The largest message that is queued without a thread that may wait for the disk, in bytes.
const MAX_AT_ONCE: u64 = MAX_INLINE as u64 / 2;

/// The rules of the command line.
#[derive(Debug)]
pub(super) struct ReceivePolicy {
    pub(super) hostname: String,
    pub(super) domains: Vec<String>,
    pub(super) relay_from: Vec<Network>,
    pub(super) max_hops: usize,
    pub(super) strangers: StrangerArgs,
}

/// The server's mailboxes, queue and users.
pub(super) struct MailReceiver {
    pub(super) policy: ReceivePolicy,
    pub(super) mailboxes: Option<Arc<Mailboxes>>,
    pub(super) queue: Option<Arc<dyn QueueStore>>,
    pub(super) users: Option<Reloaded<Users>>,
    pub(super) gate: LoginGate,
    pub(super) room: DiskRoom,
    pub(super) out: Output,
}

/// The destination of the mail for one recipient.
#[derive(Debug, Clone)]
enum DeliverTo {
    /// A mailbox on this server.
    Mailbox(LocalRecipient),
    /// Another server, through the queue.
    Queue,
}

/// The decisions about one message while it arrives.
#[derive(Debug, Default)]
pub(super) struct MailTransaction {
    /// The destinations: one per recipient of the envelope, in its order.
    destinations: Vec<DeliverTo>,
    /// The message's id, and the length of the trace field before the message. `None` if each recipient has its own trace field.
    traced: Option<(String, u64)>,
}

/// A complete message, for all or one of its recipients.
struct Arrived {
    id: String,
    envelope: Envelope,
    destinations: Vec<DeliverTo>,
    /// The message, which may have the trace field before it.
    blob: Blob,
    /// The length of the trace field at the start of the blob.
    trace_bytes: u64,
    /// The trace field, if it is not in the blob; else empty.
    trace: String,
}

impl SmtpService for MailReceiver {
    type Transaction = MailTransaction;

    fn greet_pause(&self) -> Duration {
        self.policy.strangers.greet_pause
    }

    fn sender<'a>(&'a self, peer: &'a SmtpPeer, sender: &'a ReversePath, bytes: u64) -> BoxFuture<'a, SmtpReply> {
        Box::pin(async move {
            if let Some(why) = self
                .policy
                .strangers
                .objection(&peer.helo, &self.policy.hostname, &self.policy.domains)
                .filter(|_| !self.is_known(peer))
            {
                let reply = SmtpReply::status(550, 7, 1, why);
                self.refused("sender", peer, Some(sender), None, &reply);
                return reply;
            }
            if self.room.is_left(bytes).await {
                return SmtpReply::status(250, 1, 0, "sender ok");
            }
            self.no_room("sender", peer, sender)
        })
    }

    fn recipient<'a>(
        &'a self,
        peer: &'a SmtpPeer,
        sender: &'a ReversePath,
        recipient: &'a Recipient,
        transaction: &'a mut MailTransaction,
    ) -> BoxFuture<'a, SmtpReply> {
        Box::pin(async move {
            match self.decide(peer, &recipient.address).await {
                Ok(destination) => {
                    let relayed = matches!(destination, DeliverTo::Queue);
                    transaction.destinations.push(destination);
                    let words = if relayed { "recipient ok, will be relayed" } else { "recipient ok" };
                    SmtpReply::status(250, 1, 5, words)
                }
                Err(reply) => {
                    self.refused("recipient", peer, Some(sender), Some(&recipient.address), &reply);
                    reply
                }
            }
        })
    }

    fn login<'a>(&'a self, peer: &'a SmtpPeer, user: &'a str, password: &'a str) -> BoxFuture<'a, LoginVerdict<()>> {
        Box::pin(async move {
            let Some(users) = &self.users else { return LoginVerdict::Wrong };
            let ip = peer.address.map(|address| address.ip());
            let verdict = self.gate.check(&users.now(), ip, user, password).await.map(drop);
            let client = ClientRecord { user: Some(user), ..peer.into() };
            let reason = verdict.reason();
            let _ = self.out.emit(&LoginTried { client, accepted: verdict == LoginVerdict::Right(()), reason });
            verdict
        })
    }

    /// An arriving message is written once. If any recipient is relayed, it is written to the queue's own directory (up to
    /// [`MAX_INLINE`] in memory), where it becomes the queue's file; the trace field comes first. Mailboxes get copies of it, with
    /// other line ends. A message for mailboxes alone that outgrows memory is in a nameless file of the first mailbox until each
    /// mailbox has its copy. Only LMTP with several recipients makes another copy for the queue, because each recipient has a
    /// trace field and a reply of its own.
    fn begin(
        &self,
        peer: &SmtpPeer,
        envelope: &Envelope,
        transaction: &mut MailTransaction,
    ) -> std::io::Result<BlobWriter> {
        let first = transaction.destinations.iter().find_map(|destination| match destination {
            DeliverTo::Mailbox(local) => Some(local.mailbox.path.as_path()),
            DeliverTo::Queue => None,
        });
        let relayed = transaction.destinations.iter().any(|destination| matches!(destination, DeliverTo::Queue));
        let mut writer = match (&self.queue, &self.mailboxes) {
            (Some(queue), _) if relayed => queue.new_body().map_err(|fault| std::io::Error::other(fault.detail))?,
            (_, Some(mailboxes)) => mailboxes.room_for(first, MAX_MEMORY),
            _ => return Err(std::io::Error::other("neither a queue nor mailboxes")),
        };
        writer = writer.leaving_free(self.room.min_free);
        if !peer.lmtp || envelope.recipients.len() == 1 {
            let id = new_id();
            writer.write_all(self.received(peer, envelope, &id).as_bytes())?;
            transaction.traced = Some((id, writer.size_bytes()));
        }
        Ok(writer)
    }

    fn accept<'a>(
        &'a self,
        peer: &'a SmtpPeer,
        envelope: Envelope,
        transaction: MailTransaction,
        message: BlobWriter,
    ) -> BoxFuture<'a, MessageVerdict> {
        Box::pin(async move {
            let blob = match finish(message).await {
                Ok(blob) => blob,
                Err(fault) => return MessageVerdict::All(self.not_taken(peer, &envelope.sender, fault.into())),
            };
            let MailTransaction { destinations, traced } = transaction;
            if let Some((id, trace_bytes)) = traced {
                let trace = String::new();
                let arrived = Arrived { id, envelope, destinations, blob, trace_bytes, trace };
                return MessageVerdict::All(self.store(peer, arrived).await);
            }
            // Each recipient's mailbox has a reply of its own (RFC 2033, section 4.2).
            let mut replies = Vec::with_capacity(envelope.recipients.len());
            for (recipient, destination) in envelope.recipients.iter().zip(destinations) {
                let alone = Envelope { recipients: vec![recipient.clone()], ..envelope.clone() };
                let id = new_id();
                let trace = self.received(peer, &alone, &id);
                let (destinations, blob) = (vec![destination], blob.clone());
                let arrived = Arrived { id, envelope: alone, destinations, blob, trace_bytes: 0, trace };
                replies.push(self.store(peer, arrived).await);
            }
            MessageVerdict::Each(replies)
        })
    }
}

/// Completes the message. If it is in a file, completing it may wait for the disk.
async fn finish(message: BlobWriter) -> Result<Blob, Fault> {
    let finished = match message.is_in_memory() {
        true => message.finish(),
        false => tokio::task::spawn_blocking(|| message.finish()).await.map_err(internal)?,
    };
    finished.map_err(|error| Fault::local("message", &error))
}

pub(super) fn internal(_: tokio::task::JoinError) -> Fault {
    Fault::new(Kind::Internal, "storing a message failed")
}

/// The reason why a complete message is not accepted.
enum MessageRefusal {
    /// A mail loop, with the number of Received fields.
    Loop(usize),
    /// The fault that kept it from being stored.
    Fault(Fault),
}

impl From<Fault> for MessageRefusal {
    fn from(fault: Fault) -> MessageRefusal {
        MessageRefusal::Fault(fault)
    }
}

impl MailReceiver {
    /// Stores a message and returns the reply, which is the same for all of its recipients.
    async fn store(&self, peer: &SmtpPeer, arrived: Arrived) -> SmtpReply {
        let sender = arrived.envelope.sender.clone();
        // Each mailbox gets a copy in addition to the arrived message.
        let local = |to: &&DeliverTo| matches!(to, DeliverTo::Mailbox(_));
        let copies = arrived.destinations.iter().filter(local).count() as u64;
        if copies > 0 && !self.room.is_left(arrived.blob.size_bytes().saturating_mul(copies)).await {
            return self.no_room("message", peer, &sender);
        }
        match self.take(peer, arrived).await {
            Ok(id) => SmtpReply::status(250, 0, 0, format!("taken as {id}")),
            Err(refusal) => self.not_taken(peer, &sender, refusal),
        }
    }

    fn no_room(&self, what: &'static str, peer: &SmtpPeer, sender: &ReversePath) -> SmtpReply {
        let reply = SmtpReply::status(452, 3, 1, "no room for a message now");
        self.refused(what, peer, Some(sender), None, &reply);
        reply
    }

    fn not_taken(&self, peer: &SmtpPeer, sender: &ReversePath, refusal: MessageRefusal) -> SmtpReply {
        let reply = match refusal {
            MessageRefusal::Loop(hops) => {
                SmtpReply::status(554, 4, 6, format!("mail loop: {hops} servers handled this message"))
            }
            MessageRefusal::Fault(fault) => {
                self.out.session_error(peer.session, "message", &fault);
                SmtpReply::status(451, 3, 0, "cannot be stored now")
            }
        };
        self.refused("message", peer, Some(sender), None, &reply);
        reply
    }

    /// The destination of mail for this address, or the reply that refuses it. Creates no mailbox.
    async fn decide(&self, peer: &SmtpPeer, address: &Address) -> Result<DeliverTo, SmtpReply> {
        let domain = match address.domain() {
            // Only `postmaster` comes without a domain.
            None => self.policy.domains.first().cloned().unwrap_or_default(),
            Some(_) => {
                let domain = address.destination();
                let domain = idna::domain_to_ascii(&domain).unwrap_or(domain);
                if !self.policy.domains.contains(&domain) {
                    return match self.may_relay(peer) {
                        true => Ok(DeliverTo::Queue),
                        false => {
                            let why = "relaying denied: not a domain of ours, and you are not logged in";
                            Err(SmtpReply::status(550, 7, 1, why))
                        }
                    };
                }
                domain
            }
        };
        let Some(mailboxes) = self.mailboxes.clone() else {
            return Err(SmtpReply::status(550, 1, 1, "no such mailbox"));
        };
        let (local, asked) = (address.local().into_owned(), domain.clone());
        // A file system that hangs must not hold up other clients.
        let find = tokio::task::spawn_blocking(move || mailboxes.find(&local, &asked));
        match find.await.unwrap_or_else(|error| Err(internal(error))) {
            Ok(Some(mailbox)) => {
                let address = match address.domain() {
                    Some(_) => address.to_string(),
                    None => format!("{address}@{domain}"),
                };
                Ok(DeliverTo::Mailbox(LocalRecipient { address, domain, mailbox }))
            }
            Ok(None) => Err(SmtpReply::status(550, 1, 1, "no such mailbox")),
            Err(fault) => {
                self.out.session_error(peer.session, address.as_str(), &fault);
                Err(match fault.kind {
                    Kind::Config => SmtpReply::status(451, 3, 0, "mailbox cannot be opened as it is"),
                    _ => SmtpReply::status(451, 2, 0, "mailbox cannot be looked up now"),
                })
            }
        }
    }

    /// True for a client that logged in or comes from a network for which mail is relayed.
    fn is_known(&self, peer: &SmtpPeer) -> bool {
        let from = peer.address.map(|address| address.ip());
        let trusted = from.is_some_and(|ip| self.policy.relay_from.iter().any(|network| network.contains(ip)));
        peer.user.is_some() || trusted
    }

    fn may_relay(&self, peer: &SmtpPeer) -> bool {
        self.queue.is_some() && self.is_known(peer)
    }

    /// Delivers the message to its destinations. When it returns `Ok`, the message is on disk everywhere. The mailboxes are staged
    /// before the queue commits and renamed after it, so that a full disk leaves no part of the message anywhere.
    async fn take(&self, peer: &SmtpPeer, arrived: Arrived) -> Result<String, MessageRefusal> {
        let Arrived { id, envelope, destinations, blob, trace_bytes, trace } = arrived;
        let size_bytes = blob.size_bytes().saturating_sub(trace_bytes);
        let (mut locals, mut local_recipients, mut remote) = (Vec::new(), Vec::new(), Vec::new());
        for (recipient, destination) in envelope.recipients.iter().zip(destinations) {
            match destination {
                DeliverTo::Mailbox(local) => {
                    locals.push(local);
                    local_recipients.push(recipient.clone());
                }
                DeliverTo::Queue => remote.push(recipient.clone()),
            }
        }
        let notice = notice::delivered(&envelope, &local_recipients, &id, &self.policy.hostname, &blob);
        let notice = notice.zip(self.queue.clone());
        let queue = self.queue.clone().filter(|_| !remote.is_empty());
        let outgoing = Envelope { recipients: remote, ..envelope.clone() };
        let content = MessageBlob { blob, has_8bit: envelope.eight_bit };
        let max_hops = self.policy.max_hops;
        let check_hops = move |blob: &Blob| {
            let hops = count_received(BufReader::new(blob.open_at(trace_bytes)));
            match hops.map_err(|error| Fault::local("message", &error))? {
                hops if hops >= max_hops => Err(MessageRefusal::Loop(hops)),
                _ => Ok(()),
            }
        };
        let for_queue = move |queue: &dyn QueueStore, content: MessageBlob, trace: &str| match trace.is_empty() {
            true => Ok(submit::with_body(&outgoing, content.blob, content.has_8bit)),
            false => submit::message(queue, &outgoing, trace.as_bytes(), &content),
        };
        let (files, queue_id) = match queue {
            // All of it is in memory, and the queue has a thread of its own for its disk.
            Some(queue) if locals.is_empty() && content.blob.in_memory().is_some() && size_bytes <= MAX_AT_ONCE => {
                check_hops(&content.blob)?;
                let ids = queue.enqueue(vec![for_queue(&*queue, content, &trace)?]).await?;
                (Vec::new(), ids.first().map(ToString::to_string))
            }
            queue => {
                let (mailboxes, handle) = (self.mailboxes.clone(), tokio::runtime::Handle::current());
                let sender = envelope.sender.clone();
                let work = move || -> Result<(Vec<PathBuf>, Option<String>), MessageRefusal> {
                    check_hops(&content.blob)?;
                    let staged = match &mailboxes {
                        Some(mailboxes) => copies::stage(mailboxes, &locals, sender.as_str(), &trace, &content.blob)?,
                        None => Vec::new(),
                    };
                    let mut queue_id = None;
                    if let Some(queue) = queue {
                        let message = for_queue(&*queue, content, &trace)?;
                        let ids = handle.block_on(queue.enqueue(vec![message]))?;
                        queue_id = ids.first().map(ToString::to_string);
                    }
                    let mut files = Vec::new();
                    for message in staged {
                        files.push(message.commit()?.into_path());
                    }
                    Ok((files, queue_id))
                };
                tokio::task::spawn_blocking(work).await.map_err(internal)??
            }
        };
        let mut notice_id = None;
        if let Some((notice, queue)) = notice {
            match queue.enqueue(vec![notice]).await {
                Ok(ids) => notice_id = ids.first().map(ToString::to_string),
                // The message is delivered, even if its notice is not.
                Err(fault) => self.out.error("delivery notice", &fault),
            }
        }
        let shown = queue_id.clone().unwrap_or_else(|| id.clone());
        let record = MessageTaken {
            id: &id,
            queue_id,
            notice_id,
            client: peer.into(),
            sender: envelope.sender.as_str(),
            recipients: envelope.recipients.iter().map(|recipient| recipient.address.as_str()).collect(),
            files: files.iter().map(|file| file.to_string_lossy().into_owned()).collect(),
            size_bytes,
        };
        // A server whose reader went away keeps serving.
        let _ = self.out.emit(&record);
        Ok(shown)
    }

    /// The trace field (RFC 5321, section 4.4; protocol names: RFC 3848 and RFC 6531).
    fn received(&self, peer: &SmtpPeer, envelope: &Envelope, id: &str) -> String {
        let base = match (peer.lmtp, envelope.smtputf8, peer.extended) {
            (true, true, _) => "UTF8LMTP",
            (true, false, _) => "LMTP",
            (false, true, _) => "UTF8SMTP",
            (false, false, true) => "ESMTP",
            (false, false, false) => "SMTP",
        };
        let secure = if peer.tls.is_some() { "S" } else { "" };
        let login = if peer.user.is_some() { "A" } else { "" };
        let from = match peer.address.map(|address| address.ip()) {
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
        peer: &SmtpPeer,
        sender: Option<&ReversePath>,
        recipient: Option<&Address>,
        reply: &SmtpReply,
    ) {
        self.emit_refused(&Refused {
            what,
            client: peer.into(),
            sender: sender.map(ReversePath::as_str),
            recipient: recipient.map(Address::as_str),
            code: reply.code,
            enhanced: reply.enhanced.map(|enhanced| enhanced.to_string()),
            reply: reply.text(),
        });
    }

    fn emit_refused(&self, record: &Refused<'_>) {
        match record.what {
            "recipient" => Counter::RefusedRecipient.add(1),
            "message" => Counter::RefusedMessage.add(1),
            _ => {}
        }
        let _ = self.out.emit(record);
    }
}

/// A new id of the message, for the Received field and the reply.
pub(super) fn new_id() -> String {
    let mut random = [0; 4];
    // Without randomness the time alone has to do: the id is for people and logs.
    let _ = getrandom::fill(&mut random);
    let now = crate::net::clock::unix_micros();
    format!("{now:x}.{:08x}", u32::from_ne_bytes(random))
}
