/*
 * Makes one random sequence of calls in several processes, so that the traces of two backends can
 * be compared. Everything follows from the seed, and one process works at a time.
 *
 *	differ [-f] [-c calls] [-s seed] [-u] [-x] DIRECTORY
 *	-f	truncates, fills and unmounts trace files, too
 *	-u	mostly as ordinary users, and not mostly as root
 *	-x	makes one call differently
 *
 * The driver runs as root. It draws commands and gives each to one of its workers. When a worker
 * has replied, the driver waits until all of them sleep or are stopped. After a command that
 * changes a trace, each worker makes a few calls, which write its queued records: the stock backend
 * would discard these at the next change.
 *
 * The file "log" gets the result and errno of each call, with the line of this file that makes it,
 * and each change of a process's trace points. A process is known by its number, in order of their
 * starts. The file "map" has the process ids, and the threads other than the first of a process.
 * The records are collected in files whose names begin with "kept.".
 *
 * DIRECTORY must have the files of differ.sh.
 */

#include <sys/param.h>
#include <sys/capsicum.h>
#include <sys/cpuset.h>
#include <sys/event.h>
#include <sys/ktrace.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/procctl.h>
#include <sys/ptrace.h>
#include <sys/rtprio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysctl.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <netinet/in.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <pthread_np.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "random.h"

#define NSLOTS 8
#define NRESULTS 64
#define MAXPROCS (1 << 17)
#define ARENA_SIZE 32768
#define USER 65534
#define OTHER_USER 2
/* File numbers of a worker; those from DATA on are its own. */
enum { SHARED = 3, REPLY, COMMANDS, DATA = COMMANDS + NSLOTS, ZERO, KQUEUE, SOCKET, LIMITED };

enum command {
	NOTHING,
	BEGIN,
	CALLS,
	KTRACE,
	FORK,
	THREAD,
	SPAWN,
	EXEC,
	GROUP,
	ATTACH,
	DETACH,
	KILL,
	EXIT,
	REAP
};

/* State shared by all processes. */
struct shared {
	/* The current command, and its arguments. */
	enum command command;
	uint64_t seed;
	pid_t pid;
	int slot, signo, path, ops, facs;
	bool different;
	int nresults;
	struct {
		int line, error;
		long value;
	} results[NRESULTS];
	/* The worker in each slot, or 0. */
	pid_t workers[NSLOTS];
	/* Each process, and each other thread, in order of their starts. */
	int nprocs, nthreads;
	pid_t procs[MAXPROCS];
	struct {
		pid_t pid;
		long tid;
	} threads[MAXPROCS];
};
static struct shared *shared;

/* The trace files; two of them may be on file systems of their own. */
static const char *const files[] = {"f0", "f1", "f2", "full/f", "gone/f"};
#define NFILES nitems(files)
#define FULL 3
#define GONE 4
/*
 * Names that cannot be traced to, the first of them by ordinary users. The calls have another file
 * of this kind: what root traces to has another size with each backend, until all is written.
 */
static const char *const no_files[] = {
    "private", "link", "fifo", ".", "nowhere", NULL, (char *)-4096L};

static const char *self;
static uint64_t random_state;
static char arena[ARENA_SIZE], out[ARENA_SIZE];

static unsigned int
chance(unsigned int n)
{
	return (random_below(&random_state, n));
}

static void
enlist(pid_t pid)
{
	if (shared->nprocs == MAXPROCS)
		errx(2, "too many processes");
	shared->procs[shared->nprocs++] = pid;
}

static long
number_of(pid_t pid)
{
	for (int i = shared->nprocs; i > 0; i--)
		if (shared->procs[i - 1] == pid)
			return (i);
	return (0);
}

static long
result(int line, long value)
{
	int error = value == -1 ? errno : 0;

	if (shared->nresults < NRESULTS) {
		shared->results[shared->nresults].line = line;
		shared->results[shared->nresults].value = value;
		shared->results[shared->nresults++].error = error;
	}
	return (value);
}
#define CALL(call) result(__LINE__, (call))

