/*
 * Runs threads that never leave user mode.
 *
 *	spin N READY	starts N threads together, and creates the file READY before
 */

#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* Stack size of a thread that only loops. */
#define STACK (64 * 1024)

static pthread_barrier_t barrier;

static void *
spin(void *arg)
{
	volatile unsigned long turns = 0;

	(void)arg;
	pthread_barrier_wait(&barrier);
	for (;;)
		turns++;
	return (NULL);
}

int
main(int argc, char *argv[])
{
	pthread_attr_t attr;
	pthread_t thread;
	int error, fd, i, n;

	if (argc != 3 || (n = atoi(argv[1])) < 1)
		errx(2, "usage: spin N READY");
	pthread_barrier_init(&barrier, NULL, n);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	for (i = 1; i < n; i++) {
		error = pthread_create(&thread, &attr, spin, NULL);
		if (error != 0)
			errc(1, error, "thread %d", i);
	}
	fd = open(argv[2], O_WRONLY | O_CREAT, 0644);
	if (fd == -1)
		err(1, "%s", argv[2]);
	close(fd);
	spin(NULL);
	return (0);
}
