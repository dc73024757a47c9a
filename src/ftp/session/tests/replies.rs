//! Every command before and after a login, with good and with wrong arguments, and with every failure of the tree and of a
//! transfer: the codes of the replies are those that the RFCs list for the command.

use std::collections::BTreeSet;

use super::*;

/// The codes per command: RFC 959, section 5.4; RFC 2228, section 5; RFC 2389; RFC 2428; RFC 2640; RFC 3659; RFC 7151. All commands
/// may be answered with 421, 500 and 501.
const LISTED: &str = "\
USER 230 331 332 530
PASS 202 230 332 503 530
ACCT 202 230 503 530
CWD 250 502 530 550
CDUP 200 502 530 550
SMNT 202 250 502 530 550
REIN 120 220 502
QUIT 221
PORT 200 530
PASV 227 502 530
MODE 200 504 530
TYPE 200 504 530
STRU 200 504 530
ALLO 200 202 504 530
REST 350 502 530
STOR 125 150 110 226 250 425 426 450 451 452 532 551 552 553 530
STOU 125 150 110 226 250 425 426 450 451 452 532 551 552 553 530
APPE 125 150 110 226 250 425 426 450 451 452 502 532 550 551 552 553 530
RETR 125 150 110 226 250 425 426 450 451 550 530
LIST 125 150 226 250 425 426 450 451 502 530
NLST 125 150 226 250 425 426 450 451 502 530
RNFR 350 450 502 530 550
RNTO 250 502 503 530 532 553
DELE 250 450 502 530 550
RMD 250 502 530 550
MKD 257 502 530 550
PWD 257 502 550
ABOR 225 226 502
SYST 215 502
STAT 211 212 213 450 502 530
HELP 211 214 502
SITE 200 202 530
NOOP 200
AUTH 234 334 431 502 504 534
PBSZ 200 503 530
PROT 200 431 503 504 530 534 536
CCC 200 503 530 533 534
FEAT 211 502
OPTS 200 451 502 530
EPRT 200 522 530
EPSV 229 522 530
LANG 200 504
MDTM 213 502 530 550
SIZE 213 502 530 550
MLST 250 502 530 550
MLSD 125 150 226 250 425 426 451 502 530 550
HOST 220 502 503 504 530
";

/// Codes beyond these lists. RFC 1123, section 4.1.2.11, permits them under the general rules of RFC 959, section 4.2, and wants 4yz
/// for what may succeed later.
const BEYOND: &[(&str, &[u16], &str)] = &[
    ("STOR STOU LIST NLST STAT RNTO SITE", &[550], "permission, or no such file: not temporary, as 450 would say"),
    ("CWD CDUP RETR LIST NLST RNFR DELE RMD MKD STAT SIZE MDTM MLST MLSD SITE", &[553], "such a name cannot exist"),
    ("CWD CDUP RNFR RNTO DELE RMD MKD STAT SIZE MDTM MLST SITE ALLO", &[451], "the system failed"),
    ("CWD CDUP RNTO RMD MKD SIZE MDTM MLST MLSD SITE ALLO", &[450], "too much at once"),
    ("CWD CDUP RNFR RNTO DELE RMD MKD STAT RETR LIST NLST SIZE MDTM MLST MLSD SITE ALLO", &[452], "no space"),
    ("ALLO", &[550, 552, 553], "the announced upload would be refused"),
    ("RETR LIST NLST MLSD", &[552], "the same table of refusals serves uploads"),
    ("STOR STOU APPE RETR LIST NLST MLSD", &[554], "RFC 1123, section 4.1.2.11: of REST, seen by the next transfer"),
    ("STOR STOU APPE RETR LIST NLST MLSD", &[522], "RFC 4217, section 10: TLS of the data connection failed"),
    ("EPSV", &[200], "EPSV ALL: RFC 2428 names no code"),
    ("CDUP", &[250], "RFC 959, section 4.1.1: the same codes as CWD"),
    ("PWD", &[530], "not logged in"),
    ("PORT EPRT", &[504], "RFC 2577, section 3: an address of somebody else"),
    ("SITE", &[214], "SITE HELP"),
    ("OPTS", &[504], "draft-bryan-ftpext-hash-02, section 3.3: an unknown algorithm"),
];

