//! What passes between the engine and its driver: options in, queries and outcomes out.

use std::net::SocketAddr;

use super::Micros;
use super::walk::ResponseView;
use crate::dns::edns::Edns;
use crate::dns::message::Flags;
use crate::dns::transport::Transport;
use crate::fault::Kind;

/// What the engine is to do.
#[derive(Debug, Clone)]
pub struct BulkOptions {
    /// Questions asked and unanswered at once.
    pub concurrency: usize,
    /// Questions taken in before they are asked.
    pub lookahead: usize,
    /// The largest window of one resolver.
    pub max_window: u32,
    /// How often a question is asked at most.
    pub tries: u8,
    /// The longest wait for one answer.
    pub try_timeout: Micros,
    /// The longest time for one question with all its tries.
    pub name_timeout: Micros,
    /// Queries per second over all resolvers.
    pub rate: Option<f64>,
    /// Flags in the header of queries: RD, AD, CD.
    pub flags: Flags,
    /// The EDNS record of queries; none = no EDNS.
    pub edns: Option<Edns>,
    /// Send cookies (RFC 7873), for each resolver its own.
    pub cookies: bool,
    /// Pad queries to a multiple of so many bytes (RFC 7830); 0 = not. None: on encrypted ways to the usual multiple.
    pub padding: Option<u16>,
    /// Take truncated answers as they are.
    pub take_truncated: bool,
    /// SERVFAIL, REFUSED and the like are asked again, elsewhere if there is another resolver.
    pub failover: bool,
    /// Mix the case of letters and want them back so ("0x20").
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

/// How a resolver is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketPlan {
    /// UDP sockets; none if a connection carries everything.
    pub sockets: usize,
    /// Nobody on the way can read along: lengths are hidden, too.
    pub encrypted: bool,
}

/// One of the engine's sockets: the UDP sockets of all resolvers, resolver by resolver, then one connection each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketId(pub u16);

/// One of the resolvers, in the order of the socket plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverId(pub u16);

/// A resolver as records name it.
#[derive(Debug, Clone)]
pub struct ServerLabel {
    /// Where it is.
    pub address: SocketAddr,
    /// What the user called it.
    pub name: String,
    /// What carries messages to it, truncated answers over UDP aside.
    pub transport: Transport,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryFailure {
    /// No answer in time.
    TimedOut,
    /// A response code that is no answer: SERVFAIL, REFUSED, NOTIMP …
    Rcode(u16),
    /// The answer could not be read.
    Malformed,
    /// What came under the question's ID in time answered other questions.
    Mismatched,
    /// What was asked for was cut off, and truncated answers are taken as they are.
    Truncated,
    /// Nothing listens there.
    ConnectRefused,
    /// No way to the resolver.
    Unreachable,
    /// The connection ended.
    Disconnected,
    /// The connection is not as it should be: certificate, protocol.
    Unfit(Kind),
}

/// What became of a question.
#[derive(Debug)]
pub enum QuestionOutcome<'a> {
    /// NOERROR, NXDOMAIN or YXDOMAIN: the answer, with or without data.
    Answered(&'a ResponseView<'a>),
    /// No answer after all tries; the last response, if there was one.
    Failed(QueryFailure, Option<&'a ResponseView<'a>>),
}

/// One finished question.
#[derive(Debug)]
pub struct FinishedQuestion<'a> {
    /// The number that the question was given.
    pub number: u64,
    /// Name, type and class as in the packet.
    pub question: &'a [u8],
    /// The resolver that answered, or was asked last; none if none was asked.
    pub resolver: Option<ResolverId>,
    /// The answer came over a connection.
    pub over_connection: bool,
    /// How often it was asked.
    pub tries: u8,
    /// From the first query to the end.
    pub elapsed: Micros,
    /// What became of it.
    pub outcome: QuestionOutcome<'a>,
}

/// Takes the outcome of each question, once.
pub trait OutcomeSink {
    /// A question is done.
    fn finished(&mut self, question: &FinishedQuestion<'_>);
}

/// Takes the queries that are to leave.
pub trait QuerySender {
    /// Sends one query on a socket. A query that cannot leave counts as lost.
    fn send(&mut self, socket: SocketId, query: &[u8]);
}

/// What to do with a wildcard's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wildcards {
    /// Print no record for them; they are counted.
    Drop,
    /// Say so in their record.
    Mark,
}
