/*
 * Makes many asynchronous records in one system call: a read(2) of PAGES pages from /dev/zero into
 * untouched memory takes a page fault for each page.
 *
 *	big_read PAGES [TIMES [FILE]]
 *
 * It repeats the call TIMES times, or for ever if TIMES is 0. With FILE, it traces its own page
 * faults and system calls to FILE. The memory is at FRESH_PAGES each time.
 */

#include <sys/param.h>
#include <sys/mman.h>
#include <sys/ktrace.h>
#include <sys/uio.h>

#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit.h"

#define POINTS (KTRFAC_SYSCALL | KTRFAC_SYSRET | KTRFAC_FAULT | KTRFAC_FAULTEND)

int
main(int argc, char *argv[])
{
	size_t len = (size_t)(argc > 1 ? atol(argv[1]) : 1) * PAGE_SIZE;
	long times = argc > 2 ? atol(argv[2]) : 1;
	const char *file = argc > 3 ? argv[3] : NULL;
	void *fresh = (void *)FRESH_PAGES, *p;
	int fd;

	if ((fd = open("/dev/zero", O_RDONLY)) < 0)
		err(2, "/dev/zero");
	if (file != NULL) {
		close(open(file, O_CREAT | O_TRUNC | O_WRONLY, 0600));
		if (ktrace(file, KTROP_SET, POINTS, getpid()) != 0)
			err(2, "ktrace");
	}
	for (long i = 0; times == 0 || i < times; i++) {
		p = mmap(fresh, len, PROT_READ | PROT_WRITE, MAP_ANON | MAP_FIXED, -1, 0);
		if (p != fresh)
			err(2, "mmap");
		if (read(fd, p, len) != (ssize_t)len)
			err(1, "read");
	}
	if (file != NULL && ktrace(NULL, KTROP_CLEAR, POINTS, getpid()) != 0)
		err(2, "ktrace");
	return (0);
}
