//! Not built yet.

/// Entry point.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(70)
}
