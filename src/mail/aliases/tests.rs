use super::*;

/// Mailboxes of `x.test` and `y.test`.
struct Mailboxes(&'static [&'static str]);

impl MailboxFinder for Mailboxes {
    type Found = String;

    fn is_ours(&self, domain: &str) -> bool {
        ["x.test", "y.test", "[ipv6:::1]"].contains(&domain)
    }

    fn find(&mut self, local: &str, _: &str) -> Result<Option<String>, Fault> {
        let lower = local.to_lowercase();
        let plain = lower.split('+').next().unwrap_or_default();
        Ok(self.0.contains(&plain).then_some(lower))
    }
}

const BOXES: Mailboxes = Mailboxes(&["bob", "eve", "joe", "postmaster"]);

fn table(text: &str) -> Result<AliasTable, String> {
    let mut table = AliasTable::default();
    let mut include = |path: &Path| match path.to_str() {
        Some("/list") => Ok("# people\nbob, eve\n joe@x.test,\n".to_owned()),
        Some("/bad") => Ok("bob\n|/bin/true\n".to_owned()),
        _ => Err(Fault::new(Kind::NoInput, format!("{}: none", path.display()))),
    };
    table.add("F", text, true, &mut include).map_err(|fault| fault.detail)?;
    Ok(table)
}

/// The ends of an address, in order.
fn ends(table: &AliasTable, address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap();
    let found = match table.expand(local, domain, &mut Mailboxes(BOXES.0)) {
        Ok(found) => found,
        Err(fault) => return fault.detail,
    };
    let mut words: Vec<String> = found
        .ends
        .into_iter()
        .map(|end| match end {
            AliasEnd::Mailbox(name, domain) => format!("{name}@{domain}"),
            AliasEnd::Remote(address) => format!("<{address}>"),
            AliasEnd::Command(words) => format!("|{}", words.join("_")),
            AliasEnd::File(path) => path.display().to_string(),
        })
        .collect();
    words.extend(found.unknown.into_iter().map(|(origin, address)| {
        origin.map_or_else(|| format!("no {address}"), |origin| format!("no {address} ({origin})"))
    }));
    words.join(" ")
}

#[test]
fn addresses_expand() {
    let text = r#"
# A comment, and an empty line.
root: bob, "|/usr/bin/log -t 'a b' \"c\"",
    /var/mail/root, # no comment here: names
"#;
    assert!(table(text).is_err());
    let text = r#"
root: bob, "|/usr/bin/log -t 'a b'", |/bin/true,
    # a comment between
    "/var/mail/root box", eve,
Team: :include:/list, root
  , alice@Example.ORG
bob: bob, archive@other.test
info@X.test  joe
info@y.test: eve+info
"a b": "j\oe"@x.test
eve+lists: joe
all: team, all2
all2: team, bob
sales@x.test: sales
sales: \sales, \eve
@x.test: @y.test
@y.test: eve, "a b"@z.test
me@[IPv6:::1]: bob@[IPv6:0:0:0:0:0:0:0:1]
me@[ipv6:0::2]: bob
"#;
    assert_eq!(table(text).map(|table| table.len()), Ok(15));
    let table = table(text).unwrap();
    for (address, expected) in [
        ("nobody2@z.test", "no nobody2@z.test"),
        ("joe@x.test", "joe@x.test"),
        ("JOE+a@x.test", "joe+a@x.test"),
        (
            "root@y.test",
            "bob@y.test <archive@other.test> |/usr/bin/log_-t_a b |/bin/true /var/mail/root box eve@y.test",
        ),
        (
            "ROOT+x@y.test",
            "bob@y.test <archive@other.test> |/usr/bin/log_-t_a b |/bin/true /var/mail/root box eve@y.test",
        ),
        ("info@x.test", "joe@x.test"),
        ("info+a@y.test", "eve+info@y.test"),
        ("eve@x.test", "eve@x.test"),
        ("eve+Lists@x.test", "joe@x.test"),
        ("a b@x.test", "joe@x.test"),
        (
            "team@x.test",
            "bob@x.test <archive@other.test> eve@x.test joe@x.test |/usr/bin/log_-t_a b |/bin/true \
             /var/mail/root box <alice@Example.ORG>",
        ),
        (
            "all@x.test",
            "bob@x.test <archive@other.test> eve@x.test joe@x.test |/usr/bin/log_-t_a b |/bin/true \
             /var/mail/root box <alice@Example.ORG>",
        ),
        ("sales@x.test", "eve@x.test no sales@x.test (F: line 15)"),
        // The alias of a whole domain: after mailboxes and aliases.
        ("unknown@y.test", "eve@y.test <\"a b\"@z.test>"),
        ("unknown@x.test", "eve@y.test <\"a b\"@z.test>"),
        ("postmaster@x.test", "postmaster@x.test"),
        // Another domain's key in quotes.
        ("info@x.test@y.test", "eve@y.test <\"a b\"@z.test>"),
        ("@x.test@y.test", "eve@y.test <\"a b\"@z.test>"),
        ("me@[ipv6:::1]", "bob@[ipv6:::1] <archive@other.test>"),
    ] {
        let found = ends(&table, address);
        assert_eq!(found, expected.split(" \\\n").collect::<Vec<_>>().join(" "), "{address}");
    }
    assert!(
        table.has_command(&["/usr/bin/log".into(), "-t".into(), "a b".into()])
            && table.has_file("/var/mail/root box".as_ref())
    );
    assert!(!table.has_command(&["/usr/bin/log".into()]) && !table.has_file("/var/mail/root".as_ref()));
}

