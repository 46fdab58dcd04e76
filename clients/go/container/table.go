// SPDX-License-Identifier: Apache-2.0

package container

import "graftd/clients/go/graftv1"

// Table is what a container may use of the network: endpoints, rules and ACL. The zero value has none.
type Table struct {
	endpoints []*graftv1.Endpoint
	rules     []*graftv1.Rule
	acl       []*graftv1.AclRule
}

// Empty tells whether nothing was added.
func (t *Table) Empty() bool {
	return len(t.endpoints) == 0 && len(t.rules) == 0 && len(t.acl) == 0
}

// AddEndpointMessage adds an endpoint. The message's name is the endpoint's id alone.
func (t *Table) AddEndpointMessage(endpoint *graftv1.Endpoint) error {
	t.endpoints = append(t.endpoints, endpoint)
	return nil
}

// AddRuleMessage adds a rule. The message's name is the rule's id alone, or empty.
func (t *Table) AddRuleMessage(rule *graftv1.Rule) error {
	t.rules = append(t.rules, rule)
	return nil
}

// AddACLRuleMessage adds a rule to the end of the ACL. The message's name is the rule's id alone, or empty.
func (t *Table) AddACLRuleMessage(rule *graftv1.AclRule) error {
	t.acl = append(t.acl, rule)
	return nil
}

// PortMapping is a port of the host that leads to one of the container.
type PortMapping struct {
	// HostIP is the host's address. Empty: all of both families.
	HostIP string `json:"hostIP"`

	HostPort      int32 `json:"hostPort"`
	ContainerPort int32 `json:"containerPort"`

	// Protocol is tcp or udp. Empty: tcp.
	Protocol string `json:"protocol"`
}
