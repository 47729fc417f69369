/*
 * A process to be traced: it repeats utrace("tick") and 10 ms of sleep.
 *
 *	tick [-c] [COUNT]	-c: a child does the same; without COUNT, until
 *				killed
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/wait.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
main(int argc, char *argv[])
{
	pid_t child = -1;
	long count;

	if (argc > 1 && strcmp(argv[1], "-c") == 0) {
		child = fork();
		argc--;
		argv++;
	}
	for (count = argc > 1 ? atol(argv[1]) : -1; count != 0; count -= count > 0) {
		/* The child does not outlive its parent. */
		if (child == 0 && getppid() == 1)
			break;
		utrace("tick", 4);
		usleep(10000);
	}
	if (child > 0)
		waitpid(child, NULL, 0);
	return (0);
}
