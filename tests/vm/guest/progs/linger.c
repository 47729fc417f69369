/*
 * Makes a process whose exit is delayed: it waits for a lingering socket, whose data is not
 * received.
 *
 *	linger SECONDS	for that long, or until the other end, a child with the same name, is killed
 */

#include <sys/socket.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
main(int argc, char *argv[])
{
	char buf[4096] = {0};
	struct sockaddr_in sin = {.sin_len = sizeof(sin), .sin_family = AF_INET};
	struct linger linger = {.l_onoff = 1};
	socklen_t len = sizeof(sin);
	int full, listening, s;

	if (argc != 2 || (linger.l_linger = atoi(argv[1])) < 1)
		errx(2, "usage: linger SECONDS");
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listening = socket(AF_INET, SOCK_STREAM, 0);
	if (listening == -1 || bind(listening, (struct sockaddr *)&sin, len) != 0 ||
	    listen(listening, 1) != 0 || getsockname(listening, (struct sockaddr *)&sin, &len) != 0)
		err(2, "a socket that listens");
	switch (fork()) {
	case -1:
		err(2, "fork");
	case 0:
		if (accept(listening, NULL, NULL) == -1)
			err(2, "accept");
		for (;;)
			pause();
	}
	close(listening);
	s = socket(AF_INET, SOCK_STREAM, 0);
	if (s == -1 || connect(s, (struct sockaddr *)&sin, len) != 0)
		err(2, "connect");
	/* Buffers grow, and are emptied some time later: full is what stays full. */
	for (full = 0; full < 5; full++) {
		while (send(s, buf, sizeof(buf), MSG_DONTWAIT) != -1)
			full = 0;
		if (errno != EAGAIN)
			err(2, "send");
		usleep(100000);
	}
	if (setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) != 0)
		err(2, "SO_LINGER");
	return (0);
}
