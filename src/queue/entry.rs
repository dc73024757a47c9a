//! The contents of the queue: messages, recipients, their states, and the transitions between them. Pure.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use crate::blob::Blob;
use crate::fault::{Enhanced, Fault, Kind};
use crate::relay::route::RouteOverride;
use crate::smtp::envelope::{Envelope, Recipient};

/// The most recipients that one queued message may have; RFC 5321 section 4.5.3.1.8 asks for at least 100.
pub const MAX_RECIPIENTS: usize = 50_000;

/// The state of one recipient of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecipientState {
    /// Waits for its due time.
    Queued,
    /// Leased by a runner; an attempt may be under way.
    Active,
    /// Waits for the operator, without a due time.
    Held,
    /// The next server accepted it.
    Delivered,
    /// Given up; the sender was notified if required.
    Failed,
    /// Removed by the operator.
    Removed,
}

impl RecipientState {
    /// Every state, in the order of applayer-queue(5).
    pub const ALL: [RecipientState; 6] = [
        RecipientState::Queued,
        RecipientState::Active,
        RecipientState::Held,
        RecipientState::Delivered,
        RecipientState::Failed,
        RecipientState::Removed,
    ];

    /// The name in text and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            RecipientState::Queued => "queued",
            RecipientState::Active => "active",
            RecipientState::Held => "held",
            RecipientState::Delivered => "delivered",
            RecipientState::Failed => "failed",
            RecipientState::Removed => "removed",
        }
    }

    /// True if the recipient's state no longer changes; a message with only final recipients is deleted.
    pub const fn is_final(self) -> bool {
        matches!(self, RecipientState::Delivered | RecipientState::Failed | RecipientState::Removed)
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<RecipientState> {
        RecipientState::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

impl fmt::Display for RecipientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The changes that an operator can make to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The operator stops the recipient.
    Hold,
    /// The operator lets it continue.
    Release,
    /// The operator makes it due now.
    Retry,
    /// The operator removes it.
    Remove,
    /// The operator returns it to its sender.
    Bounce,
}

impl Transition {
    /// Every transition, in the order of applayer-queue(5).
    pub const ALL: [Transition; 5] =
        [Transition::Hold, Transition::Release, Transition::Retry, Transition::Remove, Transition::Bounce];

    /// The name in the manual, the states it starts from, and the state it leads to.
    pub const fn row(self) -> (&'static str, &'static [RecipientState], RecipientState) {
        use RecipientState::{Active, Failed, Held, Queued, Removed};
        match self {
            Transition::Hold => ("hold", &[Queued, Active], Held),
            Transition::Release => ("release", &[Held], Queued),
            Transition::Retry => ("retry", &[Queued, Held], Queued),
            Transition::Remove => ("remove", &[Queued, Active, Held], Removed),
            Transition::Bounce => ("bounce", &[Queued, Active, Held], Failed),
        }
    }

    /// True if a recipient in `state` can take this transition.
    pub fn allowed(self, state: RecipientState) -> bool {
        self.row().1.contains(&state)
    }

    /// The resulting state.
    pub const fn to(self) -> RecipientState {
        self.row().2
    }
}

/// A point in time: milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time(pub i64);

impl Time {
    /// This time plus `wait`.
    #[must_use]
    pub fn plus(self, wait: std::time::Duration) -> Time {
        Time(self.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time since `earlier`; zero if the clock went backwards.
    pub fn since(self, earlier: Time) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0.div_euclid(1000)) {
            Ok(stamp) => write!(f, "{stamp}"),
            Err(_) => f.write_str("never"),
        }
    }
}

/// The id of a queued message: unique forever, and ordered by time of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub i64);

impl QueueId {
    /// The first id of this microsecond since 1970; its ten low bits are random.
    pub const fn at_micros(micros: i64) -> QueueId {
        QueueId(micros << 10)
    }

    /// The time when it was assigned.
    pub const fn time(self) -> Time {
        Time((self.0 >> 10) / 1000)
    }
}

/// Digits of a queue id: lower-case base 32 without i, l, o and u, so that ids sort as text and read aloud well.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Length of a queue id as text: 13 digits of 5 bits hold 63 bits.
const ID_LENGTH: usize = 13;

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u64::try_from(self.0).unwrap_or(0);
        for place in (0..ID_LENGTH).rev() {
            let digit = usize::try_from((value >> (5 * place)) & 31).unwrap_or(0);
            write!(f, "{}", char::from(DIGITS.get(digit).copied().unwrap_or(b'0')))?;
        }
        Ok(())
    }
}

impl FromStr for QueueId {
    type Err = Fault;

    fn from_str(text: &str) -> Result<QueueId, Fault> {
        let bad = || Fault::new(Kind::Usage, format!("{text:?} is not a queue id (13 digits and letters)"));
        if text.len() != ID_LENGTH {
            return Err(bad());
        }
        let mut value: u64 = 0;
        for byte in text.bytes() {
            let digit = memchr::memchr(byte.to_ascii_lowercase(), DIGITS).ok_or_else(bad)?;
            value = value.checked_mul(32).and_then(|value| value.checked_add(digit as u64)).ok_or_else(bad)?;
        }
        i64::try_from(value).map(QueueId).map_err(|_| bad())
    }
}

