//! Zone transfers: AXFR (RFC 5936) and IXFR (RFC 1995), streamed in constant memory. The state machine checks the records;
//! the driver reads them from one connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::client::endpoint::{Endpoint, network_fault};
use super::message::{DnsMessageReader, Message, Question, Rcode};
use super::name::Name;
use super::query::Query;
use super::record::rdata::Soa;
use super::record::{Class, Record, Rtype};
use super::transport::Transport;
use super::tsig::{TsigKey, TsigSession};
use crate::fault::{Fault, Kind, PeerCode};
use crate::net::clock::since_1970;
use crate::net::tls::BlockingTls;
use crate::serial::Serial;

/// The maximum number of records of one transfer: no zone is larger, so a server that sends more sends no zone.
pub const MAX_RECORDS: u64 = 1_000_000_000;
/// The size of a read, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// The effect of a transferred record on the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneChange {
    /// The record is part of the zone (AXFR, or an IXFR answered with the whole zone).
    Whole,
    /// The record is deleted.
    Delete,
    /// The record is added.
    Add,
}

/// The summary of a complete transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ZoneTransferSummary {
    /// The number of records, including the SOA records at begin and end.
    pub records: u64,
    /// The number of messages.
    pub messages: u64,
    /// The size of all messages in bytes.
    pub size_bytes: u64,
    /// The zone's serial number.
    pub serial: Serial,
    /// True if the server sent only differences (IXFR).
    pub incremental: bool,
}

/// The state machine that checks the order of the records in a transfer.
#[derive(Debug)]
pub struct Sequence {
    zone: Name,
    /// The serial that the client has (IXFR); `None` for AXFR.
    have: Option<Serial>,
    state: SequenceState,
    newest: Serial,
    first_soa: Option<Record>,
    records: u64,
    incremental: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SequenceState {
    Start,
    /// After the first SOA record.
    First,
    Whole,
    /// In the deletions from a version.
    Deleting,
    /// In the additions up to this version.
    Adding(Serial),
    Done,
}

impl Sequence {
    /// The start of a transfer; `have` is the serial that the client has (IXFR).
    pub fn new(zone: Name, have: Option<Serial>) -> Sequence {
        Sequence {
            zone,
            have,
            state: SequenceState::Start,
            newest: Serial::default(),
            first_soa: None,
            records: 0,
            incremental: false,
        }
    }

    /// Checks the next record and returns its effect on the zone.
    ///
    /// # Errors
    /// [`Kind::Protocol`]: the record is not allowed at this point of the transfer.
    pub fn take(&mut self, record: &Record) -> Result<ZoneChange, Fault> {
        let wrong = |why: String| Err(Fault::new(Kind::Protocol, format!("transfer of {}: {why}", self.zone)));
        self.records += 1;
        if self.records > MAX_RECORDS {
            return wrong(format!("more than {MAX_RECORDS} records"));
        }
        if !record.name.is_in(&self.zone) {
            return wrong(format!("{} is not in the zone", record.name));
        }
        if record.class != Class::IN || record.rtype.is_meta() {
            return wrong(format!("a record of class {} and type {}", record.class, record.rtype));
        }
        let serial = match record.rtype {
            Rtype::SOA => Some(Soa::parse(&record.rdata)?.serial),
            _ => None,
        };
        if serial.is_some() && record.name != self.zone {
            return wrong(format!("an SOA record of {}", record.name));
        }
        match (self.state, serial) {
            (SequenceState::Start, Some(serial)) => {
                (self.newest, self.state) = (serial, SequenceState::First);
                self.first_soa = Some(record.clone());
                // The client has this version already: the transfer has only this record (RFC 1995, section 2).
                if self.have == Some(serial) {
                    self.state = SequenceState::Done;
                }
                Ok(ZoneChange::Whole)
            }
            (SequenceState::Start, None) => wrong("it does not begin with the SOA record".to_owned()),
            (SequenceState::First, Some(serial)) if self.have == Some(serial) && serial != self.newest => {
                (self.state, self.incremental) = (SequenceState::Deleting, true);
                Ok(ZoneChange::Delete)
            }
            (SequenceState::First | SequenceState::Whole, Some(_)) => {
                if !self.first_soa.as_ref().is_some_and(|first| first.has_data(&record.rdata)) {
                    return wrong("the SOA records at its begin and end differ".to_owned());
                }
                self.state = SequenceState::Done;
                Ok(ZoneChange::Whole)
            }
            (SequenceState::First | SequenceState::Whole, None) => {
                self.state = SequenceState::Whole;
                Ok(ZoneChange::Whole)
            }
            (SequenceState::Deleting, Some(serial)) => {
                self.state = SequenceState::Adding(serial);
                Ok(ZoneChange::Add)
            }
            (SequenceState::Deleting, None) => Ok(ZoneChange::Delete),
            (SequenceState::Adding(version), Some(serial)) => {
                if serial != version {
                    return wrong(format!("differences jump from serial {version} to {serial}"));
                }
                if version == self.newest {
                    self.state = SequenceState::Done;
                    return Ok(ZoneChange::Whole);
                }
                self.state = SequenceState::Deleting;
                Ok(ZoneChange::Delete)
            }
            (SequenceState::Adding(_), None) => Ok(ZoneChange::Add),
            (SequenceState::Done, _) => wrong("records after its end".to_owned()),
        }
    }

