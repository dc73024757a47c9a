//! The input of a transaction: sender and recipients, with the parameters of RFC 3461 as types.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::smtp::address::{Address, MAX_ADDRESS, ReversePath};
use crate::smtp::xtext;

/// The longest ENVID, decoded (RFC 3461, section 4.4).
pub const MAX_ENVID: usize = 100;

/// The longest name of an address type in ORCPT: `rfc822`, `utf-8` and `x400` are the ones in use.
const MAX_ADDRESS_TYPE: usize = 32;

/// The sender and recipients of a message (RFC 5321, section 2.3.1), with the options of RFC 3461 and RFC 6531. The
/// queue stores more data per recipient: its `R` contains a [`Recipient`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<R = Recipient> {
    /// The reverse-path.
    pub sender: ReversePath,
    /// At least one recipient.
    pub recipients: Vec<R>,
    /// True if addresses or header fields are outside ASCII (RFC 6531).
    pub smtputf8: bool,
    /// True if the body is outside ASCII (RFC 6152).
    pub eight_bit: bool,
    /// The part of the message that a failure notice returns.
    pub ret: Option<Ret>,
    /// The sender's identifier for this transaction.
    pub envid: Option<Envid>,
}

impl<R> Default for Envelope<R> {
    fn default() -> Envelope<R> {
        Envelope::new(ReversePath::Null, Vec::new())
    }
}

impl<R> Envelope<R> {
    /// An envelope without options.
    pub fn new(sender: impl Into<ReversePath>, recipients: Vec<R>) -> Envelope<R> {
        Envelope { sender: sender.into(), recipients, smtputf8: false, eight_bit: false, ret: None, envid: None }
    }

    /// The same envelope with these recipients.
    pub fn with_recipients<T>(&self, recipients: Vec<T>) -> Envelope<T> {
        let Envelope { smtputf8, eight_bit, ret, .. } = *self;
        Envelope { sender: self.sender.clone(), recipients, smtputf8, eight_bit, ret, envid: self.envid.clone() }
    }
}

impl Envelope {
    /// True if all of its addresses are ASCII.
    pub fn is_ascii(&self) -> bool {
        let sender = self.sender.address().into_iter();
        sender.chain(self.recipients.iter().map(|recipient| &recipient.address)).all(Address::is_ascii)
    }
}

/// One recipient of an [`Envelope`], with the parameters of `RCPT TO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path: `local@domain`; from a client also `postmaster` without a domain (RFC 5321, section 4.1.1.3).
    pub address: Address,
    /// The events for which the sender wants a notice.
    pub notify: Option<Notify>,
    /// The original recipient address, as the sender gave it.
    pub orcpt: Option<Orcpt>,
}

impl Recipient {
    /// A recipient without options.
    pub fn new(address: impl Into<Address>) -> Recipient {
        Recipient { address: address.into(), notify: None, orcpt: None }
    }
}

/// The error for an invalid parameter value: the expected form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DsnParameterError(&'static str);

impl fmt::Display for DsnParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for DsnParameterError {}

/// The `RET` parameter: the part of the message that a failure notice returns (RFC 3461, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// `FULL`: the whole message.
    Full,
    /// `HDRS`: only the header.
    Headers,
}

impl Ret {
    /// The value in wire format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ret::Full => "FULL",
            Ret::Headers => "HDRS",
        }
    }
}

impl FromStr for Ret {
    type Err = DsnParameterError;

    /// Parses `FULL` or `HDRS`, in any case.
    fn from_str(text: &str) -> Result<Ret, DsnParameterError> {
        let found = [Ret::Full, Ret::Headers].into_iter().find(|ret| text.eq_ignore_ascii_case(ret.as_str()));
        found.ok_or(DsnParameterError("full or hdrs"))
    }
}

/// The `NOTIFY` parameter: the events for which the sender wants a notice (RFC 3461, section 4.1). All false is `NEVER`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Notify {
    /// `SUCCESS`
    pub success: bool,
    /// `FAILURE`
    pub failure: bool,
    /// `DELAY`
    pub delay: bool,
}

