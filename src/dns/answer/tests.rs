use super::*;
use crate::dns::message::Composer;
use crate::dns::query::Query;
use crate::dns::tsig::TsigKey;
use crate::dns::zone::ZoneSource;

fn zones() -> Zones {
    let mut zones = Zones::default();
    for text in [
        include_str!("../../../tests/data/dns/example.test.zone"),
        include_str!("../../../tests/data/dns/other.test.zone"),
    ] {
        let source = ZoneSource { name: "z".to_owned(), text: text.as_bytes().to_vec() };
        assert!(zones.add(Zone::read(source, None, &mut |_| Err(String::new())).unwrap()));
    }
    zones
}

fn ask_with(name: &str, rtype: &str, change: impl Fn(&mut Query), udp: bool) -> Message {
    let mut query = Query::new(Name::parse(name).unwrap(), Rtype::parse(rtype).unwrap());
    change(&mut query);
    Message::parse(&answer(&zones(), &query.compose(7), udp).response().unwrap().wire).unwrap()
}

/// Code, AA, then each section on one line: owner, type and data.
fn ask(name: &str, rtype: &str) -> String {
    show(&ask_with(name, rtype, |_| {}, true))
}

fn show(message: &Message) -> String {
    let aa = if message.flags.has(Flags::AA) { " aa" } else { "" };
    let mut text = format!("{}{aa}", message.rcode());
    for (label, records) in [(" AN", &message.answer), (" NS", &message.authority), (" AR", &message.additional)] {
        for record in records {
            let data = if record.rtype == Rtype::SOA { record.ttl.to_string() } else { record.rdata_text() };
            text.push_str(&format!("{label} {} {} {data}", record.name, record.rtype));
        }
    }
    text
}

