//! Files of TSIG keys, as dnsq and dnsserve read them.

use std::path::Path;

use crate::cli::output::Output;
use crate::cli::secret;
use crate::dns::tsig::TsigKey;
use crate::fault::{Fault, Kind};

/// The key in this file, in BIND's form; a file that others may read is warned of.
pub(super) fn read(path: &Path, out: &Output) -> Result<TsigKey, Fault> {
    secret::look_at_path(out, path)?;
    let text = std::fs::read_to_string(path).map_err(|error| Fault::local(path.display(), &error))?;
    TsigKey::from_file(&text).map_err(|why| Fault::new(Kind::BadData, format!("{}: {why}", path.display())))
}
