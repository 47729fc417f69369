/*
 * Makes random system calls in traced processes, as an unprivileged user. They have random
 * pointers, lengths, counts and sizes for all data that the trace points read, and for ktrace(2)
 * and utrace(2).
 *
 *	fuzz [-c calls] [-n processes] [-s seed] [-u uid] DIRECTORY
 *
 * It runs as root, and its processes as the user. root begins the traces of processes with an even
 * number, in the file by_root.NUMBER, so the processes must not be able to change them. The others
 * trace themselves and one another, to the files own.LETTER. A call that succeeds and must fail
 * ends the program with a message. Data that the kernel reads from a process consists of the values
 * in fuzz.h. During a call, another thread of the process changes the lengths.
 *
 * It prints the number of calls, and the number of those that succeeded.
 */

#include <sys/param.h>
#include <sys/capsicum.h>
#include <sys/cpuset.h>
#include <sys/event.h>
#include <sys/ktrace.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysctl.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <netinet/in.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "random.h"

#define MAXPROCS 64
#define NLETTERS (sizeof(FUZZ_LETTERS) - 1)
#define NIOVS 16
#define NITEMS 64
#define ARENA_SIZE (64 * 1024)
#define DATA_SIZE (64 * 1024)
#define MAXFD 12
/* End of a process's address space, with four-level page tables. */
#define USER_END 0x800000000000

/* State shared by the processes. */
struct shared {
	atomic_ulong calls[MAXPROCS], good[MAXPROCS];
	atomic_int pids[MAXPROCS];
};
static struct shared *shared;

/* Structures passed to calls, while the other thread changes them. */
struct arguments {
	struct iovec iov[NIOVS];
	struct msghdr msg;
	struct sockaddr_storage address;
	struct kevent events[NITEMS];
	struct pollfd pollfds[NITEMS];
	struct itimerval timer;
	int name[CTL_MAXNAME + 8];
	char path[2 * MAXPATHLEN];
};

static int nprocs = 8;
static unsigned long ncalls = 1000;
static uid_t uid = 65534;
static _Thread_local uint64_t random_state;
/* Letters that must not be overwritten, and memory that the kernel may write to. */
static char *arena;
static char *out;
static struct arguments *args;
static int number;
static atomic_bool done;

static unsigned int
chance(unsigned int n)
{
	return (random_below(&random_state, n));
}

static char
some_letter(void)
{
	return (FUZZ_LETTERS[chance(NLETTERS)]);
}

static uint64_t
kernel_address(void)
{
	return (fuzz_kernel[chance(nitems(fuzz_kernel))]);
}

static size_t
any_length(void)
{
	static const size_t edges[] = {0, 1, 2, 127, 128, 255, 256, 1023, 1024, 2047, 2048, 2049,
	    4095, 4096, 4097, ARENA_SIZE, ARENA_SIZE + 1, INT32_MAX, (size_t)INT32_MAX + 1,
	    UINT32_MAX, (size_t)UINT32_MAX + 1, INT64_MAX, (size_t)INT64_MAX + 1, SIZE_MAX};

	switch (chance(4)) {
	case 0:
		return (edges[chance(nitems(edges))]);
	case 1:
		return (chance(8192));
	default:
		return (chance(64));
	}
}

static int
any_number(void)
{
	static const int edges[] = {0, 1, -1, INT32_MAX, INT32_MIN, 4096, 65536, 1 << 24};

	return (chance(3) == 0 ? edges[chance(nitems(edges))] : (int)chance(NITEMS));
}

/* Returns an address for calls that do not write to it. */
static void *
readable(void)
{
	switch (chance(8)) {
	case 0:
		return (NULL);
	case 1:
		return ((void *)(uintptr_t)kernel_address());
	case 2:
		/* The end of the user's address space, or an address outside of it. */
		return ((void *)(uintptr_t)(chance(2) == 0 ? USER_END + chance(16) : 1UL << 63));
	case 3:
		return (arena + ARENA_SIZE - chance(16));
	case 4:
		return (arena + ARENA_SIZE + chance(PAGE_SIZE));
	default:
		return (arena + chance(ARENA_SIZE));
	}
}

