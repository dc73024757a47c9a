//! The progress bar of ftpget and ftpput.

use std::sync::Arc;

use crate::cli::progress::Bar;
use crate::ftp::path::FtpUrl;
use crate::ftp::transfer::{TransferProgress, TransferStep};

/// Shows the progress of a run in a bar.
pub(super) fn shown_in(bar: &Bar) -> TransferProgress {
    let bar = bar.clone();
    Arc::new(move |step| {
        bar.update(|figures| match step {
            TransferStep::Found(size) => {
                figures.files += 1;
                figures.total += size.unwrap_or(0);
                figures.without_size += u64::from(size.is_none());
            }
            TransferStep::Sized(size) => {
                figures.total += size;
                figures.without_size = figures.without_size.saturating_sub(1);
            }
            TransferStep::Spared(size) => {
                figures.files = figures.files.saturating_sub(1);
                figures.total = figures.total.saturating_sub(size.unwrap_or(0));
                figures.without_size = figures.without_size.saturating_sub(u64::from(size.is_none()));
            }
            TransferStep::Begun { name, from } => {
                figures.label = String::from_utf8_lossy(&name).into_owned();
                figures.done += from;
            }
            TransferStep::Passed(bytes) => {
                figures.done += bytes;
                figures.fresh += bytes;
            }
            TransferStep::Lost { bytes, size } => {
                figures.done = figures.done.saturating_sub(bytes);
                figures.total = figures.total.saturating_sub(size.unwrap_or(0));
                figures.without_size += u64::from(size.is_some());
            }
            TransferStep::Ended => figures.files_done += 1,
        });
    })
}

/// The label of the bar before the first file: the last name of the path, else the host.
pub(super) fn label_of(url: &FtpUrl) -> String {
    url.path.name().map_or_else(|| url.host.clone(), |name| String::from_utf8_lossy(name).into_owned())
}