fn listed(verb: &str, code: u16) -> bool {
    let holds = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some(verb) && words.any(|word| word.parse() == Ok(code))
    };
    matches!(code, 421 | 500 | 501) || LISTED.lines().any(holds)
}

/// The command of a line as the lists name it; `None` for those of drafts and of other servers.
fn name_of(line: &str) -> Option<&str> {
    let verb = line.split(' ').next().unwrap_or_default();
    let verb = match verb {
        "XCWD" => "CWD",
        "XCUP" => "CDUP",
        "XMKD" => "MKD",
        "XPWD" => "PWD",
        "XRMD" => "RMD",
        verb => verb,
    };
    LISTED.lines().any(|known| known.split(' ').next() == Some(verb)).then_some(verb)
}

/// A command, perhaps behind others (`&`) that are sent after a login only; its final code before the login and after.
const COMMANDS: &[(&str, u16, u16)] = &[
    ("USER joe", 331, 331),
    ("PASS secret", 503, 503),
    ("ACCT x", 202, 202),
    ("CWD a", 530, 250),
    ("CWD /missing", 530, 550),
    ("XCWD a", 530, 250),
    ("CDUP", 530, 250),
    ("XCUP", 530, 250),
    ("SMNT a", 530, 502),
    ("REIN", 220, 220),
    ("QUIT", 221, 221),
    ("PORT 192,0,2,9,200,1", 530, 200),
    ("PORT 192,0,2,10,200,1", 530, 504),
    ("PORT 192,0,2,9,0,21", 530, 504),
    ("EPRT |1|192.0.2.9|51201|", 530, 200),
    ("EPRT |1|192.0.2.10|51201|", 530, 504),
    ("EPRT |2|::1|51201|", 530, 504),
    ("EPRT |3|x|51201|", 530, 522),
    ("PASV", 530, 227),
    ("EPSV", 530, 229),
    ("EPSV 1", 530, 229),
    ("EPSV 2", 530, 522),
    ("EPSV ALL", 530, 200),
    // RFC 2428, section 4: nothing but EPSV from here on.
    ("EPSV ALL&PASV", 530, 501),
    ("EPSV ALL&PORT 192,0,2,9,200,1", 530, 501),
    ("EPSV ALL&EPRT |1|192.0.2.9|51201|", 530, 501),
    ("EPSV ALL&EPSV", 530, 229),
    ("TYPE A", 530, 200),
    ("TYPE A N", 530, 200),
    ("TYPE A T", 504, 504),
    ("TYPE E", 530, 504),
    ("TYPE I", 530, 200),
    ("TYPE L 8", 530, 200),
    ("TYPE L 7", 530, 504),
    ("STRU F", 530, 200),
    ("STRU R", 530, 504),
    ("STRU P", 530, 504),
    ("MODE S", 530, 200),
    ("MODE B", 530, 504),
    ("MODE C", 530, 504),
    ("RETR a", 530, 425),
    ("EPSV&RETR a", 530, 226),
    ("PORT 192,0,2,9,200,1&RETR a", 530, 226),
    ("TYPE I&REST 5&EPSV&RETR a", 530, 226),
    ("TYPE I&REST 18446744073709551615&EPSV&RETR a", 530, 226),
    ("STOR a", 530, 425),
    ("EPSV&STOR a", 530, 226),
    ("STOU", 530, 425),
    ("EPSV&STOU", 530, 226),
    ("EPSV&STOU a", 530, 226),
    ("APPE a", 530, 425),
    ("EPSV&APPE a", 530, 226),
    ("LIST", 530, 425),
    ("EPSV&LIST", 530, 226),
    ("EPSV&LIST -la a", 530, 226),
    ("NLST", 530, 425),
    ("EPSV&NLST a", 530, 226),
    ("MLSD", 530, 425),
    ("EPSV&MLSD a", 530, 226),
    ("ALLO 5", 530, 202),
    ("ALLO 5 R 10", 530, 202),
    ("REST 0", 530, 350),
    ("REST 5", 530, 501),
    ("TYPE I&REST 5", 530, 350),
    ("TYPE I&REST 18446744073709551615", 530, 350),
    ("RNFR a", 530, 350),
    ("RNTO b", 530, 503),
    ("RNFR a&RNTO b", 530, 250),
    ("RNFR a&NOOP&RNTO b", 530, 503),
    ("ABOR", 226, 226),
    ("EPSV&ABOR", 226, 226),
    ("EPSV&ABOR&RETR a", 530, 425),
    ("DELE a", 530, 250),
    ("RMD a", 530, 250),
    ("XRMD a", 530, 250),
    ("MKD a", 530, 257),
    ("XMKD a", 530, 257),
    ("MKD /", 530, 550),
    ("PWD", 530, 257),
    ("XPWD", 530, 257),
    ("SITE HELP", 530, 214),
    ("SITE UMASK", 530, 200),
    ("SITE UMASK 022", 530, 200),
    ("SITE CHMOD 600 a", 530, 200),
    ("SITE UTIME 202601010000 a", 530, 200),
    ("SITE EXEC ls", 530, 500),
    ("SYST", 215, 215),
    ("STAT", 530, 211),
    ("STAT a", 530, 213),
    ("HELP", 214, 214),
    ("HELP RETR", 214, 214),
    ("NOOP", 200, 200),
    ("AUTH TLS", 502, 502),
    ("PBSZ 0", 503, 503),
    ("PROT P", 503, 503),
    ("CCC", 503, 503),
    ("FEAT", 211, 211),
    ("OPTS UTF8 ON", 200, 200),
    ("OPTS UTF8 OFF", 501, 501),
    ("OPTS MLST size;", 200, 200),
    ("OPTS RETR x", 501, 501),
    ("OPTS HASH MD2", 504, 504),
    ("LANG", 200, 200),
    ("LANG en-GB", 200, 200),
    ("LANG tlh", 504, 504),
    ("HOST a.test", 220, 503),
    ("HOST [::1]", 220, 503),
    ("MDTM a", 530, 213),
    ("SIZE a", 530, 550),
    ("TYPE I&SIZE a", 530, 213),
    ("MLST", 530, 250),
    ("MLST a", 530, 250),
    ("MFMT 20260101000000 a", 530, 213),
    ("MFF modify=20260101000000; a", 530, 213),
    ("MFCT 20260101000000 a", 530, 504),
    ("AVBL", 530, 213),
    ("CLNT x", 200, 200),
    ("HASH a", 530, 213),
    ("TYPE I&RANG 1 5", 530, 350),
    ("RANG 1 5", 530, 551),
    ("XCRC a", 530, 250),
    ("XMD5 \"a\" 0 5", 530, 250),
    ("MD5 a", 530, 251),
    ("WHAT", 530, 502),
];

