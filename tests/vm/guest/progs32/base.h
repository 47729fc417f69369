/*
 * What the 32-bit programs share: they have no library.
 */

#define SYS_exit 1
#define SYS_write 4

/* The brand by which the kernel knows whose executable this is. */
static const struct {
	unsigned int namesz, descsz, type;
	char name[8];
	unsigned int osreldate;
} abi_tag __attribute__((section(".note.tag"), used, aligned(4))) = {8, 4, 1, "FreeBSD", 1400097};

static int
call(int number, unsigned int a, unsigned int b, unsigned int c, unsigned int d, unsigned int e,
    unsigned int f)
{
	/* What the kernel finds on the stack: a return address, then the arguments. */
	volatile unsigned int frame[7] = {0, a, b, c, d, e, f};
	unsigned int result = number;

	__asm__ volatile("xchgl %%esp, %[frame]\n\t"
			 "int $0x80\n\t"
			 "xchgl %%esp, %[frame]\n\t"
			 : "+a"(result)
			 : [frame] "r"(frame)
			 : "ecx", "edx", "cc", "memory");
	return (result);
}
