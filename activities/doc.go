// Package activities does what workflows ask: it reads the catalog, and has
// this host's placement free, copy and give up. It is the other half of
// sdk/contract and decides nothing.
//
// Every activity may run twice, also at the same time: what it does is fenced
// by the catalog. Failures carry the payload's code as their type, see
// failure.go; what leaves here goes into a workflow's history, so it holds ids,
// sizes and versions only.
package activities

import (
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

// Activities of one host.
type Activities struct {
	host    *placement.Host
	catalog *catalog.Catalog
}

// New returns the activities of a host. They own neither part.
func New(host *placement.Host, catalog *catalog.Catalog) *Activities {
	return &Activities{host: host, catalog: catalog}
}

// Register puts every activity under its name of the contract. The worker of
// workflows needs them, for Tend and SweepOverdue, and so does the worker of
// the host's own queue, for the rest.
func Register(w worker.ActivityRegistry, a *Activities) {
	put(w, string(contract.Tend), a.Tend)
	put(w, string(contract.Reap), a.Reap)
	put(w, string(contract.Copy), a.Copy)
	put(w, string(contract.Retire), a.Retire)
	put(w, string(contract.SweepOverdue), a.SweepOverdue)
}

func put(w worker.ActivityRegistry, name string, do any) {
	w.RegisterActivityWithOptions(do, activity.RegisterOptions{Name: name})
}
