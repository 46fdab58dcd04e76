// SPDX-License-Identifier: Apache-2.0

package container

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"graftd/clients/go/graftv1"
)

const (
	ingress = graftv1.RuleDirection_RULE_DIRECTION_INGRESS
	egress  = graftv1.RuleDirection_RULE_DIRECTION_EGRESS
	native  = graftv1.RuleVerdict_RULE_VERDICT_NATIVE
	deny    = graftv1.RuleVerdict_RULE_VERDICT_DENY
	tcp     = graftv1.Protocol_PROTOCOL_TCP
	udp     = graftv1.Protocol_PROTOCOL_UDP
)

func ports(low, high uint32) *graftv1.PortRange { return &graftv1.PortRange{Low: low, High: high} }

func to(endpoint, network string, ports *graftv1.PortRange, protocols ...graftv1.Protocol) *graftv1.Rule {
	return &graftv1.Rule{
		Verdict:   graftv1.RuleVerdict_RULE_VERDICT_ENDPOINT,
		Endpoint:  endpoint,
		Network:   network,
		Ports:     ports,
		Protocols: protocols,
	}
}

func ends(verdict graftv1.RuleVerdict, network string, ports *graftv1.PortRange, protocols ...graftv1.Protocol) *graftv1.Rule {
	return &graftv1.Rule{Verdict: verdict, Network: network, Ports: ports, Protocols: protocols}
}

func rulesOf(t *testing.T, direction graftv1.RuleDirection, text string) []*graftv1.Rule {
	t.Helper()
	var table Table
	if err := table.AddRules(direction, text); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return table.rules
}

// What the tests of the runner graft have (tests/unit/test_preload_runner.py), but for names that no endpoint of graftd
// can have.
func TestARuleIsWhatTheRunnerTakes(t *testing.T) {
	long := strings.Repeat("n", 63)
	for _, test := range []struct {
		direction graftv1.RuleDirection
		text      string
		want      *graftv1.Rule
	}{
		{ingress, "10.0.0.2:80=ep-http", to("ep-http", "10.0.0.2/32", ports(80, 80))},
		{ingress, "10.0.0.2:8000-8099=ep", to("ep", "10.0.0.2/32", ports(8000, 8099))},
		{ingress, "0.0.0.0:80=ep", to("ep", "0.0.0.0/32", ports(80, 80))},
		{ingress, "*:80=ep", to("ep", "", ports(80, 80))},
		{ingress, "*:0=ep", to("ep", "", ports(0, 0))},
		{ingress, "*:0-65535=ep", to("ep", "", ports(0, 65535))},
		{ingress, "10.0.0.0/24:80=ep", to("ep", "10.0.0.0/24", ports(80, 80))},
		{ingress, "[::]:80=ep", to("ep", "::/128", ports(80, 80))},
		{ingress, "[fd00::1]:80-81=ep", to("ep", "fd00::1/128", ports(80, 81))},
		{ingress, "[fd00::]/64:80=ep", to("ep", "fd00::/64", ports(80, 80))},
		{ingress, "*:53,udp=ep", to("ep", "", ports(53, 53), udp)},
		{ingress, "*:80=native", ends(native, "", ports(80, 80))},
		{ingress, "*:80=deny", ends(deny, "", ports(80, 80))},
		{ingress, "*:80==native", to("native", "", ports(80, 80))},
		{ingress, "*:80==deny", to("deny", "", ports(80, 80))},
		{ingress, "*:80=" + long, to(long, "", ports(80, 80))},
		{egress, "0.0.0.0/0=ep-out", to("ep-out", "0.0.0.0/0", nil)},
		{egress, "10.10.0.0/24=ep-out", to("ep-out", "10.10.0.0/24", nil)},
		{egress, "10.10.0.1=ep-out", to("ep-out", "10.10.0.1/32", nil)},
		{egress, "10.10.0.0/24:443=ep-out", to("ep-out", "10.10.0.0/24", ports(443, 443))},
		{egress, "10.10.0.1:53=ep-out", to("ep-out", "10.10.0.1/32", ports(53, 53))},
		{egress, "10.10.0.0/24:1-1023,tcp=deny", ends(deny, "10.10.0.0/24", ports(1, 1023), tcp)},
		{egress, "*=ep-out", to("ep-out", "", nil)},
		{egress, "*:443=ep-out", to("ep-out", "", ports(443, 443))},
		{egress, "::/0=ep-out", to("ep-out", "::/0", nil)},
		{egress, "fd00::/8=native", ends(native, "fd00::/8", nil)},
		{egress, "fd00::1=ep", to("ep", "fd00::1/128", nil)},
		{egress, "[fd00::1]=ep", to("ep", "fd00::1/128", nil)},
		{egress, "[fd00::]/8=ep", to("ep", "fd00::/8", nil)},
		{egress, "[fd00::]/8:53,udp=ep", to("ep", "fd00::/8", ports(53, 53), udp)},
		{egress, "::ffff:10.0.0.1=ep", to("ep", "::ffff:10.0.0.1/128", nil)},
	} {
		test.want.Direction = test.direction
		got := rulesOf(t, test.direction, test.text)
		if len(got) != 1 || !proto.Equal(got[0], test.want) {
			t.Errorf("%q is %v, not %v", test.text, got, test.want)
		}
	}
}

