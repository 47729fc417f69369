/*
 * Checks that a trace file is whole and in order. It reads the file once, from start to end, and
 * keeps a little state for each process and thread.
 *
 *	ktr_audit [-c] [-m made] file
 *	-c	only count; report no violations
 *	-m	a file with counts of the records that the traced program made, as
 *		crowd writes it: "pid tid KIND count", with tid 0 for all threads
 *
 * A KIND is a type of record, or the records of a type that have something in common:
 *
 *	SYSCALL:n, SYSRET:n		this system call
 *	CSW:wmesg, PSIG:n		this wait channel, this signal
 *	FAULT:fresh, FAULTEND:fresh	memory from FRESH_PAGES on
 *	GENIO:step:read, :write		data that begins with a struct step
 *	bytes				no records, but the bytes of all GENIO
 *
 * The file must have been made with at least the trace points of CALL, RET, PROCCTOR and PROCDTOR.
 * For each thread or process:
 *
 *	its time does not go backwards;
 *	CALL and RET alternate and match, except for an initial RET of a new
 *		thread or process, or of one whose tracing begins, and for the last CALL;
 *	NAMEI, GENIO, USER, STRUCT, STRUCT_ARRAY, SYSCTL, ARGS and ENVS lie
 *		between them;
 *	CSW alternate between out and in, and every out is followed by an in;
 *	FAULT and FAULTEND alternate; those of fresh memory come page by page;
 *	each struct step has the number that follows the previous one, and as
 *		many PSIG precede it as it says;
 *	PROCCTOR is the first record of a process, and none follows PROCDTOR;
 *	no record is marked KTR_DROP.
 *
 * Prints each violation, up to a limit; "TYPE records drops" for each type; "records N drops N
 * threads N violations N"; and, with -m, "made N found N" for the records that the program has
 * made. The status is 1 if there are violations.
 */

#include <sys/syscall.h>
#include <sys/tree.h>

#include <stdarg.h>
#include <stdio.h>

#include "audit.h"
#include "ktr.h"

#define MAX_SHOWN 20

/* The number of records of a KIND, or of bytes. */
struct count {
	char kind[32];
	unsigned long n;
	struct count *next;
};

/* Kinds of steps, for the expected next struct step of each. */
enum { STEP_USER, STEP_READ, STEP_WRITE, STEP_KINDS };

/* A thread, or with tid 0 all threads of a process. */
struct party {
	RB_ENTRY(party) entry;
	pid_t pid;
	long tid;
	struct timespec last;
	int call; /* the system call that it is in, or 0 */
	bool known, began, switched_out, in_fault, fresh_fault, ended;
	uint64_t steps[STEP_KINDS], signals, pages;
	struct count *counts;
};

#include "party.h"

/* The value of `call` in a system call: its code plus one, because zero means none. */
#define CALL_OF(code) ((int)(code) + 1)

/* Offset of the current record. */
static size_t offset;
static unsigned long records[NTYPES], drops[NTYPES], threads, violations;
static bool only_count;

