/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * vnodes_in_use: makes the kernel free all unused vnodes, and prints the number that remains. The
 * count of free vnodes (vfs.freevnodes) is less accurate: each CPU has up to 126 that it has not
 * reported yet.
 */

#include <sys/types.h>
#include <sys/sysctl.h>

#include <err.h>
#include <stdio.h>
#include <unistd.h>

/*
 * In tenths of a second: the time for which the number must be stable, and the limit for
 * everything.
 */
#define STAYS 30
#define TRIES 300

static unsigned long
get(const char *name)
{
	unsigned long value;
	size_t len;

	len = sizeof(value);
	if (sysctlbyname(name, &value, &len, NULL, 0) != 0)
		err(1, "%s", name);
	return (value);
}

static void
set(const char *name, unsigned long value)
{
	if (sysctlbyname(name, NULL, NULL, &value, sizeof(value)) != 0)
		err(1, "%s", name);
}

int
main(void)
{
	unsigned long last, most, now;
	int stayed, tries;

	most = get("kern.maxvnodes");
	/* A limit that cannot be met. Nothing is executed until it is restored. */
	set("kern.maxvnodes", 10);
	last = 0;
	for (tries = stayed = 0; tries < TRIES && stayed < STAYS; tries++) {
		usleep(100000);
		now = get("vfs.numvnodes");
		stayed = now == last ? stayed + 1 : 0;
		last = now;
	}
	set("kern.maxvnodes", most);
	if (stayed < STAYS)
		errx(1, "vfs.numvnodes: %lu, and does not stay", last);
	printf("%lu\n", last);
	return (0);
}
