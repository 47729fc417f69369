/*
 * As setid_layout.c: a 32-bit program, which has no run-time linker.
 */

#include "base.h"

#define SYS_geteuid 25

static int data = 1;

static void
print(const char *what, unsigned int length, unsigned int number)
{
	char text[10];
	unsigned int at = sizeof(text);

	text[--at] = '\n';
	do
		text[--at] = "0123456789abcdef"[number % 16];
	while ((number /= 16) != 0);
	call(SYS_write, 1, (unsigned int)what, length, 0, 0, 0);
	call(SYS_write, 1, (unsigned int)text + at, sizeof(text) - at, 0, 0, 0);
}

#define PRINT(what, number) print(what " 0x", sizeof(what " 0x") - 1, (unsigned int)(number))

void _start(void);

void
_start(void)
{
	int local;

	PRINT("euid", call(SYS_geteuid, 0, 0, 0, 0, 0, 0));
	PRINT("text", _start);
	PRINT("data", &data);
	PRINT("stack", &local);
	call(SYS_exit, 0, 0, 0, 0, 0, 0);
	for (;;)
		;
}
