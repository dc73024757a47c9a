//! The tree being served, confined below its root.
