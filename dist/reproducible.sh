#!/bin/sh
# reproducible.sh BINARIES DIR: builds the commit that is checked out once more, in DIR, with other directories, another CARGO_HOME,
# umask, time zone and language, and compares bit for bit with BINARIES, which `make` built here: the programs, the Debian packages
# of them, the source archive. No program may hold a path of its build. DIR is made, and removed when all is equal.
set -eu
cd "$(dirname "$0")/.."
here=$(pwd)
git rev-parse HEAD >/dev/null 2>&1 || { echo "reproducible: skipped: this is no git checkout"; exit 0; }
tools='ftpget ftpput ftpls ftpdo ftpserve smtpsend smtpserve mailread mailq-run mailq-ls mailq-edit dnsq dnsserve'
[ -z "$(git status --porcelain --untracked-files=no)" ] || { echo "reproducible: there are changes without a commit" >&2; exit 1; }
binaries=$(cd "$1" && pwd)
mkdir "$2"
out=$(cd "$2" && pwd)
first=$out/first second=$out/second clone=$out/another/checkout
crates=${CARGO_HOME:-$HOME/.cargo}
mkdir "$first" "$second"

git clone --quiet "$here" "$clone"
# The same crates, under another name: they are not fetched again.
ln -s "$crates" "$out/crates"
dpkg=$(command -v dpkg-deb || true)
[ -z "$dpkg" ] || sh dist/deb/build.sh "$binaries" "$first"
sh dist/source.sh "$first" > "$out/log"
(
    umask 077
    export TZ=Pacific/Auckland LC_ALL=C LANG=C CARGO_HOME="$out/crates" CARGO_TARGET_DIR="$out/objects"
    cd "$clone"
    make build
    [ -z "$dpkg" ] || sh dist/deb/build.sh "$out/objects/release" "$second"
    sh dist/source.sh "$second" >> "$out/log"
)
for tool in $tools; do
    ln "$out/objects/release/$tool" "$second/$tool"
    ln -s "$binaries/$tool" "$first/$tool"
done

failed=0
complain() {
    echo "reproducible: $*" >&2
    failed=$((failed + 1))
}
for file in "$first"/*; do
    name=${file##*/}
    cmp "$file" "$second/$name" || complain "$name differs between two builds"
done
for tool in $tools; do
    for path in "$here" "$binaries" "$out" "$crates" "${RUSTUP_HOME:-$HOME/.rustup}"; do
        ! grep -aqF "$path/" "$binaries/$tool" || complain "$tool holds the path $path"
    done
done
count=$(find "$first" -mindepth 1 | wc -l)
[ "$failed" = 0 ] || { echo "reproducible: $count files compared, $failed complaints; see $out" >&2; exit 1; }
rm -rf "$out"
echo "reproducible: $count files are equal bit for bit, and no program holds a path of its build"