/* Returns an address that the kernel may write to, or one that it must not write to. */
static void *
writable(void)
{
	return (chance(3) == 0 ? readable() : out + chance(ARENA_SIZE));
}

static int
any_fd(void)
{
	switch (chance(16)) {
	case 0:
		return (-1);
	case 1:
		return (AT_FDCWD);
	case 2: {
		int fd = any_number();

		/* Spare the file of the messages. */
		return (fd >= 0 && fd < 3 ? -1 : fd);
	}
	default:
		return (3 + chance(MAXFD - 3));
	}
}

static struct iovec *
some_iov(void *(*memory)(void))
{
	if (chance(16) == 0)
		return (readable());
	for (int i = 0; i < NIOVS; i++)
		args->iov[i] = (struct iovec){memory(), any_length()};
	return (args->iov);
}

static int
some_iovcnt(void)
{
	return (chance(8) == 0 ? any_number() : (int)chance(NIOVS + 1));
}

static const struct sockaddr *
some_address(void)
{
	static const sa_family_t families[] = {AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX, 200};

	if (chance(8) == 0)
		return (readable());
	for (size_t i = 0; i < sizeof(args->address); i++)
		((char *)&args->address)[i] = some_letter();
	args->address.ss_len = chance(256);
	args->address.ss_family = families[chance(nitems(families))];
	return ((struct sockaddr *)&args->address);
}

static socklen_t
some_address_len(void)
{
	return (chance(4) == 0 ? (socklen_t)any_length() : chance(sizeof(args->address) + 8));
}

static const char *
some_path(void)
{
	size_t len = chance(4) == 0 ? MAXPATHLEN - 4 + chance(8) : chance(64);

	switch (chance(8)) {
	case 0:
		return (readable());
	case 1:
		return ("data");
	case 2:
		return ("/");
	default:
		for (size_t i = 0; i < len; i++)
			args->path[i] = chance(16) == 0 ? '/' : some_letter();
		args->path[len] = '\0';
		return (args->path);
	}
}

/* Returns the name of a file that this user may trace to, or a bad name. */
static const char *
some_trace_file(char name[16])
{
	switch (chance(12)) {
	case 0:
		return (readable());
	case 1:
		return (some_path());
	case 2:
		return ("link");
	case 3:
		return ("fifo");
	case 4:
		return (".");
	default:
		snprintf(name, 16, "own.%c", some_letter());
		return (name);
	}
}

/* Counts a call, and returns whether it succeeded. */
static bool
succeeds(long result)
{
	if (result < 0)
		return (false);
	atomic_fetch_add(&shared->good[number], 1);
	return (true);
}

static void
must_fail(const char *what, long result)
{
	if (succeeds(result))
		errx(3, "process %d, call %lu: %s succeeded", number, shared->calls[number], what);
}

static bool
is_traced_by_root(int i)
{
	return (i % 2 == 0);
}

