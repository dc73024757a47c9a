//! The writer's changes: each function is part of one transaction.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, named_params, params};

use crate::fault::Kind;
use crate::fnv::fnv1a;
use crate::queue::entry::{AttemptResult, NewMessage, QueueId, RecipientState, Time};
use crate::queue::sqlite::columns::{self, EIGHT_BIT, POSSIBLE_DUPLICATE, SMTPUTF8, WARNED, number};
use crate::queue::sqlite::{BODIES, StoreShared, now, owner, read};
use crate::queue::store::{
    Claim, Claimed, DamagedEntry, DeliveryBatch, Edited, Filter, Lease, LeaseOutcome, LeasedRecipient, QueueEdit,
    SettledLease, Settlement,
};
use crate::smtp::address::ReversePath;
use crate::smtp::envelope::Recipient;

/// The number of shards of senders.
const SENDER_SHARDS: u64 = 64;
/// The number of tries for a free key, each one higher.
const MAX_KEY_TRIES: u32 = 100;
/// The number of owner deaths after which a recipient waits before its next attempt: a message that kills its runner must
/// not stop the others.
const FREE_DEATHS: i64 = 2;
/// The wait for each further death, in milliseconds.
const DEATH_WAIT: i64 = 300_000;

/// The step back, in milliseconds, from which the clock counts as set back.
const CLOCK_STEP: i64 = 600_000;
/// The longest wait of any schedule, in milliseconds.
const MAX_WAIT: i64 = 2 * 3_600_000;

/// Writes the messages. Bodies in files are already synced; their names are made durable here, before the rows.
pub(super) fn enqueue(
    db: &Connection,
    shared: &StoreShared,
    messages: &[NewMessage],
) -> rusqlite::Result<Vec<QueueId>> {
    if messages.iter().any(|message| message.body.path().is_some()) {
        File::open(shared.dir.join(BODIES)).and_then(|folder| folder.sync_all()).map_err(foreign)?;
    }
    let at = now();
    messages.iter().map(|message| insert(db, shared, message, at)).collect()
}

/// Wraps an error from outside SQLite, for a function that returns SQLite's errors.
fn foreign(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

fn insert(db: &Connection, shared: &StoreShared, message: &NewMessage, at: Time) -> rusqlite::Result<QueueId> {
    let envelope = &message.envelope;
    let flags = if envelope.smtputf8 { SMTPUTF8 } else { 0 } | if envelope.eight_bit { EIGHT_BIT } else { 0 };
    // From here on only the collector may remove its file: a failed commit may still return from the log.
    message.body.keep();
    let file = message.body.path().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let mut insert = db.prepare_cached(
        "INSERT OR IGNORE INTO message (id, created, sender, size, flags, ret, envid, file, open) VALUES (?,?,?,?,?,?,?,?,?)",
    )?;
    let mut tries = 0;
    let id = loop {
        let id = shared.next_id();
        let (size, open) = (message.body.size_bytes() as i64, envelope.recipients.len() as i64);
        let (sender, ret, envid) = (&envelope.sender, envelope.ret, &envelope.envid);
        if insert.execute(params![id.0, at.0, sender, size, flags, ret, envid, file, open])? == 1 {
            break id;
        }
        tries += 1;
        if tries == MAX_KEY_TRIES {
            return Err(rusqlite::Error::StatementChangedRows(0));
        }
    };
    if let Some(bytes) = message.body.in_memory() {
        db.prepare_cached("INSERT INTO body (id, bytes) VALUES (?,?)")?.execute(params![id.0, bytes])?;
    }
    let state = if message.hold { RecipientState::Held } else { RecipientState::Queued };
    let mut insert = db.prepare_cached(
        "INSERT INTO recipient (message, n, state, domain, lane, due, attempts, owner, generation, flags, address, notify,
           orcpt, route)
         VALUES (?,?,?,?,?,?,0,0,0,0,?,?,?,?)",
    )?;
    let shard = shard(&envelope.sender);
    for (n, recipient) in (0_i64..).zip(&envelope.recipients) {
        insert.execute(params![
            id.0,
            n,
            number(state),
            recipient.address.destination(),
            shard,
            at.0,
            recipient.address,
            recipient.notify,
            recipient.orcpt,
            message.route
        ])?;
    }
    Ok(id)
}

