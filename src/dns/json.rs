//! Answers as JSON: with the stable members of `--json`, and as in RFC 8427.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::edns::{Edns, EdnsOption, printable};
use super::exchange::ExchangeAnswer;
use super::message::{Flags, Message, Question};
use super::record::{self, Record};
use super::wire::Cursor;
use crate::hex;
use crate::millis::millis;
use crate::scope::host_of;

/// One answer, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct AnswerJson {
    question: Value,
    status: String,
    rcode: u16,
    opcode: &'static str,
    id: u16,
    flags: Vec<&'static str>,
    answers: Vec<Value>,
    authority: Vec<Value>,
    additional: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edns: Option<Value>,
    /// Extended errors with their meanings (RFC 8914).
    ede: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
    elapsed_ms: f64,
    size_bytes: usize,
    sent: u32,
    mismatches: u32,
}

/// The members of a question.
pub fn question(question: &Question) -> Value {
    json!({
        "name": question.name.to_string(),
        "qtype": question.rtype.to_string(),
        "qclass": question.class.to_string(),
    })
}

/// The members of an answer. `server` is its server with the name that the user gave it; `None` for an answer from a file.
pub fn answer(answer: &ExchangeAnswer, server: Option<(std::net::SocketAddr, &str)>) -> AnswerJson {
    let message = &answer.message;
    let records = |records: &[Record]| records.iter().map(record).collect();
    AnswerJson {
        question: message.question.first().map_or_else(|| json!({}), question),
        status: message.rcode().to_string(),
        rcode: message.rcode().0,
        opcode: super::message::opcode_name(message.flags.opcode()),
        id: message.id,
        flags: message.flags.names(),
        answers: records(&message.answer),
        authority: records(&message.authority),
        additional: records(&message.additional),
        edns: message.edns.as_ref().map(edns),
        ede: extended_errors(message),
        server: server
            .map(|(address, name)| json!({ "address": host_of(address), "port": address.port(), "name": name })),
        transport: server.map(|_| answer.transport.name()),
        elapsed_ms: millis(answer.elapsed),
        size_bytes: answer.wire.len(),
        sent: answer.sent,
        mismatches: answer.mismatches,
    }
}

/// The members of a record: owner, type, class, TTL, the data as text and as typed members.
pub fn record(record: &Record) -> Value {
    let mut map = Map::new();
    map.insert("name".to_owned(), record.name.to_string().into());
    map.insert("rtype".to_owned(), record.rtype.to_string().into());
    map.insert("class".to_owned(), record.class.to_string().into());
    map.insert("ttl".to_owned(), record.ttl.into());
    map.insert("rdata".to_owned(), record.rdata_text().into());
    if let Some(members) = record::json::members(record.rtype, &record.rdata) {
        map.insert("data".to_owned(), Value::Object(members));
    }
    Value::Object(map)
}

/// The members of an OPT record.
pub fn edns(edns: &Edns) -> Value {
    json!({
        "version": edns.version,
        "dnssec_ok": edns.dnssec_ok,
        "udp_size_bytes": edns.udp_size,
        "options": edns.options.iter().map(option).collect::<Vec<_>>(),
    })
}

fn option(option: &EdnsOption) -> Value {
    json!({ "code": option.code, "name": option.name(), "data_hex": hex::lower(&option.data), "value": option.value() })
}

fn extended_errors(message: &Message) -> Vec<Value> {
    let options = message.edns.iter().flat_map(|edns| &edns.options);
    let errors = options.filter(|option| option.code == EdnsOption::EXTENDED_ERROR).filter_map(|option| {
        let mut cursor = Cursor::new(&option.data);
        let code = cursor.u16().ok()?;
        let mut map = Map::new();
        map.insert("code".to_owned(), code.into());
        if let Some(meaning) = super::edns::extended_error(code) {
            map.insert("meaning".to_owned(), meaning.into());
        }
        let text = printable(cursor.rest());
        if !text.is_empty() {
            map.insert("text".to_owned(), text.into());
        }
        Some(Value::Object(map))
    });
    errors.collect()
}

