//! Decodes the charsets of mail: the labels of the Encoding Standard and further ones found in mail, with a guess for
//! text with a wrong label. Decoding never fails; invalid bytes become U+FFFD.

mod pages;
mod shifted;

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, ISO_8859_15, MACINTOSH, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_874,
    WINDOWS_1252, X_MAC_CYRILLIC, X_USER_DEFINED,
};

/// The maximum length of a label.
pub(super) const MAX_LABEL_BYTES: usize = 64;

/// The decoding method for a label.
#[derive(Debug, Clone, Copy)]
enum CharsetKind {
    /// An encoding of the Encoding Standard.
    Web(&'static Encoding),
    /// ASCII and these 128 characters.
    Page(&'static str),
    /// RFC 1468, 1554, 1557, 1922: character sets selected by escape sequences and shifts.
    Iso2022,
    /// RFC 1843.
    Hz,
    /// RFC 2152.
    Utf7,
    /// KS X 1001, annex 3.
    Johab,
    /// Four bytes per character; the byte order, if the label states it.
    Utf32(Option<ByteOrder>),
    /// Two bytes per character, in a byte order that the label does not state.
    Utf16,
    /// The label is unknown.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
enum ByteOrder {
    Big,
    Little,
}

/// Decodes bytes in a labelled charset. An unknown label is ignored, and so is a label of ASCII or Latin-1 on UTF-8
/// text ([`decode_unlabelled`]).
pub fn decode(label: &str, bytes: &[u8]) -> String {
    match kind_of(label) {
        CharsetKind::Unknown => decode_unlabelled(bytes),
        CharsetKind::Page(upper) => decode_page(upper, bytes),
        // Text in a charset of 7 bits has no other bytes; what has them is labelled wrongly.
        CharsetKind::Iso2022 | CharsetKind::Hz | CharsetKind::Utf7 if is_utf8_text(bytes) => decode_unlabelled(bytes),
        CharsetKind::Iso2022 => shifted::iso_2022(bytes),
        CharsetKind::Hz => shifted::hz(bytes),
        CharsetKind::Utf7 => utf_7(bytes),
        CharsetKind::Johab => johab(bytes),
        CharsetKind::Utf32(order) => utf_32(order, bytes),
        CharsetKind::Utf16 => {
            // The line end that a mailer put behind it is one byte.
            let bytes = bytes.strip_suffix(b"\n").filter(|even| even.len().is_multiple_of(2)).unwrap_or(bytes);
            utf_16_order(bytes).decode(bytes).0.into_owned()
        }
        CharsetKind::Web(encoding) if encoding == UTF_8 => decode_utf8(bytes),
        CharsetKind::Web(encoding) if [WINDOWS_1252, ISO_8859_15].contains(&encoding) && is_utf8_text(bytes) => {
            decode_unlabelled(bytes)
        }
        CharsetKind::Web(encoding) => encoding.decode(bytes).0.into_owned(),
    }
}

/// Decodes bytes without a charset: as UTF-8 if they are valid UTF-8, else as Windows-1252.
pub fn decode_unlabelled(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

/// Decodes text labelled as UTF-8. If no sequence beyond ASCII is valid, it is read as Windows-1252.
fn decode_utf8(bytes: &[u8]) -> String {
    if bytes.utf8_chunks().all(|chunk| chunk.valid().is_ascii()) {
        return decode_unlabelled(bytes);
    }
    UTF_8.decode(bytes).0.into_owned()
}

fn is_utf8_text(bytes: &[u8]) -> bool {
    !bytes.is_ascii() && str::from_utf8(bytes).is_ok()
}

fn kind_of(label: &str) -> CharsetKind {
    let label = label.trim_matches(|letter: char| letter.is_whitespace() || letter == '"' || letter == '\'');
    // A language may follow (RFC 2231, section 5).
    let label = label.split('*').next().unwrap_or_default();
    if label.len() > MAX_LABEL_BYTES {
        return CharsetKind::Unknown;
    }
    let squeezed: String =
        label.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    if let Some(kind) = named(&squeezed) {
        return kind;
    }
    for spelling in [label, &label.replace('_', "-"), &label.replace('-', "_")] {
        match Encoding::for_label_no_replacement(spelling.as_bytes()) {
            Some(encoding) if encoding != X_USER_DEFINED => return CharsetKind::Web(encoding),
            _ => {}
        }
    }
    // Variants of the usual spelling: windows1252, ISO8859_2, x-gbk, cp-1251.
    let bare = squeezed.strip_prefix('x').unwrap_or(&squeezed);
    let numbered = ["windows", "win", "ibm", "cp", "codepage", "ms", "dos", "csibm", "cspc", "cswindows", "oem", ""];
    numbered
        .iter()
        .find_map(|prefix| code_page(bare.strip_prefix(prefix)?))
        .or_else(|| named(bare))
        .or_else(|| latin(bare.strip_prefix("iso8859").or_else(|| bare.strip_prefix("8859"))?))
        .or_else(|| pages::upper_half(bare).map(CharsetKind::Page))
        .or_else(|| Encoding::for_label_no_replacement(bare.as_bytes()).map(CharsetKind::Web))
        .unwrap_or(CharsetKind::Unknown)
}

/// Labels that the Encoding Standard lacks or interprets differently: only letters and digits, in lower case.
fn named(squeezed: &str) -> Option<CharsetKind> {
    use CharsetKind::{Hz, Iso2022, Johab, Page, Utf7, Utf16, Utf32, Web};
    let page = |name| pages::upper_half(name).map(Page);
    Some(match squeezed {
        "iso2022jp" | "csiso2022jp" | "iso2022jp1" | "iso2022jp2" | "csiso2022jp2" | "iso2022jp3" | "iso2022jp2004"
        | "iso2022jpext" | "iso2022jpms" | "iso2022kr" | "csiso2022kr" | "iso2022cn" | "csiso2022cn"
        | "iso2022cnext" => Iso2022,
        "hz" | "hzgb" | "hzgb2312" => Hz,
        "utf7" | "u7" | "unicode11utf7" | "csutf7" | "csunicode11utf7" | "unicode20utf7" => Utf7,
        "johab" | "ksx1001johab" => Johab,
        "utf16" | "u16" | "csutf16" | "ucs2" | "unicode" | "iso10646ucs2" | "csunicode" => Utf16,
        "utf32" | "u32" | "ucs4" | "iso10646ucs4" | "csucs4" | "csutf32" => Utf32(None),
        "utf32be" | "ucs4be" | "csutf32be" => Utf32(Some(ByteOrder::Big)),
        "utf32le" | "ucs4le" | "csutf32le" => Utf32(Some(ByteOrder::Little)),
        "ucs2be" | "utf16be" | "unicodebigunmarked" => Web(UTF_16BE),
        "ucs2le" | "utf16le" | "unicodelittleunmarked" => Web(UTF_16LE),
        "utf8mb3" | "utf8mb4" | "utf8n" | "utf8sig" | "u8" | "cesu8" => Web(UTF_8),
        "gb2312" | "gb23121980" | "isoir58" | "macsimpchinese" | "gb231280" | "euccn" | "eucgb2312cn" | "gbk"
        | "gb18030" | "csgb18030" | "gb180302000" => Web(GB18030),
        "uhc" | "euckr" | "mackorean" | "ksc56011987" | "ksc5601" | "ksc56011992" | "ksx1001" | "ksx10011992"
        | "ksc5861" | "korean" => Web(EUC_KR),
        "sjis" | "macjapanese" | "shiftjis" | "mskanji" | "shiftjis2004" | "shiftjisx0213" | "sjis2004"
        | "sjisx0213" | "cswindows31j" | "windows31j" => Web(SHIFT_JIS),
        "ujis" | "eucjp" | "jisx0213" | "eucjpms" | "eucjp2004" | "eucjis2004" | "eucjisx0213" | "eucjpwin" => {
            Web(EUC_JP)
        }
        "big5" | "mactradchinese" | "big5tw" | "cnbig5" | "big5eten" | "hkscs" | "big5hkscs" | "big5hkscs2004"
        | "euctw" => Web(BIG5),
        "tactis" | "isoir166" | "tis620" | "tis6200" | "tis62025290" | "tis62025291" | "iso885911" | "thai" => {
            Web(WINDOWS_874)
        }
        "mac" | "macroman" | "macintosh" | "applemacintosh" => Web(MACINTOSH),
        "maccyrillic" | "macukrainian" => Web(X_MAC_CYRILLIC),
        "maccentraleurope" | "maccenteuro" | "maccentraleurroman" | "maccentraleuroperoman" | "macce" => {
            return page("maclatin2");
        }
        "macromania" => return page("macromanian"),
        "latin7" | "l7" => return latin("13"),
        "latin8" | "l8" => return latin("14"),
        "latin9" => return latin("15"),
        "latin10" | "l10" | "isoir226" => return latin("16"),
        "kz1048" | "rk1048" | "strk10482002" | "cskz1048" => return page("kz1048"),
        "ptcp154" | "csptcp154" | "pt154" | "cp154" | "cyrillicasian" => return page("ptcp154"),
        "roman8" | "r8" | "ibm1051" | "cp1051" | "cshproman8" => return page("hproman8"),
        "ruscii" | "cp866u" => return page("1125"),
        "pc8codepage437" | "cspc8codepage437" => return page("437"),
        "cpgr" => return page("869"),
        "cpis" => return page("861"),
        "cspc850multilingual" => return page("850"),
        "cspcp852" => return page("852"),
        "pcmultilingual850euro" | "csibm00858" => return page("858"),
        "cspc862latinhebrew" => return page("862"),
        "cspc775baltic" => return page("775"),
        _ => return None,
    })
}

/// A code page of IBM or Microsoft by its number.
fn code_page(number: &str) -> Option<CharsetKind> {
    use CharsetKind::{Hz, Iso2022, Johab, Page, Utf7, Utf16, Utf32, Web};
    let number = number.trim_start_matches('0');
    let label = match number {
        "367" | "819" | "20127" | "28591" => "windows-1252",
        "866" => "ibm866",
        "874" | "1162" => "windows-874",
        "932" | "942" | "943" | "31j" => "shift_jis",
        "936" | "1386" | "1381" | "51936" => "gbk",
        "949" | "970" | "1363" | "51949" => "euc-kr",
        "950" | "951" => "big5",
        "1250" | "1251" | "1252" | "1253" | "1254" | "1255" | "1256" | "1257" | "1258" => {
            return Encoding::for_label(format!("windows-{number}").as_bytes()).map(Web);
        }
        "1361" => return Some(Johab),
        "1200" => "utf-16le",
        "1201" => "utf-16be",
        "10000" => "macintosh",
        "10007" | "10017" => "x-mac-cyrillic",
        "12000" => return Some(Utf32(Some(ByteOrder::Little))),
        "12001" => return Some(Utf32(Some(ByteOrder::Big))),
        "20866" | "878" => "koi8-r",
        "21866" | "1168" => "koi8-u",
        "20932" | "51932" | "954" | "33722" => "euc-jp",
        "50220" | "50221" | "50222" | "50225" | "50227" => return Some(Iso2022),
        "52936" => return Some(Hz),
        "54936" => "gb18030",
        "65000" => return Some(Utf7),
        "65001" => "utf-8",
        "38598" => "iso-8859-8-i",
        "13488" => return Some(Utf16),
        _ => match number.strip_prefix("286").or_else(|| number.strip_prefix("285")) {
            // 28592 to 28605 are the parts of ISO/IEC 8859.
            Some(tail) if number.len() == 5 => {
                let part = tail.parse::<usize>().ok()?;
                return latin(&if number.starts_with("286") { part + 10 } else { part.checked_sub(90)? }.to_string());
            }
            _ => return pages::upper_half(number).filter(|_| !number.is_empty()).map(Page),
        },
    };
    Encoding::for_label(label.as_bytes()).map(Web)
}

/// A part of ISO/IEC 8859 by its number; a year or a direction (RFC 1556) may follow.
fn latin(part: &str) -> Option<CharsetKind> {
    let digits = part.len() - part.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (number, rest) = part.split_at_checked(digits)?;
    let direction = if rest == "i" { "-i" } else { "" };
    // 8859-1:1987.
    let number = match number.split_at_checked(number.len().saturating_sub(4)) {
        Some((number, year)) if year.starts_with("19") || year.starts_with("20") => number,
        _ => number,
    };
    Encoding::for_label(format!("iso-8859-{number}{direction}").as_bytes()).map(CharsetKind::Web)
}

fn decode_page(upper: &str, bytes: &[u8]) -> String {
    let letters: Vec<char> = upper.chars().collect();
    let letter = |byte: u8| match byte.checked_sub(0x80) {
        Some(index) => letters.get(usize::from(index)).copied().unwrap_or(char::REPLACEMENT_CHARACTER),
        None => char::from(byte),
    };
    bytes.iter().map(|byte| letter(*byte)).collect()
}

/// The byte order of text without a byte order mark: the zeros of ASCII characters show it; otherwise little-endian.
fn utf_16_order(bytes: &[u8]) -> &'static Encoding {
    let (pairs, _) = bytes.as_chunks::<2>();
    let zeros = |side: usize| pairs.iter().filter(|pair| pair.get(side) == Some(&0)).count();
    if zeros(0) > zeros(1) { UTF_16BE } else { UTF_16LE }
}

fn utf_32(order: Option<ByteOrder>, bytes: &[u8]) -> String {
    // No character's number begins with a byte other than zero.
    let order = order.unwrap_or(if bytes.first() == Some(&0) { ByteOrder::Big } else { ByteOrder::Little });
    let (units, rest) = bytes.as_chunks::<4>();
    let letter = |unit: &[u8; 4]| {
        let number = match order {
            ByteOrder::Big => u32::from_be_bytes(*unit),
            ByteOrder::Little => u32::from_le_bytes(*unit),
        };
        char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    let mut text: String = units.iter().map(letter).collect();
    if !rest.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    if text.starts_with('\u{feff}') { text.split_off('\u{feff}'.len_utf8()) } else { text }
}

/// Decodes UTF-7 (RFC 2152): `+`, UTF-16 in base64, and `-`, which may be missing before a character that is not base64.
fn utf_7(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(plus) = memchr::memchr(b'+', rest) {
        out.push_str(&decode_unlabelled(rest.get(..plus).unwrap_or_default()));
        rest = rest.get(plus + 1..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).count();
        let (coded, after) = rest.split_at_checked(length).unwrap_or_default();
        if coded.is_empty() {
            out.push('+');
        } else {
            let pairs = super::transfer::decode_base64(coded);
            let (units, _) = pairs.as_chunks::<2>();
            let letters = char::decode_utf16(units.iter().map(|unit| u16::from_be_bytes(*unit)));
            out.extend(letters.map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)));
        }
        rest = after.strip_prefix(b"-").unwrap_or(after);
    }
    out.push_str(&decode_unlabelled(rest));
    out
}

/// Decodes Johab: two bytes hold the three letters of a syllable, five bits each; the other characters of KS X 1001 are in rows after them.
fn johab(bytes: &[u8]) -> String {
    const INITIALS: [char; 19] = [
        'ㄱ', 'ㄲ', 'ㄴ', 'ㄷ', 'ㄸ', 'ㄹ', 'ㅁ', 'ㅂ', 'ㅃ', 'ㅅ', 'ㅆ', 'ㅇ', 'ㅈ', 'ㅉ', 'ㅊ', 'ㅋ', 'ㅌ', 'ㅍ',
        'ㅎ',
    ];
    let syllable = |pair: u16| {
        let initial = (pair >> 10 & 31).checked_sub(2);
        let medial = match pair >> 5 & 31 {
            field @ 3..=7 => Some(field - 3),
            field @ 10..=15 => Some(field - 5),
            field @ 18..=23 => Some(field - 7),
            field @ 26..=29 => Some(field - 9),
            _ => None,
        };
        let last = match pair & 31 {
            field @ 1..=17 => field - 1,
            field @ 19..=29 => field - 2,
            _ => return None,
        };
        match (initial, medial) {
            (Some(initial @ ..19), Some(medial)) => {
                char::from_u32(0xac00 + (u32::from(initial) * 21 + u32::from(medial)) * 28 + u32::from(last))
            }
            (Some(initial), None) => INITIALS.get(usize::from(initial)).copied(),
            (None, Some(medial)) => char::from_u32(0x314f + u32::from(medial)),
            _ => None,
        }
    };
    let other = |first: u8, second: u8| {
        let row = if first < 0xe0 { 2 * first.checked_sub(0xd9)? } else { 2 * (first - 0xe0) + 0x29 };
        let column = if second < 0x91 { second.checked_sub(0x31)? } else { second - 0x43 };
        let (row, column) = if column < 0x5e { (row, column) } else { (row + 1, column - 0x5e) };
        let pair = [row.checked_add(0xa1)?, column.checked_add(0xa1)?];
        EUC_KR.decode_without_bom_handling(&pair).0.chars().next()
    };
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if first.is_ascii() {
            out.push(char::from(*first));
            continue;
        }
        let letter = match tail {
            [second @ 0x31..=0xff, ..] => {
                rest = tail.get(1..).unwrap_or_default();
                if *first < 0xd4 { syllable(u16::from_be_bytes([*first, *second])) } else { other(*first, *second) }
            }
            _ => None,
        };
        out.push(letter.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    out
}

#[cfg(test)]
mod tests;
