package payload

import "time"

// A LifecycleKind says which shape of workflow carries a payload.
type LifecycleKind string

const (
	LifecycleAuto  LifecycleKind = "auto"  // own while Temporal keeps up, else group: the default
	LifecycleOwn   LifecycleKind = "own"   // one workflow for this payload
	LifecycleGroup LifecycleKind = "group" // one workflow for many payloads
)

// Limits of what a caller may ask for.
const (
	MaxSize          = int64(16) << 40 // 16 TiB: 10,000 object parts of 1.6 GiB
	MaxTTL           = 10 * 366 * 24 * time.Hour
	MaxLease         = 10 * time.Minute // so that every drain ends within ten minutes
	DefaultLease     = 30 * time.Second
	DefaultAllocated = 15 * time.Minute // an allocation that is not committed by then is aborted
	MaxAllocated     = 24 * time.Hour
	MaxName          = 200  // bytes of a name
	MaxNamespace     = 63   // characters, as in a DNS label
	MaxBatch         = 1000 // items of one batch request
)

// A Policy says where a payload wants to be and how long it lives.
type Policy struct {
	// Tier is where the producer's bytes go first. Empty means ram.
	Tier Tier `json:"tier,omitempty"`
	// TTL is how long the payload lives after its commit; 0 means until it is
	// deleted. It never fires early.
	TTL time.Duration `json:"ttl,omitempty"`
	// Lifecycle is the shape of its workflow. Empty means auto.
	Lifecycle LifecycleKind `json:"lifecycle,omitempty"`
	// CommitWithin bounds the time from allocation to commit. Zero means
	// DefaultAllocated.
	CommitWithin time.Duration `json:"commit_within,omitempty"`
}

// WithDefaults fills what the caller left open.
func (p Policy) WithDefaults() Policy {
	if p.Tier == "" {
		p.Tier = RAM
	}
	if p.Lifecycle == "" {
		p.Lifecycle = LifecycleAuto
	}
	if p.CommitWithin == 0 {
		p.CommitWithin = DefaultAllocated
	}
	return p
}

// Check says what of the policy can never hold. Its error has code [Invalid].
func (p Policy) Check() error {
	if _, err := ParseTier(string(p.Tier)); err != nil {
		return err
	}
	switch p.Lifecycle {
	case LifecycleAuto, LifecycleOwn, LifecycleGroup:
	default:
		return Errorf(Invalid, "lifecycle %q is unknown: use auto, own or group", clip(string(p.Lifecycle)))
	}
	if p.TTL < 0 || p.TTL > MaxTTL {
		return Errorf(Invalid, "a time to live is between 0 (none) and ten years")
	}
	if p.CommitWithin < 0 || p.CommitWithin > MaxAllocated {
		return Errorf(Invalid, "the time to commit is at most %v", MaxAllocated)
	}
	return nil
}
