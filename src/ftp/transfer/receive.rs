//! Downloads.

use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use super::copy::{self, BUFFER, Flow, Progress, Watch};
use super::local::{LocalDir, Origin, Part};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Ahead, Client, size_of, time_of};
use crate::ftp::command::Command;
use crate::ftp::path::RemotePath;
use crate::ftp::reply::Reply;
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
    /// Told of the bytes.
    pub progress: Progress,
}

/// What arrived.
#[derive(Debug, Clone)]
pub struct Got {
    /// Bytes of this run.
    pub bytes: u64,
    /// Where it began: bytes of an earlier run.
    pub resumed_from: u64,
    /// The size of the whole, in bytes.
    pub size: u64,
    /// The remote modification time (UTC), where the server told it.
    pub modified: Option<i64>,
    /// How completeness is known: `size` or, if the server told none, `reply` (226 and a clean end).
    pub verified_by: &'static str,
    /// How long it took.
    pub elapsed: Duration,
    /// The final reply's text; empty when nothing was left to be transferred.
    pub reply: String,
}

/// How the download of a file begins whose size is known, for [`Client::send_ahead`]; `None` where a part is to be
/// continued, or where it is large.
pub fn fetch_ahead(
    path: &RemotePath,
    size: Option<u64>,
    modified: Option<i64>,
    dir: Option<&LocalDir>,
    name: &[u8],
) -> Option<Ahead> {
    let fresh = size? <= CHAINABLE && !dir.is_some_and(|dir| Part::is_there(dir, name));
    let (questions, command) = (questions(path, size, modified, false), Command::Retr(path.argument()));
    fresh.then_some(Ahead { questions, command })
}

/// What has to be asked along with a download.
fn questions(path: &RemotePath, size: Option<u64>, modified: Option<i64>, ascii: bool) -> Vec<Command> {
    let mut questions = Vec::new();
    if size.is_none() && !ascii {
        questions.push(Command::Size(path.argument()));
    }
    if modified.is_none() {
        questions.push(Command::Mdtm(path.argument()));
    }
    questions
}

/// Fetches into a part: from its end if the same remote file is still there, else from the beginning. The caller commits.
pub async fn fetch_part(client: &mut Client, get: &Get<'_>, part: &Part) -> Result<Got, Fault> {
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
        let reply = String::new();
        (get.progress)(size);
        return Ok(Got {
            bytes: 0,
            resumed_from: size,
            size,
            modified,
            verified_by: "size",
            elapsed: started.elapsed(),
            reply,
        });
    }
    (get.progress)(offset);
    let on_start = |begun: &Known| -> Result<(), Fault> {
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
    fetch(client, get, (size, modified), part.file(), offset, started, &on_start).await
}

/// Fetches to something that is no file of ours: stdout, a device, a FIFO.
pub async fn fetch_to(client: &mut Client, get: &Get<'_>, file: &File) -> Result<Got, Fault> {
    fetch(client, get, (get.size, get.modified), file, 0, Instant::now(), &|_| Ok(())).await
}

/// What is known when the first byte may come.
struct Known {
    size: Option<u64>,
    modified: Option<i64>,
    /// The server refused the offset.
    restarted: bool,
}

async fn fetch(
    client: &mut Client,
    get: &Get<'_>,
    (mut size, mut modified): (Option<u64>, Option<i64>),
    file: &File,
    offset: u64,
    started: Instant,
    on_start: &(dyn Fn(&Known) -> Result<(), Fault> + Sync),
) -> Result<Got, Fault> {
    client.set_type(get.ascii).await?;
    let questions = questions(get.path, size, modified, get.ascii);
    let command = Command::Retr(get.path.argument());
    let begun = client.begin(&questions, &command, offset).await?;
    for (question, answer) in questions.iter().zip(&begun.answers) {
        match question {
            Command::Size(_) => size = size_of(answer),
            _ => modified = time_of(answer),
        }
    }
    let offset = if begun.restarted { 0 } else { offset };
    if let Err(fault) = on_start(&Known { size, modified, restarted: begun.restarted }) {
        return Err(client.abandon(fault));
    }
    let expected = size.or_else(|| announced(&begun.opening)).map(|size| size.saturating_sub(offset));
    let flow = Flow { limits: client.limits(), pace: client.pace(), progress: get.progress.clone() };
    let received = match begun.stream {
        Stream::Plain(tcp) if !get.ascii => receive_plain(tcp, file, expected, u64::MAX, &flow).await,
        stream => receive_stream(stream, file, get.ascii, u64::MAX, &flow).await,
    };
    let received = match received {
        Ok(received) => received,
        Err(fault) => return Err(super::explain(client, &command, fault).await),
    };
    let reply = client.finish(&command).await?;
    let total = offset + received.bytes;
    // In ASCII mode bytes are converted: sizes say nothing.
    let verified_by = match size.filter(|_| !get.ascii) {
        Some(size) if size == total => "size",
        Some(size) => {
            let fault = Fault::new(Kind::Incomplete, format!("{total} bytes arrived, the server announced {size}"));
            return Err(fault);
        }
        None if received.clean => "reply",
        None => {
            let fault = "the TLS data connection was cut off, and the server told no size";
            return Err(Fault::new(Kind::Incomplete, fault));
        }
    };
    let (bytes, elapsed) = (received.bytes, started.elapsed());
    Ok(Got { bytes, resumed_from: offset, size: total, modified, verified_by, elapsed, reply: line_of(&reply) })
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
            file.write_all(lines.end()).map_err(copy::local_fault)?;
            if clean {
                drop(flow.limits.io("data connection", tokio::io::AsyncWriteExt::shutdown(&mut stream)).await);
            }
            return Ok(Received { bytes, clean });
        }
        watch.noted(count as u64).await?;
        let piece = buffer.get(..count).unwrap_or_default();
        match ascii {
            true => file.write_all(&lines.convert(piece)),
            false => file.write_all(piece),
        }
        .map_err(copy::local_fault)?;
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
fn announced(opening: &Reply) -> Option<u64> {
    let text = opening.text();
    let end = text.rfind(" bytes")?;
    let head = text.get(..end)?;
    let start = head.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    head.get(start..)?.parse().ok()
}

pub(super) fn line_of(reply: &Reply) -> String {
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
        let size = |text: &str| announced(&Reply::new(150, text));
        assert_eq!(size("Opening BINARY mode data connection for x (1234 bytes)."), Some(1234));
        assert_eq!(size("Opening data connection for 5 bytes"), Some(5));
        assert_eq!(size("ok"), None);
        assert_eq!(size("some bytes"), None);
    }
}
