package activities

import (
	"context"
	"slices"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Tend carries out contract.Tend.
func (a *Activities) Tend(ctx context.Context, target contract.Target) (contract.Reaped, error) {
	var got contract.Reaped
	var err error
	if target.Group == "" && target.Host == a.host.Name() {
		got, err = a.reapOne(ctx, target.ID)
	}
	if err == nil {
		got.Ahead, err = a.look(ctx, target)
	}
	return got, failure(ctx, err)
}

func (a *Activities) look(ctx context.Context, target contract.Target) (contract.Outlook, error) {
	if target.Group == "" {
		return a.lookAtOne(ctx, target)
	}
	seen, err := a.catalog.Outlook(ctx, target.Group)
	ahead := contract.Outlook{Open: seen.Open, Bytes: seen.Bytes, Next: seen.Next, Ever: seen.Ever}
	if seen.Ever {
		ahead.Hosts = []string{target.Host}
	}
	return ahead, err
}

// lookAtOne says that nothing is ahead of a payload without a record: its
// tombstone was forgotten.
func (a *Activities) lookAtOne(ctx context.Context, target contract.Target) (contract.Outlook, error) {
	p, err := a.catalog.Get(ctx, "", target.ID)
	if payload.CodeOf(err) == payload.NotFound {
		return contract.Outlook{}, nil
	}
	if err != nil {
		return contract.Outlook{}, err
	}
	ahead := contract.Outlook{
		State: p.State, Version: p.Version, Group: p.Group, ExpiresAt: p.ExpiresAt,
		Placements: contract.Ats(p.Placements),
	}
	if catalog.Open(p) {
		ahead.Open, ahead.Bytes = 1, p.Size
	}
	if ahead.Next, ahead.Ever = catalog.Due(p); ahead.Ever {
		ahead.Hosts = concerned(p, target.Host)
	}
	return ahead, nil
}

// concerned are the hosts that have to do what is due for a payload: those that
// hold retiring placements, and home for the shared ones. Where none retires
// yet, home draws the consequences of time first.
func concerned(p payload.Payload, home string) []string {
	var hosts []string
	for _, at := range p.Placements {
		if at.State != payload.Retiring {
			continue
		}
		if at.Tier.Shared() {
			at.Host = home
		}
		hosts = append(hosts, at.Host)
	}
	if hosts == nil {
		return []string{home}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}
