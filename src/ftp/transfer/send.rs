//! Uploads.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::copy::{self, BUFFER, Flow, Watch};
use super::progress::{TransferAttempt, TransferProgress};
use super::receive::line_of;
use super::resume::{self, WORTH_RESUMING};
use super::stored::{PendingUpload, UploadStep};
use super::tap::Tap;
use super::verify::{self, Checks};
use super::{Proof, Transferred};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Ahead, FtpClient};
use crate::ftp::command::FtpCommand;
use crate::ftp::part::{PartTag, part_name};
use crate::ftp::path::RemotePath;
use crate::ftp::reply::FtpReply;
use crate::net::stream::{Stream, TlsInfo, reset_when_dropped};

/// Up to this size the event loop sends a file.
const SMALL: u64 = 64 * 1024;
/// The longest wait for the peer's close_notify: IIS never sends one.
const CLOSE_NOTIFY: Duration = Duration::from_secs(2);

/// How an upload replaces an existing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplaceMode {
    /// Written under a temporary name and renamed when it is complete: a partial file never has the final name.
    #[default]
    TempAndRename,
    /// As [`ReplaceMode::TempAndRename`], but the old file is deleted first, for servers that do not rename over a file.
    DeleteFirst,
    /// Written under its final name from the start.
    InPlace,
    /// Appended to the existing file.
    Append,
}

/// The source of the bytes.
pub struct OpenFile<'a> {
    /// The open file, read from its present position.
    pub file: &'a File,
    /// Its size, if it is a plain file.
    pub size: Option<u64>,
    /// Its modification time, to be set on the server.
    pub modified: Option<i64>,
}

/// The request for an upload.
pub struct Put<'a> {
    /// The remote path.
    pub path: &'a RemotePath,
    /// How it replaces an existing file.
    pub replace: ReplaceMode,
    /// Text: LF becomes CRLF.
    pub ascii: bool,
    /// The tag that names the temporary file after its source.
    pub tag: PartTag,
    /// Continue the part on the server: the tag is that of the source, or an earlier attempt of this run has used it.
    pub resume: bool,
    /// Permission bits to set (SITE CHMOD).
    pub mode: Option<u32>,
    /// The checks beyond the comparison of sizes.
    pub checks: Checks,
    /// The callback for progress.
    pub progress: TransferProgress,
}

/// Stores one file. It is complete after a 226 reply if the size agrees, or if the server reports no size.
///
/// # Errors
/// A refusal of the server, a failure on a connection, or `Incomplete` if the sizes differ.
pub async fn store(client: &mut FtpClient, put: &Put<'_>, source: &OpenFile<'_>) -> Result<Transferred, Fault> {
    let mut stored = upload(client, put, source).await?;
    loop {
        let commands = stored.commands(client);
        if commands.is_empty() {
            return Ok(stored.done());
        }
        let replies = client.call_all(&commands).await?;
        stored.answers(client, &replies)?;
    }
}

/// The first command of the upload, for [`FtpClient::send_ahead`]; `None` if it cannot be sent ahead.
pub fn upload_ahead(put: &Put<'_>, size: u64) -> Option<Ahead> {
    if put.replace == ReplaceMode::Append {
        return None;
    }
    let path = temporary(put).ok()?.unwrap_or_else(|| put.path.clone());
    let command = FtpCommand::Stor(path.argument());
    // A checksum is requested between this transfer and the next one.
    (!put.ascii && size < WORTH_RESUMING && put.checks == Checks::default())
        .then_some(Ahead { questions: Vec::new(), command })
}

