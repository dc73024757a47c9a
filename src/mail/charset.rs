//! Bytes of a named charset as text.

/// Bytes under the charset that a mail names, as text. A label that nobody knows is read as [`decode_unlabelled`] reads.
pub fn decode(label: &str, bytes: &[u8]) -> String {
    let plain =
        ["utf-8", "utf8", "us-ascii", "ascii", "unknown-8bit"].iter().any(|name| label.eq_ignore_ascii_case(name));
    if !plain && let Some(decoder) = mail_parser::decoders::charsets::map::charset_decoder(label.as_bytes()) {
        return decoder(bytes);
    }
    decode_unlabelled(bytes)
}

/// Bytes without a charset: UTF-8 if they are that, else Windows-1252.
pub fn decode_unlabelled(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| windows_1252(*byte)).collect(),
    }
}

fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH.get(usize::from(byte - 0x80)).copied().unwrap_or('\u{fffd}'),
        _ => char::from(byte),
    }
}
