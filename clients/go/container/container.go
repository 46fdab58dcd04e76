// SPDX-License-Identifier: Apache-2.0

// Package container is what programs share that graft containers for a runtime: from a container and its table to
// graftd's resources.
package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"graftd/clients/go/client"
	"graftd/clients/go/graftv1"
)

// Keys of labels and annotations.
const (
	// LabelSource says which program made a namespace: oci, cni, lxc or docker.
	LabelSource = "graft.source"
)

// Container is a container's namespace as graftd is to know it.
type Container struct {
	// ID is the namespace's, as NamespaceID makes it.
	ID string

	// Selector says which network namespace it is.
	Selector *graftv1.NamespaceSelector

	// Labels and Annotations are kept with the namespace.
	Labels, Annotations map[string]string

	// Transparent has its sockets come through the BPF door, without a library.
	Transparent bool
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)

// NamespaceID makes a namespace's id of its source and a container's id. One that is too long, or has characters that
// no id has, is cut and ends in a hash of the whole; so does one of several attachments of the same container.
func NamespaceID(source, id string, attachment ...string) string {
	whole := source + "-" + id
	if len(attachment) == 0 && idPattern.MatchString(whole) {
		return whole
	}
	sum := sha256.Sum256([]byte(strings.Join(append([]string{id}, attachment...), "\x00")))
	return source + "-" + cut(id, 54-len(source)-1) + "-" + hex.EncodeToString(sum[:4])
}

// Path is the selector of a namespace file, as in /run/netns/web or /proc/1234/ns/net.
func Path(path string) *graftv1.NamespaceSelector {
	return &graftv1.NamespaceSelector{By: &graftv1.NamespaceSelector_Path{Path: path}}
}

// Process is the selector of a process's namespace.
func Process(pid uint32) *graftv1.NamespaceSelector {
	process := &graftv1.ProcessSelector{Pid: pid}
	return &graftv1.NamespaceSelector{By: &graftv1.NamespaceSelector_Process{Process: process}}
}

// Apply makes graftd hold the container's namespace with just this table, all or nothing.
func Apply(ctx context.Context, c *client.Client, container Container, table *Table) error {
	_, err := c.Namespaces.ApplyNamespace(ctx, request(container, table))
	return err
}

// Remove deletes a container's namespace with its table and ends the sockets that were grafted through it. One that is
// not there is no error.
func Remove(ctx context.Context, c *client.Client, id string) error {
	_, err := c.Namespaces.DeleteNamespace(ctx, &graftv1.DeleteNamespaceRequest{
		Name:         name(id),
		AllowMissing: true,
		Force:        true,
		AbortSockets: true,
	})
	return err
}

func request(container Container, table *Table) *graftv1.ApplyNamespaceRequest {
	return &graftv1.ApplyNamespaceRequest{
		Name: name(container.ID),
		Namespace: &graftv1.Namespace{
			Selector:    container.Selector,
			Labels:      container.Labels,
			Annotations: container.Annotations,
			Transparent: container.Transparent,
			Transient:   true,
		},
		Endpoints:    &graftv1.EndpointSet{Endpoints: table.endpoints},
		Rules:        &graftv1.RuleSet{Rules: table.rules},
		AclRules:     &graftv1.AclRuleSet{AclRules: table.acl},
		AllowMissing: true,
	}
}

func name(id string) string { return "namespaces/" + id }

func cut(text string, size int) string {
	kept := strings.Map(func(r rune) rune {
		if r < 0x80 && idPattern.MatchString(string(r)) {
			return r
		}
		return '_'
	}, text)
	return kept[:min(len(kept), size)]
}