/* The workers. */

static void *
memory(char *good)
{
	switch (chance(12)) {
	case 0:
		return (NULL);
	case 1:
		return ((void *)-4096L);
	default:
		return (good + chance(ARENA_SIZE / 4));
	}
}

static size_t
any_length(void)
{
	static const size_t edges[] = {0, 1, 2047, 2048, 2049, 4095, 4096, 4097, ARENA_SIZE / 2};

	return (chance(4) == 0 ? edges[chance(nitems(edges))] : chance(64));
}

static const char *
some_path(void)
{
	static const char *const paths[] = {
	    "data", "link", ".", "/", "nowhere", "secret", "data/x", "", NULL};

	return (paths[chance(nitems(paths))]);
}

/* Makes a call with a structure that is recorded. */
static void
call_with_structure(void)
{
	struct sockaddr_storage address = {
	    .ss_len = chance(128), .ss_family = chance(2) == 0 ? AF_INET : AF_UNIX};
	struct itimerval timer = {{0, 0}, {0, 0}};
	struct timespec at_once = {0, 0};
	struct pollfd fds[4];
	struct kevent events[4];
	struct stat sb;
	cpuset_t cpus;
	cap_rights_t rights;
	int mib[2] = {CTL_KERN, chance(12)};
	size_t len = sizeof(int);

	for (int i = 0; i < 4; i++) {
		fds[i] = (struct pollfd){DATA + (int)chance(6), POLLIN | POLLOUT, 0};
		EV_SET(&events[i], DATA + chance(6), -(int)chance(3), EV_ADD, 0, i, NULL);
	}
	memcpy(address.__ss_pad1, arena, sizeof(address.__ss_pad1));
	switch (chance(9)) {
	case 0:
		CALL(stat(some_path(), chance(8) == 0 ? NULL : &sb));
		break;
	case 1:
		CALL(sendto(
		    SOCKET, arena, any_length(), 0, (struct sockaddr *)&address, chance(140)));
		break;
	case 2:
		CALL(connect(SOCKET, (struct sockaddr *)&address, chance(140)));
		break;
	case 3:
		CALL(poll(chance(8) == 0 ? NULL : fds, chance(5), 0));
		break;
	case 4:
		CALL(kevent(KQUEUE, events, chance(5), events, chance(5), &at_once));
		break;
	case 5:
		CALL(setitimer(ITIMER_PROF, chance(8) == 0 ? NULL : &timer, NULL));
		break;
	case 6:
		CALL(sysctl(mib, chance(3), out, &len, NULL, 0));
		break;
	case 7:
		CALL(cpuset_getaffinity(
		    CPU_LEVEL_WHICH, CPU_WHICH_PID, -1, chance(4) * sizeof(long) * 4, &cpus));
		break;
	default:
		cap_rights_init(&rights, CAP_READ, CAP_FSTAT);
		CALL(cap_rights_limit(chance(2) == 0 ? LIMITED : ZERO, &rights));
	}
}

static void
some_call(void)
{
	struct iovec iov[3];
	int fd, want;

	for (int i = 0; i < 3; i++)
		iov[i] = (struct iovec){memory(arena), any_length()};
	fd = DATA + chance(6);
	switch (chance(16)) {
	case 0:
	case 1:
		CALL(utrace(memory(arena), any_length()));
		break;
	case 2:
		CALL(pwrite(fd, memory(arena), any_length(), chance(8192)));
		break;
	case 3:
		CALL(pread(fd, memory(out), any_length(), chance(8192)));
		break;
	case 4:
		CALL(pwritev(fd, iov, chance(4), 0));
		break;
	case 5:
		if ((fd = CALL(open(some_path(), chance(2) == 0 ? O_RDONLY : O_RDWR))) >= 0)
			CALL(close(fd));
		break;
	case 6:
		CALL(readlink(some_path(), memory(out), any_length()));
		break;
	case 7:
		CALL(kill(getpid(), SIGUSR1));
		break;
	case 8:
		CALL(syscall(600 + chance(100), 1L, 2L));
		break;
	case 9:
		result(__LINE__, number_of(getppid()));
		break;
	case 10:
		want = chance(3) == 0 ? PROC_TRACE_CTL_DISABLE : PROC_TRACE_CTL_ENABLE;
		CALL(procctl(P_PID, getpid(), PROC_TRACE_CTL, &want));
		break;
	default:
		call_with_structure();
	}
}

