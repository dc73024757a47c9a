//! How much one resolver is trusted with: a window of questions in flight that grows and shrinks with loss, a pace for
//! those that limit rates, the time to wait for an answer, and a quarantine for those that do not serve.

use super::slots::SlotList;
use crate::dns::bulk::Micros;

/// Questions in flight at the beginning.
const START: f64 = 64.0;
/// The window never shrinks below this: with less, a recovery would not be noticed.
const MIN: f64 = 8.0;
/// Nor below this while nothing at all comes back: then there is no congestion to relieve.
const MIN_IN_SILENCE: f64 = 32.0;
/// Loss up to this share is the network's own and no reason to slow down.
const LOSS_TOLERATED: f64 = 0.05;
/// Loss from this share on means a limit on the rate, which no window can meet.
const LOSS_OF_A_LIMIT: f64 = 0.25;
/// An epoch is judged after so many outcomes at least: fewer say little about a share.
const MIN_OUTCOMES: u32 = 64;
/// With a pace also after this time, if there were at least some outcomes: a slow pace must not be judged seldom as well.
const LONG_EPOCH: Micros = 250_000;
/// See [`LONG_EPOCH`].
const SOME_OUTCOMES: u32 = 16;
/// Fewer losses than these are chance.
const MIN_LOST: u32 = 6;
/// A first answer is waited for so long; later on the round trips seen decide.
const FIRST_WAIT: Micros = 1_000_000;
/// An answer has so much more time than the round trips say, however even they are: a busy server is not a lost packet.
const MIN_MARGIN: f64 = 20_000.0;
/// No pace is slower than this, in queries per microsecond: 50 a second.
const MIN_PACE: f64 = 50.0 / 1e6;
/// The first time on the quarantine; doubles up to [`MAX_QUARANTINE`].
const FIRST_QUARANTINE: Micros = 2_000_000;
/// The longest time on the quarantine.
const MAX_QUARANTINE: Micros = 60_000_000;
/// Failures of this share quarantine a resolver if others do better.
const BAD_SHARE: f64 = 0.5;
/// Tokens saved up for a burst, in time at the present pace.
const BURST: Micros = 20_000;

/// What a resolver has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ResolverStats {
    /// Queries sent.
    pub sent: u64,
    /// Answers taken, negative ones included.
    pub answered: u64,
    /// Queries without an answer in time.
    pub timed_out: u64,
    /// SERVFAIL.
    pub servfail: u64,
    /// REFUSED and other rcodes that are no answer.
    pub refused: u64,
    /// Truncated answers, asked again over TCP.
    pub truncated: u64,
    /// Packets that match no question that was asked: wrong ID, wrong question, unreadable. Never trusted.
    pub mismatched: u64,
    /// Answers after the question was done, and duplicates.
    pub late: u64,
    /// Nothing listens there, or the network is down.
    pub unreachable: u64,
    /// How often it sat on the quarantine.
    pub quarantined: u64,
    /// The slowest pace that it was asked at because it limits rates, in queries a second; 0 = it does not seem to.
    pub limited_to: u32,
    /// The window at present.
    pub window: u32,
    /// The smoothed round trip, in microseconds; 0 = none seen.
    pub round_trip: Micros,
}

impl ResolverStats {
    /// Adds what another loop saw of the same resolver.
    pub fn add(&mut self, other: &ResolverStats) {
        let answers = (self.answered as f64, other.answered as f64);
        if other.round_trip > 0 {
            let sum = self.round_trip as f64 * answers.0 + other.round_trip as f64 * answers.1.max(1.0);
            self.round_trip = (sum / (answers.0 + answers.1.max(1.0))) as Micros;
        }
        self.sent += other.sent;
        self.answered += other.answered;
        self.timed_out += other.timed_out;
        self.servfail += other.servfail;
        self.refused += other.refused;
        self.truncated += other.truncated;
        self.mismatched += other.mismatched;
        self.late += other.late;
        self.unreachable += other.unreachable;
        self.quarantined += other.quarantined;
        self.limited_to += other.limited_to;
        self.window += other.window;
    }
}

/// What became of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryOutcome {
    Answered,
    Lost,
    /// An answer that is none (SERVFAIL, REFUSED …).
    Bad,
}

