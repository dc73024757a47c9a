//! One lie at every place of an answer: what somebody on the way can change without a key.

use std::collections::BTreeMap;

use applayer::dns::message::{Message, Question, Rcode};
use applayer::dns::name::Name;
use applayer::dns::record::{Class, Record, Rtype};

use crate::random::Random;

/// An answer that is not the honest one.
#[derive(Debug, Clone)]
pub(crate) struct Lie {
    /// What was changed; and the place for whoever looks for it.
    pub(crate) kind: &'static str,
    pub(crate) place: String,
    pub(crate) message: Message,
}

type Edit = fn(&mut Record, &Name);

/// Lengths and places in the data of RRSIG (RFC 4034, section 3.1) are fixed up to the signer.
const SIGNER: usize = 18;

/// Changes of one record; the types that they are for, none: all but RRSIG and denials.
const EDITS: &[(&str, &[Rtype], Edit)] = &[
    ("data", &[], |record, _| flip(record, 0)),
    ("data's end", &[], |record, _| {
        let last = record.rdata.len().saturating_sub(1);
        flip(record, last);
    }),
    ("owner is the question's", ALL, |record, name| record.name = name.clone()),
    ("owner above", ALL, |record, _| record.name = record.name.parent().unwrap_or_else(Name::root)),
    ("owner below", ALL, |record, _| record.name = record.name.prepend(b"lie").unwrap()),
    ("owner in capitals", ALL, |record, _| record.name = Name::parse(&record.name.to_string().to_uppercase()).unwrap()),
    ("owner is a wildcard", ALL, |record, _| {
        record.name = record.name.parent().unwrap_or_else(Name::root).prepend(b"*").unwrap();
    }),
    ("time to live", ALL, |record, _| record.ttl = 99_999_999),
    ("type", &[], |record, _| record.rtype = Rtype(record.rtype.0 ^ 1)),
    ("class", ALL, |record, _| record.class = Class(3)),
    ("covered type", &[Rtype::RRSIG], |record, _| flip(record, 1)),
    ("algorithm", &[Rtype::RRSIG], |record, _| record.rdata[2] = if record.rdata[2] == 13 { 15 } else { 13 }),
    ("unknown algorithm", &[Rtype::RRSIG], |record, _| record.rdata[2] = 253),
    ("fewer labels", &[Rtype::RRSIG], |record, _| record.rdata[3] = record.rdata[3].saturating_sub(1)),
    ("more labels", &[Rtype::RRSIG], |record, _| record.rdata[3] += 1),
    ("original TTL", &[Rtype::RRSIG], |record, _| flip(record, 5)),
    ("expiration", &[Rtype::RRSIG], |record, _| flip(record, 9)),
    ("inception", &[Rtype::RRSIG], |record, _| flip(record, 15)),
    ("key tag", &[Rtype::RRSIG], |record, _| flip(record, 17)),
    ("signer above", &[Rtype::RRSIG], |record, _| {
        let length = usize::from(record.rdata[SIGNER]);
        if length > 0 {
            record.rdata.drain(SIGNER..=SIGNER + length);
        }
    }),
    ("signer is the owner", &[Rtype::RRSIG], |record, _| {
        let (signer, _) = Name::read(&record.rdata, SIGNER, record.rdata.len(), false).unwrap();
        record.rdata.splice(SIGNER..SIGNER + signer.as_wire().len(), record.name.as_wire().to_vec());
    }),
    ("signature", &[Rtype::RRSIG], |record, _| {
        let last = record.rdata.len() - 1;
        flip(record, last);
    }),
    ("no signature", &[Rtype::RRSIG], |record, _| record.rdata.truncate(record.rdata.len() - 32)),
    ("next name", &[Rtype::NSEC], |record, name| {
        let (next, end) = Name::read(&record.rdata, 0, record.rdata.len(), false).unwrap();
        let lie = name.prepend(b"zz").unwrap_or(next);
        record.rdata.splice(..end, lie.as_wire().to_vec());
    }),
    ("bit map", DENIALS, |record, _| {
        let last = record.rdata.len() - 1;
        flip(record, last);
    }),
    ("empty bit map", &[Rtype::NSEC], |record, _| {
        let (_, end) = Name::read(&record.rdata, 0, record.rdata.len(), false).unwrap();
        record.rdata.truncate(end);
    }),
    ("opt-out", &[Rtype::NSEC3], |record, _| flip(record, 1)),
    ("iterations", &[Rtype::NSEC3], |record, _| record.rdata[2] = 9),
    ("next hash", &[Rtype::NSEC3], |record, _| {
        let at = 6 + usize::from(record.rdata[4]);
        record.rdata[at..at + 20].fill(0xff);
    }),
];

