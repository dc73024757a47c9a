//! The results file of a merge: a line before the end of each message is sent, and a line with its outcome. It never runs
//! ahead of the outcome, so a killed run can be repeated: settled messages are not sent again, and the messages in flight
//! at that moment are known.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::cli::output::OutputRecord;
use crate::fault::{Fault, Kind};

/// The longest line of a results file, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;

/// The identity of the row that a message was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowId {
    /// Its number, from 1.
    pub(super) number: u64,
    /// The digest of its values.
    pub(super) digest: String,
    /// True if its outcome is recorded, so that the same command repeats nothing that succeeded.
    pub(super) noted: bool,
}

/// The results file, shared by all connections of a run.
pub(super) type Noted = Arc<Mutex<Results>>;

/// The outcome of one row: a record, and a line of the results file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RowRecord {
    pub(super) row: u64,
    /// The digest of the row's values, which detects that rows of the file have moved.
    pub(super) digest: String,
    /// The common outcome of all recipients, or `mixed`.
    pub(super) outcome: String,
    pub(super) recipients: Vec<RowRecipient>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<String>,
}

/// The outcome of a row for one recipient.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RowRecipient {
    pub(super) recipient: String,
    /// The outcome, as in the recipient's own record.
    pub(super) outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
}

impl RowRecipient {
    pub(super) fn new(recipient: &str, outcome: &str, detail: Option<String>) -> RowRecipient {
        RowRecipient { recipient: recipient.to_owned(), outcome: outcome.to_owned(), detail }
    }
}

impl RowRecord {
    pub(super) fn new(id: &RowId, message_id: Option<&str>, recipients: Vec<RowRecipient>) -> RowRecord {
        let first = recipients.first().map_or("deferred", |first| first.outcome.as_str());
        let same = recipients.iter().all(|recipient| recipient.outcome == first);
        RowRecord {
            row: id.number,
            digest: id.digest.clone(),
            outcome: if same { first.to_owned() } else { "mixed".to_owned() },
            recipients,
            message_id: message_id.map(str::to_owned),
        }
    }
}

impl OutputRecord for RowRecord {
    const TYPE: &'static str = "row";
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResultLine {
    /// The end of the row's message is about to be sent.
    Sending { v: u32, row: u64, digest: String },
    Row {
        v: u32,
        #[serde(flatten)]
        record: RowRecord,
    },
}

/// The state of a row according to the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct KnownRow {
    digest: String,
    /// True if no recipient is waiting.
    done: bool,
    /// The settled recipients, while others are waiting.
    settled: Vec<String>,
    /// True if its message was in flight at the end of the file.
    in_flight: bool,
}

/// The action for a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// None: an earlier run settled it.
    Done,
    /// Send it, except to the `settled` recipients. With `in_flight` it may already have arrived.
    Send { settled: Vec<String>, in_flight: bool },
}

/// An open results file, locked against other writers.
#[derive(Debug)]
pub(super) struct Results {
    path: PathBuf,
    file: File,
    known: HashMap<u64, KnownRow>,
    /// The number of rows that were skipped because they are settled.
    pub(super) skipped: u64,
}

impl Results {
    /// Opens or creates the file. With `retry_unknown`, recipients with an unknown outcome are not settled.
    pub(super) fn open(path: &Path, retry_unknown: bool) -> Result<Results, Fault> {
        let problem = |error: std::io::Error| Fault::local(path.display(), &error);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(|error| {
            let fault = problem(error);
            if fault.kind == Kind::NoInput { Fault { kind: Kind::CannotCreate, ..fault } } else { fault }
        })?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let detail = format!("{}: another run writes to it", path.display());
            if error == rustix::io::Errno::WOULDBLOCK {
                Fault::new(Kind::Locked, detail)
            } else {
                problem(error.into())
            }
        })?;
        let (known, whole) = read(&mut file, retry_unknown).map_err(|fault| fault.context(path.display()))?;
        // A line that a crash cut off never counted.
        file.set_len(whole).map_err(problem)?;
        Ok(Results { path: path.to_owned(), file, known, skipped: 0 })
    }

    /// The action for this row.
    pub(super) fn turn(&mut self, id: &RowId) -> Result<Turn, Fault> {
        let Some(known) = self.known.get(&id.number) else {
            return Ok(Turn::Send { settled: Vec::new(), in_flight: false });
        };
        if known.digest != id.digest {
            let detail = format!("not the row that {} knows by this number", self.path.display());
            return Err(Fault::new(Kind::BadData, detail)
                .with_hint("a results file belongs to one file of rows; append further rows to that file"));
        }
        if known.done {
            self.skipped += 1;
            return Ok(Turn::Done);
        }
        Ok(Turn::Send { settled: known.settled.clone(), in_flight: known.in_flight })
    }

    /// Records that the end of this row's message is about to be sent.
    pub(super) fn sending(&mut self, id: &RowId) -> Result<(), Fault> {
        self.write(&ResultLine::Sending { v: 1, row: id.number, digest: id.digest.clone() })
    }

    /// Records the outcome of a row.
    pub(super) fn done(&mut self, record: &RowRecord) -> Result<(), Fault> {
        self.write(&ResultLine::Row { v: 1, record: record.clone() })
    }

    fn write(&mut self, line: &ResultLine) -> Result<(), Fault> {
        let mut bytes = serde_json::to_vec(line).map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
        bytes.push(b'\n');
        // One write per line, so that a kill cannot cut it.
        self.file.write_all(&bytes).map_err(|error| Fault::local(self.path.display(), &error))
    }
}

