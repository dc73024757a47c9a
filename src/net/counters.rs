//! The counters of a server since its start. One table names each counter; the numbers are relaxed atomics in several rows,
//! one row for a few threads, so that counting never makes a thread wait for another.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The number of rows; threads are assigned to them in turn.
const ROWS: usize = 16;

macro_rules! counters {
    ($($name:ident $family:literal [$labels:literal] $servers:literal $help:literal,)*) => {
        /// A counter that only grows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter {
            $(#[doc = $help] $name,)*
        }

        /// Counter, family without the common prefix, labels, the servers that have it, its description.
        const TABLE: &[(Counter, &str, &str, &str, &str)] = &[$((Counter::$name, $family, $labels, $servers, $help),)*];
        const COUNT: usize = [$(Counter::$name,)*].len();
    };
}

counters! {
    Connections "connections_total" [""] "ftpserve smtpserve dnsserve mailq-run" "Connections that were accepted, or made",
    ConnectionsEnded "connections_ended_total" [""] "ftpserve smtpserve dnsserve mailq-run" "Connections that ended",
    RefusedPlaces "refusals_total" ["reason=\"limit\""] "ftpserve smtpserve dnsserve" "What was refused",
    RefusedTls "refusals_total" ["reason=\"tls\""] "ftpserve smtpserve dnsserve" "What was refused",
    RefusedRecipient "refusals_total" ["reason=\"recipient\""] "smtpserve" "What was refused",
    RefusedMessage "refusals_total" ["reason=\"message\""] "smtpserve" "What was refused",
    LoginsDone "logins_total" ["result=\"done\""] "ftpserve smtpserve" "Logins",
    LoginsFailed "logins_total" ["result=\"failed\""] "ftpserve smtpserve" "Logins",
    Messages "messages_total" ["result=\"taken\""] "smtpserve" "Messages at their end",
    MessagesFailed "messages_total" ["result=\"refused\""] "smtpserve" "Messages at their end",
    Downloads "transfers_total" ["direction=\"download\",result=\"done\""] "ftpserve" "Transfers of files",
    DownloadsFailed "transfers_total" ["direction=\"download\",result=\"failed\""] "ftpserve" "Transfers of files",
    Uploads "transfers_total" ["direction=\"upload\",result=\"done\""] "ftpserve" "Transfers of files",
    UploadsFailed "transfers_total" ["direction=\"upload\",result=\"failed\""] "ftpserve" "Transfers of files",
    TransfersBegun "transfers_begun_total" [""] "ftpserve" "Transfers of files and listings that began",
    TransfersEnded "transfers_ended_total" [""] "ftpserve" "Transfers of files and listings that ended",
    QueriesNoError "queries_total" ["status=\"noerror\""] "dnsserve" "Queries that were answered",
    QueriesNoName "queries_total" ["status=\"nxdomain\""] "dnsserve" "Queries that were answered",
    QueriesFailed "queries_total" ["status=\"servfail\""] "dnsserve" "Queries that were answered",
    QueriesRefused "queries_total" ["status=\"refused\""] "dnsserve" "Queries that were answered",
    QueriesOther "queries_total" ["status=\"other\""] "dnsserve" "Queries that were answered",
    DeliveriesBegun "deliveries_begun_total" [""] "mailq-run" "Messages that were taken to the next server",
    DeliveriesEnded "deliveries_ended_total" [""] "mailq-run" "Messages that the next server answered or did not take",
    BytesReceived "received_bytes_total" [""] "ftpserve smtpserve dnsserve" "Bytes of files, messages and queries received",
    Delivered "attempts_total" ["result=\"delivered\""] "mailq-run" "Attempts to deliver, one per recipient",
    Deferred "attempts_total" ["result=\"deferred\""] "mailq-run" "Attempts to deliver, one per recipient",
    Failed "attempts_total" ["result=\"failed\""] "mailq-run" "Attempts to deliver, one per recipient",
    Expired "attempts_total" ["result=\"expired\""] "mailq-run" "Attempts to deliver, one per recipient",
    Held "attempts_total" ["result=\"held\""] "mailq-run" "Attempts to deliver, one per recipient",
    Lost "attempts_total" ["result=\"lost\""] "mailq-run" "Attempts to deliver, one per recipient",
    BytesSent "sent_bytes_total" [""] "ftpserve smtpserve dnsserve mailq-run" "Bytes of files, messages, replies and answers sent",
    RecordsDropped "records_dropped_total" [""] "ftpserve smtpserve dnsserve mailq-run" "Records and lines that were dropped",
    Reloads "reloads_total" ["result=\"done\""] "ftpserve smtpserve dnsserve" "Reloads",
    ReloadsFailed "reloads_total" ["result=\"failed\""] "ftpserve smtpserve dnsserve" "Reloads",
}

