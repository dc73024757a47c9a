//! The rate limit on password guesses: guessing is slow for one address, and for one user name over all addresses. Pure: the
//! caller supplies the time, waits, and checks the password.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::net::admission::network;
use crate::net::rate::{RateTable, forget_half};

/// Wrong passwords per minute from one address (IPv6: one /64 network), half of them at once.
pub const MAX_GUESSES_A_MINUTE: u32 = 10;
/// Wrong passwords for one user name at once, from addresses without an earlier login of that user.
const USER_BURST: u32 = 20;
/// The interval of further guesses after that.
const USER_INTERVAL: Duration = Duration::from_secs(6);
/// The most remembered logins; beyond that the older half is forgotten.
const MAX_KNOWN: usize = 65_536;

/// The tries of the last minutes. Every user name is treated alike, whether it exists or not.
#[derive(Debug)]
pub struct Guesses {
    by_address: RateTable<IpAddr>,
    by_user: RateTable<u64>,
    /// The time of a user's last login from an address: the guesses of others never lock him out from there.
    known: HashMap<(IpAddr, u64), Instant>,
    names: RandomState,
}

/// An admitted try: it counts as a wrong password unless [`Guesses::right`] takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordTry {
    address: IpAddr,
    user: u64,
    /// True if the user has logged in from this address before.
    pub known: bool,
}

impl Default for Guesses {
    fn default() -> Guesses {
        Guesses {
            by_address: RateTable::per_minute(MAX_GUESSES_A_MINUTE),
            by_user: RateTable::new(USER_BURST, USER_INTERVAL),
            known: HashMap::new(),
            names: RandomState::new(),
        }
    }
}

impl Guesses {
    /// Admits a try.
    ///
    /// # Errors
    /// The minimum wait before the next request; nothing was counted.
    pub fn admit(&mut self, address: IpAddr, user: &str, now: Instant) -> Result<PasswordTry, Duration> {
        let (address, user) = (network(address), self.names.hash_one(user));
        let known = self.known.contains_key(&(address, user));
        let of_user = if known { Duration::ZERO } else { self.by_user.wait(&user, now) };
        let wait = self.by_address.wait(&address, now).max(of_user);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.by_address.take(&address, now);
        if !known {
            self.by_user.take(&user, now);
        }
        Ok(PasswordTry { address, user, known })
    }

    /// The password was right: the try costs nothing, and its address is known for this user from now on.
    pub fn right(&mut self, tried: PasswordTry, now: Instant) {
        self.by_address.give_back(&tried.address, now);
        if !tried.known {
            self.by_user.give_back(&tried.user, now);
        }
        if self.known.len() >= MAX_KNOWN {
            forget_half(&mut self.known);
        }
        self.known.insert((tried.address, tried.user), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    proptest! {
        /// Holds for any user names, any number of connections, and logins of others.
        #[test]
        fn an_address_guesses_at_most_so_often(tries in proptest::collection::vec((0u64..3000, 0u8..5), 1..300)) {
            let mut guesses = Guesses::default();
            let (mut now, mut wrong) = (Instant::now(), Vec::new());
            for (step, user) in tries {
                now += Duration::from_millis(step);
                if guesses.admit(ip(1), &format!("u{user}"), now).is_ok() {
                    wrong.push(now);
                }
                let honest = guesses.admit(ip(2), "honest", now);
                prop_assert!(honest.is_ok(), "others are not slowed");
                guesses.right(honest.unwrap(), now);
            }
            for (at, first) in wrong.iter().enumerate() {
                let minute = wrong[at..].iter().take_while(|time| **time - *first < Duration::from_secs(60));
                prop_assert!(minute.count() <= MAX_GUESSES_A_MINUTE as usize);
            }
        }
    }

    #[test]
    fn a_user_is_guessed_at_from_many_addresses_and_logs_in_from_his_own() {
        let mut guesses = Guesses::default();
        let begin = Instant::now();
        let first = guesses.admit(ip(1), "joe", begin).unwrap();
        assert!(!first.known);
        guesses.right(first, begin);
        let (mut tried, mut waits) = (0, Vec::new());
        for second in 0..60 {
            let now = begin + Duration::from_secs(second);
            for last in 10..250 {
                match guesses.admit(ip(last), "joe", now) {
                    Ok(_) => tried += 1,
                    Err(wait) => waits.push(wait),
                }
            }
            let own = guesses.admit(ip(1), "joe", now).unwrap();
            assert!(own.known);
            guesses.right(own, now);
            assert!(guesses.admit(ip(9), "eve", now).map(|tried| guesses.right(tried, now)).is_ok());
        }
        assert_eq!(tried, 20 + 9);
        assert!(waits.iter().all(|wait| *wait <= 2 * USER_INTERVAL));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut guesses = Guesses::default();
        let now = Instant::now();
        for user in 0..200_000 {
            let tried = guesses.admit(ip(1), &format!("u{user}"), now).unwrap();
            guesses.right(tried, now + Duration::from_secs(user));
        }
        assert!(guesses.known.len() <= MAX_KNOWN);
        assert!(guesses.admit(ip(1), "u199999", now).unwrap().known);
        // All addresses of a client's IPv6 network count as one.
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let let_in = (0..100).filter(|last| guesses.admit(v6(*last), "x", now).is_ok()).count();
        assert_eq!(let_in, MAX_GUESSES_A_MINUTE as usize / 2);
    }
}