func TestRulesAreSeparatedByCommasOrWhiteSpace(t *testing.T) {
	want := []string{"a:80:", "b:53:PROTOCOL_UDP", "c:81:PROTOCOL_TCP"}
	for _, text := range []string{
		"*:80=a,*:53,udp=b,*:81,tcp=c",
		" *:80=a , *:53,udp=b ,\n\t*:81,tcp=c \n",
		"*:80=a *:53,udp=b\n*:81,tcp=c",
	} {
		var got []string
		for _, rule := range rulesOf(t, ingress, text) {
			one := rule.Endpoint + ":" + prototextNumber(rule.Ports) + ":"
			for _, protocol := range rule.Protocols {
				one += protocol.String()
			}
			got = append(got, one)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%q is %q, not %q", text, got, want)
		}
	}
	for _, text := range []string{"", " ", "\n"} {
		if got := rulesOf(t, egress, text); got != nil {
			t.Errorf("%q is %v, not nothing", text, got)
		}
	}
}

func prototextNumber(ports *graftv1.PortRange) string {
	return strings.Fields(strings.ReplaceAll(prototext.MarshalOptions{}.Format(ports), ":", " "))[1]
}

// located adds to an expected error the text that the word stands in.
func located(want, text string) string {
	switch {
	case text == "":
		return strings.TrimPrefix(want, "at character 1: ")
	case strings.HasPrefix(want, strconv.Quote(text)+" at character 1: "):
		return strings.Replace(want, " at character 1: ", ": ", 1)
	}
	whole := strconv.Quote(text)
	if len(text) > 80 {
		whole = strconv.Quote(text[:80]) + "..."
	}
	return regexp.MustCompile(`(at character \d+): `).ReplaceAllStringFunc(want, func(found string) string {
		return strings.TrimSuffix(found, ": ") + " of " + whole + ": "
	})
}

const (
	noAddress = "the address is not one: write an IPv4 or IPv6 address, or *"
	noPort    = "the port is missing: write ADDRESS:PORT"
	badPort   = "the port is not a number from 0 to 65535: write PORT or LOW-HIGH"
	noBracket = "an IPv6 address stands in brackets and a port follows: write [ADDRESS]:PORT"
	noName    = "the endpoint's name is missing: write it after the '='"
)

