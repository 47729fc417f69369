/*
 * Runs processes that fork, execute, exit, signal and stop one another, and that begin and end one
 * another's traces. All of this is random, until told to stop.
 *
 *	churn [-m] [-f files] [-n processes] [-s seed] [-u uid]... STATE DIRECTORY
 *	-m	also remove, truncate and rename the trace files
 *	-f	number of trace files in DIRECTORY, each writable by everyone
 *	-u	run every other process as one of these users, in turn
 *
 * It runs until it gets a SIGTERM. STATE is the file of its counts, which also controls it:
 *
 *	churn -p STATE			prints the counts
 *	churn -t begin|none STATE	lets it begin traces and touch their files, as at first,
 *					or stops that; none has taken effect when it returns
 *	churn -w n STATE		waits until it has begun n more traces, for at most a minute
 *
 * Its actions depend on the seed, which it prints, and on the scheduling of its processes.
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/mman.h>
#include <sys/procctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "random.h"

#define MAXPROCS 256
#define MAXUSERS 8

enum {
	FORKS,
	EXECS,
	SIGNALS,
	STOPS,
	KILLS,
	SETS,
	CLEARS,
	CLEARFILES,
	REFUSED,
	MEDDLED,
	UTRACES,
	NCOUNTS
};
static const char *const names[NCOUNTS] = {"forks", "execs", "signals", "stops", "kills", "sets",
    "clears", "clearfiles", "refused", "meddled", "utraces"};

struct state {
	atomic_ulong counts[NCOUNTS];
	atomic_int pids[MAXPROCS];
	atomic_bool begins;
	/* Whether this process may be doing so, regardless of the present value of begins. */
	atomic_bool begins_now[MAXPROCS];
};
static struct state *state;

static int nfiles = 4, nprocs = 12, nusers;
static bool meddles;
static uid_t users[MAXUSERS];
static uint64_t random_state;
static volatile sig_atomic_t told_to_stop;

static struct state *
map(const char *path, int flags)
{
	struct state *s;
	int fd;

	if ((fd = open(path, flags, 0644)) < 0)
		err(2, "%s", path);
	if ((flags & O_CREAT) != 0 && ftruncate(fd, sizeof(*s)) != 0)
		err(2, "%s", path);
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NOSYNC, fd, 0);
	if (s == MAP_FAILED)
		err(2, "%s", path);
	close(fd);
	return (s);
}

static unsigned int
chance(unsigned int n)
{
	return (random_below(&random_state, n));
}

static void
count(int what)
{
	atomic_fetch_add(&state->counts[what], 1);
}

static void
nap(long nanoseconds)
{
	nanosleep(&(struct timespec){nanoseconds / 1000000000, nanoseconds % 1000000000}, NULL);
}

static pid_t
someone(void)
{
	return (atomic_load(&state->pids[chance(nprocs)]));
}

static const char *
some_file(char name[16])
{
	snprintf(name, 16, "trace.%u", chance(nfiles));
	return (name);
}

static void
caught(int signo)
{
	(void)signo;
}

static void
give_birth(void)
{
	char *const argv[] = {"true", NULL};
	pid_t pid;
	int way = chance(5);

	pid = way == 0 ? vfork() : fork();
	if (pid < 0)
		return;
	if (pid == 0) {
		if (way <= 2) {
			execv("/usr/bin/true", argv);
			_exit(1);
		}
		if (way == 3)
			kill(getpid(), SIGTERM);
		_exit(0);
	}
	count(FORKS);
	if (way <= 2)
		count(EXECS);
	/* Some live longer, and some outlive their parent. */
	if (way == 4 && chance(4) == 0)
		_exit(0);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}

static void
send_signal(void)
{
	static const int signals[] = {SIGUSR1, SIGCHLD, SIGCONT, SIGALRM, SIGWINCH};
	pid_t pid = someone();

	if (pid <= 0)
		return;
	switch (chance(24)) {
	case 0:
		if (pid != getpid() && kill(pid, SIGKILL) == 0)
			count(KILLS);
		break;
	case 1:
	case 2:
		if (pid == getpid() || kill(pid, SIGSTOP) != 0)
			break;
		count(STOPS);
		nap(1000000);
		kill(pid, SIGCONT);
		break;
	default:
		if (kill(pid, signals[chance(nitems(signals))]) == 0)
			count(SIGNALS);
	}
}

