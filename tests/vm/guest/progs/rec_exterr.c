/*
 * KTR_EXTERR, of FreeBSD 15: the kernel's extended description of an error, as given to the process
 * itself.
 */

#include <sys/mman.h>
#include <sys/syscall.h>

#include "ktr.h"
#include "rec.h"

/* exterrctl(2), which the headers of FreeBSD 14 do not have. */
#define SYS_EXTERRCTL 592
#define ENABLE 1
#define FORCE 1

static struct exterr said = {.ver = 0x10010002};

static void
want(const char *file)
{
	char msg[256];

	if (said.error == 0)
		errx(2, "no error");
	snprintf(msg, sizeof(msg), said.msg, (uintmax_t)said.p1, (uintmax_t)said.p2);
	rec_want("EERR", "{ errno %u sys/%s:%u \"%s\" (category %u p1 %#jx p2 %#jx) }", said.error,
	    file, said.src_line, msg, said.cat, (uintmax_t)said.p1, (uintmax_t)said.p2);
	said.error = 0;
}

int
main(void)
{
	char c;
	int fd;

	if ((fd = open(getprogname(), O_CREAT | O_RDWR, 0600)) < 0)
		err(2, "open");
	/* This replaces the C library's structure. */
	if (syscall(SYS_EXTERRCTL, ENABLE, FORCE, &said) != 0)
		err(2, "exterrctl");
	rec_start(1 << KTR_EXTERR);

	syscall(SYS_pread, (long)fd, &c, 1L, -1L);
	want("kern/sys_generic.c");
	syscall(SYS_mmap, NULL, 4096L, 0x1000L, (long)MAP_ANON, -1L, 0L);
	want("vm/vm_mmap.c");

	rec_stop();
	return (0);
}
