# applayer: everything a newcomer needs, by one word each. `make` alone builds the binaries.
#
#   make demo       build, then run examples/alice-to-bob.sh
#   make test       every hermetic test
#   make interop    against real peers, fetched as Debian packages below target/peers (nothing is installed)
#   make bench      side by side with the peers; medians and ratios
#   make fuzz       each fuzz entry for FUZZ_SECONDS (60)
#   make soak       the crash tests: SOAK_ROUNDS (10000) kills of processes that use the queue, and in proportion, also of real
#                   clients of ftpserve; verdicts of DNSSEC and 5,000 generated zone files beside the peers; every property of
#                   the library, 20,000 new cases each; the source archive is checked without a network
#   make install    what make built: PREFIX (/usr/local), DESTDIR
#   make uninstall  removes what install and install-sendmail put there, with the same variables
#   make deb        Debian packages in target/deb
#   make reproducible   builds everything again at another place and compares: programs, packages, source archive
#   make dist       the source archive in target/dist, with every crate: it builds without a network
#   make install-sendmail   the names sendmail and mailq, and the queue of the machine in SPOOLDIR (/var/spool)

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
SPOOLDIR ?= /var/spool
FUZZ_SECONDS ?= 60
SOAK_ROUNDS ?= 10000

TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
RELEASE := $(TARGET)/release

# No path of the builder is in the programs: panics name the source files of crates, below CARGO_HOME or in the source archive.
CARGO_HOME ?= $(HOME)/.cargo
REMAP := --remap-path-prefix=$(CARGO_HOME)/registry/src=/crates --remap-path-prefix=$(TARGET)=/target \
    --remap-path-prefix=$(CURDIR)=/applayer

.PHONY: build demo test interop bench fuzz soak install install-sendmail uninstall deb dist reproducible docs clean

build: export RUSTFLAGS := $(RUSTFLAGS) $(REMAP)
build:
	$(CARGO) build --locked --release --bins

demo: build
	PATH="$(RELEASE):$$PATH" sh examples/alice-to-bob.sh
	PATH="$(RELEASE):$$PATH" sh examples/nightly-report.sh

# The same cases of every property each time: what is new is searched for by `make soak`.
test:
	PROPTEST_RNG_SEED=1 $(CARGO) test --locked --lib --test layering --test tools

interop:
	APPLAYER_FETCH_PEERS=1 $(CARGO) test --locked --test interop

# Installed, as the peers are: what the linker has just written lies in the cache in single pages, and starts slower.
bench: build
	$(MAKE) install PREFIX="$(TARGET)/installed" DESTDIR=
	for script in bench/ftp.sh bench/ftp-server.sh bench/mail.sh bench/mail-receive.sh bench/mail-read.sh bench/dns.sh bench/dns-bulk.sh bench/mail-queue.sh; do \
	    PATH="$(TARGET)/installed/bin:$$PATH" sh $$script || exit 1; done

fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) CARGO="$(CARGO)" sh fuzz/run.sh

soak:
	PROPTEST_CASES=20000 $(CARGO) test --locked --lib
	APPLAYER_ROUNDS=$(SOAK_ROUNDS) $(CARGO) test --locked --test tools -- crash verdicts_over writers --nocapture
	APPLAYER_ROUNDS=$(SOAK_ROUNDS) APPLAYER_FETCH_PEERS=1 $(CARGO) test --locked --test interop -- "during uploads"
	APPLAYER_ROUNDS=$(SOAK_ROUNDS) APPLAYER_FETCH_PEERS=1 $(CARGO) test --locked --test interop -- hierarchies --nocapture
	APPLAYER_FETCH_PEERS=1 APPLAYER_SEED=$$(date +%s) APPLAYER_ZONES=5000 \
	    $(CARGO) test --locked --test interop -- "generated zone"
	$(MAKE) dist
	rm -rf "$(TARGET)/dist/unpacked" && mkdir -p "$(TARGET)/dist/unpacked"
	tar -x --strip-components=1 -C "$(TARGET)/dist/unpacked" -f "$(TARGET)"/dist/applayer-*.tar.gz
	cd "$(TARGET)/dist/unpacked" && CARGO_HOME="$(TARGET)/dist/none" $(CARGO) check --frozen --target-dir target

# The generated parts of man pages and completions.
docs:
	UPDATE_DOCS=1 $(CARGO) test --locked --test tools docs

install:
	sh dist/install.sh install "$(RELEASE)" "$(PREFIX)" "$(DESTDIR)"

# Optional: the names that other programs call. Not part of install, since another mail system may own them. The queue is for
# who runs mailq-run; every user may make a folder in the drop directory, and nobody else lists it.
install-sendmail: install
	install -d -m 700 "$(DESTDIR)$(SPOOLDIR)/applayer"
	install -d -m 1733 "$(DESTDIR)$(SPOOLDIR)/applayer-drop"
	install -d "$(DESTDIR)$(PREFIX)/sbin"
	ln -sf ../bin/smtpsend "$(DESTDIR)$(PREFIX)/sbin/sendmail"
	ln -sf smtpsend "$(DESTDIR)$(PREFIX)/bin/mailq"

# Mail that waits in the queue stays.
uninstall:
	sh dist/install.sh uninstall "$(RELEASE)" "$(PREFIX)" "$(DESTDIR)"
	for folder in applayer applayer-drop; do [ ! -d "$(DESTDIR)$(SPOOLDIR)/$$folder" ] || \
	    rmdir --ignore-fail-on-non-empty "$(DESTDIR)$(SPOOLDIR)/$$folder"; done

deb:
	sh dist/deb/build.sh "$(RELEASE)" "$(TARGET)/deb"

dist:
	CARGO="$(CARGO)" sh dist/source.sh "$(TARGET)/dist"

reproducible: build
	rm -rf "$(TARGET)/reproducible"
	CARGO="$(CARGO)" sh dist/reproducible.sh "$(RELEASE)" "$(TARGET)/reproducible"

clean:
	$(CARGO) clean
