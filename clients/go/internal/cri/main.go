// SPDX-License-Identifier: Apache-2.0

// Cri asks a container runtime for what a kubelet asks of it, for tests/containers: cri SOCKET METHOD.
//
// METHOD is one of the Container Runtime Interface, as in RuntimeService/RunPodSandbox; its request is read from stdin,
// its answer is printed, both in protobuf's JSON.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const patience = 60 * time.Second

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: cri SOCKET METHOD <REQUEST")
	}
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := call(os.Args[1], os.Args[2], request)
	if err != nil {
		log.Fatal(status.Convert(err).Message())
	}
	fmt.Printf("%s\n", answer)
}

func call(socket, name string, request []byte) ([]byte, error) {
	method, err := find(name)
	if err != nil {
		return nil, err
	}
	asked, answered := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	if err := protojson.Unmarshal(request, asked); err != nil {
		return nil, err
	}
	runtime, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer runtime.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	path := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	if err := runtime.Invoke(ctx, path, asked, answered, grpc.WaitForReady(true)); err != nil {
		return nil, err
	}
	return protojson.Marshal(answered)
}

func find(name string) (protoreflect.MethodDescriptor, error) {
	service, method, _ := strings.Cut(name, "/")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName("runtime.v1." + service))
	if described, ok := found.(protoreflect.ServiceDescriptor); err == nil && ok {
		if method := described.Methods().ByName(protoreflect.Name(method)); method != nil {
			return method, nil
		}
	}
	return nil, fmt.Errorf("CRI has no method %s", name)
}
