//! The service behind `--capture`: every sender, recipient, login and message is accepted, and each message is one record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::blob::Blob;
use crate::blob::file::BlobWriter;
use crate::cli::colour;
use crate::cli::output::{Output, OutputRecord, Severity, TextLine};
use crate::fault::{Fault, Kind};
use crate::mail::links;
use crate::mail::read::{MAX_MESSAGE_BYTES, Reading};
use crate::net::BoxFuture;
use crate::net::login::LoginVerdict;
use crate::net::session_id::SessionId;
use crate::smtp::address::ReversePath;
use crate::smtp::auth::server::LoginProof;
use crate::smtp::command::{Body, MailFrom};
use crate::smtp::envelope::{Envelope, Recipient, Ret};
use crate::smtp::reply::SmtpReply;
use crate::smtp::server::{MessageVerdict, Mishap, SmtpPeer, SmtpService};
use crate::smtp::session::DialoguePhase;
use crate::tool::message_content::MessageContent;

use super::super::delivery;
use super::super::fail::FailRules;
use super::super::record::{ClientRecord, LoginTried, MessageTaken, Refused};
use super::super::room::DiskRoom;
use super::super::service;
use super::CaptureStore;

/// Larger messages are decoded one after the other, because decoding takes several times their size in memory.
const MAX_BESIDE_OTHERS: u64 = 1024 * 1024;

/// Accepts everything.
pub(super) struct CaptureReceiver {
    captured: Arc<CaptureState>,
    rules: FailRules,
    room: DiskRoom,
    out: Output,
}

/// What was captured so far.
struct CaptureState {
    store: CaptureStore,
    expected: Option<u64>,
    /// The number of messages that are kept or about to be.
    claimed: AtomicU64,
    /// The number of messages that are kept.
    kept: watch::Sender<u64>,
    /// Held while a large message is decoded.
    large: Mutex<()>,
    out: Output,
}

/// The parameters of MAIL.
#[derive(Debug, Default, Serialize)]
pub(super) struct MailParameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'static str>,
    smtputf8: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ret: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<String>,
}

impl CaptureReceiver {
    pub(super) fn new(
        store: CaptureStore,
        rules: FailRules,
        expected: Option<u64>,
        room: DiskRoom,
        out: &Output,
    ) -> CaptureReceiver {
        let (claimed, kept, large, out) = (AtomicU64::new(0), watch::Sender::new(0), Mutex::default(), out.clone());
        let captured = CaptureState { store, expected, claimed, kept, large, out: out.clone() };
        CaptureReceiver { captured: Arc::new(captured), rules, room, out }
    }

    /// The number of captured messages.
    pub(super) fn messages(&self) -> u64 {
        *self.captured.kept.borrow()
    }

    /// Returns when all expected messages are captured.
    pub(super) async fn complete(&self) {
        match self.captured.expected {
            // `self` holds the sender, so the channel stays open.
            Some(expected) => drop(self.captured.kept.subscribe().wait_for(|kept| *kept >= expected).await),
            None => std::future::pending().await,
        }
    }

    /// Records a refusal of ours and returns it.
    fn refuse(&self, what: &'static str, peer: &SmtpPeer, sender: &ReversePath, reply: SmtpReply) -> SmtpReply {
        let _ = self.out.emit(&Refused {
            what,
            client: peer.into(),
            sender: Some(sender.as_str()),
            recipient: None,
            code: reply.code,
            enhanced: reply.enhanced.map(|enhanced| enhanced.to_string()),
            reply: reply.text(),
        });
        reply
    }
}

impl SmtpService for CaptureReceiver {
    type Transaction = MailParameters;

