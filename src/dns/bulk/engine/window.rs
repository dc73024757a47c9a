//! Congestion control for one resolver: a window of queries in flight that grows and shrinks with loss, and a pace for
//! resolvers that limit rates. Outcomes are judged in epochs.

use crate::dns::bulk::Micros;

/// The initial window.
const START: f64 = 64.0;
/// The minimum window: a smaller one would hide a recovery.
const MIN: f64 = 8.0;
/// The minimum window while no response comes back at all: then there is no congestion to relieve.
const MIN_IN_SILENCE: f64 = 32.0;
/// Loss up to this share is normal for the network and no reason to slow down.
const LOSS_TOLERATED: f64 = 0.05;
/// Loss from this share on indicates a rate limit, which no window size can meet.
const LOSS_OF_A_LIMIT: f64 = 0.25;
/// The minimum number of outcomes in an epoch: fewer say little about a share.
const MIN_OUTCOMES: u32 = 64;
/// With a pace, an epoch also ends after this time with at least [`SOME_OUTCOMES`], so that a slow pace is judged often enough.
const LONG_EPOCH: Micros = 250_000;
/// See [`LONG_EPOCH`].
const SOME_OUTCOMES: u32 = 16;
/// Fewer losses than this are random.
const MIN_LOST: u32 = 6;
/// The minimum pace, in queries per microsecond: 50 per second.
const MIN_PACE: f64 = 50.0 / 1e6;
/// A resolver with this share of failures is quarantined if others do better.
const BAD_SHARE: f64 = 0.5;
/// The maximum burst that saved tokens allow, as time at the present pace.
const BURST: Micros = 20_000;

/// The outcome of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryOutcome {
    Answered,
    Lost,
    /// A response that is not an answer (SERVFAIL, REFUSED …).
    Bad,
}

/// See the module.
#[derive(Debug)]
pub(super) struct CongestionWindow {
    in_flight: u32,
    window: f64,
    max_window: f64,
    slow_start: bool,
    /// The window or the pace held queries back since the last judgement.
    was_limit: bool,
    epoch: Epoch,
    pace: QueryPace,
}

#[derive(Debug, Clone, Copy, Default)]
struct Epoch {
    since: Micros,
    answered: u32,
    lost: u32,
    bad: u32,
    /// Packets that answer no query.
    mismatched: u32,
}

impl Epoch {
    fn total(&self) -> u32 {
        self.answered + self.lost + self.bad
    }

    fn share(part: u32, of: u32) -> f64 {
        if of == 0 { 0.0 } else { f64::from(part) / f64::from(of) }
    }
}

/// A token bucket whose rate follows the loss.
#[derive(Debug)]
struct QueryPace {
    /// Queries per microsecond, if limited.
    rate: Option<f64>,
    tokens: f64,
    tokens_at: Micros,
    /// The number of consecutive epochs of heavy loss.
    heavy: u32,
    /// The number of consecutive epochs at a pace without loss: each lets the pace grow faster than the one before.
    clean: u32,
    /// The slowest pace so far, in queries per second; 0 = none.
    slowest: u32,
}

impl CongestionWindow {
    pub(super) fn new(max_window: u32, now: Micros) -> CongestionWindow {
        let max_window = f64::from(max_window).max(1.0);
        CongestionWindow {
            in_flight: 0,
            window: START.min(max_window),
            max_window,
            slow_start: true,
            was_limit: false,
            epoch: Epoch { since: now, ..Epoch::default() },
            pace: QueryPace { rate: None, tokens: 0.0, tokens_at: now, heavy: 0, clean: 0, slowest: 0 },
        }
    }

    /// The present window.
    pub(super) fn size(&self) -> u32 {
        self.window as u32
    }

    /// The slowest pace so far, in queries per second; 0 = none.
    pub(super) fn slowest_pace(&self) -> u32 {
        self.pace.slowest
    }

    /// The number of queries that may be sent now, with at most `most` of them in flight.
    pub(super) fn room(&mut self, now: Micros, most: u32) -> u32 {
        let free = (self.window as u32).min(most).saturating_sub(self.in_flight);
        if free == 0 {
            self.was_limit = true;
            return 0;
        }
        let Some(rate) = self.pace.rate else { return free };
        let gained = now.saturating_sub(self.pace.tokens_at) as f64 * rate;
        self.pace.tokens = (self.pace.tokens + gained).min((BURST as f64 * rate).max(1.0));
        self.pace.tokens_at = now;
        self.was_limit |= self.pace.tokens < f64::from(free);
        free.min(self.pace.tokens as u32)
    }

    /// Counts a sent query; it is in flight until [`CongestionWindow::settle`].
    pub(super) fn send(&mut self, now: Micros) {
        if self.in_flight == 0 && self.epoch.total() == 0 {
            self.epoch.since = now; // idle time is no measure of a rate
        }
        self.in_flight += 1;
        self.was_limit |= f64::from(self.in_flight + 1) > self.window;
        if self.pace.rate.is_some() {
            self.pace.tokens -= 1.0;
        }
    }

    /// Counts a query that is no longer in flight.
    pub(super) fn settle(&mut self) {
        assert!(self.in_flight > 0, "a query leaves the window once");
        self.in_flight -= 1;
    }

