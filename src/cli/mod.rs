//! What every tool shares: argument groups, output, exit status, progress, configuration.