/// Commands whose arguments are missing, too many or malformed.
const WRONG: &str = "USER,ACCT,CWD,CDUP x,SMNT,REIN x,QUIT x,PORT,PORT 1,PORT 1;2,PORT 192;0;2;9;200;256,PORT 192;0;2;9;200;1;1,PASV x,EPRT,\
    EPRT x,EPRT |1|192.0.2.9|0|,EPRT |1|192.0.2.9|65536|,EPSV x,EPSV 99999,TYPE,TYPE X,TYPE L,TYPE L 999,STRU,STRU FF,MODE,MODE 1,RETR,\
    STOR,APPE,ALLO,ALLO x,ALLO -1,ALLO 99999999999999999999,REST,REST x,REST -1,REST 18446744073709551616,RNFR,RNTO,ABOR x,DELE,RMD,MKD,\
    PWD x,SITE,SITE UMASK 9,SITE CHMOD 600,SITE CHMOD 9999 a,SITE UTIME 1 a,SYST x,AUTH,PBSZ,PBSZ x,PROT,CCC x,FEAT x,OPTS,MDTM,SIZE,\
    MFMT,MFMT 2026 a,MFMT 20260101000000,HOST,HOST a b,HASH,RANG,RANG 5,RANG x y";

/// Sends the commands of a line; the codes of the last one.
fn codes(watcher: &mut Watcher, line: &str) -> Vec<u16> {
    line.split('&').for_each(|line| watcher.line(line.as_bytes()));
    watcher.codes.clone()
}