/// Sends the bytes of one file. [`PendingUpload::commands`] gives the commands for the rest: checking and naming.
///
/// # Errors
/// A refusal of the server, or a failure on a connection or in reading the file.
pub async fn upload(client: &mut FtpClient, put: &Put<'_>, source: &OpenFile<'_>) -> Result<PendingUpload, Fault> {
    let started = Instant::now();
    client.set_type(put.ascii).await?;
    let (mut temporary, mut offset) = (temporary(put)?, 0);
    if let Some(size) = source.size.filter(|size| *size >= WORTH_RESUMING)
        && put.resume
        && !put.ascii
        && put.replace != ReplaceMode::Append
    {
        let path = temporary.as_ref().unwrap_or(put.path);
        match resume::offset(client, path, (source.file, size), temporary.is_some()).await? {
            Some(there) => offset = there,
            None => temporary = Some(temporary_path(put.path, &PartTag::of_run()?)?),
        }
    }
    let path = temporary.as_ref().unwrap_or(put.path);
    let command = match (put.replace, offset) {
        (ReplaceMode::Append, _) => FtpCommand::Appe(path.argument()),
        _ => FtpCommand::Stor(path.argument()),
    };
    let wanted = match put.ascii || put.replace == ReplaceMode::Append {
        true => Vec::new(),
        false => put.checks.algorithms(client),
    };
    // A source that is not a plain file can be read only once.
    let tap = (!wanted.is_empty() && source.size.is_none()).then(|| Tap::new(&wanted));
    let mut sent = transfer(client, put, source, (&command, offset), tap.clone()).await;
    // Some servers resume no upload, or only one that they saw break off: the part is ours, so it starts over.
    if let (true, Some(temporary), Err(fault)) = (offset > 0, &temporary, &sent)
        && matches!(fault.reply_code(), Some(500..=504 | 550 | 551 | 553 | 554))
        && client.usable()
    {
        client.note(&format!("the part starts over: {fault}"));
        client.call(&FtpCommand::Dele(temporary.argument())).await?;
        let mut file = source.file;
        std::io::Seek::rewind(&mut file).map_err(|error| Fault { kind: Kind::Io, ..Fault::local("input", &error) })?;
        offset = 0;
        sent = transfer(client, put, source, (&command, 0), tap.clone()).await;
    }
    let (bytes, reply, tls) = match (sent, &temporary) {
        (Ok(sent), _) => sent,
        (Err(fault), None) => return Err(fault),
        (Err(fault), Some(temporary)) => {
            // The server has no room for it, and no run will continue it.
            if matches!(fault.reply_code(), Some(452 | 552)) && !put.resume && client.usable() {
                client.call(&FtpCommand::Dele(temporary.argument())).await?;
            }
            return Err(with_way_round(fault));
        }
    };
    // Sizes cannot be compared after appending (old plus new bytes), nor for converted text.
    let check = !put.ascii && put.replace != ReplaceMode::Append;
    let total = offset + bytes;
    if let (true, Some(size)) = (check, source.size)
        && total != size
    {
        if let Some(temporary) = &temporary {
            client.call(&FtpCommand::Dele(temporary.argument())).await?;
        }
        let detail = format!("the file changed while it was sent: {total} bytes instead of {size}");
        return Err(Fault::new(Kind::BadData, detail));
    }
    let mut proof = None;
    if !wanted.is_empty() {
        let found = match tap {
            Some(tap) => tap.finish(),
            None => verify::of_file(source.file, wanted).await?,
        };
        proof = match put.checks.judge(client, path, &found).await {
            Err(fault) if fault.kind == Kind::Incomplete && temporary.is_some() => {
                // The part cannot be continued.
                client.call(&FtpCommand::Dele(path.argument())).await?;
                return Err(fault);
            }
            judged => judged?,
        };
    }
    let (proof, checksum) = proof.map_or((Proof::Reply, None), |(proof, checksum)| (proof, Some(checksum)));
    Ok(PendingUpload {
        path: put.path.clone(),
        confirm: put.checks.server && checksum.is_none() && check,
        temporary,
        delete_first: put.replace == ReplaceMode::DeleteFirst,
        size: check.then_some(total),
        modified: source.modified,
        step: if check && checksum.is_none() { UploadStep::Check } else { UploadStep::Place },
        asked: Vec::new(),
        started,
        done: Transferred {
            size: Some(source.size.unwrap_or(total)),
            bytes,
            resumed_from: offset,
            mode: put.mode,
            proof,
            checksum,
            reply: line_of(&reply),
            tls,
            ..Transferred::default()
        },
    })
}

/// The temporary path for an upload of this tag, in the directory of the target.
pub(crate) fn temporary_path(path: &RemotePath, tag: &PartTag) -> Result<RemotePath, Fault> {
    let name = path.name().ok_or_else(|| Fault::new(Kind::Usage, "the URL names a directory, not a file"))?;
    Ok(path.parent().unwrap_or_default().join(&part_name(name, tag)))
}

