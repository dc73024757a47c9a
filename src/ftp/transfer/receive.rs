//! Downloads.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncReadExt;

use super::copy::{self, BUFFER, Flow, Watch};
use super::local::LocalDir;
use super::part_file::PartFile;
use super::progress::{TransferAttempt, TransferProgress};
use super::range::Range;
use super::tap::{LocalChecksums, Tap};
use super::verify::{self, Checks};
use super::{Proof, Transferred};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Ahead, Begun, FtpClient, size_of, time_of};
use crate::ftp::command::FtpCommand;
use crate::ftp::listing::EntryType;
use crate::ftp::part::PartTag;
use crate::ftp::path::RemotePath;
use crate::ftp::reply::FtpReply;
use crate::net::stream::Stream;

/// Up to this size the event loop reads a file; above it the kernel copies it on a separate thread.
const SMALL: u64 = 256 * 1024;

/// Up to this size the command of a download may be sent ahead.
const CHAINABLE: u64 = 1 << 20;

/// The request for a download.
pub struct Get<'a> {
    /// The remote path.
    pub path: &'a RemotePath,
    /// The URL without a password: the part's tag depends on it.
    pub url: String,
    /// Text mode: line ends are converted, and the download is never resumed.
    pub ascii: bool,
    /// The size, if a listing reported it.
    pub size: Option<u64>,
    /// The modification time (UTC), if a listing reported it.
    pub modified: Option<i64>,
    /// Continue the part of an earlier run.
    pub resume: bool,
    /// This is a further attempt: a part may exist.
    pub again: bool,
    /// Continue a shorter file of the final name in place.
    pub adopt: bool,
    /// The checks beyond the comparison of sizes.
    pub checks: Checks,
    /// The callback for progress.
    pub progress: TransferProgress,
}

/// The first commands of a download for [`FtpClient::send_ahead`]; `None` if the size is unknown, if the file is large, or if
/// a part may have to be continued.
pub fn fetch_ahead(
    path: &RemotePath,
    size: Option<u64>,
    modified: Option<i64>,
    dir: Option<&LocalDir>,
    name: &[u8],
) -> Option<Ahead> {
    let fresh = size? <= CHAINABLE && dir.is_none_or(|dir| dir.unfinished_of(name).is_empty());
    let (questions, command) = (questions(path, size, modified, false), FtpCommand::Retr(path.argument()));
    fresh.then_some(Ahead { questions, command })
}

/// The questions to send along with a download.
fn questions(path: &RemotePath, size: Option<u64>, modified: Option<i64>, ascii: bool) -> Vec<FtpCommand> {
    let mut questions = Vec::new();
    if size.is_none() && !ascii {
        questions.push(FtpCommand::Size(path.argument()));
    }
    if modified.is_none() {
        questions.push(FtpCommand::Mdtm(path.argument()));
    }
    questions
}

/// The fault of a download, and whether the bytes received before it are useless for continuing.
struct FetchError {
    fault: Fault,
    useless: bool,
}

impl From<Fault> for FetchError {
    fn from(fault: Fault) -> FetchError {
        FetchError { fault, useless: false }
    }
}

impl FetchError {
    fn useless(kind: Kind, detail: impl Into<String>) -> FetchError {
        FetchError { fault: Fault::new(kind, detail), useless: true }
    }
}

/// Fetches a file into an unfinished file: it continues the part of an earlier run from the same source, else it starts at the
/// beginning. The caller commits the result. Data that turns out to differ is discarded.
///
/// # Errors
/// A refusal of the server, a failure on a connection or on the disk, `Incomplete`, or `BadData` for a file that changed.
pub async fn fetch_part(
    client: &mut FtpClient,
    get: &Get<'_>,
    dir: &Arc<LocalDir>,
    name: &[u8],
) -> Result<(Transferred, PartFile), Fault> {
    let mut part = None;
    match fetch_into(client, get, dir, name, &mut part).await {
        Ok(got) => match part {
            Some(part) => Ok((got, part)),
            None => Err(Fault::new(Kind::Internal, "a download without a file")),
        },
        Err(FetchError { fault, useless }) => Err(match part {
            Some(part) if useless => {
                part.discard();
                fault
            }
            Some(part) if fault.temporary() && part.can_be_continued() => {
                fault.with_hint("the received part is kept; the same command continues it")
            }
            _ => fault,
        }),
    }
}

