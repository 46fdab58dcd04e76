// SPDX-License-Identifier: Apache-2.0

// Package container is what programs share that graft containers for a runtime: from a container and its table to
// graftd's resources.
package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"graftd/clients/go/client"
	"graftd/clients/go/graftv1"
)

// LabelSource is the label that says which program made a namespace: oci, cni, lxc or docker.
const LabelSource = "graft.source"

const annotationOrigin = "graft.origin"

// How long to try to remove what could not be kept, however little time is left.
const removal = 3 * time.Second

// Container is a container's namespace as graftd is to know it.
type Container struct {
	// ID is the namespace's, as NamespaceID makes it.
	ID string

	// Selector says which network namespace it is. It has to be there; when it goes, graftd forgets the container.
	Selector *graftv1.NamespaceSelector

	// Origin is where its runtime keeps it, "" where ids are never used twice. Of two containers with one id the second
	// is refused while the first is there, and removes nothing of it.
	Origin string

	// Labels and Annotations are kept with the namespace.
	Labels, Annotations map[string]string

	// Transparent has its sockets come through the BPF door, without a library.
	Transparent bool

	// WithinPolicy holds the table to graftd's policy for the namespace, where others than an admin wrote it.
	WithinPolicy bool
}

// NamespaceID makes a namespace's id of its source and a container's id. One that is too long, or has characters that
// no id has, is cut and ends in a hash of the whole; so does one of several attachments of the same container.
func NamespaceID(source, id string, attachment ...string) string {
	if whole := source + "-" + id; len(attachment) == 0 && ValidName(whole) {
		return whole
	}
	return source + "-" + shortened(id, nameMost-len(source)-1, attachment...)
}

// LabelValue makes a label's value of any text: one that no label can have is shortened as an id is.
func LabelValue(text string) string {
	if text == "" || ValidName(text) {
		return text
	}
	return shortened(text, nameMost)
}

// shortened keeps of a text what a name may have, and ends in a hash of the text and what goes with it.
func shortened(text string, most int, with ...string) string {
	const hashed = 4
	sum := sha256.Sum256([]byte(strings.Join(append([]string{text}, with...), "\x00")))
	kept := strings.Map(func(r rune) rune {
		if ValidName("a" + string(r)) {
			return r
		}
		return '_'
	}, text)
	return kept[:min(len(kept), most-1-2*hashed)] + "-" + hex.EncodeToString(sum[:hashed])
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

// ProcessOf tells which process's network namespace a path is. A process is known by when it started too; a path is not.
func ProcessOf(path string) (uint32, bool) {
	pid, isProc := strings.CutPrefix(path, "/proc/")
	pid, isNetwork := strings.CutSuffix(pid, "/ns/net")
	number, err := strconv.ParseUint(pid, 10, 31)
	return uint32(number), isProc && isNetwork && err == nil
}

// Apply makes graftd hold the container's namespace with just this table, all or nothing. A port of the host that is
// mapped to another container already is refused; of two that map one at the same time, the later is.
func Apply(ctx context.Context, c *client.Client, container Container, table *Table) error {
	if err := container.unique(ctx, c); err != nil {
		return err
	}
	if err := table.free(ctx, c, container.ID); err != nil {
		return err
	}
	request := wanted(container, table)
	request.AllowMissing = true
	request.AbortSockets = true
	if _, err := c.Namespaces.ApplyNamespace(ctx, request); err != nil {
		return err
	}
	if err := table.first(ctx, c, container.ID); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removal)
		defer cancel()
		if left := Remove(ctx, c, container.ID, container.Origin); left != nil {
			return fmt.Errorf("%w; and %s stays until its network namespace is gone: %w", err, name(container.ID), left)
		}
		return err
	}
	return nil
}

// unique refuses a container whose id is that of another one that is there.
func (container Container) unique(ctx context.Context, c *client.Client) error {
	if container.Origin == "" {
		return nil
	}
	other, err := get(ctx, c, container.ID)
	if err != nil || other == nil || other.Annotations[annotationOrigin] == container.Origin {
		return err
	}
	if other.Transient && other.State != graftv1.NamespaceState_NAMESPACE_STATE_PRESENT {
		return nil
	}
	owner := "not made for a container"
	if origin := other.Annotations[annotationOrigin]; origin != "" {
		owner = "that of the container in " + origin
	}
	return &client.Error{
		Code:    codes.AlreadyExists,
		Message: fmt.Sprintf("there is a %s already, %s: give this container another id, or end that one", other.Name, owner),
	}
}

