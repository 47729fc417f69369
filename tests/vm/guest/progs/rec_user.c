/*
 * KTR_USER: the bytes passed to utrace(2): none, some, the most allowed; none when it fails.
 */

#include <errno.h>

#include "rec.h"

static unsigned char bytes[KTR_USER_MAXLEN + 1];

static void
want_bytes(size_t len)
{
	char text[16384];
	size_t n;

	n = snprintf(text, sizeof(text), "%zu ", len);
	for (size_t i = 0; i < len; i++)
		n += snprintf(text + n, sizeof(text) - n, " %02x", bytes[i]);
	rec_want("USER", "%s", text);
}

int
main(void)
{
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i * 7 + 1;
	/* In an untraced process, the kernel does not read the data. */
	if (utrace((void *)1, sizeof(bytes)) != 0)
		err(2, "utrace, untraced");
	rec_start(KTRFAC_USER);

	if (utrace(bytes, 5) != 0)
		err(2, "utrace");
	want_bytes(5);
	if (utrace(bytes, 0) != 0)
		err(2, "utrace of nothing");
	want_bytes(0);
	if (utrace(bytes, sizeof(bytes)) == 0 || errno != EINVAL)
		errx(2, "utrace of %zu bytes is not EINVAL", sizeof(bytes));
	if (utrace((void *)1, 8) == 0 || errno != EFAULT)
		errx(2, "utrace of an unmapped address is not EFAULT");
	if (utrace(bytes, KTR_USER_MAXLEN) != 0)
		err(2, "utrace of the most");
	want_bytes(KTR_USER_MAXLEN);

	rec_stop();
	return (0);
}
