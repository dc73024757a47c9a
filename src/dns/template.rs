//! `--format TEMPLATE`: one line per record, in the format that the user gives.

use super::exchange::ExchangeAnswer;
use super::record::{Record, json, table};
use serde_json::{Map, Value};

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<FormatPart>);

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatPart {
    /// Literal text.
    Text(String),
    /// A field in braces.
    Field(TemplateField),
}

/// A field of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateField {
    /// The owner of the record.
    Name,
    /// Its time to live.
    Ttl,
    /// Its class.
    Class,
    /// Its type.
    Rtype,
    /// Its data.
    Rdata,
    /// The name in the question.
    Qname,
    /// The type in the question.
    Qtype,
    /// The response code: NOERROR, NXDOMAIN …
    Status,
    /// The server that answered.
    Server,
    /// A member of the record's data, by its JSON name.
    Member(&'static str),
}

/// The fields that every record has.
const FIELDS: [(&str, TemplateField); 10] = [
    ("name", TemplateField::Name),
    ("ttl", TemplateField::Ttl),
    ("class", TemplateField::Class),
    ("type", TemplateField::Rtype),
    ("rtype", TemplateField::Rtype),
    ("rdata", TemplateField::Rdata),
    ("qname", TemplateField::Qname),
    ("qtype", TemplateField::Qtype),
    ("status", TemplateField::Status),
    ("server", TemplateField::Server),
];

impl TemplateField {
    fn parse(name: &str) -> Option<TemplateField> {
        let members = || table::TABLE.iter().flat_map(|row| row.fields).map(|(member, _)| *member);
        let common = FIELDS.iter().find(|(field, _)| *field == name).map(|(_, field)| *field);
        common.or_else(|| members().find(|member| *member == name).map(TemplateField::Member))
    }
}

impl Template {
    /// Parses a template: `{field}`, `{{` and `}}` for braces, `\t`, `\n` and `\\`.
    ///
    /// # Errors
    /// The template is malformed; the text names the mistake.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, chars.peek()) {
                ('{', Some('{')) | ('}', Some('}')) | ('\\', Some('\\')) => {
                    chars.next();
                    literal.push(c);
                }
                ('\\', Some('t' | 'n')) => literal.push(if chars.next() == Some('t') { '\t' } else { '\n' }),
                ('{', _) => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) => name.push(c),
                            None => return Err(format!("{text}: {{ without }}")),
                        }
                    }
                    let field = TemplateField::parse(&name).ok_or_else(|| format!("no field {{{name}}}"))?;
                    if !literal.is_empty() {
                        parts.push(FormatPart::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(FormatPart::Field(field));
                }
                ('}', _) => return Err(format!("{text}: }} without {{")),
                _ => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(FormatPart::Text(literal));
        }
        Ok(Template(parts))
    }

    /// Its parts.
    pub fn parts(&self) -> &[FormatPart] {
        &self.0
    }

    /// The lines of an answer, one per record.
    pub fn lines(&self, answer: &ExchangeAnswer, server: &str) -> Vec<String> {
        answer.message.answer.iter().map(|record| self.line(record, answer, server)).collect()
    }

    fn line(&self, record: &Record, answer: &ExchangeAnswer, server: &str) -> String {
        let members = json::members(record.rtype, &record.rdata);
        let question = answer.message.question.first();
        let value = |part: &FormatPart| match part {
            FormatPart::Text(text) => text.clone(),
            FormatPart::Field(TemplateField::Name) => record.name.to_string(),
            FormatPart::Field(TemplateField::Ttl) => record.ttl.to_string(),
            FormatPart::Field(TemplateField::Class) => record.class.to_string(),
            FormatPart::Field(TemplateField::Rtype) => record.rtype.to_string(),
            FormatPart::Field(TemplateField::Rdata) => record.rdata_text(),
            FormatPart::Field(TemplateField::Qname) => {
                question.map(|question| question.name.to_string()).unwrap_or_default()
            }
            FormatPart::Field(TemplateField::Qtype) => {
                question.map(|question| question.rtype.to_string()).unwrap_or_default()
            }
            FormatPart::Field(TemplateField::Status) => answer.message.rcode().to_string(),
            FormatPart::Field(TemplateField::Server) => server.to_owned(),
            FormatPart::Field(TemplateField::Member(name)) => member(members.as_ref(), name),
        };
        self.0.iter().map(value).collect()
    }
}

/// A member of a record's data as text. List items are separated by blanks. Empty if the type has no such member.
pub fn member(members: Option<&Map<String, Value>>, name: &str) -> String {
    match members.and_then(|members| members.get(name)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => {
            let item = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            list.iter().map(item).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let parts = |text: &str| Template::parse(text).map(|template| template.0);
        let text = |text: &str| FormatPart::Text(text.to_owned());
        assert_eq!(
            parts("{name} {{x}} {preference}\\t\\\\").unwrap(),
            [
                FormatPart::Field(TemplateField::Name),
                text(" {x} "),
                FormatPart::Field(TemplateField::Member("preference")),
                text("\t\\")
            ]
        );
        assert_eq!(parts("{rtype}"), parts("{type}"));
        assert_eq!(parts("").unwrap(), []);
        for bad in ["{nosuch}", "{name", "}", "{}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
