package placement

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers"
)

// Options are what a Host is made of. All are needed but Log.
type Options struct {
	Name    string // of this host
	Catalog *catalog.Catalog
	Leases  *leases.Table
	Tiers   *tiers.Set
	Key     []byte // the host's secret, from which tokens are made
	Log     *slog.Logger
}

// A Host is this machine's part in placing payloads. Its methods may be called
// concurrently. It owns none of its parts: whoever made them closes them, after
// Close.
type Host struct {
	name    string
	catalog *catalog.Catalog
	leases  *leases.Table
	tiers   *tiers.Set
	signer  *signer
	log     *slog.Logger

	records records
	passing passing
	owned   owned
	copies  singleflight.Group
	drained atomic.Pointer[func(payload.Payload)]

	verifying chan struct{} // one token per checksum computed behind commits

	closing    sync.RWMutex // read-held while background work is added
	background sync.WaitGroup
	ctx        context.Context // ends at Close
	stop       context.CancelFunc
}

// verifiers bounds how many checksums are computed behind commits at a time:
// they share memory bandwidth with everything else.
const verifiers = 2

// New returns a host that serves nothing yet: call Start.
func New(o Options) *Host {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Host{
		name: o.Name, catalog: o.Catalog, leases: o.Leases, tiers: o.Tiers,
		signer: newSigner(o.Key), log: o.Log,
		verifying: make(chan struct{}, verifiers),
	}
	h.records.init()
	h.owned.init()
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h
}

// Name is this host's name.
func (h *Host) Name() string { return h.name }

// Close cancels the work behind answered requests and waits until it has ended.
func (h *Host) Close() error {
	h.closing.Lock()
	h.stop()
	h.closing.Unlock()
	h.background.Wait()
	return nil
}

// OnDrained sets who hears, off the hot path, that the last lease on a retiring
// placement ended.
func (h *Host) OnDrained(hear func(payload.Payload)) { h.drained.Store(&hear) }

// drain frees at once what the last lease kept, and tells the lifecycle. Should
// either fail, the lifecycle's timer does it.
func (h *Host) drain(k leases.Key) {
	h.behind(func(ctx context.Context) {
		if _, err := h.Reap(ctx, k.ID); err != nil {
			h.log.Warn("freeing after the last lease failed; the lifecycle will try again", "payload", k.ID, "error", err)
		}
		p, err := h.catalog.Get(ctx, "", k.ID)
		if hear := h.drained.Load(); hear != nil && err == nil {
			(*hear)(p)
		}
	})
}

// behind runs work that no request waits for, until Close.
func (h *Host) behind(work func(ctx context.Context)) {
	h.closing.RLock()
	defer h.closing.RUnlock()
	if h.ctx.Err() == nil {
		h.background.Go(func() { work(h.ctx) })
	}
}

// here is a new placement in one of this host's tiers, or in the shared one.
func (h *Host) here(tier payload.Tier, state payload.PlacementState, attempt uint64) payload.Placement {
	at := payload.Placement{Tier: tier, Host: h.name, State: state, Attempt: attempt}
	if tier.Shared() {
		at.Host = ""
	}
	return at
}

// mine reports whether this host can reach the bytes of a placement: they are
// on it, or in the shared tier, and the tier is on.
func (h *Host) mine(at payload.Placement) bool {
	_, off := h.tiers.Tier(at.Tier)
	return off == nil && (at.Host == h.name || at.Tier.Shared())
}

// local reports whether the bytes of a placement lie on this host itself.
func (h *Host) local(at payload.Placement) bool { return h.mine(at) && !at.Tier.Shared() }

func key(id payload.ID, at payload.Placement) leases.Key {
	return leases.Key{ID: id, Tier: at.Tier, Attempt: at.Attempt}
}

// A TierStat says how full one tier of this host is.
type TierStat struct {
	Tier       payload.Tier
	Capacity   int64 // bytes; 0: no limit set
	Used       int64 // bytes
	Placements int64 // that this host knows of
}

// Stats describes every tier of this host, fastest first.
func (h *Host) Stats(ctx context.Context) ([]TierStat, error) {
	var stats []TierStat
	for _, name := range payload.Tiers() {
		tier, err := h.tiers.Tier(name)
		if err != nil {
			continue // off
		}
		usage, err := tier.Usage(ctx)
		if err != nil {
			return nil, payload.Wrap("stats", payload.ID{}, err)
		}
		stats = append(stats, TierStat{Tier: name, Capacity: usage.Capacity, Used: usage.Used, Placements: h.records.count(name)})
	}
	return stats, nil
}

// Offers says whether this host has the tier. Its error has code Unsupported
// and reason TIER_OFF.
func (h *Host) Offers(name payload.Tier) error {
	_, err := h.tiers.Tier(name)
	return err
}

// Leases sums up the leases on this host.
func (h *Host) Leases() leases.Summary { return h.leases.Summary() }

// LeasesOn counts the leases that this host granted on a payload, by tier.
func (h *Host) LeasesOn(id payload.ID) map[payload.Tier]int {
	p, known := h.records.get(id)
	if !known {
		return nil
	}
	held := map[payload.Tier]int{}
	for _, at := range p.Placements {
		if n := h.leases.Held(key(id, at)).Leases; n > 0 {
			held[at.Tier] = n
		}
	}
	return held
}

// urlMargin is how much longer than its lease a presigned URL works, so that a
// read that began in time can end.
const urlMargin = 5 * time.Minute