    /// Counts the outcome of a query.
    pub(super) fn count(&mut self, outcome: QueryOutcome) {
        match outcome {
            QueryOutcome::Answered => self.epoch.answered += 1,
            QueryOutcome::Lost => self.epoch.lost += 1,
            QueryOutcome::Bad => self.epoch.bad += 1,
        }
    }

    /// Corrects the count of a query that counted as lost but was answered later.
    pub(super) fn not_lost(&mut self) {
        self.epoch.lost = self.epoch.lost.saturating_sub(1);
    }

    /// Counts a packet that answers no query.
    pub(super) fn mismatch(&mut self) {
        self.epoch.mismatched += 1;
    }

    /// Resets the window to its initial size after a quarantine.
    pub(super) fn restart(&mut self) {
        self.window = START.min(self.max_window);
    }

    /// Discards the outcomes at the beginning of a quarantine: they are out of date.
    pub(super) fn forget(&mut self, now: Micros) {
        self.epoch = Epoch { since: now, ..Epoch::default() };
        self.slow_start = true;
        self.pace.rate = None;
    }

    /// Judges the epoch when there is enough data; true if most of it failed.
    #[must_use]
    pub(super) fn judge(&mut self, now: Micros, round_trip: Micros) -> bool {
        let epoch = self.epoch;
        let enough = MIN_OUTCOMES.max(if self.slow_start { 0 } else { self.window as u32 });
        let elapsed = now.saturating_sub(epoch.since);
        let total = epoch.total() + epoch.mismatched;
        let long = self.pace.rate.is_some() && elapsed >= LONG_EPOCH && total >= SOME_OUTCOMES;
        if (total < enough && !long) || elapsed < round_trip {
            return false;
        }
        self.epoch = Epoch { since: now, ..Epoch::default() };
        self.adapt(&epoch, elapsed);
        self.was_limit = false;
        let bad = epoch.lost + epoch.bad + epoch.mismatched;
        total >= MIN_OUTCOMES && Epoch::share(bad, bad + epoch.answered) > BAD_SHARE
    }

    /// Additive increase, multiplicative decrease: only loss above the network's normal share shrinks the window, and
    /// loss that no window size explains sets a pace.
    fn adapt(&mut self, epoch: &Epoch, elapsed: Micros) {
        // A mixture of answers and refusals indicates a limit too; refusals alone concern the names.
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
        self.pace.adapt(epoch, elapsed, limit, self.was_limit);
    }

    /// The time of the next token, if a pace holds queries back.
    pub(super) fn paced_until(&self) -> Option<Micros> {
        let rate = self.pace.rate?;
        (self.pace.tokens < 1.0).then(|| self.pace.tokens_at + ((1.0 - self.pace.tokens) / rate) as Micros + 1)
    }
}

impl QueryPace {
    fn adapt(&mut self, epoch: &Epoch, elapsed: Micros, loss: f64, was_limit: bool) {
        // A single epoch may be a server that paused for a moment.
        let is_heavy = loss > LOSS_OF_A_LIMIT && epoch.answered > 0;
        self.heavy = if is_heavy { self.heavy + 1 } else { 0 };
        if is_heavy && elapsed > 0 && (self.heavy > 1 || self.rate.is_some()) {
            self.clean = 0;
            let measured = f64::from(epoch.answered) / elapsed as f64;
            let rate = self.rate.map_or(measured, |rate| (rate * 0.85).max(measured.min(rate))).max(MIN_PACE);
            self.rate = Some(rate);
            let a_second = (rate * 1e6) as u32;
            self.slowest = if self.slowest == 0 { a_second } else { self.slowest.min(a_second) };
        } else if let Some(rate) = self.rate {
            if loss > LOSS_TOLERATED {
                self.clean = 0;
                self.rate = Some((rate * 0.95).max(MIN_PACE));
            } else if was_limit {
                self.rate = Some(rate * (1.0 + 0.03 * f64::from(1 << self.clean.min(5))));
                self.clean += 1;
            } else {
                self.rate = None; // it holds nothing back
            }
        }
    }
}

#[cfg(test)]
impl CongestionWindow {
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `epochs` of full windows in which this share of queries is lost.
    fn run(window: &mut CongestionWindow, epochs: usize, lost_in_100: u32) {
        let mut now = 0;
        for _ in 0..epochs {
            while window.room(now, u32::MAX) > 0 {
                window.send(now);
            }
            window.room(now, u32::MAX);
            for n in 0..window.in_flight {
                window.settle();
                window.count(if n % 100 < lost_in_100 { QueryOutcome::Lost } else { QueryOutcome::Answered });
            }
            now += 10_000;
            let _ = window.judge(now, 10_000);
        }
    }

    #[test]
    fn the_window_grows_without_loss_and_with_a_little() {
        for lost in [0, 1] {
            let mut window = CongestionWindow::new(1000, 0);
            run(&mut window, 20, lost);
            assert_eq!(window.size(), 1000, "{lost} % loss");
        }
    }

    #[test]
    fn heavy_loss_shrinks_it_and_sets_a_pace() {
        let mut window = CongestionWindow::new(1000, 0);
        run(&mut window, 20, 0);
        run(&mut window, 30, 40);
        assert!(window.size() < 100, "{}", window.size());
        assert!(window.pace.rate.is_some() && window.slowest_pace() > 0);
    }
}
