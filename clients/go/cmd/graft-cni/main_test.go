// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"graftd/clients/go/graftv1"
	"graftd/clients/go/internal/played"
)

// The test's program is the plugin where a runtime calls it.
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// outcome is how the plugin ended: what it printed, and the error where it failed.
type outcome struct {
	stdout, stderr string

	Code    uint   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details"`
}

func (o outcome) String() string {
	return fmt.Sprintf("%d %q %q, stderr %q", o.Code, o.Msg, o.Details, o.stderr)
}

const (
	containerID = "5f0c3a"
	chained     = `, "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/none"}],
		"ips": [{"address": "10.88.0.5/16", "interface": 0}]}`
	web = `, "endpoints": [{"name": "http", "inet": {"address": "10.0.0.2", "ports": {"low": 80, "high": 80}}}],
		"rules": [{"direction": "RULE_DIRECTION_INGRESS", "ports": {"low": 80, "high": 80},
			"verdict": "RULE_VERDICT_ENDPOINT", "endpoint": "http"}]`
)

// configuration is one for a graftd, in the newest version, with more keys.
func configuration(graftd *played.Graftd, more string) string {
	return fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "pods", "type": "graft-cni", "target": %q%s}`, graftd.Target(), more)
}

func plugin(t *testing.T, command, stdin string, environment ...string) outcome {
	t.Helper()
	run := exec.Command(os.Args[0])
	run.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_CONTAINERID="+containerID, "CNI_NETNS=/run/netns/none",
		"CNI_IFNAME=eth0", "CNI_PATH=/nowhere",
		// The race detector would wait a second at each end.
		"GORACE=atexit_sleep_ms=0")
	run.Env = append(run.Env, environment...)
	run.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	err := run.Run()
	found := outcome{stdout: stdout.String(), stderr: stderr.String()}
	if err == nil {
		return found
	}
	if err := json.Unmarshal(stdout.Bytes(), &found); err != nil || found.Code == 0 {
		t.Fatalf("%s failed without an error of CNI's: %s", command, found.stdout)
	}
	return found
}

func applied(t *testing.T, graftd *played.Graftd) *graftv1.ApplyNamespaceRequest {
	t.Helper()
	for _, call := range graftd.Calls() {
		if request, ok := call.(*graftv1.ApplyNamespaceRequest); ok {
			return request
		}
	}
	t.Fatal("nothing was applied")
	return nil
}

func TestVersion(t *testing.T) {
	found := plugin(t, "VERSION", `{"cniVersion": "1.1.0"}`)
	if !strings.Contains(found.stdout, `"supportedVersions":["0.4.0","1.0.0","1.1.0"]`) {
		t.Errorf("got %s", found.stdout)
	}
}

func TestAddBehindAnotherPluginPassesItsResultOn(t *testing.T) {
	for _, version := range []string{"0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			graftd := played.Start(t)
			stdin := strings.ReplaceAll(configuration(graftd, web+chained), "1.1.0", version)
			stdin = strings.ReplaceAll(stdin, `{"cniVersion": "1.0.0"`, fmt.Sprintf("{%q: %q", "cniVersion", version))
			found := plugin(t, "ADD", stdin, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0")
			if found.Code != 0 {
				t.Fatal(found)
			}
			var result struct {
				CNIVersion string `json:"cniVersion"`
				Interfaces []struct{ Name string }
				IPs        []struct{ Address string }
			}
			if err := json.Unmarshal([]byte(found.stdout), &result); err != nil {
				t.Fatal(err)
			}
			if result.CNIVersion != version || result.Interfaces[0].Name != "eth0" || result.IPs[0].Address != "10.88.0.5/16" {
				t.Errorf("got %+v", result)
			}
			request := applied(t, graftd)
			namespace := request.Namespace
			if !namespace.Transparent || !namespace.Transient || namespace.Selector.GetPath() != "/run/netns/none" {
				t.Errorf("the namespace is %v", namespace)
			}
			if !strings.HasPrefix(request.Name, "namespaces/cni-5f0c3a-") || namespace.Annotations["graft.pod"] != "shop/web-0" ||
				namespace.Labels["graft.source"] != "cni" || namespace.Labels["graft.network"] != "pods" {
				t.Errorf("the namespace is %s, %v", request.Name, namespace)
			}
			if name := request.Endpoints.Endpoints[0].Name; name != request.Name+"/endpoints/http" {
				t.Errorf("the endpoint is %s", name)
			}
		})
	}
}

func TestAPodWithoutAnInterfaceHasTheAddressesThatItIsSaidToHave(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to make a network namespace takes root")
	}
	asleep := exec.Command("sleep", "60")
	asleep.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := asleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { asleep.Process.Kill(); asleep.Wait() }()
	netns := fmt.Sprintf("CNI_NETNS=/proc/%d/ns/net", asleep.Process.Pid)
	graftd := played.Start(t)
	found := plugin(t, "ADD", configuration(graftd, `, "podAddresses": ["10.0.0.2", "fd00::2"]`), netns)
	var result struct {
		Interfaces []struct{ Name string }
		IPs        []struct {
			Address   string
			Interface *int
		}
	}
	if err := json.Unmarshal([]byte(found.stdout), &result); err != nil || found.Code != 0 {
		t.Fatal(found, err)
	}
	if len(result.Interfaces) != 1 || len(result.IPs) != 2 || result.IPs[0].Interface != nil ||
		result.IPs[0].Address != "10.0.0.2/32" || result.IPs[1].Address != "fd00::2/128" {
		t.Errorf("got %+v", result)
	}
}

func TestAProcesssFileIsTakenForTheProcess(t *testing.T) {
	graftd := played.Start(t)
	if found := plugin(t, "ADD", configuration(graftd, web+chained), "CNI_NETNS=/proc/4321/ns/net"); found.Code != 0 {
		t.Fatal(found)
	}
	if selector := applied(t, graftd).Namespace.Selector; selector.GetProcess().GetPid() != 4321 {
		t.Errorf("the selector is %v", selector)
	}
}

func TestArgsAndPortMappingsAddToTheTable(t *testing.T) {
	for _, args := range []string{
		"GRAFT_ENDPOINT=out=10.0.0.2:any/tcp,mark=7;GRAFT_EGRESS=10.0.0.0/24=out,*=deny;GRAFT_ENDPOINT=ctl=unix:@ctl",
		"GRAFT_ENDPOINT=out->10.0.0.2:any/tcp,mark->7;GRAFT_EGRESS=10.0.0.0/24->out,*->deny;GRAFT_ENDPOINT=ctl->unix:@ctl",
	} {
		t.Run(args, func(t *testing.T) { addsToTheTable(t, args) })
	}
}

func addsToTheTable(t *testing.T, args string) {
	graftd := played.Start(t)
	mappings := `, "capabilities": {"portMappings": true}, "transparent": false, "runtimeConfig": {"portMappings": [
		{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
		{"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.1"}]}`
	found := plugin(t, "ADD", configuration(graftd, mappings+chained), "CNI_ARGS="+args)
	if found.Code != 0 {
		t.Fatal(found)
	}
	request := applied(t, graftd)
	if request.Namespace.Transparent {
		t.Error("it is transparent")
	}
	var endpoints, rules []string
	for _, one := range request.Endpoints.Endpoints {
		id := strings.TrimPrefix(one.Name, request.Name+"/endpoints/")
		endpoints = append(endpoints, fmt.Sprintf("%s %s %d", id, one.GetInet().GetAddress(), one.GetInet().GetPorts().GetLow()))
	}
	for _, one := range request.Rules.Rules {
		text := fmt.Sprintf("%s %d %s", one.Network, one.Ports.GetLow(), one.Endpoint)
		rules = append(rules, strings.TrimSpace(text)+" "+strings.ToLower(one.Direction.String()[len("RULE_DIRECTION_"):]))
	}
	want := "out 10.0.0.2 0; ctl  0; port-80-tcp-ipv4 0.0.0.0 8080; port-80-tcp-ipv6 :: 8080; port-53-udp-ipv4 192.0.2.1 5353"
	if text := strings.Join(endpoints, "; "); text != want {
		t.Errorf("endpoints\n%s, want\n%s", text, want)
	}
	want = "10.0.0.0/24 0 out egress;  0 egress; 0.0.0.0/0 80 port-80-tcp-ipv4 ingress; 127.0.0.0/8 80 ingress; " +
		"::/0 80 port-80-tcp-ipv6 ingress; ::1/128 80 ingress; 0.0.0.0/0 53 port-53-udp-ipv4 ingress; 127.0.0.0/8 53 ingress; " +
		"::/0 53 port-53-udp-ipv4 ingress; ::1/128 53 ingress"
	if text := strings.Join(rules, "; "); strings.ReplaceAll(text, ";  ", "; ") != strings.ReplaceAll(want, ";  ", "; ") {
		t.Errorf("rules\n%s, want\n%s", text, want)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	mapped := func(text string) string { return `, "runtimeConfig": {"portMappings": [` + text + `]}` }
	for _, one := range []struct {
		name, more, args string
		code             uint
		wrong            string
	}{
		{name: "an unknown key", more: `, "endpoint": []`, code: 7,
			wrong: "graft-cni has no 'endpoint': it has acl, endpoints, podAddresses, rules, target, timeout, transparent"},
		{name: "of another type", more: `, "endpoints": "http"`, code: 6, wrong: "'endpoints' is a string; it has to be a list"},
		{name: "an unknown field", more: `, "endpoints": [{"name": "a", "inet": {"port": 80}}]`, code: 7,
			wrong: "endpoints[0].inet has no 'port': it has address, ports, protocols, mark, device"},
		{name: "graftd's own field", more: `, "rules": [{"uid": "x"}]`, code: 7,
			wrong: "rules[0] has no 'uid': it has name, direction, network, protocols, ports, verdict, endpoint"},
		{name: "no object", more: `, "acl": ["allow"]`, code: 7, wrong: "acl[0]: a JSON object has to stand here"},
		{name: "an unknown word", more: `, "rules": [{"direction": "INGRESS"}]`, code: 7,
			wrong: "rules[0].direction: 'INGRESS' is none of RULE_DIRECTION_INGRESS, RULE_DIRECTION_EGRESS"},
		{name: "an unknown word in a list", more: `, "rules": [{"protocols": ["PROTOCOL_TCP", "tcp"]}]`, code: 7,
			wrong: "rules[0].protocols: 'tcp' is none of PROTOCOL_TCP, PROTOCOL_UDP"},
		{name: "a text for a number", more: `, "endpoints": [{"maxSockets": "many"}]`, code: 7,
			wrong: `endpoints[0]: invalid value for uint32 field maxSockets: "many"`},
		{name: "no name", more: `, "endpoints": [{"inet": {}}]`, code: 7, wrong: "endpoints[0]: the endpoint has no name"},
		{name: "a full name", more: `, "endpoints": [{"name": "namespaces/a/endpoints/b"}]`, code: 7,
			wrong: "endpoints[0]: 'namespaces/a/endpoints/b' has a '/': write the id alone"},
		{name: "a name twice", more: `, "endpoints": [{"name": "a"}, {"name": "a"}]`, code: 7,
			wrong: "endpoints[1]: there are two endpoints named 'a'"},
		{name: "an endpoint that is not there", args: "GRAFT_INGRESS=*:80=none", code: 7,
			wrong: "a rule leads to the endpoint 'none', which there is not"},
		{name: "an unknown argument", args: "GRAFT_RULES=a", code: 7, wrong: "CNI_ARGS has no 'GRAFT_RULES' for graft-cni"},
		{name: "an endpoint without a name", args: "GRAFT_ENDPOINT=10.0.0.2:80", code: 7,
			wrong: "CNI_ARGS: GRAFT_ENDPOINT is '10.0.0.2:80': write NAME->ADDRESS:PORT"},
		{name: "an address that is none", args: "GRAFT_ENDPOINT=a=10.0.0:80", code: 7,
			wrong: `CNI_ARGS: GRAFT_ENDPOINT: "10.0.0" at character 1 of "10.0.0:80": this is no address`},
		{name: "a timeout for ever", more: `, "timeout": 1000`, code: 7, wrong: "timeout 1000: it is a number of seconds, to 120"},
		{name: "a pod's address that is none", more: `, "podAddresses": ["10.0.0.2", "10.0.0.2/24"]`, code: 7,
			wrong: "podAddresses[1]: '10.0.0.2/24' is no address"},
		{name: "a pod's address besides another plugin's", more: `, "podAddresses": ["10.0.0.2"]`, code: 7,
			wrong: "the plugins before graft-cni made one: leave them out"},
		{name: "no port", more: mapped(`{"containerPort": 80}`), code: 7,
			wrong: "runtimeConfig.portMappings[0]: hostPort 0 and containerPort 80: each is a number from 1 to 65535"},
		{name: "SCTP", more: mapped(`{"hostPort": 1, "containerPort": 1, "protocol": "sctp"}`), code: 7,
			wrong: "runtimeConfig.portMappings[0]: the protocol 'sctp' cannot be grafted: write tcp or udp"},
		{name: "a host's name", more: mapped(`{"hostPort": 1, "containerPort": 1, "hostIP": "localhost"}`), code: 7,
			wrong: "runtimeConfig.portMappings[0]: hostIP 'localhost' is no address"},
		{name: "one port to two", more: mapped(`{"hostPort": 1, "containerPort": 80}, {"hostPort": 2, "containerPort": 80}`),
			code: 7, wrong: "portMappings[1]: the container's port 80/tcp is mapped to 0.0.0.0:1/tcp already"},
		{name: "two ports to one", more: mapped(`{"hostPort": 1, "containerPort": 80}, {"hostPort": 1, "containerPort": 81}`),
			code: 7, wrong: "the host's port 0.0.0.0:1/tcp is mapped to two ports of the container"},
		{name: "a rule for a mapped port", args: "GRAFT_ENDPOINT=a=10.0.0.2:80;GRAFT_INGRESS=0.0.0.0/0:80,tcp=a",
			more: mapped(`{"hostPort": 1, "containerPort": 80}`), code: 7,
			wrong: "the mapping of the container's port 80/tcp meets a rule for the same port of 0.0.0.0/0"},
	} {
		t.Run(one.name, func(t *testing.T) {
			graftd := played.Start(t)
			found := plugin(t, "ADD", configuration(graftd, one.more+chained), "CNI_ARGS="+one.args)
			if found.Code != one.code || !strings.Contains(found.Msg, one.wrong) {
				t.Errorf("got %v\nwant %d %q", found, one.code, one.wrong)
			}
			if len(graftd.Calls()) != 0 {
				t.Error("graftd was asked all the same")
			}
			// What was never added is removed without an error.
			if found := plugin(t, "DEL", configuration(graftd, one.more+chained), "CNI_ARGS="+one.args); found.Code == 7 {
				t.Error(found)
			}
		})
	}
}

func TestWhatGraftdRefusesIsSaidWithDetails(t *testing.T) {
	graftd := played.Start(t)
	for _, one := range []struct {
		refusal error
		want    string
	}{
		{played.Refusal(codes.InvalidArgument, "INVALID_FIELD", "the address is none",
			&errdetails.BadRequest_FieldViolation{Field: "endpoints.endpoints[0].inet.address", Description: "write one"}),
			`7 "the address is none" "graftd's status is InvalidArgument, for the reason INVALID_FIELD; ` +
				`endpoints[0].inet.address: write one"`},
		{played.Refusal(codes.PermissionDenied, "POLICY_DENIED", "port 80 is not allowed"),
			`100 "port 80 is not allowed" "graftd's status is PermissionDenied, for the reason POLICY_DENIED`},
		{played.Refusal(codes.Unavailable, "MODULE_NOT_LOADED", "modprobe graft"), `100 "modprobe graft"`},
		{played.Refusal(codes.Unavailable, "STARTING", "graftd starts"), `11 "graftd starts"`},
		{played.Refusal(codes.AlreadyExists, "SELECTOR_TAKEN", "taken"),
			`100 "the container's network namespace has a table already`},
		{played.Refusal(codes.FailedPrecondition, "NOT_OURS", "no"), `100 "the container is in the host's own network namespace`},
	} {
		graftd.Before = func(_ context.Context, method string, _ proto.Message) error {
			if method == "ApplyNamespace" {
				return one.refusal
			}
			return nil
		}
		found := plugin(t, "ADD", configuration(graftd, web+chained+`, "timeout": 5`))
		if !strings.HasPrefix(found.String(), one.want) {
			t.Errorf("got  %v\nwant %s", found, one.want)
		}
	}
}

