//! mailq-run, mailq-ls and mailq-edit.