async fn fetch_into(
    client: &mut FtpClient,
    get: &Get<'_>,
    dir: &Arc<LocalDir>,
    name: &[u8],
    part: &mut Option<PartFile>,
) -> Result<Transferred, FetchError> {
    let started = Instant::now();
    let mut facts = (get.size, get.modified);
    let shorter = get.adopt && dir.plain_file(name).is_some_and(|(have, _)| have > 0);
    if get.resume && !get.ascii && (get.again || shorter || !dir.unfinished_of(name).is_empty()) {
        if facts.0.is_none() || facts.1.is_none() {
            facts = client.size_and_time(get.path).await?;
        }
        *part = open_left(get, dir, name, facts, shorter)?;
    }
    let offset = part.as_ref().map_or(0, PartFile::found);
    let mut got = match part {
        Some(_) if Some(offset) == facts.0 => {
            let size = facts.0.filter(|_| get.size.is_none());
            TransferAttempt::begin(&get.progress, get.path, size, offset).complete();
            let (size, modified) = facts;
            Transferred { size, modified, resumed_from: offset, proof: Proof::Size, ..Transferred::default() }
        }
        _ => {
            let begun = begin(client, get, facts, offset).await?;
            match place(get, dir, name, &begun, part) {
                Ok(file) => receive(client, get, begun, &file, u64::MAX, None).await?,
                Err(fault) => return Err(client.abandon(fault).into()),
            }
        }
    };
    got.elapsed = started.elapsed();
    if got.resumed_from > 0 {
        // The two parts belong together only if the file has not changed until now.
        let (size, modified) = client.size_and_time(get.path).await?;
        if size != got.size || !agree(modified, got.modified) {
            return Err(FetchError::useless(Kind::Incomplete, "the file changed while the rest of it was fetched"));
        }
    }
    if let (Some(part), true) = (part, get.checks != Checks::default()) {
        let found = verify::of_file(part.file(), get.checks.algorithms(client)).await?;
        got.check(client, get, &found).await.map_err(|fault| {
            let useless = matches!(fault.kind, Kind::BadData | Kind::Incomplete);
            FetchError { fault, useless }
        })?;
    }
    Ok(got)
}

/// The file to continue, if any: the part of this source, or the user's own file.
fn open_left(
    get: &Get<'_>,
    dir: &Arc<LocalDir>,
    name: &[u8],
    (size, modified): (Option<u64>, Option<i64>),
    shorter: bool,
) -> Result<Option<PartFile>, Fault> {
    let tag = tag(get, size, modified);
    let part = tag.map(|tag| PartFile::of_source(dir, name, &tag)).transpose()?;
    let left = |part: &PartFile| part.found() > 0 && size.is_some_and(|size| part.found() <= size);
    match part.filter(left) {
        None if shorter => {
            // If the remote file is newer than the local bytes, they belong to another version.
            let own = PartFile::own(dir, name)?.filter(left);
            Ok(own.filter(|own| modified.is_none_or(|modified| modified <= own.written())))
        }
        part => Ok(part),
    }
}

/// The tag of the part: it stands for the file in its present state. `None` if the server reports too little to recognize it.
fn tag(get: &Get<'_>, size: Option<u64>, modified: Option<i64>) -> Option<PartTag> {
    let (size, modified) = size.zip(modified).filter(|_| !get.ascii)?;
    Some(PartTag::of_source(&[get.url.as_bytes(), &size.to_be_bytes(), &modified.to_be_bytes()]))
}

/// The file for the bytes of a begun transfer, at the right position.
fn place(
    get: &Get<'_>,
    dir: &Arc<LocalDir>,
    name: &[u8],
    begun: &BegunFile,
    part: &mut Option<PartFile>,
) -> Result<File, Fault> {
    if begun.offset == 0 {
        let made = match tag(get, begun.size, begun.modified) {
            // The one that could not be continued.
            _ if part.as_ref().is_some_and(PartFile::is_part) => None,
            Some(tag) => Some(PartFile::of_source(dir, name, &tag)?),
            None => Some(PartFile::of_run(dir, name)?),
        };
        *part = made.or(part.take());
    }
    let Some(part) = part else { return Err(Fault::new(Kind::Internal, "a download without a file")) };
    match begun.offset {
        0 if part.found() > 0 => part.restart()?,
        0 => {}
        _ => part.append()?,
    }
    copy::share(part.file())
}

fn agree(then: Option<i64>, now: Option<i64>) -> bool {
    then.is_none() || now.is_none() || then == now
}

