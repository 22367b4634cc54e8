package config

import "github.com/payload-manager/payload-manager/sdk/payload"

// unknownName refuses a name that no key has, with the key that was probably
// meant.
func unknownName(what, name string, known []string) error {
	if near := nearest(name, known); near != "" {
		return payload.Errorf(payload.Invalid, "unknown %s %s: did you mean %s?", what, name, near)
	}
	return payload.Errorf(payload.Invalid, "unknown %s %s: payload-manager config lists all keys", what, name)
}

func names(c *Config) []string {
	var all []string
	for _, k := range settings(c) {
		all = append(all, k.name)
	}
	return all
}

func variables(c *Config) []string {
	var all []string
	for _, k := range settings(c) {
		all = append(all, k.variable())
	}
	return all
}

// nearest returns the known name that the fewest edits lead to, or none where
// they would rewrite more than half of it.
func nearest(name string, known []string) string {
	best, fewest := "", len(name)/2+1
	for _, candidate := range known {
		if n := edits(name, candidate); n < fewest {
			best, fewest = candidate, n
		}
	}
	return best
}

// edits counts the bytes to insert, delete or replace between a and b
// (Levenshtein's distance, by rows).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
