# Makefile - build, test and install liboutbox, libinbox and outbox-relay. GNU make.
#
#   make            library and relay            make demo     the whole story on one machine
#   make check      every test                   PG=all: integration on PostgreSQL 13 to 18
#                                                RDKAFKA=newest: with the newest librdkafka
#   make install    DESTDIR= prefix= (or PREFIX=)   install-strip, uninstall; V=1 shows each command
#   make installcheck   what is installed there serves programs in C and C++, by pkg-config and CMake
#   make dist       the source as $(O)/outbox-VERSION.tar.gz       make deb   Debian packages in $(O)/deb
#   make sql-variants   the migrations for Flyway, golang-migrate, dbmate and sqitch, in $(O)/sql
#   make abi-baseline   after a wanted change of the library's interface; tests/checks/abi.sh compares
#   make bench      relay and library beside their limits and rivals; QUICK=1, CASES=drain,latency (CASES=list)
#   make soak       seeded faults for long, SOAK_KILLS=n; KAFKA=1 on a real broker
#   make fuzz       the decoders under libFuzzer, FUZZ_SECONDS= each (default 60)
#   make mutants    the tests are tested: what each promise rests on is broken, and must be noticed
#
# Everything that is built goes to $(O) (default .build). CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS given
# by the caller are used after ours. Directories are called as GNU calls them, in lower case; the
# upper-case PREFIX, BINDIR, LIBDIR, INCLUDEDIR, DATADIR and MANDIR mean the same.

O ?= .build
# One spelling, or changed headers would go unnoticed.
override O := $(abspath $(O))
prefix ?= $(or $(PREFIX),/usr/local)
exec_prefix ?= $(prefix)
bindir ?= $(or $(BINDIR),$(exec_prefix)/bin)
libdir ?= $(or $(LIBDIR),$(exec_prefix)/lib)
includedir ?= $(or $(INCLUDEDIR),$(prefix)/include)
datadir ?= $(or $(DATADIR),$(prefix)/share)
mandir ?= $(or $(MANDIR),$(datadir)/man)
pkgconfigdir ?= $(libdir)/pkgconfig
INSTALL ?= install
INSTALL_PROGRAM ?= $(INSTALL) -m 755
INSTALL_DATA ?= $(INSTALL) -m 644
STRIP ?= strip
PKG_CONFIG ?= pkg-config
CC ?= cc

# The version is that of the header. What must repeat it, the Debian changelog and the names of images, is compared.
VERSION := $(shell sed -n 's/^\#define OUTBOX_VERSION_STRING "\(.*\)"$$/\1/p' include/outbox.h)
SONAME := liboutbox.so.0
INBOX_SONAME := libinbox.so.0

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
       -Wformat=2 -Wundef -Wvla -Wno-overlength-strings -Wno-gnu-statement-expression $(if $(WERROR),-Werror)
STD ?= c17
# Fortified calls need optimisation, hide errors from the sanitizers, and may be chosen by the caller.
FORTIFY = $(if $(SAN)$(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS))$(filter -O0,$(CFLAGS)),, \
    -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
