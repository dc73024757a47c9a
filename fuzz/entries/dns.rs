//! Entry points of `dns` that read a stranger's bytes: one line each, `(name, function)`.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use applayer::dns::anchor::Anchors;
use applayer::dns::answer::{self, AnswerAction, Zones};
use applayer::dns::bulk::api::{FinishedQuestion, QuestionOutcome, ServerLabel};
use applayer::dns::bulk::question::{self as bulk_question, LineDefaults, ParsedLine, WireQuestion};
use applayer::dns::bulk::text as bulk_text;
use applayer::dns::bulk::walk::{self, ResponseView};
use applayer::dns::bulk::write::{RecordFormat, RecordWriter};
use applayer::dns::client::connection;
use applayer::dns::exchange::{Exchange, ExchangePolicy};
use applayer::dns::message::Message;
use applayer::dns::name::Name;
use applayer::dns::present::{self, Circumstances, Show};
use applayer::dns::query::Query;
use applayer::dns::record::words::{self, RdataWords};
use applayer::dns::record::{self, Class, Rtype, json, parse, svcb, text};
use applayer::dns::trace::hints;
use applayer::dns::transport::Transport;
use applayer::dns::tsig::{TsigKey, TsigKeys};
use applayer::dns::validate::denial::Evidence;
use applayer::dns::validate::{Budget, Security, validate};
use applayer::dns::yaml::{MessageWay, yaml};
use applayer::dns::zone::{Zone, ZoneLimits, ZoneReader, ZoneSource, check};
use applayer::net::http::HttpResponse;

/// Every entry: used by the fuzz targets and by the replay of the committed corpus.
pub const ENTRIES: &[(&str, fn(&[u8]))] = &[
    ("dns_message", dns_message),
    ("dns_answer", dns_answer),
    ("dns_bulk_answer", dns_bulk_answer),
    ("dns_bulk_line", dns_bulk_line),
    ("dns_rdata_text", dns_rdata_text),
    ("dns_rdata_wire", dns_rdata_wire),
    ("dns_svcb", dns_svcb),
    ("dns_zone", dns_zone),
    ("dns_anchor", dns_anchor),
    ("dns_hints", dns_hints),
    ("dns_denial", dns_denial),
    ("dns_validate", dns_validate),
    ("dns_stream", dns_stream),
    ("dns_https", dns_https),
    ("dns_quic", dns_quic),
];

/// What parses can be printed, composed, and parses again to the same.
fn dns_message(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    for record in message.answer.iter().chain(&message.authority).chain(&message.additional) {
        assert!(record.to_string().is_ascii());
        let _ = serde_json::to_string(&json::members(record.rtype, &record.rdata));
    }
    let mut show = Show::all(true);
    (show.style.multiline, show.style.crypto) = (true, false);
    show.settle();
    let about =
        Circumstances { server: "x", elapsed: Duration::ZERO, over_tcp: false, when: "x", size_bytes: data.len() };
    let way = MessageWay { times: ["x", "x"], server: None, bind: None, transport: "UDP" };
    for text in [present::full(&message, &show, &about), yaml(&message, &show, &about, &way)] {
        assert!(text.chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control()), "{text:?}");
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
        ZoneSource { name: "z".to_owned(), text: include_bytes!("../../tests/data/dns/example.test.zone").to_vec() };
    zones.add(Zone::read(source, None, &mut |_| Err(String::new())).expect("the zone"));
    let keys = TsigKeys(vec![TsigKey::parse("k:c2VjcmV0").expect("a key")]);
    if let (AnswerAction::Send(mut response), Some(mut signer)) = answer::answer_signed(&zones, (&keys, 0), data, true)
    {
        answer::sign(&mut response, &mut signer, 0, 512);
        assert!(response.wire.len() <= 512);
        Message::parse(&response.wire).expect("our own signed answer");
    }
    if let Some(response) = answer::answer(&zones, data, true).response() {
        assert!(response.wire.len() <= 1232);
        Message::parse(&response.wire).expect("our own answer");
    }
}

/// The bulk walk of a response against the full decoder: where both can read it they agree on every record, and whatever
/// it reads becomes one line of JSON.
fn dns_bulk_answer(data: &[u8]) {
    let _ = walk::response_id(data);
    let Ok(message) = Message::parse(data) else {
        // What the full decoder refuses may pass the walk (it looks at less), but must not upset the writer.
        return write_bulk(data, 12);
    };
    let [question] = message.question.as_slice() else { return write_bulk(data, 12) };
    let length = question.name.as_wire().len() + 4;
    write_bulk(data, length);
    let asked = [question.name.as_wire(), &question.rtype.0.to_be_bytes(), &question.class.0.to_be_bytes()].concat();
    if data.get(12..12 + length) != Some(&asked[..]) {
        return; // a question with a compression pointer is never ours
    }
    assert!(walk::asks(data, &asked, true));
    let walked = ResponseView::new(data, length);
    if message.trailing_bytes == 0 && message.edns.is_none() && !walked.is_some_and(|walked| walked.edns) {
        assert!(walked.is_some(), "the full decoder reads it");
    }
    let Some(walked) = walked else { return };
    assert_eq!(walked.rcode, message.rcode().0);
    let places: Vec<_> = walked.answers().collect();
    assert_eq!(places.len(), message.answer.len());
    for (place, record) in places.iter().zip(&message.answer) {
        assert_eq!((place.rtype, place.class, place.seconds()), (record.rtype.0, record.class.0, record.ttl));
        let mut line = Vec::new();
        bulk_text::push_name(data, place.owner, data.len(), &mut line).expect("the full decoder reads the owner");
        line.push(b' ');
        bulk_text::push_rdata(data, place, &mut line);
        assert_eq!(String::from_utf8_lossy(&line), format!("{} {}", record.name, record.rdata_text()));
    }
}

