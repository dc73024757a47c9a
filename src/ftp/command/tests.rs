//! Tables for [`super::FtpCommand`].

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Every verb, as a line and as a value: parsing the line gives the value, encoding the value gives the line.
fn table() -> Vec<(&'static [u8], FtpCommand)> {
    use FtpCommand as C;
    let path = || b"a b".to_vec();
    vec![
        (b"USER joe", C::User(b"joe".to_vec())),
        (b"PASS s3 cret ", C::Pass(Secret::new(b"s3 cret ".to_vec()))),
        (b"PASS ", C::Pass(Secret::new(Vec::new()))),
        (b"ACCT x", C::Acct(Secret::new(b"x".to_vec()))),
        (b"CWD a b", C::Cwd(path())),
        (b"CWD  lead", C::Cwd(b" lead".to_vec())),
        (b"CWD trail ", C::Cwd(b"trail ".to_vec())),
        (b"CDUP", C::Cdup),
        (b"SMNT a b", C::Smnt(path())),
        (b"REIN", C::Rein),
        (b"QUIT", C::Quit),
        (b"PORT 127,0,0,1,4,5", C::Port(b"127,0,0,1,4,5".to_vec())),
        (b"PASV", C::Pasv),
        (b"EPRT |1|127.0.0.1|1029|", C::Eprt(b"|1|127.0.0.1|1029|".to_vec())),
        (b"EPSV", C::Epsv(Epsv::Same)),
        (b"EPSV ALL", C::Epsv(Epsv::All)),
        (b"EPSV 2", C::Epsv(Epsv::Protocol(2))),
        (b"TYPE A", C::Type(TypeCode::Ascii)),
        (b"TYPE E", C::Type(TypeCode::Ebcdic)),
        (b"TYPE I", C::Type(TypeCode::Image)),
        (b"TYPE L 8", C::Type(TypeCode::Local(8))),
        (b"STRU F", C::Stru(b'F')),
        (b"MODE S", C::Mode(b'S')),
        (b"RETR a b", C::Retr(path())),
        (b"RETR n\xffme\xe4", C::Retr(b"n\xffme\xe4".to_vec())),
        (b"STOR a b", C::Stor(path())),
        (b"STOU", C::Stou(None)),
        (b"STOU a b", C::Stou(Some(path()))),
        (b"APPE a b", C::Appe(path())),
        (b"ALLO 5", C::Allo(5)),
        (b"REST 18446744073709551615", C::Rest(u64::MAX)),
        (b"RNFR a b", C::Rnfr(path())),
        (b"RNTO a b", C::Rnto(path())),
        (b"ABOR", C::Abor),
        (b"DELE a b", C::Dele(path())),
        (b"RMD a b", C::Rmd(path())),
        (b"MKD a b", C::Mkd(path())),
        (b"PWD", C::Pwd),
        (b"LIST", C::List(None)),
        (b"LIST a b", C::List(Some(path()))),
        (b"NLST", C::Nlst(None)),
        (b"SITE CHMOD 644 x", C::Site(b"CHMOD 644 x".to_vec())),
        (b"SYST", C::Syst),
        (b"STAT", C::Stat(None)),
        (b"STAT a b", C::Stat(Some(path()))),
        (b"HELP", C::Help(None)),
        (b"NOOP", C::Noop),
        (b"AUTH TLS", C::Auth("TLS".to_owned())),
        (b"PBSZ 0", C::Pbsz(0)),
        (b"PROT C", C::Prot(Protection::Clear)),
        (b"PROT S", C::Prot(Protection::Safe)),
        (b"PROT E", C::Prot(Protection::Confidential)),
        (b"PROT P", C::Prot(Protection::Private)),
        (b"CCC", C::Ccc),
        (b"FEAT", C::Feat),
        (b"OPTS UTF8 ON", C::Opts(b"UTF8 ON".to_vec())),
        (b"MDTM a b", C::Mdtm(path())),
        (b"SIZE a b", C::Size(path())),
        (b"MLST", C::Mlst(None)),
        (b"MLSD a b", C::Mlsd(Some(path()))),
        (b"MFMT 20240229235959 a b", C::Mfmt { modified: time("2024-02-29T23:59:59Z"), path: path() }),
        (b"LANG en", C::Lang(Some(b"en".to_vec()))),
        (b"HOST ftp.example", C::Host(b"ftp.example".to_vec())),
        (b"HASH a b", C::Hash(path())),
        (b"RANG 1 0", C::Rang(1, 0)),
        (b"XSHA256 a b", C::Other("XSHA256".to_owned(), Some(path()))),
        (b"PRET RETR x", C::Other("PRET".to_owned(), Some(b"RETR x".to_vec()))),
        (b"WAT", C::Other("WAT".to_owned(), None)),
    ]
}

