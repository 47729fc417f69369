/*
 * Runs many processes or threads that each do a known number of things. If one of these fails, the
 * status is 1.
 *
 *	crowd sleep N COUNT	N children, each nanosleep(2) of a millisecond
 *	crowd call N COUNT	N children, not all at once, each getppid(2)
 *	crowd threads N COUNT	N threads, each getppid(2), getuid(2),
 *				nanosleep(2) of a millisecond
 *	crowd pingpong N COUNT	N pairs of children, each sends the other bytes
 *				through a pipe and reads the answer
 *	crowd signals N COUNT	N pairs of children, each sends the other a
 *				signal and waits for the answer
 *	crowd faults N COUNT	N children, each touches a page of fresh memory
 *
 * Each does so COUNT times, and passes the number of the time to utrace(2) each time. pingpong
 * sends the number instead, and faults calls utrace(2) every hundredth time. Except for those of
 * call, children start once all of them exist.
 *
 * A fourth argument names a file for counts of these actions, taken where they happen. It has lines
 * of "pid tid KIND count" for each process or thread and kind of record, with tid 0 for a process
 * of one thread. ktr_audit describes KIND.
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <err.h>
#include <pthread.h>
#include <pthread_np.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"

/* Number of children of call that live at once. */
#define AT_ONCE 100

/* Number of bytes sent through a pipe in one piece. */
#define BALL 64

/* Number of pages between two calls of utrace(2). */
#define STRIDE 100

/* A child or thread, and counts of its actions. */
struct worker {
	int number;
	pid_t pid;
	int tid;
	int in, out; /* pipes from and to the other one of its pair */
	struct {
		int code;
		long calls, returns;
	} syscalls[8];
	long says, sleeps, signals, pages, reads, writes;
};

static const struct timespec ms = {0, 1000000};
static struct worker *workers; /* in shared memory */
static _Thread_local struct worker *self;
static int count, gate[2];

/*
 * Ends a worker that has failed.
 *
 * Workers make their system calls without the C and thread libraries, so that all of them are
 * known.
 */
static void
must(bool ok)
{
	if (!ok)
		syscall(SYS_exit, 1);
}

static void
counted(int code, int calls, int returns)
{
	int i = 0;

	while (self->syscalls[i].code != code && self->syscalls[i].code != 0)
		must(++i < (int)nitems(self->syscalls));
	self->syscalls[i].code = code;
	self->syscalls[i].calls += calls;
	self->syscalls[i].returns += returns;
}

#define CALL(code, ...) (counted(code, 1, 1), syscall(code, ##__VA_ARGS__))

static struct step
step(uint64_t number)
{
	return ((struct step){STEP_MAGIC, number, self->signals});
}

static void
say(void)
{
	struct step s = step(self->says++);

	/* Fails with the stock backend if many wait: a lost record. */
	CALL(SYS_utrace, &s, sizeof(s));
}

static void
nap(void)
{
	self->sleeps++;
	must(CALL(SYS_nanosleep, &ms, NULL) == 0);
}

static void
sleeper(void)
{
	nap();
	say();
}

static void
caller(void)
{
	must(CALL(SYS_getppid) > 0);
	say();
}

static void
thread(void)
{
	must(CALL(SYS_getppid) > 0);
	must(CALL(SYS_getuid) >= 0);
	nap();
	say();
}

union ball {
	struct step step;
	char bytes[BALL];
};

static void throw(void)
{
	union ball ball;

	memset(&ball, 0, sizeof(ball));
	ball.step = step(self->writes++);
	must(CALL(SYS_write, self->out, &ball, sizeof(ball)) == sizeof(ball));
}

static void catch (void)
{
	union ball ball;

	must(CALL(SYS_read, self->in, &ball, sizeof(ball)) == sizeof(ball));
	must(ball.step.number == (uint64_t)self->reads++);
}