/// The shard of a sender, one of [`SENDER_SHARDS`]. A sender that puts the recipient into its own address after `+` or `=`
/// (VERP) is still one sender.
fn shard(sender: &ReversePath) -> i64 {
    let (local, domain) = sender.address().map_or(("", ""), |it| (it.local_wire(), it.domain().unwrap_or_default()));
    let local = local.split(['+', '=']).next().unwrap_or_default();
    // Case does not distinguish senders.
    let bytes = local.bytes().chain(domain.bytes()).map(|byte| byte.to_ascii_lowercase());
    ((fnv1a(bytes) >> 32) % SENDER_SHARDS) as i64
}

/// Leases the due recipients of one destination.
pub(super) fn claim(db: &Connection, shared: &StoreShared, owner: u64, claim: &Claim) -> rusqlite::Result<Claimed> {
    let mut lease = db.prepare_cached(
        "UPDATE recipient SET state = 1, owner = ?, generation = generation + 1, attempts = attempts + 1
         WHERE message = ? AND n = ? RETURNING generation, attempts, flags, address, notify, orcpt, route",
    )?;
    let mut claimed = Claimed::default();
    for (message, n) in due(db, shared, claim)? {
        let leased = lease.query_row(params![owner as i64, message, n], |row| {
            let flags: i64 = row.get(2)?;
            Ok(LeasedRecipient {
                lease: Lease { message: QueueId(message), n, owner, generation: row.get::<_, i64>(0)? as u64 },
                attempts: row.get(1)?,
                possible_duplicate: flags & POSSIBLE_DUPLICATE != 0,
                warned: flags & WARNED != 0,
                to: Recipient { address: row.get(3)?, notify: row.get(4)?, orcpt: row.get(5)? },
                route: row.get(6)?,
            })
        });
        let added = leased.and_then(|recipient| match claimed.batches.last_mut() {
            Some(batch) if batch.id == recipient.lease.message => {
                batch.envelope.recipients.push(recipient);
                Ok(())
            }
            _ => batch(db, shared, &claim.domain, recipient).map(|batch| claimed.batches.push(batch)),
        });
        if let Err(what) = columns::undamaged(added)? {
            // It cannot be sent, and would only be in the way if retried.
            let damaged = DamagedEntry::new(QueueId(message), Some(n), &what);
            let (kind, reply) = (Some(Kind::BadData), damaged.fault.detail.clone());
            note(db, message, n, &AttemptResult { at: claim.now, kind, reply, ..AttemptResult::default() })?;
            move_to(db, message, n, RecipientState::Held)?;
            claimed.damaged.push(damaged);
        }
    }
    Ok(claimed)
}

