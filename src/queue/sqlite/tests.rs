//! Tests that the engine keeps the promises of the trait.

use std::io::{Read as _, Write as _};

use super::*;
use crate::queue::entry::RecipientState;
use crate::queue::store::{DamagedEntry, DeliveryBatch, LeaseOutcome, LeasedRecipient, RENEW_EVERY, SettledLease};
use crate::queue::submit;
use crate::relay::deliver::DeliveryProof;
use crate::smtp::data::{Content as _, MessageBlob};
use crate::smtp::envelope::{Envelope, Notify, Recipient, Ret};
use crate::smtp::transaction::Accepted;

/// A time after all due times of the tests.
const LATER: Time = Time(i64::MAX);

fn store() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), Process::OneShot).unwrap();
    (folder, store)
}

fn message(sender: &str, to: &[&str], body: &[u8]) -> NewMessage {
    let recipients = to.iter().map(Recipient::new).collect();
    NewMessage::new(Envelope::new(sender, recipients), Blob::memory(body.to_vec()))
}

fn claim(domain: &str, limit: usize) -> Claim {
    Claim { domain: domain.to_owned(), due_until: LATER, now: now(), limit, wanted: Filter::default() }
}

fn bytes(body: &Blob) -> Vec<u8> {
    let mut bytes = Vec::new();
    body.open_at(0).read_to_end(&mut bytes).unwrap();
    bytes
}

fn all(batch: &DeliveryBatch, outcome: &LeaseOutcome) -> Settlement {
    let settled =
        |recipient: &LeasedRecipient| SettledLease { lease: recipient.lease.clone(), outcome: outcome.clone() };
    Settlement { leases: batch.envelope.recipients.iter().map(settled).collect(), reports: Vec::new() }
}

/// The leases of a claim, without damaged entries.
async fn leased(store: &SqliteStore, claim: Claim) -> Vec<DeliveryBatch> {
    let Claimed { batches, damaged } = store.claim(claim).await.unwrap();
    assert_eq!(damaged, []);
    batches
}

async fn states(store: &SqliteStore) -> Vec<(String, RecipientState)> {
    let entries = store.list(Filter::default(), None, MAX).await.unwrap().entries;
    entries.iter().flat_map(|entry| &entry.envelope.recipients).map(|r| (r.to.address.to_string(), r.state)).collect()
}

fn delivered() -> LeaseOutcome {
    LeaseOutcome::Delivered(DeliveryProof::Accepted(Accepted::simulated()))
}

const MAX: usize = crate::queue::store::MAX_BATCH;

