//! Reads answers in place: nothing is copied or allocated, and every offset is checked. Fuzz tests compare the results
//! with the full decoder.

use crate::dns::message::{AnswerMeaning, Flags, Rcode};
use crate::dns::record::Rtype;
use crate::dns::wire::walk::skip;

/// The size of a message header (RFC 1035, section 4.1.1).
pub const HEADER: usize = 12;
/// The type of the EDNS pseudo record (RFC 6891).
const OPT: u16 = 41;
/// The EDNS option for extended errors (RFC 8914).
const EDE: u16 = 15;
/// The EDNS option for cookies (RFC 7873).
const COOKIE: u16 = 10;
/// The EDNS option for padding (RFC 7830).
const PADDING: u16 = 12;

/// A response message: its sections were read once, and every record lies inside it.
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'a> {
    message: &'a [u8],
    /// The start of the answer section.
    answers: usize,
    counts: [u16; 3],
    /// The response code with the upper bits that EDNS adds (RFC 6891, section 6.1.3).
    pub rcode: u16,
    /// The message has an EDNS record.
    pub edns: bool,
    ede: Option<(u16, usize, usize)>,
    cookie: Option<(usize, usize)>,
    /// The EDNS record has options other than extended errors and padding.
    pub options: bool,
    /// The authority section has an SOA record.
    soa: bool,
}

/// One record, as positions in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSpan {
    /// The start of its owner name.
    pub owner: usize,
    /// Its type.
    pub rtype: u16,
    /// Its class.
    pub class: u16,
    /// Its time to live, in seconds, as sent: see [`RecordSpan::seconds`].
    pub ttl: u32,
    /// The start of its data.
    pub data: usize,
    /// The end of its data.
    pub end: usize,
}

impl RecordSpan {
    /// The time to live in seconds. A value with the top bit set means 0 (RFC 2181, section 8), except in an EDNS
    /// record, where the field has another meaning.
    pub fn seconds(&self) -> u32 {
        if self.ttl >> 31 == 0 || self.rtype == OPT { self.ttl } else { 0 }
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(message.get(at..at + 4)?.try_into().ok()?))
}

/// The flags of a header: QR, opcode, AA, TC, RD, RA, AD, CD, rcode.
pub fn flags(message: &[u8]) -> u16 {
    u16_at(message, 2).unwrap_or(0)
}

/// The message's ID, if it has a complete header and is a response (QR) to a standard query.
pub fn response_id(message: &[u8]) -> Option<u16> {
    let standard = message.len() >= HEADER && flags(message) & 0xf800 == 0x8000;
    standard.then(|| u16_at(message, 0))?
}

/// True if the message asks exactly this one question: byte for byte, or without regard to the case of letters.
pub fn asks(message: &[u8], question: &[u8], exactly: bool) -> bool {
    if u16_at(message, 4) != Some(1) {
        return false;
    }
    match message.get(HEADER..HEADER + question.len()) {
        Some(found) if found == question => true,
        // Type and class hold no letters that could differ in case alone: 4 bytes are compared exactly.
        Some(found) if !exactly => {
            let split = question.len().saturating_sub(4);
            match (found.split_at_checked(split), question.split_at_checked(split)) {
                (Some((name, rest)), Some((own_name, own_rest))) => {
                    rest == own_rest && name.eq_ignore_ascii_case(own_name)
                }
                _ => false,
            }
        }
        _ => false,
    }
}

fn record_at(message: &[u8], owner: usize) -> Option<RecordSpan> {
    let at = skip(message, owner)?;
    let length = usize::from(u16_at(message, at + 8)?);
    let (data, end) = (at + 10, at + 10 + length);
    if end > message.len() {
        return None;
    }
    Some(RecordSpan {
        owner,
        rtype: u16_at(message, at)?,
        class: u16_at(message, at + 2)?,
        ttl: u32_at(message, at + 4)?,
        data,
        end,
    })
}

