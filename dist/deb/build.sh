#!/bin/sh
# build.sh BINARIES DIR: makes the Debian packages of the suite in DIR from binaries that are built: applayer for this architecture,
# and applayer-sendmail, which gives it the names sendmail and mailq. Needs dpkg-deb and strip. The same binaries and
# SOURCE_DATE_EPOCH give the same bytes. Environment: DEBFULLNAME and DEBEMAIL, REVISION (1), and that of dpkg-deb.
set -eu
cd "$(dirname "$0")/../.."
binaries=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
version=$(sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)-${REVISION:-1}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C
umask 022
architecture=$(dpkg --print-architecture)
maintainer="${DEBFULLNAME:-applayer maintainers} <${DEBEMAIL:-maintainers@example.org}>"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# document PACKAGE: copyright and changelog.
document() {
    doc=$work/$1/usr/share/doc/$1
    mkdir -p "$doc"
    install -m 644 dist/deb/copyright "$doc/copyright"
    sed 's/^$/./; s/^/ /' LICENSE-MIT >> "$doc/copyright"
    printf 'applayer (%s) unstable; urgency=medium\n\n  * Changes: /usr/share/doc/applayer/changelog.gz.\n\n -- %s  %s\n' \
        "$version" "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n > "$doc/changelog.Debian.gz"
}

# finish PACKAGE ARCHITECTURE: the control files and the package. Fields that differ come on standard input.
finish() {
    tree=$work/$1
    mkdir -p "$tree/DEBIAN"
    {
        printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: %s\n' "$1" "$version" "$2" "$maintainer"
        printf 'Section: net\nPriority: optional\nInstalled-Size: '
        # In KiB, a directory as one: what du says depends on the file system.
        find "$tree" -printf '%y %s\n' | awk '{ kib += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print kib }'
        cat
    } > "$tree/DEBIAN/control"
    for script in postinst prerm postrm; do
        [ ! -e "dist/deb/$1.$script" ] || install -m 755 "dist/deb/$1.$script" "$tree/DEBIAN/$script"
    done
    (cd "$tree" && find etc -type f -printf '/%p\n' 2> "$work/none" | sort) > "$tree/DEBIAN/conffiles"
    [ -s "$tree/DEBIAN/conffiles" ] || rm "$tree/DEBIAN/conffiles"
    (cd "$tree" && find usr -type f | sort | xargs md5sum) > "$tree/DEBIAN/md5sums"
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group --build "$tree" "$out/$1_${version}_$2.deb"
}

tree=$work/applayer
sh dist/install.sh install "$binaries" /usr "$tree"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$tree"/usr/bin/*
find "$tree/usr/share/man" -type f -exec gzip -9n {} +
doc=$tree/usr/share/doc/applayer
rm "$doc"/LICENSE-*
mv "$doc/CHANGELOG.md" "$doc/changelog"
gzip -9n "$doc/changelog"
document applayer
# The C library must know the newest symbols that the programs ask it for.
libc=$(grep -aoh 'GLIBC_2\.[0-9]*' "$tree"/usr/bin/* | sort -u -V | tail -n 1)
depends="libc6 (>= ${libc#GLIBC_}), adduser"
! grep -aq 'libgcc_s\.so\.1' "$tree"/usr/bin/* || depends="$depends, libgcc-s1"
finish applayer "$architecture" << END
Depends: $depends
Recommends: ca-certificates
Description: FTP, mail and DNS for the shell
 Thirteen small Unix tools for scripts, cron jobs and pipes. ftpget, ftpput,
 ftpls and ftpdo fetch, store, list and change files by FTP, ftpserve serves a
 directory. smtpsend composes, submits and queues mail, smtpserve receives it,
 mailread reads mailboxes, mailq-run, mailq-ls and mailq-edit deliver and manage
 the queue. dnsq asks DNS servers, dnsserve answers from zone files.
 .
 No service is started: each has a systemd unit that waits to be enabled.
END

tree=$work/applayer-sendmail
mkdir -p "$tree/usr/bin" "$tree/usr/sbin" "$tree/usr/lib" "$tree/usr/share/man/man1" "$tree/usr/share/man/man8"
ln -s ../bin/smtpsend "$tree/usr/sbin/sendmail"
ln -s ../sbin/sendmail "$tree/usr/lib/sendmail"
ln -s smtpsend "$tree/usr/bin/mailq"
ln -s smtpsend.1.gz "$tree/usr/share/man/man1/mailq.1.gz"
ln -s ../man1/smtpsend.1.gz "$tree/usr/share/man/man8/sendmail.8.gz"
document applayer-sendmail
finish applayer-sendmail all << END
Depends: applayer (>= $version)
Provides: mail-transport-agent
Conflicts: mail-transport-agent
Replaces: mail-transport-agent
Description: sendmail and mailq by applayer
 The names by which other programs send mail. What they submit goes into the
 queue of the machine, and mailq-run.service delivers it, to the mail exchangers
 or to the relay that /etc/applayer/accounts names.
END
