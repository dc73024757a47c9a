//! Queries: listings, counts, destinations, one message.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use crate::blob::{self, Blob};
use crate::queue::entry::{AttemptResult, QueueEntry, QueueId, QueuedRecipient, RecipientState, Time};
use crate::queue::sqlite::columns::{self, MAILBOX_KEY, POSSIBLE_DUPLICATE, WARNED, mailbox_key};
use crate::queue::store::{AGES, DamagedEntry, DomainAges, DueDestination, Filter, MAX_BATCH, QueueCounts, QueuePage};
use crate::smtp::address::canonical_domain;
use crate::smtp::envelope::Recipient;

/// A filter as a condition on `message m` and `recipient r`, with its values by name.
#[derive(Default)]
pub(super) struct FilterClause {
    /// The condition; empty if there is none.
    pub(super) text: String,
    values: Vec<(String, Box<dyn ToSql>)>,
}

impl FilterClause {
    /// Adds the filter's fields; of the reply's text only that there is a reply.
    pub(super) fn add(&mut self, filter: &Filter) {
        self.any("r.message", filter.ids.iter().map(|id| id.0));
        self.addresses("m.sender", &filter.senders);
        self.addresses("r.address", &filter.recipients);
        self.any("r.domain", filter.domains.iter().map(|text| canonical_domain(text)));
        self.any("r.state", filter.states.iter().map(|state| columns::number(*state)));
        if filter.reason.is_some() {
            self.and("r.last_reply IS NOT NULL");
        }
        if let Some(time) = filter.created_until {
            let name = self.bind(time.0);
            self.and(&format!("m.created <= {name}"));
        }
        if let Some(time) = filter.created_from {
            let name = self.bind(time.0);
            self.and(&format!("m.created >= {name}"));
        }
        if let Some(time) = filter.due_until {
            let name = self.bind(time.0);
            self.and(&format!("r.due <= {name}"));
        }
    }

    /// The values for a statement with this text.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, &dyn ToSql)> {
        self.values.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    /// Matches one of these mailboxes, in any spelling and case.
    fn addresses(&mut self, column: &str, wanted: &[String]) {
        self.any(&format!("{MAILBOX_KEY}({column})"), wanted.iter().map(|text| mailbox_key(text)));
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

    /// Adds the reply's text as well, if a limit follows and rows cannot be left out afterwards (see [`ReplyFilter`]).
    pub(super) fn add_reason(&mut self, filter: &Filter) {
        if let Some(reason) = &filter.reason {
            let name = self.bind(reason.to_ascii_lowercase());
            self.and(&format!("instr(lower(r.last_reply), {name}) > 0"));
        }
    }

    fn and(&mut self, condition: &str) {
        if !self.text.is_empty() {
            self.text.push_str(" AND ");
        }
        self.text.push_str(condition);
    }

    /// ` WHERE …`, or empty text.
    fn clause(&self) -> String {
        if self.text.is_empty() { String::new() } else { format!(" WHERE {}", self.text) }
    }
}

/// Destinations with queued recipients, by skipping in the index from one name to the next, and from shard to shard in each.
pub(super) fn destinations(
    db: &Connection,
    after: Option<&str>,
    wanted: &Filter,
) -> rusqlite::Result<Vec<DueDestination>> {
    let mut next = db.prepare_cached(
        "SELECT domain, due, lane FROM recipient INDEXED BY recipient_due
         WHERE state = 0 AND domain > ? ORDER BY domain, lane, due LIMIT 1",
    )?;
    let mut first = db.prepare_cached(
        "SELECT domain, due, lane FROM recipient INDEXED BY recipient_due WHERE state = 0 ORDER BY domain, lane, due LIMIT 1",
    )?;
    let destination = |row: &Row<'_>| {
        let shard: i64 = row.get(2)?;
        Ok((DueDestination { domain: row.get(0)?, due: Time(row.get(1)?) }, shard))
    };
    let mut found: Vec<DueDestination> = Vec::new();
    let mut last = after.map(str::to_owned);
    while found.len() < MAX_BATCH {
        let row = match &last {
            Some(last) => next.query_row([last], destination).optional()?,
            None => first.query_row([], destination).optional()?,
        };
        let Some((mut row, shard)) = row else { break };
        last = Some(row.domain.clone());
        if wanted.domains.is_empty() || wanted.domains.iter().any(|domain| canonical_domain(domain) == row.domain) {
            for (_, due) in shards(db, &row.domain, shard)? {
                row.due = row.due.min(due);
            }
            found.push(row);
        }
    }
    Ok(found)
}

