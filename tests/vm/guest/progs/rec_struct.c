/*
 * KTR_STRUCT: name and bytes of stat, sockaddr (three families), itimerval, caprights, cpuset_t,
 * splice.
 */

#include <sys/capsicum.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "rec.h"

static void
want_stat(const struct stat *sb)
{
	char text[1024];
	size_t n;

	n = snprintf(text, sizeof(text),
	    "struct stat {dev=%ju, ino=%ju, mode=0%jo, nlink=%ju, uid=%ju, "
	    "gid=%ju, rdev=%ju",
	    (uintmax_t)sb->st_dev, (uintmax_t)sb->st_ino, (uintmax_t)sb->st_mode,
	    (uintmax_t)sb->st_nlink, (uintmax_t)sb->st_uid, (uintmax_t)sb->st_gid,
	    (uintmax_t)sb->st_rdev);
	const struct {
		const char *name;
		struct timespec ts;
	} times[] = {
	    {"atime", sb->st_atim},
	    {"mtime", sb->st_mtim},
	    {"ctime", sb->st_ctim},
	    {"birthtime", sb->st_birthtim},
	};
	for (size_t i = 0; i < nitems(times); i++) {
		n += snprintf(text + n, sizeof(text) - n, ", %s=%jd", times[i].name,
		    (intmax_t)times[i].ts.tv_sec);
		if (times[i].ts.tv_nsec != 0)
			n += snprintf(text + n, sizeof(text) - n, ".%09ld", times[i].ts.tv_nsec);
	}
	snprintf(text + n, sizeof(text) - n, ", size=%jd, blksize=%ju, blocks=%jd, flags=%#x }",
	    (intmax_t)sb->st_size, (uintmax_t)sb->st_blksize, (intmax_t)sb->st_blocks,
	    sb->st_flags);
	/* For zero, kdump prints 0x, but the # flag of printf does not. */
	if (sb->st_flags == 0)
		strcpy(strstr(text, "flags="), "flags=0x0 }");
	rec_want("STRU", "%s", text);
}

int
main(void)
{
	struct sockaddr_in in = {
	    .sin_len = sizeof(in), .sin_family = AF_INET, .sin_port = htons(4711)};
	struct sockaddr_in6 in6 = {
	    .sin6_len = sizeof(in6), .sin6_family = AF_INET6, .sin6_port = htons(4712)};
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "sock"};
	struct sockaddr_storage ss;
	struct itimerval it = {.it_interval = {3, 250000}, .it_value = {1000, 500000}};
	struct splice splice = {.sp_fd = -1, .sp_max = 0x1234, .sp_idle = {5, 6}};
	socklen_t len = sizeof(ss);
	cap_rights_t rights;
	cpuset_t cpus;
	struct stat sb;
	int fd, s4, s6, su, tcp;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in6.sin6_addr = in6addr_loopback;
	un.sun_len = SUN_LEN(&un) + 1;
	s4 = socket(AF_INET, SOCK_DGRAM, 0);
	s6 = socket(AF_INET6, SOCK_DGRAM, 0);
	su = socket(AF_UNIX, SOCK_DGRAM, 0);
	tcp = socket(AF_INET, SOCK_STREAM, 0);
	if (s4 < 0 || su < 0 || tcp < 0 || (fd = open("file", O_CREAT | O_RDWR, 0640)) < 0 ||
	    write(fd, "x", 1) != 1)
		err(2, "setup");
	fsync(fd);
	rec_start(KTRFAC_STRUCT);

	if (fstat(fd, &sb) != 0)
		err(2, "fstat");
	want_stat(&sb);
	if (stat("/", &sb) != 0)
		err(2, "stat");
	want_stat(&sb);
	/* A failed call has no record. */
	stat("/nonexistent", &sb);

	bind(s4, (struct sockaddr *)&in, sizeof(in));
	rec_want("STRU", "struct sockaddr { AF_INET, 127.0.0.1:4711 }");
	getsockname(s4, (struct sockaddr *)&ss, &len);
	rec_want("STRU", "struct sockaddr { AF_INET, 127.0.0.1:4711 }");
	if (s6 >= 0) {
		bind(s6, (struct sockaddr *)&in6, sizeof(in6));
		rec_want("STRU", "struct sockaddr { AF_INET6, [::1]:4712 }");
	}
	bind(su, (struct sockaddr *)&un, un.sun_len);
	rec_want("STRU", "struct sockaddr { AF_LOCAL, sock }");

	setitimer(ITIMER_REAL, &it, NULL);
	rec_want("STRU", "itimerval { .interval = {3, 250000}, .value = {1000, 500000} }");
	rec_want("STRU", "itimerval { .interval = {0, 0}, .value = {0, 0} }");

	CPU_ZERO(&cpus);
	cpuset_getaffinity(CPU_LEVEL_WHICH, CPU_WHICH_TID, -1, sizeof(cpus), &cpus);
	rec_want("STRU", "cpuset_t [ 0 ]");

	setsockopt(tcp, SOL_SOCKET, SO_SPLICE, &splice, sizeof(splice));
	rec_want("STRU", "struct splice { fd=-1, max=0x1234, idle=5.000006 }");

	cap_rights_init(&rights, CAP_READ, CAP_FSTAT);
	if (syscall(SYS_cap_rights_limit, (long)fd, &rights) != 0)
		err(2, "cap_rights_limit");
	rec_want("STRU", "cap_rights_t CAP_READ,CAP_FSTAT");
	syscall(SYS___cap_rights_get, (long)CAP_RIGHTS_VERSION, (long)fd, &rights);
	rec_want("STRU", "cap_rights_t CAP_READ,CAP_FSTAT");

	rec_stop();
	return (0);
}
