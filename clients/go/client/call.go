// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	firstPause   = 100 * time.Millisecond
	longestPause = time.Second
)

// call repeats a call until it is answered or fails for good, as long as its time allows. A request that can have a
// request id gets one here, so that a repetition is the same request.
func (c *Client) call(
	ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.patience)
		defer cancel()
	}
	request = withRequestID(request)
	pause := firstPause
	var before *Error
	for {
		err := invoke(ctx, method, request, answer, conn, options...)
		if err == nil {
			return nil
		}
		failure := c.failure(ctx, err)
		if !failure.Passing {
			// That time ran out says less than what it was spent on.
			if failure.Code == codes.DeadlineExceeded && failure.Reason == "" && before != nil {
				return before
			}
			return failure
		}
		if !sleep(ctx, pause) {
			return failure
		}
		before = failure
		pause = min(2*pause, longestPause)
		conn.ResetConnectBackoff()
	}
}

// sleep waits about so long, that no two clients go in step; false, and at once, where the time does not allow it.
func sleep(ctx context.Context, pause time.Duration) bool {
	pause = time.Duration(float64(pause) * (0.5 + mathrand.Float64()))
	if end, limited := ctx.Deadline(); limited && time.Until(end) < pause {
		return false
	}
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}

// withRequestID returns the request with a request id, or as it is where it has one or can have none. What the caller
// holds stays without: its next call is another request.
func withRequestID(request any) any {
	message, ok := request.(proto.Message)
	if !ok {
		return request
	}
	field := message.ProtoReflect().Descriptor().Fields().ByName("request_id")
	if field == nil || message.ProtoReflect().Has(field) {
		return request
	}
	message = proto.Clone(message)
	message.ProtoReflect().Set(field, protoreflect.ValueOfString(newUUID()))
	return message
}

// newUUID makes a random UUID, RFC 9562's version 4.
func newUUID() string {
	var bytes [16]byte
	rand.Read(bytes[:])
	bytes[6] = bytes[6]&0x0f | 0x40
	bytes[8] = bytes[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", bytes[:4], bytes[4:6], bytes[6:8], bytes[8:10], bytes[10:])
}

// stream begins a stream. Nothing is repeated.
func (c *Client) stream(
	ctx context.Context, shape *grpc.StreamDesc, conn *grpc.ClientConn, method string, begin grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := begin(ctx, shape, conn, method, options...)
	if err != nil {
		return nil, c.failure(ctx, err)
	}
	return &told{stream, c, ctx}, nil
}

// told is a stream whose errors are *Error. Its own context is over by the time that one is told, whatever it was.
type told struct {
	grpc.ClientStream
	client *Client
	caller context.Context
}

func (s *told) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return s.client.failure(s.caller, err)
}
