/*
 * Helpers for the rec_* programs.
 *
 * Each program makes the records of one type, and writes the lines that stock kdump(1) must print
 * for them:
 *
 *	rec_start(KTRFAC_xxx);		trace this process to ./ktrace.out
 *	...; rec_want("CALL", "getppid");
 *	rec_stop();			end tracing, write ./expect and ./times
 *
 * The expected lines are those of `kdump -H -A -c`: pid, tid, command, CPU, type, ABI, and the
 * decoded payload. Nothing between rec_start() and rec_stop() may make an unexpected record:
 * rec_want() only formats into memory.
 */

#ifndef REC_H
#define REC_H

#include <sys/param.h>
#include <sys/cpuset.h>
#include <sys/ktrace.h>
#include <sys/uio.h>

#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <pthread_np.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REC_FILE "ktrace.out"

static char rec_lines[256 * 1024];
static size_t rec_used;
static struct timespec rec_since;
static pid_t rec_pid;
static int rec_tid;

/* Appends text to the expectation. */
static inline void
rec_add(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	rec_used += vsnprintf(rec_lines + rec_used, sizeof(rec_lines) - rec_used, fmt, ap);
	va_end(ap);
	if (rec_used >= sizeof(rec_lines))
		errx(2, "expectation too long");
}

/* Adds an expected line of another process or thread. The text may contain further lines. */
static inline void
rec_want_from(pid_t pid, int tid, const char *comm, const char *type, const char *fmt, ...)
{
	char text[64 * 1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rec_add("%6d %6d %-8.*s %3d %-4s  F64  %s\n", pid, tid, MAXCOMLEN, comm, 0, type, text);
}

#define rec_want(type, ...) rec_want_from(rec_pid, rec_tid, getprogname(), type, __VA_ARGS__)

/* Writes a file for the script. */
static inline void __printflike(2, 3) rec_file(const char *name, const char *fmt, ...)
{
	va_list ap;
	FILE *f;

	if ((f = fopen(name, "w")) == NULL)
		err(2, "%s", name);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
}

/*
 * Limits the comparison to lines that match (grep -E). Needed where other threads or the system may
 * add records of the type.
 */
#define rec_only(...) rec_file("only", __VA_ARGS__)

/* Stays on CPU 0 from now on, so that ktr_cpu is known. */
static inline void
rec_pin(void)
{
	cpuset_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	if (cpuset_setaffinity(CPU_LEVEL_WHICH, CPU_WHICH_PID, -1, sizeof(set), &set) != 0)
		err(2, "cpuset_setaffinity");
}

static inline void
rec_start(int facs)
{
	int fd;

	rec_pin();
	rec_pid = getpid();
	rec_tid = pthread_getthreadid_np();
	if ((fd = open(REC_FILE, O_CREAT | O_TRUNC | O_WRONLY, 0600)) < 0)
		err(2, REC_FILE);
	close(fd);
	memset(rec_lines, 0, sizeof(rec_lines));
	clock_gettime(CLOCK_REALTIME, &rec_since);
	if (ktrace(REC_FILE, KTROP_SET, facs | KTRFAC_PROCCTOR | KTRFAC_PROCDTOR, rec_pid) != 0)
		err(2, "ktrace set");
}

/* Writes ./expect, and ./times with the earliest and the latest time of a record. */
static inline void
rec_write(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	rec_file("expect", "%s", rec_lines);
	rec_file("times", "%jd.%09ld %jd.%09ld\n", (intmax_t)rec_since.tv_sec, rec_since.tv_nsec,
	    (intmax_t)until.tv_sec, until.tv_nsec);
}

static inline void
rec_stop(void)
{
	if (ktrace(NULL, KTROP_CLEAR, KTRFAC_MASK | KTRFAC_INHERIT, rec_pid) != 0)
		err(2, "ktrace clear");
	rec_write();
}

#endif
