package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// asItIs shows a payload after a change, or anew.
func (t *terminal) asItIs(ctx context.Context, client *sdk.Client, id payload.ID) error {
	r, err := client.Get(ctx, id)
	if err != nil {
		return err
	}
	return t.show(t.record(r))
}

func (t *terminal) get() *cobra.Command {
	return t.onePayload("get", "Show a payload: its state, where it is, who holds it", t.asItIs)
}

func (t *terminal) list() *cobra.Command {
	var asked listing
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List payloads, oldest first", Args: cobra.NoArgs,
		RunE: t.with(func(ctx context.Context, client *sdk.Client, _ []string) error { return t.listAll(ctx, client, asked) }),
	}
	flags := c.Flags()
	flags.BoolVarP(&asked.all, "all", "a", false, "tombstones as well")
	flags.StringSliceVar(&asked.states, "state", nil, "only in these states")
	flags.StringVar(&asked.tier, "tier", "", "only with a placement in this tier")
	flags.StringVar(&asked.host, "host", "", "only with a placement on this host")
	flags.IntVar(&asked.limit, "limit", 0, "at most so many (default: all)")
	complete(c, "tier", tierNames()...)
	complete(c, "state", stateNames()...)
	return c
}

type listing struct {
	all        bool
	states     []string
	tier, host string
	limit      int
}

func (l listing) filter() sdk.Filter {
	filter := sdk.Filter{Tier: payload.Tier(l.tier), Host: l.host}
	for _, s := range l.states {
		filter.States = append(filter.States, payload.State(s))
	}
	if l.all && len(filter.States) == 0 {
		filter.States = payload.States()
	}
	return filter
}

func stateNames() []string {
	var names []string
	for _, s := range payload.States() {
		names = append(names, string(s))
	}
	return names
}

// listAll writes while pages still come: a listing may be longer than memory.
func (t *terminal) listAll(ctx context.Context, client *sdk.Client, asked listing) error {
	rows := t.rows(listHeader)
	n := 0
	for r, err := range client.List(ctx, asked.filter()) {
		if err == nil {
			err = rows.add(t.record(r))
		}
		if err != nil {
			return err
		}
		if n++; n == asked.limit {
			break
		}
	}
	return rows.end()
}

func (t *terminal) remove() *cobra.Command {
	var version uint64
	var wait bool
	c := t.onePayload("rm", "Delete a payload: no new leases, freed after the last one", func(ctx context.Context, client *sdk.Client, id payload.ID) error {
		options := []sdk.ChangeOption{sdk.IfVersion(version)}
		if wait {
			options = append(options, sdk.UntilFreed())
		}
		err := t.during("deleting", func() error {
			_, err := client.Delete(ctx, id, options...)
			return err
		})
		if err != nil || t.format == asTable {
			return err
		}
		return t.asItIs(ctx, client, id)
	})
	versionFlag(c, &version)
	c.Flags().BoolVar(&wait, "wait", false, "until its bytes are freed")
	return c
}

func versionFlag(c *cobra.Command, version *uint64) {
	c.Flags().Uint64Var(version, "if-version", 0, "only if the payload still has this version")
}

func (t *terminal) extend() *cobra.Command {
	var version uint64
	var ttl time.Duration
	var forever bool
	c := t.onePayload("extend", "Set how long a payload lives from now", func(ctx context.Context, client *sdk.Client, id payload.ID) error {
		if (ttl <= 0) != forever {
			return usageError{payload.Errorf(payload.Invalid, "say --ttl DURATION or --forever")}
		}
		if _, _, err := client.Extend(ctx, id, ttl, sdk.IfVersion(version)); err != nil {
			return err
		}
		return t.asItIs(ctx, client, id)
	})
	versionFlag(c, &version)
	c.Flags().DurationVar(&ttl, "ttl", 0, "from now, such as 90m or 720h")
	c.Flags().BoolVar(&forever, "forever", false, "until it is deleted")
	return c
}
