package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

func (t *terminal) promote() *cobra.Command {
	return t.move("promote", "Copy a payload to a faster tier of this host, and wait for it", payload.RAM, (*sdk.Client).Promote)
}

func (t *terminal) spill() *cobra.Command {
	return t.move("spill", "Move a payload to a slower tier, and wait for the copy", payload.Object, (*sdk.Client).Spill)
}

type mover func(*sdk.Client, context.Context, payload.ID, payload.Tier, ...sdk.ChangeOption) (payload.Payload, error)

func (t *terminal) move(name, short string, usual payload.Tier, move mover) *cobra.Command {
	var to string
	var version uint64
	c := t.onePayload(name, short, func(ctx context.Context, client *sdk.Client, id payload.ID) error {
		tier, err := payload.ParseTier(to)
		if err != nil {
			return err
		}
		err = t.during(name+" to "+to, func() error {
			_, err := move(client, ctx, id, tier, sdk.IfVersion(version))
			return err
		})
		if err != nil {
			return err
		}
		return t.asItIs(ctx, client, id)
	})
	c.Flags().StringVar(&to, "to", string(usual), "the tier: gpu, ram, disk or object")
	complete(c, "to", tierNames()...)
	versionFlag(c, &version)
	return c
}
