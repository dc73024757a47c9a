//! The destinations of the recipients of one message, each destination once.

use std::collections::HashSet;

use crate::fault::Fault;
use crate::mail::aliases::AliasEnd;
use crate::mail::maildir::quota::MailboxLimit;
use crate::queue::entry::Time;
use crate::relay::route::RouteOverride;
use crate::smtp::address::Address;
use crate::smtp::envelope::{Notify, Recipient};
use crate::smtp::reply::SmtpReply;

use super::agent::AgentTarget;
use super::copies::LocalRecipient;
use super::mailbox::Mailboxes;
use super::recipients::{ExpandedEnd, LocalEnd, RecipientTables};

/// The most recipients of one message that one program gets: their addresses go into its environment.
pub(super) const MAX_PROGRAM_RECIPIENTS: usize = 100;

/// The destinations of one recipient.
#[derive(Debug, Clone)]
pub(super) struct RecipientPlan {
    pub(super) ends: Vec<PlannedEnd>,
    /// The address of the alias that applied, in the form for comparisons.
    pub(super) alias: Option<String>,
}

/// One destination.
#[derive(Debug, Clone)]
pub(super) enum PlannedEnd {
    /// A mailbox on this server.
    Mailbox(LocalRecipient),
    /// A program or a file.
    Agent(AgentTarget, ProgramRecipient),
    /// Another server, through the queue: the recipient itself, or the address to which an alias leads.
    Queue(Option<Address>, Option<RouteOverride>),
    /// A member of an alias that cannot get mail.
    Failed(Address, SmtpReply),
}

/// A recipient for whom a program or file gets the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProgramRecipient {
    /// The address as the client wrote it.
    pub(super) original: String,
    /// The name that led to the program, with its `+detail`.
    pub(super) local: String,
    pub(super) domain: String,
}

impl RecipientPlan {
    /// A recipient in a domain of others.
    pub(super) fn relayed() -> RecipientPlan {
        RecipientPlan { ends: vec![PlannedEnd::Queue(None, None)], alias: None }
    }

    /// True if the message itself goes into the queue, and not a copy for an alias.
    pub(super) fn is_queued(&self) -> bool {
        self.alias.is_none() && self.ends.iter().any(|end| matches!(end, PlannedEnd::Queue(..)))
    }

    /// The mailboxes.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &LocalRecipient> {
        self.ends.iter().filter_map(|end| match end {
            PlannedEnd::Mailbox(local) => Some(local),
            _ => None,
        })
    }

    /// Plans for an address of this server. Blocks: mailboxes are looked up.
    ///
    /// # Errors
    /// The reply for an address without a destination, and the fault that prevented an answer, if there was one.
    pub(super) fn of(
        tables: &RecipientTables,
        mailboxes: Option<&Mailboxes>,
        address: &Address,
        domain: &str,
    ) -> Result<RecipientPlan, (SmtpReply, Option<Fault>)> {
        let local = address.local();
        let original = match address.domain() {
            Some(_) => address.to_string(),
            None => format!("{address}@{domain}"),
        };
        let failed = |fault: Fault| (lookup_failed(&fault), Some(fault));
        let found = tables.expand(&local, domain, mailboxes).map_err(failed)?;
        let (by_alias, mut ends) = (found.by_alias, Vec::new());
        for end in found.ends {
            let end = PlannedEnd::of(end, tables, mailboxes, (&original, address, domain), by_alias).map_err(failed)?;
            ends.push(end);
        }
        for (_, address) in found.unknown {
            if let Ok(address) = Address::parse_lenient(&address) {
                ends.push(PlannedEnd::Failed(address, SmtpReply::status(550, 1, 1, "no such mailbox")));
            }
        }
        if let Some(refusal) =
            ends.iter().all(|end| matches!(end, PlannedEnd::Failed(..))).then(|| first_refusal(&ends))
        {
            return Err((refusal, None));
        }
        let plain = local.split('+').next().filter(|plain| !plain.is_empty()).unwrap_or(&local).to_lowercase();
        Ok(RecipientPlan { ends, alias: by_alias.then(|| format!("{plain}@{domain}")) })
    }
}

