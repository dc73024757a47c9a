//! The words between the engine and its surroundings: what to do, what became of it, and who takes queries and outcomes.

use super::Micros;
use super::walk::Walked;

/// What the engine is to do.
#[derive(Debug, Clone)]
pub struct Options {
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
    /// The UDP size to offer; none = no EDNS.
    pub edns: Option<u16>,
    /// Set DO (RFC 3225).
    pub dnssec_ok: bool,
    /// Ask for recursion.
    pub recursion: bool,
    /// Set CD (RFC 4035, section 3.2.2).
    pub checking_disabled: bool,
    /// Mix the case of letters and want them back so ("0x20").
    pub mix_case: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            concurrency: 1000,
            lookahead: 2048,
            max_window: 1000,
            tries: 6,
            try_timeout: 3_000_000,
            name_timeout: 30_000_000,
            rate: None,
            edns: Some(1232),
            dnssec_ok: false,
            recursion: true,
            checking_disabled: false,
            mix_case: false,
        }
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No answer in time.
    TimedOut,
    /// A response code that is no answer: SERVFAIL, REFUSED, NOTIMP …
    Rcode(u16),
    /// The answer could not be read.
    Malformed,
    /// Nothing listens there.
    ConnectRefused,
    /// No way to the resolver.
    Unreachable,
    /// The connection ended.
    Disconnected,
}

/// What became of a question.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// NOERROR, NXDOMAIN or YXDOMAIN: the answer, with or without data.
    Answered(&'a Walked<'a>),
    /// No answer after all tries; the last response, if there was one.
    Failed(Failure, Option<&'a Walked<'a>>),
}

/// One finished question.
#[derive(Debug)]
pub struct Done<'a> {
    /// The number that the question was given.
    pub number: u64,
    /// Name, type and class as in the packet.
    pub question: &'a [u8],
    /// The resolver that answered, or was asked last.
    pub resolver: u16,
    /// The answer came over a stream.
    pub stream: bool,
    /// How often it was asked.
    pub tries: u8,
    /// From the first query to the end.
    pub elapsed: Micros,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// Takes the outcome of each question, once.
pub trait Sink {
    /// A question is done.
    fn done(&mut self, done: &Done<'_>);
}

/// Takes the queries that are to leave.
pub trait Outlet {
    /// Sends one query on a lane. A query that cannot leave counts as lost.
    fn send(&mut self, lane: u16, query: &[u8]);
}
