//! Lines from a small writer for each dialect are parsed with the intended meaning, or not at all: never with another meaning.

use proptest::prelude::*;
use proptest::sample::select;

use super::time::{civil, seconds};
use super::*;

/// 2026-11-23T05:52:22Z.
const NOW: i64 = 1_795_413_142;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// An entry to write.
#[derive(Debug, Clone)]
struct WrittenEntry {
    directory: bool,
    name: String,
    size: u64,
    time: i64,
}

/// The precision of a date in some form; `None`: the date is not known, and the line may not be understood.
type Told = Option<Precision>;

/// The forms of dates in Unix listings: the text and its precision.
fn unix_date(form: usize, time: i64) -> (String, Told) {
    let (year, m, day, hour, minute, second) = civil(time);
    let month = MONTHS[m as usize - 1];
    let clock = format!("{hour:02}:{minute:02}");
    let of = |names: &str| names.split(' ').nth(m as usize - 1).unwrap().to_owned();
    let (by_day, by_minute) = (Some(Precision::Day), Some(Precision::Minute));
    let recent = (NOW - 360 * 86_400..=NOW).contains(&time);
    match form {
        // A clock time without a year belongs to the last twelve months.
        0 | 2 | 3 | 8 | 9 | 12 if !recent => (format!("{month} {day:2}  {year}"), by_day),
        0 => (format!("{month} {day:2} {clock}"), by_minute),
        1 => (format!("{month} {day:2}  {year}"), by_day),
        2 => (format!("{day:2} {} {clock}", of("янв фев мар апр май июн июл авг сен окт ноя дек")), by_minute),
        3 => (
            format!("{day:2}. {}, {clock}", of("Jan. Feb. März April Mai Juni Juli Aug. Sep. Okt. Nov. Dez.")),
            by_minute,
        ),
        4 => (format!("{day:2} {} {year}", of("sty lut mar kwi maj cze lip sie wrz paź lis gru")), by_day),
        5 => (format!("{month} {day:02}, {year} {clock}"), by_minute),
        6 => (format!("{year}-{m:02}-{day:02} {clock}"), by_minute),
        7 => (format!("{year}-{m:02}-{day:02} {clock}:{second:02}.123 +0000"), Some(Precision::Second)),
        8 => (format!("{m:02}-{day:02} {clock}"), by_minute),
        9 => (format!("{m} {day} {clock}"), by_minute),
        10 => (format!("{year}.{m:02}.{day:02}  "), by_day),
        11 => (format!("{day:02}-{month}-{:02}", year % 100), by_day),
        12 => (format!("{m}月 {day}日 {clock}"), by_minute),
        13 => (format!("{year}년 {m}월 {day}일"), by_day),
        14 => (format!("{month} {day:2} {clock}:{second:02} {year}"), Some(Precision::Second)),
        15 => (format!("{m} {day} {year}"), by_day),
        // Unknown forms.
        16 => (format!("foo {day:2} {clock}"), None),
        17 => (format!("{day} foo  {year}"), None),
        18 => (format!("{month} {day:2} {hour:02}.{minute:02}"), None),
        19 => (format!("{day:02}-foo-{year}"), None),
        _ => (format!("{month} {day:2} {}:{minute:02}PM", hour % 12 + 1), None),
    }
}

/// Names of words that look like other fields.
fn names() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "a.txt",
        "->",
        "12",
        "7",
        "Nov",
        "23",
        "3",
        "05:52",
        "24:00",
        "2025",
        "1,234",
        "<DIR>",
        "ü",
        "日本",
        "DIR",
        "*FILE",
        "x;1",
        "b=c;",
        "07-14-99",
        "2004.07.15",
        "+0100",
        "09:30PM",
        "total",
        "[R]",
        "d",
        "",
        "",
        "foo",
        "lis",
        "8月",
    ];
    let words = prop::collection::vec(select(WORDS), 1..9).prop_map(|words| words.join(" "));
    words.prop_filter("a name", |name| !matches!(name.trim(), "" | "." | ".."))
}

fn meant() -> impl Strategy<Value = WrittenEntry> {
    let time = prop_oneof![NOW - 360 * 86_400..NOW, 20 * 365 * 86_400..NOW];
    let size = prop_oneof![0..100u64, 1900..2100u64, 0..10_000_000_000u64];
    (any::<bool>(), names(), size, time).prop_map(|(directory, name, size, time)| WrittenEntry {
        directory,
        name,
        size,
        time,
    })
}

