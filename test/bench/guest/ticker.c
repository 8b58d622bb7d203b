/*
 * A watch inside the guest. `ticker run FILE`: ticks every 0.5 ms, ahead of every other process, and notes in FILE each
 * gap between two ticks that is longer than 1 ms. `ticker take FILE`: prints them and forgets them, one a line: the end
 * of the gap by the processor's own counter, which guest and host share, and its length in ns.
 *
 * A guest that stands still ticks not at all, and its clock jumps when it goes on: that is the gap.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { TICK_NS = 500 * 1000, NOTED_NS = 1000 * 1000, KEPT = 16384 };

struct gaps {
	volatile unsigned long noted; /* ever; the newest KEPT are there */
	volatile unsigned long taken;
	struct { volatile unsigned long end_count, length_ns; } gap[KEPT];
};

static long now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void run(struct gaps *gaps)
{
	const struct timespec tick = { .tv_nsec = TICK_NS };
	const struct sched_param first = { .sched_priority = 50 };
	long last_ns;

	sched_setscheduler(0, SCHED_FIFO, &first);
	mlockall(MCL_CURRENT | MCL_FUTURE);
	last_ns = now_ns();
	for (;;) {
		long length_ns, at_ns;
		nanosleep(&tick, NULL);
		at_ns = now_ns();
		length_ns = at_ns - last_ns;
		last_ns = at_ns;
		if (length_ns <= NOTED_NS)
			continue;
		gaps->gap[gaps->noted % KEPT].end_count = __rdtsc();
		gaps->gap[gaps->noted % KEPT].length_ns = length_ns;
		gaps->noted++;
	}
}

static void take(struct gaps *gaps)
{
	unsigned long noted = gaps->noted;
	unsigned long from = gaps->taken;

	if (noted - from > KEPT) {
		printf("lost %lu\n", noted - from - KEPT);
		from = noted - KEPT;
	}
	for (; from < noted; from++)
		printf("%lu %lu\n", gaps->gap[from % KEPT].end_count, gaps->gap[from % KEPT].length_ns);
	gaps->taken = noted;
}

int main(int argc, char **argv)
{
	struct gaps *gaps;
	int file = argc == 3 ? open(argv[2], O_RDWR | O_CREAT, 0600) : -1;

	if (file < 0 || ftruncate(file, sizeof *gaps) != 0)
		return 2;
	gaps = mmap(NULL, sizeof *gaps, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (gaps == MAP_FAILED)
		return 2;
	if (strcmp(argv[1], "run") == 0)
		run(gaps);
	else
		take(gaps);
	return 0;
}
