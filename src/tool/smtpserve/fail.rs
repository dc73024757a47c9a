//! The rules of `--fail`: at which point of the dialogue a server under test fails, for whom, how and how often.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cli::{units, words};
use crate::fault::Enhanced;
use crate::fnv::fnv1a;
use crate::smtp::envelope::Envelope;
use crate::smtp::reply::SmtpReply;
use crate::smtp::server::{Mishap, MishapEnd, SmtpPeer};
use crate::smtp::session::DialoguePhase as Phase;
use crate::tool::smtp_account::matches;

/// The longest rule, in bytes.
const MAX_RULE: usize = 2000;

/// The longest text of a reply, in bytes: a reply line has 512 (RFC 5321, section 4.5.3.1.5).
const MAX_TEXT: usize = 480;

/// The phases by their names.
const PHASES: [(&str, Phase); 11] = [
    ("connect", Phase::Connect),
    ("banner", Phase::Banner),
    ("helo", Phase::Helo),
    ("starttls", Phase::StartTls),
    ("auth", Phase::Auth),
    ("mail", Phase::Mail),
    ("rcpt", Phase::Rcpt),
    ("data", Phase::Data),
    ("body", Phase::Body),
    ("dot", Phase::Dot),
    ("quit", Phase::Quit),
];

const EFFECTS: [&str; 8] = ["code", "text", "delay", "drop", "close", "percent", "after", "times"];

/// One rule: `rcpt=bob@*,code=451,percent=30`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailRule {
    /// The rule as it was written.
    text: String,
    phase: Phase,
    /// What has to match, each with its pattern.
    conditions: Vec<(Phase, String)>,
    mishap: Mishap,
    /// The share of the matches that fail.
    percent: u64,
    /// So many matches pass first.
    after: u64,
    /// At most so many fail.
    times: u64,
}

/// The values of a rule while it is read.
#[derive(Default)]
struct RuleParts {
    phases: Vec<(Phase, Option<String>)>,
    code: Option<u64>,
    text: Option<String>,
    delay: Option<Duration>,
    drop: Option<()>,
    close: Option<()>,
    percent: Option<u64>,
    after: Option<u64>,
    times: Option<u64>,
}

impl FailRule {
    /// The phase at which this rule fails.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The name of the phase at which this rule fails.
    pub(super) fn phase_name(&self) -> &'static str {
        name_of(self.phase)
    }

    /// The rule as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// True if every condition holds. `subject` is that of the current phase.
    fn holds(&self, peer: &SmtpPeer, envelope: Option<&Envelope>, subject: &str) -> bool {
        self.conditions.iter().all(|(phase, pattern)| match phase {
            phase if *phase == self.phase => matches(pattern, subject),
            Phase::Connect => {
                peer.address.is_some_and(|address| matches(pattern, &address.ip().to_canonical().to_string()))
            }
            Phase::Helo => matches(pattern, &peer.helo),
            Phase::Auth => peer.user.as_ref().is_some_and(|user| matches(pattern, user)),
            Phase::Mail => envelope.is_some_and(|envelope| matches(pattern, envelope.sender.as_str())),
            _ => envelope.is_some_and(|envelope| {
                envelope.recipients.iter().any(|recipient| matches(pattern, recipient.address.as_str()))
            }),
        })
    }
}

impl FromStr for FailRule {
    type Err = String;

    /// Parses `PHASE[=PATTERN],KEY[=VALUE],…`. A comma in a value follows a backslash. A rule that can have no effect is refused.
    fn from_str(text: &str) -> Result<FailRule, String> {
        if text.len() > MAX_RULE || text.chars().any(char::is_control) {
            return Err(format!("a rule has at most {MAX_RULE} bytes and no control characters"));
        }
        let mut parts = RuleParts::default();
        for field in fields(text) {
            match field.split_once('=') {
                Some((key, value)) => parts.add(key, Some(value))?,
                None => parts.add(&field, None)?,
            }
        }
        parts.rule(text)
    }
}

