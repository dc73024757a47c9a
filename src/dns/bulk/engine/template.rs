//! Queries from a template: header and EDNS record are built once per resolver; the question is inserted between them.

use super::ids::Random;
use crate::dns::bulk::api::BulkOptions;
use crate::dns::edns::{Edns, EdnsOption};
use crate::dns::message::Rcode;
use crate::dns::query::PADDING_BLOCK;

/// The size of an EDNS record before its options: root, type, size, extended rcode, version, flags, length (RFC 6891, section 6.1.2).
const OPT_FIXED: usize = 11;
/// The size of an option's code and length.
const OPTION_FIXED: usize = 4;
/// The size of a client cookie (RFC 7873, section 4).
const CLIENT_COOKIE: usize = 8;

/// The common parts of all queries to one resolver.
#[derive(Debug)]
pub(super) struct QueryTemplate {
    flags: [u8; 2],
    edns: Option<Edns>,
    /// The EDNS record in wire form.
    opt: Vec<u8>,
    /// The position of the cookie in it.
    cookie: Option<(usize, usize)>,
    padding: usize,
}

impl QueryTemplate {
    /// Creates the template for one resolver, with its own client cookie if cookies are wanted.
    pub(super) fn new(options: &BulkOptions, encrypted: bool, random: &mut Random) -> QueryTemplate {
        let mut edns = options.edns.clone();
        if options.cookies
            && let Some(edns) = &mut edns
        {
            let cookie = (0..CLIENT_COOKIE).map(|_| random.bits() as u8).collect();
            edns.options.push(EdnsOption::new(EdnsOption::COOKIE, cookie));
        }
        let padding = usize::from(options.padding.unwrap_or(if encrypted { PADDING_BLOCK } else { 0 }));
        let mut template =
            QueryTemplate { flags: options.flags.0.to_be_bytes(), edns, opt: Vec::new(), cookie: None, padding };
        template.make_opt();
        template
    }

    fn make_opt(&mut self) {
        self.opt.clear();
        self.cookie = None;
        let Some(edns) = &self.edns else { return };
        edns.compose(&mut self.opt);
        let mut at = OPT_FIXED;
        for option in &edns.options {
            let (begin, end) = (at + OPTION_FIXED, at + OPTION_FIXED + option.data.len());
            if option.code == EdnsOption::COOKIE {
                self.cookie = Some((begin, end));
            }
            at = end;
        }
    }

    /// True if a response shows that its server does not support EDNS and the question can be asked without it.
    pub(super) fn is_edns_rejected(&self, rcode: u16, response_has_edns: bool) -> bool {
        self.edns.as_ref().is_some_and(|edns| Rcode(rcode).rejects(edns, response_has_edns))
    }

