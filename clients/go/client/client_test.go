// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"graftd/clients/go/client"
	"graftd/clients/go/graftv1"
	"graftd/clients/go/internal/played"
)

func dial(t *testing.T, graftd *played.Graftd, patience time.Duration) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, client.Options{Target: graftd.Target(), Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func apply(ctx context.Context, c *client.Client) error {
	_, err := c.Namespaces.ApplyNamespace(ctx, &graftv1.ApplyNamespaceRequest{
		Name:         "namespaces/web",
		Namespace:    &graftv1.Namespace{},
		AllowMissing: true,
	})
	return err
}

func failure(t *testing.T, err error) *client.Error {
	t.Helper()
	var found *client.Error
	if !errors.As(err, &found) {
		t.Fatalf("%v is no client.Error", err)
	}
	return found
}

func TestNobodyListens(t *testing.T) {
	graftd := played.Start(t)
	graftd.Down()
	_, err := client.Dial(t.Context(), client.Options{Target: graftd.Target(), Patience: 2 * time.Second})
	want := "graftd is not running, nobody listens at " + graftd.Socket + ": systemctl start graftd"
	if found := failure(t, err); found.Message != want || found.Code != codes.Unavailable || !found.Passing {
		t.Errorf("got %+v, want %q", found, want)
	}
}

func TestTimeThatEndsBeforeTheFirstAttempt(t *testing.T) {
	graftd := played.Start(t)
	want := "graftd at " + graftd.Target() + " did not answer in time: "
	_, err := client.Dial(t.Context(), client.Options{Target: graftd.Target(), Patience: time.Nanosecond})
	if found := failure(t, err); !strings.HasPrefix(found.Message, want) || found.Code != codes.DeadlineExceeded {
		t.Errorf("one that listens: got %+v, want %q", found, want)
	}
	graftd.Down()
	want = "graftd is not running, nobody listens at " + graftd.Socket + ": systemctl start graftd"
	_, err = client.Dial(t.Context(), client.Options{Target: graftd.Target(), Patience: time.Nanosecond})
	if found := failure(t, err); found.Message != want || found.Code != codes.Unavailable {
		t.Errorf("one that is down: got %+v, want %q", found, want)
	}
}

func TestThereIsNoSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "graftd.sock")
	begun := time.Now()
	_, err := client.Dial(t.Context(), client.Options{Target: "unix:" + path, Patience: time.Minute})
	want := "graftd cannot be reached, for there is no " + path + ": systemctl start graftd"
	if found := failure(t, err); found.Message != want {
		t.Errorf("got %q, want %q", found.Message, want)
	}
	if spent := time.Since(begun); spent > 10*time.Second {
		t.Errorf("it took %v to see that", spent)
	}
}

func TestASocketThatIsMadeAnewIsWaitedFor(t *testing.T) {
	graftd := played.Start(t)
	graftd.Down()
	if err := os.Remove(graftd.Socket); err != nil {
		t.Fatal(err)
	}
	_, err := client.Dial(t.Context(), client.Options{Target: graftd.Target(), Patience: 300 * time.Millisecond})
	want := "graftd cannot be reached, for there is no " + graftd.Socket + ": systemctl start graftd"
	if found := failure(t, err); found.Message != want || !found.Passing {
		t.Errorf("got %+v, want %q", found, want)
	}
	restarted := make(chan struct{})
	go func() {
		time.Sleep(500 * time.Millisecond)
		graftd.Up()
		close(restarted)
	}()
	dial(t, graftd, 20*time.Second)
	<-restarted
}

func TestASlowServerIsNotWaitedForForEver(t *testing.T) {
	graftd := played.Start(t)
	graftd.Before = func(ctx context.Context, method string, _ proto.Message) error {
		if method == "ApplyNamespace" {
			<-ctx.Done()
		}
		return ctx.Err()
	}
	err := apply(t.Context(), dial(t, graftd, 3*time.Second))
	found := failure(t, err)
	if found.Code != codes.DeadlineExceeded || !strings.Contains(found.Message, "did not answer in time") {
		t.Errorf("got %+v", found)
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("to gRPC its code is %v", status.Code(err))
	}
}