impl RuleParts {
    fn add(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        if let Some((_, phase)) = PHASES.iter().find(|(name, _)| *name == key) {
            let pattern = value.map(|pattern| pattern.trim_matches(['<', '>']).to_owned());
            let matched = matches!(phase, Phase::Connect | Phase::Helo | Phase::Auth | Phase::Mail | Phase::Rcpt);
            if pattern.is_some() && !matched {
                return Err(format!("{key} has nothing to match: write {key} alone"));
            }
            self.phases.push((*phase, pattern));
            return Ok(());
        }
        let number = |least: u64, most: u64| {
            let number = value.and_then(|value| value.parse().ok()).filter(|number| (least..=most).contains(number));
            number.ok_or_else(|| format!("{key} is a number from {least} to {most}"))
        };
        match key {
            "code" => once(key, &mut self.code, number(400, 599)?),
            "percent" => once(key, &mut self.percent, number(1, 100)?),
            "after" => once(key, &mut self.after, number(1, u64::MAX)?),
            "times" => once(key, &mut self.times, number(1, u64::MAX)?),
            "delay" => once(key, &mut self.delay, units::duration(value.unwrap_or_default())?),
            "text" => match value.filter(|text| !text.is_empty() && text.len() <= MAX_TEXT) {
                Some(text) => once(key, &mut self.text, text.to_owned()),
                None => Err(format!("text has 1 to {MAX_TEXT} bytes")),
            },
            "close" if value.is_none() => once(key, &mut self.close, ()),
            "drop" => {
                if let Some(name) = value {
                    let phase = PHASES.iter().find(|(known, _)| *known == name);
                    let (_, phase) = phase.ok_or_else(|| format!("drop={name}: {}", unknown(name)))?;
                    self.phases.push((*phase, None));
                }
                once(key, &mut self.drop, ())
            }
            _ => Err(unknown(key)),
        }
    }

    fn rule(self, text: &str) -> Result<FailRule, String> {
        let phase = self.phases.iter().map(|(phase, _)| *phase).max();
        let phase = phase.ok_or_else(|| format!("no phase: {}", PHASES.map(|(name, _)| name).join(", ")))?;
        let name = name_of(phase);
        if let Some((other, _)) = self.phases.iter().find(|(other, pattern)| *other != phase && pattern.is_none()) {
            return Err(format!("a rule fails at one phase, {} or {name}", name_of(*other)));
        }
        if phase == Phase::Quit && self.phases.iter().any(|(other, _)| matches!(other, Phase::Mail | Phase::Rcpt)) {
            return Err("quit belongs to no message: mail= and rcpt= never match".to_owned());
        }
        let (drop, close) = (self.drop.is_some(), self.close.is_some());
        let silent = matches!(phase, Phase::Connect | Phase::Body);
        let reason = match (self.code, &self.text) {
            (None, Some(_)) => "text needs code",
            (Some(_), _) if silent && phase == Phase::Connect => "connect has no reply: banner has",
            (Some(_), _) if silent => "body has no reply: dot has",
            (Some(_), _) if drop => "a dropped connection gets no code",
            _ if drop && close => "drop or close, not both",
            _ if close && silent => "close comes after a reply, and there is none: drop",
            (None, _) if close && phase == Phase::Quit => "quit closes by itself",
            (None, _) if !drop && !close && self.delay.is_none_or(|delay| delay.is_zero()) => {
                "a rule needs an effect: code, delay, drop or close"
            }
            _ => "",
        };
        if !reason.is_empty() {
            return Err(reason.to_owned());
        }
        let reply = self.code.and_then(|code| u16::try_from(code).ok()).map(|code| reply(code, self.text.as_deref()));
        let conditions = self.phases.into_iter().filter_map(|(phase, pattern)| Some((phase, pattern?))).collect();
        let end = match (drop, close) {
            (true, _) => MishapEnd::Drops,
            (_, true) => MishapEnd::Closes,
            _ => MishapEnd::GoesOn,
        };
        Ok(FailRule {
            text: text.to_owned(),
            phase,
            conditions,
            mishap: Mishap { delay: self.delay.unwrap_or_default(), reply, end },
            percent: self.percent.unwrap_or(100),
            after: self.after.unwrap_or(0),
            times: self.times.unwrap_or(u64::MAX),
        })
    }
}

