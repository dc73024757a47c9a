//! Received responses and missing ones, and their effect on each question.

use super::sent::SentQuery;
use super::slots::{SlotId, SlotState};
use super::sockets::SocketKind;
use super::window::QueryOutcome;
use super::{EXPIRE_EVERY, Engine, FIRST_REST, resolver};
use crate::dns::bulk::Micros;
use crate::dns::bulk::api::{FinishedQuestion, OutcomeSink, QueryFailure, QuestionOutcome, ResolverId, SocketId};
use crate::dns::bulk::walk::{self, ResponseView};
use crate::dns::message::{Flags, Rcode};

/// The server requires its cookie (RFC 7873, section 5.2.3).
const BADCOOKIE: u16 = 23;

/// The query that a response answers.
#[derive(Debug, Clone, Copy)]
struct AnsweredQuery {
    slot: SlotId,
    resolver: ResolverId,
    query: SentQuery,
    /// The query is the one in flight, and not one that counted as lost.
    newest: bool,
}

impl Engine {
    /// Processes a packet received on a socket.
    pub fn receive(&mut self, now: Micros, socket: SocketId, message: &[u8], sink: &mut impl OutcomeSink) {
        let at = self.sockets.resolver(socket);
        let resolver = &mut self.resolvers[at];
        let Some(id) = walk::response_id(message) else { return resolver.mismatch() };
        let Some(slot) = self.ids.holder(id, socket) else {
            resolver.counters.late += 1;
            return;
        };
        let held = self.questions.at_mut(slot);
        let walked = if walk::asks(message, held.question(), self.options.mix_case) {
            ResponseView::new(message, held.question().len())
        } else {
            // A server that could not even read the query answers without it.
            let walked = ResponseView::new(message, 0).filter(|walked| walked.is_bare_error());
            if walked.is_none() {
                held.mismatched = true;
                return resolver.mismatch();
            }
            walked
        };
        let cookie = walked.and_then(|walked| walked.cookie());
        if cookie.is_some_and(|cookie| !resolver.template.learn(cookie)) {
            return resolver.mismatch();
        }
        self.last_valid_answer = now;
        let query = held.sent.get(id, socket);
        let newest = held.state == SlotState::Asked && held.sent.newest() == Some(query);
        resolver.responded(Micros::from((now as u32).wrapping_sub(query.sent)), newest);
        let answered = AnsweredQuery { slot, resolver: at, query, newest };
        let over_connection = self.sockets.kind(socket) != SocketKind::Udp;
        if walk::flags(message) & Flags::TC != 0 && !over_connection && !self.options.take_truncated {
            return self.truncated(answered, now);
        }
        match walked {
            Some(walked) if Rcode(walked.rcode).is_answer() => {
                resolver.counters.answered += 1;
                resolver.count(now, QueryOutcome::Answered);
                self.withdraw(slot, now);
                self.finish(slot, (Some(at), over_connection), now, QuestionOutcome::Answered(&walked), sink);
                self.resolvers.judge(at, now);
            }
            walked => {
                let failure = walked.map_or(QueryFailure::Malformed, |walked| QueryFailure::Rcode(walked.rcode));
                self.refused(answered, failure, walked.as_ref(), now, sink);
            }
        }
    }

    /// Handles a truncated answer: the same resolver is asked over a connection.
    fn truncated(&mut self, answered: AnsweredQuery, now: Micros) {
        let AnsweredQuery { slot, resolver: at, query, newest } = answered;
        self.resolvers[at].counters.truncated += 1;
        self.resolvers[at].count(now, QueryOutcome::Answered);
        if newest {
            self.withdraw(slot, now);
            let held = self.questions.at_mut(slot);
            // This is not a failed try: the answer exists, but it did not fit.
            held.tries = held.tries.saturating_sub(1);
            self.questions.put_in_queue(slot, at, true);
        }
        self.forget(slot, query);
        self.resolvers.judge(at, now);
    }