/// One resolver.
#[derive(Debug)]
pub(super) struct ResolverState {
    pub(super) stats: ResolverStats,
    /// Questions to be asked here again.
    pub(super) queue: SlotList,
    /// Questions to be asked here over a stream, since the answer was truncated.
    pub(super) stream_queue: SlotList,
    pub(super) in_flight: u32,
    pub(super) stream_in_flight: u32,
    /// The sockets in turn.
    pub(super) sockets: Vec<u16>,
    pub(super) next_socket: usize,
    pub(super) stream_socket: Option<u16>,
    /// One of its sockets waits for a new port.
    pub(super) drains: bool,
    /// It understands EDNS, as far as is known.
    pub(super) edns: bool,
    window: f64,
    max_window: f64,
    slow_start: bool,
    /// The window was the limit since the last judgement.
    was_limit: bool,
    round_trip: f64,
    variance: f64,
    epoch: Epoch,
    /// Queries per microsecond, if limited.
    pace: Option<f64>,
    tokens: f64,
    tokens_at: Micros,
    /// Epochs of heavy loss in a row.
    heavy: u32,
    /// Epochs at a pace without loss in a row: each lets the pace grow faster than the one before.
    clean: u32,
    quarantined_until: Micros,
    quarantine_time: Micros,
    /// Back from the quarantine, and not proven yet.
    on_probation: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Epoch {
    since: Micros,
    answered: u32,
    lost: u32,
    bad: u32,
    strange: u32,
}

impl Epoch {
    fn total(&self) -> u32 {
        self.answered + self.lost + self.bad
    }

    fn share(part: u32, of: u32) -> f64 {
        if of == 0 { 0.0 } else { f64::from(part) / f64::from(of) }
    }
}

impl ResolverState {
    pub(super) fn new(max_window: u32, now: Micros) -> ResolverState {
        let max_window = f64::from(max_window).max(1.0);
        ResolverState {
            stats: ResolverStats::default(),
            queue: SlotList::EMPTY,
            stream_queue: SlotList::EMPTY,
            in_flight: 0,
            stream_in_flight: 0,
            sockets: Vec::new(),
            next_socket: 0,
            stream_socket: None,
            drains: false,
            edns: true,
            window: START.min(max_window),
            max_window,
            slow_start: true,
            was_limit: false,
            round_trip: 0.0,
            variance: 0.0,
            epoch: Epoch { since: now, ..Epoch::default() },
            pace: None,
            tokens: 0.0,
            tokens_at: now,
            heavy: 0,
            clean: 0,
            quarantined_until: 0,
            quarantine_time: FIRST_QUARANTINE,
            on_probation: false,
        }
    }

    /// How many queries may leave now.
    pub(super) fn room(&mut self, now: Micros) -> u32 {
        if now < self.quarantined_until {
            return 0;
        }
        let window = if self.on_probation { 1 } else { self.window as u32 };
        let free = window.saturating_sub(self.in_flight);
        if free == 0 {
            self.was_limit = true;
            return 0;
        }
        let Some(pace) = self.pace else { return free };
        let gained = now.saturating_sub(self.tokens_at) as f64 * pace;
        self.tokens = (self.tokens + gained).min((BURST as f64 * pace).max(1.0));
        self.tokens_at = now;
        self.was_limit |= self.tokens < f64::from(free);
        free.min(self.tokens as u32)
    }

    /// A query left.
    pub(super) fn sent(&mut self, now: Micros) {
        if self.in_flight == 0 && self.epoch.total() == 0 {
            self.epoch.since = now; // idle time is no measure of a rate
        }
        self.in_flight += 1;
        self.was_limit |= f64::from(self.in_flight + 1) > self.window;
        self.stats.sent += 1;
        if self.pace.is_some() {
            self.tokens -= 1.0;
        }
    }

    /// How long to wait for the answer of the `tries`th try.
    pub(super) fn wait(&self, tries: u8, longest: Micros) -> Micros {
        let base = if self.round_trip > 0.0 {
            (self.round_trip + (4.0 * self.variance).max(MIN_MARGIN)) as Micros
        } else {
            FIRST_WAIT
        };
        (base << tries.saturating_sub(1).min(6)).min(longest)
    }

    /// A round trip was seen (RFC 6298's smoothing).
    pub(super) fn round_trip(&mut self, micros: Micros) {
        let sample = (micros as f64).max(1.0);
        if self.round_trip == 0.0 {
            self.round_trip = sample;
            self.variance = sample / 2.0;
        } else {
            self.variance += ((self.round_trip - sample).abs() - self.variance) / 4.0;
            self.round_trip += (sample - self.round_trip) / 8.0;
        }
    }

