complete -c smtpserve -l domain -d 'Accept mail for this domain; may be repeated' -r
complete -c smtpserve -l mailboxes -d 'Directory of the mailboxes: DIR/USER or DIR/DOMAIN/USER, each a Maildir; only existing ones get mail' -r -F
complete -c smtpserve -l relay-from -d 'Relay for clients of this network, ADDRESS or ADDRESS/BITS; may be repeated' -r
complete -c smtpserve -l hostname -d 'Host name in the greeting (default: the first domain, else the name of this host)' -r
complete -c smtpserve -l max-messages-per-user -d 'Accept at most N messages per hour from one user; 0: no limit' -r
complete -c smtpserve -l max-recipients-per-user -d 'Accept at most N recipients per hour from one user; 0: no limit' -r
complete -c smtpserve -l socket-mode -d 'Mode of UNIX sockets' -r
complete -c smtpserve -l socket-owner -d 'Owner of UNIX sockets' -r
complete -c smtpserve -l tls -d 'When TLS starts: by STARTTLS on the client\'s request, by STARTTLS before any other command, or before the first byte' -r -f -a "starttls\t'By STARTTLS, on the client\'s request'
required\t'By STARTTLS, before any other command'
implicit\t'Before the first byte'"
complete -c smtpserve -l max-size -d 'Largest accepted message' -r
complete -c smtpserve -l min-free -d 'Answer 452 to MAIL, and break off a message, when the file system of mailboxes or queue has less free space than this' -r
complete -c smtpserve -l max-recipients -d 'Most recipients of one message' -r
complete -c smtpserve -l max-hops -d 'Refuse a message that passed through N servers: mail loop' -r
complete -c smtpserve -l newlines -d 'Treatment of a line that ends with LF alone' -r -f -a "reject\t'The message is refused and the connection ends'
normalize\t'It is taken as CRLF, except at the end of a message'"
complete -c smtpserve -l timeout -d 'Time to wait for a silent client' -r
complete -c smtpserve -l domains -d 'Accept mail for the domains in FILE too, one per line; HUP reads it again' -r -F
complete -c smtpserve -l aliases -d 'Expand recipients by the aliases in FILE, in the form of /etc/aliases; `user@domain: …` and `@domain: …` are for one domain; HUP reads it again' -r -F
complete -c smtpserve -l route -d 'Accept mail for DOMAIN or .DOMAIN (those below it) and pass it through the queue to smtp://, smtps://, submission://, lmtp:, lmtp+unix:, maildir: or mx:' -r
complete -c smtpserve -l exec -d 'Give mail for the domains to this program, without a shell: the message is its input, sysexits(3) are the answer' -r
complete -c smtpserve -l exec-timeout -d 'Time that a program of --exec or --aliases may take for a message' -r
complete -c smtpserve -l exec-jobs -d 'Run at most N programs at once' -r
complete -c smtpserve -l quota -d 'Limit of a mailbox in bytes, and in messages; ADDRESS= sets that of one mailbox, `@DOMAIN=` those of a domain; may be repeated' -r
complete -c smtpserve -l max-clients -d 'Serve at most N connections at once; more are refused' -r
complete -c smtpserve -l max-per-address -d 'Serve at most N connections from one address (IPv6: one /64 network), and no more than half of --max-clients' -r
complete -c smtpserve -l max-rate-per-address -d 'Accept at most N new connections per minute from one address, half of them at once; 0: no limit' -r
complete -c smtpserve -l address-file -d 'Write the URLs to FILE, one per line, once the server listens' -r -F
complete -c smtpserve -l drain -d 'After INT or TERM, let open connections finish for this time' -r
complete -c smtpserve -l cert -d 'Offer TLS with this certificate chain (PEM); may be repeated: a client gets the first that has the requested name' -r -F
complete -c smtpserve -l key -d 'The certificate\'s key (PEM), if not in the same file; one for each --cert' -r -F
complete -c smtpserve -l self-signed -d 'Offer TLS with a certificate made for NAME at start; may be repeated' -r
complete -c smtpserve -l cert-out -d 'Write the certificate that --self-signed made to FILE, for clients\' --ca-cert' -r -F
complete -c smtpserve -l client-ca -d 'Accept only clients with a certificate issued by an authority in FILE (PEM); without it no command is obeyed' -r -F
complete -c smtpserve -l min-rate -d 'Disconnect a client that is slower than RATE bytes per second for the time of --timeout; 0: only the timeout applies' -r
complete -c smtpserve -l user-file -d 'Users who may log in: one NAME:HASH[:HOME[:FLAGS]] per line; --hash-password makes the hash' -r -F
complete -c smtpserve -l hash-password -d 'Ask for a password (without a terminal: read it from stdin), print its hash for the user file, and exit' -r -f -a "argon2id\t'Argon2id: the best protection of a stolen file; passwords are checked by PLAIN and LOGIN'
scram-sha-256\t'A verifier for SCRAM-SHA-256, which also works with PLAIN and LOGIN'"
complete -c smtpserve -l log -d 'Append the log, one line of text per event, to FILE (created with mode 0600, not through a link); HUP reopens it' -r -F
complete -c smtpserve -l syslog -d 'Send the log to the local syslog daemon as daemon, mail, ftp, auth, local0 …; FACILITY,rfc5424: in the format of RFC 5424' -r -f -a "user\t''
mail\t''
daemon\t''
auth\t''
syslog\t''
lpr\t''
news\t''
uucp\t''
cron\t''
authpriv\t''
ftp\t''
local0\t''
local1\t''
local2\t''
local3\t''
local4\t''
local5\t''
local6\t''
local7\t''"
complete -c smtpserve -l metrics -d 'Serve the counters in Prometheus\' text format at http://ADDR/metrics; a port alone is one of 127.0.0.1' -r
complete -c smtpserve -l reload-every -d 'Check for changed certificate files at this interval; 0: read them again only on HUP' -r
complete -c smtpserve -l run-as -d 'When started as root, become USER after ports are bound and keys are read (default: the owner of the served files)' -r
complete -c smtpserve -l queue-dir -d 'Queue directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below $XDG_STATE_HOME)' -r -F
complete -c smtpserve -l greet-pause -d 'Wait this long before the greeting, and refuse a client that speaks earlier' -r
complete -c smtpserve -l reject-helo -d 'Refuse the mail of clients whose name in EHLO is ours (own), or an address without brackets (literal)' -r -f -a "own\t'The name of this server, one of its domains, or localhost'
literal\t'An address without brackets'"
complete -c smtpserve -l proxy-from -d 'Take the client\'s address from the PROXY header (version 2) that proxies of this network send; may be repeated' -r
complete -c smtpserve -l capture -d 'Take all mail for tests, deliver none: keep it in DIR or mbox:FILE, or print it (-)' -r
complete -c smtpserve -l expect -d 'End after N messages; with status 75 if fewer came' -r
complete -c smtpserve -l max-time -d 'End after this time, whatever came' -r
complete -c smtpserve -l fail -d 'Fail on purpose: PHASE[=PATTERN],KEY[=VALUE],... (rcpt=bob@*,code=451,percent=30); may be repeated' -r
complete -c smtpserve -l seed -d 'Number that decides which matches fail by percent' -r
complete -c smtpserve -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c smtpserve -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c smtpserve -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c smtpserve -l listen -d 'Listen on ADDRESS:PORT (port 0: any free one), on PORT of 127.0.0.1, or on a UNIX socket, /PATH; may be repeated' -r
complete -c smtpserve -l create -d 'Create missing mailboxes'
complete -c smtpserve -l lmtp -d 'Speak LMTP (RFC 2033): one reply per recipient'
complete -c smtpserve -l submission -d 'Accept mail only from users who have logged in inside TLS, from their own addresses, and complete it (RFC 6409)'
complete -c smtpserve -l any-sender -d 'Let users send from any address, not only from their own'
complete -c smtpserve -l auth-in-clear -d 'Accept passwords without TLS'
complete -c smtpserve -l strict-syntax -d 'Refuse commands that violate RFC 5321: addresses without <>, with comments or misplaced dots, bad names in EHLO'
complete -c smtpserve -l alias-commands -d 'Permit aliases that lead to a |command or a /file'
complete -c smtpserve -l check-config -d 'Check the options and files without starting, and exit: 0 if they are valid, else 78'
complete -c smtpserve -l i-know -d 'Allow --run-as to name root'
complete -c smtpserve -l no-sandbox -d 'Do not restrict the server to the named files and directories'
complete -c smtpserve -l capture-sync -d 'Sync each message to disk before its reply 250'
complete -c smtpserve -l json -d 'Print JSON Lines: one object per record'
complete -c smtpserve -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c smtpserve -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c smtpserve -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c smtpserve -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c smtpserve -s h -l help -d 'Print help (see more with \'--help\')'
complete -c smtpserve -s V -l version -d 'Print version'
