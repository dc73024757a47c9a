//! Deadlines: an idle limit for each wait, an end for the whole dialogue, and a minimum rate against slow peers.

use std::future::Future;
use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::fault::{Fault, Kind};
use crate::net::tls_fault;

/// The default idle limit.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(60);

/// The limits of one dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest wait for the peer to accept or send anything.
    pub idle: Duration,
    /// The time by which the whole dialogue must end.
    pub until: Option<Instant>,
    /// The minimum rate of the peer, in bytes per second; `None`: any byte restores the whole idle limit. See
    /// [`RateDeadline`].
    pub min_rate: Option<NonZeroU64>,
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

    /// The wait allowed from `now`: the idle limit or the rest of the total time, whichever is shorter.
    pub fn allowed(&self, now: Instant) -> Duration {
        match self.until {
            Some(until) => self.idle.min(until.saturating_duration_since(now)),
            None => self.idle,
        }
    }

    /// Waits for a socket operation within the limits; its error becomes a network fault.
    ///
    /// # Errors
    /// [`Kind::TimedOut`] if the limits end the wait; else the operation's error, by [`tls_fault::fault_of`].
    pub async fn io<T>(&self, what: &str, operation: impl Future<Output = io::Result<T>>) -> Result<T, Fault> {
        self.run(what, async { operation.await.map_err(|error| tls_fault::fault_of(what, &error)) }).await
    }

    /// Waits for an operation within the limits.
    ///
    /// # Errors
    /// [`Kind::TimedOut`] if the limits end the wait; else the operation's fault.
    pub async fn run<T>(&self, what: &str, operation: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let allowed = self.allowed(Instant::now());
        match tokio::time::timeout(allowed, operation).await {
            Ok(result) => result,
            Err(_) => Err(self.passed(what, allowed)),
        }
    }

    /// The fault of a peer that was silent for the whole idle limit.
    pub fn silent(&self, what: &str) -> Fault {
        Fault::new(Kind::TimedOut, format!("{what}: {}", silence(self.idle)))
    }

    /// The fault for a wait that took too long.
    fn passed(&self, what: &str, allowed: Duration) -> Fault {
        if allowed < self.idle { whole_run_over(what) } else { self.silent(what) }
    }
}

fn whole_run_over(what: &str) -> Fault {
    Fault::new(Kind::TimedOut, format!("{what}: --max-time is over"))
}

fn silence(idle: Duration) -> String {
    format!("no answer within {} s", (idle.as_millis() as f64) / 1000.0)
}

/// The remaining time of a peer. Waiting for the peer consumes it, and bytes from or to the peer restore some of it, so that
/// neither silence nor a drip can block: at least [`Limits::min_rate`] bytes per second, with [`Limits::idle`] to spare.
/// Delays on the local side (a slow disk, a paused reader of the output) cost the peer nothing.
#[derive(Debug, Clone)]
pub struct RateDeadline {
    limits: Limits,
    left: Duration,
}

impl RateDeadline {
    /// A deadline with the whole idle limit left.
    pub fn new(limits: Limits) -> RateDeadline {
        RateDeadline { limits, left: limits.idle }
    }

    /// Restores the whole time: the peer has completed a command or a reply.
    pub fn renew(&mut self) {
        self.left = self.limits.idle;
    }

    /// Waits for an operation that returns the number of bytes it moved.
    ///
    /// # Errors
    /// [`Kind::TimedOut`] if no time is left; else the operation's error, by [`tls_fault::fault_of`].
    pub async fn io(&mut self, what: &str, operation: impl Future<Output = io::Result<usize>>) -> Result<usize, Fault> {
        let began = Instant::now();
        let until = self.limits.until.map(|until| until.saturating_duration_since(began));
        let allowed = until.map_or(self.left, |until| until.min(self.left));
        let Ok(moved) = tokio::time::timeout(allowed, operation).await else {
            return Err(match until.is_some_and(|until| until <= self.left) {
                true => whole_run_over(what),
                false => self.passed(what),
            });
        };
        let moved = moved.map_err(|error| tls_fault::fault_of(what, &error))?;
        self.waited(what, began.elapsed(), moved as u64).map(|()| moved)
    }