func TestAddIsBounded(t *testing.T) {
	graftd := played.Start(t)
	graftd.Before = func(ctx context.Context, _ string, _ proto.Message) error {
		<-ctx.Done()
		return ctx.Err()
	}
	begun := time.Now()
	found := plugin(t, "ADD", configuration(graftd, `, "timeout": 0.5`+chained))
	if found.Code != 11 || !strings.Contains(found.Msg, "did not answer in time") {
		t.Error(found)
	}
	if spent := time.Since(begun); spent > 8*time.Second {
		t.Errorf("it took %v", spent)
	}
}

func TestAddWaitsForARestart(t *testing.T) {
	graftd := played.Start(t)
	graftd.Down()
	go func() {
		time.Sleep(500 * time.Millisecond)
		graftd.Up()
	}()
	if found := plugin(t, "ADD", configuration(graftd, chained)); found.Code != 0 {
		t.Error(found)
	}
}

func TestAPortIsMappedOnce(t *testing.T) {
	mapped := func(ip string, port int, protocol string) string {
		return fmt.Sprintf(`, "runtimeConfig": {"portMappings": [
			{"hostPort": %d, "containerPort": 80, "protocol": %q, "hostIP": %q}]}`, port, protocol, ip) + chained
	}
	for _, one := range []struct {
		ip, protocol string
		port         int
		taken        bool
	}{
		{"", "tcp", 8080, true},
		{"192.0.2.1", "tcp", 8080, true},
		{"192.0.2.2", "tcp", 8080, false},
		{"::", "tcp", 8080, true},
		{"2001:db8::1", "tcp", 8080, false},
		{"192.0.2.1", "udp", 8080, false},
		{"192.0.2.1", "tcp", 8081, false},
	} {
		t.Run(fmt.Sprint(one), func(t *testing.T) {
			graftd := played.Start(t)
			first := configuration(graftd, mapped("192.0.2.1", 8080, "tcp"))
			// The same container again finds its own.
			for range 2 {
				if found := plugin(t, "ADD", first); found.Code != 0 {
					t.Fatal(found)
				}
			}
			found := plugin(t, "ADD", configuration(graftd, mapped(one.ip, one.port, one.protocol)), "CNI_CONTAINERID=other")
			if one.taken != (found.Code == 100) || one.taken && !strings.Contains(found.Msg, ":8080/tcp is mapped already, by") {
				t.Error(found)
			}
			if !one.taken && found.Code != 0 {
				t.Error(found)
			}
		})
	}
}