static void
some_calls(unsigned int n)
{
	while (n-- > 0)
		some_call();
}

/* Blocks or unblocks the signal that a process sends to itself. */
static void
mask_own_signal(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(how, &set, NULL);
}

static void *
second_thread(void *unused)
{
	(void)unused;
	mask_own_signal(SIG_UNBLOCK);
	shared->threads[shared->nthreads].pid = getpid();
	shared->threads[shared->nthreads++].tid = pthread_getthreadid_np();
	some_calls(3);
	return (NULL);
}

/* Starts a process that ends soon, and waits for it. */
static void
start_process(void)
{
	unsigned int kind = chance(8);
	int status = -1;
	pid_t pid;

	pid = kind < 2	  ? vfork()
	      : kind == 2 ? rfork(RFPROC | RFFDG)
	      : kind == 3 ? rfork(RFPROC | RFCFDG)
			  : fork();
	if (pid == 0) {
		switch (kind) {
		case 0:
			execl("/usr/bin/true", "true", NULL);
			break;
		case 1:
			break;
		case 4:
			execl("./setid", "setid", NULL);
			result(__LINE__, -1);
			break;
		case 5:
			CALL(cap_enter());
			/* FALLTHROUGH */
		default:
			some_calls(4);
			if (chance(4) == 0)
				kill(getpid(), SIGTERM);
		}
		_exit(kind);
	}
	if (pid > 0)
		enlist(pid);
	waitpid(pid, &status, 0);
	result(__LINE__, number_of(pid));
	result(__LINE__, status);
}

static void work(int slot);

static void
obey(int slot)
{
	char digit[2] = {'0' + slot, '\0'};
	pthread_t other;
	pid_t pid;
	int error;

	random_state = shared->seed;
	switch (shared->command) {
	case NOTHING:
		CALL(utrace("poke", 4));
		break;
	case BEGIN:
		CALL(utrace(arena, shared->different ? KTR_USER_MAXLEN + 1 : 5));
		break;
	case CALLS:
		some_calls(1 + chance(16));
		break;
	case KTRACE:
		CALL(ktrace(shared->path < (int)NFILES ? files[shared->path]
						       : no_files[shared->path - NFILES],
		    shared->ops, shared->facs, shared->pid));
		break;
	case FORK:
		start_process();
		break;
	case THREAD:
		/*
		 * Only one of the two threads may add a result at a time. The first one must not
		 * take the signal of the second one, which it could before it waits.
		 */
		mask_own_signal(SIG_BLOCK);
		error = pthread_create(&other, NULL, second_thread, NULL);
		if (error == 0)
			pthread_join(other, NULL);
		mask_own_signal(SIG_UNBLOCK);
		result(__LINE__, error);
		break;
	case SPAWN:
		slot = shared->slot;
		if ((pid = fork()) == 0)
			work(slot);
		if (result(__LINE__, pid < 0 ? -1 : 0) == 0)
			enlist(shared->workers[slot] = pid);
		break;
	case EXEC:
		execl(self, self, "-w", digit, NULL);
		result(__LINE__, -1);
		break;
	case GROUP:
		CALL(setpgid(0, shared->pid));
		break;
	case ATTACH:
		if (CALL(ptrace(PT_ATTACH, shared->pid, NULL, 0)) == 0)
			waitpid(shared->pid, NULL, 0);
		break;
	case DETACH:
		CALL(ptrace(PT_DETACH, shared->pid, (caddr_t)1, 0));
		break;
	case KILL:
		CALL(kill(shared->pid, shared->signo));
		break;
	case EXIT:
		_exit(0);
	case REAP:
		CALL(waitpid(shared->pid, NULL, 0) == shared->pid ? 0 : -1);
		break;
	}
}