    /// Handles the end of a message. A client with a newer version than the server's gets only the server's SOA record
    /// (RFC 1995, section 2).
    pub fn message_ended(&mut self) {
        if self.state == SequenceState::First && self.have.is_some_and(|have| have > self.newest) {
            self.state = SequenceState::Done;
        }
    }

    /// True after the last record.
    pub fn is_done(&self) -> bool {
        self.state == SequenceState::Done
    }
}

/// The parameters of a transfer.
#[derive(Debug, Clone)]
pub struct ZoneTransfer {
    /// The server. It is asked over TCP, or over TLS if that is its transport (RFC 9103).
    pub server: Endpoint,
    /// The zone.
    pub zone: Name,
    /// The serial that the client has, for IXFR; `None` for AXFR.
    pub have: Option<Serial>,
    /// The key that signs the query and verifies every answer.
    pub key: Option<TsigKey>,
    /// The time limit for each wait for the server.
    pub timeout: Duration,
    /// The deadline of the whole transfer.
    pub until: Option<Instant>,
}

impl ZoneTransfer {
    /// Runs the transfer, and passes each record to `each` as it arrives. The zone is complete only if the result is `Ok`.
    ///
    /// # Errors
    /// The transfer is not complete: [`Kind::Refused`], [`Kind::Protocol`], a network fault, or a fault of `each`.
    pub fn run(
        &self,
        each: &mut dyn FnMut(&Record, ZoneChange) -> Result<(), Fault>,
    ) -> Result<ZoneTransferSummary, Fault> {
        let network = |error: &io::Error| network_fault(self.server.address, Transport::Tcp, error);
        let mut id = [0; 2];
        crate::net::random::fill(&mut id)?;
        let id = u16::from_ne_bytes(id);
        let query = self.query();
        let (wire, mut session) = self.signed(query.compose(id));
        let framed = [&u16::try_from(wire.len()).unwrap_or(u16::MAX).to_be_bytes()[..], &wire].concat();
        let mut stream = Timed { stream: self.connect()?, timeout: self.timeout, until: self.until };
        stream.write_all(&framed).and_then(|()| stream.flush()).map_err(|error| network(&error))?;
        let mut input = io::BufReader::with_capacity(READ_BYTES, stream);
        let mut sequence = Sequence::new(self.zone.clone(), self.have);
        let mut summary = ZoneTransferSummary::default();
        let mut buffer = Vec::new();
        while !sequence.is_done() {
            let mut length = [0; 2];
            let read = input.read_exact(&mut length).and_then(|()| {
                buffer.resize(usize::from(u16::from_be_bytes(length)), 0);
                input.read_exact(&mut buffer)
            });
            read.map_err(|error| cut_short(network(&error), summary.records))?;
            if let Some(session) = &mut session {
                session.verify(&buffer, since_1970().as_secs())?;
            }
            summary.messages += 1;
            summary.size_bytes += buffer.len() as u64;
            self.message(&buffer, id, &query.question, summary.messages == 1, &mut sequence, each)?;
            summary.records = sequence.records;
        }
        if let Some(session) = &session {
            session.finish()?;
        }
        (summary.serial, summary.incremental) = (sequence.newest, sequence.incremental);
        Ok(summary)
    }

