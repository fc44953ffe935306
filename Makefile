# libpdtp. Needs Rust and a C compiler; nothing else.
#
#   make                programs, library, C examples           (build/, target/)
#   make check          everything that must hold, < 15 minutes
#   make check-slow     what takes longer: valgrind, large files, floods
#   make demo           a server and several C programs share a real directory
#   make bench          throughput, with nginx and curl beside, and a small swarm with BitTorrent
#   make bench-swarm    swarms on shaped links, for docs/benchmarks/
#   make header         include/pdtp.h anew from src/ffi
#   make install        PREFIX=/usr/local LIBDIR= INCLUDEDIR= BINDIR= DESTDIR=
#   make uninstall, make clean

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR    ?=

CARGO      ?= cargo
CARGOFLAGS ?= --locked
CC         ?= cc
CFLAGS     ?= -O2 -g
WARNINGS    = -std=c99 -Wall -Wextra -Wpedantic -Werror
PKG_CONFIG ?= pkg-config
INSTALL    ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# While the first number is 0, every second one is an ABI of its own: docs/abi.md.
ABI     := $(shell echo $(VERSION) | awk -F. '{ print $$1 == 0 ? $$1 "." $$2 : $$1 }')

ifeq ($(shell uname -s),Darwin)
SO_BUILT = libpdtp.dylib
SO_REAL  = libpdtp.$(VERSION).dylib
SO_ABI   = libpdtp.$(ABI).dylib
SO_LINK  = libpdtp.dylib
else
SO_BUILT = libpdtp.so
SO_REAL  = libpdtp.so.$(VERSION)
SO_ABI   = libpdtp.so.$(ABI)
SO_LINK  = libpdtp.so
endif

EXAMPLES := get ls swarm poll_loop verify

# The library is built in passes of its own: only then is it optimised as a whole, and it holds nothing that only the
# daemon needs. In a directory of its own: `cargo build` leaves a library of the same name, which must not get here.
LIB_TARGET = target/capi
LIB_PASS   = $(CARGO) rustc $(CARGOFLAGS) --release --lib --no-default-features --features ffi --target-dir $(LIB_TARGET)

.PHONY: all bins lib examples header demo check check-slow bench bench-swarm install uninstall clean

all: bins lib examples

bins:
	$(CARGO) build $(CARGOFLAGS) --release --bins

# What did not change is not touched, so that nothing is linked anew without need.
lib:
	@mkdir -p build/lib build/pkgconfig
	$(LIB_PASS) --crate-type cdylib
	@cmp -s $(LIB_TARGET)/release/$(SO_BUILT) build/lib/$(SO_REAL) || cp $(LIB_TARGET)/release/$(SO_BUILT) build/lib/$(SO_REAL)
	@ln -sf $(SO_REAL) build/lib/$(SO_ABI)
	@ln -sf $(SO_ABI) build/lib/$(SO_LINK)
	$(LIB_PASS) --crate-type staticlib -- --print native-static-libs 2>build/staticlib.log || { cat build/staticlib.log >&2; exit 1; }
	@cmp -s $(LIB_TARGET)/release/libpdtp.a build/lib/libpdtp.a || cp $(LIB_TARGET)/release/libpdtp.a build/lib/libpdtp.a
	@sed -n 's/^.*native-static-libs: //p' build/staticlib.log | tail -n 1 >build/libs.new
	@test ! -s build/libs.new -a -e build/libs.private || cp build/libs.new build/libs.private
	@$(call write_pc,$(CURDIR)/build,$(CURDIR)/build/lib,$(CURDIR)/include,-Wl$(comma)-rpath$(comma)$(CURDIR)/build/lib ) >build/pkgconfig/pdtp.pc

comma := ,
# prefix, libdir, includedir, rpath
write_pc = sed -e 's|@prefix@|$(1)|' -e 's|@libdir@|$(2)|' -e 's|@includedir@|$(3)|' -e 's|@rpath@|$(4)|' \
	-e 's|@version@|$(VERSION)|' -e "s|@libs_private@|`cat build/libs.private`|" pkgconfig/pdtp.pc.in

examples: $(EXAMPLES:%=build/examples/%)

# As users do it; without pkg-config by hand.
build/examples/%: examples-c/%.c include/pdtp.h | lib
	@mkdir -p build/examples
	$(CC) $(WARNINGS) $(CFLAGS) $< -o $@ $$(PKG_CONFIG_PATH=build/pkgconfig $(PKG_CONFIG) --cflags --libs pdtp 2>/dev/null \
		|| echo "-Iinclude -Lbuild/lib -Wl,-rpath,$(CURDIR)/build/lib -lpdtp")

header:
	PDTP_UPDATE_HEADER=1 $(CARGO) test $(CARGOFLAGS) --test header_current

demo: all
	bash demo/demo.sh

check:
	bash .ci/check.sh

check-slow:
	bash .ci/check-slow.sh

bench: bins
	python3 bench/throughput.py
	python3 bench/swarm --short

# Shaped links, all scenarios and rivals, 3 runs each (needs root; half an hour of a machine with nothing else to do), and
# 20,000 clients: what docs/benchmarks/ holds.
bench-swarm: bins
	python3 bench/swarm --docs
	$(CARGO) run $(CARGOFLAGS) --release --example pdtp-load

install:
	@test -e build/lib/$(SO_REAL) -a -x target/release/pdtpd || $(MAKE) bins lib
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	$(INSTALL) -m 755 target/release/pdtp target/release/pdtpd $(DESTDIR)$(BINDIR)
	$(INSTALL) -m 755 build/lib/$(SO_REAL) $(DESTDIR)$(LIBDIR)/$(SO_REAL)
	ln -sf $(SO_REAL) $(DESTDIR)$(LIBDIR)/$(SO_ABI)
	ln -sf $(SO_ABI) $(DESTDIR)$(LIBDIR)/$(SO_LINK)
	$(INSTALL) -m 644 build/lib/libpdtp.a $(DESTDIR)$(LIBDIR)/libpdtp.a
	$(INSTALL) -m 644 include/pdtp.h $(DESTDIR)$(INCLUDEDIR)/pdtp.h
	$(call write_pc,$(PREFIX),$(LIBDIR:$(PREFIX)/%=$${prefix}/%),$(INCLUDEDIR:$(PREFIX)/%=$${prefix}/%),) >$(DESTDIR)$(LIBDIR)/pkgconfig/pdtp.pc

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/pdtp $(DESTDIR)$(BINDIR)/pdtpd
	rm -f $(DESTDIR)$(LIBDIR)/$(SO_REAL) $(DESTDIR)$(LIBDIR)/$(SO_ABI) $(DESTDIR)$(LIBDIR)/$(SO_LINK)
	rm -f $(DESTDIR)$(LIBDIR)/libpdtp.a $(DESTDIR)$(LIBDIR)/pkgconfig/pdtp.pc $(DESTDIR)$(INCLUDEDIR)/pdtp.h

clean:
	$(CARGO) clean
	rm -rf build
