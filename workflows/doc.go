// Package workflows decides when a payload lives, moves and dies, and when each
// of these is tried again. It decides; activities do.
//
// # One sentence
//
// A lifecycle tends its payloads, then sleeps until the next of them is due or
// somebody wakes it, until none is left. [Lifecycle] does so for one payload and
// takes requests to move it; [GroupLifecycle] for many. Both follow the same
// pure function, decide, over what the catalog said last.
//
// # What it leaves out
//
// It keeps no truth of its own: whatever it knows it has from the catalog, and
// forgets when it wakes. So a lost or doubled message, a second lifecycle for
// the same payload or a workflow that was terminated do no harm. Histories hold
// ids, sizes, versions and times, never paths, handles, URLs or bytes.
package workflows

import (
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/payload-manager/payload-manager/sdk/contract"
)

// Register puts every workflow under its name of the contract.
func Register(w worker.WorkflowRegistry) {
	w.RegisterWorkflowWithOptions(Lifecycle, workflow.RegisterOptions{Name: string(contract.Lifecycle)})
	w.RegisterWorkflowWithOptions(GroupLifecycle, workflow.RegisterOptions{Name: string(contract.GroupLifecycle)})
	w.RegisterWorkflowWithOptions(Sweep, workflow.RegisterOptions{Name: string(contract.Sweep)})
}
