package contract

import "github.com/payload-manager/payload-manager/sdk/payload"

// Search attributes of every lifecycle. They must exist in the Temporal
// namespace before a worker starts.
const (
	PayloadState     = "PayloadState"     // keyword; of a single payload
	PayloadTier      = "PayloadTier"      // keyword; the fastest that has a copy, of a single payload
	PayloadNamespace = "PayloadNamespace" // keyword
	PayloadHost      = "PayloadHost"      // keyword; where it was allocated
	PayloadBytes     = "PayloadBytes"     // int
	PayloadExpiresAt = "PayloadExpiresAt" // datetime; of a single payload, absent: never
)

// Fastest is the tier of the fastest placement that is not being given up;
// empty when there is none.
func Fastest(placements []At) (best payload.Tier) {
	for _, at := range placements {
		if at.State != payload.Retiring && (best == "" || at.Tier.AtLeast(best)) {
			best = at.Tier
		}
	}
	return best
}

// Ats are a payload's placements, fastest first, for people to read.
func Ats(placements []payload.Placement) []At {
	var ats []At
	for _, tier := range payload.Tiers() {
		for _, p := range placements {
			if p.Tier == tier {
				ats = append(ats, At{Tier: p.Tier, Host: p.Host, State: p.State})
			}
		}
	}
	return ats
}
