package tiers

import (
	"errors"
	"slices"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Set is the tiers that one host reaches. Its methods may be called
// concurrently.
type Set struct {
	tiers   map[payload.Tier]Tier
	buffers buffers
}

// NewSet makes a Set of tiers with different names. It owns them: Close closes
// them.
func NewSet(tiers ...Tier) *Set {
	s := &Set{tiers: make(map[payload.Tier]Tier, len(tiers))}
	for _, t := range tiers {
		s.tiers[t.Name()] = t
	}
	return s
}

// Tier returns the tier of this name. Code Unsupported with reason TIER_OFF
// when this host has none.
func (s *Set) Tier(name payload.Tier) (Tier, error) {
	if t, ok := s.tiers[name]; ok {
		return t, nil
	}
	return nil, payload.Errorf(payload.Unsupported, "the tier %s is off on this host", name).Because(payload.TierOff)
}

// Names lists the tiers that there are, fastest first.
func (s *Set) Names() []payload.Tier {
	return slices.DeleteFunc(payload.Tiers(), func(name payload.Tier) bool { return s.tiers[name] == nil })
}

// Close closes every tier.
func (s *Set) Close() error {
	var errs []error
	for _, name := range s.Names() {
		errs = append(errs, s.tiers[name].Close())
	}
	return errors.Join(errs...)
}
