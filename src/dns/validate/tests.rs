//! Verdicts over a signed hierarchy (`tests/data/dns/signed`), answered by the project's own server core, and verdicts
//! over answers that were tampered with.

use std::cell::Cell;

use super::*;
use crate::dns::answer::{Zones, answer};
use crate::dns::edns::Edns;
use crate::dns::message::{Flags, Rcode};
use crate::dns::query::Query;
use crate::dns::record::Rtype;
use crate::dns::zone::{Zone, ZoneSource};
use crate::fault::Kind;

/// Midsummer 2026, when the signatures are valid.
pub(super) const AT: u64 = 1_782_000_000;

fn data(file: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/dns/signed/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(super) fn hierarchy() -> Zones {
    let mut zones = Zones::default();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dns/signed")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".zone") else { continue };
        let source = ZoneSource { name: name.to_owned(), text: data(&file) };
        let origin = if name == "root" { Name::root() } else { Name::parse(name).unwrap() };
        assert!(zones.add(Zone::read(source, Some(origin), &mut |_| Err(String::new())).unwrap()));
    }
    zones
}

pub(super) fn anchors() -> Anchors {
    Anchors::parse(&data("anchor")).unwrap()
}

fn serve(zones: &Zones, question: &Question) -> Message {
    let edns = Some(Edns { dnssec_ok: true, ..Edns::default() });
    let query = Query {
        question: question.clone(),
        flags: Flags(Flags::CD),
        edns,
        authority: None,
        padding: None,
        exact_case: false,
    };
    Message::parse(&answer(zones, &query.compose(1), false).response().unwrap().wire).unwrap()
}

/// The verdict when each answer passes through `tamper`.
fn verdict_with(
    name: &str,
    rtype: Rtype,
    anchors: &Anchors,
    at: u64,
    tamper: impl Fn(&Question, &mut Message),
) -> Result<ValidationVerdict, Fault> {
    let zones = hierarchy();
    let mut ask = |question: &Question| {
        let mut message = serve(&zones, question);
        tamper(question, &mut message);
        Ok(message)
    };
    validate(&Question::new(Name::parse(name).unwrap(), rtype), anchors, at, &mut ask)
}

fn verdict(name: &str, rtype: Rtype) -> ValidationVerdict {
    verdict_with(name, rtype, &anchors(), AT, |_, _| {}).unwrap()
}

fn shown(verdict: &ValidationVerdict) -> String {
    let ede = verdict.reason.as_ref().and_then(|reason| reason.ede);
    format!("{}{}", verdict.security, ede.map_or_else(String::new, |code| format!(" {code}")))
}

