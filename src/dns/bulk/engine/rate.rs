//! The limit on queries per second over all resolvers: a token bucket.

use crate::dns::bulk::Micros;

/// See the module.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// Queries per second; `None`: no limit.
    rate: Option<f64>,
    tokens: f64,
    tokens_at: Micros,
}

impl RateLimit {
    pub(super) fn new(rate: Option<f64>, now: Micros) -> RateLimit {
        RateLimit { rate, tokens: 1.0, tokens_at: now }
    }

    /// The number of queries that may be sent now.
    pub(super) fn budget(&mut self, now: Micros) -> u32 {
        let Some(rate) = self.rate else { return u32::MAX };
        let gained = now.saturating_sub(self.tokens_at) as f64 * rate / 1e6;
        // At most 20 ms worth of saved-up queries, so that a rate is never exceeded by a burst that matters.
        self.tokens = (self.tokens + gained).min((rate / 50.0).max(1.0));
        self.tokens_at = now;
        self.tokens as u32
    }

    /// Counts sent queries.
    pub(super) fn spend(&mut self, queries: u32) {
        if self.rate.is_some() {
            self.tokens -= f64::from(queries);
        }
    }

    /// The time at which the next query may be sent, if the rate limit holds it back.
    pub(super) fn next_at(&self) -> Option<Micros> {
        let rate = self.rate.filter(|_| self.tokens < 1.0)?;
        Some(self.tokens_at + ((1.0 - self.tokens) * 1e6 / rate) as Micros + 1)
    }
}
