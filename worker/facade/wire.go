package facade

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/payload-manager/payload-manager/catalog"
	payloadv1 "github.com/payload-manager/payload-manager/proto/payload/v1"
	"github.com/payload-manager/payload-manager/sdk/payload"
	"github.com/payload-manager/payload-manager/tiers/placement"
)

// The words of the wire's enums, by number.
var (
	tierWords = [...]payload.Tier{
		payloadv1.Tier_TIER_GPU:    payload.GPU,
		payloadv1.Tier_TIER_RAM:    payload.RAM,
		payloadv1.Tier_TIER_DISK:   payload.Disk,
		payloadv1.Tier_TIER_OBJECT: payload.Object,
	}
	stateWords = [...]payload.State{
		payloadv1.State_STATE_ALLOCATED: payload.StateAllocated,
		payloadv1.State_STATE_ACTIVE:    payload.StateActive,
		payloadv1.State_STATE_EXPIRED:   payload.StateExpired,
		payloadv1.State_STATE_DELETING:  payload.StateDeleting,
		payloadv1.State_STATE_DELETED:   payload.StateDeleted,
		payloadv1.State_STATE_ABORTED:   payload.StateAborted,
		payloadv1.State_STATE_LOST:      payload.StateLost,
	}
	placementWords = [...]payload.PlacementState{
		payloadv1.PlacementState_PLACEMENT_STATE_FILLING:  payload.Filling,
		payloadv1.PlacementState_PLACEMENT_STATE_READY:    payload.Ready,
		payloadv1.PlacementState_PLACEMENT_STATE_RETIRING: payload.Retiring,
	}
	lifecycleWords = [...]payload.LifecycleKind{
		payloadv1.Lifecycle_LIFECYCLE_AUTO:  payload.LifecycleAuto,
		payloadv1.Lifecycle_LIFECYCLE_OWN:   payload.LifecycleOwn,
		payloadv1.Lifecycle_LIFECYCLE_GROUP: payload.LifecycleGroup,
	}
)

// number finds a word's enum value; a word that the wire lacks is unspecified.
func number[Word comparable, Enum ~int32](words []Word, word Word) Enum {
	for i, known := range words {
		if known == word {
			return Enum(i)
		}
	}
	return 0
}

func tierNumber(t payload.Tier) payloadv1.Tier {
	return number[payload.Tier, payloadv1.Tier](tierWords[:], t)
}

// In: requests become words.

func readAllocate(r *payloadv1.AllocateRequest) (placement.AllocateRequest, error) {
	var f fields
	asked := placement.AllocateRequest{
		Namespace: f.namespace("namespace", r.GetNamespace()),
		Name:      f.name("name", r.GetName()),
		Size:      f.size("size", r.GetSize()),
		Policy:    f.policy(r.GetPolicy()),
	}
	if asked.Namespace == "" {
		asked.Namespace = payload.DefaultNamespace
	}
	asked.Request = f.request(asked.Namespace, r)
	return asked, f.err
}

func (f *fields) policy(p *payloadv1.Policy) payload.Policy {
	return payload.Policy{
		Tier:         f.anyTier("policy.tier", p.GetTier()),
		TTL:          f.duration("policy.ttl", p.GetTtl(), payload.MaxTTL),
		Lifecycle:    f.lifecycle("policy.lifecycle", p.GetLifecycle()),
		CommitWithin: f.duration("policy.commit_within", p.GetCommitWithin(), payload.MaxAllocated),
	}.WithDefaults()
}

// A mutation is what requests that change an existing payload have in common.
type mutation interface {
	repeatable
	GetNamespace() string
	GetId() string
	GetExpectedVersion() uint64
}

func (f *fields) change(r mutation) catalog.Change {
	return catalog.Change{
		Namespace: f.namespace("namespace", r.GetNamespace()),
		ID:        f.id("id", r.GetId()),
		Expected:  r.GetExpectedVersion(),
		Request:   f.request(r.GetId(), r),
	}
}

func readAcquire(r *payloadv1.AcquireRequest) (placement.AcquireRequest, error) {
	var f fields
	return placement.AcquireRequest{
		Request:   f.requestID(r.GetRequestId()),
		Namespace: f.namespace("namespace", r.GetNamespace()),
		ID:        f.id("id", r.GetId()),
		MinTier:   f.anyTier("min_tier", r.GetMinTier()),
		Duration:  f.lease("duration", r.GetDuration()),
		Holder:    f.name("holder", r.GetHolder()),
	}, f.err
}