/* The first one of a pair serves. */
static void
player(void)
{
	if (self->number % 2 == 0)
		throw();
	catch ();
	if (self->number % 2 != 0)
		throw();
}

static void
on_signal(int sig)
{
	(void)sig;
	self->signals++;
	say();
	/* The code that the kernel has the handler return to makes this call. */
	counted(SYS_sigreturn, 1, 1);
}

static void
hit(void)
{
	pid_t other = workers[self->number ^ 1].pid;

	must(other > 0 && CALL(SYS_kill, other, SIGUSR1) == 0);
}

static void
suffer(void)
{
	long before = self->signals;
	sigset_t none;

	sigemptyset(&none);
	CALL(SYS_sigsuspend, &none);
	must(self->signals == before + 1);
}

static void
signaller(void)
{
	if (self->number % 2 == 0)
		hit();
	suffer();
	if (self->number % 2 != 0)
		hit();
}

static void
toucher(void)
{
	static volatile char *fresh;

	if (fresh == NULL) {
		counted(SYS_mmap, 1, 1);
		fresh = mmap((void *)FRESH_PAGES, (size_t)count * PAGE_SIZE, PROT_READ | PROT_WRITE,
		    MAP_ANON | MAP_FIXED, -1, 0);
	}
	must((uintptr_t)fresh == FRESH_PAGES);
	fresh[(size_t)self->pages * PAGE_SIZE] = 1;
	if (self->pages++ % STRIDE == 0)
		say();
}

static const struct load {
	const char *name;
	void (*work)(void);
	int workers; /* for each of the N */
	enum { THREADS, TOGETHER, A_FEW } how;
} loads[] = {
    {"sleep", sleeper, 1, TOGETHER},
    {"call", caller, 1, A_FEW},
    {"threads", thread, 1, THREADS},
    {"pingpong", player, 2, TOGETHER},
    {"signals", signaller, 2, TOGETHER},
    {"faults", toucher, 1, TOGETHER},
};
static const struct load *load;

static void *
run_thread(void *arg)
{
	self = arg;
	self->tid = pthread_getthreadid_np();
	for (int i = 0; i < count; i++)
		load->work();
	return (NULL);
}

static void
run_child(void)
{
	char c;

	counted(SYS_fork, 0, 1);
	if (load->how == TOGETHER) {
		must(CALL(SYS_close, gate[1]) == 0);
		must(CALL(SYS_read, gate[0], &c, 1) == 0);
	}
	for (int i = 0; i < count; i++)
		load->work();
	counted(SYS_exit, 1, 0);
	syscall(SYS_exit, 0);
}

static bool
reap(void)
{
	int status;

	if (wait(&status) < 0)
		err(2, "wait");
	return (status == 0);
}

static bool
run_threads(int n)
{
	pthread_t *threads = calloc(n, sizeof(*threads));

	for (int i = 0; i < n; i++) {
		workers[i].pid = getpid();
		if (pthread_create(&threads[i], NULL, run_thread, &workers[i]) != 0)
			errx(2, "pthread_create");
	}
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return (true);
}

/* Connects a pair by two pipes. Each worker gets the ends that the other does not use. */
static void
connect_pair(struct worker *pair)
{
	int there[2], back[2];

	if (pipe(there) != 0 || pipe(back) != 0)
		err(2, "pipe");
	pair[0].out = there[1];
	pair[1].in = there[0];
	pair[1].out = back[1];
	pair[0].in = back[0];
}

static void
leave_pair(struct worker *pair)
{
	for (int i = 0; i < 2; i++) {
		close(pair[i].in);
		close(pair[i].out);
	}
}