/// The temporary path, if one is used: a quoted data set of z/OS cannot have one.
fn temporary(put: &Put<'_>) -> Result<Option<RemotePath>, Fault> {
    match put.replace {
        ReplaceMode::TempAndRename | ReplaceMode::DeleteFirst if !is_data_set(put.path) => {
            temporary_path(put.path, &put.tag).map(Some)
        }
        _ => Ok(None),
    }
}

/// True for `'HLQ.NAME(+1)'`: the fully qualified name of an MVS data set.
fn is_data_set(path: &RemotePath) -> bool {
    let inside = path.as_bytes().strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'"));
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"@#$.-+()".contains(byte);
    inside.is_some_and(|inside| !inside.is_empty() && inside.iter().all(part))
}

async fn transfer(
    client: &mut FtpClient,
    put: &Put<'_>,
    source: &OpenFile<'_>,
    (command, offset): (&FtpCommand, u64),
    tap: Option<Tap>,
) -> Result<(u64, FtpReply, Option<TlsInfo>), Fault> {
    let begun = match client.begin(&[], command, offset).await {
        // A missing parent directory: servers say 550 or 553.
        Err(fault) if matches!(fault.reply_code(), Some(550 | 553)) && client.usable() => {
            if !client.make_parents(put.path).await? {
                return Err(Fault { kind: Kind::Refused, ..fault });
            }
            client.begin(&[], command, offset).await.map_err(refused)?
        }
        other => other.map_err(refused)?,
    };
    if begun.restarted {
        let fault = Fault::new(Kind::Unsupported, "the server cannot resume an upload");
        return Err(client.abandon(fault.with_hint("--no-resume starts over")));
    }
    let attempt = TransferAttempt::begin(&put.progress, put.path, None, offset);
    let (limits, pace, transferred) = (client.limits(), client.pace(), client.transferred());
    let flow = Flow { limits, pace, attempt: attempt.clone(), transferred, tap };
    let tls = begun.stream.tls_info();
    let sent = match begun.stream {
        Stream::Plain(tcp) if !put.ascii => send_plain(tcp, source, &flow).await,
        stream => send_stream(stream, source, put.ascii, &flow).await,
    };
    match sent {
        Ok((bytes, open)) => {
            let reply = client.finish(command).await;
            drop(open);
            let reply = reply?;
            attempt.complete();
            Ok((bytes, reply, tls))
        }
        Err(fault) => Err(super::explain(client, command, fault).await),
    }
}

/// Adds a hint if the server may have refused the temporary name; not if it has no room (452, 552).
fn with_way_round(fault: Fault) -> Fault {
    match (fault.reply_code(), &fault.hint) {
        (Some(500 | 501 | 502 | 504 | 550 | 553), None) => {
            fault.with_hint("if it is the temporary name that is refused: --in-place uploads under the final one")
        }
        _ => fault,
    }
}

/// A 550 on an upload means that it is not allowed, not that something is missing.
fn refused(fault: Fault) -> Fault {
    match fault.kind {
        Kind::NoInput => Fault { kind: Kind::Refused, ..fault },
        _ => fault,
    }
}

/// Clear text. The socket is returned open: the caller closes it after the final reply.
async fn send_plain(
    mut tcp: tokio::net::TcpStream,
    source: &OpenFile<'_>,
    flow: &Flow,
) -> Result<(u64, Stream), Fault> {
    if source.size.is_some_and(|size| size <= SMALL) {
        let mut bytes = Vec::new();
        let mut file = source.file;
        file.read_to_end(&mut bytes).map_err(|error| Fault { kind: Kind::Io, ..Fault::local("input", &error) })?;
        let limits = &flow.limits;
        let mut watch = Watch::new(flow);
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            let (piece, rest) = left.split_at(watch.piece(left.len()));
            watch.begin();
            flow.tap(piece);
            limits.io("data connection", tcp.write_all(piece)).await?;
            watch.noted(piece.len() as u64).await?;
            left = rest;
        }
        reset_when_dropped(&tcp, false);
        limits.io("data connection", tcp.shutdown()).await?;
        return Ok((bytes.len() as u64, Stream::Plain(tcp)));
    }
    let network = |error: std::io::Error| Fault::network("data connection", &error);
    let socket = tcp.into_std().map_err(network)?;
    let (file, watch) = (copy::share(source.file)?, Watch::new(flow));
    let sending = tokio::task::spawn_blocking(move || {
        let sent = copy::send(&file, &socket, watch)?;
        reset_when_dropped(&socket, false);
        socket.shutdown(std::net::Shutdown::Write).map_err(network)?;
        socket.set_nonblocking(true).map_err(network)?;
        Ok::<_, Fault>((sent, socket))
    });
    let (sent, socket) = sending.await.map_err(|error| Fault::new(Kind::Internal, error.to_string()))??;
    let tcp = tokio::net::TcpStream::from_std(socket).map_err(network)?;
    Ok((sent, Stream::Plain(tcp)))
}