/// The refusal of a file that the user named: if it is a directory, the hint names the option that fetches it.
pub async fn refusal_of_named(client: &mut FtpClient, path: &RemotePath, fault: Fault) -> Fault {
    let refused = fault.reply_code().is_some() && !fault.temporary() && client.usable();
    match refused && matches!(client.stat(path).await, Ok(Some(entry)) if entry.entry_type == EntryType::Directory) {
        true => fault.with_hint("it is a directory: -r fetches it, ftpls lists it"),
        false => fault,
    }
}

/// Fetches to a file that the user provides: stdout, a device, a FIFO.
///
/// # Errors
/// As [`fetch_part`].
pub async fn fetch_to(client: &mut FtpClient, get: &Get<'_>, file: &File) -> Result<Transferred, Fault> {
    let algorithms = get.checks.algorithms(client);
    let tap = (!algorithms.is_empty()).then(|| Tap::new(&algorithms));
    let started = Instant::now();
    let begun = begin(client, get, (get.size, get.modified), 0).await?;
    let mut got = receive(client, get, begun, file, u64::MAX, tap.clone()).await.map_err(|error| error.fault)?;
    got.elapsed = started.elapsed();
    let found = tap.map(Tap::finish).unwrap_or_default();
    got.check(client, get, &found).await?;
    Ok(got)
}

/// Fetches a range of a file. If the server reports the size, the range is complete as far as the file extends.
///
/// # Errors
/// As [`fetch_part`].
pub async fn fetch_range(
    client: &mut FtpClient,
    get: &Get<'_>,
    range: Range,
    file: &File,
) -> Result<Transferred, Fault> {
    let started = Instant::now();
    let (size, modified) = client.size_and_time(get.path).await?;
    let Some((offset, most)) = range.within(size) else {
        return Err(match size {
            Some(size) => Fault::new(Kind::NoInput, format!("the file has {size} bytes: none of them is in the range")),
            None => Fault::new(
                Kind::Unsupported,
                "the server does not report the size: only the first bytes can be counted",
            ),
        });
    };
    let begun = begin(client, get, (size, modified), offset).await?;
    if begun.restarted {
        return Err(client.abandon(Fault::new(Kind::Unsupported, "the server cannot begin in the middle of a file")));
    }
    let got = receive(client, get, begun, file, most, None).await.map_err(|error| error.fault)?;
    Ok(Transferred { size: Some(got.bytes), resumed_from: 0, elapsed: started.elapsed(), ..got })
}

impl Transferred {
    /// Verifies the copy beyond its size.
    async fn check(&mut self, client: &mut FtpClient, get: &Get<'_>, found: &LocalChecksums) -> Result<(), Fault> {
        // The server's checksum covers its own line ends.
        let checks = Checks { server: get.checks.server && !get.ascii, ..get.checks.clone() };
        if let Some((by, checksum)) = checks.judge(client, get.path, found).await? {
            (self.proof, self.checksum) = (by, Some(checksum));
        } else if checks.server {
            let (size, modified) = client.size_and_time(get.path).await?;
            if (size.is_some() && size != self.size) || !agree(self.modified, modified) {
                return Err(Fault::new(Kind::Incomplete, "the file changed while it was fetched"));
            }
            if size.is_some() && modified.is_some() && modified == self.modified {
                self.proof = Proof::SizeAndTime;
            }
        }
        Ok(())
    }
}

/// A transfer that has begun, and the facts known before its first byte.
struct BegunFile {
    command: FtpCommand,
    stream: Stream,
    /// The 150 reply.
    opening: FtpReply,
    size: Option<u64>,
    modified: Option<i64>,
    /// The offset of the first byte in the remote file.
    offset: u64,
    /// The server refused the requested offset.
    restarted: bool,
}

async fn begin(
    client: &mut FtpClient,
    get: &Get<'_>,
    (mut size, mut modified): (Option<u64>, Option<i64>),
    offset: u64,
) -> Result<BegunFile, Fault> {
    client.set_type(get.ascii).await?;
    let questions = questions(get.path, size, modified, get.ascii);
    let command = FtpCommand::Retr(get.path.argument());
    let begun = client.begin(&questions, &command, offset).await?;
    for (question, answer) in questions.iter().zip(&begun.answers) {
        match question {
            FtpCommand::Size(_) => size = size_of(answer),
            _ => modified = time_of(answer),
        }
    }
    let offset = if begun.restarted { 0 } else { offset };
    let Begun { stream, restarted, opening, .. } = begun;
    Ok(BegunFile { command, stream, opening, size, modified, offset, restarted })
}