/// A line of names: what is asked for is a name that the full parser reads back.
fn dns_bulk_line(data: &[u8]) {
    let defaults = LineDefaults { types: Vec::new(), class: Class::IN };
    let (mut question, mut types) = (WireQuestion::default(), Vec::new());
    match bulk_question::parse(data, &defaults, &mut question, &mut types) {
        ParsedLine::Name(length, class, _) => {
            for rtype in &types {
                question.set_type(length, *rtype, class.0);
                let wire = question.as_wire();
                let (name, end) = Name::read(wire, 0, wire.len(), false).expect("a name");
                assert_eq!((name.as_wire().len(), end, wire.len()), (length, length, length + 4));
            }
            assert!(!types.is_empty());
        }
        ParsedLine::Nothing | ParsedLine::Bad(..) => assert!(types.is_empty()),
    }
}

fn write_bulk(data: &[u8], length: usize) {
    let Some(walked) = ResponseView::new(data, length) else { return };
    let address = "127.0.0.1:53".parse().expect("an address");
    let servers = [ServerLabel { address, name: "x".to_owned(), transport: Transport::Udp }];
    let question = b"\x01a\x00\x00\x01\x00\x01";
    let outcome = QuestionOutcome::Answered(&walked);
    let done =
        FinishedQuestion { number: 0, question, resolver: None, over_connection: false, tries: 1, elapsed: 0, outcome };
    for format in [RecordFormat::Json, RecordFormat::Text] {
        let mut line = Vec::new();
        RecordWriter::new(format.clone(), b'\n', false, &servers).write(&done, &mut line);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(line.iter().all(|byte| matches!(byte, 0x20..0x7f | b'\n' | b'\t')) || walked.ede().is_some());
        if format == RecordFormat::Json {
            serde_json::from_slice::<serde_json::Value>(&line).expect("JSON");
        }
    }
}

/// Text of record data: two bytes for the type, then words. What reads can be written, and reads again to the same wire.
fn dns_rdata_text(data: &[u8]) {
    let Some((number, rest)) = data.split_first_chunk::<2>() else { return };
    let rtype = Rtype(u16::from_be_bytes(*number));
    let root = Name::root();
    let Ok(words) = words::split(rest) else { return };
    let Ok(wire) = parse::rdata(rtype, &mut RdataWords::new(&words, Some(&root))) else { return };
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
    let again = parse::rdata(rtype, &mut RdataWords::new(&words, None));
    match text::check(rtype, wire) {
        Ok(()) => assert_eq!(again.as_deref(), Ok(wire), "{rtype} {text}"),
        Err(_) => assert!(again.is_err() && text.starts_with("\\#"), "{rtype} {text}"),
    }
    let same = record::comparable(rtype, wire);
    assert_eq!(record::comparable(rtype, &same), same, "{rtype}");
    assert!(same.eq_ignore_ascii_case(wire) && record::names_in(rtype, wire).len() <= wire.len());
}

fn dns_svcb(data: &[u8]) {
    let _ = svcb::write(data, &mut String::new());
    let _ = svcb::json(data);
}

/// A zone file of any bytes gives entries or an error with a line, and ends.
fn dns_zone(data: &[u8]) {
    let source = ZoneSource { name: "z".to_owned(), text: data.to_vec() };
    let mut reader = ZoneReader::new(source, Some(Name::root()));
    let mut count = 0;
    loop {
        match reader.next(&mut |_| Err("no files".to_owned())) {
            Ok(None) => break,
            Ok(Some(entry)) => assert!(entry.line > 0),
            Err(error) => assert!(error.line > 0 && !error.why.is_empty()),
        }
        count += 1;
        if count > 1000 {
            return;
        }
    }
    let source = ZoneSource { name: "z".to_owned(), text: data.to_vec() };
    let limits = ZoneLimits { records: 1000, generated: 1000, ..ZoneLimits::default() };
    let reading = Zone::examine(source, Some(Name::root()), limits, &mut |_| Err("no files".to_owned()));
    match reading.zone {
        Ok(zone) => drop(check::warnings(&zone, 0)),
        Err(errors) => assert!(!errors.is_empty()),
    }
}

