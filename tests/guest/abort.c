// SPDX-License-Identifier: Apache-2.0
/*
 * A container uses an endpoint in the very moment in which that is taken from it: abort LOSS ACT LOOPS
 *
 * In every loop one thread, in the container's namespace, makes ready a socket and acts on it while another, in the
 * host's, deletes the endpoint (LOSS is "deletion") or has the ACL deny every connect ("denial") or every listen
 * ("listen-denial"), with GRAFT_A_ABORT; or deletes it without and aborts its sockets by its name ("name"). When both are through, no socket of that endpoint may be of any use,
 * whichever came first. What is printed, one NAME COUNT a line, is how many sockets were grafted and how many of these
 * still did something; the caller decides what may be there. The program makes its own namespaces and leaves none.
 */
#include "netns.h"
#include "nl.h"

#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define HOST 0x0a630001 /* 10.99.0.1 */
#define SERVICE 2000
#define SERVER 2001
#define KEPT 64

static struct sockaddr_in service = { .sin_family = AF_INET };
static int box, host, listener, loops;
/* The loop in hand: its socket, the one accepted from it, its client; how far each of the two threads has come. */
static int subject, child, used;
static atomic_int ready, turn, started, done, judged;
static atomic_bool over;

/* How a socket is prepared before the loss, and what is done to it meanwhile. */
struct act {
	const char *name;
	int (*prepare)(void);
	int (*run)(int fd); /* returns the descriptor that is judged besides, or -1 */
};

