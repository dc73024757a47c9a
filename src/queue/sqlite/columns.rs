//! Columns of the tables that are read and written: flags, states, attempts.

use rusqlite::Row;

use crate::queue::entry::{AttemptResult, RecipientState, Time};

/// Bits of `message.flags`.
pub(super) const SMTPUTF8: i64 = 1;
pub(super) const EIGHT_BIT: i64 = 2;
/// Bits of `recipient.flags`.
pub(super) const POSSIBLE_DUPLICATE: i64 = 1;
pub(super) const WARNED: i64 = 2;

/// The number of a state in the tables; the partial indexes know 0 and 1.
pub(super) const fn number(state: RecipientState) -> i64 {
    match state {
        RecipientState::Queued => 0,
        RecipientState::Active => 1,
        RecipientState::Held => 2,
        RecipientState::Delivered => 3,
        RecipientState::Failed => 4,
        RecipientState::Removed => 5,
    }
}

pub(super) fn state(number: i64) -> RecipientState {
    RecipientState::ALL.into_iter().find(|state| self::number(*state) == number).unwrap_or(RecipientState::Held)
}

/// The attempt in these seven columns, if there is one.
pub(super) fn attempt(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<AttemptResult>> {
    let Some(at) = row.get::<_, Option<i64>>(first)? else { return Ok(None) };
    Ok(Some(AttemptResult {
        at: Time(at),
        host: row.get(first + 1)?,
        ip: row.get(first + 2)?,
        kind: row.get_ref(first + 3)?.as_str_or_null()?.and_then(crate::fault::Kind::from_name),
        code: row.get(first + 4)?,
        enhanced: row.get_ref(first + 5)?.as_str_or_null()?.and_then(crate::fault::Enhanced::parse),
        reply: row.get::<_, Option<String>>(first + 6)?.unwrap_or_default(),
    }))
}