static void
call_ktrace(void)
{
	char name[16];
	const char *file = some_trace_file(name);
	int facs = chance(4) == 0 ? any_number() : (int)(chance(2 * KTRFAC_MASK) | KTRFAC_INHERIT);
	int op =
	    chance(6) == 0 ? any_number() : (int)chance(4) | (chance(4) == 0 ? KTRFLAG_DESCEND : 0);
	int i = chance(nprocs);

	switch (chance(8)) {
	case 0:
		must_fail("ktrace of init",
		    ktrace(file, op & ~(KTROP_CLEARFILE | KTRFLAG_DESCEND), facs, 1));
		break;
	case 1:
		must_fail("ktrace of root's process",
		    ktrace(file, op & ~(KTROP_CLEARFILE | KTRFLAG_DESCEND), facs, getppid()));
		break;
	case 2:
		/* Clearing a process needs no file. */
		snprintf(name, sizeof(name), "by_root.%d", i & ~1);
		must_fail("ktrace to root's file", ktrace(name, op & ~KTROP_CLEAR, facs, getpid()));
		break;
	case 3:
		/* A process that does not exist, or all processes traced to the file. */
		succeeds(ktrace(file, op, facs, any_number() | 1 << 30));
		break;
	default: {
		pid_t pid = chance(3) == 0 ? getpid() : atomic_load(&shared->pids[i]);
		int owner = pid == getpid() ? number : i;

		if (pid <= 0)
			break;
		if (is_traced_by_root(owner))
			must_fail("ktrace of what root traces",
			    ktrace(file, op & ~KTROP_CLEARFILE, facs, pid));
		else
			succeeds(ktrace(file, op, facs, chance(4) == 0 ? -pid : pid));
	}
	}
}

static void
call_read_or_write(void)
{
	int fd = any_fd();

	/* The offset bounds the size of the file. */
	switch (chance(10)) {
	case 0:
		succeeds(read(fd, writable(), any_length()));
		break;
	case 1:
		succeeds(readv(fd, some_iov(writable), some_iovcnt()));
		break;
	case 2:
		succeeds(pread(fd, writable(), any_length(), chance(DATA_SIZE)));
		break;
	case 3:
		succeeds(preadv(fd, some_iov(writable), some_iovcnt(), chance(DATA_SIZE)));
		break;
	case 4:
	case 5:
		succeeds(pwrite(fd, readable(), any_length(), chance(DATA_SIZE)));
		break;
	case 6:
	case 7:
		succeeds(pwritev(fd, some_iov(readable), some_iovcnt(), chance(DATA_SIZE)));
		break;
	case 8:
		succeeds(lseek(3, 0, SEEK_SET));
		succeeds(write(fd, readable(), any_length()));
		break;
	default:
		succeeds(lseek(3, 0, SEEK_SET));
		succeeds(writev(fd, some_iov(readable), some_iovcnt()));
	}
}

static void
call_with_path(void)
{
	int fd;

	switch (chance(5)) {
	case 0:
		succeeds(stat(some_path(), writable()));
		break;
	case 1:
		succeeds(fstatat(any_fd(), some_path(), writable(), any_number()));
		break;
	case 2:
		if ((fd = open(some_path(), O_RDONLY | O_NONBLOCK)) >= 0)
			close(fd);
		break;
	case 3:
		succeeds(readlink(some_path(), writable(), any_length()));
		break;
	default:
		succeeds(fstat(any_fd(), writable()));
	}
}

static void
call_with_address(void)
{
	socklen_t len = some_address_len();
	int fd = any_fd();

	switch (chance(7)) {
	case 0:
		succeeds(bind(fd, some_address(), len));
		break;
	case 1:
		succeeds(connect(fd, some_address(), len));
		break;
	case 2:
		succeeds(getsockname(fd, writable(), chance(4) == 0 ? writable() : &len));
		break;
	case 3:
		succeeds(sendto(fd, readable(), chance(4096), MSG_DONTWAIT, some_address(), len));
		break;
	case 4:
		succeeds(recvfrom(fd, writable(), any_length(), MSG_DONTWAIT, writable(), &len));
		break;
	case 5:
	case 6:
		args->msg = (struct msghdr){
		    .msg_name = __DECONST(void *, some_address()),
		    .msg_namelen = len,
		    .msg_iov = some_iov(readable),
		    .msg_iovlen = some_iovcnt(),
		    .msg_control = chance(2) == 0 ? NULL : readable(),
		    .msg_controllen = chance(2) == 0 ? 0 : any_length(),
		};
		if (chance(2) == 0) {
			succeeds(sendmsg(fd, &args->msg, MSG_DONTWAIT));
		} else {
			args->msg.msg_iov = some_iov(writable);
			succeeds(recvmsg(fd, &args->msg, MSG_DONTWAIT));
		}
	}
}

