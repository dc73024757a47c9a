//! Queries: a question with its flags and EDNS options, and its wire form.

use super::edns::{Edns, EdnsOption};
use super::message::{Composer, Flags, Message, Question, Rcode};
use super::name::Name;
use super::record::{Record, Rtype};
use super::transport::Transport;

/// One question with the other contents of its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Name, type, class.
    pub question: Question,
    /// RD, AD, CD, AA and the opcode.
    pub flags: Flags,
    /// The OPT record; `None` for plain DNS.
    pub edns: Option<Edns>,
    /// A record for the authority section: the SOA of an IXFR (RFC 1995, section 3).
    pub authority: Option<Record>,
    /// The length is padded to a multiple of this; 0 disables padding (RFC 7830). `None`: [`PADDING_BLOCK`] on encrypted
    /// transports, where observers see only the length.
    pub padding: Option<u16>,
    /// True if the answer must repeat the name in the same case.
    pub exact_case: bool,
}

/// Queries on encrypted transports are padded to a multiple of this (RFC 8467, section 4.1).
pub const PADDING_BLOCK: u16 = 128;

impl Query {
    /// A stub resolver's query: recursion desired, with EDNS.
    pub fn new(name: Name, rtype: Rtype) -> Query {
        Query {
            question: Question::new(name, rtype),
            flags: Flags(Flags::RD),
            edns: Some(Edns::default()),
            authority: None,
            padding: None,
            exact_case: false,
        }
    }

    /// The message with this identifier for a transport, with padding if configured or if the transport is encrypted.
    pub fn compose_over(&self, id: u16, transport: Transport) -> Vec<u8> {
        let usual = if transport.is_encrypted() { PADDING_BLOCK } else { 0 };
        let block = usize::from(self.padding.unwrap_or(usual));
        let wire = self.compose(id);
        let Some(edns) = self.edns.as_ref().filter(|edns| block > 0 && edns.option(EdnsOption::PADDING).is_none())
        else {
            return wire;
        };
        // Code and length of the option take four bytes themselves.
        let length = (wire.len() + 4).next_multiple_of(block) - wire.len() - 4;
        let mut padded = Edns::clone(edns);
        padded.options.push(EdnsOption::new(EdnsOption::PADDING, vec![0; length]));
        Query { edns: Some(padded), ..self.clone() }.compose(id)
    }

    /// The message with this identifier.
    pub fn compose(&self, id: u16) -> Vec<u8> {
        let mut composer = Composer::new(id, self.flags);
        composer.question(&self.question);
        if let Some(record) = &self.authority {
            composer.record(2, record, super::message::MAX_MESSAGE_BYTES);
        }
        let mut opt = Vec::new();
        if let Some(edns) = &self.edns {
            edns.compose(&mut opt);
        }
        composer.finish(&opt)
    }

    /// Sets the case of the name's letters from the bits of `random`; answers must then repeat that case
    /// (draft-vixie-dnsext-dns0x20).
    pub fn mix_case(&mut self, random: &[u8]) {
        let mut wire = self.question.name.as_wire().to_vec();
        for (at, byte) in wire.iter_mut().enumerate() {
            let bit = random.get(at / 8).copied().unwrap_or_default() >> (at % 8) & 1;
            // Label lengths are at most 63, below every letter.
            *byte = if bit == 1 { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        }
        if let Ok(name) = Name::from_wire(&wire) {
            self.question.name = name;
            self.exact_case = true;
        }
    }

    /// Copies the full cookie of an answer (client and server part) into the query (RFC 7873, section 5.3). False if there is none.
    pub fn take_cookie(&mut self, answer: &Message) -> bool {
        let theirs = answer.edns.as_ref().and_then(|edns| edns.option(EdnsOption::COOKIE));
        let ours = self.edns.as_mut().and_then(|edns| edns.option_mut(EdnsOption::COOKIE));
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if (16..=40).contains(&theirs.data.len()) => {
                ours.data.clone_from(&theirs.data);
                true
            }
            _ => false,
        }
    }

    /// False if the answer has a cookie whose client part is not ours (RFC 7873, section 5.3). Servers need not support cookies.
    fn has_our_cookie(&self, message: &Message) -> bool {
        let client_part = |edns: Option<&Edns>| {
            edns.and_then(|edns| edns.option(EdnsOption::COOKIE)).map(|cookie| cookie.data.first_chunk::<8>().copied())
        };
        match (client_part(self.edns.as_ref()), client_part(message.edns.as_ref())) {
            (Some(Some(ours)), Some(theirs)) => theirs == Some(ours),
            _ => true,
        }
    }

    /// True if `message` is an answer to this query with this identifier: QR, opcode, our cookie if it has one, and the same
    /// question (RFC 5452, section 9.1). The case of the name is ignored (RFC 4343), unless it was mixed and sent over UDP: on a
    /// connection only the server can answer. Servers that cannot parse a query may answer without a question.
    pub fn is_answered_by(&self, message: &Message, id: u16, transport: Transport) -> bool {
        let exact = self.exact_case && transport == Transport::Udp;
        self.is_answered(message, id) && (!exact || self.has_same_case(message))
    }

    /// True if `message` is an answer to this query except for the mixed case of the name.
    pub fn is_answered_in_another_case(&self, message: &Message, id: u16) -> bool {
        self.exact_case && self.is_answered(message, id) && !self.has_same_case(message)
    }