#[test]
fn every_verdict() {
    for (name, rtype, expected) in [
        ("www.example.test", Rtype::A, "secure"),
        ("WWW.Example.TEST", Rtype::AAAA, "secure"),
        ("_25._tcp.mail.example.test", Rtype::TLSA, "secure"),
        ("example.test", Rtype::ANY, "secure"),
        ("example.test", Rtype::DS, "secure"),
        ("test", Rtype::NS, "secure"),
        (".", Rtype::DNSKEY, "secure"),
        ("alias.example.test", Rtype::A, "secure"),
        ("two.example.test", Rtype::A, "secure"),
        ("loop1.example.test", Rtype::A, "secure"),
        ("to-hashed.example.test", Rtype::A, "secure"),
        ("to-insecure.example.test", Rtype::A, "insecure"),
        ("to-bogus.example.test", Rtype::A, "bogus 6"),
        ("www.old.example.test", Rtype::A, "secure"),
        ("nothere.old.example.test", Rtype::A, "secure"),
        ("x.wild.example.test", Rtype::TXT, "secure"),
        ("x.y.wild.example.test", Rtype::TXT, "secure"),
        ("*.wild.example.test", Rtype::TXT, "secure"),
        ("x.walias.example.test", Rtype::A, "secure"),
        // A wildcard's alias into other zones: the proof of the wildcard is of one zone, that of the target of another.
        ("x.to-host.example.test", Rtype::A, "secure"),
        ("x.to-host.example.test", Rtype::AAAA, "secure"),
        ("x.to-wild.example.test", Rtype::TXT, "secure"),
        ("x.to-wild.example.test", Rtype::AAAA, "secure"),
        ("x.to-gone.example.test", Rtype::A, "secure"),
        ("x.to-plain.example.test", Rtype::A, "insecure"),
        ("x.to-plain.example.test", Rtype::AAAA, "insecure"),
        ("x.to-void.example.test", Rtype::A, "insecure"),
        // Denial by NSEC: no name, no data, empty non-terminal, wildcard without the type, behind an alias.
        ("nothere.example.test", Rtype::A, "secure"),
        ("a.b.c.nothere.example.test", Rtype::A, "secure"),
        ("www.example.test", Rtype::MX, "secure"),
        ("ent.example.test", Rtype::A, "secure"),
        ("x.wild.example.test", Rtype::A, "secure"),
        ("dangling.example.test", Rtype::A, "secure"),
        ("nothere.test", Rtype::A, "secure"),
        ("nothere", Rtype::A, "secure"),
        ("insecure.test", Rtype::DS, "secure"),
        ("www.example.test", Rtype::DS, "secure"),
        // The same by NSEC3.
        ("www.hashed.test", Rtype::A, "secure"),
        ("nothere.hashed.test", Rtype::A, "secure"),
        ("a.b.nothere.hashed.test", Rtype::A, "secure"),
        ("www.hashed.test", Rtype::MX, "secure"),
        ("ent.hashed.test", Rtype::A, "secure"),
        ("x.wild.hashed.test", Rtype::TXT, "secure"),
        ("x.wild.hashed.test", Rtype::A, "secure"),
        ("sub.hashed.test", Rtype::DS, "secure"),
        ("www.optout.test", Rtype::A, "secure"),
        ("www.optout.test", Rtype::MX, "secure"),
        ("nothere.optout.test", Rtype::A, "insecure"),
        ("sub.optout.test", Rtype::DS, "insecure"),
        // Unsigned on purpose.
        ("www.insecure.test", Rtype::A, "insecure"),
        ("nothere.insecure.test", Rtype::A, "insecure"),
        ("insecure.test", Rtype::SOA, "insecure"),
        ("www.sub.example.test", Rtype::A, "insecure"),
        ("www.algorithm.test", Rtype::A, "insecure 1"),
        ("www.iterations.test", Rtype::A, "secure"),
        ("nothere.iterations.test", Rtype::A, "insecure 27"),
        // Wrong.
        ("www.bogus.test", Rtype::A, "bogus 6"),
        ("good.bogus.test", Rtype::A, "secure"),
        ("www.expired.test", Rtype::A, "bogus 7"),
        ("www.future.test", Rtype::A, "bogus 8"),
        ("www.stripped.test", Rtype::A, "bogus 10"),
        ("nothere.stripped.test", Rtype::A, "bogus 10"),
        ("www.mismatch.test", Rtype::A, "bogus 9"),
        ("www.unsigned.test", Rtype::A, "bogus 9"),
    ] {
        let verdict = verdict(name, rtype);
        assert_eq!(shown(&verdict), expected, "{name} {rtype}: {:?}\n{}", verdict.reason, verdict.tree.text());
    }
}

/// A server that omits the alias's target, and one whose resolver answers for the target with only the response code.
#[test]
fn the_target_of_an_alias_may_be_another_question() {
    for name in ["x.to-host", "x.to-wild", "x.to-gone", "dangling", "to-hashed", "x.to-plain", "x.to-void"] {
        let name = format!("{name}.example.test");
        let whole = verdict(&name, Rtype::AAAA);
        let first = Cell::new(true);
        let parted = verdict_with(&name, Rtype::AAAA, &anchors(), AT, |question, message| {
            if question.rtype == Rtype::AAAA && first.replace(false) {
                let outside = |record: &Record| !record.name.is_in(&Name::parse("example.test").unwrap());
                message.answer.retain(|record| !outside(record));
                message.authority.retain(|record| !outside(record));
            }
        });
        let parted = parted.unwrap();
        assert_eq!(shown(&parted), shown(&whole), "{name}\n{}", parted.tree.text());
        assert_eq!(parted.message.rcode(), whole.message.rcode(), "{name}");
    }
}