func TestOfTwoThatMapAPortAtOnceTheLaterFails(t *testing.T) {
	mapped := `, "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}` + chained
	// Whichever is first by name.
	for _, one := range []struct{ earlier, later string }{{"a", "b"}, {"b", "a"}} {
		t.Run(one.later, func(t *testing.T) {
			graftd := played.Start(t)
			stdin := configuration(graftd, mapped)
			var applies atomic.Int32
			var earlier outcome
			// The later one has found the port free; the earlier one is done while the later has not looked again.
			graftd.Before = func(_ context.Context, method string, _ proto.Message) error {
				if method == "ApplyNamespace" && applies.Add(1) == 1 {
					earlier = plugin(t, "ADD", stdin, "CNI_CONTAINERID="+one.earlier)
				}
				return nil
			}
			later := plugin(t, "ADD", stdin, "CNI_CONTAINERID="+one.later)
			if later.Code != 100 || !strings.Contains(later.Msg, ":8080/tcp is mapped already, by namespaces/cni-"+one.earlier) {
				t.Errorf("the later: %v", later)
			}
			if earlier.Code != 0 || graftd.Namespaces() != 1 {
				t.Errorf("the earlier: %v; there are %d namespaces", earlier, graftd.Namespaces())
			}
		})
	}
}

