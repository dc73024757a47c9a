//! The engine: takes questions, decides what to ask whom and when, believes or refuses what comes back, and says of each
//! question exactly once what became of it. It names no socket, clock or randomness.
//!
//! A *socket* is one socket of one resolver; the driver opens them and carries packets between them and the engine.

mod ids;
mod receive;
#[cfg(test)]
mod simulate;
mod slots;
mod template;
mod window;

use super::Micros;
use super::api::{BulkOptions, OutcomeSink, QuerySender, QuestionOutcome, SocketPlan};
use ids::Ids;
pub use ids::Random;
use slots::{SentQuery, SlotList, SlotState, Slots, TimerWheel};
use template::QueryTemplate;
use window::ResolverState;
pub use window::ResolverStats;

/// Questions that may be asked and unanswered at once, over all resolvers.
pub const MAX_CONCURRENCY: usize = 30_000;
/// Questions read ahead, so that equal lengths can leave together.
pub const MAX_LOOKAHEAD: usize = 30_000;
/// Queries in flight over one resolver's stream.
const MAX_ON_STREAM: u32 = 256;
/// A question that waited so long for company of its length goes first.
const MAX_HELD: Micros = 20_000;
/// Queries of one length that leave together.
pub const MAX_GROUP: u32 = 64;
/// After about so many queries a socket gets a new port.
const ROTATE_AFTER: u32 = 16_384;
/// The first rest before the same resolver is asked again after a refusal; doubles.
const FIRST_REST: Micros = 100_000;
/// How often questions that wait in line are held against their deadline.
const EXPIRE_EVERY: Micros = 50_000;

#[derive(Debug)]
struct Socket {
    resolver: u16,
    stream: bool,
    /// A stream beside UDP sockets, for truncated answers: it does not count in the window.
    extra: bool,
    sent: u32,
    rotate_at: u32,
    /// Tickets that this socket may still bring back.
    out: u32,
    /// Takes no more queries: its port is to change.
    draining: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    options: BulkOptions,
    random: Random,
    slots: Slots,
    wheel: TimerWheel,
    ids: Ids,
    sockets: Vec<Socket>,
    resolvers: Vec<ResolverState>,
    /// What queries to each resolver have in common.
    templates: Vec<QueryTemplate>,
    packet: Vec<u8>,
    /// Questions not asked yet, by length.
    lengths: Vec<SlotList>,
    waiting: usize,
    /// Asked at least once and not done.
    active: usize,
    turn: usize,
    tokens: f64,
    tokens_at: Micros,
    /// The sockets that wait for a new port.
    rotations: Vec<u16>,
    /// When something was heard that can be believed, or there was nothing to wait for.
    last_valid_answer: Micros,
    /// When questions in line are held against their deadline next.
    expire_at: Micros,
}

impl Engine {
    /// An engine for resolvers with so many UDP sockets each, numbered from 0 resolver by resolver, and then one stream
    /// each. Without UDP sockets a resolver's stream carries everything, otherwise what was truncated.
    pub fn new(options: BulkOptions, plans: &[SocketPlan], mut random: Random, now: Micros) -> Engine {
        let options = BulkOptions {
            concurrency: options.concurrency.clamp(1, MAX_CONCURRENCY),
            lookahead: options.lookahead.clamp(1, MAX_LOOKAHEAD),
            tries: options.tries.max(1),
            ..options
        };
        let mut all: Vec<ResolverState> = plans.iter().map(|_| ResolverState::new(options.max_window, now)).collect();
        let templates = plans.iter().map(|plan| QueryTemplate::new(&options, plan.encrypted, &mut random)).collect();
        let mut open = Vec::new();
        for stream in [false, true] {
            for (at, (resolver, plan)) in all.iter_mut().zip(plans).enumerate() {
                for _ in 0..if stream { 1 } else { plan.sockets } {
                    let socket = open.len() as u16;
                    let rotate_at = ROTATE_AFTER / 2 + random.below(ROTATE_AFTER as usize) as u32;
                    let extra = stream && plan.sockets > 0;
                    open.push(Socket {
                        resolver: at as u16,
                        stream,
                        extra,
                        sent: 0,
                        rotate_at,
                        out: 0,
                        draining: false,
                    });
                    if !extra {
                        resolver.sockets.push(socket);
                    }
                    if stream {
                        resolver.stream_socket = Some(socket);
                    }
                }
            }
        }
        Engine {
            slots: Slots::new(options.concurrency + options.lookahead),
            wheel: TimerWheel::new(now),
            ids: Ids::new(&mut random),
            sockets: open,
            resolvers: all,
            templates,
            packet: Vec::new(),
            lengths: vec![SlotList::EMPTY; super::MAX_QUESTION + 1],
            waiting: 0,
            active: 0,
            turn: 0,
            tokens: 1.0,
            tokens_at: now,
            rotations: Vec::new(),
            last_valid_answer: now,
            expire_at: now,
            options,
            random,
        }
    }

