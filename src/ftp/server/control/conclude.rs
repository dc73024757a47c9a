//! The end of a transfer: names an upload, and updates the log and the counters.

use std::sync::atomic::Ordering;

use super::ending::SeenToItsEnd;
use super::{ControlDriver, Started};
use crate::fault::{Fault, Kind};
use crate::ftp::server::copy;
use crate::ftp::server::{FinishedTransfer, Happening, TransferDirection};
use crate::ftp::session::{StoreRefusal, TransferFailure};
use crate::ftp::store::TreeUpload;
use crate::net::counters::Counter;
use crate::net::file_work::{self, ClosedAside};

impl ControlDriver<'_> {
    /// Commits an upload whose client stayed to its end, and writes the log.
    pub(super) fn conclude(
        &mut self,
        started: &Started,
        result: Result<(u64, Option<ClosedAside<TreeUpload>>), TransferFailure>,
        seen: Option<SeenToItsEnd>,
    ) -> Result<u64, TransferFailure> {
        let result = match (result, seen) {
            (Ok((bytes, Some(upload))), Some(_)) => {
                let commit = upload.take().map_or(Ok(()), |upload| match upload.waits_for_disk() {
                    true => file_work::run_long(|| upload.commit()),
                    false => file_work::run(|| upload.commit()),
                });
                commit.map(|()| bytes).map_err(TransferFailure::Refused)
            }
            (Ok((_, Some(upload))), None) => {
                copy::break_off(upload, self.shared.options.keep_partial);
                Err(TransferFailure::Aborted)
            }
            (Ok(_), None) if started.stop.is_stopped() => Err(TransferFailure::Aborted),
            (Ok((bytes, None)), _) => Ok(bytes),
            (Err(failure), _) => Err(failure),
        };
        Counter::TransfersEnded.add(1);
        self.log(started, result.as_ref().copied().unwrap_or(0), result.as_ref().err());
        if result.is_ok() && started.direction == TransferDirection::Upload {
            self.arrived(&started.path);
        }
        self.tell_unlisted(started);
        result
    }

    /// Reports names that a listing left out.
    fn tell_unlisted(&self, started: &Started) {
        let count = started.unlisted.load(Ordering::Relaxed);
        if let Some(charset) = self.session.charset().filter(|_| count > 0) {
            let path = String::from_utf8_lossy(&started.path);
            let why = format!("{path}: {count} names cannot be written in {}, and are not listed", charset.name());
            self.happened(&Happening::Fault(Fault::new(Kind::BadData, why)));
        }
    }

    pub(super) fn log(&mut self, started: &Started, bytes: u64, failure: Option<&TransferFailure>) {
        let reply = failure.map(TransferFailure::reply);
        let (counter, moved, counted) = match (started.direction, failure) {
            (TransferDirection::Download, None) => {
                (Some(Counter::Downloads), Counter::BytesSent, &mut self.totals.sent)
            }
            (TransferDirection::Upload, None) => {
                (Some(Counter::Uploads), Counter::BytesReceived, &mut self.totals.received)
            }
            (TransferDirection::Download, _) => {
                (Some(Counter::DownloadsFailed), Counter::BytesSent, &mut self.totals.sent)
            }
            (TransferDirection::Upload, _) => {
                (Some(Counter::UploadsFailed), Counter::BytesReceived, &mut self.totals.received)
            }
            (TransferDirection::Listing, _) => (None, Counter::BytesSent, &mut self.totals.sent),
        };
        counter.into_iter().for_each(|counter| counter.add(1));
        moved.add(bytes);
        *counted += bytes;
        self.totals.transfers += u64::from(failure.is_none());
        self.happened(&Happening::Transfer(FinishedTransfer {
            direction: started.direction,
            path: &started.path,
            bytes,
            from: started.from,
            elapsed: started.at.elapsed(),
            tls: started.tls,
            ascii: started.ascii,
            file: match started.direction {
                TransferDirection::Download | TransferDirection::Upload if self.shared.options.locate => {
                    let store = self.store.as_ref();
                    store.and_then(|store| file_work::run(|| store.arrived(&started.path))).map(|it| it.file)
                }
                _ => None,
            },
            code: reply.as_ref().map_or(226, |reply| reply.code),
            failure: failure.map(|failure| match failure {
                TransferFailure::Refused(StoreRefusal::Failed(why)) => why.clone(),
                _ => reply.map(|reply| reply.text()).unwrap_or_default(),
            }),
        }));
    }
}
