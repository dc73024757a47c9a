//! Bulk records compared with the full decoder, and in every format.

use super::*;
use crate::dns::bulk::api::ResolverId;
use crate::dns::message::Question;
use crate::dns::name::Name;
use crate::dns::record::Record;

fn servers() -> Vec<ServerLabel> {
    let address = "127.0.0.1:5300".parse().unwrap();
    vec![ServerLabel { address, name: "ns \"x\"".to_owned(), transport: Transport::Udp }]
}

/// A response with one record of each relevant kind, and its question.
fn sample(rcode: u16, records: &[(&str, u16, &[u8])]) -> (Vec<u8>, Vec<u8>) {
    let name = Name::parse("a\\.b.Test").unwrap();
    let record = |(owner, rtype, data): &(&str, u16, &[u8])| Record {
        name: Name::parse(owner).unwrap(),
        rtype: Rtype(*rtype),
        class: Class::IN,
        ttl: 3600,
        rdata: data.to_vec(),
    };
    let message = Message {
        id: 1,
        flags: Flags(Flags::QR | Flags::RD | Flags::RA | rcode),
        question: vec![Question::new(name.clone(), Rtype::A)],
        answer: records.iter().map(record).collect(),
        ..Message::default()
    };
    (message.compose(4096), [name.as_wire(), &[0, 1, 0, 1]].concat())
}

fn written(form: RecordFormat, message: &[u8], question: &[u8]) -> (String, RecordStatus) {
    let walked = ResponseView::new(message, question.len()).unwrap();
    let outcome = QuestionOutcome::Answered(&walked);
    let done = FinishedQuestion {
        number: 0,
        question,
        resolver: Some(ResolverId(0)),
        over_connection: false,
        tries: 2,
        elapsed: 1_234,
        outcome,
    };
    let mut out = Vec::new();
    let class = RecordWriter::new(form, b'\n', false, &servers()).write(&done, &mut out);
    (String::from_utf8(out).unwrap(), class)
}

/// Every member equals the one that a single question prints.
#[test]
fn json_agrees_with_the_full_decoder() {
    let records: &[(&str, u16, &[u8])] = &[
        ("a\\.b.test", 5, b"\x01\"\x04test\x00"),
        ("\\\".test", 1, &[192, 0, 2, 1]),
        ("x.test", 16, b"\x03a\"\\"),
        ("x.test", 65280, b"ab"),
    ];
    let (message, question) = sample(0, records);
    let (text, class) = written(RecordFormat::Json, &message, &question);
    assert_eq!(class, RecordStatus::Answered);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let answer = crate::dns::client::ExchangeAnswer {
        message: Message::parse(&message).unwrap(),
        wire: message.clone(),
        query: Vec::new(),
        server: 0,
        transport: crate::dns::transport::Transport::Udp,
        elapsed: std::time::Duration::from_micros(1_234),
        mismatches: 0,
        sent: 2,
    };
    let server = &servers()[0];
    let expected = serde_json::to_value(json::answer(&answer, Some((server.address, server.name.as_str())))).unwrap();
    for member in ["question", "status", "rcode", "flags", "server", "transport", "elapsed_ms", "sent", "size_bytes"] {
        assert_eq!(found[member], expected[member], "{member}");
    }
    for (at, record) in expected["answers"].as_array().unwrap().iter().enumerate() {
        for member in ["name", "rtype", "class", "ttl", "rdata"] {
            assert_eq!(found["answers"][at][member], record[member], "{member} of {at}");
        }
    }
}

#[test]
fn text_forms() {
    let (message, question) = sample(0, &[("a\\.b.Test", 5, b"\x01c\x00"), ("c", 1, &[1, 2, 3, 4])]);
    let line = |form| written(form, &message, &question).0;
    assert_eq!(line(RecordFormat::Text), "a\\.b.Test.\tA\tNOERROR\tCNAME c.\t1.2.3.4\n");
    assert_eq!(line(RecordFormat::Short), "a\\.b.Test.\tCNAME c.\t1.2.3.4\n");
    let form = RecordFormat::Format(Template::parse("{qname}/{type} {ttl}\\t{rdata} {{{status}}}").unwrap());
    assert_eq!(line(form.clone()), "a\\.b.Test./CNAME 3600\tc. {NOERROR}\na\\.b.Test./A 3600\t1.2.3.4 {NOERROR}\n");
    let members = RecordFormat::Format(Template::parse("{address}").unwrap());
    assert_eq!(line(members), "\n1.2.3.4\n");
    let (message, question) = sample(3, &[]);
    assert_eq!(
        written(RecordFormat::Text, &message, &question),
        ("a\\.b.Test.\tA\tNXDOMAIN\n".to_owned(), RecordStatus::Negative)
    );
    assert_eq!(written(form, &message, &question).0, "a\\.b.Test./ \t {NXDOMAIN}\n");
    let (message, question) = sample(0, &[]);
    assert_eq!(written(RecordFormat::Text, &message, &question).0, "a\\.b.Test.\tA\tNODATA\n");
    assert_eq!(written(RecordFormat::Short, &message, &question).0, "a\\.b.Test.\n");
}

#[test]
fn failures_are_records_too() {
    let (_, question) = sample(0, &[]);
    let done = |failure| FinishedQuestion {
        number: 0,
        question: &question,
        resolver: Some(ResolverId(0)),
        over_connection: false,
        tries: 5,
        elapsed: 5_000_000,
        outcome: QuestionOutcome::Failed(failure, None),
    };
    let line = |form, failure| {
        let mut out = Vec::new();
        let class = RecordWriter::new(form, b'\n', true, &servers()).write(&done(failure), &mut out);
        (String::from_utf8(out).unwrap(), class)
    };
    let (json, class) = line(RecordFormat::Json, QueryFailure::Rcode(2));
    assert_eq!(class, RecordStatus::Failed(Kind::PeerTemporary));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((value["kind"].as_str(), value["code"].as_u64()), (Some("peer_temporary"), Some(2)));
    assert_eq!((value["target"].as_str(), value["sent"].as_u64()), (Some("a\\.b.test."), Some(5)));
    assert_eq!(line(RecordFormat::Text, QueryFailure::TimedOut).0, "a\\.b.test.\tA\tTIMEOUT\n");
    assert_eq!(line(RecordFormat::Short, QueryFailure::Rcode(5)).0, "a\\.b.test.\t;REFUSED\n");
    let writer = RecordWriter::new(RecordFormat::Json, b'\n', false, &servers());
    let mut out = Vec::new();
    writer.bad_line(7, "a..\"b", "empty label in name", &mut out);
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((value["line"].as_u64(), value["target"].as_str()), (Some(7), Some("a..\"b")));
}

/// A record whose owner is a pointer loop cannot be shown: the result is an error, not half a record.
#[test]
fn an_unreadable_owner_is_a_failure() {
    let (mut message, question) = sample(0, &[("c", 1, &[1, 2, 3, 4])]);
    let owner = 12 + question.len();
    assert_eq!(message[owner..owner + 3], [1, b'c', 0]);
    message[owner..owner + 3].copy_from_slice(&[0xc0, owner as u8, 0]);
    message.remove(owner + 2);
    let (text, class) = written(RecordFormat::Json, &message, &question);
    assert_eq!(class, RecordStatus::Failed(Kind::Protocol));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((value["type"].as_str(), value["kind"].as_str()), (Some("error"), Some("protocol")));
}
