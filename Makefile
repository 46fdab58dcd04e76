# SPDX-License-Identifier: Apache-2.0
# The project's commands; 'make help' lists them.

.DEFAULT_GOAL := help

PYTHON ?= python3
PYTHON_DIR ?= /usr/lib/python3/dist-packages
TESTS_DIR ?= /usr/lib/graft/tests
UNIT_DIR ?= /usr/lib/systemd/system
CNI_DIR ?= /usr/lib/cni
# Empty where who installs a package compiles its Python.
COMPILE ?= yes
GRPC_PYTHON_PLUGIN ?= /usr/bin/grpc_python_plugin
CFLAGS ?= -O2 -g -Wall -Wextra -Werror
# Running the project leaves nothing behind in its folders.
export PYTHONDONTWRITEBYTECODE := 1

# The drivers of the tests are packages below tests/.
driver := PYTHONPATH=tests $(PYTHON) -m
bench_sources := $(wildcard tests/bench/*.c)
bench_programs := $(patsubst build/%/door1,build/%/door1.so,$(bench_sources:%.c=build/%))

python_dir = $(DESTDIR)$(PYTHON_DIR)
python_packages := graftd clients/cli/ip_graft clients/cli/graftcli clients/python/graft_client
protos = $(shell find proto/graft -name '*.proto')

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## a container without an interface at host speed, beside host and NAT
	@$(driver) demo

.PHONY: test
test: ## every test on every kernel; SUITE=NAME picks one, SUITE=list names them
	@$(driver) matrix $(SUITE)

.PHONY: check
check: ## formatters, linters, type checks, sparse, checkpatch, buf; no guest
	@$(driver) check

# What is installed is compiled, so what is measured is as well.
bench = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/build/cache/python \
	PYTHONPATH=.:tests:build/stubs:clients/python .venv/bin/python -m

.PHONY: bench
bench: prepare ## the published figures, peers, scale curves: build/bench/index.html and report.json
	@$(bench) bench bench

.PHONY: bench-quick
bench-quick: prepare ## the same in four minutes: fewer figures, fewer rounds
	@$(bench) bench quick

.PHONY: bench-service
bench-service: prepare ## graftd alone, the kernel played: times and memory beside their targets; no guest
	@$(bench) bench.service

.PHONY: soak
soak: ## the long forms of the stress, crash and reset tests
	@$(driver) matrix soak-integration soak-service soak-resets soak-containers packages soak-packages soak-6.12 \
		soak-debug

.PHONY: packages
packages: ## build/packages/*.deb and *.rpm; FORMAT=deb or rpm for one kind
	@$(driver) packages $(FORMAT)

.PHONY: prepare
prepare: ## install what the commands above need, and nothing else
	@tests/prepare

.PHONY: stubs
stubs: prepare ## Python of proto/, into build/stubs, for the tests and the type checks

.PHONY: man
man: ## the manual pages, into build/man
	rm -rf build/man
	PYTHONPATH=packaging/man:clients/cli:. $(PYTHON) -m graft_man build/man

.PHONY: completion
completion: ## what makes shells complete the commands, into build/completion
	rm -rf build/completion
	PYTHONPATH=packaging/completion:packaging/man:clients/cli:. $(PYTHON) -m graft_completion build/completion

.PHONY: clean
clean: ## remove what was built in the tree; the lab's cache stays
	rm -rf build .venv

.PHONY: go
go: ## the Go programs, into build/go, by the lab's own Go
	@tests/lab/lab go build/go

# The Go programs are made by 'make go', and are installed where they were. $(1) is one, $(2) its folder.
install_go = if [ -e build/go/$(1) ]; then install -D -t $(DESTDIR)$(2) build/go/$(1); fi

# 'make install DESTDIR=stage' is what the lab puts into its guests; it runs inside the guest's own root, whose protoc
# makes the Python of proto/.
.PHONY: install
install: man completion ## the programs, below DESTDIR; 'make -C kmod modules_install' is for the module
	install -d $(python_dir)
	cp -r $(python_packages) $(python_dir)/
	protoc -I proto --python_out=$(python_dir) --grpc_python_out=$(python_dir) \
		--plugin=protoc-gen-grpc_python=$(GRPC_PYTHON_PLUGIN) $(protos)
	$(if $(COMPILE),$(PYTHON) -m compileall -q --invalidation-mode checked-hash -s "$(DESTDIR)" \
		$(addprefix $(python_dir)/,$(notdir $(python_packages)) graft))
	install -D clients/cli/ip-graft $(DESTDIR)/usr/sbin/ip-graft
	install -D packaging/bin/graftd $(DESTDIR)/usr/sbin/graftd
	install -D packaging/bin/graftcli $(DESTDIR)/usr/bin/graftcli
	# What an administrator wrote stays.
	test -e $(DESTDIR)/etc/graftd/graftd.toml || \
		install -D -m 644 packaging/etc/graftd.toml $(DESTDIR)/etc/graftd/graftd.toml
	install -D -m 644 packaging/graftd.toml $(DESTDIR)/usr/share/graftd/graftd.toml
	install -d $(DESTDIR)$(UNIT_DIR)
	install -m 644 packaging/systemd/*.service packaging/systemd/*.socket $(DESTDIR)$(UNIT_DIR)/
	for kind in sysusers.d tmpfiles.d modules-load.d; do \
		install -D -m 644 -t $(DESTDIR)/usr/lib/$$kind packaging/systemd/$$kind/*; \
	done
	$(MAKE) -C clients/preload install DESTDIR=$(abspath $(DESTDIR))
	$(call install_go,graft-cni,$(CNI_DIR))
	$(call install_go,graft-oci-hook,/usr/libexec/graft)
	$(call install_go,graft-transparent,/usr/sbin)
	install -D -m 644 -t $(DESTDIR)/usr/share/containers/oci/hooks.d packaging/oci/graft.json
	install -D -m 644 packaging/oci/cdi.json $(DESTDIR)/etc/cdi/graft.json
	install -D -m 644 packaging/systemd/graft-transparent/graftd.conf \
		$(DESTDIR)$(UNIT_DIR)/graftd.service.d/graft-transparent.conf
	install -D -m 644 kmod/uapi/linux/graft.h $(DESTDIR)/usr/include/linux/graft.h
	for page in build/man/*; do \
		install -D -m 644 -t $(DESTDIR)/usr/share/man/man$${page##*.} $$page || exit; \
	done
	cp -r --no-preserve=mode,ownership build/completion/. $(DESTDIR)/usr/share/

.PHONY: install-tests
install-tests: $(bench_programs)
	$(MAKE) -C tests/guest install DESTDIR=$(abspath $(DESTDIR))
	install -d $(DESTDIR)$(TESTS_DIR)
	if [ -n "$^" ]; then install $^ $(DESTDIR)$(TESTS_DIR)/; fi
	$(call install_go,cnitool,$(TESTS_DIR))
	$(call install_go,cri,$(TESTS_DIR))
	$(call install_go,web,$(TESTS_DIR))

build/tests/bench/hold: tests/guest/nl.h

build/tests/%: tests/%.c
	mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Ikmod/uapi $(LDFLAGS) -o $@ $< $(LDLIBS)

# What is preloaded into a program.
build/tests/%.so: tests/%.c
	mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Ikmod/uapi -shared -fPIC $(LDFLAGS) -o $@ $< $(LDLIBS)
