//! What every part of DNS stands on: bytes of the wire, read with every count and length distrusted.
//!
//! ```text
//!  error     the one error for bytes that are not what they should be
//!  walk      the one walk over the labels of a name, compression pointers included
//!  name      names: owned, or borrowed from where they stand
//!  cursor    numbers, names and strings one after the other
//! ```

pub mod cursor;
pub mod error;
pub mod name;
pub mod walk;

pub use cursor::Cursor;
pub use error::Malformed;
