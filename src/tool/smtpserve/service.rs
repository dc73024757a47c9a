//! The rules for senders and recipients, and the answers to clients.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::blob::Blob;
use crate::blob::file::BlobWriter;
use crate::cli::login_gate::LoginGate;
use crate::cli::output::Output;
use crate::cli::own_addresses::OwnAddress;
use crate::cli::users::Users;
use crate::fault::Fault;
use crate::net::BoxFuture;
use crate::net::cidr::Network;
use crate::net::counters::Counter;
use crate::net::login::LoginVerdict;
use crate::net::reload::Reloaded;
use crate::queue::store::QueueStore;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::auth::scram::ScramVerifier;
use crate::smtp::auth::server::LoginProof;
use crate::smtp::data::MessageBlob;
use crate::smtp::reply::SmtpReply;
use crate::smtp::role::ServerRole;
use crate::smtp::server::{MessageVerdict, SmtpPeer, SmtpService};
use crate::smtp::transaction::{Envelope, Recipient};

use super::agent::DeliveryAgent;
use super::delivery::{Arrived, DeliveryJob, MessageRefusal, client_facts, internal, listed};
use super::mailbox::Mailboxes;
use super::notice;
use super::plan::{MAX_PROGRAM_RECIPIENTS, MessagePlan, PlannedEnd, RecipientPlan};
use super::recipients::RecipientTables;
use super::record::{ClientRecord, LoginTried, MessageTaken, Refused};
use super::room::DiskRoom;
use super::strangers::StrangerArgs;
use super::submission::{self, SubmissionRefusal, SubmittedMail, UserPolicy};

/// The most bytes of a message for mailboxes that are kept in memory while it arrives.
const MAX_MEMORY: usize = 256 * 1024;

/// The rules of the command line.
#[derive(Debug)]
pub(super) struct ReceivePolicy {
    pub(super) hostname: String,
    pub(super) relay_from: Vec<Network>,
    pub(super) max_hops: usize,
    pub(super) users: UserPolicy,
    pub(super) strangers: StrangerArgs,
}

/// The server's mailboxes, queue and users.
pub(super) struct MailReceiver {
    pub(super) policy: ReceivePolicy,
    pub(super) recipients: Reloaded<RecipientTables>,
    pub(super) mailboxes: Option<Arc<Mailboxes>>,
    pub(super) agent: Option<Arc<DeliveryAgent>>,
    pub(super) queue: Option<Arc<dyn QueueStore>>,
    pub(super) users: Option<Reloaded<Users>>,
    pub(super) gate: LoginGate,
    pub(super) room: DiskRoom,
    pub(super) out: Output,
}

/// The decisions about one message while it arrives.
#[derive(Debug, Default)]
pub(super) struct MailTransaction {
    /// The destinations of each recipient of the envelope, in its order.
    plans: Vec<RecipientPlan>,
    /// The message's id, and the length of the trace field before the message. `None` if each recipient has its own trace field.
    traced: Option<(String, u64)>,
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
                .objection(&peer.helo, &self.policy.hostname, &self.recipients.now().domains)
                .filter(|_| !self.is_known(peer))
            {
                let reply = SmtpReply::status(550, 7, 1, why);
                self.refused("sender", peer, Some(sender), None, &reply);
                return reply;
            }
            if !self.room.is_left(bytes).await {
                return self.no_room("sender", peer, sender);
            }
            match self.may_send(peer, sender) {
                Ok(()) => SmtpReply::status(250, 1, 0, "sender ok"),
                Err(reply) => {
                    self.refused("sender", peer, Some(sender), None, &reply);
                    reply
                }
            }
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
            let planned = match programs(&transaction.plans) < MAX_PROGRAM_RECIPIENTS {
                true => self.decide(peer, &recipient.address).await,
                false => Err(SmtpReply::status(452, 5, 3, "too many recipients for one program")),
            };
            let counted = || peer.user.as_deref().map_or(Ok(()), |user| self.policy.users.recipient(user));
            match planned.and_then(|plan| counted().map(|()| plan)) {
                Ok(plan) => {
                    let relayed = plan.is_queued();
                    transaction.plans.push(plan);
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

    fn has_scram(&self) -> bool {
        self.users.as_ref().is_some_and(|users| users.now().has_scram())
    }

    fn verifier(&self, user: &str) -> Option<ScramVerifier> {
        self.users.as_ref()?.now().verifier(user)
    }

    fn login<'a>(
        &'a self,
        peer: &'a SmtpPeer,
        user: &'a str,
        proof: &'a LoginProof,
    ) -> BoxFuture<'a, LoginVerdict<()>> {
        Box::pin(async move {
            let Some(users) = &self.users else { return LoginVerdict::Wrong };
            let ip = peer.address.map(|address| address.ip());
            let verdict = self.gate.check(&users.now(), ip, user, proof).await.map(drop);
            let client = ClientRecord { user: Some(user), ..peer.into() };
            let reason = verdict.reason();
            let _ = self.out.emit(&LoginTried { client, accepted: verdict == LoginVerdict::Right(()), reason });
            verdict
        })
    }

