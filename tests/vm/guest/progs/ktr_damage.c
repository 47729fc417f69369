/*
 * Copies a trace file and adds one fault, to test that ktr_audit finds it.
 *
 *	ktr_damage FAULT TYPE N in out
 *
 * The N-th record (from zero) of type TYPE, a number,
 *
 *	remove	is missing
 *	double	appears twice
 *	swap	has changed places with the next record of its thread
 *	drop	is marked KTR_DROP
 *	cut	is the last one, and half of it is missing
 *	end	and all records after it are missing
 *
 * The status is 1 if the file has no such record.
 */

#include <sys/param.h>
#include <sys/ktrace.h>

#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct record {
	struct ktr_header h;
	char *data;
};

static bool
read_record(FILE *f, struct record *r)
{
	if (fread(&r->h, 1, sizeof(r->h), f) != sizeof(r->h))
		return (false);
	if ((r->data = malloc(r->h.ktr_len + 1)) == NULL)
		err(2, "malloc");
	if (fread(r->data, 1, r->h.ktr_len, f) != (size_t)r->h.ktr_len)
		errx(2, "a record is cut off");
	return (true);
}

static void
write_record(FILE *f, const struct record *r, bool half)
{
	if (half)
		fwrite(&r->h, 1, sizeof(r->h) / 2, f);
	else if (fwrite(&r->h, 1, sizeof(r->h), f) != sizeof(r->h) ||
		 fwrite(r->data, 1, r->h.ktr_len, f) != (size_t)r->h.ktr_len)
		err(2, "write");
}

static void
copy_rest(FILE *in, FILE *out)
{
	struct record r;

	while (read_record(in, &r)) {
		write_record(out, &r, false);
		free(r.data);
	}
}

/* Swaps r with the next record of its thread. */
static bool
swap(FILE *in, FILE *out, const struct record *r)
{
	long here = ftell(in);
	struct record other;
	long there;

	do
		if (!read_record(in, &other))
			return (false);
	while (
	    other.h.ktr_pid != r->h.ktr_pid || other.h.ktr_tid != r->h.ktr_tid);
	there = ftell(in);
	write_record(out, &other, false);
	fseek(in, here, SEEK_SET);
	while (ftell(in) + (long)sizeof(other.h) + other.h.ktr_len < there) {
		struct record between;

		read_record(in, &between);
		write_record(out, &between, false);
	}
	write_record(out, r, false);
	fseek(in, there, SEEK_SET);
	return (true);
}

int
main(int argc, char *argv[])
{
	const char *fault;
	struct record r;
	FILE *in, *out;
	int type;
	long n;

	if (argc != 6)
		errx(2, "usage: ktr_damage FAULT TYPE N in out");
	fault = argv[1];
	type = atoi(argv[2]);
	n = atol(argv[3]);
	if ((in = fopen(argv[4], "r")) == NULL)
		err(2, "%s", argv[4]);
	if ((out = fopen(argv[5], "w")) == NULL)
		err(2, "%s", argv[5]);
	for (;; write_record(out, &r, false)) {
		if (!read_record(in, &r))
			errx(1, "no such record");
		if (((unsigned short)r.h.ktr_type & ~KTR_TYPE) == type &&
		    n-- == 0)
			break;
	}
	if (strcmp(fault, "end") == 0 || strcmp(fault, "cut") == 0) {
		if (fault[0] == 'c')
			write_record(out, &r, true);
		return (fclose(out) != 0);
	}
	if (strcmp(fault, "double") == 0) {
		write_record(out, &r, false);
		write_record(out, &r, false);
	} else if (strcmp(fault, "drop") == 0) {
		r.h.ktr_type |= KTR_DROP;
		write_record(out, &r, false);
	} else if (strcmp(fault, "swap") == 0) {
		if (!swap(in, out, &r))
			errx(1, "no such record");
	} else if (strcmp(fault, "remove") != 0)
		errx(2, "unknown fault %s", fault);
	copy_rest(in, out);
	return (fclose(out) != 0);
}
