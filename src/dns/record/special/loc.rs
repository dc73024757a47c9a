//! Location records (RFC 1876): degrees, minutes, seconds, metres.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::dns::record::words::{RdataWords, TextError};
use crate::dns::wire::{Cursor, Malformed};

/// The equator and the prime meridian on the wire (section 2).
const ZERO: u32 = 1 << 31;
/// Sea level of the reference sphere on the wire: 100,000 m in centimetres.
const SEA_LEVEL: i64 = 10_000_000;
const POWERS: [u64; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

struct Loc {
    size: u64,
    horizontal: u64,
    vertical: u64,
    /// Thousandths of a second of arc, north and east positive.
    latitude: i64,
    longitude: i64,
    /// Centimetres.
    altitude: i64,
}

fn read(cursor: &mut Cursor<'_>) -> Result<Loc, Malformed> {
    if cursor.u8()? != 0 {
        return Err(Malformed("unknown LOC version"));
    }
    let mut centimetres = || -> Result<u64, Malformed> {
        let byte = cursor.u8()?;
        let power = POWERS.get(usize::from(byte & 15)).filter(|_| byte >> 4 <= 9 && (byte >> 4 > 0 || byte == 0));
        Ok(u64::from(byte >> 4) * power.ok_or(Malformed("bad LOC size"))?)
    };
    let (size, horizontal, vertical) = (centimetres()?, centimetres()?, centimetres()?);
    let latitude = i64::from(cursor.u32()?) - i64::from(ZERO);
    let longitude = i64::from(cursor.u32()?) - i64::from(ZERO);
    let altitude = i64::from(cursor.u32()?) - SEA_LEVEL;
    if latitude.abs() > 90 * 3_600_000 || longitude.abs() > 180 * 3_600_000 {
        return Err(Malformed("LOC angle out of range"));
    }
    Ok(Loc { size, horizontal, vertical, latitude, longitude, altitude })
}

/// Writes a location as text.
pub(crate) fn write_loc(cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), Malformed> {
    let loc = read(cursor)?;
    for (angle, names) in [(loc.latitude, ['N', 'S']), (loc.longitude, ['E', 'W'])] {
        let value = angle.unsigned_abs();
        let (degrees, minutes, thousandths) = (value / 3_600_000, value / 60_000 % 60, value % 60_000);
        let direction = if angle >= 0 { names[0] } else { names[1] };
        let (seconds, fraction) = (thousandths / 1000, thousandths % 1000);
        let _ = write!(out, "{degrees} {minutes} {seconds}.{fraction:03} {direction} ");
    }
    let sign = if loc.altitude < 0 { "-" } else { "" };
    let altitude = loc.altitude.unsigned_abs();
    let _ = write!(out, "{sign}{}.{:02}m", altitude / 100, altitude % 100);
    for value in [loc.size, loc.horizontal, loc.vertical] {
        let _ = match value {
            0..100 => write!(out, " 0.{value:02}m"),
            _ => write!(out, " {}m", value / 100),
        };
    }
    Ok(())
}

/// The JSON members of a location: degrees and metres.
pub(crate) const LOC_MEMBERS: [&str; 6] =
    ["latitude", "longitude", "altitude_m", "size_m", "horizontal_precision_m", "vertical_precision_m"];

/// Writes a location as JSON numbers: degrees and metres.
pub(crate) fn json_loc(cursor: &mut Cursor<'_>, map: &mut Map<String, Value>) -> Result<(), Malformed> {
    let loc = read(cursor)?;
    let degrees = |angle: i64| angle as f64 / 3_600_000.0;
    let metres = [loc.size, loc.horizontal, loc.vertical].map(|centimetres| centimetres as f64 / 100.0);
    let values = [degrees(loc.latitude), degrees(loc.longitude), loc.altitude as f64 / 100.0].into_iter().chain(metres);
    map.extend(LOC_MEMBERS.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value.into())));
    Ok(())
}

/// Parses `d [m [s]] N|S d [m [s]] E|W altitude[m] [size [horizontal [vertical]]]`.
pub(crate) fn parse_loc(words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    let latitude = angle(words, 90, 'N', 'S')?;
    let longitude = angle(words, 180, 'E', 'W')?;
    let altitude = metres(words.next("altitude")?.str()?)?;
    let mut sizes = [0x12u8, 0x16, 0x13]; // 1 m, 10,000 m, 10 m: section 3's defaults
    for size in &mut sizes {
        if words.is_empty() {
            break;
        }
        let centimetres = u64::try_from(metres(words.next("size")?.str()?)?).map_err(|_| "negative size")?;
        *size = precision(centimetres).filter(|_| centimetres <= 9_000_000_000).ok_or("size over 90000000 m")?;
    }
    wire.push(0);
    wire.extend(sizes);
    wire.extend(latitude.to_be_bytes());
    wire.extend(longitude.to_be_bytes());
    let altitude = u32::try_from(altitude + SEA_LEVEL).map_err(|_| "altitude out of range")?;
    wire.extend(altitude.to_be_bytes());
    Ok(())
}

/// Encodes mantissa and power of ten in one byte.
fn precision(centimetres: u64) -> Option<u8> {
    let (mut mantissa, mut power) = (centimetres, 0u8);
    while mantissa > 9 {
        mantissa /= 10;
        power += 1;
    }
    (power <= 9).then_some(u8::try_from(mantissa).ok()? << 4 | power)
}

fn angle(words: &mut RdataWords<'_>, most: u64, plus: char, minus: char) -> Result<u32, TextError> {
    let mut thousandths = 0u64;
    for (unit, limit) in [(3_600_000u64, most), (60_000, 59), (1000, 59), (0, 0)] {
        let word = words.next("direction")?;
        let text = word.str()?;
        let negative = text.eq_ignore_ascii_case(&minus.to_string());
        if negative || text.eq_ignore_ascii_case(&plus.to_string()) {
            if unit == 3_600_000 || thousandths > most * 3_600_000 {
                break;
            }
            let offset = u32::try_from(thousandths).map_err(|_| "angle out of range")?;
            return Ok(if negative { ZERO - offset } else { ZERO + offset });
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let allowed = if unit == 1000 { 3 } else { 0 };
        let whole: u64 = whole.parse().map_err(|_| format!("bad angle {text:?}"))?;
        if whole > limit || fraction.len() > allowed || !digits(fraction) || unit == 0 {
            return Err(format!("bad angle {text:?}"));
        }
        thousandths += whole * unit;
        if unit == 1000 {
            thousandths += format!("{fraction:0<3}").parse::<u64>().map_err(|_| "bad angle")?;
        }
    }
    Err(format!("angle out of range, or {plus} or {minus} is missing"))
}

/// Parses metres with at most two decimals; returns centimetres.
fn metres(text: &str) -> Result<i64, TextError> {
    let bad = || format!("bad length {text:?}");
    let body = text.strip_suffix(['m', 'M']).unwrap_or(text);
    let (negative, body) = body.strip_prefix('-').map_or((false, body), |body| (true, body));
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || fraction.len() > 2 || !digits(whole) || !digits(fraction) {
        return Err(bad());
    }
    let centimetres: i64 = format!("{whole}{fraction:0<2}").parse().map_err(|_| bad())?;
    Ok(if negative { -centimetres } else { centimetres })
}