/// The message as RFC 8427 represents it (sections 2.1 to 2.4).
pub fn rfc8427(message: &Message) -> Value {
    let flag = |bit: u16| u8::from(message.flags.has(bit));
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("ID", message.id.into());
    put("QR", flag(Flags::QR).into());
    put("Opcode", message.flags.opcode().into());
    put("AA", flag(Flags::AA).into());
    put("TC", flag(Flags::TC).into());
    put("RD", flag(Flags::RD).into());
    put("RA", flag(Flags::RA).into());
    put("AD", flag(Flags::AD).into());
    put("CD", flag(Flags::CD).into());
    put("RCODE", (message.flags.0 & 15).into());
    let opt = message.edns.as_ref().map(|edns| {
        let mut wire = Vec::new();
        edns.compose(&mut wire);
        let rdata = wire.get(11..).unwrap_or_default();
        let ttl =
            u32::from(edns.extended_rcode) << 24 | u32::from(edns.version) << 16 | u32::from(edns.dnssec_ok) << 15;
        json!({ "NAME": ".", "TYPE": 41, "TYPEname": "OPT", "CLASS": edns.udp_size,
                "TTL": ttl | u32::from(edns.other_flags), "RDLENGTH": rdata.len(), "RDATAHEX": hex::lower(rdata) })
    });
    put("QDCOUNT", message.question.len().into());
    put("ANCOUNT", message.answer.len().into());
    put("NSCOUNT", message.authority.len().into());
    put("ARCOUNT", (message.additional.len() + usize::from(opt.is_some())).into());
    if let Some(question) = message.question.first() {
        put("QNAME", question.name.to_string().into());
        put("QTYPE", question.rtype.0.into());
        put("QTYPEname", question.rtype.to_string().into());
        put("QCLASS", question.class.0.into());
        put("QCLASSname", question.class.to_string().into());
    }
    for (name, records) in
        [("answerRRs", &message.answer), ("authorityRRs", &message.authority), ("additionalRRs", &message.additional)]
    {
        let mut list: Vec<Value> = records.iter().map(record_rfc8427).collect();
        if name == "additionalRRs" {
            list.extend(opt.clone());
        }
        if !list.is_empty() {
            put(name, Value::Array(list));
        }
    }
    Value::Object(map)
}

fn record_rfc8427(record: &Record) -> Value {
    let mut map = Map::new();
    let mut put = |name: String, value: Value| map.insert(name, value);
    put("NAME".to_owned(), record.name.to_string().into());
    put("TYPE".to_owned(), record.rtype.0.into());
    put("TYPEname".to_owned(), record.rtype.to_string().into());
    put("CLASS".to_owned(), record.class.0.into());
    put("CLASSname".to_owned(), record.class.to_string().into());
    put("TTL".to_owned(), record.ttl.into());
    put("RDLENGTH".to_owned(), record.rdata.len().into());
    put("RDATAHEX".to_owned(), hex::lower(&record.rdata).into());
    put(format!("rdata{}", record.rtype), record.rdata_text().into());
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::name::Name;
    use crate::dns::record::{Class, Rtype};
    use crate::dns::transport::Transport;

    fn sample() -> Message {
        let name = Name::parse("bob.test").unwrap();
        let mx = Record {
            name: name.clone(),
            rtype: Rtype::MX,
            class: Class::IN,
            ttl: 5,
            rdata: b"\x00\x0a\x02mx\x00".to_vec(),
        };
        let mut edns = crate::dns::edns::Edns::default();
        edns.options.push(EdnsOption::new(15, b"\x00\x06bad\x07".to_vec()));
        Message {
            id: 1,
            flags: Flags(Flags::QR | Flags::AD),
            question: vec![Question::new(name, Rtype::MX)],
            answer: vec![mx],
            edns: Some(edns),
            ..Message::default()
        }
    }

    #[test]
    fn our_members() {
        let wire = sample().compose(512);
        let whole = ExchangeAnswer {
            message: sample(),
            wire,
            query: Vec::new(),
            server: 0,
            transport: Transport::Udp,
            elapsed: std::time::Duration::from_micros(1234),
            mismatches: 0,
            sent: 1,
        };
        let value = serde_json::to_value(answer(&whole, Some(("127.0.0.1:53".parse().unwrap(), "ns")))).unwrap();
        assert_eq!(value["question"]["qtype"], "MX");
        assert_eq!(value["answers"][0]["rdata"], "10 mx.");
        assert_eq!(value["answers"][0]["data"]["preference"], 10);
        assert_eq!(value["ede"][0], json!({"code": 6, "meaning": "DNSSEC Bogus", "text": "bad"}));
        assert_eq!((value["elapsed_ms"].as_f64(), value["flags"][1].as_str()), (Some(1.234), Some("ad")));
        assert_eq!(value["server"], json!({"address": "127.0.0.1", "port": 53, "name": "ns"}));
    }

    #[test]
    fn members_of_rfc_8427() {
        let value = rfc8427(&sample());
        assert_eq!((&value["QNAME"], &value["QTYPE"], &value["AD"]), (&json!("bob.test."), &json!(15), &json!(1)));
        assert_eq!(value["answerRRs"][0]["rdataMX"], "10 mx.");
        assert_eq!(value["answerRRs"][0]["RDATAHEX"], "000a026d7800");
        assert_eq!(value["additionalRRs"][0]["TYPE"], 41);
    }
}
