complete -c smtpsend -l from -d 'Author, \'Name <address>\' (default: $EMAIL, else the user at this host)' -r
complete -c smtpsend -l to -d 'Recipients in To, separated by commas; may be repeated' -r
complete -c smtpsend -l cc -d 'Recipients of a copy (Cc)' -r
complete -c smtpsend -l bcc -d 'Hidden recipients (Bcc)' -r
complete -c smtpsend -l reply-to -d 'Address for replies (Reply-To)' -r
complete -c smtpsend -s s -l subject -d 'Subject' -r
complete -c smtpsend -l header -d 'Additional header field, \'Name: value\'; may be repeated' -r
complete -c smtpsend -l body -d 'File with the text; `-` is stdin, which is also the default without --body, --text, --html, --attach and --inline' -r -F
complete -c smtpsend -l text -d 'Text of the message on the command line, where other users can see it; a line end is added' -r
complete -c smtpsend -l html -d 'HTML body; without --body and --text a text part is made from it' -r -F
complete -c smtpsend -l attach -d 'File to attach: FILE[;type=TYPE][;name=NAME]; a name with a `;` needs double quotes' -r
complete -c smtpsend -l inline -d 'File that the HTML refers to as cid:NAME' -r
complete -c smtpsend -l template -d 'Message with {{fields}}: header fields, an empty line, the text; options override its fields' -r -F
complete -c smtpsend -l in-reply-to -d 'Message-ID of the message that this one answers' -r
complete -c smtpsend -l each -d 'Send every message of a file, a folder, an mbox or a Maildir over one connection; may be repeated' -r -F
complete -c smtpsend -l concurrency -d 'Use up to N connections for --each or --merge' -r
complete -c smtpsend -s f -d 'Envelope sender; \'<>\' for none' -r
complete -c smtpsend -s F -d 'Author\'s name, if From is missing' -r
complete -c smtpsend -l merge -d 'Compose one message per row of this file; {{fields}} in the template and the options are replaced by the row\'s values' -r -F
complete -c smtpsend -l set -d 'Value of a field for rows without it' -r
complete -c smtpsend -l results -d 'Record the outcome of each row in this file; recorded rows are not sent again' -r -F
complete -c smtpsend -l rate -d 'Send at most N messages in this time' -r
complete -c smtpsend -l local-domain -d 'Domain for addresses without one, in the envelope and in the header' -r
complete -c smtpsend -l aliases -d 'Aliases file for names without a domain, as /etc/aliases: addresses only, no programs or files' -r -F
complete -c smtpsend -l masquerade -d 'Domain that replaces this host\'s (--local-domain, its name, localhost) in sender addresses' -r
complete -c smtpsend -l admin-address -d 'Recipient of mail for local names that no alias covers' -r
complete -c smtpsend -l server -d 'smtp://, smtps://, submission://, lmtp://[USER@]HOST[:PORT], lmtp+unix:PATH, or HOST[:PORT] alone' -r
complete -c smtpsend -l protocol -d 'Protocol of a --server without a scheme' -r -f -a "smtp\t'TLS if it is offered'
esmtps\t'STARTTLS is required'
smtps\t'TLS from the start'
submission\t'Port 587, STARTTLS is required'
lmtp\t'LMTP'"
complete -c smtpsend -s A -l account -d 'Account in the accounts file (default: the one whose `from` is the author)' -r
complete -c smtpsend -l accounts -d 'Accounts file, in msmtp\'s format (default: ~/.config/applayer/accounts, else /etc/applayer/accounts)' -r -F
complete -c smtpsend -l min-days -d 'With --probe: end with status 1 if a certificate of the server\'s chain ends in fewer days, and with 77 if it is not trusted' -r
complete -c smtpsend -l quit-after -d 'As --probe, and end after this stage of the dialogue' -r -f -a "connect\t'The greeting'
ehlo\t'EHLO, HELO or LHLO, before STARTTLS'
tls\t'TLS'
auth\t'The login'
mail\t'MAIL'
rcpt\t'RCPT'"
complete -c smtpsend -l mx-port -d 'Port of mail exchangers' -r
complete -c smtpsend -l auth -d 'Log in with this mechanism: scram-sha-256, plain, login, cram-md5, external, oauthbearer, xoauth2 …' -r -f -a "scram-sha-256-plus\t''
scram-sha-256\t''
scram-sha-1\t''
plain\t''
login\t''
cram-md5\t''
external\t''
oauthbearer\t''
xoauth2\t''"
complete -c smtpsend -l helo -l ehlo -d 'Host name in EHLO (default: the name of this host)' -r
complete -c smtpsend -l notify -d 'Request delivery notices (DSN): never, or a list of success, failure and delay' -r -f -a "never\t''
success\t''
failure\t''
delay\t''"
complete -c smtpsend -l ret -d 'Content of delivery notices: full (message) or hdrs (header)' -r -f -a "full\t''
hdrs\t''"
complete -c smtpsend -l envid -d 'Identifier of this message in delivery notices' -r
complete -c smtpsend -l queue-dir -d 'Queue directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below $XDG_STATE_HOME)' -r -F
complete -c smtpsend -l resolver -d 'Query this name server, ADDRESS[:PORT] (default: the system\'s); may be repeated' -r
complete -c smtpsend -l save-to -d 'Save a copy in this mailbox: a Maildir (a directory, or a name that ends with /) or an mbox' -r -F
complete -c smtpsend -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c smtpsend -l retry-delay -d 'Wait TIME before the first retry; each further wait is twice as long' -r
complete -c smtpsend -l bind -d 'Connect from this local address' -r
complete -c smtpsend -l connect-timeout -d 'Give up connecting after this time' -r
complete -c smtpsend -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c smtpsend -l min-rate -d 'Give up a transfer that is slower than RATE bytes per second for the time of --timeout; 0: only the timeout applies' -r
complete -c smtpsend -l max-time -d 'End the whole run after this time' -r
complete -c smtpsend -l proxy -d 'Connect through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none`: no proxy' -r
complete -c smtpsend -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r -f -a "none\t''
try\t''
starttls\t''
implicit\t''"
complete -c smtpsend -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c smtpsend -l cert -d 'Client certificate (PEM)' -r -F
complete -c smtpsend -l key -d 'Key of the certificate (PEM), if it is not in the same file' -r -F
complete -c smtpsend -l pin -d 'Accept only servers whose certificate or public key has this SHA-256 digest, from any issuer (hexadecimal or base64); with --ca-cert or --tls-name the certificate is checked too; may be repeated' -r
complete -c smtpsend -l tls-name -d 'Send this name (SNI) and check the certificate against it' -r
complete -c smtpsend -l user -d 'Log in as NAME' -r
complete -c smtpsend -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c smtpsend -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c smtpsend -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c smtpsend -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c smtpsend -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c smtpsend -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c smtpsend -l edit -d 'Edit recipients, subject and text in $VISUAL or $EDITOR; without a change nothing is sent'
complete -c smtpsend -s t -d 'Read the recipients from the header; Bcc is removed'
complete -c smtpsend -s i -d 'Accepted for sendmail\'s users: a line with a single dot never ends the message'
complete -c smtpsend -l dot-ends -d 'A line with a single dot ends the message'
complete -c smtpsend -l mend -d 'Repair a malformed message: bare CRs, NULs, long lines, 8-bit text without MIME fields'
complete -c smtpsend -l queue -d 'Put the message into the outgoing queue, for mailq-run; with --account, for the server of that account'
complete -c smtpsend -l system-queue -d 'Use the system queue, or its drop directory without access to it; never the user\'s queue'
complete -c smtpsend -l queue-on-failure -d 'Put the message into the queue if a server does not accept it now'
complete -c smtpsend -l probe -d 'Print the server\'s features and its answers to --from and the recipients; send nothing'
complete -c smtpsend -l mx -d 'Send to each recipient\'s mail exchanger (MX)'
complete -c smtpsend -l partial -d 'Send to the accepted recipients even if others are refused'
complete -c smtpsend -s n -l dry-run -d 'Print the message instead of sending it'
complete -c smtpsend -l retry-unknown -d 'Retry even if it may already have been delivered (no reply after the complete message)'
complete -c smtpsend -s 4 -l ipv4 -d 'IPv4 only'
complete -c smtpsend -s 6 -l ipv6 -d 'IPv6 only'
complete -c smtpsend -l insecure -d 'Accept any certificate: an attacker in the network path can read and change the data'
complete -c smtpsend -l json -d 'Print JSON Lines: one object per record'
complete -c smtpsend -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c smtpsend -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c smtpsend -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c smtpsend -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c smtpsend -s h -l help -d 'Print help (see more with \'--help\')'
complete -c smtpsend -s V -l version -d 'Print version'
complete -c smtpsend -l account -x -a '(cat "$HOME/.config/applayer/accounts" /etc/applayer/accounts 2>/dev/null | sed -n \'s/^[[:blank:]]*account[[:blank:]]\\{1,\\}\\([^:[:blank:]]\\{1,\\}\\).*/\\1/p\')'
