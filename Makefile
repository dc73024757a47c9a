# applayer: everything a newcomer needs, by one word each. `make` alone builds the binaries.
#
#   make demo       build, then run examples/alice-to-bob.sh
#   make test       every hermetic test
#   make interop    against real peers, fetched as Debian packages below target/peers (nothing is installed)
#   make bench      side by side with the peers; medians and ratios
#   make fuzz       each fuzz entry for FUZZ_SECONDS (60)
#   make soak       the crash tests: SOAK_ROUNDS (10000) kills of processes that use the queue, and in proportion, also of real
#                   clients of ftpserve; verdicts of DNSSEC and 5,000 generated zone files beside the peers; every property of
#                   the library, 20,000 new cases each
#   make install    PREFIX (/usr/local), DESTDIR
#   make install-sendmail   the names sendmail and mailq, and the queue of the machine in SPOOLDIR (/var/spool)

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
SPOOLDIR ?= /var/spool
FUZZ_SECONDS ?= 60
SOAK_ROUNDS ?= 10000

TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
RELEASE := $(TARGET)/release
TOOLS := ftpget ftpput ftpls ftpdo ftpserve smtpsend smtpserve mailread mailq-run mailq-ls mailq-edit dnsq dnsserve

.PHONY: build demo test interop bench fuzz soak install install-sendmail uninstall docs clean

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
bench:
	$(MAKE) install PREFIX="$(TARGET)/installed" DESTDIR=
	for script in bench/ftp.sh bench/mail.sh bench/mail-read.sh bench/dns.sh bench/dns-bulk.sh bench/mail-queue.sh; do \
	    PATH="$(TARGET)/installed/bin:$$PATH" sh $$script || exit 1; done

fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) CARGO="$(CARGO)" sh fuzz/run.sh

soak:
	PROPTEST_CASES=20000 $(CARGO) test --locked --lib
	APPLAYER_ROUNDS=$(SOAK_ROUNDS) $(CARGO) test --locked --test tools -- crash verdicts_over --nocapture
	APPLAYER_ROUNDS=$(SOAK_ROUNDS) APPLAYER_FETCH_PEERS=1 $(CARGO) test --locked --test interop -- "during uploads"
	APPLAYER_ROUNDS=$(SOAK_ROUNDS) APPLAYER_FETCH_PEERS=1 $(CARGO) test --locked --test interop -- hierarchies --nocapture
	APPLAYER_FETCH_PEERS=1 APPLAYER_SEED=$$(date +%s) APPLAYER_ZONES=5000 \
	    $(CARGO) test --locked --test interop -- "generated zone"

# The generated parts of man pages and completions.
docs:
	UPDATE_DOCS=1 $(CARGO) test --locked --test tools docs

install: build
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/man/man1" "$(DESTDIR)$(PREFIX)/share/man/man5" \
	    "$(DESTDIR)$(PREFIX)/share/man/man7" "$(DESTDIR)$(PREFIX)/share/applayer/schemas" \
	    "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" "$(DESTDIR)$(PREFIX)/share/zsh/site-functions" \
	    "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d"
	for tool in $(TOOLS); do \
	    install -m 755 "$(RELEASE)/$$tool" "$(DESTDIR)$(PREFIX)/bin/$$tool" && \
	    install -m 644 "man/$$tool.1" "$(DESTDIR)$(PREFIX)/share/man/man1/" && \
	    install -m 644 "schemas/$$tool.json" "$(DESTDIR)$(PREFIX)/share/applayer/schemas/" && \
	    install -m 644 "completions/$$tool.bash" "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$tool" && \
	    install -m 644 "completions/_$$tool" "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/" && \
	    install -m 644 "completions/$$tool.fish" "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/" || exit 1; \
	done
	install -m 644 man/applayer-queue.5 "$(DESTDIR)$(PREFIX)/share/man/man5/"
	install -m 644 man/applayer.7 "$(DESTDIR)$(PREFIX)/share/man/man7/"

# Optional: the names that other programs call. Not part of install, since another mail system may own them. The queue is for
# who runs mailq-run; every user may make a folder in the drop directory, and nobody else lists it.
install-sendmail: install
	install -d -m 700 "$(DESTDIR)$(SPOOLDIR)/applayer"
	install -d -m 1733 "$(DESTDIR)$(SPOOLDIR)/applayer-drop"
	install -d "$(DESTDIR)$(PREFIX)/sbin"
	ln -sf ../bin/smtpsend "$(DESTDIR)$(PREFIX)/sbin/sendmail"
	ln -sf smtpsend "$(DESTDIR)$(PREFIX)/bin/mailq"

uninstall:
	for tool in $(TOOLS); do \
	    rm -f "$(DESTDIR)$(PREFIX)/bin/$$tool" "$(DESTDIR)$(PREFIX)/share/man/man1/$$tool.1" \
	        "$(DESTDIR)$(PREFIX)/share/applayer/schemas/$$tool.json" \
	        "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$tool" \
	        "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$tool" \
	        "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$tool.fish"; \
	done
	rm -f "$(DESTDIR)$(PREFIX)/share/man/man5/applayer-queue.5" "$(DESTDIR)$(PREFIX)/share/man/man7/applayer.7"

clean:
	$(CARGO) clean
