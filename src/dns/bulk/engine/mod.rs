//! The engine: takes questions, decides when to send which query to which resolver, accepts or rejects responses, and
//! reports the outcome of each question exactly once. It has no sockets, clock or randomness of its own: the driver
//! opens the sockets and carries packets between them and the engine.
//!
//! Each part keeps its own state: `questions` (in `slots` and a timer `wheel`), `sent` queries and their message `ids`,
//! `sockets`, the `resolver`s with `window`, `template` and quarantine, the `rate`.

#[cfg(test)]
mod agree;
mod ids;
mod questions;
mod rate;
mod receive;
mod resolver;
mod sent;
#[cfg(test)]
mod simulate;
mod slots;
mod sockets;
mod template;
mod wheel;
mod window;

use super::Micros;
use super::api::{BulkOptions, OutcomeSink, QueryFailure, QuerySender, ResolverId, SocketId, SocketPlan};
use ids::MessageIds;
pub use ids::Random;
use questions::QuestionTable;
use rate::RateLimit;
pub use resolver::ResolverStats;
use resolver::{ResolverState, Resolvers};
use sent::SentQuery;
use slots::SlotId;
use sockets::{SocketKind, SocketTable};

/// The maximum number of questions asked and unanswered at once, over all resolvers.
pub const MAX_CONCURRENCY: usize = 30_000;
/// The maximum number of questions read ahead, so that equal lengths can be sent together.
pub const MAX_LOOKAHEAD: usize = 30_000;
/// The maximum number of queries of one length that are sent together.
pub const MAX_GROUP: u32 = 64;
/// The first wait before the same resolver is asked again after a refusal; it doubles each time.
const FIRST_REST: Micros = 100_000;
/// The grace period for connections: the connection reports a late answer itself; the engine's timer is only the fallback.
const CONNECTION_GRACE: Micros = 500_000;
/// The interval at which the deadlines of queued questions are checked.
const EXPIRE_EVERY: Micros = 50_000;

/// See the module.
#[derive(Debug)]
pub struct Engine {
    options: BulkOptions,
    random: Random,
    questions: QuestionTable,
    ids: MessageIds,
    sockets: SocketTable,
    resolvers: Resolvers,
    rate: RateLimit,
    packet: Vec<u8>,
    /// Counts calls of [`Engine::transmit`]: each begins with the next resolver.
    turn: usize,
    /// The time of the last valid answer, or the last time without a question in flight.
    last_valid_answer: Micros,
    /// The time of the next deadline check of queued questions.
    expire_at: Micros,
    /// The reason why no resolver is reachable.
    dead: Option<QueryFailure>,
}

impl Engine {
    /// Creates an engine for resolvers with these sockets (see [`SocketId`]). A resolver's connection carries
    /// everything if it has no UDP sockets, otherwise only questions with truncated answers.
    pub fn new(options: BulkOptions, plans: &[SocketPlan], mut random: Random, now: Micros) -> Engine {
        let options = BulkOptions {
            concurrency: options.concurrency.clamp(1, MAX_CONCURRENCY),
            lookahead: options.lookahead.clamp(1, MAX_LOOKAHEAD),
            tries: options.tries.max(1),
            ..options
        };
        Engine {
            questions: QuestionTable::new(options.concurrency, options.lookahead, plans.len(), now),
            sockets: SocketTable::new(plans, &mut random),
            resolvers: Resolvers::new(&options, plans, &mut random, now),
            ids: MessageIds::new(&mut random),
            rate: RateLimit::new(options.rate, now),
            packet: Vec::new(),
            turn: 0,
            last_valid_answer: now,
            expire_at: now,
            dead: None,
            options,
            random,
        }
    }

    /// The number of questions that can be taken in now.
    pub fn room(&self) -> usize {
        self.questions.room()
    }

    /// The number of questions taken in and not done.
    pub fn unfinished(&self) -> usize {
        self.questions.new_count() + self.questions.active()
    }

    /// The number of questions asked and not done.
    pub fn active(&self) -> usize {
        self.questions.active()
    }

    /// Takes a question in: name, type and class in wire form, with a number that is returned with the outcome. Returns
    /// false if there is no room.
    pub fn ask(&mut self, now: Micros, number: u64, question: &[u8]) -> bool {
        if self.active() == 0 {
            self.last_valid_answer = now;
        }
        self.questions.accept(now, number, question)
    }

