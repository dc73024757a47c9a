//! The content of a message in a JSON record: people, header, parts, texts.

use serde::Serialize;

use crate::fault::Fault;
use crate::mail::address::Mailbox;
use crate::mail::address_list::AddressList;
use crate::mail::read::{ReadPart, Reading};
use crate::mail::scan;

/// What a message says.
#[derive(Debug, Serialize)]
pub(super) struct MessageContent {
    pub(super) from: Vec<Person>,
    pub(super) to: Vec<Person>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) cc: Vec<Person>,
    /// The text in From, To and Cc that is not an address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unparsed: Vec<String>,
    pub(super) subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_reply_to: Option<String>,
    pub(super) headers: Vec<Header>,
    pub(super) parts: Vec<PartRecord>,
    pub(super) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) html: Option<String>,
}

/// One header field.
#[derive(Debug, Serialize)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) value: String,
}

/// A name and an address.
#[derive(Debug, Serialize)]
pub(super) struct Person {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) address: String,
}

/// One part that is not a multipart.
#[derive(Debug, Serialize)]
pub(super) struct PartRecord {
    pub(super) part: String,
    pub(super) content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    charset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<String>,
    attachment: bool,
    pub(super) size_bytes: u64,
    /// True if its encoding is malformed or cut off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) damaged: bool,
    /// True if it has a line below the text.
    #[serde(skip)]
    pub(super) listed: bool,
}

impl MessageContent {
    /// The content of a message that was read.
    ///
    /// # Errors
    /// [`crate::fault::Kind::BadData`] for a header beyond the limits.
    pub(super) fn of(reading: Reading) -> Result<MessageContent, Fault> {
        let parts = reading.parts.iter().map(|part| PartRecord::new(&reading, part)).collect();
        let header = |name: &str| reading.header(name).map(str::to_owned);
        let head = scan::header_of(reading.raw())?;
        let [from, to, cc] = ["from", "to", "cc"].map(|name| scan::addresses(head, name));
        Ok(MessageContent {
            unparsed: unparsed([&from, &to, &cc]),
            from: people(from),
            to: people(to),
            cc: people(cc),
            subject: header("subject").unwrap_or_default(),
            message_id: header("message-id"),
            in_reply_to: header("in-reply-to"),
            parts,
            headers: reading.headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
            text: reading.text,
            html: reading.html,
        })
    }
}

impl PartRecord {
    fn new(reading: &Reading, part: &ReadPart) -> PartRecord {
        let content = reading.content(part);
        PartRecord {
            part: part.path.clone(),
            content_type: part.content_type.clone(),
            charset: part.charset.clone(),
            disposition: part.disposition.clone(),
            name: part.name.clone(),
            content_id: part.content_id.clone(),
            attachment: part.is_attachment,
            size_bytes: content.bytes.len() as u64,
            damaged: content.damaged,
            listed: part.is_listed,
        }
    }
}

impl From<Mailbox> for Person {
    fn from(mailbox: Mailbox) -> Person {
        Person { name: mailbox.name, address: mailbox.address.to_string() }
    }
}

pub(super) fn people(list: AddressList) -> Vec<Person> {
    list.mailboxes.into_iter().map(Person::from).collect()
}

pub(super) fn unparsed<const N: usize>(lists: [&AddressList; N]) -> Vec<String> {
    lists.into_iter().flat_map(|list| list.unparsed.iter().cloned()).collect()
}
