package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	sdktemporal "go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/workflows"
)

// Hours of trouble pass in no time here: the clock is the environment's, and so
// are the hosts.
type troubled struct {
	*testsuite.TestWorkflowEnvironment
}

func newTroubled(t *testing.T) troubled {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(silent{})
	e := troubled{suite.NewTestWorkflowEnvironment()}
	e.SetTestTimeout(time.Minute)
	workflows.Register(e)
	e.RegisterActivityWithOptions(func(context.Context, contract.Target) (contract.Reaped, error) { return contract.Reaped{}, nil },
		activity.RegisterOptions{Name: string(contract.Tend)})
	e.RegisterActivityWithOptions(func(context.Context, contract.Target) (contract.Reaped, error) { return contract.Reaped{}, nil },
		activity.RegisterOptions{Name: string(contract.Reap)})
	e.RegisterActivityWithOptions(func(context.Context, contract.CopyInput) (contract.MoveResult, error) {
		return contract.MoveResult{}, nil
	}, activity.RegisterOptions{Name: string(contract.Copy)})
	t.Cleanup(func() { e.AssertExpectations(t) })
	return e
}

func (e troubled) tend(answer contract.Reaped, err error) *testsuite.MockCallWrapper {
	return e.OnActivity(string(contract.Tend), mock.Anything, mock.Anything).Return(answer, err)
}

func (e troubled) reap(answer contract.Reaped, err error) *testsuite.MockCallWrapper {
	return e.OnActivity(string(contract.Reap), mock.Anything, mock.Anything).Return(answer, err)
}

var (
	someID, _ = payload.ParseID("0197c9f4-7bde-7c4e-8a53-0f2f1f8b6a10")
	some      = contract.LifecycleInput{Target: contract.Target{ID: someID, Host: "here"}, Namespace: "default"}
	dueThere  = contract.Reaped{Ahead: contract.Outlook{Open: 1, Ever: true, State: payload.StateDeleting, Hosts: []string{"there"}}}
	gone      = contract.Reaped{Ahead: contract.Outlook{State: payload.StateDeleted}}
)

func TestADeadHostIsTriedUntilItComesBack(t *testing.T) {
	e := newTroubled(t)
	e.tend(dueThere, nil)
	e.reap(contract.Reaped{}, sdktemporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)).Times(20)
	back := gone
	back.Host, back.Freed, back.Bytes = "there", 1, 7
	e.reap(back, nil).Once()

	e.ExecuteWorkflow(string(contract.Lifecycle), some)

	var got contract.LifecycleResult
	require.NoError(t, e.GetWorkflowResult(&got))
	require.Equal(t, contract.LifecycleResult{State: payload.StateDeleted, Freed: 1, Bytes: 7}, got)
}

func TestALifecycleOutlivesTheCatalogsOutage(t *testing.T) {
	e := newTroubled(t)
	e.tend(contract.Reaped{}, sdktemporal.NewNonRetryableApplicationError("down", string(payload.Unavailable), nil)).Times(20)
	e.tend(gone, nil).Once()

	e.ExecuteWorkflow(string(contract.Lifecycle), some)

	require.NoError(t, e.GetWorkflowError())
}

func TestAMoveToADeadHostIsUnavailable(t *testing.T) {
	e := newTroubled(t)
	e.tend(contract.Reaped{Ahead: contract.Outlook{Open: 1, State: payload.StateActive}}, nil).Once()
	e.OnActivity(string(contract.Copy), mock.Anything, mock.Anything).
		Return(contract.MoveResult{}, sdktemporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)).Once()
	e.tend(gone, nil).Once()
	asked := &answer{}
	e.RegisterDelayedCallback(func() {
		e.UpdateWorkflow(string(contract.Promote), "", asked, contract.MoveRequest{To: payload.RAM, Host: "there"})
	}, time.Second)

	e.ExecuteWorkflow(string(contract.Lifecycle), some)

	require.NoError(t, e.GetWorkflowError())
	var refused *sdktemporal.ApplicationError
	require.ErrorAs(t, asked.err, &refused)
	require.Equal(t, string(payload.Unavailable), refused.Type())
}

func TestADoomedPayloadsCopyIsCalledOff(t *testing.T) {
	e := newTroubled(t)
	e.tend(contract.Reaped{Ahead: contract.Outlook{Open: 1, State: payload.StateActive}}, nil).Once()
	over := make(chan struct{})
	defer close(over)
	e.OnActivity(string(contract.Copy), mock.Anything, mock.Anything).
		Return(func(context.Context, contract.CopyInput) (contract.MoveResult, error) {
			e.SignalWorkflow(string(contract.Wake), struct{}{})
			<-over
			return contract.MoveResult{}, nil
		}).Once()
	e.tend(gone, nil)
	asked := &answer{}
	e.RegisterDelayedCallback(func() {
		e.UpdateWorkflow(string(contract.Promote), "", asked, contract.MoveRequest{To: payload.RAM, Host: "here"})
	}, time.Second)
	e.ExecuteWorkflow(string(contract.Lifecycle), some)

	require.NoError(t, e.GetWorkflowError())
	var refused *sdktemporal.ApplicationError
	require.ErrorAs(t, asked.err, &refused)
	require.Equal(t, string(payload.NotFound), refused.Type())
}

func TestALongHistoryContinuesAsNew(t *testing.T) {
	for kind, input := range map[string]contract.LifecycleInput{
		string(contract.Lifecycle):      some,
		string(contract.GroupLifecycle): {Target: contract.Target{Group: "g", Host: "here"}, Namespace: "default"},
	} {
		t.Run(kind, func(t *testing.T) {
			e := newTroubled(t)
			e.SetContinueAsNewSuggested(true)
			freed := contract.Reaped{Host: "here", Freed: 2, Bytes: 7, Ahead: contract.Outlook{Open: 1}}
			e.tend(freed, nil)
			input.Carried.Freed = 40

			e.ExecuteWorkflow(kind, input)

			again, ok := errors.AsType[*workflow.ContinueAsNewError](e.GetWorkflowError())
			require.True(t, ok)
			require.Equal(t, kind, again.WorkflowType.Name)
			var next contract.LifecycleInput
			require.NoError(t, decode(again, &next))
			require.Equal(t, 42, next.Carried.Freed)
			require.Equal(t, input.Target, next.Target)
		})
	}
}

// An answer is what the caller of an update gets.
type answer struct{ err error }

func (a *answer) Accept()                   {}
func (a *answer) Reject(err error)          { a.err = err }
func (a *answer) Complete(_ any, err error) { a.err = err }

func decode(again *workflow.ContinueAsNewError, into any) error {
	return converter.GetDefaultDataConverter().FromPayloads(again.Input, into)
}