/// The expected answer for each position of a name in a zone; `~` is example.test.
#[test]
fn answers() {
    for (name, rtype, expected) in [
        ("www.~", "A", "NOERROR aa AN www.~ A 192.0.2.10"),
        ("WwW.Example.TEST", "A", "NOERROR aa AN WwW.Example.TEST. A 192.0.2.10"),
        ("www.~", "MX", "NOERROR aa NS ~ SOA 300"),
        ("nothere.~", "A", "NXDOMAIN aa NS ~ SOA 300"),
        ("ent.~", "A", "NOERROR aa NS ~ SOA 300"),
        ("x.ent.~", "A", "NXDOMAIN aa NS ~ SOA 300"),
        ("~", "MX", "NOERROR aa AN ~ MX 10 mail.~ AR mail.~ A 192.0.2.25"),
        ("alias.~", "A", "NOERROR aa AN alias.~ CNAME www.~ AN www.~ A 192.0.2.10"),
        ("alias.~", "CNAME", "NOERROR aa AN alias.~ CNAME www.~"),
        ("alias.~", "MX", "NOERROR aa AN alias.~ CNAME www.~ NS ~ SOA 300"),
        ("dangling.~", "A", "NXDOMAIN aa AN dangling.~ CNAME nothere.~ NS ~ SOA 300"),
        ("away.~", "A", "NOERROR aa AN away.~ CNAME www.elsewhere.test."),
        ("across.~", "A", "NOERROR aa AN across.~ CNAME www.other.test. AN www.other.test. A 198.51.100.1"),
        ("loop1.~", "A", "NOERROR aa AN loop1.~ CNAME loop2.~ AN loop2.~ CNAME loop1.~"),
        ("a.wild.~", "TXT", "NOERROR aa AN a.wild.~ TXT \"wild\""),
        ("a.b.wild.~", "TXT", "NOERROR aa AN a.b.wild.~ TXT \"wild\""),
        ("a.wild.~", "A", "NOERROR aa NS ~ SOA 300"),
        ("*.wild.~", "TXT", "NOERROR aa AN *.wild.~ TXT \"wild\""),
        ("a.exists.wild.~", "TXT", "NXDOMAIN aa NS ~ SOA 300"),
        ("exists.wild.~", "TXT", "NOERROR aa NS ~ SOA 300"),
        ("x.walias.~", "A", "NOERROR aa AN x.walias.~ CNAME www.~ AN www.~ A 192.0.2.10"),
        ("sub.~", "A", "NOERROR NS sub.~ NS ns.sub.~ AR ns.sub.~ A 192.0.2.53"),
        ("deep.x.sub.~", "A", "NOERROR NS sub.~ NS ns.sub.~ AR ns.sub.~ A 192.0.2.53"),
        ("ns.sub.~", "A", "NOERROR NS sub.~ NS ns.sub.~ AR ns.sub.~ A 192.0.2.53"),
        ("sub.~", "DS", "NOERROR aa AN sub.~ DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
        (
            "a.b.old.~",
            "A",
            "NXDOMAIN aa AN old.~ DNAME other.test. AN a.b.old.~ CNAME a.b.other.test. NS other.test. SOA 60",
        ),
        (
            "www.old.~",
            "A",
            "NOERROR aa AN old.~ DNAME other.test. AN www.old.~ CNAME www.other.test. AN www.other.test. A 198.51.100.1",
        ),
        ("www.old.~", "CNAME", "NOERROR aa AN old.~ DNAME other.test. AN www.old.~ CNAME www.other.test."),
        ("www.old.~", "ANY", "NOERROR aa AN old.~ DNAME other.test. AN www.old.~ CNAME www.other.test."),
        ("old.~", "DNAME", "NOERROR aa AN old.~ DNAME other.test."),
        ("_sip._tcp.~", "SRV", "NOERROR aa AN _sip._tcp.~ SRV 0 5 5060 www.~ AR www.~ A 192.0.2.10"),
        ("not.ours", "A", "REFUSED"),
        ("test", "A", "REFUSED"),
    ] {
        let (name, expected) = (name.replace('~', "example.test"), expected.replace('~', "example.test."));
        assert_eq!(ask(&name, rtype), expected, "{name} {rtype}");
    }
}

#[test]
fn any_is_minimal_over_udp() {
    let udp = ask_with("example.test", "ANY", |_| {}, true);
    let first = udp.answer[0].rtype;
    assert!(udp.answer.iter().all(|record| record.rtype == first));
    assert!(ask_with("example.test", "ANY", |_| {}, false).answer.len() > udp.answer.len());
}

#[test]
fn long_answers_are_truncated_for_udp() {
    let plain = ask_with("big.example.test", "TXT", |query| query.edns = None, true);
    assert!(plain.flags.has(Flags::TC) && plain.compose(65_535).len() <= 512);
    let edns = ask_with("big.example.test", "TXT", |_| {}, true);
    assert!(edns.flags.has(Flags::TC) && edns.edns.is_some());
    let tcp = ask_with("big.example.test", "TXT", |_| {}, false);
    assert_eq!((tcp.flags.has(Flags::TC), tcp.answer.len()), (false, 20));
    let overflow =
        format!("{}.old.example.test", ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(50)].join("."));
    assert_eq!(ask_with(&overflow, "A", |_| {}, true).answer[0].rtype, Rtype::DNAME);
}

#[test]
fn yxdomain_when_a_dname_makes_the_name_too_long() {
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(36)].join(".");
    let answer = ask_with(&format!("{long}.grow.example.test"), "A", |_| {}, true);
    assert_eq!(answer.rcode(), Rcode::YXDOMAIN);
}

