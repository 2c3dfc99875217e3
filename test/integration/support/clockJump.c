/*
 * Lets the wall clock of a process jump: CLOCK_JUMP_SECONDS forth (or back), CLOCK_JUMP_AFTER_MS after its start.
 * The monotonic clock is left alone. Loaded with LD_PRELOAD, and into no child.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long long after_ns, begun_ns;
static long seconds;

static int real_clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);

	if (real == NULL)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	return real(clock, now);
}

static long long monotonic_ns(void)
{
	struct timespec now;

	real_clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

__attribute__((constructor)) static void begin(void)
{
	const char *after = getenv("CLOCK_JUMP_AFTER_MS"), *jump = getenv("CLOCK_JUMP_SECONDS");

	unsetenv("LD_PRELOAD");
	begun_ns = monotonic_ns();
	after_ns = after == NULL ? 0 : atoll(after) * 1000000LL;
	seconds = jump == NULL ? 0 : atol(jump);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = real_clock_gettime(clock, now);

	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) &&
	    monotonic_ns() - begun_ns > after_ns)
		now->tv_sec += seconds;
	return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}
