/*
 * Waits in poll(2) until it is killed. The kernel tells of that when it begins,
 * whichever release it is of: of most other sleeps, FreeBSD 15.1 and later tell
 * when they are over.
 */

#include <sys/syscall.h>

#include <stddef.h>
#include <unistd.h>

int
main(void)
{
	for (;;)
		syscall(SYS_poll, NULL, 0, -1);
}