static bool
run_children(int n)
{
	bool ok = true;
	int live = 0;
	pid_t pid;

	if (pipe(gate) != 0)
		err(2, "pipe");
	for (int i = 0; i < n; i++) {
		if (load->work == player && i % 2 == 0)
			connect_pair(&workers[i]);
		self = &workers[i];
		if ((pid = syscall(SYS_fork)) < 0)
			err(2, "fork");
		if (pid == 0)
			run_child();
		self->pid = pid;
		if (load->work == player && i % 2 != 0)
			leave_pair(&workers[i - 1]);
		if (load->how == A_FEW && ++live == AT_ONCE) {
			ok &= reap();
			live--;
		}
	}
	close(gate[1]);
	for (live = load->how == A_FEW ? live : n; live > 0; live--)
		ok &= reap();
	return (ok);
}

static void
print_done(FILE *f, const struct worker *w)
{
	const struct {
		const char *kind;
		long n;
	} done[] = {
	    {"USER", w->says},
	    {"CSW:nanslp", 2 * w->sleeps}, /* out and in */
	    {"PSIG:30", w->signals},
	    {"FAULT:fresh", w->pages},
	    {"FAULTEND:fresh", w->pages},
	    {"GENIO:step:read", w->reads},
	    {"GENIO:step:write", w->writes},
	    {"bytes", (w->reads + w->writes) * BALL},
	    {"PROCCTOR", load->how == THREADS ? 0 : 1},
	    {"PROCDTOR", load->how == THREADS ? 0 : 1},
	};

	for (size_t i = 0; i < nitems(done); i++)
		if (done[i].n != 0)
			fprintf(f, "%d %d %s %ld\n", w->pid, w->tid, done[i].kind, done[i].n);
	for (size_t i = 0; i < nitems(w->syscalls); i++) {
		if (w->syscalls[i].calls != 0)
			fprintf(f, "%d %d SYSCALL:%d %ld\n", w->pid, w->tid, w->syscalls[i].code,
			    w->syscalls[i].calls);
		if (w->syscalls[i].returns != 0)
			fprintf(f, "%d %d SYSRET:%d %ld\n", w->pid, w->tid, w->syscalls[i].code,
			    w->syscalls[i].returns);
	}
}

static void
catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};
	sigset_t set;

	/* The thread library would install a handler of its own before this one. */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (syscall(SYS_sigaction, (long)SIGUSR1, &sa, NULL) != 0 ||
	    syscall(SYS_sigprocmask, (long)SIG_BLOCK, &set, NULL) != 0)
		err(2, "sigaction");
}

int
main(int argc, char *argv[])
{
	FILE *f;
	bool ok;
	int n;

	for (size_t i = 0; argc > 1 && i < nitems(loads); i++)
		if (strcmp(argv[1], loads[i].name) == 0)
			load = &loads[i];
	if (load == NULL || argc < 4 || argc > 5)
		errx(2, "usage: crowd call|faults|pingpong|signals|sleep|threads "
			"N COUNT [FILE]");
	n = atoi(argv[2]) * load->workers;
	count = atoi(argv[3]);
	workers =
	    mmap(NULL, n * sizeof(*workers), PROT_READ | PROT_WRITE, MAP_ANON | MAP_SHARED, -1, 0);
	if (workers == MAP_FAILED)
		err(2, "mmap");
	for (int i = 0; i < n; i++)
		workers[i].number = i;
	if (load->work == signaller)
		catch_signals();

	ok = load->how == THREADS ? run_threads(n) : run_children(n);

	if (argc == 5) {
		if ((f = fopen(argv[4], "w")) == NULL)
			err(2, "%s", argv[4]);
		for (int i = 0; i < n; i++)
			print_done(f, &workers[i]);
		if (load->how != THREADS) {
			fprintf(f, "%d 0 SYSCALL:%d %d\n", getpid(), SYS_fork, n);
			fprintf(f, "%d 0 SYSRET:%d %d\n", getpid(), SYS_fork, n);
		}
		fprintf(f, "%d 0 PROCDTOR 1\n", getpid());
		if (fclose(f) != 0)
			err(2, "%s", argv[4]);
	}
	return (!ok);
}
