/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * vnodes_in_use: has the kernel keep no vnode that nothing uses, and prints
 * how many there are then.  What it has counted as free (vfs.freevnodes) says
 * less: each CPU has up to 126 that it has not told of yet.
 */

#include <sys/types.h>
#include <sys/sysctl.h>

#include <err.h>
#include <stdio.h>
#include <unistd.h>

/* In tenths of a second: how long the number has to stay, and all may take. */
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
	/* Fewer than there can be; nothing is executed until they are back. */
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
