//! Questions whose answer, or the rest of it, another server has: names outside our zones, aliases that lead out of them,
//! names below a delegation. What comes back from there becomes the response to the client.

use super::{DnsResponse, finish};
use crate::dns::edns::{Edns, EdnsOption};
use crate::dns::message::{Flags, Message, Question, Rcode};

/// What another server is asked. Clients that ask the same get the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamQuestion {
    /// Name, type, class: the client's own question, or that for the target of an alias.
    pub question: Question,
    /// RD, CD and AD as the client set them.
    pub flags: Flags,
    /// The client wants DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
}

/// A client's question that may go to another server.
#[derive(Debug, Clone)]
pub struct OnwardQuestion {
    /// What to ask there.
    pub upstream: UpstreamQuestion,
    /// What our zones have to say.
    pub(super) response: Message,
    pub(super) rcode: Rcode,
    /// The most bytes, and how many additional records must fit into them.
    pub(super) room: (usize, usize),
    /// How many authority records are part of the answer, not of a referral.
    pub(super) kept: usize,
}

impl OnwardQuestion {
    /// The response where nobody else is asked, or the client may not have others asked: REFUSED, an alias without its target, or a referral.
    pub fn unforwarded(self) -> DnsResponse {
        finish(self.response, self.rcode, self.room)
    }

    /// The response where others were asked and none answered: SERVFAIL, and why (RFC 8914).
    pub fn failed(mut self, extended_error: u16) -> DnsResponse {
        self.clear();
        self.response.answer.clear();
        self.response.flags.set(Flags::AA, false);
        if let Some(edns) = &mut self.response.edns {
            edns.options.push(EdnsOption::new(EdnsOption::EXTENDED_ERROR, extended_error.to_be_bytes().to_vec()));
        }
        finish(self.response, Rcode::SERVFAIL, (self.room.0, 0))
    }

    /// Our part with what another server answered behind it. A code that is about the message between us and that server, not
    /// about the name, is SERVFAIL to the client. AA stays true of our own part alone (RFC 1034, section 6.2.7); AD is passed on
    /// to whoever asked for it where nothing of ours stands before (RFC 6840, section 5.8).
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
        // The name went out in letters of random case: the client gets its own back.
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

    /// Takes away what leads the client on by itself.
    fn clear(&mut self) {
        self.response.authority.truncate(self.kept);
        self.response.additional.clear();
    }
}

/// Extended errors are about the name; every other option is between two neighbours.
fn pass_on(edns: &mut Edns, theirs: &Edns) {
    let errors = theirs.options.iter().filter(|option| option.code == EdnsOption::EXTENDED_ERROR);
    edns.options.extend(errors.take(4).cloned());
}