/// The shards of a destination after `shard` with queued recipients, and the earliest due time of each.
pub(super) fn shards(db: &Connection, domain: &str, mut shard: i64) -> rusqlite::Result<Vec<(i64, Time)>> {
    let mut next = db.prepare_cached(
        "SELECT lane, due FROM recipient INDEXED BY recipient_due
         WHERE state = 0 AND domain = ? AND lane > ? ORDER BY lane, due LIMIT 1",
    )?;
    let mut found = Vec::new();
    while let Some((next, due)) =
        next.query_row(params![domain, shard], |row| Ok((row.get(0)?, Time(row.get(1)?)))).optional()?
    {
        shard = next;
        found.push((shard, due));
    }
    Ok(found)
}

/// The tables in the best order for the filter: by message if it has conditions on the message itself, else by recipient, so
/// that only matching rows are looked up in the other table. Both are in the order of arrival.
fn tables(filter: &Filter) -> &'static str {
    let by_message = !filter.senders.is_empty() || filter.created_from.is_some() || filter.created_until.is_some();
    match by_message && filter.ids.is_empty() {
        true => "message m CROSS JOIN recipient r ON r.message = m.id",
        false => "recipient r CROSS JOIN message m ON m.id = r.message",
    }
}

const COLUMNS: &str = "m.id, m.created, m.size, m.sender, m.flags, m.ret, m.envid, \
    r.n, r.address, r.notify, r.orcpt, r.route, r.state, r.due, r.attempts, r.flags, \
    r.last_at, r.last_host, r.last_ip, r.last_kind, r.last_code, r.last_enhanced, r.last_reply";

/// Messages in the order of arrival.
pub(super) fn list(
    db: &Connection,
    wanted: &Filter,
    after: Option<QueueId>,
    limit: usize,
) -> rusqlite::Result<QueuePage> {
    let mut filter = FilterClause::default();
    filter.add(wanted);
    filter.and("r.message > :after AND m.id > :after");
    let statement = format!("SELECT {COLUMNS} FROM {}{} ORDER BY r.message, r.n", tables(wanted), filter.clause());
    let mut statement = db.prepare_cached(&statement)?;
    let from = after.map_or(i64::MIN, |id| id.0);
    let mut values: Vec<(&str, &dyn ToSql)> = filter.values().collect();
    values.push((":after", &from));
    let mut rows = statement.query(&values[..])?;
    let mut page = QueuePage::default();
    let mut listed = 0;
    let reason = ReplyFilter::of(wanted);
    while let Some(row) = rows.next()? {
        if !reason.is_in(row.get_ref(22)?) {
            continue;
        }
        let id = QueueId(row.get(0)?);
        if page.last != Some(id) {
            if listed >= limit {
                break;
            }
            listed += 1;
            page.last = Some(id);
            match columns::undamaged(entry(row, id))? {
                Ok(entry) => page.entries.push(entry),
                Err(what) => page.damaged.push(DamagedEntry::new(id, None, &what)),
            }
        }
        // The recipients of an unreadable message are not shown.
        let Some(entry) = page.entries.last_mut().filter(|entry| entry.id == id) else { continue };
        match columns::undamaged(recipient(row))? {
            Ok(recipient) => entry.envelope.recipients.push(recipient),
            Err(what) => page.damaged.push(DamagedEntry::new(id, row.get(7).ok(), &what)),
        }
    }
    Ok(page)
}

fn entry(row: &Row<'_>, id: QueueId) -> rusqlite::Result<QueueEntry> {
    Ok(QueueEntry {
        id,
        created: Time(row.get(1)?),
        size_bytes: row.get::<_, i64>(2)? as u64,
        envelope: columns::envelope(row, 3, Vec::new())?,
    })
}

