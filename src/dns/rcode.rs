//! Response codes (RFC 1035, section 4.1.1; RFC 6895, section 2.3), and their meaning for the client.

use std::fmt;

use super::edns::Edns;
use super::record::Rtype;
use crate::fault::Kind;

/// A response code, with the upper bits of EDNS (RFC 6891, section 6.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rcode(pub u16);

#[allow(missing_docs)]
impl Rcode {
    pub const NOERROR: Rcode = Rcode(0);
    pub const FORMERR: Rcode = Rcode(1);
    pub const SERVFAIL: Rcode = Rcode(2);
    pub const NXDOMAIN: Rcode = Rcode(3);
    pub const NOTIMP: Rcode = Rcode(4);
    pub const REFUSED: Rcode = Rcode(5);
    pub const YXDOMAIN: Rcode = Rcode(6);
    pub const NOTAUTH: Rcode = Rcode(9);
    pub const BADVERS: Rcode = Rcode(16);
    pub const BADCOOKIE: Rcode = Rcode(23);
}

impl Rcode {
    /// True if a response shows that its server does not support EDNS, and the query may be repeated without this OPT record: the
    /// code is FORMERR or NOTIMP, and the response has no OPT record (RFC 6891, section 7). BADVERS and errors with an OPT record
    /// come from servers that support EDNS; SERVFAIL and silence have other reasons.
    pub fn rejects(self, edns: &Edns, response_has_edns: bool) -> bool {
        matches!(self, Rcode::FORMERR | Rcode::NOTIMP) && !response_has_edns && edns.is_dispensable()
    }

    /// True for the codes that answer a question, with data or with their absence. Any other code is no answer, and another
    /// server may have one.
    pub fn is_answer(self) -> bool {
        matches!(self, Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::YXDOMAIN)
    }

    /// The fault kind of a code that is no answer: SERVFAIL is temporary, the others are permanent.
    pub fn failure_kind(self) -> Kind {
        if self == Rcode::SERVFAIL { Kind::PeerTemporary } else { Kind::Refused }
    }
}

/// The meaning of a response for its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerMeaning {
    /// The answer has data, or an alias whose target the server does not know.
    Data,
    /// The name has no data of this type (RFC 2308, section 2.2).
    NoData,
    /// The name does not exist (RFC 2308, section 2.1).
    NoName,
    /// The response is truncated: the data may exist.
    Truncated,
    /// The code is no answer.
    Failed,
}

impl AnswerMeaning {
    /// The meaning of a response code, given the types of the records in the answer and authority sections.
    pub fn of(
        rcode: Rcode,
        qtype: Rtype,
        truncated: bool,
        mut answers: impl Iterator<Item = Rtype> + Clone,
        mut authorities: impl Iterator<Item = Rtype>,
    ) -> AnswerMeaning {
        match rcode {
            Rcode::NOERROR if answers.clone().any(|rtype| rtype == qtype || qtype == Rtype::ANY) => AnswerMeaning::Data,
            // An alias that ends in an SOA has no data.
            Rcode::NOERROR if answers.next().is_some() && !authorities.any(|rtype| rtype == Rtype::SOA) => {
                AnswerMeaning::Data
            }
            Rcode::NOERROR if truncated => AnswerMeaning::Truncated,
            Rcode::NOERROR => AnswerMeaning::NoData,
            Rcode::NXDOMAIN | Rcode::YXDOMAIN => AnswerMeaning::NoName,
            _ => AnswerMeaning::Failed,
        }
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: &[&str] = &[
            "NOERROR",
            "FORMERR",
            "SERVFAIL",
            "NXDOMAIN",
            "NOTIMP",
            "REFUSED",
            "YXDOMAIN",
            "YXRRSET",
            "NXRRSET",
            "NOTAUTH",
            "NOTZONE",
            "DSOTYPENI",
        ];
        const EXTENDED: &[&str] =
            &["BADVERS", "BADKEY", "BADTIME", "BADMODE", "BADNAME", "BADALG", "BADTRUNC", "BADCOOKIE"];
        let name = match self.0 {
            0..16 => NAMES.get(usize::from(self.0)),
            other => EXTENDED.get(usize::from(other - 16)),
        };
        match name {
            Some(name) => f.write_str(name),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::edns::EdnsOption;

    /// The rule for repeating a query without EDNS.
    #[test]
    fn when_edns_is_given_up() {
        let with = |code| Edns { options: vec![EdnsOption::new(code, Vec::new())], ..Edns::default() };
        let plain = Edns::default();
        let padded =
            Edns { options: vec![EdnsOption::new(EdnsOption::PADDING, vec![0; 9])], ..with(EdnsOption::COOKIE) };
        let wanted = [
            Edns { dnssec_ok: true, ..plain.clone() },
            Edns { version: 1, ..plain.clone() },
            with(EdnsOption::NSID),
            with(EdnsOption::CLIENT_SUBNET),
            with(65_001),
        ];
        for rcode in (0..=23).map(Rcode) {
            for has_edns in [false, true] {
                let says = matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP) && !has_edns;
                for edns in [&plain, &padded, &with(EdnsOption::COOKIE)] {
                    assert_eq!(rcode.rejects(edns, has_edns), says, "{rcode} {has_edns} {edns:?}");
                }
                assert!(wanted.iter().all(|edns| !rcode.rejects(edns, has_edns)), "{rcode} {has_edns}");
            }
        }
    }
}
