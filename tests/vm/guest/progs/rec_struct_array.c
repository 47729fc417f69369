/*
 * KTR_STRUCT_ARRAY: name, element size and elements: kevent changes and events, pollfd, and an
 * empty array.
 */

#include <sys/event.h>

#include <poll.h>

#include "rec.h"

int
main(void)
{
	struct kevent change[2], event[4];
	struct pollfd pfd[2];
	struct timespec now = {0, 0};
	int kq, fds[2];

	if (pipe(fds) != 0 || (kq = kqueue()) < 0 || write(fds[1], "abc", 3) != 3)
		err(2, "setup");
	EV_SET(&change[0], fds[0], EVFILT_READ, EV_ADD, 0, 0, (void *)0x1234);
	EV_SET(&change[1], 7, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0x55, NULL);
	pfd[0] = (struct pollfd){.fd = fds[0], .events = POLLIN};
	pfd[1] = (struct pollfd){.fd = -1, .events = POLLOUT, .revents = 0x7f};
	rec_start(KTRFAC_STRUCT_ARRAY);

	kevent(kq, change, 2, event, 4, &now);
	rec_want("STRU",
	    "struct kevent[] = { "
	    "{ ident=%d, filter=EVFILT_READ, flags=0x1<EV_ADD>, fflags=0, "
	    "data=0, udata=0x1234 }\n             "
	    "{ ident=0x7, filter=EVFILT_USER, flags=0x21<EV_ADD|EV_CLEAR>, "
	    "fflags=0, data=0x55, udata=0x0 } }",
	    fds[0]);
	rec_want("STRU",
	    "struct kevent[] = { "
	    "{ ident=%d, filter=EVFILT_READ, flags=0, fflags=0, data=0x3, "
	    "udata=0x1234 } }",
	    fds[0]);
	kevent(kq, NULL, 0, event, 1, &now);
	rec_want("STRU", "struct kevent[] = {  }");
	rec_want("STRU",
	    "struct kevent[] = { "
	    "{ ident=%d, filter=EVFILT_READ, flags=0, fflags=0, data=0x3, "
	    "udata=0x1234 } }",
	    fds[0]);
	poll(pfd, 2, 0);
	rec_want("STRU",
	    "struct pollfd[] = { { fd=%d, events=0x1<POLLIN>, "
	    "revents=0x1<POLLIN>}\n             "
	    "{ fd=-1, events=0x4<POLLOUT>, revents=0} }",
	    fds[0]);

	rec_stop();
	return (0);
}
