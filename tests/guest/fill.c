// SPDX-License-Identifier: Apache-2.0
/*
 * Fills tables: fill [-e N] [-g ADDRESS,PORT,NETWORK/LENGTH] [-h ADDRESS,N,LO-HI] [-r N] [-a N] TABLE... [ENDPOINTS]
 *
 * TABLE is the path of a namespace (/run/netns/NAME, /proc/PID/ns/net); the target is the namespace that the program
 * runs in. The tables' limits are raised to hold what may come.
 *
 * -e  endpoints that nobody uses, fill-0, fill-1, ... at 127.0.0.1, any port; a last argument that is a number says the
 *     same
 * -g  the grant: ep-server at ADDRESS and PORT, ep-client at ADDRESS and any port, and the rules that lead binds of
 *     that address and port, and connections to NETWORK, there
 * -h  endpoints that sockets are held through: ep-held-0, ... at N addresses from ADDRESS on, with ports LO to HI, and
 *     the rules that lead binds of these there
 * -r  egress rules in all, of which the grant's is one. The others have prefixes of 12 to 32 bits, from 32.0.0.0 on
 * -a  ACL rules of each of the grant's two endpoints. The last allows everybody, the others each one user who is not
 *     root
 *
 * Rules and ACL replace what a table had; endpoints are added.
 */
#include "nl.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#define BATCH 512
#define ROOMY (1 << 20)
#define SHORTEST 12
#define LENGTHS (32 - SHORTEST + 1)
#define FIRST_USER 1000

struct contents {
	long endpoints;
	long rules;
	long acls;

	/* the grant; the port is 0 where there is none */
	in_addr_t address;
	__u16 port;
	in_addr_t network;
	__u8 length;

	/* what is held */
	in_addr_t held;
	unsigned int held_count;
	__u16 held_low;
	__u16 held_high;
};

static void check(int refused, const char *what)
{
	if (refused)
		errx(1, "the kernel refused %s: %s", what, strerror(refused));
}

static void limit(struct nl *nl, int table)
{
	struct nlattr *nest;

	nl_graft(nl, GRAFT_CMD_TABLE_SET, 0, table);
	nest = nl_nest(nl, GRAFT_A_TABLE);
	nl_u32(nl, GRAFT_TABLE_A_MAX_ENDPOINTS, ROOMY);
	nl_u32(nl, GRAFT_TABLE_A_MAX_SOCKETS, ROOMY);
	nl_u32(nl, GRAFT_TABLE_A_MAX_EPHEMERAL, ROOMY);
	nl_unnest(nl, nest);
	nl_end(nl);
	check(nl_commit(nl), "the table's limits");
}

static in_addr_t held_address(const struct contents *contents, unsigned int i)
{
	return htonl(ntohl(contents->held) + i);
}

static void put_endpoints(struct nl *nl, int table, int target, const struct contents *contents)
{
	char name[32];

	if (contents->port) {
		nl_endpoint(nl, table, target, "ep-server", contents->address, contents->port, contents->port);
		nl_endpoint(nl, table, target, "ep-client", contents->address, 0, 0);
	}
	for (unsigned int i = 0; i < contents->held_count; i++) {
		snprintf(name, sizeof(name), "ep-held-%u", i);
		nl_endpoint(nl, table, target, name, held_address(contents, i), contents->held_low,
			    contents->held_high);
	}
	for (long i = 0; i < contents->endpoints; i++) {
		snprintf(name, sizeof(name), "fill-%ld", i);
		nl_endpoint(nl, table, target, name, htonl(INADDR_LOOPBACK), 0, 0);
		if (nl->unanswered >= BATCH)
			check(nl_commit(nl), "an endpoint");
	}
	if (nl->unanswered)
		check(nl_commit(nl), "an endpoint");
}

/* One of the rules that lead elsewhere: lengths take turns, and no prefix comes twice. */
static void put_other_rule(struct nl *nl, long i)
{
	__u8 length = 32 - i * 5 % LENGTHS;
	__u32 prefix = 0x20000000 + ((__u32)(i / LENGTHS) << (32 - length));

	nl_rule(nl, GRAFT_EGRESS, htonl(prefix), length, 1, 65535, "ep-client");
}

