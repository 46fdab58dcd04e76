// SPDX-License-Identifier: Apache-2.0

package container

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"graftd/clients/go/graftv1"
)

// Table is what a container may use of the network: endpoints, rules and ACL. The zero value has none.
type Table struct {
	endpoints []*graftv1.Endpoint
	rules     []*graftv1.Rule
	acl       []*graftv1.AclRule
	mapped    []mapping
}

// Empty tells whether nothing was added.
func (t *Table) Empty() bool {
	return len(t.endpoints) == 0 && len(t.rules) == 0 && len(t.acl) == 0
}

// AddEndpointMessage adds an endpoint. The message's name is the endpoint's id alone.
func (t *Table) AddEndpointMessage(endpoint *graftv1.Endpoint) error {
	if endpoint.Name == "" {
		return fmt.Errorf("the endpoint has no name: it has %s", nameForm)
	}
	if err := plain(endpoint.Name); err != nil {
		return err
	}
	same := func(other *graftv1.Endpoint) bool { return other.Name == endpoint.Name }
	if slices.ContainsFunc(t.endpoints, same) {
		return fmt.Errorf("there are two endpoints named '%s': leave one of them out", endpoint.Name)
	}
	t.endpoints = append(t.endpoints, endpoint)
	return nil
}

// AddRuleMessage adds a rule. The message's name is the rule's id alone, or empty.
func (t *Table) AddRuleMessage(rule *graftv1.Rule) error {
	if err := plain(rule.Name); err != nil {
		return err
	}
	t.rules = append(t.rules, rule)
	return nil
}

// AddACLRuleMessage adds a rule to the end of the ACL. The message's name is the rule's id alone, or empty.
func (t *Table) AddACLRuleMessage(rule *graftv1.AclRule) error {
	if err := plain(rule.Name); err != nil {
		return err
	}
	t.acl = append(t.acl, rule)
	return nil
}

func plain(name string) error {
	if strings.Contains(name, "/") {
		return fmt.Errorf("'%s' has a '/': write the id alone, for the container's namespace is not known beforehand", name)
	}
	return nil
}

// named returns what there is with names in a namespace.
func (t *Table) named(namespace string) ([]*graftv1.Endpoint, []*graftv1.Rule, []*graftv1.AclRule) {
	endpoints := make([]*graftv1.Endpoint, len(t.endpoints))
	for i, one := range t.endpoints {
		endpoints[i] = proto.CloneOf(one)
		endpoints[i].Name = namespace + "/endpoints/" + one.Name
	}
	rules := make([]*graftv1.Rule, len(t.rules))
	for i, one := range t.rules {
		rules[i] = proto.CloneOf(one)
		if one.Name != "" {
			rules[i].Name = namespace + "/rules/" + one.Name
		}
	}
	acl := make([]*graftv1.AclRule, len(t.acl))
	for i, one := range t.acl {
		acl[i] = proto.CloneOf(one)
		if one.Name != "" {
			acl[i].Name = namespace + "/aclRules/" + one.Name
		}
	}
	return endpoints, rules, acl
}
