use super::*;

/// Label, bytes and text, as produced by an independent codec.
#[rustfmt::skip]
const KNOWN: &[(&str, &[u8], &str)] = &[
    ("iso-2022-jp", b"\x1b$BF|K\x5c8l%F%9%H\x1b(B", "日本語テスト"),
    ("ISO-2022-JP-MS", b"\x1b$BF|K\x5c8l%F%9%H\x1b(B", "日本語テスト"),
    ("iso-2022-jp-2", b"\x1b$BF|K\x5c8l%F%9%H\x1b(B", "日本語テスト"),
    ("csISO2022JP", b"\x1b$BF|K\x5c8l%F%9%H\x1b(B", "日本語テスト"),
    ("cp50220", b"\x1b$BF|K\x5c8l%F%9%H\x1b(B", "日本語テスト"),
    ("shift_jis", b"\x93\xfa\x96{\x8c\xea\x83e\x83X\x83g", "日本語テスト"),
    ("cp932", b"\x93\xfa\x96{\x8c\xea\x83e\x83X\x83g", "日本語テスト"),
    ("windows-31j", b"\x93\xfa\x96{\x8c\xea\x83e\x83X\x83g", "日本語テスト"),
    ("MS932", b"\x93\xfa\x96{\x8c\xea\x83e\x83X\x83g", "日本語テスト"),
    ("x-sjis", b"\x93\xfa\x96{\x8c\xea\x83e\x83X\x83g", "日本語テスト"),
    ("ibm-943", b"\x93\xfa\x96{\x8c\xea\x83e\x83X\x83g", "日本語テスト"),
    ("euc-jp", b"\xc6\xfc\xcb\xdc\xb8\xec\xa5\xc6\xa5\xb9\xa5\xc8", "日本語テスト"),
    ("x-euc-jp", b"\xc6\xfc\xcb\xdc\xb8\xec\xa5\xc6\xa5\xb9\xa5\xc8", "日本語テスト"),
    ("ujis", b"\xc6\xfc\xcb\xdc\xb8\xec\xa5\xc6\xa5\xb9\xa5\xc8", "日本語テスト"),
    ("latin9", b"10 \xa4", "10 €"),
    ("iso-ir-226", b"10 \xa4 \xf1", "10 € ń"),
    ("euc_jis_2004", b"\xc6\xfc\xcb\xdc\xb8\xec\xa5\xc6\xa5\xb9\xa5\xc8", "日本語テスト"),
    ("iso-2022-jp-2", b"\x1b$B4A\x1b$(D+1\x1b$B;z\x1b(B \x1b$(C>H3g\x1b(B \x1b$(A;c\x1b$BN(\x1b(B \x1b$B&A\x1b(B", "漢é字 안녕 汇率 α"),
    ("iso-2022-jp-ext", b"\x1b(IJ]68\x1b$(D0!\x1b(Bok", "ﾊﾝｶｸ丂ok"),
    ("iso-2022-kr", b"\x1b$)C\x0e>H3gGO<<?d\x0f", "안녕하세요"),
    ("euc-kr", b"\xbe\xc8\xb3\xe7\xc7\xcf\xbc\xbc\xbf\xe4", "안녕하세요"),
    ("ks_c_5601-1987", b"\xbe\xc8\xb3\xe7\xc7\xcf\xbc\xbc\xbf\xe4", "안녕하세요"),
    ("KSC5601", b"\xbe\xc8\xb3\xe7\xc7\xcf\xbc\xbc\xbf\xe4", "안녕하세요"),
    ("ks_c_5601", b"\xbe\xc8\xb3\xe7\xc7\xcf\xbc\xbc\xbf\xe4", "안녕하세요"),
    ("cp949", b"\xbe\xc8\xb3\xe7\xc7\xcf\xbc\xbc\xbf\xe4", "안녕하세요"),
    ("uhc", b"\xbe\xc8\xb3\xe7\xc7\xcf\xbc\xbc\xbf\xe4", "안녕하세요"),
    ("windows-949", b"\xbe\xc8\xb3\xe7\xc7\xcf\xbc\xbc\xbf\xe4", "안녕하세요"),
    ("johab", b"\xb4e\x91w\xd0a\xadA\xb6a", "안녕하세요"),
    ("cp1361", b"\xb4e\x91w\xd0a\xadA\xb6a", "안녕하세요"),
    ("iso-2022-kr", b"\x1b$)C\x0e0!3*\x0f ab\x0a\x0e4Y6s\x0f", "가나 ab\n다라"),
    ("cp949", b"\x8cc\xb9\xe6\xb0\xa2\xc7\xcf", "똠방각하"),
    ("johab", b"\xd0e\x8bi \x88A\x84a \xf7\xd3\xf1\xae \xd9h \xd3\xbd a\x88a", "한글 ㄱㅏ 漢字 ※ 힣 a가"),
    ("gb2312", b"\xbb\xe3\xc2\xca\xb1\xe4\xbb\xaf\xcd\xa8\xd6\xaa", "汇率变化通知"),
    ("x-gbk", b"\xbb\xe3\xc2\xca\xb1\xe4\xbb\xaf\xcd\xa8\xd6\xaa", "汇率变化通知"),
    ("gbk", b"\xbb\xe3\xc2\xca\xb1\xe4\xbb\xaf\xcd\xa8\xd6\xaa", "汇率变化通知"),
    ("cp936", b"\xbb\xe3\xc2\xca\xb1\xe4\xbb\xaf\xcd\xa8\xd6\xaa", "汇率变化通知"),
    ("GB_2312-80", b"\xbb\xe3\xc2\xca\xb1\xe4\xbb\xaf\xcd\xa8\xd6\xaa", "汇率变化通知"),
    ("gb18030", b"\xbb\xe3\xc2\xca\xb1\xe4\xbb\xaf\xcd\xa8\xd6\xaa", "汇率变化通知"),
    ("hz-gb-2312", b"~{;cBJ1d;/M(V*~}", "汇率变化通知"),
    ("hz", b"~{;cBJ1d;/M(V*~}", "汇率变化通知"),
    ("euc-cn", b"\xbb\xe3\xc2\xca\xb1\xe4\xbb\xaf\xcd\xa8\xd6\xaa", "汇率变化通知"),
    ("hz", b"a~~b ~{;cBJ~}\x0a~~x", "a~b 汇率\n~x"),
    ("gb18030", b"\x952\x826\xa8\xb9\xbb\xe3", "𠀀ü汇"),
    ("gb2312", b"\xe9F", "镕"),
    ("big5", b"\xb9q\xa4l\xb6l\xa5\xf3\xb4\xfa\xb8\xd5", "電子郵件測試"),
    ("big5-hkscs", b"\xb9q\xa4l\xb6l\xa5\xf3\xb4\xfa\xb8\xd5", "電子郵件測試"),
    ("cp950", b"\xb9q\xa4l\xb6l\xa5\xf3\xb4\xfa\xb8\xd5", "電子郵件測試"),
    ("cn-big5", b"\xb9q\xa4l\xb6l\xa5\xf3\xb4\xfa\xb8\xd5", "電子郵件測試"),
    ("x-x-big5", b"\xb9q\xa4l\xb6l\xa5\xf3\xb4\xfa\xb8\xd5", "電子郵件測試"),
    ("big5-hkscs", b"\xabY\xcb\xdd\x9d\xef\x9d\xf8", "係咁嘅啲"),
    ("windows-874", b"\xca\xc7\xd1\xca\xb4\xd5", "สวัสดี"),
    ("tis-620", b"\xca\xc7\xd1\xca\xb4\xd5", "สวัสดี"),
    ("iso-8859-11", b"\xca\xc7\xd1\xca\xb4\xd5", "สวัสดี"),
    ("cp874", b"\xca\xc7\xd1\xca\xb4\xd5", "สวัสดี"),
    ("koi8-r", b"\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"),
    ("koi8-u", b"\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"),
    ("koi8-t", b"\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"),
    ("windows-1251", b"\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"),
    ("win-1251", b"\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"),
    ("cp-1251", b"\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"),
    ("iso-8859-5", b"\xbf\xe0\xd8\xd2\xd5\xe2", "Привет"),
    ("ibm866", b"\x8f\xe0\xa8\xa2\xa5\xe2", "Привет"),
    ("cp866", b"\x8f\xe0\xa8\xa2\xa5\xe2", "Привет"),
    ("ibm855", b"\xdd\xe1\xb7\xeb\xa8\xe5", "Привет"),
    ("x-mac-cyrillic", b"\x8f\xf0\xe8\xe2\xe5\xf2", "Привет"),
    ("cp1125", b"\x8f\xe0\xa8\xa2\xa5\xe2", "Привет"),
    ("kz-1048", b"\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"),
    ("ptcp154", b"\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"),
    ("x-cp1251", b"\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"),
    ("iso-8859-2", b"P\xf8\xedli\xb9 \xbelu\xbbou\xe8k\xfd", "Příliš žluťoučký"),
    ("ISO8859_2", b"P\xf8\xedli\xb9 \xbelu\xbbou\xe8k\xfd", "Příliš žluťoučký"),
    ("iso8859-2", b"P\xf8\xedli\xb9 \xbelu\xbbou\xe8k\xfd", "Příliš žluťoučký"),
    ("ISO_8859-2:1987", b"P\xf8\xedli\xb9 \xbelu\xbbou\xe8k\xfd", "Příliš žluťoučký"),
    ("latin2", b"P\xf8\xedli\xb9 \xbelu\xbbou\xe8k\xfd", "Příliš žluťoučký"),
    ("windows-1250", b"P\xf8\xedli\x9a \x9elu\x9dou\xe8k\xfd", "Příliš žluťoučký"),
    ("cp852", b"P\xfd\xa1li\xe7 \xa7lu\x9cou\x9fk\xec", "Příliš žluťoučký"),
    ("ibm852", b"P\xfd\xa1li\xe7 \xa7lu\x9cou\x9fk\xec", "Příliš žluťoučký"),
    ("x-mac-ce", b"P\xde\x92li\xe4 \xeclu\xe9ou\x8bk\xf9", "Příliš žluťoučký"),
    ("x-mac-centraleurroman", b"P\xde\x92li\xe4 \xeclu\xe9ou\x8bk\xf9", "Příliš žluťoučký"),
    ("28592", b"P\xf8\xedli\xb9 \xbelu\xbbou\xe8k\xfd", "Příliš žluťoučký"),
    ("iso-8859-1", b"Gr\xfc\xdfe", "Grüße"),
    ("latin-1", b"Gr\xfc\xdfe", "Grüße"),
    ("iso_8859_1", b"Gr\xfc\xdfe", "Grüße"),
    ("iso8859-15", b"Gr\xfc\xdfe", "Grüße"),
    ("windows-1252", b"Gr\xfc\xdfe", "Grüße"),
    ("cp1252", b"Gr\xfc\xdfe", "Grüße"),
    ("WINDOWS1252", b"Gr\xfc\xdfe", "Grüße"),
    ("ibm437", b"Gr\x81\xe1e", "Grüße"),
    ("cp437", b"Gr\x81\xe1e", "Grüße"),
    ("IBM00858", b"Gr\x81\xe1e", "Grüße"),
    ("cp850", b"Gr\x81\xe1e", "Grüße"),
    ("ibm-850", b"Gr\x81\xe1e", "Grüße"),
    ("cp858", b"Gr\x81\xe1e", "Grüße"),
    ("cp860", b"Gr\x81\xe1e", "Grüße"),
    ("macintosh", b"Gr\x9f\xa7e", "Grüße"),
    ("x-mac-roman", b"Gr\x9f\xa7e", "Grüße"),
    ("hp-roman8", b"Gr\xcf\xdee", "Grüße"),
    ("iso-8859-14", b"Gr\xfc\xdfe", "Grüße"),
    ("iso-8859-9", b"Gr\xfc\xdfe", "Grüße"),
    ("cp65001", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("utf8mb4", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("'utf-8'", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("utf-8*de", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("us-ascii", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("us-ascii", b"Gr\xfc\xdfe", "Grüße"),
    ("X-UNKNOWN", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("x-unknown", b"Gr\xfc\xdfe", "Grüße"),
    ("unknown-8bit", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("unknown-8bit", b"Gr\xfc\xdfe", "Grüße"),
    ("ANSI_X3.4-1968", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("iso-8859-1", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("iso-2022-jp", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("utf-8", b"Gr\xfc\xdfe", "Grüße"),
    ("", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("no-such", b"Gr\xfc\xdfe", "Grüße"),
    ("utf-7", b"Gr+APwA3w-e", "Grüße"),
    ("x-unicode-2-0-utf-7", b"Gr+APwA3w-e", "Grüße"),
    ("utf-16", b"\xff\xfeG\x00r\x00\xfc\x00\xdf\x00e\x00", "Grüße"),
    ("utf-16", b"G\x00r\x00\xfc\x00\xdf\x00e\x00", "Grüße"),
    ("utf-16", b"\x00G\x00r\x00\xfc\x00\xdf\x00e", "Grüße"),
    ("utf-16be", b"\x00G\x00r\x00\xfc\x00\xdf\x00e", "Grüße"),
    ("ucs-2", b"\xff\xfeG\x00r\x00\xfc\x00\xdf\x00e\x00", "Grüße"),
    ("utf-16le", b"G\x00r\x00\xfc\x00\xdf\x00e\x00", "Grüße"),
    ("utf-32", b"\xff\xfe\x00\x00G\x00\x00\x00r\x00\x00\x00\xfc\x00\x00\x00\xdf\x00\x00\x00e\x00\x00\x00", "Grüße"),
    ("utf-32be", b"\x00\x00\x00G\x00\x00\x00r\x00\x00\x00\xfc\x00\x00\x00\xdf\x00\x00\x00e", "Grüße"),
    ("utf-32le", b"G\x00\x00\x00r\x00\x00\x00\xfc\x00\x00\x00\xdf\x00\x00\x00e\x00\x00\x00", "Grüße"),
    ("x-user-defined", b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
    ("iso-8859-7", b"\xc3\xe5\xe9\xdc", "Γειά"),
    ("cp737", b"\x82\x9c\xa0\xe1", "Γειά"),
    ("cp869", b"\xa6\xde\xe3\x9b", "Γειά"),
    ("x-mac-greek", b"\xa1\xe5\xe9\xc0", "Γειά"),
    ("windows-1253", b"\xc3\xe5\xe9\xdc", "Γειά"),
    ("iso-8859-8", b"\xf9\xec\xe5\xed", "שלום"),
    ("iso-8859-8-i", b"\xf9\xec\xe5\xed", "שלום"),
    ("iso-8859-8-e", b"\xf9\xec\xe5\xed", "שלום"),
    ("cp862", b"\x99\x8c\x85\x8d", "שלום"),
    ("cp856", b"\x99\x8c\x85\x8d", "שלום"),
    ("windows-1255", b"\xf9\xec\xe5\xed", "שלום"),
    ("iso-8859-6", b"\xd3\xe4\xc7\xe5", "سلام"),
    ("windows-1256", b"\xd3\xe1\xc7\xe3", "سلام"),
    ("cp720", b"\xab\xe9\x9f\xea", "سلام"),
    ("windows-1257", b"\xde\xe0s\xf8", "Žąsų"),
    ("cp775", b"\xcf\xd0s\xd6", "Žąsų"),
    ("iso-8859-13", b"\xde\xe0s\xf8", "Žąsų"),
    ("iso-8859-4", b"\xae\xb1s\xf9", "Žąsų"),
    ("iso-8859-10", b"\xac\xb1s\xf9", "Žąsų"),
    ("iso-8859-3", b"\xf8i", "ĝi"),
    ("iso-8859-16", b"\xbatiin\xfe\xe3", "știință"),
    ("x-mac-turkish", b"\xdd\xdb", "ığ"),
    ("x-mac-croatian", b"\xe8\xbe", "čž"),
    ("x-mac-romania", b"\xaf", "Ș"),
    ("cp857", b"\x8d\xa7", "ığ"),
    ("cp861", b"\x8d\xa2r", "Þór"),
    ("cp863", b"No\x89l", "Noël"),
    ("cp865", b"\x9d", "Ø"),
    ("utf-7", b"a+-b +ZeVnLA +IKw-", "a+b 日本 €"),
    ("iso-8859-1:1987", b"Gr\xfc", "Grü"),
    ("iso_8859_15:1998", b"\xa4", "€"),
    ("iso_ir_101", b"\xb9", "š"),
    ("latin7", b"\xc0", "Ą"),
    ("utf_16_be", b"\0G", "G"),
    ("eucjp", b"\xc6\xfc", "日"),
    ("euckr", b"\xc7\xd1", "한"),
    ("elot-928", b"\xc3", "Γ"),
    ("mac-centeuro", b"\x8c", "Ć"),
    ("x-mac-japanese", b"\x93\xfa", "日"),
    // Windows-1252 where Latin-1 has only control characters.
    ("iso-8859-1", b"5 \x80 \x93hi\x94", "5 € “hi”"),
    ("us-ascii", b"5 \x80", "5 €"),
    // One bad byte does not spoil a text that is UTF-8 otherwise.
    ("utf-8", b"Gr\xc3\xbc\xdfe", "Grü\u{fffd}e"),
    ("utf-8", b"\xef\xbb\xbfx", "x"),
    // Shifts that end with the line, and sequences that are none.
    ("iso-2022-jp", b"\x1b$BF|\n\x1b(B\x1b[31mx", "日\n\u{1b}[31mx"),
    ("iso-2022-kr", b"\x1b$)C\x0e>H\nab", "안\nab"),
    ("iso-2022-cn", b"\x1b$)A\x0e;c\x0f.", "汇."),
    ("hz", b"~{;c\nab~~", "汇\nab~"),
    ("utf-16", b"\xff\xfeG\0\n", "G"),
    ("utf-7", b"+AGE", "a"),
    ("utf-7", b"+-+", "++"),
];

#[test]
fn labels_and_texts() {
    let wrong: Vec<String> = KNOWN
        .iter()
        .filter(|(label, bytes, text)| decode(label, bytes) != *text)
        .map(|(label, bytes, text)| format!("{label}: {:?}, not {text:?}", decode(label, bytes)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_a_label() {
    for (bytes, text) in
        [(&b"plain"[..], "plain"), ("Grüße".as_bytes(), "Grüße"), (b"Gr\xfc\xdfe \x80", "Grüße €"), (b"", "")]
    {
        assert_eq!(decode_unlabelled(bytes), text);
    }
}

/// Every label with every byte, every pair of bytes and every cut: decoding always gives a result, and ASCII is unchanged.
#[test]
fn no_bytes_are_too_odd() {
    let noise: Vec<u8> =
        (0..=255u8).flat_map(|high| [high, high ^ 0x5a, 0x1b, b'$', high, b'~', b'{', high, b'+']).collect();
    for (label, bytes, _) in KNOWN {
        for cut in 0..bytes.len() {
            let _ = decode(label, &bytes[..cut]);
            let _ = decode(label, &bytes[cut..]);
        }
        let _ = decode(label, &noise);
        if !["16", "32", "ucs"].iter().any(|wide| label.contains(wide)) {
            assert_eq!(decode(label, b"Plain text, 1-2.\r\n"), "Plain text, 1-2.\r\n", "{label}");
        }
    }
}