/// The recipients of a claim: an equal share from each shard with due recipients, then the rest from shards that have more.
/// Ordered by message and recipient.
fn due(db: &Connection, shared: &StoreShared, claim: &Claim) -> rusqlite::Result<Vec<(i64, u32)>> {
    let mut shards: Vec<i64> = read::shards(db, &claim.domain, -1)?
        .into_iter()
        .filter(|(_, due)| *due <= claim.due_until)
        .map(|(shard, _)| shard)
        .collect();
    if shards.is_empty() {
        return Ok(Vec::new());
    }
    // If there are more shards than the claim's limit, each claim begins with another shard.
    let turn = shared.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % shards.len();
    shards.rotate_left(turn);
    let mut filter = read::FilterClause::default();
    filter.add(&claim.wanted);
    filter.add_reason(&claim.wanted);
    let narrow = if claim.wanted.is_empty() {
        String::new()
    } else {
        format!(" AND EXISTS (SELECT 1 FROM message m WHERE m.id = r.message AND {})", filter.text)
    };
    let statement = format!(
        "SELECT message, n FROM recipient r INDEXED BY recipient_due
         WHERE state = 0 AND domain = :domain AND lane = :lane AND due <= :due{narrow} ORDER BY due LIMIT :limit OFFSET :offset"
    );
    let mut statement = db.prepare_cached(&statement)?;
    let mut select = |shard: i64, limit: usize, offset: usize| -> rusqlite::Result<Vec<(i64, u32)>> {
        let (limit, offset) = (limit as i64, offset as i64);
        let mut values: Vec<(&str, &dyn rusqlite::ToSql)> = vec![
            (":domain", &claim.domain),
            (":lane", &shard),
            (":due", &claim.due_until.0),
            (":limit", &limit),
            (":offset", &offset),
        ];
        values.extend(filter.values());
        statement.query_map(&values[..], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let share = claim.limit.div_ceil(shards.len());
    let mut found = Vec::new();
    let mut more = Vec::new();
    for shard in shards {
        let share = share.min(claim.limit - found.len());
        let part = select(shard, share, 0)?;
        if part.len() == share {
            more.push((shard, share));
        }
        found.extend(part);
    }
    for (shard, taken) in more {
        let left = claim.limit - found.len();
        if left == 0 {
            break;
        }
        found.extend(select(shard, left, taken)?);
    }
    found.sort_unstable();
    Ok(found)
}

fn batch(
    db: &Connection,
    shared: &StoreShared,
    domain: &str,
    first: LeasedRecipient,
) -> rusqlite::Result<DeliveryBatch> {
    let id = first.lease.message;
    let mut select = db.prepare_cached(
        "SELECT created, size, file, bytes, sender, flags, ret, envid FROM message LEFT JOIN body USING (id) WHERE id = ?",
    )?;
    select.query_row([id.0], |row| {
        Ok(DeliveryBatch {
            id,
            created: Time(row.get(0)?),
            domain: domain.to_owned(),
            envelope: columns::envelope(row, 4, vec![first])?,
            body: read::body(&shared.dir.join(BODIES), row.get(1)?, row.get(2)?, row.get_ref(3)?)?,
        })
    })
}

/// True while the lease is the current one.
pub(super) fn holds(db: &Connection, lease: &Lease) -> rusqlite::Result<bool> {
    let found = db
        .prepare_cached(
            "SELECT 1 FROM recipient WHERE message = ? AND n = ? AND state = 1 AND owner = ? AND generation = ?",
        )?
        .query_row(params![lease.message.0, lease.n, lease.owner as i64, lease.generation as i64], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

/// True if the operator took the recipient from this lease and no runner has leased it since: a delivery that was complete
/// by then ends it, so that no second copy is sent.
fn untouched_since(db: &Connection, lease: &Lease) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM recipient WHERE message = ? AND n = ? AND state IN (0, 2) AND generation = ?")?
        .exists(params![lease.message.0, lease.n, lease.generation as i64])
}

/// The result of a batch of settlements.
pub(super) struct SettledBatch {
    /// True for each settlement that was done.
    pub(super) done: Vec<bool>,
    /// Names of bodies without rows.
    pub(super) files: Vec<String>,
}

/// Ends leases. A settlement with a lost lease changes nothing.
pub(super) fn settle(
    db: &Connection,
    shared: &StoreShared,
    settlements: &[Settlement],
) -> rusqlite::Result<SettledBatch> {
    let mut settled = SettledBatch { done: Vec::with_capacity(settlements.len()), files: Vec::new() };
    for settlement in settlements {
        let mut held = true;
        for SettledLease { lease, outcome } in &settlement.leases {
            held &= holds(db, lease)? || (matches!(outcome, LeaseOutcome::Delivered(_)) && untouched_since(db, lease)?);
        }
        settled.done.push(held);
        if !held {
            continue;
        }
        if !settlement.reports.is_empty() {
            enqueue(db, shared, &settlement.reports)?;
        }
        for SettledLease { lease, outcome } in &settlement.leases {
            if end(db, lease, outcome)? {
                settled.files.extend(close(db, lease.message, 1)?);
            }
        }
    }
    Ok(settled)
}

/// Ends one lease; true if the recipient's state is final.
fn end(db: &Connection, lease: &Lease, outcome: &LeaseOutcome) -> rusqlite::Result<bool> {
    let (message, n) = (lease.message.0, lease.n);
    match outcome {
        LeaseOutcome::Delivered(_) => {
            move_to(db, message, n, RecipientState::Delivered)?;
            Ok(true)
        }
        LeaseOutcome::Failed(attempt) => {
            note(db, message, n, attempt)?;
            move_to(db, message, n, RecipientState::Failed)?;
            Ok(true)
        }
        LeaseOutcome::Quarantined(attempt) => {
            note(db, message, n, attempt)?;
            move_to(db, message, n, RecipientState::Held)?;
            Ok(false)
        }
        LeaseOutcome::Deferred { attempt, due, possible_duplicate, warned } => {
            note(db, message, n, attempt)?;
            let flags = if *possible_duplicate { POSSIBLE_DUPLICATE } else { 0 } | if *warned { WARNED } else { 0 };
            db.prepare_cached(
                "UPDATE recipient SET state = 0, owner = 0, due = ?, flags = ? WHERE message = ? AND n = ?",
            )?
            .execute(params![due.0, flags, message, n])?;
            Ok(false)
        }
        LeaseOutcome::Yielded => {
            db.prepare_cached(
                "UPDATE recipient SET state = 0, owner = 0, attempts = max(attempts - 1, 0) WHERE message = ? AND n = ?",
            )?
            .execute(params![message, n])?;
            Ok(false)
        }
    }
}

fn move_to(db: &Connection, message: i64, n: u32, to: RecipientState) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE recipient SET state = ?, owner = 0 WHERE message = ? AND n = ?")?.execute(params![
        number(to),
        message,
        n
    ])?;
    Ok(())
}

