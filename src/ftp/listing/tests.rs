//! One table of real lines for all dialects, each with its source.

use super::time::{civil, seconds};
use super::*;

/// 2026-11-23T05:52:22Z.
const NOW: i64 = 1_795_413_142;

/// The tables of `tests/data/ftp/listing`; unix.txt describes their format.
const TABLES: &[(&str, &str, Option<Dialect>)] = &[
    ("unix", include_str!("../../../tests/data/ftp/listing/unix.txt"), Some(Dialect::Unix)),
    ("dos", include_str!("../../../tests/data/ftp/listing/dos.txt"), Some(Dialect::Dos)),
    ("eplf", include_str!("../../../tests/data/ftp/listing/eplf.txt"), Some(Dialect::Eplf)),
    ("vms", include_str!("../../../tests/data/ftp/listing/vms.txt"), Some(Dialect::Vms)),
    ("mvs", include_str!("../../../tests/data/ftp/listing/mvs.txt"), None),
    ("as400", include_str!("../../../tests/data/ftp/listing/as400.txt"), Some(Dialect::As400)),
    ("os2", include_str!("../../../tests/data/ftp/listing/os2.txt"), Some(Dialect::Os2)),
    ("mlsd", include_str!("../../../tests/data/ftp/listing/mlsd.txt"), Some(Dialect::Mlsd)),
];

/// An entry in the form of the tables.
fn brief(entry: &ListingEntry) -> String {
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or("-".into());
    let time = entry.modified.map(|modified| {
        let whole = format_rfc3339(modified.seconds);
        let end = [10, 16, 19][modified.precision as usize];
        format!("{}{} {}", &whole[..end], if modified.utc { "Z" } else { "" }, modified.precision.as_str())
    });
    [
        entry.entry_type.as_str().to_owned(),
        String::from_utf8_lossy(&entry.name).into_owned(),
        entry.size.map(|size| size.to_string()).unwrap_or("-".into()),
        time.unwrap_or("-".into()),
        text(&entry.owner),
        text(&entry.group),
        entry.mode.map(|mode| format!("{mode:o}")).unwrap_or("-".into()),
        text(&entry.link_target),
    ]
    .join("|")
}

#[test]
fn every_dialect() {
    for (file, table, dialect) in TABLES {
        let (mut lister, mut checked) = (Lister::list(NOW), 0);
        let mut given: Option<(ListingLine, &str)> = None;
        for row in table.lines() {
            if let Some(line) = row.strip_prefix('|') {
                assert!(given.is_none(), "{file}: nothing is expected of {given:?}");
                given = Some((lister.line(line.as_bytes()), line));
            } else if matches!(row.as_bytes().first(), Some(b'=' | b'!' | b'?')) {
                let (found, line) = given.take().unwrap_or_else(|| panic!("{file}: no line before {row}"));
                match (row.split_at(1), &found) {
                    (("=", wanted), ListingLine::Entry(entry)) => {
                        assert_eq!(brief(entry), wanted[1..], "{file}: {line}")
                    }
                    (("!", _), ListingLine::Nothing) | (("?", _), ListingLine::Unknown) => {}
                    _ => panic!("{file}: {line:?} is {found:?}, not {row}"),
                }
                checked += 1;
            } else if row == "list" || row == "mlsd" {
                assert_eq!(lister.finish(), ListingLine::Nothing, "{file}");
                lister = if row == "list" { Lister::list(NOW) } else { Lister::mlsd() };
            } else {
                assert!(row.is_empty() || row.starts_with('#'), "{file}: {row:?} is no row");
            }
            if let (Some(found), Some(wanted)) = (lister.dialect(), dialect) {
                assert_eq!(found, *wanted, "{file}: {row}");
            }
        }
        assert!(checked > 5, "{file}: {checked} lines");
    }
}

#[test]
fn a_saved_listing_is_recognised() {
    for (first, dialect) in [
        ("type=file;size=1; x", Some(Dialect::Mlsd)),
        ("type=file;size=5 x", Some(Dialect::Mlsd)),
        ("Modify=20240229000000;Type=dir; a b", Some(Dialect::Mlsd)),
        ("-rw-r--r-- 1 u g 7 Nov  3 05:52 a=b;c", None),
        ("+i1.2,m3,r,s4,\tx=y;", None),
        ("A=B.TXT;1", None),
        (" no facts", Some(Dialect::Mlsd)),
        (" 1 DIR  05-12-97   16:44  x", None),
        (" Volume in drive C is DATA", None),
        ("", None),
    ] {
        assert_eq!(Lister::saved(first.as_bytes(), NOW).dialect(), dialect, "{first}");
    }
}

#[test]
fn what_has_no_member_is_a_fact() {
    let facts = |lister: &mut Lister, line: &str| match lister.line(line.as_bytes()) {
        ListingLine::Entry(entry) => entry
            .facts
            .into_iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(&value)))
            .collect::<Vec<_>>()
            .join(" "),
        other => panic!("{line:?} is {other:?}"),
    };
    let line = "type=file;Media-Type=text/plain;create=20200101000000;size=1; x";
    assert_eq!(facts(&mut Lister::mlsd(), line), "media-type=text/plain create=20200101000000");
    let line = "A.TXT;7  213/216  29-JAN-1996 03:33  [A]  (RWED,RWED,,)";
    assert_eq!(facts(&mut Lister::list(NOW), line), "version=7 blocks=213 protection=RWED,RWED,,");
    let mut mvs = Lister::list(NOW);
    mvs.line(b"Volume Unit    Referred Ext Used Recfm Lrecl BlkSz Dsorg Dsname");
    assert_eq!(
        facts(&mut mvs, "WPTA01 3290   2004/03/04  1    3  FB      80  3125  PO  X.Y"),
        "volume=WPTA01 unit=3290 referred=2004/03/04 recfm=FB lrecl=80 blksz=3125 dsorg=PO"
    );
}

