# libpdtp. Needs Rust, and a C and a C++ compiler; nothing else.
#
#   make                programs, library, manual pages, C examples     (build/, target/)
#   make check          everything that must hold, < 15 minutes
#   make check-slow     what takes longer: valgrind, sanitizers, large files, floods, a package built and used
#   make smoke          half a minute: the C examples with the library that `make` has built, against its server
#   make demo           a server and several C programs share a real directory
#   make bench          throughput, with nginx and curl beside, small swarms with BitTorrent, and 2,000 clients at once
#   make bench-swarm    swarms on shaped links, for docs/benchmarks/
#   make header         include/pdtp.h, the list of symbols and the one of the ABI anew, from src/ffi
#   make install        PREFIX=/usr/local DESTDIR=, and LIBDIR= and the others below
#   make uninstall      with the same variables
#   make dist           dist/pdtp-VERSION.tar.xz, with all crates in it: builds without a network
#   make clean
#
# docs/guide/packaging.md tells more.

# Lower case, as autoconf has it, is understood as well.
PREFIX         ?= $(or $(prefix),/usr/local)
BINDIR         ?= $(or $(bindir),$(PREFIX)/bin)
SBINDIR        ?= $(or $(sbindir),$(BINDIR))
LIBDIR         ?= $(or $(libdir),$(PREFIX)/lib)
INCLUDEDIR     ?= $(or $(includedir),$(PREFIX)/include)
DATADIR        ?= $(or $(datadir),$(PREFIX)/share)
MANDIR         ?= $(or $(mandir),$(DATADIR)/man)
DOCDIR         ?= $(or $(docdir),$(DATADIR)/doc/pdtp)
SYSCONFDIR     ?= $(or $(sysconfdir),$(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc))
PKGCONFIGDIR   ?= $(LIBDIR)/pkgconfig
CMAKEDIR       ?= $(LIBDIR)/cmake/pdtp
BASHDIR        ?= $(DATADIR)/bash-completion/completions
ZSHDIR         ?= $(DATADIR)/zsh/site-functions
FISHDIR        ?= $(DATADIR)/fish/vendor_completions.d
SYSTEMDUNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR    ?= $(PREFIX)/lib/sysusers.d
DESTDIR        ?=

CARGO      ?= cargo
CARGOFLAGS ?= --locked
CC         ?= cc
CXX        ?= c++
CFLAGS     ?= -O2 -g
CXXFLAGS   ?= -O2 -g
WARNINGS    = -Wall -Wextra -Wpedantic -Werror
PKG_CONFIG ?= pkg-config
INSTALL    ?= install
# Without it the library keeps its debug information, for those who split it off themselves.
LIB_STRIP  ?= -Wl,--strip-debug
# How to run the programs that were built, where they are for another machine: `make RUN='qemu-aarch64 -L …'`.
RUN        ?=

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# While the first number is 0, every second one is an ABI of its own: docs/abi.md.
ABI     := $(shell echo $(VERSION) | awk -F. '{ print $$1 == 0 ? $$1 "." $$2 : $$1 }')
IS_MAC  := $(filter Darwin,$(shell uname -s))

SO_REAL = $(if $(IS_MAC),libpdtp.$(VERSION).dylib,libpdtp.so.$(VERSION))
SO_ABI  = $(if $(IS_MAC),libpdtp.$(ABI).dylib,libpdtp.so.$(ABI))
SO_LINK = $(if $(IS_MAC),libpdtp.dylib,libpdtp.so)