#[test]
fn lines_and_values_agree_both_ways() {
    for (line, command) in table() {
        let shown = String::from_utf8_lossy(line);
        assert_eq!(FtpCommand::parse(line).as_ref(), Ok(&command), "{shown}");
        assert_eq!(command.encode().unwrap(), [line, b"\r\n"].concat(), "{shown}");
        let lower = line.iter().map(u8::to_ascii_lowercase).take(command.verb().len());
        let mixed: Vec<u8> = lower.chain(line.iter().copied().skip(command.verb().len())).collect();
        assert_eq!(FtpCommand::parse(&mixed), Ok(command), "verbs know no case: {shown}");
    }
}

#[test]
fn old_names_and_loose_forms_are_taken() {
    use FtpCommand as C;
    for (line, command) in [
        (&b"XPWD"[..], C::Pwd),
        (b"XCUP", C::Cdup),
        (b"XCWD d", C::Cwd(b"d".to_vec())),
        (b"XMKD d", C::Mkd(b"d".to_vec())),
        (b"XRMD d", C::Rmd(b"d".to_vec())),
        (b"PASV ", C::Pasv),
        (b"LIST ", C::List(None)),
        (b"type a n", C::Type(TypeCode::Ascii)),
        (b"TYPE L 8 ", C::Type(TypeCode::Local(8))),
        (b"epsv all", C::Epsv(Epsv::All)),
        (b"auth tls-c", C::Auth("TLS-C".to_owned())),
        (b"ALLO 10 R 5", C::Allo(10)),
        (b"NOOP keep alive", C::Noop),
        (b"\xff\xf4\xff\xf2ABOR", C::Abor),
        (b"\xff\xf4\xff\xffABOR", C::Abor),
        (b"MFMT 20240229235960 x", C::Mfmt { modified: time("2024-02-29T23:59:59Z"), path: b"x".to_vec() }),
    ] {
        assert_eq!(FtpCommand::parse(line), Ok(command), "{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn bad_lines_have_their_code() {
    let longest = [b"RETR ".to_vec(), vec![b'x'; MAX_COMMAND_LINE - 5]].concat();
    assert!(FtpCommand::parse(&longest).is_ok());
    let longer = [longest, b"x".to_vec()].concat();
    for (line, code) in [
        (&b""[..], 500),
        (b" USER x", 500),
        (b"\xff", 500),
        (b"\xff\xf4", 500),
        (b"GET/ HTTP/1.1", 500),
        (b"ABCDEFGHIJKLMNOPQ", 500),
        (&longer, 500),
        (b"RETR", 501),
        (b"RETR ", 501),
        (b"RETR a\rb", 501),
        (b"RETR a\nb", 501),
        (b"USER root\0x", 501),
        (b"PWD x", 501),
        (b"PASV x", 501),
        (b"REST -1", 501),
        (b"REST +1", 501),
        (b"REST 18446744073709551616", 501),
        (b"REST 1 2", 501),
        (b"ALLO", 501),
        (b"EPSV 65536", 501),
        (b"EPSV x", 501),
        (b"TYPE", 501),
        (b"TYPE Q", 501),
        (b"TYPE L 256", 501),
        (b"TYPE A T", 504),
        (b"STRU FF", 501),
        (b"PROT X", 504),
        (b"PBSZ x", 501),
        (b"AUTH ", 501),
        (b"MFMT 20240229235959", 501),
        (b"MFMT 20240229235959 ", 501),
        (b"MFMT 20230229000000 x", 501),
        (b"MFMT 2024022923595 x", 501),
        (b"RANG 1", 501),
        (b"RANG 1 2 3", 501),
    ] {
        let error = FtpCommand::parse(line).expect_err(&String::from_utf8_lossy(line));
        assert_eq!(error.code(), code, "{}", String::from_utf8_lossy(line));
        assert!(!error.text().is_empty());
    }
}

#[test]
fn nothing_that_ends_a_line_is_sent() {
    for name in [&b"a\r\nDELE b"[..], b"a\nb", b"a\rb", b"a\0b"] {
        for command in [
            FtpCommand::Retr(name.to_vec()),
            FtpCommand::User(name.to_vec()),
            FtpCommand::Pass(Secret::new(name.to_vec())),
            FtpCommand::Site(name.to_vec()),
            FtpCommand::Mfmt { modified: Timestamp::UNIX_EPOCH, path: name.to_vec() },
            FtpCommand::Auth(String::from_utf8_lossy(name).into_owned()),
            FtpCommand::Other("WAT".to_owned(), Some(name.to_vec())),
            FtpCommand::Other(String::from_utf8_lossy(name).into_owned(), None),
        ] {
            assert_eq!(command.encode().expect_err("must be refused").kind, Kind::Usage, "{command:?}");
        }
    }
    assert!(FtpCommand::Retr(Vec::new()).encode().is_err(), "an empty name");
    assert!(FtpCommand::Retr(vec![b'x'; MAX_COMMAND_LINE]).encode().is_err(), "too long");
    assert!(FtpCommand::Retr(vec![b'x'; MAX_COMMAND_LINE - 5]).encode().is_ok(), "the longest");
}

#[test]
fn passwords_are_not_shown() {
    let secret = || Secret::new(b"s3cret".to_vec());
    for command in [FtpCommand::Pass(secret()), FtpCommand::Acct(secret())] {
        assert!(!format!("{command:?} {command}").contains("s3cret"));
    }
    assert_eq!(FtpCommand::Retr(b"x".to_vec()).to_string(), "RETR x");
}

#[test]
fn times_are_exact() {
    for (text, want) in [
        ("19700101000000", Some("1970-01-01T00:00:00Z")),
        ("20240229120000.5", Some("2024-02-29T12:00:00.5Z")),
        ("20240229120000.123456789", Some("2024-02-29T12:00:00.123456789Z")),
        ("19991231235960", Some("1999-12-31T23:59:59Z")),
        ("20240229120000.", None),
        ("20240229120000.1234567890", None),
        ("20240230120000", None),
        ("20240229240000", None),
        ("20240229126000", None),
        ("20240229120061", None),
        ("2024-229120000", None),
        ("191000229120000", None),
        ("", None),
    ] {
        assert_eq!(parse_time(text.as_bytes()), want.map(time), "{text}");
    }
    assert_eq!(format_time(time("2024-02-29T12:00:00.9Z")), "20240229120000");
    assert_eq!(format_time(time("-000001-02-28T12:00:00Z")), "00000228120000", "a year before 0 keeps its width");
}

proptest::proptest! {
    #[test]
    fn whatever_parses_is_encoded_and_parses_again(line: Vec<u8>) {
        if let Ok(command) = FtpCommand::parse(&line) {
            // As it goes over a connection that speaks TELNET.
            let wire = telnet::doubled(&command.encode().unwrap());
            proptest::prop_assert_eq!(FtpCommand::parse(&wire[..wire.len() - 2]), Ok(command));
        }
    }

    #[test]
    fn any_verb_with_any_argument(
        verb in "[A-Za-z]{3,7}",
        argument in proptest::collection::vec(proptest::prop_oneof![3 => proptest::prelude::any::<u8>(), 1 => 240u8..], 0..60),
    ) {
        let line = [verb.as_bytes(), b" ", &argument].concat();
        if let Ok(command) = FtpCommand::parse(&line) {
            // As it goes over a connection that speaks TELNET.
            let wire = telnet::doubled(&command.encode().unwrap());
            proptest::prop_assert_eq!(FtpCommand::parse(&wire[..wire.len() - 2]), Ok(command));
        }
    }
}
