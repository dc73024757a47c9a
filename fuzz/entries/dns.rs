//! Entry points of `dns` that read a stranger's bytes: one line each, `(name, function)`.

use applayer::dns::answer::{self, Reply, Zones};
use applayer::dns::message::Message;
use applayer::dns::name::Name;
use applayer::dns::record::words::{self, Words};
use applayer::dns::record::{Rtype, json, parse, svcb, text};
use applayer::dns::zone::{Reader, Source, Zone};

/// Every entry: used by the fuzz targets and by the replay of the committed corpus.
pub const ENTRIES: &[(&str, fn(&[u8]))] = &[
    ("dns_message", dns_message),
    ("dns_answer", dns_answer),
    ("dns_rdata_text", dns_rdata_text),
    ("dns_rdata_wire", dns_rdata_wire),
    ("dns_svcb", dns_svcb),
    ("dns_zone", dns_zone),
];

/// What parses can be printed, composed, and parses again to the same.
fn dns_message(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    for record in message.answer.iter().chain(&message.authority).chain(&message.additional) {
        assert!(record.to_string().is_ascii());
        let _ = serde_json::to_string(&json::members(record.rtype, &record.rdata));
    }
    let wire = message.compose(usize::MAX);
    if wire.len() <= 65_535 {
        let again = Message::parse(&wire).expect("what we compose parses");
        assert_eq!(again.answer, message.answer);
        assert_eq!(again.question, message.question);
    }
}

/// The server answers or drops whatever comes; its answer is a message of at most the size that UDP allows.
fn dns_answer(data: &[u8]) {
    let mut zones = Zones::default();
    let source =
        Source { name: "z".to_owned(), text: include_bytes!("../../tests/data/dns/example.test.zone").to_vec() };
    zones.add(Zone::read(source, None, &mut |_| Err(String::new())).expect("the zone"));
    if let Reply::Send(response) | Reply::Elsewhere(response) = answer::answer(&zones, data, true) {
        assert!(response.wire.len() <= 1232);
        Message::parse(&response.wire).expect("our own answer");
    }
}

/// Text of record data: two bytes for the type, then words. What reads can be written, and reads again to the same wire.
fn dns_rdata_text(data: &[u8]) {
    let Some((number, rest)) = data.split_first_chunk::<2>() else { return };
    let rtype = Rtype(u16::from_be_bytes(*number));
    let root = Name::root();
    let Ok(words) = words::split(rest) else { return };
    let Ok(wire) = parse::rdata(rtype, &mut Words::new(&words, Some(&root))) else { return };
    round_trip(rtype, &wire);
}

/// Wire form of record data: whatever it is, its text reads again to the same wire.
fn dns_rdata_wire(data: &[u8]) {
    let Some((number, wire)) = data.split_first_chunk::<2>() else { return };
    let rtype = Rtype(u16::from_be_bytes(*number));
    if wire.len() <= 65_535 {
        round_trip(rtype, wire);
        let _ = serde_json::to_string(&json::members(rtype, wire));
    }
}

fn round_trip(rtype: Rtype, wire: &[u8]) {
    let text = text::rdata(rtype, wire, text::Style::PLAIN);
    assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{text:?}");
    let words = words::split(text.as_bytes()).expect("our own text has words");
    let again = parse::rdata(rtype, &mut Words::new(&words, None));
    assert_eq!(again.as_deref(), Ok(wire), "{rtype} {text}");
}

fn dns_svcb(data: &[u8]) {
    let _ = svcb::write(data, &mut String::new());
    let _ = svcb::json(data);
}

/// A zone file of any bytes gives entries or an error with a line, and ends.
fn dns_zone(data: &[u8]) {
    let source = Source { name: "z".to_owned(), text: data.to_vec() };
    let mut reader = Reader::new(source, Some(Name::root()));
    let mut count = 0;
    while let Ok(Some(entry)) = reader.next(&mut |_| Err("no files".to_owned())) {
        assert!(entry.line > 0);
        count += 1;
        if count > 1000 {
            return;
        }
    }
}