static int made(int fd)
{
	if (fd < 0)
		err(2, "socket");
	/* No TIME_WAIT, or the ports run out. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	return fd;
}

static int door1(void)
{
	return made(socket(AF_GRAFT, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int stream(void)
{
	return made(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_GRAFT));
}

static int datagram(void)
{
	return made(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_GRAFT));
}

static int bind_name(int fd)
{
	struct sockaddr_gr address = { .sgr_family = AF_GRAFT, .sgr_epname = "ep" };

	bind(fd, (struct sockaddr *)&address, sizeof(address));
	return -1;
}

static int bind_port(int fd)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(SERVER) };

	bind(fd, (struct sockaddr *)&address, sizeof(address));
	return -1;
}

static int connect_service(int fd)
{
	connect(fd, (struct sockaddr *)&service, sizeof(service));
	return -1;
}

static int send_service(int fd)
{
	sendto(fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&service, sizeof(service));
	return -1;
}

static int fast_open(int fd)
{
	sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&service, sizeof(service));
	return -1;
}

static int serve(int fd)
{
	listen(fd, 1);
	return -1;
}

static int accept_one(int fd)
{
	return accept(fd, NULL, NULL);
}

static int bound1(void)
{
	int fd = door1();

	bind_name(fd);
	return fd;
}

static int bound2(void)
{
	int fd = stream();

	bind_port(fd);
	return fd;
}

static int bound_datagram(void)
{
	int fd = datagram();

	bind_port(fd);
	return fd;
}

/* A listener of the container, with a connection that waits. */
static int listening(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int fd = bound2(), client;

	if (listen(fd, 1) || getsockname(fd, (struct sockaddr *)&address, &length))
		err(2, "listen");
	enter(host);
	client = made(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (connect(client, (struct sockaddr *)&address, sizeof(address)))
		err(2, "cannot connect to the container's listener");
	enter(box);
	used = client;
	return fd;
}

/* A client that an egress rule grafted, and that is nobody's client any more. */
static int disconnected(void)
{
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	int fd = stream();

	if (connect(fd, (struct sockaddr *)&service, sizeof(service)) || connect(fd, &nowhere, sizeof(nowhere)))
		err(2, "cannot connect to the service and disconnect");
	return fd;
}

static const struct act acts[] = {
	{ "bind-name", door1, bind_name },
	{ "bind", stream, bind_port },
	{ "bind-datagram", datagram, bind_port },
	{ "connect", stream, connect_service },
	{ "connect-datagram", datagram, connect_service },
	{ "sendto", datagram, send_service },
	{ "bound-then-connect", bound1, connect_service },
	{ "bound-then-fastopen", bound2, fast_open },
	{ "bound-then-sendto", bound_datagram, send_service },
	{ "bound-then-listen", bound2, serve },
	{ "disconnected-then-listen", disconnected, serve },
	{ "accept", listening, accept_one },
};

/* Wait until a counter has come this far; give way at times, for a guest's CPUs are threads of a busy machine. */
static void wait_until(atomic_int *counter, int due)
{
	for (unsigned int i = 1; atomic_load(counter) < due; i++)
		if (i % 1024 == 0)
			sched_yield();
}

static void spin(long rounds)
{
	for (volatile long i = rounds; i > 0; i--)
		;
}

/* The two run at once, each on a processor of its own. */
static void stay_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void *container(void *argument)
{
	const struct act *act = argument;

	stay_on(1);
	enter(box);
	for (int i = 1; i <= loops; i++) {
		wait_until(&judged, i - 1);
		used = -1;
		subject = act->prepare();
		atomic_store(&ready, i);
		wait_until(&turn, i);
		/* The loss takes its time to come to the sockets: that is when to act, now sooner, now later. */
		if (i % 2)
			spin(i % 32 * 128);
		atomic_store(&started, i);
		child = act->run(subject);
		atomic_store(&done, i);
	}
	return NULL;
}

/* The host's service: it accepts whatever comes and keeps it open for a while. */
static void *serve_all(void *argument)
{
	int kept[KEPT] = { 0 }, next = 0;

	(void)argument;
	while (!atomic_load(&over)) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		if (kept[next])
			close(kept[next]);
		kept[next] = fd;
		next = (next + 1) % KEPT;
	}
	for (int i = 0; i < KEPT; i++)
		if (kept[i])
			close(kept[i]);
	return NULL;
}

static long grafted, alive, attached, sends, receives;

/* Whether a socket is still tied to the host: connecting, connected or listening, or a datagram's that has a port. */
static int is_attached(int fd)
{
	struct sockaddr_in address = { 0 };
	socklen_t length = sizeof(struct tcp_info);
	struct tcp_info info = { 0 };

	if (!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length))
		return info.tcpi_state != 7;
	length = sizeof(address);
	return !getsockname(fd, (struct sockaddr *)&address, &length) && address.sin_port;
}

static void judge(int fd)
{
	socklen_t length = sizeof(int);
	int state = 0, kind = 0;
	char room;

	if (fd < 0)
		return;
	if (getsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_STATE, &state, &length) || state == GRAFT_STATE_UNDECIDED)
		return;
	grafted++;
	alive += state != GRAFT_STATE_REVOKED;
	attached += is_attached(fd);
	sends += send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
	sends += sendto(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&service, sizeof(service)) > 0;
	/* The first receive may tell of the abort. A datagram socket that receives no more has just nothing there. */
	recv(fd, &room, 1, MSG_DONTWAIT);
	getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &length);
	receives += recv(fd, &room, 1, MSG_DONTWAIT) > 0;
	receives += recv(fd, &room, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN && kind == SOCK_STREAM;
}

static void must(int answer, const char *what)
{
	if (answer)
		errx(1, "the kernel refused %s: %s", what, strerror(answer));
}

static void write_endpoint(struct nl *nl)
{
	nl_endpoint(nl, box, host, "ep", htonl(HOST), 0, 0);
	must(nl_commit(nl), "the endpoint");
}

static void write_acl(struct nl *nl)
{
	nl_acl_local(nl, box);
	must(nl_commit(nl), "the ACL");
}

