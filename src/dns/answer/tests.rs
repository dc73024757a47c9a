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

/// What the answer must be for each way a name can lie in a zone; `~` is example.test.
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
}