    /// BulkCounts what became of a query. What comes to those on the quarantine was asked before: they are judged already.
    pub(super) fn outcome(&mut self, now: Micros, outcome: QueryOutcome) {
        if now < self.quarantined_until {
            return;
        }
        match outcome {
            QueryOutcome::Answered => self.epoch.answered += 1,
            QueryOutcome::Lost => self.epoch.lost += 1,
            QueryOutcome::Bad => self.epoch.bad += 1,
        }
        if self.on_probation {
            match outcome {
                QueryOutcome::Answered => {
                    self.on_probation = false;
                    self.quarantine_time = FIRST_QUARANTINE;
                    self.window = START.min(self.max_window);
                }
                QueryOutcome::Lost | QueryOutcome::Bad => self.epoch.strange = u32::MAX, // judged at once
            }
        }
    }

    /// A query that counted as lost was answered after all.
    pub(super) fn not_lost(&mut self) {
        self.epoch.lost = self.epoch.lost.saturating_sub(1);
    }

    /// Something came that was not asked for.
    pub(super) fn mismatch(&mut self) {
        self.stats.mismatched += 1;
        self.epoch.strange = self.epoch.strange.saturating_add(1);
    }

    /// Judges the epoch when there is enough to judge; true if the resolver should sit on the quarantine, which the caller
    /// decides, since it knows how the others do.
    #[must_use]
    pub(super) fn judge(&mut self, now: Micros) -> bool {
        let epoch = self.epoch;
        if self.on_probation && epoch.strange == u32::MAX {
            return true;
        }
        let total = epoch.total();
        let enough = MIN_OUTCOMES.max(if self.slow_start { 0 } else { self.window as u32 });
        let elapsed = now.saturating_sub(epoch.since);
        let total = total.saturating_add(epoch.strange);
        let long = self.pace.is_some() && elapsed >= LONG_EPOCH && total >= SOME_OUTCOMES;
        if (total < enough && !long) || (elapsed as f64) < self.round_trip {
            return false;
        }
        self.epoch = Epoch { since: now, ..Epoch::default() };
        self.adapt(&epoch, elapsed);
        self.was_limit = false;
        let bad = epoch.lost + epoch.bad + epoch.strange;
        total >= MIN_OUTCOMES && Epoch::share(bad, bad + epoch.answered) > BAD_SHARE
    }

    /// Additive increase, multiplicative decrease: but only loss beyond the network's own shrinks the window, and loss
    /// that no window explains sets a pace.
    fn adapt(&mut self, epoch: &Epoch, elapsed: Micros) {
        // A mixture of answers and refusals is a limit too; refusals alone are the resolver's opinion of the names.
        let refused = if epoch.answered > 0 { epoch.bad } else { 0 };
        let loss = Epoch::share(epoch.lost, epoch.answered + epoch.lost);
        let limit = Epoch::share(epoch.lost + refused, epoch.answered + epoch.lost + refused);
        if loss > LOSS_TOLERATED && epoch.lost >= MIN_LOST {
            self.slow_start = false;
            let least = if epoch.answered == 0 { MIN_IN_SILENCE } else { MIN };
            self.window = (self.window * 0.7).max(least.min(self.window));
        } else if self.was_limit {
            self.window += if self.slow_start { self.window } else { (self.window / 32.0).max(2.0) };
            self.window = self.window.min(self.max_window);
        }
        // Once may be a server that stood still for a moment.
        let is_heavy = limit > LOSS_OF_A_LIMIT && epoch.answered > 0;
        self.heavy = if is_heavy { self.heavy + 1 } else { 0 };
        if is_heavy && elapsed > 0 && (self.heavy > 1 || self.pace.is_some()) {
            self.clean = 0;
            let measured = f64::from(epoch.answered) / elapsed as f64;
            let pace = self.pace.map_or(measured, |pace| (pace * 0.85).max(measured.min(pace)));
            self.pace = Some(pace.max(MIN_PACE));
            let a_second = (pace.max(MIN_PACE) * 1e6) as u32;
            let known = self.stats.limited_to;
            self.stats.limited_to = if known == 0 { a_second } else { known.min(a_second) };
        } else if let Some(pace) = self.pace {
            if limit > LOSS_TOLERATED {
                self.clean = 0;
                self.pace = Some((pace * 0.95).max(MIN_PACE));
            } else if self.was_limit {
                self.pace = Some(pace * (1.0 + 0.03 * f64::from(1 << self.clean.min(5))));
                self.clean += 1;
            } else {
                self.pace = None; // it holds nothing back
            }
        }
    }