/// The same with a name that does not end with a space or a dot: these systems have no such names, or pad lines.
fn ending(meant: WrittenEntry) -> WrittenEntry {
    let end = if meant.name.ends_with([' ', '.']) { "x" } else { "" };
    WrittenEntry { name: format!("{}{end}", meant.name), ..meant }
}

/// Checks that the line is parsed with the intended meaning, in part, or not at all.
fn check(lister: &mut Lister, line: &str, meant: &WrittenEntry, told: Told, sized: bool) -> Result<(), TestCaseError> {
    let entry = match lister.line(line.as_bytes()) {
        ListingLine::Entry(entry) => entry,
        ListingLine::Unknown => return Ok(()),
        other => return Err(TestCaseError::fail(format!("{line:?} is {other:?}"))),
    };
    prop_assert_eq!(String::from_utf8_lossy(&entry.name), meant.name.as_str(), "{:?}", line);
    prop_assert_eq!(entry.is_dir(), meant.directory, "{:?}", line);
    prop_assert!(entry.size.is_none_or(|size| sized && !meant.directory && size == meant.size), "{line:?}: {entry:?}");
    if let Some(modified) = entry.modified {
        let exact = told.map(|told| meant.time.div_euclid(told.seconds()) * told.seconds());
        prop_assert_eq!((Some(modified.seconds), Some(modified.precision)), (exact, told), "{:?}", line);
    }
    Ok(())
}

