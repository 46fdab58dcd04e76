// SPDX-License-Identifier: Apache-2.0

// Package played is graftd, played for tests: at a unix socket, with what it is told kept in memory.
package played

import (
	"context"
	"net"
	"os"
	"path"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"graftd/clients/go/graftv1"
)

// Graftd may come and go; what it holds, and which requests it has served, stays.
type Graftd struct {
	// Socket is where it listens.
	Socket string

	// Before, where it is set, sees each call first. An error is the call's answer.
	Before func(ctx context.Context, method string, request proto.Message) error

	// After, where it is set, sees each call that was carried out before it is answered.
	After func(method string, request proto.Message)

	// Status is what GetStatus answers.
	Status *graftv1.NodeStatus

	// Changes are what Watch streams; it ends, as in a restart, where there are no more.
	Changes func(request *graftv1.WatchRequest, stream grpc.ServerStreamingServer[graftv1.WatchResponse]) error

	tb       testing.TB
	server   *grpc.Server
	listener net.Listener

	mutex  sync.Mutex
	held   map[string]*graftv1.ApplyNamespaceRequest
	made   map[string]*timestamppb.Timestamp // endpoints, by name
	served map[string]any
	calls  []proto.Message
}

// Start listens, until the test ends.
func Start(tb testing.TB) *Graftd {
	graftd := &Graftd{
		Socket: filepath.Join(tb.TempDir(), "graftd.sock"),
		Status: &graftv1.NodeStatus{State: graftv1.NodeState_NODE_STATE_READY, Version: "0.0.0"},
		tb:     tb,
		held:   map[string]*graftv1.ApplyNamespaceRequest{},
		made:   map[string]*timestamppb.Timestamp{},
		served: map[string]any{},
	}
	graftd.Up()
	tb.Cleanup(graftd.Down)
	return graftd
}

// Up begins to serve, after Down.
func (g *Graftd) Up() {
	listener, err := net.Listen("unix", g.Socket+".new")
	if err != nil {
		g.tb.Fatal(err)
	}
	// As systemd's, the socket is there while nobody listens.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Rename(g.Socket+".new", g.Socket); err != nil {
		g.tb.Fatal(err)
	}
	g.server = grpc.NewServer(grpc.UnaryInterceptor(g.serve))
	graftv1.RegisterNodeServiceServer(g.server, &node{graftd: g})
	graftv1.RegisterNamespaceServiceServer(g.server, &namespaces{graftd: g})
	graftv1.RegisterEndpointServiceServer(g.server, &endpoints{graftd: g})
	graftv1.RegisterWatchServiceServer(g.server, &watch{graftd: g})
	g.listener = listener
	go g.server.Serve(listener)
}

// Target is the socket as clients take it.
func (g *Graftd) Target() string { return "unix:" + g.Socket }

// Calls are the requests so far, those that were repeated included.
func (g *Graftd) Calls() []proto.Message {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return append([]proto.Message(nil), g.calls...)
}

// Namespace returns what was applied to one, by its id; nil where there is none.
func (g *Graftd) Namespace(id string) *graftv1.ApplyNamespaceRequest {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.held["namespaces/"+id]
}

// Namespaces returns how many there are.
func (g *Graftd) Namespaces() int {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return len(g.held)
}

// Refusal is an error as graftd answers it.
func Refusal(code codes.Code, reason, message string, fields ...*errdetails.BadRequest_FieldViolation) error {
	told, err := status.New(code, message).WithDetails(
		&errdetails.ErrorInfo{Reason: reason, Domain: "graftd"},
		&errdetails.BadRequest{FieldViolations: fields},
	)
	if err != nil {
		panic(err)
	}
	return told.Err()
}

func (g *Graftd) serve(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
) (any, error) {
	message := request.(proto.Message)
	method := path.Base(info.FullMethod)
	g.mutex.Lock()
	g.calls = append(g.calls, message)
	g.mutex.Unlock()
	if g.Before != nil {
		if err := g.Before(ctx, method, message); err != nil {
			return nil, err
		}
	}
	id := RequestID(message)
	g.mutex.Lock()
	answer, known := g.served[id]
	var err error
	if !known || id == "" {
		if answer, err = handle(ctx, request); err == nil {
			g.served[id] = answer
		}
	}
	g.mutex.Unlock()
	if err == nil && g.After != nil {
		g.After(method, message)
	}
	return answer, err
}

// RequestID returns a request's id; empty where it has none.
func RequestID(request proto.Message) string {
	message := request.ProtoReflect()
	field := message.Descriptor().Fields().ByName(protoreflect.Name("request_id"))
	if field == nil {
		return ""
	}
	return message.Get(field).String()
}

// Down ends every connection, and the serving, even one that has yet to begin.
func (g *Graftd) Down() {
	g.server.Stop()
	g.listener.Close()
}
