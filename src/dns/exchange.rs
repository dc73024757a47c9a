//! The client's state machine for one question: which server to ask next and how, which answers count, when to send
//! again, when to change to TCP, when to give up. No sockets and no clock: the caller says what came and what time it is.

use std::collections::VecDeque;
use std::time::Duration;

use super::message::{Flags, Message, Rcode};
use super::query::Query;
use super::transport::Transport;
use crate::fault::{Fault, Kind};

/// How patient and how stubborn a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangePolicy {
    /// How long to wait for each answer.
    pub timeout: Duration,
    /// How often each server is asked over UDP; over a connection, which does not lose messages, once.
    pub tries: u32,
    /// No longer than this for the whole exchange.
    pub deadline: Duration,
    /// A truncated answer is taken as it is.
    pub ignore_truncation: bool,
    /// Every server is asked at once; the first usable answer wins.
    pub race: bool,
    /// A code that is no answer sends the question to the next server.
    pub next_on_failure: bool,
    /// BADCOOKIE is answered with the cookie that came with it (RFC 7873, section 5.3).
    pub answer_bad_cookie: bool,
    /// Each round waits twice as long as the one before.
    pub backoff: bool,
}

impl Default for ExchangePolicy {
    fn default() -> ExchangePolicy {
        ExchangePolicy {
            timeout: Duration::from_secs(5),
            tries: 3,
            deadline: Duration::from_secs(60),
            ignore_truncation: false,
            race: false,
            next_on_failure: true,
            answer_bad_cookie: true,
            backoff: false,
        }
    }
}

/// Most tries that may be asked for.
pub const MAX_TRIES: u32 = 100;

/// What the driver has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeAction {
    /// Send these bytes to a server, and report what comes or fails.
    Send {
        /// Which server, by its place in the list.
        server: usize,
        /// By datagram or connection.
        transport: Transport,
        /// The message.
        wire: Vec<u8>,
    },
    /// Wait for datagrams until this time, then ask again what to do.
    Wait {
        /// Time since the beginning of the exchange.
        until: Duration,
    },
    /// It is over: see [`Exchange::outcome`].
    Done,
}

/// An answer that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeAnswer {
    /// The message.
    pub message: Message,
    /// Its bytes.
    pub wire: Vec<u8>,
    /// The query that it answers, as it was last sent to this server, before it was signed.
    pub query: Vec<u8>,
    /// Which server it came from, by its place in the list.
    pub server: usize,
    /// How it came.
    pub transport: Transport,
    /// Time from the last sending to its arrival.
    pub elapsed: Duration,
    /// Messages that were no answer to this question and were waited past.
    pub mismatches: u32,
    /// How many times a query was sent.
    pub sent: u32,
}

/// One sending that is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    server: usize,
    transport: Transport,
    /// In a race those of one round are sent together.
    round: u32,
}

/// One question on its way.
#[derive(Debug)]
pub struct Exchange {
    query: Query,
    /// One identifier a server, kept over retransmissions so that a late answer still counts.
    ids: Vec<u16>,
    policy: ExchangePolicy,
    /// What was last sent to each.
    sent_to: Vec<Vec<u8>>,
    /// Attempts still to be made.
    plan: VecDeque<Attempt>,
    /// Until when to wait for what is under way; none if nothing is.
    waiting_until: Option<Duration>,
    last_sent: Duration,
    /// The round of the last sending.
    round: u32,
    /// The servers that the wait is for. What others send counts as well, if it comes.
    awaited: Vec<usize>,
    /// Servers whose truncated answer was followed by TCP: a copy of it does not ask once more.
    over_tcp: Vec<usize>,
    sent: u32,
    mismatches: u32,
    answer: Option<ExchangeAnswer>,
    /// The best of the answers that nobody wants (codes that are none).
    fallback: Option<ExchangeAnswer>,
    fault: Option<Fault>,
    done: bool,
    /// A server wants its own cookie back (RFC 7873, section 5.3); that was done.
    with_cookie: bool,
}

impl Exchange {
    /// A question for these servers, each with the identifier it gets and the way it is asked.
    pub fn new(query: Query, servers: &[(u16, Transport)], policy: ExchangePolicy) -> Exchange {
        let ways = servers.iter().map(|(_, transport)| *transport).enumerate();
        let plan = (0..policy.tries.max(1))
            .flat_map(|round| ways.clone().map(move |(server, transport)| Attempt { server, transport, round }))
            .filter(|attempt| attempt.round == 0 || attempt.transport == Transport::Udp)
            .collect();
        Exchange {
            query,
            ids: servers.iter().map(|(id, _)| *id).collect(),
            sent_to: vec![Vec::new(); servers.len()],
            policy,
            plan,
            waiting_until: None,
            last_sent: Duration::ZERO,
            round: 0,
            awaited: Vec::new(),
            over_tcp: Vec::new(),
            sent: 0,
            mismatches: 0,
            answer: None,
            fallback: None,
            fault: None,
            done: false,
            with_cookie: false,
        }
    }

    /// In each round, asks these servers after the others.
    pub fn ask_last(&mut self, is_silent: impl Fn(usize) -> bool) {
        self.plan.make_contiguous().sort_by_key(|attempt| (attempt.round, is_silent(attempt.server)));
    }