proptest! {
    #[test]
    fn unix(
        meant in meant(),
        form in 0..21usize,
        links in any::<bool>(),
        owner in select(&["u", "0", "1000", "may", "12", "john smith", "2004"][..]),
        group in select(&["g ", "0 ", "Domain Users ", "30 ", "", "team 7 "][..]),
        width in select(&[0, 12][..]),
    ) {
        let (date, told) = unix_date(form, meant.time);
        let mode = if meant.directory { "drwxr-xr-x" } else { "-rw-r--r--" };
        let links = if links { " 1" } else { "" };
        let line = format!("{mode}{links} {owner} {group}{:width$} {date} {}", meant.size, meant.name);
        check(&mut Lister::list(NOW), &line, &meant, told, true)?;
    }

    #[test]
    fn links(name in names(), target in names(), told in any::<bool>()) {
        // Without the size of the target, the split is at the first arrow.
        let told = told || format!("{name} -> {target}").find(" -> ") != Some(name.len());
        let size = if told { target.len() } else { 0 };
        let line = format!("lrwxrwxrwx 1 u g {size} Nov 23 05:52 {name} -> {target}");
        let ListingLine::Entry(entry) = Lister::list(NOW).line(line.as_bytes()) else { panic!("{line:?}") };
        prop_assert_eq!(entry.entry_type, EntryType::Symlink);
        prop_assert_eq!((entry.name, entry.link_target), (name.into_bytes(), Some(target.into_bytes())));
    }

    #[test]
    fn netware(meant in meant(), form in 0..2usize, old in any::<bool>()) {
        let (date, told) = unix_date(form, meant.time);
        let letter = if meant.directory { 'd' } else { '-' };
        let (date, gap) = if old { (format!("      {date}"), "    ") } else { (date, " ") };
        let line = format!("{letter} [RW--AFMS] bodi {:>20} {date}{gap}{}", meant.size, meant.name);
        check(&mut Lister::list(NOW), &line, &meant, told, true)?;
    }

    #[test]
    fn dos(meant in meant(), form in 0..4usize, iis in any::<bool>()) {
        let meant = ending(meant);
        let (year, m, day, hour, minute, _) = civil(meant.time);
        let half = if hour < 12 { "AM" } else { "PM" };
        let date = match form {
            0 => format!("{m:02}-{day:02}-{:02}  {:02}:{minute:02}{half}", year % 100, (hour + 11) % 12 + 1),
            1 => format!("{m:02}/{day:02}/{year}  {:02}:{minute:02} {half}", (hour + 11) % 12 + 1),
            2 => format!("{year}-{m:02}-{day:02}  {hour:02}:{minute:02}"),
            _ => format!("{day:02}.{m:02}.{year}  {hour:02}:{minute:02}"),
        };
        let gap = if iis { "       " } else { "    " };
        let line = match meant.directory {
            true => format!("{date}{gap}<DIR>          {}", meant.name),
            false => format!("{date}{gap}{:14} {}", meant.size, meant.name),
        };
        check(&mut Lister::list(NOW), &line, &meant, Some(Precision::Minute), true)?;
    }

    #[test]
    fn os2(meant in meant(), four in any::<bool>()) {
        let (year, m, day, hour, minute, _) = civil(meant.time);
        let date = if four { format!("{m:02}-{day:02}-{year} ") } else { format!("{m:02}-{day:02}-{:02}   ", year % 100) };
        let (size, what) = if meant.directory { (0, "     DIR") } else { (meant.size, "A       ") };
        let line = format!("{size:>18}      {what}   {date}{hour:02}:{minute:02}  {}", meant.name);
        check(&mut Lister::list(NOW), &line, &meant, Some(Precision::Minute), true)?;
    }

    #[test]
    fn as400(meant in meant(), owner in select(&["QPGMR", ""][..]), below in select(&["", "/A/B C/"][..])) {
        let meant = ending(meant);
        let (year, m, day, hour, minute, second) = civil(meant.time);
        // The order of these three numbers is known only in this form.
        let date = format!("{day:02}.{m:02}.{:02} {hour:02}:{minute:02}:{second:02}", year % 100);
        let (object, slash) = if meant.directory { ("*DIR", "/") } else { ("*STMF", "") };
        let line = format!("{owner:10}{:11} {date} {object:10} {below}{}{slash}", meant.size, meant.name);
        check(&mut Lister::list(NOW), &line, &meant, Some(Precision::Second), true)?;
    }

    #[test]
    fn eplf(meant in meant(), mode in any::<bool>()) {
        let what = if meant.directory { "/".to_owned() } else { format!("r,s{}", meant.size) };
        let mode = if mode { "up755," } else { "" };
        let line = format!("+i8388621.48594,m{},{what},{mode}\t{}", meant.time, meant.name);
        check(&mut Lister::list(NOW), &line, &meant, Some(Precision::Second), true)?;
    }

    #[test]
    fn mlsd(meant in meant(), ends in any::<bool>()) {
        let what = if meant.directory { "type=dir".to_owned() } else { format!("type=file;size={}", meant.size) };
        let line = format!("{what};modify={}{} {}", format_mdtm(meant.time), if ends { ";" } else { "" }, meant.name);
        check(&mut Lister::mlsd(), &line, &meant, Some(Precision::Second), true)?;
        check(&mut Lister::saved(line.as_bytes(), NOW), &line, &meant, Some(Precision::Second), true)?;
    }

    #[test]
    fn vms(meant in meant(), name in "[A-Z0-9$_-]{1,9}(\\.[A-Z0-9$_-]{0,5}){0,2}", alone in any::<bool>(), form in 0..4usize) {
        prop_assume!(!name.ends_with(".DIR"));
        let meant = WrittenEntry { name, ..meant };
        let (year, m, day, hour, minute, _) = civil(meant.time);
        let month = MONTHS[m as usize - 1].to_uppercase();
        let (blocks, date) = (meant.size / 512, format!("{day:2}-{month}-{year}"));
        let (facts, told) = match form {
            0 => (format!("{blocks} {date} {hour:02}:{minute:02} [A,B] (RWED,RE,,)"), Precision::Minute),
            1 => (format!("[SUMMARY] {blocks}/{blocks} {date}"), Precision::Day),
            2 => (format!("{date} {hour:02}:{minute:02}  {blocks}/13 (RWED,RWED,R,)"), Precision::Minute),
            _ => (format!("****** {date} {hour:02}:{minute:02} [ANONY,ANONYMOUS] (RE,RE,RE,RE)"), Precision::Minute),
        };
        let file = format!("{}{};3", meant.name, if meant.directory { ".DIR" } else { "" });
        let mut lister = Lister::list(NOW);
        if alone {
            prop_assert_eq!(lister.line(file.as_bytes()), ListingLine::Nothing);
            check(&mut lister, &format!("          {facts}"), &meant, Some(told), false)?;
        } else {
            check(&mut lister, &format!("{file}  {facts}"), &meant, Some(told), false)?;
        }
    }
}

