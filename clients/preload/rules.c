// SPDX-License-Identifier: Apache-2.0
/*
 * The grammar of rules:
 *
 *	RULE   = ADDR ["/" LEN] [":" PORTS] ["," PROTO] "=" WHERE
 *	ADDR   = "*" | IPv4 | IPv6 | "[" IPv6 "]"	"[...]" where ports follow
 *	PORTS  = PORT ["-" PORT]			0 (ingress only): a bind that asks for any port
 *	PROTO  = "tcp" | "udp"
 *	WHERE  = "native" | "deny" | ENDPOINT | "=" ENDPOINT
 *
 * The last form names an endpoint whatever it is called, "native" and "deny" included.
 */
#include "rules.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

struct span {
	const char *at;
	size_t len;
};

static bool span_is(struct span s, const char *word)
{
	return s.len == strlen(word) && memcmp(s.at, word, s.len) == 0;
}

/* Cuts @s at the first of @mark; false, and nothing changes, where there is none. */
static bool span_cut(struct span *s, char mark, struct span *rest)
{
	const char *found = s->len ? memchr(s->at, mark, s->len) : NULL;

	if (!found)
		return false;
	rest->at = found + 1;
	rest->len = s->len - (size_t)(rest->at - s->at);
	s->len = (size_t)(found - s->at);
	return true;
}

static bool span_number(struct span s, unsigned int max, unsigned int *number)
{
	unsigned int n = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.at[i] < '0' || s.at[i] > '9')
			return false;
		n = n * 10 + (unsigned int)(s.at[i] - '0');
		if (n > max)
			return false;
	}
	*number = n;
	return true;
}

static const char *parse_where(struct graft_rule *rule, struct span where)
{
	if (span_is(where, "native") || span_is(where, "deny")) {
		rule->verdict = where.at[0] == 'n' ? GRAFT_VERDICT_NATIVE : GRAFT_VERDICT_DENY;
		return NULL;
	}
	if (where.len && where.at[0] == '=') {
		where.at++;
		where.len--;
	}
	if (where.len == 0)
		return "the endpoint's name is missing: write it after the '='";
	if (where.len >= GRAFT_NAME_MAX)
		return "the endpoint's name is too long: names have at most 63 bytes";
	for (size_t i = 0; i < where.len; i++)
		if ((unsigned char)where.at[i] < 0x20 || where.at[i] == 0x7f)
			return "the endpoint's name has a control character: leave it out";
	rule->verdict = GRAFT_VERDICT_ENDPOINT;
	memcpy(rule->endpoint, where.at, where.len);
	return NULL;
}

static const char *parse_protocol(struct graft_rule *rule, struct span protocol)
{
	if (span_is(protocol, "tcp"))
		rule->protocols = GRAFT_PROTO_TCP;
	else if (span_is(protocol, "udp"))
		rule->protocols = GRAFT_PROTO_UDP;
	else
		return "after ',' stands tcp or udp; leave it out for both";
	return NULL;
}

static const char *parse_ports(struct graft_rule *rule, struct span ports)
{
	unsigned int lo, hi;
	struct span last = ports;

	span_cut(&ports, '-', &last);
	if (!span_number(ports, 65535, &lo) || !span_number(last, 65535, &hi))
		return "the port is not a number from 0 to 65535: write PORT or LOW-HIGH";
	if (lo > hi)
		return "the range of ports ends before it begins: write the lower port first";
	if (lo == 0 && rule->direction == GRAFT_EGRESS)
		return "no destination has port 0: ports of -e are 1 to 65535";
	rule->port_lo = (__u16)lo;
	rule->port_hi = (__u16)hi;
	return NULL;
}

static bool bits_beyond(const struct graft_rule *rule)
{
	unsigned int bit = rule->prefixlen;

	for (; bit < 8 * sizeof(rule->address); bit++)
		if (rule->address[bit / 8] & (0x80 >> bit % 8))
			return true;
	return false;
}