#[test]
fn half_an_entry_is_noticed() {
    let mut lister = Lister::list(NOW);
    assert_eq!(lister.line(b"LONG-NAME.TXT;1"), ListingLine::Nothing);
    assert_eq!(lister.finish(), ListingLine::Unknown);
    assert_eq!(lister.finish(), ListingLine::Nothing);
    assert_eq!(lister.line(b"LONG-NAME.TXT;1"), ListingLine::Nothing);
    assert_eq!(lister.line(b"NEXT.TXT;1   1  2-JUL-2003 10:30"), ListingLine::Unknown);
}

#[test]
fn calendar() {
    for (stamp, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (NOW, "2026-11-23T05:52:22Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (4_102_444_800, "2100-01-01T00:00:00Z"),
    ] {
        assert_eq!(format_rfc3339(stamp), text);
    }
    let mut day = 0i64;
    for year in 1970..2110 {
        for month in 1..=12 {
            for date in 1..=time::days_in_month(year, month) {
                assert_eq!(seconds(year, month, date, 0, 0, 0), Some(day * 86_400));
                assert_eq!(civil(day * 86_400 + 3661), (year, month, date, 1, 1, 1));
                day += 1;
            }
        }
    }
    assert_eq!(seconds(2023, 2, 29, 0, 0, 0), None);
    assert_eq!(seconds(2100, 2, 29, 0, 0, 0), None);
    assert_eq!(parse_mdtm(b"20261123055222"), Some(NOW));
    assert_eq!(parse_mdtm(b"20261123055222.999"), Some(NOW));
    assert_eq!(parse_mdtm(b"191261123055222"), Some(NOW), "1900 + 126");
    assert_eq!(parse_mdtm(format_mdtm(NOW).as_bytes()), Some(NOW));
    for bad in ["", "2026", "20261123055222x", "20261323055222", "2026112305522", "20261123055222 x"] {
        assert_eq!(parse_mdtm(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn years_are_never_wrong() {
    // For each age of a file (up to a year) and each present day, a date without a year is restored exactly.
    for today in (0..800).map(|day| NOW + day * 86_400) {
        for age in [0, 60, 86_400, 31 * 86_400, 180 * 86_400, 363 * 86_400] {
            let stamp = (today - age).div_euclid(60) * 60;
            let (_, month, day, hour, minute, _) = civil(stamp);
            assert_eq!(time::without_year(today, month, day, hour, minute), Some(stamp));
        }
    }
}

#[test]
fn compose_then_parse() {
    let mut entry = ListingEntry::new(*b" a;b \xff", EntryType::File);
    entry.size = Some(7);
    entry.modified = Some(Modified::utc(NOW));
    entry.mode = Some(0o4750);
    entry.perm = Some("adfr".to_owned());
    entry.unique = Some(b"1g2".to_vec());
    let line = format_mlsd(&entry, FactSet::default());
    assert_eq!(Lister::mlsd().line(&line), ListingLine::Entry(entry.clone()));

    entry.owner = Some(b"bob".to_vec());
    entry.group = Some(b"staff".to_vec());
    entry.links = Some(3);
    (entry.perm, entry.unique) = (None, None);
    for (stamp, precision) in [(NOW - 60, Precision::Minute), (NOW - 400 * 86_400, Precision::Day)] {
        let unit = precision.seconds();
        entry.modified = Some(Modified { seconds: stamp.div_euclid(unit) * unit, precision, utc: false });
        let line = format_unix(&entry, NOW);
        assert_eq!(
            Lister::list(NOW).line(&line),
            ListingLine::Entry(entry.clone()),
            "{}",
            String::from_utf8_lossy(&line)
        );
    }
    let mut link = ListingEntry::new("l", EntryType::Symlink);
    link.link_target = Some(b"a -> b".to_vec());
    link.size = Some(6);
    let read = Lister::list(NOW).line(&format_unix(&link, NOW));
    let ListingLine::Entry(read) = read else { panic!("{read:?}") };
    assert_eq!((read.name, read.link_target), (link.name.clone(), link.link_target.clone()));
    let read = Lister::mlsd().line(&format_mlsd(&link, FactSet::default()));
    let ListingLine::Entry(read) = read else { panic!("{read:?}") };
    assert_eq!(read.entry_type, EntryType::Symlink);
}

#[test]
fn a_months_name_is_read_whole_or_not_at_all() {
    for (word, wanted) in [
        (&b"marras"[..], Some(11)),
        (b"maalis", Some(3)),
        (b"kes\xe4", Some(6)),
        (b"f\xe9v.", Some(2)),
        (b"pa\x9f", Some(10)),
        (b"pa\xbc", Some(10)),
        (b"\xec\xe0\xf0", Some(3)),
        (b"\xe8\xfe\xeb", Some(7)),
        (b"szept", Some(9)),
        (b"June,", Some(6)),
        (b"juin", Some(6)),
        (b"jui", None),
        (b"lip", None),
        (b"marble", None),
        (b"decoy", None),
        (b"ma", None),
    ] {
        assert_eq!(month::month(word), wanted, "{}", String::from_utf8_lossy(word));
    }
}
