//! Verdicts over hierarchies by chance (`hierarchy`), honest and with one lie (`lies`), beside what is true by the plan. The
//! same cases meet unbound and delv in tests/interop.

use std::cell::RefCell;
use std::collections::BTreeSet;

use applayer::dns::message::{Message, Question, Rcode};
use applayer::dns::record::{Class, Record, Rtype};
use applayer::dns::validate::{Security, ValidationVerdict, validate};

use crate::harness::rounds;
use crate::hierarchy::{Hierarchy, TTL, Truth};
use crate::lies::{Lie, lies, some_of};
use crate::random::{Random, first_seed};

/// Midsummer 2026.
const AT: u64 = 1_782_000_000;
/// Questions of one hierarchy, and lies about each.
const QUESTIONS_AND_LIES: (usize, usize) = (40, 5);

/// The validator's verdict if the answer to `lie.0` is a lie, and the questions that it asked.
pub(crate) fn verdict(
    hierarchy: &Hierarchy,
    question: &Question,
    lie: Option<(&Question, &Lie)>,
    at: u64,
) -> (ValidationVerdict, Vec<Question>) {
    let asked = RefCell::new(Vec::new());
    let mut ask = |question: &Question| {
        asked.borrow_mut().push(question.clone());
        Ok(match lie {
            Some((about, lie)) if about == question => lie.message.clone(),
            _ => hierarchy.serve(question),
        })
    };
    let verdict = validate(question, &hierarchy.anchors(), at, &mut ask).unwrap();
    (verdict, asked.into_inner())
}

/// Is what would be printed true, all of it and nothing else?
fn is_true(verdict: &ValidationVerdict, truth: &Truth) -> bool {
    let shown = verdict.message.answer.iter().filter(|record| record.rtype != Rtype::RRSIG);
    let shown: BTreeSet<_> = shown.map(|record| (record.name.clone(), record.rtype, record.rdata.clone())).collect();
    let rest = shown.difference(&truth.sets);
    let fits = |record: &Record| record.ttl <= TTL && record.class == Class::IN;
    shown.is_superset(&truth.sets)
        && rest.into_iter().all(|made| truth.made.contains(made))
        && verdict.message.rcode() == truth.rcode
        && verdict.name == truth.name
        && verdict.message.answer.iter().all(fits)
}

/// What is wrong with a verdict on an answer, honest or with a lie in it.
pub(crate) fn fault(verdict: &ValidationVerdict, truth: &Truth, lie: Option<&Lie>) -> Option<&'static str> {
    let on_the_way = |security| truth.steps.contains(&security);
    let Some(lie) = lie else {
        let excused = truth.excessive && (verdict.security, truth.security()) == (Security::Insecure, Security::Bogus);
        return match verdict.security {
            security if security != truth.security() && !excused => Some("another verdict than is true"),
            Security::Bogus => None,
            _ => (!is_true(verdict, truth)).then_some("not true"),
        };
    };
    match verdict.security {
        Security::Secure if truth.security() != Security::Secure => Some("secure, and is not"),
        Security::Secure if !is_true(verdict, truth) => Some("secure, and not true"),
        Security::Insecure if !on_the_way(Security::Insecure) && !truth.excessive => Some("insecure, and is signed"),
        Security::Indeterminate => {
            let unanswered = !matches!(lie.message.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN)
                && verdict.reason.as_ref().is_some_and(|reason| reason.is_unanswered());
            (!unanswered && !on_the_way(Security::Indeterminate)).then_some("indeterminate, though all was answered")
        }
        _ => None,
    }
}

/// Verdicts of one hierarchy: for each of `count` questions by chance the honest answer and so many lies, each about an answer
/// on the way. `see` gets the question, and the lie with the question that it is about.
pub(crate) fn play(
    random: &mut Random,
    hierarchy: &Hierarchy,
    (count, lies_each): (usize, usize),
    at: u64,
    mut see: impl FnMut(&Question, Option<(&Question, &Lie)>),
) {
    let others: Vec<Message> = hierarchy.questions.iter().map(|question| hierarchy.serve(question)).collect();
    for _ in 0..count {
        let any = |random: &mut Random, length: usize| random.below(length as u64) as usize;
        let question = &hierarchy.questions[any(random, hierarchy.questions.len())];
        see(question, None);
        let (_, asked) = verdict(hierarchy, question, None, at);
        let about = match random.below(2) {
            0 => question,
            _ => &asked[any(random, asked.len())],
        };
        let all = lies(about, &hierarchy.serve(about), &others);
        some_of(random, all, lies_each).iter().for_each(|lie| see(question, Some((about, lie))));
    }
}

/// The honest answer gives the verdict that follows from the plan. No lie makes anything secure that is not true, or makes
/// what is signed insecure.
#[test]
fn verdicts_over_hierarchies_by_chance() {
    let (mut honest, mut lied, mut failures) = (0, 0, Vec::new());
    for seed in rounds(8, 50).map(|round| first_seed() + round as u64) {
        let mut random = Random(seed);
        let hierarchy = Hierarchy::new(&mut random, AT, &[0, 0, 1, 7, 120]);
        play(&mut random, &hierarchy, QUESTIONS_AND_LIES, AT, |question, lie| {
            let (verdict, truth) = (verdict(&hierarchy, question, lie, AT).0, hierarchy.truth(question));
            *if lie.is_some() { &mut lied } else { &mut honest } += 1;
            if let Some(fault) = fault(&verdict, &truth, lie.map(|(_, lie)| lie)) {
                let lie = lie.map(|(about, lie)| format!("{} {}: {} {}", about.name, about.rtype, lie.kind, lie.place));
                failures.push(format!(
                    "seed {seed}: {} {}: {fault} ({} of {truth:?}); lie {lie:?}\n{:?}\n{}{}",
                    question.name,
                    question.rtype,
                    verdict.security,
                    verdict.reason,
                    hierarchy.text(),
                    verdict.tree.text(),
                ));
            }
        });
    }
    eprintln!("{honest} honest answers, {lied} with a lie");
    let firsts = failures.iter().filter_map(|story| story.lines().next()).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of them wrong:\n{firsts}\n{}", failures.len(), failures[0]);
}
