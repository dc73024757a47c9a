# Runs as a unit of the system that package.sh starts. Its last line is "all of it holds".
set -eu
export HOME=/root LC_ALL=C
is() { [ "$1" = "$2" ] || { echo "is: $1"; echo "not: $2"; exit 1; }; }
# until_is WANTED COMMAND...: waits until it prints that.
until_is() {
    wanted=$1; shift
    for _ in $(seq 600); do
        got=$("$@" 2>&1) || true
        [ "$got" != "$wanted" ] || return 0
        sleep 0.1
    done
    echo "$*: $got, not $wanted"
    journalctl --no-pager -n 40
    exit 1
}
shows() { systemctl show --value -p "$1" "$2"; }

echo "hello from the service" > /var/lib/ftpserve-file
install -d -o ftpserve /var/lib/ftpserve
mv /var/lib/ftpserve-file /var/lib/ftpserve/hello
chmod 644 /var/lib/ftpserve/hello
printf 'domain a.test\nmailboxes /var/lib/applayer/mail\ncreate\n' > /etc/applayer/smtpserve.conf
echo secret > /root/password
chmod 600 /root/password
echo "joe:$(smtpserve --hash-password=scram-sha-256 < /root/password)::address=me@a.test" > /etc/applayer/mail-users
chown applayer /etc/applayer/mail-users
chmod 600 /etc/applayer/mail-users
printf 'submission\nhostname mail.a.test\nuser-file /etc/applayer/mail-users\nself-signed mail.a.test\n' \
    > /etc/applayer/smtpserve-submission.conf
zone() { printf '@ 60 SOA ns hostmaster %s 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.%s\n' "$1" "$1" > /etc/applayer/zone; }
zone 1
chmod 644 /etc/applayer/zone
echo 'zone a.test=/etc/applayer/zone' > /etc/applayer/dnsserve.conf

# Sockets alone: the first client starts the service.
systemctl enable --quiet --now ftpserve.socket smtpserve.socket smtpserve-submission.socket smtpserve-submissions.socket \
    dnsserve.socket
for service in ftpserve smtpserve smtpserve-submission dnsserve; do is "$(shows ActiveState $service)" inactive; done
is "$(ftpget -o - ftp://127.0.0.1/hello)" "hello from the service"
is "$(ftpget -o - 'ftp://[::1]/hello')" "hello from the service"
printf 'Subject: third\n\nhello\n' | smtpsend --server smtp://127.0.0.1 --from me@c.test --to bob@a.test --body -
printf 'Subject: fourth\n\nhello\n' | smtpsend --server submission://127.0.0.1 --insecure --user joe --password-file /root/password \
    --from me@a.test --to you@b.test --body -
smtpsend --probe --server submissions://127.0.0.1 --insecure --user joe --password-file /root/password > /dev/null
is "$(dnsq --short @127.0.0.1 ns.a.test A)" 192.0.2.1
is "$(dnsq --short --tcp @127.0.0.1 ns.a.test A)" 192.0.2.1
for service in ftpserve smtpserve smtpserve-submission dnsserve mailq-run; do
    is "$(shows ActiveState $service) $(shows NRestarts $service)" "active 0"
    grep -q '^CapEff:.0000000000000000$' "/proc/$(shows MainPID $service)/status"
    grep -q '^NoNewPrivs:.1$' "/proc/$(shows MainPID $service)/status"
    grep -q '^Seccomp:.2$' "/proc/$(shows MainPID $service)/status"
    echo "$service: $(stat -c %U "/proc/$(shows MainPID $service)"), activated by its socket, answers"
done
ls /var/lib/applayer/mail/bob/new/* > /dev/null

# What waited since before the upgrade is delivered, with who submitted it, and what was submitted just now.
until_is 3 sh -c 'ls /var/lib/applayer/mail/all/new | wc -l'
grep -l 'Subject: second' /var/lib/applayer/mail/all/new/* | xargs grep -q "$(id -u daemon)"
systemctl start mailq-run-once.service

# A reload is waited for.
zone 2
systemctl reload dnsserve
is "$(dnsq --short @127.0.0.1 ns.a.test A)" 192.0.2.2

# The watchdog: heard of again and again, and a process that hangs is replaced.
mkdir -p /run/systemd/system/ftpserve.service.d
printf '[Service]\nWatchdogSec=1\nRestartSec=0\nWatchdogSignal=SIGKILL\n' > /run/systemd/system/ftpserve.service.d/test.conf
systemctl daemon-reload
systemctl restart ftpserve
first=$(shows WatchdogTimestampMonotonic ftpserve)
until_is yes sh -c "[ \$(systemctl show --value -p WatchdogTimestampMonotonic ftpserve) -gt $((first + 1500000)) ] && echo yes"
is "$(shows NRestarts ftpserve)" 0
kill -STOP "$(shows MainPID ftpserve)"
until_is "active 1" sh -c 'echo $(systemctl show --value -p ActiveState -p NRestarts ftpserve | sort -r)'
is "$(ftpget -o - ftp://127.0.0.1/hello)" "hello from the service"

# An upgrade replaces what runs.
before=$(shows MainPID smtpserve)
dpkg -i /new/applayer_*.deb > /dev/null 2>&1
[ "$(shows MainPID smtpserve)" != "$before" ]
is "$(shows ActiveState smtpserve)" active
systemctl stop ftpserve.socket ftpserve smtpserve.socket smtpserve
is "$(shows Result ftpserve) $(shows Result smtpserve)" "success success"
echo "all of it holds"