    /// Handles a response that is not an answer.
    fn refused(
        &mut self,
        answered: AnsweredQuery,
        failure: QueryFailure,
        walked: Option<&ResponseView<'_>>,
        now: Micros,
        sink: &mut impl OutcomeSink,
    ) {
        let AnsweredQuery { slot, resolver: at, query, newest } = answered;
        let again = self.is_worth_another(slot, failure, walked, at);
        self.resolvers[at].count(now, QueryOutcome::Bad);
        if newest {
            self.withdraw(slot, now);
        }
        self.forget(slot, query);
        if newest {
            if again {
                let over_connection = self.questions.at(slot).over_connection;
                self.questions.put_in_queue(slot, at, over_connection);
            } else if self.options.failover || !matches!(failure, QueryFailure::Rcode(_)) {
                self.retry(slot, failure, walked, now, sink);
            } else {
                self.questions.at_mut(slot).failure = failure;
                self.fail(slot, now, walked, sink);
            }
        }
        self.resolvers.judge(at, now);
    }

    /// Counts a refusal; true if the same resolver is likely to answer the same question in another form.
    fn is_worth_another(
        &mut self,
        slot: SlotId,
        failure: QueryFailure,
        walked: Option<&ResponseView<'_>>,
        at: ResolverId,
    ) -> bool {
        let resolver = &mut self.resolvers[at];
        let QueryFailure::Rcode(rcode) = failure else {
            resolver.mismatch();
            return false;
        };
        // The cookie in the response allows a retry (RFC 7873, section 5.3), but only while tries are few, against a loop.
        let has_cookie = self.options.cookies && walked.is_some_and(|it| it.cookie().is_some());
        if rcode == BADCOOKIE && has_cookie && self.questions.at(slot).tries < 3 {
            return true;
        }
        // For this question only: another one may be answered with EDNS.
        let held = self.questions.at_mut(slot);
        if !held.without_edns && resolver.template.is_edns_rejected(rcode, walked.is_some_and(|it| it.edns)) {
            held.without_edns = true;
            resolver.counters.without_edns += 1;
            return true;
        }
        if rcode == 2 {
            resolver.counters.servfail += 1;
        } else {
            resolver.counters.refused += 1;
        }
        false
    }

    /// Handles a query that failed on a connection, or found no connection.
    pub fn query_failed(
        &mut self,
        now: Micros,
        (socket, id): (SocketId, u16),
        failure: QueryFailure,
        connected: bool,
        sink: &mut impl OutcomeSink,
    ) {
        // A timeout was long enough, and a permanent fault stays; an unreachable resolver may come back.
        let for_good = matches!(failure, QueryFailure::Unfit(kind) if !kind.temporary());
        if !connected && (for_good || failure == QueryFailure::TimedOut) {
            self.resolvers[self.sockets.resolver(socket)].no_connection();
            if self.resolvers.are_unconnected() {
                self.dead.get_or_insert(failure);
            }
        }
        let Some(slot) = self.ids.holder(id, socket) else { return };
        let held = self.questions.at(slot);
        if held.state == SlotState::Asked && held.sent.newest() == Some(held.sent.get(id, socket)) {
            self.unreachable(slot, failure, now, sink);
            self.resolvers.judge(self.sockets.resolver(socket), now);
        }
    }

    /// Handles the failure of a question's newest query before it reached the resolver.
    fn unreachable(&mut self, slot: SlotId, failure: QueryFailure, now: Micros, sink: &mut impl OutcomeSink) {
        if let Some(query) = self.withdraw(slot, now) {
            let resolver = &mut self.resolvers[self.sockets.resolver(query.socket)];
            resolver.counters.unreachable += 1;
            resolver.count(now, QueryOutcome::Lost);
            self.forget(slot, query);
        }
        self.retry(slot, failure, None, now, sink);
    }

