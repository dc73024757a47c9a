//! A cursor over bytes in wire format.

use super::error::Malformed;
use super::name::{Name, NameRef};

/// Reads numbers, names and strings from uncompressed bytes, and never past their end.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

const CUT: Malformed = Malformed("cut short");

impl<'a> Cursor<'a> {
    /// A cursor at the beginning.
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(CUT)?;
        let bytes = self.bytes.get(self.at..end).ok_or(CUT)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| CUT)
    }

    /// One byte.
    ///
    /// # Errors
    /// No byte is left.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Two bytes.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Six bytes (TSIG's time, RFC 8945, section 4.2).
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub fn u48(&mut self) -> Result<u64, Malformed> {
        let [a, b, c, d, e, f] = self.array()?;
        Ok(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// An uncompressed name.
    ///
    /// # Errors
    /// No name is left, or it is malformed.
    pub fn name(&mut self) -> Result<Name, Malformed> {
        self.name_ref().map(NameRef::to_name)
    }

    /// An uncompressed name, borrowed.
    ///
    /// # Errors
    /// No name is left, or it is malformed.
    pub fn name_ref(&mut self) -> Result<NameRef<'a>, Malformed> {
        let (name, after) = NameRef::read(self.bytes, self.at)?;
        self.at = after;
        Ok(name)
    }

    /// A character-string (RFC 1035, section 3.3).
    ///
    /// # Errors
    /// The string is cut short.
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// All remaining bytes.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    /// All bytes, read or not.
    pub fn whole(&self) -> &'a [u8] {
        self.bytes
    }

    /// The current position, counted from the beginning.
    pub fn position(&self) -> usize {
        self.at
    }

    /// True if nothing is left.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Checks that no bytes are left.
    ///
    /// # Errors
    /// Bytes are left.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed("bytes left over")) }
    }
}