#[test]
fn every_command_in_every_state_has_its_code() {
    for (line, before, after) in COMMANDS {
        let command = line.rsplit('&').next().unwrap();
        for (login, line, expected) in [(false, command, *before), (true, *line, *after)] {
            let found = codes(&mut Watcher::new(login), line);
            assert_eq!(found.last(), Some(&expected), "{line:?}, logged in: {login}");
            for code in found {
                let verb = name_of(command);
                let beyond = verb.is_some_and(|verb| {
                    BEYOND
                        .iter()
                        .any(|(verbs, codes, _)| verbs.split(' ').any(|known| known == verb) && codes.contains(&code))
                });
                assert!(verb.is_none_or(|verb| listed(verb, code)) || beyond, "{line:?}: {code}");
            }
        }
    }
    for line in WRONG.split(',').map(|line| line.trim().replace(';', ",")) {
        // 504 belongs to values of the right form.
        let found = |login| Watcher::new(login).after(&line);
        assert_eq!(found(true), [501], "{line:?}");
        assert!([[501], [530]].contains(&found(false).try_into().unwrap()), "{line:?} without a login");
    }
}

impl Watcher {
    fn after(mut self, line: &str) -> Vec<u16> {
        self.line(line.as_bytes());
        self.codes
    }
}

/// PBSZ, PROT and CCC have an order (RFC 2228, sections 3 and 5; RFC 4217, section 9).
#[test]
fn protection_is_asked_for_in_order() {
    for (required, lines) in [
        (
            false,
            &[
                ("PBSZ 0", 503),
                ("PROT P", 503),
                ("AUTH GSSAPI", 504),
                ("AUTH TLS", 234),
                ("AUTH TLS", 503),
                ("PROT P", 503),
                ("PBSZ 0", 200),
                ("PROT S", 536),
                ("PROT E", 536),
                ("PROT X", 504),
                ("PROT P", 200),
                ("PROT C", 200),
                ("CCC", 534),
            ][..],
        ),
        (
            true,
            &[
                ("USER joe", 530),
                ("PASS secret", 530),
                ("PBSZ 0", 530),
                ("CCC", 530),
                ("AUTH SSL", 234),
                ("USER joe", 331),
                ("PASS secret", 230),
                ("EPSV", 229),
                ("RETR a", 521),
                ("PROT P", 503),
                ("PBSZ 0", 200),
                ("PROT C", 534),
                ("PROT P", 200),
                ("EPSV", 229),
                ("RETR a", 226),
                ("REIN", 220),
                ("EPSV", 530),
            ],
        ),
    ] {
        let policy = SessionPolicy { tls: true, tls_required: required, ..policy() };
        let mut watcher = Watcher { session: FtpSession::new(policy), ..Watcher::new(false) };
        watcher.poll();
        for (line, code) in lines {
            watcher.line(line.as_bytes());
            assert_eq!(watcher.codes.last(), Some(code), "{line}, TLS required: {required}");
        }
    }
}