/// Receives a begun transfer into a file that is at the right position: at most `most` bytes.
async fn receive(
    client: &mut FtpClient,
    get: &Get<'_>,
    begun: BegunFile,
    file: &File,
    most: u64,
    tap: Option<Tap>,
) -> Result<Transferred, FetchError> {
    let BegunFile { command, stream, opening, size, mut modified, offset, .. } = begun;
    let expected = size.or_else(|| announced(&opening)).map(|size| size.saturating_sub(offset));
    // A range of a file is reported like a whole file.
    let from = if most == u64::MAX { offset } else { 0 };
    let whole = expected.map(|rest| rest.min(most).saturating_add(from));
    let attempt = TransferAttempt::begin(&get.progress, get.path, whole.filter(|_| get.size.is_none()), from);
    let (limits, pace, transferred) = (client.limits(), client.pace(), client.transferred());
    let flow = Flow { limits, pace, attempt: attempt.clone(), transferred, tap };
    let tls = stream.tls_info();
    let received = match stream {
        // Bytes for the tap must pass through this process.
        Stream::Plain(tcp) if !get.ascii && flow.tap.is_none() => receive_plain(tcp, file, expected, most, &flow).await,
        stream => receive_stream(stream, file, get.ascii, most, &flow).await,
    };
    let received = match received {
        Ok(received) => received,
        Err(fault) => return Err(super::explain(client, &command, fault).await.into()),
    };
    let total = offset + received.bytes;
    // All requested bytes are here: the server's reply to the closed data connection does not matter.
    let enough = received.bytes == most;
    let reply = match enough {
        true => client.finish_short().await,
        false => line_of(&client.finish(&command).await?),
    };
    let mut changed = false;
    // In ASCII mode bytes are converted: sizes cannot be compared.
    let proof = match size.filter(|_| !get.ascii) {
        _ if enough => Proof::Size,
        Some(size) if size == total => Proof::Size,
        Some(size) => {
            modified = size_of_now(client, get, size, total, offset == 0 && received.clean, modified).await?;
            changed = true;
            Proof::Size
        }
        None if received.clean => Proof::Reply,
        None => {
            let fault = "the TLS data connection was cut off, and the server told no size";
            return Err(Fault::new(Kind::Incomplete, fault).into());
        }
    };
    attempt.complete();
    Ok(Transferred {
        size: Some(total),
        bytes: received.bytes,
        resumed_from: offset,
        modified,
        proof,
        changed,
        reply,
        tls,
        ..Transferred::default()
    })
}

/// The server ended the transfer after another number of bytes than announced. It is asked again: a file that has grown or
/// shrunk meanwhile is complete if the size it reports now agrees. Returns the modification time in that case.
async fn size_of_now(
    client: &mut FtpClient,
    get: &Get<'_>,
    size: u64,
    total: u64,
    whole: bool,
    modified: Option<i64>,
) -> Result<Option<i64>, FetchError> {
    let asked = client.size_and_time(get.path).await;
    let (now, time) = asked.map_err(|fault| FetchError { fault, useless: total > size })?;
    let detail = format!("{total} bytes arrived, the server announced {size}");
    match now {
        Some(now) if whole && now == total => Ok(time.or(modified)),
        // It is still growing: the bytes are those of an earlier state and get its time, so that it is fetched again.
        Some(now) if whole && total > size && now > total => Ok(modified),
        _ if total < size && now.is_none_or(|now| now == size) => Err(Fault::new(Kind::Incomplete, detail).into()),
        // The part belongs to another file, or the end was cut off.
        _ if !whole => Err(FetchError::useless(Kind::Incomplete, detail)),
        _ => Err(FetchError::useless(Kind::BadData, format!("the file changed while it was fetched: {detail}"))),
    }
}

/// The number of bytes received, and whether the connection ended properly.
struct Received {
    bytes: u64,
    clean: bool,
}

