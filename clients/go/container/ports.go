// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"graftd/clients/go/client"
	"graftd/clients/go/graftv1"
)

// LabelMapped is the label of endpoints that were made of port mappings.
const LabelMapped = "graft.port-mapping"

// PortMapping is a port of the host that leads to one of the container, as CNI's capability portMappings has it.
type PortMapping struct {
	// HostIP is the host's address. Empty: all of both families.
	HostIP string `json:"hostIP"`

	HostPort      int `json:"hostPort"`
	ContainerPort int `json:"containerPort"`

	// Protocol is tcp or udp. Empty: tcp.
	Protocol string `json:"protocol"`
}

// hostPort is an address of the host that a mapping takes.
type hostPort struct {
	protocol graftv1.Protocol
	place    netip.AddrPort
}

func (h hostPort) String() string { return h.place.String() + "/" + protocolName(h.protocol) }

// overlaps tells whether no two sockets can have both.
func (h hostPort) overlaps(other hostPort) bool {
	one, two := h.place.Addr(), other.place.Addr()
	// A socket at [::] takes IPv4 as well.
	everywhere := func(a, b netip.Addr) bool { return a.IsUnspecified() && (a.Is6() || b.Is4()) }
	return h.protocol == other.protocol && h.place.Port() == other.place.Port() &&
		(one == two || everywhere(one, two) || everywhere(two, one))
}

// containerPort is a port that a program in the container binds.
type containerPort struct {
	protocol graftv1.Protocol
	port     uint16
}

// mapping is what leads from one to the other.
type mapping struct {
	inside  containerPort
	outside hostPort
}

// AddPortMappings adds endpoints and ingress rules, so that a program that binds a mapped port is grafted to the host's.
// What binds a loopback address stays in the container.
func (t *Table) AddPortMappings(mappings []PortMapping) error {
	type places struct{ v4, v6 *hostPort }
	found := map[containerPort]*places{}
	var order []containerPort
	for i, one := range mappings {
		inside, outside, err := one.parse()
		if err != nil {
			return fmt.Errorf("portMappings[%d]: %w", i, err)
		}
		of := found[inside]
		if of == nil {
			of = &places{}
			found[inside], order = of, append(order, inside)
		}
		for _, one := range outside {
			slot := &of.v4
			if one.place.Addr().Is6() {
				slot = &of.v6
			}
			if *slot != nil && **slot != one {
				return fmt.Errorf("portMappings[%d]: the container's port %d/%s is mapped to %s already: a grafted socket has "+
					"one address of the host, so leave one of the mappings out",
					i, inside.port, protocolName(inside.protocol), *slot)
			}
			*slot = &one
		}
	}
	for _, inside := range order {
		of := found[inside]
		if err := t.addMapping(inside, of.v4, of.v6); err != nil {
			return err
		}
	}
	return nil
}

func (m PortMapping) parse() (containerPort, []hostPort, error) {
	var inside containerPort
	protocol, known := protocols[strings.ToLower(m.Protocol)]
	switch {
	case m.Protocol == "":
		protocol = graftv1.Protocol_PROTOCOL_TCP
	case !known:
		return inside, nil, fmt.Errorf("the protocol '%s' cannot be grafted: write tcp or udp", m.Protocol)
	}
	if m.HostPort < 1 || m.HostPort > portMost || m.ContainerPort < 1 || m.ContainerPort > portMost {
		return inside, nil, fmt.Errorf("hostPort %d and containerPort %d: each is a number from 1 to 65535",
			m.HostPort, m.ContainerPort)
	}
	addresses := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	if m.HostIP != "" {
		address, err := netip.ParseAddr(m.HostIP)
		if err != nil || address.Zone() != "" {
			return inside, nil, fmt.Errorf("hostIP '%s' is no address: write an IPv4 or IPv6 address", m.HostIP)
		}
		addresses = []netip.Addr{address.Unmap()}
	}
	var outside []hostPort
	for _, address := range addresses {
		outside = append(outside, hostPort{protocol, netip.AddrPortFrom(address, uint16(m.HostPort))})
	}
	return containerPort{protocol, uint16(m.ContainerPort)}, outside, nil
}

func (t *Table) addMapping(inside containerPort, v4, v6 *hostPort) error {
	add := func(network, endpoint string) error {
		rule := &graftv1.Rule{
			Direction: graftv1.RuleDirection_RULE_DIRECTION_INGRESS,
			Network:   network,
			Protocols: []graftv1.Protocol{inside.protocol},
			Ports:     single(inside.port),
			Verdict:   graftv1.RuleVerdict_RULE_VERDICT_NATIVE,
		}
		if endpoint != "" {
			rule.Verdict, rule.Endpoint = graftv1.RuleVerdict_RULE_VERDICT_ENDPOINT, endpoint
		}
		if t.hasSelector(rule) {
			return fmt.Errorf("the mapping of the container's port %d/%s meets a rule for the same port of %s: leave one of "+
				"them out", inside.port, protocolName(inside.protocol), network)
		}
		return t.AddRuleMessage(rule)
	}
	// A socket that takes both families can be given an IPv4 address; an IPv4 socket no IPv6 one.
	above := v6
	if v6 == nil {
		above = v4
	}
	for _, one := range []struct {
		place             *hostPort
		network, loopback string
	}{{v4, "0.0.0.0/0", "127.0.0.0/8"}, {above, "::/0", "::1/128"}} {
		if one.place == nil {
			continue
		}
		name, err := t.mappedEndpoint(inside, *one.place)
		if err != nil {
			return err
		}
		if err := add(one.network, name); err != nil {
			return err
		}
		if err := add(one.loopback, ""); err != nil {
			return err
		}
	}
	return nil
}

