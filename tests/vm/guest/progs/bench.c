/*
 * Measures the cost of system calls: processes repeat one operation, and are counted for a given
 * time.
 *
 *	bench [-o] [-f FILE] [-m MS] [-n N] [-t TYPES] [-z BYTES] LOAD [FILE]
 *
 *	clock		clock_gettime(2) of the time of day
 *	copy		a copy of 64 KiB of memory
 *	fork		fork(2), and a wait for the child, which only exits
 *	getppid		getppid(2)
 *	open		open(2) and close(2) of a file
 *	pingpong	a byte through a pipe to another process, and one back
 *	read		read(2) of 4 KiB
 *	threads		as getppid, but by N threads of one process
 *	write		write(2) of 64 KiB to the end of the second FILE
 *	late-sleep	see below
 *	late-spin
 *
 *	-f FILE		trace the processes to FILE, without their children
 *	-m MS		measure for MS milliseconds (500), after a fifth of that
 *	-n N		number of processes (1)
 *	-o		trace each process to a file of its own: FILE.0, FILE.1 ...
 *	-t TYPES	record types, some of cintw, as in ktrace(1)
 *	-z BYTES	initial size of the trace file, all of it a hole without
 *			blocks on the disk
 *
 * Prints the number of operations of all processes, and the time in nanoseconds. An untraced
 * process measures both from outside. bench fails if a process ends, or its tracing ends, before
 * the time is up. It removes its trace files.
 *
 * late-sleep and late-spin print the number of records, and the sum of their delays in nanoseconds,
 * from the making of a record until it is in the file. Each is the last record of its process,
 * which then sleeps in that system call, or stays in user mode, until the record is in the file. N
 * is the number of records.
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysctl.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <err.h>
#include <fcntl.h>
#include <paths.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Bytes of a copy and a write(2), and of a read(2). */
#define LARGE ((size_t)64 * 1024)
#define SMALL 4096

/* Milliseconds without growth after which a trace file is complete. */
#define SETTLED 200

/* Seconds after which a record is given up. */
#define TOO_LATE 10

/* A process or thread. No two of them share a cache line. */
struct worker {
	_Alignas(CACHE_LINE_SIZE) volatile uint64_t done;
	int in, out; /* pipes from and to the other one of its pair */
};

/* State shared by the workers and the first process. */
struct shared {
	atomic_int ready;
	atomic_int round;    /* of late-spin */
	atomic_bool over;    /* what was to be measured */
	_Atomic uint64_t at; /* when the last record of a round was made */
};

static struct shared *shared;
static struct worker *workers; /* shared, too */
static _Thread_local struct worker *self;

static pid_t *processes;
static int started; /* processes */
/* Pipe on which workers wait for the start, or for the next round. */
static int gate[2];

static const char *trace_file, *target;
static bool own_files;
static int types, count = 1, milliseconds = 500;
static off_t trace_size;

static char *from, *to; /* LARGE bytes */
static int target_fd, zero_fd;

static uint64_t
now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec);
}

/* Exits a worker that has failed. The first process notices that it is missing. */
static void
must(bool ok)
{
	if (!ok)
		_exit(1);
}

static void
do_clock(void)
{
	now(CLOCK_REALTIME);
}

static void
do_copy(void)
{
	memcpy(to, from, LARGE);
	/* Keep the compiler from removing the copy. */
	__asm__ volatile("" : : "r"(to) : "memory");
}

static void
do_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	must(pid > 0 && waitpid(pid, NULL, 0) == pid);
}

static void
do_getppid(void)
{
	syscall(SYS_getppid);
}

static void
do_open(void)
{
	int fd = open(_PATH_PASSWD, O_RDONLY);

	must(fd >= 0 && close(fd) == 0);
}

/* The second process of a pair only returns what it receives. */
static void
do_pingpong(void)
{
	char c = 0;

	if ((self - workers) % 2 == 0)
		must(write(self->out, &c, 1) == 1);
	must(read(self->in, &c, 1) == 1);
	if ((self - workers) % 2 != 0)
		must(write(self->out, &c, 1) == 1);
}

static void
do_read(void)
{
	must(read(zero_fd, to, SMALL) == SMALL);
}

static void
do_write(void)
{
	must(write(target_fd, from, LARGE) == (ssize_t)LARGE);
}

static void
late_sleep(void)
{
	char c;

	shared->at = now(CLOCK_MONOTONIC);
	must(read(gate[0], &c, 1) == 1);
}

static void
late_spin(void)
{
	int round = shared->round;

	shared->at = now(CLOCK_MONOTONIC);
	syscall(SYS_getppid);
	while (shared->round == round)
		continue;
}

