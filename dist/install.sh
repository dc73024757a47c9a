#!/bin/sh
# install.sh install|uninstall BINARIES PREFIX [DESTDIR]: copies what belongs to the suite below DESTDIR/PREFIX, or removes it.
# Nothing is built. Both go by one list. BINARIES is where cargo put the tools. Options files of the services go to
# DESTDIR/etc/applayer, where what an administrator wrote stays.
set -eu
cd "$(dirname "$0")/.."
verb=$1 binaries=$2 prefix=$3 root=${4:-}$3 etc=${4:-}/etc/applayer
tools='ftpget ftpput ftpls ftpdo ftpserve smtpsend smtpserve mailread mailq-run mailq-ls mailq-edit dnsq dnsserve'

# One line for each file: mode, where it goes below the prefix, where it is.
list() {
    for tool in $tools; do
        echo "755 bin/$tool $binaries/$tool"
        echo "644 share/man/man1/$tool.1 man/$tool.1"
        echo "644 share/applayer/schemas/$tool.json schemas/$tool.json"
        echo "644 share/bash-completion/completions/$tool completions/$tool.bash"
        echo "644 share/zsh/site-functions/_$tool completions/_$tool"
        echo "644 share/fish/vendor_completions.d/$tool.fish completions/$tool.fish"
    done
    echo "644 share/man/man5/applayer-queue.5 man/applayer-queue.5"
    echo "644 share/man/man7/applayer.7 man/applayer.7"
    for file in README.md CHANGELOG.md ARCHITECTURE.md LICENSE-MIT LICENSE-APACHE bench/RESULTS.md docs/*; do
        echo "644 share/doc/applayer/$file $file"
    done
    for file in examples/*; do echo "755 share/doc/applayer/$file $file"; done
    for file in dist/fail2ban/* dist/logrotate/*; do echo "644 share/doc/applayer/${file#dist/} $file"; done
    for file in dist/systemd/*.service dist/systemd/*.socket dist/systemd/*.timer; do
        echo "644 lib/systemd/system/${file##*/} $file"
    done
    for kind in sysusers tmpfiles; do echo "644 lib/$kind.d/applayer.conf dist/systemd/$kind.conf"; done
}

case $verb in
install)
    for tool in $tools; do
        [ -x "$binaries/$tool" ] || { echo "install: $binaries/$tool is not there: run make first" >&2; exit 1; }
    done
    list | while read -r mode to from; do
        install -D -m "$mode" "$from" "$root/$to"
        # The units name the programs where the prefix has them.
        case $to in *.service) sed -i "s|^\(ExecStart=\)/usr/bin/|\1$prefix/bin/|" "$root/$to" ;; esac
    done
    for file in dist/conf/*; do
        [ -e "$etc/${file##*/}" ] || install -D -m 644 "$file" "$etc/${file##*/}"
    done
    ;;
uninstall)
    list | while read -r _ to _; do rm -f "$root/$to"; done
    # The names of install-sendmail, if they are ours.
    for link in sbin/sendmail bin/mailq; do
        case $(readlink "$root/$link") in *smtpsend) rm "$root/$link" ;; esac
    done
    for file in dist/conf/*; do
        ! cmp -s "$file" "$etc/${file##*/}" || rm "$etc/${file##*/}"
    done
    [ ! -d "$etc" ] || rmdir --ignore-fail-on-non-empty "$etc"
    for folder in share/applayer/schemas share/applayer share/doc/applayer/bench share/doc/applayer/docs \
        share/doc/applayer/examples share/doc/applayer/fail2ban share/doc/applayer/logrotate share/doc/applayer; do
        [ ! -d "$root/$folder" ] || rmdir "$root/$folder"
    done
    ;;
esac