/// The words that FileZilla's parser accepts as months, with the month of each; 0: the word is ambiguous, within one language
/// or between two.
const FILEZILLA: &[(u32, &str)] = &[
    (1, "jan jän janv gen ene sty янв tammi sau 1 01"),
    (2, "feb féb fév fev févr fevr fbro lut фев helmi vas 2 02"),
    (3, "mar mrz mär märz mars mrs mzo мар mrt maalis kov 3 03"),
    (4, "apr avr avril ab abr kwi апр huhti bal 4 04"),
    (5, "may mai mag maj май mei touko maí geg 5 05"),
    (6, "jun june juni juin giu cze июн kesä jún bir 6 06"),
    (7, "jul july juli juil lug июл heinä júl lie 7 07"),
    (8, "aug aoû août aout ago agto sie авг elo avg ág rgp 8 08"),
    (9, "sep sept set sbre wrz сен syys rgs szept 9 09"),
    (10, "oct okt ott obre paz paź окт out loka spa 10"),
    (11, "nov nbre ноя marras nóv lap 11"),
    (12, "dec dez déc dic dbre gru дек joulu des grd 12"),
    (0, "jui lip lis"),
];

/// In each position and each character set such a word is the right month or no month; most are known.
#[test]
fn months_of_filezilla() {
    let mut unknown = Vec::new();
    for (month, word) in FILEZILLA.iter().flat_map(|(month, words)| words.split(' ').map(move |word| (*month, word))) {
        let charsets =
            ["utf-8", "windows-1252", "windows-1250", "iso-8859-2", "windows-1251", "koi8-r", "iso-8859-5", "ibm866"];
        let mut spellings: Vec<Vec<u8>> = charsets
            .iter()
            .filter_map(|label| encoding_rs::Encoding::for_label(label.as_bytes()))
            .filter_map(|charset| Some(charset.encode(word)).filter(|(.., lossy)| !lossy))
            .map(|(bytes, ..)| bytes.into_owned())
            .collect();
        if word.starts_with("pa") {
            // FileZilla has this byte of CP852 for the last letter.
            spellings.push(b"pa\x9f".to_vec());
        }
        // Some servers write the number behind the name, counted from 1 or from 0.
        let numbers = [month, month.saturating_sub(1)]
            .into_iter()
            .filter(|_| !word.starts_with(|first: char| first.is_ascii_digit()));
        for number in numbers {
            spellings.extend([format!("{word}{number:02}"), format!("{word}{}", number % 10)].map(String::into_bytes));
        }
        let mut read = false;
        for spelling in spellings {
            let forms = [
                "% 23 05:52",
                "23 % 05:52",
                "% 23  2019",
                "23 % 2019",
                "23. %., 05:52",
                "%, 23, 2019",
                "% 23, 2019 05:52",
                "23-%-2019",
                "23-%-19",
                "%-23 05:52",
                "%-23-2019 05:52",
                "2019-%-23 05:52",
                "2019 % 23",
            ];
            let spell = |form: &str| {
                let (before, after) = form.split_once('%').unwrap();
                [before.as_bytes(), &spelling, after.as_bytes()].concat()
            };
            let unix = forms.iter().map(|form| [b"-rw-r--r-- 1 u g 7 ", spell(form).as_slice(), b" name"].concat());
            let others = [
                [b"name;1 7 ", spell("23-%-2019").as_slice(), b" 05:52"].concat(),
                [spell("23-%-19").as_slice(), b"  05:52AM  7 name"].concat(),
                [b"7  ", spell("% 23, 2019 05:52").as_slice(), b" name"].concat(),
            ];
            for line in unix.chain(others) {
                let shown = String::from_utf8_lossy(&line).into_owned();
                let entry = match Lister::list(NOW).line(&line) {
                    ListingLine::Entry(entry) => entry,
                    other => {
                        assert_eq!(other, ListingLine::Unknown, "{shown}");
                        continue;
                    }
                };
                assert_eq!(String::from_utf8_lossy(&entry.name), "name", "{shown}");
                if let Some(modified) = entry.modified {
                    let (.., found, day, _, _, _) = civil(modified.seconds);
                    assert_eq!((found, day), (month, 23), "{shown}");
                    assert_ne!(seconds(2019, month, 23, 0, 0, 0), None);
                    read = true;
                }
            }
        }
        if !read {
            unknown.push(word);
        }
    }
    assert_eq!(unknown.join(" "), "fbro mrs mzo ab agto ág sbre obre nbre dbre jui lip lis");
}
