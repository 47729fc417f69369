/*
 * Measures how old the records of a trace file are when they get there. It watches the file for
 *some seconds, while the records are made.
 *
 *	latency FILE SECONDS
 *
 * Prints "records N age N tick N": the number of new records, the greatest age of one of them, and
 *the longest time between two looks, both in microseconds. No record may be a backdated one.
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t
us(struct timespec t)
{
	return (t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000);
}

static int64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (us(t));
}

int
main(int argc, char *argv[])
{
	int64_t age = 0, at, last, tick = 0, until;
	struct ktr_header h;
	unsigned long records = 0;
	struct stat sb;
	off_t offset;
	int fd;

	if (argc != 3)
		errx(2, "usage: latency FILE SECONDS");
	if ((fd = open(argv[1], O_RDONLY)) < 0 || fstat(fd, &sb) != 0)
		err(2, "%s", argv[1]);
	offset = sb.st_size;
	last = now();
	for (until = last + atol(argv[2]) * 1000000; last < until; last = at) {
		/* A batch is one write(2), which this one does not interrupt. */
		while (pread(fd, &h, sizeof(h), offset) == (ssize_t)sizeof(h)) {
			if ((h.ktr_type & KTR_VERSIONED) == 0 || h.ktr_len < 0)
				errx(1,
				    "no record at byte %jd, after %lu from byte %jd on: type %#x, "
				    "length %d",
				    (intmax_t)offset, records, (intmax_t)sb.st_size, h.ktr_type,
				    h.ktr_len);
			offset += sizeof(h) + h.ktr_len;
			records++;
			age = MAX(age, now() - us(h.ktr_time));
		}
		at = now();
		tick = MAX(tick, at - last);
	}
	printf("records %lu age %jd tick %jd\n", records, (intmax_t)age, (intmax_t)tick);
	return (0);
}
