package catalogtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

var listing = []example{
	{"a listing finds what each filter asks for", filters},
	{"a listing goes by pages", pages},
	{"an empty store lists nothing", func(t *testing.T, s catalog.Store) { require.Empty(t, list(t, s, catalog.Query{})) }},
}

// town fills the store with one payload of each kind.
//
//	1  allocated, ram here                 2  active until 3602, ram here
//	3  active for ever, ram here and       4  deleting, ram here retiring
//	   there, disk there, object
//	5  deleted                             6  aborted, ram here retiring
//	7  as 1, of namespace "others", in group "g"
func town(t *testing.T, s catalog.Store) {
	never := time.Time{}
	do(t, s, allocated(1), allocated(2), committed(2), allocated(3), committed(3), allocated(4), committed(4), allocated(5), allocated(6))
	for _, at := range []payload.Placement{ready(payload.RAM, there), ready(payload.Disk, there), ready(payload.Object, "")} {
		do(t, s, then(3, catalog.Then{Put: &at, ExpiresAt: &never}))
	}
	do(t, s, then(4, catalog.Then{State: payload.StateDeleting, Retire: true}))
	do(t, s, then(5, catalog.Then{State: payload.StateDeleting, Drop: &catalog.PlacementIf{Tier: payload.RAM, Host: here}}))
	do(t, s, then(6, catalog.Then{State: payload.StateAborted, Retire: true}))
	foreign := allocated(7)
	foreign.Then.Create.Namespace = "others"
	foreign.Then.Create.Group = "g"
	do(t, s, foreign)
}

func filters(t *testing.T, s catalog.Store) {
	town(t, s)
	atOnce, soon, late := time.Time{}, second(901), second(3602)
	for name, c := range map[string]struct {
		q    catalog.Query
		want []int
	}{
		"everything":            {catalog.Query{}, []int{1, 2, 3, 4, 5, 6, 7}},
		"a namespace":           {catalog.Query{Namespace: "pipelines"}, []int{1, 2, 3, 4, 5, 6}},
		"another namespace":     {catalog.Query{Namespace: "others"}, []int{7}},
		"no such namespace":     {catalog.Query{Namespace: "none"}, []int{}},
		"a state":               {catalog.Query{States: []payload.State{payload.StateAllocated}}, []int{1, 7}},
		"states":                {catalog.Query{States: []payload.State{payload.StateDeleted, payload.StateActive}}, []int{2, 3, 5}},
		"states of a namespace": {catalog.Query{Namespace: "others", States: payload.States()}, []int{7}},
		"a tier":                {catalog.Query{Tier: payload.RAM}, []int{1, 2, 3, 4, 6, 7}},
		"an unused tier":        {catalog.Query{Tier: payload.GPU}, []int{}},
		"a host":                {catalog.Query{Host: there}, []int{3}},
		"a host of many":        {catalog.Query{Host: here}, []int{1, 2, 3, 4, 6, 7}},
		"a tier on a host":      {catalog.Query{Tier: payload.RAM, Host: there}, []int{3}},
		"not there":             {catalog.Query{Tier: payload.Disk, Host: here}, []int{}},
		"the shared tier":       {catalog.Query{Tier: payload.Object, Host: here}, []int{3}},
		"a state on a host":     {catalog.Query{Host: here, States: []payload.State{payload.StateActive}}, []int{2, 3}},
		"a group":               {catalog.Query{Group: "g"}, []int{7}},
		"a group elsewhere":     {catalog.Query{Group: "g", Namespace: "pipelines"}, []int{}},
		"a group in a tier":     {catalog.Query{Group: "g", Tier: payload.RAM}, []int{7}},
		"open ones":             {catalog.Query{OpenOnly: true}, []int{1, 2, 3, 4, 6, 7}},
		"open ones of a state":  {catalog.Query{OpenOnly: true, States: []payload.State{payload.StateDeleted, payload.StateAborted}}, []int{6}},
		"due at once":           {catalog.Query{DueBy: &atOnce}, []int{4, 6}},
		"due soon":              {catalog.Query{DueBy: &soon}, []int{1, 4, 6}},
		"due late":              {catalog.Query{DueBy: &late}, []int{1, 2, 4, 6, 7}},
		"due of a group":        {catalog.Query{DueBy: &late, Group: "g", OpenOnly: true}, []int{7}},
		"due on a host":         {catalog.Query{DueBy: &late, Host: there}, []int{}},
		"after one":             {catalog.Query{After: id(5)}, []int{6, 7}},
	} {
		require.Equal(t, c.want, list(t, s, c.q), name)
	}
	whole, err := s.List(context.Background(), catalog.Query{Host: there, Limit: 1})
	require.NoError(t, err)
	require.Len(t, whole[0].Placements, 4, "a listed payload has all its placements")
	same(t, get(t, s, 3), whole[0])
}

func pages(t *testing.T, s catalog.Store) {
	town(t, s)
	for _, q := range []catalog.Query{{}, {Namespace: "pipelines"}, {Tier: payload.RAM}, {Host: here}, {OpenOnly: true}} {
		all := list(t, s, q)
		var paged []int
		for q.Limit = 2; ; q.After = id(paged[len(paged)-1]) {
			page := list(t, s, q)
			paged = append(paged, page...)
			if len(page) < q.Limit {
				break
			}
		}
		require.Equal(t, all, paged)
	}
}
