//! Serial numbers of 32 bits, which wrap around (RFC 1982): the serials of zones (SOA), and the times of signatures (RFC
//! 4034, section 3.1.5).

use std::cmp::Ordering;
use std::fmt;

/// A serial number. It has no total order: of two numbers that are 2^31 apart neither is newer (RFC 1982, section 3.2), and
/// every order comparison of them is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Serial(pub u32);

impl PartialOrd for Serial {
    fn partial_cmp(&self, other: &Serial) -> Option<Ordering> {
        match self.0.wrapping_sub(other.0) as i32 {
            i32::MIN => None,
            distance => Some(distance.cmp(&0)),
        }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_rfc_1982() {
        const HALF: u32 = 1 << 31;
        for (a, b, order) in [
            (0, 0, Some(Ordering::Equal)),
            (u32::MAX, u32::MAX, Some(Ordering::Equal)),
            (0, 1, Some(Ordering::Less)),
            (44, 100, Some(Ordering::Less)),
            (u32::MAX, 0, Some(Ordering::Less)),
            (u32::MAX, 44, Some(Ordering::Less)),
            (0, HALF - 1, Some(Ordering::Less)),
            (HALF, u32::MAX, Some(Ordering::Less)),
            (HALF + 1, 0, Some(Ordering::Less)),
            (5, HALF + 4, Some(Ordering::Less)),
            (0, HALF, None),
            (5, HALF + 5, None),
            (HALF - 1, u32::MAX, None),
        ] {
            assert_eq!(Serial(a).partial_cmp(&Serial(b)), order, "{a} {b}");
            assert_eq!(Serial(b).partial_cmp(&Serial(a)), order.map(Ordering::reverse), "{b} {a}");
        }
    }
}