// defaultPage is how many records a page of a listing holds unless asked.
const defaultPage = 100

func readList(r *payloadv1.ListRequest) (catalog.Query, error) {
	var f fields
	q := catalog.Query{
		Namespace: f.namespace("namespace", r.GetNamespace()),
		Tier:      f.anyTier("tier", r.GetTier()),
		Host:      f.name("host", r.GetHost()),
		OpenOnly:  len(r.GetStates()) == 0,
		Limit:     f.page(r.GetPageSize()),
	}
	for _, s := range r.GetStates() {
		q.States = append(q.States, f.state("states", s))
	}
	if f.err == nil {
		q.After = f.pageToken(r)
	}
	return q, f.err
}

func (f *fields) page(size int32) int {
	if size < 0 || size > payload.MaxBatch {
		f.fail(invalid("page_size", "a page holds 1 to %d payloads", payload.MaxBatch))
	}
	if size == 0 {
		return defaultPage
	}
	return int(size)
}

// Out: words become answers.

func (f *Facade) payload(p payload.Payload) *payloadv1.Payload {
	return &payloadv1.Payload{
		Id: p.ID.String(), Namespace: p.Namespace, Name: p.Name,
		Size: p.Size, Checksum: p.Checksum.String(), Verified: p.Verified,
		Policy:     policy(p.Policy),
		State:      number[payload.State, payloadv1.State](stateWords[:], p.State),
		Version:    p.Version,
		CreatedAt:  instant(p.CreatedAt),
		CommitBy:   instant(p.CommitBy),
		ActiveAt:   instant(p.ActiveAt),
		ExpiresAt:  instant(p.ExpiresAt),
		EndedAt:    instant(p.EndedAt),
		Placements: f.placements(p),
		WorkflowId: f.workflowID(p),
	}
}

// placements are shown fastest first.
func (f *Facade) placements(p payload.Payload) []*payloadv1.Placement {
	held := f.host.LeasesOn(p.ID)
	shown := make([]*payloadv1.Placement, len(p.Placements))
	for i, at := range p.Placements {
		shown[i] = &payloadv1.Placement{
			Tier: tierNumber(at.Tier), Host: at.Host,
			State: number[payload.PlacementState, payloadv1.PlacementState](placementWords[:], at.State),
		}
		if f.reaches(at) {
			shown[i].Leases = int32(held[at.Tier])
		}
	}
	// The wire numbers tiers from the fastest down.
	slices.SortStableFunc(shown, func(a, b *payloadv1.Placement) int { return cmp.Compare(a.GetTier(), b.GetTier()) })
	return shown
}

// reaches reports whether a placement is in a tier of this host.
func (f *Facade) reaches(at payload.Placement) bool {
	return at.Host == f.host.Name() || at.Tier.Shared()
}

func policy(p payload.Policy) *payloadv1.Policy {
	return &payloadv1.Policy{
		Tier:         tierNumber(p.Tier),
		Ttl:          span(p.TTL),
		Lifecycle:    number[payload.LifecycleKind, payloadv1.Lifecycle](lifecycleWords[:], p.Lifecycle),
		CommitWithin: span(p.CommitWithin),
	}
}

func allocation(f *Facade, a placement.Allocation) *payloadv1.AllocateResponse {
	answer := &payloadv1.AllocateResponse{Payload: f.payload(a.Payload), WriteToken: a.Token}
	for _, part := range a.Parts {
		answer.Parts = append(answer.Parts, &payloadv1.UploadPart{Offset: part.Offset, Size: part.Size, Url: part.URL})
	}
	return answer
}

func descriptor(d payload.Descriptor) *payloadv1.PlacementDescriptor {
	return &payloadv1.PlacementDescriptor{
		Id: d.ID.String(), Version: d.Version, Tier: tierNumber(d.Tier), Host: d.Host,
		Size: d.Size, Checksum: d.Checksum.String(), Url: d.URL, UrlValidFor: span(d.URLExpires),
	}
}

func lease(l payload.Lease) *payloadv1.Lease {
	return &payloadv1.Lease{
		Id: l.ID, At: descriptor(l.Descriptor), Holder: l.Holder,
		Remaining: durationpb.New(l.Remaining), Token: l.Token,
	}
}

func hostInfo(h catalog.Host) *payloadv1.HostInfo {
	return &payloadv1.HostInfo{Name: h.Name, Address: h.Address, Version: h.Version, SeenAt: instant(h.Seen)}
}

// instant leaves out what did not happen.
func instant(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// span leaves out what is not bounded.
func span(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}