fn first_refusal(ends: &[PlannedEnd]) -> SmtpReply {
    let replies = ends.iter().find_map(|end| match end {
        PlannedEnd::Failed(_, reply) => Some(reply.clone()),
        _ => None,
    });
    replies.unwrap_or_else(|| SmtpReply::status(550, 1, 1, "no such mailbox"))
}

fn lookup_failed(fault: &Fault) -> SmtpReply {
    match fault.kind {
        crate::fault::Kind::Config => SmtpReply::status(451, 3, 0, "mailbox cannot be opened as it is"),
        _ => SmtpReply::status(451, 2, 0, "mailbox cannot be looked up now"),
    }
}

/// The reply for a mailbox without room for a message.
pub(super) fn over_quota() -> SmtpReply {
    SmtpReply::status(452, 2, 2, "mailbox is full")
}

impl PlannedEnd {
    fn of(
        end: ExpandedEnd,
        tables: &RecipientTables,
        mailboxes: Option<&Mailboxes>,
        (original, address, domain): (&str, &Address, &str),
        by_alias: bool,
    ) -> Result<PlannedEnd, Fault> {
        let named = address.local();
        let recipient = |local: &str, domain: &str| ProgramRecipient {
            original: original.to_owned(),
            local: local.to_owned(),
            domain: domain.to_owned(),
        };
        Ok(match end {
            AliasEnd::Mailbox(LocalEnd::Mailbox(mailbox), domain) => {
                let limit: Option<MailboxLimit> = mailboxes.and_then(|mailboxes| mailboxes.limit(&mailbox, &domain));
                let full = limit.zip(mailboxes).map(|(limit, mailboxes)| mailboxes.has_room(&mailbox.path, limit, 1));
                let local = LocalRecipient { address: original.to_owned(), domain, mailbox, limit };
                match full.transpose()? {
                    Some(false) => PlannedEnd::Failed(local.final_address(address), over_quota()),
                    Some(true) | None => PlannedEnd::Mailbox(local),
                }
            }
            AliasEnd::Mailbox(LocalEnd::Program(name), domain) => {
                PlannedEnd::Agent(tables.program(), recipient(&name, &domain))
            }
            AliasEnd::Mailbox(LocalEnd::Route(address, route), _) => {
                PlannedEnd::Queue(by_alias.then_some(address), Some(route))
            }
            AliasEnd::Remote(address) => PlannedEnd::Queue(Some(address), None),
            AliasEnd::Command(words) => PlannedEnd::Agent(AgentTarget::Command(words), recipient(&named, domain)),
            AliasEnd::File(path) => PlannedEnd::Agent(AgentTarget::File(path), recipient(&named, domain)),
        })
    }
}

/// The destinations of a whole message, each once.
#[derive(Debug, Default)]
pub(super) struct MessagePlan {
    pub(super) locals: Vec<LocalRecipient>,
    pub(super) agents: Vec<AgentRun>,
    pub(super) queued: Vec<QueuedGroup>,
    pub(super) failed: Vec<FailedRecipient>,
    pub(super) reached: ReachedRecipients,
}

/// The recipients whose success this server knows.
#[derive(Debug, Default)]
pub(super) struct ReachedRecipients {
    /// Those whose destinations are all on this server.
    pub(super) delivered: Vec<Recipient>,
    /// Those who became several.
    pub(super) expanded: Vec<Recipient>,
}

/// A program or file, and the recipients for whom it gets the message.
#[derive(Debug)]
pub(super) struct AgentRun {
    pub(super) target: AgentTarget,
    pub(super) recipients: Vec<(ProgramRecipient, Recipient)>,
}