    /// How many more questions can be taken in now.
    pub fn room(&self) -> usize {
        self.slots.free().min(self.options.lookahead.saturating_sub(self.waiting))
    }

    /// Questions taken in and not done.
    pub fn unfinished(&self) -> usize {
        self.waiting + self.active
    }

    /// Questions asked and not done.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Takes a question in: a name, type and class in wire form, with a number that comes back with the outcome. False
    /// if there is no room.
    pub fn ask(&mut self, now: Micros, number: u64, question: &[u8]) -> bool {
        let Some(list) = self.lengths.get_mut(question.len()) else { return false };
        let Some(at) = self.slots.take(number, question) else { return false };
        if self.active == 0 {
            self.last_valid_answer = now;
        }
        self.slots.at_mut(at).due = now + MAX_HELD;
        self.slots.push_back(list, at);
        self.waiting += 1;
        true
    }

    /// Sends what windows, paces and rate allow now.
    pub fn transmit(&mut self, now: Micros, sink: &mut impl OutcomeSink, outlet: &mut impl QuerySender) {
        let mut budget = self.budget(now);
        let before = budget;
        self.turn = self.turn.wrapping_add(1);
        self.empty_quarantined(now);
        for step in 0..self.resolvers.len() {
            if budget == 0 {
                break;
            }
            let at = (self.turn + step) % self.resolvers.len();
            self.transmit_to(at as u16, now, &mut budget, sink, outlet);
        }
        if self.options.rate.is_some() {
            self.tokens -= f64::from(before - budget);
        }
    }

    /// Queries that the rate allows now.
    fn budget(&mut self, now: Micros) -> u32 {
        let Some(rate) = self.options.rate else { return u32::MAX };
        let gained = now.saturating_sub(self.tokens_at) as f64 * rate / 1e6;
        // At most 20 ms worth of saved-up queries, so that a rate is never exceeded by a burst that matters.
        self.tokens = (self.tokens + gained).min((rate / 50.0).max(1.0));
        self.tokens_at = now;
        self.tokens as u32
    }

    fn transmit_to(
        &mut self,
        at: u16,
        now: Micros,
        budget: &mut u32,
        sink: &mut impl OutcomeSink,
        outlet: &mut impl QuerySender,
    ) {
        while let Some(slot) = self.next_for_stream(at) {
            if *budget == 0 || !self.resend(slot, at, true, now, sink, outlet) {
                break;
            }
            *budget -= 1;
        }
        let Some(resolver) = self.resolvers.get_mut(usize::from(at)) else { return };
        let mut room = resolver.room(now).min(*budget).min(self.ids.free() as u32);
        if room == 0 {
            return;
        }
        let Some(socket) = self.socket_for(at) else { return };
        while room > 0 {
            let Some(resolver) = self.resolvers.get_mut(usize::from(at)) else { return };
            if let Some(slot) = self.slots.pop_front(&mut resolver.queue) {
                if self.resend(slot, at, false, now, sink, outlet) {
                    room -= 1;
                    *budget -= 1;
                }
                continue;
            }
            let fresh = room.min(self.options.concurrency.saturating_sub(self.active) as u32);
            let sent = self.transmit_group(at, socket, now, fresh.min(MAX_GROUP), outlet);
            if sent == 0 {
                return;
            }
            room -= sent;
            *budget -= sent;
        }
    }