    fn connect(&self) -> Result<TransferStream, Fault> {
        let (address, transport) = (self.server.address, self.server.transport);
        let network = |error: io::Error| network_fault(address, Transport::Tcp, &error);
        let left = |limit: Duration| match self.until {
            Some(until) => limit.min(until.saturating_duration_since(Instant::now())).max(SHORTEST),
            None => limit,
        };
        if !matches!(transport, Transport::Udp | Transport::Tcp | Transport::Tls) {
            let what = format!("{address}: zones are transferred over tcp or tls, not {}", transport.name());
            return Err(Fault::new(Kind::Unsupported, what));
        }
        let over = || format!("{} over {}", self.server.place(), Transport::Tcp.name());
        let stream = self.server.connect_blocking(left(self.timeout)).map_err(|fault| fault.context(over()))?;
        if transport != Transport::Tls {
            return Ok(TransferStream::Tcp(stream));
        }
        let limits = stream.set_read_timeout(Some(left(self.timeout)));
        limits.and_then(|()| stream.set_write_timeout(Some(left(self.timeout)))).map_err(network)?;
        let tls = self.server.trust()?.with_alpn(&["dot"]).connect_blocking(stream, &self.server.host);
        Ok(TransferStream::Tls(tls.map_err(|fault| fault.context(format_args!("{address} over tls")))?))
    }

    fn query(&self) -> Query {
        let rtype = if self.have.is_some() { Rtype::IXFR } else { Rtype::AXFR };
        let mut query = Query { edns: None, ..Query::new(self.zone.clone(), rtype) };
        query.flags.0 = 0;
        query.authority = self.have.map(|serial| {
            let mut rdata = vec![0, 0];
            rdata.extend(serial.0.to_be_bytes());
            rdata.extend([0; 16]);
            Record { name: self.zone.clone(), rtype: Rtype::SOA, class: Class::IN, ttl: 0, rdata }
        });
        query
    }

    fn signed(&self, wire: Vec<u8>) -> (Vec<u8>, Option<TsigSession>) {
        match &self.key {
            Some(key) => {
                let (wire, session) = key.sign(&wire, since_1970().as_secs());
                (wire, Some(session))
            }
            None => (wire, None),
        }
    }

    fn message(
        &self,
        wire: &[u8],
        id: u16,
        question: &Question,
        first: bool,
        sequence: &mut Sequence,
        each: &mut dyn FnMut(&Record, ZoneChange) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut reader = DnsMessageReader::new(wire)?;
        if reader.id != id || !reader.flags.has(super::message::Flags::QR) {
            return Err(Fault::new(Kind::Protocol, "the answer is not to our question"));
        }
        let rcode = Rcode(reader.flags.0 & 15);
        if rcode != Rcode::NOERROR {
            return Err(refusal(rcode, Message::parse(wire).ok()));
        }
        for _ in 0..reader.counts.question {
            if reader.question()? != *question {
                return Err(Fault::new(Kind::Protocol, "the answer is to another question"));
            }
        }
        if reader.counts.answer == 0 {
            // Such messages do not advance a transfer and could go on forever.
            let (kind, what) = match first {
                true => (Kind::Refused, "the server sent no zone"),
                false => (Kind::Protocol, "a message without records in a transfer"),
            };
            return Err(Fault::new(kind, what));
        }
        for _ in 0..reader.counts.answer {
            let record = reader.record()?.into_record(wire)?;
            let change = sequence.take(&record)?;
            each(&record, change)?;
        }
        sequence.message_ended();
        Ok(())
    }
}

/// The stream of a transfer.
#[derive(Debug)]
enum TransferStream {
    Tcp(TcpStream),
    Tls(BlockingTls),
}

/// A stream with a time limit per wait and one for all waits, which also stops a server that sends single bytes slowly.
#[derive(Debug)]
struct Timed {
    stream: TransferStream,
    timeout: Duration,
    until: Option<Instant>,
}

/// The minimum time limit of a wait: 0 would mean no limit.
const SHORTEST: Duration = Duration::from_millis(1);

impl Timed {
    fn limit(&self) -> io::Result<()> {
        let mut limit = self.timeout;
        if let Some(until) = self.until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "time is up"));
            }
            limit = limit.min(left);
        }
        let socket = match &self.stream {
            TransferStream::Tcp(stream) => stream,
            TransferStream::Tls(tls) => tls.socket(),
        };
        socket.set_read_timeout(Some(limit.max(SHORTEST)))?;
        socket.set_write_timeout(Some(limit.max(SHORTEST)))
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.limit()?;
        let read = match &mut self.stream {
            TransferStream::Tcp(stream) => stream.read(buffer),
            TransferStream::Tls(tls) => tls.read(buffer),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.limit()?;
                Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
            }
            read => read,
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limit()?;
        match &mut self.stream {
            TransferStream::Tcp(stream) => stream.write(bytes),
            TransferStream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            TransferStream::Tcp(stream) => stream.flush(),
            TransferStream::Tls(tls) => tls.flush(),
        }
    }
}

