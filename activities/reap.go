package activities

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Reap carries out contract.Reap.
func (a *Activities) Reap(ctx context.Context, target contract.Target) (contract.Reaped, error) {
	stop := beat(ctx, nil)
	defer stop()
	var got contract.Reaped
	var err error
	if target.Group == "" {
		got, err = a.reapOne(ctx, target.ID)
	} else {
		got, err = a.reapGroup(ctx, target)
	}
	if err != nil {
		return got, failure(ctx, err)
	}
	elsewhere := got.Ahead.Hosts
	got.Ahead, err = a.look(ctx, target)
	if target.Group != "" && got.Ahead.Ever {
		got.Ahead.Hosts = append(got.Ahead.Hosts, elsewhere...)
	}
	return got, failure(ctx, err)
}

// reapOne does what is due for one payload here. One without a record has
// nothing due.
func (a *Activities) reapOne(ctx context.Context, id payload.ID) (contract.Reaped, error) {
	drain, err := a.host.Reap(ctx, id)
	if payload.CodeOf(err) == payload.NotFound {
		err = nil
	}
	got := contract.Reaped{
		Host: a.host.Name(), Freed: drain.Freed, Bytes: drain.Bytes, Waiting: drain.Waiting, Leases: drain.Leases,
	}
	if drain.Waiting > 0 {
		got.Until = a.catalog.Now().Add(drain.Within)
	}
	return got, err
}

// atOnce is how many payloads of a group are reaped at a time: enough to share
// the catalog's commits, few enough to leave the disks to others.
const atOnce = 16

// reapGroup visits every payload of the group that is due, page by page. One
// that fails does not keep the others; its failure is the answer only if
// nothing else went well.
func (a *Activities) reapGroup(ctx context.Context, target contract.Target) (contract.Reaped, error) {
	sum := &summary{Reaped: contract.Reaped{Host: a.host.Name()}}
	now := a.catalog.Now()
	page := catalog.Query{Group: target.Group, OpenOnly: true, DueBy: &now, Limit: payload.MaxBatch}
	for {
		due, err := a.catalog.List(ctx, page)
		if err != nil {
			return sum.Reaped, err
		}
		a.reapPage(ctx, due, target.Host, sum)
		if ctx.Err() != nil {
			return sum.Reaped, context.Cause(ctx)
		}
		if len(due) < page.Limit {
			return sum.answer()
		}
		page.After = due[len(due)-1].ID
	}
}

func (a *Activities) reapPage(ctx context.Context, due []payload.Payload, home string, sum *summary) {
	var some errgroup.Group
	some.SetLimit(atOnce)
	for _, p := range due {
		some.Go(func() error {
			got, err := a.reapOne(ctx, p.ID)
			sum.add(got, err)
			sum.note(concerned(p, home))
			return nil
		})
	}
	_ = some.Wait() // its functions return nil: failures are in the sum
}

// A summary adds up what was done for many payloads.
type summary struct {
	sync.Mutex
	contract.Reaped
	went  int   // well
	first error // that happened
}

func (s *summary) add(got contract.Reaped, err error) {
	s.Lock()
	defer s.Unlock()
	if err != nil {
		s.Failed++
		if s.first == nil {
			s.first = err
		}
		return
	}
	s.went++
	s.Freed, s.Bytes = s.Freed+got.Freed, s.Bytes+got.Bytes
	s.Waiting, s.Leases = s.Waiting+got.Waiting, s.Leases+got.Leases
	if got.Waiting > 0 && (s.Until.IsZero() || got.Until.Before(s.Until)) {
		s.Until = got.Until
	}
}

// note remembers the hosts that hold what is due.
func (s *summary) note(hosts []string) {
	s.Lock()
	defer s.Unlock()
	for _, host := range hosts {
		if !slices.Contains(s.Ahead.Hosts, host) {
			s.Ahead.Hosts = append(s.Ahead.Hosts, host)
		}
	}
	slices.Sort(s.Ahead.Hosts)
}

func (s *summary) answer() (contract.Reaped, error) {
	if s.went == 0 && s.first != nil {
		return s.Reaped, s.first
	}
	return s.Reaped, nil
}
