/*
 * A traced process that counts its own actions: it repeats getppid(2), and a pause if requested,
 * COUNT times, or until SIGHUP.
 *
 *	steady [-s] [-p MICROSECONDS] [COUNT]
 *
 * It also catches SIGUSR1 and SIGUSR2. At the end it prints
 *
 *	calls N signals N
 *
 * with the number of calls of getppid(2) and the number of signals taken.
 *
 *	-s	a second thread stays in one system call and sleeps there again
 *		and again: it writes to a pipe that a child reads slowly
 */

#include <sys/param.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <err.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile sig_atomic_t signals, stop;
static int fds[2];

static void
on_signal(int sig)
{
	signals++;
	if (sig == SIGHUP)
		stop = 1;
}

static void *
push(void *arg)
{
	size_t len = (size_t)1 << 30;
	char *p;

	p = mmap(NULL, len, PROT_READ, MAP_ANON, -1, 0);
	if (p == MAP_FAILED || write(fds[1], p, len) != (ssize_t)len)
		err(2, "push");
	return (arg);
}

static void
start_pushing(void)
{
	sigset_t all, old;
	pthread_t thread;
	char buf[4096];

	if (pipe(fds) != 0)
		err(2, "pipe");
	switch (fork()) {
	case -1:
		err(2, "fork");
	case 0:
		close(fds[1]);
		while (read(fds[0], buf, sizeof(buf)) > 0)
			usleep(5000);
		_exit(0);
	}
	/* The first thread takes all signals. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&thread, NULL, push, NULL) != 0)
		errx(2, "pthread_create");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int
main(int argc, char *argv[])
{
	const int caught[] = {SIGHUP, SIGUSR1, SIGUSR2};
	struct sigaction sa = {.sa_handler = on_signal};
	long calls, count;
	int ch, us = 0;

	while ((ch = getopt(argc, argv, "p:s")) != -1)
		switch (ch) {
		case 'p':
			us = atoi(optarg);
			break;
		case 's':
			start_pushing();
			break;
		default:
			errx(2, "usage: steady [-s] [-p MICROSECONDS] [COUNT]");
		}
	count = optind < argc ? atol(argv[optind]) : -1;
	/* Handle one signal at a time, so that each is counted. */
	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < nitems(caught); i++)
		if (sigaction(caught[i], &sa, NULL) != 0)
			err(2, "sigaction");
	for (calls = 0; calls != count && !stop; calls++) {
		syscall(SYS_getppid);
		if (us > 0)
			usleep(us);
	}
	printf("calls %ld signals %d\n", calls, (int)signals);
	return (0);
}