# Those that need more than a C compiler (glib_loop, qt_loop) are built by the tests, where GLib and Qt are.
EXAMPLES := $(filter-out glib_loop,$(patsubst examples-c/%.c,%,$(wildcard examples-c/*.c)))
HEADERS  := $(notdir $(wildcard include/*.h include/*.hpp))
MAN      := pdtp.1 pdtpd.8 pdtpd.toml.5 libpdtp.3
DOCS     := README.md LICENSE-MIT LICENSE-APACHE

# The library is built in a pass of its own: only then is it optimised as a whole, and it holds nothing that only the
# daemon needs. In a directory of its own: `cargo build` leaves a library of the same name, which must not get here.
LIB_TARGET   = target/capi
CARGO_OUT    = $(if $(CARGO_BUILD_TARGET),$(CARGO_BUILD_TARGET)/)release
BIN_OUT      = target/$(CARGO_OUT)
# Level 2: hardly slower than 3, and a twentieth smaller.
# Inlining stops at a cost of 200, not 225: 2% smaller, and downloads take as long. Stripped, it is to stay below 4 MiB.
LIB_RUSTC    = -C llvm-args=-inline-threshold=200
LIB_PASS     = CARGO_PROFILE_RELEASE_OPT_LEVEL=$${CARGO_PROFILE_RELEASE_OPT_LEVEL:-2} $(CARGO) rustc $(CARGOFLAGS) --release --lib --no-default-features --features ffi --target-dir $(LIB_TARGET)

.PHONY: all bins lib extras examples header demo check check-slow smoke bench bench-swarm install install-lib install-bin uninstall dist clean

all: bins lib extras examples

bins:
	$(CARGO) build $(CARGOFLAGS) --release --bins

# What did not change is not touched, so that nothing is linked anew without need.
lib:
	@mkdir -p build/lib build/pkgconfig
	$(LIB_PASS) --crate-type staticlib -- $(LIB_RUSTC) --print native-static-libs 2>build/staticlib.log || { cat build/staticlib.log >&2; exit 1; }
	@cmp -s $(LIB_TARGET)/$(CARGO_OUT)/libpdtp.a build/lib/libpdtp.a || cp $(LIB_TARGET)/$(CARGO_OUT)/libpdtp.a build/lib/libpdtp.a
	@# The compiler driver adds libgcc_s itself where it is right, and with -static it would be wrong.
	@sed -n 's/^.*native-static-libs: //p' build/staticlib.log | tail -n 1 | sed 's/-lgcc_s *//' >build/libs.new
	@test ! -s build/libs.new -a -e build/libs.private || cp build/libs.new build/libs.private
	@$(MAKE) --no-print-directory build/lib/$(SO_REAL)
	@ln -sf $(SO_REAL) build/lib/$(SO_ABI)
	@ln -sf $(SO_ABI) build/lib/$(SO_LINK)
	@$(call write_pc,$(CURDIR)/build,$(CURDIR)/build/lib,$(CURDIR)/include,-Wl$(comma)-rpath$(comma)$(CURDIR)/build/lib ) >build/pkgconfig/pdtp.pc
	@awk 'BEGIN { getline size < "build/lib/size"; printf "libpdtp: %.2f MiB of code and data\n", size / 1048576 }'

ifeq ($(IS_MAC),)
# The shared library is the static one, linked once more: the compilation, which takes minutes, is the same. Done here and
# not by rustc, since that gives the linker a list of symbols of its own, beside which symbols get no version with some
# linkers, and others refuse to have two lists. With the linker and the flags of C, as packagers expect.
build/lib/$(SO_REAL): build/lib/libpdtp.a src/ffi/pdtp.map build/libs.private Makefile
	@sed -n 's/^ *\(pdtp_[a-z0-9_]*\);$$/-Wl,-u,\1/p' src/ffi/pdtp.map >build/lib/undefined
	$(CC) -shared $(LDFLAGS) -o $@ @build/lib/undefined build/lib/libpdtp.a -Wl,-soname,$(SO_ABI) \
		-Wl,--version-script=src/ffi/pdtp.map -Wl,--gc-sections -Wl,--as-needed -Wl,-O1 -Wl,-z,relro,-z,now,-z,nodelete -Wl,-z,defs \
		$(LIB_STRIP) $$(cat build/libs.private)
	@size -B $@ 2>/dev/null | awk 'NR == 2 { print $$1 + $$2 }' >build/lib/size
else
build/lib/$(SO_REAL): build/lib/libpdtp.a
	$(LIB_PASS) --crate-type cdylib -- $(LIB_RUSTC)
	@cp $(LIB_TARGET)/$(CARGO_OUT)/libpdtp.dylib $@
	@wc -c <$@ >build/lib/size
endif

comma := ,
# prefix, libdir, includedir, rpath
write_pc = sed -e 's|@prefix@|$(1)|' -e 's|@libdir@|$(2)|' -e 's|@includedir@|$(3)|' -e 's|@rpath@|$(4)|' \
	-e 's|@version@|$(VERSION)|' -e "s|@libs_private@|`cat build/libs.private`|" pkgconfig/pdtp.pc.in

# Where includes are, seen from the directory of the CMake files, so that both can be moved together.
up = $(shell echo '$(CMAKEDIR:$(PREFIX)/%=%)' | sed 's|[^/][^/]*|..|g')
includedir_from_cmake = $(if $(filter $(PREFIX)/%,$(CMAKEDIR)),$(if $(filter $(PREFIX)/%,$(INCLUDEDIR)),$(up)/$(INCLUDEDIR:$(PREFIX)/%=%)))
write_cmake = sed -e 's|@version@|$(VERSION)|' -e 's|@abi@|$(ABI)|' -e 's|@so_real@|$(SO_REAL)|' -e 's|@so_abi@|$(SO_ABI)|' \
	-e "s|@libs_cmake@|`sed 's/ *$$//; s/  */;/g' build/libs.private`|" \
	-e "s|@pointer@|`echo | $(CC) -dM -E - | sed -n 's/.*__SIZEOF_POINTER__ //p'`|" \
	-e 's|"$${_pdtp_dir}/@includedir_from_cmake@"|$(if $(includedir_from_cmake),"$${_pdtp_dir}/$(includedir_from_cmake)","$(INCLUDEDIR)")|'
write_unit = sed -e 's|@bindir@|$(SBINDIR)|' -e 's|@sysconfdir@|$(SYSCONFDIR)|'

# Manual pages and completions, made by the programs themselves from what `--help` is made of.
extras: bins
	@mkdir -p build/man build/completions
	$(RUN) $(BIN_OUT)/pdtp generate man >build/man/pdtp.1
	$(RUN) $(BIN_OUT)/pdtpd generate man >build/man/pdtpd.8
	$(RUN) $(BIN_OUT)/pdtpd generate man-config >build/man/pdtpd.toml.5
	awk -v version=$(VERSION) -f packaging/libpdtp.3.awk include/pdtp.h >build/man/libpdtp.3
	@for program in pdtp pdtpd; do for shell in bash zsh fish; do \
		$(RUN) $(BIN_OUT)/$$program generate $$shell >build/completions/$$program.$$shell || exit 1; done; done

examples: $(EXAMPLES:%=build/examples/%) build/examples/get-cpp

# As users do it; without pkg-config by hand.
examples_flags = $$(PKG_CONFIG_PATH=build/pkgconfig $(PKG_CONFIG) --cflags --libs pdtp 2>/dev/null \
	|| echo "-Iinclude -Lbuild/lib -Wl,-rpath,$(CURDIR)/build/lib -lpdtp")
build/examples/%: examples-c/%.c include/pdtp.h | lib
	@mkdir -p build/examples
	$(CC) -std=c99 $(WARNINGS) $(CFLAGS) $< -o $@ -pthread $(examples_flags)

build/examples/get-cpp: examples-c/get.cpp include/pdtp.h include/pdtp.hpp | lib
	@mkdir -p build/examples
	$(CXX) -std=c++17 $(WARNINGS) $(CXXFLAGS) $< -o $@ $(examples_flags)

header:
	PDTP_UPDATE_HEADER=1 $(CARGO) test $(CARGOFLAGS) --test header_current --test abi

demo: all
	bash demo/demo.sh

check:
	bash .ci/check.sh

check-slow:
	bash .ci/check-slow.sh

smoke:
	sh packaging/smoke.sh

bench: bins
	python3 bench/throughput.py
	python3 bench/swarm --short
	$(CARGO) run $(CARGOFLAGS) --release --example pdtp-load -- 2000

# Shaped links, all scenarios and rivals, 3 runs each (needs root; an hour of a machine with nothing else to do), and
# 20,000 clients: what docs/benchmarks/ holds.
bench-swarm: bins
	python3 bench/swarm --docs
	$(CARGO) run $(CARGOFLAGS) --release --example pdtp-load

install: install-lib install-bin
	$(INSTALL) -d $(DESTDIR)$(DOCDIR)/examples
	$(INSTALL) -m 644 $(DOCS) $(DESTDIR)$(DOCDIR)
	$(INSTALL) -m 644 packaging/pdtpd.toml $(wildcard examples-c/*.c examples-c/*.cpp) $(DESTDIR)$(DOCDIR)/examples

# For a -dev package: library, headers, and what build systems look for.
install-lib:
	@test -e build/lib/$(SO_REAL) || $(MAKE) lib
	@test -e build/man/libpdtp.3 || $(MAKE) extras
	$(INSTALL) -d $(DESTDIR)$(PKGCONFIGDIR) $(DESTDIR)$(CMAKEDIR) $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(MANDIR)/man3
	$(INSTALL) -m 755 build/lib/$(SO_REAL) $(DESTDIR)$(LIBDIR)/$(SO_REAL)
	ln -sf $(SO_REAL) $(DESTDIR)$(LIBDIR)/$(SO_ABI)
	ln -sf $(SO_ABI) $(DESTDIR)$(LIBDIR)/$(SO_LINK)
	$(INSTALL) -m 644 build/lib/libpdtp.a $(DESTDIR)$(LIBDIR)/libpdtp.a
	$(INSTALL) -m 644 $(HEADERS:%=include/%) $(DESTDIR)$(INCLUDEDIR)
	$(call write_pc,$(PREFIX),$(LIBDIR:$(PREFIX)/%=$${prefix}/%),$(INCLUDEDIR:$(PREFIX)/%=$${prefix}/%),) >$(DESTDIR)$(PKGCONFIGDIR)/pdtp.pc
	$(write_cmake) packaging/pdtpConfig.cmake.in >$(DESTDIR)$(CMAKEDIR)/pdtpConfig.cmake
	$(write_cmake) packaging/pdtpConfigVersion.cmake.in >$(DESTDIR)$(CMAKEDIR)/pdtpConfigVersion.cmake
	$(INSTALL) -m 644 build/man/libpdtp.3 $(DESTDIR)$(MANDIR)/man3

install-bin:
	@test -x $(BIN_OUT)/pdtpd || $(MAKE) bins
	@test -e build/man/pdtpd.8 || $(MAKE) extras
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(SBINDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man8
	$(INSTALL) -d $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR) $(DESTDIR)$(SYSTEMDUNITDIR) $(DESTDIR)$(SYSUSERSDIR)
	$(INSTALL) -m 755 $(BIN_OUT)/pdtp $(DESTDIR)$(BINDIR)
	$(INSTALL) -m 755 $(BIN_OUT)/pdtpd $(DESTDIR)$(SBINDIR)
	$(INSTALL) -m 644 build/man/pdtp.1 $(DESTDIR)$(MANDIR)/man1
	$(INSTALL) -m 644 build/man/pdtpd.toml.5 $(DESTDIR)$(MANDIR)/man5
	$(INSTALL) -m 644 build/man/pdtpd.8 $(DESTDIR)$(MANDIR)/man8
	for program in pdtp pdtpd; do \
		$(INSTALL) -m 644 build/completions/$$program.bash $(DESTDIR)$(BASHDIR)/$$program && \
		$(INSTALL) -m 644 build/completions/$$program.zsh $(DESTDIR)$(ZSHDIR)/_$$program && \
		$(INSTALL) -m 644 build/completions/$$program.fish $(DESTDIR)$(FISHDIR)/$$program.fish || exit 1; done
	$(write_unit) packaging/pdtpd.service.in >$(DESTDIR)$(SYSTEMDUNITDIR)/pdtpd.service
	$(INSTALL) -m 644 packaging/pdtpd.sysusers $(DESTDIR)$(SYSUSERSDIR)/pdtpd.conf

# Of directories those that are ours alone; in a DESTDIR also those that installing made, if they are empty now.
DIRS = $(BINDIR) $(SBINDIR) $(PKGCONFIGDIR) $(dir $(CMAKEDIR)) $(LIBDIR) $(INCLUDEDIR) $(BASHDIR) $(ZSHDIR) $(FISHDIR) $(SYSTEMDUNITDIR) \
	$(SYSUSERSDIR) $(dir $(DOCDIR)) $(foreach section,1 3 5 8,$(MANDIR)/man$(section))
uninstall:
	rm -f $(DESTDIR)$(BINDIR)/pdtp $(DESTDIR)$(SBINDIR)/pdtpd
	rm -f $(DESTDIR)$(LIBDIR)/$(SO_REAL) $(DESTDIR)$(LIBDIR)/$(SO_ABI) $(DESTDIR)$(LIBDIR)/$(SO_LINK) $(DESTDIR)$(LIBDIR)/libpdtp.a
	rm -f $(HEADERS:%=$(DESTDIR)$(INCLUDEDIR)/%) $(DESTDIR)$(PKGCONFIGDIR)/pdtp.pc
	rm -f $(foreach page,$(MAN),$(DESTDIR)$(MANDIR)/man$(lastword $(subst ., ,$(page)))/$(page))
	rm -f $(foreach program,pdtp pdtpd,$(DESTDIR)$(BASHDIR)/$(program) $(DESTDIR)$(ZSHDIR)/_$(program) $(DESTDIR)$(FISHDIR)/$(program).fish)
	rm -f $(DESTDIR)$(SYSTEMDUNITDIR)/pdtpd.service $(DESTDIR)$(SYSUSERSDIR)/pdtpd.conf
	rm -rf $(DESTDIR)$(CMAKEDIR) $(DESTDIR)$(DOCDIR)
	@test -z '$(DESTDIR)' || { cd $(DESTDIR) && for dir in $(DIRS); do rmdir -p .$$dir 2>/dev/null || :; done; }

dist:
	bash packaging/dist.sh $(VERSION)

clean:
	$(CARGO) clean
	rm -rf build