    fn next_for_stream(&mut self, at: u16) -> Option<u32> {
        let resolver = self.resolvers.get_mut(usize::from(at))?;
        if resolver.stream_in_flight >= MAX_ON_STREAM || resolver.stream_socket.is_none() {
            return None;
        }
        self.slots.pop_front(&mut resolver.stream_queue)
    }

    /// Sends new questions of one length; how many.
    fn transmit_group(&mut self, at: u16, socket: u16, now: Micros, most: u32, outlet: &mut impl QuerySender) -> u32 {
        if most == 0 || self.waiting == 0 {
            return 0;
        }
        let Some(length) = self.choose_length(now) else { return 0 };
        let mut sent = 0;
        while sent < most {
            let Some(slot) = self.lengths.get_mut(length).and_then(|list| self.slots.pop_front(list)) else { break };
            self.waiting -= 1;
            self.active += 1;
            if self.options.mix_case {
                self.mix_case(slot);
            }
            self.slots.at_mut(slot).first = now;
            self.send(slot, at, socket, now, outlet);
            sent += 1;
        }
        sent
    }

    /// The length that most questions have, unless another one's have waited too long.
    fn choose_length(&self, now: Micros) -> Option<usize> {
        let mut best = (0, None);
        for (length, list) in self.lengths.iter().enumerate() {
            let Some(head) = list.head() else { continue };
            if self.slots.at(head).due <= now {
                return Some(length);
            }
            if list.len() > best.0 {
                best = (list.len(), Some(length));
            }
        }
        best.1
    }

    /// The next socket of a resolver that takes queries; a socket that has been in use for long makes room for a new port,
    /// one at a time: a question that was lost on a draining socket can always be asked again on another.
    fn socket_for(&mut self, at: u16) -> Option<u16> {
        let resolver = self.resolvers.get_mut(usize::from(at))?;
        let count = resolver.sockets.len();
        for _ in 0..count {
            resolver.next_socket = (resolver.next_socket + 1) % count;
            let number = *resolver.sockets.get(resolver.next_socket)?;
            let socket = self.sockets.get_mut(usize::from(number))?;
            if socket.draining {
                continue;
            }
            if socket.sent >= socket.rotate_at && !socket.stream && count > 1 && !resolver.drains {
                socket.draining = true;
                resolver.drains = true;
                if socket.out == 0 {
                    self.rotations.push(number);
                }
                continue;
            }
            return Some(number);
        }
        None
    }

    /// Asks a question once more; false if it ended instead because its time is over.
    fn resend(
        &mut self,
        slot: u32,
        at: u16,
        stream: bool,
        now: Micros,
        sink: &mut impl OutcomeSink,
        outlet: &mut impl QuerySender,
    ) -> bool {
        let held = self.slots.at(slot);
        if now >= held.first + self.options.name_timeout {
            let failure = held.failure;
            self.finish(slot, now, QuestionOutcome::Failed(failure, None), sink);
            return false;
        }
        let socket = match self.resolvers.get(usize::from(at)).and_then(|resolver| resolver.stream_socket) {
            Some(socket) if stream => Some(socket),
            _ => self.socket_for(at),
        };
        match socket {
            Some(socket) => self.send(slot, at, socket, now, outlet),
            None => self.rest(slot, now, FIRST_REST),
        }
        true
    }