static void
work(int slot)
{
	char byte;

	while (read(COMMANDS + slot, &byte, 1) == 1) {
		obey(slot);
		write(REPLY, "r", 1);
	}
	_exit(0);
}

static void
caught(int signo)
{
	(void)signo;
}

static void
begin_work(int slot)
{
	struct sigaction sa = {.sa_handler = caught, .sa_flags = SA_RESTART};
	cap_rights_t rights;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, SHARED, 0);
	if (shared == MAP_FAILED)
		err(2, "mmap");
	closefrom(DATA);
	for (int i = 0; i < ARENA_SIZE; i++)
		arena[i] = 'a' + i % 26;
	if (open("data", O_RDWR) != DATA || open("/dev/null", O_RDWR) != ZERO ||
	    kqueue() != KQUEUE || socket(AF_UNIX, SOCK_DGRAM, 0) != SOCKET || dup(DATA) != LIMITED)
		err(2, "a file has another number");
	cap_rights_init(&rights, CAP_READ, CAP_FSTAT, CAP_FCNTL);
	cap_rights_limit(LIMITED, &rights);
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGSYS, SIG_IGN);
	write(REPLY, "r", 1);
	work(slot);
}

/* The driver. */

/* File numbers of the driver, for the replies and the commands. */
#define REPLIES 60
#define TO_WORKERS (REPLIES + 1)
static bool faults;
static uid_t uids[NSLOTS] = {0, 0, 0, USER, OTHER_USER, 0, 0, USER};
/* The slot of the stopped worker, or -1, and of the one that continues it. */
static int stopped = -1, stopper;
static unsigned long ncalls = 1000, calls;
static int traceflags[NSLOTS];
static FILE *record;

static void
shell(const char *format, ...)
{
	char command[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	if (system(command) != 0)
		errx(2, "failed: %s", command);
}

/* Gets the state of a process; returns false if there is none. */
static bool
look(pid_t pid, struct kinfo_proc *kp)
{
	int mib[4] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, pid};
	size_t len = sizeof(*kp);

	return (sysctl(mib, nitems(mib), kp, &len, NULL, 0) == 0 && len == sizeof(*kp));
}

/* Waits until the process has this state. A worker sleeps in its read of the next command. */
static void
await(pid_t pid, int state, struct kinfo_proc *kp)
{
	time_t end = time(NULL) + 60;

	while (!look(pid, kp) || kp->ki_stat != state ||
	       (state == SSLEEP && strcmp(kp->ki_wmesg, "piperd") != 0)) {
		if (time(NULL) > end)
			errx(2, "process %ld, %d, after %lu calls: state %d, %s, and not %d",
			    number_of(pid), pid, calls, kp->ki_stat, kp->ki_wmesg, state);
		sched_yield();
	}
}

/* Waits until the worker in the slot does not run, and logs a change of its trace. */
static void
settle(int slot)
{
	struct kinfo_proc kp;

	if (shared->workers[slot] == 0)
		return;
	await(shared->workers[slot], slot == stopped ? SSTOP : SSLEEP, &kp);
	if (traceflags[slot] != kp.ki_traceflag)
		fprintf(record, "P%ld is traced: %#x\n", number_of(shared->workers[slot]),
		    kp.ki_traceflag);
	traceflags[slot] = kp.ki_traceflag;
}

static void
get_reply(void)
{
	struct pollfd reply = {REPLIES, POLLIN, 0};
	char byte;

	if (poll(&reply, 1, 60000) != 1 || read(REPLIES, &byte, 1) != 1)
		errx(2, "no reply to command %d after %lu calls", shared->command, calls);
}

static void
log_results(int slot)
{
	for (int i = 0; i < shared->nresults; i++)
		fprintf(record, "P%ld line %d: %ld, errno %d\n", number_of(shared->workers[slot]),
		    shared->results[i].line, shared->results[i].value, shared->results[i].error);
	if (shared->command != NOTHING)
		calls += shared->nresults;
}

