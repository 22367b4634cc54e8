package sqlite

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/rows"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A page has to cost what it holds, with a million payloads too: the plan of
// each listing leads with an index, and reads no whole table.
func TestEveryListingLeadsWithAnIndex(t *testing.T) {
	s, err := Open(context.Background(), filepath.Join(t.TempDir(), "catalog.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	now := time.Unix(1, 0)
	active := []payload.State{payload.StateActive, payload.StateLost}
	for name, c := range map[string]struct {
		q    catalog.Query
		lead string
	}{
		"all":             {catalog.Query{}, "p USING PRIMARY KEY (id>?)"},
		"namespace":       {catalog.Query{Namespace: "n"}, "payloads_by_namespace (namespace=? AND open=? AND state=? AND id>?)"},
		"states":          {catalog.Query{States: active}, "payloads_by_state (open=? AND state=? AND id>?)"},
		"namespace, open": {catalog.Query{Namespace: "n", OpenOnly: true}, "payloads_by_namespace (namespace=? AND open=? AND state=? AND id>?)"},
		"open":            {catalog.Query{OpenOnly: true}, "payloads_by_state (open=? AND state=? AND id>?)"},
		"tier":            {catalog.Query{Tier: payload.RAM}, "placements_by_tier (tier=? AND payload_id>?)"},
		"host":            {catalog.Query{Host: "h"}, "placements_by_host (host=? AND tier=? AND payload_id>?)"},
		"host, states":    {catalog.Query{Host: "h", States: active}, "placements_by_host (host=? AND tier=? AND payload_id>?)"},
		"group":           {catalog.Query{Group: "g"}, "payloads_by_group (grp=? AND id>?)"},
		"group, due":      {catalog.Query{Group: "g", OpenOnly: true, DueBy: &now}, "payloads_outlook (grp=? AND due_at>? AND due_at<?)"},
		"due":             {catalog.Query{DueBy: &now}, "payloads_by_due (due_at>? AND due_at<?)"},
	} {
		c.q.Limit = 100
		query, args := rows.Page(c.q)
		plan := explain(t, s, query, args...)
		require.Contains(t, plan, c.lead, name)
		require.NotRegexp(t, `SCAN (p|l|payloads|placements)\b`, plan, name)
	}
	require.Contains(t, explain(t, s, rows.Pending, 1), "outbox_by_age")
	require.Contains(t, explain(t, s, rows.Outlook("g"), "g"), "COVERING INDEX payloads_outlook (grp=?)")
	require.Contains(t, explain(t, s, forgetTombstones, 1, 1), "payloads_ended (ended_at<?)")
	require.Contains(t, explain(t, s, forgetRequests, 1, 1), "requests_by_age (made_at<?)")
}

func explain(t *testing.T, s *Store, query string, args ...any) string {
	cursor, err := s.reads.Query("EXPLAIN QUERY PLAN "+query, args...)
	require.NoError(t, err)
	defer func() { require.NoError(t, cursor.Close()) }()
	var lines []string
	for cursor.Next() {
		var id, parent, unused int
		var line string
		require.NoError(t, cursor.Scan(&id, &parent, &unused, &line))
		lines = append(lines, line)
	}
	require.NoError(t, cursor.Err())
	return strings.Join(lines, "\n")
}
