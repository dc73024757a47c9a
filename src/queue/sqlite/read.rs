//! What the queue is asked: listings, counts, destinations, one message.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use crate::queue::entry::{Attempt, Entry, EntryRecipient, QueueId, State, Time};
use crate::queue::spool::{Body, BodyFile};
use crate::queue::sqlite::write::{self, EIGHT_BIT, POSSIBLE_DUPLICATE, SMTPUTF8, WARNED};
use crate::queue::store::{AGES, Counts, Destination, DomainAges, Filter, MAX_BATCH};

/// A filter as a condition on `message m` and `recipient r`, with its values by name.
#[derive(Default)]
pub(super) struct Where {
    /// The condition; empty when there is none.
    pub(super) text: String,
    values: Vec<(String, Box<dyn ToSql>)>,
}

impl Where {
    /// Adds the filter's fields.
    pub(super) fn add(&mut self, filter: &Filter) {
        self.any("r.message", filter.ids.iter().map(|id| id.0));
        self.any("lower(m.sender)", filter.senders.iter().map(|text| text.to_lowercase()));
        self.any("lower(r.address)", filter.recipients.iter().map(|text| text.to_lowercase()));
        self.any("r.domain", filter.domains.iter().map(|text| text.to_lowercase()));
        self.any("r.state", filter.states.iter().map(|state| write::number(*state)));
        if let Some(reason) = &filter.reason {
            let name = self.bind(reason.to_lowercase());
            self.and(&format!("instr(lower(r.last_reply), {name}) > 0"));
        }
        if let Some(time) = filter.created_until {
            let name = self.bind(time.0);
            self.and(&format!("m.created <= {name}"));
        }
        if let Some(time) = filter.created_from {
            let name = self.bind(time.0);
            self.and(&format!("m.created >= {name}"));
        }
    }

    /// The values, for the statement that holds the text.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, &dyn ToSql)> {
        self.values.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    fn any<T: ToSql + 'static>(&mut self, column: &str, values: impl Iterator<Item = T>) {
        let names: Vec<String> = values.map(|value| self.bind(value)).collect();
        if !names.is_empty() {
            self.and(&format!("{column} IN ({})", names.join(",")));
        }
    }

    fn bind<T: ToSql + 'static>(&mut self, value: T) -> String {
        let name = format!(":f{}", self.values.len());
        self.values.push((name.clone(), Box::new(value)));
        name
    }

    pub(super) fn and(&mut self, condition: &str) {
        if !self.text.is_empty() {
            self.text.push_str(" AND ");
        }
        self.text.push_str(condition);
    }

    /// ` WHERE …`, or nothing.
    fn clause(&self) -> String {
        if self.text.is_empty() { String::new() } else { format!(" WHERE {}", self.text) }
    }
}

/// Destinations with something queued, by skipping from one name to the next in the index.
pub(super) fn destinations(
    db: &Connection,
    after: Option<&str>,
    wanted: &Filter,
) -> rusqlite::Result<Vec<Destination>> {
    let mut next = db.prepare_cached(
        "SELECT domain, due FROM recipient INDEXED BY recipient_due
         WHERE state = 0 AND domain > ? ORDER BY domain, due LIMIT 1",
    )?;
    let mut first = db.prepare_cached(
        "SELECT domain, due FROM recipient INDEXED BY recipient_due WHERE state = 0 ORDER BY domain, due LIMIT 1",
    )?;
    let destination = |row: &Row<'_>| Ok(Destination { domain: row.get(0)?, due: Time(row.get(1)?) });
    let mut found: Vec<Destination> = Vec::new();
    let mut looked = 0;
    let mut last = after.map(str::to_owned);
    while looked < MAX_BATCH {
        let row = match &last {
            Some(last) => next.query_row([last], destination).optional()?,
            None => first.query_row([], destination).optional()?,
        };
        let Some(row) = row else { break };
        last = Some(row.domain.clone());
        if wanted.domains.is_empty() || wanted.domains.iter().any(|domain| domain.eq_ignore_ascii_case(&row.domain)) {
            looked += 1;
            found.push(row);
        }
    }
    Ok(found)
}

