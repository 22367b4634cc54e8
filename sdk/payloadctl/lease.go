package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A descriptor says how a placement is reached, without what opens it.
type descriptor struct {
	ID       payload.ID       `json:"id"`
	Version  uint64           `json:"version"`
	Tier     payload.Tier     `json:"tier"`
	Host     string           `json:"host,omitempty"`
	Size     int64            `json:"size"`
	Checksum payload.Checksum `json:"checksum"`
}

func descriptorOf(d payload.Descriptor) descriptor {
	return descriptor{ID: d.ID, Version: d.Version, Tier: d.Tier, Host: d.Host, Size: d.Size, Checksum: d.Checksum}
}

func (d descriptor) id() string { return d.ID.String() }

func (d descriptor) facts() [][2]string {
	return [][2]string{
		{"id", d.ID.String()},
		{"version", fmt.Sprint(d.Version)},
		{"tier", string(d.Tier)},
		{"host", d.Host},
		{"size", fmt.Sprintf("%s (%d bytes)", sizeText(d.Size), d.Size)},
		{"checksum", d.Checksum.String()},
	}
}

func (t *terminal) resolve() *cobra.Command {
	return t.onePayload("resolve", "Show where a payload is best read now, which promises nothing", func(ctx context.Context, client *sdk.Client, id payload.ID) error {
		d, err := client.Resolve(ctx, id)
		if err != nil {
			return err
		}
		return t.show(descriptorOf(d))
	})
}

// A held lease, as it is written.
type held struct {
	Lease  string     `json:"lease"`
	Holder string     `json:"holder"`
	At     descriptor `json:"at"`
}

func (h held) id() string { return h.Lease }

func (h held) facts() [][2]string {
	return append([][2]string{{"lease", h.Lease}, {"holder", h.Holder}}, h.At.facts()...)
}

// reads are the flags of commands that lease.
type reads struct {
	tier   string
	wait   bool
	lasted time.Duration
}

func (r *reads) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.tier, "min-tier", "", "in this tier or a faster one")
	c.Flags().BoolVar(&r.wait, "wait", false, "where it is in none, have it promoted and wait")
	c.Flags().DurationVar(&r.lasted, "duration", payload.DefaultLease, "how long each grant holds before it is renewed, at most 10m")
	complete(c, "min-tier", tierNames()...)
}

func (r *reads) options() []sdk.ReadOption {
	options := []sdk.ReadOption{sdk.LeaseFor(r.lasted), sdk.MinTier(payload.Tier(r.tier))}
	if r.wait {
		options = append(options, sdk.Wait())
	}
	return options
}

func (t *terminal) lease() *cobra.Command {
	var how reads
	var long time.Duration
	c := t.onePayload("lease", "Keep a payload where it is until Ctrl-C", func(ctx context.Context, client *sdk.Client, id payload.ID) error {
		hold, err := client.Hold(ctx, id, how.options()...)
		if err != nil {
			return err
		}
		lease := hold.Lease()
		if err := t.show(held{Lease: lease.ID, Holder: lease.Holder, At: descriptorOf(lease.Descriptor)}); err != nil {
			hold.Close()
			return err
		}
		if t.watched {
			fmt.Fprintln(t.err, "held; Ctrl-C releases it")
		}
		return stay(ctx, hold, long)
	})
	how.flags(c)
	c.Flags().DurationVar(&long, "for", 0, "release it by itself after this long")
	return c
}

// stay holds until somebody ends it, which is no failure, or the lease is lost.
func stay(ctx context.Context, hold *sdk.Hold, long time.Duration) error {
	var over <-chan time.Time
	if long > 0 {
		over = time.After(long)
	}
	select {
	case <-ctx.Done():
	case <-over:
	case <-hold.Lost():
		err := hold.Err()
		hold.Close()
		return err
	}
	return hold.Close()
}
