//! How a listing is requested, and its result: how many entries it has, and whether it is complete.

use std::hash::{DefaultHasher, Hasher as _};

use crate::fault::{Fault, Kind};
use crate::ftp::charset::{WireCharset, listed};
use crate::ftp::listing::{Lister, ListingLine};
use crate::ftp::reply::FtpReply;

/// The most lines that one listing may have.
pub const MAX_ENTRIES: u64 = 20_000_000;

/// A callback that gets every line of a listing, parsed and raw; an error ends the listing.
pub type EachLine<'a> = &'a mut (dyn FnMut(ListingLine, &[u8]) -> Result<(), Fault> + Send);

/// The method of listing a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListMethod {
    /// MLSD if the server knows it, else LIST.
    #[default]
    Auto,
    /// MLSD only.
    Mlsd,
    /// LIST only.
    List,
    /// STAT: no data connection is needed.
    Stat,
    /// As [`ListMethod::Auto`], but STAT if no data connection is possible (a firewall).
    Any,
}

/// Stems of words with which servers report a truncated listing, in the languages of pure-ftpd. They are in lower case; since
/// non-ASCII letters come in any charset, Latin stems end before them.
const CUT: &str = "truncat truncad trunchi tronq tronc beschr begrenz abgeschn gekürz beperk ingekort afgekap avkort \
                   afkort begräns begræns begrens obci ograniczon omezen obmedzen zkrác korlát csonk incomplet усеч \
                   обрез огранич 截 제한";
/// Phrases with the same meaning.
const CUT_PHRASES: [&str; 6] =
    ["too many", "not all ", "only the first", "maximum number", "partial list", "more entries"];
/// A limit on one of these is not a limit on entries.
const OTHER_LIMITS: &str =
    "no speed rate bandwidth quota ratio time idle user session connection download upload size transfer login";

/// Proof that a listing is complete: its data connection ended properly, the last reply is 2yz and mentions no limit, and
/// every line was understood. A name that is missing in such a listing is not on the server. Only
/// [`super::FtpClient::list`] creates one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeListing(());

/// Whether a listing is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Completeness {
    Whole(WholeListing),
    /// The server says that it left something out; the reason for the message.
    Cut(String),
    /// Unproved: a line was not understood, or it is by STAT, which ends with the server's buffer (pure-ftpd cuts it silently).
    Unproved,
    /// It was refused with a text which says that the directory is empty.
    SaidToBeEmpty,
}

/// The result of a listing. The caller has to judge omissions by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a listing may be cut"]
pub struct ListingSummary {
    /// The number of directories in it.
    pub directories: u64,
    /// A digest of the lines, independent of their order.
    pub digest: u64,
    completeness: Completeness,
    /// The number of entries is a round one, at which some servers stop silently.
    round: bool,
}

impl ListingSummary {
    /// The summary of a directory that can be entered and is not listed because it is empty.
    pub(super) fn said_to_be_empty() -> ListingSummary {
        ListingSummary { directories: 0, digest: 0, completeness: Completeness::SaidToBeEmpty, round: false }
    }

    /// The proof that it is complete, if there is one.
    pub fn whole(&self) -> Option<WholeListing> {
        match self.completeness {
            Completeness::Whole(whole) => Some(whole),
            Completeness::Cut(_) | Completeness::Unproved | Completeness::SaidToBeEmpty => None,
        }
    }

    /// The fault of a listing that the server reports as incomplete.
    pub fn cut(&self) -> Option<Fault> {
        let Completeness::Cut(why) = &self.completeness else { return None };
        let fault = Fault::new(Kind::BadData, why.clone());
        Some(fault.with_hint("the server limits its listings (pure-ftpd: LimitRecursion): the rest cannot be seen"))
    }

    /// The listing itself, for callers that cannot use an incomplete one.
    ///
    /// # Errors
    /// `BadData` for a listing that the server reports as incomplete.
    pub fn uncut(&self) -> Result<&ListingSummary, Fault> {
        self.cut().map_or(Ok(self), Err)
    }

