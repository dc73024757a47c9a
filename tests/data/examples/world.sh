# The files that the examples of the README, man pages and docs/ speak of. Run in the directory of the examples' world before
# each of them: what an earlier one took away or left is as it was.
set -eu
rm -rf processed psql at systemctl home queue tmp srv var etc spool out err ./*.address ftp/* mail/*
mkdir -p home tmp bin ftp mail zones srv/mirror srv/pub srv/inbox srv/ftp srv/backup var/log var/backups var/spool var/lib etc/applayer

# ---- logins: robot and www at the FTP server, alice at the mail server; every password is "secret"
hash='$argon2id$v=19$m=19456,t=2,p=1$XqAqvmVVzlCr4BM6Ek67fQ$1d2GuyP+VURZCol6hREL0/it254AF2UAm7DAsXw9Ixc'
[ -e users ] || printf '%s\n' "robot:$hash:robot" "www:$hash:www" > users
[ -e mail-users ] || printf '%s\n' "alice:$hash" "alice@example.org:$hash" "robot:$hash" > mail-users
[ -e password ] || (umask 077; echo secret > password)
chmod 644 users mail-users

# ---- what the FTP server has: anonymous users see pub, robot begins in robot, www in www
mkdir -p ftp/pub/photos ftp/pub/empty ftp/robot/inbox/done ftp/robot/inbox/in ftp/robot/out ftp/robot/done \
    ftp/robot/backup ftp/robot/inbox/2025 ftp/robot/old ftp/www/htdocs
echo 'read me' > ftp/pub/README
echo 'a,b' > ftp/pub/daily.csv
cp ftp/pub/daily.csv ftp/daily.csv
cp ftp/pub/README ftp/README.md
head -c 2000000 /dev/zero > ftp/pub/photos/big.iso
echo 'select 1;' | gzip > ftp/pub/dump.sql.gz
for name in report.csv report.pdf a.iso b.iso; do echo "$name" > "ftp/robot/out/$name"; done
cp ftp/robot/out/report.csv ftp/robot/inbox/report.csv
cp ftp/robot/out/report.pdf ftp/robot/report.pdf
echo old > ftp/robot/inbox/2025/old
for name in backup-1.tar backup-2.tar; do echo "$name" > "ftp/robot/backup/$name"; done
touch -d '40 days ago' ftp/robot/backup/backup-1.tar

# ---- mailboxes of the mail server
for box in alice bob ops root me robot postmaster; do mkdir -p "mail/$box/cur" "mail/$box/new" "mail/$box/tmp"; done

# ---- the zones of the name server
zone() {
    cat <<END
\$ORIGIN $1.
\$TTL 300
@       IN SOA  ns1 hostmaster 1 3600 600 86400 60
        IN NS   ns1
        IN NS   ns2
        IN MX   10 mail
        IN A    127.0.0.1
        IN AAAA ::1
        IN TXT  "v=spf1 mx -all"
        IN CAA  0 issue "ca.example.net"
ns1     IN A    127.0.0.1
ns2     IN A    127.0.0.1
mail    IN A    127.0.0.1
www     IN A    127.0.0.1
ftp     IN A    127.0.0.1
_dmarc  IN TXT  "v=DMARC1; p=reject; rua=mailto:dmarc@$1"
s1._domainkey IN TXT "v=DKIM1; k=rsa; p=MIGf"
_25._tcp.mail IN TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
END
}
if [ ! -e zones/example.org ]; then
    for name in example.org example.net example.com alice.test bob.test; do zone "$name" > "zones/$name"; done
    printf '%s\n' '$ORIGIN 2.0.192.in-addr.arpa.' '$TTL 300' '@ SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60' \
        '@ NS ns1.example.org.' '53 PTR ns1.example.org.' > zones/reverse
    echo 'nameserver 127.0.0.1' > resolv.conf
fi

# ---- what lies in the directory of the person
cd home
mkdir -p .config/applayer Maildir/cur Maildir/new Maildir/tmp invoices site/css
printf 'machine localhost login robot password secret\nmachine localhost login www password secret\n' > .netrc
for name in .secret .mailpass joe.password alice.password; do echo secret > "$name"; done
chmod 600 .netrc .secret .mailpass ./*.password
echo 'report' > report.pdf
echo 'read me' > README.md
cp report.pdf report.txt
cp report.pdf figures.pdf
cp report.pdf note.txt
echo '<p>Hello</p>' > page.html
printf 'disk,used\n/,40\n' > usage.csv
printf 'name,email,order\nAnn,ann@example.net,7\nBen,ben@example.net,8\n' > customers.csv
printf 'From: Shop <shop@example.org>\nTo: {{name}} <{{email}}>\nSubject: Your order {{order}}\n\nHello {{name}}\n' > letter.txt
echo '<html></html>' > site/index.html
echo 'b {}' > site/css/site.css
printf '%s\n' example.org example.net nothere.example.org > names.txt
printf '%s,x\n' www.example.org mail.example.org > hosts.csv
echo "127.0.0.1:${DNS:-53}" > resolvers.txt
cp ../zones/example.org example.zone
cp ../users ../mail-users .
chmod 600 users mail-users
cp ../resolv.conf ../etc/resolv.conf
cat > account <<END
account default
host 127.0.0.1
port ${SMTP:-25}
from alice@example.org
tls_trust_file $OLDPWD/mail.pem
tls_host_override mail.example.org
account billing : default
END
cp account .config/applayer/accounts

# message NUMBER FROM SUBJECT: one with an attachment called report-NUMBER.csv, as unread mail.
message() {
    cat > "Maildir/new/100000000$1.$1.host" <<END
From: $2
To: me@example.org
Subject: $3
Date: Sat, 28 Nov 2026 06:0$1:00 +0000
Message-ID: <$1@example.net>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b

Hello.
--b
Content-Type: text/csv
Content-Disposition: attachment; filename="report-$1.csv"

a,b
--b--
END
}
message 1 bob@example.net 'Report October'
message 2 carol@example.com 'Lunch'
message 3 bob@example.org 'Report November'
message 4 bob@example.net 'Invoice 7'
cp Maildir/new/1000000001.1.host news.eml
printf 'From: alice@example.org\nTo: %s@example.net\nSubject: Invoice\n\nPlease pay.\n' bob > invoices/1.eml
printf 'From: alice@example.org\nTo: %s@example.net\nSubject: Invoice\n\nPlease pay.\n' ann > invoices/2.eml

# ---- programs of others in the examples: what they are given is what counts
cd ../bin
stub() { printf '#!/bin/sh\n%s\n' "$2" > "$1"; chmod 755 "$1"; }
stub psql 'cat > "$W/psql"'
stub pg_dump 'echo "select 1;"'
stub at 'echo "$@" > "$W/at"; cat >> "$W/at"'
stub process 'printf "%s\n" "$1" >> "$W/processed"'
stub make-zone 'cat "$W/zones/example.org"'
stub systemctl 'echo "$@" >> "$W/systemctl"'
stub chown 'echo "chown $*" >> "$W/systemctl"'
