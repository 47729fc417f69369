/*
 * Measures how fast a process makes system calls: repeated utrace(2) of a counter. SIGUSR1 makes it
 * print the count and the time in nanoseconds. SIGUSR2 ends it. SIGHUP changes nothing, but may
 * interrupt what the process does in the kernel.
 *
 *	pace FILE	writes the counts to FILE in the end, in the format of crowd
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/syscall.h>

#include <err.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t asked, ended;

static void
on_signal(int sig)
{
	if (sig == SIGUSR1)
		asked = 1;
	else if (sig == SIGUSR2)
		ended = 1;
}

int
main(int argc, char *argv[])
{
	struct timespec now;
	unsigned long n;
	FILE *f;

	if (argc != 2)
		errx(2, "usage: pace FILE");
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	signal(SIGHUP, on_signal);
	setlinebuf(stdout);
	for (n = 0; !ended; n++) {
		if (utrace(&n, sizeof(n)) != 0)
			err(1, "utrace");
		if (asked) {
			asked = 0;
			clock_gettime(CLOCK_MONOTONIC, &now);
			printf("%lu %jd%09ld\n", n, (intmax_t)now.tv_sec,
			    now.tv_nsec);
		}
	}
	if ((f = fopen(argv[1], "w")) == NULL)
		err(2, "%s", argv[1]);
	fprintf(f, "%d 0 USER %lu\n", getpid(), n);
	fprintf(f, "%d 0 SYSCALL:%d %lu\n", getpid(), SYS_utrace, n);
	fprintf(f, "%d 0 SYSRET:%d %lu\n", getpid(), SYS_utrace, n);
	return (fclose(f) != 0);
}