/// An anchor below another: the DS between them belongs to the zone above and is judged by that zone's anchor.
#[test]
fn anchors_below_anchors() {
    let key = |zone: &str| {
        let text = String::from_utf8(data(&format!("{zone}.zone"))).unwrap();
        text.lines().find(|line| line.contains("DNSKEY 257")).unwrap().to_owned()
    };
    let (upper, lower) = (key("test"), key("example.test"));
    for (anchors, name, rtype, expected) in [
        (format!("{upper}\n{lower}"), "example.test", Rtype::DS, "secure"),
        (format!("{upper}\n{lower}"), "www.example.test", Rtype::A, "secure"),
        (format!("{upper}\n{lower}"), "www.example.test", Rtype::DS, "secure"),
        (format!("{upper}\n{lower}"), "insecure.test", Rtype::DS, "secure"),
        // The NSEC record that shows it stands at the name of the lower anchor.
        (format!("{upper}\n{lower}"), "exb.test", Rtype::A, "secure"),
        (format!("{upper}\n{lower}"), "www.sub.example.test", Rtype::A, "insecure"),
        (lower.clone(), "example.test", Rtype::DS, "indeterminate 5"),
        (lower, "insecure.test", Rtype::DS, "indeterminate 5"),
    ] {
        let anchors = Anchors::parse(anchors.as_bytes()).unwrap();
        let verdict = verdict_with(name, rtype, &anchors, AT, |_, _| {}).unwrap();
        assert_eq!(shown(&verdict), expected, "{name} {rtype}: {:?}\n{}", verdict.reason, verdict.tree.text());
    }
}

#[test]
fn time_and_anchors_are_arguments() {
    let www = |anchors: &Anchors, at: u64| {
        shown(&verdict_with("www.example.test", Rtype::A, anchors, at, |_, _| {}).unwrap())
    };
    // 2026-01-01 and 2027-01-01, to the second.
    for (at, expected) in
        [(1_767_225_599, "bogus 8"), (1_767_225_600, "secure"), (1_798_761_600, "secure"), (1_798_761_601, "bogus 7")]
    {
        assert_eq!(www(&anchors(), at), expected, "{at}");
    }
    assert_eq!(www(&Anchors::root(), AT), "bogus 9", "another root");
    let elsewhere = Anchors::parse(format!("other.test. DS 1 13 2 {}", "00".repeat(32)).as_bytes()).unwrap();
    assert_eq!(www(&elsewhere, AT), "indeterminate 5");
    // An island of security: the anchor of one zone is enough for what is below it.
    let zone = String::from_utf8(data("example.test.zone")).unwrap();
    let key = zone.lines().find(|line| line.contains("DNSKEY 257")).unwrap();
    let island = Anchors::parse(key.as_bytes()).unwrap();
    let verdict = verdict_with("www.example.test", Rtype::A, &island, AT, |question, _| {
        assert_ne!(question.rtype, Rtype::DS, "nothing above the anchor is asked");
    });
    assert_eq!(verdict.unwrap().security, Security::Secure);
}