static void
call_with_array(void)
{
	struct timespec at_once = {0, 0};
	struct timeval now = {0, 0};

	for (int i = 0; i < NITEMS; i++) {
		args->pollfds[i] = (struct pollfd){any_fd(), POLLIN | POLLOUT, 0};
		/* As a 64-bit number, a negative value looks like a kernel address. */
		EV_SET(&args->events[i], any_fd() & INT32_MAX, -(int)chance(15), chance(16),
		    chance(16), chance(16), readable());
	}
	switch (chance(4)) {
	case 0:
		succeeds(poll(chance(8) == 0 ? readable() : args->pollfds, any_number(), 0));
		break;
	case 1:
		succeeds(kevent(any_fd(), chance(8) == 0 ? readable() : args->events, any_number(),
		    writable(), any_number(), &at_once));
		break;
	case 2:
		/* The size of a set, or more. */
		succeeds(select(chance(2) == 0 ? any_number() : (int)chance(FD_SETSIZE), writable(),
		    writable(), writable(), &now));
		break;
	default:
		succeeds(
		    kevent(8, args->events, chance(NITEMS), writable(), chance(NITEMS), &at_once));
	}
}

static void
call_with_structure(void)
{
	size_t len = any_length();
	cap_rights_t rights;
	cpuset_t cpus;

	switch (chance(7)) {
	case 0:
		for (size_t i = 0; i < nitems(args->name); i++)
			args->name[i] = chance(4) == 0 ? any_number() : (int)chance(12);
		succeeds(syscall(SYS___sysctl, chance(8) == 0 ? readable() : args->name,
		    chance(8) == 0 ? (unsigned int)any_number() : chance(CTL_MAXNAME + 2),
		    writable(), chance(8) == 0 ? writable() : &len, NULL, 0));
		break;
	case 1:
		args->timer =
		    (struct itimerval){{chance(9), chance(2000000)}, {chance(9), chance(2000000)}};
		succeeds(setitimer(chance(8) == 0 ? any_number() : ITIMER_PROF,
		    chance(8) == 0 ? readable() : &args->timer, writable()));
		break;
	case 2:
		succeeds(getitimer(chance(8) == 0 ? any_number() : ITIMER_PROF, writable()));
		break;
	case 3:
		cap_rights_init(&rights, CAP_READ, CAP_WRITE, CAP_FSTAT, CAP_KQUEUE);
		if (chance(2) == 0)
			cap_rights_clear(&rights, CAP_WRITE);
		if (chance(4) == 0)
			rights.cr_rights[0] ^= 1 << chance(8);
		succeeds(syscall(
		    SYS_cap_rights_limit, 10 + chance(2), chance(4) == 0 ? readable() : &rights));
		break;
	case 4:
		succeeds(syscall(SYS___cap_rights_get, any_number(), any_fd(), writable()));
		break;
	case 5:
		succeeds(syscall(
		    SYS_cpuset_getaffinity, CPU_LEVEL_WHICH, CPU_WHICH_PID, -1L, len, writable()));
		break;
	default:
		CPU_FILL(&cpus);
		succeeds(syscall(SYS_cpuset_setaffinity, CPU_LEVEL_WHICH, CPU_WHICH_PID, -1L,
		    chance(2) == 0 ? len : sizeof(cpus),
		    chance(4) == 0 ? readable() : (void *)&cpus));
	}
}

static void
call_something_else(void)
{
	char *page;

	switch (chance(4)) {
	case 0:
		kill(getpid(), SIGUSR1);
		break;
	case 1:
		/* A number that no system call has. */
		must_fail(
		    "no system call", syscall(600 + chance(100), kernel_address(), readable()));
		break;
	case 2:
		page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_ANON, -1, 0);
		if (page != MAP_FAILED) {
			*page = some_letter();
			munmap(page, PAGE_SIZE);
		}
		break;
	default:
		sched_yield();
	}
}