#[repr(align(128))]
struct Row([AtomicU64; COUNT]);

static NUMBERS: [Row; ROWS] = [const { Row([const { AtomicU64::new(0) }; COUNT]) }; ROWS];

static NEXT_ROW: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ROW: usize = NEXT_ROW.fetch_add(1, Ordering::Relaxed) % ROWS;
}

impl Counter {
    /// Adds `more`.
    pub fn add(self, more: u64) {
        // A thread that ends counts in the first row.
        let row = ROW.try_with(|row| *row).unwrap_or(0);
        if let Some(number) = NUMBERS.get(row).and_then(|row| row.0.get(self as usize)) {
            number.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// The current value.
    pub fn now(self) -> u64 {
        let numbers = NUMBERS.iter().filter_map(|row| row.0.get(self as usize));
        numbers.fold(0, |sum, number| sum.wrapping_add(number.load(Ordering::Relaxed)))
    }
}

/// A connection that counts as open until this is dropped.
#[derive(Debug)]
pub struct CountedConnection(());

impl CountedConnection {
    /// Counts a new connection.
    pub fn begin() -> CountedConnection {
        Counter::Connections.add(1);
        CountedConnection(())
    }

    /// The number of open connections.
    pub fn open() -> u64 {
        Counter::Connections.now().saturating_sub(Counter::ConnectionsEnded.now())
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        Counter::ConnectionsEnded.add(1);
    }
}

/// The counters of a server: name and labels as in [`exposition`], without the prefix.
pub fn numbers(server: &str) -> impl Iterator<Item = (String, u64)> {
    let rows = TABLE.iter().filter(move |row| row.3.split(' ').any(|name| name == server));
    rows.map(|(counter, family, labels, ..)| (with_labels(family, labels), counter.now()))
}

/// A value that is read at each request.
#[derive(Debug, Clone)]
pub struct Gauge {
    /// The name without the prefix.
    pub name: &'static str,
    /// The labels as they are printed, without the braces.
    pub labels: String,
    /// The description.
    pub help: &'static str,
    /// The current value.
    pub value: i64,
}

/// All values in the text format of Prometheus (version 0.0.4), each family after its HELP and TYPE.
pub fn exposition(server: &str, gauges: &[Gauge]) -> String {
    let mut text = String::new();
    let mut last = "";
    let mut put = |family: &'static str, kind: &str, help: &str, line: String| {
        if family != last {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP applayer_{family} {help}\n# TYPE applayer_{family} {kind}");
            last = family;
        }
        let _ = writeln!(text, "applayer_{line}");
    };
    for (counter, family, labels, servers, help) in TABLE {
        if servers.split(' ').any(|name| name == server) {
            put(family, "counter", help, format!("{} {}", with_labels(family, labels), counter.now()));
        }
    }
    for Gauge { name, labels, help, value } in gauges {
        put(name, "gauge", help, format!("{} {value}", with_labels(name, labels)));
    }
    text
}

fn with_labels(family: &str, labels: &str) -> String {
    if labels.is_empty() { family.to_owned() } else { format!("{family}{{{labels}}}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_each_row_has_its_place() {
        for (at, (counter, ..)) in TABLE.iter().enumerate() {
            assert_eq!(*counter as usize, at);
        }
        let before = Counter::ReloadsFailed.now();
        let adders: Vec<_> =
            (0..40).map(|_| std::thread::spawn(|| (0..100).for_each(|_| Counter::ReloadsFailed.add(2)))).collect();
        adders.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(Counter::ReloadsFailed.now() - before, 8000);
    }
}