/// Recipients that become one message in the queue.
#[derive(Debug)]
pub(super) struct QueuedGroup {
    /// The alias that leads to them.
    pub(super) alias: Option<String>,
    pub(super) route: Option<RouteOverride>,
    pub(super) recipients: Vec<Recipient>,
}

/// A recipient of an accepted message who does not get it.
#[derive(Debug, Clone)]
pub(super) struct FailedRecipient {
    /// The address that failed, with the wishes of the recipient.
    pub(super) recipient: Recipient,
    /// The recipient.
    pub(super) original: Address,
    pub(super) reply: SmtpReply,
    pub(super) at: Time,
}

impl FailedRecipient {
    /// The failure of an address that a recipient led to.
    pub(super) fn now(original: &Recipient, address: Address, reply: SmtpReply) -> FailedRecipient {
        let at = Time(crate::net::clock::unix_micros() / 1000);
        let recipient = Recipient { address, ..original.clone() };
        FailedRecipient { recipient, original: original.address.clone(), reply, at }
    }
}

impl MessagePlan {
    /// Sorts the destinations of all recipients.
    pub(super) fn new(recipients: &[Recipient], plans: Vec<RecipientPlan>) -> MessagePlan {
        let mut plan = MessagePlan::default();
        let mut queued = HashSet::new();
        for (recipient, RecipientPlan { ends, alias }) in recipients.iter().zip(plans) {
            let several = ends.len() > 1;
            let at_home = ends.iter().all(|end| matches!(end, PlannedEnd::Mailbox(_) | PlannedEnd::Agent(..)));
            if at_home {
                plan.reached.delivered.push(recipient.clone());
            } else if several {
                plan.reached.expanded.push(recipient.clone());
            }
            for end in ends {
                match end {
                    PlannedEnd::Mailbox(local) => plan.locals.push(local),
                    PlannedEnd::Agent(target, to) => plan.run(target, to, recipient),
                    PlannedEnd::Queue(to, route) => {
                        let to = to.map_or_else(|| recipient.clone(), |address| forwarded(recipient, address, several));
                        let key = (to.address.comparison_key(), route.as_ref().map(|route| route.as_str().to_owned()));
                        let new = queued.insert(key);
                        if alias.is_none() || new {
                            plan.queue(alias.as_ref(), route, to);
                        }
                    }
                    PlannedEnd::Failed(address, reply) => {
                        plan.failed.push(FailedRecipient::now(recipient, address, reply));
                    }
                }
            }
        }
        plan
    }

    fn run(&mut self, target: AgentTarget, to: ProgramRecipient, recipient: &Recipient) {
        let to = (to, recipient.clone());
        match self.agents.iter_mut().find(|run| run.target == target) {
            Some(run) if run.recipients.len() < MAX_PROGRAM_RECIPIENTS => run.recipients.push(to),
            // The others get this message as well; their names do not fit.
            Some(_) => {}
            None => self.agents.push(AgentRun { target, recipients: vec![to] }),
        }
    }

    fn queue(&mut self, alias: Option<&String>, route: Option<RouteOverride>, to: Recipient) {
        match self.queued.iter_mut().find(|group| group.alias.as_ref() == alias && group.route == route) {
            Some(group) => group.recipients.push(to),
            None => self.queued.push(QueuedGroup { alias: alias.cloned(), route, recipients: vec![to] }),
        }
    }
}

/// The recipient to which an alias leads. Of several, none reports a success: the report that the alias was expanded does that
/// (RFC 3461, section 5.2.7).
fn forwarded(recipient: &Recipient, address: Address, several: bool) -> Recipient {
    let notify = recipient.notify.map(|notify| Notify { success: notify.success && !several, ..notify });
    let ascii = Some(&recipient.address).filter(|address| address.is_ascii());
    let orcpt = recipient.orcpt.clone().or_else(|| format!("rfc822;{}", ascii?).parse().ok());
    Recipient { address, notify, orcpt }
}