static void put_rules(struct nl *nl, int table, const struct contents *contents)
{
	char name[32];

	nl_graft(nl, GRAFT_CMD_RULES_SET, 0, table);
	for (long i = 0; i < contents->rules - 1; i++)
		put_other_rule(nl, i);
	if (contents->port) {
		nl_rule(nl, GRAFT_INGRESS, contents->address, 32, contents->port, contents->port, "ep-server");
		nl_rule(nl, GRAFT_EGRESS, contents->network, contents->length, 1, 65535, "ep-client");
	}
	for (unsigned int i = 0; i < contents->held_count; i++) {
		snprintf(name, sizeof(name), "ep-held-%u", i);
		nl_rule(nl, GRAFT_INGRESS, held_address(contents, i), 32, contents->held_low, contents->held_high,
			name);
	}
	nl_end(nl);
	check(nl_commit(nl), "the rules");
}

static void put_acl_rule(struct nl *nl, const char *endpoint, long i, bool everybody)
{
	struct nlattr *nest = nl_nest(nl, GRAFT_A_ACL);

	nl_u8(nl, GRAFT_ACL_A_ALLOW, 1);
	nl_string(nl, GRAFT_ACL_A_ENDPOINT, endpoint);
	if (!everybody)
		nl_u32(nl, GRAFT_ACL_A_UID_LO, FIRST_USER + i);
	nl_unnest(nl, nest);
}

static void put_acl(struct nl *nl, int table, const struct contents *contents)
{
	nl_graft(nl, GRAFT_CMD_ACL_SET, 0, table);
	for (long i = 0; i < contents->acls; i++) {
		put_acl_rule(nl, "ep-server", i, i == contents->acls - 1);
		put_acl_rule(nl, "ep-client", i, i == contents->acls - 1);
	}
	nl_end(nl);
	check(nl_commit(nl), "the ACL rules");
}

static void fill(struct nl *nl, const char *path, int target, const struct contents *contents)
{
	int table = open(path, O_RDONLY | O_CLOEXEC);

	if (table < 0)
		err(2, "%s", path);
	limit(nl, table);
	put_endpoints(nl, table, target, contents);
	if (contents->port || contents->held_count || contents->rules)
		put_rules(nl, table, contents);
	if (contents->acls)
		put_acl(nl, table, contents);
	close(table);
}

static long number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (!*text || *end || value < 0)
		errx(2, "%s is not a number of 0 or more", text);
	return value;
}

static in_addr_t address(const char *text)
{
	in_addr_t value;

	if (inet_pton(AF_INET, text, &value) != 1)
		errx(2, "%s is not an IPv4 address", text);
	return value;
}

static void parse_grant(struct contents *contents, const char *text)
{
	char where[16], network[16];

	if (sscanf(text, "%15[^,],%hu,%15[^/]/%hhu", where, &contents->port, network, &contents->length) != 4 ||
	    !contents->port)
		errx(2, "%s is not ADDRESS,PORT,NETWORK/LENGTH", text);
	contents->address = address(where);
	contents->network = address(network);
}

static void parse_held(struct contents *contents, const char *text)
{
	char where[16];

	if (sscanf(text, "%15[^,],%u,%hu-%hu", where, &contents->held_count, &contents->held_low,
		   &contents->held_high) != 4)
		errx(2, "%s is not ADDRESS,N,LO-HI", text);
	contents->held = address(where);
}

int main(int argc, char **argv)
{
	struct contents contents = {};
	struct timespec begun, ended;
	int option, target;
	double seconds;
	struct nl nl;

	while ((option = getopt(argc, argv, "e:g:h:r:a:")) != -1) {
		switch (option) {
		case 'e':
			contents.endpoints = number(optarg);
			break;
		case 'g':
			parse_grant(&contents, optarg);
			break;
		case 'h':
			parse_held(&contents, optarg);
			break;
		case 'r':
			contents.rules = number(optarg);
			break;
		case 'a':
			contents.acls = number(optarg);
			break;
		default:
			return 2;
		}
	}
	if (argc - optind > 1 && strspn(argv[argc - 1], "0123456789") == strlen(argv[argc - 1]))
		contents.endpoints = number(argv[--argc]);
	if (optind == argc)
		errx(2, "a TABLE is needed, the path of a namespace");
	if ((contents.rules || contents.acls) && !contents.port)
		errx(2, "rules and ACL rules need the grant's endpoints: say -g");
	target = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (target < 0)
		err(2, "/proc/self/ns/net");

	clock_gettime(CLOCK_MONOTONIC, &begun);
	nl_open(&nl);
	for (int i = optind; i < argc; i++)
		fill(&nl, argv[i], target, &contents);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	seconds = ended.tv_sec - begun.tv_sec + (ended.tv_nsec - begun.tv_nsec) / 1e9;
	printf("fill: %ld endpoints, %ld rules and %ld ACL rules for each in %.3f s\n", contents.endpoints,
	       contents.rules, contents.acls, seconds);
	nl_close(&nl);
	return 0;
}
