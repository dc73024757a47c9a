//! Downloads.

use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

use tokio::io::AsyncReadExt;

use super::copy::{self, BUFFER, ByteProgress, Flow, Watch};
use super::local::{LocalDir, Origin, PartFile};
use super::range::Range;
use super::tap::{LocalChecksums, Tap};
use super::verify::{self, Checks};
use super::{Proof, Transferred};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Ahead, FtpClient, size_of, time_of};
use crate::ftp::command::FtpCommand;
use crate::ftp::path::RemotePath;
use crate::ftp::reply::FtpReply;
use crate::net::stream::Stream;

/// Up to this size a file is read by the event loop; above it a thread of its own lets the kernel copy.
const SMALL: u64 = 256 * 1024;

/// Up to this size the command of a download may be sent ahead.
const CHAINABLE: u64 = 1 << 20;

/// What is to be fetched.
pub struct Get<'a> {
    /// Where from.
    pub path: &'a RemotePath,
    /// The URL without a password: what a part remembers.
    pub url: String,
    /// Text: lines converted, never resumed.
    pub ascii: bool,
    /// The size, where a listing told it.
    pub size: Option<u64>,
    /// The modification time (UTC), where a listing told it.
    pub modified: Option<i64>,
    /// Continue what an earlier run left.
    pub resume: bool,
    /// What is compared besides the size.
    pub checks: Checks,
    /// Told of the bytes.
    pub progress: ByteProgress,
}

/// How the download of a file begins whose size is known, for [`FtpClient::send_ahead`]; `None` where a part is to be
/// continued, or where it is large.
pub fn fetch_ahead(
    path: &RemotePath,
    size: Option<u64>,
    modified: Option<i64>,
    dir: Option<&LocalDir>,
    name: &[u8],
) -> Option<Ahead> {
    let fresh = size? <= CHAINABLE && !dir.is_some_and(|dir| PartFile::is_there(dir, name));
    let (questions, command) = (questions(path, size, modified, false), FtpCommand::Retr(path.argument()));
    fresh.then_some(Ahead { questions, command })
}

/// What has to be asked along with a download.
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

/// Fetches into a part: from its end if the same remote file is still there, else from the beginning. The caller commits.
/// What turns out to differ is no beginning of anything: the part is empty then.
///
/// # Errors
/// What the server refuses, what failed on a connection or on the disk, or `Incomplete`.
pub async fn fetch_part(client: &mut FtpClient, get: &Get<'_>, part: &PartFile) -> Result<Transferred, Fault> {
    let mut got = part_by_size(client, get, part).await?;
    if get.checks != Checks::default() {
        let found = verify::of_file(part.file(), get.checks.algorithms(client)).await?;
        if let Err(fault) = got.check(client, get, &found).await {
            if matches!(fault.kind, Kind::BadData | Kind::Incomplete) {
                part.restart()?;
            }
            return Err(fault);
        }
    }
    Ok(got)
}

async fn part_by_size(client: &mut FtpClient, get: &Get<'_>, part: &PartFile) -> Result<Transferred, Fault> {
    let started = Instant::now();
    let left = part.length()?;
    let (mut size, mut modified) = (get.size, get.modified);
    let mut offset = 0;
    if left > 0 {
        let origin = part.origin().filter(|_| get.resume && !get.ascii);
        if let Some(origin) = origin {
            if size.is_none() || modified.is_none() {
                (size, modified) = client.size_and_time(get.path).await?;
            }
            let same = origin.url == get.url && Some(origin.size) == size && Some(origin.modified) == modified;
            if same && left <= origin.size {
                offset = left;
            }
        }
        match offset {
            0 => part.restart()?,
            _ => part.append()?,
        }
    }
    if let (Some(size), true) = (size, offset > 0)
        && offset == size
    {
        (get.progress)(size);
        let (proof, elapsed) = (Proof::Size, started.elapsed());
        return Ok(Transferred {
            size: Some(size),
            resumed_from: size,
            modified,
            proof,
            elapsed,
            ..Transferred::default()
        });
    }
    (get.progress)(offset);
    let on_start = |begun: &RemoteFacts| -> Result<(), Fault> {
        if begun.restarted {
            part.restart()?;
        }
        if let (Some(size), Some(modified), false) = (begun.size, begun.modified, get.ascii)
            && size > SMALL
        {
            part.remember(&Origin { url: get.url.clone(), size, modified });
        }
        Ok(())
    };
    let to = ReceiveTarget { file: part.file(), offset, most: u64::MAX, tap: None };
    fetch(client, get, (size, modified), to, started, &on_start).await
}

/// Fetches to something that is no file of ours: stdout, a device, a FIFO.
///
/// # Errors
/// As [`fetch_part`].
pub async fn fetch_to(client: &mut FtpClient, get: &Get<'_>, file: &File) -> Result<Transferred, Fault> {
    let algorithms = get.checks.algorithms(client);
    let tap = (!algorithms.is_empty()).then(|| Tap::new(&algorithms));
    let to = ReceiveTarget { file, offset: 0, most: u64::MAX, tap: tap.clone() };
    let mut got = fetch(client, get, (get.size, get.modified), to, Instant::now(), &|_| Ok(())).await?;
    let found = tap.map(Tap::finish).unwrap_or_default();
    got.check(client, get, &found).await?;
    Ok(got)
}

