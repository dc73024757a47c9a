//! Deadlines: an idle limit for each wait, an end for the whole dialogue, and a minimum rate against a slow drip.

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use crate::fault::{Fault, Kind};

/// The idle limit where nothing else was said.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(60);

/// The limits of one dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest wait for the peer to take or give anything.
    pub idle: Duration,
    /// When the whole dialogue must be over.
    pub until: Option<Instant>,
    /// The slowest transfer that is still waited for.
    pub min_rate: Option<MinRate>,
}

/// A floor for a transfer: at least `bytes` in every window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinRate {
    /// Bytes that must pass in each window.
    pub bytes: u64,
    /// How long a window is.
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { idle: DEFAULT_IDLE, until: None, min_rate: None }
    }
}

impl Limits {
    /// The same limits with another idle limit (the reply to a final dot may take ten minutes, RFC 5321 4.5.3.2.6).
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Limits {
        self.idle = idle;
        self
    }

    /// The wait allowed from `now`: the idle limit or what is left of the whole, whichever is shorter.
    pub fn allowed(&self, now: Instant) -> Duration {
        match self.until {
            Some(until) => self.idle.min(until.saturating_duration_since(now)),
            None => self.idle,
        }
    }

    /// Waits for a socket operation within the limits; its error becomes a network fault.
    pub async fn io<T>(&self, what: &str, operation: impl Future<Output = io::Result<T>>) -> Result<T, Fault> {
        self.run(what, async { operation.await.map_err(|error| Fault::network(what, &error)) }).await
    }

    /// Waits for an operation within the limits.
    pub async fn run<T>(&self, what: &str, operation: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let allowed = self.allowed(Instant::now());
        match tokio::time::timeout(allowed, operation).await {
            Ok(result) => result,
            Err(_) => Err(self.passed(what, allowed)),
        }
    }

    /// The fault for a wait that took too long.
    fn passed(&self, what: &str, allowed: Duration) -> Fault {
        let limit = if allowed < self.idle { "the whole run's time is over".to_owned() } else { silence(self.idle) };
        Fault::new(Kind::TimedOut, format!("{what}: {limit}"))
    }
}

fn silence(idle: Duration) -> String {
    format!("no answer within {} s", (idle.as_millis() as f64) / 1000.0)
}

/// Watches a transfer against its [`MinRate`]. Pure: the caller says when it is.
#[derive(Debug, Clone)]
pub struct RateWatch {
    floor: MinRate,
    since: Instant,
    seen: u64,
}

impl RateWatch {
    /// A watch that starts `now`.
    pub fn new(floor: MinRate, now: Instant) -> RateWatch {
        RateWatch { floor, since: now, seen: 0 }
    }

    /// Notes `bytes` that passed; at each window's end a transfer that fell below the floor is a fault.
    pub fn note(&mut self, bytes: u64, now: Instant) -> Result<(), Fault> {
        self.seen = self.seen.saturating_add(bytes);
        if now.saturating_duration_since(self.since) < self.floor.window {
            return Ok(());
        }
        if self.seen < self.floor.bytes {
            let (seen, floor, window) = (self.seen, self.floor.bytes, self.floor.window.as_secs());
            let detail = format!("transfer too slow: {seen} bytes in {window} s, at least {floor} are asked for");
            return Err(Fault::new(Kind::TimedOut, detail));
        }
        (self.since, self.seen) = (now, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_and_total_both_end_a_wait() {
        let limits = Limits { idle: Duration::from_millis(5), ..Limits::default() };
        let fault = limits.io("greeting", std::future::pending::<io::Result<()>>()).await.unwrap_err();
        assert_eq!((fault.kind, fault.detail.as_str()), (Kind::TimedOut, "greeting: no answer within 0.005 s"));
        let over = Limits { until: Some(Instant::now()), ..Limits::default() };
        let fault = over.io("greeting", std::future::pending::<io::Result<()>>()).await.unwrap_err();
        assert_eq!(fault.detail, "greeting: the whole run's time is over");
    }

    #[test]
    fn a_drip_is_noticed_at_the_windows_end() {
        let start = Instant::now();
        let floor = MinRate { bytes: 100, window: Duration::from_secs(10) };
        let mut watch = RateWatch::new(floor, start);
        assert!(watch.note(99, start + Duration::from_secs(9)).is_ok());
        assert!(watch.note(1, start + Duration::from_secs(10)).is_ok());
        assert!(watch.note(99, start + Duration::from_secs(19)).is_ok());
        assert_eq!(watch.note(0, start + Duration::from_secs(20)).unwrap_err().kind, Kind::TimedOut);
    }
}