/// The rows from all complete lines, and the offset at which these lines end.
fn read(file: &mut File, retry_unknown: bool) -> Result<(HashMap<u64, KnownRow>, u64), Fault> {
    let mut known: HashMap<u64, KnownRow> = HashMap::new();
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let (mut whole, mut number) = (0, 0u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        let count = count.map_err(|error| Fault::local("results", &error))?;
        number += 1;
        if line.last() != Some(&b'\n') {
            let cut_off = (count as u64) < MAX_LINE_BYTES;
            return if cut_off { Ok((known, whole)) } else { Err(malformed(number)) };
        }
        whole += count as u64;
        match serde_json::from_slice(&line).map_err(|_| malformed(number))? {
            ResultLine::Sending { row, digest, .. } => {
                let entry = known.entry(row).or_default();
                (entry.digest, entry.in_flight) = (digest, true);
            }
            ResultLine::Row { record, .. } => {
                let entry = known.entry(record.row).or_default();
                let settles = |outcome: &str| match outcome {
                    "unknown" => !retry_unknown,
                    outcome => outcome != "deferred",
                };
                entry.in_flight = false;
                entry.digest = record.digest;
                entry.done = record.recipients.iter().all(|recipient| settles(&recipient.outcome));
                let settled = record.recipients.into_iter().filter(|recipient| settles(&recipient.outcome));
                entry.settled.extend(settled.map(|recipient| recipient.recipient));
                if entry.done {
                    // The names are no longer needed: a million rows then need little memory.
                    entry.settled = Vec::new();
                }
            }
        }
    }
}

fn malformed(number: u64) -> Fault {
    Fault::new(Kind::BadData, format!("line {number}: not a line of a results file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> RowId {
        RowId { number, digest: format!("d{number}"), noted: true }
    }

    fn record(number: u64, outcomes: &[&str]) -> RowRecord {
        let one = |(index, outcome): (usize, &&str)| RowRecipient {
            recipient: format!("r{index}@a.test"),
            outcome: (*outcome).to_owned(),
            detail: None,
        };
        RowRecord::new(&id(number), None, outcomes.iter().enumerate().map(one).collect())
    }

    fn send(settled: &[&str], in_flight: bool) -> Turn {
        Turn::Send { settled: settled.iter().map(|one| (*one).to_owned()).collect(), in_flight }
    }

    #[test]
    fn what_is_settled_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        {
            let mut results = Results::open(&path, false).unwrap();
            assert_eq!(Results::open(&path, false).unwrap_err().kind, Kind::Locked);
            for (number, outcomes) in [
                (1, &["delivered"][..]),
                (2, &["deferred"]),
                (3, &["delivered", "deferred", "refused"]),
                (4, &["unknown"]),
                (5, &["queued"]),
            ] {
                assert_eq!(results.turn(&id(number)).unwrap(), send(&[], false));
                results.sending(&id(number)).unwrap();
                results.done(&record(number, outcomes)).unwrap();
            }
            results.sending(&id(6)).unwrap();
            results.sending(&id(3)).unwrap();
        }
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"type\":\"row\",\"v\":1,").unwrap();
        for (retry_unknown, fourth) in [(false, Turn::Done), (true, send(&[], false))] {
            let mut results = Results::open(&path, retry_unknown).unwrap();
            let turns: Vec<Turn> = (1..=7).map(|number| results.turn(&id(number)).unwrap()).collect();
            let third = send(&["r0@a.test", "r2@a.test"], true);
            let expected = [Turn::Done, send(&[], false), third, fourth, Turn::Done, send(&[], true), send(&[], false)];
            assert_eq!(turns, expected);
            let other = RowId { digest: "other".into(), ..id(1) };
            assert_eq!(results.turn(&other).unwrap_err().kind, Kind::BadData);
        }
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("}\n"), "the torn line is gone");
        std::fs::write(&path, "no json\n").unwrap();
        assert_eq!(Results::open(&path, false).unwrap_err().kind, Kind::BadData);
    }
}