impl<'a> ResponseView<'a> {
    /// Reads a response with one question of `question_len` bytes. `None` if it is malformed: a record beyond the end,
    /// or a second OPT. Bytes after the last record are ignored.
    pub fn new(message: &'a [u8], question_len: usize) -> Option<ResponseView<'a>> {
        let answers = HEADER + question_len;
        let counts = [u16_at(message, 6)?, u16_at(message, 8)?, u16_at(message, 10)?];
        let mut walked = ResponseView {
            message,
            answers,
            counts,
            rcode: flags(message) & 15,
            edns: false,
            ede: None,
            cookie: None,
            options: false,
            soa: false,
        };
        let mut at = answers;
        for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                let place = record_at(message, at)?;
                if section == 2 && place.rtype == OPT {
                    if walked.edns {
                        return None;
                    }
                    walked.opt(&place)?;
                }
                walked.soa |= section == 1 && place.rtype == Rtype::SOA.0;
                at = place.end;
            }
        }
        Some(walked)
    }

    fn opt(&mut self, place: &RecordSpan) -> Option<()> {
        if self.message.get(place.owner) != Some(&0) {
            return None;
        }
        self.edns = true;
        self.rcode |= ((place.ttl >> 24) as u16) << 4;
        let mut at = place.data;
        while at < place.end {
            let (code, length) = (u16_at(self.message, at)?, usize::from(u16_at(self.message, at + 2)?));
            let (data, end) = (at + 4, at + 4 + length);
            if end > place.end {
                return None;
            }
            match code {
                EDE if length >= 2 => self.ede = Some((u16_at(self.message, data)?, data + 2, end)),
                EDE | PADDING => {}
                COOKIE => (self.cookie, self.options) = (Some((data, end)), true),
                _ => self.options = true,
            }
            at = end;
        }
        Some(())
    }

    /// True for an error response without a question.
    pub fn is_bare_error(&self) -> bool {
        u16_at(self.message, 4) == Some(0) && !matches!(Rcode(self.rcode), Rcode::NOERROR | Rcode::NXDOMAIN)
    }

    /// The whole message.
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    /// The number of records in the answer section.
    pub fn answer_count(&self) -> u16 {
        self.counts[0]
    }

    /// The records of the answer section.
    pub fn answers(&self) -> impl Iterator<Item = RecordSpan> + Clone + use<'a> {
        let (message, mut at, mut left) = (self.message, self.answers, self.counts[0]);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let place = record_at(message, at)?;
            at = place.end;
            Some(place)
        })
    }

    /// The meaning of the response to a question for this type.
    pub fn meaning(&self, qtype: u16) -> AnswerMeaning {
        let answers = self.answers().map(|place| Rtype(place.rtype));
        let truncated = flags(self.message) & Flags::TC != 0;
        AnswerMeaning::of(
            Rcode(self.rcode),
            Rtype(qtype),
            truncated,
            answers,
            self.soa.then_some(Rtype::SOA).into_iter(),
        )
    }

    /// The cookie in the response (RFC 7873).
    pub fn cookie(&self) -> Option<&'a [u8]> {
        let (begin, end) = self.cookie?;
        self.message.get(begin..end)
    }

    /// The extended error: its code and its text (RFC 8914).
    pub fn ede(&self) -> Option<(u16, &'a [u8])> {
        let (code, begin, end) = self.ede?;
        Some((code, self.message.get(begin..end)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::name::Name;

    const QUESTION: &[u8] = b"\x01a\x04test\x00\x00\x01\x00\x01";

    /// Builds a response: flags, counts, the question, the rest.
    fn response(flags: u16, counts: [u16; 3], rest: &[u8]) -> Vec<u8> {
        let mut message = vec![0x12, 0x34];
        for number in [flags, 1, counts[0], counts[1], counts[2]] {
            message.extend_from_slice(&number.to_be_bytes());
        }
        message.extend_from_slice(QUESTION);
        message.extend_from_slice(rest);
        message
    }

    #[test]
    fn questions_are_compared() {
        let message = response(0x8180, [0; 3], b"");
        assert_eq!(response_id(&message), Some(0x1234));
        assert!(asks(&message, QUESTION, true));
        assert!(!asks(&message, b"\x01A\x04test\x00\x00\x01\x00\x01", true));
        assert!(asks(&message, b"\x01A\x04TEST\x00\x00\x01\x00\x01", false));
        assert!(!asks(&message, b"\x01b\x04test\x00\x00\x01\x00\x01", false));
        assert!(!asks(&message, b"\x01a\x04test\x00\x00\x41\x00\x01", false), "type 'A' is not type 1");
        assert!(!asks(&message[..20], QUESTION, false));
        assert_eq!(response_id(&response(0x0100, [0; 3], b"")), None, "a query is no answer");
        assert_eq!(response_id(&response(0xa800, [0; 3], b"")), None, "another opcode");
        assert_eq!(response_id(&message[..11]), None);
        let mut two = message;
        two[5] = 2;
        assert!(!asks(&two, QUESTION, false), "RFC 9619: one question");
    }

    #[test]
    fn records_and_edns_are_found() {
        let rest = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x01\
            \x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x09\x00\x0f\x00\x05\x00\x16abc";
        let message = response(0x8183, [1, 0, 1], rest);
        let walked = ResponseView::new(&message, QUESTION.len()).unwrap();
        assert_eq!((walked.rcode, walked.edns, walked.ede()), (0x13, true, Some((22, &b"abc"[..]))));
        let places: Vec<RecordSpan> = walked.answers().collect();
        assert_eq!(places.len(), 1);
        assert_eq!(
            (places[0].rtype, places[0].ttl, &message[places[0].data..places[0].end]),
            (1, 3600, &[192, 0, 2, 1][..])
        );
        let (owner, after) = Name::read(&message, places[0].owner, message.len(), true).unwrap();
        assert_eq!((owner.as_wire(), after), (&b"\x01a\x04test\x00"[..], places[0].owner + 2));
    }

    #[test]
    fn every_cut_is_malformed_and_no_tail_is() {
        let rest = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
        let message = response(0x8180, [1, 0, 1], rest);
        assert!(ResponseView::new(&message, QUESTION.len()).is_some());
        for end in 0..message.len() {
            assert!(ResponseView::new(&message[..end], QUESTION.len()).is_none(), "cut at {end}");
        }
        let longer = [&message[..], b"\0"].concat();
        assert!(ResponseView::new(&longer, QUESTION.len()).is_some());
        let two_opts = response(0x8180, [0, 0, 2], &rest[16..].repeat(2));
        assert!(ResponseView::new(&two_opts, QUESTION.len()).is_none(), "RFC 6891, section 6.1.1: one OPT");
    }
}