    /// Sends the resolver to the quarantine.
    pub(super) fn quarantine(&mut self, now: Micros) {
        self.quarantined_until = now + self.quarantine_time;
        self.quarantine_time = (self.quarantine_time * 2).min(MAX_QUARANTINE);
        self.on_probation = true;
        self.epoch = Epoch { since: now, ..Epoch::default() };
        self.stats.quarantined += 1;
        self.slow_start = true;
        self.pace = None;
    }

    /// It serves, as far as is known.
    pub(super) fn serves(&self, now: Micros) -> bool {
        now >= self.quarantined_until && !self.on_probation
    }

    /// When it comes back from the quarantine; the past if it is not there.
    pub(super) fn quarantined_until(&self) -> Micros {
        self.quarantined_until
    }

    /// When the next token comes, if a pace is what holds queries back.
    pub(super) fn paced_until(&self) -> Option<Micros> {
        let pace = self.pace?;
        (self.tokens < 1.0).then(|| self.tokens_at + ((1.0 - self.tokens) / pace) as Micros + 1)
    }

    /// The figures, with the present window.
    pub(super) fn stats(&self) -> ResolverStats {
        ResolverStats { window: self.window as u32, round_trip: self.round_trip as Micros, ..self.stats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `epochs` of full windows in which this share of queries is lost.
    fn run(resolver: &mut ResolverState, epochs: usize, lost_in_100: u32) {
        let mut now = 0;
        for _ in 0..epochs {
            while resolver.room(now) > 0 {
                resolver.sent(now);
            }
            resolver.room(now);
            let count = resolver.in_flight;
            for n in 0..count {
                resolver.in_flight -= 1;
                resolver.round_trip(10_000);
                resolver.outcome(now, if n % 100 < lost_in_100 { QueryOutcome::Lost } else { QueryOutcome::Answered });
            }
            now += 10_000;
            let _ = resolver.judge(now);
        }
    }

    #[test]
    fn the_window_grows_without_loss_and_with_a_little() {
        for lost in [0, 1] {
            let mut resolver = ResolverState::new(1000, 0);
            run(&mut resolver, 20, lost);
            assert_eq!(resolver.stats().window, 1000, "{lost} % loss");
        }
    }

    #[test]
    fn heavy_loss_shrinks_it_and_sets_a_pace() {
        let mut resolver = ResolverState::new(1000, 0);
        run(&mut resolver, 20, 0);
        run(&mut resolver, 30, 40);
        assert!(resolver.stats().window < 100, "{}", resolver.stats().window);
        assert!(resolver.pace.is_some());
    }

    #[test]
    fn the_bench_grows_and_probation_ends_it() {
        let mut resolver = ResolverState::new(1000, 0);
        resolver.quarantine(0);
        assert_eq!((resolver.room(1_999_999), resolver.room(2_000_000)), (0, 1));
        resolver.outcome(1_000_000, QueryOutcome::Lost);
        assert!(!resolver.judge(2_000_000), "what was asked before the quarantine does not count");
        resolver.sent(2_000_000);
        resolver.in_flight -= 1;
        resolver.outcome(2_500_000, QueryOutcome::Lost);
        assert!(resolver.judge(2_500_000), "a failed probe is judged at once");
        resolver.quarantine(2_500_000);
        assert_eq!(resolver.quarantined_until(), 6_500_000);
        assert!(!resolver.serves(7_000_000));
        resolver.outcome(7_000_000, QueryOutcome::Answered);
        assert!(resolver.serves(7_000_000));
        assert_eq!(resolver.room(7_000_000), START as u32);
    }

    #[test]
    fn waiting_follows_the_round_trips() {
        let mut resolver = ResolverState::new(10, 0);
        assert_eq!(resolver.wait(1, 5_000_000), FIRST_WAIT);
        for _ in 0..100 {
            resolver.round_trip(30_000);
        }
        assert_eq!(resolver.wait(1, 5_000_000), 50_000);
        assert_eq!(resolver.wait(3, 5_000_000), 4 * 50_000, "each try waits longer");
        assert_eq!(resolver.wait(200, 5_000_000), 3_200_000);
    }
}