OPTIMIZE = -O2
OUR_CFLAGS = -std=$(STD) $(OPTIMIZE) -g -fstack-protector-strong $(WARN) $(SAN)
# -MT: a compiler cache may shorten the paths in what it is given, and changed headers would go unnoticed.
DEPENDS = -MMD -MP -MT $@
OUR_CPPFLAGS = -D_GNU_SOURCE $(FORTIFY) -Iinclude -I. $(DEPENDS)
OUR_LDFLAGS = -Wl,--as-needed -Wl,-z,relro,-z,now $(SAN)
COMPILE = $(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(CFLAGS)

# once NAME,COMMAND: what it says, asked when it is needed and not again
once = $(eval $(1) := $$(shell $(2)))$($(1))
PQ_CFLAGS = $(call once,PQ_CFLAGS,$(PKG_CONFIG) --cflags libpq)
PQ_LIBS = $(call once,PQ_LIBS,$(PKG_CONFIG) --libs libpq)
# As the headers of a system, wherever it is installed: warnings in them are not ours to mend.
KAFKA_CFLAGS = $(patsubst -I%,-isystem %,$(call once,KAFKA_INCLUDES,$(PKG_CONFIG) --cflags rdkafka))
KAFKA_LIBS = $(call once,KAFKA_LIBS,$(PKG_CONFIG) --libs rdkafka)
JANSSON_CFLAGS = $(call once,JANSSON_CFLAGS,$(PKG_CONFIG) --cflags jansson)
JANSSON_LIBS = $(call once,JANSSON_LIBS,$(PKG_CONFIG) --libs jansson)
HTTP_CFLAGS = $(call once,HTTP_CFLAGS,$(PKG_CONFIG) --cflags libmicrohttpd)
HTTP_LIBS = $(call once,HTTP_LIBS,$(PKG_CONFIG) --libs libmicrohttpd)
# ALLOCATOR=libc: the relay with the C library's (relay/allocator.c). The sanitizers bring their own.
ALLOCATOR ?= jemalloc
ALLOCATOR_LIBS = $(if $(SAN)$(filter libc,$(ALLOCATOR)),,$(shell $(PKG_CONFIG) --libs $(ALLOCATOR)))
CHECK_LIBS = $(call once,CHECK_LIBS,$(PKG_CONFIG) --libs check)
JANSSON = $(shell $(PKG_CONFIG) --exists jansson && echo -DHAVE_JANSSON)

LIB_SRC = $(wildcard lib/outbox/*.c)
LIB_OBJ = $(LIB_SRC:%.c=$(O)/%.o)
INBOX_SRC = $(wildcard lib/inbox/*.c)
# In libinbox, hidden, and in the relay.
SHARED_SRC = $(wildcard lib/shared/*.c)
SHARED_OBJ = $(SHARED_SRC:%.c=$(O)/%.o)
INBOX_OBJ = $(INBOX_SRC:%.c=$(O)/%.o) $(SHARED_OBJ)
# In this order where something is linked with both.
LIBS = $(O)/libinbox.a $(O)/liboutbox.a
RELAY_SRC = $(wildcard relay/*.c relay/*/*.c)
RELAY_OBJ = $(RELAY_SRC:%.c=$(O)/%.o) $(SHARED_OBJ)
RELAY_PARTS = $(filter-out $(O)/relay/main.o $(SHARED_OBJ),$(RELAY_OBJ))
CRASH_OBJ = $(patsubst %.c,$(O)/crash/%.o,$(shell grep -l 'crash_point\.h' $(RELAY_SRC)))
RIG_OBJ = $(patsubst %.c,$(O)/%.o,$(wildcard tests/rig/*.c))
TOOLS = $(patsubst tests/tools/%.c,$(O)/tools/%,$(wildcard tests/tools/*.c)) \
        $(patsubst tests/demo/%.c,$(O)/tools/%,$(wildcard tests/demo/*.c)) \
        $(patsubst tests/bench/%.c,$(O)/tools/%,$(wildcard tests/bench/*.c))
TESTS = $(patsubst tests/%.c,$(O)/tests/%,$(wildcard tests/unit/test_*.c tests/core/test_*.c tests/integration/test_*.c))

# The order saga: each file of lib/examples/saga is a program, but for what they share.
SAGA_SHARED = saga order_book
SAGA_PROGRAMS = $(patsubst lib/examples/saga/%.c,$(O)/saga/%, \
    $(filter-out $(SAGA_SHARED:%=lib/examples/saga/%.c),$(wildcard lib/examples/saga/*.c)))

FUZZERS = $(patsubst tests/fuzz/%.c,$(O)/fuzzers/%,$(wildcard tests/fuzz/fuzz_*.c))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all lib relay crash tools saga tests syntax fuzzers man check mutants soak demo bench fuzz install \
        install-strip installcheck uninstall dist deb sql-variants abi-baseline clean distclean deps

all: lib relay
lib: $(LIBS) $(O)/$(SONAME) $(O)/$(INBOX_SONAME)
relay: $(O)/outbox-relay
tools: $(TOOLS) saga $(O)/tests/faults/interrupted.so $(O)/tests/faults/stalled.so $(O)/tests/faults/mute.so
tests: $(TESTS) tools
saga: $(SAGA_PROGRAMS)
fuzzers: $(FUZZERS)

# A relay that dies where it is told to (relay/crash_point.h), for tests/faults/crash.sh.
crash: $(O)/crash/outbox-relay

$(O)/lib/%.o: lib/%.c
	@mkdir -p $(@D)
	$(COMPILE) -fPIC -fvisibility=hidden $(PQ_CFLAGS) $(LIB_CFLAGS) -c -o $@ $<

$(INBOX_OBJ): LIB_CFLAGS = $(KAFKA_CFLAGS)

COMPILE_RELAY = $(COMPILE) -fPIE $(PQ_CFLAGS) $(KAFKA_CFLAGS) $(JANSSON_CFLAGS) $(HTTP_CFLAGS) -c -o $@ $<
$(O)/relay/%.o: relay/%.c
	@mkdir -p $(@D)
	$(COMPILE_RELAY)

$(O)/crash/relay/%.o: relay/%.c
	@mkdir -p $(@D)
	$(COMPILE_RELAY) -DOUTBOX_CRASH_POINTS

# They compile in two thirds of the time so, and take no longer: what they wait for is not theirs.
$(O)/tests/unit/%.o $(O)/tests/core/test_%.o $(O)/tests/integration/%.o: OPTIMIZE = -O1
$(O)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(COMPILE) $(PQ_CFLAGS) $(KAFKA_CFLAGS) -c -o $@ $<

$(O)/liboutbox.a: $(LIB_OBJ)
	rm -f $@
	$(AR) rcs $@ $(LIB_OBJ)

$(O)/$(SONAME): $(LIB_OBJ) lib/outbox.map
	$(CC) -shared $(OUR_LDFLAGS) -Wl,-soname,$(SONAME) -Wl,--version-script,lib/outbox.map -Wl,-z,defs \
	    $(LDFLAGS) -o $@ $(LIB_OBJ) $(PQ_LIBS) -pthread $(LDLIBS)
	ln -sf $(SONAME) $(O)/liboutbox.so

# All but main, for the tests.
$(O)/relay.a: $(RELAY_PARTS)
	rm -f $@
	$(AR) rcs $@ $(RELAY_PARTS)

$(O)/libinbox.a: $(INBOX_OBJ)
	rm -f $@
	$(AR) rcs $@ $(INBOX_OBJ)

# What it uses of lib/outbox comes along, hidden; a program may link both.
# nodelete: a thread that asks mute name servers (lib/shared/lookup.h) may outlive the consumer, and a dlclose().
$(O)/$(INBOX_SONAME): $(INBOX_OBJ) $(O)/liboutbox.a lib/inbox.map
	$(CC) -shared $(OUR_LDFLAGS) -Wl,-soname,$(INBOX_SONAME) -Wl,--version-script,lib/inbox.map -Wl,-z,defs -Wl,-z,nodelete \
	    $(LDFLAGS) -o $@ $(INBOX_OBJ) $(O)/liboutbox.a $(PQ_LIBS) $(KAFKA_LIBS) -pthread $(LDLIBS)
	ln -sf $(INBOX_SONAME) $(O)/libinbox.so

$(O)/outbox-relay: $(RELAY_OBJ)
$(O)/crash/outbox-relay: $(filter-out $(CRASH_OBJ:$(O)/crash/%=$(O)/%),$(RELAY_OBJ)) $(CRASH_OBJ)
$(O)/outbox-relay $(O)/crash/outbox-relay:
	$(CC) -pie $(OUR_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PQ_LIBS) $(KAFKA_LIBS) \
	    $(JANSSON_LIBS) $(HTTP_LIBS) $(ALLOCATOR_LIBS) -lm -pthread $(LDLIBS)

# A test file defines `Suite *suite_X(void)`; tests/rig/check_main.c runs it. It is linked with the
# library and with what it uses of the relay. A line FAKE(type, function, ...) in it, or in a header
# of tests/ that it includes, puts that function out of the way of all callers (tests/rig/fake.h).
$(O)/tests/%: $(O)/tests/%.o $(RIG_OBJ) $(O)/relay.a $(LIBS)
	$(CC) $(SAN) $(CFLAGS) -Wl,--defsym,test_suite=suite_$(patsubst test_%,%,$(notdir $*)) \
	    $(shell sed -n 's/^FAKE.[^,]*, *\([a-zA-Z0-9_]*\).*/-Wl,--wrap=\1/p' tests/$*.c \
	        $$(sed -n 's|^#include "\(tests/.*\.h\)".*|\1|p' tests/$*.c)) \
	    $(LDFLAGS) -o $@ $(filter %.o,$^) $(O)/relay.a $(LIBS) $(CHECK_LIBS) $(PQ_LIBS) $(KAFKA_LIBS) \
	    $(JANSSON_LIBS) $(HTTP_LIBS) -lm -pthread $(LDLIBS)

# A test that has a file for each of its parts.
$(O)/tests/core/test_sim: $(patsubst %.c,$(O)/%.o,$(wildcard tests/core/sim_*.c))

# Only with clang, and with what the decoders need built for it: tests/fuzz/run knows how. jansson is a second
# opinion, where it is installed.
FUZZED = $(patsubst %.c,$(O)/%.o,$(wildcard relay/settings*.c) \
    $(addprefix relay/,mask.c secret_file.c text.c http/listen.c sink/envelope.c source/page.c source/pairs.c))
$(O)/fuzzers/%: tests/fuzz/%.c $(FUZZED) $(O)/liboutbox.a
	@mkdir -p $(@D)
	$(COMPILE) $(PQ_CFLAGS) $(JANSSON) -fsanitize=fuzzer $(LDFLAGS) -o $@ $< $(FUZZED) \
	    $(O)/liboutbox.a $(PQ_LIBS) $(if $(JANSSON),-ljansson) -lm -pthread $(LDLIBS)

# Does every source compile without a word? `make syntax CC=clang-14`, `make syntax STD=c11`: with -Werror, and
# nothing is made. What a compiler sees only when it optimizes it says when it builds.
SYNTAX = $(addprefix syntax/,$(LIB_SRC) $(INBOX_SRC) $(SHARED_SRC) $(RELAY_SRC) $(wildcard lib/examples/saga/*.c \
    $(patsubst %,tests/%/*.c,rig unit core integration faults tools tools/oracle demo bench)))
syntax: $(SYNTAX)
$(SYNTAX): DEPENDS =
$(SYNTAX): syntax/%: %
	$(COMPILE) $(PQ_CFLAGS) $(KAFKA_CFLAGS) $(JANSSON_CFLAGS) $(HTTP_CFLAGS) -Werror -fsyntax-only $<

# For LD_PRELOAD, with the relay as it is.
$(O)/tests/faults/%.so: tests/faults/%.c
	@mkdir -p $(@D)
	$(COMPILE) -fPIC -shared $(LDFLAGS) -o $@ $< -ldl

# Tools use the library; those of the bench also parts of the relay.
define tool_rule
$(O)/tools/%: tests/$(1)/%.c $(2) $(LIBS)
	@mkdir -p $$(@D)
	$$(COMPILE) $$(PQ_CFLAGS) $$(KAFKA_CFLAGS) $$(LDFLAGS) -o $$@ $$< $$(filter %.o,$$^) $(LIBS) \
	    $$(PQ_LIBS) $$(KAFKA_LIBS) $(if $(2),$$(JANSSON_LIBS) $$(HTTP_LIBS) -lm) -pthread $$(LDLIBS)
endef
$(eval $(call tool_rule,tools,))
$(eval $(call tool_rule,demo,))
$(eval $(call tool_rule,tsan,))
$(eval $(call tool_rule,bench,$(RELAY_PARTS)))
$(O)/tools/oracle: $(patsubst %.c,$(O)/%.o,$(wildcard tests/tools/oracle/*.c))

$(O)/saga/%: $(O)/lib/examples/saga/%.o $(SAGA_SHARED:%=$(O)/lib/examples/saga/%.o) $(LIBS)
	@mkdir -p $(@D)
	$(CC) $(OUR_LDFLAGS) $(LDFLAGS) -o $@ $^ $(PQ_LIBS) $(KAFKA_LIBS) $(JANSSON_LIBS) -pthread $(LDLIBS)

$(O)/%.pc: pkgconfig/%.pc.in include/outbox.h
	@mkdir -p $(@D)
	sed -e 's|@prefix@|$(prefix)|' -e 's|@exec_prefix@|$(exec_prefix)|' -e 's|@libdir@|$(libdir)|' \
	    -e 's|@includedir@|$(includedir)|' -e 's|@VERSION@|$(VERSION)|' $< > $@

# Manual pages are written in scdoc's language, beside the code that they describe.
MAN_SRC = $(wildcard lib/man/*.scd relay/man/*.scd)
SCDOC ?= scdoc
# Functions that share the page of another have one that refers to it, so that man finds them without an index.
MAN_LINKS := $(shell awk -F ' - ' '/^\# NAME$$/ { inside = 1; page = FILENAME; gsub(/.*\/|\.scd$$/, "", page); next } \
    inside && NF > 1 { inside = 0; n = split($$1, name, ", "); \
    for (i = 1; i <= n; i++) if (name[i] ".3" != page) print name[i] ".3:" page }' lib/man/*.3.scd)
link_name = $(firstword $(subst :, ,$(1)))
MAN_NAMES = $(notdir $(MAN_SRC:.scd=)) $(foreach link,$(MAN_LINKS),$(call link_name,$(link)))
MAN = $(if $(shell command -v $(SCDOC) 2>/dev/null),$(addprefix $(O)/man/,$(MAN_NAMES)))
vpath %.scd lib/man relay/man
man: $(MAN)
# .TH turns hyphenation on again, and a command with a hyphen more cannot be copied.
$(O)/man/%: %.scd
	@mkdir -p $(@D)
	$(SCDOC) <$< >$@.new
	sed 's/^\.TH .*/&\n.nh/' $@.new >$@
	@rm $@.new
define link_rule
$(O)/man/$(call link_name,$(1)):
	@mkdir -p $$(@D)
	echo '.so man3/$(lastword $(subst :, ,$(1)))' >$$@
endef
$(foreach link,$(MAN_LINKS),$(eval $(call link_rule,$(link))))

# Here the commands are many and long: a line says what goes where, and V=1 shows them instead.
Q = $(if $(V),,@)
SAY = @$(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),:,echo)
# Header, archive, shared library with its links, and what pkg-config reads.
define install_library
$(SAY) 'lib$(1): $(DESTDIR)$(libdir)/lib$(1).so.$(VERSION) and .a, $(DESTDIR)$(includedir)/$(1).h, $(DESTDIR)$(pkgconfigdir)/$(1).pc'
	$(Q)$(INSTALL_DATA) include/$(1).h $(DESTDIR)$(includedir)/$(1).h
	$(Q)$(INSTALL_DATA) $(O)/lib$(1).a $(DESTDIR)$(libdir)/lib$(1).a
	$(Q)$(INSTALL) -m 644 $(O)/lib$(1).so.0 $(DESTDIR)$(libdir)/lib$(1).so.$(VERSION)
	$(Q)ln -sf lib$(1).so.$(VERSION) $(DESTDIR)$(libdir)/lib$(1).so.0
	$(Q)ln -sf lib$(1).so.0 $(DESTDIR)$(libdir)/lib$(1).so
	$(Q)$(INSTALL_DATA) $(O)/$(1).pc $(DESTDIR)$(pkgconfigdir)/$(1).pc
	
endef

install: all man
	$(Q)rm -f $(O)/outbox.pc $(O)/inbox.pc
	$(Q)$(MAKE) $(if $(V),,-s) $(O)/outbox.pc $(O)/inbox.pc
	$(Q)$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir) $(DESTDIR)$(includedir) \
	    $(DESTDIR)$(pkgconfigdir) $(DESTDIR)$(datadir)/outbox/sql
	$(SAY) 'outbox-relay: $(DESTDIR)$(bindir)/outbox-relay'
	$(Q)$(INSTALL_PROGRAM) $(O)/outbox-relay $(DESTDIR)$(bindir)/outbox-relay
	$(foreach lib,outbox inbox,$(call install_library,$(lib)))
	$(SAY) 'migrations: $(DESTDIR)$(datadir)/outbox/sql'
	$(Q)$(INSTALL_DATA) $(wildcard sql/*.sql) $(DESTDIR)$(datadir)/outbox/sql
	$(SAY) 'alerts: $(DESTDIR)$(datadir)/outbox/prometheus'
	$(Q)$(INSTALL_DATA) -D relay/contrib/prometheus/outbox-relay.rules.yml $(DESTDIR)$(datadir)/outbox/prometheus/outbox-relay.rules.yml
	$(if $(MAN),$(SAY) 'manual pages: $(DESTDIR)$(mandir)')
	$(Q)$(foreach page,$(MAN),$(INSTALL_DATA) -D $(page) $(DESTDIR)$(mandir)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)) &&) true
ifneq ($(MAN_SRC),)
ifeq ($(MAN),)
	@echo 'no manual pages installed: $(SCDOC) is missing'
endif
endif

# The archive keeps the names that the linker needs.
install-strip: install
	$(SAY) 'debug information: stripped'
	$(Q)$(STRIP) $(DESTDIR)$(bindir)/outbox-relay
	$(Q)$(foreach lib,outbox inbox,$(STRIP) --strip-unneeded $(DESTDIR)$(libdir)/lib$(lib).so.$(VERSION) &&) true
	$(Q)$(foreach lib,outbox inbox,$(STRIP) --strip-debug --enable-deterministic-archives $(DESTDIR)$(libdir)/lib$(lib).a &&) true

installcheck:
	@DESTDIR='$(DESTDIR)' pkgconfigdir='$(pkgconfigdir)' libdir='$(libdir)' CC='$(CC)' CXX='$(CXX)' \
	    PKG_CONFIG='$(PKG_CONFIG)' tests/tools/installcheck

# With the directories and DESTDIR of the installation.
uninstall:
	$(Q)rm -f $(DESTDIR)$(bindir)/outbox-relay $(foreach lib,outbox inbox,$(DESTDIR)$(includedir)/$(lib).h \
	    $(addprefix $(DESTDIR)$(libdir)/lib$(lib).,a so so.0 so.$(VERSION)) $(DESTDIR)$(pkgconfigdir)/$(lib).pc) \
	    $(foreach page,$(MAN_NAMES), \
	    $(DESTDIR)$(mandir)/man$(subst .,,$(suffix $(page)))/$(page))
	$(Q)rm -rf $(DESTDIR)$(datadir)/outbox
	$(SAY) 'removed: outbox-relay, liboutbox, libinbox, their headers, manual pages and migrations, from $(DESTDIR)$(prefix)'

# The last commit, without what is not committed; the same bytes each time.
DIST = outbox-$(VERSION)
dist:
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo 'make dist: needs the git repository' >&2; exit 1; }
	@mkdir -p $(O)
	git -c tar.umask=0002 archive --format=tar --prefix=$(DIST)/ HEAD >$(O)/$(DIST).tar
	gzip -9 -n -f $(O)/$(DIST).tar
	cd $(O) && sha256sum $(DIST).tar.gz >$(DIST).tar.gz.sha256

sql-variants:
	@relay/contrib/sql-variants '$(O)/sql'

deb:
	@O='$(O)' relay/contrib/build-deb

abi-baseline: lib
	@tests/checks/abi.sh --baseline

deps:
	@tests/tools/deps

check: deps
	@PG='$(PG)' RDKAFKA='$(RDKAFKA)' tests/check

mutants: deps
	@tests/mutants/run

# The soak ends after so many kills, or after SOAK_SECONDS when that is set; SEED=n replays a schedule. KAFKA=1: with a
# real broker, and nothing but that.
# SAGA=1: the services of the order saga are killed instead, SAGA_FAULTS times.
soak: export SOAK_KILLS ?= 1000
soak: export SAGA_FAULTS ?= 400
soak: export CHECK_TIMEOUT ?= 14400
soak: export SIM_RUNS ?= 3000000
soak: export NTH_STEP ?= 1
soak: deps
	@$(if $(KAFKA),SOAK_BROKER=kafka) tests/check $(if $(SAGA),faults/saga,$(if $(KAFKA),faults/soak,core/test_sim integration/test_nth_source integration/test_nth_inbox faults/soak))

demo: deps
	@tests/demo/$(if $(SAGA),saga $(if $(filter orchestration,$(SAGA)),--orchestrated),demo)

bench: deps
	@tests/bench/bench

fuzz: deps
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) tests/fuzz/run

clean:
	rm -rf $(O)

distclean: clean
	rm -rf .cache

# Of this build; below $(O) there are others, which may be under way.
-include $(shell find $(addprefix $(O)/,lib relay crash saga tests tools fuzzers) -name '*.d' 2>/dev/null)
