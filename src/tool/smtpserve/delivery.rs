//! Delivery of an accepted message to all of its destinations. Mailboxes are staged first, programs run next, the queue commits, and
//! the mailboxes commit last. Until the first of these steps is final a temporary fault refuses the message as a whole, and nothing
//! remains of it. After that nothing is delivered twice: the sender gets a report on each recipient that failed. A sender who cannot
//! be told has the message refused, too.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Seek as _};
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::blob::Blob;
use crate::fault::{Fault, Kind};
use crate::mail::maildir::write_with_lf;
use crate::mail::trace::{count_received, was_delivered_to, without_return_path};
use crate::queue::entry::NewMessage;
use crate::queue::store::{MAX_INLINE, QueueStore};
use crate::queue::submit;
use crate::smtp::data::MessageBlob;
use crate::smtp::envelope::Recipient;
use crate::smtp::reply::SmtpReply;
use crate::smtp::server::SmtpPeer;
use crate::smtp::transaction::Envelope;

use super::agent::{AgentTarget, DeliveryAgent};
use super::copies::{self, LocalRecipient};
use super::mailbox::Mailboxes;
use super::notice;
use super::plan::{AgentRun, FailedRecipient, MessagePlan, PlannedEnd, QueuedGroup, RecipientPlan, over_quota};
use super::record::DeliveryRecord;

/// The largest message that is queued without a thread that may wait for the disk, in bytes.
const MAX_AT_ONCE: u64 = MAX_INLINE as u64 / 2;
/// The most deliveries that a record lists.
const MAX_LISTED: usize = 1000;

/// A complete message, for all or one of its recipients.
pub(super) struct Arrived {
    pub(super) id: String,
    pub(super) envelope: Envelope,
    pub(super) plans: Vec<RecipientPlan>,
    /// The message, which may have the trace field before it.
    pub(super) blob: Blob,
    /// The length of the trace field at the start of the blob.
    pub(super) trace_bytes: u64,
    /// The trace field, if it is not in the blob; else empty.
    pub(super) trace: String,
}

/// The reason why a complete message is not accepted.
pub(super) enum MessageRefusal {
    /// A mail loop, with its description.
    Loop(String),
    /// All of its destinations refuse it.
    Reply(SmtpReply),
    /// The fault that kept it from being stored.
    Fault(Fault),
}

impl From<Fault> for MessageRefusal {
    fn from(fault: Fault) -> MessageRefusal {
        MessageRefusal::Fault(fault)
    }
}

/// The destinations of a message that a client would not expect from its recipients: through aliases, with a detail, to programs.
pub(super) fn listed(recipients: &[Recipient], plans: &[RecipientPlan]) -> Vec<DeliveryRecord> {
    let mut records = Vec::new();
    for (recipient, plan) in recipients.iter().zip(plans) {
        for end in plan.ends.iter().take(MAX_LISTED - records.len()) {
            let (how, to, detail) = match end {
                PlannedEnd::Mailbox(local) if plan.alias.is_none() && local.mailbox.detail.is_empty() => continue,
                PlannedEnd::Mailbox(local) => ("mailbox", local.delivered_to(), local.mailbox.detail.clone()),
                PlannedEnd::Agent(target @ AgentTarget::File(_), _) => ("file", target.to_string(), String::new()),
                PlannedEnd::Agent(target, to) => ("command", target.to_string(), detail_of(&to.local)),
                PlannedEnd::Queue(None, None) => continue,
                PlannedEnd::Queue(to, route) => {
                    let to = to.as_ref().unwrap_or(&recipient.address).to_string();
                    ("queue", to, route.as_ref().map_or(String::new(), |_| detail_of(&recipient.address.local())))
                }
                PlannedEnd::Failed(to, _) => ("refused", to.to_string(), String::new()),
            };
            records.push(DeliveryRecord { recipient: recipient.address.to_string(), how, to, detail });
        }
    }
    records
}

fn detail_of(local: &str) -> String {
    local.split_once('+').map_or(String::new(), |(_, detail)| detail.to_owned())
}

/// The result of a delivery.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) queue_id: Option<String>,
    pub(super) files: Vec<String>,
    pub(super) failed: Vec<FailedRecipient>,
}

/// Everything that a delivery needs, on a thread that may wait for the disk.
pub(super) struct DeliveryJob {
    pub(super) id: String,
    pub(super) envelope: Envelope,
    pub(super) content: MessageBlob,
    pub(super) trace: String,
    pub(super) trace_bytes: u64,
    pub(super) plan: MessagePlan,
    pub(super) max_hops: usize,
    pub(super) hostname: String,
    pub(super) mailboxes: Option<Arc<Mailboxes>>,
    pub(super) queue: Option<Arc<dyn QueueStore>>,
    pub(super) agent: Option<Arc<DeliveryAgent>>,
    /// The facts about the client for the environment of programs.
    pub(super) client: BTreeMap<String, String>,
    pub(super) handle: Handle,
}