    /// Sends the queries that windows, paces and rate allow now.
    pub fn transmit(&mut self, now: Micros, sink: &mut impl OutcomeSink, sender: &mut impl QuerySender) {
        let mut budget = self.rate.budget(now);
        let before = budget;
        self.turn = self.turn.wrapping_add(1);
        self.leave_quarantined(now);
        let count = self.resolvers.ids().len();
        for step in 0..count {
            if budget == 0 {
                break;
            }
            let at = ResolverId(((self.turn + step) % count) as u16);
            self.transmit_to(at, now, &mut budget, sink, sender);
        }
        self.rate.spend(before - budget);
    }

    /// Moves the questions queued at a resolver that does not serve to another one, if one serves.
    fn leave_quarantined(&mut self, now: Micros) {
        for at in self.resolvers.ids() {
            let queued = self.questions.queued(at, false);
            if queued == 0 || self.resolvers[at].serves(now) {
                continue;
            }
            for _ in 0..queued {
                let Some(slot) = self.questions.pop_queued(at, false) else { break };
                let next = self.resolvers.another(at, now, &mut self.random);
                self.questions.put_in_queue(slot, next, false);
            }
        }
    }

    fn transmit_to(
        &mut self,
        at: ResolverId,
        now: Micros,
        budget: &mut u32,
        sink: &mut impl OutcomeSink,
        sender: &mut impl QuerySender,
    ) {
        while *budget > 0
            && self.resolvers[at].has_spare_room()
            && let Some(slot) = self.questions.pop_queued(at, true)
        {
            if self.resend(slot, at, true, now, sink, sender) {
                *budget -= 1;
            }
        }
        let mut room = self.resolvers[at].room(now).min(*budget).min(self.ids.free() as u32);
        if room == 0 {
            return;
        }
        let Some(socket) = self.sockets.choose(at) else { return };
        while room > 0 {
            if let Some(slot) = self.questions.pop_queued(at, false) {
                if self.resend(slot, at, false, now, sink, sender) {
                    room -= 1;
                    *budget -= 1;
                }
                continue;
            }
            let fresh = room.min(self.options.concurrency.saturating_sub(self.active()) as u32);
            let sent = self.transmit_group(at, socket, now, fresh.min(MAX_GROUP), sender);
            if sent == 0 {
                return;
            }
            room -= sent;
            *budget -= sent;
        }
    }

    /// Sends new questions of one length; returns their number.
    fn transmit_group(
        &mut self,
        at: ResolverId,
        socket: SocketId,
        now: Micros,
        most: u32,
        sender: &mut impl QuerySender,
    ) -> u32 {
        if most == 0 || self.questions.new_count() == 0 {
            return 0;
        }
        let Some(length) = self.questions.best_length(now) else { return 0 };
        let mut sent = 0;
        while sent < most {
            let Some(slot) = self.questions.start(length, now) else { break };
            if self.options.mix_case {
                self.mix_case(slot);
            }
            self.send(slot, at, socket, now, sender);
            sent += 1;
        }
        sent
    }

    /// Sends a held question again; returns false if it ended instead because its time is over.
    fn resend(
        &mut self,
        slot: SlotId,
        at: ResolverId,
        over_connection: bool,
        now: Micros,
        sink: &mut impl OutcomeSink,
        sender: &mut impl QuerySender,
    ) -> bool {
        if self.is_overdue(slot, now) {
            self.fail(slot, now, None, sink);
            return false;
        }
        let socket = if over_connection { Some(self.sockets.connection(at)) } else { self.sockets.choose(at) };
        match socket {
            Some(socket) => self.send(slot, at, socket, now, sender),
            None => self.questions.put_to_rest(slot, now + FIRST_REST),
        }
        true
    }

    /// True if the question has used all its time.
    fn is_overdue(&self, slot: SlotId, now: Micros) -> bool {
        now >= self.questions.at(slot).first + self.options.name_timeout
    }

    /// Sends one query for a held question and sets its timer.
    fn send(&mut self, slot: SlotId, at: ResolverId, socket: SocketId, now: Micros, sender: &mut impl QuerySender) {
        let Some(id) = self.ids.take(socket, slot) else {
            return self.questions.put_to_rest(slot, now + FIRST_REST);
        };
        let held = self.questions.at_mut(slot);
        held.tries = held.tries.saturating_add(1);
        let kind = self.sockets.kind(socket);
        let resolver = &mut self.resolvers[at];
        // A connection retransmits lost data itself, so a second query before the time limit is useless.
        let longest = self.options.try_timeout;
        // After the last try a short timeout is useless, too.
        let wait = match kind {
            SocketKind::Udp if held.tries < self.options.tries => resolver.timeout(held.tries, longest),
            SocketKind::Udp => longest,
            SocketKind::Connection | SocketKind::SpareConnection => longest + CONNECTION_GRACE,
        };
        let due = (now + wait).min(held.first + self.options.name_timeout);
        let forgotten = held.sent.push(SentQuery { socket, id, sent: now as u32 });
        resolver.template.compose(id, held.question(), held.without_edns, &mut self.packet);
        resolver.send(now, kind == SocketKind::SpareConnection);
        self.sockets.send(socket);
        self.questions.put_asked(slot, at, due);
        if let Some(query) = forgotten {
            self.release(query);
        }
        sender.send(socket, &self.packet);
    }

