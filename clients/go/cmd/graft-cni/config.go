// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	cni "github.com/containernetworking/cni/pkg/version"

	"graftd/clients/go/container"
	"graftd/clients/go/graftv1"
)

const (
	defaultTimeout = 10 * time.Second
	longestTimeout = 120
)

// config is the network's configuration, with what the runtime adds for one container.
type config struct {
	types.PluginConf

	// Target is where graftd is, as client.Options has it.
	Target string `json:"target"`

	// Transparent has the container's sockets come through the BPF door. Absent: true.
	Transparent *bool `json:"transparent"`

	// Timeout is how many seconds ADD and CHECK take at most. 0: 10.
	Timeout float64 `json:"timeout"`

	// Endpoints, Rules and ACL are the API's messages, in protobuf's JSON.
	Endpoints []json.RawMessage `json:"endpoints"`
	Rules     []json.RawMessage `json:"rules"`
	ACL       []json.RawMessage `json:"acl"`

	// PodAddresses are what a pod without an interface is said to have, for runtimes that want some: the host's own.
	PodAddresses []string `json:"podAddresses"`

	RuntimeConfig struct {
		PortMappings []container.PortMapping `json:"portMappings"`
	} `json:"runtimeConfig"`
}

var (
	ownKeys = []string{"acl", "endpoints", "podAddresses", "rules", "target", "timeout", "transparent"}

	// Those of the specification, and those that runtimes add.
	cniKeys = []string{
		"args", "capabilities", "cniVersion", "cniVersions", "disableCheck", "disableGC", "dns", "loadOnlyInlinedPlugins",
		"name", "prevResult", "runtimeConfig", "type",
	}
)

// load takes what serves to remove a container as well: the table may be wrong.
func load(stdin []byte) (*config, error) {
	conf := &config{}
	if err := json.Unmarshal(stdin, conf); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "the network's configuration cannot be read: "+unread(err), "")
	}
	if err := cni.ParsePrevResult(&conf.PluginConf); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "prevResult cannot be read: "+err.Error(), "")
	}
	return conf, nil
}

// unread says what is wrong with JSON in its own words, not in Go's.
func unread(err error) string {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err.Error()
	}
	expected := map[reflect.Kind]string{
		reflect.Bool: "true or false", reflect.Float64: "a number", reflect.Int: "a number", reflect.Map: "an object",
		reflect.Slice: "a list", reflect.String: "a text", reflect.Struct: "an object",
	}[wrong.Type.Kind()]
	return fmt.Sprintf("'%s' is a %s; it has to be %s", wrong.Field, wrong.Value, expected)
}

// loadAll takes everything, and what the runtime says of the container.
func loadAll(stdin []byte, args string) (*config, *container.Table, error) {
	conf, err := load(stdin)
	if err != nil {
		return nil, nil, err
	}
	table, err := conf.table(stdin, args)
	if err != nil {
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig,
			fmt.Sprintf("the configuration of the network %s is wrong: %v", conf.Name, err), "")
	}
	return conf, table, nil
}

func (c *config) table(stdin []byte, args string) (*container.Table, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(stdin, &keys); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		// As in cni.dev/valid-attachments.
		if !slices.Contains(ownKeys, key) && !slices.Contains(cniKeys, key) && !strings.Contains(key, "/") {
			return nil, fmt.Errorf("graft-cni has no '%s': it has %s", key, strings.Join(ownKeys, ", "))
		}
	}
	if c.Timeout < 0 || c.Timeout > longestTimeout {
		return nil, fmt.Errorf("timeout %v: it is a number of seconds, to %d", c.Timeout, longestTimeout)
	}
	if _, err := c.addresses(); err != nil {
		return nil, err
	}
	table := &container.Table{}
	for i, raw := range c.Endpoints {
		message := &graftv1.Endpoint{}
		if err := take(fmt.Sprintf("endpoints[%d]", i), raw, message, table.AddEndpointMessage); err != nil {
			return nil, err
		}
	}
	for i, raw := range c.Rules {
		message := &graftv1.Rule{}
		if err := take(fmt.Sprintf("rules[%d]", i), raw, message, table.AddRuleMessage); err != nil {
			return nil, err
		}
	}
	for i, raw := range c.ACL {
		message := &graftv1.AclRule{}
		if err := take(fmt.Sprintf("acl[%d]", i), raw, message, table.AddACLRuleMessage); err != nil {
			return nil, err
		}
	}
	if err := addArgs(table, args); err != nil {
		return nil, err
	}
	if err := table.AddPortMappings(c.RuntimeConfig.PortMappings); err != nil {
		return nil, fmt.Errorf("runtimeConfig.%w", err)
	}
	return table, table.Complete()
}

// addArgs adds what CNI_ARGS has for graft. Its other keys are of others. The CNI library takes no pair with a second
// '=', in the plugins before this one and in cnitool: where a value has none, '->' stands for it.
func addArgs(table *container.Table, args string) error {
	for _, pair := range strings.Split(args, ";") {
		key, value, _ := strings.Cut(pair, "=")
		if !strings.Contains(value, "=") {
			value = strings.ReplaceAll(value, "->", "=")
		}
		var err error
		switch key {
		case "GRAFT_ENDPOINT":
			name, text, found := strings.Cut(value, "=")
			if !found {
				return fmt.Errorf("CNI_ARGS: GRAFT_ENDPOINT is '%s': write NAME->ADDRESS:PORT, as in http->10.0.0.2:80/tcp", value)
			}
			err = table.AddEndpoint(name, text)
		case "GRAFT_INGRESS":
			err = table.AddRules(graftv1.RuleDirection_RULE_DIRECTION_INGRESS, value)
		case "GRAFT_EGRESS":
			err = table.AddRules(graftv1.RuleDirection_RULE_DIRECTION_EGRESS, value)
		default:
			if strings.HasPrefix(key, "GRAFT_") {
				return fmt.Errorf("CNI_ARGS has no '%s' for graft-cni: there are GRAFT_ENDPOINT, GRAFT_INGRESS and GRAFT_EGRESS", key)
			}
		}
		if err != nil {
			return fmt.Errorf("CNI_ARGS: %s: %w", key, err)
		}
	}
	return nil
}

// addresses are podAddresses, each as a network of its own.
func (c *config) addresses() ([]net.IPNet, error) {
	var found []net.IPNet
	for i, text := range c.PodAddresses {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return nil, fmt.Errorf("podAddresses[%d]: '%s' is no address", i, text)
		}
		found = append(found, net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(address.BitLen(), address.BitLen())})
	}
	return found, nil
}

func (c *config) timeout() time.Duration {
	if c.Timeout <= 0 {
		return defaultTimeout
	}
	return time.Duration(c.Timeout * float64(time.Second))
}

func (c *config) transparent() bool { return c.Transparent == nil || *c.Transparent }
