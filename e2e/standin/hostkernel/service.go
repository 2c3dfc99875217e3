package main

import (
	"context"
	"fmt"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/pkg/shutdown"
	"github.com/containerd/containerd/plugin"
	"github.com/containerd/containerd/runtime/v2/runc/task"
	"github.com/containerd/containerd/runtime/v2/shim"
	"github.com/containerd/ttrpc"
)

// taskService is runc's, but for the options: an engine sends those of a Kata runtime (the path of
// its configuration), where runc's service takes only its own type.
type taskService struct{ taskapi.TaskService }

func (s taskService) Create(ctx context.Context, request *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	request.Options = nil
	return s.TaskService.Create(ctx, request)
}

// RegisterTTRPC makes the shim framework serve it.
func (s taskService) RegisterTTRPC(server *ttrpc.Server) error {
	taskapi.RegisterTaskService(server, s)
	return nil
}

func init() {
	plugin.Register(&plugin.Registration{
		Type:     plugin.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugin.EventPlugin, plugin.InternalPlugin},
		InitFn:   newTaskService,
	})
}

func newTaskService(init *plugin.InitContext) (any, error) {
	publisherPlugin, err := init.GetByID(plugin.EventPlugin, "publisher")
	if err != nil {
		return nil, err
	}
	shutdownPlugin, err := init.GetByID(plugin.InternalPlugin, "shutdown")
	if err != nil {
		return nil, err
	}
	publisher, isPublisher := publisherPlugin.(shim.Publisher)
	shutdownService, isShutdown := shutdownPlugin.(shutdown.Service)
	if !isPublisher || !isShutdown {
		return nil, fmt.Errorf("unexpected plugins %T and %T", publisherPlugin, shutdownPlugin)
	}
	service, err := task.NewTaskService(init.Context, publisher, shutdownService)
	if err != nil {
		return nil, err
	}
	return taskService{service}, nil
}
