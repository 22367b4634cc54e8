package servers

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	common "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// NoUI as TemporalOptions.UIPort leaves the web interface out.
const NoUI = -1

// TemporalOptions may be left empty: a server in memory on free ports.
type TemporalOptions struct {
	Dir       string    // holds the SQLite file; empty: in memory, lost with each run
	Port      int       // 0: a free one
	UIPort    int       // 0: a free one
	Log       io.Writer // nil: nowhere
	Supervise bool      // start it again when it crashes
}

// Temporal is a development server of one process.
type Temporal struct {
	*Server
	Address   string // host:port of its gRPC
	UI        string // URL; empty without UI
	Namespace string // exists and answers
}

// StartTemporal returns when workflows can be started in the namespace. The
// program is PAYLOAD_TEMPORAL_BIN, else temporal.
func StartTemporal(ctx context.Context, o TemporalOptions) (*Temporal, error) {
	program, err := find("temporal", "PAYLOAD_TEMPORAL_BIN")
	if err != nil {
		return nil, err
	}
	if o.Dir, err = prepare(o.Dir); err != nil {
		return nil, err
	}
	api, ui := &port{number: o.Port}, &port{number: o.UIPort}
	t := &Temporal{Namespace: "default", Server: &Server{name: "temporal", ports: []*port{api}, supervised: o.Supervise}}
	if o.UIPort != NoUI {
		t.ports = append(t.ports, ui)
	}
	t.command = func() *exec.Cmd { return temporalCommand(program, o, api, ui) }
	t.ready = func(ctx context.Context) error { return t.look(ctx, api, ui) }
	if err := start(ctx, t.Server, o.Log); err != nil {
		return nil, err
	}
	t.Address = api.address()
	if o.UIPort != NoUI {
		t.UI = "http://" + ui.address()
	}
	return t, nil
}

// look finds out whether workflows can be started, and seen.
func (t *Temporal) look(ctx context.Context, api, ui *port) error {
	err := answers(ctx, api.address(), t.Namespace)
	if err == nil && slices.Contains(t.ports, ui) {
		err = healthy(ctx, "http://"+ui.address())
	}
	return err
}

// temporalCommand gives the server an environment of its own: the user's
// TEMPORAL_* variables and profiles are meant for clients.
func temporalCommand(program string, o TemporalOptions, api, ui *port) *exec.Cmd {
	cmd := exec.Command(program, "server", "start-dev", "--ip", "127.0.0.1",
		"--port", strconv.Itoa(api.number), "--log-level", "error")
	if o.UIPort == NoUI {
		cmd.Args = append(cmd.Args, "--headless")
	} else {
		cmd.Args = append(cmd.Args, "--ui-port", strconv.Itoa(ui.number))
	}
	if o.Dir != "" {
		cmd.Args = append(cmd.Args, "--db-filename", filepath.Join(o.Dir, "temporal.db"))
	}
	cmd.Env = environment("HOME=" + os.TempDir())
	return cmd
}

// NewNamespace makes a namespace, as each test wants its own, and returns when
// workflows can be started in it.
func (t *Temporal) NewNamespace(ctx context.Context, name string) error {
	if err := t.register(ctx, name); err != nil {
		return err
	}
	ctx, cancel := t.bound(ctx)
	defer cancel()
	for {
		err := answers(ctx, t.Address, name)
		if err == nil {
			return nil
		}
		if !sleep(ctx, probePause) {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
	}
}

func (t *Temporal) register(ctx context.Context, name string) error {
	conn, err := dial(t.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = workflowservice.NewWorkflowServiceClient(conn).RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace:                        name,
		WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
	})
	return err
}

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// answers asks each part of the server for something in the namespace. A port
// that accepts is not enough, nor is a namespace that can be described: for a
// moment after that, its workflows still cannot be started.
func answers(ctx context.Context, address, namespace string) error {
	conn, err := dial(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	service := workflowservice.NewWorkflowServiceClient(conn)
	for _, ask := range []func(context.Context, workflowservice.WorkflowServiceClient, string) error{
		asksVisibility, asksMatching, asksHistory,
	} {
		if err := ask(ctx, service, namespace); err != nil {
			return err
		}
	}
	return nil
}

func asksVisibility(ctx context.Context, service workflowservice.WorkflowServiceClient, namespace string) error {
	_, err := service.ListWorkflowExecutions(ctx, &workflowservice.ListWorkflowExecutionsRequest{Namespace: namespace, PageSize: 1})
	return err
}

func asksMatching(ctx context.Context, service workflowservice.WorkflowServiceClient, namespace string) error {
	_, err := service.DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
		Namespace:     namespace,
		TaskQueue:     &taskqueue.TaskQueue{Name: "nobody"},
		TaskQueueType: enums.TASK_QUEUE_TYPE_WORKFLOW,
	})
	return err
}

// asksHistory wants to hear that there is no such workflow.
func asksHistory(ctx context.Context, service workflowservice.WorkflowServiceClient, namespace string) error {
	_, err := service.GetWorkflowExecutionHistory(ctx, &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace: namespace,
		Execution: &common.WorkflowExecution{WorkflowId: "nobody"},
	})
	_, unknown := serviceerror.FromStatus(status.Convert(err)).(*serviceerror.NamespaceNotFound)
	if err == nil || status.Code(err) == codes.NotFound && !unknown {
		return nil
	}
	return fmt.Errorf("history service: %w", err)
}
