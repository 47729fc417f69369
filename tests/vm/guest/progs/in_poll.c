/*
 * Waits in poll(2) until it is killed. Every release records the start of that
 * sleep at once. FreeBSD 15.1 and later record most other sleeps only after
 * they have ended.
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
