#!/bin/sh
# source.sh DIR: makes DIR/applayer-VERSION.tar.gz from the commit that is checked out, with every crate it needs: it builds
# without a network. Two runs on one commit give the same bytes.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
name=applayer-$version
mkdir -p "$1"
out=$(cd "$1" && pwd)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git archive --prefix="$name/" HEAD | tar -x -C "$work"
cd "$work/$name"
mkdir .cargo
"${CARGO:-cargo}" vendor --quiet --locked --versioned-dirs vendor
printf '[source.crates-io]\nreplace-with = "vendor"\n\n[source.vendor]\ndirectory = "vendor"\n' > .cargo/config.toml
cd ..
LC_ALL=C tar --sort=name --format=ustar --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w -c "$name" |
    gzip -n > "$out/$name.tar.gz.new"
mv "$out/$name.tar.gz.new" "$out/$name.tar.gz"
echo "$out/$name.tar.gz"
