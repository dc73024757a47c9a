//! Entry points of `dns` that read a stranger's bytes: one line each, `(name, function)`.

/// Every entry: used by the fuzz targets and by the replay of the committed corpus.
pub const ENTRIES: &[(&str, fn(&[u8]))] = &[];
