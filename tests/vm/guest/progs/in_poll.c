/*
 * Waits in poll(2) until it is killed. Every release records the start of that
 * sleep at once. FreeBSD 15.1 and later record most other sleeps only after
 * they have ended.
 *
 *	in_poll [N]	with N children that do so, too
 */

#include <sys/syscall.h>

#include <err.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

int
main(int argc, char *argv[])
{
	long children = argc > 1 ? atol(argv[1]) : 0;

	for (; children > 0; children--) {
		pid_t pid = fork();

		if (pid < 0)
			err(1, "fork");
		if (pid == 0)
			break;
	}
	for (;;)
		syscall(SYS_poll, NULL, 0, -1);
}