    fn sender<'a>(&'a self, peer: &'a SmtpPeer, sender: &'a ReversePath, bytes: u64) -> BoxFuture<'a, SmtpReply> {
        Box::pin(async move {
            if self.captured.is_complete() {
                return self.refuse("sender", peer, sender, all_there());
            }
            if !self.room.is_left(bytes).await {
                let reply = SmtpReply::status(452, 3, 1, "no room for a message now");
                return self.refuse("sender", peer, sender, reply);
            }
            SmtpReply::status(250, 1, 0, "sender ok")
        })
    }

    fn mail_begins(&self, mail: &MailFrom, transaction: &mut MailParameters) {
        *transaction = MailParameters {
            size_bytes: mail.size,
            body: mail.body.map(|body| match body {
                Body::SevenBit => "7BIT",
                Body::EightBit => "8BITMIME",
            }),
            smtputf8: mail.smtputf8,
            ret: mail.ret.map(Ret::as_str),
            envid: mail.envid.as_ref().map(|envid| envid.as_str().to_owned()),
            auth: mail.auth.clone(),
        };
    }

    fn has_mishaps(&self) -> bool {
        !self.rules.is_empty()
    }

    fn mishap(
        &self,
        peer: &SmtpPeer,
        envelope: Option<&Envelope>,
        phase: DialoguePhase,
        subject: &str,
    ) -> Option<Mishap> {
        let (rule, mishap) = self.rules.mishap(peer, envelope, phase, subject)?;
        let _ = self.out.emit(&FailedOnPurpose {
            phase: rule.phase_name(),
            rule: rule.text(),
            client: peer.into(),
            subject,
            reply: mishap.reply.as_ref().map(SmtpReply::text),
        });
        Some(mishap)
    }

    fn recipient<'a>(
        &'a self,
        _: &'a SmtpPeer,
        _: &'a ReversePath,
        _: &'a Recipient,
        _: &'a mut MailParameters,
    ) -> BoxFuture<'a, SmtpReply> {
        Box::pin(async { SmtpReply::status(250, 1, 5, "recipient ok") })
    }

    fn login<'a>(&'a self, peer: &'a SmtpPeer, user: &'a str, _: &'a LoginProof) -> BoxFuture<'a, LoginVerdict<()>> {
        let client = ClientRecord { user: Some(user), ..peer.into() };
        let _ = self.out.emit(&LoginTried { client, accepted: true, reason: None });
        Box::pin(async { LoginVerdict::Right(()) })
    }

    fn begin(&self, _: &SmtpPeer, _: &Envelope, _: &mut MailParameters) -> std::io::Result<BlobWriter> {
        Ok(self.captured.store.writer().leaving_free(self.room.min_free))
    }

    fn accept<'a>(
        &'a self,
        peer: &'a SmtpPeer,
        envelope: Envelope,
        mail: MailParameters,
        message: BlobWriter,
    ) -> BoxFuture<'a, MessageVerdict> {
        Box::pin(async move {
            let (captured, client, sender) = (self.captured.clone(), peer.clone(), envelope.sender.clone());
            let work = move || {
                let blob = message.finish().map_err(|error| Fault::local("message", &error))?;
                captured.take(&client, &envelope, &mail, &blob)
            };
            let taken = tokio::task::spawn_blocking(work).await;
            let reply = match taken.unwrap_or_else(|error| Err(delivery::internal(error))) {
                Ok(Some(id)) => return MessageVerdict::All(SmtpReply::status(250, 0, 0, format!("captured as {id}"))),
                Ok(None) => all_there(),
                Err(fault) => {
                    self.out.session_error(peer.session, "message", &fault);
                    SmtpReply::status(451, 3, 0, "cannot be stored now")
                }
            };
            MessageVerdict::All(self.refuse("message", peer, &sender, reply))
        })
    }
}

/// The reply to more messages than are expected.
fn all_there() -> SmtpReply {
    SmtpReply::status(421, 3, 2, "all expected messages have come: this server ends")
}

impl CaptureState {
    fn is_complete(&self) -> bool {
        self.expected.is_some_and(|expected| self.claimed.load(Ordering::Relaxed) >= expected)
    }