/// A message to be queued.
#[derive(Debug)]
pub struct NewMessage {
    /// Sender and recipients: at least one recipient, at most [`MAX_RECIPIENTS`].
    pub envelope: Envelope,
    /// Queued as held: waits for `mailq-edit release`.
    pub hold: bool,
    /// The next hop of all its recipients, before every other rule.
    pub route: Option<RouteOverride>,
    /// The message with CRLF line ends, not dot-stuffed.
    pub body: Blob,
}

impl NewMessage {
    /// A message that is not held. A recipient named twice, in any spelling and with the same wishes, is kept once.
    pub fn new(mut envelope: Envelope, body: Blob) -> NewMessage {
        let mut seen = HashSet::new();
        envelope.recipients.retain(|it| seen.insert((it.address.comparison_key(), it.notify, it.orcpt.clone())));
        NewMessage { envelope, hold: false, route: None, body }
    }

    /// Checks the number of recipients: neither zero nor above the limit.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an invalid number of recipients.
    pub fn check(&self) -> Result<(), Fault> {
        match self.envelope.recipients.len() {
            1..=MAX_RECIPIENTS => Ok(()),
            count => {
                let detail = format!("{count} recipients; between 1 and {MAX_RECIPIENTS} are allowed");
                Err(Fault::new(Kind::Usage, detail))
            }
        }
    }
}

/// One recipient in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedRecipient {
    /// Its index in the message, from 0.
    pub n: u32,
    /// Its address and its requests for notices.
    pub to: Recipient,
    /// The next hop that overrides every other rule.
    pub route: Option<RouteOverride>,
    /// Its state.
    pub state: RecipientState,
    /// The due time (queued only).
    pub due: Time,
    /// The number of attempts begun.
    pub attempts: u32,
    /// An attempt ended without an answer: the next server may already have the message.
    pub possible_duplicate: bool,
    /// The sender was warned about the delay.
    pub warned: bool,
    /// The last result that was not a delivery.
    pub last: Option<AttemptResult>,
}

/// One message in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueEntry {
    /// Its id.
    pub id: QueueId,
    /// The time when it was accepted.
    pub created: Time,
    /// Size of the message in bytes.
    pub size_bytes: u64,
    /// Its envelope with all recipients in order, or those that match the filter.
    pub envelope: Envelope<QueuedRecipient>,
}

/// The result of one attempt for one recipient, as stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptResult {
    /// The time when it ended.
    pub at: Time,
    /// The server's name, if one was chosen.
    pub host: Option<String>,
    /// The server's address, if there was a connection.
    pub ip: Option<String>,
    /// The kind of the error; absent after a delivery.
    pub kind: Option<Kind>,
    /// The reply code.
    pub code: Option<u16>,
    /// The enhanced status code.
    pub enhanced: Option<Enhanced>,
    /// The reply, or another explanation of the result.
    pub reply: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_and_sort() {
        for value in [0, 1, 31, 32, 1 << 40, i64::MAX] {
            let text = QueueId(value).to_string();
            assert_eq!(text.len(), ID_LENGTH);
            assert_eq!(text.parse::<QueueId>().unwrap(), QueueId(value));
            assert_eq!(text.to_uppercase().parse::<QueueId>().unwrap(), QueueId(value));
        }
        assert!(QueueId(5).to_string() < QueueId(6).to_string());
        assert!(QueueId((1 << 40) - 1).to_string() < QueueId(1 << 40).to_string());
        for bad in ["", "0", "000000000000u", "zzzzzzzzzzzzz", "00000000000000", "000000000000é"] {
            assert!(bad.parse::<QueueId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_transition_leaves_a_final_state() {
        for state in RecipientState::ALL {
            assert_eq!(RecipientState::from_name(state.as_str()), Some(state));
            let leaves = Transition::ALL.iter().any(|transition| transition.allowed(state));
            assert_eq!(leaves, !state.is_final(), "{state}");
        }
    }

    #[test]
    fn recipients_are_counted() {
        for (count, good) in [(0, false), (1, true), (MAX_RECIPIENTS, true), (MAX_RECIPIENTS + 1, false)] {
            let named = (0..count).map(|n| Recipient::new(format!("a{n}@b"))).collect();
            let checked = NewMessage::new(Envelope::new("", named), Blob::memory(Vec::new())).check();
            assert_eq!(checked.is_ok(), good, "{count}");
        }
        let spelled = ["a@[IPv6:::1]", "a@[ipv6:0:0:0:0:0:0:0:1]", "\"a\"@[IPv6:::1]", "A@[IPv6:::1]"];
        let once = NewMessage::new(Envelope::new("", spelled.map(Recipient::new).into()), Blob::memory(Vec::new()));
        let kept: Vec<&str> = once.envelope.recipients.iter().map(|it| it.address.as_str()).collect();
        assert_eq!(kept, [spelled[0], spelled[3]], "as the first was written");
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(Time(1_764_000_000_999).to_string(), "2025-11-24T16:00:00Z");
        assert_eq!(Time(5).since(Time(10)), std::time::Duration::ZERO);
        assert_eq!(Time(i64::MAX).plus(std::time::Duration::MAX), Time(i64::MAX));
    }
}