func TestOfTwoThatMapAPortAtOnceTheEarlierIsLeftAlone(t *testing.T) {
	graftd := played.Start(t)
	mapped := `, "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}` + chained
	stdin := configuration(graftd, mapped)
	// Both have found the port free, and the earlier one looks again while the later is there.
	applied, both, looked := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var lists, applies atomic.Int32
	graftd.After = func(method string, _ proto.Message) {
		switch method {
		case "ListEndpoints":
			switch lists.Add(1) {
			case 1: // of the later
				<-applied
			case 3: // of the earlier, again
				close(looked)
			}
		case "ApplyNamespace":
			switch applies.Add(1) {
			case 1:
				close(applied)
				<-both
			case 2:
				close(both)
				<-looked
			}
		}
	}
	ended := make(chan outcome)
	go func() { ended <- plugin(t, "ADD", stdin, "CNI_CONTAINERID=later") }()
	for lists.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if found := plugin(t, "ADD", stdin, "CNI_CONTAINERID=earlier"); found.Code != 0 {
		t.Errorf("the earlier: %v", found)
	}
	if found := <-ended; found.Code != 100 {
		t.Errorf("the later: %v", found)
	}
}

func TestDelSucceedsWhateverIsThere(t *testing.T) {
	graftd := played.Start(t)
	stdin := configuration(graftd, chained)
	if found := plugin(t, "ADD", stdin); found.Code != 0 || graftd.Namespaces() != 1 {
		t.Fatal(found)
	}
	for range 2 {
		if found := plugin(t, "DEL", stdin, "CNI_NETNS="); found.Code != 0 || found.stderr != "" || graftd.Namespaces() != 0 {
			t.Error(found)
		}
	}
	if found := plugin(t, "DEL", configuration(graftd, `, "endpoints": [{"no": "endpoint"}]`)); found.Code != 0 {
		t.Error(found)
	}
	graftd.Down()
	begun := time.Now()
	found := plugin(t, "DEL", stdin)
	if found.Code != 0 || !strings.Contains(found.stderr, "systemctl start graftd; the table of container 5f0c3a goes by itself") {
		t.Error(found)
	}
	if spent := time.Since(begun); spent > 8*time.Second {
		t.Errorf("it took %v", spent)
	}
}

