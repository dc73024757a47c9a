//! The times of retries, of the sender's warning, and of expiry. Pure.

use std::time::Duration;

use crate::fault::Enhanced;
use crate::queue::entry::Time;
use crate::retry;

/// The waits of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The wait after the first failed attempt; each further one doubles it, up to [`retry::MAX_DELAY`].
    pub first: Duration,
    /// The wait after a first attempt that looks greylisted.
    pub greylisted: Duration,
    /// The age at which the sender is warned; `None`: never.
    pub warn_after: Option<Duration>,
    /// The age at which a recipient is given up.
    pub expire_after: Duration,
}

impl Default for Schedule {
    /// RFC 5321 section 4.5.4.1: expiry after 4 to 5 days; the first retry is earlier than its 30 minutes, as is common today.
    fn default() -> Schedule {
        Schedule {
            first: Duration::from_secs(5 * 60),
            greylisted: Duration::from_secs(90),
            warn_after: Some(Duration::from_secs(4 * 3600)),
            expire_after: Duration::from_secs(5 * 86400),
        }
    }
}

/// The fewest attempts before a recipient expires: a clock that jumps forward, or a long pause of all runners, bounces
/// nothing.
pub const MIN_ATTEMPTS: u32 = 3;

/// The facts about a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedAttempt<'a> {
    /// The time when the message was accepted.
    pub created: Time,
    /// The current time.
    pub now: Time,
    /// The number of attempts begun, the failed one included.
    pub attempts: u32,
    /// The reply code, if there was a reply.
    pub code: Option<u16>,
    /// The enhanced code, if there was one.
    pub enhanced: Option<Enhanced>,
    /// The reply.
    pub reply: &'a str,
    /// True if the sender was already warned.
    pub warned: bool,
}

/// The decision after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Another attempt.
    Retry {
        /// The due time.
        due: Time,
        /// True if the sender must be warned now.
        warn: bool,
    },
    /// The recipient has expired.
    Expired,
}

impl Schedule {
    /// The decision after a temporary failure; `jitter` is a random number from 0 to 1.
    pub fn after(&self, failure: &FailedAttempt<'_>, jitter: f64) -> RetryDecision {
        let age = failure.now.since(failure.created);
        if age >= self.expire_after && failure.attempts >= MIN_ATTEMPTS {
            return RetryDecision::Expired;
        }
        let wait = if failure.attempts <= 1 && greylisted(failure) {
            retry::delay(1, self.greylisted, None, jitter)
        } else {
            retry::delay(failure.attempts, self.first, None, jitter)
        };
        let warn = !failure.warned && self.warn_after.is_some_and(|limit| age >= limit);
        RetryDecision::Retry { due: failure.now.plus(wait), warn }
    }
}