/// A file of trust anchors in any form gives anchors or a reason, within its limits.
fn dns_anchor(data: &[u8]) {
    if let Ok(anchors) = Anchors::parse(data) {
        assert!((1..=applayer::dns::anchor::MAX_ANCHORS).contains(&anchors.iter().count()));
        let _ = anchors.closest(&Name::root());
    }
}

fn dns_hints(data: &[u8]) {
    if let Ok(hosts) = hints::parse(data) {
        assert!(hosts.iter().all(|host| !host.addresses.is_empty()));
    }
}

/// The denial records of a message about its question: every proof is tried, within the budget.
fn dns_denial(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    let Some(question) = message.question.first() else { return };
    let soa = message.authority.iter().find(|record| record.rtype == Rtype::SOA);
    let zone = soa.map_or_else(Name::root, |record| record.name.clone());
    let evidence = Evidence::new(&zone, message.authority.iter());
    let mut budget = Budget::default();
    let _ = evidence.no_name(&question.name, &mut budget);
    let _ = evidence.no_data(&question.name, question.rtype, &mut budget);
    let _ = evidence.no_ds(&question.name, &mut budget);
    for labels in 0..question.name.label_count() {
        let _ = evidence.no_closer(&question.name, labels, &mut budget);
    }
}

/// Messages, each after its length, as the answers of a server during a validation: never secure, since nobody can sign
/// for this anchor; and it ends.
fn dns_validate(data: &[u8]) {
    let anchor = format!(". DS 1 13 2 {}", "00".repeat(32));
    let anchors = Anchors::parse(anchor.as_bytes()).expect("an anchor");
    let mut rest = data;
    let mut next = || -> Option<Message> {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let (wire, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = tail;
        Message::parse(wire).ok()
    };
    let Some(first) = next() else { return };
    let Some(question) = first.question.first().cloned() else { return };
    let mut first = Some(first);
    let verdict =
        validate(&question, &anchors, 1_782_000_000, &mut |_| Ok(first.take().or_else(&mut next).unwrap_or_default()));
    assert!(verdict.is_ok_and(|verdict| verdict.security != Security::Secure));
}

/// The identifier under which the frames below are asked for.
const ID: [u8; 2] = [1, 1];

/// Hands a message from a transport to the exchange that waits for it: only an answer to the question comes out.
fn to_exchange(transport: Transport, wire: &[u8]) {
    let query = Query::new(Name::parse("a.test").expect("a name"), Rtype::A);
    let policy = ExchangePolicy { tries: 1, ..ExchangePolicy::default() };
    let mut exchange = Exchange::new(query, &[(u16::from_be_bytes(ID), transport)], policy);
    let start = std::time::Duration::ZERO;
    exchange.poll(start);
    exchange.received(0, transport, wire, start);
    for _ in 0..3 {
        exchange.poll(policy.deadline);
    }
    if let Ok(answer) = exchange.outcome() {
        assert_eq!(answer.message.id.to_be_bytes(), ID);
        let named = answer.message.question.iter().all(|question| question.name.to_string() == "a.test.");
        assert!(named, "{:?}", answer.message.question);
    }
}

/// Messages on a TCP or TLS stream: each comes out whole, and nothing is read twice.
fn dns_stream(data: &[u8]) {
    let mut rest = data;
    loop {
        let before = rest;
        // Bytes in memory are always ready.
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(message)) = pin!(connection::stream_message(&mut rest)).poll(&mut context) else { return };
        assert_eq!(before.get(2..2 + message.len()), Some(&message[..]));
        assert_eq!(before.len(), rest.len() + 2 + message.len());
        to_exchange(Transport::Tls, &message);
    }
}

/// An HTTP answer: two bytes of status, four of age, then the body.
fn dns_https(data: &[u8]) {
    let Some((head, body)) = data.split_first_chunk::<6>() else { return };
    let [high, low, age @ ..] = *head;
    let content_type = "application/dns-message".to_owned();
    let status = u16::from_be_bytes([high, low]);
    let response = HttpResponse { status, content_type, age: u32::from_be_bytes(age), body: body.to_vec() };
    let Ok(message) = connection::https_answer(ID, response) else { return };
    assert!((200..300).contains(&status) && message.len() == body.len() && message.starts_with(&ID));
    if let (Ok(before), Ok(after)) = (Message::parse(body), Message::parse(&message)) {
        for (older, newer) in before.answer.iter().zip(&after.answer) {
            // OPT, wherever it stands, has no TTL.
            let age = if older.rtype == Rtype::OPT { 0 } else { u32::from_be_bytes(age) };
            assert_eq!(newer.ttl, older.ttl.saturating_sub(age));
        }
    }
    to_exchange(Transport::Https, &message);
}

/// What stood on a QUIC stream.
fn dns_quic(data: &[u8]) {
    let Ok(message) = connection::quic_answer(ID, data.to_vec()) else { return };
    assert_eq!(message.get(2..), data.get(4..));
    to_exchange(Transport::Quic, &message);
}
