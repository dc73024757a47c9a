//! DNS peers.

use crate::peers::Trial;

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[];