static const struct load {
	const char *name;
	void (*step)(void);
	enum { PROCESSES, PAIRS, THREADS, LATE } how;
} loads[] = {
    {"clock", do_clock, PROCESSES},
    {"copy", do_copy, PROCESSES},
    {"fork", do_fork, PROCESSES},
    {"getppid", do_getppid, PROCESSES},
    {"open", do_open, PROCESSES},
    {"pingpong", do_pingpong, PAIRS},
    {"read", do_read, PROCESSES},
    {"threads", do_getppid, THREADS},
    {"write", do_write, PROCESSES},
    {"late-sleep", late_sleep, LATE},
    {"late-spin", late_spin, LATE},
};
static const struct load *load;

/* Returns the trace file of a process. */
static const char *
file_of(int number)
{
	static char path[MAXPATHLEN];

	if (!own_files)
		return (trace_file);
	snprintf(path, sizeof(path), "%s.%d", trace_file, number);
	return (path);
}

static void *
work(void *arg)
{
	char c;

	self = arg;
	shared->ready++;
	must(read(gate[0], &c, 1) >= 0);
	while (!shared->over) {
		load->step();
		self->done++;
	}
	for (;;)
		pause();
}

static void
run_threads(void)
{
	pthread_t thread;

	for (int i = 1; i < count; i++)
		must(pthread_create(&thread, NULL, work, &workers[i]) == 0);
	work(&workers[0]);
}

/* Runs a process until it is killed. */
static void
run_process(int number)
{
	close(gate[1]);
	if (trace_file != NULL && ktrace(file_of(number), KTROP_SET, types, getpid()) != 0) {
		warn("ktrace");
		_exit(1);
	}
	if (load->how == THREADS)
		run_threads();
	work(&workers[number]);
}

static void
make_pair(struct worker *pair)
{
	int there[2], back[2];

	if (pipe(there) != 0 || pipe(back) != 0)
		err(2, "pipe");
	pair[0].out = there[1];
	pair[1].in = there[0];
	pair[1].out = back[1];
	pair[0].in = back[0];
}

/* Handler for atexit(3), which workers do not call. */
static void
kill_all(void)
{
	for (int i = 0; i < started; i++)
		kill(processes[i], SIGKILL);
	for (int i = 0; i < started; i++)
		waitpid(processes[i], NULL, 0);
	started = 0;
}

static void
start(int n)
{
	pid_t pid;

	if ((processes = calloc(n, sizeof(*processes))) == NULL || pipe(gate) != 0 ||
	    atexit(kill_all) != 0)
		err(2, "start");
	for (int i = 0; i < n; i++) {
		if (load->how == PAIRS && i % 2 == 0)
			make_pair(&workers[i]);
		if ((pid = fork()) < 0)
			err(2, "fork");
		if (pid == 0)
			run_process(i);
		processes[started++] = pid;
	}
}

/* Fails unless all processes exist, and are traced if they should be. */
static void
check_processes(void)
{
	int mib[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, 0};
	struct kinfo_proc info;
	size_t len;

	if (waitpid(-1, NULL, WNOHANG) != 0)
		errx(1, "%s: a process has ended", load->name);
	for (int i = 0; i < started && trace_file != NULL; i++) {
		mib[3] = processes[i];
		len = sizeof(info);
		if (sysctl(mib, nitems(mib), &info, &len, NULL, 0) != 0)
			err(2, "sysctl");
		if ((info.ki_traceflag & types) != types)
			errx(1, "%s: tracing has ended", load->name);
	}
}

static void
wait_until_ready(int n)
{
	while (shared->ready < n) {
		if (waitpid(-1, NULL, WNOHANG) != 0)
			errx(1, "%s: a process has not begun", load->name);
		usleep(1000);
	}
	check_processes();
}

static uint64_t
all_done(void)
{
	uint64_t sum = 0;
	int n = load->how == PAIRS ? 2 * count : count;

	for (int i = 0; i < n; i += load->how == PAIRS ? 2 : 1)
		sum += workers[i].done;
	return (sum);
}

static void
measure_rate(void)
{
	uint64_t begun, done, ended;

	close(gate[1]);
	usleep(milliseconds * 200);
	begun = now(CLOCK_MONOTONIC);
	done = all_done();
	usleep(milliseconds * 1000);
	ended = now(CLOCK_MONOTONIC);
	done = all_done() - done;
	check_processes();
	/* Stop the workers now. They could fill a file system before all of them are killed. */
	shared->over = true;
	printf("%ju %ju\n", (uintmax_t)done, (uintmax_t)(ended - begun));
}

static off_t
size_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		err(2, "fstat");
	return (st.st_size);
}

/* Returns the size of the trace file once it no longer grows. */
static off_t
settled(int fd)
{
	off_t size, last = -1;

	while ((size = size_of(fd)) != last) {
		last = size;
		usleep(SETTLED * 1000);
	}
	return (size);
}

static void
next_round(void)
{
	shared->round++;
	if (load->step == late_sleep && write(gate[1], "", 1) != 1)
		err(2, "gate");
}

/*
 * Measures the time until each record is in the file.
 *
 * A round begins with the remaining records of the previous round, and ends with the record that
 * counts. All rounds have the same size, so the record is in the file once the file has grown by
 * one round.
 */