/// The environment of programs, as far as it depends on the client alone.
pub(super) fn client_facts(peer: &SmtpPeer, id: &str) -> BTreeMap<String, String> {
    let address = peer.address.map(|address| address.ip().to_canonical().to_string());
    let facts = [
        ("MESSAGE_ID", Some(id.to_owned())),
        ("CLIENT_ADDRESS", address),
        ("CLIENT_HELO", Some(peer.helo.clone())),
        ("SASL_USERNAME", peer.user.clone()),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

pub(super) fn internal(_: tokio::task::JoinError) -> Fault {
    Fault::new(Kind::Internal, "storing a message failed")
}

impl DeliveryJob {
    /// Delivers the message. When it returns `Ok`, the message is on disk everywhere.
    pub(super) async fn settle(self) -> Result<Settled, MessageRefusal> {
        match self.is_small() {
            // All of it is in memory, and the queue has a thread of its own for its disk.
            true => {
                self.check_loops()?;
                Ok(Settled { queue_id: self.enqueue(self.for_queue()?).await?, ..Settled::default() })
            }
            false => tokio::task::spawn_blocking(move || self.deliver()).await.map_err(internal)?,
        }
    }

    /// True if the message is for the queue alone, and small.
    fn is_small(&self) -> bool {
        let MessagePlan { locals, agents, failed, queued, .. } = &self.plan;
        let headless = queued.iter().all(|group| group.alias.is_none()) && queued.len() <= 1;
        let alone = locals.is_empty() && agents.is_empty() && failed.is_empty() && headless;
        alone && self.content.blob.in_memory().is_some() && self.content.blob.size_bytes() <= MAX_AT_ONCE
    }

    fn check_loops(&self) -> Result<(), MessageRefusal> {
        let header = || BufReader::new(self.content.blob.open_at(self.trace_bytes));
        let failed = |error| Fault::local("message", &error);
        let hops = count_received(header()).map_err(failed)?;
        if hops >= self.max_hops {
            return Err(MessageRefusal::Loop(format!("{hops} servers handled this message")));
        }
        let aliases: Vec<String> = self.plan.queued.iter().filter_map(|group| group.alias.clone()).collect();
        if !aliases.is_empty() && was_delivered_to(header(), &aliases).map_err(failed)? {
            return Err(MessageRefusal::Loop("an alias led this message away before".to_owned()));
        }
        Ok(())
    }

    fn deliver(mut self) -> Result<Settled, MessageRefusal> {
        self.check_loops()?;
        let mut failed = std::mem::take(&mut self.plan.failed);
        let copies::StagedCopies { staged, full } = match &self.mailboxes {
            Some(mailboxes) => {
                let sender = self.envelope.sender.as_str();
                copies::stage(mailboxes, &self.plan.locals, sender, &self.trace, &self.content.blob)?
            }
            None => copies::StagedCopies::default(),
        };
        failed.extend(self.failures(&full, &over_quota()));
        if let Some(silent) = failed.iter().find(|failed| !failed.reply.permanent() && !self.is_told(&failed.recipient))
        {
            return Err(MessageRefusal::Reply(silent.reply.clone()));
        }
        // From here on something is final, if a program has it.
        let mut is_final = false;
        for run in std::mem::take(&mut self.plan.agents) {
            let ended = self.run(&run);
            let told = run.recipients.iter().all(|(_, to)| self.is_told(to));
            let (reply, fault) = match ended {
                Ok(None) => {
                    is_final = true;
                    continue;
                }
                Ok(Some(reply)) => (reply, None),
                Err(fault) => (SmtpReply::status(451, 3, 0, fault.detail.clone()), Some(fault)),
            };
            if !(reply.permanent() || is_final && told) {
                return Err(fault.map_or(MessageRefusal::Reply(reply), MessageRefusal::Fault));
            }
            let failure = |to: &Recipient| FailedRecipient::now(to, to.address.clone(), reply.clone());
            failed.extend(run.recipients.iter().map(|(_, to)| failure(to)));
        }
        let nothing = staged.is_empty() && self.plan.queued.is_empty() && !is_final;
        if let Some(first) = failed.first().filter(|_| nothing) {
            return Err(MessageRefusal::Reply(first.reply.clone()));
        }
        let mut messages = self.for_queue()?;
        messages.extend(self.report(&failed));
        let queue_id = self.handle.block_on(self.enqueue(messages))?;
        is_final |= queue_id.is_some();
        let (mut files, mut late) = (Vec::new(), Vec::new());
        for (message, recipients) in staged {
            match message.commit() {
                Ok(delivered) => files.push(delivered.into_path().to_string_lossy().into_owned()),
                Err(fault) => {
                    let failures = self.failures(&recipients, &SmtpReply::status(451, 3, 0, fault.detail.clone()));
                    let told = failures.iter().all(|failed| self.is_told(&failed.recipient));
                    if !told || (!is_final && files.is_empty()) {
                        return Err(fault.into());
                    }
                    late.extend(failures);
                }
            }
        }
        if !late.is_empty() {
            self.handle.block_on(self.enqueue(self.report(&late).into_iter().collect()))?;
            failed.extend(late);
        }
        Ok(Settled { queue_id: queue_id.filter(|_| !self.plan.queued.is_empty()), files, failed })
    }

    /// True if the sender gets a report on a recipient who fails. If not, a temporary failure refuses the message, which may then
    /// arrive twice elsewhere: it is not lost.
    fn is_told(&self, recipient: &Recipient) -> bool {
        let wanted = recipient.notify.is_none_or(|notify| notify.failure);
        self.queue.is_some() && self.envelope.sender.address().is_some() && wanted
    }

    /// The failure of mailboxes, with the wishes of the recipients who led to them.
    fn failures(&self, locals: &[LocalRecipient], reply: &SmtpReply) -> Vec<FailedRecipient> {
        let original = |local: &LocalRecipient| {
            let named = |recipient: &&Recipient| recipient.address.as_str() == local.address;
            let recipients = &self.envelope.recipients;
            recipients.iter().find(named).or(recipients.first()).cloned()
        };
        let failure = |local: &LocalRecipient| {
            let original = original(local)?;
            let address = local.final_address(&original.address);
            Some(FailedRecipient::now(&original, address, reply.clone()))
        };
        locals.iter().filter_map(failure).collect()
    }

    /// Gives the message to a program or a file.
    fn run(&self, run: &AgentRun) -> Result<Option<SmtpReply>, Fault> {
        let missing = || Fault::new(Kind::Config, format!("{}: programs and files need a restart", run.target));
        let agent = self.agent.as_ref().ok_or_else(missing)?;
        let sender = self.envelope.sender.as_str();
        let head = copies::head(sender, run.recipients.iter().map(|(to, _)| &*to.original), None);
        let failed = |error| Fault::local("message", &error);
        let mut file = self.spool()?;
        let (header, length) = without_return_path(BufReader::new(self.content.blob.open_at(0))).map_err(failed)?;
        let mut content = header.as_slice().chain(self.content.blob.open_at(length));
        write_with_lf(&mut file, format!("{head}{}", self.trace).as_bytes(), &mut content).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let mut environment = self.client.clone();
        environment.insert("SENDER".to_owned(), sender.to_owned());
        if let Some((first, _)) = run.recipients.first() {
            let all: Vec<&str> = run.recipients.iter().map(|(to, _)| &*to.original).collect();
            let (name, detail) = first.local.split_once('+').unwrap_or((&first.local, ""));
            for (key, value) in [
                ("RECIPIENT", first.original.as_str()),
                ("RECIPIENTS", &all.join("\n")),
                ("LOCAL", name),
                ("EXTENSION", detail),
                ("DOMAIN", &first.domain),
            ] {
                environment.insert(key.to_owned(), value.to_owned());
            }
        }
        self.handle.block_on(agent.deliver(&run.target, environment, sender, &file))
    }

    /// A nameless file beside the queue's bodies.
    fn spool(&self) -> Result<std::fs::File, Fault> {
        let queue = self.queue.as_ref().ok_or_else(|| Fault::new(Kind::Internal, "a program without a queue"))?;
        tempfile::tempfile_in(queue.location()).map_err(|error| Fault::local(queue.location(), &error))
    }

    /// The messages for the queue: one for each route and each alias that leads to others.
    fn for_queue(&self) -> Result<Vec<NewMessage>, Fault> {
        let Some(queue) = &self.queue else { return Ok(Vec::new()) };
        let mut messages = Vec::new();
        let mut used = !self.trace.is_empty();
        for QueuedGroup { alias, route, recipients } in &self.plan.queued {
            let envelope = Envelope { recipients: recipients.clone(), ..self.envelope.clone() };
            let envelope = Envelope { smtputf8: envelope.smtputf8 || !envelope.is_ascii(), ..envelope };
            let message = match alias {
                // The body that arrived becomes the queue's body once.
                None if !used => {
                    used = true;
                    submit::with_body(&envelope, self.content.blob.clone(), self.content.has_8bit)
                }
                _ => {
                    let mark = alias.as_ref().map_or(String::new(), |alias| format!("Delivered-To: {alias}\r\n"));
                    let head = format!("{mark}{}", self.trace);
                    submit::message(&**queue, &envelope, head.as_bytes(), &self.content)?
                }
            };
            messages.push(NewMessage { route: route.clone(), ..message });
        }
        Ok(messages)
    }

    /// Queues all messages at once, and returns the id of the first.
    async fn enqueue(&self, messages: Vec<NewMessage>) -> Result<Option<String>, Fault> {
        match &self.queue {
            Some(queue) if !messages.is_empty() => Ok(queue.enqueue(messages).await?.first().map(ToString::to_string)),
            _ => Ok(None),
        }
    }

    /// The report on recipients that failed.
    fn report(&self, failed: &[FailedRecipient]) -> Option<NewMessage> {
        notice::failed(&self.envelope, failed, &self.id, &self.hostname, &self.content.blob)
    }
}