    /// Handles a failed socket: the system reports that no service listens at the other end, that there is no route to
    /// it, or that a connection ended. The queries in progress there will not be answered.
    pub fn socket_failed(&mut self, now: Micros, socket: SocketId, failure: QueryFailure, sink: &mut impl OutcomeSink) {
        let mut any = false;
        for slot in self.questions.ids() {
            let held = self.questions.at(slot);
            let waits_here = held.sent.newest().is_some_and(|query| query.socket == socket);
            if held.state == SlotState::Asked && waits_here {
                any = true;
                self.unreachable(slot, failure, now, sink);
            }
        }
        if any {
            self.resolvers.judge(self.sockets.resolver(socket), now);
        }
    }

    /// Processes all questions whose timer has expired.
    pub fn tick(&mut self, now: Micros, sink: &mut impl OutcomeSink) {
        while let Some((slot, before)) = self.questions.pop_due(now) {
            let held = self.questions.at(slot);
            let (at, over_connection) = (held.resolver, held.over_connection);
            if before == SlotState::Asked {
                self.settle(slot);
                self.resolvers[at].counters.timed_out += 1;
                self.resolvers[at].count(now, QueryOutcome::Lost);
                self.retry(slot, QueryFailure::TimedOut, None, now, sink);
                self.resolvers.judge(at, now);
            } else {
                self.questions.put_in_queue(slot, at, over_connection);
            }
        }
        if now >= self.expire_at {
            self.expire_at = now + EXPIRE_EVERY;
            self.expire_in_line(now, sink);
            if self.is_silent_for_long(now) {
                self.dead.get_or_insert(QueryFailure::TimedOut);
            }
        }
    }

    /// Ends questions whose time ran out while they waited for a place in a window, a pace or a rate.
    fn expire_in_line(&mut self, now: Micros, sink: &mut impl OutcomeSink) {
        for at in self.resolvers.ids() {
            for over_connection in [false, true] {
                for _ in 0..self.questions.queued(at, over_connection) {
                    let Some(slot) = self.questions.pop_queued(at, over_connection) else { break };
                    if self.is_overdue(slot, now) {
                        self.fail(slot, now, None, sink);
                    } else {
                        self.questions.put_in_queue(slot, at, over_connection);
                    }
                }
            }
        }
    }

    /// The time for which no resolver has sent a valid answer, though asked.
    pub fn silence(&self, now: Micros) -> Micros {
        if self.active() == 0 { 0 } else { now.saturating_sub(self.last_valid_answer) }
    }

    /// Restarts the measurement of silence: the loop could not receive until now.
    pub fn restart_silence(&mut self, now: Micros) {
        self.last_valid_answer = now;
    }

    /// The reason why no resolver will answer: none of them ever has and the first questions used up their tries, or no
    /// resolver can be connected to.
    pub fn dead(&self) -> Option<QueryFailure> {
        self.dead
    }

    /// True once a resolver has answered.
    pub fn is_answered(&self) -> bool {
        self.resolvers.iter().any(|one| one.is_alive())
    }

    /// Ends every question that was taken in.
    pub fn give_up(&mut self, now: Micros, failure: QueryFailure, sink: &mut impl OutcomeSink) {
        for slot in self.questions.ids() {
            if self.questions.at(slot).state != SlotState::Free {
                self.withdraw(slot, now);
                self.questions.at_mut(slot).failure = failure;
                self.fail(slot, now, None, sink);
            }
        }
    }