static void __printflike(2, 3) violation(const struct party *p, const char *fmt, ...)
{
	va_list ap;

	if (only_count || ++violations > MAX_SHOWN)
		return;
	printf("violation at byte %zu, pid %d tid %ld: ", offset, p->pid, p->tid);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static unsigned long *
count_of(struct party *p, const char *kind)
{
	struct count *c;

	for (c = p->counts; c != NULL; c = c->next)
		if (strcmp(c->kind, kind) == 0)
			return (&c->n);
	if ((c = calloc(1, sizeof(*c))) == NULL)
		err(2, "calloc");
	strlcpy(c->kind, kind, sizeof(c->kind));
	c->next = p->counts;
	p->counts = c;
	return (&c->n);
}

static bool
is_step(const struct record *r, struct step *s)
{
	if (r->nmore < sizeof(*s))
		return (false);
	memcpy(s, r->more, sizeof(*s));
	return (memcmp(s->magic, STEP_MAGIC, sizeof(s->magic)) == 0);
}

static void
take_step(struct party *t, int kind, const struct step *s)
{
	static const char *const kinds[] = {"utrace", "read", "write"};

	if (s->number != t->steps[kind])
		violation(t, "%s of step %ju, want step %ju", kinds[kind], (uintmax_t)s->number,
		    (uintmax_t)t->steps[kind]);
	t->steps[kind] = s->number + 1;
	/* Data that is read comes from another thread. */
	if (kind != STEP_READ && s->signals != t->signals)
		violation(t, "step %ju after %ju signals, want %ju", (uintmax_t)s->number,
		    (uintmax_t)t->signals, (uintmax_t)s->signals);
}

static void
begin_call(struct party *t, int code)
{
	if (t->call != 0)
		violation(t, "CALL of %d within %d", code, t->call - 1);
	t->call = CALL_OF(code);
	t->began = true;
}

static void
end_call(struct party *t, int code)
{
	if (t->call == 0 ? t->began : t->call != CALL_OF(code))
		violation(t, "RET of %d, the last CALL is %d", code, t->call - 1);
	t->call = 0;
	t->began = true;
}

static void
want_call(struct party *t, int type)
{
	if (t->call == 0)
		violation(t, "%s outside of a system call", types[type].name);
}

static void
take_fault(struct party *t, uintptr_t address)
{
	uintptr_t want = FRESH_PAGES + t->pages * PAGE_SIZE;

	if (t->in_fault)
		violation(t, "FAULT within a FAULT");
	t->in_fault = true;
	t->fresh_fault = address >= FRESH_PAGES && address < FRESH_END;
	if (!t->fresh_fault)
		return;
	if (address != want)
		violation(t, "FAULT at %#jx, want %#jx", (uintmax_t)address, (uintmax_t)want);
	t->pages = (address - FRESH_PAGES) / PAGE_SIZE + 1;
}

/* Follows a record of a thread. Returns what its KIND has in addition to its type. */
static const char *
follow(struct party *t, const struct record *r)
{
	static char detail[16];
	struct step s;
	int code;

	switch (r->type) {
	case KTR_SYSCALL:
		begin_call(t, r->as.call.ktr_code);
		snprintf(detail, sizeof(detail), ":%d", r->as.call.ktr_code);
		return (detail);
	case KTR_SYSRET:
		code = r->as.ret.ktr_code;
#ifdef __aarch64__
		/* sigreturn(2) of arm64 leaves no system call number. */
		if (code == -1)
			code = SYS_sigreturn;
#endif
		end_call(t, code);
		snprintf(detail, sizeof(detail), ":%d", code);
		return (detail);
	case KTR_GENIO:
		want_call(t, r->type);
		if (!is_step(r, &s))
			break;
		if (r->as.io.ktr_rw == UIO_READ) {
			take_step(t, STEP_READ, &s);
			return (":step:read");
		}
		take_step(t, STEP_WRITE, &s);
		return (":step:write");
	case KTR_USER:
		want_call(t, r->type);
		if (is_step(r, &s))
			take_step(t, STEP_USER, &s);
		break;
	case KTR_NAMEI:
	case KTR_STRUCT:
	case KTR_STRUCT_ARRAY:
	case KTR_SYSCTL:
	case KTR_ARGS:
	case KTR_ENVS:
		want_call(t, r->type);
		break;
	case KTR_PSIG:
		t->signals++;
		snprintf(detail, sizeof(detail), ":%d", r->as.sig.signo);
		return (detail);
	case KTR_CSW:
		if ((r->as.csw.out != 0) == t->switched_out)
			violation(t, "switch %s, and the one before was too",
			    r->as.csw.out ? "out" : "in");
		t->switched_out = r->as.csw.out != 0;
		snprintf(detail, sizeof(detail), ":%.8s", r->as.csw.wmesg);
		return (detail);
	case KTR_FAULT:
		take_fault(t, r->as.fault.vaddr);
		return (t->fresh_fault ? ":fresh" : "");
	case KTR_FAULTEND:
		if (!t->in_fault)
			violation(t, "FAULTEND without FAULT");
		t->in_fault = false;
		return (t->fresh_fault ? ":fresh" : "");
	}
	return ("");
}

static void
take_record(const struct record *r)
{
	struct party *p = party_of(r->h.ktr_pid, 0), *t = party_of(r->h.ktr_pid, r->h.ktr_tid);
	const char *type = types[r->type].name;
	char kind[32];

	records[r->type]++;
	threads += !t->known;
	if (r->drop) {
		drops[r->type]++;
		violation(t, "%s with KTR_DROP", type);
	}
	if (goes_back(t, r))
		violation(t, "%s is older than the record before it", type);
	if (!p->known && r->type != KTR_PROCCTOR)
		violation(t, "the process's first record is %s", type);
	if (p->ended)
		violation(t, "%s after the end of the process", type);
	p->known = t->known = true;
	p->ended = r->type == KTR_PROCDTOR;
	snprintf(kind, sizeof(kind), "%s%s", type, follow(t, r));
	++*count_of(t, kind);
	++*count_of(p, kind);
	if (r->type == KTR_GENIO) {
		*count_of(t, "bytes") += r->nmore;
		*count_of(p, "bytes") += r->nmore;
	}
}

/* Checks that nothing is left open at the end. */
static void
finish(void)
{
	struct party *t;

	RB_FOREACH(t, parties, &parties) {
		if (t->switched_out)
			violation(t, "it went out and never came in");
		if (t->in_fault)
			violation(t, "FAULT without FAULTEND");
		if (t->call != 0 && t->call != CALL_OF(SYS_exit) &&
		    t->call != CALL_OF(SYS_thr_exit))
			violation(t, "CALL of %d without RET", t->call - 1);
	}
}

/* Compares the program's counts with those of the file. */
static void
compare(const char *file)
{
	unsigned long n, found, all_made = 0, all_found = 0;
	struct party *p;
	char kind[32];
	pid_t pid;
	long tid;
	FILE *f;
	int got;

	if ((f = fopen(file, "r")) == NULL)
		err(2, "%s", file);
	while ((got = fscanf(f, "%d %ld %31s %lu\n", &pid, &tid, kind, &n)) == 4) {
		p = party_of(pid, tid);
		found = *count_of(p, kind);
		if (found != n)
			violation(p, "%lu of %s, want %lu", found, kind, n);
		if (strcmp(kind, "bytes") != 0) {
			all_made += n;
			all_found += MIN(found, n);
		}
	}
	if (got != EOF || all_made == 0)
		errx(2, "%s: not a list of what was made", file);
	fclose(f);
	printf("made %lu found %lu\n", all_made, all_found);
}

static void
usage(void)
{
	errx(2, "usage: ktr_audit [-c] [-m file] file");
}

int
main(int argc, char *argv[])
{
	unsigned long all = 0, dropped = 0;
	const char *made = NULL;
	struct record r = {0};
	int ch;

	while ((ch = getopt(argc, argv, "cm:")) != -1)
		switch (ch) {
		case 'c':
			only_count = true;
			break;
		case 'm':
			made = optarg;
			break;
		default:
			usage();
		}
	if (argc != optind + 1)
		usage();
	read_trace(argv[optind]);
	while (next_record(&r)) {
		offset = r.offset;
		take_record(&r);
	}
	offset = trace_size;
	finish();
	if (made != NULL)
		compare(made);

	for (size_t type = 1; type < NTYPES; type++) {
		if (records[type] != 0)
			printf("%s %lu %lu\n", types[type].name, records[type], drops[type]);
		all += records[type];
		dropped += drops[type];
	}
	printf("records %lu drops %lu threads %lu violations %lu\n", all, dropped, threads,
	    violations);
	return (violations != 0);
}
