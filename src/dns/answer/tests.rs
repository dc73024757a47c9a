use super::*;
use crate::dns::query::Query;
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
    match answer(&zones(), &query.compose(7), udp) {
        AnswerAction::Send(response) | AnswerAction::Elsewhere(response) => Message::parse(&response.wire).unwrap(),
        other => panic!("{other:?}"),
    }
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

/// What the answer must be for each way a name can lie in a zone.
#[test]
fn answers() {
    for (name, rtype, expected) in [
        ("www.example.test", "A", "NOERROR aa AN www.example.test. A 192.0.2.10"),
        ("WwW.Example.TEST", "A", "NOERROR aa AN WwW.Example.TEST. A 192.0.2.10"),
        ("www.example.test", "MX", "NOERROR aa NS example.test. SOA 300"),
        ("nothere.example.test", "A", "NXDOMAIN aa NS example.test. SOA 300"),
        ("ent.example.test", "A", "NOERROR aa NS example.test. SOA 300"),
        ("x.ent.example.test", "A", "NXDOMAIN aa NS example.test. SOA 300"),
        (
            "example.test",
            "MX",
            "NOERROR aa AN example.test. MX 10 mail.example.test. AR mail.example.test. A 192.0.2.25",
        ),
        (
            "alias.example.test",
            "A",
            "NOERROR aa AN alias.example.test. CNAME www.example.test. AN www.example.test. A 192.0.2.10",
        ),
        ("alias.example.test", "CNAME", "NOERROR aa AN alias.example.test. CNAME www.example.test."),
        (
            "alias.example.test",
            "MX",
            "NOERROR aa AN alias.example.test. CNAME www.example.test. NS example.test. SOA 300",
        ),
        (
            "dangling.example.test",
            "A",
            "NXDOMAIN aa AN dangling.example.test. CNAME nothere.example.test. NS example.test. SOA 300",
        ),
        ("away.example.test", "A", "NOERROR aa AN away.example.test. CNAME www.elsewhere.test."),
        (
            "across.example.test",
            "A",
            "NOERROR aa AN across.example.test. CNAME www.other.test. AN www.other.test. A 198.51.100.1",
        ),
        (
            "loop1.example.test",
            "A",
            "NOERROR aa AN loop1.example.test. CNAME loop2.example.test. AN loop2.example.test. CNAME loop1.example.test.",
        ),
        ("a.wild.example.test", "TXT", "NOERROR aa AN a.wild.example.test. TXT \"wild\""),
        ("a.b.wild.example.test", "TXT", "NOERROR aa AN a.b.wild.example.test. TXT \"wild\""),
        ("a.wild.example.test", "A", "NOERROR aa NS example.test. SOA 300"),
        ("*.wild.example.test", "TXT", "NOERROR aa AN *.wild.example.test. TXT \"wild\""),
        ("a.exists.wild.example.test", "TXT", "NXDOMAIN aa NS example.test. SOA 300"),
        ("exists.wild.example.test", "TXT", "NOERROR aa NS example.test. SOA 300"),
        (
            "x.walias.example.test",
            "A",
            "NOERROR aa AN x.walias.example.test. CNAME www.example.test. AN www.example.test. A 192.0.2.10",
        ),
        (
            "sub.example.test",
            "A",
            "NOERROR NS sub.example.test. NS ns.sub.example.test. AR ns.sub.example.test. A 192.0.2.53",
        ),
        (
            "deep.x.sub.example.test",
            "A",
            "NOERROR NS sub.example.test. NS ns.sub.example.test. AR ns.sub.example.test. A 192.0.2.53",
        ),
        (
            "ns.sub.example.test",
            "A",
            "NOERROR NS sub.example.test. NS ns.sub.example.test. AR ns.sub.example.test. A 192.0.2.53",
        ),
        (
            "sub.example.test",
            "DS",
            "NOERROR aa AN sub.example.test. DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
        ),
        (
            "a.b.old.example.test",
            "A",
            "NOERROR aa AN old.example.test. DNAME other.test. AN a.b.old.example.test. CNAME a.b.other.test. NS other.test. SOA 60",
        ),
        (
            "www.old.example.test",
            "A",
            "NOERROR aa AN old.example.test. DNAME other.test. AN www.old.example.test. CNAME www.other.test. AN www.other.test. A 198.51.100.1",
        ),
        ("old.example.test", "DNAME", "NOERROR aa AN old.example.test. DNAME other.test."),
        (
            "_sip._tcp.example.test",
            "SRV",
            "NOERROR aa AN _sip._tcp.example.test. SRV 0 5 5060 www.example.test. AR www.example.test. A 192.0.2.10",
        ),
        ("not.ours", "A", "REFUSED"),
        ("test", "A", "REFUSED"),
    ] {
        // a.b.old: a.b.other.test does not exist.
        let expected = if name == "a.b.old.example.test" {
            expected.replacen("NOERROR", "NXDOMAIN", 1)
        } else {
            expected.to_owned()
        };
        assert_eq!(ask(name, rtype), expected, "{name} {rtype}");
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
}
