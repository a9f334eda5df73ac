# Makefile - build, test and install liboutbox and outbox-relay. GNU make.
#
#   make            library and relay            make demo     the whole story on one machine
#   make check      every test                   make install  DESTDIR= prefix=
#   make bench      relay against a bare producer   make soak   seeded faults for long, SOAK_KILLS=n
#   make fuzz       the decoders under libFuzzer, FUZZ_SECONDS= each (default 60)
#   make mutants    the tests are tested: what each promise rests on is broken, and must be noticed
#
# Everything that is built goes to $(O) (default .build). CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS given
# by the caller are used after ours.

O ?= .build
# One spelling, or changed headers would go unnoticed.
override O := $(abspath $(O))
prefix ?= /usr/local
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
libdir ?= $(exec_prefix)/lib
includedir ?= $(prefix)/include
datadir ?= $(prefix)/share
pkgconfigdir ?= $(libdir)/pkgconfig
INSTALL ?= install
PKG_CONFIG ?= pkg-config
CC ?= cc

# The version stands in the header and nowhere else.
VERSION := $(shell sed -n 's/^\#define OUTBOX_VERSION_STRING "\(.*\)"$$/\1/p' include/outbox.h)
SONAME := liboutbox.so.0

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
       -Wformat=2 -Wundef -Wvla -Wno-overlength-strings -Wno-gnu-statement-expression $(if $(WERROR),-Werror)
