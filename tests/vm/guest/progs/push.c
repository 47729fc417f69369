/*
 * Makes many context switches in one system call: a write(2) of MEGABYTES to a socket with room for
 * some kilobytes. A child reads the socket, with a pause after each read. The thread that writes
 * the records thus gets its turn, however fast the machine is.
 *
 *	push MEGABYTES
 *
 * Prints the number of times that the kernel says the process waited in that call. It may have
 *waited for a lock, too, which makes no record.
 */

#include <sys/param.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int
main(int argc, char *argv[])
{
	size_t len = (size_t)(argc > 1 ? atol(argv[1]) : 1) << 20;
	const int room = 4096;
	struct rusage before, after;
	char buf[4096], *p;
	int fds[2], status;

	p = mmap(NULL, len, PROT_READ, MAP_ANON, -1, 0);
	if (p == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		err(2, "setup");
	for (int i = 0; i < 2; i++)
		if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) != 0 ||
		    setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) != 0)
			err(2, "setsockopt");
	switch (fork()) {
	case -1:
		err(2, "fork");
	case 0:
		close(fds[1]);
		while (read(fds[0], buf, sizeof(buf)) > 0)
			usleep(500);
		_exit(0);
	}
	getrusage(RUSAGE_SELF, &before);
	if (write(fds[1], p, len) != (ssize_t)len)
		err(1, "write");
	getrusage(RUSAGE_SELF, &after);
	printf("%ld\n", after.ru_nvcsw - before.ru_nvcsw);
	close(fds[1]);
	wait(&status);
	return (status != 0);
}