fn recipient(row: &Row<'_>) -> rusqlite::Result<QueuedRecipient> {
    let flags: i64 = row.get(15)?;
    Ok(QueuedRecipient {
        n: row.get(7)?,
        to: Recipient { address: row.get(8)?, notify: row.get(9)?, orcpt: row.get(10)? },
        route: row.get(11)?,
        state: columns::state(row.get(12)?),
        due: Time(row.get(13)?),
        attempts: row.get(14)?,
        possible_duplicate: flags & POSSIBLE_DUPLICATE != 0,
        warned: flags & WARNED != 0,
        last: columns::attempt(row, 16)?,
    })
}

/// The recipients that an edit applies to.
pub(super) fn selected(db: &Connection, wanted: &Filter) -> rusqlite::Result<Vec<(QueueId, u32, RecipientState)>> {
    let mut filter = FilterClause::default();
    filter.add(wanted);
    let statement = format!(
        "SELECT m.id, r.n, r.state, r.last_reply FROM {}{} ORDER BY r.message, r.n",
        tables(wanted),
        filter.clause()
    );
    let mut statement = db.prepare_cached(&statement)?;
    let values: Vec<(&str, &dyn ToSql)> = filter.values().collect();
    let reason = ReplyFilter::of(wanted);
    let mut rows = statement.query(&values[..])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if reason.is_in(row.get_ref(3)?) {
            found.push((QueueId(row.get(0)?), row.get(1)?, columns::state(row.get(2)?)));
        }
    }
    Ok(found)
}

/// Counts by domain and age.
pub(super) fn summary(db: &Connection, wanted: &Filter, now: Time) -> rusqlite::Result<Vec<DomainAges>> {
    let mut ages = Ages { now, domains: HashMap::new() };
    if wanted.is_empty() {
        // The indexes hold the names, and an id holds the time: no table is read except for active recipients.
        for part in
            ["recipient_due WHERE state = 0", "recipient_owner WHERE state = 1", "recipient_held WHERE state = 2"]
        {
            let statement = format!("SELECT domain, message FROM recipient INDEXED BY {part}");
            let mut statement = db.prepare_cached(&statement)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                ages.count(row.get_ref(0)?.as_str()?, QueueId(row.get(1)?).time());
            }
        }
        return Ok(ages.sorted());
    }
    let mut filter = FilterClause::default();
    filter.add(wanted);
    filter.and("r.state < 3");
    let statement = format!("SELECT r.domain, m.created, r.last_reply FROM {}{}", tables(wanted), filter.clause());
    let mut statement = db.prepare_cached(&statement)?;
    let values: Vec<(&str, &dyn ToSql)> = filter.values().collect();
    let mut rows = statement.query(&values[..])?;
    let reason = ReplyFilter::of(wanted);
    while let Some(row) = rows.next()? {
        if reason.is_in(row.get_ref(2)?) {
            ages.count(row.get_ref(0)?.as_str()?, Time(row.get(1)?));
        }
    }
    Ok(ages.sorted())
}

/// A summary under construction.
struct Ages {
    now: Time,
    domains: HashMap<String, DomainAges>,
}

impl Ages {
    fn count(&mut self, domain: &str, created: Time) {
        let minutes = self.now.since(created).as_secs() / 60;
        let class = AGES.iter().position(|bound| minutes < *bound).unwrap_or(AGES.len());
        if !self.domains.contains_key(domain) {
            let ages = DomainAges { domain: domain.to_owned(), ..DomainAges::default() };
            self.domains.insert(domain.to_owned(), ages);
        }
        if let Some(ages) = self.domains.get_mut(domain) {
            ages.recipients += 1;
            if let Some(count) = ages.ages.get_mut(class) {
                *count += 1;
            }
        }
    }

    fn sorted(self) -> Vec<DomainAges> {
        let mut domains: Vec<DomainAges> = self.domains.into_values().collect();
        domains.sort_by(|one, other| other.recipients.cmp(&one.recipients).then_with(|| one.domain.cmp(&other.domain)));
        domains
    }
}

/// The text that a reply must contain, compared without case. It is searched here, in each row's own bytes: SQLite would
/// copy each of a million replies to fold its case.
struct ReplyFilter(Option<Vec<u8>>);

impl ReplyFilter {
    fn of(filter: &Filter) -> ReplyFilter {
        ReplyFilter(filter.reason.as_ref().map(|text| text.to_ascii_lowercase().into_bytes()))
    }

