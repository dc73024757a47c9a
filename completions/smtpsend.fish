complete -c smtpsend -l from -d 'The author, \'Name <address>\' (default: $EMAIL, else the user at this host)' -r
complete -c smtpsend -l to -d 'Recipients that everybody sees; commas separate, may be repeated' -r
complete -c smtpsend -l cc -d 'Recipients of a copy' -r
complete -c smtpsend -l bcc -d 'Recipients that nobody sees' -r
complete -c smtpsend -l reply-to -d 'Where answers go' -r
complete -c smtpsend -s s -l subject -d 'The subject' -r
complete -c smtpsend -l header -d 'A further header field, \'Name: value\'' -r
complete -c smtpsend -l body -d 'The file with the text; `-` is stdin, which is also read when there is no --body, --text, --html, --attach or --inline' -r -F
complete -c smtpsend -l text -d 'The text itself, on the command line, where other users can see it; a line end is added' -r
complete -c smtpsend -l html -d 'The HTML body; a text is made from it unless --body gives one' -r -F
complete -c smtpsend -l attach -d 'A file to attach: FILE[;type=TYPE][;name=NAME]; a name with a `;` stands in double quotes' -r
complete -c smtpsend -l inline -d 'A file that the HTML shows as cid:NAME' -r
complete -c smtpsend -l template -d 'A message with {{fields}}: header fields, an empty line, the text; flags win over its fields' -r -F
complete -c smtpsend -l in-reply-to -d 'The Message-ID of what this answers' -r
complete -c smtpsend -l each -d 'Send every message of a file, a folder, an mbox or a Maildir over one connection; may be repeated' -r -F
complete -c smtpsend -l concurrency -d 'Use up to N connections for --each or --merge' -r
complete -c smtpsend -s f -d 'The envelope\'s sender; \'<>\' for none' -r
complete -c smtpsend -s F -d 'The author\'s name, where From is missing' -r
complete -c smtpsend -l merge -d 'Compose a message for each row of this file; {{fields}} in the template and in the flags are the row\'s values' -r -F
complete -c smtpsend -l set -d 'The value of a field for rows that have none' -r
complete -c smtpsend -l results -d 'Note in this file what became of each row; rows that it knows are not sent again' -r -F
complete -c smtpsend -l rate -d 'Send at most so many messages in so much time' -r
complete -c smtpsend -l local-domain -d 'Complete addresses without a domain by this one, in the envelope and in the header' -r
complete -c smtpsend -l aliases -d 'What names without a domain stand for, as in /etc/aliases: addresses, no programs and no files' -r -F
complete -c smtpsend -l masquerade -d 'Senders of this host (--local-domain, its name, localhost) have this domain' -r
complete -c smtpsend -l admin-address -d 'Mail for names of this host that no alias knows goes to this address' -r
complete -c smtpsend -l server -d 'smtp://, smtps://, submission://, lmtp://[USER@]HOST[:PORT], lmtp+unix:PATH, or HOST[:PORT] alone' -r
complete -c smtpsend -l protocol -d 'What is spoken at a --server without a scheme' -r -f -a "smtp\t'TLS if it is offered'
esmtps\t'STARTTLS is required'
smtps\t'TLS from the start'
submission\t'Port 587, STARTTLS is required'
lmtp\t'LMTP'"
complete -c smtpsend -s A -l account -d 'The account of this name in the accounts file (default: the one whose `from` is the author)' -r
complete -c smtpsend -l accounts -d 'The accounts file, in msmtp\'s words (default: ~/.config/applayer/accounts, else /etc/applayer/accounts)' -r -F
complete -c smtpsend -l min-days -d 'With --probe: end with status 1 if a certificate of the server\'s chain ends in fewer days, and with 77 if it is not trusted' -r
complete -c smtpsend -l quit-after -d 'As --probe, and leave after this stage of the dialogue' -r -f -a "connect\t'The greeting'
ehlo\t'EHLO, HELO or LHLO, before STARTTLS'
tls\t'TLS'
auth\t'The login'
mail\t'MAIL'
rcpt\t'RCPT'"
complete -c smtpsend -l mx-port -d 'The port of servers found by DNS' -r
complete -c smtpsend -l auth -d 'Log in by this mechanism: scram-sha-256, plain, login, cram-md5, external, oauthbearer, xoauth2 …' -r
complete -c smtpsend -l helo -l ehlo -d 'Our name in EHLO (default: this host\'s)' -r
complete -c smtpsend -l notify -d 'Ask for notices: never, or a list of success, failure and delay' -r
complete -c smtpsend -l ret -d 'What notices return: full or hdrs' -r
complete -c smtpsend -l envid -d 'The name of this transaction in notices' -r
complete -c smtpsend -l queue-dir -d 'The queue\'s directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below $XDG_STATE_HOME)' -r -F
complete -c smtpsend -l resolver -d 'Ask this name server, ADDRESS[:PORT] (default: the system\'s); may be repeated' -r
complete -c smtpsend -l save-to -d 'Keep a copy in this mailbox: a Maildir (a directory, or a name that ends with /) or an mbox' -r -F
complete -c smtpsend -l retry -d 'Try again up to N times after a temporary failure' -r
complete -c smtpsend -l retry-delay -d 'Wait this long before the first retry, twice as long before each further one' -r
complete -c smtpsend -l bind -d 'Connect from this local address' -r
complete -c smtpsend -l connect-timeout -d 'Give up connecting after this time' -r
complete -c smtpsend -l timeout -d 'Give up when the peer stays silent for this time' -r
complete -c smtpsend -l min-rate -d 'Give up a transfer that stays slower than this many bytes a second for the time of --timeout; 0: only silence counts' -r
complete -c smtpsend -l max-time -d 'End the whole run after this time' -r
complete -c smtpsend -l proxy -d 'Go through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none` for none' -r
complete -c smtpsend -l tls -d 'When to use TLS: none, try (if offered), starttls (required), implicit' -r
complete -c smtpsend -l ca-cert -d 'Trust the authorities in FILE (PEM) instead of the system\'s' -r -F
complete -c smtpsend -l cert -d 'Show the peer this certificate (PEM)' -r -F
complete -c smtpsend -l key -d 'The certificate\'s key (PEM), if not in the same file' -r -F
complete -c smtpsend -l pin -d 'Take servers whose certificate or public key has this SHA-256 digest only, whoever issued the certificate (hexadecimal or base64; repeatable); with --ca-cert or --tls-name the certificate is checked as well' -r
complete -c smtpsend -l tls-name -d 'Ask for this name and check the certificate against it' -r
complete -c smtpsend -l user -d 'Log in as NAME' -r
complete -c smtpsend -l password-file -d 'Read the password from the first line of FILE, or of stdin' -r -F
complete -c smtpsend -l password-command -d 'Read the password from the first line that CMD prints' -r
complete -c smtpsend -l netrc-file -d 'Look logins up in FILE instead of $NETRC or ~/.netrc' -r -F
complete -c smtpsend -l report -d 'Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N' -r
complete -c smtpsend -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c smtpsend -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c smtpsend -l edit -d 'Write recipients, subject and text in $VISUAL or $EDITOR; without a change nothing is sent'
complete -c smtpsend -s t -d 'Take the recipients from the header; Bcc is removed'
complete -c smtpsend -s i -d 'A line with a lone dot does not end the message (it never does; for those used to sendmail)'
complete -c smtpsend -l dot-ends -d 'A line with a lone dot ends the message'
complete -c smtpsend -l mend -d 'Take a message of any form and make it legal: bare CRs, NULs, long lines, 8-bit text without MIME fields'
complete -c smtpsend -l queue -d 'Put it into the outgoing queue, for mailq-run; with --account, for the server of that account'
complete -c smtpsend -l system-queue -d 'The queue of the machine, or its drop directory for who may not open it; never one of this user'
complete -c smtpsend -l queue-on-failure -d 'Put into the queue what a server does not take now'
complete -c smtpsend -l probe -d 'Ask the server what it offers and whether it takes --from and the recipients, and send nothing'
complete -c smtpsend -l mx -d 'Find each recipient\'s server by DNS'
complete -c smtpsend -l partial -d 'Send to those who are accepted although others are refused'
complete -c smtpsend -s n -l dry-run -d 'Print the message instead of sending it'
complete -c smtpsend -l retry-unknown -d 'Repeat also what may have been delivered (no answer after the whole message was sent)'
complete -c smtpsend -s 4 -l ipv4 -d 'IPv4 only'
complete -c smtpsend -s 6 -l ipv6 -d 'IPv6 only'
complete -c smtpsend -l insecure -d 'Take any certificate: anybody on the way can read and change everything'
complete -c smtpsend -l json -d 'Print JSON Lines: one object a record'
complete -c smtpsend -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c smtpsend -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c smtpsend -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c smtpsend -l show-config -d 'Print the options in force, with the origin of each, and end'
complete -c smtpsend -s h -l help -d 'Print help (see more with \'--help\')'
complete -c smtpsend -s V -l version -d 'Print version'
