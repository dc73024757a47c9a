complete -c dnsserve -l zone -d 'Zone file whose relative names end in NAME; may be repeated' -r
complete -c dnsserve -l forward -d 'Forward queries for other names to this server; may be repeated' -r
complete -c dnsserve -l allow-forward -d 'Forward queries from this network (ADDRESS or ADDRESS/PREFIX) instead of those from this host and its networks; may be repeated' -r
complete -c dnsserve -l allow-transfer -d 'Allow zone transfers to this network (ADDRESS or ADDRESS/PREFIX); the default is to no one' -r
complete -c dnsserve -s k -l key-file -d 'Allow zone transfers to clients that sign with the key in FILE (TSIG, in BIND\'s form), and sign the answers; may be repeated' -r -F
complete -c dnsserve -l max-zone-size -d 'Read at most SIZE bytes per zone, included files counted' -r
complete -c dnsserve -l max-records -d 'Accept at most N records per zone' -r
complete -c dnsserve -l max-generate -d 'Let $GENERATE create at most N records per zone' -r
complete -c dnsserve -l listen -d 'Listen on ADDRESS:PORT (port 0: any free one), or on PORT of 127.0.0.1; may be repeated' -r
complete -c dnsserve -l max-clients -d 'Serve at most N connections at once; more are refused' -r
complete -c dnsserve -l max-per-address -d 'Serve at most N connections from one address (IPv6: one /64 network), and no more than half of --max-clients' -r
complete -c dnsserve -l max-rate-per-address -d 'Accept at most N new connections per minute from one address, half of them at once; 0: no limit' -r
complete -c dnsserve -l address-file -d 'Write the URLs to FILE, one per line, once the server listens' -r -F
complete -c dnsserve -l drain -d 'After INT or TERM, let open connections finish for this time' -r
complete -c dnsserve -l log -d 'Append the log, one line of text per event, to FILE (created with mode 0600, not through a link); HUP reopens it' -r -F
complete -c dnsserve -l syslog -d 'Send the log to the local syslog daemon as daemon, mail, ftp, auth, local0 …; FACILITY,rfc5424: in the format of RFC 5424' -r -f -a "user\t''
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
complete -c dnsserve -l metrics -d 'Serve the counters in Prometheus\' text format at http://ADDR/metrics; a port alone is one of 127.0.0.1' -r
complete -c dnsserve -l reload-every -d 'Check for changed certificate files at this interval; 0: read them again only on HUP' -r
complete -c dnsserve -l run-as -d 'When started as root, become USER after ports are bound and keys are read (default: the owner of the served files)' -r
complete -c dnsserve -l report -d 'Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N' -r
complete -c dnsserve -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Always'
never\t'Never'"
complete -c dnsserve -l config -d 'Read options from FILE, one per line, instead of the default files; - reads none' -r -F
complete -c dnsserve -l check -d 'Check the zone files, print a summary, errors and warnings, and exit'
complete -c dnsserve -l strict -d 'Serve no zone, and exit --check with 65, if a zone has an error or a warning'
complete -c dnsserve -l no-include -d 'Refuse $INCLUDE, for zone files from untrusted sources'
complete -c dnsserve -l check-config -d 'Check the options and files without starting, and exit: 0 if they are valid, else 78'
complete -c dnsserve -l i-know -d 'Allow --run-as to name root'
complete -c dnsserve -l no-sandbox -d 'Do not restrict the server to the named files and directories'
complete -c dnsserve -l json -d 'Print JSON Lines: one object per record'
complete -c dnsserve -s q -l quiet -d 'No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)'
complete -c dnsserve -s v -l verbose -d 'Show the dialogue with the peer on stderr, without secrets'
complete -c dnsserve -s 0 -l null -d 'End records with NUL and leave bytes unescaped'
complete -c dnsserve -l show-config -d 'Print the options in force, each with its origin, and exit'
complete -c dnsserve -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dnsserve -s V -l version -d 'Print version'