    fn has_same_case(&self, message: &Message) -> bool {
        message.question.iter().all(|question| question.name.as_wire() == self.question.name.as_wire())
    }

    fn is_answered(&self, message: &Message, id: u16) -> bool {
        let same_question = match message.question.as_slice() {
            [question] => *question == self.question,
            [] => !matches!(message.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN),
            _ => false,
        };
        message.id == id
            && message.flags.has(Flags::QR)
            && message.flags.opcode() == self.flags.opcode()
            && same_question
            && self.has_our_cookie(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Query {
        Query::new(Name::parse("www.example.test").unwrap(), Rtype::A)
    }

    #[test]
    fn bytes_of_a_query() {
        let bytes = query().compose(0xabcd);
        assert_eq!(bytes[..4], [0xab, 0xcd, 1, 0]);
        let back = Message::parse(&bytes).unwrap();
        assert_eq!(back.question[0], query().question);
        assert_eq!(back.edns.unwrap().udp_size, 1232);
    }

    #[test]
    fn only_the_right_answer_counts() {
        let query = query();
        let answer = |change: &dyn Fn(&mut Message)| {
            let mut message = Message::parse(&query.compose(7)).unwrap();
            message.flags.set(Flags::QR, true);
            change(&mut message);
            query.is_answered_by(&message, 7, Transport::Udp)
        };
        assert!(answer(&|_| {}));
        assert!(!answer(&|m| m.id = 8));
        assert!(!answer(&|m| m.flags.set(Flags::QR, false)));
        assert!(!answer(&|m| m.flags.0 |= 0x0800));
        assert!(!answer(&|m| m.question[0].rtype = Rtype::AAAA));
        assert!(
            answer(&|m| m.question[0].name = Name::parse("WWW.Example.TEST").unwrap()),
            "servers may change the case"
        );
        assert!(!answer(&|m| m.question[0].name = Name::parse("www.example.tesu").unwrap()));
        assert!(!answer(&|m| m.question.clear()), "no question only with an error");
        assert!(answer(&|m| {
            m.question.clear();
            m.flags.0 |= 1;
        }));
        assert!(answer(&|m| {
            m.question.clear();
            m.edns.as_mut().unwrap().extended_rcode = 1; // BADVERS
        }));
    }

    #[test]
    fn cookies_are_ours_and_the_servers() {
        let with = |data: &[u8]| {
            let options = vec![EdnsOption::new(EdnsOption::COOKIE, data.to_vec())];
            Query { edns: Some(Edns { options, ..Edns::default() }), ..query() }
        };
        let mut query = with(b"ourcooki");
        let answer = |data: &[u8]| {
            let mut message = Message::parse(&with(data).compose(7)).unwrap();
            message.flags.set(Flags::QR, true);
            message
        };
        for (data, counts, taken) in [
            (&b"ourcookiservers_"[..], true, true),
            (b"ourcooki", true, false),
            (b"ourcookitooshrt", true, false),
            (b"another_servers_", false, true),
            (b"ourco", false, false),
            (b"", false, false),
        ] {
            assert_eq!(query.is_answered_by(&answer(data), 7, Transport::Udp), counts, "{data:?}");
            assert_eq!(query.clone().take_cookie(&answer(data)), taken, "{data:?}");
        }
        assert!(query.take_cookie(&answer(b"ourcookiservers_")));
        assert_eq!(query.edns.as_ref().unwrap().option(EdnsOption::COOKIE).unwrap().data, b"ourcookiservers_");
        assert!(
            with(b"odd").is_answered_by(&answer(b"ourcooki"), 7, Transport::Udp),
            "one that was typed by hand for a test"
        );
    }

    #[test]
    fn padding_hides_the_length_where_it_is_all_there_is_to_see() {
        let length = |query: &Query, transport| query.compose_over(1, transport).len();
        let mut query = query();
        let plain = query.compose(1).len();
        assert_eq!((length(&query, Transport::Udp), length(&query, Transport::Tcp)), (plain, plain));
        for transport in [Transport::Tls, Transport::Https, Transport::Quic] {
            assert_eq!(length(&query, transport), 128);
        }
        let long = vec!["a".repeat(40); 3].join(".");
        assert_eq!(length(&Query::new(Name::parse(&long).unwrap(), Rtype::A), Transport::Tls), 256);
        query.padding = Some(0);
        assert_eq!(length(&query, Transport::Tls), plain);
        query.padding = Some(100);
        assert_eq!((length(&query, Transport::Tls), length(&query, Transport::Udp)), (100, 100));
        let options = Message::parse(&query.compose_over(1, Transport::Udp)).unwrap().edns.unwrap().options;
        assert!(options.len() == 1 && options[0].code == EdnsOption::PADDING);
        query.edns = None;
        assert!(length(&query, Transport::Tls) < 100, "no EDNS, no padding");
    }

    #[test]
    fn mixed_case_must_come_back() {
        let mut query = query();
        query.mix_case(&[0xff, 0, 0]);
        assert_eq!(query.question.name.to_string(), "WWW.EXAmple.test.");
        let mut answer = Message::parse(&query.compose(7)).unwrap();
        answer.flags.set(Flags::QR, true);
        assert!(query.is_answered_by(&answer, 7, Transport::Udp));
        answer.question[0].name = Name::parse("www.example.test").unwrap();
        assert!(!query.is_answered_by(&answer, 7, Transport::Udp));
    }
}
