// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/syslog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"graftd/clients/go/graftv1"
	"graftd/clients/go/internal/played"
)

const id = "5f0c3a"

// What a machine with other work may take on top of a patience.
const slack = 5 * time.Second

// What tests wrote to the system's log.
var told []string

func TestMain(m *testing.M) {
	tellSystem = func(_ syslog.Priority, err error) { told = append(told, err.Error()) }
	os.Exit(m.Run())
}

// hasten sets a patience for one test, which waits for its end.
func hasten(t *testing.T, patience *time.Duration, short time.Duration) {
	t.Helper()
	before := *patience
	*patience = short
	t.Cleanup(func() { *patience = before })
}

func start(t *testing.T) *played.Graftd {
	t.Helper()
	graftd := played.Start(t)
	t.Setenv("GRAFTD_TARGET", graftd.Target())
	return graftd
}

// A bundle has a network namespace of the runtime's making unless the configuration says otherwise.
func bundle(t *testing.T, parent, configuration string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), parent, id)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if configuration == "" {
		configuration = `{"linux": {"namespaces": [{"type": "pid"}, {"type": "network"}]}}`
	}
	if err := os.WriteFile(filepath.Join(folder, "config.json"), []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	return folder
}

func stateOf(t *testing.T, bundle string, annotations map[string]string) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"ociVersion": "1.0.2", "id": id, "status": "created", "pid": 4321, "bundle": bundle, "annotations": annotations,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type result struct {
	status         int
	stdout, stderr string
}

func hook(stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	status := run(args, strings.NewReader(stdin), &stdout, &stderr)
	return result{status, stdout.String(), stderr.String()}
}

func (r result) want(t *testing.T, status int, stderr string) {
	t.Helper()
	if r.status != status || r.stderr != stderr {
		t.Errorf("status %d, %q\nnot %d, %q", r.status, r.stderr, status, stderr)
	}
}

var annotations = map[string]string{
	"graft.endpoint.http": "10.0.0.2:80/tcp",
	"graft.ingress":       "*:80=http",
	"graft.egress":        "10.0.0.0/24=deny",
	"io.podman.other":     "x",
}

func plus(key, value string) map[string]string {
	changed := maps.Clone(annotations)
	changed[key] = value
	return changed
}