    /// Stops accepting answers to a query: its ID becomes free.
    fn release(&mut self, query: SentQuery) {
        self.ids.release(query.id, &mut self.random);
        self.sockets.forget(query.socket);
    }

    /// The next time at which the engine can act without a received packet.
    pub fn wake_at(&self, now: Micros) -> Option<Micros> {
        let fresh = self.questions.new_count() > 0 && self.active() < self.options.concurrency;
        let asks = |at: &ResolverId| fresh || self.questions.queued(*at, false) > 0;
        let held_back = self.resolvers.ids().filter(asks).filter_map(|at| self.resolvers[at].held_back_until(now));
        let rate = self.rate.next_at().filter(|_| self.unfinished() > 0);
        self.questions.next_due().into_iter().chain(held_back).chain(rate).min()
    }

    /// The sockets that need a new port now: no query is in progress on them. The driver reopens them and confirms with
    /// [`Engine::rotated`].
    pub fn take_rotations(&mut self) -> Vec<SocketId> {
        self.sockets.take_drained()
    }

    /// Confirms that a socket has a new port.
    pub fn rotated(&mut self, socket: SocketId) {
        self.sockets.rotated(socket, &mut self.random);
    }

    /// The statistics of each resolver so far.
    pub fn stats(&self) -> impl Iterator<Item = ResolverStats> + '_ {
        self.resolvers.iter().map(ResolverState::stats)
    }

    /// Randomizes the case of the question's letters.
    fn mix_case(&mut self, slot: SlotId) {
        let (mut bits, mut left) = (0, 0);
        for byte in self.questions.at_mut(slot).name_mut() {
            if left == 0 {
                (bits, left) = (self.random.bits(), 32);
            }
            // Length bytes are below 64, so they are not letters.
            if byte.is_ascii_alphabetic() && bits & 1 == 1 {
                *byte ^= 0x20;
            }
            bits >>= 1;
            left -= 1;
        }
    }
}

#[cfg(test)]
impl Engine {
    /// The size of everything that could grow, in bytes; the small list of sockets that change their ports is not counted.
    fn memory(&self) -> usize {
        self.questions.memory() + self.sockets.memory() + self.packet.capacity()
    }

    /// Checks that the parts agree: every question is in one list, every query holds one ID and counts on one socket,
    /// and the windows hold the questions that wait for an answer.
    fn assert_consistent(&self) {
        self.questions.assert_consistent();
        self.sockets.assert_consistent();
        let held = || self.questions.ids().map(|slot| self.questions.at(slot));
        let taken = || held().filter(|slot| slot.state != slots::SlotState::Free);
        let sent: Vec<SentQuery> = taken().flat_map(|slot| slot.sent.as_slice().to_vec()).collect();
        assert_eq!(self.ids.free() + sent.len(), 1 << 16, "message IDs");
        for socket in self.sockets.ids() {
            let own = sent.iter().filter(|query| query.socket == socket).count();
            assert_eq!(self.sockets.outstanding(socket) as usize, own, "queries on {socket:?}");
        }
        let newest = |slot: &slots::Slot| slot.sent.newest().map(|query| query.socket);
        let asked: Vec<SocketId> =
            taken().filter(|slot| slot.state == slots::SlotState::Asked).filter_map(newest).collect();
        for at in self.resolvers.ids() {
            let own = || asked.iter().filter(|socket| self.sockets.resolver(**socket) == at);
            let spare = own().filter(|socket| self.sockets.kind(**socket) == SocketKind::SpareConnection).count();
            let window = own().count() - spare;
            assert_eq!(self.resolvers[at].in_flight(), (window as u32, spare as u32), "window of {at:?}");
        }
    }

    /// Checks that nothing is left after a run: no question, no ID, no place in a window.
    fn assert_everything_is_free(&self) {
        self.assert_consistent();
        assert_eq!((self.unfinished(), self.ids.free()), (0, 1 << 16), "questions and IDs leaked");
        assert!(self.questions.ids().all(|slot| self.questions.at(slot).state == slots::SlotState::Free));
    }
}