/// Stores an attempt: the last one with the recipient, each in the history.
fn note(db: &Connection, message: i64, n: u32, attempt: &AttemptResult) -> rusqlite::Result<()> {
    let values = named_params! {
        ":message": message,
        ":n": n,
        ":at": attempt.at.0,
        ":host": attempt.host,
        ":ip": attempt.ip,
        ":kind": attempt.kind.map(Kind::as_str),
        ":code": attempt.code,
        ":enhanced": attempt.enhanced.map(|code| code.to_string()),
        ":reply": attempt.reply,
    };
    db.prepare_cached(
        "UPDATE recipient SET last_at = :at, last_host = :host, last_ip = :ip, last_kind = :kind, last_code = :code,
           last_enhanced = :enhanced, last_reply = :reply WHERE message = :message AND n = :n",
    )?
    .execute(values)?;
    db.prepare_cached(
        "INSERT OR REPLACE INTO attempt (message, n, number, at, host, ip, kind, code, enhanced, reply)
         SELECT message, n, attempts, :at, :host, :ip, :kind, :code, :enhanced, :reply FROM recipient
         WHERE message = :message AND n = :n",
    )?
    .execute(values)?;
    Ok(())
}

/// Subtracts `count` final recipients of the message; after the last one it is deleted, and the name of its file returned.
fn close(db: &Connection, message: QueueId, count: i64) -> rusqlite::Result<Option<String>> {
    let (open, file): (i64, Option<String>) = db
        .prepare_cached("UPDATE message SET open = open - ?2 WHERE id = ?1 RETURNING open, file")?
        .query_row([message.0, count], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if open > 0 {
        return Ok(None);
    }
    for statement in [
        "DELETE FROM recipient WHERE message = ?",
        "DELETE FROM body WHERE id = ?",
        "DELETE FROM attempt WHERE message = ?",
        "DELETE FROM message WHERE id = ?",
    ] {
        db.prepare_cached(statement)?.execute([message.0])?;
    }
    Ok(file)
}

/// Records that this owner's outcomes may from now on be ahead of the disk. Committed with a sync, before the first lease.
pub(super) fn begin_run(db: &Connection, owner: u64) -> rusqlite::Result<()> {
    db.execute("INSERT OR REPLACE INTO run (owner, boot) VALUES (?, ?)", params![owner as i64, boot()])?;
    Ok(())
}

/// Records that this owner's outcomes are on the disk: committed with a sync.
pub(super) fn end_run(db: &Connection, owner: u64) -> rusqlite::Result<()> {
    db.execute("DELETE FROM run WHERE owner = ?", [owner as i64])?;
    Ok(())
}

/// The id of this boot of the kernel; empty if there is none.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or(String::new(), |text| text.trim().to_owned())
}

/// Finds runs that a power cut ended: their last deliveries may be in the queue as if never tried.
fn after_power_cut(db: &Connection, dir: &Path) -> rusqlite::Result<()> {
    let runs = db
        .prepare_cached("SELECT owner, boot FROM run")?
        .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
    let now = boot();
    for (owner, boot) in runs {
        if !owner::is_dead(dir, owner as u64) {
            continue;
        }
        if boot != now {
            db.execute(
                "UPDATE recipient SET flags = flags | ?1 WHERE state < 2 AND flags & ?1 = 0",
                [POSSIBLE_DUPLICATE],
            )?;
        }
        end_run(db, owner as u64)?;
    }
    Ok(())
}

/// Makes far-off due times due now after the clock was set back. `at` is the current time.
pub(super) fn after_clock_step(db: &Connection, at: Time) -> rusqlite::Result<u64> {
    let seen: Option<i64> = db.prepare_cached("SELECT seen FROM clock")?.query_row([], |row| row.get(0)).optional()?;
    if seen.is_none_or(|seen| (at.0 - seen).abs() > CLOCK_STEP / 2) {
        db.execute("INSERT OR REPLACE INTO clock (id, seen) VALUES (1, ?)", [at.0])?;
    }
    if seen.is_none_or(|seen| seen - at.0 < CLOCK_STEP) {
        return Ok(0);
    }
    let moved = db.execute("UPDATE recipient SET due = ?1 WHERE state = 0 AND due > ?1 + ?2", [at.0, MAX_WAIT])?;
    Ok(moved as u64)
}

