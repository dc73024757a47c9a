#!/bin/sh
# fetch.sh ROOT PACKAGE...: downloads Debian packages and those of their libraries and modules that this system lacks, and
# unpacks them below ROOT. Nothing is installed, no maintainer script runs. ROOT/.complete says that all of it is there.
# pypi:PACKAGE comes from PyPI, as wheels.
set -eu
root=$1
shift
[ -e "$root/.complete" ] && exit 0
case $1 in pypi:*)
    mkdir -p "$root/usr/bin"
    python3 -m pip install -q --only-binary :all: --target "$root/usr/lib/python3/dist-packages" "${1#pypi:}" > "$root/pip.log" 2>&1 ||
        { tail -n 3 "$root/pip.log" >&2; exit 1; }
    touch "$root/.complete"
    exit 0 ;;
esac
mkdir -p "$root/packages"
root=$(cd "$root" && pwd)
cd "$root/packages"

apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
    grep -v -e '^[ |<]' -e : | sort -u > tree
dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' | sed -n 's/^ii *//p' | sort -u > installed
comm -23 tree installed | grep -E -e '^lib' -e '^python3-' -e '-common$' -e '-libs$' > missing || true
printf '%s\n' "$@" >> missing
sort -u missing | xargs apt-get -q download > download.log 2>&1 || { tail -n 3 download.log >&2; exit 1; }
for archive in *.deb; do
    dpkg -x "$archive" "$root"
done
cd "$root"
rm -r packages
touch .complete