fn once<T>(key: &str, place: &mut Option<T>, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{key} is there twice")),
    }
}

fn name_of(phase: Phase) -> &'static str {
    PHASES.iter().find(|(_, known)| *known == phase).map_or("", |(name, _)| name)
}

fn unknown(word: &str) -> String {
    let known = PHASES.iter().map(|(name, _)| *name).chain(EFFECTS);
    format!("{word:?} is no phase and no effect{}", words::meant(word, known))
}

/// The parts between commas, without the backslashes before commas and backslashes.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = letters.next_if(|next| letter == '\\' && matches!(next, ',' | '\\'));
        match fields.last_mut() {
            Some(field) if letter != ',' => field.push(escaped.unwrap_or(letter)),
            _ => fields.push(String::new()),
        }
    }
    fields
}

/// The reply with this text, which may begin with an enhanced code.
fn reply(code: u16, text: Option<&str>) -> SmtpReply {
    let text = text.unwrap_or(if code < 500 { "not now, on purpose" } else { "no, on purpose" });
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match Enhanced::parse(first).filter(|enhanced| u16::from(enhanced.class) == code / 100) {
        Some(enhanced) => SmtpReply::new(code, Some(enhanced), rest),
        None => SmtpReply::status(code, 0, 0, text),
    }
}

/// All rules of a server, with the counts of their matches.
#[derive(Debug)]
pub struct FailRules {
    rules: Vec<CountedRule>,
    seed: u64,
}

#[derive(Debug)]
struct CountedRule {
    rule: FailRule,
    matches: AtomicU64,
    failures: AtomicU64,
}

impl FailRules {
    /// Takes the rules in their order: at each point the first that fails counts. The `seed` alone decides which matches fail
    /// by `percent`.
    pub fn new(rules: Vec<FailRule>, seed: u64) -> FailRules {
        let counted = |rule| CountedRule { rule, matches: AtomicU64::new(0), failures: AtomicU64::new(0) };
        FailRules { rules: rules.into_iter().map(counted).collect(), seed }
    }

    /// True if there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// True if a rule fails at this phase.
    pub(super) fn has(&self, phase: Phase) -> bool {
        self.rules.iter().any(|counted| counted.rule.phase == phase)
    }

