package workflows_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/operatorservice/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"github.com/payload-manager/payload-manager/activities"
	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/catalog/memory"
	"github.com/payload-manager/payload-manager/deploy/servers"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
	"github.com/payload-manager/payload-manager/tiers/disk"
	"github.com/payload-manager/payload-manager/tiers/placement"
	"github.com/payload-manager/payload-manager/tiers/ram"
	"github.com/payload-manager/payload-manager/workflows"
)

// temporal is one server for all tests.
var temporal *servers.Temporal

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var err error
	if temporal, err = servers.StartTemporal(ctx, servers.TemporalOptions{UIPort: servers.NoUI}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer temporal.Stop()
	if err := addAttributes(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func dial() (client.Client, error) {
	return client.Dial(client.Options{HostPort: temporal.Address, Namespace: temporal.Namespace, Identity: "test", Logger: silent{}})
}

// addAttributes returns when lifecycles can set theirs.
func addAttributes(ctx context.Context) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: temporal.Namespace,
		SearchAttributes: map[string]enums.IndexedValueType{
			contract.PayloadState: enums.INDEXED_VALUE_TYPE_KEYWORD, contract.PayloadTier: enums.INDEXED_VALUE_TYPE_KEYWORD,
			contract.PayloadExpiresAt: enums.INDEXED_VALUE_TYPE_DATETIME,
		},
	})
	for err == nil {
		_, missing := c.WorkflowService().CountWorkflowExecutions(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: temporal.Namespace,
			Query:     "PayloadState = 'x' or PayloadTier = 'x' or PayloadExpiresAt is null",
		})
		if missing == nil {
			return nil
		}
		err = ctx.Err()
	}
	return err
}

// A rig is two hosts on one catalog, each on real memory and a real disk. The
// worker of workflows runs on the host here.
type rig struct {
	t       *testing.T
	client  client.Client
	catalog *catalog.Catalog
	here    *placement.Host
	there   *placement.Host
}

func newRig(t *testing.T) *rig {
	c, err := dial()
	require.NoError(t, err)
	t.Cleanup(c.Close)
	r := &rig{t: t, client: c, catalog: catalog.New(memory.New(), time.Now)}
	r.here, r.there = r.host("here"), r.host("there")
	r.work(contract.TaskQueue, r.here, true)
	r.work(contract.HostQueue("here"), r.here, false)
	r.work(contract.HostQueue("there"), r.there, false)
	return r
}

func (r *rig) host(name string) *placement.Host {
	files, err := disk.Open(disk.Options{Dir: r.t.TempDir(), Capacity: 256 << 20})
	require.NoError(r.t, err)
	set := tiers.NewSet(ram.New(ram.Options{Capacity: 256 << 20}), files)
	began := time.Now()
	table := leases.New(func() time.Duration { return time.Since(began) })
	h := placement.New(placement.Options{
		Name: name, Catalog: r.catalog, Leases: table, Tiers: set, Key: []byte("a key of thirty-two bytes length"),
	})
	h.OnDrained(r.wake)
	r.t.Cleanup(func() {
		table.Stop()
		require.NoError(r.t, h.Close())
		require.NoError(r.t, set.Close())
	})
	require.NoError(r.t, h.Start(r.t.Context()))
	return h
}

func (r *rig) work(queue string, h *placement.Host, decides bool) {
	w := worker.New(r.client, queue, worker.Options{Identity: "test", DisableWorkflowWorker: !decides})
	if decides {
		workflows.Register(w)
	}
	activities.Register(w, activities.New(h, r.catalog))
	require.NoError(r.t, w.Start())
	r.t.Cleanup(w.Stop)
}

// put carries a payload on a host to active.
func (r *rig) put(h *placement.Host, size int, policy payload.Policy) payload.Payload {
	r.t.Helper()
	a, err := h.Allocate(r.t.Context(), placement.AllocateRequest{Namespace: "default", Name: "a|b", Size: int64(size), Policy: policy})
	require.NoError(r.t, err)
	p, err := h.Commit(r.t.Context(), catalog.Change{ID: a.Payload.ID}, payload.Checksum{})
	require.NoError(r.t, err)
	return p
}