impl Notify {
    /// `NEVER`
    pub const NEVER: Notify = Notify { success: false, failure: false, delay: false };
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Notify::NEVER {
            return f.write_str("NEVER");
        }
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let mut separator = "";
        for (_, word) in words.into_iter().filter(|(set, _)| *set) {
            write!(f, "{separator}{word}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl FromStr for Notify {
    type Err = DsnParameterError;

    /// Parses `NEVER`, or a list of `SUCCESS`, `FAILURE` and `DELAY`, in any case.
    fn from_str(text: &str) -> Result<Notify, DsnParameterError> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Ok(Notify::NEVER);
        }
        let mut notify = Notify::NEVER;
        for word in text.split(',') {
            match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => notify.success = true,
                "FAILURE" => notify.failure = true,
                "DELAY" => notify.delay = true,
                _ => return Err(DsnParameterError("never, or a list of success, failure and delay")),
            }
        }
        Ok(notify)
    }
}

/// The `ENVID` parameter, decoded: the sender's identifier for a transaction, which notices repeat (RFC 3461, section
/// 4.4). Not empty, at most [`MAX_ENVID`] bytes, without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envid(Arc<str>);

impl Envid {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the value in wire format.
    pub fn from_wire(value: &str) -> Option<Envid> {
        xtext::decode(value)?.parse().ok()
    }
}

impl FromStr for Envid {
    type Err = DsnParameterError;

    /// Accepts any decoded text within the limits.
    fn from_str(text: &str) -> Result<Envid, DsnParameterError> {
        if text.is_empty() || text.len() > MAX_ENVID || text.contains(char::is_control) {
            return Err(DsnParameterError("1 to 100 bytes without control characters"));
        }
        Ok(Envid(text.into()))
    }
}

/// The `ORCPT` parameter, decoded: the original recipient address, as the sender gave it, with its address type (RFC 3461,
/// section 4.2): `rfc822;bob@example.com`. The address is not empty, at most [`MAX_ADDRESS`] bytes, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Orcpt {
    text: Arc<str>,
    /// The length of the address type.
    at: usize,
}

impl Orcpt {
    /// Type, semicolon and address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The type of the address, an atom such as `rfc822`.
    pub fn address_type(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The address.
    pub fn address(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// Parses the value in wire format.
    pub fn from_wire(value: &str) -> Option<Orcpt> {
        let (kind, address) = value.split_once(';')?;
        format!("{kind};{}", xtext::decode(address)?).parse().ok()
    }
}

impl FromStr for Orcpt {
    type Err = DsnParameterError;

    /// Parses `type;address`, decoded.
    fn from_str(text: &str) -> Result<Orcpt, DsnParameterError> {
        let atom = |kind: &str| kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        match text.split_once(';') {
            Some((kind, address))
                if (1..=MAX_ADDRESS_TYPE).contains(&kind.len())
                    && atom(kind)
                    && (1..=MAX_ADDRESS).contains(&address.len())
                    && !address.contains(char::is_control) =>
            {
                Ok(Orcpt { at: kind.len(), text: text.into() })
            }
            _ => Err(DsnParameterError("an address type, a semicolon and an address")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_text_and_from_the_wire() {
        for text in ["NEVER", "SUCCESS", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"] {
            assert_eq!(text.parse::<Notify>().unwrap().to_string(), text);
            assert_eq!(text.to_lowercase().parse::<Notify>().unwrap().to_string(), text);
        }
        for bad in ["", "NEVER,SUCCESS", "SUCCESS,", "sometimes", "SUCCESS, DELAY"] {
            assert!(bad.parse::<Notify>().is_err(), "{bad:?}");
        }
        for ret in [Ret::Full, Ret::Headers] {
            assert_eq!(ret.as_str().to_lowercase().parse(), Ok(ret));
        }
        assert!("HDR".parse::<Ret>().is_err());
        assert_eq!(Envid::from_wire("QQ+2B31").as_ref().map(Envid::as_str), Some("QQ+31"));
        assert!("x".repeat(MAX_ENVID).parse::<Envid>().is_ok());
        for bad in ["", "a\tb", "a\r\nb", "\u{85}", &"x".repeat(MAX_ENVID + 1)] {
            assert!(bad.parse::<Envid>().is_err() && Envid::from_wire(&xtext::encode(bad)).is_none(), "{bad:?}");
        }
        let orcpt = Orcpt::from_wire("rfc822;Bob+2Bx@bob.test").unwrap();
        assert_eq!((orcpt.address_type(), orcpt.address()), ("rfc822", "Bob+x@bob.test"));
        assert_eq!(orcpt.as_str().parse(), Ok(orcpt));
        let long = format!("rfc822;{}", "x".repeat(MAX_ADDRESS + 1));
        for bad in ["", "bob", ";bob", "rfc822;", "rfc 822;bob", "rfc822;b\nob", long.as_str()] {
            assert!(bad.parse::<Orcpt>().is_err(), "{bad:?}");
        }
    }
}