#[tokio::test]
async fn what_was_queued_comes_back_as_it_was() {
    for size in [10, 200_000] {
        let (folder, store) = store();
        let envelope = Envelope {
            smtputf8: true,
            eight_bit: true,
            ret: Some(Ret::Headers),
            envid: "x1".parse().ok(),
            ..Envelope::new(
                "alice@alice.test",
                vec![
                    Recipient {
                        notify: "SUCCESS,FAILURE".parse().ok(),
                        orcpt: "rfc822;b@bob.test".parse().ok(),
                        ..Recipient::new("bob@Bob.test")
                    },
                    Recipient { notify: Some(Notify::NEVER), ..Recipient::new("carol@bob.test") },
                ],
            )
        };
        let content = MessageBlob::from(vec![b'x'; size]);
        let new = submit::message(&store, &envelope, b"Received: by us\r\n", &content).unwrap();
        let elsewhere = message("alice@alice.test", &["dave@dave.test"], b"\r\n");
        let id = store.enqueue(vec![new, elsewhere]).await.unwrap()[0];
        drop(store);

        let store = SqliteStore::open_existing(folder.path(), Process::LongRunning).unwrap().unwrap();
        let entry = store.list(Filter::default(), None, 10).await.unwrap().entries.remove(0);
        assert_eq!((entry.id, entry.size_bytes), (id, size as u64 + 17));
        let shown = entry.envelope.recipients.iter().map(|recipient| recipient.to.clone()).collect();
        assert_eq!(entry.envelope.with_recipients(shown), envelope);
        let batch = leased(&store, claim("bob.test", 10)).await.remove(0);
        assert_eq!(batch.to_send(), envelope);
        assert_eq!(batch.envelope.recipients[0].attempts, 1, "the counter rises before the attempt");
        let queued = batch.content();
        assert_eq!((queued.size_bytes(), queued.in_memory().is_some()), (size as u64 + 17, size == 10));
        let text = bytes(&batch.body);
        assert!(text.starts_with(b"Received: by us\r\nxxxx") && text.len() == size + 17);
        assert_eq!(bytes(&store.content(id).await.unwrap().unwrap()), text);
        assert!(store.content(QueueId(1)).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_held_and_named_and_the_others_go_on() {
    // Table, column, SQL value; the reported text; whether the whole message is affected.
    for (table, column, value, said) in [
        ("recipient", "address", "'a@b@c'", "address \"a@b@c\": the part after the @ is not a domain"),
        ("recipient", "address", "x'00ff'", "address"),
        ("recipient", "notify", "'SOMETIMES'", "NOTIFY \"SOMETIMES\": never, or a list of"),
        ("recipient", "notify", "7", "NOTIFY \"7\""),
        ("recipient", "orcpt", "'bob'", "ORCPT \"bob\""),
        ("recipient", "orcpt", "'rfc822;b' || char(10)", "ORCPT \"rfc822;b\\n\""),
        ("recipient", "route", "'gopher://x'", "route \"gopher://x\""),
        ("recipient", "flags", "'many'", "flags"),
        ("message", "sender", "'a b@c'", "sender \"a b@c\": ' ' before the @ needs quoting"),
        ("message", "ret", "'SOME'", "RET \"SOME\": full or hdrs"),
        ("message", "envid", "''", "ENVID \"\""),
        ("message", "envid", "x'ff'", "envid"),
    ] {
        let (_folder, store) = store();
        let mut ids = Vec::new();
        for to in [&["x@one"][..], &["y@one", "z@one"], &["w@one"]] {
            ids.extend(store.enqueue(vec![message("a@a", to, b"\r\n")]).await.unwrap());
        }
        let (id, key) = (ids[1], if table == "message" { "id" } else { "n = 0 AND message" });
        let spoil = format!("UPDATE {table} SET {column} = {value} WHERE {key} = {}", id.0);
        store.writer.commit(move |db| db.execute(&spoil, []), |_, _| Ok(())).await.unwrap();
        let whole = table == "message";
        let place = if whole { String::new() } else { ", recipient 0".to_owned() };
        let is_named = |damaged: &[DamagedEntry]| {
            for DamagedEntry { id: found, fault } in damaged {
                assert_eq!((*found, fault.kind), (id, Kind::BadData));
                assert!(fault.detail.contains(said), "{said} in {}", fault.detail);
            }
            assert!(damaged[0].fault.detail.starts_with(&format!("queue entry {id}")), "{:?}", damaged[0]);
        };

        let page = store.list(Filter::default(), None, MAX).await.unwrap();
        is_named(&page.damaged);
        assert!(page.damaged[0].fault.detail.contains(&format!("{id}{place}: ")));
        let shown: usize = page.entries.iter().map(|entry| entry.envelope.recipients.len()).sum();
        assert_eq!((page.last, shown), (Some(ids[2]), if whole { 2 } else { 3 }), "{column}");

        let claimed = store.claim(claim("one", 10)).await.unwrap();
        is_named(&claimed.damaged);
        assert_eq!(claimed.damaged.len(), if whole { 2 } else { 1 });
        let sent: usize = claimed.batches.iter().map(|batch| batch.envelope.recipients.len()).sum();
        assert_eq!(sent, shown, "the others go on: {column}");
        let held = Filter { states: vec![RecipientState::Held], ..Filter::default() };
        assert_eq!(store.count(held.clone()).await.unwrap().held, claimed.damaged.len() as u64);
        assert_eq!(store.claim(claim("one", 10)).await.unwrap().damaged, [], "and are in nobody's way again");
        assert!(store.history(id).await.unwrap()[0].1.reply.contains(said));
        // The operator can still remove it.
        let removed = store.edit(held, QueueEdit::Remove).await.unwrap().changed.len();
        assert_eq!(removed, claimed.damaged.len());
    }
}

#[tokio::test]
async fn a_message_goes_when_its_last_recipient_is_final() {
    let (_folder, store) = store();
    store.enqueue(vec![message("a@a", &["x@one", "y@two"], b"\r\n")]).await.unwrap();
    let one = leased(&store, claim("one", 10)).await.remove(0);
    assert_eq!(store.settle(vec![all(&one, &delivered())]).await.unwrap(), [true]);
    assert_eq!(
        states(&store).await,
        [("x@one".to_owned(), RecipientState::Delivered), ("y@two".to_owned(), RecipientState::Queued)]
    );
    let two = leased(&store, claim("two", 10)).await.remove(0);
    store.settle(vec![all(&two, &LeaseOutcome::Failed(AttemptResult::default()))]).await.unwrap();
    assert_eq!(states(&store).await, []);
    assert_eq!(store.count(Filter::default()).await.unwrap(), QueueCounts::default());
    assert!(store.content(two.id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_deferral_waits_and_is_remembered() {
    let (_folder, store) = store();
    let id = store.enqueue(vec![message("a@a", &["x@one"], b"\r\n")]).await.unwrap()[0];
    let batch = leased(&store, claim("one", 10)).await.remove(0);
    assert!(leased(&store, claim("one", 10)).await.is_empty(), "leased");
    let attempt = AttemptResult {
        at: Time(5000),
        host: Some("mx.one".to_owned()),
        kind: Some(Kind::PeerTemporary),
        code: Some(451),
        enhanced: crate::fault::Enhanced::parse("4.7.1"),
        reply: "451 4.7.1 later".to_owned(),
        ip: None,
    };
    let due = now().plus(Duration::from_secs(300));
    let deferred = LeaseOutcome::Deferred { attempt: attempt.clone(), due, possible_duplicate: true, warned: true };
    store.settle(vec![all(&batch, &deferred)]).await.unwrap();
    let mut soon = claim("one", 10);
    soon.due_until = now();
    assert!(leased(&store, soon).await.is_empty(), "not due yet");
    assert_eq!(
        store.destinations(None, Filter::default()).await.unwrap(),
        [DueDestination { domain: "one".to_owned(), due }]
    );
    let entry = store.list(Filter::default(), None, 1).await.unwrap().entries.remove(0);
    assert_eq!(entry.envelope.recipients[0].last.as_ref(), Some(&attempt));
    assert_eq!(store.history(id).await.unwrap(), [(0, attempt)]);
    let again = leased(&store, claim("one", 10)).await.remove(0);
    assert!(again.envelope.recipients[0].possible_duplicate && again.envelope.recipients[0].warned);
    assert_eq!(again.envelope.recipients[0].attempts, 2);
    store.settle(vec![all(&again, &LeaseOutcome::Yielded)]).await.unwrap();
    assert_eq!(
        leased(&store, claim("one", 10)).await[0].envelope.recipients[0].attempts,
        2,
        "an unused lease does not count"
    );
}

#[tokio::test]
async fn a_lost_lease_settles_nothing_and_sends_no_report() {
    let (_folder, store) = store();
    let id = store.enqueue(vec![message("a@a", &["x@one"], b"\r\n")]).await.unwrap()[0];
    let batch = leased(&store, claim("one", 10)).await.remove(0);
    let lease = batch.envelope.recipients[0].lease.clone();
    assert_eq!(store.renew(vec![lease.clone()]).await.unwrap(), [true]);
    let only = Filter { ids: vec![id], ..Filter::default() };
    assert_eq!(store.edit(only.clone(), QueueEdit::Hold).await.unwrap().changed, [(id, 0)]);
    assert_eq!(store.renew(vec![lease.clone()]).await.unwrap(), [false]);
    let mut settlement = all(&batch, &LeaseOutcome::Failed(AttemptResult::default()));
    settlement.reports.push(message("", &["a@a"], b"bounce\r\n"));
    assert_eq!(store.settle(vec![settlement]).await.unwrap(), [false]);
    assert_eq!(states(&store).await, [("x@one".to_owned(), RecipientState::Held)]);
    // A later lease of the same recipient is distinct.
    store.edit(only, QueueEdit::Release(now())).await.unwrap();
    let later = leased(&store, claim("one", 10)).await.remove(0);
    assert_eq!(store.renew(vec![lease, later.envelope.recipients[0].lease.clone()]).await.unwrap(), [false, true]);
    assert!(RENEW_EVERY < Duration::from_secs(60));
}

#[tokio::test]
async fn a_settlement_and_its_reports_are_one() {
    let (_folder, store) = store();
    store.enqueue(vec![message("a@a", &["x@one"], b"\r\n")]).await.unwrap();
    let batch = leased(&store, claim("one", 10)).await.remove(0);
    let mut settlement = all(&batch, &LeaseOutcome::Failed(AttemptResult::default()));
    settlement.reports.push(message("", &["a@a"], b"bounce\r\n"));
    assert_eq!(store.settle(vec![settlement]).await.unwrap(), [true]);
    assert_eq!(states(&store).await, [("a@a".to_owned(), RecipientState::Queued)]);
}

#[tokio::test]
async fn edits_follow_the_table() {
    use crate::queue::entry::Transition;
    let changes = [
        (QueueEdit::Hold, Transition::Hold),
        (QueueEdit::Release(now()), Transition::Release),
        (QueueEdit::Retry(now()), Transition::Retry),
        (QueueEdit::Remove, Transition::Remove),
        (QueueEdit::Readdress("z@three".into(), now()), Transition::Retry),
        (QueueEdit::Reroute("smtp://h".parse().ok(), now()), Transition::Retry),
    ];
    for (change, transition) in changes {
        for from in [RecipientState::Queued, RecipientState::Active, RecipientState::Held] {
            let (_folder, store) = store();
            let mut new = message("a@a", &["x@one", "rest@two"], b"\r\n");
            new.hold = from == RecipientState::Held;
            let id = store.enqueue(vec![new]).await.unwrap()[0];
            if from == RecipientState::Active {
                leased(&store, claim("one", 1)).await;
            }
            let wanted = Filter { recipients: vec!["X@ONE".to_owned()], ..Filter::default() };
            let edited = store.edit(wanted, change.clone()).await.unwrap();
            let state = states(&store).await[0].1;
            if transition.allowed(from) {
                assert_eq!(
                    (edited.changed.as_slice(), state),
                    ([(id, 0)].as_slice(), transition.to()),
                    "{change:?} {from}"
                );
            } else {
                assert_eq!((edited.refused.as_slice(), state), ([(id, 0, from)].as_slice(), from), "{change:?} {from}");
            }
        }
    }
}

#[tokio::test]
async fn a_new_address_is_a_new_destination() {
    let (_folder, store) = store();
    store.enqueue(vec![message("a@a", &["x@one"], b"\r\n")]).await.unwrap();
    store.edit(Filter::default(), QueueEdit::Readdress("x@Two".into(), now())).await.unwrap();
    assert!(leased(&store, claim("one", 1)).await.is_empty());
    assert_eq!(leased(&store, claim("two", 1)).await[0].envelope.recipients[0].to.address, "x@Two");
}

#[tokio::test]
async fn a_dead_owner_gives_its_leases_back_with_a_warning() {
    let (folder, store) = store();
    store.enqueue(vec![message("a@a", &["x@one"], b"\r\n")]).await.unwrap();
    let other = SqliteStore::open(folder.path(), Process::LongRunning).unwrap();
    assert_eq!(leased(&other, claim("one", 10)).await.len(), 1);
    assert_eq!(store.recover(Vec::new()).await.unwrap(), 0, "the other runner lives");
    drop(other);
    assert_eq!(store.recover(Vec::new()).await.unwrap(), 1);
    let batch = leased(&store, claim("one", 10)).await.remove(0);
    assert!(batch.envelope.recipients[0].possible_duplicate);
    assert_eq!(batch.envelope.recipients[0].attempts, 2);
}

#[tokio::test]
async fn large_bodies_live_in_files_as_long_as_their_rows() {
    let (folder, store) = store();
    let large: Vec<u8> = (0..200_000).map(|i| (i % 253) as u8).collect();
    let mut body = store.new_body().unwrap();
    body.write_all(&large).unwrap();
    let written = NewMessage::new(Envelope::new("a@a", vec![Recipient::new("x@one")]), body.finish().unwrap());
    let files = || std::fs::read_dir(folder.path().join(BODIES)).unwrap().count();
    assert_eq!(files(), 1);
    // The second body is not from new_body: one piece that is too large for the database.
    store.enqueue(vec![written, message("a@a", &["y@one"], &large)]).await.unwrap();
    assert_eq!(files(), 2);
    let batches = leased(&store, claim("one", 10)).await;
    assert!(batches.iter().all(|batch| bytes(&batch.body) == large));
    let settlements = batches.iter().map(|batch| all(batch, &delivered())).collect();
    store.settle(settlements).await.unwrap();
    assert_eq!(files(), 0);
}

#[tokio::test]
async fn orphans_go_when_no_enqueue_can_own_them() {
    let (folder, store) = store();
    let runner = SqliteStore::open(folder.path(), Process::LongRunning).unwrap();
    let files = || std::fs::read_dir(folder.path().join(BODIES)).unwrap().count();
    let mut body = store.new_body().unwrap();
    body.write_all(&[b'x'; 100_000]).unwrap();
    runner.recover(Vec::new()).await.unwrap();
    assert_eq!(files(), 1, "its enqueue may still come");
    let kept = NewMessage::new(Envelope::new("a@a", vec![Recipient::new("x@one")]), body.finish().unwrap());
    store.enqueue(vec![kept]).await.unwrap();
    std::fs::write(folder.path().join(BODIES).join("42-0"), b"left behind by a crash").unwrap();
    assert_eq!(files(), 2);
    drop(store);
    runner.recover(Vec::new()).await.unwrap();
    assert_eq!(files(), 1, "the queued one stays although its owner has ended");
    assert_eq!(leased(&runner, claim("one", 1)).await.len(), 1);
}

#[tokio::test]
async fn lists_are_filtered_and_go_on() {
    let (_folder, store) = store();
    let messages = (0..10).map(|i| {
        message(
            if i % 2 == 0 { "even@a" } else { "odd@a" },
            &[&format!("u{i}@d{}", i % 3), "second@last"],
            b"12345\r\n",
        )
    });
    let ids = store.enqueue(messages.collect()).await.unwrap();
    assert!(ids.is_sorted());
    let list = async |filter: &Filter| store.list(filter.clone(), None, MAX).await.unwrap().entries.len();
    let count = async |filter: &Filter| store.count(filter.clone()).await.unwrap();
    for (filter, messages, recipients) in [
        (Filter::default(), 10, 20),
        (Filter { senders: vec!["EVEN@A".to_owned()], ..Filter::default() }, 5, 10),
        (Filter { domains: vec!["d0".to_owned(), "d1".to_owned()], ..Filter::default() }, 7, 7),
        (Filter { recipients: vec!["u3@d0".to_owned()], ..Filter::default() }, 1, 1),
        (Filter { recipients: vec!["\"U3\"@D0.".to_owned()], ..Filter::default() }, 1, 1),
        (Filter { ids: vec![ids[2], ids[4]], senders: vec!["even@a".to_owned()], ..Filter::default() }, 2, 4),
        (Filter { states: vec![RecipientState::Held], ..Filter::default() }, 0, 0),
        (Filter { created_until: Some(Time(1)), ..Filter::default() }, 0, 0),
        (Filter { created_from: Some(Time(1)), ..Filter::default() }, 10, 20),
        (Filter { reason: Some("refused".to_owned()), ..Filter::default() }, 0, 0),
    ] {
        assert_eq!(list(&filter).await, messages, "{filter:?}");
        let counts = count(&filter).await;
        assert_eq!((counts.messages, counts.queued), (messages as u64, recipients), "{filter:?}");
        assert_eq!(counts.size_bytes, 7 * messages as u64);
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(Filter::default(), after, 3).await.unwrap();
        if page.last.is_none() {
            break;
        }
        after = page.last;
        seen.extend(page.entries.iter().map(|entry| (entry.id, entry.envelope.recipients.len())));
    }
    assert_eq!(seen, ids.iter().map(|id| (*id, 2)).collect::<Vec<_>>());
    let destinations: Vec<String> =
        store.destinations(None, Filter::default()).await.unwrap().into_iter().map(|found| found.domain).collect();
    assert_eq!(destinations, ["d0", "d1", "d2", "last"]);
    assert_eq!(store.destinations(Some("d1".to_owned()), Filter::default()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_clock_that_was_set_back_keeps_nothing_waiting() {
    let (_folder, store) = store();
    store.enqueue(vec![message("a@a", &["x@one"], b"\r\n")]).await.unwrap();
    let batch = leased(&store, claim("one", 1)).await.remove(0);
    let future = now().plus(Duration::from_secs(400 * 86400));
    let later = |due| LeaseOutcome::Deferred {
        attempt: AttemptResult::default(),
        due,
        possible_duplicate: false,
        warned: false,
    };
    store.settle(vec![all(&batch, &later(future))]).await.unwrap();
    // A runner saw the wrong time, then the clock was set right.
    let step = |at| store.writer.commit(move |db| write::after_clock_step(db, at), |moved, _| Ok(moved));
    assert_eq!(step(future).await.unwrap(), 0);
    let mut due_now = claim("one", 1);
    due_now.due_until = now();
    assert!(leased(&store, due_now.clone()).await.is_empty());
    assert_eq!(step(now()).await.unwrap(), 1);
    due_now.due_until = now();
    assert_eq!(leased(&store, due_now).await.len(), 1);
    assert_eq!(step(now()).await.unwrap(), 0);
}

#[tokio::test]
async fn what_follows_a_power_cut_says_that_it_may_be_a_duplicate() {
    for rested in [false, true] {
        let (folder, store) = store();
        store.enqueue(vec![message("a@a", &["x@one"], b"\r\n")]).await.unwrap();
        let batch = leased(&store, claim("one", 1)).await.remove(0);
        store.settle(vec![all(&batch, &LeaseOutcome::Yielded)]).await.unwrap();
        if rested {
            store.sync().await.unwrap();
        }
        // The next boot of the kernel has another name.
        let set = |db: &Connection| db.execute("UPDATE run SET boot = 'before'", []);
        store.writer.commit(set, |_, _| Ok(())).await.unwrap();
        drop(store);
        let store = SqliteStore::open(folder.path(), Process::LongRunning).unwrap();
        store.recover(Vec::new()).await.unwrap();
        let again = leased(&store, claim("one", 1)).await.remove(0);
        assert_eq!(again.envelope.recipients[0].possible_duplicate, !rested);
    }
}

#[tokio::test]
async fn a_summary_counts_by_domain_and_age() {
    let (_folder, store) = store();
    let to: Vec<NewMessage> =
        (0..5).map(|i| message("a@a", &[if i < 3 { "x@big" } else { "x@small" }], b"\r\n")).collect();
    store.enqueue(to).await.unwrap();
    let at = now().plus(Duration::from_secs(15 * 60));
    let summary = store.summary(Filter::default(), at).await.unwrap();
    let found: Vec<_> = summary.iter().map(|one| (one.domain.as_str(), one.recipients, one.ages[2])).collect();
    assert_eq!(found, [("big", 3, 3), ("small", 2, 2)]);
    let old = store.summary(Filter::default(), at.plus(Duration::from_secs(90 * 86400))).await.unwrap();
    assert_eq!(old[0].ages[9], 3);
}

#[tokio::test]
async fn senders_are_served_in_turn() {
    let (_folder, store) = store();
    let big = (0..500).map(|_| message("list@a", &["x@one"], b"\r\n"));
    store.enqueue(big.collect()).await.unwrap();
    let small = (0..3).map(|i| message(&format!("person{i}@a"), &["x@one"], b"\r\n"));
    store.enqueue(small.collect()).await.unwrap();
    store.enqueue((0..500).map(|_| message("list@a", &["x@one"], b"\r\n")).collect()).await.unwrap();
    let first = leased(&store, claim("one", 16)).await;
    assert_eq!(first.len(), 16, "the claim is full");
    let people = first.iter().filter(|batch| batch.envelope.sender.as_str().starts_with("person")).count();
    assert_eq!(people, 3, "each of the small senders has its turn at once");
    // A sender with more messages gets the share that others leave.
    assert_eq!(leased(&store, claim("one", 600)).await.len(), 600);
    assert_eq!(store.destinations(None, Filter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn claims_take_only_what_is_wanted() {
    let (_folder, store) = store();
    let ids = store.enqueue((0..4).map(|i| message(&format!("s{i}@a"), &["x@one"], b"\r\n")).collect()).await.unwrap();
    let mut wanted = claim("one", 10);
    wanted.wanted = Filter { senders: vec!["s2@a".to_owned()], ..Filter::default() };
    assert_eq!(leased(&store, wanted.clone()).await.iter().map(|batch| batch.id).collect::<Vec<_>>(), [ids[2]]);
    wanted.wanted = Filter { reason: Some("Greylisted".to_owned()), ..Filter::default() };
    assert!(leased(&store, wanted).await.is_empty(), "nothing has a reply yet");
    assert_eq!(leased(&store, claim("one", 2)).await.len(), 2);
    assert_eq!(leased(&store, claim("one", 2)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_enqueue_and_claim_at_once_and_each_message_is_leased_once() {
    let (folder, store) = store();
    let store = Arc::new(store);
    let enqueues: Vec<_> = (0..200)
        .map(|i| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.enqueue(vec![message("a@a", &[&format!("u{i}@one")], b"\r\n")]).await })
        })
        .collect();
    let runners: Vec<_> = (0..4)
        .map(|_| {
            let runner = SqliteStore::open(folder.path(), Process::LongRunning).unwrap();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for _ in 0..40 {
                    mine.extend(leased(&runner, claim("one", 3)).await.into_iter().map(|batch| batch.id));
                }
                (runner, mine)
            })
        })
        .collect();
    for enqueue in enqueues {
        enqueue.await.unwrap().unwrap();
    }
    let mut claimed = Vec::new();
    let mut alive = Vec::new();
    for runner in runners {
        let (runner, mine) = runner.await.unwrap();
        alive.push(runner);
        claimed.extend(mine);
    }
    claimed.extend(leased(&store, claim("one", 1000)).await.into_iter().map(|batch| batch.id));
    claimed.sort();
    let total = claimed.len();
    claimed.dedup();
    assert_eq!((total, claimed.len()), (200, 200));
}

#[tokio::test]
async fn an_enqueue_wakes_those_who_watch() {
    let (folder, store) = store();
    let watcher = SqliteStore::open(folder.path(), Process::LongRunning).unwrap();
    watcher.wait_for_work(Duration::ZERO).await.unwrap();
    store.enqueue(vec![message("a@a", &["x@one"], b"\r\n")]).await.unwrap();
    let begun = std::time::Instant::now();
    watcher.wait_for_work(Duration::from_secs(30)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(29), "woken, not timed out");
}

#[test]
fn a_later_layout_is_refused_and_a_missing_queue_is_none() {
    let (folder, store) = store();
    drop(store);
    assert!(SqliteStore::open_existing(&folder.path().join("none"), Process::OneShot).unwrap().is_none());
    let connection = Connection::open(folder.path().join(schema::DATABASE)).unwrap();
    for version in [0, 3, 99, -2] {
        connection.pragma_update(None, "user_version", version).unwrap();
        let refused = SqliteStore::open(folder.path(), Process::OneShot).unwrap_err();
        assert_eq!(refused.kind, Kind::Config);
        assert!(
            refused.detail.contains(&format!("layout {version}, this applayer knows 1 to 2")),
            "{}",
            refused.detail
        );
    }
}

/// The columns and indexes of a database, in any order.
fn tables(connection: &Connection) -> Vec<String> {
    let columns =
        "SELECT m.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || c.pk FROM sqlite_schema m,
        pragma_table_info(m.name) c WHERE m.type = 'table' UNION ALL SELECT sql FROM sqlite_schema
        WHERE type = 'index' AND sql IS NOT NULL";
    let mut rows = connection.prepare(columns).unwrap();
    let mut found: Vec<String> = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    found.sort();
    found
}

/// A queue of layout 1 with a message for two recipients, as its version left it.
fn first_layout() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in [BODIES, owner::FOLDER] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let connection = Connection::open(folder.path().join(schema::DATABASE)).unwrap();
    connection.execute_batch(include_str!("../../../tests/data/queue/layout-1.sql")).unwrap();
    folder
}

#[tokio::test]
async fn an_earlier_layout_becomes_this_one_and_is_kept_as_a_copy() {
    let (new, store) = store();
    drop(store);
    let folder = first_layout();
    let database = folder.path().join(schema::DATABASE);
    let copy = folder.path().join("queue.db.v1.bak");
    std::fs::write(folder.path().join("queue.db.v1.bak.new"), b"half of a copy").unwrap();
    let owner = Owner::new(folder.path()).unwrap();
    let refused = SqliteStore::open(folder.path(), Process::OneShot).unwrap_err();
    assert!(refused.kind == Kind::Locked && !copy.exists(), "{refused}");
    drop(owner);
    let before = tables(&Connection::open(&database).unwrap());
    let store = SqliteStore::open(folder.path(), Process::OneShot).unwrap();
    assert_eq!(
        tables(&Connection::open(&database).unwrap()),
        tables(&Connection::open(new.path().join("queue.db")).unwrap())
    );
    let queued = |address: &str| (address.to_owned(), RecipientState::Queued);
    assert_eq!(states(&store).await, [queued("x@one.test"), queued("y@two.test")]);
    let id = store.list(Filter::default(), None, MAX).await.unwrap().entries[0].id;
    assert_eq!(bytes(&store.content(id).await.unwrap().unwrap()), b"Subject: kept\r\n\r\nkept\r\n");
    drop(store);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&copy).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(tables(&Connection::open(&copy).unwrap()), before);
    // The copy works with its version: put back, it is upgraded again.
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(folder.path().join(format!("queue.db{suffix}"))));
    }
    std::fs::rename(&copy, &database).unwrap();
    let store = SqliteStore::open(folder.path(), Process::OneShot).unwrap();
    store.enqueue(vec![message("a@a", &["x@one"], b"\r\n")]).await.unwrap();
    assert_eq!(store.count(Filter::default()).await.unwrap().queued, 3);
}

#[tokio::test]
async fn who_comes_and_goes_leaves_the_log_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), Process::LongRunning).unwrap();
    store.enqueue(vec![message("a@a", &["x@one"], b"\r\n")]).await.unwrap();
    drop(store);
    let database = || std::fs::read(folder.path().join(schema::DATABASE)).unwrap();
    let log = || std::fs::metadata(folder.path().join(schema::LOG)).map_or(0, |found| found.len());
    let (before, length) = (database(), log());
    assert!(length > 0);
    for _ in 0..5 {
        let store = SqliteStore::open(folder.path(), Process::OneShot).unwrap();
        assert_eq!(store.count(Filter::default()).await.unwrap().queued, 1);
    }
    assert!(database() == before && log() == length, "nobody copied the log into the database on leaving");
    // The log is shortened in place, when its turn comes.
    let mut connection = schema::open(folder.path()).unwrap();
    schema::shorten(&mut connection).unwrap();
    assert!(database() != before && log() == length);
    let frames: i64 = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1)).unwrap();
    assert_eq!(frames, 1, "the first page of a new log");
}