// start begins a payload's own lifecycle as the relay does.
func (r *rig) start(p payload.Payload, host string) client.WorkflowRun {
	r.t.Helper()
	return r.begin(contract.LifecycleID(p.Namespace, p.ID), string(contract.Lifecycle), contract.LifecycleInput{
		Target: contract.Target{ID: p.ID, Host: host}, Namespace: p.Namespace, Name: p.Name, Size: p.Size,
	})
}

func (r *rig) begin(id, kind string, in contract.LifecycleInput) client.WorkflowRun {
	r.t.Helper()
	run, err := r.client.SignalWithStartWorkflow(r.t.Context(), id, string(contract.Wake), struct{}{},
		client.StartWorkflowOptions{ID: id, TaskQueue: contract.TaskQueue}, kind, in)
	require.NoError(r.t, err)
	return run
}

func (r *rig) wake(p payload.Payload) {
	_ = r.client.SignalWorkflow(context.Background(), contract.LifecycleID(p.Namespace, p.ID), "", string(contract.Wake), struct{}{})
}

// join makes every payload in the outbox a member of the group.
func (r *rig) join(group string) int {
	r.t.Helper()
	joined := 0
	for {
		backlog, err := r.catalog.Pending(r.t.Context(), payload.MaxBatch)
		require.NoError(r.t, err)
		if backlog.Total == 0 {
			return joined
		}
		require.NoError(r.t, r.catalog.Settle(r.t.Context(), backlog.Entries, group))
		joined += len(backlog.Entries)
	}
}

// move asks the payload's lifecycle, which it starts where there is none.
func (r *rig) move(u contract.Update[contract.MoveRequest, contract.MoveResult], p payload.Payload, to payload.Tier, host string) (contract.MoveResult, error) {
	id := contract.LifecycleID(p.Namespace, p.ID)
	begin := r.client.NewWithStartWorkflowOperation(
		client.StartWorkflowOptions{ID: id, TaskQueue: contract.TaskQueue, WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING},
		string(contract.Lifecycle),
		contract.LifecycleInput{Target: contract.Target{ID: p.ID, Host: "here"}, Namespace: p.Namespace, Size: p.Size})
	handle, err := r.client.UpdateWithStartWorkflow(r.t.Context(), client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: begin,
		UpdateOptions: client.UpdateWorkflowOptions{
			UpdateName: string(u), Args: []any{contract.MoveRequest{To: to, Host: host}}, WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	if err != nil {
		return contract.MoveResult{}, err
	}
	var got contract.MoveResult
	err = handle.Get(r.t.Context(), &got)
	return got, err
}

func (r *rig) result(run client.WorkflowRun) contract.LifecycleResult {
	r.t.Helper()
	var got contract.LifecycleResult
	require.NoError(r.t, run.Get(r.t.Context(), &got))
	return got
}

func (r *rig) record(p payload.Payload) payload.Payload {
	r.t.Helper()
	p, err := r.catalog.Get(r.t.Context(), "", p.ID)
	require.NoError(r.t, err)
	return p
}

func (r *rig) used(h *placement.Host) (used int64) {
	r.t.Helper()
	stats, err := h.Stats(r.t.Context())
	require.NoError(r.t, err)
	for _, s := range stats {
		used += s.Used
	}
	return used
}

func (r *rig) history(run client.WorkflowRun) *historypb.History {
	r.t.Helper()
	all := &historypb.History{}
	events := r.client.GetWorkflowHistory(r.t.Context(), run.GetID(), run.GetRunID(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(r.t, err)
		all.Events = append(all.Events, event)
	}
	return all
}

// details are what the workflow's page shows.
func (r *rig) details(id string) string {
	r.t.Helper()
	answer, err := r.client.QueryWorkflow(r.t.Context(), id, "", "__temporal_workflow_metadata")
	require.NoError(r.t, err)
	var metadata sdkpb.WorkflowMetadata
	require.NoError(r.t, answer.Get(&metadata))
	return metadata.GetCurrentDetails()
}

// silent keeps the SDK's chatter out of the tests' output.
type silent struct{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}

var _ log.Logger = silent{}