func TestABadRuleIsAnsweredWithTheWordAndASentence(t *testing.T) {
	for _, test := range []struct {
		direction graftv1.RuleDirection
		text      string
		want      string
	}{
		{ingress, "10.0.0.2:80", `"10.0.0.2:80" at character 1: the '=' and the endpoint's name are missing: write ADDRESS:PORT=ENDPOINT`},
		{ingress, "10.0.0.2:80=", "at character 13: " + noName},
		{ingress, "10.0.0.2:80==", "at character 14: " + noName},
		{ingress, "*:80= ep", "at character 6: " + noName},
		{ingress, "*:80===x", `"=x" at character 7: the endpoint's name has ` + nameForm},
		{ingress, "*:80=übung", `"übung" at character 6: the endpoint's name has ` + nameForm},
		{ingress, "*:80=\x1b[m", `"\x1b[m" at character 6: the endpoint's name has ` + nameForm},
		{ingress, "*:80=" + strings.Repeat("n", 64), `"` + strings.Repeat("n", 64) + `" at character 6: the endpoint's name has ` + nameForm},
		{ingress, "*:80=" + strings.Repeat("n", 99), `"` + strings.Repeat("n", 80) + `"... at character 6: the endpoint's name has ` + nameForm},
		{ingress, "10.0.0.2=ep", `"10.0.0.2" at character 1: ` + noPort},
		{ingress, "*=ep", `"*" at character 1: ` + noPort},
		{ingress, "[::1]=ep", `"[::1]" at character 1: ` + noPort},
		{ingress, "::1=ep", `"::1" at character 1: ` + noBracket},
		{ingress, "::1:80=ep", `"::1:80" at character 1: ` + noBracket},
		{ingress, "[::1:80=ep", `"[::1:80" at character 1: the '[' has no ']': write [ADDRESS]:PORT`},
		{ingress, "[10.0.0.1]:80=ep", `"10.0.0.1" at character 2: in brackets stands an IPv6 address: write [ADDRESS]:PORT`},
		{ingress, "[::1]80=ep", `"80" at character 6: after ']' stands ':' and the port: write [ADDRESS]:PORT`},
		{egress, "fd00::/8:80=ep", `"fd00::/8:80" at character 1: an IPv6 address before a port stands in brackets: write [ADDRESS]/LEN:PORT`},
		{ingress, "=ep", "at character 1: " + noAddress},
		{ingress, ":80=ep", "at character 1: " + noAddress},
		{ingress, "localhost:80=ep", `"localhost" at character 1: ` + noAddress},
		{ingress, "10.0.0:80=ep", `"10.0.0" at character 1: ` + noAddress},
		{ingress, "10.0.0.256:80=ep", `"10.0.0.256" at character 1: ` + noAddress},
		{egress, "fe80::1%eth0=ep", `"fe80::1%eth0" at character 1: ` + noAddress},
		{ingress, "*:=ep", "at character 3: the port is missing: write PORT or LOW-HIGH"},
		{ingress, "*:http=ep", `"http" at character 3: ` + badPort},
		{ingress, "*:65536=ep", `"65536" at character 3: ` + badPort},
		{ingress, "*:99999999999999999999=ep", `"99999999999999999999" at character 3: ` + badPort},
		{ingress, "*:-1=ep", `"-1" at character 3: ` + badPort},
		{ingress, "*:80-=ep", `"80-" at character 3: ` + badPort},
		{ingress, "*:+80=ep", `"+80" at character 3: ` + badPort},
		{ingress, "*:90-80=ep", `"90-80" at character 3: the range of ports ends before it begins: write the lower port first`},
		{egress, "*:0=ep", `"0" at character 3: no destination has port 0: ports of egress rules are 1 to 65535`},
		{egress, "10.0.0.0/33=ep", `"33" at character 10: the prefix length is not a number from 0 to 32`},
		{egress, "10.0.0.0/=ep", `at character 10: the prefix length is not a number from 0 to 32`},
		{egress, "fd00::/129=ep", `"129" at character 8: the prefix length is not a number from 0 to 128`},
		{egress, "*/0=ep", `"0" at character 3: '*' stands for every address and takes no '/': write * alone`},
		{egress, "10.0.0.1/8=ep", `"10.0.0.1" at character 1: the address has bits set beyond its prefix length: write the first address of the prefix, 10.0.0.0/8`},
		{egress, "fd00::1/64=ep", `"fd00::1" at character 1: the address has bits set beyond its prefix length: write the first address of the prefix, fd00::/64`},
		{ingress, "*:80,sctp=ep", `"sctp" at character 6: after ',' stands tcp or udp and then '='; leave it out for both`},
		{ingress, "*:80,*:81=ep", `"*:81" at character 6: after ',' stands tcp or udp and then '='; leave it out for both`},
		{ingress, "*:80=ep,", "at character 9: a rule is missing here: one ',' stands between two rules, and none at the end"},
		{ingress, "*:80=ep,,*:81=ep", "at character 9: a rule is missing here: one ',' stands between two rules, and none at the end"},
		{ingress, "*:80=ep,*:http=ep", `"http" at character 11: ` + badPort},
		{ingress, "*:80=ü, *:81=ep", `"ü" at character 6: the endpoint's name has ` + nameForm},
		{ingress, "*:80=a,*:80=b", `"*:80=b" at character 8: a rule before it is for the same addresses, protocols and ports: leave one of them out`},
	} {
		var table Table
		err := table.AddRules(test.direction, test.text)
		if want := located(test.want, test.text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, not: %s", test.text, err, want)
		}
		if !table.Empty() && !strings.Contains(test.want, "leave one of them out") {
			t.Errorf("%q left something in the table", test.text)
		}
	}
}