static const char *parse_prefix(struct graft_rule *rule, struct span addr, struct span len)
{
	char text[INET6_ADDRSTRLEN];
	unsigned int max, bits;

	if (span_is(addr, "*"))
		return len.at ? "'*' stands for every address and takes no '/': write * alone" : NULL;
	if (addr.len >= sizeof(text))
		return "the address is too long: write an IPv4 or IPv6 address, or *";
	memcpy(text, addr.at, addr.len);
	text[addr.len] = '\0';
	if (inet_pton(AF_INET, text, rule->address) == 1)
		rule->family = AF_INET;
	else if (inet_pton(AF_INET6, text, rule->address) == 1)
		rule->family = AF_INET6;
	else
		return "the address is not one: write an IPv4 or IPv6 address, or *";

	max = rule->family == AF_INET ? 32 : 128;
	bits = max;
	if (len.at && !span_number(len, max, &bits))
		return rule->family == AF_INET ? "the prefix length is not a number from 0 to 32"
					       : "the prefix length is not a number from 0 to 128";
	rule->prefixlen = (__u8)bits;
	if (bits_beyond(rule))
		return "the address has bits set beyond its prefix length: write the first "
		       "address of the prefix, as in 10.0.0.0/8";
	return NULL;
}

/* Takes "ADDR[/LEN]" and "PORTS" apart; @ports->at stays NULL where there are none. */
static const char *split_place(struct span place, struct span *addr, struct span *len, struct span *ports)
{
	struct span rest;
	bool bracketed = place.len && place.at[0] == '[';

	if (bracketed) {
		addr->at = place.at + 1;
		addr->len = place.len - 1;
		if (!span_cut(addr, ']', &rest))
			return "the '[' has no ']': write [ADDRESS]:PORT";
		if (rest.len && rest.at[0] != '/' && rest.at[0] != ':')
			return "after ']' stands ':' and the port: write [ADDRESS]:PORT";
		if (rest.len && rest.at[0] == ':') {
			ports->at = rest.at + 1;
			ports->len = rest.len - 1;
		} else if (rest.len) {
			len->at = rest.at + 1;
			len->len = rest.len - 1;
			span_cut(len, ':', ports);
		}
		return NULL;
	}
	*addr = place;
	if (span_cut(addr, '/', len)) {
		if (span_cut(len, ':', ports) && addr->len && memchr(addr->at, ':', addr->len))
			return "an IPv6 address before a port stands in brackets: write "
			       "[ADDRESS]/LEN:PORT";
		return NULL;
	}
	/* One ':' comes before ports; more are an IPv6 address. */
	rest = *addr;
	if (span_cut(&rest, ':', ports)) {
		if (ports->len && memchr(ports->at, ':', ports->len))
			*ports = (struct span){ NULL, 0 };
		else
			*addr = rest;
	}
	return NULL;
}

const char *graft_rule_parse(struct graft_rule *rule, enum graft_direction direction, const char *text, size_t len)
{
	struct span place = { text, len }, where = { NULL, 0 }, protocol = { NULL, 0 };
	struct span addr = { NULL, 0 }, bits = { NULL, 0 }, ports = { NULL, 0 };
	const char *error;

	memset(rule, 0, sizeof(*rule));
	rule->direction = (__u8)direction;
	rule->protocols = GRAFT_PROTO_ALL;
	rule->port_lo = 1;
	rule->port_hi = 65535;

	if (!span_cut(&place, '=', &where))
		return "the '=' and the endpoint's name are missing";
	error = parse_where(rule, where);
	if (!error && span_cut(&place, ',', &protocol))
		error = parse_protocol(rule, protocol);
	if (!error)
		error = split_place(place, &addr, &bits, &ports);
	if (!error)
		error = parse_prefix(rule, addr, bits);
	if (!error && ports.at)
		error = parse_ports(rule, ports);
	else if (!error && direction == GRAFT_INGRESS)
		error = addr.at != place.at || !memchr(addr.at, ':', addr.len)
				? "the port is missing: write ADDR:PORT"
				: "an IPv6 address stands in brackets and a port follows: write "
				  "[ADDRESS]:PORT";
	return error;
}

const char *graft_rules_parse(struct graft_rules *rules, const char *text)
{
	rules->count = 0;
	while (*text) {
		size_t len = strcspn(text, "\n");
		enum graft_direction direction;
		const char *error;

		if (strncmp(text, "-i ", 3) == 0)
			direction = GRAFT_INGRESS;
		else if (strncmp(text, "-e ", 3) == 0)
			direction = GRAFT_EGRESS;
		else
			return "a line begins with neither '-i ' nor '-e '";
		if (rules->count == GRAFT_SO_RULES_MAX)
			return "there are more than 64 rules";
		error = graft_rule_parse(&rules->rule[rules->count], direction, text + 3, len - 3);
		if (error)
			return error;
		rules->count++;
		text += len;
		if (*text == '\n')
			text++;
	}
	return NULL;
}