const ALL: &[Rtype] = &[Rtype(0)];
const DENIALS: &[Rtype] = &[Rtype::NSEC, Rtype::NSEC3];

fn flip(record: &mut Record, at: usize) {
    if let Some(byte) = record.rdata.get_mut(at) {
        *byte ^= 1;
    }
}

fn applies(types: &[Rtype], rtype: Rtype) -> bool {
    let special = [Rtype::RRSIG, Rtype::NSEC, Rtype::NSEC3].contains(&rtype);
    types == ALL || types.contains(&rtype) || (types.is_empty() && !special)
}

fn section(message: &mut Message, authority: bool) -> &mut Vec<Record> {
    if authority { &mut message.authority } else { &mut message.answer }
}

fn of_set(set: &Record) -> impl Fn(&Record) -> bool {
    let (name, rtype) = (set.name.clone(), set.rtype);
    move |record| {
        let covers = record.rtype == Rtype::RRSIG && record.rdata.starts_with(&rtype.0.to_be_bytes());
        record.name == name && (record.rtype == rtype || covers)
    }
}

/// So many lies by chance, each of another kind.
pub(crate) fn some_of(random: &mut Random, mut all: Vec<Lie>, count: usize) -> Vec<Lie> {
    let mut by_kind: BTreeMap<&'static str, Lie> = BTreeMap::new();
    while !all.is_empty() {
        let lie = all.swap_remove(random.below(all.len() as u64) as usize);
        by_kind.insert(lie.kind, lie);
    }
    let mut kinds: Vec<Lie> = by_kind.into_values().collect();
    while kinds.len() > count {
        kinds.swap_remove(random.below(kinds.len() as u64) as usize);
    }
    kinds
}