#[test]
fn strange_queries() {
    let zones = zones();
    let code = |wire: &[u8]| match answer(&zones, wire, true) {
        AnswerAction::Send(response) => Message::parse(&response.wire).unwrap().rcode().to_string(),
        AnswerAction::Elsewhere(_) => "elsewhere".to_owned(),
        AnswerAction::Transfer(_) => "transfer".to_owned(),
        AnswerAction::Drop => "drop".to_owned(),
    };
    let query = |change: &dyn Fn(&mut Query)| {
        let mut query = Query::new(Name::parse("www.example.test").unwrap(), Rtype::A);
        change(&mut query);
        query.compose(1)
    };
    assert_eq!(code(&query(&|_| {})), "NOERROR");
    assert_eq!(code(b"short"), "drop");
    assert_eq!(code(&query(&|q| q.flags.set(Flags::QR, true))), "drop");
    assert_eq!(code(&query(&|q| q.flags.0 |= 0x2800)), "NOTIMP");
    assert_eq!(code(&query(&|q| q.question.class = Class::CH)), "REFUSED");
    assert_eq!(code(&query(&|q| q.question.rtype = Rtype::AXFR)), "transfer");
    assert_eq!(code(&query(&|q| q.question.rtype = Rtype::OPT)), "FORMERR");
    assert_eq!(code(&query(&|q| q.edns.as_mut().unwrap().version = 1)), "BADVERS");
    assert_eq!(code(&query(&|q| q.question.name = Name::parse("else.where").unwrap())), "elsewhere");
    assert_eq!(code(&query(&|_| {})[..20]), "FORMERR");
    let mut two = query(&|_| {});
    two[5] = 2;
    assert_eq!(code(&two), "FORMERR");
    assert_eq!(code(&[0; 12]), "FORMERR", "no question");
    assert_eq!(code(&query(&|q| q.question.class = Class::ANY)), "NOERROR");
    assert_eq!(code(&query(&|q| q.question.rtype = Rtype::IXFR)), "FORMERR", "without a SOA record");
    let soa = Record {
        name: Name::root(),
        rtype: Rtype::SOA,
        class: Class::IN,
        ttl: 0,
        rdata: [&[0, 0][..], &[0; 20]].concat(),
    };
    assert_eq!(code(&query(&|q| (q.question.rtype, q.authority) = (Rtype::IXFR, Some(soa.clone())))), "transfer");
    assert_eq!(code(&query(&|q| q.authority = Some(soa.clone()))), "FORMERR", "a record that does not belong here");
    // OPT and TSIG, wherever they may be put: 1 answer, 2 authority, 3 additional.
    let opt = Record { rtype: Rtype::OPT, class: Class(1232), rdata: Vec::new(), ..soa.clone() };
    let key = TsigKey::parse("hmac-sha256:key.:AAAA").unwrap();
    for (section, expected) in [(1, "FORMERR"), (2, "FORMERR"), (3, "NOERROR")] {
        let mut composer = Composer::new(1, Flags(Flags::RD));
        composer.question(&Question::new(Name::parse("www.example.test").unwrap(), Rtype::A));
        composer.record(section, &opt, 512);
        let wire = composer.finish(&[]);
        assert_eq!(code(&wire), expected, "OPT in section {section}");
        let (signed, _) = key.sign(&wire, 1_800_000_000);
        assert_eq!(code(&signed), if section == 3 { "NOTAUTH" } else { "FORMERR" });
    }
    let (signed, mut session) = key.sign(&query(&|q| q.edns = None), 1_800_000_000);
    let AnswerAction::Send(refused) = answer(&zones, &signed, true) else { panic!() };
    assert!(session.verify(&refused.wire, 1_800_000_000).unwrap_err().detail.contains("BADKEY"));
    let mut more = signed.clone();
    Edns::default().compose(&mut more);
    more[11] = 2;
    assert_eq!(code(&more), "FORMERR", "TSIG is the last record");
}

/// For every input: an error repeats no more of the query than its question, a datagram is within its limit, and only a
/// real answer is much larger than its query.
#[test]
fn a_server_is_no_weapon() {
    let zones = zones();
    let name = |text: &str| Name::parse(text).unwrap();
    let long = [[b'x'; 60]; 4].map(|label| String::from_utf8(label.to_vec()).unwrap()).join(".");
    let mut corpus = Vec::new();
    for text in
        ["www.example.test", "big.example.test", "sub.example.test", "else.where", &long, "a.old.example.test", "."]
    {
        for (rtype, udp_size, version, opcode) in [
            (Rtype::A, 1232, 0, 0),
            (Rtype::TXT, 65_535, 0, 0),
            (Rtype::ANY, 0, 0, 0),
            (Rtype::AXFR, 512, 1, 5),
            (Rtype::OPT, 4096, 255, 4),
        ] {
            let mut query = Query::new(name(text), rtype);
            query.flags.0 |= opcode << 11;
            let edns = query.edns.as_mut().unwrap();
            (edns.udp_size, edns.version) = (udp_size, version);
            corpus.push(query.compose(7));
            query.edns = None;
            corpus.push(query.compose(7));
        }
    }
    // Hundreds of questions in one packet.
    for opcode in [0, 0x2800, 0x2000] {
        let mut composer = Composer::new(7, Flags(Flags::RD | opcode));
        for number in 0..200 {
            composer.question(&Question::new(name(&format!("{number}.{long}")), Rtype::A));
        }
        corpus.push(composer.finish(&[]));
    }
    let (mut state, mut next) = (1u64, 0u64);
    let mut random = |below: usize| {
        (state, next) = (state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1), state >> 33);
        usize::try_from(next).unwrap() % below
    };
    for round in 0..40_000 {
        let mut query = corpus[round % corpus.len()].clone();
        if round >= corpus.len() {
            for _ in 0..=random(6) {
                let at = if random(2) == 0 { random(12) } else { random(query.len()) };
                query[at] = [0, 1, 2, 3, 0x10, 0x28, 0x84, 0xc0, 0xff][random(9)];
            }
            query.truncate(query.len() - random(3) * random(query.len() / 2));
        }
        for udp in [true, false] {
            let Some(response) = answer(&zones, &query, udp).response() else { continue };
            let message = Message::parse(&response.wire).unwrap();
            let what = format!("round {round}: {} bytes of {}", response.wire.len(), query.len());
            assert!(response.wire.len() <= if udp { 1232 } else { 65_535 }, "{what}");
            assert!(message.question.len() <= 1, "{what}");
            let is_data = message.answer.len() + message.authority.len() > 0;
            assert!(!(is_data && message.flags.has(Flags::TC)), "{what}");
            assert!(is_data || response.wire.len() <= 3 * query.len(), "{what}");
        }
    }
}