    /// Writes a query; `plain`: without EDNS, even if the template has it.
    pub(super) fn compose(&self, id: u16, question: &[u8], plain: bool, packet: &mut Vec<u8>) {
        let edns = self.edns.is_some() && !plain;
        let ([high, low], [flags, more]) = (id.to_be_bytes(), self.flags);
        packet.clear();
        packet.extend_from_slice(&[high, low, flags, more, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        packet.extend_from_slice(question);
        if !edns {
            return;
        }
        let opt = packet.len();
        packet.extend_from_slice(&self.opt);
        if self.padding == 0 {
            return;
        }
        let length = packet.len() + OPTION_FIXED;
        let missing = length.next_multiple_of(self.padding) - length;
        let [code_high, code_low] = EdnsOption::PADDING.to_be_bytes();
        let [high, low] = (missing as u16).to_be_bytes();
        packet.extend_from_slice(&[code_high, code_low, high, low]);
        packet.resize(packet.len() + missing, 0);
        let rdata = (packet.len() - opt - OPT_FIXED) as u16;
        if let Some(place) = packet.get_mut(opt + OPT_FIXED - 2..opt + OPT_FIXED) {
            place.copy_from_slice(&rdata.to_be_bytes());
        }
    }

    /// Checks the cookie of a response: false if it does not answer the client cookie (RFC 7873, section 5.3). Later
    /// queries carry the server's part.
    pub(super) fn learn(&mut self, cookie: &[u8]) -> bool {
        let Some((begin, end)) = self.cookie else { return true };
        let Some(own) = self.opt.get_mut(begin..end) else { return true };
        if own.get(..CLIENT_COOKIE) != cookie.get(..CLIENT_COOKIE) {
            return false;
        }
        if own.len() == cookie.len() {
            own.copy_from_slice(cookie);
        } else if let Some(option) = self.edns.as_mut().and_then(|edns| edns.option_mut(EdnsOption::COOKIE)) {
            option.data = cookie.to_vec();
            self.make_opt();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::message::Flags;
    use crate::dns::name::Name;
    use crate::dns::query::Query;
    use crate::dns::record::Rtype;

    fn wire(template: &QueryTemplate) -> Vec<u8> {
        composed(template, false)
    }

    fn composed(template: &QueryTemplate, plain: bool) -> Vec<u8> {
        let name = Name::parse("a.example.test").unwrap();
        let mut packet = vec![9; 3];
        template.compose(0x1234, &[name.as_wire(), &[0, 28, 0, 1]].concat(), plain, &mut packet);
        packet
    }

    /// Queries from the template are those of the full composer.
    #[test]
    fn queries_are_those_of_the_full_composer() {
        let nsid = EdnsOption::new(EdnsOption::NSID, Vec::new());
        let edns = Edns { udp_size: 4096, dnssec_ok: true, options: vec![nsid], ..Edns::default() };
        for (edns, flags) in
            [(None, Flags(0)), (Some(Edns::default()), Flags(Flags::RD)), (Some(edns), Flags(Flags::CD | Flags::AD))]
        {
            let options = BulkOptions { edns: edns.clone(), flags, ..BulkOptions::default() };
            let template = QueryTemplate::new(&options, false, &mut Random::seeded(1));
            let mut query = Query::new(Name::parse("a.example.test").unwrap(), Rtype::AAAA);
            (query.edns, query.flags) = (edns.clone(), flags);
            assert_eq!(wire(&template), query.compose(0x1234));
            query.edns = None;
            assert_eq!(composed(&template, true), query.compose(0x1234));
        }
    }

    #[test]
    fn padding_fills_up_to_a_block() {
        for block in [1, 64, 128, 468] {
            let options = BulkOptions { padding: Some(block).filter(|block| *block != 128), ..BulkOptions::default() };
            let template = QueryTemplate::new(&options, block == 128, &mut Random::seeded(1));
            let packet = wire(&template);
            assert_eq!(packet.len() % usize::from(block), 0);
            assert!(packet.len() < 12 + 20 + 11 + 4 + usize::from(block));
            let message = crate::dns::message::Message::parse(&packet).unwrap();
            assert_eq!(message.edns.unwrap().options[0].code, EdnsOption::PADDING);
            assert_eq!(message.trailing_bytes, 0);
        }
    }

    #[test]
    fn cookies_are_learnt_from_answers_to_ours() {
        let options = BulkOptions { cookies: true, ..BulkOptions::default() };
        let mut template = QueryTemplate::new(&options, false, &mut Random::seeded(1));
        let sent = |template: &QueryTemplate| {
            let message = crate::dns::message::Message::parse(&wire(template)).unwrap();
            message.edns.unwrap().options[0].data.clone()
        };
        let client = sent(&template);
        assert_eq!(client.len(), CLIENT_COOKIE);
        assert!(!template.learn(b"notours!server--") && !template.learn(b""));
        for server in [&b"first---"[..], b"second--", b"another one"] {
            let whole = [&client, server].concat();
            assert!(template.learn(&whole));
            assert_eq!(sent(&template), whole);
        }
        assert_ne!(
            client,
            sent(&QueryTemplate::new(&options, false, &mut Random::seeded(2))),
            "each resolver has its own"
        );
        assert!(QueryTemplate::new(&BulkOptions::default(), false, &mut Random::seeded(1)).learn(b"whatever"));
    }
}
