//! The one walk over a name in a message (RFC 1035, sections 3.1 and 4.1.4). It alone checks lengths, compression
//! pointers and loops. It allocates nothing.

use super::error::Malformed;

/// The longest name in wire form, with its root label (RFC 1035, section 2.3.4).
pub const MAX_NAME_BYTES: usize = 255;
/// The longest label (RFC 1035, section 2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;
/// The limit on compression pointers in one name: a name has at most 127 labels, so a legitimate name needs fewer.
pub const MAX_POINTERS: usize = 127;

/// Walks over the name at `at`, whose own bytes end before `end`, and returns the position after it. `each` receives
/// every label except the root, from left to right, with its length byte in front; these labels and a zero byte form
/// the name in uncompressed wire form.
///
/// Pointers are followed if `pointers` is true. Each one must point before the target of the last jump, and at most
/// [`MAX_POINTERS`] are followed, so that no message can cause an endless loop.
///
/// # Errors
/// The name is cut short, is longer than [`MAX_NAME_BYTES`], has a pointer where none is allowed or one that does not
/// point backwards, or has a label of an unknown type. `each` may have received labels before the error was found.
#[inline]
pub fn labels<'m>(
    message: &'m [u8],
    at: usize,
    end: usize,
    pointers: bool,
    mut each: impl FnMut(&'m [u8]),
) -> Result<usize, Malformed> {
    const CUT: Malformed = Malformed("name cut short");
    let (mut here, mut limit) = (at, end);
    let mut after = None;
    // The root label counts from the start.
    let (mut hops, mut total) = (0, 1);
    loop {
        let length = *message.get(here).filter(|_| here < limit).ok_or(CUT)?;
        match length {
            0 => return Ok(after.unwrap_or(here + 1)),
            1..=63 => {
                let next = here + 1 + usize::from(length);
                let label = message.get(here..next).filter(|_| next <= limit).ok_or(CUT)?;
                total += label.len();
                if total > MAX_NAME_BYTES {
                    return Err(Malformed("name longer than 255 bytes"));
                }
                each(label);
                here = next;
            }
            192..=255 => {
                if !pointers {
                    return Err(Malformed("compression where none is allowed"));
                }
                let low = *message.get(here + 1).filter(|_| here + 1 < limit).ok_or(CUT)?;
                let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                after.get_or_insert(here + 2);
                hops += 1;
                if target >= here || hops > MAX_POINTERS {
                    return Err(Malformed("compression pointer that does not go backwards"));
                }
                // A name that a pointer leads to may run up to where the pointer stood.
                limit = here;
                here = target;
            }
            _ => return Err(Malformed("unknown label type")),
        }
    }
}

/// The position after the name at `at`, without following its pointer: for records that are skipped.
#[inline]
pub fn skip(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            192..=255 => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Walk = Result<(Vec<u8>, usize), &'static str>;

    fn walk(message: &[u8], at: usize, end: usize, pointers: bool) -> Walk {
        let mut wire = Vec::new();
        let after = labels(message, at, end, pointers, |label| wire.extend_from_slice(label)).map_err(|e| e.0)?;
        Ok((wire, after))
    }

    #[test]
    fn what_is_a_name_and_what_is_none() {
        const CUT: &str = "name cut short";
        const BACK: &str = "compression pointer that does not go backwards";
        let message = b"\x03www\x07example\x00\x01a\xc0\x04\xc0\x0f\xc0\x15";
        let name = |wire: &[u8], after| Ok((wire.to_vec(), after));
        let cases: &[(&[u8], usize, Walk, &str)] = &[
            (b"\x00", 0, name(b"", 1), "the root"),
            (message, 0, name(b"\x03www\x07example", 13), "no pointer"),
            (message, 13, name(b"\x01a\x07example", 17), "one pointer"),
            (message, 17, name(b"\x07example", 19), "a pointer to a pointer"),
            (message, 19, Err(BACK), "forwards, beyond the end"),
            (b"\x03a\x85b\x00\xc0\x02", 5, Err("unknown label type"), "into the middle of a label"),
            (b"\x01a\x00\xc0\x00\xc0\x03", 5, name(b"\x01a", 7), "two pointers to a whole name"),
            (b"", 0, Err(CUT), "nothing"),
            (b"\x05ab", 0, Err(CUT), "label cut short"),
            (b"\x01a", 0, Err(CUT), "no root"),
            (b"\xc0", 0, Err(CUT), "half a pointer"),
            (b"\xc0\x00", 0, Err(BACK), "to itself"),
            (b"\xc0\x05\x00\x00\x00\x00", 0, Err(BACK), "forwards"),
            (b"\x01a\xc0\x00", 2, Err(CUT), "into its own beginning: ends where the pointer stands"),
            (b"\x01a\xc0\x00", 0, Err(CUT), "the same from its beginning"),
            (b"\x41a\x00", 0, Err("unknown label type"), "01"),
            (b"\x81a\x00", 0, Err("unknown label type"), "10"),
        ];
        for (message, at, expected, why) in cases {
            assert_eq!(walk(message, *at, message.len(), true), *expected, "{why}");
        }
        assert_eq!(walk(message, 13, message.len(), false), Err("compression where none is allowed"));
        assert_eq!(walk(b"\x01a\x00", 0, 2, true), Err(CUT), "its bytes end before the root");
        assert_eq!(walk(b"\x00\xc0\x00", 1, 2, true), Err(CUT), "its bytes end inside the pointer");
    }

    #[test]
    fn limits_are_exact() {
        let long = |last: u8| [&[&[63; 64][..]; 3].concat()[..], &vec![last; usize::from(last) + 1], &[0]].concat();
        assert_eq!(long(61).len(), MAX_NAME_BYTES);
        assert!(walk(&long(61), 0, 255, false).is_ok());
        assert_eq!(walk(&long(62), 0, 256, false), Err("name longer than 255 bytes"));
        // A root, then pointers, each to the one before.
        let mut chain = vec![0];
        for at in 0..=MAX_POINTERS {
            let target = if at == 0 { 0 } else { 2 * at - 1 };
            chain.extend(u16::try_from(0xc000 | target).unwrap().to_be_bytes());
        }
        let last = 1 + 2 * (MAX_POINTERS - 1);
        assert_eq!(walk(&chain, last, chain.len(), true), Ok((Vec::new(), last + 2)));
        assert!(walk(&chain, last + 2, chain.len(), true).is_err(), "one pointer more");
    }

    proptest! {
        /// For any bytes: a name is well-formed, stays inside its bounds, and reads the same when uncompressed.
        #[test]
        fn any_bytes(
            message in proptest::collection::vec(prop_oneof![0u8..4, Just(0xc0), any::<u8>()], 0..300),
            at in 0usize..310,
            end in 0usize..310,
        ) {
            if let Ok((mut wire, after)) = walk(&message, at, end, true) {
                prop_assert!(at < after && after <= end);
                prop_assert!(skip(&message, at) == Some(after));
                wire.push(0);
                prop_assert!(wire.len() <= MAX_NAME_BYTES);
                let (again, used) = walk(&wire, 0, wire.len(), false).unwrap();
                prop_assert_eq!((&again[..], used), (&wire[..wire.len() - 1], wire.len()));
            }
        }
    }
}
