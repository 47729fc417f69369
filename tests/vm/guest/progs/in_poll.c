/*
 * Waits in poll(2) until it is killed. Every release records the start of that sleep at once.
 * FreeBSD 15.1 and later record most other sleeps only after they have ended.
 *
 *	in_poll [-t MS] [N]	with N children that do so, too
 *	-t			calls poll(2) again after every MS milliseconds
 */

#include <sys/syscall.h>

#include <err.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

int
main(int argc, char *argv[])
{
	long children, ms = -1;
	int ch;

	while ((ch = getopt(argc, argv, "t:")) != -1)
		if (ch == 't')
			ms = atol(optarg);
	children = argc > optind ? atol(argv[optind]) : 0;
	for (; children > 0; children--) {
		pid_t pid = fork();

		if (pid < 0)
			err(1, "fork");
		if (pid == 0)
			break;
	}
	for (;;)
		syscall(SYS_poll, NULL, 0, ms);
}