#[test]
fn what_is_no_alias_is_told_with_its_line() {
    for (text, expected) in [
        ("  bob: eve", "F: line 1: a continuation line without a line to continue"),
        ("# c\n\nbob eve", "F: line 3: bob: no colon after the name"),
        ("bob@x.test", "F: line 1: bob@x.test: no target"),
        ("bob: ,", "F: line 1: bob: no target"),
        (": bob", "F: line 1: no name before the colon"),
        ("\"bob: eve", "F: line 1: a quote without its end"),
        ("bob: \"eve", "F: line 1: a quote without its end"),
        ("bob: eve\nBOB: joe", "F: line 2: bob is already defined: F: line 1"),
        ("a@X.test: eve\na@x.TEST joe", "F: line 2: a@x.test is already defined: F: line 1"),
        ("bob: eve joe", "F: line 1: eve joe: ' ' before the @ needs quoting"),
        ("bob: @y.test", "F: line 1: @y.test: only a line for a whole domain leads to one"),
        ("bob: eve@", "F: line 1: eve@: the part after the @ is not a domain"),
        ("bob: |true", "F: line 1: |true: the program needs an absolute path"),
        ("bob: \"|\"", "F: line 1: |: no command"),
        ("bob: \"|/bin/a 'b\"", "F: line 1: |/bin/a 'b: a quote without its end"),
        ("bob: :fail:", "F: line 1: :fail:: :include:/FILE is the only word of this kind"),
        ("bob: :include:list", "F: line 1: :include:list: no absolute path"),
        ("bob: :include:/none", "/none: none"),
        ("bob: eve,\n  :include:/bad", "/bad: line 2: |/bin/true: an included file has addresses only"),
        ("@x y: bob", "F: line 1: y: bob: ':' before the @ needs quoting"),
    ] {
        assert_eq!(table(text).map(drop), Err(expected.to_owned()), "{text:?}");
    }
    let mut table = AliasTable::default();
    let denied = table.add("F", "a: b\nc: /dev/null", false, &mut |_| Ok(String::new())).unwrap_err();
    assert_eq!(
        (denied.kind, &*denied.detail),
        (Kind::Config, "F: line 2: /dev/null: commands and files are not permitted")
    );
}

#[test]
fn loops_and_unknown_names_are_told_with_their_line() {
    let deep: String = (0..60).map(|n| format!("a{n}: a{}\n", n + 1)).collect::<String>() + "a60: bob\n";
    for (text, expected) in [
        ("a: b\nb: c\nc: a", "F: line 1: aliases form a loop: a -> b -> c -> a"),
        ("bob: eve\neve: bob", "F: line 1: aliases form a loop: bob -> eve -> bob"),
        ("@x.test: @y.test\n@y.test: @x.test", "F: line 1: aliases form a loop: @x.test -> @y.test -> @x.test"),
        ("a: b@y.test\nb@y.test: a", "F: line 1: aliases form a loop: a -> b@y.test -> a"),
        // Only in one of two domains.
        (
            "a: b\nb@y.test: a@x.test\na@x.test: b@y.test",
            "F: line 2: aliases form a loop: b@y.test -> a@x.test -> b@y.test",
        ),
        (&deep, "F: line 51: aliases form a loop: a50 -> a50"),
        ("ok: bob\na: nobody", "F: line 2: nobody@x.test: no such mailbox or alias"),
        ("a: nobody@y.test", "F: line 1: nobody@y.test: no such mailbox or alias"),
        ("a: \\b\nb: bob", "F: line 1: b@x.test: no such mailbox or alias"),
        ("bob@z.test: bob", "F: line 1: bob@z.test: z.test is not a domain of this server"),
        ("@x.test: nobody", "F: line 1: nobody@x.test: no such mailbox or alias"),
    ] {
        let table = table(text).unwrap();
        let domains = ["x.test".to_owned(), "y.test".to_owned()];
        let fault = table.check(&domains, &mut Mailboxes(BOXES.0)).unwrap_err();
        assert_eq!((fault.kind, &*fault.detail), (Kind::Config, expected), "{text:?}");
    }
    for text in [
        "bob: bob\nbob@x.test: bob, eve",
        "bob: bob+a, \\bob",
        "a: b\nb@y.test: bob",
        "@x.test: bob\na: nobody",
        "@x.test: @y.test",
        "@x.test: @elsewhere.test",
        "all: a, b\na: bob, b\nb: bob",
        "bob: bob, joe\nbob@y.test: eve, bob@x.test",
    ] {
        let table = table(text).unwrap();
        let domains = ["x.test".to_owned(), "y.test".to_owned()];
        assert_eq!(table.check(&domains, &mut Mailboxes(BOXES.0)).map_err(|fault| fault.detail), Ok(()), "{text:?}");
    }
}
