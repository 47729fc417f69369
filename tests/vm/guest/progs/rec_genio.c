/*
 * KTR_GENIO: descriptor, direction, length and bytes of data moved by read(2), write(2) and related
 * calls, cut at kern.ktrace.genio_size. A failed read has no bytes, a failed write has all of them.
 */

#include <sys/socket.h>
#include <sys/sysctl.h>

#include <signal.h>

#include "rec.h"

static const char text[] = "plain text";
static char big[64 * 1024];

/* Expects the bytes as kdump prints them on an 80 column line: hexadecimal, 16 to a line. */
static void
want_hex(const unsigned char *p, size_t len)
{
	for (size_t n = 0; n < len; n += 16) {
		rec_add("       0x%04zx", n);
		for (size_t i = n; i < n + 16; i++) {
			if (i % 2 == 0)
				rec_add(" ");
			if (i < len)
				rec_add("%02x", p[i]);
			else
				rec_add("  ");
		}
		rec_add("  |");
		for (size_t i = n; i < n + 16 && i < len; i++)
			rec_add("%c", p[i] >= ' ' && p[i] <= '~' ? p[i] : '.');
		rec_add("|\n");
	}
	/* kdump adds an empty line after a last line that is not full. */
	if (len % 16 != 0)
		rec_add("\n");
}

int
main(void)
{
	static unsigned char bytes[200];
	struct iovec iov[3] = {{"one ", 4}, {"", 0}, {"two", 3}};
	unsigned int genio_size;
	size_t len = sizeof(genio_size);
	int fds[2], sv[2], broken[2], fd, zero;
	char buf[64];

	signal(SIGPIPE, SIG_IGN);
	if (sysctlbyname("kern.ktrace.genio_size", &genio_size, &len, NULL, 0) != 0)
		err(2, "kern.ktrace.genio_size");
	if (pipe(fds) != 0 || pipe(broken) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, sv) != 0)
		err(2, "setup");
	close(broken[0]);
	if ((fd = open("data", O_CREAT | O_RDWR | O_TRUNC, 0600)) < 0 ||
	    (zero = open("/dev/zero", O_RDONLY)) < 0)
		err(2, "open");
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i + 1;
	memset(big, 'b', sizeof(big));
	rec_start(KTRFAC_GENIO);

	write(fds[1], text, sizeof(text) - 1);
	rec_want("GIO", "fd %d wrote 10 bytes\n       \"plain text\"", fds[1]);
	read(fds[0], buf, sizeof(buf));
	rec_want("GIO", "fd %d read 10 bytes\n       \"plain text\"", fds[0]);
	writev(fds[1], iov, 3);
	rec_want("GIO", "fd %d wrote 7 bytes\n       \"one two\"", fds[1]);
	read(fds[0], buf, 1);
	rec_want("GIO", "fd %d read 1 byte\n       \"o\"", fds[0]);
	pwrite(fd, "data", 4, 100);
	rec_want("GIO", "fd %d wrote 4 bytes\n       \"data\"", fd);
	pread(fd, buf, sizeof(buf), 102);
	rec_want("GIO", "fd %d read 2 bytes\n       \"ta\"", fd);
	/* End of file. */
	pread(fd, buf, sizeof(buf), 104);
	rec_want("GIO", "fd %d read 0 bytes\n       \"\"", fd);
	send(sv[0], "sent", 4, 0);
	rec_want("GIO", "fd %d wrote 4 bytes\n       \"sent\"", sv[0]);
	recv(sv[1], buf, sizeof(buf), 0);
	rec_want("GIO", "fd %d read 4 bytes\n       \"sent\"", sv[1]);
	pwrite(fd, bytes, sizeof(bytes), 0);
	rec_want("GIO", "fd %d wrote %zu bytes", fd, sizeof(bytes));
	want_hex(bytes, sizeof(bytes));
	/* More than kern.ktrace.genio_size: cut. */
	if (genio_size < sizeof(big)) {
		read(zero, big, sizeof(big));
		rec_want("GIO", "fd %d read %u bytes", zero, genio_size);
		rec_add("       \"");
		for (unsigned int i = 0, col = 8; i < genio_size; i++, col += 2) {
			if (col + 2 > 78) {
				rec_add("\\\n\t");
				col = 8;
			}
			rec_add("\\0");
		}
		rec_add("\"\n");
	}
	/* No record: nothing was moved. */
	read(-1, buf, 1);
	write(-1, buf, 1);
	read(fds[0], NULL, 5);
	write(fd, NULL, 5);
	/* A write that failed otherwise: the record has the data to be written. */
	write(broken[1], "lost", 4);
	rec_want("GIO", "fd %d wrote 4 bytes\n       \"lost\"", broken[1]);

	rec_stop();
	return (0);
}
