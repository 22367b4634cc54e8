package sdk

import (
	"context"
	"time"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Stats says how full one host is and how far behind.
type Stats struct {
	Host              string
	Tiers             []TierStats // fastest first
	Leases            int64
	OldestLease       time.Duration // 0: none is held
	Outbox            int64         // lifecycles that Temporal has not heard of yet
	OutboxLag         time.Duration // age of the oldest of them
	ControlPlaneBytes int64         // of gRPC messages, in and out, since the daemon's start
	TemporalUI        string        // address, empty: unknown
}

// TierStats is about one tier, in bytes.
type TierStats struct {
	Tier       payload.Tier
	Capacity   int64 // 0: no limit is set
	Used       int64 // reserved, ready, retiring or still held by readers
	Placements int64
}

// A Host is one machine that runs a daemon.
type Host struct {
	Name    string
	Address string
	Version string
	SeenAt  time.Time
}

// Stats asks the daemon how it is.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	answer, err := c.admin.Stats(ctx, &payloadv1.StatsRequest{})
	if err != nil {
		return Stats{}, err
	}
	return statsIn(answer), nil
}

// Hosts lists the hosts that the catalog knows, ordered by name.
func (c *Client) Hosts(ctx context.Context) ([]Host, error) {
	answer, err := c.admin.Hosts(ctx, &payloadv1.HostsRequest{})
	if err != nil {
		return nil, err
	}
	hosts := make([]Host, len(answer.GetHosts()))
	for i, h := range answer.GetHosts() {
		hosts[i] = hostIn(h)
	}
	return hosts, nil
}