// get returns the namespace that has this id, nil where there is none.
func get(ctx context.Context, c *client.Client, id string) (*graftv1.Namespace, error) {
	found, err := c.Namespaces.GetNamespace(ctx, &graftv1.GetNamespaceRequest{Name: name(id)})
	var failure *client.Error
	if errors.As(err, &failure) && failure.Code == codes.NotFound {
		return nil, nil
	}
	return found, err
}

// Check fails where graftd does not hold the container's namespace as Apply left it, or the kernel does not. What others
// added since is no fault.
func Check(ctx context.Context, c *client.Client, container Container, table *Table) error {
	request := wanted(container, table)
	request.ValidateOnly = true
	answer, err := c.Namespaces.ApplyNamespace(ctx, request)
	if err != nil {
		return err
	}
	for _, one := range answer.Differences {
		switch one.Kind {
		case graftv1.DifferenceKind_DIFFERENCE_KIND_CREATED:
			return damaged("%s is missing: someone deleted it; start the container anew", one.Name)
		case graftv1.DifferenceKind_DIFFERENCE_KIND_UPDATED:
			return damaged("%s is not as it was made, in %s: someone changed it; start the container anew",
				one.Name, strings.Join(one.Fields.GetPaths(), ", "))
		}
	}
	namespace := answer.Namespace
	if namespace.State != graftv1.NamespaceState_NAMESPACE_STATE_PRESENT {
		return damaged("the network namespace of %s is gone", namespace.Name)
	}
	if state := namespace.GetSync().GetState(); state != graftv1.SyncState_SYNC_STATE_IN_SYNC {
		return damaged("%s is not in the kernel as it should be: %s", namespace.Name, namespace.Sync.GetDetail())
	}
	return nil
}

func damaged(format string, arguments ...any) error {
	return &client.Error{Code: codes.FailedPrecondition, Message: fmt.Sprintf(format, arguments...)}
}

// Remove deletes a container's namespace with its table and ends the sockets that were grafted through it. One that is
// not there is no error, nor is one of another origin, which stays.
func Remove(ctx context.Context, c *client.Client, id, origin string) error {
	request := &graftv1.DeleteNamespaceRequest{Name: name(id), AllowMissing: true, Force: true, AbortSockets: true}
	if origin != "" {
		found, err := get(ctx, c, id)
		if err != nil || found == nil || found.Annotations[annotationOrigin] != origin {
			return err
		}
		// Another one may take its place before it is deleted.
		request.Etag = found.Etag
	}
	_, err := c.Namespaces.DeleteNamespace(ctx, request)
	var failure *client.Error
	if errors.As(err, &failure) && failure.Reason == "ETAG_MISMATCH" {
		return Remove(ctx, c, id, origin)
	}
	return err
}

// List returns the ids of the namespaces that have all these labels.
func List(ctx context.Context, c *client.Client, labels map[string]string) ([]string, error) {
	var ids []string
	request := &graftv1.ListNamespacesRequest{Labels: labels}
	for {
		page, err := c.Namespaces.ListNamespaces(ctx, request)
		if err != nil {
			return nil, err
		}
		for _, one := range page.Namespaces {
			ids = append(ids, strings.TrimPrefix(one.Name, name("")))
		}
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			return ids, nil
		}
	}
}

func wanted(container Container, table *Table) *graftv1.ApplyNamespaceRequest {
	annotations := maps.Clone(container.Annotations)
	if container.Origin != "" {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[annotationOrigin] = container.Origin
	}
	endpoints, rules, acl := table.named(name(container.ID))
	return &graftv1.ApplyNamespaceRequest{
		Name: name(container.ID),
		Namespace: &graftv1.Namespace{
			Selector:    container.Selector,
			Labels:      container.Labels,
			Annotations: annotations,
			Transparent: container.Transparent,
			Transient:   true,
		},
		WithinPolicy: container.WithinPolicy,
		Endpoints:    &graftv1.EndpointSet{Endpoints: endpoints},
		Rules:        &graftv1.RuleSet{Rules: rules},
		AclRules:     &graftv1.AclRuleSet{AclRules: acl},
	}
}

func name(id string) string { return "namespaces/" + id }