/// TLS, and text with conversion of line ends. Sends close_notify and waits a limited time for the peer's close_notify:
/// otherwise servers lose the end of the file. Their session ticket arrives in that time, too.
async fn send_stream(
    mut stream: Stream,
    source: &OpenFile<'_>,
    ascii: bool,
    flow: &Flow,
) -> Result<(u64, Stream), Fault> {
    let mut watch = Watch::new(flow);
    let mut buffer = vec![0; BUFFER];
    let mut total = 0u64;
    let mut before = 0u8;
    let mut file = source.file;
    let limits = &flow.limits;
    loop {
        let wanted = watch.piece(BUFFER);
        let read = file.read(buffer.get_mut(..wanted).unwrap_or_default());
        let count = read.map_err(|error| Fault { kind: Kind::Io, ..Fault::local("input", &error) })?;
        if count == 0 {
            break;
        }
        let piece = buffer.get(..count).unwrap_or_default();
        watch.begin();
        flow.tap(piece);
        match ascii {
            true => limits.io("data connection", stream.write_all(&to_network(piece, &mut before))).await?,
            false => limits.io("data connection", stream.write_all(piece)).await?,
        }
        total += count as u64;
        watch.noted(count as u64).await?;
    }
    limits.io("data connection", stream.flush()).await?;
    stream.reset_when_dropped(false);
    limits.io("data connection", stream.shutdown()).await?;
    if stream.is_tls() {
        // Only the peer's close_notify can arrive, or nothing.
        let mut rest = [0u8; 512];
        drop(limits.with_idle(CLOSE_NOTIFY).io("close_notify", stream.read(&mut rest)).await);
    }
    Ok((total, stream))
}

/// Converts LF to CRLF; an existing CRLF stays. `before` is the last byte of the previous piece.
fn to_network(piece: &[u8], before: &mut u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(piece.len() + piece.len() / 16 + 1);
    for &byte in piece {
        if byte == b'\n' && *before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        *before = byte;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_for_the_network() {
        let text = b"a\nb\r\nc\n\n\r\r\n";
        for at in 0..=text.len() {
            let mut before = 0;
            let got = [to_network(&text[..at], &mut before), to_network(&text[at..], &mut before)].concat();
            assert_eq!(got, b"a\r\nb\r\nc\r\n\r\n\r\r\n", "split at {at}");
        }
    }

    #[test]
    fn temporary_names() {
        let tag = PartTag::of_source(&[b"x"]);
        let name = |path: &[u8]| temporary_path(&RemotePath::new(path), &tag).unwrap();
        for (path, parent) in [(&b"a"[..], ""), (b"/a", "/"), (b"d/a", "d/")] {
            let part = [parent.as_bytes(), &part_name(b"a", &tag)].concat();
            assert_eq!(name(path).as_bytes(), part);
        }
        assert!(temporary_path(&RemotePath::new(b""), &tag).is_err());
        let data_set = |path: &[u8]| is_data_set(&RemotePath::new(path));
        assert!(data_set(b"'HLQ.X(+1)'") && data_set(b"'sys1.proclib'"));
        assert!(![&b"''"[..], b"'", b"HLQ.X", b"d/'x'", b"'it is'", b"'d/x'"].iter().any(|path| data_set(path)));
    }
}
