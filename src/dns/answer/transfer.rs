//! The messages of an outgoing zone transfer (RFC 5936, section 2.2). Each is built on demand from the served zone, which is
//! never copied, for any number of clients. Pure.

use std::sync::Arc;

use super::{Composer, Flags, MAX_MESSAGE_BYTES, Message, Question, Rcode, Record, Rtype, Zone, Zones};
use crate::dns::record::Class;
use crate::dns::record::rdata::Soa;

/// The size up to which a transfer message is filled, in bytes.
const TRANSFER_MESSAGE_BYTES: usize = 16_384;

/// One transfer and its progress. It keeps the version of the zone that it started with.
#[derive(Debug)]
pub struct OutgoingTransfer {
    zone: Arc<Zone>,
    id: u16,
    flags: Flags,
    question: Question,
    part: TransferPart,
    /// Bytes of each message that are reserved for its signature.
    room: usize,
    /// Indexes of the next record: its name in the zone, its set at the name, its data in the set.
    next: (usize, usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransferPart {
    /// The SOA record at the beginning.
    Begin,
    Records,
    /// The SOA record at the end.
    End,
    Done,
}

impl OutgoingTransfer {
    /// The answer to a transfer query, if the client is `allowed` to transfer. An IXFR gets the whole zone, or only the SOA
    /// record if the client's version is the same or newer (RFC 1995, section 2). If neither serial is newer than the other
    /// (RFC 1982, section 3.2), the client gets the zone, as from BIND and Knot.
    ///
    /// # Errors
    /// The response code to send instead of the transfer.
    pub fn new(zones: &Zones, query: &Message, allowed: bool) -> Result<OutgoingTransfer, Rcode> {
        let question = query.question.first().ok_or(Rcode::FORMERR)?.clone();
        if !allowed {
            return Err(Rcode::REFUSED);
        }
        let zone = zones.get(&question.name).ok_or(Rcode::NOTAUTH)?.clone();
        let is_current = question.rtype == Rtype::IXFR && {
            let soa = query.authority.iter().find(|record| record.rtype == Rtype::SOA && record.name == question.name);
            soa.and_then(|soa| Soa::parse(&soa.rdata).ok()).ok_or(Rcode::FORMERR)?.serial >= zone.serial()
        };
        let mut flags = Flags(query.flags.0 & Flags::RD);
        flags.set(Flags::QR, true);
        flags.set(Flags::AA, true);
        let part = if is_current { TransferPart::End } else { TransferPart::Begin };
        Ok(OutgoingTransfer { zone, id: query.id, flags, question, part, room: 0, next: (0, 0, 0) })
    }

    /// Reserves `room` bytes of each message for its signature.
    #[must_use]
    pub fn with_room(mut self, room: usize) -> OutgoingTransfer {
        self.room = room;
        self
    }

    /// The next message; `None` after the last. A record too large for any message ends the transfer with SERVFAIL.
    pub fn next_message(&mut self) -> Option<Vec<u8>> {
        let mut record = self.record()?;
        let mut composer = Composer::new(self.id, self.flags);
        composer.question(&self.question);
        let head = composer.size();
        loop {
            let limit = if composer.size() == head { MAX_MESSAGE_BYTES - self.room } else { TRANSFER_MESSAGE_BYTES };
            if !composer.record(1, &record, limit) {
                break;
            }
            self.advance();
            match self.record() {
                Some(next) => record = next,
                None => break,
            }
        }
        if composer.size() == head {
            self.part = TransferPart::Done;
            let mut composer = Composer::new(self.id, Flags(self.flags.0 | Rcode::SERVFAIL.0));
            composer.question(&self.question);
            return Some(composer.finish(&[]));
        }
        Some(composer.finish(&[]))
    }

    /// The next record.
    fn record(&mut self) -> Option<Record> {
        match self.part {
            TransferPart::Begin | TransferPart::End => return Some(self.zone.soa().clone()),
            TransferPart::Done => return None,
            TransferPart::Records => {}
        }
        loop {
            let (place, set, data) = self.next;
            let Some((name, node)) = self.zone.at(place) else {
                self.part = TransferPart::End;
                return Some(self.zone.soa().clone());
            };
            match node.sets().get(set) {
                None => self.next = (place + 1, 0, 0),
                Some(found) => match found.rdata.get(data).filter(|_| found.rtype != Rtype::SOA) {
                    None => self.next = (place, set + 1, 0),
                    Some(rdata) => {
                        let (rtype, ttl, rdata) = (found.rtype, found.ttl, rdata.clone());
                        return Some(Record { name: name.clone(), rtype, class: Class::IN, ttl, rdata });
                    }
                },
            }
        }
    }

    fn advance(&mut self) {
        match self.part {
            TransferPart::Begin => self.part = TransferPart::Records,
            TransferPart::Records => self.next.2 += 1,
            TransferPart::End | TransferPart::Done => self.part = TransferPart::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::name::Name;
    use crate::dns::query::Query;
    use crate::dns::transfer::Sequence;
    use crate::dns::zone::ZoneSource;

    fn zones(text: &str) -> Zones {
        let text = format!("$ORIGIN z.test.\n$TTL 1h\n@ SOA ns host 7 2 3 4 5\n{text}").into_bytes();
        let mut zones = Zones::default();
        let zone = Zone::read(ZoneSource { name: "z".to_owned(), text }, None, &mut |_| Err(String::new())).unwrap();
        assert!(zones.add(zone));
        zones
    }

    fn axfr() -> Message {
        let query = Query::new(Name::parse("z.test").unwrap(), Rtype::AXFR);
        Message::parse(&query.compose(9)).unwrap()
    }

    /// Every record once, the SOA at both ends, in order of names, for all sizes: sets that span many messages, names without
    /// records, messages of one record.
    #[test]
    fn a_zone_in_messages() {
        let many: String = (0..3000).map(|number| format!("many TXT \"{number:040}\"\n")).collect();
        let big = format!("big TXT {}\n", "\"".to_owned() + &vec!["x".repeat(250); 200].join("\" \"") + "\"");
        for (text, records, messages) in [
            ("", 2, 1),
            ("@ NS ns\na.b.c A 192.0.2.1\nns A 192.0.2.2\nns AAAA 2001:db8::1\n", 6, 1),
            (&many, 3002, 10),
            (&format!("{big}a A 192.0.2.1\nz A 192.0.2.2\n"), 5, 3),
        ] {
            let mut transfer = OutgoingTransfer::new(&zones(text), &axfr(), true).unwrap();
            let mut sequence = Sequence::new(Name::parse("z.test").unwrap(), None);
            let (mut seen, mut count) = (Vec::new(), 0);
            while let Some(wire) = transfer.next_message() {
                let message = Message::parse(&wire).unwrap();
                assert_eq!((message.id, message.rcode()), (9, Rcode::NOERROR));
                assert!(wire.len() <= TRANSFER_MESSAGE_BYTES || message.answer.len() == 1, "{}", wire.len());
                for record in &message.answer {
                    sequence.take(record).unwrap();
                }
                seen.extend(message.answer);
                count += 1;
            }
            assert!(sequence.is_done());
            assert_eq!((seen.len(), count), (records, messages), "{text:.80}");
            assert!(seen[1..records - 1].is_sorted_by(|a, b| a.name <= b.name));
        }
    }

    #[test]
    fn a_record_that_fits_no_message_is_said() {
        let text = format!("@ NS ns\nx TYPE65400 \\# 65530 {}\n", "00".repeat(65_530));
        let mut transfer = OutgoingTransfer::new(&zones(&text), &axfr(), true).unwrap();
        let codes: Vec<Rcode> =
            std::iter::from_fn(|| transfer.next_message()).map(|wire| Message::parse(&wire).unwrap().rcode()).collect();
        assert_eq!(codes, [Rcode::NOERROR, Rcode::SERVFAIL]);
    }
}