    /// Sends one query and sets its timer.
    fn send(&mut self, slot: u32, at: u16, socket: u16, now: Micros, outlet: &mut impl QuerySender) {
        let (Some(id), Some(resolver)) = (self.ids.take(socket, slot), self.resolvers.get_mut(usize::from(at))) else {
            return self.rest(slot, now, FIRST_REST);
        };
        let held = self.slots.at_mut(slot);
        held.tries = held.tries.saturating_add(1);
        held.state = SlotState::Asked;
        held.resolver = at;
        held.live = true;
        // A stream repeats what was lost by itself: there is no use in asking twice before the time is up.
        let stream = self.sockets.get(usize::from(socket)).is_some_and(|socket| socket.stream);
        let longest = self.options.try_timeout;
        let wait = if stream { longest } else { resolver.wait(held.tries, longest) };
        held.due = (now + wait).min(held.first + self.options.name_timeout);
        let forgotten = held.push_sent_query(SentQuery { socket, id, sent: now as u32 });
        if let Some(template) = self.templates.get(usize::from(at)) {
            template.compose(resolver.edns, id, held.question(), &mut self.packet);
        }
        if let Some(socket) = self.sockets.get_mut(usize::from(socket)) {
            socket.sent += 1;
            socket.out += 1;
            if socket.extra {
                resolver.stream_in_flight += 1;
            } else {
                resolver.sent(now);
            }
        }
        self.wheel.set(&mut self.slots, slot);
        if let Some(query) = forgotten {
            self.release(query);
        }
        outlet.send(socket, &self.packet);
    }

    /// The next moment at which something can be done without a packet coming in.
    pub fn wake_at(&self, now: Micros) -> Option<Micros> {
        let mut at = self.wheel.next_due();
        let mut sooner = |time: Micros| at = Some(at.map_or(time, |at| at.min(time)));
        let fresh = self.waiting > 0 && self.active < self.options.concurrency;
        for resolver in &self.resolvers {
            if fresh || !resolver.queue.is_empty() {
                if resolver.quarantined_until() > now {
                    sooner(resolver.quarantined_until());
                }
                if let Some(time) = resolver.paced_until() {
                    sooner(time);
                }
            }
        }
        if let Some(rate) = self.options.rate
            && self.tokens < 1.0
            && self.unfinished() > 0
        {
            sooner(self.tokens_at + ((1.0 - self.tokens) * 1e6 / rate) as Micros + 1);
        }
        at
    }

    /// The sockets that need a new port now: nothing is under way on them. The driver opens them afresh and says so with
    /// [`Engine::rotated`].
    pub fn take_rotations(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.rotations)
    }

    /// A socket has a new port.
    pub fn rotated(&mut self, socket: u16) {
        let rotate_at = ROTATE_AFTER / 2 + self.random.below(ROTATE_AFTER as usize) as u32;
        if let Some(socket) = self.sockets.get_mut(usize::from(socket)) {
            *socket = Socket { sent: 0, rotate_at, draining: false, ..*socket };
            if let Some(resolver) = self.resolvers.get_mut(usize::from(socket.resolver)) {
                resolver.drains = false;
            }
        }
    }

    /// What each resolver has done so far.
    pub fn stats(&self) -> impl Iterator<Item = ResolverStats> + '_ {
        self.resolvers.iter().map(ResolverState::stats)
    }

    /// Mixes the case of the question's letters.
    fn mix_case(&mut self, slot: u32) {
        let held = self.slots.at_mut(slot);
        let name = usize::from(held.question_len).saturating_sub(4);
        let (mut bits, mut left) = (0, 0);
        for byte in held.question.iter_mut().take(name) {
            if left == 0 {
                (bits, left) = (self.random.bits(), 32);
            }
            // Length bytes are below 64 and no letters.
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
    /// Bytes in what could grow; the lists of sockets that change their ports, a few bytes, come and go.
    pub(super) fn memory(&self) -> usize {
        let sets =
            [self.sockets.capacity(), self.resolvers.capacity(), self.lengths.capacity(), self.packet.capacity()];
        sets.iter().sum::<usize>() + self.slots.memory() + self.wheel.memory()
    }

    /// After a run nothing may be left over: no ID, no slot, no place in a window.
    pub(super) fn assert_everything_is_free(&self) {
        assert_eq!(self.ids.free(), 1 << 16, "IDs leaked");
        assert_eq!(self.slots.free(), self.slots.capacity() as usize, "slots leaked");
        assert!(self.sockets.iter().all(|socket| socket.out == 0), "sent_queries leaked");
        let in_flight = |resolver: &ResolverState| resolver.in_flight + resolver.stream_in_flight;
        assert!(self.resolvers.iter().all(|resolver| in_flight(resolver) == 0), "windows leaked");
        assert!(self.resolvers.iter().all(|it| it.queue.is_empty() && it.stream_queue.is_empty()), "lists leaked");
    }
}
