/*
 * Writes N whole KTR_USER records of its own to FILE, while it is traced to that file.
 *
 *	own_file FILE N
 *
 * These records have a thread id of their own. Their times are taken before earlier records of the
 * process are in the file, and so are in order only among themselves.
 */

#include <sys/param.h>
#include <sys/ktrace.h>
#include <sys/uio.h>

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int
main(int argc, char *argv[])
{
	struct {
		struct ktr_header header;
		char data[16];
	} record;
	int fd;

	if (argc != 3)
		errx(2, "own_file FILE N");
	if ((fd = open(argv[1], O_WRONLY | O_APPEND)) < 0)
		err(2, "%s", argv[1]);
	if (ktrace(argv[1], KTROP_SET, KTRFAC_MASK, getpid()) != 0)
		err(2, "ktrace");
	for (int i = 0; i < atoi(argv[2]); i++) {
		memset(&record, 0, sizeof(record));
		snprintf(record.data, sizeof(record.data), "own %d", i);
		record.header.ktr_len = sizeof(record.data);
		record.header.ktr_type = KTR_USER | KTR_VERSIONED;
		record.header.ktr_version = KTR_VERSION1;
		record.header.ktr_pid = getpid();
		record.header.ktr_tid = 1;
		strlcpy(record.header.ktr_comm, "own", sizeof(record.header.ktr_comm));
		clock_gettime(CLOCK_REALTIME, &record.header.ktr_time);
		if (write(fd, &record, sizeof(struct ktr_header) + sizeof(record.data)) < 0)
			err(1, "write");
	}
	return (0);
}