/// True if the reply suggests that a later attempt will succeed: greylisting has no code of its own (RFC 6647, section 3.1).
fn greylisted(failure: &FailedAttempt<'_>) -> bool {
    let code = matches!(failure.code, Some(450 | 451));
    let reply = failure.reply.to_ascii_lowercase();
    code && (reply.contains("grey") || reply.contains("gray") || failure.enhanced == Some(Enhanced::new(4, 7, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(age: u64, attempts: u32) -> FailedAttempt<'static> {
        let created = Time(1_000_000_000);
        let now = created.plus(Duration::from_secs(age));
        FailedAttempt { created, now, attempts, code: Some(451), enhanced: None, reply: "451 later", warned: false }
    }

    fn wait(failure: &FailedAttempt<'_>, jitter: f64) -> u64 {
        match Schedule::default().after(failure, jitter) {
            RetryDecision::Retry { due, .. } => due.since(failure.now).as_secs(),
            RetryDecision::Expired => panic!("expired"),
        }
    }

    #[test]
    fn waits_double_to_an_hour() {
        let waits: Vec<u64> = (1..8).map(|attempts| wait(&failure(60, attempts), 0.5)).collect();
        assert_eq!(waits, [300, 600, 1200, 2400, 3600, 3600, 3600]);
        assert_eq!((wait(&failure(60, 1), 0.0), wait(&failure(60, 1), 1.0)), (225, 375));
    }

    #[test]
    fn greylisting_is_tried_early_once() {
        for reply in ["451 4.7.1 Greylisted, try later", "450 graylisting in action"] {
            let grey = FailedAttempt { reply, ..failure(1, 1) };
            assert_eq!(wait(&grey, 0.5), 90, "{reply}");
            assert_eq!(wait(&FailedAttempt { attempts: 2, ..grey }, 0.5), 600, "{reply}");
        }
        let by_code = FailedAttempt { enhanced: Some(Enhanced::new(4, 7, 1)), ..failure(1, 1) };
        assert_eq!(wait(&by_code, 0.5), 90);
        let full = FailedAttempt { code: Some(452), reply: "452 grey day, disk full", ..failure(1, 1) };
        assert_eq!(wait(&full, 0.5), 300);
    }

    #[test]
    fn one_warning_then_the_end() {
        let warns = |failure: &FailedAttempt<'_>| {
            matches!(Schedule::default().after(failure, 0.5), RetryDecision::Retry { warn: true, .. })
        };
        assert!(!warns(&failure(4 * 3600 - 1, 5)));
        assert!(warns(&failure(4 * 3600, 5)));
        assert!(!warns(&FailedAttempt { warned: true, ..failure(5 * 3600, 6) }));
        assert_eq!(Schedule::default().after(&failure(5 * 86400, 100), 0.5), RetryDecision::Expired);
        assert!(matches!(Schedule::default().after(&failure(5 * 86400 - 1, 100), 0.5), RetryDecision::Retry { .. }));
    }

    #[test]
    fn clocks_that_jump_bounce_nothing() {
        for attempts in 1..MIN_ATTEMPTS {
            assert!(matches!(
                Schedule::default().after(&failure(400 * 86400, attempts), 0.5),
                RetryDecision::Retry { .. }
            ));
        }
        let back = FailedAttempt { now: Time(0), ..failure(0, 7) };
        assert!(matches!(Schedule::default().after(&back, 0.5), RetryDecision::Retry { warn: false, .. }));
    }

    /// The number of a message's attempts and of its warnings, and its end: the minute, and whether it was delivered.
    type Course = (u32, u32, Option<(u64, bool)>);

    /// A week of a thousand messages to one destination, minute by minute, as with runners started by cron. The destination
    /// accepts mail only while `up` is true. Returns the course of each message, and the attempts per minute.
    fn week(up: impl Fn(u64) -> bool) -> (Vec<Course>, Vec<u32>) {
        let schedule = Schedule::default();
        let at = |minute: u64| Time((1_000_000 + minute * 60) as i64 * 1000);
        let mut seed = 1_u64;
        let mut jitter = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut due = vec![at(0); 1000];
        let mut ends = vec![(0, 0, None); 1000];
        let mut load = Vec::new();
        for minute in 0..7 * 24 * 60 {
            let mut tried = 0;
            for (due, (attempts, warnings, end)) in due.iter_mut().zip(&mut ends) {
                if end.is_some() || *due > at(minute) {
                    continue;
                }
                tried += 1;
                *attempts += 1;
                if up(minute) {
                    *end = Some((minute, true));
                    continue;
                }
                let failure = FailedAttempt {
                    created: at(0),
                    now: at(minute),
                    attempts: *attempts,
                    code: Some(421),
                    enhanced: None,
                    reply: "421 down",
                    warned: *warnings > 0,
                };
                match schedule.after(&failure, jitter()) {
                    RetryDecision::Expired => *end = Some((minute, false)),
                    RetryDecision::Retry { due: next, warn } => {
                        *due = next;
                        *warnings += u32::from(warn);
                    }
                }
            }
            load.push(tried);
        }
        (ends, load)
    }

    #[test]
    fn a_week_with_a_server_that_is_away_for_three_days() {
        let back = 3 * 24 * 60;
        let (ends, load) = week(|minute| minute >= back);
        for (attempts, warnings, end) in &ends {
            let (minute, delivered) = end.unwrap();
            // The longest wait is an hour and a quarter.
            assert!(delivered && minute <= back + 76, "{minute}");
            assert_eq!(*warnings, 1);
            assert!((65..100).contains(attempts), "{attempts}");
        }
        // Jitter spreads them: after a day no minute has more than five times its share.
        let busiest = load[24 * 60..back as usize].iter().max().copied().unwrap();
        assert!(busiest < 5 * 1000 / 60, "{busiest}");
    }

    #[test]
    fn a_week_with_a_server_that_never_comes_back() {
        let (ends, _) = week(|_| false);
        for (attempts, warnings, end) in &ends {
            let (minute, delivered) = end.unwrap();
            assert!(!delivered && (5 * 24 * 60..=5 * 24 * 60 + 76).contains(&minute), "{minute}");
            assert_eq!(*warnings, 1);
            assert!((105..150).contains(attempts), "{attempts}");
        }
    }

    #[test]
    fn a_week_with_a_server_that_takes_mail_one_minute_in_five() {
        let (ends, _) = week(|minute| minute % 5 == 0);
        let late = ends.iter().map(|(_, _, end)| end.unwrap().0).max().unwrap();
        assert!(ends.iter().all(|(_, _, end)| end.unwrap().1) && late < 24 * 60, "{late}");
    }
}