func TestTheLastAnswerIsTold(t *testing.T) {
	for _, one := range []struct {
		name     string
		answer   func(ctx context.Context, cancel func()) error
		patience time.Duration
		code     codes.Code
		reason   string
	}{
		{"that lasts", func(context.Context, func()) error { return status.Error(codes.ResourceExhausted, "enough") },
			time.Minute, codes.ResourceExhausted, ""},
		{"by the caller", func(ctx context.Context, cancel func()) error { cancel(); <-ctx.Done(); return ctx.Err() },
			time.Minute, codes.Canceled, ""},
		// That it did not come in time says less than the one before.
		{"that does not come", func(ctx context.Context, _ func()) error { <-ctx.Done(); return ctx.Err() },
			5 * time.Second, codes.Unavailable, "STARTING"},
	} {
		t.Run(one.name, func(t *testing.T) {
			graftd := played.Start(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var attempts atomic.Int32
			graftd.Before = func(ctx context.Context, method string, _ proto.Message) error {
				if method != "ApplyNamespace" {
					return nil
				}
				if attempts.Add(1) == 1 {
					return played.Refusal(codes.Unavailable, "STARTING", "graftd starts")
				}
				return one.answer(ctx, cancel)
			}
			found := failure(t, apply(ctx, dial(t, graftd, one.patience)))
			if found.Code != one.code || found.Reason != one.reason || attempts.Load() != 2 {
				t.Errorf("after %d attempts it is %+v", attempts.Load(), found)
			}
		})
	}
}

func TestACallerWhoGoesIsNotKept(t *testing.T) {
	graftd := played.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	graftd.Before = func(ctx context.Context, method string, _ proto.Message) error {
		if method == "ApplyNamespace" {
			cancel()
			<-ctx.Done()
		}
		return nil
	}
	if found := failure(t, apply(ctx, dial(t, graftd, time.Minute))); found.Code != codes.Canceled {
		t.Errorf("got %+v", found)
	}
}

func TestARestartInTheMiddleOfACallIsWaitedForAndTheCallDoneOnce(t *testing.T) {
	graftd := played.Start(t)
	var once sync.Once
	restarted := make(chan struct{})
	graftd.After = func(method string, _ proto.Message) {
		if method != "ApplyNamespace" {
			return
		}
		// It is carried out, and the answer is lost.
		once.Do(func() {
			graftd.Down()
			go func() {
				time.Sleep(300 * time.Millisecond)
				graftd.Up()
				close(restarted)
			}()
		})
	}
	c := dial(t, graftd, 20*time.Second)
	if err := apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	<-restarted
	ids := map[string]int{}
	for _, call := range graftd.Calls() {
		if request, ok := call.(*graftv1.ApplyNamespaceRequest); ok {
			ids[request.RequestId]++
		}
	}
	if len(ids) != 1 || ids[""] != 0 {
		t.Errorf("the repetition was another request: %v", ids)
	}
	for _, times := range ids {
		if times < 2 {
			t.Errorf("the request came %d times", times)
		}
	}
}

func TestEachCallIsARequestOfItsOwn(t *testing.T) {
	graftd := played.Start(t)
	c := dial(t, graftd, time.Minute)
	request := &graftv1.DeleteNamespaceRequest{Name: "namespaces/web", AllowMissing: true}
	for range 2 {
		if _, err := c.Namespaces.DeleteNamespace(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	calls := graftd.Calls()
	first, second := played.RequestID(calls[1]), played.RequestID(calls[2])
	if first == "" || first == second {
		t.Errorf("the ids are %q and %q", first, second)
	}
	if request.RequestId != "" {
		t.Errorf("the caller's request was given the id %q", request.RequestId)
	}
	request.RequestId = "4b0b4c3e-6d1c-4a0e-9a52-6c1f2f9e3f10"
	if _, err := c.Namespaces.DeleteNamespace(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if last := played.RequestID(graftd.Calls()[3]); last != request.RequestId {
		t.Errorf("the caller's id became %q", last)
	}
}

func TestWhatIsRepeated(t *testing.T) {
	for _, one := range []struct {
		code    codes.Code
		reason  string
		repeats bool
	}{
		{codes.Unavailable, "STARTING", true},
		{codes.Unavailable, "SHUTTING_DOWN", true},
		{codes.Unavailable, "STORE_BUSY", true},
		{codes.ResourceExhausted, "OVERLOADED", true},
		{codes.Unavailable, "MODULE_NOT_LOADED", false},
		{codes.Unavailable, "STORE_FULL", false},
		{codes.PermissionDenied, "POLICY_DENIED", false},
	} {
		t.Run(one.reason, func(t *testing.T) {
			graftd := played.Start(t)
			tries := 0
			graftd.Before = func(_ context.Context, method string, _ proto.Message) error {
				if method != "ApplyNamespace" {
					return nil
				}
				if tries++; tries < 3 {
					return played.Refusal(one.code, one.reason, "graftd says so")
				}
				return nil
			}
			err := apply(t.Context(), dial(t, graftd, time.Minute))
			if one.repeats {
				if err != nil || tries != 3 {
					t.Errorf("after %d tries: %v", tries, err)
				}
				return
			}
			if found := failure(t, err); tries != 1 || found.Reason != one.reason || found.Message != "graftd says so" {
				t.Errorf("after %d tries: %+v", tries, found)
			}
		})
	}
}

func TestDetails(t *testing.T) {
	graftd := played.Start(t)
	graftd.Before = func(_ context.Context, method string, _ proto.Message) error {
		if method != "ApplyNamespace" {
			return nil
		}
		return played.Refusal(codes.InvalidArgument, "INVALID_FIELD", "the address is none",
			&errdetails.BadRequest_FieldViolation{Field: "endpoints.endpoints[0].inet.address", Description: "write 10.0.0.2"})
	}
	found := failure(t, apply(t.Context(), dial(t, graftd, time.Minute)))
	if found.Error() != "the address is none" || found.Reason != "INVALID_FIELD" || found.Code != codes.InvalidArgument {
		t.Errorf("got %+v", found)
	}
	want := client.Field{Path: "endpoints.endpoints[0].inet.address", Description: "write 10.0.0.2"}
	if len(found.Fields) != 1 || found.Fields[0] != want {
		t.Errorf("got %+v, want %+v", found.Fields, want)
	}
}

func TestAServerWithoutTheCallIsTooOld(t *testing.T) {
	graftd := played.Start(t)
	_, err := dial(t, graftd, time.Minute).Node.Freeze(t.Context(), &graftv1.FreezeRequest{})
	if found := failure(t, err); !strings.HasSuffix(found.Message, "it is older than this client") {
		t.Errorf("got %q", found.Message)
	}
}

func TestAWatchGoesOnWhereItsStreamBroke(t *testing.T) {
	graftd := played.Start(t)
	var resumed []int64
	graftd.Changes = func(
		request *graftv1.WatchRequest, stream grpc.ServerStreamingServer[graftv1.WatchResponse],
	) error {
		resumed = append(resumed, request.GetAfterRevision())
		next := request.GetAfterRevision() + 1
		if next == 3 {
			return played.Refusal(codes.OutOfRange, "REVISION_GONE", "list anew")
		}
		part := &graftv1.WatchResponse{Revision: next, Fragment: true, Changes: []*graftv1.Change{{}}}
		if err := stream.Send(part); err != nil {
			return err
		}
		if len(resumed) == 1 {
			// In the middle of a revision.
			return played.Refusal(codes.Unavailable, "SHUTTING_DOWN", "graftd ends")
		}
		return stream.Send(&graftv1.WatchResponse{Revision: next, Changes: []*graftv1.Change{{}, {}}})
	}
	var told []*graftv1.WatchResponse
	var end error
	for answer, err := range dial(t, graftd, time.Minute).Watch(t.Context(), &graftv1.WatchRequest{}) {
		if err != nil {
			end = err
			continue
		}
		told = append(told, answer)
	}
	if found := failure(t, end); found.Reason != "REVISION_GONE" {
		t.Errorf("it ended with %+v", found)
	}
	if len(told) != 2 || len(told[0].Changes) != 3 || told[1].Revision != 2 {
		t.Errorf("it told %v", told)
	}
	if want := []int64{0, 0, 1, 2}; !slices.Equal(resumed, want) {
		t.Errorf("it resumed after %v, want %v", resumed, want)
	}
}

func TestAWatchGoesOnWhereItsConnectionBroke(t *testing.T) {
	graftd := played.Start(t)
	graftd.Changes = func(
		request *graftv1.WatchRequest, stream grpc.ServerStreamingServer[graftv1.WatchResponse],
	) error {
		if request.GetAfterRevision() == 2 {
			return played.Refusal(codes.OutOfRange, "REVISION_GONE", "list anew")
		}
		if err := stream.Send(&graftv1.WatchResponse{Revision: request.GetAfterRevision() + 1}); err != nil {
			return err
		}
		if request.GetAfterRevision() == 0 {
			<-stream.Context().Done()
			return nil
		}
		return played.Refusal(codes.Unavailable, "SHUTTING_DOWN", "graftd ends")
	}
	var revisions []int64
	var end error
	for answer, err := range dial(t, graftd, time.Minute).Watch(t.Context(), &graftv1.WatchRequest{}) {
		if err != nil {
			end = err
			continue
		}
		revisions = append(revisions, answer.Revision)
		if answer.Revision == 1 {
			graftd.Down()
			graftd.Up()
		}
	}
	if found := failure(t, end); found.Reason != "REVISION_GONE" || !slices.Equal(revisions, []int64{1, 2}) {
		t.Errorf("it told %v and ended with %+v", revisions, found)
	}
}

func TestAWatchThatItsCallerEndsIsCancelled(t *testing.T) {
	graftd := played.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	graftd.Changes = func(_ *graftv1.WatchRequest, stream grpc.ServerStreamingServer[graftv1.WatchResponse]) error {
		cancel()
		<-stream.Context().Done()
		return nil
	}
	var end error
	for _, err := range dial(t, graftd, time.Minute).Watch(ctx, &graftv1.WatchRequest{}) {
		end = err
	}
	if found := failure(t, end); found.Code != codes.Canceled {
		t.Errorf("it ended with %+v", found)
	}
}

func TestAQuietWatchGoesOnToo(t *testing.T) {
	const patience = time.Second
	graftd := played.Start(t)
	streams := 0
	graftd.Changes = func(
		_ *graftv1.WatchRequest, stream grpc.ServerStreamingServer[graftv1.WatchResponse],
	) error {
		if streams++; streams == 2 {
			return played.Refusal(codes.OutOfRange, "REVISION_GONE", "list anew")
		}
		if err := stream.Send(&graftv1.WatchResponse{Revision: 1}); err != nil {
			return err
		}
		time.Sleep(2 * patience)
		return played.Refusal(codes.Unavailable, "SHUTTING_DOWN", "graftd ends")
	}
	var end error
	for _, err := range dial(t, graftd, patience).Watch(t.Context(), &graftv1.WatchRequest{}) {
		end = err
	}
	if found := failure(t, end); found.Reason != "REVISION_GONE" {
		t.Errorf("it ended with %+v", found)
	}
}

func TestAWatchWaitsNoLongerThanACall(t *testing.T) {
	const patience = time.Second
	graftd := played.Start(t)
	graftd.Changes = func(*graftv1.WatchRequest, grpc.ServerStreamingServer[graftv1.WatchResponse]) error {
		return played.Refusal(codes.Unavailable, "SHUTTING_DOWN", "graftd ends")
	}
	begun := time.Now()
	var end error
	for _, err := range dial(t, graftd, patience).Watch(t.Context(), &graftv1.WatchRequest{}) {
		end = err
	}
	if found := failure(t, end); found.Reason != "SHUTTING_DOWN" {
		t.Errorf("it ended with %+v", found)
	}
	if spent := time.Since(begun); spent < patience || spent > 8*patience {
		t.Errorf("it took %v", spent)
	}
}
