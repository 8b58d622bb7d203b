/*
 * The load inside the guest: `load FILE MIB` writes the file once, says so, and goes on for ever, as fast as the guest's disk takes
 * it: 4 to 64 KiB at a random place, every 64th time a hole of up to 256 KiB instead (with `mount -o discard` that
 * becomes a discard of the disk), every 512th time an fdatasync.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK = 4096, MOST_BLOCKS = 16, HOLE_BLOCKS = 64 };

static char data[BLOCK * HOLE_BLOCKS];
static unsigned long state = 88172645463325252UL;

/* xorshift64 */
static unsigned long random_below(unsigned long limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % limit;
}

static void must(int done, const char *what)
{
	if (done)
		return;
	perror(what);
	exit(1);
}

static void change(int file, long blocks, unsigned long turn)
{
	long length = BLOCK * (1 + (long)random_below(turn % 64 == 0 ? HOLE_BLOCKS : MOST_BLOCKS));
	long offset = BLOCK * (long)random_below(blocks - length / BLOCK);

	if (turn % 64 == 0) {
		must(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) == 0, "fallocate");
		return;
	}
	*(unsigned long *)data = turn;
	must(pwrite(file, data, length, offset) == length, "pwrite");
	if (turn % 512 == 1)
		must(fdatasync(file) == 0, "fdatasync");
}

int main(int argc, char **argv)
{
	int file = argc == 3 ? open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600) : -1;
	long blocks, block;
	unsigned long turn;

	must(file >= 0, "open");
	for (turn = 0; turn < sizeof data; turn++)
		data[turn] = (char)random_below(256);
	blocks = atol(argv[2]) * (1 << 20) / BLOCK;
	for (block = 0; block < blocks; block += HOLE_BLOCKS)
		must(pwrite(file, data, sizeof data, block * BLOCK) == sizeof data, "pwrite");
	must(fsync(file) == 0, "fsync");
	puts("written once");
	fflush(stdout);
	for (turn = 1;; turn++)
		change(file, blocks, turn);
}