static void
call(void)
{
	switch (chance(12)) {
	case 0:
	case 1:
		succeeds(utrace(readable(), any_length()));
		break;
	case 2:
	case 3:
		call_ktrace();
		break;
	case 4:
	case 5:
	case 6:
		call_read_or_write();
		break;
	case 7:
		call_with_path();
		break;
	case 8:
		call_with_address();
		break;
	case 9:
		call_with_array();
		break;
	case 10:
		call_with_structure();
		break;
	default:
		call_something_else();
	}
	atomic_fetch_add(&shared->calls[number], 1);
}

/* Changes the lengths in a call's arguments while the kernel reads them. */
static void *
change_lengths(void *seed)
{
	random_state = *(uint64_t *)seed;
	while (!atomic_load(&done)) {
		args->iov[chance(NIOVS)].iov_len = any_length();
		args->msg.msg_namelen = some_address_len();
		args->msg.msg_iovlen = some_iovcnt();
		args->address.ss_len = chance(256);
		args->path[chance(sizeof(args->path))] = chance(2) == 0 ? '\0' : some_letter();
		if (chance(64) == 0)
			sched_yield();
	}
	return (NULL);
}

static void
caught(int signo)
{
	(void)signo;
}

/* Maps memory with an inaccessible page after it. */
static void *
map(size_t size, int flags)
{
	char *p;

	size = roundup2(size, PAGE_SIZE);
	p = mmap(NULL, size + PAGE_SIZE, PROT_READ | PROT_WRITE, flags | MAP_ANON, -1, 0);
	if (p == MAP_FAILED || mprotect(p + size, PAGE_SIZE, PROT_NONE) != 0)
		err(2, "mmap");
	return (p);
}

/* Creates the resources that calls find: memory, and files from number 3 on. */
static void
furnish(void)
{
	struct sigaction sa = {.sa_handler = caught};
	struct itimerval often = {{0, 20000}, {0, 20000}};
	char name[16];
	int fds[MAXFD], pair[2];

	arena = map(ARENA_SIZE, MAP_PRIVATE);
	out = map(ARENA_SIZE, MAP_PRIVATE);
	args = map(sizeof(*args), MAP_PRIVATE);
	for (int i = 0; i < ARENA_SIZE; i++)
		arena[i] = some_letter();
	if (mprotect(arena, ARENA_SIZE, PROT_READ) != 0)
		err(2, "mprotect");

	snprintf(name, sizeof(name), "data.%d", number);
	closefrom(3);
	fds[3] = open(name, O_RDWR | O_CREAT | O_TRUNC, 0666);
	if (pipe2(pair, O_NONBLOCK) != 0)
		err(2, "pipe");
	fds[6] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	fds[7] = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	fds[8] = kqueue();
	fds[9] = open("/dev/null", O_RDWR);
	fds[10] = dup(3);
	fds[11] = dup(9);
	if (fds[3] != 3 || pair[0] != 4 || fds[6] != 6 || fds[7] != 7 || fds[8] != 8 ||
	    fds[9] != 9 || fds[10] != 10 || fds[11] != 11)
		err(2, "a file has another number");
	if (write(3, arena, DATA_SIZE) != DATA_SIZE)
		err(2, "%s", name);

	/* Signals end any wait. */
	sigaction(SIGALRM, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	signal(SIGSYS, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGPROF, SIG_IGN);
	signal(SIGVTALRM, SIG_IGN);
	signal(SIGIO, SIG_IGN);
	signal(SIGURG, SIG_IGN);
}

static void
trace_oneself(void)
{
	char name[16];

	snprintf(name, sizeof(name), "own.%c", some_letter());
	if (ktrace(name, KTROP_SET, KTRFAC_MASK | KTRFAC_INHERIT, getpid()) != 0 &&
	    errno != ECAPMODE)
		err(2, "%s", name);
}

static void
work(uint64_t seed, int begin)
{
	pthread_t other;
	char byte;

	random_state = seed;
	if (setgroups(0, NULL) != 0 || setgid(uid) != 0 || setuid(uid) != 0)
		err(2, "uid %d", uid);
	setpgid(0, 0);
	/* The process that begins the trace is ready. */
	if (read(begin, &byte, 1) < 0)
		err(2, "read");
	furnish();
	if (!is_traced_by_root(number))
		trace_oneself();
	seed ^= 0x9e3779b97f4a7c15;
	if (pthread_create(&other, NULL, change_lengths, &seed) != 0)
		errx(2, "pthread_create");
	for (unsigned long i = 0; i < ncalls; i++) {
		if (!is_traced_by_root(number) && i % 64 == 63)
			trace_oneself();
		/* One process of each kind enters capability mode halfway. */
		if (number < 2 && i == ncalls / 2 && cap_enter() != 0)
			err(2, "cap_enter");
		call();
	}
	atomic_store(&done, true);
	pthread_join(other, NULL);
	/* The last record of a trace by root. */
	utrace("cafe", 4);
	_exit(0);
}

static void
create(const char *name, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, mode);

	if (fd < 0 || fchmod(fd, mode) != 0)
		err(2, "%s", name);
	close(fd);
}

