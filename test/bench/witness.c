/*
 * The witness of a pause: `witness LISTEN GUEST` passes mconsole requests from LISTEN on to the guest's socket and the
 * answers back, and prints each answer that it has passed on: when (ns of CLOCK_MONOTONIC, and the processor's own
 * counter, to find it again in the guest), its error code and its request's text. It ends, and removes LISTEN, when its standard input is closed.
 *
 * The proxy of the tests can't answer `uml_mconsole`, which is bound to an abstract name; this one measures the
 * documented recipe and umlsnap alike.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { BACKS = 64, DATAGRAM_BYTES = 1024, HEADER_BYTES = 12 };

/* A socket per request, so that whatever comes to it, however late, is an answer to this one. */
struct back {
	struct sockaddr_un client;
	socklen_t client_bytes;
	char command[64];
};

static struct pollfd sockets[2 + BACKS]; /* standard input, LISTEN, backs */
static struct back backs[BACKS];
static struct sockaddr_un guest = { .sun_family = AF_UNIX };

static void must(int done, const char *what)
{
	if (done)
		return;
	perror(what);
	exit(1);
}

static int new_socket(const struct sockaddr_un *name, socklen_t name_bytes)
{
	int made = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must(made >= 0 && bind(made, (const struct sockaddr *)name, name_bytes) == 0, "witness: bind");
	return made;
}

static void set_path(struct sockaddr_un *name, const char *path)
{
	must(strlen(path) < sizeof name->sun_path, "witness: path too long");
	strcpy(name->sun_path, path);
}

static long now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void pass_request(void)
{
	static const struct sockaddr_un any = { .sun_family = AF_UNIX };
	static unsigned long requests;
	int n = requests++ % BACKS;
	struct pollfd *slot = &sockets[2 + n];
	struct back *back = &backs[n];
	char datagram[DATAGRAM_BYTES];
	ssize_t bytes;

	back->client_bytes = sizeof back->client;
	bytes = recvfrom(sockets[1].fd, datagram, sizeof datagram, 0, (struct sockaddr *)&back->client,
			 &back->client_bytes);
	must(bytes >= HEADER_BYTES, "witness: request");
	snprintf(back->command, sizeof back->command, "%.*s", (int)(bytes - HEADER_BYTES), datagram + HEADER_BYTES);
	if (slot->fd >= 0)
		close(slot->fd);
	/* Bound to no name of its own, it gets an abstract one from the kernel. */
	slot->fd = new_socket(&any, sizeof any.sun_family);
	slot->events = POLLIN;
	sendto(slot->fd, datagram, bytes, 0, (struct sockaddr *)&guest, sizeof guest);
}

static void pass_answer(int n)
{
	struct back *back = &backs[n];
	char datagram[DATAGRAM_BYTES];
	ssize_t bytes = recv(sockets[2 + n].fd, datagram, sizeof datagram, 0);
	unsigned long count;
	long at_ns;
	int err;

	must(bytes >= HEADER_BYTES, "witness: answer");
	/* The time is taken before the send: the receiver may be at work before it returns. */
	at_ns = now_ns();
	count = __rdtsc();
	/* From LISTEN, as the guest would: umlsnap hears no other sender. */
	if (sendto(sockets[1].fd, datagram, bytes, 0, (struct sockaddr *)&back->client, back->client_bytes) < 0)
		return; /* a client that waits no more */
	memcpy(&err, datagram, sizeof err);
	printf("%ld %lu %d %s\n", at_ns, count, err, back->command);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct sockaddr_un listen = { .sun_family = AF_UNIX };
	int n;

	must(argc == 3, "witness LISTEN GUEST");
	set_path(&listen, argv[1]);
	set_path(&guest, argv[2]);
	for (n = 0; n < BACKS; n++)
		sockets[2 + n].fd = -1;
	sockets[0] = (struct pollfd){ .fd = 0, .events = POLLIN };
	sockets[1] = (struct pollfd){ .fd = new_socket(&listen, sizeof listen), .events = POLLIN };
	puts("ready");
	fflush(stdout);
	while (poll(sockets, 2 + BACKS, -1) > 0 && !sockets[0].revents) {
		/* Answers first: a `stop` that was answered is older than the request that follows it. */
		for (n = 0; n < BACKS; n++)
			if (sockets[2 + n].fd >= 0 && sockets[2 + n].revents)
				pass_answer(n);
		if (sockets[1].revents)
			pass_request();
	}
	unlink(argv[1]);
	return 0;
}
