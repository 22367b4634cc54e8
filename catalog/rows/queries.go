package rows

import (
	"github.com/payload-manager/payload-manager/catalog"
)

// Pending is the statement for the oldest entries of the outbox, $1 at most:
// Columns, then since, seq and the number of all entries.
const Pending = `WITH oldest AS (SELECT payload_id, since, seq FROM outbox ORDER BY since, seq LIMIT $1)
SELECT ` + Columns + `, o.since, o.seq, (SELECT count(*) FROM outbox)
FROM oldest o JOIN ` + joinedFirst + ` ON p.id = o.payload_id ORDER BY o.since, o.seq, ` + InOrder

// Outlook is the statement for the outlook of a group, $1: how many are open,
// their bytes, and when the first is due.
func Outlook(group string) string {
	const all = `SELECT count(*), CAST(coalesce(sum(size), 0) AS BIGINT), min(due_at) FROM payloads WHERE grp = $1 AND open = true`
	if group == "" {
		return all
	}
	return all + ` AND grp <> ''` // lets the planner use the index of members
}

// Hosts is the statement for every host, as [CollectHosts] reads them.
const Hosts = `SELECT name, address, version, boot_id, seen FROM hosts ORDER BY name`

// CollectHosts reads hosts. The caller closes the rows.
func CollectHosts(c Cursor) ([]catalog.Host, error) {
	var found []catalog.Host
	for c.Next() {
		var h catalog.Host
		var seen *int64
		if err := c.Scan(&h.Name, &h.Address, &h.Version, &h.BootID, &seen); err != nil {
			return nil, err
		}
		h.Seen = Time(seen)
		found = append(found, h)
	}
	return found, c.Err()
}
