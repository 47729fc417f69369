/*
 * Many processes or threads that each make a number of system calls known
 *beforehand.
 *
 *	crowd sleep N COUNT	N children, each nanosleep(2) of a millisecond
 *COUNT times crowd call N COUNT	N children, each getppid(2) COUNT times
 *	crowd threads N COUNT	N threads, each getppid(2), getuid(2), utrace(2)
 *of its loop counter, COUNT times
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int count;

static void *
work(void *arg)
{
	for (int i = 0; i < count; i++) {
		syscall(SYS_getppid);
		syscall(SYS_getuid);
		utrace(&i, sizeof(i));
	}
	return (arg);
}

int
main(int argc, char *argv[])
{
	const struct timespec ms = {0, 1000000};
	int n, status, failed = 0;

	if (argc != 4)
		errx(2, "crowd sleep|call|threads N COUNT");
	n = atoi(argv[2]);
	count = atoi(argv[3]);

	if (strcmp(argv[1], "threads") == 0) {
		pthread_t *threads = calloc(n, sizeof(*threads));

		for (int i = 0; i < n; i++)
			if (pthread_create(&threads[i], NULL, work, NULL) != 0)
				errx(2, "pthread_create");
		for (int i = 0; i < n; i++)
			pthread_join(threads[i], NULL);
		return (0);
	}
	for (int i = 0; i < n; i++)
		switch (fork()) {
		case -1:
			err(2, "fork");
		case 0:
			for (int j = 0; j < count; j++)
				if (argv[1][0] == 's')
					syscall(SYS_nanosleep, &ms, NULL);
				else
					syscall(SYS_getppid);
			_exit(0);
		}
	while (wait(&status) > 0)
		failed |= status;
	return (failed != 0);
}
