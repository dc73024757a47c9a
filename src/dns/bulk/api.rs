//! The interface between the engine and its driver: options in, queries and outcomes out.

use std::net::SocketAddr;

use super::Micros;
use super::walk::ResponseView;
use crate::dns::edns::Edns;
use crate::dns::message::Flags;
use crate::dns::transport::Transport;
use crate::fault::Kind;

/// The engine's settings.
#[derive(Debug, Clone)]
pub struct BulkOptions {
    /// The maximum number of questions asked and unanswered at once.
    pub concurrency: usize,
    /// The maximum number of questions taken in before they are asked.
    pub lookahead: usize,
    /// The maximum window of one resolver.
    pub max_window: u32,
    /// The maximum number of tries of a question.
    pub tries: u8,
    /// The maximum wait for one answer.
    pub try_timeout: Micros,
    /// The maximum time for one question with all its tries.
    pub name_timeout: Micros,
    /// The maximum number of queries per second over all resolvers; `None`: no limit.
    pub rate: Option<f64>,
    /// The flags in the header of queries: RD, AD, CD.
    pub flags: Flags,
    /// The EDNS record of queries; `None`: no EDNS.
    pub edns: Option<Edns>,
    /// Send cookies (RFC 7873), a separate one for each resolver.
    pub cookies: bool,
    /// Pad queries to a multiple of this many bytes (RFC 7830); 0 = no padding. `None`: the usual multiple on encrypted transports.
    pub padding: Option<u16>,
    /// Accept truncated answers.
    pub take_truncated: bool,
    /// Ask again after SERVFAIL, REFUSED and similar codes, at another resolver if there is one.
    pub failover: bool,
    /// Randomize the case of letters and require the same case in responses ("0x20").
    pub mix_case: bool,
}

impl Default for BulkOptions {
    fn default() -> BulkOptions {
        BulkOptions {
            concurrency: 1000,
            lookahead: 2048,
            max_window: 1000,
            tries: 6,
            try_timeout: 3_000_000,
            name_timeout: 30_000_000,
            rate: None,
            flags: Flags(Flags::RD),
            edns: Some(Edns::default()),
            cookies: false,
            padding: None,
            take_truncated: false,
            failover: true,
            mix_case: false,
        }
    }
}

/// The sockets of a resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketPlan {
    /// The number of UDP sockets; 0 if a connection carries everything.
    pub sockets: usize,
    /// The transport is encrypted, so lengths are hidden too.
    pub encrypted: bool,
}

/// The number of an engine socket: the UDP sockets of all resolvers, resolver by resolver, then one connection each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketId(pub u16);

/// The number of a resolver, in the order of the socket plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverId(pub u16);

/// The description of a resolver in records.
#[derive(Debug, Clone)]
pub struct ServerLabel {
    /// Its address.
    pub address: SocketAddr,
    /// The name that the user gave it.
    pub name: String,
    /// The transport of its messages, except for questions repeated after truncated UDP answers.
    pub transport: Transport,
}

/// The reason why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryFailure {
    /// No answer in time.
    TimedOut,
    /// A response code that is no answer: SERVFAIL, REFUSED, NOTIMP …
    Rcode(u16),
    /// The answer could not be read.
    Malformed,
    /// The packets that came under the question's ID in time answered other questions.
    Mismatched,
    /// The requested data was cut off, and truncated answers are accepted.
    Truncated,
    /// No service listens at the address.
    ConnectRefused,
    /// There is no route to the resolver.
    Unreachable,
    /// The connection ended.
    Disconnected,
    /// The connection is unusable: certificate or protocol fault.
    Unfit(Kind),
}

/// The outcome of a question.
#[derive(Debug)]
pub enum QuestionOutcome<'a> {
    /// NOERROR, NXDOMAIN or YXDOMAIN: the answer, with or without data.
    Answered(&'a ResponseView<'a>),
    /// No answer after all tries; with the last response, if there was one.
    Failed(QueryFailure, Option<&'a ResponseView<'a>>),
}

/// One finished question.
#[derive(Debug)]
pub struct FinishedQuestion<'a> {
    /// The number that the question was given.
    pub number: u64,
    /// Name, type and class in wire form.
    pub question: &'a [u8],
    /// The resolver that answered or was asked last; `None` if none was asked.
    pub resolver: Option<ResolverId>,
    /// The answer came over a connection.
    pub over_connection: bool,
    /// The number of tries.
    pub tries: u8,
    /// The time from the first query to the end.
    pub elapsed: Micros,
    /// The outcome.
    pub outcome: QuestionOutcome<'a>,
}

/// Receives the outcome of each question, once.
pub trait OutcomeSink {
    /// A question is done.
    fn finished(&mut self, question: &FinishedQuestion<'_>);
}

/// Sends the engine's queries.
pub trait QuerySender {
    /// Sends one query on a socket. A query that cannot leave counts as lost.
    fn send(&mut self, socket: SocketId, query: &[u8]);
}

/// The treatment of a wildcard's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wildcards {
    /// Write no record for them, but count them.
    Drop,
    /// Mark them in their record.
    Mark,
}
