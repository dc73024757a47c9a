//! What a server's times mean that may not keep those that we set: found out once, with a file of ours.

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

/// A time that is so much later than the present shows that clocks or zones differ.
const FUTURE: i64 = 300;
/// A difference from which on it is a time zone, which may have another in another season.
const ZONE: i64 = 1800;
const SUMMER_TIME: i64 = 3600;
/// For how long the season is taken for the same.
const SEASON: i64 = 14 * 86_400;

/// How a server's times are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerClock {
    /// It keeps the times that are set.
    Keeps,
    /// It shows when a file was stored, by a clock that is so many seconds before ours (RFC 3659, section 2.3, wants UTC).
    Ahead(i64),
    /// That cannot be found out.
    Unknown,
}

impl ServerClock {
    /// A time of the server's by our clock, never later than it may be. `None`: it says nothing.
    fn translate(self, theirs: i64, now: i64) -> Option<i64> {
        match self {
            ServerClock::Keeps => Some(theirs),
            ServerClock::Ahead(by) => {
                // A file may change in the second in which it was stored, after that.
                let ours = theirs - by - 1;
                let unsure = by.abs() >= ZONE && now - ours > SEASON;
                Some(if unsure { ours - SUMMER_TIME } else { ours })
            }
            ServerClock::Unknown => (theirs <= now + FUTURE).then_some(theirs),
        }
    }
}

impl Uploader {
    /// What the server says of a file, as far as it is evidence. Measures only where its time decides.
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

/// Stores nothing under a temporary name, tries to set its time, and sees which it has.
async fn measure(client: &mut FtpClient, beside: &RemotePath) -> Result<ServerClock, Fault> {
    /// A time that no clock shows.
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