    /// A warning about a listing that seems to be complete.
    pub fn warning(&self) -> Option<&'static str> {
        const EMPTY: &str = "the server refuses to list it, and says that nothing is there: taken for empty";
        if self.completeness == Completeness::SaidToBeEmpty {
            return Some(EMPTY);
        }
        const ROUND: &str = "the listing ends at a round number, where many servers stop: perhaps there is more";
        (self.round && !matches!(self.completeness, Completeness::Cut(_))).then_some(ROUND)
    }
}

/// A listing in progress: the callback, and the counts so far.
pub(super) struct Hearing<'a> {
    each: EachLine<'a>,
    charset: Option<WireCharset>,
    pub(super) lines: u64,
    pub(super) entries: u64,
    directories: u64,
    unknown: u64,
    digest: u64,
}

impl<'a> Hearing<'a> {
    pub(super) fn new(charset: Option<WireCharset>, each: EachLine<'a>) -> Hearing<'a> {
        Hearing { each, charset, lines: 0, entries: 0, directories: 0, unknown: 0, digest: 0 }
    }

    pub(super) fn line(&mut self, lister: &mut Lister, line: &[u8]) -> Result<(), Fault> {
        self.lines += 1;
        if self.lines > MAX_ENTRIES {
            return Err(Fault::new(Kind::Protocol, format!("a listing of more than {MAX_ENTRIES} lines")));
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(line);
        self.digest = self.digest.wrapping_add(hasher.finish());
        let parsed = lister.line(line);
        self.tell(parsed, line)
    }

    /// Ends the listing; an unfinished entry is passed on as not understood.
    pub(super) fn end(&mut self, lister: &mut Lister) -> Result<(), Fault> {
        match lister.finish() {
            ListingLine::Unknown => self.tell(ListingLine::Unknown, b"(the listing ends in the middle of an entry)"),
            _ => Ok(()),
        }
    }

    fn tell(&mut self, parsed: ListingLine, line: &[u8]) -> Result<(), Fault> {
        if let ListingLine::Entry(entry) = &parsed {
            self.entries += 1;
            self.directories += u64::from(entry.is_dir());
            self.unknown += u64::from(entry.refused());
        }
        let parsed = listed(self.charset, parsed);
        self.unknown += u64::from(matches!(parsed, ListingLine::Unknown | ListingLine::Misfit { .. }));
        (self.each)(parsed, line)
    }

    /// The summary after `reply` has ended the listing.
    pub(super) fn summary(&self, method: ListMethod, reply: &FtpReply) -> ListingSummary {
        // Some servers include `.`, `..` and the total line in their limit.
        let others = self.lines - self.entries.min(self.lines);
        let at = |zeros| {
            let round = |count| is_round(count, zeros);
            round(self.entries) || round(self.lines) || (others > 0 && round(self.lines - 1))
        };
        let (stat, round) = (method == ListMethod::Stat, at(3));
        let completeness = match says_cut(reply) {
            Some(said) => Completeness::Cut(format!("the server's listing is incomplete: {said}")),
            // The reply mentions no limit here.
            None if stat && at(2) => Completeness::Cut(
                "a listing by STAT of a round number of entries, where pure-ftpd cuts it without a word".to_owned(),
            ),
            None if self.unknown > 0 || stat => Completeness::Unproved,
            None => Completeness::Whole(WholeListing(())),
        };
        ListingSummary { directories: self.directories, digest: self.digest, completeness, round }
    }
}

/// The line of a final reply which says that the listing is incomplete.
fn says_cut(reply: &FtpReply) -> Option<String> {
    let lines = reply.lines.iter().map(|line| String::from_utf8_lossy(line.trim_ascii()).into_owned());
    lines.into_iter().find(|line| {
        // Names of directories are ignored.
        let words = line.split_whitespace().filter(|word| !word.contains(['/', '\\', '"']));
        let line = words.collect::<Vec<_>>().join(" ").to_lowercase();
        let mut before = "";
        CUT_PHRASES.iter().any(|phrase| line.contains(phrase))
            || line.split(|c: char| !c.is_alphabetic() && c != '\u{fffd}').filter(|word| !word.is_empty()).any(|word| {
                let last = std::mem::replace(&mut before, word);
                let limit = word.starts_with("limit") && OTHER_LIMITS.split(' ').all(|other| other != last);
                limit || CUT.split(' ').any(|stem| word.starts_with(stem))
            })
    })
}

/// True for 1, 2 or 5 followed by at least this many zeros.
fn is_round(count: u64, least: usize) -> bool {
    let zeros = std::iter::successors(Some(count), |rest| (rest % 10 == 0 && *rest > 0).then_some(rest / 10));
    let (digits, first) = zeros.fold((0, 0), |(digits, _), rest| (digits + 1, rest));
    digits > least && matches!(first, 1 | 2 | 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_of_a_cut_listing() {
        for (text, cut) in [
            ("Output truncated to 100 matches", true),
            ("Anzeige auf 100 Eintr\u{e4}ge beschr\u{e4}nkt.", true),
            ("Transfer complete. Listing limited to 2000 entries", true),
            ("Limit of 500 reached", true),
            ("Transfer complete; TRUNCATED", true),
            ("226 Only the first 1000 files are shown", true),
            ("Sortie tronqu\u{fffd}e", true),
            ("100 matches total", false),
            ("Directory send OK.", false),
            ("Transfer complete. [Credits: 14MB] [Ratio: Unlimited]", false),
            ("Listing of /limits/truncated complete", false),
            ("Transfer complete (no limit)", false),
            ("Closing; speed limit 100 kB/s", false),
            ("", false),
        ] {
            for reply in [FtpReply::new(226, text), FtpReply::multi(226, ["Options: -a -l ", text, "done"])] {
                assert_eq!(says_cut(&reply).is_some(), cut, "{text}");
            }
        }
    }

    #[test]
    fn round_numbers() {
        let found: Vec<u64> = (1..=100_000).filter(|count| is_round(*count, 3)).collect();
        assert_eq!(found, [1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000]);
        assert!(is_round(10_000_000, 3) && !is_round(0, 0) && is_round(200, 2));
    }

    /// Each sign of an incomplete listing invalidates the proof.
    #[test]
    fn only_what_is_whole_is_proved() {
        let summary = |lines: &[&str], method, text: &str| {
            let mut each = |_: ListingLine, _: &[u8]| Ok(());
            let (mut heard, mut lister) = (Hearing::new(None, &mut each), Lister::mlsd());
            lines.iter().for_each(|line| heard.line(&mut lister, line.as_bytes()).unwrap());
            heard.end(&mut lister).unwrap();
            heard.summary(method, &FtpReply::new(226, text))
        };
        let good = "type=file; a";
        let whole = summary(&[good, "type=file; b"], ListMethod::Mlsd, "done");
        assert!(whole.whole().is_some() && whole.cut().is_none() && whole.warning().is_none());
        assert_eq!(whole.digest, summary(&["type=file; b", good], ListMethod::Mlsd, "").digest);
        assert_ne!(whole.digest, summary(&[good], ListMethod::Mlsd, "").digest);
        let stat = summary(&[good], ListMethod::Stat, "done");
        assert!(stat.whole().is_none() && stat.cut().is_none());
        assert!(summary(&[good; 100], ListMethod::Stat, "done").cut().is_some());
        assert!(summary(&[good; 100], ListMethod::Mlsd, "done").cut().is_none());
        assert_eq!(summary(&[good, "nonsense"], ListMethod::Mlsd, "done").whole(), None);
        let cut = summary(&[good], ListMethod::Mlsd, "Output truncated to 1 matches");
        assert!(cut.whole().is_none() && cut.cut().is_some() && cut.uncut().is_err());
        let round = summary(&[good; 1000], ListMethod::Mlsd, "done");
        assert!(round.whole().is_some() && round.warning().is_some());
    }
}
