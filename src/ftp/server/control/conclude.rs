//! The end of a transfer: names an upload, and updates the log and the counters.

use tokio::task::block_in_place;

use super::ending::SeenToItsEnd;
use super::{ControlDriver, Started};
use crate::ftp::server::{FinishedTransfer, Happening, TransferDirection};
use crate::ftp::session::{StoreRefusal, TransferFailure};
use crate::ftp::store::TreeUpload;
use crate::net::counters::Counter;

impl ControlDriver<'_> {
    /// Commits an upload whose client stayed to its end, and writes the log.
    pub(super) fn conclude(
        &mut self,
        started: &Started,
        result: Result<(u64, Option<TreeUpload>), TransferFailure>,
        seen: Option<SeenToItsEnd>,
    ) -> Result<u64, TransferFailure> {
        let result = block_in_place(|| match (result, seen) {
            (Ok((bytes, Some(upload))), Some(_)) => upload.commit().map(|()| bytes).map_err(TransferFailure::Refused),
            (Ok((_, Some(upload))), None) => {
                upload.broke_off(self.shared.options.keep_partial);
                Err(TransferFailure::Aborted)
            }
            (Ok(_), None) if started.stop.is_stopped() => Err(TransferFailure::Aborted),
            (Ok((bytes, None)), _) => Ok(bytes),
            (Err(failure), _) => Err(failure),
        });
        Counter::TransfersEnded.add(1);
        self.log(started, result.as_ref().copied().unwrap_or(0), result.as_ref().err());
        if result.is_ok() && started.direction == TransferDirection::Upload {
            self.arrived(&started.path);
        }
        result
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
                    self.store.as_ref().and_then(|store| store.arrived(&started.path)).map(|it| it.file)
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
