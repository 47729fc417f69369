/*
 * Suspends a UFS as growfs(8) does, until SIGTERM. Writers to it wait.
 *
 *	ufs_suspend DIRECTORY		on the file system
 *
 * Prints "suspended" once it is. However this process ends, the kernel resumes the file system.
 */

#include <sys/param.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <ufs/ufs/dinode.h>
#include <ufs/ffs/fs.h>

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int
main(int argc, char *argv[])
{
	struct statfs sfs;
	sigset_t set;
	int fd, sig;

	if (argc != 2)
		errx(2, "usage: ufs_suspend DIRECTORY");
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (statfs(argv[1], &sfs) != 0)
		err(2, "%s", argv[1]);
	if ((fd = open("/dev/ufssuspend", O_RDWR)) < 0)
		err(2, "/dev/ufssuspend");
	if (ioctl(fd, UFSSUSPEND, &sfs.f_fsid) != 0)
		err(1, "UFSSUSPEND");
	puts("suspended");
	fflush(stdout);
	sigwait(&set, &sig);
	if (ioctl(fd, UFSRESUME) != 0)
		err(1, "UFSRESUME");
	return (0);
}