/* Calls run unless told to begin nothing. */
static void
unless_none(int number, void (*run)(void))
{
	atomic_store(&state->begins_now[number], true);
	if (atomic_load(&state->begins))
		run();
	atomic_store(&state->begins_now[number], false);
}

static void
none(void)
{
	atomic_store(&state->begins, false);
	for (int i = 0; i < MAXPROCS; i++)
		while (atomic_load(&state->begins_now[i]))
			nap(1000000);
}

/* Changes the trace of a process or a process group, sometimes including all descendants. */
static void
change_trace(void)
{
	char name[16];
	int facs, fd, op, what;
	pid_t pid = someone();

	if (pid <= 0)
		return;
	if (chance(3) == 0)
		pid = -pid;
	facs = chance(2) == 0 ? KTRFAC_MASK : (int)(chance(KTRFAC_MASK) + 1);
	if (chance(2) == 0)
		facs |= KTRFAC_INHERIT;
	some_file(name);
	switch (chance(8)) {
	default:
		op = KTROP_SET;
		what = SETS;
		/* ktrace(2) does not create the file. */
		if ((fd = open(name, O_WRONLY | O_CREAT | O_NOFOLLOW, 0666)) >= 0) {
			fchmod(fd, 0666);
			close(fd);
		}
		break;
	case 5:
	case 6:
		op = KTROP_CLEAR;
		what = CLEARS;
		break;
	case 7:
		op = KTROP_CLEARFILE;
		what = CLEARFILES;
		break;
	}
	if (chance(4) == 0 && op != KTROP_CLEARFILE)
		op |= KTRFLAG_DESCEND;
	if (ktrace(op == KTROP_CLEAR ? NULL : name, op, facs, pid) == 0)
		count(what);
	else
		count(REFUSED);
}

static void
meddle(void)
{
	char from[16], to[16];
	bool done;

	some_file(from);
	switch (chance(3)) {
	case 0:
		done = unlink(from) == 0;
		break;
	case 1:
		done = truncate(from, 0) == 0;
		break;
	default:
		done = rename(from, some_file(to)) == 0;
	}
	if (done)
		count(MEDDLED);
}

static void
be_traced(void)
{
	struct stat sb;
	char *page;

	for (unsigned int n = chance(20); n > 0; n--)
		getppid();
	if (utrace(&sb, chance(sizeof(sb))) == 0)
		count(UTRACES);
	stat("/", &sb);
	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_ANON, -1, 0);
	if (page != MAP_FAILED) {
		*page = 1;
		munmap(page, PAGE_SIZE);
	}
}

static void
work(int number)
{
	signal(SIGTERM, SIG_DFL);
	signal(SIGUSR1, caught);
	signal(SIGALRM, caught);
	setpgid(0, 0);
	if (nusers > 0 && number % 2 == 1) {
		uid_t uid = users[number / 2 % nusers];

		if (setgroups(0, NULL) != 0 || setgid(uid) != 0 || setuid(uid) != 0)
			err(2, "uid %d", uid);
	}
	for (;;) {
		/*
		 * All of them together leave some of the system to others, even on a slow machine.
		 */
		nap(chance(nprocs * 20000000));
		switch (chance(16)) {
		case 0:
		case 1:
		case 2:
		case 3:
			give_birth();
			break;
		case 4:
		case 5:
		case 6:
			send_signal();
			break;
		case 7:
		case 8:
		case 9:
		case 10:
			unless_none(number, change_trace);
			break;
		case 11:
			if (meddles && chance(4) == 0)
				unless_none(number, meddle);
			break;
		case 12:
			if (chance(16) == 0)
				_exit(0);
			break;
		default:
			be_traced();
		}
	}
}

static void
start(int number, unsigned int generation, uint64_t seed)
{
	pid_t pid;

	/* The process may have been killed in the middle of it. */
	atomic_store(&state->begins_now[number], false);
	if ((pid = fork()) == 0) {
		random_state =
		    (seed + number) * 0x9e3779b97f4a7c15 + generation * 0x2545f4914f6cdd1d + 1;
		work(number);
	}
	if (pid < 0)
		err(2, "fork");
	atomic_store(&state->pids[number], pid);
}

