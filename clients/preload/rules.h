/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of one program: as its user writes them, and as the kernel takes them. */
#ifndef GRAFT_PRELOAD_RULES_H
#define GRAFT_PRELOAD_RULES_H

#include <stddef.h>

#include <linux/graft.h>

/*
 * Where the runner leaves the rules for the library: one rule a line, each "-i " or "-e " followed by
 * what the user wrote.
 */
#define GRAFT_RULES_ENV "GRAFT_RULES"

struct graft_rules {
	unsigned int count;
	struct graft_rule rule[GRAFT_SO_RULES_MAX];
};

/**
 * graft_rule_parse - understand one rule
 * @rule: filled in
 * @direction: GRAFT_INGRESS for what follows -i, GRAFT_EGRESS for what follows -e
 * @text: "ADDR[/LEN]:PORT[-PORT]=ENDPOINT", where an egress rule may leave out the ports
 * @len: bytes of @text
 *
 * Return: NULL, or a sentence that says what is wrong with @text and what would be right.
 */
const char *graft_rule_parse(struct graft_rule *rule, enum graft_direction direction, const char *text, size_t len);

/**
 * graft_rules_parse - understand the content of GRAFT_RULES
 * @rules: filled in; undefined after an error
 * @text: lines as described at GRAFT_RULES_ENV
 *
 * Return: NULL, or a sentence.
 */
const char *graft_rules_parse(struct graft_rules *rules, const char *text);

#endif
