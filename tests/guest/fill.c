// SPDX-License-Identifier: Apache-2.0
/*
 * Fills a table: fill TABLE ENDPOINTS [RULES]
 *
 * TABLE is the path of a namespace (/run/netns/NAME, /proc/PID/ns/net); the target is the namespace that the program
 * runs in. Endpoints are fill-0, fill-1, ... at 127.0.0.1, any port; the table's limit is raised to hold them. Rules
 * are egress rules to as many different /32 of 198.18.0.0/15.
 */
#include "nl.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#define BATCH 512

static void limit(struct nl *nl, int table, __u32 endpoints)
{
	struct nlattr *nest;

	nl_graft(nl, GRAFT_CMD_TABLE_SET, 0, table);
	nest = nl_nest(nl, GRAFT_A_TABLE);
	nl_u32(nl, GRAFT_TABLE_A_MAX_ENDPOINTS, endpoints);
	nl_unnest(nl, nest);
	nl_end(nl);
}

static void check(int refused, const char *what)
{
	if (refused)
		errx(1, "the kernel refused %s: %s", what, strerror(refused));
}

int main(int argc, char **argv)
{
	struct timespec begun, ended;
	int table, target;
	long endpoints, rules;
	char name[32];
	struct nl nl;

	if (argc < 3)
		errx(2, "usage: fill TABLE ENDPOINTS [RULES]");
	endpoints = atol(argv[2]);
	rules = argc > 3 ? atol(argv[3]) : 0;
	table = open(argv[1], O_RDONLY | O_CLOEXEC);
	target = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (table < 0 || target < 0)
		err(2, "%s", table < 0 ? argv[1] : "/proc/self/ns/net");

	clock_gettime(CLOCK_MONOTONIC, &begun);
	nl_open(&nl);
	limit(&nl, table, endpoints > 1 << 17 ? endpoints : 1 << 17);
	check(nl_commit(&nl), "the table's limit");
	for (long i = 0; i < endpoints; i++) {
		snprintf(name, sizeof(name), "fill-%ld", i);
		nl_endpoint(&nl, table, target, name, htonl(INADDR_LOOPBACK), 0, 0);
		if (nl.unanswered == BATCH || i == endpoints - 1)
			check(nl_commit(&nl), "an endpoint");
	}
	if (rules) {
		nl_graft(&nl, GRAFT_CMD_RULES_SET, 0, table);
		for (long i = 0; i < rules; i++)
			nl_rule(&nl, GRAFT_EGRESS, htonl(0xc6120000 + i), 32, 1, 65535, "fill-0");
		nl_end(&nl);
		check(nl_commit(&nl), "the rules");
	}
	clock_gettime(CLOCK_MONOTONIC, &ended);
	printf("fill: %ld endpoints and %ld rules in %.3f s\n", endpoints, rules,
	       ended.tv_sec - begun.tv_sec + (ended.tv_nsec - begun.tv_nsec) / 1e9);
	nl_close(&nl);
	return 0;
}
