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

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <err.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "kinds.h"

#define MAX_SHOWN 20
#define MAX_PAYLOAD (32 * 1024 * 1024)

/* Records of a type with something in common; see key_of(). */
struct count {
	int type;
	uint64_t key;
	unsigned long records;
};

/* Kinds of steps, for the expected next struct step of each. */
enum { STEP_USER, STEP_READ, STEP_WRITE, STEP_KINDS };

/* A thread, or with tid 0 all threads of a process. */
struct party {
	pid_t pid;
	long tid;
	struct timespec last;
	int call; /* the system call that it is in, or 0 */
	bool began, switched_out, in_fault, fresh_fault, ended;
	uint64_t steps[STEP_KINDS], signals, pages;
	unsigned long bytes;
	struct count *counts;
	size_t ncounts;
};

/*
 * Key of a KTR_SYSCALL and other records of a system call: its code plus one, because zero means
 * none.
 */
#define CALL_OF(code) ((int)(code) + 1)

static struct party *parties; /* a hash table with open addressing */
static size_t nparties, nslots;
static uint64_t offset;
static unsigned long records[NTYPES], drops[NTYPES], violations;
static bool only_count;

static void __printflike(2, 3)
    violation(const struct party *p, const char *fmt, ...)
{
	va_list ap;

	if (only_count || ++violations > MAX_SHOWN)
		return;
	printf("violation at byte %ju, pid %d tid %ld: ", (uintmax_t)offset,
	    p->pid, p->tid);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static struct party *
slot_of(struct party *table, size_t slots, pid_t pid, long tid)
{
	size_t i = ((uint64_t)pid * 1000003 + (uint64_t)tid) *
		       UINT64_C(0x9e3779b97f4a7c15) >>
		   32;

	for (;; i++) {
		struct party *p = &table[i % slots];

		if (p->pid == 0 || (p->pid == pid && p->tid == tid))
			return (p);
	}
}

static void
grow(void)
{
	size_t slots = nslots == 0 ? 1024 : 2 * nslots;
	struct party *table;

	if ((table = calloc(slots, sizeof(*table))) == NULL)
		err(2, "calloc");
	for (size_t i = 0; i < nslots; i++)
		if (parties[i].pid != 0)
			*slot_of(table, slots, parties[i].pid, parties[i].tid) =
			    parties[i];
	free(parties);
	parties = table;
	nslots = slots;
}

static struct party *
party_of(pid_t pid, long tid)
{
	struct party *p;

	p = slot_of(parties, nslots, pid, tid);
	if (p->pid == 0) {
		nparties++;
		p->pid = pid;
		p->tid = tid;
	}
	return (p);
}

static struct count *
count_of(struct party *p, int type, uint64_t key)
{
	struct count *c;

	for (size_t i = 0; i < p->ncounts; i++)
		if (p->counts[i].type == type && p->counts[i].key == key)
			return (&p->counts[i]);
	/* The size grows by powers of two. */
	if ((p->ncounts & (p->ncounts - 1)) == 0) {
		p->counts = realloc(
		    p->counts, MAX(2 * p->ncounts, 1) * sizeof(*p->counts));
		if (p->counts == NULL)
			err(2, "realloc");
	}
	c = &p->counts[p->ncounts++];
	*c = (struct count){.type = type, .key = key};
	return (c);
}

/* Returns the number of a wait channel's name, truncated as in a record. */
static uint64_t
wmesg_key(const char *wmesg)
{
	char name[sizeof(((struct ktr_csw *)0)->wmesg)] = "";
	uint64_t key;

	strlcpy(name, wmesg, sizeof(name));
	memcpy(&key, name, sizeof(key));
	return (key);
}

static bool
is_step(const char *data, size_t len, struct step *s)
{
	if (len < sizeof(*s))
		return (false);
	memcpy(s, data, sizeof(*s));
	return (memcmp(s->magic, STEP_MAGIC, sizeof(s->magic)) == 0);
}

#define KEY_NONE UINT64_MAX
#define KEY_FRESH 1

static void
take_step(struct party *t, int kind, const struct step *s)
{
	static const char *const kinds[] = {"utrace", "read", "write"};

	if (s->number != t->steps[kind])
		violation(t, "%s of step %ju, want step %ju", kinds[kind],
		    (uintmax_t)s->number, (uintmax_t)t->steps[kind]);
	t->steps[kind] = s->number + 1;
	/* Data that is read comes from another thread. */
	if (kind != STEP_READ && s->signals != t->signals)
		violation(t, "step %ju after %ju signals, want %ju",
		    (uintmax_t)s->number, (uintmax_t)t->signals,
		    (uintmax_t)s->signals);
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
		violation(
		    t, "RET of %d, the last CALL is %d", code, t->call - 1);
	t->call = 0;
	t->began = true;
}

static void
want_call(struct party *t, int type)
{
	if (t->call == 0)
		violation(t, "%s outside of a system call", names[type]);
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
		violation(t, "FAULT at %#jx, want %#jx", (uintmax_t)address,
		    (uintmax_t)want);
	t->pages = (address - FRESH_PAGES) / PAGE_SIZE + 1;
}

/*
 * Follows a record of a thread.
 *
 * Returns the key that the record shares with others of the type, for counting.
 */
static uint64_t
follow(struct party *t, int type, const char *data, size_t len)
{
	struct ktr_syscall call;
	struct ktr_sysret ret;
	struct ktr_genio io;
	struct ktr_fault fault;
	struct ktr_psig sig;
	struct ktr_csw csw;
	struct step s;
	int kind;

#define TAKE(record)                                                           \
	do {                                                                   \
		if (len < sizeof(record))                                      \
			errx(1, "record at byte %ju: too short",               \
			    (uintmax_t)offset);                                \
		memcpy(&(record), data, sizeof(record));                       \
	} while (0)

	switch (type) {
	case KTR_SYSCALL:
		if (len < offsetof(struct ktr_syscall, ktr_args))
			errx(1, "record at byte %ju: too short",
			    (uintmax_t)offset);
		memcpy(&call, data, offsetof(struct ktr_syscall, ktr_args));
		begin_call(t, call.ktr_code);
		return (call.ktr_code);
	case KTR_SYSRET:
		TAKE(ret);
#ifdef __aarch64__
		/* sigreturn(2) of arm64 leaves no system call number. */
		if (ret.ktr_code == -1)
			ret.ktr_code = SYS_sigreturn;
#endif
		end_call(t, ret.ktr_code);
		return (ret.ktr_code);
	case KTR_GENIO:
		want_call(t, type);
		TAKE(io);
		if (!is_step(data + sizeof(io), len - sizeof(io), &s))
			break;
		kind = io.ktr_rw == UIO_READ ? STEP_READ : STEP_WRITE;
		take_step(t, kind, &s);
		return (kind);
	case KTR_USER:
		want_call(t, type);
		if (is_step(data, len, &s))
			take_step(t, STEP_USER, &s);
		break;
	case KTR_NAMEI:
	case KTR_STRUCT:
	case KTR_STRUCT_ARRAY:
	case KTR_SYSCTL:
	case KTR_ARGS:
	case KTR_ENVS:
		want_call(t, type);
		break;
	case KTR_PSIG:
		TAKE(sig);
		t->signals++;
		return (sig.signo);
	case KTR_CSW:
		TAKE(csw);
		if ((csw.out != 0) == t->switched_out)
			violation(t, "switch %s, and the one before was too",
			    csw.out ? "out" : "in");
		t->switched_out = csw.out != 0;
		csw.wmesg[sizeof(csw.wmesg) - 1] = '\0';
		return (wmesg_key(csw.wmesg));
	case KTR_FAULT:
		TAKE(fault);
		take_fault(t, fault.vaddr);
		return (t->fresh_fault ? KEY_FRESH : KEY_NONE);
	case KTR_FAULTEND:
		if (!t->in_fault)
			violation(t, "FAULTEND without FAULT");
		t->in_fault = false;
		return (t->fresh_fault ? KEY_FRESH : KEY_NONE);
	}
	return (KEY_NONE);
}

static void
take_record(const struct ktr_header *h, const char *data)
{
	int type = (unsigned short)h->ktr_type & ~KTR_TYPE;
	struct party *t, *p;
	uint64_t key;
	bool first;

	if (4 * (nparties + 2) > 3 * nslots)
		grow();
	first = slot_of(parties, nslots, h->ktr_pid, 0)->pid == 0;
	p = party_of(h->ktr_pid, 0);
	t = party_of(h->ktr_pid, h->ktr_tid);

	records[type]++;
	if ((h->ktr_type & KTR_DROP) != 0) {
		drops[type]++;
		violation(t, "%s with KTR_DROP", names[type]);
	}
	if (timespeccmp(&h->ktr_time, &t->last, <))
		violation(
		    t, "%s is older than the record before it", names[type]);
	t->last = h->ktr_time;
	if (first && type != KTR_PROCCTOR)
		violation(t, "the process's first record is %s", names[type]);
	if (p->ended)
		violation(t, "%s after the end of the process", names[type]);
	p->ended = type == KTR_PROCDTOR;
	key = follow(t, type, data, h->ktr_len);
	count_of(t, type, key)->records++;
	count_of(p, type, key)->records++;
	if (type == KTR_GENIO) {
		t->bytes += h->ktr_len - sizeof(struct ktr_genio);
		p->bytes += h->ktr_len - sizeof(struct ktr_genio);
	}
}

/* Checks that nothing is left open at the end. */
static void
finish(void)
{
	for (size_t i = 0; i < nslots; i++) {
		struct party *t = &parties[i];

		if (t->pid == 0)
			continue;
		if (t->switched_out)
			violation(t, "it went out and never came in");
		if (t->in_fault)
			violation(t, "FAULT without FAULTEND");
		if (t->call != 0 && t->call != CALL_OF(SYS_exit) &&
		    t->call != CALL_OF(SYS_thr_exit))
			violation(t, "CALL of %d without RET", t->call - 1);
	}
}

/* Parses a KIND of the program into the records that it covers. Returns false for "bytes". */
static bool
parse_kind(const char *kind, int *type, bool *any, uint64_t *key)
{
	const char *detail = kind + strcspn(kind, ":");
	size_t len = detail - kind;

	if (strcmp(kind, "bytes") == 0)
		return (false);
	for (*type = 1; *type < NTYPES; (*type)++)
		if (strlen(names[*type]) == len &&
		    memcmp(kind, names[*type], len) == 0)
			break;
	if (*type == NTYPES)
		errx(2, "unknown kind %s", kind);
	*any = *detail == '\0';
	if (*any)
		return (true);
	detail++;
	switch (*type) {
	case KTR_CSW:
		*key = wmesg_key(detail);
		break;
	case KTR_FAULT:
	case KTR_FAULTEND:
		*key = KEY_FRESH;
		break;
	case KTR_GENIO:
		*key =
		    strcmp(detail, "step:read") == 0 ? STEP_READ : STEP_WRITE;
		break;
	default:
		*key = strtoull(detail, NULL, 10);
	}
	return (true);
}

static unsigned long
found_in(const struct party *p, int type, bool any, uint64_t key)
{
	unsigned long n = 0;

	for (size_t i = 0; i < p->ncounts; i++)
		if (p->counts[i].type == type &&
		    (any || p->counts[i].key == key))
			n += p->counts[i].records;
	return (n);
}

/* Compares the program's counts with those of the file. */
static void
compare(const char *file)
{
	unsigned long n, found, all_made = 0, all_found = 0;
	struct party *p;
	uint64_t key;
	char kind[64];
	pid_t pid;
	long tid;
	FILE *f;
	bool any = true, has_records;
	int got, type;

	if ((f = fopen(file, "r")) == NULL)
		err(2, "%s", file);
	while (
	    (got = fscanf(f, "%d %ld %63s %lu\n", &pid, &tid, kind, &n)) == 4) {
		p = slot_of(parties, nslots, pid, tid);
		has_records = parse_kind(kind, &type, &any, &key);
		found = has_records ? found_in(p, type, any, key) : p->bytes;
		if (found != n)
			violation(&(struct party){.pid = pid, .tid = tid},
			    "%lu of %s, want %lu", found, kind, n);
		if (has_records) {
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
read_file(const char *name)
{
	struct ktr_header h;
	size_t size = 0;
	char *data = NULL;
	int type;
	FILE *f;

	if ((f = fopen(name, "r")) == NULL)
		err(2, "%s", name);
	setvbuf(f, NULL, _IOFBF, 1024 * 1024);
	while (fread(&h, 1, sizeof(h), f) == sizeof(h)) {
		type = (unsigned short)h.ktr_type & ~KTR_TYPE;
		if ((h.ktr_type & KTR_VERSIONED) == 0 ||
		    h.ktr_version != KTR_VERSION1 || !is_known(type) ||
		    h.ktr_len < 0 ||
		    h.ktr_len > MAX_PAYLOAD || h.ktr_pid <= 0 || h.ktr_tid <= 0)
			errx(1, "record at byte %ju: not a record",
			    (uintmax_t)offset);
		if ((size_t)h.ktr_len > size) {
			size = h.ktr_len;
			if ((data = realloc(data, size)) == NULL)
				err(2, "realloc");
		}
		if (fread(data, 1, h.ktr_len, f) != (size_t)h.ktr_len)
			errx(1, "record at byte %ju: cut off",
			    (uintmax_t)offset);
		take_record(&h, data);
		offset += sizeof(h) + h.ktr_len;
	}
	if (ferror(f) || ftello(f) != (off_t)offset)
		errx(1, "record at byte %ju: cut off", (uintmax_t)offset);
	free(data);
	fclose(f);
}

static void
usage(void)
{
	errx(2, "usage: ktr_audit [-c] [-m file] file");
}

int
main(int argc, char *argv[])
{
	unsigned long all = 0, dropped = 0, threads = 0;
	const char *made = NULL;
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
	grow();
	read_file(argv[optind]);
	finish();
	if (made != NULL)
		compare(made);

	for (int type = 1; type < NTYPES; type++) {
		if (records[type] != 0)
			printf("%s %lu %lu\n", names[type], records[type],
			    drops[type]);
		all += records[type];
		dropped += drops[type];
	}
	for (size_t i = 0; i < nslots; i++)
		threads += parties[i].tid != 0;
	printf("records %lu drops %lu threads %lu violations %lu\n", all,
	    dropped, threads, violations);
	return (violations != 0);
}
