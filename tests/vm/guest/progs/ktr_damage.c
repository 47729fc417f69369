/*
 * Copies a trace file and adds one fault, to test that ktr_audit and ktr_raw find it.
 *
 *	ktr_damage FAULT TYPE N in out
 *
 * The N-th record (from zero) of type TYPE (SYSCALL, ...),
 *
 *	remove	is missing
 *	double	appears twice
 *	swap	has changed places with the next record of its thread
 *	back	is older than any other
 *	drop	is marked KTR_DROP
 *	cut	is the last one, and half of its header is missing
 *	end	and all records after it are missing
 *
 * The status is 1 if the file has no such record.
 */

#include <stdio.h>

#include "ktr.h"

static FILE *out;

/* Copies the file from one offset to another. */
static void
copy(size_t from, size_t to)
{
	if (fwrite(trace + from, 1, to - from, out) != to - from)
		err(2, "write");
}

/* Gets the N-th record of the type. */
static void
find(const char *type, long n, struct record *r)
{
	while (next_record(r))
		if (strcmp(types[r->type].name, type) == 0 && n-- == 0)
			return;
	errx(1, "no such record");
}

/* Gets the next record of the same thread. */
static void
find_next(const struct record *of, struct record *r)
{
	*r = *of;
	while (next_record(r))
		if (r->h.ktr_pid == of->h.ktr_pid && r->h.ktr_tid == of->h.ktr_tid)
			return;
	errx(1, "no such record");
}

int
main(int argc, char *argv[])
{
	struct record r = {0}, other;
	const char *fault;
	size_t rest;

	if (argc != 6)
		errx(2, "usage: ktr_damage FAULT TYPE N in out");
	fault = argv[1];
	read_trace(argv[4]);
	find(argv[2], atol(argv[3]), &r);
	if ((out = fopen(argv[5], "w")) == NULL)
		err(2, "%s", argv[5]);

	copy(0, r.offset);
	rest = r.next;
	if (strcmp(fault, "double") == 0) {
		rest = r.offset;
		copy(r.offset, r.next);
	} else if (strcmp(fault, "swap") == 0) {
		find_next(&r, &other);
		copy(other.offset, other.next);
		copy(r.next, other.offset);
		copy(r.offset, r.next);
		rest = other.next;
	} else if (strcmp(fault, "back") == 0 || strcmp(fault, "drop") == 0) {
		if (fault[0] == 'b')
			r.h.ktr_time.tv_sec = 1;
		else
			r.h.ktr_type |= KTR_DROP;
		memcpy(trace + r.offset, &r.h, sizeof(r.h));
		rest = r.offset;
	} else if (strcmp(fault, "cut") == 0) {
		copy(r.offset, r.offset + sizeof(r.h) / 2);
		rest = trace_size;
	} else if (strcmp(fault, "end") == 0) {
		rest = trace_size;
	} else if (strcmp(fault, "remove") != 0)
		errx(2, "unknown fault %s", fault);
	copy(rest, trace_size);
	return (fclose(out) != 0);
}