/// The fault for a server that refuses the transfer.
fn refusal(rcode: Rcode, message: Option<Message>) -> Fault {
    let rcode = message.map_or(rcode, |message| message.rcode());
    Fault::new(rcode.failure_kind(), format!("transfer: {rcode}")).with_code(PeerCode::Rcode(rcode.0))
}

/// The fault for a connection that ends before the zone is complete.
fn cut_short(fault: Fault, records: u64) -> Fault {
    if fault.kind == Kind::Disconnected || records > 0 {
        let detail = format!("transfer cut short after {records} records: {}", fault.detail);
        return Fault { detail, ..fault };
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::record::{parse, words};

    fn record(text: &str) -> Record {
        let (owner, rest) = text.split_once(' ').unwrap();
        let (rtype, rdata) = rest.split_once(' ').unwrap();
        let (rtype, root) = (Rtype::parse(rtype).unwrap(), Name::root());
        let words = words::split(rdata.as_bytes()).unwrap();
        let rdata = parse::rdata(rtype, &mut words::RdataWords::new(&words, Some(&root))).unwrap();
        Record { name: Name::parse(owner).unwrap(), rtype, class: Class::IN, ttl: 1, rdata }
    }

    fn soa(serial: u32) -> String {
        format!("z.test SOA a. b. {serial} 1 1 1 1")
    }

    /// The effects of the records in one message, as one letter each, and whether the transfer is then over; or the error.
    fn run(have: Option<u32>, records: &[String]) -> Result<(String, bool), String> {
        let mut sequence = Sequence::new(Name::parse("z.test").unwrap(), have.map(Serial));
        let mut shown = String::new();
        for text in records {
            let change = sequence.take(&record(text)).map_err(|fault| fault.detail)?;
            shown.push(match change {
                ZoneChange::Whole => 'w',
                ZoneChange::Delete => 'd',
                ZoneChange::Add => 'a',
            });
        }
        sequence.message_ended();
        Ok((shown, sequence.is_done()))
    }

    #[test]
    fn sequences_of_records() {
        let a = |name: &str| format!("{name} A 192.0.2.1");
        let done = |text: &str| Ok((text.to_owned(), true));
        assert_eq!(run(None, &[soa(3), a("x.z.test"), soa(3)]), done("www"));
        assert_eq!(run(None, &[soa(3), a("x.z.test")]), Ok(("ww".to_owned(), false)));
        assert_eq!(run(Some(3), &[soa(3)]), done("w"), "up to date");
        assert_eq!(run(Some(4), &[soa(3)]), done("w"), "the server's version is older");
        assert_eq!(run(Some(4), &[soa(3), a("x.z.test"), soa(3)]), done("www"), "older, and sent all the same");
        assert_eq!(run(Some(1), &[soa(3)]), Ok(("w".to_owned(), false)), "more messages come");
        assert_eq!(run(Some(1), &[soa(3), a("x.z.test"), soa(3)]), done("www"), "the whole zone instead");
        let steps = [soa(3), soa(1), a("x.z.test"), soa(2), a("y.z.test"), soa(2), soa(3), a("x.z.test"), soa(3)];
        assert_eq!(run(Some(1), &steps), done("wddaadaaw"), "two steps of differences");
        for (have, records, why) in [
            (None, vec![a("z.test")], "does not begin with the SOA"),
            (None, vec![soa(3), a("x.other")], "x.other. is not in the zone"),
            (None, vec![soa(3), soa(4)], "begin and end differ"),
            (None, vec![soa(3), soa(3), a("z.test")], "records after its end"),
            (None, vec![soa(3), "x.z.test SOA a. b. 1 1 1 1 1".to_owned()], "an SOA record of x.z.test."),
            (Some(1), vec![soa(3), soa(1), soa(2), soa(1)], "jump from serial 2 to 1"),
        ] {
            let error = run(have, &records).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
