//! One table of real lines for all dialects. Where a line comes from stands beside it.

use super::time::{civil, seconds};
use super::*;

/// 2026-11-23T05:52:22Z.
const NOW: i64 = 1_795_413_142;

fn one(lister: &mut Lister, line: &str) -> Entry {
    match lister.line(line.as_bytes()) {
        Line::Entry(entry) => entry,
        other => panic!("{line:?} is {other:?}"),
    }
}

fn list(line: &str) -> Entry {
    one(&mut Lister::list(NOW), line)
}

/// `type|name|size|time|precision|owner|group|mode|target` in short, for tables.
fn brief(entry: &Entry) -> String {
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or("-".into());
    format!(
        "{}|{}|{}|{}|{}|{}|{}",
        entry.entry_type.as_str(),
        String::from_utf8_lossy(&entry.name),
        entry.size.map(|size| size.to_string()).unwrap_or("-".into()),
        entry.modified.map(|m| format!("{} {}", format_rfc3339(m.seconds), m.precision.as_str())).unwrap_or("-".into()),
        text(&entry.owner),
        entry.mode.map(|mode| format!("{mode:o}")).unwrap_or("-".into()),
        text(&entry.link_target),
    )
}

#[test]
fn unix_dialects() {
    let table = [
        // vsftpd 3, pure-ftpd, proftpd, ftpd-bsd
        (
            "-rw-r--r--    1 0        0            4096 Nov 23 05:52 a.txt",
            "file|a.txt|4096|2026-11-23T05:52:00Z minute|0|644|-",
        ),
        (
            "drwxr-xr-x    2 ftp      ftp          4096 Jan 05  2024 pub",
            "directory|pub|-|2024-01-05T00:00:00Z day|ftp|755|-",
        ),
        // tomorrow is still this year (a server ahead of UTC), the day after is last year's
        ("-rw-r--r-- 1 u g 1 Nov 24 05:00 x", "file|x|1|2026-11-24T05:00:00Z minute|u|644|-"),
        ("-rw-r--r-- 1 u g 1 Nov 25 05:00 x", "file|x|1|2025-11-25T05:00:00Z minute|u|644|-"),
        // 29 February without a year (rclone#6785)
        ("-rw-r--r-- 1 u g 1 Feb 29 12:00 leap", "file|leap|1|2024-02-29T12:00:00Z minute|u|644|-"),
        // name that looks like a date (suppaftp#69)
        ("-rw-rw-rw- 1 u g 7 Nov 23 05:52 01 1234 foo", "file|01 1234 foo|7|2026-11-23T05:52:00Z minute|u|666|-"),
        ("-rw-rw-rw- 1 u g 7 Nov 23 05:52 Nov 1 2020 x", "file|Nov 1 2020 x|7|2026-11-23T05:52:00Z minute|u|666|-"),
        // spaces: leading ones belong to the name; parentheses (FluentFTP#739)
        ("-rw-r--r-- 1 u g 7 Nov  3 05:52   two (2).txt", "file|  two (2).txt|7|2026-11-03T05:52:00Z minute|u|644|-"),
        // owner or group with spaces (Windows domains behind a Unix listing)
        ("-rw-r--r-- 1 BOB Domain Users 7 Nov  3 05:52 x", "file|x|7|2026-11-03T05:52:00Z minute|BOB|644|-"),
        // no group (old BSD), no link count (some embedded servers)
        ("-rw-r--r--  1 user 7 Nov  3 05:52 x", "file|x|7|2026-11-03T05:52:00Z minute|user|644|-"),
        ("-rwx------ user group 7 Nov  3 05:52 x", "file|x|7|2026-11-03T05:52:00Z minute|user|700|-"),
        // ACL marks, setuid, sticky
        ("-rwsr-xr-x+ 1 u g 7 Nov  3 05:52 x", "file|x|7|2026-11-03T05:52:00Z minute|u|4755|-"),
        ("drwxrwxrwt. 1 u g 7 Nov  3 05:52 tmp", "directory|tmp|-|2026-11-03T05:52:00Z minute|u|1777|-"),
        // long-iso, full-iso with its zone
        ("-rw-r--r-- 1 u g 7 2024-02-29 05:52 x", "file|x|7|2024-02-29T05:52:00Z minute|u|644|-"),
        ("-rw-r--r-- 1 u g 7 2024-02-29 05:52:09.123456789 +0130 x", "file|x|7|2024-02-29T04:22:09Z second|u|644|-"),
        // ls -T
        ("-rw-r--r-- 1 u g 7 Feb 29 05:52:09 2024 x", "file|x|7|2024-02-29T05:52:09Z second|u|644|-"),
        // day before month
        ("-rw-r--r-- 1 u g 7 29 Feb 2024 x", "file|x|7|2024-02-29T00:00:00Z day|u|644|-"),
        // devices, sockets
        ("crw-rw-rw- 1 root root 1, 3 Nov 23 05:52 null", "other|null|-|2026-11-23T05:52:00Z minute|root|666|-"),
        // links; the size settles which arrow is meant
        ("lrwxrwxrwx 1 u g 3 Nov 23 05:52 a -> b/c", "symlink|a|3|2026-11-23T05:52:00Z minute|u|777|b/c"),
        ("lrwxrwxrwx 1 u g 1 Nov 23 05:52 a -> b -> c", "symlink|a -> b|1|2026-11-23T05:52:00Z minute|u|777|c"),
        ("lrwxrwxrwx 1 u g 6 Nov 23 05:52 a -> b -> c", "symlink|a|6|2026-11-23T05:52:00Z minute|u|777|b -> c"),
        ("lrwxrwxrwx 1 u g 9 Nov 23 05:52 alone", "symlink|alone|9|2026-11-23T05:52:00Z minute|u|777|-"),
        // 100 GB
        ("-rw-r--r-- 1 u g 107374182400 Nov 23 05:52 big", "file|big|107374182400|2026-11-23T05:52:00Z minute|u|644|-"),
        // a plain file that holds an arrow in its name
        ("-rw-r--r-- 1 u g 1 Nov 23 05:52 a -> b", "file|a -> b|1|2026-11-23T05:52:00Z minute|u|644|-"),
        // five-digit link count that touches the mode
        ("drwxr-xr-x12345 u g 1 Nov 23 05:52 many", "directory|many|-|2026-11-23T05:52:00Z minute|u|755|-"),
    ];
    for (line, want) in table {
        assert_eq!(brief(&list(line)), want, "{line}");
    }
    let named = list("-rw-r--r-- 1 BOB Domain Users 7 Nov  3 05:52 x");
    assert_eq!(named.group.as_deref(), Some(&b"Domain Users"[..]));
}

