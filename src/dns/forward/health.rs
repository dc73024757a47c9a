//! The health of an upstream server: its round trip time, and whether it answers at all. No sockets and no clock.

use std::time::Duration;

/// The initial patience, before any measurement (RFC 6298, section 2.1, halved because the servers are near).
const FIRST_PATIENCE: Duration = Duration::from_millis(500);
/// The bounds of the patience: a server that must look a name up is slower than one that has it cached.
const PATIENCE: std::ops::RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(2);
/// The maximum time between two probes of a dead server.
const MAX_PROBE_PAUSE: Duration = Duration::from_secs(30);

/// The measured health of one upstream server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct UpstreamHealth {
    /// Smoothed round trip time and its variation (RFC 6298, section 2).
    round_trip: Option<(Duration, Duration)>,
    state: UpstreamState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum UpstreamState {
    #[default]
    Answers,
    /// A question got no answer. The question may be the cause: a probe decides.
    Suspected,
    /// Probes got no answer either; the number of failed probes.
    Dead(u32),
}

impl UpstreamHealth {
    /// Records an answer. `round_trip` is its time, if the query was sent only once (RFC 6298, section 3). True if the server was dead.
    pub(super) fn answered(&mut self, round_trip: Option<Duration>) -> bool {
        if let Some(now) = round_trip {
            self.round_trip = Some(match self.round_trip {
                None => (now, now / 2),
                Some((smoothed, variation)) => ((smoothed * 7 + now) / 8, (variation * 3 + smoothed.abs_diff(now)) / 4),
            });
        }
        let was_dead = self.is_dead();
        self.state = UpstreamState::Answers;
        was_dead
    }

    /// Records that a question got no answer. True if probing must start.
    pub(super) fn unanswered(&mut self) -> bool {
        let begins = self.state == UpstreamState::Answers;
        if begins {
            self.state = UpstreamState::Suspected;
        }
        begins
    }

    /// Records a failed probe. Returns the time until the next probe; `None` if another question was answered in the meantime.
    pub(super) fn probe_failed(&mut self) -> Option<Duration> {
        let failed = match self.state {
            UpstreamState::Answers => return None,
            UpstreamState::Suspected => 1,
            UpstreamState::Dead(failed) => failed.saturating_add(1),
        };
        self.state = UpstreamState::Dead(failed);
        Some(MAX_PROBE_PAUSE.min(Duration::from_secs(1 << (failed - 1).min(8))))
    }

    /// True while probes are not answered either.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, UpstreamState::Dead(_))
    }

    /// The time to wait for an answer before the question is sent again, or to another server.
    pub(super) fn patience(&self) -> Duration {
        let wanted = self.round_trip.map_or(FIRST_PATIENCE, |(smoothed, variation)| smoothed + variation * 4);
        wanted.clamp(*PATIENCE.start(), *PATIENCE.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_dead_when_a_probe_says_so() {
        let mut health = UpstreamHealth::default();
        assert_eq!(health.probe_failed(), None, "nobody suspects it");
        assert!(health.unanswered() && !health.unanswered() && !health.is_dead(), "one probe at a time");
        let pauses: Vec<u64> = (0..8).filter_map(|_| health.probe_failed()).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(health.is_dead());
        assert!(health.answered(None), "it was dead");
        assert!(!health.answered(None) && health.probe_failed().is_none());
        assert!(health.unanswered(), "and may die again");
    }

    #[test]
    fn patience_follows_the_round_trip_time() {
        let mut health = UpstreamHealth::default();
        assert_eq!(health.patience(), FIRST_PATIENCE);
        for _ in 0..50 {
            health.answered(Some(Duration::from_millis(20)));
        }
        assert_eq!(health.patience(), *PATIENCE.start());
        for _ in 0..50 {
            health.answered(Some(Duration::from_millis(900)));
        }
        assert!((900..1000).contains(&health.patience().as_millis()), "{health:?}");
        for _ in 0..50 {
            health.answered(Some(Duration::from_secs(30)));
        }
        assert_eq!(health.patience(), *PATIENCE.end());
    }
}
