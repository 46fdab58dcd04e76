// SPDX-License-Identifier: Apache-2.0

package container

import (
	"net/netip"
	"strings"

	"graftd/clients/go/graftv1"
)

// parseRules takes RULES; a text of white space alone has none.
func parseRules(direction graftv1.RuleDirection, text string) (rules []*graftv1.Rule, words []word, err error) {
	rest := wordOf(text).trim()
	for more := !rest.empty(); more; {
		var one word
		one, rest, more = nextRule(rest)
		rule, err := parseRule(direction, one)
		if err != nil {
			return nil, nil, err
		}
		rules, words = append(rules, rule), append(words, one)
	}
	return rules, words, nil
}

// nextRule cuts at the ',' or white space that ends the rule: the first after its '=', for a ',' before it comes with the
// protocol.
func nextRule(w word) (rule, rest word, more bool) {
	_, where, _ := w.cut("=")
	end := where.to
	if at := strings.IndexAny(where.String(), ","+space); at >= 0 {
		end = where.from + at
	}
	rest = word{w.text, end, w.to}.trim()
	if rest.starts(",") {
		return word{w.text, w.from, end}, rest.skip(1).trim(), true
	}
	return word{w.text, w.from, end}, rest, !rest.empty()
}

func parseRule(direction graftv1.RuleDirection, w word) (*graftv1.Rule, error) {
	rule := &graftv1.Rule{Direction: direction}
	place, where, found := w.cut("=")
	switch {
	case place.empty() && !found, w.starts(","):
		return nil, word{w.text, w.from, w.from}.wrong("a rule is missing here: one ',' stands between two rules, and none at the end")
	case !found:
		return nil, w.wrong("the '=' and the endpoint's name are missing: write ADDRESS:PORT=ENDPOINT")
	}
	if err := parseWhere(rule, where); err != nil {
		return nil, err
	}
	place, protocol, found := place.cut(",")
	if found {
		parsed, ok := protocols[protocol.String()]
		if !ok {
			return nil, protocol.wrong("after ',' stands tcp or udp and then '='; leave it out for both")
		}
		rule.Protocols = []graftv1.Protocol{parsed}
	}
	return rule, parsePlace(rule, place)
}

var protocols = map[string]graftv1.Protocol{
	"tcp": graftv1.Protocol_PROTOCOL_TCP,
	"udp": graftv1.Protocol_PROTOCOL_UDP,
}

func parseWhere(rule *graftv1.Rule, where word) (err error) {
	switch {
	case where.String() == "native":
		rule.Verdict = graftv1.RuleVerdict_RULE_VERDICT_NATIVE
		return nil
	case where.String() == "deny":
		rule.Verdict = graftv1.RuleVerdict_RULE_VERDICT_DENY
		return nil
	case where.starts("="):
		where = where.skip(1)
	}
	rule.Verdict = graftv1.RuleVerdict_RULE_VERDICT_ENDPOINT
	rule.Endpoint, err = parseName(where, "the endpoint's name")
	return err
}

// parsePlace takes ADDR ["/" LEN] [":" PORTS].
func parsePlace(rule *graftv1.Rule, place word) error {
	addr, bits, ports, err := splitPlace(place)
	if err != nil {
		return err
	}
	if rule.Network, err = parseNetwork(addr, bits); err != nil {
		return err
	}
	ingress := rule.Direction == graftv1.RuleDirection_RULE_DIRECTION_INGRESS
	switch {
	case ports != nil:
		rule.Ports, err = parsePorts(*ports, "PORT or LOW-HIGH")
	case ingress && !place.starts("[") && addr.has(":"):
		return place.wrong("an IPv6 address stands in brackets and a port follows: write [ADDRESS]:PORT")
	case ingress:
		return place.wrong("the port is missing: write ADDRESS:PORT")
	}
	if err == nil && !ingress && rule.Ports != nil && rule.Ports.Low == 0 {
		return ports.wrong("no destination has port 0: ports of egress rules are 1 to 65535")
	}
	return err
}

// splitPlace takes a place apart; bits and ports are nil where there are none.
func splitPlace(place word) (addr word, bits, ports *word, err error) {
	if place.starts("[") {
		addr, rest, err := bracketed(place)
		switch {
		case err != nil:
			return addr, nil, nil, err
		case rest.starts("/"):
			length, after, found := rest.skip(1).cut(":")
			return addr, &length, wordIf(after, found), nil
		case rest.starts(":"):
			return addr, nil, wordIf(rest.skip(1), true), nil
		case !rest.empty():
			return addr, nil, nil, rest.wrong("after ']' stands ':' and the port: write [ADDRESS]:PORT")
		}
		return addr, nil, nil, nil
	}
	addr, length, found := place.cut("/")
	if found {
		length, after, found := length.cut(":")
		if found && addr.has(":") {
			return addr, nil, nil, place.wrong("an IPv6 address before a port stands in brackets: write [ADDRESS]/LEN:PORT")
		}
		return addr, &length, wordIf(after, found), nil
	}
	// One ':' comes before ports; more are an IPv6 address.
	before, after, found := place.cut(":")
	if !found || after.has(":") {
		return addr, nil, nil, nil
	}
	return before, nil, &after, nil
}

func wordIf(w word, found bool) *word {
	if !found {
		return nil
	}
	return &w
}

// parseNetwork returns a prefix as Rule.network has it: empty for every address.
func parseNetwork(w word, length *word) (string, error) {
	if w.String() == "*" {
		if length != nil {
			return "", length.wrong("'*' stands for every address and takes no '/': write * alone")
		}
		return "", nil
	}
	addr, err := netip.ParseAddr(w.String())
	if err != nil || addr.Zone() != "" {
		return "", w.wrong("the address is not one: write an IPv4 or IPv6 address, or *")
	}
	bits := uint64(addr.BitLen())
	if length != nil {
		var ok bool
		if bits, ok = length.number(bits); !ok {
			if addr.Is4() {
				return "", length.wrong("the prefix length is not a number from 0 to 32")
			}
			return "", length.wrong("the prefix length is not a number from 0 to 128")
		}
	}
	prefix := netip.PrefixFrom(addr, int(bits))
	if prefix.Masked() != prefix {
		return "", w.wrong("the address has bits set beyond its prefix length: write the first address of the prefix, " +
			prefix.Masked().String())
	}
	return prefix.String(), nil
}
