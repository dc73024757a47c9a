//! The base of all DNS modules: data in wire format, read with every count and length distrusted.
//!
//! ```text
//!  error     the one error for malformed data
//!  walk      the one walk over the labels of a name, compression pointers included
//!  name      names: owned, or borrowed from a buffer
//!  cursor    reads numbers, names and strings one after the other
//! ```

pub mod cursor;
pub mod error;
pub mod name;
pub mod walk;

pub use cursor::Cursor;
pub use error::Malformed;