/* Gives a command, and waits until all is quiet again. Returns whether its first call succeeded. */
static bool
tell(int slot, enum command command)
{
	shared->command = command;
	shared->seed = random_state + command;
	shared->nresults = 0;
	if (write(TO_WORKERS + slot, "c", 1) != 1)
		err(2, "write");
	if (command == EXIT)
		return (true);
	get_reply();
	log_results(slot);
	settle(slot);
	return (shared->nresults > 0 && shared->results[0].value == 0);
}

static void
start(int slot)
{
	struct rtprio first = {RTP_PRIO_REALTIME, 0};
	pid_t pid;

	if ((pid = fork()) == 0) {
		char digit[2] = {'0' + slot, '\0'};

		/* The driver waits without sleeping: the workers go first. */
		closefrom(DATA);
		if (rtprio(RTP_SET, 0, &first) != 0)
			err(2, "rtprio");
		if (setgroups(0, NULL) != 0 || setgid(uids[slot]) != 0 || setuid(uids[slot]) != 0)
			err(2, "setuid");
		execle(self, self, "-w", digit, NULL, (char *[]){NULL});
		err(2, "%s", self);
	}
	enlist(shared->workers[slot] = pid);
	traceflags[slot] = 0;
	get_reply();
	settle(slot);
}

/* Lets each worker write its queued records. */
static void
poke(void)
{
	for (int i = 0; i < NSLOTS; i++)
		if (shared->workers[i] != 0 && i != stopped)
			tell(i, NOTHING);
}

/* Lets the parent of a worker that has ended collect it. */
static void
bury(int slot)
{
	pid_t pid = shared->workers[slot];
	struct kinfo_proc kp;

	await(pid, SZOMB, &kp);
	shared->workers[slot] = 0;
	if (kp.ki_ppid == getpid() && waitpid(pid, NULL, 0) == pid)
		return;
	shared->pid = pid;
	for (int i = 0; i < NSLOTS; i++)
		if (shared->workers[i] == kp.ki_ppid)
			tell(i, REAP);
}

static void
resume(void)
{
	int slot = stopped;
	struct kinfo_proc kp;

	stopped = -1;
	shared->pid = shared->workers[slot];
	shared->signo = SIGCONT;
	await(shared->pid, SSTOP, &kp);
	tell(stopper, kp.ki_flag & P_TRACED ? DETACH : KILL);
	settle(slot);
	poke();
}

static int
some_worker(void)
{
	int slot;

	do
		slot = chance(NSLOTS);
	while (shared->workers[slot] == 0 || slot == stopped);
	return (slot);
}

static void
change_trace(void)
{
	int slot;

	/*
	 * The trace of a stopped worker may end when another one writes to the full file, where the
	 * stock backend ends it when the worker writes: see ktrace_rs(4).
	 */
	if (faults && stopped >= 0)
		resume();
	do
		slot = chance(NSLOTS);
	while (shared->workers[slot] == 0);
	shared->pid = chance(16) == 0 ? 100000 : shared->workers[slot];
	if (chance(8) == 0)
		shared->pid = -shared->pid;
	shared->path = chance(chance(4) == 0 ? NFILES + nitems(no_files) : NFILES);
	shared->ops = chance(2) == 0 ? KTROP_SET : chance(4);
	if (chance(4) == 0)
		shared->ops |= KTRFLAG_DESCEND;
	shared->facs = chance(4) == 0 ? (int)chance(KTRFAC_MASK + 1) : KTRFAC_MASK;
	if (chance(16) == 0)
		shared->facs = chance(2) == 0 ? 0 : 1 << chance(24);
	if (chance(4) != 0)
		shared->facs |= KTRFAC_INHERIT;
	/* The number of these records is left to chance, and so would be the end of the room. */
	if (faults)
		shared->facs &= ~(KTRFAC_CSW | KTRFAC_FAULT | KTRFAC_FAULTEND);
	fprintf(record, "P%ld: ktrace of P%ld %s, file %d, ops %#x, facs %#x\n",
	    number_of(shared->workers[slot]), number_of(abs(shared->pid)),
	    shared->pid < 0 ? "and its group" : "", shared->path, shared->ops, shared->facs);
	tell(some_worker(), KTRACE);
	/* A stopped worker cannot write its records before the next change. */
	if (stopped >= 0)
		resume();
	poke();
}

