//! The fields of a certificate that an operator needs (RFC 5280, section 4.1).

/// The tag of a SEQUENCE.
const SEQUENCE: u8 = 0x30;
/// The tag of the version, which version 1 has not.
const VERSION: u8 = 0xa0;
/// The tag of a year of two digits.
const UTC_TIME: u8 = 0x17;
/// The tag of a year of four digits.
const GENERALIZED_TIME: u8 = 0x18;

/// The end of its validity, in seconds since 1970.
pub fn not_after(certificate: &[u8]) -> Option<i64> {
    let mut outer = inside(&mut { certificate }, SEQUENCE)?;
    let mut fields = inside(&mut outer, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        element(&mut fields)?;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        element(&mut fields)?;
    }
    let mut validity = inside(&mut fields, SEQUENCE)?;
    element(&mut validity)?;
    let (tag, text) = element(&mut validity)?;
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        // Years from 50 on are of the last century (RFC 5280, section 4.1.2.5.1).
        UTC_TIME if text.get(..2)? >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The content of the next element, if it has this tag.
fn inside<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    element(input).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// Takes the next element: its tag and content (X.690, sections 8.1.2 and 8.1.3, definite lengths).
fn element<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, rest) = input.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some((*tag, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_in_both_forms_of_time_and_nothing_panics() {
        let (key, mut params) = (rcgen::KeyPair::generate().unwrap(), rcgen::CertificateParams::default());
        for (year, end) in [(2049, 2_493_072_000), (2050, 2_524_608_000), (4096, 67_090_118_400)] {
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let made = params.self_signed(&key).unwrap();
            let der = made.der();
            assert_eq!(not_after(der), Some(end), "{year}");
            for cut in 0..der.len().min(300) {
                assert!(not_after(&der[..cut]).is_none());
                let mut broken = der.to_vec();
                broken[cut] ^= 0x55;
                let _ = not_after(&broken);
            }
        }
    }
}