func TestRulesThatDifferInOneThingAreTwo(t *testing.T) {
	var table Table
	for _, add := range []struct {
		direction graftv1.RuleDirection
		text      string
	}{
		{ingress, "*:80=a,0.0.0.0:80=a,*:80,tcp=a,*:80-81=a"},
		{egress, "*:80=a,*=a"},
	} {
		if err := table.AddRules(add.direction, add.text); err != nil {
			t.Errorf("%q: %v", add.text, err)
		}
	}
	if len(table.rules) != 6 {
		t.Errorf("there are %d rules, not 6", len(table.rules))
	}
}

func inet(address string, ports *graftv1.PortRange, protocols ...graftv1.Protocol) *graftv1.Endpoint {
	target := &graftv1.InetTarget{Address: address, Ports: ports, Protocols: protocols}
	return &graftv1.Endpoint{Name: "ep", Kind: &graftv1.Endpoint_Inet{Inet: target}}
}

func abstract(name string) *graftv1.Endpoint {
	return &graftv1.Endpoint{Name: "ep", Kind: &graftv1.Endpoint_Unix{Unix: &graftv1.UnixTarget{Path: []byte(name)}}}
}

func with(endpoint *graftv1.Endpoint, change func(*graftv1.Endpoint)) *graftv1.Endpoint {
	change(endpoint)
	return endpoint
}

