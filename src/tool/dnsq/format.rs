//! `--format TEMPLATE`: one line a record, with the parts that the user names.

use super::servers::Server;
use crate::dns::client::Answer;
use crate::dns::record::{Record, json, table};
use crate::fault::{Fault, Kind};

/// A template that was read.
#[derive(Debug, Clone)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Field(String),
}

/// What every record has; the members of its data come beside.
const COMMON: [&str; 9] = ["name", "ttl", "class", "rtype", "rdata", "qname", "qtype", "status", "server"];

impl Template {
    /// Reads a template: `{field}`, `{{` and `}}` for braces, `\t` and `\n`.
    pub(super) fn parse(text: &str) -> Result<Template, Fault> {
        let bad = |why: String| Fault::new(Kind::Usage, format!("--format {text}: {why}"));
        let mut parts = vec![Part::Text(String::new())];
        let mut chars = text.chars().peekable();
        let mut literal = String::new();
        while let Some(c) = chars.next() {
            match (c, chars.peek()) {
                ('{', Some('{')) | ('}', Some('}')) => {
                    chars.next();
                    literal.push(c);
                }
                ('\\', Some('t')) => {
                    chars.next();
                    literal.push('\t');
                }
                ('\\', Some('n')) => {
                    chars.next();
                    literal.push('\n');
                }
                ('\\', Some('\\')) => {
                    chars.next();
                    literal.push('\\');
                }
                ('{', _) => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) => name.push(c),
                            None => return Err(bad("{ without }".to_owned())),
                        }
                    }
                    let known = COMMON.contains(&name.as_str())
                        || table::TABLE.iter().any(|row| row.fields.iter().any(|(field, _)| *field == name));
                    if !known {
                        return Err(bad(format!("no field {{{name}}}")));
                    }
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                    parts.push(Part::Field(name));
                }
                ('}', _) => return Err(bad("} without {".to_owned())),
                _ => literal.push(c),
            }
        }
        parts.push(Part::Text(literal));
        Ok(Template(parts))
    }

    /// The lines of an answer, one a record.
    pub(super) fn lines(&self, answer: &Answer, server: Option<&Server>) -> Vec<String> {
        let server = server.map(|server| server.address().to_string()).unwrap_or_default();
        answer.message.answer.iter().map(|record| self.line(record, answer, &server)).collect()
    }

    fn line(&self, record: &Record, answer: &Answer, server: &str) -> String {
        let members = json::members(record.rtype, &record.rdata).unwrap_or_default();
        let question = answer.message.question.first();
        let value = |name: &str| match name {
            "name" => record.name.to_string(),
            "ttl" => record.ttl.to_string(),
            "class" => record.class.to_string(),
            "rtype" => record.rtype.to_string(),
            "rdata" => record.rdata_text(),
            "qname" => question.map(|question| question.name.to_string()).unwrap_or_default(),
            "qtype" => question.map(|question| question.rtype.to_string()).unwrap_or_default(),
            "status" => answer.message.rcode().to_string(),
            "server" => server.to_owned(),
            member => match members.get(member) {
                Some(serde_json::Value::String(text)) => text.clone(),
                Some(serde_json::Value::Array(list)) => {
                    let items: Vec<String> =
                        list.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect();
                    items.join(" ")
                }
                Some(other) => other.to_string(),
                None => String::new(),
            },
        };
        let shown = self.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(name) => value(name),
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let parts = |text: &str| Template::parse(text).map(|template| template.0.len());
        assert_eq!(parts("{name} {{x}} {preference}\\t").unwrap(), 6);
        for bad in ["{nosuch}", "{name", "}", "{}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
