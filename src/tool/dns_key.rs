//! TSIG key files of dnsq and dnsserve.

use std::path::Path;

use crate::cli::output::Output;
use crate::cli::secret;
use crate::dns::tsig::TsigKey;
use crate::fault::{Fault, Kind};

/// Reads the key in this file, in BIND's form. Warns if other users may read the file.
pub(super) fn read(path: &Path, out: &Output) -> Result<TsigKey, Fault> {
    secret::look_at_path(out, path)?;
    let text = std::fs::read_to_string(path).map_err(|error| Fault::local(path.display(), &error))?;
    TsigKey::from_file(&text).map_err(|why| Fault::new(Kind::BadData, format!("{}: {why}", path.display())))
}
