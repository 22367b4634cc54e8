package catalogtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

var requests = []example{
	{"a repeated request returns its first answer", repeated},
	{"a repeated allocation returns the first payload", repeatedAllocation},
	{"a request id with another body is refused", reused},
	{"the same request id in another scope is another request", otherScope},
	{"a refused request may be tried again", refusedRequest},
}

func requested(step catalog.Step, scope, id, digest string) catalog.Step {
	step.Request = catalog.Request{Scope: scope, ID: id, Digest: []byte(digest)}
	return step
}

func repeated(t *testing.T, s catalog.Store) {
	do(t, s, allocated(1))
	first := do(t, s, requested(committed(1), "s", "r", "d"))
	do(t, s, then(1, catalog.Then{State: payload.StateDeleting, Retire: true}))
	later := get(t, s, 1)
	same(t, first, do(t, s, requested(committed(1), "s", "r", "d")))
	same(t, later, get(t, s, 1))
}

func repeatedAllocation(t *testing.T, s catalog.Store) {
	first := do(t, s, requested(allocated(1), "s", "r", "d"))
	same(t, first, do(t, s, requested(allocated(2), "s", "r", "d")))
	_, err := s.Get(context.Background(), id(2))
	refused(t, err, payload.NotFound, "")
}

func reused(t *testing.T, s catalog.Store) {
	do(t, s, requested(allocated(1), "s", "r", "d"))
	_, err := s.Do(context.Background(), requested(allocated(2), "s", "r", "e"))
	refused(t, err, payload.Conflict, payload.RequestReuse)
	_, err = s.Get(context.Background(), id(2))
	refused(t, err, payload.NotFound, "")
}

func otherScope(t *testing.T, s catalog.Store) {
	do(t, s, requested(allocated(1), "s", "r", "d"))
	do(t, s, requested(allocated(2), "other", "r", "e"))
	require.Equal(t, []int{1, 2}, list(t, s, catalog.Query{}))
}

func refusedRequest(t *testing.T, s catalog.Store) {
	_, err := s.Do(context.Background(), requested(committed(1), "s", "r", "d"))
	refused(t, err, payload.NotFound, "")
	do(t, s, allocated(1))
	require.Equal(t, payload.StateActive, do(t, s, requested(committed(1), "s", "r", "another")).State)
}