    fn is_in(&self, reply: ValueRef<'_>) -> bool {
        let Some(wanted) = &self.0 else { return true };
        let Ok(Some(reply)) = reply.as_str_or_null() else { return false };
        let Some(first) = wanted.first() else { return true };
        let reply = reply.as_bytes();
        memchr::memchr2_iter(*first, first.to_ascii_uppercase(), reply)
            .any(|at| reply.get(at..at + wanted.len()).is_some_and(|part| part.eq_ignore_ascii_case(wanted)))
    }
}

/// Counts everything, reading each table once.
fn count_all(db: &Connection) -> rusqlite::Result<QueueCounts> {
    let mut counts = QueueCounts::default();
    let (messages, size): (i64, i64) =
        db.query_row("SELECT count(*), coalesce(sum(size), 0) FROM message", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let one = |statement: &str| db.query_row(statement, [], |row| row.get::<_, i64>(0));
    counts.messages = messages as u64;
    counts.size_bytes = size as u64;
    counts.queued = one("SELECT count(*) FROM recipient INDEXED BY recipient_due WHERE state = 0")? as u64;
    counts.active = one("SELECT count(*) FROM recipient INDEXED BY recipient_owner WHERE state = 1")? as u64;
    counts.held = one("SELECT count(*) FROM recipient INDEXED BY recipient_held WHERE state = 2")? as u64;
    Ok(counts)
}

/// Counts messages, recipients by state, and bytes.
pub(super) fn count(db: &Connection, wanted: &Filter) -> rusqlite::Result<QueueCounts> {
    if wanted.is_empty() {
        return count_all(db);
    }
    let mut filter = FilterClause::default();
    filter.add(wanted);
    let statement = format!(
        "SELECT r.message, m.size, r.state, r.last_reply FROM {}{} ORDER BY r.message",
        tables(wanted),
        filter.clause()
    );
    let mut statement = db.prepare_cached(&statement)?;
    let values: Vec<(&str, &dyn ToSql)> = filter.values().collect();
    let mut rows = statement.query(&values[..])?;
    let mut counts = QueueCounts::default();
    let mut last = None;
    let reason = ReplyFilter::of(wanted);
    while let Some(row) = rows.next()? {
        if !reason.is_in(row.get_ref(3)?) {
            continue;
        }
        let id: i64 = row.get(0)?;
        if last != Some(id) {
            last = Some(id);
            counts.messages += 1;
            counts.size_bytes += row.get::<_, i64>(1)? as u64;
        }
        match columns::state(row.get(2)?) {
            RecipientState::Queued => counts.queued += 1,
            RecipientState::Active => counts.active += 1,
            RecipientState::Held => counts.held += 1,
            RecipientState::Delivered | RecipientState::Failed | RecipientState::Removed => {}
        }
    }
    Ok(counts)
}

/// A message's bytes.
pub(super) fn content(db: &Connection, bodies: &Path, id: QueueId) -> rusqlite::Result<Option<Blob>> {
    db.prepare_cached("SELECT size, file, bytes FROM message LEFT JOIN body USING (id) WHERE id = ?")?
        .query_row([id.0], |row| body(bodies, row.get(0)?, row.get(1)?, row.get_ref(2)?))
        .optional()
}

/// A body from its columns.
pub(super) fn body(folder: &Path, size: i64, file: Option<String>, bytes: ValueRef<'_>) -> rusqlite::Result<Blob> {
    Ok(match file {
        Some(name) => blob::file::named(folder.join(name), size as u64),
        None => Blob::memory(bytes.as_blob_or_null()?.unwrap_or_default()),
    })
}

/// Attempts without delivery.
pub(super) fn history(db: &Connection, id: QueueId) -> rusqlite::Result<Vec<(u32, AttemptResult)>> {
    let mut select = db.prepare_cached(
        "SELECT n, at, host, ip, kind, code, enhanced, reply FROM attempt WHERE message = ? ORDER BY at, n, number",
    )?;
    let rows = select.query_map(params![id.0], |row| Ok((row.get(0)?, columns::attempt(row, 1)?)))?;
    rows.filter_map(|row| row.map(|(n, attempt)| attempt.map(|attempt| (n, attempt))).transpose()).collect()
}