/// The tables in the order in which the filter is best answered: by message when the message itself is asked for, else by
/// recipient, so that only what fits is looked up in the other table. Both go in the order of arrival.
fn tables(filter: &Filter) -> &'static str {
    let by_message = !filter.senders.is_empty() || filter.created_from.is_some() || filter.created_until.is_some();
    match by_message && filter.ids.is_empty() {
        true => "message m CROSS JOIN recipient r ON r.message = m.id",
        false => "recipient r CROSS JOIN message m ON m.id = r.message",
    }
}

const COLUMNS: &str = "m.id, m.created, m.sender, m.size, m.ret, m.envid, m.flags, \
    r.n, r.address, r.notify, r.orcpt, r.route, r.state, r.due, r.attempts, r.flags, \
    r.last_at, r.last_host, r.last_ip, r.last_kind, r.last_code, r.last_enhanced, r.last_reply";

/// Messages in the order of arrival.
pub(super) fn list(
    db: &Connection,
    wanted: &Filter,
    after: Option<QueueId>,
    limit: usize,
) -> rusqlite::Result<Vec<Entry>> {
    let mut filter = Where::default();
    filter.add(wanted);
    filter.and("r.message > :after AND m.id > :after");
    let statement = format!("SELECT {COLUMNS} FROM {}{} ORDER BY r.message, r.n", tables(wanted), filter.clause());
    let mut statement = db.prepare_cached(&statement)?;
    let from = after.map_or(i64::MIN, |id| id.0);
    let mut values: Vec<(&str, &dyn ToSql)> = filter.values().collect();
    values.push((":after", &from));
    let mut rows = statement.query(&values[..])?;
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(row) = rows.next()? {
        let id = QueueId(row.get(0)?);
        if entries.last().is_none_or(|entry| entry.id != id) {
            if entries.len() >= limit {
                break;
            }
            entries.push(entry(row, id)?);
        }
        if let Some(entry) = entries.last_mut() {
            entry.recipients.push(recipient(row)?);
        }
    }
    Ok(entries)
}

fn entry(row: &Row<'_>, id: QueueId) -> rusqlite::Result<Entry> {
    let flags: i64 = row.get(6)?;
    Ok(Entry {
        id,
        created: Time(row.get(1)?),
        sender: row.get(2)?,
        size_bytes: row.get::<_, i64>(3)? as u64,
        ret: row.get(4)?,
        envid: row.get(5)?,
        smtputf8: flags & SMTPUTF8 != 0,
        eight_bit: flags & EIGHT_BIT != 0,
        recipients: Vec::new(),
    })
}

fn recipient(row: &Row<'_>) -> rusqlite::Result<EntryRecipient> {
    let flags: i64 = row.get(15)?;
    Ok(EntryRecipient {
        n: row.get(7)?,
        address: row.get(8)?,
        notify: row.get(9)?,
        orcpt: row.get(10)?,
        route: row.get(11)?,
        state: write::state(row.get(12)?),
        due: Time(row.get(13)?),
        attempts: row.get(14)?,
        possible_duplicate: flags & POSSIBLE_DUPLICATE != 0,
        warned: flags & WARNED != 0,
        last: write::attempt(row, 16)?,
    })
}

/// The recipients that an edit means.
pub(super) fn selected(db: &Connection, wanted: &Filter) -> rusqlite::Result<Vec<(QueueId, u32, State)>> {
    let mut filter = Where::default();
    filter.add(wanted);
    let statement =
        format!("SELECT m.id, r.n, r.state FROM {}{} ORDER BY r.message, r.n", tables(wanted), filter.clause());
    let mut statement = db.prepare_cached(&statement)?;
    let values: Vec<(&str, &dyn ToSql)> = filter.values().collect();
    statement
        .query_map(&values[..], |row| Ok((QueueId(row.get(0)?), row.get(1)?, write::state(row.get(2)?))))?
        .collect()
}

