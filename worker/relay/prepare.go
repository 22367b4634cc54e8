package relay

import (
	"context"
	"errors"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/payload-manager/payload-manager/sdk/contract"
)

// A Sweeping says when and how the sweeper runs.
type Sweeping struct {
	Spec  string // cron, or @every
	Input contract.SweepInput
}

// Prepare makes the Temporal namespace fit for lifecycles: it creates the search
// attributes and waits until they can be used, because a worker that meets
// missing ones fails its workflow tasks for ever, and it sets the sweeper's
// schedule. Doing it twice, or on many hosts, is doing it once.
func (r *Relay) Prepare(ctx context.Context, sweeping Sweeping) error {
	if err := r.addAttributes(ctx); err != nil {
		return err
	}
	return r.schedule(ctx, sweeping)
}

var attributes = map[string]enumspb.IndexedValueType{
	contract.PayloadState:     enumspb.INDEXED_VALUE_TYPE_KEYWORD,
	contract.PayloadTier:      enumspb.INDEXED_VALUE_TYPE_KEYWORD,
	contract.PayloadNamespace: enumspb.INDEXED_VALUE_TYPE_KEYWORD,
	contract.PayloadHost:      enumspb.INDEXED_VALUE_TYPE_KEYWORD,
	contract.PayloadBytes:     enumspb.INDEXED_VALUE_TYPE_INT,
	contract.PayloadExpiresAt: enumspb.INDEXED_VALUE_TYPE_DATETIME,
}

// attributeRound is how often a new search attribute is looked for: servers
// refresh their copy of them every few seconds.
const attributeRound = 100 * time.Millisecond

func (r *Relay) addAttributes(ctx context.Context) error {
	for {
		missing, err := r.missing(ctx)
		if err != nil || len(missing) == 0 {
			return err
		}
		_, err = r.client.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
			Namespace: r.namespace, SearchAttributes: missing,
		})
		if _, exists := errors.AsType[*serviceerror.AlreadyExists](err); err != nil && !exists {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(attributeRound):
		}
	}
}

func (r *Relay) missing(ctx context.Context) (map[string]enumspb.IndexedValueType, error) {
	known, err := r.client.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: r.namespace})
	if err != nil {
		return nil, err
	}
	missing := map[string]enumspb.IndexedValueType{}
	for name, kind := range attributes {
		if _, there := known.GetCustomAttributes()[name]; !there {
			missing[name] = kind
		}
	}
	return missing, nil
}

// sweeper is the id of the schedule, and the prefix of the workflows it starts.
const sweeper = "payload-manager:sweep"

func (r *Relay) schedule(ctx context.Context, s Sweeping) error {
	spec := client.ScheduleSpec{CronExpressions: []string{s.Spec}}
	action := &client.ScheduleWorkflowAction{
		ID: sweeper, Workflow: string(contract.Sweep), Args: []any{s.Input}, TaskQueue: contract.TaskQueue,
		StaticSummary: "wake what is overdue, forget old tombstones",
	}
	_, err := r.client.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: sweeper, Spec: spec, Action: action, Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
	})
	if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return err
	}
	return r.client.ScheduleClient().GetHandle(ctx, sweeper).Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			schedule := in.Description.Schedule
			schedule.Spec, schedule.Action = &spec, action
			return &client.ScheduleUpdate{Schedule: &schedule}, nil
		},
	})
}
