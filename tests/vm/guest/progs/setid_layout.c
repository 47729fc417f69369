/*
 * Runs as a set-id program, and prints its effective user and its addresses, a number to a line.
 * These are the values in its auxv, and those of its text, data and stack.
 */

#include <sys/param.h>

#include <elf.h>
#include <stdio.h>
#include <unistd.h>

extern char **environ;

static int data = 1;

int
main(void)
{
	static const struct {
		long type;
		const char *name;
	} told[] = {
	    {AT_PHDR, "headers"},
	    {AT_ENTRY, "entry"},
	    {AT_BASE, "rtld"},
	    {AT_EXECPATH, "path"},
	    {AT_CANARY, "canary"},
	};
	char **env = environ;
	int local;

	printf("euid %#x\ntext %#lx\ndata %#lx\nstack %#lx\nenviron %#lx\n", geteuid(), (long)main,
	    (long)&data, (long)&local, (long)env);
	while (*env != NULL)
		env++;
	for (Elf_Auxinfo *aux = (Elf_Auxinfo *)(env + 1); aux->a_type != AT_NULL; aux++)
		for (size_t i = 0; i < nitems(told); i++)
			if (aux->a_type == told[i].type && aux->a_un.a_val != 0)
				printf("%s %#lx\n", told[i].name, (long)aux->a_un.a_val);
	return (0);
}
