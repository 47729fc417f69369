/*
 * Makes system calls, and knows how many: it repeats utrace(2) of a counter, written as a decimal
 * number. After the first call, and for each SIGUSR1, it prints the count, the CPU time that it has
 * needed in microseconds, and how often it has waited in the kernel. SIGUSR2 ends it. SIGHUP
 *changes nothing, but may interrupt what the process does in the kernel.
 *
 *	pace [-s] FILE	writes the counts of its records to FILE in the end, in the format of
 *			crowd
 *	-s		sleeps a millisecond after each call
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <err.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t asked = 1, ended;

static void
on_signal(int sig)
{
	if (sig == SIGUSR1)
		asked = 1;
	else if (sig == SIGUSR2)
		ended = 1;
}

static void
made(FILE *f, const char *kind, unsigned long n)
{
	if (n != 0)
		fprintf(f, "%d 0 %s %lu\n", getpid(), kind, n);
}

int
main(int argc, char *argv[])
{
	static const struct timespec ms = {0, 1000000};
	unsigned long n, naps = 0;
	struct rusage used;
	struct timeval cpu;
	char number[24];
	bool sleeps = false;
	FILE *f;
	int ch, len;

	while ((ch = getopt(argc, argv, "s")) != -1)
		sleeps = ch == 's';
	if (argc != optind + 1)
		errx(2, "usage: pace [-s] FILE");
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	signal(SIGHUP, on_signal);
	setlinebuf(stdout);
	for (n = 0; !ended; n++) {
		len = snprintf(number, sizeof(number), "%lu", n);
		if (utrace(number, len) != 0)
			err(1, "utrace");
		if (asked) {
			asked = 0;
			getrusage(RUSAGE_SELF, &used);
			timeradd(&used.ru_utime, &used.ru_stime, &cpu);
			printf("%lu %jd %ld\n", n + 1, (intmax_t)cpu.tv_sec * 1000000 + cpu.tv_usec,
			    used.ru_nvcsw);
		}
		if (sleeps) {
			naps++;
			syscall(SYS_nanosleep, &ms, NULL);
		}
	}
	if ((f = fopen(argv[optind], "w")) == NULL)
		err(2, "%s", argv[optind]);
	made(f, "USER", n);
	made(f, "SYSCALL:" __XSTRING(SYS_utrace), n);
	made(f, "SYSRET:" __XSTRING(SYS_utrace), n);
	made(f, "SYSCALL:" __XSTRING(SYS_nanosleep), naps);
	made(f, "SYSRET:" __XSTRING(SYS_nanosleep), naps);
	made(f, "CSW:nanslp", 2 * naps);
	return (fclose(f) != 0);
}