/// Fetches a piece of a file. Where the server tells the size it is the whole piece, as far as the file reaches.
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
            None => Fault::new(Kind::Unsupported, "the server tells no size: only the first bytes can be counted"),
        });
    };
    let to = ReceiveTarget { file, offset, most, tap: None };
    let refused = |begun: &RemoteFacts| match begun.restarted {
        true => Err(Fault::new(Kind::Unsupported, "the server cannot begin in the middle of a file")),
        false => Ok(()),
    };
    let got = fetch(client, get, (size, modified), to, started, &refused).await?;
    Ok(Transferred { size: Some(got.bytes), resumed_from: 0, ..got })
}

impl Transferred {
    /// Compares what is here with more than the size.
    async fn check(&mut self, client: &mut FtpClient, get: &Get<'_>, found: &LocalChecksums) -> Result<(), Fault> {
        // The server's checksum is that of its own line ends.
        let checks = Checks { server: get.checks.server && !get.ascii, ..get.checks.clone() };
        if let Some((by, checksum)) = checks.judge(client, get.path, found).await? {
            (self.proof, self.checksum) = (by, Some(checksum));
        } else if checks.server {
            let (size, modified) = client.size_and_time(get.path).await?;
            let same = |then: Option<i64>, now: Option<i64>| then.is_none() || now.is_none() || then == now;
            if (size.is_some() && size != self.size) || !same(self.modified, modified) {
                return Err(Fault::new(Kind::Incomplete, "the file changed while it was fetched"));
            }
            if size.is_some() && modified.is_some() && modified == self.modified {
                self.proof = Proof::SizeAndTime;
            }
        }
        Ok(())
    }
}

/// Where the bytes go, and which.
struct ReceiveTarget<'a> {
    file: &'a File,
    /// Where in the remote file they begin.
    offset: u64,
    /// How many at most.
    most: u64,
    /// Sees them as they pass.
    tap: Option<Tap>,
}

/// What is known when the first byte may come.
struct RemoteFacts {
    size: Option<u64>,
    modified: Option<i64>,
    /// The server refused the offset.
    restarted: bool,
}

async fn fetch(
    client: &mut FtpClient,
    get: &Get<'_>,
    (mut size, mut modified): (Option<u64>, Option<i64>),
    to: ReceiveTarget<'_>,
    started: Instant,
    on_start: &(dyn Fn(&RemoteFacts) -> Result<(), Fault> + Sync),
) -> Result<Transferred, Fault> {
    client.set_type(get.ascii).await?;
    let questions = questions(get.path, size, modified, get.ascii);
    let command = FtpCommand::Retr(get.path.argument());
    let begun = client.begin(&questions, &command, to.offset).await?;
    for (question, answer) in questions.iter().zip(&begun.answers) {
        match question {
            FtpCommand::Size(_) => size = size_of(answer),
            _ => modified = time_of(answer),
        }
    }
    let offset = if begun.restarted { 0 } else { to.offset };
    if let Err(fault) = on_start(&RemoteFacts { size, modified, restarted: begun.restarted }) {
        return Err(client.abandon(fault));
    }
    let expected = size.or_else(|| announced(&begun.opening)).map(|size| size.saturating_sub(offset));
    let (limits, pace, progress) = (client.limits(), client.pace(), get.progress.clone());
    let flow = Flow { limits, pace, progress, tap: to.tap };
    let received = match begun.stream {
        // What is looked at has to pass through us.
        Stream::Plain(tcp) if !get.ascii && flow.tap.is_none() => {
            receive_plain(tcp, to.file, expected, to.most, &flow).await
        }
        stream => receive_stream(stream, to.file, get.ascii, to.most, &flow).await,
    };
    let received = match received {
        Ok(received) => received,
        Err(fault) => return Err(super::explain(client, &command, fault).await),
    };
    let total = offset + received.bytes;
    // Everything that was asked for is here: what the server says about a closed data connection is no news.
    let enough = received.bytes == to.most;
    let reply = match enough {
        true => client.finish_short().await,
        false => line_of(&client.finish(&command).await?),
    };
    // In ASCII mode bytes are converted: sizes say nothing.
    let proof = match size.filter(|_| !get.ascii) {
        _ if enough => Proof::Size,
        Some(size) if size == total => Proof::Size,
        Some(size) => {
            let fault = Fault::new(Kind::Incomplete, format!("{total} bytes arrived, the server announced {size}"));
            return Err(fault);
        }
        None if received.clean => Proof::Reply,
        None => {
            let fault = "the TLS data connection was cut off, and the server told no size";
            return Err(Fault::new(Kind::Incomplete, fault));
        }
    };
    Ok(Transferred {
        size: Some(total),
        bytes: received.bytes,
        resumed_from: offset,
        modified,
        proof,
        elapsed: started.elapsed(),
        reply,
        ..Transferred::default()
    })
}

/// Bytes that came, and whether the end was a proper one.
struct Received {
    bytes: u64,
    clean: bool,
}

/// Clear text: small files by the event loop, large ones by the kernel in a thread of their own.
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

/// TLS, and text whose line ends are converted.
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
                // TLS without close_notify: somebody may have cut it off.
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

/// CRLF to LF over pieces of any size; a CR that no LF follows stays.
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

/// The size that many servers put into the 150 reply: `… (1234 bytes)`. Only a forecast.
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