#[test]
fn dos_dialects() {
    let table = [
        // IIS
        ("11-23-26  05:52AM       <DIR>          pub", "directory|pub|-|2026-11-23T05:52:00Z minute|-|-|-"),
        ("11-23-26  12:01AM                 1234 a b.txt", "file|a b.txt|1234|2026-11-23T00:01:00Z minute|-|-|-"),
        ("02-29-2024  12:01PM                 1234 x", "file|x|1234|2024-02-29T12:01:00Z minute|-|-|-"),
        ("11-23-99  05:52PM                 1 old", "file|old|1|1999-11-23T17:52:00Z minute|-|-|-"),
        // a directory called 1400 (parse-listing#1), a space before PM (veeso/gftp#15), 24 hours, ISO dates, commas
        ("11-23-26  05:52AM       <DIR>          1400", "directory|1400|-|2026-11-23T05:52:00Z minute|-|-|-"),
        ("11-23-2026  01:30 PM       12 x", "file|x|12|2026-11-23T13:30:00Z minute|-|-|-"),
        ("11/23/2026  17:30       12 x", "file|x|12|2026-11-23T17:30:00Z minute|-|-|-"),
        ("2026-11-23  17:30       12,345 x", "file|x|12345|2026-11-23T17:30:00Z minute|-|-|-"),
        ("11-23-26  05:52AM       12   lead", "file|  lead|12|2026-11-23T05:52:00Z minute|-|-|-"),
        ("11-23-26  05:52AM  <JUNCTION>  j [C:\\data]", "symlink|j|-|2026-11-23T05:52:00Z minute|-|-|C:\\data"),
    ];
    for (line, want) in table {
        assert_eq!(brief(&list(line)), want, "{line}");
    }
}

