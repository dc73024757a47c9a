//! The chain of trust as a tree: zones from the anchor down, each with its findings; as text and as JSON.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::signature::time_text;
use super::{Doubt, Failure, Reason, Security};
use crate::dns::edns;
use crate::dns::name::Name;
use crate::dns::record::rdata::Rrsig;
use crate::dns::record::{atoms, special};
use crate::serial::Serial;

/// Every zone that was checked, with its findings.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    zones: Vec<ZoneNode>,
    leaves: Vec<(Option<usize>, Leaf)>,
}

/// One zone.
#[derive(Debug, Clone)]
pub(super) struct ZoneNode {
    pub(super) name: Name,
    /// The index of the zone above in the tree.
    pub(super) parent: Option<usize>,
    /// The reason why its keys cannot be trusted.
    pub(super) doubt: Option<(Doubt, Reason)>,
    pub(super) keys: Vec<KeyInfo>,
    /// The valid signature over the keys.
    pub(super) signature: Option<SignatureInfo>,
}

impl ZoneNode {
    /// A zone without trusted keys.
    pub(super) fn bad(name: &Name, parent: Option<usize>, doubt: Doubt, reason: Reason) -> ZoneNode {
        ZoneNode { name: name.clone(), parent, doubt: Some((doubt, reason)), keys: Vec::new(), signature: None }
    }

    fn security(&self) -> Security {
        self.doubt.as_ref().map_or(Security::Secure, |(doubt, _)| (*doubt).into())
    }

    fn reason(&self) -> Option<&Reason> {
        self.doubt.as_ref().map(|(_, reason)| reason)
    }
}

/// One key of a zone.
#[derive(Debug, Clone)]
pub(super) struct KeyInfo {
    pub(super) key_tag: u16,
    pub(super) algorithm: u8,
    /// The key signs only keys.
    pub(super) entry_point: bool,
    /// A DS record or an anchor identifies the key.
    pub(super) trusted: bool,
}

/// The valid signature.
#[derive(Debug, Clone)]
pub(super) struct SignatureInfo {
    key_tag: u16,
    algorithm: u8,
    inception: Serial,
    expiration: Serial,
}

impl SignatureInfo {
    pub(super) fn of(signature: &Rrsig<'_>) -> SignatureInfo {
        SignatureInfo {
            key_tag: signature.key_tag,
            algorithm: signature.algorithm,
            inception: signature.inception,
            expiration: signature.expiration,
        }
    }

    fn json(&self) -> Value {
        json!({
            "key_tag": self.key_tag,
            "algorithm": algorithm(self.algorithm),
            "inception": time_text(self.inception),
            "expiration": time_text(self.expiration),
        })
    }

    fn text(&self) -> String {
        format!("signed by {} ({}) until {}", self.key_tag, algorithm(self.algorithm), time_text(self.expiration))
    }
}

/// One set of the answer, or one denial.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) name: Name,
    /// A type, `NXDOMAIN`, or `no TYPE`.
    pub(super) what: String,
    pub(super) security: Security,
    pub(super) reason: Option<Reason>,
    pub(super) signature: Option<SignatureInfo>,
}

impl Tree {
    pub(super) fn zone(&mut self, node: ZoneNode) -> usize {
        self.zones.push(node);
        self.zones.len() - 1
    }

    pub(super) fn leaf(&mut self, zone: Option<usize>, leaf: Leaf) {
        self.leaves.push((zone, leaf));
    }

    pub(super) fn name(&self, zone: usize) -> Name {
        self.zones.get(zone).map_or_else(Name::root, |node| node.name.clone())
    }

    /// Checks whether the zone's keys can be trusted.
    pub(super) fn state(&self, zone: usize) -> Result<(), Failure> {
        let node = self.zones.get(zone);
        match node.and_then(|node| node.doubt.clone()) {
            Some((doubt, reason)) => Err(Failure::new(doubt, reason, Some(zone))),
            None => Ok(()),
        }
    }

    /// The topmost zones, and the findings that belong to no zone.
    pub fn json(&self) -> Value {
        let mut map = Map::new();
        self.members(None, &mut map);
        Value::Object(map)
    }

