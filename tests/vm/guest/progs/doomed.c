/*
 * Makes system calls, and then makes the system panic.
 *
 *	doomed DIRECTORY MILLISECONDS
 *
 * Three children, each traced to a file of its name in DIRECTORY, pass the numbers from zero on to
 * utrace(2):
 *
 *	slow	one at a time, with a sleep of a millisecond after each
 *	fast	a hundred, then a sleep
 *	left	as slow
 *
 * When the time is up, and while the children continue, this process calls fsync(2) on the first
 * two files, writes the file "made", and sets debug.kdb.panic. "made" has a line of four numbers
 * for each sample, taken about every millisecond: microseconds before the fsync(2), and the number
 * of calls from which each child had returned by then. The last line is from right before the
 * fsync(2).
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/mman.h>
#include <sys/procctl.h>
#include <sys/sysctl.h>
#include <sys/uio.h>

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NCHILDREN 3

static const struct {
	const char *name;
	unsigned long burst;
	bool synced;
} kinds[NCHILDREN] = {
    {"slow", 1, true},
    {"fast", 100, true},
    {"left", 1, false},
};

/* The counts at one time. */
struct sample {
	int64_t us;
	unsigned long made[NCHILDREN];
};

static atomic_ulong *made; /* in shared memory */

static int64_t
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000);
}

static void
child(int i)
{
	int kill = SIGKILL, len;
	char number[24];

	/* If this program fails, its children end too. */
	if (procctl(P_PID, 0, PROC_PDEATHSIG_CTL, &kill) != 0)
		err(2, "procctl");
	if (ktrace(kinds[i].name, KTROP_SET, KTRFAC_SYSCALL | KTRFAC_SYSRET | KTRFAC_USER,
		getpid()) != 0)
		err(2, "ktrace");
	for (unsigned long n = 0;; n++) {
		len = snprintf(number, sizeof(number), "%lu", n);
		if (utrace(number, len) != 0)
			err(2, "utrace");
		atomic_store(&made[i], n + 1);
		if ((n + 1) % kinds[i].burst == 0)
			usleep(1000);
	}
}

static void
look(struct sample *s)
{
	s->us = now();
	for (int i = 0; i < NCHILDREN; i++)
		s->made[i] = atomic_load(&made[i]);
}

int
main(int argc, char *argv[])
{
	struct sample *samples;
	int fds[NCHILDREN], fd, one = 1;
	int64_t until;
	size_t n = 0, ms;
	FILE *f;

	if (argc != 3 || (ms = strtoul(argv[2], NULL, 10)) == 0)
		errx(2, "usage: doomed DIRECTORY MILLISECONDS");
	if (chdir(argv[1]) != 0)
		err(2, "%s", argv[1]);
	made = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_ANON | MAP_SHARED, -1, 0);
	if (made == MAP_FAILED || (samples = calloc(ms + 1, sizeof(*samples))) == NULL)
		err(2, "memory");
	for (int i = 0; i < NCHILDREN; i++) {
		fds[i] = open(kinds[i].name, O_CREAT | O_EXCL | O_WRONLY, 0600);
		/* With its name on the disk, the last fsync(2) has less to do. */
		if (fds[i] < 0 || fsync(fds[i]) != 0)
			err(2, "%s", kinds[i].name);
		switch (fork()) {
		case -1:
			err(2, "fork");
		case 0:
			child(i);
		}
	}
	if ((fd = open("made", O_CREAT | O_EXCL | O_WRONLY, 0600)) < 0 ||
	    (f = fdopen(fd, "w")) == NULL)
		err(2, "made");

	for (until = now() + ms * 1000; n < ms && now() < until; n++) {
		look(&samples[n]);
		usleep(1000);
	}
	look(&samples[n]);
	for (int i = 0; i < NCHILDREN; i++)
		if (kinds[i].synced && fsync(fds[i]) != 0)
			err(2, "%s", kinds[i].name);
	for (size_t i = 0; i <= n; i++)
		fprintf(f, "%jd %lu %lu %lu\n", (intmax_t)(samples[n].us - samples[i].us),
		    samples[i].made[0], samples[i].made[1], samples[i].made[2]);
	if (fflush(f) != 0 || fsync(fd) != 0)
		err(2, "made");
	sysctlbyname("debug.kdb.panic", NULL, NULL, &one, sizeof(one));
	err(2, "debug.kdb.panic");
}