/* Keeps the records of a file, and truncates it. */
static void
keep(int i)
{
	shell("cat %s >>kept.%d && : >%s", files[i], i, files[i]);
}

static void
harm_a_file(void)
{
	static int removed;
	int i;

	switch (faults ? chance(5) : 1) {
	case 0:
		keep(chance(NFILES));
		break;
	case 1:
		/* Processes go on tracing to the file, which has another name from now on. */
		i = chance(FULL);
		shell("ln %s kept.%d.%d && rm %s && : >%s", files[i], i, ++removed, files[i],
		    files[i]);
		break;
	case 2:
		/* Leave no room at all, so that it does not matter which record comes first. */
		keep(FULL);
		shell("rm full/filler 2>/dev/null || dd if=/dev/zero of=full/filler bs=4k "
		      "2>/dev/null || :");
		break;
	default:
		keep(GONE);
		i = chance(2) == 0 ? MNT_FORCE : 0;
		if (unmount("gone", i) != 0) {
			fprintf(record, "unmount %#x: errno %d\n", i, errno);
			break;
		}
		fprintf(record, "unmount %#x: ok\n", i);
		shell("mount -t tmpfs -o mode=777 tmpfs gone && : >gone/f");
	}
	poke();
}

/* Fills a free slot with a child of the worker, or of the driver. */
static void
add_worker(int parent)
{
	int slot;

	for (slot = 0; slot < NSLOTS && shared->workers[slot] != 0; slot++)
		continue;
	if (slot == NSLOTS)
		return;
	traceflags[slot] = 0;
	shared->slot = slot;
	if (parent < 0)
		start(slot);
	else if (tell(parent, SPAWN))
		settle(slot);
}

/* Gives one command. While one worker is stopped, none ends. */
static void
step(void)
{
	int alive, other, slot;
	struct stat sb;
	bool attaches;

	if (stopped >= 0 && chance(4) == 0)
		resume();
	if (faults && stat(files[FULL], &sb) == 0 && sb.st_size > 1 << 20)
		keep(FULL);
	if (stopped < 0 && chance(20) == 0)
		harm_a_file();
	for (slot = 0, alive = 0; slot < NSLOTS; slot++)
		alive += shared->workers[slot] != 0;
	if (alive < NSLOTS / 2)
		add_worker(-1);
	slot = some_worker();
	other = some_worker();
	shared->pid = shared->workers[other];
	switch (chance(40)) {
	default:
		tell(slot, CALLS);
		break;
	case 16 ... 25:
		change_trace();
		break;
	case 26:
		tell(slot, EXEC);
		break;
	case 27:
		if (chance(2) == 0)
			shared->pid = 0;
		tell(slot, GROUP);
		break;
	case 28 ... 31:
		tell(slot, FORK);
		break;
	case 32:
		tell(slot, THREAD);
		break;
	case 33:
	case 34:
		add_worker(chance(4) == 0 ? -1 : slot);
		break;
	case 35:
	case 36:
		if (stopped >= 0 || other == slot)
			break;
		shared->signo = chance(3) == 0 ? SIGKILL : SIGSTOP;
		/*
		 * No worker debugs an older one, which may be an ancestor: the stock backend would
		 * walk round in their family for ever.
		 */
		attaches = shared->signo == SIGSTOP && chance(2) == 0 &&
			   number_of(shared->workers[other]) > number_of(shared->workers[slot]);
		if (!tell(slot, attaches ? ATTACH : KILL))
			break;
		if (shared->signo == SIGKILL) {
			bury(other);
			break;
		}
		stopped = other;
		stopper = slot;
		settle(other);
		break;
	case 37:
		if (stopped >= 0)
			break;
		shared->signo = SIGUSR1;
		tell(slot, KILL);
		settle(other);
		break;
	case 38:
		if (stopped >= 0 || chance(2) == 0)
			break;
		tell(slot, EXIT);
		bury(slot);
		break;
	}
}