/// Every lie in one place, about an answer whose honest form is `honest`. `others` are honest answers to other questions of
/// the same hierarchy, to be played instead.
pub(crate) fn lies(question: &Question, honest: &Message, others: &[Message]) -> Vec<Lie> {
    let mut lies = Vec::new();
    let mut say = |kind: &'static str, place: String, lie: &dyn Fn(&mut Message)| {
        let mut message = honest.clone();
        lie(&mut message);
        lies.push(Lie { kind, place, message });
    };
    let with_code = |message: &mut Message, rcode: Rcode| message.flags.0 = message.flags.0 & !15 | rcode.0;
    for rcode in [Rcode::NOERROR, Rcode::NXDOMAIN, Rcode::YXDOMAIN, Rcode::SERVFAIL, Rcode::REFUSED] {
        say("response code", rcode.to_string(), &|message| with_code(message, rcode));
        say("nothing but a code", rcode.to_string(), &|message| {
            message.answer.clear();
            message.authority.clear();
            with_code(message, rcode);
        });
        say("proofs and a code", rcode.to_string(), &|message| {
            message.answer.clear();
            with_code(message, rcode);
        });
    }
    say("no signatures", String::new(), &|message| {
        for authority in [false, true] {
            section(message, authority).retain(|record| record.rtype != Rtype::RRSIG);
        }
    });
    say("no authority", String::new(), &|message| message.authority.clear());
    say("sections swapped", String::new(), &|message| std::mem::swap(&mut message.answer, &mut message.authority));
    say("order", String::new(), &|message| {
        message.answer.reverse();
        message.authority.reverse();
    });
    let forged = |rtype: Rtype| {
        let target = || Name::parse("forged.").unwrap().as_wire().to_vec();
        let rdata = match rtype {
            Rtype::A => vec![203, 0, 113, 66],
            Rtype::CNAME | Rtype::DNAME | Rtype::NS => target(),
            _ => b"\x06forged".to_vec(),
        };
        Record { name: question.name.clone(), rtype, class: Class::IN, ttl: 60, rdata }
    };
    for rtype in [question.rtype, Rtype::CNAME, Rtype::DNAME, Rtype::NS] {
        for authority in [false, true] {
            let place = format!("{rtype} {authority}");
            say("unsigned record in front", place.clone(), &|message| {
                section(message, authority).insert(0, forged(rtype))
            });
            say("unsigned record behind", place.clone(), &|message| section(message, authority).push(forged(rtype)));
        }
        say("an unsigned answer", rtype.to_string(), &|message| {
            (message.answer, message.authority) = (vec![forged(rtype)], Vec::new());
            with_code(message, Rcode::NOERROR);
        });
    }
    for authority in [false, true] {
        let records = if authority { &honest.authority } else { &honest.answer };
        for (at, record) in records.iter().enumerate() {
            let place = format!("{} {} {}", if authority { "authority" } else { "answer" }, record.name, record.rtype);
            say("record dropped", place.clone(), &|message| drop(section(message, authority).remove(at)));
            say("record moved", place.clone(), &|message| {
                let record = section(message, authority).remove(at);
                section(message, !authority).push(record);
            });
            say("record twice", place.clone(), &|message| section(message, authority).push(record.clone()));
            if record.rtype != Rtype::RRSIG {
                let same = of_set(record);
                say("set dropped", place.clone(), &|message| {
                    section(message, authority).retain(|record| !same(record))
                });
                say("signatures dropped", place.clone(), &|message| {
                    section(message, authority).retain(|record| record.rtype != Rtype::RRSIG || !same(record));
                });
                say("record more", place.clone(), &|message| {
                    let mut more = record.clone();
                    let last = more.rdata.len().saturating_sub(1);
                    flip(&mut more, last);
                    section(message, authority).push(more);
                });
                // The whole set with its signature under the name of the question: what a wildcard would do.
                say("set under the question's name", place.clone(), &|message| {
                    let same = section(message, authority).iter_mut().filter(|record| same(record));
                    same.for_each(|record| record.name = question.name.clone());
                });
            }
            for (kind, types, edit) in EDITS {
                if applies(types, record.rtype) {
                    say(kind, place.clone(), &|message| edit(&mut section(message, authority)[at], &question.name));
                }
            }
            if record.rtype == Rtype::RRSIG
                && let Some(other) = records.iter().skip(at + 1).find(|other| other.rtype == Rtype::RRSIG)
            {
                say("another's signature", place, &|message| {
                    section(message, authority)[at].rdata.clone_from(&other.rdata)
                });
            }
        }
    }
    for (at, other) in others.iter().enumerate() {
        let asked = &other.question[0];
        let place = format!("{} {}", asked.name, asked.rtype);
        let rename = |record: &mut Record| {
            if record.name == asked.name {
                record.name = question.name.clone();
            }
        };
        say("another answer", place.clone(), &|message| {
            *message = Message { question: honest.question.clone(), ..other.clone() };
        });
        say("another answer, renamed", place.clone(), &|message| {
            *message = Message { question: honest.question.clone(), ..other.clone() };
            message.answer.iter_mut().for_each(rename);
        });
        say("another answer in addition", place.clone(), &|message| {
            message.answer.extend(other.answer.iter().cloned());
            message.authority.extend(other.authority.iter().cloned());
        });
        for rcode in [Rcode::NOERROR, Rcode::NXDOMAIN] {
            say("another denial", format!("{place} {rcode}"), &|message| {
                message.answer.clear();
                message.authority.clone_from(&other.authority);
                with_code(message, rcode);
            });
            // Two proofs together, each of them right for another question.
            let second = &others[(at * 7 + 1) % others.len()].authority;
            say("two other denials", format!("{place} {rcode}"), &|message| {
                message.answer.clear();
                message.authority = [other.authority.as_slice(), second].concat();
                with_code(message, rcode);
            });
        }
    }
    lies
}
