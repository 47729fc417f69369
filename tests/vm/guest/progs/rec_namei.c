/*
 * KTR_NAMEI: the path of every lookup: absolute, relative, missing, two in one call, empty, 1023
 * bytes, shm_open, getcwd.
 */

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "rec.h"

int
main(void)
{
	static char longest[PATH_MAX], cwd[PATH_MAX], again[PATH_MAX];
	struct stat sb;
	int dir;

	if (getcwd(cwd, sizeof(cwd)) == NULL || (dir = open("/etc", O_RDONLY | O_DIRECTORY)) < 0)
		err(2, "setup");
	for (size_t i = 0; i < sizeof(longest) - 1; i++)
		longest[i] = i % 2 == 0 ? '/' : 'x';
	if (open("from", O_CREAT | O_WRONLY, 0600) < 0)
		err(2, "from");
	rec_start(KTRFAC_NAMEI);

	stat("/etc/passwd", &sb);
	rec_want("NAMI", "\"/etc/passwd\"");
	stat("../does not/exist", &sb);
	rec_want("NAMI", "\"../does not/exist\"");
	fstatat(dir, "group", &sb, 0);
	rec_want("NAMI", "\"group\"");
	stat("/", &sb);
	rec_want("NAMI", "\"/\"");
	stat("\303\244\001\377", &sb);
	rec_want("NAMI", "\"\303\244\001\377\"");
	rename("from", "to");
	rec_want("NAMI", "\"from\"");
	rec_want("NAMI", "\"to\"");
	link("to", "twin");
	rec_want("NAMI", "\"to\"");
	rec_want("NAMI", "\"twin\"");
	stat(longest, &sb);
	rec_want("NAMI", "\"%s\"", longest);
	syscall(SYS___getcwd, again, sizeof(again));
	rec_want("NAMI", "\"%s\"", cwd);
	syscall(SYS_shm_open2, "/nosuch", (long)O_RDONLY, 0L, 0L, NULL);
	rec_want("NAMI", "\"/nosuch\"");
	stat("", &sb);
	rec_want("NAMI", "\"\"");
	/* A path that cannot be copied in is no lookup. */
	stat((const char *)1, &sb);

	rec_stop();
	return (0);
}