int
main(int argc, char *argv[])
{
	int ch, fd, pipes[2];
	cpuset_t cpus;
	FILE *map;

	self = argv[0];
	if (argc == 1) {
		/* The set-user-ID program. */
		utrace("set", 3);
		return (0);
	}
	if (argc == 3 && strcmp(argv[1], "-w") == 0)
		begin_work(argv[2][0] - '0');

	random_state = 88172645463325252;
	fd = shm_open(SHM_ANON, O_RDWR, 0);
	if (fd < 0 || ftruncate(fd, sizeof(*shared)) != 0 || dup2(fd, SHARED) != SHARED ||
	    fcntl(SHARED, F_SETFD, 0) != 0)
		err(2, "shm_open");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, SHARED, 0);
	if (shared == MAP_FAILED)
		err(2, "mmap");
	while ((ch = getopt(argc, argv, "c:fs:ux")) != -1)
		switch (ch) {
		case 'c':
			ncalls = strtoul(optarg, NULL, 0);
			break;
		case 'f':
			faults = true;
			break;
		case 's':
			random_state *= 2 * strtoull(optarg, NULL, 0) + 1;
			break;
		case 'u':
			for (int i = 0; i < NSLOTS; i++)
				uids[i] = uids[i] == 0 ? USER : uids[i] == USER ? 0 : uids[i];
			break;
		case 'x':
			shared->different = true;
			break;
		default:
			errx(2, "see the head of differ.c");
		}
	if (argc != optind + 1 || chdir(argv[optind]) != 0)
		errx(2, "see the head of differ.c");
	umask(0);
	/* Reserve the numbers of the pipes. */
	for (fd = REPLY; fd < TO_WORKERS + NSLOTS; fd++)
		dup2(SHARED, fd);
	for (int i = -1; i < NSLOTS; i++)
		if (pipe(pipes) != 0 || dup2(pipes[0], i < 0 ? REPLIES : COMMANDS + i) < 0 ||
		    dup2(pipes[1], i < 0 ? REPLY : TO_WORKERS + i) < 0)
			err(2, "pipe");
	if ((record = fopen("log", "w")) == NULL)
		err(2, "log");
	/* Orphans become children of the driver. On one CPU, it runs only when no worker does. */
	procctl(P_PID, getpid(), PROC_REAP_ACQUIRE, NULL);
	CPU_SETOF(0, &cpus);
	if (cpuset_setaffinity(CPU_LEVEL_WHICH, CPU_WHICH_PID, -1, sizeof(cpus), &cpus) != 0)
		err(2, "cpuset_setaffinity");
	enlist(getpid());

	for (int i = 0; i < 6; i++) {
		start(i);
		shared->pid = shared->workers[i];
		shared->path = i % NFILES;
		shared->ops = KTROP_SET;
		shared->facs =
		    (KTRFAC_MASK & ~(KTRFAC_CSW | KTRFAC_FAULT | KTRFAC_FAULTEND)) | KTRFAC_INHERIT;
		tell(i, KTRACE);
		tell(i, BEGIN);
		shared->different = false;
	}
	while (calls < ncalls)
		step();
	if (stopped >= 0)
		resume();
	for (int i = 0; i < NSLOTS; i++)
		if (shared->workers[i] != 0) {
			tell(i, EXIT);
			bury(i);
		}
	for (size_t i = 0; i < NFILES; i++)
		keep(i);
	fclose(record);
	if ((map = fopen("map", "w")) == NULL)
		err(2, "map");
	for (int i = 0; i < shared->nprocs; i++)
		fprintf(map, "%d 0\n", shared->procs[i]);
	for (int i = 0; i < shared->nthreads; i++)
		fprintf(map, "%d %ld\n", shared->threads[i].pid, shared->threads[i].tid);
	fclose(map);
	printf("calls %lu processes %d threads %d\n", calls, shared->nprocs, shared->nthreads);
	return (0);
}