#[test]
fn tampering_is_found() {
    type Tamper = fn(&Question, &mut Message);
    let cases: &[(&str, &str, Rtype, Tamper, &str)] = &[
        (
            "another address",
            "www.example.test",
            Rtype::A,
            |_, m| {
                m.answer.iter_mut().filter(|r| r.rtype == Rtype::A).for_each(|r| r.rdata[3] ^= 1);
            },
            "bogus 6",
        ),
        (
            "one address more",
            "www.example.test",
            Rtype::A,
            |_, m| m.answer.push(Record { rdata: vec![192, 0, 2, 99], ..m.answer[0].clone() }),
            "bogus 6",
        ),
        (
            "signatures taken away",
            "www.example.test",
            Rtype::A,
            |_, m| m.answer.retain(|r| r.rtype != Rtype::RRSIG),
            "bogus 10",
        ),
        (
            "denied without a proof",
            "www.example.test",
            Rtype::A,
            |_, m| {
                m.answer.clear();
                m.flags.0 |= 3;
            },
            "bogus 10",
        ),
        (
            "no room for what a DNAME makes, and no DNAME",
            "www.example.test",
            Rtype::A,
            |_, m| {
                m.answer.clear();
                m.flags.0 |= Rcode::YXDOMAIN.0;
            },
            "bogus 10",
        ),
        (
            "the same where nothing is signed",
            "www.insecure.test",
            Rtype::A,
            |_, m| {
                m.answer.clear();
                m.flags.0 |= Rcode::YXDOMAIN.0;
            },
            "insecure",
        ),
        (
            "the proof of another name",
            "nothere.example.test",
            Rtype::A,
            |_, m| {
                let other = Question::new(Name::parse("zzz.example.test").unwrap(), Rtype::A);
                m.authority = serve(&hierarchy(), &other).authority;
            },
            "bogus 12",
        ),
        (
            "another zone's denial, with too many iterations to look into it",
            "www.example.test",
            Rtype::A,
            |_, m| {
                let other = Question::new(Name::parse("nothere.iterations.test").unwrap(), Rtype::A);
                *m = Message { question: m.question.clone(), ..serve(&hierarchy(), &other) };
            },
            "bogus 12",
        ),
        (
            "a signature of another class",
            "www.example.test",
            Rtype::A,
            |_, m| m.answer.iter_mut().filter(|r| r.rtype == Rtype::RRSIG).for_each(|r| r.class.0 = 3),
            "bogus 10",
        ),
        (
            "a wildcard's answer for a name that exists",
            "host.wild.example.test",
            Rtype::TXT,
            |q, m| {
                let other = Question::new(Name::parse("x.wild.example.test").unwrap(), Rtype::TXT);
                *m = Message { question: m.question.clone(), ..serve(&hierarchy(), &other) };
                m.answer.iter_mut().for_each(|r| r.name = q.name.clone());
            },
            "bogus 12",
        ),
        (
            "the parent's NSEC to deny what is the child's",
            "www.example.test",
            Rtype::A,
            |_, m| {
                let ds = Question::new(Name::parse("insecure.test").unwrap(), Rtype::DS);
                *m = Message { question: m.question.clone(), ..serve(&hierarchy(), &ds) };
            },
            "bogus 12",
        ),
        (
            "the zone of the parent's signer",
            "www.example.test",
            Rtype::DS,
            |q, m| {
                // NODATA of a DS, given by the child's side of the cut.
                if q.name.to_string() == "example.test." {
                    let mx = Question::new(Name::parse("www.example.test").unwrap(), Rtype::MX);
                    *m = Message { question: m.question.clone(), ..serve(&hierarchy(), &mx) };
                }
            },
            "bogus 10",
        ),
        (
            "a CNAME that the DNAME does not make",
            "www.old.example.test",
            Rtype::A,
            |q, m| {
                let to = Name::parse("www.insecure.test").unwrap();
                if q.rtype == Rtype::A {
                    m.answer
                        .iter_mut()
                        .filter(|r| r.rtype == Rtype::CNAME)
                        .for_each(|r| r.rdata = to.as_wire().to_vec());
                }
            },
            "bogus 6",
        ),
    ];
    for (what, name, rtype, tamper, expected) in cases {
        let at_the_end = |question: &Question, message: &mut Message| {
            if question.rtype == *rtype {
                tamper(question, message);
            }
        };
        let verdict = verdict_with(name, *rtype, &anchors(), AT, at_the_end).unwrap();
        assert_eq!(shown(&verdict), *expected, "{what}: {:?}\n{}", verdict.reason, verdict.tree.text());
    }
    let no_ds = verdict_with("www.example.test", Rtype::A, &anchors(), AT, |question, message| {
        if question.rtype != Rtype::DNSKEY || !question.name.is_root() {
            message.answer.retain(|record| !matches!(record.rtype, Rtype::RRSIG | Rtype::DS));
            message.authority.clear();
        }
    });
    assert_eq!(shown(&no_ds.unwrap()), "bogus 10", "DS taken away with its proof");
}

