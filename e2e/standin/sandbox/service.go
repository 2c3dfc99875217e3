package main

import (
	"context"
	"fmt"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
	gvisor "gvisor.dev/gvisor/pkg/shim/v1"
	"gvisor.dev/gvisor/pkg/shim/v1/extension"
)

// taskService is gVisor's, but for Shutdown.
type taskService struct{ extension.TaskServiceExt }

// Shutdown answers also where other containers of the Pod still run: gVisor's service then returns
// neither an answer nor an error, which cannot be sent. containerd 2.4 takes that for a failed
// deletion and never reports that the container has ended.
func (s taskService) Shutdown(ctx context.Context, request *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	answer, err := s.TaskServiceExt.Shutdown(ctx, request)
	if answer == nil && err == nil {
		answer = &emptypb.Empty{}
	}
	return answer, err
}

// RegisterTTRPC makes the shim framework serve it.
func (s taskService) RegisterTTRPC(server *ttrpc.Server) error {
	taskapi.RegisterTaskService(server, s)
	if sandboxes, ok := s.TaskServiceExt.(sandboxapi.TTRPCSandboxService); ok {
		sandboxapi.RegisterTTRPCSandboxService(server, sandboxes)
	}
	return nil
}

func init() {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn:   newTaskService,
	})
}

func newTaskService(init *plugin.InitContext) (any, error) {
	publisherPlugin, err := init.GetByID(plugins.EventPlugin, "publisher")
	if err != nil {
		return nil, err
	}
	shutdownPlugin, err := init.GetByID(plugins.InternalPlugin, "shutdown")
	if err != nil {
		return nil, err
	}
	publisher, isPublisher := publisherPlugin.(shim.Publisher)
	shutdownService, isShutdown := shutdownPlugin.(shutdown.Service)
	if !isPublisher || !isShutdown {
		return nil, fmt.Errorf("unexpected plugins %T and %T", publisherPlugin, shutdownPlugin)
	}
	service, err := gvisor.NewShimRedirector(init.Context, publisher, shutdownService)
	if err != nil {
		return nil, err
	}
	return taskService{service}, nil
}
