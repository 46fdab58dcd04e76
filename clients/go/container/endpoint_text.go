// SPDX-License-Identifier: Apache-2.0

package container

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"graftd/clients/go/graftv1"
)

const endpointForm = "ADDRESS:PORT, as in 10.0.0.2:80/tcp"

// parseEndpoint takes ENDPOINT and leaves the name to the caller.
func parseEndpoint(text string) (*graftv1.Endpoint, error) {
	endpoint := &graftv1.Endpoint{}
	place, options, more := wordOf(text).trim().cut(",")
	if err := parseTarget(endpoint, place); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for more {
		var option word
		option, options, more = options.cut(",")
		key, value, valued := option.trim().cut("=")
		if seen[key.String()] {
			return nil, key.wrong("the option stands here twice: leave one of them out")
		}
		seen[key.String()] = true
		if err := setOption(endpoint, key, value, valued); err != nil {
			return nil, err
		}
	}
	return endpoint, nil
}

func parseTarget(endpoint *graftv1.Endpoint, place word) error {
	if place.starts("unix:") {
		name := place.skip(len("unix:"))
		switch {
		case !name.starts("@"):
			return name.wrong("an abstract unix name begins with '@': write unix:@NAME")
		case len(name.String()) == 1 || len(name.String()) > 1+unixNameMost:
			return name.wrong("an abstract unix name has 1 to 107 bytes after the '@'")
		}
		endpoint.Kind = &graftv1.Endpoint_Unix{Unix: &graftv1.UnixTarget{Path: []byte(name.skip(1).String())}}
		return nil
	}
	inet := &graftv1.InetTarget{}
	place, protocol, found := place.cut("/")
	if found {
		parsed, ok := protocols[protocol.String()]
		if !ok {
			return protocol.wrong("after '/' stands tcp or udp; leave it out for both")
		}
		inet.Protocols = []graftv1.Protocol{parsed}
	}
	addr, port, err := splitEndpoint(place)
	if err != nil {
		return err
	}
	if addr.String() == "*" {
		return addr.wrong("an endpoint stands for an address: write 0.0.0.0 or [::] for every one of the host's own")
	}
	parsed, err := parseAddress(addr)
	if err != nil {
		return err
	}
	inet.Address = parsed.String()
	if inet.Ports, err = parseEndpointPorts(port); err != nil {
		return err
	}
	endpoint.Kind = &graftv1.Endpoint_Inet{Inet: inet}
	return nil
}

func splitEndpoint(place word) (addr, port word, err error) {
	if place.empty() {
		return addr, port, place.wrong("the endpoint's address and port are missing: write " + endpointForm)
	}
	rest := place
	if place.starts("[") {
		if addr, rest, err = bracketed(place); err != nil {
			return addr, port, err
		}
		if !rest.starts(":") {
			return addr, port, rest.wrong("after ']' stands ':' and the port: write [ADDRESS]:PORT")
		}
		return addr, rest.skip(1), nil
	}
	addr, port, found := place.cut(":")
	switch {
	case port.has(":"):
		return addr, port, place.wrong("an IPv6 address stands in brackets and a port follows: write [ADDRESS]:PORT")
	case !found:
		form := endpointForm
		if parsed, err := parseAddress(addr); err == nil {
			form = "ADDRESS:PORT, as in " + parsed.String() + ":80"
		}
		return addr, port, place.wrong("the port is missing: write " + form)
	}
	return addr, port, nil
}

func parseEndpointPorts(port word) (*graftv1.PortRange, error) {
	if port.String() == "any" {
		return &graftv1.PortRange{}, nil
	}
	ports, err := parsePorts(port, "PORT, LOW-HIGH or any")
	if err == nil && ports.Low == 0 {
		return nil, port.wrong("an endpoint has no port 0: write any for one that the kernel chooses")
	}
	return ports, err
}

const optionsKnown = "the options are mark=NUMBER, device=NAME, max-sockets=NUMBER, target=NAMESPACE and privileged"

func setOption(endpoint *graftv1.Endpoint, key, value word, valued bool) (err error) {
	name := key.String()
	inet := endpoint.GetInet()
	switch name {
	case "privileged":
		if valued {
			return value.wrong("privileged takes no value: write it alone, or leave it out")
		}
		endpoint.Privileged = true
		return nil
	case "mark", "device":
		if inet == nil {
			return key.wrong("an endpoint of a unix name has no " + name + ": leave it out")
		}
	case "max-sockets", "target":
	case "":
		return key.wrong("an option is missing here: " + optionsKnown)
	default:
		return key.wrong("there is no such option: " + optionsKnown)
	}
	if value.empty() {
		return key.wrong("the option has no value: write " + name + "=VALUE")
	}
	switch name {
	case "mark":
		inet.Mark, err = parseMark(value)
	case "device":
		inet.Device = value.String()
		if len(inet.Device) > deviceMost || strings.ContainsAny(inet.Device, "/:"+space) || !utf8.ValidString(inet.Device) {
			return value.wrong("a device's name has at most 15 bytes, none of them '/', ':' or white space")
		}
	case "max-sockets":
		most, ok := value.number(math.MaxUint32)
		if !ok || most == 0 {
			return value.wrong("max-sockets is a number from 1 to 4294967295; leave it out for no limit")
		}
		endpoint.MaxSockets = uint32(most)
	case "target":
		var id string
		id, err = parseName(value, "the target namespace's name")
		endpoint.TargetNamespace = "namespaces/" + id
	}
	return err
}

// parseMark takes a number of base 10, or 16 after 0x.
func parseMark(value word) (uint32, error) {
	if mark, ok := value.number(math.MaxUint32); ok {
		return uint32(mark), nil
	}
	digits, isHex := strings.CutPrefix(value.String(), "0x")
	mark, err := strconv.ParseUint(digits, 16, 32)
	if !isHex || err != nil {
		return 0, value.wrong("mark is a number from 0 to 4294967295, or from 0x0 to 0xffffffff")
	}
	return uint32(mark), nil
}