/* Waits until `more` traces have begun, and returns false after a minute. */
static bool
more_sets(unsigned long more)
{
	unsigned long from = atomic_load(&state->counts[SETS]);

	for (int hundredths = 0; hundredths < 6000; hundredths++) {
		if (atomic_load(&state->counts[SETS]) - from >= more)
			return (true);
		nap(10000000);
	}
	return (false);
}

static void
stop(int signo)
{
	(void)signo;
	told_to_stop = 1;
}

static void
supervise(uint64_t seed)
{
	const struct timespec while_ = {0, 100000000};
	struct sigaction sa = {.sa_handler = stop};
	unsigned int generation = 0;
	sigset_t term, empty;
	pid_t pid;

	sigaction(SIGTERM, &sa, NULL);
	sa.sa_handler = caught;
	sigaction(SIGCHLD, &sa, NULL);
	sigemptyset(&empty);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigaddset(&term, SIGCHLD);
	if (procctl(P_PID, getpid(), PROC_REAP_ACQUIRE, NULL) != 0)
		err(2, "PROC_REAP_ACQUIRE");
	for (int i = 0; i < nprocs; i++)
		start(i, generation, seed);
	sigprocmask(SIG_BLOCK, &term, NULL);
	while (!told_to_stop) {
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			for (int i = 0; i < nprocs; i++)
				if (atomic_load(&state->pids[i]) == pid) {
					sigprocmask(SIG_SETMASK, &empty, NULL);
					start(i, ++generation, seed);
					sigprocmask(SIG_BLOCK, &term, NULL);
				}
		/* A process that stopped another one may have ended. */
		for (int i = 0; i < nprocs; i++)
			kill(atomic_load(&state->pids[i]), SIGCONT);
		pselect(0, NULL, NULL, NULL, &while_, &empty);
	}
	/*
	 * Their children end by themselves, or with their group, and become children of this
	 * process.
	 */
	sigprocmask(SIG_SETMASK, &empty, NULL);
	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 || errno == EINTR)
		for (int i = 0; i < nprocs; i++) {
			pid_t other = atomic_load(&state->pids[i]);

			if (other == 0)
				continue;
			if (other == pid) {
				atomic_store(&state->pids[i], 0);
				continue;
			}
			kill(-other, SIGKILL);
			kill(other, SIGKILL);
			nap(1000000);
		}
}

static void
usage(void)
{
	errx(2, "see the head of churn.c");
}

int
main(int argc, char *argv[])
{
	uint64_t seed = (uint64_t)time(NULL) * 1000003 + getpid();
	const char *begins = NULL;
	bool print = false;
	unsigned long more = 0;
	int ch;

	while ((ch = getopt(argc, argv, "f:mn:ps:t:u:w:")) != -1)
		switch (ch) {
		case 'f':
			nfiles = atoi(optarg);
			break;
		case 'm':
			meddles = true;
			break;
		case 'n':
			nprocs = atoi(optarg);
			break;
		case 'p':
			print = true;
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			begins = optarg;
			break;
		case 'u':
			if (nusers == MAXUSERS)
				usage();
			users[nusers++] = atoi(optarg);
			break;
		case 'w':
			more = strtoul(optarg, NULL, 0);
			break;
		default:
			usage();
		}
	argc -= optind;
	argv += optind;
	if (argc != (print || begins != NULL || more != 0 ? 1 : 2) || nprocs < 1 ||
	    nprocs > MAXPROCS || nfiles < 1)
		usage();
	if (begins != NULL) {
		state = map(argv[0], O_RDWR);
		if (strcmp(begins, "none") == 0)
			none();
		else
			atomic_store(&state->begins, true);
		return (0);
	}
	if (more != 0) {
		state = map(argv[0], O_RDWR);
		if (!more_sets(more))
			errx(1, "fewer than %lu traces were begun in a minute", more);
		return (0);
	}
	if (print) {
		state = map(argv[0], O_RDWR);
		for (int i = 0; i < NCOUNTS; i++)
			printf("%s %lu\n", names[i], atomic_load(&state->counts[i]));
		return (0);
	}
	state = map(argv[0], O_RDWR | O_CREAT | O_TRUNC);
	atomic_store(&state->begins, true);
	printf("seed %#jx\n", (uintmax_t)seed);
	fflush(stdout);
	if (chdir(argv[1]) != 0)
		err(2, "%s", argv[1]);
	umask(0);
	/* Give a process that watches a chance to run. */
	setpriority(PRIO_PROCESS, 0, 15);
	supervise(seed);
	return (0);
}
