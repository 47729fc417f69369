# For GNU make and for bmake alike: the work is in scripts/.
#
# KERNEL=14, KERNEL=15             only the modules for this major release of FreeBSD
# MACHINE=amd64, MACHINE=arm64     only the modules for this machine
# KERNEL_HEADERS=DIR OSRELDATE=N   headers of another release
# IMAGE=PATH                       FreeBSD disk image for the VM tier
# ONLY=GLOB                        run only these tests, or benches, of the VM tier
# SECONDS=N                        how long stress-standin runs; a minute
# PATIENCE=N                       multiplies the time limits of make check

.POSIX:

# Targets share build directories; cargo uses all CPUs by itself.
.NOTPARALLEL:

# The module of each target in scripts/env.sh, as target/14-amd64/ktrace_rs.ko and so on.
all: setup
	@sh scripts/each.sh sh scripts/module.sh

setup:
	@sh scripts/setup.sh

# What the tests on a real kernel need there, and the programs that users run.
guest: all
	@sh scripts/each.sh sh scripts/guest.sh -d

# Formatting, lints, and the finished modules.
lint: all
	@sh scripts/check.sh lint

# All that is installed, for each target.
build: all
	@sh scripts/each.sh sh scripts/install.sh build

# DESTDIR and PREFIX are honoured. Of several targets the first one is installed.
install: build
	@sh scripts/install.sh install

uninstall:
	@sh scripts/install.sh uninstall

# An archive for pkg(8), made on FreeBSD; elsewhere what that is made of, for each target.
package: build
	@sh scripts/each.sh sh scripts/install.sh package

# What a newcomer sees: the module at work, on a real kernel or in the stand-in for one.
demo: all
	@sh scripts/demo.sh $(IMAGE)

# All tiers, each with a time limit, and a summary.
check:
	@sh scripts/check.sh setup build lint host standin install vm

check-host: setup
	@sh scripts/check.sh host

# The finished modules in a stand-in for the kernel: on Linux only, no image is needed.
check-standin: all
	@sh scripts/check.sh standin

# Random loads and seeds of it for so many SECONDS.
stress-standin: all
	@sh scripts/standin.sh stress $(SECONDS)

check-install: all
	@sh scripts/check.sh install

# On the images that are there: all tests on those of one release, the core on the others.
check-vm: all
	@sh scripts/check.sh vm

# All tests on all images.
check-vm-all: all
	@sh scripts/vm.sh check-all $(IMAGE)

# The tests of the VM tier that have one at full length, and the table of the loads' figures.
stress: all
	@sh scripts/vm.sh stress $(IMAGE)

# The tests of the host with many more schedules and inputs, and on a broken engine.
stress-host: setup
	@sh scripts/stress_host.sh

# What tracing costs, stock against module: tables, samples and a plot in tests/bench.
bench: all
	@sh scripts/vm.sh bench $(IMAGE)

# What records cost on this machine, without a kernel.
bench-host: setup
	cargo bench -q -p ktrace-bench -- --quiet

vm-shell: all
	@sh scripts/vm.sh shell $(IMAGE)

vm-image: setup
	@sh scripts/vm.sh fetch

clean:
	rm -rf target

.PHONY: all setup guest build install uninstall package lint demo check check-host check-standin check-install check-vm check-vm-all stress stress-standin stress-host bench bench-host vm-shell vm-image clean