func TestAContainerIsGraftedByItsAnnotations(t *testing.T) {
	fromConfig, err := json.Marshal(map[string]any{
		"annotations": annotations,
		"linux":       map[string]any{"namespaces": []any{map[string]string{"type": "network"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		parent, config string
		annotations    map[string]string
		source         string
		transparent    bool
	}{
		"of the state":          {"userdata", "", annotations, "oci", true},
		"of config.json":        {"userdata", string(fromConfig), nil, "oci", true},
		"without the BPF door":  {"userdata", "", plus("graft.transparent", "false"), "oci", false},
		"of one that is Docker": {"moby", "", annotations, "docker", true},
	} {
		t.Run(name, func(t *testing.T) {
			graftd := start(t)
			folder := bundle(t, test.parent, test.config)
			stdin := stateOf(t, folder, test.annotations)
			hook(stdin, "createRuntime").want(t, 0, "")
			got := graftd.Namespace("oci-" + id)
			if got == nil {
				t.Fatal("there is no such namespace")
			}
			process := &graftv1.NamespaceSelector_Process{Process: &graftv1.ProcessSelector{Pid: 4321}}
			want := &graftv1.Namespace{
				Selector:    &graftv1.NamespaceSelector{By: process},
				Labels:      map[string]string{"graft.source": test.source},
				Annotations: map[string]string{"graft.container": id, "graft.origin": folder},
				Transparent: test.transparent,
				Transient:   true,
			}
			if !proto.Equal(got.Namespace, want) {
				t.Errorf("%v, not %v", got.Namespace, want)
			}
			if !got.WithinPolicy {
				t.Error("the annotations are held to no policy")
			}
			if len(got.Endpoints.GetEndpoints()) != 1 || len(got.Rules.GetRules()) != 2 {
				t.Errorf("%v", got)
			}
			// A hook that is run again, as by hooks.d and CDI together, changes nothing.
			hook(stdin, "createRuntime").want(t, 0, "")
			for range 2 {
				hook(stdin, "poststop").want(t, 0, "")
				if graftd.Namespaces() != 0 {
					t.Error("something stayed behind")
				}
			}
		})
	}
}

func TestAContainerWithoutAnnotationsIsLeftAlone(t *testing.T) {
	graftd := start(t)
	plain := bundle(t, "userdata", "")
	for name, stdin := range map[string]string{
		"others alone": stateOf(t, "/nonexistent", map[string]string{"io.podman.other": "graft.ingress"}),
		"the state has some, so the configuration's do not count": stateOf(t,
			bundle(t, "userdata", `{"annotations": {"graft.ingress": "*:80=native"}}`), map[string]string{"a": "b"}),
		"none in either": stateOf(t, plain, nil),
	} {
		for _, verb := range []string{"createRuntime", "poststop"} {
			if got := hook(stdin, verb); got != (result{}) {
				t.Errorf("%s, %s: %+v", name, verb, got)
			}
		}
	}
	if calls := graftd.Calls(); len(calls) != 0 {
		t.Errorf("graftd was asked: %v", calls)
	}
}

func TestTheNetworkNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to make a network namespace takes root")
	}
	asleep := exec.Command("sleep", "60")
	asleep.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := asleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { asleep.Process.Kill(); asleep.Wait() }()
	process := fmt.Sprintf("/proc/%d/ns/net", asleep.Process.Pid)
	file := filepath.Join(t.TempDir(), "netns")
	if err := os.Symlink(process, file); err != nil {
		t.Fatal(err)
	}
	up := func() bool {
		out, err := exec.Command("nsenter", "--net="+process, "cat", "/proc/net/fib_trie").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(out), "127.0.0.1")
	}
	for _, test := range []struct {
		path string
		want *graftv1.NamespaceSelector
		up   bool
	}{
		{process, &graftv1.NamespaceSelector{By: &graftv1.NamespaceSelector_Process{
			Process: &graftv1.ProcessSelector{Pid: uint32(asleep.Process.Pid)}}}, false},
		{file, &graftv1.NamespaceSelector{By: &graftv1.NamespaceSelector_Path{Path: file}}, true},
		// It is up, and stays so.
		{file, &graftv1.NamespaceSelector{By: &graftv1.NamespaceSelector_Path{Path: file}}, true},
	} {
		graftd := start(t)
		config := fmt.Sprintf(`{"linux": {"namespaces": [{"type": "network", "path": %q}]}}`, test.path)
		hook(stateOf(t, bundle(t, "userdata", config), annotations), "createRuntime").want(t, 0, "")
		if got := graftd.Namespace("oci-" + id).Namespace.Selector; !proto.Equal(got, test.want) {
			t.Errorf("%s: %v, not %v", test.path, got, test.want)
		}
		if up() != test.up {
			t.Errorf("%s: lo is up: %v", test.path, up())
		}
	}
}

func refusal(code codes.Code, reason, message string, metadata map[string]string) error {
	told, err := status.New(code, message).WithDetails(
		&errdetails.ErrorInfo{Reason: reason, Domain: "graftd", Metadata: metadata})
	if err != nil {
		panic(err)
	}
	return told.Err()
}

// answer is what graftd says to what a hook wants of it.
func answer(err error) func(context.Context, string, proto.Message) error {
	return func(_ context.Context, method string, _ proto.Message) error {
		if method == "ApplyNamespace" {
			return err
		}
		return nil
	}
}

const host = "it is in the host's own network namespace, where there is nothing to graft: give it another, as in " +
	"--network none, or leave the annotations out"

func TestACaseThatCannotBeGraftedIsRefusedWithASentence(t *testing.T) {
	network := func(path string) string {
		return `{"linux": {"namespaces": [{"type": "network", "path": "` + path + `"}]}}`
	}
	for name, test := range map[string]struct {
		annotations map[string]string
		config      string
		answer      error
		want        string
	}{
		"a malformed annotation": {
			plus("graft.ingress", "*:http=http"), "", nil,
			`annotation graft.ingress: "http" at character 3 of "*:http=http": the port is not a number from 0 to 65535: write PORT or LOW-HIGH`,
		},
		"one that there is not": {
			plus("graft.ingres", "*:80=http"), "", nil,
			`there is no annotation "graft.ingres": those for graft are graft.endpoint.NAME, graft.ingress, graft.egress and graft.transparent`,
		},
		"the host's network": {annotations, `{"linux": {"namespaces": [{"type": "pid"}]}}`, nil, host},
		"the host's network by its path": {
			annotations, "", refusal(codes.FailedPrecondition, "NOT_OURS", "it is graftd's own", nil), host,
		},
		"another's table": {
			annotations, "", refusal(codes.FailedPrecondition, "NOT_OURS", "5 writes it", map[string]string{"owner": "5"}), "5 writes it",
		},
		"a namespace that is not there": {
			annotations, network("/nonexistent/netns"), nil,
			"bringing lo up in /nonexistent/netns: open /nonexistent/netns: no such file or directory",
		},
		"a pod's second container": {
			annotations, "",
			refusal(codes.AlreadyExists, "SELECTOR_TAKEN", "taken", map[string]string{"resource": "namespaces/oci-77"}),
			"its network namespace has a table already, that of namespaces/oci-77: containers of one pod share it, so the " +
				"annotations graft.* belong on one of them alone, the one that lives longest",
		},
		"what policy forbids": {
			annotations, "", refusal(codes.PermissionDenied, "POLICY_DENIED", "port 80 is not yours", nil),
			"port 80 is not yours; annotations may ask for what a policy for namespaces like oci-* allows, in " +
				"/etc/graftd/graftd.toml, once systemctl reload graftd has read it",
		},
		"a configuration that is none": {
			annotations, "[", nil, "reading the container's configuration BUNDLE/config.json: unexpected end of JSON input",
		},
	} {
		t.Run(name, func(t *testing.T) {
			graftd := start(t)
			graftd.Before = answer(test.answer)
			told = nil
			folder := bundle(t, "userdata", test.config)
			sentence := "container " + id + ": " + strings.ReplaceAll(test.want, "BUNDLE", folder)
			hook(stateOf(t, folder, test.annotations), "createRuntime").want(t, 1, "graft-oci-hook: "+sentence+"\n")
			if len(told) != 1 || told[0] != sentence {
				t.Errorf("the system's log has %q", told)
			}
			if graftd.Namespaces() != 0 {
				t.Error("something stayed behind")
			}
		})
	}
}

func TestGraftdThatIsDownOrSlow(t *testing.T) {
	hasten(t, &startPatience, 3*time.Second)
	hasten(t, &stopPatience, 2*time.Second)
	graftd := start(t)
	stdin := stateOf(t, bundle(t, "userdata", ""), annotations)
	slow := func() {
		graftd.Up()
		graftd.Before = func(ctx context.Context, _ string, _ proto.Message) error {
			<-ctx.Done()
			return ctx.Err()
		}
	}
	for _, test := range []struct {
		name   string
		before func()
		reason string
	}{
		{"down", graftd.Down, "systemctl start graftd"},
		{"slow", slow, "did not answer in time"},
	} {
		test.before()
		for verb, most := range map[string]time.Duration{"createRuntime": startPatience, "poststop": stopPatience} {
			told = nil
			begun := time.Now()
			got := hook(stdin, verb)
			if took := time.Since(begun); took > most+slack {
				t.Errorf("%s, %s took %v", test.name, verb, took)
			}
			status := map[string]int{"createRuntime": 1, "poststop": 0}[verb]
			if got.status != status || !strings.Contains(got.stderr, test.reason) || len(told) != 1 {
				t.Errorf("%s, %s: %+v, in the log %q", test.name, verb, got, told)
			}
			if verb == "poststop" && !strings.Contains(got.stderr, "; namespaces/oci-"+id+" stays until its network namespace is gone\n") {
				t.Errorf("%s: %q", test.name, got.stderr)
			}
		}
	}
}

func TestAllCallsTogetherHaveTheirTime(t *testing.T) {
	const patience = 3 * time.Second
	hasten(t, &startPatience, patience)
	graftd := start(t)
	graftd.Before = func(context.Context, string, proto.Message) error {
		time.Sleep(patience * 6 / 10)
		return nil
	}
	begun := time.Now()
	got := hook(stateOf(t, bundle(t, "userdata", ""), annotations), "createRuntime")
	if took := time.Since(begun); got.status != 1 || took > patience+slack {
		t.Errorf("%+v after %v", got, took)
	}
}

func TestGraftdThatIsRestartedMeanwhile(t *testing.T) {
	graftd := start(t)
	graftd.Down()
	timer := time.AfterFunc(500*time.Millisecond, graftd.Up)
	defer timer.Stop()
	hook(stateOf(t, bundle(t, "userdata", ""), annotations), "createRuntime").want(t, 0, "")
	if graftd.Namespaces() != 1 {
		t.Error("there is no namespace")
	}
}

func TestABundleThatIsGoneIsCleanedUpAfter(t *testing.T) {
	graftd := start(t)
	folder := bundle(t, "userdata", "")
	hook(stateOf(t, folder, annotations), "createRuntime").want(t, 0, "")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	hook(stateOf(t, folder, nil), "poststop").want(t, 0, "")
	if graftd.Namespaces() != 0 {
		t.Error("something stayed behind")
	}
}

func TestWithoutTheDoorAContainerThatIsTransparentDoesNotStart(t *testing.T) {
	hasten(t, &doorPatience, time.Second)
	graftd := start(t)
	folder := bundle(t, "userdata", "")
	for state, want := range map[graftv1.TransparentState]int{
		graftv1.TransparentState_TRANSPARENT_STATE_NOT_LOADED:    1,
		graftv1.TransparentState_TRANSPARENT_STATE_KERNEL_CANNOT: 1,
		graftv1.TransparentState_TRANSPARENT_STATE_FAILED:        1,
		graftv1.TransparentState_TRANSPARENT_STATE_SERVED:        0,
	} {
		graftd.Status.Transparent = &graftv1.TransparentStatus{State: state, Detail: "the door is shut"}
		sentence := ""
		if want != 0 {
			sentence = "graft-oci-hook: container " + id + ": its programs would not be grafted: the door is shut; or say that it " +
				"is not transparent, and have its programs load libgraft.so\n"
		}
		hook(stateOf(t, folder, annotations), "createRuntime").want(t, want, sentence)
		if got := graftd.Namespaces(); got != 1-want {
			t.Errorf("%v: there are %d namespaces", state, got)
		}
		hook(stateOf(t, folder, plus("graft.transparent", "false")), "createRuntime").want(t, 0, "")
		hook(stateOf(t, folder, annotations), "poststop").want(t, 0, "")
	}
}

func TestADoorThatIsBeingLoadedIsWaitedFor(t *testing.T) {
	graftd := start(t)
	asked := 0
	graftd.Before = func(_ context.Context, _ string, request proto.Message) error {
		if _, ok := request.(*graftv1.GetStatusRequest); ok {
			asked++
			graftd.Status.Transparent = &graftv1.TransparentStatus{State: graftv1.TransparentState_TRANSPARENT_STATE_NOT_LOADED}
			if asked > 2 {
				graftd.Status.Transparent.State = graftv1.TransparentState_TRANSPARENT_STATE_SERVED
			}
		}
		return nil
	}
	hook(stateOf(t, bundle(t, "userdata", ""), annotations), "createRuntime").want(t, 0, "")
	if asked != 3 || graftd.Namespaces() != 1 {
		t.Errorf("asked %d times, there are %d namespaces", asked, graftd.Namespaces())
	}
}

func TestASecondContainerOfTheSameID(t *testing.T) {
	graftd := start(t)
	first, second := bundle(t, "userdata", ""), bundle(t, "userdata", "")
	hook(stateOf(t, first, annotations), "createRuntime").want(t, 0, "")
	held := graftd.Namespace("oci-" + id)
	got := hook(stateOf(t, second, annotations), "createRuntime")
	got.want(t, 1, fmt.Sprintf("graft-oci-hook: container %s: there is a namespaces/oci-%s already, that of the container in %s: "+
		"give this container another id, or end that one\n", id, id, first))
	// Its runtime ends it then; what that removes is not the first one's.
	hook(stateOf(t, second, annotations), "poststop").want(t, 0, "")
	if graftd.Namespace("oci-"+id) != held {
		t.Error("the first container lost its namespace")
	}
	// It starts again, after a poststop that was lost.
	hook(stateOf(t, first, annotations), "createRuntime").want(t, 0, "")
	hook(stateOf(t, first, annotations), "poststop").want(t, 0, "")
	if graftd.Namespaces() != 0 {
		t.Error("something stayed behind")
	}
}

func TestAStateThatIsNone(t *testing.T) {
	for stdin, want := range map[string]string{
		"":                            "it is empty",
		"{":                           "unexpected end of JSON input",
		`{"pid": 1}`:                  "it has no 'id'",
		`{"id": "a", "pid": "1"}`:     "json: cannot unmarshal string into Go struct field state.pid of type int",
		strings.Repeat(" ", 16<<20+1): "it is longer than 16 MiB",
	} {
		sentence := "graft-oci-hook: stdin is not the state that a runtime gives its hooks: " + want + "\n"
		hook(stdin, "createRuntime").want(t, 1, sentence)
		hook(stdin, "poststop").want(t, 0, sentence)
	}
	stdin := fmt.Sprintf(`{"id": "a", "bundle": %q, "annotations": {"graft.ingress": "*:80=native"}}`, bundle(t, "userdata", ""))
	hook(stdin, "createRuntime").want(t, 1,
		"graft-oci-hook: container a: its state has no process (pid 0), which it has at createRuntime\n")
	hook(`{"id": "a", "bundle": "/nonexistent"}`, "createRuntime").want(t, 1, "graft-oci-hook: container a: reading the "+
		"container's configuration: open /nonexistent/config.json: no such file or directory\n")
}

func TestALongIDIsCutAndKeptInFull(t *testing.T) {
	graftd := start(t)
	long := strings.Repeat("0123456789abcdef", 4)
	stdin := strings.ReplaceAll(stateOf(t, bundle(t, "userdata", ""), annotations), `"id":"`+id, `"id":"`+long)
	hook(stdin, "createRuntime").want(t, 0, "")
	calls := graftd.Calls()
	apply, ok := calls[len(calls)-1].(*graftv1.ApplyNamespaceRequest)
	if !ok || len(apply.Name) > len("namespaces/")+63 || !strings.HasPrefix(apply.Name, "namespaces/oci-0123456789abcdef") {
		t.Fatalf("%v", calls)
	}
	if kept := apply.Namespace.Annotations["graft.container"]; kept != long {
		t.Errorf("%q", kept)
	}
	hook(stdin, "poststop").want(t, 0, "")
	if graftd.Namespaces() != 0 {
		t.Error("something stayed behind")
	}
}

func TestTheStatusTellsWhichHookItIs(t *testing.T) {
	graftd := start(t)
	stdin := stateOf(t, bundle(t, "userdata", ""), annotations)
	as := func(status string) string { return strings.ReplaceAll(stdin, `"created"`, `"`+status+`"`) }
	for _, status := range []string{"creating", "created"} {
		hook(as(status), "hook").want(t, 0, "")
		if graftd.Namespaces() != 1 {
			t.Errorf("%s: there is no namespace", status)
		}
		hook(as("stopped"), "hook").want(t, 0, "")
		if graftd.Namespaces() != 0 {
			t.Errorf("%s: something stayed behind", status)
		}
	}
	hook(as("running"), "hook").want(t, 1, "graft-oci-hook: container "+id+`: the status "running" goes with neither hook: `+
		"createRuntime has creating or created, poststop has stopped\n")
}

// The file for hooks.d names what there is, in words that there are.
func TestHooksD(t *testing.T) {
	text, err := os.ReadFile("../../../../packaging/oci/graft.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Version string
		Hook    struct {
			Path    string
			Args    []string
			Timeout int
		}
		When   struct{ Annotations map[string]string }
		Stages []string
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	if file.Version != "1.0.0" || file.Hook.Path != hookPath || time.Duration(file.Hook.Timeout)*time.Second <= 10*time.Second {
		t.Errorf("%+v", file)
	}
	for key := range annotations {
		meant := false
		for pattern := range file.When.Annotations {
			meant = meant || regexp.MustCompile(pattern).MatchString(key)
		}
		if meant != strings.HasPrefix(key, "graft.") {
			t.Errorf("%s: %v", key, meant)
		}
	}
	graftd := start(t)
	stdin := stateOf(t, bundle(t, "userdata", ""), annotations)
	for i, stage := range file.Stages {
		status := map[string]string{"createRuntime": "creating", "poststop": "stopped"}[stage]
		hook(strings.ReplaceAll(stdin, `"created"`, `"`+status+`"`), file.Hook.Args[1:]...).want(t, 0, "")
		if graftd.Namespaces() != 1-i {
			t.Errorf("after %s there are %d namespaces", stage, graftd.Namespaces())
		}
	}
}

func TestACommandLineThatMakesNoSense(t *testing.T) {
	const try = ": try 'graft-oci-hook --help'\n"
	for line, want := range map[string]string{
		"":                               "the hook's name is missing, createRuntime or poststop",
		"prestart":                       `there is no hook or command "prestart"`,
		"createRuntime x":                `createRuntime takes no more words, and there is "x"`,
		"cdi x":                          `cdi takes no more words, and there is "x"`,
		"cdi --output=x":                 "cdi: flag provided but not defined: -output",
		"lxc":                            "after lxc stands the hook, start-host or post-stop",
		"lxc start":                      "after lxc stands the hook, start-host or post-stop",
		"lxc start-host --x":             "lxc start-host: flag provided but not defined: -x",
		"lxc start-host web":             `lxc start-host takes options alone, and there is "web"`,
		"lxc start-host a lxc mount":     `lxc start-host takes options alone, and there is "a"`,
		"lxc start-host --endpoint=http": `lxc start-host: invalid value "http" for flag -endpoint: the '=' is missing: write NAME=ADDRESS:PORT`,
		"lxc start-host --ingress=*:x=http": `lxc start-host: invalid value "*:x=http" for flag -ingress: "x" at character 3 of "*:x=http": ` +
			"the port is not a number from 0 to 65535: write PORT or LOW-HIGH",
	} {
		hook("", strings.Fields(line)...).want(t, 2, "graft-oci-hook: "+want+try)
	}
	if got := hook("", "--help"); got.status != 0 || got.stdout != usage {
		t.Errorf("%+v", got)
	}
	if got := hook("", "--version"); got.status != 0 || got.stdout != "graft-oci-hook "+version+"\n" {
		t.Errorf("%+v", got)
	}
}

func TestLXC(t *testing.T) {
	graftd := start(t)
	t.Setenv("LXC_NAME", "web")
	t.Setenv("LXC_PID", "4321")
	words := []string{
		"lxc", "start-host", "--endpoint", "http=10.0.0.2:80/tcp,mark=7", "--endpoint=out=0.0.0.0:any",
		"--ingress", "*:80=http", "--ingress", "*:443=http", "--egress=*=out", "--transparent=false",
	}
	// lxc.hook.version 1, and 0.
	for _, more := range [][]string{nil, {"web", "lxc", "start-host"}} {
		hook("", append(words, more...)...).want(t, 0, "")
		got := graftd.Namespace("lxc-web")
		if got == nil || len(got.Endpoints.Endpoints) != 2 || len(got.Rules.Rules) != 3 || got.Namespace.Transparent ||
			got.Namespace.Selector.GetProcess().GetPid() != 4321 || got.Namespace.Labels["graft.source"] != "lxc" {
			t.Errorf("%v", got)
		}
		hook("", append([]string{"lxc", "post-stop"}, strings.Fields(strings.ReplaceAll(strings.Join(more, " "), "start-host", "post-stop"))...)...).want(t, 0, "")
		if graftd.Namespaces() != 0 {
			t.Error("something stayed behind")
		}
	}
	graftd.Before = answer(refusal(codes.FailedPrecondition, "NOT_OURS", "it is graftd's own", nil))
	hook("", words...).want(t, 1, "graft-oci-hook: container web: "+host+"\n")
	hook("", "lxc", "start-host", "--egress=*=out").want(t, 1, "graft-oci-hook: lxc start-host: a rule leads to the endpoint "+
		"'out', which there is not: add that endpoint, or name one that there is\n")
	t.Setenv("LXC_PID", "")
	hook("", words...).want(t, 1, "graft-oci-hook: LXC_PID in the environment is no process id: lxc.hook.start-host runs "+
		"this, nobody else\n")
	t.Setenv("LXC_NAME", "")
	hook("", words...).want(t, 1, "graft-oci-hook: LXC_NAME is not in the environment: lxc.hook.start-host runs this, nobody else\n")
}

func TestCDI(t *testing.T) {
	got := hook("", "cdi")
	got.want(t, 0, "")
	var spec cdiSpec
	decoder := json.NewDecoder(strings.NewReader(got.stdout))
	// As runtimes read it.
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&spec); err != nil {
		t.Fatal(err)
	}
	if spec.Version != "0.5.0" || spec.Kind != "graft/container" || len(spec.Devices) != 2 {
		t.Errorf("%+v", spec)
	}
	for _, one := range spec.Devices[0].Edits.Hooks {
		if one.Path != "/usr/libexec/graft/graft-oci-hook" || one.Args[1] != one.Name || one.Timeout <= int(startPatience.Seconds()) {
			t.Errorf("%+v", one)
		}
	}
	if mount := spec.Devices[1].Edits.Mounts[0]; spec.Devices[1].Edits.Env[0] != "LD_PRELOAD="+mount.ContainerPath {
		t.Errorf("%+v", spec.Devices[1])
	}
	packaged, err := os.ReadFile("../../../../packaging/oci/cdi.json")
	if err != nil || string(packaged) != got.stdout {
		t.Errorf("packaging/oci/cdi.json is %q (%v): make it with 'graft-oci-hook cdi --out'", packaged, err)
	}
	file := filepath.Join(t.TempDir(), "cdi", "graft.json")
	hook("", "cdi", "--out", file).want(t, 0, "")
	written, err := os.ReadFile(file)
	if err != nil || string(written) != got.stdout {
		t.Errorf("%q: %v", written, err)
	}
	about, err := os.Stat(file)
	if err != nil || about.Mode().Perm() != 0o644 {
		t.Errorf("%v: %v", about, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("%v", left)
	}
	if got := hook("", "cdi", "--out", file+"/graft.json"); got.status != 1 || !strings.Contains(got.stderr, "not a directory") {
		t.Errorf("%+v", got)
	}
}
