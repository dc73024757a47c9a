//! Questions that another server must answer, completely or in part: names outside the served zones, aliases that lead out
//! of them, names below a delegation. The other server's answer becomes the response to the client.

use super::{DnsResponse, finish};
use crate::dns::edns::{Edns, EdnsOption};
use crate::dns::message::{Flags, Message, Question, Rcode};

/// The question for another server. Clients with an equal question share one answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamQuestion {
    /// Name, type, class: the client's own question, or the question for the target of an alias.
    pub question: Question,
    /// RD, CD and AD as the client set them.
    pub flags: Flags,
    /// The client wants DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
}

/// A client's question that may be forwarded to another server.
#[derive(Debug, Clone)]
pub struct OnwardQuestion {
    /// The question for the other server.
    pub upstream: UpstreamQuestion,
    /// The part of the response from the served zones.
    pub(super) response: Message,
    pub(super) rcode: Rcode,
    /// The maximum size in bytes, and the number of additional records that must fit into it.
    pub(super) room: (usize, usize),
    /// The number of authority records that belong to the answer and not to a referral.
    pub(super) kept: usize,
}

impl OnwardQuestion {
    /// The response if the server does not forward, or not for this client: REFUSED, an alias without its target, or a referral.
    pub fn unforwarded(self) -> DnsResponse {
        finish(self.response, self.rcode, self.room)
    }

    /// The response if no other server answered: SERVFAIL with an extended error (RFC 8914).
    pub fn failed(mut self, extended_error: u16) -> DnsResponse {
        self.clear();
        self.response.answer.clear();
        self.response.flags.set(Flags::AA, false);
        if let Some(edns) = &mut self.response.edns {
            edns.options.push(EdnsOption::new(EdnsOption::EXTENDED_ERROR, extended_error.to_be_bytes().to_vec()));
        }
        finish(self.response, Rcode::SERVFAIL, (self.room.0, 0))
    }

    /// Appends another server's answer to our own part. A response code that concerns only the message to that server, not the
    /// name, becomes SERVFAIL. AA describes our own part alone (RFC 1034, section 6.2.7). AD is passed on if the client asked
    /// for it and our own part is empty (RFC 6840, section 5.8).
    pub fn completed(mut self, answer: &Message) -> DnsResponse {
        self.clear();
        let rcode = match answer.rcode() {
            same @ (Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::YXDOMAIN | Rcode::REFUSED) => same,
            _ => Rcode::SERVFAIL,
        };
        let UpstreamQuestion { question, flags, dnssec_ok } = &self.upstream;
        let wants_ad = *dnssec_ok || flags.has(Flags::AD);
        let authentic = self.response.answer.is_empty() && wants_ad && answer.flags.has(Flags::AD);
        self.response.flags.set(Flags::AD, authentic);
        // The name was sent in random case: the client gets its own spelling back.
        let records = answer.answer.iter().cloned().map(|mut record| {
            if record.name == question.name {
                record.name.clone_from(&question.name);
            }
            record
        });
        self.response.answer.extend(records);
        self.response.authority.extend_from_slice(&answer.authority);
        self.response.additional.extend_from_slice(&answer.additional);
        if let (Some(edns), Some(theirs)) = (&mut self.response.edns, &answer.edns) {
            pass_on(edns, theirs);
        }
        finish(self.response, rcode, (self.room.0, 0))
    }

    /// Removes the referral, which the client would follow itself.
    fn clear(&mut self) {
        self.response.authority.truncate(self.kept);
        self.response.additional.clear();
    }
}

/// Copies extended errors, which concern the name; every other option applies to one hop only.
fn pass_on(edns: &mut Edns, theirs: &Edns) {
    let errors = theirs.options.iter().filter(|option| option.code == EdnsOption::EXTENDED_ERROR);
    edns.options.extend(errors.take(4).cloned());
}
