// SPDX-License-Identifier: Apache-2.0

package played

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"graftd/clients/go/graftv1"
)

type node struct {
	graftv1.UnimplementedNodeServiceServer
	graftd *Graftd
}

func (s *node) GetVersion(context.Context, *graftv1.GetVersionRequest) (*graftv1.GetVersionResponse, error) {
	return &graftv1.GetVersionResponse{Version: s.graftd.Status.Version, ApiPackages: []string{"graft.v1"}}, nil
}

func (s *node) GetStatus(context.Context, *graftv1.GetStatusRequest) (*graftv1.NodeStatus, error) {
	return s.graftd.Status, nil
}

type namespaces struct {
	graftv1.UnimplementedNamespaceServiceServer
	graftd *Graftd
}

func (s *namespaces) ApplyNamespace(
	_ context.Context, request *graftv1.ApplyNamespaceRequest,
) (*graftv1.ApplyNamespaceResponse, error) {
	held, found := s.graftd.held[request.Name]
	if !found && !request.AllowMissing {
		return nil, Refusal(codes.NotFound, "NAMESPACE_NOT_FOUND", "there is no "+request.Name)
	}
	answer := &graftv1.ApplyNamespaceResponse{Namespace: shown(request)}
	if request.ValidateOnly {
		answer.Differences = differences(held, request)
		return answer, nil
	}
	s.graftd.held[request.Name] = request
	for _, one := range request.Endpoints.GetEndpoints() {
		if s.graftd.made[one.Name] == nil {
			s.graftd.made[one.Name] = timestamppb.Now()
		}
	}
	return answer, nil
}

// differences are those of endpoints alone.
func differences(held, wanted *graftv1.ApplyNamespaceRequest) []*graftv1.Difference {
	var found []*graftv1.Difference
	add := func(name string, kind graftv1.DifferenceKind) {
		found = append(found, &graftv1.Difference{Name: name, Kind: kind})
	}
	there := map[string]*graftv1.Endpoint{}
	for _, one := range held.GetEndpoints().GetEndpoints() {
		there[one.Name] = one
	}
	for _, one := range wanted.GetEndpoints().GetEndpoints() {
		before := there[one.Name]
		delete(there, one.Name)
		if before == nil {
			add(one.Name, graftv1.DifferenceKind_DIFFERENCE_KIND_CREATED)
		} else if !proto.Equal(before, one) {
			add(one.Name, graftv1.DifferenceKind_DIFFERENCE_KIND_UPDATED)
		}
	}
	for name := range there {
		add(name, graftv1.DifferenceKind_DIFFERENCE_KIND_DELETED)
	}
	return found
}

func (s *namespaces) GetNamespace(
	_ context.Context, request *graftv1.GetNamespaceRequest,
) (*graftv1.Namespace, error) {
	held, found := s.graftd.held[request.Name]
	if !found {
		return nil, Refusal(codes.NotFound, "NAMESPACE_NOT_FOUND", "there is no "+request.Name)
	}
	return shown(held), nil
}

func (s *namespaces) DeleteNamespace(
	_ context.Context, request *graftv1.DeleteNamespaceRequest,
) (*graftv1.DeleteNamespaceResponse, error) {
	if _, found := s.graftd.held[request.Name]; !found && !request.AllowMissing {
		return nil, Refusal(codes.NotFound, "NAMESPACE_NOT_FOUND", "there is no "+request.Name)
	}
	for _, one := range s.graftd.held[request.Name].GetEndpoints().GetEndpoints() {
		delete(s.graftd.made, one.Name)
	}
	delete(s.graftd.held, request.Name)
	return &graftv1.DeleteNamespaceResponse{}, nil
}

// ListNamespaces answers one on each page.
func (s *namespaces) ListNamespaces(
	_ context.Context, request *graftv1.ListNamespacesRequest,
) (*graftv1.ListNamespacesResponse, error) {
	for _, name := range slices.Sorted(maps.Keys(s.graftd.held)) {
		one := s.graftd.held[name]
		if name > request.PageToken && has(one.Namespace.Labels, request.Labels) {
			return &graftv1.ListNamespacesResponse{
				Namespaces:    []*graftv1.Namespace{shown(one)},
				NextPageToken: name,
			}, nil
		}
	}
	return &graftv1.ListNamespacesResponse{}, nil
}

func shown(held *graftv1.ApplyNamespaceRequest) *graftv1.Namespace {
	namespace := proto.CloneOf(held.Namespace)
	namespace.Name = held.Name
	namespace.State = graftv1.NamespaceState_NAMESPACE_STATE_PRESENT
	namespace.Sync = &graftv1.Sync{State: graftv1.SyncState_SYNC_STATE_IN_SYNC}
	return namespace
}

type endpoints struct {
	graftv1.UnimplementedEndpointServiceServer
	graftd *Graftd
}

func (s *endpoints) ListEndpoints(
	_ context.Context, request *graftv1.ListEndpointsRequest,
) (*graftv1.ListEndpointsResponse, error) {
	answer := &graftv1.ListEndpointsResponse{}
	for _, held := range s.graftd.held {
		for _, one := range held.Endpoints.GetEndpoints() {
			if has(one.Labels, request.Labels) {
				one := proto.CloneOf(one)
				one.CreateTime = s.graftd.made[one.Name]
				answer.Endpoints = append(answer.Endpoints, one)
			}
		}
	}
	return answer, nil
}

func has(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if found, ok := labels[key]; !ok || found != value {
			return false
		}
	}
	return true
}

type watch struct {
	graftv1.UnimplementedWatchServiceServer
	graftd *Graftd
}

func (s *watch) Watch(
	request *graftv1.WatchRequest, stream grpc.ServerStreamingServer[graftv1.WatchResponse],
) error {
	return s.graftd.Changes(request, stream)
}