/// The response code and the rest of an answer are unsigned: the verdict's message contains only what was proven.
#[test]
fn what_is_printed_is_what_was_proved() {
    let forged = |owner: &str, rtype, rdata: &[u8]| {
        let (name, rdata) = (Name::parse(owner).unwrap(), rdata.to_vec());
        Record { name, rtype, class: crate::dns::record::Class::IN, ttl: 1, rdata }
    };
    let extra = [
        forged("www.example.test", Rtype::TXT, b"\x01x"),
        forged("other.example.test", Rtype::A, &[192, 0, 2, 66]),
        forged("evil.test", Rtype::A, &[192, 0, 2, 66]),
        forged("WWW.example.test", Rtype::AAAA, &[6; 16]),
    ];
    for (name, rtype, rcode, exists) in [
        ("www.example.test", Rtype::A, Rcode::NOERROR, true),
        ("x.wild.example.test", Rtype::TXT, Rcode::NOERROR, true),
        ("alias.example.test", Rtype::A, Rcode::NOERROR, true),
        ("to-hashed.example.test", Rtype::A, Rcode::NOERROR, true),
        ("www.old.example.test", Rtype::A, Rcode::NOERROR, true),
        ("www.example.test", Rtype::MX, Rcode::NOERROR, false),
        ("ent.hashed.test", Rtype::A, Rcode::NOERROR, false),
        ("dangling.example.test", Rtype::A, Rcode::NXDOMAIN, false),
        ("nothere.example.test", Rtype::A, Rcode::NXDOMAIN, false),
        ("nothere.hashed.test", Rtype::A, Rcode::NXDOMAIN, false),
    ] {
        let honest = verdict(name, rtype);
        for (flip, first) in [(0, true), (3, true), (3, false), (0, false)] {
            let lied = verdict_with(name, rtype, &anchors(), AT, |question, message| {
                if question.rtype != rtype {
                    return;
                }
                message.flags.0 ^= flip;
                let mut extra: Vec<Record> =
                    extra.iter().filter(|r| r.rtype != rtype || r.name != question.name).cloned().collect();
                message.authority.extend(extra.iter().cloned());
                message.additional.extend(extra.iter().cloned());
                if first {
                    std::mem::swap(&mut extra, &mut message.answer);
                }
                message.answer.extend(extra);
                message.answer.iter_mut().for_each(|record| record.ttl = 99_999_999);
            });
            let lied = lied.unwrap();
            let what = format!("{name} {rtype} {flip} {first}: {:?}\n{}", lied.reason, lied.tree.text());
            assert_eq!((lied.security, lied.message.rcode()), (Security::Secure, rcode), "{what}");
            assert_eq!(lied.records().is_empty(), !exists, "{what}");
            let plain = |records: &[Record]| {
                records.iter().map(|r| (r.name.clone(), r.rtype, r.rdata.clone())).collect::<Vec<_>>()
            };
            assert_eq!(plain(&lied.message.answer), plain(&honest.message.answer), "{what}");
            assert_eq!(plain(&lied.message.authority), plain(&honest.message.authority), "{what}");
            assert!(lied.message.additional.is_empty() && !lied.left_out.is_empty(), "{what}");
            assert!(lied.message.answer.iter().all(|record| record.ttl <= 3600), "{what}");
        }
    }
}

/// A record expanded from a wildcard has an unsigned owner name: it denies nothing (CVE-2017-15105).
#[test]
fn a_wildcards_denial_under_another_name_denies_nothing() {
    let zones = hierarchy();
    let wildcard = serve(&zones, &Question::new(Name::parse("x.wild.example.test").unwrap(), Rtype::A));
    for (target, rtype) in [("www.example.test", Rtype::A), ("host.wild.example.test", Rtype::A)] {
        for owner in [target, "any.wild.example.test", "a.wild.example.test", "zz.wild.example.test"] {
            for rcode in [0, 3] {
                let verdict = verdict_with(target, rtype, &anchors(), AT, |question, message| {
                    if question.rtype != rtype {
                        return;
                    }
                    let lie = Message { question: message.question.clone(), ..wildcard.clone() };
                    *message = lie;
                    message.answer.clear();
                    message.flags.0 = message.flags.0 & !15 | rcode;
                    let is_wild = |record: &&mut Record| record.name.is_wildcard();
                    message.authority.iter_mut().filter(is_wild).for_each(|r| r.name = Name::parse(owner).unwrap());
                });
                let verdict = verdict.unwrap();
                assert_eq!(
                    verdict.security,
                    Security::Bogus,
                    "{target} {rtype} {owner} {rcode}\n{}",
                    verdict.tree.text()
                );
            }
        }
    }
}

#[test]
fn a_chain_that_cannot_be_fetched() {
    let verdict = verdict_with("www.example.test", Rtype::A, &anchors(), AT, |question, message| {
        if question.rtype == Rtype::DNSKEY && question.name.to_string() == "test." {
            message.flags.0 |= 2;
        }
    });
    assert_eq!(shown(&verdict.unwrap()), "indeterminate 22");
    let zones = hierarchy();
    let mut ask = |question: &Question| match question.rtype {
        Rtype::DS => Err(Fault::new(Kind::TimedOut, "no answer in time")),
        _ => Ok(serve(&zones, question)),
    };
    let question = Question::new(Name::parse("www.example.test").unwrap(), Rtype::A);
    let verdict = validate(&question, &anchors(), AT, &mut ask).unwrap();
    assert_eq!((verdict.security, verdict.fault.unwrap().kind), (Security::Indeterminate, Kind::TimedOut));
}