    /// What to do now.
    pub fn poll(&mut self, now: Duration) -> ExchangeAction {
        if self.done {
            return ExchangeAction::Done;
        }
        if now >= self.policy.deadline {
            return self.give_up();
        }
        if let Some(until) = self.waiting_until {
            let together = self.policy.race && self.plan.front().is_some_and(|next| next.round == self.round);
            if now < until && !together {
                return ExchangeAction::Wait { until: until.min(self.policy.deadline) };
            }
            if now >= until {
                self.awaited.clear();
                self.waiting_until = None;
            }
        }
        let Some(Attempt { server, transport, round }) = self.plan.pop_front() else { return self.give_up() };
        let Some(&id) = self.ids.get(server) else { return self.give_up() };
        self.sent += 1;
        self.round = round;
        self.last_sent = now;
        let doubled = if self.policy.backoff { round.min(16) } else { 0 };
        self.waiting_until = Some(now + self.policy.timeout * (1 << doubled));
        if !self.policy.race {
            self.awaited.clear();
        }
        self.awaited.push(server);
        if transport == Transport::Udp {
            self.over_tcp.retain(|asked| *asked != server);
        }
        let wire = self.query.compose_over(id, transport);
        if let Some(sent) = self.sent_to.get_mut(server) {
            sent.clone_from(&wire);
        }
        ExchangeAction::Send { server, transport, wire }
    }

    /// A message came from a server. True if it ended the exchange or changed its course.
    pub fn received(&mut self, server: usize, transport: Transport, wire: &[u8], now: Duration) -> bool {
        if self.done {
            return false;
        }
        let Some(&id) = self.ids.get(server) else { return false };
        let message = match Message::parse(wire) {
            Ok(message) => message,
            Err(error) => {
                // Garbage on a connection or with the right identifier is the server's own; other may be anybody's.
                let ours = wire.get(..2) == Some(&id.to_be_bytes()) && wire.get(2).is_some_and(|byte| byte & 0x80 != 0);
                if ours || transport != Transport::Udp {
                    self.failed(server, Fault::from(error));
                    return true;
                }
                self.mismatches += 1;
                return false;
            }
        };
        if transport == Transport::Udp && self.query.is_answered_in_another_case(&message, id) {
            // A server that does not keep the case, or a forger who guessed all but that: a connection tells.
            self.mismatches += 1;
            return self.over_tcp(server);
        }
        if !self.query.is_answered_by(&message, id, transport) {
            self.mismatches += 1;
            if transport == Transport::Udp {
                return false;
            }
            // On a connection nobody else can speak.
            self.failed(server, Fault::new(Kind::Protocol, "the answer is not to our question"));
            return true;
        }
        if message.flags.has(Flags::TC) && transport == Transport::Udp && !self.policy.ignore_truncation {
            return self.over_tcp(server);
        }
        let rcode = message.rcode();
        let has_edns = message.edns.is_some();
        if self.query.edns.as_ref().is_some_and(|edns| rcode.rejects(edns, has_edns)) {
            self.query.edns = None;
            return self.again(server, transport);
        }
        if rcode == Rcode::BADCOOKIE
            && self.policy.answer_bad_cookie
            && !self.with_cookie
            && self.query.take_cookie(&message)
        {
            self.with_cookie = true;
            return self.again(server, transport);
        }
        let answer = ExchangeAnswer {
            message,
            wire: wire.to_vec(),
            query: self.sent_to.get(server).cloned().unwrap_or_default(),
            server,
            transport,
            elapsed: now.saturating_sub(self.last_sent),
            mismatches: self.mismatches,
            sent: self.sent,
        };
        if !rcode.is_answer() && self.policy.next_on_failure && self.ids.len() > 1 {
            self.plan.retain(|planned| planned.server != server);
            self.fallback.get_or_insert(answer);
            self.waits_no_more_for(server);
            return true;
        }
        self.answer = Some(answer);
        self.done = true;
        true
    }

    /// Sending to a server or its connection failed.
    pub fn failed(&mut self, server: usize, fault: Fault) {
        self.fault = Some(fault);
        self.waits_no_more_for(server);
    }

    /// Asks the same server by connection, once a round of datagrams.
    fn over_tcp(&mut self, server: usize) -> bool {
        if self.over_tcp.contains(&server) {
            return false;
        }
        self.over_tcp.push(server);
        self.again(server, Transport::Tcp)
    }

    /// Asks the same server again, at once.
    fn again(&mut self, server: usize, transport: Transport) -> bool {
        self.plan.push_front(Attempt { server, transport, round: self.round });
        self.awaited.retain(|awaited| *awaited != server);
        if !self.policy.race {
            self.waiting_until = None;
        }
        true
    }

    fn waits_no_more_for(&mut self, server: usize) {
        self.awaited.retain(|awaited| *awaited != server);
        if self.awaited.is_empty() {
            self.waiting_until = None;
        }
    }

    /// True while no server has answered and nothing else went wrong.
    pub fn is_silent(&self) -> bool {
        self.answer.is_none() && self.fallback.is_none() && self.fault.is_none()
    }

    /// How it ended. Codes that answer nothing are answers here; the caller decides what they mean.
    ///
    /// # Errors
    /// What kept every server from answering, with its kind.
    pub fn outcome(self) -> Result<ExchangeAnswer, Fault> {
        let mismatches = self.mismatches;
        self.answer.or(self.fallback).ok_or_else(|| {
            let mut fault = self.fault.unwrap_or_else(|| Fault::new(Kind::TimedOut, "no answer in time"));
            if mismatches > 0 {
                fault.detail.push_str(&format!(" ({mismatches} messages that were no answer to the question)"));
            }
            fault
        })
    }

    /// The query as it was last sent.
    pub fn query(&self) -> &Query {
        &self.query
    }

    fn give_up(&mut self) -> ExchangeAction {
        self.done = true;
        ExchangeAction::Done
    }
}

#[cfg(test)]
mod simulate;
#[cfg(test)]
mod tests;
