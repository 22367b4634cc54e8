package rows

import (
	"fmt"
	"slices"
	"strings"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Page is the statement that answers a query, and its arguments.
//
// A page of a million payloads has to cost what the page holds. So the ids of
// the page are found first, by one or more branches that each walk one index
// in the order of ids and stop at the limit; the union of the branches' ids,
// cut at the limit again, is the page. Which index leads follows from what the
// query asks for, the most selective first: group, due, placement, state.
func Page(q catalog.Query) (string, []any) {
	if q.Tier.Shared() {
		q.Host = "" // it is on every host
	}
	var s statement
	branches := s.branches(q)
	return fmt.Sprintf(`WITH page AS (%s ORDER BY 1 LIMIT %s)
SELECT %s FROM page JOIN %s ON p.id = page.id ORDER BY %s`,
		strings.Join(branches, "\nUNION\n"), s.bind(q.Limit), Columns, joinedFirst, InOrder), s.args
}

// joinedFirst is Joined as one operand of another join.
const joinedFirst = `(` + Joined + `)`

type statement struct{ args []any }

// bind adds an argument and returns its place in the statement.
func (s *statement) bind(value any) string {
	s.args = append(s.args, value)
	return fmt.Sprintf("$%d", len(s.args))
}

func (s *statement) branches(q catalog.Query) []string {
	switch {
	case q.Group != "", q.DueBy != nil:
		return []string{s.branch(q, payloads())}
	case q.Tier != "" || q.Host != "":
		return s.placed(q)
	case q.Namespace != "" || len(q.States) > 0 || q.OpenOnly:
		return s.lives(q)
	default:
		return []string{s.branch(q, payloads())}
	}
}

// A source is where a branch takes ids from, and what holds there already.
type source struct {
	from  string
	id    string
	where []string
}

func payloads() source { return source{from: "payloads p", id: "p.id"} }

// placed leads with the index of placements, one branch for each tier.
func (s *statement) placed(q catalog.Query) (branches []string) {
	tiers := payload.Tiers()
	if q.Tier != "" {
		tiers = []payload.Tier{q.Tier}
	}
	for _, tier := range tiers {
		lead := source{from: "placements l CROSS JOIN payloads p", id: "l.payload_id", where: []string{"p.id = l.payload_id"}}
		lead.where = append(lead.where, "l.tier = "+s.bind(string(tier)))
		if q.Host != "" {
			lead.where = append(lead.where, "l.host = "+s.bind(q.Host))
		}
		rest := q
		rest.Tier, rest.Host = "", ""
		branches = append(branches, s.branch(rest, lead))
	}
	return branches
}

// lives leads with the index of states, one branch for each state, and for
// final states one with bytes to free and one without.
func (s *statement) lives(q catalog.Query) (branches []string) {
	for _, state := range payload.States() {
		if len(q.States) > 0 && !slices.Contains(q.States, state) {
			continue
		}
		for _, open := range []string{"true", "false"} {
			if open == "false" && (q.OpenOnly || !state.Final()) {
				continue
			}
			lead := payloads()
			lead.where = []string{"p.open = " + open, "p.state = " + s.bind(string(state))}
			rest := q
			rest.OpenOnly, rest.States = false, nil
			branches = append(branches, s.branch(rest, lead))
		}
	}
	return branches
}

// branch finds the first ids of a source for which the rest of the query holds.
func (s *statement) branch(q catalog.Query, lead source) string {
	where := append(lead.where, lead.id+" > "+s.bind(q.After[:]))
	where = append(where, s.filters(q)...)
	return fmt.Sprintf(`SELECT id FROM (SELECT DISTINCT %s AS id FROM %s WHERE %s ORDER BY 1 LIMIT %s) found`,
		lead.id, lead.from, strings.Join(where, " AND "), s.bind(q.Limit))
}

func (s *statement) filters(q catalog.Query) (where []string) {
	if q.Namespace != "" {
		where = append(where, "p.namespace = "+s.bind(q.Namespace))
	}
	if len(q.States) > 0 {
		where = append(where, "p.state IN ("+s.bindStates(q.States)+")")
	}
	if q.Group != "" {
		// The literal lets the planner use the index of members, which leaves
		// out payloads without a group.
		where = append(where, "p.grp = "+s.bind(q.Group), "p.grp <> ''")
	}
	if q.OpenOnly {
		where = append(where, "p.open = true")
	}
	if q.DueBy != nil {
		// Both ends: a planner without statistics believes a closed range to be
		// the narrow one, which it is.
		where = append(where, "p.due_at BETWEEN 0 AND "+s.bind(DueNano(*q.DueBy, true)))
	}
	if q.Tier != "" || q.Host != "" {
		where = append(where, s.placedSomewhere(q))
	}
	return where
}

func (s *statement) bindStates(states []payload.State) string {
	var places []string
	for _, state := range states {
		places = append(places, s.bind(string(state)))
	}
	return strings.Join(places, ", ")
}

func (s *statement) placedSomewhere(q catalog.Query) string {
	where := []string{"l.payload_id = p.id"}
	if q.Tier != "" {
		where = append(where, "l.tier = "+s.bind(string(q.Tier)))
	}
	if q.Host != "" {
		where = append(where, "l.host = "+s.bind(q.Host))
	}
	return "EXISTS (SELECT 1 FROM placements l WHERE " + strings.Join(where, " AND ") + ")"
}
