//! The names of months in the languages in which servers print them.

/// The names of each month, without accents. A word must have all letters before the bar and may have any number of those
/// behind it. Ambiguous beginnings are left out: Polish `lip` and `lis` are other months in Croatian.
const NAMES: [&str; 12] = [
    "jan|uary jan|vier jan|uari jan|eiro jan|ner ene|ro gen|naio gen|er xan|eiro ian|uarie jaan|uar sty|czen sau|sis oca|k tammi|kuu янв|арь яну|ари",
    "feb|ruary feb|rero feb|braio feb|ruarie fev|rier fev|ereiro lut|y vas|aris sub|at veebr|uar helmi|kuu фев|раль",
    "mar|ch mar|s mar|z mar|zo mar|co mar|zec mar|t mar|ts mar|tie mrz mrt maar|t kov|as maalis|kuu мар|т",
    "apr|il apr|ile apr|ilie avr|il abr|il kwi|ecien bal|andis nis|an huhti|kuu апр|ель",
    "may|o may|is mai|o mai|g mag|gio mei maj|us geg|uze touko|kuu май мая",
    "jun|e jun|i jun|io jun|ho jun|y juin giu|gno iun|ie juun|i cze|rwiec bir|zelis haz|iran kesa|kuu июн|ь июн|я",
    "jul|y jul|i jul|io jul|ho jul|iol juil|let lug|lio iul|ie juul|i lipi|ec lipca lie|pa tem|muz heina|kuu июл|ь июл|я",
    "aug|ust aug|ustus aug|usti aou|t ago|sto avg|ust agu|stos sie|rpien rgp rugp|jutis elo|kuu авг|уст",
    "sep|tember sep|tembre sep|tiembre set|tembre set|embro set|iembre szept|ember wrz|esien rgs rugs|ejis eyl|ul syys|kuu сен|тябрь",
    "oct|ober oct|obre oct|ubre oct|ombrie okt|ober okt|oober ott|obre out|ubro paz|dziernik spa|lis eki|m loka|kuu окт|ябрь",
    "nov|ember nov|embre nov|iembre nov|embro noi|embrie lap|kritis kas|im marras|kuu ноя|брь",
    "dec|ember dec|embre dec|embrie dez|ember dez|embro dic|iembre dic|embre des|ember dets|ember gru|dzien grd gruo|dis ara|lik joulu|kuu дек|абрь",
];

/// The number of letters in the longest name.
const MAX_LETTERS: usize = 12;