    /// Keeps and records a message; `None` if no more are expected.
    fn take(
        &self,
        peer: &SmtpPeer,
        envelope: &Envelope,
        mail: &MailParameters,
        message: &Blob,
    ) -> Result<Option<String>, Fault> {
        let most = self.expected.unwrap_or(u64::MAX);
        let claim = |claimed: u64| (claimed < most).then(|| claimed + 1);
        if self.claimed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).is_err() {
            return Ok(None);
        }
        let id = service::new_id();
        let file = self.store.keep(&id, envelope.sender.as_str(), message).inspect_err(|_| {
            self.claimed.fetch_sub(1, Ordering::Relaxed);
        })?;
        let (content, links, problem) = match self.out.json() {
            true => self.content(message),
            false => (None, Vec::new(), None),
        };
        // The reader of the records is waited for: without its record the message is not captured.
        let _ = self.out.emit_patiently(&CapturedMessage {
            taken: MessageTaken {
                deliveries: Vec::new(),
                id: &id,
                queue_id: None,
                notice_id: None,
                client: peer.into(),
                sender: envelope.sender.as_str(),
                recipients: envelope.recipients.iter().map(|recipient| recipient.address.as_str()).collect(),
                files: file.into_iter().map(|file| file.to_string_lossy().into_owned()).collect(),
                size_bytes: message.size_bytes(),
            },
            mail,
            rcpt: envelope.recipients.iter().map(RcptParameters::from).collect(),
            content,
            links,
            problem,
        });
        self.kept.send_modify(|kept| *kept += 1);
        Ok(Some(id))
    }

    /// The decoded content, its links, and the reason why there is none.
    fn content(&self, message: &Blob) -> (Option<MessageContent>, Vec<String>, Option<String>) {
        let alone = message.size_bytes() > MAX_BESIDE_OTHERS;
        let _alone = alone.then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner));
        let read = || {
            let reading = Reading::parse(message.read_all("message", MAX_MESSAGE_BYTES)?)?;
            let links = links::of(&reading);
            Ok((MessageContent::of(reading)?, links))
        };
        match read() {
            Ok((content, links)) => (Some(content), links, None),
            Err(Fault { kind: Kind::BadData, detail, .. }) => (None, Vec::new(), Some(detail)),
            Err(fault) => (None, Vec::new(), Some(fault.to_string())),
        }
    }
}

/// A captured message.
#[derive(Debug, Serialize)]
struct CapturedMessage<'a> {
    #[serde(flatten)]
    taken: MessageTaken<'a>,
    mail: &'a MailParameters,
    rcpt: Vec<RcptParameters<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    content: Option<MessageContent>,
    links: Vec<String>,
    /// Why the content is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// A recipient with the parameters of RCPT.
#[derive(Debug, Serialize)]
struct RcptParameters<'a> {
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orcpt: Option<&'a str>,
}

impl<'a> From<&'a Recipient> for RcptParameters<'a> {
    fn from(recipient: &'a Recipient) -> RcptParameters<'a> {
        RcptParameters {
            address: recipient.address.as_str(),
            notify: recipient.notify.map(|notify| notify.to_string()),
            orcpt: recipient.orcpt.as_ref().map(crate::smtp::envelope::Orcpt::as_str),
        }
    }
}

impl OutputRecord for CapturedMessage<'_> {
    const TYPE: &'static str = MessageTaken::TYPE;

    fn text(&self, line: &mut TextLine) {
        self.taken.text(line);
    }

    fn session(&self) -> Option<SessionId> {
        self.taken.session()
    }
}

/// A failure on purpose.
#[derive(Debug, Serialize)]
struct FailedOnPurpose<'a> {
    phase: &'static str,
    rule: &'a str,
    #[serde(flatten)]
    client: ClientRecord<'a>,
    /// The name, user, sender or recipient that matched.
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
}

impl OutputRecord for FailedOnPurpose<'_> {
    const TYPE: &'static str = "fail";

    fn text(&self, line: &mut TextLine) {
        let subject = if self.subject.is_empty() { "-" } else { self.subject };
        line.field_in(colour::BAD, "fail").field(self.phase).field(subject);
        self.client.text(line);
        line.field(self.rule);
    }

    fn session(&self) -> Option<SessionId> {
        self.client.session
    }

    fn severity(&self) -> Severity {
        Severity::Notice
    }
}
