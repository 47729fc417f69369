/*
 * A 32-bit process, without a library: a few system calls whose records records32.sh knows.
 * Arguments of 32 and of 64 bits, a path, bytes read and written, a value, an error, a struct
 * array, utrace.
 */

#include "base.h"

#define SYS_open 5
#define SYS_close 6
#define SYS_getppid 39
#define SYS_utrace 335
#define SYS_kqueue 362
#define SYS_lseek 478
#define SYS_pread 475
#define SYS_kevent 560

#define O_RDWR_CREAT 0x202
#define EVFILT_USER (-11)
#define EV_ADD_CLEAR 0x21

struct kevent32 {
	unsigned int ident;
	short filter;
	unsigned short flags;
	unsigned int fflags;
	unsigned int data[2];
	unsigned int udata;
	unsigned int ext[8];
};

static void
run(void)
{
	struct kevent32 change = {.ident = 7,
	    .filter = EVFILT_USER,
	    .flags = EV_ADD_CLEAR,
	    .data = {0x55, 1},
	    .udata = 0x1234};
	unsigned int none[2] = {0, 0};
	char buf[8];
	int fd, kq;

	call(SYS_getppid, 0, 0, 0, 0, 0, 0);
	call(SYS_close, -1u, 0, 0, 0, 0, 0);
	fd = call(SYS_open, (unsigned int)"rec32.data", O_RDWR_CREAT, 0600, 0, 0, 0);
	call(SYS_write, fd, (unsigned int)"thirty-two", 10, 0, 0, 0);
	call(SYS_lseek, fd, 0x23456789, 1, 0, 0, 0);
	call(SYS_pread, fd, (unsigned int)buf, 3, 7, 0, 0);
	kq = call(SYS_kqueue, 0, 0, 0, 0, 0, 0);
	call(SYS_kevent, kq, (unsigned int)&change, 1, 0, 0, (unsigned int)none);
	call(SYS_utrace, (unsigned int)"32", 2, 0, 0, 0, 0);
	call(SYS_exit, 7, 0, 0, 0, 0, 0);
}

void _start(void);

void
_start(void)
{
	run();
	for (;;)
		;
}
