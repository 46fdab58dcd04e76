// SPDX-License-Identifier: Apache-2.0

package container

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"graftd/clients/go/graftv1"
)

// A container's annotations. AnnotationEndpoint is followed by the endpoint's name.
const (
	AnnotationEndpoint    = "graft.endpoint."
	AnnotationIngress     = "graft.ingress"
	AnnotationEgress      = "graft.egress"
	AnnotationTransparent = "graft.transparent"

	annotationPrefix = "graft."
	annotationsMost  = 64 << 10
)

// Annotated tells whether any annotation is for graft. A container without one is left alone.
func Annotated(annotations map[string]string) bool {
	for key := range annotations {
		if strings.HasPrefix(key, annotationPrefix) {
			return true
		}
	}
	return false
}

// FromAnnotations returns the table that a container's annotations describe, and whether its sockets come through the
// BPF door, which they do unless graft.transparent says false. Annotations of others are ignored.
func FromAnnotations(annotations map[string]string) (table *Table, transparent bool, err error) {
	table, transparent = &Table{}, true
	size := 0
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		text := annotations[key]
		if !strings.HasPrefix(key, annotationPrefix) {
			continue
		}
		if size += len(key) + len(text); size > annotationsMost {
			return nil, false, fmt.Errorf("the annotations %s* are longer than 64 KiB together: give a larger table "+
				"to graftd with 'graftcli apply'", annotationPrefix)
		}
		if err := table.annotate(key, text, &transparent); err != nil {
			return nil, false, err
		}
	}
	if rule := table.dangling(); rule != nil {
		key := AnnotationIngress
		if rule.Direction == graftv1.RuleDirection_RULE_DIRECTION_EGRESS {
			key = AnnotationEgress
		}
		return nil, false, fmt.Errorf("annotation %s: %w", key, table.Complete())
	}
	return table, transparent, nil
}

func (t *Table) annotate(key, text string, transparent *bool) (err error) {
	name, isEndpoint := strings.CutPrefix(key, AnnotationEndpoint)
	switch {
	case isEndpoint && !ValidName(name):
		return fmt.Errorf("annotation %q: after %s stands the endpoint's name, which has %s", key, AnnotationEndpoint, nameForm)
	case isEndpoint:
		err = t.AddEndpoint(name, text)
	case key == AnnotationIngress:
		err = t.AddRules(graftv1.RuleDirection_RULE_DIRECTION_INGRESS, text)
	case key == AnnotationEgress:
		err = t.AddRules(graftv1.RuleDirection_RULE_DIRECTION_EGRESS, text)
	case key == AnnotationTransparent && (text == "true" || text == "false"):
		*transparent = text == "true"
	case key == AnnotationTransparent:
		err = fmt.Errorf("%q is neither: write true or false", text)
	default:
		return fmt.Errorf("there is no annotation %q: those for graft are %sNAME, %s, %s and %s",
			key, AnnotationEndpoint, AnnotationIngress, AnnotationEgress, AnnotationTransparent)
	}
	if err != nil {
		return fmt.Errorf("annotation %s: %w", key, err)
	}
	return nil
}
