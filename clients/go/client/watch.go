// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"graftd/clients/go/graftv1"
)

// Watch yields what changes, revision by revision, each with all its changes, until its context ends or the caller
// stops. A stream that breaks is resumed without a gap; graftd may be away for as long as a call may take. An error is
// the last that is yielded: with the reason REVISION_GONE, REVISION_AHEAD or HISTORY_CHANGED, list anew.
func (c *Client) Watch(
	ctx context.Context, request *graftv1.WatchRequest,
) iter.Seq2[*graftv1.WatchResponse, error] {
	return func(yield func(*graftv1.WatchResponse, error) bool) {
		request := proto.CloneOf(request)
		var broke time.Time // zero while the stream brings something
		for pause := firstPause; ; pause = min(2*pause, longestPause) {
			going, err := c.watch(ctx, request, func(answer *graftv1.WatchResponse) bool {
				broke, pause = time.Time{}, firstPause
				return yield(answer, nil)
			})
			if !going {
				return
			}
			if broke.IsZero() {
				broke = time.Now()
			}
			var failure *Error
			resumable := errors.As(err, &failure) && (failure.Passing || failure.Reason == "WATCHER_TOO_SLOW")
			if !resumable || time.Since(broke) > c.patience || !sleep(ctx, pause) {
				yield(nil, err)
				return
			}
			c.conn.ResetConnectBackoff()
		}
	}
}

// watch tells what one stream brings, and keeps in the request where the next goes on; false where the caller stopped.
func (c *Client) watch(
	ctx context.Context, request *graftv1.WatchRequest, tell func(*graftv1.WatchResponse) bool,
) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Watcher.Watch(ctx, request)
	if err != nil {
		return true, err
	}
	var parts []*graftv1.Change
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			ended := "graftd at " + c.Target() + " ended the watch"
			return true, &Error{Code: codes.Unavailable, Message: ended, Passing: true, cause: err}
		}
		if err != nil {
			return true, err
		}
		parts = append(parts, answer.Changes...)
		if answer.Fragment {
			continue
		}
		answer.Changes, parts = parts, nil
		request.AfterRevision = proto.Int64(answer.Revision)
		request.HistoryId = answer.HistoryId
		if !tell(answer) {
			return false, nil
		}
	}
}