/// Counts by domain and age.
pub(super) fn summary(db: &Connection, wanted: &Filter, now: Time) -> rusqlite::Result<Vec<DomainAges>> {
    let mut filter = Where::default();
    filter.add(wanted);
    filter.and("r.state < 3");
    let statement = format!("SELECT r.domain, m.created FROM {}{}", tables(wanted), filter.clause());
    let mut statement = db.prepare_cached(&statement)?;
    let values: Vec<(&str, &dyn ToSql)> = filter.values().collect();
    let mut rows = statement.query(&values[..])?;
    let mut domains: HashMap<String, DomainAges> = HashMap::new();
    while let Some(row) = rows.next()? {
        let domain = row.get_ref(0)?.as_str()?;
        let minutes = now.since(Time(row.get(1)?)).as_secs() / 60;
        let class = AGES.iter().position(|bound| minutes < *bound).unwrap_or(AGES.len());
        if !domains.contains_key(domain) {
            domains.insert(domain.to_owned(), DomainAges { domain: domain.to_owned(), ..DomainAges::default() });
        }
        if let Some(ages) = domains.get_mut(domain) {
            ages.recipients += 1;
            if let Some(count) = ages.ages.get_mut(class) {
                *count += 1;
            }
        }
    }
    let mut domains: Vec<DomainAges> = domains.into_values().collect();
    domains.sort_by(|one, other| other.recipients.cmp(&one.recipients).then_with(|| one.domain.cmp(&other.domain)));
    Ok(domains)
}

/// Counts everything, each table once.
fn count_all(db: &Connection) -> rusqlite::Result<Counts> {
    let mut counts = Counts::default();
    let (messages, size): (i64, i64) =
        db.query_row("SELECT count(*), coalesce(sum(size), 0) FROM message", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let one = |statement: &str| db.query_row(statement, [], |row| row.get::<_, i64>(0));
    counts.messages = messages as u64;
    counts.size_bytes = size as u64;
    counts.queued = one("SELECT count(*) FROM recipient INDEXED BY recipient_due WHERE state = 0")? as u64;
    counts.active = one("SELECT count(*) FROM recipient INDEXED BY recipient_owner WHERE state = 1")? as u64;
    counts.held = one("SELECT count(*) FROM recipient WHERE state = 2")? as u64;
    Ok(counts)
}

/// Counts messages, recipients by state, and bytes.
pub(super) fn count(db: &Connection, wanted: &Filter) -> rusqlite::Result<Counts> {
    if wanted.is_empty() {
        return count_all(db);
    }
    let mut filter = Where::default();
    filter.add(wanted);
    let statement =
        format!("SELECT r.message, m.size, r.state FROM {}{} ORDER BY r.message", tables(wanted), filter.clause());
    let mut statement = db.prepare_cached(&statement)?;
    let values: Vec<(&str, &dyn ToSql)> = filter.values().collect();
    let mut rows = statement.query(&values[..])?;
    let mut counts = Counts::default();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if last != Some(id) {
            last = Some(id);
            counts.messages += 1;
            counts.size_bytes += row.get::<_, i64>(1)? as u64;
        }
        match write::state(row.get(2)?) {
            State::Queued => counts.queued += 1,
            State::Active => counts.active += 1,
            State::Held => counts.held += 1,
            State::Delivered | State::Failed | State::Removed => {}
        }
    }
    Ok(counts)
}

/// A message's bytes.
pub(super) fn content(db: &Connection, bodies: &Path, id: QueueId) -> rusqlite::Result<Option<Body>> {
    db.prepare_cached("SELECT size, file, bytes FROM message LEFT JOIN body USING (id) WHERE id = ?")?
        .query_row([id.0], |row| body(bodies, row.get(0)?, row.get(1)?, row.get_ref(2)?))
        .optional()
}

/// A body from its columns.
pub(super) fn body(folder: &Path, size: i64, file: Option<String>, bytes: ValueRef<'_>) -> rusqlite::Result<Body> {
    Ok(match file {
        Some(name) => Body::File(Arc::new(BodyFile::stored(folder.join(name), size as u64))),
        None => Body::Bytes(bytes.as_blob_or_null()?.unwrap_or_default().into()),
    })
}

/// Attempts that did not deliver.
pub(super) fn history(db: &Connection, id: QueueId) -> rusqlite::Result<Vec<(u32, Attempt)>> {
    let mut select = db.prepare_cached(
        "SELECT n, at, host, ip, kind, code, enhanced, reply FROM attempt WHERE message = ? ORDER BY at, n, number",
    )?;
    let rows = select.query_map(params![id.0], |row| Ok((row.get(0)?, write::attempt(row, 1)?)))?;
    rows.filter_map(|row| row.map(|(n, attempt)| attempt.map(|attempt| (n, attempt))).transpose()).collect()
}