func TestAnEndpointAsWritten(t *testing.T) {
	for text, want := range map[string]*graftv1.Endpoint{
		"10.0.0.2:80":                       inet("10.0.0.2", ports(80, 80)),
		" 10.0.0.2:80\n":                    inet("10.0.0.2", ports(80, 80)),
		"10.0.0.2:80/tcp":                   inet("10.0.0.2", ports(80, 80), tcp),
		"0.0.0.0:53/udp":                    inet("0.0.0.0", ports(53, 53), udp),
		"10.0.0.2:any":                      inet("10.0.0.2", ports(0, 0)),
		"10.0.0.2:8000-8100/tcp":            inet("10.0.0.2", ports(8000, 8100), tcp),
		"[2001:DB8::0:2]:443":               inet("2001:db8::2", ports(443, 443)),
		"[::]:any/udp":                      inet("::", ports(0, 0), udp),
		"unix:@run/app.sock":                abstract("run/app.sock"),
		"unix:@" + strings.Repeat("x", 107): abstract(strings.Repeat("x", 107)),
		"10.0.0.2:80,mark=7":                with(inet("10.0.0.2", ports(80, 80)), func(e *graftv1.Endpoint) { e.GetInet().Mark = 7 }),
		"10.0.0.2:80,mark=0xfFffFFff":       with(inet("10.0.0.2", ports(80, 80)), func(e *graftv1.Endpoint) { e.GetInet().Mark = 1<<32 - 1 }),
		"10.0.0.2:80/tcp, device=eth0.7 , max-sockets=100,target=edge,privileged": with(
			inet("10.0.0.2", ports(80, 80), tcp), func(e *graftv1.Endpoint) {
				e.GetInet().Device, e.MaxSockets, e.TargetNamespace, e.Privileged = "eth0.7", 100, "namespaces/edge", true
			}),
		"unix:@a,max-sockets=1,target=edge": with(abstract("a"), func(e *graftv1.Endpoint) {
			e.MaxSockets, e.TargetNamespace = 1, "namespaces/edge"
		}),
	} {
		var table Table
		if err := table.AddEndpoint("ep", text); err != nil {
			t.Errorf("%q: %v", text, err)
		} else if !proto.Equal(table.endpoints[0], want) {
			t.Errorf("%q is %v, not %v", text, table.endpoints[0], want)
		}
	}
}

