#!/bin/sh
# cage.sh ROOT DIR COMMAND...: runs COMMAND as if the packages unpacked below ROOT were installed, for servers that have
# paths and user names compiled in: a mount namespace whose root is this system, read-only beneath, with the packages and
# the users they would have made on top. DIR, on a tmpfs, holds what is written: its `up` is the new root's top layer,
# where the caller puts configuration before and finds mail after. Root only. Nothing of the system changes.
set -eu
root=$1 dir=$2
shift 2
up=$dir/up
mkdir -p "$up/etc" "$up/usr" "$dir/work" "$dir/all"
chmod 755 "$dir" "$up" "$up/etc" "$up/usr"
# /lib and /sbin are links into /usr where the packages were built for it. What is installed is beneath already.
for part in usr/. lib:usr/lib sbin:usr/sbin bin:usr/bin etc/.; do
    from=${part%%:*} to=${part##*:}
    [ "$root" = / ] || [ ! -d "$root/$from" ] || { mkdir -p "$up/${to%/.}" && cp -an "$root/$from/." "$up/${to%/.}"; }
done
cp /etc/passwd /etc/group "$up/etc/"
number=30001
for user in vmail opensmtpd opensmtpq Debian-exim dovecot dovenull; do
    echo "$user:x:$number:$number::/nonexistent:/usr/sbin/nologin" >> "$up/etc/passwd"
    echo "$user:x:$number:" >> "$up/etc/group"
    number=$((number + 1))
done
mkdir -p "$up/var/lib/opensmtpd/empty" "$up/run/dovecot" "$up/var/spool/exim4" "$up/var/log/exim4" "$up/var/spool/smtpd/offline" "$up/mail"
chmod 711 "$up/var/spool/smtpd"
chgrp 30003 "$up/var/spool/smtpd/offline"
chmod 770 "$up/var/spool/smtpd/offline"
chown -R 30004:30004 "$up/var/spool/exim4" "$up/var/log/exim4"
chmod 777 "$up/mail"
export dir up
# shellcheck disable=SC2016
exec unshare --mount --propagation private sh -c '
    mount -t overlay overlay -o "lowerdir=/,upperdir=$up,workdir=$dir/work" "$dir/all"
    mount --rbind /dev "$dir/all/dev"
    mount -t proc proc "$dir/all/proc"
    exec chroot "$dir/all" "$@"' cage "$@"