    /// An arriving message is written once. If any recipient is relayed, it is written to the queue's own directory (up to
    /// [`MAX_INLINE`](crate::queue::store::MAX_INLINE) in memory), where it becomes the queue's file; the trace field comes first. Mailboxes get copies of it, with
    /// other line ends. A message for mailboxes alone that outgrows memory is in a nameless file of the first mailbox until each
    /// mailbox has its copy. Only LMTP with several recipients makes another copy for the queue, because each recipient has a
    /// trace field and a reply of its own.
    fn begin(
        &self,
        peer: &SmtpPeer,
        envelope: &Envelope,
        transaction: &mut MailTransaction,
    ) -> std::io::Result<BlobWriter> {
        let mut writer = self.writer(&transaction.plans)?;
        if peer.role.is_submission() {
            // The completed message gets its trace field.
            transaction.traced = Some((new_id(), 0));
        } else if peer.role != ServerRole::Lmtp || envelope.recipients.len() == 1 {
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
            let MailTransaction { plans, traced } = transaction;
            if let Some((id, mut trace_bytes)) = traced {
                let (mut blob, trace) = (blob, String::new());
                if peer.role.is_submission() {
                    let completed = self.completed(peer, &envelope, &plans, blob, &id).await;
                    (blob, trace_bytes) = match completed {
                        Ok(completed) => completed,
                        Err(SubmissionRefusal::Fault(fault)) => {
                            return MessageVerdict::All(self.not_taken(peer, &envelope.sender, fault.into()));
                        }
                        Err(SubmissionRefusal::Reply(reply)) => {
                            self.refused("message", peer, Some(&envelope.sender), None, &reply);
                            return MessageVerdict::All(reply);
                        }
                    };
                }
                let arrived = Arrived { id, envelope, plans, blob, trace_bytes, trace };
                return MessageVerdict::All(self.store(peer, arrived).await);
            }
            // Each recipient's mailbox has a reply of its own (RFC 2033, section 4.2).
            let mut replies = Vec::with_capacity(envelope.recipients.len());
            for (recipient, plan) in envelope.recipients.iter().zip(plans) {
                let alone = Envelope { recipients: vec![recipient.clone()], ..envelope.clone() };
                let id = new_id();
                let trace = self.received(peer, &alone, &id);
                let (plans, blob) = (vec![plan], blob.clone());
                let arrived = Arrived { id, envelope: alone, plans, blob, trace_bytes: 0, trace };
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

/// The number of recipients for whom a program or file gets the message.
fn programs(plans: &[RecipientPlan]) -> usize {
    let ends = plans.iter().flat_map(|plan| &plan.ends);
    ends.filter(|end| matches!(end, PlannedEnd::Agent(..))).count()
}

impl MailReceiver {
    /// The writer for a message to these recipients: in the queue's directory if it is relayed to anyone.
    fn writer(&self, plans: &[RecipientPlan]) -> std::io::Result<BlobWriter> {
        let first = plans.iter().flat_map(RecipientPlan::mailboxes).next();
        let first = first.map(|local| local.mailbox.path.as_path());
        let queued = plans.iter().any(RecipientPlan::is_queued);
        let failed = |fault: Fault| std::io::Error::other(fault.detail);
        let writer = match (&self.queue, &self.mailboxes) {
            (Some(queue), _) if queued => queue.new_body().map_err(failed)?,
            (_, Some(mailboxes)) if first.is_some() => mailboxes.room_for(first, MAX_MEMORY),
            (Some(queue), _) => queue.new_body().map_err(failed)?,
            (None, Some(mailboxes)) => mailboxes.room_for(None, MAX_MEMORY),
            (None, None) => return Err(std::io::Error::other("neither a queue nor mailboxes")),
        };
        Ok(writer.leaving_free(self.room.min_free))
    }

    /// The sender addresses of the client's user: none for a user who is gone. `None` if they do not matter: on submission all
    /// users have them, elsewhere those with `address=` in the user file.
    fn own_addresses(&self, peer: &SmtpPeer) -> Option<Vec<OwnAddress>> {
        let name = peer.user.as_deref().filter(|_| !self.policy.users.any_sender)?;
        let users = self.users.as_ref()?.now();
        let own = |user| submission::own_addresses(user, &self.recipients.now().domains);
        match users.get(name) {
            Some(user) if !peer.role.is_submission() && user.account.addresses.is_empty() => None,
            user => Some(user.map_or_else(Vec::new, own)),
        }
    }

    /// Decides whether the client may send from this address now. Reports without a sender (RFC 5321, section 4.5.5) belong to
    /// nobody.
    fn may_send(&self, peer: &SmtpPeer, sender: &ReversePath) -> Result<(), SmtpReply> {
        let own = self.own_addresses(peer);
        if let Some((own, address)) = own.zip(sender.address())
            && !own.iter().any(|own| own.covers(address))
        {
            return Err(submission::not_own(address.as_str()));
        }
        peer.user.as_deref().map_or(Ok(()), |user| self.policy.users.message(user))
    }

    /// The message of a user, completed and with its trace field, whose length comes with it.
    async fn completed(
        &self,
        peer: &SmtpPeer,
        envelope: &Envelope,
        plans: &[RecipientPlan],
        blob: Blob,
        id: &str,
    ) -> Result<(Blob, u64), SubmissionRefusal> {
        let failed = |error: std::io::Error| Fault::local("message", &error);
        let (trace, writer) = (self.received(peer, envelope, id), self.writer(plans).map_err(failed)?);
        let policy = &self.policy;
        let mail = SubmittedMail {
            at_once: blob.in_memory().is_some(),
            blob,
            sender: envelope.sender.clone(),
            own: self.own_addresses(peer),
            domain: self.recipients.now().domains.first().unwrap_or(&policy.hostname).clone(),
            message_id: format!("<{id}@{}>", policy.hostname),
        };
        if mail.at_once {
            return mail.complete(&trace, writer);
        }
        tokio::task::spawn_blocking(move || mail.complete(&trace, writer)).await.map_err(internal)?
    }

    /// Stores a message and returns the reply, which is the same for all of its recipients.
    async fn store(&self, peer: &SmtpPeer, arrived: Arrived) -> SmtpReply {
        let sender = arrived.envelope.sender.clone();
        // Each mailbox gets a copy in addition to the arrived message.
        let copies = arrived.plans.iter().flat_map(RecipientPlan::mailboxes).count() as u64;
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
            MessageRefusal::Loop(why) => SmtpReply::status(554, 4, 6, format!("mail loop: {why}")),
            MessageRefusal::Reply(reply) => reply,
            MessageRefusal::Fault(fault) => {
                self.out.session_error(peer.session, "message", &fault);
                SmtpReply::status(451, 3, 0, "cannot be stored now")
            }
        };
        self.refused("message", peer, Some(sender), None, &reply);
        reply
    }

    /// The destinations of mail for this address, or the reply that refuses it. Creates no mailbox.
    async fn decide(&self, peer: &SmtpPeer, address: &Address) -> Result<RecipientPlan, SmtpReply> {
        let tables = self.recipients.now();
        let domain = match address.domain() {
            // Only `postmaster` comes without a domain.
            None => tables.domains.first().cloned().unwrap_or_default(),
            Some(_) => {
                let domain = address.destination();
                idna::domain_to_ascii(&domain).unwrap_or(domain)
            }
        };
        if address.domain().is_some() && !tables.is_ours(&domain) {
            let why = "relaying denied: not a domain of ours, and you are not logged in";
            return match self.may_relay(peer) {
                true => Ok(RecipientPlan::relayed()),
                false => Err(SmtpReply::status(550, 7, 1, why)),
            };
        }
        let (mailboxes, asked) = (self.mailboxes.clone(), address.clone());
        // A file system that hangs must not hold up other clients.
        let plan = move || RecipientPlan::of(&tables, mailboxes.as_deref(), &asked, &domain);
        let found = tokio::task::spawn_blocking(plan).await;
        let found = found.unwrap_or_else(|error| {
            Err((SmtpReply::status(451, 3, 0, "recipient cannot be looked up now"), Some(internal(error))))
        });
        found.map_err(|(reply, fault)| {
            if let Some(fault) = fault {
                self.out.session_error(peer.session, address.as_str(), &fault);
            }
            reply
        })
    }

    /// True for a client that logged in, or comes from a network for which its role relays mail.
    fn is_known(&self, peer: &SmtpPeer) -> bool {
        let from = peer.address.map(|address| address.ip()).filter(|_| peer.role.trusts_networks());
        let trusted = from.is_some_and(|ip| self.policy.relay_from.iter().any(|network| network.contains(ip)));
        peer.user.is_some() || trusted
    }

    /// True if this client may send mail to other domains.
    fn may_relay(&self, peer: &SmtpPeer) -> bool {
        self.queue.is_some() && self.is_known(peer)
    }

    /// Delivers the message to its destinations. When it returns `Ok`, the message is on disk everywhere.
    async fn take(&self, peer: &SmtpPeer, arrived: Arrived) -> Result<String, MessageRefusal> {
        let Arrived { id, envelope, plans, blob, trace_bytes, trace } = arrived;
        let size_bytes = blob.size_bytes().saturating_sub(trace_bytes);
        let deliveries = listed(&envelope.recipients, &plans);
        let mut plan = MessagePlan::new(&envelope.recipients, plans);
        let reached = std::mem::take(&mut plan.reached);
        let original = blob.clone();
        let job = DeliveryJob {
            id: id.clone(),
            envelope: envelope.clone(),
            content: MessageBlob { blob, has_8bit: envelope.eight_bit },
            trace,
            trace_bytes,
            plan,
            max_hops: self.policy.max_hops,
            hostname: self.policy.hostname.clone(),
            mailboxes: self.mailboxes.clone(),
            queue: self.queue.clone(),
            agent: self.agent.clone(),
            client: client_facts(peer, &id),
            handle: tokio::runtime::Handle::current(),
        };
        let settled = job.settle().await?;
        let notices = notice::notices(&envelope, reached, &settled.failed, (&id, &self.policy.hostname), &original);
        let mut notice_id = None;
        if let Some(queue) = self.queue.clone().filter(|_| !notices.is_empty()) {
            match queue.enqueue(notices).await {
                Ok(ids) => notice_id = ids.first().map(ToString::to_string),
                // The message is delivered, even if its notice is not.
                Err(fault) => self.out.error("delivery notice", &fault),
            }
        }
        for failed in &settled.failed {
            self.refused("recipient", peer, Some(&envelope.sender), Some(&failed.recipient.address), &failed.reply);
        }
        let shown = settled.queue_id.clone().unwrap_or_else(|| id.clone());
        let record = MessageTaken {
            id: &id,
            queue_id: settled.queue_id,
            notice_id,
            client: peer.into(),
            sender: envelope.sender.as_str(),
            recipients: envelope.recipients.iter().map(|recipient| recipient.address.as_str()).collect(),
            deliveries,
            files: settled.files,
            size_bytes,
        };
        // A server whose reader went away keeps serving.
        let _ = self.out.emit(&record);
        Ok(shown)
    }

    /// The trace field (RFC 5321, section 4.4; protocol names: RFC 3848 and RFC 6531).
    fn received(&self, peer: &SmtpPeer, envelope: &Envelope, id: &str) -> String {
        let base = match (peer.role == ServerRole::Lmtp, envelope.smtputf8, peer.extended) {
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
