package payload

// A Tier is a kind of storage. A host owns its gpu, ram and disk; object is
// shared by all hosts.
type Tier string

const (
	GPU    Tier = "gpu"    // device memory, shared between processes by CUDA
	RAM    Tier = "ram"    // sealed memory of one host
	Disk   Tier = "disk"   // files of one host
	Object Tier = "object" // a bucket that every host reaches
)

// Tiers lists every tier, fastest first.
func Tiers() []Tier { return []Tier{GPU, RAM, Disk, Object} }

// ParseTier reads a tier's name. Its error has code [Invalid].
func ParseTier(name string) (Tier, error) {
	for _, t := range Tiers() {
		if name == string(t) {
			return t, nil
		}
	}
	return "", Errorf(Invalid, "tier %q is unknown: use gpu, ram, disk or object", clip(name))
}

// AtLeast reports whether t is as fast as other or faster. Every tier is at
// least the empty one.
func (t Tier) AtLeast(other Tier) bool { return other == "" || t.rank() <= other.rank() }

// Shared reports whether all hosts reach the tier.
func (t Tier) Shared() bool { return t == Object }

// Volatile reports whether the tier forgets its bytes with its host's power.
func (t Tier) Volatile() bool { return t == GPU || t == RAM }

func (t Tier) rank() int {
	for i, known := range Tiers() {
		if t == known {
			return i
		}
	}
	return len(Tiers())
}
