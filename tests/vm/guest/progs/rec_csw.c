/*
 * KTR_CSW: out and in. In the kernel, it has the name of the wait channel. For a preempted thread
 * in user mode, that name is longer than the field.
 */

#include <sys/event.h>

#include <signal.h>

#include "rec.h"

static volatile sig_atomic_t preempted;

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (ts.tv_sec + ts.tv_nsec / 1e9);
}

static void
want_sleep(const char *wmesg)
{
	rec_want("CSW", "stop kernel \"%s\"", wmesg);
	rec_want("CSW", "resume kernel \"%s\"", wmesg);
}

int
main(void)
{
	struct timespec ts = {0, 20000000};
	pid_t other;
	double end;
	int kq, fds[2];
	char c;

	rec_only("\"(nanslp|kqread|piperd)\"");
	if (pipe(fds) != 0 || (kq = kqueue()) < 0)
		err(2, "setup");
	if ((other = fork()) == 0) {
		rec_pin();
		usleep(600000);
		write(fds[1], "x", 1);
		for (end = now() + 1; now() < end;)
			;
		_exit(0);
	}
	rec_start(KTRFAC_CSW);

	nanosleep(&ts, NULL);
	want_sleep("nanslp");
	kevent(kq, NULL, 0, &(struct kevent){0}, 1, &ts);
	want_sleep("kqread");
	read(fds[0], &c, 1);
	want_sleep("piperd");
	/*
	 * Two threads that spin on one CPU have to share it. The name is "ast_scheduler", cut to
	 * seven bytes, see records.sh.
	 */
	for (end = now() + 1; now() < end;)
		preempted++;

	rec_stop();
	return (0);
}
