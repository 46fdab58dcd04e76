// SPDX-License-Identifier: Apache-2.0

package container

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"graftd/clients/go/graftv1"
)

// The grammar of endpoints and rules, as annotations, CNI_ARGS and options have them:
//
//	ENDPOINT = PLACE ["/" PROTO] *("," OPTION) | "unix:@" NAME *("," OPTION)
//	PLACE    = IPv4 ":" RANGE | "[" IPv6 "]:" RANGE
//	RANGE    = "any" | PORT ["-" PORT]
//	OPTION   = "mark=" NUMBER | "device=" NAME | "max-sockets=" NUMBER | "target=" NAMESPACE | "privileged"
//
//	RULES    = RULE *("," RULE)			white space serves as ',' does, and around it
//	RULE     = ADDR ["/" LEN] [":" PORTS] ["," PROTO] "=" WHERE
//	ADDR     = "*" | IPv4 | IPv6 | "[" IPv6 "]"	"[...]" where ports follow
//	PORTS    = PORT ["-" PORT]			0 (ingress only): a bind that asks for any port
//	PROTO    = "tcp" | "udp"
//	WHERE    = "native" | "deny" | ENDPOINT | "=" ENDPOINT
//
// A rule is what graft(1) takes. The last form names an endpoint whatever it is called.

const (
	nameMost     = 63
	deviceMost   = 15
	unixNameMost = 107
	portMost     = 65535
	space        = " \t\r\n"
)

// A word is a part of a text that knows where it stands.
type word struct {
	text     string
	from, to int
}

func wordOf(text string) word { return word{text, 0, len(text)} }

func (w word) String() string { return w.text[w.from:w.to] }

func (w word) empty() bool { return w.from == w.to }

func (w word) has(mark string) bool { return strings.Contains(w.String(), mark) }

func (w word) starts(with string) bool { return strings.HasPrefix(w.String(), with) }

func (w word) skip(bytes int) word { return word{w.text, w.from + bytes, w.to} }

// cut splits at the first mark; where there is none, all is before it and what follows stands empty at the end.
func (w word) cut(mark string) (before, after word, found bool) {
	at := strings.Index(w.String(), mark)
	if at < 0 {
		return w, word{w.text, w.to, w.to}, false
	}
	return word{w.text, w.from, w.from + at}, word{w.text, w.from + at + len(mark), w.to}, true
}

func (w word) trim() word {
	w.from = w.to - len(strings.TrimLeft(w.String(), space))
	w.to = w.from + len(strings.TrimRight(w.String(), space))
	return w
}

// wrong is the error that says what is wrong with the word, and where it stands.
func (w word) wrong(problem string) error {
	where := quote(w.String())
	if whole := quote(w.text); whole != where {
		where = strings.TrimLeft(fmt.Sprintf("%s at character %d of %s", where, w.column(), whole), " ")
	}
	if where == "" {
		return errors.New(problem)
	}
	return fmt.Errorf("%s: %s", where, problem)
}

func (w word) column() int { return utf8.RuneCountInString(w.text[:w.from]) + 1 }

// quote makes a text fit into a line, with nothing in it that a terminal obeys.
func quote(text string) string {
	const shown = 80
	switch {
	case text == "":
		return ""
	case len(text) > shown:
		return fmt.Sprintf("%q...", strings.ToValidUTF8(text[:shown], ""))
	}
	return strconv.Quote(text)
}

func (w word) number(most uint64) (uint64, bool) {
	for _, c := range []byte(w.String()) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(w.String(), 10, 64)
	return n, err == nil && n <= most
}

const nameForm = "1 to 63 characters of A-Z a-z 0-9 . _ and -, the first of them a letter or a digit"

// ValidName tells whether a namespace or an endpoint may have the name: 1 to 63 characters of A-Z a-z 0-9 . _ and -,
// the first of them a letter or a digit.
func ValidName(name string) bool {
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return name != "" && len(name) <= nameMost
}

