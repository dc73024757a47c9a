#!/bin/sh
# postfix.sh ROOT BASE PORT [SETTING=VALUE...]: runs Postfix, installed or unpacked below ROOT, in the foreground on
# 127.0.0.1:PORT with a configuration, a queue and a log of its own below BASE, which must not exist yet. Further words go
# to main.cf and win over what stands here. TERM ends it and all of its processes. Root only: master(8) will have it so.
#
# What an unpacked Postfix needs beyond paths: its daemons read MAIL_CONFIG to find main.cf, and import_environment, which
# has to name LD_LIBRARY_PATH here, takes MAIL_CONFIG away unless it names that too.
set -eu
root=$1 base=$2 port=$3
shift 3
owner=daemon group=mail
[ "$root" != / ] || root=
mkdir -p "$base/etc" "$base/data" "$base/spool"
chmod 755 "$base" "$base/etc" "$base/spool"
for folder in active bounce corrupt defer deferred flush hold incoming private saved trace maildrop public; do
    mkdir -m 700 "$base/spool/$folder"
    chown "$owner" "$base/spool/$folder"
done
mkdir "$base/spool/pid"
chown "$owner" "$base/data"
chgrp "$group" "$base/spool/maildrop" "$base/spool/public"
chmod 730 "$base/spool/maildrop"
chmod 710 "$base/spool/public"
libraries=$(find "$root/usr/lib" -name '*.so*' -printf '%h\n' 2> /dev/null | sort -u | paste -s -d :)
cat > "$base/etc/main.cf" << CF
compatibility_level = 3.6
queue_directory = $base/spool
data_directory = $base/data
daemon_directory = $root/usr/lib/postfix/sbin
command_directory = $root/usr/sbin
shlib_directory = no
meta_directory = $base/etc
mail_owner = $owner
setgid_group = $group
default_privs = nobody
maillog_file = $base/log
maillog_file_prefixes = $base
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG POSTLOG_SERVICE POSTLOG_HOSTNAME TZ LANG=C LD_LIBRARY_PATH=$libraries
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
alias_maps =
alias_database =
local_recipient_maps =
smtp_tls_security_level = none
smtpd_tls_security_level = none
CF
for setting in "$@"; do echo "$setting" >> "$base/etc/main.cf"; done
cat > "$base/etc/master.cf" << CF
127.0.0.1:$port inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
CF
export LD_LIBRARY_PATH="$libraries"
exec "$root/usr/lib/postfix/sbin/master" -c "$base/etc" -d
