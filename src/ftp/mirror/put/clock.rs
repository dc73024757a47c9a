//! The meaning of the times of a server that may not keep the times set by a client: measured once, with a temporary file.

use super::Uploader;
use crate::fault::Fault;
use crate::ftp::client::{FtpClient, time_of};
use crate::ftp::command::FtpCommand;
use crate::ftp::mirror::FileFacts;
use crate::ftp::mirror::compare::ReceiverFacts;
use crate::ftp::part::PartTag;
use crate::ftp::path::RemotePath;
use crate::ftp::transfer::temporary_path;
use crate::net::clock::unix_seconds;

/// A time that is more than this many seconds in the future shows that clocks or zones differ.
const FUTURE: i64 = 300;
/// From this difference in seconds on, the cause is a time zone, whose offset may depend on the season.
const ZONE: i64 = 1800;
const SUMMER_TIME: i64 = 3600;
/// The time in seconds for which the season counts as the same.
const SEASON: i64 = 14 * 86_400;

/// The meaning of a server's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerClock {
    /// The server keeps the times that are set.
    Keeps,
    /// It shows the time of storing by a clock this many seconds ahead of the local one (RFC 3659, section 2.3, requires UTC).
    Ahead(i64),
    /// The meaning cannot be found out.
    Unknown,
}

impl ServerClock {
    /// Converts a server's time to the local clock; a doubtful time becomes the earliest possible one. `None`: it is no evidence.
    fn translate(self, theirs: i64, now: i64) -> Option<i64> {
        match self {
            ServerClock::Keeps => Some(theirs),
            ServerClock::Ahead(by) => {
                // A file may change after it was stored, in the same second.
                let ours = theirs - by - 1;
                let unsure = by.abs() >= ZONE && now - ours > SEASON;
                Some(if unsure { ours - SUMMER_TIME } else { ours })
            }
            ServerClock::Unknown => (theirs <= now + FUTURE).then_some(theirs),
        }
    }
}

impl Uploader {
    /// The server's facts about a file, as far as they are evidence. Measures the clock only if the file's time decides.
    pub(super) async fn receiver(
        &self,
        client: &mut FtpClient,
        path: &RemotePath,
        (source, there): (FileFacts, FileFacts),
        text: bool,
    ) -> Result<ReceiverFacts, Fault> {
        let facts = ReceiverFacts { facts: there, keeps_times: client.keeps_times() };
        let Some(theirs) = there.modified.filter(|_| !facts.keeps_times) else {
            return Ok(facts);
        };
        if !text && !self.settings.compare.asks_time(source, there) {
            return Ok(facts);
        }
        let clock = match self.settings.dry_run {
            true => ServerClock::Unknown,
            false => *self.clock.get_or_try_init(|| measure(client, path)).await?,
        };
        let modified = clock.translate(theirs, unix_seconds());
        let facts = FileFacts { size: there.size, modified };
        Ok(ReceiverFacts { facts, keeps_times: clock == ServerClock::Keeps })
    }
}

/// Stores an empty file under a temporary name, tries to set its time, and reads its time back.
async fn measure(client: &mut FtpClient, beside: &RemotePath) -> Result<ServerClock, Fault> {
    /// A time that no present clock shows.
    const LONG_AGO: i64 = 1_000_000_000;
    let path = temporary_path(beside, &PartTag::of_run()?)?;
    let now = unix_seconds();
    match client.store_nothing(&FtpCommand::Stor(path.argument())).await {
        Ok(_) => {}
        Err(fault) if client.usable() => {
            client.note(&format!("its clock cannot be compared with ours: {fault}"));
            return Ok(ServerClock::Unknown);
        }
        Err(fault) => return Err(fault),
    }
    let mut commands: Vec<FtpCommand> = client.time_command(&path, LONG_AGO).into_iter().collect();
    let asked = commands.len();
    commands.extend([FtpCommand::Mdtm(path.argument()), FtpCommand::Dele(path.argument())]);
    let replies = client.call_all(&commands).await?;
    Ok(match replies.get(asked).and_then(time_of) {
        Some(LONG_AGO) => ServerClock::Keeps,
        Some(theirs) => {
            client.note(&format!("the server sets no times; its clock is {} seconds ahead of ours", theirs - now));
            ServerClock::Ahead(theirs - now)
        }
        None => ServerClock::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_our_clock() {
        let (now, day) = (1_700_000_000, 86_400);
        for (clock, theirs, ours) in [
            (ServerClock::Keeps, now + day, Some(now + day)),
            (ServerClock::Ahead(0), now - 100 * day, Some(now - 100 * day - 1)),
            (ServerClock::Ahead(32_400), now + 32_400, Some(now - 1)),
            (ServerClock::Ahead(-14_400), now - 14_500, Some(now - 101)),
            (ServerClock::Ahead(-14_400), now - 14_400 - 20 * day, Some(now - 20 * day - SUMMER_TIME - 1)),
            (ServerClock::Unknown, now + 60, Some(now + 60)),
            (ServerClock::Unknown, now + 32_400, None),
        ] {
            assert_eq!(clock.translate(theirs, now), ours, "{clock:?} {theirs}");
        }
    }
}