// mappedEndpoint returns the name of the endpoint for a port of the host, and adds it where it is not there.
func (t *Table) mappedEndpoint(inside containerPort, outside hostPort) (string, error) {
	family := "ipv4"
	if outside.place.Addr().Is6() {
		family = "ipv6"
	}
	name := fmt.Sprintf("port-%d-%s-%s", inside.port, protocolName(inside.protocol), family)
	for _, one := range t.mapped {
		switch {
		case one == mapping{inside, outside}:
			return name, nil
		case one.inside != inside && one.outside.overlaps(outside):
			return "", fmt.Errorf("the host's port %s is mapped to two ports of the container: leave one of the mappings out",
				outside)
		}
	}
	t.mapped = append(t.mapped, mapping{inside, outside})
	return name, t.AddEndpointMessage(&graftv1.Endpoint{
		Name:   name,
		Labels: map[string]string{LabelMapped: strconv.Itoa(int(outside.place.Port()))},
		Kind: &graftv1.Endpoint_Inet{Inet: &graftv1.InetTarget{
			Address:   outside.place.Addr().String(),
			Ports:     single(outside.place.Port()),
			Protocols: []graftv1.Protocol{outside.protocol},
		}},
	})
}

// free fails where a port of the host that the table maps is mapped by another namespace. graftd lets two endpoints
// have one address, as sockets with SO_REUSEPORT may share it; a mapping is one container's alone.
func (t *Table) free(ctx context.Context, c *client.Client, id string) error {
	found, err := t.sharing(ctx, c)
	if err != nil {
		return err
	}
	for _, other := range found {
		if err := t.against(id, other); err != nil {
			return err
		}
	}
	return nil
}

// first fails, once the table is applied, where another namespace mapped a port at the same time and before: one of two
// that both found it free.
func (t *Table) first(ctx context.Context, c *client.Client, id string) error {
	found, err := t.sharing(ctx, c)
	if err != nil {
		return err
	}
	var since time.Time
	for _, own := range found {
		if made := own.CreateTime.AsTime(); isOf(own, id) && made.After(since) {
			since = made
		}
	}
	for _, other := range found {
		order := other.CreateTime.AsTime().Compare(since)
		if order > 0 || order == 0 && other.Name > name(id)+"/" {
			continue
		}
		if err := t.against(id, other); err != nil {
			return err
		}
	}
	return nil
}

// sharing returns the endpoints of mappings that have a port's number in common with the table's, its own among them.
func (t *Table) sharing(ctx context.Context, c *client.Client) ([]*graftv1.Endpoint, error) {
	var found []*graftv1.Endpoint
	asked := map[uint16]bool{}
	for _, one := range t.mapped {
		port := one.outside.place.Port()
		if asked[port] {
			continue
		}
		asked[port] = true
		request := &graftv1.ListEndpointsRequest{
			Parent: "namespaces/-",
			Labels: map[string]string{LabelMapped: strconv.Itoa(int(port))},
		}
		for more := true; more; more = request.PageToken != "" {
			page, err := c.Endpoints.ListEndpoints(ctx, request)
			if err != nil {
				return nil, err
			}
			found = append(found, page.Endpoints...)
			request.PageToken = page.NextPageToken
		}
	}
	return found, nil
}

func isOf(endpoint *graftv1.Endpoint, id string) bool {
	return strings.HasPrefix(endpoint.Name, name(id)+"/")
}

func (t *Table) against(id string, other *graftv1.Endpoint) error {
	if isOf(other, id) {
		return nil
	}
	inet := other.GetInet()
	address, err := netip.ParseAddr(inet.GetAddress())
	if err != nil {
		return nil
	}
	for _, protocol := range inet.Protocols {
		taken := hostPort{protocol, netip.AddrPortFrom(address, uint16(inet.Ports.GetLow()))}
		for _, one := range t.mapped {
			if one.outside.overlaps(taken) {
				return &client.Error{
					Code: codes.AlreadyExists,
					Message: fmt.Sprintf("the host's port %s is mapped already, by %s at %s: stop that container, or map another "+
						"port", one.outside, other.Name, taken),
				}
			}
		}
	}
	return nil
}

func single(port uint16) *graftv1.PortRange {
	return &graftv1.PortRange{Low: uint32(port), High: uint32(port)}
}

func protocolName(protocol graftv1.Protocol) string {
	if protocol == graftv1.Protocol_PROTOCOL_UDP {
		return "udp"
	}
	return "tcp"
}