static void
start(int i, uint64_t seed)
{
	char name[16];
	int begin[2];
	pid_t pid;

	if (pipe(begin) != 0)
		err(2, "pipe");
	if ((pid = fork()) < 0)
		err(2, "fork");
	number = i;
	if (pid == 0) {
		close(begin[1]);
		work((seed + i + 1) * 0x2545f4914f6cdd1d, begin[0]);
	}
	atomic_store(&shared->pids[i], pid);
	if (is_traced_by_root(i)) {
		snprintf(name, sizeof(name), "by_root.%d", i);
		create(name, 0600);
		if (ktrace(name, KTROP_SET, KTRFAC_MASK | KTRFAC_INHERIT, pid) != 0)
			err(2, "%s", name);
	}
	close(begin[0]);
	close(begin[1]);
}

static void
usage(void)
{
	errx(2, "usage: fuzz [-c calls] [-n processes] [-s seed] [-u uid] directory");
}

int
main(int argc, char *argv[])
{
	unsigned long calls = 0, good = 0;
	uint64_t seed = (uint64_t)time(NULL) * 1000003 + getpid();
	int ch, failed = 0, status;
	char name[16];
	pid_t pid;

	while ((ch = getopt(argc, argv, "c:n:s:u:")) != -1)
		switch (ch) {
		case 'c':
			ncalls = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			nprocs = atoi(optarg);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'u':
			uid = atoi(optarg);
			break;
		default:
			usage();
		}
	if (argc != optind + 1 || nprocs < 2 || nprocs > MAXPROCS)
		usage();
	if (chdir(argv[optind]) != 0)
		err(2, "%s", argv[optind]);
	printf("seed %#jx\n", (uintmax_t)seed);
	fflush(stdout);
	umask(0);
	shared = map(sizeof(*shared), MAP_SHARED);
	for (size_t i = 0; i < NLETTERS; i++) {
		snprintf(name, sizeof(name), "own.%c", FUZZ_LETTERS[i]);
		create(name, 0666);
	}
	if ((symlink("own.a", "link") != 0 || mkfifo("fifo", 0666) != 0) && errno != EEXIST)
		err(2, "link, fifo");
	for (int i = 0; i < nprocs; i++)
		start(i, seed);
	while ((pid = waitpid(-1, &status, 0)) > 0)
		for (int i = 0; i < nprocs; i++)
			if (atomic_load(&shared->pids[i]) == pid && status != 0) {
				warnx("process %d ended with status %#x after %lu calls", i, status,
				    shared->calls[i]);
				failed = 1;
			}
	for (int i = 0; i < nprocs; i++) {
		calls += shared->calls[i];
		good += shared->good[i];
	}
	printf("calls %lu succeeded %lu\n", calls, good);
	return (failed);
}