    /// Writes all of `bytes`; each part that the peer accepts restores time.
    ///
    /// # Errors
    /// [`Kind::TimedOut`] if no time is left; else the stream's error, by [`Fault::network`].
    pub async fn write_all<W: AsyncWrite + Unpin>(
        &mut self,
        what: &str,
        to: &mut W,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let mut left = bytes;
        while !left.is_empty() {
            match self.io(what, to.write(left)).await? {
                0 => return Err(Fault::network(what, &io::ErrorKind::WriteZero.into())),
                count => left = left.get(count..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// Records a wait for the peer and the number of bytes moved; for callers that wait themselves.
    ///
    /// # Errors
    /// [`Kind::TimedOut`] if no time is left.
    pub fn waited(&mut self, what: &str, waited: Duration, bytes: u64) -> Result<(), Fault> {
        let Some(left) = self.left.checked_sub(waited) else { return Err(self.passed(what)) };
        self.left = match self.limits.min_rate {
            Some(rate) => left.saturating_add(earned(bytes, rate.get())).min(self.limits.idle),
            None if bytes > 0 => self.limits.idle,
            None => left,
        };
        Ok(())
    }

    fn passed(&self, what: &str) -> Fault {
        match self.limits.min_rate {
            Some(rate) if self.left < self.limits.idle => {
                Fault::new(Kind::TimedOut, format!("{what}: slower than {rate} bytes per second for too long"))
            }
            _ => Fault::new(Kind::TimedOut, format!("{what}: {}", silence(self.limits.idle))),
        }
    }
}

/// The time that `bytes` may take at `rate` bytes per second.
fn earned(bytes: u64, rate: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / rate)
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
        assert_eq!(fault.detail, "greeting: --max-time is over");
    }

    fn limits(idle: u64, rate: u64) -> Limits {
        Limits { idle: Duration::from_secs(idle), until: None, min_rate: NonZeroU64::new(rate) }
    }

    #[test]
    fn a_drip_uses_the_time_up() {
        let mut deadline = RateDeadline::new(limits(60, 100));
        // 50 bytes per second for 100 seconds: half of the time is earned back.
        for _ in 0..99 {
            deadline.waited("x", Duration::from_secs(1), 50).unwrap();
        }
        assert_eq!(deadline.left, Duration::from_millis(60_000 - 99 * 500));
        let fault = deadline.waited("x", Duration::from_secs(11), 50).unwrap_err();
        assert_eq!(fault.detail, "x: slower than 100 bytes per second for too long");
        deadline.renew();
        assert_eq!(deadline.left, Duration::from_secs(60));
    }

    #[test]
    fn the_time_never_grows_beyond_the_idle_limit() {
        let mut deadline = RateDeadline::new(limits(60, 100));
        deadline.waited("x", Duration::from_secs(59), u64::MAX).unwrap();
        assert_eq!(deadline.left, Duration::from_secs(60));
        assert_eq!(deadline.waited("x", Duration::from_secs(61), 0).unwrap_err().kind, Kind::TimedOut);
    }

    #[test]
    fn without_a_minimum_rate_any_byte_will_do() {
        let mut deadline = RateDeadline::new(limits(60, 0));
        for _ in 0..100 {
            deadline.waited("x", Duration::from_secs(59), 1).unwrap();
        }
        deadline.waited("x", Duration::from_secs(59), 0).unwrap();
        assert!(deadline.waited("x", Duration::from_secs(2), 0).is_err());
    }

    #[tokio::test]
    async fn waiting_for_a_socket_ends() {
        let mut deadline = RateDeadline::new(Limits { until: Some(Instant::now()), ..limits(60, 100) });
        let fault = deadline.io("reply", std::future::pending()).await.unwrap_err();
        assert_eq!(fault.detail, "reply: --max-time is over");
        let mut deadline = RateDeadline::new(Limits { idle: Duration::from_millis(5), ..limits(0, 100) });
        let fault = deadline.io("reply", std::future::pending()).await.unwrap_err();
        assert_eq!(fault.detail, "reply: no answer within 0.005 s");
        let mut deadline = RateDeadline::new(limits(60, 100));
        let (mut near, mut far) = tokio::io::duplex(10);
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut far, &mut all).await.unwrap();
            all
        });
        deadline.write_all("data", &mut near, &[7; 100]).await.unwrap();
        drop(near);
        assert_eq!(reader.await.unwrap(), [7; 100]);
    }
}