    /// Handles a failed try of a held question: another resolver at once, the same one after a rest, or the end.
    fn retry(
        &mut self,
        slot: SlotId,
        failure: QueryFailure,
        walked: Option<&ResponseView<'_>>,
        now: Micros,
        sink: &mut impl OutcomeSink,
    ) {
        let held = self.questions.at_mut(slot);
        // The most informative failure stays: a response code says more than a later timeout.
        match failure {
            QueryFailure::TimedOut if matches!(held.failure, QueryFailure::Rcode(_)) => {}
            QueryFailure::TimedOut if held.mismatched => held.failure = QueryFailure::Mismatched,
            other => held.failure = other,
        }
        let (tries, last, over_connection, kept) = (held.tries, held.resolver, held.over_connection, held.failure);
        let next = self.resolvers.another(last, now, &mut self.random);
        let has_tries = tries < self.options.tries || self.resolvers.is_better(next, last);
        if !has_tries || self.is_overdue(slot, now) {
            self.ended_in_silence(failure);
            return self.fail(slot, now, walked.filter(|_| kept == failure), sink);
        }
        if next != last {
            self.questions.put_in_queue(slot, next, false);
        } else if matches!(failure, QueryFailure::Unfit(kind) if !kind.temporary()) {
            self.fail(slot, now, None, sink);
        } else if failure == QueryFailure::TimedOut {
            self.questions.put_in_queue(slot, last, over_connection);
        } else {
            self.questions.put_to_rest(slot, now + (FIRST_REST << tries.saturating_sub(1).min(6)));
        }
    }

    /// Handles a question that ends without an answer. A timeout may concern this question alone; an unreachable resolver does not.
    fn ended_in_silence(&mut self, failure: QueryFailure) {
        let is_silence = matches!(failure, QueryFailure::TimedOut | QueryFailure::Mismatched);
        if self.dead.is_none() && !is_silence && self.resolvers.are_silent() {
            self.dead = Some(failure);
        }
    }

    /// True if no resolver has ever shown a sign of life, for a time in which one question would have used all its tries.
    fn is_silent_for_long(&self, now: Micros) -> bool {
        self.silence(now) >= resolver::patience(self.options.tries, self.options.try_timeout)
            && self.resolvers.are_silent_to_many()
    }

    /// Takes a question out of any list, held by the caller; its newest query, if it was in flight, leaves its window.
    fn withdraw(&mut self, slot: SlotId, now: Micros) -> Option<SentQuery> {
        let in_flight = self.questions.take(slot, now) == SlotState::Asked;
        if in_flight { self.settle(slot) } else { None }
    }

    /// Removes the newest query of a question from its window.
    fn settle(&mut self, slot: SlotId) -> Option<SentQuery> {
        let query = self.questions.at(slot).sent.newest()?;
        let spare = self.sockets.kind(query.socket) == SocketKind::SpareConnection;
        self.resolvers[self.sockets.resolver(query.socket)].settle(spare);
        Some(query)
    }

    /// Drops one query of a question that goes on.
    fn forget(&mut self, slot: SlotId, query: SentQuery) {
        self.questions.at_mut(slot).sent.remove(query);
        self.release(query);
    }

    /// Ends a held question without an answer.
    pub(super) fn fail(
        &mut self,
        slot: SlotId,
        now: Micros,
        walked: Option<&ResponseView<'_>>,
        sink: &mut impl OutcomeSink,
    ) {
        let held = self.questions.at(slot);
        let was_asked = held.tries > 0 || held.over_connection;
        let (resolver, failure) = (was_asked.then_some(held.resolver), held.failure);
        self.finish(slot, (resolver, false), now, QuestionOutcome::Failed(failure, walked), sink);
    }

    /// Reports the outcome of a held question and frees its slot.
    fn finish(
        &mut self,
        slot: SlotId,
        (resolver, over_connection): (Option<ResolverId>, bool),
        now: Micros,
        outcome: QuestionOutcome<'_>,
        sink: &mut impl OutcomeSink,
    ) {
        let held = self.questions.at(slot);
        sink.finished(&FinishedQuestion {
            number: held.number,
            question: held.question(),
            resolver,
            over_connection,
            tries: held.tries,
            elapsed: now.saturating_sub(held.first),
            outcome,
        });
        let sent = held.sent;
        for query in sent.as_slice() {
            self.release(*query);
        }
        self.questions.put_away(slot);
    }
}
