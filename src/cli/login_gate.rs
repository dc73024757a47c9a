//! The one way to a user's password, for every server that has users: limited by address and by user, few at once, off the
//! event loop, and late where it fails.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use crate::cli::users::{MAX_CONCURRENT_CHECKS, User, Users};
use crate::net::clock::unix_seconds;
use crate::net::guess::Guesses;
use crate::net::login::LoginVerdict;
use crate::secret::Secret;

/// How late a failed login is answered.
pub const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// How long a try waits for its turn; then it is refused unseen.
const PATIENCE: Duration = Duration::from_secs(15);

/// What all logins of one server share.
#[derive(Debug)]
pub struct LoginGate {
    guesses: Mutex<Guesses>,
    /// Told when a right password gives a turn back.
    returned: Notify,
    /// Those who come from an address for the first time leave one check to those who are known there.
    strangers: Semaphore,
}

impl Default for LoginGate {
    fn default() -> LoginGate {
        let strangers = Semaphore::new(MAX_CONCURRENT_CHECKS - 1);
        LoginGate { guesses: Mutex::default(), returned: Notify::new(), strangers }
    }
}

impl LoginGate {
    /// Checks a password. A wrong one takes [`FAILURE_DELAY`] at least, for whatever name; so does a refusal.
    pub async fn check(
        &self,
        users: &Arc<Users>,
        client: Option<IpAddr>,
        name: &str,
        password: &str,
    ) -> LoginVerdict<User> {
        let begun = Instant::now();
        let client = client.unwrap_or(Ipv6Addr::LOCALHOST.into());
        let verdict = self.verdict(users, client, name, password, begun + PATIENCE).await;
        if !matches!(verdict, LoginVerdict::Right(_)) {
            // Guessing is slow, and always equally slow.
            tokio::time::sleep_until((begun + FAILURE_DELAY).into()).await;
        }
        verdict
    }

    async fn verdict(
        &self,
        users: &Arc<Users>,
        client: IpAddr,
        name: &str,
        password: &str,
        until: Instant,
    ) -> LoginVerdict<User> {
        let tried = loop {
            let returned = self.returned.notified();
            let now = Instant::now();
            let admitted = self.guesses().admit(client, name, now);
            match admitted {
                Ok(tried) => break tried,
                Err(_) if now >= until => return LoginVerdict::TooMany,
                Err(wait) => {
                    let _ = tokio::time::timeout_at((now + wait).min(until).into(), returned).await;
                }
            }
        };
        // The semaphore is never closed.
        let _turn = if tried.known { None } else { self.strangers.acquire().await.ok() };
        let (users, name, password) = (users.clone(), name.to_owned(), Secret::new(password.to_owned()));
        let check = tokio::task::spawn_blocking(move || users.verify(&name, password.expose()));
        let Ok(Some(user)) = check.await else { return LoginVerdict::Wrong };
        self.guesses().right(tried, Instant::now());
        self.returned.notify_waiters();
        match user.account.barred(Some(client), unix_seconds()) {
            Some(why) => LoginVerdict::Barred(why),
            None => LoginVerdict::Right(user),
        }
    }

    fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::users::hash_password;

    /// Many connections of one client log in together: only wrong passwords are limited, and late.
    #[tokio::test]
    async fn right_passwords_wait_for_nobody() {
        let users = Arc::new(Users::parse(&format!("joe:{}\n", hash_password("secret").unwrap())).unwrap());
        let gate = Arc::new(LoginGate::default());
        let all = |password: &'static str, count| {
            let (gate, users) = (gate.clone(), users.clone());
            async move {
                let mut together = tokio::task::JoinSet::new();
                for _ in 0..count {
                    let (gate, users) = (gate.clone(), users.clone());
                    let client = Some([192, 0, 2, 1].into());
                    together
                        .spawn(async move { gate.check(&users, client, "joe", password).await.map(|user| user.name) });
                }
                together.join_all().await
            }
        };
        assert_eq!(all("secret", 20).await, vec![LoginVerdict::Right("joe".to_owned()); 20]);
        let begun = Instant::now();
        assert_eq!(all("wrong", 2).await, vec![LoginVerdict::Wrong; 2]);
        assert!(begun.elapsed() >= FAILURE_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_without_a_turn_is_refused_unseen() {
        let users = Arc::new(Users::parse("").unwrap());
        let gate = LoginGate::default();
        let mut verdicts = Vec::new();
        for client in 1..=200 {
            let tried = gate.guesses().admit([192, 0, 2, client].into(), "joe", Instant::now());
            verdicts.push(tried.is_ok());
        }
        assert!(verdicts.iter().filter(|let_in| **let_in).count() >= 20);
        for _ in 0..20 {
            let _ = gate.guesses().admit([192, 0, 2, 250].into(), "eve", Instant::now());
        }
        let verdict = gate.verdict(&users, [192, 0, 2, 250].into(), "eve", "x", Instant::now()).await;
        assert_eq!(verdict, LoginVerdict::TooMany);
    }
}
