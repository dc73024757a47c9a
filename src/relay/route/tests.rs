use super::*;
use std::collections::HashMap;

/// A DNS of two tables; a missing name does not exist, `trouble` fails.
#[derive(Debug, Default)]
struct Zone {
    mx: HashMap<&'static str, Vec<(u16, &'static str)>>,
    addresses: HashMap<&'static str, Vec<&'static str>>,
}

fn answer<T>(name: &str, what: &str, found: Option<T>) -> Result<T, Fault> {
    let fault = |kind, why: &str| Fault::new(kind, format!("looking up {what} of {name}: {why}"));
    match name.contains("trouble") {
        true => Err(fault(Kind::LookupFailed, "SERVFAIL from 192.0.2.53")),
        false => found.ok_or_else(|| fault(Kind::NoHost, "NXDOMAIN")),
    }
}

impl MailDns for Zone {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<(u16, String)>, Fault>> {
        let known = self.mx.get(domain).cloned().or_else(|| self.addresses.get(domain).map(|_| Vec::new()));
        let found = answer(domain, "MX", known);
        Box::pin(async { Ok(found?.into_iter().map(|(preference, name)| (preference, name.to_owned())).collect()) })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, Fault>> {
        let known = self.addresses.get(host).cloned().or_else(|| self.mx.get(host).map(|_| Vec::new()));
        let found = answer(host, "address", known);
        Box::pin(async { Ok(found?.iter().map(|address| address.parse().unwrap()).collect()) })
    }
}

fn zone() -> Zone {
    Zone {
        mx: HashMap::from([
            ("bob.test", vec![(20, "backup.bob.test."), (10, "MX1.bob.test."), (10, "mx2.bob.test.")]),
            ("null.test", vec![(0, ".")]),
            ("half-null.test", vec![(0, "."), (5, "mx1.bob.test")]),
            ("empty.test", vec![]),
            ("gone.test", vec![(1, "nowhere.test")]),
            ("shaky.test", vec![(1, "nowhere.test"), (2, "trouble.test")]),
            ("mixed.test", vec![(1, "trouble.test"), (2, "mx1.bob.test")]),
            ("ours.test", vec![(5, "mx1.bob.test"), (10, "our.host"), (20, "backup.bob.test")]),
            ("only-ours.test", vec![(10, "our.host"), (20, "backup.bob.test")]),
            ("by-address.test", vec![(10, "alias.test")]),
            ("xn--bcher-kva.example", vec![(10, "mx1.bob.test")]),
        ]),
        addresses: HashMap::from([
            ("mx1.bob.test", vec!["192.0.2.1", "2001:db8::1"]),
            ("mx2.bob.test", vec!["192.0.2.2"]),
            ("backup.bob.test", vec!["192.0.2.3"]),
            ("plain.test", vec!["192.0.2.4"]),
            ("our.host", vec!["192.0.2.9"]),
            ("alias.test", vec!["192.0.2.10"]),
        ]),
    }
}

fn routing() -> Routing {
    Routing {
        own_names: vec!["our.host".to_owned()],
        own_addresses: vec!["192.0.2.10".parse().unwrap()],
        ..Routing::default()
    }
}

async fn names(routing: &Routing, domain: &str, dice: u32) -> Result<Vec<String>, Fault> {
    let hops = routing.find(domain, &zone(), &mut || dice).await?;
    Ok(hops.into_iter().map(|hop| format!("{}={}", hop.name, hop.endpoint)).collect())
}

#[tokio::test]
async fn hosts_come_by_preference_and_equals_by_lot() {
    let first = names(&routing(), "bob.test", 0).await.unwrap();
    assert_eq!(
        first,
        [
            "mx2.bob.test=192.0.2.2:25",
            "mx1.bob.test=192.0.2.1:25",
            "mx1.bob.test=[2001:db8::1]:25",
            "backup.bob.test=192.0.2.3:25"
        ]
    );
    let second = names(&routing(), "bob.test", 1).await.unwrap();
    assert_eq!(second[0], "mx1.bob.test=192.0.2.1:25");
    assert_eq!(second[3], "backup.bob.test=192.0.2.3:25");
    assert_eq!(names(&routing(), "plain.test", 0).await.unwrap(), ["plain.test=192.0.2.4:25"], "implicit MX");
    assert_eq!(names(&routing(), "bücher.example", 0).await.unwrap().len(), 2, "IDN");
    assert_eq!(names(&routing(), "[192.0.2.77]", 0).await.unwrap(), ["[192.0.2.77]=192.0.2.77:25"]);
    assert_eq!(names(&routing(), "[IPv6:2001:db8::7]", 0).await.unwrap(), ["[IPv6:2001:db8::7]=[2001:db8::7]:25"]);
    let other_port = Routing { mx_port: 2525, ..routing() };
    assert_eq!(names(&other_port, "plain.test", 0).await.unwrap(), ["plain.test=192.0.2.4:2525"]);
}

#[tokio::test]
async fn what_has_no_way_says_why_and_for_how_long() {
    for (domain, kind, enhanced, words) in [
        ("null.test", Kind::NoHost, "5.1.10", "accepts no mail"),
        ("empty.test", Kind::NoHost, "5.4.4", "has no address"),
        ("unknown.test", Kind::NoHost, "5.1.2", "looking up MX of unknown.test: NXDOMAIN"),
        ("gone.test", Kind::NoHost, "5.1.2", "looking up address of nowhere.test: NXDOMAIN"),
        ("trouble.test", Kind::LookupFailed, "4.4.3", "MX of trouble.test: SERVFAIL"),
        ("shaky.test", Kind::LookupFailed, "4.4.3", "address of trouble.test: SERVFAIL"),
        ("only-ours.test", Kind::Refused, "5.4.6", "loops back"),
        ("by-address.test", Kind::Refused, "5.4.6", "loops back"),
        ("[192.0.2.10]", Kind::Refused, "5.4.6", "loops back"),
        ("[192.0.2]", Kind::NoHost, "5.1.2", "not an address literal"),
        ("", Kind::NoHost, "5.1.2", "no domain"),
    ] {
        let fault = names(&routing(), domain, 0).await.unwrap_err();
        assert_eq!((fault.kind, fault.enhanced.unwrap().to_string().as_str()), (kind, enhanced), "{domain}");
        assert!(fault.detail.contains(words), "{domain}: {}", fault.detail);
        assert_eq!(fault.temporary(), enhanced.starts_with('4'), "{domain}");
    }
    assert_eq!(names(&routing(), "half-null.test", 0).await.unwrap().len(), 2);
    assert_eq!(names(&routing(), "mixed.test", 0).await.unwrap().len(), 2, "trouble with one host loses nothing");
    assert_eq!(names(&routing(), "ours.test", 0).await.unwrap().len(), 2, "better hosts than we are still tried");
}

#[tokio::test]
async fn rules_come_first() {
    let rules = [
        "bob.test=smtp://plain.test:2525",
        ".bob.test=lmtp:/run/lmtp",
        "plain.test=mx:bob.test",
        "*=smtps://u:p%40@192.0.2.50",
    ];
    let routing = Routing { rules: rules.iter().map(|rule| RouteRule::parse(rule).unwrap()).collect(), ..routing() };
    assert_eq!(names(&routing, "bob.test", 0).await.unwrap(), ["plain.test=192.0.2.4:2525"]);
    assert_eq!(names(&routing, "a.bob.test", 0).await.unwrap(), ["localhost=/run/lmtp"]);
    assert_eq!(names(&routing, "plain.test", 0).await.unwrap().len(), 4);
    let hop = routing.find("null.test", &zone(), &mut || 0).await.unwrap().remove(0);
    assert_eq!(hop.endpoint.to_string(), "192.0.2.50:465");
    assert_eq!(hop.login, Some(Login::new("u", "p@")));
    assert!(hop.policy.verify && hop.policy.tls == TlsMode::Implicit && !hop.by_mx);
    let misspelt = Routing { rules: vec![RouteRule::parse("*=smtp://unknown.test").unwrap()], ..Routing::default() };
    // Several rules of one pattern are tried in turn; a server that is not found does not stop the others.
    let rules = ["*=smtp://nowhere.test", "*=smtp://plain.test", "x.test=smtp://192.0.2.9", "*=192.0.2.51:587"];
    let several = Routing { rules: rules.iter().map(|rule| RouteRule::parse(rule).unwrap()).collect(), ..routing };
    let found = names(&several, "bob.test", 0).await.unwrap();
    assert_eq!(found, ["plain.test=192.0.2.4:25", "192.0.2.51=192.0.2.51:587"]);
    let fault = names(&misspelt, "bob.test", 0).await.unwrap_err();
    assert_eq!(fault.enhanced, Enhanced::parse("4.4.3"), "a misspelt smarthost bounces nothing");
}

#[test]
fn targets_are_read() {
    for (text, expected) in [
        ("maildir:/var/mail/bob", RouteTarget::Maildir("/var/mail/bob".into())),
        ("lmtp:/run/dovecot/lmtp", RouteTarget::Unix("/run/dovecot/lmtp".into())),
        ("lmtp+unix:/run/lmtp", RouteTarget::Unix("/run/lmtp".into())),
        ("lmtp:///run/lmtp", RouteTarget::Unix("/run/lmtp".into())),
        ("mx:", RouteTarget::Mx(String::new())),
    ] {
        assert_eq!(RouteTarget::parse(text).unwrap(), expected, "{text}");
    }
    for (text, expected) in [
        ("smtp://h", ("h", 25, Protocol::Smtp, TlsMode::Try)),
        ("smtp://[::1]:26/", ("::1", 26, Protocol::Smtp, TlsMode::Try)),
        ("submission://h", ("h", 587, Protocol::Smtp, TlsMode::Starttls)),
        ("h", ("h", 25, Protocol::Smtp, TlsMode::Try)),
        ("mail.example.org:2525", ("mail.example.org", 2525, Protocol::Smtp, TlsMode::Try)),
        ("h:587", ("h", 587, Protocol::Smtp, TlsMode::Starttls)),
        ("127.0.0.1:465", ("127.0.0.1", 465, Protocol::Smtp, TlsMode::Implicit)),
        ("[::1]:587", ("::1", 587, Protocol::Smtp, TlsMode::Starttls)),
        ("[2001:db8::1]", ("2001:db8::1", 25, Protocol::Smtp, TlsMode::Try)),
        ("smtps://h", ("h", 465, Protocol::Smtp, TlsMode::Implicit)),
        ("lmtp://127.0.0.1:2424", ("127.0.0.1", 2424, Protocol::Lmtp, TlsMode::Try)),
    ] {
        match RouteTarget::parse(text).unwrap() {
            RouteTarget::Server { host, port, protocol, tls, login: None, mechanism: None } => {
                assert_eq!((host.as_str(), port, protocol, tls), expected, "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for bad in [
        "",
        "h:x",
        "-h",
        "maildr:/x",
        "http://h",
        "smtp://",
        "smtp://h/path",
        "maildir:",
        "lmtp:relative",
        "smtp://h?x",
    ] {
        assert_eq!(RouteTarget::parse(bad).unwrap_err().kind, Kind::Usage, "{bad}");
    }
    for bad in ["bob.test", "=smtp://h", "bob.test=h:"] {
        assert!(RouteRule::parse(bad).is_err(), "{bad}");
    }
}
