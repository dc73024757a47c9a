//! Service extensions: the offer in an EHLO reply (RFC 5321, section 4.1.1.1), in both directions.

use crate::smtp::reply::SmtpReply;

/// The maximum number of SASL mechanisms kept from one offer.
pub const MAX_MECHANISMS: usize = 32;

/// The extensions that a server offers. The default is a server that supports HELO only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The server's name in its reply.
    pub name: String,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// The server offers VRFY.
    pub vrfy: bool,
    /// SIZE (RFC 1870): `Some(0)` means offered without a limit.
    pub size: Option<u64>,
    /// The SASL mechanisms of AUTH (RFC 4954), in upper case.
    pub auth: Vec<String>,
    /// Every other keyword with its parameters, in the server's spelling.
    pub other: Vec<String>,
}

impl Capabilities {
    /// Parses the reply to EHLO or LHLO. Keywords may be in any case; a malformed line offers nothing.
    pub fn from_reply(reply: &SmtpReply) -> Capabilities {
        let mut lines = reply.lines.iter();
        let greeting = lines.next().map(String::as_str).unwrap_or_default();
        let mut offer =
            Capabilities { name: greeting.split(' ').next().unwrap_or_default().to_owned(), ..Capabilities::default() };
        for line in lines {
            let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => offer.pipelining = true,
                "CHUNKING" => offer.chunking = true,
                "8BITMIME" => offer.eight_bit = true,
                "SMTPUTF8" => offer.smtputf8 = true,
                "DSN" => offer.dsn = true,
                "ENHANCEDSTATUSCODES" => offer.enhanced = true,
                "STARTTLS" => offer.starttls = true,
                "VRFY" => offer.vrfy = true,
                "SIZE" => offer.size = Some(words.next().and_then(|limit| limit.parse().ok()).unwrap_or(0)),
                "AUTH" => offer.mechanisms(words),
                // The form from before RFC 2554, which is still sent in addition to the new one.
                old if old.starts_with("AUTH=") => {
                    offer.mechanisms(keyword.get(5..).into_iter().chain(words));
                }
                _ => offer.other.push(line.clone()),
            }
        }
        offer
    }

    fn mechanisms<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words.filter(|word| !word.is_empty()) {
            let word = word.to_ascii_uppercase();
            if self.auth.len() < MAX_MECHANISMS && !self.auth.contains(&word) {
                self.auth.push(word);
            }
        }
    }

    /// The reply to EHLO or LHLO that makes this offer.
    pub fn reply(&self) -> SmtpReply {
        let mut lines = vec![self.name.clone()];
        let flags = [
            (self.pipelining, "PIPELINING"),
            (self.chunking, "CHUNKING"),
            (self.eight_bit, "8BITMIME"),
            (self.smtputf8, "SMTPUTF8"),
            (self.dsn, "DSN"),
            (self.enhanced, "ENHANCEDSTATUSCODES"),
            (self.starttls, "STARTTLS"),
            (self.vrfy, "VRFY"),
        ];
        lines.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, keyword)| keyword.to_owned()));
        match self.size {
            Some(0) => lines.push("SIZE".to_owned()),
            Some(limit) => lines.push(format!("SIZE {limit}")),
            None => {}
        }
        if !self.auth.is_empty() {
            lines.push(format!("AUTH {}", self.auth.join(" ")));
        }
        lines.extend(self.other.iter().cloned());
        SmtpReply { code: 250, enhanced: None, lines }
    }

    /// The maximum number of recipients per transaction, if the server states it: RCPTMAX of LIMITS (RFC 9422, section 4.2).
    pub fn most_recipients(&self) -> Option<usize> {
        let words = |line: &str| line.to_ascii_uppercase().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let limits =
            self.other.iter().map(|line| words(line)).find(|words| words.first().is_some_and(|it| it == "LIMITS"));
        let most = limits?.iter().find_map(|word| word.strip_prefix("RCPTMAX=")?.parse().ok());
        most.filter(|most| *most > 0)
    }

    /// True if this SASL mechanism (in upper case) is offered.
    pub fn offers(&self, mechanism: &str) -> bool {
        self.auth.iter().any(|offered| offered == mechanism)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_rfc_9422() {
        for (line, most) in [
            ("LIMITS RCPTMAX=20 MAILMAX=5", Some(20)),
            ("limits mailmax=5 rcptmax=1", Some(1)),
            ("LIMITS RCPTMAX=0", None),
            ("LIMITS RCPTMAX=many", None),
            ("LIMITS RCPTMAX=99999999999999999999999", None),
            ("LIMITS", None),
            ("XLIMITS RCPTMAX=3", None),
        ] {
            let lines = vec!["x.test".to_owned(), line.to_owned()];
            let offer = Capabilities::from_reply(&SmtpReply { code: 250, enhanced: None, lines });
            assert_eq!(offer.most_recipients(), most, "{line}");
        }
    }

    fn offer(lines: &[&str]) -> Capabilities {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Capabilities::from_reply(&SmtpReply { code: 250, enhanced: None, lines })
    }

    #[test]
    fn compose_and_parse_round_trip() {
        let all = Capabilities {
            name: "bob.test".into(),
            pipelining: true,
            chunking: true,
            eight_bit: true,
            smtputf8: true,
            dsn: true,
            enhanced: true,
            starttls: true,
            vrfy: true,
            size: Some(1000),
            auth: vec!["PLAIN".into(), "LOGIN".into()],
            other: vec!["XCLIENT NAME ADDR".into()],
        };
        for capabilities in [all, Capabilities { size: Some(0), ..Capabilities::default() }, Capabilities::default()] {
            assert_eq!(Capabilities::from_reply(&capabilities.reply()), capabilities);
        }
    }

    #[test]
    fn any_case_and_old_auth() {
        let offer =
            offer(&["mx.test hello you", "pipelining", "Size 10", "AUTH=LOGIN plain", "AUTH PLAIN xoauth2", ""]);
        assert_eq!(offer.name, "mx.test");
        assert!(offer.pipelining && !offer.chunking);
        assert_eq!(offer.size, Some(10));
        assert_eq!(offer.auth, ["LOGIN", "PLAIN", "XOAUTH2"]);
        assert!(offer.offers("PLAIN") && !offer.offers("CRAM-MD5"));
    }

    #[test]
    fn malformed_offers_do_no_harm() {
        let many: Vec<String> = (0..100).map(|index| format!("M{index}")).collect();
        let line = format!("AUTH {}", many.join(" "));
        let offer = offer(&["x", "SIZE lots", &line, "PIPELININGX"]);
        assert_eq!((offer.size, offer.auth.len(), offer.pipelining), (Some(0), MAX_MECHANISMS, false));
        assert_eq!(offer.other, ["PIPELININGX"]);
    }
}