STD ?= c17
OUR_CFLAGS = -std=$(STD) -O2 -g $(WARN) $(SAN)
OUR_CPPFLAGS = -D_GNU_SOURCE -Iinclude -I. -MMD -MP
COMPILE = $(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(CFLAGS)

PQ_CFLAGS = $(shell $(PKG_CONFIG) --cflags libpq)
PQ_LIBS = $(shell $(PKG_CONFIG) --libs libpq)
KAFKA_CFLAGS = $(shell $(PKG_CONFIG) --cflags rdkafka)
KAFKA_LIBS = $(shell $(PKG_CONFIG) --libs rdkafka)
JANSSON_CFLAGS = $(shell $(PKG_CONFIG) --cflags jansson)
JANSSON_LIBS = $(shell $(PKG_CONFIG) --libs jansson)
CHECK_LIBS = $(shell $(PKG_CONFIG) --libs check)
JANSSON = $(shell $(PKG_CONFIG) --exists jansson && echo -DHAVE_JANSSON)

LIB_SRC = $(wildcard lib/outbox/*.c)
LIB_OBJ = $(LIB_SRC:%.c=$(O)/%.o)
RELAY_SRC = $(wildcard relay/*.c relay/*/*.c)
RELAY_OBJ = $(RELAY_SRC:%.c=$(O)/%.o)
RELAY_PARTS = $(filter-out $(O)/relay/main.o,$(RELAY_OBJ))
RIG_OBJ = $(patsubst %.c,$(O)/%.o,$(wildcard tests/rig/*.c))
TOOLS = $(patsubst tests/tools/%.c,$(O)/tools/%,$(wildcard tests/tools/*.c)) \
        $(patsubst tests/demo/%.c,$(O)/tools/%,$(wildcard tests/demo/*.c)) \
        $(patsubst tests/bench/%.c,$(O)/tools/%,$(wildcard tests/bench/*.c))
TESTS = $(patsubst tests/%.c,$(O)/tests/%,$(wildcard tests/unit/test_*.c tests/core/test_*.c tests/integration/test_*.c))

FUZZERS = $(patsubst tests/fuzz/%.c,$(O)/fuzzers/%,$(wildcard tests/fuzz/fuzz_*.c))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all lib relay crash tools tests fuzzers check mutants soak demo bench fuzz install uninstall clean \
        distclean deps

all: lib relay
lib: $(O)/liboutbox.a $(O)/$(SONAME)
relay: $(O)/outbox-relay
tools: $(TOOLS)
tests: $(TESTS) tools
fuzzers: $(FUZZERS)

# A relay that dies where it is told to (relay/crash_point.h), for tests/faults/crash.sh.
crash:
	$(MAKE) O=$(O)/crash CPPFLAGS='$(CPPFLAGS) -DOUTBOX_CRASH_POINTS' relay

$(O)/lib/%.o: lib/%.c
	@mkdir -p $(@D)
	$(COMPILE) -fPIC -fvisibility=hidden $(PQ_CFLAGS) -c -o $@ $<

$(O)/relay/%.o: relay/%.c
	@mkdir -p $(@D)
	$(COMPILE) $(PQ_CFLAGS) $(KAFKA_CFLAGS) $(JANSSON_CFLAGS) -c -o $@ $<

$(O)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(COMPILE) $(PQ_CFLAGS) $(KAFKA_CFLAGS) -c -o $@ $<

$(O)/liboutbox.a: $(LIB_OBJ)
	rm -f $@
	$(AR) rcs $@ $(LIB_OBJ)

$(O)/$(SONAME): $(LIB_OBJ) lib/outbox.map
	$(CC) -shared $(SAN) -Wl,-soname,$(SONAME) -Wl,--version-script,lib/outbox.map -Wl,-z,defs \
	    -Wl,--as-needed -Wl,-z,relro,-z,now $(LDFLAGS) -o $@ $(LIB_OBJ) $(PQ_LIBS) -pthread $(LDLIBS)
	ln -sf $(SONAME) $(O)/liboutbox.so

$(O)/outbox-relay: $(RELAY_OBJ)
	$(CC) $(SAN) $(LDFLAGS) -Wl,--as-needed -o $@ $(RELAY_OBJ) $(PQ_LIBS) $(KAFKA_LIBS) \
	    $(JANSSON_LIBS) -pthread $(LDLIBS)

# A test file defines `Suite *suite_X(void)`; tests/rig/check_main.c runs it. It is linked with the
# library and with every part of the relay except main. A line FAKE(type, function, ...) in it puts
# that function of a library out of the way of all callers: the test defines __wrap_function.
$(O)/tests/%: $(O)/tests/%.o $(RIG_OBJ) $(RELAY_PARTS) $(O)/liboutbox.a
	$(COMPILE) -MF $@.main.d -DSUITE=suite_$(patsubst test_%,%,$(notdir $*)) \
	    $(shell sed -n 's/^FAKE.[^,]*, *\([a-zA-Z0-9_]*\).*/-Wl,--wrap=\1/p' tests/$*.c) \
	    $(LDFLAGS) -o $@ $< tests/rig/check_main.c $(filter-out $(O)/tests/rig/check_main.o,$(RIG_OBJ)) \
	    $(RELAY_PARTS) $(O)/liboutbox.a $(CHECK_LIBS) $(PQ_LIBS) $(KAFKA_LIBS) \
	    $(JANSSON_LIBS) -pthread $(LDLIBS)

# Only with clang, and with the rest built for it: tests/fuzz/run knows how. jansson is a second
# opinion, where it is installed.
$(O)/fuzzers/%: tests/fuzz/%.c $(RELAY_PARTS) $(O)/liboutbox.a
	@mkdir -p $(@D)
	$(COMPILE) $(PQ_CFLAGS) $(JANSSON) -fsanitize=fuzzer $(LDFLAGS) -o $@ $< $(RELAY_PARTS) \
	    $(O)/liboutbox.a $(PQ_LIBS) $(KAFKA_LIBS) $(if $(JANSSON),-ljansson) -pthread $(LDLIBS)

# Tools use the library; those of the bench also parts of the relay.
define tool_rule
$(O)/tools/%: tests/$(1)/%.c $(2) $(O)/liboutbox.a
	@mkdir -p $$(@D)
	$$(COMPILE) $$(PQ_CFLAGS) $$(KAFKA_CFLAGS) $$(LDFLAGS) -o $$@ $$< $(2) $(O)/liboutbox.a \
	    $$(PQ_LIBS) $$(KAFKA_LIBS) $(if $(2),$$(JANSSON_LIBS)) -pthread $$(LDLIBS)
endef
$(eval $(call tool_rule,tools,))
$(eval $(call tool_rule,demo,))
$(eval $(call tool_rule,bench,$(RELAY_PARTS)))

$(O)/%.pc: pkgconfig/%.pc.in include/outbox.h
	@mkdir -p $(@D)
	sed -e 's|@prefix@|$(prefix)|' -e 's|@exec_prefix@|$(exec_prefix)|' -e 's|@libdir@|$(libdir)|' \
	    -e 's|@includedir@|$(includedir)|' -e 's|@VERSION@|$(VERSION)|' $< > $@

install: all
	rm -f $(O)/outbox.pc
	$(MAKE) $(O)/outbox.pc
	$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir) $(DESTDIR)$(includedir) \
	    $(DESTDIR)$(pkgconfigdir) $(DESTDIR)$(datadir)/outbox/sql
	$(INSTALL) -m 755 $(O)/outbox-relay $(DESTDIR)$(bindir)/outbox-relay
	$(INSTALL) -m 644 include/outbox.h $(DESTDIR)$(includedir)/outbox.h
	$(INSTALL) -m 644 $(O)/liboutbox.a $(DESTDIR)$(libdir)/liboutbox.a
	$(INSTALL) -m 755 $(O)/$(SONAME) $(DESTDIR)$(libdir)/liboutbox.so.$(VERSION)
	ln -sf liboutbox.so.$(VERSION) $(DESTDIR)$(libdir)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(libdir)/liboutbox.so
	$(INSTALL) -m 644 $(O)/outbox.pc $(DESTDIR)$(pkgconfigdir)/outbox.pc
	$(INSTALL) -m 644 $(wildcard sql/*.sql) $(DESTDIR)$(datadir)/outbox/sql

uninstall:
	rm -f $(DESTDIR)$(bindir)/outbox-relay $(DESTDIR)$(includedir)/outbox.h \
	    $(DESTDIR)$(libdir)/liboutbox.a $(DESTDIR)$(libdir)/liboutbox.so* \
	    $(DESTDIR)$(pkgconfigdir)/outbox.pc
	rm -rf $(DESTDIR)$(datadir)/outbox

deps:
	@tests/tools/deps

check: deps
	@tests/check

mutants: deps
	@tests/mutants/run

# The soak ends after so many kills, or after SOAK_SECONDS when that is set; SEED=n replays a schedule.
soak: export SOAK_KILLS ?= 1000
soak: export CHECK_TIMEOUT ?= 14400
soak: export SIM_RUNS ?= 3000000
soak: export NTH_STEP ?= 1
soak: deps
	@tests/check core/test_sim integration/test_nth_source faults/soak

demo: deps
	@tests/demo/demo

bench: deps
	@tests/bench/bench

fuzz: deps
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) tests/fuzz/run

clean:
	rm -rf $(O)

distclean: clean
	rm -rf .cache

-include $(shell find $(O) -name '*.d' 2>/dev/null)