static void write_table(struct nl *nl)
{
	write_endpoint(nl);
	nl_graft(nl, GRAFT_CMD_RULES_SET, 0, box);
	nl_rule(nl, GRAFT_INGRESS, 0, 0, SERVER, SERVER, "ep");
	nl_rule(nl, GRAFT_EGRESS, htonl(HOST), 32, 1, 65535, "ep");
	nl_end(nl);
	must(nl_commit(nl), "the rules");
	write_acl(nl);
}

static void delete_endpoint(struct nl *nl)
{
	nl_endpoint_del(nl, box, "ep", 1);
}

static void deny_connect(struct nl *nl)
{
	nl_acl_no(nl, box, GRAFT_VERB_CONNECT);
}

static void deny_listen(struct nl *nl)
{
	nl_acl_no(nl, box, GRAFT_VERB_LISTEN);
}

static void abort_name(struct nl *nl)
{
	nl_endpoint_del(nl, box, "ep", 0);
	nl_socket_abort(nl, box, "ep");
}

/* What the container loses, and how it gets it back. */
static const struct loss {
	const char *name;
	void (*prepare)(struct nl *nl);
	void (*restore)(struct nl *nl);
	int answer; /* that may come besides 0: there was nothing to abort */
} losses[] = {
	{ "deletion", delete_endpoint, write_endpoint, 0 },
	{ "denial", deny_connect, write_acl, 0 },
	{ "name", abort_name, write_endpoint, ENOENT },
	{ "listen-denial", deny_listen, write_acl, 0 },
};

static const struct loss *find_loss(const char *name)
{
	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++)
		if (!strcmp(losses[i].name, name))
			return &losses[i];
	errx(2, "there is no loss \"%s\"", name);
}

static const struct act *find(const char *name)
{
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		if (!strcmp(acts[i].name, name))
			return &acts[i];
	errx(2, "there is no act \"%s\"", name);
}

static pthread_t start(void *(*run)(void *), const void *argument)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, (void *)argument))
		errx(2, "cannot start a thread");
	return thread;
}

int main(int argc, char **argv)
{
	pthread_t actor, server;
	const struct loss *loss;
	const struct act *act;
	struct nl nl;
	int sink, answer;

	if (argc != 4)
		errx(2, "usage: abort LOSS ACT LOOPS");
	loss = find_loss(argv[1]);
	act = find(argv[2]);
	loops = atoi(argv[3]);
	box = namespace_new();
	host = namespace_new();
	add_address(HOST);
	service.sin_port = htons(SERVICE);
	service.sin_addr.s_addr = htonl(HOST);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&service, sizeof(service)) || listen(listener, KEPT))
		err(2, "cannot listen in the host");
	sink = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sink < 0 || bind(sink, (struct sockaddr *)&service, sizeof(service)))
		err(2, "cannot receive in the host");
	nl_open(&nl);
	write_table(&nl);

	server = start(serve_all, NULL);
	actor = start(container, act);
	stay_on(0);
	for (int i = 1; i <= loops; i++) {
		wait_until(&ready, i);
		loss->prepare(&nl);
		atomic_store(&turn, i);
		if (i % 2 == 0) {
			wait_until(&started, i);
			spin(i % 64 * 64);
		}
		/* However busy the machine is, some acts are over by then. */
		if (i % 8 == 7)
			wait_until(&done, i);
		answer = nl_commit(&nl);
		must(answer == loss->answer ? 0 : answer, loss->name);
		wait_until(&done, i);
		judge(subject);
		judge(child);
		close(subject);
		if (child >= 0)
			close(child);
		if (used >= 0)
			close(used);
		loss->restore(&nl);
		atomic_store(&judged, i);
	}
	pthread_join(actor, NULL);
	atomic_store(&over, 1);
	shutdown(listener, SHUT_RDWR);
	pthread_join(server, NULL);
	close(listener);
	close(sink);
	nl_close(&nl);
	printf("grafted %ld\nalive %ld\nattached %ld\nsends %ld\nreceives %ld\n", grafted, alive, attached, sends,
	       receives);
	return 0;
}