func TestABadEndpointIsAnsweredWithTheWordAndASentence(t *testing.T) {
	const badPort = "the port is not a number from 0 to 65535: write PORT, LOW-HIGH or any"
	for text, want := range map[string]string{
		"":                                    "at character 1: the endpoint's address and port are missing: write ADDRESS:PORT, as in 10.0.0.2:80/tcp",
		"10.0.0.2":                            `"10.0.0.2" at character 1: the port is missing: write ADDRESS:PORT, as in 10.0.0.2:80`,
		"host":                                `"host" at character 1: the port is missing: write ADDRESS:PORT, as in 10.0.0.2:80/tcp`,
		"10.0.0.2:":                           "at character 10: the port is missing: write PORT, LOW-HIGH or any",
		"10.0.0.2:0":                          `"0" at character 10: an endpoint has no port 0: write any for one that the kernel chooses`,
		"10.0.0.2:0-80":                       `"0-80" at character 10: an endpoint has no port 0: write any for one that the kernel chooses`,
		"10.0.0.2:http":                       `"http" at character 10: ` + badPort,
		"10.0.0.2:65536":                      `"65536" at character 10: ` + badPort,
		"10.0.0.2:81-80":                      `"81-80" at character 10: the range of ports ends before it begins: write the lower port first`,
		"10.0.0.2:80/sctp":                    `"sctp" at character 13: after '/' stands tcp or udp; leave it out for both`,
		"10.0.0.2:80/":                        "at character 13: after '/' stands tcp or udp; leave it out for both",
		"*:80":                                `"*" at character 1: an endpoint stands for an address: write 0.0.0.0 or [::] for every one of the host's own`,
		":80":                                 "at character 1: this is no address: write an IPv4 or IPv6 address",
		"host:80":                             `"host" at character 1: this is no address: write an IPv4 or IPv6 address`,
		"10.0.0.0/8:80":                       `"8:80" at character 10: after '/' stands tcp or udp; leave it out for both`,
		"fd00::1:80":                          `"fd00::1:80" at character 1: an IPv6 address stands in brackets and a port follows: write [ADDRESS]:PORT`,
		"[fd00::1]":                           "at character 10: after ']' stands ':' and the port: write [ADDRESS]:PORT",
		"[fe80::1%eth0]:80":                   `"fe80::1%eth0" at character 2: an address has no zone here: leave out the '%' and what follows`,
		"unix:name":                           `"name" at character 6: an abstract unix name begins with '@': write unix:@NAME`,
		"unix:@":                              `"@" at character 6: an abstract unix name has 1 to 107 bytes after the '@'`,
		"unix:@" + strings.Repeat("x", 108):   `"@` + strings.Repeat("x", 79) + `"... at character 6: an abstract unix name has 1 to 107 bytes after the '@'`,
		"unix:@a,mark=1":                      `"mark" at character 9: an endpoint of a unix name has no mark: leave it out`,
		"10.0.0.2:80,":                        "at character 13: an option is missing here: " + optionsKnown,
		"10.0.0.2:80,ttl=1":                   `"ttl" at character 13: there is no such option: ` + optionsKnown,
		"10.0.0.2:80,mark":                    `"mark" at character 13: the option has no value: write mark=VALUE`,
		"10.0.0.2:80,mark=x":                  `"x" at character 18: mark is a number from 0 to 4294967295, or from 0x0 to 0xffffffff`,
		"10.0.0.2:80,mark=4294967296":         `"4294967296" at character 18: mark is a number from 0 to 4294967295, or from 0x0 to 0xffffffff`,
		"10.0.0.2:80,mark=1,mark=2":           `"mark" at character 20: the option stands here twice: leave one of them out`,
		"10.0.0.2:80,device=a/b":              `"a/b" at character 20: a device's name has at most 15 bytes, none of them '/', ':' or white space`,
		"10.0.0.2:80,device=0123456789abcdef": `"0123456789abcdef" at character 20: a device's name has at most 15 bytes, none of them '/', ':' or white space`,
		"10.0.0.2:80,max-sockets=0":           `"0" at character 25: max-sockets is a number from 1 to 4294967295; leave it out for no limit`,
		"10.0.0.2:80,target=-x":               `"-x" at character 20: the target namespace's name has ` + nameForm,
		"10.0.0.2:80,privileged=true":         `"true" at character 24: privileged takes no value: write it alone, or leave it out`,
	} {
		var table Table
		err := table.AddEndpoint("ep", text)
		if want = located(want, text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, not: %s", text, err, want)
		}
	}
	var table Table
	want := `"-" is no endpoint's name: one has ` + nameForm
	if err := table.AddEndpoint("-", "10.0.0.2:80"); err == nil || err.Error() != want {
		t.Errorf("%v, not: %s", err, want)
	}
}

// FuzzRules checks that whatever is taken can be told again, in just that place of another text.
func FuzzRules(f *testing.F) {
	for _, text := range []string{"*:80=ep", "[fd00::]/8:53,udp=a,10.0.0.0/24=deny", "*:80,=", "a\n=,[", "\xff=", "*:0-65535==native x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, direction := range []graftv1.RuleDirection{ingress, egress} {
			rules, words, err := parseRules(direction, text)
			if err != nil {
				if strings.ContainsAny(err.Error(), "\x00\n\x1b") {
					t.Errorf("%q has control characters in its error %q", text, err)
				}
				continue
			}
			for i, w := range words {
				again, _, err := parseRules(direction, w.String())
				if err != nil || len(again) != 1 || !proto.Equal(again[0], rules[i]) {
					t.Errorf("%q in %q is %v alone (%v), not %v", w, text, again, err, rules[i])
				}
			}
		}
	})
}

func FuzzEndpoint(f *testing.F) {
	for _, text := range []string{"10.0.0.2:80/tcp,mark=0x1", "[::]:any", "unix:@a,privileged", "[,", ":/,=", "\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		endpoint, err := parseEndpoint(text)
		switch {
		case err == nil && endpoint.Kind == nil:
			t.Errorf("%q is an endpoint that stands for nothing", text)
		case err != nil && strings.ContainsAny(err.Error(), "\x00\n\x1b"):
			t.Errorf("%q has control characters in its error %q", text, err)
		}
	})
}