#[test]
fn failures_have_codes_that_the_command_allows() {
    let refusals = [
        StoreRefusal::NotFound,
        StoreRefusal::Denied,
        StoreRefusal::Exists,
        StoreRefusal::NotDirectory,
        StoreRefusal::NotFile,
        StoreRefusal::NotEmpty,
        StoreRefusal::BadName,
        StoreRefusal::Full,
        StoreRefusal::Busy,
        StoreRefusal::Crowded,
        StoreRefusal::Failed("EIO".to_owned()),
    ];
    let transfers = [StoreRefusal::NotListed, StoreRefusal::TooLarge, StoreRefusal::NotBroken, StoreRefusal::BadOffset];
    let transfers = transfers.map(TransferFailure::Refused).into_iter().chain([
        TransferFailure::NoConnection,
        TransferFailure::Tls,
        TransferFailure::NotResumed,
        TransferFailure::Broken,
        TransferFailure::Stalled,
        TransferFailure::Aborted,
    ]);
    let failures: Vec<_> = refusals.map(TransferFailure::Refused).into_iter().chain(transfers).collect();
    let (mut beyond, mut outside) = (BTreeSet::new(), BTreeSet::new());
    let mut judge = |line: &str, found: &[u16]| {
        let Some(verb) = name_of(line) else { return };
        for code in found.iter().filter(|code| !listed(verb, **code)) {
            let excused = BEYOND
                .iter()
                .position(|(verbs, codes, _)| verbs.split(' ').any(|known| known == verb) && codes.contains(code));
            if excused.is_none() {
                outside.insert((verb.to_owned(), *code));
            }
            beyond.insert((verb.to_owned(), *code));
        }
    };
    for (line, before, _) in COMMANDS {
        judge(line.rsplit('&').next().unwrap(), &[*before]);
        let (before, command) = line.rsplit_once('&').unwrap_or(("", line));
        for failure in &failures {
            let mut watcher = Watcher::new(true);
            codes(&mut watcher, before);
            let (transfers, acts) = (matches!(failure, TransferFailure::Refused(_)), watcher.acts);
            watcher.failure = Some(failure.clone());
            let found = codes(&mut watcher, command);
            // Only a transfer fails like one; ALLO stands for the upload that follows.
            let one_of_uploads = !transfers
                || matches!(
                    failure,
                    TransferFailure::Refused(
                        StoreRefusal::NotListed
                            | StoreRefusal::TooLarge
                            | StoreRefusal::NotBroken
                            | StoreRefusal::BadOffset
                    )
                );
            let acted = watcher.acts > acts;
            let too_large = *failure == TransferFailure::Refused(StoreRefusal::TooLarge);
            if acted && one_of_uploads && !(too_large && command.starts_with("ALLO")) {
                continue;
            }
            judge(command, &found);
        }
        judge(command, &codes(&mut Watcher::new(true), line));
    }
    assert!(outside.is_empty(), "outside of what the RFCs list: {outside:?}");
    let excused = |(verbs, codes, _): &(&'static str, &'static [u16], &str)| {
        let (verbs, codes) = (*verbs, *codes);
        verbs.split(' ').flat_map(move |verb| codes.iter().map(move |code| (verb.to_owned(), *code)))
    };
    let unused: Vec<_> = BEYOND.iter().flat_map(excused).filter(|pair| !beyond.contains(pair)).collect();
    assert!(unused.is_empty(), "excused, and never needed: {unused:?}");
}

#[test]
fn help_names_what_is_understood() {
    let mut player = Player::new(policy());
    player.session.input(b"HELP\r\n");
    player.pump();
    let help = player.log.join("\n");
    for (line, _, code) in COMMANDS.iter().filter(|(_, _, code)| ![502, 504].contains(code)) {
        let verb = line.rsplit('&').next().unwrap().split(' ').next().unwrap();
        assert!(verb == "CCC" || help.split_whitespace().any(|word| word == verb), "HELP lacks {verb} ({code})");
    }
}