/// Queues the recipients of dead owners again, and those leased to `own` but not in `held`: leases of a failed claim or settlement.
pub(super) fn recover(db: &Connection, dir: &Path, own: Option<u64>, held: &[Lease]) -> rusqlite::Result<u64> {
    after_power_cut(db, dir)?;
    after_clock_step(db, now())?;
    let held: HashSet<&Lease> = held.iter().collect();
    let mut select = db.prepare_cached(
        "SELECT message, n, generation FROM recipient INDEXED BY recipient_owner WHERE state = 1 AND owner = ?",
    )?;
    let mut queue = db.prepare_cached(
        "UPDATE recipient SET state = 0, owner = 0, flags = flags | ?1,
           due = CASE WHEN attempts <= ?2 THEN ?3 ELSE ?3 + (attempts - ?2) * ?4 END
         WHERE message = ?5 AND n = ?6",
    )?;
    let owners = db
        .prepare_cached("SELECT DISTINCT owner FROM recipient INDEXED BY recipient_owner WHERE state = 1")?
        .query_map([], |row| row.get::<_, i64>(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut recovered = 0;
    for owner in owners {
        let is_own = own == Some(owner as u64);
        if !is_own && !owner::is_dead(dir, owner as u64) {
            continue;
        }
        let leases = select.query_map([owner], |row| {
            let generation = row.get::<_, i64>(2)? as u64;
            Ok(Lease { message: QueueId(row.get(0)?), n: row.get(1)?, owner: owner as u64, generation })
        })?;
        for lease in leases.collect::<rusqlite::Result<Vec<Lease>>>()? {
            if is_own && held.contains(&lease) {
                continue;
            }
            let (message, n) = (lease.message.0, lease.n);
            queue.execute(params![POSSIBLE_DUPLICATE, FREE_DEATHS, now().0, DEATH_WAIT, message, n])?;
            recovered += 1;
        }
    }
    Ok(recovered)
}

/// Applies an operator's change; returns the names of the removed bodies as well.
pub(super) fn edit(db: &Connection, wanted: &Filter, change: &QueueEdit) -> rusqlite::Result<(Edited, Vec<String>)> {
    let mut edited = Edited::default();
    let mut files = Vec::new();
    let transition = change.transition();
    for (message, n, state) in read::selected(db, wanted)? {
        if !transition.allowed(state) {
            if !state.is_final() {
                edited.refused.push((message, n, state));
            }
            continue;
        }
        apply(db, message, n, change)?;
        if transition.to().is_final() {
            files.extend(close(db, message, 1)?);
        }
        edited.changed.push((message, n));
    }
    Ok((edited, files))
}

/// Changes one recipient. A runner with a lease on it loses the lease, since state and owner change.
fn apply(db: &Connection, message: QueueId, n: u32, change: &QueueEdit) -> rusqlite::Result<()> {
    match change {
        QueueEdit::Hold => {
            // If it is being sent now, it may still arrive.
            db.prepare_cached("UPDATE recipient SET flags = flags | ? WHERE message = ? AND n = ? AND state = 1")?
                .execute(params![POSSIBLE_DUPLICATE, message.0, n])?;
            move_to(db, message.0, n, RecipientState::Held)
        }
        QueueEdit::Remove => move_to(db, message.0, n, RecipientState::Removed),
        QueueEdit::Release(due) | QueueEdit::Retry(due) => {
            db.prepare_cached("UPDATE recipient SET state = 0, due = ? WHERE message = ? AND n = ?")?
                .execute(params![due.0, message.0, n])?;
            Ok(())
        }
        QueueEdit::Readdress(address, due) => {
            db.prepare_cached(
                // Reports use the sender's original name of the recipient (RFC 3461, section 5.2.1).
                "UPDATE recipient SET state = 0, due = ?, address = ?, domain = ?,
                   orcpt = coalesce(orcpt, iif(length(address) = octet_length(address), 'rfc822;', 'utf-8;') || address)
                 WHERE message = ? AND n = ?",
            )?
            .execute(params![due.0, address, address.destination(), message.0, n])?;
            Ok(())
        }
        QueueEdit::Reroute(route, due) => {
            db.prepare_cached("UPDATE recipient SET state = 0, due = ?, route = ? WHERE message = ? AND n = ?")?
                .execute(params![due.0, route, message.0, n])?;
            Ok(())
        }
    }
}