    /// What fails now, and by which rule.
    pub fn mishap(
        &self,
        peer: &SmtpPeer,
        envelope: Option<&Envelope>,
        phase: Phase,
        subject: &str,
    ) -> Option<(&FailRule, Mishap)> {
        self.rules.iter().enumerate().find_map(|(index, counted)| {
            let rule = &counted.rule;
            if rule.phase != phase || !rule.holds(peer, envelope, subject) {
                return None;
            }
            let count = counted.matches.fetch_add(1, Ordering::Relaxed);
            let drawn = [count, index as u64, self.seed].into_iter().flat_map(u64::to_le_bytes);
            let spared = count < rule.after || (fnv1a(drawn) >> 32) % 100 >= rule.percent;
            if spared || counted.failures.fetch_add(1, Ordering::Relaxed) >= rule.times {
                return None;
            }
            Some((rule, rule.mishap.clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::envelope::Recipient;

    #[test]
    fn rules_that_cannot_work_say_why() {
        for (rule, why) in [
            ("", "no phase and no effect"),
            ("code=451", "no phase: connect, banner"),
            ("rctp=bob@*,code=451", "did you mean rcpt?"),
            ("rcpt,cod=451", "did you mean code?"),
            ("rcpt", "needs an effect"),
            ("rcpt,delay=0", "needs an effect"),
            ("rcpt,text=no", "text needs code"),
            ("rcpt,code=250", "from 400 to 599"),
            ("rcpt,code", "from 400 to 599"),
            ("rcpt,code=451,code=452", "twice"),
            ("rcpt,code=451,percent=0", "from 1 to 100"),
            ("rcpt,code=451,percent=101", "from 1 to 100"),
            ("rcpt,code=451,after=x", "a number"),
            ("rcpt,code=451,times=0", "from 1"),
            ("rcpt,delay=soon", "not a duration"),
            ("rcpt,delay", "not a duration"),
            ("rcpt,code=451,text=", "1 to 480"),
            ("rcpt,close=yes", "no phase and no effect"),
            ("rcpt,drop,close", "not both"),
            ("rcpt,drop,code=451", "no code"),
            ("rcpt,drop=dat", "did you mean data?"),
            ("rcpt,data,code=451", "at one phase, rcpt or data"),
            ("data=x,code=451", "write data alone"),
            ("connect,code=421", "banner has"),
            ("connect,close", "none: drop"),
            ("body,code=451", "dot has"),
            ("body,close", "none: drop"),
            ("quit,close", "by itself"),
            ("mail=a@*,quit,code=451", "never match"),
            ("rcpt,code=451\n", "control"),
        ] {
            let said = rule.parse::<FailRule>().expect_err(rule);
            assert!(said.contains(why), "{rule}: {said}");
        }
    }

    fn envelope() -> Envelope {
        let to = |text: &str| Recipient::new(crate::smtp::address::Address::parse(text, false).unwrap());
        Envelope::new(crate::smtp::address::ReversePath::Null, vec![to("bob@b.test"), to("Eve@b.test")])
    }

    /// True for each of `count` matches that fails.
    fn failures(rule: &str, seed: u64, count: usize) -> Vec<bool> {
        let rules = FailRules::new(vec![rule.parse().unwrap()], seed);
        let phase = rules.rules[0].rule.phase;
        let fails = |_| rules.mishap(&SmtpPeer::default(), Some(&envelope()), phase, "bob@b.test").is_some();
        (0..count).map(fails).collect()
    }

    #[test]
    fn conditions_of_all_phases_must_hold() {
        for (rule, fails) in [
            ("rcpt=bob@*,code=451", true),
            ("rcpt=BOB@b.test,code=451", true),
            ("rcpt=eve@*,code=451", false),
            ("rcpt=eve@*,dot,code=451", true),
            ("rcpt=joe@*,dot,code=451", false),
            ("mail=<>,rcpt,code=451", true),
            ("mail=,rcpt=*,drop=data", true),
            ("mail=*@*,rcpt,code=451", false),
            ("helo=x*,rcpt,code=451", false),
            ("auth=*,rcpt,code=451", false),
        ] {
            assert_eq!(failures(rule, 1, 1), [fails], "{rule}");
        }
    }

    #[test]
    fn a_seed_repeats_what_it_drew() {
        let drawn = |seed| failures("rcpt,code=451,percent=30", seed, 1000);
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        for seed in 0..20 {
            let failed = drawn(seed).into_iter().filter(|failed| *failed).count();
            assert!((250..350).contains(&failed), "seed {seed}: {failed} of 1000");
        }
        assert_eq!(failures("rcpt,code=451,after=2,times=3", 1, 7), [false, false, true, true, true, false, false]);
    }

    #[test]
    fn replies_may_have_a_code_of_their_own() {
        let said = |rule: &str| rule.parse::<FailRule>().unwrap().mishap.reply.unwrap().text();
        assert_eq!(said("rcpt,code=451"), "451 4.0.0 not now, on purpose");
        assert_eq!(said(r"rcpt,text=4.7.1 grey\, later\\,code=451"), r"451 4.7.1 grey, later\");
        assert_eq!(said("dot,code=550,text=4.7.1 x"), "550 5.0.0 4.7.1 x");
    }
}
