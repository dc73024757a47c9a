//! The quota of a Maildir, as Maildir++ has it (courier-mta.org/maildirpp.html): the file `maildirsize` holds the limit in its first
//! line, and in the others what was added and removed. The messages themselves decide: the file is made again from them where it
//! is missing, too long, or of another limit, and before mail is refused because of it.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::fault::Fault;

/// The name of the file.
const FILE: &str = "maildirsize";
/// A longer file is made again.
const MAX_FILE: u64 = 5120;
/// The age at which a file of one line is made again before mail is refused.
const OLD: Duration = Duration::from_secs(15 * 60);

/// The limit of a mailbox; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailboxLimit {
    /// The most bytes.
    pub bytes: u64,
    /// The most messages.
    pub messages: u64,
}

/// The messages in a mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailboxUse {
    /// Their bytes.
    pub bytes: i64,
    /// Their number.
    pub messages: i64,
}

/// The content of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaildirSize {
    /// The limit for which it was written.
    pub limit: MailboxLimit,
    /// The sum of its lines.
    pub used: MailboxUse,
    /// The number of lines after the first.
    pub lines: usize,
}

impl MailboxLimit {
    /// True if one more message of this size fits beside the others.
    fn has_room(self, used: MailboxUse, bytes: u64) -> bool {
        let fits = |limit: u64, used: i64, more: u64| {
            limit == 0 || u64::try_from(used).unwrap_or(0).saturating_add(more) <= limit
        };
        fits(self.bytes, used.bytes, bytes) && fits(self.messages, used.messages, 1)
    }

    /// The first line of the file.
    fn line(self) -> String {
        let words = [(self.bytes, 'S'), (self.messages, 'C')].into_iter().filter(|(limit, _)| *limit > 0);
        words.map(|(limit, unit)| format!("{limit}{unit}")).collect::<Vec<_>>().join(",") + "\n"
    }
}

impl MaildirSize {
    /// Parses the file. `None` if it is malformed, or its sum below zero.
    pub fn parse(text: &str) -> Option<MaildirSize> {
        let (first, rest) = text.split_once('\n')?;
        let mut limit = MailboxLimit::default();
        for word in first.split(',').filter(|word| !word.is_empty()) {
            let (number, unit) = word.split_at_checked(word.len() - 1)?;
            match unit {
                "S" => limit.bytes = number.parse().ok()?,
                "C" => limit.messages = number.parse().ok()?,
                _ => return None,
            }
        }
        let (mut used, mut lines) = (MailboxUse::default(), 0);
        for line in rest.lines().filter(|line| !line.trim().is_empty()) {
            let mut words = line.split_whitespace().map(str::parse::<i64>);
            let (Some(Ok(bytes)), Some(Ok(messages)), None) = (words.next(), words.next(), words.next()) else {
                return None;
            };
            used.bytes = used.bytes.checked_add(bytes)?;
            used.messages = used.messages.checked_add(messages)?;
            lines += 1;
        }
        (lines > 0 && used.bytes >= 0 && used.messages >= 0).then_some(MaildirSize { limit, used, lines })
    }
}

/// True if the Maildir has room for one more message of this size. Makes the file if necessary.
///
/// # Errors
/// The kinds of [`Fault::local`] if the Maildir cannot be read, or the file not be written.
pub fn has_room(maildir: &Path, limit: MailboxLimit, bytes: u64) -> Result<bool, Fault> {
    let local = |error: std::io::Error| Fault::local(maildir.join(FILE).display(), &error);
    if let Some((size, modified)) = read(maildir).map_err(local)?.filter(|(size, _)| size.limit == limit) {
        let old = SystemTime::now().duration_since(modified).unwrap_or_default() >= OLD;
        if limit.has_room(size.used, bytes) {
            return Ok(true);
        }
        // A reader may have removed messages without a line about them.
        if size.lines == 1 && !old {
            return Ok(false);
        }
    }
    let used = count(maildir).map_err(local)?;
    write(maildir, limit, used).map_err(local)?;
    Ok(limit.has_room(used, bytes))
}

/// Adds a message to the sum. A Maildir without the file has no sum yet.
///
/// # Errors
/// The kinds of [`Fault::local`].
pub fn add(maildir: &Path, bytes: u64) -> Result<(), Fault> {
    let path = maildir.join(FILE);
    let opened = OpenOptions::new().append(true).custom_flags(no_link()).open(&path);
    let written = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened.and_then(|mut file| file.write_all(format!("{bytes} 1\n").as_bytes())),
    };
    written.map_err(|error| Fault::local(path.display(), &error))
}

