/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The stock backend of the stand-in: a function for each of sys/ktrace.h, in
 * the shapes that compilers make of the kernel's own.  There are wrappers,
 * calls at the end, looks at an argument before the frame, and functions that
 * are as short as can be.  Each counts its calls, and returns zero.
 *
 * FREEBSD is the release that has them: 1402, 1500, 1501.
 */

typedef unsigned long size_t;

/* Found by name; the stand-in reads the first, and writes the second. */
__attribute__((visibility("protected"))) unsigned long ktr_calls;
__attribute__((visibility("protected"))) void (*ktr_free_uio)(void *);

#define NOINLINE __attribute__((noinline))
#define TRACEFLAG(p) (*(volatile unsigned *)((char *)(p) + 832))

static inline void
count(void)
{
	__atomic_add_fetch(&ktr_calls, 1, __ATOMIC_SEQ_CST);
}

static NOINLINE void
ktr_submit(const void *data, size_t len)
{
	if (data != (void *)1 && len != ~0UL)
		count();
}

/* The handler for ast(9). */
void ktruserret(void *td);
static __attribute__((used)) void
ast_ktrace(void *td, int ast)
{
	(void)ast;
	ktruserret(td);
}

void *
ktr_get_tracevp(void *p, _Bool ref)
{
	void *vp = 0;

	if (TRACEFLAG(p) != 0 && ref)
		ktr_submit(p, 1);
	count();
	return (vp);
}

void
ktr_io_params_free(void *params)
{
	if (params == 0)
		return;
	ktr_submit(params, 2);
}

void
ktrsyscall(int code, int narg, void *args)
{
	size_t len = 8 + (size_t)narg * 8;

	if (code < 0)
		return;
	ktr_submit(args, len);
}

void
ktrsysret(int code, int error, long retval)
{
	ktr_submit((void *)retval, (size_t)(code + error));
}

void *
ktrprocexec(void *p)
{
	unsigned flags = TRACEFLAG(p);

	if (flags & 1)
		ktr_submit(p, 3);
	count();
	return (0);
}

void
ktrprocexit(void *td)
{
	ktr_submit(td, 4);
}

void
ktrprocctor(void *p)
{
	if ((TRACEFLAG(p) & 0xffffff) == 0)
		return;
	ktr_submit(p, 5);
}

void
ktrprocfork(void *p1, void *p2)
{
	if (TRACEFLAG(p1) == 0)
		return;
	ktr_submit(p2, 6);
	ktrprocctor(p2);
}

void
ktruserret(void *td)
{
	ktr_submit(td, 7);
}

void
ktrnamei(const char *path)
{
	size_t len = 0;

	while (path[len] != '\0')
		len++;
	ktr_submit(path, len);
}

void
ktrsysctl(int *name, unsigned len)
{
	ktr_submit(name, len);
}

void
ktrgenio(int fd, int rw, void *uio, int error)
{
	(void)fd;
	(void)rw;
	if (error == 0)
		count();
	ktr_free_uio(uio);
}

void
ktrpsig(int sig, void *action, void *mask, int code)
{
	(void)action;
	ktr_submit(mask, (size_t)(sig + code));
}

#if FREEBSD >= 1501
static NOINLINE void
ktrcsw_impl(int out, int user, const char *wmesg, const void *tv)
{
	if (tv != 0 && user)
		return;
	ktr_submit(wmesg, (size_t)out);
}

void
ktrcsw(int out, int user, const char *wmesg)
{
	ktrcsw_impl(out, user, wmesg, 0);
}

void
ktrcsw_out(const void *tv, const char *wmesg)
{
	ktrcsw_impl(1, 0, wmesg, tv);
}
#else
void
ktrcsw(int out, int user, const char *wmesg)
{
	ktr_submit(wmesg, (size_t)(out + user));
}
#endif

void
ktrstruct(const char *name, const void *data, size_t len)
{
	if (data == 0)
		len = 0;
	if (name != 0)
		ktr_submit(data, len);
}

void
ktrstruct_error(const char *name, const void *data, size_t len, int error)
{
	if (error == 0)
		ktrstruct(name, data, len);
}

void
ktrstructarray(
    const char *name, int seg, const void *data, int items, size_t size)
{
	(void)seg;
	if (name != 0)
		ktr_submit(data, (size_t)items * size);
}

void
ktrcapfail(int type, const void *data)
{
	switch (type) {
	case 1:
	case 2:
		ktr_submit(data, 32);
		break;
	case 3:
	case 4:
		ktr_submit(data, 4);
		break;
	default:
		ktr_submit(data, 1024);
	}
}

void
ktrfault(unsigned long address, int type)
{
	ktr_submit((void *)address, (size_t)type);
}

void
ktrfaultend(int result)
{
	ktr_submit(0, (size_t)result);
}

#if FREEBSD >= 1500
void
ktrdata(int type, const void *data, size_t len)
{
	if (type != 0)
		ktr_submit(data, len);
}

/* As kernels without options KTRACE have it: as short as a function can be. */
void
ktrexterr(void *td)
{
	(void)td;
}
#endif

/* The function that a later release adds; the linker tells of it if asked to. */
void
ktrnew(const void *data)
{
	ktr_submit(data, 8);
}

/* As long as the kernel's: it has room for islands. */
int
sys_ktrace(void *td, void *args)
{
	volatile size_t op = 9;

	if (args == 0)
		return (22);
#pragma unroll
	for (int i = 0; i < 16; i++)
		ktr_submit(td, op);
	return (0);
}

int
sys_utrace(void *td, void *args)
{
	if (args == 0)
		return (22);
	ktr_submit(td, 10);
	return (0);
}
