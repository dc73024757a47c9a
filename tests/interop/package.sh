#!/bin/sh
# package.sh ROOT DIR OLD NEW NSPAWN: two builds of the Debian packages, in the folders OLD and NEW, are installed, upgraded over a
# queue with mail in it, run by systemd, removed and purged. ROOT, which debootstrap made, lies beneath; DIR, on a tmpfs, takes
# what is written. Status 42: a container with systemd cannot be started here, everything else is as it should be. Root only.
set -eu
root=$1 dir=$2 old=$3 new=$4 nspawn=$5
if [ "${6:-}" != private ]; then
    exec unshare --mount --propagation private sh "$0" "$@" private
fi
all=$dir/all
mkdir -p "$dir/up" "$dir/work" "$all"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$dir/up,workdir=$dir/work" "$all"
mkdir "$all/old" "$all/new"
cp "$old"/*.deb "$all/old/"
cp "$new"/*.deb "$all/new/"
inside() { chroot "$all" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME=/root "$@"; }
package() { inside sh -c "$1" > "$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }; }
is() { [ "$1" = "$2" ] || { echo "is: $1" >&2; echo "not: $2" >&2; exit 1; }; }
mounted() { mount -t proc proc "$all/proc"; "$@"; umount "$all/proc"; }

echo "-- the units are confined, and are valid"
package 'dpkg -i /old/*.deb'
units=$(inside dpkg -L applayer | grep '^/usr/lib/systemd/system/.')
for unit in $units; do
    case $unit in *.service) inside systemd-analyze security --offline=true --threshold=20 "$unit" | tail -n 1 ;; esac
done
# shellcheck disable=SC2086
said=$(mounted inside systemd-analyze verify --man=no --recursive-errors=no $units 2>&1 || echo "status $?")
is "$said" ""

echo "-- installed: users, spool, nothing enabled but the runner of applayer-sendmail"
is "$(inside stat -c '%U:%G %a' /var/spool/applayer /var/spool/applayer-drop | xargs)" "applayer:applayer 700 applayer:applayer 3733"
is "$(inside id -un ftpserve)" ftpserve
is "$(cd "$all/etc/systemd/system" && ls -d ./*.wants/* | grep -e ftpserve -e smtpserve -e dnsserve -e mailq | xargs)" \
    ./multi-user.target.wants/mailq-run.service
is "$(inside readlink -f /usr/lib/sendmail)" /usr/bin/smtpsend

echo "-- mail is queued by two users, and upgraded over"
mkdir -p "$all/var/lib/applayer/mail/all/new" "$all/var/lib/applayer/mail/all/cur" "$all/var/lib/applayer/mail/all/tmp"
inside chown -R applayer: /var/lib/applayer/mail
echo 'route *=maildir:/var/lib/applayer/mail/all' > "$all/etc/applayer/mailq-run.conf"
submit() { # USER SUBJECT
    printf 'Subject: %s\n\nhello\n' "$2" |
        inside setpriv --reuid "$1" --regid "$1" --clear-groups sendmail -f me@a.test you@b.test
}
submit applayer first
submit daemon second
is "$(inside setpriv --reuid applayer --regid applayer --clear-groups mailq-ls | wc -l)" 2
package 'dpkg -i /new/*.deb'
is "$(inside dpkg-query -W -f '${Version} ' applayer applayer-sendmail)" "0.1.0-2 0.1.0-2 "
is "$(inside setpriv --reuid applayer --regid applayer --clear-groups mailq-ls | wc -l)" 2
is "$(ls "$all"/var/spool/applayer-drop/*/ | grep -c -v : || true)" 1
# What an administrator wrote stays, and dpkg knows of it.
grep -q '^route' "$all/etc/applayer/mailq-run.conf"
is "$(inside dpkg-query -W -f '${Conffiles}' applayer | awk '{ print $1 }' | xargs)" "$(cd "$(dirname "$0")/../../dist/conf" &&
    printf '/etc/applayer/%s\n' *.conf | xargs)"

echo "-- under systemd"
install -m 755 "$(dirname "$0")/under_systemd.sh" "$all/check"
cat > "$all/etc/systemd/system/check.service" << 'END'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /check
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=file:/result
StandardError=inherit
TimeoutStartSec=120
END
inside systemctl enable --quiet mailq-run.service
mkdir -p "$all/etc/systemd/system/multi-user.target.wants" "$all/etc/systemd/system/default.target.wants"
ln -s ../check.service "$all/etc/systemd/system/default.target.wants/"
rm -f "$all/etc/resolv.conf"
booted=yes
timeout 180 "$nspawn" --quiet --register=no --keep-unit --private-network --directory="$all" --boot --console=read-only \
    < /dev/null > "$dir/boot" 2>&1 || echo "nspawn: status $?" >> "$dir/boot"
if [ ! -e "$all/result" ]; then
    booted=
    tail -n 5 "$dir/boot"
elif ! grep -qx 'all of it holds' "$all/result"; then
    cat "$dir/boot" "$all/result"
    exit 1
else
    cat "$all/result"
fi

echo "-- removed: what was configured stays; purged: nothing stays"
rm -rf "$all/check" "$all/etc/systemd/system/check.service" "$all/etc/systemd/system/default.target.wants" "$all/result"
package 'dpkg -r applayer-sendmail applayer'
grep -q '^route' "$all/etc/applayer/mailq-run.conf" && [ -e "$all/var/spool/applayer/queue.db" ] && [ ! -e "$all/usr/bin/ftpget" ]
rm -rf "$all"/etc/applayer/zone "$all"/etc/applayer/mail-users "$all"/var/lib/applayer/mail/* "$all"/var/lib/ftpserve/*
package 'dpkg -P applayer-sendmail applayer'
is "$(inside find /etc /usr /var /opt '(' -name '*applayer*' -o -name 'ftpserve*' -o -name 'smtpserve*' -o -name 'dnsserve*' -o -name 'mailq*' ')' \
    -not -path '/var/lib/systemd/*' -not -path '/var/log/*' -not -path '/var/lib/private*' | xargs)" ""
[ -n "$booted" ] || exit 42