/// A referral is useless without the addresses of servers below the cut (RFC 9471).
#[test]
fn glue_that_does_not_fit_is_truncation() {
    let hosts: String = (0..8)
        .map(|n| {
            format!(
                "sub NS {n}{0}.sub\n{n}{0}.sub A 192.0.2.{n}\nsub NS {n}.out\n{n}.out A 192.0.2.1{n}\n",
                "a".repeat(40)
            )
        })
        .collect();
    let text =
        format!("$ORIGIN g.test.\n$TTL 300\n@ SOA ns host 1 3600 900 604800 300\n@ NS ns\nns A 127.0.0.1\n{hosts}");
    let source = ZoneSource { name: "z".to_owned(), text: text.into_bytes() };
    let mut zones = Zones::default();
    assert!(zones.add(Zone::read(source, None, &mut |_| Err(String::new())).unwrap()));
    let mut sizes = (0, 0);
    for size in (512..1232).step_by(8) {
        let mut query = Query::new(Name::parse("x.sub.g.test").unwrap(), Rtype::A);
        query.edns.as_mut().unwrap().udp_size = size;
        let response = answer(&zones, &query.compose(7), true).response().unwrap();
        let message = Message::parse(&response.wire).unwrap();
        let glue = message.additional.iter().filter(|record| record.name.to_string().ends_with(".sub.g.test.")).count();
        match message.flags.has(Flags::TC) {
            true => sizes.0 += 1,
            false => {
                sizes.1 += 1;
                assert_eq!((message.authority.len(), glue), (16, 8), "{size}");
            }
        }
    }
    assert!(sizes.0 > 3 && sizes.1 > 3, "{sizes:?}");
}

/// The cost of a packet does not grow with the labels of its name, nor with the record counts that it announces.
#[test]
fn work_is_bounded_by_the_zone() {
    use crate::dns::wire::name::HASHED_BYTES;
    let zones = zones();
    let hashed = |query: &[u8]| {
        HASHED_BYTES.set(0);
        let size = answer(&zones, query, true).response().unwrap().wire.len();
        (HASHED_BYTES.get(), size)
    };
    for (ending, rtype) in [
        ("example.test", Rtype::A),
        ("example.test", Rtype::DS),
        ("elsewhere.test", Rtype::A),
        ("wild.example.test", Rtype::MX),
    ] {
        let ask = |labels: usize| {
            let name = Name::parse(&format!("{}{ending}", "a.".repeat(labels))).unwrap();
            hashed(&Query::new(name, rtype).compose(7)).0
        };
        let (short, long) = (ask(1), ask(110));
        assert!(long <= short + 4 * 250, "{ending}: {short} bytes for one label, {long} for 110");
    }
    // 65 KB of unexpected records are refused because of the counts in the header.
    let mut query = Query::new(Name::parse("www.example.test").unwrap(), Rtype::A).compose(7);
    query[10..12].copy_from_slice(&2700u16.to_be_bytes());
    query.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x0cxxxxxxxxxxxx".repeat(2700));
    assert_eq!(hashed(&query), (0, 12));
}
