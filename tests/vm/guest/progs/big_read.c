/*
 * One system call that makes many asynchronous records: read(2) of PAGES pages
 * from /dev/zero to memory that nobody has touched takes a page fault for each.
 *
 *	big_read PAGES
 */

#include <sys/param.h>
#include <sys/mman.h>

#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int
main(int argc, char *argv[])
{
	size_t len = (size_t)(argc > 1 ? atol(argv[1]) : 1) * PAGE_SIZE;
	char *p;
	int fd;

	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_ANON, -1, 0);
	if (p == MAP_FAILED || (fd = open("/dev/zero", O_RDONLY)) < 0)
		err(2, "setup");
	if (read(fd, p, len) != (ssize_t)len)
		err(1, "read");
	return (0);
}