    /// One line per zone and per set, indented by two blanks per level.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.lines(None, 0, &mut out);
        out
    }

    /// Appends the members of a zone. Parents come earlier in the list than their children, so the recursion ends.
    fn members(&self, zone: Option<usize>, map: &mut Map<String, Value>) {
        let sets: Vec<Value> = self.leaves_of(zone).map(Leaf::json).collect();
        if !sets.is_empty() {
            map.insert("sets".to_owned(), sets.into());
        }
        let mut zones = Vec::new();
        for (at, node) in self.zones_below(zone) {
            let mut inner = node.json();
            self.members(Some(at), &mut inner);
            zones.push(Value::Object(inner));
        }
        if !zones.is_empty() {
            map.insert("zones".to_owned(), zones.into());
        }
    }

    fn lines(&self, zone: Option<usize>, depth: usize, out: &mut String) {
        let indent = depth * 2;
        for leaf in self.leaves_of(zone) {
            let _ = write!(out, "{:indent$}{} {}: {}", "", leaf.name, leaf.what, leaf.security);
            finish_line(leaf.signature.as_ref(), leaf.reason.as_ref(), out);
        }
        for (at, node) in self.zones_below(zone) {
            let _ = write!(out, "{:indent$}{}: {}", "", node.name, node.security());
            if !node.keys.is_empty() {
                out.push_str(", keys");
                for key in &node.keys {
                    let _ = write!(out, " {}{}", key.key_tag, if key.trusted { "*" } else { "" });
                }
            }
            finish_line(node.signature.as_ref(), node.reason(), out);
            self.lines(Some(at), depth + 1, out);
        }
    }

    fn leaves_of(&self, zone: Option<usize>) -> impl Iterator<Item = &Leaf> {
        self.leaves.iter().filter(move |(owner, _)| *owner == zone).map(|(_, leaf)| leaf)
    }

    fn zones_below(&self, zone: Option<usize>) -> impl Iterator<Item = (usize, &ZoneNode)> {
        self.zones.iter().enumerate().filter(move |(_, node)| node.parent == zone)
    }
}

impl ZoneNode {
    fn json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("zone".to_owned(), self.name.to_string().into());
        judged(self.security(), self.reason(), &mut map);
        if !self.keys.is_empty() {
            let keys = self.keys.iter().map(|key| {
                json!({
                    "key_tag": key.key_tag,
                    "algorithm": algorithm(key.algorithm),
                    "entry_point": key.entry_point,
                    "trusted": key.trusted,
                })
            });
            map.insert("keys".to_owned(), keys.collect());
        }
        if let Some(signature) = &self.signature {
            map.insert("signature".to_owned(), signature.json());
        }
        map
    }
}

impl Leaf {
    fn json(&self) -> Value {
        let mut map = Map::new();
        map.insert("name".to_owned(), self.name.to_string().into());
        map.insert("what".to_owned(), self.what.clone().into());
        judged(self.security, self.reason.as_ref(), &mut map);
        if let Some(signature) = &self.signature {
            map.insert("signature".to_owned(), signature.json());
        }
        Value::Object(map)
    }
}

/// The members `security`, `reason` and `ede`.
pub(crate) fn judged(security: Security, reason: Option<&Reason>, map: &mut Map<String, Value>) {
    map.insert("security".to_owned(), security.name().into());
    let Some(reason) = reason else { return };
    map.insert("reason".to_owned(), reason.text.clone().into());
    if let Some(code) = reason.ede {
        map.insert("ede".to_owned(), json!({ "code": code, "meaning": edns::extended_error(code) }));
    }
}

fn finish_line(signature: Option<&SignatureInfo>, reason: Option<&Reason>, out: &mut String) {
    if let Some(signature) = signature {
        let _ = write!(out, ", {}", signature.text());
    }
    if let Some(reason) = reason {
        let _ = write!(out, ", {}", reason.text);
        if let Some(words) = reason.ede.and_then(edns::extended_error) {
            let _ = write!(out, " ({words})");
        }
    }
    out.push('\n');
}

fn algorithm(number: u8) -> String {
    let mut name = String::new();
    atoms::push_mnemonic(number.into(), special::ALGORITHMS, &mut name);
    name
}
