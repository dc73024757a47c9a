//! Randomness from the system's generator, for jitter, identifiers and order.

/// A random number from 0.0 to 1.0; 0.5 if the system has no randomness: this is for jitter, not for secrets.
pub fn fraction() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

/// Fills a buffer with random bytes fit for secrets and identifiers.
///
/// # Errors
/// [`Io`](crate::fault::Kind::Io) if the system has no randomness.
pub fn fill(buffer: &mut [u8]) -> Result<(), crate::fault::Fault> {
    getrandom::fill(buffer)
        .map_err(|error| crate::fault::Fault::new(crate::fault::Kind::Io, format!("no randomness: {error}")))
}
