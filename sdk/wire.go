package sdk

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// The wire's enums are spelled as our words are, in capitals behind a prefix.
const (
	tierPrefix      = "TIER_"
	statePrefix     = "STATE_"
	placementPrefix = "PLACEMENT_STATE_"
	lifecyclePrefix = "LIFECYCLE_"
)

// word is an enum value's word. What is unspecified, or newer than this client,
// has none.
func word[Word ~string](value fmt.Stringer, prefix string) Word {
	name, ours := strings.CutPrefix(value.String(), prefix)
	if !ours || name == "UNSPECIFIED" {
		return ""
	}
	return Word(strings.ToLower(name))
}

// number is the enum value of a word, and 0 for none.
func number[Enum ~int32, Word ~string](values map[string]int32, prefix string, w Word) Enum {
	return Enum(values[prefix+strings.ToUpper(string(w))])
}

// anyTier is a tier that may be left open. Its error has code Invalid.
func anyTier(t payload.Tier) (payloadv1.Tier, error) {
	if t == "" {
		return payloadv1.Tier_TIER_UNSPECIFIED, nil
	}
	_, err := payload.ParseTier(string(t))
	return number[payloadv1.Tier](payloadv1.Tier_value, tierPrefix, t), err
}

func stateNumbers(states []payload.State) (numbers []payloadv1.State, err error) {
	for _, s := range states {
		if _, err := payload.ParseState(string(s)); err != nil {
			return nil, err
		}
		numbers = append(numbers, number[payloadv1.State](payloadv1.State_value, statePrefix, s))
	}
	return numbers, nil
}

// policyOut refuses what the daemon would not recognise.
func policyOut(p payload.Policy) (*payloadv1.Policy, error) {
	if err := p.WithDefaults().Check(); err != nil {
		return nil, err
	}
	return &payloadv1.Policy{
		Tier:         number[payloadv1.Tier](payloadv1.Tier_value, tierPrefix, p.Tier),
		Ttl:          span(p.TTL),
		Lifecycle:    number[payloadv1.Lifecycle](payloadv1.Lifecycle_value, lifecyclePrefix, p.Lifecycle),
		CommitWithin: span(p.CommitWithin),
	}, nil
}

// nonsense is an answer that no daemon of this protocol gives.
func nonsense(err error) error {
	return payload.Errorf(payload.Internal, "the daemon's answer makes no sense: %w", err)
}

func recordIn(p *payloadv1.Payload) (Record, error) {
	id, err := payload.ParseID(p.GetId())
	if err != nil {
		return Record{}, nonsense(err)
	}
	sum, err := payload.ParseChecksum(p.GetChecksum())
	if err != nil {
		return Record{}, nonsense(err)
	}
	r := Record{Workflow: p.GetWorkflowId(), Payload: payload.Payload{
		ID: id, Namespace: p.GetNamespace(), Name: p.GetName(),
		Size: p.GetSize(), Checksum: sum, Verified: p.GetVerified(),
		Policy:    policyIn(p.GetPolicy()),
		State:     word[payload.State](p.GetState(), statePrefix),
		Version:   p.GetVersion(),
		CreatedAt: instant(p.GetCreatedAt()),
		CommitBy:  instant(p.GetCommitBy()),
		ActiveAt:  instant(p.GetActiveAt()),
		ExpiresAt: instant(p.GetExpiresAt()),
		EndedAt:   instant(p.GetEndedAt()),
	}}
	for _, at := range p.GetPlacements() {
		r.Placements = append(r.Placements, placementIn(at))
		r.Leases = append(r.Leases, int(at.GetLeases()))
	}
	return r, nil
}

func placementIn(p *payloadv1.Placement) payload.Placement {
	return payload.Placement{
		Tier: word[payload.Tier](p.GetTier(), tierPrefix), Host: p.GetHost(),
		State: word[payload.PlacementState](p.GetState(), placementPrefix),
	}
}

func policyIn(p *payloadv1.Policy) payload.Policy {
	return payload.Policy{
		Tier:         word[payload.Tier](p.GetTier(), tierPrefix),
		TTL:          p.GetTtl().AsDuration(),
		Lifecycle:    word[payload.LifecycleKind](p.GetLifecycle(), lifecyclePrefix),
		CommitWithin: p.GetCommitWithin().AsDuration(),
	}
}

func descriptorIn(d *payloadv1.PlacementDescriptor) (payload.Descriptor, error) {
	id, err := payload.ParseID(d.GetId())
	if err != nil {
		return payload.Descriptor{}, nonsense(err)
	}
	sum, err := payload.ParseChecksum(d.GetChecksum())
	if err != nil {
		return payload.Descriptor{}, nonsense(err)
	}
	return payload.Descriptor{
		ID: id, Version: d.GetVersion(), Tier: word[payload.Tier](d.GetTier(), tierPrefix), Host: d.GetHost(),
		Size: d.GetSize(), Checksum: sum, URL: d.GetUrl(), URLExpires: d.GetUrlValidFor().AsDuration(),
	}, nil
}

func leaseIn(l *payloadv1.Lease) (payload.Lease, error) {
	d, err := descriptorIn(l.GetAt())
	return payload.Lease{
		ID: l.GetId(), Descriptor: d, Holder: l.GetHolder(),
		Remaining: l.GetRemaining().AsDuration(), Token: l.GetToken(),
	}, err
}

func statsIn(s *payloadv1.StatsResponse) Stats {
	stats := Stats{
		Host:   s.GetHost(),
		Leases: s.GetLeases(), OldestLease: s.GetOldestLease().AsDuration(),
		Outbox: s.GetOutbox(), OutboxLag: s.GetOutboxLag().AsDuration(),
		ControlPlaneBytes: s.GetControlPlaneBytes(), TemporalUI: s.GetTemporalUi(),
	}
	for _, t := range s.GetTiers() {
		stats.Tiers = append(stats.Tiers, TierStats{
			Tier: word[payload.Tier](t.GetTier(), tierPrefix), Capacity: t.GetCapacity(),
			Used: t.GetUsed(), Placements: t.GetPlacements(),
		})
	}
	return stats
}

func hostIn(h *payloadv1.HostInfo) Host {
	return Host{Name: h.GetName(), Address: h.GetAddress(), Version: h.GetVersion(), SeenAt: instant(h.GetSeenAt())}
}

// instant is zero for what did not happen.
func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// span leaves out what is not bounded.
func span(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}
