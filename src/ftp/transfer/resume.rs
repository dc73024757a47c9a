//! Resumed uploads: which source a part belongs to, and the proof that it is the beginning of the local file.

use std::fs::{File, Metadata};
use std::io::{Seek, SeekFrom};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::verify;
use crate::fault::{Fault, Kind};
use crate::ftp::client::{FtpClient, size_of};
use crate::ftp::command::FtpCommand;
use crate::ftp::part::{PartTag, part_name};
use crate::ftp::path::RemotePath;

/// Below this size an interrupted upload starts over: asking for the size of the part costs a round trip.
pub(super) const WORTH_RESUMING: u64 = 256 * 1024;
/// True for a file large enough that its upload is resumed.
pub fn is_worth_resuming(size: u64) -> bool {
    size >= WORTH_RESUMING
}

/// How many bytes at a part's end are read back if the server computes no checksum.
const LAST_BLOCK: u64 = 64 * 1024;

/// The exclusive right to the part of one source at one target: one run on this machine has it until it drops it or dies.
#[derive(Debug)]
pub struct SourceClaim {
    tag: PartTag,
    /// Its abstract name is the claim: it needs no file, and the kernel releases it however the process ends.
    _held: UnixDatagram,
}

impl SourceClaim {
    /// The claim to the part with the tag of [`source_tag`]. `None`: another run has it.
    pub fn new(tag: PartTag) -> Option<SourceClaim> {
        let address = SocketAddr::from_abstract_name(part_name(b"applayer", &tag)).ok()?;
        UnixDatagram::bind_addr(&address).ok().map(|held| SourceClaim { tag, _held: held })
    }

    /// The tag of the part.
    pub fn tag(&self) -> &PartTag {
        &self.tag
    }
}

/// The tag of a file in its present state, for this target. No other source has it, and a write to this source changes it.
pub fn source_tag(source: &Metadata, target: &str) -> PartTag {
    // Containers of one image may share this, and cloned machines may share their name: both are included.
    static MACHINE: OnceLock<Vec<u8>> = OnceLock::new();
    let machine = MACHINE.get_or_init(|| std::fs::read("/etc/machine-id").unwrap_or_default());
    let name = rustix::system::uname();
    let numbers = [
        u64::from(rustix::process::geteuid().as_raw()),
        source.dev(),
        source.ino(),
        source.len(),
        source.mtime().cast_unsigned(),
        source.mtime_nsec().cast_unsigned(),
        // The modification time can be set, as cp -p, tar and rsync do; the change time cannot.
        source.ctime().cast_unsigned(),
        source.ctime_nsec().cast_unsigned(),
    ];
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    PartTag::of_source(&[machine, name.nodename().to_bytes(), &numbers, target.as_bytes()])
}

/// How many bytes of the file the server already holds, with proof; the local file is positioned behind them. 0: the upload
/// starts over. `None`: a part that does not match could not be deleted, so its name is unusable. `own`: the name says that
/// the part belongs to this source, so its last block is proof enough if the server computes no checksum.
pub(super) async fn offset(
    client: &mut FtpClient,
    path: &RemotePath,
    (file, size): (&File, u64),
    own: bool,
) -> Result<Option<u64>, Fault> {
    let reply = client.call(&FtpCommand::Size(path.argument())).await?;
    let there = size_of(&reply).unwrap_or(0);
    if there > 0 && there <= size && is_beginning(client, path, file, there, own).await? {
        let mut file = file;
        file.seek(SeekFrom::Start(there)).map_err(input)?;
        return Ok(Some(there));
    }
    if own && there > 0 {
        client.note("the remote part is not the beginning of the local file");
        let gone = client.call(&FtpCommand::Dele(path.argument())).await?.ok();
        return Ok(gone.then_some(0));
    }
    Ok(Some(0))
}

async fn is_beginning(
    client: &mut FtpClient,
    path: &RemotePath,
    file: &File,
    there: u64,
    own: bool,
) -> Result<bool, Fault> {
    if client.checksum_algorithm(None).is_some() {
        match client.checksum(path, None).await {
            Ok(Some((algorithm, theirs))) => {
                let ours = verify::of_beginning(file, vec![algorithm], there).await?;
                return Ok(ours.iter().any(|(_, ours)| *ours == theirs));
            }
            Ok(None) => {}
            Err(fault) if client.usable() => client.note(&format!("no checksum of the server's: {fault}")),
            Err(fault) => return Err(fault),
        }
    }
    if !own {
        return Ok(false);
    }
    let from = there.saturating_sub(LAST_BLOCK);
    let Some(theirs) = read_back(client, path, from).await? else { return Ok(false) };
    let mut ours = vec![0; usize::try_from(there - from).unwrap_or_default()];
    file.read_exact_at(&mut ours, from).map_err(input)?;
    Ok(ours == theirs)
}

/// The end of a remote file from an offset on. `None`: the server does not allow reading it, or the file is growing.
async fn read_back(client: &mut FtpClient, path: &RemotePath, from: u64) -> Result<Option<Vec<u8>>, Fault> {
    let command = FtpCommand::Retr(path.argument());
    let mut begun = match client.begin(&[], &command, from).await {
        Ok(begun) => begun,
        Err(fault) if client.usable() => {
            client.note(&format!("the part cannot be read back: {fault}"));
            return Ok(None);
        }
        Err(fault) => return Err(fault),
    };
    let (mut theirs, mut block) = (Vec::new(), [0; 8192]);
    let mut whole = begun.restarted;
    // A part that grows while it is read is still being written: it cannot be used.
    while !whole && theirs.len() as u64 <= LAST_BLOCK {
        let count = client.limits().io("data connection", begun.stream.read(&mut block)).await;
        let count = count.map_err(|fault| client.abandon(fault))?;
        theirs.extend_from_slice(block.get(..count).unwrap_or_default());
        whole = count == 0;
    }
    if begun.restarted || !whole {
        drop(begun);
        client.finish_short().await;
        return Ok(None);
    }
    // Some servers report a transfer as failed if the connection is closed before our close_notify.
    drop(client.limits().io("data connection", begun.stream.shutdown()).await);
    drop(begun);
    client.finish(&command).await?;
    Ok(Some(theirs))
}

fn input(error: std::io::Error) -> Fault {
    Fault { kind: Kind::Io, ..Fault::local("input", &error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each change of a file changes its tag; two runs never have the same claim.
    #[test]
    fn a_claim_is_of_one_source_and_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let (x, y) = (dir.path().join("x"), dir.path().join("y"));
        let tag = |path: &std::path::Path, target: &str| source_tag(&std::fs::metadata(path).unwrap(), target);
        std::fs::write(&x, "one").unwrap();
        std::fs::write(&y, "one").unwrap();
        let first = tag(&x, "ftp://h/x");
        assert!(first != tag(&y, "ftp://h/x") && first != tag(&x, "ftp://h/y"));
        let claim = SourceClaim::new(first.clone()).unwrap();
        assert!(SourceClaim::new(first.clone()).is_none(), "one run only");
        drop(claim);
        assert_eq!(*SourceClaim::new(tag(&x, "ftp://h/x")).unwrap().tag(), first, "the next run finds it");
        // The same size and time, as cp -p leaves them.
        let time = std::fs::metadata(&x).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&x, "two").unwrap();
        File::options().write(true).open(&x).unwrap().set_modified(time).unwrap();
        assert_ne!(tag(&x, "ftp://h/x"), first);
    }
}
