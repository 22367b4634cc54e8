package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/payload-manager/payload-manager/sdk"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// stats are a host's, as they are written.
type stats struct {
	Host              string     `json:"host"`
	Tiers             []fullness `json:"tiers"`
	Leases            int64      `json:"leases"`
	OldestLease       span       `json:"oldest_lease,omitzero"`
	Outbox            int64      `json:"outbox"`
	OutboxLag         span       `json:"outbox_lag,omitzero"`
	ControlPlaneBytes int64      `json:"control_plane_bytes"`
	TemporalUI        string     `json:"temporal_ui,omitempty"`
}

type fullness struct {
	Tier       payload.Tier `json:"tier"`
	Capacity   int64        `json:"capacity"` // 0: no limit
	Used       int64        `json:"used"`
	Placements int64        `json:"placements"`
}

func statsOf(s sdk.Stats) stats {
	shown := stats{
		Host: s.Host, Tiers: []fullness{}, Leases: s.Leases, OldestLease: span(s.OldestLease),
		Outbox: s.Outbox, OutboxLag: span(s.OutboxLag), ControlPlaneBytes: s.ControlPlaneBytes, TemporalUI: s.TemporalUI,
	}
	for _, tier := range s.Tiers {
		shown.Tiers = append(shown.Tiers, fullness(tier))
	}
	return shown
}

func (s stats) id() string { return s.Host }

func (s stats) facts() [][2]string {
	facts := [][2]string{{"host", s.Host}}
	for _, tier := range s.Tiers {
		facts = append(facts, [2]string{string(tier.Tier), tier.String()})
	}
	return append(facts,
		[2]string{"leases", aged(s.Leases, "held", s.OldestLease)},
		[2]string{"outbox", aged(s.Outbox, "waiting for Temporal", s.OutboxLag)},
		[2]string{"control plane", sizeText(s.ControlPlaneBytes) + " since the daemon's start"},
		[2]string{"Temporal UI", s.TemporalUI},
	)
}

// String reads "1.5 GiB of 4.0 GiB (37 %), 12 placements".
func (f fullness) String() string {
	text := sizeText(f.Used)
	if f.Capacity > 0 {
		text += fmt.Sprintf(" of %s (%.0f %%)", sizeText(f.Capacity), 100*float64(f.Used)/float64(f.Capacity))
	}
	return text + ", " + count(int(f.Placements), "placement")
}

// aged reads "3 held, the oldest for 2m0s".
func aged(n int64, what string, oldest span) string {
	text := strconv.FormatInt(n, 10) + " " + what
	if n > 0 {
		text += ", the oldest for " + time.Duration(oldest).Round(time.Millisecond).String()
	}
	return text
}

func (t *terminal) stats() *cobra.Command {
	return &cobra.Command{
		Use: "stats", Short: "Show how full this host is", Args: cobra.NoArgs,
		RunE: t.with(func(ctx context.Context, client *sdk.Client, _ []string) error {
			s, err := client.Stats(ctx)
			if err != nil {
				return err
			}
			return t.show(statsOf(s))
		}),
	}
}

// A host, as it is written.
type host struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Version string    `json:"version"`
	SeenAt  time.Time `json:"seen_at,omitzero"`

	now time.Time
}

func (h host) id() string { return h.Name }
func (h host) row() []string {
	return []string{h.Name, dash(h.Address), dash(h.Version), dash(when(h.SeenAt, h.now))}
}

func (t *terminal) hosts() *cobra.Command {
	return &cobra.Command{
		Use: "hosts", Short: "List the hosts that the catalog knows", Args: cobra.NoArgs,
		RunE: t.with(func(ctx context.Context, client *sdk.Client, _ []string) error {
			hosts, err := client.Hosts(ctx)
			if err != nil {
				return err
			}
			rows := t.rows([]string{"NAME", "ADDRESS", "VERSION", "SEEN"})
			for _, h := range hosts {
				if err := rows.add(host{Name: h.Name, Address: h.Address, Version: h.Version, SeenAt: h.SeenAt, now: t.now()}); err != nil {
					return err
				}
			}
			return rows.end()
		}),
	}
}

// build is this program's, as it is written.
type build struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

func (b build) id() string { return b.Version }
func (b build) facts() [][2]string {
	return [][2]string{{"payloadctl", b.Version}, {"built with", b.Go}}
}

func (t *terminal) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show which payloadctl this is", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := build{Version: "unknown"}
			if info, ok := debug.ReadBuildInfo(); ok {
				b = build{Version: info.Main.Version, Go: info.GoVersion}
			}
			return t.show(b)
		},
	}
}
