//! Verification beyond the size: checksums computed by the server, and a checksum given by the user.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Proof;
use super::copy::{self, BUFFER};
use super::tap::{LocalChecksums, finish};
use crate::fault::{Fault, Kind};
use crate::ftp::checksum::{ChecksumAlgorithm, Digest};
use crate::ftp::client::FtpClient;
use crate::ftp::path::RemotePath;

/// The checks beyond the comparison of sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    /// Compare the server's checksum (HASH, XSHA256 …) if it computes one, else its size and time once more.
    pub server: bool,
    /// The SHA-256 that the file must have, in lower-case hexadecimal.
    pub sha256: Option<String>,
}

impl Checks {
    /// The algorithms to compute locally; if there is none, only sizes can be compared.
    pub(super) fn algorithms(&self, client: &FtpClient) -> Vec<ChecksumAlgorithm> {
        let own = self.sha256.is_some().then_some(ChecksumAlgorithm::Sha256);
        let server = if self.server { client.checksum_algorithm(None) } else { None };
        let mut algorithms: Vec<ChecksumAlgorithm> = own.into_iter().chain(server).collect();
        algorithms.dedup();
        algorithms
    }

    /// Compares the checksums; returns the proof and the checksum that was compared. `None`: none could be compared.
    pub(super) async fn judge(
        &self,
        client: &mut FtpClient,
        path: &RemotePath,
        found: &LocalChecksums,
    ) -> Result<Option<(Proof, (ChecksumAlgorithm, String))>, Fault> {
        let ours = |wanted| found.iter().find(|(algorithm, _)| *algorithm == wanted).cloned();
        let mut proof = None;
        if let (Some(wanted), Some(ours)) = (&self.sha256, ours(ChecksumAlgorithm::Sha256)) {
            if *wanted != ours.1 {
                return Err(Fault::new(Kind::BadData, format!("its SHA-256 is {}, not {wanted}", ours.1)));
            }
            proof = Some((Proof::Sha256, ours));
        }
        if !self.server {
            return Ok(proof);
        }
        let there = match client.checksum(path, None).await {
            Ok(there) => there,
            // It offers checksums but computes none for this file: too large, or no permission.
            Err(fault) if client.usable() => {
                client.note(&format!("no checksum of the server's: {fault}"));
                None
            }
            Err(fault) => return Err(fault),
        };
        let Some((algorithm, there)) = there else { return Ok(proof) };
        let Some(ours) = ours(algorithm) else { return Ok(proof) };
        if ours.1 != there {
            let name = algorithm.as_str();
            let detail = format!("the copies differ: {name} here is {}, at the server {there}", ours.1);
            return Err(Fault::new(Kind::Incomplete, detail));
        }
        Ok(proof.or(Some((Proof::Hash, ours))))
    }
}

/// Checksums of a whole file, computed on a separate thread.
pub(super) async fn of_file(file: &File, algorithms: Vec<ChecksumAlgorithm>) -> Result<LocalChecksums, Fault> {
    of_beginning(file, algorithms, u64::MAX).await
}

/// Checksums of at most the first `length` bytes of a file.
pub(super) async fn of_beginning(
    file: &File,
    algorithms: Vec<ChecksumAlgorithm>,
    length: u64,
) -> Result<LocalChecksums, Fault> {
    if algorithms.is_empty() {
        return Ok(Vec::new());
    }
    let file = copy::share(file)?;
    let read = tokio::task::spawn_blocking(move || -> io::Result<LocalChecksums> {
        let mut digests: Vec<Digest> = algorithms.into_iter().map(Digest::new).collect();
        let (mut buffer, mut at) = (vec![0; BUFFER], 0u64);
        loop {
            let most = usize::try_from(length - at).unwrap_or(BUFFER).min(BUFFER);
            match file.read_at(buffer.get_mut(..most).unwrap_or_default(), at) {
                Ok(0) => return Ok(finish(digests)),
                Ok(count) => {
                    let piece = buffer.get(..count).unwrap_or_default();
                    digests.iter_mut().for_each(|digest| digest.update(piece));
                    at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    });
    let read = read.await.map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
    read.map_err(|error| Fault { kind: Kind::Io, ..Fault::local("computing a checksum", &error) })
}
