//! The conversion of table columns: the envelope's types, flags, states, attempts.

use std::fmt::Display;

use rusqlite::functions::FunctionFlags;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, Row};

use crate::queue::entry::{AttemptResult, RecipientState, Time};
use crate::relay::route::RouteOverride;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::envelope::{Envelope, Envid, Notify, Orcpt, Ret};

/// The most characters shown of an unreadable value.
const MAX_SHOWN: usize = 100;

/// Bits of `message.flags`.
pub(super) const SMTPUTF8: i64 = 1;
pub(super) const EIGHT_BIT: i64 = 2;
/// Bits of `recipient.flags`.
pub(super) const POSSIBLE_DUPLICATE: i64 = 1;
pub(super) const WARNED: i64 = 2;

/// The number of a state in the tables: its index in [`RecipientState::ALL`]. The partial indexes use the first three.
pub(super) const fn number(state: RecipientState) -> i64 {
    state as i64
}

pub(super) fn state(number: i64) -> RecipientState {
    RecipientState::ALL.into_iter().find(|state| self::number(*state) == number).unwrap_or(RecipientState::Held)
}

/// The attempt from these seven columns, if there is one.
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

/// The envelope from these four columns (sender, flags, ret, envid), with these recipients.
pub(super) fn envelope<R>(row: &Row<'_>, first: usize, recipients: Vec<R>) -> rusqlite::Result<Envelope<R>> {
    let flags: i64 = row.get(first + 1)?;
    Ok(Envelope {
        sender: row.get(first)?,
        recipients,
        smtputf8: flags & SMTPUTF8 != 0,
        eight_bit: flags & EIGHT_BIT != 0,
        ret: row.get(first + 2)?,
        envid: row.get(first + 3)?,
    })
}

/// The SQL function that maps every spelling of a mailbox to one text: [`mailbox_key`].
pub(super) const MAILBOX_KEY: &str = "mailbox_key";

/// The key by which a filter compares mailboxes, without regard to case.
pub(super) fn mailbox_key(text: &str) -> String {
    Address::parse_lenient(text).map_or_else(|_| text.to_lowercase(), |it| it.comparison_key().to_lowercase())
}

/// Registers the functions with a connection.
pub(super) fn add_functions(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function(MAILBOX_KEY, 1, flags, |values| Ok(values.get_raw(0).as_str().ok().map(mailbox_key)))
}

/// A row's values; an unreadable value is the row's own fault (`Err`), any other error is the database's.
pub(super) fn undamaged<T>(row: rusqlite::Result<T>) -> rusqlite::Result<Result<T, String>> {
    match row {
        Ok(values) => Ok(Ok(values)),
        Err(Error::FromSqlConversionFailure(_, _, why)) => Ok(Err(why.to_string())),
        Err(why @ (Error::InvalidColumnType(..) | Error::IntegralValueOutOfRange(..))) => Ok(Err(why.to_string())),
        Err(error) => Err(error),
    }
}

/// A text parsed as a value of `what`.
fn parsed<T, E: Display>(
    what: &str,
    value: ValueRef<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> FromSqlResult<T> {
    let text = value.as_str()?;
    parse(text).map_err(|error| {
        let shown: String = text.chars().take(MAX_SHOWN).collect();
        FromSqlError::Other(format!("{what} {shown:?}: {error}").into())
    })
}

/// Types stored as text: the name of the type, how it is read, how it is written.
macro_rules! text_columns {
    ($($type:ty, $what:literal, $read:path, $write:ident;)*) => {$(
        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                parsed($what, value, $read)
            }
        }

        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.$write().into())
            }
        }
    )*};
}

text_columns! {
    Address, "address", Address::parse_lenient, as_str;
    ReversePath, "sender", ReversePath::parse_lenient, as_str;
    Notify, "NOTIFY", str::parse, to_string;
    Ret, "RET", str::parse, as_str;
    Envid, "ENVID", str::parse, as_str;
    Orcpt, "ORCPT", str::parse, as_str;
    RouteOverride, "route", str::parse, as_str;
}