fn no_link() -> i32 {
    (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed()
}

/// The file, with the time of its last change. `None` if it is missing, malformed or too long.
fn read(maildir: &Path) -> std::io::Result<Option<(MaildirSize, SystemTime)>> {
    let file = match OpenOptions::new().read(true).custom_flags(no_link()).open(maildir.join(FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.len() > MAX_FILE {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    let size = std::str::from_utf8(&bytes).ok().and_then(MaildirSize::parse);
    Ok(size.zip(found.modified().ok()))
}

/// Replaces the file by one with this sum.
fn write(maildir: &Path, limit: MailboxLimit, used: MailboxUse) -> std::io::Result<()> {
    let tmp = Some(maildir.join("tmp")).filter(|tmp| tmp.is_dir());
    let mut file = tempfile::NamedTempFile::new_in(tmp.as_deref().unwrap_or(maildir))?;
    file.write_all(format!("{}{} {}\n", limit.line(), used.bytes, used.messages).as_bytes())?;
    file.persist(maildir.join(FILE)).map(drop).map_err(|error| error.error)
}

/// Counts the messages of the Maildir and of its folders, without the trash and without messages that are marked as trashed.
fn count(maildir: &Path) -> std::io::Result<MailboxUse> {
    let mut used = MailboxUse::default();
    let folders = entries(maildir)?.filter(|entry| {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        name.starts_with(b".") && name != b".Trash" && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    let folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    for folder in std::iter::once(maildir.to_owned()).chain(folders) {
        for inner in ["new", "cur"] {
            for entry in entries(&folder.join(inner))? {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let trashed = name.rsplit_once(":2,").is_some_and(|(_, flags)| flags.contains('T'));
                if name.starts_with('.') || trashed {
                    continue;
                }
                // A message that goes meanwhile is none.
                let Some(bytes) = named_size(&name).or_else(|| Some(entry.metadata().ok()?.size())) else { continue };
                used.bytes = used.bytes.saturating_add_unsigned(bytes);
                used.messages += 1;
            }
        }
    }
    Ok(used)
}

/// The size that a message's name tells: `,S=bytes`.
fn named_size(name: &str) -> Option<u64> {
    let digits = name.split(":2,").next()?.split(",S=").nth(1)?;
    digits.split(',').next()?.parse().ok()
}

/// The entries of a directory; none if it is missing.
fn entries(directory: &Path) -> std::io::Result<impl Iterator<Item = std::fs::DirEntry>> {
    let listed = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        listed => Some(listed?),
    };
    Ok(listed.into_iter().flatten().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::maildir::Maildir;
    use std::fs::File;

    #[test]
    fn files_are_parsed() {
        let size = |bytes, messages, used: (i64, i64), lines| {
            let used = MailboxUse { bytes: used.0, messages: used.1 };
            Some(MaildirSize { limit: MailboxLimit { bytes, messages }, used, lines })
        };
        for (text, expected) in [
            ("1000S,10C\n0 0\n", size(1000, 10, (0, 0), 1)),
            ("10C\n          12 1   \n\n 8  1\n-12 -1\n", size(0, 10, (8, 1), 3)),
            ("1000S\n20 1", size(1000, 0, (20, 1), 1)),
            ("\n20 1\n", size(0, 0, (20, 1), 1)),
            ("1000S", None),
            ("1000S\n", None),
            ("1000X\n0 0\n", None),
            ("é\n0 0\n", None),
            ("99999999999999999999S\n0 0\n", None),
            ("10S\n1\n", None),
            ("10S\n1 1 1\n", None),
            ("10S\n-1 0\n", None),
            ("10S\n9223372036854775807 1\n1 1\n", None),
        ] {
            assert_eq!(MaildirSize::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn messages_decide() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let limit = MailboxLimit { bytes: 100, messages: 3 };
        let text = || std::fs::read_to_string(path.join(FILE)).unwrap();
        add(path, 1).unwrap();
        assert!(!path.join(FILE).exists(), "without a sum there is nothing to add to");
        assert_eq!(has_room(path, limit, 100), Ok(true), "not yet a Maildir");
        let maildir = Maildir::open(path).unwrap();
        let deliver = |bytes: usize| maildir.deliver(b"", &mut vec![b'x'; bytes].as_slice()).unwrap();
        assert_eq!((has_room(path, limit, 101), text()), (Ok(false), "100S,3C\n0 0\n".to_owned()));
        deliver(60);
        assert_eq!((has_room(path, limit, 40), text()), (Ok(true), "100S,3C\n0 0\n60 1\n".to_owned()));
        // Before it is refused, the messages are counted again; then one line is believed for a while.
        assert_eq!((has_room(path, limit, 41), text()), (Ok(false), "100S,3C\n60 1\n".to_owned()));
        std::fs::create_dir_all(path.join(".Sent/cur")).unwrap();
        std::fs::create_dir_all(path.join(".Trash/cur")).unwrap();
        for name in
            [".Sent/cur/1.a.b,S=10:2,S", ".Sent/cur/2.a.b,S=10:2,ST", ".Trash/cur/3.a.b,S=10", "cur/4.a,S=5,W=9:2,"]
        {
            std::fs::write(path.join(name), "not counted").unwrap();
        }
        assert_eq!((has_room(path, limit, 41), text()), (Ok(false), "100S,3C\n60 1\n".to_owned()));
        let past = SystemTime::now() - OLD;
        File::open(path.join(FILE)).unwrap().set_modified(past).unwrap();
        assert_eq!((has_room(path, limit, 41), text()), (Ok(false), "100S,3C\n75 3\n".to_owned()));
        assert_eq!(has_room(path, limit, 1), Ok(false), "too many");
        let other = MailboxLimit { bytes: 200, messages: 0 };
        assert_eq!((has_room(path, other, 125), text()), (Ok(true), "200S\n75 3\n".to_owned()));
        std::fs::write(path.join(FILE), "rubbish").unwrap();
        assert_eq!((has_room(path, other, 126), text()), (Ok(false), "200S\n75 3\n".to_owned()));
        for _ in 0..1500 {
            add(path, 0).unwrap();
        }
        assert_eq!((has_room(path, other, 125), text()), (Ok(true), "200S\n75 3\n".to_owned()), "too long a file");
    }

    /// A link at the file's name leads nowhere.
    #[test]
    fn a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("box");
        let target = directory.path().join("target");
        Maildir::create(&path).unwrap();
        std::fs::write(&target, "100S\n0 0\n").unwrap();
        std::os::unix::fs::symlink(&target, path.join(FILE)).unwrap();
        let limit = MailboxLimit { bytes: 100, messages: 0 };
        assert!(has_room(&path, limit, 1).is_err() && add(&path, 1).is_err());
        assert_eq!(std::fs::read_to_string(target).unwrap(), "100S\n0 0\n");
    }
}