func TestDelFailsWhereItsRequestIsAtFaultAlone(t *testing.T) {
	graftd := played.Start(t)
	for _, one := range []struct {
		code   codes.Code
		reason string
		want   uint
	}{
		{codes.FailedPrecondition, "NAMESPACE_IN_USE", 0},
		{codes.FailedPrecondition, "KERNEL_REFUSED", 0},
		{codes.Unavailable, "TABLES_CLAIMED", 0},
		{codes.DataLoss, "STORE_DAMAGED", 0},
		{codes.PermissionDenied, "ROLE_REQUIRED", 100},
	} {
		graftd.Before = func(_ context.Context, method string, _ proto.Message) error {
			if method == "DeleteNamespace" {
				return played.Refusal(one.code, one.reason, "graftd says so")
			}
			return nil
		}
		found := plugin(t, "DEL", configuration(graftd, ""))
		if found.Code != one.want || !strings.Contains(found.Msg+found.stderr, "graftd says so") {
			t.Errorf("%s: %v", one.reason, found)
		}
	}
}

func TestCheck(t *testing.T) {
	graftd := played.Start(t)
	stdin := configuration(graftd, web+chained)
	if found := plugin(t, "CHECK", stdin); found.Code != 100 || !strings.Contains(found.Details, "NAMESPACE_NOT_FOUND") {
		t.Errorf("nothing was added: %v", found)
	}
	if found := plugin(t, "ADD", stdin); found.Code != 0 {
		t.Fatal(found)
	}
	if found := plugin(t, "CHECK", stdin); found.Code != 0 {
		t.Error(found)
	}
	if found := plugin(t, "CHECK", configuration(graftd, web)); found.Code != 7 || !strings.Contains(found.Msg, "prevResult") {
		t.Errorf("there is no prevResult: %v", found)
	}
	held := graftd.Namespace(strings.TrimPrefix(applied(t, graftd).Name, "namespaces/"))
	extra := proto.CloneOf(held.Endpoints.Endpoints[0])
	extra.Name += "-of-another"
	held.Endpoints.Endpoints = append(held.Endpoints.Endpoints, extra)
	if found := plugin(t, "CHECK", stdin); found.Code != 0 {
		t.Errorf("someone added an endpoint: %v", found)
	}
	held.Endpoints.Endpoints[0].MaxSockets = 1
	if found := plugin(t, "CHECK", stdin); found.Code != 100 || !strings.Contains(found.Msg, "is not as it was made") {
		t.Errorf("someone changed an endpoint: %v", found)
	}
	held.Endpoints.Endpoints = nil
	if found := plugin(t, "CHECK", stdin); found.Code != 100 || !strings.Contains(found.Msg, "/endpoints/http is missing") {
		t.Errorf("someone deleted an endpoint: %v", found)
	}
}

