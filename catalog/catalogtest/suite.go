// Package catalogtest is the suite that every catalog.Store passes, so that a
// store's own test file is a few lines and "it works on SQLite" means that it
// works on Postgres.
//
// It speaks to a Store with Steps alone. The rules of catalog.Catalog, which
// sit above the Store, are tested beside them.
package catalogtest

import (
	"testing"

	"github.com/payload-manager/payload-manager/catalog"
)

// An example is one story about a store that is empty when it begins.
type example struct {
	name string
	tell func(t *testing.T, s catalog.Store)
}

// RunStore runs the suite. open returns an empty store, which open closes when
// its test ends.
func RunStore(t *testing.T, open func(t *testing.T) catalog.Store) {
	for _, subject := range [][]example{steps, requests, listing, groups, outbox, upkeep, crowds, walks} {
		for _, e := range subject {
			t.Run(e.name, func(t *testing.T) { e.tell(t, open(t)) })
		}
	}
}
