/*
 * KTR_CAPFAIL: kind, system call, ABI and data of every kind of violation. Outside capability mode
 * the call succeeds, inside it fails.
 */

#include <sys/capsicum.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <machine/sysarch.h>
#include <netinet/in.h>

#include <errno.h>
#include <signal.h>

#include "rec.h"

int
main(void)
{
	struct sockaddr_in in = {
	    .sin_len = sizeof(in), .sin_family = AF_INET, .sin_port = htons(4711)};
	struct kinfo_file kif = {.kf_structsize = sizeof(kif)};
	char comm[MAXCOMLEN + 1];
	cap_rights_t rights;
	cpuset_t cpus;
	struct stat sb;
	int alive[2], dir, fd, udp;
	pid_t pid;

	strlcpy(comm, getprogname(), sizeof(comm));
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if ((fd = open("data", O_CREAT | O_RDWR, 0600)) < 0 ||
	    (dir = open(".", O_RDONLY | O_DIRECTORY)) < 0 ||
	    (udp = socket(AF_INET, SOCK_DGRAM, 0)) < 0 || pipe(alive) != 0)
		err(2, "setup");
	cap_rights_init(&rights, CAP_READ);
	if (cap_rights_limit(fd, &rights) != 0)
		err(2, "cap_rights_limit");
	cap_rights_set(&rights, CAP_WRITE);
	rec_start(KTRFAC_CAPFAIL | KTRFAC_INHERIT);

	/* CAPFAIL_NOTCAPABLE, CAPFAIL_INCREASE */
	syscall(SYS_write, (long)fd, "x", 1L);
	/* The rights that FreeBSD 15 reports as needed are not a valid set. */
	rec_want("CAP", getosreldate() < 1500000
			    ? "operation requires CAP_WRITE, descriptor holds CAP_READ"
			    : "operation requires invalid cap_rights_t, descriptor holds "
			      "CAP_READ");
	syscall(SYS_cap_rights_limit, (long)fd, &rights);
	rec_want("CAP", "attempt to increase capabilities from CAP_READ to "
			"CAP_READ,CAP_WRITE");

	/* CAPFAIL_SYSCALL: the call, or one operation of it */
	syscall(SYS_chdir, ".");
	rec_want("CAP", "system call not allowed: chdir");
	syscall(SYS_fcntl, (long)dir, (long)F_KINFO, &kif);
	rec_want("CAP", "system call not allowed: fcntl, cmd: F_KINFO");
#ifdef __amd64__
	syscall(SYS_sysarch, (long)I386_SET_IOPERM, NULL);
	rec_want("CAP", "system call not allowed: sysarch, op: I386_SET_IOPERM");
#endif

	/* CAPFAIL_SIGNAL; a signal to itself is allowed */
	syscall(SYS_kill, (long)getppid(), (long)SIGCONT);
	rec_want("CAP", "kill: signal delivery not allowed: SIGCONT");
	syscall(SYS_kill, (long)getpid(), (long)SIGCONT);

	/* CAPFAIL_PROTO */
	syscall(SYS_socket, (long)AF_INET, (long)SOCK_RAW, (long)IPPROTO_ICMP);
	rec_want("CAP", "socket: protocol not allowed: IPPROTO_ICMP");

	/* CAPFAIL_SOCKADDR */
	syscall(SYS_sendto, (long)udp, "x", 1L, 0L, &in, (long)sizeof(in));
	rec_want("CAP", "sendto: restricted address lookup: struct sockaddr { "
			"AF_INET, 127.0.0.1:4711 }");

	/* CAPFAIL_NAMEI: by way of the working directory, the root, the parent of the start */
	syscall(SYS_openat, (long)AT_FDCWD, "data", (long)O_RDONLY);
	rec_want("CAP", "openat: restricted VFS lookup: AT_FDCWD");
	syscall(SYS_fstatat, -1L, "/", &sb, 0L);
	rec_want("CAP", "fstatat: restricted VFS lookup: /");
	syscall(SYS_shm_open2, "/nosuch", (long)O_RDONLY, 0L, 0L, NULL);
	rec_want("CAP", "shm_open2: restricted VFS lookup: /nosuch");

	/* CAPFAIL_CPUSET; its own set is allowed */
	syscall(SYS_cpuset_getaffinity, (long)CPU_LEVEL_WHICH, (long)CPU_WHICH_PID, (long)getppid(),
	    sizeof(cpus), &cpus);
	rec_want("CAP", "cpuset_getaffinity: restricted cpuset operation");
	syscall(SYS_cpuset_getaffinity, (long)CPU_LEVEL_WHICH, (long)CPU_WHICH_PID, -1L,
	    sizeof(cpus), &cpus);

	/* The same in capability mode. */
	if ((pid = fork()) == 0) {
		cap_enter();
		if (syscall(SYS_chdir, ".") == 0 || errno != ECAPMODE)
			_exit(1);
		if (syscall(SYS_openat, (long)dir, "../x", (long)O_RDONLY) == 0)
			_exit(1);
		_exit(0);
	}
	rec_want_from(pid, 0, comm, "CAP", "system call not allowed: chdir");
	rec_want_from(pid, 0, comm, "CAP", "openat: restricted VFS lookup: ../x");
	/* Only after the child has ended, whose records would otherwise come later. */
	syscall(SYS_close, (long)alive[1]);
	syscall(SYS_read, (long)alive[0], &sb, 1L);
	syscall(SYS_wait4, (long)pid, NULL, 0L, NULL);
	/* FreeBSD 15 allows the call. */
	if (getosreldate() < 1500000)
		rec_want("CAP", "system call not allowed: wait4");

	rec_stop();
	return (0);
}
