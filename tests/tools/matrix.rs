//! Every tool against what goes wrong: exit status and one clear line.
