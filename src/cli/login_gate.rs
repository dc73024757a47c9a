//! The only check of users' passwords, for every server that has users: limited by address and by user, few at a time, off the
//! event loop, and with a late answer on failure.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use crate::cli::users::{MAX_CONCURRENT_CHECKS, User, Users};
use crate::net::clock::unix_seconds;
use crate::net::guess::Guesses;
use crate::net::login::LoginVerdict;
use crate::smtp::auth::server::LoginProof;

/// The least time until the answer to a failed login.
pub const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// The longest wait of a login attempt for its turn. After it, the attempt is refused without a check of the password.
const PATIENCE: Duration = Duration::from_secs(15);

/// The state that all logins of one server share.
#[derive(Debug)]
pub struct LoginGate {
    guesses: Mutex<Guesses>,
    /// Notified when a right password gives its turn back.
    returned: Notify,
    /// Limits the checks for users at a new address, so that one check stays free for users who have logged in from theirs before.
    strangers: Semaphore,
    /// Limits all checks.
    checks: Semaphore,
}

impl Default for LoginGate {
    fn default() -> LoginGate {
        let strangers = Semaphore::new(MAX_CONCURRENT_CHECKS - 1);
        let checks = Semaphore::new(MAX_CONCURRENT_CHECKS);
        LoginGate { guesses: Mutex::default(), returned: Notify::new(), strangers, checks }
    }
}

impl LoginGate {
    /// Checks a password, or the proof of one. Any other verdict than success takes at least [`FAILURE_DELAY`], for known and unknown names alike.
    pub async fn check(
        &self,
        users: &Arc<Users>,
        client: Option<IpAddr>,
        name: &str,
        proof: &LoginProof,
    ) -> LoginVerdict<User> {
        let users = users.clone();
        let verify = move |client, name: &str, proof: &LoginProof| match users.check(name, proof) {
            None => LoginVerdict::Wrong,
            Some(user) => match user.account.barred(Some(client), unix_seconds()) {
                Some(why) => LoginVerdict::Barred(why),
                None => LoginVerdict::Right(user),
            },
        };
        self.check_with(client, name, proof, verify).await
    }

    /// As [`LoginGate::check`], with a check of another kind, which runs on a thread.
    pub async fn check_with<T: Send + 'static>(
        &self,
        client: Option<IpAddr>,
        name: &str,
        proof: &LoginProof,
        verify: impl FnOnce(IpAddr, &str, &LoginProof) -> LoginVerdict<T> + Send + 'static,
    ) -> LoginVerdict<T> {
        let begun = Instant::now();
        let client = client.unwrap_or(Ipv6Addr::LOCALHOST.into());
        let verdict = self.verdict(verify, client, name, proof, begun + PATIENCE).await;
        if !matches!(verdict, LoginVerdict::Right(_)) {
            // Every failed guess takes the same long time.
            tokio::time::sleep_until((begun + FAILURE_DELAY).into()).await;
        }
        verdict
    }

    async fn verdict<T: Send + 'static>(
        &self,
        verify: impl FnOnce(IpAddr, &str, &LoginProof) -> LoginVerdict<T> + Send + 'static,
        client: IpAddr,
        name: &str,
        proof: &LoginProof,
        until: Instant,
    ) -> LoginVerdict<T> {
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
        // The semaphores are never closed.
        let _turn = if tried.known { None } else { self.strangers.acquire().await.ok() };
        let _check = self.checks.acquire().await.ok();
        let (name, proof) = (name.to_owned(), proof.clone());
        let check = tokio::task::spawn_blocking(move || verify(client, &name, &proof));
        let verdict = check.await.unwrap_or(LoginVerdict::Wrong);
        if matches!(verdict, LoginVerdict::Right(_) | LoginVerdict::Barred(_)) {
            self.guesses().right(tried, Instant::now());
            self.returned.notify_waiters();
        }
        verdict
    }

    fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::users::{HashKind, hash_password};
    use crate::secret::Secret;

    fn proof(password: &str) -> LoginProof {
        LoginProof::Password(Secret::new(password.to_owned()))
    }

    /// Many connections of one client log in at the same time: only wrong passwords are limited and delayed.
    #[tokio::test]
    async fn right_passwords_wait_for_nobody() {
        let users =
            Arc::new(Users::parse(&format!("joe:{}\n", hash_password("secret", HashKind::Argon2id).unwrap())).unwrap());
        let gate = Arc::new(LoginGate::default());
        let all = |password: &'static str, count| {
            let (gate, users) = (gate.clone(), users.clone());
            async move {
                let mut together = tokio::task::JoinSet::new();
                for _ in 0..count {
                    let (gate, users) = (gate.clone(), users.clone());
                    let client = Some([192, 0, 2, 1].into());
                    together.spawn(async move {
                        gate.check(&users, client, "joe", &proof(password)).await.map(|user| user.name)
                    });
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
        let right = |_, _: &str, _: &LoginProof| LoginVerdict::Right(());
        let verdict = gate.verdict(right, [192, 0, 2, 250].into(), "eve", &proof("x"), Instant::now()).await;
        assert_eq!(verdict, LoginVerdict::TooMany);
    }
}