#[test]
fn mlsd() {
    let table = [
        (
            "type=file;size=4096;modify=20261123055222;UNIX.mode=0644;UNIX.owner=1000; a b",
            "file|a b|4096|2026-11-23T05:52:22Z second|1000|644|-",
        ),
        ("Type=DIR;Modify=20240229000000.123; pub", "directory|pub|-|2024-02-29T00:00:00Z second|-|-|-"),
        ("type=OS.unix=slink:/etc/x;size=1; l", "symlink|l|1|-|-|-|/etc/x"),
        ("type=OS.unix=symlink;size=1; l", "symlink|l|1|-|-|-|-"),
        ("size=1;type=file;  lead", "file| lead|1|-|-|-|-"),
        (" bare", "other|bare|-|-|-|-|-"),
    ];
    for (line, want) in table {
        assert_eq!(brief(&one(&mut Lister::mlsd(), line)), want, "{line}");
    }
    for line in ["type=cdir;modify=20240229000000; .", "type=pdir; ..", "type=pdir; /up", "type=dir; ..", ""] {
        assert_eq!(Lister::mlsd().line(line.as_bytes()), Line::Nothing, "{line}");
    }
    for line in ["-rw-r--r-- 1 u g 7 Nov  3 05:52 x", "type=file;", "type=file; ", "nonsense"] {
        assert_eq!(Lister::mlsd().line(line.as_bytes()), Line::Unknown, "{line}");
    }
}

#[test]
fn what_is_no_entry() {
    let mut lister = Lister::list(NOW);
    for line in ["total 12", "", "   ", "drwxr-xr-x 2 u g 4096 Nov 23 05:52 .", "drwxr-xr-x 2 u g 4096 Nov 23 05:52 .."]
    {
        assert_eq!(lister.line(line.as_bytes()), Line::Nothing, "{line}");
    }
    for line in [
        "hello",
        "total recall",
        "-rw-r--r-- 1 u g 7 Feb 30 2024 x",
        "-rw-r--r-- 1 u g 7 Nov 23 24:00 x",
        "-rw-r--r-- 1 u g 7 Nov 23 05:52",
        "-rw-r--r-- 1 u g 7 Nov 23 05:52 ",
        "13-01-26  05:52AM 1 x",
        "11-23-26  13:52AM 1 x",
        "-rw-r--r--",
        "-",
    ] {
        assert_eq!(lister.line(line.as_bytes()), Line::Unknown, "{line}");
    }
    assert_eq!(lister.dialect(), None);
    one(&mut lister, "-rw-r--r-- 1 u g 7 Nov  3 05:52 x\r");
    assert_eq!(lister.dialect(), Some(Dialect::Unix));
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
    // Whatever the file's age (up to a year) and whatever today is, a date without a year comes back exact.
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
    let mut entry = Entry::new(*b" a;b \xff", EntryType::File);
    entry.size = Some(7);
    entry.modified = Some(Modified::utc(NOW));
    entry.mode = Some(0o4750);
    entry.perm = Some("adfr".to_owned());
    entry.unique = Some(b"1g2".to_vec());
    let line = format_mlsd(&entry, FactSet::default());
    assert_eq!(Lister::mlsd().line(&line), Line::Entry(entry.clone()));

    entry.owner = Some(b"bob".to_vec());
    entry.group = Some(b"staff".to_vec());
    entry.links = Some(3);
    (entry.perm, entry.unique) = (None, None);
    for (stamp, precision) in [(NOW - 60, Precision::Minute), (NOW - 400 * 86_400, Precision::Day)] {
        let unit = precision.seconds();
        entry.modified = Some(Modified { seconds: stamp.div_euclid(unit) * unit, precision, utc: false });
        let line = format_unix(&entry, NOW);
        assert_eq!(Lister::list(NOW).line(&line), Line::Entry(entry.clone()), "{}", String::from_utf8_lossy(&line));
    }
    let mut link = Entry::new("l", EntryType::Symlink);
    link.link_target = Some(b"a -> b".to_vec());
    link.size = Some(6);
    let read = Lister::list(NOW).line(&format_unix(&link, NOW));
    let Line::Entry(read) = read else { panic!("{read:?}") };
    assert_eq!((read.name, read.link_target), (link.name.clone(), link.link_target.clone()));
    let read = Lister::mlsd().line(&format_mlsd(&link, FactSet::default()));
    let Line::Entry(read) = read else { panic!("{read:?}") };
    assert_eq!(read.entry_type, EntryType::Symlink);
}