static void
measure_lateness(int fd)
{
	uint64_t begun, seen, sum = 0;
	off_t size, round;

	if (write(gate[1], "", 1) != 1)
		err(2, "gate");
	size = settled(fd);
	next_round();
	round = settled(fd) - size;
	size += round;
	if (round <= 0)
		errx(1, "%s: no record", load->name);
	for (int i = 0; i < count; i++) {
		size += round;
		next_round();
		begun = now(CLOCK_MONOTONIC);
		while (size_of(fd) < size) {
			seen = now(CLOCK_MONOTONIC);
			if (seen - begun > TOO_LATE * UINT64_C(1000000000))
				errx(1, "%s: not there in %d s", load->name, TOO_LATE);
		}
		sum += now(CLOCK_MONOTONIC) - shared->at;
	}
	check_processes();
	printf("%d %ju\n", count, (uintmax_t)sum);
}

/* Makes a trace file, empty or of the initial size. */
static int
make_file(int number)
{
	int fd;

	fd = open(file_of(number), O_CREAT | O_TRUNC | O_RDWR, 0600);
	if (fd < 0 || ftruncate(fd, trace_size) != 0)
		err(2, "%s", file_of(number));
	return (fd);
}

static void *
shared_memory(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_ANON | MAP_SHARED, -1, 0);

	if (p == MAP_FAILED)
		err(2, "mmap");
	return (p);
}

/* Opens the files and memory of the loads. */
static void
prepare(int n)
{
	shared = shared_memory(sizeof(*shared));
	workers = shared_memory((load->how == THREADS ? count : n) * sizeof(*workers));
	if ((from = malloc(LARGE)) == NULL || (to = malloc(LARGE)) == NULL)
		err(2, "malloc");
	memset(from, 1, LARGE);
	memset(to, 2, LARGE);
	if ((zero_fd = open(_PATH_DEVZERO, O_RDONLY)) < 0)
		err(2, _PATH_DEVZERO);
	if (target != NULL) {
		target_fd = open(target, O_CREAT | O_TRUNC | O_APPEND | O_WRONLY, 0600);
		if (target_fd < 0 || unlink(target) != 0)
			err(2, "%s", target);
	}
}

static int
parse_types(const char *letters)
{
	int facs = 0;

	for (; *letters != '\0'; letters++)
		switch (*letters) {
		case 'c':
			facs |= KTRFAC_SYSCALL | KTRFAC_SYSRET;
			break;
		case 'i':
			facs |= KTRFAC_GENIO;
			break;
		case 'n':
			facs |= KTRFAC_NAMEI;
			break;
		case 't':
			facs |= KTRFAC_STRUCT | KTRFAC_STRUCT_ARRAY;
			break;
		case 'w':
			facs |= KTRFAC_CSW;
			break;
		default:
			errx(2, "%c: not one of cintw", *letters);
		}
	return (facs);
}

static void
usage(void)
{
	errx(2, "usage: bench [-o] [-f FILE] [-m MS] [-n N] [-t TYPES] [-z BYTES] "
		"LOAD [FILE]");
}

static void
parse_arguments(int argc, char *argv[])
{
	int ch;

	while ((ch = getopt(argc, argv, "f:m:n:ot:z:")) != -1)
		switch (ch) {
		case 'f':
			trace_file = optarg;
			break;
		case 'm':
			milliseconds = atoi(optarg);
			break;
		case 'n':
			count = atoi(optarg);
			break;
		case 'o':
			own_files = true;
			break;
		case 't':
			types = parse_types(optarg);
			break;
		case 'z':
			trace_size = strtoll(optarg, NULL, 10);
			break;
		default:
			usage();
		}
	argc -= optind;
	argv += optind;
	for (size_t i = 0; argc > 0 && i < nitems(loads); i++)
		if (strcmp(argv[0], loads[i].name) == 0)
			load = &loads[i];
	if (load == NULL || argc > 2 || count < 1 || milliseconds < 1 ||
	    (trace_file != NULL) != (types != 0) || (load->how == LATE && trace_file == NULL) ||
	    (load->step == do_write) != (argc == 2))
		usage();
	target = argc == 2 ? argv[1] : NULL;
}

int
main(int argc, char *argv[])
{
	int n, fd = -1;

	parse_arguments(argc, argv);
	n = load->how == PROCESSES ? count : load->how == PAIRS ? 2 * count : 1;
	prepare(n);
	for (int i = 0; trace_file != NULL && i < (own_files ? n : 1); i++) {
		/* One descriptor is enough: late-* have one process. */
		if (fd >= 0)
			close(fd);
		fd = make_file(i);
	}
	start(n);
	wait_until_ready(load->how == THREADS ? count : n);
	for (int i = 0; trace_file != NULL && i < (own_files ? n : 1); i++)
		if (unlink(file_of(i)) != 0)
			err(2, "%s", file_of(i));
	if (load->how == LATE)
		measure_lateness(fd);
	else
		measure_rate();
	return (0);
}