/// Clear text: the event loop reads small files; the kernel copies large ones on a separate thread.
async fn receive_plain(
    mut tcp: tokio::net::TcpStream,
    mut file: &File,
    expected: Option<u64>,
    most: u64,
    flow: &Flow,
) -> Result<Received, Fault> {
    let mut bytes = 0u64;
    if expected.is_none_or(|expected| expected <= SMALL) {
        let mut watch = Watch::new(flow);
        let mut buffer = vec![0; usize::try_from(expected.unwrap_or(SMALL).clamp(4096, SMALL) + 1).unwrap_or(BUFFER)];
        while bytes <= SMALL && bytes < most {
            let wanted = copy::wanted(&watch, buffer.len(), most, bytes);
            watch.begin();
            let read = tcp.read(buffer.get_mut(..wanted).unwrap_or_default());
            let count = flow.limits.io("data connection", read).await?;
            if count == 0 {
                return Ok(Received { bytes, clean: true });
            }
            watch.noted(count as u64).await?;
            file.write_all(buffer.get(..count).unwrap_or_default()).map_err(copy::local_fault)?;
            bytes += count as u64;
        }
        if bytes == most {
            return Ok(Received { bytes, clean: true });
        }
    }
    let socket = tcp.into_std().map_err(|error| Fault::network("data connection", &error))?;
    let (file, watch) = (copy::share(file)?, Watch::new(flow));
    let rest = tokio::task::spawn_blocking(move || copy::receive(&socket, &file, most - bytes, watch)).await;
    let rest = rest.map_err(|error| Fault::new(Kind::Internal, error.to_string()))??;
    Ok(Received { bytes: bytes + rest, clean: true })
}

/// TLS, and text with conversion of line ends.
async fn receive_stream(
    mut stream: Stream,
    mut file: &File,
    ascii: bool,
    most: u64,
    flow: &Flow,
) -> Result<Received, Fault> {
    let mut watch = Watch::new(flow);
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0u64;
    let mut lines = LineEnds::default();
    while bytes < most {
        let wanted = copy::wanted(&watch, BUFFER, most, bytes);
        watch.begin();
        let read = flow.limits.run("data connection", async {
            match stream.read(buffer.get_mut(..wanted).unwrap_or_default()).await {
                Ok(count) => Ok((count, true)),
                // TLS without close_notify: an attacker may have truncated it.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok((0, false)),
                Err(error) => Err(Fault::network("data connection", &error)),
            }
        });
        let (count, clean) = read.await?;
        if count == 0 {
            let rest = lines.end();
            flow.tap(rest);
            file.write_all(rest).map_err(copy::local_fault)?;
            if clean {
                drop(flow.limits.io("data connection", tokio::io::AsyncWriteExt::shutdown(&mut stream)).await);
            }
            return Ok(Received { bytes, clean });
        }
        watch.noted(count as u64).await?;
        let piece = buffer.get(..count).unwrap_or_default();
        let converted;
        let piece = match ascii {
            true => {
                converted = lines.convert(piece);
                &converted
            }
            false => piece,
        };
        flow.tap(piece);
        file.write_all(piece).map_err(copy::local_fault)?;
        bytes += count as u64;
    }
    Ok(Received { bytes, clean: true })
}

/// Converts CRLF to LF over pieces of any size; a CR without a following LF stays.
#[derive(Debug, Default)]
struct LineEnds {
    carried: bool,
}

impl LineEnds {
    fn convert(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len() + 1);
        for &byte in piece {
            if self.carried && byte != b'\n' {
                out.push(b'\r');
            }
            self.carried = byte == b'\r';
            if !self.carried {
                out.push(byte);
            }
        }
        out
    }

    fn end(&mut self) -> &'static [u8] {
        if std::mem::take(&mut self.carried) { b"\r" } else { b"" }
    }
}

/// The size that many servers put into the 150 reply: `… (1234 bytes)`. It is not reliable.
fn announced(opening: &FtpReply) -> Option<u64> {
    let text = opening.text();
    let end = text.rfind(" bytes")?;
    let head = text.get(..end)?;
    let start = head.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    head.get(start..)?.parse().ok()
}

pub(super) fn line_of(reply: &FtpReply) -> String {
    format!("{} {}", reply.code, reply.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_over_every_split() {
        let text = b"a\r\nb\rc\r\r\n\nend\r";
        let want = b"a\nb\rc\r\n\nend\r";
        for at in 0..=text.len() {
            let mut lines = LineEnds::default();
            let got = [lines.convert(&text[..at]), lines.convert(&text[at..]), lines.end().to_vec()].concat();
            assert_eq!(got, want, "split at {at}");
        }
    }

    #[test]
    fn sizes_in_the_opening_reply() {
        let size = |text: &str| announced(&FtpReply::new(150, text));
        assert_eq!(size("Opening BINARY mode data connection for x (1234 bytes)."), Some(1234));
        assert_eq!(size("Opening data connection for 5 bytes"), Some(5));
        assert_eq!(size("ok"), None);
        assert_eq!(size("some bytes"), None);
    }
}
