// SPDX-License-Identifier: Apache-2.0

package container

import (
	"strings"
	"testing"
)

func TestAContainerIsAnnotatedByAnyAnnotationForGraft(t *testing.T) {
	for _, test := range []struct {
		annotations map[string]string
		want        bool
	}{
		{nil, false},
		{map[string]string{"io.podman.annotations.init": "FALSE", "grafted": "x", "run.graft.ingress": "x"}, false},
		{map[string]string{"graft.ingress": ""}, true},
		{map[string]string{"graft.": ""}, true},
	} {
		if got := Annotated(test.annotations); got != test.want {
			t.Errorf("%v: %v", test.annotations, got)
		}
	}
}

func TestATableOfAnnotations(t *testing.T) {
	table, transparent, err := FromAnnotations(map[string]string{
		"other":               "ignored",
		"graft.endpoint.http": "10.0.0.2:80",
		"graft.endpoint.out":  "0.0.0.0:any",
		"graft.ingress":       "*:80=http,*:81=native",
		"graft.egress":        "10.0.0.0/24=out",
	})
	if err != nil || !transparent || len(table.endpoints) != 2 || len(table.rules) != 3 {
		t.Fatalf("%v, transparent %v: %v", table, transparent, err)
	}
	if table.endpoints[0].Name != "http" || table.rules[0].Direction != egress || table.rules[1].Endpoint != "http" {
		t.Errorf("%v", table)
	}
}

func TestTheDoorIsOpenUnlessAnAnnotationSaysOtherwise(t *testing.T) {
	for text, want := range map[string]bool{"true": true, "false": false} {
		table, transparent, err := FromAnnotations(map[string]string{AnnotationTransparent: text})
		if err != nil || transparent != want || !table.Empty() {
			t.Errorf("%s: %v, %v", text, transparent, err)
		}
	}
}

func TestBadAnnotationsAreAnsweredWithASentence(t *testing.T) {
	for _, test := range []struct {
		annotations map[string]string
		want        string
	}{
		{
			map[string]string{"graft.ingres": "*:80=http"},
			`there is no annotation "graft.ingres": those for graft are graft.endpoint.NAME, graft.ingress, graft.egress and graft.transparent`,
		},
		{
			map[string]string{"graft.endpoint.": "10.0.0.2:80"},
			`annotation "graft.endpoint.": after graft.endpoint. stands the endpoint's name, which has ` + nameForm,
		},
		{
			map[string]string{"graft.endpoint.a/b": "10.0.0.2:80"},
			`annotation "graft.endpoint.a/b": after graft.endpoint. stands the endpoint's name, which has ` + nameForm,
		},
		{
			map[string]string{"graft.endpoint.http": "10.0.0.2"},
			`annotation graft.endpoint.http: "10.0.0.2": the port is missing: write ADDRESS:PORT, as in 10.0.0.2:80`,
		},
		{
			map[string]string{"graft.endpoint.http": "10.0.0.2:80", "graft.ingress": "*:80=http,*:http=http"},
			`annotation graft.ingress: "http" at character 13 of "*:80=http,*:http=http": the port is not a number from 0 to 65535: write PORT or LOW-HIGH`,
		},
		{
			map[string]string{"graft.egress": "*:0=http"},
			`annotation graft.egress: "0" at character 3 of "*:0=http": no destination has port 0: ports of egress rules are 1 to 65535`,
		},
		{
			map[string]string{"graft.transparent": "yes"},
			`annotation graft.transparent: "yes" is neither: write true or false`,
		},
		{
			map[string]string{"graft.endpoint.http": "10.0.0.2:80", "graft.ingress": "*:80=htp"},
			`annotation graft.ingress: a rule leads to the endpoint 'htp', which there is not: add that endpoint, or name one that there is`,
		},
	} {
		_, _, err := FromAnnotations(test.annotations)
		if err == nil || err.Error() != test.want {
			t.Errorf("%v: %v, not: %s", test.annotations, err, test.want)
		}
	}
}

func TestAnnotationsHaveAtMost64KiB(t *testing.T) {
	rules := func(size int) map[string]string {
		text := "*:80=native"
		return map[string]string{"graft.ingress": text + strings.Repeat(" ", size-len(text)-len("graft.ingress")), "other": strings.Repeat("x", 1<<20)}
	}
	if _, _, err := FromAnnotations(rules(64 << 10)); err != nil {
		t.Error(err)
	}
	want := "the annotations graft.* are longer than 64 KiB together: give a larger table to graftd with 'graftcli apply'"
	if _, _, err := FromAnnotations(rules(64<<10 + 1)); err == nil || err.Error() != want {
		t.Errorf("%v, not: %s", err, want)
	}
}