func TestGCTakesWhatNoAttachmentHas(t *testing.T) {
	graftd := played.Start(t)
	other := strings.Replace(configuration(graftd, chained), `"pods"`, `"others"`, 1)
	for _, one := range []string{"a", "b", "c"} {
		if found := plugin(t, "ADD", configuration(graftd, chained), "CNI_CONTAINERID="+one); found.Code != 0 {
			t.Fatal(found)
		}
	}
	if found := plugin(t, "ADD", other, "CNI_CONTAINERID=d"); found.Code != 0 {
		t.Fatal(found)
	}
	valid := `, "cni.dev/valid-attachments": [{"containerID": "b", "ifname": "eth0"}, {"containerID": "c", "ifname": "net1"}]`
	if found := plugin(t, "GC", configuration(graftd, valid)); found.Code != 0 {
		t.Fatal(found)
	}
	if graftd.Namespaces() != 2 {
		t.Errorf("there are %d namespaces, not b and the other network's", graftd.Namespaces())
	}
	if found := plugin(t, "GC", configuration(graftd, "")); found.Code != 0 || graftd.Namespaces() != 1 {
		t.Errorf("without valid ones: %v", found)
	}
}

func TestStatus(t *testing.T) {
	degraded := func(reason, message string) *graftv1.NodeStatus {
		conditions := []*graftv1.Condition{{Reason: reason, Message: message}}
		return &graftv1.NodeStatus{State: graftv1.NodeState_NODE_STATE_DEGRADED, Conditions: conditions}
	}
	refusing := degraded("KERNEL_REFUSED", "the module does not let graftd write")
	refusing.Kernel = &graftv1.KernelStatus{ModuleState: graftv1.ModuleState_MODULE_STATE_REFUSING}
	refused := degraded("KERNEL_REFUSED", "the kernel refuses one of the store's resources")
	refused.Kernel = &graftv1.KernelStatus{ModuleState: graftv1.ModuleState_MODULE_STATE_LOADED}
	ready := graftv1.NodeState_NODE_STATE_READY
	door := &graftv1.TransparentStatus{Detail: "start graft-transparent.service"}
	for _, one := range []struct {
		name   string
		status *graftv1.NodeStatus
		more   string
		want   string
	}{
		{"ready", &graftv1.NodeStatus{State: ready}, "", `0 "" "", stderr ""`},
		{"no door", &graftv1.NodeStatus{State: ready, Transparent: door}, "",
			`0 "" "", stderr "graft-cni: only programs that preload libgraft.so are grafted: start graft-transparent.service`},
		{"no door wanted", &graftv1.NodeStatus{State: ready, Transparent: door}, `, "transparent": false`, `0 "" "", stderr ""`},
		{"no module", degraded("MODULE_NOT_LOADED", "modprobe graft"), "", `51 "graftd cannot serve: modprobe graft"`},
		{"claimed", degraded("TABLES_CLAIMED", "end it"), "", `50 "graftd cannot serve: end it"`},
		{"the module refuses", refusing, "", `50 "graftd cannot serve: the module does not let graftd write"`},
		{"a resource is refused", refused, "",
			`0 "" "", stderr "graft-cni: the kernel refuses one of the store's resources`},
		{"a full disk", degraded("STORE_FULL", "make room"), "", `50 "graftd cannot serve: make room"`},
		{"frozen", &graftv1.NodeStatus{State: ready, Frozen: true, FreezeReason: "upgrade"}, "", `51 "graftd is frozen`},
	} {
		t.Run(one.name, func(t *testing.T) {
			graftd := played.Start(t)
			graftd.Status = one.status
			if found := plugin(t, "STATUS", configuration(graftd, one.more)); !strings.HasPrefix(found.String(), one.want) {
				t.Errorf("got  %v\nwant %s", found, one.want)
			}
		})
	}
	graftd := played.Start(t)
	graftd.Down()
	found := plugin(t, "STATUS", configuration(graftd, `, "timeout": 3`))
	if found.Code != 50 || !strings.HasSuffix(found.Msg, "systemctl start graftd") {
		t.Error(found)
	}
}
