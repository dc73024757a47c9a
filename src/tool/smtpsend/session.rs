//! `sendmail -bs`: SMTP on standard input and output, for programs that submit mail to sendmail in SMTP. Each message is handled
//! like one on standard input: completed, repaired, queued.

use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::queue::Queue;
use super::report::SendSummary;
use super::{Args, accounts, job};
use crate::blob::file::BlobWriter;
use crate::cli::exit::Exit;
use crate::cli::input;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::admission::ClientPlace;
use crate::net::listen::Shutdown;
use crate::net::login::LoginVerdict;
use crate::net::stream::Stream;
use crate::smtp::address::ReversePath;
use crate::smtp::auth::server::LoginProof;
use crate::smtp::command::CommandSyntax;
use crate::smtp::data::BareLf;
use crate::smtp::envelope::{Envelope, Recipient};
use crate::smtp::reply::SmtpReply;
use crate::smtp::role::ServerRole;
use crate::smtp::server::{self, MessageVerdict, SmtpPeer, SmtpServerOptions, SmtpServerTls, SmtpService};
use crate::smtp::session::Config;
use crate::tool::smtp_account::Accounts;

/// The longest silence of the calling program (RFC 5321, section 4.5.3.2.7).
const IDLE: Duration = Duration::from_secs(5 * 60);
/// The most recipients of one message.
const MAX_RECIPIENTS: usize = 100_000;

/// Queues the messages of one session.
struct SubmissionService<'a> {
    /// The arguments, including the sender and the recipients of the current message.
    args: Mutex<Args>,
    accounts: Option<Accounts>,
    queue: Queue,
    out: &'a Output,
}

/// Runs the session from the greeting to QUIT or the end of input.
pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    let mut stdout = out.payload()?;
    let local_domain = args.local.local_domain.clone().unwrap_or_else(|| job::host_name().to_owned());
    let options = SmtpServerOptions {
        config: Config {
            name: job::host_name().to_owned(),
            max_size: 0,
            max_recipients: MAX_RECIPIENTS,
            lmtp: false,
            starttls: false,
            tls_required: false,
            auth: false,
            auth_in_clear: false,
            scram: false,
            auth_required: false,
            dsn: false,
            syntax: CommandSyntax::Liberal { origin: local_domain },
            bare_lf: BareLf::Normalize,
        },
        role: ServerRole::default(),
        tls: SmtpServerTls::Off,
        limits: args.net.limits().with_idle(IDLE),
        trace: out.trace(),
    };
    let service = SubmissionService {
        accounts: accounts(&args, out)?,
        queue: Queue::open(&args, out)?,
        args: Mutex::new(args),
        out,
    };
    let problem = |error: std::io::Error| Fault::local("standard input", &error);
    let (ours, theirs) = UnixStream::pair().map_err(problem)?;
    ours.set_nonblocking(true).map_err(problem)?;
    let (mut commands, mut input) = (input::stdin()?, theirs.try_clone().map_err(problem)?);
    // The calling program may keep its end open after QUIT, so nothing waits for this thread.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut commands, &mut input);
        let _ = input.shutdown(std::net::Shutdown::Write);
    });
    let replies = std::thread::spawn(move || {
        let copied = std::io::copy(&mut &theirs, &mut Unbuffered(&mut stdout));
        let _ = theirs.shutdown(std::net::Shutdown::Both);
        copied.map(|_| ())
    });
    crate::cli::block_on(async {
        let stream = Stream::Unix(tokio::net::UnixStream::from_std(ours).map_err(problem)?);
        let (place, shutdown) = (ClientPlace::unlimited(), Shutdown::manual());
        Ok(server::serve(stream, None, &options, &service, &place, &shutdown, &mut Default::default()).await?)
    })?;
    let copied = replies.join().map_err(|_| Fault::new(Kind::Internal, "the thread of the replies failed"))?;
    copied.map_err(|error| Fault::local("stdout", &error))?;
    Ok(Exit::OK)
}

/// Flushes after every write, because the other side waits for the data.
struct Unbuffered<'a, W: std::io::Write>(&'a mut W);

impl<W: std::io::Write> std::io::Write for Unbuffered<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.0.write(bytes)?;
        self.0.flush()?;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl SubmissionService<'_> {
    async fn submit(&self, envelope: &Envelope, message: BlobWriter) -> Result<(), Fault> {
        let blob = message.finish().map_err(|error| Fault::local("message", &error))?;
        let job = {
            let mut args = self.args.lock().unwrap_or_else(PoisonError::into_inner);
            args.take.envelope_from = Some(envelope.sender.to_string());
            args.recipient = envelope.recipients.iter().map(|one| one.address.to_string()).collect();
            job::take(&args, self.accounts.as_ref(), &blob, "message", self.out)?.0
        };
        self.queue.place(&[job], None, self.out, &mut SendSummary::default()).await
    }
}

impl SmtpService for SubmissionService<'_> {
    type Transaction = ();

    fn sender<'a>(&'a self, _: &'a SmtpPeer, _: &'a ReversePath, _: u64) -> BoxFuture<'a, SmtpReply> {
        Box::pin(async { SmtpReply::status(250, 1, 0, "sender ok") })
    }

    fn recipient<'a>(
        &'a self,
        _: &'a SmtpPeer,
        _: &'a ReversePath,
        _: &'a Recipient,
        (): &'a mut (),
    ) -> BoxFuture<'a, SmtpReply> {
        Box::pin(async { SmtpReply::status(250, 1, 5, "recipient ok") })
    }

    fn login<'a>(&'a self, _: &'a SmtpPeer, _: &'a str, _: &'a LoginProof) -> BoxFuture<'a, LoginVerdict<()>> {
        Box::pin(async { LoginVerdict::Wrong })
    }

    fn begin(&self, _: &SmtpPeer, _: &Envelope, (): &mut ()) -> std::io::Result<BlobWriter> {
        Ok(BlobWriter::temporary())
    }

    fn accept<'a>(
        &'a self,
        _: &'a SmtpPeer,
        envelope: Envelope,
        (): (),
        message: BlobWriter,
    ) -> BoxFuture<'a, MessageVerdict> {
        Box::pin(async move {
            let reply = match self.submit(&envelope, message).await {
                Ok(()) => SmtpReply::status(250, 2, 0, "queued"),
                Err(fault) => {
                    self.out.error("message", &fault);
                    SmtpReply::status(if fault.temporary() { 451 } else { 554 }, 3, 0, fault.detail)
                }
            };
            MessageVerdict::All(reply)
        })
    }
}
