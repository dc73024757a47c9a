//! The client's state machine for one question. It decides which server to ask next and over which transport, which answers
//! count, and when to resend, switch to TCP or give up. No sockets and no clock: the caller passes in messages and the time.

use std::collections::VecDeque;
use std::time::Duration;

use super::message::{Flags, Message, Rcode};
use super::query::Query;
use super::transport::Transport;
use crate::fault::{Fault, Kind};

/// Timeouts, retries and other choices of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangePolicy {
    /// The timeout for each answer.
    pub timeout: Duration,
    /// The number of times each server is asked over UDP. Over a connection, which loses no messages, it is asked once.
    pub tries: u32,
    /// The time limit for the whole exchange.
    pub deadline: Duration,
    /// Accepts a truncated answer as it is.
    pub ignore_truncation: bool,
    /// Asks all servers at once; the first usable answer wins.
    pub race: bool,
    /// Asks the next server after a response code that is no answer.
    pub next_on_failure: bool,
    /// Retries after BADCOOKIE with the cookie from that response (RFC 7873, section 5.3).
    pub answer_bad_cookie: bool,
    /// Doubles the timeout with each round.
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

/// The maximum value of [`ExchangePolicy::tries`].
pub const MAX_TRIES: u32 = 100;

/// The next action for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeAction {
    /// Send these bytes to a server, and report its messages or a failure.
    Send {
        /// The server, by its index in the list.
        server: usize,
        /// The transport.
        transport: Transport,
        /// The message.
        wire: Vec<u8>,
    },
    /// Wait for messages until this time, then poll again.
    Wait {
        /// The time since the start of the exchange.
        until: Duration,
    },
    /// The exchange is over: see [`Exchange::outcome`].
    Done,
}

/// An accepted answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeAnswer {
    /// The message.
    pub message: Message,
    /// Its bytes.
    pub wire: Vec<u8>,
    /// The query that it answers, as last sent to this server, without its signature.
    pub query: Vec<u8>,
    /// The server that it came from, by its index in the list.
    pub server: usize,
    /// The transport that it came over.
    pub transport: Transport,
    /// The time from the last transmission to its arrival.
    pub elapsed: Duration,
    /// The number of messages that did not match this question and were ignored.
    pub mismatches: u32,
    /// The number of transmissions of the query.
    pub sent: u32,
}

/// One planned transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    server: usize,
    transport: Transport,
    /// In a race all attempts of one round are sent together.
    round: u32,
}

/// The state of one question.
#[derive(Debug)]
pub struct Exchange {
    query: Query,
    /// One identifier per server, kept over retransmissions so that a late answer still counts.
    ids: Vec<u16>,
    policy: ExchangePolicy,
    /// The message last sent to each server.
    sent_to: Vec<Vec<u8>>,
    /// The remaining attempts.
    plan: VecDeque<Attempt>,
    /// The end of the wait for pending answers; `None` if no answer is pending.
    waiting_until: Option<Duration>,
    last_sent: Duration,
    /// The round of the last transmission.
    round: u32,
    /// The servers whose answers are awaited. Answers of other servers count as well.
    awaited: Vec<usize>,
    /// Servers asked over TCP after a truncated answer: a copy of that answer does not trigger another query.
    over_tcp: Vec<usize>,
    sent: u32,
    mismatches: u32,
    answer: Option<ExchangeAnswer>,
    /// The first response whose code is no answer, used if no server answers properly.
    fallback: Option<ExchangeAnswer>,
    fault: Option<Fault>,
    done: bool,
    /// True once a query was repeated with the server's cookie (RFC 7873, section 5.3).
    with_cookie: bool,
}

impl Exchange {
    /// An exchange with these servers, each with its query identifier and its transport.
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

    /// Returns the next action at the time `now`.
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

    /// Handles a message from a server. True if it ended the exchange or changed its state.
    pub fn received(&mut self, server: usize, transport: Transport, wire: &[u8], now: Duration) -> bool {
        if self.done {
            return false;
        }
        let Some(&id) = self.ids.get(server) else { return false };
        let message = match Message::parse(wire) {
            Ok(message) => message,
            Err(error) => {
                // Garbage on a connection or with the right identifier comes from the server; other garbage may come from anyone.
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
            // A server that does not keep the case, or a forger who guessed everything else: a connection decides.
            self.mismatches += 1;
            return self.over_tcp(server);
        }
        if !self.query.is_answered_by(&message, id, transport) {
            self.mismatches += 1;
            if transport == Transport::Udp {
                return false;
            }
            // On a connection the message can only come from the server.
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

    /// Handles a failed transmission to a server or a failed connection.
    pub fn failed(&mut self, server: usize, fault: Fault) {
        self.fault = Some(fault);
        self.waits_no_more_for(server);
    }

    /// Asks the same server over TCP, once per UDP transmission.
    fn over_tcp(&mut self, server: usize) -> bool {
        if self.over_tcp.contains(&server) {
            return false;
        }
        self.over_tcp.push(server);
        self.again(server, Transport::Tcp)
    }

    /// Asks the same server again immediately.
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

    /// True while no server has answered and no fault has occurred.
    pub fn is_silent(&self) -> bool {
        self.answer.is_none() && self.fallback.is_none() && self.fault.is_none()
    }

    /// The result of the exchange. Responses with error codes count as answers here; the caller interprets them.
    ///
    /// # Errors
    /// No server answered: the last fault, or [`Kind::TimedOut`].
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

    /// The query as last sent.
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