/// KeyTrap: many keys with one tag and many wrong signatures. The work ends, and so does the validation.
#[test]
fn work_has_limits() {
    let asked = Cell::new(0);
    let verdict = verdict_with("www.bogus.test", Rtype::A, &anchors(), AT, |question, message| {
        asked.set(asked.get() + 1);
        if question.rtype == Rtype::A {
            let signature = message.answer.iter().find(|record| record.rtype == Rtype::RRSIG).cloned().unwrap();
            for number in 0..200u8 {
                let mut copy = signature.clone();
                *copy.rdata.last_mut().unwrap() ^= number;
                message.answer.push(copy);
            }
        }
    });
    let verdict = verdict.unwrap();
    assert_eq!(shown(&verdict), "bogus 6");
    assert!(verdict.reason.unwrap().text.contains("more than 8 signatures"));
    assert!(asked.get() < 10);

    let mut budget = Budget::default();
    for _ in 0..MAX_FAILED_CHECKS {
        budget.failed().unwrap();
    }
    assert!(budget.failed().is_err());
    assert!(budget.hash(MAX_HASH_ROUNDS).is_ok() && budget.hash(1).is_err());

    // A server that invents a deeper zone for each question does not cause endless work.
    let long = format!("{}example.test", "a.".repeat(100));
    let count = Cell::new(0u32);
    let endless = verdict_with(&long, Rtype::A, &anchors(), AT, |_, message| {
        count.set(count.get() + 1);
        message.answer.clear();
        message.authority.clear();
        message.flags.0 &= !15;
    });
    assert!(endless.is_ok() && count.get() <= MAX_QUESTIONS + 1, "{} questions", count.get());
}

/// Each relevant byte of the answer, changed: the result is never secure with data that was not signed.
#[test]
fn no_changed_byte_stays_secure() {
    let zones = hierarchy();
    let question = Question::new(Name::parse("www.example.test").unwrap(), Rtype::A);
    let honest = serve(&zones, &question);
    let wire = honest.compose(65_535);
    for at in 12..wire.len() {
        let mut bad = wire.clone();
        bad[at] ^= 0x41;
        let Ok(message) = Message::parse(&bad) else { continue };
        let mut ask = |asked: &Question| Ok(if *asked == question { message.clone() } else { serve(&zones, asked) });
        let verdict = validate(&question, &anchors(), AT, &mut ask).unwrap();
        if verdict.security == Security::Secure {
            let data = verdict.records();
            assert!(data.is_empty() || data[0].rdata == honest.answer[0].rdata, "byte {at}");
        }
    }
}

#[test]
fn the_chain_as_text_and_json() {
    let verdict = verdict("alias.example.test", Rtype::A);
    let text = verdict.tree.text();
    let depth = |part: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(part)).unwrap_or_else(|| panic!("{text}"));
        line.len() - line.trim_start().len()
    };
    assert_eq!((depth(".: "), depth("test."), depth("example.test.")), (0, 2, 4), "{text}");
    assert_eq!((depth("alias.example.test. CNAME: secure, signed by"), depth("www.example.test. A: secure")), (6, 6));
    let json = verdict.tree.json();
    let leaf = &json["zones"][0]["zones"][0]["zones"][0]["sets"][1];
    assert_eq!((leaf["name"].as_str(), leaf["what"].as_str()), (Some("www.example.test."), Some("A")));
    assert_eq!(leaf["signature"]["expiration"], "2027-01-01T00:00:00Z");
    let bogus = super::tests::verdict("www.expired.test", Rtype::A);
    assert!(bogus.tree.text().contains("signature expired at 2020-02-01T00:00:00Z (Signature Expired)"));
}

/// Zones signed only with unsupported algorithms are insecure (RFC 4035, section 5.2), never bogus. One is Ed448, which ring lacks.
#[test]
fn algorithms_that_can_be_checked() {
    let known: Vec<u8> = (0..=255).filter(|algorithm| super::crypto::knows_algorithm(*algorithm)).collect();
    assert_eq!(known, [5, 7, 8, 10, 13, 14, 15]);
}