func parseName(w word, what string) (string, error) {
	switch {
	case w.empty():
		return "", w.wrong(what + " is missing: write it after the '='")
	case !ValidName(w.String()):
		return "", w.wrong(what + " has " + nameForm)
	}
	return w.String(), nil
}

func parseAddress(w word) (netip.Addr, error) {
	addr, err := netip.ParseAddr(w.String())
	switch {
	case err != nil:
		return addr, w.wrong("this is no address: write an IPv4 or IPv6 address")
	case addr.Zone() != "":
		return addr, w.wrong("an address has no zone here: leave out the '%' and what follows")
	}
	return addr, nil
}

// parsePorts takes PORT or LOW-HIGH.
func parsePorts(w word, instead string) (*graftv1.PortRange, error) {
	first, last, isRange := w.cut("-")
	if !isRange {
		last = first
	}
	low, ok := first.number(portMost)
	high, also := last.number(portMost)
	switch {
	case w.empty():
		return nil, w.wrong("the port is missing: write " + instead)
	case !ok || !also:
		return nil, w.wrong("the port is not a number from 0 to 65535: write " + instead)
	case low > high:
		return nil, w.wrong("the range of ports ends before it begins: write the lower port first")
	}
	return &graftv1.PortRange{Low: uint32(low), High: uint32(high)}, nil
}

// bracketed takes "[ADDRESS]" and what follows it apart.
func bracketed(w word) (addr, rest word, err error) {
	addr, rest, closed := w.skip(1).cut("]")
	switch {
	case !closed:
		return addr, rest, w.wrong("the '[' has no ']': write [ADDRESS]:PORT")
	case addr.has("]") || !addr.has(":"):
		return addr, rest, addr.wrong("in brackets stands an IPv6 address: write [ADDRESS]:PORT")
	}
	return addr, rest, nil
}

// AddEndpoint adds an endpoint, written as ADDRESS:PORT[/PROTOCOL][,OPTION[=VALUE]]... or unix:@NAME[,OPTION[=VALUE]]...
func (t *Table) AddEndpoint(name, text string) error {
	if !ValidName(name) {
		return fmt.Errorf("%q is no endpoint's name: one has %s", name, nameForm)
	}
	endpoint, err := parseEndpoint(text)
	if err != nil {
		return err
	}
	endpoint.Name = name
	return t.AddEndpointMessage(endpoint)
}

// AddRules adds rules of one direction, separated by commas or white space, each as graft(1) takes it.
func (t *Table) AddRules(direction graftv1.RuleDirection, text string) error {
	rules, words, err := parseRules(direction, text)
	if err != nil {
		return err
	}
	for i, rule := range rules {
		if t.hasSelector(rule) {
			return words[i].wrong("a rule before it is for the same addresses, protocols and ports: leave one of them out")
		}
		if err := t.AddRuleMessage(rule); err != nil {
			return words[i].wrong(err.Error())
		}
	}
	return nil
}

func (t *Table) hasSelector(rule *graftv1.Rule) bool {
	return slices.ContainsFunc(t.rules, func(other *graftv1.Rule) bool {
		return other.Direction == rule.Direction && other.Network == rule.Network &&
			slices.Equal(other.Protocols, rule.Protocols) && proto.Equal(other.Ports, rule.Ports)
	})
}

// Complete tells whether every rule leads to an endpoint of the table: sockets that go to another are refused.
func (t *Table) Complete() error {
	if rule := t.dangling(); rule != nil {
		return fmt.Errorf("a rule leads to the endpoint '%s', which there is not: add that endpoint, or name one that there is",
			rule.Endpoint)
	}
	return nil
}

// dangling returns a rule whose endpoint the table does not have; nil where there is none.
func (t *Table) dangling() *graftv1.Rule {
	for _, rule := range t.rules {
		named := func(endpoint *graftv1.Endpoint) bool { return endpoint.Name == rule.Endpoint }
		if rule.Endpoint != "" && !slices.ContainsFunc(t.endpoints, named) {
			return rule
		}
	}
	return nil
}