/// A month by its name, complete or abbreviated, in any case, with or without accents, with or without a dot or a comma behind
/// it, in UTF-8 or another common charset. `None` if the name is unknown or ambiguous.
pub(super) fn month(word: &[u8]) -> Option<u32> {
    let word = word.strip_suffix(b",").unwrap_or(word);
    let word = word.strip_suffix(b".").unwrap_or(word);
    if word.len() < 3 || word.len() > 3 * MAX_LETTERS {
        return None;
    }
    // The names that nearly every server prints need no search.
    const ENGLISH: [&[u8]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    if let Some((month, _)) = (1..).zip(ENGLISH).find(|(_, name)| name.eq_ignore_ascii_case(word)) {
        return Some(month);
    }
    if let Ok(text) = std::str::from_utf8(word) {
        return named(&folded(text));
    }
    let charsets = [
        encoding_rs::WINDOWS_1252,
        encoding_rs::WINDOWS_1250,
        encoding_rs::WINDOWS_1251,
        encoding_rs::KOI8_R,
        encoding_rs::ISO_8859_5,
        encoding_rs::IBM866,
        encoding_rs::ISO_8859_2,
    ];
    let mut found = None;
    for charset in charsets {
        let (text, _) = charset.decode_without_bom_handling(word);
        match named(&folded(&text)) {
            Some(month) if found.is_some_and(|found| found != month) => return None,
            Some(month) => found = Some(month),
            None => {}
        }
    }
    found
}

fn named(word: &str) -> Option<u32> {
    let matches = |name: &str| {
        let (least, more) = name.split_once('|').unwrap_or((name, ""));
        word.strip_prefix(least).is_some_and(|rest| more.starts_with(rest))
    };
    (1..).zip(NAMES).find(|(_, names)| names.split(' ').any(matches)).map(|(month, _)| month)
}

/// Lower case, and Latin letters without their accents.
fn folded(text: &str) -> String {
    let plain = |letter: char| match letter {
        'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' | 'ą' | 'ā' => 'a',
        'é' | 'è' | 'ê' | 'ë' | 'ę' | 'ė' | 'ē' => 'e',
        'í' | 'ì' | 'î' | 'ï' | 'ı' => 'i',
        'ó' | 'ò' | 'ô' | 'ö' | 'õ' => 'o',
        'ú' | 'ù' | 'û' | 'ü' | 'ū' => 'u',
        'ç' | 'č' | 'ć' => 'c',
        'ş' | 'š' | 'ś' | 'ș' => 's',
        'ž' | 'ź' | 'ż' => 'z',
        'ń' | 'ñ' => 'n',
        'ğ' => 'g',
        'ł' => 'l',
        other => other,
    };
    text.chars().flat_map(char::to_lowercase).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every listed beginning of every name means exactly one month; a shorter one means none.
    #[test]
    fn no_name_is_two_months() {
        for (number, names) in (1..).zip(NAMES) {
            for name in names.split(' ') {
                let (least, more) = name.split_once('|').unwrap_or((name, ""));
                assert!(least.chars().count() >= 3, "{name}");
                for end in (0..=more.len()).filter(|end| more.is_char_boundary(*end)) {
                    let word = format!("{least}{}", &more[..end]);
                    let of: Vec<_> = (1..)
                        .zip(NAMES)
                        .filter(|(_, names)| {
                            names.split(' ').any(|other| {
                                let (least, more) = other.split_once('|').unwrap_or((other, ""));
                                word.strip_prefix(least).is_some_and(|rest| more.starts_with(rest))
                            })
                        })
                        .map(|(month, _)| month)
                        .collect();
                    assert_eq!(of, [number], "{word}");
                }
            }
        }
    }

    #[test]
    fn words_of_servers() {
        for (words, expected) in [
            ("jan Jan. janv. Januar JANUARY ene gen sty tammi tammikuu sau oca янв Янв. ЯНВ", 1),
            ("fév févr feb Feb, lut helmi vas şub фев", 2),
            ("mar mär märz mrz mrt maart mars março maalis kov", 3),
            ("avr abr kwi huhti bal апр", 4),
            ("may mai maj máj mei maí mag touko geg май", 5),
            ("jun juin juni jún kesä bir cze июн", 6),
            ("jul juil juillet juli júl heinä lie lipca lug июл", 7),
            ("aug août aout ago avg elo sie rgp авг", 8),
            ("sep sept szept set syys wrz rgs сен", 9),
            ("oct okt ott out loka paź spa окт", 10),
            ("nov nóv marras marraskuu lap ноя", 11),
            ("dec déc dez dic des gru grd joulu дек", 12),
        ] {
            for word in words.split(' ') {
                assert_eq!(month(word.as_bytes()), Some(expected), "{word}");
                let (latin, _, lossy) = encoding_rs::WINDOWS_1252.encode(word);
                assert!(lossy || month(&latin) == Some(expected), "{word} in Latin-1");
                for charset in [encoding_rs::WINDOWS_1251, encoding_rs::KOI8_R, encoding_rs::ISO_8859_5] {
                    let (bytes, _, lossy) = charset.encode(word);
                    assert!(lossy || month(&bytes) == Some(expected), "{word} in {}", charset.name());
                }
            }
        }
        for word in [
            "", "ja", "jui", "ju", "marrow", "mayor", "augur", "decoy", "novel", "sepia", "octet", "jan1", "ma", "srp",
            "elo.txt",
        ] {
            assert_eq!(month(word.as_bytes()), None, "{word}");
        }
    }
}
